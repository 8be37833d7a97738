"""What lies behind a person who was cut out: a colour, a picture, or nothing."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from ..face.fit import PortraitFit
from ..face.geometry import Geometry
from ..face.raster import sample
from ..settings import Settings, colour
from . import image
from .framing import framed


def cover_of(portrait: PortraitFit, cover: np.ndarray) -> PortraitFit:
    """A portrait's matte, float [H,W] in 0..1 over its picture, as if it were a picture too: it moves as that does."""
    return portrait.over(np.repeat((cover * 255 + 0.5).astype(np.uint8)[..., None], 3, 2))


class Backdrop:
    """Frames of a person laid over `Settings.background`, or with an alpha channel where that is transparent."""

    def __init__(self, cover: PortraitFit, settings: Settings, device: torch.device) -> None:
        """cover: see `cover_of`. Raises InputError if the background is a picture that cannot be read."""
        self._framing = framed(cover, settings, device)
        self._image = cover.image.to(device)[None]
        self._behind = None if settings.alpha else behind(settings.background, self._framing.size)

    def __call__(self, frames: np.ndarray, geometry: Geometry) -> np.ndarray:
        """Frames uint8 [B,H,W,3] and the geometry behind them -> [B,H,W,3], or [B,H,W,4], not premultiplied."""
        moved: Tensor = sample(self._image, geometry.flow).clamp(0, 1)
        return laid_over(frames, self._framing(moved, geometry)[..., :1], self._behind)


def laid_over(frames: np.ndarray, cover: np.ndarray, behind: np.ndarray | None) -> np.ndarray:
    """Frames uint8 [B,H,W,3] where cover [B,H,W,1] is 255, over a picture [H,W,3]; or with cover as alpha channel."""
    if behind is None:
        return np.concatenate([frames, cover], -1)
    share = cover.astype(np.float32) / 255
    mixed: np.ndarray = (behind + share * (frames.astype(np.float32) - behind) + 0.5).astype(np.uint8)
    return mixed


def behind(background: str, size: tuple[int, int]) -> np.ndarray:
    """A colour, or a picture cut to fill `size` (width, height): float32 [H,W,3], 0..255. Raises InputError."""
    plain = colour(background)
    if plain is not None:
        return np.broadcast_to(np.array(plain, np.float32), (size[1], size[0], 3))
    picture = ImageOps.fit(Image.fromarray(image.load(background)), size, Image.Resampling.LANCZOS)
    return np.asarray(picture, np.float32)
