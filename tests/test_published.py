"""Published judges: files laid out as their authors distribute them, filled with random numbers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor

from emotalk_cli.cli import main
from emotalk_cli.errors import WeightsError
from emotalk_cli.evaluation import published
from emotalk_cli.evaluation.features import EmotionFeatures
from emotalk_cli.models import added, checkpoints
from emotalk_cli.training.losses import emotion_loss

# python_speech_features 0.6, frame 50 of the chirp below
REFERENCE = [
    23.1817, 1.7016, -36.7616, -3.1732, 31.4799, -0.1353, -33.7183,
    -4.5302, 26.523, -0.9024, -28.2287, -4.9095, 18.1981,
]  # fmt: skip


@pytest.fixture(autouse=True)
def judges(tmp_path, monkeypatch):
    """An empty folder of judges."""
    monkeypatch.setenv(added.ENVIRONMENT, str(tmp_path / "judges"))
    return tmp_path / "judges"


def norm(name: str, size: int, affine: bool = True, counter: bool = True) -> dict[str, tuple]:
    shapes = {f"{name}.weight": (size,), f"{name}.bias": (size,)} if affine else {}
    shapes |= {f"{name}.running_mean": (size,), f"{name}.running_var": (size,)}
    return shapes | ({f"{name}.num_batches_tracked": ()} if counter else {})


def layer(name: str, *shape: int) -> dict[str, tuple]:
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def syncnet_shapes() -> dict[str, tuple]:
    """syncnet_v2.model: numbers of the layers in the four sequences, from its paper's Fig. 2 and 3 and its files."""
    shapes = {}
    sound = {0: (64, 1, 3, 3), 4: (192, 64, 3, 3), 8: (384, 192, 3, 3), 11: (256, 384, 3, 3), 14: (256, 256, 3, 3)}
    for at, shape in (sound | {18: (512, 256, 5, 4)}).items():
        shapes |= layer(f"netcnnaud.{at}", *shape) | norm(f"netcnnaud.{at + 1}", shape[0])
    lips = {0: (96, 3, 5, 7, 7), 4: (256, 96, 1, 5, 5), 8: (256, 256, 1, 3, 3), 11: (256, 256, 1, 3, 3)}
    for at, shape in (lips | {14: (256, 256, 1, 3, 3), 18: (512, 256, 1, 6, 6)}).items():
        shapes |= layer(f"netcnnlip.{at}", *shape) | norm(f"netcnnlip.{at + 1}", shape[0])
    for head in ("netfcaud", "netfclip"):
        shapes |= layer(f"{head}.0", 512, 512) | norm(f"{head}.1", 512) | layer(f"{head}.3", 1024, 512)
    return shapes


def curricularface_shapes() -> dict[str, tuple]:
    """CurricularFace_Backbone.pth, an IR-101."""
    shapes = {"input_layer.0.weight": (64, 3, 3, 3), "input_layer.2.weight": (64,)} | norm("input_layer.1", 64)
    widths = [64] * 3 + [128] * 13 + [256] * 30 + [512] * 3
    for number, (before, width) in enumerate(zip([64, *widths], widths)):
        name = f"body.{number}"
        if before != width:
            shapes |= {f"{name}.shortcut_layer.0.weight": (width, before, 1, 1)}
            shapes |= norm(f"{name}.shortcut_layer.1", width)
        shapes |= norm(f"{name}.res_layer.0", before) | norm(f"{name}.res_layer.4", width)
        shapes |= {f"{name}.res_layer.1.weight": (width, before, 3, 3), f"{name}.res_layer.2.weight": (width,)}
        shapes |= {f"{name}.res_layer.3.weight": (width, width, 3, 3)}
    shapes |= norm("output_layer.0", 512) | norm("output_layer.4", 512, affine=False)
    return shapes | layer("output_layer.3", 512, 25088)


def filled(shapes: dict[str, tuple]) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(0)
    return {k: torch.rand(s, generator=draw) * 0.05 + 0.01 for k, s in shapes.items()}


@pytest.fixture(scope="module")
def syncnet_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("files") / "syncnet_v2.model"
    torch.save(filled(syncnet_shapes()), path)
    return path


def test_syncnet_loads_and_is_kept(syncnet_file, judges, capsys):
    assert main(["weights", "add", "syncnet", str(syncnet_file)]) == 0
    kept = checkpoints.load("syncnet", judges)
    assert kept.metadata["original_sha256"] == checkpoints.sha256(syncnet_file)
    network = published.find("syncnet")
    assert torch.equal(network.netcnnlip[18].weight, filled(syncnet_shapes())["netcnnlip.18.weight"])
    assert network.sound(torch.rand(2, 1, 13, 20)).shape == network.lips(torch.rand(2, 3, 5, 224, 224)).shape
    assert main(["weights", "info", "syncnet"]) == 0 and "syncnet_v2.model" in capsys.readouterr().out


def test_syncnet_finds_the_offset(monkeypatch):
    """With embeddings that are the same for what belongs together, sound 4 frames late is found 4 frames late."""
    network = published.SyncNet().eval()
    codes = torch.randn(60, 1024, generator=torch.Generator().manual_seed(1))
    heard, seen = iter(codes), iter(codes[4:])
    monkeypatch.setattr(network, "sound", lambda x: torch.stack([next(heard) for _ in x]))
    monkeypatch.setattr(network, "lips", lambda x: torch.stack([next(seen) for _ in x]))
    faces, wave = torch.zeros(45, 3, 224, 224), np.zeros(45 * 640)
    confidence, offset = network.judge(faces, wave)
    assert offset == 4 and confidence > 10


def test_curricularface_fits():
    network = published._fill("curricularface", dict(lazily(curricularface_shapes())), "a file")
    assert len(network.body) == 49 and not any(value.any() for value in network.state_dict().values())


def lazily(shapes: dict[str, tuple]):
    """Zeros that take no memory."""
    return ((name, torch.zeros(1).expand(shape) if shape else torch.zeros(())) for name, shape in shapes.items())


def test_inception_and_emotion_fan_load(tmp_path):
    upstream = torchvision.models.inception_v3(weights=None, num_classes=1008, aux_logits=False, init_weights=False)
    torch.save(upstream.state_dict(), tmp_path / "fid.pth")
    published.add("inception", tmp_path / "fid.pth")
    features = published.find("inception")(torch.rand(2, 3, 64, 64))
    assert features.shape == (2, published.Inception.num_features) and features.isfinite().all()
    resnet = torchvision.models.resnet18(weights=None, num_classes=8)
    state = {f"module.{k}": v for k, v in resnet.state_dict().items() if not k.endswith("num_batches_tracked")}
    state |= {"module.alpha.0.weight": torch.zeros(1, 512), "module.pred_fc1.bias": torch.zeros(7)}
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "fan.pth.tar")
    published.add("emotion-fan", tmp_path / "fan.pth.tar")
    faces, landmarks = torch.rand(1, 3, 80, 80), torch.rand(1, 478, 3) * 40 + 20
    crop = published.face_square(faces, landmarks, 224, 1.2)
    resnet.eval().fc = torch.nn.Identity()
    torch.testing.assert_close(published.find("emotion-fan")(faces, landmarks), resnet(crop))


def test_an_affectnet_network_is_phi_emo(tmp_path, judges, capsys):
    """A ResNet-50 with a classifier, as people who train on AffectNet save it, is what eq. 6 compares faces by."""
    with pytest.raises(WeightsError, match="emotalk weights add affectnet"):
        EmotionFeatures("affectnet")
    resnet = torchvision.models.resnet50(weights=None, num_classes=8).eval()
    state = {f"module.{key}": value for key, value in resnet.state_dict().items()}
    torch.save({"model": state, "epoch": 20}, tmp_path / "affectnet.pth")
    assert main(["weights", "add", "affectnet", str(tmp_path / "affectnet.pth")]) == 0
    assert "task.reader=affectnet" in capsys.readouterr().out
    phi = EmotionFeatures("affectnet").train()
    assert not phi.network.training and not any(p.requires_grad for p in phi.parameters())
    faces, landmarks = torch.rand(2, 3, 80, 80, requires_grad=True), torch.rand(2, 478, 3) * 40 + 20
    seen = phi(faces, landmarks)
    resnet.fc = torch.nn.Identity()
    crops = published.face_square(faces, landmarks, 224, 1.2)
    mean, std = (torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    torch.testing.assert_close(seen, resnet((crops - mean) / std), rtol=1e-4, atol=1e-4)
    emotion_loss(seen[:1], seen[1:].detach()).backward()
    assert faces.grad[0].abs().sum() > 0


def test_fid_pooling_leaves_the_padding_out():
    assert torch.equal(published._fid_average(torch.ones(1, 1, 5, 5)), torch.ones(1, 1, 5, 5))


def test_aligned_faces_lie_on_the_template():
    """A picture of five dots, turned and scaled, comes back with the dots where the template has them."""
    template = torch.tensor(published.TEMPLATE)
    turn = torch.tensor([[1.2, -0.5], [0.5, 1.2]])
    points = template @ turn.T + torch.tensor([60.0, 20.0])
    landmarks, image = torch.zeros(1, 478, 3), torch.zeros(1, 3, 260, 260)
    for group, (x, y) in zip(published.FIVE, points.tolist()):
        landmarks[0, list(group), :2] = torch.tensor([x, y])
        image[0, :, round(y) - 3 : round(y) + 3, round(x) - 3 : round(x) + 3] = 1
    found = published.aligned(image, landmarks)
    assert found.shape == (1, 3, 112, 112)
    for x, y in template.tolist():
        assert found[0, 0, round(y), round(x)] > 0.9
    assert found.mean() < 0.02


def test_mfcc_is_that_of_python_speech_features():
    times = np.arange(16000) / 16000
    found = published.mfcc(0.5 * np.sin(2 * np.pi * (200 * times + 1500 * times**2)))
    assert found.shape == (13, 99)
    np.testing.assert_allclose(found[:, 50], REFERENCE, atol=2e-4)


@pytest.mark.parametrize("name", ["syncnet", "inception"])
def test_other_files_are_refused(tmp_path, judges, name, capsys):
    save_file({"layer.weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    assert main(["weights", "add", name, str(tmp_path / "other.safetensors")]) == 1
    assert "does not hold" in capsys.readouterr().err and not added.has(name)
    assert main(["weights", "add", "vgg", str(tmp_path / "other.safetensors")]) == 2


def test_files_that_hold_programs_are_refused(tmp_path):
    class Danger:
        def __reduce__(self):
            return (open, (str(tmp_path / "made"), "w"))

    torch.save({"state_dict": Danger()}, tmp_path / "danger.pth")
    with pytest.raises(WeightsError, match="more than weights"):
        published.add("syncnet", tmp_path / "danger.pth")
    assert not (tmp_path / "made").exists()


def test_known_file_must_have_the_known_hash(tmp_path):
    path = tmp_path / published.JUDGES["inception"].file
    path.write_bytes(b"cut short")
    with pytest.raises(WeightsError, match="6726825d"):
        published.add("inception", path)


def test_damaged_judge_is_noticed(syncnet_file, judges, capsys):
    published.add("syncnet", syncnet_file)
    path = judges / "syncnet.safetensors"
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    with pytest.raises(WeightsError, match="damaged"):
        published.find("syncnet")
    assert main(["weights", "verify"]) == 1 and "damaged" in capsys.readouterr().out


def test_synchrony_crop_is_that_of_the_published_pipeline():
    """A face box of half side 50 about (100, 90): x -70..70 and y -50..90 around it, as run_pipeline.py cuts."""
    landmarks = torch.zeros(1, 478, 3)
    landmarks[0, 0, :2], landmarks[0, 1:, :2] = torch.tensor([50.0, 40.0]), torch.tensor([150.0, 140.0])
    across = torch.arange(200.0).expand(1, 3, 220, 200) + 0.5
    faces = published.sync_faces(across, landmarks)
    assert faces.shape == (1, 3, 224, 224)
    assert float(faces[0, 0, 0, 0]) == pytest.approx(30 + 0.3125, abs=0.01)
    assert float(faces[0, 0, 0, -1]) == pytest.approx(170 - 0.3125, abs=0.01)
    down = torch.arange(220.0)[:, None].expand(1, 3, 220, 200) + 0.5
    assert float(published.sync_faces(down, landmarks)[0, 0, 0, 0]) == pytest.approx(40 + 0.3125, abs=0.01)
    assert float(published.sync_faces(down, landmarks)[0, 0, -1, 0]) == pytest.approx(180 - 0.3125, abs=0.01)


def test_weights_list_info_and_verify(tmp_path, capsys):
    assert main(["weights", "list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    models = {row["name"]: row for row in listed["models"]}
    assert {"ame", "eac", "face_model", "hef", "sync", "tracker"} <= set(models)
    assert models["eac"]["parameters"] > 1e6 and not any(judge["added"] for judge in listed["judges"])
    assert main(["weights", "info", "eac"]) == 0 and "command" in capsys.readouterr().out
    assert main(["weights", "info", "vgg"]) == 2 and "choose one of" in capsys.readouterr().err
    folder = tmp_path / "weights"
    checkpoints.complete(folder)
    assert main(["weights", "verify", "--weights", str(folder)]) == 0
    (folder / "sync.safetensors").write_bytes(b"cut short")
    assert main(["weights", "verify", "--weights", str(folder), "--json"]) == 1
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [Path(path).stem for path, state in found.items() if state != "intact"] == ["sync"]
    assert main(["weights", "list", "--weights", str(folder)]) == 0 and "damaged" in capsys.readouterr().out
