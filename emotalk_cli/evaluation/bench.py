"""How fast, how large, how hungry (Tab. 2): the whole way from files to file, and its stages."""

from __future__ import annotations

import dataclasses
import os
import platform
import resource
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path


@dataclasses.dataclass
class Speed:
    """One generator, measured in a process of its own.

    frames_per_second and milliseconds (a frame): from the loaded models to the finished file. stages: ms a frame by
    stage; encoding runs beside the others. load_seconds: of the models. memory_gb: peak of the process, or of the
    card's memory if it runs there. parameters: millions by network.
    """

    generator: str
    frames: int
    frames_per_second: float
    milliseconds: float
    stages: dict[str, float]
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
    import torch

    from ..api import EmoTalk

    begin = time.perf_counter()
    name, _, engine = generator.partition(":")
    talker = EmoTalk.load(weights, device, name, engine=engine or "eager")
    loaded = time.perf_counter() - begin
    runs = []
    with tempfile.TemporaryDirectory(prefix="emotalk-") as folder:
        for _ in range(repeats + 1):
            options = {"size": size, "sidecar": False}
            talker._portraits.clear()  # the portrait is part of the work
            runs.append(talker.generate(face, sound, "happy", Path(folder) / "bench.mp4", **options))
    best = min(runs[1:], key=lambda run: run.elapsed)
    networks = {"AME": talker.ame, "EAC": talker.eac, "HEF": talker.hef, "face tracker": talker.tracker}
    parameters = {
        name: sum(p.numel() for p in net.parameters()) / 1e6
        for name, net in networks.items()
        if isinstance(net, torch.nn.Module)
    }
    if talker.device.type == "cuda":
        memory = torch.cuda.max_memory_allocated(talker.device) / 1e9
    else:  # kilobytes on Linux, bytes on macOS
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1e-9 if sys.platform == "darwin" else 1.024e-6)
    return Speed(
        generator,
        best.frames,
        best.frames / best.elapsed,
        1000 * best.elapsed / best.frames,
        {name: 1000 * seconds / best.frames for name, seconds in best.stages.items()},
        loaded,
        memory,
        parameters,
    )


def machine(device: str) -> dict[str, str | int]:
    """What the figures were measured on."""
    import torch

    name = platform.processor() or platform.machine()
    if (cpus := Path("/proc/cpuinfo")).is_file():
        models = [line.split(":", 1)[1].strip() for line in cpus.read_text().splitlines() if "model name" in line]
        name = models[0] if models else name
    card = torch.cuda.get_device_name(device) if device.startswith("cuda") else "none"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"processor": name, "cores": cores, "card": card, "system": platform.platform(), "torch": torch.__version__}
