"""Architectures in miniature to put methods into."""

import pytest

from plmlearn.backbones import Backbone, load_backbone


@pytest.fixture(params=["esm2", "ankh", "esmc", "bert"])
def backbone(request, miniature) -> Backbone:
    return load_backbone(str(miniature(request.param)))


@pytest.fixture
def esm2(miniature) -> Backbone:
    return load_backbone(str(miniature("esm2")))
