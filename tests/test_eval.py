"""Measures against values that are known, or that others compute; the command around them."""

from __future__ import annotations

import csv
import json
import re

import numpy as np
import pytest
import scipy.linalg
import torch
from conftest import PORTRAIT, SPEECH, ffmpeg
from matplotlib import cbook
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from emotalk_cli.cli import main
from emotalk_cli.errors import InputError, UsageError
from emotalk_cli.evaluation import bench, evaluate, lipsync, published
from emotalk_cli.evaluation.identity import Identity
from emotalk_cli.face.geometry import still
from emotalk_cli.media import audio
from emotalk_cli.models import added, checkpoints

OWN = ("fid-builtin", "sync-builtin", "csim-builtin", "efd-builtin")


@pytest.fixture(autouse=True)
def no_judges(tmp_path, monkeypatch):
    """As if the user had added no judge and installed none."""
    monkeypatch.setenv(added.ENVIRONMENT, str(tmp_path / "judges"))
    monkeypatch.setattr(evaluate.independent, "has", lambda metric: False)


# --- measures ---------------------------------------------------------------------------------------------------------


def test_quality_is_that_of_scikit_image():
    rng = np.random.default_rng(0)
    real = rng.random((3, 3, 64, 80)).astype(np.float32)
    mine = (real + 0.1 * rng.standard_normal(real.shape)).clip(0, 1).astype(np.float32)
    quality = evaluate.Quality(["psnr", "ssim", "lmd"])
    quality.add(torch.from_numpy(mine[:1]), torch.from_numpy(real[:1]))  # in two pieces
    quality.add(torch.from_numpy(mine[1:]), torch.from_numpy(real[1:]))
    expected = [peak_signal_noise_ratio(a, b, data_range=1) for a, b in zip(real, mine)]
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    similar = [structural_similarity(a, b, channel_axis=0, **options) for a, b in zip(real, mine)]
    assert quality.figures() == {
        "psnr": pytest.approx(np.mean(expected), abs=1e-3),
        "ssim": pytest.approx(np.mean(similar), abs=5e-3),
    }


def test_frechet_distance_is_its_formula():
    rng = np.random.default_rng(0)
    mine, real = rng.standard_normal((200, 6)) * 2 + 1, rng.standard_normal((300, 6)) @ rng.standard_normal((6, 6))
    a, b = np.cov(mine, rowvar=False), np.cov(real, rowvar=False)
    root = scipy.linalg.sqrtm(a @ b).real
    expected = ((mine.mean(0) - real.mean(0)) ** 2).sum() + np.trace(a + b - 2 * root)
    assert evaluate.frechet(torch.from_numpy(mine), torch.from_numpy(real)) == pytest.approx(expected, rel=1e-3)


def test_landmark_distance_sees_shape_not_place():
    points = torch.rand(4, 478, 3, generator=torch.Generator().manual_seed(0)) * 100
    assert evaluate.landmark_distance(points, points + 7) == pytest.approx(0, abs=1e-4)
    wider = points.clone()
    wider[:, evaluate.MOUTH[0], 0] += 20  # one of 20: moves itself by 19 and the others' middle by 1
    assert evaluate.landmark_distance(wider, points) == pytest.approx((19 + 19 * 1) / 20, abs=1e-3)


def test_jitter_is_the_second_difference():
    points = torch.zeros(6, 478, 3)
    points[:, 263, 0] = 100  # eye distance
    moving = points + torch.arange(6.0)[:, None, None] * torch.tensor([2.0, 1, 0])
    assert evaluate.jitter(moving) == pytest.approx(0, abs=1e-3)
    trembling = points + torch.tensor([0.0, 1, 0, 1, 0, 1])[:, None, None] * torch.tensor([1.0, 0, 0])
    assert evaluate.jitter(trembling) == pytest.approx(2 / 100 * 1000, rel=1e-3)


@pytest.fixture(scope="module")
def speaking(talker) -> tuple[np.ndarray, torch.Tensor]:
    """Five seconds of speech, and the landmarks of the portrait saying it."""
    wave = audio.load(SPEECH, 5.0)
    subject, z = talker.portrait(PORTRAIT), talker.ame.text(["neutral"])[0]
    beta, _ = talker.eac.predict(talker.vad.hear(audio.log_mel(wave)), z, 1.0)
    return wave, torch.cat([subject.motion.vertices(b, still(len(b))) for b in beta.split(32)])


def test_own_judge_finds_what_belongs_together(speaking):
    wave, landmarks = speaking
    judge = lipsync.SyncJudge.load()

    def judged(samples: np.ndarray) -> tuple[float, int]:
        return judge.judge(audio.log_mel(samples), audio.level(wave), landmarks)

    together, offset = judged(wave)
    assert abs(offset) <= 1
    _, late = judged(np.roll(wave, 5 * 640))
    assert abs(late - 5) <= 1
    far, _ = judged(np.roll(wave, 45 * 640))
    backwards, _ = judged(wave[::-1].copy())
    assert far < 0.7 * together and backwards < 0.7 * together


def test_mouth_shapes_know_nothing_of_place_size_and_roll(speaking):
    _, landmarks = speaking
    cos, sin = np.cos(0.3), np.sin(0.3)
    turn = torch.tensor([[cos, -sin], [sin, cos]], dtype=torch.float32)
    moved = landmarks.clone()
    moved[..., :2] = 1.7 * landmarks[..., :2] @ turn.T + 40
    torch.testing.assert_close(lipsync.mouth_shapes(moved), lipsync.mouth_shapes(landmarks), rtol=0, atol=1e-3)


def test_short_clips_cannot_be_judged(speaking):
    with pytest.raises(InputError, match="at least"):
        lipsync.SyncJudge().judge(torch.zeros(80, 40), -20.0, speaking[1][:10])


# --- command ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def videos(inputs, talker, short_speech):
    """Real and generated folders: the same video, one of another face, and one of another size without partner."""
    real, made = inputs / "real", inputs / "made"
    real.mkdir(), made.mkdir()
    options = {"size": 160, "pose": "still", "sidecar": False}
    talker.generate(PORTRAIT, short_speech, "happy", real / "same.mp4", intensity=3, **options)
    ffmpeg("-i", real / "same.mp4", "-c", "copy", made / "same.mp4")
    ffmpeg("-i", real / "same.mp4", "-vf", "hue=s=0.2,scale=200:160", "-c:a", "copy", made / "other.mp4")
    ffmpeg("-i", real / "same.mp4", "-c", "copy", real / "other.mp4")
    ffmpeg("-i", real / "same.mp4", "-c", "copy", made / "alone.mp4")
    return made, real


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """The shipped weights with an identity embedding that has learned nothing, which is enough for these tests."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    network = Identity()
    checkpoints.save("identity", network.state_dict(), network.dims, folder, data="none", command="test", seed=0)
    checkpoints.complete(folder)
    return folder


@pytest.fixture(scope="module")
def figures(videos, weights, tmp_path_factory):
    """One run of the command over them."""
    out = tmp_path_factory.mktemp("figures")
    command = ["eval", "--generated", videos[0], "--reference", videos[1], "--json", out / "f.json"]
    command += ["--device", "cpu", "--weights", weights, "--metrics", "psnr,ssim,lmd,jitter," + ",".join(OWN)]
    assert main([str(x) for x in [*command, "--csv", out / "f.csv", "--report", out / "f.html"]]) == 0
    return out


def test_identical_videos(figures):
    row = json.loads((figures / "f.json").read_text())["rows"]["generated"]["clips"]["same"]
    assert row["psnr"] == 100 and row["ssim"] == pytest.approx(1, abs=1e-6)
    assert row["lmd"] == 0 and row["efd-builtin"] == 0 and row["csim-builtin"] == pytest.approx(1, abs=1e-5)


def test_other_video_is_worse_in_everything(figures):
    clips = json.loads((figures / "f.json").read_text())["rows"]["generated"]["clips"]
    same, other = clips["same"], clips["other"]
    assert set(clips) == {"same", "other"}
    for metric, value in other.items():
        if metric not in ("sync-builtin", "jitter"):
            better = evaluate.METRICS[metric][1]
            assert (value < same[metric]) == better, metric


def test_own_judges_have_their_own_names(figures):
    found = json.loads((figures / "f.json").read_text())
    assert {m for m in found["metrics"] if m.endswith("-builtin")} == {
        f"{m}-builtin" for m in ("fid", "sync", "csim", "efd")
    }
    assert not {"fid", "sync", "csim", "efd"} & set(found["metrics"])
    notes = " ".join(found["rows"]["generated"]["notes"])
    assert "differ in size" in notes and "fewer than its" in notes


def test_table_report_and_csv_agree(figures):
    mean = json.loads((figures / "f.json").read_text())["rows"]["generated"]["mean"]
    with open(figures / "f.csv") as file:
        rows = {row["clip"]: row for row in csv.DictReader(file)}
    assert float(rows["mean"]["lmd"]) == mean["lmd"] and set(rows) == {"same", "other", "mean"}
    page = (figures / "f.html").read_text()
    assert "generated: other" in page and page.count("data:image/") == 5
    assert not re.findall(r"(?:src|href)=\"(?!data:)", page)  # nothing is fetched


def test_swapped_identity_lowers_csim(portrait_picture):
    """The portrait, itself mirrored, and matplotlib's sample picture of somebody else."""
    with cbook.get_sample_data("grace_hopper.jpg") as file:
        other = np.array(Image.open(file).convert("RGB"))
    judges, found = evaluate.Judges(["csim-builtin"], checkpoints.weights_dir(None)), []
    for picture in (portrait_picture.copy(), portrait_picture[:, ::-1].copy(), other):
        points = torch.from_numpy(judges.tracker(picture)[0].landmarks)[None]
        found.append(judges.see(torch.from_numpy(picture).permute(2, 0, 1)[None] / 255, points)["csim-builtin"])
    same, different = (float((found[0] * face).sum()) for face in found[1:])
    assert same > 0.8 and different < same - 0.15


def test_judges_that_the_weights_lack_are_left_out(weights, tmp_path):
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "index.json").write_text("{}")
    found, notes = evaluate.resolve(["psnr", "csim"], folder)
    assert found == ["psnr"] and "identity.safetensors" in notes[0]
    with pytest.raises(UsageError, match="nothing to measure"):
        evaluate.resolve(["csim"], folder)
    assert evaluate.resolve(["csim", "csim-builtin"], weights) == (["csim-builtin"], [])


def test_what_cannot_be_measured_is_said(talking_clip, tmp_path):
    """Twenty frames are too few for the sync judge; a file that is no video costs only itself."""
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    broken = evaluate.Pair("broken", tmp_path / "broken.mp4", talking_clip)
    pair = evaluate.Pair("short", talking_clip, talking_clip)
    judges = evaluate.Judges(["lmd", "sync-builtin"])
    found = evaluate.evaluate([broken, pair], judges)
    assert found.mean == {"lmd": 0.0} and list(found.rows) == ["short"]
    assert "broken is left out" in found.notes[0] and "at least 30 frames" in found.notes[1]
    with pytest.raises(InputError, match="No pair could be measured"):
        evaluate.evaluate([broken], judges)


def test_published_judges_take_over_when_they_are_there(talking_clip, monkeypatch):
    """Under their own names, and only those of which the user has added the file."""

    class Judge(published.SyncNet):
        def forward(self, images, landmarks):
            return images.mean((2, 3))

        def judge(self, faces, wave):
            assert faces.shape == (20, 3, 224, 224) and len(wave) == 12800
            return 3.5, 0

    monkeypatch.setattr(added, "has", lambda name: name in ("syncnet", "emotion-fan"))
    monkeypatch.setattr(published, "find", lambda name, device: Judge())
    names, _ = evaluate.resolve(["sync", "efd", "fid"])
    assert names == ["sync", "efd", "fid-builtin"]
    pair = evaluate.Pair("clip", talking_clip, talking_clip)
    found = evaluate.evaluate([pair], evaluate.Judges(names))
    assert found.mean["sync"] == 3.5 and found.mean["efd"] == 0 and found.reference == {"sync": 3.5}


def test_pairs_need_names_in_common(tmp_path, videos):
    (tmp_path / "elsewhere").mkdir()
    with pytest.raises(InputError, match="rename them alike"):
        evaluate.pairs(videos[0], tmp_path / "elsewhere")
    with pytest.raises(InputError, match="does not exist"):
        evaluate.pairs(videos[0], tmp_path / "nowhere")


def test_unknown_metrics_are_named():
    with pytest.raises(UsageError, match="niqe"):
        evaluate.resolve(["psnr", "niqe"])


def test_wrong_options_cost_no_time(capsys, tmp_path):
    assert main(["eval", "--generated", "a"]) == 2 and "--data" in capsys.readouterr().err
    command = ["eval", "--generated", "a", "--reference", "b", "--json", str(tmp_path / "x.txt")]
    assert main(command) == 2 and ".json" in capsys.readouterr().err


def test_without_data_pairs_are_made_and_said_to_be(tmp_path, capsys):
    """The folder holds what was compared."""
    command = ["eval", "--metrics", "psnr,ssim", "--generator", "geometry", "--device", "cpu"]
    assert main([*command, "--videos", str(tmp_path / "v")]) == 0
    said = capsys.readouterr()
    assert "self-made" in said.out and "pairs of its own" in said.err
    made, real = (tmp_path / "v" / f"happy{end}.mp4" for end in (".again", ""))
    assert len(list(evaluate.frames_of(made))) == len(list(evaluate.frames_of(real))) == 32


def test_bench_counts_time_and_memory(inputs, short_speech, tmp_path, capsys):
    ffmpeg("-i", short_speech, "-t", "0.3", inputs / "word.wav")
    command = ["eval", "bench", "--face", PORTRAIT, "--audio", inputs / "word.wav", "--generator", "geometry"]
    assert main([str(x) for x in [*command, "--size", 64, "--device", "cpu", "--json", tmp_path / "b.json"]]) == 0
    (row,) = json.loads((tmp_path / "b.json").read_text())["rows"]
    assert row["frames"] == 8 and row["frames_per_second"] == pytest.approx(1000 / row["milliseconds"])
    assert 0.2 < row["memory_gb"] < 8 and set(row["parameters"]) == {"AME", "EAC", "face tracker"}
    assert row["first_frame_seconds"] > row["load_seconds"] > 0 and row["processor_milliseconds"] > 0
    assert "frames/s" in capsys.readouterr().out and bench.machine("cpu")["cores"] >= 1


def test_bench_says_how_far_engines_are_apart(short_speech, tmp_path, capsys):
    command = ["eval", "bench", "--face", PORTRAIT, "--audio", short_speech, "--size", 64, "--device", "cpu", "--same"]
    generators = ["--generator", "geometry,geometry:eager"]
    assert main([str(x) for x in [*command, *generators, "--json", tmp_path / "s.json"]]) == 0
    (row,) = json.loads((tmp_path / "s.json").read_text())["same"]
    assert row["generator"] == "geometry:eager" and row["frames"] == 6 and row["largest"] == row["mean"] == 0
    assert "portrait.png" in capsys.readouterr().out
    assert main([str(x) for x in [*command, "--generator", "geometry"]]) == 2
    assert main([str(x) for x in [*command[:-1], "--face", PORTRAIT]]) == 2


def test_bench_says_how_late_frames_leave(inputs, short_speech, tmp_path, capsys):
    command = ["eval", "bench", "--latency", "--face", PORTRAIT, "--audio", short_speech, "--generator", "geometry"]
    assert main([str(x) for x in [*command, "--size", 64, "--device", "cpu", "--json", tmp_path / "l.json"]]) == 0
    row = json.loads((tmp_path / "l.json").read_text())["latency"]["geometry"]
    assert row["frames"] == 30 and 0 < row["look_ahead_seconds"] <= 1.24
    assert 0 < row["processing_milliseconds"][0] <= row["processing_milliseconds"][1]
    assert "look-ahead" in capsys.readouterr().out
