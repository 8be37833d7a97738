"""The whole way from portrait, speech and emotion to video; the one seam that command line and library share."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import hashlib
import os
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .animate import BATCH, Animator, Performance, Portrait, Stopwatch, frame_count, notes_on
from .emotions.emotion import Emotion
from .emotions.timeline import read_timeline
from .errors import InputError, UsageError, WeightsError
from .face.fit import CROP_SIZE, fit_portrait
from .face.geometry import FaceMotion
from .face.model import N_EXPRESSION, FaceModel
from .face.tracker import FaceTracker
from .media import image, provenance, segments
from .media.audio import FPS, SAMPLE_RATE, Recording, level, log_mel, syllables
from .media.ffmpeg import read_frames
from .media.files import PartFile, check_input, sha256
from .media.framing import CropFraming, FullFraming
from .media.preview import ContactSheet
from .media.video import VideoWriter
from .models import checkpoints, upstream
from .models.acceleration import check as check_engine
from .models.acceleration import find_device
from .models.eac import EAC
from .models.emotion_space import AME
from .models.hef import HEF
from .models.memory import keep_freed
from .models.text_tower import SPACE
from .motion import livelink
from .motion.take import Take, filmed
from .outputs import Outputs, write_frames
from .settings import (
    AS_SPOKEN,
    GENERATORS,
    LANDMARKS,
    POSES,
    Progress,
    Result,
    Settings,
    among,
    chosen,
    one_of,
    parse_intensity,
    spelt,
)

MIN_FACE = 48  # px, longer side of the landmarks' box in the picture (at most image.MAX_SIDE px large)
_KEPT, _KEPT_EMOTIONS = 4, 64  # prepared portraits, and emotions, that stay in memory
_EMOTION_FILES = {"image": "picture", "audio": "audio file", "file": "emotion file", "timeline": "timeline"}


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
        self.animator = Animator(ame, eac, hef, device)
        self.device = device
        self.weights = weights
        self._portraits: OrderedDict[str, Portrait] = OrderedDict()
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
        among("generator", generator, GENERATORS)
        among("landmarks", landmarks, LANDMARKS)
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
            ame = (upstream.load(clip, folder) if clip else AME.load(folder)).to(place)
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

    def portrait(self, face: str | os.PathLike | np.ndarray) -> Portrait:
        """Read a picture (file, or uint8 [H,W,3]), find its largest face and prepare it; the last few are kept.

        Raises InputError if it is no readable picture or shows no face of at least MIN_FACE px.
        """
        if isinstance(face, np.ndarray):
            name, path, key = "picture", None, hashlib.sha256(face.tobytes() + str(face.shape).encode()).hexdigest()
        else:
            name, path = str(face), check_input(face, "picture")
            key = sha256(path)
        if key not in self._portraits:
            pixels = face.copy() if isinstance(face, np.ndarray) else image.load(face)
            self._portraits[key] = self._prepare(name, key, pixels)
            while len(self._portraits) > _KEPT:
                self._portraits.popitem(last=False)
        self._portraits.move_to_end(key)
        return dataclasses.replace(self._portraits[key], name=name, path=path)

    @torch.inference_mode()
    def _prepare(self, name: str, digest: str, pixels: np.ndarray) -> Portrait:
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
        return Portrait(name, fit, motion, source, notes, digest, None)

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
        self, face: Portrait | str | os.PathLike | np.ndarray, emotion: str | Emotion | None, intensity: float = 2.0
    ) -> np.ndarray:
        """One picture of the face saying "ma" with an emotion, uint8 [512,512,3]; the portrait itself for None."""
        portrait = face if isinstance(face, Portrait) else self.portrait(face)
        if emotion is None:
            picture = portrait.fit.image
            return (picture.permute(1, 2, 0).clamp(0, 1) * 255).round().byte().cpu().numpy()
        beta, sigma = (part[None].to(self.device) for part in self.expression(emotion, intensity, speaking=True))
        pose = torch.zeros(1, 6, device=self.device)
        geometry = portrait.motion.frame(beta, pose)
        crops = geometry.composite() if self.hef is None else self.hef(portrait.source, geometry, beta, pose, sigma)
        return next(iter(CropFraming(portrait.fit, CROP_SIZE, self.device)(crops, geometry)))

    def frames(
        self,
        face: Portrait | str | os.PathLike | np.ndarray,
        audio: str | os.PathLike | None,
        emotion: str | Emotion | None = None,
        settings: Settings | None = None,
        *,
        motion: str | os.PathLike | None = None,
        **options,
    ) -> Iterator[np.ndarray]:
        """The video's frames, uint8 [H,W,3], made while they are asked for.

        emotion: a text, what `emotion` made, or None for the emotion of the speech itself. motion: see `performance`.
        options: any field of `Settings`. Input is checked at once: raises InputError and UsageError.
        """
        settings = chosen(settings, options)
        portrait = face if isinstance(face, Portrait) else self.portrait(face)
        performance = self.performance(audio, emotion, motion, settings.pose)
        framing = self._framing(portrait, settings)
        return (frame for _, frame in self.animator.frames(portrait, performance, settings, framing, Stopwatch()))

    @torch.inference_mode()
    def performance(
        self,
        audio: str | os.PathLike | None,
        emotion: str | Emotion | None = None,
        motion: str | os.PathLike | None = None,
        pose: str = "natural",
    ) -> Performance:
        """Read what is to move the face: speech and emotion, or recorded motion.

        motion: a blendshape file (`livelink`), or a video whose face is followed; the sound may then be None: it is
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
            written = Path(motion).suffix.lower() in livelink.SUFFIXES
            take = livelink.read(motion) if written else self._filmed(motion)
            felt, recording = None, None
            if audio is not None:
                recording = Recording.open(audio)
            elif not written:
                with contextlib.suppress(InputError):  # a silent film
                    recording = Recording.open(motion)
        return Performance(recording, felt, take, None if pose in POSES else self._filmed(pose))

    def _filmed(self, video: str | os.PathLike) -> Take:
        return filmed(read_frames(video, FPS), FPS, self.tracker, self.face_model, str(video))

    @torch.inference_mode()
    def blendshapes(
        self, performance: Performance, fps: float, settings: Settings | None = None, **options
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """All motion at `fps`, blinks and head included: β [64] and pose [6] (see `Take`) of each frame."""
        rows = self.animator.rows(performance, chosen(settings, options), fps, Stopwatch())
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
        face: Portrait | str | os.PathLike | np.ndarray,
        audio: str | os.PathLike | None,
        emotion: str | Emotion | None,
        out: str | os.PathLike,
        *,
        motion: str | os.PathLike | None = None,
        blendshapes: str | os.PathLike | None = None,
        blendshapes_fps: float = livelink.RATES[-1],
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

        emotion: as in `frames`. motion: see `performance`. blendshapes: also write the motion to this file
        (`livelink`), at blendshapes_fps. options: fields of `Settings`. progress is called with (stage, done, total).
        The files appear when they are complete; after an error or an interrupt nothing is left, but of videos longer
        than `segments.SECONDS` the complete pieces, in a hidden folder: with `resume` the same call goes on from
        there. sidecar: also write `<out>.json`, which `emotalk generate --from` reads. signer: adds a C2PA manifest.
        Raises EmoTalkError.
        """
        begin, watch = time.perf_counter(), Stopwatch()
        settings, report = chosen(settings, options), progress or (lambda stage, done, total: None)
        inputs = [path for path in (face, audio, motion, settings.pose) if isinstance(path, str | os.PathLike)]
        inputs += [emotion.label] if isinstance(emotion, Emotion) else []  # may be the name of a file
        if blendshapes is not None and blendshapes_fps not in livelink.RATES:
            known = ", ".join(f"{rate:g}" for rate in livelink.RATES)
            raise UsageError(f"--export-fps {blendshapes_fps:g} is unknown; choose one of {known}.")
        paths = Outputs.plan(out, preview, blendshapes, sidecar, overwrite, inputs)
        report("portrait", 0, 1)
        with watch("portrait"):
            portrait = face if isinstance(face, Portrait) else self.portrait(face)
        report("portrait", 1, 1)
        report("sound", 0, 1)
        with watch("sound"):
            performance = self.performance(audio, emotion, motion, settings.pose)
        felt = performance.emotion
        shown_as = felt.public if felt is not None else "as recorded"
        with watch("emotion"):
            nearest = self.nearest(felt) if felt is not None else {}
        report("sound", 1, 1)
        if audio is None and performance.recording is not None:
            audio = motion  # the film's own sound
        framing = self._framing(portrait, settings)
        total = frame_count(performance.seconds, settings.fps)
        record = provenance.Record(
            paths.video,
            self._inputs(portrait, felt, {"audio": audio, "motion": motion, "pose": settings.pose}),
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
                    rows = self.blendshapes(performance, blendshapes_fps, settings)
                    livelink.write(file, rows, blendshapes_fps, paths.blendshapes.suffix)
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
            frames = self.animator.frames(portrait, performance, settings, framing, watch, writer.done, shown)
            write_frames(frames, writer, sheet, total, watch, report)
            if sheet is not None:
                sheet.save(part, f"{' '.join(shown_as.split())}, intensity {spelt(settings.intensity)}")
            made = time.perf_counter()
        watch.stages["encoding"] = watch.stages.get("encoding", 0.0) + time.perf_counter() - made
        return Result(
            out=paths.video,
            **record.video,
            sidecar=paths.sidecar,
            preview=paths.preview,
            blendshapes=paths.blendshapes,
            motion=str(motion) if motion is not None else None,
            face=portrait.name,
            audio=str(audio) if audio is not None else None,
            emotion=felt.label if felt is not None else None,
            nearest=nearest,
            settings=settings,
            generator=self.generator,
            device=str(self.device),
            elapsed=time.perf_counter() - begin,
            stages=watch.stages,
            weights=self.weights,
            notes=portrait.notes + notes_on(performance, nearest),
        )

    @staticmethod
    def _inputs(portrait: Portrait, felt: Emotion | None, given: dict) -> dict[str, tuple[Path | None, str]]:
        """Option -> file and SHA-256, for the record."""
        files = {name: Path(path) for name, path in given.items() if path is not None and path not in POSES}
        hashed = {name: (path, sha256(path)) for name, path in files.items()}
        return {"face": (portrait.path, portrait.sha256), **hashed, **(felt.inputs() if felt else {})}

    def _models(self) -> dict[str, str]:
        """The options of `emotalk generate` that chose the models."""
        landmarks = "builtin" if isinstance(self.tracker, FaceTracker) else "face-alignment"
        clip = {} if self.ame.space == SPACE else {"clip": self.ame.space}
        engine = {"engine": self.hef.engine} if self.hef is not None and self.hef.engine != "eager" else {}
        return {"generator": self.generator, "landmarks": landmarks, **clip, **engine, "device": str(self.device)}

    def _framing(self, portrait: Portrait, settings: Settings) -> CropFraming | FullFraming:
        if settings.framing == "crop":
            return CropFraming(portrait.fit, settings.size, self.device)
        return FullFraming(portrait.fit, self.device)
