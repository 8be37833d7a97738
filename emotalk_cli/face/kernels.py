"""Compiled loops for frames made on the CPU: the z-buffer and distances to outlines.

They give what the torch code of `render` and `motion` gives, in a twentieth of its time and without its temporary
tensors. Compiled when first called (about a second), and kept for later runs where Python keeps its own bytecode,
or else in the user's cache.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numba
import numpy as np
import torch
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .. import system

# Reading between pixels averages them, which takes a third of the grain of skin, film or paper (variance of the
# Laplacian at half a pixel: 0.65 of the picture's): what bicubic adds to bilinear counts so much more where it is
# small, and less than half of that where it is more than `GRAIN_EDGE`, which would ring. Faces are then about
# as sharp as their pictures; without, sad ones have less than 0.8 of that.
GRAIN, GRAIN_EDGE = 0.5, 0.01
INSIDE = -1e-5  # barycentric slack, so that no pixel on a shared edge is lost
SAME_DEPTH = 1e-4  # px; of triangles nearer to each other than this, the lower number is seen


def _compiled(function: Callable) -> Callable:
    try:
        return numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:  # neither the package's folder nor the user's cache can be written
        if not numba.config.CACHE_DIR and (folder := _temporary_cache()) is not None:
            numba.config.CACHE_DIR = folder
            return _compiled(function)
        return numba.njit(nogil=True)(function)


def _temporary_cache() -> str | None:
    """A folder that is this user's alone, for compiled code; None where there cannot be one."""
    folder = os.path.join(tempfile.gettempdir(), f"emotalk-compiled-{getattr(os, 'getuid', lambda: 0)()}")
    try:
        os.makedirs(folder, 0o700, exist_ok=True)
        found = os.lstat(folder)
    except OSError:
        return None
    private = system.owned(found) and not (hasattr(os, "getuid") and found.st_mode & 0o077)
    return folder if private and stat.S_ISDIR(found.st_mode) else None


def _inlined(function: Callable) -> Callable:
    return numba.njit(inline="always")(function)


@_compiled
def rasterize(vertices, triangles, face, weights):
    """One image. vertices [V,3] float32 px, triangles [T,3]; fills face [H,W] (-1 where empty), weights [H,W,3]."""
    height, width = face.shape
    depth = np.empty((height, width), np.float32)
    depth[:] = np.inf
    face[:] = -1
    weights[:] = 0
    for t in range(len(triangles)):
        i, j, k = triangles[t]
        ax, ay, az = np.float64(vertices[i, 0]), np.float64(vertices[i, 1]), np.float64(vertices[i, 2])
        bx, by, bz = vertices[j, 0] - ax, vertices[j, 1] - ay, vertices[j, 2] - az
        cx, cy, cz = vertices[k, 0] - ax, vertices[k, 1] - ay, vertices[k, 2] - az
        left = max(0, int(np.ceil(ax + min(0.0, bx, cx) - 0.5)))
        right = min(width - 1, int(np.floor(ax + max(0.0, bx, cx) - 0.5)))
        top = max(0, int(np.ceil(ay + min(0.0, by, cy) - 0.5)))
        bottom = min(height - 1, int(np.floor(ay + max(0.0, by, cy) - 0.5)))
        area = bx * cy - cx * by
        if left > right or top > bottom or abs(area) < 1e-6:  # outside, or edge-on
            continue
        vx, vy, wx, wy = cy / area, cx / area, by / area, bx / area
        for row in range(top, bottom + 1):
            y = row + 0.5 - ay
            for column in range(left, right + 1):
                x = column + 0.5 - ax
                v = x * vx - y * vy
                w = y * wy - x * wx
                if v <= INSIDE or w <= INSIDE or 1 - v - w <= INSIDE:
                    continue
                z = az + v * bz + w * cz
                if z < depth[row, column] - SAME_DEPTH:
                    depth[row, column] = z
                    face[row, column] = t
                    weights[row, column, 0] = 1 - v - w
                    weights[row, column, 1] = v
                    weights[row, column, 2] = w


@_compiled
def interpolate(face, weights, triangles, values, image):
    """One image. values [V,C]; fills image [C,H,W], zero where empty."""
    height, width = face.shape
    image[:] = 0
    for row in range(height):
        for column in range(width):
            t = face[row, column]
            if t >= 0:
                i, j, k = triangles[t]
                u, v, w = weights[row, column]
                for c in range(values.shape[1]):
                    image[c, row, column] = u * values[i, c] + v * values[j, c] + w * values[k, c]


@_compiled
def resolve(flow, face, vertices, triangles, source, apart, limits, large, torn):
    """One image: where a flow [2,h,w] leaps, large [2,2h,2w] as triangles have it; torn [h,w] is 1 where it leaps more.

    flow: px of the large one; large: the same already enlarged. face [h,w]: triangles that are seen in it; vertices
    [V,3] large px; source [V,2] px that they are read from; apart [T]: 1 of triangles that are not told from others;
    limits [2]: px between neighbours from which on it leaps, and is torn.
    """
    height, width = face.shape
    marked = np.zeros((height, width), np.uint8)
    torn[:] = 0
    for row in range(height):
        for column in range(width):
            for axis in range(2):
                other, beside = row + axis, column + 1 - axis
                if other >= height or beside >= width:
                    continue
                leap = max(
                    abs(flow[0, row, column] - flow[0, other, beside]),
                    abs(flow[1, row, column] - flow[1, other, beside]),
                )
                if leap <= limits[0]:
                    continue
                marked[row, column] = marked[other, beside] = 1
                here, there = face[row, column], face[other, beside]
                plain = (here < 0 or apart[here] == 0) and (there < 0 or apart[there] == 0)
                if leap > limits[1] and plain:
                    torn[row, column] = torn[other, beside] = 1
    near = np.empty(9, np.int64)
    for row in range(height):
        for column in range(width):
            if marked[row, column] == 0:
                continue
            count = 0
            for i in range(max(row - 1, 0), min(row + 2, height)):
                for j in range(max(column - 1, 0), min(column + 2, width)):
                    t, known = face[i, j], face[i, j] < 0
                    for k in range(count):
                        known = known or near[k] == t
                    if not known:
                        near[count] = t
                        count += 1
            for part in range(4):
                down, right = 2 * row + part // 2, 2 * column + part % 2
                nearest = np.float64(np.inf)
                to_x, to_y = np.float64(flow[0, row, column]), np.float64(flow[1, row, column])
                for k in range(count):
                    a, b, c = triangles[near[k]]
                    ax, ay, az = np.float64(vertices[a, 0]), np.float64(vertices[a, 1]), np.float64(vertices[a, 2])
                    bx, by, bz = vertices[b, 0] - ax, vertices[b, 1] - ay, vertices[b, 2] - az
                    cx, cy, cz = vertices[c, 0] - ax, vertices[c, 1] - ay, vertices[c, 2] - az
                    area = bx * cy - cx * by
                    if abs(area) < 1e-6:
                        continue
                    x, y = right + 0.5 - ax, down + 0.5 - ay
                    v, w = (x * cy - y * cx) / area, (y * bx - x * by) / area
                    z = az + v * bz + w * cz
                    if v <= INSIDE or w <= INSIDE or 1 - v - w <= INSIDE or z >= nearest:
                        continue
                    nearest = z
                    to_x = (1 - v - w) * source[a, 0] + v * source[b, 0] + w * source[c, 0] - right - 0.5
                    to_y = (1 - v - w) * source[a, 1] + v * source[b, 1] + w * source[c, 1] - down - 0.5
                large[0, down, right], large[1, down, right] = to_x, to_y


@_compiled
def polygon_distance(points, grid, distance):
    """One image. points [N,2] of a closed polygon, grid [H,W,2]; fills distance [H,W], positive inside."""
    count, (height, width) = len(points), distance.shape
    across, down = np.empty(width, np.float32), np.empty(width, np.float32)
    nearest, side = np.empty(width, np.float32), np.empty(width, np.float32)
    for row in range(height):
        for column in range(width):  # a line of pixels at a time, which takes a processor's vectors
            across[column], down[column] = grid[row, column, 0], grid[row, column, 1]
            nearest[column], side[column] = np.float32(np.inf), -_ONE
        ax, ay = points[count - 1]
        for n in range(count):
            bx, by = points[n]
            ex, ey = bx - ax, by - ay
            short = _ONE / max(ex * ex + ey * ey, np.float32(1e-9))
            slope = ex / ey if ey != 0 else np.float32(0)
            for column in range(width):
                x, y = across[column] - ax, down[column] - ay
                along = min(max((x * ex + y * ey) * short, np.float32(0)), _ONE)
                dx, dy = x - along * ex, y - along * ey
                nearest[column] = min(nearest[column], dx * dx + dy * dy)
                crosses = ((ay > down[column]) != (by > down[column])) & (x < y * slope)
                side[column] = -side[column] if crosses else side[column]
            ax, ay = bx, by
        for column in range(width):
            distance[row, column] = side[column] * np.sqrt(max(nearest[column], np.float32(1e-12)))


@intrinsic
def _read(context, image, at, stride, x, y, horizontal, vertical, share):
    """Colour of a picture [N,4] float32 between its pixels: (R, G, B), four rows of four pixels at a time.

    at: number of the first pixel of the first row; stride: pixels of a row; x, y: how far between the two middle ones;
    horizontal, vertical: four weights each; share: of what they give, the rest is bilinear; grain (see `GRAIN`) takes
    more of it.
    """
    four = types.UniTuple(types.float32, 4)
    number = types.float32
    signature = types.UniTuple(number, 3)(image, types.int64, types.int64, number, number, four, four, number)

    def build(context, builder, signature, arguments):
        picture, at, stride, x, y, horizontal, vertical, share = arguments
        array = context.make_array(signature.args[0])(context, builder, picture)
        vector = ir.VectorType(ir.FloatType(), 4)
        fused = ("contract",)

        def plus(a, b, c):  # a * b + c
            return builder.fadd(builder.fmul(a, b, flags=fused), c, flags=fused)

        def spread(value):
            first = builder.insert_element(ir.Constant(vector, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
            return builder.shuffle_vector(
                first, ir.Constant(vector, ir.Undefined), ir.Constant(ir.VectorType(ir.IntType(32), 4), [0] * 4)
            )

        def between(low, high, part):
            return plus(part, builder.fsub(high, low), low)

        across, down = ([spread(builder.extract_value(w, k)) for k in range(4)] for w in (horizontal, vertical))
        hard, soft = None, []
        for row in range(4):
            start = builder.add(at, builder.mul(stride, ir.Constant(ir.IntType(64), row)))
            pixels = []
            for k in range(4):
                place = builder.mul(builder.add(start, ir.Constant(ir.IntType(64), k)), ir.Constant(ir.IntType(64), 4))
                pointer = builder.bitcast(builder.gep(array.data, [place]), vector.as_pointer())
                pixels.append(builder.load(pointer, align=4))
            line = builder.fmul(across[0], pixels[0])
            for k in (1, 2, 3):
                line = plus(across[k], pixels[k], line)
            hard = builder.fmul(down[0], line) if hard is None else plus(down[row], line, hard)
            if row in (1, 2):
                soft.append(between(pixels[1], pixels[2], spread(x)))
        soft = between(*soft, spread(y))
        detail = builder.fsub(hard, soft)
        one, edge = (ir.Constant(vector, [value] * 4) for value in (1.0, GRAIN_EDGE**-2))
        fine = builder.fdiv(ir.Constant(vector, [GRAIN] * 4), plus(builder.fmul(detail, detail), edge, one))
        colour = plus(builder.fadd(spread(share), fine), detail, soft)
        values = [builder.extract_element(colour, ir.Constant(ir.IntType(32), k)) for k in range(3)]
        return context.make_tuple(builder, signature.return_type, values)

    return signature, build


_ONE, _A = np.float32(1), np.float32(-0.75)  # numba takes a plain number for a double
_TWO, _THREE, _FOUR, _FIVE, _EIGHT = (np.float32(n) for n in (2, 3, 4, 5, 8))


@_inlined
def _near(t):
    return ((_A + _TWO) * t - (_A + _THREE)) * t * t + _ONE


@_inlined
def _far(t):
    return ((_A * t - _FIVE * _A) * t + _EIGHT * _A) * t - _FOUR * _A


@_inlined
def _keys(t):
    """Weights of four pixels for a place `t` (0..1) between the middle two: Keys' cubic, a = -0.75, as in torch."""
    return _far(t + _ONE), _near(t), _near(_ONE - t), _far(_TWO - t)


@_compiled
def _rim(image, height, width, left, top, x, y, share):
    """As `_read` reads, with edges repeated; left, top: the pixel before."""
    part = np.empty((16, 4), np.float32)
    for i in range(4):
        row = min(max(top + i - 1, 0), height - 1) * width
        for j in range(4):
            part[4 * i + j] = image[row + min(max(left + j - 1, 0), width - 1)]
    return _read(part, 0, 4, x, y, _keys(x), _keys(y), share)


@_inlined
def _at(image, height, width, x, y, share):
    """(R, G, B) of a picture [H*W,4] at px x, y (0 in the middle of the first), edges repeated; share: bicubic."""
    x = min(max(x, -_THREE), np.float32(width + 2))
    y = min(max(y, -_THREE), np.float32(height + 2))
    left, top = np.int64(np.floor(x)), np.int64(np.floor(y))
    x -= np.float32(left)
    y -= np.float32(top)
    if left < 1 or left >= width - 2 or top < 1 or top >= height - 2:
        colour = _rim(image, height, width, left, top, x, y, share)
    else:
        colour = _read(image, (top - 1) * width + left - 1, width, x, y, _keys(x), _keys(y), share)
    return colour


@_compiled
def warp(image, flow, cubic, warped):
    """One image [H*W,4] read at pixel + flow [2,H,W] px, edges repeated; fills warped [3,H,W].

    cubic [1]: the share of bicubic (Keys, a = -0.75, as in torch) in place of bilinear interpolation.
    """
    _, height, width = flow.shape
    for row in range(height):
        for column in range(width):
            dx, dy = flow[0, row, column], flow[1, row, column]
            if dx == 0 and dy == 0:
                pixel = image[row * width + column]
                warped[0, row, column], warped[1, row, column], warped[2, row, column] = pixel[0], pixel[1], pixel[2]
            else:
                x, y = np.float32(column) + dx, np.float32(row) + dy
                red, green, blue = _at(image, height, width, x, y, cubic[0])
                warped[0, row, column], warped[1, row, column], warped[2, row, column] = red, green, blue


@_compiled
def _mix(image, flow, height, width, row, column, apart, cubic, warped):
    """A pixel of `smooth`."""
    dx, dy = flow[0, row, column], flow[1, row, column]
    x, y, far = dx, dy, apart * apart
    first, last, left, right = max(row - 1, 0), min(row + 2, height), max(column - 1, 0), min(column + 2, width)
    for i in range(first, last):
        for j in range(left, right):
            away = (flow[0, i, j] - dx) ** 2 + (flow[1, i, j] - dy) ** 2
            if away > far:
                x, y, far = flow[0, i, j], flow[1, i, j], away
    share = 0
    for i in range(first, last):
        for j in range(left, right):
            here = (flow[0, i, j] - dx) ** 2 + (flow[1, i, j] - dy) ** 2
            if (flow[0, i, j] - x) ** 2 + (flow[1, i, j] - y) ** 2 < here:
                share += (2 - abs(i - row)) * (2 - abs(j - column))
    if share > 0:
        part = np.float32(share) / np.float32(16)
        colour = _at(image, height, width, np.float32(column) + x, np.float32(row) + y, cubic)
        for c in range(3):
            warped[c, row, column] += part * (colour[c] - warped[c, row, column])


@_compiled
def smooth(image, flow, torn, apart, cubic, warped):
    """One image [H*W,4], as `warp` reads it into warped [3,H,W], where flow [2,H,W] px is torn [H/2,W/2]: there pixels
    take, at their own place, what lies on the other side, as far as the nine around them do. apart [1]: px by which the
    other side's flow differs at least."""
    _, height, width = flow.shape
    for cell_row in range(torn.shape[0]):
        for cell_column in range(torn.shape[1]):
            if torn[cell_row, cell_column] > 0:
                for part in range(4):
                    row, column = 2 * cell_row + part // 2, 2 * cell_column + part % 2
                    _mix(image, flow, height, width, row, column, apart[0], cubic[0], warped)


@_compiled
def double(small, large):
    """One image [C,h,w] enlarged to [C,2h,2w]: bilinear, edges repeated."""
    channels, height, width = small.shape
    line = np.empty(width, np.float32)
    near, far = np.float32(0.75), np.float32(0.25)
    for c in range(channels):
        for row in range(2 * height):
            own = row // 2
            other = min(max(own + (1 if row % 2 else -1), 0), height - 1)
            for column in range(width):
                line[column] = near * small[c, own, column] + far * small[c, other, column]
            large[c, row, 0], large[c, row, 2 * width - 1] = line[0], line[width - 1]
            for column in range(1, width):
                large[c, row, 2 * column - 1] = near * line[column - 1] + far * line[column]
                large[c, row, 2 * column] = near * line[column] + far * line[column - 1]


@_compiled
def halve(large, small):
    """One image [C,2h,2w] reduced to [C,h,w]: means of 2x2."""
    channels, height, width = small.shape
    for c in range(channels):
        for row in range(height):
            for column in range(width):
                above = large[c, 2 * row, 2 * column] + large[c, 2 * row + 1, 2 * column]
                beside = large[c, 2 * row, 2 * column + 1] + large[c, 2 * row + 1, 2 * column + 1]
                small[c, row, column] = (above + beside) * np.float32(0.25)


@_compiled
def to_bytes(image, pixels):
    """One image [3,H,W] 0..1 as uint8 [H,W,3]."""
    _, height, width = image.shape
    for row in range(height):
        for column in range(width):
            for c in range(3):
                value = image[c, row, column] * np.float32(255) + np.float32(0.5)
                pixels[row, column, c] = np.uint8(min(max(value, np.float32(0)), np.float32(255)))


@_inlined
def _clamped(value):
    return min(max(value, np.float32(0)), np.float32(1))


@_inlined
def _change(red, green, blue, light, luma, headroom):
    bright = red * luma[0] + green * luma[1] + blue * luma[2]
    return min(max(_TWO - _TWO * bright, np.float32(0)), headroom) * light if light > 0 else light


@_compiled
def skin(image, hue, luma, fixed, corner, flow, warped, ratio, interior, mouth, psi, painted, near, frame):
    """One frame [3,H,W] 0..1: the warped picture lit and, near the face, moved on and painted by a generator.

    image [H*W,4]: the picture; hue, luma [3]: shares of a change of light, and of brightness, that R, G, B take;
    fixed [2]: the share of bicubic, and the headroom of dark skin (see `geometry.maps.relight`); flow [2,H,W] px and
    warped, interior [3,H,W], ratio, mouth [1,H,W] as of `Geometry`; psi [2,h,w] px, painted [3,h,w] and near [1,h,w]
    at half resolution, in a part of the frame that begins at corner [2] (row, column).
    """
    _, height, width = flow.shape
    rows, columns = near.shape[1:]
    top, left = corner[0], corner[1]
    maps = np.empty((6, columns), np.float32)
    large = np.empty((6, 2 * columns), np.float32)
    most, least = np.float32(0.75), np.float32(0.25)
    for row in range(height):
        inside = top <= row < top + 2 * rows
        if inside:
            own = (row - top) // 2
            other = min(max(own + (1 if (row - top) % 2 else -1), 0), rows - 1)
            for column in range(columns):
                maps[0, column] = most * psi[0, own, column] + least * psi[0, other, column]
                maps[1, column] = most * psi[1, own, column] + least * psi[1, other, column]
                maps[2, column] = most * painted[0, own, column] + least * painted[0, other, column]
                maps[3, column] = most * painted[1, own, column] + least * painted[1, other, column]
                maps[4, column] = most * painted[2, own, column] + least * painted[2, other, column]
                maps[5, column] = most * near[0, own, column] + least * near[0, other, column]
            for c in range(6):
                large[c, 0], large[c, 2 * columns - 1] = maps[c, 0], maps[c, columns - 1]
                for column in range(1, columns):
                    large[c, 2 * column - 1] = most * maps[c, column - 1] + least * maps[c, column]
                    large[c, 2 * column] = most * maps[c, column] + least * maps[c, column - 1]
        for column in range(width):
            light, within = ratio[0, row, column] - _ONE, mouth[0, row, column]
            k = column - left
            share = large[5, k] if inside and 0 <= k < 2 * columns else np.float32(0)
            if share < 1:
                red, green, blue = warped[0, row, column], warped[1, row, column], warped[2, row, column]
                change = _change(red, green, blue, light, luma, fixed[1])
                for c in range(3):
                    value = _clamped(warped[c, row, column] * (_ONE + change * hue[c]))
                    frame[c, row, column] = value + within * (interior[c, row, column] - value)
            if share > 0:
                x = np.float32(column) + flow[0, row, column] + large[0, k]
                y = np.float32(row) + flow[1, row, column] + large[1, k]
                colour = _at(image, height, width, x, y, fixed[0])
                change = _change(colour[0], colour[1], colour[2], light, luma, fixed[1])
                for c in range(3):
                    value = _clamped(colour[c] * (_ONE + change * hue[c]))
                    value += within * (interior[c, row, column] - value) + large[2 + c, k]
                    before = frame[c, row, column]
                    frame[c, row, column] = value if share >= 1 else before + share * (value - before)


def usable(*tensors: torch.Tensor) -> bool:
    """Whether the compiled loops may stand in: on the CPU, in single precision, without gradients; torch.compile, which
    makes loops of its own, cannot look into them."""
    wanted = torch.is_grad_enabled() and any(t.requires_grad for t in tensors)
    return (
        not wanted
        and not torch.compiler.is_compiling()
        and all(t.device.type == "cpu" and t.dtype in (torch.float32, torch.int64) for t in tensors)
    )


def each(kernel: Callable, count: int, *arguments: torch.Tensor) -> None:
    """Call a kernel for each of `count` images, on as many threads as torch uses.

    Arguments have a leading dimension of `count`, or of 1 when they serve all.
    """
    arrays = [t.detach().contiguous().numpy() for t in arguments]

    def one(n: int) -> None:
        kernel(*(a[n if len(a) > 1 else 0] for a in arrays))

    if count == 1 or torch.get_num_threads() == 1:
        for n in range(count):
            one(n)
    else:
        list(_pool().map(one, range(count)))


def warm() -> None:
    """Load (or compile) all loops that frames take, so that the first frame does not wait for them."""
    grid, plane = np.zeros((1, 1, 2), np.float32), np.zeros((1, 1, 1), np.float32)
    picture, flow, image = (
        np.zeros((1, 4), np.float32),
        np.zeros((2, 1, 1), np.float32),
        np.zeros((3, 1, 1), np.float32),
    )
    face, one = np.zeros((1, 1), np.int64), np.ones(1, np.float32)
    points, triangle = np.zeros((3, 3), np.float32), np.zeros((1, 3), np.int64)
    rasterize(points, triangle, face, np.zeros((1, 1, 3), np.float32))
    interpolate(face, np.zeros((1, 1, 3), np.float32), triangle, points, image)
    polygon_distance(points[:, :2].copy(), grid, plane[0])
    warp(picture, flow, one, image)
    double(plane, np.zeros((1, 2, 2), np.float32))
    wide, two = np.zeros((2, 2, 2), np.float32), np.ones(2, np.float32)
    resolve(flow, face, points, triangle, points[:, :2].copy(), np.zeros(1, np.int64), two, wide, plane[0])
    smooth(np.zeros((4, 4), np.float32), wide, plane[0], one, one, np.zeros((3, 2, 2), np.float32))
    halve(np.zeros((1, 2, 2), np.float32), plane)
    to_bytes(image, np.zeros((1, 1, 3), np.uint8))
    three, corner = np.ones(3, np.float32), np.zeros(2, np.int64)
    skin(picture, three, three, two, corner, flow, image, plane, image, plane, flow, image, plane, np.zeros_like(image))


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(min(torch.get_num_threads(), os.cpu_count() or 1), "emotalk-kernel")
