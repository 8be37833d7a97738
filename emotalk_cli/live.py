"""Speech that is coming in: samples as they arrive become frames, without an end in sight."""

from __future__ import annotations

import asyncio
import math
import queue
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from .errors import InputError
from .media.audio import SAMPLES_PER_FRAME, mel_blocks

Chunk = np.ndarray | bytes | None


@dataclass(frozen=True)
class Incoming:
    """Stands in for a `Recording` whose end is not known."""

    chunks: Iterable[Chunk]
    seconds: float = math.inf

    def mels(self) -> Iterator[Tensor]:
        """Log-mel blocks [80, 4 n] as soon as samples suffice."""
        return mel_blocks(map(samples, self.chunks))


def samples(chunk: Chunk) -> np.ndarray:
    """16 kHz mono samples, float32 [N] in -1..1, of what arrived: such samples; int16 samples, or their bytes (little
    endian); None or nothing: 40 ms in which nothing was said. Raises InputError."""
    if isinstance(chunk, bytes | bytearray | memoryview):
        if len(chunk) % 2:
            raise InputError("A chunk of sound has an odd number of bytes; send whole 16-bit samples.")
        chunk = np.frombuffer(chunk, "<i2")
    if chunk is None or len(chunk) == 0:
        return np.zeros(SAMPLES_PER_FRAME, np.float32)
    if chunk.ndim != 1 or not (chunk.dtype == np.int16 or np.issubdtype(chunk.dtype, np.floating)):
        raise InputError(f"A chunk of sound is {chunk.dtype} {list(chunk.shape)}; send int16 or float samples [N].")
    wave = chunk.astype(np.float32) / (32768 if chunk.dtype == np.int16 else 1)
    if not np.isfinite(wave).all():
        raise InputError("A chunk of sound holds values that are no numbers; send samples between -1 and 1.")
    return wave


async def asynchronous(
    make: Callable[[Iterator[Chunk]], Iterator[np.ndarray]], chunks: AsyncIterable[Chunk]
) -> AsyncIterator[np.ndarray]:
    """Frames of `make`, which reads chunks and works in a thread, for chunks that are waited for."""
    arrived: queue.Queue[tuple[Chunk] | None] = queue.Queue()

    def reading() -> Iterator[Chunk]:
        while (item := arrived.get()) is not None:
            yield item[0]

    async def feed() -> None:
        try:
            async for chunk in chunks:
                arrived.put((chunk,))
        finally:
            arrived.put(None)

    frames, loop = make(reading()), asyncio.get_running_loop()
    with ThreadPoolExecutor(1, "emotalk-live") as thread:  # one, so that each frame is asked for in the same
        feeding = asyncio.ensure_future(feed())
        try:
            while (frame := await loop.run_in_executor(thread, next, frames, None)) is not None:
                yield frame
            await feeding  # raises what stopped it
        finally:
            feeding.cancel()
            arrived.put(None)  # for a stage that waits
