"""Signs of life that speech does not decide: blinks, glances and small head movements, from a seed.

Everything is a function of the time, the seed and (for the head) the loudness heard so far, so that
a `Life` may be asked block by block and gives the same motion however the blocks are cut.

Sources: blink rate and shape after Bentivoglio et al. 1997 and Trutoiu et al. 2011 (lids close about
twice as fast as they open); head motion follows loudness as in Busso et al. 2007.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .emotions import COMPONENTS
from .errors import UsageError

BLINKS_PER_MINUTE = 15.0
FASTEST = 60.0  # blinks per minute

_PAUSE = 0.8  # s at least between two blinks
_SHUT = 0.05  # s that the lids stay closed, so that a frame at 25 frames/s shows it
# degrees of pitch, yaw, roll: usual size and largest; then x, y (crop fraction) and log scale
_USUAL = np.array([0.8, 1.1, 0.5, 0.0025, 0.002, 0.003])
_LARGEST = np.array([3.5, 3.8, 1.9, 0.006, 0.006, 0.008])
_NOD = 2.2  # degrees per unit of sudden loudness


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
            return self.depth * _ease(age / self.closing)
        left = max(0.0, age - self.closing - _SHUT) / self.opening
        return self.depth * _ease(1 - left) ** 1.3


def _ease(x: float) -> float:
    return x * x * (3 - 2 * x)


class Life:
    """Endless motion at `fps`; `rate` blinks per minute (0: none); `moving` False keeps head and gaze still.

    Raises UsageError for a rate outside 0..60.
    """

    def __init__(self, fps: float, rate: float = BLINKS_PER_MINUTE, seed: int = 0, moving: bool = True) -> None:
        if not 0 <= rate <= FASTEST:
            raise UsageError(f"--blink {rate:g} is outside 0..{FASTEST:g} blinks per minute; choose a rate between.")
        self.fps, self.rate, self.moving, self.frame = fps, rate, moving, 0
        blink, head, gaze = (np.random.default_rng([seed, stream]) for stream in range(3))
        self._blinks, self._glances = blink, gaze
        self._blink = self._next_blink(0.6)
        # each axis is a sum of slow sines of incommensurate periods (2 to 14 s)
        self._frequency = head.uniform(0.07, 0.17, (6, 4)) * np.array([1.0, 1.6, 2.4, 3.1])
        self._phase = head.uniform(0, 2 * np.pi, (6, 4))
        self._size = head.uniform(0.7, 1.3, (6, 4)) * np.array([1.0, 0.7, 0.4, 0.25])
        self._fast = self._slow = self._activity = 0.0
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

    def step(self, loudness: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The next frames, one per value of loudness [n] (0..1).

        Returns lid closure [n] in 0..1, head pose [n,6] relative to the portrait (rotation vector in rad, camera
        axes x right, y down, z away; x, y shift in fractions of the crop; log scale), and gaze [n,2] in about
        -0.25..0.25 (to the subject's left, up).
        """
        loudness = np.asarray(loudness, np.float64)
        count = len(loudness)
        closure = self._closures(self.frame, count)
        pose, gaze = np.zeros((count, 6)), np.zeros((count, 2))
        if self.moving:
            for i in range(count):
                time = (self.frame + i) / self.fps
                pose[i] = self._head(time, float(loudness[i]))
                gaze[i] = self._look(time)
        self.frame += count
        return closure, pose.astype(np.float32), gaze.astype(np.float32)

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


def blinks(frames: int, fps: float, rate: float = BLINKS_PER_MINUTE, seed: int = 0) -> np.ndarray:
    """Lid closure [frames] in 0..1, `rate` blinks per minute."""
    return Life(fps, rate, seed).blinks(frames)


def head_pose(frames: int, fps: float, loudness: np.ndarray, seed: int = 0) -> np.ndarray:
    """Head pose [frames,6] relative to the portrait (see `Life.step`), loudness [frames] in 0..1."""
    return Life(fps, 0, seed).step(np.asarray(loudness)[:frames])[1]


def eyes(closure: np.ndarray, gaze: np.ndarray) -> np.ndarray:
    """Coefficients [n,64] to add to a face's own: lids from closure [n], eyes from gaze [n,2] (subject's left, up)."""
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
    }.items():
        beta[:, COMPONENTS.index(name)] = np.clip(value, 0, 1)
    return beta
