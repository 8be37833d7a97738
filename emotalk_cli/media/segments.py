"""Long videos: encoded in pieces that survive an interruption, then joined without encoding them again.

The pieces lie in a hidden folder beside the output. Each is a closed video of its own, so the joined file does not
depend on where a render was interrupted.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..errors import UsageError
from .files import PartFile, check_output, hidden, lock, write_error
from .video import VideoWriter, Writer, join

SECONDS = 30.0  # of a piece
_MANIFEST = "manifest.json"


def piece_frames(fps: float, batch: int) -> int:
    """Frames in a piece: about `SECONDS`, a multiple of the frames that are made at once."""
    return math.ceil(SECONDS * fps / batch) * batch


class SegmentedWriter(Writer):
    """Like `VideoWriter`, for `total` frames in pieces of `length`.

    key: hash of all that decides the frames. With `resume`, pieces that an earlier render of the same key completed
    are kept, and `done` says how many frames they hold: write the others only. The sound is added at the end. After
    an error complete pieces stay for another attempt, under no name that could be taken for the video.
    """

    def __init__(
        self,
        out: str | os.PathLike,
        size: tuple[int, int],
        fps: float,
        audio: str | os.PathLike | None,
        total: int,
        length: int,
        key: str,
        resume: bool = False,
        overwrite: bool = True,
        metadata: dict[str, str] | None = None,
        finish: Callable[[Path], None] | None = None,
    ) -> None:
        """Other arguments as in `VideoWriter`. Raises UsageError if another process is making the same video."""
        self.out = check_output(out, overwrite)
        self._size, self._fps, self._audio = size, fps, audio
        self._overwrite, self._metadata, self._finish = overwrite, metadata or {}, finish
        self._counts = [min(length, total - start) for start in range(0, total, length)]
        self._folder = hidden(self.out, "work")
        self._piece: VideoWriter | None = None
        try:
            self._folder.mkdir(exist_ok=True)
            self._lock = open(self._folder / "lock", "w")
            lock(self._lock, self.out)
        except OSError as error:
            raise write_error(self.out, error.strerror) from error
        manifest = self._folder / _MANIFEST
        if not (resume and _key(manifest) == key):
            self._clear()
            with PartFile(manifest) as part:
                part.path.write_text(json.dumps({"out": self.out.name, "key": key}))
        self._paths = [self._folder / f"{n:06d}.mp4" for n in range(len(self._counts))]
        self.done = self.kept
        self._next = self._complete

    def write(self, frame: np.ndarray) -> None:
        """Append one frame, uint8 [H, W, 3], the first being number `done`. Raises EmoTalkError."""
        if self._piece is None:
            self._piece = VideoWriter(self._paths[self._next], self._size, self._fps)
        self._piece.write(frame)
        if self._piece.frames == self._counts[self._next]:
            self._piece.close()
            self._piece, self._next = None, self._next + 1

    @property
    def kept(self) -> int:
        """Frames in complete pieces."""
        return sum(self._counts[: self._complete])

    @property
    def _complete(self) -> int:
        return next((n for n, path in enumerate(self._paths) if not path.exists()), len(self._paths))

    def close(self) -> None:
        """Join the pieces, add the sound, give the file its name and remove the pieces."""
        try:
            if self._complete < len(self._paths):
                raise ValueError(f"{self.kept} of {sum(self._counts)} frames written")
            with PartFile(self.out) as part:
                join(self._paths, self._fps, self._counts, part.path, self._audio, self._metadata)
                if self._finish is not None:
                    self._finish(part.path)
                if not self._overwrite and self.out.exists():
                    raise UsageError(f"{self.out} exists already; choose another output or allow overwriting.")
        except BaseException:
            self.abort()
            raise
        self._remove()

    def abort(self) -> None:
        """Stop; complete pieces stay."""
        if self._piece is not None:
            self._piece.abort()
            self._piece = None
        if self._complete == 0:
            self._remove()
        else:
            self._lock.close()

    def _clear(self) -> None:
        for path in self._folder.iterdir():
            if path.name != "lock":
                path.unlink()

    def _remove(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        self._lock.close()


def _key(manifest: Path) -> str | None:
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return json.loads(manifest.read_text()).get("key")
    return None
