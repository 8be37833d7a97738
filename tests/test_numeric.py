"""Rotations and similarities are recovered, reflections refused; small functions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from emotalk_cli.face.procrustes import nearest_rotation, similarity, similarity_of_arrays
from emotalk_cli.numeric import correlation, smoothstep


@pytest.mark.parametrize("size", [2, 3])
def test_a_similarity_is_recovered(size):
    draw = torch.Generator().manual_seed(0)
    source = torch.randn(5, 12, size, generator=draw, dtype=torch.float64)
    rotation, _ = nearest_rotation(torch.randn(5, size, size, generator=draw, dtype=torch.float64))
    scale, shift = torch.rand(5, generator=draw, dtype=torch.float64) + 0.5, torch.randn(5, size, dtype=torch.float64)
    target = scale[:, None, None] * source @ rotation.mT + shift[:, None]
    found = similarity(source, target)
    torch.testing.assert_close(found.rotation, rotation)
    torch.testing.assert_close(found.scale, scale)
    torch.testing.assert_close(found.shift, shift)
    one = similarity_of_arrays(source[0].numpy(), target[0].numpy())
    assert (
        one[0] == pytest.approx(float(scale[0])) and np.allclose(one[1], rotation[0]) and np.allclose(one[2], shift[0])
    )


def test_a_mirrored_shape_is_turned_not_mirrored():
    source = torch.randn(1, 20, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = similarity(source, source * torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64))
    assert float(torch.det(found.rotation)) == pytest.approx(1)
    plain = found.scale[:, None, None] * source @ found.rotation.mT + found.shift[:, None]
    assert float((plain - source).square().mean()) > 0.01  # no rotation does it


def test_smoothstep_and_correlation():
    x = torch.linspace(0, 1, 101)
    y = smoothstep(x)
    assert y[0] == 0 and y[-1] == 1 and smoothstep(0.5) == 0.5 and bool((y.diff() > 0).all())
    assert float(y[1] - y[0]) < 0.001 > float(y[-1] - y[-2])
    assert correlation(x, 3 - 2 * x) == pytest.approx(-1) and correlation(x[None], x[None] ** 2) > 0.9
