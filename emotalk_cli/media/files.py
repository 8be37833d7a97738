"""Files in and out: inputs are checked before they are opened, outputs get their names when they are complete."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from pathlib import Path
from typing import IO

from ..errors import EmoTalkError, InputError, UsageError
from ..settings import VIDEO_SUFFIXES


def check_name(path: str | os.PathLike) -> None:
    """Raise UsageError for text that cannot name a file on this system."""
    try:
        if b"\0" not in os.fsencode(path):
            return
    except UnicodeEncodeError:
        pass
    raise UsageError(f"{os.fspath(path)!r} cannot be a file name; remove the characters that do not print.")


def check_input(path: str | os.PathLike, kind: str) -> Path:
    """The path of an ordinary, readable file with something in it, or InputError saying why it is none.

    kind: what is expected, for the remedy: "picture", "audio file", ...
    """
    check_name(path)
    file = Path(path)
    try:
        size = file.stat().st_size
    except OSError as error:
        missing = isinstance(error, FileNotFoundError | NotADirectoryError)
        why = "does not exist" if missing else f"cannot be opened ({error.strerror})"
        raise InputError(f"{file} {why}; check the name of the {kind}.") from error
    if file.is_dir():
        raise InputError(f"{file} is a folder; name the {kind} in it.")
    if not file.is_file():  # a pipe cannot be read twice, a device may never end
        raise InputError(f"{file} is no ordinary file; save the {kind} to one first.")
    if not os.access(file, os.R_OK):
        raise InputError(f"{file} cannot be read; check its permissions.")
    if size == 0:
        raise InputError(f"{file} is empty; save or export the {kind} again.")
    return file


def sha256(path: str | os.PathLike) -> str:
    """Hex digest of a file, read in blocks."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def check_output(out: str | os.PathLike, overwrite: bool = True, suffixes: tuple[str, ...] = VIDEO_SUFFIXES) -> Path:
    """The absolute path of a file that is to be written, or UsageError saying why it cannot be."""
    check_name(out)
    path = Path(os.path.realpath(out))
    if path.suffix.lower() not in suffixes:
        raise UsageError(f"{out} must end in {' or '.join(suffixes)}; change the output name.")
    if len(os.fsencode(path.name)) > 255:
        raise UsageError(f"{path.name[:40]}... is too long for a file name; choose a shorter output name.")
    if not path.parent.is_dir():
        raise UsageError(f"{path.parent} is not an existing folder; create it or choose another output.")
    if path.is_dir():
        raise UsageError(f"{out} is a folder; name a file in it.")
    if path.exists() and not path.is_file():
        raise UsageError(f"{out} is not an ordinary file; choose another output.")
    if path.exists() and not overwrite:
        raise UsageError(f"{out} exists already; choose another output or allow overwriting.")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise UsageError(f"{path.parent} is not writable; choose an output in another folder.")
    return path


def hidden(out: Path, kind: str) -> Path:
    """Where the unfinished `out` lies: beside it, named for it and the kind of file."""
    return out.parent / f".emotalk-{hashlib.sha256(os.fsencode(out.name)).hexdigest()[:12]}.{kind}"


def lock(file: IO, out: Path) -> None:
    """Hold `file` until it is closed. Raises UsageError, naming `out`, if another process holds it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UsageError(f"{out} is being made by another emotalk; wait or choose another output.") from error
    except OSError:  # a file system without locks
        pass


class PartFile:
    """A hidden temporary file beside `out` that takes its name on `commit` and vanishes on `discard`.

    As a context manager it commits at the end of the block, or discards after an exception. A process that is killed
    leaves it behind; the next one that writes the same output removes it.
    """

    def __init__(self, out: Path) -> None:
        """Raises UsageError if another process is writing the same output."""
        self.out = out
        self.path = hidden(out, "part")
        try:
            while True:
                try:
                    self._file = open(self.path, "xb")
                    lock(self._file, out)
                    if self.path.exists() and os.path.samestat(os.fstat(self._file.fileno()), os.stat(self.path)):
                        return  # else another process took it for a dead one's before it was locked
                except FileExistsError:
                    with contextlib.suppress(FileNotFoundError), open(self.path, "r+b") as left:
                        lock(left, out)  # nobody's; a killed process's ffmpeg may still write to it, so not reused
                        self.path.unlink()
        except OSError as error:
            raise write_error(out, error.strerror) from error

    def commit(self) -> None:
        """Give the file its name, atomically. Raises EmoTalkError and removes it if that fails."""
        try:
            with open(self.path, "rb") as file:
                os.fsync(file.fileno())  # or a power cut could leave the name on an empty file
            os.replace(self.path, self.out)
            self._file.close()
        except OSError as error:
            self.discard()
            raise write_error(self.out, error.strerror) from error

    def discard(self) -> None:
        """Remove the temporary file."""
        self.path.unlink(missing_ok=True)
        self._file.close()

    def __enter__(self) -> PartFile:
        return self

    def __exit__(self, kind, error, trace) -> None:
        if kind is None:
            self.commit()
        else:
            self.discard()


def write_error(out: Path, reason: str | None) -> EmoTalkError:
    """One sentence for a failed write, with the remedy that fits `reason` (ffmpeg's or the system's words)."""
    reason = reason or "unknown error"
    if "No space left" in reason or "File too large" in reason or "quota" in reason:
        return EmoTalkError(f"No room to write {out}; free some disk space or choose another output.")
    return EmoTalkError(f"{out} could not be written ({reason.rstrip('.')}); choose another output.")
