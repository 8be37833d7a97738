"""Speech made to sound like other people, other rooms and other machines, on log-mel spectrograms.

`Augmenter` gives training windows new voices (vocal-tract length, pitch, whisper, song), rooms, microphones, lines,
backgrounds and levels, without touching when things are said. All chance comes from one torch generator.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...media import audio
from ...media.audio import FIRST_BAND, FLOOR, MEL_TO_LEVEL

LOWEST, HIGHEST = 60.0, 480.0  # Hz, of the new voices' pitch
KINDS = ("own", "other", "child", "low", "whisper", "sung")
CHANCES = (0.48, 0.22, 0.10, 0.06, 0.09, 0.05)
_PITCHES = 160  # steps of pitch, equally spaced in its logarithm
GAIN = 0.3  # bel, standard deviation of how wrong the level of speech is guessed
_ENVELOPE = 5  # bands over which harmonics are smoothed away


def mel_hertz() -> np.ndarray:
    """Centres of the mel bands [80] in Hz."""
    filters = audio.mel_filters()
    bins = np.linspace(0, audio.SAMPLE_RATE / 2, filters.shape[1])
    return (filters * bins).sum(1) / filters.sum(1)


def tract(hertz: np.ndarray, factor: float) -> Tensor:
    """[80,80] matrix that moves formants of a log-mel by a factor (vocal-tract length)."""
    position = np.interp(hertz * factor, hertz, np.arange(len(hertz)))
    low = np.clip(position.astype(int), 0, len(hertz) - 2)
    matrix = np.zeros((len(hertz), len(hertz)), np.float32)
    rows = np.arange(len(hertz))
    matrix[rows, low] = 1 - (position - low)
    matrix[rows, low + 1] = position - low
    return torch.from_numpy(matrix)


def combs() -> Tensor:
    """[_PITCHES, 80] log10 of a voice's harmonics in the mel bands, relative to their envelope, for each pitch."""
    filters = audio.mel_filters()
    bins = np.linspace(0, audio.SAMPLE_RATE / 2, filters.shape[1])
    rows = []
    for pitch in np.geomspace(LOWEST, HIGHEST, _PITCHES):
        away = np.abs((bins + pitch / 2) % pitch - pitch / 2)  # from the nearest harmonic, Hz
        lobe = np.where(away < 25, np.cos(math.pi * away / 50) ** 2, 0) + 0.01  # of the Hann window, 80 ms
        row = torch.from_numpy((filters @ lobe) / filters.sum(1)).float().log10()
        rows.append(row - smooth_bands(row[None, :, None])[0, :, 0])
    return torch.stack(rows)


def smooth_bands(mel: Tensor) -> Tensor:
    """[B,80,L] averaged over `_ENVELOPE` neighbouring bands: without harmonics."""
    half = _ENVELOPE // 2
    padded = F.pad(mel.transpose(1, 2), (half, half), mode="replicate")
    return F.avg_pool1d(padded, _ENVELOPE, 1).transpose(1, 2)


class Augmenter:
    """Log-mels [B,80,L] and the levels [B] (dBFS) of their speech -> log-mels relative to those levels.

    background: log-mels with their levels that are no speech, to be mixed in.
    """

    def __init__(self, background: list[tuple[Tensor, float]]) -> None:
        self.background = background
        self.hertz = mel_hertz()
        self.factors = np.geomspace(0.76, 1.40, 32)
        self.tracts = torch.stack([tract(self.hertz, factor) for factor in self.factors])
        self.combs = combs()

    def __call__(self, mel: Tensor, level: Tensor, generator: torch.Generator) -> Tensor:
        """New voice, background, room, microphone, line and level for each window, as `VAD.listen` gives speech."""
        chance = Chance(len(mel), generator)
        power = 10 ** self.revoice(mel, chance)
        reference = 10 ** (level / 10 + MEL_TO_LEVEL)[:, None, None]  # mean mel power of this window's speech

        babble, music = power.roll(1, 0) / reference.roll(1, 0), self._background(mel.shape[2], chance)
        colour = 10 ** chance.curve(80, 0.8)
        hiss = colour[:, :, None] * chance.uniform(0, 1, 80, mel.shape[2]).clamp(min=0.02)
        hiss = hiss / hiss.mean((1, 2), keepdim=True)
        for noise, probability, lowest in ((hiss, 0.35, 5.0), (music, 0.25, 3.0), (babble, 0.1, 8.0)):
            snr = chance.uniform(lowest, 35, 1, 1)
            power = power + chance.some(probability) * reference * 10 ** (-snr / 10) * noise

        log = self.channel(power, chance) - (level / 10 + MEL_TO_LEVEL)[:, None, None]
        log = log + GAIN * chance.normal(1, 1)
        holes = chance.uniform(0, 1, 80, 1) < 0.03 * chance.some(0.3)
        holes[:, :FIRST_BAND] = True
        return torch.where(holes, FLOOR, log.clamp(min=FLOOR))

    def channel(self, power: Tensor, chance: Chance) -> Tensor:
        """Mel power [B,80,L] heard in a room, by a microphone, through a line and a codec: log10."""
        tail = chance.uniform(0.5, 0.9, 1, 1) ** torch.arange(40)  # a room's echo, 10 ms a step
        tail = chance.some(0.25) * chance.uniform(0.02, 0.25, 1, 1) * tail
        tail[..., 0] = 1
        power = F.conv1d(
            F.pad(power.reshape(1, -1, power.shape[2]), (39, 0)),
            tail.flip(2).repeat_interleave(80, 0),
            groups=len(power) * 80,
        ).reshape(power.shape)

        log = power.clamp(min=1e-10).log10() + chance.some(0.6) * chance.curve(80, 0.6)[:, :, None]
        hertz = torch.from_numpy(self.hertz).float()
        line = -3.5 * ((300 - hertz).clamp(min=0) / 200 + (hertz - 3400).clamp(min=0) / 400).clamp(max=1)
        log = log + chance.some(0.15) * line[:, None]  # a telephone
        top = 10 ** chance.uniform(3.6, 4.0, 1, 1)  # a codec that leaves out what is high
        return log - chance.some(0.12) * ((hertz[:, None] - top) / 300).clamp(0, 1) * 4

    def revoice(self, mel: Tensor, chance: Chance) -> Tensor:
        """Other people's voices: formants moved, harmonics smoothed away and, but for whispers, set anew."""
        count, length = len(mel), mel.shape[2]
        kind = torch.multinomial(torch.tensor(CHANCES), count, replacement=True, generator=chance.generator)
        low = torch.tensor([0.86, 0.84, 1.15, 0.76, 0.84, 0.84])[kind]
        high = torch.tensor([1.18, 1.22, 1.40, 0.92, 1.25, 1.22])[kind]
        factor = low + (high - low) * chance.uniform(0, 1)
        nearest = torch.searchsorted(torch.from_numpy(self.factors).float(), factor).clamp(max=len(self.factors) - 1)
        moved = self.tracts[nearest] @ mel
        envelope = smooth_bands(moved)

        base = torch.tensor([120.0, 95.0, 230.0, 62.0, 120.0, 130.0])[kind]
        span = torch.tensor([1.0, 2.6, 1.8, 1.6, 1.0, 2.4])[kind]
        pitch = base * span ** chance.uniform(0, 1)  # Hz
        tune = pitch[:, None] * 2 ** chance.curve(length, 0.25)
        notes = (12 * (tune / pitch[:, None]).log2() * 3).round() / 12
        beat = 0.02 * torch.sin(2 * math.pi * 0.055 * torch.arange(length) + chance.uniform(0, 6.28, 1))
        sung = (kind == KINDS.index("sung"))[:, None]
        tune = torch.where(sung, pitch[:, None] * 2 ** (notes + beat), tune)
        step = (_PITCHES - 1) * (tune / LOWEST).log2() / math.log2(HIGHEST / LOWEST)
        comb = self.combs[step.round().long().clamp(0, _PITCHES - 1)].transpose(1, 2)
        voiced = envelope[:, 2:22].mean(1, keepdim=True) - envelope[:, 50:].mean(1, keepdim=True)
        comb = comb * ((voiced + 0.2) / 0.6).clamp(0, 1) * chance.uniform(0.5, 1.0, 1, 1)

        slope = torch.linspace(-1.6, 0.3, 80)[:, None] * chance.uniform(0.5, 1.2, 1, 1)  # a whisper has no low tones
        breath = envelope + slope + 0.12 * chance.normal(80, length)
        kind = kind[:, None, None]
        fresh = torch.where(kind == KINDS.index("whisper"), breath, envelope + comb)
        return torch.where(kind == KINDS.index("own"), moved, fresh)

    def _background(self, length: int, chance: Chance) -> Tensor:
        """Mel power [B,80,length] of noise and music relative to their level."""
        rows = []
        for i, at in zip(chance.integers(len(self.background)), chance.uniform(0, 1).tolist(), strict=True):
            mel, level = self.background[i]
            start = int(at * (mel.shape[1] - length))
            rows.append(10 ** (mel[:, start : start + length].float() - level / 10 - MEL_TO_LEVEL))
        return torch.stack(rows)


class Chance:
    """Random numbers for a batch of `count`."""

    def __init__(self, count: int, generator: torch.Generator) -> None:
        self.count, self.generator = count, generator

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(self.count, *shape, generator=self.generator)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(self.count, *shape, generator=self.generator)

    def integers(self, below: int) -> list[int]:
        return torch.randint(below, (self.count,), generator=self.generator).tolist()

    def some(self, probability: float) -> Tensor:
        """[B,1,1]: 1 with this probability, else 0."""
        return (self.uniform(0, 1, 1, 1) < probability).float()

    def curve(self, size: int, spread: float) -> Tensor:
        """Smooth random curves [B,size] of about this standard deviation, mean 0."""
        knots = spread * self.normal(1, 6)
        curve = F.interpolate(knots, size=size, mode="linear", align_corners=True)[:, 0]
        return curve - curve.mean(1, keepdim=True)
