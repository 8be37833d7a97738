"""What a graphics card does, without one: kernels in Triton's interpreter, frames for which nothing is waited for."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from card import OnCard, card, no_waits
from conftest import PORTRAIT, SPEECH

from emotalk_cli import animate
from emotalk_cli.face import card as kernels
from emotalk_cli.face import raster
from emotalk_cli.face.fit import Pose
from emotalk_cli.face.geometry import FaceMotion, eyes, motion, mouth, seam
from emotalk_cli.media.framing import CropFraming
from emotalk_cli.models import acceleration
from emotalk_cli.models.hef import HEF

INTERPRETED = """
import torch
from emotalk_cli.face import card, raster

generator = torch.Generator().manual_seed(0)
vertices = torch.rand(2, 30, 3, generator=generator) * torch.tensor([30.0, 20.0, 9.0])
triangles = torch.randint(0, 30, (40, 3), generator=generator)
planes = raster._planes(vertices, triangles)
boxes = torch.stack(raster._extents(vertices, triangles, 18, 26), -1).flatten(2).int()
face, weights = raster.rasterize(vertices, triangles, 18, 26, "torch")
found, shares = card.rasterize(planes, boxes, 18, 26)
assert torch.equal(found, face) and torch.allclose(shares, weights, atol=1e-5) and (face >= 0).any()
for values in (torch.rand(2, 30, 4), torch.rand(30, 3)):
    made = card.interpolate(face, weights, triangles, values)
    assert torch.allclose(made, raster.interpolate(face, weights, triangles, values), atol=1e-5)
ring, grid = vertices[:, :9, :2].contiguous(), raster.pixel_grid(18, 26)
assert torch.allclose(card.polygon_distance(ring, grid), raster.polygon_distance(ring, grid), atol=1e-3)
"""


@pytest.mark.skipif(kernels.triton is None, reason="PyTorch for the CPU brings no Triton")
def test_kernels_of_cards_give_what_torch_gives():
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    subprocess.run([sys.executable, "-c", INTERPRETED], check=True, env=environment)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA card")
def test_kernels_on_the_card_itself():
    program = INTERPRETED.replace("import torch\n", "import torch\ntorch.set_default_device('cuda')\n", 1)
    program = program.replace("torch.Generator()", "torch.Generator('cuda')") + "assert card.usable(vertices)\n"
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


def test_frames_leave_a_card_one_batch_after_the_next_was_begun(talker, monkeypatch):
    """The loop of a card, with stand-ins for its streams, events and graphs."""
    told = []

    class Event:
        def record(self):
            told.append("begun")

        def synchronize(self):
            told.append("taken")

    wanted = list(talker.frames(PORTRAIT, SPEECH, "happy", size=64))
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "Stream", object)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext())
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor)
    plain = torch.empty
    monkeypatch.setattr(torch, "empty", lambda *shape, pin_memory=False, **options: plain(*shape, **options))
    monkeypatch.setattr(animate, "_on_card", lambda device: True)
    monkeypatch.setattr(talker.animator, "batch", 16)
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
