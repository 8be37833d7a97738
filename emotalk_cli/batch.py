"""Many videos: rows of a manifest become jobs, jobs become videos, on one process, several, or a Ray cluster.

A results file (JSON lines) is log and archive at once: each attempt adds a line, and on resuming, rows whose video is
there and is what a line says it is are not made again.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import datetime
import errno
import json
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
import time
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import __version__, system
from .api import EmoTalk
from .errors import EmoTalkError, UsageError, of_system
from .jobs import Job
from .manifests import Row
from .media.files import sha256
from .media.provenance import fingerprint, sidecar_path
from .models import checkpoints
from .models.memory import give_back_freed
from .settings import Progress

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess

_PATIENCE = 10.0  # s that a worker has to clean up


Outcome = dict[str, Any]  # a line of the results file


# -- Results ----------------------------------------------------------------------------------------------------


class Results:
    """The results file: appended to while rows finish, read on resuming."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Raises UsageError if it cannot be written."""
        self.path = Path(path)
        self._hashes: dict[Path, str] = {}
        self._waiting: list[bytes] = []  # lines that could not be written yet
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

    def key(self, job: Job, used: Mapping[str, str] | None = None) -> str:
        """Hash of all that decides the job's video and where it goes; "" if an input cannot be read.

        used: hashes of the inputs as they were when the video was made.
        """
        plain = {k: v for k, v in dataclasses.asdict(job).items() if k != "resume"}
        plain["out"] = os.path.relpath(os.path.realpath(job.target), os.path.realpath(self.path.parent))
        try:
            for name, path in job.all_inputs.items():
                known = (used or {}).get(name) or self._hashes.get(path)
                plain[name] = known or self._hashes.setdefault(path, sha256(path))
            weights = checkpoints.index(checkpoints.weights_dir(job.weights))
        except (OSError, ValueError, EmoTalkError):
            return ""
        return fingerprint([__version__, plain, weights])

    def add(self, outcome: Outcome) -> None:
        """Append one line, whole, and see it on the disk; where that fails, with the next one."""
        self._waiting.append((json.dumps(outcome) + "\n").encode())
        with contextlib.suppress(EmoTalkError):
            self.flush()

    def flush(self) -> None:
        """Write what could not be written before. Raises EmoTalkError if it still cannot."""
        while self._waiting:
            try:
                with open(self.path, "ab", buffering=0) as file:
                    end = file.tell()
                    if file.write(self._waiting[0]) != len(self._waiting[0]):
                        file.truncate(end)
                        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                    os.fsync(file.fileno())
            except OSError as error:
                raise EmoTalkError(
                    f"{self.path} cannot be written ({error.strerror}); {len(self._waiting)} results are not in it: "
                    "free some disk space and use --resume."
                ) from error
            self._waiting.pop(0)


def _intact(job: Job, held: Outcome) -> bool:
    others = [job.preview, job.export_blendshapes, sidecar_path(job.target) if job.sidecar else None]
    try:
        return all(os.path.getsize(path) for path in others if path) and sha256(job.target) == held.get("sha256")
    except OSError:
        return False


# -- Making -----------------------------------------------------------------------------------------------------


class Maker:
    """Makes rows one after another; models, portraits and emotions are loaded once and kept."""

    def __init__(self) -> None:
        self._talkers: dict[tuple[Any, ...], EmoTalk] = {}

    def __call__(self, row: Row, progress: Progress | None = None) -> Outcome:
        """Make one video. Whatever goes wrong with the row becomes part of its outcome."""
        begin = time.perf_counter()
        held: Outcome = {"row": row.number, "status": "failed"} | ({"extra": row.extra} if row.extra else {})
        try:
            if row.job is None:
                given = {name: str(value) for name, value in row.given.items()}
                return held | {"given": given, "error": row.error, "exit_code": row.exit_code}
            held |= {
                "face": str(row.job.face),
                "audio": str(row.job.audio or row.job.motion or row.job.text),
                "out": str(row.job.target),
            }
            row.job.check()
            if row.job.models not in self._talkers:
                self._talkers[row.job.models] = EmoTalk.load(*row.job.models)
            result = row.job.run(self._talkers[row.job.models], progress)
            held |= {"status": "done", "emotion": result.emotion, "sha256": result.sha256, "frames": result.frames}
            held |= {"seconds": result.seconds, "notes": result.notes, "inputs": result.inputs}
        except EmoTalkError as error:
            held |= {"error": str(error), "exit_code": error.exit_code}
        except Exception as error:  # one row's surprise is not to end the night's work
            known = of_system(error)
            internal = f"Internal error ({type(error).__name__}: {error}); please report it."
            held |= {"error": str(known) if known else internal, "exit_code": 1}
        finally:
            give_back_freed()  # rows differ in size, and what one leaves in pieces the next cannot use
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
        crew: Generator[Outcome, None, None] = _on_ray(rows, ray, workers)
    elif workers > 1:
        threads = max(1, (os.cpu_count() or 1) // workers)  # by what was asked, so that a resumed row has as many
        crew = _in_processes(rows, min(workers, max(1, len(rows))), threads)
    else:
        maker = Maker()
        crew = (maker(row, progress) for row in rows)
    jobs = {row.number: row.job for row in rows}
    with contextlib.closing(crew):
        for outcome in crew:
            job = jobs[outcome["row"]]
            outcome["key"] = results.key(job, outcome.get("inputs")) if job is not None else ""
            outcome["time"] = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
            results.add(outcome)
            yield outcome
            if fail_fast and outcome["status"] == "failed":
                return


def _in_processes(rows: list[Row], count: int, threads: int) -> Generator[Outcome, None, None]:
    """Rows over worker processes; one that dies costs its row only."""
    context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
    waiting = collections.deque(rows)
    busy: dict[Any, tuple[Any, Row]] = {}  # connection -> process, row in work
    done: list[Any] = []  # processes that are ending

    def start() -> None:
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(theirs, threads), daemon=True)
        process.start()
        theirs.close()
        give(ours, process)

    def give(connection: Connection, process: SpawnProcess) -> None:
        row = waiting.popleft()
        busy[connection] = process, row
        with contextlib.suppress(OSError):  # a dead worker is noticed below
            connection.send(row)

    try:
        for _ in range(min(count, len(waiting))):
            start()
        while busy:
            ready: list[Any] = multiprocessing.connection.wait(list(busy))
            for connection in ready:
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
                        done.append(process)
                yield outcome
    finally:
        for process, _ in busy.values():
            process.terminate()
        until = time.monotonic() + _PATIENCE
        for process in [*(process for process, _ in busy.values()), *done]:  # or they would be stopped while they end
            process.join(max(0.0, until - time.monotonic()))
            process.kill()


def _death(code: int | None) -> str:
    if code == -system.number("SIGKILL"):
        return "The worker was killed, perhaps for lack of memory; use fewer --workers."
    return f"The worker ended unexpectedly (exit code {code}); run the row alone with emotalk generate."


def _work(connection: Connection, threads: int) -> None:
    """What a worker process does: rows in, outcomes out, until the other side closes."""
    import torch

    def orphaned() -> None:
        parent = multiprocessing.parent_process()
        assert parent is not None
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    stopped = False

    def stop(number: int, frame: object) -> None:  # as an exception, so that temporary files are removed on the way out
        nonlocal stopped
        stopped = True
        raise KeyboardInterrupt

    threading.Thread(target=orphaned, daemon=True).start()
    for number in (*system.ENDING, signal.SIGINT):
        signal.signal(number, stop)
    torch.set_num_threads(threads)
    maker = Maker()
    with contextlib.suppress(EOFError, OSError, KeyboardInterrupt):
        while not stopped:  # a library may have made another exception of ours
            connection.send(maker(connection.recv()))
    for number in (*system.ENDING, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


def _on_ray(rows: list[Row], address: str, count: int) -> Generator[Outcome, None, None]:
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
