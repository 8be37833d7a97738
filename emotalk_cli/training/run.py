"""One network after its configuration, and all of them in the paper's order: AME, EAC, HEF."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from ..errors import UsageError
from ..face import raster
from ..models import checkpoints
from ..models.acceleration import find_device
from . import config as configs
from .data import shards
from .solver import Progress, Solver

FILMED, FILMED_CONFIG = ("eac", "hef"), "video"  # what prepared clips train, and how unless a configuration is named
STAGES = ("ame", "ame_image", "ame_audio", "eac", "hef")  # of the data pack; clips teach the audio tower with EAC


def train(
    task: str,
    data: Path | None,
    out: Path,
    *,
    config: str | None = None,
    overrides: Sequence[str] = (),
    steps: int | None = None,
    seed: int | None = None,
    amp: str | None = None,
    device: str = "auto",
    renderer: str = "builtin",
    resume: bool = False,
    rest: Path | None = None,
    command: str = "",
    progress: Progress | None = None,
) -> Solver:
    """Train a task (a module of `tasks`) on the data pack or on prepared clips, and complete the weights in `out`.

    config: a file or the name of a shipped one; None for the usual. overrides, steps, seed, amp: see `config.load`.
    device, resume, command, progress: see `Solver`. renderer: builtin | pytorch3d. rest: weights whose other networks
    complete the folder; None for the shipped ones. Raises UsageError, InputError, and what the task raises.
    """
    raster.choose(renderer)
    filmed = data is not None and shards.is_prepared(data)
    if filmed and task not in FILMED:
        raise UsageError(f"emotalk train {task} learns from the data pack; prepared clips train eac and hef.")
    options = configs.load(config_name(task, filmed, config), task, overrides, steps=steps, seed=seed, amp=amp)
    place = find_device(device)
    torch.manual_seed(options.seed)
    module = importlib.import_module(f".tasks.{task}{'_video' if filmed else ''}", __package__)
    built = module.build(data, options, out / task)
    solver = Solver(built, options, out, device=str(place), resume=resume, command=command, progress=progress)
    solver.run()
    if solver.rank == 0:
        checkpoints.complete(out, rest)
    return solver


def config_name(task: str, filmed: bool, named: str | None = None) -> str:
    """The configuration of a run: the one that is named, or the usual of its kind of data."""
    return named or (FILMED_CONFIG if filmed else task)


def stages(data: Path, out: Path) -> Iterator[tuple[str, Path | None, list[str]]]:
    """What `emotalk train` does in turn, each with what came before it: task, its data, overrides."""
    if shards.is_prepared(data):
        yield from ((task, data, []) for task in FILMED)
        return
    before = {"ame_image": "weights", "ame_audio": "weights", "eac": "ame"}
    for task in STAGES:
        yield task, data if task != "ame" else None, [f"task.{before[task]}={out}"] if task in before else []
