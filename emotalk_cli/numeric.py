"""Small functions of numbers that several layers use."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

Number = TypeVar("Number", float, Tensor, np.ndarray)


def smoothstep(x: Number) -> Number:
    """0..1 -> 0..1, level at both ends: 3 x² - 2 x³."""
    return x * x * (3 - 2 * x)


def correlation(a: Tensor, b: Tensor) -> float:
    """Pearson's r of two tensors of one shape."""
    return float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1])
