"""Compiled loops for frames made on the CPU: the z-buffer and distances to outlines.

They give what the torch code of `render` and `motion` gives, in a twentieth of its time and without its temporary
tensors. Compiled when first called (about a second), and kept for later runs where Python keeps its own bytecode,
or else in the user's cache.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numba
import numpy as np
import torch

INSIDE = -1e-5  # barycentric slack, so that no pixel on a shared edge is lost
SAME_DEPTH = 1e-4  # px; of triangles nearer to each other than this, the lower number is seen


def _compiled(function: Callable) -> Callable:
    try:
        return numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:  # there is nowhere to keep it
        return numba.njit(nogil=True)(function)


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
def polygon_distance(points, grid, distance):
    """One image. points [N,2] of a closed polygon, grid [H,W,2]; fills distance [H,W], positive inside."""
    count = len(points)
    for row in range(grid.shape[0]):
        for column in range(grid.shape[1]):
            x, y = grid[row, column]
            nearest, inside = np.inf, False
            ax, ay = points[count - 1]
            for n in range(count):
                bx, by = points[n]
                ex, ey = bx - ax, by - ay
                length = max(ex * ex + ey * ey, 1e-9)
                along = min(max(((x - ax) * ex + (y - ay) * ey) / length, 0.0), 1.0)
                dx, dy = x - ax - along * ex, y - ay - along * ey
                nearest = min(nearest, dx * dx + dy * dy)
                if (ay > y) != (by > y) and x < ax + (y - ay) / ey * ex:
                    inside = not inside
                ax, ay = bx, by
            gap = np.sqrt(max(nearest, 1e-12))
            distance[row, column] = gap if inside else -gap


@_compiled
def warp(image, flow, cubic, warped):
    """One image [C,H,W] read at pixel + flow [2,H,W] px, edges repeated; fills warped [C,H,W].

    cubic [1]: the share of bicubic (Keys, a = -0.75, as in torch) in place of bilinear interpolation.
    """
    channels, height, width = image.shape
    one, a, share = np.float32(1), np.float32(-0.75), cubic[0]
    weights = np.empty((2, 4), np.float32)
    rows, columns = np.empty(4, np.int64), np.empty(4, np.int64)
    for row in range(height):
        for column in range(width):
            dx, dy = flow[0, row, column], flow[1, row, column]
            if dx == 0 and dy == 0:
                for c in range(channels):
                    warped[c, row, column] = image[c, row, column]
                continue
            x = min(max(column + dx, np.float32(-3)), np.float32(width + 2))
            y = min(max(row + dy, np.float32(-3)), np.float32(height + 2))
            left, top = int(np.floor(x)), int(np.floor(y))
            for k in range(2):
                t = x - np.float32(left) if k == 0 else y - np.float32(top)
                for side in range(2):  # the two nearer and the two farther pixels
                    near = t if side == 0 else one - t
                    far = near + one
                    weights[k, 1 + side] = ((a + 2) * near - (a + 3)) * near * near + one
                    weights[k, 3 * side] = ((a * far - 5 * a) * far + 8 * a) * far - 4 * a
            for k in range(4):
                columns[k] = min(max(left + k - 1, 0), width - 1)
                rows[k] = min(max(top + k - 1, 0), height - 1)
            x -= np.float32(left)
            y -= np.float32(top)
            for c in range(channels):
                hard = np.float32(0)
                for i in range(4):
                    line = np.float32(0)
                    for j in range(4):
                        line += weights[0, j] * image[c, rows[i], columns[j]]
                    hard += weights[1, i] * line
                above = image[c, rows[1], columns[1]]
                above += x * (image[c, rows[1], columns[2]] - above)
                below = image[c, rows[2], columns[1]]
                below += x * (image[c, rows[2], columns[2]] - below)
                soft = above + y * (below - above)
                warped[c, row, column] = soft + share * (hard - soft)


def usable(*tensors: torch.Tensor) -> bool:
    """Whether the compiled loops may stand in: on the CPU, in single precision, without gradients."""
    wanted = torch.is_grad_enabled() and any(t.requires_grad for t in tensors)
    return not wanted and all(t.device.type == "cpu" and t.dtype in (torch.float32, torch.int64) for t in tensors)


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


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(min(torch.get_num_threads(), os.cpu_count() or 1), "emotalk-kernel")
