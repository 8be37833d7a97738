"""Clips as flat tensors on one device, from which training windows are cut by index."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ...media.audio import MEL_TO_LEVEL, MELS_PER_FRAME
from .corpus import Clip

SILENT = -8.0  # bel below the speech level: what is heard beyond a recording


class Cut(NamedTuple):
    """Windows of F video frames: log-mel [B,80,4F] relative to the recording's speech level, coefficients [B,F,n],
    visemes [B,4F] (-1: unknown), who speaks or not [B,F] 0..1."""

    mel: Tensor
    beta: Tensor
    visemes: Tensor
    speaking: Tensor


class Recordings(nn.Module):
    """Clips one after the other: log-mel [4N,80] relative to each one's level, coefficients [N,n], visemes [4N]."""

    mel: Tensor
    beta: Tensor
    visemes: Tensor
    speaking: Tensor
    first: Tensor
    frames: Tensor

    def __init__(self, clips: Sequence[Clip]) -> None:
        super().__init__()
        lengths = [len(clip.beta) for clip in clips]
        mel, said = [], []
        for clip, frames in zip(clips, lengths, strict=True):
            count = frames * MELS_PER_FRAME
            mel.append((clip.mel[:, :count].float() - clip.level / 10 - MEL_TO_LEVEL).T.half())
            said.append(torch.full((count,), -1) if clip.visemes is None else clip.visemes[:count])
        self.register_buffer("mel", torch.cat(mel))
        self.register_buffer("beta", torch.cat([clip.beta for clip in clips]).half())
        self.register_buffer("visemes", torch.cat(said).to(torch.int8))
        self.register_buffer("speaking", torch.cat([clip.speaking for clip in clips]).half())
        self.register_buffer("first", torch.tensor([0, *itertools.accumulate(lengths)][:-1]))
        self.register_buffer("frames", torch.tensor(lengths))

    def cut(self, clip: Tensor, start: Tensor, rate: Tensor, frames: int) -> Cut:
        """Windows of `frames` from these clips [B], starting at video frames start [B], played at these rates [B].

        Beyond a recording there is silence.
        """
        first, length = self.first[clip], self.frames[clip]
        mel = _resampled(
            self.mel,
            first * MELS_PER_FRAME,
            length * MELS_PER_FRAME,
            start * MELS_PER_FRAME,
            rate,
            frames * MELS_PER_FRAME,
            SILENT,
        )
        beta = _resampled(self.beta, first, length, start, rate, frames, 0.0)
        speaking = _resampled(self.speaking[:, None], first, length, start, rate, frames, 0.0)[..., 0]
        at = torch.arange(frames * MELS_PER_FRAME, device=clip.device)
        at = ((start * MELS_PER_FRAME)[:, None] + rate[:, None] * at).round().long()
        inside = (at >= 0) & (at < length[:, None] * MELS_PER_FRAME)
        at = torch.minimum(at.clamp(min=0), length[:, None] * MELS_PER_FRAME - 1)
        said = self.visemes[first[:, None] * MELS_PER_FRAME + at].long()
        unknown = self.visemes[first * MELS_PER_FRAME][:, None] < 0  # all of such a recording is
        return Cut(mel.mT, beta, torch.where(inside | unknown, said, 0), speaking)


def _resampled(
    rows: Tensor, first: Tensor, length: Tensor, start: Tensor, rate: Tensor, count: int, fill: float
) -> Tensor:
    """Rows [B,count,C] at start, start + rate, ... of the recordings that lie at first .. first + length, between rows
    linearly, `fill` outside."""
    position = start[:, None] + rate[:, None] * torch.arange(count, device=rows.device)
    low = position.floor()
    part = (position - low)[..., None]

    def at(index: Tensor) -> Tensor:
        inside = (index >= 0) & (index < length[:, None])
        found = rows[first[:, None] + torch.minimum(index.clamp(min=0), length[:, None] - 1)].float()
        return torch.where(inside[..., None], found, fill)

    return at(low.long()) * (1 - part) + at(low.long() + 1) * part
