"""GPT-2 (Radford et al. 2019) as emotion space: the language model that Tab. 3 compares with CLIP.

It knows words alone, no faces and no voices. Its weights are the user's own, added once; their layout and names are
those in which OpenAI's are distributed. A text becomes the mean of its tokens' last states; from it what all emotions'
prompts have in common is taken away, and a fixed random projection makes it as wide as every emotion space.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

import regex
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..emotions.prototypes import CLASSES
from ..errors import InputError, WeightsError
from ..media.files import sha256
from . import added, checkpoints
from .emotion_space import AME
from .text_tower import WIDTH, byte_letters, grown, merged

SPACE = "gpt2"
WEIGHTS, MERGES = ("model.safetensors", "pytorch_model.bin"), ("merges.txt", "vocab.bpe")
PUBLISHED = added.Published(
    "Tab. 3", f"a folder with {WEIGHTS[0]} and {MERGES[0]}", "https://huggingface.co/openai-community/gpt2"
)
HEAD = 64  # width of an attention head, in every size of GPT-2
CONTEXT = 64  # tokens of a prompt; more is cut
PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
UNREAD = (".attn.bias", ".attn.masked_bias", "lm_head.weight")  # causal masks, and the tied output layer


@dataclasses.dataclass(frozen=True)
class GPT2Dims:
    """Sizes of a GPT-2. merges: byte pairs; context: positions."""

    merges: int = 50000
    width: int = 768
    layers: int = 12
    context: int = 1024

    @property
    def vocabulary(self) -> int:
        """256 bytes, the merges, and the end of a text."""
        return 256 + self.merges + 1


class Projection(nn.Module):
    """A linear layer whose weight is [inputs, outputs], as GPT-2's files have it."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.zeros(inputs, outputs)), nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight + self.bias


class Attention(nn.Module):
    """Causal self-attention of [B,L,width]."""

    def __init__(self, width: int):
        super().__init__()
        self.c_attn, self.c_proj = Projection(width, 3 * width), Projection(width, width)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.c_attn(x).unflatten(2, (3, -1, HEAD)).permute(2, 0, 3, 1, 4)  # [B,heads,L,HEAD] each
        seen = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.c_proj(seen.transpose(1, 2).flatten(2))


class MLP(nn.Module):
    """Two layers with GELU in its tanh form."""

    def __init__(self, width: int):
        super().__init__()
        self.c_fc, self.c_proj = Projection(width, 4 * width), Projection(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.c_proj(F.gelu(self.c_fc(x), approximate="tanh"))


class Block(nn.Module):
    """One pre-norm layer."""

    def __init__(self, width: int):
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn, self.mlp = Attention(width), MLP(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class GPT2(nn.Module):
    """The language model without its output layer."""

    def __init__(self, dims: GPT2Dims):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(dims.vocabulary, dims.width), nn.Embedding(dims.context, dims.width)
        self.h = nn.ModuleList(Block(dims.width) for _ in range(dims.layers))
        self.ln_f = nn.LayerNorm(dims.width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens [B,L] -> the last states [B,L,width], each of which has seen the tokens up to its own."""
        x = self.wte(tokens) + self.wpe.weight[: tokens.shape[1]]
        for block in self.h:
            x = block(x)
        return self.ln_f(x)


class Tokenizer:
    """GPT-2's byte pairs: texts -> tokens [B,L], the end of a text (the last number) after each."""

    def __init__(self, merges: Sequence[tuple[int, int]]):
        """merges: pairs of tokens, best first, as indices of 256 bytes and earlier merges."""
        self._letters = byte_letters()
        vocabulary = list(self._letters.values())
        self._ranks = grown(vocabulary, merges)
        self._numbers = {token: number for number, token in enumerate(vocabulary)}
        self.end = len(vocabulary)
        self._pattern = regex.compile(PATTERN)

    def encode(self, text: str) -> list[int]:
        """The tokens of a text."""
        words = ("".join(self._letters[byte] for byte in word.encode()) for word in self._pattern.findall(text))
        return [self._numbers[part] for word in words for part in merged([*word], self._ranks)]

    def __call__(self, texts: Sequence[str]) -> Tensor:
        rows = [self.encode(text)[:CONTEXT] for text in texts]
        tokens = torch.full((len(rows), max(map(len, rows)) + 1), self.end)
        for row, found in zip(tokens, rows, strict=True):
            row[: len(found)] = torch.tensor(found)
        return tokens


class Reader(nn.Module):
    """GPT-2 as a text tower: tokens [B,L] -> [B,512], not normalised."""

    common: Tensor
    projection: Tensor

    def __init__(self, model: GPT2, end: int):
        super().__init__()
        self.model, self.end = model, end
        width = model.wte.embedding_dim
        random = torch.randn(width, WIDTH, generator=torch.Generator().manual_seed(0))
        self.register_buffer("projection", random / WIDTH**0.5, persistent=False)
        self.register_buffer("common", torch.zeros(width), persistent=False)

    def state(self, tokens: Tensor) -> Tensor:
        """The mean of the tokens' last states [B,width]."""
        said = (tokens != self.end)[..., None]
        return (self.model(tokens) * said).sum(1) / said.sum(1)

    def forward(self, tokens: Tensor) -> Tensor:
        return (self.state(tokens) - self.common) @ self.projection


def load() -> AME:
    """The emotion space of the GPT-2 that the user has added. Raises WeightsError if there is none."""
    if not added.has(SPACE):
        raise WeightsError(
            f"The emotion space gpt2 needs GPT-2's weights: download {' and '.join((WEIGHTS[0], MERGES[0]))} from "
            f"{PUBLISHED.source} into a folder, then emotalk weights add gpt2 FOLDER."
        )
    checkpoint = checkpoints.load(SPACE, added.folder())
    tokenizer = Tokenizer(checkpoint.tensors.pop("merges").tolist())
    reader = Reader(checkpoint.fill(GPT2(checkpoint.sizes(GPT2Dims))), tokenizer.end).requires_grad_(False)
    tokens = tokenizer([f"a {word} face" for word in CLASSES[:-1]] + ["an object"])
    with torch.no_grad():
        reader.common.copy_(reader.state(tokens).mean(0))
        anchors = F.normalize(reader(tokens), dim=1)
    return AME(reader, tokenizer, SPACE, anchors=anchors).eval()


def add(folder: str | os.PathLike[str]) -> Path:
    """Check a downloaded GPT-2 of any size and keep it as one file in `added.folder`; its path.

    Raises InputError if files are missing, WeightsError if they are not GPT-2's.
    """
    files = []
    for names in (WEIGHTS, MERGES):
        found = [Path(folder) / name for name in names if (Path(folder) / name).is_file()]
        if not found:
            raise InputError(f"{folder} holds no {names[0]}; download it from {PUBLISHED.source}.")
        files.append(found[0])
    tensors = {key.removeprefix("transformer."): value for key, value in added.read(files[0]).items()}
    tensors = {key: value.float() for key, value in tensors.items() if not key.endswith(UNREAD)}
    merges = _merges(files[1])
    try:
        (vocabulary, width), (context, _) = tensors["wte.weight"].shape, tensors["wpe.weight"].shape
        layers = len({key.split(".")[1] for key in tensors if key.startswith("h.")})
        dims = GPT2Dims(len(merges), width, layers, context)
        if vocabulary != dims.vocabulary or width % HEAD:
            raise ValueError(f"{vocabulary} tokens of {width} numbers and {len(merges)} merges")
        GPT2(dims).load_state_dict(tensors)
    except (KeyError, ValueError, RuntimeError) as error:
        wrong = " ".join(str(error).split())[:120]
        raise WeightsError(f"{files[0]} is no GPT-2 with {files[1].name} ({wrong}); get {PUBLISHED.source}.") from error
    tensors["merges"] = torch.tensor(merges, dtype=torch.int32).reshape(-1, 2)
    hashes = {"original_sha256": sha256(files[0]), "merges_sha256": sha256(files[1])}
    command = f"emotalk weights add {SPACE}"
    return checkpoints.save(
        SPACE, tensors, dims, added.folder(), data=PUBLISHED.source, command=command, seed=0, half=False, **hashes
    )


def _merges(path: Path) -> list[tuple[int, int]]:
    """Pairs of a file of merges, as numbers of the vocabulary. Raises WeightsError."""
    numbers = {letter: number for number, letter in enumerate(byte_letters().values())}
    found = []
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
        for line in filter(None, lines[lines[0].startswith("#version") :]):
            first, second = line.split(" ")
            found.append((numbers[first], numbers[second]))
            numbers[first + second] = len(numbers)
    except (OSError, UnicodeDecodeError, KeyError, ValueError) as error:
        raise WeightsError(f"{path} is no list of GPT-2's byte pairs; download it again.") from error
    return found
