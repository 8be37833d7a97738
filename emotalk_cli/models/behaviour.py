"""What a point of the emotion space does to a face: z_emo -> behaviour (see `emotions.atlas`).

The space "emotalk-2" is laid out by `Layout`: √p of the weights p over `CLASSES`, a code of the behaviour, and the
meaning of the words, each a fixed share of the unit norm. The towers estimate such points; `Behaviour` reads a
behaviour from all 512 coordinates, smoothly: words between two states get faces between theirs.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..emotions import atlas
from ..emotions.atlas import CLASSES, FACE, WIDTH
from ..emotions.prototypes import COMPONENTS, intensity_gain
from ..numeric import smoothstep
from .text_tower import SPACE
from .text_tower import WIDTH as SPACE_WIDTH
from .tower import _Tower

NAMED, SHOWN, MEANT = 0.25, 0.45, 0.30  # shares of the squared norm of z: class weights, code, meaning
CODE = 40  # coordinates of the code, besides one that fills up its norm
CODED = slice(len(CLASSES), len(CLASSES) + CODE + 1)
MEANING = slice(len(CLASSES) + CODE + 1, SPACE_WIDTH)
FAINT = 0.35  # norm of a face of which half is left
THINGS = (0.3, 0.7)  # share of "unrelated" from which on a face is held back, and gone
STRONGEST = 1.25  # of a behaviour: "extremely ..."
ALIKE = 0.025  # difference of likeness by which a state counts e times less among those nearby
APART = 1.2  # by how much of what tells words from the states nearby their behaviour goes farther than was learned


class Layout:
    """How weights, behaviour and meaning lie in z."""

    def __init__(self, basis: Tensor, scale: Tensor) -> None:
        """basis: [CODE, WIDTH] orthonormal rows, for behaviours times scale [WIDTH] per channel."""
        self.basis, self.scale = basis, scale

    @classmethod
    def shipped(cls) -> Layout:
        """The layout of the space "emotalk-2" (`emotions/data/space.tsv`).

        40 principal directions of behaviours; the strongest state of the atlas, as it was then, has a code of norm
        1/`STRONGEST`. Frozen: the atlas may be edited without moving the space.
        """
        values = torch.tensor([[float(cell) for cell in row] for row in atlas.rows(atlas.__package__, "space")])
        return cls(values[1:], values[0])

    def encode(self, behaviour: Tensor) -> Tensor:
        """Behaviours [B, WIDTH] -> codes [B, CODE + 1] of norm 1, the last coordinate 1 for a neutral one."""
        code = (behaviour * self.scale) @ self.basis.T
        norm = code.norm(dim=1, keepdim=True).clamp(min=1e-6)
        code = code / norm * (2 * norm).tanh()  # a hint of a smile is more than a hint in z
        return torch.cat([code, (1 - code.square().sum(1, keepdim=True)).clamp(min=0).sqrt()], 1)

    def compose(self, p: Tensor, behaviour: Tensor, meaning: Tensor) -> Tensor:
        """z [B,512] of weights [B,9], behaviours [B, WIDTH] and unit vectors of meaning [B, at most 462]."""
        parts = [NAMED**0.5 * p.clamp(min=0).sqrt(), SHOWN**0.5 * self.encode(behaviour), MEANT**0.5 * meaning]
        z = torch.cat(parts, 1)
        return F.pad(z, (0, SPACE_WIDTH - z.shape[1]))


def named(z: Tensor) -> Tensor:
    """Weights [B,9] over `CLASSES`, sum 1, of z [B,512] in our own space."""
    squares = z[:, : len(CLASSES)].clamp(min=0).square() + 1e-6
    return squares / squares.sum(1, keepdim=True)


@dataclass(frozen=True)
class BehaviourDims:
    """Sizes of a `Behaviour`; space: the emotion space that it reads."""

    hidden: int = 160
    channels: int = WIDTH
    space: str = SPACE


class Behaviour(_Tower):
    """z_emo [B,512] -> behaviour [B, atlas.WIDTH] at full intensity: a linear map and a small network beside it."""

    name, Dims = "behaviour", BehaviourDims

    def __init__(self, dims: BehaviourDims = BehaviourDims()) -> None:
        super().__init__()
        self.dims = dims
        self.direct = nn.Linear(SPACE_WIDTH, dims.channels)
        self.layers = nn.Sequential(
            nn.Linear(SPACE_WIDTH, dims.hidden),
            nn.SiLU(),
            nn.Linear(dims.hidden, dims.hidden),
            nn.SiLU(),
            nn.Linear(dims.hidden, dims.channels),
        )

    def raw(self, z: Tensor) -> Tensor:
        """`forward` as it is learned: a regression, without limits."""
        return self._held(z, self._values(z))

    def forward(self, z: Tensor) -> Tensor:
        """What tells z from the states nearby counts more than was learned: a regression gives words that are alike
        nearly one face."""
        values = self._values(z)
        if self.dims.space == SPACE:
            codes, behaviours = (table.to(z) for table in _states())
            nearby = (z[:, CODED] @ codes.T / ALIKE).softmax(1)
            values = values + APART * (values - nearby @ behaviours)
        return atlas.limited(self._held(z, values))

    def _values(self, z: Tensor) -> Tensor:
        values: Tensor = self.direct(z) + self.layers(4 * z)
        return values

    def _held(self, z: Tensor, values: Tensor) -> Tensor:
        """Behaviours of z, faint ones fainter still: what means nothing shows nothing."""
        if self.dims.space == SPACE:
            values = values * (1 - smoothstep(((named(z)[:, -1:] - THINGS[0]) / (THINGS[1] - THINGS[0])).clamp(0, 1)))
        size = values[:, : len(FACE)].square().sum(1, keepdim=True)
        return values * size / (size + FAINT**2)


@functools.cache
def _states() -> tuple[Tensor, Tensor]:
    """Where the atlas' states lie in z [S, CODE + 1], and their behaviours [S, WIDTH]."""
    behaviours = atlas.behaviours()
    return SHOWN**0.5 * Layout.shipped().encode(behaviours), behaviours


def emotion_target(model: nn.Module, z: Tensor, mu: Tensor) -> tuple[Tensor, Tensor]:
    """What a face shows for z [B,512] at intensity mu [B] in 1..3, without speech. model: a `Behaviour`.

    Returns β [B,64], the residual components zero, and the behaviour [B, atlas.WIDTH], both already scaled by
    `intensity_gain`. Gaze is left to the motion of the eyes, so β looks ahead.
    """
    behaviour = model(z) * intensity_gain(mu[:, None])
    return F.pad(behaviour[:, : len(FACE)], (0, len(COMPONENTS) - len(FACE))), behaviour
