"""Where a video comes from can be read from it; the sidecar makes it again; nothing personal leaks."""

from __future__ import annotations

import json
import os
import subprocess

import numpy as np
import pytest
from conftest import PORTRAIT, ffmpeg, leftovers, video_frames
from imageio_ffmpeg import get_ffmpeg_exe

from emotalk_cli.cli import main
from emotalk_cli.errors import EmoTalkError, InputError, UsageError
from emotalk_cli.jobs import Job, repeat
from emotalk_cli.media import provenance
from emotalk_cli.media.label import Label
from emotalk_cli.media.provenance import Sidecar, Signer, manifest_of, sidecar_path
from emotalk_cli.settings import Settings

QUICK = {"fps": 5, "size": 128}


def tags(path) -> dict[str, str]:
    command = [get_ffmpeg_exe(), "-v", "error", "-i", f"file:{path}", "-f", "ffmetadata", "-"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    lines = text.replace("\\", "").splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


@pytest.fixture(scope="module")
def made(talker, short_speech, tmp_path_factory):
    """A video with its sidecar, and copies of its inputs beside it; the folder's name is a secret."""
    folder = tmp_path_factory.mktemp("jane-doe-private")
    (folder / "in").mkdir()
    (folder / "in" / "me.png").write_bytes(PORTRAIT.read_bytes())
    (folder / "in" / "talk.wav").write_bytes(short_speech.read_bytes())
    job = Job(face=folder / "in" / "me.png", audio=folder / "in" / "talk.wav", emotion="happy", out=folder / "a.mp4",
              generator="geometry", settings=Settings(**QUICK, seed=7, label="AI-generated"))  # fmt: skip
    return job.run(talker)


def test_the_file_says_what_it_is(made, talker):
    described = tags(made.out)
    assert "Synthetic video made by EmoTalk" in described["comment"] and "AI-generated" in described["comment"]
    held = json.loads(described["description"])
    assert held["seed"] == 7 and held["emotion"] == "happy" and held["synthetic"] is True
    assert all(talker.weights[f"{name}.safetensors"].startswith(digest) for name, digest in held["weights"].items())
    assert len(held["weights"]) == len(talker.weights)


def test_no_path_or_file_name_of_the_maker_is_in_the_file(made, talker, tmp_path, short_speech):
    data = made.out.read_bytes()
    for secret in (b"jane-doe", b"me.png", b"talk.wav", os.fsencode(str(made.out.parent)), b"/work", b"/home"):
        assert secret not in data
    (tmp_path / "john-private.json").write_text('[{"time": 0, "emotion": "sad"}]')
    felt = talker.emotion(timeline=tmp_path / "john-private.json")
    result = talker.generate(PORTRAIT, short_speech, felt, tmp_path / "b.mp4", **QUICK)
    assert b"john-private" not in result.out.read_bytes()
    assert "as in a timeline" in tags(result.out)["description"]


def test_the_sidecar_makes_the_same_bytes_again(made, talker):
    sidecar = Sidecar.read(made.sidecar)
    assert sidecar.output == made.sha256 and sidecar.weights == talker.weights
    result = repeat(Job.of(sidecar), sidecar, talker)
    assert result.out.name == "a.again.mp4" and result.identical
    assert result.out.read_bytes() == made.out.read_bytes()
    changed = repeat(Job.of(sidecar, seed=8, out=made.out.with_name("b.mp4")), sidecar, talker)
    assert changed.identical is None and changed.sha256 != made.sha256


def test_by_command_and_moved_to_another_folder(made, tmp_path, capfd):
    folder = tmp_path / "moved"
    os.makedirs(folder / "in")
    for name in ("in/me.png", "in/talk.wav", "a.mp4.json"):
        (folder / name).write_bytes((made.out.parent / name).read_bytes())
    assert main(["generate", "--from", str(folder / "a.mp4.json")]) == 0
    assert "is identical to the one of a.mp4.json" in capfd.readouterr().err
    assert (folder / "a.again.mp4").read_bytes() == made.out.read_bytes()
    (folder / "in" / "me.png").write_bytes(PORTRAIT.read_bytes() + b"\0")
    assert main(["generate", "--from", str(folder / "a.mp4.json")]) == 1
    assert "me.png has changed" in capfd.readouterr().err


@pytest.mark.parametrize("kind", ["timeline", "file"])
def test_emotions_from_files_are_made_again(talker, short_speech, tmp_path, kind):
    if kind == "file":
        talker.emotion("angry").save(tmp_path / "e")
    else:
        (tmp_path / "e").write_text("0,happy,1\n1,sad,3\n")
    job = Job.parse({"face": PORTRAIT, "audio": short_speech, f"emotion_{kind}": tmp_path / "e",
                     "out": tmp_path / "a.mp4", "intensity": "1-3", **QUICK})  # fmt: skip
    sidecar = Sidecar.read(job.run(talker).sidecar)
    assert repeat(Job.of(sidecar), sidecar, talker).identical
    (tmp_path / "e").write_text("0,sad,1\n")
    with pytest.raises(InputError, match="e has changed"):
        Job.of(sidecar)


def test_pixels_in_memory_are_asked_for(talker, short_speech, tmp_path, portrait_picture):
    result = talker.generate(portrait_picture, short_speech, "happy", tmp_path / "a.mp4", **QUICK)
    with pytest.raises(InputError, match="give it as --face"):
        Job.of(Sidecar.read(result.sidecar))


def test_other_weights_and_versions_are_named(made):
    sidecar = Sidecar.read(made.sidecar)
    sidecar.environment["torch"], sidecar.weights["eac.safetensors"] = "0.1", "0" * 64
    notes = " ".join(sidecar.differences(made.weights, made.device))
    assert "eac.safetensors is another version" in notes and "then 0.1" in notes


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"sidecar": 1}', '{"sidecar": 9, "emotalk": "3"}', "[" * 99999])
def test_what_is_no_sidecar(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(InputError, match="a.json"):
        Sidecar.read(tmp_path / "a.json")


@pytest.mark.parametrize("part,name", [("options", "out"), ("inputs", "preview"), ("options", "weights")])
def test_a_sidecar_cannot_say_where_to_write(made, tmp_path, part, name):
    held = json.loads(made.sidecar.read_text())
    held[part][name] = {"path": "../x.mp4", "sha256": ""} if part == "inputs" else "../x.mp4"
    (tmp_path / "a.json").write_text(json.dumps(held))
    with pytest.raises(InputError, match=f"names {name} as {part[:-1]}"):
        Job.of(Sidecar.read(tmp_path / "a.json"))


def test_sidecar_of_the_longest_name(tmp_path):
    assert sidecar_path(tmp_path / "a.mp4").name == "a.mp4.json"
    assert len(os.fsencode(sidecar_path(tmp_path / ("é" * 125 + ".mp4")).name)) == 255


def test_the_label_is_seen_in_its_corner_only():
    plain = np.full((2, 256, 256, 3), 200, np.uint8)
    frames = Label("AI-generated", (256, 256))(plain.copy())
    changed = (frames != plain).any(-1).any(0)
    rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
    assert rows[0] > 220 and columns[0] > 128 and columns[-1] >= 245
    corner = frames[0][changed]
    assert corner.min() < 110 and corner.max() > 235  # dark ground, bright letters
    assert (frames[0] == frames[1]).all()
    with pytest.raises(UsageError, match="does not fit"):
        Label("x" * 60, (64, 64))
    for text in ("x" * 61, "two\nlines", "\x1b[31m"):
        with pytest.raises(UsageError, match="label"):
            Settings(label=text).check()


def test_the_label_is_in_the_video(made):
    corner = video_frames(made.out, (128, 128))[0, -14:, -60:]
    assert corner.max() > 200 and corner.min() < 130


# -- C2PA -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def c2pa():
    pytest.importorskip("cryptography")
    return pytest.importorskip("c2pa")


def test_a_signed_video_verifies_until_it_is_changed(c2pa, talker, short_speech, tmp_path):
    result = talker.generate(PORTRAIT, short_speech, "happy", tmp_path / "a.mp4", signer=Signer(), **QUICK)
    held = manifest_of(result.out)
    assert held["validation_state"] == "Valid"  # intact, by a signer that nobody vouches for
    manifest = held["manifests"][held["active_manifest"]]
    assert "TEST" in manifest["signature_info"]["issuer"]
    labels = {assertion["label"]: assertion["data"] for assertion in manifest["assertions"]}
    assert labels["c2pa.actions.v2"]["actions"][0]["digitalSourceType"].endswith("TrainedAlgorithmicMedia")
    assert labels["org.emotalk.settings"]["weights"] == talker.weights
    assert str(tmp_path) not in json.dumps(held)
    assert len(video_frames(result.out, (128, 128))) == 6
    assert Sidecar.read(result.sidecar).output == result.unsigned_sha256 != result.sha256
    data = bytearray(result.out.read_bytes())
    data[data.index(b"mdat") + 500] ^= 1
    (tmp_path / "b.mp4").write_bytes(data)
    assert manifest_of(tmp_path / "b.mp4")["validation_state"] == "Invalid"


def test_certificate_of_the_user(c2pa, talker, short_speech, tmp_path, capfd):
    from emotalk_cli.media.provenance import _test_certificate

    chain, key = _test_certificate()
    (tmp_path / "cert.pem").write_bytes(chain)
    (tmp_path / "key.pem").write_bytes(key)
    options = {"face": PORTRAIT, "audio": short_speech, "emotion": "happy", "out": tmp_path / "a.mp4", **QUICK}
    options |= {"c2pa_cert": tmp_path / "cert.pem", "c2pa_key": tmp_path / "key.pem"}
    result = Job.parse(options).run(talker)
    held = manifest_of(result.out)
    manifest = held["manifests"][held["active_manifest"]]
    assert [a["data"]["test"] for a in manifest["assertions"] if a["label"] == "org.emotalk.settings"] == [False]
    (tmp_path / "key.pem").write_text("no key")
    with pytest.raises(InputError, match="do not make a C2PA signer"):
        Job.parse(options | {"out": tmp_path / "b.mp4"}).run(talker)
    with pytest.raises(UsageError, match="belong together"):
        Signer(certificate=tmp_path / "cert.pem")
    assert not (tmp_path / "b.mp4").exists() and not leftovers(tmp_path)


def test_a_key_of_another_certificate_leaves_nothing(c2pa, talker, short_speech, tmp_path):
    from emotalk_cli.media.provenance import _test_certificate

    (tmp_path / "cert.pem").write_bytes(_test_certificate()[0])
    (tmp_path / "key.pem").write_bytes(_test_certificate()[1])
    with pytest.raises(EmoTalkError):
        signer = Signer(tmp_path / "cert.pem", tmp_path / "key.pem")
        talker.generate(PORTRAIT, short_speech, "happy", tmp_path / "a.mp4", signer=signer, **QUICK)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cert.pem", "key.pem"]


def test_another_tool_can_strip_neither_frames_nor_sound(made, tmp_path):
    ffmpeg("-i", made.out, "-c", "copy", tmp_path / "copy.mp4")
    assert (video_frames(tmp_path / "copy.mp4", (128, 128)) == video_frames(made.out, (128, 128))).all()


def test_what_else_a_process_has_loaded_is_not_recorded():
    pytest.importorskip("open_clip")
    assert "open_clip_torch" not in provenance.environment("cpu", False)
    assert provenance.environment("cpu", True)["open_clip_torch"] != "unknown"
