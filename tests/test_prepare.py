"""Data sets become prepared clips: miniatures of each layout, made from one short video of our own."""

from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ffmpeg, write_wav

from emotalk_cli.cli import main
from emotalk_cli.errors import InputError, UsageError
from emotalk_cli.face.fit import fit_clip
from emotalk_cli.face.model import FaceModel
from emotalk_cli.face.topology import INDEX
from emotalk_cli.media import audio
from emotalk_cli.training.data import prepare, shards


@pytest.fixture(scope="module")
def models():
    return prepare._models(None)


def place(path: Path, clip: Path) -> Path:
    """A copy of the clip, with the container that the ending asks for."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == clip.suffix:
        shutil.copy(clip, path)
    else:
        options = {".flv": "-c:v flv -q:v 2 -ar 44100", ".mkv": "-c:v mpeg4 -q:v 2"}.get(path.suffix, "-vn")
        ffmpeg("-i", clip, *options.split(), path)
    return path


def labels(sources: list[prepare.Source]) -> dict[str, tuple]:
    return {s.labels.name: (s.labels.subject, s.labels.emotion, s.labels.intensity) for s in sources}


def test_mead(tmp_path, talking_clip, models):
    place(tmp_path / "M003/video/front/angry/level_3/001.mp4", talking_clip)
    place(tmp_path / "M003/video/left_30/angry/level_3/001.mp4", talking_clip)
    place(tmp_path / "W011/video/front/fear/level_1/002.mp4", talking_clip)
    sound = place(tmp_path / "W011/audio/fear/level_1/002.m4a", talking_clip)
    found = prepare.mead(tmp_path)
    assert labels(found) == {
        "M003-angry-level_3-001": ("M003", "angry", 3.0),
        "W011-fear-level_1-002": ("W011", "fearful", 1.0),
    }
    assert [s.labels.split for s in found] == ["test", "train"] and found[1].sound == sound
    assert len(shards.Shard(prepare.make_clip(found[1], tmp_path / "out", 128, *models))) == 20


def test_mead_trains_on_36_identities(tmp_path):
    for number in range(48):
        path = tmp_path / f"M{number:03d}/video/front/happy/level_2/001.mp4"
        path.parent.mkdir(parents=True)
        path.touch()
    found = prepare.mead(tmp_path)
    train = {s.labels.subject for s in found if s.labels.split == "train"}
    test = {s.labels.subject for s in found if s.labels.split == "test"}
    assert len(train) == 36 and len(test) == 12 and "M003" in test
    assert {s.labels.subject: s.labels.split for s in found} == {
        s.labels.subject: s.labels.split for s in prepare.mead(tmp_path)
    }


def test_crema_d(tmp_path, talking_clip, models):
    place(tmp_path / "VideoFlash/1001_DFA_ANG_HI.flv", talking_clip)
    place(tmp_path / "AudioWAV/1001_DFA_ANG_HI.wav", talking_clip)
    place(tmp_path / "VideoFlash/1002_IEO_HAP_XX.flv", talking_clip)
    place(tmp_path / "VideoFlash/notes.mp4", talking_clip)
    found = prepare.crema_d(tmp_path)
    assert labels(found) == {
        "1001_DFA_ANG_HI": ("1001", "angry", 3.0),
        "1002_IEO_HAP_XX": ("1002", "happy", 2.0),
    }
    assert found[0].sound.suffix == ".wav"
    shard = shards.Shard(prepare.make_clip(found[0], tmp_path / "out", 128, *models))
    assert shard.labels == found[0].labels and len(shard) >= 19


def test_ravdess(tmp_path, talking_clip):
    place(tmp_path / "Actor_05/01-01-08-02-01-01-05.mp4", talking_clip)
    place(tmp_path / "Actor_05/02-01-08-02-01-01-05.mp4", talking_clip)  # without sound
    place(tmp_path / "Actor_05/01-02-03-01-01-01-05.mp4", talking_clip)  # sung
    found = prepare.ravdess(tmp_path)
    assert labels(found) == {"01-01-08-02-01-01-05": ("05", "surprised", 3.0)}


@pytest.fixture(scope="module")
def command(tmp_path_factory, talking_clip) -> list[str]:
    """`emotalk train prepare folder` of two good clips and three bad ones."""
    root = tmp_path_factory.mktemp("videos")
    place(root / "anna/one.mp4", talking_clip)
    place(root / "anna/two.mkv", talking_clip)
    (root / "anna/broken.mp4").write_bytes(b"no video" * 100)
    ffmpeg("-f", "lavfi", "-i", "color=gray:s=128x128:d=1", "-i", talking_clip, "-map", "0:v", "-map", "1:a",
           "-shortest", root / "anna/faceless.mp4")  # fmt: skip
    ffmpeg("-i", talking_clip, "-an", root / "anna/silent.mp4")
    table = root / "labels.csv"
    with open(table, "w", newline="") as file:
        rows = [["file", "emotion", "intensity", "split"], ["anna/one.mp4", "happy", 3, "train"]]
        rows += [[f"anna/{name}", "neutral", 1, "test"] for name in ("two.mkv", "broken.mp4", "faceless.mp4")]
        csv.writer(file).writerows([*rows, ["anna/silent.mp4", "sad", 2, "train"]])
    out = tmp_path_factory.mktemp("prepared")
    options = ["--data", root, "--labels", table, "--size", 128, "--jobs", 2, "--out", out]
    return ["train", "prepare", "folder", *map(str, options)]


@pytest.fixture(scope="module")
def done(command) -> Path:
    """What the command leaves."""
    assert main(command) == 0
    return Path(command[-1])


def test_folder_reports_bad_clips(done):
    report = json.loads((done / "report.json").read_text())
    assert report["made"] == ["anna-one", "anna-two"] and sorted(report["bad"]) == [
        "anna-broken",
        "anna-faceless",
        "anna-silent",
    ]
    assert "damaged" in report["bad"]["anna-broken"] and "sound" in report["bad"]["anna-silent"]
    assert "face in only 0 of" in report["bad"]["anna-faceless"]
    assert not list(done.rglob("*.part"))


def test_prepared_clip_holds_what_was_filmed(done, talking_clip):
    (path,) = shards.listing(done, "train")
    shard = shards.Shard(path)
    assert (shard.labels.subject, shard.labels.emotion, shard.labels.intensity) == ("anna", "happy", 3.0)
    assert len(shard) == 20 and shard.frames(3, 5).shape == (2, 3, 128, 128)
    wave = audio.load(talking_clip)
    np.testing.assert_allclose(shard.sound(2, 10), wave[2 * 640 : 10 * 640], atol=1e-4)
    model = FaceModel.load()
    beta = shard["beta"] + model.expression_rest
    pose = shards.to_pose(shard["pose"], shard.size)
    found = pose.project(model.vertices(shard["alpha"].expand(20, -1), beta))
    error = (found - shard["landmarks"])[..., :2].norm(dim=2).mean()
    assert error < 0.02 * shard.size  # the linear model reproduces the landmarks
    eyes = (shard["landmarks"][:, 33, :2] - shard["landmarks"][:, 263, :2]).norm(dim=1)
    assert 0.15 < float(eyes.mean()) / shard.size < 0.4  # a face in the middle of its crop
    assert shard["landmarks"][..., :2].mean((0, 1)).sub(shard.size / 2).abs().max() < 0.1 * shard.size


def test_identity_is_one_for_a_clip(models):
    """The same face at rest and with the jaw down: one α, and the difference is expression."""
    model = models[1]
    alpha = torch.zeros(80)
    alpha[:4] = torch.tensor([1.0, -1.0, 0.5, 0.5])
    beta = torch.zeros(2, 64)
    beta[1, INDEX["jawOpen"]] = 0.6
    points = model.vertices(alpha.expand(2, -1), beta + model.expression_rest) * torch.tensor([8.0, -8.0, -8.0])
    fitted, found, pose = fit_clip(model, points + 128)
    again = pose.project(model.vertices(fitted.expand(2, -1), found + model.expression_rest)) - 128
    assert float((again - points)[..., :2].norm(dim=2).mean()) < 0.5  # px of a face 120 px high
    jaw = float((found[1] - found[0])[INDEX["jawOpen"]])
    assert 0.35 < jaw < 0.7  # the fit prefers small coefficients


def test_second_run_keeps_what_is_there(command, done, capsys):
    path = shards.path_of(done, "anna-one")
    before = path.stat().st_mtime_ns
    shards.path_of(done, "anna-two").write_bytes(b"half")
    assert main(command) == 0
    assert "1 clips made, 1 kept, 3 bad" in capsys.readouterr().err
    assert path.stat().st_mtime_ns == before
    assert len(shards.listing(done)) == 2


@pytest.mark.parametrize(
    ("table", "message"),
    [("name\nanna/one.mp4\n", "column"), ("file,split\none.mp4,dev\n", "train or test"),
     ("file,intensity\none.mp4,loud\n", "1 to 3")],
)  # fmt: skip
def test_wrong_tables_are_named(tmp_path, table, message):
    (tmp_path / "one.mp4").touch()
    (tmp_path / "labels.csv").write_text(table)
    with pytest.raises(InputError, match=message):
        prepare.folder(tmp_path, tmp_path / "labels.csv")


def test_nothing_to_prepare(tmp_path):
    with pytest.raises(UsageError, match="No clips of this layout"):
        prepare.prepare(prepare.mead(tmp_path), tmp_path / "out")


def test_silence_is_prepared_like_speech(tmp_path, talking_clip, models):
    """A talker who says nothing is a clip too."""
    shutil.copy(talking_clip, tmp_path / "quiet.mp4")
    write_wav(tmp_path / "quiet.wav", np.zeros(12800))
    (source,) = prepare.folder(tmp_path)
    assert source.sound.name == "quiet.wav"
    assert not shards.Shard(prepare.make_clip(source, tmp_path / "out", 64, *models)).sound().any()


def test_damaged_clip_is_an_input_error(tmp_path):
    (tmp_path / "x.safetensors").write_bytes(os.urandom(64))
    with pytest.raises(InputError, match="prepare again"):
        shards.Shard(tmp_path / "x.safetensors")
