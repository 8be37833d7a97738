"""What a video is to be (`Settings`), what was made (`Result`), and the values that options may take."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from . import __version__
from .errors import UsageError
from .face.fit import CROP_SIZE
from .media import label
from .media.audio import FPS
from .motion import life

INTENSITY = (1.0, 3.0)
AS_SPOKEN = "as spoken"  # label of the emotion that is taken from the speech itself


def parse_intensity(value: float | str | Sequence[float]) -> float | tuple[float, float]:
    """2, "2", "1-3" or (1, 3) -> 2.0 or (1.0, 3.0), a ramp. Raises UsageError for anything outside 1..3."""
    try:
        if isinstance(value, str):
            ends = [float(part) for part in re.split(r"\s*(?:-|\.\.|to)\s*", value.strip())]
        else:
            ends = [float(part) for part in (value if isinstance(value, Sequence) else [value])]
    except (TypeError, ValueError):
        ends = []
    if not 1 <= len(ends) <= 2 or not all(INTENSITY[0] <= end <= INTENSITY[1] for end in ends):
        raise UsageError(f"--intensity {value} is outside 1..3; give a number such as 2, or a range such as 1-3.")
    return ends[0] if len(set(ends)) == 1 else (ends[0], ends[1])


def one_of(**sources: object) -> str | None:
    """The name of the one source that is given, None for none. Raises UsageError naming the options if there are more.

    Names are those of the arguments of `EmoTalk.emotion`; text is the option --emotion.
    """
    given = [name for name, value in sources.items() if value is not None]
    if len(given) > 1:
        options = " and ".join("--emotion" if name == "text" else f"--emotion-{name}" for name in given)
        raise UsageError(f"{options} exclude each other; give one of them, or none to take it from the speech.")
    return given[0] if given else None


GENERATORS = ("hef", "geometry")
LANDMARKS = ("builtin", "face-alignment")
POSES = ("still", "natural")
FRAMINGS = ("crop", "full")
SIZES = (64, 1024)  # px, of the cropped video
RATES = (1.0, 120.0)  # frames/s

Progress = Callable[[str, int, int], None]  # stage, done, total


@dataclasses.dataclass(frozen=True)
class Settings:
    """How a video is to look; `check` raises UsageError for values outside the stated ranges.

    intensity: 1 (slight) .. 3 (strong), or (first, last) of a ramp over the speech. fps: 1..120.
    size: side of the cropped video, even, 64..1024 px.
    pose: still | natural head motion, or a video that lends its own. blink: blinks per minute, 0..60.
    framing: crop | full picture. seed: of blinks and head motion.
    label: text in the corner of every frame, for example "AI-generated".
    """

    intensity: float | tuple[float, float] = 2.0
    fps: float = float(FPS)
    size: int = CROP_SIZE
    pose: str = "natural"
    blink: float = life.BLINKS_PER_MINUTE
    framing: str = "crop"
    seed: int = 0
    label: str = ""

    def check(self) -> None:
        parse_intensity(self.intensity)
        within("fps", self.fps, RATES)
        within("size", self.size, SIZES)
        if self.size % 2:
            raise UsageError(f"--size {self.size} is odd; give an even number of pixels.")
        within("blink", self.blink, (0.0, life.FASTEST))
        if self.pose not in POSES and not os.path.isfile(self.pose):
            raise UsageError(f"--pose {self.pose} is unknown; choose {' or '.join(POSES)}, or name a video.")
        among("framing", self.framing, FRAMINGS)
        within("seed", self.seed, (0, 2**63 - 1))
        label.check(self.label)


@dataclasses.dataclass
class Result:
    """What `generate` made.

    out, sidecar, preview, blendshapes: files. sha256: of the video; unsigned_sha256: before it was signed.
    frames: their number; seconds: length of the video; size: (width, height) px.
    motion: the take that moved the face, if any. emotion: its label, None with a take. nearest: known emotions most
    like it, with their similarity 0..1 (of a timeline, the one most like each keyframe).
    elapsed: seconds that it took; stages: the same by stage (they overlap with encoding).
    weights: file name -> SHA-256. notes: what the user should know, one sentence each.
    identical: whether it is the video that was to be made again, if that was the wish.
    """

    out: Path
    sha256: str
    unsigned_sha256: str
    sidecar: Path | None
    preview: Path | None
    blendshapes: Path | None
    face: str
    audio: str | None
    motion: str | None
    emotion: str | None
    nearest: dict[str, float]
    settings: Settings
    generator: str
    device: str
    frames: int
    seconds: float
    size: tuple[int, int]
    elapsed: float
    stages: dict[str, float]
    weights: dict[str, str]
    notes: list[str]
    identical: bool | None = None
    version: str = __version__

    def to_dict(self) -> dict:
        """Plain types only, settings inlined, ready for JSON."""
        described = dataclasses.asdict(self)
        described |= described.pop("settings")
        described |= {name: made and str(made) for name, made in described.items() if isinstance(made, Path)}
        described |= {"size": list(self.size)}
        return described


def chosen(settings: Settings | None, options: dict) -> Settings:
    chosen = dataclasses.replace(settings or Settings(), **options)
    chosen.check()
    return dataclasses.replace(chosen, intensity=parse_intensity(chosen.intensity))


def spelt(intensity: float | tuple[float, float]) -> str:
    return "-".join(f"{value:g}" for value in (intensity if isinstance(intensity, tuple) else (intensity,)))


def within(name: str, value: float, limits: tuple[float, float]) -> None:
    if not limits[0] <= value <= limits[1]:  # also refuses NaN
        raise UsageError(f"--{name} {value} is outside {limits[0]:g}..{limits[1]:g}; choose a value between them.")


def among(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UsageError(f"--{name} {value} is unknown; choose {' or '.join(choices)}.")
