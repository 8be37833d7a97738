"""Contact sheet: eight moments of a video side by side, with their times."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .files import PartFile, write_error

MOMENTS = 8
COLUMNS = 4
TILE = 256  # px, longer side of a picture on the sheet
CAPTION = 22  # px
MARGIN = 6  # px
INK, PAPER = (60, 60, 60), (255, 255, 255)


class ContactSheet:
    """Collects the frames nearest to `MOMENTS` times spread over a video of `frames` frames: those in `wanted`."""

    def __init__(self, frames: int, fps: float) -> None:
        count = min(MOMENTS, frames)
        self.wanted = {int((k + 0.5) * frames / count) for k in range(count)}
        self._fps = fps
        self._tiles: list[tuple[float, Image.Image]] = []

    def add(self, number: int, frame: np.ndarray) -> None:
        """Offer frame `number` (from 0), uint8 [H,W,3]; it is kept if it is one of the moments."""
        if number in self.wanted:
            tile = Image.fromarray(frame)
            tile.thumbnail((TILE, TILE), Image.Resampling.LANCZOS)
            self._tiles.append((number / self._fps, tile))

    def image(self, title: str) -> Image.Image:
        """The sheet, with `title` above and the time of each moment below it."""
        width, height = self._tiles[0][1].size
        columns = min(COLUMNS, len(self._tiles))
        rows = -(-len(self._tiles) // columns)
        cell = (width + MARGIN, height + CAPTION)
        sheet = Image.new("RGB", (columns * cell[0] + MARGIN, rows * cell[1] + CAPTION + MARGIN), PAPER)
        draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=14)
        draw.text((MARGIN, 3), title, INK, font)
        for k, (seconds, tile) in enumerate(self._tiles):
            x, y = MARGIN + k % columns * cell[0], CAPTION + k // columns * cell[1]
            sheet.paste(tile, (x, y))
            draw.text((x, y + height + 2), f"{seconds:.2f} s", INK, font)
        return sheet

    def save(self, part: PartFile, title: str) -> None:
        """Write the sheet as PNG into a temporary file. Raises EmoTalkError."""
        try:
            self.image(title).save(part.path, format="PNG", optimize=True)
        except OSError as error:
            raise write_error(part.out, error.strerror) from error
