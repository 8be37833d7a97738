"""Help in groups that fits any width, and what is said of mistyped commands and options."""

from __future__ import annotations

import difflib
import re
import shutil
import textwrap
from typing import Any

from typer.core import TyperCommand, TyperGroup

from ..errors import did_you_mean

WIDEST, NARROW = 100, 60  # columns; below the second, descriptions stand under the names
_KIND = re.compile(r" <(\w+)[^>]*>")  # as some versions of typer write the type of a value
_NAMES = 34  # columns at most for names


def width() -> int:
    """Columns of the terminal that help may fill."""
    return max(20, min(shutil.get_terminal_size().columns, WIDEST) - 1)


class Command(TyperCommand):
    """A command whose help shows options by group."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """The same plain text with every version of typer; some would draw boxes."""
        _write_help(self, ctx, formatter)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Called by the help of typer's base."""
        _write_parameters(self, ctx, formatter)


class Group(TyperGroup):
    """A command with subcommands, in the order in which they were added."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Names, in that order."""
        return list(self.commands)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """As for a `Command`."""
        _write_help(self, ctx, formatter)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Called by the help of typer's base."""
        _write_parameters(self, ctx, formatter)
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        _write(
            formatter, "Commands", [(name, command.get_short_help_str(200)) for name, command in commands if command]
        )


def _write_help(command: Any, ctx: Any, formatter: Any) -> None:
    command.format_usage(ctx, formatter)
    command.format_help_text(ctx, formatter)
    command.format_options(ctx, formatter)


def _write_parameters(command: Any, ctx: Any, formatter: Any) -> None:
    groups: dict[str, list[tuple[str, str]]] = {}
    for parameter in command.get_params(ctx):
        record = parameter.get_help_record(ctx)
        if record is not None:
            kind = "Arguments" if parameter.param_type_name == "argument" else "Options"
            name = _KIND.sub("" if kind == "Arguments" else lambda found: f" {found[1].upper()}", record[0])
            groups.setdefault(getattr(parameter, "rich_help_panel", None) or kind, []).append((name, record[1]))
    for title, rows in groups.items():
        _write(formatter, title, rows)


def _write(formatter: Any, title: str, rows: list[tuple[str, str]]) -> None:
    columns = width()
    formatter.write(f"\n{title}:\n")
    beside = columns >= NARROW
    indent = min(_NAMES, max(len(name) for name, _ in rows) + 4) if beside else 6
    for name, text in rows:
        lines = textwrap.wrap(text, columns - indent) or [""]
        head = f"  {name}"
        if beside and len(head) + 2 <= indent:
            formatter.write(f"{head:{indent}}{lines.pop(0)}\n")
        else:
            formatter.write(
                "\n".join(textwrap.wrap(name, columns - 2, initial_indent="  ", subsequent_indent="    ")) + "\n"
            )
        formatter.write("".join(f"{'':{indent}}{line}\n" for line in lines if line))


def usage_message(error: Any) -> str:
    """One sentence or two for an error of typer's own, with the command whose help to see."""
    message = (
        str(error.format_message()).replace("\n", " ").replace(" Did you mean", ". Did you mean").replace("..", ".")
    )
    wrong, meant = getattr(error, "option_name", None), getattr(error, "possibilities", None)
    if wrong:
        message = f"No such option: {wrong}."
        if meant:  # they come in the order of the alphabet
            nearest = max(meant, key=lambda name: difflib.SequenceMatcher(None, wrong, name).ratio())
            message += f" Did you mean {nearest}?"
    if "Did you mean" in message:  # some versions say it twice
        message = re.sub(r"Did you mean '?([^'?]+)'?\?.*", r"Did you mean \1?", message)
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "emotalk"
    if context is not None and message.startswith("No such command") and "Did you mean" not in message:
        word = message.split("'")[1] if "'" in message else ""
        meant = did_you_mean(word, context.command.list_commands(context))
        if not meant and path.endswith(" emotion"):
            meant = f" Did you mean {path} text {word!r}?"
        message += meant
    return f"{message} See {path} --help."
