"""What operating systems have or lack: locks, owners, signals, bounds, temporary files. Windows lacks most of them."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from typing import IO, Any

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

HAS_LIMITS = hasattr(resource, "prlimit")
ENDING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))

_INHERITED = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TMPDIR", "TEMP", "SYSTEMROOT", "ESPEAK_DATA_PATH",
              "CUDA_VISIBLE_DEVICES")  # fmt: skip


def environment() -> dict[str, str]:
    """What children inherit of the environment: nothing but what they need."""
    return {name: os.environ[name] for name in _INHERITED if name in os.environ}


def number(name: str) -> int:
    """A signal's number; one that no process ends with where the system does not know it."""
    return int(getattr(signal, name, 1 << 16))


def flags(*names: str) -> int:
    """Flags of `os.open`, of those that the system knows."""
    return sum(getattr(os, name, 0) for name in names)


def lock(descriptor: int) -> bool | None:
    """Hold an open file until it is closed: True; False if somebody else does; None where there are no locks."""
    try:
        if fcntl is not None:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        return True
    except (BlockingIOError, PermissionError):
        return False
    except (OSError, ImportError):
        return None


def owned(about: os.stat_result) -> bool:
    """Whether a file is this user's, as far as the system tells."""
    return not hasattr(os, "geteuid") or about.st_uid == os.geteuid()


def limit(process: int, name: str, value: int) -> None:
    """Bound a resource (`RLIMIT_...`) of a process, where the system can; one that has ended is no error."""
    if not HAS_LIMITS:
        return
    with contextlib.suppress(OSError, ValueError):
        hard = resource.prlimit(process, getattr(resource, name))[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.prlimit(process, getattr(resource, name), (value, hard))


def open_files() -> int | None:
    """How many files this process may open; None where that is not said."""
    return None if resource is None else int(resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def address_space() -> int | None:
    """Bytes of address space that this process may take; None without a bound."""
    limit = -1 if resource is None else resource.getrlimit(resource.RLIMIT_AS)[0]
    return limit if limit >= 0 else None


def peak_memory() -> float:
    """MB that this process has held at the most; 0 where the system does not say."""
    if resource is None:
        return 0.0
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * (1e-6 if sys.platform == "darwin" else 1.024e-3)


@contextlib.contextmanager
def no_collection() -> Iterator[None]:
    """Imports and loads without Python's search for garbage in cycles, which they would set off again and again, for a
    sixth of the time to the first frame; what is there at the end is not searched later either. For commands: a
    program that uses the library decides for itself."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


class Temporary:
    """A temporary file that others can open by its name while it is written; gone when nobody holds this any more."""

    def __init__(self, suffix: str = "") -> None:
        kept = os.name != "nt"  # there, an open file cannot be opened again
        self._made: Any = tempfile.NamedTemporaryFile(prefix="emotalk-", suffix=suffix, delete=kept)
        self.name: str = self._made.name
        self.file: IO[bytes] = self._made.file
        self._kept = kept

    def ready(self) -> None:
        """All is written."""
        self.file.flush()
        if not self._kept:
            self._made.close()

    def __del__(self) -> None:
        made = getattr(self, "_made", None)
        if made is not None and not self._kept:
            with contextlib.suppress(OSError):
                made.close()
                os.unlink(self.name)
