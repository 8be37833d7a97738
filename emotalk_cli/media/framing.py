"""From animated 512-px crop to finished frame: the crop at any size, or pasted back into the whole picture.

Where the frame has more pixels than the crop, the picture's own fine detail is added again, moved by the same flow:
frame = Up(crop) + warp(picture - Up(still crop)). Where nothing moves this is the picture itself, so no seam shows.
"""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from ..constants import CROP_SIZE
from ..face import card, kernels
from ..face.fit import CROP_MARGIN, PortraitFit, cut
from ..face.geometry import Geometry
from ..numeric import fixed
from ..settings import Settings

MAX_FULL_SIDE = 1920  # px; larger pictures are scaled down for `full`, so that the video plays everywhere
OVERHANG = 0.02  # part of the crop's side that may lie outside the picture unnoticed
HALF = 1.1 * CROP_SIZE / 2  # px that a crop's side may take in a frame to be made at half resolution
FEATHER = 0.12  # width of the blend at each border of the crop, as a part of its side


class CropFraming:
    """The animated crop, `size` x `size` px; where it reaches beyond the picture's edges, the square inside them."""

    def __init__(self, portrait: PortraitFit, size: int, device: torch.device) -> None:
        self.size = (size, size)
        left, top, side = window(portrait)
        zoom = portrait.to_source[0, 0]
        self._placed = None
        self.half = size * zoom * CROP_SIZE / side <= HALF  # whether crops of half the size have pixels enough
        if size > CROP_SIZE or side < zoom * CROP_SIZE:
            scale = size * zoom / side  # px of the frame per crop px
            shift = (portrait.to_source[:, 2] - [left, top]) * size / side
            affine = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
            self._placed = _Placed(portrait.image, cut(portrait.source, (left, top, side), size), affine, device)

    def __call__(self, crops: Tensor, geometry: Geometry) -> np.ndarray:
        """crops [B,3,512,512], or at half that size, in 0..1 and the geometry behind them -> uint8 [B,size,size,3]."""
        return self.frames(self.pixels(crops, geometry).cpu().numpy())

    def frames(self, pixels: np.ndarray) -> np.ndarray:
        """The frames of what `pixels` gave."""
        return pixels

    def pixels(self, crops: Tensor, geometry: Geometry) -> Tensor:
        """What of the frames changes, uint8 [B,size,size,3], where crops are."""
        if self._placed is not None:
            crops = self._placed(crops, geometry)
        elif crops.shape[-1] != self.size[0]:
            crops = F.interpolate(crops, self.size, mode="bicubic", antialias=True, align_corners=False)
        return _bytes(crops)


class FullFraming:
    """The whole picture at an even size, with the animated crop blended into its place."""

    def __init__(
        self, portrait: PortraitFit, device: torch.device, most: float = MAX_FULL_SIDE, exact: bool = False
    ) -> None:
        """most: px of the longer side. exact: see `_Placed`."""
        height, width = portrait.source.shape[:2]
        scale = min(1.0, most / max(height, width))
        self.size, self.half = (_even(width * scale), _even(height * scale)), False
        self.still = portrait.source
        if self.size != (width, height):
            self.still = np.asarray(Image.fromarray(portrait.source).resize(self.size, Image.Resampling.LANCZOS))
        affine = portrait.to_source * np.array([[self.size[0] / width], [self.size[1] / height]])
        (x0, x1), (y0, y1) = (_span(affine[i], self.size[i]) for i in (0, 1))
        self.box = (x0, y0, x1, y1)
        affine = affine - np.array([[0, 0, x0], [0, 0, y0]])
        self._placed = _Placed(portrait.image, self.still[y0:y1, x0:x1], affine, device, exact)
        inside = torch.minimum(self._placed.at, CROP_SIZE - self._placed.at).amin(-1) / (FEATHER * CROP_SIZE)
        self._alpha = 0.5 - 0.5 * torch.cos(inside.clamp(0, 1) * torch.pi)

    def __call__(self, crops: Tensor, geometry: Geometry) -> np.ndarray:
        """crops [B,3,512,512] in 0..1 and the geometry behind them -> uint8 [B,H,W,3]."""
        return self.frames(self.pixels(crops, geometry).cpu().numpy())

    def frames(self, pixels: np.ndarray) -> np.ndarray:
        """The frames of what `pixels` gave."""
        x0, y0, x1, y1 = self.box
        frames = np.repeat(self.still[None], len(pixels), 0)
        frames[:, y0:y1, x0:x1] = pixels
        return frames

    def pixels(self, crops: Tensor, geometry: Geometry) -> Tensor:
        """What of the frames changes, uint8 [B,h,w,3], where crops are."""
        return _bytes(torch.lerp(self._placed.picture, self._placed(crops, geometry), self._alpha))


def framed(portrait: PortraitFit, settings: Settings, device: torch.device) -> CropFraming | FullFraming:
    """The frame that `Settings.framing` names."""
    return CropFraming(portrait, settings.size, device) if settings.framing == "crop" else FullFraming(portrait, device)


class FilmFraming(FullFraming):
    """One frame of a film, of an even size that it keeps: where the face does not move, its pixels are the film's."""

    def __init__(self, portrait: PortraitFit, device: torch.device) -> None:
        super().__init__(portrait, device, float("inf"), exact=True)

    def __call__(self, crops: Tensor, geometry: Geometry, strength: float = 1.0) -> np.ndarray:
        """A crop [1,3,512,512] in 0..1 and the geometry behind it -> uint8 [H,W,3].

        strength: how much of it is laid over the film, 0..1.
        """
        x0, y0, x1, y1 = self.box
        pasted = self._placed(crops, geometry)
        frame: np.ndarray = self.still.copy()
        frame[y0:y1, x0:x1] = _bytes(torch.lerp(self._placed.picture, pasted, strength * self._alpha))[0].cpu().numpy()
        return frame


class _Placed:
    """Crops resampled to a part of a picture, with the picture's finer detail.

    image: the still crop [3,512,512]. picture: uint8 [h,w,3]. affine: [2,3] from crop px to px of `picture`. exact:
    whether that detail counts also where the crop has more pixels, so that what stands still is the picture itself.
    """

    def __init__(
        self, image: Tensor, picture: np.ndarray, affine: np.ndarray, device: torch.device, exact: bool = False
    ) -> None:
        height, width = picture.shape[:2]
        self.picture = torch.tensor(picture).to(device).permute(2, 0, 1)[None].float() / 255
        y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
        forth, shift = torch.tensor(affine[:, :2]), torch.tensor(affine[:, 2])
        at = (torch.stack([x, y], -1).double() - shift) @ torch.linalg.inv(forth).T
        self.at = at.float().to(device)  # [h,w,2], crop px of each px of the picture
        self._forth, self._shift = forth.float().to(device), shift.float().to(device)
        scale = float(np.sqrt(np.linalg.det(affine[:, :2])))  # picture px per crop px
        self._reduced = round(CROP_SIZE * scale) if scale < 1 else 0  # shrink first, or the sampling would alias
        self._detail = self.picture - self._resampled(image[None].to(device)) if scale > 1 or exact else None

    def __call__(self, crops: Tensor, geometry: Geometry) -> Tensor:
        """[B,3,512,512] -> [B,3,h,w]."""
        frames = self._resampled(crops)
        if self._detail is None:
            return frames
        whole = 1 - F.interpolate(geometry.torn, geometry.flow.shape[2:])  # between two things flow leads to neither
        kept = geometry.ratio * (1 - geometry.mouth) * whole
        flow, kept = F.grid_sample(
            torch.cat([geometry.flow, kept], 1), self._grid(len(crops)), padding_mode="border", align_corners=False
        ).split([2, 1], 1)
        source = (self.at + flow.permute(0, 2, 3, 1)) @ self._forth.T + self._shift
        limits = fixed([self.picture.shape[3], self.picture.shape[2]], source)
        detail = self._detail.expand(len(crops), -1, -1, -1)
        moved: Tensor = F.grid_sample(detail, source / limits * 2 - 1, padding_mode="zeros", align_corners=False)
        painted: Tensor = frames + kept * moved
        return painted

    def _grid(self, count: int) -> Tensor:
        grid: Tensor = self.at / CROP_SIZE * 2 - 1
        return grid.expand(count, -1, -1, -1)

    def _resampled(self, crops: Tensor) -> Tensor:
        if self._reduced:
            size = (self._reduced, self._reduced)
            crops = F.interpolate(crops, size, mode="bicubic", antialias=True, align_corners=False)
        return F.grid_sample(crops, self._grid(len(crops)), mode="bicubic", padding_mode="border", align_corners=False)


def window(portrait: PortraitFit) -> tuple[float, float, float]:
    """(left, top, side), source px: the largest square of the portrait crop that lies inside the picture.

    It always holds the whole face; an overhang too small to be noticed is left alone.
    """
    side = portrait.to_source[0, 0] * CROP_SIZE
    start = portrait.to_source[:, 2]
    limits = np.array([portrait.source.shape[1], portrait.source.shape[0]])
    low, high = np.maximum(start, 0), np.minimum(start + side, limits)
    inner = max(float((high - low).min()), side * 1.1 / CROP_MARGIN)
    if inner > side * (1 - OVERHANG):
        return float(start[0]), float(start[1]), float(side)
    left, top = np.clip(start + (side - inner) / 2, low, np.maximum(high - inner, low))
    return float(left), float(top), inner


def _even(side: float) -> int:
    return max(2, round(side / 2) * 2)


def _span(row: np.ndarray, limit: int) -> tuple[int, int]:
    """First and last + 1 picture px that the crop touches along one axis."""
    ends = [row[0] * x + row[1] * y + row[2] for x in (0, CROP_SIZE) for y in (0, CROP_SIZE)]
    return max(0, int(np.floor(min(ends)))), min(limit, int(np.ceil(max(ends))))


def _bytes(images: Tensor) -> Tensor:
    """[B,3,H,W] 0..1 -> uint8 [B,H,W,3]."""
    if kernels.usable(images):
        pixels = torch.empty(len(images), *images.shape[2:], 3, dtype=torch.uint8)
        kernels.each(kernels.to_bytes, len(images), images, pixels)
        return pixels
    if card.usable(images):
        return card.to_bytes(images)
    return (images * 255 + 0.5).clamp(0, 255).byte().permute(0, 2, 3, 1).contiguous()
