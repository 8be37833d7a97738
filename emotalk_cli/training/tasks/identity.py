"""Train the identity embedding: `emotalk train identity`.

People: every face of the data pack's training split. Two pictures of a person: neutral and smiling where the pack has
both; else the photo and the same photo warped by the geometry to another expression and head pose (HEF's samples).
Every person's two pictures should be nearer to each other than to anybody else's (contrastive loss, in batches of one
pair a person), under strong changes of colour, light, sharpness and place.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...evaluation.identity import SIZE, Identity, level, separation
from ...models import checkpoints
from ..config import Config
from ..config import build as build_options
from ..data.hef_pairs import VALIDATION, prepare
from .hef import DATA_CREDIT

TEMPERATURE = 0.1
MARGIN = 0.1  # of the side, kept around stored faces so that they can be shifted
STORED = 112  # px


@dataclasses.dataclass
class Options:
    """The task's own table. samples: a folder of HEF's samples, empty to prepare them in the run's own."""

    samples: str = ""


def person(name: str) -> str:
    """Whose picture a sample's file name shows."""
    _, folder, photo, *_ = name.split(".")
    if folder.startswith("london"):
        return f"london {photo[:3]}"
    return folder if folder in ("lisa", "zoom", "grid") else f"{folder} {photo}"


def faces(samples: Path) -> tuple[np.ndarray, list[str]]:
    """Pictures uint8 [N,2,3,STORED,STORED], source and target of every sample, and the samples' file names."""
    found, names = [], []
    for path in sorted(samples.glob("*.npz")):
        with np.load(path) as file:
            points, flow = torch.from_numpy(file["points"]), torch.from_numpy(file["flow"]).float()
            source, target = (torch.from_numpy(file[k]).permute(1, 2, 0) for k in ("source", "target"))
        limit = flow.shape[-1] - 1
        at = points.round().long().clamp(0, limit)
        there = points + flow[:, at[:, 1], at[:, 0]].T  # where the source shows what the target shows at its landmarks
        pair = [level(source, there, STORED, MARGIN), level(target, points, STORED, MARGIN)]
        found.append((torch.stack(pair) * 255).byte().numpy())
        names.append(path.name)
    return np.stack(found), names


def disturbed(face: np.ndarray, rng: np.random.Generator) -> Tensor:
    """A stored face [3,STORED,STORED] as another camera, light and crop might show it: [3,SIZE,SIZE] in 0..1."""
    x = torch.from_numpy(face).float()[None] / 255
    angle, zoom = rng.normal(0, 0.06), SIZE / STORED * np.exp(rng.normal(0, 0.05))
    turn = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    theta = torch.tensor(np.concatenate([turn, rng.normal(0, 0.03, (2, 1))], 1), dtype=torch.float32)
    x = F.grid_sample(x, F.affine_grid(theta[None], [1, 3, SIZE, SIZE], align_corners=False), align_corners=False)
    if rng.random() < 0.5:
        x = x.flip(-1)
    x = x.clamp(0, 1) ** float(rng.uniform(0.6, 1.6)) * torch.tensor(rng.uniform(0.7, 1.3, (3, 1, 1))).float()
    x = torch.lerp(x.mean(1, keepdim=True), x, float(rng.choice([0.0, 1.0, rng.uniform(0, 1.5)])))
    slope = torch.tensor(rng.normal(0, 0.25, 2)).float()  # light from a side
    axis = torch.linspace(-1, 1, SIZE)
    x = x * (1 + slope[0] * axis + slope[1] * axis[:, None]).clamp_min(0.2)
    if rng.random() < 0.4:
        small = int(rng.integers(32, SIZE))
        x = F.interpolate(F.interpolate(x, (small, small), mode="area"), (SIZE, SIZE), mode="bilinear")
    x = x + torch.tensor(rng.normal(0, rng.uniform(0, 0.03), x.shape)).float()
    if rng.random() < 0.3:
        y, left = rng.integers(0, SIZE - 24, 2)
        x[..., y : y + 24, left : left + 24] = float(rng.random())
    return x[0].clamp(0, 1)


class IdentityTask:
    """Pairs of pictures of many people, for the Solver."""

    name = "identity"

    def __init__(self, samples: Path, config: Config) -> None:
        """samples: HEF's (`hef_pairs.prepare`)."""
        torch.manual_seed(config.seed)
        self.model, self.rate = Identity(), config.rate
        self.helpers: dict[str, nn.Module] = {}
        pictures, names = faces(samples)
        whose = [person(name) for name in names]
        aside = {f"london {number}" for number in VALIDATION}
        self.pictures = pictures
        self.people: dict[str, list[int]] = {}
        for row, name in enumerate(whose):
            if name not in aside:
                self.people.setdefault(name, []).append(row)
        self.kept = pictures[[w in aside and n.startswith("unsmile") for w, n in zip(whose, names, strict=True)]]

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """AdamW."""
        return {"identity": torch.optim.AdamW(self.model.parameters(), self.rate, weight_decay=0.05)}

    def batch(self, rng: np.random.Generator, size: int) -> dict[str, Tensor]:
        """One pair a person: faces [size,2,3,96,96]. Which two pictures of a person: any of the real or warped ones."""
        drawn = rng.choice(sorted(self.people), size, replace=size > len(self.people))
        pairs = []
        for name in drawn:
            rows = self.people[name]
            first, second = self.pictures[rng.choice(rows), rng.integers(2)], self.pictures[rng.choice(rows)]
            pairs.append(torch.stack([disturbed(first, rng), disturbed(second[rng.integers(2)], rng)]))
        return {"faces": torch.stack(pairs)}

    def losses(self, batch: dict[str, Tensor], step: int, total: int) -> Iterator[tuple[str, Tensor, dict]]:
        """NT-Xent (Chen et al. 2020)."""
        count = len(batch["faces"])
        vectors = self.model(batch["faces"].transpose(0, 1).flatten(0, 1)).float()
        likeness = vectors @ vectors.T / TEMPERATURE - 1e4 * torch.eye(2 * count, device=vectors.device)
        partner = torch.arange(2 * count, device=vectors.device).roll(count)
        loss = F.cross_entropy(likeness, partner)
        yield "identity", loss, {"loss": loss, "found": (likeness.argmax(1) == partner).float().mean()}

    @torch.no_grad()
    def validate(self, model: Identity) -> dict[str, float]:
        """Separation of people kept back, by their two pictures each."""
        if not len(self.kept):
            return {}
        edge = (STORED - SIZE) // 2
        cut = torch.from_numpy(self.kept)[..., edge:-edge, edge:-edge].float() / 255
        first, second = (model(cut[:, i]) for i in range(2))
        table = (first @ second.T).numpy()
        return separation(table.diagonal(), table[~np.eye(len(table), dtype=bool)])

    def samples(self, model: Identity) -> None:
        """Nothing to see."""

    def save(self, model: Identity, out: Path, **provenance: Any) -> Path:
        """identity.safetensors."""
        return checkpoints.save("identity", model.state_dict(), model.dims, out, data=DATA_CREDIT, **provenance)


def build(data: Path, config: Config, work: Path) -> IdentityTask:
    """The task on HEF's samples."""
    options = build_options(Options, config.task)
    samples = Path(options.samples) if options.samples else work / "cache"
    if not options.samples:
        prepare(data, samples, config.seed)
    return IdentityTask(samples, config)
