"""The command as people run it: every good input, every failure, ctrl-C, a full disk; never half a file."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import PORTRAIT, ROOT, SPEECH, ffmpeg, leftovers, sound, streams, video_frames, write_wav
from PIL import Image

from emotalk_cli import __version__
from emotalk_cli.cli import main
from emotalk_cli.outputs import default_name

resource = pytest.importorskip("resource")  # Windows has none

QUICK = ["--generator", "geometry", "--fps", "5", "--size", "128", "--device", "cpu"]
COMMAND = [sys.executable, "-m", "emotalk_cli"]
USED = {"face_model", "tracker", "ame", "ame_image", "ame_audio", "behaviour", "vad", "eac", "hef", "mouth", "lids"}


def generate(face, audio, emotion="happy", *options) -> list[str]:
    return ["generate", "--face", str(face), "--audio", str(audio), "--emotion", emotion, *map(str, options)]


def test_the_main_job(tmp_path, short_speech):
    """The real command with the neural generator, awkward names, and everything it is asked to write."""
    face, audio = tmp_path / "mé & 'my' face.png", tmp_path / 'the "speech".wav'
    shutil.copy(PORTRAIT, face)
    shutil.copy(short_speech, audio)
    command = COMMAND + generate(face, audio, "sadly surprised", "--json", "--preview", tmp_path / "sheet.png")
    done = subprocess.run([*command, "--seed", "7", "--intensity", "3"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    described = json.loads(done.stdout)
    out = tmp_path / "mé - 'my' face--the -speech--sadly surprised.mp4"
    assert Path(described["out"]) == out and out.is_file()
    assert described["frames"] == 30 == len(video_frames(out, (512, 512)))
    assert described["seconds"] == pytest.approx(1.2) and described["seed"] == 7 and described["intensity"] == 3
    assert described["generator"] == "hef" and described["stages"]["generator"] > 0
    assert (
        all(len(digest) == 64 for digest in described["weights"].values())
        and {Path(name).stem for name in described["weights"]} == USED
    )
    assert "surprised" in " ".join(described["nearest"])
    assert "h264" in streams(out) and "aac" in streams(out) and "Synthetic" in streams(out)
    heard, original = sound(out), sound(audio)
    assert abs(len(heard) - len(original)) <= 16000 / 25 + 1024
    count = min(len(heard), len(original))
    assert np.corrcoef(heard[:count], original[:count])[0, 1] > 0.9
    sheet = Image.open(tmp_path / "sheet.png")
    assert sheet.width > 900 and sheet.height > 450
    files = [face.name, audio.name, out.name, f"{out.name}.json", "sheet.png"]
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(files)
    assert "\x1b" not in done.stderr and "frames" in done.stderr


def test_same_seed_same_bytes(tmp_path, short_speech):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert (
            main(generate(PORTRAIT, short_speech, "happy", *QUICK, "--seed", seed, "-o", tmp_path / f"{name}.mp4")) == 0
        )
    a, b, c = ((tmp_path / f"{name}.mp4").read_bytes() for name in "abc")
    assert a == b != c


def test_sound_from_standard_input_quietly_into_a_folder_at_home(tmp_path, short_speech, capfd, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    with open(short_speech) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        assert main(generate(PORTRAIT, "-", "happy", *QUICK, "--quiet", "--no-sidecar", "--out=~/")) == 0
    assert capfd.readouterr() == ("", "")
    assert [p.name for p in tmp_path.iterdir()] == ["portrait--speech--happy.mp4"]


def test_a_bar_on_a_terminal(tmp_path, short_speech):
    control, terminal = pty.openpty()
    command = COMMAND + generate(PORTRAIT, short_speech, "happy", *QUICK, "--fps", "25", "-o", tmp_path / "a.mp4")
    environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": "100"}
    with subprocess.Popen(command, stderr=terminal, stdout=subprocess.DEVNULL, env=environment) as process:
        os.close(terminal)
        shown = b""
        while True:
            try:
                shown += os.read(control, 4096)
            except OSError:  # Linux says so when the other side has closed
                break
    os.close(control)
    assert process.returncode == 0
    assert b"Making frames" in shown and b"frames/s" in shown and b"0:00:" in shown


def test_full_picture(tmp_path, short_speech):
    assert main(generate(PORTRAIT, short_speech, "happy", *QUICK, "--framing", "full", "-o", tmp_path / "a.mp4")) == 0
    assert len(video_frames(tmp_path / "a.mp4", (512, 512))) == 6


def test_odd_names_as_arguments(tmp_path, short_speech, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(short_speech, tmp_path / "-speech\n顔.wav")
    shutil.copy(PORTRAIT, tmp_path / "%03d.png")
    arguments = ["generate", "--face=%03d.png", "--audio=-speech\n顔.wav", "--emotion=happy", *QUICK, "--quiet"]
    assert main([*arguments, "--out=-out ü.mp4"]) == 0
    assert len(video_frames(tmp_path / "-out ü.mp4", (128, 128))) == 6


@pytest.mark.parametrize(
    "face,audio,emotion,name",
    [
        ("a/me.jpg", "b/talk.mp3", "happy", "me--talk--happy.mp4"),
        ("me.jpg", "t.mp3", "happy:0.5+sad:0.5", "me--t--happy-0.5-sad-0.5.mp4"),
        ("me.jpg", "t.mp3", "../../etc/x\n", "me--t--etc-x.mp4"),
        ("顔.png", "ß.wav", "joyeux été", "顔--ß--joyeux été.mp4"),
    ],
)
def test_default_name(face, audio, emotion, name):
    assert default_name(Path(face), Path(audio), emotion) == name


def test_default_name_is_never_too_long():
    name = default_name(Path("x" * 250 + ".png"), Path("é" * 120 + ".wav"), "very " * 200)
    assert len(os.fsencode(name)) < 255 and name.endswith("very.mp4")


# -- failures ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bad(tmp_path_factory, short_speech) -> Path:
    folder = tmp_path_factory.mktemp("bad")
    (folder / "empty.png").touch()
    (folder / "empty.wav").touch()
    (folder / "text.png").write_text("no picture")
    (folder / "text.wav").write_text("no sound")
    (folder / "folder").mkdir()
    tags = b"II*\0\x08\0\0\0\x04\0" + b"".join(
        tag.to_bytes(2, "little") + b"\x03\0\x01\0\0\0" + value.to_bytes(4, "little")
        for tag, value in ((256, 9), (257, 9), (262, 2), (277, 67))
    )
    (folder / "samples.tiff").write_bytes(tags + bytes(99))
    (folder / "cut.png").write_bytes(PORTRAIT.read_bytes()[:100_000])
    Image.new("RGB", (300, 300), (90, 120, 150)).save(folder / "no face.png")
    Image.open(PORTRAIT).resize((200, 200)).save(folder / "small face.png")
    write_wav(folder / "short.wav", np.zeros(800))
    ffmpeg("-i", short_speech, "-c:a", "aac", folder / "whole.m4a")
    (folder / "cut.m4a").write_bytes((folder / "whole.m4a").read_bytes()[:3000])
    ffmpeg("-f", "lavfi", "-i", "color=s=64x64:d=1", folder / "silent film.mp4")
    ffmpeg("-i", short_speech, folder / "kept.mp4")
    return folder


FAILURES = {
    # name: (options that replace the good ones, exit code, words of the message)
    "no such face": ({"face": "none.png"}, 1, "none.png does not exist"),
    "no such audio": ({"audio": "none.wav"}, 1, "none.wav does not exist"),
    "empty face": ({"face": "empty.png"}, 1, "empty.png is empty"),
    "empty audio": ({"audio": "empty.wav"}, 1, "empty.wav is empty"),
    "text as face": ({"face": "text.png"}, 1, "text.png is not a picture"),
    "text as audio": ({"audio": "text.wav"}, 1, "text.wav"),
    "truncated face": ({"face": "cut.png"}, 1, "cut.png is damaged"),
    "impossible face": ({"face": "samples.tiff"}, 1, "samples.tiff is not a picture"),
    "truncated audio": ({"audio": "cut.m4a"}, 1, "cut.m4a"),
    "folder as face": ({"face": "folder"}, 1, "folder is a folder"),
    "folder as audio": ({"audio": "folder"}, 1, "folder is a folder"),
    "no face": ({"face": "no face.png"}, 1, "no face.png shows no face"),
    "small face": ({"face": "small face.png"}, 1, "at least 48 px"),
    "short audio": ({"audio": "short.wav"}, 1, "0.1 s"),
    "no audio stream": ({"audio": "silent film.mp4"}, 1, "silent film.mp4"),
    "empty emotion": ({"emotion": " "}, 2, "--emotion"),
    "intensity": ({"intensity": "4"}, 2, "--intensity"),
    "intensity no number": ({"intensity": "strong"}, 2, "--intensity"),
    "device": ({"device": "abacus"}, 2, "--device abacus"),
    "device absent": ({"device": "cuda:77"}, 2, "--device cuda:77"),
    "fps": ({"fps": "0"}, 2, "--fps"),
    "size": ({"size": "511"}, 2, "--size"),
    "pose": ({"pose": "sit"}, 2, "--pose"),
    "framing": ({"framing": "oval"}, 2, "--framing"),
    "blink": ({"blink": "1000"}, 2, "--blink"),
    "generator": ({"generator": "gan"}, 2, "--generator"),
    "landmarks": ({"landmarks": "dlib"}, 2, "--landmarks"),
    "weights": ({"weights": "nowhere"}, 1, "--weights"),
    "weights incomplete": ({"weights": "folder"}, 1, "missing"),
    "output exists": ({"out": "kept.mp4", "no-overwrite": None}, 2, "kept.mp4 exists already"),
    "output no video": ({"out": "a.avi"}, 2, "must end in .mp4"),
    "output nowhere": ({"out": "nowhere/a.mp4"}, 2, "nowhere is not an existing folder"),
    "output is input": ({"audio": "kept.mp4", "out": "kept.mp4"}, 2, "also an input"),
    "preview no picture": ({"preview": "a.txt"}, 2, "must end in .png"),
    "unknown option": ({"colour": "red"}, 2, "--colour"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_failures(name, bad, short_speech, capfd, monkeypatch):
    changed, code, words = FAILURES[name]
    monkeypatch.chdir(bad)
    before = {p.name: p.stat().st_mtime_ns for p in bad.iterdir()}
    chosen = {"face": PORTRAIT, "audio": short_speech, "emotion": "happy", "out": "new.mp4", "generator": "geometry"}
    arguments = ["generate", "--quiet"]
    for option, value in (chosen | changed).items():
        arguments += [f"--{option}"] if value is None else [f"--{option}", str(value)]
    assert main(arguments) == code
    out, err = capfd.readouterr()
    assert words in err and out == ""
    assert err.startswith("emotalk: ") and err.count("\n") == 1 and "Traceback" not in err
    assert {p.name: p.stat().st_mtime_ns for p in bad.iterdir()} == before


@pytest.mark.parametrize("arguments", [["generate"], ["generate", "--face", "x"], ["juggle"], ["--frobnicate"]])
def test_wrong_usage(arguments, capfd):
    assert main(arguments) == 2
    out, err = capfd.readouterr()
    assert err.startswith("emotalk: ") and err.count("\n") == 1 and out == ""


def test_debug_shows_the_traceback(bad, capfd):
    assert main(generate(bad / "text.png", SPEECH, "happy", "--debug", "-o", bad / "new.mp4")) == 1
    assert "Traceback" in capfd.readouterr().err


def test_control_characters_of_names_do_not_reach_the_terminal(tmp_path, capfd):
    assert main(generate(tmp_path / "a\x1b[31m\n.png", SPEECH)) == 1
    err = capfd.readouterr().err
    assert "\x1b" not in err and err.count("\n") == 1 and "\\x1b" in err


def test_an_output_that_cannot_be_written(short_speech, capfd):
    if not os.path.isdir("/proc/self"):
        pytest.skip("needs a folder that even root cannot write to")
    assert main(generate(PORTRAIT, short_speech, "happy", *QUICK, "--quiet", "-o", "/proc/self/a.mp4")) != 0
    err = capfd.readouterr().err
    assert "/proc/" in err and "choose an" in err and err.count("\n") == 1


def test_no_room(tmp_path, short_speech, capfd):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, before[1]))
    try:
        arguments = generate(PORTRAIT, short_speech, "happy", *QUICK, "--quiet", "--preview", tmp_path / "a.png")
        code = main([*arguments, "-o", str(tmp_path / "a.mp4")])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert code == 1 and not list(tmp_path.iterdir())
    assert "No room to write" in capfd.readouterr().err


@pytest.mark.parametrize("number,code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted(tmp_path, number, code):
    command = COMMAND + generate(PORTRAIT, SPEECH, "happy", *QUICK, "--fps", "100", "-o", tmp_path / "a.mp4")
    command += ["--preview", str(tmp_path / "a.png")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    until = time.monotonic() + 120
    while not leftovers(tmp_path) and process.poll() is None and time.monotonic() < until:
        time.sleep(0.05)
    time.sleep(0.3)
    os.killpg(process.pid, number)  # as a terminal does: the whole group
    _, err = process.communicate(timeout=600)
    assert process.returncode == code, err
    assert "Traceback" not in err and "nothing was left half-written" in err.splitlines()[-1]
    assert not list(tmp_path.iterdir())


# -- around it --------------------------------------------------------------------------------------------------


def test_version_is_fast():
    code = "import sys; from emotalk_cli.cli import main; main(['--version']); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == [f"emotalk {__version__}", "False"]


def test_shell_completion():
    environment = os.environ | {"_EMOTALK_COMPLETE": "complete_bash", "COMP_WORDS": "emotalk gen", "COMP_CWORD": "1"}
    done = subprocess.run(COMMAND, capture_output=True, text=True, env=environment)
    assert done.stdout.split() == ["generate"]


def test_batch_script(tmp_path, short_speech):
    shim = tmp_path / "bin" / "emotalk"
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m emotalk_cli "$@"\n')
    shim.chmod(0o755)
    environment = os.environ | {
        "PATH": f"{shim.parent}{os.pathsep}{os.environ['PATH']}",
        "EMOTIONS": "happy\nsadly surprised",
        "OPTIONS": " ".join(QUICK),
    }
    command = [
        "bash",
        str(ROOT / "examples" / "emotions.sh"),
        str(PORTRAIT),
        str(short_speech),
        str(tmp_path / "o u t"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    made = sorted(p.name for p in (tmp_path / "o u t").iterdir())
    names = [f"{name}.{kind}" for name in ("happy", "sadly-surprised") for kind in ("mp4", "mp4.json", "png")]
    assert made == names
