"""The emotion space (AME, paper Sec. 3.2): a text, a face or a voice becomes z_emo [512].

The shipped towers are `text_tower`, `image_tower` and `audio_tower`; `upstream` puts CLIP's own in their place.
How our own space "emotalk-2" is laid out says `behaviour.Layout`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..constants import BASICS
from ..emotions.atlas import CLASSES, mixed, nearest, states
from ..emotions.blends import check_weights, parse_blend
from ..errors import WeightsError
from . import checkpoints
from .audio_tower import AudioTower
from .behaviour import Behaviour, named
from .image_tower import ImageTower
from .text_tower import SPACE, WIDTH, TextDims, TextTower, Tokenizer


class AME(nn.Module):
    """The towers of one emotion space. `space` names it."""

    def __init__(
        self,
        tower: nn.Module,
        tokenizer: Callable[[Sequence[str]], Tensor],
        space: str,
        *,
        image_tower: Any | None = None,
        audio_tower: AudioTower | None = None,
        behaviour: Behaviour | None = None,
        anchors: Tensor | None = None,
    ):
        """tower: tokens [B,L] -> [B,512]. tokenizer: texts -> tokens [B,L], the end token the largest id.

        image_tower: an `ImageTower`, or the image side of an upstream model. anchors: unit directions [9,512] of
        `CLASSES`, in a space not our own. behaviour: what z does to a face; None if that is not known of this space.
        """
        super().__init__()
        self.text_tower, self.tokenizer, self.space = tower, tokenizer, space
        self.image_tower: Any | None = image_tower
        self.audio_tower, self.behaviour = audio_tower, behaviour
        self.anchors: Tensor | None
        self.register_buffer("anchors", anchors, persistent=False)

    @classmethod
    def own(cls, dims: TextDims, merges: Tensor) -> AME:
        """The project's own small tower, untrained. merges: [dims.merges,2] as `Tokenizer` takes them."""
        tokenizer = Tokenizer(merges.tolist(), dims.context)
        tower = TextTower(tokenizer.vocab_size, dims)
        tower.register_buffer("merges", merges.to(torch.int32))
        return cls(tower, tokenizer, dims.space)

    @classmethod
    def load(cls, weights: str | os.PathLike[str] | None = None) -> AME:
        """The shipped space, with the image and audio towers that lie beside it, ready for use.

        Raises WeightsError if a file is missing (the text tower's), damaged or of another version or space.
        """
        checkpoint = checkpoints.load("ame", weights)
        dims = checkpoint.sizes(TextDims)
        if dims.space != SPACE:
            raise WeightsError(f"{checkpoint.path} holds the emotion space {dims.space!r}, not {SPACE!r}; restore it.")
        model = checkpoint.fill(cls.own(dims, checkpoint.tensors["text_tower.merges"]))
        folder = checkpoint.path.parent
        model.image_tower, model.audio_tower = ImageTower.load(folder, SPACE), AudioTower.load(folder, SPACE)
        model.behaviour = Behaviour.load(folder, SPACE)
        return model.eval().requires_grad_(False)

    @property
    def merges(self) -> list[tuple[int, int]]:
        """The byte pairs of our own tower's tokenizer, best first, as `Tokenizer` takes them."""
        return [(first, second) for first, second in self.text_tower.get_buffer("merges").tolist()]

    @property
    def device(self) -> torch.device:
        return next(self.text_tower.parameters()).device

    def encode(self, tokens: Tensor) -> Tensor:
        """Tokens [B,context] -> unit vectors [B,512], with gradients."""
        if self.anchors is None:  # our own tower needs no fixed length
            tokens = tokens[:, : int(tokens.argmax(1).max()) + 1]  # the end token has the largest id
        return F.normalize(self.text_tower(tokens), dim=1)

    @torch.no_grad()
    def text(self, prompts: Sequence[str]) -> Tensor:
        """z_emo [B,512], unit norm, of prompts; each may be a blend such as "happy:0.5+surprised:0.5".

        Raises UsageError for an empty prompt or a blend without positive weight.
        """
        blends = [parse_blend(prompt) for prompt in prompts]
        texts = [text for blend in blends for text in blend]
        tokens = self.tokenizer(texts).to(self.device)
        if self.anchors is None:
            order = torch.argsort(tokens.argmax(1))  # alike lengths together: short prompts stay fast
            parts = torch.empty(len(texts), WIDTH, device=self.device)
            for chunk in order.split(256):
                parts[chunk] = self.encode(tokens[chunk])
        else:
            parts = torch.cat([self.encode(chunk) for chunk in tokens.split(256)])
        weights = [torch.tensor(list(blend.values()), device=self.device) for blend in blends]
        sums = [w @ z for w, z in zip(weights, parts.split([len(blend) for blend in blends]), strict=True)]
        return F.normalize(torch.stack(sums), dim=1)

    def blend(self, weights: Mapping[str, float]) -> Tensor:
        """z_emo [512], unit norm: the weighted average of the prompts' embeddings (paper Fig. 5)."""
        check_weights(weights)
        z = self.text(list(weights))
        return F.normalize(torch.tensor(list(weights.values()), device=z.device) @ z, dim=0)

    @torch.no_grad()
    def image(self, pixels: np.ndarray, landmarks: np.ndarray, scores: np.ndarray) -> Tensor:
        """z_emo [512] of a face in uint8 [H,W,3], by its landmarks [478,3] px and blendshape scores [51] (`Face`).

        Raises WeightsError if the weights hold no image tower.
        """
        if self.image_tower is None:
            raise WeightsError("The weights hold no image tower (ame_image.safetensors); name the emotion in words.")
        tower = self.image_tower
        crop = tower.crop(pixels, landmarks).to(self.device)
        points, shapes = (torch.tensor(a, dtype=torch.float32, device=self.device)[None] for a in (landmarks, scores))
        z: Tensor = tower(crop, tower.features(points, shapes))[0]
        return z

    @torch.no_grad()
    def audio(self, mels: Iterable[Tensor], level: float) -> Tensor:
        """z_emo [512] of log-mel blocks [80,4n] with their level in dBFS; neutral where nobody speaks.

        Raises WeightsError if the weights hold no audio tower.
        """
        if self.audio_tower is None:
            raise WeightsError("The weights hold no audio tower (ame_audio.safetensors); name the emotion in words.")
        z = self.audio_tower.listen(mels, level)
        return self.text(["neutral"])[0] if z is None else z

    def scores(self, z: Tensor) -> Tensor:
        """Weights [B,9] over `prototypes.CLASSES` (8 basics, then unrelated), sum 1, of z_emo [B,512]."""
        if self.anchors is not None:
            return (100 * F.normalize(z, dim=1) @ self.anchors.T).softmax(1)
        return named(z)

    def mixture(self, z: Tensor) -> dict[str, float]:
        """Weights over the 8 basics of one z_emo [512], for `prototypes.mixture`; unrelated counts as neutral."""
        *weights, unrelated = self.scores(z[None])[0].tolist()
        weights[0] += unrelated
        return dict(zip(CLASSES, weights, strict=False))

    def nearest(self, z: Tensor, count: int = 3) -> list[tuple[str, float]]:
        """The states of the atlas most like z_emo [512]: (name or "unrelated", similarity 0..1), best first."""
        p = self.scores(z[None])[0]
        weights = F.pad(p[None, :-1], (0, len(states()) - len(BASICS)))  # the basics come first in the atlas
        shown = mixed(weights)[0] if self.behaviour is None else self.behaviour(z[None])[0]
        return nearest(p, shown, count)
