"""`emotalk live`: speech from stdin becomes frames on stdout while it is spoken."""

from __future__ import annotations

import itertools
import queue
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import typer

from ..constants import FPS, SAMPLE_RATE
from ..errors import UsageError
from ..system import no_collection
from .options import option

_PIECE = 2 * SAMPLE_RATE // FPS  # bytes of a video frame's sound


def live(
    face: Path = typer.Option(..., "--face", "-f", help="Portrait: any picture that shows a face."),
    emotion: str = typer.Option("neutral", "--emotion", "-e", help="What to feel, in words."),
    intensity: float = typer.Option(2.0, help="How strongly, from 1 to 3."),
    size: int = typer.Option(512, help="Side of the frames in px, even, 64 to 1024."),
    fps: float = typer.Option(25.0, help="Frames per second, 1 to 120."),
    idle: bool = typer.Option(False, "--idle", help="Go on living while nothing arrives, as if silence did."),
    generator: str = option("generator", "hef"),
    device: str = option("device", "auto"),
    weights: Path | None = option("weights"),
    debug: bool = option("debug", False),
) -> None:
    """Speech on stdin (16 kHz mono, 16-bit little endian, no header) becomes raw RGB frames on stdout.

    For example: ffmpeg -i speech.mp3 -f s16le -ac 1 -ar 16000 - | emotalk live --face me.jpg | ffplay -f rawvideo
    -pixel_format rgb24 -video_size 512x512 -framerate 25 -
    """
    if sys.stdout.isatty():
        raise UsageError("Frames would fill the terminal; send stdout to a file or another program.")
    with no_collection():
        from ..api import EmoTalk  # late: it imports torch

        talker = EmoTalk.load(weights, device, generator)
    chunks = pieces(sys.stdin.buffer, 1 / FPS if idle else None)
    for frame in talker.stream(face, chunks, emotion, intensity=intensity, size=size, fps=fps):
        sys.stdout.buffer.write(frame.data)
        sys.stdout.buffer.flush()


def pieces(stream: BinaryIO, patience: float | None = None) -> Iterator[bytes | None]:
    """Sound of one video frame at a time, the last one shorter.

    patience: seconds that a piece lasts. By then it is there, or None is given in its place: with what was given the
    clock is never ahead, however long nothing comes and whatever else the program does meanwhile.
    """
    arrived: queue.Queue[bytes] = queue.Queue(FPS)

    def read() -> None:
        while piece := stream.read(_PIECE):
            arrived.put(piece)
        arrived.put(b"")

    threading.Thread(target=read, name="emotalk-stdin", daemon=True).start()
    begin = time.monotonic()
    for number in itertools.count(1):
        wait = None if patience is None else max(0.0, begin + number * patience - time.monotonic())
        try:
            piece = arrived.get(timeout=wait)
        except queue.Empty:
            yield None
            continue
        if not piece:
            return
        yield piece
