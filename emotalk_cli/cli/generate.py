"""`emotalk generate`: one video."""

from __future__ import annotations

import json
import sys
import unicodedata
from pathlib import Path
from typing import Optional

import typer

from ..errors import InputError, UsageError

NAME_LIMIT = 60  # characters of each part of a default name


def generate(
    face: Path = typer.Option(..., "--face", "-f", help="Portrait: any picture that shows a face."),
    audio: Path = typer.Option(..., "--audio", "-a", help="Speech: any audio file, or a video with sound."),
    emotion: Optional[str] = typer.Option(  # noqa: UP045
        None,
        "--emotion",
        "-e",
        help="What to feel, in words: 'happy', 'sadly surprised'.  [default: the emotion of the speech]",
    ),
    emotion_image: Optional[Path] = typer.Option(None, help="Feel what the face in this picture shows."),  # noqa: UP045
    emotion_audio: Optional[Path] = typer.Option(None, help="Feel what the voice in this recording says."),  # noqa: UP045
    emotion_file: Optional[Path] = typer.Option(  # noqa: UP045
        None, help="Feel what `emotalk emotion ... --save` wrote, .safetensors."
    ),
    emotion_timeline: Optional[Path] = typer.Option(  # noqa: UP045
        None, help="Change along the speech: CSV or JSON of time, emotion, intensity."
    ),
    intensity: str = typer.Option("2", help="How strongly, from 1 to 3; or a range such as 1-3 that grows."),
    out: Optional[Path] = typer.Option(  # noqa: UP045
        None,
        "--out",
        "-o",
        help="The video, .mp4; or a folder.  [default: <face>--<audio>--<emotion>.mp4 beside the audio]",
    ),
    device: str = typer.Option("auto", help="auto, cpu, cuda (or cuda:N), mps."),
    fps: float = typer.Option(25.0, help="Frames per second, 1 to 120."),
    size: int = typer.Option(512, help="Side of the cropped video in px, even, 64 to 1024."),
    pose: str = typer.Option("natural", help="Head motion: still or natural."),
    blink: float = typer.Option(15.0, help="Blinks per minute, 0 to 60."),
    framing: str = typer.Option("crop", help="crop: the face; full: the whole picture."),
    seed: int = typer.Option(0, help="Of blinks and head motion; the same seed gives the same file."),
    no_overwrite: bool = typer.Option(False, "--no-overwrite", help="Fail if the output exists."),
    preview: Optional[Path] = typer.Option(None, help="Also write a contact sheet, .png."),  # noqa: UP045
    as_json: bool = typer.Option(False, "--json", help="Describe the result as one JSON object on stdout."),
    generator: str = typer.Option("hef", help="hef: neural; geometry: warp and shading only, faster."),
    landmarks: str = typer.Option("builtin", help="builtin or face-alignment."),
    weights: Optional[Path] = typer.Option(None, help="Folder of other weights.  [env: EMOTALK_WEIGHTS]"),  # noqa: UP045
    quiet: bool = typer.Option(False, "--quiet", "-q", help="Print nothing but errors."),
    debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error."),
) -> None:
    """Make the face say the words with the emotion."""
    from .progress import progress

    sources = {"text": emotion, "image": emotion_image, "audio": emotion_audio, "file": emotion_file}
    sources |= {"timeline": emotion_timeline}
    for path in (face, audio, *sources.values()):  # before torch is imported, which takes seconds
        if isinstance(path, Path) and not path.exists():
            raise InputError(f"{path} does not exist; check the name.")
    from ..emotion import AS_SPOKEN, one_of, parse_intensity

    kind = one_of(**sources)
    label = AS_SPOKEN if kind is None else emotion if kind == "text" else sources[kind].stem
    out = audio.parent / default_name(face, audio, label) if out is None else out
    if out.is_dir():
        out = out / default_name(face, audio, label)
    options = {"intensity": parse_intensity(intensity), "fps": fps, "size": size, "pose": pose, "blink": blink}
    options |= {"framing": framing, "seed": seed}
    with progress(quiet) as report:
        report("models", 0, 1)
        from ..pipeline import EmoTalk, Settings  # late: it imports torch

        settings = Settings(**options)
        settings.check()
        talker = EmoTalk.load(weights, device, generator, landmarks)
        report("models", 1, 1)
        result = talker.generate(
            face,
            audio,
            talker.emotion(**sources) if kind else None,
            out,
            preview=preview,
            overwrite=not no_overwrite,
            progress=report,
            settings=settings,
        )
    if not quiet:
        for note in result.notes:
            print(f"Note: {note}", file=sys.stderr)
        speed = result.frames / result.elapsed
        print(f"{result.out}: {result.seconds:.2f} s, {result.frames} frames, {speed:.1f} frames/s", file=sys.stderr)
    if as_json:
        print(json.dumps(result.to_dict()))


def default_name(face: Path, audio: Path, emotion: str) -> str:
    """`<face>--<audio>--<emotion>.mp4`, safe as a file name on every system and at most 200 bytes long."""
    parts = [_safe(text) for text in (face.stem, audio.stem, emotion)]
    if not parts[2]:
        raise UsageError("--emotion is empty; describe an emotion, for example 'sadly surprised'.")
    return "--".join(parts) + ".mp4"


def _safe(text: str) -> str:
    kept = "".join(c if c.isalnum() or c in " ._-'" or unicodedata.category(c)[0] == "M" else "-" for c in text)
    kept = " ".join(kept.split()).strip(" .-")[:NAME_LIMIT]
    while len(kept.encode(errors="surrogateescape")) > NAME_LIMIT:
        kept = kept[:-1]
    return kept.strip(" .-")
