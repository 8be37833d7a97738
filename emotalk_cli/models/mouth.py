"""HEF's mouth painter: what is seen between the lips, at the mouth's own resolution.

Blocks of eq. 8-10 on a crop that is fixed to the skull and has one scale for all faces: strided convolutions read what
is known of the mouth, style-modulated ones paint it from coarse to fine, each adding to an image that begins as the
drawn mouth. A style vector says what cannot be seen: size, gaps and shade of the teeth. A reader finds it in a mouth
that shows them; otherwise it is drawn from a seed.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..face.geometry.mouth import CROP_HEIGHT, CROP_WIDTH, MOUTH_MAPS, laid, pasted
from ..face.model import N_IDENTITY
from ..face.raster import boxed, pixel_grid, waits
from ..numeric import fixed
from . import checkpoints
from .style import StyleConv

STYLE_SPREAD = 0.7  # of the prior, from which people's styles are taken: its middle looks most like teeth
RIM = 3.0  # px of the crop outside the driven inner lips that are painted too, where
SHOWN_RIM = 1.5  # the paint is shown up to this far: lips that warp well need none
READABLE = 40.0  # px of a portrait's own teeth from which on they tell its style


@dataclasses.dataclass(frozen=True)
class PainterDims:
    """Sizes that rebuild a MouthPainter; stored in its checkpoint.

    widths: channels at the crop's own grid, at half, ... of it. inputs: maps that it reads. style: numbers that tell
    one set of teeth from another.
    """

    widths: tuple[int, ...] = (12, 24, 40, 56, 64)
    inputs: int = 17
    style: int = 8

    def __post_init__(self):
        object.__setattr__(self, "widths", tuple(self.widths))


class MouthPainter(nn.Module):
    """Paints mouth crops. Fixed sizes in, fixed sizes out, no control flow that depends on them."""

    def __init__(self, dims: PainterDims | None = None):
        super().__init__()
        self.dims = d = dims or PainterDims()
        self.first = nn.Conv2d(d.inputs, d.widths[0], 3, padding=1)
        self.downs = nn.ModuleList(
            nn.ModuleList([nn.Conv2d(a, b, 4, 2, 1), nn.Conv2d(b, b, 3, padding=1)])
            for a, b in zip(d.widths, d.widths[1:], strict=False)
        )
        pairs = list(zip(d.widths[1:], d.widths, strict=False))[::-1]
        self.ups = nn.ModuleList(StyleConv(a, b, d.style, up=True) for a, b in pairs)
        self.convs = nn.ModuleList(StyleConv(2 * b, b, d.style, up=False) for _, b in pairs)
        self.heads = nn.ModuleList(nn.Conv2d(b, 3, 3, padding=1) for _, b in pairs)
        for head in self.heads:  # untrained, it paints what was drawn
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)
        self.reader = StyleReader(d.style)
        generator = torch.Generator().manual_seed(0)
        self.register_buffer("mixed", torch.randn(N_IDENTITY, d.style, generator=generator), persistent=False)

    @classmethod
    def load(cls, weights=None, device="cpu") -> MouthPainter:
        """The shipped painter in evaluation mode. Raises WeightsError."""
        checkpoint = checkpoints.load("mouth", weights)
        return checkpoint.fill(cls(checkpoint.sizes(PainterDims))).to(device, memory_format=torch.channels_last)

    def forward(self, maps: Tensor, base: Tensor, style: Tensor) -> Tensor:
        """What is known, maps [B,inputs,h,w], the drawn mouth base [B,3,h,w] 0..1 and style [B,style] -> [B,3,h,w],
        not clamped. h and w: multiples of 16."""
        x = F.leaky_relu(self.first(maps), 0.2)
        known = [x]
        for down, conv in self.downs:
            x = F.leaky_relu(conv(F.leaky_relu(down(x), 0.2)), 0.2)
            known.append(x)
        known.pop()
        image = None
        for up, conv, head in zip(self.ups, self.convs, self.heads, strict=True):
            x = conv(torch.cat([up(x, style), known.pop()], 1), style)
            step = head(x)
            if image is not None:
                step = step + F.interpolate(image, scale_factor=2, mode="bilinear", align_corners=False)
            image = step
        return base + image

    def maps(self, inside: Tensor, around: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What `forward` reads: maps [B,inputs,h,w], base [B,3,h,w], and where its paint shows, [B,1,h,w] 0..1.

        inside [B,14,h,w]: `Geometry.inside`; around [B,3,h,w] 0..1: the frame as the crop shows it.
        """
        distance, drawn, parts, normals, own, shown = inside.split(list(MOUTH_MAPS.values()), 1)
        hidden = (32 * distance + 2 * RIM + 1).clamp(0, 1)  # the distance is in units of 16 px
        within = [hidden * t for t in (drawn, parts, normals)]
        maps = torch.cat([distance, around * (1 - hidden), *within, own * shown, shown], 1)
        soft = drawn  # drawn lines between teeth are sharper than a camera sees them
        for _ in range(2):
            soft = F.avg_pool2d(soft, 3, 1, 1, count_include_pad=False)
        return maps, torch.lerp((drawn + soft) / 2, own, shown), ((16 * distance + RIM) / 2).clamp(0, 1)

    def style(self, inside: Tensor, identity: Tensor) -> Tensor:
        """The set of teeth [B,style] of a person: as the portrait shows them, else a face's, from α [1,N_IDENTITY+]."""
        own, shown = inside[:, -4:-1], inside[:, -1:]
        read = self.reader(own, shown)[0]
        taken = STYLE_SPREAD * F.normalize(identity[:, :N_IDENTITY], dim=1) @ self.mixed
        return torch.lerp(taken, read, (shown.sum((1, 2, 3)) / READABLE).clamp(0, 1)[:, None])

    def paint(self, frames: Tensor, inside: Tensor, place: Tensor, identity: Tensor) -> Tensor:
        """Mouths painted into frames [B,3,H,W] 0..1, in place.

        inside, place: as of `Geometry`, place leading to px of these frames; identity [1,N_IDENTITY+]: α first.
        """
        if not waits(frames) and float(inside[:, 0].max()) <= 0:
            return frames
        maps, base, cover = self.maps(inside, laid(frames, place))
        made = self(maps.contiguous(memory_format=torch.channels_last), base, self.style(inside, identity))
        distance = inside[:, :1]
        cover = torch.minimum(cover, ((16 * distance + SHOWN_RIM) / 2).clamp(0, 1))
        cover = cover * ((16 * distance.amax((2, 3), keepdim=True) - 0.3) / 0.8).clamp(0, 1)
        crop = torch.cat([made.clamp(0, 1), cover], 1)
        side = frames.shape[-1]
        rows = columns = slice(0, side)
        if not waits(frames):
            corners = fixed([[0, 0], [CROP_WIDTH, 0], [0, CROP_HEIGHT], [CROP_WIDTH, CROP_HEIGHT]], place)
            corners = corners @ place[:, :, :2].transpose(1, 2) + place[:, None, :, 2]
            rows, columns = boxed(corners, 0, side)
        crop = pasted(crop, place, pixel_grid(side, side, place.device)[rows, columns])
        frames[..., rows, columns] = torch.lerp(frames[..., rows, columns], crop[:, :3], crop[:, 3:])
        return frames


class StyleReader(nn.Module):
    """The style of a mouth that shows its teeth, as mean and log variance."""

    def __init__(self, style: int):
        super().__init__()
        widths = (4, 16, 24, 32, 48)
        self.layers = nn.ModuleList(nn.Conv2d(a, b, 4, 2, 1) for a, b in zip(widths, widths[1:], strict=False))
        self.last = nn.Linear(widths[-1], 2 * style)
        nn.init.normal_(self.last.weight, std=0.02)
        nn.init.zeros_(self.last.bias)

    def forward(self, mouth: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Mouth crop [B,3,h,w] 0..1 and where it is to be read [B,1,h,w] -> mean and log variance [B,style]."""
        x = torch.cat([(mouth - 0.4) * mask * 2, mask], 1)
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.2)
        weight = F.adaptive_avg_pool2d(mask, x.shape[2:]) + 1e-3
        x = (x * weight).sum((2, 3)) / weight.sum((2, 3))
        return self.last(x).chunk(2, 1)
