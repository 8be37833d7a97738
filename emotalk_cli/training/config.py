"""Training configurations: TOML files with one table a task, the shipped ones by name, and KEY=VALUE overrides.

[eac]                # the solver's own keys, see `Config`
steps = 10000
batch = 16

[eac.task]           # what the task understands
window = 32
"""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from ..errors import InputError, UsageError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found, unused-ignore]

SHIPPED = Path(__file__).parent / "configs"
Options = TypeVar("Options")


@dataclasses.dataclass
class Config:
    """How a task is trained.

    steps: optimizer steps. minutes: the run ends after so many, whatever its steps; 0 for no limit. batch: samples a
    step, over all processes. rate: full learning rate. warmup: steps until it is reached. hold: share of the run until
    it falls, along a cosine, to floor times itself. seed: of everything. ema: decay of the averaged weights that are
    shipped. amp: off | bf16 | fp16 autocast. clip: largest gradient norm, 0 for none. log_every, validate_every,
    save_every: steps. workers: threads that draw batches ahead, 0 to draw them in turn. task: the task's own options.
    """

    steps: int = 1000
    minutes: float = 0.0
    batch: int = 16
    rate: float = 1e-3
    warmup: int = 100
    hold: float = 0.0
    floor: float = 0.02
    seed: int = 0
    ema: float = 0.998
    amp: str = "off"
    clip: float = 1.0
    log_every: int = 50
    validate_every: int = 500
    save_every: int = 250
    workers: int = 0
    task: dict[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "log_every", "validate_every", "save_every"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name}={getattr(self, name)} must be at least 1.")
        for name in ("minutes", "rate", "warmup", "hold", "floor", "ema", "clip", "workers", "seed"):
            if getattr(self, name) < 0:
                raise UsageError(f"{name}={getattr(self, name)} must not be negative.")
        if self.amp not in ("off", "bf16", "fp16"):
            raise UsageError(f"amp={self.amp} is unknown; choose off, bf16 or fp16.")


def load(source: str | os.PathLike[str], task: str, overrides: Sequence[str] = (), **options: Any) -> Config:
    """The table of `task` in a TOML file, or in the shipped configuration of that name.

    overrides: KEY=VALUE, the value in TOML (text may go without quotes), `task.KEY=VALUE` for the task's own.
    options: fields that win over everything unless None. Raises InputError and UsageError.
    """
    path = Path(source)
    if path.suffix != ".toml":
        path = SHIPPED / f"{source}.toml"
        if not path.is_file():
            known = ", ".join(sorted(p.stem for p in SHIPPED.glob("*.toml")))
            raise UsageError(f"No configuration is called {source}; name a .toml file or one of {known}.")
    try:
        tables = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read; check the name of the configuration.") from error
    except (ValueError, RecursionError) as error:  # also of a number with thousands of digits
        raise InputError(f"{path} is not valid TOML ({str(error)[:80]}); correct it.") from error
    if not isinstance(tables.get(task), dict):
        raise InputError(f"{path} has no table [{task}]; add one or name another configuration.")
    table = dict(tables[task])
    table["task"] = dict(table.get("task", {}))
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise UsageError(f"{override} is no KEY=VALUE; write for example batch=8.")
        owner = table["task"] if key.startswith("task.") else table
        owner[key.removeprefix("task.")] = _value(text)
    table |= {key: value for key, value in options.items() if value is not None}
    return build(Config, table)


def build(kind: type[Options], table: dict[str, Any]) -> Options:
    """A dataclass from a table of its fields; UsageError for unknown keys and values of another type."""
    defaults: Any = kind()
    fields = {field.name for field in dataclasses.fields(defaults)}
    values = {}
    for key, value in table.items():
        if key not in fields:
            raise UsageError(f"{key} is no option here; choose from {', '.join(fields)}.")
        wanted = type(getattr(defaults, key))
        if wanted is float and type(value) is int:
            value = float(value)
        if wanted is tuple and isinstance(value, list):
            value = tuple(value)
        if type(value) is not wanted:
            raise UsageError(f"{key}={value} should be {wanted.__name__}.")
        values[key] = value
    return kind(**values)


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        return text
