"""`emotalk config`: the file of defaults."""

from __future__ import annotations

import json
from pathlib import Path

import typer

from .. import config as defaults
from ..media.files import check_input
from .console import plain, say, tell
from .help import Command, Group
from .options import option

app = typer.Typer(help="Defaults of options in a TOML file.", cls=Group, rich_markup_mode=None)


@app.command(cls=Command)
def show(
    config: Path | None = option("config"),
    as_json: bool = option("json", False, "As one JSON object on stdout."),
) -> None:
    """Which defaults hold, and from which file."""
    file = config or defaults.place()
    if config is not None:
        check_input(config, "configuration")
    held = defaults.read(config)
    serve = defaults.read(config, "serve", defaults.SERVE)
    serve |= {"token": "..."} if "token" in serve else {}
    if as_json:
        tell(json.dumps({"file": str(file), "exists": file.is_file(), "generate": held, "serve": serve}, default=str))
        return
    say(f"{file}{'' if file.is_file() else ' (not there; the defaults of emotalk generate --help hold)'}")
    for name, value in held.items():
        tell(f"{name} = {plain(value)}")
    for name, value in serve.items():
        tell(f"serve.{name} = {plain(value)}")
