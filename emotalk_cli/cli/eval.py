"""`emotalk eval`: generated videos against real ones, a model on a prepared test set, and how fast it is."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from pathlib import Path
from typing import Optional

import typer

from ..errors import UsageError
from .train import _progress

app = typer.Typer(help="Measure quality and speed.", rich_markup_mode=None, invoke_without_command=True)


@app.callback()
def evaluate(
    context: typer.Context,
    generated: Optional[Path] = typer.Option(None, help="A generated video, or a folder of them."),  # noqa: UP045
    reference: Optional[Path] = typer.Option(None, help="The real video, or a folder of the same names."),  # noqa: UP045
    data: Optional[Path] = typer.Option(  # noqa: UP045
        None, help="Instead: clips of emotalk train prepare, whose test split is generated again."
    ),
    metrics: str = typer.Option(
        "psnr,ssim,fid,lmd,sync,csim,efd,jitter", help="Separated by commas; NAME-builtin asks for our own judge."
    ),
    emotion: str = typer.Option("text,image,audio", help="With --data: where emotions come from."),
    clips: int = typer.Option(0, help="With --data: at most so many clips; 0: all."),
    generator: str = typer.Option("hef", help="With --data: hef or geometry."),
    videos: Optional[Path] = typer.Option(None, help="With --data: keep the videos here."),  # noqa: UP045
    as_json: Optional[Path] = typer.Option(None, "--json", help="Write the figures to a .json file."),  # noqa: UP045
    as_csv: Optional[Path] = typer.Option(None, "--csv", help="Write the figures to a .csv file."),  # noqa: UP045
    report: Optional[Path] = typer.Option(None, help="Write a page with tables, plots and frames, .html."),  # noqa: UP045
    device: str = typer.Option("auto", help="auto, cpu, cuda (or cuda:N), mps."),
    weights: Optional[Path] = typer.Option(None, help="Folder of other weights.  [env: EMOTALK_WEIGHTS]"),  # noqa: UP045
    seed: int = typer.Option(0, help="With --data: of the random frame, blinks."),
    quiet: bool = typer.Option(False, "--quiet", "-q", help="Print nothing but errors."),
    debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error."),
) -> None:
    """Measure generated videos against real ones, or a model on prepared clips."""
    if context.invoked_subcommand:
        return
    if (data is None) == (generated is None or reference is None):
        raise UsageError("Give --generated and --reference, or --data; see emotalk eval --help.")
    from ..files import check_output

    for path, ending in ((as_json, ".json"), (as_csv, ".csv"), (report, ".html")):
        if path is not None:
            check_output(path, suffixes=(ending,))
    from ..metrics import evaluate as evaluation
    from ..metrics import report as reports
    from ..pipeline import EmoTalk, find_device

    names = evaluation.resolve([name.strip() for name in metrics.split(",") if name.strip()])
    place = str(find_device(device))
    about = {"generated": str(generated or data), "weights": str(weights or "shipped"), "device": place}
    notes: list[str] = []
    with contextlib.ExitStack() as stack:
        if data is None:
            rows = {"generated": evaluation.pairs(generated, reference)}
        else:
            from ..metrics import protocol
            from ..training import shards

            folder = videos or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="emotalk-")))
            tests = shards.listing(data, "test")[: clips or None]
            kinds = [kind.strip() for kind in emotion.split(",") if kind.strip()]
            talker = EmoTalk.load(weights, place, generator)
            with _progress(quiet, "videos") as show:
                rows, notes = protocol.generate(
                    talker, tests, kinds, folder, seed, lambda done, total: show(done, total, {})
                )
            about |= {"clips": len(tests), "generator": generator}
        judges = evaluation.Judges(names, weights, place)
        results = {}
        for row, pairs in rows.items():
            with _progress(quiet, f"clips of {row}") as show:
                results[row] = evaluation.evaluate(pairs, judges, lambda done, total: show(done, total, {}))
    if not results:
        raise UsageError("Nothing was measured: " + " ".join(notes))
    if as_json is not None:
        reports.write_json(as_json, results, about)
    if as_csv is not None:
        reports.write_csv(as_csv, results)
    if report is not None:
        reports.write_html(report, results, about)
    if not quiet:
        for note in dict.fromkeys([*notes, *(note for result in results.values() for note in result.notes)]):
            print(f"Note: {note}", file=sys.stderr)
        _print(results)


def _print(results) -> None:
    """The table on stdout."""
    from rich.console import Console
    from rich.table import Table

    from ..metrics.report import arrow, figure, metrics_of

    columns = metrics_of(results)
    table = Table("", *map(arrow, columns))
    rows = [(name, result.mean) for name, result in results.items()]
    if real := next(iter(results.values())).reference:
        rows.append(("real videos", real))
    for name, values in rows:
        table.add_row(name, *(figure(values.get(m)) for m in columns))
    console = Console(width=None if sys.stdout.isatty() else 200)
    console.print(table)
