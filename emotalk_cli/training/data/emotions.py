"""Points of the emotion space, and the faces that they mean, for EAC to learn from (eq. 2 of the paper)."""

from __future__ import annotations

import copy
import random
from dataclasses import dataclass
from typing import NamedTuple

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
_ALIKE = 0.35  # share of the recordings that all modalities give the same emotion
_BLENDED = 0.3  # share of the samples that lie between two members


class Others(NamedTuple):
    """Pictures and voices of known emotions: z [M,512] of the emotion in words, z [M,512] of the picture or voice, and
    indices [M,k] of others that show the same."""

    told: Tensor
    shown: Tensor
    companions: Tensor

    @classmethod
    def of(cls, told: Tensor, shown: Tensor, labels: list[str], seed: int = 0, count: int = 8) -> Others:
        """labels: name of each emotion; only what has the same name has company."""
        rng, rows = np.random.default_rng(seed), []
        names = np.array(labels)
        for i, name in enumerate(labels):
            same = np.flatnonzero(names == name)
            rows.append(rng.choice(same, count) if name else np.full(count, i))
        return cls(told, shown, torch.from_numpy(np.stack(rows)))


@dataclass
class EmotionBank:
    """Codes z [N,512] of the emotion space named `space` and the faces beta [N,64] they mean at full intensity.

    behaviour: what reads the face of any other point; None where the space has none but its members. others: what
    pictures and voices say of emotions.
    """

    z: Tensor
    beta: Tensor
    space: str
    behaviour: Behaviour | None = None
    others: Others | None = None

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
        z = Layout.shipped().compose(w @ atlas.basics(), atlas.mixed(w) * strength, F.normalize(meaning, dim=1))
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
        return EmotionBank(*both, other.space, self.behaviour or other.behaviour, self.others or other.others)

    def to(self, device: torch.device | str) -> EmotionBank:
        """The same on another device."""
        behaviour = None if self.behaviour is None else copy.deepcopy(self.behaviour).to(device)
        others = None if self.others is None else Others(*(tensor.to(device) for tensor in self.others))
        return EmotionBank(self.z.to(device), self.beta.to(device), self.space, behaviour, others)

    @property
    def rest(self) -> Tensor:
        """[512]: what the calmest fiftieth of the members has in common."""
        calm = self.beta.norm(dim=1).argsort()[: max(1, len(self.z) // 50)]
        return F.normalize(self.z[calm].mean(0), dim=0)

    @torch.no_grad()
    def sample(self, count: int) -> tuple[Tensor, Tensor]:
        """Codes [count,512] and faces [count,64] at full intensity; all chance is torch's own.

        Of a space with a `Behaviour` also points between two members, and each code as another modality might say it:
        a random deviation, with the same face.
        """
        device = self.z.device
        chosen = torch.randint(len(self.z), (count,), device=device)
        z, beta = self.z[chosen], self.beta[chosen]
        if self.behaviour is None:
            return z, beta
        other = self.z[torch.randint(len(self.z), (count,), device=device)]
        blended = torch.rand(count, 1, device=device) < _BLENDED
        share = torch.rand(count, 1, device=device) * 0.6 + 0.2
        z = torch.where(blended, F.normalize(share * z + (1 - share) * other, dim=1), z)
        beta = torch.where(blended, self._faces(z), beta)
        deviation = torch.randn(count, z.shape[1], device=device) / z.shape[1] ** 0.5
        size = torch.rand(count, 1, device=device) * _DEVIATION
        return F.normalize(z + size * deviation, dim=1), beta

    @torch.no_grad()
    def alike(self, count: int) -> tuple[Tensor, Tensor]:
        """Eq. 2: codes and faces of three samples for each of `count` recordings, [3 count,512] and [3 count,64].

        They follow one another as text, picture and voice do along the batch. For a share of the recordings the three
        say one emotion in the words, a picture and a voice that the bank has of it, and share the face of the words;
        the others are three emotions.
        """
        z, beta = self.sample(3 * count)
        if self.others is None or self.behaviour is None:
            return z, beta
        told, shown, companions = self.others
        first = torch.randint(len(told), (count,), device=z.device)
        second = companions[first, torch.randint(companions.shape[1], (count,), device=z.device)]
        same = torch.stack([told[first], shown[first], shown[second]])
        chosen = (torch.rand(count, device=z.device) < _ALIKE)[None, :, None]
        face = self._faces(told[first]).expand(3, -1, -1)
        z = torch.where(chosen, same, z.reshape(same.shape))
        return z.flatten(0, 1), torch.where(chosen, face, beta.reshape(face.shape)).flatten(0, 1)

    def _faces(self, z: Tensor) -> Tensor:
        assert self.behaviour is not None
        return emotion_target(self.behaviour, z, torch.full((len(z),), 3.0, device=z.device))[0]


def training_prompts(drawn: int, seed: int) -> list[str]:
    """`drawn` prompts of the training split."""
    texts = [prompt.text for prompt in prompts.build(prompts.wordnet(), seed) if prompt.split == "train"]
    return random.Random(seed).sample(texts, min(drawn, len(texts)))


def training_bank(ame: AME, drawn: int, seed: int, everywhere: bool = True) -> EmotionBank:
    """`drawn` training prompts, and as many random points of the whole space (`everywhere`, our own space only)."""
    bank = EmotionBank.of_prompts(ame, training_prompts(drawn, seed))
    if everywhere and ame.space == SPACE and ame.behaviour is not None:
        return bank + EmotionBank.drawn(drawn, seed, ame.behaviour)
    return bank
