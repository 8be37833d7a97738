"""The library as programs use it: everything in memory, options that are mistyped, errors in its own words."""

from __future__ import annotations

import subprocess
import sys
import wave
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import PORTRAIT, sound
from PIL import Image

from emotalk_cli import (
    EmoTalk,
    EmoTalkError,
    Emotion,
    InputError,
    Outputs,
    Portrait,
    Result,
    Settings,
    UsageError,
    WeightsError,
)
from emotalk_cli.animate import Performance
from emotalk_cli.emotions.notes import notes_on_emotion
from emotalk_cli.media import image
from emotalk_cli.media.samples import SoundFile

QUICK = {"fps": 5, "size": 64}


def frames(talker, face, audio) -> np.ndarray:
    return np.stack(list(talker.frames(face, audio, "happy", **QUICK)))


def test_sound_as_numbers_makes_the_same_frames_as_its_file(talker, short_speech):
    """The file is 16-bit mono at its own rate; so are the samples that come from it."""
    with wave.open(str(short_speech)) as file:
        rate, data = file.getframerate(), np.frombuffer(file.readframes(file.getnframes()), "<i2")
    expected = frames(talker, PORTRAIT, short_speech)
    floats = data.astype(np.float32) / 32767
    for audio in ((data, rate), (floats, rate), (torch.from_numpy(floats)[None], float(rate))):
        np.testing.assert_array_equal(frames(talker, PORTRAIT, audio), expected)


def test_a_video_of_samples_has_their_sound(talker, tmp_path, short_speech):
    wave_16k = sound(short_speech)
    portrait = talker.portrait(PORTRAIT)
    result = talker.generate(portrait, wave_16k, "happy", out=tmp_path, **QUICK)
    assert isinstance(portrait, Portrait) and isinstance(result, Result)
    assert result.out.parent == tmp_path and result.out.name == "portrait--speech--happy.mp4"
    heard = sound(result.out)
    count = min(len(heard), len(wave_16k)) - 2000
    assert (
        max(np.corrcoef(heard[s : s + count - 2000], wave_16k[: count - 2000])[0, 1] for s in range(0, 2000, 8)) > 0.9
    )
    assert '"audio": {\n   "path": null' in result.sidecar.read_text()


@pytest.mark.parametrize("kind", ["pillow", "RGBA", "grey", "grey3", "float", "uint16"])
def test_pictures_in_memory(portrait_picture, kind):
    grey = portrait_picture.mean(2).astype(np.uint8)
    given = {
        "pillow": Image.fromarray(portrait_picture),
        "RGBA": np.dstack([portrait_picture, np.full(portrait_picture.shape[:2], 255, np.uint8)]),
        "grey": grey,
        "grey3": grey[..., None],
        "float": portrait_picture / 255,
        "uint16": portrait_picture.astype(np.uint16) * 257,
    }[kind]
    expected = np.repeat(grey[..., None], 3, 2) if kind.startswith("grey") else portrait_picture
    np.testing.assert_array_equal(image.from_memory(given), expected)


WRONG_PICTURES = [b"bytes", np.zeros((3, 64, 64), np.uint8), np.full((8, 8), 2.0), np.zeros((8, 8), np.int64), None, 7]
WRONG_SOUNDS = [b"bytes", 7, (np.zeros(9), 0), (np.zeros(9), "x"), np.zeros((20, 20, 2)), np.full(99, np.nan)]
WRONG_SOUNDS += [np.full(99, 1000.0), np.zeros(99, np.int64), np.zeros(0)]


def test_what_is_no_picture_or_sound_is_refused_in_a_sentence():
    for refuse, given in [(image.from_memory, WRONG_PICTURES), (SoundFile.of, WRONG_SOUNDS)]:
        for one in given:
            with pytest.raises(InputError) as caught:
                refuse(one)
            assert str(caught.value).endswith(".") and len(str(caught.value)) < 120


def test_mistyped_options_are_named_with_what_was_meant(talker, short_speech, tmp_path):
    with pytest.raises(UsageError, match="no option intenstiy.*Did you mean intensity"):
        talker.generate(PORTRAIT, short_speech, "happy", tmp_path / "a.mp4", intenstiy=3)
    with pytest.raises(UsageError, match="no option motoin"):
        talker.frames(PORTRAIT, short_speech, motoin="x")
    with pytest.raises(UsageError, match="size 'large' is no whole number"):
        Settings(size="large").check()


def test_errors_speak_to_programs_and_to_the_command():
    with pytest.raises(UsageError) as caught:
        Settings(size=511).check()
    assert str(caught.value).startswith("size 511 is odd") and caught.value.for_command.startswith("--size 511 is odd")
    assert str(EmoTalkError("a--size.png, see emotalk train --help")) == "a--size.png, see emotalk train --help"
    assert str(UsageError("--emotion-image and --no-overwrite")) == "emotion_image and no_overwrite"


def test_a_device_may_be_torchs_own():
    with pytest.raises(UsageError, match="device meta is unknown"):
        EmoTalk.load(device=torch.device("meta"))


def test_outputs_as_one_object(talker, short_speech, tmp_path):
    wish = Outputs(preview=tmp_path / "a.png", sidecar=False)
    talker.generate(PORTRAIT, short_speech, "happy", tmp_path / "a.mp4", outputs=wish, **QUICK)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "a.png"]


def test_the_bound_on_seconds_holds_for_the_voice_that_is_felt(talker, short_speech):
    assert talker.emotion(audio=short_speech).label == str(short_speech)
    with pytest.raises(InputError, match="is longer than 0.5 s"):
        talker.emotion(audio=short_speech, longest=0.5)


def test_the_other_name_and_what_importing_costs():
    code = (
        "import sys, emotalk, emotalk_cli\n"
        "from emotalk import Settings, UsageError\n"
        "assert Settings is emotalk_cli.Settings and UsageError is emotalk_cli.UsageError\n"
        "print(*sorted({'torch', 'numpy', 'rich'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"


def test_only_what_weights_cause_is_blamed_on_them(monkeypatch, tmp_path):
    """A tensor that is missing is another version; memory that runs out, and errors of our own, are not."""

    def load(error):
        def fail(*_):
            raise error

        monkeypatch.setattr("emotalk_cli.face.model.FaceModel.load", fail)
        return EmoTalk.load(device="cpu", generator="geometry")

    with pytest.raises(WeightsError, match="lack 'uv' and are of another version"):
        load(KeyError("uv"))
    with pytest.raises(EmoTalkError, match="not enough memory on cpu; choose a smaller size"):
        load(torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"))
    with pytest.raises(RuntimeError, match="a mistake of ours"):
        load(RuntimeError("a mistake of ours"))


@pytest.mark.parametrize(
    "text,first,meant",
    [
        ("hapy", "neutral", "happy"),
        ("Suprised", "unrelated", "surprised"),
        ("sadly suprised", "unrelated", "sadly surprised"),
        ("happy", "neutral", None),
        ("a red car in the rain", "unrelated", None),
        ("angyr", "angry", None),  # it was understood
    ],
)
def test_a_word_that_is_nearly_known_and_means_nothing(text, first, meant):
    emotion = Emotion(text, torch.zeros(1), torch.zeros(1, 512), torch.zeros(1), "emotalk-1", ("text", text))
    notes = " ".join(notes_on_emotion(emotion, {first: 0.9}))
    assert (f"Did you mean '{meant}'?" in notes) if meant else "Did you mean" not in notes
    assert ("names no emotion" in notes) == (meant is not None or first == "unrelated")


@pytest.mark.parametrize("sound,film,expected", [(1.024, 1.0, 1.0), (1.5, 1.0, 1.5), (0.8, 1.0, 0.8), (None, 1.0, 1.0)])
def test_a_film_is_as_long_as_its_pictures_where_its_sound_is_only_padded(sound, film, expected):
    """AAC's last block made 26 frames of one second."""
    recording = None if sound is None else SimpleNamespace(seconds=sound)
    assert Performance(recording, None, SimpleNamespace(seconds=film)).seconds == expected
