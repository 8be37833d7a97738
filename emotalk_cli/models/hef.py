"""High-fidelity Emotional Face generator (Sec. 3.4, eq. 7–10), started from the geometry.

The paper's blocks warp source features, modulate generated ones by the style code and read the rendered driving
face, refining a flow and an image from coarse to fine. Here both start from the geometry instead of from zero:
φ_i = Down(φ_geo) + ψ_i, and the image adds to the full-resolution warped source. An untrained network therefore
returns the geometry's frame. Only a fixed window of the portrait crop passes through the network, and only the
neighbourhood of the face is ever changed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..face.fit import CROP_LIFT, CROP_SIZE, PortraitFit
from ..face.geometry import Geometry, relight
from ..face.model import N_EXPRESSION, N_IDENTITY, N_ILLUMINATION, N_POSE, N_TEXTURE
from ..face.raster import boxed, pixel_grid, polygon_distance, sharp_sample
from ..face.topology import INNER_LIPS
from . import checkpoints
from .acceleration import Steady, check, steady
from .mouth import MouthPainter
from .style import StyleConv

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

    def __post_init__(self):
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
    the feature pyramid F^s_0..F^s_6, and [α, δ, γ] as [1,187]."""

    image: Tensor
    small: Tensor
    mouth: Tensor
    pyramid: list[Tensor]
    identity: Tensor


@dataclasses.dataclass
class Drive:
    """Geometry inside the window: flow [B,2,w,w] px; rendered, interior [B,3,w,w]; the others [B,1,w,w]."""

    flow: Tensor
    rendered: Tensor
    interior: Tensor
    ratio: Tensor
    mouth: Tensor
    own: Tensor
    face: Tensor
    eyes: Tensor


def warp(image: Tensor, flow: Tensor, extent: float, origin: Tensor | None = None, sharp: bool = False) -> Tensor:
    """Sample image [B or 1,C,H,W], which spans `extent` px a side, at pixel + flow [B,2,h,w] px.

    The flow's grid spans the image, or with origin [B,2] (x, y px) a region of it at the image's resolution. With
    `sharp` as `sharp_sample`.
    """
    height, width = flow.shape[2:]
    step = extent / (width if origin is None else image.shape[-1])
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


def _part(tensor: Tensor, scale: int, corners: list[tuple[int, int]], size: tuple[int, int]) -> Tensor:
    """The rectangles of `region`, given in px, of a tensor whose cells are `scale` px."""
    return region(tensor, [(y // scale, x // scale) for y, x in corners], (size[0] // scale, size[1] // scale))


def occupied(mask: Tensor, step: int = 1, margin: int = 0) -> tuple[slice, slice]:
    """Rows and columns of the smallest box, of whole `step`s, with all that is above 0 in [B,1,H,W] and a margin."""
    found = []
    for axis, length in ((3, mask.shape[2]), (2, mask.shape[3])):
        hit = mask.amax((0, 1, axis)).nonzero().flatten()
        low, high = (int(hit[0]), int(hit[-1]) + 1) if len(hit) else (0, 1)
        low, high = (low - margin) // step * step, -(-(high + margin) // step) * step
        found.append(slice(max(0, low), min(length, high)))
    return tuple(found)


def halved(tensor: Tensor) -> Tensor:
    """Means of 2x2 cells; twice as fast on the CPU as pooling."""
    rows = tensor[..., ::2, :] + tensor[..., 1::2, :]
    return (rows[..., ::2] + rows[..., 1::2]) / 4


def smaller(geometry: Geometry) -> Geometry:
    """The geometry at half size; its flow is in px of the portrait crop as ever."""
    whole = {"lids", "inside", "place"}
    maps = {f.name: halved(getattr(geometry, f.name)) for f in dataclasses.fields(geometry) if f.name not in whole}
    colour, cover = geometry.lids.split([3, 1], 1)
    seen = cover.amax((0, 1, 3)).nonzero()[:, 0]
    rows = slice(int(seen[0]) // 2 * 2, int(seen[-1]) // 2 * 2 + 2) if len(seen) else slice(0, 2)
    lids = geometry.lids.new_zeros(len(cover), 4, *maps["mouth"].shape[2:])
    part = lids[:, :, rows.start // 2 : rows.stop // 2]
    part[:, 3:] = halved(cover[:, :, rows])  # a colour counts as far as it covers
    part[:, :3] = halved(colour[:, :, rows] * cover[:, :, rows]) / part[:, 3:].clamp_min(1e-4)
    return Geometry(**maps, lids=lids, inside=geometry.inside, place=geometry.place / 2)


def stacked(maps: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
    """Maps [B,·,H,W] side by side, channels last: three times as fast as concatenation."""
    count, height, width = len(maps[0]), *maps[0].shape[2:]
    channels = [m.shape[1] for m in maps]
    shape = count, sum(channels), height, width
    out = torch.empty(shape, dtype=dtype, device=maps[0].device, memory_format=torch.channels_last)
    for place, values in zip(out.split(channels, 1), maps, strict=True):
        place.copy_(values)
    return out


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

    def __init__(self, inputs: int, channels: tuple[int, ...]):
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


class HEF(nn.Module):
    """Source features once a portrait, then frames from geometry and style (see module)."""

    def __init__(self, dims: HEFDims | None = None):
        super().__init__()
        self.dims = d = dims or HEFDims()
        self.engine = "eager"
        self.fast: dict[int, Steady] = {}  # by the side of the drive: compiled or captured blocks
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
        for head in self.heads:
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)
        self.painter: MouthPainter | None = None

    @classmethod
    def load(cls, weights=None, device="cpu") -> HEF:
        """The shipped generator in evaluation mode. Raises WeightsError."""
        checkpoint = checkpoints.load("hef", weights)
        model = checkpoint.fill(cls(checkpoint.sizes(HEFDims))).to(device, memory_format=torch.channels_last)
        if checkpoints.present("mouth", weights):
            model.painter = MouthPainter.load(weights, device)
        return model.halve() if fast_bfloat16(torch.device(device)) else model

    def halve(self) -> HEF:
        """Convolve in bfloat16 from now on: twice as fast where the hardware has it. Colour and flow stay float32."""
        for module in (self.encode_rendered, self.heads):
            module.bfloat16()
        for conv in self.convs:
            conv.weight.data, conv.bias.data = conv.weight.data.bfloat16(), conv.bias.data.bfloat16()
        return self

    def accelerate(self, engine: str) -> HEF:
        """Run the blocks by `engine` from now on, on the whole window: shapes must stay. Raises UsageError."""
        check(engine, self.start.device)

        def whole(flow: Tensor, shown: Tensor, driven: Tensor, code: Tensor, *pyramid: Tensor) -> tuple[Tensor, ...]:
            made, coarse, _ = self.blocks(list(pyramid), flow, shown, driven, code)
            return *made, coarse

        sides = () if engine == "eager" else (self.dims.window, self.dims.window // 2)
        self.engine = engine
        self.fast = {side: steady(engine, whole) for side in sides}
        return self

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
    def source(self, portrait: PortraitFit) -> Source:
        """Everything that does not change from frame to frame."""
        device = self.start.device
        top, left = self.dims.origin
        image = self.window(portrait.image[None].to(device))
        mouth = self.open_mouth(portrait.landmarks[None].to(device))
        identity = torch.cat([portrait.alpha, portrait.delta, portrait.gamma])[None].to(device)
        return self.encode(image, mouth, identity)

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
        keep = float(self.dims.geometry)
        cut = {f.name: self.window(getattr(geometry, f.name)) for f in dataclasses.fields(Drive)}
        return Drive(**cut | {"flow": cut["flow"] * keep, "ratio": 1 + (cut["ratio"] - 1) * keep})

    def support(self, drive: Drive) -> Tensor:
        """[B,1,w,w]: 1 on the face and a little around it, fading to 0 before the background and the window's rim."""
        face = torch.maximum(torch.maximum(drive.face, drive.mouth), drive.eyes)
        step = 4 * face.shape[-1] // self.dims.window
        grown = F.max_pool2d(F.avg_pool2d(face, step), 3, 1, 1)
        rim = torch.linspace(0, 1, self.dims.window // 4, device=face.device)
        rim = (torch.minimum(rim, rim.flip(0)) * 12).clamp(0, 1)
        return F.interpolate(grown * rim * rim[:, None], scale_factor=step, mode="bilinear", align_corners=False)

    def hidden(self, drive: Drive) -> Tensor:
        """[B,1,w,w]: driven mouth that the source does not show."""
        return (drive.mouth - drive.own).clamp_min(0)

    def free(self, drive: Drive, hidden: Tensor) -> Tensor:
        """[B,1,w,w]: where generated pixels may show. In the mouth, only on drawn teeth: not on the portrait's own
        teeth, which are real, nor on the dark and its rims."""
        free = 1 - drive.mouth
        rows, columns = occupied(drive.mouth, 1, 1)
        drawn = drive.interior[..., rows, columns]
        lit = drawn.mean(1, keepdim=True)
        lit = lit / lit.amax((2, 3), keepdim=True).clamp_min(LIT_TEETH)
        white = drawn.amin(1, keepdim=True) / drawn.amax(1, keepdim=True).clamp_min(1e-3)
        teeth = ((lit - DARK[0]) / (DARK[1] - DARK[0])).clamp(0, 1)
        teeth = teeth * ((white - WHITE[0]) / (WHITE[1] - WHITE[0])).clamp(0, 1)
        free[..., rows, columns] += hidden[..., rows, columns] * -F.max_pool2d(-teeth, 3, 1, 1)
        return free

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
        batch, unit = len(drive.flow), self.dims.window // drive.flow.shape[-1]
        if sigma is None:
            sigma = drive.flow.new_zeros(batch, self.dims.sigma)
        code = self.style(torch.cat([source.identity.expand(batch, -1), beta, pose, sigma], 1)).tanh()
        hidden, support = self.hidden(drive), self.support(drive)
        free = self.free(drive, hidden)
        shades = drive.rendered, drive.ratio - 1, drive.mouth, drive.eyes, drive.face, hidden
        driven = stacked(shades, self.heads[0].weight.dtype)
        inputs = drive.flow, 1 - hidden, driven, code
        if drive.flow.shape[-1] in self.fast:
            *made, coarse = self.fast[drive.flow.shape[-1]](*inputs, *source.pyramid)
            small = None
        else:
            made, coarse, small = self.blocks(source.pyramid, *inputs, corners, size, split)
        origin = None if corners is None else drive.flow.new_tensor([[x, y] for y, x in corners])

        def finish(scale: int, psi: Tensor, image: Tensor, blend: Tensor, cut: bool) -> dict[str, Tensor]:
            maps = drive.flow, drive.ratio, drive.interior, drive.mouth, support, hidden, free
            maps = tuple(halved(t) for t in maps) if scale > unit else maps
            maps = tuple(_part(t, scale, corners, size) for t in maps) if cut else maps
            base, ratio, interior, mouth, near, unseen, where = maps
            psi = psi * near
            pixels = source.image if scale == 1 else source.small
            shaded = warp(pixels, base + psi, self.dims.window, origin if cut else None, sharp=True)
            moved = torch.lerp(relight(shaded, ratio).clamp(0, 1), interior, mouth)
            tone = image.mean(1, keepdim=True)
            tint, most = image - tone, SKIN_TINT + (TINT - SKIN_TINT) * unseen
            mask = near * where * blend.sigmoid()
            tone = mask * tone
            if not self.training:  # beyond a hard limit nothing could be learned
                tone = torch.lerp(tone.clamp(*SHADE), tone.clamp(*TOOTH_SHADE), unseen)
            image = moved + tone + mask * (tint / (1 + tint.abs() / most))
            return {"image": image, "moved": moved, "flow": psi, "mask": mask, "support": near, "hidden": unseen}

        parts = finish(unit, *made, corners is not None) | {"coarse": coarse}
        if small is not None:
            whole = finish(2, *small, False)
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
    ) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor, tuple[Tensor, Tensor, Tensor] | None]:
        """The blocks of eq. 7-10: arithmetic alone, so that it can be compiled or captured.

        pyramid: F^s; flow: φ_geo [B,2,w,w] px; shown [B,1,w,w]: what the source shows; driven [B,8,w,w]: what E_rd
        reads (or all three at half size); code [B,code]; the others as in `refine`. Returns (ψ px, residual image,
        logits of the mask) of the last block, ψ at an eighth of the window's size, and with split = 6 the same of
        block 5.
        """
        d, batch = self.dims, len(flow)
        precision, half = self.heads[0].weight.dtype, flow.shape[-1] < self.dims.window
        encode = self.encode_rendered.forward_half if half else self.encode_rendered
        rendered = encode(driven)
        flows, shows = [flow], [shown]
        for _ in range(len(rendered) - 1):
            flows.append(halved(flows[-1]))
            shows.append(halved(shows[-1]))
        flows, shows = flows[::-1], shows[::-1]
        features, psi, image = self.start.to(precision).expand(batch, -1, -1, -1), None, None
        origin, blend, coarse, small = None, None, None, None
        for i, (conv, head, guide) in enumerate(zip(self.convs, self.heads, rendered, strict=False)):
            scale = 2 ** (BLOCKS - 1 - i)
            if corners is not None and i == split:
                features, psi, image = (_part(t, scale * 2, corners, size) for t in (features, psi, image))
                blend = None if blend is None else _part(blend, scale * 2, corners, size)
                origin = flow.new_tensor([[x, y] for y, x in corners])
            base, show = flows[i], shows[i]
            if origin is not None:
                base, show, guide = (_part(t, scale, corners, size) for t in (base, show, guide))
            psi = torch.zeros_like(base) if psi is None else upsample(psi)
            warped = warp(pyramid[i], base + psi, d.window, origin) * show
            warped = warped.to(precision, memory_format=torch.channels_last)
            features = torch.cat([warped, conv(features, code), guide], 1)
            out = head(features).contiguous().to(psi.dtype)  # planes: what follows is arithmetic on a few channels
            step = out[:, :2] * FLOW_UNIT if d.hierarchy or i == SPLIT else torch.zeros_like(psi)
            previous = 0 if image is None else upsample(image)
            psi = psi + step if d.residual or not d.hierarchy and i != SPLIT else step
            if i == SPLIT:
                coarse = psi
            color = soften(out[:, 2:5]) if i == BLOCKS - 1 else out[:, 2:5]
            image = previous + color if d.residual else color
            if i >= BLOCKS - 2:
                blend = out[:, 5:] if blend is None else upsample(blend) + out[:, 5:]
            if i == BLOCKS - 2 and split == BLOCKS - 1:
                small = psi, image, blend
        return (psi, image, blend), coarse, small

    @torch.inference_mode()
    def forward(
        self,
        source: Source,
        geometry: Geometry,
        beta: Tensor,
        pose: Tensor,
        sigma: Tensor | None = None,
        half: bool = False,
    ) -> Tensor:
        """Frames [B,3,512,512] in 0..1; with `half`, [B,3,256,256] without the last block, twice as fast.

        beta [B,64] driving expression, pose [B,6] relative to the portrait's, sigma [B,192] the updated
        intensity token of eq. 3 (None: zero). Outside the neighbourhood of the face the geometry's frame is kept.
        """
        unit = 2 if half else 1
        geometry = smaller(geometry) if half else geometry
        drive = self.drive(geometry)
        body = torch.maximum(geometry.face, geometry.mouth)
        step = 4 // unit
        rows, columns = occupied(self.window(body)[..., ::step, ::step], REGION_STEP // 4, REGION_MARGIN // 4)
        rows, columns = (slice(4 * s.start, 4 * s.stop) for s in (rows, columns))
        if self.fast:
            rows = columns = slice(0, self.dims.window)
        corners = None if self.fast else [(rows.start, columns.start)] * len(beta)
        size = rows.stop - rows.start, columns.stop - columns.start
        image, parts = self.refine(source, drive, beta, pose, sigma, corners, size)
        frame = geometry.composite()
        top, left = ((edge + s.start) // unit for edge, s in zip(self.dims.origin, (rows, columns), strict=True))
        part = frame[..., top : top + size[0] // unit, left : left + size[1] // unit]
        part.copy_(torch.lerp(part, image, parts["support"]))
        frame = geometry.paint(frame.clamp_(0, 1))
        return (
            frame
            if self.painter is None
            else self.painter.paint(frame, geometry.inside, geometry.place, source.identity)
        )
