"""Video files: frames stream into ffmpeg while they are made, and the file gets its name when it is complete."""

from __future__ import annotations

import abc
import os
import queue
import signal
import threading
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np

from ..errors import EmoTalkError, InputError, UsageError
from .ffmpeg import MEMORY, TIMING, Child, packets, playback
from .files import PartFile, Workspace, check_output, write_error

QUALITY = 17  # x264's constant rate factor: visually lossless for faces
_THREADS = 2  # fixed, because x264's output depends on it
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
        """Append one frame, uint8 [H, W, 3]. Raises EmoTalkError."""

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


class VideoWriter(Writer):
    """H.264 + AAC file from RGB frames and, optionally, the sound of a media file.

        with VideoWriter(path, (512, 512), fps=25, audio="speech.wav") as writer:
            for frame in frames:          # uint8 [H, W, 3]
                writer.write(frame)

    The file appears under its name when the block ends without an exception; otherwise nothing is left.
    A thread feeds ffmpeg, so encoding overlaps with making the frames; at most a few frames wait, so memory
    is constant. The same frames and sound give the same bytes.
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
    ) -> None:
        """size: (width, height), both even. audio: its first audio stream is kept, whole.

        metadata: tags of the container. finish: is given the complete file before it gets its name, for example to
        sign it. space: where it lies until then. Errors as `check_output`.
        """
        self.out = check_output(out, overwrite)
        self.frames = 0
        self._overwrite, self._finish, self._sounding = overwrite, finish, audio is not None
        self._shape = (size[1], size[0], 3)
        if size[0] % 2 or size[1] % 2 or min(size) < 2:
            raise ValueError(f"video sides must be even, not {size}")
        self._part = PartFile(self.out, space)
        self._queue: queue.Queue[bytes | None] = queue.Queue(_QUEUE)
        self._broken = threading.Event()
        try:
            command = _encoding(self._part.path, size, fps, audio, metadata or {})
            self._child = Child(command, feed=True, memory=MEMORY["video"])
        except BaseException:
            self._part.discard()
            raise
        self._feeder = threading.Thread(target=self._feed, daemon=True)
        self._feeder.start()

    def write(self, frame: np.ndarray) -> None:
        """Append one frame, uint8 [H, W, 3]. Raises EmoTalkError as soon as the encoder has failed."""
        if frame.shape != self._shape or frame.dtype != np.uint8:
            raise ValueError(f"a frame must be uint8 {list(self._shape)}, not {frame.dtype} {list(frame.shape)}")
        self._put(frame.tobytes())
        self.frames += 1

    def close(self) -> None:
        """Finish the file and give it its name. Raises EmoTalkError, and leaves nothing, if ffmpeg failed."""
        try:
            self._put(None)
            self._feeder.join()
            if self._child.finished() != 0 or self._broken.is_set():
                raise self._error()
            verify(self._part.path, self.frames, self._sounding, self._part.shown)
            if self._finish is not None:
                self._finish(self._part.path)
            if not self._overwrite and self.out.exists():
                raise UsageError(f"{self.out} exists already; choose another output or allow overwriting.")
            self._part.commit()
        except BaseException:
            self.abort()
            raise

    def abort(self) -> None:
        """Stop encoding and remove what was written."""
        self._broken.set()
        self._child.process.kill()
        self._feeder.join()
        self._child.stop()
        self._part.discard()

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
        return _failure(self._part.shown, self._child)


def join(
    pieces: list[Path],
    fps: float,
    frames: list[int],
    out: Path,
    audio: str | os.PathLike[str] | None,
    metadata: dict[str, str],
) -> None:
    """Write to `out` the video of `pieces`, not encoded again, with the sound of `audio`, if any.

    pieces: plainly named files of `VideoWriter` in one folder, `frames` each. Raises EmoTalkError.
    """
    listing = pieces[0].parent / "pieces.ffconcat"
    lines = [f"file {piece.name}\nduration {float(count / _rate(fps)):.9f}\n" for piece, count in zip(pieces, frames)]
    listing.write_text("ffconcat version 1.0\n" + "".join(lines))
    command = ["-f", "concat", "-protocol_whitelist", "file", "-i", f"file:{listing}"]
    command += _sound(audio) if audio is not None else []
    command += ["-codec:v", "copy", *_container(out, metadata)]
    child = Child(["-nostdin", "-y", *command], memory=MEMORY["video"])
    try:
        code = child.finished()
    finally:
        child.stop()
    if code != 0:
        raise _failure(out, child)


def verify(video: Path, frames: int, sounding: bool, out: Path) -> None:
    """Raise EmoTalkError unless the file can be read to its end and holds so many frames, and sound if it should."""
    streams = packets(video)
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


def _encoding(
    part: Path, size: tuple[int, int], fps: float, audio: str | os.PathLike[str] | None, metadata: dict[str, str]
) -> list[str]:
    command = ["-y", "-f", "rawvideo", "-pixel_format", "rgb24", "-video_size", f"{size[0]}x{size[1]}"]
    command += ["-framerate", str(_rate(fps)), "-i", "pipe:0"]
    if audio is not None:
        command += _sound(audio)
    colours = "scale=out_color_matrix=bt709:out_range=tv:flags=accurate_rnd+full_chroma_int+bitexact,format=yuv420p"
    command += ["-filter:v", colours, "-codec:v", "libx264", "-preset", "fast", "-crf", str(QUALITY)]
    command += ["-threads", str(_THREADS), "-flags:v", "+bitexact"]
    command += ["-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709", "-color_range", "tv"]
    return command + _container(part, metadata)


def _sound(audio: str | os.PathLike[str]) -> list[str]:
    """The sound that was analysed (`ffmpeg.read_samples`), at its own rate, in the same time."""
    command = [*playback(Path(audio)), "-filter:a"]
    command += [f"{TIMING},aformat=sample_rates={_SAMPLE_RATES}:channel_layouts=mono|stereo"]
    return [*command, "-codec:a", "aac", "-b:a", "160k", "-flags:a", "+bitexact"]


def _container(part: Path, metadata: dict[str, str]) -> list[str]:
    command = ["-map_metadata", "-1", "-map_chapters", "-1", "-fflags", "+bitexact", "-movflags", "+faststart"]
    for key, value in metadata.items():
        command += ["-metadata", f"{key}={value}"]
    return [*command, "-f", "mov" if part.suffix.lower() == ".mov" else "mp4", f"file:{part}"]
