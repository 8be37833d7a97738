"""Voice activity detection: where somebody speaks, and how loud, in sound at any gain.

A small convolutional network on log-mel tells speech from music, tones, breath, noise, crowds, hum and DC. What is no
speech is silence afterwards, and speech is given relative to its own level of the last seconds: neither the gain nor
what was loud before it matters. All of it is causal but for a stated look-ahead, so that it runs while sound comes in.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..media.audio import FIRST_BAND, FLOOR, FPS, MELS_PER_FRAME, N_MELS
from . import checkpoints

TAPS = 3  # of each layer
DILATIONS = (1, 2, 4, 8, 16)  # video frames between the taps
AHEAD = (1, 1, 2, 4, 0)  # video frames by which the last tap is later than the frame that is judged
BEFORE = sum((TAPS - 1) * dilation - ahead for dilation, ahead in zip(DILATIONS, AHEAD))
PEAK = 32  # video frames before, with whose loudest a frame is compared
RANGE = 4.0  # bel below that loudest: what is fainter is not looked at
QUIETEST = -7.0  # log10 mel power; where the loudest is fainter (about -80 dBFS) there is silence
SURE = (0.1, 0.4)  # probability of speech from which on sound passes, and passes whole
HANG = (2, 3)  # video frames before and after speech that belong to it
LEVEL_AHEAD = 8  # video frames after a moment whose speech counts for its level
HALF_LIFE = 0.7  # s of speech, after which what came before counts half for the level
COMPRESSION = 0.2  # exponent of power in the mean that is a level: neither pauses nor the loudest moments rule it
LEVEL_OVER_MEAN = 0.75  # bel, by which the level of `media.audio.level` lies above that mean over speech
FAINTEST = 1e-4  # weight for the level of what is no speech
LOOK_AHEAD = sum(AHEAD) + max(HANG[0], LEVEL_AHEAD)  # video frames after a moment on which the result depends


@dataclass(frozen=True)
class VADDims:
    """Sizes of a VAD."""

    n_mels: int = N_MELS
    width: int = 48


class VAD(nn.Module):
    """log-mel [B,80,4T] (log10 power, any gain) -> logit [B,T] of speech in each video frame."""

    def __init__(self, dims: VADDims | None = None) -> None:
        super().__init__()
        self.dims = dims = dims or VADDims()
        width = dims.width
        self.front = nn.Sequential(
            nn.Conv1d(dims.n_mels - FIRST_BAND, width, MELS_PER_FRAME, MELS_PER_FRAME),
            nn.GELU(),
            nn.Conv1d(width, width, 1),
        )
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.Conv1d(width, width, TAPS, dilation=dilation, groups=width),
                nn.Conv1d(width, 2 * width, 1),
                nn.GELU(),
                nn.Conv1d(2 * width, width, 1),
            )
            for dilation in DILATIONS
        )
        self.head = nn.Conv1d(width, 1, 1)

    @classmethod
    def load(cls, weights: str | os.PathLike[str] | None = None) -> VAD:
        """The shipped network, in eval mode. Raises WeightsError."""
        checkpoint = checkpoints.load("vad", weights)
        return checkpoint.fill(cls(checkpoint.sizes(VADDims)))

    def forward(self, mel: Tensor) -> Tensor:
        """Whole recordings: what lies beyond their ends is silence."""
        before, after = (PEAK + BEFORE) * MELS_PER_FRAME, sum(AHEAD) * MELS_PER_FRAME
        return self.judge(F.pad(mel, (before, after), value=-math.inf))

    def judge(self, mel: Tensor) -> Tensor:
        """log-mel [B,80,4 (PEAK + BEFORE + T + sum(AHEAD))] -> logit [B,T]."""
        mel = mel[:, FIRST_BAND:]
        loudness = mel.amax(1, keepdim=True)
        span = PEAK * MELS_PER_FRAME
        peak = F.max_pool1d(loudness, span + 1, 1).clamp(min=QUIETEST)
        x = self.front(((mel[..., span:] - peak) / RANGE + 1).clamp(min=0))
        for layer, dilation, ahead in zip(self.layers, DILATIONS, AHEAD):
            kept = x[..., (TAPS - 1) * dilation - ahead : x.shape[2] - ahead]
            x = kept + layer(x)
        return self.head(x)[:, 0]

    @torch.inference_mode()
    def listen(self, mels: Iterable[Tensor], ahead: int = LEVEL_AHEAD) -> Iterator[Tensor]:
        """Speech alone, relative to its own level.

        mels: log-mel blocks [80,4n] of any size. ahead: video frames of `LEVEL_AHEAD` that are waited for, fewer for
        less delay (`sum(AHEAD)` and `HANG` remain). Yields blocks of log10 mel power relative to the speech level
        [80,4n], never below `FLOOR`, which stands for silence; together as many frames as came in, and the same
        whatever the blocks.
        """
        device = self.head.weight.device
        before, after = PEAK + BEFORE, sum(AHEAD)
        sound = torch.full((self.dims.n_mels, before * MELS_PER_FRAME), -math.inf, device=device)
        rest = torch.empty(self.dims.n_mels, 0, device=device)  # has been judged, but not yet given
        speech = torch.zeros(HANG[1])  # probability, of `HANG[1]` frames before `rest` and of `rest`
        levels = torch.empty(0)  # of `rest`
        follower = LevelFollower()
        wait = max(HANG[0], ahead)

        def padded() -> Iterator[tuple[Tensor, bool]]:
            for mel in mels:
                yield mel.to(device), False
            yield torch.full((self.dims.n_mels, after * MELS_PER_FRAME), -math.inf, device=device), True

        for mel, last in padded():
            sound = torch.cat([sound, mel], 1)
            count = sound.shape[1] // MELS_PER_FRAME - before - after
            if count > 0:
                fresh = sound[:, before * MELS_PER_FRAME : (before + count) * MELS_PER_FRAME]
                likely = self.judge(sound[None])[0].sigmoid().cpu()
                levels = torch.cat([levels, follower.follow(frame_power(fresh).cpu(), likely)])
                rest, speech = torch.cat([rest, fresh], 1), torch.cat([speech, likely])
                sound = sound[:, count * MELS_PER_FRAME :]
            ready = len(levels) - (0 if last else wait)
            if ready <= 0:
                continue
            at = (torch.arange(ready) + ahead).clamp(max=len(levels) - 1)
            following = F.pad(speech, (0, HANG[0]))[: HANG[1] + ready + HANG[0]]
            passes = F.max_pool1d(following[None], sum(HANG) + 1, 1)[0]
            passes = ((passes - SURE[0]) / (SURE[1] - SURE[0])).clamp(0, 1)
            passes, level = (row.to(device).repeat_interleave(MELS_PER_FRAME) for row in (passes, levels[at]))
            relative = (rest[:, : ready * MELS_PER_FRAME] - level).clamp(min=FLOOR)
            relative[:FIRST_BAND] = FLOOR
            yield FLOOR + (relative - FLOOR) * passes
            rest, levels, speech = rest[:, ready * MELS_PER_FRAME :], levels[ready:], speech[ready:]

    @torch.no_grad()
    def overhear(self, mel: Tensor, first: int, count: int) -> tuple[Tensor, Tensor]:
        """`listen` for recordings of one length at once: video frames first .. first + count of log-mels [B,80,4T].

        Gives speech relative to its own level [B,80,4 count] before anything is silenced, and what passes [B,count],
        0..1.
        """
        likely = self(mel).sigmoid()
        loud = 10 ** (COMPRESSION * frame_power(mel.transpose(0, 1)))
        weight = likely.square().clamp(min=FAINTEST)
        fade = weight.cumsum(1) * (-math.log(2) / (HALF_LIFE * FPS))
        at = (torch.arange(first, first + count, device=mel.device) + LEVEL_AHEAD).clamp(max=loud.shape[1] - 1)
        past = torch.arange(loud.shape[1], device=mel.device) <= at[:, None]
        share = weight[:, None] * (fade[:, at, None] - fade[:, None]).clamp(max=0).exp() * past
        level = (share * loud[:, None]).sum(2) / share.sum(2)
        level = (level.log10() / COMPRESSION + LEVEL_OVER_MEAN).clamp(min=QUIETEST)
        passes = F.max_pool1d(F.pad(likely, (HANG[1], HANG[0])), sum(HANG) + 1, 1)[:, first : first + count]
        passes = ((passes - SURE[0]) / (SURE[1] - SURE[0])).clamp(0, 1)
        part = mel[..., first * MELS_PER_FRAME : (first + count) * MELS_PER_FRAME]
        relative = (part - level.repeat_interleave(MELS_PER_FRAME, 1)[:, None]).clamp(min=FLOOR)
        relative[:, :FIRST_BAND] = FLOOR
        return relative, passes

    def hear(self, mel: Tensor) -> Tensor:
        """`listen` for a whole log-mel [80,4T] at once."""
        return torch.cat(list(self.listen([mel])), 1)

    def save(self, directory: str | os.PathLike[str], **provenance: Any) -> Path:
        """Write `vad.safetensors` (see `checkpoints.save` for the provenance to give)."""
        return checkpoints.save("vad", self.state_dict(), asdict(self.dims), directory, **provenance)


def frame_power(mel: Tensor) -> Tensor:
    """log10 of each video frame's mean mel power, without what lies below the voice: [80,...,4T] -> [...,T]."""
    power = (10.0 ** mel[FIRST_BAND:].double()).mean(0).unflatten(-1, (-1, MELS_PER_FRAME)).mean(-1)
    return power.clamp(min=1e-12).log10().float()


class LevelFollower:
    """Level of speech, frame by frame: a mean of compressed power over the last seconds *of speech*."""

    def __init__(self) -> None:
        self._keep = 0.5 ** (1 / (HALF_LIFE * FPS))
        self._sum, self._weight = 0.0, 0.0

    def follow(self, power: Tensor, speech: Tensor) -> Tensor:
        """log10 mel power [n] (`frame_power`) and probability of speech [n] of the next frames -> level [n].

        Before any speech, the first frames' own power.
        """
        levels = []
        for loud, likely in zip((10 ** (COMPRESSION * power)).tolist(), speech.tolist(), strict=True):
            weight = max(likely**2, FAINTEST)
            keep = self._keep**weight
            self._sum, self._weight = keep * self._sum + weight * loud, keep * self._weight + weight
            levels.append(max(QUIETEST, math.log10(self._sum / self._weight) / COMPRESSION + LEVEL_OVER_MEAN))
        return torch.tensor(levels)
