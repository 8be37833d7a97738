"""One video to make, described in the words of `emotalk generate`: a command, a row of a batch, or a sidecar."""

from __future__ import annotations

import dataclasses
import itertools
import resource
import sys
import time
import typing
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from .animate import BATCH, frame_count
from .api import EmoTalk
from .errors import InputError, UsageError
from .media.files import check_name, check_output
from .media.provenance import Sidecar, Signer
from .settings import AS_SPOKEN, POSES, Progress, Result, Settings, one_of, parse_intensity

NAME_LIMIT = 60  # bytes of each part of a default name
_ASIDE = ("out", "preview", "export_blendshapes", "export_fps")  # what does not shape the frames
_ASIDE += ("no_overwrite", "resume", "sidecar", "c2pa", "c2pa_cert", "c2pa_key", "weights")
_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """The options of `emotalk generate` that say what to make and where.

    out: None, or a folder, means a name made from the inputs' (`target`).
    """

    face: Path
    audio: Path | None = None
    motion: Path | None = None
    emotion: str | None = None
    emotion_image: Path | None = None
    emotion_audio: Path | None = None
    emotion_file: Path | None = None
    emotion_timeline: Path | None = None
    out: Path | None = None
    preview: Path | None = None
    export_blendshapes: Path | None = None
    export_fps: float = 60.0
    no_overwrite: bool = False
    resume: bool = False
    sidecar: bool = True
    c2pa: bool = False
    c2pa_cert: Path | None = None
    c2pa_key: Path | None = None
    device: str = "auto"
    generator: str = "hef"
    landmarks: str = "builtin"
    clip: str | None = None
    engine: str = "eager"
    weights: Path | None = None
    settings: Settings = dataclasses.field(default_factory=Settings)

    @classmethod
    def parse(cls, values: Mapping[str, Any], folder: Path = Path()) -> Job:
        """From option names (with `_` or `-`) to text or numbers; None means the default.

        Relative paths start at `folder`. Raises UsageError that names the option.
        """
        own, kinds, given, settings = _kinds(cls), _kinds(Settings), {}, {}
        for key, value in values.items():
            name = str(key).strip().replace("-", "_")
            if name not in OPTIONS:
                raise UsageError(f"'{key}' is no option of emotalk generate; use one of {', '.join(OPTIONS)}.")
            if value is None:
                continue
            if name in kinds:
                settings[name] = _converted(name, value, kinds[name])
            else:
                given[name] = _converted(name, value, own[name])
                if isinstance(given[name], Path):
                    check_name(given[name])
                    given[name] = folder / given[name]
        if "face" not in given or not ("audio" in given or "motion" in given):
            raise UsageError(f"--{'audio' if 'face' in given else 'face'} is missing.")
        if settings.get("pose", POSES[0]) not in POSES:
            settings["pose"] = str(folder / settings["pose"])
        job = cls(**given, settings=Settings(**settings))
        job.settings.check()
        one_of(**job._emotions)
        return job

    @classmethod
    def of(cls, sidecar: Sidecar, **changes: Any) -> Job:
        """The job that made a video, but for `changes`; its output is `<video>.again.mp4` unless they name one.

        Raises UsageError, and InputError if an input that is used again is missing or has changed.
        """
        for name in {*sidecar.inputs, *sidecar.options} & set(_ASIDE):  # a stranger's file says nothing about outputs
            raise InputError(f"{sidecar.path} names --{name.replace('_', '-')}, which no sidecar does; do not use it.")
        inputs = {name: sidecar.input(name) for name in sidecar.inputs if name not in changes}
        out = sidecar.path.with_name(Path(sidecar.path.stem).stem + ".again.mp4")
        return cls.parse({"out": out} | sidecar.options | inputs | changes)

    @property
    def inputs(self) -> dict[str, Path]:
        """Option -> file that decides how the video looks."""
        files = {"face": self.face, "audio": self.audio, "motion": self.motion}
        files |= {f"emotion_{kind}": given for kind, given in self._emotions.items() if kind != "text"}
        files |= {} if self.settings.pose in POSES else {"pose": Path(self.settings.pose)}
        return {name: path for name, path in files.items() if path is not None}

    @property
    def _emotions(self) -> dict[str, Any]:
        """Arguments of `EmoTalk.emotion`."""
        files = {kind: getattr(self, f"emotion_{kind}") for kind in ("image", "audio", "file", "timeline")}
        return {"text": self.emotion, **files}

    @property
    def target(self) -> Path:
        """The video's path."""
        kind, sound = one_of(**self._emotions), self.audio or self.motion
        if kind is None:
            felt = "as recorded" if self.motion else AS_SPOKEN
        else:
            felt = self.emotion if kind == "text" else self._emotions[kind].stem
        name = default_name(self.face, sound, felt)
        if self.out is None:
            return sound.parent / name
        return self.out / name if self.out.is_dir() else self.out

    @property
    def models(self) -> tuple[Path | None, str, str, str, str | None, str]:
        """Arguments of `EmoTalk.load`: jobs with the same can share what is loaded."""
        return self.weights, self.device, self.generator, self.landmarks, self.clip, self.engine

    def repeats(self, sidecar: Sidecar) -> bool:
        """Whether this is to give the bytes of the sidecar's video."""
        same = Job.of(sidecar)
        kept = {name: getattr(self, name) for name in _ASIDE}
        return dataclasses.replace(same, **kept) == self

    def run(self, talker: EmoTalk, progress: Progress | None = None) -> Result:
        """Make the video. Raises EmoTalkError."""
        signer = Signer(self.c2pa_cert, self.c2pa_key) if self.c2pa or self.c2pa_cert or self.c2pa_key else None
        return talker.generate(
            self.face,
            self.audio,
            talker.emotion(**self._emotions) if one_of(**self._emotions) else None,
            self.target,
            motion=self.motion,
            blendshapes=self.export_blendshapes,
            blendshapes_fps=self.export_fps,
            preview=self.preview,
            overwrite=not self.no_overwrite,
            resume=self.resume,
            sidecar=self.sidecar,
            signer=signer,
            progress=progress,
            settings=self.settings,
        )


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a job would do (`plan`).

    face: side of the face found in the picture, px. seconds, frames, size: of the video. estimated_seconds: to make it.
    estimated_memory: MB at the most, whatever the length. exists: whether the output is there already.
    """

    out: Path
    exists: bool
    face: float
    seconds: float
    frames: int
    size: tuple[int, int]
    estimated_seconds: float
    estimated_memory: float
    notes: list[str]

    def to_dict(self) -> dict[str, Any]:
        """Plain types only, ready for JSON."""
        return dataclasses.asdict(self) | {"out": str(self.out), "size": list(self.size)}


def plan(job: Job, talker: EmoTalk) -> Plan:
    """Check all of a job's input, and make a few frames to see how long it will take. Writes nothing.

    Raises EmoTalkError as `Job.run` would.
    """
    out = check_output(job.target, not job.no_overwrite)
    begin = time.perf_counter()
    portrait = talker.portrait(job.face)
    emotion = talker.emotion(**job._emotions) if one_of(**job._emotions) else None
    performance = talker.performance(job.audio, emotion, job.motion, job.settings.pose)
    total = frame_count(performance.seconds, job.settings.fps)
    frames = talker.frames(portrait, job.audio, emotion, job.settings, motion=job.motion)
    first = next(frames)  # what is made once is made now
    ready = time.perf_counter()
    tried = 1 + sum(1 for _ in itertools.islice(frames, min(total, 3 * BATCH[talker.device.type]) - 1))
    spent = time.perf_counter() - ready
    each = spent / (tried - 1) if tried > 1 else ready - begin
    points = portrait.fit.landmarks[:, :2].numpy() * portrait.fit.to_source[0, 0]
    unit = 1 if sys.platform == "darwin" else 1024
    return Plan(
        out=out,
        exists=out.exists(),
        face=round(float((points.max(0) - points.min(0)).max()), 1),
        seconds=total / job.settings.fps,
        frames=total,
        size=(first.shape[1], first.shape[0]),
        estimated_seconds=round(ready - begin + each * total, 1),
        estimated_memory=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6),
        notes=portrait.notes,
    )


def repeat(job: Job, sidecar: Sidecar, talker: EmoTalk, progress: Progress | None = None) -> Result:
    """Run a job that came from a sidecar, and note whether the video is the same to the last bit."""
    threads = sidecar.environment.get("threads")
    if isinstance(threads, int) and 0 < threads <= 1024:  # sums depend on how they are split
        torch.set_num_threads(threads)
    result = job.run(talker, progress)
    if job.repeats(sidecar):
        result.identical = result.unsigned_sha256 == sidecar.output
        found = [] if result.identical else sidecar.differences(talker.weights, str(talker.device))
        verdict = "identical to" if result.identical else "not identical to"
        result.notes += [f"The video is {verdict} the one of {sidecar.path.name}.", *found]
    return result


def default_name(face: Path, audio: Path, emotion: str) -> str:
    """`<face>--<audio>--<emotion>.mp4`, safe as a file name on every system and at most 200 bytes long."""
    parts = [_safe(text) for text in (face.stem, audio.stem, emotion)]
    if not parts[2]:
        raise UsageError("--emotion is empty; describe an emotion, for example 'sadly surprised'.")
    return "--".join(parts) + ".mp4"


def _safe(text: str) -> str:
    kept = "".join(c if c.isalnum() or c in " ._-'" or unicodedata.category(c)[0] == "M" else "-" for c in text)
    kept = " ".join(kept.split()).strip(" .-")[:NAME_LIMIT]
    while len(kept.encode(errors="surrogateescape")) > NAME_LIMIT:
        kept = kept[:-1]
    return kept.strip(" .-")


def _kinds(described: type) -> dict[str, type]:
    """Field -> bool, int, float, str or Path, `None` left out."""
    hints = typing.get_type_hints(described)
    plain = {name: [k for k in typing.get_args(hint) if k is not type(None)] or [hint] for name, hint in hints.items()}
    return {name: kinds[0] for name, kinds in plain.items() if kinds[0] in _WORDS}


def _converted(name: str, value: Any, kind: type) -> Any:
    if name == "intensity":
        return parse_intensity(value)
    wrong = UsageError(f"--{name.replace('_', '-')} {value!r} is no {_WORDS[kind]}; correct it.")
    if not isinstance(value, str | int | float | Path):
        raise wrong
    text = str(value).strip() if kind is not Path else str(value)
    if kind is bool:
        if text.lower() not in _TRUE + _FALSE:
            raise wrong
        return text.lower() in _TRUE
    try:
        if kind is int and isinstance(value, float) and value.is_integer():
            return int(value)
        return kind(text)
    except ValueError as error:
        raise wrong from error


_WORDS = {bool: "yes or no", int: "whole number", float: "number", str: "text", Path: "path"}
OPTIONS = (*_kinds(Job), *_kinds(Settings))  # what a row of a batch may hold
