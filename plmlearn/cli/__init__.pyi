from . import runs as runs
from .commands import main as main
