"""Lists of videos as people have them: CSV, TSV, JSON lines or a JSON array become rows, rows become jobs."""

from __future__ import annotations

import csv
import dataclasses
import io
import itertools
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from .config import merged
from .errors import EmoTalkError, InputError, UsageError, did_you_mean
from .jobs import Job
from .media.files import check_input
from .media.formats import STDOUT
from .settings import JOB_OPTIONS, OPTIONS

MAX_MANIFEST = 64 << 20  # bytes
MAX_ROWS = 1_000_000
MAX_CELL = 10_000  # characters
PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".ppm", ".jp2")
SOUNDS = (".wav", ".mp3", ".m4a", ".ogg", ".opus", ".flac", ".aac", ".aiff", ".mp4", ".mkv", ".mov", ".webm", ".wma")
# With a root, for the command line alone
TRUSTED = ("weights", "clip", "landmarks", "c2pa_cert", "c2pa_key", "max_seconds", "no_overwrite")
_BYTE_ORDERS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
_DECIMAL_COMMA = re.compile(r"\s*\d+,\d+(\s*(-|\.\.|to)\s*\d+(,\d+)?)?\s*|\s*\d+\s*(-|\.\.|to)\s*\d+,\d+\s*")


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of a manifest: its number from 1, what it says, and the job in it or the error.

    extra: columns that are no options, such as id or notes; they go into the results.
    """

    number: int
    given: dict[str, Any]
    job: Job | None
    error: str | None = None
    exit_code: int = 0
    extra: dict[str, str] = dataclasses.field(default_factory=dict)

    def resumed(self) -> Row:
        """The same, to go on with an interrupted video."""
        return self if self.job is None else dataclasses.replace(self, job=dataclasses.replace(self.job, resume=True))


def read_manifest(
    path: str | os.PathLike[str],
    defaults: dict[str, Any] | None = None,
    stdin: IO[bytes] | None = None,
    root: Path | None = None,
) -> list[Row]:
    """Rows of a CSV, TSV or JSON file; "-" is standard input. Columns are options of `emotalk generate`, or extra.

    Relative paths start at the manifest's folder. defaults: options for rows that do not give them. root: a folder
    outside which no row may read or write. An unreadable manifest raises InputError, a column that is nearly an option
    or a missing one UsageError; an error in one row's values stays with its row.
    """
    if str(path) == "-":
        folder, name, data = Path.cwd(), "standard input", (stdin or sys.stdin.buffer).read(MAX_MANIFEST + 1)
    else:
        file = check_input(path, "manifest")
        folder, name = file.parent.resolve(), str(file)
        with open(file, "rb") as opened:
            data = opened.read(MAX_MANIFEST + 1)
    if len(data) > MAX_MANIFEST:
        raise InputError(f"{name} is larger than {MAX_MANIFEST >> 20} MiB; split the manifest.")
    try:
        text = data.decode(_BYTE_ORDERS.get(data[:2], "utf-8-sig"))
    except UnicodeDecodeError as error:
        raise InputError(f"{name} is not UTF-8 text; save the manifest as CSV, TSV or JSON lines in UTF-8.") from error
    start = text.lstrip()[:1]
    table = list(_json_array(name, text) if start == "[" else _json_lines(name, text) if start == "{" else
                 _table(name, text))  # fmt: skip
    if not table:
        raise InputError(f"{name} has no rows; give one for each video.")
    if len(table) > MAX_ROWS:
        raise InputError(f"{name} has more than {MAX_ROWS} rows; split the manifest.")
    _check_columns(name, table, defaults or {})
    return _with_names([_row(number, defaults or {}, values, folder, root) for number, values in enumerate(table, 1)])


def product(
    faces: str | os.PathLike[str],
    audios: str | os.PathLike[str],
    emotions: str,
    defaults: dict[str, Any] | None = None,
    root: Path | None = None,
) -> list[Row]:
    """A row for every portrait in a folder with every recording in a folder with every emotion ("happy,sad").

    Either may also be a single file. root: as in `read_manifest`. Raises InputError and UsageError.
    """
    felt = [emotion.strip() for emotion in emotions.split(",") if emotion.strip()]
    if not felt:
        raise UsageError("--emotions is empty; name some, for example 'happy,sad'.")
    pairs = itertools.product(_found(faces, PICTURES, "faces"), _found(audios, SOUNDS, "audios"), felt)
    values = [{"face": face, "audio": audio, "emotion": emotion} for face, audio, emotion in pairs]
    return _with_names([_row(number, defaults or {}, row, Path.cwd(), root) for number, row in enumerate(values, 1)])


def shard(rows: list[Row], which: str) -> list[Row]:
    """The I-th of N parts of the rows, `which` being "I/N", I from 1. Raises UsageError."""
    parts = re.fullmatch(r"(\d{1,6})/(\d{1,6})", which.strip())
    if not parts or not 1 <= int(parts[1]) <= int(parts[2]):
        raise UsageError(f"--shard {which} is none; give I/N with I from 1 to N, for example 2/8.")
    return rows[int(parts[1]) - 1 :: int(parts[2])]


def _json_array(name: str, text: str) -> Iterator[dict[str, Any]]:
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{name} is not JSON; write an array of objects, or one object a line.") from error
    for number, values in enumerate(rows, 1):
        if not isinstance(values, dict):
            raise InputError(f"{name}, entry {number} is no JSON object; write one for each video.")
        yield _named(name, values.items())


def _json_lines(name: str, text: str) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(text.split("\n"), 1):  # other line separators may stand within a text
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{name}, line {number} is not JSON; write one object a line.") from error
        if not isinstance(values, dict):
            raise InputError(f"{name}, line {number} is no JSON object; write one object a line.")
        yield _named(f"{name}, line {number}", values.items())


def _table(name: str, text: str) -> Iterator[dict[str, Any]]:
    said = re.match(r"\s*\"?sep=(.)\"?\s*\n", text)  # as Excel writes it
    text = text[said.end() :] if said else text
    head = text.lstrip().split("\n", 1)[0]
    mark = said[1] if said else max("\t,;", key=head.count)
    before = csv.field_size_limit(MAX_MANIFEST)  # a long cell is its row's fault alone
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=mark, strict=True, skipinitialspace=True)
    columns: list[str] = []
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if not columns:
                columns = [cell.strip() for cell in cells]
                while columns and not columns[-1]:
                    columns.pop()
                continue
            while len(cells) > len(columns) and not cells[-1].strip():
                cells.pop()
            if len(cells) > len(columns):
                raise InputError(
                    f"{name}, line {reader.line_num} has {len(cells)} cells for {len(columns)} columns; put quotes "
                    "around text that holds the separator."
                )
            values = _named(name, zip(columns, cells))
            yield {k: _decimal_point(k, v) if mark == ";" else v for k, v in values.items()}
    except csv.Error as error:
        raise InputError(f"{name}, line {reader.line_num} is no CSV ({error}); check its quotes.") from error
    finally:
        csv.field_size_limit(before)  # the limit is the whole process's


def _named(where: str, values: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Values by the names of options, however those are spelt; empty ones left out. Raises UsageError."""
    named: dict[str, Any] = {}
    for column, value in values:
        name = "_".join(column.strip().lower().replace("-", " ").replace("_", " ").split())
        name = name if name in JOB_OPTIONS else column.strip()
        if name in named:
            raise UsageError(f"{where} has two columns of one name, {column[:60]!r}; remove one.")
        named[name] = value
    return {name: value for name, value in named.items() if value is not None and str(value).strip()}


def _decimal_point(name: str, value: Any) -> Any:
    """2,5 -> 2.5 for a number, as is written where semicolons separate."""
    number = name == "intensity" or (name in OPTIONS and OPTIONS[name].kind is float)
    return value.replace(",", ".") if number and _DECIMAL_COMMA.fullmatch(value) else value


def _check_columns(name: str, table: Sequence[dict[str, Any]], defaults: dict[str, Any]) -> None:
    """Raise UsageError, once, for a column that is nearly an option or one that every row lacks."""
    columns = {column for row in table for column in row}
    for column in sorted(columns - set(JOB_OPTIONS)):
        meant = did_you_mean("_".join(column.lower().split()), JOB_OPTIONS)
        if meant:
            raise UsageError(f"{name}: the column {column[:60]!r} is no option of emotalk generate.{meant}")
    if "resume" in columns:
        raise UsageError(f"{name}: the column 'resume' is an option of the whole batch; give --resume there.")
    given = columns | set(defaults)
    for wanted in (("face",), ("audio", "motion", "text")):
        if not given & set(wanted):
            raise UsageError(f"{name} has no column {' or '.join(wanted[:2])}; each video needs one.")


def _found(place: str | os.PathLike[str], suffixes: tuple[str, ...], option: str) -> list[Path]:
    folder = Path(place)
    if not folder.is_dir():
        return [check_input(folder, f"folder of --{option}")]
    files = sorted(p for p in folder.iterdir() if p.suffix.lower() in suffixes and not p.name.startswith("."))
    if not files:
        raise InputError(f"{folder} holds no file for --{option}; known endings are {' '.join(suffixes)}.")
    return files


def _row(number: int, defaults: dict[str, Any], values: dict[str, Any], folder: Path, root: Path | None) -> Row:
    own = {name: value for name, value in values.items() if name in JOB_OPTIONS}
    extra = {str(name)[:100]: str(value)[:MAX_CELL] for name, value in values.items() if name not in JOB_OPTIONS}
    given = merged(defaults, own)
    try:
        for name, value in own.items():
            if isinstance(value, str) and len(value) > MAX_CELL:
                raise UsageError(f"{OPTIONS[name].flag} has more than {MAX_CELL} characters; shorten it.")
        job = Job.parse(given, folder)
        if job.out == STDOUT:
            raise UsageError("--out - is for one video alone; name a file in the row.")
        if job.out is not None:
            _check_length(job.out)
        if root is not None:
            _check_root(job, own, root)
        return Row(number, given, job, extra=extra)
    except EmoTalkError as error:
        return Row(number, given, None, str(error), error.exit_code, extra)


def _check_length(out: Path) -> None:
    if any(len(os.fsencode(part)) > 255 for part in out.parts):
        raise UsageError(f"--out {out.name[:40]}... is too long for a file name; shorten it.")


def _check_root(job: Job, own: dict[str, Any], root: Path) -> None:
    """Raise UsageError if a row reads or writes outside a folder, or says what only the command line may."""
    for name in TRUSTED:
        if name in own:
            raise UsageError(
                f"{OPTIONS[name].flag} is for the command line alone with --root; leave it out of the row."
            )
    base = os.path.realpath(root)
    files = job.all_inputs | {"out": job.target, "preview": job.preview, "export_blendshapes": job.export_blendshapes}
    for name, path in files.items():
        if path is not None and os.path.commonpath([base, os.path.realpath(path)]) != base:
            flag = OPTIONS["also" if name.startswith("also_") else name].flag
            raise UsageError(f"{flag} {path} lies outside --root {root}; choose a file in that folder.")


def _with_names(rows: list[Row]) -> list[Row]:
    """Every row with an output of its own: default names that occur twice are numbered, given ones refused."""
    taken: dict[Path, int] = {}
    named: list[Row] = []
    chosen = {r.number: r.job.out for r in rows if r.job and r.job.out is not None and not r.job.out.is_dir()}
    for number, out in chosen.items():
        path = Path(os.path.realpath(out))
        if path in taken:
            raise UsageError(f"Rows {taken[path]} and {number} both write {out}; give each its own out.")
        taken[path] = number
    counts: dict[Path, int] = {}
    for row in rows:
        if row.job is None:
            named.append(row)
            continue
        try:
            out = row.job.target
        except EmoTalkError as error:
            named.append(dataclasses.replace(row, job=None, error=str(error), exit_code=error.exit_code))
            continue
        if row.number not in chosen:
            plain = out
            while Path(os.path.realpath(out)) in taken:
                counts[plain] = counts.get(plain, 1) + 1
                out = plain.with_name(f"{plain.stem}--{counts[plain]}{plain.suffix}")
            taken[Path(os.path.realpath(out))] = row.number
        named.append(dataclasses.replace(row, job=dataclasses.replace(row.job, out=out)))
    return named
