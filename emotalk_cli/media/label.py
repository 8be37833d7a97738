"""A visible label in the corner of every frame, for example "AI-generated"."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..errors import UsageError

_HEIGHT = 1 / 26  # of the letters, as a part of the frame's shorter side
_SMALLEST = 6  # px
_INK, _GROUND = (255, 255, 255, 235), (0, 0, 0, 140)


class Label:
    """Text on a dark ground, drawn once for frames of `size` (width, height) px. Raises UsageError if it cannot fit."""

    def __init__(self, text: str, size: tuple[int, int]) -> None:
        margin = max(2, round(min(size) / 64))
        for height in range(max(_SMALLEST, round(min(size) * _HEIGHT)), _SMALLEST - 1, -1):
            font = ImageFont.load_default(size=height)
            left, top, right, bottom = font.getbbox(text)
            width, tall = int(right - left) + 2 * margin, int(bottom - top) + 2 * margin
            if width + 2 * margin <= size[0]:
                break
        else:
            raise UsageError(f"--label '{text}' does not fit into {size[0]} px; shorten it or choose a larger --size.")
        drawn = Image.new("RGBA", (width, tall), _GROUND)
        text_layer = Image.new("RGBA", drawn.size)
        ImageDraw.Draw(text_layer).text((margin - left, margin - top), text, _INK, font)
        pixels = np.asarray(Image.alpha_composite(drawn, text_layer), np.float32)
        self._alpha = pixels[..., 3:] / 255
        self._colour = pixels[..., :3] * self._alpha
        self._rows = slice(size[1] - margin - tall, size[1] - margin)
        self._columns = slice(size[0] - margin - width, size[0] - margin)

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        """uint8 [B,H,W,3], or [B,H,W,4] with an alpha channel, with the label drawn in place at the bottom right."""
        corner = frames[:, self._rows, self._columns]
        shown = corner[..., :3]
        if frames.shape[-1] == 4:  # colours are not premultiplied
            below = corner[..., 3:] / 255 * (1 - self._alpha)
            cover = self._alpha + below
            shown[:] = (shown * below + self._colour) / np.maximum(cover, 1e-3) + 0.5
            corner[..., 3:] = cover * 255 + 0.5
        else:
            shown[:] = shown * (1 - self._alpha) + self._colour + 0.5
        return frames
