"""Defaults of options in a TOML file: `--config FILE`, else `~/.config/emotalk.toml`; what is given in words wins.

# emotalk.toml: names as of `emotalk generate`, without the dashes
emotion = "calm"
size = 768
[serve]          # options of `emotalk serve`
port = 9000
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .errors import InputError, UsageError, did_you_mean
from .media.files import check_input
from .settings import EMOTION_SOURCES, FILES_OR_WORDS, JOB_OPTIONS, OPTIONS, names_file

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

LARGEST = 1 << 20  # bytes
SERVE = ("host", "port", "token", "folder", "queue", "upload", "seconds", "keep", "device", "generator", "encoder",
         "weights")  # fmt: skip
_NOT = ("face", "audio", "text", "motion", "out", "preview", "export_blendshapes")  # of one video
SHARED = tuple(name for name in JOB_OPTIONS if name not in _NOT)
_ALTERNATIVES = (  # of which a command's own takes the place of a file's
    tuple("emotion" if kind == "text" else f"emotion_{kind}" for kind in EMOTION_SOURCES),
    ("loop", "freeze"),
    ("face_index", "face_at"),
)


def place() -> Path:
    """Where defaults lie unless --config names another file."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "emotalk.toml"


def read(path: Path | None, table: str | None = None, known: Iterable[str] = SHARED) -> dict[str, Any]:
    """Defaults, name -> value as a command would get them; {} where no file is.

    path: None for `place`. table: one of the file, None for its beginning. known: names that it may hold; paths are
    seen from the file. Raises InputError and UsageError.
    """
    try:
        usual = place()
    except RuntimeError:  # no home folder
        usual = None
    if path is None and (usual is None or not usual.is_file()):
        return {}
    file = check_input(path or usual or Path(), "configuration")
    if file.stat().st_size > LARGEST:
        raise InputError(f"{file} is larger than {LARGEST >> 20} MiB; a configuration is a short file.")
    try:
        held = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file} cannot be read as text; save it in UTF-8.") from error
    except (ValueError, RecursionError) as error:  # also of a number with thousands of digits
        raise InputError(f"{file} is not valid TOML ({str(error)[:80]}); correct it.") from error
    given = held.get(table, {}) if table else {name: value for name, value in held.items() if name != "serve"}
    if not isinstance(given, dict):
        raise InputError(f"{file}: {table} is no table; write [{table}].")
    names, found = list(known), dict[str, Any]()
    for raw, value in given.items():
        name = raw.replace("-", "_")
        if name not in names:
            more = f" ({OPTIONS[name].flag} is of one video)" if name in _NOT and not table else ""
            raise UsageError(f"{file}: {raw!r} cannot be set there{more}.{did_you_mean(name, names)}")
        if not isinstance(value, str | int | float):
            raise UsageError(f"{file}: {raw} is no plain value; write a text, a number, true or false.")
        found[name] = _seen_from(file.parent, name, value)
        if not table:
            OPTIONS[name].parse(found[name])
    return found


def merged(defaults: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """What a command was given over its defaults."""
    kept = dict(defaults)
    for group in _ALTERNATIVES:
        if any(given.get(name) is not None for name in group):
            kept = {name: value for name, value in kept.items() if name not in group}
    return kept | {name: value for name, value in given.items() if value is not None}


def _seen_from(folder: Path, name: str, value: Any) -> Any:
    is_path = name in ("folder", "weights") or (name in OPTIONS and OPTIONS[name].kind is Path)
    if isinstance(value, str) and (is_path or (name in FILES_OR_WORDS and names_file(name, value))):
        path = folder / os.path.expanduser(value)
        return path if is_path else str(path)
    return value
