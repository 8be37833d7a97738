"""Matte: which part of a picture is the person, hair included.

A small network sees the picture at 256 px; its soft answer is then drawn to the picture's own edges by a guided filter
(He et al. 2010), which follows strands of hair that the network cannot see.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from ..numeric import channels_last
from . import checkpoints

SIDE = 256  # px, of what the network sees
REFINED = 640  # px, longer side at which edges are followed
REACH, SMOOTH = 4, 4e-4  # of the guided filter: px of `REFINED` / 2, and the variance of colour that counts as flat
SURE = (0.08, 0.92)  # below and above, the background and the person are taken to be whole
CORE, MEANT = 0.9, 0.6  # of the network's answer: a person for sure, and what belongs to one it touches
THIN, HALO = 0.02, 0.03  # of the longer side: what is no wider belongs to no body; where around one strands may be
DOUBT = (0.25, 0.75)  # of the network's answer there: what is less is background, what is more a person
SPREAD = (2, 4, 8, 16, 32)  # px over which the person's colours are carried outwards


@dataclass(frozen=True)
class MatteDims:
    """Channels at 1/2, 1/4, 1/8, 1/16 and 1/32 of the picture."""

    widths: tuple[int, ...] = (12, 20, 32, 48, 64)


def _layer(inputs: int, outputs: int, size: int = 3, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())


class MatteNet(nn.Module):
    """Pictures [B,3,256,256] in 0..1 -> logits [B,1,256,256] of the person."""

    def __init__(self, dims: MatteDims | None = None) -> None:
        super().__init__()
        self.dims = dims or MatteDims()
        widths = tuple(self.dims.widths)
        self.first = _layer(3, widths[0], 5, 2)
        self.downs = nn.ModuleList(
            nn.Sequential(_layer(a, b, 3, 2), _layer(b, b)) for a, b in zip(widths, widths[1:], strict=False)
        )
        self.deep = _layer(widths[-1], widths[-1])
        self.ups = nn.ModuleList(
            nn.Sequential(_layer(b + a, a, 1), _layer(a, a)) for a, b in zip(widths[-2::-1], widths[:0:-1], strict=True)
        )
        self.last = nn.Sequential(nn.Conv2d(widths[0] + 3, 8, 3, 1, 1), nn.ReLU(), nn.Conv2d(8, 1, 3, 1, 1))

    @classmethod
    def load(cls, weights: str | os.PathLike[str] | None = None) -> MatteNet:
        """The shipped network, in evaluation mode. Raises WeightsError."""
        checkpoint = checkpoints.load("matte", weights)
        return channels_last(checkpoint.fill(cls(checkpoint.sizes(MatteDims))))

    def save(self, directory: str | os.PathLike[str], **provenance: Any) -> Path:
        """Write `matte.safetensors` (see `checkpoints.save` for the provenance to give)."""
        return checkpoints.save("matte", self.state_dict(), asdict(self.dims), directory, **provenance)

    def forward(self, picture: Tensor) -> Tensor:
        picture = picture * 2 - 1
        x = self.first(picture)
        known = [x]
        for down in self.downs:
            x = down(x)
            known.append(x)
        x = x + self.deep(x)
        for up, skip in zip(self.ups, known[-2::-1], strict=True):
            x = up(torch.cat([F.interpolate(x, skip.shape[2:], mode="bilinear", align_corners=False), skip], 1))
        x = F.interpolate(x, picture.shape[2:], mode="bilinear", align_corners=False)
        return self.last(torch.cat([x, picture], 1))

    @torch.inference_mode()
    def cover(self, picture: np.ndarray, around: tuple[float, float, float] | None = None) -> np.ndarray:
        """How far each px of a uint8 picture [H,W,3] is the person: float32 [H,W], 0..1.

        around: (left, top, side) px of a square that is looked at again on its own, such as that of the head.
        """
        height, width = picture.shape[:2]
        known = self._seen(picture, (0.0, 0.0, float(width), float(height)))
        if around is not None:
            left, top, side = around
            x0, y0 = max(0, round(left)), max(0, round(top))
            x1, y1 = min(width, round(left + side)), min(height, round(top + side))
            if x1 - x0 >= 32 and y1 - y0 >= 32 and (x1 - x0) * (y1 - y0) < 0.9 * width * height:
                closer = self._seen(picture, (x0, y0, x1, y1))
                known[y0:y1, x0:x1] = _mixed(known[y0:y1, x0:x1], closer)
        return refined(picture, decided(known))

    def _seen(self, picture: np.ndarray, box: tuple[float, float, float, float]) -> np.ndarray:
        """What the network makes of a box (left, top, right, bottom): float32 [h,w]."""
        small = Image.fromarray(picture).resize((SIDE, SIDE), Image.Resampling.BILINEAR, box=box, reducing_gap=2.0)
        tensor = torch.from_numpy(np.array(small)).to(next(self.parameters()).device)
        made = self(tensor.permute(2, 0, 1)[None].float().div(255).contiguous(memory_format=torch.channels_last))
        size = round(box[3] - box[1]), round(box[2] - box[0])
        large = F.interpolate(made.sigmoid(), size, mode="bilinear", align_corners=False)
        return large[0, 0].cpu().numpy()


def _mixed(whole: np.ndarray, closer: np.ndarray) -> np.ndarray:
    """The closer look, fading into the other within an eighth of its sides."""
    ramps = [np.minimum(np.arange(n) + 0.5, n - np.arange(n) - 0.5) / (n / 8) for n in closer.shape]
    share = np.minimum(ramps[0][:, None], ramps[1][None]).clip(0, 1).astype(np.float32)
    mixed: np.ndarray = whole + share * (closer - whole)
    return mixed


def decided(known: np.ndarray) -> np.ndarray:
    """The network's answer float32 [H,W] without its doubts: what does not touch a person is background, [H,W], 0..1.

    Before lights, leaves and railings it is unsure; a third of a lamp beside a head is worse than none of it.
    """
    scale = SIDE / max(known.shape)
    answer = torch.tensor(known)[None, None]
    small = F.interpolate(answer, scale_factor=scale, mode="area") if scale < 1 else answer
    thin, reach = (2 * max(1, round(share * max(small.shape) / 2)) + 1 for share in (THIN, 2 * HALO))
    meant = -F.max_pool2d(-(small > MEANT).float(), thin, 1, thin // 2)
    meant = F.max_pool2d(meant, thin, 1, thin // 2)
    person, size = meant * (small > CORE), -1.0
    while float(person.sum()) != size:  # what is meant, as far as it can be reached from what is sure
        size = float(person.sum())
        for _ in range(8):
            person = F.max_pool2d(person, 3, 1, 1) * meant
    halo = F.max_pool2d(person, reach, 1, reach // 2)
    halo = F.avg_pool2d(halo, 5, 1, 2, count_include_pad=False)
    whole = F.interpolate(halo, known.shape, mode="bilinear", align_corners=False)[0, 0].numpy()
    low, high = DOUBT
    sure: np.ndarray = ((known - low) / (high - low)).clip(0, 1) * whole
    return sure


def refined(picture: np.ndarray, known: np.ndarray) -> np.ndarray:
    """A soft matte float32 [H,W] drawn to the edges of its picture uint8 [H,W,3] by a guided filter: [H,W], 0..1."""
    height, width = known.shape
    scale = min(1.0, REFINED / max(height, width))
    size = max(1, round(height * scale)), max(1, round(width * scale))
    image = torch.tensor(picture).permute(2, 0, 1)[None].float() / 255
    matte = torch.tensor(known)[None, None]
    guide, target = (F.interpolate(t, size, mode="area") for t in (image, matte))
    reach = max(1, round(REACH * max(size) / REFINED * 2))

    def mean(t: Tensor) -> Tensor:
        return F.avg_pool2d(F.pad(t, (reach,) * 4, mode="replicate"), 2 * reach + 1, 1)

    middle, level = mean(guide), mean(target)
    shared = mean(guide * target) - middle * level  # [1,3,h,w]
    spread = torch.stack([mean(guide * guide[:, i : i + 1]) - middle * middle[:, i : i + 1] for i in range(3)], -1)
    spread = spread.permute(0, 2, 3, 1, 4) + SMOOTH * torch.eye(3)
    slope = torch.linalg.solve(spread, shared.permute(0, 2, 3, 1)[..., None])[..., 0].permute(0, 3, 1, 2)
    offset = level - (slope * middle).sum(1, keepdim=True)
    slope, offset = (
        F.interpolate(mean(t), (height, width), mode="bilinear", align_corners=False) for t in (slope, offset)
    )
    drawn = (slope * image).sum(1, keepdim=True) + offset
    found: np.ndarray = ((drawn - SURE[0]) / (SURE[1] - SURE[0])).clamp(0, 1)[0, 0].numpy()
    return found


def own_colours(picture: np.ndarray, cover: np.ndarray) -> np.ndarray:
    """The picture with the person's colours carried out over its background, uint8 [H,W,3].

    So the edges of a person who is laid over another background bring no rim of the old one. cover: [H,W], 0..1.
    """
    image = torch.tensor(picture).permute(2, 0, 1)[None].float()
    weight = torch.from_numpy(cover)[None, None].clamp(0, 1)
    sure = ((weight - 0.85) / 0.15).clamp(0, 1)
    made, known = image * sure, sure
    for reach in SPREAD:
        around = F.avg_pool2d(torch.cat([made, known], 1), 2 * reach + 1, 1, reach)
        colour, amount = around[:, :3] / around[:, 3:].clamp_min(1e-4), (around[:, 3:] / 0.02).clamp(0, 1)
        rest = 1 - known
        made, known = made + rest * amount * colour, known + rest * amount
    filled = made + (1 - known) * image
    out: np.ndarray = (sure * image + (1 - sure) * filled).round().clamp(0, 255).byte()[0].permute(1, 2, 0).numpy()
    return out
