"""The library: models are loaded once, and make videos of portraits, speech and emotions."""

from __future__ import annotations

import copy
import dataclasses
import os
import time
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from . import shots
from .animate import Animator, FilmShot, Performance, Portrait, Shot, Stopwatch, notes_on
from .constants import CROP_SIZE, FPS, MAX_SECONDS, SAMPLE_RATE
from .emotions import atlas
from .emotions.emotion import Emotion
from .emotions.prototypes import intensity_gain
from .emotions.reader import EmotionReader
from .errors import InputError, SilentError, UsageError
from .face.model import FaceModel
from .face.tracker import Tracker
from .film import Film
from .live import Chunk, Incoming, asynchronous
from .media import provenance
from .media.audio import Recording, level, log_mel, relative, syllables
from .media.ffmpeg import MAX_FILM_SECONDS, read_frames
from .media.files import sha256
from .media.formats import is_film
from .media.framing import CropFraming
from .media.samples import Audio, SoundFile
from .models.eac import EAC
from .models.emotion_space import AME
from .models.hef import HEF, generated
from .models.loading import enough_memory, load_models
from .models.text_tower import SPACE
from .models.vad import VAD
from .motion import life, livelink
from .motion.take import Take, filmed
from .outputs import OutputFiles, write_video
from .portraits import FilePath, Place, Portraits
from .settings import (
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
from .shots import Face

if TYPE_CHECKING:
    from PIL.Image import Image
    from typing_extensions import Unpack


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
        self.portraits = Portraits(face_model, self.moving_model, tracker, hef, device, folder)
        self._emotions = EmotionReader(ame, tracker)

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
        at: Place | None = None,
    ) -> Portrait:
        """Read a picture, find its largest face and prepare it; the last few are kept.

        index: of several faces, from the left, from 0. at: or the one at x, y px, or parts (0..1) of the picture.
        face: a file, one of Pillow's pictures, or an array [H,W], [H,W,3] or [H,W,4], uint8 or 0..1, RGB.
        Raises InputError if it is no readable picture or shows no face of at least MIN_FACE px there.
        """
        return self.portraits.portrait(face, index, at)

    def film(self, face: FilePath, index: int | None = None, at: Place | None = None) -> Film:
        """A film whose largest face is to speak: its head, eyes and background stay (see `film`).

        index, at: as of `portrait`, in the first frame of each of its shots.

        Raises InputError if it is no readable film or shows no face of at least MIN_FACE px at its start.
        """
        return self.portraits.film(face, index, at)

    length = staticmethod(shots.length)

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
        longest: float = MAX_SECONDS,
    ) -> Emotion:
        """What the face is to feel, from exactly one of these.

        text: words, or a blend such as "happy:0.5+surprised:0.5". image: a picture of a face. audio: a recording
        of a voice. video: a film of a face, whose emotion is followed over time. file: what `Emotion.save` wrote.
        timeline: CSV or JSON (see `emotions.timeline`). longest: seconds that a recording or a film may last.
        Raises UsageError, InputError, and WeightsError if the tower that it takes is not among the weights.
        """
        sources = {"text": text, "image": image, "audio": audio, "video": video, "file": file, "timeline": timeline}
        return self._emotions.read(longest, **sources)

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
        behaviour = self.behaviour(felt, intensity).numpy()
        face = beta[open_mouth]
        if not speaking:
            face = torch.maximum(face, torch.from_numpy(life.settled(behaviour)).to(face))
        return face + _looking(life.posture(behaviour)[1]).to(face), sigma[open_mouth]

    @torch.inference_mode()
    def still(
        self, face: Face, emotion: str | Emotion | None, intensity: float = 2.0, size: int = CROP_SIZE
    ) -> np.ndarray:
        """One picture of the face saying "ma" with an emotion, uint8 [size,size,3]; for None the portrait itself, as it
        was cut, uint8 [512,512,3]."""
        portrait = self.portrait_of(face)
        if emotion is None:
            picture = portrait.fit.image
            return (picture.permute(1, 2, 0).clamp(0, 1) * 255).round().byte().cpu().numpy()
        felt = self.emotion(emotion) if isinstance(emotion, str) else emotion
        beta, sigma = self.expression(felt, intensity, speaking=True)
        return self._picture(portrait, beta, sigma, life.posture(self.behaviour(felt, intensity).numpy())[0], size)

    @torch.inference_mode()
    def state(self, face: Face, name: str, intensity: float = 3.0) -> np.ndarray:
        """One picture of the silent face in a state of the atlas, as it is written there, uint8 [512,512,3].

        Raises UsageError for an unknown state.
        """
        portrait = self.portrait_of(face)
        if name not in atlas.states():
            raise UsageError(f"The atlas has no state {name!r}; emotalk emotion atlas lists them.")
        state, gain = atlas.states()[name], intensity_gain(_single(intensity))
        pose, gaze = life.posture((state.behaviour * gain).numpy())
        return self._picture(portrait, state.beta * gain + _looking(gaze), self.animator.plain_style()[0], pose)

    def _picture(
        self, portrait: Portrait, beta: Tensor, sigma: Tensor, pose: np.ndarray, size: int = CROP_SIZE
    ) -> np.ndarray:
        """The frame of β [64], σ̂ [width] and a head pose [6]."""
        framing = CropFraming(portrait.fit, size, self.device)
        beta, sigma, turned = (part[None].to(self.device) for part in (beta, sigma, torch.from_numpy(pose)))
        geometry = portrait.motion.frame(beta, turned)
        crops = generated(self.hef, portrait.source, geometry, beta, turned, sigma, framing.half)
        return next(iter(framing(crops, geometry)))

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
        portrait = self.portrait_of(face)
        shot = shots.of_portrait(portrait, Performance(Incoming(chunks), felt), settings, self.portraits)
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
            shots.target(out, face, motion if audio is None else audio, emotion, motion is not None, settings),
            *(outputs, inputs, settings.codec, settings.alpha),
        )
        named = [path for path in (audio, motion, *looks.values()) if isinstance(path, str | os.PathLike)]
        hashes = {Path(path): sha256(path) for path in named if os.path.isfile(path)}  # before they are read
        shot: Shot | FilmShot
        if also:
            shot = shots.several(self, [(face, audio, emotion), *also], settings, outputs.max_seconds)
        else:
            shot = self._shot(face, audio, emotion, motion, settings, watch, report, outputs.max_seconds)
        portrait, performance = shot.portrait, shot.performance
        felt, sound = performance.emotion, performance.sound
        weights = self.weights | (self.portraits.weights(portrait) if isinstance(portrait, Portrait) else {})
        with watch("emotion"):
            nearest = self.nearest(felt) if felt is not None else {}
        record = provenance.Record(
            files.video,
            shots.recorded(portrait, performance, {"motion": motion, **looks}, hashes),
            {
                **(felt.options() if felt else {}),
                **(sound.options if sound is not None else {}),
                **portrait.options,
                **dataclasses.asdict(settings),
                **self._models(),
            },
            weights,
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
            weights=weights,
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
            who = face if isinstance(face, Film) else self.portrait_of(face)
        report("portrait", 1, 1)
        report("sound", 0, 1)
        with watch("sound"):
            performance = self.performance(audio, emotion, motion, settings.pose, longest)
        report("sound", 1, 1)
        if isinstance(who, Film):
            return shots.of_film(who, performance, settings)
        return shots.of_portrait(who, performance, settings, self.portraits)

    def portrait_of(self, face: Face) -> Portrait:
        """A picture's; a film is refused."""
        if isinstance(face, Film) or is_film(face):
            raise UsageError("A film as --face works for whole videos only; give a picture here.")
        return face if isinstance(face, Portrait) else self.portrait(face)

    def _models(self) -> dict[str, str]:
        """The options of `emotalk generate` that chose the models."""
        clip = {"clip": self.ame.space} if self.ame.space != SPACE else {}
        engine = {"engine": self.hef.engine} if self.hef is not None and self.hef.engine != "eager" else {}
        drawn = {"renderer": self.renderer} if self.renderer != "builtin" else {}
        about = {"generator": self.generator, "landmarks": self.landmarks, **clip, **engine, **drawn}
        return {**about, "device": str(self.device)}


def _looking(gaze: np.ndarray) -> Tensor:
    """β [64] of open eyes that look along a gaze [2]."""
    return torch.from_numpy(life.eyes(np.zeros(1), gaze[None])[0])


def _single(intensity: float) -> float:
    """One intensity. Raises UsageError for a range."""
    strength = parse_intensity(intensity)
    if isinstance(strength, tuple):
        raise UsageError(f"--intensity {intensity} is a range; give one number here.")
    return strength
