"""Published prototypes of emotions as faces: the basics and compounds that others measured.

They are the states of the atlas whose source is EMFACS or Du, Tao & Martinez 2014 (6 basic and 15 compound categories,
table 1, PMC3992629). Which action units the 15 compounds have, and which of them are consistent, was checked against a
published list made from that table; the fractions of subjects were written from memory and could not be checked.
`SPEECH` says how much of each component survives while the mouth speaks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import torch

from ..constants import BASICS
from ..errors import UsageError
from ..face.topology import EXPRESSION_NAMES as COMPONENTS
from .atlas import CLASSES, components, limited, states

__all__ = ["BASICS", "CLASSES", "COMPONENTS", "components"]

Intensity = TypeVar("Intensity", float, torch.Tensor)

# Share of an emotion's component that stays while speaking: articulation owns the opening and rounding of the
# mouth, so that lips close on m, b, p whatever the emotion. Unlisted components stay whole.
SPEECH: dict[str, float] = {
    "jawOpen": 0.80,
    "mouthClose": 0.0,
    "mouthFunnel": 0.70,
    "mouthPucker": 0.0,
    "mouthLowerDown": 0.50,
    "mouthUpperUp": 0.60,
    "mouthPress": 0.35,
    "mouthRollLower": 0.20,
    "mouthRollUpper": 0.20,
    "mouthShrugLower": 0.70,
    "mouthShrugUpper": 0.45,
    "mouthStretch": 0.80,
    "mouthSmile": 0.85,
    "mouthFrown": 1.0,
    "mouthDimple": 0.80,
}

COMPOUNDS = {  # name -> the two basics that form it
    name: tuple(state.basics)
    for name, state in states().items()
    if state.source.startswith("Du2014") and list(state.basics.values()) == [0.5, 0.5]
}
PROTOTYPES = {name: states()[name] for name in (*BASICS, *COMPOUNDS, "appalled", "hatred", "awed")}
_PAIRS = {frozenset(pair): name for name, pair in COMPOUNDS.items()}


def parts(name: str) -> dict[str, float]:
    """Any prototype as a mixture of the 8 basics ({basic: weight}, sum 1)."""
    return dict(PROTOTYPES[name].basics)


def mixture(weights: Mapping[str, float]) -> torch.Tensor:
    """β [64] of a weighted mixture of prototypes at full intensity.

    weights: prototype name -> weight >= 0. A sum above 1 is scaled to 1, what is missing to 1 is neutral.
    Two basics that form a published compound become that compound as far as both are present; the rest is
    averaged, and the average regains the magnitude of its parts (an average of two faces is weaker than
    either). Continuous in the weights. Raises UsageError for an unknown name or a negative weight.
    """
    rest = dict(weights)
    for name, weight in rest.items():
        if name not in PROTOTYPES:
            raise UsageError(f"Unknown emotion {name!r}; known are {', '.join(PROTOTYPES)}.")
        if weight < 0:
            raise UsageError(f"The weight of {name!r} is {weight}; weights must not be negative.")
    scale = 1 / max(1.0, sum(rest.values()))
    rest = {name: weight * scale for name, weight in rest.items()}
    shared = {pair: min(rest.get(name, 0.0) for name in pair) for pair in _PAIRS}
    for pair in sorted(shared, key=lambda pair: (-shared[pair], sorted(pair))):
        common = min(rest.get(name, 0.0) for name in pair)
        if common > 0:
            for name in pair:
                rest[name] -= common
            rest[_PAIRS[pair]] = rest.get(_PAIRS[pair], 0.0) + 2 * common
    beta = sum((w * PROTOTYPES[n].beta for n, w in rest.items()), torch.zeros(len(COMPONENTS)))
    magnitude = sum(w * float(PROTOTYPES[n].beta.norm()) for n, w in rest.items())
    norm = float(beta.norm())
    return limited(beta * min(magnitude / norm, 1.6)) if norm else beta


def speech_mask() -> torch.Tensor:
    """[64] in 0..1: the share of each emotion component that stays while the mouth speaks (`SPEECH`)."""
    mask = torch.ones(len(COMPONENTS))
    for name, share in SPEECH.items():
        mask[components(name)] = share
    return mask


def intensity_gain(mu: Intensity) -> Intensity:
    """Factor on a full-intensity β for intensity μ: 1 -> 0.45, 2 -> 0.75, 3 -> 1, smooth between.

    Raises UsageError for a number outside 1..3; tensors are not checked.
    """
    if not isinstance(mu, torch.Tensor) and not 1 <= mu <= 3:
        raise UsageError(f"The intensity is {mu}; it must lie between 1 and 3.")
    return 0.45 + 0.325 * (mu - 1) - 0.025 * (mu - 1) ** 2


def nearest(beta: torch.Tensor, count: int = 3) -> list[tuple[str, float]]:
    """The prototypes most like β [64]: (name, cosine) best first; a β near zero is neutral."""
    norm = float(beta.norm())
    if norm < 0.15:
        return [("neutral", 1.0)]
    ranked = [
        (name, float(p.beta @ beta.cpu() / (p.beta.norm() * norm))) for name, p in PROTOTYPES.items() if p.actions
    ]
    return sorted(ranked, key=lambda item: -item[1])[:count]
