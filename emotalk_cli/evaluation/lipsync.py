"""Do lips and sound belong together, and how far are they apart in time?

A judge embeds the mouth's motion and the sound around every frame. Over a clip, the mean agreement of both at each
offset gives the offset where it is best, and the confidence: by how much the best exceeds the median of all.
`SyncJudge` is the project's own, on landmarks (`sync-builtin`); `published.SyncNet` is the field's, on pixels.
"""

from __future__ import annotations

import dataclasses
import os

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import InputError
from ..face.topology import INNER_LIPS, OUTER_EYE_CORNERS, OUTER_LIPS
from ..media.audio import normalise
from ..models import checkpoints

LIPS = OUTER_LIPS + [v for v in INNER_LIPS if v not in (191, 80, 310, 415)]  # those, GRID's tracks do not have
OFFSETS = 15  # frames that sound and picture may be apart
SHORTEST = 2 * OFFSETS  # frames


@dataclasses.dataclass(frozen=True)
class SyncDims:
    """Sizes of a SyncJudge."""

    mels: int = 80
    lips: int = 2 * len(LIPS)
    width: int = 96
    embedding: int = 64


class SyncJudge(nn.Module):
    """Two small convolutional networks into one space: mouth shapes, and speech."""

    def __init__(self, dims: SyncDims | None = None) -> None:
        super().__init__()
        self.dims = dims = dims or SyncDims()
        width = dims.width
        self.sound = nn.Sequential(
            nn.Conv1d(dims.mels, width, 5, 2, 2), nn.GELU(), nn.Conv1d(width, width, 5, 2, 2), nn.GELU(),
            nn.Conv1d(width, width, 3, 1, 1), nn.GELU(), nn.Conv1d(width, dims.embedding, 3, 1, 1),
        )  # fmt: skip
        self.mouth = nn.Sequential(
            nn.Conv1d(dims.lips, width, 3, 1, 1), nn.GELU(), nn.Conv1d(width, width, 3, 1, 1), nn.GELU(),
            nn.Conv1d(width, width, 3, 1, 1), nn.GELU(), nn.Conv1d(width, dims.embedding, 3, 1, 1),
        )  # fmt: skip

    @classmethod
    def load(cls, weights: str | os.PathLike[str] | None = None) -> SyncJudge:
        """The shipped judge, in evaluation mode. Raises WeightsError."""
        checkpoint = checkpoints.load("sync", weights)
        return checkpoint.fill(cls(checkpoint.sizes(SyncDims)))

    def forward(self, mel: Tensor, lips: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised log-mel [B,80,4T] and `mouth_shapes` [B,T,72] -> unit embeddings [B,T,64] of both."""
        sound, mouth = self.sound(mel), self.mouth(lips.transpose(1, 2))
        return F.normalize(sound, dim=1).transpose(1, 2), F.normalize(mouth, dim=1).transpose(1, 2)

    @torch.inference_mode()
    def judge(self, mel: Tensor, level: float, landmarks: Tensor) -> tuple[float, int]:
        """Confidence 0..1 and offset of log-mel [80,4T] with level in dBFS against landmarks [T,478,3] px.

        offset: frames by which the sound is late. Raises InputError for clips of less than SHORTEST frames.
        """
        length = min(mel.shape[1] // 4, len(landmarks))
        sound, mouth = self(normalise(mel[None, :, : 4 * length], level), mouth_shapes(landmarks[:length])[None])
        confidence, offset = agreement(mouth[0] @ sound[0].T)
        return confidence, offset


def mouth_shapes(landmarks: Tensor) -> Tensor:
    """Lip contours in units of the outer eye distance, upright, less their mean over the clip: [T,478,2+] -> [T,72]."""
    right, left = (landmarks[:, i, :2] for i in OUTER_EYE_CORNERS)
    across = left - right
    size = across.norm(dim=1, keepdim=True)
    cos, sin = (across / size).unbind(1)
    turn = torch.stack([torch.stack([cos, sin], 1), torch.stack([-sin, cos], 1)], 1)
    lips = (landmarks[:, LIPS, :2] - ((left + right) / 2)[:, None]) / size[:, None]
    lips = torch.einsum("tij,tnj->tni", turn, lips).flatten(1)
    return 10 * (lips - lips.mean(0))


def agreement(likeness: Tensor) -> tuple[float, int]:
    """Confidence and offset from the likeness [T,T] of mouth (rows) and sound (columns) at all pairs of frames.

    Every offset is judged on the same frames, those that have a partner at each.
    """
    count = len(likeness)
    if count < SHORTEST:
        raise InputError(f"Lip synchronisation needs at least {SHORTEST} frames; the clip has {count}.")
    reach = min(OFFSETS, (count - 1) // 3)
    middle = torch.arange(reach, count - reach)
    by_offset = torch.stack([likeness[middle, middle + d].mean() for d in range(-reach, reach + 1)])
    best = int(by_offset.argmax())
    return float(by_offset[best] - by_offset.median()), best - reach
