"""plmlearn: fine-tune protein language models with scikit-learn's ``fit`` and ``predict``.

The public names stand in ``__init__.pyi``, where editors and type checkers read them. Each loads when it is
first used, so importing the package costs nothing and imports no torch.
"""

from lazy_loader import attach_stub

__version__ = "0.1.0"
__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
