"""Emotion spaces by name: the shipped one, CLIP's, and those that Tab. 3 compares with them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..emotions.prototypes import BASICS, CLASSES
from . import gpt2, upstream
from .emotion_space import AME
from .text_tower import SPACE, WIDTH

ONE_HOT, LANGUAGE = "one-hot", "language"


def load(space: str, weights: str | os.PathLike[str] | None = None) -> AME:
    """The space of a name, as EAC's weights carry it, with the towers in the folder `weights`.

    "emotalk-2": the shipped one. "one-hot": the eight basics as unit vectors. "language": what words mean without
    what they feel like. "gpt2": GPT-2's, which the user has added. Anything else names an open_clip model
    (`upstream.load`). Raises as `AME.load`.
    """
    if space == SPACE:
        return AME.load(weights)
    if space in (ONE_HOT, LANGUAGE):
        return (OneHot if space == ONE_HOT else Language)(AME.load(weights))
    return gpt2.load() if space == gpt2.SPACE else upstream.load(space, weights)


class _Derived(AME):
    """A space made of the shipped one: `code` turns its z_emo [B,512] into others. It learns no towers of its own."""

    def __init__(self, base: AME, space: str) -> None:
        super().__init__(base.text_tower, base.tokenizer, space)
        self.base = base

    def code(self, z: Tensor) -> Tensor:
        raise NotImplementedError

    def text(self, prompts: Sequence[str]) -> Tensor:
        return self.code(self.base.text(prompts))

    def image(self, pixels: np.ndarray, landmarks: np.ndarray, scores: np.ndarray) -> Tensor:
        return self.code(self.base.image(pixels, landmarks, scores)[None])[0]

    def audio(self, mels: Iterable[Tensor], level: float) -> Tensor:
        return self.code(self.base.audio(mels, level)[None])[0]


class OneHot(_Derived):
    """An emotion is one of the eight basics and nothing else ("One-hot" of Tab. 3)."""

    def __init__(self, base: AME) -> None:
        super().__init__(base, ONE_HOT)

    def code(self, z: Tensor) -> Tensor:
        weights = self.base.scores(z)
        best = weights[:, : len(BASICS)].argmax(1)
        best = torch.where(weights.argmax(1) == len(BASICS), 0, best)  # unrelated is neutral
        return F.one_hot(best, WIDTH).to(z)

    def scores(self, z: Tensor) -> Tensor:
        return F.normalize(z[:, : len(CLASSES)].clamp(min=0) + 1e-6, p=1, dim=1)


class Language(_Derived):
    """The meaning of words alone, as a language model taught it to the shipped text tower (where GPT-2 is not at hand).

    The coordinates that say the emotion are left out, so that nothing of faces or voices is in it.
    """

    centres: Tensor

    def __init__(self, base: AME) -> None:
        super().__init__(base, LANGUAGE)
        with torch.no_grad():
            self.register_buffer("centres", self.text([f"a {name} face" for name in BASICS] + ["an object"]))

    def code(self, z: Tensor) -> Tensor:
        return F.normalize(torch.cat([torch.zeros_like(z[:, : len(CLASSES)]), z[:, len(CLASSES) :]], 1), dim=1)

    def scores(self, z: Tensor) -> Tensor:
        return (100 * F.normalize(z, dim=1) @ self.centres.T).softmax(1)
