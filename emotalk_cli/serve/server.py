"""The HTTP side of `emotalk serve`: uploads, jobs, previews and the page, with bounds on all of them."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hmac
import json
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any

from fastapi import Body, Depends, FastAPI, File, HTTPException, Request, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.datastructures import UploadFile as AnyUploadFile
from starlette.exceptions import HTTPException as AnyHTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .. import __version__
from ..errors import EmoTalkError, InputError, UsageError
from . import requests
from .engine import Engine
from .store import FINAL, RESULTS, Job, Store

PAGE = Path(__file__).parent / "page"
LOOPBACK = ("127.0.0.1", "localhost", "[::1]", "::1")
DRAINED = 8 << 20  # bytes of a refused request that are read before the answer
BLOCK = 1 << 18  # bytes of an upload that are written at once
SWEEP = 60.0  # seconds between looking for what has expired
TYPES = {"video": "video/mp4", "sidecar": "application/json", "blendshapes": "text/csv", "sheet": "image/png"}
POLICY = "default-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; style-src 'self'; script-src 'self'"


@dataclasses.dataclass(frozen=True)
class Limits:
    """Bounds of the service.

    queue: jobs that may wait. upload: bytes of one file. seconds: of speech in one video. stored: bytes that files and
    results may take together. patience: seconds that a client may be silent while it sends. expiry: seconds that files
    and results are kept. previews: that may wait at a time.
    """

    queue: int = 16
    upload: int = 100 << 20
    seconds: float = 600.0
    stored: int = 20 << 30
    patience: float = 20.0
    expiry: float = 24 * 3600.0
    previews: int = 8


class Service:
    """State of the running service: its store, its worker, and the job that is being made."""

    def __init__(self, root: Path, load: dict[str, Any], shared: Mapping[str, Any], limits: Limits) -> None:
        self.limits, self.shared = limits, shared
        self.store = Store(root, limits.expiry)
        self.engine = Engine(load, self._event)
        self.current: Job | None = None
        self.frame: bytes | None = None  # JPEG of the newest frame of `current`
        self.previews = 0
        self._rate = 6.0  # frames/s, of the last video

    async def run(self) -> None:
        """Sweep from time to time until cancelled."""
        while True:
            self.store.sweep()
            await asyncio.sleep(SWEEP)

    def _event(self, kind: str, key: str, value: Any) -> None:
        if kind == "ready":
            self.advance()
            return
        if kind == "died":
            self._lost(value)
            return
        job = self.current
        if job is None or job.id != key:
            return
        if kind == "progress":
            job.frames = value
            if value[0] and job.started:
                self._rate = max(0.1, value[0] / max(time.time() - job.started, 1e-3))
        elif kind == "frame":
            self.frame = value
        elif kind == "finished":
            self._close(job, **value)

    def _lost(self, deaths: int) -> None:
        """The worker died: the job that it made has one more try, then it has failed."""
        job, self.current = self.current, None
        if job is None:
            return
        if deaths > 1:
            self._close(job, state="failed", error="The worker stopped while making this video; try other input.")
        else:
            job.state = "queued"
            self.store.save(job)

    def _close(self, job: Job, **fields: Any) -> None:
        for name, value in fields.items():
            setattr(job, name, value)
        if job.state in FINAL:
            job.finished = time.time()
        self.store.save(job)
        self.current = self.frame = None
        self.advance()

    def advance(self) -> None:
        """Give the worker the next job, if it is free."""
        waiting = self.store.queued()
        if self.current is not None or not waiting or not self.engine.ready.is_set():
            return
        job = self.current = waiting[0]
        job.state, job.started, job.frames = "running", time.time(), (0, 0)
        self.store.save(job)
        files = {"face": self.store.file(job.face), "audio": self.store.file(job.audio) if job.audio else None}
        if files["face"] is None or (job.audio and files["audio"] is None):
            self._close(job, state="failed", error="A file of this video has expired; send it again.")
            return
        options = {**self.shared, **job.options}
        more = {"files": files, "folder": self.store.folder(job), "seconds": self.limits.seconds, "options": options}
        self.engine.render({**dataclasses.asdict(job), **more})

    def wait(self, job: Job) -> float:
        """Seconds until the job is likely to be done."""
        if job.state in FINAL:
            return 0.0
        left = max(0, job.frames[1] - job.frames[0]) / self._rate if job.frames[1] else 10.0
        before = sum(1 for other in self.store.queued() if other.created < job.created) + (self.current is not job)
        return left + (10.0 * before if job is not self.current else 0.0)

    def describe(self, job: Job) -> dict[str, Any]:
        """What a client is told of a job."""
        here = f"/v1/videos/{job.id}"
        files = {kind: f"{here}/{kind}" for kind in RESULTS if self.store.result(job, kind) is not None}
        position = next((i for i, other in enumerate(self.store.queued(), 1) if other is job), 0)
        return {
            "id": job.id,
            "state": job.state,
            "progress": round(job.progress, 4),
            "frames": {"done": job.frames[0], "total": job.frames[1]},
            "position": position,
            "eta_seconds": round(self.wait(job), 1),
            "error": job.error,
            "notes": job.notes,
            "nearest": job.nearest,
            "options": job.options,
            "files": files if job.state == "done" else {},
            "links": {"self": here, "cancel": f"{here}/cancel", "frame": f"{here}/frame"},
        }


class Guard:
    """Refuses requests before they are read: wrong host, wrong token, too many bytes, too slow a client."""

    def __init__(self, app: ASGIApp, token: str | None, hosts: tuple[str, ...] | None, limits: Limits) -> None:
        self.app, self.token, self.hosts, self.limits = app, token, hosts, limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal is not None:
            await self._drained(scope, receive)
            await refusal(scope, receive, send)
            return
        taken = 0

        async def bounded() -> Message:
            nonlocal taken
            try:
                message = await asyncio.wait_for(receive(), self.limits.patience)
            except asyncio.TimeoutError as error:
                raise _Refused(408, "Nothing arrived for too long; send the request again.") from error
            taken += len(message.get("body", b""))
            if taken > self.limits.upload + (1 << 20):
                raise _Refused(413, f"The request is larger than {self.limits.upload >> 20} MiB; send a smaller file.")
            return message

        body = scope["method"] in ("POST", "PUT", "PATCH", "DELETE")  # others have none, and may wait long for answers
        await self.app(scope, bounded if body else receive, send)

    async def _drained(self, scope: Scope, receive: Receive) -> None:
        """Read a little of what is refused: most clients look for the answer when all is sent."""
        length, taken = dict(scope["headers"]).get(b"content-length", b"0"), 0
        if not length.isdigit() or int(length) > DRAINED:
            return
        with contextlib.suppress(asyncio.TimeoutError):
            while taken < int(length):
                message = await asyncio.wait_for(receive(), self.limits.patience)
                if message["type"] != "http.request":
                    return
                taken += len(message.get("body", b""))

    def _refusal(self, scope: Scope) -> Response | None:
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        host = headers.get("host", "").rpartition(":")[0] or headers.get("host", "")
        if self.hosts is not None and host not in self.hosts:  # another name for this address: a page elsewhere
            return _answer(421, "This host name is not served; use http://127.0.0.1.")
        origin = headers.get("origin")
        if origin is not None and scope["method"] != "GET" and origin.partition("://")[2] != headers.get("host", ""):
            return _answer(403, "Requests from other pages are refused; use the page that this service serves.")
        length = headers.get("content-length", "0")
        if not length.isdigit():
            return _answer(400, "Content-Length is no number; correct it.")
        if int(length) > self.limits.upload + (1 << 20):
            return _answer(413, f"The request is larger than {self.limits.upload >> 20} MiB; send a smaller file.")
        if self.token is not None and scope["path"].startswith("/v1/"):
            given = headers.get("authorization", "").removeprefix("Bearer ")
            if not hmac.compare_digest(given.encode(), self.token.encode()):
                return _answer(401, "The token is missing or wrong; send 'Authorization: Bearer TOKEN'.")
        return None


class _Refused(HTTPException):  # which the framework passes on, where other exceptions become "error parsing the body"
    def __init__(self, status: int, text: str) -> None:
        super().__init__(status, text, {"Connection": "close"})


def _answer(status: int, text: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": text}, status, headers)


async def _known(key: str, request: Request) -> Job:
    job: Job | None = request.app.state.service.store.jobs.get(key)
    if job is None:
        raise HTTPException(404, "There is no such video; it may have expired.")
    return job


Known = Annotated[Job, Depends(_known)]


def create(
    root: Path,
    load: dict[str, Any],
    shared: Mapping[str, Any] | None = None,
    *,
    token: str | None = None,
    limits: Limits = Limits(),
    local: bool = True,
) -> FastAPI:
    """The application.

    root: its work folder; nothing else is written. load: arguments of `EmoTalk.load` for the worker. shared: options of
    `emotalk generate` for all videos. token: asked for on every request under /v1. local: whether only this machine's
    names for itself are answered.
    """
    service = Service(root, load, shared or {}, limits)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service.engine.start()
        sweeping = asyncio.create_task(service.run())
        yield
        sweeping.cancel()
        await service.engine.stop(patience=10.0)

    app = FastAPI(title="EmoTalk", version=__version__, lifespan=lifespan, redoc_url=None)
    app.state.service = service
    app.add_middleware(Guard, token=token, hosts=LOOPBACK if local else None, limits=limits)

    @app.exception_handler(EmoTalkError)
    async def refused(request: Request, error: EmoTalkError) -> JSONResponse:
        return _answer(422 if isinstance(error, UsageError | InputError) else 503, str(error))

    @app.exception_handler(AnyHTTPException)  # also those that no route of ours has raised
    async def failed(request: Request, error: AnyHTTPException) -> JSONResponse:
        plain = error.detail == HTTPStatus(error.status_code).phrase  # no sentence of ours
        said = "There is nothing of this kind at this address; see /docs." if plain else str(error.detail)
        return _answer(error.status_code, said, dict(error.headers or {}))

    @app.exception_handler(RequestValidationError)
    async def malformed(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:]) or "The request"
        return _answer(422, f"{where}: {str(first['msg']).rstrip('.')}; see /docs.")

    @app.middleware("http")
    async def secured(request: Request, follow: Callable[[Request], Awaitable[Response]]) -> Response:
        response = await follow(request)
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        response.headers.setdefault("Referrer-Policy", "no-referrer")
        if not request.url.path.startswith(("/docs", "/openapi")):
            response.headers.setdefault("Content-Security-Policy", POLICY)
        response.headers.setdefault("Cache-Control", "no-store" if request.url.path.startswith("/v1/") else "no-cache")
        return response

    @app.get("/healthz")
    async def healthz() -> dict[str, Any]:
        """Whether the service answers, and whether its worker is loaded."""
        waiting = len(service.store.queued())
        return {"ok": True, "ready": service.engine.ready.is_set(), "queued": waiting, "version": __version__}

    @app.get("/v1/emotions")
    async def emotions() -> list[dict[str, Any]]:
        """Named emotions with their place on the map, x and y in -1..1."""
        await _ready(service)
        return service.engine.emotions

    @app.get("/v1/voices")
    async def voices() -> list[dict[str, str]]:
        """Voices that can speak a text."""
        from ..media.speech_synthesis import voices

        return [dataclasses.asdict(voice) for voice in voices()]

    @app.post("/v1/files", status_code=201)
    async def upload(file: Annotated[UploadFile, File()]) -> dict[str, Any]:
        """Keep a picture or a recording for `videos` and `preview`."""
        return {"id": await _keep(service, file)}

    @app.delete("/v1/files/{key}", status_code=204)
    async def forget(key: str) -> None:
        """Forget an uploaded file."""
        service.store.drop_file(key)

    @app.post("/v1/preview", response_class=Response, responses={200: {"content": {"image/png": {}}}})
    async def preview(wish: Annotated[requests.Preview, Body()]) -> Response:
        """One picture of the face with an emotion, PNG."""
        await _ready(service)
        face = service.store.file(wish.face)
        if face is None:
            raise HTTPException(404, f"There is no file {wish.face!r}; send the picture to /v1/files first.")
        if service.previews >= limits.previews:
            raise HTTPException(429, "Too many previews at once; try again.", {"Retry-After": "1"})
        service.previews += 1
        try:
            values = wish.model_dump(exclude={"face"})
            return Response(await service.engine.ask("preview", face=face, **values), media_type="image/png")
        finally:
            service.previews -= 1

    @app.post("/v1/videos", status_code=202)
    async def make(request: Request) -> JSONResponse:
        """Ask for a video: JSON (see `Video`), or a form with the files `face` and `audio` and fields named like it."""
        form = request.headers.get("content-type", "").startswith(("multipart/", "application/x-www-form"))
        wish, sent = await _video_form(service, request) if form else (await _video_json(request), [])
        try:
            for name in ("face", "audio"):
                key = getattr(wish, name)
                if key is not None and service.store.file(key) is None:
                    raise HTTPException(404, f"There is no file {key!r}; send {name} to /v1/files first.")
            waiting = service.store.queued()
            if len(waiting) >= limits.queue:
                seconds = math.ceil(service.wait(waiting[0])) + 1
                raise HTTPException(
                    429, f"{len(waiting)} videos wait already; try later.", {"Retry-After": str(seconds)}
                )
            if service.store.size > limits.stored:
                raise HTTPException(507, "The service's folder is full; delete videos or wait until some expire.")
        except HTTPException:
            for key in sent:
                service.store.drop_file(key)
            raise
        job = service.store.add(**wish.job())
        service.advance()
        return JSONResponse(service.describe(job), 202, {"Location": f"/v1/videos/{job.id}"})

    @app.get("/v1/videos/{key}")
    async def status(job: Known) -> dict[str, Any]:
        """How far a video is."""
        return service.describe(job)

    @app.get("/v1/videos/{key}/frame", response_class=Response)
    async def newest(job: Known) -> Response:
        """The newest frame of a video that is being made, JPEG; 204 before the first."""
        if service.current is not job or service.frame is None:
            return Response(status_code=204)
        return Response(service.frame, media_type="image/jpeg")

    @app.post("/v1/videos/{key}/cancel")
    async def cancel(job: Known) -> dict[str, Any]:
        """Stop making a video."""
        if job is service.current:
            service.engine.cancel(job.id)
        elif job.state == "queued":
            job.state, job.finished = "cancelled", time.time()
            service.store.save(job)
        return service.describe(job)

    @app.delete("/v1/videos/{key}", status_code=204)
    async def delete(job: Known) -> None:
        """Stop making a video, and forget it and its files."""
        if job is service.current:
            service.engine.cancel(job.id)
            service.current = service.frame = None
        service.store.drop(job)

    @app.get("/v1/videos/{key}/{kind}", response_class=FileResponse)
    async def result(job: Known, kind: str) -> FileResponse:
        """A finished file: video, sidecar, blendshapes or sheet."""
        path = service.store.result(job, kind) if kind in RESULTS and job.state == "done" else None
        if path is None:
            raise HTTPException(404, f"This video has no {kind[:40]!r}; it is {job.state}.")
        return FileResponse(path, media_type=TYPES[kind], filename=f"emotalk-{job.id[:6]}{path.suffix}")

    app.mount("/", StaticFiles(directory=PAGE, html=True))
    return app


async def _ready(service: Service) -> None:
    if not service.engine.ready.is_set():
        raise HTTPException(503, "The models are being loaded; try again in a few seconds.", {"Retry-After": "3"})


async def _keep(service: Service, file: AnyUploadFile) -> str:
    """Write an upload to the store; its id."""
    if service.store.size > service.limits.stored:
        raise HTTPException(507, "The service's folder is full; delete videos or wait until some expire.")
    key, path = service.store.new_file(file.filename or "")
    size = 0
    try:
        with open(path, "xb") as out:
            while block := await file.read(BLOCK):
                size += len(block)
                if size > service.limits.upload:
                    limit = service.limits.upload >> 20
                    raise HTTPException(413, f"The file is larger than {limit} MiB; send a smaller one.")
                out.write(block)
        if not size:
            raise HTTPException(422, "The file is empty; send another.")
        service.store.kept(key)
    except BaseException:
        service.store.drop_file(key)
        raise
    return key


async def _video_json(request: Request) -> requests.Video:
    try:
        return requests.Video.model_validate_json(await request.body())
    except ValueError as error:
        raise requests.sentence(error) from error


async def _video_form(service: Service, request: Request) -> tuple[requests.Video, list[str]]:
    fields: dict[str, Any] = {}
    sent: list[str] = []
    async with request.form(max_files=2, max_fields=40, max_part_size=1 << 20) as form:
        try:
            for name, value in form.multi_items():
                if name in fields:
                    raise HTTPException(422, f"{name[:40]} is given twice; give it once.")
                if isinstance(value, str):
                    fields[name] = json.loads(value) if name == "timeline" else value
                elif name in ("face", "audio"):
                    fields[name] = await _keep(service, value)
                    sent.append(fields[name])
                else:
                    raise HTTPException(422, f"{name[:40]} takes no file; files are face and audio.")
            return requests.Video.model_validate(fields), sent
        except (ValueError, RecursionError, HTTPException) as error:
            for key in sent:
                service.store.drop_file(key)
            if isinstance(error, HTTPException):
                raise
            raise requests.sentence(error) from error
