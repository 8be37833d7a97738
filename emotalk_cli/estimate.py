"""What a job would do, found out by checking all its input and making a few frames; nothing is written."""

from __future__ import annotations

import dataclasses
import itertools
import time
from pathlib import Path
from typing import Any

from .animate import BATCH
from .api import EmoTalk
from .jobs import Job
from .system import peak_memory


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a job would do (`plan`).

    face: side of the face found in the picture, px. seconds, frames, size: of the video. estimated_seconds: to make it,
    from the command to the file; loading_seconds: of these, to load the models. estimated_memory: MB at the most,
    whatever the length. exists: whether the output is there already.
    """

    out: Path
    exists: bool
    face: float
    seconds: float
    frames: int
    size: tuple[int, int]
    estimated_seconds: float
    loading_seconds: float
    estimated_memory: float
    notes: list[str]

    def to_dict(self) -> dict[str, Any]:
        """Plain types only, ready for JSON."""
        return dataclasses.asdict(self) | {"out": str(self.out), "size": list(self.size)}


def plan(job: Job, talker: EmoTalk, loading: float = 0.0) -> Plan:
    """Check all of a job's input, and make a few frames to see how long it will take. Writes nothing.

    loading: seconds that loading `talker` took. Raises EmoTalkError as `Job.run` would.
    """
    out = job.check().video
    begin = time.perf_counter()
    portrait = job.subject(talker)
    emotion = job.felt(talker)
    performance = talker.performance(job.speech, emotion, job.motion, job.settings.pose, job.max_seconds)
    total = talker.length(portrait, performance, job.settings)
    frames = talker.frames(portrait, job.speech, emotion, job.settings, motion=job.motion)
    first = next(frames)  # what is made once is made now
    ready = time.perf_counter()
    tried = 1 + sum(1 for _ in itertools.islice(frames, min(total, 3 * BATCH[talker.device.type]) - 1))
    spent = time.perf_counter() - ready
    each = spent / (tried - 1) if tried > 1 else ready - begin
    return Plan(
        out=out,
        exists=out.exists(),
        face=round(portrait.side, 1),
        seconds=total / job.settings.fps,
        frames=total,
        size=(first.shape[1], first.shape[0]),
        estimated_seconds=round(loading + ready - begin + each * total, 1),
        loading_seconds=round(loading, 1),
        estimated_memory=round(peak_memory()),
        notes=portrait.notes,
    )
