"""Lips that meet: closures found in what EAC says, and coefficients that close a mouth."""

from __future__ import annotations

import functools
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..emotions.atlas import limited
from ..emotions.prototypes import COMPONENTS
from ..numeric import smoothstep

NAMED = 53  # blendshapes are never negative, the residual components after them may be
CONTACT = 0.2  # cm: lips that come nearer than this are drawn together (see `EAC.contact`)
APART, CLOSED_SHARE = 0.35, 0.35  # cm between lips that show a feeling whole; share of it while they are closed
GIVES = 0.5  # share of what parts the lips, and at most of its own opening, by which the jaw gives way to a feeling
OPENING, JAW = 1.2, 0.35  # factor on jawOpen up to this: a regression opens less than those it learned from
# shapes of a feeling that do not wait for the lips to part
_STAYS = torch.tensor([name.startswith(("noseSneer", "mouthFunnel", "jawForward")) for name in COMPONENTS])
PEAK = 2  # video frames on either side among which a closure has its peak
BLEND = 0.3  # share of a closure that reaches the frames before and after: lips do not meet in no time
SMOOTH = (0.25, 0.5, 0.25)  # over video frames: a regression trembles


# What EAC tells apart, and the mouth that says it at full articulation; a name without its side means left and right.
# Shapes after JALI's viseme table (Edwards et al. 2016), moved towards a least-squares fit to GRID's tracked mouth.
POSES: dict[str, dict[str, float]] = {
    "silence": {},
    "bilabial": {
        "mouthPress": 0.25,
        "mouthRollLower": 0.10,
        "mouthRollUpper": 0.16,
        "jawOpen": 0.08,
        "mouthPucker": 0.08,
    },
    "labiodental": {"jawOpen": 0.05, "mouthRollLower": 0.75, "mouthUpperUp": 0.24},
    "dental": {"jawOpen": 0.11, "mouthLowerDown": 0.05, "mouthUpperUp": 0.05, "mouthPucker": 0.06},
    "alveolar": {"jawOpen": 0.15, "mouthLowerDown": 0.04, "mouthUpperUp": 0.09, "mouthShrugUpper": 0.12},
    "sibilant": {
        "jawOpen": 0.11,
        "mouthLowerDown": 0.10,
        "mouthUpperUp": 0.15,
        "mouthShrugUpper": 0.18,
        "mouthStretch": 0.10,
    },
    "postalveolar": {"jawOpen": 0.10, "mouthFunnel": 0.22, "mouthPucker": 0.15, "mouthUpperUp": 0.10},
    "velar": {"jawOpen": 0.19, "mouthUpperUp": 0.10, "mouthShrugUpper": 0.18},
    "rhotic": {"jawOpen": 0.10, "mouthFunnel": 0.03, "mouthPucker": 0.25},
    "glide": {"jawOpen": 0.04, "mouthPucker": 0.68, "mouthFunnel": 0.12},
    "close front": {
        "jawOpen": 0.19,
        "mouthStretch": 0.25,
        "mouthUpperUp": 0.17,
        "mouthLowerDown": 0.09,
        "mouthShrugUpper": 0.15,
    },
    "near front": {"jawOpen": 0.21, "mouthStretch": 0.06, "mouthUpperUp": 0.12, "mouthShrugUpper": 0.22},
    "mid front": {
        "jawOpen": 0.31,
        "mouthStretch": 0.14,
        "mouthUpperUp": 0.14,
        "mouthLowerDown": 0.08,
        "mouthShrugUpper": 0.18,
    },
    "open front": {"jawOpen": 0.36, "mouthStretch": 0.10, "mouthUpperUp": 0.10, "mouthLowerDown": 0.06},
    "open": {"jawOpen": 0.37, "mouthLowerDown": 0.08, "mouthUpperUp": 0.10, "mouthShrugUpper": 0.10},
    "central": {"jawOpen": 0.16, "mouthUpperUp": 0.08, "mouthShrugUpper": 0.15},
    "open round": {"jawOpen": 0.22, "mouthFunnel": 0.08, "mouthPucker": 0.30},
    "mid round": {"jawOpen": 0.16, "mouthFunnel": 0.16, "mouthPucker": 0.44},
    "close round": {"jawOpen": 0.07, "mouthFunnel": 0.12, "mouthPucker": 0.60},
    "breath": {"jawOpen": 0.18},
}
VISEMES = tuple(POSES)
VOWELS = VISEMES[10:19]


# Shapes that a regression averages away, each by the visemes that show it, and the coefficients that make it.
SHARP = {"labiodental": ("labiodental",), "round": ("glide", "close round"), "postalveolar": ("postalveolar",)}
_RAISED = {  # at least so much
    "labiodental": {"mouthRollLower": 0.75, "mouthUpperUp": 0.2},
    "round": {"mouthPucker": 0.75, "mouthFunnel": 0.2},
    "postalveolar": {"mouthFunnel": 0.35, "mouthPucker": 0.15},
}
_LOWERED = {  # at most so much
    "labiodental": {"jawOpen": 0.06, "mouthLowerDown": 0.0, "mouthShrugUpper": 0.1, "mouthFunnel": 0.05},
    "round": {"mouthStretch": 0.0, "mouthSmile": 0.15, "mouthDimple": 0.0},
    "postalveolar": {"mouthStretch": 0.1},
}
HEARD = (0.35, 0.75)  # share of a shape among what is heard, from which on it is made, and made whole


@functools.cache
def _bounds() -> tuple[Tensor, Tensor]:
    """Least and largest coefficients [len(SHARP),64] of the shapes that are made; infinite where any will do."""
    rows = []
    for bounds, unbounded in ((_RAISED, -math.inf), (_LOWERED, math.inf)):
        table = torch.full((len(SHARP), len(COMPONENTS)), unbounded)
        for row, name in zip(table, SHARP, strict=True):
            for i, component in enumerate(COMPONENTS):
                shape = component.removesuffix("Left").removesuffix("Right")
                row[i] = bounds[name].get(shape, unbounded)
        rows.append(table)
    return rows[0], rows[1]


def sharpened(beta: Tensor, share: Tensor) -> Tensor:
    """Coefficients [...,n,64] moved towards the shapes `SHARP` as far as they are heard: share [...,n,len(SHARP)]."""
    strength = smoothed(smoothstep(((share - HEARD[0]) / (HEARD[1] - HEARD[0])).clamp(0, 1)))
    least, largest = (table.to(beta.device, beta.dtype) for table in _bounds())
    for column in range(len(SHARP)):
        part = strength[..., column, None]
        beta = beta + part * (least[column] - beta).clamp(min=0)
        beta = beta - part * (beta - largest[column]).clamp(min=0)
    return beta


def peaks(closed: Tensor) -> Tensor:
    """Probabilities [...,n] of closed lips, kept where they peak and lowered around: a closure lasts a frame or two."""
    highest = F.max_pool1d(closed.reshape(-1, closed.shape[-1]), 2 * PEAK + 1, 1, PEAK).reshape(closed.shape)
    return closed * (closed / highest.clamp(min=1e-6)) ** 12


def blended(likely: Tensor) -> Tensor:
    """[...,n] in 0..1, raised around peaks: a closure comes and goes within two frames instead of one."""
    before = torch.cat([likely[..., :1], likely[..., :-1]], -1)
    after = torch.cat([likely[..., 1:], likely[..., -1:]], -1)
    return torch.maximum(likely, BLEND * (before + after) + (1 - 2 * BLEND) * likely)


def smoothed(rows: Tensor) -> Tensor:
    """[..., n, k] averaged along n with the weights `SMOOTH`."""
    half, columns = len(SMOOTH) // 2, rows.mT
    padded = F.pad(columns.reshape(-1, 1, rows.shape[-2]), (half, half), mode="replicate")
    return F.conv1d(padded, rows.new_tensor(SMOOTH)[None, None]).reshape(columns.shape).mT


def _jaw(like: Tensor) -> Tensor:
    """[64]: one for the jaw that opens."""
    return F.one_hot(torch.tensor(COMPONENTS.index("jawOpen"), device=like.device), len(COMPONENTS)).to(like)


def opened(beta: Tensor) -> Tensor:
    """Coefficients [...,64] with a jaw that opens as far as those do that a regression learns from."""
    return beta + (OPENING - 1) * beta.clamp(max=JAW) * _jaw(beta)


def moulded(beta: Tensor, shape: Tensor, lips: Tensor) -> Tensor:
    """The mouth of a feeling around speech: lips are shaped, and close where they did.

    beta: [...,n,64] coefficients. shape: [...,64], what is added as far as lips are apart for a while, and less while
    they are closed (but nose, funnel and a jaw pushed forward). lips: see `close_lips`. The jaw gives way by half to a
    shape that parts the lips, and opens for one that brings them together; lips that speech closes stay closed.
    """
    plain, jaw = limited(beta), lips[COMPONENTS.index("jawOpen")]
    before = opened(plain) @ lips
    gap = before.clamp(min=0)
    apart = smoothstep((gap.mean(-1) / APART).clamp(0, 1))
    least = -F.max_pool1d(F.pad(-apart.reshape(-1, 1, apart.shape[-1]), (1, 1), mode="replicate"), 3, 1)
    kept = smoothed(smoothed(least.reshape(apart.shape)[..., None]))
    waits = CLOSED_SHARE + (1 - CLOSED_SHARE) * kept
    made = limited(plain + shape[..., None, :] * torch.where(_STAYS.to(beta.device), 1.0, waits))
    change = (opened(made) @ lips - before).mean(-1, keepdim=True) / jaw.mean().clamp(min=1e-6)
    most = GIVES * plain[..., COMPONENTS.index("jawOpen"), None]
    given = torch.minimum(torch.where(change > 0, GIVES * change, change) / OPENING, most)
    made = limited(made - given * _jaw(made))
    further = (opened(made) @ lips - gap).clamp(min=0)
    return close_lips(made, (gap + kept * further - (opened(made) - made) @ lips).clamp(min=0), lips)


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
