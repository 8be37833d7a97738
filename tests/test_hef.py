"""HEF: what an untrained one returns, where it may change pixels, its variants, its training, its shipped weights."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from card import train_on
from conftest import PORTRAIT

from emotalk_cli.api import EmoTalk
from emotalk_cli.errors import UsageError
from emotalk_cli.evaluation.emotion import READINGS
from emotalk_cli.evaluation.generator import compare, wheel
from emotalk_cli.face.fit import Pose, fit_portrait
from emotalk_cli.face.geometry import FaceMotion, still
from emotalk_cli.face.model import FaceModel
from emotalk_cli.face.topology import EXPRESSION_NAMES, INDEX
from emotalk_cli.face.tracker import FaceTracker
from emotalk_cli.models import acceleration as engine
from emotalk_cli.models import checkpoints
from emotalk_cli.models.hef import HEF, Drive, HEFDims, between_pairs, halved, occupied, paired, region, warp
from emotalk_cli.training.config import Config
from emotalk_cli.training.data.hef_pairs import (
    LandmarkMotion,
    back_translated,
    exposed,
    mismatch,
    pack,
    similarity,
    unpack,
)
from emotalk_cli.training.solver import Solver
from emotalk_cli.training.tasks.hef import (
    EMOTIONS,
    MIRROR,
    SHARES,
    HEFTask,
    Pairs,
    augment,
    generate,
    landmark_loss,
    paled,
    reading_loss,
    tracked,
)


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
    difference = (frames - geometry.composite()).abs()
    assert difference.mean() < 2e-5 and difference.max() < 8e-3  # read from the window: cubics are steep in noise


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


def test_a_portrait_at_rest_stays_as_bright(model, portrait):
    """What the shipped network does to a face that does not move, where it is broad, is made up for."""
    hef, motion = HEF.load(), FaceMotion(model, portrait)
    beta, geometry = motion.source_beta, motion.frame(motion.source_beta, still(1))
    inside, broad = (geometry.face * (1 - geometry.mouth) > 0.99)[..., 8::16, 8::16], []
    for source in (hef.source(portrait), hef.source(portrait, motion)):
        change = hef(source, geometry, beta, still(1)) - portrait.image[None]
        broad.append(torch.nn.functional.avg_pool2d(change, 16)[inside.expand(-1, 3, -1, -1)].abs().mean())
    assert broad[1] < 0.75 * broad[0]


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
        squares, _ = hef.refine(source, drive, beta, still(2), None, corners, (144, 144))
    inner = (..., slice(48, -48), slice(48, -48))
    assert (squares - region(whole, corners, (144, 144)))[inner].abs().mean() < 1e-3
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


def test_occupied_box_in_whole_steps():
    mask = torch.zeros(1, 1, 40, 40)
    mask[0, 0, 9:13, 21:30] = 1
    assert occupied(mask) == (slice(9, 13), slice(21, 30))
    assert occupied(mask, 8, 2) == (slice(0, 16), slice(16, 32))
    assert occupied(mask * 0)[0].stop - occupied(mask * 0)[0].start == 1


def test_flow_colours_tell_direction():
    flow = torch.zeros(2, 128, 128)
    flow[0, :, :64], flow[0, :, 64:] = -5, 5
    picture = wheel(flow)
    assert (picture[100, 20] != picture[100, 100]).any() and (picture[100, 20] == picture[120, 50]).all()


@pytest.mark.parametrize("count", [3, 4, 7])
def test_what_lies_between_pairs_of_frames_is_linear_in_time(count):
    times = torch.arange(float(count))
    middles = paired(times)
    assert middles.tolist() == [0.5, 2.5, 4.5, 6.0][: count // 2] + [count - 1.0] * (count % 2)
    wanted = times.clamp(middles[0], middles[-1])
    torch.testing.assert_close(between_pairs(count) @ middles, wanted)
    assert between_pairs(count).min() >= 0


@torch.inference_mode()
def test_in_a_film_the_network_runs_once_for_two_frames(model, portrait, monkeypatch):
    hef, runs = stirred(), []
    source, beta = hef.source(portrait), torch.zeros(4, 64)
    beta[:, [INDEX["jawOpen"], INDEX["mouthSmileLeft"]]] = torch.linspace(0.2, 0.4, 4)[:, None]  # 8 frames to open
    geometry = FaceMotion(model, portrait).frame(beta, still(4))
    coarse = HEF.coarse
    monkeypatch.setattr(HEF, "coarse", lambda self, *given: (runs.append(len(given[3])), coarse(self, *given))[1])
    each = hef(source, geometry, beta, still(4))
    film = hef(source, geometry, beta, still(4), film=True)
    assert runs == [4, 2]
    plain = geometry.composite()
    error = (film - each).abs().mean((1, 2, 3))
    assert error.max() < 0.1 * (each - plain).abs().mean() and error.max() < 0.5 / 255
    assert error.min() > 0


def test_half_resolution_is_the_same_face(portrait, geometry, beta):
    hef = HEF().eval()
    source = hef.source(portrait)
    frames = hef(source, geometry, beta, still(2), half=True)
    assert frames.shape == (2, 3, 256, 256)
    whole = torch.nn.functional.avg_pool2d(hef(source, geometry, beta, still(2)), 2)
    inside = torch.nn.functional.avg_pool2d(geometry.face, 2) > 0.99
    error = ((frames - whole).abs() * inside).sum() / (3 * inside.sum())
    assert error < 0.02  # noise, so read at half size it is softer
    assert torch.allclose(frames[..., :8, :], whole[..., :8, :], atol=1e-6)
    trained = stirred()
    assert (trained(source, geometry, beta, still(2), half=True) - frames).abs().mean() > 1e-3


def test_half_resolution_reads_the_driving_face_as_if_doubled(portrait, geometry):
    hef = stirred()
    driven = torch.rand(2, 8, 192, 192, generator=torch.Generator().manual_seed(0))
    doubled = driven.repeat_interleave(2, 2).repeat_interleave(2, 3)
    for small, large in zip(hef.encode_rendered.forward_half(driven), hef.encode_rendered(doubled), strict=False):
        assert torch.allclose(small, large, atol=1e-5)


def test_training_sees_what_half_resolution_shows(portrait, geometry, beta):
    hef = stirred()
    source, drive = window_source(hef, portrait), window_drive(hef, geometry)
    with torch.no_grad():
        squares, parts = hef.refine(source, drive, beta, still(2), None, [(160, 112)] * 2, (144, 144), split=6)
        whole, _ = hef.refine(source, drive, beta, still(2))
        small, _ = hef.refine(
            source,
            dataclasses.replace(drive, **{f: halved(getattr(drive, f)) for f in vars(drive) if f != "hue"}),
            beta,
            still(2),
        )
    assert torch.allclose(
        squares[..., 16:-16, 16:-16], region(whole, [(160, 112)] * 2, (144, 144))[..., 16:-16, 16:-16], atol=1e-5
    )
    assert parts["half"].shape == small.shape == (2, 3, 192, 192)
    assert (parts["half"] - small).abs().mean() < 0.01


def test_engines_give_the_same_frames(portrait, geometry, beta, monkeypatch):
    """What is compiled or captured stands in for the blocks; short batches are padded."""
    hef = stirred()
    source, calls, traced = hef.source(portrait), [], []
    plain = hef(source, geometry, beta, still(2))
    compiled = engine.compiled

    def recorded(function, tensors):
        held = [tensor.clone() for tensor in tensors]
        traced.append(zip(compiled(function, held, backend="eager")(*held), function(*held), strict=True))

        def replay(*new):
            calls.append([len(t) for t in new])
            for place, tensor in zip(held, new, strict=True):
                place.copy_(tensor)  # as a graph: shapes never change
            return function(*held)

        return replay

    monkeypatch.setattr(engine, "compiled", recorded)
    monkeypatch.setattr("emotalk_cli.models.hef.check", lambda *_: None)
    hef.accelerate("compile")
    assert (hef(source, geometry, beta, still(2)) - plain).abs().max() < 2e-3
    second = dataclasses.replace(
        geometry, **{f.name: getattr(geometry, f.name)[1:] for f in dataclasses.fields(geometry)}
    )
    assert (hef(source, second, beta[1:], still(1)) - plain[1:]).abs().max() < 2e-3
    assert calls[0] == calls[1] and calls[0][0] == 2 and calls[0][-1] == 1
    assert all((a - b).abs().max() < 2e-3 for a, b in traced[0])  # loops of numba are left out of it
    assert hef.accelerate("eager").fast is None


def test_compiled_function_is_the_function():
    steady = engine.Steady(lambda f, t: engine.compiled(f, t, backend="eager"), lambda a, b: (a * 2 + b, a.sum(1)))
    a, b = torch.rand(3, 4), torch.rand(1, 4)
    for count in (3, 2, 3):
        double, total = steady(a[:count], b)
        assert torch.equal(double, a[:count] * 2 + b) and torch.equal(total, a[:count].sum(1))


def test_engines_that_cannot_run_are_refused(monkeypatch):
    with pytest.raises(UsageError, match="NVIDIA"):
        engine.check("graphs", torch.device("cpu"))
    with pytest.raises(UsageError, match="unknown"):
        engine.check("fast", torch.device("cpu"))
    monkeypatch.setattr(engine.shutil, "which", lambda name: None)
    with pytest.raises(UsageError, match="compiler"):
        engine.check("compile", torch.device("cpu"))
    engine.check("compile", torch.device("cuda"))
    assert [engine.resolved("auto", torch.device(d)) for d in ("cuda", "cpu", "mps")] == ["graphs", "eager", "eager"]
    assert engine.resolved("eager", torch.device("cuda")) == "eager"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA card")
@pytest.mark.filterwarnings("error:--engine graphs")
def test_a_cuda_graph_gives_the_same_frames(short_speech):
    """Whole frames, captured and step by step, beside those of the CPU."""
    made = {}
    for device, how in (("cpu", "eager"), ("cuda", "eager"), ("cuda", "graphs")):
        talker = EmoTalk.load(None, device, "hef", engine=how)
        made[device, how] = list(talker.frames(PORTRAIT, short_speech, "happy"))
    wanted = made.pop(("cpu", "eager"))
    for how, found in made.items():
        apart = [np.abs(a.astype(int) - b).mean() for a, b in zip(found, wanted, strict=True)]
        assert len(apart) == 30 and max(apart) < 0.5, (how, max(apart))


def test_half_precision_is_the_same_picture(portrait, geometry, beta):
    full = stirred()
    plain = full(full.source(portrait), geometry, beta, still(2))
    half = full.halve()
    frames = half(half.source(portrait), geometry, beta, still(2))
    assert 0 < (frames - plain).abs().mean() < 2e-3 and (frames - plain).abs().max() < 0.06


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
        np.savez(tmp_path / f"{('back-open', 'unsmile')[i]}.sfhq.{i}.jpg.0.npz", opening=np.float32(0.1 * i), **sample)
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


def test_training_moves_generator_and_critic_and_saves(cache, tmp_path):
    config = Config(steps=2, batch=1, warmup=1, validate_every=2, task={"adversarial": 0})
    task = HEFTask(cache, config)
    before = {k: v.clone() for k, v in task.model.state_dict().items()}
    critic = task.critic.last.parametrizations.weight.original.detach().clone()
    path = Solver(task, config, tmp_path / "out").run()
    moved = {k for k, v in task.model.state_dict().items() if not torch.equal(v, before[k])}
    assert {"heads.6.weight", "heads.0.weight"} <= moved
    assert not torch.equal(task.critic.last.parametrizations.weight.original, critic)
    saved = HEF.load(path.parent)
    assert (saved.heads[6].weight.float() != 0).any()
    header = (tmp_path / "out" / "hef" / "log.csv").read_text().splitlines()[0]
    assert {"pixel", "structure", "adversarial", "critic"} <= set(header.split(","))
    train_on(task, 1)


def test_kinds_are_drawn_by_their_share(cache):
    pairs = Pairs(cache, False)
    assert pairs.kinds == ["back-open", "unsmile"]
    assert np.allclose(pairs.probability, np.array([SHARES[kind] for kind in pairs.kinds]) / 0.32)


def test_back_translation_leads_home(model, portrait):
    """The way back under the driving pose puts every landmark where the photo has it."""

    class Photo:
        image, landmarks, opening = None, None, 0.0

    for seed in range(2, 6):
        fake, geometry, image, points, beta, pose = back_translated(
            model, Photo(), np.random.default_rng(seed), lambda *_: portrait
        )
        back = LandmarkMotion(model, fake, FaceMotion(model, portrait).head.rigid(points[None], -pose[None])[0])
        assert torch.allclose(back.vertices(beta[None], pose[None])[0], portrait.landmarks, atol=0.3)
        inside = geometry.face[0, 0] > 0.95
        assert (geometry.composite()[0] - image).abs()[:, inside].mean() < 0.03
        if pose.abs().max() > 0:
            return
    raise AssertionError("no pose was drawn")


def test_exposure_is_that_of_the_geometry(geometry):
    one = dataclasses.replace(geometry, **{f.name: getattr(geometry, f.name)[:1] for f in dataclasses.fields(geometry)})
    dark = one.composite()[0] * torch.tensor([0.5, 0.6, 0.7])[:, None, None]
    inside = one.face[0, 0] > 0.95
    assert (exposed(one, dark) - one.composite()[0]).abs()[:, inside].mean() < 0.01


def test_training_reduces_the_error(cache):
    task = HEFTask(cache, Config(batch=1, rate=2e-3))
    batch = {k: v[None] for k, v in task.training.load(0).items()}

    def error() -> float:
        with torch.no_grad():
            image, parts = generate(task.model, batch)
        return float((parts["support"] * (image - batch["target"]).abs()).mean())

    errors, optimizers = [error()], task.optimizers()
    for step in range(16):
        for name, loss, _ in task.losses(task.batch(np.random.default_rng(step), 1), 0, 100):
            optimizers[name].zero_grad()
            loss.backward()
            optimizers[name].step()
        if step % 4 == 3:  # one sample a step: some steps lead astray
            errors.append(error())
    assert min(errors[1:]) < 0.85 * errors[0]


def test_targets_are_laid_onto_the_generated_face(cache):
    """An untrained network errs little on its own frame shifted, if the sample says how far."""
    task = HEFTask(cache, Config(batch=1, task={"whole": False}))
    batch = {k: v[None] for k, v in task.training.load(0).items()} | {"corners": torch.tensor([[120, 120]])}
    with torch.no_grad():
        batch["target"] = generate(task.model, batch)[0].clamp(0, 1).roll(2, -1)
    errors = {}
    for shift in (-2.0, 0.0, 2.0):
        batch["match"] = torch.zeros(1, 2, 96, 96)
        batch["match"][:, 0] = shift
        _, _, scalars = next(task.losses(batch, 0, 100))
        errors[shift] = float(scalars["pixel"].detach())
    assert errors[2.0] < 0.3 * errors[0.0] < 0.3 * errors[-2.0]


def test_mismatch_finds_a_shift(geometry):
    """A target two pixels to the right of the geometry's frame is found there."""
    one = dataclasses.replace(geometry, **{f.name: getattr(geometry, f.name)[:1] for f in dataclasses.fields(geometry)})
    flow = mismatch(one, one.composite()[0].roll(2, -1))
    inside = one.face[0, 0] > 0.99
    assert flow[0, 0, inside].median() == pytest.approx(2, abs=0.3)
    assert flow[0, 1, inside].median() == pytest.approx(0, abs=0.3)


def test_measures_know_equal_from_different():
    image = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    same = compare(image, image, torch.ones(1, 1, 32, 32))
    other = compare(image, image.flip(-1), torch.ones(1, 1, 32, 32))
    assert same["ssim"] == pytest.approx(1) and same["l1"] == 0 and other["psnr"] < 20 and other["ssim"] < 0.9


def test_shipped_weights_are_lean_and_draw_a_mouth(portrait, geometry, beta):
    hef = HEF.load()
    assert sum(p.numel() for p in hef.parameters()) < 3.5e6
    assert checkpoints.load("hef").path.stat().st_size < 6e6
    source, painter = hef.source(portrait), hef.painter
    hef.painter = None
    frames = hef(source, geometry, beta, still(2))
    change = (frames - geometry.composite()).abs().mean(1, keepdim=True)
    assert torch.isfinite(frames).all()
    inside, light = geometry.mouth > 0.99, geometry.interior.mean(1, keepdim=True)
    lit, dark = change[inside & (light > 0.35)].mean(), change[inside & (light < 0.1)].mean()
    assert lit > 0.005 and dark < lit / 4
    hef.painter = painter
    painted = (hef(source, geometry, beta, still(2)) - frames).abs().mean(1, keepdim=True)
    assert painted[inside].mean() > 0.01 and painted[geometry.eyes > 0].max() == 0


def test_what_is_read_decides_the_loss_of_an_act():
    readings = torch.full((3, 7), 0.02)
    wanted = torch.tensor([EMOTIONS.index(name) for name in ("angry", "disgusted", "sad")])
    readings[0, READINGS.index("angry")] = readings[1, READINGS.index("angry")] = 0.88
    readings[2, READINGS.index("happy")] = 0.88
    right, half, wrong = reading_loss(readings, wanted).tolist()
    assert right == pytest.approx(0, abs=1e-6) and 0.3 < half < 0.8 and wrong > 3


def test_landmark_loss_sees_a_face_out_of_place(portrait):
    tracker, points = FaceTracker.load(), portrait.landmarks[None, :, :2]
    with torch.no_grad():
        found, moved = (tracked(tracker, t, points) for t in (portrait.image[None], portrait.image[None].roll(8, -1)))
    assert landmark_loss(found, found).item() < 1e-3 < landmark_loss(moved, found).item()


def test_acts_are_judged_by_a_reader_but_not_their_teeth(cache, portrait, geometry, beta):
    """A reader that wants brightness brightens the skin; what the source hides of the mouth is left to photos."""
    (cache / "unsmile.sfhq.1.jpg.0.npz").rename(cache / "act.sfhq.1.jpg.angry.npz")
    task = HEFTask(cache, Config(batch=1))
    assert task.training.kinds == ["act", "back-open"] and task.training.load(1)["emotion"] == -1
    assert Pairs(cache, False, acts=False).kinds == ["back-open"]
    batch = {k: v[None] for k, v in task.training.load(0).items()} | {"corners": torch.tensor([[120, 120]])}
    assert EMOTIONS[batch["emotion"]] == "angry"
    image, parts = generate(task.model, batch, [(120, 120)], split=6)
    parts = {key: part.detach() for key, part in parts.items()}
    parts["half"].requires_grad_()
    batch["lids"] = torch.zeros_like(batch["mouth"])

    def emotion_alone(reader) -> torch.Tensor:
        task.reader = reader
        loss, scalars = task._whole_face(batch, parts, image.detach() - parts["moved"], [(120, 120)])
        (slope,) = torch.autograd.grad(scalars["emotion"], parts["half"])
        return slope.abs().sum(1, keepdim=True)

    slope = emotion_alone(lambda faces: (faces.mean((2, 3)) * torch.linspace(1, 0, 7)).softmax(1))
    unseen = halved((batch["mouth"] - batch["own"]).clamp_min(0))
    assert slope[(unseen == 1)].max() == 0 and (slope[(unseen == 0) & (halved(batch["face"]) == 1)] > 0).any()
