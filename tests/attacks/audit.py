"""What this process opens, connects to, moves and removes, watched through Python's audit events."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

_EVENTS = ("open", "socket.connect", "os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.symlink", "os.link",
           "os.system", "shutil.rmtree")  # fmt: skip
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_PACKAGE = Path(__file__).parents[2] / "emotalk_cli"
READ = (sys.prefix, sys.base_prefix, os.path.dirname(os.__file__), str(_PACKAGE), str(_PACKAGE.parent / "weights"))
READ += ("/usr/lib", "/usr/share/mime", "/etc/localtime", "/proc/", "/sys/", "/dev/null", "/dev/urandom")

Touched = list[tuple[str, str, bool]]  # event, path, whether it changes something

_watched: Touched | None = None


def _hook(event: str, arguments: tuple) -> None:
    if _watched is None or event not in _EVENTS:
        return
    name = os.fsdecode(arguments[0]) if isinstance(arguments[0], str | bytes | os.PathLike) else ""
    flags = arguments[2] if event == "open" and isinstance(arguments[2], int) else 0
    _watched.append((event, name, event != "open" or bool(flags & _WRITING)))


sys.addaudithook(_hook)


@contextlib.contextmanager
def watching() -> Iterator[Touched]:
    """What happens in the block."""
    global _watched
    before, _watched = _watched, []
    try:
        yield _watched
    finally:
        _watched = before


def strays(
    seen: list[tuple[str, str, bool]], *folders: Path, read: tuple[str, ...] = ()
) -> list[tuple[str, str, bool]]:
    """What was touched outside the folders, but for reading `read` and what belongs to Python and to EmoTalk."""
    homes = tuple(str(folder) for folder in folders)

    def allowed(name: str, changes: bool) -> bool:
        if name in ("/dev/null", tempfile.gettempdir()):  # the second: a file without a name
            return True
        if name.startswith(READ) and "__pycache__" in Path(name).parts:  # Python's own
            return True
        return not name.startswith("/") or name.startswith(homes) or (not changes and name.startswith((*READ, *read)))

    return [one for one in seen if one[0] == "socket.connect" or not allowed(one[1], one[2])]
