"""Frames and sound go into one playable file, whole, deterministic, in constant memory; or nothing is left."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading

import numpy as np
import pytest
from conftest import ffmpeg, leftovers, sound, streams, video_frames, write_wav

from emotalk_cli.errors import EmoTalkError, UsageError
from emotalk_cli.media.audio import blocks
from emotalk_cli.media.video import VideoWriter, check_output

resource = pytest.importorskip("resource")  # Windows has none

SIZE = (64, 48)


def ramp(count: int) -> list[np.ndarray]:
    """Frames whose grey level tells their number."""
    return [np.full((SIZE[1], SIZE[0], 3), 20 + 7 * k, np.uint8) for k in range(count)]


def write(out, frames, **options) -> None:
    with VideoWriter(out, SIZE, **options) as writer:
        for frame in frames:
            writer.write(frame)


def tone(seconds: float, rate: int, hertz: float = 300) -> np.ndarray:
    return 0.4 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def test_every_frame_arrives_in_order_and_colour(tmp_path):
    frames = ramp(30)
    frames[3][:] = (200, 30, 60)
    write(tmp_path / "a.mp4", frames)
    seen = video_frames(tmp_path / "a.mp4", SIZE)
    assert len(seen) == 30
    assert np.abs(seen.astype(int) - np.stack(frames)).mean(axis=(1, 2, 3)).max() < 4
    described = streams(tmp_path / "a.mp4")
    assert "h264" in described and "yuv420p(tv, bt709" in described and "25 fps" in described


@pytest.mark.parametrize("fps", [12, 25, 29.97, 60])
def test_frame_rate_and_length(tmp_path, fps):
    seconds = 1.5
    write_wav(tmp_path / "a.wav", tone(seconds, 16000))
    count = int(np.ceil(seconds * fps))
    write(tmp_path / "a.mp4", ramp(1) * count, fps=fps, audio=tmp_path / "a.wav")
    assert len(video_frames(tmp_path / "a.mp4", SIZE)) == count
    assert abs(len(sound(tmp_path / "a.mp4")) / 16000 - seconds) <= 1 / fps + 1024 / 16000


@pytest.mark.parametrize("rate,channels", [(8000, 1), (44100, 2), (192000, 1), (48000, 6)])
def test_sound_is_kept_whole_and_in_time(tmp_path, rate, channels):
    wave = tone(2.0, rate)
    wave[: rate // 2] = 0  # the tone begins at 0.5 s
    write_wav(tmp_path / "a.wav", np.repeat(wave[:, None], channels, 1), rate)
    write(tmp_path / "a.mp4", ramp(1) * 50, audio=tmp_path / "a.wav")
    heard = sound(tmp_path / "a.mp4")
    assert abs(len(heard) / 16000 - 2.0) <= 1 / 25 + 1024 / 8000
    assert abs(np.flatnonzero(np.abs(heard) > 0.05)[0] / 16000 - 0.5) < 0.04


def test_late_sound_of_a_video_stays_late(tmp_path):
    """As a player has it: what is analysed and what is heard begin where the film's sound does."""
    write_wav(tmp_path / "a.wav", tone(1.0, 16000))
    ffmpeg("-f", "lavfi", "-i", "color=s=64x48:r=25:d=2", "-itsoffset", "0.7", "-i", tmp_path / "a.wav",
           "-map", "0", "-map", "1", tmp_path / "in.mkv")  # fmt: skip
    write(tmp_path / "a.mp4", ramp(1) * 25, audio=tmp_path / "in.mkv")
    heard = np.flatnonzero(np.abs(sound(tmp_path / "a.mp4")) > 0.05)[0] / 16000
    analysed = np.flatnonzero(np.abs(np.concatenate(list(blocks(tmp_path / "in.mkv")))) > 0.05)[0] / 16000
    assert abs(heard - 0.7) < 0.04 and abs(analysed - 0.7) < 0.04


def test_same_input_same_bytes(tmp_path):
    write_wav(tmp_path / "a.wav", tone(1.0, 16000))
    noise = list(np.random.default_rng(0).integers(0, 255, (25, SIZE[1], SIZE[0], 3), np.uint8))
    for name in ("a.mp4", "b.mp4"):
        write(tmp_path / name, noise, audio=tmp_path / "a.wav")
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


@pytest.mark.parametrize("name", ["a b", "it's", 'q"uote', "new\nline", "-dash", "%03d", "żółw 顔", "[x]:y", "x" * 240])
def test_awkward_names(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    write_wav(tmp_path / f"{name}.wav", tone(0.4, 16000))
    write(f"{name}.mp4", ramp(10), audio=f"{name}.wav")
    assert len(video_frames(tmp_path / f"{name}.mp4", SIZE)) == 10
    assert not leftovers(tmp_path)


def test_nothing_is_visible_before_the_end_and_umask_rules(tmp_path):
    before = os.umask(0o027)
    try:
        with VideoWriter(tmp_path / "a.mp4", SIZE) as writer:
            writer.write(ramp(1)[0])
            assert not (tmp_path / "a.mp4").exists()
    finally:
        os.umask(before)
    assert (tmp_path / "a.mp4").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_exception_leaves_the_old_file_and_nothing_else(tmp_path, error):
    (tmp_path / "a.mp4").write_text("old")
    with pytest.raises(error), VideoWriter(tmp_path / "a.mp4", SIZE) as writer:
        writer.write(ramp(1)[0])
        raise error
    assert (tmp_path / "a.mp4").read_text() == "old" and not leftovers(tmp_path)


def test_wrong_frames_are_refused(tmp_path):
    with pytest.raises(ValueError, match="frame must be"), VideoWriter(tmp_path / "a.mp4", SIZE) as writer:
        writer.write(np.zeros((10, 10, 3), np.uint8))
    with pytest.raises(ValueError, match="even"):
        VideoWriter(tmp_path / "b.mp4", (63, 48))
    assert not list(tmp_path.iterdir())


def test_an_encoder_that_dies_is_reported_and_cleaned_up(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (SIZE[1], SIZE[0], 3), np.uint8)
    with pytest.raises(EmoTalkError, match="killed from outside"), VideoWriter(tmp_path / "a.mp4", SIZE) as writer:
        threading.Timer(0.3, writer._child.process.kill).start()
        for _ in range(10**6):
            writer.write(noise)
    assert not list(tmp_path.iterdir())


def test_output_that_cannot_be(tmp_path):
    (tmp_path / "a.mp4").touch()
    (tmp_path / "folder.mp4").mkdir()
    for out, words in {
        "a.txt": "must end in",
        "nowhere/a.mp4": "not an existing folder",
        "folder.mp4": "is a folder",
        f"{'x' * 300}.mp4": "too long",
    }.items():
        with pytest.raises(UsageError, match=words):
            check_output(tmp_path / out)
    with pytest.raises(UsageError, match="exists already"):
        check_output(tmp_path / "a.mp4", overwrite=False)
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(UsageError, match="ordinary file"):
        check_output(tmp_path / "pipe.mp4")


def test_a_file_that_appears_meanwhile_is_not_overwritten(tmp_path):
    with pytest.raises(UsageError, match="exists"), VideoWriter(tmp_path / "a.mp4", SIZE, overwrite=False) as writer:
        writer.write(ramp(1)[0])
        (tmp_path / "a.mp4").write_text("mine")
    assert (tmp_path / "a.mp4").read_text() == "mine" and not leftovers(tmp_path)


def noise_video(out, size=(256, 256), frames=100):
    random = np.random.default_rng(0)
    with VideoWriter(out, size) as writer:
        for _ in range(frames):
            writer.write(random.integers(0, 255, (size[1], size[0], 3), np.uint8))


def test_no_room_on_the_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("only root can make a small disk")
    try:
        with pytest.raises(EmoTalkError, match="No room to write"):
            noise_video(disk / "a.mp4")
        assert not list(disk.iterdir())
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_limit_on_file_sizes(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(EmoTalkError, match="No room to write"):
            noise_video(tmp_path / "a.mp4")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.iterdir())


def test_memory_is_constant(tmp_path):
    """600 frames of 640×480 are 553 MB; neither we nor the encoder may keep them."""
    frame = np.zeros((480, 640, 3), np.uint8)
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with VideoWriter(tmp_path / "a.mp4", (640, 480)) as writer:
        for k in range(600):
            frame[:] = k % 251
            writer.write(frame)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - own < 60_000  # kB


def test_a_mov_is_of_quicktime(tmp_path):
    """Players that go by the brand open it; an .mp4 has another."""
    for name, brand in (("a.mov", b"qt  "), ("a.mp4", b"isom")):
        with VideoWriter(tmp_path / name, (64, 64)) as writer:
            writer.write(np.zeros((64, 64, 3), np.uint8))
        assert (tmp_path / name).read_bytes()[4:12] == b"ftyp" + brand
        assert len(video_frames(tmp_path / name, (64, 64))) == 1
