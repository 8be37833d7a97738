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
from array import array
from collections.abc import Iterable
from pathlib import Path
from typing import TextIO

import numpy as np
import torch
from torch import Tensor

from ..emotions import atlas
from ..emotions.prototypes import COMPONENTS
from ..errors import InputError
from ..face.model import rotation_matrix, rotation_vector
from ..media.files import check_input
from ..settings import TAKE_RATES
from .lips import NAMED
from .take import Take, hold_head

FORMAT = "emotalk-blendshapes-1"
LARGEST_FILE, LARGEST_JSON = 256 << 20, 64 << 20  # bytes of a table, and of JSON, which takes far more memory
MAX_FRAMES = 400_000  # of a take: almost two hours at 60 frames/s
MAX_COLUMNS = 1000
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


def read(path: str | os.PathLike[str]) -> Take:
    """A take from a .csv or .json file (see the module). Raises InputError naming what is wrong."""
    file = check_input(path, "blendshape file")
    size = file.stat().st_size
    if size > LARGEST_FILE:
        raise InputError(f"{file} is larger than {LARGEST_FILE >> 20} MiB; cut it into parts.")
    try:
        with open(file, encoding="utf-8-sig", newline="") as opened:
            start = opened.read(4096).lstrip()
            opened.seek(0)
            if start.startswith("{"):
                if size > LARGEST_JSON:
                    raise InputError(f"{file} is larger than {LARGEST_JSON >> 20} MiB; cut it into parts.")
                take, lowest = _from_json(file, opened.read()), -1.0  # of a portrait that a film shows: see `Take.of`
            else:
                take, lowest = _from_csv(file, opened), 0.0
    except UnicodeDecodeError as error:
        raise InputError(f"{file} is no text; give a blendshape file, .csv or .json, or a video.") from error
    if not len(take.beta):
        raise InputError(f"{file} has no frames; record or export it again.")
    if not (take.beta.isfinite().all() and take.pose.isfinite().all()):
        raise InputError(f"{file} holds values that are no finite numbers; export it again.")
    beta = atlas.limited(take.beta, lowest)
    beta[:, NAMED:] = beta[:, NAMED:].clamp(-3, 3)
    pose, limited = hold_head(take.pose)
    return Take(take.fps, beta, pose, limited)


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


def _from_csv(path: Path, lines: TextIO) -> Take:
    """Row by row, so that only numbers are kept."""
    names: list[str] = []
    cells_of: list[int] = []
    values, times = array("f"), _Timecodes()
    rows = csv.reader(lines)
    try:
        for row in rows:
            cells = [cell.strip() for cell in row]
            if not any(cells):
                continue
            if not names:
                names = [name.lower() for name in cells]
                cells_of = [i for i, name in enumerate(names) if name in _COLUMN or name in _HEAD]
                if sum(name in _COLUMN for name in names) < _FEWEST or len(names) > MAX_COLUMNS:
                    raise InputError(
                        f"{path} has no ARKit blendshapes; give a CSV of Live Link Face, a JSON or a video."
                    )
                continue
            number = len(values) // len(cells_of) + 2
            try:
                if len(cells) != len(names):
                    raise ValueError
                values.extend([float(cells[i]) for i in cells_of])
            except (ValueError, OverflowError) as error:
                raise InputError(
                    f"{path}, row {number} does not hold {len(names)} numbers; export it again."
                ) from error
            times.add(cells[names.index("timecode")] if "timecode" in names else "")
            if number > MAX_FRAMES:
                raise _too_long(path)
    except csv.Error as error:
        raise InputError(f"{path} is no CSV table ({error}); export it again.") from error
    if not names:
        raise InputError(f"{path} has no ARKit blendshapes; give a CSV of Live Link Face, a JSON or a video.")
    table = torch.from_numpy(np.array(values, np.float32).reshape(-1, len(cells_of)))
    where = {names[i]: k for k, i in enumerate(cells_of)}
    beta, pose = torch.zeros(len(table), len(COMPONENTS)), torch.zeros(len(table), 6)
    for name, k in where.items():
        if name in _COLUMN:
            beta[:, _COLUMN[name]] = table[:, k]
    if all(name in where for name in _HEAD) and len(table):
        angles = table[:, [where[name] for name in _HEAD]]
        pose[:, :3] = _from_euler(angles.deg2rad() if angles.abs().max() > math.pi else angles)
    return times.evenly(path, beta, pose)


_HEAD = tuple(name.lower() for name in ANGLES[:3])


class _Timecodes:
    """Hours:minutes:seconds:frames of each row, as they are read."""

    def __init__(self) -> None:
        self._whole, self._frames, self._good = array("d"), array("d"), True

    def add(self, code: str) -> None:
        """The next row's; one that is none makes all of them useless."""
        found = _TIMECODE.fullmatch(code) if self._good and len(code) <= _LONGEST_CODE else None
        if found is None:
            self._good = False
            return
        hours, minutes, seconds, frame = (float(part) for part in found.groups())
        self._whole.append(3600 * hours + 60 * minutes + seconds)
        self._frames.append(frame)

    def evenly(self, path: Path, beta: Tensor, pose: Tensor) -> Take:
        """A take at an even rate from frames some of which a phone may have dropped. Raises InputError."""
        whole, frames = np.array(self._whole), np.array(self._frames)
        if not self._good or not len(whole):
            return Take(TAKE_RATES[-1], beta, pose)
        last = math.floor(frames.max())
        if last >= _FASTEST:
            raise InputError(f"{path} has time codes of more than {_FASTEST} frames a second; export it again.")
        fps = float(next((rate for rate in (24, 25, 30, 48, 50, 60, 100, 120) if rate > last), last + 1))
        times = whole + frames / fps
        times -= times[0]
        if len(times) < 2 or (np.diff(times) <= 0).any():  # past midnight, or a clock that was set
            return Take(fps, beta, pose)
        if times[-1] * fps > MAX_FRAMES:
            raise _too_long(path)
        at = np.arange(round(times[-1] * fps) + 1) / fps
        even = [
            torch.from_numpy(np.interp(at, times, column)).float() for column in torch.cat([beta, pose], 1).T.numpy()
        ]
        return Take(fps, *torch.stack(even, 1).split([beta.shape[1], pose.shape[1]], 1))


_LONGEST_CODE = 40  # characters
_FASTEST = 1000  # frames a second


def _too_long(path: Path) -> InputError:
    return InputError(f"{path} is longer than {MAX_FRAMES} frames; cut it into parts.")


def _from_json(path: Path, text: str) -> Take:
    wrong = f"{path} is no blendshape file; it needs fps, names and frames, as emotalk generate --export-blendshapes"
    try:
        held = json.loads(text)
        names, fps = [str(name).lower() for name in held["names"]], float(held["fps"])
        values = torch.tensor(held["frames"], dtype=torch.float32).reshape(-1, len(names))
        head = torch.tensor(held.get("head") or [[0.0] * 6] * len(values), dtype=torch.float32).reshape(len(values), 6)
    except (ValueError, KeyError, TypeError, RuntimeError, RecursionError, OverflowError, AttributeError) as error:
        raise InputError(f"{wrong} writes them.") from error
    if len(values) > MAX_FRAMES:
        raise _too_long(path)
    known = [(i, _COLUMN[name]) for i, name in enumerate(names) if name in _COLUMN]
    if len(known) < _FEWEST or not 1 <= fps <= 1000:
        raise InputError(f"{wrong} writes them.")
    beta = torch.zeros(len(values), len(COMPONENTS))
    beta[:, [j for _, j in known]] = values[:, [i for i, _ in known]]
    return Take(fps, beta, head)
