"""A clean end: ctrl-C and SIGTERM finish what is being answered and park what is being rendered, exit code 0."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator

import uvicorn


class Server(uvicorn.Server):  # type: ignore[misc]
    """uvicorn's server, which would raise the signal again when it is done, and so skip what is left to tidy."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """While it serves, the first signal ends it and a second one ends it at once."""
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
