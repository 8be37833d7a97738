"""The library: models are loaded once, and make videos of portraits, speech and emotions."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from . import shots
from .animate import Animator, FilmShot, Performance, Portrait, Shot, Stopwatch
from .constants import CROP_SIZE, MAX_SECONDS
from .emotions.emotion import Emotion
from .emotions.reader import EmotionReader
from .film import Film
from .live import Chunk, Incoming, asynchronous
from .media import encoders
from .media.samples import Audio
from .models.loading import Models, enough_memory, load_models
from .models.memory import give_back_freed
from .outputs import write_video
from .performances import Performances
from .portraits import Face, FilePath, Place, Portraits
from .production import Production
from .settings import GenerateOptions, Outputs, Progress, Result, Settings, SettingsOptions, choose
from .stills import Stills

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

    def __init__(self, models: Models) -> None:
        self.models = models
        self.face_model, self.tracker, self.ame = models.face_model, models.tracker, models.ame
        self.vad, self.eac, self.hef = models.vad, models.eac, models.hef
        self.device, self.weights = models.device, models.weights
        self.animator = Animator(self.ame, self.vad, self.eac, self.hef, self.device)
        self.portraits = Portraits(models)
        self._emotions = EmotionReader(self.ame, self.tracker)
        self._performances = Performances(self._emotions, self.tracker, self.face_model)
        self.stills = Stills(self.animator, self._emotions)

    @classmethod
    def load(
        cls,
        weights: FilePath | None = None,
        device: str | torch.device = "auto",
        generator: str = "hef",
        landmarks: str = "builtin",
        clip: str | None = None,
        engine: str = "auto",
        renderer: str = "builtin",
    ) -> EmoTalk:
        """Load the shipped weights (or those in the folder `weights`, or in $EMOTALK_WEIGHTS).

        device: auto | cpu | cuda[:N] | mps. generator: hef (neural) | geometry (warp and shading, faster).
        landmarks: builtin | face-alignment. clip: an upstream open_clip model NAME[/PRETRAINED] in place of the
        shipped towers, for which EAC must have been trained. engine: auto | eager | compile | graphs, how HEF is run
        (see `models.acceleration`). renderer: builtin | pytorch3d, for the whole process. Raises UsageError and
        WeightsError.
        """
        return cls(load_models(weights, device, generator, landmarks, clip, engine, renderer))

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

    def expression(
        self, emotion: str | Emotion, intensity: float = 2.0, speaking: bool = False
    ) -> tuple[Tensor, Tensor]:
        """β [64] and σ̂ [width] of a face that feels `emotion` (of a timeline, its beginning), silent or saying "ma"."""
        return self.stills.expression(emotion, intensity, speaking)

    def still(
        self, face: Face, emotion: str | Emotion | None, intensity: float = 2.0, size: int = CROP_SIZE
    ) -> np.ndarray:
        """One picture of the face saying "ma" with an emotion, uint8 [size,size,3]; for None the portrait itself, as it
        was cut, uint8 [512,512,3]."""
        portrait = self.portraits.of(face)
        return portrait.picture() if emotion is None else self.stills.felt(portrait, emotion, intensity, size)

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
        shot = shots.single(self, face, audio, emotion, motion, choose(settings, None, options)[0])
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
        performance = Performance(Incoming(chunks), self._emotions.of(emotion))
        shot = shots.live(self.portraits, face, performance, choose(settings, None, options)[0])
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
        return self._performances.read(audio, emotion, motion, pose, longest)

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
        production = Production.plan(out, face, audio, emotion, motion, settings, outputs)
        shot: Shot | FilmShot
        if also:
            shot = shots.several(self, [(face, audio, emotion), *also], settings, outputs.max_seconds)
        else:
            shot = shots.single(self, face, audio, emotion, motion, settings, watch, report, outputs.max_seconds)
        encoder = encoders.resolved(settings.encoder, production.files.form, str(self.device), shot.size)
        shot = dataclasses.replace(shot, settings=dataclasses.replace(shot.settings, encoder=encoder))
        with watch("emotion"):
            felt = shot.performance.emotion
            nearest = self.nearest(felt) if felt is not None else {}
        weights = self.weights | self.portraits.weights(shot.portrait)
        record = production.record(shot, self.models, weights, outputs.signer)
        with enough_memory(self.device):
            write_video(self.animator, shot, production.files, outputs, record, watch, report)
        give_back_freed()
        return production.result(shot, record, nearest, time.perf_counter() - begin, watch.stages)
