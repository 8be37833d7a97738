"""Kernels for NVIDIA cards, in Triton, which PyTorch brings there: the z-buffer, interpolation, distances to outlines.

They give what the torch code of `raster` gives, by one launch each and without asking the card how much there is to
do, so that a whole frame can be captured as one CUDA graph.
"""

from __future__ import annotations

import functools
import os
import warnings
from typing import Any

import torch
from torch import Tensor

try:
    import triton
    import triton.language as tl
    from triton.language import constexpr  # by this name alone the interpreter of Triton 3.0 knows it
except ImportError:  # PyTorch for the CPU brings none
    triton = None

TILE = 16  # px of a side of the square that one program draws
BLOCK = 256  # px that one program works on elsewhere


def usable(*tensors: Tensor) -> bool:
    """Whether these kernels may stand in: on an NVIDIA card, in single precision, without gradients."""
    if not all(t.device.type == "cuda" and t.dtype in (torch.float32, torch.int64) for t in tensors):
        return False
    wanted = torch.is_grad_enabled() and any(t.requires_grad for t in tensors)
    return not wanted and _compiles(tensors[0].device)


@functools.cache
def _compiles(device: torch.device) -> bool:
    """Whether a kernel can be made and run here: Triton wants a C compiler too."""
    if triton is None or os.environ.get("EMOTALK_NO_TRITON"):
        return False
    try:
        corner = torch.tensor([[[0.0, 0.0], [4.0, 0.0], [0.0, 4.0]]], device=device)
        found = polygon_distance(corner, torch.tensor([[[1.0, 1.0]]], device=device))
        return abs(float(found) - 1) < 1e-3
    except Exception as error:  # compilers, drivers and libraries share no base class
        warnings.warn(
            f"Triton compiles nothing here ({type(error).__name__}); frames are made more slowly.", stacklevel=2
        )
        return False


def rasterize(planes: Tensor, boxes: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """planes [B,T,9] as of `raster`, boxes [B,T,4] int32: first and last column and row of each triangle ->
    face [B,height,width] long, -1 where empty, and weights [B,height,width,3]."""
    batch, count = planes.shape[:2]
    face = torch.empty(batch, height, width, dtype=torch.int32, device=planes.device)
    weights = torch.empty(batch, height, width, 3, device=planes.device)
    tiles = -(-width // TILE), -(-height // TILE), batch
    _rasterize[tiles](planes.contiguous(), boxes.contiguous(), face, weights, height, width, count, TILE)
    return face.long(), weights


def interpolate(face: Tensor, weights: Tensor, triangles: Tensor, values: Tensor) -> Tensor:
    """As `raster.interpolate`."""
    batch, height, width = face.shape
    vertices, channels = values.shape[-2:]
    image = torch.empty(batch, channels, height, width, device=face.device)
    area = height * width
    of_one = vertices * channels if values.dim() == 3 else 0
    tables = triangles.contiguous(), values.contiguous()
    blocks = -(-area // BLOCK), batch
    _interpolate[blocks](face.contiguous(), weights.contiguous(), *tables, image, area, of_one, channels, BLOCK)
    return image


def polygon_distance(points: Tensor, grid: Tensor) -> Tensor:
    """As `raster.polygon_distance`."""
    area = grid.shape[0] * grid.shape[1]
    distance = torch.empty(len(points), *grid.shape[:2], device=points.device)
    blocks = -(-area // BLOCK), len(points)
    _distance[blocks](points.contiguous(), grid.contiguous(), distance, area, points.shape[1], BLOCK)
    return distance


def _kernel(function: Any) -> Any:
    return triton.jit(function) if triton is not None else None


@_kernel
def _rasterize(planes, boxes, face, weights, height, width, COUNT: constexpr, TILE: constexpr):
    left, top = tl.program_id(0) * TILE, tl.program_id(1) * TILE
    image = tl.program_id(2)
    place = tl.arange(0, TILE * TILE)
    column, row = left + place % TILE, top + place // TILE
    x, y = column.to(tl.float32) + 0.5, row.to(tl.float32) + 0.5
    best = tl.full((TILE * TILE,), 3.0e38, tl.float32)
    found = tl.full((TILE * TILE,), -1, tl.int32)
    share_v = tl.zeros((TILE * TILE,), tl.float32)
    share_w = tl.zeros((TILE * TILE,), tl.float32)
    for number in range(COUNT):
        box = boxes + (image * COUNT + number) * 4
        first_column, last_column = tl.load(box), tl.load(box + 1)
        first_row, last_row = tl.load(box + 2), tl.load(box + 3)
        across = (first_column < left + TILE) & (last_column >= left)
        if across & (first_row < top + TILE) & (last_row >= top):
            plane = planes + (image * COUNT + number) * 9
            v = tl.load(plane) * x + tl.load(plane + 1) * y + tl.load(plane + 2)
            w = tl.load(plane + 3) * x + tl.load(plane + 4) * y + tl.load(plane + 5)
            z = tl.load(plane + 6) * x + tl.load(plane + 7) * y + tl.load(plane + 8)
            inside = (v > -1e-5) & (w > -1e-5) & (1 - v - w > -1e-5)  # `kernels.INSIDE` and `SAME_DEPTH`
            nearer = inside & (z < best - 1e-4)
            best = tl.where(nearer, z, best)
            found = tl.where(nearer, number, found)
            share_v = tl.where(nearer, v, share_v)
            share_w = tl.where(nearer, w, share_w)
    shown = (column < width) & (row < height)
    at = (image * height + row) * width + column
    tl.store(face + at, found, mask=shown)
    filled = found >= 0
    tl.store(weights + at * 3, tl.where(filled, 1 - share_v - share_w, 0.0), mask=shown)
    tl.store(weights + at * 3 + 1, share_v, mask=shown)
    tl.store(weights + at * 3 + 2, share_w, mask=shown)


@_kernel
def _interpolate(face, weights, triangles, values, image, area, of_one, CHANNELS: constexpr, BLOCK: constexpr):
    batch = tl.program_id(1)
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    shown = place < area
    at = batch * area + place
    number = tl.load(face + at, mask=shown, other=-1)
    filled = shown & (number >= 0)
    corner = triangles + number * 3
    table = values + batch * of_one
    a = table + tl.load(corner, mask=filled, other=0) * CHANNELS
    b = table + tl.load(corner + 1, mask=filled, other=0) * CHANNELS
    c = table + tl.load(corner + 2, mask=filled, other=0) * CHANNELS
    u = tl.load(weights + at * 3, mask=filled, other=0.0)
    v = tl.load(weights + at * 3 + 1, mask=filled, other=0.0)
    w = tl.load(weights + at * 3 + 2, mask=filled, other=0.0)
    for channel in tl.static_range(CHANNELS):
        value = u * tl.load(a + channel, mask=filled, other=0.0)
        value += v * tl.load(b + channel, mask=filled, other=0.0)
        value += w * tl.load(c + channel, mask=filled, other=0.0)
        tl.store(image + (batch * CHANNELS + channel) * area + place, value, mask=shown)


@_kernel
def _distance(points, grid, distance, area, COUNT: constexpr, BLOCK: constexpr):
    batch = tl.program_id(1)
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    shown = place < area
    x = tl.load(grid + place * 2, mask=shown, other=0.0)
    y = tl.load(grid + place * 2 + 1, mask=shown, other=0.0)
    least = tl.full((BLOCK,), 3.0e38, tl.float32)
    crossed = tl.zeros((BLOCK,), tl.int32)
    ring = points + batch * COUNT * 2
    for number in range(COUNT):
        after = (number + 1) % COUNT
        ax, ay = tl.load(ring + number * 2), tl.load(ring + number * 2 + 1)
        bx, by = tl.load(ring + after * 2), tl.load(ring + after * 2 + 1)
        ex, ey = bx - ax, by - ay
        px, py = x - ax, y - ay
        along = (px * ex + py * ey) / tl.maximum(ex * ex + ey * ey, 1e-9)
        along = tl.minimum(tl.maximum(along, 0.0), 1.0)
        dx, dy = px - along * ex, py - along * ey
        least = tl.minimum(least, dx * dx + dy * dy)
        level = tl.where(by == ay, 1.0, by - ay)
        crosses = ((ay > y) != (by > y)) & (x < ax + py / level * ex)
        crossed += crosses.to(tl.int32)
    gap = tl.sqrt(tl.maximum(least, 1e-12))
    tl.store(distance + batch * area + place, tl.where(crossed % 2 == 1, gap, -gap), mask=shown)
