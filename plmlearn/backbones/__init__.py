"""Pretrained protein encoders: which there are, how each reads a sequence, and how one is loaded.

``load_backbone``          a frozen encoder, held once per process, device and precision
``unload_backbones``       give its memory back
``download_backbone``      a folder to copy to where there is no network
``CHECKPOINTS``            short names such as "esm2-35m"
``ARCHITECTURES``          what the supported architectures need
"""

from .architectures import ARCHITECTURES, CHECKPOINTS
from .hub import BackboneNotFoundError, BackboneWeightsError
from .loading import Backbone, check_fingerprint, download_backbone, load_backbone, unload_backbones

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
