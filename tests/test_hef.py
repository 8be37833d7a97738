"""HEF: what an untrained one returns, where it may change pixels, its variants, its training, its shipped weights."""

from __future__ import annotations

import dataclasses
import time

import numpy as np
import pytest
import torch

from emotalk_cli import checkpoints
from emotalk_cli.face.fit import Pose, fit_portrait
from emotalk_cli.face.model import EXPRESSION_NAMES, INDEX, FaceModel
from emotalk_cli.face.motion import FaceMotion, still
from emotalk_cli.hef import HEF, Drive, HEFDims, region, warp
from emotalk_cli.metrics.generator import compare
from emotalk_cli.training.hef import MIRROR, Pairs, Trainer, augment, generate, paled
from emotalk_cli.training.hef_pairs import pack, similarity, unpack

SMALL = HEFDims(style=(8,) * 7, source=(8, 8, 8, 8, 8, 8, 4), rendered=(8,) * 7, code=8)


@pytest.fixture(scope="module")
def model() -> FaceModel:
    return FaceModel.load()


@pytest.fixture(scope="module")
def portrait(model):
    """The mean face fitted on a coloured noise picture: no tracker needed."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.nn.functional.interpolate(torch.rand(1, 3, 40, 40, generator=generator), (400, 400), mode="bicubic")
    picture = (noise[0].clamp(0, 1) * 255).byte().permute(1, 2, 0).numpy()
    pose = Pose(torch.eye(3)[None], torch.tensor([14.0]), torch.tensor([[200.0, 200.0, 0.0]]))
    landmarks = pose.project(model.mean[None] - model.mean.mean(0))[0]
    return fit_portrait(model, picture, landmarks.numpy())


@pytest.fixture(scope="module")
def beta() -> torch.Tensor:
    """Two frames: an open, smiling mouth and a frown."""
    beta = torch.zeros(2, 64)
    beta[0, [INDEX[n] for n in ("jawOpen", "mouthSmileLeft", "mouthSmileRight")]] = 0.6
    beta[1, [INDEX[n] for n in ("browDownLeft", "browDownRight")]] = 0.9
    return beta


@pytest.fixture(scope="module")
def geometry(model, portrait, beta):
    return FaceMotion(model, portrait).frame(beta, still(2))


def stirred(dims: HEFDims | None = None, seed: int = 1) -> HEF:
    """A generator whose zero-initialised heads have been given random weights."""
    torch.manual_seed(seed)
    hef = HEF(dims)
    for head in hef.heads:
        torch.nn.init.normal_(head.weight, std=0.02)
    return hef.eval()


def test_untrained_returns_the_geometry(portrait, geometry, beta):
    hef = HEF().eval()
    frames = hef(hef.source(portrait), geometry, beta, still(2))
    assert frames.shape == (2, 3, 512, 512)
    assert (frames - geometry.composite()).abs().max() < 2e-3  # the same warp, sampled from the window


def test_background_is_untouched_and_the_face_is_not(portrait, geometry, beta):
    hef = stirred()
    frames = hef(hef.source(portrait), geometry, beta, still(2))
    face = torch.maximum(torch.maximum(geometry.face, geometry.mouth), geometry.eyes)
    outside = torch.nn.functional.max_pool2d(face, 49, 1, 24) == 0
    assert 0.2 < outside.float().mean() < 0.9
    difference = (frames - geometry.composite()).abs().amax(1, keepdim=True)
    assert difference[outside].max() == 0
    assert difference[geometry.face > 0.99].mean() > 1e-3
    assert frames.min() >= 0 and frames.max() <= 1


def test_frames_are_repeatable_and_do_not_depend_on_their_batch(portrait, geometry, beta):
    hef = stirred()
    source = hef.source(portrait)
    both = hef(source, geometry, beta, still(2))
    assert torch.equal(both, hef(source, geometry, beta, still(2)))
    second = dataclasses.replace(
        geometry, **{f.name: getattr(geometry, f.name)[1:] for f in dataclasses.fields(geometry)}
    )
    assert torch.allclose(hef(source, second, beta[1:], still(1)), both[1:], atol=1e-4)


def test_style_code_matters_but_an_untrained_token_does_not(portrait, geometry, beta):
    hef = stirred()
    source = hef.source(portrait)
    plain = hef(source, geometry, beta, still(2))
    assert (hef(source, geometry, beta.flip(0), still(2)) - plain).abs().max() > 1e-3
    token = torch.ones(2, hef.dims.sigma)
    assert torch.equal(hef(source, geometry, beta, still(2), token), plain)


def window_drive(hef: HEF, geometry) -> Drive:
    drive = hef.drive(geometry)
    return Drive(**{f.name: getattr(drive, f.name).clone() for f in dataclasses.fields(Drive)})


def window_source(hef: HEF, portrait):
    identity = torch.cat([portrait.alpha, portrait.delta, portrait.gamma])[None]
    return hef.encode(hef.window(portrait.image[None]), hef.open_mouth(portrait.landmarks[None]), identity)


def test_every_parameter_learns(portrait, geometry, beta):
    hef = stirred()
    image, _ = hef.refine(
        window_source(hef, portrait), window_drive(hef, geometry), beta, still(2) + 0.1, torch.ones(2, hef.dims.sigma)
    )
    image.square().mean().backward()
    silent = [n for n, p in hef.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert silent == []


def test_squares_equal_the_whole_window_inside(portrait, geometry, beta):
    hef = stirred()
    source, drive = window_source(hef, portrait), window_drive(hef, geometry)
    corners = [(160, 112), (96, 200)]
    with torch.no_grad():
        whole, _ = hef.refine(source, drive, beta, still(2))
        squares, _ = hef.refine(source, drive, beta, still(2), None, corners, 144)
    inner = (..., slice(48, -48), slice(48, -48))
    assert (squares - region(whole, corners, 144))[inner].abs().mean() < 1e-3
    assert squares.shape == (2, 3, 144, 144)


def test_variants_of_the_paper_table(portrait, geometry, beta):
    start = stirred(HEFDims(geometry=False)).drive(geometry)
    assert start.flow.abs().max() == 0 and torch.equal(start.ratio, torch.ones_like(start.ratio))
    flows = {}
    for name in ("full", "residual", "hierarchy"):
        hef = stirred(HEFDims() if name == "full" else HEFDims(**{name: False}))
        with torch.no_grad():
            _, parts = hef.refine(window_source(hef, portrait), window_drive(hef, geometry), beta, still(2))
        flows[name] = parts["flow"][:, :, 150:250, 150:250]
    rough = {n: (f[..., 2:] - 2 * f[..., 1:-1] + f[..., :-2]).abs().mean() for n, f in flows.items()}
    assert rough["hierarchy"] < rough["full"] / 3  # one 48x48 field is smooth at full size
    assert (flows["residual"] - flows["full"]).abs().mean() > 0.01


def test_warp_moves_by_pixels_in_squares_too():
    image = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    flow = torch.zeros(1, 2, 64, 64)
    flow[:, 0] = 3
    moved = warp(image, flow, 64)
    assert torch.allclose(moved[..., :-3], image[..., 3:], atol=1e-5)
    part = warp(image, flow[..., 8:24, 16:32], 64, torch.tensor([[16.0, 8.0]]))
    assert torch.allclose(part, moved[..., 8:24, 16:32], atol=1e-5)


def test_similarity_recovers_turn_scale_and_shift():
    points = np.random.default_rng(0).normal(size=(12, 2)) * 50
    turn = np.array([[0.8, -0.6], [0.6, 0.8]]) * 1.7
    found = similarity(points, points @ turn.T + [5, -9])
    assert np.allclose(found, np.concatenate([turn, [[5], [-9]]], 1))


def test_mirror_swaps_sides_and_undoes_itself():
    assert MIRROR[INDEX["eyeBlinkLeft"]] == INDEX["eyeBlinkRight"]
    assert [MIRROR[i] for i in MIRROR] == list(range(len(EXPRESSION_NAMES)))


@pytest.fixture()
def cache(tmp_path, model, portrait, geometry, beta):
    """Two prepared samples on disk."""
    first = dataclasses.replace(
        geometry, **{f.name: getattr(geometry, f.name)[:1] for f in dataclasses.fields(geometry)}
    )
    sample = pack(HEF(), portrait, first, portrait.image * 0.6, portrait.landmarks, beta[0])
    for i in range(2):
        np.savez(tmp_path / f"back.sfhq.{i}.jpg.0.npz", opening=np.float32(0.1 * i), **sample)
    return tmp_path


def test_packed_samples_come_back(cache, portrait, geometry):
    hef, sample = HEF(), Pairs(cache, False).load(0)
    assert (sample["source"] - hef.window(portrait.image[None])[0]).abs().max() < 0.003
    assert (sample["ratio"] - hef.window(geometry.ratio)[0]).abs().max() < 0.005
    assert (sample["flow"] - hef.window(geometry.flow)[0]).abs().max() < 0.02
    assert (hef.open_mouth(portrait.landmarks[None])[0] - sample["source_mouth"]).abs().max() < 0.005
    grey = unpack({"source": np.full((3, 2, 2), 7, np.uint8), "ratio": np.zeros(1, np.uint8)}, np.ones((3, 256), "f4"))
    assert torch.equal(grey["source"], torch.ones(3, 2, 2))


def test_mirrored_sample_is_the_mirror_image(cache):
    pairs = Pairs(cache, False)
    plain = pairs.load(0)
    seed = next(s for s in range(20) if np.random.default_rng(s).random() < 0.5)
    turned = augment(pairs.load(0), np.random.default_rng(seed))
    assert torch.equal(turned["target"], plain["target"].flip(-1))
    assert torch.equal(turned["flow"][0], -plain["flow"][0].flip(-1))


def test_grey_pictures_keep_the_drawn_mouth_coloured(cache):
    pairs = Pairs(cache, False)
    plain, grey = pairs.load(0), paled(pairs.load(0), 0.0)
    assert (grey["source"].std(0) < 1e-6).all() and plain["source"].std(0).max() > 0.1
    inside = plain["mouth"][0] == 1
    assert torch.equal(grey["rendered"][:, inside], plain["rendered"][:, inside])


def test_resumed_training_takes_the_same_steps(cache):
    pairs = Pairs(cache, False)
    first = Trainer(SMALL, 1e-3, 0, "cpu")
    logs = [first.train_step(pairs, 1, 10, 1) for _ in range(2)]
    state = first.state()
    second = Trainer(SMALL, 1e-3, 5, "cpu")
    second.restore(state)
    assert first.train_step(pairs, 1, 10, 1) == second.train_step(pairs, 1, 10, 1)
    assert set(logs[1]) >= {"pixel", "edge", "adversarial", "critic"}
    assert first.step == 3


def test_half_precision_training_follows_full(cache):
    logs = [Trainer(SMALL, 1e-3, 0, "cpu", half).train_step(Pairs(cache, False), 1, 10, 0) for half in (False, True)]
    assert logs[0]["pixel"] == pytest.approx(logs[1]["pixel"], rel=0.02)


def test_training_reduces_the_error(cache):
    trainer, pairs = Trainer(HEFDims(), 4e-3, 0, "cpu"), Pairs(cache, False)
    batch = {k: v[None] for k, v in pairs.load(0).items()}

    def error() -> float:
        with torch.no_grad():
            image, parts = generate(trainer.model, batch)
        return float((parts["support"] * (image - batch["target"]).abs()).mean())

    before = error()
    for _ in range(16):
        trainer.train_step(pairs, 1, 100, 100)
    assert error() < 0.8 * before


def test_measures_know_equal_from_different():
    image = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    same = compare(image, image, torch.ones(1, 1, 32, 32))
    other = compare(image, image.flip(-1), torch.ones(1, 1, 32, 32))
    assert same["ssim"] == pytest.approx(1) and same["l1"] == 0 and other["psnr"] < 20 and other["ssim"] < 0.9


def test_shipped_weights_are_lean_and_draw_a_mouth(portrait, geometry, beta):
    hef = HEF.load()
    assert sum(p.numel() for p in hef.parameters()) < 2.5e6
    assert checkpoints.load("hef").path.stat().st_size < 6e6
    frames = hef(hef.source(portrait), geometry, beta, still(2))
    change = (frames - geometry.composite()).abs().mean(1, keepdim=True)
    assert torch.isfinite(frames).all()
    inside, light = geometry.mouth > 0.99, geometry.interior.mean(1, keepdim=True)
    lit, dark = change[inside & (light > 0.35)].mean(), change[inside & (light < 0.1)].mean()
    assert lit > 0.005 and dark < lit / 4


def test_a_frame_takes_less_than_a_second(portrait, model, beta):
    hef, geometry = HEF().eval(), FaceMotion(model, portrait).frame(beta[:1], still(1))
    source, times = hef.source(portrait), []
    for _ in range(4):
        begin = time.perf_counter()
        hef(source, geometry, beta[:1], still(1))
        times.append(time.perf_counter() - begin)
    assert min(times) < 1.0
