"""Video files: frames stream into ffmpeg while they are made, and the file gets its name when it is complete."""

from __future__ import annotations

import abc
import io
import os
import queue
import signal
import threading
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import IO

import numpy as np

from ..errors import EmoTalkError, InputError, UsageError
from .ffmpeg import MEMORY, TIMING, Child, packets, playback
from .files import PartFile, Workspace, check_output, write_error
from .formats import Format, choose, numbered

_QUEUE = 8  # frames that may wait for the encoder
_SAMPLE_RATES = "8000|11025|12000|16000|22050|24000|32000|44100|48000"  # what AAC players handle; the nearest is taken


class Writer(abc.ABC):
    """Takes frames; as a context manager it closes at the end of the block, or aborts after an exception."""

    done: int = 0  # frames of an earlier attempt; see `segments`

    @property
    def kept(self) -> int:
        """Frames that a later attempt need not make."""
        return 0

    @abc.abstractmethod
    def write(self, frame: np.ndarray) -> None:
        """Append one frame, uint8 [H, W, 3]; with alpha, [H, W, 4]. Raises EmoTalkError."""

    @abc.abstractmethod
    def close(self) -> None:
        """Finish the file and give it its name."""

    @abc.abstractmethod
    def abort(self) -> None:
        """Stop; leave no file of that name."""

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()


class _Encoder(Writer):
    """Frames into a running ffmpeg. A thread feeds it, so encoding overlaps with making the frames; at most a few of
    them wait, so memory is constant."""

    def __init__(
        self,
        form: Format,
        size: tuple[int, int],
        fps: float,
        audio: str | os.PathLike[str] | None,
        alpha: bool,
        metadata: dict[str, str] | None,
        target: list[str],
        shown: Path,
        read: bool = False,
        seconds: float | None = None,
    ) -> None:
        """target: ffmpeg's arguments that name the output. shown: in messages. read: whether we take that output.

        seconds: of sound at most.
        """
        self.frames = 0
        self._form, self._shown, self._sounding = form, shown, audio is not None and form.sound is not None
        self._shape = (size[1], size[0], 4 if alpha else 3)
        if size[0] % 2 or size[1] % 2 or min(size) < 2:
            raise ValueError(f"video sides must be even, not {size}")
        self._queue: queue.Queue[bytes | None] = queue.Queue(_QUEUE)
        self._broken = threading.Event()
        command = ["-y", "-f", "rawvideo", "-pixel_format", "rgba" if alpha else "rgb24"]
        command += ["-video_size", f"{size[0]}x{size[1]}", "-framerate", str(_rate(fps)), "-i", "pipe:0"]
        command += _sound(audio, form, seconds) if audio is not None else []
        command += [*form.encoding(alpha), "-flags:v", "+bitexact", *_described(metadata or {}), *form.muxing(alpha)]
        memory = None if form.on_card else MEMORY["video"]
        self._child = Child([*command, *target], feed=True, read=read, memory=memory)
        self._feeder = threading.Thread(target=self._feed, daemon=True)
        self._feeder.start()

    def write(self, frame: np.ndarray) -> None:
        """Append one frame, uint8 [H, W, 3 or 4]. Raises EmoTalkError as soon as the encoder has failed."""
        if frame.shape != self._shape or frame.dtype != np.uint8:
            raise ValueError(f"a frame must be uint8 {list(self._shape)}, not {frame.dtype} {list(frame.shape)}")
        self._put(frame.tobytes())
        self.frames += 1

    def close(self) -> None:
        """Finish what is written. Raises EmoTalkError, and leaves nothing, if ffmpeg failed."""
        try:
            self._put(None)
            self._feeder.join()
            if self._child.finished() != 0 or self._broken.is_set():
                raise self._error()
            self._complete()
        except BaseException:
            self.abort()
            raise

    def abort(self) -> None:
        """Stop encoding and remove what was written."""
        self._broken.set()
        self._child.process.kill()
        self._feeder.join()
        self._child.stop()
        self._discard()

    @abc.abstractmethod
    def _complete(self) -> None:
        """All frames are encoded."""

    def _discard(self) -> None:
        """Remove what was written."""

    def _put(self, data: bytes | None) -> None:
        while True:
            if self._broken.is_set():
                self._child.finished()
                raise self._error()
            try:
                return self._queue.put(data, timeout=0.2)
            except queue.Full:
                continue

    def _feed(self) -> None:
        try:
            assert self._child.process.stdin is not None
            with self._child.process.stdin as pipe:
                while not self._broken.is_set():
                    try:
                        data = self._queue.get(timeout=0.2)
                    except queue.Empty:
                        continue
                    if data is None:
                        return
                    pipe.write(data)
        except OSError:  # ffmpeg has gone; its messages say why
            self._broken.set()

    def _error(self) -> EmoTalkError:
        return _failure(self._shown, self._child)


class VideoWriter(_Encoder):
    """A video file from frames and, optionally, the sound of a media file.

        with VideoWriter(path, (512, 512), fps=25, audio="speech.wav") as writer:
            for frame in frames:          # uint8 [H, W, 3]
                writer.write(frame)

    The file appears under its name when the block ends without an exception; otherwise nothing is left. The same
    frames and sound give the same bytes.
    """

    def __init__(
        self,
        out: str | os.PathLike[str],
        size: tuple[int, int],
        fps: float = 25.0,
        audio: str | os.PathLike[str] | None = None,
        overwrite: bool = True,
        metadata: dict[str, str] | None = None,
        finish: Callable[[Path], None] | None = None,
        space: Workspace | None = None,
        form: Format | None = None,
        alpha: bool = False,
        seconds: float | None = None,
    ) -> None:
        """size: (width, height), both even. audio: its first audio stream is kept, whole.

        metadata: tags of the container. finish: is given the complete file before it gets its name, for example to
        sign it. space: where it lies until then. form: by default that of the name. alpha: whether frames are
        [H, W, 4], not premultiplied. seconds: of sound at most. Errors as `check_output`.
        """
        self.out = check_output(out, overwrite)
        self._overwrite, self._finish = overwrite, finish
        self._part = PartFile(self.out, space)
        try:
            target = [f"file:{self._part.path}"]
            form = form or choose(self.out, alpha=alpha)
            super().__init__(form, size, fps, audio, alpha, metadata, target, self._part.shown, seconds=seconds)
        except BaseException:
            self._part.discard()
            raise

    def _complete(self) -> None:
        verify(self._part.path, self.frames, self._sounding, self._part.shown, self._form)
        if self._finish is not None:
            self._finish(self._part.path)
        if not self._overwrite and self.out.exists():
            raise UsageError(f"{self.out} exists already; choose another output or allow overwriting.")
        self._part.commit()

    def _discard(self) -> None:
        self._part.discard()


class SequenceWriter(_Encoder):
    """Numbered pictures, from 1, such as frame-%06d.png; they get their names when all are complete.

    finish: is called with nothing before that.
    """

    def __init__(
        self,
        out: str | os.PathLike[str],
        size: tuple[int, int],
        fps: float,
        form: Format,
        alpha: bool,
        overwrite: bool = True,
        finish: Callable[[], None] | None = None,
    ) -> None:
        """out: a pattern, see `formats.is_sequence`. Errors as `check_output`."""
        self.out = check_output(out, overwrite)
        check_output(numbered(self.out, 1), overwrite)
        self._finish, self._space = finish, Workspace(self.out)
        try:
            target = [f"file:{self._space.path / '%06d.png'}"]
            super().__init__(form, size, fps, None, alpha, None, target, self.out)
        except BaseException:
            self._space.remove()
            raise

    def _complete(self) -> None:
        made = [self._space.path / f"{number:06d}.png" for number in range(1, self.frames + 1)]
        if not all(path.is_file() for path in made):
            raise EmoTalkError(f"{self.out} came out damaged; check the disk, try again.")
        if self._finish is not None:
            self._finish()
        try:
            for number, path in enumerate(made, 1):
                os.replace(path, numbered(self.out, number))
        except OSError as error:
            raise write_error(self.out, error.strerror) from error
        self._space.remove()

    def _discard(self) -> None:
        self._space.remove()


class StreamWriter(_Encoder):
    """A video that flows into a pipe while it is made."""

    def __init__(
        self,
        pipe: IO[bytes],
        size: tuple[int, int],
        fps: float,
        audio: str | os.PathLike[str] | None,
        metadata: dict[str, str] | None,
        form: Format,
        alpha: bool,
        finish: Callable[[], None] | None = None,
        seconds: float | None = None,
    ) -> None:
        """finish: is called with nothing at the end. seconds: of sound at most."""
        place = Path("standard output")
        super().__init__(form, size, fps, audio, alpha, metadata, ["pipe:1"], place, read=True, seconds=seconds)
        self._finish, self._pipe = finish, pipe
        self._gone: OSError | None = None  # why nobody reads any more
        self._pump = threading.Thread(target=self._pass, daemon=True)
        self._pump.start()

    def _pass(self) -> None:
        source = self._child.process.stdout
        assert isinstance(source, io.BufferedReader)
        try:
            while data := source.read1(1 << 16):
                self._pipe.write(data)
                self._pipe.flush()
        except OSError as error:
            self._gone = error
            self._child.process.kill()

    def _complete(self) -> None:
        self._pump.join()
        if self._gone is not None:
            raise self._error()
        if self._finish is not None:
            self._finish()

    def _error(self) -> EmoTalkError:
        self._pump.join()
        if self._gone is not None:
            return EmoTalkError(f"Nobody reads the video any more ({self._gone.strerror}); it was not finished.")
        return super()._error()


def join(
    pieces: list[Path],
    fps: float,
    frames: list[int],
    out: Path,
    audio: str | os.PathLike[str] | None,
    metadata: dict[str, str],
    form: Format,
    alpha: bool = False,
    seconds: float | None = None,
) -> None:
    """Write to `out` the video of `pieces`, not encoded again, with the sound of `audio`, if any.

    pieces: plainly named files of `VideoWriter` in one folder, `frames` each. seconds: of sound at most.

    Raises EmoTalkError.
    """
    listing = pieces[0].parent / "pieces.ffconcat"
    lines = [f"file {piece.name}\nduration {float(count / _rate(fps)):.9f}\n" for piece, count in zip(pieces, frames)]
    listing.write_text("ffconcat version 1.0\n" + "".join(lines))
    command = ["-f", "concat", "-protocol_whitelist", "file", "-i", f"file:{listing}"]
    command += _sound(audio, form, seconds) if audio is not None else []
    command += ["-codec:v", "copy", *_described(metadata), *form.muxing(alpha), f"file:{out}"]
    child = Child(["-nostdin", "-y", *command], memory=MEMORY["video"])
    try:
        code = child.finished()
    finally:
        child.stop()
    if code != 0:
        raise _failure(out, child)


def verify(video: Path, frames: int, sounding: bool, out: Path, form: Format) -> None:
    """Raise EmoTalkError unless the file can be read to its end and holds so many frames, and sound if it should."""
    streams = packets(video, form.demuxer)
    if streams.get(0) != frames or (sounding and not streams.get(1)):
        raise EmoTalkError(
            f"{out} came out damaged (frames: {streams.get(0, 0)} of {frames}); check the disk, try again."
        )


def _failure(out: Path, child: Child) -> EmoTalkError:
    """What the end of an encoder means for the user."""
    text = " ".join(child.errors)
    if "matches no streams" in text or "Error opening input" in text:
        return InputError("The sound could not be read a second time; do not change the audio file meanwhile.")
    for words in ("No space left on device", "File too large", "Disk quota exceeded"):
        if words in text:
            return write_error(out, words)
    if child.process.returncode == -getattr(signal, "SIGXFSZ", 0):  # the shell's limit on file sizes
        return write_error(out, "File too large")
    return child.failure() or write_error(out, f"ffmpeg: {child.last}")


def _rate(fps: float) -> Fraction:
    return Fraction(fps).limit_denominator(1001)


def _sound(audio: str | os.PathLike[str], form: Format, seconds: float | None) -> list[str]:
    """The sound that was analysed (`ffmpeg.read_samples`), at its own rate, in the same time; nothing where a format
    holds none."""
    if form.sound is None:
        return []
    rates = "48000" if form.container == "webm" else _SAMPLE_RATES
    end = f",atrim=end={seconds:.6f}" if seconds is not None else ""
    command = [*playback(Path(audio)), "-filter:a"]
    command += [f"{TIMING}{end},aformat=sample_rates={rates}:channel_layouts=mono|stereo"]
    return [*command, *form.sound, "-flags:a", "+bitexact"]


def _described(metadata: dict[str, str]) -> list[str]:
    command = ["-map_metadata", "-1", "-map_chapters", "-1", "-fflags", "+bitexact"]
    for key, value in metadata.items():
        command += ["-metadata", f"{key}={value}"]
    return command
