"""Emotion that changes along the speech: tables of time, emotion and intensity."""

from __future__ import annotations

import csv
import json
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path

from ..errors import InputError, UsageError
from ..media.files import check_input
from ..settings import INTENSITY
from .blends import parse_blend

LONGEST = 1 << 20  # bytes of a timeline
MAX_ROWS = 2000
MAX_SECONDS = 7 * 24 * 3600.0
_CLOCK = re.compile(r"(?:(?:(\d+):)?(\d{1,3}):)?(\d+(?:\.\d*)?|\.\d+)")
_COLUMNS = ("time", "emotion", "intensity")


def read_timeline(path: str | os.PathLike[str]) -> list[tuple[float, str, float]]:
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
    if len(rows) > MAX_ROWS:
        raise InputError(f"{path} has more than {MAX_ROWS} rows; a timeline is a short table.")
    moments = [_moment(path, number, row) for number, row in rows]
    if not moments:
        raise InputError(f"{path} has no rows; give at least one: time, emotion, intensity.")
    moments.sort(key=lambda row: row[0])
    for one, two in zip(moments, moments[1:], strict=False):
        if one[0] == two[0]:
            raise InputError(f"{path} has two rows for {one[0]:g} s; give each time once.")
    return moments


def _json_rows(path: str | os.PathLike[str], text: str) -> list[tuple[int, Mapping[str, object]]]:
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


def _csv_rows(path: str | os.PathLike[str], text: str) -> list[tuple[int, Mapping[str, object]]]:
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
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


def _cell(value: object) -> str:
    """For messages."""
    return repr(str(value)[:40])


def _moment(path: str | os.PathLike[str], number: int, row: Mapping[str, object]) -> tuple[float, str, float]:
    where = f"{path}, row {number}"
    clock = _CLOCK.fullmatch(str(row.get("time", "")).strip())
    if not clock:
        raise InputError(f"{where}: the time {_cell(row.get('time'))} is no number of seconds; write 2.5 or 1:02.5.")
    hours, minutes, seconds = (float(part or 0) for part in clock.groups())
    if not 3600 * hours + 60 * minutes + seconds <= MAX_SECONDS:
        raise InputError(f"{where}: the time {_cell(row.get('time'))} is later than a week; write 2.5 or 1:02.5.")
    emotion = row.get("emotion")
    if not isinstance(emotion, str) or not emotion.strip():
        raise InputError(f"{where}: the emotion is empty; name one, for example happy.")
    try:
        parse_blend(emotion)
    except UsageError as error:
        raise InputError(f"{where}: {error}") from error
    intensity = row.get("intensity")
    if intensity is None or intensity == "":
        return 3600 * hours + 60 * minutes + seconds, emotion.strip(), math.nan
    try:
        strength = float(intensity)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        strength = math.nan
    if not INTENSITY[0] <= strength <= INTENSITY[1]:
        raise InputError(f"{where}: the intensity {_cell(intensity)} is outside 1..3; choose a number between them.")
    return 3600 * hours + 60 * minutes + seconds, emotion.strip(), strength
