"""The audio tower of the emotion space (paper Sec. 3.2): a voice becomes z_emo, a unit vector [512]."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..media.audio import N_MELS, SAMPLE_RATE, mel_filters, normalise
from .tower import _Tower

SPEECH = 0.3  # normalised log-mel, mean over bands, from which on a frame counts as speech
MODULATIONS = 16  # of the loudness of each part of the spectrum, 0.5 to 8 Hz in a window of 2 s
BANDS = (0, 8, 20, 35, 50, 65, 80)  # edges of the parts of the spectrum, mel bands
PITCHES = (75.0, 480.0, 48)  # Hz, lowest and highest of so many candidates
VOICED = 0.12  # strength of the pitch from which on a frame counts as voiced
TIMBRE = 13  # cepstra whose correlations count


def combs() -> tuple[Tensor, Tensor]:
    """What harmonics of each candidate leave in the mel bands, unit vectors [48,80], and its log Hz [48]."""
    filters = mel_filters()
    hz = np.linspace(0, SAMPLE_RATE / 2, filters.shape[1])
    mass = filters.sum(1) + 1e-9
    low, high, count = PITCHES
    pitches, made = np.geomspace(low, high, count), []
    for pitch in pitches:
        spectrum = np.zeros(len(hz))
        for h in range(1, 1 + min(15, int(1300 / pitch))):
            for at, sign in ((h, 1), (h - 0.5, -0.5), (h + 0.5, -0.5)):  # peaks, and valleys between them
                spectrum += sign * np.exp(-0.5 * ((hz - at * pitch) / 14) ** 2) / h**0.3
        made.append(np.where(filters @ hz / mass > 1300, 0, filters @ spectrum / mass))  # higher ones blur
    made = np.stack(made) / np.linalg.norm(made, axis=1, keepdims=True)
    return torch.from_numpy(made).float(), torch.from_numpy(np.log(pitches)).float()


@dataclass(frozen=True)
class AudioDims:
    """Sizes of the audio tower. window: mel frames (100 a second); anchors: emotions that are told apart by ear; 0:
    none, the output is free, as a space needs it that says nothing of emotions.

    space: the space that it maps to.
    """

    n_mels: int = N_MELS
    width: int = 64
    layers: int = 2
    heads: int = 4
    window: int = 200
    anchors: int = 7
    output: int = 512
    dropout: float = 0.15
    forget: float = 0.1  # dropout of the statistics
    space: str = "emotalk-2"


class AudioTower(_Tower):
    """A Transformer over log-mel whose Cls token starts from statistics of the whole window.

    Half of the spectrum's mean over time is taken off what the tokens see, so that they hear change rather than the
    microphone. The statistics (level, spread and speed of each band, cepstra and their correlations, melody, rhythm)
    also reach the output directly: such functionals are what a few hundred recordings can teach. The output is an
    average of the anchors' embeddings, so that even a wrong guess is an emotion, moved freely from there.
    """

    combs: Tensor
    pitches: Tensor
    hann: Tensor
    anchors: Tensor

    name, Dims = "ame_audio", AudioDims

    def __init__(self, dims: AudioDims = AudioDims()):
        super().__init__()
        self.dims = dims
        width, n = dims.width, dims.n_mels
        self.front = nn.Sequential(
            nn.Conv1d(2 * n, width, 5, 2, 2), nn.GELU(), nn.Conv1d(width, width, 3, 2, 1), nn.GELU()
        )
        k = torch.arange(n) + 0.5
        self.register_buffer(
            "cosines", torch.cos(torch.pi / n * k * torch.arange(20)[:, None]) * (2 / n) ** 0.5, persistent=False
        )
        found = combs()
        self.register_buffer("combs", found[0], persistent=False)
        self.register_buffer("pitches", found[1], persistent=False)
        self.register_buffer("hann", torch.hann_window(dims.window), persistent=False)
        count = self.statistics(torch.zeros(1, n, dims.window)).shape[1]
        self.standard = nn.BatchNorm1d(count, affine=False, momentum=0.02)
        self.forget = nn.Dropout(dims.forget)
        said = dims.anchors or dims.output
        self.summary, self.direct = nn.Linear(count, width), nn.Linear(count, said)
        self.cls = nn.Parameter(torch.zeros(width))
        self.position = nn.Parameter(torch.randn(1 + dims.window // 8, width) * 0.02)
        layer = nn.TransformerEncoderLayer(
            width, dims.heads, 2 * width, dims.dropout, "gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, dims.layers, nn.LayerNorm(width), enable_nested_tensor=False)
        self.head = nn.Sequential(nn.Dropout(dims.dropout), nn.Linear(width, said))
        self.free = nn.Linear(width, dims.output) if dims.anchors else None
        if self.free is not None:
            nn.init.zeros_(self.free.weight)
            nn.init.zeros_(self.free.bias)
        self.sharpness = nn.Parameter(torch.ones(()))
        self.register_buffer("anchors", torch.zeros(dims.anchors, dims.output))  # unit vectors of the space

    def statistics(self, mel: Tensor) -> Tensor:
        """Functionals [B,N] of windows [B,80,T]."""
        loud = mel.mean(1)
        spoken = (loud > SPEECH).float()
        share = (spoken / spoken.sum(1, keepdim=True).clamp(min=8))[:, None]

        def moments(x: Tensor) -> list[Tensor]:
            mean = (x * share).sum(2)
            return [mean, ((x - mean[..., None]).square() * share).sum(2).add(1e-5).sqrt()]

        def speed(x: Tensor) -> Tensor:
            return (x[..., 2:] - x[..., :-2]).square().mean(-1).add(1e-5).sqrt()

        def correlations(x: Tensor) -> Tensor:
            """Of the rows of centred x [B,K,T], each pair once."""
            x = F.normalize(x * share.sqrt()[..., : x.shape[2]], dim=2, eps=0.03)
            row, column = torch.tril_indices(x.shape[1], x.shape[1], -1, device=x.device)
            return (x @ x.mT)[:, row, column]

        levels = torch.tensor([0.25, 0.75, 0.95], device=mel.device)
        cepstra = torch.einsum("kf,bft->bkt", self.cosines, mel)
        harmonics = mel[:, :32] - F.avg_pool1d(mel[:, :32].mT, 9, 1, 4, count_include_pad=False).mT
        pitch = torch.stack([(harmonics[:, :-k] * harmonics[:, k:]).mean(1) for k in range(2, 12)], 1)
        parts = torch.stack([mel[:, a:b].mean(1) for a, b in itertools.pairwise(BANDS)], 1)
        rhythm = torch.fft.rfft((parts - parts.mean(2, keepdim=True)) * self.hann).abs()[..., 1 : MODULATIONS + 1]
        rising = (loud[:, 2:] - loud[:, :-2]).clamp(min=0).mean(1)
        found = [*moments(mel), speed(mel), mel.quantile(levels, 2).permute(1, 0, 2).flatten(1)]
        found += [*moments(cepstra), speed(cepstra), rhythm.log1p().flatten(1), *moments(pitch)]
        timbre = cepstra[:, :TIMBRE]
        timbre = timbre - (timbre * share).sum(2, keepdim=True)
        found += [correlations(timbre), correlations(timbre[..., 2:] - timbre[..., :-2]), self._melody(mel)]
        return torch.cat([*found, torch.stack([spoken.mean(1), loud.std(1), rising], 1)], 1)

    def _melody(self, mel: Tensor) -> Tensor:
        """Pitch [B,19] of windows [B,80,T]: level, spread, slopes, range, how much is voiced, its tie to loudness."""
        loud = mel.mean(1)
        fine = mel - F.avg_pool1d(mel.mT, 9, 1, 4, count_include_pad=False).mT
        scores = self.combs @ fine
        pitch = ((14 * scores).softmax(1) * self.pitches[:, None]).sum(1)
        strength = scores.amax(1) * (loud > SPEECH)
        voiced = (strength - VOICED).clamp(min=0) + 1e-4

        def mean(x: Tensor, weight: Tensor) -> Tensor:
            return (x * weight).sum(1, keepdim=True) / weight.sum(1, keepdim=True)

        time = torch.linspace(-1, 1, mel.shape[2], device=mel.device).expand_as(pitch)
        level = mean(pitch, voiced)
        away, when = pitch - level, time - mean(time, voiced)
        ordered, order = pitch.sort(1)
        below = (voiced / voiced.sum(1, keepdim=True)).gather(1, order).cumsum(1)
        points = [
            ordered.gather(1, (below < share).sum(1, keepdim=True).clamp(max=mel.shape[2] - 1))
            for share in (0.1, 0.25, 0.5, 0.75, 0.9)
        ]
        step, glide = pitch.diff(dim=1), pitch[:, 4:] - pitch[:, :-4]
        both, across = voiced[:, 1:] * voiced[:, :-1], voiced[:, 4:] * voiced[:, :-4]
        found = [level, mean(away.square(), voiced).add(1e-6).sqrt(), mean(glide.abs(), across)]
        found += [mean(glide.clamp(min=0), across), mean(when * away, voiced) / (mean(when.square(), voiced) + 1e-3)]
        found += [*points, points[4] - points[0], points[3] - points[1], points[4] - points[2], points[2] - points[0]]
        found += [strength.mean(1, keepdim=True), strength.std(1, keepdim=True)]
        found += [(strength > VOICED).float().mean(1, keepdim=True), mean(step.abs(), both)]
        return torch.cat([*found, mean((loud - mean(loud, voiced)) * away, voiced)], 1)

    def forward(self, mel: Tensor) -> Tensor:
        """Normalised log-mel [B,80,window] (`audio.normalise`) -> unit vectors [B,512]."""
        statistics = self.forget(self.standard(self.statistics(mel)).clamp(-4, 4))
        change = F.avg_pool1d(mel - 0.5 * mel.mean(2, keepdim=True), 2)
        speed = 3 * F.pad(change.diff(dim=2), (1, 0))
        tokens = self.front(torch.cat([change, speed], 1)).mT
        tokens = torch.cat([(self.cls + self.summary(statistics))[:, None], tokens], 1) + self.position
        heard = self.encoder(tokens)[:, 0]
        said = self.sharpness * self.direct(statistics) + self.head(heard)
        if self.free is not None:
            said = said.softmax(1) @ self.anchors + self.free(heard)
        return F.normalize(said, dim=1)

    @torch.no_grad()
    def listen(self, mels: Iterable[Tensor], level: float) -> Tensor | None:
        """Unit vector [512] of a recording, in constant memory: the mean over its windows, each for its speech.

        mels: log-mel blocks [80,4n]; level: dBFS. None if there is no speech in it.
        """
        window, device = self.dims.window, self.cls.device
        total, rest = torch.zeros(self.dims.output, device=device), torch.zeros(self.dims.n_mels, 0, device=device)
        seen = False

        def weigh(windows: Tensor) -> Tensor:
            spoken = (windows.mean(1) > SPEECH).float().mean(1)
            return (self(windows) * spoken[:, None]).sum(0)

        for block in mels:
            rest = torch.cat([rest, normalise(block.to(device), level)], 1)
            if rest.shape[1] >= window:
                windows = rest.unfold(1, window, window // 2).transpose(0, 1)
                total, seen = total + weigh(windows), True
                rest = rest[:, len(windows) * (window // 2) :]
        if rest.shape[1] > window // 2 or not seen:  # what no window has seen yet
            total = total + weigh(F.pad(rest, (0, window - rest.shape[1]))[None])
        return F.normalize(total, dim=0) if bool(total.any()) else None
