"""What a video shows, put together before its frames are made, and what is noted of it."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Union

import numpy as np

from .animate import FilmShot, Performance, Portrait, Shot, frame_count
from .emotions.emotion import Emotion
from .errors import UsageError
from .film import Film
from .media.background import Backdrop
from .media.files import sha256
from .media.framing import FullFraming, framed
from .media.samples import MIXED_RATE, Audio, SoundFile, together
from .outputs import default_name
from .portraits import FilePath, Portraits
from .settings import AS_RECORDED, AS_SPOKEN, POSES, Settings

if TYPE_CHECKING:
    from PIL.Image import Image

    from .api import EmoTalk

Face = Union[Portrait, Film, FilePath, np.ndarray, "Image"]  # see `EmoTalk.portrait`


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


def of_portrait(portrait: Portrait, performance: Performance, settings: Settings, portraits: Portraits) -> Shot:
    """A portrait in its frame, before its background."""
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
    mixed, alone = together([sound.path for sound in sounds], longest)
    shots = []
    for (face, _, emotion), wave in zip(parts, alone, strict=True):
        performance = talker.performance((wave, MIXED_RATE), emotion, longest=longest)
        shots.append(of_portrait(talker.portrait_of(face), performance, settings, talker.portraits))
    first = shots[0]
    pictures = [shot.framing.still for shot in shots if isinstance(shot.framing, FullFraming)]
    if len(pictures) < len(shots) or any(not np.array_equal(picture, pictures[0]) for picture in pictures):
        raise UsageError("Several speakers have to be in one picture; choose them by --face-index or --face-at.")
    heard = SoundFile.of((mixed, MIXED_RATE))
    kept = heard.held, first.performance.sound  # whose file is still read
    heard = dataclasses.replace(heard, name=" + ".join(sound.name for sound in sounds), held=kept)
    performance = dataclasses.replace(first.performance, sound=heard)
    return dataclasses.replace(first, performance=performance, others=tuple(shots[1:]))


def target(
    out: FilePath,
    face: Face,
    sound: Audio | None,
    emotion: str | Emotion | None,
    recorded: bool,
    settings: Settings,
) -> Path:
    """`out`, or in that folder a name made from the inputs'."""
    if not Path(out).is_dir():
        return Path(out)
    source = face.path if isinstance(face, Portrait | Film) else face
    shown = Path(source) if isinstance(source, str | os.PathLike) else Path("portrait")
    heard = Path(sound) if isinstance(sound, str | os.PathLike) else Path("speech")
    if isinstance(emotion, Emotion):
        felt = emotion.label if emotion.origin is None or emotion.origin[0] == "text" else Path(emotion.label).stem
    else:
        felt = emotion if emotion is not None else AS_RECORDED if recorded else AS_SPOKEN
    return Path(out) / default_name(shown, heard, felt, settings.codec, settings.alpha)


def recorded(
    portrait: Portrait | Film, performance: Performance, given: dict[str, FilePath | None], hashes: dict[Path, str]
) -> dict[str, tuple[Path | None, str]]:
    """Option -> file (None for what lay in memory) and SHA-256, for the record. hashes: of files, if known."""
    sound, felt = performance.sound, performance.emotion
    files = {name: Path(path) for name, path in given.items() if path is not None}
    hashed: dict[str, tuple[Path | None, str]] = {
        name: (path, hashes.get(path) or sha256(path)) for name, path in files.items()
    }
    spoken: dict[str, tuple[Path | None, str]] = {}
    if sound is not None and not sound.options:
        digest = hashes.get(sound.path) or sha256(sound.path)
        spoken["audio"] = (None if sound.temporary else sound.path, digest)
    return {"face": (portrait.path, portrait.sha256), **spoken, **hashed, **(felt.inputs() if felt else {})}
