"""Speech and emotion, or recorded motion, and a portrait become frames."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import math
import os
import threading
import time
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .constants import FPS, SAMPLE_RATE
from .emotions import atlas
from .emotions.emotion import Emotion, between
from .emotions.notes import notes_on_emotion
from .face.fit import PortraitFit
from .face.geometry import FaceMotion
from .face.model import N_EXPRESSION
from .face.tracker import TURNS
from .film import Film
from .live import Incoming
from .lookahead import ahead, beside
from .media import label
from .media.audio import FLOOR, HOP, N_MELS, Recording, loudness, pitch
from .media.background import Backdrop
from .media.framing import CropFraming, FullFraming
from .media.samples import SoundFile
from .models.acceleration import Function, Steady, steady
from .models.behaviour import emotion_target
from .models.eac import EAC, LIVE, WHOLE
from .models.emotion_space import AME
from .models.hef import HEF, Source, generated
from .models.vad import LEVEL_AHEAD, VAD
from .motion import life
from .motion.take import Take
from .settings import Settings

SOUND_BLOCK = 0.06  # s; AAC's largest, and what decoders add at both ends
SHORT = 0.5  # seconds that a take may be shorter than the speech without a word
SHORTEST_SPEECH = 0.2  # s: a recording with less of it holds none
Moment = tuple[range, Tensor, Tensor, Tensor]  # numbers of a few frames, their β, σ̂ and pose
MAKERS = 4  # portraits and framings whose graphs are kept on a card
AHEAD = 256  # frames whose motion may be ready before a card makes them: it comes in blocks of many
WORKERS = 4  # most batches that are made beside each other on the CPU: each takes memory
BATCH = {"cpu": 4, "mps": 8, "cuda": 16}  # frames that the generator makes at once
FILM_FPS = 20  # from which on what the network adds may be taken from between two frames
LIVE_BATCH = 2  # of speech that is still coming in: the first waits for the last


@dataclasses.dataclass
class Performance:
    """What moves the face: speech and what is felt, or a take of recorded motion; perhaps the head of another take.

    sound: the file whose sound the video gets; None for a silent film's take.
    """

    recording: Recording | Incoming | None
    emotion: Emotion | None
    take: Take | None = None
    head: Take | None = None
    sound: SoundFile | None = None
    spoken: float | None = None  # s of speech that was heard, once all is animated

    @property
    def seconds(self) -> float:
        """Length of the speech; without any, of the take."""
        if self.recording is None or (self.take is not None and self._padded):
            assert self.take is not None  # `EmoTalk.performance` sees to it
            return self.take.seconds
        return self.recording.seconds

    def of(self, portrait: Portrait) -> Performance:
        """The same for a portrait, which may be a moment of the films that lend their motion."""
        if self.take is None and self.head is None:
            return self
        take = self.take and self.take.of(portrait.motion)
        head = take if self.head is self.take else self.head and self.head.of(portrait.motion)
        return dataclasses.replace(self, take=take, head=head)

    @property
    def _padded(self) -> bool:
        """Whether a take's sound goes on after it only because coded sound comes in blocks."""
        assert self.recording is not None and self.take is not None
        return 0 < self.recording.seconds - self.take.seconds < SOUND_BLOCK


class Stopwatch:
    """Seconds spent by stage, of all threads."""

    def __init__(self) -> None:
        self.stages: dict[str, float] = {}
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        begin = time.perf_counter()
        try:
            yield
        finally:
            took = time.perf_counter() - begin
            with self._lock:
                self.stages[stage] = self.stages.get(stage, 0.0) + took


@dataclasses.dataclass
class Portrait:
    """A portrait made ready once, to be animated many times (`EmoTalk.portrait`)."""

    name: str
    fit: PortraitFit
    motion: FaceMotion
    source: Source | None  # what the generator keeps of it; None without one
    notes: list[str]
    sha256: str  # of the file, or of the pixels and their shape
    path: Path | None  # None for pixels
    alpha: np.ndarray | None = None  # float32 [H,W]: the picture's own transparency over `fit.source`
    options: Mapping[str, int | str] = dataclasses.field(default_factory=dict)  # of `emotalk generate`, that chose it
    cover: PortraitFit | None = None  # of a person who is cut out: see `background.cover_of`

    @property
    def side(self) -> float:
        """The longer side of the face, px of its picture."""
        points = self.fit.landmarks[:, :2] * float(self.fit.to_source[0, 0])
        return float((points.amax(0) - points.amin(0)).max())

    def picture(self) -> np.ndarray:
        """The portrait itself, as it was cut, uint8 [512,512,3]."""
        return (self.fit.image.permute(1, 2, 0).clamp(0, 1) * 255).round().byte().cpu().numpy()


@dataclasses.dataclass(frozen=True)
class Shot:
    """One video to be made: who, moved by what, how, and in which frame; perhaps before another background, or with
    more speakers in the same whole picture."""

    portrait: Portrait
    performance: Performance
    settings: Settings
    framing: CropFraming | FullFraming
    backdrop: Backdrop | None = None
    others: tuple[Shot, ...] = ()

    @property
    def total(self) -> int:
        """Number of frames."""
        return frame_count(self.performance.seconds, self.settings.fps)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of frames, px."""
        return self.framing.size


@dataclasses.dataclass(frozen=True)
class FilmShot:
    """The same with a film in the place of a portrait. total: frames. ends: whether it ends before the speech may."""

    portrait: Film
    performance: Performance
    settings: Settings
    total: int
    ends: bool

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of frames, px."""
        return self.portrait.size


class Animator:
    """Turns what drives a face into motion, and motion into frames, with the loaded models."""

    def __init__(self, ame: AME, vad: VAD, eac: EAC, hef: HEF | None, device: torch.device) -> None:
        self.ame, self.vad, self.eac, self.hef, self.device = ame, vad, eac, hef, device
        self.batch = BATCH[device.type]
        self._makers: dict[object, Function] = {}  # of the last portraits and framings, on a card

    @torch.inference_mode()
    def frames(
        self,
        shot: Shot | FilmShot,
        watch: Stopwatch,
        first: int = 0,
        also: Collection[int] = (),
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Frames with their numbers, from `first` on and those in `also`, with a few neighbours.

        All motion is made from the beginning, which is cheap, so that every frame is the same wherever one starts.
        """
        if isinstance(shot, FilmShot):
            yield from shot.portrait.frames(self, shot, watch, first, also)
            return
        if shot.others:
            yield from self._several(shot, watch, first, also)
            return
        stamp = label.Label(shot.settings.label, shot.framing.size) if shot.settings.label else None
        if _on_card(self.device) and shot.backdrop is None:
            for numbers, images in self._from_card(shot, watch, first, also):
                yield from zip(numbers, stamp(images) if stamp is not None else images)
            return
        moments = self.moments(shot, watch, first, also)
        make = functools.partial(self._made, shot, watch)
        made = (make(moment) for moment in moments)  # a card works while this thread goes on
        if self.device.type == "cpu" and (cores := _cores()) > 1:
            workers = min(WORKERS, cores)
            made = beside(make, moments, workers, cores // workers)
        with contextlib.closing(made):
            for numbers, images in made:
                yield from zip(numbers, stamp(images) if stamp is not None else images)

    @torch.inference_mode()
    def _made(self, shot: Shot, watch: Stopwatch, moment: Moment) -> tuple[range, np.ndarray]:
        """Numbers and pixels of a few frames: geometry, generator and framing, one after the other."""
        numbers, *motion = moment
        beta, sigma, pose = (tensor.to(self.device) for tensor in motion)
        with watch("geometry"):
            geometry = shot.portrait.motion.frame(beta, pose)
        with watch("generator"):
            film = shot.settings.fps >= FILM_FPS
            if self.hef is None or (source := shot.portrait.source) is None:
                crops = geometry.composite()
            else:  # in two steps, so that memory is free for the second
                drawn = self.hef.skin(source, geometry, beta, pose, sigma, shot.framing.half, film)
                geometry = geometry.placed()
                crops = self.hef.finished(*drawn, source)
        with watch("framing"):
            images = shot.framing(crops, geometry)
            return numbers, images if shot.backdrop is None else shot.backdrop(images, geometry)

    def _from_card(
        self, shot: Shot, watch: Stopwatch, first: int, also: Collection[int]
    ) -> Iterator[tuple[range, np.ndarray]]:
        """Frames that a card makes while this computer prepares the next motion and takes the last pixels; it is waited
        for once a batch, when its pixels are there."""
        moments = self.moments(shot, watch, first, also)
        live = isinstance(shot.performance.recording, Incoming)  # what follows has not been said yet
        before: tuple[range, Tensor, torch.cuda.Event] | None = None

        def taken(numbers: range, pixels: Tensor, ready: torch.cuda.Event) -> tuple[range, np.ndarray]:
            with watch("framing"):
                ready.synchronize()
                return numbers, shot.framing.frames(pixels.numpy())

        coming = moments if live else ahead(_beside(moments), max(2, AHEAD // self.batch))
        with contextlib.closing(coming):
            for numbers, *motion in coming:
                with watch("generator"):
                    made = self._card_maker(shot)(
                        *(tensor.pin_memory().to(self.device, non_blocking=True) for tensor in motion)
                    )
                    pixels, ready = _leaving(made[0])
                if live:
                    yield taken(numbers, pixels, ready)
                    continue
                if before is not None:
                    yield taken(*before)
                before = numbers, pixels, ready
            if before is not None:
                yield taken(*before)

    def _card_maker(self, shot: Shot) -> Function:
        """β [B,64], σ̂ [B,192], pose [B,6] on the card -> what `framing.pixels` gives: geometry, generator and framing.
        With the engine graphs all of it is captured, once for a portrait and framing, and replayed."""
        key = self._key(shot)
        if key not in self._makers:

            def make(beta: Tensor, sigma: Tensor, pose: Tensor) -> tuple[Tensor, ...]:
                geometry, half = shot.portrait.motion.frame(beta, pose), shot.framing.half
                crops = generated(self.hef, shot.portrait.source, geometry, beta, pose, sigma, half)
                return (shot.framing.pixels(crops, geometry),)

            wanted = self.hef is not None and self.hef.engine == "graphs"
            while len(self._makers) >= MAKERS:
                self._makers.pop(next(iter(self._makers)))
            self._makers[key] = steady("graphs", make) if wanted else make
        return self._makers[key]

    def _key(self, shot: Shot) -> object:
        return shot.portrait.motion, shot.framing.size, type(shot.framing), self.batch

    def engine(self, shot: Shot | FilmShot) -> str | None:
        """How HEF was run for a shot, once its frames are made: eager where the card refused to capture them, and in
        films and before backgrounds, which are not captured. None without HEF."""
        if self.hef is None:
            return None
        if self.hef.engine != "graphs":
            return self.hef.engine
        if isinstance(shot, FilmShot) or shot.backdrop is not None:
            return "eager"
        maker = self._makers.get(self._key(shot))
        return "eager" if isinstance(maker, Steady) and maker.refused else "graphs"

    def _several(
        self, shot: Shot, watch: Stopwatch, first: int, also: Collection[int]
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Frames of several speakers: what each changes in the still picture is added up."""
        assert isinstance(shot.framing, FullFraming)
        still = shot.framing.still.astype(np.int16)
        alone = [dataclasses.replace(one, others=(), settings=dataclasses.replace(one.settings, label=""))
                 for one in (shot, *shot.others)]  # fmt: skip
        stamp = label.Label(shot.settings.label, shot.framing.size) if shot.settings.label else None
        for made in zip(*(self.frames(one, watch, first, also) for one in alone), strict=True):
            changes = sum((frame.astype(np.int16) - still for _, frame in made), np.zeros_like(still))
            frame = np.clip(still + changes, 0, 255).astype(np.uint8)
            yield made[0][0], stamp(frame[None])[0] if stamp is not None else frame

    def moments(self, shot: Shot, watch: Stopwatch, first: int, also: Collection[int]) -> Generator[Moment, None, None]:
        """Numbers, and β, σ̂, pose of a few frames at a time, on the CPU."""
        at = 0
        rows = self.rows(shot.performance, shot.settings, shot.settings.fps, watch)
        while chunk := list(itertools.islice(rows, self.at_once(shot.performance))):
            numbers = range(at, at + len(chunk))
            at = numbers.stop
            if at <= first and not any(number in also for number in numbers):
                continue
            yield numbers, *torch.stack(chunk).split([N_EXPRESSION, self.eac.dims.width, 6], 1)

    def at_once(self, performance: Performance) -> int:
        """Frames that are made together."""
        return min(self.batch, LIVE_BATCH) if isinstance(performance.recording, Incoming) else self.batch

    def rows(self, performance: Performance, settings: Settings, fps: float, watch: Stopwatch) -> Iterator[Tensor]:
        """All motion, one row a frame at `fps`, on the CPU: β [64] with eyes and blinks, σ̂ [192], head pose [6]."""
        total = frame_count(performance.seconds, fps) if math.isfinite(performance.seconds) else None
        living = life.Life(fps, settings.blink, settings.seed, settings.pose != "still")
        head = performance.head.swing(fps, total) if performance.head is not None and total is not None else None
        if performance.take is not None and total is not None:
            rows, blinks = performance.take.rows(fps, total), performance.take.blinks
            style = self.plain_style().cpu()
        else:
            assert performance.recording is not None and performance.emotion is not None
            felt = performance.emotion.during(settings.intensity, performance.seconds)
            rows = resample(self.speech(performance, felt, watch), fps, total)
            mirrored = felt.mirrored(settings.seed)
            constant = self.manner(felt, felt.times) if len(felt.times) == 1 else None
            at = 0
        while block := list(itertools.islice(rows, self.at_once(performance))):
            chunk = torch.stack(block)
            if performance.take is None:
                beta, sigma, heard = chunk.split([N_EXPRESSION, self.eac.dims.width, 3], 1)
                heard = heard.numpy()
                times = (torch.arange(at, at + len(beta)) + 0.5) / fps
                manner = self.manner(felt, times) if constant is None else constant.expand(len(beta), -1)
                at += len(beta)
                if mirrored:
                    beta, manner = atlas.swapped(beta), atlas.mirrored(manner)
                signs = living.step(heard[:, 0], heard[:, 1:], manner.numpy())
                face = life.lively(beta.numpy(), signs)
                closure, gaze, pose = life.lids(signs.closure, face), signs.gaze, torch.from_numpy(signs.pose).to(sigma)
                beta = torch.from_numpy(face).to(sigma)
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

    @torch.inference_mode()
    def motion(self, performance: Performance, settings: Settings, fps: float) -> Iterator[tuple[Tensor, Tensor]]:
        """All motion at `fps`, blinks and head included: β [64] and pose [6] (see `Take`) of each frame."""
        rows = self.rows(performance, settings, fps, Stopwatch())
        return ((row[:N_EXPRESSION], row[-6:]) for row in rows)

    def manner(self, felt: Emotion, times: Tensor) -> Tensor:
        """Behaviours [n, atlas.WIDTH] of keyframes at times [n] in s, scaled by their intensity."""
        if self.ame.behaviour is None:  # an upstream CLIP's space
            return torch.zeros(len(times), atlas.WIDTH)
        z, mu = F.normalize(between(felt.times, felt.z, times), dim=1), between(felt.times, felt.mu, times)
        return emotion_target(self.ame.behaviour, z.to(self.device), mu.to(self.device))[1].cpu()

    def plain_style(self) -> Tensor:
        """σ̂ [1,192] of a silent neutral face, where motion does not come from EAC."""
        z = self.ame.text(["neutral"])[0]
        silence = torch.full((N_MELS, SAMPLE_RATE // HOP), FLOOR)
        return self.eac.predict(silence, z, 1.0)[1][:1]

    def speech(self, performance: Performance, felt: Emotion, watch: Stopwatch) -> Iterator[Tensor]:
        """One row a frame at 25 frames/s, on the CPU: β [64], σ̂ [192], loudness [1], melody [2]."""
        assert performance.recording is not None
        recording = performance.recording
        heard: list[Tensor] = []  # of what EAC has read but not yet answered
        spoken = 0  # frames
        live = isinstance(recording, Incoming)  # less delay, for more work

        def mels() -> Iterator[Tensor]:
            nonlocal spoken
            for mel in self.vad.listen(recording.mels(), 0 if live else LEVEL_AHEAD):
                loud = loudness(mel)
                spoken += int((loud > 0).sum())
                heard.append(torch.cat([loud[:, None], pitch(mel)], 1).cpu())
                yield mel

        blocks = self.eac.stream(mels(), felt.z, felt.mu, times=felt.times, overlap=LIVE if live else WHOLE)
        while True:
            with watch("motion"):
                block = next(blocks, None)
            if block is None:
                performance.spoken = spoken / FPS
                return
            beta, sigma = (tensor.cpu() for tensor in block)
            voice = torch.cat(heard)
            heard[:] = [voice[len(beta) :]]
            yield from torch.cat([beta, sigma, voice[: len(beta)]], 1)


def resample(rows: Iterable[Tensor], fps: float, total: int | None) -> Iterator[Tensor]:
    """Rows at 25 per second -> `total` rows at `fps` (None: as many as there is time for), linear between the middles
    of the frames."""
    source = iter(rows)
    before = after = next(source)
    at = 0  # the index of `after`
    for k in itertools.count() if total is None else range(total):
        position = (k + 0.5) * FPS / fps - 0.5
        while at < position and (row := next(source, None)) is not None:
            before, after, at = after, row, at + 1
        if total is None and position >= at + 0.5:  # beyond the last frame's end
            return
        yield torch.lerp(before, after, float(np.clip(position - at + 1, 0, 1)))


def frame_count(seconds: float, fps: float) -> int:
    """Frames that cover `seconds`."""
    return max(1, math.ceil(round(seconds * fps, 6)))


def notes_on(performance: Performance, nearest: Mapping[str, float]) -> list[str]:
    """What the user should know of what drives the face."""
    notes = notes_on_emotion(performance.emotion, nearest) if performance.emotion is not None else []
    if performance.sound is not None and performance.sound.options:
        notes.append(f"The voice is synthetic ({performance.sound.options['voice']}).")
    notes += performance.recording.notes if isinstance(performance.recording, Recording) else ()
    if (
        performance.spoken is not None
        and performance.spoken < SHORTEST_SPEECH
        and isinstance(performance.recording, Recording)
    ):
        notes.append(f"No speech was found in {performance.recording.path.name}; the mouth stays closed.")
    if any(take is not None and take.limited for take in (performance.take, performance.head)):
        notes.append("The recorded head turns further than a single picture can follow; it is held there.")
    for name, take in (("film", performance.take), ("film of --pose", performance.head)):
        if take is not None and take.turns:
            notes.append(f"The {name} lies {TURNS[take.turns]}; it was turned upright.")
        if take is not None and take.missing > 0:
            notes.append(f"{max(0.01, take.missing):.0%} of the {name} shows no face; its nearest frame stands in.")
    take, recording = performance.take, performance.recording
    if take is not None and recording is not None and recording.seconds - take.seconds > SHORT:
        notes.append(
            f"The take lasts {take.seconds:.1f} s, the speech {recording.seconds:.1f} s; its last expression stays."
        )
    return notes


def _on_card(device: torch.device) -> bool:
    """Whether frames are made by an NVIDIA card."""
    return device.type == "cuda"


def _leaving(made: Tensor) -> tuple[Tensor, torch.cuda.Event]:
    """Pixels on their way from the card to this computer's memory, and what happens when they are there."""
    pixels = torch.empty(made.shape, dtype=made.dtype, pin_memory=True)
    pixels.copy_(made, non_blocking=True)
    ready = torch.cuda.Event()
    ready.record()
    return pixels, ready


def _beside(items: Iterator[Moment]) -> Iterator[Moment]:
    """`items`, made on a stream of the card's own, so that who makes them waits for nothing else."""
    with torch.cuda.stream(torch.cuda.Stream()):
        yield from items


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
