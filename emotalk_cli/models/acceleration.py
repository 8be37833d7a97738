"""How a network's arithmetic is run: step by step (eager), compiled (torch.compile), or as one CUDA graph.

The last two want the same shapes every time: `Steady` pads short batches and keeps one compiled or captured function
for all frames of all portraits.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..errors import UsageError
from ..settings import OPTIONS

WARM_UP = 3  # runs before a capture, in which libraries choose their kernels
Function = Callable[..., tuple[Tensor, ...]]  # tensors [B or 1,...] -> tensors [B,...]


class Steady:
    """A function of tensors that is always called with one batch size, the first it meets (or a larger one later)."""

    def __init__(self, prepare: Callable[[Function, Sequence[Tensor]], Function], function: Function) -> None:
        """prepare: makes the fast form of `function` for tensors of these shapes."""
        self._prepare, self._function = prepare, function
        self._count, self._shared = 0, [False]
        self._fast: Function | None = None

    @property
    def refused(self) -> bool:
        """Whether there is no fast form here, and the function itself is called."""
        return self._fast is self._function

    def __call__(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Tensors [B,...]; those [1,...] when B > 1 are shared by the batch. Returns tensors of its own, [B,...]."""
        count = max(len(tensor) for tensor in tensors)
        if self._fast is None or count > self._count:
            self._count, self._shared = count, [len(tensor) < count for tensor in tensors]
            self._fast = self._prepare(self._function, tensors)
        missing = self._count - count
        full = [
            tensor if shared or not missing else torch.cat([tensor, tensor[-1:].expand(missing, *tensor.shape[1:])])
            for tensor, shared in zip(tensors, self._shared, strict=True)
        ]
        return tuple(made[:count].clone() for made in self._fast(*full))


def compiled(function: Function, tensors: Sequence[Tensor], backend: str = "inductor") -> Function:
    """torch.compile for these shapes alone."""
    return torch.compile(function, dynamic=False, fullgraph=True, backend=backend)


def captured(function: Function, tensors: Sequence[Tensor]) -> Function:
    """One CUDA graph: its inputs and outputs stay where they are, so that a run is a copy and one launch. The function
    itself, with a warning, where the card cannot capture it."""
    try:
        return _captured(function, tensors)
    except RuntimeError as error:
        torch.cuda.synchronize()
        reason = str(error).split("\n", 1)[0]
        warnings.warn(f"--engine graphs is not possible here ({reason}); the card is told step by step.", stacklevel=2)
        return function


def _captured(function: Function, tensors: Sequence[Tensor]) -> Function:
    held = [tensor.clone() for tensor in tensors]
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UP):
            function(*held)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # another thread makes the next motion meanwhile
        made = function(*held)

    def replay(*new: Tensor) -> tuple[Tensor, ...]:
        for place, tensor in zip(held, new, strict=True):
            place.copy_(tensor)
        graph.replay()
        return made

    return replay


def check(engine: str, device: torch.device) -> None:
    """Raises UsageError where `engine` cannot run on `device`."""
    OPTIONS["engine"].parse(engine)
    if engine == "graphs" and device.type != "cuda":
        raise UsageError(f"--engine graphs needs an NVIDIA card, not {device}; leave it out, or choose compile.")
    if engine == "compile" and device.type == "cpu" and not any(map(shutil.which, ("g++", "clang++", "c++"))):
        raise UsageError("--engine compile needs a C++ compiler, and none is installed; leave it out.")


def resolved(engine: str, device: torch.device) -> str:
    """What auto stands for on `device`: graphs on an NVIDIA card, else eager, which nothing was faster than."""
    return ("graphs" if device.type == "cuda" else "eager") if engine == "auto" else engine


def steady(engine: str, function: Function) -> Steady:
    """`function` as `engine` (compile or graphs) runs it."""
    return Steady(compiled if engine == "compile" else captured, function)


def find_device(name: str | torch.device) -> torch.device:
    """auto | cpu | cuda[:N] | mps -> a device that is present. Raises UsageError."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    name = OPTIONS["device"].parse(str(name))
    device = torch.device(name)
    present = {
        "cpu": True,
        "mps": torch.backends.mps.is_available(),
        "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
    }
    if not present[device.type]:
        raise UsageError(f"--device {name} is not available on this machine; choose auto or cpu.")
    return device
