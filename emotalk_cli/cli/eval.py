"""`emotalk eval`: generated videos against real ones, a model on a prepared test set, and how fast it is."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ..errors import UsageError, extra
from .console import console, plain, say, tell
from .help import Command, Group
from .options import option
from .train import _progress

if TYPE_CHECKING:
    from rich.table import Table

    from ..evaluation.bench import Latency, Likeness, Making, Speed

app = typer.Typer(help="Measure quality and speed.", cls=Group, rich_markup_mode=None, invoke_without_command=True)


@app.callback()
def evaluate(
    context: typer.Context,
    generated: Path | None = typer.Option(None, help="A generated video, or a folder of them."),
    reference: Path | None = typer.Option(None, help="The real video, or a folder of the same names."),
    data: Path | None = typer.Option(
        None, help="Instead: clips of emotalk train prepare, whose test split is generated again."
    ),
    metrics: str = typer.Option(
        "psnr,ssim,fid,lmd,sync,csim,efd,jitter", help="Separated by commas; NAME-builtin asks for our own judge."
    ),
    emotion: str = typer.Option("text,image,audio", help="With --data: where emotions come from."),
    clips: int = typer.Option(0, help="With --data: at most so many clips; 0: all."),
    generator: str = option("generator", "hef", "With --data: hef or geometry."),
    clip: str | None = typer.Option(None, help="With --data: an upstream CLIP, as for emotalk generate."),
    videos: Path | None = typer.Option(None, help="With --data: keep the videos here."),
    as_json: Path | None = typer.Option(None, "--json", help="Write the figures to a .json file."),
    as_csv: Path | None = typer.Option(None, "--csv", help="Write the figures to a .csv file."),
    report: Path | None = typer.Option(None, help="Write a page with tables, plots and frames, .html."),
    device: str = option("device", "auto"),
    weights: Path | None = option("weights"),
    seed: int = typer.Option(0, help="With --data: of the random frame, blinks."),
    quiet: bool = option("quiet", False),
    debug: bool = option("debug", False),
) -> None:
    """Measure generated videos against real ones, or a model on prepared clips."""
    if context.invoked_subcommand:
        return
    given = (generated, reference)
    if (data is not None and any(given)) or any(given) != all(given):
        raise UsageError("Give --generated and --reference, or --data, or none of them; see emotalk eval --help.")

    for path, ending in ((as_json, ".json"), (as_csv, ".csv"), (report, ".html")):
        _check(path, ending)
    from ..api import EmoTalk

    with extra("eval", "emotalk eval"):
        from ..evaluation import evaluate as evaluation
        from ..evaluation import report as reports
    from ..models.acceleration import find_device

    names, notes = evaluation.resolve([name.strip() for name in metrics.split(",") if name.strip()], weights)
    place = str(find_device(device))
    about = {"generated": str(generated or data), "weights": str(weights or "shipped"), "device": place}
    with contextlib.ExitStack() as stack:
        folder = videos or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="emotalk-")))
        if generated is not None and reference is not None:
            rows = {"generated": evaluation.pairs(generated, reference)}
        elif data is None:
            from ..evaluation import protocol

            about["generated"] = "self-made pairs"
            notes.append(protocol.SELF_MADE)
            talker = EmoTalk.load(weights, place, generator, clip=clip)
            with _progress(quiet, "videos") as show:
                rows = protocol.self_made(talker, folder, seed, lambda done, total: show(done, total, {}))
        else:
            from ..evaluation import protocol
            from ..training.data import shards

            tests = shards.listing(data, "test")[: clips or None]
            kinds = [kind.strip() for kind in emotion.split(",") if kind.strip()]
            talker = EmoTalk.load(weights, place, generator, clip=clip)
            with _progress(quiet, "videos") as show:
                rows, more = protocol.generate(
                    talker, tests, kinds, folder, seed, lambda done, total: show(done, total, {})
                )
            notes += more
            about |= {"clips": str(len(tests)), "generator": generator}
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
            say(f"Note: {note}")
        _print(results)


def _print(results: dict[str, Any]) -> None:
    """The table on stdout."""
    from rich.table import Table

    from ..evaluation.report import arrow, figure, metrics_of

    columns = metrics_of(results)
    table = Table("", *map(arrow, columns))
    rows = [(name, result.mean) for name, result in results.items()]
    if real := next(iter(results.values())).reference:
        rows.append(("real videos", real))
    for name, values in rows:
        table.add_row(plain(name, 100), *(figure(values.get(m)) for m in columns))
    printer = console(width=None if sys.stdout.isatty() else 200)
    printer.print(table)


@app.command(cls=Command)
def ablation(
    runs: Path = typer.Option(Path("runs/ablation"), help="Folder of emotalk train ablation."),
    data: Path = typer.Option(..., help="Clips of emotalk train prepare, whose test split is generated."),
    clips: int = typer.Option(0, help="At most so many clips; 0: all."),
    videos: Path | None = typer.Option(None, help="Keep the videos here."),
    out: Path | None = typer.Option(None, "--out", "-o", help="Write the table, .md."),
    as_json: Path | None = typer.Option(None, "--json", help="Write the figures to a .json file."),
    device: str = typer.Option("auto", help="auto, cpu, cuda (or cuda:N), mps."),
    quiet: bool = typer.Option(False, "--quiet", "-q", help="Print nothing but errors."),
    debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error."),
) -> None:
    """The paper's table 3, EFD, LMD and Sync, of the variants that emotalk train ablation left."""
    import json

    from ..evaluation import ablation as ablations
    from ..models.acceleration import find_device

    for path, ending in ((out, ".md"), (as_json, ".json")):
        _check(path, ending)
    with _progress(quiet, "variants") as show:
        place = str(find_device(device))
        table = ablations.measure(runs, data, place, clips, videos, lambda done, total: show(done, total, {}))
    _write(out, table.markdown() + "\n")
    _write(as_json, json.dumps(table.figures, indent=1) + "\n")
    if not quiet:
        for note in dict.fromkeys(table.notes):
            say(f"Note: {note}")
        for line in table.markdown().splitlines():
            tell(plain(line))


@app.command(cls=Command)
def lips(
    data: Path = typer.Option(..., help="The data pack, whose held-out recordings are spoken."),
    out: Path = typer.Option(Path("runs/lips"), "--out", "-o", help="Folder of the videos; those there are kept."),
    speech: Path | None = typer.Option(None, help="Folder of more recordings (.ogg) with exact phones (.tsv)."),
    clips: str = typer.Option("6,8,4,12", help="How many of GRID, EmoDB, LJSpeech and --speech."),
    emotions: str = typer.Option("neutral", help="Separated by commas, or all."),
    generator: str = option("generator", "hef", "hef or geometry."),
    size: int = typer.Option(512, help="Side of the videos in px."),
    coefficients: bool = typer.Option(False, "--coefficients", help="Measure EAC's coefficients instead of videos."),
    weights: Path | None = option("weights"),
    as_json: Path | None = typer.Option(None, "--json", help="Write the figures to a .json file."),
    quiet: bool = option("quiet", False),
    debug: bool = option("debug", False),
) -> None:
    """Do the lips say the words? Held-out speech as videos, tracked by MediaPipe."""
    import json

    from ..evaluation import sync

    _check(as_json, ".json")
    if coefficients:
        from ..evaluation.lips import Lips

        report: dict[str, Any] = Lips.load(weights, data).report(str(speech or ""))
    else:
        names = list(sync.EMOTIONS) if emotions == "all" else [name.strip() for name in emotions.split(",")]
        if unknown := [name for name in names if name not in sync.EMOTIONS]:
            raise UsageError(f"--emotions {', '.join(unknown)} is unknown; choose from {', '.join(sync.EMOTIONS)}.")
        try:
            counts = dict(zip(sync.SETS, map(int, clips.split(",")), strict=True))
        except ValueError as error:
            raise UsageError(f"--clips {clips} should be {len(sync.SETS)} numbers, such as 6,8,4,12.") from error
        with _progress(quiet, "videos") as show:
            sync.render(
                data,
                out,
                counts,
                names,
                speech=str(speech or ""),
                generator=generator,
                size=size,
                weights=weights,
                progress=lambda done, total: show(done, total, {}),
            )
        report = sync.measure(data, out)
    text = json.dumps(report, indent=1, default=lambda value: round(value, 4))
    _write(as_json, text + "\n")
    if not quiet:
        _tell(text if coefficients else sync.table(report))


@app.command(cls=Command)
def closing(
    data: Path = typer.Option(..., help="The data pack, whose held-out photos with parted lips speak."),
    generator: str = option("generator", "hef", "hef or geometry."),
    portraits: int = typer.Option(24, help="How many; 0: all."),
    save: Path | None = typer.Option(None, help="Keep strips of frames in this folder."),
    weights: Path | None = option("weights"),
    as_json: Path | None = typer.Option(None, "--json", help="Write the figures to a .json file."),
    quiet: bool = option("quiet", False),
    debug: bool = option("debug", False),
) -> None:
    """Do lips that a portrait shows apart meet, in silence and on /p b m/, at any turn of the head?"""
    import json

    from ..evaluation import closing as closings
    from ..evaluation import sync

    _check(as_json, ".json")
    with _progress(quiet, "portraits") as show:
        report = closings.evaluate(data, generator, portraits, weights, save, lambda done, total: show(done, total, {}))
    _write(as_json, json.dumps(report, indent=1) + "\n")
    if not quiet:
        _tell(sync.table(report))


def _check(path: Path | None, ending: str) -> None:
    """Raise UsageError if a file that is wanted cannot be written."""
    from ..media.files import check_output

    if path is not None:
        check_output(path, suffixes=(ending,))


def _write(path: Path | None, text: str) -> None:
    """A file that appears when all of it is there; none without a path."""
    from ..media.files import PartFile

    if path is not None:
        with PartFile(path) as part:
            part.path.write_text(text)


def _tell(text: str) -> None:
    for line in text.splitlines():
        tell(plain(line, 10_000))


@app.command(cls=Command)
def bench(
    face: list[Path] = typer.Option([], help="Portrait; several with --same.  [default: the example]"),
    audio: Path | None = typer.Option(None, help="Speech.  [default: the example]"),
    generator: str = typer.Option("hef,geometry", help="Separated by commas; hef:eager names an engine."),
    size: int = typer.Option(512, help="Side of the video in px."),
    repeats: int = typer.Option(1, min=1, help="Runs after the first, which warms up; the best counts."),
    batch: str | None = typer.Option(None, help="Frames at once, such as 1,16: of making them alone, not encoding."),
    latency: bool = typer.Option(False, "--latency", help="Of live speech instead: how late frames leave."),
    same: bool = typer.Option(False, "--same", help="Instead: how far frames are from those of the first generator."),
    device: str = option("device", "auto"),
    weights: Path | None = option("weights"),
    as_json: Path | None = typer.Option(None, "--json", help="Write the figures to a .json file."),
    debug: bool = option("debug", False),
) -> None:
    """Speed from files to file and by stage, memory, parameters."""
    import json

    from ..evaluation import bench as benches
    from ..examples import example
    from ..media.files import check_input
    from ..models.acceleration import find_device

    faces = [check_input(one, "picture") for one in face or [example("portrait.png")]]
    audio = check_input(audio or example("speech.wav"), "audio file")
    _check(as_json, ".json")
    place = str(find_device(device))
    names = [name.strip() for name in generator.split(",") if name.strip()]
    if same and len(names) < 2:
        raise UsageError("--same compares generators; name two or more, such as --generator hef:eager,hef:compile.")
    if len(faces) > 1 and not same:
        raise UsageError("--face is given more than once, which only --same can use; give one.")
    about = benches.machine(place)

    def write(figures: dict[str, Any]) -> None:
        _write(as_json, json.dumps({**about, **figures}, indent=1))

    how = place, weights, size
    if batch is not None:
        table = _making(benches.making(faces[0], audio, names, _numbers(batch), *how, repeats), write)
    elif same:
        table = _likeness(benches.likeness(faces, audio, names, *how), names[0], write)
    elif latency:
        table = _latency({name: benches.latency(faces[0], audio, name, *how) for name in names}, write)
    else:
        table = _speed(benches.bench(faces[0], audio, names, *how, repeats), write)
    table.title = ", ".join(f"{k} {v}" for k, v in about.items())
    console(width=None if sys.stdout.isatty() else 120).print(table)


def _numbers(batch: str) -> list[int]:
    """The numbers of --batch. Raises UsageError."""
    try:
        at_once = [int(number) for number in batch.split(",")]
    except ValueError as error:
        raise UsageError(f"--batch {batch} are no numbers; write for example 1,16.") from error
    if min(at_once) < 1:
        raise UsageError(f"--batch {batch} must be 1 or more.")
    return at_once


def _making(rows: Iterable[Making], write: Callable[[dict[str, Any]], None]) -> Table:
    """Frames alone, as they are measured: what is written stays, whatever becomes of the rest."""
    from dataclasses import asdict

    from rich.table import Table

    made: dict[tuple[str, int], Making] = {}
    for row in rows:
        made[row.generator, row.batch] = row
        say(f"{row.generator}, {row.batch} at once: {row.milliseconds:.2f} ms a frame {row.note}")
        write({"making": [asdict(row) for row in made.values()]})
    table = Table("generator", "at once", "ms a frame", "card busy, ms", "kernels", "launches", "waits", "memory, GB")
    for row in made.values():
        figures = row.milliseconds, row.busy_milliseconds, row.kernel_count, row.launches, row.waits, row.memory_gb
        table.add_row(row.generator, str(row.batch), *(f"{figure:.2f}" for figure in figures))
    return table


def _likeness(rows: list[Likeness], first: str, write: Callable[[dict[str, Any]], None]) -> Table:
    """How far frames are apart, of 255, by generator and portrait."""
    from dataclasses import asdict

    from rich.table import Table

    write({"same": [asdict(row) for row in rows]})
    table = Table(f"beside {first}", "portrait", "frames", "mean", "worst frame", "largest")
    for row in rows:
        values = (f"{row.mean:.4f}", f"{row.worst:.4f}", f"{row.largest:.0f}")
        table.add_row(row.generator, plain(row.face), str(row.frames), *values)
    return table


def _latency(late: dict[str, Latency], write: Callable[[dict[str, Any]], None]) -> Table:
    """How late frames of live speech leave, by generator."""
    from dataclasses import asdict

    from rich.table import Table

    write({"latency": {name: asdict(one) for name, one in late.items()}})
    table = Table("", *late)
    table.add_row("frames", *(str(one.frames) for one in late.values()))
    table.add_row("look-ahead, s", *(f"{one.look_ahead_seconds:.2f}" for one in late.values()))
    for k, name in enumerate(("median", "95th percentile")):
        table.add_row(f"processing, ms: {name}", *(f"{one.processing_milliseconds[k]:.0f}" for one in late.values()))
    table.add_row("memory's growth, MB", *(f"{one.memory_growth_mb:.0f}" for one in late.values()))
    return table


def _speed(found: list[Speed], write: Callable[[dict[str, Any]], None]) -> Table:
    """Whole videos, by generator."""
    from dataclasses import asdict

    from rich.table import Table

    write({"rows": [asdict(one) for one in found]})
    table = Table("", *(one.generator for one in found))
    table.add_row("frames/s", *(f"{one.frames_per_second:.1f}" for one in found))
    table.add_row("ms a frame", *(f"{one.milliseconds:.1f}" for one in found))
    for stage in dict.fromkeys(stage for one in found for stage in one.stages):
        table.add_row(f"  {stage}", *(f"{one.stages.get(stage, 0):.1f}" for one in found))
    table.add_row("processor ms a frame", *(f"{one.processor_milliseconds:.1f}" for one in found))
    table.add_row("first frame, s", *(f"{one.first_frame_seconds:.1f}" for one in found))
    table.add_row("peak memory, GB", *(f"{one.memory_gb:.2f}" for one in found))
    table.add_row("loading, s", *(f"{one.load_seconds:.1f}" for one in found))
    for network in dict.fromkeys(name for one in found for name in one.parameters):
        table.add_row(f"{network}, M parameters", *(f"{one.parameters.get(network, 0):.2f}" for one in found))
    return table
