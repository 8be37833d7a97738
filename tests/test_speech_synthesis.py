"""Words instead of a recording."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from conftest import PORTRAIT, streams

from emotalk_cli import system
from emotalk_cli.errors import UsageError
from emotalk_cli.jobs import Job
from emotalk_cli.media import speech_synthesis
from emotalk_cli.media.provenance import Sidecar
from emotalk_cli.media.speech_synthesis import Voice, Words, find, speak, voices


@pytest.fixture
def spoken(monkeypatch):
    """A voice that needs nothing installed: a hum whose length is the text's."""
    monkeypatch.setattr(speech_synthesis, "voices", lambda: (Voice("hum", "en", "hibari-tts"), Voice("low", "en", "x")))

    def hum(text: str, voice: Voice, seed: int) -> tuple[np.ndarray, int]:
        t = np.arange(800 * len(text)) / 16000
        return (0.3 * np.sin(2 * np.pi * (120 + seed) * t)).astype(np.float32), 16000

    monkeypatch.setattr(speech_synthesis, "_hibari", hum)


def test_words_become_a_video_that_says_so(spoken, talker, tmp_path):
    job = Job.parse(
        {"face": PORTRAIT, "text": "Hello there.", "emotion": "happy", "size": "64", "out": tmp_path / "a.mp4"}
    )
    result = job.run(talker)
    assert result.seconds == pytest.approx(0.6) and "The voice is synthetic (hum)." in result.notes
    assert "with a synthetic voice" in streams(result.out)
    said = json.loads(result.sidecar.read_text())
    assert (
        said["options"]["text"] == "Hello there."
        and said["options"]["voice"] == "hum"
        and "audio" not in said["inputs"]
    )
    again = Job.of(Sidecar.read(result.sidecar)).run(talker)
    assert again.unsigned_sha256 == result.unsigned_sha256
    other = talker.generate(PORTRAIT, Words("Hello there.", seed=9), "happy", tmp_path / "b.mp4", size=64)
    assert other.sha256 != result.sha256


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"text": "a", "audio": "b.wav"}, "--text and --audio exclude each other"),
        ({"text": "a", "motion": "b.mp4"}, "--text and --motion exclude each other"),
        ({"voice": "hum", "audio": "b.wav"}, "--voice says who speaks --text"),
        ({}, "--audio is missing"),
    ],
)
def test_only_one_thing_is_said(options, words):
    with pytest.raises(UsageError) as caught:
        Job.parse({"face": "a.png", **options})
    assert words in caught.value.for_command


def test_what_cannot_be_said_is_refused(spoken):
    for text, words in (("...", "no word"), ("a" * 30_000, "at most 20000")):
        with pytest.raises(UsageError, match=words):
            speak(text)
    with pytest.raises(UsageError, match="emotalk voices"):
        find("nobody")


def test_without_a_voice_the_remedy_is_named(monkeypatch):
    monkeypatch.setattr(speech_synthesis, "voices", lambda: ())
    with pytest.raises(UsageError, match=r"emotalk\[voices\]"):
        speak("Hello")


@pytest.mark.skipif(not voices(), reason="no voice is installed")
def test_an_installed_voice_speaks_the_same_every_time():
    (one, rate), (two, _) = speak("Hello there, how are you?", seed=3), speak("Hello there, how are you?", seed=3)
    assert (one == two).all() and 0.8 < len(one) / rate < 4 and 0.05 < np.abs(one).max() <= 1


@pytest.mark.skipif(not system.HAS_LIMITS, reason="needs Linux")
def test_what_speaks_is_bounded(monkeypatch):
    """In memory, time and what it says: a child that holds 90 MB, that never ends, that says too much."""
    waits = "import sys; sys.stdin.read(); "
    for name, value, code in (
        ("MEMORY", 64 << 20, "bytearray(90 << 20)"),
        ("PATIENCE", 0.3, "import signal; signal.pause()"),
        ("MAX_SPOKEN", 1000, "print('a' * 5000)"),
    ):
        with monkeypatch.context() as patch:
            assert speech_synthesis._said([sys.executable, "-c", f"{waits}print(1)"], "a") == b"1\n"
            patch.setattr(speech_synthesis, name, value)
            with pytest.raises((OSError, UsageError), match="exit code|less at once"):
                speech_synthesis._said([sys.executable, "-c", waits + code], "a")
