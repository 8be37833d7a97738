"""Errors that a user can act on: one sentence that names the file or option and the remedy.

Messages are written in the command's words (`--size 511 is odd`). `str` of an error speaks to a program that called
the library (`size 511 is odd`); the command line prints `for_command`.
"""

from __future__ import annotations

import contextlib
import errno
import re
from collections.abc import Iterable, Iterator
from difflib import get_close_matches

_OPTION = re.compile(r"(?<![\w/.-])--([a-z][a-z0-9-]*)(?![\w/.])")


class EmoTalkError(Exception):
    """Base of all errors that EmoTalk raises on purpose. `exit_code` is the command line's."""

    exit_code = 1

    @property
    def for_command(self) -> str:
        """The message, options spelt as on the command line."""
        return super().__str__()

    def __str__(self) -> str:
        from .settings import OPTIONS  # late: it imports this module

        def keyword(found: re.Match[str]) -> str:
            name = found[1].replace("-", "_")
            return name if name in OPTIONS else found[0]

        return _OPTION.sub(keyword, self.for_command)


class InputError(EmoTalkError):
    """A file that the user gave cannot be used (missing, broken, no face in it, ...)."""


class SilentError(InputError):
    """A media file has no sound."""


class UsageError(EmoTalkError):
    """An option or argument has a value outside its documented range."""

    exit_code = 2


class WeightsError(EmoTalkError):
    """A weight file is missing, damaged or made for another version or emotion space."""


@contextlib.contextmanager
def extra(name: str, purpose: str) -> Iterator[None]:
    """Imports that only the extra `name` of the package brings. Raises UsageError where one is missing."""
    try:
        yield
    except ImportError as error:
        raise UsageError(f"{purpose} needs the extra {name}; pip install 'emotalk[{name}]'. ({error})") from error


def of_system(error: BaseException) -> EmoTalkError | None:
    """What the system or the graphics card refused, as a sentence; None for anything else."""
    text = str(error)
    if isinstance(error, MemoryError) or (isinstance(error, ImportError) and "map segment" in text):
        return EmoTalkError("Not enough memory; use a smaller picture or --size, or raise ulimit -v.")
    if isinstance(error, OSError):
        named, why = error.filename or "A file", (error.strerror or text).rstrip(".")
        if "temporary directory" in text:
            return EmoTalkError("No folder for temporary files can be written; set TMPDIR to one.")
        if (lack := scarce(error)) is not None:
            return lack
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return EmoTalkError(f"No room to write {named}; free some disk space.")
        if error.filename:
            return EmoTalkError(f"{named} cannot be used ({why}); check its permissions and the disk.")
    if isinstance(error, RuntimeError):
        if "could not create a primitive" in text:  # as oneDNN says it
            return EmoTalkError("Not enough memory; use a smaller picture or --size, or raise ulimit -v.")
        if "start new thread" in text:
            return EmoTalkError("The system gives no more threads; end other programs or raise ulimit -u.")
        if "out of memory" in text or "allocate memory" in text:
            return EmoTalkError("Not enough memory; use a smaller picture or --size, or another --device.")
        if "CUDA error" in text or "No CUDA GPUs" in text or "NVIDIA driver" in text:
            first = text.splitlines()[0][:200].rstrip(".")
            return EmoTalkError(f"The graphics card cannot be used ({first}); choose --device cpu.")
    return None


def scarce(error: OSError) -> EmoTalkError | None:
    """What the system has too little of, whatever was asked for; None for anything else."""
    if error.errno in (errno.EMFILE, errno.ENFILE) or "Too many open files" in str(error):
        return EmoTalkError("Too many files are open; raise ulimit -n.")
    if error.errno in (errno.ENOMEM, errno.EAGAIN):
        why = (error.strerror or str(error)).rstrip(".")
        return EmoTalkError(f"The system gives no more memory or processes ({why}); end other programs.")
    return None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """ " Did you mean ...?" for a word that is nearly one of the known ones, "" otherwise."""
    near = get_close_matches(word, list(known), 1, 0.7)
    return f" Did you mean {near[0]}?" if near else ""
