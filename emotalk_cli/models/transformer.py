"""The Transformer of CLIP (Radford et al. 2021), with open_clip's names of tensors, for the towers of our own."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn


class ResidualAttentionBlock(nn.Module):
    """One pre-norm layer: self-attention, then an MLP. Tensors [B,L,width]."""

    def __init__(self, width: int, heads: int, mlp_ratio: float = 4.0) -> None:
        super().__init__()
        hidden = int(width * mlp_ratio)
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        layers = [("c_fc", nn.Linear(width, hidden)), ("gelu", nn.GELU()), ("c_proj", nn.Linear(hidden, width))]
        self.mlp = nn.Sequential(OrderedDict(layers))

    def forward(self, x: Tensor, padding: Tensor | None = None) -> Tensor:
        """x: [B,L,width]; padding: [B,L], true where nobody may look."""
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, key_padding_mask=padding, need_weights=False)[0]
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Module):
    """A stack of `ResidualAttentionBlock`s without a causal mask."""

    def __init__(self, width: int, layers: int, heads: int, mlp_ratio: float = 4.0) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList([ResidualAttentionBlock(width, heads, mlp_ratio) for _ in range(layers)])

    def forward(self, x: Tensor, padding: Tensor | None = None) -> Tensor:
        """x: [B,L,width] -> the same shape; padding: [B,L], true where nobody may look."""
        for block in self.resblocks:
            x = block(x, padding)
        return x
