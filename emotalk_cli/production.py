"""The making of one video: which files go in and come out, planned before any work, and what is recorded of it."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from .animate import FilmShot, Portrait, Shot, notes_on
from .emotions.emotion import Emotion
from .film import Film
from .media import provenance
from .media.files import check_input, sha256
from .media.samples import Audio
from .models.loading import Models
from .outputs import OutputFiles, default_name
from .portraits import Face, FilePath
from .settings import AS_RECORDED, AS_SPOKEN, FILES_OR_WORDS, Outputs, Result, Settings, names_file


@dataclasses.dataclass(frozen=True)
class Production:
    """files: to be written. given: option -> file that is read beside face and speech. hashes: SHA-256 of files as they
    were before they were read."""

    files: OutputFiles
    given: dict[str, FilePath]
    hashes: dict[Path, str]

    @classmethod
    def plan(
        cls,
        out: FilePath,
        face: Face,
        audio: Audio | None,
        emotion: str | Emotion | None,
        motion: FilePath | None,
        settings: Settings,
        outputs: Outputs,
    ) -> Production:
        """See `EmoTalk.generate`. Raises UsageError if a file cannot be written, or is an input or another output."""
        looks = {name: getattr(settings, name) for name in FILES_OR_WORDS}
        given = {} if motion is None else {"motion": motion}
        given |= {name: value for name, value in looks.items() if names_file(name, value)}
        named = [path for path in (audio, *given.values()) if isinstance(path, str | os.PathLike)]
        source = face.path if isinstance(face, Portrait | Film) else face
        inputs = [*named, *([source] if isinstance(source, str | os.PathLike) else [])]
        inputs += [emotion.label] if isinstance(emotion, Emotion) else []  # may be the name of a file
        to = _target(out, source, motion if audio is None else audio, emotion, motion is not None, settings)
        files = OutputFiles.plan(to, outputs, inputs, settings)
        here = [check_input(path, "file") for path in named if os.path.isfile(path)]
        return cls(files, given, {path: sha256(path) for path in here})

    def record(
        self, shot: Shot | FilmShot, models: Models, weights: dict[str, str], signer: provenance.Signer | None
    ) -> provenance.Record:
        """What is written down. weights: file name -> SHA-256 of all that are used."""
        portrait, felt, sound = shot.portrait, shot.performance.emotion, shot.performance.sound
        options = {
            **(felt.options() if felt else {}),
            **(sound.options if sound is not None else {}),
            **portrait.options,
            **dataclasses.asdict(shot.settings),
            **models.options(),
        }
        video = {"frames": shot.total, "seconds": shot.total / shot.settings.fps, "size": shot.size}
        inputs, device = self._inputs(shot), str(models.device)
        return provenance.Record(self.files.video, inputs, options, weights, device, video, signer)

    def _inputs(self, shot: Shot | FilmShot) -> dict[str, tuple[Path | None, str]]:
        """Option -> file (None for what lay in memory) and SHA-256."""
        portrait, felt, sound = shot.portrait, shot.performance.emotion, shot.performance.sound
        spoken: dict[str, tuple[Path | None, str]] = {}
        if sound is not None and not sound.options:
            spoken["audio"] = (None if sound.temporary else sound.path, self._hash(sound.path))
        given = {name: (Path(path), self._hash(Path(path))) for name, path in self.given.items()}
        return {"face": (portrait.path, portrait.sha256), **spoken, **given, **(felt.inputs() if felt else {})}

    def _hash(self, path: Path) -> str:
        return self.hashes.get(path) or sha256(path)

    def result(
        self,
        shot: Shot | FilmShot,
        record: provenance.Record,
        nearest: dict[str, float],
        elapsed: float,
        stages: dict[str, float],
    ) -> Result:
        """What has been made. elapsed: seconds that it took; stages: the same by stage."""
        portrait, performance = shot.portrait, shot.performance
        felt, sound, motion = performance.emotion, performance.sound, self.given.get("motion")
        notes = portrait.notes + (portrait.notes_after() if isinstance(portrait, Film) else [])
        return Result(
            out=self.files.video,
            **{"sha256": "", "unsigned_sha256": "", **record.video},
            sidecar=self.files.sidecar,
            preview=self.files.preview,
            blendshapes=self.files.blendshapes,
            motion=str(motion) if motion is not None else None,
            face=portrait.name,
            audio=sound.name if sound is not None else None,
            emotion=felt.label if felt is not None else None,
            nearest=nearest,
            settings=shot.settings,
            generator=record.options["generator"],
            device=record.device,
            inputs={name: digest for name, (_, digest) in record.inputs.items()},
            elapsed=elapsed,
            stages=stages,
            weights=record.weights,
            notes=notes + notes_on(performance, nearest) + self.files.notes(sound is not None),
        )


def _target(
    out: FilePath,
    source: object,
    sound: Audio | None,
    emotion: str | Emotion | None,
    recorded: bool,
    settings: Settings,
) -> Path:
    """`out`, or in that folder a name made from the inputs'. source: of the face, a file or what lay in memory."""
    if not Path(out).is_dir():
        return Path(out)
    shown = Path(source) if isinstance(source, str | os.PathLike) else Path("portrait")
    heard = Path(sound) if isinstance(sound, str | os.PathLike) else Path("speech")
    if isinstance(emotion, Emotion):
        felt = emotion.label if emotion.origin is None or emotion.origin[0] == "text" else Path(emotion.label).stem
    else:
        felt = emotion if emotion is not None else AS_RECORDED if recorded else AS_SPOKEN
    return Path(out) / default_name(shown, heard, felt, settings.codec, settings.alpha)
