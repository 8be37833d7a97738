"""`emotalk emotion`: tables, JSON, saved emotions, preview sheets, the map; and its failures."""

from __future__ import annotations

import json

import numpy as np
import pytest
from conftest import PORTRAIT
from PIL import Image

from emotalk_cli.cli import main
from emotalk_cli.cli.map import styles
from emotalk_cli.emotions.emotion import Emotion

CPU = ["--device", "cpu"]


def described(capfd, *arguments) -> dict:
    assert main(["emotion", *map(str, arguments), "--json", *CPU]) == 0
    out, err = capfd.readouterr()
    assert "\x1b" not in err
    return json.loads(out)


def test_text_says_what_words_mean(capfd, tmp_path):
    found = described(capfd, "text", "sadly surprised", "--save", tmp_path / "e.safetensors")
    assert next(iter(found["nearest"])) == "sadly surprised"
    assert found["blendshapes"]["browInnerUp"] > 0.3 and found["space"] == "emotalk-2"
    saved = Emotion.load(tmp_path / "e.safetensors", "emotalk-2")
    assert saved.label == "sadly surprised" and saved.z.shape == (1, 512)


def test_a_table_for_people(capfd):
    assert main(["emotion", "text", "a wooden table", *CPU]) == 0
    out, err = capfd.readouterr()
    assert "nearest emotion" in out and "similarity" in out and "names no emotion" in err


def test_intensity_grows_with_every_step(capfd):
    norms = list(described(capfd, "intensity", "angry")["norm"].values())
    assert len(norms) == 5 and all(one < two for one, two in zip(norms, norms[1:], strict=False))


def test_compound_sheet(capfd, tmp_path):
    """Portrait, the two parts, and the mixture at three intensities, all different pictures."""
    out = tmp_path / "sheet.png"
    found = described(capfd, "compound", "happy", "surprised", "-f", PORTRAIT, "-o", out, "--generator", "geometry")
    assert next(iter(found["nearest"])) == "happily surprised"
    sheet = np.asarray(Image.open(out)).astype(int)
    tiles = np.split(sheet[22:278, 6 : 6 + 6 * 262], 6, axis=1)
    for one in range(6):
        for two in range(one):
            assert np.abs(tiles[one] - tiles[two])[60:220, 40:200].mean() > 0.3, (one, two)
    assert [p.name for p in tmp_path.iterdir()] == ["sheet.png"]


def test_map_places_prompts_by_emotion(talker, tmp_path, capfd):
    groups = {"basic": ["happy", "angry"], "unseen": ["cheerful", "furious"], "unrelated": ["a red car", "a chair"]}
    points = styles(talker, groups, (1.0, 2.0, 3.0), 0)
    assert len(points) == 18 and points == styles(talker, groups, (1.0, 2.0, 3.0), 0)
    assert {p["emotion"] for p in points if p["group"] == "unrelated"} == {"neutral"}
    (tmp_path / "p.txt").write_text("glad\nsorrow\n")
    assert main(["emotion", "map", "-o", str(tmp_path / "m.png"), "--prompts", str(tmp_path / "p.txt"), *CPU]) == 0
    picture = np.asarray(Image.open(tmp_path / "m.png").convert("RGB"))
    assert picture.shape[0] > 400 and len(np.unique(picture.reshape(-1, 3), axis=0)) > 50


FAILURES = {
    "no such picture": (["image", "none.png"], 1, "none.png does not exist"),
    "no such recording": (["audio", "none.wav"], 1, "none.wav does not exist"),
    "one part": (["compound", "happy"], 2, "at least two emotions"),
    "empty": (["text", "  "], 2, "empty"),
    "range": (["text", "happy", "--intensity", "1-3"], 2, "is a range"),
    "face alone": (["text", "happy", "--face", str(PORTRAIT)], 2, "--face without --out"),
    "out alone": (["text", "happy", "--out", "a.png"], 2, "add --face"),
    "no sheet": (["text", "happy", "--face", str(PORTRAIT), "--out", "a.gif"], 2, "must end in .png"),
    "no emotion file": (["text", "happy", "--save", "a.txt"], 2, "must end in .safetensors"),
    "clip": (["text", "happy", "--clip", "ViT-nothing"], 2, "no model"),
    "nothing": (["text"], 2, "prompt"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_failures(name, tmp_path, capfd, monkeypatch):
    arguments, code, words = FAILURES[name]
    monkeypatch.chdir(tmp_path)
    assert main(["emotion", *arguments, *CPU]) == code
    out, err = capfd.readouterr()
    assert words in err and err.startswith("emotalk: ") and err.count("\n") == 1 and out == ""
    assert not list(tmp_path.iterdir())
