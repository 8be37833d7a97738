"""Many videos: rows of a manifest become jobs, jobs become videos, on one process, several, or a Ray cluster.

A results file (JSON lines) is log and archive at once: each attempt adds a line, and on resuming, rows whose video is
there and is what a line says it is are not made again.
"""

from __future__ import annotations

import collections
import contextlib
import csv
import dataclasses
import datetime
import io
import itertools
import json
import multiprocessing
import multiprocessing.connection
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from . import __version__
from .api import EmoTalk
from .errors import EmoTalkError, InputError, UsageError
from .jobs import Job
from .media.files import check_input, sha256
from .media.provenance import fingerprint
from .models import checkpoints
from .settings import JOB_OPTIONS, Progress

MAX_MANIFEST = 64 << 20  # bytes
PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".ppm", ".jp2")
SOUNDS = (".wav", ".mp3", ".m4a", ".ogg", ".opus", ".flac", ".aac", ".aiff", ".mp4", ".mkv", ".mov", ".webm", ".wma")
_PATIENCE = 10.0  # s that a worker has to clean up


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of a manifest: its number from 1, what it says, and the job in it or the error."""

    number: int
    given: dict[str, Any]
    job: Job | None
    error: str | None = None
    exit_code: int = 0

    def resumed(self) -> Row:
        """The same, to go on with an interrupted video."""
        return self if self.job is None else dataclasses.replace(self, job=dataclasses.replace(self.job, resume=True))


Outcome = dict[str, Any]  # a line of the results file


# -- Manifests --------------------------------------------------------------------------------------------------


def read_manifest(
    path: str | os.PathLike[str], defaults: dict[str, Any] | None = None, stdin: IO | None = None
) -> list[Row]:
    """Rows of a CSV, TSV or JSONL file; "-" is standard input. Columns are options of `emotalk generate`.

    Relative paths start at the manifest's folder. defaults: options for rows that do not give them. An unreadable
    manifest raises InputError, an unknown column UsageError; an error in one row's values stays with its row.
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
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{name} is not UTF-8 text; save the manifest as CSV, TSV or JSON lines in UTF-8.") from error
    table = list(_json_lines(name, text) if text.lstrip().startswith("{") else _table(name, text))
    if not table:
        raise InputError(f"{name} has no rows; give one for each video.")
    rows = [_row(number, (defaults or {}) | values, folder) for number, values in enumerate(table, 1)]
    return _with_names(rows)


def product(
    faces: str | os.PathLike[str], audios: str | os.PathLike[str], emotions: str, defaults: dict[str, Any] | None = None
) -> list[Row]:
    """A row for every portrait in a folder with every recording in a folder with every emotion ("happy,sad").

    Either may also be a single file. Raises InputError and UsageError.
    """
    felt = [emotion.strip() for emotion in emotions.split(",") if emotion.strip()]
    if not felt:
        raise UsageError("--emotions is empty; name some, for example 'happy,sad'.")
    pairs = itertools.product(_found(faces, PICTURES, "faces"), _found(audios, SOUNDS, "audios"), felt)
    values = [{"face": face, "audio": audio, "emotion": emotion} for face, audio, emotion in pairs]
    return _with_names([_row(number, (defaults or {}) | row, Path.cwd()) for number, row in enumerate(values, 1)])


def shard(rows: list[Row], which: str) -> list[Row]:
    """The I-th of N parts of the rows, `which` being "I/N", I from 1. Raises UsageError."""
    parts = re.fullmatch(r"(\d{1,6})/(\d{1,6})", which.strip())
    if not parts or not 1 <= int(parts[1]) <= int(parts[2]):
        raise UsageError(f"--shard {which} is none; give I/N with I from 1 to N, for example 2/8.")
    return rows[int(parts[1]) - 1 :: int(parts[2])]


def _json_lines(name: str, text: str) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{name}, line {number} is not JSON; write one object a line.") from error
        if not isinstance(values, dict):
            raise InputError(f"{name}, line {number} is no JSON object; write one object a line.")
        _check_columns(values, f"{name}, line {number}")
        yield {key: value for key, value in values.items() if value is not None}


def _table(name: str, text: str) -> Iterator[dict[str, Any]]:
    head = text.lstrip().split("\n", 1)[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max("\t,;", key=head.count), strict=True)
    columns: list[str] = []
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if not columns:
                columns = [cell.strip() for cell in cells]
                _check_columns(columns, name)
                if len(set(columns)) < len(columns):
                    raise UsageError(f"{name} has two columns of one name; remove one.")
                continue
            if len(cells) > len(columns):
                raise InputError(
                    f"{name}, line {reader.line_num} has {len(cells)} cells for {len(columns)} columns; put quotes "
                    "around text that holds the separator."
                )
            yield {column: cell for column, cell in zip(columns, cells) if cell.strip()}
    except csv.Error as error:
        raise InputError(f"{name}, line {reader.line_num} is no CSV ({error}); check its quotes.") from error


def _check_columns(columns: Iterable[str], where: str) -> None:
    known = set(JOB_OPTIONS) - {"resume"}
    for column in columns:
        if column.strip().replace("-", "_") not in known:
            raise UsageError(
                f"{where}: the column {column[:60]!r} is no option of emotalk generate; known are "
                f"{', '.join(sorted(known))}."
            )


def _found(place: str | os.PathLike[str], suffixes: tuple[str, ...], option: str) -> list[Path]:
    folder = Path(place)
    if not folder.is_dir():
        return [check_input(folder, f"folder of --{option}")]
    files = sorted(p for p in folder.iterdir() if p.suffix.lower() in suffixes and not p.name.startswith("."))
    if not files:
        raise InputError(f"{folder} holds no file for --{option}; known endings are {' '.join(suffixes)}.")
    return files


def _row(number: int, values: dict[str, Any], folder: Path) -> Row:
    try:
        return Row(number, values, Job.parse(values, folder))
    except EmoTalkError as error:
        return Row(number, values, None, str(error), error.exit_code)


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
    for row in rows:
        if row.job is None:
            named.append(row)
            continue
        try:
            out = row.job.target
        except EmoTalkError as error:
            named.append(Row(row.number, row.given, None, str(error), error.exit_code))
            continue
        if row.number not in chosen:
            plain, count = out, 1
            while Path(os.path.realpath(out)) in taken:
                count += 1
                out = plain.with_name(f"{plain.stem}--{count}{plain.suffix}")
            taken[Path(os.path.realpath(out))] = row.number
        named.append(dataclasses.replace(row, job=dataclasses.replace(row.job, out=out)))
    return named


# -- Results ----------------------------------------------------------------------------------------------------


class Results:
    """The results file: appended to while rows finish, read on resuming."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Raises UsageError if it cannot be written."""
        self.path = Path(path)
        self._hashes: dict[Path, str] = {}
        try:
            with open(self.path, "ab+") as file:  # a line cut short by a crash is closed, and ignored on reading
                if file.tell() and (file.seek(-1, os.SEEK_END), file.read(1))[1] != b"\n":
                    file.write(b"\n")
        except OSError as error:
            raise UsageError(f"{self.path} cannot be written ({error.strerror}); choose another --results.") from error

    def finished(self, rows: list[Row]) -> set[int]:
        """Numbers of the rows that are done: same inputs, options and weights, and the video is still as it was."""
        done: dict[str, Outcome] = {}
        with open(self.path, encoding="utf-8", errors="replace") as file:
            for line in file:
                with contextlib.suppress(ValueError, RecursionError, TypeError, KeyError):
                    held = json.loads(line)
                    if held["status"] == "done" and held["key"]:
                        done[held["key"]] = held
        return {
            row.number for row in rows if row.job and (held := done.get(self.key(row.job))) and _intact(row.job, held)
        }

    def key(self, job: Job) -> str:
        """Hash of all that decides the job's video and where it goes; "" if an input cannot be read."""
        plain = {k: v for k, v in dataclasses.asdict(job).items() if k != "resume"}
        plain["out"] = os.path.relpath(os.path.realpath(job.target), os.path.realpath(self.path.parent))
        try:
            for name, path in job.inputs.items():
                plain[name] = self._hashes.get(path) or self._hashes.setdefault(path, sha256(path))
            weights = checkpoints.index(checkpoints.weights_dir(job.weights))
        except (OSError, ValueError, EmoTalkError):
            return ""
        return fingerprint([__version__, plain, weights])

    def add(self, outcome: Outcome) -> None:
        """Append one line, whole, and see it on the disk."""
        line = (json.dumps(outcome) + "\n").encode()
        try:
            with open(self.path, "ab", buffering=0) as file:
                file.write(line)
                os.fsync(file.fileno())
        except OSError as error:
            raise EmoTalkError(f"{self.path} cannot be written ({error.strerror}); free some disk space.") from error


def _intact(job: Job, held: Outcome) -> bool:
    try:
        return sha256(job.target) == held.get("sha256")
    except OSError:
        return False


# -- Making -----------------------------------------------------------------------------------------------------


class Maker:
    """Makes rows one after another; models, portraits and emotions are loaded once and kept."""

    def __init__(self) -> None:
        self._talkers: dict[tuple, EmoTalk] = {}

    def __call__(self, row: Row, progress: Progress | None = None) -> Outcome:
        """Make one video. Whatever goes wrong with the row becomes part of its outcome."""
        begin = time.perf_counter()
        held: Outcome = {"row": row.number, "status": "failed"}
        try:
            if row.job is None:
                given = {name: str(value) for name, value in row.given.items()}
                return held | {"given": given, "error": row.error, "exit_code": row.exit_code}
            held |= {
                "face": str(row.job.face),
                "audio": str(row.job.audio or row.job.motion or row.job.text),
                "out": str(row.job.target),
            }
            if row.job.models not in self._talkers:
                self._talkers[row.job.models] = EmoTalk.load(*row.job.models)
            result = row.job.run(self._talkers[row.job.models], progress)
            held |= {"status": "done", "emotion": result.emotion, "sha256": result.sha256, "frames": result.frames}
            held |= {"seconds": result.seconds, "notes": result.notes}
        except EmoTalkError as error:
            held |= {"error": str(error), "exit_code": error.exit_code}
        except MemoryError:
            held |= {"error": "Not enough memory; use a smaller picture or size.", "exit_code": 1}
        except Exception as error:  # one row's surprise is not to end the night's work
            held |= {"error": f"Internal error ({type(error).__name__}: {error}); please report it.", "exit_code": 1}
        return held | {"elapsed": round(time.perf_counter() - begin, 3)}


def run(
    rows: list[Row],
    results: Results,
    *,
    workers: int = 1,
    ray: str | None = None,
    fail_fast: bool = False,
    progress: Progress | None = None,
) -> Generator[Outcome, None, None]:
    """Make all rows; yields their outcomes as they finish, each already in `results`.

    workers: processes of their own if more than 1. ray: address of a cluster ("auto", "local" or "host:port") to which
    `workers` actors go. fail_fast: stop after the first failure. progress: of the row in work, for one worker.
    Closing the iterator stops the workers.
    """
    if ray is not None:
        crew = _on_ray(rows, ray, workers)
    elif workers > 1:
        crew = _in_processes(rows, min(workers, max(1, len(rows))))
    else:
        maker = Maker()
        crew = (maker(row, progress) for row in rows)
    jobs = {row.number: row.job for row in rows}
    with contextlib.closing(crew):
        for outcome in crew:
            job = jobs[outcome["row"]]
            outcome["key"] = results.key(job) if job is not None else ""
            outcome["time"] = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
            results.add(outcome)
            yield outcome
            if fail_fast and outcome["status"] == "failed":
                return


def _in_processes(rows: list[Row], count: int) -> Iterator[Outcome]:
    """Rows over worker processes; one that dies costs its row only."""
    context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
    waiting = collections.deque(rows)
    busy: dict[Any, tuple[Any, Row]] = {}  # connection -> process, row in work

    def start() -> None:
        ours, theirs = context.Pipe()
        threads = max(1, (os.cpu_count() or 1) // count)
        process = context.Process(target=_work, args=(theirs, threads), daemon=True)
        process.start()
        theirs.close()
        give(ours, process)

    def give(connection, process) -> None:
        row = waiting.popleft()
        busy[connection] = process, row
        with contextlib.suppress(OSError):  # a dead worker is noticed below
            connection.send(row)

    try:
        for _ in range(min(count, len(waiting))):
            start()
        while busy:
            for connection in multiprocessing.connection.wait(list(busy)):
                process, row = busy.pop(connection)
                try:
                    outcome = connection.recv()
                except (EOFError, OSError):
                    process.join()
                    connection.close()
                    outcome = {"row": row.number, "status": "failed", "exit_code": 1, "error": _death(process.exitcode)}
                    if waiting:
                        start()
                else:
                    if waiting:
                        give(connection, process)
                    else:
                        connection.close()  # it ends by itself
                yield outcome
    finally:
        for process, _ in busy.values():
            process.terminate()
        until = time.monotonic() + _PATIENCE
        for process, _ in busy.values():
            process.join(max(0.0, until - time.monotonic()))
            process.kill()


def _death(code: int | None) -> str:
    if code == -signal.SIGKILL:
        return "The worker was killed, perhaps for lack of memory; use fewer --workers."
    return f"The worker ended unexpectedly (exit code {code}); run the row alone with emotalk generate."


def _work(connection, threads: int) -> None:
    """What a worker process does: rows in, outcomes out, until the other side closes."""
    import torch

    def orphaned() -> None:
        multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
        os._exit(1)

    def stop(number, frame) -> None:  # as an exception, so that temporary files are removed on the way out
        raise KeyboardInterrupt

    threading.Thread(target=orphaned, daemon=True).start()
    signal.signal(signal.SIGTERM, stop)
    torch.set_num_threads(threads)
    maker = Maker()
    with contextlib.suppress(EOFError, OSError, KeyboardInterrupt):
        while True:
            connection.send(maker(connection.recv()))


def _on_ray(rows: list[Row], address: str, count: int) -> Iterator[Outcome]:
    """Rows over actors of a Ray cluster, which sees the same files under the same names. Raises UsageError."""
    try:
        import ray
    except ImportError as error:
        raise UsageError("--ray needs the extra ray; pip install 'emotalk[ray]'.") from error
    local = address == "local"
    try:
        ray.init(
            address=address, num_cpus=count if local else None, include_dashboard=False if local else None,
            log_to_driver=False, ignore_reinit_error=True,
        )  # fmt: skip
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise UsageError(f"--ray {address}: no cluster answers there; start one with 'ray start --head'.") from error
    try:
        actor = ray.remote(num_cpus=1, max_restarts=-1)(Maker)
        waiting = collections.deque(rows)
        makers = [actor.remote() for _ in range(max(1, min(count, len(rows))))]
        busy = {maker.__call__.remote(waiting.popleft()): maker for maker in makers if waiting}
        numbers = {reference: row.number for reference, row in zip(busy, rows)}
        while busy:
            ready, _ = ray.wait(list(busy))
            for reference in ready:
                maker, number = busy.pop(reference), numbers.pop(reference)
                try:
                    outcome = ray.get(reference)
                except ray.exceptions.RayError as error:
                    text = f"The Ray worker ended unexpectedly ({type(error).__name__}); run the row alone."
                    outcome = {"row": number, "status": "failed", "exit_code": 1, "error": text}
                if waiting:
                    row = waiting.popleft()
                    following = maker.__call__.remote(row)
                    busy[following], numbers[following] = maker, row.number
                yield outcome
    finally:
        ray.shutdown()


def summary(outcomes: list[Outcome], skipped: int) -> dict[str, int]:
    """How many rows are done, failed, and were skipped as done before."""
    failed = sum(outcome["status"] == "failed" for outcome in outcomes)
    return {"done": len(outcomes) - failed, "failed": failed, "skipped": skipped}
