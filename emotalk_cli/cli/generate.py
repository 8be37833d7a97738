"""`emotalk generate`: one video."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ..config import merged, read
from ..errors import UsageError
from ..media.formats import STDOUT
from ..settings import AS_RECORDED, OPTIONS
from ..system import no_collection
from .console import plain, say, tell
from .options import given, with_options

if TYPE_CHECKING:
    from ..estimate import Plan
    from ..settings import Result


@with_options(*OPTIONS)
def generate(
    portrait: Path | None = typer.Argument(None, metavar="FACE", show_default=False, help="The same as --face."),
    speech: Path | None = typer.Argument(None, metavar="AUDIO", show_default=False, help="The same as --audio."),
    feeling: list[str] | None = typer.Argument(
        None, metavar="EMOTION...", show_default=False, help="The same as --emotion; several words need no quotes."
    ),
    **values: Any,
) -> None:
    """Make the face say the words with the emotion.

    For example: emotalk generate me.jpg speech.mp3 happy
    """
    wanted = given(values) | {}
    positional = {"face": portrait, "audio": speech, "emotion": " ".join(feeling) if feeling else None}
    for name, value in positional.items():
        if value is not None and name in wanted:
            raise UsageError(f"{OPTIONS[name].flag} is given twice: as {wanted[name]} and as {value}; give it once.")
        wanted |= {name: value} if value is not None else {}
    how = {name: wanted.pop(name, None) for name, option in OPTIONS.items() if option.role == "command"}
    again, quiet, as_json = how["from"], bool(how["quiet"]), bool(how["json"])
    if again is None:  # what a sidecar says is not to be changed
        wanted = merged(read(how["config"]), wanted)
    if as_json and str(wanted.get("out")) == str(STDOUT):
        raise UsageError("--json and --out - both write to stdout; leave one of them out.")
    if again is None:
        for name, others in (("face", ()), ("audio", ("text", "motion"))):
            if all(wanted.get(other) is None for other in (name, *others)):
                raise UsageError(f"--{name} is missing. See emotalk generate --help.")

    from ..jobs import Job, repeat
    from ..media.provenance import Sidecar
    from .progress import progress

    source = Sidecar.read(again) if again is not None else None
    job = Job.parse(wanted) if source is None else Job.of(source, **wanted)
    job.check()
    begin = time.perf_counter()
    with progress(quiet) as report:
        report("models", 0, 1)
        with no_collection():
            from ..api import EmoTalk  # late: it imports torch, which takes a second

            talker = EmoTalk.load(*job.models)
        report("models", 1, 1)
        if how["dry_run"]:
            from ..estimate import plan

            planned = plan(job, talker, time.perf_counter() - begin)
        else:
            result = job.run(talker, report) if source is None else repeat(job, source, talker, report)
    made = planned if how["dry_run"] else result
    if not quiet:
        for note in made.notes:
            say(f"Note: {note}")
        say(_described_plan(planned) if how["dry_run"] else _described(result))
    if as_json:
        tell(json.dumps(made.to_dict()))


def _described(result: Result) -> str:
    speed = result.frames / result.elapsed
    felt = understood(result.emotion, result.nearest)
    return f"{result.out}: {result.seconds:.2f} s, {result.frames} frames, {speed:.1f} frames/s; {felt}"


def understood(emotion: str | None, nearest: Mapping[str, float]) -> str:
    """What an emotion was taken for: the known ones that it is most like."""
    if emotion is None:
        return AS_RECORDED
    return f"{plain(emotion, 80)}: " + ", ".join(f"{name} {likeness:.2f}" for name, likeness in nearest.items())


def _described_plan(planned: Plan) -> str:
    return (
        f"{planned.out}{' (exists)' if planned.exists else ''}: a face of {planned.face:.0f} px, "
        f"{planned.seconds:.2f} s, {planned.frames} frames of {planned.size[0]}x{planned.size[1]}; about "
        f"{planned.estimated_seconds:.0f} s ({planned.loading_seconds:.0f} s of them to load the models) and "
        f"{planned.estimated_memory:.0f} MB. Nothing was written."
    )
