"""Rendering: a vectorised z-buffer rasteriser in torch, and an optional pytorch3d backend behind the same call;
reading pictures between pixels, and distances to outlines.

Visibility is decided without gradients; barycentric weights are then differentiable in the vertices, so
whatever is interpolated with them carries gradients to shape, expression and pose. On the CPU, where no gradient
is asked for, compiled loops (`kernels`) do the same faster.
"""

from __future__ import annotations

import functools
import math
from typing import Any, overload

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import EmoTalkError
from ..numeric import fixed
from . import card, kernels

BACKENDS = ("builtin", "torch", "pytorch3d")  # builtin: compiled loops or torch, whichever suits
EDGE = 1e-8  # pytorch3d's blur radius, squared NDC: its triangles leave out their own edges, which would be holes
CPU = torch.device("cpu")
GROWTH, TRAVEL = 1.25, 24  # most by which an eye or a mouth grows, and px by which it moves within a batch
# px by which flows of neighbours of half size differ from which on they are looked at again, and lie on different
# things; and of neighbours of full size, from which on these do
LEAP, TEAR, OTHER = 2.0, 3.0, 1.5
CUBIC = 0.75  # bilinear reading loses a third of a face's sharpness (variance of its Laplacian), bicubic adds a tenth


_chosen = ["builtin"]


def choose(backend: str) -> None:
    """Rasterise by `backend` from now on, in the whole process. Raises EmoTalkError if it is not installed."""
    if backend == "pytorch3d":
        _pytorch3d()
    _chosen[0] = backend


def rasterize(
    vertices: Tensor, triangles: Tensor, height: int, width: int, backend: str | None = None
) -> tuple[Tensor, Tensor]:
    """Which triangle is nearest at every pixel centre, and where in it.

    vertices: [B,V,3] px (x right, y down, z away; pixel i covers [i, i+1)); triangles: [T,3] long.
    Returns face [B,height,width] long (-1 where empty) and barycentric weights [B,height,width,3]
    (zero where empty). Orthographic; both triangle orientations are drawn. backend: one of `BACKENDS`, by default the
    one that `choose` named.
    """
    backend = backend or _chosen[0]
    if backend == "pytorch3d":
        return _rasterize_pytorch3d(vertices, triangles, height, width)
    if backend not in BACKENDS:
        raise EmoTalkError(f"Unknown renderer {backend!r}; choose one of {', '.join(BACKENDS)}.")
    if backend == "builtin" and kernels.usable(vertices):
        face = torch.empty(len(vertices), height, width, dtype=torch.long)
        weights = torch.empty(len(vertices), height, width, 3)
        kernels.each(kernels.rasterize, len(vertices), vertices, triangles[None], face, weights)
        return face, weights
    if backend == "builtin" and card.usable(vertices):
        return card.rasterize(vertices, triangles, height, width)
    planes = _planes(vertices, triangles)
    with torch.no_grad():
        face = _visible(vertices.detach(), triangles, planes.detach(), height, width)
    row = face.clamp_min(0) + torch.arange(len(face), device=face.device)[:, None, None] * len(triangles)
    plane = planes.flatten(0, 1).index_select(0, row.flatten()).reshape(*row.shape, 9)
    x = torch.arange(width, device=face.device, dtype=vertices.dtype) + 0.5
    y = torch.arange(height, device=face.device, dtype=vertices.dtype)[:, None] + 0.5
    v = plane[..., 0] * x + plane[..., 1] * y + plane[..., 2]
    w = plane[..., 3] * x + plane[..., 4] * y + plane[..., 5]
    return face, torch.stack([1 - v - w, v, w], -1) * (face >= 0)[..., None]


def interpolate(face: Tensor, weights: Tensor, triangles: Tensor, values: Tensor) -> Tensor:
    """Per-vertex values [V,C] or [B,V,C] at every pixel of a raster: [B,C,H,W], zero where empty."""
    if kernels.usable(weights, values):
        image = torch.empty(len(face), values.shape[-1], *face.shape[1:])
        table = values if values.dim() == 3 else values[None]
        kernels.each(kernels.interpolate, len(face), face, weights, triangles[None], table, image)
        return image
    if card.usable(weights, values):
        return card.interpolate(face, weights, triangles, values)
    count, row = len(triangles), face.clamp_min(0)
    if values.dim() == 3:
        row = row + torch.arange(len(face), device=face.device)[:, None, None] * count
    channels = values.shape[-1]
    table = values[..., triangles, :].reshape(-1, 3 * channels)
    picked = table.index_select(0, row.flatten()).reshape(*face.shape, 3, channels)
    return torch.einsum("bhwk,bhwkc->bchw", weights, picked)


def enlarged(
    flow: Tensor, face: Tensor, vertices: Tensor, triangles: Tensor, source: Tensor, apart: Tensor
) -> tuple[Tensor, Tensor]:
    """A flow [B,2,h,w] that was made at half size, as [B,2,2h,2w] px; and where it is torn: [B,1,h,w], 0 or 1.

    Between pixels that lie on different things an average would point to neither: there flow is what the nearest
    triangle of those around says. face [B,h,w]: the triangle that is seen, -1 where none is; vertices [B,V,3] px of the
    large flow; triangles [T,3]; source [V,2] px of the picture; apart [T] long: 1 of triangles that tear nothing.
    """
    if kernels.usable(flow, vertices):
        large, torn = doubled(flow), torch.empty(len(flow), 1, *flow.shape[2:])
        limits = fixed([LEAP, TEAR], flow)
        tables = triangles[None], source[None], apart[None], limits[None]
        kernels.each(kernels.resolve, len(flow), flow, face, vertices, *tables, large, torn[:, 0])
        return large, torn
    if card.usable(flow, vertices):
        return card.enlarged(flow, face, vertices, triangles, source, apart, LEAP, TEAR)
    return _enlarged(flow, face, vertices, triangles, source, apart)


def _enlarged(
    flow: Tensor, face: Tensor, vertices: Tensor, triangles: Tensor, source: Tensor, apart: Tensor
) -> tuple[Tensor, Tensor]:
    leaps, tears = [], []
    whole = (face < 0) | (apart[face.clamp_min(0)] == 0)
    for axis in (1, 2):
        length = face.shape[axis] - 1
        leap = (flow.narrow(axis + 1, 1, length) - flow.narrow(axis + 1, 0, length)).abs().amax(1)
        both = whole.narrow(axis, 1, length) & whole.narrow(axis, 0, length)
        leaps.append(leap > LEAP)
        tears.append((leap > TEAR) & both)
    marked, torn = (_both_sides(*found) for found in (leaps, tears))
    planes = _planes(vertices, triangles).flatten(0, 1)
    values = source[triangles].flatten(1)
    height, width = face.shape[1:]
    x, y = pixel_grid(2 * height, 2 * width, flow.device).unbind(2)
    first = torch.arange(len(face), device=face.device)[:, None, None] * len(triangles)
    found = flow.repeat_interleave(2, 2).repeat_interleave(2, 3)
    nearest = torch.full_like(found[:, 0], torch.inf)
    around = F.pad(face + 1, (1, 1, 1, 1)) - 1  # -1 beyond the rim
    for down in range(3):
        for right in range(3):
            near = around[:, down : down + height, right : right + width]
            near = near.repeat_interleave(2, 1).repeat_interleave(2, 2)
            row = near.clamp_min(0)
            plane = planes[(row + first).flatten()].reshape(*row.shape, 9)
            v = plane[..., 0] * x + plane[..., 1] * y + plane[..., 2]
            w = plane[..., 3] * x + plane[..., 4] * y + plane[..., 5]
            z = plane[..., 6] * x + plane[..., 7] * y + plane[..., 8]
            within = (torch.minimum(torch.minimum(v, w), 1 - v - w) > kernels.INSIDE) & (near >= 0) & (z < nearest)
            corners = values[row.flatten()].reshape(*row.shape, 3, 2)
            at = torch.einsum("bhwk,bhwkc->bchw", torch.stack([1 - v - w, v, w], -1), corners)
            found = torch.where(within[:, None], at - torch.stack([x, y]), found)
            nearest = torch.where(within, z, nearest)
    marked = marked.repeat_interleave(2, 2).repeat_interleave(2, 3)
    return torch.where(marked > 0, found, doubled(flow)), torn


def _both_sides(rows: Tensor, columns: Tensor) -> Tensor:
    """1 on either side [B,1,h,w] of what was found between rows [B,h-1,w], and between columns [B,h,w-1]."""
    sides = [F.pad(rows.float(), m) for m in ((0, 0, 0, 1), (0, 0, 1, 0))]
    sides += [F.pad(columns.float(), m) for m in ((0, 1), (1, 0))]
    return torch.stack(sides).amax(0)[:, None]


def smoothed(warped: Tensor, image: Tensor, flow: Tensor, torn: Tensor, loops: Tensor | None = None) -> Tensor:
    """`sample` of an image [1,3,H,W] by a flow [B,2,H,W] px without steps where that is torn [B,1,H/2,W/2], in place:
    pixels there take of both its sides what lies at their place."""
    if kernels.usable(warped, image, flow):
        whole = packed(image) if loops is None else loops
        limits = flow.new_tensor([[OTHER]]), flow.new_tensor([[CUBIC]])
        made = warped if warped.is_contiguous() else warped.contiguous()
        kernels.each(kernels.smooth, len(flow), whole, flow, torn[:, 0], *limits, made)
        return made
    if card.usable(warped, image, flow):
        other, share = card.beside(flow, torn, OTHER)
    else:
        other, share = _beside(flow, torn)
    return warped.lerp_(sample(image, other), share)


def _beside(flow: Tensor, torn: Tensor) -> tuple[Tensor, Tensor]:
    """The flow [B,2,H,W] of what lies on the other side of a tear, and its share of what is around [B,1,H,W]."""
    height, width = flow.shape[2:]
    around = F.pad(flow, (1, 1, 1, 1), value=torch.nan)  # beyond the rim nothing is another one
    near = [around[:, :, i : i + height, j : j + width] for i in range(3) for j in range(3)]
    other, far = flow, torch.full_like(flow[:, :1], OTHER**2)
    for tap in near:
        away = (tap - flow).square().sum(1, keepdim=True)
        other, far = torch.where(away > far, tap, other), torch.where(away > far, away, far)
    share = torch.zeros_like(far)
    for number, tap in enumerate(near):
        weight = (2 - abs(number // 3 - 1)) * (2 - abs(number % 3 - 1)) / 16
        here, there = ((tap - side).square().sum(1, keepdim=True) for side in (flow, other))
        share = share + weight * (there < here)
    return other, share * torn.repeat_interleave(2, 2).repeat_interleave(2, 3)


def pixel_grid(height: int, width: int, device: torch.device | str | None = None) -> Tensor:
    """Pixel centres [height,width,2] (x, y), made once, and not to be changed."""
    device = CPU if device is None else torch.device(device)
    return (_pixel_grid if torch.compiler.is_compiling() else _kept_grid)(height, width, device)


def _pixel_grid(height: int, width: int, device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        y, x = torch.meshgrid(
            torch.arange(height, device=device) + 0.5, torch.arange(width, device=device) + 0.5, indexing="ij"
        )
        return torch.stack([x, y], -1)


_kept_grid = functools.lru_cache(256)(_pixel_grid)


def packed(image: Tensor) -> Tensor:
    """A picture [B,3,H,W] as compiled loops read it: [B,H*W,4]."""
    return F.pad(image, (0, 0, 0, 0, 0, 1)).flatten(2).transpose(1, 2).contiguous()


def doubled(image: Tensor) -> Tensor:
    """Bilinear enlargement of [B,C,h,w] to [B,C,2h,2w]."""
    if kernels.usable(image) and image.dtype == torch.float32:
        large = image.new_empty(*image.shape[:2], 2 * image.shape[2], 2 * image.shape[3])
        kernels.each(kernels.double, len(image), image, large)
        return large
    return F.interpolate(image, scale_factor=2, mode="bilinear", align_corners=False)


def halved(image: Tensor) -> Tensor:
    """Means of 2x2 cells of [B,C,2h,2w]: [B,C,h,w]."""
    if kernels.usable(image) and image.dtype == torch.float32:
        small = image.new_empty(*image.shape[:2], image.shape[2] // 2, image.shape[3] // 2)
        kernels.each(kernels.halve, len(image), image, small)
        return small
    if waits(image):
        return F.avg_pool2d(image, 2)
    rows = image[..., ::2, :] + image[..., 1::2, :]
    return (rows[..., ::2] + rows[..., 1::2]) / 4


def sample(image: Tensor, flow: Tensor, loops: Tensor | None = None) -> Tensor:
    """T(φ, image): image [B or 1,C,H,W] read at pixel + flow [B,2,h,w] px (h, w may differ from H, W by scale).

    Not clamped: `CUBIC` may overshoot at edges. loops: the image as `packed` has it, of who reads it many times.
    """
    height, width = flow.shape[-2:]
    if image.shape[1:] == (3, height, width) and kernels.usable(image, flow):
        warped = torch.empty(len(flow), 3, height, width)
        whole = packed(image) if loops is None else loops
        kernels.each(kernels.warp, len(flow), whole, flow, flow.new_tensor([[CUBIC]]), warped)
        return warped
    if card.usable(image, flow):
        return card.read(image, flow, (image.shape[3] / width, image.shape[2] / height), 1.0, cubic=CUBIC)
    limit = fixed([width, height], flow)
    at = (pixel_grid(height, width, flow.device) + flow.permute(0, 2, 3, 1)) / limit * 2 - 1
    return sharp_sample(image.expand(len(flow), -1, -1, -1), at)


def sharp_sample(image: Tensor, grid: Tensor) -> Tensor:
    """`F.grid_sample` at the sharpness of the picture itself: `CUBIC` bicubic, more of its grain (`kernels.GRAIN`), the
    rest bilinear. Not clamped."""
    if card.usable(image, grid):
        scale = image.shape[3] / 2, image.shape[2] / 2
        return card.read(image, grid.permute(0, 3, 1, 2), scale, shift=1.0, cubic=CUBIC)
    soft, hard = (
        F.grid_sample(image, grid, mode, padding_mode="border", align_corners=False) for mode in ("bilinear", "bicubic")
    )
    detail = hard - soft
    return soft + detail * (CUBIC + kernels.GRAIN / (1 + (detail / kernels.GRAIN_EDGE).square()))


def face_square(images: Tensor, landmarks: Tensor, size: int, margin: float) -> Tensor:
    """Squares around faces, differentiable: images [B,3,H,W], landmarks [B,N,2+] px -> [B,3,size,size].

    margin: side / longer side of the landmarks' box.
    """
    low, high = landmarks[..., :2].amin(1), landmarks[..., :2].amax(1)
    centre, half = (low + high) / 2, margin / 2 * (high - low).amax(1)
    unit = (torch.arange(size, device=images.device) + 0.5) / size * 2 - 1
    x, y = centre[:, :1] + half[:, None] * unit, centre[:, 1:] + half[:, None] * unit
    height, width = images.shape[-2:]
    across, down = x / width * 2 - 1, y / height * 2 - 1
    shrink = int(2 * float(half.detach().min()) / size)
    if shrink > 1:  # or pixels between the samples would not count
        images = F.interpolate(images, (height // shrink, width // shrink), mode="area")
    grid = torch.stack([across[:, None].expand(-1, size, -1), down[:, :, None].expand(-1, -1, size)], -1)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def polygon_distance(points: Tensor, grid: Tensor) -> Tensor:
    """Signed distance (px, positive inside) of grid [H,W,2] to closed polygons [B,N,2]: [B,H,W]."""
    if kernels.usable(points, grid):
        distance = torch.empty(len(points), *grid.shape[:2])
        kernels.each(kernels.polygon_distance, len(points), points, grid[None], distance)
        return distance
    if card.usable(points, grid):
        return card.polygon_distance(points, grid)
    a, b = points, points.roll(-1, 1)
    edge = b - a
    to = grid[None, :, :, None] - a[:, None, None]
    along = ((to * edge[:, None, None]).sum(-1) / edge.square().sum(-1).clamp_min(1e-9)[:, None, None]).clamp(0, 1)
    gap = (to - along[..., None] * edge[:, None, None]).square().sum(-1).amin(-1).clamp_min(1e-12).sqrt()
    y, ya, yb = grid[None, :, :, None, 1], a[:, None, None, :, 1], b[:, None, None, :, 1]
    crosses = (ya > y) != (yb > y)
    at = a[:, None, None, :, 0] + (y - ya) / (yb - ya + (yb == ya)) * edge[:, None, None, :, 0]
    inside = (crosses & (grid[None, :, :, None, 0] < at)).sum(-1) % 2 == 1
    return torch.where(inside, gap, -gap)


def inverse(matrices: Tensor) -> Tensor:
    """Of matrices [B,2,2], without asking a card whether they have one."""
    if card.usable(matrices):
        return card.inverse(matrices)
    (a, b), (c, d) = (row.unbind(-1) for row in matrices.unbind(-2))
    swapped = torch.stack([torch.stack([d, -b], -1), torch.stack([-c, a], -1)], -2)
    return swapped / (a * d - b * c)[..., None, None]


def waits(tensor: Tensor) -> bool:
    """Whether its values are worth more than what depends on them: the computer would have to wait for a card."""
    return tensor.device != CPU


def span(line: Tensor) -> tuple[int, int] | None:
    """The first element above 0 of a line, and what follows the last; None without one."""
    hit = (line > 0).nonzero()[:, 0]
    return (int(hit[0]), int(hit[-1]) + 1) if len(hit) else None


@overload
def boxed(points: Tensor, margin: int, size: int) -> tuple[slice, slice]: ...


@overload
def boxed(
    points: Tensor, margin: int, size: int, extent: tuple[int, int] | None
) -> tuple[slice, slice] | tuple[Tensor, Tensor]: ...


def boxed(
    points: Tensor, margin: int, size: int, extent: tuple[int, int] | None = None
) -> tuple[slice, slice] | tuple[Tensor, Tensor]:
    """Rows and columns of a picture of `size` px that hold points [B,N,2+] px and a margin.

    extent: height and width of the box where the card would have to be waited for (see `extent_of`): it lies around the
    points' middle, and its rows [h,1] and columns [w] are numbers on the card, which index as slices do.
    """
    if extent is not None and waits(points):
        if card.usable(points):
            return card.box(points, extent, size)
        middle = (points.amin((0, 1)) + points.amax((0, 1))) / 2
        starts = [(middle[k] - n / 2).round().long().clamp(0, size - n) for k, n in ((1, extent[0]), (0, extent[1]))]
        rows, columns = (s + torch.arange(n, device=points.device) for s, n in zip(starts, extent, strict=True))
        return rows[:, None], columns
    low = (points.amin((0, 1)) - margin).floor().long().clamp(0, size - 1).tolist()
    high = (points.amax((0, 1)) + margin).ceil().long().clamp(1, size).tolist()
    return slice(low[1], max(high[1], low[1] + 1)), slice(low[0], max(high[0], low[0] + 1))


def extent_of(points: Tensor, margin: int, size: int) -> tuple[int, int]:
    """Height and width of a box that holds an eye or a mouth, at rest points [N,2+] px, however it opens and moves
    within a few frames, and a margin."""
    width, height = (points[:, :2].amax(0) - points[:, :2].amin(0)).tolist()
    sides = (max(GROWTH * height, width), GROWTH * width)
    return tuple(min(8 * math.ceil((side + 2 * margin + TRAVEL) / 8), size) for side in sides)


def _planes(vertices: Tensor, triangles: Tensor) -> Tensor:
    """Barycentric v and w and depth z of each triangle as planes over the image: [B,T,9], a·x + b·y + c each."""
    (ax, ay, az), (bx, by, bz), (cx, cy, cz) = (vertices[:, triangles[:, i]].unbind(-1) for i in range(3))
    area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
    area = torch.where(area.abs() < 1e-6, torch.full_like(area, torch.inf), area)  # edge-on: nowhere inside
    v = [(cy - ay) / area, -(cx - ax) / area]
    w = [-(by - ay) / area, (bx - ax) / area]
    v.append(torch.where(area.isinf(), -1.0, -v[0] * ax - v[1] * ay))
    w.append(torch.where(area.isinf(), -1.0, -w[0] * ax - w[1] * ay))
    z = [v[i] * (bz - az) + w[i] * (cz - az) for i in range(3)]
    z[2] = z[2] + az
    return torch.stack([*v, *w, *z], -1)


def _extents(vertices: Tensor, triangles: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """First and last pixel (x, y) of each triangle's bounding box in the picture: [B,T,2] long each."""
    a, b, c = (vertices[:, triangles[:, i], :2] for i in range(3))
    first = (torch.minimum(torch.minimum(a, b), c) - 0.5).ceil().long().clamp_min(0)
    last = (torch.maximum(torch.maximum(a, b), c) - 0.5).floor().long()
    return first, torch.minimum(last, fixed([width - 1, height - 1], last))


def _visible(vertices: Tensor, triangles: Tensor, planes: Tensor, height: int, width: int) -> Tensor:
    """Number of the nearest triangle at each pixel [B,H,W], -1 where none.

    Lists every (triangle, pixel of its bounding box) pair flat, keeps the inside ones and scatters depth.
    """
    batch, device = len(vertices), vertices.device
    first, last = _extents(vertices, triangles, height, width)
    span = (last - first + 1).clamp_min(0).flatten(0, 1).int()
    first = first.flatten(0, 1).int()
    count = span[:, 0] * span[:, 1]
    item = torch.repeat_interleave(torch.arange(len(count), device=device, dtype=torch.int32), count)
    offset = torch.arange(len(item), device=device, dtype=torch.int32)
    box = torch.stack([first[:, 0], first[:, 1], span[:, 0].clamp_min(1), (count.cumsum(0) - count).int()], 1)
    left, top, wide, start = box.index_select(0, item).unbind(1)
    offset = offset - start
    down = torch.div(offset, wide, rounding_mode="floor")
    column, row = left + offset - down * wide, top + down
    plane = planes.flatten(0, 1).float().index_select(0, item)
    x, y = column + 0.5, row + 0.5
    v = plane[:, 0] * x + plane[:, 1] * y + plane[:, 2]
    w = plane[:, 3] * x + plane[:, 4] * y + plane[:, 5]
    inside = (torch.minimum(torch.minimum(v, w), 1 - v - w) > -1e-5).nonzero()[:, 0]
    depth = (plane[:, 6] * x + plane[:, 7] * y + plane[:, 8]).index_select(0, inside)
    item = item.index_select(0, inside).long()
    pixel = (item // len(triangles)) * (height * width) + (row * width + column).index_select(0, inside)
    nearest = torch.full((batch * height * width,), torch.inf, device=device)
    nearest.scatter_reduce_(0, pixel, depth, "amin")
    front = (depth <= nearest.index_select(0, pixel) + 1e-4).nonzero()[:, 0]
    face = torch.full((batch * height * width,), len(triangles), dtype=torch.long, device=device)
    # ties: the lower number, always
    face.scatter_reduce_(0, pixel.index_select(0, front), item.index_select(0, front) % len(triangles), "amin")
    return torch.where(face == len(triangles), -1, face).reshape(batch, height, width)


def _pytorch3d() -> tuple[Any, Any]:
    """`rasterize_meshes` and `Meshes` of the library."""
    try:
        from pytorch3d.renderer.mesh import rasterize_meshes
        from pytorch3d.structures import Meshes
    except ImportError as error:
        raise EmoTalkError(
            "--renderer pytorch3d needs pytorch3d, built against the installed torch: pip install --no-build-isolation "
            "'git+https://github.com/facebookresearch/pytorch3d.git@stable'."
        ) from error
    return rasterize_meshes, Meshes


def _rasterize_pytorch3d(vertices: Tensor, triangles: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    rasterize_meshes, meshes_of = _pytorch3d()
    # pytorch3d's NDC: the shorter side spans [-1, 1], x to the left, y up, z away from the camera and positive.
    scale = 2.0 / min(height, width)
    x = (width / 2 - vertices[..., 0]) * scale
    y = (height / 2 - vertices[..., 1]) * scale
    z = vertices[..., 2] - vertices[..., 2].amin() + 1.0
    meshes = meshes_of(torch.stack([x, y, z], -1), triangles.expand(len(vertices), -1, -1))
    face, _, weights, _ = rasterize_meshes(
        meshes, (height, width), EDGE, 1, perspective_correct=False, clip_barycentric_coords=True
    )
    face = face[..., 0]
    offset = torch.arange(len(vertices), device=face.device)[:, None, None] * len(triangles)
    return torch.where(face >= 0, face - offset, -1), weights[..., 0, :] * (face >= 0)[..., None]
