"""CLIP's text tower (Radford et al. 2021) in a small size: byte-pair tokens -> a vector of the emotion space.

Architecture, names of tensors and tokens are open_clip's (`TextTransformer` without a causal mask, `SimpleTokenizer`),
so that either reads the other's weights; nothing of that package is imported.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import regex
import torch
from torch import Tensor, nn

from .transformer import ResidualAttentionBlock, Transformer

SPACE = "emotalk-2"  # the shipped emotion space
WIDTH = 512  # of every emotion space
SPECIAL = ("<start_of_text>", "<end_of_text>")
PATTERN = "|".join([*SPECIAL, r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"])


@dataclass(frozen=True)
class TextDims:
    """Size of the text tower. merges: byte pairs; context: tokens; space: the space it maps to."""

    merges: int
    width: int = 160
    layers: int = 2
    heads: int = 5
    context: int = 32
    space: str = SPACE


def byte_letters() -> dict[int, str]:
    """Byte -> the printable letter that stands for it in the vocabulary (GPT-2's table), in the vocabulary's order."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + i) for i, byte in enumerate(others)}


def clean(text: str) -> str:
    """Lower case, single spaces, HTML entities and wrongly decoded letters put right (as CLIP was trained)."""
    if not (text.isascii() and text.isprintable() and "&" not in text):  # else ftfy changes nothing, and takes a while
        import ftfy

        text = ftfy.fix_text(text)
    return " ".join(html.unescape(html.unescape(text)).split()).lower()


def grown(vocabulary: list[str], merges: Sequence[tuple[int, int]]) -> dict[tuple[str, str], int]:
    """Byte pairs, best first as numbers of the vocabulary, with their ranks; what they merge to is added to it."""
    ranks: dict[tuple[str, str], int] = {}
    for first, second in merges:
        ranks[vocabulary[first], vocabulary[second]] = len(ranks)
        vocabulary.append(vocabulary[first] + vocabulary[second])
    return ranks


def merged(parts: list[str], ranks: Mapping[tuple[str, str], int]) -> list[str]:
    """Byte-pair encoding: of the pairs that `ranks` knows the best is merged, everywhere, until there is none."""
    while len(parts) > 1:
        rank, best = min((ranks.get(pair, len(ranks)), pair) for pair in zip(parts, parts[1:]))
        if rank == len(ranks):
            break
        joined: list[str] = []
        for part in parts:
            if joined and (joined[-1], part) == best:
                joined[-1] += part
            else:
                joined.append(part)
        parts = joined
    return parts


class Tokenizer:
    """Byte-pair tokenizer with open_clip's interface: texts -> tokens [B,context_length], 0 after the end.

    `vocab_size` counts 256 bytes, 256 bytes that end a word, the merges, and the two ids of start and end.
    """

    def __init__(self, merges: Sequence[tuple[int, int]], context_length: int) -> None:
        """merges: pairs of tokens, best first, as indices of 256 bytes, 256 bytes that end a word, earlier merges."""
        self.context_length = context_length
        self.byte_encoder = byte_letters()
        self.byte_decoder = {letter: byte for byte, letter in self.byte_encoder.items()}
        letters = list(self.byte_encoder.values())
        vocabulary = [*letters, *(letter + "</w>" for letter in letters)]
        self.bpe_ranks = grown(vocabulary, merges)
        vocabulary += SPECIAL
        self.encoder = {token: i for i, token in enumerate(vocabulary)}
        self.decoder = dict(enumerate(vocabulary))
        self.vocab_size = len(vocabulary)
        self.sot_token_id, self.eot_token_id = (self.encoder[token] for token in SPECIAL)
        self.pat = regex.compile(PATTERN, regex.IGNORECASE)
        self._spelt: dict[str, tuple[str, ...]] = {token: (token,) for token in SPECIAL}

    def bpe(self, word: str) -> tuple[str, ...]:
        """The tokens of one word in `byte_letters`."""
        if word not in self._spelt:
            parts = merged([*word[:-1], word[-1] + "</w>"], self.bpe_ranks)
            self._spelt[word] = tuple(parts)
        return self._spelt[word]

    def encode(self, text: str) -> list[int]:
        """The tokens of a text, without start and end."""
        words = ("".join(self.byte_encoder[b] for b in word.encode()) for word in self.pat.findall(clean(text)))
        return [self.encoder[token] for word in words for token in self.bpe(word)]

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of tokens, each word followed by a space."""
        letters = "".join(self.decoder[int(token)] for token in tokens)
        return bytes(self.byte_decoder[c] for c in letters).decode(errors="replace").replace("</w>", " ")

    def __call__(self, texts: str | Sequence[str]) -> Tensor:
        """Tokens [B,context_length], int64; a longer text is cut and ended."""
        texts = [texts] if isinstance(texts, str) else texts
        result = torch.zeros(len(texts), self.context_length, dtype=torch.long)
        for row, text in zip(result, texts, strict=True):
            tokens = [self.sot_token_id, *self.encode(text)[: self.context_length - 2], self.eot_token_id]
            row[: len(tokens)] = torch.tensor(tokens)
        return result


class TextTower(nn.Module):
    """Tokens [B,L] -> vectors [B,512], not normalised: the state at the end token, which sees all tokens."""

    def __init__(self, vocab_size: int, dims: TextDims) -> None:
        super().__init__()
        width = self.width = dims.width
        self.token_embedding = nn.Embedding(vocab_size, width)
        self.positional_embedding = nn.Parameter(0.01 * torch.randn(dims.context, width))
        self.transformer = Transformer(width, dims.layers, dims.heads)
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = nn.Parameter(width**-0.5 * torch.randn(width, WIDTH))
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        for block in self.transformer.resblocks:  # CLIP's
            assert isinstance(block, ResidualAttentionBlock)
            nn.init.normal_(block.attn.in_proj_weight, std=width**-0.5)
            nn.init.normal_(block.attn.out_proj.weight, std=(2 * width * dims.layers) ** -0.5)
            widen, narrow = block.mlp.get_parameter("c_fc.weight"), block.mlp.get_parameter("c_proj.weight")
            nn.init.normal_(widen, std=(2 * width) ** -0.5)
            nn.init.normal_(narrow, std=(2 * width * dims.layers) ** -0.5)

    def state(self, tokens: Tensor, kept: Tensor | None = None) -> Tensor:
        """The end token's state [B,width]. tokens: as `forward`'s; kept: [B,L], false where one is left out."""
        x = self.token_embedding(tokens)
        if kept is not None:
            x = x * kept[..., None]
        x = self.ln_final(self.transformer(x + self.positional_embedding[: tokens.shape[1]], tokens == 0))
        return x[torch.arange(len(x), device=x.device), tokens.argmax(1)]

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens: [B,L], L <= context, the end token the largest id, 0 after it."""
        return self.state(tokens) @ self.text_projection
