"""What users touch: scikit-learn estimators.

What they stand on is imported here, with the garbage collector at rest: torch and transformers make a million
objects that all stay, and searching those for garbage takes long (``benchmarks/startup.py``).
"""

import gc

_collecting = gc.isenabled()
gc.disable()
try:
    from . import tuned  # noqa: F401
finally:
    if _collecting:
        gc.enable()
