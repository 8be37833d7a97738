"""A film as the face: its own head, eyes, light and background stay; mouth and expression follow the new speech.

The film is read twice at once. One reader runs ahead and follows the face, so that a person's resting face, teeth and
cuts are known before they are needed; the other gives the pictures, of which only the face's own pixels change. Nothing
is kept but what a second of it needs, however long it is.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import itertools
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .constants import CROP_SIZE
from .errors import InputError
from .face.fit import (
    PortraitFit,
    Pose,
    align,
    complete_smile,
    crop_box,
    cut,
    fit_appearance,
    fit_shape,
    snap_lips,
)
from .face.geometry import FaceMotion, Geometry
from .face.geometry.head import EYE_NAMES
from .face.model import N_EXPRESSION, FaceModel
from .face.topology import INDEX, INNER_LIPS, LIP_PAIRS, OUTER_LIPS
from .face.tracker import Face, Tracker
from .lookahead import ahead, cores
from .media import label
from .media.ffmpeg import read_frames
from .media.framing import FilmFraming
from .models.hef import generated, source_of
from .numeric import smoothstep

if TYPE_CHECKING:
    from .animate import Animator, FilmShot, Stopwatch

SEARCHED = 30.0  # s of a film in which its first face has to be
AHEAD = 50  # frames that are followed before they are needed
LEARNED = 16  # frames, at most, from which a person's resting face is learned
TEETH = 4  # frames with the widest mouth that are tried for the person's teeth
GAP = 5  # frames without a face that count as a slip of the tracker
CUT, JUMP = 0.07, 5.0  # mean change of grey (0..1) between frames, and its multiple of the usual, that mean a cut
TURNED = (40.0, 60.0)  # degrees away from the camera between which the film's own face comes back
NEAR_LIPS = 2.0  # cm around the lips in which the mouth stands where the model says, whatever it was doing
_THUMB = (48, 27)


@dataclasses.dataclass
class Sighting:
    """What was seen of the face in one frame. points [478,3] px, None without a face; begins: a cut is before it."""

    begins: bool
    points: np.ndarray | None = None
    smile: float = 0.0
    turn: float = 0.0
    crop: np.ndarray | None = None  # uint8 [512,512,3] around the face, and where it lies: left, top, side
    box: tuple[float, float, float] = (0.0, 0.0, 1.0)


@dataclasses.dataclass
class Person:
    """Who is seen between two cuts: α [80], δ [80], γ [27], the face at rest [478,3] cm; a picture whose teeth show."""

    alpha: Tensor
    delta: Tensor
    gamma: Tensor
    rest: Tensor
    teeth: FaceMotion


class Film:
    """A film whose face is to speak. name, path, sha256, notes: as of a `Portrait`. seen: frames with a face so far."""

    def __init__(
        self,
        path: Path,
        digest: str,
        tracker: Tracker,
        model: FaceModel,
        moving: FaceModel,
        device: torch.device,
        choose: Callable[[Sequence[Face], tuple[int, int]], Face],
        smallest: float,
        options: dict[str, int | str],
    ) -> None:
        """choose: one of the faces that a frame of some size (width, height) shows. smallest: px of a face.

        options: those of `emotalk generate` that made it. side: px, of the first face.

        Raises InputError where there is no face in the first `SEARCHED` seconds, or it is too small.
        """
        self.name, self.path, self.sha256, self.notes = str(path), path, digest, list[str]()
        self.options = options
        self._tracker, self._model, self._moving, self._device, self._choose = tracker, model, moving, device, choose
        self.frames_seen, self.frames_made, self.ends = 0, 0, ""
        self.size, self.side = self._probe()
        if self.side < smallest:
            raise InputError(f"{path} shows a face of only {self.side:.0f} px; at least {smallest:.0f} px are needed.")
        mean = model.mean
        lips = mean[[*INNER_LIPS, *OUTER_LIPS]]
        away = torch.cdist(mean, lips).amin(1)
        self._near = smoothstep((1 - away / NEAR_LIPS).clamp(0, 1))[:, None]

    def _probe(self) -> tuple[tuple[int, int], float]:
        """Size (width, height) and the first face's longer side, px."""
        faces: list[Face] = []
        frame = None
        for frame in read_frames(self.path, 2, SEARCHED, cut=True):
            if faces := self._tracker(frame):
                break
        if frame is None or not faces:
            raise InputError(f"{self.path} shows no face in its first {SEARCHED:g} s; give a film of a person.")
        if len(faces) > 1:
            self.notes.append(f"{len(faces)} faces found; one of them speaks (--face-index, --face-at).")
        box = self._choose(faces, (frame.shape[1], frame.shape[0])).box
        height, width = frame.shape[:2]
        return (width // 2 * 2, height // 2 * 2), max(box[2] - box[0], box[3] - box[1])

    def lasts(self, fps: float, most: int) -> int:
        """Frames at `fps` that the film has, of at most `most`."""
        frames = read_frames(self.path, fps, most / fps, cut=True)
        return sum(1 for _ in itertools.islice(frames, most))

    def notes_after(self) -> list[str]:
        """What the user should know once frames are made."""
        notes = [self.ends] if self.ends else []
        if self.frames_seen < self.frames_made:
            missing = max(0.01, 1 - self.frames_seen / self.frames_made)
            notes.append(f"{missing:.0%} of the film shows no face that can be followed; it stays as it is.")
        return notes

    # --- reading ---

    def _pictures(self, fps: float, total: int, loop: bool) -> Generator[tuple[bool, np.ndarray], None, None]:
        """`total` frames, each with whether the film begins there (again); after its end the last one stays."""
        count, last = 0, None
        while count < total:
            begins = True
            for frame in itertools.islice(
                read_frames(self.path, fps, (total - count) / fps + 1, cut=True), total - count
            ):
                last = frame if frame is last else frame[: self.size[1], : self.size[0]]
                yield begins, last
                begins, count = False, count + 1
            if not loop:
                break
        yield from ((False, last) for _ in range(total - count) if last is not None)

    def _followed(self, pictures: Iterator[tuple[bool, np.ndarray]]) -> Iterator[Sighting]:
        """What is seen in each frame."""
        face: Face | None = None
        before: np.ndarray | None = None
        thumb: np.ndarray | None = None
        usual, since = 0.02, 0
        last: Sighting | None = None
        for begins, frame in pictures:
            if frame is before and last is not None and not begins:
                last = dataclasses.replace(last, begins=False, crop=None)
                yield last
                continue
            small = (
                np.asarray(Image.fromarray(frame).convert("L").resize(_THUMB, Image.Resampling.BOX), np.float32) / 255
            )
            change = float(np.abs(small - thumb).mean()) if thumb is not None else 0.0
            begins = begins or (change > CUT and change > JUMP * usual)
            usual = 0.02 if begins else 0.9 * usual + 0.1 * max(change, 0.004)
            before, thumb = frame, small
            frame = np.ascontiguousarray(frame)
            since = 0 if begins else since + 1
            if begins or face is None:
                found = self._tracker(frame)
                face = self._choose(found, self.size) if found else None
            else:
                face = self._tracker.track([frame], face)[0]
            last = Sighting(begins)
            if face is not None:
                smile = float(np.mean(face.blendshapes[[INDEX["mouthSmileLeft"], INDEX["mouthSmileRight"]]]))
                last = Sighting(begins, face.landmarks, smile, face.turn)
                if since < AHEAD:
                    last.box = crop_box(face.landmarks)
                    last.crop = cut(frame, last.box)
            yield last

    # --- the person ---

    def _learn(self, sightings: Sequence[Sighting]) -> Person | None:
        """Who is seen in the first of consecutive sightings and those that follow without a cut."""
        shown = [sightings[0], *itertools.takewhile(lambda s: not s.begins, sightings[1:])]
        usable = [s for s in shown if s.points is not None and s.turn < TURNED[0]] or [
            s for s in shown if s.points is not None
        ]
        if not usable:
            return None
        picked = [usable[i] for i in np.unique(np.linspace(0, len(usable) - 1, LEARNED).round().astype(int))]
        points = torch.from_numpy(np.stack([s.points for s in picked if s.points is not None])).float()
        alpha = fit_shape(self._model, points)[0].mean(0, keepdim=True)
        beta, pose = self._expression(alpha, points, [s.smile for s in picked])
        rest = (pose.unproject(points) - self._model.displacement(beta)).median(0).values
        framed = [s for s in usable if s.crop is not None] or usable
        widest = sorted(framed, key=lambda s: -_opening(s))[:TEETH]
        person = None
        for sighting in widest:
            fit = self._fit(sighting, alpha[0], rest, None)
            motion = FaceMotion(self._moving, fit, self._device)
            person = person or Person(alpha[0], fit.delta, fit.gamma, rest, motion)
            if motion.mouth.own_teeth:
                person.teeth = motion
                break
        return person

    def _expression(self, alpha: Tensor, points: Tensor, smiles: Sequence[float]) -> tuple[Tensor, Pose]:
        """β [B,64] and poses of a person in landmarks [B,478,3]."""
        _, beta, pose = fit_shape(self._model, points, alpha=alpha)
        rows = [complete_smile(self._model, row[None], smile) for row, smile in zip(beta, smiles, strict=True)]
        return torch.cat(rows), pose

    def _fit(
        self, sighting: Sighting, alpha: Tensor, rest: Tensor, person: Person | None, frame: np.ndarray | None = None
    ) -> PortraitFit:
        """One frame as a portrait. frame: the picture; without it, the sighting's own crop."""
        assert sighting.points is not None
        points = torch.from_numpy(sighting.points)[None].float()
        beta, _ = self._expression(alpha[None], points, [sighting.smile])
        shape = rest + self._model.displacement(beta)
        pose = align(shape, points)
        left, top, side = crop_box(pose.project(rest[None])[0].numpy()) if frame is not None else sighting.box
        zoom = CROP_SIZE / side
        shift = torch.tensor([left, top, 0.0])
        crop = cut(frame, (left, top, side)) if frame is not None else sighting.crop
        assert crop is not None
        pixels = torch.tensor(crop).permute(2, 0, 1).float() / 255
        landmarks = snap_lips(pixels, (points[0] - shift) * zoom)
        pose = Pose(pose.rotation, pose.scale * zoom, (pose.translation - shift) * zoom)
        residual = self._near * (pose.unproject(landmarks[None]) - shape)[0]
        if person is None:
            delta, gamma = fit_appearance(self._model, pixels, landmarks, beta[0], pose)
            light = delta[0], gamma[0]
        else:
            light = person.delta, person.gamma
        affine = np.array([[1 / zoom, 0, left], [0, 1 / zoom, top]])
        source = crop if frame is None else frame
        return PortraitFit(pixels, landmarks, alpha, beta[0], *light, pose, affine, source, residual)

    # --- frames ---

    @torch.inference_mode()
    def frames(
        self, animator: Animator, shot: FilmShot, watch: Stopwatch, first: int, also: Collection[int]
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Frames with their numbers, as `Animator.frames`."""
        stamp = label.Label(shot.settings.label, self.size) if shot.settings.label else None
        made = self._shapes(animator, shot, watch, first, also)
        with contextlib.ExitStack() as stack:
            if self._device.type == "cpu" and torch.get_num_threads() > 1:
                stack.enter_context(cores(torch.get_num_threads() - 1))
                made = stack.enter_context(contextlib.closing(ahead(made, 2)))
            for number, frame, driven in made:
                if driven is not None:
                    frame = self._painted(animator, watch, frame, *driven)
                if stamp is not None:
                    frame = stamp(frame[None].copy())[0]
                yield number, frame

    def _painted(
        self, animator: Animator, watch: Stopwatch, frame: np.ndarray, fit: PortraitFit, geometry: Geometry,
        beta: Tensor, sigma: Tensor, strength: float,
    ) -> np.ndarray:  # fmt: skip
        with watch("framing"):
            framing = FilmFraming(fit, self._device)
        with watch("generator"):
            source = source_of(animator.hef, fit)
            crops = generated(animator.hef, source, geometry, beta, beta.new_zeros(len(beta), 6), sigma)
        with watch("framing"):
            return framing(crops, geometry, strength)

    def _shapes(
        self, animator: Animator, shot: FilmShot, watch: Stopwatch, first: int, also: Collection[int]
    ) -> Iterator[tuple[int, np.ndarray, tuple[PortraitFit, Geometry, Tensor, Tensor, float] | None]]:
        """Numbers, pictures, and what moves the face in them; None where they pass as they are."""
        settings, total = shot.settings, shot.total
        rows = animator.rows(shot.performance, settings, settings.fps, watch)
        with contextlib.ExitStack() as stack:
            pictures, scouted = (
                stack.enter_context(contextlib.closing(self._pictures(settings.fps, total, settings.loop)))
                for _ in range(2)
            )
            sightings = self._followed(scouted)
            coming: collections.deque[Sighting] = collections.deque()
            past: Sighting | None = None  # the last one with a face, and how many frames ago
            age, person = 0, None
            for number, ((_, frame), row) in enumerate(zip(pictures, rows, strict=False)):
                with watch("following"):
                    while len(coming) <= AHEAD and (new := next(sightings, None)) is not None:
                        coming.append(new)
                    sighting = coming.popleft()
                    if sighting.begins or (person is None and sighting.points is not None):
                        person, past = self._learn([sighting, *coming]), None
                seen = sighting if sighting.points is not None else self._between(past, age, coming)
                if sighting.points is not None:
                    past, age = sighting, 0
                age += 1
                self.frames_made += 1
                self.frames_seen += seen is not None
                if number < first and number not in also:
                    continue
                strength = 0.0
                if seen is not None:
                    low, high = TURNED
                    strength = float(smoothstep(np.clip((high - seen.turn) / (high - low), 0, 1)))
                if seen is None or person is None or strength == 0:
                    yield number, frame, None
                    continue
                with watch("geometry"):
                    frame = np.ascontiguousarray(frame)
                    fit = self._fit(seen, person.alpha, person.rest, person, frame)
                    motion = FaceMotion(self._moving, fit, self._device, like=person.teeth)
                    beta, sigma, _ = row[None].split([N_EXPRESSION, animator.eac.dims.width, 6], 1)
                    beta = beta.clone()
                    beta[:, [INDEX[name] for name in EYE_NAMES]] = 0  # the film's own
                    geometry = motion.frame(beta, beta.new_zeros(1, 6))
                yield number, frame, (fit, geometry, beta, sigma, strength)

    @staticmethod
    def _between(past: Sighting | None, age: int, coming: Sequence[Sighting]) -> Sighting | None:
        """A sighting for a frame where the face was lost for a moment only."""
        if past is None or past.points is None:
            return None
        for wait, later in enumerate(itertools.islice(coming, GAP), 1):
            if later.begins:
                return None
            if later.points is not None and age + wait <= GAP + 1:
                share = age / (age + wait)
                points = past.points + share * (later.points - past.points)
                return Sighting(
                    False, points, past.smile + share * (later.smile - past.smile), max(past.turn, later.turn)
                )
        return None


def _opening(sighting: Sighting) -> float:
    """How far the lips are apart, in sides of the face's box."""
    assert sighting.points is not None
    upper, lower = np.array(LIP_PAIRS).T
    apart = np.linalg.norm(sighting.points[upper, :2] - sighting.points[lower, :2], axis=1).mean()
    return float(apart / np.ptp(sighting.points[:, 1]))
