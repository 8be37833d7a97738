"""Ten minutes of live speech with pauses, by the clock: frames keep up, lips stay with the sound, memory stays."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from conftest import PORTRAIT, SPEECH

from emotalk_cli.animate import Performance
from emotalk_cli.constants import FPS, SAMPLE_RATE
from emotalk_cli.face.model import FaceModel
from emotalk_cli.live import Incoming
from emotalk_cli.media.audio import SAMPLES_PER_FRAME, load
from emotalk_cli.settings import Settings

pytestmark = pytest.mark.soak

MINUTES, SIZE = 10, 192
PAUSE = 7.3  # s, after each time that the recording was heard; no whole number of frames
LATEST = 50  # frames either way that are searched: sound begins when the first frame is seen, later on a busy machine
WINDOW = 60 * FPS


def resident(process: int) -> float:
    """MB that a process holds."""
    with open(f"/proc/{process}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def openings(talker, wave: np.ndarray) -> np.ndarray:
    """Inner-lip distances [T], cm, that the sound asks for."""
    lips = FaceModel.load().expression
    lips = (lips[:, 13, 1] - lips[:, 14, 1]).numpy()
    pieces = (wave[at : at + SAMPLES_PER_FRAME] for at in range(0, len(wave), SAMPLES_PER_FRAME))
    performance = Performance(Incoming(pieces), talker.emotion("neutral"))
    return np.array([beta.numpy() @ lips for beta, _ in talker.animator.motion(performance, Settings(), FPS)])


def lag(asked: np.ndarray, seen: np.ndarray) -> float:
    """Frames by which `seen` is behind, between frames by a parabola through the best three correlations."""
    inner = slice(LATEST, len(asked) - LATEST)
    found = [np.corrcoef(asked[inner], np.roll(seen, -k)[inner])[0, 1] for k in range(-LATEST, LATEST + 1)]
    best = int(np.clip(np.argmax(found), 1, 2 * LATEST - 1))
    before, at, after = found[best - 1 : best + 2]
    return best - LATEST + 0.5 * (before - after) / (before - 2 * at + after)


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="memory of other processes is read from /proc")
def test_ten_minutes_of_live_speech(talker, soaked):
    portrait, speech = talker.portrait(PORTRAIT), load(SPEECH)
    options = ["--size", str(SIZE), "--generator", "geometry", "--device", "cpu", "--idle"]
    command = [sys.executable, "-m", "emotalk_cli", "live", "--face", str(PORTRAIT), *options]
    live = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    points = portrait.fit.landmarks[[61, 291, 13, 14], :2].numpy() * SIZE / 512  # of the mouth, in the frame
    (left, top), (right, bottom) = points.min(0) - (0, 2), points.max(0) + (0, 0.06 * SIZE)
    mouth = slice(int(top), int(bottom) + 1), slice(int(left), int(right) + 1)
    dark, when, held = [], [], []

    def watch() -> None:
        """How dark the mouth is, frame by frame; when it came; memory, every second."""
        while data := live.stdout.read(3 * SIZE * SIZE):
            frame = np.frombuffer(data, np.uint8).reshape(SIZE, SIZE, 3)[mouth].astype(float).mean(2)
            dark.append(float((frame < 0.55 * np.median(frame)).mean()))
            when.append(time.monotonic())
            if len(when) % FPS == 1:
                held.append(resident(live.pid))
            first.set()

    first = threading.Event()
    watching = threading.Thread(target=watch)
    watching.start()
    assert first.wait(120)
    begin = time.monotonic()
    spoken = np.zeros(MINUTES * 60 * SAMPLE_RATE, np.float32)
    sound = (speech * 32767).astype("<i2")
    at = 0.0
    while at + len(sound) / SAMPLE_RATE + 1 < MINUTES * 60:
        for start in range(0, len(sound), SAMPLES_PER_FRAME):  # as a microphone gives it
            piece = sound[start : start + SAMPLES_PER_FRAME]
            time.sleep(max(0.0, begin + at + (start + len(piece)) / SAMPLE_RATE - time.monotonic()))
            live.stdin.write(piece.tobytes())
            live.stdin.flush()
        place = round(at * SAMPLE_RATE)
        spoken[place : place + len(sound)] = speech[: len(sound)]
        at += len(sound) / SAMPLE_RATE + PAUSE
    time.sleep(max(0.0, begin + MINUTES * 60 - time.monotonic()))
    live.stdin.close()
    watching.join()
    assert live.wait(60) == 0

    asked, shown = openings(talker, spoken), np.array(dark)
    late = [
        lag(asked[at : at + WINDOW], shown[at : at + WINDOW])
        for at in range(0, min(len(asked), len(shown)) - WINDOW + 1, WINDOW)
    ]
    counted = np.searchsorted(when, begin + 60.0 * np.arange(1, MINUTES + 1)) - np.searchsorted(when, begin)
    soaked("ten minutes of live speech", f"lips late by {np.round(late, 2).tolist()} frames, minute by minute")
    soaked("frames in each minute", str(np.diff(counted, prepend=0).tolist()))
    soaked("memory, MB, minute by minute", str([round(mb) for mb in held[::60]]))
    assert len(late) == MINUTES and max(late) - min(late) < 1
    assert np.abs(counted - 60 * FPS * np.arange(1, MINUTES + 1)).max() <= FPS
    assert max(held[-60:]) - max(held[60:120]) < 20
