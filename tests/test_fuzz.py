"""Hostile and broken input of every kind: always a result or one clear sentence, in time, and no half file."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import random
import shutil
import signal
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import PORTRAIT, ffmpeg, leftovers, video_frames, write_wav
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from emotalk_cli import manifests
from emotalk_cli.emotions.emotion import Emotion
from emotalk_cli.emotions.prototypes import COMPONENTS
from emotalk_cli.emotions.timeline import read_timeline
from emotalk_cli.errors import EmoTalkError, InputError, UsageError
from emotalk_cli.jobs import JOB_OPTIONS, Job
from emotalk_cli.media import audio, image
from emotalk_cli.media import ffmpeg as ffmpeg_module
from emotalk_cli.media.ffmpeg import read_frames
from emotalk_cli.media.provenance import Sidecar
from emotalk_cli.models import checkpoints
from emotalk_cli.motion import livelink

SECONDS = 30  # that a single broken file may take, on a busy machine
PICTURES = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP", "gif": "GIF", "tiff": "TIFF", "bmp": "BMP", "jp2": "JPEG2000"}
SOUNDS = {
    "wav": [],
    "mp3": [],
    "m4a": ["-c:a", "aac"],
    "ogg": ["-c:a", "libvorbis"],
    "flac": [],
    "mkv": ["-c:a", "aac"],
}
READERS = {
    **dict.fromkeys(PICTURES, image.load),
    **dict.fromkeys(SOUNDS, audio.Recording.open),
    "safetensors": checkpoints.read,
    "emotion": lambda path: Emotion.load(path, "space"),
    "csv": manifests.read_manifest,
    "tsv": manifests.read_manifest,
    "jsonl": manifests.read_manifest,
    "timeline": read_timeline,
    "timeline.json": read_timeline,
    "shapes.csv": livelink.read,
    "shapes.json": livelink.read,
    "sidecar": Sidecar.read,
    "mp4": lambda path: list(read_frames(path, 5)),
}


@contextlib.contextmanager
def in_time():
    def late(number, frame):
        raise TimeoutError(f"more than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def survives(read, path) -> bool:
    """Whether a file is read; if not, that is said in one sentence."""
    try:
        with in_time():
            read(path)
    except EmoTalkError as error:
        assert str(error).strip() and "Traceback" not in str(error) and len(str(error)) < 1500
        return False
    return True


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> dict[str, bytes]:
    """A small good file of every kind."""
    folder = tmp_path_factory.mktemp("whole")
    for suffix, kind in PICTURES.items():
        Image.open(PORTRAIT).convert("RGB").resize((48, 40)).save(folder / f"a.{suffix}", kind)
    write_wav(folder / "a.wav", 0.3 * np.sin(np.arange(6400) / 9))
    for suffix, options in SOUNDS.items():
        if suffix != "wav":
            ffmpeg("-i", folder / "a.wav", *options, folder / f"a.{suffix}")
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=32x32:r=5:d=1", folder / "a.mp4")
    tensors = {"a": torch.arange(12.0).reshape(3, 4), "b": torch.zeros(2, dtype=torch.int64)}
    checkpoints.save("a", tensors, {"x": 1}, folder, data="", command="", seed=0)
    unit = torch.nn.functional.normalize(torch.ones(1, 512))
    Emotion.constant("x", unit[0], "space").save(folder / "a.emotion")
    rows = [{"face": f"{n}.png", "audio": "a.wav", "emotion": 'happy, "sad"', "size": 64} for n in range(3)]
    (folder / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "a.csv").write_text('face,audio,emotion,out\na.png,a.wav,"happy, ""very""",a.mp4\nb.png,a.wav,,b.mp4\n')
    (folder / "a.tsv").write_text("face\taudio\tseed\na.png\ta.wav\t3\n")
    (folder / "a.timeline").write_text("time,emotion,intensity\n0,happy,1\n1:02.5,sad,3\n")
    (folder / "a.timeline.json").write_text('[{"time": 0, "emotion": "happy"}, {"time": "1:00", "emotion": "sad"}]')
    names = ["Timecode", "BlendShapeCount", *livelink.ARKIT]
    lines = [",".join(names)] + [f"00:00:00:{n:02d}.0,61," + ",".join(["0.1"] * len(livelink.ARKIT)) for n in range(4)]
    (folder / "a.shapes.csv").write_text("\n".join(lines) + "\n")
    take = {"format": livelink.FORMAT, "fps": 30, "names": list(COMPONENTS), "frames": [[0.1] * len(COMPONENTS)] * 3}
    (folder / "a.shapes.json").write_text(json.dumps(take | {"head": [[0.0] * 6] * 3}))
    held = {"sidecar": 1, "emotalk": "0", "inputs": {"face": {"path": "a", "sha256": "0"}}, "options": {"seed": 1}}
    held |= {"output": {"unsigned_sha256": "0"}, "weights": {}, "environment": {"threads": 1}}
    (folder / "a.sidecar").write_text(json.dumps(held))
    found = {path.name[2:]: path.read_bytes() for path in folder.iterdir() if path.name.startswith("a.")}
    assert set(READERS) <= set(found)
    for kind in READERS:
        READERS[kind](folder / f"a.{kind}")
    return found


def broken(data: bytes, other: bytes, seed: int) -> dict[str, bytes]:
    """name -> the file cut, with flipped bits, another's header, lying lengths, or rubbish in it."""
    dice = random.Random(seed)
    made = {f"cut at {part}": data[: int(len(data) * part)] for part in (0.02, 0.3, 0.9, 0.995)}
    for n in range(4):
        flipped = bytearray(data)
        for _ in range(1 + 3 * n):
            flipped[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
        made[f"flipped bits {n}"] = bytes(flipped)
    made["another's header"] = other[:24] + data[24:]
    for where in (4, 8, 16):
        for lie in (b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x00\x00\x00\x00"):
            made[f"{lie.hex()} at {where}"] = data[:where] + lie + data[where + 4 :]
    middle = len(data) // 2
    made["a hole"] = data[:middle] + bytes(200) + data[middle + 200 :]
    made["rubbish"] = data[:middle] + dice.randbytes(300) + data[middle:]
    return made


@pytest.mark.parametrize("kind", READERS)
def test_broken_files(kind, whole, tmp_path):
    kinds = sorted(READERS)
    other = whole[kinds[(kinds.index(kind) + 1) % len(kinds)]]
    corpus = broken(whole[kind], other, seed=kinds.index(kind))
    assert len(corpus) >= 17 and len(corpus) * len(READERS) >= 200
    read = 0
    for number, (name, data) in enumerate(corpus.items()):
        path = tmp_path / f"{number} {name}.{kind}"
        path.write_bytes(data)
        read += survives(READERS[kind], path)
    if kind in PICTURES or kind == "safetensors":
        assert read < len(corpus), "not one of them is noticed"
    assert not leftovers(tmp_path)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.binary(max_size=400), kind=st.sampled_from([k for k in READERS if k not in SOUNDS and k != "mp4"]))
def test_any_bytes(data, kind, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / f"any.{kind}"
    path.write_bytes(data)
    survives(READERS[kind], path)


TEXT = st.text(max_size=60) | st.sampled_from(["\ud800", "a\0b", "happy:nan+sad:inf", "a:1+", "+", ":", "very " * 50])
VALUES = st.none() | st.booleans() | st.integers() | st.floats() | TEXT | st.lists(st.integers(), max_size=2)


@settings(max_examples=150, deadline=None)
@given(values=st.dictionaries(st.sampled_from(JOB_OPTIONS) | TEXT, VALUES, max_size=6))
def test_any_row(values):
    with contextlib.suppress(EmoTalkError):
        Job.parse({"face": "a.png", "audio": "a.wav"} | values)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(text=st.text(alphabet=st.sampled_from('abfe,;\t"\n\r0{}[]:\\/ é'), max_size=120), head=st.booleans())
def test_any_table(text, head, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_text(("face,audio,emotion\n" if head else "") + text)
    survives(manifests.read_manifest, path)
    survives(read_timeline, path)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(text=TEXT)
def test_any_emotion(text, talker):
    try:
        emotion = talker.emotion(text)
    except UsageError:
        return
    assert emotion.z.isfinite().all() and json.dumps(emotion.public)


# -- files that lie or lead elsewhere ---------------------------------------------------------------------------


@pytest.fixture
def server():
    """An address, and the requests that it gets."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{listening.server_port}", asked
        listening.shutdown()


LEADING = {
    "hls.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{place}\n#EXT-X-ENDLIST\n",
    "concat.ffconcat": "ffconcat version 1.0\nfile '{place}'\n",
    "concat.txt": "file '{place}'\n",
    "session.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 9 RTP/AVP 0\n",
    "dash.mpd": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><BaseURL>{place}</BaseURL></MPD>',
    "image.svg": '<svg xmlns="http://www.w3.org/2000/svg"><image href="{place}"/></svg>',
    "page.html": '<html><audio src="{place}"/></html>',
}


@pytest.mark.parametrize("name", LEADING)
def test_files_that_name_others_are_refused(name, server, short_speech, tmp_path):
    address, asked = server
    shutil.copy(short_speech, tmp_path / "secret.wav")
    for place in (f"{address}/x.wav", f"file://{tmp_path}/secret.wav", "secret.wav", f"{tmp_path}/secret.wav"):
        for file in (tmp_path / name, tmp_path / "innocent.wav"):
            file.write_text(LEADING[name].format(place=place))
            for read in (audio.Recording.open, image.load, lambda path: list(read_frames(path, 25))):
                with in_time(), pytest.raises(InputError):
                    read(file)
    assert not asked


@pytest.mark.parametrize(
    "path", ["http://127.0.0.1:9/a.wav", "concat:a.wav|b.wav", "pipe:0", "-", "lavfi:sine", "a.wav\0b"]
)
def test_addresses_and_protocols_are_only_names_of_files(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for read in (audio.Recording.open, image.load, lambda path: list(read_frames(path, 25))):
        with pytest.raises(EmoTalkError, match="does not exist|cannot be a file name|is an address"):
            read(path)


@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "long"])
def test_what_is_no_ordinary_file(tmp_path, kind):
    path = {"device": Path("/dev/zero"), "folder": tmp_path, "long": tmp_path / ("x" * 300)}.get(
        kind, tmp_path / "pipe"
    )
    if kind == "pipe":
        os.mkfifo(path)
    for read in {*READERS.values()}:
        with in_time(), pytest.raises(InputError):
            read(path)


def test_a_small_file_cannot_claim_years(tmp_path):
    header = bytearray(write_wav(tmp_path / "a.wav", np.zeros(10_000)).read_bytes())
    header[24:28] = (1).to_bytes(4, "little")  # samples a second
    header[28:32] = (2).to_bytes(4, "little")
    (tmp_path / "a.wav").write_bytes(header)
    with in_time(), pytest.raises(InputError, match="sample rate of 1 Hz"):
        audio.Recording.open(tmp_path / "a.wav")


def test_films_of_many_pixels_are_refused(whole, tmp_path, monkeypatch):
    monkeypatch.setattr(ffmpeg_module, "MAX_PIXELS", 1000)
    (tmp_path / "a.mp4").write_bytes(whole["mp4"])  # 32 x 32
    with in_time(), pytest.raises(InputError, match="million pixels"):
        next(read_frames(tmp_path / "a.mp4", 25))


def chunk(kind: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")


@pytest.mark.parametrize("bomb", ["pixels", "text", "profile"])
def test_small_pictures_that_would_be_large(tmp_path, bomb):
    side = 60_000 if bomb == "pixels" else 64
    head = chunk(b"IHDR", side.to_bytes(4, "big") * 2 + b"\x08\x00\x00\x00\x00")
    filling = zlib.compress(bytes(300 << 20), 9) if bomb != "pixels" else b""
    more = {"text": chunk(b"zTXt", b"a\0\0" + filling), "profile": chunk(b"iCCP", b"a\0\0" + filling)}.get(bomb, b"")
    pixels = chunk(b"IDAT", zlib.compress(bytes(65 * 64)))
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + head + more + pixels + chunk(b"IEND", b""))
    assert (tmp_path / "a.png").stat().st_size < 1 << 20
    with in_time(), pytest.raises(InputError, match="a.png"):
        image.load(tmp_path / "a.png")


@pytest.mark.parametrize("header", [2**63, 2**40, (4 << 20) + 1, 10**5, 0])
def test_a_header_longer_than_allowed_is_not_read(tmp_path, header):
    (tmp_path / "a.safetensors").write_bytes(header.to_bytes(8, "little") + b'{"a": 1}' + bytes(1000))
    with pytest.raises(InputError, match="a.safetensors is not a safetensors file"):
        checkpoints.read(tmp_path / "a.safetensors")


@pytest.mark.parametrize("content", [b"\x80\x04\x95", b"PK\x03\x04"], ids=["pickle", "zip"])
def test_pickles_are_never_loaded(tmp_path, content):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "sprung"),)

    torch.save(Trap(), tmp_path / "a.safetensors", _use_new_zipfile_serialization=content.startswith(b"PK"))
    for read in (checkpoints.read, lambda path: Emotion.load(path, "space")):
        with pytest.raises(InputError):
            read(tmp_path / "a.safetensors")
    assert not (tmp_path / "sprung").exists()


# -- names, and the whole way -----------------------------------------------------------------------------------

QUICK = {"fps": 1, "size": 64}
NAMES = ["a b", 'it\'s "quoted"', "new\nline\ttab", "-dash", "--out", "%03d", "żółw 顔 🎭", "é" * 125]
NAMES += ["[0:v]:x;y|z&$(touch x)`y`"]


@pytest.mark.parametrize("name", NAMES)
def test_any_name_of_files(name, talker, short_speech, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(PORTRAIT, f"./{name}.png")
    shutil.copy(short_speech, f"./{name}.wav")
    job = Job.parse({"face": f"{name}.png", "audio": f"{name}.wav", "emotion": "happy", "out": f"{name}.mp4", **QUICK})
    result = job.run(talker)
    assert result.out == Path(os.path.realpath(f"{name}.mp4")) and len(os.fsencode(result.out.name)) <= 255
    assert len(video_frames(result.out, (64, 64))) == 2
    assert len(list(tmp_path.iterdir())) == 4 and not leftovers(tmp_path)


@pytest.mark.parametrize("kind", ["jpg", "png", "m4a", "emotion", "timeline"])
def test_a_broken_file_leaves_nothing(kind, whole, talker, short_speech, tmp_path):
    path = tmp_path / f"a.{kind}"
    data = bytearray(whole[kind])
    data[: len(data) // 2] = random.Random(0).randbytes(len(data) // 2)
    path.write_bytes(data)
    option = {"m4a": "audio", "emotion": "emotion_file", "timeline": "emotion_timeline"}.get(kind, "face")
    values = {"face": PORTRAIT, "audio": short_speech, "out": tmp_path / "new.mp4", "preview": tmp_path / "new.png"}
    with in_time(), pytest.raises(InputError, match=f"a.{kind}"):
        Job.parse(values | {option: path} | QUICK).run(talker)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
