"""The files of one video: planned before anything is made, written while frames come."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from .animate import Stopwatch
from .errors import UsageError
from .media import provenance
from .media.files import SUFFIXES, check_output
from .media.preview import ContactSheet
from .media.video import Writer
from .motion import livelink
from .settings import Progress


def write_frames(
    frames: Iterable[tuple[int, np.ndarray]],
    writer: Writer,
    sheet: ContactSheet | None,
    total: int,
    watch: Stopwatch,
    report: Progress,
) -> None:
    """Frames, numbered, into the video from `writer.done` on, and into the contact sheet."""
    report("frames", writer.done, total)
    try:
        for number, frame in frames:
            if number >= writer.done:
                with watch("encoding"):
                    writer.write(frame)
                report("frames", number + 1, total)
            if sheet is not None:
                sheet.add(number, frame)
    except BaseException:
        if writer.kept:
            report("kept", writer.kept, total)
        raise


@dataclasses.dataclass
class Outputs:
    """The files that `generate` is to write; None: not wanted."""

    video: Path
    preview: Path | None
    sidecar: Path | None
    blendshapes: Path | None

    @classmethod
    def plan(
        cls,
        out: str | os.PathLike,
        preview: str | os.PathLike | None,
        blendshapes: str | os.PathLike | None,
        sidecar: bool,
        overwrite: bool,
        inputs: list[str | os.PathLike],
    ) -> Outputs:
        """Raises UsageError if one cannot be written, or is an input or another output."""
        taken = [*inputs]

        def checked(name: str | os.PathLike | None, suffixes: tuple[str, ...] = SUFFIXES) -> Path | None:
            if name is None:
                return None
            path = check_output(name, overwrite, suffixes)
            if any(path == Path(os.path.realpath(other)) for other in taken):
                raise UsageError(f"{name} is also an input or another output; choose a different name.")
            taken.append(path)
            return path

        video = checked(out)
        return cls(
            video,
            checked(preview, (".png",)),
            checked(provenance.sidecar_path(video) if sidecar else None, (".json",)),
            checked(blendshapes, livelink.SUFFIXES),
        )
