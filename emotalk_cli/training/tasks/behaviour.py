"""What the emotion space means on a face: `emotalk train behaviour [--data /usr/share/wordnet] [task.cache=DIR]`.

A `Behaviour` learns from the labelled texts and words of the text tower's curriculum (`ame`): their z as the tower says
it and as `Layout` composes it, and points between any two (MixUp), with the behaviour that the atlas mixes for them.
Parts of z are now and then left out, so that all coordinates carry it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...emotions import atlas
from ...emotions.atlas import CLASSES, FACE, UNITS
from ...models import upstream
from ...models.behaviour import CODE, Behaviour, BehaviourDims
from ...models.emotion_space import AME
from ...models.text_tower import SPACE
from ..config import Config
from ..config import build as build_options
from .ame import Curriculum, curriculum_of

POOL = 24_000  # texts that are drawn once
_NOISE = 0.25  # norm of what is added to z
_LEFT_OUT = 0.12  # chance that the class weights, the code or the meaning is missing


@dataclass(frozen=True)
class Options:
    """cache: folder of the teacher's embeddings. weights: folder of the text tower. upstream: an open_clip model."""

    cache: str = ""
    weights: str = ""
    upstream: str = ""


class BehaviourTask:
    """Trains a `Behaviour` (see `solver.Task`)."""

    name = Behaviour.name

    def __init__(self, curriculum: Curriculum, ame: AME, config: Config) -> None:
        self.ame, self.config = ame, config
        self.model: nn.Module = Behaviour(BehaviourDims(space=ame.space))
        self.weight = torch.tensor(UNITS)
        texts, p, w, meaning, strength = curriculum.draw(np.random.default_rng(config.seed), POOL)
        self.behaviour = curriculum.behaviours(w, strength)
        self.spoken = ame.text(texts)
        own = ame.space == SPACE
        self.exact = curriculum.layout.compose(p, self.behaviour, meaning) if own else self.spoken
        self.helpers: dict[str, nn.Module] = {}

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return {"adamw": torch.optim.AdamW(self.model.parameters(), self.config.rate, weight_decay=1e-3)}

    @torch.no_grad()
    def batch(self, rng: np.random.Generator, size: int) -> dict[str, Tensor]:
        """z [B,512] and behaviour [B, WIDTH]."""
        rows = torch.from_numpy(rng.integers(POOL, size=size))
        exact = torch.from_numpy(rng.random(size) < 0.4)[:, None]
        behaviour, z = self.behaviour[rows], torch.where(exact, self.exact[rows], self.spoken[rows])
        order = torch.from_numpy(rng.permutation(size))
        share = torch.from_numpy(np.where(rng.random(size) < 0.4, rng.beta(0.6, 0.6, size), 0.0))[:, None].float()
        z = F.normalize((1 - share) * z + share * z[order], dim=1)
        behaviour = (1 - share) * behaviour + share * behaviour[order]
        if self.ame.space == SPACE:
            edges = (0, len(CLASSES), len(CLASSES) + CODE + 1, z.shape[1])
            missing = rng.choice(4, size, p=[1 - 3 * _LEFT_OUT, *[_LEFT_OUT] * 3])
            for part, (start, end) in enumerate(zip(edges, edges[1:]), 1):
                z[torch.from_numpy(missing == part), start:end] = 0
            z = F.normalize(z, dim=1)
        noise = torch.from_numpy(rng.standard_normal(tuple(z.shape), dtype=np.float32)) / z.shape[1] ** 0.5
        size_ = torch.from_numpy(rng.uniform(0, _NOISE, (size, 1))).float()
        return {"z": F.normalize(z + size_ * noise, dim=1), "behaviour": behaviour}

    def losses(self, batch: dict[str, Tensor], step: int, total: int) -> Iterator[tuple[str, Tensor, dict]]:
        """Squared error of the face and, in the same unit, of posture, gaze and motion."""
        error = ((self.model.raw(batch["z"]) - batch["behaviour"]) * self.weight.to(batch["z"])).square()
        face, manner = error[:, : len(FACE)].sum(1).mean(), error[:, len(FACE) :].sum(1).mean()
        yield "adamw", face + manner, {"face": face, "manner": manner}

    @torch.no_grad()
    def validate(self, model: Behaviour) -> dict[str, float]:
        """Mean cosine of the faces of the atlas' states, by their names, with their own."""
        z = self.ame.text(list(atlas.states()))
        made, own = model(z)[1:, : len(FACE)], atlas.behaviours()[1:, : len(FACE)]
        return {"states": float(F.cosine_similarity(made, own).mean())}

    def samples(self, model: nn.Module) -> None:
        """Vectors make no picture."""

    def save(self, model: Behaviour, out: Path, **provenance: str | int) -> Path:
        model = copy.deepcopy(model)
        model.widen(self.spoken, self.behaviour)
        data = "the project's atlas and emotion lexicon; WordNet 3.0; teacher all-MiniLM-L6-v2 (Apache-2.0)"
        return model.save(out, data=data, **provenance)


def build(data: Path | None, config: Config, work: Path) -> BehaviourTask:
    """For `emotalk train behaviour`. data: the folder of WordNet's dictionary files."""
    options = build_options(Options, config.task)
    folder = options.weights or None
    ame = upstream.load(options.upstream, folder) if options.upstream else AME.load(folder)
    return BehaviourTask(curriculum_of(data, options.cache or work, config.seed), ame.eval(), config)
