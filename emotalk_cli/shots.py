"""What a video shows, put together before its frames are made."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from .animate import FilmShot, Performance, Portrait, Shot, Stopwatch, frame_count
from .constants import MAX_SECONDS
from .emotions.emotion import Emotion
from .errors import UsageError
from .film import Film
from .media.background import Backdrop
from .media.formats import is_film
from .media.framing import FullFraming, framed
from .media.samples import Audio, SoundFile, together
from .portraits import Face, FilePath, Portraits
from .settings import POSES, Progress, Settings

if TYPE_CHECKING:
    from .api import EmoTalk


def length(portrait: Portrait | Film, performance: Performance, settings: Settings) -> int:
    """Frames of a video; one with a film ends with that, unless it goes on."""
    whole = frame_count(performance.seconds, settings.fps)
    if isinstance(portrait, Portrait) or settings.loop or settings.freeze:
        return whole
    lasts = portrait.lasts(settings.fps, whole)
    if lasts < whole - 0.1 * settings.fps:
        portrait.ends = (
            f"The film lasts {lasts / settings.fps:.1f} s, the speech {performance.seconds:.1f} s; the video ends "
            "with the film (--loop and --freeze go on)."
        )
    return lasts


def single(
    talker: EmoTalk,
    face: Face,
    audio: Audio | None,
    emotion: str | Emotion | None,
    motion: FilePath | None,
    settings: Settings,
    watch: Stopwatch | None = None,
    report: Progress = lambda stage, done, total: None,
    longest: float = MAX_SECONDS,
) -> Shot | FilmShot:
    """One speaker, in a picture or a film; arguments as of `EmoTalk.generate`."""
    watch = watch or Stopwatch()
    report("portrait", 0, 1)
    with watch("portrait"):
        if isinstance(face, str | os.PathLike) and is_film(face):
            face = talker.film(face)
        who = face if isinstance(face, Film) else talker.portraits.of(face)
    report("portrait", 1, 1)
    report("sound", 0, 1)
    with watch("sound"):
        performance = talker.performance(audio, emotion, motion, settings.pose, longest)
    report("sound", 1, 1)
    if isinstance(who, Film):
        return of_film(who, performance, settings)
    return of_portrait(who, performance, settings, talker.portraits)


def of_portrait(portrait: Portrait, performance: Performance, settings: Settings, portraits: Portraits) -> Shot:
    """A portrait in its frame, before its background."""
    performance = performance.of(portrait)
    backdrop = None
    if settings.background != "keep":
        portrait = portraits.cut_out(portrait)
        assert portrait.cover is not None
        backdrop = Backdrop(portrait.cover, settings, portraits.device)
    return Shot(portrait, performance, settings, framed(portrait.fit, settings, portraits.device), backdrop)


def of_film(film: Film, performance: Performance, settings: Settings) -> FilmShot:
    """A film that speaks, before its own background."""
    if settings.background != "keep":
        raise UsageError("--background works with a picture; a film as --face keeps its own.")
    total = length(film, performance, settings)
    return FilmShot(film, performance, settings, total, not (settings.loop or settings.freeze))


def live(portraits: Portraits, face: Face, performance: Performance, settings: Settings) -> Shot:
    """Speech that is coming in. Raises UsageError for what needs to know its end."""
    if isinstance(settings.intensity, tuple):
        raise UsageError("--intensity is a range, and live speech has no end yet; give one number.")
    if settings.pose not in POSES:
        raise UsageError(f"--pose {settings.pose} is a video, which ends; choose {' or '.join(POSES)}.")
    return of_portrait(portraits.of(face), performance, settings, portraits)


def several(
    talker: EmoTalk,
    parts: Sequence[tuple[Face, Audio | None, str | Emotion | None]],
    settings: Settings,
    longest: float,
) -> Shot:
    """Several speakers in one picture: all recordings begin at once and last as long as the longest."""
    if settings.background != "keep" or settings.pose not in POSES:
        raise UsageError("Several speakers keep their background, and no film lends them its pose.")
    if any(audio is None for _, audio, _ in parts):
        raise UsageError("Several speakers need speech each; give --audio or --text for each of them.")
    sounds = [SoundFile.of(audio) for _, audio, _ in parts if audio is not None]
    heard, alone = together([sound.path for sound in sounds], longest)
    shots = []
    for (face, _, emotion), sound in zip(parts, alone, strict=True):
        performance = talker.performance(sound, emotion, longest=longest)
        shots.append(of_portrait(talker.portraits.of(face), performance, settings, talker.portraits))
    first = shots[0]
    pictures = [shot.framing.still for shot in shots if isinstance(shot.framing, FullFraming)]
    if len(pictures) < len(shots) or any(not np.array_equal(picture, pictures[0]) for picture in pictures):
        raise UsageError("Several speakers have to be in one picture; choose them by --face-index or --face-at.")
    kept = heard.held, first.performance.sound  # whose file is still read
    heard = dataclasses.replace(heard, name=" + ".join(sound.name for sound in sounds), held=kept)
    performance = dataclasses.replace(first.performance, sound=heard)
    return dataclasses.replace(first, performance=performance, others=tuple(shots[1:]))
