"""The mouth's crop: fixed to the skull, of one scale for all faces."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ...numeric import fixed, inverse
from ..raster import pixel_grid, sharp_sample

CROP_HEIGHT, CROP_WIDTH = 160, 192  # px
CROP_UNIT = 0.0375  # cm a px: about 135 across a mouth
CROP_MIDDLE = (96.0, 56.0)  # where in it the lips' middle at rest lies
REACH = 24.0  # px: the unit of distances from the lips' contour, as networks read them


def laid(image: Tensor, place: Tensor, height: int = CROP_HEIGHT) -> Tensor:
    """A picture [B or 1,C,H,W] as the mouth's crop shows it, 0..1: [B,C,height,w]. place [B,2,3]: crop px to its."""
    grid = pixel_grid(height, CROP_WIDTH, image.device)
    at = torch.einsum("bij,hwj->bhwi", place[:, :, :2], grid) + place[:, None, None, :, 2]
    at = at * fixed([2 / image.shape[3], 2 / image.shape[2]], at) - 1
    return sharp_sample(image.expand(len(place), -1, -1, -1), at).clamp(0, 1)


def pasted(crop: Tensor, place: Tensor, grid: Tensor) -> Tensor:
    """The mouth's crop [B,C,h,w] at px grid [H,W,2] of the picture that place [B,2,3] leads to; 0 beyond the crop."""
    back = inverse(place[:, :, :2])
    at = torch.einsum("bij,bhwj->bhwi", back, grid - place[:, None, None, :, 2])
    at = at * fixed([2 / crop.shape[3], 2 / crop.shape[2]], at) - 1
    return F.grid_sample(crop, at, align_corners=False)
