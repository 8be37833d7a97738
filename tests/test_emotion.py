"""The Emotion value: keyframes, timelines, ramps, files; and what the talking face makes of them."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from conftest import PORTRAIT, SPEECH, write_wav
from PIL import Image

from emotalk_cli.cli import main
from emotalk_cli.emotions.emotion import Emotion, between
from emotalk_cli.emotions.timeline import read_timeline
from emotalk_cli.errors import InputError, UsageError, WeightsError
from emotalk_cli.media import audio
from emotalk_cli.media.audio import Recording
from emotalk_cli.settings import one_of, parse_intensity


@pytest.fixture(scope="module")
def recording(tmp_path_factory) -> Recording:
    """4 s of noise bursts."""
    noise = np.random.default_rng(0).normal(size=64000) * 0.1 * (np.sin(np.arange(64000) / 1500) > 0)
    return Recording.open(write_wav(tmp_path_factory.mktemp("sound") / "bursts.wav", noise))


def relative(recording: Recording) -> Iterator[torch.Tensor]:
    return (audio.relative(mel, recording.level) for mel in recording.mels())


def motion(talker, recording, emotion: Emotion, intensity) -> torch.Tensor:
    felt = emotion.during(intensity, recording.seconds)
    blocks = talker.eac.stream(relative(recording), felt.z, felt.mu, times=felt.times)
    return torch.cat([beta for beta, _ in blocks])


def test_interpolation_is_linear_and_constant_beyond_the_ends():
    times, values = torch.tensor([1.0, 2.0, 4.0]), torch.tensor([[0.0, 1.0], [1.0, 1.0], [5.0, 0.0]])
    at = torch.tensor([0.0, 1.0, 1.5, 2.0, 3.0, 4.0, 9.0])
    assert between(times, values, at).tolist() == [[0, 1], [0, 1], [0.5, 1], [1, 1], [3, 0.5], [5, 0], [5, 0]]
    assert between(torch.zeros(1), torch.tensor([7.0]), at).tolist() == [7.0] * 7


def test_a_constant_emotion_moves_the_face_as_one_vector_does(talker, recording):
    emotion = talker.emotion("sadly surprised")
    expected, _ = talker.eac.predict(torch.cat(list(relative(recording)), 1), emotion.z[0], 2.5)
    assert torch.equal(motion(talker, recording, emotion, 2.5), expected)
    twice = Emotion("twice", torch.tensor([0.0, 3.0]), emotion.z.repeat(2, 1), torch.full((2,), 2.5), emotion.space)
    assert torch.allclose(motion(talker, recording, twice, 1.0), expected, atol=1e-5)


def test_a_timeline_changes_the_face_and_the_change_is_smooth(talker, recording, tmp_path):
    (tmp_path / "t.csv").write_text("time,emotion,intensity\n0,happy,3\n1.2,happy,3\n2.8,angry,3\n")
    emotion = talker.emotion(timeline=tmp_path / "t.csv")
    assert list(talker.nearest(emotion)) == ["happy", "angry"]
    changing = motion(talker, recording, emotion, 2.0)
    happy, angry = (motion(talker, recording, talker.emotion(text), 3.0) for text in ("happy", "angry"))
    assert torch.allclose(changing[:15], happy[:15], atol=1e-4)
    assert torch.allclose(changing[-15:], angry[-15:], atol=1e-4)
    apart = (happy - angry).norm(dim=1).mean()
    middle = changing[45:55].mean(0)
    assert (middle - happy[45:55].mean(0)).norm() > 0.15 * apart and (
        middle - angry[45:55].mean(0)
    ).norm() > 0.15 * apart
    steps = (changing - happy).diff(dim=0).norm(dim=1)
    assert steps.max() < 0.25 * apart, "the emotion jumps"


def test_a_ramp_grows(talker, recording):
    emotion = talker.emotion("happy")
    assert emotion.during((1, 3), 4.0).mu.tolist() == [1, 3]
    growing, weak, strong = (motion(talker, recording, emotion, mu) for mu in ((1, 3), 1, 3))
    smile = 43  # mouthSmileLeft
    assert growing[:8, smile].mean() == pytest.approx(float(weak[:8, smile].mean()), abs=0.1)
    assert growing[-8:, smile].mean() > weak[-8:, smile].mean() + 0.2
    assert abs(growing[-8:, smile].mean() - strong[-8:, smile].mean()) < 0.15


def test_a_ramp_fills_only_what_a_timeline_leaves_open(talker):
    z = talker.emotion("happy").z
    emotion = Emotion("t", torch.tensor([1.0, 3.0]), z.repeat(2, 1), torch.tensor([math.nan, 2.0]), "s")
    filled = emotion.during((1, 3), 4.0)
    assert filled.times.tolist() == [0, 1, 3, 4]
    assert filled.mu.tolist() == [1, 1.5, 2, 2]
    assert torch.equal(emotion.during(2, 4.0).mu, torch.tensor([2.0, 2.0]))


def test_a_saved_emotion_is_the_same_emotion(talker, recording, tmp_path):
    emotion = talker.emotion("happy:0.5+surprised:0.5")
    emotion.save(tmp_path / "e.safetensors")
    again = talker.emotion(file=tmp_path / "e.safetensors")
    assert again.label == "happy:0.5+surprised:0.5" and torch.equal(again.z, emotion.z) and again.mu.isnan().all()
    assert torch.equal(motion(talker, recording, again, 2.0), motion(talker, recording, emotion, 2.0))


def test_emotions_of_another_space_are_refused(talker, short_speech, tmp_path):
    emotion = Emotion.constant("happy", talker.emotion("happy").z[0], "ViT-B-32/openai")
    with pytest.raises(WeightsError, match="ViT-B-32/openai"):
        talker.frames(PORTRAIT, short_speech, emotion)
    emotion.save(tmp_path / "e.safetensors")
    with pytest.raises(WeightsError, match="ViT-B-32/openai"):
        talker.emotion(file=tmp_path / "e.safetensors")


@pytest.mark.parametrize("content", [b"no tensors", b"\xff" * 100], ids=["text", "bytes"])
def test_what_is_no_emotion_file(talker, tmp_path, content):
    (tmp_path / "e.safetensors").write_bytes(content)
    with pytest.raises(InputError, match="no emotion file"):
        talker.emotion(file=tmp_path / "e.safetensors")


def test_tensors_that_are_no_emotion(talker, tmp_path):
    Emotion("x", torch.tensor([1.0, 1.0]), torch.zeros(2, 512), torch.ones(2), talker.ame.space).save(tmp_path / "e")
    with pytest.raises(InputError, match="no emotion file"):
        talker.emotion(file=tmp_path / "e")


def test_sources_exclude_each_other(talker, tmp_path):
    assert one_of(text="happy", image=None) == "text" and one_of(image=None) is None
    with pytest.raises(UsageError, match="emotion and emotion_audio exclude"):
        talker.emotion("happy", audio="a.wav")
    with pytest.raises(UsageError, match="No emotion"):
        talker.emotion()


@pytest.mark.parametrize(
    "value,expected",
    [("2", 2), ("1-3", (1, 3)), ("3 - 1.5", (3, 1.5)), ("1..3", (1, 3)), ((1, 2), (1, 2)), (2.5, 2.5), ("2-2", 2)],
)
def test_intensities(value, expected):
    assert parse_intensity(value) == expected


@pytest.mark.parametrize("value", ["", "strong", "0.5", "1-4", "1-2-3", "nan", float("nan"), (), None])
def test_intensities_out_of_range(value):
    with pytest.raises(UsageError, match="intensity"):
        parse_intensity(value)


@pytest.mark.parametrize(
    "text",
    [
        "time,emotion,intensity\n0,happy,1\n1:02.5,sadly surprised,\n",
        "\ufeffTime;Emotion;Intensity\r\n0;happy;1\r\n62,5;sadly surprised\r\n".replace("62,5", "62.5"),
        "62.5\tsadly surprised\n0\thappy\t1\n\n# comment\n",
        '[{"time": "1:02.5", "emotion": "sadly surprised"}, {"time": 0, "emotion": "happy", "intensity": 1}]',
        'time,emotion,intensity\n0,"happy",1\n00:01:02.5,"sadly surprised",""\n',
    ],
    ids=["csv", "semicolons", "no header", "json", "quotes"],
)
def test_timelines(tmp_path, text):
    (tmp_path / "t").write_text(text, encoding="utf-8")
    rows = read_timeline(tmp_path / "t")
    assert rows[0] == (0, "happy", 1)
    assert rows[1][:2] == (62.5, "sadly surprised") and math.isnan(rows[1][2])


BAD_TIMELINES = {
    "": "is empty",
    "time,emotion\n": "no rows",
    "time,feeling\n0,happy\n": "columns",
    "0,happy,1\nlater,sad,1\n": "row 2: the time 'later'",
    "0,happy,7\n": "row 1: the intensity '7'",
    "0,happy,nan\n": "intensity",
    "0,,1\n": "emotion is empty",
    "0,happy,1,2\n": "4 columns",
    "0,happy\n0,sad\n": "two rows for 0 s",
    "-1,happy\n": "columns",
    "[1, 2]": "must be a list",
    '[{"time": 0, "emotion": "happy", "mood": 1}]': "unknown 'mood'",
    '[{"time": 0, "emotion": 5}]': "emotion is empty",
    "[": "not valid JSON",
}


@pytest.mark.parametrize("text", BAD_TIMELINES)
def test_timelines_that_are_wrong(tmp_path, text):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(InputError, match="t.csv") as caught:
        read_timeline(tmp_path / "t.csv")
    assert BAD_TIMELINES[text] in str(caught.value)


def test_a_timeline_that_is_no_text(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(InputError, match="not UTF-8"):
        read_timeline(tmp_path / "t.csv")


CLI_FAILURES = {
    "two sources": (["--emotion", "happy", "--emotion-file", "{e}"], 2, "--emotion and --emotion-file exclude"),
    "no such file": (["--emotion-timeline", "none.csv"], 1, "none.csv does not exist"),
    "no emotion file": (["--emotion-file", str(PORTRAIT)], 1, "no emotion file"),
    "no timeline": (["--emotion-timeline", str(PORTRAIT)], 1, "not UTF-8"),
    "ramp": (["--emotion", "happy", "--intensity", "1-4"], 2, "--intensity 1-4"),
}


@pytest.mark.parametrize("name", CLI_FAILURES)
def test_options_of_generate_that_fail(name, talker, short_speech, tmp_path, capfd):
    options, code, words = CLI_FAILURES[name]
    talker.emotion("happy").save(tmp_path / "e.safetensors")
    arguments = [option.format(e=tmp_path / "e.safetensors") for option in options]
    out = tmp_path / "new.mp4"
    assert main(["generate", f"--face={PORTRAIT}", f"--audio={short_speech}", "-o", str(out), "-q", *arguments]) == code
    err = capfd.readouterr().err
    assert words in err and err.count("\n") == 1 and not out.exists()


def test_an_emotion_may_come_from_a_face_or_a_voice(talker, recording, portrait_picture):
    """The example portrait smiles; the shipped towers are used."""
    seen = talker.emotion(image=PORTRAIT)
    assert next(iter(talker.nearest(seen))) == "happy" and seen.origin == ("image", str(PORTRAIT))
    smile = 43  # mouthSmileLeft
    assert talker.expression(seen, 3)[0][smile] > 0.4
    heard = talker.emotion(audio=SPEECH)
    assert heard.z.shape == (1, 512) and torch.allclose(heard.z.norm(dim=1), torch.ones(1), atol=1e-4)
    assert torch.equal(heard.z, talker.emotion(audio=SPEECH).z)


def test_without_an_emotion_the_speech_says_it(talker, tmp_path):
    (tmp_path / "speech.wav").write_bytes(SPEECH.read_bytes())
    own = next(iter(talker.frames(PORTRAIT, tmp_path / "speech.wav", fps=1, size=64)))
    same = next(iter(talker.frames(PORTRAIT, SPEECH, talker.emotion(audio=SPEECH), fps=1, size=64)))
    assert np.array_equal(own, same)


def test_a_picture_without_a_face_is_no_emotion(talker, tmp_path):
    Image.fromarray(np.full((200, 200, 3), 90, np.uint8)).save(tmp_path / "grey.png")
    with pytest.raises(InputError, match="grey.png shows no face"):
        talker.emotion(image=tmp_path / "grey.png")
