"""Is everything here that EmoTalk needs, and does it work? A finding for each question, with the remedy if need be."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import platform
import shutil
import stat
import tempfile
import wave
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from . import system
from .api import EmoTalk
from .constants import SAMPLE_RATE
from .errors import EmoTalkError, UsageError
from .examples import example
from .media import ffmpeg
from .media.ffmpeg import read_frames
from .media.files import Workspace, sha256
from .media.formats import NVENC
from .models import checkpoints
from .models.acceleration import find_device

EXTRAS = {"c2pa": "provenance", "ray": "ray", "face_alignment": "", "pytorch3d": "pytorch3d"}  # module -> extra
NEEDED = ("ame", "eac", "face_model", "hef", "tracker")  # weights
FEWEST_FILES = 256  # that a server should be able to open
ROOM = 200 << 20  # bytes free for temporary files


@dataclasses.dataclass(frozen=True)
class Finding:
    """The answer to one question. ok: None is a remark. detail: what was found, or what is wrong and the remedy."""

    name: str
    ok: bool | None
    detail: str


def examine(
    weights: str | os.PathLike[str] | None = None,
    device: str = "auto",
    generator: str = "hef",
    selftest: bool = True,
    strict: bool = False,
    renderer: str = "builtin",
) -> Iterator[Finding]:
    """All findings, while they are made. weights, device, generator, renderer: as in `EmoTalk.load`.

    strict: also what matters to a server that takes strangers' files.
    """
    yield Finding(
        "system", None, f"{platform.platform()}, Python {platform.python_version()}, torch {torch.__version__}"
    )
    yield _asked("device", lambda: _device(device))
    yield _asked("ffmpeg", _ffmpeg)
    yield _asked("disk", _disk)
    yield from _weights(weights)
    for module, extra in EXTRAS.items():
        found = importlib.util.find_spec(module) is not None
        yield Finding(module, None, "installed" if found else f"not installed (optional{extra and f', extra {extra}'})")
    if strict:
        for name, question in _STRICT.items():
            yield _asked(name, question)
    if selftest:
        yield _asked("self-test", lambda: _selftest(weights, device, generator, renderer))


def _asked(name: str, question: Callable[[], str]) -> Finding:
    try:
        return Finding(name, True, question())
    except EmoTalkError as error:
        return Finding(name, False, str(error))
    except Exception as error:  # what is broken here may break anywhere
        return Finding(name, False, f"{type(error).__name__}: {error}")


def _device(name: str) -> str:
    place = find_device(name)
    total = float(torch.ones(1000, device=place).sum())
    if total != 1000:
        raise EmoTalkError(f"{place} cannot add (1000 ones are {total:g}); choose --device cpu.")
    if place.type == "cuda":
        return f"{place}: {torch.cuda.get_device_name(place)}"
    return (
        f"{place}: {os.cpu_count()} cores, {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}"
    )


def _ffmpeg() -> str:
    program = ffmpeg.program()
    listed = ffmpeg.run(["-encoders"]).decode(errors="replace")
    missing = [name for name in ("libx264", "aac") if f" {name} " not in listed]
    if missing:
        raise EmoTalkError(
            f"{program} lacks {' and '.join(missing)}; unset IMAGEIO_FFMPEG_EXE or name a complete ffmpeg."
        )
    card = "NVENC encodes H.264 here" if ffmpeg.encodes(NVENC) else "no NVENC here, x264 encodes H.264"
    return f"{ffmpeg.version()}, {program}; {card}"


def _bounds() -> str:
    if not system.HAS_LIMITS:
        raise EmoTalkError("The memory and time of ffmpeg cannot be bounded on this system; use Linux, or a container.")
    return "memory and time of ffmpeg are bounded"


def _user() -> str:
    if not hasattr(os, "geteuid"):
        return "this system has no root"
    if os.geteuid() == 0:
        raise EmoTalkError("EmoTalk runs as root; give it a user of its own.")
    return f"user {os.geteuid()}"


def _descriptors() -> str:
    soft = system.open_files()
    if soft is None:
        return "the system sets no bound on open files"
    if soft < FEWEST_FILES:
        raise EmoTalkError(f"Only {soft} files may be open; raise ulimit -n to {FEWEST_FILES}.")
    return f"{soft} files may be open"


def _temporary() -> str:
    about = os.stat(tempfile.gettempdir())
    if about.st_mode & stat.S_IWOTH and not about.st_mode & stat.S_ISVTX:
        raise EmoTalkError(f"{tempfile.gettempdir()} lets others replace files; set its sticky bit, or TMPDIR.")
    return tempfile.gettempdir()


def _locks() -> str:
    with tempfile.TemporaryDirectory() as name:
        space = Workspace(Path(name) / "a.mp4")
        try:
            Workspace(Path(name) / "a.mp4").remove()
        except UsageError:
            return "files can be locked"
        finally:
            space.remove()
    raise EmoTalkError("The temporary folder knows no locks; two runs may disturb each other: set TMPDIR.")


def _shipped() -> str:
    folder = checkpoints.weights_dir(None)
    if any(path.stat().st_mode & stat.S_IWOTH for path in [folder, *folder.iterdir()]):
        raise EmoTalkError(f"Everybody may write in {folder}; take that permission away.")
    return f"{folder} is protected"


_STRICT: dict[str, Callable[[], str]] = {
    "bounds": _bounds,
    "user": _user,
    "descriptors": _descriptors,
    "temporary": _temporary,
    "locks": _locks,
    "weights folder": _shipped,
}


def _disk() -> str:
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    if free < ROOM:
        raise EmoTalkError(f"{folder} has only {free >> 20} MiB left; free some space or set TMPDIR.")
    return f"{free / 2**30:.1f} GiB free in {folder}"


def _weights(override: str | os.PathLike[str] | None) -> Iterator[Finding]:
    try:
        folder = checkpoints.weights_dir(override)
        listed = checkpoints.index(folder)
    except EmoTalkError as error:
        yield Finding("weights", False, str(error))
        return
    for file in sorted(set(listed) | {f"{name}.safetensors" for name in NEEDED}):
        path = folder / file
        if not path.is_file():
            yield Finding(file, False, f"{path} is missing; restore it.")
        elif file not in listed:
            yield Finding(file, False, f"{path} is not listed in {checkpoints.INDEX}; restore the weights folder.")
        elif sha256(path) != listed[file]:
            yield Finding(file, False, f"{path} is damaged (SHA-256 differs from {checkpoints.INDEX}); restore it.")
        else:
            yield Finding(file, True, f"{path.stat().st_size / 1e6:.1f} MB, {listed[file][:12]}")


def _selftest(weights: str | os.PathLike[str] | None, device: str, generator: str, renderer: str) -> str:
    """One second of a made-up voice in the mouth of the example portrait."""
    talker = EmoTalk.load(weights, device, generator, renderer=renderer)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        time = np.arange(SAMPLE_RATE) / SAMPLE_RATE
        voice = sum(np.sin(2 * np.pi * 120 * k * time) / k for k in range(1, 20)) * np.sin(2 * np.pi * 3 * time) ** 2
        with wave.open(str(folder / "a.wav"), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(SAMPLE_RATE)
            file.writeframes((8000 * voice).astype("<i2").tobytes())
        result = talker.generate(example("portrait.png"), folder / "a.wav", "happy", folder / "a.mp4", sidecar=False)
        frames = np.stack(list(read_frames(folder / "a.mp4", 25)))
    if len(frames) != result.frames:
        raise EmoTalkError(
            f"The video holds {len(frames)} frames instead of {result.frames}; reinstall imageio-ffmpeg."
        )
    if np.abs(np.diff(frames.astype(np.int16), axis=0)).mean() < 0.01:
        raise EmoTalkError("Nothing moves in the video; restore the weights folder.")
    busy = ", ".join(
        f"{stage} {1000 * spent / result.frames:.0f}" for stage, spent in result.stages.items() if spent > 0.1
    )
    speed = result.frames / result.elapsed
    made = f"{result.frames} frames of {result.size[0]} px in {result.elapsed:.1f} s"
    return f"{made}, {speed:.1f} frames/s (ms a frame: {busy})"
