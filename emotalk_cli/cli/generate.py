"""`emotalk generate`: one video."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Optional

import typer

from ..errors import InputError, UsageError

if TYPE_CHECKING:
    from ..jobs import Plan

FILES = ("face", "audio", "emotion_image", "emotion_audio", "emotion_file", "emotion_timeline", "motion")


def generate(
    context: typer.Context,
    face: Optional[Path] = typer.Option(None, "--face", "-f", help="Portrait: any picture that shows a face."),  # noqa: UP045
    audio: Optional[Path] = typer.Option(  # noqa: UP045
        None, "--audio", "-a", help="Speech: any audio file, or a video with sound."
    ),
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
    motion: Optional[Path] = typer.Option(  # noqa: UP045
        None, help="Move as recorded instead: a blendshape file (.csv, .json) or a video, whose sound is used too."
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
    pose: str = typer.Option("natural", help="Head motion: still, natural, or a video that lends its own."),
    blink: float = typer.Option(15.0, help="Blinks per minute, 0 to 60."),
    framing: str = typer.Option("crop", help="crop: the face; full: the whole picture."),
    seed: int = typer.Option(0, help="Of blinks and head motion; the same seed gives the same file."),
    label: str = typer.Option("", help="Text in the corner of every frame, for example 'AI-generated'."),
    no_overwrite: bool = typer.Option(False, "--no-overwrite", help="Fail if the output exists."),
    resume: bool = typer.Option(False, "--resume", help="Go on with an interrupted video (longer than half a minute)."),
    preview: Optional[Path] = typer.Option(None, help="Also write a contact sheet, .png."),  # noqa: UP045
    export_blendshapes: Optional[Path] = typer.Option(  # noqa: UP045
        None, help="Also write the motion as ARKit blendshapes: .csv as Live Link Face writes it, or .json."
    ),
    export_fps: float = typer.Option(60.0, help="Of --export-blendshapes: 25, 30 or 60."),
    sidecar: bool = typer.Option(True, help="Write <out>.json, from which --from makes the video again."),
    again: Optional[Path] = typer.Option(  # noqa: UP045
        None, "--from", help="Sidecar of a video: make it again; other options given here change it."
    ),
    c2pa: bool = typer.Option(False, "--c2pa", help="Sign with a C2PA manifest (extra provenance)."),
    c2pa_cert: Optional[Path] = typer.Option(  # noqa: UP045
        None, help="PEM certificate chain to sign with.  [default: a test certificate, not trusted]"
    ),
    c2pa_key: Optional[Path] = typer.Option(None, help="PEM private key of --c2pa-cert."),  # noqa: UP045
    dry_run: bool = typer.Option(
        False, "--dry-run", help="Check all input and estimate time and memory; write nothing."
    ),
    as_json: bool = typer.Option(False, "--json", help="Describe the result as one JSON object on stdout."),
    generator: str = typer.Option("hef", help="hef: neural; geometry: warp and shading only, faster."),
    landmarks: str = typer.Option("builtin", help="builtin or face-alignment."),
    clip: Optional[str] = typer.Option(  # noqa: UP045
        None, help="An upstream open_clip model instead of the shipped towers, NAME[/PRETRAINED]; EAC must know it."
    ),
    engine: str = typer.Option("eager", help="How hef runs: eager, compile (torch.compile) or graphs (CUDA)."),
    weights: Optional[Path] = typer.Option(None, help="Folder of other weights.  [env: EMOTALK_WEIGHTS]"),  # noqa: UP045
    quiet: bool = typer.Option(False, "--quiet", "-q", help="Print nothing but errors."),
    debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error."),
) -> None:
    """Make the face say the words with the emotion."""
    from .progress import progress

    given = {
        name: value
        for name, value in context.params.items()
        if name not in ("again", "dry_run", "as_json", "quiet", "debug") and is_given(context, name)
    }
    if again is None:
        for name, other in (("face", "face"), ("audio", "motion")):
            if given.get(name) is None and given.get(other) is None:
                raise UsageError(f"--{name} is missing. See emotalk generate --help.")
    for name in FILES:  # before torch is imported, which takes seconds
        if name in given and not given[name].exists():
            raise InputError(f"{given[name]} does not exist; check the name.")
    with progress(quiet) as report:
        report("models", 0, 1)
        from ..api import EmoTalk
        from ..jobs import (
            Job,
            plan,
            repeat,  # late: it imports torch
        )
        from ..media.provenance import Sidecar

        source = Sidecar.read(again) if again is not None else None
        job = Job.parse(given) if source is None else Job.of(source, **given)
        talker = EmoTalk.load(*job.models)
        report("models", 1, 1)
        if dry_run:
            planned = plan(job, talker)
        else:
            result = job.run(talker, report) if source is None else repeat(job, source, talker, report)
    if dry_run:
        _show_plan(planned, quiet, as_json)
        return
    if not quiet:
        for note in result.notes:
            print(f"Note: {note}", file=sys.stderr)
        speed = result.frames / result.elapsed
        print(f"{result.out}: {result.seconds:.2f} s, {result.frames} frames, {speed:.1f} frames/s", file=sys.stderr)
    if as_json:
        print(json.dumps(result.to_dict()))


def _show_plan(planned: Plan, quiet: bool, as_json: bool) -> None:
    if not quiet:
        for note in planned.notes:
            print(f"Note: {note}", file=sys.stderr)
        print(
            f"{planned.out}{' (exists)' if planned.exists else ''}: a face of {planned.face:.0f} px, "
            f"{planned.seconds:.2f} s, {planned.frames} frames of {planned.size[0]}x{planned.size[1]}; about "
            f"{planned.estimated_seconds:.0f} s and {planned.estimated_memory:.0f} MB. Nothing was written.",
            file=sys.stderr,
        )
    if as_json:
        print(json.dumps(planned.to_dict()))


def is_given(context: typer.Context, name: str) -> bool:
    """Whether an option was on the command line, rather than left at its default."""
    return context.get_parameter_source(name).name != "DEFAULT"
