"""Speech that is coming in."""

import asyncio
import io
import queue
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from conftest import PORTRAIT

from emotalk_cli.cli.live import pieces
from emotalk_cli.errors import InputError, UsageError
from emotalk_cli.live import asynchronous, samples
from emotalk_cli.media.audio import Recording, load

OPTIONS = {"size": 128, "pose": "natural"}


def cut(wave: np.ndarray, step: int = 640) -> list[np.ndarray]:
    return [wave[i : i + step] for i in range(0, len(wave), step)]


def test_frames_of_what_comes_in_are_nearly_those_of_the_recording(talker, short_speech):
    recording = Recording.open(short_speech)
    wanted = list(talker.frames(PORTRAIT, short_speech, "happy", **OPTIONS))
    wave = load(short_speech)
    made = list(talker.stream(PORTRAIT, cut(wave, 1000), "happy", **OPTIONS))
    assert len(made) == len(wanted) == recording.frames
    near, shifted = (
        np.abs(np.stack(a).astype(int) - np.stack(b)).mean() for a, b in ((made, wanted), (made[4:], wanted[:-4]))
    )
    assert near < 2 and near < shifted / 2  # shorter windows hear a little else, at the same time


def test_frames_leave_before_the_speech_has_ended_and_the_silent_face_lives(talker):
    given = []

    def silence():
        for n in range(100):
            given.append(n)
            yield None

    frames = talker.stream(PORTRAIT, silence(), "neutral", blink=60.0, fps=12.5, **OPTIONS)
    first = next(frames)
    assert len(given) < 60  # window, reach, and what is made ahead
    rest = list(frames)
    assert len(rest) == 49
    assert max(np.abs(frame.astype(int) - first).max() for frame in rest) > 10  # it blinks


def test_chunks_that_are_waited_for():
    async def arriving():
        for n in range(3):
            await asyncio.sleep(0)
            yield np.full(2, n, np.float32)

    async def collected():
        return [frame async for frame in asynchronous(lambda chunks: (10 * chunk for chunk in chunks), arriving())]

    assert [int(frame[0]) for frame in asyncio.run(collected())] == [0, 10, 20]


def test_an_error_while_waiting_reaches_the_caller():
    async def breaking():
        yield np.zeros(2)
        raise OSError("the line is dead")

    async def collected():
        return [frame async for frame in asynchronous(iter, breaking())]

    with pytest.raises(OSError, match="dead"):
        asyncio.run(collected())


def test_samples_come_as_they_are():
    wave = np.array([0.5, -0.25], np.float32)
    whole = (wave * 32768).astype(np.int16)
    for chunk in (wave, whole, whole.tobytes()):
        assert np.array_equal(samples(chunk), wave)
    assert np.array_equal(samples(None), np.zeros(640)) and len(samples(b"")) == 640
    for chunk in (b"abc", np.array([np.nan]), np.zeros((2, 2)), np.zeros(3, np.int64)):
        with pytest.raises(InputError):
            samples(chunk)


def test_what_needs_an_end_is_refused(talker):
    with pytest.raises(UsageError, match="range"):
        talker.stream(PORTRAIT, [], "happy", intensity=(1.0, 2.0))


def test_the_command_reads_sound_and_writes_frames(short_speech, tmp_path):
    sound = (load(short_speech)[:12800] * 32767).astype("<i2").tobytes()
    command = [sys.executable, "-m", "emotalk", "live", "--face", PORTRAIT, "--size", "64", "--generator", "geometry"]
    done = subprocess.run([*map(str, command), "--device", "cpu"], input=sound, capture_output=True, check=True)
    frames = np.frombuffer(done.stdout, np.uint8).reshape(-1, 64, 64, 3)
    assert len(frames) == 20 and (frames[0] != frames[12]).any()


def test_pieces_of_sound_and_silence_between_them():
    class Stream:
        parts = [b"a" * 1280, b"b" * 1280, b"c" * 40, b""]

        def read(self, count: int) -> bytes:
            if len(self.parts) == 3:
                waited.wait(60)
            return self.parts.pop(0)

    waited, found = threading.Event(), []
    for piece in pieces(Stream(), 0.001):
        found.append(piece)
        if piece is None:
            waited.set()
    first, second = (found.index(letter * 1280) for letter in (b"a", b"b"))
    assert None in found[first:second]  # the second is late
    assert [piece for piece in found if piece is not None] == [b"a" * 1280, b"b" * 1280, b"c" * 40]


def test_silence_is_counted_by_the_clock(monkeypatch):
    """A program that is busy for three pieces' time gives as many in their place."""
    now = [0.0]

    class Nothing:
        def __init__(self, size):
            pass

        def put(self, piece):
            pass

        def get(self, timeout):
            now[0] += timeout
            raise queue.Empty

    monkeypatch.setattr(queue, "Queue", Nothing)
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    given = pieces(io.BytesIO(), 0.04)
    times = []
    for _ in range(8):
        assert next(given) is None
        times.append(now[0])
        now[0] += 0.12 if len(times) == 2 else 0.0
    assert np.allclose(times, [0.04, 0.08, 0.2, 0.2, 0.2, 0.24, 0.28, 0.32])
