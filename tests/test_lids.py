"""The lid painter: where it paints, and how it learns."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from emotalk_cli.face.geometry.crop import local
from emotalk_cli.models.lids import (
    BAND_IN,
    BAND_OUT,
    CROP_HEIGHT,
    CROP_WIDTH,
    LEFT,
    LOWER,
    RIGHT,
    UPPER,
    LidPainter,
    moved,
    parted,
    placed,
    seen,
)
from emotalk_cli.training.config import Config
from emotalk_cli.training.tasks import lids
from emotalk_cli.training.tasks.lids import LidTask


def outline(gap: float = 14.0) -> torch.Tensor:
    """An almond [1,16,2], 48 px wide, in the crop's own place."""
    along = torch.linspace(0, 1, 9)
    arch = (along * (1 - along) * 4)[:, None] * torch.tensor([0.0, gap / 2])
    line = torch.stack([16 + 48 * along, torch.full_like(along, 30.0)], 1)
    return torch.cat([line - arch, (line + arch).flip(0)[1:-1]])[None]


@pytest.fixture(scope="module")
def task(tmp_path_factory) -> LidTask:
    """Four eyes of two people."""
    path, rng = tmp_path_factory.mktemp("eyes") / "lids.npz", np.random.default_rng(0)
    rings = torch.cat([outline(g) for g in (14, 12, 3, 16)])
    arrays = {"image": rng.integers(60, 200, (4, CROP_HEIGHT, CROP_WIDTH, 3)).astype(np.uint8)}
    arrays |= {"outline": rings.half().numpy(), "iris": np.full((4, 2), [40, 30], np.float16)}
    arrays |= {"width": np.full(4, 48.0, np.float32), "left": np.array([1, 0, 1, 1], bool)}
    np.savez(path, of=np.array(["a", "a", "b", "b"]), film=np.array([0, 0, 1, 1], bool), **arrays)
    return LidTask(path, Config())


def test_crops_have_one_scale_and_the_outer_corner_on_the_left():
    for side, turn in ((RIGHT, [[1.5, 0.4], [-0.4, 1.5]]), (LEFT, [[-1.5, 0.4], [0.4, 1.5]])):  # mirrored
        there = outline() @ torch.tensor(turn).T + torch.tensor([200.0, 150.0])
        assert torch.allclose(local(there, placed(there, (side,))), outline(), atol=1e-3)


def test_only_rims_are_painted_and_untrained_nothing_is():
    frame = torch.rand(1, 3, 128, 160, generator=torch.Generator().manual_seed(0))
    mirrored = torch.tensor([80.0, 0.0]) + outline() * torch.tensor([-1.0, 1.0])
    rims = torch.stack([mirrored + torch.tensor([70.0, 30.0]), outline() + torch.tensor([4.0, 30.0])], 1)
    painter, opened = LidPainter(), torch.full((1, 2), 1.2)
    with torch.inference_mode():
        eyes = painter.eyes(frame, rims[0])
        assert torch.allclose(painter.paint(frame.clone(), rims, opened, eyes), frame, atol=1e-6)
        torch.nn.init.constant_(painter.head.bias, 0.5)
        change = (painter.paint(frame.clone(), rims, opened, eyes) - frame).abs().amax(1)[0]
        assert torch.equal(painter.paint(frame.clone(), rims, torch.ones(1, 2), eyes), frame)
    assert change[60, 44] == 0 and change[60, 110] == 0  # the middle of the eyes
    assert change[60 - 7, 44] > 0.05 and change[60 + 7, 110] > 0.05
    assert not change[: 60 - 7 - int(BAND_OUT) - 2].any() and BAND_IN < 7


def test_lids_that_overlap_are_parted():
    closed = parted(outline(-6.0))
    assert torch.equal(parted(outline()), outline())
    assert ((closed[:, LOWER] - closed[:, UPPER])[:, 1:-1, 1] > 0.5).all()


def test_lids_move_over_an_eyeball_that_stays():
    eye = seen(torch.rand(1, 3, CROP_HEIGHT, CROP_WIDTH), torch.eye(2, 3)[None])
    wide, narrow = outline(16), lids.opened(outline(16), torch.tensor([0.5]))
    assert torch.allclose(moved(eye, wide, wide)[..., 26:34, 30:50], eye[..., 26:34, 30:50], atol=1e-4)
    half = moved(eye, wide, narrow)
    assert torch.allclose(half[..., 29:32, 36:44], eye[..., 29:32, 36:44], atol=1e-4)
    assert not torch.allclose(half[..., 20:24, 36:44], eye[..., 20:24, 36:44], atol=1e-2)


def test_a_step_moves_painter_and_critic(task):
    optimizers, batch = task.optimizers(), task.batch(np.random.default_rng(0), 4)
    before = {n: p.detach().clone() for n, p in task.model.named_parameters()}
    for _ in range(2):  # the head begins at zero
        for name, loss, scalars in task.losses(batch, 500, 1000):
            assert torch.isfinite(loss) and all(torch.isfinite(torch.as_tensor(v)) for v in scalars.values())
            optimizers[name].zero_grad()
            loss.backward()
            optimizers[name].step()
    assert [n for n, p in task.model.named_parameters() if torch.equal(p, before[n])] == []
    assert set(task.validate(task.model)) == {"painted", "drawn"}


def test_the_photographs_rim_does_not_reach_the_painter(task):
    """What is hidden must be unknown, or completion would be copying."""
    batch = task.batch(np.random.default_rng(1), 4)
    batch["around"] = batch["target"]
    other = batch | {"around": torch.where(batch["hidden"] == 1, torch.rand_like(batch["target"]), batch["target"])}
    made = [task.model(*(b[k] for k in ("drawn", "around", "distance", "hidden"))) for b in (batch, other)]
    assert torch.equal(*made) and (batch["hidden"] == 1).sum() > 500
