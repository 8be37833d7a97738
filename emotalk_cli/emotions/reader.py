"""What is to be felt, read from words, a face, a voice, a file or a timeline."""

from __future__ import annotations

import dataclasses
import os
from collections import OrderedDict
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..constants import MAX_SECONDS
from ..errors import InputError, UsageError, WeightsError
from ..face.tracker import Tracker
from ..media import image
from ..media.audio import Recording
from ..media.ffmpeg import MAX_FILM_SECONDS, read_frames
from ..media.files import check_input, sha256
from ..models.emotion_space import AME
from ..settings import AS_SPOKEN, one_of
from .emotion import Emotion
from .timeline import read_timeline

FILM_RATE = 2.5  # frames a second of a film in which its emotion is read
_KEPT = 64  # emotions that stay in memory
_FILES = {"image": "picture", "audio": "audio file", "video": "video", "file": "emotion file", "timeline": "timeline"}


class EmotionReader:
    """Makes `Emotion`s with the towers of the emotion space; the last few are kept."""

    def __init__(self, ame: AME, tracker: Tracker) -> None:
        self._ame, self._tracker = ame, tracker
        self._kept: OrderedDict[tuple[str, str, str], Emotion] = OrderedDict()

    @torch.inference_mode()
    def read(self, longest: float = MAX_SECONDS, **sources: Any) -> Emotion:
        """From exactly one source: text, image, audio, video, file or timeline (see `EmoTalk.emotion`).

        longest: seconds that a recording or a film may last.

        Raises UsageError, InputError, and WeightsError if the tower that it takes is not among the weights.
        """
        kind = one_of(**sources)
        if kind is None:
            raise UsageError("No emotion is given; name a text, an image, a recording, a film, a file or a timeline.")
        given = sources[kind]
        if not isinstance(given, str | (str if kind == "text" else os.PathLike)):
            expected = "text" if kind == "text" else "a path"
            raise UsageError(f"The emotion's {kind} is {expected}, not {type(given).__name__}; correct it.")
        content = "" if kind == "text" else f"{sha256(check_input(given, _FILES[kind]))} {longest}"
        key = kind, str(given), content
        if key not in self._kept:
            self._kept[key] = dataclasses.replace(self._make(kind, given, longest), origin=(kind, str(given)))
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return self._kept[key]

    def of(self, emotion: str | Emotion) -> Emotion:
        """A text that is read, or an emotion of this space as it is. Raises UsageError and WeightsError."""
        return self.read(text=emotion) if isinstance(emotion, str) else self.own(emotion)

    def spoken(self, recording: Recording) -> Emotion:
        """The emotion of the speech itself."""
        return Emotion.constant(AS_SPOKEN, self._voice(recording).cpu(), self._ame.space)

    def own(self, emotion: Emotion) -> Emotion:
        """The emotion, if it belongs to this emotion space; else WeightsError."""
        if emotion.space != self._ame.space:
            raise WeightsError(
                f"The emotion {emotion.label!r} belongs to the emotion space {emotion.space!r}, but the loaded weights "
                f"to {self._ame.space!r}; make it again with these weights."
            )
        return emotion

    def _make(self, kind: str, given: Any, longest: float) -> Emotion:
        space = self._ame.space
        if kind == "text":
            return Emotion.constant(given, self._ame.text([given])[0].cpu(), space)
        if kind == "image":
            return Emotion.constant(str(given), self._face(given).cpu(), space)
        if kind == "audio":
            return Emotion.constant(str(given), self._voice(Recording.open(given, longest)).cpu(), space)
        if kind == "video":
            moments, faces = self._film(given, min(longest, MAX_FILM_SECONDS))
            return Emotion(str(given), moments, faces.cpu(), torch.full_like(moments, torch.nan), space)
        if kind == "file":
            return Emotion.load(given, space)
        times, texts, mu = zip(*read_timeline(given), strict=True)
        return Emotion(str(given), torch.tensor(times), self._ame.text(texts).cpu(), torch.tensor(mu), space)

    def _face(self, picture: str | os.PathLike[str]) -> Tensor:
        """z_emo [512] of the largest face in a picture."""
        pixels = image.load(picture)
        turns, faces = self._tracker.upright(pixels)
        pixels = np.ascontiguousarray(np.rot90(pixels, turns))
        if not faces:
            raise InputError(f"{picture} shows no face that can be found; give a picture of one face as the emotion.")
        return self._ame.image(pixels, faces[0].landmarks, faces[0].blendshapes)

    def _film(self, film: str | os.PathLike[str], longest: float) -> tuple[Tensor, Tensor]:
        """Times [K] in s and z_emo [K,512] of the face in a film, averaged a little over time."""
        times, rows, face = [], [], None
        for number, frame in enumerate(read_frames(film, FILM_RATE, longest)):
            pixels = np.ascontiguousarray(frame)
            face = self._tracker.track([pixels], face)[0]
            if face is not None:
                times.append(number / FILM_RATE)
                rows.append(self._ame.image(pixels, face.landmarks, face.blendshapes))
        if not rows:
            raise InputError(f"{film} shows no face that can be found; give a film of one face as the emotion.")
        z = torch.stack(rows)
        around = F.pad(z.T[None], (1, 1), mode="replicate") if len(z) > 1 else z.T[None].expand(1, -1, 3)
        z = F.avg_pool1d(around, 3, 1)[0].T
        return torch.tensor(times), F.normalize(z, dim=1)

    def _voice(self, recording: Recording) -> Tensor:
        """z_emo [512] of a voice."""
        return self._ame.audio(recording.mels(), recording.level)
