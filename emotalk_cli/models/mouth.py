"""HEF's mouth painter: what is seen between the lips, at the mouth's own resolution.

Blocks of eq. 8-10 on a crop that is fixed to the skull and has one scale for all faces: strided convolutions read what
is known of the mouth, style-modulated ones paint it from coarse to fine, each adding to an image that begins as the
drawn mouth. A style vector says what cannot be seen: size, gaps and shade of the teeth. In training a reader finds it
in the photo that is to be painted; in use it follows from the face's shape.
"""

from __future__ import annotations

import dataclasses
import os

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..face.geometry.crop import CROP_HEIGHT, CROP_WIDTH, REACH, covered, laid, paste
from ..face.geometry.mouth import MOUTH_MAPS
from ..face.model import N_IDENTITY
from ..face.raster import waits
from ..numeric import channels_last, fixed, silence, smoothstep
from . import checkpoints
from .style import StyleConv, halve

STYLE_SPREAD = 0.7  # of the prior, from which people's styles are taken: its middle looks most like teeth
RIM = 4.5  # px of the crop outside the driven inner lips that are painted too, where
SHOWN_RIM = 2.25, 3.25  # the paint is shown up to this far, by a slim opening and by others: lips that warp well need
# none, and slim openings would close
SLIM = 5.0, 12.0  # px inside the lips, of the deepest, up to which an opening is slim, and from which on it is not
WIDER = 4.0  # px by which the contours of training photos lie on the lips, outside what is between them
GAPING = 8.0, 16.0  # px inside the lips from which on, and fully, that does not matter
SOFT = 3.0  # px over which it fades
SLIT, WIDE = 0.5, 1.7  # px inside the lips from which on a mouth is painted, and fully so
LOW = slice(16, 112)  # rows of the crop that hold all but gaping mouths
DEEP = 3.0, 9.0  # px inside the lips from which on, and fully, the drawn mouth counts where it has no teeth
DRAWN = 0.9  # how far it then does
OWN_SOFT = 1.5  # px outside them over which own teeth fade
JOIN = 7.0, 3.0  # px outside the lips up to which their colour is compared, and over which that fades
LACK = 0.25  # most of it
CARRIED = 6.0  # px inside them to which the difference is carried
SHARE = 0.3  # of the opening's depth, in which it does at most
YELLOW = 0.96  # blue by green, of the drawn teeth's: real teeth have 0.99 of it, a tenth of them less than 0.87


@dataclasses.dataclass(frozen=True)
class PainterDims:
    """Sizes that rebuild a MouthPainter; stored in its checkpoint.

    widths: channels at half of the crop's own grid, at a quarter, ... of it. inputs: maps that it reads. style: numbers
    that tell one set of teeth from another.
    """

    widths: tuple[int, ...] = (24, 40, 96, 160)
    inputs: int = 17
    style: int = 12

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(self.widths))


class MouthPainter(nn.Module):
    """Paints mouth crops. Fixed sizes in, fixed sizes out, no control flow that depends on them.

    What is dear runs on coarse grids: four pixels enter as one, and leave as one.
    """

    mixed: Tensor

    def __init__(self, dims: PainterDims | None = None) -> None:
        super().__init__()
        self.dims = d = dims or PainterDims()
        widths = d.widths
        self.first = nn.Conv2d(d.inputs, widths[0], 2, 2)
        self.second = nn.Conv2d(widths[0], widths[0], 3, padding=1)
        self.downs = nn.ModuleList(
            nn.ModuleList([nn.Conv2d(a, b, 4, 2, 1), nn.Conv2d(b, b, 3, padding=1)])
            for a, b in zip(widths, widths[1:], strict=False)
        )
        self.deep = StyleConv(widths[-1], widths[-1], d.style, up=False)
        pairs = list(zip(widths[1:], widths, strict=False))[::-1]
        self.ups = nn.ModuleList(StyleConv(a, b, d.style, up=True) for a, b in pairs)
        self.convs = nn.ModuleList(StyleConv(b, b, d.style, up=False) for _, b in pairs)
        self.heads = nn.ModuleList(nn.Conv2d(b, 3 if b != widths[0] else 12, 3, padding=1) for _, b in pairs)
        silence(self.heads)  # untrained, it paints what was drawn
        self.reader = StyleReader(d.style)
        generator = torch.Generator().manual_seed(0)
        self.register_buffer("mixed", torch.randn(N_IDENTITY, d.style, generator=generator), persistent=False)

    @classmethod
    def load(cls, weights: str | os.PathLike[str] | None = None, device: str | torch.device = "cpu") -> MouthPainter:
        """The shipped painter in evaluation mode. Raises WeightsError."""
        checkpoint = checkpoints.load("mouth", weights)
        return channels_last(checkpoint.fill(cls(checkpoint.sizes(PainterDims))).to(device))

    def halve(self) -> None:
        """Convolve in bfloat16 from now on, as `HEF.halve`."""
        halve(self.first, self.second, self.downs, self.deep, self.ups, self.convs, self.heads)

    def forward(self, maps: Tensor, base: Tensor, style: Tensor) -> Tensor:
        """What is known, maps [B,inputs,h,w], the drawn mouth base [B,3,h,w] 0..1 and style [B,style] -> [B,3,h,w],
        not clamped. h and w: multiples of 16."""
        x = F.leaky_relu(self.first(maps.to(self.first.weight.dtype)), 0.2)
        x = F.leaky_relu(self.second(x), 0.2)
        known = [x]
        for pair in self.downs:
            for conv in pair.children():
                x = F.leaky_relu(conv(x), 0.2)
            known.append(x)
        x = known.pop() + self.deep(x, style)
        image = base.new_zeros(len(base), 3, x.shape[2], x.shape[3])
        for up, conv, head in zip(self.ups, self.convs, self.heads, strict=True):
            x = conv(up(x, style) + known.pop(), style)
            image = F.interpolate(image, scale_factor=2, mode="bilinear", align_corners=False)
            step = head(x).to(base.dtype)
            if known:
                image = image + step
        image = F.interpolate(image, scale_factor=2, mode="bilinear", align_corners=False)
        return base + image + F.pixel_shuffle(step, 2)

    def maps(self, inside: Tensor, around: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What `forward` reads: maps [B,inputs,h,w], base [B,3,h,w], and where its paint shows, [B,1,h,w] 0..1.

        inside [B,14,h,w]: `Geometry.inside`; around [B,3,h,w] 0..1: the frame as the crop shows it.
        """
        distance, drawn, parts, normals, own, shown = inside.split(list(MOUTH_MAPS.values()), 1)
        hidden = (2 * (REACH * distance + RIM) + 1).clamp(0, 1)
        within = [hidden * t for t in (drawn, parts, normals)]
        maps = torch.cat([distance, around * (1 - hidden), *within, own * shown, shown], 1)
        soft = drawn  # drawn lines between teeth are sharper than a camera sees them
        for size in (5, 3):
            soft = mean_around(soft, size)
        return maps, torch.lerp((drawn + soft) / 2, own, shown), ((REACH * distance + RIM) / SOFT).clamp(0, 1)

    def painting(self, inside: Tensor, around: Tensor, style: Tensor) -> tuple[Tensor, Tensor]:
        """The mouth [B,3,h,w], not clamped, and where it may show [B,1,h,w] 0..1; inside, around: as of `maps`."""
        maps, base, cover = self.maps(inside, around)
        made = self(maps.contiguous(memory_format=torch.channels_last), base, style)
        return torch.lerp(made, base.to(made.dtype), depth(inside).to(made.dtype)), cover

    def style(self, identity: Tensor) -> Tensor:
        """The set of teeth [1,style] of a face, from α [1,N_IDENTITY+].

        Not as `reader` finds it in a portrait that shows its own: these are shown as they are, and a smile's style drew
        a light ring of lower teeth along the lips of all other mouths.
        """
        return STYLE_SPREAD * F.normalize(identity[:, :N_IDENTITY], dim=1) @ self.mixed

    def paint(self, frames: Tensor, inside: Tensor, place: Tensor, identity: Tensor) -> Tensor:
        """Mouths painted into frames [B,3,H,W] 0..1, in place.

        inside, place: as of `Geometry`, place leading to px of these frames; identity [1,N_IDENTITY+]: α first.
        Most mouths need only `LOW` rows of the crop; which, each frame says for itself, whatever it is made with.
        """
        style, side = self.style(identity).expand(len(inside), -1), frames.shape[-1]
        if waits(frames):
            return self._painted(frames, inside, place, style, slice(0, side), slice(0, side))
        reach = (REACH * inside[:, 0] > -RIM).any(2)
        seen = REACH * inside[:, 0].amax((1, 2)) > SLIT
        tall = reach[:, : LOW.start].any(1) | reach[:, LOW.stop :].any(1)
        kinds = (seen.int() * (1 + tall.int())).tolist()
        for kind, lines in ((1, LOW), (2, slice(0, CROP_HEIGHT))):
            chosen = [i for i, k in enumerate(kinds) if k == kind]
            if not chosen:
                continue
            every = len(chosen) == len(kinds)  # copies of frames are dear
            part, maps, corner, sets = (t if every else t[chosen] for t in (frames, inside[:, :, lines], place, style))
            corner = corner + lines.start * F.pad(corner[:, :, 1:2], (2, 0))
            box = covered(corner, lines.stop - lines.start, CROP_WIDTH, side)
            part = self._painted(part, maps, corner, sets, *box)
            if not every:
                frames[chosen] = part
        return frames

    def _painted(
        self, frames: Tensor, inside: Tensor, place: Tensor, style: Tensor, rows: slice, columns: slice
    ) -> Tensor:
        """`paint` for some lines of the crop, inside [B,14,height,w]; place: where they begin. rows and columns of the
        frames hold them."""
        inside = between(inside)
        around, distance = laid(frames, place, inside.shape[2]), REACH * inside[:, :1]
        made, cover = self.painting(widened(inside), around, style)
        made = whitened(joined(made, around, inside), inside)
        deepest, (least, most), (slim, deep) = distance.amax((2, 3), keepdim=True), SHOWN_RIM, SLIM
        rim = least + (most - least) * ((deepest - slim) / (deep - slim)).clamp(0, 1)
        cover = torch.minimum(cover, ((distance + rim) / SOFT).clamp(0, 1))
        cover = cover * ((deepest - SLIT) / (WIDE - SLIT)).clamp(0, 1)
        crop = _smoothed(torch.cat([made.clamp(0, 1), cover], 1))
        paste(frames, crop, place, rows, columns)
        return frames


def between(inside: Tensor) -> Tensor:
    """Maps [B,14,h,w] of `Geometry.inside` whose own teeth end at the driven lips, as they do in training: of what lips
    hide, the painter made a light ring along them."""
    others, shown = inside.split([inside.shape[1] - 1, 1], 1)
    return torch.cat([others, shown * (REACH / OWN_SOFT * inside[:, :1] + 1).clamp(0, 1)], 1)


def widened(inside: Tensor) -> Tensor:
    """Maps [B,14,h,w] of `Geometry.inside` with the lips' contour where photos are labelled: a driven one lies where
    closed lips part, and a mouth painted as if it were labelled would be a third lip narrower."""
    distance, others = inside.split([1, inside.shape[1] - 1], 1)
    deepest, (start, end) = REACH * distance.amax((2, 3), keepdim=True), GAPING
    wider = WIDER * (1 - ((deepest - start) / (end - start)).clamp(0, 1))
    return torch.cat([(distance + wider / REACH).clamp(-1, 1), others], 1)


def joined(made: Tensor, around: Tensor, inside: Tensor) -> Tensor:
    """A painted mouth [B,3,h,w] whose lips have the colour of those in the frame, around [B,3,h,w], which the painter
    cannot know: what it lacks of them at their rim is carried on inwards, and fades; not onto teeth that the portrait
    shows. inside: as of `Geometry`; h and w: multiples of 4."""
    thin = (..., slice(None, None, 2), slice(None, None, 2))  # every second px tells as much, in a quarter of the time
    distance, (end, soft) = REACH * inside[:, :1], JOIN
    near, lack = distance[thin], (around[thin] - made[thin]).contiguous()
    rim = (near / -1.5).clamp_(0, 1) * ((near + end) / soft).clamp_(0, 1)
    lack = F.avg_pool2d(torch.cat([lack * rim, rim], 1), 2)
    for _ in range(2):
        lack = F.avg_pool2d(lack, 5, 1, 2)
    lack = (lack[:, :3] / lack[:, 3:].clamp_min(1e-3)).clamp_(-LACK, LACK)
    reach = (distance.amax((2, 3), keepdim=True) * SHARE).clamp_(1, CARRIED)  # or slim openings would close
    carried = smoothstep((1 - distance / reach).clamp_(0, 1)) * (1 - inside[:, -1:])
    return made.addcmul(F.interpolate(lack, scale_factor=4, mode="bilinear", align_corners=False), carried)


def whitened(made: Tensor, inside: Tensor) -> Tensor:
    """A painted mouth [B,3,h,w] without yellow: nothing between lips is yellower than the drawn teeth, but for what the
    portrait shows itself. inside: as of `Geometry`."""
    thin = inside[..., ::4, ::4]
    light = (thin[:, 2:4] * thin[:, 4:6].sum(1, keepdim=True)).sum((2, 3), keepdim=True) + 1e-4
    within = (REACH / 2 * inside[:, :1]).clamp_(0, 1) * (1 - inside[:, -1:])
    red, green, blue = made.split(1, 1)
    lack = (YELLOW * light[:, 1:] / light[:, :1] * green).sub_(blue).clamp_(min=0)
    return torch.cat([red, green, blue.addcmul(within, lack)], 1)


def mean_around(maps: Tensor, size: int) -> Tensor:
    """Means of squares of `size` px, odd, around each of [B,C,h,w], of what lies within."""
    if waits(maps):
        return F.avg_pool2d(maps, size, 1, size // 2, count_include_pad=False)
    reach = size // 2  # along, then across: a sixth of the time
    for axis, margins in ((3, (reach, reach)), (2, (0, 0, reach, reach))):
        length, padded = maps.shape[axis], F.pad(maps, margins)
        total = padded.narrow(axis, 0, length).clone()
        for k in range(1, size):
            total += padded.narrow(axis, k, length)
        at = torch.arange(length)
        count = (at + reach).clamp_max(length - 1) - (at - reach).clamp_min(0) + 1
        maps = total / (count if axis == 3 else count[:, None])
    return maps


def depth(inside: Tensor) -> Tensor:
    """How far the drawn mouth counts [B,1,h,w] behind and below the teeth, of which few photos tell. inside: as of
    `Geometry`."""
    teeth = mean_around(inside[:, 4:6].sum(1, keepdim=True), 9)
    start, end = DEEP
    far = ((REACH * inside[:, :1] - start) / (end - start)).clamp(0, 1)
    return DRAWN * far * (1 - teeth).clamp(0, 1) * (1 - inside[:, -1:])


class StyleReader(nn.Module):
    """The style of a mouth that shows its teeth, as mean and log variance."""

    def __init__(self, style: int) -> None:
        super().__init__()
        widths = (4, 24, 48, 64, 96)
        self.layers = nn.ModuleList(nn.Conv2d(a, b, 4, 2, 1) for a, b in zip(widths, widths[1:], strict=False))
        self.last = nn.Linear(widths[-1], 2 * style)
        nn.init.normal_(self.last.weight, std=0.02)
        nn.init.zeros_(self.last.bias)

    def forward(self, mouth: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Mouth crop [B,3,h,w] 0..1 and where it is to be read [B,1,h,w] -> mean and log variance [B,style]."""
        x = torch.cat([(mouth - 0.4) * mask * 2, mask], 1)
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.2)
        weight = F.adaptive_avg_pool2d(mask, (x.shape[2], x.shape[3])) + 1e-3
        x = (x * weight).sum((2, 3)) / weight.sum((2, 3))
        return self.last(x).chunk(2, 1)


def _smoothed(crop: Tensor) -> Tensor:
    """The crop [B,C,h,w] without what a frame of half its resolution could not hold, and would flicker with."""
    line = fixed([0.25, 0.5, 0.25], crop)
    kernel = (line[:, None] * line).expand(crop.shape[1], 1, 3, 3)
    return F.conv2d(F.pad(crop, (1, 1, 1, 1), mode="replicate"), kernel, groups=crop.shape[1])
