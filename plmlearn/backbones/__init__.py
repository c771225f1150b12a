"""Pretrained protein encoders: which exist, how each reads a sequence, and how one is loaded.

``load_backbone``          a frozen encoder, held once per process, device and precision
``unload_backbones``       release the memory
``download_backbone``      prepare a folder for a machine without network
``CHECKPOINTS``            short names such as "esm2-35m"
``ARCHITECTURES``          what each supported architecture needs
"""

from .architectures import ARCHITECTURES, CHECKPOINTS
from .backbone import Backbone
from .loading import (
    BackboneNotFoundError,
    BackboneWeightsError,
    check_fingerprint,
    download_backbone,
    load_backbone,
    unload_backbones,
)

__all__ = [
    "ARCHITECTURES",
    "CHECKPOINTS",
    "Backbone",
    "BackboneNotFoundError",
    "BackboneWeightsError",
    "check_fingerprint",
    "download_backbone",
    "load_backbone",
    "unload_backbones",
]
