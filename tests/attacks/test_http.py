"""Hostile requests to the service: each is answered with its status and one sentence, and leaves nothing behind.

The application is called directly and its worker never starts, so that every byte of a request is the test's.
"""

# ruff: noqa: E501  (a case is a line)

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from audit import strays, watching
from conftest import PORTRAIT

pytest.importorskip("fastapi")

from emotalk_cli.serve.server import Limits, create  # noqa: E402

TOKEN = "t0k3n"
LIMITS = Limits(upload=1 << 20, patience=50.0)  # a busy machine is slow, not silent
Case = tuple[str, str, str, bytes, dict[str, str], int | tuple[int, ...]]  # name, method, path, body, headers, status
JSON = {"content-type": "application/json"}
FORM = {"content-type": "multipart/form-data; boundary=mark"}
ODD = {"null": "null", "truth": "true", "list": "[]", "object": "{}", "deep": "[" * 300 + "]" * 300, "less": "-1",
       "huge": "1e400", "whole": "2" * 400, "nan": "NaN", "long": json.dumps("x" * 6000), "rather long": json.dumps("x" * 4000), "nul": '"\\u0000"',
       "escape": '"\\u001b[2J\\u202e"', "half a pair": '"\\ud800"', "path": '"../../../../etc/passwd"', "file": '"/etc/passwd"',
       "address": '"http://127.0.0.1:9/a"', "script": '"<script>alert(1)</script>"'}  # fmt: skip
FIELDS = ("face", "audio", "text", "voice", "emotion", "timeline", "intensity", "size", "fps", "pose", "blink", "framing",
          "seed", "label")  # fmt: skip
UNKNOWN = ("out", "weights", "from", "preview", "export_blendshapes", "motion", "device", "clip", "landmarks", "resume",
           "c2pa_key", "max_seconds", "emotion_file", "__class__")  # fmt: skip


def ask(
    app, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None, stall: bool = False
) -> tuple[int, bytes]:
    """Status and body of an answer; stall: the client sends half of its request and falls silent."""
    sent = {
        "host": "127.0.0.1",
        "authorization": f"Bearer {TOKEN}",
        "content-length": str(len(body)),
        **(headers or {}),
    }
    scope = {"type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": method,
             "scheme": "http", "path": path.partition("?")[0], "raw_path": path.encode("latin-1", "replace"), "root_path": "",
             "query_string": path.partition("?")[2].encode(), "client": ("127.0.0.1", 9), "server": ("127.0.0.1", 80),
             "headers": [(name.encode("latin-1"), value.encode("latin-1", "replace")) for name, value in sent.items()]}  # fmt: skip
    answer: list[dict] = []
    pieces = [body[: len(body) // 2]] if stall else [body[i : i + 65536] for i in range(0, len(body), 65536)] or [b""]

    async def receive() -> dict:
        if not pieces:
            await asyncio.sleep(3600 if stall else 0)
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces) or stall}

    async def send(message: dict) -> None:
        answer.append(message)

    asyncio.run(asyncio.wait_for(app(scope, receive, send), 60))
    return answer[0]["status"], b"".join(message.get("body", b"") for message in answer[1:])


def part(name: str, content: bytes, file: str | None = None) -> bytes:
    head = f'--mark\r\nContent-Disposition: form-data; name="{name}"'
    return (head + (f'; filename="{file}"' if file is not None else "")).encode() + b"\r\n\r\n" + content + b"\r\n"


def wishes() -> Iterator[Case]:
    """Every field of a video and of a preview with every odd value; names that no client may give."""
    refused = (404, 422)  # the file "a" does not exist, where the value itself is fine
    for field in FIELDS:
        for name, value in ODD.items():
            rest = {"face": "a", "audio": "b"} if field != "text" else {"face": "a"}
            rest = {key: json.dumps(word) for key, word in rest.items() if key != field} | {field: value}
            body = "{" + ", ".join(f'"{key}": {word}' for key, word in rest.items()) + "}"
            yield f"{field}: {name}", "POST", "/v1/videos", body.encode(), JSON, refused
    for field in UNKNOWN:
        body = json.dumps({"face": "a", "audio": "b", field: "/tmp/x"}).encode()
        yield f"unknown {field}", "POST", "/v1/videos", body, JSON, 422
        yield (
            f"unknown {field} in a form",
            "POST",
            "/v1/videos",
            part("face", b"a") + part(field, b"/tmp/x") + b"--mark--\r\n",
            FORM,
            422,
        )
    for name, value in ODD.items():
        yield f"preview: {name}", "POST", "/v1/preview", f'{{"face": {value}}}'.encode(), JSON, (404, 422, 503)


def bodies() -> Iterator[Case]:
    rubbish = {"nothing": b"", "zeros": bytes(500), "ones": b"\xff" * 500, "deep": b"[" * 100_000, "deep objects": b'{"a":' * 50_000,
               "half": b'{"face": "a"', "two": b"{}{}", "utf-16": '{"face": "a"}'.encode("utf-16"), "pickle": b"\x80\x04."}  # fmt: skip
    for name, body in rubbish.items():
        yield f"JSON {name}", "POST", "/v1/videos", body, JSON, 422
        yield f"form {name}", "POST", "/v1/videos", body, FORM, (400, 422)
        yield f"file {name}", "POST", "/v1/files", body, FORM, (400, 422)
    picture = PORTRAIT.read_bytes()
    ends = b"--mark--\r\n"
    forms = {
        "a field twice": (part("face", b"a") + part("face", b"b") + ends, 422),
        "a file too many": (part("face", b"a", "a.png") + part("audio", b"b", "b.wav") + part("label", b"c", "c") + ends, (400, 422)),
        "a file as a field": (part("label", b"c", "c") + ends, 422),
        "many fields": (b"".join(part(f"f{n}", b"1") for n in range(200)) + ends, (400, 422)),
        "a long field": (part("text", b"x" * 900_000) + part("face", b"a") + ends, (400, 422)),
        "a deep timeline": (part("face", b"a") + part("timeline", b"[" * 50_000) + ends, 422),
        "a picture and a bad size": (part("face", picture, "a.png") + part("audio", b"RIFF", "b.wav") + part("size", b"63") + ends, 422),
        "a name outside": (part("face", b"x", "../../../../tmp/owned.png") + part("size", b"1") + ends, 422),
        "a name with NUL": (part("face", b"x", "a\0.png") + part("size", b"1") + ends, (400, 422)),
        "an empty file": (part("face", b"", "a.png") + part("text", b"hello") + ends, 422),
        "no end": (part("face", b"a", "a.png")[:-2], (400, 422)),
        "wrong mark": (part("face", b"a", "a.png").replace(b"mark", b"park"), (400, 422)),
    }  # fmt: skip
    for name, (body, status) in forms.items():
        yield f"form: {name}", "POST", "/v1/videos", body, FORM, status
    yield "a form without a mark", "POST", "/v1/videos", b"x", {"content-type": "multipart/form-data"}, 400
    yield "too large", "POST", "/v1/files", bytes(3 << 20), FORM, 413
    yield (
        "larger than it says",
        "POST",
        "/v1/files",
        part("file", bytes(3 << 20), "a.png") + ends,
        FORM | {"content-length": "9"},
        413,
    )


def heads() -> Iterator[Case]:
    for value, status in {
        "-1": 400,
        "1e9": 400,
        "99999999999": 413,
        "0x10": 400,
        "": 400,
        "१": (400, 413, 422),
    }.items():
        yield f"length {value!r}", "POST", "/v1/files", b"", FORM | {"content-length": value}, status
    for value in (
        "",
        "Bearer",
        "Bearer x",
        f"bearer {TOKEN}",
        f"Bearer {TOKEN}\0",
        f"Bearer {TOKEN} ",
        "Basic dDprMw==",
        "\xff" * 900,
    ):
        yield f"token {value[:20]!r}", "GET", "/v1/videos/a", b"", {"authorization": value}, 401
    for value in ("evil.example", "127.0.0.1.evil.example", "", "[::2]:80", "localhost@evil.example", "x" * 9000):
        yield f"host {value[:30]!r}", "GET", "/healthz", b"", {"host": value}, 421
    for value in ("http://evil.example", "null", "http://127.0.0.1.evil.example", "file://"):
        yield f"origin {value!r}", "POST", "/v1/videos", b"{}", JSON | {"origin": value}, 403
    for method in ("PUT", "PATCH", "TRACE", "CONNECT", "FOO"):
        yield f"method {method}", method, "/v1/videos", b"", {}, 405
    for path in ("/../server.py", "/..%2fserver.py", "/%2e%2e/server.py", "//etc/passwd", "/page.js/../../server.py", "/\0", "/.git/config",
                 "/v1/videos/../../etc/passwd", "/v1/videos/%00", "/v1/videos/" + "a" * 5000, "/v1/videos/a/video",
                 "/v1/videos/a/..", "/v1/files/../../x", "/v1/nothing", "/docs/../server.py"):  # fmt: skip
        yield f"path {path[:30]!r}", "GET", path, b"", {}, (404, 405)
    yield "forget what is outside", "DELETE", "/v1/files/..", b"", {}, (204, 404, 405)


CASES = [*wishes(), *bodies(), *heads()]


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    root = tmp_path_factory.mktemp("service")
    application = create(root, {}, token=TOKEN, limits=LIMITS)
    application.state.root = root
    return application


def test_every_request_is_answered_with_one_sentence(app):
    root: Path = app.state.root
    assert len(CASES) >= 300
    for name, method, path, body, headers, expected in CASES:
        with watching() as seen:
            status, answer = ask(app, method, path, body, headers)
        assert status in ((expected,) if isinstance(expected, int) else expected), (name, status, answer[:300])
        if status >= 400 and path.startswith("/v1/"):
            said = json.loads(answer)["error"]
            assert 10 < len(said) < 400 and said.isprintable() and "Traceback" not in said, (name, said)
        assert not strays(seen, root), name
        assert not [*(root / "files").iterdir(), *(root / "jobs").iterdir()], name


def test_a_client_that_falls_silent_is_let_go(tmp_path):
    app = create(tmp_path, {}, token=TOKEN, limits=Limits(patience=0.2))
    for path, body, headers in (
        ("/v1/files", part("file", bytes(5000), "a.png"), FORM),
        ("/v1/videos", b'{"face": "a"}', JSON),
    ):
        status, answer = ask(app, "POST", path, body, headers, stall=True)
        assert status == 408 and b"Nothing arrived" in answer, answer
    assert not list((tmp_path / "files").iterdir())
