"""What a graphics card does, without one: kernels in Triton's interpreter, frames for which nothing is waited for."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import os
import subprocess
import sys
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from card import OnCard, card, no_waits
from conftest import PORTRAIT, SPEECH

from emotalk_cli import animate
from emotalk_cli.face import raster
from emotalk_cli.face.fit import Pose
from emotalk_cli.face.geometry import FaceMotion, eyes, motion, mouth, seam
from emotalk_cli.media.framing import CropFraming
from emotalk_cli.media.provenance import Sidecar
from emotalk_cli.models import acceleration
from emotalk_cli.models.hef import HEF

INTERPRETED = """
import types

import torch
from torch.nn import functional as F

from emotalk_cli.face import card, model, raster
from emotalk_cli.face.geometry import contacts, crop, head, maps, palette
from emotalk_cli.models import hef

if not card.KNOWN:
    raise SystemExit(77)
generator = torch.Generator().manual_seed(0)
usable, card.usable = card.usable, lambda *tensors: False  # what is called by name below is a kernel, all else is torch


def rand(*shape):
    return torch.rand(*shape, generator=generator)


def close(made, expected, within=1e-5):
    assert made.shape == expected.shape and torch.allclose(made, expected, atol=within), (made - expected).abs().max()


vertices = rand(2, 30, 3) * torch.tensor([30.0, 20.0, 9.0]) - torch.tensor([2.0, 2.0, 4.0])
triangles = torch.randint(0, 30, (40, 3), generator=generator)
face, weights = raster.rasterize(vertices, triangles, 18, 26, "torch")
found, shares = card.rasterize(vertices, triangles, 18, 26)
same = found == face
assert same.float().mean() > 0.99 and (face >= 0).any() and (face < 0).any()
close(shares * same[..., None], weights * same[..., None])
for values in (rand(2, 30, 4), rand(30, 3)):
    close(card.interpolate(face, weights, triangles, values), raster.interpolate(face, weights, triangles, values))
apart, flow = torch.randint(0, 2, (40,), generator=generator), 9 * rand(2, 2, 9, 13).round()
small, _ = raster.rasterize(vertices / 2, triangles, 9, 13, "torch")
source = 30 * rand(30, 2)
large, torn = raster.enlarged(flow, small, vertices, triangles, source, apart)
made, split = card.enlarged(flow, small, vertices, triangles, source, apart, raster.LEAP, raster.TEAR)
close(made, large, 1e-3)
assert torch.equal(split, torn) and 0 < torn.mean() < 1
(made, shares), (expected, wanted) = card.beside(large, torn, raster.OTHER), raster._beside(large, torn)
close(shares, wanted)
close(made * (wanted > 0), expected * (wanted > 0))
ring, grid = vertices[:, :9, :2].contiguous(), raster.pixel_grid(18, 26)
close(card.polygon_distance(ring, grid), raster.polygon_distance(ring, grid), 1e-3)

image, flow = rand(1, 3, 12, 16), 8 * rand(2, 2, 12, 16) - 4
close(card.read(image, flow, (1, 1), 1, cubic=raster.CUBIC), raster.sample(image, flow))
part, at = rand(2, 5, 24, 30)[:, :, 2:20, 3:27], rand(2, 7, 9, 2) * 2.4 - 1.2
placed = at.permute(0, 3, 1, 2), (12, 9)
close(card.read(part, *placed, shift=1, cubic=raster.CUBIC), raster.sharp_sample(part, at))
close(card.read(part, *placed, shift=1), F.grid_sample(part, at, align_corners=False, padding_mode="border"))
image, flow, origin = rand(1, 3, 24, 24), 9 * rand(2, 2, 6, 8) - 4, 10 * rand(2, 2)
for cubic in (None, raster.CUBIC):
    close(card.read(image, flow, (0.5, 0.5), 2, 0, origin, cubic), hef.warp(image, flow, 48, origin, cubic is not None))
skin, ratio, hue = rand(2, 3, 9, 11)[..., 1:, 2:], rand(2, 1, 9, 11)[..., 1:, 2:] + 0.5, rand(1, 3).expand(2, 3)
close(card.lit(skin, ratio, hue, maps.HEADROOM, palette.LUMA), maps.lit(skin, ratio, hue))

points, weight, pose = 20 * rand(2, 300, 3), rand(300, 1), rand(2, 6) - 0.5
pose[1] = 0
own = types.SimpleNamespace(pivot=torch.tensor([3.0, 4.0, 5.0]))
for those in (points, points[:1]):
    for share in (None, weight):
        close(card.rigid(those, pose, own.pivot, share, 512), head.Head.rigid(own, those, pose, share), 1e-3)
turned = model.rotation_matrix(pose[:, :3])
card.usable = lambda *tensors: True
close(model.rotation_matrix(pose[:, :3]), turned)
card.usable = lambda *tensors: False
pairs, own.head = torch.randint(0, 300, (2, 7), generator=generator), types.SimpleNamespace(up=rand(3))
close(card.gaps(points, pairs, own.head.up), contacts.Contacts.gaps(own, points, pairs))
raster.CPU = torch.device("meta")  # so that boxes do not ask where their points lie
for made, expected in zip(card.box(ring, (8, 16), 64), raster.boxed(ring, 0, 64, (8, 16)), strict=True):
    assert torch.equal(made, expected)
matrices = rand(3, 2, 3)[:, :, :2]
close(card.inverse(matrices), raster.inverse(matrices), 1e-3)
place = torch.tensor([[[0.5, 0.1, 3.0], [-0.1, 0.5, 2.0]], [[0.4, 0.0, 6.0], [0.05, 0.45, 1.0]]])
everywhere = slice(0, 20), slice(0, 20)
for channels in (3, 4):
    frames, cut = rand(2, 3, 20, 20), rand(2, 5, 10, 12)[:, :channels]
    expected = frames.clone()
    crop.paste(expected, cut, place, *everywhere)
    assert not torch.equal(expected, frames)
    card.paste(frames, cut, place)
    close(frames, expected)
image = 1.2 * rand(2, 3, 9, 7) - 0.1
assert torch.equal(card.to_bytes(image), (image * 255 + 0.5).clamp(0, 255).byte().permute(0, 2, 3, 1))
"""


@pytest.mark.skipif(find_spec("triton") is None, reason="PyTorch for the CPU brings no Triton")
def test_kernels_of_cards_give_what_torch_gives():
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    code = subprocess.run([sys.executable, "-c", INTERPRETED], env=environment).returncode
    if code == 77:
        pytest.skip("this Triton cannot be imported")  # that of torch 2.3 with a newer setuptools
    assert code == 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA card")
def test_kernels_on_the_card_itself():
    program = INTERPRETED.replace("import torch\n", "import torch\ntorch.set_default_device('cuda')\n", 1)
    program = program.replace("torch.Generator()", "torch.Generator('cuda')") + "assert usable(vertices)\n"
    subprocess.run([sys.executable, "-c", program], check=True)


def frame(moving: FaceMotion, hef: HEF, source: object, framing: CropFraming, *motion: torch.Tensor) -> torch.Tensor:
    """Pixels of a few frames; inference mode, which the stand-in for a card cannot do, is left."""
    beta, sigma, pose = motion
    geometry = FaceMotion.frame.__wrapped__(moving, beta, pose)
    return framing.pixels(HEF.forward.__wrapped__(hef, source, geometry, beta, pose, sigma), geometry)


def interpreted(function):
    """A function of `raster` as a card's kernel stands in for it."""

    def call(*arguments):
        found = function(*(value.inner if isinstance(value, OnCard) else value for value in arguments))
        return tuple(map(OnCard, found)) if isinstance(found, tuple) else OnCard(found)

    return call


@torch.no_grad()
def test_a_frame_on_a_card_waits_for_nothing_and_is_the_same_picture(talker, monkeypatch):
    portrait = talker.portrait(PORTRAIT)
    maps = {
        key: getattr(portrait.fit, key).clone() for key in ("image", "landmarks", "alpha", "beta", "delta", "gamma")
    }
    parts = (portrait.fit.pose.rotation, portrait.fit.pose.scale, portrait.fit.pose.translation)
    fit = dataclasses.replace(portrait.fit, **maps, pose=Pose(*(part.clone() for part in parts)))
    beta, sigma = (tensor.clone() for tensor in talker.expression("surprised", 3.0, speaking=True))
    beta, sigma = torch.stack([beta, 0 * beta]), torch.stack([sigma, sigma])
    pose = torch.tensor([[0.05, 0.1, 0.02, 0.01, 0.0, 0.02], [0.0] * 6])
    shipped, framing = HEF.load(), CropFraming(fit, 512, torch.device("cpu"))
    usual = frame(portrait.motion, shipped, HEF.source.__wrapped__(shipped, fit), framing, beta, sigma, pose)
    with card() as place:
        model, hef = copy.deepcopy(talker.face_model).to(place), copy.deepcopy(shipped).to(place)
        moving, framing = FaceMotion(model, fit, place), CropFraming(fit, 512, place)
        source = HEF.source.__wrapped__(hef, fit)
        inputs = [tensor.to(place) for tensor in (beta, sigma, pose)]
        for module in (motion, mouth, eyes, seam):
            for name in ("rasterize", "interpolate", "polygon_distance"):
                monkeypatch.setattr(module, name, interpreted(getattr(raster, name)), raising=False)
        frame(moving, hef, source, framing, *inputs)  # what is made once is made here
        with no_waits():
            found = frame(moving, hef, source, framing, *inputs)
    apart = (found.inner.float() - usual.float()).abs().mean((1, 2, 3))
    assert apart.max() < 0.3, apart


@pytest.fixture
def stand_in_card(talker, monkeypatch) -> list[str]:
    """The loop of a card on the CPU, with stand-ins for its streams and events: what these were told."""
    told = []

    class Event:
        def record(self):
            told.append("begun")

        def synchronize(self):
            told.append("taken")

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "Stream", object)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext())
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor)
    plain = torch.empty
    monkeypatch.setattr(torch, "empty", lambda *shape, pin_memory=False, **options: plain(*shape, **options))
    monkeypatch.setattr(animate, "_on_card", lambda device: True)
    monkeypatch.setattr(talker.animator, "batch", 16)
    monkeypatch.setattr(talker.animator, "_makers", {})
    return told


def test_frames_leave_a_card_one_batch_after_the_next_was_begun(talker, request):
    wanted = list(talker.frames(PORTRAIT, SPEECH, "happy", size=64))
    told = request.getfixturevalue("stand_in_card")
    found = list(talker.frames(PORTRAIT, SPEECH, "happy", size=64))
    assert len(found) == len(wanted) > 16 and told[:4] == ["begun", "begun", "taken", "begun"]
    apart = [np.abs(a.astype(int) - b).mean() for a, b in zip(found, wanted, strict=True)]
    assert max(apart) < 0.5


def test_what_cannot_be_captured_is_told_step_by_step(monkeypatch):
    def refuse(function, tensors):
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(acceleration, "_captured", refuse)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    steady = acceleration.steady("graphs", lambda a: (a + 1,))
    with pytest.warns(UserWarning, match="not permitted"):
        assert torch.equal(steady(torch.zeros(2))[0], torch.ones(2))
    assert steady.refused


@pytest.mark.parametrize("refuses", [True, False])
def test_a_sidecar_says_how_a_card_was_told(refuses, talker, short_speech, stand_in_card, monkeypatch, tmp_path):
    """HEF as geometry alone: what counts is who was asked to capture, and what came of it."""

    def capture(function, tensors):
        if refuses:
            raise RuntimeError("operation not permitted when stream is capturing")
        return lambda *new: function(*new)

    monkeypatch.setattr(acceleration, "_captured", capture)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(animate, "generated", lambda hef, source, geometry, *motion: geometry.composite())
    monkeypatch.setattr(talker.animator, "hef", SimpleNamespace(engine="graphs"))
    with pytest.warns(UserWarning, match="not permitted") if refuses else contextlib.nullcontext():
        made = talker.generate(PORTRAIT, short_speech, "happy", tmp_path / "a.mp4", size=64)
    assert Sidecar.read(made.sidecar).options["engine"] == ("eager" if refuses else "graphs")
