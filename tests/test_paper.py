"""The paper from end to end on a miniature MEAD: three subjects, eight emotions, three levels, clips of 0.32 s.

Videos are synthesised from the example portrait and two squeezed relatives of it; commands run as a user types them,
with the paper's configuration and its steps, windows and sizes cut.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import PORTRAIT, SPEECH, ffmpeg
from PIL import Image

from emotalk_cli.cli import main
from emotalk_cli.evaluation import ablation as table
from emotalk_cli.evaluation import figures
from emotalk_cli.models import added, checkpoints
from emotalk_cli.models.emotion_space import SPACE
from emotalk_cli.training import config as configs
from emotalk_cli.training.ablation import VARIANTS, usual
from emotalk_cli.training.data import shards
from emotalk_cli.training.tasks import hef_video

SUBJECTS = {"M003": (128, 128), "M005": (120, 134), "W011": (136, 124)}  # width and height of their pictures
EMOTIONS = ("neutral", "angry", "contempt", "disgusted", "fear", "happy", "sad", "surprised")  # as MEAD writes them
FRAMES = 8
USUAL = {"space": SPACE, "encoder": "transformer", "residual": True, "hierarchy": True, "geometry": True}
CUT = {  # of the paper's configuration
    "eac": {"steps": 1, "batch": 1, "workers": 0, "task.window": 8, "task.rendered": 1, "task.size": 48}
    | {"task.reader": '"tracker"'},
    "hef": {"steps": 1, "batch": 1, "workers": 0, "task.network": '"builtin"'},
}


def emotalk(*words: str | Path | int) -> None:
    assert main([str(word) for word in words]) == 0, words


def write_cut(path: Path, **more: dict[str, str]) -> None:
    """The paper's configuration with `CUT`, and more of each task."""
    lines = []
    for task, changes in CUT.items():
        changes = changes | more.get(task, {})
        config = configs.load("paper", task, [f"{key}={value}" for key, value in changes.items()])
        for name, section in ((task, dataclasses.asdict(config)), (f"{task}.task", config.task)):
            lines.append(f"[{name}]")
            lines += [f"{key} = {json.dumps(value)}" for key, value in section.items() if key != "task"]
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def mead(tmp_path_factory, talker) -> Path:
    """The data set as it is distributed: 24 videos, each subject with every emotion and level, sound beside them."""
    root, made = tmp_path_factory.mktemp("mead"), tmp_path_factory.mktemp("made")
    ffmpeg("-ss", "0.3", "-t", str(FRAMES / 25), "-i", SPEECH, made / "sound.wav")
    ffmpeg("-i", made / "sound.wav", "-c:a", "aac", made / "sound.m4a")
    for number, emotion in enumerate(EMOTIONS):
        felt, level = {"fear": "fearful"}.get(emotion, emotion), 1 + number % 3
        options = {"size": 128, "intensity": level, "seed": number, "sidecar": False}
        first = talker.generate(PORTRAIT, made / "sound.wav", felt, made / f"{emotion}.mp4", **options).out
        for subject, (width, height) in SUBJECTS.items():
            name = f"{emotion}/level_{level}/001"
            video, audio = root / subject / f"video/front/{name}.mp4", root / subject / f"audio/{name}.m4a"
            video.parent.mkdir(parents=True)
            audio.parent.mkdir(parents=True)
            ffmpeg("-i", first, "-vf", f"scale={width}:{height},hue=s={height / 128}", "-an", video)
            shutil.copy(made / "sound.m4a", audio)
    return root


def test_from_the_data_set_to_tables_and_figures(
    mead, stand_in, gpt2_files, talker, short_speech, tmp_path, monkeypatch, capsys
):
    """The system itself in CLIP's space, the ablation in the shipped one."""
    clips, cut, run, runs = (tmp_path / name for name in ("clips", "cut.toml", "run", "runs"))
    here = ("--device", os.environ.get("EMOTALK_TEST_DEVICE", "cpu"), "-q")
    monkeypatch.setattr(hef_video, "TESTS", 1)
    emotalk("train", "prepare", "mead", "--data", mead, "--out", clips, "--jobs", 2, "-q")
    listed = [shards.Shard(path).labels for path in shards.listing(clips)]
    people = {split: {label.subject for label in listed if label.split == split} for split in shards.SPLITS}
    assert len(listed) == 24 and "M003" in people["test"] and not people["train"] & people["test"]
    assert {label.intensity for label in listed} == {1, 2, 3} and len({label.emotion for label in listed}) == 8

    space = f"ViT-B-32/{stand_in}"
    write_cut(tmp_path / "clip.toml", eac={"task.upstream": json.dumps(space)})
    emotalk("train", "--data", clips, "--config", tmp_path / "clip.toml", "--out", run, *here)
    assert checkpoints.load("eac", run).dims["space"] == checkpoints.load("ame_audio", run).dims["space"] == space
    trained = {name: checkpoints.load(name, run).metadata["data"] for name in ("eac", "ame_audio", "hef")}
    assert all(f"of {len(people['train'])} subjects" in said for said in trained.values())

    measured = ("--metrics", "psnr,ssim,lmd,jitter", "--clips", 1)
    emotalk("eval", "--data", clips, "--weights", run, *measured, "--json", tmp_path / "t.json", *here)
    rows = json.loads((tmp_path / "t.json").read_text())["rows"]
    assert list(rows) == ["Ours-T", "Ours-I", "Ours-A"]
    for row in rows.values():
        assert {"psnr", "ssim", "lmd", "jitter"} <= set(row["mean"]) and np.isfinite(list(row["mean"].values())).all()

    write_cut(cut, hef={"task.squares": "true"})  # not the whole face, nine times
    monkeypatch.setenv(added.ENVIRONMENT, str(tmp_path / "added"))
    ablation = ("train", "ablation", "--data", clips, "--config", cut, "--out", runs, "--seeds", 0, *here)
    assert main([str(word) for word in (*ablation, "--variants", "gpt2,without-res")]) == 1
    said = capsys.readouterr().err
    assert "gpt2, seed 0: not trained (The emotion space gpt2 needs" in said and "1 of 3 networks" in said
    kept = (runs / "without-res/seed-0/hef.safetensors").stat().st_mtime_ns
    emotalk("weights", "add", "gpt2", gpt2_files)
    emotalk(*ablation)
    assert (runs / "without-res/seed-0/hef.safetensors").stat().st_mtime_ns == kept
    differs = {}
    for name in usual():
        sizes = [checkpoints.load(net, runs / name / "seed-0").dims for net in ("eac", "hef")]
        differs[name] = {key: value for dims in sizes for key, value in dims.items() if USUAL.get(key, value) != value}
    assert differs == {
        "ours": {},
        "without-emo": {},
        "one-hot": {"space": "one-hot"},
        "gpt2": {"space": "gpt2"},
        "mlp": {"encoder": "mlp"},
        "gru": {"encoder": "gru"},
        "without-res": {"residual": False},
        "without-hie": {"hierarchy": False},
        "without-geometry": {"geometry": False},
    }
    made = {name: checkpoints.index(runs / name / "seed-0") for name in usual()}
    ours, shipped = made["ours"], checkpoints.index(checkpoints.weights_dir())
    for net in ("eac.safetensors", "hef.safetensors"):  # of each variant one is its own, the other that of ours
        own = {name for name in made if made[name][net] != ours[net]}
        assert own == {name for name in made if VARIANTS[name].task == net.split(".")[0]} and ours[net] != shipped[net]
    emotalk("eval", "ablation", "--runs", runs, "--data", clips, "--clips", 1, "--out", tmp_path / "t.md", *here)
    lines = [line.strip("| ").split(" | ") for line in (tmp_path / "t.md").read_text().splitlines()]
    assert lines[0][0] == "method" and [line[0] for line in lines[2:]] == [row for row, n in table.ROWS if n in usual()]
    assert all(float(line[1]) > 0 for line in lines[2:])

    scene = figures.Scene(talker, PORTRAIT, short_speech)
    for number in (5, 7, 8):
        figures.draw(number, scene, tmp_path / f"{number}.png")
    drawn = ("--weights", run, "--audio", short_speech, *here)
    emotalk("figure", 6, "--out", tmp_path / "6.png", *drawn)
    emotalk("figure", 11, "--runs", runs, "--out", tmp_path / "11.png", *drawn)
    for number in (5, 6, 7, 8, 11):
        with Image.open(tmp_path / f"{number}.png") as picture:
            assert min(picture.size) > 300 and np.asarray(picture.convert("RGB")).std() > 10
