"""The matte as a task for the `Solver`: `emotalk train matte --data DIR --out RUN`.

DIR holds pictures with the mattes of a teacher, as `tools/matte_teacher.py` writes them. A person is also laid over
other pictures' backgrounds, so that no particular studio is learned.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...errors import InputError
from ...models.matte import MatteDims, MatteNet
from .. import config as configs
from ..solver import Config

LICENCES = (
    "stills of the Face Research Lab London Set and of young adults (CC BY 4.0), webmorphR.stim (CC0), SFHQ and "
    "SFHQ-T2I (MIT), US Congress portraits (public domain); mattes by "
    "MediaPipe's selfie segmentation (Apache-2.0), as a teacher"
)
MIXED = 0.5  # share of the samples whose person stands before another picture's background
FAR, FARTHER = 0.3, (1.3, 2.8)  # share of the samples who stand farther away, and by how much
EDGE = 4.0  # weight of a px at an edge, beside one elsewhere
HARD = 2.5  # by how much a teacher's soft edge is steepened


@dataclass(frozen=True)
class Options:
    """What `[matte.task]` may set. weights: folder of a matte from which to go on; "" begins anew."""

    weights: str = ""


class MatteTask:
    """One `MatteNet`, learning from pictures and mattes (see `solver.Task`)."""

    name = "matte"

    def __init__(self, folder: Path, config: Config, options: Options = Options()) -> None:
        """folder: holds `train` and `test`, each images.npy [N,256,256,3] and mattes.npy [N,256,256], uint8."""
        self.rate = config.rate
        self.model = MatteNet.load(options.weights) if options.weights else MatteNet(MatteDims())
        self.helpers: dict[str, nn.Module] = {}
        self.model.requires_grad_(True).train()
        try:
            self.images, self.mattes, *held = (
                np.load(folder / part / f"{name}.npy", mmap_mode="r")
                for part in ("train", "test")
                for name in ("images", "mattes")
            )
        except OSError as error:
            raise InputError(
                f"{folder} holds no pictures with mattes; make them with tools/matte_teacher.py."
            ) from error
        self.held_out = [_tensors(*(rows[i : i + 32] for rows in held)) for i in range(0, len(held[0]), 32)]

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return {"matte": torch.optim.AdamW(self.model.parameters(), self.rate, weight_decay=1e-3)}

    def batch(self, rng: np.random.Generator, size: int) -> dict[str, Tensor]:
        picked = np.sort(rng.integers(len(self.images), size=size))
        image, matte = _tensors(self.images[picked], self.mattes[picked])
        if rng.random() < 0.5:
            image, matte = image.flip(3), matte.flip(3)
        other = torch.from_numpy(rng.permutation(size))
        mixed = torch.from_numpy(rng.random((size, 1, 1, 1)) < MIXED).float()
        behind = self._background(image[other], matte[other])
        image = image + mixed * (1 - matte) * (behind - image)
        far = np.flatnonzero(rng.random(size) < FAR)
        if len(far):
            image[far], matte[far] = self._farther(rng, image[far], matte[far], behind[far])
        angle, zoom = rng.uniform(-0.35, 0.35, size), np.exp(rng.uniform(-0.25, 0.6, size))
        turn = np.stack([np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)], 1).reshape(size, 2, 2)
        affine = np.concatenate([turn * zoom[:, None, None], rng.uniform(-0.25, 0.25, (size, 2, 1))], 2)
        grid = F.affine_grid(torch.from_numpy(affine).float(), list(image.shape), align_corners=False)
        both = F.grid_sample(torch.cat([image, matte], 1), grid, padding_mode="border", align_corners=False)
        image, matte = both.split([3, 1], 1)
        gain = torch.from_numpy(np.exp(rng.normal(0, 0.2, (size, 1, 1, 1)) + rng.normal(0, 0.1, (size, 3, 1, 1))))
        level = torch.from_numpy(rng.normal(0, 0.06, (size, 1, 1, 1)))
        grey = torch.from_numpy(rng.random((size, 1, 1, 1)) < 0.1).float()
        image = image * gain.float() + level.float()
        image = torch.lerp(image, image.mean(1, keepdim=True).expand_as(image), grey)
        noise = torch.from_numpy(rng.standard_normal(image.shape, np.float32)) * float(rng.uniform(0, 0.03))
        return {"image": (image + noise).clamp(0, 1), "matte": matte}

    @staticmethod
    def _farther(rng: np.random.Generator, image: Tensor, matte: Tensor, behind: Tensor) -> tuple[Tensor, Tensor]:
        """People as seen from farther away, cut by the picture's lower edge as before, before a background."""
        scale = torch.from_numpy(rng.uniform(*FARTHER, len(image))).float()
        affine = torch.zeros(len(image), 2, 3)
        affine[:, 0, 0] = affine[:, 1, 1] = scale
        affine[:, 0, 2] = torch.from_numpy(rng.uniform(-0.8, 0.8, len(image))).float() * (scale - 1)
        affine[:, 1, 2] = 1 - scale  # the lower edge stays
        grid = F.affine_grid(affine, list(image.shape), align_corners=False)
        inside = torch.cat([image, matte, torch.ones_like(matte)], 1)
        image, matte, shown = F.grid_sample(inside, grid, align_corners=False).split([3, 1, 1], 1)
        matte = matte * shown
        return behind + matte * (image / shown.clamp_min(1e-3) - behind), matte

    @staticmethod
    def _background(image: Tensor, matte: Tensor) -> Tensor:
        """What may lie behind a person: another picture, its own person smeared away."""
        small = F.adaptive_avg_pool2d(torch.cat([image * (1 - matte), 1 - matte], 1), 8)
        plain = F.interpolate(small[:, :3] / small[:, 3:].clamp_min(0.05), image.shape[2:], mode="bilinear")
        return image + matte * (plain - image)

    def losses(self, batch: dict[str, Tensor], step: int, total: int) -> Iterator[tuple[str, Tensor, dict]]:
        logit, matte = self.model(batch["image"]), batch["matte"]
        edge = (F.max_pool2d(matte, 9, 1, 4) + F.max_pool2d(-matte, 9, 1, 4)).clamp(0, 1)
        loss = F.binary_cross_entropy_with_logits(logit, matte, 1 + EDGE * edge)
        probability = logit.sigmoid()
        both, all_ = (probability * matte).sum((1, 2, 3)), (probability + matte).sum((1, 2, 3))
        dice = (1 - (2 * both + 1) / (all_ + 1)).mean()
        yield "matte", loss + dice, {"cross_entropy": loss, "dice": dice}

    @torch.no_grad()
    def validate(self, model: nn.Module) -> dict[str, float]:
        """Overlap with the teacher (intersection over union) and mean difference from it, on pictures never seen."""
        place, shared, joined, off, count = next(model.parameters()).device, 0.0, 0.0, 0.0, 0
        for image, matte in self.held_out:
            made = model(image.to(place)).sigmoid().cpu()
            ours, theirs = made > 0.5, matte > 0.5
            shared, joined = shared + float((ours & theirs).sum()), joined + float((ours | theirs).sum())
            off, count = off + float((made - matte).abs().sum()), count + matte.numel()
        return {"overlap": shared / joined, "difference": off / count, "score": off / count}

    def samples(self, model: nn.Module) -> np.ndarray | None:
        return None

    def save(self, model: MatteNet, out: Path, **provenance: Any) -> Path:
        return model.save(out, data=LICENCES, **provenance)


def _tensors(images: np.ndarray, mattes: np.ndarray) -> tuple[Tensor, Tensor]:
    """Pictures [N,3,h,w] and mattes [N,1,h,w], 0..1, the mattes' edges steeper than the teacher's."""
    image = torch.tensor(np.asarray(images)).permute(0, 3, 1, 2).float() / 255
    matte = torch.tensor(np.asarray(mattes))[:, None].float() / 255
    return image, ((matte - 0.5) * HARD + 0.5).clamp(0, 1)


def build(data: Path, config: Config, work: Path) -> MatteTask:
    """The task for the folder `data` that the teacher's tool wrote."""
    return MatteTask(data, config, configs.build(Options, config.task))
