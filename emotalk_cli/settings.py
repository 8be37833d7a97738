"""What a video is to be (`Settings`, `Outputs`), what was made (`Result`), and the one table of options (`OPTIONS`).

The command line, batch columns, sidecars and the README's table all come from `OPTIONS`. Nothing here imports torch,
so that a wrong option is refused at once.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from . import __version__
from .constants import CROP_SIZE, FPS, MAX_SECONDS
from .errors import UsageError, did_you_mean
from .media.formats import CODECS, ENCODERS, SUFFIXES

if TYPE_CHECKING:
    import numpy as np

    from .media.provenance import Signer

Progress = Callable[[str, int, int], None]  # stage, done, total
Intensity = float | tuple[float, float]  # one value, or the first and last of a ramp over the speech

AS_SPOKEN = "as spoken"  # label of the emotion that is taken from the speech itself
AS_RECORDED = "as recorded"  # of a take, in the place of an emotion
INTENSITY = (1.0, 3.0)
GENERATORS = ("hef", "geometry")
LANDMARKS = ("builtin", "face-alignment")
RENDERERS = ("builtin", "pytorch3d")
ENGINES = ("auto", "eager", "compile", "graphs")
DEVICES = ("auto", "cpu", "cuda", "mps")
POSES = ("still", "natural")
FRAMINGS = ("crop", "full")
BACKGROUNDS = ("keep", "transparent")
VIDEO_SUFFIXES = tuple(SUFFIXES)
TAKE_SUFFIXES = (".csv", ".json")  # of blendshape files
TAKE_RATES = (25.0, 30.0, 60.0)  # frames/s of blendshape files that are written
LONGEST_LABEL = 60  # characters
EMOTION_SOURCES = ("text", "image", "audio", "video", "file", "timeline")  # the arguments of `EmoTalk.emotion`

_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")
_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+)?")
_KINDS: dict[type, str] = {bool: "yes or no", int: "whole number", float: "number", str: "text", Path: "path"}


@dataclasses.dataclass(frozen=True)
class Settings:
    """How a video is to look; `check` raises UsageError for values outside the stated ranges.

    intensity: 1 (slight) .. 3 (strong), or (first, last) of a ramp over the speech. fps: 1..120.
    size: side of the cropped video, even, 64..1024 px.
    pose: still | natural head motion, or a video that lends its own. blink: blinks per minute, 0..60.
    framing: crop | full picture. seed: of blinks and head motion.
    label: text in the corner of every frame, for example "AI-generated". background: keep | transparent, a colour, or
    a picture. codec: auto, by the output's ending, or one of `media.formats`. encoder: of H.264, auto | x264 | nvenc.
    loop, freeze: of a film that is shorter than the speech, what follows its end; without, the video ends with it.
    """

    intensity: Intensity = 2.0
    fps: float = float(FPS)
    size: int = CROP_SIZE
    pose: str = "natural"
    blink: float = 15.0
    framing: str = "crop"
    seed: int = 0
    label: str = ""
    background: str = "keep"
    codec: str = "auto"
    encoder: str = "auto"
    loop: bool = False
    freeze: bool = False

    def __post_init__(self) -> None:
        if self.loop and self.freeze:
            raise UsageError("--loop and --freeze exclude each other; give one of them.")

    @property
    def alpha(self) -> bool:
        """Whether frames are transparent where the person is not."""
        return self.background == "transparent"

    def check(self) -> None:
        """Raises UsageError that names the option."""
        for field in dataclasses.fields(self):
            OPTIONS[field.name].parse(getattr(self, field.name))


@dataclasses.dataclass(frozen=True)
class Outputs:
    """What `EmoTalk.generate` writes beside the video, and how.

    preview: contact sheet, .png. blendshapes: the motion, .csv or .json (`motion.livelink`), at blendshapes_fps: 25, 30
    or 60. sidecar: write `<out>.json`, which `emotalk generate --from` reads. overwrite: else an output that exists is
    an error. resume: go on with an interrupted video. signer: adds a C2PA manifest. show: called with every new frame,
    uint8 [H,W,3], for whoever wants to watch. max_seconds: of sound or film; longer ones are refused.
    """

    preview: str | os.PathLike[str] | None = None
    blendshapes: str | os.PathLike[str] | None = None
    blendshapes_fps: float = TAKE_RATES[-1]
    sidecar: bool = True
    overwrite: bool = True
    resume: bool = False
    signer: Signer | None = None
    show: Callable[[np.ndarray], None] | None = None
    max_seconds: float = MAX_SECONDS


class SettingsOptions(TypedDict, total=False):
    """Fields of `Settings` as keyword arguments."""

    intensity: Intensity | str
    fps: float
    size: int
    pose: str | os.PathLike[str]
    blink: float
    framing: str
    seed: int
    label: str
    background: str | os.PathLike[str]
    codec: str
    encoder: str
    loop: bool
    freeze: bool


class GenerateOptions(SettingsOptions, total=False):
    """Fields of `Settings` and `Outputs` as keyword arguments."""

    preview: str | os.PathLike[str] | None
    blendshapes: str | os.PathLike[str] | None
    blendshapes_fps: float
    sidecar: bool
    overwrite: bool
    resume: bool
    signer: Signer | None
    show: Callable[[np.ndarray], None] | None
    max_seconds: float


@dataclasses.dataclass
class Result:
    """What `generate` made.

    out, sidecar, preview, blendshapes: files. sha256: of the video; unsigned_sha256: before it was signed.
    frames: their number; seconds: length of the video; size: (width, height) px. inputs: option -> SHA-256 of the file.
    motion: the take that moved the face, if any. emotion: its label, None with a take. nearest: known emotions most
    like it, with their similarity 0..1 (of a timeline, the one most like each keyframe).
    elapsed: seconds that it took; stages: the same by stage, of all threads (more than that passed).
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
    inputs: dict[str, str]
    elapsed: float
    stages: dict[str, float]
    weights: dict[str, str]
    notes: list[str]
    identical: bool | None = None
    version: str = __version__

    def to_dict(self) -> dict[str, Any]:
        """Plain types only, settings inlined, ready for JSON."""
        described = dataclasses.asdict(self)
        described |= described.pop("settings")
        described |= {name: made and str(made) for name, made in described.items() if isinstance(made, Path)}
        described |= {"size": list(self.size)}
        return described


# -- The table of options -----------------------------------------------------------------------------------------

# What an option decides: an input file or text; how frames look (a field of `Settings`); which models make them; what
# is written and where; or only what the command does. The first three are what a sidecar holds.
Role = Literal["input", "look", "model", "output", "command"]
GROUPS = ("Input", "Emotion", "Motion", "Picture", "Output", "Models and speed", "Checks")


@dataclasses.dataclass(frozen=True)
class Option:
    """One option of `emotalk generate`.

    name: as a keyword. help: of `--help`. note: what the README says beyond that. shown: the default in words.
    choices, limits: what values may be. flags: short forms. suffixes: of a file that is written.
    """

    name: str
    kind: type
    group: str
    role: Role
    help: str
    default: Any = None
    shown: str = ""
    note: str = ""
    choices: tuple[Any, ...] = ()
    limits: tuple[float, float] | None = None
    flags: tuple[str, ...] = ()
    metavar: str = ""
    suffixes: tuple[str, ...] = ()

    @property
    def flag(self) -> str:
        """As on the command line."""
        return f"--{self.name.replace('_', '-')}"

    def parse(self, value: Any) -> Any:
        """A value of this option's kind from itself or from text; checks choices and limits. Raises UsageError."""
        if self.name == "intensity":
            return parse_intensity(value)
        converted = self._converted(value)
        if self.limits is not None and not self.limits[0] <= converted <= self.limits[1]:  # also refuses NaN
            low, high = self.limits
            raise UsageError(f"{self.flag} {value} is outside {low:g}..{high:g}; choose a value between them.")
        if self.choices and converted not in self.choices:
            known = ", ".join(f"{choice:g}" if self.kind is float else str(choice) for choice in self.choices)
            meant = did_you_mean(str(value), map(str, self.choices))
            raise UsageError(f"{self.flag} {value} is unknown; choose one of {known}.{meant}")
        check = _CHECKS.get(self.name)
        if check is not None:
            check(converted)
        return converted

    def _converted(self, value: Any) -> Any:
        wrong = UsageError(f"{self.flag} {value!r} is no {_KINDS[self.kind]}; correct it.")
        if isinstance(value, os.PathLike) and self.kind in (str, Path):
            value = os.fspath(value)
        if isinstance(value, bool) and self.kind in (int, float):
            raise wrong
        if not isinstance(value, str | int | float):
            raise wrong
        text = str(value).strip() if self.kind is not Path else str(value)
        if self.kind is bool:
            if text.lower() not in _TRUE + _FALSE:
                raise wrong
            return text.lower() in _TRUE
        if self.kind is int and isinstance(value, float) and value.is_integer():
            return int(value)
        try:
            return self.kind(text)
        except ValueError as error:
            raise wrong from error


def _table(*options: Option) -> dict[str, Option]:
    return {option.name: option for option in options}


OPTIONS = _table(
    Option(
        *("face", Path, "Input", "input", "Portrait: any picture that shows a face; or a film."),
        flags=("-f",),
        shown="required",
        note="JPEG, PNG, WebP, GIF, TIFF, AVIF ...; the largest face in it speaks. At least 48 px of face, 175 million "
        "pixels at most.",
    ),
    Option(
        *("face_index", int, "Input", "input", "Which of several faces, counted from the left, from 0."),
        shown="the largest",
        limits=(0, 999),
        metavar="N",
    ),
    Option(
        *(
            "face_at",
            str,
            "Input",
            "input",
            "Or the face at this place: x,y in px, or in parts of the picture (0.25,0.4).",
        ),
        metavar="X,Y",
    ),
    Option(
        *("also", str, "Input", "input", "Another speaker in the same picture, as JSON of these options."),
        note="Or give --face-index (or --face-at), --audio and --emotion again: --face-index 0 --audio a.wav "
        '--face-index 1 --audio b.wav. In a batch column: {"face_index": 1, "audio": "b.wav"}, or a list of such. All '
        "are heard; the whole picture is made; no sidecar.",
        metavar="JSON",
    ),
    Option(
        *("audio", Path, "Input", "input", "Speech: any audio file, or a video with sound."),
        flags=("-a",),
        shown="required",
        note="Anything that ffmpeg reads; at least 0.1 s. - is standard input.",
    ),
    Option(
        *("text", str, "Input", "input", "Words to say instead of a recording, by a synthetic voice (extra voices)."),
        note="The video's metadata and the result say that the voice is synthetic.",
    ),
    Option(
        *("voice", str, "Input", "input", "Who says --text: a name that 'emotalk voices' lists."),
        shown="the first of them",
        metavar="NAME",
    ),
    Option(
        *("emotion", str, "Emotion", "input", "What to feel, in words: 'happy', 'sadly surprised'."),
        flags=("-e",),
        shown="the speech's own",
        note="Or a blend, word:weight+word:weight. Text that names no emotion leaves the face near neutral.",
    ),
    Option("emotion_image", Path, "Emotion", "input", "Feel what the face in this picture shows."),
    Option("emotion_audio", Path, "Emotion", "input", "Feel what the voice in this recording says."),
    Option(
        *("emotion_video", Path, "Emotion", "input", "Feel, moment by moment, what the face in this film shows."),
        note="Read two and a half times a second; its last moment stays.",
    ),
    Option("emotion_file", Path, "Emotion", "input", "Feel what 'emotalk emotion ... --save' wrote, .safetensors."),
    Option(
        *("emotion_timeline", Path, "Emotion", "input"),
        "Change along the speech: CSV or JSON of time, emotion, intensity.",
        note="Time in seconds or m:ss.",
    ),
    Option(
        *("intensity", str, "Emotion", "look", "How strongly, from 1 to 3; or a range such as 1-3 that grows."),
        default=Settings.intensity,
        metavar="1..3",
    ),
    Option(
        *("motion", Path, "Motion", "input"),
        "Move as recorded instead: a blendshape file (.csv, .json) or a video, whose sound is used too.",
    ),
    Option(
        *("pose", str, "Motion", "look", "Head motion: still, natural, or a video that lends its own."),
        default=Settings.pose,
        note="A video's is held within about 15°.",
        metavar="still|natural|VIDEO",
    ),
    Option(
        *("blink", float, "Motion", "look", "Blinks per minute, 0 to 60."),
        default=Settings.blink,
        limits=(0.0, 60.0),
        metavar="RATE",
    ),
    Option(
        *("loop", bool, "Motion", "look", "With a film as --face that is shorter than the speech: begin it again."),
        default=False,
        note="Without --loop and --freeze the video ends with the film; a longer film ends with the speech.",
    ),
    Option(
        *("freeze", bool, "Motion", "look", "With a film as --face that is shorter: go on with its last picture."),
        default=False,
    ),
    Option(
        *("seed", int, "Motion", "look", "Of blinks and head motion; the same seed gives the same file."),
        default=Settings.seed,
        limits=(0, 2**63 - 1),
        metavar="N",
    ),
    Option(
        *("framing", str, "Picture", "look", "crop: the face; full: the whole picture."),
        default=Settings.framing,
        choices=FRAMINGS,
        note="A crop stays within the picture's edges; the whole picture has at most 1920 px.",
    ),
    Option(
        *("size", int, "Picture", "look", "Side of the cropped video in px, even, 64 to 1024."),
        default=Settings.size,
        limits=(64, 1024),
        metavar="PX",
        note="At 256 and below the generator leaves its last block out, which halves its time.",
    ),
    Option(
        *("fps", float, "Picture", "look", "Frames per second, 1 to 120."),
        default=Settings.fps,
        shown="25, or a film's own",
        limits=(1.0, 120.0),
        metavar="RATE",
    ),
    Option(
        *("label", str, "Picture", "look", "Text in the corner of every frame, for example 'AI-generated'."),
        default=Settings.label,
    ),
    Option(
        *("background", str, "Picture", "look"),
        "Behind the person: keep what is there; transparent; a colour such as white or #00ff00; or a picture.",
        default=Settings.background,
        note="The person is cut out, hair included, by a small network, or by the picture's own transparency.",
        metavar="keep|transparent|COLOR|IMAGE",
    ),
    Option(
        *("codec", str, "Output", "look", "h264, h265, vp9, prores, mpegts, gif, apng or png (a sequence)."),
        default=Settings.codec,
        shown="by the ending of --out",
        choices=CODECS,
        metavar="NAME",
        note="vp9, prores, gif, apng and png can be transparent; the last three have no sound. See docs/formats.md.",
    ),
    Option(
        *("encoder", str, "Output", "look", "Of H.264: auto, x264 (processor) or nvenc (NVIDIA card)."),
        default=Settings.encoder,
        choices=ENCODERS,
        note="auto: nvenc where a card makes the frames and can encode them, else x264; the sidecar says which.",
    ),
    Option(
        *("out", Path, "Output", "output"),
        "The video: .mp4, .mov, .webm, .ts, .gif, .apng, frame-%06d.png; a folder; - for stdout.",
        flags=("-o",),
        shown="<face>--<audio>--<emotion>.mp4 beside the audio",
        suffixes=VIDEO_SUFFIXES,
    ),
    Option(
        *("no_overwrite", bool, "Output", "output", "Fail if the output exists."),
        default=False,
    ),
    Option(
        *("resume", bool, "Output", "output", "Go on with an interrupted video (longer than half a minute)."),
        default=False,
    ),
    Option(
        *("preview", Path, "Output", "output", "Also write a contact sheet of eight moments, .png."),
        suffixes=(".png",),
    ),
    Option(
        *("export_blendshapes", Path, "Output", "output"),
        "Also write the motion as ARKit blendshapes: .csv as Live Link Face writes it, or .json.",
        suffixes=TAKE_SUFFIXES,
    ),
    Option(
        *("export_fps", float, "Output", "output", "Of --export-blendshapes: 25, 30 or 60."),
        default=TAKE_RATES[-1],
        choices=TAKE_RATES,
        metavar="RATE",
    ),
    Option(
        *("sidecar", bool, "Output", "output", "Write <out>.json, from which --from makes the video again."),
        default=True,
    ),
    Option(
        *("from", Path, "Output", "command"),
        "Sidecar of a video: make it again; other options given here change it.",
        note="As <video>.again.mp4; says whether it is identical.",
        metavar="SIDECAR",
    ),
    Option(
        *("c2pa", bool, "Output", "output", "Sign with a C2PA manifest (extra provenance)."),
        default=False,
    ),
    Option(
        *("c2pa_cert", Path, "Output", "output", "PEM certificate chain to sign with."),
        shown="a test certificate, not trusted",
        metavar="PEM",
    ),
    Option("c2pa_key", Path, "Output", "output", "PEM private key of --c2pa-cert.", metavar="PEM"),
    Option(
        *("device", str, "Models and speed", "model", "auto, cpu, cuda (or cuda:N), mps."),
        default="auto",
        metavar="|".join(DEVICES),
    ),
    Option(
        *("generator", str, "Models and speed", "model", "hef: neural; geometry: warp and shading only, faster."),
        default="hef",
        choices=GENERATORS,
    ),
    Option(
        *("engine", str, "Models and speed", "model"),
        "How hef runs: auto, eager, compile (torch.compile) or graphs (CUDA).",
        default="auto",
        choices=ENGINES,
        note="auto: graphs on an NVIDIA card, else eager; the sidecar says which.",
    ),
    Option(
        *("renderer", str, "Models and speed", "model", "Of the mesh: builtin or pytorch3d."),
        default="builtin",
        choices=RENDERERS,
        note="pytorch3d is built from source: `pip install --no-build-isolation "
        "'git+https://github.com/facebookresearch/pytorch3d.git@stable'`. The pictures are the same.",
    ),
    Option(
        *("landmarks", str, "Models and speed", "model", "builtin or face-alignment."),
        default="builtin",
        choices=LANDMARKS,
        note="The shipped face tracker, or the face-alignment library (extra landmarks), which downloads its own "
        "weights once.",
    ),
    Option(
        *("clip", str, "Models and speed", "model"),
        "An upstream open_clip model instead of the shipped towers, NAME[/PRETRAINED]; EAC must know it.",
        note="Extra clip; needs EAC weights trained in its space (emotalk train eac task.upstream=...).",
        metavar="NAME",
    ),
    Option(
        *("weights", Path, "Models and speed", "output", "Folder of other weights."),
        shown="shipped, or $EMOTALK_WEIGHTS",
        metavar="DIR",
    ),
    Option(
        *("max_seconds", float, "Checks", "output", "Refuse sound and films that are longer."),
        default=MAX_SECONDS,
        limits=(0.1, MAX_SECONDS),
        metavar="S",
        note="For strangers' files on a server; films that lend their motion have 10 minutes at most anyway.",
    ),
    Option(
        *("dry_run", bool, "Checks", "command", "Check all input and estimate time and memory; write nothing."),
        default=False,
    ),
    Option(
        *("json", bool, "Checks", "command", "Describe the result as one JSON object on stdout."),
        default=False,
        note="Messages go to stderr.",
    ),
    Option(
        *("quiet", bool, "Checks", "command", "Print nothing but errors."),
        default=False,
        flags=("-q",),
    ),
    Option(
        *("config", Path, "Checks", "command", "TOML file of defaults for these options; see emotalk config show."),
        shown="~/.config/emotalk.toml",
        metavar="TOML",
    ),
    Option("debug", bool, "Checks", "command", "Show the traceback of an error.", default=False),
)
OF_A_SPEAKER = (  # what each of several speakers has
    *("face_index", "face_at", "audio", "text", "voice", "emotion"),
    *(f"emotion_{kind}" for kind in EMOTION_SOURCES if kind != "text"),
)
JOB_OPTIONS = tuple(name for name, option in OPTIONS.items() if option.role != "command")  # what a batch row may hold
ASIDE = tuple(name for name, option in OPTIONS.items() if option.role == "output")  # what does not shape the frames


def _check_size(size: int) -> None:
    if size % 2:
        raise UsageError(f"--size {size} is odd; give an even number of pixels.")


def _check_pose(pose: str) -> None:
    if pose not in POSES and not os.path.isfile(pose):
        meant = did_you_mean(pose, POSES)
        raise UsageError(f"--pose {pose} is unknown; choose {' or '.join(POSES)}, or name a video.{meant}")


def _check_background(background: str) -> None:
    if names_file("background", background) and not os.path.isfile(background):
        meant = did_you_mean(background, BACKGROUNDS)
        raise UsageError(
            f"--background {background} is unknown; choose keep or transparent, a colour such as white or #00ff00, or "
            f"name a picture.{meant}"
        )


def parse_place(text: str) -> tuple[float, float]:
    """ "120,80" or "0.25,0.4" -> x and y. Raises UsageError."""
    try:
        x, y = (float(part) for part in text.split(","))
    except ValueError:
        x = y = -1.0
    if not (0 <= x <= 1e6 and 0 <= y <= 1e6):
        raise UsageError(f"--face-at {text} is no place in the picture; give x,y such as 320,180 or 0.5,0.3.")
    return x, y


def _check_label(text: str) -> None:
    if len(text) > LONGEST_LABEL or not text.isprintable():
        raise UsageError(f"--label must be at most {LONGEST_LABEL} printable characters; shorten it.")


def _check_device(name: str) -> None:
    if not _DEVICE.fullmatch(name):
        raise UsageError(f"--device {name} is unknown; choose auto, cpu, cuda or mps.{did_you_mean(name, DEVICES)}")


_CHECKS: dict[str, Callable[[Any], object]] = {
    "size": _check_size,
    "pose": _check_pose,
    "background": _check_background,
    "face_at": parse_place,
    "label": _check_label,
    "device": _check_device,
}


FILES_OR_WORDS = ("pose", "background")  # options of a look that may name a file


def names_file(option: str, value: str | os.PathLike[str]) -> bool:
    """Whether the value of one of `FILES_OR_WORDS` is the name of a file."""
    word = os.fspath(value).strip()
    return word not in POSES if option == "pose" else word not in BACKGROUNDS and colour(word) is None


def colour(text: str) -> tuple[int, int, int] | None:
    """A colour's red, green and blue, 0..255, from its name or #rrggbb; None if the text is none."""
    from PIL import ImageColor

    try:
        return ImageColor.getrgb(text)[:3]
    except ValueError:
        return None


def parse_intensity(value: Any) -> Intensity:
    """2, "2", "1-3" or (1, 3) -> 2.0 or (1.0, 3.0), a ramp. Raises UsageError for anything outside 1..3."""
    try:
        if isinstance(value, str):
            ends = [float(part) for part in re.split(r"\s*(?:-|\.\.|to)\s*", value.strip())]
        else:
            ends = [float(part) for part in (value if isinstance(value, Sequence) else [value])]
    except (TypeError, ValueError, OverflowError):
        ends = []
    if not 1 <= len(ends) <= 2 or not all(INTENSITY[0] <= end <= INTENSITY[1] for end in ends):
        raise UsageError(f"--intensity {value} is outside 1..3; give a number such as 2, or a range such as 1-3.")
    return ends[0] if len(set(ends)) == 1 else (ends[0], ends[1])


def spell_intensity(intensity: Intensity) -> str:
    """2.0 or (1.0, 3.0) -> "2" or "1-3"."""
    return "-".join(f"{value:g}" for value in (intensity if isinstance(intensity, tuple) else (intensity,)))


def one_of(**sources: object) -> str | None:
    """The name of the one source that is given, None for none. Raises UsageError naming the options if there are more.

    Names are those of the arguments of `EmoTalk.emotion`; text is the option --emotion.
    """
    given = [name for name, value in sources.items() if value is not None]
    if len(given) > 1:
        options = " and ".join("--emotion" if name == "text" else f"--emotion-{name}" for name in given)
        raise UsageError(f"{options} exclude each other; give one of them, or none to take it from the speech.")
    return given[0] if given else None


def choose(settings: Settings | None, outputs: Outputs | None, options: Mapping[str, Any]) -> tuple[Settings, Outputs]:
    """`settings` and `outputs` (or the defaults) with the fields in `options` replaced, checked.

    Raises UsageError for a name that is no field of either, and for values outside their range.
    """
    look = [field.name for field in dataclasses.fields(Settings)]
    files = [field.name for field in dataclasses.fields(Outputs)]
    for name in options:
        if name not in look + files:
            raise UsageError(f"There is no option {name}; choose from {', '.join(look + files)}."
                             f"{did_you_mean(name, look + files)}")  # fmt: skip
    chosen = dataclasses.replace(settings or Settings(), **{k: v for k, v in options.items() if k in look})
    parsed = {name: OPTIONS[name].parse(getattr(chosen, name)) for name in look}
    written = dataclasses.replace(outputs or Outputs(), **{k: v for k, v in options.items() if k in files})
    OPTIONS["max_seconds"].parse(written.max_seconds)
    if written.blendshapes is not None:
        OPTIONS["export_fps"].parse(written.blendshapes_fps)
    return Settings(**parsed), written
