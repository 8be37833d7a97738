"""Facial motion in the form that avatar tools read and write: a `Take` of ARKit blendshapes and head pose.

CSV has the layout of Apple's and Epic's Live Link Face: `Timecode,BlendShapeCount`, the 52 ARKit shapes in its order,
then yaw, pitch and roll of head, left and right eye in radians. Signs: yaw to the subject's left, pitch down, roll to
the subject's left shoulder. It holds what ARKit knows: `cheekRaiser` becomes part of `cheekSquint`, and the learned
residuals are left out. JSON keeps everything:

    {"format": "emotalk-blendshapes-1", "fps": 60, "names": [...], "frames": [[...], ...], "head": [[6], ...]}
"""

from __future__ import annotations

import csv
import json
import math
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TextIO

import numpy as np
import torch
from torch import Tensor

from ..emotions.prototypes import COMPONENTS
from ..errors import InputError
from ..face.model import rotation_matrix, rotation_vector
from ..media.files import check_input
from ..settings import TAKE_RATES
from .lips import LARGEST, NAMED
from .take import Take, hold_head

FORMAT = "emotalk-blendshapes-1"
LARGEST_FILE = 256 << 20  # bytes
_EYE = 0.5  # radians that an eye turns at a coefficient of 1
_FEWEST = 10  # known columns that make a table one of blendshapes

# Live Link Face's order; ARKit's names begin in lower case
ARKIT = tuple(
    name[0].upper() + name[1:]
    for side in ("Left", "Right")
    for name in [f"eye{part}{side}" for part in ("Blink", "LookDown", "LookIn", "LookOut", "LookUp", "Squint", "Wide")]
) + tuple(
    "JawForward JawRight JawLeft JawOpen MouthClose MouthFunnel MouthPucker MouthRight MouthLeft MouthSmileLeft "
    "MouthSmileRight MouthFrownLeft MouthFrownRight MouthDimpleLeft MouthDimpleRight MouthStretchLeft "
    "MouthStretchRight MouthRollLower MouthRollUpper MouthShrugLower MouthShrugUpper MouthPressLeft MouthPressRight "
    "MouthLowerDownLeft MouthLowerDownRight MouthUpperUpLeft MouthUpperUpRight BrowDownLeft BrowDownRight BrowInnerUp "
    "BrowOuterUpLeft BrowOuterUpRight CheekPuff CheekSquintLeft CheekSquintRight NoseSneerLeft NoseSneerRight "
    "TongueOut".split()
)
ANGLES = tuple(f"{part}{angle}" for part in ("Head", "LeftEye", "RightEye") for angle in ("Yaw", "Pitch", "Roll"))
_COLUMN = {name.lower(): i for i, name in enumerate(COMPONENTS)}
_TIMECODE = re.compile(r"(\d+):(\d+):(\d+)[:;](\d+(?:\.\d+)?)")


def write(file: TextIO, rows: Iterable[tuple[Tensor, Tensor]], fps: float, suffix: str) -> None:
    """Write rows of β [64] and pose [6] as they come, as .csv or .json (see the module)."""
    if suffix.lower() == ".csv":
        table = csv.writer(file)
        table.writerow(["Timecode", "BlendShapeCount", *ARKIT, *ANGLES])
        for number, (beta, pose) in enumerate(rows):
            values = [*_arkit(beta), *_angles(beta, pose)]
            table.writerow([_timecode(number, fps), len(values), *(f"{value:.6f}" for value in values)])
        return
    head = []
    file.write(json.dumps({"format": FORMAT, "fps": fps, "names": COMPONENTS})[:-1] + ', "frames": [')
    for number, (beta, pose) in enumerate(rows):
        head.append(_rounded(pose))
        file.write(("," if number else "") + "\n" + json.dumps(_rounded(beta)))
    file.write('],\n"head": ' + json.dumps(head) + "}\n")


def read(path: str | os.PathLike) -> Take:
    """A take from a .csv or .json file (see the module). Raises InputError naming what is wrong."""
    file = check_input(path, "blendshape file")
    if file.stat().st_size > LARGEST_FILE:
        raise InputError(f"{file} is larger than {LARGEST_FILE >> 20} MiB; cut it into parts.")
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{file} is no text; give a blendshape file, .csv or .json, or a video.") from error
    take = _from_json(file, text) if text.lstrip().startswith("{") else _from_csv(file, text)
    if not len(take.beta):
        raise InputError(f"{file} has no frames; record or export it again.")
    if not (take.beta.isfinite().all() and take.pose.isfinite().all()):
        raise InputError(f"{file} holds values that are no finite numbers; export it again.")
    named, residual = take.beta[:, :NAMED].clamp(0, LARGEST), take.beta[:, NAMED:].clamp(-3, 3)
    pose, limited = hold_head(take.pose)
    return Take(take.fps, torch.cat([named, residual], 1), pose, limited)


def _rounded(values: Tensor) -> list[float]:
    return [round(value, 6) for value in values.tolist()]


def _arkit(beta: Tensor) -> list[float]:
    """The 52 shapes in `ARKIT`'s order, 0..1."""
    own = dict(zip((name.lower() for name in COMPONENTS), beta.tolist(), strict=True))
    for side in ("left", "right"):  # both raise the cheek; ARKit has one name for it
        own[f"cheeksquint{side}"] += own[f"cheekraiser{side}"]
    return [min(max(own.get(name.lower(), 0.0), 0.0), 1.0) for name in ARKIT]


def _angles(beta: Tensor, pose: Tensor) -> list[float]:
    """Yaw, pitch and roll of head, left and right eye in radians."""
    look = {name: float(beta[_COLUMN[f"eyelook{name}"]]) for name in _LOOKS}
    eyes = []
    for side, sign in (("left", 1), ("right", -1)):  # `out` is the subject's left for the left eye
        yaw = sign * (look[f"out{side}"] - look[f"in{side}"])
        eyes += [_EYE * yaw, _EYE * (look[f"down{side}"] - look[f"up{side}"]), 0.0]
    return [*_to_euler(pose[None, :3])[0].tolist(), *eyes]


_LOOKS = tuple(f"{way}{side}" for way in ("in", "out", "up", "down") for side in ("left", "right"))


def _to_euler(vectors: Tensor) -> Tensor:
    """Rotation vectors [T,3] (camera axes) -> yaw, pitch, roll [T,3]: pitch first, then yaw, then roll."""
    r = rotation_matrix(vectors.double())
    yaw = -torch.asin((-r[:, 2, 0]).clamp(-1, 1))
    pitch, roll = torch.atan2(r[:, 2, 1], r[:, 2, 2]), torch.atan2(r[:, 1, 0], r[:, 0, 0])
    return torch.stack([yaw, pitch, roll], 1).float()


def _from_euler(angles: Tensor) -> Tensor:
    """Inverse of `_to_euler`."""
    zero = torch.zeros(len(angles), dtype=torch.float64)
    yaw, pitch, roll = angles.double().unbind(1)
    x, y, z = (
        rotation_matrix(torch.stack(axes, 1)) for axes in ((pitch, zero, zero), (zero, -yaw, zero), (zero, zero, roll))
    )
    return rotation_vector(z @ y @ x).float()


def _timecode(number: int, fps: float) -> str:
    seconds, frame = divmod(number, round(fps))
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}:{frame:02d}.000"


def _from_csv(path: Path, text: str) -> Take:
    lines = text.splitlines()
    try:
        table = [[cell.strip() for cell in row] for row in csv.reader(lines) if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise InputError(f"{path} is no CSV table ({error}); export it again.") from error
    names = [name.lower() for name in (table[0] if table else [])]
    known = [(i, _COLUMN[name]) for i, name in enumerate(names) if name in _COLUMN]
    if len(known) < _FEWEST:
        raise InputError(f"{path} has no ARKit blendshapes; give a CSV of Live Link Face, a JSON or a video.")
    values = np.zeros((len(table) - 1, len(names)))
    for number, row in enumerate(table[1:], 2):
        try:
            cells = zip(names, row, strict=True)
            values[number - 2] = [float(cell) if name != "timecode" else 0.0 for name, cell in cells]
        except ValueError as error:
            raise InputError(f"{path}, row {number} does not hold {len(names)} numbers; export it again.") from error
    beta = torch.zeros(len(values), len(COMPONENTS))
    beta[:, [j for _, j in known]] = torch.from_numpy(values[:, [i for i, _ in known]]).float()
    pose = torch.zeros(len(values), 6)
    head = [names.index(name.lower()) for name in ANGLES[:3] if name.lower() in names]
    if len(head) == 3 and len(values):
        angles = torch.from_numpy(values[:, head]).float()
        pose[:, :3] = _from_euler(angles.deg2rad() if angles.abs().max() > math.pi else angles)
    codes = [row[names.index("timecode")] for row in table[1:]] if "timecode" in names else []
    return _evenly(beta, pose, codes)


def _evenly(beta: Tensor, pose: Tensor, codes: list[str]) -> Take:
    """A take at an even rate from frames with time codes, some of which a phone may have dropped."""
    parsed = [_TIMECODE.fullmatch(code) for code in codes]
    if not parsed or not all(parsed):
        return Take(TAKE_RATES[-1], beta, pose)
    parts = np.array([[float(part) for part in code.groups()] for code in parsed])  # type: ignore[union-attr]
    last = math.floor(parts[:, 3].max())
    fps = float(next((rate for rate in (24, 25, 30, 48, 50, 60, 100, 120) if rate > last), last + 1))
    times = parts[:, :3] @ [3600, 60, 1] + parts[:, 3] / fps
    times -= times[0]
    if len(times) < 2 or (np.diff(times) <= 0).any():  # past midnight, or a clock that was set
        return Take(fps, beta, pose)
    at = np.arange(round(times[-1] * fps) + 1) / fps
    both = torch.cat([beta, pose], 1).numpy()
    even = np.stack([np.interp(at, times, column) for column in both.T], 1)
    return Take(fps, *torch.from_numpy(even).float().split([beta.shape[1], pose.shape[1]], 1))


def _from_json(path: Path, text: str) -> Take:
    wrong = f"{path} is no blendshape file; it needs fps, names and frames, as emotalk generate --export-blendshapes"
    try:
        held = json.loads(text)
        names, fps = [str(name).lower() for name in held["names"]], float(held["fps"])
        values = torch.tensor(held["frames"], dtype=torch.float32).reshape(-1, len(names))
        head = torch.tensor(held.get("head") or [[0.0] * 6] * len(values), dtype=torch.float32).reshape(len(values), 6)
    except (ValueError, KeyError, TypeError, RuntimeError, RecursionError) as error:
        raise InputError(f"{wrong} writes them.") from error
    known = [(i, _COLUMN[name]) for i, name in enumerate(names) if name in _COLUMN]
    if len(known) < _FEWEST or not 1 <= fps <= 1000:
        raise InputError(f"{wrong} writes them.")
    beta = torch.zeros(len(values), len(COMPONENTS))
    beta[:, [j for _, j in known]] = values[:, [i for i, _ in known]]
    return Take(fps, beta, head)
