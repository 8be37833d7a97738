"""The running service when it is killed, and under load."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import PORTRAIT, ROOT, write_wav

pytest.importorskip("fastapi")

from test_serve import start  # noqa: E402

pytestmark = pytest.mark.soak


def test_a_killed_service_loses_nothing_that_was_done_and_goes_on(tmp_path):
    t = np.arange(16000 * 2) / 16000
    short = write_wav(tmp_path / "short.wav", 0.4 * np.sin(700 * t[:8000]) * (np.sin(25 * t[:8000]) > 0))
    long = write_wav(tmp_path / "long.wav", 0.4 * np.sin(700 * t) * (np.sin(25 * t) > 0))
    server, client = start(tmp_path / "store")
    _, job = client.send("/v1/videos", {"face": PORTRAIT, "audio": short}, size="64", fps="10")
    done = client.finished(job["links"]["self"])
    video = client("GET", done["files"]["video"])[1]
    waiting = [
        client.send("/v1/videos", {"face": PORTRAIT, "audio": long}, size="128", fps="25", emotion=emotion)[1]
        for emotion in ("happy", "sad")
    ]
    here = waiting[0]["links"]["self"]
    while not 0 < json.loads(client("GET", here)[1])["frames"]["done"]:
        time.sleep(0.05)
    status, frame, _ = client("GET", f"{here}/frame")  # streamed before the video is done
    while status == 204:
        time.sleep(0.05)
        status, frame, _ = client("GET", f"{here}/frame")
    assert status == 200 and frame[:2] == b"\xff\xd8"
    assert json.loads(client("GET", here)[1])["state"] == "running"
    server.kill()
    server.wait()
    server, client = start(tmp_path / "store")
    try:
        assert client("GET", done["files"]["video"])[1] == video
        states = [client.finished(job["links"]["self"]) for job in waiting]
        assert [job["state"] for job in states] == ["done", "done"]
        assert all(job["frames"] == {"done": 50, "total": 50} for job in states)
        hidden = [p for p in (tmp_path / "store").rglob(".emotalk-*")]
        assert hidden == []  # what the killed worker had begun is swept
    finally:
        server.send_signal(signal.SIGINT)
        assert server.wait(60) == 0


def test_thirty_two_clients(tmp_path):
    command = [sys.executable, str(ROOT / "tools" / "load_test.py"), "--seconds", "30"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stdout + done.stderr
