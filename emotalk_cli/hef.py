"""High-fidelity Emotional Face generator (Sec. 3.4, eq. 7–10), started from the geometry.

The paper's blocks warp source features, modulate generated ones by the style code and read the rendered driving
face, refining a flow and an image from coarse to fine. Here both start from the geometry instead of from zero:
φ_i = Down(φ_geo) + ψ_i, and the image adds to the full-resolution warped source. An untrained network therefore
returns the geometry's frame. Only a fixed window of the portrait crop passes through the network, and only the
neighbourhood of the face is ever changed.
"""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from . import checkpoints
from .face.fit import CROP_LIFT, CROP_SIZE, Portrait
from .face.model import INNER_LIPS, N_EXPRESSION, N_IDENTITY, N_ILLUMINATION, N_POSE, N_TEXTURE
from .face.motion import Geometry, relight
from .face.render import boxed, pixel_grid, polygon_distance, sharp_sample

FLOW_UNIT = 2.0  # px of flow per unit of network output
SPLIT = 3  # blocks 0..3 (6 to 48 px) always see the whole window; finer ones may be restricted to a region
DRIVEN_CHANNELS = 8
# In a mouth that the source hides, teeth are repainted and the dark between them stays dark: the generated residual
# grows from nothing to all between these brightnesses of the drawn interior, relative to its brightest point.
DARK = (0.35, 0.6)
WHITE = (0.68, 0.78)  # darkest / brightest colour channel: tongue and gums are below, teeth above, in any light
REGION_STEP, REGION_MARGIN = 16, 16  # px: fine blocks run on the face's box, of whole steps, and what its rim reads
TINT = 0.08  # most by which repainting may shift a drawn tooth's colour: lit teeth are near white in any picture
TONE = (-0.12, 0.3)  # and its brightness: darker, a row of teeth becomes a hole with a bright rim
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
    """What HEF keeps of a portrait: window pixels [1,3,w,w], soft open-mouth mask [1,1,w,w], the feature pyramid
    F^s_0..F^s_6, and [α, δ, γ] as [1,187]."""

    image: Tensor
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


def occupied(mask: Tensor, step: int = 1, margin: int = 0) -> tuple[slice, slice]:
    """Rows and columns of the smallest box, of whole `step`s, with all that is above 0 in [B,1,H,W] and a margin."""
    found = []
    for axis, length in ((3, mask.shape[2]), (2, mask.shape[3])):
        hit = mask.amax((0, 1, axis)).nonzero().flatten()
        low, high = (int(hit[0]), int(hit[-1]) + 1) if len(hit) else (0, 1)
        low, high = (low - margin) // step * step, -(-(high + margin) // step) * step
        found.append(slice(max(0, low), min(length, high)))
    return tuple(found)


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


class StyleConv(nn.Module):
    """StyleGAN2's modulated convolution with demodulation, bias and leaky ReLU; with `up` it doubles the grid."""

    def __init__(self, inputs: int, outputs: int, code: int, up: bool):
        super().__init__()
        self.up = up
        shape = (inputs, outputs, 4, 4) if up else (outputs, inputs, 3, 3)
        self.weight = nn.Parameter(torch.randn(shape))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.affine = nn.Linear(code, inputs)
        nn.init.normal_(self.affine.weight, std=0.1 / math.sqrt(code))
        nn.init.ones_(self.affine.bias)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        """x [B,inputs,h,w], code [B,code] -> [B,outputs,h or 2h,...]."""
        style = self.affine(code)
        power = self.weight.float().square().sum((2, 3))
        x = x * style[:, :, None, None].to(x.dtype)
        if self.up:  # each output cell meets a quarter of the 4x4 kernel
            norm = (style.square() @ power / 4 + 1e-6).rsqrt()
            x = F.conv_transpose2d(x, self.weight, stride=2, padding=1)
        else:
            norm = (style.square() @ power.T + 1e-6).rsqrt()
            x = F.conv2d(x, self.weight, padding=1)
        gain = math.sqrt(2)  # of the rectifier; it commutes with it
        bias, norm = ((gain * t).to(x.dtype)[..., None, None] for t in (self.bias, norm))
        return F.leaky_relu(torch.addcmul(bias, x, norm), 0.2)


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
        levels = [x]
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.2)
            levels.append(x)
        return levels[::-1]


class HEF(nn.Module):
    """Source features once a portrait, then frames from geometry and style (see module)."""

    def __init__(self, dims: HEFDims | None = None):
        super().__init__()
        self.dims = d = dims or HEFDims()
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
        # F_flow (2), F_rgb (3) and, in the last block, the blend mask (1) read the same features: one convolution.
        self.heads = nn.ModuleList(nn.Conv2d(w, 6 if i == 6 else 5, 3, padding=1) for i, w in enumerate(widths))
        for head in self.heads:
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)

    @classmethod
    def load(cls, weights=None, device="cpu") -> HEF:
        """The shipped generator in evaluation mode. Raises WeightsError."""
        checkpoint = checkpoints.load("hef", weights)
        model = cls(HEFDims(**checkpoint.dims))
        model.load_state_dict(checkpoint.tensors)
        model = model.to(device, memory_format=torch.channels_last).eval()
        return model.halve() if fast_bfloat16(torch.device(device)) else model

    def halve(self) -> HEF:
        """Convolve in bfloat16 from now on: twice as fast where the hardware has it. Colour and flow stay float32."""
        for module in (self.encode_rendered, self.heads):
            module.bfloat16()
        for conv in self.convs:
            conv.weight.data, conv.bias.data = conv.weight.data.bfloat16(), conv.bias.data.bfloat16()
        return self

    def window(self, tensor: Tensor) -> Tensor:
        """The window of a portrait-crop tensor [B,C,512,512]."""
        top, left = self.dims.origin
        return tensor[..., top : top + self.dims.window, left : left + self.dims.window]

    def encode(self, image: Tensor, mouth: Tensor, identity: Tensor) -> Source:
        """Window pixels [B,3,w,w] 0..1, open-mouth mask [B,1,w,w], [α, δ, γ] [B,187] -> Source."""
        pyramid = self.encode_source(torch.cat([image, mouth], 1))
        return Source(image, mouth, [level.contiguous() for level in pyramid], identity)  # as sampling wants them

    @torch.inference_mode()
    def source(self, portrait: Portrait) -> Source:
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
        grown = F.max_pool2d(F.avg_pool2d(face, 4), 3, 1, 1)
        rim = torch.linspace(0, 1, self.dims.window // 4, device=face.device)
        rim = (torch.minimum(rim, rim.flip(0)) * 12).clamp(0, 1)
        return F.interpolate(grown * rim * rim[:, None], scale_factor=4, mode="bilinear", align_corners=False)

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
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The network inside the window: image [B,3,w,w] (not clamped) and its parts.

        With corners (top, left in px, multiples of 8) and size (height, width; the same) the fine blocks compute only
        those rectangles: [B,3,height,width]. Parts: `moved` (the image before its residual), `flow` (ψ_N, px),
        `coarse` (ψ at an eighth of the window's size, of all of it), `mask`, `support`, `hidden` (mouth that the
        source does not show).
        """
        d, batch = self.dims, len(drive.flow)
        if sigma is None:
            sigma = drive.flow.new_zeros(batch, d.sigma)
        code = self.style(torch.cat([source.identity.expand(batch, -1), beta, pose, sigma], 1)).tanh()
        hidden = self.hidden(drive)
        free = self.free(drive, hidden)
        support = self.support(drive)
        driven = torch.cat([drive.rendered, drive.ratio - 1, drive.mouth, drive.eyes, drive.face, hidden], 1)
        half = self.heads[0].weight.dtype
        rendered = self.encode_rendered(driven.to(half, memory_format=torch.channels_last))
        flows, shown = [drive.flow], [1 - hidden]
        for _ in range(6):
            flows.append(F.avg_pool2d(flows[-1], 2))
            shown.append(F.avg_pool2d(shown[-1], 2))
        flows, shown = flows[::-1], shown[::-1]
        features, psi, image = self.start.to(half).expand(batch, -1, -1, -1), None, None
        origin = None

        def part(tensor: Tensor, scale: int) -> Tensor:
            cells = [(y // scale, x // scale) for y, x in corners]
            return region(tensor, cells, (size[0] // scale, size[1] // scale))

        for i, (conv, head) in enumerate(zip(self.convs, self.heads, strict=True)):
            scale = 2 ** (6 - i)
            if corners is not None and i == SPLIT + 1:
                features, psi, image = (part(t, scale * 2) for t in (features, psi, image))
                origin = drive.flow.new_tensor([[x, y] for y, x in corners])
            base, show, guide = flows[i], shown[i], rendered[i]
            if origin is not None:
                base, show, guide = (part(t, scale) for t in (base, show, guide))
            psi = torch.zeros_like(base) if psi is None else upsample(psi)
            warped = warp(source.pyramid[i], base + psi, d.window, origin) * show
            warped = warped.to(half, memory_format=torch.channels_last)
            features = torch.cat([warped, conv(features, code), guide], 1)
            out = head(features).contiguous().to(psi.dtype)  # planes: what follows is arithmetic on a few channels
            step = out[:, :2] * FLOW_UNIT if d.hierarchy or i == SPLIT else torch.zeros_like(psi)
            previous = 0 if image is None else upsample(image)
            psi = psi + step if d.residual or not d.hierarchy and i != SPLIT else step
            if i == SPLIT:
                coarse = psi
            color = out[:, 2:5] if i < 6 else soften(out[:, 2:5])
            image = previous + color if d.residual else color
        finest = drive.flow, drive.ratio, drive.interior, drive.mouth, support, hidden, free
        if corners is not None:
            finest = tuple(region(t, corners, size) for t in finest)
        base, ratio, interior, mouth, support, hidden, free = finest
        psi = psi * support
        shaded = relight(warp(source.image, base + psi, d.window, origin, sharp=True), ratio).clamp(0, 1)
        tone = image.mean(1, keepdim=True)
        tooth = tone.clamp(*TONE) + (image - tone).clamp(-TINT, TINT)
        image = torch.lerp(image, tooth, hidden)
        mask = support * free * out[:, 5:].sigmoid()
        moved = torch.lerp(shaded, interior, mouth)
        parts = {"moved": moved, "flow": psi, "coarse": coarse, "mask": mask, "support": support, "hidden": hidden}
        return moved + mask * image, parts

    @torch.inference_mode()
    def forward(
        self, source: Source, geometry: Geometry, beta: Tensor, pose: Tensor, sigma: Tensor | None = None
    ) -> Tensor:
        """Frames [B,3,512,512] in 0..1.

        beta [B,64] driving expression, pose [B,6] relative to the portrait's, sigma [B,192] the updated
        intensity token of eq. 3 (None: zero). Outside the neighbourhood of the face the geometry's frame is kept.
        """
        drive = self.drive(geometry)
        body = torch.maximum(geometry.face, geometry.mouth)
        rows, columns = occupied(self.window(body)[..., ::4, ::4], REGION_STEP // 4, REGION_MARGIN // 4)
        rows, columns = (slice(4 * s.start, 4 * s.stop) for s in (rows, columns))
        corners = [(rows.start, columns.start)] * len(beta)
        size = rows.stop - rows.start, columns.stop - columns.start
        image, parts = self.refine(source, drive, beta, pose, sigma, corners, size)
        frame = geometry.warped.clone()
        box = (..., *occupied(body))
        frame[box] = Geometry(
            **{f.name: getattr(geometry, f.name)[box] for f in dataclasses.fields(geometry)}
        ).composite()
        top, left = self.dims.origin
        part = frame[..., top + rows.start : top + rows.stop, left + columns.start : left + columns.stop]
        part.copy_(torch.lerp(part, image, parts["support"]))
        return geometry.paint(frame.clamp_(0, 1))
