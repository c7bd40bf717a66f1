"""Importing a library of thousands of modules."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collections() -> Iterator[None]:
    """Import inside this in a process that then lives with what it imported.

    Imports make objects that stay, and the garbage collector goes through all of them again and again. Afterwards they
    are frozen: no later collection looks at them.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if enabled:
            gc.enable()
