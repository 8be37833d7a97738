"""HEF's lid painter: the rims of driven eyes, with their lashes, at the eye's own resolution.

Geometry slides skin over an eyeball. Where the two meet, a landmarker's error drags a sliver of the eye along with the
skin, lashes stretch, and a lid that closes has no rim of its own. A small U-Net sees the eye without a band along its
driven outline, and what the geometry drew there, and paints the band anew. Its crop has one scale for all eyes, the
outer corner on the left.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..face.geometry.crop import covered, laid, local, paste
from ..face.geometry.eyeball import smooth_ring
from ..face.raster import pixel_grid, polygon_distance, waits
from ..numeric import channels_last, fixed, places, silence
from . import checkpoints
from .style import halve

CROP_HEIGHT, CROP_WIDTH = 56, 80  # px
EYE_WIDTH, MIDDLE = 48.0, (40.0, 30.0)  # px of the crop: from corner to corner, and where their middle lies (x, y)
OUTER, INNER, TOP, BOTTOM = 0, 8, 4, 12  # of an eye's outline: corners, middle of upper and lower lid
LEFT, RIGHT = -1.0, 1.0  # the left eye's crop is a mirror image
BAND_IN, BAND_OUT, BAND_SHUT = 3.0, 5.0, 8.0  # px inside and outside the outline; more outside a lid that has closed
RIM = 1.5  # px over which the paint fades in
NEAR = 16.0  # px: unit of distance
UPPER, LOWER = list(range(9)), [0, *range(15, 7, -1)]  # of an outline, from the outer corner on
SKIN_UP, SKIN_DOWN = 22.0, 16.0  # px above and below an eye over which its lids' motion fades
LEAST_GAP = 0.6  # px between lids that meet
STILL = 0.06  # change of an eye's opening from which on its lids are painted
MOVED = 0.3  # of an eye's opening that has closed, from which on lids are drawn by `moved` alone


@dataclasses.dataclass(frozen=True)
class LidDims:
    """Sizes that rebuild a LidPainter; stored in its checkpoint. widths: channels at the crop's grid, at half, ..."""

    widths: tuple[int, ...] = (12, 24, 40, 56)

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(self.widths))


class LidPainter(nn.Module):
    """Paints eye crops. Fixed sizes in, fixed sizes out, no control flow that depends on them."""

    def __init__(self, dims: LidDims | None = None) -> None:
        super().__init__()
        self.dims = dims or LidDims()
        widths = self.dims.widths
        pairs = list(zip(widths, widths[1:], strict=False))
        self.first = nn.Conv2d(8, widths[0], 3, padding=1)
        self.downs = nn.ModuleList(nn.Conv2d(a, b, 4, 2, 1) for a, b in pairs)
        self.convs = nn.ModuleList(nn.Conv2d(b, b, 3, padding=1) for _, b in pairs)
        self.ups = nn.ModuleList(nn.Conv2d(a + b, a, 3, padding=1) for a, b in pairs[::-1])
        self.head = nn.Conv2d(widths[0], 3, 3, padding=1)
        silence(self.head)  # untrained, it paints what was drawn

    @classmethod
    def load(cls, weights: str | os.PathLike[str] | None = None, device: str | torch.device = "cpu") -> LidPainter:
        """The shipped painter in evaluation mode. Raises WeightsError."""
        checkpoint = checkpoints.load("lids", weights)
        return channels_last(checkpoint.fill(cls(checkpoint.sizes(LidDims))).to(device))

    def halve(self) -> None:
        """Convolve in bfloat16 from now on, as `HEF.halve`."""
        halve(self)

    def forward(self, drawn: Tensor, around: Tensor, distance: Tensor, hidden: Tensor) -> Tensor:
        """What the geometry drew and what is known around the band [B,3,h,w] 0..1, distance to the outline (positive
        inside) [B,1,h,w] px, the band [B,1,h,w] 0..1 -> the eye [B,3,h,w], not clamped."""
        maps = [around * (1 - hidden) - 0.5, hidden, drawn - 0.5, (distance / NEAR).clamp(-1, 1)]
        x = torch.cat(maps, 1).to(self.first.weight.dtype, memory_format=torch.channels_last)
        x = F.leaky_relu(self.first(x), 0.2)
        known = [x]
        for down, conv in zip(self.downs, self.convs, strict=True):
            x = F.leaky_relu(conv(F.leaky_relu(down(x), 0.2)), 0.2)
            known.append(x)
        known.pop()
        for up in self.ups:
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            x = F.leaky_relu(up(torch.cat([x, known.pop()], 1)), 0.2)
        return drawn + self.head(x).to(drawn.dtype)

    @staticmethod
    def eyes(image: Tensor, rims: Tensor) -> tuple[Tensor, Tensor]:
        """What `paint` keeps of a portrait [1,3,H,W] with eyes at rims [2,16,2] px: their crops [2,3,h,w] and outlines
        [2,16,2] px of these."""
        place = placed(rims, (LEFT, RIGHT))
        return seen(image, place), local(rims, place)

    def paint(self, frames: Tensor, rims: Tensor, opened: Tensor, eyes: tuple[Tensor, Tensor]) -> Tensor:
        """Lids painted into frames [B,3,H,W] 0..1, in place. rims [B,2,16,2] px of these frames: outlines of both eyes
        as driven; opened [B,2]: how far each is open, of the portrait's own opening; eyes: the portrait's (see `eyes`).
        Lids that have hardly moved need no paint."""
        outlines, side = rims.flatten(0, 1), frames.shape[-1]
        place, shut = placed(outlines, (LEFT, RIGHT)), (1 - opened.flatten()).clamp(0, 1)
        pairs = place.unflatten(0, (-1, 2))
        frame = torch.stack([seen(frames, pairs[:, eye]) for eye in (0, 1)], 1).flatten(0, 1)
        outlines = parted(local(outlines, place))
        distance = outline_distance(outlines)
        # a lid that closes is the portrait's own, moved, as in training
        own, before = (t.repeat(len(frames), *[1] * (t.dim() - 1)) for t in eyes)
        skin = (0.5 - distance).clamp(0, 1) * (shut / MOVED).clamp(0, 1)[:, None, None, None]
        drawn = torch.lerp(frame, moved(own, before, outlines), skin)
        hidden = band(distance, shut)
        shown = hidden * ((opened.flatten() - 1).abs() / STILL).clamp(0, 1)[:, None, None, None]
        change = ((self(drawn, frame, distance, hidden).clamp(0, 1) - frame) * shown).unflatten(0, (-1, 2))
        for eye in (0, 1):
            rows = columns = slice(0, side)
            if not waits(frames):
                rows, columns = covered(pairs[:, eye], CROP_HEIGHT, CROP_WIDTH, side)
            paste(frames, change[:, eye], pairs[:, eye], rows, columns)
            frames[..., rows, columns].clamp_(0, 1)
        return frames


def band(distance: Tensor, shut: Tensor) -> Tensor:
    """What is painted [B,1,h,w] 0..1, by distance to the outline [B,1,h,w] px and how far lids have closed [B]."""
    out = BAND_OUT + BAND_SHUT * shut[:, None, None, None]
    return torch.minimum((distance + out) / RIM, (BAND_IN - distance) / RIM).clamp(0, 1)


def placed(outlines: Tensor, sides: Sequence[float]) -> Tensor:
    """Where the crop of an eye lies: affine [B,2,3] from its px to those of outlines [B,16,2]. sides: of each, or of as
    many as they repeat, `LEFT` or `RIGHT`; lids that have closed do not tell which is the lower."""
    across = (outlines[:, INNER] - outlines[:, OUTER]) / EYE_WIDTH
    sign = fixed(sides, across).repeat(len(across) // len(sides))[:, None]
    turn = torch.stack([across, sign * torch.stack([-across[:, 1], across[:, 0]], -1)], 2)
    corner = (outlines[:, INNER] + outlines[:, OUTER]) / 2 - turn @ fixed(MIDDLE, turn)
    return torch.cat([turn, corner[:, :, None]], 2)


def seen(image: Tensor, place: Tensor) -> Tensor:
    """A picture [B or 1,C,H,W] as the crop at place [B,2,3] shows it, 0..1: [B,C,h,w]."""
    return laid(image, place, CROP_HEIGHT, CROP_WIDTH)


def parted(outlines: Tensor) -> Tensor:
    """Outlines [B,16,2] px of the crop whose lids meet instead of overlapping."""
    upper, lower = (outlines[:, places(lid[1:-1], outlines)] for lid in (UPPER, LOWER))
    over = F.pad((LEAST_GAP - (lower - upper)[..., 1:]).clamp_min(0) / 2, (1, 0))
    outer, inner = outlines[:, OUTER, None], outlines[:, INNER, None]
    return torch.cat([outer, upper - over, inner, (lower + over).flip(1)], 1)


def outline_distance(outlines: Tensor) -> Tensor:
    """Distance to outlines [B,16,2] px of the crop, positive inside: [B,1,h,w]."""
    return polygon_distance(smooth_ring(outlines), pixel_grid(CROP_HEIGHT, CROP_WIDTH, outlines.device))[:, None]


def curve(points: Tensor) -> Tensor:
    """A lid [B,9,2], from the outer corner on: its y at each column of the crop, [B,1,w]."""
    x, y = points.unbind(-1)
    x = torch.cummax(x, 1).values
    step = x[:, 1:] - x[:, :-1]
    slope = (y[:, 1:] - y[:, :-1]) / step.clamp_min(0.5)
    column = pixel_grid(1, CROP_WIDTH, x.device)[0, :, 0]
    along = torch.minimum((column - x[:, :-1, None]).clamp_min(0), step[..., None])
    return (y[:, :1] + (slope[..., None] * along).sum(1))[:, None]


def moved(image: Tensor, outline: Tensor, to: Tensor, shift: Tensor | float = 0.0) -> Tensor:
    """Eye crops [B,3,h,w] with lids at outline [B,16,2] as if these were at another; the eyeball is seen `shift` [B,2]
    px away from where it was."""
    grid = pixel_grid(CROP_HEIGHT, CROP_WIDTH, image.device).expand(len(image), -1, -1, -1)
    x, y = grid.unbind(-1)
    lines = torch.cat([o[:, places(lid, o)] for o in (outline, to) for lid in (UPPER, LOWER)])
    upper, lower, top, bottom = curve(lines).chunk(4)
    lower, bottom = torch.maximum(lower, upper + 0.2), torch.maximum(bottom, top + 0.2)
    above = y + (upper - top) * (1 - (top - y) / SKIN_UP).clamp(0, 1)
    below = y + (lower - bottom) * (1 - (y - bottom) / SKIN_DOWN).clamp(0, 1)
    ball = grid + (shift[:, None, None] if isinstance(shift, Tensor) else shift)
    rim = ((lower - upper) / 3).clamp_max(1.5)
    within = torch.minimum(torch.maximum(ball[..., 1], upper + rim), lower - rim)
    inside = (y > top) & (y < bottom)
    at = torch.stack([torch.where(inside, ball[..., 0], x), torch.where(inside, within, below)], -1)
    at[..., 1] = torch.where(y <= top, above, at[..., 1])
    at = at * fixed([2 / CROP_WIDTH, 2 / CROP_HEIGHT], at) - 1
    return F.grid_sample(image, at, "bicubic", padding_mode="border", align_corners=False).clamp(0, 1)
