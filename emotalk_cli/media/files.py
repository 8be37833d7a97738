"""Files in and out: inputs are checked before they are opened, outputs get their names when they are complete."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import secrets
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .. import system
from ..errors import EmoTalkError, InputError, UsageError
from ..settings import VIDEO_SUFFIXES


def check_name(path: str | os.PathLike[str]) -> None:
    """Raise UsageError for text that cannot name a file on this system, or that is an address of another one."""
    if address := _ADDRESS.match(os.fspath(path)):
        shown = f"{address[1]}://{os.fspath(path)[address.end() :]}"
        raise UsageError(f"{shown} is an address, and nothing is downloaded; save the file here first and name it.")
    try:
        if b"\0" not in os.fsencode(path):
            return
    except UnicodeEncodeError:
        pass
    raise UsageError(f"{os.fspath(path)!r} cannot be a file name; remove the characters that do not print.")


MAX_INPUT = 16 << 30  # bytes; twelve hours of 24-bit stereo are 13 GB
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+")  # pathlib leaves one slash of two


def check_input(path: str | os.PathLike[str], kind: str) -> Path:
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
    if size > MAX_INPUT:  # such as /proc/kcore, or a sparse file
        raise InputError(f"{file} is larger than {MAX_INPUT >> 30} GiB; cut it or export the {kind} smaller.")
    return file


def sha256(path: str | os.PathLike[str]) -> str:
    """Hex digest of an ordinary file, read in blocks, at most as long as `check_input` allows. Raises OSError."""
    digest, left = hashlib.sha256(), MAX_INPUT
    with open(path, "rb", opener=_ordinary) as file:
        while block := file.read(1 << 20):
            digest.update(block)
            if (left := left - len(block)) < 0:
                raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), os.fspath(path))
    return digest.hexdigest()


def _ordinary(path: str, flags: int) -> int:
    """Open a file that ends: a pipe would be waited for, and a device read for ever."""
    descriptor = os.open(path, flags | system.flags("O_NONBLOCK"))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "no ordinary file", path)
    return descriptor


def check_output(
    out: str | os.PathLike[str], overwrite: bool = True, suffixes: tuple[str, ...] = VIDEO_SUFFIXES
) -> Path:
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


class Workspace:
    """A hidden folder of this process's own beside `out`, for what is not finished.

    Its name is random and made exclusively, nobody else can write in it, and only names that we give are ever removed
    from it. It is locked while this process lives: what a killed one left is swept by the next that writes in that
    folder. With a key, finished pieces stay for another attempt (see `find`), a week at the most.
    """

    def __init__(self, out: Path, key: str | None = None) -> None:
        """key: hash of all that decides the pieces. Raises UsageError if another process is making the same file."""
        self.out = out
        self.pieces: list[tuple[int, str]] = []  # bytes and SHA-256 of those that are finished
        self._key = key
        sweep(out.parent, making=out.name)
        try:
            self.path, self._lock = _new_folder(out.parent)
            try:
                self._note()
            except OSError:
                self.remove()
                raise
        except OSError as error:
            raise write_error(out, error.strerror) from error

    @classmethod
    def find(cls, out: Path, key: str) -> Workspace | None:
        """The folder that an interrupted process of the same key left for `out`, taken over. Raises UsageError."""
        for path, held in _spaces(out.parent):
            if held.get("out") == out.name and held.get("key") == key:
                with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
                    pieces = [(int(size), str(digest)) for size, digest in held["pieces"]]
                    lock = os.open(path / _LOCK, _LOCKING)
                    if not _flock(lock):
                        os.close(lock)
                        raise _being_made(out)
                    space = cls.__new__(cls)
                    space.out, space.path, space.pieces, space._key, space._lock = out, path, pieces, key, lock
                    return space
        return None

    def add(self, piece: Path) -> None:
        """Note that a piece in the folder is finished."""
        self.pieces.append((piece.stat().st_size, sha256(piece)))
        try:
            self._note()
        except OSError as error:
            raise write_error(self.out, error.strerror) from error

    def intact(self, number: int, piece: Path) -> bool:
        """Whether the file of a finished piece is as it was."""
        size, digest = self.pieces[number]
        with contextlib.suppress(OSError):
            return piece.stat().st_size == size and sha256(piece) == digest
        return False

    def leave(self) -> None:
        """Let another attempt go on with the pieces."""
        os.close(self._lock)

    def remove(self) -> None:
        """Remove the folder and what is in it."""
        _remove(self.path, self._lock)

    def _note(self) -> None:
        held = {"emotalk": _FORMAT, "host": socket.gethostname(), "out": self.out.name, "key": self._key}
        part = self.path / f"part.{_MANIFEST}"
        with contextlib.suppress(FileNotFoundError):
            part.unlink()
        with open(os.open(part, _EXCLUSIVE, 0o600), "w", encoding="utf-8") as file:
            json.dump(held | {"pieces": self.pieces}, file)
        os.replace(part, self.path / _MANIFEST)


_LOCK, _MANIFEST, _FORMAT = "lock", "manifest.json", 1
_MAX_MANIFEST = 4 << 20  # bytes
_EXCLUSIVE = system.flags("O_RDWR", "O_CREAT", "O_EXCL", "O_NOFOLLOW", "O_CLOEXEC", "O_BINARY")
_LOCKING = system.flags("O_RDWR", "O_NOFOLLOW", "O_CLOEXEC", "O_BINARY")
_LOOKING = system.flags("O_RDONLY", "O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY")
_FOLDER = re.compile(r"\.emotalk-[0-9a-f]{16}\.work")
_OURS = re.compile(
    rf"{_LOCK}|{re.escape(_MANIFEST)}|part(\..*)?|\d{{6,}}\.(mp4|mov|webm|png)|pieces\.ffconcat", re.DOTALL
)
_OLD = re.compile(r"\.emotalk-[0-9a-f]{12}\.part(\.old)?")  # of versions before 0.2
_TRIES = 8
_KEPT_SECONDS = 7 * 86400.0  # that pieces stay for another attempt


def sweep(folder: Path, everything: bool = False, making: str | None = None) -> list[Path]:
    """Remove what dead processes of ours left in a folder; returns what was removed.

    everything: also pieces that an interrupted video may still use, and files of older versions. making: an output's
    name, whose old pieces are not wanted any more; raises UsageError if a living process is making it.
    """
    removed = []
    for path, held in _spaces(folder):
        age, wanted = time.time() - _modified(path), bool(held.get("key") and held.get("pieces"))
        try:
            lock = os.open(path / _LOCK, _LOCKING)
        except OSError:
            lock = -1
        if alive := lock >= 0 and not _flock(lock, unknown=False):
            dead = False
        elif not held:  # killed as it began
            dead = lock >= 0 or _vacant(path)
        elif everything or held.get("out") == making:
            dead = True
        else:  # another machine's locks may not be seen here
            dead = age > _KEPT_SECONDS or (not wanted and held.get("host") == socket.gethostname())
        if dead:
            _remove(path, lock)
            removed.append(path)
        elif lock >= 0:
            os.close(lock)
        if alive and making is not None and held.get("out") == making:
            raise _being_made(folder / making)
    for path in _entries(folder, _OLD) if everything else ():
        with contextlib.suppress(OSError):
            if stat.S_ISREG(path.lstat().st_mode) and system.owned(path.lstat()):
                path.unlink()
                removed.append(path)
    return removed


def _entries(folder: Path, pattern: re.Pattern[str]) -> list[Path]:
    try:
        return [folder / name for name in os.listdir(folder) if pattern.fullmatch(name)]
    except OSError:
        return []


def _spaces(folder: Path) -> list[tuple[Path, dict[str, Any]]]:
    """Hidden folders that are ours, with their manifests; {} for one without."""
    found = []
    for path in _entries(folder, _FOLDER):
        with contextlib.suppress(OSError):
            about = path.lstat()
            if stat.S_ISDIR(about.st_mode) and system.owned(about):
                found.append((path, _manifest(path / _MANIFEST)))
    return found


def _manifest(path: Path) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError, RecursionError):
        with open(os.open(path, _LOOKING), "rb") as file:
            about = os.fstat(file.fileno())
            if stat.S_ISREG(about.st_mode) and system.owned(about) and about.st_size <= _MAX_MANIFEST:
                held = json.loads(file.read())
                if isinstance(held, dict) and held.get("emotalk") == _FORMAT:
                    return held
    return {}


def _modified(path: Path) -> float:
    try:
        return path.lstat().st_mtime
    except OSError:
        return time.time()


def _new_folder(parent: Path) -> tuple[Path, int]:
    """A new folder and its lock, held. Until it is held, a sweep may take the folder for a dead process's."""
    failed = OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    for _ in range(_TRIES):
        path = parent / f".emotalk-{secrets.token_hex(8)}.work"
        try:
            os.mkdir(path, 0o700)
            try:
                lock = os.open(path / _LOCK, _EXCLUSIVE, 0o600)
            except OSError:
                _vacant(path)
                raise
        except (FileExistsError, FileNotFoundError) as error:
            failed = error
            continue
        if _flock(lock) and os.fstat(lock).st_nlink:
            return path, lock
        os.close(lock)
    raise failed


def _vacant(path: Path) -> bool:
    """Remove a folder with nothing in it; whether it was one."""
    try:
        os.rmdir(path)
    except OSError:
        return False
    return True


def _remove(path: Path, lock: int) -> None:
    """Remove a folder of ours with what we have put there, and nothing else. lock: descriptor, is closed; or -1."""
    if os.unlink not in os.supports_dir_fd:  # Windows, where an open file cannot be removed either
        if lock >= 0:
            os.close(lock)
        lock = -1
        with contextlib.suppress(OSError):
            for name in os.listdir(path) if not path.is_symlink() else ():
                with contextlib.suppress(OSError):
                    if _OURS.fullmatch(name):
                        os.unlink(path / name)
    else:
        _remove_held(path)
    if lock >= 0:
        os.close(lock)
    with contextlib.suppress(OSError):
        os.rmdir(path)


def _remove_held(path: Path) -> None:
    """Empty a folder of ours while nobody can put another in its place."""
    with contextlib.suppress(OSError):
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            if system.owned(os.fstat(folder)):
                for name in sorted(os.listdir(folder), key=_LOCK.__eq__):  # the lock at last
                    with contextlib.suppress(OSError):
                        if _OURS.fullmatch(name):
                            os.unlink(name, dir_fd=folder)
        finally:
            os.close(folder)


def _flock(descriptor: int, unknown: bool = True) -> bool:
    """Hold a file until it is closed; False if somebody else does. unknown: the answer where there are no locks."""
    held = system.lock(descriptor)
    return unknown if held is None else held


def _being_made(out: Path) -> UsageError:
    return UsageError(f"{out} is being made by another emotalk; wait or choose another output.")


class PartFile:
    """A temporary file in a hidden folder beside `out` that takes its name on `commit` and vanishes on `discard`.

    As a context manager it commits at the end of the block, or discards after an exception. A process that is killed
    leaves it behind; the next one that writes in the same folder removes it.
    """

    def __init__(self, out: Path, space: Workspace | None = None) -> None:
        """space: a folder to use that stays. Raises UsageError if another process is writing the same output."""
        self.out = out
        self.shown = out if space is None else space.out  # in messages
        self._own = Workspace(out) if space is None else None
        self._space = self._own or space
        assert self._space is not None
        self.path = self._space.path / f"part{out.suffix}"
        try:
            with contextlib.suppress(FileNotFoundError):
                self.path.unlink()
            os.close(os.open(self.path, _EXCLUSIVE, 0o666))
        except OSError as error:
            self.discard()
            raise write_error(self.shown, error.strerror) from error

    def commit(self) -> None:
        """Give the file its name, atomically. Raises EmoTalkError and removes it if that fails."""
        try:
            with open(self.path, "r+b") as file:
                os.fsync(file.fileno())  # or a power cut could leave the name on an empty file
            os.replace(self.path, self.out)
        except OSError as error:
            self.discard()
            raise write_error(self.shown, error.strerror) from error
        if self._own is not None:
            self._own.remove()

    def discard(self) -> None:
        """Remove the temporary file."""
        with contextlib.suppress(OSError):
            self.path.unlink()
        if self._own is not None:
            self._own.remove()
            self._own = None

    def __enter__(self) -> PartFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        if kind is None:
            self.commit()
        else:
            self.discard()


@contextlib.contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """A hidden file beside `path` to write, which takes its name at the end of the block and vanishes after an error.

    For files of our own (weights, logs, caches); what users ask for goes through `PartFile`.
    """
    part = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_error(out: Path, reason: str | None) -> EmoTalkError:
    """One sentence for a failed write, with the remedy that fits `reason` (ffmpeg's or the system's words)."""
    reason = reason or "unknown error"
    if "No space left" in reason or "File too large" in reason or "quota" in reason:
        return EmoTalkError(f"No room to write {out}; free some disk space or choose another output.")
    return EmoTalkError(f"{out} could not be written ({reason.rstrip('.')}); choose another output.")
