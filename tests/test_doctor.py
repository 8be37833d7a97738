"""The doctor finds what is broken and says so; the dry run says what would happen and writes nothing."""

from __future__ import annotations

import json
import shutil

import pytest
from conftest import PORTRAIT, ffmpeg

from emotalk_cli import doctor
from emotalk_cli.cli import main
from emotalk_cli.estimate import plan
from emotalk_cli.jobs import Job
from emotalk_cli.models import checkpoints

QUICK = ["--generator", "geometry", "--fps", "5", "--size", "128", "--device", "cpu"]


def by_name(**options) -> dict[str, doctor.Finding]:
    return {finding.name: finding for finding in doctor.examine(selftest=False, **options)}


def test_everything_works_here(capfd):
    assert main(["doctor", "--generator", "geometry", "--device", "cpu", "--json"]) == 0
    said = json.loads(capfd.readouterr().out)
    found = {finding["name"]: finding for finding in said["findings"]}
    assert said["ok"] and all(
        found[name]["ok"] for name in ("device", "ffmpeg", "disk", "ame.safetensors", "self-test")
    )
    assert "25 frames of 512 px" in found["self-test"]["detail"] and "frames/s" in found["self-test"]["detail"]


@pytest.fixture
def weights(tmp_path):
    return shutil.copytree(checkpoints.weights_dir(), tmp_path / "weights", ignore=shutil.ignore_patterns("curves"))


def test_damaged_missing_and_foreign_weights_are_found(weights, capfd):
    data = bytearray((weights / "eac.safetensors").read_bytes())
    data[-1] ^= 1
    (weights / "eac.safetensors").write_bytes(data)
    (weights / "hef.safetensors").unlink()
    found = by_name(weights=weights)
    assert found["ame.safetensors"].ok and not found["eac.safetensors"].ok and not found["hef.safetensors"].ok
    assert "damaged" in found["eac.safetensors"].detail and "missing" in found["hef.safetensors"].detail
    assert main(["doctor", "--weights", str(weights), "--device", "cpu"]) == 1
    shown = capfd.readouterr().out
    assert "BROKEN  eac.safetensors" in shown and "BROKEN  self-test" in shown and "Traceback" not in shown


def test_an_unlisted_weight_and_an_empty_folder(weights, tmp_path):
    listed = json.loads((weights / "index.json").read_text())
    del listed["tracker.safetensors"]
    (weights / "index.json").write_text(json.dumps(listed))
    assert "not listed" in by_name(weights=weights)["tracker.safetensors"].detail
    (weights / "index.json").write_text('["ame"]')
    assert by_name(weights=weights)["weights"].ok is False
    assert by_name(weights=tmp_path / "nowhere")["weights"].ok is False


def test_an_ffmpeg_without_encoders_and_a_device_that_is_not_there(tmp_path, monkeypatch):
    (tmp_path / "ffmpeg").write_text("#!/bin/sh\necho 'ffmpeg version 1'\n")
    (tmp_path / "ffmpeg").chmod(0o755)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(tmp_path / "ffmpeg"))
    found = by_name(device="cuda:77")
    assert found["ffmpeg"].ok is False and "lacks libx264 and aac" in found["ffmpeg"].detail
    assert found["device"].ok is False and "not available" in found["device"].detail


def test_no_room_for_temporary_files(monkeypatch):
    monkeypatch.setattr(doctor, "ROOM", 1 << 60)
    assert by_name()["disk"].ok is False


# -- dry run ----------------------------------------------------------------------------------------------------


def test_a_plan_writes_nothing_and_keeps_its_word(talker, short_speech, tmp_path):
    job = Job.parse({"face": PORTRAIT, "audio": short_speech, "emotion": "happy", "out": tmp_path / "a.mp4",
                     "generator": "geometry", "fps": 12, "size": 128})  # fmt: skip
    planned = plan(job, talker)
    assert not list(tmp_path.iterdir())
    result = job.run(talker)
    assert (planned.frames, planned.seconds, planned.size) == (result.frames, result.seconds, result.size)
    assert planned.out == result.out and not planned.exists and plan(job, talker).exists
    assert 90 < planned.face < 130 and 200 < planned.estimated_memory < 8000
    assert planned.estimated_seconds > planned.loading_seconds == 0
    assert plan(job, talker, 100.0).estimated_seconds > 100 == plan(job, talker, 100.0).loading_seconds


def test_dry_run_by_command(short_speech, tmp_path, capfd):
    options = ["generate", f"--face={PORTRAIT}", f"--audio={short_speech}", "-e", "happy", *QUICK, "--dry-run"]
    assert main([*options, "-o", str(tmp_path / "a.mp4"), "--json"]) == 0
    out, err = capfd.readouterr()
    assert json.loads(out)["frames"] == 6 and "Nothing was written" in err and not list(tmp_path.iterdir())


def test_a_dry_run_fails_as_the_run_would(talker, short_speech, tmp_path, capfd):
    ffmpeg("-f", "lavfi", "-i", "color=s=64x64:d=1", tmp_path / "mute.mp4")
    options = ["generate", f"--face={PORTRAIT}", f"--audio={tmp_path / 'mute.mp4'}", "-e", "happy", *QUICK, "--dry-run"]
    assert main([*options, "-o", str(tmp_path / "a.mp4")]) == 1
    assert "holds no sound" in capfd.readouterr().err
