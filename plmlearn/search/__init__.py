"""A search over parameters that prunes, resumes and runs in several processes; Optuna is the engine.

``PLMSearchCV``   shaped like the searches of scikit-learn

Needs ``pip install "plmlearn[search]"``.
"""

from .estimator import PLMSearchCV

__all__ = ["PLMSearchCV"]
