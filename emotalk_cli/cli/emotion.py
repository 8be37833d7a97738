"""`emotalk emotion`: what a text, a face or a voice means: nearest emotions, blendshapes, previews, a saved emotion."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ..constants import BASICS
from ..errors import InputError, UsageError, extra
from ..examples import example
from ..settings import OPTIONS, parse_intensity
from .console import console, plain, say, tell
from .help import Command, Group
from .options import option, with_parameters
from .progress import loading

if TYPE_CHECKING:
    import numpy as np

    from ..api import EmoTalk
    from ..emotions.emotion import Emotion

app = typer.Typer(
    help="See what an emotion means: nearest names, blendshapes, previews; save it.",
    cls=Group,
    rich_markup_mode=None,
)

STEPS = (1.0, 2.0, 3.0)  # intensities of a preview
RAMP = (1.0, 1.5, 2.0, 2.5, 3.0)
SHAPES = 12  # blendshapes that are listed
LEAST = 0.05  # coefficient below which a blendshape is not worth a line
UNRELATED = "a red car, a wooden table, the Eiffel tower, a bowl of soup, forty-two, a photo of a dog, keyboard, Paris"

_PREVIEW = {  # of every command but the map
    "face": (Path | None, option("face", help="Portrait for a preview.")),
    "out": (
        Path | None,
        typer.Option(None, "--out", "-o", metavar="PNG", help="Sheet of previews with that portrait."),
    ),
    "save": (
        Path | None,
        typer.Option(None, metavar="FILE", help="Write the emotion, .safetensors, for generate --emotion-file."),
    ),
    "json": (bool, option("json", False, "Describe it as one JSON object on stdout.")),
    "clip": (str | None, option("clip")),
    "generator": (str, option("generator", "hef", "For previews: hef or geometry.")),
    "device": (str, option("device", "auto")),
    "weights": (Path | None, option("weights")),
    "debug": (bool, option("debug", False)),
}
_STRENGTH = {"intensity": (str, option("intensity", "2", "From 1 to 3, for the blendshapes."))}
Pictures = Sequence[tuple[str, Callable[[Any], "np.ndarray"]]]  # captions and their makers: portrait -> picture


@app.command(cls=Command)
@with_parameters(_STRENGTH | _PREVIEW)
def text(
    prompt: str = typer.Argument(..., help="Words, or a blend such as happy:0.5+surprised:0.5."), **how: Any
) -> None:
    """What words mean."""
    talker = _talker(how)
    _show(talker, talker.emotion(prompt), how)


@app.command(cls=Command)
@with_parameters(_STRENGTH | _PREVIEW)
def image(picture: Path = typer.Argument(..., help="A picture of a face."), **how: Any) -> None:
    """What a face shows."""
    talker = _talker(how, picture)
    _show(talker, talker.emotion(image=picture), how, [("emotion of", lambda _: talker.still(picture, None))])


@app.command(cls=Command)
@with_parameters(_STRENGTH | _PREVIEW)
def audio(recording: Path = typer.Argument(..., help="A recording of a voice."), **how: Any) -> None:
    """What a voice says."""
    talker = _talker(how, recording)
    _show(talker, talker.emotion(audio=recording), how)


@app.command(cls=Command)
@with_parameters(_STRENGTH | _PREVIEW)
def compound(
    parts: list[str] = typer.Argument(
        ..., metavar="PROMPT...", help="Two or more emotions: 'happily disgusted' angry."
    ),
    **how: Any,
) -> None:
    """The average of several emotions' embeddings, beside its parts; each may have a weight, happy:0.7."""
    if len(parts) < 2:
        raise UsageError("Give at least two emotions to mix, for example: emotalk emotion compound happy surprised.")
    talker, strong = _talker(how), _constant(how["intensity"])
    names = [re.sub(r":[\d.]+$", "", part) for part in parts]
    before = [(name, lambda portrait, name=name: talker.still(portrait, name, strong)) for name in names]
    _show(talker, talker.emotion(" + ".join(parts)), how, before)


@app.command(cls=Command)
@with_parameters(_PREVIEW)
def intensity(prompt: str = typer.Argument(..., help="Words, or a blend."), **how: Any) -> None:
    """How an emotion grows from 1 to 3."""
    talker = _talker(how)
    _show(talker, talker.emotion(prompt), how | {"intensity": "3"}, steps=RAMP)


@app.command(name="map", cls=Command)
def draw_map(
    out: Path = typer.Option(..., "--out", "-o", metavar="PNG", help="The map."),
    prompts: Path | None = typer.Option(None, metavar="FILE", help="Text file of prompts of your own, one a line."),
    as_json: bool = option("json", False, "The points as one JSON object on stdout."),
    seed: int = typer.Option(0, metavar="N", help="Of the t-SNE."),
    device: str = option("device", "auto"),
    weights: Path | None = option("weights"),
    clip: str | None = option("clip"),
    debug: bool = option("debug", False),
) -> None:
    """t-SNE of the style code of the atlas and unrelated prompts at five intensities, as in the paper."""
    from ..emotions.atlas import states
    from ..media.files import PartFile, check_output

    own = _lines(prompts) if prompts else None
    path = check_output(out, suffixes=(".png",))
    with extra("eval", "emotalk emotion map"):
        import matplotlib  # noqa: F401  # what `map` needs when it is called
        import sklearn  # noqa: F401

        from .map import draw, styles

    how = {"face": None, "out": None, "save": None, "generator": "geometry", "device": device, "weights": weights}
    talker = _talker(how | {"clip": clip})
    groups = {
        "basic": list(BASICS),
        "atlas": [name for name in states() if name not in BASICS],
        "unrelated": UNRELATED.split(", "),
    }
    if own is not None:
        groups = {"basic": list(BASICS), "yours": own}
    points = styles(talker, groups, RAMP, seed)
    with PartFile(path) as part:
        draw(points, part)
    if as_json:
        tell(json.dumps({"out": str(path), "points": points}))
    else:
        say(f"{path}: {len(points)} points of {sum(map(len, groups.values()))} prompts")


@app.command(name="atlas", cls=Command)
def draw_atlas(
    out: Path | None = typer.Option(None, "--out", "-o", metavar="PNG", help="A labelled sheet of all states."),
    face: Path | None = option("face", help="Portrait for the sheet.  [default: the shipped one]"),
    intensity: str = option("intensity", "3", "From 1 to 3."),
    as_json: bool = option("json", False, "The states as one JSON object on stdout."),
    generator: str = option("generator", "geometry", "For the sheet: hef or geometry."),
    device: str = option("device", "auto"),
    weights: Path | None = option("weights"),
    debug: bool = option("debug", False),
) -> None:
    """All states that words, faces and voices are read as: what each does, in action units and beside the face."""
    if face is not None and out is None:
        raise UsageError("--face without --out shows nothing; add --out sheet.png.")
    strength = _constant(intensity)
    from ..emotions.atlas import manner, states
    from ..emotions.prototypes import intensity_gain

    gain = float(intensity_gain(strength))
    described: dict[str, dict[str, Any]] = {
        name: {
            "basics": {basic: round(share, 2) for basic, share in state.basics.items()},
            "action units": {f"{unit}{side[:1]}": value for unit, side, value in state.actions},
            "manner": manner(state.behaviour * gain),
            "source": state.source,
        }
        for name, state in states().items()
    }
    if out is not None:
        from ..media.files import PartFile, check_output
        from ..media.preview import save as save_sheet
        from ..media.preview import sheet

        path = face or example("portrait.png")
        how = {"face": path, "out": out, "save": None, "generator": generator, "device": device, "weights": weights}
        talker = _talker(how | {"clip": None})
        portrait = talker.portrait(path)
        tiles = [(name, talker.stills.state(portrait, name, strength)) for name in described]
        with PartFile(check_output(out, suffixes=(".png",))) as part:
            save_sheet(part, sheet(f"The atlas, intensity {strength:g}", tiles, 12))
        say(f"{out}")
    if as_json:
        tell(json.dumps({"states": described, "out": out and str(out)}))
    elif out is None:
        for name, state in described.items():
            units = " ".join(f"{unit}:{value:g}" for unit, value in state["action units"].items())
            tell(f"{name}\t{units}\t{' '.join(f'{key} {value:g}' for key, value in state['manner'].items())}")


def _talker(how: dict[str, Any], *inputs: Path) -> EmoTalk:
    """The loaded models, after what can be checked without them."""
    from ..media.files import check_input, check_output

    for path in (*inputs, how["face"]):
        if path is not None:
            check_input(path, "file")
    if how["face"] is not None and how["out"] is None:
        raise UsageError("--face without --out shows nothing; add --out sheet.png.")
    if how["out"] is not None and how["face"] is None:
        raise UsageError("--out draws previews of a portrait; add --face FILE.")
    if "intensity" in how:
        _constant(how["intensity"])
    for path, suffix in ((how["out"], ".png"), (how["save"], ".safetensors")):
        if path is not None:
            check_output(path, suffixes=(suffix,))
    for name in ("generator", "device"):
        OPTIONS[name].parse(how[name])
    with loading(quiet=how.get("json", False)):
        from ..api import EmoTalk  # late: it imports torch

        generator = "geometry" if how["face"] is None else how["generator"]
        return EmoTalk.load(how["weights"], how["device"], generator, clip=how["clip"])


def _constant(intensity: str) -> float:
    value = parse_intensity(intensity)
    if isinstance(value, tuple):
        raise UsageError(f"--intensity {intensity} is a range; give one number here, or use emotalk emotion intensity.")
    return value


def _show(
    talker: EmoTalk,
    emotion: Emotion,
    how: dict[str, Any],
    before: Pictures = (),
    steps: Sequence[float] = STEPS,
) -> None:
    """Tables or JSON on stdout, and the files that are asked for. before: pictures that precede the previews."""
    from ..emotions.atlas import manner
    from ..emotions.notes import notes_on_emotion
    from ..face.topology import EXPRESSION_NAMES
    from ..media.files import PartFile, check_output

    strength, face, out, save = _constant(how["intensity"]), how["face"], how["out"], how["save"]
    nearest = talker.nearest(emotion)
    beta = talker.expression(emotion, strength)[0].tolist()
    order = sorted(range(len(beta)), key=lambda i: -abs(beta[i]))[:SHAPES]
    shapes = {EXPRESSION_NAMES[i]: round(beta[i], 3) for i in order if abs(beta[i]) >= LEAST}
    does = manner(talker.stills.behaviour(emotion, strength))
    if save is not None:
        with PartFile(check_output(save, suffixes=(".safetensors",))) as part:
            emotion.save(part.path)
    if out is not None:
        from ..media.preview import save as save_sheet
        from ..media.preview import sheet

        portrait = talker.portrait(face)
        tiles = [("portrait", talker.still(portrait, None))]
        tiles += [(caption, make(portrait)) for caption, make in before]
        tiles += [(f"intensity {mu:g}", talker.still(portrait, emotion, mu)) for mu in steps]
        with PartFile(check_output(out, suffixes=(".png",))) as part:
            save_sheet(part, sheet(" ".join(emotion.label.split()), tiles, len(tiles)))
    if how["json"]:
        described = {"emotion": emotion.label, "space": emotion.space, "intensity": strength, "nearest": nearest}
        described |= {"blendshapes": shapes, "manner": does, "save": save and str(save), "out": out and str(out)}
        if steps is RAMP:
            described["norm"] = {mu: float(talker.expression(emotion, mu)[0].norm()) for mu in steps}
        tell(json.dumps(described))
        return
    _tables(emotion.label, strength, nearest, shapes, does)
    for path in filter(None, (save, out)):
        say(f"{path}")
    for note in notes_on_emotion(emotion, nearest):
        say(f"Note: {note}")


def _tables(
    label: str, strength: float, nearest: dict[str, float], shapes: dict[str, float], does: dict[str, float]
) -> None:
    from rich.table import Table
    from rich.text import Text

    from ..emotions.atlas import FACTORS

    printer = console()
    names = Table("nearest emotion", "similarity", title=Text(plain(label, 200)))
    for name, value in nearest.items():
        names.add_row(name, f"{value:.2f}")
    printer.print(names)
    faces = Table("blendshape", f"at intensity {strength:g}")
    for name, value in shapes.items():
        faces.add_row(name, f"{value:.2f}")
    printer.print(faces)
    if does:
        units = {"pitch": "° up", "yaw": "° to the left", "roll": "° to the left", "nearness": " of its size nearer"}
        beside = Table("head, eyes, motion", f"at intensity {strength:g}")
        for name, value in does.items():
            beside.add_row(name, f"{'×' * (name in FACTORS)}{value:g}{units.get(name, '')}")
        printer.print(beside)


def _lines(path: Path) -> list[str]:
    try:
        found = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as text; give one prompt a line.") from error
    if len(found) < 2:
        raise InputError(f"{path} holds fewer than two prompts; give one a line.")
    return found
