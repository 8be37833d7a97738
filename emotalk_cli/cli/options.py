"""Options of commands, made from the one table of them (`settings.OPTIONS`)."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import typer

from ..constants import BASICS
from ..settings import DEVICES, OPTIONS, POSES, Option

C = TypeVar("C", bound=Callable[..., Any])

_ON_BY_DEFAULT = tuple(name for name, option in OPTIONS.items() if option.kind is bool and option.default)
_COMPLETIONS: dict[str, Sequence[str]] = {"device": DEVICES, "pose": POSES, "emotion": BASICS}


def option(name: str, default: Any = None, help: str | None = None) -> Any:
    """What typer needs to know of the table's option `name`; None as default lets `is not None` say that it is given.

    help: other words than the table's, where the option means something else here.
    """
    entry = OPTIONS[name]
    switch = entry.flag if name not in _ON_BY_DEFAULT else f"{entry.flag}/--no-{entry.flag[2:]}"
    return typer.Option(
        default,
        switch,
        *entry.flags,
        help=(help or entry.help) + (_shown_default(entry) if default in (None, False) else f"  [default: {default}]"),
        metavar=None if entry.kind is bool else metavar(entry),
        show_default=False,
        rich_help_panel=entry.group,
        autocompletion=_completion(entry),
    )


def with_parameters(added: Mapping[str, tuple[Any, Any]]) -> Callable[[C], C]:
    """Give a command more parameters in place of its **keywords: name -> (type, what `option` or typer.Option made)."""

    def add(command: C) -> C:
        signature = inspect.signature(command, eval_str=True)
        own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
        more = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=info, annotation=kind)
            for name, (kind, info) in added.items()
        ]
        command.__signature__ = signature.replace(parameters=own + more)  # type: ignore[attr-defined]
        command.__annotations__ = {p.name: p.annotation for p in own + more}
        return command

    return add


def with_options(*names: str) -> Callable[[C], C]:
    """Give a command these options of the table in place of its **keywords, where they are None unless given."""
    return with_parameters({_identifier(n): (_typed(OPTIONS[n]) | None, option(n)) for n in names})


def given(values: dict[str, Any]) -> dict[str, Any]:
    """What `with_options` passed and the user gave, by the table's names."""
    return {name.rstrip("_"): value for name, value in values.items() if value is not None}


def metavar(entry: Option) -> str:
    """What stands for the value in the help."""
    if entry.metavar:
        return entry.metavar
    if entry.choices:
        return "|".join(map(str, entry.choices))
    return "FILE" if entry.kind is Path else "TEXT" if entry.kind is str else "N"


def default_in_words(entry: Option) -> str:
    """ "" where there is none."""
    if entry.shown:
        return entry.shown
    if entry.default is None or entry.default is False or entry.default == "":
        return ""
    if entry.default is True:
        return "on"
    return f"{entry.default:g}" if isinstance(entry.default, float) else str(entry.default)


def _identifier(name: str) -> str:
    return f"{name}_" if name == "from" else name


def _typed(entry: Option) -> Any:
    return entry.kind if entry.kind in (bool, Path) else str  # numbers are text here: the table judges them


def _shown_default(entry: Option) -> str:
    words = default_in_words(entry)
    return f"  [default: {words}]" if words and words != "required" else ""


def _completion(entry: Option) -> Callable[[str], list[str]] | None:
    values = entry.choices or _COMPLETIONS.get(entry.name, ())
    if not values or entry.kind is bool:
        return None

    def complete(incomplete: str) -> list[str]:
        texts = [f"{value:g}" if isinstance(value, float) else str(value) for value in values]
        return [text for text in texts if text.startswith(incomplete)]

    return complete
