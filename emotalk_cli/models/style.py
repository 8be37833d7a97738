"""StyleGAN2's modulated convolution, which HEF's blocks and its mouth painter are made of (eq. 8)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class StyleConv(nn.Module):
    """StyleGAN2's modulated convolution with demodulation, bias and leaky ReLU; with `up` it doubles the grid."""

    def __init__(self, inputs: int, outputs: int, code: int, up: bool) -> None:
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
