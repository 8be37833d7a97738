"""Crops of parts of a face, which an affine map lays on a picture.

The mouth's is fixed to the skull and has one scale for all faces.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ...numeric import fixed
from .. import card
from ..raster import boxed, inverse, pixel_grid, sharp_sample

CROP_HEIGHT, CROP_WIDTH = 160, 192  # px
CROP_UNIT = 0.0375  # cm a px: about 135 across a mouth
CROP_MIDDLE = (96.0, 56.0)  # where in it the lips' middle at rest lies
REACH = 24.0  # px: the unit of distances from the lips' contour, as networks read them


def laid(image: Tensor, place: Tensor, height: int = CROP_HEIGHT, width: int = CROP_WIDTH) -> Tensor:
    """A picture [B or 1,C,H,W] as a crop shows it, 0..1: [B,C,height,width]. place [B,2,3]: crop px to its."""
    grid = pixel_grid(height, width, image.device)
    at = torch.einsum("bij,hwj->bhwi", place[:, :, :2], grid) + place[:, None, None, :, 2]
    at = at * fixed([2 / image.shape[3], 2 / image.shape[2]], at) - 1
    return sharp_sample(image.expand(len(place), -1, -1, -1), at).clamp(0, 1)


def local(points: Tensor, place: Tensor) -> Tensor:
    """Points [B,N,2] px of the picture in px of the crop at place [B,2,3]."""
    return (points - place[:, None, :, 2]) @ inverse(place[:, :, :2]).transpose(1, 2)


def covered(place: Tensor, height: int, width: int, size: int) -> tuple[slice, slice]:
    """Rows and columns of a picture of `size` px that hold crops [height,width] at place [B,2,3]."""
    corners = fixed([[x, y] for x in (0, width) for y in (0, height)], place)
    return boxed(corners @ place[:, :, :2].transpose(1, 2) + place[:, None, :, 2], 0, size)


def pasted(crop: Tensor, place: Tensor, grid: Tensor) -> Tensor:
    """A crop [B,C,h,w] at px grid [H,W,2] of the picture that place [B,2,3] leads to; 0 beyond the crop."""
    back = inverse(place[:, :, :2])
    at = torch.einsum("bij,bhwj->bhwi", back, grid - place[:, None, None, :, 2])
    at = at * fixed([2 / crop.shape[3], 2 / crop.shape[2]], at) - 1
    return F.grid_sample(crop, at, align_corners=False)


def paste(frames: Tensor, crop: Tensor, place: Tensor, rows: slice, columns: slice) -> None:
    """`pasted` laid into frames [B,3,H,W], in place: three channels are added, four are colour and how far it covers.
    rows and columns of the frames hold all of it."""
    if card.usable(frames, crop, place):
        card.paste(frames, crop, place)
        return
    side, part = frames.shape[-1], frames[..., rows, columns]
    found = pasted(crop, place, pixel_grid(side, side, frames.device)[rows, columns])
    if found.shape[1] == 3:
        part += found
    else:
        part.lerp_(found[:, :3], found[:, 3:])
