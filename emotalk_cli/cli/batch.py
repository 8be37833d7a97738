"""`emotalk batch`: many videos."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ..config import merged, read
from ..errors import EmoTalkError, UsageError
from ..settings import JOB_OPTIONS, Progress
from .console import console, interactive, plain, say, tell
from .options import given, option, with_options

if TYPE_CHECKING:
    from ..manifests import Row

SOME_FAILED = 3  # exit code
Outcome = dict[str, Any]
Show = Callable[[Outcome], None]
_ROWS_OWN = ("face", "audio", "out", "preview", "resume")


@with_options(*(name for name in JOB_OPTIONS if name not in _ROWS_OWN))
def batch(
    manifest: Path | None = typer.Argument(
        None, help="CSV, TSV or JSON lines; columns are options of emotalk generate. - is standard input."
    ),
    faces: Path | None = typer.Option(None, help="Folder of portraits, instead of a manifest."),
    audios: Path | None = typer.Option(None, help="Folder of recordings: each with each portrait."),
    emotions: str | None = typer.Option(None, help="Emotions, each with each of those: 'happy,sad'."),
    out: Path | None = typer.Option(
        None, "--out", "-o", help="Folder for videos that no row names.  [default: beside the audio]"
    ),
    results: Path | None = typer.Option(None, help="Log and archive, JSON lines.  [default: <manifest>.results.jsonl]"),
    workers: int = typer.Option(1, help="Processes, each with its own models in memory."),
    resume: bool = typer.Option(False, "--resume", help="Skip rows that are done; go on with interrupted videos."),
    fail_fast: bool = typer.Option(False, "--fail-fast", help="Stop after the first row that fails."),
    dry_run: bool = typer.Option(False, "--dry-run", help="Check every row and name its video; make nothing."),
    root: Path | None = typer.Option(None, help="Folder outside which no row may read or write."),
    part: str | None = typer.Option(None, "--shard", help="Make only the I-th of N parts, I/N."),
    ray: str | None = typer.Option(
        None, help="Spread rows over a Ray cluster: auto (also without a value), local, or its address."
    ),
    config: Path | None = option("config"),
    as_json: bool = option("json", False, "Count the rows as one JSON object on stdout."),
    quiet: bool = option("quiet", False),
    debug: bool = option("debug", False),
    **shared: Any,
) -> int:
    """Make one video for each row; options of generate given here hold for rows that do not say otherwise."""
    product = [faces, audios, emotions]
    if (manifest is None) == (None in product) or (manifest is not None and any(product)):
        raise UsageError("Give a manifest, or --faces, --audios and --emotions; see emotalk batch --help.")
    if workers < 1:
        raise UsageError(f"--workers {workers} is less than 1; give a number of processes.")
    if root is not None and not root.is_dir():
        raise UsageError(f"--root {root} is not an existing folder; create it or choose another.")
    if out is not None and not out.is_dir():
        raise UsageError(f"--out {out} is not an existing folder; create it or choose another.")
    from .. import manifests

    defaults = merged(read(config), given(shared))
    defaults |= {"out": out.resolve()} if out is not None else {}
    defaults |= {name: Path(value).resolve() for name, value in defaults.items() if isinstance(value, Path)}
    if manifest is not None:
        rows = manifests.read_manifest(manifest, defaults, root=root)
    else:
        assert faces is not None and audios is not None and emotions is not None
        rows = manifests.product(faces, audios, emotions, defaults, root)
    if part is not None:
        rows = manifests.shard(rows, part)
    if dry_run:
        return _planned(rows, quiet, as_json)
    from .. import batch as engine  # late: it imports torch

    log = engine.Results(results if results is not None else _results_name(manifest, out, part))
    if resume:
        done = log.finished(rows)
        rows = [row.resumed() for row in rows if row.number not in done]
    skipped = len(done) if resume else 0
    outcomes = []
    with _display(len(rows), skipped, quiet) as (show, frames):
        made = engine.run(rows, log, workers=workers, ray=ray, fail_fast=fail_fast, progress=frames)
        with contextlib.closing(made):
            for outcome in made:
                outcomes.append(outcome)
                show(outcome)
    log.flush()
    counts = engine.summary(outcomes, skipped)
    if not quiet:
        left = len(rows) - len(outcomes)
        say(
            f"{counts['done']} made, {counts['failed']} failed, {skipped} were done before"
            + (f", {left} not tried" if left else "")
            + f"; see {log.path}"
        )
    if as_json:
        tell(json.dumps(counts | {"results": str(log.path)}))
    return SOME_FAILED if counts["failed"] else 0


def _planned(rows: list[Row], quiet: bool, as_json: bool) -> int:
    """Say what each row would make, or why it cannot."""
    wrong: dict[int, str] = {}
    for row in rows:
        try:
            if row.job is None:
                raise EmoTalkError(row.error or "")
            made = row.job.check().video
            if not quiet:
                say(f"row {row.number}: {made}{' (exists)' if made.exists() else ''}")
        except EmoTalkError as error:
            wrong[row.number] = error.for_command
            say(f"row {row.number}: {error.for_command}")
    if not quiet:
        say(f"{len(rows) - len(wrong)} of {len(rows)} rows can be made. Nothing was written.")
    if as_json:
        tell(json.dumps({"rows": len(rows), "good": len(rows) - len(wrong), "errors": wrong}))
    return SOME_FAILED if wrong else 0


def _results_name(manifest: Path | None, out: Path | None, part: str | None) -> Path:
    shard = f".{part.replace('/', '-of-')}" if part is not None else ""
    if manifest is None or str(manifest) == "-":
        return (out or Path()) / f"emotalk{shard}.results.jsonl"
    return manifest.with_name(f"{manifest.name}{shard}.results.jsonl")


@contextlib.contextmanager
def _display(total: int, skipped: int, quiet: bool) -> Iterator[tuple[Show, Progress | None]]:
    """Functions that show an outcome, and the progress of the row in work, on stderr."""
    if quiet:
        yield lambda outcome: None, None
        return
    if skipped:
        say(f"{skipped} rows are done already.")
    if interactive():
        with _bars(total) as shown:
            yield shown
        return
    begin, count = time.monotonic(), 0

    def show(outcome: Outcome) -> None:
        nonlocal count
        count += 1
        left = (time.monotonic() - begin) / count * (total - count)
        say(f"[{count}/{total}] {_said(outcome)}; {left:.0f} s left")

    yield show, None


@contextlib.contextmanager
def _bars(total: int) -> Iterator[tuple[Show, Progress]]:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Bars

    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()]
    with Bars(*columns, TimeRemainingColumn(), console=console(stderr=True), transient=True) as bar:
        rows, frames = bar.add_task("Videos", total=total), bar.add_task("Frames", total=None)

        def show(outcome: Outcome) -> None:
            bar.console.print(plain(_said(outcome)))
            bar.advance(rows)

        def progress(stage: str, done: int, of: int) -> None:
            if stage == "frames":
                bar.update(frames, completed=done, total=of)

        yield show, progress


def _said(outcome: Outcome) -> str:
    if outcome["status"] == "done":
        text = (
            f"row {outcome['row']}: {outcome['out']} ({outcome['seconds']:.1f} s, made in {outcome['elapsed']:.1f} s)"
        )
    else:
        text = f"row {outcome['row']} failed: {outcome['error']}"
    return text
