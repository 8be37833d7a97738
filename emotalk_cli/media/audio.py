"""Speech: any file that ffmpeg reads -> 16 kHz mono samples -> log-mel frames, in constant memory.

Frame k of a mel spectrogram is centred on sample `HOP * k + HOP / 2`, so the four frames
`4 t .. 4 t + 3` lie symmetrically about the middle of video frame t (25 frames/s).
"""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..constants import FPS as FPS
from ..constants import MAX_SECONDS
from ..constants import SAMPLE_RATE as SAMPLE_RATE
from ..errors import InputError
from .ffmpeg import read_samples

N_FFT = 1280  # 80 ms
HOP = 160  # 10 ms
N_MELS = 80
SAMPLES_PER_FRAME = SAMPLE_RATE // FPS  # 640 samples in a video frame
MELS_PER_FRAME = SAMPLES_PER_FRAME // HOP  # 4 mel frames in a video frame
BLOCK_SECONDS = 10
SHORTEST_SECONDS = 0.1
MEL_FLOOR = 1e-10  # of mel power, so log-mel is never below -10

FIRST_BAND = 2  # mel bands below this (up to 74 Hz) hold DC, rumble and hum, and nothing that lips do
FLOOR = -5.0  # bel below the speech level, at which sound counts as none
SPAN = 3.0  # bel, of which networks make a unit
MEL_TO_LEVEL = 1.93  # log10 mel power of speech minus its level in bel (measured on EmoDB and GRID)

_PIECE = SAMPLE_RATE // 10  # samples, after which channels are weighed anew
_CANCELLED = 0.2  # of the channels' mean energy: a mean of both with less has lost what they say
_QUIETEST = -55.0  # dBFS: below this a recording is silence, not quiet speech
_MARGIN = (N_FFT - HOP) // 2  # zeros before the first and after the last frame
_LEVEL_STEP = 0.5  # dB, resolution of `level`
_LEVEL_BOTTOM = -100.0


def mel_filters(n_mels: int = N_MELS) -> np.ndarray:
    """Triangular filters [n_mels, N_FFT/2 + 1] on the Slaney mel scale, each of unit area (librosa's default)."""

    def to_mel(hz: np.ndarray) -> np.ndarray:
        return np.where(hz < 1000, hz * 3 / 200, 15 + 27 * np.log(np.maximum(hz, 1000) / 1000) / math.log(6.4))

    def to_hz(mel: np.ndarray) -> np.ndarray:
        return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((mel - 15) * math.log(6.4) / 27))

    bins = np.linspace(0, SAMPLE_RATE / 2, N_FFT // 2 + 1)
    edges = to_hz(np.linspace(0, to_mel(np.array(SAMPLE_RATE / 2)), n_mels + 2))
    rising = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    area = 2 / (edges[2:] - edges[:-2])
    filters: np.ndarray = np.maximum(0, np.minimum(rising, falling)) * area[:, None]
    return filters.astype(np.float32)


@functools.cache
def _analysis() -> tuple[Tensor, Tensor]:
    return torch.hann_window(N_FFT), torch.from_numpy(mel_filters())


def blocks(
    path: str | os.PathLike[str],
    seconds: float = BLOCK_SECONDS,
    longest: float = MAX_SECONDS,
    warn: Callable[[str], None] | None = None,
) -> Iterator[np.ndarray]:
    """Decode the sound of any media file as a player plays it, block by block.

    Yields float32 arrays of 16 kHz mono samples in about -1..1, `seconds` (to 0.1) long but for the last. Two channels
    that cancel one another are not added; the louder is taken. longest, warn: as in
    `ffmpeg.read_samples`. Raises InputError (one sentence, names the file) for a missing, empty, damaged or non-media
    file, a folder, a file without sound, samples that are no numbers, and sound that is too short or too long.
    """
    mixer, count = Mixer(), 0
    portion = max(1, round(seconds * SAMPLE_RATE / _PIECE)) * _PIECE / SAMPLE_RATE
    for samples in read_samples(path, SAMPLE_RATE, portion, longest, warn):
        count += len(samples)
        yield mixer.mix(samples)
    if count < SHORTEST_SECONDS * SAMPLE_RATE:
        raise InputError(f"{path} has {count / SAMPLE_RATE:.2f} s of sound; at least {SHORTEST_SECONDS} s is needed.")


class Mixer:
    """Two channels become one: their mean, or the louder where they cancel one another (opposite phase)."""

    def __init__(self) -> None:
        self._energy = np.zeros(3)  # of the mean, left and right, over the last half second
        self._share = np.array([0.5, 0.5])

    def mix(self, samples: np.ndarray) -> np.ndarray:
        """The next samples [n,1] or [n,2] -> [n]; all but the last call's are a multiple of `_PIECE` long."""
        if samples.shape[1] == 1:
            return samples[:, 0]
        mixed = np.empty(len(samples), np.float32)
        for start in range(0, len(samples), _PIECE):
            piece = samples[start : start + _PIECE]
            both = np.concatenate([piece.mean(1, keepdims=True), piece], 1)
            self._energy += 0.2 * (np.square(both, dtype=np.float64).mean(0) - self._energy)
            mean, left, right = self._energy
            share = np.array([0.5, 0.5])
            if mean < _CANCELLED * (left + right) / 2:
                favour = 1 + self._share  # the channel that was chosen stays, unless it becomes much fainter
                share = np.array([1.0, 0.0]) if left * favour[0] >= right * favour[1] else np.array([0.0, 1.0])
            fade = np.linspace(0, 1, len(piece), dtype=np.float32)[:, None]
            mixed[start : start + _PIECE] = (piece * ((1 - fade) * self._share + fade * share)).sum(1)
            self._share = share
        return mixed


def load(path: str | os.PathLike[str], seconds: float | None = None) -> np.ndarray:
    """All samples (or the first `seconds`) of a media file as one float32 array [N]; errors as in `blocks`."""
    parts, left = [], math.inf if seconds is None else round(seconds * SAMPLE_RATE)
    for block in blocks(path):
        parts.append(block[: int(min(left, len(block)))])
        left -= len(parts[-1])
        if left <= 0:
            break
    return np.concatenate(parts)


def mel_blocks(waves: Iterable[np.ndarray]) -> Iterator[Tensor]:
    """Log-mel of samples that arrive in blocks of any size, equal to `log_mel` of their concatenation.

    Yields float32 [80, 4 n] (log10 of mel power, never below -10): whole video frames only, the last one
    completed with silence.
    """
    buffer = np.zeros(_MARGIN, np.float32)
    piece = BLOCK_SECONDS * SAMPLE_RATE
    for wave in waves:
        for start in range(0, len(wave), piece):
            buffer = np.concatenate([buffer, wave[start : start + piece]])
            frames = (len(buffer) - 2 * _MARGIN) // SAMPLES_PER_FRAME
            if frames > 0:
                yield _mel(buffer, frames)
                buffer = buffer[frames * SAMPLES_PER_FRAME :]
    frames = math.ceil((len(buffer) - _MARGIN) / SAMPLES_PER_FRAME)
    if frames > 0:
        yield _mel(np.pad(buffer, (0, frames * SAMPLES_PER_FRAME + 2 * _MARGIN - len(buffer))), frames)


def _mel(samples: np.ndarray, frames: int) -> Tensor:
    window, filters = _analysis()
    used = torch.from_numpy(samples[: frames * SAMPLES_PER_FRAME + 2 * _MARGIN])
    power = torch.fft.rfft(used.unfold(0, N_FFT, HOP) * window).abs().square()
    mel: Tensor = (filters @ power.T).clamp(min=MEL_FLOOR).log10()
    return mel


def log_mel(wave: np.ndarray | Tensor) -> Tensor:
    """Log-mel spectrogram of samples [N] at 16 kHz: float32 [80, 4 T] with T = ceil(N / 640)."""
    return torch.cat(list(mel_blocks([np.asarray(wave, np.float32)])), 1)


def syllables(seconds: float = 1.28) -> np.ndarray:
    """[mamama], three a second, at 16 kHz, float32 [N]: what a preview's face says. Mouths are open at 1/6 + k/3 s.

    Pulses of a falling pitch through the formants of an open and of a closed mouth, which take turns.
    """
    count = round(seconds * SAMPLE_RATE)
    time, hertz = np.arange(count) / SAMPLE_RATE, np.fft.rfftfreq(count, 1 / SAMPLE_RATE)
    cycles = np.cumsum(np.linspace(140, 110, count) * (1 + 0.02 * np.sin(10 * np.pi * time))) / SAMPLE_RATE
    pulses = np.diff(np.floor(cycles), prepend=0)

    def through(formants: tuple[tuple[int, int], ...]) -> np.ndarray:
        spectrum = np.fft.rfft(pulses) / np.maximum(1, hertz / 100)
        for centre, width in formants:
            pole, s = complex(-math.pi * width, 2 * math.pi * centre), 2j * math.pi * hertz
            spectrum = spectrum * abs(pole) ** 2 / ((s - pole) * (s - pole.conjugate()))
        return np.fft.irfft(spectrum, count)

    openness = 0.5 - 0.5 * np.cos(6 * np.pi * time)
    wave = openness * through(((730, 90), (1090, 110), (2440, 170), (3400, 250)))
    wave += 0.15 * (1 - openness) * through(((300, 60), (900, 90), (2300, 150), (3300, 250)))
    return np.asarray(0.1 * wave / np.abs(wave).max(), np.float32)


class LevelMeter:
    """Speech level of a recording from one pass over it, in constant memory."""

    def __init__(self) -> None:
        self.samples = 0
        self._counts = np.zeros(int(-_LEVEL_BOTTOM / _LEVEL_STEP) + 40, np.int64)
        self._rest = np.zeros(0, np.float32)

    def add(self, wave: np.ndarray) -> None:
        """Take the next block of samples."""
        self.samples += len(wave)
        self._rest = np.concatenate([self._rest, wave])
        whole = len(self._rest) // SAMPLES_PER_FRAME
        frames, self._rest = np.split(self._rest, [whole * SAMPLES_PER_FRAME])
        power = np.square(frames.reshape(whole, SAMPLES_PER_FRAME), dtype=np.float64).mean(1)
        bins = (10 * np.log10(power + 1e-12) - _LEVEL_BOTTOM) / _LEVEL_STEP
        np.add.at(self._counts, np.clip(bins, 0, len(self._counts) - 1).astype(int), 1)

    @property
    def level(self) -> float:
        """dBFS exceeded by a tenth of the 40 ms frames that lie within 40 dB of the loudest; -100 for silence."""
        if not self._counts.any():
            return _LEVEL_BOTTOM
        counts = self._counts.copy()
        counts[: max(0, int(np.flatnonzero(counts)[-1] - 40 / _LEVEL_STEP))] = 0
        return _LEVEL_BOTTOM + _LEVEL_STEP * int(np.searchsorted(np.cumsum(counts), 0.9 * counts.sum()))


def level(wave: np.ndarray) -> float:
    """Speech level of samples [N], in dBFS (see `LevelMeter`)."""
    meter = LevelMeter()
    meter.add(np.asarray(wave, np.float32))
    return meter.level


@dataclass(frozen=True)
class Recording:
    """A media file whose sound has been decoded once: known to be good, its length and level measured."""

    path: Path
    seconds: float
    level: float
    notes: tuple[str, ...] = ()

    @classmethod
    def open(cls, path: str | os.PathLike[str], longest: float = MAX_SECONDS) -> Recording:
        """Check and measure a file; longest: seconds that are allowed. Errors as in `blocks`."""
        meter = LevelMeter()
        notes: list[str] = []
        for block in blocks(path, longest=longest, warn=notes.append):
            meter.add(block)
        return cls(Path(path), meter.samples / SAMPLE_RATE, meter.level, tuple(notes))

    @property
    def frames(self) -> int:
        """Video frames at 25 frames/s that cover the sound."""
        return math.ceil(round(self.seconds * SAMPLE_RATE) / SAMPLES_PER_FRAME)

    def mels(self) -> Iterator[Tensor]:
        """Log-mel blocks [80, 4 n], together [80, 4 * frames]."""
        return mel_blocks(blocks(self.path))


def duration(path: str | os.PathLike[str]) -> float:
    """Seconds of sound in a file, by decoding it; errors as in `blocks`."""
    return Recording.open(path).seconds


def relative(mel: Tensor, level: float | Tensor) -> Tensor:
    """log10 mel power relative to a whole recording's speech level (dBFS), never below `FLOOR`: [..., 80, 4 T]."""
    level = torch.as_tensor(level, dtype=mel.dtype).clamp(min=_QUIETEST)
    return (mel - level / 10 - MEL_TO_LEVEL).clamp(min=FLOOR)


def normalise(mel: Tensor, level: float | Tensor) -> Tensor:
    """`relative` as networks take it: about 0..2, 0 is silence."""
    return (relative(mel, level) - FLOOR) / SPAN


def loudness(speech: Tensor) -> Tensor:
    """How loud each video frame's speech is beside its level (`VAD.listen`): [80, 4 T] -> [T], 0 silence, 1 loud."""
    power = (10.0 ** speech.double()).mean(0).unflatten(0, (-1, MELS_PER_FRAME)).mean(1)
    loud: Tensor = ((power.log10() + 3) / 3).clamp(0, 1)
    return loud.float()


_VOICED = FLOOR + 0.6  # mean over mel bands, bel below the speech level: fainter frames have no voice
_LOW, _PITCHES = 34, 72  # mel bands in which harmonics stand apart; pitches that are tried


@functools.cache
def _combs() -> tuple[Tensor, Tensor]:
    """log2 of the pitches tried [P], and what harmonics of each look like in the low mel bands: unit [P, _LOW]."""
    filters, hertz = mel_filters(), np.linspace(0, SAMPLE_RATE / 2, N_FFT // 2 + 1)
    pitches, rows = np.geomspace(70, 420, _PITCHES), []
    for pitch in pitches:
        away = np.abs((hertz + pitch / 2) % pitch - pitch / 2)  # from the nearest harmonic
        lobe = np.where((away < 25) & (hertz > pitch / 2), np.cos(math.pi * away / 50) ** 2, 0) + 0.03
        rows.append(torch.from_numpy(np.log10(filters @ lobe / filters.sum(1))).float())
    return torch.from_numpy(np.log2(pitches)).float(), F.normalize(_ripple(torch.stack(rows)), dim=1)


def _ripple(mel: Tensor) -> Tensor:
    """Log-mels [T,80] without their envelope, low bands only [T,_LOW]."""
    return (mel - F.avg_pool1d(F.pad(mel[:, None], (3, 3), mode="replicate"), 7, 1)[:, 0])[:, :_LOW]


def pitch(mel: Tensor) -> Tensor:
    """Melody of the voice in each video frame: log-mel [80, 4 T] -> [T,2], log2 of Hz and how sure (0..1) it is voiced.

    mel: log10 power relative to the speech level (`VAD.listen`). The pitch whose harmonics fit best; on EmoDB and GRID
    within 0.04 octaves (median) of the WORLD vocoder's.
    """
    octaves, combs = _combs()
    fit, best = (F.normalize(_ripple(mel.T), dim=1) @ combs.to(mel).T).max(1)
    voiced = ((fit - 0.5) / 0.2).clamp(0, 1) * (mel.mean(0) > _VOICED)
    voiced, tune = voiced.unflatten(0, (-1, MELS_PER_FRAME)), octaves.to(mel)[best].unflatten(0, (-1, MELS_PER_FRAME))
    return torch.stack([(voiced * tune).sum(1) / voiced.sum(1).clamp(min=1e-6), voiced.mean(1)], 1)
