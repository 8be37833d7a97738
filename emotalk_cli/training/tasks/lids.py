"""Train HEF's lid painter by completion: `emotalk train lids`.

The rim of every photographed eye is hidden and painted again from what is around and from what the geometry would draw
there: the eye itself, moved elsewhere and back by outlines that err as a landmarker does; the same eye in another
photo or moment, which is how blinks are learned; or the same person's other eye; each with its lids moved to the
wanted outline. Losses as the mouth painter's: pixels, broad patches, edges, features that may lie a little elsewhere,
a patch critic and its features.
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
from torch.nn.utils.parametrizations import spectral_norm

from ...face.geometry.palette import brightness
from ...face.tracker import FaceTracker
from ...models import checkpoints
from ...models.lids import (
    BOTTOM,
    CROP_HEIGHT,
    CROP_WIDTH,
    EYE_WIDTH,
    LOWER,
    TOP,
    UPPER,
    LidPainter,
    band,
    moved,
    outline_distance,
)
from ...numeric import channels_last
from .. import config as configs
from ..config import Config
from ..data import lids as samples
from .hef import edges
from .mouth import Perception, TrackerLevels, masked

OWN, SAME = 0.40, 0.75  # up to these shares of samples: the eye itself; the same eye at another time; else the other
PARTNERS = 8  # other eyes of a person that are drawn from
DATA = (
    "eyes of SFHQ and SFHQ-T2I (MIT), US Congress portraits (public domain), London Set and Canada (CC BY 4.0), "
    "webmorphR.stim (CC0), GRID s1 (CC BY 4.0)"
)


@dataclasses.dataclass
class Options:
    """samples: a folder with lids.npz, empty to prepare it in the run's own. The others are weights of the losses;
    warm: steps over which the critic's grow."""

    samples: str = ""
    pixels: float = 1.5
    broad: float = 2.0
    edges: float = 1.5
    features: float = 1.5
    critic_features: float = 2.0
    adversarial: float = 0.25
    warm: int = 300


def erring(outline: Tensor, size: Tensor, rng: torch.Generator) -> Tensor:
    """Outlines [B,16,2] as a landmarker finds them, its errors times size [B]: smooth along lids, lower lids too high
    and outer corners too far inside."""
    count, found = len(outline), outline.clone()
    angle = torch.linspace(0, torch.pi, 9)
    waves = torch.stack([angle.sin(), 0.5 * (2 * angle).sin()])
    for lid, bias in ((UPPER, 0.3), (LOWER, -0.9)):
        shift = torch.randn(count, 2, generator=rng) @ waves + bias * angle.sin()
        found[:, lid[1:-1], 1] += (size[:, None] * shift)[:, 1:-1]
    short = 2.5 * size * torch.rand(count, generator=rng)
    found[:, 0, 0] += short
    found[:, [1, 15], 0] += short[:, None] / 2
    return found


def opened(outline: Tensor, share: Tensor) -> Tensor:
    """Outlines [B,16,2] with lids apart by share [B] of what they are."""
    found = outline.clone()
    change = (1 - share[:, None]) * (outline[:, LOWER[1:-1], 1] - outline[:, UPPER[1:-1], 1])
    found[:, UPPER[1:-1], 1] += 0.85 * change
    found[:, LOWER[1:-1], 1] -= 0.15 * change
    return found


class Critic(nn.Module):
    """Patch critic of a crop and its painted part. width: channels of its first layer."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        sizes = (4, width, 4, 2), (width, 2 * width, 4, 2), (2 * width, 3 * width, 3, 1)
        self.layers = nn.ModuleList(spectral_norm(nn.Conv2d(a, b, k, s, 1)) for a, b, k, s in sizes)
        self.last = spectral_norm(nn.Conv2d(3 * width, 1, 3, padding=1))

    def forward(self, image: Tensor, mask: Tensor) -> tuple[list[Tensor], Tensor]:
        """[B,3,h,w] 0..1, [B,1,h,w] -> features of each layer, scores [B,1,h/4,w/4]."""
        x, found = torch.cat([image * 2 - 1, mask], 1).contiguous(memory_format=torch.channels_last), []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.2)
            found.append(x)
        return found, self.last(x)


class LidTask:
    """The painter on prepared eyes, as a `solver.Task`."""

    name = "lids"

    def __init__(self, path: Path, config: Config) -> None:
        self.options, self.rate = configs.build(Options, config.task), config.rate
        torch.manual_seed(config.seed)
        self.model, self.critic = LidPainter(), Critic()
        channels_last(self.model)
        self.helpers = {"critic": self.critic}
        self.features = Perception(TrackerLevels(FaceTracker.load()))
        with np.load(path) as stored:
            self.image = torch.from_numpy(stored["image"]).permute(0, 3, 1, 2)
            self.outline, self.iris = (torch.from_numpy(stored[key]).float() for key in ("outline", "iris"))
            of, left, film, width = (stored[key] for key in ("of", "left", "film", "width"))
        rng = np.random.default_rng(0)
        people: dict[str, list[int]] = {}
        for number, person in enumerate(of):
            people.setdefault(person, []).append(number)
        # by whether it is the same eye, then by number
        self.partners: dict[bool, dict[int, np.ndarray]] = {True: {}, False: {}}
        for members in people.values():
            for number in members:
                for same in (True, False):
                    found = [m for m in members if m != number and (left[m] == left[number]) == same]
                    if found:
                        self.partners[same][number] = rng.choice(found, PARTNERS)
        self.opening = (self.outline[:, BOTTOM, 1] - self.outline[:, TOP, 1]) / EYE_WIDTH
        narrow = self.opening.numpy()
        rare = np.where(narrow < 0.15, np.where(film, 3, 6), np.where(narrow < 0.22, 2, 1))
        pairs = np.where(np.char.startswith(of.astype(str), "london"), 2, 1)  # real ones
        weight = np.where(film, 0.25, 1.0) * rare * pairs * (width / 34).clip(0.4, 1.2)
        weight[((self.outline < -20) | (self.outline > 110)).flatten(1).any(1).numpy()] = 0
        self.weight = weight / weight.sum()

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Adam for both."""
        self.features.to(self.model.first.weight.device)
        modules = ("lids", self.model), ("critic", self.critic)
        return {name: torch.optim.Adam(m.parameters(), self.rate, betas=(0.5, 0.99)) for name, m in modules}

    def batch(self, rng: np.random.Generator, size: int) -> dict[str, Tensor]:
        """Eyes, disturbed."""
        numbers = rng.choice(len(self.weight), size, p=self.weight)
        return self.disturbed(self.sample(numbers, rng), torch.Generator().manual_seed(int(rng.integers(2**31))))

    def sample(self, numbers: np.ndarray, rng: np.random.Generator, kind: float | None = None) -> dict[str, Tensor]:
        """Photographed eyes, target [B,3,h,w], as they would be drawn, drawn [B,3,h,w]; distance [B,1,h,w] px; shut
        [B]; own [B]: drawn from the eye itself. kind: fixes which (see `OWN`)."""
        draws = torch.Generator().manual_seed(int(rng.integers(2**31)))
        target, outline = self.image[numbers].float() / 255, self.outline[numbers]
        kinds = rng.random(len(numbers)) if kind is None else np.full(len(numbers), kind)
        size = 0.4 + 1.2 * torch.rand(len(numbers), generator=draws)
        found = erring(outline, size, draws)
        share = torch.rand(len(numbers), generator=draws)
        share = torch.where(torch.rand(len(numbers), generator=draws) < 0.4, 0.05 + 0.5 * share, 0.6 + 0.8 * share)
        elsewhere = opened(found, share)
        drawn = moved(moved(target, found, elsewhere), elsewhere, found)
        own = torch.from_numpy(kinds < OWN)
        others = []
        for number, value in zip(numbers, kinds, strict=True):
            chosen = self.partners[bool(value < SAME) and number in self.partners[True]].get(number, [number])
            others.append(rng.choice(chosen))
        other = self.image[others].float() / 255
        gain = (target.mean((2, 3)) / other.mean((2, 3)).clamp_min(0.02)).clamp(0.6, 1.7)[..., None, None]
        shift = self.iris[others] - self.iris[numbers]
        other = moved((other * gain).clamp(0, 1), erring(self.outline[others], size, draws), outline, shift)
        drawn = torch.where(own[:, None, None, None], drawn, other)
        distance = outline_distance(outline)
        shut = ((0.30 - self.opening[numbers]) / 0.25).clamp(0, 1)
        return {"target": target, "drawn": drawn, "around": target, "distance": distance, "shut": shut, "own": own}

    @staticmethod
    def disturbed(batch: dict[str, Tensor], draws: torch.Generator) -> dict[str, Tensor]:
        """Samples moved, relit, at times soft or in black and white, and their bands."""
        target, drawn, distance = batch["target"], batch["drawn"], batch["distance"]
        count = len(target)

        def normal(*shape: int) -> Tensor:
            return torch.randn(count, *shape, generator=draws)

        def uniform() -> Tensor:
            return torch.rand(count, generator=draws)

        zoom, angle, shift = (0.05 * normal()).exp(), 0.05 * normal(), 0.03 * normal(2)
        across, turn, ratio = zoom * angle.cos(), zoom * angle.sin(), CROP_HEIGHT / CROP_WIDTH
        rows = [across, -turn * ratio, shift[:, 0]], [turn / ratio, across, shift[:, 1]]
        theta = torch.stack([torch.stack(row, 1) for row in rows], 1)
        maps = torch.cat([target, drawn, distance], 1)
        grid = F.affine_grid(theta, list(maps.shape), align_corners=False)
        maps = F.grid_sample(maps, grid, "bicubic", padding_mode="border", align_corners=False)
        both, distance = maps[:, :6].unflatten(1, (2, 3)), maps[:, 6:] / zoom[:, None, None, None]
        both = both.clamp(1e-3, 1) ** (0.2 * normal(1, 1, 1, 1)).exp()
        both = both * (0.06 * normal(1, 3, 1, 1) + 0.1 * normal(1, 1, 1, 1)).exp()
        grey = (uniform() < 0.12)[:, None, None, None, None]
        both = torch.where(grey, brightness(both), both).clamp(0, 1)
        soft = F.avg_pool2d(F.pad(both.flatten(0, 1), (1,) * 4, mode="replicate"), 3, 1).unflatten(0, (-1, 2))
        both = torch.lerp(both, soft, ((uniform() < 0.2) * uniform())[:, None, None, None, None])
        target, drawn = both.unbind(1)
        hidden = band(distance, torch.maximum(batch["shut"], uniform() ** 3))
        # in use, what is around is the geometry's too
        around = torch.where((batch["own"] & (uniform() < 0.5))[:, None, None, None], drawn, target)
        return {"target": target, "drawn": drawn, "around": around, "distance": distance, "hidden": hidden}

    def painted(self, model: LidPainter, batch: dict[str, Tensor]) -> Tensor:
        """The photos with their rims painted by a model [B,3,h,w]."""
        made = model(batch["drawn"], batch["around"], batch["distance"], batch["hidden"])
        return torch.lerp(batch["target"], made.float(), batch["hidden"])

    def losses(self, batch: dict[str, Tensor], step: int, total: int) -> Iterator[tuple[str, Tensor, dict]]:
        """The painter's, then the critic's."""
        options, target, hidden = self.options, batch["target"], batch["hidden"]
        image = self.painted(self.model, batch)
        shown = image.clamp(0, 1) + 0.1 * (image - image.clamp(0, 1))  # beyond the range gradients only lead back
        around, ours = (F.avg_pool2d(t, 7, 1, 3) for t in (target, image))
        pixels, broad = (masked((a - b).abs(), hidden) for a, b in ((image, target), (ours, around)))
        edge = masked((edges(image) - edges(target)).abs(), hidden[..., :-1, :-1])
        features = self.features.distance(shown, target, hidden).float()
        self.critic.requires_grad_(False)
        made, verdict = self.critic(shown, hidden)
        with torch.no_grad():
            real, _ = self.critic(target, hidden)
        likeness = sum(masked((a - b).abs().float(), hidden) for a, b in zip(made, real, strict=True)) / len(made)
        believed = masked(-verdict.float(), hidden)
        self.critic.requires_grad_(True)
        ramp = min(1.0, step / max(options.warm, 1))
        loss = options.pixels * pixels + options.broad * broad + options.edges * edge + options.features * features
        loss = loss + ramp * (options.critic_features * likeness + options.adversarial * believed)
        scalars = {"pixels": pixels, "broad": broad, "edges": edge, "features": features, "believed": believed}
        yield "lids", loss.mean(), {key: value.mean() for key, value in scalars.items()}
        both = torch.cat([target, shown.detach()])
        scores, verdict = self.critic(both, torch.cat([hidden, hidden]))[1].float().chunk(2)
        critic = (masked(F.relu(1 - scores), hidden) + masked(F.relu(1 + verdict), hidden)).mean()
        yield "critic", critic, {"critic": critic}

    def _few(self, model: LidPainter) -> dict[str, Tensor]:
        numbers = np.linspace(0, len(self.weight) - 1, 16).astype(int)
        batch = self.sample(numbers, np.random.default_rng(0), SAME - 0.01)
        batch["hidden"] = band(batch["distance"], batch["shut"])
        return {key: value.to(model.first.weight.device) for key, value in batch.items()}

    @torch.no_grad()
    def validate(self, model: LidPainter) -> dict[str, float]:
        """Distance in features of a few training eyes painted, and as drawn."""
        batch = self._few(model)
        drawn = torch.lerp(batch["target"], batch["drawn"], batch["hidden"])
        images = {"painted": self.painted(model, batch).clamp(0, 1), "drawn": drawn}
        return {k: float(self.features.distance(v, batch["target"], batch["hidden"]).mean()) for k, v in images.items()}

    @torch.no_grad()
    def samples(self, model: LidPainter) -> np.ndarray:
        """Photos above what is drawn above what is painted."""
        batch = self._few(model)
        drawn = torch.lerp(batch["target"], batch["drawn"], batch["hidden"])
        both = torch.cat([batch["target"], drawn, self.painted(model, batch).clamp(0, 1)], 2)
        return (torch.cat(list(both), 2) * 255).byte().permute(1, 2, 0).cpu().numpy()

    def save(self, model: LidPainter, out: Path, **provenance: Any) -> Path:
        """lids.safetensors."""
        return checkpoints.save("lids", model.state_dict(), model.dims, out, data=DATA, **provenance)


def build(data: Path, config: Config, work: Path) -> LidTask:
    """The task on the data pack's eyes."""
    options = configs.build(Options, config.task)
    folder = Path(options.samples) if options.samples else work / "eyes"
    return LidTask(folder / "lids.npz" if options.samples else samples.prepare(data, folder), config)
