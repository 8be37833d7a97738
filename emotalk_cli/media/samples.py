"""Sound that a program holds in memory, as a file that everything else can read."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import wave
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Union

import numpy as np

from ..constants import SAMPLE_RATE
from ..errors import InputError
from ..system import Temporary
from .ffmpeg import read_samples
from .speech_synthesis import Words, find, speak

if TYPE_CHECKING:
    from torch import Tensor

Samples = Union["np.ndarray", "Tensor"]  # [N] or [channels, N], -1..1, or int16
# a file; samples at 16 kHz, or with their rate; words to speak; what `SoundFile.read` has read
Audio = Union[str, "os.PathLike[str]", Samples, tuple[Samples, int], Words, "SoundFile"]

RATES = (4000, 768_000)  # Hz
CHANNELS = 8  # at most
MIXED_RATE = 48000  # Hz, of several recordings together
_BLOCK = 10.0  # seconds of a recording that are in memory at once
MAX_STREAM = 4 << 30  # bytes of sound that are taken from standard input


@dataclass(frozen=True)
class SoundFile:
    """A sound and the file that holds it.

    held: keeps a temporary file until nobody needs it. options: those of `emotalk generate` that made it from words.
    """

    path: Path
    name: str
    temporary: bool
    held: Any = None
    options: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @classmethod
    def read(cls, stream: IO[bytes] | None) -> SoundFile:
        """All of a stream (None: a closed one), such as standard input, in a temporary file. Raises InputError."""
        if stream is None or stream.isatty():
            raise InputError("Standard input holds no sound; pipe a file into the command, or name one.")
        file, size = Temporary(), 0
        while block := stream.read(1 << 20):
            size += len(block)
            if size > MAX_STREAM:
                raise InputError(
                    f"Standard input holds more than {MAX_STREAM >> 30} GiB; save it to a file and name it."
                )
            file.file.write(block)
        if not size:
            raise InputError("Standard input is empty; pipe sound into the command, or name a file.")
        file.ready()
        return cls(Path(file.name), "standard input", True, file)

    @classmethod
    def of(cls, audio: Audio) -> SoundFile:
        """A path as it is; samples, and words spoken, written to a temporary WAV. Raises InputError and UsageError."""
        if isinstance(audio, cls):
            return audio
        if isinstance(audio, str | os.PathLike):
            return cls(Path(audio), str(audio), False)
        options: dict[str, str] = {}
        if isinstance(audio, Words):
            voice = find(audio.voice).name
            options = {"text": audio.text, "voice": voice}
            audio = speak(audio.text, voice, audio.seed)
        samples, rate = audio if isinstance(audio, tuple) and len(audio) == 2 else (audio, SAMPLE_RATE)
        values = _sixteen_bits(samples)
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not RATES[0] <= rate <= RATES[1]:
            raise InputError(f"A sampling rate is a number of Hz, {RATES[0]} to {RATES[1]}, not {rate!r}; correct it.")
        file = Temporary(".wav")
        with _wav(file, values.shape[1], round(rate)) as written:
            written.writeframes(values.tobytes())
        file.ready()
        name = f"samples-{hashlib.sha256(values.tobytes()).hexdigest()[:8]}"
        return cls(Path(file.name), options.get("text", name), True, file, options)


def together(files: Sequence[Path], longest: float) -> tuple[SoundFile, list[SoundFile]]:
    """Recordings that begin at once, mono at `MIXED_RATE`: their mixture, and each alone, all as long as the longest.

    However long they are, little of them is in memory. Raises InputError.
    """
    writers = [_Writer() for _ in files]
    for file, writer in zip(files, writers, strict=True):
        for block in read_samples(file, MIXED_RATE, _BLOCK, longest):
            writer.add(block.mean(1))
    length, step = max(writer.count for writer in writers), round(_BLOCK * MIXED_RATE)
    for writer in writers:
        while missing := min(length - writer.count, step):
            writer.add(np.zeros(missing, np.float32))
    alone = [writer.done(str(file)) for file, writer in zip(files, writers, strict=True)]

    def sums() -> Iterator[np.ndarray]:
        with contextlib.ExitStack() as stack:
            opened = [stack.enter_context(wave.open(str(sound.path), "rb")) for sound in alone]
            for _ in range(0, length, step):
                yield sum(np.frombuffer(one.readframes(step), "<i2") / np.float32(32767) for one in opened)

    loudest = max(float(np.abs(mixed).max()) for mixed in sums())
    writer = _Writer()
    for mixed in sums():
        writer.add(mixed / max(1.0, loudest))
    return writer.done(" + ".join(str(file) for file in files)), alone


class _Writer:
    """A temporary WAV at `MIXED_RATE`, mono, that grows by blocks. count: of samples."""

    def __init__(self) -> None:
        self._file, self.count = Temporary(".wav"), 0
        self._written = _wav(self._file, 1, MIXED_RATE)

    def add(self, samples: np.ndarray) -> None:
        """Samples [N]; what is beyond full scale is clipped."""
        self._written.writeframesraw(np.round(np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
        self.count += len(samples)

    def done(self, name: str) -> SoundFile:
        self._written.close()
        self._file.ready()
        return SoundFile(Path(self._file.name), name, True, self._file)


def _wav(file: Temporary, channels: int, rate: int) -> wave.Wave_write:
    """A file of 16-bit samples, to be written."""
    written = wave.open(file.file, "wb")
    written.setnchannels(channels)
    written.setsampwidth(2)
    written.setframerate(rate)
    return written


def _sixteen_bits(samples: Any) -> np.ndarray:
    """[N, channels], little-endian 16-bit."""
    if not isinstance(samples, np.ndarray):
        if not hasattr(samples, "detach"):
            kind = type(samples).__name__
            raise InputError(f"Sound is a path, an array, a tensor or (samples, rate), not {kind}; convert it.")
        samples = samples.detach().cpu().numpy()
    values = np.atleast_2d(samples)
    if values.ndim != 2 or values.size == 0 or not (values.shape[0] <= CHANNELS or values.shape[1] <= CHANNELS):
        raise InputError(
            f"Sound has the shape [samples] or [channels, samples], not {list(samples.shape)}; rearrange it."
        )
    values = values if values.shape[0] > CHANNELS else values.T
    if values.dtype == np.int16:
        return np.ascontiguousarray(values, "<i2")
    if values.dtype.kind != "f":
        raise InputError(f"Samples are floats from -1 to 1, or int16, not {values.dtype}; convert them.")
    if not np.isfinite(values).all():
        raise InputError("The samples hold numbers that are not finite; remove them.")
    if np.abs(values).max() > 2:  # a little over is clipped, as a player would; integers in floats are a mistake
        raise InputError(f"Samples are from -1 to 1, and these go to {np.abs(values).max():g}; scale them.")
    return np.ascontiguousarray(np.round(np.clip(values, -1, 1) * 32767), "<i2")
