"""Words instead of a recording: text becomes speech, offline, by whichever synthesiser is installed.

`hibari-tts` (extra `voices`) sounds natural; espeak-ng, where the system has it, speaks a hundred languages plainly.
"""

from __future__ import annotations

import functools
import importlib.util
import io
import shutil
import subprocess
import tempfile
import threading
import wave
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import system
from ..errors import UsageError

LONGEST = 20_000  # characters
PATIENCE = 120  # seconds that espeak-ng may take
MEMORY = 1 << 30  # bytes of its address space
MAX_SPOKEN = 256 << 20  # bytes that it may say, 100 minutes
PREFIX = "espeak:"  # of the names of its voices
_LANGUAGES = ("en-us", "en-gb", "de", "fr", "es", "it", "pt", "nl", "pl", "sv", "tr", "ru", "hi", "cmn", "ja", "ko")


@dataclass(frozen=True)
class Voice:
    """A voice that is ready to speak. name: for --voice. language: tag. engine: what makes it."""

    name: str
    language: str
    engine: str


@dataclass(frozen=True)
class Words:
    """Words to say, wherever a recording may stand. voice: None takes the preferred one. seed: of its breath noise."""

    text: str
    voice: str | None = None
    seed: int = 0


@functools.cache
def voices() -> tuple[Voice, ...]:
    """The voices at hand, the preferred one first; none needs a download."""
    found = []
    if importlib.util.find_spec("hibari") is not None:
        from hibari.voices import VOICES, voice_path

        for name, about in VOICES.items():
            try:
                voice_path(name, download_missing=False)
            except FileNotFoundError:
                continue
            found.append(Voice(name, str(about["language"]), "hibari-tts"))
    if shutil.which("espeak-ng"):
        found += [Voice(f"{PREFIX}{language}", language, "espeak-ng") for language in _LANGUAGES]
    return tuple(found)


def find(name: str | None = None) -> Voice:
    """The voice of that name, or the preferred one. Raises UsageError where there is none."""
    known = voices()
    if not known:
        raise UsageError("No voice is installed; run pip install 'emotalk[voices]', or install espeak-ng.")
    chosen = next((voice for voice in known if name in (None, voice.name)), None)
    if chosen is None:
        names = ", ".join(voice.name for voice in known[:6])
        raise UsageError(f"There is no voice {name!r}; choose one that emotalk voices lists, such as {names}.")
    return chosen


def speak(text: str, voice: str | None = None, seed: int = 0) -> tuple[np.ndarray, int]:
    """Text as speech: float32 [N] in -1..1, and its rate in Hz. The same seed gives the same samples.

    Raises UsageError for text with nothing to say, or without a voice.
    """
    chosen = find(voice)
    words = " ".join(text.split())
    if len(words) > LONGEST:
        raise UsageError(f"The text has {len(words)} characters; at most {LONGEST} can be spoken at once.")
    if not any(c.isalnum() for c in words):
        raise UsageError("The text holds no word to say; give some.")
    samples, rate = _hibari(words, chosen, seed) if chosen.engine == "hibari-tts" else _espeak(words, chosen)
    if not len(samples):
        raise UsageError(f"The voice {chosen.name} can say nothing of this text; choose another voice.")
    return samples, rate


@functools.lru_cache(1)
def _loaded(name: str) -> Any:
    from hibari import Hibari

    return Hibari(voice=name)


def _hibari(text: str, voice: Voice, seed: int) -> tuple[np.ndarray, int]:
    speaker = _loaded(voice.name)
    return np.clip(speaker(text, seed=seed), -1, 1).astype(np.float32), int(speaker.sample_rate)


def _espeak(text: str, voice: Voice) -> tuple[np.ndarray, int]:
    command = ["espeak-ng", "-v", voice.name.removeprefix(PREFIX), "--stdin", "--stdout"]
    try:
        said = _said(command, text)
        with wave.open(io.BytesIO(said)) as file:
            samples = np.frombuffer(said[44:], "<i2").astype(np.float32) / 32768
            return samples, file.getframerate()
    except (OSError, wave.Error, EOFError) as error:
        raise UsageError(f"espeak-ng could not speak as {voice.name}; choose another voice.") from error


def _said(command: list[str], text: str) -> bytes:
    """What a bounded child writes on reading a text. Raises OSError, and UsageError where it writes too much."""
    with tempfile.TemporaryFile() as words:
        words.write(text.encode())
        words.seek(0)
        child = subprocess.Popen(
            command, stdin=words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=system.environment()
        )
    system.limit(child.pid, "RLIMIT_AS", MEMORY)
    clock = threading.Timer(PATIENCE, child.kill)
    clock.start()
    try:
        assert child.stdout is not None
        with child.stdout as pipe:
            said = pipe.read(MAX_SPOKEN + 1)
        if len(said) > MAX_SPOKEN:
            raise UsageError("The text takes more than 100 minutes to say; give less at once.")
        if child.wait() != 0:
            raise OSError(f"exit code {child.returncode}")
    finally:
        clock.cancel()
        child.kill()
        child.wait()
    return said
