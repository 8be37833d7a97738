"""Kernels for NVIDIA cards, in Triton, which PyTorch brings there: the z-buffer, interpolation, distances to outlines,
reading pictures between their pixels, light on skin, and small geometry that would take dozens of launches.

They give what the torch code beside their calls gives, by one launch each (the z-buffer: four) and without asking the
card how much there is to do, so that a whole frame can be captured as one CUDA graph.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
import warnings
from typing import Any

import torch
from torch import Tensor

from .kernels import GRAIN, GRAIN_EDGE, INSIDE, SAME_DEPTH

KNOWN = False  # whether Triton is here: PyTorch for the CPU brings none, and its import takes a tenth of a second
if torch.cuda.is_available() or os.environ.get("TRITON_INTERPRET"):
    with contextlib.suppress(ImportError):
        import triton
        import triton.language as tl
        from triton.language import constexpr  # by this name alone the interpreter of Triton 3.0 knows it

        KNOWN = True

BLOCK = 256  # px that one program works on
SPOT = 64  # px of a triangle that one program draws at a time
EMPTY = 0x7FFFFFFF  # of a z-buffer: nothing is seen yet


def usable(*tensors: Tensor) -> bool:
    """Whether these kernels may stand in: on an NVIDIA card, in single precision, without gradients."""
    if not all(t.device.type == "cuda" and t.dtype in (torch.float32, torch.int64) for t in tensors):
        return False
    wanted = torch.is_grad_enabled() and any(t.requires_grad for t in tensors)
    return not wanted and not torch.compiler.is_compiling() and _compiles(tensors[0].device)


@functools.cache
def _compiles(device: torch.device) -> bool:
    """Whether a kernel can be made and run here: Triton wants a C compiler too."""
    if not KNOWN or os.environ.get("EMOTALK_NO_TRITON"):
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


def rasterize(vertices: Tensor, triangles: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """As `raster.rasterize`: each triangle is drawn by a program of its own, depths first, then who has them."""
    batch, corners = len(vertices), vertices.shape[1] * 3
    buffers = torch.full((2, batch, height, width), EMPTY, dtype=torch.int32, device=vertices.device)
    face = torch.empty(batch, height, width, dtype=torch.int64, device=vertices.device)
    weights = torch.empty(batch, height, width, 3, device=vertices.device)
    mesh = vertices.contiguous(), triangles.contiguous(), *buffers
    for found in (False, True):
        _draw[(len(triangles), batch)](
            *mesh, height, width, corners, found, EMPTY, INSIDE, SAME_DEPTH, SPOT, num_warps=1
        )
    area = height * width
    blocks = -(-area // BLOCK), batch
    _shares[blocks](*mesh[:2], mesh[3], face, weights, area, width, corners, EMPTY, BLOCK)
    return face, weights


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


def enlarged(
    flow: Tensor,
    face: Tensor,
    vertices: Tensor,
    triangles: Tensor,
    source: Tensor,
    apart: Tensor,
    leap: float,
    tear: float,
) -> tuple[Tensor, Tensor]:
    """As `raster.enlarged`; leap, tear: its limits, px."""
    batch, _, height, width = flow.shape
    large = torch.empty(batch, 2, 2 * height, 2 * width, device=flow.device)
    torn = torch.empty(batch, 1, height, width, device=flow.device)
    tables = vertices.contiguous(), triangles.contiguous(), source.contiguous(), apart
    blocks = -(-4 * height * width // BLOCK), batch
    _enlarge[blocks](
        *(flow.contiguous(), face.contiguous(), *tables, large, torn),
        *(height, width, vertices.shape[1] * 3, leap, tear, INSIDE, BLOCK),
    )
    return large, torn


def beside(flow: Tensor, torn: Tensor, limit: float) -> tuple[Tensor, Tensor]:
    """As `raster._beside`; limit: px by which flows are another one's."""
    batch, _, height, width = flow.shape
    other, share = torch.empty_like(flow), torch.empty(batch, 1, height, width, device=flow.device)
    blocks = -(-height * width // BLOCK), batch
    _beside[blocks](flow.contiguous(), torn.contiguous(), other, share, height, width, limit, BLOCK)
    return other, share


def polygon_distance(points: Tensor, grid: Tensor) -> Tensor:
    """As `raster.polygon_distance`."""
    area = grid.shape[0] * grid.shape[1]
    distance = torch.empty(len(points), *grid.shape[:2], device=points.device)
    blocks = -(-area // BLOCK), len(points)
    _distance[blocks](points.contiguous(), grid.contiguous(), distance, area, points.shape[1], BLOCK)
    return distance


def read(
    image: Tensor,
    at: Tensor,
    scale: tuple[float, float],
    step: float = 0.0,
    shift: float = 0.0,
    origin: Tensor | None = None,
    cubic: float | None = None,
) -> Tensor:
    """Picture [B or 1,C,H,W] read at `at` [B,2,h,w], edges repeated: [B,C,h,w], not clamped.

    What is read for row r and column c lies at (at + step · (c + ½, r + ½) + shift + origin [B,2]) · scale (x, y px).
    cubic: None reads bilinearly, else as `raster.sharp_sample` does with this share.
    """
    batch, _, height, width = at.shape
    channels = image.shape[1]
    made = torch.empty(batch, channels, height, width, device=at.device)
    strides = (image.stride(0) if len(image) > 1 else 0, *image.stride()[1:])
    sizes = image.shape[2], image.shape[3], channels, height * width, width
    blocks = -(-height * width // BLOCK), batch
    _read[blocks](
        *(image, at, at if origin is None else origin.contiguous(), made),
        *(*strides, *at.stride(), *sizes, float(step), float(shift), float(scale[0]), float(scale[1])),
        *(0.0 if cubic is None else cubic, cubic is not None, origin is not None, GRAIN, GRAIN_EDGE, BLOCK),
    )
    return made


def lit(skin: Tensor, ratio: Tensor, hue: Tensor, headroom: float, luma: tuple[float, float, float]) -> Tensor:
    """As `geometry.maps.lit`. skin [B,3,H,W] and ratio [B,1,H,W], boxes of larger ones too; hue [B,3]."""
    batch, _, height, width = skin.shape
    made = torch.empty(batch, 3, height, width, device=skin.device)
    blocks = -(-height * width // BLOCK), batch
    strides = *skin.stride(), ratio.stride(0), ratio.stride(2), ratio.stride(3), hue.stride(0), hue.stride(1)
    _light[blocks](skin, ratio, hue, made, *strides, height * width, width, headroom, *luma, BLOCK)
    return made


def rigid(points: Tensor, pose: Tensor, pivot: Tensor, weight: Tensor | None, size: float) -> Tensor:
    """As `Head.rigid`: points [B or 1,V,3] px, pose [B or 1,6], pivot [3] px, weight [V,1]; size: of the crop."""
    batch, count = max(len(points), len(pose)), points.shape[1]
    made = torch.empty(batch, count, 3, device=points.device)
    of_one, of_pose = (t.shape[1:].numel() if len(t) > 1 else 0 for t in (points, pose))
    blocks = -(-count // BLOCK), batch
    share = pivot if weight is None else weight.contiguous()
    tables = points.contiguous(), pose.contiguous(), pivot.contiguous(), share
    _rigid[blocks](*tables, made, of_one, of_pose, count, float(size), weight is not None, BLOCK)
    return made


def gaps(points: Tensor, pairs: Tensor, up: Tensor) -> Tensor:
    """As `Contacts.gaps`: points [B,V,3], pairs [2,P], up [3] -> [B,P]."""
    batch, count = len(points), pairs.shape[1]
    made = torch.empty(batch, count, device=points.device)
    _gaps[(batch,)](
        points.contiguous(), pairs.contiguous(), up.contiguous(), made, points.shape[1] * 3, count, _power(count)
    )
    return made


def box(points: Tensor, extent: tuple[int, int], size: int) -> tuple[Tensor, Tensor]:
    """Rows [h,1] and columns [w], numbers, of a box of extent (h, w) around the middle of points [B,N,2+]."""
    rows, columns = (torch.empty(n, dtype=torch.int64, device=points.device) for n in extent)
    places = len(points), points.shape[1]
    _box[(1,)](
        *(points, rows, columns, *points.stride(), *places, *extent, size),
        *(_power(places[0] * places[1]), _power(max(extent))),
    )
    return rows[:, None], columns


def inverse(matrices: Tensor) -> Tensor:
    """As `raster.inverse`, of [B,2,2]."""
    made = torch.empty(len(matrices), 2, 2, device=matrices.device)
    _inverse[(1,)](matrices, made, *matrices.stride(), len(matrices), _power(len(matrices)))
    return made


def paste(frames: Tensor, crop: Tensor, place: Tensor) -> None:
    """Crops [B,C,h,w] laid into frames [B,3,H,W], in place, where the affine place [B,2,3] leads from their px: three
    channels are added, four are colour and how far it covers."""
    _, _, height, width = frames.shape
    blocks = -(-height * width // BLOCK), len(frames)
    sizes = height * width, width, crop.shape[2], crop.shape[3]
    strides = *frames.stride(), *place.stride()
    _paste[blocks](frames, crop.contiguous(), place, *strides, *sizes, crop.shape[1] == 4, BLOCK)


def to_bytes(images: Tensor) -> Tensor:
    """[B,3,H,W] 0..1 -> uint8 [B,H,W,3]."""
    batch, _, height, width = images.shape
    made = torch.empty(batch, height, width, 3, dtype=torch.uint8, device=images.device)
    _bytes[(-(-height * width // BLOCK), batch)](images.contiguous(), made, height * width, BLOCK)
    return made


def _power(count: int) -> int:
    """The power of two that holds it."""
    return 1 << (count - 1).bit_length()


def _kernel(function: Any, pointers: int | None = None) -> Any:
    """pointers: how many arguments lead to data; the numbers after them do not make kernels of their own."""
    if not KNOWN:
        return None
    kinds = function.__annotations__
    numbers = [] if pointers is None else list(inspect.signature(function).parameters)[pointers:]
    return triton.jit(function, do_not_specialize=[name for name in numbers if name not in kinds])


@functools.partial(_kernel, pointers=4)
def _draw(
    vertices, triangles, depth, owner, height, width, corners,
    FOUND: constexpr, EMPTY: constexpr, INSIDE: constexpr, SAME_DEPTH: constexpr, SPOT: constexpr,
):  # fmt: skip
    number, image = tl.program_id(0), tl.program_id(1)
    base = vertices + image * corners
    a = base + tl.load(triangles + number * 3) * 3
    b = base + tl.load(triangles + number * 3 + 1) * 3
    c = base + tl.load(triangles + number * 3 + 2) * 3
    ax, ay, az = tl.load(a), tl.load(a + 1), tl.load(a + 2)
    bx, by, bz = tl.load(b) - ax, tl.load(b + 1) - ay, tl.load(b + 2) - az
    cx, cy, cz = tl.load(c) - ax, tl.load(c + 1) - ay, tl.load(c + 2) - az
    area = bx * cy - cx * by
    level = tl.where(tl.abs(area) < 1e-6, 1.0, area)
    left = tl.maximum(tl.ceil(ax + tl.minimum(tl.minimum(bx, cx), 0.0) - 0.5), 0.0).to(tl.int32)
    top = tl.maximum(tl.ceil(ay + tl.minimum(tl.minimum(by, cy), 0.0) - 0.5), 0.0).to(tl.int32)
    right = tl.minimum(tl.floor(ax + tl.maximum(tl.maximum(bx, cx), 0.0) - 0.5), width - 1.0).to(tl.int32)
    bottom = tl.minimum(tl.floor(ay + tl.maximum(tl.maximum(by, cy), 0.0) - 0.5), height - 1.0).to(tl.int32)
    wide, tall = tl.maximum(right - left + 1, 0), tl.maximum(bottom - top + 1, 0)
    count = tl.where(tl.abs(area) < 1e-6, 0, wide * tall)  # nothing of what is edge-on
    wide = tl.maximum(wide, 1)
    start = count * 0
    while start < count:  # (the interpreter counts no further than a number it knows)
        spot = start + tl.arange(0, SPOT)
        row, column = top + spot // wide, left + spot % wide
        x, y = column.to(tl.float32) + 0.5 - ax, row.to(tl.float32) + 0.5 - ay
        v, w = (x * cy - y * cx) / level, (y * bx - x * by) / level
        inside = (spot < count) & (v > INSIDE) & (w > INSIDE) & (1 - v - w > INSIDE)
        z = az + v * bz + w * cz
        at = (image * height + row) * width + column
        if FOUND:
            bits = tl.load(depth + at, mask=inside, other=0)
            nearest = (bits ^ ((bits >> 31) & EMPTY)).to(tl.float32, bitcast=True)
            tl.atomic_min(owner + at, number, mask=inside & (z <= nearest + SAME_DEPTH), sem="relaxed")
        else:
            bits = z.to(tl.int32, bitcast=True)  # integers in the order of these numbers
            tl.atomic_min(depth + at, bits ^ ((bits >> 31) & EMPTY), mask=inside, sem="relaxed")
        start += SPOT


@functools.partial(_kernel, pointers=5)
def _shares(vertices, triangles, owner, face, weights, area, width, corners, EMPTY: constexpr, BLOCK: constexpr):
    batch = tl.program_id(1)
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    shown = place < area
    at = batch * area + place
    number = tl.load(owner + at, mask=shown, other=EMPTY)
    filled = number != EMPTY
    base, corner = vertices + batch * corners, triangles + number.to(tl.int64) * 3
    a = base + tl.load(corner, mask=filled, other=0) * 3
    b = base + tl.load(corner + 1, mask=filled, other=0) * 3
    c = base + tl.load(corner + 2, mask=filled, other=0) * 3
    ax, ay = tl.load(a, mask=filled, other=0.0), tl.load(a + 1, mask=filled, other=0.0)
    bx, by = tl.load(b, mask=filled, other=0.0) - ax, tl.load(b + 1, mask=filled, other=0.0) - ay
    cx, cy = tl.load(c, mask=filled, other=0.0) - ax, tl.load(c + 1, mask=filled, other=0.0) - ay
    x, y = (place % width).to(tl.float32) + 0.5 - ax, (place // width).to(tl.float32) + 0.5 - ay
    level = tl.where(filled, bx * cy - cx * by, 1.0)
    v, w = (x * cy - y * cx) / level, (y * bx - x * by) / level
    tl.store(face + at, tl.where(filled, number, -1).to(tl.int64), mask=shown)
    tl.store(weights + at * 3, tl.where(filled, 1 - v - w, 0.0), mask=shown)
    tl.store(weights + at * 3 + 1, tl.where(filled, v, 0.0), mask=shown)
    tl.store(weights + at * 3 + 2, tl.where(filled, w, 0.0), mask=shown)


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


@functools.partial(_kernel, pointers=8)
def _enlarge(
    flow, face, vertices, triangles, source, apart, large, torn, height, width, corners, leap, tear,
    INSIDE: constexpr, BLOCK: constexpr,
):  # fmt: skip
    batch = tl.program_id(1)
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    shown = place < 4 * height * width
    row, column = place // (2 * width), place % (2 * width)
    i, j = row // 2, column // 2
    area, own = height * width, i * width + j
    first, faces = flow + batch * 2 * area, face + batch * area
    x, y = tl.load(first + own, mask=shown, other=0.0), tl.load(first + area + own, mask=shown, other=0.0)
    here = tl.load(faces + own, mask=shown, other=-1)
    whole = (here < 0) | (tl.load(apart + here, mask=shown & (here >= 0), other=0) == 0)
    marked, split = tl.zeros((BLOCK,), tl.int32), tl.zeros((BLOCK,), tl.int32)
    for side in tl.static_range(4):
        down, right = (side % 2) * (side - 2), (1 - side % 2) * (side - 1)  # left, up, right, down
        within = shown & (i + down >= 0) & (i + down < height) & (j + right >= 0) & (j + right < width)
        at = own + down * width + right
        across = tl.abs(tl.load(first + at, mask=within, other=0.0) - x)
        along = tl.abs(tl.load(first + area + at, mask=within, other=0.0) - y)
        most = tl.where(within, tl.maximum(across, along), 0.0)
        there = tl.load(faces + at, mask=within, other=-1)
        plain = (there < 0) | (tl.load(apart + there, mask=within & (there >= 0), other=0) == 0)
        marked = tl.where(most > leap, 1, marked)
        split = tl.where((most > tear) & plain & whole, 1, split)
    tl.store(torn + batch * area + own, split.to(tl.float32), mask=shown & (row % 2 == 0) & (column % 2 == 0))
    # enlarged as elsewhere, edges repeated
    above = tl.minimum(tl.maximum(i + 2 * (row % 2) - 1, 0), height - 1)
    beside = tl.minimum(tl.maximum(j + 2 * (column % 2) - 1, 0), width - 1)
    for axis in tl.static_range(2):
        plane = first + axis * area
        a, b = tl.load(plane + own, mask=shown, other=0.0), tl.load(plane + i * width + beside, mask=shown, other=0.0)
        c = tl.load(plane + above * width + j, mask=shown, other=0.0)
        d = tl.load(plane + above * width + beside, mask=shown, other=0.0)
        value = 0.75 * (0.75 * a + 0.25 * b) + 0.25 * (0.75 * c + 0.25 * d)
        tl.store(large + (batch * 2 + axis) * 4 * area + place, value, mask=shown & (marked == 0))
    away = shown & (marked > 0)
    centre_x, centre_y = column.to(tl.float32) + 0.5, row.to(tl.float32) + 0.5
    nearest = x * 0.0 + float("inf")
    base = vertices + batch * corners
    for part in tl.static_range(9):
        down, right = part // 3 - 1, part % 3 - 1
        within = away & (i + down >= 0) & (i + down < height) & (j + right >= 0) & (j + right < width)
        number = tl.load(faces + own + down * width + right, mask=within, other=-1)
        within = within & (number >= 0)
        corner = triangles + number * 3
        p, q = tl.load(corner, mask=within, other=0), tl.load(corner + 1, mask=within, other=0)
        r = tl.load(corner + 2, mask=within, other=0)
        ax, ay = tl.load(base + p * 3, mask=within, other=0.0), tl.load(base + p * 3 + 1, mask=within, other=0.0)
        az = tl.load(base + p * 3 + 2, mask=within, other=0.0)
        bx = tl.load(base + q * 3, mask=within, other=0.0) - ax
        by = tl.load(base + q * 3 + 1, mask=within, other=0.0) - ay
        bz = tl.load(base + q * 3 + 2, mask=within, other=0.0) - az
        cx = tl.load(base + r * 3, mask=within, other=0.0) - ax
        cy = tl.load(base + r * 3 + 1, mask=within, other=0.0) - ay
        cz = tl.load(base + r * 3 + 2, mask=within, other=0.0) - az
        size = bx * cy - cx * by
        within = within & (tl.abs(size) >= 1e-6)
        level = tl.where(within, size, 1.0)
        u, t = centre_x - ax, centre_y - ay
        v, w = (u * cy - t * cx) / level, (t * bx - u * by) / level
        z = az + v * bz + w * cz
        within = within & (v > INSIDE) & (w > INSIDE) & (1 - v - w > INSIDE) & (z < nearest)
        nearest = tl.where(within, z, nearest)
        to_x = (1 - v - w) * tl.load(source + p * 2, mask=within, other=0.0)
        to_x += v * tl.load(source + q * 2, mask=within, other=0.0) + w * tl.load(
            source + r * 2, mask=within, other=0.0
        )
        to_y = (1 - v - w) * tl.load(source + p * 2 + 1, mask=within, other=0.0)
        to_y += v * tl.load(source + q * 2 + 1, mask=within, other=0.0)
        to_y += w * tl.load(source + r * 2 + 1, mask=within, other=0.0)
        x = tl.where(within, to_x - centre_x, x)
        y = tl.where(within, to_y - centre_y, y)
    tl.store(large + batch * 8 * area + place, x, mask=away)
    tl.store(large + (batch * 2 + 1) * 4 * area + place, y, mask=away)


@functools.partial(_kernel, pointers=4)
def _beside(flow, torn, other, share, height, width, limit, BLOCK: constexpr):
    batch = tl.program_id(1)
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    area = height * width
    shown = place < area
    row, column = place // width, place % width
    first = flow + batch * 2 * area
    x, y = tl.load(first + place, mask=shown, other=0.0), tl.load(first + area + place, mask=shown, other=0.0)
    cell = batch * (area // 4) + (row // 2) * (width // 2) + column // 2
    away = shown & (tl.load(torn + cell, mask=shown, other=0.0) > 0)
    other_x, other_y, far, count = x, y, x * 0.0 + limit * limit, x * 0.0
    for part in tl.static_range(18):  # the farthest of nine, then which of them are nearer to it
        down, right = part % 9 // 3 - 1, part % 3 - 1
        within = away & (row + down >= 0) & (row + down < height) & (column + right >= 0) & (column + right < width)
        at = place + down * width + right
        across = tl.load(first + at, mask=within, other=0.0)
        along = tl.load(first + area + at, mask=within, other=0.0)
        here = (across - x) * (across - x) + (along - y) * (along - y)
        if part < 9:
            within = within & (here > far)
            other_x, other_y = tl.where(within, across, other_x), tl.where(within, along, other_y)
            far = tl.where(within, here, far)
        else:
            there = (across - other_x) * (across - other_x) + (along - other_y) * (along - other_y)
            count += tl.where(within & (there < here), (2 - down * down) * (2 - right * right) / 16.0, 0.0)
    tl.store(other + batch * 2 * area + place, other_x, mask=shown)
    tl.store(other + (batch * 2 + 1) * area + place, other_y, mask=shown)
    tl.store(share + batch * area + place, count, mask=shown)


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


@_kernel
def _keys(t):  # Keys' cubic, a = -0.75, as in torch: weights of four pixels for a place between the middle two
    s, near, far = 1 - t, t + 1, 2 - t
    return (
        ((-0.75 * near + 3.75) * near - 6) * near + 3,
        (1.25 * t - 2.25) * t * t + 1,
        (1.25 * s - 2.25) * s * s + 1,
        ((-0.75 * far + 3.75) * far - 6) * far + 3,
    )


@functools.partial(_kernel, pointers=4)
def _read(
    image, at, origin, made, image_batch, image_channel, image_row, image_column, at_batch, at_axis, at_row, at_column,
    height, width, channels, area, across, step, shift, scale_x, scale_y, cubic,
    SHARP: constexpr, ORIGIN: constexpr, GRAIN: constexpr, EDGE: constexpr, BLOCK: constexpr,
):  # fmt: skip
    batch = tl.program_id(1)
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    shown = place < area
    row, column = place // across, place % across
    flow = at + batch * at_batch + row * at_row + column * at_column
    x = tl.load(flow, mask=shown, other=0.0) + step * (column.to(tl.float32) + 0.5) + shift
    y = tl.load(flow + at_axis, mask=shown, other=0.0) + step * (row.to(tl.float32) + 0.5) + shift
    if ORIGIN:
        x += tl.load(origin + batch * 2)
        y += tl.load(origin + batch * 2 + 1)
    x = tl.minimum(tl.maximum(x * scale_x - 0.5, -3.0), width + 2.0)
    y = tl.minimum(tl.maximum(y * scale_y - 0.5, -3.0), height + 2.0)
    left, top = tl.floor(x), tl.floor(y)
    x -= left
    y -= top
    left, top = left.to(tl.int32), top.to(tl.int32)
    first = tl.minimum(tl.maximum(left, 0), width - 1) * image_column
    second = tl.minimum(tl.maximum(left + 1, 0), width - 1) * image_column
    upper = tl.minimum(tl.maximum(top, 0), height - 1) * image_row
    lower = tl.minimum(tl.maximum(top + 1, 0), height - 1) * image_row
    picture = image + batch * image_batch
    target = made + batch * channels * area + place
    if SHARP:
        before = tl.minimum(tl.maximum(left - 1, 0), width - 1) * image_column
        after = tl.minimum(tl.maximum(left + 2, 0), width - 1) * image_column
        above = tl.minimum(tl.maximum(top - 1, 0), height - 1) * image_row
        below = tl.minimum(tl.maximum(top + 2, 0), height - 1) * image_row
        h0, h1, h2, h3 = _keys(x)
        v0, v1, v2, v3 = _keys(y)
    missing = channels + 0
    while missing > 0:
        a = tl.load(picture + upper + first, mask=shown, other=0.0)
        b = tl.load(picture + upper + second, mask=shown, other=0.0)
        c = tl.load(picture + lower + first, mask=shown, other=0.0)
        d = tl.load(picture + lower + second, mask=shown, other=0.0)
        high, low = a + x * (b - a), c + x * (d - c)
        value = high + y * (low - high)
        if SHARP:
            hard = v0 * (
                h0 * tl.load(picture + above + before, mask=shown, other=0.0)
                + h1 * tl.load(picture + above + first, mask=shown, other=0.0)
                + h2 * tl.load(picture + above + second, mask=shown, other=0.0)
                + h3 * tl.load(picture + above + after, mask=shown, other=0.0)
            )
            hard += v1 * (
                h0 * tl.load(picture + upper + before, mask=shown, other=0.0)
                + h1 * a
                + h2 * b
                + h3 * tl.load(picture + upper + after, mask=shown, other=0.0)
            )
            hard += v2 * (
                h0 * tl.load(picture + lower + before, mask=shown, other=0.0)
                + h1 * c
                + h2 * d
                + h3 * tl.load(picture + lower + after, mask=shown, other=0.0)
            )
            hard += v3 * (
                h0 * tl.load(picture + below + before, mask=shown, other=0.0)
                + h1 * tl.load(picture + below + first, mask=shown, other=0.0)
                + h2 * tl.load(picture + below + second, mask=shown, other=0.0)
                + h3 * tl.load(picture + below + after, mask=shown, other=0.0)
            )
            detail = hard - value
            grain = detail / EDGE
            value += detail * (cubic + GRAIN / (1 + grain * grain))
        tl.store(target, value, mask=shown)
        picture += image_channel
        target += area
        missing -= 1


@functools.partial(_kernel, pointers=4)
def _light(
    skin, ratio, hue, made, skin_batch, skin_channel, skin_row, skin_column, ratio_batch, ratio_row, ratio_column,
    hue_batch, hue_channel, area, across, headroom, luma_r, luma_g, luma_b, BLOCK: constexpr,
):  # fmt: skip
    batch = tl.program_id(1)
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    shown = place < area
    row, column = place // across, place % across
    at = skin + batch * skin_batch + row * skin_row + column * skin_column
    red = tl.load(at, mask=shown, other=0.0)
    green = tl.load(at + skin_channel, mask=shown, other=0.0)
    blue = tl.load(at + 2 * skin_channel, mask=shown, other=0.0)
    light = tl.load(ratio + batch * ratio_batch + row * ratio_row + column * ratio_column, mask=shown, other=1.0) - 1
    bright = luma_r * red + luma_g * green + luma_b * blue
    room = tl.minimum(tl.maximum(2 - 2 * bright, 0.0), headroom)
    change = tl.maximum(light, 0.0) * room + tl.minimum(light, 0.0)
    shares = hue + batch * hue_batch
    red *= 1 + change * tl.load(shares)
    green *= 1 + change * tl.load(shares + hue_channel)
    blue *= 1 + change * tl.load(shares + 2 * hue_channel)
    target = made + batch * 3 * area + place
    tl.store(target, tl.minimum(tl.maximum(red, 0.0), 1.0), mask=shown)
    tl.store(target + area, tl.minimum(tl.maximum(green, 0.0), 1.0), mask=shown)
    tl.store(target + 2 * area, tl.minimum(tl.maximum(blue, 0.0), 1.0), mask=shown)


@functools.partial(_kernel, pointers=5)
def _rigid(points, pose, pivot, weight, made, of_one, of_pose, count, size, WEIGHT: constexpr, BLOCK: constexpr):
    batch = tl.program_id(1)
    number = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    shown = number < count
    of = pose + batch * of_pose
    rx, ry, rz = tl.load(of), tl.load(of + 1), tl.load(of + 2)
    angle = tl.sqrt(rx * rx + ry * ry + rz * rz + 1e-12)
    rx, ry, rz = rx / angle, ry / angle, rz / angle
    sine, rest, grown = tl.sin(angle), 1 - tl.cos(angle), tl.exp(tl.load(of + 5))
    px, py, pz = tl.load(pivot), tl.load(pivot + 1), tl.load(pivot + 2)
    at = points + batch * of_one + number * 3
    x = tl.load(at, mask=shown, other=0.0)
    y = tl.load(at + 1, mask=shown, other=0.0)
    z = tl.load(at + 2, mask=shown, other=0.0)
    qx, qy, qz = x - px, y - py, z - pz
    cx, cy, cz = ry * qz - rz * qy, rz * qx - rx * qz, rx * qy - ry * qx  # across the axis, then back over it
    dx, dy, dz = ry * cz - rz * cy, rz * cx - rx * cz, rx * cy - ry * cx
    mx = (qx + sine * cx + rest * dx) * grown + px + tl.load(of + 3) * size
    my = (qy + sine * cy + rest * dy) * grown + py + tl.load(of + 4) * size
    mz = (qz + sine * cz + rest * dz) * grown + pz
    if WEIGHT:
        share = tl.load(weight + number, mask=shown, other=0.0)
        mx, my, mz = x + share * (mx - x), y + share * (my - y), z + share * (mz - z)
    target = made + (batch * count + number) * 3
    tl.store(target, mx, mask=shown)
    tl.store(target + 1, my, mask=shown)
    tl.store(target + 2, mz, mask=shown)


@functools.partial(_kernel, pointers=4)
def _gaps(points, pairs, up, made, of_one, count, BLOCK: constexpr):
    batch = tl.program_id(0)
    number = tl.arange(0, BLOCK)
    shown = number < count
    first = points + batch * of_one + tl.load(pairs + number, mask=shown, other=0) * 3
    second = points + batch * of_one + tl.load(pairs + count + number, mask=shown, other=0) * 3
    gap = tl.zeros((BLOCK,), tl.float32)
    for axis in tl.static_range(3):
        apart = tl.load(first + axis, mask=shown, other=0.0) - tl.load(second + axis, mask=shown, other=0.0)
        gap += apart * tl.load(up + axis)
    tl.store(made + batch * count + number, gap, mask=shown)


@functools.partial(_kernel, pointers=3)
def _box(
    points, rows, columns, of_batch, of_point, of_axis, batch, count, tall, wide, size,
    POINTS: constexpr, SIDE: constexpr,
):  # fmt: skip
    number = tl.arange(0, POINTS)
    shown = number < batch * count
    at = points + (number // count) * of_batch + (number % count) * of_point
    side = tl.arange(0, SIDE)
    x, y = tl.load(at, mask=shown, other=0.0), tl.load(at + of_axis, mask=shown, other=0.0)
    middle = (tl.min(tl.where(shown, x, 3.0e38), 0) + tl.max(tl.where(shown, x, -3.0e38), 0)) / 2
    start = tl.floor(middle - wide / 2 + 0.5).to(tl.int32)
    tl.store(columns + side, (tl.minimum(tl.maximum(start, 0), size - wide) + side).to(tl.int64), mask=side < wide)
    middle = (tl.min(tl.where(shown, y, 3.0e38), 0) + tl.max(tl.where(shown, y, -3.0e38), 0)) / 2
    start = tl.floor(middle - tall / 2 + 0.5).to(tl.int32)
    tl.store(rows + side, (tl.minimum(tl.maximum(start, 0), size - tall) + side).to(tl.int64), mask=side < tall)


@functools.partial(_kernel, pointers=2)
def _inverse(matrices, made, of_matrix, of_row, of_column, count, BLOCK: constexpr):
    number = tl.arange(0, BLOCK)
    shown = number < count
    at = matrices + number * of_matrix
    a, b = tl.load(at, mask=shown, other=1.0), tl.load(at + of_column, mask=shown, other=0.0)
    at += of_row
    c, d = tl.load(at, mask=shown, other=0.0), tl.load(at + of_column, mask=shown, other=1.0)
    area = a * d - b * c
    tl.store(made + number * 4, d / area, mask=shown)
    tl.store(made + number * 4 + 1, -b / area, mask=shown)
    tl.store(made + number * 4 + 2, -c / area, mask=shown)
    tl.store(made + number * 4 + 3, a / area, mask=shown)


@functools.partial(_kernel, pointers=3)
def _paste(
    frames, crop, place, of_frame, of_channel, of_row, of_column, of_place, of_line, of_number,
    area, across, height, width, COVER: constexpr, BLOCK: constexpr,
):  # fmt: skip
    batch = tl.program_id(1)
    pixel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    row, column = pixel // across, pixel % across
    affine = place + batch * of_place
    a, b, e = tl.load(affine), tl.load(affine + of_number), tl.load(affine + 2 * of_number)
    affine += of_line
    c, d, f = tl.load(affine), tl.load(affine + of_number), tl.load(affine + 2 * of_number)
    size = a * d - b * c
    dx, dy = column.to(tl.float32) + 0.5 - e, row.to(tl.float32) + 0.5 - f
    x, y = (d * dx - b * dy) / size - 0.5, (a * dy - c * dx) / size - 0.5
    shown = (pixel < area) & (x > -1) & (x < width) & (y > -1) & (y < height)
    left, top = tl.floor(x), tl.floor(y)
    x -= left
    y -= top
    left, top = left.to(tl.int32), top.to(tl.int32)
    near, far = shown & (left >= 0), shown & (left < width - 1)
    above, below = top >= 0, top < height - 1
    channels = 3
    if COVER:
        channels = 4
    corner = crop + batch * channels * height * width + top * width + left
    if COVER:
        at = corner + 3 * height * width
        high = (1 - x) * tl.load(at, mask=near & above, other=0.0) + x * tl.load(at + 1, mask=far & above, other=0.0)
        at += width
        low = (1 - x) * tl.load(at, mask=near & below, other=0.0) + x * tl.load(at + 1, mask=far & below, other=0.0)
        share = (1 - y) * high + y * low
    target = frames + batch * of_frame + row * of_row + column * of_column
    for _channel in tl.static_range(3):
        high = (1 - x) * tl.load(corner, mask=near & above, other=0.0)
        high += x * tl.load(corner + 1, mask=far & above, other=0.0)
        low = (1 - x) * tl.load(corner + width, mask=near & below, other=0.0)
        low += x * tl.load(corner + width + 1, mask=far & below, other=0.0)
        value = (1 - y) * high + y * low
        before = tl.load(target, mask=shown, other=0.0)
        if COVER:
            value = before + share * (value - before)
        else:
            value += before
        tl.store(target, value, mask=shown)
        corner += height * width
        target += of_channel


@functools.partial(_kernel, pointers=2)
def _bytes(images, made, area, BLOCK: constexpr):
    batch = tl.program_id(1)
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    shown = place < area
    for channel in tl.static_range(3):
        value = tl.load(images + (batch * 3 + channel) * area + place, mask=shown, other=0.0) * 255 + 0.5
        value = tl.minimum(tl.maximum(value, 0.0), 255.0)
        tl.store(made + (batch * area + place) * 3 + channel, value.to(tl.int32).to(tl.uint8), mask=shown)
