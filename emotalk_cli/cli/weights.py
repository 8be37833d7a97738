"""`emotalk weights`: what the models are, whether their files are intact, and judges that others published."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer

from ..errors import UsageError, WeightsError
from .console import console, plain, tell
from .help import Command, Group
from .options import option

app = typer.Typer(help="List, verify, explain and add weight files.", cls=Group, rich_markup_mode=None)

WEIGHTS = option("weights")
JSON = option("json", False, "Print JSON.")
DEBUG = option("debug", False)


@app.command("list", cls=Command)
def list_weights(weights: Path | None = WEIGHTS, as_json: bool = JSON, debug: bool = DEBUG) -> None:
    """The models, and the judges that `emotalk eval` can use."""
    from ..evaluation import published
    from ..models import added, checkpoints

    folder = checkpoints.weights_dir(weights)
    rows = [_row(name, folder) for name in _names(folder)]
    judges = [
        {"name": name, "metric": known.metric, "added": added.has(name), "file": known.file, "source": known.source}
        for name, known in published.NETWORKS.items()
    ]
    if as_json:
        tell(json.dumps({"folder": str(folder), "models": rows, "judges": judges}))
        return
    _table(f"{folder}", ["name", "MB", "parameters", "steps", "sha256"], rows)
    _table(f"{added.folder()}", ["name", "metric", "added", "file", "source"], judges)


@app.command(cls=Command)
def verify(weights: Path | None = WEIGHTS, as_json: bool = JSON, debug: bool = DEBUG) -> None:
    """Read every file and compare its hash with the index; exit code 1 if one is damaged."""
    from ..evaluation import published
    from ..models import added, checkpoints

    folder, found = checkpoints.weights_dir(weights), {}
    places = [(folder, _names(folder)), (added.folder(), [n for n in published.NETWORKS if added.has(n)])]
    for place, names in places:
        for name in names:
            try:
                checkpoints.load(name, place)
                found[str(place / f"{name}.safetensors")] = "intact"
            except WeightsError as error:
                found[str(place / f"{name}.safetensors")] = str(error)
    bad = [path for path, state in found.items() if state != "intact"]
    if as_json:
        tell(json.dumps(found))
    else:
        for path, state in found.items():
            tell(plain(f"{path}: {state}"))
    if bad:
        raise WeightsError(f"{len(bad)} of {len(found)} files are not intact; restore them.")


@app.command(cls=Command)
def info(
    name: str = typer.Argument(..., help="A model, such as eac, or a judge."),
    weights: Path | None = WEIGHTS,
    as_json: bool = JSON,
    debug: bool = DEBUG,
) -> None:
    """What a file says of itself: sizes, data, command, seed; of a judge also where to get it."""
    from ..evaluation import published
    from ..models import added, checkpoints

    if name in published.NETWORKS:
        network = published.NETWORKS[name]
        about = {"name": name, "serves": network.metric, "file": network.file, "source": network.source}
        if not added.has(name):
            about["add"] = f"emotalk weights add {name} {network.file}"
        else:
            about |= _described(name, added.folder())
    else:
        folder = checkpoints.weights_dir(weights)
        if name not in _names(folder):
            known = ", ".join([*_names(folder), *published.NETWORKS])
            raise UsageError(f"There are no weights called {name}; choose one of {known}.")
        about = _described(name, folder)
    if as_json:
        tell(json.dumps(about))
    else:
        width = max(map(len, about))
        tell("\n".join(plain(f"{key:{width}}  {value}") for key, value in about.items()))


@app.command(cls=Command)
def add(
    name: str = typer.Argument(..., help="inception, syncnet, curricularface, emotion-fan, affectnet or gpt2."),
    file: Path = typer.Argument(..., help="The file as its authors distribute it; of gpt2 the folder."),
    debug: bool = DEBUG,
) -> None:
    """Keep a published network: a judge for `emotalk eval`, `affectnet` for L_emo, or `gpt2` for Tab. 3.

    Nothing in the file is run: only its numbers are read.
    """
    from ..evaluation import published

    path = published.add(name, file)
    uses = {"affectnet": "emotalk train eac task.reader=affectnet", "gpt2": "emotalk train ablation"}
    tell(plain(f"{path}: {uses.get(name, 'emotalk eval')} uses it for {published.NETWORKS[name].metric}."))


def _names(folder: Path) -> list[str]:
    from ..models import checkpoints

    return sorted(name.removesuffix(".safetensors") for name in checkpoints.index(folder))


def _row(name: str, folder: Path) -> dict[str, Any]:
    try:
        about = _described(name, folder)
    except WeightsError:
        about = {"name": name, "sha256": "damaged; see emotalk weights verify"}
    return {key: about.get(key, "") for key in ("name", "MB", "parameters", "steps", "sha256")}


def _described(name: str, folder: Path) -> dict[str, Any]:
    from ..models import checkpoints

    found = checkpoints.load(name, folder)
    size = found.path.stat().st_size / 2**20
    about = {"name": name, "path": str(found.path), "MB": round(size, 2)}
    about["parameters"] = sum(tensor.numel() for tensor in found.tensors.values())
    return about | {key: value for key, value in found.metadata.items() if key != "model"} | {"sha256": found.sha256}


def _table(title: str, columns: list[str], rows: list[dict[str, Any]]) -> None:
    import sys

    from rich.table import Table

    table = Table(*columns, title=title, title_justify="left")
    for row in rows:
        values = {**row, "sha256": str(row.get("sha256", ""))[:12].split(";")[0]}
        table.add_row(*(plain(_text(values[column]), 200) for column in columns))
    console(width=None if sys.stdout.isatty() else 160).print(table)


def _text(value: object) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)
