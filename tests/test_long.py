"""Long videos: made in pieces, in constant memory, and continued after any interruption to the same bytes."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import PORTRAIT, SPEECH, ffmpeg, leftovers, sound, streams, video_frames, write_wav

from emotalk_cli.animate import Shot, Stopwatch
from emotalk_cli.cli import main
from emotalk_cli.errors import EmoTalkError, UsageError
from emotalk_cli.media import segments
from emotalk_cli.media.framing import CropFraming
from emotalk_cli.media.segments import SegmentedWriter
from emotalk_cli.settings import Settings

resource = pytest.importorskip("resource")  # Windows has none

QUICK = {"fps": 5, "size": 64}
SIZE = (64, 64)
ALL, PIECE = 27, 12  # frames of the speech at 5 a second, and of a piece here: of 2 s, in whole batches


@pytest.fixture(autouse=True)
def short_pieces(monkeypatch):
    monkeypatch.setattr(segments, "SECONDS", 2.0)


@pytest.fixture(scope="module")
def whole(talker, tmp_path_factory):
    """A video made without an interruption, with a contact sheet."""
    patch = pytest.MonkeyPatch()
    patch.setattr(segments, "SECONDS", 2.0)
    folder = tmp_path_factory.mktemp("whole")
    made = talker.generate(PORTRAIT, SPEECH, "happy", folder / "a.mp4", preview=folder / "a.png", **QUICK)
    patch.undo()
    assert not leftovers(folder)
    return made


class Stop(Exception):
    pass


def generate(talker, folder, stop=None, **options):
    """Render; raise Stop after frame `stop`. Returns the numbers of the frames that were reported, and the result."""
    told, begun = [], []

    def progress(stage, done, total):
        if stage == "frames" and not begun:
            begun.append(done)  # where it starts
        elif stage == "frames":
            told.append(done)
            if done == stop:
                raise Stop

    options = {"preview": folder / "a.png", **QUICK, **options}
    return told, talker.generate(PORTRAIT, SPEECH, "happy", folder / "a.mp4", progress=progress, **options)


def test_pieces_become_one_video(whole, talker):
    assert whole.frames == ALL
    frames = video_frames(whole.out, SIZE)
    straight = np.stack(list(talker.frames(PORTRAIT, SPEECH, "happy", **QUICK)))
    assert frames.shape == straight.shape
    assert np.abs(frames.astype(int) - straight).mean(axis=(1, 2, 3)).max() < 4
    assert abs(len(sound(whole.out)) - len(sound(SPEECH))) < 16000 / 5 + 2048
    assert "Synthetic video" in streams(whole.out) and " 5 fps" in streams(whole.out)


@pytest.mark.parametrize("fps", [5, 12.5, 29.97])
def test_frames_keep_their_times(tmp_path, fps):
    write_wav(tmp_path / "a.wav", np.zeros(16000 * 4))
    total, length = int(4 * fps), int(1.3 * fps)
    with SegmentedWriter(tmp_path / "a.mp4", SIZE, fps, tmp_path / "a.wav", total, length, "key") as writer:
        for k in range(total):
            writer.write(np.full((64, 64, 3), 2 * k % 250, np.uint8))
    ffmpeg("-i", tmp_path / "a.mp4", "-fps_mode", "passthrough", "-an", "-f", "framecrc", tmp_path / "times")
    times = [line.split(",")[2] for line in (tmp_path / "times").read_text().splitlines() if line[0] != "#"]
    assert [int(time) for time in times] == list(range(total))  # in units of one frame


def test_an_interrupted_render_goes_on_to_the_same_bytes(talker, whole, tmp_path):
    with pytest.raises(Stop):
        generate(talker, tmp_path, stop=2 * PIECE + 1)
    (left,) = tmp_path.iterdir()
    assert re.fullmatch(r"\.emotalk-[0-9a-f]{16}\.work", left.name) and left.stat().st_mode & 0o777 == 0o700
    with pytest.raises(Stop):  # and again, before another piece is complete
        generate(talker, tmp_path, stop=26, resume=True)
    told, result = generate(talker, tmp_path, resume=True)
    assert told == list(range(2 * PIECE + 1, ALL + 1))
    assert result.out.read_bytes() == whole.out.read_bytes() and result.sha256 == whole.sha256
    assert (tmp_path / "a.png").read_bytes() == whole.preview.read_bytes()
    assert not leftovers(tmp_path)


def test_nothing_is_kept_of_less_than_a_piece(talker, tmp_path):
    with pytest.raises(Stop):
        generate(talker, tmp_path, stop=PIECE - 1)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("options", [{"resume": True, "seed": 1}, {}], ids=["other settings", "no resume"])
def test_pieces_of_another_render_are_not_used(talker, tmp_path, options):
    with pytest.raises(Stop):
        generate(talker, tmp_path, stop=PIECE + 2)
    told, _ = generate(talker, tmp_path, **options)
    assert told[0] == 1 and not leftovers(tmp_path)


def test_two_processes_do_not_make_the_same_video(tmp_path):
    write_wav(tmp_path / "a.wav", np.zeros(16000))
    arguments = (tmp_path / "a.mp4", SIZE, 5, tmp_path / "a.wav", 5, 2, "key")
    with SegmentedWriter(*arguments) as writer:
        with pytest.raises(UsageError, match="being made by another"):
            SegmentedWriter(*arguments)
        for _ in range(5):
            writer.write(np.zeros((64, 64, 3), np.uint8))
    assert (tmp_path / "a.mp4").exists()


def test_no_room_while_joining_keeps_the_pieces(tmp_path):
    write_wav(tmp_path / "a.wav", np.random.default_rng(0).normal(0, 0.2, 16000 * 20))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    arguments = (tmp_path / "a.mp4", SIZE, 5, tmp_path / "a.wav", 100, 50, "key")
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        with pytest.raises(EmoTalkError, match="No room to write"), SegmentedWriter(*arguments) as writer:
            for _ in range(100):
                writer.write(np.zeros((64, 64, 3), np.uint8))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not (tmp_path / "a.mp4").exists()
    with SegmentedWriter(*arguments, resume=True) as writer:
        assert writer.done == 100
    assert len(video_frames(tmp_path / "a.mp4", SIZE)) == 100 and not leftovers(tmp_path)


CODE = """
import sys, time
from emotalk_cli import cli
from emotalk_cli.media import segments
segments.SECONDS, write = 2.0, segments.SegmentedWriter.write

def slow(writer, frame):  # after the first piece: or a busy machine might finish before the signal comes
    write(writer, frame)
    time.sleep(0.5 if writer.kept else 0)

segments.SegmentedWriter.write = slow
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_the_command_killed_and_resumed(whole, tmp_path, capfd, number):
    options = ["generate", f"--face={PORTRAIT}", f"--audio={SPEECH}", "-e", "happy", "-o", str(tmp_path / "a.mp4")]
    options += ["--fps", "5", "--size", "64", "--generator", "geometry", "--device", "cpu"]
    process = subprocess.Popen([sys.executable, "-c", CODE, *options], stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 400  # a busy machine
    while not list(tmp_path.glob(".emotalk-*/000000.mp4")) and process.poll() is None and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(number)
    _, err = process.communicate(timeout=200)
    assert process.returncode == (130 if number == signal.SIGINT else -9)
    assert "kept for --resume" in err or number == signal.SIGKILL
    assert not list(tmp_path.glob("*.mp4"))
    assert main([*options, "--resume"]) == 0
    assert (tmp_path / "a.mp4").read_bytes() == whole.out.read_bytes()
    assert not leftovers(tmp_path)


def test_four_minutes_take_no_more_memory_than_one(talker, tmp_path):
    """All that grows with the sound: decoding, EAC, blinks and head motion. Frames are skipped, as on resuming."""
    peaks, settings = [], Settings(fps=1, size=64)
    subject = talker.portrait(PORTRAIT)
    framing = CropFraming(subject.fit, settings.size, talker.device)
    for minutes in (1, 4):
        ffmpeg("-f", "lavfi", "-i", f"anoisesrc=r=16000:a=0.2:d={60 * minutes}", tmp_path / f"{minutes}.wav")
        performance = talker.performance(tmp_path / f"{minutes}.wav", "happy")
        assert performance.seconds == 60 * minutes
        assert not list(talker.animator.frames(Shot(subject, performance, settings, framing), Stopwatch(), first=10**9))
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    unit = 1024 if sys.platform != "darwin" else 1
    assert (peaks[1] - peaks[0]) * unit < 11 << 20  # the samples alone would be 15 MB
