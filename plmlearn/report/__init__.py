"""An evaluation from data to verdict, and one page that shows all of it.

``evaluate``     folds that do not leak, the baselines of the task, what the estimator predicts in each fold
``Evaluation``   what came out
``write``        the page: one HTML file with its pictures inside, which needs no network and runs no script
"""

from .evaluation import Evaluation, Outcome, evaluate
from .page import write

__all__ = ["Evaluation", "Outcome", "evaluate", "write"]
