"""Many videos: manifests of every kind, broken rows, crashes, several processes and machines; never a wrong video."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import multiprocessing
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import PORTRAIT, ROOT, ffmpeg, leftovers, video_frames

from emotalk_cli import batch, manifests
from emotalk_cli.cli import _with_address, main
from emotalk_cli.errors import EmoTalkError, InputError, UsageError

QUICK = ["--generator", "geometry", "--fps", "5", "--size", "64", "--device", "cpu"]
COMMAND = [sys.executable, "-m", "emotalk_cli", "batch"]


@pytest.fixture(scope="module")
def speech(inputs, short_speech) -> Path:
    """0.6 s: three frames at 5 a second."""
    ffmpeg("-i", short_speech, "-t", "0.6", inputs / "word.wav")
    return inputs / "word.wav"


@pytest.fixture
def folder(tmp_path, speech) -> Path:
    """A portrait and a recording with names that need care."""
    (tmp_path / 'me, \'the "one".png').symlink_to(PORTRAIT)
    (tmp_path / "wörd\n.wav").symlink_to(speech)
    return tmp_path


def manifest(path: Path, rows: list[dict]) -> Path:
    """As CSV, TSV or JSON lines, by the suffix."""
    with open(path, "w", newline="") as file:
        if path.suffix == ".jsonl":
            file.writelines(json.dumps(row) + "\n" for row in rows)
        else:
            columns = list(dict.fromkeys(name for row in rows for name in row))
            writer = csv.DictWriter(file, columns, delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)
    return path


def results(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def rows_of(folder: Path, *emotions: str, **more) -> list[dict]:
    face, audio = 'me, \'the "one".png', "wörd\n.wav"
    return [{"face": face, "audio": audio, "emotion": emotion, **more} for emotion in emotions]


# -- reading ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl"])
def test_manifests_of_every_kind_say_the_same(folder, suffix):
    rows = rows_of(folder, "happy", "sad", size=64, intensity="1-3", label="a, \"b\"; c", out="o ü.mp4")  # fmt: skip
    rows[1] |= {"seed": 3, "out": ""} if suffix != "jsonl" else {"seed": 3, "out": None}
    first, second = manifests.read_manifest(manifest(folder / f"m.{suffix}", rows))
    assert first.job.face == folder / 'me, \'the "one".png' and first.job.audio.name == "wörd\n.wav"
    assert first.job.settings.size == 64 and first.job.settings.intensity == (1, 3)
    assert first.job.settings.label == 'a, "b"; c' and first.job.out == folder / "o ü.mp4"
    assert second.job.settings.seed == 3 and second.job.out.name.endswith("--sad.mp4")


def test_defaults_yield_to_rows(folder):
    rows = rows_of(folder, "happy", size=64) + rows_of(folder, "sad")
    made = manifests.read_manifest(manifest(folder / "m.csv", rows), {"size": 128, "emotion": "angry", "seed": 1})
    assert [row.job.settings.size for row in made] == [64, 128]
    assert [row.job.emotion for row in made] == ["happy", "sad"] and made[1].job.settings.seed == 1


def test_an_error_in_a_row_stays_there(folder):
    rows = rows_of(folder, "happy", "happy", "happy", "sad")
    rows[0]["intensity"], rows[1]["size"], rows[2]["face"] = "9", "big", ""
    made = manifests.read_manifest(manifest(folder / "m.csv", rows))
    assert [row.job is None for row in made] == [True, True, True, False]
    assert ["intensity" in made[0].error, "size 'big'" in made[1].error, "face is missing" in made[2].error] == [
        True
    ] * 3


BAD = {
    "empty": ("", "is empty"),
    "no rows": ("face,audio,emotion\n", "has no rows"),
    "nearly a column": ("face,audio,intenstiy\na,b,2\n", "'intenstiy' is no option"),
    "nearly a key": ('{"face": "a", "audio": "b", "emoton": "sad"}\n', "Did you mean emotion?"),
    "missing column": ("face,emotion\na,b\nc,d\n", "has no column audio or motion"),
    "resume": ("face,audio,resume\na,b,yes\n", "whole batch"),
    "half an array": ('[{"face": "a"}', "is not JSON"),
    "an array of texts": ('["a"]', "entry 1 is no JSON object"),
    "twice": ("face,face,audio\na,b,c\n", "two columns"),
    "cells": ("face,audio,emotion\na,b,c,d\n", "4 cells for 3"),
    "quotes": ('face,audio,emotion\n"a,b,c\n', "no CSV"),
    "half a line": ('{"face": "a", "audio": "b"}\n{"face": \n', "line 2 is not JSON"),
    "a list": ('{"face": "a", "audio": "b"}\n[1]\n', "line 2 is no JSON object"),
    "same output": ("face,audio,emotion,out\na,b,c,o.mp4\na,b,d,./o.mp4\n", "Rows 1 and 2 both write"),
    "not text": (b"face,audio\n\xff\xfe,b\n", "UTF-8"),
    "picture": (PORTRAIT.read_bytes(), "UTF-8"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_manifest(tmp_path, name):
    content, words = BAD[name]
    (tmp_path / "m").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises((InputError, UsageError)) as caught:
        manifests.read_manifest(tmp_path / "m")
    message = str(caught.value)
    assert words in message and "\n" not in message and len(message) < 700


def test_names_of_outputs_are_their_own(folder):
    made = manifests.read_manifest(manifest(folder / "m.csv", rows_of(folder, "happy", "happy", "sad", "happy")))
    names = [row.job.out.name for row in made]
    assert len(set(names)) == 4 and names[1].endswith("--happy--2.mp4") and names[3].endswith("--happy--3.mp4")


def test_every_face_with_every_recording_and_emotion(tmp_path):
    for name in ("b.png", "a.JPG", "notes.txt", ".hidden.png"):
        (tmp_path / name).touch()
    for name in ("y.wav", "x.mp3"):
        (tmp_path / name).touch()
    made = manifests.product(tmp_path, tmp_path, "happy, sadly surprised,", {"out": tmp_path})
    assert len(made) == 2 * 2 * 2 and [row.number for row in made] == list(range(1, 9))
    assert made[0].job.out == tmp_path / "a--x--happy.mp4" and made[-1].job.out.name == "b--y--sadly surprised.mp4"
    with pytest.raises(InputError, match="holds no file for --faces"):
        manifests.product(tmp_path.parent, tmp_path, "happy")
    with pytest.raises(UsageError, match="--emotions"):
        manifests.product(tmp_path, tmp_path, " , ")


def test_shards_are_disjoint_and_complete(folder):
    rows = manifests.read_manifest(manifest(folder / "m.csv", rows_of(folder, *"abcdefg")))
    parts = [manifests.shard(rows, f"{i}/3") for i in (1, 2, 3)]
    assert sorted(row.number for part in parts for row in part) == list(range(1, 8))
    for wrong in ("0/3", "4/3", "1", "a/b", "-1/2", "1/0"):
        with pytest.raises(UsageError, match="--shard"):
            manifests.shard(rows, wrong)


@pytest.mark.parametrize(
    "given,full",
    [
        (["batch", "m", "--ray"], ["batch", "m", "--ray", "auto"]),
        (["batch", "--ray", "--quiet", "m"], ["batch", "--ray", "auto", "--quiet", "m"]),
        (["batch", "--ray", "m.csv"], ["batch", "--ray", "auto", "m.csv"]),
        (["batch", "--ray", "10.0.0.1:6379", "m.csv"], ["batch", "--ray", "10.0.0.1:6379", "m.csv"]),
        (["batch", "--ray", "local"], ["batch", "--ray", "local"]),
    ],
)
def test_the_address_of_ray_may_be_left_out(given, full):
    assert _with_address(given) == full


# -- making -----------------------------------------------------------------------------------------------------


def test_two_broken_rows_of_many(folder, capfd):
    rows = rows_of(folder, "happy", "sad", "angry", "happy") + [
        {"face": "none.png", "audio": "wörd\n.wav", "emotion": "sad"}
    ]
    rows[2]["intensity"] = "7"
    path = manifest(folder / "m.csv", rows)
    assert main(["batch", str(path), *QUICK, "--json"]) == 3
    out, err = capfd.readouterr()
    assert json.loads(out) == {"done": 3, "failed": 2, "skipped": 0, "results": f"{path}.results.jsonl"}
    assert "[5/5]" in err and "s left" in err and "row 3 failed" in err
    held = {line["row"]: line for line in results(folder / "m.csv.results.jsonl")}
    assert [held[n]["status"] for n in range(1, 6)] == ["done", "done", "failed", "done", "failed"]
    assert "intensity 7" in held[3]["error"] and held[3]["exit_code"] == 2 and held[3]["given"]["emotion"] == "angry"
    assert "none.png does not exist" in held[5]["error"] and held[5]["exit_code"] == 1
    for n in (1, 2, 4):
        assert len(video_frames(Path(held[n]["out"]), (64, 64))) == held[n]["frames"] == 3
    before = {p.name: p.stat().st_mtime_ns for p in folder.glob("*.mp4*")}
    assert main(["batch", str(path), *QUICK, "--resume"]) == 3
    again = results(folder / "m.csv.results.jsonl")[5:]
    assert [line["row"] for line in again] == [3, 5] and "2 failed, 3 were done before" in capfd.readouterr().err
    assert before == {p.name: p.stat().st_mtime_ns for p in folder.glob("*.mp4*")}


def test_one_load_and_the_bytes_of_single_commands(folder, monkeypatch):
    loads = []
    monkeypatch.setattr(batch.EmoTalk, "load", _counted(batch.EmoTalk.load, loads))
    path = manifest(folder / "m.jsonl", rows_of(folder, "happy", "sad", seed=4))
    assert main(["batch", str(path), *QUICK, "-q"]) == 0 and len(loads) == 1
    monkeypatch.undo()
    made = next(folder.glob("*--sad.mp4"))
    face, audio = rows_of(folder, "sad")[0]["face"], rows_of(folder, "sad")[0]["audio"]
    command = ["generate", f"--face={folder / face}", f"--audio={folder / audio}", "-e", "sad", "--seed", "4", *QUICK]
    assert main([*command, "-q", "-o", str(folder / "single.mp4")]) == 0
    assert made.read_bytes() == (folder / "single.mp4").read_bytes()


def _counted(function, calls: list):
    def counting(*arguments):
        calls.append(arguments)
        return function(*arguments)

    return counting


def test_resume_notices_what_has_changed(folder, speech):
    path = manifest(folder / "m.csv", rows_of(folder, "happy", "sad", "angry", "neutral"))
    log = batch.Results(folder / "log")
    for outcome in batch.run(manifests.read_manifest(path, _quick()), log):
        assert outcome["status"] == "done"
    rows = manifests.read_manifest(path, _quick())
    assert batch.Results(folder / "log").finished(rows) == {1, 2, 3, 4}
    rows[0].job.out.unlink()  # a video is gone, another was changed
    rows[1].job.out.write_bytes(rows[1].job.out.read_bytes()[:-1])
    assert batch.Results(folder / "log").finished(rows) == {3, 4}
    changed = manifests.read_manifest(
        manifest(path, rows_of(folder, "happy", "sad", "angry", "happily surprised")), _quick()
    )
    assert batch.Results(folder / "log").finished(changed) == {3}
    assert batch.Results(folder / "log").finished(manifests.read_manifest(path, _quick() | {"seed": 9})) == set()
    (folder / "wörd\n.wav").unlink()
    (folder / "wörd\n.wav").write_bytes(speech.read_bytes() + b"\0\0")
    assert batch.Results(folder / "log").finished(changed) == set()


def _quick() -> dict:
    return {"generator": "geometry", "fps": 5, "size": 64, "device": "cpu"}


def test_a_results_file_cut_short_is_read_as_far_as_it_goes(folder):
    path = manifest(folder / "m.csv", rows_of(folder, "happy", "sad"))
    list(batch.run(manifests.read_manifest(path, _quick()), batch.Results(folder / "log")))
    text = (folder / "log").read_text()
    (folder / "log").write_text("rubbish\n[1]\n" + text[:-30])
    log = batch.Results(folder / "log")
    assert log.finished(manifests.read_manifest(path, _quick())) == {1}
    log.add({"row": 9, "status": "failed"})
    assert json.loads((folder / "log").read_text().splitlines()[-1])["row"] == 9


def test_fail_fast_stops(folder):
    rows = rows_of(folder, "happy", "happy", "sad")
    rows[0]["size"] = "63"
    path = manifest(folder / "m.csv", rows)
    assert main(["batch", str(path), *QUICK, "-q", "--fail-fast"]) == 3
    assert len(results(folder / "m.csv.results.jsonl")) == 1 and not list(folder.glob("*.mp4"))


def test_from_standard_input_in_a_shard(folder, monkeypatch):
    text = "".join(json.dumps(row) + "\n" for row in rows_of(folder, "happy", "sad", "angry"))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    monkeypatch.chdir(folder)
    assert main(["batch", "-", *QUICK, "-q", "--shard", "2/3", "--out", "."]) == 0
    assert [p.name[-7:] for p in folder.glob("*.mp4")] == ["sad.mp4"]
    assert [line["row"] for line in results(folder / "emotalk.2-of-3.results.jsonl")] == [2]


@pytest.mark.parametrize(
    "arguments,words",
    [
        ([], "manifest"),
        (["m.csv", "--faces", "."], "manifest"),
        (["--faces", ".", "--audios", "."], "--emotions"),
        (["none.csv"], "none.csv does not exist"),
        (["m.csv", "--workers", "0"], "--workers"),
        (["m.csv", "--out", "nowhere"], "--out"),
        (["m.csv", "--shard", "3/2"], "--shard"),
        (["m.csv", "--results", "nowhere/x"], "--results"),
        (["m.csv", "--colour", "red"], "--colour"),
    ],
)
def test_wrong_usage(folder, monkeypatch, capfd, arguments, words):
    monkeypatch.chdir(folder)
    manifest(folder / "m.csv", rows_of(folder, "happy"))
    assert main(["batch", *arguments]) in (1, 2)
    out, err = capfd.readouterr()
    assert words in err and err.count("\n") == 1 and "Traceback" not in err and out == ""


# -- several processes, crashes ---------------------------------------------------------------------------------


def test_two_workers_one_of_which_is_killed(folder):
    """Its row fails; made again by a resumed batch, it has the bytes that it would have had."""
    moods = ("happy", "sad", "angry", "neutral", "surprised")
    path = manifest(folder / "m.csv", rows_of(folder, *moods, fps=25, size=128))
    rows = manifests.read_manifest(path, _quick())
    made = batch.run(rows, batch.Results(folder / "log"), workers=2)
    first = next(made)
    assert first["status"] == "done"
    multiprocessing.active_children()[0].kill()
    others = list(made)
    assert len(others) == 4 and sum(o["status"] == "done" for o in others) == 3
    (lost,) = (o for o in others if o["status"] == "failed")
    assert "killed" in lost["error"]
    finished = batch.Results(folder / "log").finished(rows)
    assert finished == {o["row"] for o in [first, *others] if o["status"] == "done"}
    left = [row.resumed() for row in rows if row.number not in finished]
    (again,) = batch.run(left, batch.Results(folder / "log"), workers=2)
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // 2))  # as each of two workers has
    try:
        alone = dataclasses.replace(left[0], job=dataclasses.replace(left[0].job, out=folder / "alone.mp4"))
        (undisturbed,) = batch.run([alone], batch.Results(folder / "other log"))
    finally:
        torch.set_num_threads(before)
    assert again["status"] == undisturbed["status"] == "done" and again["row"] == lost["row"]
    assert Path(again["out"]).read_bytes() == (folder / "alone.mp4").read_bytes()


def kill_and_resume(folder: Path, kills: int, rows: int, workers: int, seed: int) -> None:
    """Kill a batch `kills` times, each time while another row is in work, resume, and compare with an undisturbed one.

    The moment: after as many rows as chance says, when the next one has a hidden folder, or has not yet.
    """
    moods = ("happy", "sad", "angry", "surprised", "neutral", "disgusted")
    table = [row | {"out": f"{n}.mp4", "seed": n} for n, row in enumerate(rows_of(folder, *(moods * rows)[:rows]))]
    for name in ("whole", "killed"):
        (folder / name).mkdir()
        for link in [p for p in folder.iterdir() if p.is_symlink()]:
            (folder / name / link.name).symlink_to(link.resolve())
        manifest(folder / name / "m.csv", table)
    options = [*QUICK, "--fps", "25", "--size", "128", "--workers", str(workers), "-q"]
    assert main(["batch", str(folder / "whole" / "m.csv"), *options]) == 0
    command, there, dice = (
        [str(folder / "killed" / "m.csv"), *options, "--resume"],
        folder / "killed",
        random.Random(seed),
    )

    def finished() -> int:
        return len(list(there.glob("*.mp4")))

    for _ in range(kills):
        done = finished()
        if done == rows:  # all done: begin again with half of them
            for video in sorted(there.glob("*.mp4"))[::2]:
                video.unlink()
            done = finished()
        wanted, hidden = dice.randrange(done, rows), dice.random() < 0.7
        process = subprocess.Popen([*COMMAND, *command], stderr=subprocess.PIPE)
        while process.poll() is None and not (finished() >= wanted and (leftovers(there) or not hidden)):
            time.sleep(0.002)
        process.kill()
        process.communicate()
        for video in there.glob("*.mp4"):  # what has its name is complete
            assert video.read_bytes() == (folder / "whole" / video.name).read_bytes()
        assert finished() >= done
    assert main(["batch", *command]) == 0
    for n in range(rows):
        for name in (f"{n}.mp4", f"{n}.mp4.json"):
            assert (there / name).read_bytes() == (folder / "whole" / name).read_bytes(), name
    assert not leftovers(there)


def test_killed_at_random_moments(folder):
    kill_and_resume(folder, int(os.environ.get("EMOTALK_KILLS", "2")), 3, workers=1, seed=0)


# -- the example ------------------------------------------------------------------------------------------------


def test_the_example_script(tmp_path, speech):
    environment = os.environ | {"EMOTALK": f"{sys.executable} -m emotalk_cli", "OPTIONS": " ".join(QUICK), "ROWS": "4"}
    command = ["bash", str(ROOT / "examples" / "batch.sh"), str(PORTRAIT), str(speech), str(tmp_path / "o u t")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 3, done.stderr
    assert len(list((tmp_path / "o u t").glob("*.mp4"))) == 2
    assert "does not exist" in done.stdout and "intensity 11" in done.stdout


# -- lists as people have them ----------------------------------------------------------------------------------

ROWS = "face{0}audio{0}emotion{0}intensity{0}size\na.png{0}b.wav{0}happy{0}{1}{0}64\n"
AS_PEOPLE_HAVE_THEM = {
    "plain": ROWS.format(",", "2.5"),
    "blanks after commas": ROWS.format(", ", "2.5"),
    "capitals": ROWS.format(",", "2.5").replace("face", "Face").replace("emotion", " EMOTION "),
    "trailing commas": "".join(f"{line},,\n" for line in ROWS.format(",", "2.5").splitlines()),
    "said separator": "sep=;\n" + ROWS.format(";", "2,5"),
    "decimal commas": ROWS.format(";", "2,5"),
    "utf-16": ROWS.format("\t", "2.5").encode("utf-16"),
    "utf-8 with a mark": b"\xef\xbb\xbf" + ROWS.format(",", "2.5").encode(),
    "old line ends": ROWS.format(",", "2.5").replace("\n", "\r\n"),
    "array": json.dumps([{"face": "a.png", "audio": "b.wav", "emotion": "happy", "intensity": 2.5, "size": 64}]),
    "array, odd names": '[{"Face": "a.png", "AUDIO": "b.wav", "emotion": "happy", "intensity": "2.5",\n"size": 64}]',
    "quotes": 'face, audio, emotion, intensity, size\n"a.png", "b.wav", "happy", "2.5", "64"\n',
}  # fmt: skip


@pytest.mark.parametrize("name", AS_PEOPLE_HAVE_THEM)
def test_lists_as_people_have_them(tmp_path, name):
    content = AS_PEOPLE_HAVE_THEM[name]
    (tmp_path / "m").write_bytes(content if isinstance(content, bytes) else content.encode())
    (row,) = manifests.read_manifest(tmp_path / "m")
    assert row.error is None and row.job.face == tmp_path / "a.png" and row.job.audio == tmp_path / "b.wav"
    assert row.job.emotion == "happy" and row.job.settings.intensity == 2.5 and row.job.settings.size == 64


def test_a_ramp_with_decimal_commas(tmp_path):
    (tmp_path / "m").write_text(ROWS.format(";", "1,5-2,5"))
    assert manifests.read_manifest(tmp_path / "m")[0].job.settings.intensity == (1.5, 2.5)


def test_other_columns_are_carried_into_the_results(folder):
    rows = [row | {"id": n, "notes": "keep, me"} for n, row in enumerate(rows_of(folder, "happy", "sad"))]
    rows[1]["size"] = "63"
    made = manifests.read_manifest(manifest(folder / "m.csv", rows), _quick())
    outcomes = list(batch.run(made[1:], batch.Results(folder / "log")))
    assert outcomes[0]["extra"] == {"id": "1", "notes": "keep, me"} and outcomes[0]["status"] == "failed"
    assert results(folder / "log")[0]["extra"]["id"] == "1"


def test_one_bad_row_does_not_refuse_the_others(tmp_path):
    rows: list[dict] = [{"face": "a", "audio": "b", "emotion": "happy", "out": "o.mp4"} for _ in range(7)]
    rows[0]["out"] = "x" * 300 + ".mp4"
    rows[1] |= {"emotion": "two\u2028lines", "out": "1.mp4"}
    rows[2] |= {"emotion": "x" * 131_100, "out": "2.mp4"}
    rows[3] |= {"emotion": "a\0b", "out": "3.mp4"}
    rows[4]["out"] = "-"
    rows[5] |= {"intensity": 10**400, "out": "5.mp4"}
    for suffix in ("csv", "jsonl"):
        path = manifest(tmp_path / f"m.{suffix}", rows)
        if suffix == "jsonl":
            path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        made = manifests.read_manifest(path)
        assert [row.job is None for row in made[:3] + made[4:]] == [True, False, True, True, True, False]
        assert made[1].job.emotion == "two\u2028lines" and "too long for a file name" in made[0].error


def test_a_row_never_writes_over_what_it_reads(folder):
    (row,) = rows_of(folder, "happy")
    shutil.copy(folder / row["face"], folder / "kept.png")
    rows = manifests.read_manifest(
        manifest(folder / "m.csv", [row | {"face": "kept.png", "preview": "kept.png"}]), _quick()
    )
    (outcome,) = batch.run(rows, batch.Results(folder / "log"))
    assert "also an input" in outcome["error"]
    assert (folder / "kept.png").read_bytes() == (folder / row["face"]).read_bytes()


def test_names_are_numbered_in_linear_time(tmp_path):
    (tmp_path / "m.csv").write_text("face,audio\n" + "a.png,b.wav\n" * 3000)
    made = manifests.read_manifest(tmp_path / "m.csv")
    assert len({row.job.out for row in made}) == 3000 and made[-1].job.out.name.endswith("--3000.mp4")


@pytest.mark.parametrize(
    "column,value", [("out", "../x.mp4"), ("out", "/tmp/x.mp4"), ("face", "../a.png"), ("preview", "link/x.png"),
                     ("export_blendshapes", "../x.csv"), ("weights", "mine"), ("clip", "ViT-B-32"), ("c2pa_key", "k"),
                     ("max_seconds", "9"), ("also", '[{"face_index": 1, "audio": "../b.wav"}]')]
)  # fmt: skip
def test_no_row_leaves_the_root(tmp_path, column, value):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link").symlink_to(tmp_path)
    row = {"face": "a.png", "audio": "b.wav", "out": "o.mp4"}
    path = manifest(tmp_path / "in" / "m.csv", [row | {column: value}, row | {"out": "p.mp4"}])
    first, second = manifests.read_manifest(path, root=tmp_path / "in")
    assert first.job is None and "--root" in first.error and second.error is None
    assert manifests.read_manifest(path)[0].error is None


def test_a_dry_run_of_a_batch_writes_nothing(folder, capfd):
    rows = rows_of(folder, "happy", "sad")
    rows[1]["face"] = "none.png"
    path = manifest(folder / "m.csv", rows)
    before = sorted(folder.iterdir())
    assert main(["batch", str(path), *QUICK, "--dry-run", "--json"]) == 3
    out, err = capfd.readouterr()
    assert json.loads(out)["good"] == 1 and "none.png does not exist" in err and "Nothing was written" in err
    assert sorted(folder.iterdir()) == before


# -- nights -----------------------------------------------------------------------------------------------------


class Full:
    """A results file on a full disk, as long as `room` is False."""

    room = False

    def __init__(self, log: batch.Results, monkeypatch):
        self._fsync = os.fsync
        monkeypatch.setattr(batch.os, "fsync", self.fsync)

    def fsync(self, descriptor):
        if not self.room:
            raise OSError(28, "No space left on device")
        self._fsync(descriptor)


def test_a_full_log_does_not_stop_the_rows(tmp_path, monkeypatch):
    log = batch.Results(tmp_path / "log")
    disk = Full(log, monkeypatch)
    for n in range(3):
        log.add({"row": n, "status": "done"})
    with pytest.raises(EmoTalkError, match="3 results are not in it"):
        log.flush()
    disk.room = True
    (tmp_path / "log").write_text("")
    log.flush()
    assert [line["row"] for line in results(tmp_path / "log")] == [0, 1, 2]


def test_the_key_is_that_of_what_was_used(folder):
    (row,) = manifests.read_manifest(manifest(folder / "m.csv", rows_of(folder, "happy")), _quick())
    log = batch.Results(folder / "log")
    assert log.key(row.job) == batch.Results(folder / "log").key(row.job)
    assert log.key(row.job, {"audio": "0" * 64}) != log.key(row.job)


def test_a_row_without_its_sidecar_is_made_again(folder):
    rows = manifests.read_manifest(manifest(folder / "m.csv", rows_of(folder, "happy")), _quick())
    (outcome,) = batch.run(rows, batch.Results(folder / "log"))
    assert outcome["status"] == "done" and batch.Results(folder / "log").finished(rows) == {1}
    Path(outcome["out"] + ".json").unlink()
    assert batch.Results(folder / "log").finished(rows) == set()


def test_without_a_standard_error_stream(folder, monkeypatch):
    path = manifest(folder / "m.csv", rows_of(folder, "happy"))
    monkeypatch.setattr("sys.stderr", None)
    assert main(["batch", str(path), *QUICK, "--dry-run"]) == 0
