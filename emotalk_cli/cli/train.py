"""`emotalk train`: learn the weights again, or others; `emotalk train prepare`: data sets made ready for it."""

from __future__ import annotations

import contextlib
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import typer

from ..errors import EmoTalkError, InputError, UsageError, extra
from .console import console, interactive, say
from .help import Command, Group
from .options import option, with_parameters

TASKS = {  # name -> what it is
    "tracker": "Face tracker: detector and landmarks.",
    "ame": "AME: the text tower of the emotion space.",
    "ame_image": "AME: the image tower.",
    "ame_audio": "AME: the audio tower.",
    "mouth": "HEF's mouth painter.",
    "matte": "The matte: which part of a picture is the person.",
    "lids": "HEF's lid painter.",
    "vad": "Voice activity detector: speech, against music, tones, breath, noise and crowds.",
    "behaviour": "AME: what a point of the emotion space does to a face.",
    "eac": "EAC: speech and emotion to facial motion, equations 3 to 6.",
    "sync": "The lip-sync judge of emotalk eval.",
    "hef": "HEF: the neural generator, equations 7 to 11.",
    "identity": "The face embedding of the identity measure.",
}
DATASETS = {
    "mead": "MEAD: <subject>/video/front/<emotion>/level_N/NNN.mp4 and <subject>/audio/...",
    "crema-d": "CREMA-D: VideoFlash/*.flv and AudioWAV/*.wav.",
    "ravdess": "RAVDESS: Actor_NN/01-01-*.mp4.",
    "folder": "Any videos in a folder, with labels from a table.",
}
WITHOUT_DATA = ("ame", "behaviour")  # they have a default of their own
EVERY = 10.0  # seconds between lines where stderr is no terminal

app = typer.Typer(help="Train networks; prepare data for it.", cls=Group, rich_markup_mode=None)
prepare_app = typer.Typer(help="Make a filmed data set ready.", cls=Group, rich_markup_mode=None)
app.add_typer(prepare_app, name="prepare")


DATA = typer.Option(None, help="Training data: the data pack, or a prepared folder.")
_ABLATION = {  # parameters of every training
    "config": (
        str | None,
        typer.Option(None, help="A .toml file, or a shipped configuration: paper or TASK.  [default: TASK, or video]"),
    ),
    "steps": (int | None, typer.Option(None, help="Optimizer steps.")),
    "amp": (str | None, typer.Option(None, help="Mixed precision: off, bf16 or fp16.")),
    "device": (str, option("device", "auto")),
    "renderer": (str, option("renderer", "builtin")),
    "quiet": (bool, option("quiet", False)),
    "debug": (bool, option("debug", False)),
}
_NETWORK = _ABLATION | {
    "seed": (int | None, typer.Option(None, help="Of everything random.")),
    "resume": (bool, typer.Option(False, "--resume", help="Go on from the checkpoint in --out.")),
}


@app.callback(invoke_without_command=True)
@with_parameters(_NETWORK)
def train_all(
    context: typer.Context,
    data: Path | None = DATA,
    out: Path = typer.Option(Path("runs/all"), "--out", "-o", help="Folder of the weights."),
    **how: Any,
) -> None:
    """Train everything in the paper's order, AME, EAC, HEF; or one network; or prepare data for it."""
    if context.invoked_subcommand:
        return
    _check_data(data, "")
    assert data is not None  # or that would have said so
    from ..training import run

    for task, source, overrides in run.stages(data, out):
        _train(task, source, out, overrides, **how)


def _train(task: str, data: Path | None, out: Path, overrides: list[str], quiet: bool, debug: bool, **how: Any) -> None:
    """Train one network and say so."""
    with _progress(quiet, f"steps of {task}") as report, extra("train", f"emotalk train {task}"), _data_of(task):
        from ..training import run

        command = shlex.join(["emotalk", *sys.argv[1:]])
        solver = run.train(task, data, out, overrides=overrides, command=command, progress=report, **how)
    if solver.rank == 0 and not quiet:
        for note in getattr(solver.task, "notes", ()):
            say(f"Note: {note}")
        path = out / f"{task}.safetensors"
        say(f"{path}: {solver.config.steps} steps; emotalk generate --weights {out} uses it.")


def _trainer(task: str) -> Callable[..., None]:
    @with_parameters(_NETWORK)
    def command(
        overrides: list[str] | None = typer.Argument(
            None, metavar="[KEY=VALUE]...", help="Changes to the configuration: batch=8, task.window=32."
        ),
        data: Path | None = DATA,
        out: Path | None = typer.Option(None, "--out", "-o", help="Folder of the weights.  [default: runs/TASK]"),
        **how: Any,
    ) -> None:
        _check_data(data, task)
        _train(task, data, out or Path("runs") / task, overrides or [], **how)

    command.__doc__ = TASKS[task]
    return command


for _task in TASKS:
    app.command(_task, cls=Command)(_trainer(_task))


@app.command(cls=Command)
@with_parameters(_ABLATION)
def ablation(
    data: Path = DATA,
    out: Path = typer.Option(Path("runs/ablation"), "--out", "-o", help="Folder of all variants' weights."),
    seeds: str = typer.Option("0,1", help="Separated by commas: each variant once with each, to know what is chance."),
    variants: str | None = typer.Option(None, help="Separated by commas.  [default: all]"),
    **how: Any,
) -> None:
    """Every variant of the paper's table 3, each a folder that emotalk generate --weights reads.

    What is trained already is kept. A network that fails says why, and the others go on.
    """
    _check_data(data, "ablation")
    from ..training import ablation as ablations
    from ..training.solver import Stopped

    chosen = [name.strip() for name in variants.split(",")] if variants else ablations.usual()
    try:
        numbers = [int(seed) for seed in seeds.split(",")]
    except ValueError as error:
        raise UsageError(f"--seeds {seeds} are no numbers; write for example 0,1.") from error
    quiet, debug = how.pop("quiet"), how.pop("debug")
    how["command"] = shlex.join(["emotalk", *sys.argv[1:]])
    failed: dict[tuple[str, int], str] = {}
    order = [(name, seed) for seed in numbers for name in ablations.ordered(chosen)]
    for name, seed in order:
        if (ablations.OURS, seed) in failed:  # whose other half all variants share
            failed[name, seed] = f"{ablations.OURS} of the same seed is missing"
        else:
            try:
                with (
                    _progress(quiet, f"steps of {name}, seed {seed}") as report,
                    extra("train", "emotalk train ablation"),
                    _data_of("ablation"),
                ):
                    folder = ablations.train(name, data, out, seed, progress=report, **how)
            except (UsageError, Stopped):
                raise
            except Exception as error:  # of whatever kind: hours of the other networks must not be lost
                if debug:
                    raise
                failed[name, seed] = _reason(error)
        if (name, seed) in failed:
            say(f"{name}, seed {seed}: not trained ({failed[name, seed]})")
        elif not quiet:
            say(f"{folder}: trained")
    if failed:
        raise EmoTalkError(
            f"{len(failed)} of {len(order)} networks were not trained, for the reasons above; mend them and run the "
            "same command again, which keeps the others."
        )


def _reason(error: Exception) -> str:
    """One line that says what went wrong."""
    text = " ".join(str(error).split()).rstrip(".")
    return text if isinstance(error, EmoTalkError) else f"{type(error).__name__}: {text}"[:300]


@app.command("face-model", cls=Command)
def face_model(
    data: Path = typer.Option(..., help="The data pack."),
    out: Path = typer.Option(Path("runs/face-model"), "--out", "-o", help="Folder of the weights."),
    seed: int = typer.Option(0, help="Of the texture's decomposition."),
    quiet: bool = option("quiet", False),
    debug: bool = option("debug", False),
) -> None:
    """The linear 3D face model of equation 1, by least squares and PCA: no steps, no checkpoint."""
    _check_data(data, "face-model")
    from ..models import checkpoints

    with extra("train", "emotalk train face-model"), _data_of("face-model"):
        from ..training.tasks.face_model import learn

        path = learn(data, out, seed, shlex.join(["emotalk", *sys.argv[1:]]))
    checkpoints.complete(out)
    if not quiet:
        say(f"{path}: {path.stat().st_size / 2**20:.1f} MB")


def _preparer(dataset: str) -> Callable[..., None]:
    def command(
        data: Path = typer.Option(..., help="Root of the data set as it is distributed."),
        out: Path = typer.Option(..., "--out", "-o", help="Folder of the prepared clips."),
        size: int = typer.Option(512, help="Side of the face crops in px."),
        jobs: int = typer.Option(0, help="Processes; 0: as many as cores."),
        labels: Path | None = typer.Option(
            None, help="folder: CSV with the columns file and any of subject, emotion, intensity, split."
        ),
        weights: Path | None = option("weights"),
        quiet: bool = option("quiet", False),
        debug: bool = option("debug", False),
    ) -> None:
        _check_data(data, "prepare")
        if labels is not None and dataset != "folder":
            raise UsageError(f"--labels is for folder; {dataset} carries its labels in its file names.")
        with _progress(quiet, "clips") as report:
            from ..training.data import prepare

            sources = prepare.LAYOUTS[dataset](data, *([labels] if labels else []))
            made = prepare.prepare(
                sources,
                out,
                size,
                jobs,
                str(weights) if weights is not None else None,
                lambda done, total: report(done, total, {}),
            )
        if not quiet:
            say(
                f"{out}: {len(made.made)} clips made, {len(made.kept)} kept, {len(made.bad)} bad"
                + (f" ({out / prepare.REPORT} says why)" if made.bad else "")
            )

    command.__doc__ = DATASETS[dataset]
    return command


for _dataset in DATASETS:
    prepare_app.command(_dataset, cls=Command)(_preparer(_dataset))


@contextlib.contextmanager
def _data_of(task: str) -> Iterator[None]:
    """Data that is not there is the user's affair. Raises InputError."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as error:
        remedy = "give the data pack, or a folder of emotalk train prepare, to --data"
        if task in WITHOUT_DATA:
            remedy = "install WordNet's files (Debian: wordnet), or give their folder to --data"
        raise InputError(f"{error.filename} is missing; {remedy}.") from error


def _check_data(data: Path | None, task: str) -> None:
    if data is None:
        if task not in WITHOUT_DATA:
            command = f"emotalk train {task}".rstrip()
            raise UsageError(f"{command} needs --data: the data pack, or a folder of emotalk train prepare.")
    elif data.is_dir() and not any(data.iterdir()):
        raise InputError(f"{data} is empty; give the folder of the data to --data.")
    elif not data.is_dir():
        raise InputError(f"{data} is not a folder; give the folder of the data to --data.")


@contextlib.contextmanager
def _progress(quiet: bool, unit: str = "steps") -> Iterator[Callable[[int, int, dict[str, float]], None]]:
    """Shows (done, total, last row of the log) on stderr: a bar on a terminal, a line now and then in a log."""
    if quiet:
        yield lambda done, total, row: None
        return
    if not interactive():
        yield _Lines(unit)
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = [BarColumn(), MofNCompleteColumn(), TextColumn(unit), TimeRemainingColumn()]
    columns.append(TextColumn("{task.fields[figures]}"))
    with Progress(*columns, console=console(stderr=True), transient=True) as bar:
        shown = bar.add_task("", total=None, figures="")
        yield lambda done, total, row: bar.update(shown, completed=done, total=total, figures=_figures(row))


class _Lines:
    def __init__(self, unit: str) -> None:
        self._unit, self._last, self._first = unit, 0.0, 0
        self._begin: float | None = None

    def __call__(self, done: int, total: int, row: dict[str, float]) -> None:
        now = time.monotonic()
        if self._begin is None:
            self._begin, self._first = now, done
        if now - self._last >= EVERY or done == total:
            speed = f", {(done - self._first) / (now - self._begin):.2g}/s" if done > self._first else ""
            say(f"{done}/{total} {self._unit}{speed}  {_figures(row)}".rstrip())
            self._last = now


def _figures(row: dict[str, float]) -> str:
    return "  ".join(f"{key} {value:.4g}" for key, value in row.items() if key not in ("step", "seconds"))
