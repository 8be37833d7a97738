"""Identity embedding: levelling, separation, training on pairs, the shipped weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from card import train_on
from PIL import Image

from emotalk_cli.evaluation.identity import ANCHORS, EYES, MOUTH, SIZE, Identity, level, separation, sharpness
from emotalk_cli.training.config import Config
from emotalk_cli.training.solver import Solver
from emotalk_cli.training.tasks.identity import IdentityTask, person


def landmarks(turn: float, scale: float, shift: tuple[float, float]) -> torch.Tensor:
    """Eyes and mouth where a levelled face has them, then turned, scaled and shifted."""
    points = torch.zeros(478, 2)
    points[ANCHORS[:4]] = torch.tensor(EYES) * 100
    points[ANCHORS[4:]] = torch.tensor(MOUTH) * 100
    rotation = torch.tensor([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]], dtype=torch.float32)
    return points @ rotation.T * scale + torch.tensor(shift)


def test_levelled_face_does_not_depend_on_turn_and_size():
    def picture(points: torch.Tensor) -> torch.Tensor:
        """A red spot on the eyes' middle, a green one on the mouth's."""
        y, x = torch.meshgrid(torch.arange(400.0), torch.arange(400.0), indexing="ij")
        out = torch.zeros(400, 400, 3)
        for channel, anchors in ((0, ANCHORS[:4]), (1, ANCHORS[6:])):
            at = points[anchors].mean(0)
            radius = 0.06 * (points[ANCHORS[0]] - points[ANCHORS[-1]]).norm()
            out[..., channel] = 255 * torch.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2) / (2 * radius**2))
        return out.byte()

    for turn, scale, shift in ((0.0, 2.0, (60.0, 40.0)), (0.5, 1.5, (150.0, 60.0)), (-0.3, 2.5, (60.0, 120.0))):
        points = landmarks(turn, scale, shift)
        face = level(picture(points), points)
        assert face.shape == (3, SIZE, SIZE)
        for channel, wanted in ((0, EYES), (1, MOUTH)):
            y, x = divmod(int(face[channel].argmax()), SIZE)
            assert (x / SIZE, y / SIZE) == pytest.approx(wanted, abs=0.03)


def test_embedding_is_a_unit_vector_that_ignores_exposure():
    net = Identity().eval()
    faces = torch.rand(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        vectors, darker = net(faces), net(faces * 0.5 + 0.1)
    assert torch.allclose(vectors.norm(dim=1), torch.ones(2), atol=1e-5)
    assert torch.allclose(vectors, darker, atol=1e-3) and (vectors[0] - vectors[1]).abs().max() > 1e-3


def test_separation_of_apart_and_alike():
    apart = separation(np.array([0.9, 0.8]), np.array([0.1, 0.2, 0.3]))
    assert apart["area"] == 1 and apart["equal_error"] == 0 and apart["same"] == pytest.approx(0.85)
    alike = separation(np.array([0.1, 0.3]), np.array([0.2, 0.2001, 0.19]))
    assert alike["area"] == 0.5


def test_sharpness_falls_with_blur_inside_the_mask_only():
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., 16:48, 16:48] = 1
    blurred = torch.nn.functional.avg_pool2d(image, 3, 1, 1)
    assert sharpness(blurred, mask) < 0.3 * sharpness(image, mask)
    assert sharpness(torch.where(mask > 0.5, image, blurred), mask) > 0.9 * sharpness(image, mask)


def test_people_by_file_name():
    assert person("smile.london_smiling.012_08.jpg.0.npz") == person("back-shut.london_neutral.012_03.jpg.1.npz")
    assert person("back-open.sfhq.a.jpg.0.npz") != person("back-open.sfhq.b.jpg.0.npz")
    assert person("back-shut.zoom.1.jpg.0.npz") == person("back-shut.zoom.2.jpg.0.npz") == "zoom"


def test_training_brings_a_person_together(tmp_path):
    """Eight people of different stripes, each shown twice, are told apart after a few steps."""
    (tmp_path / "samples").mkdir()
    rng = np.random.default_rng(0)
    points = landmarks(0.0, 2.0, (60.0, 40.0)).numpy()
    for number in range(8):
        stripes = (127 + 120 * np.sin(np.arange(384) * rng.uniform(0.05, 0.5) + rng.uniform(0, 6)))[:, None]
        picture = np.broadcast_to(stripes, (3, 384, 384)).astype(np.uint8)
        sample = {"source": picture, "target": picture, "points": points, "flow": np.zeros((2, 384, 384), np.float16)}
        np.savez(tmp_path / "samples" / f"back-shut.sfhq.{number}.jpg.0.npz", **sample)
    config = Config(steps=12, batch=8, rate=3e-3, warmup=1, validate_every=12, log_every=4, clip=0)
    solver = Solver(IdentityTask(tmp_path / "samples", config), config, tmp_path / "out")
    path = solver.run()
    assert solver.rows[-1]["loss"] < 0.7 * solver.rows[0]["loss"] and path.stat().st_size < 2e6
    train_on(solver.task)


def test_shipped_embedding_knows_a_face_in_another_light():
    picture = np.asarray(Image.open(Path(__file__).parents[1] / "examples" / "portrait.png").convert("RGB"))
    dim = (picture[:, ::-1] * 0.6 + 20).astype(np.uint8)
    first, second = Identity.load().embed([picture, dim])
    assert first @ second > 0.7
