"""What the face is to feel: one emotion, or several along the speech; files that hold one.

An `Emotion` is a few keyframes in an emotion space. A text, a picture or a recording gives one keyframe; a
timeline (CSV or JSON: time, emotion, intensity) several. Between keyframes everything changes linearly.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from .. import __version__
from ..errors import InputError, WeightsError
from ..media.files import check_input, sha256
from ..models import checkpoints
from ..settings import AS_SPOKEN, INTENSITY
from .blends import side_of
from .timeline import MAX_ROWS

_FORMAT = "emotalk-emotion-1"
_WIDTH = 512  # of an emotion space
_PLACES = {"image": "a picture", "audio": "a recording", "video": "a film", "file": "a file", "timeline": "a timeline"}


@dataclass(frozen=True, eq=False)
class Emotion:
    """Keyframes in an emotion space.

    label: what the user gave, to be shown. times [K]: s, increasing. z [K,512]: unit vectors. mu [K]: intensity
    1..3, NaN where the setting `intensity` is to say it. space: the emotion space that z belongs to.
    origin: the argument of `EmoTalk.emotion` that made it and its value, for the record; None for other origins.
    """

    label: str
    times: Tensor
    z: Tensor
    mu: Tensor
    space: str
    origin: tuple[str, str] | None = None

    @property
    def public(self) -> str:
        """What a stranger may read: the label, but no path."""
        kind = self.origin[0] if self.origin else "text" if self.label == AS_SPOKEN else "file"
        return self.label if kind == "text" else f"as in {_PLACES[kind]}"

    def mirrored(self, seed: int) -> bool:
        """Whether a one-sided expression is on the subject's left: as the text says, else for odd seeds."""
        side = side_of(self.label) if self.origin and self.origin[0] == "text" else None
        return side == "left" if side else seed % 2 == 1

    def options(self) -> dict[str, str]:
        """The options of `emotalk generate` that make it, but for files."""
        return {"emotion": self.label} if self.origin and self.origin[0] == "text" else {}

    def inputs(self) -> dict[str, tuple[Path | None, str]]:
        """Option -> file (None if it came from none) and hash: SHA-256 of the file, else of the keyframes."""
        if self.origin is None:
            return {} if self.label == AS_SPOKEN else {"emotion_file": (None, self.sha256)}
        kind, given = self.origin
        return {} if kind == "text" else {f"emotion_{kind}": (Path(given), sha256(given))}

    @property
    def sha256(self) -> str:
        """Of the keyframes."""
        return hashlib.sha256(b"".join(t.cpu().numpy().tobytes() for t in (self.times, self.z, self.mu))).hexdigest()

    @classmethod
    def constant(cls, label: str, z: Tensor, space: str) -> Emotion:
        """The same z [512] throughout, at the intensity of the settings."""
        return cls(label, torch.zeros(1), z[None], torch.full((1,), math.nan), space)

    def during(self, intensity: float | tuple[float, float], seconds: float) -> Emotion:
        """With every mu filled in: `intensity` is one value, or the first and last of a ramp over `seconds`."""
        first, last = (intensity, intensity) if isinstance(intensity, float | int) else intensity
        times, z, mu = self.times, self.z, self.mu
        if first != last and bool(mu.isnan().any()):  # a ramp needs both ends as keyframes
            ends = torch.tensor([end for end in (0.0, seconds) if not bool((times == end).any())])
            given = mu if len(mu) == 1 else between(times, mu, ends)
            times, order = torch.cat([times, ends]).sort()
            z = torch.cat([z, between(self.times, z, ends)])[order]
            mu = torch.cat([mu, given.expand(len(ends))])[order]
        ramp = first + (last - first) * (times / max(seconds, 1e-6)).clamp(0, 1)
        return replace(self, times=times, z=z, mu=torch.where(mu.isnan(), ramp, mu))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a .safetensors file that `load` reads back exactly. The caller names a temporary file if need be."""
        described = {"format": _FORMAT, "label": self.label, "space": self.space, "emotalk": __version__}
        tensors = {"times": self.times, "z": self.z, "mu": self.mu}
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, path, described)

    @classmethod
    def load(cls, path: str | os.PathLike[str], space: str) -> Emotion:
        """Read what `save` wrote. Raises InputError, or WeightsError if it belongs to another space than `space`."""
        check_input(path, "emotion file")
        try:
            tensors, said = checkpoints.read(path)
        except InputError as error:
            raise InputError(f"{path} is no emotion file; make one with emotalk emotion ... --save.") from error
        if said.get("format") != _FORMAT or not _sound(tensors):
            raise InputError(f"{path} is no emotion file; make one with emotalk emotion ... --save.")
        if said.get("space") != space:
            raise WeightsError(
                f"{path} belongs to the emotion space {said.get('space')!r}, but the loaded weights to {space!r}; "
                "make the file again with these weights."
            )
        return cls(said.get("label", Path(path).stem), tensors["times"], tensors["z"], tensors["mu"], space)


def between(times: Tensor, values: Tensor, at: Tensor) -> Tensor:
    """Linear interpolation: values [K,...] at increasing times [K] -> [N,...] at `at` [N], constant beyond the ends.

    NaN stays NaN only where a neighbour that counts is NaN.
    """
    if len(times) == 1:
        return values.expand(len(at), *values.shape[1:])
    right = torch.searchsorted(times, at, right=True).clamp(1, len(times) - 1)
    share = ((at - times[right - 1]) / (times[right] - times[right - 1])).clamp(0, 1)
    share = share.reshape(-1, *[1] * (values.dim() - 1))
    before, after = values[right - 1], values[right]
    mixed = before + (after - before) * share
    return torch.where(share == 0, before, torch.where(share == 1, after, mixed))


def _sound(tensors: Mapping[str, Tensor]) -> bool:
    """Whether tensors of a file have the shapes and ranges of an Emotion."""
    if set(tensors) != {"times", "z", "mu"} or any(t.dtype != torch.float32 for t in tensors.values()):
        return False
    times, z, mu = tensors["times"], tensors["z"], tensors["mu"]
    if (
        times.dim() != 1
        or not 0 < len(times) <= MAX_ROWS
        or z.dim() != 2
        or z.shape[1] != _WIDTH
        or len(z) != len(times)
        or mu.shape != times.shape
    ):
        return False
    known = mu[~mu.isnan()]
    ordered = bool(times.isfinite().all() and (times >= 0).all() and (times.diff() > 0).all())
    unit = torch.allclose(z.norm(dim=1), torch.ones(len(z)), atol=1e-3)
    return ordered and unit and bool(((known >= INTENSITY[0]) & (known <= INTENSITY[1])).all())
