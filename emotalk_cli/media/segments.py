"""Long videos: encoded in pieces that survive an interruption, then joined without encoding them again.

The pieces lie in a hidden folder beside the output, whose manifest holds their lengths and hashes: what has changed
since is made again. Each is a closed video of its own, so the joined file does not depend on where a render was
interrupted.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..errors import EmoTalkError, UsageError
from .files import PartFile, Workspace, check_output
from .formats import Format, choose
from .video import VideoWriter, Writer, join, verify

SECONDS = 30.0  # of a piece


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
        out: str | os.PathLike[str],
        size: tuple[int, int],
        fps: float,
        audio: str | os.PathLike[str] | None,
        total: int,
        length: int,
        key: str,
        resume: bool = False,
        overwrite: bool = True,
        metadata: dict[str, str] | None = None,
        finish: Callable[[Path], None] | None = None,
        form: Format | None = None,
        alpha: bool = False,
        seconds: float | None = None,
    ) -> None:
        """Other arguments as in `VideoWriter`. Raises UsageError if another process is making the same video."""
        self.out = check_output(out, overwrite)
        self._size, self._fps, self._audio = size, fps, audio
        self._seconds = seconds
        self._form, self._alpha = form or choose(self.out, alpha=alpha), alpha
        self._overwrite, self._metadata, self._finish = overwrite, metadata or {}, finish
        self._counts = [min(length, total - start) for start in range(0, total, length)]
        self._piece: VideoWriter | None = None
        self._space = (Workspace.find(self.out, key) if resume else None) or Workspace(self.out, key)
        self._paths = [self._space.path / f"{n:06d}{self._form.suffix}" for n in range(len(self._counts))]
        whole = 0
        while whole < min(len(self._space.pieces), len(self._paths)) and self._space.intact(whole, self._paths[whole]):
            whole += 1
        del self._space.pieces[whole:]
        for path in self._paths[whole:]:  # whatever lies there, a link perhaps
            with contextlib.suppress(OSError):
                path.unlink()
        self.done = self.kept

    def write(self, frame: np.ndarray) -> None:
        """Append one frame, uint8 [H, W, 3], the first being number `done`. Raises EmoTalkError."""
        number = len(self._space.pieces)
        if self._piece is None:
            self._piece = VideoWriter(
                self._paths[number], self._size, self._fps, space=self._space, form=self._form, alpha=self._alpha
            )
        self._piece.write(frame)
        if self._piece.frames == self._counts[number]:
            self._piece.close()
            self._piece = None
            self._space.add(self._paths[number])

    @property
    def kept(self) -> int:
        """Frames in complete pieces."""
        return sum(self._counts[: len(self._space.pieces)])

    def close(self) -> None:
        """Join the pieces, add the sound, give the file its name and remove the pieces."""
        try:
            if len(self._space.pieces) < len(self._paths):
                raise ValueError(f"{self.kept} of {sum(self._counts)} frames written")
            for number, path in enumerate(self._paths):
                if not self._space.intact(number, path):
                    raise EmoTalkError(
                        f"A finished part of {self.out} was damaged on disk; make it again with --resume."
                    )
            with PartFile(self.out, self._space) as part:
                form = self._form
                how = self._audio, self._metadata, form, self._alpha, self._seconds
                join(self._paths, self._fps, self._counts, part.path, *how)
                sounding = self._audio is not None and form.sound is not None
                verify(part.path, sum(self._counts), sounding, self.out, form)
                if self._finish is not None:
                    self._finish(part.path)
                if not self._overwrite and self.out.exists():
                    raise UsageError(f"{self.out} exists already; choose another output or allow overwriting.")
        except BaseException:
            self.abort()
            raise
        self._space.remove()

    def abort(self) -> None:
        """Stop; complete pieces stay."""
        if self._piece is not None:
            self._piece.abort()
            self._piece = None
        if self._space.pieces:
            self._space.leave()
        else:
            self._space.remove()
