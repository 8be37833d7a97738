"""How fast, how large, how hungry (Tab. 2): the whole way from files to file, and its stages."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import os
import platform
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # measured processes import them themselves
    import numpy as np

    from ..animate import Portrait
    from ..api import EmoTalk
    from ..settings import GenerateOptions, Settings, SettingsOptions

from ..system import peak_memory

DEAREST = 12  # kernels and calls that are named
INSTRUCTIONS = ("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16")  # that change the speed


@dataclasses.dataclass
class Speed:
    """One generator, measured in a process of its own.

    frames_per_second and milliseconds (a frame): from the loaded models to the finished file. stages: ms a frame by
    stage, which run beside each other. processor_milliseconds: of all cores, a frame, the encoder's counted in: other
    work on the machine changes it less than the time. first_frame_seconds: from before torch is imported to the first
    frame. load_seconds: of the models, the imports counted in. memory_gb: peak of the process, or of the card's memory
    if it runs there. parameters: millions by network.
    """

    generator: str
    frames: int
    frames_per_second: float
    milliseconds: float
    stages: dict[str, float]
    processor_milliseconds: float
    first_frame_seconds: float
    load_seconds: float
    memory_gb: float
    parameters: dict[str, float]


def bench(
    face: Path,
    sound: Path,
    generators: list[str],
    device: str = "auto",
    weights: Path | None = None,
    size: int = 512,
    repeats: int = 1,
) -> list[Speed]:
    """Measure each generator ("hef:compile" names an engine too): the best of `repeats` runs, after one that warms up.

    Raises EmoTalkError.
    """
    found = []
    for generator in generators:
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:  # so that the memory is this generator's alone
            found.append(pool.submit(_measure, face, sound, generator, device, weights, size, repeats).result())
    return found


def _measure(
    face: Path, sound: Path, generator: str, device: str, weights: Path | None, size: int, repeats: int
) -> Speed:
    begin = time.perf_counter()
    import torch

    talker = _talker(generator, device, weights)
    loaded = time.perf_counter() - begin
    next(talker.frames(face, sound, "happy", size=size))
    first = time.perf_counter() - begin
    runs, work = [], []
    with tempfile.TemporaryDirectory(prefix="emotalk-") as folder:
        for _ in range(repeats + 1):
            options: GenerateOptions = {"size": size, "sidecar": False}
            talker.portraits.clear()  # the portrait is part of the work
            before = sum(os.times()[:4])  # of this process and of the encoders that have ended
            runs.append(talker.generate(face, sound, "happy", Path(folder) / "bench.mp4", **options))
            work.append(sum(os.times()[:4]) - before)
    best = min(runs[1:], key=lambda run: run.elapsed)
    networks = {"AME": talker.ame, "EAC": talker.eac, "HEF": talker.hef, "face tracker": talker.tracker}
    parameters = {
        name: sum(p.numel() for p in net.parameters()) / 1e6
        for name, net in networks.items()
        if isinstance(net, torch.nn.Module)
    }
    if talker.device.type == "cuda":
        memory = torch.cuda.max_memory_allocated(talker.device) / 1e9
    else:
        memory = peak_memory() / 1000
    return Speed(
        generator,
        best.frames,
        best.frames / best.elapsed,
        1000 * best.elapsed / best.frames,
        {name: 1000 * seconds / best.frames for name, seconds in best.stages.items()},
        1000 * min(work[1:]) / best.frames,
        first,
        loaded,
        memory,
        parameters,
    )


@dataclasses.dataclass
class Making:
    """Frames alone, without portrait and encoding, `batch` at once.

    milliseconds: a frame, of the whole loop from speech to pixels in the computer's memory. On a card also, a frame:
    busy_milliseconds that its kernels take, kernel_count of them, launches of the computer (of kernels, or of graphs of
    many), and waits of it for the card; kernels: milliseconds a frame by the dearest kernels' names; calls: of the
    driver, a frame, the most frequent. note: what became of the engine that was asked for.
    """

    generator: str
    batch: int
    milliseconds: float
    busy_milliseconds: float = 0.0
    kernel_count: float = 0.0
    launches: float = 0.0
    waits: float = 0.0
    memory_gb: float = 0.0
    kernels: dict[str, float] = dataclasses.field(default_factory=dict)
    calls: dict[str, float] = dataclasses.field(default_factory=dict)
    note: str = ""


def making(
    face: Path,
    sound: Path,
    generators: list[str],
    batches: list[int],
    device: str = "auto",
    weights: Path | None = None,
    size: int = 512,
    repeats: int = 1,
) -> Iterator[Making]:
    """Measure each generator ("hef:graphs" names an engine too) with so many frames at once: the best of `repeats`
    runs, after one that warms up. On a card all rows come a second time, with what it was doing.

    Raises EmoTalkError.
    """
    import torch

    from ..media.audio import load
    from ..settings import choose

    wave, rows = load(sound), []
    for generator in generators:
        talker = _talker(generator, device, weights)
        portrait, settings = talker.portrait(face), choose(None, None, {"size": size})[0]
        card = talker.device.type == "cuda"
        for batch in batches:
            frames = max(60, 40 * batch) if card else 3 * batch  # many batches: the first ones wait for the sound
            run = functools.partial(_seconds_a_frame, talker, portrait, wave, settings, batch)
            if card:
                torch.cuda.reset_peak_memory_stats()
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always")
                run(frames)
            row = Making(generator, batch, 1000 * min(run(frames) for _ in range(repeats)))
            row.note = " ".join(dict.fromkeys(str(one.message) for one in said if "here" in str(one.message)))
            if card:
                row.memory_gb = torch.cuda.max_memory_allocated() / 1e9
                rows.append((row, run))
            yield row
    for row, run in rows:
        _watch(row, run, max(16, 3 * row.batch))
        yield row


def _seconds_a_frame(
    talker: EmoTalk, portrait: Portrait, wave: np.ndarray, settings: Settings, batch: int, count: int
) -> float:
    """From the end of the first batch to the last of `count` frames that say a recording again and again."""
    import numpy as np

    from ..media.audio import SAMPLES_PER_FRAME

    talker.animator.batch = batch
    frames = talker.frames(portrait, np.resize(wave, count * SAMPLES_PER_FRAME), "happy", settings)
    for _ in range(batch):
        next(frames)
    begin = time.perf_counter()
    count = sum(1 for _ in frames)
    return (time.perf_counter() - begin) / count


def _watch(row: Making, run: Callable[[int], float], frames: int) -> None:
    """What a run of so many frames does on the card: kernels and calls by the profiler, waits by torch's warnings."""
    import torch
    from torch.autograd import DeviceType
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as profiled:
        run(frames)
    found = profiled.key_averages()
    kernels = [event for event in found if event.device_type == DeviceType.CUDA and event.self_device_time_total > 0]
    row.kernel_count = sum(event.count for event in kernels) / frames
    row.busy_milliseconds = sum(event.self_device_time_total for event in kernels) / 1000 / frames
    dearest = sorted(kernels, key=lambda event: -event.self_device_time_total)[:DEAREST]
    row.kernels = {event.key[:90]: event.self_device_time_total / 1000 / frames for event in dearest}
    calls = {event.key: event.count / frames for event in found if event.key.startswith(("cuda", "cuLaunch"))}
    row.launches = sum(count for name, count in calls.items() if "Launch" in name)
    row.calls = dict(sorted(calls.items(), key=lambda call: -call[1])[:DEAREST])
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            run(frames)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    row.waits = sum("synchroniz" in str(one.message) for one in said) / frames


@dataclasses.dataclass
class Latency:
    """Live speech that arrives as it is spoken, a frame's length at a time.

    look_ahead_seconds: sound after a frame's own that its motion depends on, at most; a player has to wait that long.
    processing_milliseconds: from the arrival of the last sound that a frame depends on to its leaving, median and 95th
    percentile; frames of one window, four, depend on the same and leave one after the other. Those that the end of
    the sound releases all at once are not counted. memory_growth_mb: of the process, over all frames but the first
    tenth.
    """

    frames: int
    look_ahead_seconds: float
    processing_milliseconds: tuple[float, float]
    memory_growth_mb: float


def latency(
    face: Path, sound: Path, generator: str, device: str = "auto", weights: Path | None = None, size: int = 512
) -> Latency:
    """Measure `EmoTalk.stream` on a recording, in the time that it lasts. Raises EmoTalkError."""
    from ..animate import Performance
    from ..constants import FPS
    from ..live import Incoming
    from ..media.audio import SAMPLES_PER_FRAME, load
    from ..settings import Settings

    talker = _talker(generator, device, weights)
    wave, portrait, felt = load(sound), talker.portrait(face), talker.emotion("happy")
    pieces = [wave[at : at + SAMPLES_PER_FRAME] for at in range(0, len(wave), SAMPLES_PER_FRAME)]
    given: list[float] = []

    def at_once() -> Iterator[np.ndarray]:
        for piece in pieces:
            given.append(0.0)
            yield piece

    def spoken() -> Iterator[np.ndarray]:
        begin = time.perf_counter()
        for number, piece in enumerate(pieces, 1):
            time.sleep(max(0.0, begin + number / FPS - time.perf_counter()))
            given.append(begin + number / FPS)
            yield piece

    motion = talker.animator.motion(Performance(Incoming(at_once()), felt), Settings(), FPS)
    needed = [len(given) for _ in motion]  # pieces that each frame depends on
    given.clear()
    next(talker.stream(portrait, iter(pieces), felt, size=size))  # warms up
    left, held = [], []
    for _ in talker.stream(portrait, spoken(), felt, size=size):
        left.append(time.perf_counter())
        held.append(_resident())
    waits = sorted(
        1000 * (at - given[count - 1]) for at, count in zip(left, needed, strict=True) if count < len(pieces)
    ) or [0.0]
    ahead = max(count - number for number, count in enumerate(needed, 1))
    growth = (held[-1] - held[len(held) // 10]) / 1e6
    return Latency(len(left), ahead / FPS, (waits[len(waits) // 2], waits[int(0.95 * len(waits))]), growth)


@dataclasses.dataclass
class Likeness:
    """Frames of one engine beside another's: how far apart, of 255.

    mean, worst: over all frames, and of the frame that differs most, of all channels of all pixels. largest: of one.
    """

    generator: str
    face: str
    frames: int
    mean: float
    worst: float
    largest: float


def likeness(
    faces: list[Path],
    sound: Path,
    generators: list[str],
    device: str = "auto",
    weights: Path | None = None,
    size: int = 512,
    frames: int = 20,
) -> list[Likeness]:
    """Frames of each portrait, five a second, by each generator ("hef:compile" names an engine) beside those of the
    first. Raises EmoTalkError."""
    import numpy as np

    def made(generator: str) -> list[np.ndarray]:
        talker = _talker(generator, device, weights)
        options: SettingsOptions = {"size": size, "fps": 5.0}
        return [np.stack(list(itertools.islice(talker.frames(face, sound, "happy", **options), frames)))
                for face in faces]  # fmt: skip

    wanted, rows = made(generators[0]), []
    for generator in generators[1:]:
        for face, found, usual in zip(faces, made(generator), wanted, strict=True):
            apart = np.abs(found.astype(np.int16) - usual)
            worst = float(apart.mean((1, 2, 3)).max())
            rows.append(Likeness(generator, face.name, len(found), float(apart.mean()), worst, float(apart.max())))
    return rows


def _talker(generator: str, device: str, weights: Path | None) -> EmoTalk:
    """With a generator such as "hef", or with an engine too, "hef:compile". Raises EmoTalkError."""
    from ..api import EmoTalk

    name, _, engine = generator.partition(":")
    return EmoTalk.load(weights, device, name, engine=engine or "auto")


def _resident() -> int:
    """Bytes of memory that this process holds; 0 where the system does not tell."""
    status = Path("/proc/self/statm")
    return int(status.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if status.is_file() else 0


def machine(device: str) -> dict[str, str | int | None]:
    """What the figures were measured on."""
    import torch

    name, found = platform.processor() or platform.machine(), ""
    if (cpus := Path("/proc/cpuinfo")).is_file():
        lines = dict(line.split(":", 1) for line in cpus.read_text().split("\n\n")[0].splitlines() if ":" in line)
        lines = {key.strip(): value.strip() for key, value in lines.items()}
        name, found = lines.get("model name", name), lines.get("flags", "")
    sets = [flag for flag in INSTRUCTIONS if flag in found.split()]
    card = torch.cuda.get_device_name(device) if device.startswith("cuda") else "none"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    about: dict[str, str | int | None] = {
        "processor": name,
        "instructions": " ".join(sets),
        "cores": cores,
        "card": card,
    }
    return about | {"system": platform.platform(), "torch": torch.__version__}
