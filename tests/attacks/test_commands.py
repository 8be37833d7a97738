"""Whole commands in places that lack something, and what a command touches."""

from __future__ import annotations

import getpass
import resource
import subprocess
import sys
import tempfile

import pytest
from audit import strays, watching
from conftest import PORTRAIT, SPEECH

from emotalk_cli.cli import main

QUICK = ["--generator", "geometry", "--fps", "5", "--size", "64", "--device", "cpu", "-q"]
OPTIONS = ["generate", f"--face={PORTRAIT}", f"--audio={SPEECH}", "-e", "happy", *QUICK]

LIMITS = {  # a limit of the system, and words of what is said
    "address space": ("RLIMIT_AS", 3 << 30, "ulimit -v allows 3072 MB"),
    "open files": ("RLIMIT_NOFILE", 12, "ulimit -n allows 12 open files"),
}


@pytest.mark.parametrize("name", LIMITS)
def test_a_limit_of_the_system_is_named(name, tmp_path):
    limit, value, words = LIMITS[name]
    number = getattr(resource, limit)
    allowed = resource.getrlimit(number)[1]

    def lowered() -> None:
        resource.setrlimit(number, (value, allowed))

    command = [sys.executable, "-m", "emotalk_cli", *OPTIONS, "-o", str(tmp_path / "a.mp4")]
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=lowered)
    assert done.returncode == 1 and words in done.stderr and done.stderr.count("\n") == 1, done.stderr
    assert not list(tmp_path.iterdir())


def test_clean_takes_compiled_kernels_of_this_user_alone(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    ours, others = (tmp_path / f"torchinductor_{name}" for name in (getpass.getuser(), "somebody"))
    for folder in (ours, others):
        (folder / "ab").mkdir(parents=True)
        (folder / "ab" / "kernel.so").write_bytes(b"x")
    assert main(["clean", str(tmp_path)]) == 0 and ours.is_dir()
    assert main(["clean", str(tmp_path), "--caches"]) == 0 and not ours.exists() and others.is_dir()
    ours.symlink_to(others)  # never through a link
    assert main(["clean", str(tmp_path), "--caches"]) == 0 and (others / "ab" / "kernel.so").exists()
    assert str(ours) in capfd.readouterr().out


def test_a_video_touches_its_inputs_and_its_folder_alone(talker, tmp_path, monkeypatch):
    """Of this process; what ffmpeg touches is traced by the soak tests."""
    monkeypatch.chdir(tmp_path)
    with watching() as seen:
        assert main([*OPTIONS, "-o", "a.mp4", "--preview", "a.png", "--export-blendshapes", "a.csv"]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "a.mp4", "a.mp4.json", "a.png"]
    assert not strays(seen, tmp_path, read=(str(PORTRAIT), str(SPEECH)))
