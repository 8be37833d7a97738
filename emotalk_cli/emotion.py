"""What the face is to feel: one emotion, or several along the speech; files that hold one.

An `Emotion` is a few keyframes in an emotion space. A text, a picture or a recording gives one keyframe; a
timeline (CSV or JSON: time, emotion, intensity) several. Between keyframes everything changes linearly.
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from . import __version__, checkpoints
from .errors import InputError, UsageError, WeightsError
from .files import check_input, sha256

INTENSITY = (1.0, 3.0)
AS_SPOKEN = "as spoken"  # label of the emotion that is taken from the speech itself
LONGEST = 1 << 20  # bytes of a timeline
_FORMAT = "emotalk-emotion-1"
_PLACES = {"image": "a picture", "audio": "a recording", "file": "a file", "timeline": "a timeline"}
_CLOCK = re.compile(r"(?:(?:(\d+):)?(\d{1,3}):)?(\d+(?:\.\d*)?|\.\d+)")
_COLUMNS = ("time", "emotion", "intensity")


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

    def save(self, path: str | os.PathLike) -> None:
        """Write a .safetensors file that `load` reads back exactly. The caller names a temporary file if need be."""
        described = {"format": _FORMAT, "label": self.label, "space": self.space, "emotalk": __version__}
        tensors = {"times": self.times, "z": self.z, "mu": self.mu}
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, path, described)

    @classmethod
    def load(cls, path: str | os.PathLike, space: str) -> Emotion:
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


def parse_intensity(value: float | str | Sequence[float]) -> float | tuple[float, float]:
    """2, "2", "1-3" or (1, 3) -> 2.0 or (1.0, 3.0), a ramp. Raises UsageError for anything outside 1..3."""
    try:
        if isinstance(value, str):
            ends = [float(part) for part in re.split(r"\s*(?:-|\.\.|to)\s*", value.strip())]
        else:
            ends = [float(part) for part in (value if isinstance(value, Sequence) else [value])]
    except (TypeError, ValueError):
        ends = []
    if not 1 <= len(ends) <= 2 or not all(INTENSITY[0] <= end <= INTENSITY[1] for end in ends):
        raise UsageError(f"--intensity {value} is outside 1..3; give a number such as 2, or a range such as 1-3.")
    return ends[0] if len(set(ends)) == 1 else (ends[0], ends[1])


def one_of(**sources: object) -> str | None:
    """The name of the one source that is given, None for none. Raises UsageError naming the options if there are more.

    Names are those of the arguments of `EmoTalk.emotion`; text is the option --emotion.
    """
    given = [name for name, value in sources.items() if value is not None]
    if len(given) > 1:
        options = " and ".join("--emotion" if name == "text" else f"--emotion-{name}" for name in given)
        raise UsageError(f"{options} exclude each other; give one of them, or none to take it from the speech.")
    return given[0] if given else None


def read_timeline(path: str | os.PathLike) -> list[tuple[float, str, float]]:
    """Rows (time in s, emotion, intensity or NaN) of a CSV or JSON timeline, by time.

    CSV: columns time, emotion and perhaps intensity, with or without that header, separated by comma, semicolon
    or tab. JSON: a list of {"time": , "emotion": , "intensity": }. Times are seconds or [hours:]minutes:seconds.
    Raises InputError naming the row.
    """
    check_input(path, "timeline")
    if os.path.getsize(path) > LONGEST:
        raise InputError(f"{path} is larger than {LONGEST >> 20} MiB; a timeline is a short table.")
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text; save the timeline as CSV or JSON in UTF-8.") from error
    rows = _json_rows(path, text) if text.lstrip().startswith(("[", "{")) else _csv_rows(path, text)
    moments = [_moment(path, number, row) for number, row in rows]
    if not moments:
        raise InputError(f"{path} has no rows; give at least one: time, emotion, intensity.")
    moments.sort(key=lambda row: row[0])
    for one, two in zip(moments, moments[1:], strict=False):
        if one[0] == two[0]:
            raise InputError(f"{path} has two rows for {one[0]:g} s; give each time once.")
    return moments


def _json_rows(path: str | os.PathLike, text: str) -> list[tuple[int, Mapping[str, object]]]:
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not valid JSON ({str(error)[:80]}); correct it.") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InputError(f'{path} must be a list such as [{{"time": 0, "emotion": "happy", "intensity": 2}}].')
    for number, row in enumerate(rows, 1):
        if unknown := set(row) - set(_COLUMNS):
            raise InputError(f"{path}, row {number}: unknown {min(unknown)!r}; known are {', '.join(_COLUMNS)}.")
    return list(enumerate(rows, 1))


def _csv_rows(path: str | os.PathLike, text: str) -> list[tuple[int, Mapping[str, object]]]:
    lines = text.splitlines()
    first = next((line for line in lines if line.strip()), "")
    mark = max(",;\t", key=first.count)
    try:
        table = [(i, [cell.strip() for cell in row]) for i, row in enumerate(csv.reader(lines, delimiter=mark), 1)]
    except csv.Error as error:
        raise InputError(f"{path} is no CSV table ({error}); write rows of time, emotion, intensity.") from error
    table = [(i, row) for i, row in table if any(row) and not row[0].startswith("#")]
    columns = list(_COLUMNS)
    if table and not _CLOCK.fullmatch(table[0][1][0]):
        columns = [name.lower() for name in table.pop(0)[1]]
        if not {"time", "emotion"} <= set(columns) <= set(_COLUMNS) or len(set(columns)) < len(columns):
            raise InputError(
                f"{path} must have the columns time, emotion and perhaps intensity; correct its first row."
            )
    for i, row in table:
        if len(row) > len(columns) or len(row) < 2:
            raise InputError(f"{path}, line {i} has {len(row)} columns; write time, emotion, intensity.")
    return [(i, dict(zip(columns, row, strict=False))) for i, row in table]


def _moment(path: str | os.PathLike, number: int, row: Mapping[str, object]) -> tuple[float, str, float]:
    where = f"{path}, row {number}"
    clock = _CLOCK.fullmatch(str(row.get("time", "")).strip())
    if not clock:
        raise InputError(f"{where}: the time {row.get('time')!r} is no number of seconds; write 2.5 or 1:02.5.")
    hours, minutes, seconds = (float(part or 0) for part in clock.groups())
    emotion = row.get("emotion")
    if not isinstance(emotion, str) or not emotion.strip():
        raise InputError(f"{where}: the emotion is empty; name one, for example happy.")
    intensity = row.get("intensity")
    if intensity is None or intensity == "":
        return 3600 * hours + 60 * minutes + seconds, emotion.strip(), math.nan
    try:
        strength = float(intensity)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        strength = math.nan
    if not INTENSITY[0] <= strength <= INTENSITY[1]:
        raise InputError(f"{where}: the intensity {intensity!r} is outside 1..3; choose a number between them.")
    return 3600 * hours + 60 * minutes + seconds, emotion.strip(), strength


def _sound(tensors: Mapping[str, Tensor]) -> bool:
    """Whether tensors of a file have the shapes and ranges of an Emotion."""
    if set(tensors) != {"times", "z", "mu"} or any(t.dtype != torch.float32 for t in tensors.values()):
        return False
    times, z, mu = tensors["times"], tensors["z"], tensors["mu"]
    if times.dim() != 1 or not len(times) or z.dim() != 2 or len(z) != len(times) or mu.shape != times.shape:
        return False
    known = mu[~mu.isnan()]
    ordered = bool(times.isfinite().all() and (times >= 0).all() and (times.diff() > 0).all())
    unit = torch.allclose(z.norm(dim=1), torch.ones(len(z)), atol=1e-3)
    return ordered and unit and bool(((known >= INTENSITY[0]) & (known <= INTENSITY[1])).all())
