"""The library: models are loaded once, and make videos of portraits, speech and emotions."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import os
import time
from collections import OrderedDict
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Union

import numpy as np
import torch
from torch import Tensor

from .animate import Animator, FilmShot, Performance, Portrait, Shot, Stopwatch, frame_count, notes_on
from .constants import CROP_SIZE, FPS, MAX_SECONDS, SAMPLE_RATE
from .emotions import atlas
from .emotions.emotion import Emotion
from .emotions.prototypes import intensity_gain
from .emotions.reader import EmotionReader
from .errors import InputError, SilentError, UsageError
from .face.fit import cut, fit_portrait
from .face.geometry import FaceMotion
from .face.model import FaceModel
from .face.tracker import TURNS, FaceTracker, Tracker
from .face.tracker import Face as Found
from .film import Film
from .live import Chunk, Incoming, asynchronous
from .media import image, provenance
from .media.audio import Recording, level, log_mel, relative, syllables
from .media.background import Backdrop, cover_of
from .media.ffmpeg import MAX_FILM_SECONDS, read_frames
from .media.files import check_input, sha256
from .media.formats import is_film
from .media.framing import CropFraming, FullFraming
from .media.samples import MIXED_RATE, Audio, SoundFile, together
from .models.checkpoints import index, weights_dir
from .models.eac import EAC
from .models.emotion_space import AME
from .models.hef import HEF
from .models.loading import enough_memory, load_models
from .models.matte import MatteNet, own_colours
from .models.memory import give_back_freed
from .models.text_tower import SPACE
from .models.vad import VAD
from .motion import life, livelink
from .motion.take import Take, filmed
from .outputs import OutputFiles, default_name, write_video
from .settings import (
    AS_RECORDED,
    AS_SPOKEN,
    FILES_OR_WORDS,
    POSES,
    TAKE_SUFFIXES,
    GenerateOptions,
    Outputs,
    Progress,
    Result,
    Settings,
    SettingsOptions,
    choose,
    names_file,
    parse_intensity,
)

if TYPE_CHECKING:
    from PIL.Image import Image
    from typing_extensions import Unpack

FilePath = Union[str, "os.PathLike[str]"]
Face = Union[Portrait, Film, FilePath, np.ndarray, "Image"]  # see `EmoTalk.portrait`

TURNED_FAR = 35  # degrees away from the camera
EYES_SHUT = 0.1  # distance of the lids in widths of an eye
MIN_FACE = 48  # px, longer side of the landmarks' box in the picture (at most image.MAX_SIDE px large)
_KEPT = 4  # prepared portraits that stay in memory


class EmoTalk:
    """The loaded models. One load serves any number of portraits, recordings and emotions.

    talker = EmoTalk.load()
    portrait = talker.portrait("face.jpg")
    talker.generate(portrait, "speech.wav", "sadly surprised", out="video.mp4")

    One thread at a time may use it. For the whole process, importing it sets OMP_WAIT_POLICY=PASSIVE unless it is set,
    and loading it tells glibc to keep freed memory.
    """

    def __init__(
        self,
        face_model: FaceModel,
        tracker: Tracker,
        ame: AME,
        vad: VAD,
        eac: EAC,
        hef: HEF | None,
        device: torch.device,
        weights: dict[str, str],
        landmarks: str = "builtin",
        renderer: str = "builtin",
        folder: FilePath | None = None,
    ) -> None:
        """face_model: on the CPU, where portraits are fitted; the others: on `device`.

        hef: None animates by geometry alone. weights: file name -> SHA-256; landmarks, renderer: their names; all for
        the record. folder: of weights that are loaded when they are needed; None: the shipped ones.
        """
        self.face_model, self.tracker, self.ame = face_model, tracker, ame
        self.vad, self.eac, self.hef = vad, eac, hef
        self.moving_model = face_model if device.type == "cpu" else copy.deepcopy(face_model).to(device)
        self.animator = Animator(ame, vad, eac, hef, device)
        self.device, self.weights, self.landmarks, self.renderer = device, weights, landmarks, renderer
        self._portraits: OrderedDict[str, Portrait] = OrderedDict()
        self._emotions = EmotionReader(ame, tracker)
        self._folder = folder
        self._matte: MatteNet | None = None

    @classmethod
    def load(
        cls,
        weights: FilePath | None = None,
        device: str | torch.device = "auto",
        generator: str = "hef",
        landmarks: str = "builtin",
        clip: str | None = None,
        engine: str = "eager",
        renderer: str = "builtin",
    ) -> EmoTalk:
        """Load the shipped weights (or those in the folder `weights`, or in $EMOTALK_WEIGHTS).

        device: auto | cpu | cuda[:N] | mps. generator: hef (neural) | geometry (warp and shading, faster).
        landmarks: builtin | face-alignment. clip: an upstream open_clip model NAME[/PRETRAINED] in place of the
        shipped towers, for which EAC must have been trained. engine: eager | compile | graphs, how HEF is run (see
        `models.acceleration`). renderer: builtin | pytorch3d, for the whole process. Raises UsageError and
        WeightsError.
        """
        return cls(*load_models(weights, device, generator, landmarks, clip, engine, renderer))

    @property
    def generator(self) -> str:
        """hef or geometry."""
        return "hef" if self.hef is not None else "geometry"

    def portrait(
        self,
        face: FilePath | np.ndarray | Image,
        index: int | None = None,
        at: tuple[float, float] | None = None,
    ) -> Portrait:
        """Read a picture, find its largest face and prepare it; the last few are kept.

        index: of several faces, from the left, from 0. at: or the one at x, y px, or parts (0..1) of the picture.
        face: a file, one of Pillow's pictures, or an array [H,W], [H,W,3] or [H,W,4], uint8 or 0..1, RGB.
        Raises InputError if it is no readable picture or shows no face of at least MIN_FACE px there.
        """
        pixels = None
        if isinstance(face, str | os.PathLike):
            name, path = str(face), check_input(face, "picture")
            key = sha256(path)
        else:
            name, path, pixels = "picture", None, image.from_memory(face, alpha=True)
            key = hashlib.sha256(pixels.tobytes() + str(pixels.shape).encode()).hexdigest()
        digest, key = key, f"{key} {index} {at}"
        if key not in self._portraits:
            self._portraits[key] = self._prepare(
                name, digest, image.load(name, alpha=True) if pixels is None else pixels, index, at
            )
            while len(self._portraits) > _KEPT:
                self._portraits.popitem(last=False)
            give_back_freed()
        self._portraits.move_to_end(key)
        return dataclasses.replace(self._portraits[key], name=name, path=path)

    def film(self, face: FilePath, index: int | None = None, at: tuple[float, float] | None = None) -> Film:
        """A film whose largest face is to speak: its head, eyes and background stay (see `film`).

        index, at: as of `portrait`, in the first frame of each of its shots.

        Raises InputError if it is no readable film or shows no face of at least MIN_FACE px at its beginning.
        """
        path = check_input(face, "video")
        how = self.tracker, self.face_model, self.moving_model, self.device
        options: dict[str, int | str] = {} if index is None else {"face_index": index}
        options |= {} if at is None else {"face_at": f"{at[0]:g},{at[1]:g}"}

        def choose(faces: Sequence[Found], size: tuple[int, int]) -> Found:
            return chosen(faces, size, None if index is None else min(index, len(faces) - 1), at, str(path))

        return Film(path, sha256(path), *how, choose, MIN_FACE, options)

    @staticmethod
    def length(portrait: Portrait | Film, performance: Performance, settings: Settings) -> int:
        """Frames of a video; one with a film ends with that, unless it goes on."""
        whole = frame_count(performance.seconds, settings.fps)
        if isinstance(portrait, Portrait) or settings.loop or settings.freeze:
            return whole
        length = portrait.lasts(settings.fps, whole)
        if length < whole - 0.1 * settings.fps:
            portrait.ends = (
                f"The film lasts {length / settings.fps:.1f} s, the speech {performance.seconds:.1f} s; the video ends "
                "with the film (--loop and --freeze go on)."
            )
        return length

    @torch.inference_mode()
    def _prepare(
        self, name: str, digest: str, pixels: np.ndarray, index: int | None, at: tuple[float, float] | None
    ) -> Portrait:
        pixels, alpha = image.split(pixels)
        turns, faces = self.tracker.upright(pixels)
        if not faces:
            raise InputError(f"{name} shows no face that can be found; give a picture of one face seen from the front.")
        pixels = np.ascontiguousarray(np.rot90(pixels, turns))
        face = chosen(faces, pixels.shape[1::-1], index, at, name)
        box = face.box
        side = max(box[2] - box[0], box[3] - box[1])
        if side < MIN_FACE:
            raise InputError(f"{name} shows a face of only {side:.0f} px; at least {MIN_FACE} px are needed.")
        notes = [f"The picture lies {TURNS[turns]}; it was turned upright."] if turns else []
        options: dict[str, int | str] = {} if index is None else {"face_index": index}
        options |= {} if at is None else {"face_at": f"{at[0]:g},{at[1]:g}"}
        if len(faces) > 1 and not options:
            notes.append(f"{len(faces)} faces found; the largest is animated (--face-index, --face-at).")
        if face.score < FaceTracker.threshold:
            notes.append("The face is hard to make out; a larger or clearer picture would move better.")
        if face.turn > TURNED_FAR:
            notes.append(f"The head is turned by {face.turn:.0f}°; beyond {TURNED_FAR}° its far side is a guess.")
        if face.eyes_open < EYES_SHUT:
            notes.append("The eyes are shut in the picture; they stay nearly shut.")
        fit = fit_portrait(self.face_model, pixels, face.landmarks, face.blendshapes)
        motion = FaceMotion(self.moving_model, fit, self.device)
        source = self.hef.source(fit) if self.hef is not None else None
        alpha = np.ascontiguousarray(np.rot90(alpha, turns)) if alpha is not None else None
        return Portrait(name, fit, motion, source, notes, digest, None, alpha, options)

    @torch.inference_mode()
    def cut_out(self, portrait: Portrait) -> Portrait:
        """The portrait with a matte that says what of it is the person: its picture's own transparency, or the net's.

        Behind the person its picture then goes on in the person's colours. Raises WeightsError.
        """
        if portrait.cover is not None:
            return portrait
        fit, cover = portrait.fit, portrait.alpha
        if cover is None:
            left, top = fit.to_source[:, 2]
            side = float(fit.to_source[0, 0]) * CROP_SIZE
            cover = self.matte.cover(fit.source, (left - 0.1 * side, top - 0.15 * side, 1.2 * side))
        source = own_colours(fit.source, cover)
        pixels = torch.tensor(cut(source, (*fit.to_source[:, 2], fit.to_source[0, 0] * CROP_SIZE)))
        clean = dataclasses.replace(fit, source=source, image=pixels.permute(2, 0, 1).float() / 255)
        motion = FaceMotion(self.moving_model, clean, self.device)
        features = self.hef.source(clean) if self.hef is not None else None
        return dataclasses.replace(portrait, fit=clean, motion=motion, source=features, cover=cover_of(fit, cover))

    @property
    def matte(self) -> MatteNet:
        """The network that tells people from backgrounds, loaded when it is first needed. Raises WeightsError."""
        if self._matte is None:
            self._matte = MatteNet.load(self._folder)
            self.weights |= {
                name: digest for name, digest in index(weights_dir(self._folder)).items() if "matte" in name
            }
        return self._matte

    @torch.inference_mode()
    def emotion(
        self,
        text: str | None = None,
        *,
        image: FilePath | None = None,
        audio: FilePath | None = None,
        video: FilePath | None = None,
        file: FilePath | None = None,
        timeline: FilePath | None = None,
    ) -> Emotion:
        """What the face is to feel, from exactly one of these.

        text: words, or a blend such as "happy:0.5+surprised:0.5". image: a picture of a face. audio: a recording
        of a voice. video: a film of a face, whose emotion is followed over time. file: what `Emotion.save` wrote.
        timeline: CSV or JSON (see `emotions.timeline`).
        Raises UsageError, InputError, and WeightsError if the tower that it takes is not among the weights.
        """
        return self._emotions.read(text=text, image=image, audio=audio, video=video, file=file, timeline=timeline)

    def nearest(self, emotion: Emotion) -> dict[str, float]:
        """Known emotions most like it -> similarity 0..1, best first; of several keyframes, each one's first."""
        if len(emotion.z) == 1:
            return dict(self.ame.nearest(emotion.z[0].to(self.device)))
        return dict(self.ame.nearest(z, 1)[0] for z in emotion.z.to(self.device))

    @torch.inference_mode()
    def behaviour(self, emotion: str | Emotion, intensity: float = 3.0) -> Tensor:
        """[`atlas.WIDTH`] what a face, a head and eyes do that feel `emotion` (of a timeline, its beginning).

        Zero but for an emotion space that has a `Behaviour`.
        """
        felt = self.emotion(emotion) if isinstance(emotion, str) else emotion
        given = dataclasses.replace(felt, mu=torch.full_like(felt.mu, _single(intensity)))
        return self.animator.manner(given, given.times[:1])[0]

    @torch.inference_mode()
    def expression(
        self, emotion: str | Emotion, intensity: float = 2.0, speaking: bool = False
    ) -> tuple[Tensor, Tensor]:
        """β [64] and σ̂ [width] of a face that feels `emotion` (of a timeline, its beginning), silent or saying "ma"."""
        felt = self.emotion(emotion) if isinstance(emotion, str) else emotion
        wave = syllables() if speaking else np.zeros(SAMPLE_RATE, np.float32)
        beta, sigma = self.eac.predict(relative(log_mel(wave), level(wave)), felt.z[0], _single(intensity))
        open_mouth = round(0.5 * FPS)
        gaze = life.posture(self.behaviour(felt, intensity).numpy())[1]
        looking = torch.from_numpy(life.eyes(np.zeros(1), gaze[None])[0])
        return beta[open_mouth] + looking.to(beta), sigma[open_mouth]

    @torch.inference_mode()
    def still(self, face: Face, emotion: str | Emotion | None, intensity: float = 2.0) -> np.ndarray:
        """One picture of the face saying "ma" with an emotion, uint8 [512,512,3]; the portrait itself for None."""
        portrait = self._portrait(face)
        if emotion is None:
            picture = portrait.fit.image
            return (picture.permute(1, 2, 0).clamp(0, 1) * 255).round().byte().cpu().numpy()
        beta, sigma = self.expression(emotion, intensity, speaking=True)
        return self._picture(portrait, beta, sigma, life.posture(self.behaviour(emotion, intensity).numpy())[0])

    @torch.inference_mode()
    def state(self, face: Face, name: str, intensity: float = 3.0) -> np.ndarray:
        """One picture of the silent face in a state of the atlas, as it is written there, uint8 [512,512,3].

        Raises UsageError for an unknown state.
        """
        portrait = self._portrait(face)
        if name not in atlas.states():
            raise UsageError(f"The atlas has no state {name!r}; emotalk emotion atlas lists them.")
        state, gain = atlas.states()[name], intensity_gain(_single(intensity))
        pose, gaze = life.posture((state.behaviour * gain).numpy())
        beta = state.beta * gain + torch.from_numpy(life.eyes(np.zeros(1), gaze[None])[0])
        return self._picture(portrait, beta, self.animator.plain_style()[0], pose)

    def _picture(self, portrait: Portrait, beta: Tensor, sigma: Tensor, pose: np.ndarray) -> np.ndarray:
        """The frame of β [64], σ̂ [width] and a head pose [6]."""
        beta, sigma, turned = (part[None].to(self.device) for part in (beta, sigma, torch.from_numpy(pose)))
        geometry = portrait.motion.frame(beta, turned)
        crops = geometry.composite() if self.hef is None else self.hef(portrait.source, geometry, beta, turned, sigma)
        return next(iter(CropFraming(portrait.fit, CROP_SIZE, self.device)(crops, geometry)))

    def frames(
        self,
        face: Face,
        audio: Audio | None,
        emotion: str | Emotion | None = None,
        settings: Settings | None = None,
        *,
        motion: FilePath | None = None,
        **options: Unpack[SettingsOptions],
    ) -> Iterator[np.ndarray]:
        """The video's frames, uint8 [H,W,3], made while they are asked for; with a transparent background [H,W,4].

        emotion: a text, what `emotion` made, or None for the emotion of the speech itself. audio, motion: see
        `performance`. options: any field of `Settings`. Input is checked at once: raises InputError and UsageError.
        """
        shot = self._shot(face, audio, emotion, motion, choose(settings, None, options)[0])
        return (frame for _, frame in self.animator.frames(shot, Stopwatch()))

    def stream(
        self,
        face: Face,
        chunks: Iterable[Chunk],
        emotion: str | Emotion,
        settings: Settings | None = None,
        **options: Unpack[SettingsOptions],
    ) -> Iterator[np.ndarray]:
        """Frames, uint8 [H,W,3], for speech that is coming in, as soon as what they depend on has arrived.

        chunks: 16 kHz mono sound as `live.samples` takes it; None stands for 40 ms in which nothing was said: the face
        goes on living. The first frame answers the first 40 ms, and so on: with the last chunk all frames have come.
        emotion: a text, or what `emotion` made. options: any field of `Settings`, but one intensity and no video to
        lend its pose. Raises InputError and UsageError.
        """
        settings = choose(settings, None, options)[0]
        if isinstance(settings.intensity, tuple):
            raise UsageError("--intensity is a range, and live speech has no end yet; give one number.")
        if settings.pose not in POSES:
            raise UsageError(f"--pose {settings.pose} is a video, which ends; choose {' or '.join(POSES)}.")
        felt = self.emotion(emotion) if isinstance(emotion, str) else self._emotions.own(emotion)
        portrait = self._portrait(face)
        shot = self._set(portrait, Performance(Incoming(chunks), felt), settings)
        return (frame for _, frame in self.animator.frames(shot, Stopwatch()))

    def stream_async(
        self,
        face: Face,
        chunks: AsyncIterable[Chunk],
        emotion: str | Emotion,
        settings: Settings | None = None,
        **options: Unpack[SettingsOptions],
    ) -> AsyncIterator[np.ndarray]:
        """`stream` for chunks that are waited for; works in a thread of its own."""

        def frames(arriving: Iterable[Chunk]) -> Iterator[np.ndarray]:
            return self.stream(face, arriving, emotion, settings, **options)

        return asynchronous(frames, chunks)

    @torch.inference_mode()
    def performance(
        self,
        audio: Audio | None,
        emotion: str | Emotion | None = None,
        motion: FilePath | None = None,
        pose: str = "natural",
        longest: float = MAX_SECONDS,
    ) -> Performance:
        """Read what is to move the face: speech and emotion, or recorded motion.

        audio: a file; samples [N] or [channels,N] at 16 kHz, -1..1 or int16; or (samples, rate in Hz). motion: a
        blendshape file (`livelink`), or a video whose face is followed; the sound may then be None: it is the video's,
        if it has any. pose: as in `Settings`. longest: seconds of sound or film. Raises InputError and UsageError.
        """
        if audio is None and motion is None:
            raise UsageError("--audio is missing; give a recording, or a video to --motion.")
        sound = SoundFile.of(audio) if audio is not None else None
        recording = Recording.open(sound.path, longest) if sound is not None else None
        felt = take = None
        if motion is not None:
            if emotion is not None:
                raise UsageError("--emotion and --motion exclude each other: a take carries its own expression.")
            written = Path(motion).suffix.lower() in TAKE_SUFFIXES
            take = livelink.read(motion) if written else self._filmed(motion, longest)
            if recording is None and not written:
                with suppress(SilentError):
                    sound, recording = SoundFile.of(motion), Recording.open(motion, longest)
        elif recording is not None:
            if isinstance(emotion, str):
                emotion = self.emotion(emotion)
            felt = self._emotions.spoken(recording) if emotion is None else self._emotions.own(emotion)
        if take is not None and take.seconds > longest:
            raise InputError(f"{motion} is longer than {longest:g} s; cut it into parts.")
        head = None if pose in POSES else self._filmed(pose, longest)
        return Performance(recording, felt, take, head, sound if recording is not None else None)

    def _filmed(self, video: FilePath, longest: float) -> Take:
        return filmed(
            read_frames(video, FPS, min(longest, MAX_FILM_SECONDS)), FPS, self.tracker, self.face_model, str(video)
        )

    def blendshapes(
        self,
        performance: Performance,
        rate: float,
        settings: Settings | None = None,
        **options: Unpack[SettingsOptions],
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """All motion at `rate` frames/s, blinks and head included: β [64] and pose [6] (see `Take`) of each frame."""
        return self.animator.motion(performance, choose(settings, None, options)[0], rate)

    def generate(
        self,
        face: Face,
        audio: Audio | None,
        emotion: str | Emotion | None,
        out: FilePath,
        *,
        motion: FilePath | None = None,
        also: Sequence[tuple[Portrait, Audio, str | Emotion | None]] = (),
        progress: Progress | None = None,
        settings: Settings | None = None,
        outputs: Outputs | None = None,
        **options: Unpack[GenerateOptions],
    ) -> Result:
        """Make the video `out` (see `media.formats`; or a folder for a name made from the inputs'), and its sidecar.

        emotion: as in `frames`. audio, motion: see `performance`. options: fields of `Settings` and `Outputs`.
        also: more speakers of the same picture, each with their speech and emotion; all are heard, and there is no
        sidecar. progress is called with (stage, done, total). The files appear when they are complete; after an error
        or an interrupt nothing is left, but of videos longer than `segments.SECONDS` the complete pieces, in a hidden
        folder: with `resume` the same call goes on from there. Raises EmoTalkError.
        """
        begin, watch = time.perf_counter(), Stopwatch()
        settings, outputs = choose(settings, outputs, options)
        if also:
            settings = dataclasses.replace(settings, framing="full")
            outputs = dataclasses.replace(outputs, sidecar=False)
        report = progress or (lambda stage, done, total: None)
        looks = {name: getattr(settings, name) for name in FILES_OR_WORDS}
        looks = {name: value for name, value in looks.items() if names_file(name, value)}
        inputs = [path for path in (face, audio, motion, *looks.values()) if isinstance(path, str | os.PathLike)]
        inputs += [emotion.label] if isinstance(emotion, Emotion) else []  # may be the name of a file
        files = OutputFiles.plan(
            _target(out, face, motion if audio is None else audio, emotion, motion is not None, settings),
            *(outputs, inputs, settings.codec, settings.alpha),
        )
        named = [path for path in (audio, motion, *looks.values()) if isinstance(path, str | os.PathLike)]
        hashes = {Path(path): sha256(path) for path in named if os.path.isfile(path)}  # before they are read
        shot: Shot | FilmShot
        if also:
            shot = self._together([(face, audio, emotion), *also], settings, outputs.max_seconds)
        else:
            shot = self._shot(face, audio, emotion, motion, settings, watch, report, outputs.max_seconds)
        portrait, performance = shot.portrait, shot.performance
        felt, sound = performance.emotion, performance.sound
        with watch("emotion"):
            nearest = self.nearest(felt) if felt is not None else {}
        record = provenance.Record(
            files.video,
            _recorded(portrait, performance, {"motion": motion, **looks}, hashes),
            {
                **(felt.options() if felt else {}),
                **(sound.options if sound is not None else {}),
                **portrait.options,
                **dataclasses.asdict(settings),
                **self._models(),
            },
            self.weights,
            str(self.device),
            {"frames": shot.total, "seconds": shot.total / settings.fps, "size": shot.size},
            outputs.signer,
        )
        with enough_memory(self.device):
            write_video(self.animator, shot, files, outputs, record, watch, report)
        return Result(
            out=files.video,
            **{"sha256": "", "unsigned_sha256": "", **record.video},
            sidecar=files.sidecar,
            preview=files.preview,
            blendshapes=files.blendshapes,
            motion=str(motion) if motion is not None else None,
            face=portrait.name,
            audio=sound.name if sound is not None else None,
            emotion=felt.label if felt is not None else None,
            nearest=nearest,
            settings=settings,
            generator=self.generator,
            device=str(self.device),
            inputs={name: digest for name, (_, digest) in record.inputs.items()},
            elapsed=time.perf_counter() - begin,
            stages=watch.stages,
            weights=self.weights,
            notes=portrait.notes
            + (portrait.notes_after() if isinstance(portrait, Film) else [])
            + notes_on(performance, nearest)
            + files.notes(sound is not None),
        )

    def _shot(
        self,
        face: Face,
        audio: Audio | None,
        emotion: str | Emotion | None,
        motion: FilePath | None,
        settings: Settings,
        watch: Stopwatch | None = None,
        report: Progress = lambda stage, done, total: None,
        longest: float = MAX_SECONDS,
    ) -> Shot | FilmShot:
        watch = watch or Stopwatch()
        report("portrait", 0, 1)
        with watch("portrait"):
            if isinstance(face, str | os.PathLike) and is_film(face):
                face = self.film(face)
            who = face if isinstance(face, Film) else self._portrait(face)
        report("portrait", 1, 1)
        report("sound", 0, 1)
        with watch("sound"):
            performance = self.performance(audio, emotion, motion, settings.pose, longest)
        report("sound", 1, 1)
        return (
            self._film_shot(who, performance, settings)
            if isinstance(who, Film)
            else self._set(who, performance, settings)
        )

    def _portrait(self, face: Face) -> Portrait:
        """A picture's; a film is refused."""
        if isinstance(face, Film) or is_film(face):
            raise UsageError("A film as --face works for whole videos only; give a picture here.")
        return face if isinstance(face, Portrait) else self.portrait(face)

    def _together(
        self, parts: Sequence[tuple[Face, Audio | None, str | Emotion | None]], settings: Settings, longest: float
    ) -> Shot:
        """Several speakers in one picture: all recordings begin at once and last as long as the longest."""
        if settings.background != "keep" or settings.pose not in POSES:
            raise UsageError("Several speakers keep their background, and no film lends them its pose.")
        if any(audio is None for _, audio, _ in parts):
            raise UsageError("Several speakers need speech each; give --audio or --text for each of them.")
        sounds = [SoundFile.of(audio) for _, audio, _ in parts if audio is not None]
        mixed, alone = together([sound.path for sound in sounds], longest)
        shots = []
        for (face, _, emotion), wave in zip(parts, alone, strict=True):
            performance = self.performance((wave, MIXED_RATE), emotion, longest=longest)
            shots.append(self._set(self._portrait(face), performance, settings))
        first = shots[0]
        pictures = [shot.framing.still for shot in shots if isinstance(shot.framing, FullFraming)]
        if len(pictures) < len(shots) or any(not np.array_equal(picture, pictures[0]) for picture in pictures):
            raise UsageError("Several speakers have to be in one picture; choose them by --face-index or --face-at.")
        heard = SoundFile.of((mixed, MIXED_RATE))
        kept = heard.held, first.performance.sound  # whose file is still read
        heard = dataclasses.replace(heard, name=" + ".join(sound.name for sound in sounds), held=kept)
        performance = dataclasses.replace(first.performance, sound=heard)
        return dataclasses.replace(first, performance=performance, others=tuple(shots[1:]))

    def _set(self, portrait: Portrait, performance: Performance, settings: Settings) -> Shot:
        """A portrait in its frame, before its background."""
        backdrop = None
        if settings.background != "keep":
            portrait = self.cut_out(portrait)
            assert portrait.cover is not None
            backdrop = Backdrop(portrait.cover, settings, self.device)
        return Shot(portrait, performance, settings, self._framing(portrait, settings), backdrop)

    def _film_shot(self, film: Film, performance: Performance, settings: Settings) -> FilmShot:
        if settings.background != "keep":
            raise UsageError("--background works with a picture; a film as --face keeps its own.")
        total = self.length(film, performance, settings)
        return FilmShot(film, performance, settings, total, not (settings.loop or settings.freeze))

    def _framing(self, portrait: Portrait, settings: Settings) -> CropFraming | FullFraming:
        if settings.framing == "crop":
            return CropFraming(portrait.fit, settings.size, self.device)
        return FullFraming(portrait.fit, self.device)

    def _models(self) -> dict[str, str]:
        """The options of `emotalk generate` that chose the models."""
        clip = {"clip": self.ame.space} if self.ame.space != SPACE else {}
        engine = {"engine": self.hef.engine} if self.hef is not None and self.hef.engine != "eager" else {}
        drawn = {"renderer": self.renderer} if self.renderer != "builtin" else {}
        about = {"generator": self.generator, "landmarks": self.landmarks, **clip, **engine, **drawn}
        return {**about, "device": str(self.device)}


def chosen(
    faces: Sequence[Found],
    size: tuple[int, int],
    index: int | None = None,
    at: tuple[float, float] | None = None,
    name: str = "The picture",
) -> Found:
    """One of the faces of a picture of `size` (width, height), the largest first: see `EmoTalk.portrait`.

    Raises InputError where there are fewer, or none is at that place.
    """
    if index is not None:
        if index >= len(faces):
            raise InputError(f"{name} shows {len(faces)} faces; choose --face-index from 0 to {len(faces) - 1}.")
        return sorted(faces, key=lambda face: face.box[0] + face.box[2])[index]
    if at is None:
        return faces[0]
    x, y = (a * side if max(at) <= 1 else a for a, side in zip(at, size, strict=True))

    def away(face: Found) -> float:
        left, top, right, bottom = face.box
        return max(left - x, x - right, top - y, y - bottom) / (right - left)

    nearest = min(faces, key=away)
    if away(nearest) > 0.5:
        raise InputError(f"{name} shows no face at --face-at {at[0]:g},{at[1]:g}; give a place on a face.")
    return nearest


def _target(
    out: FilePath,
    face: Face,
    sound: Audio | None,
    emotion: str | Emotion | None,
    recorded: bool,
    settings: Settings,
) -> Path:
    """`out`, or in that folder a name made from the inputs'."""
    if not Path(out).is_dir():
        return Path(out)
    source = face.path if isinstance(face, Portrait | Film) else face
    shown = Path(source) if isinstance(source, str | os.PathLike) else Path("portrait")
    heard = Path(sound) if isinstance(sound, str | os.PathLike) else Path("speech")
    if isinstance(emotion, Emotion):
        felt = emotion.label if emotion.origin is None or emotion.origin[0] == "text" else Path(emotion.label).stem
    else:
        felt = emotion if emotion is not None else AS_RECORDED if recorded else AS_SPOKEN
    return Path(out) / default_name(shown, heard, felt, settings.codec, settings.alpha)


def _recorded(
    portrait: Portrait | Film, performance: Performance, given: dict[str, FilePath | None], hashes: dict[Path, str]
) -> dict[str, tuple[Path | None, str]]:
    """Option -> file (None for what lay in memory) and SHA-256, for the record. hashes: of files, if known."""
    sound, felt = performance.sound, performance.emotion
    files = {name: Path(path) for name, path in given.items() if path is not None}
    hashed: dict[str, tuple[Path | None, str]] = {
        name: (path, hashes.get(path) or sha256(path)) for name, path in files.items()
    }
    spoken: dict[str, tuple[Path | None, str]] = {}
    if sound is not None and not sound.options:
        digest = hashes.get(sound.path) or sha256(sound.path)
        spoken["audio"] = (None if sound.temporary else sound.path, digest)
    return {"face": (portrait.path, portrait.sha256), **spoken, **hashed, **(felt.inputs() if felt else {})}


def _single(intensity: float) -> float:
    """One intensity. Raises UsageError for a range."""
    strength = parse_intensity(intensity)
    if isinstance(strength, tuple):
        raise UsageError(f"--intensity {intensity} is a range; give one number here.")
    return strength
