"""Video files: frames stream into ffmpeg while they are made, and the file gets its name when it is complete."""

from __future__ import annotations

import collections
import os
import queue
import secrets
import signal
import subprocess
import threading
from fractions import Fraction
from pathlib import Path

import numpy as np

from .errors import EmoTalkError, InputError, UsageError

SUFFIXES = (".mp4", ".m4v", ".mov")
QUALITY = 17  # x264's constant rate factor: visually lossless for faces
_THREADS = 2  # fixed, because x264's output depends on it
_QUEUE = 8  # frames that may wait for the encoder
_SAMPLE_RATES = "8000|11025|12000|16000|22050|24000|32000|44100|48000"  # what AAC players handle; the nearest is taken


def check_output(out: str | os.PathLike, overwrite: bool = True, suffixes: tuple[str, ...] = SUFFIXES) -> Path:
    """The absolute path of a file that is to be written, or UsageError saying why it cannot be."""
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


class PartFile:
    """A hidden temporary file beside `out` that takes its name on `commit` and vanishes on `discard`.

    As a context manager it commits at the end of the block, or discards after an exception.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self.path = out.parent / f".emotalk-{secrets.token_hex(6)}.part"
        try:
            open(self.path, "xb").close()
        except OSError as error:
            raise write_error(out, error.strerror) from error

    def commit(self) -> None:
        """Give the file its name, atomically. Raises EmoTalkError and removes it if that fails."""
        try:
            os.replace(self.path, self.out)
        except OSError as error:
            self.discard()
            raise write_error(self.out, error.strerror) from error

    def discard(self) -> None:
        """Remove the temporary file."""
        self.path.unlink(missing_ok=True)

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


class VideoWriter:
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
        out: str | os.PathLike,
        size: tuple[int, int],
        fps: float = 25.0,
        audio: str | os.PathLike | None = None,
        overwrite: bool = True,
        metadata: dict[str, str] | None = None,
    ) -> None:
        """size: (width, height), both even. audio: its first audio stream is kept, whole. Errors as `check_output`."""
        self.out = check_output(out, overwrite)
        self.frames = 0
        self._overwrite = overwrite
        self._shape = (size[1], size[0], 3)
        if size[0] % 2 or size[1] % 2 or min(size) < 2:
            raise ValueError(f"video sides must be even, not {size}")
        self._part = PartFile(self.out)
        self._messages: collections.deque[str] = collections.deque(maxlen=20)
        self._queue: queue.Queue[bytes | None] = queue.Queue(_QUEUE)
        self._broken = threading.Event()
        try:
            self._process = subprocess.Popen(
                _command(self._part.path, size, fps, audio, metadata or {}),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                start_new_session=True,  # ctrl-C is ours to handle; ffmpeg would finish the file
            )
        except BaseException:
            self._part.discard()
            raise
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._feed, self._listen)]
        for thread in self._threads:
            thread.start()

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
            for thread in self._threads:
                thread.join()
            if self._process.wait() != 0 or self._broken.is_set():
                raise self._error()
            if not self._overwrite and self.out.exists():
                raise UsageError(f"{self.out} exists already; choose another output or allow overwriting.")
            self._part.commit()
        except BaseException:
            self.abort()
            raise

    def abort(self) -> None:
        """Stop encoding and remove what was written."""
        self._broken.set()
        self._process.kill()
        self._process.wait()
        for thread in self._threads:
            thread.join()
        self._part.discard()

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, kind, error, trace) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def _put(self, data: bytes | None) -> None:
        while True:
            if self._broken.is_set():
                self._process.wait()
                self._threads[1].join()
                raise self._error()
            try:
                return self._queue.put(data, timeout=0.2)
            except queue.Full:
                continue

    def _feed(self) -> None:
        try:
            with self._process.stdin as pipe:
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

    def _listen(self) -> None:
        with self._process.stderr as pipe:
            for line in pipe:
                self._messages.append(line.decode(errors="replace").strip())

    def _error(self) -> EmoTalkError:
        text = " ".join(self._messages)
        if "matches no streams" in text or "Error opening input" in text:
            return InputError("The sound could not be read a second time; do not change the audio file meanwhile.")
        for words in ("No space left on device", "File too large", "Disk quota exceeded"):
            if words in text:
                return write_error(self.out, words)
        if self._process.returncode == -getattr(signal, "SIGXFSZ", 0):  # the shell's limit on file sizes
            return write_error(self.out, "File too large")
        return write_error(self.out, f"ffmpeg: {self._messages[-1]}" if self._messages else "ffmpeg stopped")


def _command(
    part: Path, size: tuple[int, int], fps: float, audio: str | os.PathLike | None, metadata: dict[str, str]
) -> list[str]:
    from imageio_ffmpeg import get_ffmpeg_exe

    rate = str(Fraction(fps).limit_denominator(1001))
    command = [get_ffmpeg_exe(), "-nostdin", "-hide_banner", "-loglevel", "error", "-y"]
    command += ["-f", "rawvideo", "-pixel_format", "rgb24", "-video_size", f"{size[0]}x{size[1]}"]
    command += ["-framerate", rate, "-i", "pipe:0"]
    if audio is not None:
        command += ["-i", f"file:{Path(audio).resolve()}", "-map", "0:v:0", "-map", "1:a:0"]
        # the samples one after another, as they were heard, whatever the container's time stamps say
        command += ["-filter:a", f"asetpts=N/SR/TB,aformat=sample_rates={_SAMPLE_RATES}:channel_layouts=mono|stereo"]
        command += ["-codec:a", "aac", "-b:a", "160k", "-flags:a", "+bitexact"]
    colours = "scale=out_color_matrix=bt709:out_range=tv:flags=accurate_rnd+full_chroma_int+bitexact,format=yuv420p"
    command += ["-filter:v", colours, "-codec:v", "libx264", "-preset", "fast", "-crf", str(QUALITY)]
    command += ["-threads", str(_THREADS), "-flags:v", "+bitexact"]
    command += ["-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709", "-color_range", "tv"]
    command += ["-map_metadata", "-1", "-map_chapters", "-1", "-fflags", "+bitexact", "-movflags", "+faststart"]
    for key, value in metadata.items():
        command += ["-metadata", f"{key}={value}"]
    return [*command, "-f", "mp4", f"file:{part}"]
