"""The service: its store, what it refuses, and one real run from picture and voice to video."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path

import pytest
from conftest import PORTRAIT, ROOT, write_wav

pytest.importorskip("fastapi")

from emotalk_cli.serve.store import Store  # noqa: E402


class Client:
    """A few HTTP verbs with nothing but the standard library."""

    def __init__(self, address: str) -> None:
        self.address = address

    def __call__(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes, dict]:
        request = urllib.request.Request(self.address + path, body, method=method)
        for name, value in headers.items():
            request.add_header(name.replace("_", "-"), value)
        try:
            with urllib.request.urlopen(request, timeout=300) as answer:
                return answer.status, answer.read(), dict(answer.headers)
        except urllib.error.HTTPError as error:
            return error.code, error.read(), dict(error.headers)

    def json(self, path: str, wish: object, method: str = "POST") -> tuple[int, dict]:
        status, body, _ = self(method, path, json.dumps(wish).encode(), Content_Type="application/json")
        return status, json.loads(body)

    def send(self, path: str, files: dict[str, Path], **fields: str) -> tuple[int, dict]:
        mark = uuid.uuid4().hex
        body = b"".join(
            f'--{mark}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
            for name, value in fields.items()
        )
        for name, file in files.items():
            head = f'--{mark}\r\nContent-Disposition: form-data; name="{name}"; filename="{file.name}"\r\n\r\n'
            body += head.encode() + file.read_bytes() + b"\r\n"
        kind = f"multipart/form-data; boundary={mark}"
        status, answer, _ = self("POST", path, body + f"--{mark}--\r\n".encode(), Content_Type=kind)
        return status, json.loads(answer)

    def finished(self, path: str) -> dict:
        """The job once it is in a final state."""
        while (job := json.loads(self("GET", path)[1]))["state"] in ("queued", "running"):
            time.sleep(0.1)
        return job


def start(folder: Path, *options: str) -> tuple[subprocess.Popen, Client]:
    command = [sys.executable, "-m", "emotalk_cli", "serve", "--port", "0", "--generator", "geometry"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    server = subprocess.Popen(
        [*command, "--folder", str(folder), *options], stderr=subprocess.PIPE, text=True, cwd=ROOT, env=environment
    )
    line = server.stderr.readline()
    assert "listens at" in line, line + server.stderr.read()
    client = Client(line.split("listens at ")[1].split()[0].partition("/#")[0].rstrip("/"))
    while not json.loads(client("GET", "/healthz")[1])["ready"]:
        time.sleep(0.1)
    return server, client


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("serve")
    server, client = start(folder, "--queue", "2", "--upload", "1", "--seconds", "2")
    client.folder = folder
    yield client
    server.send_signal(signal.SIGINT)
    assert server.wait(60) == 0


@pytest.fixture(scope="module")
def speech(tmp_path_factory) -> Path:
    import numpy as np

    t = np.arange(8000) / 16000
    return write_wav(tmp_path_factory.mktemp("sound") / "speech.wav", 0.4 * np.sin(700 * t) * (np.sin(25 * t) > 0))


def test_picture_and_voice_become_a_video(served, speech):
    status, job = served.send("/v1/videos", {"face": PORTRAIT, "audio": speech}, emotion="happy", size="64", fps="10")
    assert status == 202, job
    job = served.finished(job["links"]["self"])
    assert job["state"] == "done" and job["frames"] == {"done": 5, "total": 5} and job["error"] is None
    status, video, headers = served("GET", job["files"]["video"])
    assert status == 200 and video[4:8] == b"ftyp" and headers["content-type"] == "video/mp4"
    assert served("GET", job["files"]["video"], Range="bytes=4-7")[1] == b"ftyp"  # browsers seek
    assert served("GET", job["files"]["blendshapes"])[1].startswith(b"Timecode")
    assert served("DELETE", job["links"]["self"])[0] == 204 and served("GET", job["links"]["self"])[0] == 404
    assert not list((served.folder / "jobs").iterdir())


def test_preview_follows_the_feeling(served):
    face = served.send("/v1/files", {"file": PORTRAIT})[1]["id"]
    made = {}
    for emotion in ("happy", "sad"):
        status, made[emotion], _ = served(
            "POST",
            "/v1/preview",
            json.dumps({"face": face, "emotion": emotion, "size": 64}).encode(),
            Content_Type="application/json",
        )
        assert status == 200 and made[emotion].startswith(b"\x89PNG")
    assert made["happy"] != made["sad"]


def test_emotions_have_places_of_their_own(served):
    places = json.loads(served("GET", "/v1/emotions")[1])
    at = {row["name"]: (row["x"], row["y"]) for row in places}
    assert len(set(at.values())) == len(at) >= 8 and all(abs(v) <= 1 for place in at.values() for v in place)
    assert at["happy"][0] > at["angry"][0]


JSON = {"Content_Type": "application/json"}
REFUSED = [  # method, path, body, headers, status
    ("POST", "/v1/videos", b"{", JSON, 422),
    ("POST", "/v1/videos", b"[]", JSON, 422),
    ("POST", "/v1/videos", b"\xff\xfe", JSON, 422),
    ("POST", "/v1/videos", b'{"face": "a"}', JSON, 422),
    ("POST", "/v1/videos", b'{"face": "a", "audio": "b"}', JSON, 404),
    ("POST", "/v1/videos", b'{"face": "../../etc", "audio": "b"}', JSON, 404),
    ("POST", "/v1/videos", b'{"face": "a", "audio": "b", "text": "c"}', JSON, 422),
    ("POST", "/v1/videos", b'{"face": "a", "text": ""}', JSON, 422),
    ("POST", "/v1/videos", b'{"face": "a", "audio": "b", "out": "/tmp/x"}', JSON, 422),
    ("POST", "/v1/videos", b'{"face": "a", "audio": "b", "size": 63}', JSON, 422),
    ("POST", "/v1/videos", b'{"face": "a", "audio": "b", "size": 1e9}', JSON, 422),
    ("POST", "/v1/videos", b'{"face": "a", "audio": "b", "fps": NaN}', JSON, 422),
    (
        "POST",
        "/v1/videos",
        b'{"face": "a", "audio": "b", "pose": "/etc/passwd"}',
        JSON,
        422,
    ),
    ("POST", "/v1/videos", b'{"face": "a", "audio": "b", "intensity": 9}', JSON, 422),
    ("POST", "/v1/videos", b'{"face": "a", "audio": "b", "seed": -1}', JSON, 422),
    (
        "POST",
        "/v1/videos",
        b'{"face": "a", "audio": "b", "label": "\\u001b[31m"}',
        JSON,
        422,
    ),
    ("POST", "/v1/videos", b'{"face": "a", "audio": "b", "voice": "x"}', JSON, 422),
    ("POST", "/v1/videos", b'{"face": "a", "audio": "b", "background": "/etc/passwd"}', JSON, 422),
    ("POST", "/v1/videos", b'{"face": "a", "audio": "b", "loop": true, "freeze": true}', JSON, 422),
    ("POST", "/v1/videos", b'{"face": "a", "audio": "b", "timeline": []}', JSON, 422),
    (
        "POST",
        "/v1/videos",
        b'{"face": "a", "audio": "b", "timeline": [{"time": -1}]}',
        JSON,
        422,
    ),
    ("POST", "/v1/videos", b'{"face": {"a": 1}, "audio": "b"}', JSON, 422),
    ("POST", "/v1/videos", b"[" * 100_000, JSON, 422),
    ("POST", "/v1/videos", b"no form", {"Content_Type": "multipart/form-data; boundary=x"}, 400),
    ("POST", "/v1/videos", b"no form", {"Content_Type": "multipart/form-data"}, 400),
    ("POST", "/v1/videos", b"face=a&audio=b", {"Content_Type": "application/x-www-form-urlencoded"}, 404),
    ("POST", "/v1/videos", b"a" * (3 << 20), JSON, 413),
    ("POST", "/v1/files", b"", {"Content_Type": "multipart/form-data; boundary=x"}, 422),
    ("POST", "/v1/files", b"{}", JSON, 422),
    ("POST", "/v1/preview", b"{}", JSON, 422),
    ("POST", "/v1/preview", b'{"face": "x"}', JSON, 404),
    ("POST", "/v1/preview", b'{"face": "x", "size": 5000}', JSON, 422),
    ("POST", "/v1/preview", b'{"face": "x", "emotion": 7}', JSON, 422),
    ("GET", "/v1/videos/nothing", None, {}, 404),
    ("GET", "/v1/videos/..%2f..%2fetc%2fpasswd", None, {}, 404),
    ("GET", "/v1/videos/nothing/video", None, {}, 404),
    ("DELETE", "/v1/videos/nothing", None, {}, 404),
    ("POST", "/v1/videos/nothing/cancel", b"", {}, 404),
    ("GET", "/..%2f..%2fetc/passwd", None, {}, 404),
    ("GET", "/page.js/../../server.py", None, {}, 404),
    ("PUT", "/v1/videos", b"", {}, 405),
    ("TRACE", "/", None, {}, 405),
    ("POST", "/v1/files", b"", {"Origin": "http://evil.example"}, 403),
    ("GET", "/healthz", None, {"Host": "evil.example"}, 421),
]


@pytest.mark.parametrize(("method", "path", "body", "headers", "expected"), REFUSED)
def test_bad_requests_get_one_sentence(served, method, path, body, headers, expected):
    status, answer, _ = served(method, path, body, **headers)
    assert status == expected, answer
    if path.startswith("/v1/") or status in (403, 421):
        said = json.loads(answer)["error"]
        assert 10 < len(said) < 300 and "\n" not in said and "Traceback" not in said
    assert json.loads(served("GET", "/healthz")[1])["ready"]


def test_files_that_are_no_picture_fail_their_job_alone(served, speech):
    status, job = served.send("/v1/videos", {"face": speech, "audio": speech}, size="64")
    job = served.finished(job["links"]["self"])
    assert job["state"] == "failed" and str(served.folder) not in job["error"] and job["error"].startswith("The face")
    assert served.send("/v1/files", {"file": PORTRAIT})[0] == 201


def test_slow_or_lying_clients_are_let_go(served):
    host, port = served.address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=600) as client:
        client.sendall(b"POST /v1/files HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99999999999\r\n\r\n")
        assert b"413" in client.recv(4096)


def test_full_queue_says_when_to_come_back(served, speech):
    face = served.send("/v1/files", {"file": PORTRAIT})[1]["id"]
    audio = served.send("/v1/files", {"file": speech})[1]["id"]
    wish = {"face": face, "audio": audio, "size": 64, "fps": 60}
    answers = [served.json("/v1/videos", wish) for _ in range(6)]
    accepted = [job for status, job in answers if status == 202]
    assert 2 <= len(accepted) <= 5 and {status for status, _ in answers} == {202, 429}
    status, _, headers = served("POST", "/v1/videos", json.dumps(wish).encode(), Content_Type="application/json")
    assert status == 202 or int(headers["retry-after"]) > 0
    for job in accepted[1:]:
        assert served("POST", job["links"]["cancel"], b"")[0] == 200
    states = [served.finished(job["links"]["self"])["state"] for job in accepted]
    assert states[0] == "done" and set(states[1:]) <= {"done", "cancelled"} and "cancelled" in states


def test_too_long_speech_is_refused(served, tmp_path):
    import numpy as np

    long = write_wav(tmp_path / "long.wav", np.zeros(3 * 16000))
    _, job = served.send("/v1/videos", {"face": PORTRAIT, "audio": long}, size="64")
    job = served.finished(job["links"]["self"])
    assert job["state"] == "failed" and "at most 2 s" in job["error"]


def test_other_hosts_need_a_token():
    command = [sys.executable, "-m", "emotalk_cli", "serve", "--host", "0.0.0.0"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env={**os.environ, "EMOTALK_TOKEN": ""})
    assert done.returncode == 2 and "--token" in done.stderr


# -- the store ------------------------------------------------------------------------------------------------------


def test_a_killed_service_parks_its_job(tmp_path):
    store = Store(tmp_path, expiry=100)
    first, second = (store.add(options={}, face="f", audio="a") for _ in range(2))
    first.state = "running"
    second.state, second.finished = "done", store.clock()
    store.save(first)
    store.save(second)
    (store.folder(second) / "video.mp4").write_bytes(b"film")
    again = Store(tmp_path, expiry=100)
    assert again.jobs[first.id].state == "queued" and again.queued() == [again.jobs[first.id]]
    assert (
        again.jobs[second.id].state == "done" and again.result(again.jobs[second.id], "video").read_bytes() == b"film"
    )


def test_results_expire_and_needed_files_stay(tmp_path):
    now = [time.time()]
    store = Store(tmp_path, expiry=10, clock=lambda: now[0])
    needed, path = store.new_file("../../x.PNG")
    path.write_bytes(b"x")
    idle, other = store.new_file("y")
    other.write_bytes(b"y")
    assert path.name == "data.png" and other.name == "data" and path.is_relative_to(tmp_path)
    waiting, done = store.add(options={}, face=needed), store.add(options={}, face=idle)
    done.state, done.finished = "done", now[0]
    now[0] += 11
    store.sweep()
    assert set(store.jobs) == {waiting.id} and store.file(needed) and store.file(idle) is None
    assert store.file("../jobs") is None


def test_a_damaged_state_is_dropped(tmp_path):
    store = Store(tmp_path, expiry=10)
    job = store.add(options={}, face="f")
    (store.folder(job) / "job.json").write_text("{")
    assert Store(tmp_path, expiry=10).jobs == {}
