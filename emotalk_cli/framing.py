"""From animated crop to finished frame: the crop alone, or the crop pasted back into the whole picture."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

MAX_FULL_SIDE = 1920  # px; larger pictures are scaled down for `full`, so that the video plays everywhere
FEATHER = 0.12  # width of the blend at each border of the crop, as a part of its side


class CropFraming:
    """The animated crop itself, `size` x `size` px."""

    def __init__(self, size: int) -> None:
        self.size = (size, size)

    def __call__(self, crops: Tensor) -> np.ndarray:
        """crops: [B,3,h,h] in 0..1 -> uint8 [B,size,size,3]."""
        if crops.shape[-1] != self.size[0]:
            crops = F.interpolate(crops, self.size, mode="bicubic", antialias=True, align_corners=False)
        return _bytes(crops)


class FullFraming:
    """The whole picture at an even size, with the animated crop blended into its place.

    picture: uint8 [H,W,3]. to_source: affine [2,3] from crop px to picture px. crop: side of the crop in px.
    """

    def __init__(self, picture: np.ndarray, to_source: np.ndarray, crop: int, device: torch.device) -> None:
        height, width = picture.shape[:2]
        scale = min(1.0, MAX_FULL_SIDE / max(height, width))
        self.size = (_even(width * scale), _even(height * scale))
        image = Image.fromarray(picture).resize(self.size, Image.Resampling.LANCZOS)
        zoom = np.array([self.size[0] / width, self.size[1] / height])
        affine = to_source * zoom[:, None]
        (x0, x1), (y0, y1) = (_span(affine[i], crop, self.size[i]) for i in (0, 1))
        self.box = (x0, y0, x1, y1)
        self.still = np.asarray(image)
        x, y = torch.meshgrid(torch.arange(x0, x1) + 0.5, torch.arange(y0, y1) + 0.5, indexing="xy")
        back = torch.linalg.inv(torch.tensor(affine[:, :2]))
        at = (torch.stack([x, y], -1).double() - torch.tensor(affine[:, 2])) @ back.T  # crop px of each picture px
        self._grid = (at / crop * 2 - 1).float().to(device)[None]
        inside = torch.minimum(at, crop - at).amin(-1) / (FEATHER * crop)
        self._alpha = (0.5 - 0.5 * torch.cos(inside.clamp(0, 1) * torch.pi)).float().to(device)
        self._under = torch.tensor(self.still[y0:y1, x0:x1]).to(device).permute(2, 0, 1).float() / 255
        per_px = np.sqrt(np.linalg.det(affine[:, :2]))  # picture px per crop px
        self._reduced = round(crop * per_px) if per_px < 1 else crop  # shrink first, or the sampling would alias

    def __call__(self, crops: Tensor) -> np.ndarray:
        """crops: [B,3,h,h] in 0..1 -> uint8 [B,H,W,3]."""
        if self._reduced < crops.shape[-1]:
            size = (self._reduced, self._reduced)
            crops = F.interpolate(crops, size, mode="bicubic", antialias=True, align_corners=False)
        grid = self._grid.expand(len(crops), -1, -1, -1)
        pasted = F.grid_sample(crops, grid, mode="bicubic", padding_mode="border", align_corners=False)
        x0, y0, x1, y1 = self.box
        frames = np.repeat(self.still[None], len(crops), 0)
        frames[:, y0:y1, x0:x1] = _bytes(self._under + self._alpha * (pasted - self._under))
        return frames


def _even(side: float) -> int:
    return max(2, round(side / 2) * 2)


def _span(row: np.ndarray, crop: int, limit: int) -> tuple[int, int]:
    """First and last + 1 picture px that the crop touches along one axis."""
    ends = [row[0] * x + row[1] * y + row[2] for x in (0, crop) for y in (0, crop)]
    return max(0, int(np.floor(min(ends)))), min(limit, int(np.ceil(max(ends))))


def _bytes(images: Tensor) -> np.ndarray:
    return (images * 255 + 0.5).clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()
