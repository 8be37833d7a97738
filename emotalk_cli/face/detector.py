"""Face detector: where upright faces are in a picture, by a heat map over reductions of it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from .landmarker import Block, TrackerDims, stem

LEVELS = (64, 160, 320)  # longer side of the reductions that are looked at first: faces from 1/20 of it on
FINE_LEVELS = (640, 1280, 2560)  # looked at while nothing is found, if the picture has that many pixels
STRIDE = 8
STRIP, RIM = 512, 96  # px: rows that are looked at together, and what is seen beyond them
SIZE_UNIT = 32.0  # px: the detector's size output is log(size / SIZE_UNIT)
MOST = 32  # candidates


@dataclasses.dataclass
class Detection:
    """box: (x0, y0, x1, y1) image px, the square around the upright face; score 0..1; roll: rad, clockwise."""

    box: tuple[float, float, float, float]
    score: float
    roll: float

    @property
    def frame(self) -> tuple[float, float, float, float]:
        """(centre x, centre y, size, roll), as `landmarker.crop_frames` gives them."""
        x0, y0, x1, y1 = self.box
        return (x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, self.roll


class Detector(nn.Module):
    """Anchor-free face detector for faces 16 to 64 px high, |roll| up to 60 degrees."""

    def __init__(self, dims: TrackerDims) -> None:
        super().__init__()
        a, b, c = dims.detector
        self.body = nn.Sequential(
            stem(a), Block(a, b, 2), Block(b, c, 2), Block(c, c, dilation=2), Block(c, c, dilation=2)
        )
        self.head = nn.Conv2d(c, 6, 1)
        assert self.head.bias is not None
        nn.init.constant_(self.head.bias, 0.0)
        nn.init.constant_(self.head.bias[:1], -3.0)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """[B,3,H,W] in -1..1, sides multiples of 8 -> heat logits [B,H/8,W/8] and geometry [B,5,H/8,W/8].

        Geometry: centre offset x, y (cells, from the cell's middle), log(size / 32 px), cos and sin of the roll.
        """
        out = self.head(self.body(images))
        return out[:, 0], out[:, 1:]

    def find(self, image: Tensor, levels: Sequence[int], least: float) -> list[Detection]:
        """Candidates of a uint8 picture [3,H,W] with a heat above `least`, best first, overlaps removed.

        levels: longer sides of the reductions that are looked at, px.
        """
        found = []
        height, width = image.shape[-2:]
        step = max(1, max(height, width) // (5 * max(levels)))  # the reduction below averages 5 x 5 of these
        source = image[None, :, ::step, ::step].float()
        for level in sorted(levels, reverse=True):
            ratio = level / max(height, width)
            rows, columns = (max(8, round(n * ratio)) for n in (height, width))
            source = F.interpolate(source, (rows, columns), mode="bilinear", antialias=True)
            for x, y, size, roll, score in self._peaks(source / 127.5 - 1, least):
                x, y, half = x * width / columns, y * height / rows, size / ratio / 2
                found.append(Detection((x - half, y - half, x + half, y + half), score, roll))
        kept = distinct([detection.box for detection in found], [detection.score for detection in found])
        return [found[i] for i in kept[:MOST]]

    def _peaks(self, source: Tensor, least: float) -> list[tuple[float, float, float, float, float]]:
        """Peaks of the heat over a picture [1,3,h,w]: (centre x, centre y, size, roll, score) in its px."""
        height, width = source.shape[-2:]
        found = []
        for top in range(0, height, STRIP):  # in strips, so that memory does not grow with the picture
            above = min(top, RIM)
            lowest = above if top else -STRIDE
            highest = above + STRIP if top + STRIP < height else math.inf
            part = source[..., top - above : top + STRIP + RIM, :]
            rows, columns = part.shape[-2:]
            # A grey rim lets the net see faces that the picture's edge cuts.
            heat, geometry = self(F.pad(part, [STRIDE, STRIDE + -columns % STRIDE, STRIDE, STRIDE + -rows % STRIDE]))
            heat, geometry = heat[0].sigmoid(), geometry[0]
            peaks = (heat == F.max_pool2d(heat[None], 3, 1, 1)[0]) & (heat > least)
            for i, j in peaks.nonzero().tolist():
                dx, dy, size, cos, sin = geometry[:, i, j].tolist()
                if lowest <= (i - 1) * STRIDE < highest:  # the strips beside this one see the others
                    x, y = (j - 0.5 + dx) * STRIDE, (i - 0.5 + dy) * STRIDE + top - above
                    size = SIZE_UNIT * math.exp(min(max(size, -1.5), 1.5))
                    found.append((x, y, size, math.atan2(sin, cos), heat[i, j].item()))
        return found


def distinct(boxes: Sequence[Sequence[float]], scores: Sequence[float]) -> list[int]:
    """Indices of the boxes, best score first, without those that overlap a better one (IoU > 0.4)."""
    kept: list[int] = []
    for i in sorted(range(len(boxes)), key=lambda i: -scores[i]):
        if all(overlap(boxes[i], boxes[k]) < 0.4 for k in kept):
            kept.append(i)
    return kept


def overlap(a: Sequence[float], b: Sequence[float]) -> float:
    """Intersection over union of two boxes (x0, y0, x1, y1)."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    inner = max(width, 0.0) * max(height, 0.0)
    return inner / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inner)
