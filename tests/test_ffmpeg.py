"""The one guarded way to ffmpeg: nothing else starts it; what it reads is bounded; its failures are told apart."""

from __future__ import annotations

import ast
import os
import stat
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, ffmpeg, write_wav

from emotalk_cli.errors import EmoTalkError, InputError
from emotalk_cli.media import audio
from emotalk_cli.media import ffmpeg as guarded
from emotalk_cli.training.data.prepare import frames_of

PACKAGE = ROOT / "emotalk_cli"
STARTS_PROGRAMS = {"media/ffmpeg.py", "media/speech_synthesis.py", "training/data/voices.py"}  # and voices that speak
READERS = [
    audio.Recording.open,
    lambda path: list(guarded.read_frames(path, 5)),
    lambda path: list(guarded.read_frames(path)),
    lambda path: list(frames_of(Path(path))),
]


def test_nothing_else_starts_programs_or_opens_films():
    """By the imports and calls of every module."""
    for path in PACKAGE.rglob("*.py"):
        tree, names = ast.parse(path.read_text()), set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names |= {node.module or ""}
            elif isinstance(node, ast.Attribute):
                names |= {f".{node.attr}", f"{getattr(node.value, 'id', '')}.{node.attr}"}
            elif isinstance(node, ast.keyword) and node.arg == "shell":
                names |= {"shell="}
        where = str(path.relative_to(PACKAGE))
        assert not names & {".VideoCapture", "os.system", "os.popen", "os.execv", "torchvision.io", "pty", "shell="}, (
            where
        )
        if where not in STARTS_PROGRAMS:
            assert not names & {"subprocess", "imageio_ffmpeg", "imageio", ".read_video"}, where


@pytest.mark.parametrize("reader", READERS, ids=["sound", "film", "film as it is", "training and measures"])
@pytest.mark.parametrize("text", ["ffconcat version 1.0\nfile 'ok.mp4'\n", "#EXTM3U\n#EXTINF:9,\n{}/ok.mp4\n"])
def test_lists_of_other_files_are_refused_by_every_reader(reader, text, tmp_path):
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=32x32:r=5:d=1", "-f", "lavfi", "-i", "sine=d=1", tmp_path / "ok.mp4")
    (tmp_path / "clip.mp4").write_text(text.format(tmp_path))
    with pytest.raises(InputError, match="clip.mp4"):
        reader(tmp_path / "clip.mp4")


def test_names_are_never_protocols(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=32x32:r=5:d=1", "ok.mp4")
    for name in ("concat:ok.mp4", "subfile,,start,0,end,99,,:ok.mp4", "file:ok.mp4"):
        with pytest.raises(InputError, match="does not exist"):
            list(guarded.read_frames(name))
    os.makedirs("concat:a")
    os.rename("ok.mp4", "concat:a/ok.mp4")
    assert len(list(guarded.read_frames("concat:a/ok.mp4"))) == 5


@pytest.fixture(scope="module")
def gap(tmp_path_factory) -> Path:
    """Three frames five hours apart: 2 kB."""
    path = tmp_path_factory.mktemp("gap") / "gap.mkv"
    ffmpeg("-f", "lavfi", "-i", "color=red:s=640x480:r=1:d=3", "-vf", "setpts=N*18000/TB", "-fps_mode", "passthrough",
           "-t", "100000", path)  # fmt: skip
    return path


def test_a_film_with_a_gap_of_hours_is_refused_at_once(gap):
    with pytest.raises(InputError, match="longer than 10 minutes"):
        next(guarded.read_frames(gap, 25))


def test_a_film_that_hides_its_length_costs_no_memory(gap, tmp_path):
    """The same without a duration in its header, as a stream is recorded."""
    ffmpeg("-i", gap, "-c", "copy", "-f", "matroska", "-live", "1", tmp_path / "live.mkv")
    reader = guarded.read_frames(tmp_path / "live.mkv", 25, longest=20.0)
    count, arrays, peak = 0, set(), 0
    with pytest.raises(InputError, match="longer than 20 s"):
        for frame in reader:
            count += 1
            arrays.add(id(frame))
            peak = max(peak, _peak_of_children())
    assert 500 <= count <= 502 and len(arrays) <= 3
    assert peak < 400 << 20 or not peak


def _peak_of_children() -> int:
    """Largest resident size so far of our running children, bytes; 0 where there is no /proc."""
    peak = 0
    for task in Path("/proc/self/task").glob("*/children"):
        for child in task.read_text().split():
            for line in Path(f"/proc/{child}/status").read_text().splitlines():
                peak = max(peak, int(line.split()[1]) << 10 if line.startswith("VmHWM") else 0)
    return peak


def _children() -> set[int]:
    return {int(pid) for task in Path("/proc/self/task").glob("*/children") for pid in task.read_text().split()}


@pytest.mark.skipif(not hasattr(__import__("resource"), "prlimit"), reason="the system bounds no other process")
def test_children_are_bounded_and_inherit_little(tmp_path, monkeypatch):
    monkeypatch.setenv("FFREPORT", f"file={tmp_path}/report")
    monkeypatch.setenv("SECRET", "1")
    write_wav(tmp_path / "a.wav", np.zeros(16000 * 300))
    secret = os.open(tmp_path / "a.wav", os.O_RDONLY)
    os.set_inheritable(secret, True)
    reader = guarded.read_samples(tmp_path / "a.wav", 16000, 1.0)
    before = _children()  # of other tests: a pool's tracker, for example
    next(reader)
    (child,) = _children() - before
    limits = Path(f"/proc/{child}/limits").read_text()
    assert str(guarded.MEMORY["sound"]) in limits and f"{guarded.CPU_SECONDS + 2} " in limits
    assert b"SECRET" not in Path(f"/proc/{child}/environ").read_bytes()
    opened = [os.readlink(fd) for fd in Path(f"/proc/{child}/fd").iterdir()]
    reader.close()
    os.close(secret)
    assert len([path for path in opened if path.endswith("a.wav")]) == 1 and not list(tmp_path.glob("report*"))


@pytest.mark.skipif(not hasattr(__import__("resource"), "prlimit"), reason="the system bounds no other process")
def test_a_child_that_needs_too_much_is_stopped_with_a_sentence(tmp_path, monkeypatch):
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=1280x720:r=5:d=2", tmp_path / "a.mp4")
    monkeypatch.setitem(guarded.MEMORY, "film", 150 << 20)
    with pytest.raises(EmoTalkError, match="too much memory"):
        list(guarded.read_frames(tmp_path / "a.mp4"))


def program(path: Path, script: str) -> Path:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.mark.parametrize(
    "script,words",
    [
        ("exit 1", "stopped without a word"),
        ("kill -9 $$", "killed from outside"),
        ("kill -24 $$", "takes too long to decode"),
        ("kill -11 $$", "needs too much memory, or is damaged"),
        ("echo '[error] Cannot allocate memory' >&2; exit 1", "too much memory"),
        ("echo 'ffmpeg: error while loading shared libraries: libx.so' >&2; exit 127", "cannot be run"),
        (
            "echo 'error while loading shared libraries: libm.so.6: failed to map segment' >&2; exit 127",
            "too much memory",
        ),
    ],
)
def test_who_is_to_blame(tmp_path, monkeypatch, script, words):
    write_wav(tmp_path / "a.wav", np.zeros(1600))
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(program(tmp_path / "ffmpeg", script)))
    for reader in READERS[:2]:
        with pytest.raises(EmoTalkError, match=words) as caught:
            reader(tmp_path / "a.wav")
        assert str(caught.value).count("\n") == 0 and "Internal" not in str(caught.value)


def test_an_ffmpeg_that_is_not_there(tmp_path, monkeypatch):
    write_wav(tmp_path / "a.wav", np.zeros(1600))
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(tmp_path / "none"))
    with pytest.raises(EmoTalkError, match="ffmpeg cannot be run .*No such file"):
        audio.Recording.open(tmp_path / "a.wav")


# -- sounds that lie, and samples that are none -----------------------------------------------------------------


def write_floats(path: Path, samples: np.ndarray) -> Path:
    """32-bit float WAV."""
    samples.astype("<f4").tofile(path.with_suffix(".raw"))
    ffmpeg("-f", "f32le", "-ar", "16000", "-i", path.with_suffix(".raw"), "-c:a", "pcm_f32le", path)
    return path


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30, -1e4])
def test_samples_that_are_no_numbers_are_found_while_listening(tmp_path, value):
    wave = np.zeros(16000)
    wave[8000] = value
    with pytest.raises(InputError, match="at 0.5.* s that are no numbers or far beyond"):
        audio.Recording.open(write_floats(tmp_path / "a.wav", wave))


def test_loud_samples_are_no_error(tmp_path):
    assert audio.Recording.open(write_floats(tmp_path / "a.wav", 4 * np.sin(np.arange(16000)))).seconds == 1


@pytest.mark.parametrize("rate,good", [(1, False), (3999, False), (4000, True), (768_000, True), (1_000_000, False)])
def test_sample_rates(tmp_path, rate, good):
    write_wav(tmp_path / "a.wav", np.zeros(rate), max(rate, 1))
    if rate == 1:
        data = bytearray(write_wav(tmp_path / "a.wav", np.zeros(1000), 8000).read_bytes())
        data[24:28] = (1).to_bytes(4, "little")
        (tmp_path / "a.wav").write_bytes(data)
    if good:
        assert audio.Recording.open(tmp_path / "a.wav").seconds == pytest.approx(1, abs=0.01)
    else:
        with pytest.raises(InputError, match=f"sample rate of {rate} Hz"):
            audio.Recording.open(tmp_path / "a.wav")


def test_length_is_bounded_as_asked(tmp_path):
    write_wav(tmp_path / "a.wav", np.zeros(32000))
    assert audio.Recording.open(tmp_path / "a.wav", longest=2.0).seconds == 2
    with pytest.raises(InputError, match="longer than 1.5 s"):
        audio.Recording.open(tmp_path / "a.wav", longest=1.5)


def test_what_was_cut_is_noted(tmp_path):
    path = write_wav(tmp_path / "a.wav", 0.1 * np.sin(np.arange(160_000)))
    assert not audio.Recording.open(path).notes
    for suffix in ("flac", "ogg", "m4a"):
        ffmpeg("-i", path, *(["-movflags", "faststart"] if suffix == "m4a" else []), tmp_path / f"a.{suffix}")
        assert not audio.Recording.open(tmp_path / f"a.{suffix}").notes
    for suffix in ("flac", "m4a"):
        data = (tmp_path / f"a.{suffix}").read_bytes()
        (tmp_path / f"a.{suffix}").write_bytes(data[: len(data) // 2])
        (note,) = audio.Recording.open(tmp_path / f"a.{suffix}").notes
        assert f"a.{suffix} is damaged or was cut" in note


def test_more_than_a_pipe_holds_goes_through():
    data = np.random.default_rng(0).integers(0, 255, 2 << 20, np.uint8).tobytes()
    assert guarded.run(["-f", "u8", "-ar", "8000", "-ac", "1", "-i", "-", "-f", "u8", "-"], data) == data
    assert guarded.version()[:1].isalnum()
