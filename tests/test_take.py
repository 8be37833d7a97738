"""Motion of a film: which way up it is, and what the user is told of it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from emotalk_cli.animate import Performance, notes_on
from emotalk_cli.face.fit import fit_portrait
from emotalk_cli.face.geometry import FaceMotion
from emotalk_cli.face.geometry.head import PIVOT
from emotalk_cli.face.model import FaceModel, rotation_matrix
from emotalk_cli.face.topology import INDEX, LEFT_EYE, OUTER_EYE_CORNERS, RIGHT_EYE
from emotalk_cli.face.tracker import Face, FaceTracker
from emotalk_cli.motion import blinks
from emotalk_cli.motion.take import Take, filmed

PORTRAIT = Path(__file__).parent.parent / "examples/portrait.png"


@pytest.fixture(scope="module")
def take() -> Take:
    """A film of four frames that lies on its side; one frame is black."""
    picture = np.rot90(np.array(Image.open(PORTRAIT).convert("RGB")), 3)
    frames = [np.ascontiguousarray(picture)] * 2 + [np.zeros_like(picture), np.roll(picture, 2, 0)]
    return filmed(frames, 25.0, FaceTracker.load(), FaceModel.load())


def test_a_film_on_its_side_is_turned(take):
    assert take.turns == 1 and take.missing == pytest.approx(0.25)
    assert take.pose.abs().max() < 0.1, "the face is upright and hardly moves"


def test_notes_say_what_was_turned_missing_or_too_short(take):
    speech = SimpleNamespace(seconds=3.0, notes=[])
    notes = notes_on(Performance(speech, None, take), {})
    assert [n.split(";")[0] for n in notes] == [
        "The film lies on its right side",
        "25% of the film shows no face",
        "The take lasts 0.2 s, the speech 3.0 s",
    ]
    whole = Take(25.0, torch.zeros(75, 64), torch.zeros(75, 6))
    assert notes_on(Performance(speech, None, whole), {}) == []


# -- a film of known motion -------------------------------------------------------------------------------------


class KnownTracker:
    """Sees the landmarks [T,478,3] that it was given, frame by frame."""

    def __init__(self, landmarks):
        nothing = np.zeros(51, np.float32), np.zeros(3, np.float32)
        self.faces = [Face(points.numpy(), (0, 0, 1, 1), 1.0, *nothing) for points in landmarks]

    def upright(self, image):
        return 0, self.faces[:1]

    def track(self, images, known):
        return [self.faces[int(image.flat[0])] for image in images]


def film_of(landmarks) -> Take:
    frames = [np.full((4, 4, 3), number, np.uint8) for number in range(len(landmarks))]
    return filmed(frames, 25.0, KnownTracker(landmarks), FaceModel.load())


@pytest.fixture(scope="module")
def face() -> FaceMotion:
    """The example portrait, ready to move."""
    pixels = np.array(Image.open(PORTRAIT).convert("RGB"))
    found = FaceTracker.load().upright(pixels)[1][0]
    model = FaceModel.load()
    return FaceMotion(model, fit_portrait(model, pixels, found.landmarks, found.blendshapes))


def test_a_head_that_turns_on_its_neck_does_not_move_aside():
    model, angle = FaceModel.load(), torch.linspace(0, 0.15, 12)
    turn = rotation_matrix(torch.stack([0 * angle, angle, 0 * angle], 1))
    pivot = torch.tensor(PIVOT)
    points = (model.mean + model.displacement(model.expression_rest[None]) - pivot) @ turn.transpose(1, 2) + pivot
    pose = film_of(points * torch.tensor([20.0, -20.0, -20.0]) + 256).pose
    assert pose[-1, 1].abs() == pytest.approx(0.15, abs=0.03)
    assert pose[:, 3:].abs().max() < 0.01  # of the crop; the middle of the face goes by 0.03


def test_a_portrait_out_of_the_film_moves_as_the_film_does(face):
    beta = face.contacts.unmoved.expand(16, -1).clone()
    beta[:, INDEX["jawOpen"]] += torch.linspace(0, 0.5, 16)
    beta[:, INDEX["browInnerUp"]] += torch.linspace(0.4, 0, 16)
    points = face.expressed(beta)
    take = film_of(points).of(face)
    unit = float((points[0, OUTER_EYE_CORNERS[0]] - points[0, OUTER_EYE_CORNERS[1]])[:2].norm())
    repeated = face.vertices(take.beta, take.pose) if take.track.moment_of(face.points) is not None else None
    assert repeated is not None, "none of its moments is the portrait"
    apart = (repeated - points)[1:-1, :, :2].norm(dim=2).mean(1) / unit  # the ends are smoothed
    moved = (points[-1] - points[0])[:, :2].norm(dim=1).mean() / unit
    assert apart.max() < 0.2 * moved


def test_another_face_takes_its_motion_from_rest(face):
    take = film_of(face.points.expand(8, -1, -1))
    other = SimpleNamespace(points=face.points * torch.tensor([1.0, 1.15, 1.0]))
    assert take.of(face) is not take and take.of(other) is take


def test_own_coefficients_leave_the_portrait_as_it_is(face):
    apart = (face.expressed(face.contacts.unmoved) - face.points)[0, :, :2].norm(dim=1)
    assert apart.mean() < 0.4 and apart.max() < 3  # px: a smile's outline is flatter than lips that speak
    gaps = face.contacts.parted(face.contacts.unmoved)
    assert gaps.mean() == pytest.approx(float(face.contacts.source_gap.mean()), abs=0.1)


def test_a_lid_that_comes_down_is_a_blink():
    """An eye drawn on skin, shut by a lid of the skin's colour in two frames of ten, half in one."""
    landmarks = np.zeros((478, 3), np.float32)
    for ring, left in ((LEFT_EYE, 60), (RIGHT_EYE, 20)):
        landmarks[ring[0], :2], landmarks[ring[8], :2] = (left, 30), (left + 20, 30)
    frames = []
    for shut in (0, 0, 0.5, 1, 1, 0, 0, 0, 0, 0):
        frame = np.full((60, 100, 3), (200, 150, 130), np.uint8)
        for left in (20, 60):
            top = 25 + round(10 * shut)
            frame[top:35, left : left + 20] = 230
            frame[top:35, left + 6 : left + 14] = 30
        frames.append(frame)
    closed = blinks.closures([blinks.patches(frame, landmarks) for frame in frames])
    assert closed[[0, 1, 5, 6, 7, 8, 9]].max() < 0.05 and closed[3:5].min() > 0.95
    assert 0.3 < closed[2].min() <= closed[2].max() < 0.95
    assert blinks.closures([blinks.patches(frames[3], landmarks)] * 4).max() == 0, "nothing to tell from skin"


def test_lips_part_from_the_middle(face):
    beta = torch.zeros(2, 64)
    beta[:, INDEX["jawOpen"]] = torch.tensor([0.04, 0.5])
    slim, wide = face.contacts.parted(beta)
    assert slim.max() > 0.5 and wide.max() > 10 * slim.max()  # px
    assert slim[0] / slim.max() < 0.2 < 0.3 < wide[0] / wide.max()  # 0.1 to 0.2 and 0.35 to 0.42 in films and photos
