"""`emotalk clean`: what killed runs have left behind."""

from __future__ import annotations

import getpass
import json
import shutil
import tempfile
from pathlib import Path

import typer

from ..errors import InputError
from ..media.files import sweep
from .console import plain, tell
from .options import option


def clean(
    folders: list[Path] = typer.Argument(..., metavar="DIR...", help="Folders in which videos are made."),
    caches: bool = typer.Option(False, "--caches", help="Also what --engine compile keeps in the temporary folder."),
    as_json: bool = option("json", False, "List what was removed as one JSON object on stdout."),
) -> None:
    """Remove hidden folders of killed runs, with pieces that --resume could still use; never those of a living run."""
    removed: list[Path] = []
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"{folder} is no folder; name those in which videos are made.")
        removed += sweep(folder, everything=True)
    if caches:
        compiled = Path(tempfile.gettempdir()) / f"torchinductor_{getpass.getuser()}"
        if compiled.is_dir() and not compiled.is_symlink() and compiled.owner() == getpass.getuser():
            shutil.rmtree(compiled, ignore_errors=True)
            removed.append(compiled)
    if as_json:
        tell(json.dumps({"removed": [str(path) for path in removed]}))
    else:
        tell("\n".join(plain(path) for path in removed) or "Nothing to remove.")
