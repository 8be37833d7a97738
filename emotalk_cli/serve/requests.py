"""What clients of the service may ask for, checked field by field."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import HTTPException
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from ..settings import colour

EMOTION = 500  # characters
TEXT = 5000  # characters to speak
ID = 80  # characters of a file's id
KEYFRAMES = 500
SETTINGS = ("emotion", "intensity", "size", "fps", "pose", "blink", "framing", "seed", "label", "background", "loop",
            "freeze", "face_index")  # fmt: skip


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", str_max_length=TEXT, allow_inf_nan=False)


class Keyframe(_Strict):
    """One moment of an emotion timeline."""

    time: float = Field(ge=0, le=24 * 3600)
    emotion: str = Field(min_length=1, max_length=EMOTION)
    intensity: float | None = Field(None, ge=1, le=3)


class Preview(_Strict):
    """One picture of a face with an emotion. size: px."""

    face: str = Field(max_length=ID)
    emotion: str | None = Field(None, max_length=EMOTION)
    intensity: float = Field(2.0, ge=1, le=3)
    size: int = Field(256, ge=64, le=512, multiple_of=2)


class Video(_Strict):
    """A video: a face, and a recording or words to speak; files by the id that /v1/files gave.

    timeline: emotions along the speech, instead of `emotion`. The rest: as the options of `emotalk generate`.
    """

    face: str = Field(max_length=ID)
    audio: str | None = Field(None, max_length=ID)
    text: str | None = Field(None, min_length=1, max_length=TEXT)
    voice: str | None = Field(None, max_length=80)
    emotion: str | None = Field(None, max_length=EMOTION)
    timeline: list[Keyframe] | None = Field(None, min_length=1, max_length=KEYFRAMES)
    intensity: float = Field(2.0, ge=1, le=3)
    size: int = Field(512, ge=64, le=1024, multiple_of=2)
    fps: float = Field(25.0, ge=1, le=60)
    pose: Literal["natural", "still"] = "natural"
    blink: float = Field(15.0, ge=0, le=60)
    framing: Literal["crop", "full"] = "crop"
    seed: int = Field(0, ge=0, lt=2**63)
    label: str = Field("", max_length=60)
    background: str = Field("keep", max_length=40)
    loop: bool = False
    freeze: bool = False
    face_index: int | None = Field(None, ge=0, le=999)

    @field_validator("background")
    @classmethod
    def _coloured(cls, value: str) -> str:
        if value != "keep" and colour(value) is None:
            raise ValueError("is neither keep nor a colour such as #00ff00")
        return value

    @field_validator("emotion", "text", "label")
    @classmethod
    def _printable(cls, value: str | None) -> str | None:
        if value is not None and any(not c.isprintable() and not c.isspace() for c in value):
            raise ValueError("holds characters that do not print")
        return value

    @model_validator(mode="after")
    def _one_of_each(self) -> Video:
        if (self.audio is None) == (self.text is None):
            raise ValueError("give either audio or text")
        if self.emotion is not None and self.timeline is not None:
            raise ValueError("give either emotion or timeline")
        if self.loop and self.freeze:
            raise ValueError("give either loop or freeze")
        if self.voice is not None and self.text is None:
            raise ValueError("voice needs text")
        return self

    def job(self) -> dict[str, Any]:
        """Fields of a `store.Job`."""
        given = self.model_dump()
        plain = {name: given[name] for name in SETTINGS if given[name] is not None}
        return {"options": plain, **{name: given[name] for name in ("face", "audio", "text", "voice", "timeline")}}


def sentence(error: ValueError | RecursionError) -> HTTPException:
    """A 422 that says in one sentence what is wrong."""
    if not isinstance(error, ValidationError):
        return HTTPException(422, f"The request is no valid JSON ({str(error)[:80]}); correct it.")
    first = error.errors()[0]
    where = ".".join(str(part)[:40] for part in first["loc"])
    what = str(first["msg"]).removeprefix("Value error, ").rstrip(".")
    return HTTPException(422, f"{where + ': ' if where else ''}{what}; see /docs.")
