"""Hostile inputs for every reader: each ends in time with a result or its sentence, and opens nothing but its own file.

Every case is made on the spot. `EXPECTED` is part of the sentence; None where the file may be read or refused.
"""

# ruff: noqa: E501  (a case is a line)

from __future__ import annotations

import hashlib
import io
import json
import os
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from audit import strays, watching
from conftest import ffmpeg, leftovers, write_wav
from PIL import Image
from safetensors.torch import save

from emotalk_cli import manifests
from emotalk_cli.emotions.emotion import Emotion
from emotalk_cli.emotions.timeline import read_timeline
from emotalk_cli.errors import EmoTalkError
from emotalk_cli.jobs import Job
from emotalk_cli.media import audio, image
from emotalk_cli.media.ffmpeg import read_frames
from emotalk_cli.media.provenance import Sidecar
from emotalk_cli.models import checkpoints
from emotalk_cli.motion import livelink
from emotalk_cli.training.config import load as load_config

SECONDS = 20  # of processors, children counted in
READERS: dict[str, Callable[[Path], object]] = {
    "picture": image.load,
    "sound": audio.Recording.open,
    "film": lambda path: sum(1 for _ in read_frames(path, 25)),
    "take": livelink.read,
    "sidecar": lambda path: Job.of(Sidecar.read(path)),
    "manifest": manifests.read_manifest,
    "timeline": read_timeline,
    "emotion": lambda path: Emotion.load(path, "space"),
    "weights": lambda path: checkpoints.load(path.stem, path.parent),
}
Case = tuple[str, str, bytes, str | None]  # reader, name, content, expected words


# -- what is made of --------------------------------------------------------------------------------------------


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, depth: int = 8, colour: int = 0, pixels: bytes = b"") -> bytes:
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


def encoded(kind: str, size: tuple[int, int] = (48, 40), **options) -> bytes:
    file = io.BytesIO()
    Image.effect_noise(size, 60).convert("RGB").save(file, kind, **options)
    return file.getvalue()


def wav(samples: bytes, rate: int = 16000, channels: int = 1, bits: int = 16, code: int = 1, size: int | None = None):
    size = len(samples) if size is None else size
    align = channels * bits // 8 & 0xFFFF
    head = struct.pack("<HHIIHH", code, channels, rate, rate * align & 0xFFFFFFFF, align, bits)
    return b"RIFF" + struct.pack("<I", 36 + size & 0xFFFFFFFF) + b"WAVEfmt \x10\0\0\0" + head + b"data" + struct.pack(
        "<I", size & 0xFFFFFFFF) + samples  # fmt: skip


def tensors(values: dict[str, torch.Tensor], **metadata: str) -> bytes:
    return save(values, metadata)


def header(text: str, data: bytes = b"", length: int | None = None) -> bytes:
    raw = text.encode()
    return struct.pack("<Q", len(raw) if length is None else length) + raw + data


# -- the cases --------------------------------------------------------------------------------------------------


def everywhere() -> Iterator[Case]:
    """What no reader takes."""
    rubbish = {
        "nothing": (b"", "is empty"),
        "one zero": (b"\0", None),
        "zeros": (bytes(5000), None),
        "ones": (b"\xff" * 5000, None),
        "text": (b"this is a text\n" * 200, None),
        "a page": (b"<html><script>alert(1)</script><audio src='file:///etc/passwd'></html>", None),
        "a program": (b"\x7fELF\x02\x01\x01" + bytes(300), None),
        "a zip": (b"PK\x03\x04" + bytes(300), None),
        "a pickle": (b"\x80\x04\x95" + b"cos\nsystem\n(S'touch owned'\ntR." * 3, None),
        "escapes": (b"\x1b]0;owned\x07\x1b[2J" * 50, None),
        "deep": (b"[" * 100_000, None),
        "deep objects": (b'{"a":' * 50_000, None),
        "a playlist": (b"#EXTM3U\n#EXTINF:9,\n/etc/passwd\n#EXT-X-ENDLIST\n", None),
        "a concat list": (b"ffconcat version 1.0\nfile '/etc/passwd'\n", None),
        "an address": (b"http://127.0.0.1:9/a", None),
        "vector graphics": (b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>', None),
        "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) run\n", None),
    }
    for reader in READERS:
        for name, (content, words) in rubbish.items():
            yield reader, name, content, words


def pictures() -> Iterator[Case]:
    for side in (60_000, 100_000, 2**31 - 1):
        yield "picture", f"{side} square", png(side, side), "a"
    yield "picture", "one column", png(1, 174_000_000), "longer than 65535"
    yield "picture", "one row", png(174_000_000, 1), "longer than 65535"
    yield "picture", "no width", png(0, 5), "picture"
    yield "picture", "no pixels", png(64, 64), "damaged"
    yield "picture", "too few pixels", png(64, 64, pixels=bytes(100)), "damaged"
    yield "picture", "odd depth", png(8, 8, 7), "picture"
    for kind in (b"iCCP", b"zTXt", b"iTXt"):
        bomb = chunk(kind, b"a\0\0" + zlib.compress(bytes(30 << 20), 1))
        whole = png(64, 64, pixels=bytes(65 * 64))
        yield "picture", f"{kind.decode()} bomb", whole[:33] + bomb + whole[33:], None
    for kind in ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "JPEG2000", "PPM"):
        data = encoded(kind)
        yield "picture", f"{kind} cut", data[: len(data) // 2], None
        yield "picture", f"{kind} head only", data[:30], "picture"
        yield "picture", f"{kind} twice", data + data, None
        for where in (8, 16, 24):
            yield "picture", f"{kind} lies at {where}", data[:where] + b"\xff\xff\xff\x7f" + data[where + 4 :], None
    jpeg = encoded("JPEG", (64, 64), progressive=True)
    scan = jpeg[jpeg.rindex(b"\xff\xda") : -2]
    for scans in (200, 25_000):
        yield "picture", f"{scans} scans", jpeg[:-2] + scan * scans + jpeg[-2:], "too long to decode"
    yield "picture", "many markers", jpeg[:2] + b"\xff\xe1\x00\x02" * 100_000 + jpeg[2:], None
    yield (
        "picture",
        "an eps in a tiff",
        b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", 65535) + bytes(200),
        "picture",
    )
    loop = b"II*\0" + struct.pack("<IH", 8, 1) + struct.pack("<HHII", 256, 3, 1, 9) + struct.pack("<I", 8)
    yield "picture", "a tiff in a circle", loop, "picture"


def sounds() -> Iterator[Case]:
    tone = (3000 * np.sin(np.arange(16000) / 9)).astype("<i2").tobytes()
    for rate in (0, 1, 100, 3999, 2_000_000, 2**32 - 1):
        yield "sound", f"{rate} Hz", wav(tone, rate), "a" if rate == 0 else None
    yield "sound", "1 Hz", wav(tone, 1), "sample rate of 1 Hz"
    for channels in (0, 65, 255, 65535):
        yield "sound", f"{channels} channels", wav(tone, channels=channels), None
    for bits in (0, 1, 7, 64, 255):
        yield "sound", f"{bits} bits", wav(tone, bits=bits), None
    yield "sound", "a lying length", wav(tone, size=2**32 - 1), None
    yield "sound", "of no length", wav(b""), "a"
    yield "sound", "too short", wav(tone[:300]), "at least 0.1 s"
    for name, value in {"nan": np.nan, "inf": np.inf, "minus inf": -np.inf, "huge": 3e38, "large": 500.0}.items():
        samples = np.zeros(16000, "<f4")
        samples[7000] = value
        yield "sound", name, wav(samples.tobytes(), bits=32, code=3), "no numbers or far beyond full scale"
    yield "sound", "a film for a sound", b"\0\0\0\x18ftypmp42" + bytes(200), "damaged"
    yield "sound", "an id3 bomb", b"ID3\x04\0\0\x7f\x7f\x7f\x7f" + bytes(4000), "a"
    yield "sound", "half an ogg", b"OggS\0\x02" + bytes(60) + b"OpusHead" + bytes(60), "a"
    flac = (
        b"fLaC\x80\0\0\x22"
        + struct.pack(">HH", 16, 65535)
        + bytes(6)
        + (1 << 44 | 0 << 41 | 15 << 36).to_bytes(8, "big")
    )
    yield "sound", "a flac without frames", flac + bytes(16), "a"
    for box in (b"moov", b"mdat", b"free", b"dref"):
        yield (
            "film",
            f"a box {box.decode()} of 4 GB",
            b"\0\0\0\x18ftypmp42" + bytes(12) + b"\xff\xff\xff\xff" + box,
            "a",
        )
    alis = b"\0\0\0\x1cdref" + bytes(4) + b"\0\0\0\x01\0\0\0\x0calis" + bytes(4)
    yield "film", "a reference to another file", b"\0\0\0\x10ftypqt  " + bytes(4) + alis, "a"
    avi = b"RIFF\xff\xff\xff\x7fAVI LIST\xff\xff\xff\x7fhdrl" + bytes(100)
    yield "film", "an avi without end", avi, "a"
    yield "film", "a matroska of one level", b"\x1aE\xdf\xa3\x01\xff\xff\xff\xff\xff\xff\xff" + bytes(50), "a"


def tables() -> Iterator[Case]:
    names = ",".join(["Timecode", "BlendShapeCount", *livelink.ARKIT])
    row = ",61," + ",".join(["0.1"] * len(livelink.ARKIT))

    def take(*codes: str, body: str = row) -> bytes:
        return "\n".join([names, *(code + body for code in codes)]).encode()

    far = "longer than 400000 frames"
    yield "take", "a thousand hours", take("00:00:00:00.0", "1000:00:00:00.0"), far
    yield "take", "many digits", take("00:00:00:00.0", "9" * 20 + ":00:00:00.0"), far
    yield "take", "too many frames a second", take("00:00:00:00.0", "00:00:01:99999.0"), "frames a second"
    yield "take", "overflow", take("0:0:0:0", body=row.replace("0.1", "1e999", 1)), "no finite numbers"
    yield "take", "nan", take("0:0:0:0", body=row.replace("0.1", "nan", 1)), "no finite numbers"
    yield "take", "words", take("0:0:0:0", body=row.replace("0.1", "x", 1)), "does not hold"
    yield "take", "short rows", take("0:0:0:0", body=",1,2"), "does not hold"
    yield "take", "no rows", names.encode(), "no frames"
    yield "take", "an open quote", take('"'), "a"
    yield "take", "very many columns", (names + ",x" * 5000).encode() + b"\n", "no ARKit blendshapes"
    yield "take", "a long cell", take("x" * 200_000), "a"
    frames: dict[str, object] = {"fps": 30, "names": list(livelink.ARKIT), "frames": [[0.1] * 52] * 3}
    odd = {"no rate": {"fps": 0}, "rate of rates": {"fps": [1]}, "rate nan": {"fps": float("nan")}, "negative": {"fps": -1},
           "names a number": {"names": 5}, "no names": {"names": []}, "one name": {"names": ["JawOpen"]},
           "frames a text": {"frames": "abc"}, "ragged": {"frames": [[1], [1, 2]]}, "frames null": {"frames": None},
           "frames deep": {"frames": [[[[[1]]]]]}, "a huge number": {"frames": [[10**400] * 52]},
           "head short": {"head": [[1]]}, "head a text": {"head": "x"}, "names null": {"names": [None] * 52},
           "frames of objects": {"frames": [{}]}, "infinite": {"frames": [[float("inf")] * 52]}}  # fmt: skip
    for name, change in odd.items():
        yield "take", f"json: {name}", json.dumps(frames | change).encode(), "a"
    for name, text, words in (
        ("unclosed quote", '0,"happy', None), ("three columns too many", "0,happy,1,2,3", "columns"),
        ("unknown head", "when,what\n0,happy", "must have the columns"), ("no emotion", "0,\n", "a"),
        ("twice one time", "0,happy\n0,sad", "two rows for 0 s"), ("a time of words", "time,emotion\nsoon,happy", "no number"),
        ("negative", "time,emotion\n-1,happy", "no number"), ("nan", "time,emotion\nnan,happy", "no number"),
        ("later than a week", "time,emotion\n9999999,happy", "later than a week"),
        ("many digits", f"time,emotion\n{'9' * 400},happy", "later than a week"),
        ("intensity nan", "0,happy,nan", "outside 1..3"), ("intensity 9", "0,happy,9", "outside 1..3"),
        ("weight 1e400", "0,happy:1e400", "plain weights"), ("weight nan", "0,happy:nan", "plain weights"),
        ("a long emotion", f"0,{'x' * 5000}", "more than 1000 characters"), ("many parts", "0," + "+".join("a" * 50), "32 parts"),
        ("many rows", "".join(f"{n},happy\n" for n in range(60_000)), "more than 2000 rows"), ("nul", "0,a\0b", "a"),
        ("json number", "[1, 2]", "must be a list"), ("json object", '{"time": 0}', "must be a list"),
        ("json time null", '[{"time": null, "emotion": "sad"}]', "no number"),
        ("json emotion list", '[{"time": 0, "emotion": ["sad"]}]', "emotion is empty"),
        ("json unknown", '[{"time": 0, "emotion": "sad", "\\u001b[2J": 1}]', "unknown"),
    ):  # fmt: skip
        yield "timeline", name, text.encode(), words
    for name, text, words in (
        ("unclosed quote", 'face,audio\n"a,b', "is no CSV"), ("nearly a column", "face,audio,intenstiy\na,b,1", "Did you mean"),
        ("no audio", "face\na", "no column audio"), ("twice a column", "face,face,audio\na,b,c", "two columns of one name"),
        ("too many cells", "face,audio\na,b,c", "3 cells for 2"), ("head only", "face,audio\n", "has no rows"),
        ("the same out", "face,audio,out\na,b,o.mp4\na,b,o.mp4", "both write"), ("json half", '{"face": "a"', "is not JSON"),
        ("json list", '{"face": "a", "audio": "b"}\n[]', "no JSON object"), ("an array of numbers", "[1]", "no JSON object"),
        ("resume", "face,audio,resume\na,b,1", "whole batch"), ("a long cell", f"face,audio\n{'x' * 200_000},b", None),
        ("separators in a text", '{"face": "a\u2028\u2029\x85", "audio": "b"}', None), ("nul", "face,audio\na\0,b", None),
    ):  # fmt: skip
        yield "manifest", name, text.encode(), words


def sidecars() -> Iterator[Case]:
    good: dict[str, object] = {
        "sidecar": 1,
        "emotalk": "0.2",
        "inputs": {},
        "options": {},
        "weights": {},
        "environment": {},
    }
    good |= {"output": {"unsigned_sha256": "0"}}
    secret = {"path": "/etc/passwd", "sha256": "0" * 64}
    for name in ("out", "preview", "export_blendshapes", "weights", "c2pa_key", "face", "audio", "pose", "max_seconds"):
        for spelt in (name, f" {name}", f"{name} ", name.replace("_", "-"), name.upper(), f"\u2003{name}", f"{name}\0"):
            yield (
                "sidecar",
                f"option {spelt!r}",
                json.dumps(good | {"options": {spelt: "/tmp/owned.mp4"}}).encode(),
                "do not use it",
            )
    for name in ("face", "audio", "motion", "emotion_file"):
        yield "sidecar", f"{name} of another", json.dumps(good | {"inputs": {name: secret}}).encode(), "has changed"
        pipe = {"path": "/dev/zero", "sha256": "0"}
        yield "sidecar", f"{name} without end", json.dumps(good | {"inputs": {name: pipe}}).encode(), "no ordinary file"
        vast = {"path": "vast", "sha256": "0"}
        yield "sidecar", f"{name} of 100 GB", json.dumps(good | {"inputs": {name: vast}}).encode(), "larger than 16 GiB"
    for change in ({"inputs": []}, {"inputs": {"face": None}}, {"inputs": {"face": {"path": 5, "sha256": "0"}}},
                   {"options": [1]}, {"output": 3}, {"weights": 5}, {"environment": None}, {"sidecar": [1]},
                   {"inputs": {"face": {"path": "a\0b", "sha256": "0"}}}):  # fmt: skip
        yield "sidecar", json.dumps(change), json.dumps(good | change).encode(), "a"
    yield (
        "sidecar",
        "another version",
        json.dumps(good | {"sidecar": 9, "emotalk": "\x1b[2J" * 99}).encode(),
        "another version",
    )
    for option, value in {"clip": "ViT-B-32", "landmarks": "face-alignment"}.items():
        yield (
            "sidecar",
            f"{option} to fetch",
            json.dumps(good | {"options": {option: value}}).encode(),
            "may be downloaded",
        )
    yield (
        "sidecar",
        "larger than any",
        json.dumps(good | {"options": {"label": "x" * 2_000_000}}).encode(),
        "no sidecar",
    )


def safetensors() -> Iterator[Case]:
    unit = torch.nn.functional.normalize(torch.ones(1, 512))
    held = {"times": torch.zeros(1), "z": unit, "mu": torch.ones(1)}
    said = {"format": "emotalk-emotion-1", "label": "x", "space": "space"}
    changes = {"not 512 wide": {"z": unit[:, :300]}, "no z": {"z": torch.zeros(0, 512)}, "z nan": {"z": unit * torch.nan},
               "z long": {"z": 3 * unit}, "times nan": {"times": torch.full((1,), torch.nan)},
               "times before": {"times": -torch.ones(1)}, "mu 9": {"mu": 9 * torch.ones(1)}, "more": {"x": torch.ones(1)},
               "doubles": {"z": unit.double()}, "many": {"times": torch.arange(9000.0), "z": unit.repeat(9000, 1),
                                                         "mu": torch.ones(9000)}}  # fmt: skip
    for name, change in changes.items():
        yield "emotion", name, tensors(held | change, **said), None if name == "doubles" else "no emotion file"
    yield "emotion", "another space", tensors(held, **said | {"space": "\x1b[2J"}), "belongs to the emotion space"
    yield "emotion", "another format", tensors(held, **said | {"format": "x"}), "no emotion file"
    good = tensors({"a": torch.ones(3)}, dims="{}")
    heads = {"length 0": header("{}", length=0), "length of years": header("{}", length=2**63), "4 GB": header("{}", length=2**32),
             "no object": header("[1]"), "offsets beyond": header('{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,99]}}', bytes(12)),
             "offsets back": header('{"a":{"dtype":"F32","shape":[3],"data_offsets":[12,0]}}', bytes(12)),
             "shape of years": header('{"a":{"dtype":"F32","shape":[99999999999,9999999999],"data_offsets":[0,12]}}', bytes(12)),
             "negative shape": header('{"a":{"dtype":"F32","shape":[-3],"data_offsets":[0,12]}}', bytes(12)),
             "unknown type": header('{"a":{"dtype":"X9","shape":[3],"data_offsets":[0,12]}}', bytes(12)),
             "overlap": header('{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}}', bytes(6)),
             "not utf-8": header("{}")[:8] + b"\xff\xff", "cut": good[:-4], "more": good + bytes(9), "hole": good[:20]}  # fmt: skip
    for name, content in heads.items():
        yield "emotion", name, content, "no emotion file"
        yield "weights", name, content, "estore"
    yield "weights", "nan", tensors({"a": torch.full((3,), torch.nan)}, dims="{}"), "no numbers"
    yield "weights", "infinite", tensors({"a": torch.full((3,), torch.inf)}, dims="{}"), "no numbers"
    yield "weights", "no dims", tensors({"a": torch.ones(3)}), "no model dimensions"
    yield "weights", "dims deep", tensors({"a": torch.ones(3)}, dims="[" * 99_999), "damaged model dimensions"


CASES = [*everywhere(), *pictures(), *sounds(), *tables(), *sidecars(), *safetensors()]
SUFFIX = {"picture": ".png", "sound": ".wav", "film": ".mp4", "take": ".csv", "sidecar": ".json", "manifest": ".csv",
          "timeline": ".csv", "emotion": ".safetensors", "weights": ".safetensors"}  # fmt: skip


def test_there_are_enough():
    assert len(CASES) >= 300 and {case[0] for case in CASES} == set(READERS)


@pytest.mark.parametrize("reader", READERS)
def test_every_input_ends_in_its_sentence(reader, tmp_path):
    cases = [case for case in CASES if case[0] == reader]
    with open(tmp_path / "vast", "wb") as file:
        file.truncate(100 * 10**9)  # takes no room
    for number, (_, name, content, expected) in enumerate(cases):
        path = tmp_path / f"a{number}{SUFFIX[reader]}"
        path.write_bytes(content)
        if reader == "weights":
            (tmp_path / "index.json").write_text(json.dumps({path.name: hashlib.sha256(content).hexdigest()}))
        before, spent = threading.active_count(), sum(os.times()[:4])
        with watching() as seen:
            try:
                READERS[reader](path)
                message = None
            except EmoTalkError as error:
                message = str(error)
        assert sum(os.times()[:4]) - spent < SECONDS, (reader, name)
        assert threading.active_count() <= before + 1, (reader, name)
        if expected is not None:
            assert message is not None and expected in message, (reader, name, message)
        if message is not None:
            assert "Traceback" not in message and "Internal" not in message and "\n" not in message.strip(), (
                reader,
                name,
            )
            assert len(message) < 1500 and message.rstrip().endswith((".", "?")), (reader, name, message)
        named = ("/etc/passwd",) if name.endswith(" of another") else ()  # the sidecar's input, to compare its hash
        assert not strays(seen, tmp_path, read=named), (reader, name)
    assert not leftovers(tmp_path) and not (Path.cwd() / "owned").exists()


@pytest.mark.parametrize("content", [b"a = [", b"steps = 1e999\n", b"[" * 5000, b"x" * 100_000, b"\xff\xfe", b"\0"])
def test_configurations(tmp_path, content):
    (tmp_path / "a.toml").write_bytes(content)
    with pytest.raises(EmoTalkError):
        load_config(tmp_path / "a.toml", "eac")


def test_three_frames_five_hours_apart(tmp_path):
    ffmpeg("-f", "lavfi", "-i", "color=red:s=64x48:r=1:d=3", "-vf", "setpts=N*18000/TB", "-fps_mode", "passthrough", "-t",
           "100000", tmp_path / "a.mkv")  # fmt: skip
    with pytest.raises(EmoTalkError, match="longer than 10 minutes"):
        READERS["film"](tmp_path / "a.mkv")


def test_a_sound_of_many_hours_in_few_bytes(tmp_path):
    write_wav(tmp_path / "a.wav", np.zeros(8000 * 60), 8000)
    ffmpeg("-i", tmp_path / "a.wav", "-af", "apad=whole_dur=1200", tmp_path / "a.flac")
    with pytest.raises(EmoTalkError, match="longer than 10 minutes"):
        audio.Recording.open(tmp_path / "a.flac", longest=600.0)
