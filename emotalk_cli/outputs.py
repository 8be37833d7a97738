"""The files of one video: planned before anything is made, written while frames come."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
import time
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import UsageError
from .media import encoders, provenance
from .media.files import PartFile, check_output
from .media.formats import FORMATS, STDOUT, Format, choose, is_sequence, numbered
from .settings import AS_RECORDED, OPTIONS, Outputs, Progress, Settings, spell_intensity

if TYPE_CHECKING:
    import numpy as np

    from .animate import Animator, FilmShot, Shot, Stopwatch
    from .media.preview import ContactSheet
    from .media.video import Writer


NAME_LIMIT = 60  # bytes of each part of a default name


def write_video(
    animator: Animator,
    shot: Shot | FilmShot,
    files: OutputFiles,
    outputs: Outputs,
    record: provenance.Record,
    watch: Stopwatch,
    report: Progress,
) -> None:
    """Make all frames of a shot and write all files; they take their names together, or none does.

    Raises EmoTalkError.
    """
    from .animate import BATCH, FilmShot  # late: these import torch
    from .media import segments
    from .media.preview import ContactSheet
    from .media.video import SequenceWriter, StreamWriter, VideoWriter
    from .motion import livelink

    settings, performance, total = shot.settings, shot.performance, shot.total
    shown_as = performance.emotion.public if performance.emotion is not None else AS_RECORDED
    with contextlib.ExitStack() as stack:  # the others get their names after the video, or none does
        part = stack.enter_context(PartFile(files.preview)) if files.preview is not None else None
        if files.blendshapes is not None:
            to = stack.enter_context(PartFile(files.blendshapes)).path
            with open(to, "w", newline="", encoding="utf-8") as file:
                rows = animator.motion(performance, settings, outputs.blendshapes_fps)
                livelink.write(file, rows, outputs.blendshapes_fps, files.blendshapes.suffix)
        note = stack.enter_context(PartFile(files.sidecar)) if files.sidecar is not None else None
        form, alpha, tags = files.form.encoded_by(settings.encoder), settings.alpha, record.tags(shown_as)

        def finish(path: Path) -> None:
            if (engine := animator.engine(shot)) is not None:  # now it is known
                record.options["engine"] = engine
            record.finish(path, note.path if note is not None else None)

        shared: Any = {"overwrite": outputs.overwrite, "metadata": tags, "finish": finish, "form": form, "alpha": alpha}
        length = segments.piece_frames(settings.fps, BATCH[animator.device.type])
        sound = performance.sound.path if performance.sound is not None else None
        shape = shot.size, settings.fps
        seconds = total / settings.fps if isinstance(shot, FilmShot) and shot.ends else None
        shared |= {"seconds": seconds}
        writer: Writer
        if files.video == STDOUT:
            writer = StreamWriter(sys.stdout.buffer, *shape, sound, tags, form, alpha, record.check, seconds)
        elif is_sequence(files.video):
            if numbered(files.video, total + 1).exists():
                raise UsageError(f"{files.video.parent} holds a longer sequence already; remove it, or choose another.")
            writer = SequenceWriter(files.video, *shape, form, alpha, outputs.overwrite, record.check)
        elif total <= length or not form.pieces:
            writer = VideoWriter(files.video, *shape, sound, **shared)
        else:
            piped = files.video, *shape, sound
            writer = segments.SegmentedWriter(*piped, total, length, record.key(), outputs.resume, **shared)
        stack.enter_context(writer)
        sheet = ContactSheet(total, settings.fps) if part is not None else None
        shown = sheet.wanted if sheet is not None else ()
        frames = animator.frames(shot, watch, writer.done, shown)
        write_frames(frames, writer, sheet, total, watch, report, outputs.show)
        if sheet is not None and part is not None:
            sheet.save(part, f"{' '.join(shown_as.split())}, intensity {spell_intensity(settings.intensity)}")
        made = time.perf_counter()
    watch.stages["encoding"] = watch.stages.get("encoding", 0.0) + time.perf_counter() - made


def write_frames(
    frames: Iterable[tuple[int, np.ndarray]],
    writer: Writer,
    sheet: ContactSheet | None,
    total: int,
    watch: Stopwatch,
    report: Progress,
    show: Callable[[np.ndarray], None] | None = None,
) -> None:
    """Frames, numbered, into the video from `writer.done` on, and into the contact sheet; see `Outputs.show`."""
    report("frames", writer.done, total)
    try:
        for number, frame in frames:
            if number >= writer.done:
                with watch("encoding"):
                    writer.write(frame)
                report("frames", number + 1, total)
                if show is not None:
                    show(frame)
            if sheet is not None:
                sheet.add(number, frame)
    except BaseException:
        if writer.kept:
            report("kept", writer.kept, total)
        raise


@dataclasses.dataclass(frozen=True)
class OutputFiles:
    """Absolute paths of the files that `generate` is to write; None: not wanted. video: or `formats.STDOUT`, or the
    pattern of a sequence; these have no sidecar. form: how it is written."""

    video: Path
    form: Format
    preview: Path | None
    sidecar: Path | None
    blendshapes: Path | None

    @classmethod
    def plan(
        cls,
        out: str | os.PathLike[str],
        outputs: Outputs,
        inputs: Sequence[str | os.PathLike[str]],
        settings: Settings,
    ) -> OutputFiles:
        """Raises UsageError if one cannot be written or encoded, or is an input or another output."""
        form = choose(out, settings.codec, settings.alpha)
        encoders.check(settings.encoder, form)
        if Path(out) == STDOUT and sys.stdout.isatty():
            raise UsageError("--out - would fill the terminal with video; send stdout to a file or another program.")
        if outputs.signer is not None and form.container not in ("mp4", "mov"):
            raise UsageError(f"--c2pa signs .mp4 and .mov, not {form.name}; choose another output.")
        taken = [Path(os.path.realpath(path)) for path in inputs]

        def checked(name: str | os.PathLike[str], suffixes: tuple[str, ...]) -> Path:
            path = check_output(name, outputs.overwrite, suffixes)
            if path in taken:
                raise UsageError(f"{name} is also an input or another output; choose a different name.")
            taken.append(path)
            return path

        video = STDOUT if Path(out) == STDOUT else checked(out, OPTIONS["out"].suffixes)
        single = video != STDOUT and not is_sequence(video)
        preview, shapes = outputs.preview, outputs.blendshapes
        return cls(
            video,
            form,
            None if preview is None else checked(preview, OPTIONS["preview"].suffixes),
            checked(provenance.sidecar_path(video), (".json",)) if outputs.sidecar and single else None,
            None if shapes is None else checked(shapes, OPTIONS["export_blendshapes"].suffixes),
        )

    def notes(self, sounding: bool) -> list[str]:
        """What the user should know of the format. sounding: whether there is sound."""
        return [f"A {self.form.suffix} holds no sound."] if sounding and self.form.sound is None else []


def default_name(face: Path, audio: Path, emotion: str, codec: str = "auto", alpha: bool = False) -> str:
    """`<face>--<audio>--<emotion>.mp4`, safe as a file name on every system and at most 200 bytes long.

    The ending is that of the codec, or can be transparent; of a sequence only numbers are given.
    """
    parts = [_safe(text) for text in (face.stem, audio.stem, emotion)]
    if emotion.strip():
        parts[2] = parts[2] or "emotion"  # an emoji, for example
    else:
        raise UsageError("--emotion is empty; describe an emotion, for example 'sadly surprised'.")
    name = ("vp9" if alpha else "h264") if codec == "auto" else codec
    return f"%06d{FORMATS[name].suffix}" if name == "png" else "--".join(parts) + FORMATS[name].suffix


def _safe(text: str) -> str:
    kept = "".join(c if c.isalnum() or c in " ._-'" or unicodedata.category(c)[0] == "M" else "-" for c in text)
    kept = " ".join(kept.split()).strip(" .-")[:NAME_LIMIT]
    while len(kept.encode(errors="surrogateescape")) > NAME_LIMIT:
        kept = kept[:-1]
    return kept.strip(" .-")
