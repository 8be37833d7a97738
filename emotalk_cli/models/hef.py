"""High-fidelity Emotional Face generator (Sec. 3.4, eq. 7–10), started from the geometry.

The paper's blocks warp source features, modulate generated ones by the style code and read the rendered driving
face, refining a flow and an image from coarse to fine. Here both start from the geometry instead of from zero:
φ_i = Down(φ_geo) + ψ_i, and the image adds to the full-resolution warped source. An untrained network therefore
returns the geometry's frame. Only a fixed window of the portrait crop passes through the network, and only the
neighbourhood of the face is ever changed.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import os
from collections.abc import Callable, Iterator, Sequence
from types import EllipsisType
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..constants import CROP_SIZE
from ..face import card, kernels
from ..face.fit import CROP_LIFT, PortraitFit
from ..face.geometry import FaceMotion, Geometry, lit, relight, still
from ..face.geometry.maps import HEADROOM
from ..face.geometry.palette import LUMA
from ..face.model import N_EXPRESSION, N_IDENTITY, N_ILLUMINATION, N_POSE, N_TEXTURE
from ..face.raster import CUBIC, boxed, doubled, halved, packed, pixel_grid, polygon_distance, sharp_sample, span, waits
from ..face.topology import INNER_LIPS, LEFT_EYE, RIGHT_EYE
from ..numeric import channels_last, fixed, silence
from . import checkpoints
from .acceleration import Steady, check, resolved, steady
from .lids import LidPainter
from .mouth import MouthPainter
from .style import StyleConv, halve

FLOW_UNIT = 2.0  # px of flow per unit of network output
BLOCKS = 7
SPLIT = 3  # block whose flow a network without hierarchy keeps; finer blocks may be restricted to a region
DRIVEN_CHANNELS = 8
# In a mouth that the source hides, teeth are repainted and the dark between them stays dark: the generated residual
# grows from nothing to all between these brightnesses of the drawn interior, relative to its brightest point.
DARK = (0.35, 0.6)
WHITE = (0.68, 0.78)  # darkest / brightest colour channel: tongue and gums are below, teeth above, in any light
REGION_STEP, REGION_MARGIN = 16, 16  # px: fine blocks run on the face's box, of whole steps, and what its rim reads
# Most by which repainting may shift the colour (beside the brightness) and the brightness of skin, which expression
# shades and does not dye, and of drawn teeth: more makes skin painted, and of a row of teeth wires or a bar.
SKIN_TINT, TINT = 0.04, 0.02
SHADE, TOOTH_SHADE = (-0.10, 0.04), (-0.04, 0.04)
# The last block runs at the lips alone: a box around them with a margin (px), which fades in over its rim; of a fixed
# size (height, width px) where the card would have to be waited for.
DETAIL_MARGIN, DETAIL_RIM = 10, 4
DETAIL = (112, 160)
# Eyes are the geometry's and the lid painter's: around them, in widths of an eye from its middle, across and down, what
# the network does fades in between these parts of an ellipse. What it did there was further from real eyes.
EYE_REACH, EYE_FADE = (0.85, 0.7), (0.8, 1.2)
BROAD = 9  # px of half size: what the network does to a portrait at rest is taken back where it is broader than this
LIT_TEETH = 0.35  # an interior without a point as bright as this shows no teeth


@dataclasses.dataclass(frozen=True)
class HEFDims:
    """Sizes and variants that rebuild a HEF; stored in its checkpoint.

    window: side in px of the square of the 512-px crop that the network sees; its grids are
    window/64 .. window. source, style, rendered: channels of F^s_i, StyleConv and F^rd_i, coarse to fine
    (the last source and rendered levels are raw pixels). residual, hierarchy, geometry: False gives the rows
    "w/o res.", "w/o hie." (one flow field, window/8) of Tab. 3, and a flow that starts from zero.
    """

    window: int = 384
    source: tuple[int, ...] = (48, 48, 48, 40, 24, 16, 4)
    style: tuple[int, ...] = (96, 96, 64, 48, 32, 24, 12)
    rendered: tuple[int, ...] = (32, 32, 32, 24, 16, 12, DRIVEN_CHANNELS)
    code: int = 128
    sigma: int = 192
    residual: bool = True
    hierarchy: bool = True
    geometry: bool = True

    def __post_init__(self) -> None:
        for name in ("source", "style", "rendered"):
            object.__setattr__(self, name, tuple(getattr(self, name)))

    @property
    def origin(self) -> tuple[int, int]:
        """Top and left of the window in the portrait crop, centred on the landmarks' box."""
        margin = (CROP_SIZE - self.window) // 2
        return min(margin + round(CROP_LIFT * CROP_SIZE), CROP_SIZE - self.window), margin


@dataclasses.dataclass
class Source:
    """What HEF keeps of a portrait: window pixels [1,3,w,w] and the same at half size, soft open-mouth mask [1,1,w,w],
    the feature pyramid F^s_0..F^s_6, and [α, δ, γ] as [1,187]; whole: the portrait crop as compiled loops read it;
    eyes: as the lid painter wants them."""

    image: Tensor
    small: Tensor
    mouth: Tensor
    pyramid: list[Tensor]
    identity: Tensor
    whole: Tensor | None = None
    eyes: tuple[Tensor, Tensor] | None = None


@dataclasses.dataclass
class Drive:
    """Geometry inside the window: flow [B,2,w,w] px; rendered, interior [B,3,w,w]; hue [B,3]; the others [B,1,w,w]."""

    flow: Tensor
    rendered: Tensor
    interior: Tensor
    ratio: Tensor
    mouth: Tensor
    own: Tensor
    face: Tensor
    eyes: Tensor
    hue: Tensor


class Fields(NamedTuple):
    """What block i leaves: features [B,·,h,w]; psi [B,2,h,w] px, what the flow of the geometry lacks; image [B,3,h,w],
    residual colour; blend [B,1,h,w], logits of the mask (None before the last two blocks)."""

    features: Tensor
    psi: Tensor
    image: Tensor
    blend: Tensor | None

    def each(self, change: Callable[[Tensor], Tensor]) -> Fields:
        """With every map changed alike."""
        blend = None if self.blend is None else change(self.blend)
        return Fields(change(self.features), change(self.psi), change(self.image), blend)

    def mixed(self, rows: Tensor) -> Fields:
        """rows [N,B]: what each of N takes of each."""
        return self.each(lambda maps: torch.einsum("nb,bchw->nchw", rows.to(maps.dtype), maps))

    @property
    def share(self) -> Tensor:
        """The mask [B,1,h,w], 0..1."""
        assert self.blend is not None  # of the last two blocks
        return self.blend.sigmoid()


@dataclasses.dataclass(frozen=True)
class Area:
    """A rectangle of HEF's window, in its px: whole steps of 16."""

    rows: slice
    columns: slice

    @property
    def corner(self) -> tuple[int, int]:
        return self.rows.start, self.columns.start

    @property
    def size(self) -> tuple[int, int]:
        return self.rows.stop - self.rows.start, self.columns.stop - self.columns.start

    def of(self, tensor: Tensor, scale: int = 1) -> Tensor:
        """Its part of a tensor [B,C,·,·] over the window whose cells are `scale` px."""
        rows, columns = (slice(s.start // scale, s.stop // scale) for s in (self.rows, self.columns))
        return tensor[..., rows, columns]

    def box(self, dims: HEFDims, scale: int = 1) -> tuple[EllipsisType, slice, slice]:
        """The index of its part of a tensor over the portrait crop."""
        rows, columns = (
            slice((o + s.start) // scale, (o + s.stop) // scale) for o, s in zip(dims.origin, (self.rows, self.columns))
        )
        return ..., rows, columns


def warp(image: Tensor, flow: Tensor, extent: float, origin: Tensor | None = None, sharp: bool = False) -> Tensor:
    """Sample image [B or 1,C,H,W], which spans `extent` px a side, at pixel + flow [B,2,h,w] px.

    The flow's grid spans the image, or with origin [B,2] (x, y px) a region of it at the image's resolution. With
    `sharp` as `sharp_sample`.
    """
    height, width = flow.shape[2:]
    step = extent / (width if origin is None else image.shape[-1])
    if card.usable(image, flow):
        scale = image.shape[-1] / extent, image.shape[-2] / extent
        return card.read(image, flow, scale, step, origin=origin, cubic=CUBIC if sharp else None)
    base = pixel_grid(height, width, flow.device).permute(2, 0, 1)[None] * step
    if origin is not None:
        base = base + origin[:, :, None, None]
    grid = ((base + flow) * (2 / extent) - 1).permute(0, 2, 3, 1)
    image = image.expand(len(flow), -1, -1, -1)
    if sharp:
        return sharp_sample(image, grid)
    return F.grid_sample(image, grid, align_corners=False, padding_mode="border")


def region(tensor: Tensor, corners: list[tuple[int, int]], size: tuple[int, int]) -> Tensor:
    """Rectangles of (height, width) cells of [B,C,H,W], one (top, left) for each row, or one for all."""
    height, width = size
    if len(set(corners)) == 1:
        y, x = corners[0]
        return tensor[:, :, y : y + height, x : x + width]
    return torch.stack([row[:, y : y + height, x : x + width] for row, (y, x) in zip(tensor, corners, strict=True)])


def patches(frames: Tensor, corners: Tensor, size: tuple[int, int]) -> tuple[Tensor | slice, ...]:
    """The index of rectangles of (height, width) cells of [B,C,H,W], at (y, x) [N,2] of frames [N]: picks [N,h,w,C]."""
    rows, columns = (corners[:, k, None] + torch.arange(size[k], device=corners.device) for k in (0, 1))
    return frames[:, None, None], slice(None), rows[:, :, None], columns[:, None]


def _part(tensor: Tensor, scale: int, corners: list[tuple[int, int]] | None, size: tuple[int, int] | None) -> Tensor:
    """The rectangles of `region`, given in px, of a tensor whose cells are `scale` px; without them all of it."""
    if corners is None or size is None:
        return tensor
    return region(tensor, [(y // scale, x // scale) for y, x in corners], (size[0] // scale, size[1] // scale))


def occupied(mask: Tensor, step: int = 1, margin: int = 0) -> tuple[slice, slice]:
    """Rows and columns of the smallest box, of whole `step`s, with all that is above 0 in [B,1,H,W] and a margin; all
    where the card would have to be waited for."""
    if waits(mask):
        return slice(0, mask.shape[2]), slice(0, mask.shape[3])

    def along(axis: int, length: int) -> slice:
        low, high = span(mask.amax((0, 1, 5 - axis))) or (0, 1)
        low, high = (low - margin) // step * step, -(-(high + margin) // step) * step
        return slice(max(0, low), min(length, high))

    return along(2, mask.shape[2]), along(3, mask.shape[3])


def smaller(geometry: Geometry) -> Geometry:
    """The geometry at half size; its flow is in px of the portrait crop as ever."""
    kept = {name: getattr(geometry, name) for name in ("torn", "opened", "hue", "colours", "plain")}
    whole = {"lids", "inside", "place", "regions", "rims", *kept}
    maps = {f.name: halved(getattr(geometry, f.name)) for f in dataclasses.fields(geometry) if f.name not in whole}
    colour, cover = geometry.lids.split([3, 1], 1)
    rows = slice(0, cover.shape[2])
    if not waits(cover):
        low, high = span(cover.amax((0, 1, 3))) or (0, 1)
        rows = slice(low // 2 * 2, (high + 1) // 2 * 2)
    lids = geometry.lids.new_zeros(len(cover), 4, *maps["mouth"].shape[2:])
    part = lids[:, :, rows.start // 2 : rows.stop // 2]
    part[:, 3:] = halved(cover[:, :, rows])  # a colour counts as far as it covers
    part[:, :3] = halved(colour[:, :, rows] * cover[:, :, rows]) / part[:, 3:].clamp_min(1e-4)
    placed = {"inside": geometry.inside} | {n: getattr(geometry, n) / 2 for n in ("place", "regions", "rims")}
    return Geometry(**maps, lids=lids, **placed, **kept)


def stacked(maps: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
    """Maps [B,·,H,W] side by side, channels last: three times as fast as concatenation."""
    count, height, width = len(maps[0]), *maps[0].shape[2:]
    channels = [m.shape[1] for m in maps]
    shape = count, sum(channels), height, width
    out = torch.empty(shape, dtype=dtype, device=maps[0].device, memory_format=torch.channels_last)
    for place, values in zip(out.split(channels, 1), maps, strict=True):
        place.copy_(values)
    return out


def paired(frames: Tensor) -> Tensor:
    """Means of frames [B,...] 0 and 1, 2 and 3, ...; of an odd number the last as it is: [(B+1)//2,...]."""
    even = len(frames) // 2 * 2
    return torch.cat([(frames[0:even:2] + frames[1:even:2]) / 2, frames[even:]])


def between_pairs(count: int) -> Tensor:
    """What each of `count` frames takes of what `paired` gives, linear in time: [B,(B+1)//2]."""
    times = torch.arange(count, dtype=torch.float32)
    middles = paired(times)
    after = torch.searchsorted(middles, times).clamp(1, len(middles) - 1)
    share = ((times - middles[after - 1]) / (middles[after] - middles[after - 1])).clamp(0, 1)
    rows = torch.zeros(count, len(middles)).scatter_(1, after[:, None] - 1, 1 - share[:, None])
    return rows.scatter_(1, after[:, None], share[:, None])


def upsample(tensor: Tensor) -> Tensor:
    """Bilinear doubling."""
    return F.interpolate(tensor, scale_factor=2, mode="bilinear", align_corners=False)


def soften(tensor: Tensor) -> Tensor:
    """Binomial 3x3 blur: removes the one-pixel pattern that strided kernels leave."""
    x = F.pad(tensor, (1, 1, 1, 1))
    x = x[..., 1:, :] + x[..., :-1, :]
    x = x[..., 1:, :] + x[..., :-1, :]
    x = x[..., 1:] + x[..., :-1]
    return (x[..., 1:] + x[..., :-1]) / 16


def grown(mask: Tensor) -> Tensor:
    """The largest of the 3x3 px around each of [B,C,h,w], none below 0: what pooling does in ten times the time on the
    CPU."""
    x = F.pad(mask, (1, 1, 1, 1))
    for axis in (2, 3):
        length = mask.shape[axis]
        x = x.narrow(axis, 0, length).maximum(x.narrow(axis, 1, length)).maximum(x.narrow(axis, 2, length))
    return x


def fast_bfloat16(device: torch.device) -> bool:
    """Whether the processor multiplies bfloat16 faster than float32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type != "cpu" or not hasattr(torch.cpu, "get_capabilities"):  # PyTorch before 2.10 does not tell
        return False
    found = torch.cpu.get_capabilities()
    return bool(found.get("avx512_bf16") or found.get("amx_bf16"))


class Pyramid(nn.Module):
    """E_src or E_rd: strided convolutions from pixels to window/64, features returned coarse to fine."""

    def __init__(self, inputs: int, channels: tuple[int, ...]) -> None:
        super().__init__()
        widths = [inputs, *reversed(channels[:-1])]
        first = nn.Conv2d(inputs, widths[1], 4, stride=2, padding=1)
        rest = [nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in zip(widths[1:-1], widths[2:], strict=True)]
        self.layers = nn.ModuleList([first, *rest])

    def forward(self, x: Tensor) -> list[Tensor]:
        """[B,inputs,w,w] -> features at w/64 .. w/2, then x itself."""
        x = x.contiguous(memory_format=torch.channels_last)
        first, *rest = self.layers
        return [*self._levels(F.leaky_relu(first(x), 0.2), rest), x]

    def forward_half(self, x: Tensor) -> list[Tensor]:
        """As `forward` reads x [B,inputs,w/2,w/2] with every pixel doubled: features at w/64 .. w/2."""
        x = x.contiguous(memory_format=torch.channels_last)
        first, *rest = self.layers
        assert isinstance(first, nn.Conv2d)
        rows = torch.stack([first.weight[:, :, 0], first.weight[:, :, 1:3].sum(2), first.weight[:, :, 3]], 2)
        kernel = torch.stack([rows[..., 0], rows[..., 1:3].sum(3), rows[..., 3]], 3)
        return self._levels(F.leaky_relu(F.conv2d(x, kernel, first.bias, padding=1), 0.2), rest)

    @staticmethod
    def _levels(x: Tensor, layers: list[nn.Module]) -> list[Tensor]:
        levels = [x]
        for layer in layers:
            x = F.leaky_relu(layer(x), 0.2)
            levels.append(x)
        return levels[::-1]


def source_of(hef: HEF | None, portrait: PortraitFit, motion: FaceMotion | None = None) -> Source | None:
    """What a generator keeps of a portrait, as `HEF.source`; None without one."""
    return None if hef is None else hef.source(portrait, motion)


def generated(
    hef: HEF | None,
    source: Source | None,
    geometry: Geometry,
    beta: Tensor,
    pose: Tensor,
    sigma: Tensor | None = None,
    half: bool = False,
) -> Tensor:
    """Frames [B,3,·,·] of `HEF.forward`, or, without a generator, of the geometry alone."""
    if hef is None:
        return geometry.composite()
    assert source is not None, "a generator's source goes with it"
    frames: Tensor = hef(source, geometry, beta, pose, sigma, half)
    return frames


class HEF(nn.Module):
    """Source features once a portrait, then frames from geometry and style (see module)."""

    def __init__(self, dims: HEFDims | None = None) -> None:
        super().__init__()
        self.dims = d = dims or HEFDims()
        self.engine = "eager"
        self.fast: Steady | None = None  # compiled or captured blocks
        self.identity_size = N_IDENTITY + N_TEXTURE + N_ILLUMINATION
        self.style = nn.Linear(self.identity_size + N_EXPRESSION + N_POSE + d.sigma, d.code)
        nn.init.normal_(self.style.weight, std=0.05)
        with torch.no_grad():  # stills leave p_d and σ̂ at zero in training; untrained, they must do nothing
            self.style.weight[:, -(N_POSE + d.sigma) :] = 0
        self.encode_source = Pyramid(4, d.source)
        self.encode_rendered = Pyramid(DRIVEN_CHANNELS, d.rendered)
        self.start = nn.Parameter(torch.randn(1, d.style[0], d.window // 64, d.window // 64))
        widths = [sum(level) for level in zip(d.source, d.style, d.rendered, strict=True)]
        before = [d.style[0], *widths[:-1]]
        self.convs = nn.ModuleList(
            StyleConv(a, b, d.code, up=i > 0) for i, (a, b) in enumerate(zip(before, d.style, strict=True))
        )
        # F_flow (2), F_rgb (3) and, in blocks that may be the last, the blend mask (1) read the same features.
        self.heads = nn.ModuleList(
            nn.Conv2d(w, 6 if i >= BLOCKS - 2 else 5, 3, padding=1) for i, w in enumerate(widths)
        )
        silence(self.heads)
        self.painter: MouthPainter | None = None
        self.lids: LidPainter | None = None

    @classmethod
    def load(cls, weights: str | os.PathLike[str] | None = None, device: str | torch.device = "cpu") -> HEF:
        """The shipped generator in evaluation mode. Raises WeightsError."""
        checkpoint = checkpoints.load("hef", weights)
        model = channels_last(checkpoint.fill(cls(checkpoint.sizes(HEFDims))).to(device))
        if checkpoints.present("mouth", weights):
            model.painter = MouthPainter.load(weights, device)
        if checkpoints.present("lids", weights):
            model.lids = LidPainter.load(weights, device)
        if fast_bfloat16(torch.device(device)):
            model.halve()
        for module in model.modules():
            if isinstance(module, StyleConv):
                module.freeze()
        return model

    def halve(self) -> HEF:
        """Convolve in bfloat16 from now on: twice as fast where the hardware has it. Colour and flow stay float32."""
        halve(self.encode_rendered, self.heads, self.convs)
        for painter in (self.painter, self.lids):
            if painter is not None:
                painter.halve()
        return self

    def accelerate(self, engine: str) -> HEF:
        """Run by `engine` from now on: compile all blocks but the last; graphs are captured of whole frames, by who
        makes them; auto as `acceleration.resolved`. Raises UsageError."""
        check(engine, self.start.device)
        self.engine = resolved(engine, self.start.device)
        self.fast = steady(self.engine, self.arithmetic) if self.engine == "compile" else None
        return self

    def arithmetic(
        self, flow: Tensor, shown: Tensor, driven: Tensor, code: Tensor, *pyramid: Tensor
    ) -> tuple[Tensor, ...]:
        """All blocks but the last on the whole window at half size, as `Fields`: what engines run, in steady shapes."""
        return tuple(t for t in self.blocks(list(pyramid), flow, shown, driven, code)[0] if t is not None)

    def window(self, tensor: Tensor) -> Tensor:
        """The window of a portrait-crop tensor [B,C,512,512], or of one at half that size."""
        top, left, side = (n * tensor.shape[-1] // CROP_SIZE for n in (*self.dims.origin, self.dims.window))
        return tensor[..., top : top + side, left : left + side]

    def encode(self, image: Tensor, mouth: Tensor, identity: Tensor) -> Source:
        """Window pixels [B,3,w,w] 0..1, open-mouth mask [B,1,w,w], [α, δ, γ] [B,187] -> Source."""
        pyramid = self.encode_source(torch.cat([image, mouth], 1))
        pyramid = [level.contiguous() for level in pyramid]  # as sampling wants them
        return Source(image, halved(image), mouth, pyramid, identity)

    @torch.inference_mode()
    def source(self, portrait: PortraitFit, motion: FaceMotion | None = None) -> Source:
        """Everything that does not change from frame to frame. motion: the portrait's; with it, what the network does
        to a portrait that does not move is taken back beforehand."""
        device = self.start.device
        top, left = self.dims.origin
        picture = portrait.image[None].to(device)
        image = self.window(picture)
        mouth = self.open_mouth(portrait.landmarks[None].to(device))
        identity = torch.cat([portrait.alpha, portrait.delta, portrait.gamma])[None].to(device)
        source = self.encode(image, mouth, identity)
        rims = torch.stack([portrait.landmarks[ring, :2] for ring in (LEFT_EYE, RIGHT_EYE)]).to(device)
        source.eyes = LidPainter.eyes(picture, rims)
        if motion is not None:
            source.image = image - self.bias(source, motion)
            source.small = halved(source.image)
            picture = picture.clone()
            self.window(picture).copy_(source.image)
        source.whole = packed(picture) if device.type == "cpu" else None
        return source

    def bias(self, source: Source, motion: FaceMotion) -> Tensor:
        """What the network does to a portrait [1,3,w,w] that keeps its own expression, where that is broad: it evens
        out cheeks. Photos teach little about it, since there a face always moves."""
        beta = motion.source_beta
        pose = still(1, beta.device)
        geometry = motion.frame(beta, pose)
        drive = self.drive(smaller(geometry))
        hidden = self.hidden(drive)
        inputs = drive.flow, 1 - hidden, self.driven(drive, hidden), self.code(source, beta, pose, None)
        fields = self.blocks(source.pyramid, *inputs)[0]
        near = self.support(drive) * self.apart(geometry)
        psi = fields.psi * near
        change = self.painted(fields.image, near * self.free(drive, hidden) * fields.share, hidden)
        for sign, flow in ((1, drive.flow + psi), (-1, drive.flow)):
            change = change + sign * warp(source.small, flow, self.dims.window, sharp=True)
        change = change * (1 - F.max_pool2d(drive.mouth, 5, 1, 2))
        for _ in range(3):
            change = F.avg_pool2d(change, BROAD, 1, BROAD // 2)
        return upsample(change)

    def open_mouth(self, landmarks: Tensor) -> Tensor:
        """Soft inner-lip mask [B,1,w,w] of landmarks [B,478,2+] crop px."""
        top, left = self.dims.origin
        lips = landmarks[:, INNER_LIPS, :2] - landmarks.new_tensor([left, top])
        grid = pixel_grid(self.dims.window, self.dims.window, lips.device)
        rows, columns = boxed(lips, 2, self.dims.window)
        mask = lips.new_zeros(len(lips), 1, *grid.shape[:2])
        mask[:, 0, rows, columns] = (polygon_distance(lips, grid[rows, columns]) / 1.5 + 0.5).clamp(0, 1)
        return mask

    def drive(self, geometry: Geometry) -> Drive:
        """The window's part of a geometry; without the geometry start, flow 0 and ratio 1."""
        maps = {f.name: getattr(geometry, f.name) for f in dataclasses.fields(Drive)}
        return self._masked(Drive(**{k: v if k == "hue" else self.window(v) for k, v in maps.items()}))

    def _masked(self, drive: Drive) -> Drive:
        if self.dims.geometry:
            return drive
        return dataclasses.replace(drive, flow=0 * drive.flow, ratio=torch.ones_like(drive.ratio))

    def support(self, drive: Drive) -> Tensor:
        """[B,1,w,w]: 1 on the face and a little around it, fading to 0 before the background and the window's rim."""
        face = torch.maximum(torch.maximum(drive.face, drive.mouth), drive.eyes)
        step = 4 * face.shape[-1] // self.dims.window
        grown = F.max_pool2d(F.avg_pool2d(face, step), 3, 1, 1)
        rim = torch.linspace(0, 1, self.dims.window // 4, device=face.device)
        rim = (torch.minimum(rim, rim.flip(0)) * 12).clamp(0, 1)
        return F.interpolate(grown * rim * rim[:, None], scale_factor=step, mode="bilinear", align_corners=False)

    def apart(self, geometry: Geometry) -> Tensor:
        """[B,1,w/2,w/2]: 0 around the eyes, fading to 1 where they end, and where the flow is torn."""
        side, (top, left) = self.dims.window // 4, self.dims.origin  # what fades so slowly needs no more
        grid = pixel_grid(side, side, geometry.rims.device) * 4 + fixed([left, top], geometry.rims)
        outer, inner = (geometry.rims[:, :, corner, None, None] for corner in (0, 8))  # [B,2,1,1,2]
        across, away = outer - inner, grid - (outer + inner) / 2
        unit = across / across.square().sum(-1, keepdim=True).clamp_min(1)  # eye widths
        x = (away * unit).sum(-1) / EYE_REACH[0]
        y = (away[..., 1] * unit[..., 0] - away[..., 0] * unit[..., 1]) / EYE_REACH[1]
        near = torch.hypot(x, y)
        far = doubled(((near - EYE_FADE[0]) / (EYE_FADE[1] - EYE_FADE[0])).clamp(0, 1).prod(1, keepdim=True))
        return far * (1 - grown(self.window(geometry.torn)))

    def hidden(self, drive: Drive) -> Tensor:
        """[B,1,w,w]: driven mouth that the source does not show."""
        return (drive.mouth - drive.own).clamp_min(0)

    def free(self, drive: Drive, hidden: Tensor) -> Tensor:
        """[B,1,w,w]: where generated pixels may show. In the mouth, only on drawn teeth: not on the portrait's own
        teeth, which are real, nor on the dark and its rims."""
        free = 1 - drive.mouth
        rows, columns = occupied(drive.mouth, 1, 1)
        drawn = drive.interior[..., rows, columns]
        if waits(drawn):  # no box: what is drawn beyond the lips must not count as the brightest
            drawn = drawn * (F.max_pool2d(drive.mouth, 3, 1, 1) > 0)
        lit = drawn.mean(1, keepdim=True)
        lit = lit / lit.amax((2, 3), keepdim=True).clamp_min(LIT_TEETH)
        white = drawn.amin(1, keepdim=True) / drawn.amax(1, keepdim=True).clamp_min(1e-3)
        teeth = ((lit - DARK[0]) / (DARK[1] - DARK[0])).clamp(0, 1)
        teeth = teeth * ((white - WHITE[0]) / (WHITE[1] - WHITE[0])).clamp(0, 1)
        free[..., rows, columns] += hidden[..., rows, columns] * -F.max_pool2d(-teeth, 3, 1, 1)
        return free

    def code(self, source: Source, beta: Tensor, pose: Tensor, sigma: Tensor | None) -> Tensor:
        """The style code [B,code] of β [B,64], pose [B,6] and σ̂ [B,192] (None: zero)."""
        if sigma is None:
            sigma = beta.new_zeros(len(beta), self.dims.sigma)
        return self.style(torch.cat([source.identity.expand(len(beta), -1), beta, pose, sigma], 1)).tanh()

    def driven(self, drive: Drive, hidden: Tensor) -> Tensor:
        """What E_rd reads: [B,8,·,·], channels last."""
        shades = drive.rendered, drive.ratio - 1, drive.mouth, drive.eyes, drive.face, hidden
        return stacked(shades, self.precision)

    @property
    def precision(self) -> torch.dtype:
        """What convolutions compute in."""
        weight = self.heads[0].weight
        assert isinstance(weight, Tensor)
        return weight.dtype

    def painted(self, image: Tensor, mask: Tensor, hidden: Tensor) -> Tensor:
        """The residual colour [B,3,·,·] within its limits: of skin, and of teeth that the source does not show."""
        tone = image.mean(1, keepdim=True)
        tint, most = image - tone, SKIN_TINT + (TINT - SKIN_TINT) * hidden
        tone = mask * tone
        if not self.training:  # beyond a hard limit nothing could be learned
            tone = torch.lerp(tone.clamp(*SHADE), tone.clamp(*TOOTH_SHADE), hidden)
        return tone + mask * (tint / (1 + tint.abs() / most))

    def refine(
        self,
        source: Source,
        drive: Drive,
        beta: Tensor,
        pose: Tensor,
        sigma: Tensor | None = None,
        corners: list[tuple[int, int]] | None = None,
        size: tuple[int, int] | None = None,
        split: int = SPLIT + 1,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The network inside the window: image [B,3,w,w] (not clamped) and its parts.

        With corners (top, left in px, multiples of 8) and size (height, width; the same) the blocks from `split` on
        compute only those rectangles: [B,3,height,width]. A drive at half size leaves the last block out: all that is
        returned has half as many pixels, and flow is in px of the portrait crop as ever.
        Parts: `moved` (the image before its residual), `flow` (ψ_N, px), `coarse` (ψ at an eighth of the window's
        size, of all of it), `mask`, `support`, `hidden` (mouth that the source does not show); with split = 6 also
        `half` and `half_moved`, the image and `moved` of the whole window as half resolution has them.
        """
        unit = self.dims.window // drive.flow.shape[-1]
        code = self.code(source, beta, pose, sigma)
        hidden, support = self.hidden(drive), self.support(drive)
        free = self.free(drive, hidden)
        inputs = drive.flow, 1 - hidden, self.driven(drive, hidden), code
        made, coarse, small = self.blocks(source.pyramid, *inputs, corners, size, split)
        origin = None if corners is None else drive.flow.new_tensor([[x, y] for y, x in corners])

        def finish(scale: int, fields: Fields, cut: bool) -> dict[str, Tensor]:
            maps = [drive.flow, drive.ratio, drive.interior, drive.mouth, support, hidden, free]
            maps = [halved(t) for t in maps] if scale > unit else maps
            maps = [_part(t, scale, corners, size) for t in maps] if cut else maps
            base, ratio, interior, mouth, near, unseen, where = maps
            psi = fields.psi * near
            pixels = source.image if scale == 1 else source.small
            shaded = warp(pixels, base + psi, self.dims.window, origin if cut else None, sharp=True)
            moved = torch.lerp(relight(shaded, ratio, drive.hue).clamp(0, 1), interior, mouth)
            mask = near * where * fields.share
            image = moved + self.painted(fields.image, mask, unseen)
            return {"image": image, "moved": moved, "flow": psi, "mask": mask, "support": near, "hidden": unseen}

        parts = finish(unit, made, corners is not None) | {"coarse": coarse}
        if small is not None:
            whole = finish(2, small, False)
            parts |= {"half": whole["image"], "half_moved": whole["moved"]}
        return parts["image"], parts

    def blocks(
        self,
        pyramid: list[Tensor],
        flow: Tensor,
        shown: Tensor,
        driven: Tensor,
        code: Tensor,
        corners: list[tuple[int, int]] | None = None,
        size: tuple[int, int] | None = None,
        split: int = SPLIT + 1,
    ) -> tuple[Fields, Tensor, Fields | None]:
        """The blocks of eq. 7-10: arithmetic alone, so that it can be compiled or captured.

        pyramid: F^s; flow: φ_geo [B,2,w,w] px; shown [B,1,w,w]: what the source shows; driven [B,8,w,w]: what E_rd
        reads (or all three at half size, without the last block); code [B,code]; the others as in `refine`. Returns
        what the last block leaves, ψ at an eighth of the window's size, and with split = 6 what block 5 leaves.
        """
        half = flow.shape[-1] < self.dims.window
        encode = self.encode_rendered.forward_half if half else self.encode_rendered
        rendered = encode(driven)
        flows, shows = [flow], [shown]
        for _ in range(len(rendered) - 1):
            flows.append(halved(flows[-1]))
            shows.append(halved(shows[-1]))
        flows, shows = flows[::-1], shows[::-1]
        fields: Fields | None = None
        origin, coarse, small = None, None, None
        for i, guide in enumerate(rendered):
            scale = 2 ** (BLOCKS - 1 - i)
            if corners is not None and i == split and fields is not None:
                fields = fields.each(functools.partial(_part, scale=scale * 2, corners=corners, size=size))
                origin = flow.new_tensor([[x, y] for y, x in corners])
            base, show = flows[i], shows[i]
            if origin is not None:
                base, show, guide = (_part(t, scale, corners, size) for t in (base, show, guide))
            fields = self.block(i, fields, pyramid[i], base, show, guide, code, origin)
            if i == SPLIT:
                coarse = fields.psi
            if i == BLOCKS - 2 and split == BLOCKS - 1:
                small = fields
        assert fields is not None and coarse is not None
        return fields, coarse, small

    def block(
        self,
        i: int,
        before: Fields | None,
        source: Tensor,
        base: Tensor,
        show: Tensor,
        guide: Tensor,
        code: Tensor,
        origin: Tensor | None = None,
    ) -> Fields:
        """Block i of eq. 8-10 on what block i-1 left at half this grid; before: None for the first.

        source: F^s_i of the window; base, show, guide: φ_geo, what the source shows, F^rd_i on this grid, which spans
        the window, or with origin [B,2] (x, y px of the window) a part of it.
        """
        d, precision = self.dims, self.precision
        psi = torch.zeros_like(base) if before is None else upsample(before.psi)
        coarser = self.start.to(precision).expand(len(base), -1, -1, -1) if before is None else before.features
        warped = warp(source, base + psi, d.window, origin) * show
        warped = warped.to(precision, memory_format=torch.channels_last)
        features = torch.cat([warped, self.convs[i](coarser, code), guide], 1)
        out = self.heads[i](features).contiguous().to(psi.dtype)  # planes: arithmetic on a few channels follows
        step = out[:, :2] * FLOW_UNIT if d.hierarchy or i == SPLIT else torch.zeros_like(psi)
        previous = 0 if before is None else upsample(before.image)
        psi = psi + step if d.residual or not d.hierarchy and i != SPLIT else step
        color = soften(out[:, 2:5]) if i == BLOCKS - 1 else out[:, 2:5]
        image = previous + color if d.residual else color
        blend = None
        if i >= BLOCKS - 2:
            blend = out[:, 5:] if before is None or before.blend is None else upsample(before.blend) + out[:, 5:]
        return Fields(features, psi, image, blend)

    @torch.inference_mode()
    def forward(
        self,
        source: Source,
        geometry: Geometry,
        beta: Tensor,
        pose: Tensor,
        sigma: Tensor | None = None,
        half: bool = False,
        film: bool = False,
    ) -> Tensor:
        """Frames [B,3,512,512] in 0..1; with `half`, [B,3,256,256].

        beta [B,64] driving expression, pose [B,6] relative to the portrait's, sigma [B,192] the updated
        intensity token of eq. 3 (None: zero). Outside the neighbourhood of the face the geometry's frame is kept.
        The last block runs at lips alone: elsewhere skin is smooth, and what block 5 paints is enlarged.

        film: the frames follow each other as a film's do. What the network adds hardly changes from one to the next:
        on the CPU it then runs once for two, and frames take what is between.
        """
        return self.finished(*self.skin(source, geometry, beta, pose, sigma, half, film), source)

    def skin(
        self,
        source: Source,
        geometry: Geometry,
        beta: Tensor,
        pose: Tensor,
        sigma: Tensor | None,
        half: bool,
        film: bool,
    ) -> tuple[Tensor, Geometry]:
        """`forward` without the painters of lids and mouths; what these need of the geometry, at the frames' size."""
        small = smaller(geometry) if half else geometry
        drive = self.drive(small) if half else self.half_drive(geometry)
        hidden, code = self.hidden(drive), self.code(source, beta, pose, sigma)
        near = self.support(drive) * self.apart(geometry)
        area = self.area(drive)
        rows = None
        if film and len(near) > 2 and self.fast is None and not waits(near):
            rows = between_pairs(len(near))
            seldom = Drive(**{f.name: paired(getattr(drive, f.name)) for f in dataclasses.fields(Drive)})
            fields = self.coarse(source, seldom, paired(hidden), paired(code), area)
        else:
            fields = self.coarse(source, drive, hidden, code, area)
        near, hidden, free = (area.of(t, 2) for t in (near, hidden, self.free(drive, hidden)))
        each = fields if rows is None else fields._replace(features=fields.features[:, :0]).mixed(rows)
        psi = each.psi * near
        painted = self.painted(each.image, near * free * each.share, hidden)
        if half:
            maps = (area.of(t, 2) for t in (drive.flow, drive.ratio, drive.interior, drive.mouth))
            frame, box = small.composite(), area.box(self.dims, 2)
            image = self._moved(source.small, psi, area.corner, drive.hue, *maps) + painted
            frame[box] = torch.lerp(frame[box], image, near)
            return small.paint(frame.clamp_(0, 1)), small.placed()
        frame = self._enlarged(source, geometry, psi, painted, near, area)
        for frames, corners, size in self.details(geometry, area):
            before = self._before(fields, rows, frames, corners // 2, (size[0] // 2, size[1] // 2))
            self._detail(frame, source, geometry, before, near, code, area, frames, corners, size)
        return geometry.paint(frame.clamp_(0, 1)), geometry.placed()

    def finished(self, frame: Tensor, geometry: Geometry, source: Source) -> Tensor:
        """Frames of `forward` from what `skin` gives: lids and mouths painted, in place, in the picture's tones."""
        if self.lids is not None and source.eyes is not None:
            frame = self.lids.paint(frame, geometry.rims, geometry.opened, source.eyes)
        if self.painter is not None:
            frame = self.painter.paint(frame, geometry.inside, geometry.place, source.identity)
        return geometry.toned(frame)

    def _enlarged(
        self, source: Source, geometry: Geometry, psi: Tensor, painted: Tensor, near: Tensor, area: Area
    ) -> Tensor:
        """Frames [B,3,512,512] at full size of what was painted at half size in an area."""
        lit = geometry.flow, geometry.warped, geometry.ratio, geometry.interior, geometry.mouth
        if source.whole is not None and kernels.usable(*lit, psi):
            frame = torch.empty_like(geometry.warped)
            corner = torch.tensor([[o + c for o, c in zip(self.dims.origin, area.corner, strict=True)]])
            light = geometry.hue, psi.new_tensor([LUMA]), psi.new_tensor([[CUBIC, HEADROOM]])
            kernels.each(kernels.skin, len(frame), source.whole, *light, corner, *lit, psi, painted, near, frame)
            return frame
        frame, box = geometry.composite(), area.box(self.dims)
        maps = (t[box] for t in (geometry.flow, geometry.ratio, geometry.interior, geometry.mouth))
        image = self._moved(source.image, upsample(psi), area.corner, geometry.hue, *maps) + upsample(painted)
        frame[box].lerp_(image, upsample(near))
        return frame

    def half_drive(self, geometry: Geometry) -> Drive:
        """`drive` at half size."""
        drive = self.drive(geometry)
        maps = {f.name: getattr(drive, f.name) for f in dataclasses.fields(Drive)}
        return Drive(**{k: v if k == "hue" else halved(v) for k, v in maps.items()})

    def area(self, drive: Drive) -> Area:
        """The face's part of the window, and what its rim reads: all of it where that would mean to wait for the card,
        or an engine wants steady shapes."""
        whole = slice(0, self.dims.window)
        if self.engine != "eager" or waits(drive.face):
            return Area(whole, whole)
        body = torch.maximum(drive.face, drive.mouth)[..., ::2, ::2]
        return Area(*(slice(4 * s.start, 4 * s.stop) for s in occupied(body, REGION_STEP // 4, REGION_MARGIN // 4)))

    def coarse(self, source: Source, drive: Drive, hidden: Tensor, code: Tensor, area: Area) -> Fields:
        """What the last block but one leaves in the area; drive at half size."""
        inputs = drive.flow, 1 - hidden, self.driven(drive, hidden), code
        if self.fast is not None:
            return Fields(*self.fast(*inputs, *source.pyramid[:-1]))
        corners = None if area.size == (self.dims.window,) * 2 else [area.corner] * len(code)
        return self.blocks(source.pyramid, *inputs, corners, area.size)[0]

    def details(self, geometry: Geometry, area: Area) -> Iterator[tuple[Tensor, Tensor, tuple[int, int]]]:
        """Where the last block runs, the lips: frames [N], corners [N,2] (y, x px in the area, even) and size of boxes.
        On the CPU as large as each frame wants them, elsewhere as large as any does."""
        top, left = (o + c for o, c in zip(self.dims.origin, area.corner, strict=True))
        regions = geometry.regions
        frames, limit = torch.arange(len(regions), device=regions.device), fixed(area.size, regions)
        low, high = regions[:, -1].flip(2).unbind(1)  # y, x
        middle = (low + high) / 2 - fixed([top, left], low)
        sizes = [(DETAIL, slice(None))]
        if not waits(low):
            sides = (high - low + 2 * DETAIL_MARGIN).tolist()
            sizes = [
                (tuple(min(8 * math.ceil(a / 8), most) for a, most in zip(side, area.size)), slice(n, n + 1))
                for n, side in enumerate(sides)
            ]
        for size, at in sizes:
            place = fixed(size, limit)
            corner = (middle[at] - place / 2).minimum(limit - place).clamp_min(0)
            yield frames[at], (corner / 2).round().long() * 2, size

    def _moved(
        self,
        pixels: Tensor,
        psi: Tensor,
        corner: tuple[int, int] | Tensor,
        hue: Tensor,
        flow: Tensor,
        ratio: Tensor,
        *mouth: Tensor,
    ) -> Tensor:
        """The source's window moved and lit, with the drawn interior of the mouth, in a part of it. corner: y, x px."""
        origin = corner.to(psi) if isinstance(corner, Tensor) else fixed(corner, psi)
        origin = origin.expand(len(psi), 2).flip(1)
        shaded = warp(pixels, flow + psi, self.dims.window, origin, sharp=True)
        return torch.lerp(lit(shaded, ratio, hue), *mouth)

    @staticmethod
    def _before(fields: Fields, rows: Tensor | None, frames: Tensor, corners: Tensor, size: tuple[int, int]) -> Fields:
        """What the blocks before left in boxes [N] of frames [N]; rows: what each frame takes of `fields`, if these are
        not its own."""
        if rows is None:
            box = patches(frames, corners, size)
            return fields.each(lambda t: t[box].movedim(-1, 1))
        (top, left), (height, width) = corners[0].tolist(), size  # on the CPU each frame has a box of its own
        return fields.each(lambda t: t[..., top : top + height, left : left + width]).mixed(rows[frames])

    def _detail(
        self,
        frame: Tensor,
        source: Source,
        geometry: Geometry,
        before: Fields,
        near: Tensor,
        code: Tensor,
        area: Area,
        frames: Tensor,
        corners: Tensor,
        size: tuple[int, int],
    ) -> None:
        """The last block, in boxes of `details`, painted into `frame`."""
        shift = [o + c for o, c in zip(self.dims.origin, area.corner)]
        places = patches(frames, corners + fixed(shift, corners), size)
        maps = {f.name: getattr(geometry, f.name) for f in dataclasses.fields(Drive)}
        hue = maps.pop("hue")[frames]
        drive = self._masked(Drive(**{k: v[places].movedim(-1, 1) for k, v in maps.items()}, hue=hue))
        hidden = self.hidden(drive)
        inner = patches(frames, corners // 2, (size[0] // 2, size[1] // 2))
        near = upsample(near[inner].movedim(-1, 1))
        window = corners + fixed(area.corner, corners)
        driven = self.driven(drive, hidden)
        origin = window.flip(1).to(near)
        fine = self.block(BLOCKS - 1, before, source.pyramid[-1], drive.flow, 1 - hidden, driven, code[frames], origin)
        mask = near * self.free(drive, hidden) * fine.share
        inside = drive.ratio, drive.interior, drive.mouth
        image = self._moved(source.image, fine.psi * near, window, drive.hue, drive.flow, *inside)
        image = image + self.painted(fine.image, mask, hidden)
        still = lit(geometry.warped[places].movedim(-1, 1), drive.ratio, drive.hue)
        image = torch.lerp(torch.lerp(still, drive.interior, drive.mouth), image, near)
        rims = [torch.arange(n, device=frame.device) for n in size]
        rims = [(torch.minimum(r, n - 1 - r) / DETAIL_RIM).clamp(0, 1) for r, n in zip(rims, size)]
        mixed = torch.lerp(frame[places].movedim(-1, 1), image, rims[0][:, None] * rims[1])
        frame[places] = mixed.movedim(1, -1)
