"""The command line ``plmlearn``: a study from a terminal.

``commands``     every command and its options; imports click alone, so that ``--help`` is there at once
``settings``     options of all commands: parameters as YAML, a file of options
``study``        what the options name: a table, a task, an estimator
``labels``       several labels in one column
``runs``         what each command does
``predictions``  what predict reads, names and scores
``results``      tables, JSON and files of embeddings

Modules load when they are first used.
"""

from lazy_loader import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
