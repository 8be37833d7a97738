"""Recorded motion of a face: a `Take`, from a film or from what other tools wrote (`livelink`)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ..emotions import atlas
from ..emotions.prototypes import COMPONENTS
from ..errors import InputError
from ..face.fit import crop_box, fit_clip
from ..face.geometry import FaceMotion
from ..face.geometry.head import PIVOT
from ..face.model import FaceModel, rotation_matrix, rotation_vector
from ..face.procrustes import similarity
from ..face.topology import OUTER_EYE_CORNERS
from ..face.tracker import Face, Tracker
from . import blinks
from .lips import NAMED

LIMIT = np.array([*np.radians([12.0, 15.0, 12.0]), 0.06, 0.06, 0.10])  # of a filmed head: what a still picture allows
_SMOOTH = (0.25, 0.5, 0.25)  # over frames of a film: its landmarks tremble
SAME = 0.01  # outer eye distances between landmarks of a portrait and of a film's moment, of which it is a picture
_SHORTEST = 3  # frames of a film that show a face
_EYES = [i for i, component in enumerate(COMPONENTS) if component.startswith("eye")]
_BLINKS = [COMPONENTS.index(f"eyeBlink{side}") for side in ("Left", "Right")]
_NOTHING = np.zeros((2, blinks.HEIGHT, blinks.WIDTH, 3), np.uint8)
_STILL = 25  # frames alike after which a film counts as standing still


@dataclass(frozen=True, eq=False)
class Track:
    """A film's face as it was tracked. landmarks: [T,478,2] px. beta: [T,64], not counted from rest nor limited;
    pose: [T,6] of the head relative to the first frame, not held."""

    landmarks: Tensor
    beta: Tensor
    pose: Tensor

    def moment_of(self, portrait: Tensor) -> int | None:
        """The frame whose landmarks a portrait's [478,2+] repeat; None if there is none."""
        points = portrait[:, :2].cpu()
        there = similarity(self.landmarks, points.expand_as(self.landmarks))
        laid = there.scale[:, None, None] * self.landmarks @ there.rotation.transpose(1, 2) + there.shift[:, None]
        a, b = points[list(OUTER_EYE_CORNERS)]
        apart = (laid - points).norm(dim=2).mean(1) / (a - b).norm()
        moment = int(apart.argmin())
        return moment if float(apart[moment]) < SAME else None


@dataclass(frozen=True, eq=False)
class Take:
    """Motion of a face at `fps` frames/s.

    beta: [T,64] coefficients in the order of `emotions.COMPONENTS`. pose: [T,6] as `life.Life.step` gives it: rotation
    vector in rad about camera axes (x right, y down, z away), x, y shift in fractions of the crop, log scale.
    limited: whether the head turned or moved further than `LIMIT`, where it is held. Of a film: turns, quarter turns
    that made it upright (see `tracker.TURNS`); missing, 0..1, the share of its frames that show no face; its track.
    """

    fps: float
    beta: Tensor
    pose: Tensor
    limited: bool = False
    turns: int = 0
    missing: float = 0.0
    track: Track | None = None

    def of(self, portrait: FaceMotion) -> Take:
        """This motion for a portrait: where that is a moment of the film itself, everything counts from this moment
        and not from rest, so that the face moves as it did."""
        moment = None if self.track is None else self.track.moment_of(portrait.points)
        if self.track is None or moment is None:
            return self
        held, limited = hold_head(self.track.pose - self.track.pose[moment])
        beta = portrait.contacts.unmoved.cpu() + self.track.beta - self.track.beta[moment]
        return replace(self, beta=beta, pose=held, limited=limited)

    @property
    def seconds(self) -> float:
        """Its length."""
        return len(self.beta) / self.fps

    @property
    def blinks(self) -> bool:
        """Whether its eyes blink, or were filmed as they did not; otherwise somebody else has to see to that."""
        return self.track is not None or bool((self.beta[:, _BLINKS[0]] > 0.3).any())

    def rows(self, fps: float, total: int) -> Iterator[Tensor]:
        """`total` rows [70] of β and pose at `fps`, linear between the middles of its frames; the last one stays."""
        both = torch.cat([self.beta, self.pose], 1)
        for k in range(total):
            at = (k + 0.5) * self.fps / fps - 0.5
            low = min(max(math.floor(at), 0), len(both) - 1)
            part = min(max(at - low, 0.0), 1.0)
            yield torch.lerp(both[low], both[min(low + 1, len(both) - 1)], part)

    def swing(self, fps: float, total: int) -> Iterator[Tensor]:
        """`total` rows [6] of its pose at `fps`, there and back again where it is too short, so that nothing jumps."""
        there = Take(self.fps, self.beta, self.pose)
        back = Take(self.fps, self.beta.flip(0), self.pose.flip(0))
        length = max(2, round(self.seconds * fps))
        legs = itertools.cycle([there, back])
        rows = itertools.chain.from_iterable(leg.rows(fps, length) for leg in legs)
        return (row[-6:] for row in itertools.islice(rows, total))


def filmed(
    frames: Iterable[np.ndarray], fps: float, tracker: Tracker, model: FaceModel, name: str = "The video"
) -> Take:
    """Motion of the largest face in frames uint8 [H,W,3], which may lie on their side or upside down.

    β counts from what each component seldom falls below, which is the person and not the expression. The pose is
    relative to the first frame. Both are smoothed a little. name: for errors. Raises InputError if too few frames
    show a face.
    """
    faces: list[Face | None] = []
    eyes: list[np.ndarray] = []
    turns, known, last = 0, None, None
    for still, group in itertools.groupby(_repeats(frames), key=lambda pair: pair[0]):
        images = (frame for _, frame in group)
        while chunk := list(itertools.islice(images, 16)):
            if still:  # a film that stands still costs nothing more
                faces += [last] * len(chunk)
                eyes += eyes[-1:] * len(chunk)
                continue
            if known is None:
                turns, found = tracker.upright(chunk[0])
                known = next(iter(found), None)
            upright = [np.ascontiguousarray(np.rot90(frame, turns)) for frame in chunk]
            followed = tracker.track(upright, known)
            faces += followed
            for frame, face in zip(upright, followed, strict=True):
                eyes.append(_NOTHING if face is None else blinks.patches(frame, face.landmarks))
            last = faces[-1]
            known = next((face for face in reversed(faces[-len(chunk) :]) if face is not None), known)
    seen = np.array([i for i, face in enumerate(faces) if face is not None])
    if len(seen) < max(_SHORTEST, len(faces) / 2):
        raise InputError(f"{name} shows no face that can be followed; give a video of one face seen from the front.")
    nearest = nearest_of(seen, len(faces))
    landmarks = torch.from_numpy(
        np.stack([face.landmarks for face in (faces[i] for i in nearest) if face is not None])
    ).float()
    left, top, side = crop_box(np.median(landmarks.numpy(), 0))
    landmarks = (landmarks - torch.tensor([left, top, 0.0])) * (512 / side)
    _, beta, pose = fit_clip(model, landmarks)
    beta[:, _BLINKS] = blinks.closures([eyes[i] for i in nearest])
    resting = beta.quantile(0.1, 0)
    resting[_EYES], resting[NAMED:] = beta[:, _EYES].median(0).values, beta[:, NAMED:].median(0).values
    beta = _smoothed(beta)
    vector = pose.vector(512)
    vector[:, 3:5] = pose.project(torch.tensor(PIVOT).expand(len(beta), 1, 3))[:, 0, :2] / 512
    turn = rotation_matrix(vector[:, :3]) @ rotation_matrix(vector[:1, :3]).transpose(1, 2)
    moved = _smoothed(torch.cat([rotation_vector(turn), vector[:, 3:] - vector[:1, 3:]], 1))
    moved = moved - moved[:1]
    held, limited = hold_head(moved)
    track = Track(landmarks[..., :2].contiguous(), beta, moved)
    return Take(fps, atlas.limited(beta - resting), held, limited, turns, 1 - len(seen) / len(faces), track)


def nearest_of(seen: np.ndarray, count: int) -> np.ndarray:
    """For each of `count` numbers the nearest in the increasing `seen`, of two the smaller: int [count]."""
    at = np.arange(count)
    right = np.searchsorted(seen, at).clip(max=len(seen) - 1)
    left = (right - 1).clip(min=0)
    return np.where(at - seen[left] <= np.abs(seen[right] - at), seen[left], seen[right])


def _repeats(frames: Iterable[np.ndarray]) -> Iterator[tuple[bool, np.ndarray]]:
    """Each frame, with whether it has stood still for longer than `_STILL` frames (the reader repeats the array)."""
    before, count = None, 0
    for frame in frames:
        count = count + 1 if frame is before else 0
        before = frame
        yield count > _STILL, frame


def _smoothed(rows: Tensor) -> Tensor:
    """[T,n] with each frame averaged with its neighbours."""
    before, after = torch.cat([rows[:1], rows[:-1]]), torch.cat([rows[1:], rows[-1:]])
    return _SMOOTH[0] * before + _SMOOTH[1] * rows + _SMOOTH[2] * after


def hold_head(pose: Tensor) -> tuple[Tensor, bool]:
    """Poses [T,6] held softly within `LIMIT`, and whether that changed any noticeably."""
    limit = torch.from_numpy(LIMIT).float()
    knee = 0.7 * limit
    over = (pose.abs() - knee).clamp(min=0)
    held = torch.where(over > 0, pose.sign() * (knee + (limit - knee) * torch.tanh(over / (limit - knee))), pose)
    return held, bool(((held - pose).abs() > 0.1 * limit).any())
