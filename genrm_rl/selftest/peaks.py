"""How much memory a block takes at most."""

from __future__ import annotations

import ctypes
import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import torch

LOOK_SECONDS = 0.005


@contextmanager
def peak(device: str) -> Iterator[list[float]]:
    """Bytes that the block takes at most beyond what was taken before: of the GPU's allocator, or of the process. The
    list holds them after the block."""
    found: list[float] = []
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        yield found
        found.append(torch.cuda.max_memory_allocated() - before)
        return
    process, stop = psutil.Process(), threading.Event()
    before = most = process.memory_info().rss

    def look() -> None:
        nonlocal most
        while not stop.wait(LOOK_SECONDS):
            most = max(most, process.memory_info().rss)

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    try:
        yield found
    finally:
        stop.set()
        looking.join()
    found.append(most - before)


def free_cache(device: str) -> None:
    """Give the allocator's cache back, for whoever comes next on this GPU; what the C library keeps would be taken for
    memory that the next block does not need."""
    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()
    elif hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)
