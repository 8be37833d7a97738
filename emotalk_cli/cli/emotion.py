"""`emotalk emotion`: what a text, a face or a voice means: nearest emotions, blendshapes, previews, a saved emotion."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Optional

import typer

from ..errors import InputError, UsageError
from .help import Command, Group

if TYPE_CHECKING:
    from ..api import EmoTalk
    from ..emotions.emotion import Emotion

app = typer.Typer(
    help="See what an emotion means: nearest names, blendshapes, previews; save it.",
    cls=Group,
    rich_markup_mode=None,
)

STEPS = (1.0, 2.0, 3.0)  # intensities of a preview
RAMP = (1.0, 1.5, 2.0, 2.5, 3.0)
SHAPES = 10  # blendshapes that are listed
LEAST = 0.05  # coefficient below which a blendshape is not worth a line
UNSEEN = (
    "delighted, cheerful, amused, content, heartbroken, gloomy, lonely, disappointed, furious, annoyed, outraged, "
    "terrified, worried, nervous, shocked, amazed, bewildered, revolted, grossed out, scornful, smug, arrogant"
)
UNRELATED = "a red car, a wooden table, the Eiffel tower, a bowl of soup, forty-two, a photo of a dog, keyboard, Paris"

Face = typer.Option(None, "--face", "-f", help="Portrait for a preview.")
Out = typer.Option(None, "--out", "-o", help="Sheet of previews with that portrait, .png.")
Save = typer.Option(None, help="Write the emotion, .safetensors, for generate --emotion-file.")
Intensity = typer.Option("2", help="From 1 to 3, for the blendshapes.")
AsJson = typer.Option(False, "--json", help="Describe it as one JSON object on stdout.")
Clip = typer.Option(None, help="An upstream open_clip model instead of the shipped towers: NAME[/PRETRAINED].")
Generator = typer.Option("hef", help="For previews: hef or geometry.")
Device = typer.Option("auto", help="auto, cpu, cuda (or cuda:N), mps.")
Weights = typer.Option(None, help="Folder of other weights.  [env: EMOTALK_WEIGHTS]")
Debug = typer.Option(False, "--debug", help="Show the traceback of an error.")


@app.command(cls=Command)
def text(
    prompt: str = typer.Argument(..., help="Words, or a blend such as happy:0.5+surprised:0.5."),
    intensity: str = Intensity,
    face: Optional[Path] = Face,  # noqa: UP045
    out: Optional[Path] = Out,  # noqa: UP045
    save: Optional[Path] = Save,  # noqa: UP045
    as_json: bool = AsJson,
    clip: Optional[str] = Clip,  # noqa: UP045
    generator: str = Generator,
    device: str = Device,
    weights: Optional[Path] = Weights,  # noqa: UP045
    debug: bool = Debug,
) -> None:
    """What words mean."""
    talker = _talker(face, out, save, generator, device, weights, clip)
    _show(talker, talker.emotion(prompt), intensity, face, out, save, as_json)


@app.command(cls=Command)
def image(
    picture: Path = typer.Argument(..., help="A picture of a face."),
    intensity: str = Intensity,
    face: Optional[Path] = Face,  # noqa: UP045
    out: Optional[Path] = Out,  # noqa: UP045
    save: Optional[Path] = Save,  # noqa: UP045
    as_json: bool = AsJson,
    clip: Optional[str] = Clip,  # noqa: UP045
    generator: str = Generator,
    device: str = Device,
    weights: Optional[Path] = Weights,  # noqa: UP045
    debug: bool = Debug,
) -> None:
    """What a face shows."""
    talker = _talker(face, out, save, generator, device, weights, clip, picture)
    before = [("emotion of", lambda _: talker.still(picture, None))]
    _show(talker, talker.emotion(image=picture), intensity, face, out, save, as_json, before)


@app.command(cls=Command)
def audio(
    recording: Path = typer.Argument(..., help="A recording of a voice."),
    intensity: str = Intensity,
    face: Optional[Path] = Face,  # noqa: UP045
    out: Optional[Path] = Out,  # noqa: UP045
    save: Optional[Path] = Save,  # noqa: UP045
    as_json: bool = AsJson,
    clip: Optional[str] = Clip,  # noqa: UP045
    generator: str = Generator,
    device: str = Device,
    weights: Optional[Path] = Weights,  # noqa: UP045
    debug: bool = Debug,
) -> None:
    """What a voice says."""
    talker = _talker(face, out, save, generator, device, weights, clip, recording)
    _show(talker, talker.emotion(audio=recording), intensity, face, out, save, as_json)


@app.command(cls=Command)
def compound(
    parts: list[str] = typer.Argument(
        ..., metavar="PROMPT...", help="Two or more emotions: 'happily disgusted' angry."
    ),
    intensity: str = Intensity,
    face: Optional[Path] = Face,  # noqa: UP045
    out: Optional[Path] = Out,  # noqa: UP045
    save: Optional[Path] = Save,  # noqa: UP045
    as_json: bool = AsJson,
    clip: Optional[str] = Clip,  # noqa: UP045
    generator: str = Generator,
    device: str = Device,
    weights: Optional[Path] = Weights,  # noqa: UP045
    debug: bool = Debug,
) -> None:
    """The average of several emotions' embeddings, beside its parts; each may have a weight, happy:0.7."""
    if len(parts) < 2:
        raise UsageError("Give at least two emotions to mix, for example: emotalk emotion compound happy surprised.")
    talker = _talker(face, out, save, generator, device, weights, clip)
    strong = _steady(intensity)
    names = [re.sub(r":[\d.]+$", "", part) for part in parts]
    before = [(name, lambda subject, name=name: talker.still(subject, name, strong)) for name in names]
    _show(talker, talker.emotion(" + ".join(parts)), intensity, face, out, save, as_json, before)


@app.command(cls=Command)
def intensity(
    prompt: str = typer.Argument(..., help="Words, or a blend."),
    face: Optional[Path] = Face,  # noqa: UP045
    out: Optional[Path] = Out,  # noqa: UP045
    save: Optional[Path] = Save,  # noqa: UP045
    as_json: bool = AsJson,
    clip: Optional[str] = Clip,  # noqa: UP045
    generator: str = Generator,
    device: str = Device,
    weights: Optional[Path] = Weights,  # noqa: UP045
    debug: bool = Debug,
) -> None:
    """How an emotion grows from 1 to 3."""
    talker = _talker(face, out, save, generator, device, weights, clip)
    _show(talker, talker.emotion(prompt), "3", face, out, save, as_json, steps=RAMP)


@app.command(name="map", cls=Command)
def draw_map(
    out: Path = typer.Option(..., "--out", "-o", help="The map, .png."),
    prompts: Optional[Path] = typer.Option(None, help="Text file of prompts of your own, one a line."),  # noqa: UP045
    as_json: bool = typer.Option(False, "--json", help="The points as one JSON object on stdout."),
    seed: int = typer.Option(0, help="Of the t-SNE."),
    device: str = Device,
    weights: Optional[Path] = Weights,  # noqa: UP045
    clip: Optional[str] = Clip,  # noqa: UP045
    debug: bool = Debug,
) -> None:
    """t-SNE of the style code of basic, unseen and unrelated prompts at five intensities, as in the paper's Fig. 8."""
    own = _lines(prompts) if prompts else None
    talker = _talker(None, out, None, "geometry", device, weights, clip)
    from ..emotions.prototypes import BASICS
    from ..media.files import PartFile, check_output
    from .map import styles

    groups = {"basic": list(BASICS), "unseen": UNSEEN.split(", "), "unrelated": UNRELATED.split(", ")}
    if own is not None:
        groups = {"basic": list(BASICS), "yours": own}
    path = check_output(out, suffixes=(".png",))
    points = styles(talker, groups, RAMP, seed)
    with PartFile(path) as part:
        from .map import draw

        draw(points, part)
    if as_json:
        print(json.dumps({"out": str(path), "points": points}))
    else:
        print(f"{path}: {len(points)} points of {sum(map(len, groups.values()))} prompts", file=sys.stderr)


def _talker(face, out, save, generator: str, device: str, weights, clip, *inputs: Path) -> EmoTalk:
    """The loaded models, after what can be checked without them."""
    for path in (*inputs, face):
        if path is not None and not path.exists():
            raise InputError(f"{path} does not exist; check the name.")
    if face is not None and out is None:
        raise UsageError("--face without --out shows nothing; add --out sheet.png.")
    from ..media.files import check_output

    for path, suffix in ((out, ".png"), (save, ".safetensors")):
        if path is not None:
            check_output(path, suffixes=(suffix,))
    from ..api import EmoTalk

    return EmoTalk.load(weights, device, "geometry" if face is None else generator, clip=clip)


def _steady(intensity: str) -> float:
    from ..settings import parse_intensity

    value = parse_intensity(intensity)
    if isinstance(value, tuple):
        raise UsageError(f"--intensity {intensity} is a range; give one number here, or use emotalk emotion intensity.")
    return value


def _show(
    talker: EmoTalk,
    emotion: Emotion,
    intensity: str,
    face: Path | None,
    out: Path | None,
    save: Path | None,
    as_json: bool,
    before: Sequence[tuple[str, Callable]] = (),
    steps: Sequence[float] = STEPS,
) -> None:
    """Tables or JSON on stdout, and the files that are asked for.

    before: captions and makers (portrait -> picture) of pictures that precede the previews on the sheet.
    """
    from ..emotions.prototypes import COMPONENTS
    from ..media.files import PartFile, check_output

    strength = _steady(intensity)
    if out is not None and face is None:
        raise UsageError("--out draws previews of a portrait; add --face FILE.")
    nearest = talker.nearest(emotion)
    beta = talker.expression(emotion, strength)[0].tolist()
    order = sorted(range(len(beta)), key=lambda i: -abs(beta[i]))[:SHAPES]
    shapes = {COMPONENTS[i]: round(beta[i], 3) for i in order if abs(beta[i]) >= LEAST}
    if save is not None:
        with PartFile(check_output(save, suffixes=(".safetensors",))) as part:
            emotion.save(part.path)
    if out is not None:
        from ..media.preview import save as save_sheet
        from ..media.preview import sheet

        subject = talker.portrait(face)
        tiles = [("portrait", talker.still(subject, None))]
        tiles += [(caption, make(subject)) for caption, make in before]
        tiles += [(f"intensity {mu:g}", talker.still(subject, emotion, mu)) for mu in steps]
        with PartFile(check_output(out, suffixes=(".png",))) as part:
            save_sheet(part, sheet(" ".join(emotion.label.split()), tiles, len(tiles)))
    if as_json:
        described = {"emotion": emotion.label, "space": emotion.space, "intensity": strength, "nearest": nearest}
        described |= {"blendshapes": shapes, "save": save and str(save), "out": out and str(out)}
        if steps is RAMP:
            described["norm"] = {mu: float(talker.expression(emotion, mu)[0].norm()) for mu in steps}
        print(json.dumps(described))
        return
    _tables(emotion.label, strength, nearest, shapes)
    for path in filter(None, (save, out)):
        print(f"{path}", file=sys.stderr)
    if next(iter(nearest)) == "unrelated":
        print(
            f"Note: '{emotion.label}' names no emotion that EmoTalk knows; the face stays near neutral.",
            file=sys.stderr,
        )


def _tables(label: str, strength: float, nearest: dict[str, float], shapes: dict[str, float]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    names = Table("nearest emotion", "similarity", title=Text(label))
    for name, value in nearest.items():
        names.add_row(name, f"{value:.2f}")
    console.print(names)
    faces = Table("blendshape", f"at intensity {strength:g}")
    for name, value in shapes.items():
        faces.add_row(name, f"{value:.2f}")
    console.print(faces)


def _lines(path: Path) -> list[str]:
    try:
        found = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as text; give one prompt a line.") from error
    if len(found) < 2:
        raise InputError(f"{path} holds fewer than two prompts; give one a line.")
    return found
