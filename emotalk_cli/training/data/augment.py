"""Speech made to sound like other people, other rooms and other machines, on log-mel spectrograms.

`Augmenter` gives training windows new voices (vocal-tract length, pitch, whisper, song), rooms, microphones, lines,
backgrounds and levels, without touching when things are said. It works on any device.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...media import audio

LOWEST, HIGHEST = 60.0, 480.0  # Hz, of the new voices' pitch
KINDS = ("own", "other", "child", "low", "whisper", "sung")
_VOICES = torch.tensor(  # of each kind: how often, least and largest factor of the tract, lowest pitch (Hz), its range
    (
        (0.48, 0.22, 0.10, 0.06, 0.09, 0.05),
        (0.86, 0.84, 1.15, 0.76, 0.84, 0.84),
        (1.18, 1.22, 1.40, 0.92, 1.25, 1.22),
        (120.0, 95.0, 230.0, 62.0, 120.0, 130.0),
        (1.0, 2.6, 1.8, 1.6, 1.0, 2.4),
    )
)
_PITCHES = 160  # steps of pitch, equally spaced in its logarithm
GAIN = (-3.5, 0.5)  # bel, of the recording: speech at a level of 0 to -40 dBFS
HISS, MUSIC, BABBLE = (0.35, 4, 35), (0.35, -4, 30), (0.10, 6, 35)  # how often, and signal to noise from, to (dB)
SILENT = -10.0  # log10 mel power
ECHO = 40  # mel frames
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


class Augmenter(nn.Module):
    """Log-mels [B,80,L] of speech, relative to its level, sounding otherwise; all chance is torch's own.

    background: log-mels [N,80,M] of what is no speech, to be mixed in; power 1 is their own level.
    """

    hertz: Tensor
    factors: Tensor
    tracts: Tensor
    combs: Tensor
    voices: Tensor
    background: Tensor | None

    def __init__(self, background: Tensor | None = None) -> None:
        super().__init__()
        hertz, factors = mel_hertz(), np.geomspace(0.76, 1.40, 32)
        self.register_buffer("hertz", torch.from_numpy(hertz).float())
        self.register_buffer("factors", torch.from_numpy(factors).float())
        self.register_buffer("tracts", torch.stack([tract(hertz, factor) for factor in factors]))
        self.register_buffer("combs", combs())
        self.register_buffer("voices", _VOICES)
        self.register_buffer("background", background)

    def forward(self, mel: Tensor) -> Tensor:
        """New voice, background, room, microphone, line and gain for each window: log10 mel power, any level."""
        chance = Chance(len(mel), mel.device)
        power = 10 ** self.revoice(mel, chance)
        babble, music = power.roll(1, 0), self._background(mel.shape[2], chance)
        colour = 10 ** chance.curve(80, 0.8)
        hiss = colour[:, :, None] * chance.uniform(0, 1, 80, mel.shape[2]).clamp(min=0.02)
        hiss = hiss / hiss.mean((1, 2), keepdim=True)
        for noise, (probability, lowest, highest) in ((hiss, HISS), (music, MUSIC), (babble, BABBLE)):
            snr = chance.uniform(lowest, highest, 1, 1)
            power = power + chance.some(probability) * 10 ** (-snr / 10) * noise
        log = self.channel(power, chance)
        holes = chance.uniform(0, 1, 80, 1) < 0.03 * chance.some(0.3)
        return torch.where(holes, SILENT, log + chance.uniform(*GAIN, 1, 1)).clamp(min=SILENT)

    def channel(self, power: Tensor, chance: Chance) -> Tensor:
        """Mel power [B,80,L] heard in a room, by a microphone, through a line and a codec: log10."""
        later = torch.arange(power.shape[2], device=power.device)
        later = later - later[:, None]  # of an echo, 10 ms a step
        echo = chance.uniform(0.5, 0.9, 1, 1) ** later.clamp(min=0) * ((later > 0) & (later < ECHO))
        power = power + chance.some(0.25) * chance.uniform(0.02, 0.25, 1, 1) * (power @ echo)

        log = power.clamp(min=1e-10).log10() + chance.some(0.6) * chance.curve(80, 0.6)[:, :, None]
        hertz = self.hertz
        line = -3.5 * ((300 - hertz).clamp(min=0) / 200 + (hertz - 3400).clamp(min=0) / 400).clamp(max=1)
        log = log + chance.some(0.15) * line[:, None]  # a telephone
        top = 10 ** chance.uniform(3.6, 4.0, 1, 1)  # a codec that leaves out what is high
        return log - chance.some(0.12) * ((hertz[:, None] - top) / 300).clamp(0, 1) * 4

    def revoice(self, mel: Tensor, chance: Chance) -> Tensor:
        """Other people's voices: formants moved, harmonics smoothed away and, but for whispers, set anew."""
        count, length = len(mel), mel.shape[2]
        chances, low, high, base, span = self.voices
        kind = torch.multinomial(chances, count, replacement=True)
        factor = low[kind] + (high - low)[kind] * chance.uniform(0, 1)
        nearest = torch.searchsorted(self.factors, factor).clamp(max=len(self.factors) - 1)
        moved = self.tracts[nearest] @ mel
        envelope = smooth_bands(moved)

        pitch = base[kind] * span[kind] ** chance.uniform(0, 1)  # Hz
        tune = pitch[:, None] * 2 ** chance.curve(length, 0.25)
        notes = (12 * (tune / pitch[:, None]).log2() * 3).round() / 12
        time = torch.arange(length, device=mel.device)
        beat = 0.02 * torch.sin(2 * math.pi * 0.055 * time + chance.uniform(0, 6.28, 1))
        sung = (kind == KINDS.index("sung"))[:, None]
        tune = torch.where(sung, pitch[:, None] * 2 ** (notes + beat), tune)
        step = (_PITCHES - 1) * (tune / LOWEST).log2() / math.log2(HIGHEST / LOWEST)
        comb = self.combs[step.round().long().clamp(0, _PITCHES - 1)].transpose(1, 2)
        voiced = envelope[:, 2:22].mean(1, keepdim=True) - envelope[:, 50:].mean(1, keepdim=True)
        comb = comb * ((voiced + 0.2) / 0.6).clamp(0, 1) * chance.uniform(0.5, 1.0, 1, 1)

        slope = torch.linspace(-1.6, 0.3, 80, device=mel.device)[:, None]  # a whisper has no low tones
        slope = slope * chance.uniform(0.5, 1.2, 1, 1)
        breath = envelope + slope + 0.12 * chance.normal(80, length)
        kind = kind[:, None, None]
        fresh = torch.where(kind == KINDS.index("whisper"), breath, envelope + comb)
        return torch.where(kind == KINDS.index("own"), moved, fresh)

    def _background(self, length: int, chance: Chance) -> Tensor:
        """Mel power [B,80,length] of noise and music; silence without a background."""
        if self.background is None:
            return torch.zeros((), device=self.hertz.device)
        rows = chance.integers(len(self.background))
        room = self.background.shape[2] - length
        start = chance.integers(room + 1) if room > 0 else torch.zeros_like(rows)
        at = (start[:, None] + torch.arange(length, device=rows.device)) % self.background.shape[2]
        return 10 ** self.background[rows[:, None], :, at].float().mT


class Chance:
    """Random numbers for a batch of `count` on a device."""

    def __init__(self, count: int, device: torch.device | str = "cpu") -> None:
        self.count, self.device = count, device

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(self.count, *shape, device=self.device)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(self.count, *shape, device=self.device)

    def integers(self, below: int) -> Tensor:
        return torch.randint(below, (self.count,), device=self.device)

    def some(self, probability: float) -> Tensor:
        """[B,1,1]: 1 with this probability, else 0."""
        return (self.uniform(0, 1, 1, 1) < probability).float()

    def curve(self, size: int, spread: float) -> Tensor:
        """Smooth random curves [B,size] of about this standard deviation, mean 0."""
        knots = spread * self.normal(1, 6)
        curve = F.interpolate(knots, size=size, mode="linear", align_corners=True)[:, 0]
        return curve - curve.mean(1, keepdim=True)
