"""ffmpeg, with bounds: the only module that starts it, and the readers of every film and sound in the program.

A file may come from a stranger. So ffmpeg is told which containers it may open (none that names other files or
addresses), it opens files by path only, its pictures, memory and time have limits, and it inherits neither our open
files nor our environment. Where the system knows no `prlimit` (macOS), memory and time are bounded by the other
limits alone.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import math
import os
import re
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np

from .. import system
from ..constants import MAX_SECONDS
from ..errors import EmoTalkError, InputError, SilentError, scarce
from .files import check_input

DEMUXERS = (  # sound and video containers; no playlist, concat list, subtitle, image sequence or device
    "aac,ac3,aiff,amr,ape,asf,au,avi,caf,dts,eac3,flac,flv,gsm,loas,matroska,mov,mp3,mp4,mpc,mpc8,mpeg,mpegts,mxf,"
    "nistsphere,nut,ogg,qoa,rm,sln,sox,tta,voc,w64,wav,webm,wv,xwma"
)
MAX_PIXELS = 36_000_000  # of a film that is read: 8K and no more
MAX_FILM_SECONDS = 600.0  # of a film that lends its motion
SAMPLE_RATES = (4000, 768_000)  # Hz, of sound that is read
MAX_CHANNELS = 64
MAX_AMPLITUDE = 100.0  # of samples, beside full scale: beyond that the AAC encoder may give up
MEMORY = {"sound": 1 << 30, "film": 2 << 30, "video": 4 << 30}  # bytes of address space of a child, by what it does
CPU_SECONDS = 60  # that a reader may take before its first output, and again
_CPU_EACH = 2  # s, for each frame or block that it has delivered
_NICE = "EMOTALK_NICE"  # environment variable: niceness of children, for servers
_LINE = re.compile(r"(?:\[[^\]]* @ 0x[0-9a-f]+\] )*\[(\w+)\] (.*)")  # of ffmpeg's log, with its level
_STREAM = re.compile(r"  Stream #0:\d+.*?: (Audio|Video): (.*)")
_DURATION = re.compile(r"  Duration: (\d+):(\d\d):(\d\d\.\d+),")
_CRASHES = tuple(-system.number(name) for name in ("SIGSEGV", "SIGABRT", "SIGBUS", "SIGILL", "SIGFPE"))
_UNMAPPED = "failed to map segment"  # said by the loader of libraries where memory ends
_NO_MEMORY = (_UNMAPPED, "Cannot allocate memory", "Resource temporarily unavailable", "alloc failed")
TIMING = "aresample=async=1:first_pts=0"  # silence where time stamps have it: sound may start after the film
_HEADER = 200  # lines of the log that are kept as the input's description
_LOG_LINE = 4096  # bytes


def source(path: Path, demuxers: str = DEMUXERS) -> list[str]:
    """Arguments that name an input file, with what ffmpeg may do to read it."""
    allowed = ["-format_whitelist", demuxers, "-protocol_whitelist", "file", "-max_alloc", str(256 << 20)]
    return [*allowed, "-i", f"file:{path.resolve()}"]


def playback(path: Path) -> list[str]:
    """Arguments to read of a file only the sound that a player plays: the default track, or the best."""
    return ["-vn", "-sn", "-dn", *source(path)]


def program() -> str:
    """ffmpeg's path. Raises EmoTalkError."""
    from imageio_ffmpeg import get_ffmpeg_exe

    try:
        return str(get_ffmpeg_exe())
    except RuntimeError as error:
        raise _unusable("none was found") from error


@functools.cache
def version() -> str:
    """ffmpeg's version, as it says it. Raises EmoTalkError."""
    words = run(["-version"]).decode(errors="replace").split("\n", 1)[0].partition("version")[2].split()
    return words[0] if words else "unknown"


@functools.cache
def encodes(encoder: str, size: tuple[int, int] = (256, 256)) -> bool:
    """Whether three pictures of `size`, (width, height) px, can be encoded here: that ffmpeg lists an encoder of a card
    says nothing of the card and its driver. Raises EmoTalkError where there is no ffmpeg."""
    program()
    arguments = ["-f", "rawvideo", "-pixel_format", "rgb24", "-video_size", f"{size[0]}x{size[1]}", "-i", "pipe:0"]
    arguments += ["-pix_fmt", "yuv420p", "-codec:v", encoder, "-f", "null", "-"]
    try:
        run(arguments, bytes(3 * 3 * size[0] * size[1]), memory=None)
    except EmoTalkError:
        return False
    return True


def run(arguments: Sequence[str], data: bytes = b"", memory: int | None = MEMORY["sound"]) -> bytes:
    """What ffmpeg writes to its standard output, after reading `data`; for small things. memory: as of `Child`.

    Raises EmoTalkError.
    """
    child = Child(arguments, feed=True, read=True, memory=memory)
    stdin, stdout = child.process.stdin, child.process.stdout
    assert stdin is not None and stdout is not None

    def feed() -> None:
        with contextlib.suppress(OSError), stdin:
            stdin.write(data)

    try:
        threading.Thread(target=feed, daemon=True).start()
        out = stdout.read()
        code = child.finished()
    finally:
        child.stop()
    if code != 0:
        raise child.failure() or EmoTalkError(f"ffmpeg failed ({child.last}); run emotalk doctor.")
    return out


def frame_rate(film: Path) -> float | None:
    """Pictures a second of a film, as it says; None if it does not. Raises EmoTalkError."""
    child = Child(["-nostdin", *source(film), "-map", "0:v:0", "-t", "0", "-f", "null", "-"], cpu=CPU_SECONDS)
    try:
        child.finished()
    finally:
        child.stop()
    found = next(filter(None, (re.search(r"([\d.]+) fps", found[2]) for line in child.header
                               if (found := _STREAM.match(line)) and found[1] == "Video")), None)  # fmt: skip
    return float(found[1]) if found else None


def packets(path: Path, demuxer: str = "") -> dict[int, int]:
    """Stream number -> packets in a file, by reading all of it without decoding. Raises EmoTalkError.

    demuxer: of files that only we write; by default those of films.
    """
    read = source(path, demuxer or DEMUXERS)
    child = Child(["-nostdin", *read, "-map", "0", "-c", "copy", "-f", "framecrc", "-"], read=True)
    found: dict[int, int] = {}
    try:
        assert child.process.stdout is not None
        for line in child.process.stdout:
            if not line.startswith(b"#"):
                stream = int(line.split(b",", 1)[0])
                found[stream] = found.get(stream, 0) + 1
        if child.finished() != 0 and (failure := child.failure()):
            raise failure
    finally:
        child.stop()
    return found if child.process.returncode == 0 and not child.errors else {}


class Child:
    """A running ffmpeg. Its messages are read along by a thread, so that it never waits for us.

    header: lines that describe its input. errors: its latest complaints. ready: set when the input is described.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        feed: bool = False,
        read: bool = False,
        memory: int | None = MEMORY["sound"],
        cpu: int | None = None,
    ) -> None:
        """feed, read: whether its standard input and output are pipes of ours; otherwise they are empty.

        memory: bytes of address space; None where a card is used, whose driver reserves far more than it takes.
        cpu: seconds until `allow` is called. Raises EmoTalkError.
        """
        self._program = program()
        self.header: list[str] = []
        self.errors: collections.deque[str] = collections.deque(maxlen=20)
        self.ready = threading.Event()
        command = [self._program, "-hide_banner", "-nostats", "-loglevel", "level+info", *arguments]
        try:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE if feed else subprocess.DEVNULL,
                stdout=subprocess.PIPE if read else subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env=system.environment() | {"LC_ALL": "C", "MALLOC_ARENA_MAX": "2"},
                start_new_session=True,  # ctrl-C is ours to handle; ffmpeg would finish the file
            )
        except OSError as error:
            raise (scarce(error) or _unusable(f"{self._program}: {error.strerror}")) from error
        if memory is not None:
            self._limit("RLIMIT_AS", memory)
        if cpu is not None:
            self._limit("RLIMIT_CPU", cpu)
        if (nice := os.environ.get(_NICE)) and hasattr(os, "setpriority"):
            with contextlib.suppress(OSError, ValueError):
                os.setpriority(os.PRIO_PROCESS, self.process.pid, int(nice))
        self._listener = threading.Thread(target=self._listen, daemon=True)
        try:
            self._listener.start()
        except RuntimeError as error:  # no thread to be had
            self.process.kill()
            raise EmoTalkError("The system gives no more threads; end other programs or raise ulimit -u.") from error

    def allow(self, seconds: float) -> None:
        """Let it take `seconds` of processor time since its start, instead of what was said before."""
        self._limit("RLIMIT_CPU", math.ceil(seconds))

    def _limit(self, name: str, value: int) -> None:
        system.limit(self.process.pid, name, value)

    def stop(self) -> None:
        """End it, if it has not ended by itself, and wait for its messages."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        self._listener.join()

    def finished(self) -> int:
        """Wait for its end; the exit code, negative for a signal."""
        code = self.process.wait()
        self._listener.join()
        return code

    @property
    def last(self) -> str:
        """Its latest complaint, one line."""
        return self.errors[-1] if self.errors else f"exit code {self.process.returncode}"

    def failure(self) -> EmoTalkError | None:
        """Why it ended, where that has nothing to do with its files."""
        code, text = self.process.returncode, " ".join(self.errors)
        if code in (-system.number("SIGKILL"), -signal.SIGTERM):
            return EmoTalkError("ffmpeg was killed from outside, perhaps for lack of memory; try again.")
        if code > 0 and not self.errors:
            return _unusable(f"{self._program} stopped without a word, exit code {code}")
        if ("error while loading shared libraries" in text and _UNMAPPED not in text) or "Unrecognized option" in text:
            return _unusable(f"{self._program}: {self.last}")
        return None

    def _listen(self) -> None:
        pipe = self.process.stderr
        assert pipe is not None
        with pipe:
            while raw := pipe.readline(_LOG_LINE):
                line = raw.decode(errors="replace").rstrip("\n")
                found = _LINE.fullmatch(line)
                level, text = (found[1], found[2]) if found else ("error", line.strip())
                if level in ("error", "fatal", "panic"):
                    self.errors.append(text)
                elif not self.ready.is_set():
                    if text.startswith(("Output #0", "Stream mapping")):
                        self.ready.set()
                    elif len(self.header) < _HEADER:
                        self.header.append(text)
        self.ready.set()


class _Reading:
    """A child that decodes one file to its standard output, in portions."""

    def __init__(self, path: str | os.PathLike[str], kind: str, noun: str, arguments: Sequence[str]) -> None:
        """noun: what the file should be, for messages."""
        self.file, self._noun = check_input(path, noun), noun
        inputs = playback(self.file) if kind == "sound" else source(self.file)
        command = ["-nostdin", "-threads", "2", *inputs, "-sn", "-dn", "-filter_threads", "1", *arguments]
        self.child = Child(command, read=True, memory=MEMORY[kind], cpu=CPU_SECONDS)
        assert self.child.process.stdout is not None
        self.pipe, self._portions = self.child.process.stdout, 0

    def count(self) -> None:
        """A portion has come."""
        self._portions += 1
        self.child.allow(CPU_SECONDS + _CPU_EACH * self._portions)

    @property
    def seconds(self) -> float | None:
        """How long the file says it is; None where it does not say, or only guesses."""
        found = next(filter(None, map(_DURATION.match, self.child.header)), None)
        return found and int(found[1]) * 3600 + int(found[2]) * 60 + float(found[3])

    def streams(self, kind: str) -> list[str]:
        """Descriptions of the streams of a kind, Audio or Video."""
        return [found[2] for found in map(_STREAM.match, self.child.header) if found and found[1] == kind]

    def check(self, empty: bool) -> None:
        """To be called at the end. Raises EmoTalkError unless all of it was read; empty: whether nothing came."""
        code = self.child.finished()
        text = " ".join(self.child.errors)
        if code == 0 and not (empty and text):
            return
        if code == -system.number("SIGXCPU"):
            raise InputError(f"{self.file} takes too long to decode; export it again, for example as {self._good}.")
        if code in _CRASHES or any(words in text for words in _NO_MEMORY):  # where memory ends, it may also crash
            raise InputError(f"{self.file} needs too much memory, or is damaged; make it smaller or export it again.")
        if "max pixel count" in text:
            raise InputError(f"{self.file} has more than {MAX_PIXELS // 10**6} million pixels; scale it down first.")
        if failure := self.child.failure():
            raise failure
        kind = "Audio" if self._noun == "audio file" else "Video"
        if "matches no streams" in text or "does not contain any stream" in text or self._lacks(kind):
            missing = "sound; give a file with an audio stream" if kind == "Audio" else "picture; give a video"
            raise (SilentError if kind == "Audio" else InputError)(f"{self.file} holds no {missing}.")
        what = "audio file" if kind == "Audio" else "video"
        raise InputError(f"{self.file} is damaged or no {what}; export it again, for example as {self._good}.")

    def _lacks(self, kind: str) -> bool:
        return not self.streams(kind) and bool(self.streams("Audio") + self.streams("Video"))

    @property
    def _good(self) -> str:
        return "WAV" if self._noun == "audio file" else "MP4"


def read_samples(
    path: str | os.PathLike[str],
    rate: int,
    seconds: float,
    longest: float = MAX_SECONDS,
    warn: Callable[[str], None] | None = None,
) -> Iterator[np.ndarray]:
    """The sound of any media file as it is played: float32 [N,1 or 2] samples at `rate` Hz in about -1..1, in blocks.

    It begins where the film does, whenever its track starts; more channels than two are mixed to two.

    seconds: of a block, but for the last. longest: seconds that are allowed. warn: is told, at the end, in a sentence
    if parts of the file are missing or damaged. Raises InputError (one sentence, names the file).
    """
    arguments = ["-filter:a", f"{TIMING},aformat=channel_layouts=mono|stereo", "-ar", str(rate)]
    arguments += ["-t", f"{longest + 1:.3f}", "-codec:a", "pcm_f32le", "-bitexact", "-f", "wav", "-"]
    reading, count = _Reading(path, "sound", "audio file", arguments), 0
    file = reading.file
    try:
        channels = _channels(reading.pipe)
        while data := reading.pipe.read(4 * channels * round(seconds * rate)):
            if not count:
                reading.child.ready.wait()
                _check_sound(file, reading.streams("Audio"))
            wave = np.frombuffer(data[: len(data) // (4 * channels) * 4 * channels], np.float32).reshape(-1, channels)
            count += len(wave)
            if count > longest * rate:
                raise InputError(f"{file} is longer than {_spelt(longest)}; cut it into parts.")
            if not np.abs(wave).max(initial=0) <= MAX_AMPLITUDE:  # NaN is not, either
                at = (count - len(wave) + int((~(np.abs(wave) <= MAX_AMPLITUDE)).any(1).argmax())) / rate
                raise InputError(
                    f"{file} holds samples at {at:.2f} s that are no numbers or far beyond full scale; "
                    "export it again, for example as 16-bit WAV."
                )
            reading.count()
            yield wave
        reading.check(not count)
    finally:
        reading.child.stop()
    said = reading.seconds
    guessed = any("Estimating duration" in line for line in reading.child.header)
    short = said is not None and said - count / rate > max(1.0, 0.02 * said) and not reading.streams("Video")
    if warn is not None and count and ((short and not guessed) or reading.child.errors):
        whole = f" of the {said:.1f} s that it should have" if short and said is not None else ""
        warn(f"{file} is damaged or was cut: {count / rate:.1f} s of sound could be read{whole}.")


def read_frames(
    path: str | os.PathLike[str],
    fps: float | None = None,
    longest: float = MAX_FILM_SECONDS,
    cut: bool = False,
    warn: Callable[[str], None] | None = None,
) -> Iterator[np.ndarray]:
    """Frames uint8 [H,W,3] of a film, upright as it is to be shown, at `fps` or as they are. Raises InputError.

    longest: seconds of film that are allowed; longer ones are refused, or end there with `cut`. Frames that are only
    repeated, because the film leaves a gap, are the same array. warn: as in `read_samples`.
    """
    rate = ["-vf", f"format=rgb24,fps={fps!r}" if fps is not None else "format=rgb24"]  # so that repeats cost nothing
    arguments = ["-an", *rate, "-t", f"{longest + (0 if cut else 1):.3f}", "-threads", "1"]
    arguments += ["-f", "image2pipe", "-codec:v", "ppm", "-"]
    reading, count, last = _Reading(path, "film", "video", ["-max_pixels", str(MAX_PIXELS), *arguments]), 0, None
    file = reading.file
    too_long = InputError(f"{file} is longer than {_spelt(longest)}; cut out the part that is needed.")
    try:
        while (frame := _ppm(reading.pipe)) is not None:
            if last is None:
                reading.child.ready.wait()
                if not cut and (reading.seconds or 0) > longest + 1:
                    raise too_long
            elif np.array_equal(frame, last):
                frame = last
            count += 1
            if fps is not None and not cut and count > longest * fps + 1:
                raise too_long
            reading.count()
            last = frame
            yield frame
        reading.check(not count)
    finally:
        reading.child.stop()
    if not count:
        raise InputError(f"{file} holds no picture; give a video.")
    if warn is not None and reading.child.errors:
        warn(f"{file} is damaged or was cut; what could be read of it is used.")


def _channels(wav: IO[bytes]) -> int:
    """How many channels a WAV stream has, whose header is read up to the samples; 1 where it ends before."""
    channels, head = 1, wav.read(12)
    while len(head := wav.read(8)) == 8 and head[:4] != b"data":
        body = wav.read(int.from_bytes(head[4:], "little"))
        if head[:4] == b"fmt ":
            channels = int.from_bytes(body[2:4], "little")
    return channels


def _ppm(pipe: IO[bytes]) -> np.ndarray | None:
    """The next picture uint8 [H,W,3] of a stream of binary PPMs; None at its end, or where it is cut."""
    if pipe.readline(16) != b"P6\n":
        return None
    width, height = map(int, pipe.readline(32).split())
    pipe.readline(16)  # the largest value, 255
    data = pipe.read(width * height * 3)
    return np.frombuffer(data, np.uint8).reshape(height, width, 3) if len(data) == width * height * 3 else None


def _check_sound(file: Path, streams: list[str]) -> None:
    """Raise InputError for a sample rate or a number of channels that no recording has."""
    for described in streams:
        rate, channels = re.search(r", (\d+) Hz", described), re.search(r", (\d+) channels", described)
        if rate and not SAMPLE_RATES[0] <= int(rate[1]) <= SAMPLE_RATES[1]:
            raise InputError(
                f"{file} has a sample rate of {rate[1]} Hz; between {SAMPLE_RATES[0]} and {SAMPLE_RATES[1]} are read: "
                "export it again at 16000 or 48000."
            )
        if channels and int(channels[1]) > MAX_CHANNELS:
            raise InputError(f"{file} has {channels[1]} channels; at most {MAX_CHANNELS} are read: mix it to stereo.")


def _spelt(seconds: float) -> str:
    for unit, name in ((3600, "hours"), (60, "minutes")):
        if seconds >= 2 * unit and seconds % unit == 0:
            return f"{seconds / unit:g} {name}"
    return f"{seconds:g} s"


def _unusable(why: str) -> EmoTalkError:
    return EmoTalkError(
        f"ffmpeg cannot be run ({why.rstrip('.')}); reinstall imageio-ffmpeg, or set IMAGEIO_FFMPEG_EXE to a complete "
        "ffmpeg."
    )
