"""Blendshape files: what is written is read again, in the layout that avatar tools know; films lend their motion."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest
import torch
from conftest import PORTRAIT, SPEECH, ffmpeg, video_frames

from emotalk_cli.emotions.prototypes import COMPONENTS
from emotalk_cli.errors import InputError, UsageError
from emotalk_cli.jobs import Job, repeat
from emotalk_cli.media.provenance import Sidecar
from emotalk_cli.motion import livelink
from emotalk_cli.motion.lips import NAMED
from emotalk_cli.motion.take import Take
from emotalk_cli.settings import TAKE_RATES

JAW = COMPONENTS.index("jawOpen")


def random_take(frames: int = 90, fps: float = 60.0) -> Take:
    generator = torch.Generator().manual_seed(0)
    beta = torch.rand(frames, 64, generator=generator)
    beta[:, NAMED:] -= 0.5
    pose = (torch.rand(frames, 6, generator=generator) - 0.5) * 0.05
    return Take(fps, beta, pose)


def written(take: Take, path, suffix: str = "") -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        livelink.write(file, zip(take.beta, take.pose, strict=True), take.fps, suffix or path.suffix)


@pytest.mark.parametrize("fps", TAKE_RATES)
def test_json_gives_back_everything(tmp_path, fps):
    take = random_take(fps=fps)
    take.beta[:, ::3] -= 0.5  # a portrait that smiles in a film moves below its own smile
    written(take, tmp_path / "take.json")
    again = livelink.read(tmp_path / "take.json")
    assert again.fps == fps
    torch.testing.assert_close(again.beta, take.beta, atol=1e-5, rtol=0)
    torch.testing.assert_close(again.pose, take.pose, atol=1e-5, rtol=0)


@pytest.mark.parametrize("fps", TAKE_RATES)
def test_csv_gives_back_what_arkit_knows(tmp_path, fps):
    take = random_take(fps=fps)
    raisers = [COMPONENTS.index(f"cheekRaiser{side}") for side in ("Left", "Right")]
    take.beta[:, raisers] = 0
    written(take, tmp_path / "take.csv")
    again = livelink.read(tmp_path / "take.csv")
    assert again.fps == fps and len(again.beta) == len(take.beta)
    torch.testing.assert_close(again.beta[:, :NAMED], take.beta[:, :NAMED], atol=1e-5, rtol=0)
    torch.testing.assert_close(again.pose[:, :3], take.pose[:, :3], atol=1e-5, rtol=0)
    assert not again.beta[:, NAMED:].any() and not again.pose[:, 3:].any()


def test_csv_has_the_layout_of_live_link_face(tmp_path):
    take = random_take(70, 30.0)
    take.beta[:] = 0
    take.beta[:, COMPONENTS.index("eyeLookOutLeft")] = take.beta[:, COMPONENTS.index("eyeLookInRight")] = 0.4
    take.pose[:] = 0
    take.pose[:, 0] = 0.1  # nods
    written(take, tmp_path / "take.csv")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "take.csv").read_text())))
    header = list(rows[0])
    assert header[:4] == ["Timecode", "BlendShapeCount", "EyeBlinkLeft", "EyeLookDownLeft"]
    assert header[53:57] == ["TongueOut", "HeadYaw", "HeadPitch", "HeadRoll"] and len(header) == 63
    assert {row["BlendShapeCount"] for row in rows} == {"61"}
    assert [rows[i]["Timecode"] for i in (0, 29, 30, 69)] == [
        "00:00:00:00.000", "00:00:00:29.000", "00:00:01:00.000", "00:00:02:09.000",
    ]  # fmt: skip
    assert float(rows[0]["HeadPitch"]) == pytest.approx(0.1) and float(rows[0]["HeadYaw"]) == 0
    assert float(rows[0]["LeftEyeYaw"]) == float(rows[0]["RightEyeYaw"]) == pytest.approx(0.2)  # both to the left


def test_frames_that_a_phone_dropped_are_filled_in(tmp_path):
    take = random_take(120, 30.0)
    take.beta[:, JAW] = torch.linspace(0, 1, 120)
    written(take, tmp_path / "take.csv")
    lines = (tmp_path / "take.csv").read_text().splitlines()
    kept = [line for i, line in enumerate(lines) if i == 0 or i % 7]
    (tmp_path / "dropped.csv").write_text("\n".join(kept))
    again = livelink.read(tmp_path / "dropped.csv")
    assert again.fps == 30 and len(again.beta) == 120
    torch.testing.assert_close(again.beta[:, JAW], take.beta[:, JAW], atol=1e-4, rtol=0)


def test_names_in_any_case_and_order_and_degrees_are_understood(tmp_path):
    names = ["jawOpen", "MOUTHSMILELEFT", *livelink.ARKIT[:12], "HeadYaw", "HeadPitch", "HeadRoll", "Comment1"]
    rows = [",".join(names), ",".join(["0.5", "0.25", *["0"] * 12, "8", "0", "0", "7"])]
    (tmp_path / "take.csv").write_text("\n".join(rows))
    take = livelink.read(tmp_path / "take.csv")
    assert take.beta[0, JAW] == 0.5 and take.beta[0, COMPONENTS.index("mouthSmileLeft")] == 0.25
    assert np.degrees(float(take.pose[0, 1])) == pytest.approx(-8, abs=0.01)  # to the subject's left


@pytest.mark.parametrize(
    "name, text, reason",
    [
        ("a.csv", "time,value\n0,1\n", "no ARKit blendshapes"),
        ("a.csv", "", "empty"),
        ("a.csv", ",".join(livelink.ARKIT) + "\n" + ",".join(["0"] * 51) + "\n", "row 2"),
        ("a.csv", ",".join(livelink.ARKIT) + "\n" + ",".join(["x"] * 52) + "\n", "row 2"),
        ("a.csv", ",".join(livelink.ARKIT) + "\n", "no frames"),
        ("a.csv", ",".join(livelink.ARKIT) + "\n" + ",".join(["nan"] * 52) + "\n", "finite"),
        ("a.json", '{"fps": 30, "names": ["jawOpen"], "frames": [[1]]}', "no blendshape file"),
        ("a.json", '{"fps": 30', "no blendshape file"),
        ("a.json", json.dumps({"fps": 0, "names": COMPONENTS, "frames": [[0] * 64]}), "no blendshape file"),
    ],
)
def test_other_files_are_refused_in_one_sentence(tmp_path, name, text, reason):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=reason) as error:
        livelink.read(tmp_path / name)
    assert "\n" not in str(error.value) and name in str(error.value)


def test_rows_at_another_rate_keep_the_time():
    beta = torch.zeros(50, 64)
    beta[:, JAW] = (torch.arange(50) + 0.5) / 25
    take = Take(25.0, beta, torch.zeros(50, 6))
    rows = torch.stack(list(take.rows(60.0, 130)))
    times = (torch.arange(130) + 0.5) / 60
    torch.testing.assert_close(rows[2:118, JAW], times[2:118], atol=1e-5, rtol=0)
    assert rows[-1, JAW] == beta[-1, JAW]  # then the last one stays


def test_a_short_pose_swings_back_without_a_jump():
    pose = torch.zeros(30, 6)
    pose[:, 1] = torch.linspace(0, 0.2, 30)
    rows = torch.stack(list(Take(25.0, torch.zeros(30, 64), pose).swing(25.0, 100)))
    assert rows.shape == (100, 6) and rows[:, 1].max() > 0.19
    assert rows.diff(dim=0).abs().max() < 0.01


@pytest.fixture(scope="module")
def made(talker, inputs):
    """A small talking video and its blendshapes: (video, csv, json)."""
    ffmpeg("-i", SPEECH, "-t", "1.4", inputs / "words.wav")
    subject = talker.portrait(PORTRAIT)
    options = {"size": 256, "pose": "natural", "seed": 3, "intensity": 2.0}
    talker.generate(
        subject, inputs / "words.wav", "neutral", inputs / "film.mp4",
        blendshapes=inputs / "film.json", blendshapes_fps=25.0, **options,
    )  # fmt: skip
    return inputs / "film.mp4", inputs / "film.json"


def test_exported_motion_drives_the_same_video(talker, made, tmp_path):
    film, shapes = made
    options = {"size": 256, "blink": 0}
    talker.generate(PORTRAIT, None, None, tmp_path / "again.mp4", motion=shapes, **options)
    result = talker.generate(PORTRAIT, film.parent / "words.wav", None, tmp_path / "b.mp4", motion=shapes, **options)
    first, again = (video_frames(path, (256, 256)).astype(int) for path in (film, tmp_path / "again.mp4"))
    assert first.shape == again.shape and np.abs(first - again).mean() < 1.5  # two encodings of one picture: 1.1
    assert result.emotion is None and result.motion == str(shapes)


def test_a_film_drives_another_face_and_lends_its_head(talker, made, tmp_path):
    film, shapes = made
    recorded = livelink.read(shapes)
    take = talker.performance(None, None, film).take
    count = min(len(take.beta), len(recorded.beta))
    assert abs(len(take.beta) - len(recorded.beta)) <= 1
    both = torch.stack([take.beta[:count, JAW], recorded.beta[:count, JAW]])
    assert torch.corrcoef(both)[0, 1] > 0.6
    performance = talker.performance(film, "neutral", None, str(film))
    assert performance.take is None and performance.head.pose[0].abs().max() < 1e-6
    moved = torch.stack([pose for _, pose in talker.blendshapes(performance, 25.0, pose=str(film), blink=0)])
    torch.testing.assert_close(moved[:count], performance.head.pose[:count], atol=1e-4, rtol=0)


def test_a_sidecar_makes_the_same_video_from_motion_and_a_films_head(talker, made, tmp_path):
    film, shapes = made
    options = {"size": 128, "pose": str(film)}
    talker.generate(PORTRAIT, film, None, tmp_path / "one.mp4", motion=shapes, **options)
    sidecar = Sidecar.read(tmp_path / "one.mp4.json")
    assert {"face", "audio", "motion", "pose"} <= set(sidecar.inputs)
    result = repeat(Job.of(sidecar), sidecar, talker)
    assert result.identical and result.motion.endswith("film.json")


def test_motion_and_emotion_exclude_each_other_and_a_pose_must_exist(talker, made, tmp_path):
    film, shapes = made
    with pytest.raises(UsageError, match="emotion and motion"):
        talker.performance(film, "happy", shapes)
    with pytest.raises(UsageError, match="audio is missing"):
        talker.performance(None, "happy")
    with pytest.raises(UsageError, match="pose nodding"):
        talker.generate(PORTRAIT, film, "happy", tmp_path / "a.mp4", pose="nodding")
    with pytest.raises(UsageError, match="export_fps 24"):
        talker.generate(
            PORTRAIT, film, "happy", tmp_path / "a.mp4", blendshapes=tmp_path / "a.csv", blendshapes_fps=24.0
        )
    with pytest.raises(InputError, match="holds no picture"):
        talker.performance(None, None, SPEECH)
    assert not list(tmp_path.iterdir())
