"""Signs of life beside the words: blinks, glances, head and upper face in time with the voice, from a seed.

Everything is a function of the time, the seed, the loudness and melody heard so far, and the behaviour of what is felt
(`emotions.atlas`: posture, gaze, lids, liveliness), so that a `Life` may be asked block by block and gives the same
motion however the blocks are cut.

Sources: blink rate and shape after Bentivoglio et al. 1997 and Trutoiu et al. 2011 (lids close about
twice as fast as they open); head motion follows loudness as in Busso et al. 2007; brows rise with
pitch accents, though not with each, as in Cavé et al. 1996 and Flecha-García 2010. Laughter comes in bouts of about
five pulses a second (Provine & Yong 1991); eyes keep to the viewer while the head turns, as the vestibulo-ocular reflex
has them. What is felt comes on within half a second, is strongest while the voice is, and eases in silence.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..emotions.atlas import CHANNELS, FACE, FACTORS, HEAD, components
from ..emotions.atlas import WIDTH as BEHAVIOUR
from ..emotions.prototypes import COMPONENTS, speech_mask
from ..face.topology import INDEX
from ..numeric import smoothstep
from ..settings import OPTIONS, Settings
from .lips import NAMED

_PAUSE = 0.8  # s at least between two blinks
_FASTEST = 75.0  # blinks a minute of a nervous person
_SHUT = 0.05  # s that the lids stay closed, so that a frame at 25 frames/s shows it
# degrees of pitch, yaw, roll: usual size and largest; then x, y (crop fraction) and log scale
_USUAL = np.array([0.8, 1.1, 0.5, 0.0025, 0.002, 0.003])
_LARGEST = np.array([3.5, 3.8, 1.9, 0.006, 0.006, 0.008])
_NOD = 2.2  # degrees per unit of sudden loudness
_ACCENT = 0.30  # of sudden loudness and an octave's rise of the voice together, from which on a syllable is stressed
_RAISED = 0.6  # share of the stressed syllables on which the brows rise
_ONSET, _LEAN = 0.25, 0.4  # s, time constants with which what is felt comes on in the face, and in the head
_PEAK = 0.14  # by how much more of the face shows on a stressed syllable
_FADE = 0.35, 0.25  # s from which on a startle fades, and its time constant
_EYE = 28.6  # degrees that an eye turns at a coefficient of 1
_FURTHEST = 0.8  # coefficient of a look aside
_PULSE, _BOUT, _LULL = 4.6, (0.7, 1.3), (1.2, 2.8)  # Hz of laughter, s of a bout, s between two
_BOB, _SHAKE, _SWAY = 1.6, 2.6, 3.2  # degrees of a pulse of laughter, a shake of the head, a sway
_TREMBLE = 0.22, 0.07  # degrees, and coefficient of chin and brows
_STRONG = [i for i, name in enumerate(COMPONENTS) if name.startswith(("brow", "eyeSquint", "eyeWide", "cheek", "nose"))]
_UPPER = np.zeros(len(COMPONENTS), np.float32)
_UPPER[_STRONG] = 1
_LOWER = speech_mask().numpy() * np.array([name.startswith(("mouth", "jaw")) for name in COMPONENTS], np.float32)
# what a mouth may do with its lips together, and the nose above it
_SETTLING = ("noseSneer", "mouthPucker", "mouthPress", "mouthRoll", "mouthShrug", "mouthDimple", "mouthSmile",
             "mouthFrown", "mouthStretch", "mouthLeft", "mouthRight", "jawForward", "jawLeft", "jawRight")  # fmt: skip
_SETTLES = np.array([name.startswith(_SETTLING) for name in COMPONENTS], np.float32)
# what a mouth does that gapes
_OPENING = ("jawOpen", "mouthLowerDown", "mouthUpperUp", "mouthFunnel")
_OPENS = np.array([name.startswith(_OPENING) for name in COMPONENTS], np.float32)
_GAPE, _AGAPE = (0.5, 1.1), 0.7  # felt jawOpen from which on a silent mouth is open, and fully; share of it that shows
_SETTLED = 0.3, 0.5, 0.12  # s of silence until the mouth settles, s that this takes, s that leaving takes
_GAPES = 1.0  # s of silence until it gapes: between two sentences that would look like a fault
_LAUGHING = np.zeros(len(COMPONENTS), np.float32)
for _name, _value in {"mouthSmile": 0.12, "cheekRaiser": 0.3, "cheekSquint": 0.25, "eyeSquint": 0.25}.items():
    _LAUGHING[components(_name)] = _value
_TREMBLING = np.zeros(len(COMPONENTS), np.float32)
for _name, _value in {"mouthShrugLower": 1.0, "browInnerUp": 0.6, "mouthFrown": 0.4}.items():
    _TREMBLING[components(_name)] = _value


class Signs(NamedTuple):
    """What `Life.step` gives for n frames.

    closure [n]: of the lids, 0..1. pose [n,6]: of the head, relative to the portrait (rotation vector in rad, camera
    axes x right, y down, z away; x, y shift in fractions of the crop; log scale). gaze [n,2] as eyeLook coefficients:
    to the subject's left, up. brow [n]: how far they rise. vigour [n], about 0.6..1.4: factor on what the upper face
    feels. added [n,64]: what fades, laughs and trembles in the face besides. settled [n,64]: least coefficients of a
    mouth that nobody speaks with: pursed, pressed, drawn aside or agape as the emotion has it, of which speech leaves
    little.
    """

    closure: np.ndarray
    pose: np.ndarray
    gaze: np.ndarray
    brow: np.ndarray
    vigour: np.ndarray
    added: np.ndarray
    settled: np.ndarray


class _Manner:
    """One behaviour [BEHAVIOUR] taken apart: posture, gaze, factors as factors, shares, and the face's share [64]."""

    def __init__(self, behaviour: np.ndarray) -> None:
        values = dict(zip(CHANNELS[len(FACE) :], behaviour[len(FACE) :].tolist(), strict=True))
        for name, value in values.items():
            if name in FACTORS:
                values[name] = 2.0 ** max(-4.0, min(2.0, value))
            elif name not in HEAD and not name.startswith("gaze"):
                values[name] = max(0.0, min(1.0, value))
        self.pitch, self.yaw, self.roll = values["pitch"], values["yaw"], values["roll"]
        self.nearness = values["nearness"]
        # eyes stay on what they look at while the head is turned
        self.gaze = np.array([values["gaze left"] - self.yaw / _EYE, values["gaze up"] - 0.8 * self.pitch / _EYE])
        self.averted = float(np.hypot(values["gaze left"], values["gaze up"]))
        self.contact = np.array([-self.yaw, -0.8 * self.pitch]) / _EYE
        self.blink, self.slow, self.energy, self.nod = (values[n] for n in ("blink", "slow", "energy", "nod"))
        self.wander, self.accent, self.onset = values["wander"], values["accent"], values["onset"]
        self.decay, self.burst, self.tremor = values["decay"], values["burst"], values["tremor"]
        self.shake, self.sway = values["shake"], values["sway"]
        self.face = np.zeros(len(COMPONENTS), np.float32)
        self.face[: len(FACE)] = behaviour[: len(FACE)]
        low, high = _GAPE
        gape = _AGAPE * min(1.0, max(0.0, (float(self.face[INDEX["jawOpen"]]) - low) / (high - low)))
        self.mouth, self.agape = _SETTLES * self.face, gape * _OPENS * self.face  # where nobody speaks

    @property
    def posture(self) -> np.ndarray:
        """[6] as a pose in degrees: pitch down, yaw to the subject's left and roll to their left about camera axes."""
        return np.array([-self.pitch, -self.yaw, self.roll, 0.0, 0.0, self.nearness])


@dataclass(frozen=True)
class _Blink:
    start: float
    closing: float
    opening: float
    depth: float
    shut: float = _SHUT

    @property
    def end(self) -> float:
        return self.start + self.closing + self.shut + self.opening

    def closure(self, time: float) -> float:
        age = time - self.start
        if age < 0 or time >= self.end:
            return 0.0
        if age < self.closing:
            return self.depth * smoothstep(age / self.closing)
        left = max(0.0, age - self.closing - self.shut) / self.opening
        return self.depth * smoothstep(1 - left) ** 1.3


class Life:
    """Endless motion at `fps`; `rate` blinks per minute (0: none); `moving` False keeps head and gaze still.

    Raises UsageError for a rate outside 0..60.
    """

    def __init__(self, fps: float, rate: float = Settings.blink, seed: int = 0, moving: bool = True) -> None:
        OPTIONS["blink"].parse(rate)
        self.fps, self.rate, self.moving, self.frame = fps, rate, moving, 0
        blink, head, gaze, brow, bout, tremble = (np.random.default_rng([seed, stream]) for stream in range(6))
        self._blinks, self._glances, self._accents, self._bouts, self._trembles = blink, gaze, brow, bout, tremble
        self._calm = _Manner(np.zeros(BEHAVIOUR))
        self._blink: _Blink | None = None
        self._blink_due = 0.6
        # each axis is a sum of slow sines of incommensurate periods (2 to 14 s)
        self._frequency = head.uniform(0.07, 0.17, (6, 4)) * np.array([1.0, 1.6, 2.4, 3.1])
        self._phase = head.uniform(0, 2 * np.pi, (6, 4))
        self._size = head.uniform(0.7, 1.3, (6, 4)) * np.array([1.0, 0.7, 0.4, 0.25])
        self._fast = self._slow = self._activity = 0.0
        self._tune: float | None = None  # running mean of the melody, octaves
        self._raise, self._raises_again = (-9.0, 1.0, 0.0), 0.0  # start, length and height of a rise of the brows
        self._gaze, self._goal, self._look_until = np.zeros(2), np.zeros(2), float(gaze.uniform(0.8, 2.0))
        self._lean = np.zeros(6)  # posture that has been taken
        self._bout = (0.3, 0.3)  # start and end of a bout of laughter
        self._shiver = np.zeros(2)
        self._quiet, self._rest = 0.0, [0.0, 0.0]  # s since somebody spoke; share of a settled mouth, and of one agape

    def _next_blink(self, manner: _Manner) -> _Blink | None:
        if self.rate == 0:
            return None
        rate = min(_FASTEST, self.rate * manner.blink)
        mean = max(60 / rate - _PAUSE - 0.22, 0.05)  # what is left after the refractory time and the blink
        length = self._blinks.uniform(0.15, 0.27) * manner.slow
        start = self._blink_due + self._blinks.gamma(2.0, mean / 2)
        shut = _SHUT * manner.slow**1.5
        return _Blink(start, 0.32 * length, 0.68 * length, self._blinks.uniform(0.92, 1.0), shut)

    def _closure(self, time: float, manner: _Manner) -> float:
        if self._blink is None:
            self._blink = self._next_blink(manner)
        while self._blink and time >= self._blink.end:
            self._blink_due = self._blink.end + _PAUSE
            self._blink = self._next_blink(manner)
        return self._blink.closure(time) if self._blink else 0.0

    def blinks(self, count: int) -> np.ndarray:
        """Lid closure [count] in 0..1 of the next frames of a neutral face, without moving on (see `step`)."""
        times = (self.frame + np.arange(count) + 0.5) / self.fps
        return np.array([self._closure(float(time), self._calm) for time in times], np.float32)

    def step(
        self, loudness: np.ndarray, melody: np.ndarray | None = None, behaviour: np.ndarray | None = None
    ) -> Signs:
        """The next frames, one per value of loudness [n] (0..1).

        melody: [n,2] as `audio.pitch` gives it. behaviour: [n, atlas.WIDTH] of what is felt, scaled by its intensity;
        None for a neutral talker.
        """
        loudness = np.asarray(loudness, np.float64)
        count = len(loudness)
        closure, brow, vigour = np.zeros(count), np.zeros(count), np.zeros(count)
        added, settled = np.zeros((count, len(COMPONENTS))), np.zeros((count, len(COMPONENTS)))
        pose, gaze = np.zeros((count, 6)), np.zeros((count, 2))
        manner, before = self._calm, None
        for i in range(count):
            if behaviour is not None and (before is None or not np.array_equal(behaviour[i], before)):
                before = behaviour[i]
                manner = _Manner(before)
            time = (self.frame + i) / self.fps
            closure[i] = self._closure(time + 0.5 / self.fps, manner)
            head = self._head(time, float(loudness[i]), manner)
            brow[i] = manner.accent * self._brow(time, *(melody[i] if melody is not None else (0.0, 0.0)))
            fade = self._fade(time, manner)
            peak = _PEAK * manner.accent * self._stress(time)
            come = 1 - 0.4 * math.exp(-time / (_ONSET * manner.onset))
            vigour[i] = (0.88 + 0.2 * self._activity * min(manner.accent, 1.5) + peak) * come * fade
            laugh = self._laugh(time, manner)
            shiver = self._tremble(manner)
            added[i] = (fade - 1) * _LOWER * manner.face + manner.burst * laugh * _LAUGHING
            added[i] += _TREMBLE[1] * shiver[0] * _TREMBLING
            rest, agape = self._settle(float(loudness[i]))
            settled[i] = fade * (rest * manner.mouth + agape * manner.agape)
            if self.moving:
                head[0] += math.radians(_BOB * manner.burst * laugh - _TREMBLE[0] * shiver[0])
                head[1] += math.radians(_TREMBLE[0] * shiver[1])
                pose[i], gaze[i] = head, self._look(time, manner)
            else:
                gaze[i] = np.clip(manner.gaze - manner.contact, -_FURTHEST, _FURTHEST)
        self.frame += count
        return Signs(*(series.astype(np.float32) for series in (closure, pose, gaze, brow, vigour, added, settled)))

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
        return self._raise[2] * self._stress(time)

    def _settle(self, loudness: float) -> tuple[float, float]:
        """Shares 0..1 of a mouth at rest and of one agape, in a silence that lasts."""
        wait, coming, going = _SETTLED
        self._quiet = 0.0 if loudness > 0 else self._quiet + 1 / self.fps
        for i, least in enumerate((wait, _GAPES)):
            step = 1 / (coming * self.fps) if self._quiet > least else -1 / (going * self.fps)
            self._rest[i] = min(1.0, max(0.0, self._rest[i] + step))
        rest, agape = map(smoothstep, self._rest)
        return rest, agape

    def _stress(self, time: float) -> float:
        """0..1 along the rise and fall that the last stressed syllable has set off."""
        start, length, _ = self._raise
        age = (time - start) / length
        return smoothstep(min(1.0, max(0.0, age / 0.4))) * smoothstep(min(1.0, max(0.0, (1 - age) / 0.6)))

    @staticmethod
    def _fade(time: float, manner: _Manner) -> float:
        """Share of the expression that is left of one that fades."""
        gone = 1 - math.exp(-max(0.0, time - _FADE[0]) / _FADE[1])
        return 1 - manner.decay * gone

    def _laugh(self, time: float, manner: _Manner) -> float:
        """Pulses 0..1 of laughter, in bouts that die away."""
        if time >= self._bout[1] + 0.05:
            start = self._bout[1] + self._bouts.uniform(*_LULL) * (1.5 - min(manner.burst, 1.0))
            self._bout = (start, start + self._bouts.uniform(*_BOUT))
        start, end = self._bout
        if not start <= time < end:
            return 0.0
        age = (time - start) / (end - start)
        return math.sin(math.pi * _PULSE * (time - start)) ** 2 * (1 - age) ** 0.7 * min(1.0, 6 * age)

    def _tremble(self, manner: _Manner) -> np.ndarray:
        """Two smooth random series of trembling, about -1..1 times its share."""
        self._shiver = 0.35 * self._shiver + 0.65 * self._trembles.normal(0, 0.7, 2)
        return manner.tremor * self._shiver

    def _head(self, time: float, loudness: float, manner: _Manner) -> np.ndarray:
        def follow(value: float, seconds: float) -> float:
            return value + (loudness - value) * (1 - math.exp(-1 / (self.fps * seconds)))

        waves = (self._size * np.sin(2 * np.pi * self._frequency * time + self._phase)).sum(1) / 0.9
        start = (self._size * np.sin(self._phase)).sum(1) / 0.9
        drift = _USUAL * (waves - start * math.exp(-time / 2))  # zero in the first frame
        drift *= (0.6 + 0.6 * self._activity) * manner.energy
        sudden = self._fast - self._slow
        drift[0] += _NOD * sudden * manner.nod
        drift[2] += 0.25 * _NOD * sudden * math.sin(self._phase[2, 0]) * manner.nod
        self._fast, self._slow = follow(self._fast, 0.12), follow(self._slow, 0.9)
        self._activity = follow(self._activity, 1.5)
        limited = _LARGEST * np.tanh(drift / _LARGEST)
        self._lean += (manner.posture - self._lean) * (1 - math.exp(-1 / (self.fps * _LEAN * manner.onset)))
        limited += self._lean * (0.9 + 0.1 * waves[0] / 2) * (0.35 + 0.65 * self._fade(time, manner))
        limited[1] += _SHAKE * manner.shake * min(1.0, 2 * self._activity) * math.sin(2 * math.pi * 1.2 * time)
        limited[2] += _SWAY * manner.sway * math.sin(2 * math.pi * 0.31 * time)
        limited[3] += 0.004 * manner.sway * math.sin(2 * math.pi * 0.23 * time)
        limited[:3] = np.radians(limited[:3])
        return limited

    def _look(self, time: float, manner: _Manner) -> np.ndarray:
        if time >= self._look_until:
            if manner.averted > 0.08:  # mostly where the feeling looks, and short glances at the viewer
                away = self._glances.random() < 0.78
                self._goal = self._glances.normal(0, 0.04, 2) + (0.0 if away else manner.contact - manner.gaze)
                self._look_until = time + float(self._glances.uniform(*((0.8, 2.2) if away else (0.35, 0.9))))
            else:
                away = self._glances.random() < min(0.8, 0.35 * manner.wander)
                spread = min(1.8, manner.wander)
                self._goal = self._glances.normal(0, [0.10 * spread, 0.05 * spread] if away else [0.015, 0.015])
                self._goal = np.clip(self._goal, -0.25 * spread, 0.25 * spread)
                held = self._glances.uniform(0.4, 1.0) if away else self._glances.uniform(0.8, 3.0)
                self._look_until = time + float(held) / max(1.0, manner.wander) ** 0.5
        self._gaze = self._gaze + (self._goal - self._gaze) * (1 - math.exp(-1 / (self.fps * 0.02)))
        come = 1 - math.exp(-time / (_LEAN * manner.onset))
        return np.clip(self._gaze + come * manner.gaze, -_FURTHEST, _FURTHEST)


def blinks(frames: int, fps: float, rate: float = Settings.blink, seed: int = 0) -> np.ndarray:
    """Lid closure [frames] in 0..1 of a neutral face, `rate` blinks per minute."""
    return Life(fps, rate, seed).blinks(frames)


def head_pose(frames: int, fps: float, loudness: np.ndarray, seed: int = 0) -> np.ndarray:
    """Head pose [frames,6] relative to the portrait (see `Life.step`), loudness [frames] in 0..1."""
    return Life(fps, 0, seed).step(np.asarray(loudness)[:frames]).pose


def lively(beta: np.ndarray, signs: Signs) -> np.ndarray:
    """A face's coefficients [n,64] in time with the voice: the upper face by `Signs.vigour`, `Signs.added`, and a mouth
    at rest (`Signs.settled`)."""
    factors = 1 + (signs.vigour[:, None] - 1) * _UPPER
    face = np.maximum(beta * factors + signs.added, signs.settled)
    return np.concatenate([face[:, :NAMED].clip(0), beta[:, NAMED:]], 1)


def settled(behaviour: np.ndarray) -> np.ndarray:
    """Least coefficients [64] of a mouth that has long been silent, of a behaviour [atlas.WIDTH] (see `Signs`)."""
    manner = _Manner(np.asarray(behaviour))
    mouth: np.ndarray = manner.mouth + manner.agape
    return mouth


def lids(closure: np.ndarray, beta: np.ndarray) -> np.ndarray:
    """Closure [n] that a blink adds to a face's coefficients [n,64], whose lids may droop already."""
    return closure * (1 - beta[:, components("eyeBlink")].mean(1).clip(0, 1))


def posture(behaviour: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Head pose [6] and gaze [2] that a behaviour [atlas.WIDTH] settles in (see `Signs`)."""
    manner = _Manner(np.asarray(behaviour))
    pose = manner.posture
    pose[:3] = np.radians(pose[:3])
    return pose.astype(np.float32), manner.gaze.astype(np.float32)


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
