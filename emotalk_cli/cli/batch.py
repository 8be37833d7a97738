"""`emotalk batch`: many videos."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import typer

from ..errors import UsageError
from ..settings import JOB_OPTIONS, Progress
from .options import given, option, with_options

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
    part: str | None = typer.Option(None, "--shard", help="Make only the I-th of N parts, I/N."),
    ray: str | None = typer.Option(
        None, help="Spread rows over a Ray cluster: auto (also without a value), local, or its address."
    ),
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
    if out is not None and not out.is_dir():
        raise UsageError(f"--out {out} is not an existing folder; create it or choose another.")
    from .. import batch as engine  # late: it imports torch

    defaults = given(shared)
    defaults |= {"out": out.resolve()} if out is not None else {}
    defaults |= {name: Path(value).resolve() for name, value in defaults.items() if isinstance(value, Path)}
    if manifest is not None:
        rows = engine.read_manifest(manifest, defaults)
    else:
        assert faces is not None and audios is not None and emotions is not None
        rows = engine.product(faces, audios, emotions, defaults)
    if part is not None:
        rows = engine.shard(rows, part)
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
    counts = engine.summary(outcomes, skipped)
    if not quiet:
        left = len(rows) - len(outcomes)
        print(
            f"{counts['done']} made, {counts['failed']} failed, {skipped} were done before"
            + (f", {left} not tried" if left else "")
            + f"; see {log.path}",
            file=sys.stderr,
        )
    if as_json:
        print(json.dumps(counts | {"results": str(log.path)}))
    return SOME_FAILED if counts["failed"] else 0


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
        print(f"{skipped} rows are done already.", file=sys.stderr)
    if sys.stderr.isatty():
        with _bars(total) as shown:
            yield shown
        return
    begin, count = time.monotonic(), 0

    def show(outcome: Outcome) -> None:
        nonlocal count
        count += 1
        left = (time.monotonic() - begin) / count * (total - count)
        print(f"[{count}/{total}] {_said(outcome)}; {left:.0f} s left", file=sys.stderr, flush=True)

    yield show, None


@contextlib.contextmanager
def _bars(total: int) -> Iterator[tuple[Show, Progress]]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Bars

    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()]
    with Bars(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bar:
        rows, frames = bar.add_task("Videos", total=total), bar.add_task("Frames", total=None)

        def show(outcome: Outcome) -> None:
            bar.console.print(_said(outcome), markup=False, highlight=False)
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
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
