"""Contact sheet: eight moments of a video side by side, with their times."""

from __future__ import annotations

from collections.abc import Sequence

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
        """Offer frame `number` (from 0), uint8 [H,W,3 or 4]; it is kept if it is one of the moments."""
        if number in self.wanted:
            tile = Image.fromarray(frame)
            if tile.mode == "RGBA":
                tile = Image.alpha_composite(Image.new("RGBA", tile.size, PAPER), tile).convert("RGB")
            tile.thumbnail((TILE, TILE), Image.Resampling.LANCZOS)
            self._tiles.append((number / self._fps, tile))

    def image(self, title: str) -> Image.Image:
        """The sheet, with `title` above and the time of each moment below it."""
        return sheet(title, [(f"{seconds:.2f} s", tile) for seconds, tile in self._tiles])

    def save(self, part: PartFile, title: str) -> None:
        """Write the sheet as PNG into a temporary file. Raises EmoTalkError."""
        save(part, self.image(title))


def sheet(title: str, tiles: Sequence[tuple[str, Image.Image | np.ndarray]], columns: int = COLUMNS) -> Image.Image:
    """Captioned pictures in rows, at most TILE px each, with `title` above them."""
    pictures = []
    for _, tile in tiles:
        picture = Image.fromarray(tile) if isinstance(tile, np.ndarray) else tile.copy()
        picture.thumbnail((TILE, TILE), Image.Resampling.LANCZOS)
        pictures.append(picture)
    width, height = (max(picture.size[i] for picture in pictures) for i in (0, 1))
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    cell = (width + MARGIN, height + CAPTION)
    page = Image.new("RGB", (columns * cell[0] + MARGIN, rows * cell[1] + CAPTION + MARGIN), PAPER)
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(size=14)
    draw.text((MARGIN, 3), title, INK, font)
    for k, ((caption, _), picture) in enumerate(zip(tiles, pictures, strict=True)):
        x, y = MARGIN + k % columns * cell[0], CAPTION + k // columns * cell[1]
        page.paste(picture, (x, y))
        draw.text((x, y + height + 2), caption, INK, font)
    return page


def save(part: PartFile, picture: Image.Image) -> None:
    """Write a picture as PNG into a temporary file. Raises EmoTalkError."""
    try:
        picture.save(part.path, format="PNG", optimize=True)
    except OSError as error:
        raise write_error(part.out, error.strerror) from error
