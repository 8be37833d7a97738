"""Signs of life beside the words: blinks, glances, small head movements, brows on stressed syllables, from a seed.

Everything is a function of the time, the seed and the loudness and melody heard so far, so that a
`Life` may be asked block by block and gives the same motion however the blocks are cut.

Sources: blink rate and shape after Bentivoglio et al. 1997 and Trutoiu et al. 2011 (lids close about
twice as fast as they open); head motion follows loudness as in Busso et al. 2007; brows rise with
pitch accents, though not with each, as in Cavé et al. 1996 and Flecha-García 2010. What is felt comes
on within half a second, is strongest while the voice is, and eases in silence (`Signs.vigour`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..emotions.prototypes import COMPONENTS
from ..numeric import smoothstep
from ..settings import OPTIONS, Settings

_PAUSE = 0.8  # s at least between two blinks
_SHUT = 0.05  # s that the lids stay closed, so that a frame at 25 frames/s shows it
# degrees of pitch, yaw, roll: usual size and largest; then x, y (crop fraction) and log scale
_USUAL = np.array([0.8, 1.1, 0.5, 0.0025, 0.002, 0.003])
_LARGEST = np.array([3.5, 3.8, 1.9, 0.006, 0.006, 0.008])
_NOD = 2.2  # degrees per unit of sudden loudness
_ACCENT = 0.30  # of sudden loudness and an octave's rise of the voice together, from which on a syllable is stressed
_RAISED = 0.6  # share of the stressed syllables on which the brows rise
_ONSET = 0.25  # s, time constant with which what is felt comes on
_STRONG = [i for i, name in enumerate(COMPONENTS) if name.startswith(("brow", "eyeSquint", "eyeWide", "cheek", "nose"))]


class Signs(NamedTuple):
    """What `Life.step` gives for n frames.

    closure [n]: of the lids, 0..1. pose [n,6]: of the head, relative to the portrait (rotation vector in rad, camera
    axes x right, y down, z away; x, y shift in fractions of the crop; log scale). gaze [n,2] in about -0.25..0.25: to
    the subject's left, up. brow [n]: how far they rise, 0..0.3. vigour [n], about 0.6..1.08: factor on what the upper
    face feels.
    """

    closure: np.ndarray
    pose: np.ndarray
    gaze: np.ndarray
    brow: np.ndarray
    vigour: np.ndarray


@dataclass(frozen=True)
class _Blink:
    start: float
    closing: float
    opening: float
    depth: float

    @property
    def end(self) -> float:
        return self.start + self.closing + _SHUT + self.opening

    def closure(self, time: float) -> float:
        age = time - self.start
        if age < 0 or time >= self.end:
            return 0.0
        if age < self.closing:
            return self.depth * smoothstep(age / self.closing)
        left = max(0.0, age - self.closing - _SHUT) / self.opening
        return self.depth * smoothstep(1 - left) ** 1.3


class Life:
    """Endless motion at `fps`; `rate` blinks per minute (0: none); `moving` False keeps head and gaze still.

    Raises UsageError for a rate outside 0..60.
    """

    def __init__(self, fps: float, rate: float = Settings.blink, seed: int = 0, moving: bool = True) -> None:
        OPTIONS["blink"].parse(rate)
        self.fps, self.rate, self.moving, self.frame = fps, rate, moving, 0
        blink, head, gaze, brow = (np.random.default_rng([seed, stream]) for stream in range(4))
        self._blinks, self._glances, self._accents = blink, gaze, brow
        self._blink = self._next_blink(0.6)
        # each axis is a sum of slow sines of incommensurate periods (2 to 14 s)
        self._frequency = head.uniform(0.07, 0.17, (6, 4)) * np.array([1.0, 1.6, 2.4, 3.1])
        self._phase = head.uniform(0, 2 * np.pi, (6, 4))
        self._size = head.uniform(0.7, 1.3, (6, 4)) * np.array([1.0, 0.7, 0.4, 0.25])
        self._fast = self._slow = self._activity = 0.0
        self._tune: float | None = None  # running mean of the melody, octaves
        self._raise, self._raises_again = (-9.0, 1.0, 0.0), 0.0  # start, length and height of a rise of the brows
        self._gaze, self._goal, self._look_until = np.zeros(2), np.zeros(2), float(gaze.uniform(0.8, 2.0))

    def _next_blink(self, earliest: float) -> _Blink | None:
        if self.rate == 0:
            return None
        mean = max(60 / self.rate - _PAUSE - 0.22, 0.05)  # what is left after the refractory time and the blink
        length = self._blinks.uniform(0.15, 0.27)
        start = earliest + self._blinks.gamma(2.0, mean / 2)
        return _Blink(start, 0.32 * length, 0.68 * length, self._blinks.uniform(0.92, 1.0))

    def blinks(self, count: int) -> np.ndarray:
        """Lid closure [count] in 0..1 of the next frames, without moving on (see `step`)."""
        return self._closures(self.frame, count)

    def _closures(self, first: int, count: int) -> np.ndarray:
        closure = np.zeros(count, np.float32)
        for i in range(count):
            time = (first + i + 0.5) / self.fps
            while self._blink and time >= self._blink.end:
                self._blink = self._next_blink(self._blink.end + _PAUSE)
            closure[i] = self._blink.closure(time) if self._blink else 0.0
        return closure

    def step(self, loudness: np.ndarray, melody: np.ndarray | None = None) -> Signs:
        """The next frames, one per value of loudness [n] (0..1); melody [n,2] as `audio.pitch` gives it."""
        loudness = np.asarray(loudness, np.float64)
        count = len(loudness)
        closure = self._closures(self.frame, count)
        pose, gaze, brow, vigour = np.zeros((count, 6)), np.zeros((count, 2)), np.zeros(count), np.zeros(count)
        for i in range(count):
            time = (self.frame + i) / self.fps
            head = self._head(time, float(loudness[i]))
            brow[i] = self._brow(time, *(melody[i] if melody is not None else (0.0, 0.0)))
            vigour[i] = (0.88 + 0.2 * self._activity) * (1 - 0.4 * math.exp(-time / _ONSET))
            if self.moving:
                pose[i], gaze[i] = head, self._look(time)
        self.frame += count
        return Signs(closure, *(series.astype(np.float32) for series in (pose, gaze, brow, vigour)))

    def _brow(self, time: float, tune: float, voiced: float) -> float:
        rise = 0.0
        if voiced > 0.5:
            self._tune = tune if self._tune is None else self._tune
            rise = max(0.0, tune - self._tune)
            self._tune += (tune - self._tune) * (1 - math.exp(-1 / (self.fps * 1.2)))
        if self._fast - self._slow + rise > _ACCENT and time >= self._raises_again:
            length, height = self._accents.uniform(0.45, 0.75), self._accents.uniform(0.10, 0.28)
            if self._accents.random() < _RAISED:
                self._raise = (time, length, height)
            self._raises_again = time + length + 0.3
        start, length, height = self._raise
        age = (time - start) / length
        return height * smoothstep(min(1.0, age / 0.4)) * smoothstep(min(1.0, max(0.0, (1 - age) / 0.6)))

    def _head(self, time: float, loudness: float) -> np.ndarray:
        def follow(value: float, seconds: float) -> float:
            return value + (loudness - value) * (1 - math.exp(-1 / (self.fps * seconds)))

        waves = (self._size * np.sin(2 * np.pi * self._frequency * time + self._phase)).sum(1) / 0.9
        start = (self._size * np.sin(self._phase)).sum(1) / 0.9
        drift = _USUAL * (waves - start * math.exp(-time / 2))  # zero in the first frame
        drift *= 0.6 + 0.6 * self._activity
        drift[0] += _NOD * (self._fast - self._slow)
        drift[2] += 0.25 * _NOD * (self._fast - self._slow) * math.sin(self._phase[2, 0])
        self._fast, self._slow = follow(self._fast, 0.12), follow(self._slow, 0.9)
        self._activity = follow(self._activity, 1.5)
        limited = _LARGEST * np.tanh(drift / _LARGEST)
        limited[:3] = np.radians(limited[:3])
        return limited

    def _look(self, time: float) -> np.ndarray:
        if time >= self._look_until:
            away = self._glances.random() < 0.35
            self._goal = self._glances.normal(0, [0.10, 0.05]) if away else self._glances.normal(0, 0.015, 2)
            self._goal = np.clip(self._goal, -0.25, 0.25)
            self._look_until = time + float(
                self._glances.uniform(0.4, 1.0) if away else self._glances.uniform(0.8, 3.0)
            )
        self._gaze = self._gaze + (self._goal - self._gaze) * (1 - math.exp(-1 / (self.fps * 0.02)))
        return self._gaze


def blinks(frames: int, fps: float, rate: float = Settings.blink, seed: int = 0) -> np.ndarray:
    """Lid closure [frames] in 0..1, `rate` blinks per minute."""
    return Life(fps, rate, seed).blinks(frames)


def head_pose(frames: int, fps: float, loudness: np.ndarray, seed: int = 0) -> np.ndarray:
    """Head pose [frames,6] relative to the portrait (see `Life.step`), loudness [frames] in 0..1."""
    return Life(fps, 0, seed).step(np.asarray(loudness)[:frames]).pose


def vigour(signs: Signs) -> np.ndarray:
    """Factors [n,64] on a face's coefficients: what is felt shows more while the voice is strong."""
    factors = np.ones((len(signs.vigour), len(COMPONENTS)), np.float32)
    factors[:, _STRONG] = signs.vigour[:, None]
    return factors


def eyes(closure: np.ndarray, gaze: np.ndarray, brow: np.ndarray | float = 0.0) -> np.ndarray:
    """Coefficients [n,64] to add to a face's own: lids from closure [n], eyes from gaze [n,2], raised brows [n]."""
    beta = np.zeros((len(closure), len(COMPONENTS)), np.float32)
    left, up = gaze[:, 0], gaze[:, 1]
    for name, value in {
        "eyeBlinkLeft": closure,
        "eyeBlinkRight": closure,
        "eyeLookOutLeft": left,
        "eyeLookInRight": left,
        "eyeLookInLeft": -left,
        "eyeLookOutRight": -left,
        "eyeLookUpLeft": up,
        "eyeLookUpRight": up,
        "eyeLookDownLeft": -up,
        "eyeLookDownRight": -up,
        "browInnerUp": brow,
        "browOuterUpLeft": 0.8 * np.asarray(brow),
        "browOuterUpRight": 0.8 * np.asarray(brow),
    }.items():
        beta[:, COMPONENTS.index(name)] = np.clip(value, 0, 1)
    return beta
