"""Train HEF's mouth painter by completion: `emotalk train mouth`.

What lies between the lips of every open-mouthed photo is hidden and painted again from the lips' contour, what is
around, and the drawn mouth, which was first laid onto the photo's (`data.interiors`), so that lines fall on lines. At
times a part of the photo's own mouth is shown, as a portrait's is that smiled. Losses: L1 of pixels and of broad
patches, features of the shipped tracker's first layers that may lie a little elsewhere, a patch critic and its
features. Styles are read from the photo; for a third of the samples they are drawn from the prior, which then has to
look like teeth.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from ...errors import InputError
from ...face.geometry.mouth import CROP_HEIGHT, CROP_WIDTH, MOUTH_MAPS, Mouth
from ...face.geometry.palette import LUMA
from ...face.tracker import FaceTracker
from ...models import checkpoints
from ...models.mouth import MouthPainter
from .. import config as configs
from ..config import Config
from ..data import interiors

FITTED, GUESSED, SHOWN = 0.85, 0.3, 0.4  # shares of samples: laid onto the photo; style from the prior; own teeth shown
GUESS_COUNTS = 0.35  # of the losses against the photo, for those
LOW = 64  # rows that hold most mouths: such batches are worked on without the rest of the crop
DARK_COUNTS = 0.6, 0.2  # an error counts 0.6 / (0.2 + brightness): fog in a mouth's dark is as plain as a spot on teeth
TALL = 0.15  # share of batches of mouths that need all of it
FEATURE_SHIFT = 1  # cells of the features by which they may lie elsewhere
STYLE_RATE = 5.0  # of StyleGAN2's weights, which are of size 1, times the rate of the others
DATA = (
    "open mouths of SFHQ and SFHQ-T2I (MIT), US Congress portraits (public domain), London Set (CC BY 4.0), "
    "GRID s1 (CC BY 4.0)"
)


@dataclasses.dataclass
class Options:
    """samples: a folder of prepared mouths, empty to prepare them in the run's own. start: "" or a folder of weights to
    go on from. The others are weights of the losses."""

    samples: str = ""
    start: str = ""
    pixels: float = 1.0
    broad: float = 2.0
    features: float = 2.0
    critic_features: float = 2.0
    adversarial: float = 0.3
    style: float = 0.004
    warm: int = 400


class Critic(nn.Module):
    """Patch critic of a mouth crop and its painted part."""

    def __init__(self) -> None:
        super().__init__()
        layers = nn.Conv2d(4, 32, 4, 2, 1), nn.Conv2d(32, 48, 4, 2, 1), nn.Conv2d(48, 64, 3, padding=1)
        self.layers = nn.ModuleList(spectral_norm(layer) for layer in layers)
        self.last = spectral_norm(nn.Conv2d(64, 1, 3, padding=1))

    def forward(self, image: Tensor, mask: Tensor) -> tuple[list[Tensor], Tensor]:
        """[B,3,h,w] 0..1, [B,1,h,w] -> features of each layer, scores [B,1,h/4,w/4]."""
        x, found = torch.cat([image * 2 - 1, mask], 1), []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.2)
            found.append(x)
        return found, self.last(x)


class ShiftedFeatures(nn.Module):
    """Distance in features of the shipped tracker's first layers, each patch at its best place nearby."""

    def __init__(self, tracker: FaceTracker) -> None:
        super().__init__()
        net = tracker.landmarker
        self.levels = nn.ModuleList([net.early[0], net.early[1:], net.middle[0]])
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> ShiftedFeatures:
        """Frozen: batch statistics too."""
        return super().train(False)

    def forward(self, images: Tensor, targets: Tensor, mask: Tensor) -> Tensor:
        """[B,3,h,w] 0..1 twice, mask [B,1,h,w] -> [B]."""
        made, total = images * 2 - 1, images.new_zeros(len(images))
        real = targets * 2 - 1
        for level in self.levels:
            made = level(made)
            with torch.no_grad():
                real = level(real)
            a, b = (F.normalize(f.float(), dim=1) * f.shape[1] ** 0.5 for f in (made, real))
            errors, (height, width) = [], a.shape[2:]
            reach = FEATURE_SHIFT if level is not self.levels[-1] else 0
            wide = F.pad(b, (reach,) * 4, mode="replicate")
            for y in range(2 * reach + 1):
                for x in range(2 * reach + 1):
                    error = (a - wide[:, :, y : y + height, x : x + width]).abs().mean(1, keepdim=True)
                    errors.append(F.avg_pool2d(error, 5, 1, 2, count_include_pad=False))
            total = total + masked(torch.cat(errors, 1).amin(1, keepdim=True), mask)
        return total / len(self.levels)


def masked(error: Tensor, mask: Tensor) -> Tensor:
    """Mean of [B,C,h,w] over channels and a mask [B,1,·,·] of it: [B]."""
    mask = F.adaptive_max_pool2d(mask, error.shape[2:])
    return (error.mean(1, keepdim=True) * mask).sum((1, 2, 3)) / mask.sum((1, 2, 3)).clamp_min(1e-3)


def recoloured(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Pictures [N,3,h,w] 0..1 in another light and white balance, at times in black and white or sepia."""
    balance = np.exp(rng.normal(0, 0.06, 3) + rng.normal(0, 0.1))
    images = images.clamp(1e-3, 1) ** float(np.exp(rng.normal(0, 0.2)))
    images = (images * images.new_tensor(balance)[:, None, None]).clamp(0, 1)
    if rng.random() < 0.12:
        tint = 1 + rng.normal(0, 0.05, 3) * (rng.random() < 0.5)
        grey = (images * images.new_tensor(LUMA)[:, None, None]).sum(1, keepdim=True)
        images = (grey * images.new_tensor(tint)[:, None, None]).clamp(0, 1)
    return images


def own_part(distance: Tensor, rng: np.random.Generator) -> Tensor:
    """Where a mouth [1,h,w] px of distance shows its owner's teeth, had the portrait been less open: soft, 0..1."""
    down, side = int(rng.integers(0, 14)), int(rng.integers(0, 8))
    far = F.pad(distance, (side, side, 0, down), value=-31.0)
    height, width = distance.shape[1:]
    shifted = [far[:, down : down + height, x : x + width] for x in (0, side, 2 * side)]
    return (torch.stack([*shifted, distance - float(rng.uniform(1, 4))]).amin(0) / 1.5).clamp(0, 1)


class MouthTask:
    """The painter on prepared mouths, as a `solver.Task`."""

    name = "mouth"

    def __init__(self, samples: list[Path], config: Config) -> None:
        if not samples:
            raise InputError("There are no open mouths to learn from; name the data pack with --data.")
        self.options, self.rate = configs.build(Options, config.task), config.rate
        self.model, self.critic = MouthPainter(), Critic()
        if self.options.start:
            checkpoints.load("mouth", self.options.start).fill(self.model)
        self.model.to(memory_format=torch.channels_last)
        self.helpers = {"critic": self.critic}
        self.features = ShiftedFeatures(FaceTracker.load())
        self.data = [interiors.load(path) for path in samples]
        self.tall = np.array([self._rows(d)[1] - self._rows(d)[0] > LOW - 12 for d in self.data])
        wide = np.array([float(d["opening"]) for d in self.data])
        film = np.array([path.name.startswith("grid") for path in samples])
        self.weight = (1 + 2 * ((wide - 0.12) / 0.15).clip(0, 1)) * np.where(film, 0.35, 1.0)

    @staticmethod
    def _rows(sample: dict[str, Tensor]) -> tuple[int, int]:
        """First and last row of what is painted."""
        rows = (sample["distance"][0] > -5).any(1).nonzero()[:, 0]
        return (int(rows[0]), int(rows[-1])) if len(rows) else (0, 0)

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Adam with StyleGAN2's momenta."""
        self.features.to(self.model.first.weight.device)
        heavy = [m.weight for m in (*self.model.ups, *self.model.convs)]
        light = [p for p in self.model.parameters() if all(p is not h for h in heavy)]
        groups = [{"params": light}, {"params": heavy, "lr": STYLE_RATE * self.rate}]
        return {
            "mouth": torch.optim.Adam(groups, self.rate, betas=(0.5, 0.99)),
            "critic": torch.optim.Adam(self.critic.parameters(), 1.5 * self.rate, betas=(0.5, 0.99)),
        }

    def batch(self, rng: np.random.Generator, size: int) -> dict[str, Tensor]:
        """Mouths that need the whole crop, or others without its lower part."""
        tall = self.tall.any() and (self.tall.all() or rng.random() < TALL)
        weight = self.weight * (self.tall == tall)
        rows = []
        for number in rng.choice(len(self.data), size, p=weight / weight.sum()):
            row = self.sample(self.data[number], rng)
            if not tall:
                painted = (row["cover"][0].amax(1) > 0).nonzero()[:, 0]
                last = int(painted[-1]) if len(painted) else 0
                top = min(max(last - LOW + int(rng.integers(3, 12)), 0), CROP_HEIGHT - LOW)
                row = {key: v[..., top : top + LOW, :] for key, v in row.items()}
            rows.append(row)
        return {key: torch.stack([row[key] for row in rows]) for key in rows[0]}

    def sample(self, stored: dict[str, Tensor], rng: np.random.Generator | None) -> dict[str, Tensor]:
        """One mouth, disturbed by `rng`; without it as it is, the drawn mouth as the geometry has it, none of it shown.

        target [3,h,w]; inside [14,h,w] as `Geometry.inside`; cover [1,h,w]: what is painted.
        """
        layers = torch.cat([stored["maps"], stored["distance"]])
        zoom, mirror = 1.0, False
        if rng is not None:
            zoom, mirror = float(np.exp(rng.normal(0, 0.06))), rng.random() < 0.5
            shift = tuple(float(v) for v in rng.normal(0, 0.04, 2))
            layers = interiors.moved(layers, float(rng.normal(0, 0.05)), zoom, shift, mirror)
        target, fitted, plain, distance = layers.split([3, 9, 9, 1])
        chosen = fitted if rng is not None and rng.random() < FITTED else plain
        colour, parts, normals = chosen.split([3, 4, 2])
        normals = normals * normals.new_tensor([-1.0 if mirror else 1.0, 1.0])[:, None, None]
        distance = distance * zoom
        light = stored["light"]
        if rng is not None:
            light = light * (1 + float(rng.uniform()) * (stored["gain"] - 1)) * float(np.exp(rng.normal(0, 0.08)))
        drawn = (colour * Mouth.shadow(distance)[0] * light[:, None, None]).clamp(0, 1)
        own, shown = target, torch.zeros_like(distance)
        if rng is not None:
            if rng.random() < 0.3:
                small = F.interpolate(
                    target[None], scale_factor=1 / rng.integers(2, 4), mode="bilinear", antialias=True
                )
                target = F.interpolate(small, (CROP_HEIGHT, CROP_WIDTH), mode="bilinear")[0]
            target, drawn = recoloured(torch.stack([target, drawn]), rng)
            own = target
            if rng.random() < SHOWN:
                shown = own_part(distance, rng)
                own = target.roll(rng.integers(-1, 2, 2).tolist(), (1, 2)) * float(np.exp(rng.normal(0, 0.04)))
        near = (distance / 16).clamp(-1, 1)
        inside = torch.cat([near, drawn, parts, normals, own.clamp(0, 1), shown])
        assert len(inside) == sum(MOUTH_MAPS.values())
        return {"target": target, "inside": inside, "cover": self.model.maps(inside[None], target[None])[2][0]}

    def painted(self, model: MouthPainter, batch: dict[str, Tensor], style: Tensor) -> Tensor:
        """The photo with its mouth painted by a model [B,3,h,w]."""
        maps, base, cover = model.maps(batch["inside"], batch["target"])
        return torch.lerp(
            batch["target"], model(maps.contiguous(memory_format=torch.channels_last), base, style), cover
        )

    def losses(self, batch: dict[str, Tensor], step: int, total: int) -> Iterator[tuple[str, Tensor, dict]]:
        """The painter's, then the critic's."""
        options, target, cover = self.options, batch["target"], batch["cover"]
        within = (16 * batch["inside"][:, :1] + 0.5).clamp(0, 1)
        mean, variance = (t.float() for t in self.model.reader(target, within))
        style = mean + torch.randn_like(mean) * (variance / 2).exp()
        guessed = (torch.rand(len(target), 1, device=target.device) < GUESSED).float()
        style = torch.lerp(style, torch.randn_like(style), guessed)
        image = self.painted(self.model, batch, style).float()
        shown = image.clamp(0, 1) + 0.1 * (image - image.clamp(0, 1))  # beyond the range gradients only lead back
        around, ours = (F.avg_pool2d(t, 9, 1, 4) for t in (target, image))
        dark = DARK_COUNTS[0] / (DARK_COUNTS[1] + around.mean(1, keepdim=True))
        pixels, broad = (masked((a - b).abs() * dark, cover) for a, b in ((image, target), (ours, around)))
        features = self.features(shown, target, cover).float()
        self.critic.requires_grad_(False)
        made, verdict = self.critic(shown, cover)
        with torch.no_grad():
            real, _ = self.critic(target, cover)
        likeness = sum(masked((a - b).abs().float(), cover) for a, b in zip(made, real, strict=True)) / len(made)
        believed = masked(-verdict.float(), cover)
        self.critic.requires_grad_(True)
        prior = 0.5 * (mean.square() + variance.exp() - 1 - variance).mean(1)
        ramp = min(1.0, step / max(options.warm, 1))
        against = options.pixels * pixels + options.broad * broad + options.features * features
        against = against + ramp * options.critic_features * likeness
        counts = 1 - (1 - GUESS_COUNTS) * guessed[:, 0]
        loss = (counts * against + ramp * options.adversarial * believed + options.style * prior).mean()
        scalars = {"pixels": pixels, "broad": broad, "features": features, "believed": believed, "prior": prior}
        yield "mouth", loss, {"loss": loss, **{key: value.mean() for key, value in scalars.items()}}
        both = torch.cat([target, shown.detach()])
        scores, verdict = self.critic(both, torch.cat([cover, cover]))[1].float().chunk(2)
        critic = (masked(F.relu(1 - scores), cover) + masked(F.relu(1 + verdict), cover)).mean()
        yield "critic", critic, {"critic": critic}

    def _few(self, model: MouthPainter) -> dict[str, Tensor]:
        chosen = [self.sample(self.data[i], None) for i in np.linspace(0, len(self.data) - 1, 12).astype(int)]
        return {key: torch.stack([s[key] for s in chosen]).to(model.first.weight.device) for key in chosen[0]}

    @torch.no_grad()
    def validate(self, model: MouthPainter) -> dict[str, float]:
        """Distance in features of a few training mouths painted in the middle style, and as drawn."""
        batch = self._few(model)
        style = batch["target"].new_zeros(len(batch["target"]), model.dims.style)
        drawn = torch.lerp(batch["target"], model.maps(batch["inside"], batch["target"])[1], batch["cover"])
        images = {"painted": self.painted(model, batch, style).clamp(0, 1), "drawn": drawn}
        return {k: float(self.features(v, batch["target"], batch["cover"]).mean()) for k, v in images.items()}

    @torch.no_grad()
    def samples(self, model: MouthPainter) -> np.ndarray:
        """Photos above their mouths painted again."""
        batch = self._few(model)
        style = batch["target"].new_zeros(len(batch["target"]), model.dims.style)
        both = torch.cat([batch["target"], self.painted(model, batch, style).clamp(0, 1)], 2)
        return (torch.cat(list(both), 2) * 255).byte().permute(1, 2, 0).cpu().numpy()

    def save(self, model: MouthPainter, out: Path, **provenance) -> Path:
        """mouth.safetensors."""
        return checkpoints.save("mouth", model.state_dict(), model.dims, out, data=DATA, **provenance)


def build(data: Path, config: Config, work: Path) -> MouthTask:
    """The task on the data pack's open mouths."""
    options = configs.build(Options, config.task)
    folder = Path(options.samples) if options.samples else work / "mouths"
    return MouthTask(sorted(folder.glob("*.npz")) if options.samples else interiors.prepare(data, folder), config)
