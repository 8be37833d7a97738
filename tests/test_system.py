"""What systems lack is done without: a process that finds none of POSIX's modules, flags and signals."""

from __future__ import annotations

import subprocess
import sys

from conftest import ROOT

from emotalk_cli import system

POORER = """
import sys, types, os, signal
import subprocess, tempfile, multiprocessing.connection, torch, numpy  # others' own needs
for name in ("fcntl", "resource"):
    sys.modules[name] = None
sys.modules["msvcrt"] = types.SimpleNamespace(LK_NBLCK=2, locking=lambda descriptor, mode, count: None)
for name in ("geteuid", "O_NOFOLLOW", "O_CLOEXEC", "O_NONBLOCK", "O_DIRECTORY", "setpriority", "sched_getaffinity"):
    delattr(os, name)
for name in ("SIGHUP", "SIGBUS", "SIGXCPU", "SIGXFSZ"):
    delattr(signal, name)
os.supports_dir_fd = set()
from pathlib import Path
import numpy as np
from emotalk_cli import system
assert system.lock(0) is True and system.open_files() is None and system.peak_memory() == 0 and not system.HAS_LIMITS
from emotalk_cli.cli import main
import emotalk_cli.batch, emotalk_cli.doctor, emotalk_cli.estimate
from emotalk_cli.media.samples import SoundFile
from emotalk_cli.media.video import VideoWriter
out = Path(sys.argv[1])
sound = SoundFile.of(np.zeros(1600, np.float32))
with VideoWriter(out / "a.mp4", (64, 48), audio=sound.path) as writer:
    writer.write(np.zeros((48, 64, 3), np.uint8))
assert [path.name for path in out.iterdir()] == ["a.mp4"]
assert main(["generate", "nowhere.png", "nowhere.wav"]) == 1
"""


def test_it_runs_where_posix_is_missing(tmp_path):
    done = subprocess.run([sys.executable, "-c", POORER, str(tmp_path)], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0 and "nowhere.png does not exist" in done.stderr, done.stderr


def test_a_temporary_file_lives_as_long_as_it_is_held(monkeypatch, tmp_path):
    from pathlib import Path

    for kind in ("posix", "nt"):
        monkeypatch.setattr(system.os, "name", kind)
        made = system.Temporary(".wav")
        monkeypatch.setattr(system.os, "name", "posix")
        made.file.write(b"sound")
        made.ready()
        path = Path(made.name)
        assert path.read_bytes() == b"sound" and path.suffix == ".wav"
        del made
        assert not path.exists()
