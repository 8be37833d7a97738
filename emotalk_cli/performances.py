"""What moves a face, read: speech and what is felt, or motion that was recorded."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import torch

from .animate import Performance
from .constants import FPS, MAX_SECONDS
from .emotions.emotion import Emotion
from .emotions.reader import EmotionReader
from .errors import InputError, SilentError, UsageError
from .face.model import FaceModel
from .face.tracker import Tracker
from .media.audio import Recording
from .media.ffmpeg import MAX_FILM_SECONDS, read_frames
from .media.samples import Audio, SoundFile
from .motion import livelink
from .motion.take import Take, filmed
from .portraits import FilePath
from .settings import POSES, TAKE_SUFFIXES


class Performances:
    """Reads performances for one set of models. face_model: on the CPU, where the heads of films are fitted."""

    def __init__(self, emotions: EmotionReader, tracker: Tracker, face_model: FaceModel) -> None:
        self._emotions, self._tracker, self._face_model = emotions, tracker, face_model

    @torch.inference_mode()
    def read(
        self,
        audio: Audio | None,
        emotion: str | Emotion | None = None,
        motion: FilePath | None = None,
        pose: str = "natural",
        longest: float = MAX_SECONDS,
    ) -> Performance:
        """See `EmoTalk.performance`."""
        if audio is None and motion is None:
            raise UsageError("--audio is missing; give a recording, or a video to --motion.")
        sound = SoundFile.of(audio) if audio is not None else None
        recording = Recording.open(sound.path, longest) if sound is not None else None
        felt = take = None
        if motion is not None:
            if emotion is not None:
                raise UsageError("--emotion and --motion exclude each other: a take carries its own expression.")
            written = Path(motion).suffix.lower() in TAKE_SUFFIXES
            take = livelink.read(motion) if written else self._filmed(motion, longest)
            if recording is None and not written:
                with suppress(SilentError):
                    sound, recording = SoundFile.of(motion), Recording.open(motion, longest)
        elif recording is not None:
            felt = self._emotions.spoken(recording) if emotion is None else self._emotions.of(emotion)
        if take is not None and take.seconds > longest:
            raise InputError(f"{motion} is longer than {longest:g} s; cut it into parts.")
        head = None
        if pose not in POSES:
            same = motion is not None and Path(pose).resolve() == Path(motion).resolve()
            head = take if same else self._filmed(pose, longest)
        return Performance(recording, felt, take, head, sound if recording is not None else None)

    def _filmed(self, video: FilePath, longest: float) -> Take:
        frames = read_frames(video, FPS, min(longest, MAX_FILM_SECONDS))
        return filmed(frames, FPS, self._tracker, self._face_model, str(video))
