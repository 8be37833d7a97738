#!/usr/bin/env python3
"""Many clients at once against one running `emotalk serve`: are results right, refusals polite, memory bounded?

python tools/load_test.py [--clients 32] [--seconds 120] [--portrait FILE] [--json FILE]

Starts a service of its own with a queue of eight and the geometry generator. Each client asks, again and again, for a
video of a size and length of its own, or a preview; what comes back must be of that size and length. /healthz is asked
twenty times a second meanwhile. Exit code 1 if anything was wrong.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
import uuid
import wave
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from emotalk_cli.media.ffmpeg import read_frames  # noqa: E402

FPS = 10
EMOTIONS = ("happy", "sad", "angry", "calm", "sadly surprised")


def ask(address: str, method: str, path: str, body: bytes | None = None, kind: str = "") -> tuple[int, bytes, dict]:
    """Status, body and headers of an answer, whatever the status."""
    request = urllib.request.Request(address + path, body, {"Content-Type": kind} if kind else {}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return answer.status, answer.read(), dict(answer.headers)
    except urllib.error.HTTPError as error:
        return error.code, error.read(), dict(error.headers)


def upload(address: str, file: Path) -> str:
    """The id of a file that is sent."""
    mark = uuid.uuid4().hex
    head = f'--{mark}\r\nContent-Disposition: form-data; name="file"; filename="{file.name}"\r\n\r\n'
    body = head.encode() + file.read_bytes() + f"\r\n--{mark}--\r\n".encode()
    status, answer, _ = ask(address, "POST", "/v1/files", body, f"multipart/form-data; boundary={mark}")
    assert status == 201, answer
    return json.loads(answer)["id"]


class Client(threading.Thread):
    """One client. wrong: what was not as it should be. counts: of answers. waits: s from wish to result."""

    def __init__(self, number: int, address: str, face: str, folder: Path, end: float) -> None:
        super().__init__(daemon=True)
        self.address, self.face, self.end, self.folder = address, face, end, folder
        self.rng = random.Random(number)
        self.size, self.frames = 64 + 2 * number, 4 + number % 8
        self.sound = folder / f"{number}.wav"
        t = np.arange(16000 * self.frames // FPS) / 16000
        samples = 0.4 * np.sin(2 * np.pi * (200 + 10 * number) * t) * (np.sin(25 * t) > 0)
        with wave.open(str(self.sound), "wb") as file:
            file.setparams((1, 2, 16000, 0, "NONE", ""))
            file.writeframes((samples * 32767).astype("<i2").tobytes())
        self.counts: collections.Counter[str] = collections.Counter()
        self.wrong: list[str] = []
        self.waits: list[float] = []

    def run(self) -> None:
        """Until the time is over."""
        try:
            audio = upload(self.address, self.sound)
            while time.monotonic() < self.end:
                if self.rng.random() < 0.3:
                    self._preview()
                else:
                    self._video(audio)
        except Exception as error:
            self.wrong.append(f"{type(error).__name__}: {error}")

    def _preview(self) -> None:
        wish = {"face": self.face, "emotion": self.rng.choice(EMOTIONS), "size": self.size}
        status, body, headers = ask(self.address, "POST", "/v1/preview", json.dumps(wish).encode(), "application/json")
        self._count("preview", status, headers)
        if status == 200 and (body[:4] != b"\x89PNG" or int.from_bytes(body[16:20], "big") != self.size):
            self.wrong.append("a preview of another size")

    def _video(self, audio: str) -> None:
        begin = time.monotonic()
        wish = {"face": self.face, "audio": audio, "emotion": self.rng.choice(EMOTIONS), "size": self.size, "fps": FPS}
        status, body, headers = ask(self.address, "POST", "/v1/videos", json.dumps(wish).encode(), "application/json")
        self._count("video", status, headers)
        if status == 429:
            time.sleep(min(float(headers["retry-after"]), 5.0) * self.rng.uniform(0.5, 1))
        if status != 202:
            return
        here = json.loads(body)["links"]["self"]
        while True:
            job = json.loads(ask(self.address, "GET", here)[1])
            if job["state"] not in ("queued", "running"):
                break
            time.sleep(0.5)
        if job["state"] != "done":
            self.wrong.append(f"{job['state']}: {job['error']}")
            return
        self.waits.append(time.monotonic() - begin)
        made = self.folder / f"{self.size}.mp4"
        made.write_bytes(ask(self.address, "GET", job["files"]["video"])[1])
        shapes = [frame.shape for frame in read_frames(made)]
        if shapes != [(self.size, self.size, 3)] * self.frames:
            self.wrong.append(f"{len(shapes)} frames of {shapes[0]}, not {self.frames} of {self.size} px")
        ask(self.address, "DELETE", here)

    def _count(self, what: str, status: int, headers: dict[str, str]) -> None:
        self.counts[f"{what} {status}"] += 1
        if status == 429 and not float({k.lower(): v for k, v in headers.items()}.get("retry-after", "0")) > 0:
            self.wrong.append("429 without Retry-After")
        if status not in (200, 202, 429):
            self.wrong.append(f"{what}: {status}")


def memory(pid: int) -> float:
    """MB that a process and its children hold; 0 once they are gone."""
    total, around = 0, [pid]
    while around:
        number = around.pop()
        try:
            status = Path(f"/proc/{number}/status").read_text()
            total += int(status.split("VmRSS:")[1].split()[0]) if "VmRSS:" in status else 0
            for task in Path(f"/proc/{number}/task").iterdir():
                around += map(int, (task / "children").read_text().split())
        except OSError:
            continue
    return total / 1024


def main() -> int:
    """Run the test and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--portrait", type=Path, default=ROOT / "examples" / "portrait.png")
    parser.add_argument("--json", type=Path)
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="emotalk-load-") as name:
        folder = Path(name)
        command = [
            sys.executable,
            "-m",
            "emotalk_cli",
            "serve",
            "--port",
            "0",
            "--generator",
            "geometry",
            "--queue",
            "8",
        ]
        server = subprocess.Popen(
            [*command, "--folder", str(folder / "store")], stderr=subprocess.PIPE, text=True, cwd=ROOT, env=os.environ
        )
        assert server.stderr is not None
        address = server.stderr.readline().split("listens at ")[1].split()[0].rstrip("/")
        while not json.loads(ask(address, "GET", "/healthz")[1])["ready"]:
            time.sleep(0.2)
        face = upload(address, wanted.portrait)
        end = time.monotonic() + wanted.seconds
        clients = [Client(number, address, face, folder, end) for number in range(wanted.clients)]
        held, health = [memory(server.pid)], []
        for client in clients:
            client.start()
        while any(client.is_alive() for client in clients) and time.monotonic() < end + 300:
            begin = time.monotonic()
            assert ask(address, "GET", "/healthz")[0] == 200
            health.append(time.monotonic() - begin)
            if len(health) % 20 == 0:
                held.append(memory(server.pid))
            time.sleep(0.05)
        wrong = [text for client in clients for text in client.wrong]
        wrong += ["a client did not end"] * sum(client.is_alive() for client in clients)
        counts = sum((client.counts for client in clients), collections.Counter())
        waits = [wait for client in clients for wait in client.waits]
        server.send_signal(signal.SIGINT)
        if server.wait(60) != 0:
            wrong.append(f"the service ended with {server.returncode}")
    half = held[len(held) // 3 :] or held
    figures = {
        "clients": wanted.clients,
        "seconds": wanted.seconds,
        "answers": dict(sorted(counts.items())),
        "videos done": len(waits),
        "wait for a video, median and longest, s": [round(float(np.median(waits)), 1), round(max(waits), 1)]
        if waits
        else [],
        "healthz asked": len(health),
        "healthz p50, p95, longest, ms": [round(1000 * float(np.quantile(health, q)), 1) for q in (0.5, 0.95, 1)],
        "memory at the start, after a third, at the end, MB": [round(m) for m in (held[0], half[0], held[-1])],
        "memory, most, MB": round(max(held)),
        "wrong": wrong[:20],
    }
    for title, value in figures.items():
        print(f"{title}: {value}")
    if wanted.json:
        wanted.json.write_text(json.dumps(figures, indent=1))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
