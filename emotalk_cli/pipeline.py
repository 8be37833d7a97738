"""The whole way from portrait, speech and emotion to video; the one seam that command line and library share."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import hashlib
import itertools
import math
import os
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from . import __version__, checkpoints, exchange, image, label, life, provenance, segments
from .ame import AME, SPACE
from .audio import FPS, SAMPLE_RATE, Recording, level, log_mel, loudness, pitch, syllables
from .eac import EAC
from .emotion import AS_SPOKEN, Emotion, one_of, parse_intensity, read_timeline
from .engine import check as check_engine
from .errors import InputError, UsageError, WeightsError
from .face.fit import CROP_SIZE, Portrait, fit_portrait
from .face.model import N_EXPRESSION, FaceModel
from .face.motion import FaceMotion
from .face.tracker import FaceTracker
from .files import SUFFIXES, PartFile, check_input, check_output, sha256
from .framing import CropFraming, FullFraming
from .hef import HEF
from .memory import keep_freed
from .preview import ContactSheet
from .video import VideoWriter, Writer, read_frames

GENERATORS = ("hef", "geometry")
LANDMARKS = ("builtin", "face-alignment")
POSES = ("still", "natural")
FRAMINGS = ("crop", "full")
MIN_FACE = 48  # px, longer side of the landmarks' box in the picture (at most image.MAX_SIDE px large)
SIZES = (64, 1024)  # px, of the cropped video
RATES = (1.0, 120.0)  # frames/s
BATCH = {"cpu": 2, "mps": 8, "cuda": 16}  # frames that the generator makes at once
_KEPT, _KEPT_EMOTIONS = 4, 64  # prepared portraits, and emotions, that stay in memory
_EMOTION_FILES = {"image": "picture", "audio": "audio file", "file": "emotion file", "timeline": "timeline"}

Progress = Callable[[str, int, int], None]  # stage, done, total


@dataclasses.dataclass(frozen=True)
class Settings:
    """How a video is to look; `check` raises UsageError for values outside the stated ranges.

    intensity: 1 (slight) .. 3 (strong), or (first, last) of a ramp over the speech. fps: 1..120.
    size: side of the cropped video, even, 64..1024 px.
    pose: still | natural head motion, or a video that lends its own. blink: blinks per minute, 0..60.
    framing: crop | full picture. seed: of blinks and head motion.
    label: text in the corner of every frame, for example "AI-generated".
    """

    intensity: float | tuple[float, float] = 2.0
    fps: float = float(FPS)
    size: int = CROP_SIZE
    pose: str = "natural"
    blink: float = life.BLINKS_PER_MINUTE
    framing: str = "crop"
    seed: int = 0
    label: str = ""

    def check(self) -> None:
        parse_intensity(self.intensity)
        _within("fps", self.fps, RATES)
        _within("size", self.size, SIZES)
        if self.size % 2:
            raise UsageError(f"--size {self.size} is odd; give an even number of pixels.")
        _within("blink", self.blink, (0.0, life.FASTEST))
        if self.pose not in POSES and not os.path.isfile(self.pose):
            raise UsageError(f"--pose {self.pose} is unknown; choose {' or '.join(POSES)}, or name a video.")
        _among("framing", self.framing, FRAMINGS)
        _within("seed", self.seed, (0, 2**63 - 1))
        label.check(self.label)


@dataclasses.dataclass
class Result:
    """What `generate` made.

    out, sidecar, preview, blendshapes: files. sha256: of the video; unsigned_sha256: before it was signed.
    frames: their number; seconds: length of the video; size: (width, height) px.
    motion: the take that moved the face, if any. emotion: its label, None with a take. nearest: known emotions most
    like it, with their similarity 0..1 (of a timeline, the one most like each keyframe).
    elapsed: seconds that it took; stages: the same by stage (they overlap with encoding).
    weights: file name -> SHA-256. notes: what the user should know, one sentence each.
    identical: whether it is the video that was to be made again, if that was the wish.
    """

    out: Path
    sha256: str
    unsigned_sha256: str
    sidecar: Path | None
    preview: Path | None
    blendshapes: Path | None
    face: str
    audio: str | None
    motion: str | None
    emotion: str | None
    nearest: dict[str, float]
    settings: Settings
    generator: str
    device: str
    frames: int
    seconds: float
    size: tuple[int, int]
    elapsed: float
    stages: dict[str, float]
    weights: dict[str, str]
    notes: list[str]
    identical: bool | None = None
    version: str = __version__

    def to_dict(self) -> dict:
        """Plain types only, settings inlined, ready for JSON."""
        described = dataclasses.asdict(self)
        described |= described.pop("settings")
        described |= {name: made and str(made) for name, made in described.items() if isinstance(made, Path)}
        described |= {"size": list(self.size)}
        return described


@dataclasses.dataclass
class Subject:
    """A portrait made ready once, to be animated many times (`EmoTalk.portrait`)."""

    name: str
    fit: Portrait
    motion: FaceMotion
    source: object | None  # HEF's features of the picture; None for the geometry generator
    notes: list[str]
    sha256: str  # of the file, or of the pixels and their shape
    path: Path | None  # None for pixels


@dataclasses.dataclass
class Drive:
    """What moves the face: speech and what is felt, or a take of recorded motion; perhaps the head of another take."""

    recording: Recording | None
    emotion: Emotion | None
    take: exchange.Take | None = None
    head: exchange.Take | None = None

    @property
    def seconds(self) -> float:
        """Length of the speech; without any, of the take."""
        return self.recording.seconds if self.recording is not None else self.take.seconds


class Stopwatch:
    """Seconds spent by stage."""

    def __init__(self) -> None:
        self.stages: dict[str, float] = {}

    @contextlib.contextmanager
    def __call__(self, stage: str):
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.stages[stage] = self.stages.get(stage, 0.0) + time.perf_counter() - begin


class EmoTalk:
    """The loaded models. One load serves any number of portraits, recordings and emotions.

    talker = EmoTalk.load()
    portrait = talker.portrait("face.jpg")
    talker.generate(portrait, "speech.wav", "sadly surprised", out="video.mp4")
    """

    def __init__(
        self,
        face_model: FaceModel,
        tracker: Callable,
        ame: AME,
        eac: EAC,
        hef: HEF | None,
        device: torch.device,
        weights: dict[str, str],
    ) -> None:
        """face_model: on the CPU, where portraits are fitted; the others: on `device`.

        hef: None animates by geometry alone. weights: file name -> SHA-256, for the record.
        """
        self.face_model, self.tracker, self.ame, self.eac, self.hef = face_model, tracker, ame, eac, hef
        self.moving_model = face_model if device.type == "cpu" else copy.deepcopy(face_model).to(device)
        self.device = device
        self.weights = weights
        self._subjects: OrderedDict[str, Subject] = OrderedDict()
        self._emotions: OrderedDict[tuple[str, str, str], Emotion] = OrderedDict()

    @classmethod
    def load(
        cls,
        weights: str | os.PathLike | None = None,
        device: str = "auto",
        generator: str = "hef",
        landmarks: str = "builtin",
        clip: str | None = None,
        engine: str = "eager",
    ) -> EmoTalk:
        """Load the shipped weights (or those in the folder `weights`, or in $EMOTALK_WEIGHTS).

        device: auto | cpu | cuda[:N] | mps. generator: hef (neural) | geometry (warp and shading, faster).
        landmarks: builtin | face-alignment. clip: an upstream open_clip model NAME[/PRETRAINED] in place of the
        shipped towers, for which EAC must have been trained. engine: eager | compile | graphs, how HEF is run (see
        `engine`). Raises UsageError and WeightsError.
        """
        _among("generator", generator, GENERATORS)
        _among("landmarks", landmarks, LANDMARKS)
        place = find_device(device)
        check_engine(engine, place)
        keep_freed()
        folder = checkpoints.weights_dir(weights)
        try:
            model = FaceModel.load(folder)
            if landmarks == "builtin":
                tracker = FaceTracker.load(folder, place)
            else:
                from .face.alignment import AlignmentTracker

                tracker = AlignmentTracker.load(folder, place)
            ame = (AME.from_open_clip(clip, folder) if clip else AME.load(folder)).to(place)
            eac = EAC.load(folder, ame.space).to(place)
            hef = HEF.load(folder, place).accelerate(engine) if generator == "hef" else None
        except (RuntimeError, TypeError, KeyError) as error:  # tensors or sizes that the code does not expect
            raise WeightsError(f"The weights in {folder} are of another version of EmoTalk; restore them.") from error
        unused = {"sync", "identity"} | ({"hef"} if hef is None else set())  # those two only measure
        unused |= {"tracker"} if landmarks != "builtin" else set()
        hashes = {name: digest for name, digest in checkpoints.index(folder).items() if Path(name).stem not in unused}
        return cls(model, tracker, ame, eac, hef, place, hashes)

    @property
    def generator(self) -> str:
        """hef or geometry."""
        return "hef" if self.hef is not None else "geometry"

    def portrait(self, face: str | os.PathLike | np.ndarray) -> Subject:
        """Read a picture (file, or uint8 [H,W,3]), find its largest face and prepare it; the last few are kept.

        Raises InputError if it is no readable picture or shows no face of at least MIN_FACE px.
        """
        if isinstance(face, np.ndarray):
            name, path, key = "picture", None, hashlib.sha256(face.tobytes() + str(face.shape).encode()).hexdigest()
        else:
            name, path = str(face), check_input(face, "picture")
            key = sha256(path)
        if key not in self._subjects:
            pixels = face.copy() if isinstance(face, np.ndarray) else image.load(face)
            self._subjects[key] = self._prepare(name, key, pixels)
            while len(self._subjects) > _KEPT:
                self._subjects.popitem(last=False)
        self._subjects.move_to_end(key)
        return dataclasses.replace(self._subjects[key], name=name, path=path)

    @torch.inference_mode()
    def _prepare(self, name: str, digest: str, pixels: np.ndarray) -> Subject:
        faces = self.tracker(pixels)
        if not faces:
            raise InputError(f"{name} shows no face that can be found; give a picture of one face seen from the front.")
        box = faces[0].box
        side = max(box[2] - box[0], box[3] - box[1])
        if side < MIN_FACE:
            raise InputError(f"{name} shows a face of only {side:.0f} px; at least {MIN_FACE} px are needed.")
        notes = [f"{len(faces)} faces found; the largest is animated."] if len(faces) > 1 else []
        fit = fit_portrait(self.face_model, pixels, faces[0].landmarks, faces[0].blendshapes)
        motion = FaceMotion(self.moving_model, fit, self.device)
        source = self.hef.source(fit) if self.hef is not None else None
        return Subject(name, fit, motion, source, notes, digest, None)

    @torch.inference_mode()
    def emotion(
        self,
        text: str | None = None,
        *,
        image: str | os.PathLike | None = None,
        audio: str | os.PathLike | None = None,
        file: str | os.PathLike | None = None,
        timeline: str | os.PathLike | None = None,
    ) -> Emotion:
        """What the face is to feel, from exactly one of these.

        text: words, or a blend such as "happy:0.5+surprised:0.5". image: a picture of a face. audio: a recording
        of a voice. file: what `Emotion.save` wrote. timeline: CSV or JSON (see `emotion.read_timeline`).
        Raises UsageError, InputError, and WeightsError if the tower that it takes is not among the weights.
        """
        sources = {"text": text, "image": image, "audio": audio, "file": file, "timeline": timeline}
        kind = one_of(**sources)
        if kind is None:
            raise UsageError("No emotion is given; name a text, an image, a recording, a file or a timeline.")
        given = sources[kind]
        key = (kind, str(given), "" if kind == "text" else sha256(check_input(given, _EMOTION_FILES[kind])))
        if key not in self._emotions:
            self._emotions[key] = dataclasses.replace(self._made(kind, given), origin=(kind, str(given)))
            while len(self._emotions) > _KEPT_EMOTIONS:
                self._emotions.popitem(last=False)
        return self._emotions[key]

    def _made(self, kind: str, given: str | os.PathLike) -> Emotion:
        space = self.ame.space
        if kind == "text":
            return Emotion.constant(given, self.ame.text([given])[0].cpu(), space)
        if kind == "image":
            return Emotion.constant(str(given), self._seen(given).cpu(), space)
        if kind == "audio":
            return Emotion.constant(str(given), self._heard(Recording.open(given)).cpu(), space)
        if kind == "file":
            return Emotion.load(given, space)
        times, texts, mu = zip(*read_timeline(given), strict=True)
        return Emotion(str(given), torch.tensor(times), self.ame.text(texts).cpu(), torch.tensor(mu), space)

    def _seen(self, picture: str | os.PathLike) -> Tensor:
        """z_emo [512] of the largest face in a picture."""
        pixels = image.load(picture)
        faces = self.tracker(pixels)
        if not faces:
            raise InputError(f"{picture} shows no face that can be found; give a picture of one face as the emotion.")
        return self.ame.image(pixels, faces[0].landmarks, faces[0].blendshapes)

    def _heard(self, recording: Recording) -> Tensor:
        """z_emo [512] of a voice."""
        return self.ame.audio(recording.mels(), recording.level)

    def nearest(self, emotion: Emotion) -> dict[str, float]:
        """Known emotions most like it -> similarity 0..1, best first; of several keyframes, each one's first."""
        if len(emotion.z) == 1:
            return dict(self.ame.nearest(emotion.z[0].to(self.device)))
        return dict(self.ame.nearest(z, 1)[0] for z in emotion.z.to(self.device))

    @torch.inference_mode()
    def expression(
        self, emotion: str | Emotion, intensity: float = 2.0, speaking: bool = False
    ) -> tuple[Tensor, Tensor]:
        """β [64] and σ̂ [width] of a face that feels `emotion` (of a timeline, its beginning), silent or saying "ma"."""
        felt = self.emotion(emotion) if isinstance(emotion, str) else emotion
        wave = syllables() if speaking else np.zeros(SAMPLE_RATE, np.float32)
        beta, sigma = self.eac.predict(log_mel(wave), felt.z[0], float(parse_intensity(intensity)), level(wave))
        open_mouth = round(0.5 * FPS)
        return beta[open_mouth], sigma[open_mouth]

    @torch.inference_mode()
    def still(
        self, face: Subject | str | os.PathLike | np.ndarray, emotion: str | Emotion | None, intensity: float = 2.0
    ) -> np.ndarray:
        """One picture of the face saying "ma" with an emotion, uint8 [512,512,3]; the portrait itself for None."""
        subject = face if isinstance(face, Subject) else self.portrait(face)
        if emotion is None:
            picture = subject.fit.image
            return (picture.permute(1, 2, 0).clamp(0, 1) * 255).round().byte().cpu().numpy()
        beta, sigma = (part[None].to(self.device) for part in self.expression(emotion, intensity, speaking=True))
        pose = torch.zeros(1, 6, device=self.device)
        geometry = subject.motion.frame(beta, pose)
        crops = geometry.composite() if self.hef is None else self.hef(subject.source, geometry, beta, pose, sigma)
        return next(iter(CropFraming(subject.fit, CROP_SIZE, self.device)(crops, geometry)))

    def frames(
        self,
        face: Subject | str | os.PathLike | np.ndarray,
        audio: str | os.PathLike | None,
        emotion: str | Emotion | None = None,
        settings: Settings | None = None,
        *,
        motion: str | os.PathLike | None = None,
        **options,
    ) -> Iterator[np.ndarray]:
        """The video's frames, uint8 [H,W,3], made while they are asked for.

        emotion: a text, what `emotion` made, or None for the emotion of the speech itself. motion: see `drive`.
        options: any field of `Settings`. Input is checked at once: raises InputError and UsageError.
        """
        settings = _settings(settings, options)
        subject = face if isinstance(face, Subject) else self.portrait(face)
        drive = self.drive(audio, emotion, motion, settings.pose)
        framing = self._framing(subject, settings)
        return (frame for _, frame in self._frames(subject, drive, settings, framing, Stopwatch()))

    @torch.inference_mode()
    def drive(
        self,
        audio: str | os.PathLike | None,
        emotion: str | Emotion | None = None,
        motion: str | os.PathLike | None = None,
        pose: str = "natural",
    ) -> Drive:
        """Read what is to move the face: speech and emotion, or recorded motion.

        motion: a blendshape file (`exchange`), or a video whose face is followed; the sound may then be None: it is
        the video's, if it has any. pose: as in `Settings`. Raises InputError and UsageError.
        """
        if motion is None:
            if audio is None:
                raise UsageError("--audio is missing; give a recording, or a video to --motion.")
            recording = Recording.open(audio)
            felt, take = self._emotion(emotion, recording), None
        else:
            if emotion is not None:
                raise UsageError("--emotion and --motion exclude each other: a take carries its own expression.")
            written = Path(motion).suffix.lower() in exchange.SUFFIXES
            take = exchange.read(motion) if written else self._filmed(motion)
            felt, recording = None, None
            if audio is not None:
                recording = Recording.open(audio)
            elif not written:
                with contextlib.suppress(InputError):  # a silent film
                    recording = Recording.open(motion)
        return Drive(recording, felt, take, None if pose in POSES else self._filmed(pose))

    def _filmed(self, video: str | os.PathLike) -> exchange.Take:
        return exchange.filmed(read_frames(video, FPS), FPS, self.tracker, self.face_model, str(video))

    @torch.inference_mode()
    def blendshapes(
        self, drive: Drive, fps: float, settings: Settings | None = None, **options
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """All motion at `fps`, blinks and head included: β [64] and pose [6] (see `exchange.Take`) of each frame."""
        rows = self._driven(drive, _settings(settings, options), fps, Stopwatch())
        return ((row[:N_EXPRESSION].cpu(), row[-6:].cpu()) for row in rows)

    def _emotion(self, emotion: str | Emotion | None, recording: Recording) -> Emotion:
        if isinstance(emotion, str):
            return self.emotion(emotion)
        if emotion is None:
            return Emotion.constant(AS_SPOKEN, self._heard(recording).cpu(), self.ame.space)
        if emotion.space != self.ame.space:
            raise WeightsError(
                f"The emotion {emotion.label!r} belongs to the emotion space {emotion.space!r}, but the loaded weights "
                f"to {self.ame.space!r}; make it again with these weights."
            )
        return emotion

    def generate(
        self,
        face: Subject | str | os.PathLike | np.ndarray,
        audio: str | os.PathLike | None,
        emotion: str | Emotion | None,
        out: str | os.PathLike,
        *,
        motion: str | os.PathLike | None = None,
        blendshapes: str | os.PathLike | None = None,
        blendshapes_fps: float = exchange.RATES[-1],
        preview: str | os.PathLike | None = None,
        overwrite: bool = True,
        resume: bool = False,
        sidecar: bool = True,
        signer: provenance.Signer | None = None,
        progress: Progress | None = None,
        settings: Settings | None = None,
        **options,
    ) -> Result:
        """Make the video `out` (.mp4), its sidecar, and a contact sheet `preview` (.png) if one is named.

        emotion: as in `frames`. motion: see `drive`. blendshapes: also write the motion to this file (`exchange`), at
        blendshapes_fps. options: any field of `Settings`. progress is called with (stage, done, total).
        The files appear when they are complete; after an error or an interrupt nothing is left, but of videos longer
        than `segments.SECONDS` the complete pieces, in a hidden folder: with `resume` the same call goes on from
        there. sidecar: also write `<out>.json`, which `emotalk generate --from` reads. signer: adds a C2PA manifest.
        Raises EmoTalkError.
        """
        begin, watch = time.perf_counter(), Stopwatch()
        settings, report = _settings(settings, options), progress or (lambda stage, done, total: None)
        inputs = [path for path in (face, audio, motion, settings.pose) if isinstance(path, str | os.PathLike)]
        inputs += [emotion.label] if isinstance(emotion, Emotion) else []  # may be the name of a file
        if blendshapes is not None and blendshapes_fps not in exchange.RATES:
            known = ", ".join(f"{rate:g}" for rate in exchange.RATES)
            raise UsageError(f"--export-fps {blendshapes_fps:g} is unknown; choose one of {known}.")
        paths = _Outputs.plan(out, preview, blendshapes, sidecar, overwrite, inputs)
        report("portrait", 0, 1)
        with watch("portrait"):
            subject = face if isinstance(face, Subject) else self.portrait(face)
        report("portrait", 1, 1)
        report("sound", 0, 1)
        with watch("sound"):
            drive = self.drive(audio, emotion, motion, settings.pose)
        felt = drive.emotion
        shown_as = felt.public if felt is not None else "as recorded"
        with watch("emotion"):
            nearest = self.nearest(felt) if felt is not None else {}
        report("sound", 1, 1)
        if audio is None and drive.recording is not None:
            audio = motion  # the film's own sound
        framing = self._framing(subject, settings)
        total = frame_count(drive.seconds, settings.fps)
        record = provenance.Record(
            paths.video,
            self._inputs(subject, felt, {"audio": audio, "motion": motion, "pose": settings.pose}),
            {**(felt.options() if felt else {}), **dataclasses.asdict(settings), **self._models()},
            self.weights,
            str(self.device),
            {"frames": total, "seconds": total / settings.fps, "size": framing.size},
            signer,
        )
        with contextlib.ExitStack() as files:  # the others get their names after the video, or none does
            part = files.enter_context(PartFile(paths.preview)) if paths.preview is not None else None
            if paths.blendshapes is not None:
                to = files.enter_context(PartFile(paths.blendshapes)).path
                with open(to, "w", newline="", encoding="utf-8") as file:
                    rows = self.blendshapes(drive, blendshapes_fps, settings)
                    exchange.write(file, rows, blendshapes_fps, paths.blendshapes.suffix)
            note = files.enter_context(PartFile(paths.sidecar)) if paths.sidecar is not None else None
            shared = {
                "overwrite": overwrite,
                "metadata": record.tags(shown_as),
                "finish": functools.partial(record.finish, sidecar=note and note.path),
            }
            length = segments.piece_frames(settings.fps, BATCH[self.device.type])
            video = (paths.video, framing.size, settings.fps, audio)
            if total <= length:
                writer = VideoWriter(*video, **shared)
            else:
                writer = segments.SegmentedWriter(*video, total, length, record.key(), resume, **shared)
            files.enter_context(writer)
            sheet = ContactSheet(total, settings.fps) if part is not None else None
            shown = sheet.wanted if sheet is not None else ()
            frames = self._frames(subject, drive, settings, framing, watch, writer.done, shown)
            _write(frames, writer, sheet, total, watch, report)
            if sheet is not None:
                sheet.save(part, f"{' '.join(shown_as.split())}, intensity {_spelt(settings.intensity)}")
            made = time.perf_counter()
        watch.stages["encoding"] = watch.stages.get("encoding", 0.0) + time.perf_counter() - made
        return Result(
            out=paths.video,
            **record.video,
            sidecar=paths.sidecar,
            preview=paths.preview,
            blendshapes=paths.blendshapes,
            motion=str(motion) if motion is not None else None,
            face=subject.name,
            audio=str(audio) if audio is not None else None,
            emotion=felt.label if felt is not None else None,
            nearest=nearest,
            settings=settings,
            generator=self.generator,
            device=str(self.device),
            elapsed=time.perf_counter() - begin,
            stages=watch.stages,
            weights=self.weights,
            notes=subject.notes + _notes(drive, nearest),
        )

    @staticmethod
    def _inputs(subject: Subject, felt: Emotion | None, given: dict) -> dict[str, tuple[Path | None, str]]:
        """Option -> file and SHA-256, for the record."""
        files = {name: Path(path) for name, path in given.items() if path is not None and path not in POSES}
        hashed = {name: (path, sha256(path)) for name, path in files.items()}
        return {"face": (subject.path, subject.sha256), **hashed, **(felt.inputs() if felt else {})}

    def _models(self) -> dict[str, str]:
        """The options of `emotalk generate` that chose the models."""
        landmarks = "builtin" if isinstance(self.tracker, FaceTracker) else "face-alignment"
        clip = {} if self.ame.space == SPACE else {"clip": self.ame.space}
        engine = {"engine": self.hef.engine} if self.hef is not None and self.hef.engine != "eager" else {}
        return {"generator": self.generator, "landmarks": landmarks, **clip, **engine, "device": str(self.device)}

    def _framing(self, subject: Subject, settings: Settings) -> CropFraming | FullFraming:
        if settings.framing == "crop":
            return CropFraming(subject.fit, settings.size, self.device)
        return FullFraming(subject.fit, self.device)

    @torch.inference_mode()
    def _frames(
        self,
        subject: Subject,
        drive: Drive,
        settings: Settings,
        framing: CropFraming | FullFraming,
        watch: Stopwatch,
        first: int = 0,
        also: Collection[int] = (),
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Frames with their numbers, from `first` on and those in `also`, with a few neighbours.

        All motion is made from the beginning, which is cheap, so that every frame is the same wherever one starts.
        """
        stamp = label.Label(settings.label, framing.size) if settings.label else None
        at = 0
        rows = self._driven(drive, settings, settings.fps, watch)
        while chunk := list(itertools.islice(rows, BATCH[self.device.type])):
            numbers = range(at, at + len(chunk))
            at = numbers.stop
            if at <= first and not any(number in also for number in numbers):
                continue
            beta, sigma, pose = torch.stack(chunk).split([N_EXPRESSION, self.eac.dims.width, 6], 1)
            with watch("geometry"):
                geometry = subject.motion.frame(beta, pose)
            with watch("generator"):
                if self.hef is None:
                    crops = geometry.composite()
                else:
                    crops = self.hef(subject.source, geometry, beta, pose, sigma, framing.half)
            with watch("framing"):
                images = framing(crops, geometry)
                if stamp is not None:
                    images = stamp(images)
            yield from zip(numbers, images)

    def _driven(self, drive: Drive, settings: Settings, fps: float, watch: Stopwatch) -> Iterator[Tensor]:
        """All motion, one row a frame at `fps`: β [64] with eyes and blinks, σ̂ [192], head pose [6]."""
        total = frame_count(drive.seconds, fps)
        living = life.Life(fps, settings.blink, settings.seed, settings.pose != "still")
        head = drive.head.swing(fps, total) if drive.head is not None else None
        if drive.take is not None:
            rows, blinks = drive.take.rows(fps, total), drive.take.blinks
            style = self._plain_style()
        else:
            felt = drive.emotion.during(settings.intensity, drive.seconds)
            rows = resample(self._motion(drive.recording, felt, watch), fps, total)
        while chunk := list(itertools.islice(rows, BATCH[self.device.type])):
            chunk = torch.stack(chunk).to(self.device)
            if drive.take is None:
                beta, sigma, heard = chunk.split([N_EXPRESSION, self.eac.dims.width, 3], 1)
                heard = heard.cpu().numpy()
                signs = living.step(heard[:, 0], heard[:, 1:])
                closure, gaze, pose = signs.closure, signs.gaze, torch.from_numpy(signs.pose).to(beta)
                beta = beta * torch.from_numpy(life.vigour(signs)).to(beta)
            else:
                beta, pose = chunk.split([N_EXPRESSION, 6], 1)
                sigma = style.expand(len(beta), -1)
                signs = living.step(np.zeros(len(beta)))
                closure, gaze = (0 * signs.closure, 0 * signs.gaze) if blinks else (signs.closure, signs.gaze)
                if settings.pose == "still":
                    pose = torch.zeros_like(pose)
            if head is not None:
                pose = torch.stack(list(itertools.islice(head, len(beta)))).to(beta)
            beta = beta + torch.from_numpy(life.eyes(closure, gaze, signs.brow)).to(beta)
            yield from torch.cat([beta, sigma, pose], 1)

    def _plain_style(self) -> Tensor:
        """σ̂ [1,192] of a silent neutral face, where motion does not come from EAC."""
        z = self.ame.text(["neutral"])[0]
        return self.eac.predict(log_mel(np.zeros(SAMPLE_RATE, np.float32)), z, 1.0, -100.0)[1][:1]

    def _motion(self, recording: Recording, felt: Emotion, watch: Stopwatch) -> Iterator[Tensor]:
        """One row a frame at 25 frames/s: β [64], σ̂ [192], loudness [1], melody [2]."""
        heard: list[Tensor] = []  # of what EAC has read but not yet answered

        def mels() -> Iterator[Tensor]:
            for mel in recording.mels():
                heard.append(torch.cat([loudness(mel, recording.level)[:, None], pitch(mel)], 1).to(self.device))
                yield mel

        blocks = self.eac.stream(mels(), felt.z, felt.mu, recording.level, times=felt.times)
        while True:
            with watch("motion"):
                block = next(blocks, None)
            if block is None:
                return
            beta, sigma = block
            voice = torch.cat(heard)
            heard[:] = [voice[len(beta) :]]
            yield from torch.cat([beta, sigma, voice[: len(beta)]], 1)


def resample(rows: Iterable[Tensor], fps: float, total: int) -> Iterator[Tensor]:
    """Rows at 25 per second -> `total` rows at `fps`, linear between the middles of the frames."""
    source = iter(rows)
    before = after = next(source)
    at = 0  # the index of `after`
    for k in range(total):
        position = (k + 0.5) * FPS / fps - 0.5
        while at < position and (row := next(source, None)) is not None:
            before, after, at = after, row, at + 1
        yield torch.lerp(before, after, float(np.clip(position - at + 1, 0, 1)))


def frame_count(seconds: float, fps: float) -> int:
    """Frames that cover `seconds`."""
    return max(1, math.ceil(round(seconds * fps, 6)))


def find_device(name: str) -> torch.device:
    """auto | cpu | cuda[:N] | mps -> a device that is present. Raises UsageError."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    if not re.fullmatch(r"cpu|mps|cuda(:\d+)?", name):
        raise UsageError(f"--device {name} is unknown; choose auto, cpu, cuda or mps.")
    device = torch.device(name)
    present = {
        "cpu": True,
        "mps": torch.backends.mps.is_available(),
        "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
    }
    if not present[device.type]:
        raise UsageError(f"--device {name} is not available on this machine; choose auto or cpu.")
    return device


def _settings(settings: Settings | None, options: dict) -> Settings:
    chosen = dataclasses.replace(settings or Settings(), **options)
    chosen.check()
    return dataclasses.replace(chosen, intensity=parse_intensity(chosen.intensity))


def _spelt(intensity: float | tuple[float, float]) -> str:
    return "-".join(f"{value:g}" for value in (intensity if isinstance(intensity, tuple) else (intensity,)))


def _within(name: str, value: float, limits: tuple[float, float]) -> None:
    if not limits[0] <= value <= limits[1]:  # also refuses NaN
        raise UsageError(f"--{name} {value} is outside {limits[0]:g}..{limits[1]:g}; choose a value between them.")


def _among(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UsageError(f"--{name} {value} is unknown; choose {' or '.join(choices)}.")


def _notes(drive: Drive, nearest: Mapping[str, float]) -> list[str]:
    """What the user should know of what drives the face."""
    notes = []
    if next(iter(nearest), "") == "unrelated":
        notes.append(f"'{drive.emotion.label}' names no emotion that EmoTalk knows; the face stays near neutral.")
    if any(take is not None and take.limited for take in (drive.take, drive.head)):
        notes.append("The recorded head turns further than a single picture can follow; it is held there.")
    return notes


def _write(
    frames: Iterable[tuple[int, np.ndarray]],
    writer: Writer,
    sheet: ContactSheet | None,
    total: int,
    watch: Stopwatch,
    report: Progress,
) -> None:
    """Frames, numbered, into the video from `writer.done` on, and into the contact sheet."""
    report("frames", writer.done, total)
    try:
        for number, frame in frames:
            if number >= writer.done:
                with watch("encoding"):
                    writer.write(frame)
                report("frames", number + 1, total)
            if sheet is not None:
                sheet.add(number, frame)
    except BaseException:
        if writer.kept:
            report("kept", writer.kept, total)
        raise


@dataclasses.dataclass
class _Outputs:
    """The files that `generate` is to write; None: not wanted."""

    video: Path
    preview: Path | None
    sidecar: Path | None
    blendshapes: Path | None

    @classmethod
    def plan(
        cls,
        out: str | os.PathLike,
        preview: str | os.PathLike | None,
        blendshapes: str | os.PathLike | None,
        sidecar: bool,
        overwrite: bool,
        inputs: list[str | os.PathLike],
    ) -> _Outputs:
        """Raises UsageError if one cannot be written, or is an input or another output."""
        taken = [*inputs]

        def checked(name: str | os.PathLike | None, suffixes: tuple[str, ...] = SUFFIXES) -> Path | None:
            if name is None:
                return None
            path = check_output(name, overwrite, suffixes)
            if any(path == Path(os.path.realpath(other)) for other in taken):
                raise UsageError(f"{name} is also an input or another output; choose a different name.")
            taken.append(path)
            return path

        video = checked(out)
        return cls(
            video,
            checked(preview, (".png",)),
            checked(provenance.sidecar_path(video) if sidecar else None, (".json",)),
            checked(blendshapes, exchange.SUFFIXES),
        )
