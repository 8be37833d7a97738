"""Nothing that comes from a file or an option can move the cursor; one module prints."""

from __future__ import annotations

import ast
import json
import os
import signal
import subprocess
import sys

import pytest
from conftest import ROOT

from emotalk_cli import cli, system
from emotalk_cli.cli import console, main
from emotalk_cli.errors import EmoTalkError, WeightsError, of_system
from emotalk_cli.media.files import Workspace

HOSTILE = "a\x1b]0;owned\x07\x1b[2J\x9b31m\u202e\u2066b\r\nc\u2028d"


def test_one_module_prints():
    for path in (ROOT / "emotalk_cli" / "cli").glob("*.py"):
        if path.name == "console.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("print", "Console"), f"{path.name}:{node.lineno}"
            if isinstance(node, ast.Attribute):
                assert node.attr != "stderr", f"{path.name}:{node.lineno}"


def test_what_a_terminal_obeys_is_escaped_and_long_text_shortened():
    shown = console.plain(HOSTILE)
    assert shown.isprintable() and "\\x1b" in shown and "\\u202e" in shown and shown.startswith("a")
    assert len(console.plain("x" * 100_000)) < 2000 and "[...]" in console.plain("x" * 100_000)
    assert console.plain("żółw 顔 'x' [b]") == "żółw 顔 'x' [b]"


@pytest.mark.parametrize(
    "arguments",
    [["generate", "--face", HOSTILE, "--audio", "b"], ["generate", "--from", HOSTILE], ["batch", HOSTILE],
     ["generate", "a", "b", "--device", HOSTILE], ["emotion", "image", HOSTILE], ["clean", HOSTILE], [HOSTILE],
     ["generate", f"--{HOSTILE}"], ["eval", "run", HOSTILE, HOSTILE]],
)  # fmt: skip
def test_errors_are_printable(arguments, capfd):
    assert main(arguments) != 0
    out, err = capfd.readouterr()
    assert err.endswith("\n") and all(c.isprintable() or c == "\n" for c in out + err) and "\x1b" not in out + err


def test_clean_removes_what_killed_runs_left(tmp_path, capfd):
    (tmp_path / "mine.wav").write_text("precious")
    living = Workspace(tmp_path / "a.mp4")
    code = "import os, sys\nfrom pathlib import Path\nfrom emotalk_cli.media.files import Workspace\n"
    code += "Workspace(Path(sys.argv[1]), 'key').add(Path(sys.argv[2]))\nos._exit(9)"
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "b.mp4"), str(tmp_path / "mine.wav")])
    assert main(["clean", str(tmp_path), "--json"]) == 0
    assert len(json.loads(capfd.readouterr().out)["removed"]) == 1
    assert living.path.is_dir() and (tmp_path / "mine.wav").exists() and len(list(tmp_path.iterdir())) == 2
    living.remove()


@pytest.mark.parametrize("number,code", [*((number, 128 + number) for number in system.ENDING), (signal.SIGINT, 130)])
def test_a_signal_that_a_library_turns_into_an_error_is_still_a_signal(monkeypatch, capfd, number, code):
    """safetensors makes every exception, ours of a signal too, an error of its own about a damaged file."""

    def damaged(path):
        try:
            os.kill(os.getpid(), number)
            signal.sigtimedwait([], 1)
        except BaseException as error:
            raise WeightsError("ame.safetensors is damaged; restore it.") from error

    monkeypatch.setattr("emotalk_cli.media.provenance.Sidecar.read", damaged)
    monkeypatch.setattr(cli.signal, "getsignal", lambda which: signal.default_int_handler)
    assert main(["generate", "--from", "x.json"]) == code
    assert "damaged" not in capfd.readouterr().err


@pytest.mark.parametrize(
    "error,words",
    [(OSError(24, "Too many open files"), "ulimit -n"),
     (OSError(28, "No space left on device", "/x/y"), "No room to write /x/y"),
     (MemoryError(), "Not enough memory"), (RuntimeError("can't start new thread"), "threads"),
     (RuntimeError("CUDA out of memory. Tried to allocate"), "Not enough memory"),
     (RuntimeError("CUDA error: invalid device ordinal\nmore"), "graphics card cannot be used"),
     (FileNotFoundError(2, "No usable temporary directory found in ['/tmp']"), "TMPDIR"),
     (BlockingIOError(11, "Resource temporarily unavailable"), "no more memory or processes"),
     (PermissionError(13, "Permission denied", "/x"), "/x cannot be used (Permission denied)")],
)  # fmt: skip
def test_what_the_system_refuses_is_said_in_its_words(error, words):
    assert words in str(of_system(error)) and of_system(ValueError("x")) is None


def test_a_full_standard_output(monkeypatch, capfd):
    if not os.path.exists("/dev/full"):
        pytest.skip("this system has no full device")
    with open("/dev/full", "w") as full:
        monkeypatch.setattr("sys.stdout", full)
        with pytest.raises(EmoTalkError, match="No space left on device"):
            console.tell("x")
        monkeypatch.undo()
        full.close = lambda: None
    console.say("still there")
