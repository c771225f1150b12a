"""``ForkSafeLock``: one thread at a time; a forked process waits for no thread of its parent."""

from __future__ import annotations

import os
import threading
from weakref import WeakSet


class ForkSafeLock:
    """A reentrant lock that a forked process finds open, whatever a thread of its parent was doing.

    Attributes
    ----------
    lock : RLock
        Of this process: ``with fork_safe.lock: ...``.
    """

    def __init__(self) -> None:
        self.renew()
        _locks.add(self)

    def renew(self) -> None:
        self.lock = threading.RLock()


_locks: WeakSet[ForkSafeLock] = WeakSet()


def _renew_all() -> None:
    for lock in _locks:
        lock.renew()


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_renew_all)
