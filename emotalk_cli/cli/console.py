"""The one place that prints. What comes from files and options reaches the terminal escaped, short and in one line."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Any

from ..errors import EmoTalkError

if TYPE_CHECKING:
    from rich.console import Console

LONGEST = 1500  # characters of a line; of what is longer the middle is left out


def plain(text: Any, longest: int = LONGEST) -> str:
    """Text without anything that a terminal obeys: control, direction and format characters become escapes."""
    shown = str(text)
    if len(shown) > longest:
        shown = f"{shown[: longest * 2 // 3]} [...] {shown[-longest // 4 :]}"
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in shown)


def say(text: Any) -> None:
    """A line for the user, on stderr. One that is closed or full is no error."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(plain(text) + "\n")
            sys.stderr.flush()


def tell(text: str) -> None:
    """A result, on stdout: JSON, which is escaped already, or a line that `plain` made. Raises EmoTalkError."""
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except (OSError, ValueError, AttributeError) as error:
        reason = getattr(error, "strerror", None) or "it is closed"
        raise EmoTalkError(f"Standard output cannot be written ({reason}); the files are made.") from error


def interactive() -> bool:
    """Whether stderr is a terminal."""
    return sys.stderr is not None and sys.stderr.isatty()


def console(stderr: bool = False, **options: Any) -> Console:
    """For tables and bars; their cells go through `plain`."""
    from rich.console import Console

    return Console(stderr=stderr, markup=False, emoji=False, highlight=False, **options)
