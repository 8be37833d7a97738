"""The atlas: facial behaviour of emotional and mental states, and how behaviours mix.

`data/atlas.tsv` describes each state in FACS action units with head, gaze and motion in time; `data/action_units.tsv`
says what an action unit is in blendshapes. A behaviour is one vector [`WIDTH`] of `CHANNELS`: the named blendshapes,
the head's posture, the gaze, and `MOTION`. All channels are zero for a neutral face, so that a multiple of a
behaviour is the same behaviour weaker or stronger.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import resources

import torch
from torch import Tensor

from ..constants import BASICS
from ..face.topology import EXPRESSION_NAMES as COMPONENTS
from ..face.topology import N_RESIDUAL

CLASSES = (*BASICS, "unrelated")  # what a point of the emotion space is told apart into
LIMIT, _FARTHER = 1.2, {"browDown": 1.6}  # of a blendshape at full intensity; of those that go farther

FACE = tuple(COMPONENTS[:-N_RESIDUAL])  # the blendshapes that a behaviour sets
# Posture at full intensity: pitch (up), yaw (to the subject's left), roll (to the subject's left shoulder) in degrees,
# log scale (towards the camera); gaze as eyeLook coefficients (to the subject's left, up).
HEAD, GAZE = ("pitch", "yaw", "roll", "nearness"), ("gaze left", "gaze up")
# Factors on what a lively neutral talker does (as log2): blink rate, length of a blink, head motion, nods on stresses,
# gaze aversion, peaks of the upper face on stresses, time of onset. Then shares 0..1: how far the expression fades
# after its onset, bursts as in laughter, trembling, shakes and sway of the head.
FACTORS = ("blink", "slow", "energy", "nod", "wander", "accent", "onset")
SHARES = ("decay", "burst", "tremor", "shake", "sway")
MOTION = FACTORS + SHARES
CHANNELS = (*FACE, *HEAD, *GAZE, *MOTION)
WIDTH = len(CHANNELS)

_LETTERS = {"a": 0.2, "b": 0.4, "c": 0.6, "d": 0.8, "e": 1.0}
_POSTURES = {  # word -> channel and value at extreme strength
    "up": ("pitch", 9.0),
    "down": ("pitch", -9.0),
    "turn": ("yaw", 11.0),
    "tilt": ("roll", 7.5),
    "forward": ("nearness", 0.05),
    "back": ("nearness", -0.05),
}
_GAZES = {
    "up": ("gaze up", 0.6),
    "down": ("gaze up", -0.7),
    "away": ("gaze left", 0.65),
    "side": ("gaze left", -0.65),
}
# What a channel counts beside a blendshape where behaviours are compared: an extreme posture, half or double a factor
# and a share of 1 as much as about 0.7 of a blendshape.
_UNITS = {"pitch": 0.08, "yaw": 0.065, "roll": 0.09, "nearness": 14.0, "gaze left": 1.2, "gaze up": 1.2}
_UNITS |= dict.fromkeys(FACTORS, 0.35) | dict.fromkeys(SHARES, 0.6)
UNITS = tuple(_UNITS.get(name, 1.0) for name in CHANNELS)
_REGAIN = 1.3  # by how much at most a mixture regains the magnitude of its parts


def components(name: str) -> list[int]:
    """Indices in β of a blendshape; a name without side gives left and right. Raises KeyError if unknown."""
    found = [i for i, n in enumerate(COMPONENTS) if n in (name, f"{name}Left", f"{name}Right")]
    if not found:
        raise KeyError(name)
    return found


def rows(package: str, name: str) -> list[list[str]]:
    """The table `data/<name>.tsv` of a package, without comments and its header: cells of each row."""
    text = resources.files(package).joinpath(f"data/{name}.tsv").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [line.split("\t") for line in lines[1:]]


def _pairs(cell: str) -> list[tuple[str, str]]:
    """ "a:b c:d" -> [(a, b), (c, d)]."""
    return [(name, value) for name, _, value in (item.partition(":") for item in cell.split())]


@cache
def action_units() -> dict[int, dict[str, float]]:
    """Action unit -> blendshape -> amplitude at extreme strength."""
    table = rows(__package__, "action_units")
    return {int(au): {name: float(value) for name, value in _pairs(shapes)} for au, _, shapes in table}


@dataclass(frozen=True)
class State:
    """One row of the atlas.

    basics: share of each basic emotion, sum 1. actions: (AU, "" | "Left" | "Right", strength 0..1). shapes: blendshape
    -> value, in place of what the actions give. posture, motion: channel -> value.
    """

    name: str
    basics: Mapping[str, float]
    actions: tuple[tuple[int, str, float], ...]
    shapes: Mapping[str, float]
    posture: Mapping[str, float]
    motion: Mapping[str, float]
    source: str

    @classmethod
    def read(cls, row: list[str]) -> State:
        """From the cells of a row of the table."""
        name, basics, actions, shapes, head, gaze, motion, source = row
        shares: dict[str, float] = {}
        for part in basics.split("+"):
            basic, _, value = part.partition(":")
            shares[basic] = float(value or 1)
        shares["neutral"] = shares.get("neutral", 0.0) + 1 - sum(shares.values())
        units = []
        for unit, value in _pairs(actions):
            side = {"L": "Left", "R": "Right"}.get(unit[-1], "")
            units.append((int(unit.rstrip("LR")), side, _strength(value)))
        posture: dict[str, float] = {}
        for cell, words in ((head, _POSTURES), (gaze, _GAZES)):
            for word, value in _pairs(cell):
                channel, most = words[word]
                posture[channel] = posture.get(channel, 0.0) + most * _strength(value)
        return cls(
            name,
            {basic: share for basic, share in shares.items() if share > 1e-9},
            tuple(units),
            {shape: float(value) for shape, value in _pairs(shapes)},
            posture,
            {channel: float(value) for channel, value in _pairs(motion)},
            source,
        )

    @cached_property
    def beta(self) -> Tensor:
        """β [64] float32 at full intensity (μ = 3), without speech."""
        beta = torch.zeros(len(COMPONENTS))
        for unit, side, strength in self.actions:
            for shape, amplitude in action_units()[unit].items():
                for i in components(shape):
                    if side in COMPONENTS[i]:
                        beta[i] += strength * amplitude
        for shape, amplitude in self.shapes.items():
            beta[components(shape)] = amplitude
        return limited(beta)

    @cached_property
    def behaviour(self) -> Tensor:
        """[WIDTH] float32 at full intensity."""
        values = torch.zeros(WIDTH)
        values[: len(FACE)] = self.beta[: len(FACE)]
        for channel, value in {**self.posture, **self.motion}.items():
            values[CHANNELS.index(channel)] = math.log2(value) if channel in FACTORS else value
        return values


def _strength(value: str) -> float:
    return _LETTERS[value] if value in _LETTERS else float(value)


_LIMITS = torch.full((len(FACE),), LIMIT)
for _name, _value in _FARTHER.items():
    _LIMITS[components(_name)] = _value


def limited(beta: Tensor, lowest: float = 0) -> Tensor:
    """Coefficients [..., len(FACE) or 64] whose blendshapes are neither under `lowest` nor beyond their limits."""
    face = beta[..., : len(FACE)].clamp(min=lowest).minimum(_LIMITS.to(beta))
    return torch.cat([face, beta[..., len(FACE) :]], -1)


@cache
def states() -> dict[str, State]:
    """The atlas by name, neutral first."""
    found = [State.read(row) for row in rows(__package__, "atlas")]
    return {state.name: state for state in found}


@cache
def behaviours() -> Tensor:
    """[S, WIDTH] of `states`, in their order."""
    return torch.stack([state.behaviour for state in states().values()])


@cache
def basics() -> Tensor:
    """[S, 9]: the share of each of `CLASSES` in each of `states`."""
    return torch.tensor([[state.basics.get(name, 0.0) for name in CLASSES] for state in states().values()])


def mixed(weights: Tensor) -> Tensor:
    """Behaviours [N, WIDTH] of weights [N, S] >= 0 over `states`; what is missing to 1 is neutral.

    An average of two faces is weaker than either, so it regains the magnitude of its parts, by a third at most.
    """
    parts = behaviours().to(weights)
    mean = weights @ parts
    magnitude = weights @ parts[:, : len(FACE)].norm(dim=1)
    norm = mean[:, : len(FACE)].norm(dim=1)
    gain = (magnitude / norm.clamp(min=1e-6)).clamp(1, _REGAIN)
    mean[:, : len(FACE)] = limited(mean[:, : len(FACE)] * gain[:, None])
    return mean


def manner(behaviour: Tensor) -> dict[str, float]:
    """What a behaviour [WIDTH] does beside the face, where it differs from a neutral talker.

    pitch, yaw, roll in degrees; gaze left, up as eyeLook coefficients; lids: how far they droop, 0..1; factors on a
    neutral talker's blinks, head motion and so on; shares 0..1 (see `MOTION`).
    """
    values = dict(zip(CHANNELS, behaviour.tolist(), strict=True))
    values["lids"] = (values["eyeBlinkLeft"] + values["eyeBlinkRight"]) / 2
    shown = {name: round(values[name], 2) for name in ("lids", *HEAD, *GAZE, *SHARES)}
    shown |= {name: round(2 ** values[name], 2) for name in FACTORS}
    least = {"pitch": 0.5, "yaw": 0.5, "roll": 0.5, "nearness": 0.005}
    rest = dict.fromkeys(FACTORS, 1.0)
    return {name: value for name, value in shown.items() if abs(value - rest.get(name, 0.0)) >= least.get(name, 0.08)}


def nearest(p: Tensor, behaviour: Tensor, count: int) -> list[tuple[str, float]]:
    """States most like weights p [9] over `CLASSES` and a behaviour [WIDTH]: (name or "unrelated", 0..1), best first.

    The similarity is the geometric mean of how far the basics overlap and how far the behaviours agree, size included.
    """
    scale = torch.tensor(UNITS)
    own, theirs = behaviour.cpu() * scale, behaviours() * scale
    agreement = (2 * theirs @ own + 0.1) / (theirs.square().sum(1) + own.square().sum() + 0.1)
    overlap = basics().sqrt() @ p.cpu().sqrt()
    alike = (overlap * agreement.clamp(min=0)).sqrt().tolist()
    ranked = [*zip(states(), alike, strict=True), ("unrelated", float(p[-1]) ** 0.5)]
    return sorted(ranked, key=lambda item: -item[1])[:count]


def _other_side(names: Sequence[str]) -> list[int]:
    """Where each of some names goes when left and right change places."""
    other = {"Left": "Right", "Right": "Left"}
    return [
        next((names.index(name[: -len(side)] + other[side]) for side in other if name.endswith(side)), i)
        for i, name in enumerate(names)
    ]


_SWAP, _MIRROR = _other_side(COMPONENTS), _other_side(CHANNELS)
_SIGN = torch.tensor([-1.0 if name in ("yaw", "roll", "gaze left") else 1.0 for name in CHANNELS])


def swapped(beta: Tensor) -> Tensor:
    """β [..., 64] with left and right in each other's place."""
    return beta[..., _SWAP]


def mirrored(behaviour: Tensor) -> Tensor:
    """The same behaviour [..., WIDTH] on the other side."""
    return behaviour[..., _MIRROR] * _SIGN.to(behaviour)
