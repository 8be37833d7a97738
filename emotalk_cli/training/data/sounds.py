"""Sounds that are no speech, made by rule, for the voice activity detector: `sounds(count, seconds, seed)`.

Music of plucked, blown, bowed and sung notes, drums, ring tones, bells, sirens, breath, wind, engines, hum, rain,
clicks, applause. Crowds are made of speech (`tasks.vad`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from ...media.audio import SAMPLE_RATE, log_mel

SCALE = (0, 2, 4, 5, 7, 9, 11)  # semitones of a major scale


def _shaped(rng: np.random.Generator, count: int, response: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Noise [count] with this amplitude at each Hz."""
    spectrum = np.fft.rfft(rng.standard_normal(count))
    return np.fft.irfft(spectrum * response(np.fft.rfftfreq(count, 1 / SAMPLE_RATE)), count)


def _curve(rng: np.random.Generator, count: int, per_second: float) -> np.ndarray:
    """Smooth random curve [count] in 0..1 with so many independent values a second."""
    knots = rng.uniform(0, 1, max(4, int(count / SAMPLE_RATE * per_second) + 2))
    return np.interp(np.linspace(0, len(knots) - 1, count), np.arange(len(knots)), knots)


def _note(rng: np.random.Generator, hertz: float, count: int, kind: str) -> np.ndarray:
    """One note [count] of an instrument: plucked, blown, bowed or organ."""
    time = np.arange(count) / SAMPLE_RATE
    vibrato = {"plucked": 0.0, "organ": 0.0, "blown": 0.004, "bowed": 0.008}[kind] * rng.uniform(0, 2)
    bend = 1 + vibrato * np.sin(2 * np.pi * rng.uniform(4.5, 6.5) * time)
    phase = 2 * np.pi * hertz * np.cumsum(bend) / SAMPLE_RATE
    slope, partials = rng.uniform(0.6, 2.2), np.arange(1, rng.integers(2, 16))
    partials = partials[partials * hertz < 7500]
    wave = sum(np.sin(n * phase + rng.uniform(0, 6.3)) * rng.uniform(0.3, 1) / n**slope for n in partials)
    if kind == "plucked":
        envelope = np.exp(-time * rng.uniform(1, 8)) * np.minimum(1, time / 0.005)
    else:
        rise = rng.uniform(0.01, 0.15)
        envelope = np.minimum(1, time / rise) * np.minimum(1, (time[-1] - time) / 0.05 + 1e-3)
    return wave * envelope


def music(rng: np.random.Generator, count: int) -> np.ndarray:
    """A tune with chords, bass and drums, or some of them, of one instrument each."""
    wave, beat, root = np.zeros(count), rng.uniform(0.2, 0.7), rng.integers(0, 12)
    for part in ("tune", "chords", "bass"):
        if rng.random() < 0.3:
            continue
        kind = str(rng.choice(["plucked", "blown", "bowed", "organ"]))
        low = {"tune": 60, "chords": 48, "bass": 33}[part] + root
        step = beat * (rng.choice([0.5, 1, 2]) if part == "tune" else rng.choice([2, 4]))
        gain = rng.uniform(0.2, 1)
        for start in np.arange(0, count / SAMPLE_RATE, step):
            first = int(start * SAMPLE_RATE)
            length = min(count - first, int(step * rng.uniform(0.7, 1.5) * SAMPLE_RATE))
            degrees = rng.integers(0, 12) + (np.array([0, 2, 4]) if part == "chords" else np.zeros(1, int))
            if length < 400 or rng.random() < 0.15:
                continue
            for degree in degrees:
                key = low + 12 * (degree // 7) + SCALE[degree % 7]
                wave[first : first + length] += gain * _note(rng, 440 * 2 ** ((key - 69) / 12), length, kind)
    if rng.random() < 0.6:
        wave += rng.uniform(0.3, 1.5) * drums(rng, count, beat)
    return wave


def drums(rng: np.random.Generator, count: int, beat: float | None = None) -> np.ndarray:
    """Drums and clicks, in time or not."""
    beat = beat or rng.uniform(0.1, 0.6)
    wave, time = np.zeros(count), np.arange(SAMPLE_RATE // 2) / SAMPLE_RATE
    for start in np.arange(0, count / SAMPLE_RATE, beat):
        first = int((start + rng.uniform(0, 0.02)) * SAMPLE_RATE)
        decay = np.exp(-time * rng.uniform(10, 90))
        hit = rng.standard_normal(len(time)) if rng.random() < 0.6 else np.sin(2 * np.pi * rng.uniform(50, 250) * time)
        hit = (hit * decay)[: max(0, count - first)]
        wave[first : first + len(hit)] += hit * rng.uniform(0.2, 1)
    return wave


def tones(rng: np.random.Generator, count: int) -> np.ndarray:
    """Ring tones, dial tones, beeps, sirens and sweeps."""
    time = np.arange(count) / SAMPLE_RATE
    kind = rng.integers(5)
    if kind == 0:  # two tones together, on and off
        on = (time % rng.uniform(0.3, 6)) < rng.uniform(0.15, 3)
        return on * sum(np.sin(2 * np.pi * rng.uniform(300, 1800) * time) for _ in range(2))
    if kind == 1:  # a warbling telephone
        high = np.sin(2 * np.pi * rng.uniform(8, 25) * time) > 0
        wave = np.sin(
            2 * np.pi * np.cumsum(np.where(high, rng.uniform(900, 1600), rng.uniform(400, 900))) / SAMPLE_RATE
        )
        return wave * ((time % rng.uniform(2, 6)) < rng.uniform(1, 2.5))
    if kind == 2:  # beeps
        return np.sin(2 * np.pi * rng.uniform(200, 4000) * time) * (
            (time % rng.uniform(0.1, 1.5)) < rng.uniform(0.04, 0.4)
        )
    if kind == 3:  # siren, sweep
        octaves = np.sin(2 * np.pi * rng.uniform(0.05, 3) * time) * rng.uniform(0.2, 1.5)
        phase = 2 * np.pi * np.cumsum(rng.uniform(250, 1500) * 2**octaves) / SAMPLE_RATE
        return sum((np.sin(n * phase) / n for n in range(1, rng.integers(2, 6))), np.zeros(count))
    held = (np.sin(2 * np.pi * rng.uniform(60, 3000) * time) for _ in range(rng.integers(1, 4)))
    return sum(held, np.zeros(count))


def bells(rng: np.random.Generator, count: int) -> np.ndarray:
    """Struck metal and glass."""
    wave = np.zeros(count)
    for start in np.sort(rng.uniform(0, count, rng.integers(2, 14))).astype(int):
        time, pitch = np.arange(count - start) / SAMPLE_RATE, rng.uniform(200, 2500)
        for ratio in (1, 2.0, 2.76, 3.01, 4.1, 5.4, 6.8):
            if pitch * ratio < 7800:
                strength = rng.uniform(0.1, 1) * np.exp(-time * rng.uniform(1, 12))
                wave[start:] += strength * np.sin(2 * np.pi * pitch * ratio * time)
    return wave


def breath(rng: np.random.Generator, count: int) -> np.ndarray:
    """In and out, through nose or mouth: broad resonances without a voice, of half a second and more."""
    wave, at = np.zeros(count), int(rng.uniform(0, 1) * SAMPLE_RATE)
    while at < count - 4000:
        length = min(count - at, int(rng.uniform(0.35, 2.2) * SAMPLE_RATE))
        peaks = [(rng.uniform(300, 7000), rng.uniform(300, 2000), rng.uniform(0.2, 1)) for _ in range(4)]
        tilt = rng.uniform(0, 1.2)

        def mouth(hertz: np.ndarray, peaks=peaks, tilt=tilt) -> np.ndarray:
            shape = sum(gain * np.exp(-(((hertz - centre) / width) ** 2)) for centre, width, gain in peaks)
            return (shape + 0.05) / (1 + hertz / 500) ** tilt

        envelope = np.sin(np.pi * np.linspace(0, 1, length) ** rng.uniform(0.5, 2)) ** rng.uniform(0.7, 2)
        wave[at : at + length] += _shaped(rng, length, mouth) * envelope * rng.uniform(0.2, 1)
        at += length + int(rng.uniform(0.2, 2.0) * SAMPLE_RATE)
    return wave


def noise(rng: np.random.Generator, count: int) -> np.ndarray:
    """Noise of any colour, still, waving or gusting; through a resonance or none."""
    slope, centre, width = rng.uniform(-1.3, 0.4), rng.uniform(100, 6000), rng.uniform(100, 3000)
    resonant = rng.random() < 0.4

    def colour(hertz: np.ndarray) -> np.ndarray:
        return (hertz + 20) ** slope * (0.1 + np.exp(-(((hertz - centre) / width) ** 2)) if resonant else 1)

    wave = _shaped(rng, count, colour)
    if rng.random() < 0.4:
        time = np.arange(count) / SAMPLE_RATE
        wave = wave * (1 + rng.uniform(0.3, 1) * np.sin(2 * np.pi * rng.uniform(0.1, 8) * time))
    return wave * (1 - rng.uniform(0, 1) * _curve(rng, count, rng.uniform(0.3, 12)))


def hum(rng: np.random.Generator, count: int) -> np.ndarray:
    """Mains, fans, engines whose speed wanders, DC and rumble."""
    wander = 1 + rng.uniform(0, 0.3) * _curve(rng, count, rng.uniform(0.3, 2))
    phase = 2 * np.pi * np.cumsum(rng.uniform(25, 220) * wander) / SAMPLE_RATE
    wave = sum(
        np.sin(n * phase + rng.uniform(0, 6)) / n ** rng.uniform(0.3, 1.5) for n in range(1, rng.integers(3, 25))
    )
    return wave + rng.uniform(0.01, 1) * noise(rng, count) / 20 + rng.uniform(-5, 5) * (rng.random() < 0.3)


def rattle(rng: np.random.Generator, count: int) -> np.ndarray:
    """Applause, rain, keys, rustle: many short bursts."""
    wave = np.zeros(count)
    per_second = 10 ** rng.uniform(0.5, 2.4)
    for start in rng.uniform(0, count, int(per_second * count / SAMPLE_RATE)).astype(int):
        length = min(count - start, int(rng.uniform(0.003, 0.04) * SAMPLE_RATE))
        burst = rng.standard_normal(length) * np.exp(-np.linspace(0, 5, length)) * rng.uniform(0.1, 1)
        wave[start : start + length] += burst
    return np.convolve(wave, rng.standard_normal(24) * np.exp(-np.arange(24) / rng.uniform(2, 12)), "same")


KINDS = (music, music, music, drums, tones, tones, bells, breath, breath, noise, noise, hum, rattle)


def sounds(count: int, seconds: float, seed: int) -> Iterator[np.ndarray]:
    """`count` sounds of float32 samples at 16 kHz, of all `KINDS` in turn, some with silence in them."""
    length = round(seconds * SAMPLE_RATE)
    for i in range(count):
        rng = np.random.default_rng([seed, i])
        wave = KINDS[i % len(KINDS)](rng, length)
        if rng.random() < 0.25:
            wave = wave * (_curve(rng, length, 1.0) > rng.uniform(0.2, 0.6))
        yield (0.3 * wave / (np.abs(wave).max() + 1e-6)).astype(np.float32)


def background(count: int, seed: int, seconds: float = 7.0) -> Tensor:
    """Log-mels [count,80,100 seconds] of `sounds`, half precision, each with a mean power of 1."""
    rows = []
    for wave in sounds(count, seconds, seed):
        mel = log_mel(wave)
        rows.append((mel - (10**mel).mean().log10()).half())
    return torch.stack(rows)
