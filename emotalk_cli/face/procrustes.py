"""The rotation, or similarity, that lays points on others in least squares (Kabsch 1976, Umeyama 1991)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class Similarity(NamedTuple):
    """target ~ scale * source @ rotation.T + shift.

    scale [B], rotation [B,D,D] with determinant 1, shift [B,D].
    """

    scale: Tensor
    rotation: Tensor
    shift: Tensor


def nearest_rotation(cross: Tensor) -> tuple[Tensor, Tensor]:
    """Rotations [B,D,D] that turn source points to target points, of target.T @ source [B,D,D], both centred.

    And the singular values [B,D], the last negative where a reflection would fit better.
    """
    u, s, vt = torch.linalg.svd(cross)
    sign = torch.ones_like(s)
    sign[:, -1] = torch.det(u @ vt).sign()
    return u * sign[:, None] @ vt, s * sign


def similarity(source: Tensor, target: Tensor) -> Similarity:
    """What carries points [B,N,D] to points [B,N,D]."""
    a, b = source.mean(1, keepdim=True), target.mean(1, keepdim=True)
    rotation, values = nearest_rotation((target - b).transpose(1, 2) @ (source - a))
    scale = values.sum(1) / ((source - a) ** 2).sum((1, 2))
    shift = b[:, 0] - scale[:, None] * (rotation @ a[:, 0, :, None])[..., 0]
    return Similarity(scale, rotation, shift)


def similarity_of_arrays(source: np.ndarray, target: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """The same for one pair of arrays [N,D]: scale, rotation [D,D] and shift [D], of the arrays' type."""
    points = [torch.from_numpy(np.asarray(given, np.float64))[None] for given in (source, target)]
    scale, rotation, shift = similarity(*points)
    kind = np.result_type(source, target)
    return float(scale[0]), rotation[0].numpy().astype(kind), shift[0].numpy().astype(kind)
