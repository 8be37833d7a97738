"""The face tracker on the shipped portrait and on harder views made from it."""

from __future__ import annotations

import dataclasses
import math
import urllib.error
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image

from emotalk_cli.errors import WeightsError
from emotalk_cli.face.alignment import IBUG, AlignmentTracker, complete
from emotalk_cli.face.landmarker import crop_frames, cut
from emotalk_cli.face.model import FaceModel, rotation_matrix
from emotalk_cli.face.topology import (
    EXPRESSION_NAMES,
    INNER_LIPS,
    LEFT_LID_PAIRS,
    OUTER_LIPS,
    RIGHT_LID_PAIRS,
)
from emotalk_cli.face.tracker import RIGID, FaceTracker, head_rotations
from emotalk_cli.models import checkpoints
from emotalk_cli.training.data.faces import Labelled, MeshWarp
from emotalk_cli.training.data.mouths import MouthBank, openings, random_mouth

PORTRAIT = Path(__file__).parent.parent / "examples/portrait.png"
# MediaPipe's landmarks of skimage.data.astronaut(): outer eye corners, nose tip, mouth corners, chin, forehead.
ASTRONAUT = {33: (195.3, 100.6), 263: (255.3, 103.8), 1: (223.5, 131.1), 61: (202.3, 139.2), 291: (244.5, 140.6),
             152: (221.4, 177.4), 10: (226.0, 72.2)}  # fmt: skip
EYES = math.dist(ASTRONAUT[33], ASTRONAUT[263])


@pytest.fixture(scope="module")
def tracker() -> FaceTracker:
    return FaceTracker.load()


@pytest.fixture(scope="module")
def portrait() -> np.ndarray:
    return np.array(Image.open(PORTRAIT).convert("RGB"))


@pytest.fixture(scope="module")
def still(tracker, portrait):
    return tracker(portrait)[0]


def error(face, expected: np.ndarray, eyes: float) -> float:
    """Mean landmark distance / distance of the outer eye corners."""
    return float(np.linalg.norm(face.landmarks[:, :2] - expected[:, :2], axis=1).mean() / eyes)


def transformed(image: np.ndarray, angle: float, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """The picture turned and scaled about its centre on the same canvas, and the 2x3 affine old -> new px."""
    height, width = image.shape[:2]
    centre = np.array([width, height]) / 2
    cos, sin = scale * math.cos(math.radians(angle)), scale * math.sin(math.radians(angle))
    linear = np.array([[cos, -sin], [sin, cos]])
    affine = np.concatenate([linear, (centre - linear @ centre)[:, None]], 1)
    inverse = np.linalg.inv(linear)
    backward = np.concatenate([inverse, (-inverse @ affine[:, 2])[:, None]], 1)
    picture = Image.fromarray(image).transform(
        (width, height), Image.Transform.AFFINE, backward.ravel(), Image.Resampling.BICUBIC
    )
    return np.array(picture), affine


def test_finds_the_portrait_where_mediapipe_does(tracker, portrait):
    faces = tracker(portrait)
    assert len(faces) == 1
    found = faces[0].landmarks[list(ASTRONAUT), :2]
    assert np.linalg.norm(found - np.array(list(ASTRONAUT.values())), axis=1).mean() < 0.06 * EYES


def test_face_fields(still):
    assert still.landmarks.shape == (478, 3) and still.landmarks.dtype == np.float32
    assert still.blendshapes.shape == (51,) and (still.blendshapes >= 0).all() and (still.blendshapes <= 1).all()
    smile = still.blendshapes[[EXPRESSION_NAMES.index("mouthSmileLeft"), EXPRESSION_NAMES.index("mouthSmileRight")]]
    assert smile.min() > 0.3 and 0.5 <= still.score <= 1
    assert still.box[0] < ASTRONAUT[33][0] < ASTRONAUT[263][0] < still.box[2]
    assert still.landmarks[4, 2] < still.landmarks[[234, 454], 2].min(), "the nose is nearer than the cheeks"
    assert np.abs(still.rotation).max() < 0.5


@pytest.mark.parametrize("angle, scale", [(30, 1.0), (-30, 1.0), (0, 0.5), (15, 0.7), (0, 2.0)])
def test_follows_similarity(tracker, portrait, still, angle, scale):
    centred = np.roll(portrait, (130, 30), (0, 1))
    image, affine = transformed(centred, angle, scale)
    landmarks = (still.landmarks[:, :2] + (30, 130)) @ affine[:, :2].T + affine[:, 2]
    faces = tracker(image)
    assert faces and error(faces[0], landmarks, EYES * scale) < 0.06
    if scale == 1.0:
        turn = math.radians(angle)
        assert faces[0].rotation[2] - still.rotation[2] == pytest.approx(turn, abs=0.15)


@pytest.mark.parametrize("share", [0.08, 0.9])
def test_small_and_large_faces(tracker, portrait, still, share):
    x0, y0, x1, y1 = still.box
    if share == 0.9:
        image = portrait[int(y0) - 5 : int(y1) + 5, int(x0) - 5 : int(x1) + 5]
        landmarks, eyes = still.landmarks[:, :2] - (int(x0) - 5, int(y0) - 5), EYES
    else:
        image = np.full((1100, 1400, 3), (90, 120, 150), np.uint8)
        image[300:812, 500:1012] = portrait
        landmarks, eyes = still.landmarks[:, :2] + (500, 300), EYES
    faces = tracker(np.ascontiguousarray(image))
    assert len(faces) == 1 and error(faces[0], landmarks, eyes) < 0.06


def test_grey_dark_and_side_lit(tracker, portrait, still):
    grey = np.repeat(np.array(Image.fromarray(portrait).convert("L"))[..., None], 3, 2)
    lit = portrait * np.linspace(0.1, 1.9, 512)[None, :, None]
    for image in (grey, portrait // 3, lit.clip(0, 255).astype(np.uint8)):
        faces = tracker(image)
        assert faces and error(faces[0], still.landmarks, EYES) < 0.06


def test_a_small_face_in_a_large_picture(tracker, portrait, still):
    image = np.full((3024, 4032, 3), (90, 120, 150), np.uint8)
    small = np.array(Image.fromarray(portrait).resize((230, 230), Image.Resampling.LANCZOS))
    image[2000:2230, 700:930] = small
    faces = tracker(image)
    expected = still.landmarks[:, :2] * (230 / portrait.shape[0]) + (700, 2000)
    assert len(faces) == 1 and np.ptp(expected, axis=0).max() < 52
    assert error(faces[0], expected, EYES * 230 / portrait.shape[0]) < 0.05


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_pictures_on_their_side_are_turned(tracker, portrait, still, turns):
    found, faces = tracker.upright(np.ascontiguousarray(np.rot90(portrait, turns)))
    assert (found + turns) % 4 == 0 and error(faces[0], still.landmarks, EYES) < 0.02


def test_an_upright_picture_stays(tracker, portrait):
    assert tracker.upright(portrait)[0] == 0
    assert tracker.upright(np.zeros((200, 300, 3), np.uint8)) == (0, [])


def test_a_face_says_how_it_is_turned_and_whether_its_eyes_are_open(still):
    assert 5 < still.turn < 30 and still.eyes_open > 0.13
    shut = still.landmarks.copy()
    for upper, lower in RIGHT_LID_PAIRS + LEFT_LID_PAIRS:
        shut[upper] = shut[lower]
    away = dataclasses.replace(still, landmarks=shut, rotation=np.array([0.0, math.radians(40), 0.0], np.float32))
    assert away.turn == pytest.approx(40, abs=0.1) and away.eyes_open < 0.01


def test_several_faces_largest_first(tracker, portrait):
    head = portrait[0:256, 96:352]
    image = np.full((512, 800, 3), 200, np.uint8)
    image[40:168, 30:158] = head[::2, ::2]
    image[100:484, 320:704] = np.array(Image.fromarray(head).resize((384, 384)))
    faces = tracker(image)
    assert len(faces) == 2 and faces[0].area > 4 * faces[1].area
    assert faces[0].box[0] > 320 and faces[1].box[2] < 160


def test_pictures_without_a_face(tracker):
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    flat = np.full((200, 200, 3), 128, np.uint8)
    for image in (noise, flat, skimage.data.coffee(), skimage.data.rocket(), skimage.data.chelsea()):
        if image.ndim == 2:
            image = np.repeat(image[..., None], 3, 2)
        assert tracker(image) == []


@pytest.mark.parametrize("shape", [(1, 1), (1, 700), (900, 3), (8, 8)])
def test_odd_sizes(tracker, shape):
    assert tracker(np.zeros((*shape, 3), np.uint8)) == []


@pytest.mark.parametrize("image", [np.zeros((9, 9), np.uint8), np.zeros((9, 9, 4), np.uint8), np.zeros((9, 9, 3))])
def test_rejects_other_arrays(tracker, image):
    with pytest.raises(ValueError, match="uint8"):
        tracker(image)


def test_track_follows_and_recovers(tracker, portrait, still):
    frames = [np.roll(portrait, (i, 3 * i), (0, 1)) for i in range(5)]
    frames.insert(3, np.full_like(portrait, 128))
    faces = tracker.track(frames, batch=3)
    assert len(faces) == 6 and faces[3] is None
    for face, i in zip(faces[:3] + faces[4:], range(5), strict=True):
        assert error(face, still.landmarks + (3 * i, i, 0), EYES) < 0.03
    again = tracker.track(frames[:1], previous=faces[1])
    assert error(again[0], still.landmarks, EYES) < 0.03
    assert tracker.track([]) == []


def test_checkpoint_is_small(tracker):
    path = checkpoints.weights_dir() / "tracker.safetensors"
    assert path.stat().st_size <= 6 << 20


def test_cut_is_exact_on_a_ramp():
    y, x = torch.meshgrid(torch.arange(200) + 0.5, torch.arange(240) + 0.5, indexing="ij")
    image = torch.stack([x, y, x * 0]).to(torch.uint8)  # truncation: the value lies 0.5 under the coordinate
    turn = math.radians(20)
    crop = cut(image, (110, 100, 50, turn), 64, 1.2)[0] * 127.5 + 127.5 + 0.5
    unit = ((torch.arange(64) + 0.5) / 32 - 1) * 30
    v, u = torch.meshgrid(unit, unit, indexing="ij")
    assert (crop[0] - (110 + u * math.cos(turn) - v * math.sin(turn))).abs().max() < 0.02
    assert (crop[1] - (100 + u * math.sin(turn) + v * math.cos(turn))).abs().max() < 0.02


def test_crop_frames_turn_with_the_face(still):
    points = torch.from_numpy(still.landmarks[None])
    x, y, size, roll = crop_frames(points)[0].tolist()
    turn = 0.4
    rotation = torch.tensor([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    moved = crop_frames(3 * points[..., :2] @ rotation.T + 7)[0]
    centre = 3 * rotation @ torch.tensor([x, y]) + 7
    assert moved.tolist() == pytest.approx([*centre.tolist(), 3 * size, roll + turn], rel=1e-3)


def test_head_rotations_recover_known_ones():
    rigid = FaceModel.load().mean[list(RIGID)] * torch.tensor([1.0, -1.0, -1.0])
    vectors = torch.tensor([[0.1, 0.4, -0.2], [0.0, 0.0, 0.0], [-0.3, -0.6, 0.5]])
    points = 40 * torch.einsum("bij,nj->bni", rotation_matrix(vectors), rigid) + torch.tensor([300.0, 200.0, 5.0])
    assert torch.allclose(head_rotations(points, rigid), vectors, atol=1e-3)


def test_mesh_warp_moves_pixels_and_labels_together(portrait, still):
    model = FaceModel.load()
    basis = {name: getattr(model, name).numpy() for name in ("mean", "identity", "expression", "triangles")}
    warp = MeshWarp(basis | {"expression_names": np.array(EXPRESSION_NAMES)})
    image = portrait.copy()
    marked = (4, 50, 280, 151)
    for k in marked:
        x, y = still.landmarks[k, :2].astype(int)
        image[y - 1 : y + 2, x - 1 : x + 2] = (0, 255, 0)
    face = Labelled("astronaut", image, still.landmarks, still.blendshapes)
    rng = np.random.default_rng(3)
    target, scores = warp.random_target(face, rng)
    out, shown = warp.move(image, still.landmarks, target, rng)
    assert np.linalg.norm(shown - still.landmarks, axis=1).mean() > 1 and scores.max() <= 1
    for k in marked:
        x, y = shown[k, :2].astype(int)
        red, green, blue = out[y - 1 : y + 2, x - 1 : x + 2].reshape(-1, 3).astype(int).T
        assert (green - np.maximum(red, blue)).max() > 60
    unmoved, same = warp.move(image, still.landmarks, still.landmarks, rng)
    assert np.abs(unmoved.astype(int) - image).mean() < 1.5 and np.allclose(same, still.landmarks, atol=0.3)


@pytest.fixture(scope="module")
def warp() -> MeshWarp:
    model = FaceModel.load()
    basis = {name: getattr(model, name).numpy() for name in ("mean", "identity", "expression", "triangles", "mirror")}
    return MeshWarp(basis | {"expression_names": np.array(EXPRESSION_NAMES)})


def test_openings_are_seen_as_wide_as_they_are(tracker, portrait, still, warp):
    """The portrait with its lips at many distances: what the tracker reads grows as they do."""
    rng, true, seen = np.random.default_rng(1), [], []
    face = Labelled("astronaut", portrait, still.landmarks, still.blendshapes)
    for _ in range(8):
        image, shown = warp.move(portrait, still.landmarks, random_mouth(warp, face, rng), rng)
        true.append(openings(shown))
        seen.append(openings(tracker(image)[0].landmarks))
    assert np.ptp(true) > 15
    assert np.corrcoef(true, seen)[0, 1] > 0.96 and 0.85 < np.polyfit(true, seen, 1)[0] < 1.15


def test_mouth_bank_labels_what_it_shows(portrait, still, warp):
    face = Labelled("astronaut", portrait, still.landmarks, still.blendshapes)
    bank = MouthBank([face], iter(()), warp, 3, np.random.default_rng(0))
    assert bank.pictures.shape[1:] == (160, 160, 3) and len(bank.pictures) == 4
    assert set(bank.vertices[:40]) == set(INNER_LIPS + OUTER_LIPS) and (bank.share[:40] == 1).all()
    assert bank.landmarks[:, :40, :2].mean((0, 1)).tolist() == pytest.approx([80, 80], abs=4), "centred on the lips"
    assert sorted(bank.mirror.tolist()) == list(range(len(bank.vertices)))


def test_alignment_completes_68_points():
    model = FaceModel.load()
    generator = torch.Generator().manual_seed(0)
    alpha, beta = 0.5 * torch.randn(1, model.identity.shape[0], generator=generator), torch.zeros(1, 64)
    beta[0, EXPRESSION_NAMES.index("jawOpen")] = 0.6
    shape = model.vertices(alpha, beta)[0] * torch.tensor([1.0, -1.0, -1.0])
    vector = torch.tensor([[0.05, 0.25, 0.1]])
    truth = (20 * shape @ rotation_matrix(vector)[0].T + torch.tensor([300.0, 250.0, 0.0])).numpy()
    landmarks, scores, rotation = complete(model, truth[list(IBUG), :2])
    eyes = np.linalg.norm(truth[33, :2] - truth[263, :2])
    assert np.linalg.norm(landmarks[:, :2] - truth[:, :2], axis=1).mean() < 0.04 * eyes
    assert scores.shape == (51,) and scores[EXPRESSION_NAMES.index("jawOpen")] > 0.2
    assert np.abs(rotation - vector[0].numpy()).max() < 0.15


def test_alignment_tracker_sorts_and_tracks():
    model = FaceModel.load()
    mesh = (model.mean * torch.tensor([1.0, -1.0, -1.0])).numpy()
    small, large = (mesh[list(IBUG), :2] * s + o for s, o in ((5, 60), (12, 300)))

    class Library:
        answers = iter([([small, large], [[0.9], [0.8]], None), ([large, small], [[0.9], [0.9]], None), (None,) * 3])

        def get_landmarks_from_image(self, image, return_landmark_score):
            return next(self.answers)

    backend, picture = AlignmentTracker(Library(), model), np.zeros((500, 500, 3), np.uint8)
    faces = backend(picture)
    assert [round(f.score, 2) for f in faces] == [0.8, 0.9] and faces[0].area > faces[1].area
    followed = backend.track([picture, picture], previous=faces[1])
    assert abs(followed[0].landmarks[:, 0].mean() - 60) < 10 and followed[1] is None


def test_alignment_without_weights_says_what_to_do(monkeypatch):
    import face_alignment

    def offline(*args, **kwargs):
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(face_alignment, "FaceAlignment", offline)
    with pytest.raises(WeightsError, match="landmarks builtin") as caught:
        AlignmentTracker.load()
    assert "Name or service not known" in str(caught.value) and "checkpoints" in str(caught.value)
