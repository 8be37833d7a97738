"""Emotions as faces: published facial-action prototypes and what they mean in blendshapes.

A prototype is a list of facial action units (AUs) with strengths. `AMPLITUDES` is the one table that
turns AUs into expression coefficients β [64] (51 ARKit shapes, cheekRaiser left/right, 11 residuals)
at full intensity (μ = 3). `SPEECH` says how much of each component survives while the mouth speaks.

Sources
  EMFACS: Friesen & Ekman 1983, Emotional Facial Action Coding System.
  Du2014: Du, Tao & Martinez 2014, Compound facial expressions of emotion, PNAS 111(15), table 1 (PMC3992629):
          6 basic and 15 compound categories; AUs shown by more than 70 % of subjects have strength 1, the
          others the fraction of subjects who showed them.
Which AUs the 15 compounds have, and which of them are consistent, was checked against a published list made from
that table; the fractions were written from memory and could not be checked. Where a category has both sources
(the basics), its AUs are a union and the strengths are ours; of Du2014 alone, happy is 12 25 [6], sad 4 15
[1 6 11 17], fearful 1 4 20 25 [2 5 26], angry 4 7 24 [10 17 23], surprised 1 2 25 26 [5], disgusted 9 10 17 [4 24].
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch

from ..constants import BASICS as BASICS
from ..errors import UsageError
from ..face.topology import EXPRESSION_NAMES

COMPONENTS = EXPRESSION_NAMES
CLASSES = (*BASICS, "unrelated")  # what a point of the emotion space is told apart into

# AU -> blendshape amplitudes at full intensity; a name without its side means left and right.
AMPLITUDES: dict[int, dict[str, float]] = {
    1: {"browInnerUp": 1.0},
    2: {"browOuterUp": 0.9},
    4: {"browDown": 1.0},
    5: {"eyeWide": 0.90},
    6: {"cheekRaiser": 0.70, "cheekSquint": 0.40, "eyeSquint": 0.20},
    7: {"eyeSquint": 0.75},
    9: {"noseSneer": 0.90},
    10: {"mouthUpperUp": 0.65},
    11: {"noseSneer": 0.25, "mouthUpperUp": 0.20},
    12: {"mouthSmile": 0.75},
    14: {"mouthDimple": 0.80, "mouthPress": 0.25},
    15: {"mouthFrown": 0.90},
    16: {"mouthLowerDown": 0.55},
    17: {"mouthShrugLower": 0.60, "mouthShrugUpper": 0.15},
    20: {"mouthStretch": 0.75},
    23: {"mouthPress": 0.40, "mouthRollLower": 0.20, "mouthRollUpper": 0.10},
    24: {"mouthPress": 0.70, "mouthRollLower": 0.15, "mouthRollUpper": 0.15},
    25: {"mouthLowerDown": 0.22, "mouthUpperUp": 0.12, "jawOpen": 0.05},
    26: {"jawOpen": 0.28},
}

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

# The basics as calibrated on training faces: these shapes replace what `AMPLITUDES` gives. Searched around the
# published actions so that people and four small classifiers read the warped, talking face; above 1 where the
# basis' own extreme (scans of untrained subjects) is smaller than an actor's.
CALIBRATED: dict[str, dict[str, float]] = {
    "happy": {"mouthSmile": 1.05, "mouthUpperUp": 0.6, "mouthDimple": 0.3, "cheekRaiser": 0.50, "eyeSquint": 0.15},
    "sad": {"browInnerUp": 1.15, "browDown": 0.70, "mouthFrown": 1.2, "mouthShrugLower": 0.90, "eyeBlink": 0.30}
    | {"eyeLookDown": 0.30, "eyeSquint": 0.25, "mouthStretch": 0.2, "mouthLowerDown": 0.1},
    "surprised": {"browInnerUp": 1.2, "browOuterUp": 1.2, "eyeWide": 1.10, "jawOpen": 1.0, "mouthFunnel": 0.1}
    | {"mouthLowerDown": 0.4},
    "angry": {"browDown": 1.2, "eyeSquint": 0.5, "eyeWide": 0.7, "noseSneer": 0.75, "mouthPress": 0.85}
    | {"mouthUpperUp": 0.5, "mouthLowerDown": 0.60, "mouthFrown": 0.60, "mouthShrugLower": 0.60, "mouthFunnel": 0.75}
    | {"jawForward": 0.4},
    "disgusted": {"noseSneer": 1.15, "browDown": 1.0, "mouthUpperUp": 0.85, "mouthFrown": 0.80, "eyeSquint": 0.50}
    | {"mouthLowerDown": 0.3, "mouthShrugLower": 0.75, "mouthFunnel": 0.15, "cheekRaiser": 0.25},
    "fearful": {"browInnerUp": 1.2, "browOuterUp": 0.50, "browDown": 0.95, "eyeWide": 1.20, "mouthStretch": 1.2}
    | {"mouthFrown": 0.90, "mouthLowerDown": 0.30, "mouthShrugLower": 0.3, "jawOpen": 0.45},
}
LIMIT = 1.2  # of any component at full intensity


def components(name: str) -> list[int]:
    """Indices in β of a blendshape; a name without side gives left and right. Raises KeyError if unknown."""
    found = [i for i, n in enumerate(COMPONENTS) if n in (name, f"{name}Left", f"{name}Right")]
    if not found:
        raise KeyError(name)
    return found


@dataclass(frozen=True)
class Prototype:
    """One emotion category: `actions` AU -> strength 0..1, the publication, and the side if one-sided."""

    name: str
    actions: Mapping[int, float]
    source: str
    side: str = ""

    @cached_property
    def beta(self) -> torch.Tensor:
        """β [64] float32 at full intensity (μ = 3), without speech."""
        beta = torch.zeros(len(COMPONENTS))
        for action, strength in self.actions.items():
            for shape, amplitude in AMPLITUDES[action].items():
                for i in components(shape):
                    if self.side in COMPONENTS[i]:
                        beta[i] += strength * amplitude
        for shape, amplitude in CALIBRATED.get(self.name, {}).items():
            beta[components(shape)] = amplitude
        return beta.clamp(max=LIMIT)


def _prototype(name: str, actions: str, source: str = "Du2014", side: str = "") -> Prototype:
    """`actions`: AUs separated by spaces, each with an optional strength after a colon."""
    pairs = (item.partition(":") for item in actions.split())
    return Prototype(name, {int(action): float(strength or 1) for action, _, strength in pairs}, source, side)


PROTOTYPES: dict[str, Prototype] = {
    prototype.name: prototype
    for prototype in (
        _prototype("neutral", "", "EMFACS"),
        _prototype("happy", "6:0.85 12 25:0.6", "EMFACS, Du2014"),
        _prototype("sad", "1 4:0.45 11:0.26 15 17:0.67", "EMFACS, Du2014"),
        _prototype("surprised", "1 2 5:0.8 25 26", "EMFACS, Du2014"),
        _prototype("angry", "4 5:0.35 7 10:0.26 17:0.52 23:0.5 24", "EMFACS, Du2014"),
        _prototype("disgusted", "4:0.4 6:0.3 9 10 15:0.35 17:0.6", "EMFACS, Du2014"),
        _prototype("fearful", "1 2:0.57 4:0.5 5 20 25 26:0.5", "EMFACS, Du2014"),
        _prototype("contempt", "7:0.3 10:0.25 12:0.45 14", "EMFACS", "Right"),
        _prototype("happily surprised", "1 2 5:0.64 12 25 26:0.67"),
        _prototype("happily disgusted", "4:0.32 6:0.61 9:0.59 10 12 25"),
        _prototype("sadly fearful", "1 2:0.46 4 5:0.24 6:0.34 15:0.3 20 25"),
        _prototype("sadly angry", "4 6:0.26 7:0.48 11:0.2 15 17:0.5"),
        _prototype("sadly surprised", "1 2:0.27 4 6:0.31 25 26"),
        _prototype("sadly disgusted", "1:0.49 4 6:0.61 9:0.2 10 11:0.35 15:0.54 17:0.47 25:0.43"),
        _prototype("fearfully angry", "4 5:0.4 7:0.39 10:0.3 11:0.33 20 25"),
        _prototype("fearfully surprised", "1 2 4:0.47 5 10:0.35 11:0.22 20 25 26:0.51"),
        _prototype("fearfully disgusted", "1 2:0.64 4 5:0.5 6:0.26 9:0.28 10 15:0.33 20 25"),
        _prototype("angrily surprised", "4 5:0.35 7:0.5 10:0.34 25 26"),
        _prototype("angrily disgusted", "4 7:0.6 9:0.57 10 17 24:0.36"),
        _prototype("disgustedly surprised", "1 2 4:0.45 5 9:0.37 10 17:0.66 24:0.33"),
        _prototype("appalled", "4 6:0.25 9:0.56 10 17:0.67 24:0.36"),
        _prototype("hatred", "4 7:0.57 9:0.27 10 17:0.63 24:0.37"),
        _prototype("awed", "1 2 4:0.21 5 20:0.62 25 26:0.56"),
    )
}

_PAIRS: dict[frozenset[str], str] = {
    frozenset(pair): name
    for name, pair in {
        "happily surprised": ("happy", "surprised"),
        "happily disgusted": ("happy", "disgusted"),
        "sadly fearful": ("sad", "fearful"),
        "sadly angry": ("sad", "angry"),
        "sadly surprised": ("sad", "surprised"),
        "sadly disgusted": ("sad", "disgusted"),
        "fearfully angry": ("fearful", "angry"),
        "fearfully surprised": ("fearful", "surprised"),
        "fearfully disgusted": ("fearful", "disgusted"),
        "angrily surprised": ("angry", "surprised"),
        "angrily disgusted": ("angry", "disgusted"),
        "disgustedly surprised": ("disgusted", "surprised"),
    }.items()
}


def parts(name: str) -> dict[str, float]:
    """Any prototype as a mixture of the 8 basics ({basic: weight}, sum 1)."""
    own = {"appalled": {"disgusted": 0.6, "surprised": 0.4}, "hatred": {"angry": 0.6, "disgusted": 0.4}}
    own["awed"] = {"surprised": 0.7, "fearful": 0.3}
    for pair, compound in _PAIRS.items():
        own[compound] = dict.fromkeys(sorted(pair), 0.5)
    return own.get(name) or {PROTOTYPES[name].name: 1.0}


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
    return (beta * min(magnitude / norm, 1.6)).clamp(max=LIMIT) if norm else beta


def speech_mask() -> torch.Tensor:
    """[64] in 0..1: the share of each emotion component that stays while the mouth speaks (`SPEECH`)."""
    mask = torch.ones(len(COMPONENTS))
    for name, share in SPEECH.items():
        mask[components(name)] = share
    return mask


def intensity_gain(mu: float | torch.Tensor) -> float | torch.Tensor:
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
