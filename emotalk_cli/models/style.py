"""StyleGAN2's modulated convolution, which HEF's blocks and its mouth painter are made of (eq. 8)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

GAIN = math.sqrt(2)  # of the rectifier


class StyleConv(nn.Module):
    """StyleGAN2's modulated convolution with demodulation, bias and leaky ReLU; with `up` it doubles the grid."""

    power: Tensor | None
    shift: Tensor | None

    def __init__(self, inputs: int, outputs: int, code: int, up: bool) -> None:
        super().__init__()
        self.up = up
        shape = (inputs, outputs, 4, 4) if up else (outputs, inputs, 3, 3)
        self.weight = nn.Parameter(torch.randn(shape))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.affine = nn.Linear(code, inputs)
        self.register_buffer("power", None, persistent=False)  # see `freeze`
        self.register_buffer("shift", None, persistent=False)
        nn.init.normal_(self.affine.weight, std=0.1 / math.sqrt(code))
        nn.init.ones_(self.affine.bias)

    def freeze(self) -> None:
        """Keep what the weights alone say, until they are trained on."""
        self.power, self.shift = (t.detach() for t in self._folded())

    def train(self, mode: bool = True) -> StyleConv:
        if mode:
            self.power = self.shift = None
        return super().train(mode)

    def _folded(self) -> tuple[Tensor, Tensor]:
        """Power [inputs,outputs] of the kernels' parts that meet in a cell, and the bias [outputs,1,1], for a gain of
        the rectifier of √2, which commutes with it."""
        power = self.weight.float().square().sum((2, 3)) / GAIN**2
        power = power / 4 if self.up else power.T.contiguous()  # with `up` a cell meets a quarter of the 4x4 kernel
        return power, (GAIN * self.bias)[:, None, None]

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        """x [B,inputs,h,w], code [B,code] -> [B,outputs,h or 2h,...]."""
        style = self.affine(code)
        power, shift = self._folded() if self.power is None or self.shift is None else (self.power, self.shift)
        norm = (style.square() @ power + 1e-6 / GAIN**2).rsqrt()[:, :, None, None].to(x.dtype)
        x = x * style[:, :, None, None].to(x.dtype)
        if self.up:
            x = F.conv_transpose2d(x, self.weight, stride=2, padding=1)
        else:
            x = F.conv2d(x, self.weight, padding=1)
        return F.leaky_relu(torch.addcmul(shift.to(x.dtype), x, norm), 0.2)


def halve(*modules: nn.Module) -> None:
    """Turn the convolutions of modules to bfloat16; styles are still told in float32."""
    for module in modules:
        for part in module.modules():
            if isinstance(part, StyleConv):
                part.weight.data, part.bias.data = part.weight.data.bfloat16(), part.bias.data.bfloat16()
                part.power = part.shift = None
            elif isinstance(part, nn.Conv2d):
                part.bfloat16()
