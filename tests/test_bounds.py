"""What a small file can ask for is bounded, early and in one sentence: time, memory, rows, parts, other files."""

from __future__ import annotations

import hashlib
import json
import os
import struct
import time
import tracemalloc

import numpy as np
import pytest
import torch
from PIL import Image

from emotalk_cli.emotions import timeline
from emotalk_cli.emotions.blends import MAX_PARTS, MAX_TEXT, parse_blend
from emotalk_cli.errors import EmoTalkError, InputError, UsageError
from emotalk_cli.jobs import Job
from emotalk_cli.media import files, image
from emotalk_cli.media.files import sha256
from emotalk_cli.media.provenance import FORMAT, Sidecar
from emotalk_cli.motion import livelink
from emotalk_cli.motion.take import filmed, nearest_of


def table(path, codes: list[str]):
    names = ["Timecode", "BlendShapeCount", *livelink.ARKIT]
    rows = [f"{code},61," + ",".join(["0.1"] * len(livelink.ARKIT)) for code in codes]
    path.write_text("\n".join([",".join(names), *rows]) + "\n")
    return path


@pytest.mark.parametrize(
    "codes", [["00:00:00:00.0", "1000:00:00:00.0"], ["00:00:00:00.0", "00:00:00:01.0", f"{'9' * 20}:00:00:00.0"],
              ["00:00:00:00.0", "00:00:01:999999999.0"]]
)  # fmt: skip
def test_time_codes_far_apart_are_refused_at_once(tmp_path, codes):
    tracemalloc.start()
    with pytest.raises(InputError, match="a.csv"):
        livelink.read(table(tmp_path / "a.csv", codes))
    assert tracemalloc.get_traced_memory()[1] < 20 << 20
    tracemalloc.stop()


def test_odd_time_codes_are_no_time_codes(tmp_path):
    take = livelink.read(table(tmp_path / "a.csv", ["00:00:00:00.0", "0" * 50 + ":00:00:00.0"]))
    assert len(take.beta) == 2 and take.fps == 60


def test_tables_keep_numbers_only(tmp_path):
    codes = [f"00:{n // 3600:02d}:{n // 60 % 60:02d}:{n % 60:02d}.0" for n in range(3000)]
    path = table(tmp_path / "a.csv", codes)
    tracemalloc.start()
    assert len(livelink.read(path).beta) == 3000
    assert tracemalloc.get_traced_memory()[1] < 12 * path.stat().st_size
    tracemalloc.stop()


def test_too_many_frames(tmp_path, monkeypatch):
    monkeypatch.setattr(livelink, "MAX_FRAMES", 5)
    with pytest.raises(InputError, match="longer than 5 frames"):
        livelink.read(table(tmp_path / "a.csv", [""] * 9))
    held = {"fps": 30, "names": list(livelink.ARKIT), "frames": [[0.0] * 52] * 9}
    (tmp_path / "a.json").write_text(json.dumps(held))
    with pytest.raises(InputError, match="longer than 5 frames"):
        livelink.read(tmp_path / "a.json")


# -- pictures ---------------------------------------------------------------------------------------------------


def progressive(path, scans: int):
    """A progressive JPEG that repeats its last scan."""
    Image.effect_noise((64, 64), 50).convert("RGB").save(path, "JPEG", progressive=True)
    data = path.read_bytes()
    start = data.rindex(b"\xff\xda")
    path.write_bytes(data[:-2] + data[start:-2] * scans + data[-2:])
    return path


def test_a_jpeg_of_very_many_scans_is_refused_unread(tmp_path):
    assert image.load(progressive(tmp_path / "a.jpg", 3)).shape == (64, 64, 3)
    begin = time.process_time()
    with pytest.raises(InputError, match="too long to decode"):
        image.load(progressive(tmp_path / "b.jpg", 25_000))
    assert time.process_time() - begin < 5  # decoding takes minutes


def test_pictures_of_one_column_and_of_too_many_bytes(tmp_path, monkeypatch):
    Image.new("L", (1, 70_000)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match="longer than 65535 pixels"):
        image.load(tmp_path / "a.png")
    monkeypatch.setattr(image, "MAX_MEMORY", 1 << 20)
    for suffix in ("png", "webp", "tiff"):
        Image.new("RGB", (700, 700)).save(tmp_path / f"b.{suffix}")
        with pytest.raises(InputError, match="needs more than 1 MiB to decode"):
            image.load(tmp_path / f"b.{suffix}")
    Image.new("RGB", (2000, 2000)).save(tmp_path / "b.jpg")
    assert image.load(tmp_path / "b.jpg", 256).shape[0] <= 500  # the decoder skips resolution
    monkeypatch.setattr(image, "MAX_FILE", 100)
    with pytest.raises(InputError, match="larger than"):
        image.load(tmp_path / "b.jpg")


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "I;16", "F", "CMYK", "1"])
def test_bands_show_what_the_whole_shows(tmp_path, monkeypatch, mode):
    gradient = np.linspace(0, 255, 600, dtype=np.uint8)[None].repeat(500, 0)
    picture = Image.fromarray(gradient).convert("RGB")
    if mode == "I;16":
        picture = Image.fromarray(gradient.astype(np.uint16) * 257)
    elif mode == "F":
        picture = Image.fromarray(gradient.astype(np.float32) / 255)
    elif mode != "RGB":
        picture = picture.convert(mode)
    picture.save(tmp_path / "a.tiff")
    plain = image.load(tmp_path / "a.tiff", 150)
    monkeypatch.setattr(image, "_BANDED", 1)
    monkeypatch.setattr(image, "_BAND", 5000)
    banded = image.load(tmp_path / "a.tiff", 150)
    assert banded.shape[0] == pytest.approx(plain.shape[0], abs=1) and banded.shape[1] == 150
    assert np.abs(banded[:125].astype(int) - plain[:125]).mean() < (8 if mode in ("P", "1") else 2)


# -- words ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["+".join(["happy"] * (MAX_PARTS + 1)), "x" * (MAX_TEXT + 1), "a\0b", "happy:1e400", "happy:nan", "sad:-1",
             "happy:inf", f"happy:{'9' * 400}", "happy:0", "happy:0.0000000001"]
)  # fmt: skip
def test_emotions_that_are_none(text):
    with pytest.raises(UsageError):
        parse_blend(text)


def test_emotions_that_are_some():
    assert parse_blend("at 9:30 sharp") == {"at 9:30 sharp": 1} and parse_blend("😀") == {"😀": 1}
    assert parse_blend("happy:0.5+sad") == {"happy": 0.5, "sad": 1}


def test_timelines_are_short(tmp_path):
    (tmp_path / "a.csv").write_text("".join(f"{n},happy\n" for n in range(timeline.MAX_ROWS + 1)))
    with pytest.raises(InputError, match="more than 2000 rows"):
        timeline.read_timeline(tmp_path / "a.csv")
    for row in ("9999999999,happy", f"0,{'x' * 2000}", "0,happy:nan"):
        (tmp_path / "a.csv").write_text(f"time,emotion\n{row}\n")
        with pytest.raises(InputError, match="row 2"):
            timeline.read_timeline(tmp_path / "a.csv")


# -- films ------------------------------------------------------------------------------------------------------


def test_nearest_is_what_a_search_over_all_finds():
    dice = np.random.default_rng(0)
    for count in (1, 2, 50):
        seen = np.sort(dice.choice(count, dice.integers(1, count + 1), replace=False))
        wanted = seen[np.abs(np.arange(count)[:, None] - seen).argmin(1)]
        assert (nearest_of(seen, count) == wanted).all()


class CountingTracker:
    """Finds no face, and counts the frames that it was asked about."""

    frames = 0

    def upright(self, image):
        self.frames += 1
        return 0, []

    def track(self, images, known):
        self.frames += len(images)
        return [None] * len(images)


def test_a_film_that_stands_still_is_not_looked_at_again():
    still, tracker = np.zeros((8, 8, 3), np.uint8), CountingTracker()
    with pytest.raises(InputError, match="no face that can be followed"):
        filmed([np.ones((8, 8, 3), np.uint8)] + [still] * 5000, 25, tracker, None)
    assert tracker.frames < 50


# -- sidecars ---------------------------------------------------------------------------------------------------


def sidecar(folder, options: dict, inputs: dict | None = None) -> Sidecar:
    for name in ("face.png", "audio.wav"):
        (folder / name).write_bytes(name.encode())
    files = {name.split(".")[0]: {"path": name, "sha256": sha256(folder / name)} for name in ("face.png", "audio.wav")}
    held = {"sidecar": FORMAT, "emotalk": "0.2", "inputs": files | (inputs or {}), "options": options, "weights": {}}
    (folder / "gift.mp4.json").write_text(json.dumps(held | {"output": {"unsigned_sha256": "0"}, "environment": {}}))
    return Sidecar.read(folder / "gift.mp4.json")


SPELLINGS = (" {}", "{} ", "\t{}", "{}\n", "\u00a0{}", "{}")


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize(
    "name", ["out", "preview", "export_blendshapes", "export-blendshapes", "weights", "c2pa_key", "resume", "sidecar",
             "no-overwrite", "max_seconds", "face", "audio", "motion", "emotion_file", "from", "debug", "Out"]
)  # fmt: skip
def test_a_sidecar_names_no_outputs_and_no_files_without_hash(tmp_path, name, spelling):
    (tmp_path / "package.json").write_text("precious")
    with pytest.raises(InputError, match="which no sidecar does"):
        Job.of(sidecar(tmp_path, {spelling.format(name): "package.json"}))


@pytest.mark.parametrize("name", ["out", " face", "weights", "clip", "seed", "preview"])
def test_what_is_no_input_is_not_read(tmp_path, name):
    inputs = {name: {"path": "face.png", "sha256": sha256(__file__)}}
    with pytest.raises(InputError, match="which no sidecar does"):
        Job.of(sidecar(tmp_path, {}, inputs))


def test_what_a_sidecar_may_say(tmp_path):
    made = Job.of(sidecar(tmp_path, {"seed": 3, "emotion": "sad", "intensity": [1.0, 3.0], "pose": "still"}))
    assert made.settings.seed == 3 and made.settings.intensity == (1, 3) and made.emotion == "sad"
    assert made.out == tmp_path / "gift.again.mp4"
    for options, words in (
        ({"pose": "audio.wav"}, "without its hash"),
        ({"seed": {"a": 1}}, "no plain value"),
        ({"clip": "ViT-B-32"}, "may be downloaded"),
        ({"landmarks": "face-alignment"}, "may be downloaded"),
        ({"also": '[{"face_index": 1, "audio": "audio.wav"}]'}, "which no sidecar does"),
    ):
        with pytest.raises(InputError, match=words):
            Job.of(sidecar(tmp_path, options))
    assert Job.of(sidecar(tmp_path, {"clip": "ViT-B-32"}), clip="ViT-B-32").clip == "ViT-B-32"
    assert Job.of(sidecar(tmp_path, {"engine": "graphs"})).engine == "graphs"
    assert Job.of(sidecar(tmp_path, {"engine": "graphs"}), device="cpu").engine == "auto"  # another machine's


def test_hashes_are_of_files_that_end(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    for name in ("/dev/zero", tmp_path / "pipe", tmp_path):
        with pytest.raises(OSError, match="no ordinary file|directory"):
            sha256(name)
    monkeypatch.setattr(files, "MAX_INPUT", 5)
    (tmp_path / "a.wav").write_bytes(b"12345")
    assert sha256(tmp_path / "a.wav") == hashlib.sha256(b"12345").hexdigest()
    (tmp_path / "a.wav").write_bytes(b"123456")
    with pytest.raises(OSError, match="too large"):
        sha256(tmp_path / "a.wav")


def test_emotion_files_of_odd_shapes(tmp_path):
    from safetensors.torch import save_file

    from emotalk_cli.emotions.emotion import Emotion

    good = {"times": torch.zeros(1), "z": torch.nn.functional.normalize(torch.ones(1, 512)), "mu": torch.ones(1)}
    for change in ({"z": torch.nn.functional.normalize(torch.ones(1, 300))}, {"z": torch.full((1, 512), torch.nan)},
                   {"times": torch.zeros(5000), "z": good["z"].repeat(5000, 1), "mu": torch.ones(5000)},
                   {"mu": torch.full((1,), torch.inf)}, {"extra": torch.zeros(1)}):  # fmt: skip
        save_file(good | change, tmp_path / "a", {"format": "emotalk-emotion-1", "label": "x", "space": "s"})
        with pytest.raises(EmoTalkError, match="no emotion file"):
            Emotion.load(tmp_path / "a", "s")
    (tmp_path / "a").write_bytes(struct.pack("<Q", 50) + b'{"a":{"dtype":"F32","shape":[99999999999],"data_of')
    with pytest.raises(EmoTalkError, match="no emotion file"):
        Emotion.load(tmp_path / "a", "s")
