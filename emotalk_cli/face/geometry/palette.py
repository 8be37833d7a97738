"""The colours of a picture: how its skin changes hue with its light, and whether it is of one hue throughout."""

from __future__ import annotations

import torch
from torch import Tensor

from ...numeric import fixed

LUMA = (0.299, 0.587, 0.114)
LEVELS = 32  # of brightness, at each of which a picture of one hue has one colour
PLAIN, MIXED = 0.012, 0.018  # spread of a picture's colours about those: from none to all is drawn in free colours
SKIN_HUE = (
    0.8,
    1.0,
    1.1,
)  # share of a change of light that a skin's R, G, B take: what has been inside it comes out red
HUE_TRUST = 0.5  # part of a skin's own shares, which shadows of other colour disturb
HUE_LIMITS = (0.7, 1.3)


def brightness(image: Tensor) -> Tensor:
    """Luma [...,1,H,W] of [...,3,H,W]."""
    return (image * fixed(LUMA, image)[:, None, None]).sum(-3, keepdim=True)


def skin_hue(skin: Tensor, monochrome: float) -> Tensor:
    """Shares [3] of a change of light that R, G, B of skin pixels [3,N] take, mean 1: alike where all is of one hue."""
    logs = skin.clamp(0.02, 1).log()
    light = logs.mean(0)
    light = light - light.mean()
    own = (logs @ light / light.square().sum().clamp_min(1e-4)).clamp(*HUE_LIMITS)
    usual = own.new_tensor(SKIN_HUE) / (sum(SKIN_HUE) / 3)
    hue = torch.lerp(usual, own, HUE_TRUST)
    return torch.lerp(hue / hue.mean(), torch.ones_like(hue), monochrome)


def palette(image: Tensor) -> tuple[Tensor, float]:
    """Mean colour [LEVELS,3] at each brightness of a picture [3,H,W], and how far it has no others, 0..1: photographs
    in black and white or sepia, drawings in one ink."""
    level = brightness(image)[0].flatten() * (LEVELS - 1)
    low = level.long().clamp(0, LEVELS - 2)
    share = level - low
    colour = image.flatten(1).T
    total = colour.new_zeros(LEVELS, 4)
    for index, weight in ((low, 1 - share), (low + 1, share)):
        total.index_add_(0, index, torch.cat([colour, torch.ones_like(colour[:, :1])], 1) * weight[:, None])
    known = (total[:, 3] > 1).nonzero()[:, 0]
    nearest = known[(torch.arange(LEVELS, device=image.device)[:, None] - known).abs().argmin(1)]
    shade = torch.linspace(0, 1, LEVELS, device=image.device) / (nearest / (LEVELS - 1)).clamp_min(1e-3)
    found = (total[nearest, :3] / total[nearest, 3:] * shade[:, None]).clamp(
        0, 1
    )  # levels it lacks: the next one's hue
    spread = float((colour - _at(found, low, share)).square().sum(1).mean().sqrt())
    return found, min(max((MIXED - spread) / (MIXED - PLAIN), 0.0), 1.0)


def toned(frames: Tensor, colours: Tensor) -> Tensor:
    """Frames [B,3,H,W] 0..1 in the colours [LEVELS,3] that `palette` found."""
    level = brightness(frames)[:, 0] * (LEVELS - 1)
    low = level.long().clamp(0, LEVELS - 2)
    return _at(colours, low, (level - low).clamp(0, 1)).movedim(-1, 1)


def _at(colours: Tensor, low: Tensor, share: Tensor) -> Tensor:
    return torch.lerp(colours[low], colours[low + 1], share[..., None])
