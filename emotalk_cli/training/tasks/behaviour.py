"""What the emotion space means on a face: `emotalk train behaviour`.

A `Behaviour` learns from points that are composed as `Layout` has them (or, with task.upstream, from what an upstream
model says of texts): states of the atlas, labelled texts, their degrees, negations and blends, with the behaviour that
the atlas mixes for them. Parts of z are now and then left out, so that all coordinates carry it.
"""

from __future__ import annotations

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
from ...models.behaviour import CODE, STRONGEST, Behaviour, BehaviourDims, Layout
from ...models.emotion_space import AME
from ...models.text_tower import SPACE, WIDTH
from ..config import Config
from ..config import build as build_options
from ..data.prompts import graded, negation
from ..data.teacher import labelled, shares

POOL = 26_000  # points that are drawn once
MEANING = 384  # coordinates of meaning in the layout's basis that text fills
_NOISE = 0.3  # norm of what is added to z, at most
_UNNAMED, _UNSAID = 0.06, 0.14  # chance that the class weights, or the meaning, are missing
_PURE = 0.2  # share of points that are one state


@dataclass(frozen=True)
class Options:
    """hidden: width of the network. weights: folder of the towers. upstream: an open_clip model."""

    hidden: int = 256
    weights: str = ""
    upstream: str = ""


def drawn(count: int, seed: int) -> tuple[list[str], Tensor, Tensor]:
    """Texts, weights [count,L] over the labels, and factors [count,1] on the behaviour, of labelled texts.

    Three of ten are blends, one of six is weaker or stronger than its text says, some are denied; those texts are no
    longer what the weights mean, and are "".
    """
    torch.manual_seed(seed)
    texts, rows, coarse = labelled()
    texts, rows = [t for t, rough in zip(texts, coarse.tolist(), strict=True) if not rough], rows[~coarse]
    often = torch.bincount(rows.argmax(1), minlength=rows.shape[1]).clamp(min=1).float()
    weight = often[rows.argmax(1)].rsqrt()
    one, two = (torch.multinomial(weight, count, replacement=True) for _ in range(2))
    w, chance, share = rows[one].clone(), torch.rand(count), torch.where(torch.rand(count, 1) < 0.5, 0.5, 0.68)
    blended, weaker, stronger, denied = (
        (chance >= low) & (chance < high) for low, high in ((0, 0.3), (0.3, 0.38), (0.38, 0.46), (0.46, 0.5))
    )
    w = torch.where(blended[:, None], share * w + (1 - share) * rows[two], w)
    w = graded(w, torch.where(weaker, 0.5, torch.where(stronger, 1.5, 1.0))[:, None])
    w = torch.where(denied[:, None], w @ torch.from_numpy(negation()), w)
    pure = chance >= 1 - _PURE
    states = torch.eye(rows.shape[1])[torch.randint(rows.shape[1] - 1, (count,))]
    w = torch.where(pure[:, None], states, w)
    names = [*atlas.states()]
    said = [
        names[int(states[i].argmax())] if pure[i] else "" if chance[i] < 0.5 else texts[int(one[i])]
        for i in range(count)
    ]
    return said, w, torch.where(stronger[:, None], STRONGEST, 1.0)


class BehaviourTask:
    """Trains a `Behaviour` (see `solver.Task`)."""

    name = Behaviour.name

    def __init__(self, config: Config, hidden: int = BehaviourDims.hidden, ame: AME | None = None) -> None:
        """ame: the towers whose z is read; None for the space's own layout."""
        self.config, self.space = config, ame.space if ame is not None else SPACE
        self.model = Behaviour(BehaviourDims(hidden, space=self.space))
        self.units = torch.tensor(UNITS)
        texts, w, strength = drawn(POOL, config.seed)
        self.behaviour = atlas.limited(atlas.mixed(w[:, :-1]) * strength)
        if ame is None:
            meaning = F.normalize(torch.randn(POOL, MEANING), dim=1)
            self.z = F.normalize(Layout.shipped().compose(w @ shares(), self.behaviour, meaning), dim=1)
        else:
            said = [i for i, text in enumerate(texts) if text]
            self.behaviour, self.z = self.behaviour[said], ame.text([texts[i] for i in said]).cpu()
        self.helpers: dict[str, nn.Module] = {}

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return {"adamw": torch.optim.AdamW(self.model.parameters(), self.config.rate, weight_decay=1e-3)}

    @torch.no_grad()
    def batch(self, rng: np.random.Generator, size: int) -> dict[str, Tensor]:
        """z [B,512] and behaviour [B, WIDTH]."""
        rows = torch.from_numpy(rng.integers(len(self.z), size=size))
        noise = torch.from_numpy(rng.standard_normal((size, WIDTH), dtype=np.float32)) / WIDTH**0.5
        z = F.normalize(self.z[rows] + torch.from_numpy(rng.uniform(0, _NOISE, (size, 1))).float() * noise, dim=1)
        if self.space == SPACE:
            chance = torch.from_numpy(rng.random(size))[:, None]
            column = torch.arange(WIDTH)
            unnamed = (chance < _UNNAMED) & (column < len(CLASSES))
            unsaid = (chance > 1 - _UNSAID) & (column > len(CLASSES) + CODE)
            z = F.normalize(z.masked_fill(unnamed | unsaid, 0), dim=1)
        return {"z": z, "behaviour": self.behaviour[rows]}

    def losses(self, batch: dict[str, Tensor], step: int, total: int) -> Iterator[tuple[str, Tensor, dict]]:
        """Squared error of the face and, in the same unit, of posture, gaze and motion."""
        error = ((self.model.raw(batch["z"]) - batch["behaviour"]) * self.units.to(batch["z"])).square()
        face, manner = error[:, : len(FACE)].sum(1).mean(), error[:, len(FACE) :].sum(1).mean()
        yield "adamw", face + manner, {"face": face, "manner": manner}

    @torch.no_grad()
    def validate(self, model: Behaviour) -> dict[str, float]:
        """Mean cosine of the faces that are read in exact points with what they mean."""
        rows = slice(0, 2000)
        device = next(model.parameters()).device
        made, own = model(self.z[rows].to(device)).cpu()[:, : len(FACE)], self.behaviour[rows, : len(FACE)]
        felt = own.norm(dim=1) > 0.4
        return {"faces": float(F.cosine_similarity(made[felt], own[felt]).mean())}

    def samples(self, model: nn.Module) -> None:
        """Vectors make no picture."""

    def save(self, model: Behaviour, out: Path, **provenance: str | int) -> Path:
        return model.save(out, data="the project's atlas and emotion lexicon", **provenance)


def build(data: Path | None, config: Config, work: Path) -> BehaviourTask:
    """For `emotalk train behaviour`; neither data nor work is needed."""
    options = build_options(Options, config.task)
    ame = upstream.load(options.upstream, options.weights or None).eval() if options.upstream else None
    return BehaviourTask(config, options.hidden, ame)
