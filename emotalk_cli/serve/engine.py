"""The server's side of the worker process: one message each way at a time, requests answered as futures.

The worker renders one video at a time and answers previews between its frames. It is a process of its own, so that
HTTP is served while it computes, and so that its death costs one job and not the service.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import multiprocessing
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from ..errors import EmoTalkError, UsageError
from . import worker

START_TRIES = 3  # deaths in a row without an answer, after which the worker is not started again


class Engine:
    """Runs `worker.main` and speaks with it. All methods belong to the event loop's thread."""

    def __init__(self, load: dict[str, Any], listen: Callable[[str, str, Any], None]) -> None:
        """load: arguments of `EmoTalk.load`. listen: called with (event, job id, value); see `worker`."""
        self._load, self._listen = load, listen
        self._numbers = itertools.count()
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._process: multiprocessing.process.BaseProcess | None = None
        self._pipe: Connection | None = None
        self._deaths = 0
        self._stopping = False
        self.emotions: list[dict[str, Any]] = []
        self.ready = asyncio.Event()

    @property
    def alive(self) -> bool:
        """Whether the worker runs."""
        return self._process is not None and self._process.is_alive()

    def start(self) -> None:
        """Start the worker; it is started again whenever it dies."""
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=worker.main, args=(theirs, self._load), daemon=True)
        self._process.start()
        theirs.close()
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._read, args=(self._pipe, loop), daemon=True).start()

    async def ask(self, kind: str, **values: Any) -> Any:
        """The worker's answer to a question. Raises EmoTalkError as the worker does."""
        number, future = next(self._numbers), asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        try:
            self._send(kind, number, values)
            return await future
        finally:
            self._waiting.pop(number, None)

    def render(self, job: dict[str, Any]) -> None:
        """Begin a video; its events follow."""
        self._send("render", -1, job)

    def cancel(self, job: str) -> None:
        """Stop the video that is being made, if it is this one."""
        self._send("cancel", -1, {"id": job})

    async def stop(self, patience: float) -> None:
        """End the worker: what it renders is parked at the next frame; after `patience` seconds it is killed."""
        self._stopping = True
        if self._process is None:
            return
        with contextlib.suppress(EmoTalkError):
            self._send("stop", -1, {})
        await asyncio.get_running_loop().run_in_executor(None, self._process.join, patience)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _send(self, kind: str, number: int, values: dict[str, Any]) -> None:
        try:
            assert self._pipe is not None
            self._pipe.send((kind, number, values))
        except (OSError, AssertionError) as error:
            raise EmoTalkError("The worker is being started again; try once more in a few seconds.") from error

    def _read(self, pipe: Connection, loop: asyncio.AbstractEventLoop) -> None:
        """In a thread: hand messages to the event loop until the worker is gone."""
        while True:
            try:
                message = pipe.recv()
            except (EOFError, OSError):
                break
            loop.call_soon_threadsafe(self._take, message)
        with contextlib.suppress(RuntimeError):  # the loop has been closed
            loop.call_soon_threadsafe(self._died)

    def _take(self, message: tuple[str, Any, Any]) -> None:
        kind, key, value = message
        if kind == "ready":
            self.emotions, self._deaths = value, 0
            self.ready.set()
            self._listen("ready", "", None)
        elif kind in ("answer", "refusal"):
            future = self._waiting.pop(key, None)
            if future is not None and not future.done():
                if kind == "answer":
                    future.set_result(value)
                else:
                    future.set_exception(UsageError(value))
        else:
            self._listen(kind, key, value)

    def _died(self) -> None:
        self.ready.clear()
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(EmoTalkError("The worker stopped unexpectedly; try again."))
        self._waiting.clear()
        if self._stopping:
            return
        self._deaths += 1
        self._listen("died", "", self._deaths)
        if self._deaths <= START_TRIES:
            self.start()
