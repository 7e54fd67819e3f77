"""Imports that give way to searches: Gradio's takes a second of Python's lock, which a search needs some sixty times.

Built around a finder that Python asks before each module of the importing thread. It finds nothing; it waits while
searches are in flight, each time and in all only so long, so that the import ends under constant load, too.
"""

from __future__ import annotations

import gc
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

MODULE_S, ALL_S = 0.5, 60.0
"""The longest wait before one module: the search may itself wait for the module whose import this thread has begun;
and the longest of all waits together."""


class _Waiting(MetaPathFinder):
    def __init__(self, give_way: Callable[[float], None]) -> None:
        self._give_way, self._thread, self._left = give_way, threading.get_ident(), ALL_S

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if threading.get_ident() == self._thread and self._left > 0:
            began = time.monotonic()
            self._give_way(min(MODULE_S, self._left))
            self._left -= time.monotonic() - began
        return None


@contextmanager
def yielding_imports(give_way: Callable[[float], None]) -> Iterator[None]:
    """Before each module that this thread imports, `give_way` is called with the most seconds that it may take; and
    Python's lock is handed on fifty times as often as by default, every tenth of a millisecond. Cycles are not searched
    for meanwhile, nor among what is there at the end: each time that takes up to 0.12 s, in which the lock is held."""
    finder, interval, collects = _Waiting(give_way), sys.getswitchinterval(), gc.isenabled()
    sys.meta_path.insert(0, finder)
    sys.setswitchinterval(interval / 50)
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if collects:
            gc.enable()
        sys.setswitchinterval(interval)
        sys.meta_path.remove(finder)
