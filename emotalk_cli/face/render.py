"""Rendering: a vectorised z-buffer rasteriser in torch, and an optional pytorch3d backend behind the same call.

Visibility is decided without gradients; barycentric weights are then differentiable in the vertices, so
whatever is interpolated with them carries gradients to shape, expression and pose.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import EmoTalkError

BACKENDS = ("builtin", "pytorch3d")


def rasterize(
    vertices: Tensor, triangles: Tensor, height: int, width: int, backend: str = "builtin"
) -> tuple[Tensor, Tensor]:
    """Which triangle is nearest at every pixel centre, and where in it.

    vertices: [B,V,3] px (x right, y down, z away; pixel i covers [i, i+1)); triangles: [T,3] long.
    Returns face [B,height,width] long (-1 where empty) and barycentric weights [B,height,width,3]
    (zero where empty). Orthographic; both triangle orientations are drawn.
    """
    if backend == "pytorch3d":
        return _rasterize_pytorch3d(vertices, triangles, height, width)
    if backend != "builtin":
        raise EmoTalkError(f"Unknown renderer {backend!r}; choose one of {', '.join(BACKENDS)}.")
    with torch.no_grad():
        face = _visible(vertices.detach().float(), triangles, height, width)
    corners = triangles[face.clamp_min(0)]
    batch = torch.arange(len(vertices), device=vertices.device)[:, None, None, None]
    y = torch.arange(height, device=vertices.device, dtype=vertices.dtype) + 0.5
    x = torch.arange(width, device=vertices.device, dtype=vertices.dtype) + 0.5
    weights = _barycentric(vertices[batch, corners], x[None, None], y[None, :, None])
    return face, weights * (face >= 0)[..., None]


def interpolate(face: Tensor, weights: Tensor, triangles: Tensor, values: Tensor) -> Tensor:
    """Per-vertex values [V,C] or [B,V,C] at every pixel of a raster: [B,C,H,W], zero where empty."""
    corners = triangles[face.clamp_min(0)]
    if values.dim() == 2:
        picked = values[corners]
    else:
        picked = values[torch.arange(len(face), device=face.device)[:, None, None, None], corners]
    return (picked * weights[..., None]).sum(-2).permute(0, 3, 1, 2)


def _barycentric(corners: Tensor, x: Tensor, y: Tensor) -> Tensor:
    (ax, ay), (bx, by), (cx, cy) = (corners[..., i, :2].unbind(-1) for i in range(3))
    area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
    area = torch.where(area.abs() < 1e-9, torch.full_like(area, 1e-9), area)
    v = ((x - ax) * (cy - ay) - (cx - ax) * (y - ay)) / area
    w = ((bx - ax) * (y - ay) - (x - ax) * (by - ay)) / area
    return torch.stack([1 - v - w, v, w], -1)


def _visible(vertices: Tensor, triangles: Tensor, height: int, width: int) -> Tensor:
    """Number of the nearest triangle at each pixel [B,H,W], -1 where none.

    Lists every (triangle, pixel of its bounding box) pair flat, keeps the inside ones and scatters depth.
    """
    batch, device = len(vertices), vertices.device
    corners = vertices[:, triangles]
    low, high = corners[..., :2].amin(2), corners[..., :2].amax(2)
    limit = torch.tensor([width, height], device=device)
    first = (low - 0.5).ceil().long().clamp_min(0)
    last = torch.minimum((high - 0.5).floor().long(), limit - 1)
    span = (last - first + 1).clamp_min(0).flatten(0, 1)
    count = span[:, 0] * span[:, 1]
    item = torch.repeat_interleave(torch.arange(len(count), device=device), count)
    offset = torch.arange(len(item), device=device) - (count.cumsum(0) - count)[item]
    first, corners = first.flatten(0, 1), corners.flatten(0, 1)
    column = first[item, 0] + offset % span[item, 0].clamp_min(1)
    row = first[item, 1] + offset // span[item, 0].clamp_min(1)
    weights = _barycentric(corners[item], column + 0.5, row + 0.5)
    inside = (weights > -1e-5).all(-1)
    item, column, row, weights = item[inside], column[inside], row[inside], weights[inside]
    depth = (weights * corners[item, :, 2]).sum(-1)
    pixel = ((item // len(triangles)) * height + row) * width + column
    nearest = torch.full((batch * height * width,), torch.inf, device=device)
    nearest.scatter_reduce_(0, pixel, depth, "amin")
    front = depth <= nearest[pixel] + 1e-6
    face = torch.full((batch * height * width,), len(triangles), dtype=torch.long, device=device)
    face.scatter_reduce_(0, pixel[front], item[front] % len(triangles), "amin")  # ties: the lower number, always
    return torch.where(face == len(triangles), -1, face).reshape(batch, height, width)


def _rasterize_pytorch3d(vertices: Tensor, triangles: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    try:
        from pytorch3d.renderer.mesh import rasterize_meshes
        from pytorch3d.structures import Meshes
    except ImportError as error:
        raise EmoTalkError("The pytorch3d renderer needs pytorch3d; install the extra emotalk[pytorch3d].") from error
    # pytorch3d's NDC: the shorter side spans [-1, 1], x to the left, y up, z away from the camera and positive.
    scale = 2.0 / min(height, width)
    x = (width / 2 - vertices[..., 0]) * scale
    y = (height / 2 - vertices[..., 1]) * scale
    z = vertices[..., 2] - vertices[..., 2].amin() + 1.0
    meshes = Meshes(torch.stack([x, y, z], -1), triangles.expand(len(vertices), -1, -1))
    face, _, weights, _ = rasterize_meshes(meshes, (height, width), faces_per_pixel=1, perspective_correct=False)
    face = face[..., 0]
    offset = torch.arange(len(vertices), device=face.device)[:, None, None] * len(triangles)
    return torch.where(face >= 0, face - offset, -1), weights[..., 0, :] * (face >= 0)[..., None]
