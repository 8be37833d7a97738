"""The Transformer of CLIP (Radford et al. 2021), with open_clip's names of tensors, for the towers of our own."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn
from torch.nn import functional as F


class SelfAttention(nn.MultiheadAttention):
    """With that class's tensors and result, but without its checks of the mask, which import sympy: over a second."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__(width, heads, batch_first=True)

    def forward(self, x: Tensor, padding: Tensor | None = None) -> Tensor:  # type: ignore[override]
        """x: [B,L,width] -> the same shape; padding: [B,L], true where nobody may look."""
        parts = F.linear(x, self.in_proj_weight, self.in_proj_bias).unflatten(-1, (3, self.num_heads, self.head_dim))
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        seen = None if padding is None else ~padding[:, None, None]
        mixed = F.scaled_dot_product_attention(query, key, value, seen)
        return self.out_proj(mixed.transpose(1, 2).flatten(2))


class ResidualAttentionBlock(nn.Module):
    """One pre-norm layer: self-attention, then an MLP. Tensors [B,L,width]."""

    def __init__(self, width: int, heads: int, mlp_ratio: float = 4.0) -> None:
        super().__init__()
        hidden = int(width * mlp_ratio)
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = SelfAttention(width, heads)
        layers = [("c_fc", nn.Linear(width, hidden)), ("gelu", nn.GELU()), ("c_proj", nn.Linear(hidden, width))]
        self.mlp = nn.Sequential(OrderedDict(layers))

    def forward(self, x: Tensor, padding: Tensor | None = None) -> Tensor:
        """x: [B,L,width]; padding: [B,L], true where nobody may look."""
        x = x + self.attn(self.ln_1(x), padding)
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
