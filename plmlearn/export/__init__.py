"""Fitted estimators as files that need no plmlearn.

``export_transformers``   a folder that plain transformers loads
``export_onnx``           one file for ONNX Runtime and other servers
"""

from .folder import export_transformers
from .onnx import export_onnx

__all__ = ["export_onnx", "export_transformers"]
