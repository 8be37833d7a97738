"""One video to make, described in the words of `emotalk generate`: a command, a row of a batch, or a sidecar.

Importing this imports no torch: all that can be checked cheaply is checked before models are loaded.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from . import system
from .constants import MAX_SECONDS
from .errors import EmoTalkError, InputError, UsageError, did_you_mean
from .media.ffmpeg import frame_rate
from .media.files import check_input, check_name
from .media.formats import STDOUT, choose, is_film
from .media.provenance import Sidecar, Signer
from .media.samples import SoundFile
from .media.speech_synthesis import Words
from .outputs import OutputFiles, default_name
from .settings import (
    AS_RECORDED,
    AS_SPOKEN,
    ASIDE,
    EMOTION_SOURCES,
    FILES_OR_WORDS,
    JOB_OPTIONS,
    OF_A_SPEAKER,
    OPTIONS,
    VIDEO_SUFFIXES,
    Outputs,
    Progress,
    Result,
    Settings,
    names_file,
    one_of,
    parse_place,
)

if TYPE_CHECKING:
    import numpy as np

    from .animate import Portrait
    from .api import EmoTalk
    from .emotions.emotion import Emotion
    from .film import Film
    from .media.samples import Audio


STANDARD_INPUT = Path("-")
MAX_SPEAKERS = 8  # in one picture
ADDRESS_SPACE = 5 << 30  # bytes, of which most stay unused; 4 GB were too few for two threads
OPEN_FILES = 16  # at least


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """The options of `emotalk generate` that say what to make and where.

    out: None, or a folder, means a name made from the inputs' (`target`). audio: `STANDARD_INPUT` is read once.
    """

    face: Path
    face_index: int | None = None
    face_at: str | None = None
    also: str | None = None
    audio: Path | None = None
    text: str | None = None
    voice: str | None = None
    motion: Path | None = None
    emotion: str | None = None
    emotion_image: Path | None = None
    emotion_audio: Path | None = None
    emotion_video: Path | None = None
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
    max_seconds: float = MAX_SECONDS
    device: str = "auto"
    generator: str = "hef"
    landmarks: str = "builtin"
    clip: str | None = None
    engine: str = OPTIONS["engine"].default
    renderer: str = "builtin"
    weights: Path | None = None
    settings: Settings = dataclasses.field(default_factory=Settings)

    @classmethod
    def parse(cls, values: Mapping[str, Any], folder: Path = Path()) -> Job:
        """From option names (with `_` or `-`) to text or numbers; None means the default.

        Relative paths start at `folder`. Raises UsageError that names the option.
        """
        given: dict[str, Any] = {}
        look: dict[str, Any] = {}
        for key, value in values.items():
            name = str(key).strip().replace("-", "_")
            if name not in JOB_OPTIONS:
                known = ", ".join(JOB_OPTIONS)
                meant = did_you_mean(name, JOB_OPTIONS)
                raise UsageError(f"'{key}' is no option of emotalk generate; use one of {known}.{meant}")
            if value is None:
                continue
            option = OPTIONS[name]
            if option.kind is Path or name in FILES_OR_WORDS:
                value = os.path.expanduser(value) if isinstance(value, str | Path) else value
            if name in FILES_OR_WORDS and isinstance(value, str | Path) and names_file(name, value):
                check_name(value)
                value = str(folder / value)
            parsed = option.parse(value)
            if isinstance(parsed, Path):
                check_name(parsed)
                parsed = parsed if name == "out" and parsed == STDOUT else folder / parsed
            (look if option.role == "look" else given)[name] = parsed
        if "face" not in given or not given.keys() & {"audio", "text", "motion"}:
            raise UsageError(f"--{'audio' if 'face' in given else 'face'} is missing.")
        for other in ("audio", "motion"):
            if "text" in given and other in given:
                raise UsageError(f"--text and --{other} exclude each other; give one of them.")
        if "voice" in given and "text" not in given:
            raise UsageError("--voice says who speaks --text, which is missing; give it, or leave --voice out.")
        if "face_index" in given and "face_at" in given:
            raise UsageError("--face-index and --face-at exclude each other; give one of them.")
        if "fps" not in look and is_film(given["face"]) and given["face"].is_file():  # it keeps its own
            own, (low, high) = frame_rate(given["face"]), OPTIONS["fps"].limits or (0.0, 0.0)
            look |= {"fps": own} if own is not None and low <= own <= high else {}
        if given.get("also"):
            look["framing"], given["also"] = "full", _others(given["also"], folder)
        job = cls(**given, settings=Settings(**look))
        one_of(**job.emotions)
        if job.motion is not None and one_of(**job.emotions) is not None:
            raise UsageError("--emotion and --motion exclude each other: a take carries its own expression.")
        _ = job.others  # what is wrong with them is said now
        return job

    @classmethod
    def of(cls, sidecar: Sidecar, **changes: Any) -> Job:
        """The job that made a video, but for `changes`; its output is `<video>.again` with the same
        ending unless they name one.

        A sidecar may come from a stranger: only what shapes the frames is taken from it, and files only with their
        hash. Raises UsageError, and InputError if an input that is used again is missing or has changed.
        """
        options = _shaping(sidecar, changes)
        if "device" in changes:  # which may run no such engine, and have no such encoder
            options = {name: value for name, value in options.items() if name not in ("engine", "encoder")}
        inputs = {name: sidecar.input(name) for name in sidecar.inputs if name not in changes}
        made = Path(sidecar.path.stem)
        out = sidecar.path.with_name(f"{made.stem}.again{made.suffix if made.suffix in VIDEO_SUFFIXES else '.mp4'}")
        job = cls.parse({"out": out} | options | inputs | changes)
        if "encoder" in changes or choose(job.target, job.settings.codec, job.settings.alpha).is_h264:
            return job
        return dataclasses.replace(job, settings=dataclasses.replace(job.settings, encoder="auto"))  # another format

    @property
    def inputs(self) -> dict[str, Path]:
        """Option -> file that decides how the video looks."""
        names = [name for name, option in OPTIONS.items() if option.role == "input" and option.kind is Path]
        files = {name: getattr(self, name) for name in names}
        looks = {name: getattr(self.settings, name) for name in FILES_OR_WORDS}
        files |= {name: Path(value) for name, value in looks.items() if names_file(name, value)}
        return {name: path for name, path in files.items() if path not in (None, STANDARD_INPUT)}

    @property
    def all_inputs(self) -> dict[str, Path]:
        """`inputs`, and those of the other speakers, by their number: also_1_audio."""
        others = enumerate(self.others, 1)
        named = {f"also_{n}_{name}": path for n, other in others for name, path in other.inputs.items()}
        return self.inputs | {name: path for name, path in named.items() if not name.endswith("_face")}

    @property
    def emotions(self) -> dict[str, Any]:
        """Arguments of `EmoTalk.emotion`."""
        return {kind: self.emotion if kind == "text" else getattr(self, f"emotion_{kind}") for kind in EMOTION_SOURCES}

    @property
    def target(self) -> Path:
        """The video's path."""
        kind, sound = one_of(**self.emotions), self.audio or self.motion or self.face.with_name("speech")
        sound = Path("speech") if sound == STANDARD_INPUT else sound
        if kind is None:
            felt = AS_RECORDED if self.motion else AS_SPOKEN
        else:
            felt = str(self.emotions[kind] if kind == "text" else self.emotions[kind].stem)
        name = default_name(self.face, sound, felt, self.settings.codec, self.settings.alpha)
        if self.out is None:
            return sound.parent / name
        return self.out / name if self.out.is_dir() else self.out

    @property
    def speech(self) -> Path | SoundFile | Words | None:
        """What is said: a recording, or words; None where only a take moves the face. Raises InputError."""
        if self.audio == STANDARD_INPUT:
            return _standard_input()
        return self.audio if self.text is None else Words(self.text, self.voice, self.settings.seed)

    @property
    def models(self) -> tuple[Path | None, str, str, str, str | None, str, str]:
        """Arguments of `EmoTalk.load`: jobs with the same can share what is loaded."""
        return self.weights, self.device, self.generator, self.landmarks, self.clip, self.engine, self.renderer

    @property
    def outputs(self) -> Outputs:
        """What is written beside the video. Raises UsageError and InputError if it cannot be signed."""
        sign = self.c2pa or self.c2pa_cert is not None or self.c2pa_key is not None
        return Outputs(
            preview=self.preview,
            blendshapes=self.export_blendshapes,
            blendshapes_fps=self.export_fps,
            sidecar=self.sidecar,
            overwrite=not self.no_overwrite,
            resume=self.resume,
            signer=Signer(self.c2pa_cert, self.c2pa_key) if sign else None,
            max_seconds=self.max_seconds,
        )

    def check(self) -> OutputFiles:
        """All that needs no models: inputs are files, outputs can be written. Raises UsageError and InputError."""
        _check_limits()
        for job in (self, *self.others):
            for name, path in job.inputs.items():
                check_input(path, _KINDS.get(name, f"file of {OPTIONS[name].flag}"))
        _ = self.speech  # standard input is read now
        return OutputFiles.plan(self.target, self.outputs, list(self.all_inputs.values()), self.settings)

    def repeats(self, sidecar: Sidecar) -> bool:
        """Whether this is to give the bytes of the sidecar's video."""
        same = Job.of(sidecar)
        kept = {name: getattr(self, name) for name in ASIDE}
        return dataclasses.replace(same, **kept) == self

    @functools.cached_property
    def others(self) -> tuple[Job, ...]:
        """The other speakers in the same picture."""
        shared = {"face": self.face.resolve(), "max_seconds": self.max_seconds}
        return tuple(Job.parse(row | shared) for row in json.loads(self.also or "[]"))

    def subject(self, talker: EmoTalk) -> Portrait | Film:
        """Who is to speak. Raises InputError and UsageError."""
        index, at = self.face_index, parse_place(self.face_at) if self.face_at is not None else None
        return talker.film(self.face, index, at) if is_film(self.face) else talker.portrait(self.face, index, at)

    def felt(self, talker: EmoTalk) -> Emotion | None:
        """What the face is to feel; None: the speech's own, or a take's. Raises InputError and UsageError."""
        return talker.emotion(**self.emotions, longest=self.max_seconds) if one_of(**self.emotions) else None

    def part(self, talker: EmoTalk) -> tuple[Portrait, Audio, Emotion | None]:
        """One of several speakers, for `EmoTalk.generate`."""
        who, speech = self.subject(talker), self.speech
        if is_film(self.face) or speech is None:
            raise UsageError("Several speakers need a picture and speech each; give those.")
        return cast("Portrait", who), speech, self.felt(talker)

    def run(
        self,
        talker: EmoTalk,
        progress: Progress | None = None,
        show: Callable[[np.ndarray], None] | None = None,
    ) -> Result:
        """Make the video. show: as in `Outputs`. Raises EmoTalkError."""
        return talker.generate(
            self.subject(talker),
            self.speech,
            self.felt(talker),
            self.target,
            motion=self.motion,
            also=[other.part(talker) for other in self.others],
            progress=progress,
            settings=self.settings,
            outputs=dataclasses.replace(self.outputs, show=show),
        )


def _others(also: str, folder: Path) -> str:
    """The text of --also as a list, its paths seen from `folder`. Raises UsageError."""
    try:
        rows = json.loads(also)
    except (ValueError, RecursionError) as error:
        raise UsageError('--also is no JSON; write such as {"face_index": 1, "audio": "b.wav"}.') from error
    made: list[dict[str, Any]] = []
    rows = rows if isinstance(rows, list) else [rows]
    if len(rows) >= MAX_SPEAKERS:
        raise UsageError(f"--also names {len(rows)} speakers; at most {MAX_SPEAKERS} speak in one picture.")
    for row in rows:
        plain = {name.replace("-", "_"): value for name, value in row.items()} if isinstance(row, dict) else {"": row}
        if not set(plain) <= set(OF_A_SPEAKER):
            raise UsageError(f"--also holds, for each speaker, some of {', '.join(OF_A_SPEAKER)}; correct it.")
        if not {"face_index", "face_at"} & set(plain):
            raise UsageError("--also does not say who speaks; give face_index or face_at.")
        paths = {
            name: str(folder.resolve() / str(value)) for name, value in plain.items() if OPTIONS[name].kind is Path
        }
        made.append(plain | paths)
    return json.dumps(made)


def _check_limits() -> None:
    """Libraries of the models end the process where they find too little, so that nothing could be said then."""
    limit, files = system.address_space(), system.open_files()
    if limit is not None and limit < ADDRESS_SPACE:
        raise EmoTalkError(
            f"ulimit -v allows {limit >> 20} MB of address space, and {ADDRESS_SPACE >> 20} are needed; raise it."
        )
    if files is not None and 0 <= files < OPEN_FILES:  # negative: without a bound
        raise EmoTalkError(f"ulimit -n allows {files} open files, and {OPEN_FILES} are needed; raise it.")


@functools.cache
def _standard_input() -> SoundFile:
    return SoundFile.read(getattr(sys.stdin, "buffer", None))


def _shaping(sidecar: Sidecar, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a sidecar. Raises InputError for a name that none has, and for what `changes` has to confirm."""
    files = {name for name, option in OPTIONS.items() if option.role == "input" and option.kind is Path}
    texts = {name for name, option in OPTIONS.items() if option.role in ("input", "look", "model")} - files - {"also"}
    files |= set(FILES_OR_WORDS)
    options: dict[str, Any] = {}
    for names, allowed, where in ((sidecar.inputs, files, "input"), (sidecar.options, texts, "option")):
        for raw in names:
            name = str(raw).strip().replace("-", "_")
            if name != raw or name not in allowed or name in options:
                flag = OPTIONS[name].flag if name in OPTIONS else f"{raw[:40]!r}"
                raise InputError(f"{sidecar.path} names {flag} as {where}, which no sidecar does; do not use it.")
            if where == "option":
                options[name] = sidecar.options[raw]
    for name in FILES_OR_WORDS:
        given = options.get(name)
        if name not in sidecar.inputs and given is not None and names_file(name, str(given)):
            raise InputError(f"{sidecar.path} names a file as --{name} without its hash; do not use it.")
    for name, value in options.items():
        if not isinstance(value, _PLAIN) and not (name == "intensity" and isinstance(value, list)):
            raise InputError(f"{sidecar.path} holds no plain value for {OPTIONS[name].flag}; do not use it.")
    for name in _DOWNLOADED:
        wanted = options.get(name)
        if wanted not in (None, OPTIONS[name].default) and name not in changes:
            flag, shown = OPTIONS[name].flag, str(wanted)[:60]
            raise InputError(
                f"{sidecar.path} asks for {flag} {shown}, which may be downloaded; if you trust it, give that option "
                "yourself."
            )
    return options


_PLAIN = (str, int, float, bool, type(None))
_DOWNLOADED = ("clip", "landmarks")  # models that are not shipped
_KINDS = {
    "face": "picture",
    "background": "picture",
    "audio": "audio file",
    "emotion_image": "picture",
    "emotion_audio": "audio file",
}


def repeat(job: Job, sidecar: Sidecar, talker: EmoTalk, progress: Progress | None = None) -> Result:
    """Run a job that came from a sidecar, and note whether the video is the same to the last bit."""
    import torch

    threads = sidecar.environment.get("threads")
    if isinstance(threads, int) and 0 < threads <= 4 * (os.cpu_count() or 1):  # sums depend on how they are split
        torch.set_num_threads(threads)
    result = job.run(talker, progress)
    if job.repeats(sidecar):
        result.identical = result.unsigned_sha256 == sidecar.output
        found = [] if result.identical else sidecar.differences(talker.weights, str(talker.device))
        verdict = "identical to" if result.identical else "not identical to"
        result.notes += [f"The video is {verdict} the one of {sidecar.path.name}.", *found]
    return result
