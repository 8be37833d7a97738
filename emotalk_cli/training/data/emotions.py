"""Points of the emotion space, and the faces that they mean, for EAC to learn from (eq. 2 of the paper)."""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ...emotions import atlas, prototypes
from ...models.behaviour import STRONGEST, Behaviour, Layout, emotion_target
from ...models.emotion_space import AME
from ...models.text_tower import SPACE, WIDTH
from . import prompts

MEANING = 384  # coordinates of meaning that the teacher of the text tower fills
_DEVIATION = 0.35  # norm, at most, of what is added to z: towers of other modalities come near, not to the point
_BLENDED = 0.3  # share of the samples that lie between two members


@dataclass
class EmotionBank:
    """Codes z [N,512] of the emotion space named `space` and the faces beta [N,64] they mean at full intensity.

    behaviour: what reads the face of any other point; None where the space has none but its members.
    """

    z: Tensor
    beta: Tensor
    space: str
    behaviour: Behaviour | None = None

    @classmethod
    def of(cls, z: Tensor, behaviour: Behaviour) -> EmotionBank:
        """Points z [N,512] with the faces that `behaviour` reads."""
        with torch.no_grad():
            beta = emotion_target(behaviour, z, torch.full((len(z),), 3.0))[0]
        return cls(z, beta, behaviour.dims.space, behaviour)

    @classmethod
    def drawn(cls, count: int, seed: int, behaviour: Behaviour) -> EmotionBank:
        """Random points of our own space: mixtures of the atlas' states, of any strength, with any meaning."""
        rng = np.random.default_rng(seed)
        weights = np.zeros((count, len(atlas.states())))
        for row in weights:  # mostly one state, often two, seldom three
            chosen = rng.choice(len(row), rng.choice(3, p=[0.5, 0.4, 0.1]) + 1, replace=False)
            row[chosen] = rng.dirichlet(np.full(len(chosen), 2.0)) * min(1.0, rng.uniform(0.3, 1.6))
        w = torch.from_numpy(weights).float()
        w[:, 0] += 1 - w.sum(1)
        strength = torch.from_numpy(rng.uniform(0.8, STRONGEST, (count, 1))).float()
        meaning = torch.from_numpy(rng.standard_normal((count, MEANING))).float()
        z = Layout.of_atlas().compose(w @ atlas.basics(), atlas.mixed(w) * strength, F.normalize(meaning, dim=1))
        return cls.of(F.normalize(z, dim=1), behaviour)

    @classmethod
    def of_prompts(cls, ame: AME, texts: list[str]) -> EmotionBank:
        """What a trained text tower makes of prompts; without a `Behaviour` of its space, by the basic emotions."""
        z = ame.text(texts)
        if ame.behaviour is not None:
            return cls.of(z, ame.behaviour)
        return cls(z, torch.stack([prototypes.mixture(ame.mixture(row)) for row in z]), ame.space)

    @classmethod
    def one_hot(cls, space: str) -> EmotionBank:
        """The basics as unit vectors, the encoding that Tab. 3 compares with."""
        faces = torch.stack([prototypes.PROTOTYPES[name].beta for name in prototypes.BASICS])
        return cls(torch.eye(len(faces), WIDTH), faces, space)

    def __add__(self, other: EmotionBank) -> EmotionBank:
        both = torch.cat([self.z, other.z]), torch.cat([self.beta, other.beta])
        return EmotionBank(*both, other.space, self.behaviour or other.behaviour)

    @property
    def rest(self) -> Tensor:
        """[512]: what the calmest fiftieth of the members has in common."""
        calm = self.beta.norm(dim=1).argsort()[: max(1, len(self.z) // 50)]
        return F.normalize(self.z[calm].mean(0), dim=0)

    def sample(self, rng: np.random.Generator, count: int) -> tuple[Tensor, Tensor]:
        """Codes [count,512] and faces [count,64] at full intensity.

        Of a space with a `Behaviour` also points between two members, and each code as another modality might say it:
        a random deviation, with the same face.
        """
        chosen = torch.from_numpy(rng.integers(len(self.z), size=count))
        z, beta = self.z[chosen], self.beta[chosen]
        if self.behaviour is None:
            return z, beta
        blended = torch.from_numpy(np.flatnonzero(rng.random(count) < _BLENDED))
        other = self.z[torch.from_numpy(rng.integers(len(self.z), size=len(blended)))]
        share = torch.from_numpy(rng.uniform(0.2, 0.8, (len(blended), 1))).float()
        z[blended] = F.normalize(share * z[blended] + (1 - share) * other, dim=1)
        with torch.no_grad():
            beta[blended] = emotion_target(self.behaviour, z[blended], torch.full((len(blended),), 3.0))[0]
        deviation = torch.from_numpy(rng.standard_normal((count, z.shape[1]), dtype=np.float32)) / z.shape[1] ** 0.5
        size = torch.from_numpy(rng.uniform(0, _DEVIATION, (count, 1))).float()
        return F.normalize(z + size * deviation, dim=1), beta


def training_bank(ame: AME, drawn: int, seed: int, everywhere: bool = True) -> EmotionBank:
    """`drawn` training prompts, and as many random points of the whole space (`everywhere`, our own space only)."""
    texts = [prompt.text for prompt in prompts.build(prompts.wordnet(), seed) if prompt.split == "train"]
    bank = EmotionBank.of_prompts(ame, random.Random(seed).sample(texts, min(drawn, len(texts))))
    if everywhere and ame.space == SPACE and ame.behaviour is not None:
        return bank + EmotionBank.drawn(drawn, seed, ame.behaviour)
    return bank
