"""The command `emotalk`: options in, one video out; errors are one sentence and an exit code."""

from __future__ import annotations

import gc
import json
import logging
import os
import re
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

import typer

from .. import __version__, system
from ..errors import EmoTalkError, of_system
from ..settings import OF_A_SPEAKER, OPTIONS
from . import config, console, emotion, eval, train, weights
from .batch import batch
from .clean import clean
from .doctor import doctor
from .figure import figure
from .generate import generate
from .help import Command, Group, usage_message, width
from .live import live
from .serve import serve, voices

INTERRUPTED = 130
_GROUPS = ((), ("train",), ("train", "prepare"), ("emotion",), ("weights",), ("config",))  # alone, they show their help
_ADDRESS = re.compile(r"auto|local|ray://.+|[^/\s]+:\d+")

app = typer.Typer(
    help="Emotional talking videos from one portrait and one speech recording.",
    cls=Group,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "terminal_width": width()},
)
app.command(cls=Command)(generate)
app.command(cls=Command)(batch)
app.command(cls=Command)(live)
app.add_typer(emotion.app, name="emotion")
app.command(cls=Command)(clean)
app.command(cls=Command)(doctor)
app.add_typer(train.app, name="train")
app.add_typer(eval.app, name="eval")
app.command(cls=Command)(figure)
app.add_typer(weights.app, name="weights")
app.add_typer(config.app, name="config")
app.command(cls=Command)(serve)
app.command(cls=Command)(voices)


def _print_version(wanted: bool) -> None:
    if wanted:
        console.tell(f"emotalk {__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: bool = typer.Option(False, "--version", callback=_print_version, is_eager=True, help="Show the version."),
) -> None:
    """Emotional talking videos from one portrait and one speech recording."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    0 done, 1 input, 2 usage, 3 some rows of a batch failed, 129 hung up, 130 ctrl-C, 143 terminated.
    """
    arguments = _with_address([_at_home(text) for text in (sys.argv[1:] if arguments is None else arguments)])
    arguments = _with_speakers(arguments)
    if tuple(arguments) in _GROUPS:
        arguments.append("--help")
    logging.getLogger("PIL").addHandler(logging.NullHandler())  # our own sentence says what is wrong with a picture
    _signals.clear()
    before = {number: signal.signal(number, _terminate) for number in system.ENDING}
    interrupting = signal.getsignal(signal.SIGINT)
    if interrupting is signal.default_int_handler:
        before[signal.SIGINT] = signal.signal(signal.SIGINT, _terminate)
    try:
        code = typer.main.get_command(app).main(arguments, "emotalk", standalone_mode=False) or 0
        if code == INTERRUPTED:  # newer versions of typer turn ctrl-C into this code, older ones into Abort
            raise KeyboardInterrupt
        return code
    except (KeyboardInterrupt, typer.Abort, _Terminated):
        return _stopped()
    except EmoTalkError as error:
        if _signals:  # a library has made something else of our exception
            return _stopped()
        return _fail(error.for_command, error.exit_code, "--debug" in arguments)
    except BrokenPipeError:  # the reader of our output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if _signals:
            return _stopped()
        if hasattr(error, "format_message"):  # typer's own, about options; its class moved between versions
            return _fail(usage_message(error), getattr(error, "exit_code", 2))
        if (known := of_system(error)) is not None:
            return _fail(known.for_command, 1, "--debug" in arguments)
        message = f"Internal error ({type(error).__name__}: {error}); please report it, with the output of --debug."
        return _fail(message, 1, "--debug" in arguments)
    finally:
        gc.unfreeze()  # what `system.no_collection` set aside
        for number, handler in before.items():
            signal.signal(number, handler)


def _at_home(argument: str) -> str:
    """`~/x` that no shell has expanded, because it was quoted or stands behind `--option=`."""
    option, path = re.fullmatch(r"(--[a-z0-9-]+=)?(.*)", argument, re.DOTALL).groups("")  # type: ignore[union-attr]
    return option + (os.path.expanduser(path) if path == "~" or path.startswith("~/") else path)


def _with_address(arguments: list[str]) -> list[str]:
    """`--ray` with "auto" after it where no address follows; typer knows no optional values."""
    full: list[str] = []
    for argument, following in zip(arguments, [*arguments[1:], ""]):
        full.append(argument)
        if argument == "--ray" and not _ADDRESS.fullmatch(following):
            full.append("auto")
    return full


def _with_speakers(arguments: list[str]) -> list[str]:
    """`generate` with --face-index or --face-at more than once: what follows the second is another's, --also."""
    flags = {OPTIONS[name].flag: name for name in OF_A_SPEAKER}
    flags |= {short: name for name in OF_A_SPEAKER for short in OPTIONS[name].flags}
    who = ("face_index", "face_at")
    parts = [part for text in arguments for part in (text.split("=", 1) if text.startswith("--") else [text])]
    starts = [i for i, part in enumerate(parts) if flags.get(part) in who]
    if arguments[:1] != ["generate"] or len(starts) < 2:
        return arguments
    kept, others, rest = parts[: starts[1]], list[dict[str, str]](), iter(parts[starts[1] :])
    for part in rest:
        name = flags.get(part)
        if name in who:
            others.append({})
        if name is None:
            kept.append(part)
        elif (value := next(rest, None)) is not None:
            others[-1][name] = os.path.abspath(value) if OPTIONS[name].kind is Path else value
    return [*kept, "--also", json.dumps(others)]


class _Terminated(BaseException):
    """SIGTERM or SIGHUP, as an exception, so that temporary files are removed on the way out."""


_signals: list[int] = []  # that have come


def _terminate(number: int, frame: object) -> None:
    _signals.append(number)
    raise KeyboardInterrupt if number == signal.SIGINT else _Terminated


def _stopped() -> int:
    number = _signals[0] if _signals else signal.SIGINT
    if number == signal.SIGINT:
        return _fail("Interrupted; nothing was left half-written.", INTERRUPTED)
    return _fail("Terminated; nothing was left half-written.", 128 + number)


def _fail(message: str, code: int, debug: bool = False) -> int:
    if debug:
        traceback.print_exc()
    console.say(f"emotalk: {message}")
    return code
