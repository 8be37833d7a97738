"""What the user sees while a video is made: a bar on a terminal, plain lines in a log, nothing when quiet."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TaskID, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from .console import console, interactive, say

LABELS = {
    "models": "Loading models",
    "portrait": "Reading the portrait",
    "sound": "Listening",
    "frames": "Making frames",
    "kept": "Stopped; frames kept for --resume",
}
EVERY = 10.0  # seconds between lines when stderr is no terminal


@contextlib.contextmanager
def progress(quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """A function (stage, done, total) that shows progress on stderr while the context lasts."""
    if quiet:
        yield lambda stage, done, total: None
    elif interactive():
        with _bar() as bar:
            yield bar
    else:
        yield _Lines()


@contextlib.contextmanager
def loading(quiet: bool = False) -> Iterator[None]:
    """A spinner on a terminal while models load, which takes seconds."""
    if quiet or not interactive():
        yield
        return
    with console(stderr=True).status(LABELS["models"]):
        yield


class _Stage(ProgressColumn):
    """A bar for what has many steps, a spinner for what has one."""

    def __init__(self) -> None:
        super().__init__()
        self._spinner, self._bar, self._left = SpinnerColumn(), BarColumn(), TimeRemainingColumn()

    def render(self, task: Task) -> Table:
        steps = task.total is not None and task.total > 1
        row = Table.grid(padding=(0, 1))
        counted = [self._bar(task), f"{task.completed:.0f}/{task.total:.0f}", self._left(task)] if steps else []
        row.add_row(self._spinner(task), task.description, *counted)
        return row


class _Speed(ProgressColumn):
    def render(self, task: Task) -> Text:
        if task.speed is None or not task.total or task.total < 2:
            return Text("")
        return Text(f"{task.speed:.1f} frames/s")


@contextlib.contextmanager
def _bar() -> Iterator[Callable[[str, int, int], None]]:
    with Progress(_Stage(), _Speed(), console=console(stderr=True), transient=True) as bar:
        tasks: dict[str, TaskID] = {}

        def report(stage: str, done: int, total: int) -> None:
            if stage == "kept":
                bar.console.print(f"{LABELS[stage]}: {done} of {total}")
                return
            if stage not in tasks:
                for earlier in tasks.values():
                    bar.update(earlier, visible=False)
                tasks[stage] = bar.add_task(LABELS[stage], total=total)
            bar.update(tasks[stage], completed=done, total=total)

        yield report


class _Lines:
    """One line a stage, and one every few seconds while frames are made."""

    def __init__(self) -> None:
        self._stage = ""
        self._first = 0
        self._begin = self._last = time.monotonic()

    def __call__(self, stage: str, done: int, total: int) -> None:
        now = time.monotonic()
        if stage != self._stage:
            self._stage, self._first = stage, done
            self._begin = self._last = now
            part = f": {done} of {total}" if done else f": {total}"
            self._print(LABELS[stage] + (part if total > 1 else ""))
        elif done < total and now - self._last >= EVERY:
            speed = (done - self._first) / (now - self._begin)
            self._print(f"{LABELS[stage]}: {done}/{total}, {speed:.1f} frames/s, {(total - done) / speed:.0f} s left")
            self._last = now

    @staticmethod
    def _print(line: str) -> None:
        say(line)
