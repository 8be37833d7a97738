"""Stages of a pipeline that run beside each other: one makes what the next will need."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

S = TypeVar("S")
T = TypeVar("T")

_WAKE = 0.2  # s after which a stage that waits looks whether the next has gone


class _End:
    """Comes after the last item, with what stopped the stage, if anything did."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


def ahead(items: Iterator[T], depth: int, threads: int = 1) -> Generator[T, None, None]:
    """`items`, made in a thread of its own, at most `depth` of them before they are asked for.

    That thread computes on `threads` cores; what it raises is raised here. It ends with this iterator, and with the
    program: it is no daemon, since one that is cut off amid its arithmetic takes the interpreter down.
    """
    made: queue.SimpleQueue[T | _End] = queue.SimpleQueue()
    room = threading.Semaphore(depth)
    gone = threading.Event()

    def wanted() -> bool:
        while not gone.is_set() and threading.main_thread().is_alive():
            if room.acquire(timeout=_WAKE):
                return True
        return False

    def work() -> None:
        torch.set_num_threads(threads)  # of this thread
        try:
            with torch.inference_mode():
                while wanted() and not gone.is_set():
                    made.put(next(items))
        except StopIteration:
            made.put(_End())
        except BaseException as error:
            made.put(_End(error))

    thread = threading.Thread(target=work, name="emotalk-ahead")
    thread.start()
    try:
        while not isinstance(item := made.get(), _End):
            room.release()
            yield item
            del item  # or it would stay until the next is there
        if item.error is not None:
            raise item.error
    finally:
        gone.set()
        thread.join()


def beside(function: Callable[[S], T], items: Iterator[S], workers: int, threads: int = 1) -> Generator[T, None, None]:
    """function(item) of each of `items`, in their order: as many of them at once as there are workers, each computing
    on `threads` cores, and one that waits. `items` are made in a thread of their own. Ends as `ahead` does."""
    with ThreadPoolExecutor(workers, "emotalk-beside", torch.set_num_threads, (threads,)) as pool:
        begun = ahead((pool.submit(function, item) for item in items), workers)
        try:
            for made in begun:
                yield made.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            begun.close()


@contextlib.contextmanager
def cores(count: int) -> Iterator[None]:
    """Compute on `count` cores in this thread, so that stages beside it have theirs."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
