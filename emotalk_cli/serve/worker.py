"""The process that holds the models: makes one video at a time, and answers previews between its frames.

Messages in: (kind, number, values): ask "preview"; tell "render", "cancel", "stop". Messages out: ("ready", None,
emotions), ("answer" | "refusal", number, value), and of a video ("progress" | "frame" | "finished", job id, value).
"""

from __future__ import annotations

import collections
import io
import json
import os
import signal
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ..api import EmoTalk
from ..constants import BASICS
from ..emotions import atlas
from ..errors import EmoTalkError, UsageError
from ..jobs import Job
from ..media.audio import Recording

SHOWN = 0.4  # seconds between newest frames that are passed on
SPEECH_RATE = 15  # characters that are spoken in a second
FRAME_SIDE = 384  # px, at most, of those


class Stopped(BaseException):
    """The video is not to be finished: its client, or the service, ends it."""


def main(pipe: Connection, load: dict[str, Any]) -> None:
    """Run until the service closes its end. load: arguments of `EmoTalk.load`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ctrl-C is the service's to handle
    Worker(pipe, EmoTalk.load(**load)).run()
    os._exit(0)  # at once: nothing is left to be written


class Worker:
    """The models, and the messages that wait for them."""

    def __init__(self, pipe: Connection, talker: EmoTalk) -> None:
        self.pipe, self.talker = pipe, talker
        self.rendering: str | None = None  # id of the job
        self._stopping = False
        self._renders: collections.deque[dict[str, Any]] = collections.deque()
        self._cancelled: set[str] = set()
        self._shown = 0.0

    def run(self) -> None:
        """Answer until told to stop."""
        self._send("ready", None, emotion_map())
        while not self._stopping:
            if self._renders:
                self._render(self._renders.popleft())
            else:
                self._take(wait=True)

    def _send(self, kind: str, key: Any, value: Any) -> None:
        try:
            self.pipe.send((kind, key, value))
        except OSError:  # the service is gone
            self._stopping = True

    def _take(self, wait: bool = False) -> None:
        """Handle the messages that have come; with `wait`, at least one."""
        try:
            while self.pipe.poll(None if wait else 0):
                wait = False
                kind, number, values = self.pipe.recv()
                if kind == "stop":
                    self._stopping = True
                elif kind == "cancel":
                    self._cancelled.add(values["id"])
                elif kind == "render":
                    self._renders.append(values)
                else:
                    self._preview(number, **values)
        except (EOFError, OSError):
            self._stopping = True

    def _preview(self, number: int, face: Path, emotion: str | None, intensity: float, size: int) -> None:
        try:
            picture = Image.fromarray(self.talker.still(face, emotion, intensity, size))
            buffer = io.BytesIO()
            if picture.size != (size, size):  # the portrait itself
                picture = picture.resize((size, size), Image.Resampling.BICUBIC)
            picture.save(buffer, "PNG", compress_level=1)
            self._send("answer", number, buffer.getvalue())
        except EmoTalkError as error:
            self._send("refusal", number, _public(str(error), {face: "The picture"}))

    def _render(self, job: dict[str, Any]) -> None:
        self.rendering = job["id"]
        folder: Path = job["folder"]
        names = {path: f"The {kind}" for kind, path in job["files"].items() if path is not None}
        names |= {folder: "the folder"}
        fields: dict[str, Any] = {"notes": [], "nearest": {}}
        try:
            if job["id"] in self._cancelled:
                raise Stopped
            result = self._job(job, folder).run(self.talker, self._progress, self._show)
            fields |= {"state": "done", "error": None, "nearest": result.nearest}
            fields |= {
                "notes": [_public(note, names) for note in result.notes],
                "frames": (result.frames, result.frames),
            }
        except Stopped:
            fields |= {"state": "queued" if self._stopping else "cancelled", "error": None}
        except EmoTalkError as error:
            fields |= {"state": "failed", "error": _public(str(error), names)}
        self.rendering = None
        self._cancelled.discard(job["id"])
        self._send("finished", job["id"], fields)

    def _job(self, job: dict[str, Any], folder: Path) -> Job:
        audio, options = job["files"]["audio"], dict(job["options"])
        words = {"text": job["text"], "voice": job["voice"]} if job["text"] else {"audio": audio}
        if audio is not None:
            seconds = Recording.open(audio).seconds
            if seconds > job["seconds"]:
                raise UsageError(f"The audio lasts {seconds:.0f} s; at most {job['seconds']:.0f} s are made. Cut it.")
        elif len(job["text"]) > SPEECH_RATE * job["seconds"]:
            raise UsageError(f"The text is longer than {job['seconds']:.0f} s of speech; shorten it.")
        if job["timeline"]:
            table = folder / "timeline.json"
            table.write_text(json.dumps([{k: v for k, v in row.items() if v is not None} for row in job["timeline"]]))
            options["emotion_timeline"] = table
        made = {"out": folder / "video.mp4", "export_blendshapes": folder / "blendshapes.csv"}
        return Job.parse({**options, **made, "face": job["files"]["face"], **words, "resume": True})

    def _progress(self, stage: str, done: int, total: int) -> None:
        self._take()
        if self._stopping or self.rendering in self._cancelled:
            raise Stopped
        if stage == "frames":
            self._send("progress", self.rendering, (done, total))

    def _show(self, frame: np.ndarray) -> None:
        if time.monotonic() - self._shown < SHOWN:
            return
        self._shown = time.monotonic()
        picture = Image.fromarray(np.ascontiguousarray(frame[..., :3]))
        picture.thumbnail((FRAME_SIDE, FRAME_SIDE))
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=80)
        self._send("frame", self.rendering, buffer.getvalue())


def emotion_map() -> list[dict[str, Any]]:
    """States of the atlas with a place each, the basic ones first, by their faces.

    x from unpleasant to pleasant, y from weak to lively, -1..1.
    """
    states = atlas.states()
    names = [*BASICS, *(name for name in states if name not in BASICS)]
    faces = torch.stack([states[name].beta for name in names]).double()

    def mean(*wanted: str) -> torch.Tensor:
        return faces[[names.index(name) for name in wanted]].mean(0)

    pleasant = mean("happy") - mean("sad", "angry", "disgusted", "fearful")
    pleasant = pleasant / pleasant.norm()
    lively = mean("surprised", "fearful") - mean("sad", "neutral")
    lively = lively - (lively @ pleasant) * pleasant
    places = (faces - mean("neutral")) @ torch.stack([pleasant, lively / lively.norm()], 1)
    low, high = places.amin(0), places.amax(0)
    places = 2 * (places - low) / (high - low).clamp_min(1e-9) - 1
    return [{"name": name, "x": round(float(x), 4), "y": round(float(y), 4)} for name, (x, y) in zip(names, places)]


def _public(text: str, names: dict[Path, str]) -> str:
    """A message without the service's own paths."""
    for path, name in sorted(names.items(), key=lambda item: -len(str(item[0]))):
        text = text.replace(str(path), name)
    return text
