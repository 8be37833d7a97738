"""Synthetic speech with known phone times: espeak-ng and flite (Debian packages) as more talkers for EAC."""

from __future__ import annotations

import ctypes
import functools
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from ...errors import InputError
from ...media.audio import SAMPLE_RATE, load
from .motion import Phone

# espeak-ng's languages whose readers make sense of Latin letters, twice where there are many speakers
LANGUAGES = (
    "en-us en-us en en-gb-scotland en-gb-x-rp en-us-nyc en-029 de de fr fr-be es es-419 it pt pt-br nl pl cs sk "
    "tr fi hu sv nb da ro hr id sw ca eu lv lt et sq af cy eo la"
).split()
VARIANTS = "f1 f2 f3 f4 f5 m1 m2 m3 m4 m5 m6 m7 m8 croak klatt klatt2 whisper whisperf".split()
FLITE = ("awb", "rms", "slt", "kal16")


class _Name(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    """`espeak_EVENT` of espeak-ng's speak_lib.h."""

    _fields_ = [
        ("type", ctypes.c_int),
        ("identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),  # ms
        ("sample", ctypes.c_int),
        ("user", ctypes.c_void_p),
        ("id", _Name),
    ]


_PHONEME, _IPA, _SYNCHRONOUS, _UTF8, _RATE, _PITCH = 7, 2, 2, 1, 1, 3
_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


@functools.cache
def _library() -> tuple[ctypes.CDLL, int]:
    try:
        library = ctypes.CDLL("libespeak-ng.so.1")
    except OSError as error:
        raise InputError("espeak-ng is not installed; install it (Debian: apt install espeak-ng).") from error
    return library, library.espeak_Initialize(_SYNCHRONOUS, 0, None, 1 | _IPA)  # 1: tell phonemes


def espeak(text: str, voice: str, rate: int = 165, pitch: int = 50) -> tuple[np.ndarray, list[Phone]]:
    """Speech of espeak-ng at 16 kHz [N] and its phones (IPA). rate: words a minute; pitch: 0..100."""
    library, native = _library()
    samples, starts = [], []

    @_Callback
    def receive(wave, count, events) -> int:
        if wave and count > 0:
            samples.append(np.ctypeslib.as_array(wave, (count,)).copy())
        i = 0
        while events[i].type:
            if events[i].type == _PHONEME:
                starts.append((events[i].audio_position / 1000, events[i].id.string.decode(errors="ignore")))
            i += 1
        return 0

    library.espeak_SetSynthCallback(receive)
    if library.espeak_SetVoiceByName(voice.encode()):
        raise InputError(f"espeak-ng has no voice {voice!r}.")
    library.espeak_SetParameter(_RATE, rate, 0)
    library.espeak_SetParameter(_PITCH, pitch, 0)
    data = text.encode()
    library.espeak_Synth(data, len(data) + 1, 0, 0, 0, _UTF8, None, None)
    wave = np.concatenate(samples).astype(np.float32) / 32768
    ends = [start for start, _ in starts[1:]] + [len(wave) / native]
    phones = [Phone(start, end, label or "_") for (start, label), end in zip(starts, ends)]
    return _resampled(wave, native), phones


def flite(text: str, voice: str, stretch: float = 1.0) -> tuple[np.ndarray, list[Phone]]:
    """Speech of flite at 16 kHz [N] and its phones (ARPAbet). stretch: of durations."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "speech.wav"
        command = ["flite", "-voice", voice, "--setf", f"duration_stretch={stretch:.2f}", "-psdur", "-t", text]
        said = subprocess.run([*command, "-o", str(file)], capture_output=True, text=True, check=True).stdout
        wave = load(file)
    phones, start = [], 0.0
    for item in said.split():
        label, _, end = item.rpartition(":")
        phones.append(Phone(start, float(end), label.upper()))
        start = float(end)
    return wave, phones


def _resampled(wave: np.ndarray, rate: int) -> np.ndarray:
    from scipy.signal import resample_poly  # takes a second to import

    common = np.gcd(rate, SAMPLE_RATE)
    return resample_poly(wave, SAMPLE_RATE // common, rate // common).astype(np.float32)


def pseudo_words(rng: np.random.Generator, count: int) -> str:
    """Words of no language, all consonants and vowels in any order, lips often closed between open vowels."""
    consonants = list("ppbbmmmfvwtdnlrszkgjhy") + ["sh", "ch", "st", "tr", "mp", "nd", "br", "pl"]
    words = []
    for _ in range(count):
        syllables = ["".join([rng.choice(consonants), rng.choice(list("aaaeiouo"))]) for _ in range(rng.integers(1, 4))]
        words.append("".join(syllables) + rng.choice(["", "", "m", "n", "p", "s", "l"]))
    return " ".join(words) + "."
