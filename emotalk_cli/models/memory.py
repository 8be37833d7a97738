"""Memory of a process that makes frame after frame."""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # parameters of glibc's mallopt
_ARENAS = 1  # heaps of all threads together: what one thread frees serves the others, 100 MB less than with eight
_LARGEST_KEPT = 32 * 2**20  # bytes; the most that glibc accepts as threshold
_KEPT = 128 * 2**20  # bytes of free memory at the end of the heap


def keep_freed() -> None:
    """Keep freed blocks of a picture's size for the next frame instead of giving them back to the system.

    Getting them anew, page by page, takes a quarter of a frame's time. Elsewhere than with glibc nothing happens.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _LARGEST_KEPT)
        mallopt(_TRIM_THRESHOLD, _KEPT)
        mallopt(_ARENA_MAX, _ARENAS)


def give_back_freed() -> None:
    """Give freed memory back to the system, between videos. Elsewhere than with glibc nothing happens."""
    if sys.platform.startswith("linux"):
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
