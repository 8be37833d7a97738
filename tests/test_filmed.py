"""Training on filmed faces: the losses of eq. 5, 6 and 11, and the commands from prepared clips to a video."""

from __future__ import annotations

import csv
import dataclasses
import json

import numpy as np
import pytest
import torch
from card import train_on
from conftest import PORTRAIT

from emotalk_cli.cli import main
from emotalk_cli.errors import InputError, UsageError
from emotalk_cli.evaluation.features import EmotionFeatures
from emotalk_cli.face.fit import align
from emotalk_cli.face.geometry import FaceMotion
from emotalk_cli.face.model import FaceModel
from emotalk_cli.face.topology import INDEX
from emotalk_cli.models import checkpoints
from emotalk_cli.training import config as configs
from emotalk_cli.training import losses as objectives
from emotalk_cli.training.data import shards
from emotalk_cli.training.tasks.eac_video import Options as EACOptions
from emotalk_cli.training.tasks.eac_video import VideoEAC, shut, windowed_mel
from emotalk_cli.training.tasks.hef import generate
from emotalk_cli.training.tasks.hef_video import Options as HEFOptions
from emotalk_cli.training.tasks.hef_video import VideoHEF, portrait_of, relative_pose


@pytest.fixture(scope="module")
def renderer() -> objectives.Renderer:
    return objectives.Renderer(FaceModel.load(), 96)


@pytest.fixture(scope="module")
def clip(prepared) -> shards.Shard:
    return shards.Shard(shards.listing(prepared, "train")[0])


def theta(clip: shards.Shard, frames: list[int], size: int) -> dict:
    """θ of some frames, the pose in px of pictures of `size`."""
    constant = {k: clip[k].expand(len(frames), -1) for k in ("alpha", "delta", "gamma")}
    return constant | {"beta": clip["beta"][frames], "pose": shards.to_pose(clip["pose"][frames], size)}


def test_rendered_face_lies_on_the_filmed_one(renderer, clip):
    frames = [2, 12]
    rendered, mask = renderer(**theta(clip, frames, 96))
    image = torch.nn.functional.interpolate(clip.frames(2, 13)[[0, 10]].float() / 255, (96, 96), mode="area")
    assert 0.05 < mask.mean() < 0.5 and rendered.min() >= 0 and rendered.max() <= 1
    assert not (rendered * (1 - mask)).any()  # black outside
    here = objectives.reconstruction_loss(rendered, mask, image)
    moved = objectives.reconstruction_loss(rendered.roll(12, 3), mask.roll(12, 3), image)
    assert here < 0.7 * moved
    points = renderer.vertices(*(theta(clip, frames, 96)[k] for k in ("alpha", "beta", "pose")))
    assert (points - clip["landmarks"][frames] * 96 / clip.size)[..., :2].norm(dim=2).mean() < 2


def test_pixels_teach_expression(renderer, clip):
    """Gradient descent on L_rec alone finds the jaw that made a picture."""
    known = theta(clip, [5], 96)
    wanted = known["beta"].clone()
    wanted[:, INDEX["jawOpen"]] += 0.4
    target, _ = renderer(**known | {"beta": wanted})
    beta = known["beta"].clone().requires_grad_(True)
    optimizer = torch.optim.Adam([beta], 0.03)
    first = None
    for _ in range(25):
        rendered, mask = renderer(**known | {"beta": beta})
        loss = objectives.reconstruction_loss(rendered, mask, target)
        first = first or float(loss.detach())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.6 * first
    assert float((beta.detach() - known["beta"])[0, INDEX["jawOpen"]]) > 0.1


@pytest.mark.parametrize("reader", ["tracker"])
def test_emotion_features_are_frozen_and_differentiable(clip, reader):
    phi = EmotionFeatures(reader).train()
    assert not any(p.requires_grad for p in phi.parameters()) and not phi.training
    image = (clip.frames(0, 2).float() / 255).requires_grad_(True)
    landmarks = clip["landmarks"][:2]
    features = phi(image, landmarks)
    assert objectives.emotion_loss(features, features).item() < 1e-5
    objectives.emotion_loss(features[:1], features[1:].detach() + 1).backward()
    touched = image.grad.abs().sum((0, 1)) > 0
    low, high = landmarks[0, :, :2].amin(0).int().tolist(), landmarks[0, :, :2].amax(0).int().tolist()
    inside = touched[low[1] : high[1], low[0] : high[0]]
    assert inside.float().mean() > 0.9 and touched.float().mean() < 0.9  # the face, not the whole picture


def test_emotion_reader_must_be_there(tmp_path):
    with pytest.raises(InputError, match="fer_mini_xception"):
        EmotionFeatures("fer", teachers=tmp_path)
    with pytest.raises(UsageError, match="no emotion network"):
        EmotionFeatures("vgg")


def test_losses_have_their_known_values():
    points = torch.rand(3, 478, 3)
    moved = points + torch.tensor([3.0, 4.0, 100.0])  # depth does not count
    assert float(objectives.landmark_loss(points, moved, 448)) == pytest.approx(2.5, rel=1e-4)
    beta = torch.zeros(2, 5, 64)
    predicted = beta.clone()
    predicted[..., :4] = 1
    assert float(objectives.regularization_loss(beta, predicted)) == pytest.approx(2, rel=1e-4)
    axes = torch.eye(512)
    sound, image, text = axes[:2], axes[:2], axes[2:4]
    assert float(objectives.clip_loss(sound, image, text)) == pytest.approx(1)
    assert float(objectives.clip_loss(sound, -image, text)) == pytest.approx(3)
    rendered, real = torch.zeros(1, 3, 4, 4), torch.full((1, 3, 4, 4), 0.5)
    mask = torch.zeros(1, 1, 4, 4)
    mask[..., :2, :] = 1
    assert float(objectives.reconstruction_loss(rendered, mask, real)) == pytest.approx(0.75**0.5, rel=1e-4)
    assert float(objectives.blended(rendered, mask, real).mean()) == pytest.approx(0.25)


def test_paper_configuration_is_the_papers():
    eac, hef = (configs.load("paper", task) for task in ("eac", "hef"))
    assert (eac.batch, eac.rate, hef.batch, hef.rate) == (128, 2e-4, 64, 2e-3)
    weights = configs.build(EACOptions, eac.task)
    assert (weights.clip, weights.emo, weights.rec, weights.lm, weights.reg, weights.window) == (
        1,
        1,
        100,
        0.1,
        0.01,
        32,
    )
    weights = configs.build(HEFOptions, hef.task)
    assert (weights.rec, weights.perceptual, weights.adversarial) == (5, 5, 1)


@pytest.mark.parametrize("path", sorted(configs.SHIPPED.glob("*.toml")), ids=lambda path: path.stem)
def test_shipped_configurations_are_valid(path):
    tables = configs.tomllib.loads(path.read_text())
    assert tables
    for task in tables:
        assert isinstance(configs.load(path, task), configs.Config)


def test_windows_are_what_the_stream_sees(clip):
    from emotalk_cli.media import audio
    from emotalk_cli.media.audio import relative

    wave = clip.sound()
    whole = relative(audio.log_mel(wave), audio.level(wave))
    torch.testing.assert_close(windowed_mel(clip, 4, 10)[:, :36], whole[:, 16:52])


def test_shut_lips_are_told_from_open_ones(clip):
    points = clip["landmarks"][:1].clone()
    for upper, lower in zip((82, 13, 312, 81, 311, 80, 310, 191, 415), (87, 14, 317, 178, 402, 88, 318, 95, 324)):
        points[:, lower] = points[:, upper]
    opened = points.clone()
    opened[:, [87, 14, 317, 178, 402, 88, 318], 1] += 20
    assert shut(points) == 1 and shut(opened) == 0


def test_a_frame_is_a_portrait(clip):
    portrait = portrait_of(clip, 3)
    assert portrait.image.shape == (3, 512, 512)
    shape = FaceModel.load()
    points = portrait.pose.project(shape.vertices(portrait.alpha[None], (portrait.beta + shape.expression_rest)[None]))
    assert (points[0] - portrait.landmarks)[:, :2].norm(dim=1).mean() < 10


def rows(path) -> list[dict[str, str]]:
    with open(path) as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def test_eac_from_prepared_clips_to_a_video(prepared, tmp_path, short_speech, capsys):
    out = tmp_path / "out"
    command = ["train", "eac", "task.window=16", "task.rendered=2", "task.size=64", "batch=2", "log_every=2"]
    command += ["save_every=2", "validate_every=4", "--data", str(prepared), "--out", str(out), "--device", "cpu", "-q"]
    assert main([*command, "--steps", "2"]) == 0
    assert main([*command, "--steps", "4"]) == 2 and "--resume" in capsys.readouterr().err
    assert main([*command, "--steps", "4", "--resume"]) == 0
    found = rows(out / "eac/log.csv")
    assert [int(row["step"]) for row in found] == [2, 4]
    assert {"emo", "rec", "lm", "reg", "closed"} <= set(found[0])
    total = 1 * float(found[0]["emo"]) + 100 * float(found[0]["rec"]) + 0.1 * float(found[0]["lm"])
    total += 0.01 * float(found[0]["reg"]) + 0.1 * float(found[0]["closed"]) + float(found[0]["clip"])
    assert float(found[0]["loss"]) == pytest.approx(total, rel=1e-3)
    made = checkpoints.load("eac", out)
    assert checkpoints.load("ame_audio", out).metadata["steps"] == "4"
    assert made.metadata["steps"] == "4" and "1 prepared clips of 1 subjects" in made.metadata["data"]
    command = ["generate", "--face", PORTRAIT, "--audio", short_speech, "--emotion", "happy", "--weights", out, "-q"]
    command += ["--generator", "geometry", "--size", 64, "--fps", 5, "--out", tmp_path / "v.mp4", "--device", "cpu"]
    assert main([str(x) for x in command]) == 0 and (tmp_path / "v.mp4").stat().st_size > 1000


def test_eac_task_shares_one_target_over_prompts(prepared):
    table = {"window": 16, "rendered": 1, "size": 48, "reader": "tracker"}
    task = VideoEAC(prepared, configs.Config(task=table))
    batch = task.batch(np.random.default_rng(0), 2)
    assert batch["mel"].shape == (2, 80, 64) and batch["beta"].shape == (2, 16, 64) and batch["image"].shape[1] == 1
    again = task.batch(np.random.default_rng(0), 2)
    assert all(torch.equal(batch[key], again[key]) for key in batch)
    losses = task.terms(batch, batch["beta"])
    assert float(losses["reg"]) < 1e-5 and float(losses["lm"]) < 1e-3
    with pytest.raises(InputError, match="prepare longer"):
        VideoEAC(prepared, configs.Config(task={"reader": "tracker"}))  # windows of 32 frames, clips of 20


def test_each_window_is_shown_as_text_as_seen_and_as_heard(prepared, monkeypatch):
    """Eq. 2: three codes of each sample along the batch, one target; the order of frames is kept in pieces."""
    task = VideoEAC(prepared, configs.Config(task={"window": 16, "rendered": 2, "size": 48, "reader": "tracker"}))
    batch = task.batch(np.random.default_rng(0), 2)
    given, window = {}, task.model.window
    monkeypatch.setattr(
        task.model, "window", lambda mel, z, mu: given.update(mel=mel, z=z, mu=mu) or window(mel, z, mu)
    )
    ((_, loss, terms),) = task.losses(batch, 0, 1)
    assert torch.equal(given["z"][:4], torch.cat([batch["text"], batch["seen"]]))
    torch.testing.assert_close(given["z"][4:], task.tower(batch["heard"]))
    assert torch.equal(given["mel"], torch.cat([batch["mel"]] * 3)) and len(given["mu"]) == 6
    loss.backward()
    assert task.tower.head[1].weight.grad.any() and terms["clip"] > 0
    predicted = torch.cat([batch["beta"], batch["beta"] + 0.1, batch["beta"] + 0.2])
    whole = task.terms(batch, predicted)
    task.options.chunk = 5
    for name, value in task.terms(batch, predicted).items():
        torch.testing.assert_close(value, whole[name], rtol=1e-4, atol=1e-6)
    alone = [task.terms(batch, part) for part in predicted.split(2)]
    for name in ("lm", "reg", "emo"):
        torch.testing.assert_close(
            whole[name], torch.stack([part[name] for part in alone]).mean(), rtol=1e-4, atol=1e-6
        )
    train_on(task, 1)


def test_the_style_code_is_that_of_the_driving_face(prepared):
    """Eq. 7: EAC's σ̂ and the relative pose reach the generator, and their weights learn."""
    task = VideoHEF(prepared, configs.Config(task={}))
    for head in task.model.heads:  # untrained they are zero, so that nothing before them learns in the first step
        torch.nn.init.normal_(head.weight, std=0.01)
    batch = task.batch(np.random.default_rng(0), 2)
    said, turned = task.speaker(task.clips[0]), batch["pose"].clone()
    assert batch["sigma"].shape == (2, task.speaker.eac.dims.width) and turned.any()
    assert all(any(torch.equal(row, sigma) for sigma in said[1]) for row in batch["sigma"])
    batch["pose"] = turned + torch.randn_like(turned) * 0.05  # this clip's head is still
    loss = next(task.losses(batch, 0, 10))[1]
    loss.backward()
    columns = task.model.style.weight.grad[:, -6 - task.model.dims.sigma :]
    assert columns[:, :6].abs().amax(0).min() > 0 and (columns[:, 6:].abs().amax(0) > 0).float().mean() > 0.9
    with torch.no_grad():
        here = generate(task.model, batch)[0]
        for key in ("sigma", "pose"):
            other = generate(task.model, batch | {key: batch[key] * 0})[0]
            assert (other - here).abs().max() > 1e-4, key
    train_on(task, 1)
    tracked = VideoHEF(prepared, configs.Config(task={"drive": "tracked"})).batch(np.random.default_rng(0), 1)
    assert not tracked["sigma"].any() and not tracked["pose"].any()


def test_a_relative_pose_lays_one_face_on_another(clip):
    """The portrait turned, grown and moved by it lies on the landmarks that were turned, grown and moved."""
    portrait, wanted = portrait_of(clip, 3), torch.tensor([[0.05, -0.12, 0.08, 0.03, -0.02, 0.05]])
    motion = FaceMotion(FaceModel.load(), portrait)
    driving = motion.head.rigid(motion.points[None], wanted)[0]
    poses = [align(motion.head.model.mean[None], points[None]).vector()[0] for points in (motion.points, driving)]
    found = relative_pose(motion, *poses, driving)
    torch.testing.assert_close(found, wanted[0], rtol=0, atol=0.01)


def test_hef_from_prepared_clips(prepared, tmp_path):
    table = configs.load("video", "hef").task
    task = VideoHEF(prepared, configs.Config(task=table | {"warm": 0}))
    before = {key: value.clone() for key, value in task.model.state_dict().items()}
    batch = task.batch(np.random.default_rng(0), 1)
    steps = task.losses(batch, 0, 10)
    optimizers = task.optimizers()
    for expected in ("hef", "discriminator"):
        name, loss, scalars = next(steps)
        assert name == expected and loss.isfinite()
        if name == "hef":
            known = 5 * scalars["rec"] + 5 * scalars["perceptual"] + scalars["adversarial"]
            torch.testing.assert_close(loss, known)
        optimizers[name].zero_grad()
        loss.backward()
        optimizers[name].step()
    assert next(steps, None) is None
    assert any(not torch.equal(before[key], value) for key, value in task.model.state_dict().items())
    path = task.save(task.model, tmp_path, command="test", seed=0)
    assert (
        json.loads(checkpoints.load("hef", tmp_path).metadata["dims"])
        == json.loads(json.dumps(dataclasses.asdict(task.model.dims)))
        and path.exists()
    )


def test_data_is_asked_for(capsys, tmp_path):
    assert main(["train", "eac"]) == 2 and "--data" in capsys.readouterr().err
    assert main(["train", "hef", "--data", str(tmp_path / "no")]) == 1 and "not a folder" in capsys.readouterr().err


def test_prepared_clips_do_not_train_a_tracker(prepared, capsys):
    assert main(["train", "tracker", "--data", str(prepared)]) == 2
    assert "prepared clips train eac and hef" in capsys.readouterr().err
