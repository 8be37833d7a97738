"""Lips that meet: closures found in what EAC says, and coefficients that close a mouth."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..emotions.prototypes import COMPONENTS

LARGEST = 1.2  # of a named coefficient; fitted faces stay below 1
NAMED = 53  # blendshapes are never negative, the residual components after them may be
CONTACT = 0.3  # cm: lips that come nearer than this are drawn together (see `EAC.contact`)
VISEMES = (  # what it tells apart, in `training.motion`'s order
    *("silence", "bilabial", "labiodental", "dental", "alveolar", "sibilant", "postalveolar", "velar", "rhotic"),
    *("glide", "close front", "near front", "mid front", "open front", "open", "central", "open round", "mid round"),
    *("close round", "breath"),
)
VOWELS = VISEMES[10:19]
PEAK = 2  # video frames on either side among which a closure has its peak
BLEND = 0.3  # share of a closure that reaches the frames before and after: lips do not meet in no time
SMOOTH = (0.25, 0.5, 0.25)  # over video frames: a regression trembles


def peaks(closed: Tensor) -> Tensor:
    """Probabilities [n] of closed lips, kept where they peak and lowered around: a closure lasts a frame or two."""
    highest = F.max_pool1d(closed[None], 2 * PEAK + 1, 1, PEAK)[0]
    return closed * (closed / highest.clamp(min=1e-6)) ** 12


def blended(likely: Tensor) -> Tensor:
    """[n] in 0..1, raised around peaks: a closure comes and goes within two frames instead of one."""
    before, after = torch.cat([likely[:1], likely[:-1]]), torch.cat([likely[1:], likely[-1:]])
    return torch.maximum(likely, BLEND * (before + after) + (1 - 2 * BLEND) * likely)


def smoothed(rows: Tensor) -> Tensor:
    """[n, k] averaged along n with the weights `SMOOTH`."""
    half = len(SMOOTH) // 2
    padded = F.pad(rows.T[:, None], (half, half), mode="replicate")
    return F.conv1d(padded, rows.new_tensor(SMOOTH)[None, None])[:, 0].T


def close_lips(beta: Tensor, allowed: Tensor, lips: Tensor) -> Tensor:
    """Close lips that stand further apart than `allowed`, by mouthClose and, where that is not enough, the jaw.

    beta: [..., n] coefficients in the order of `emotions.COMPONENTS`. allowed: [..., 5] cm beyond rest.
    lips: [n, 5], by how many cm each component parts five pairs of inner-lip points.
    """
    close, jaw = COMPONENTS.index("mouthClose"), COMPONENTS.index("jawOpen")
    beta = beta.clone()
    excess = ((beta @ lips - allowed) / (-lips[close]).clamp(min=1e-6)).amax(-1).clamp(min=0)
    beta[..., close] = (beta[..., close] + excess).clamp(max=1)
    excess = ((beta @ lips - allowed) / lips[jaw].clamp(min=1e-6)).amax(-1).clamp(min=0)
    beta[..., jaw] = (beta[..., jaw] - excess).clamp(min=0)
    return beta
