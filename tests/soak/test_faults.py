"""Long: faults at many moments and places. Whatever has its name is complete and the same; or there is a sentence.

EMOTALK_MOMENTS (40) and EMOTALK_LEVELS (20) say how many. A table of the outcomes ends the run.
"""

# ruff: noqa: E501  (tables read better whole)

from __future__ import annotations

import collections
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import PORTRAIT, ROOT, ffmpeg, leftovers, video_frames, write_wav

pytestmark = pytest.mark.soak

MOMENTS, LEVELS = int(os.environ.get("EMOTALK_MOMENTS", "40")), int(os.environ.get("EMOTALK_LEVELS", "20"))
CODE = """
import sys
try:
    from emotalk_cli import cli
    from emotalk_cli.media import segments
    segments.SECONDS = 2.0
    sys.exit(cli.main(sys.argv[1:]))
except KeyboardInterrupt:  # as `emotalk_cli.__main__` has it
    sys.exit(130)
"""
QUICK = ["--fps", "5", "--size", "64", "--generator", "geometry", "--device", "cpu", "-q"]


def command(folder: Path, *more: str) -> list[str]:
    options = [
        "generate",
        f"--face={PORTRAIT}",
        f"--audio={folder / 'a.wav'}",
        "-e",
        "happy",
        "-o",
        str(folder / "a.mp4"),
    ]
    return [sys.executable, "-c", CODE, *options, *QUICK, *more]


def said(outcomes: collections.Counter) -> str:
    return ", ".join(f"{count} {outcome}" for outcome, count in outcomes.most_common())


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[bytes, float]:
    """The bytes of the undisturbed video, and how long it takes."""
    folder = tmp_path_factory.mktemp("whole")
    sound(folder)
    begin = time.monotonic()
    assert subprocess.run(command(folder)).returncode == 0
    return (folder / "a.mp4").read_bytes(), time.monotonic() - begin


def sound(folder: Path) -> None:
    time_ = np.arange(16000 * 12) / 16000
    write_wav(folder / "a.wav", 0.3 * np.sin(2 * np.pi * 150 * time_) * np.sin(2 * np.pi * 3 * time_) ** 2)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=lambda n: n.name)
def test_signals_at_random_moments(whole, tmp_path, soaked, number):
    data, usual = whole
    sound(tmp_path)
    dice, outcomes = random.Random(number), collections.Counter()
    for _ in range(MOMENTS):
        process = subprocess.Popen(command(tmp_path, "--resume"), stderr=subprocess.PIPE, text=True)
        try:
            process.wait(dice.uniform(0.03, 1.1) * usual)  # before that it is Python that starts
        except subprocess.TimeoutExpired:
            process.send_signal(number)
        err = process.communicate(timeout=120)[1]
        made = (tmp_path / "a.mp4").exists()
        outcomes["complete" if made else f"absent, exit {process.returncode}"] += 1
        assert not made or (tmp_path / "a.mp4").read_bytes() == data
        assert "Traceback" not in err and "Internal" not in err and "damaged" not in err, err
        if number != signal.SIGKILL and process.returncode:
            assert process.returncode in (128 + number, -number) and "\n" not in err.strip(), err
        if made:
            (tmp_path / "a.mp4").unlink()
    assert subprocess.run(command(tmp_path, "--resume")).returncode == 0
    assert (tmp_path / "a.mp4").read_bytes() == data and not leftovers(tmp_path)
    soaked(f"{signal.Signals(number).name} at {MOMENTS} moments", said(outcomes))


def test_a_disk_that_fills_up(whole, tmp_path, soaked):
    data, _ = whole
    disk, outcomes = tmp_path / "disk", collections.Counter()
    disk.mkdir()
    for level in range(LEVELS):
        size = 4096 * (4 + level * level // 2)
        mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)]
        if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
            pytest.skip("only root can make a small disk")
        try:
            sound(tmp_path)
            line = [part.replace(str(tmp_path / "a.mp4"), str(disk / "a.mp4")) for part in command(tmp_path)]
            done = subprocess.run(line, capture_output=True, text=True)
            made = (disk / "a.mp4").exists()
            outcomes["complete" if made else "absent, with a sentence"] += 1
            assert made == (done.returncode == 0) and (not made or (disk / "a.mp4").read_bytes() == data)
            assert made or ("No room to write" in done.stderr and done.stderr.count("\n") == 1), done.stderr
            assert "Traceback" not in done.stderr
        finally:
            subprocess.run(["umount", str(disk)], check=True)
    soaked(f"disk full at {LEVELS} sizes", said(outcomes))


CHANGES = {
    "replaced": lambda path: (write_wav(path.with_suffix(".new"), np.zeros(48000)), os.replace(path.with_suffix(".new"), path)),
    "truncated": lambda path: os.truncate(path, 100_000),
    "appended": lambda path: path.open("ab").write(bytes(5000)),
    "overwritten": lambda path: path.write_bytes(path.read_bytes()[::-1]),
    "one bit": lambda path: path.write_bytes(path.read_bytes()[:-1] + b"\x55"),
    "gone": lambda path: path.unlink(),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_inputs_that_change_are_noticed(talker, tmp_path, soaked, change):
    from emotalk_cli.errors import EmoTalkError

    sound(tmp_path)
    changed = []

    def progress(stage: str, done: int, total: int) -> None:
        if stage == "frames" and done == 30 and not changed:
            changed.append(CHANGES[change](tmp_path / "a.wav"))

    options = {"fps": 5, "size": 64, "progress": progress}
    with pytest.raises(EmoTalkError, match="changed while|second time"):
        talker.generate(PORTRAIT, tmp_path / "a.wav", "happy", tmp_path / "a.mp4", **options)
    assert changed and not list(tmp_path.glob("*.mp4*")) and not leftovers(tmp_path)
    soaked(f"sound {change} while it is used", "absent, with a sentence")


def slope(values: list[float]) -> float:
    """Growth over the second half, in shares of the middle."""
    later = np.array(values[len(values) // 2 :])
    return float(np.polyfit(np.arange(len(later)), later, 1)[0] * len(later) / later.mean())


def resident() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


def test_memory_over_many_rows(tmp_path, soaked):
    """EMOTALK_ROWS (500) rows over twenty portraits of different sizes."""
    from PIL import Image

    from emotalk_cli import batch, manifests

    count = int(os.environ.get("EMOTALK_ROWS", "500"))
    for n in range(20):
        side = 400 + 100 * n
        Image.open(PORTRAIT).convert("RGB").resize((side, side)).save(tmp_path / f"{n}.png")
    write_wav(tmp_path / "a.wav", 0.1 * np.sin(np.arange(9600)))
    text = "".join(f"{n % 20}.png,a.wav,happy,{n}.mp4\n" for n in range(count))
    (tmp_path / "m.csv").write_text("face,audio,emotion,out\n" + text)
    rows = manifests.read_manifest(tmp_path / "m.csv", {"generator": "geometry", "fps": 5, "size": 64, "device": "cpu"})
    used = []
    for outcome in batch.run(rows, batch.Results(tmp_path / "log")):
        assert outcome["status"] == "done"
        used.append(resident())
    half, end = used[count // 2], used[-1]
    soaked(f"memory over {count} rows", f"{half:.0f} MB at half, {end:.0f} MB at the end, slope {slope(used):.3f}")
    assert slope(used) < 0.05


def test_memory_over_an_hour(talker, tmp_path, soaked):
    from emotalk_cli.media.audio import Recording

    ffmpeg("-f", "lavfi", "-i", "anoisesrc=r=16000:a=0.2:d=3600", tmp_path / "a.wav")
    used = [resident() for _ in Recording.open(tmp_path / "a.wav").mels()]
    soaked("memory over an hour of sound", f"{used[len(used) // 2]:.0f} MB at half, {used[-1]:.0f} MB at the end")
    assert slope(used) < 0.02


def test_a_short_video_is_complete_whatever_killed_its_encoder(tmp_path, soaked):
    from emotalk_cli.errors import EmoTalkError
    from emotalk_cli.media.video import VideoWriter

    frame = np.zeros((64, 64, 3), np.uint8)
    for at, number in [(0, 9), (50, 15), (99, 9), (100, 11)]:
        with pytest.raises(EmoTalkError), VideoWriter(tmp_path / "a.mp4", (64, 64)) as writer:
            for n in range(20_000):
                if n == at:
                    os.kill(writer._child.process.pid, number)
                writer.write(frame)
        assert not list(tmp_path.iterdir())
    with VideoWriter(tmp_path / "a.mp4", (64, 64)) as writer:
        for _ in range(100):
            writer.write(frame)
    assert len(video_frames(tmp_path / "a.mp4", (64, 64))) == 100
    soaked("encoder killed at 4 moments", "absent, with a sentence")


TRACED = "trace=open,openat,openat2,creat,unlink,unlinkat,rename,renameat,renameat2,mkdir,mkdirat,rmdir,link,linkat,symlink,symlinkat,connect"
SYSTEM = ("/usr/", "/lib", "/etc/", "/proc/", "/sys/", "/dev/", "/opt/", "/run/", "/bin/")


def test_a_whole_command_with_its_children_touches_what_was_named_alone(tmp_path, soaked):
    """By strace, ffmpeg included: reads inputs, itself and the system's files; writes beside the output alone."""
    if shutil.which("strace") is None or subprocess.run(["strace", "-qq", "true"], capture_output=True).returncode:
        pytest.skip("needs strace, and leave to trace")
    there, log = tmp_path / "out", tmp_path / "log"
    there.mkdir()
    sound(there)
    python = [part for name in (sys.prefix, sys.base_prefix) for part in (name, os.path.realpath(name))]
    readable = (*SYSTEM, *python, str(ROOT), str(there), tempfile.gettempdir() + "/emotalk-")
    done = subprocess.run(["strace", "-f", "-qq", "-e", TRACED, "-o", str(log), *command(there)], cwd=there)
    assert done.returncode == 0
    calls, strays = 0, []
    for line in log.read_text(errors="replace").splitlines():
        call = re.match(r"\d+ +(\w+)\((.*)\) += (-?\d+)", line)
        if call is None or int(call[3]) < 0:
            continue
        calls += 1
        names = re.findall(r'"((?:[^"\\]|\\.)*)"', call[2])
        changes = not call[1].startswith("open") or re.search(r"O_(WRONLY|RDWR|CREAT|TRUNC|APPEND)", call[2])
        for name in names or [call[2]]:
            inside = not name.startswith("/") or name.startswith(
                (str(there), tempfile.gettempdir() + "/emotalk-", "/dev/")
            )
            inside |= name.startswith(str(ROOT)) and "__pycache__" in name  # Python's and Numba's own
            if call[1] == "connect" or (not inside and (changes or not name.startswith(readable))):
                strays.append(line)
    assert calls > 100 and not strays, strays[:20]
    soaked("a command under strace", f"{calls} files opened or changed, none outside what was named")
