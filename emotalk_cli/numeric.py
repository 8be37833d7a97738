"""Small functions of numbers that several layers use."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

Number = TypeVar("Number", float, Tensor, np.ndarray)
Net = TypeVar("Net", bound=nn.Module)


def channels_last(network: Net) -> Net:
    """The network itself, its kernels laid out as convolutions on many channels want them."""
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, unused-ignore, no-any-return]


def fixed(values: Sequence[Any], like: Tensor) -> Tensor:
    """Numbers as a tensor of the device and type of `like`, made once: later calls do not wait for a card."""
    return _fixed(_frozen(values), like.device, like.dtype)


def places(numbers: Sequence[int], like: Tensor) -> Tensor:
    """Numbers of rows or vertices, to pick them from a tensor on the device of `like`; made once, as `fixed`. A list in
    their place would be carried to a card each time."""
    return _fixed(tuple(numbers), like.device, torch.long)


def _frozen(values: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(_frozen(value) if isinstance(value, Sequence) else value for value in values)


@functools.lru_cache(512)
def _fixed(values: tuple[Any, ...], device: torch.device, kind: torch.dtype) -> Tensor:
    with torch.inference_mode(False):
        return torch.tensor(values, device=device, dtype=kind)


def silence(layer: nn.Module) -> None:
    """Zero its weights and biases: until it is trained, it adds nothing to what is there."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)


def smoothstep(x: Number) -> Number:
    """0..1 -> 0..1, level at both ends: 3 x² - 2 x³."""
    return x * x * (3 - 2 * x)


def smooth_path(cost: Tensor, bend: Tensor) -> Tensor:
    """One of S choices in each of N places [N], whose cost [N,S] and changes' cost bend [S,S] are least in all."""
    total, origins = cost[0], []
    for here in cost[1:]:
        best = (total[:, None] + bend).min(0)
        origins.append(best.indices)
        total = best.values + here
    path = [total.argmin()]
    for origin in reversed(origins):
        path.append(origin[path[-1]])
    return torch.stack(path[::-1])


def correlation(a: Tensor, b: Tensor) -> float:
    """Pearson's r of two tensors of one shape."""
    return float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1])
