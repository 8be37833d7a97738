"""Files and jobs of the service, in one folder of its own, so that a restart finds them.

<root>/files/<id>/{file.json, data<suffix>}     what was uploaded
<root>/jobs/<id>/{job.json, video.mp4, ...}     one video each
Ids are random; a state is written to a temporary name and renamed, so that a crash leaves the old one or the new one.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

State = Literal["queued", "running", "done", "failed", "cancelled"]
FINAL: tuple[State, ...] = ("done", "failed", "cancelled")
RESULTS = {"video": "video.mp4", "sidecar": "video.mp4.json", "blendshapes": "blendshapes.csv", "sheet": "sheet.png"}
_ID = re.compile(r"[A-Za-z0-9_-]{22}")
_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,8}")


@dataclasses.dataclass
class Job:
    """One video that was asked for.

    options: names and values as `emotalk generate` knows them, but for files. face, audio: ids of uploaded files.
    text, voice: words to speak instead of `audio`. progress: 0..1. frames: (done, total). error: one sentence.
    Times are seconds since 1970.
    """

    id: str
    options: dict[str, Any]
    face: str
    audio: str | None = None
    text: str | None = None
    voice: str | None = None
    timeline: list[dict[str, Any]] | None = None
    state: State = "queued"
    created: float = 0.0
    started: float | None = None
    finished: float | None = None
    frames: tuple[int, int] = (0, 0)
    error: str | None = None
    notes: list[str] = dataclasses.field(default_factory=list)
    nearest: dict[str, float] = dataclasses.field(default_factory=dict)

    @property
    def progress(self) -> float:
        """Share of the frames that are made, 0..1."""
        return 1.0 if self.state == "done" else self.frames[0] / self.frames[1] if self.frames[1] else 0.0


class Store:
    """Everything that the service keeps. Methods are called from one thread."""

    def __init__(self, root: Path, expiry: float, clock: Callable[[], float] = time.time) -> None:
        """root: made if it does not exist. expiry: seconds that files and finished jobs are kept."""
        self.root, self.expiry, self.clock = root, expiry, clock
        for folder in (self._files, self._jobs):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.jobs: dict[str, Job] = {}
        for path in sorted(self._jobs.glob("*/job.json")):
            job = _read(path)
            if job is None:
                shutil.rmtree(path.parent, ignore_errors=True)
                continue
            if job.state == "running":  # the last process ended in the middle: the job is parked and goes on
                job.state = "queued"
            self.jobs[job.id] = job
        self._sizes: dict[Path, int] = {}  # bytes in each folder of a file or a job
        for folder in (*self._files.iterdir(), *self._jobs.iterdir()):
            self.measure(folder)

    @property
    def _files(self) -> Path:
        return self.root / "files"

    @property
    def _jobs(self) -> Path:
        return self.root / "jobs"

    # -- uploaded files -----------------------------------------------------------------------------------------

    def new_file(self, name: str) -> tuple[str, Path]:
        """An id, and where its bytes are to be written; the suffix of `name` is kept, nothing else of it."""
        found = _SUFFIX.fullmatch(Path(name).suffix)
        key = secrets.token_urlsafe(16)
        folder = self._files / key
        folder.mkdir(mode=0o700)
        return key, folder / f"data{found[0].lower() if found else ''}"

    def file(self, key: str) -> Path | None:
        """The file of an id; None if there is none."""
        if not _ID.fullmatch(key):
            return None
        return next((self._files / key).glob("data*"), None)

    def kept(self, key: str) -> None:
        """An uploaded file is complete."""
        self.measure(self._files / key)

    def drop_file(self, key: str) -> None:
        """Forget an uploaded file."""
        if _ID.fullmatch(key):
            self._remove(self._files / key)

    # -- jobs ---------------------------------------------------------------------------------------------------

    def add(self, **fields: Any) -> Job:
        """Keep a new job, queued."""
        job = Job(id=secrets.token_urlsafe(16), created=self.clock(), **fields)
        self.folder(job).mkdir(mode=0o700)
        self.jobs[job.id] = job
        self.save(job)
        return job

    def folder(self, job: Job) -> Path:
        """Where the job's results lie."""
        return self._jobs / job.id

    def save(self, job: Job) -> None:
        """Write the job's state, atomically."""
        path = self.folder(job) / "job.json"
        part = path.with_suffix(".part")
        with open(part, "w", encoding="utf-8") as file:
            json.dump(dataclasses.asdict(job), file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
        self.measure(path.parent)

    def result(self, job: Job, kind: str) -> Path | None:
        """A finished file of the job (one of `RESULTS`); None if there is none."""
        path = self.folder(job) / RESULTS[kind]
        return path if path.is_file() else None

    def queued(self) -> list[Job]:
        """Jobs that wait, the oldest first."""
        return sorted((job for job in self.jobs.values() if job.state == "queued"), key=lambda job: job.created)

    def drop(self, job: Job) -> None:
        """Forget a job and its results."""
        self.jobs.pop(job.id, None)
        self._remove(self.folder(job))

    def sweep(self) -> None:
        """Forget what is older than `expiry`: finished jobs, and files that no job needs."""
        limit = self.clock() - self.expiry
        for job in [job for job in self.jobs.values() if job.state in FINAL and (job.finished or job.created) < limit]:
            self.drop(job)
        needed = {key for job in self.jobs.values() if job.state not in FINAL for key in (job.face, job.audio)}
        for folder in self._files.iterdir():
            if folder.name not in needed and folder.stat().st_mtime < limit:
                self._remove(folder)

    @property
    def size(self) -> int:
        """Bytes that everything takes, as of when it was last complete or saved."""
        return sum(self._sizes.values())

    def measure(self, folder: Path) -> None:
        """Note what a folder takes now."""
        self._sizes[folder] = sum(path.stat().st_size for path in _walk(folder))

    def _remove(self, folder: Path) -> None:
        self._sizes.pop(folder, None)
        shutil.rmtree(folder, ignore_errors=True)


def _walk(root: Path) -> Iterator[Path]:
    for folder, _, names in os.walk(root):
        for name in names:
            path = Path(folder, name)
            if path.is_file():
                yield path


def _read(path: Path) -> Job | None:
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        fields["frames"] = tuple(fields["frames"])
        return Job(**fields)
    except (OSError, ValueError, TypeError, KeyError):  # cut short by a full disk, or of another version
        return None
