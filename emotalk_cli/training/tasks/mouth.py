"""Train HEF's mouth painter by completion: `emotalk train mouth`.

What lies between the lips of every open-mouthed photo is hidden and painted again from the lips' contour, what is
around, and the drawn mouth. That is mostly laid onto the photo's first (`data.interiors`), so that lines fall on lines;
else it is as the geometry has it, and errors of single pixels count less. What is around is, where there is one, the
frame that the generator makes of another picture of the person, or the photo with its lips a little displaced. At times
a part of the photo's own mouth is shown, as a portrait's is that smiled, and at first some of the photos are renderings
in other sizes and shades of teeth. Losses: L1 of pixels and of broad patches, features of an ImageNet network
(EfficientNet-Lite2, which judges nothing) that may lie a little elsewhere, the strength of detail, critics that see
those features alone (Sauer et al. 2021: of a thousand photos, critics of pixels learn nothing, or each by heart), and
that a mouth which opens a little further keeps its teeth. Styles are read from the photo; for a third of the samples
they are drawn from the prior, which then has to look like teeth.

A batch is a list of photos and numbers drawn for them; photos lie on the device and are disturbed there.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from ...errors import InputError
from ...evaluation.independent import FINE, EfficientNetLite2
from ...face.geometry.crop import CROP_HEIGHT, CROP_MIDDLE, CROP_WIDTH, REACH
from ...face.geometry.mouth import MOUTH_MAPS, Mouth
from ...face.geometry.palette import brightness
from ...face.tracker import FaceTracker
from ...models import checkpoints
from ...models.mouth import MouthPainter
from ...numeric import channels_last
from .. import config as configs
from ..config import Config
from ..data import interiors

# shares of samples: drawn mouth laid onto the photo; style from the prior; own teeth shown; made frame around it, where
# there is one; in black and white; out of focus
FITTED, GUESSED, SHOWN, FRAMED, GREY, SOFTENED = 0.65, 0.3, 0.35, 0.6, 0.12, 0.4
GUESS_COUNTS = 0.35  # of the losses against the photo, for styles from the prior
LOOSE_COUNTS = 0.4  # of pixels and features, where the drawn mouth was not laid onto the photo
LOW = 96  # rows that hold most mouths: such batches are worked on without the rest of the crop
TALL = 0.15  # share of batches of mouths that need all of it
DARK_COUNTS = 0.6, 0.2  # an error counts 0.6 / (0.2 + brightness): fog in a mouth's dark is as plain as a spot on teeth
FEATURE_SHIFT = 1  # cells of the features by which they may lie elsewhere
STYLE_RATE = 5.0  # of StyleGAN2's weights, which are of size 1, times the rate of the others
STEADY = 4  # one in so many samples is painted twice, the second time in a mouth a little more or less open
BLOCK = 4  # px of blocks whose detail's strength is compared
KINDS = {"driven.grid": 0.3, "driven": 2.5}  # how often photos are seen whose names begin so, others: 1
KEPT_BACK = 16  # one photo in so many is for validation
SHEET = 8  # of them on the picture of samples
DATA = (
    "open mouths of SFHQ and SFHQ-T2I (MIT), US Congress portraits (public domain), London Set (CC BY 4.0), "
    "GRID s1 (CC BY 4.0)"
)


@dataclasses.dataclass
class Options:
    """samples: a folder of prepared mouths, empty to prepare them in the run's own. start: "" or a folder of weights to
    go on from. critic: channels of each critic. warm: steps over which critics come in. The others are weights of the
    losses."""

    samples: str = ""
    start: str = ""
    critic: int = 64
    warm: int = 400
    pixels: float = 1.0
    broad: float = 2.0
    features: float = 2.0
    detail: float = 6.0
    adversarial: float = 0.3
    steady: float = 2.0
    rendered: float = 0.1
    style: float = 0.004


class Critics(nn.Module):
    """Patch critics of an ImageNet network's features, one a stage. width: channels of each."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scales = nn.ModuleList(
            nn.Sequential(
                spectral_norm(nn.Conv2d(stage[-1] + 1, width, 1)),
                nn.LeakyReLU(0.2),
                spectral_norm(nn.Conv2d(width, width, 3, padding=1)),
                nn.LeakyReLU(0.2),
                spectral_norm(nn.Conv2d(width, 1, 3, padding=1)),
            )
            for stage in EfficientNetLite2.STAGES[:FINE]
        )

    def forward(self, features: list[Tensor], mask: Tensor) -> list[Tensor]:
        """Features [B,C,·,·] as of `Perception`, where the mouth is painted [B,1,h,w] -> scores [B,1,·,·] a stage."""
        scores = []
        for critic, x in zip(self.scales, features, strict=True):
            where = F.adaptive_avg_pool2d(mask, (x.shape[2], x.shape[3]))
            scores.append(critic(torch.cat([x, where], 1)))
        return scores


class TrackerLevels(nn.Module):
    """The shipped tracker's first layers."""

    def __init__(self, tracker: FaceTracker) -> None:
        super().__init__()
        net = tracker.landmarker
        self.levels = nn.ModuleList([net.early[0], net.early[1:], net.middle[0]])

    def maps(self, images: Tensor) -> list[Tensor]:
        """[B,3,h,w] 0..1 -> features [B,C,·,·] of three levels."""
        x, found = images * 2 - 1, []
        for level in self.levels:
            x = level(x)
            found.append(x)
        return found


class Perception(nn.Module):
    """Features of a frozen network; how far those of two pictures are apart, each patch at its best place nearby."""

    def __init__(self, network: EfficientNetLite2 | TrackerLevels) -> None:
        super().__init__()
        self.network = network
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Perception:
        """Frozen: batch statistics too."""
        return super().train(False)

    def forward(self, images: Tensor) -> list[Tensor]:
        """[B,3,h,w] 0..1 -> features of each level [B,C,·,·], whose vectors have a mean square of 1."""
        return [F.normalize(x.float(), dim=1) * x.shape[1] ** 0.5 for x in self.network.maps(images)]

    def distance(self, images: Tensor, targets: Tensor, mask: Tensor) -> Tensor:
        """[B,3,h,w] 0..1 twice, mask [B,1,h,w] -> [B]."""
        with torch.no_grad():
            real = self(targets)
        return self.apart(self(images), real, mask)

    @staticmethod
    def apart(made: list[Tensor], real: list[Tensor], mask: Tensor) -> Tensor:
        """Two pictures' features, mask [B,1,h,w] -> [B]."""
        total = mask.new_zeros(len(mask))
        for level, (a, b) in enumerate(zip(made, real, strict=True)):
            errors, (height, width) = [], a.shape[2:]
            reach = FEATURE_SHIFT if level < len(made) - 1 else 0
            wide = F.pad(b, (reach,) * 4, mode="replicate")
            for y in range(2 * reach + 1):
                for x in range(2 * reach + 1):
                    error = (a - wide[:, :, y : y + height, x : x + width]).abs().mean(1, keepdim=True)
                    errors.append(F.avg_pool2d(error, 5, 1, 2, count_include_pad=False))
            total = total + masked(torch.cat(errors, 1).amin(1, keepdim=True), mask)
        return total / len(made)


def masked(error: Tensor, mask: Tensor) -> Tensor:
    """Mean of [B,C,h,w] over channels and a mask [B,1,·,·] of it: [B]."""
    mask = F.adaptive_max_pool2d(mask, error.shape[2:])
    return (error.mean(1, keepdim=True) * mask).sum((1, 2, 3)) / mask.sum((1, 2, 3)).clamp_min(1e-3)


def strength(images: Tensor) -> list[Tensor]:
    """How much fine and middling detail is about: images [B,3,h,w] -> [B,1,·,·] twice."""
    grey, found = brightness(images), []
    for _ in range(2):
        soft = F.avg_pool2d(F.pad(grey, (1, 1, 1, 1), mode="replicate"), 3, 1)
        found.append(F.avg_pool2d((grey - soft).abs(), BLOCK))
        grey = F.avg_pool2d(soft, 2)
    return found


@dataclasses.dataclass
class Chance:
    """Numbers of a batch's samples, handed out in order: uniform [B,·] in 0..1 and normal [B,·]."""

    uniform: Tensor
    normal: Tensor
    at: list[int] = dataclasses.field(default_factory=lambda: [0, 0])

    COLUMNS = 24, 32

    def between(self, low: float, high: float) -> Tensor:
        """[B] in a range."""
        self.at[0] += 1
        return low + (high - low) * self.uniform[:, self.at[0] - 1]

    def happens(self, share: float) -> Tensor:
        """[B] 0 or 1."""
        return (self.between(0, 1) < share).float()

    def about(self, spread: float, count: int = 1) -> Tensor:
        """[B,count], for a count of 1 [B], about 0."""
        self.at[1] += count
        drawn = spread * self.normal[:, self.at[1] - count : self.at[1]]
        return drawn[:, 0] if count == 1 else drawn


def wide(values: Tensor) -> Tensor:
    """[B] or [B,C] -> [B,1 or C,1,1]."""
    return values.reshape(len(values), -1, 1, 1)


def blurred(images: Tensor, spread: Tensor) -> Tensor:
    """Images [B,C,h,w] blurred by Gaussians of spread [B] px, 0 for not at all."""
    reach = 8
    line = torch.arange(-reach, reach + 1, device=images.device)
    kernel = torch.exp(-0.5 * (line / spread[:, None].clamp_min(0.05)).square())
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(images.shape[1], 0)
    flat = F.pad(images, (reach,) * 4, mode="replicate").flatten(0, 1)[None]
    flat = F.conv2d(flat, kernel[:, None, None], groups=len(kernel))
    return F.conv2d(flat, kernel[:, None, :, None], groups=len(kernel))[0].reshape(images.shape)


def recoloured(images: Tensor, chance: Chance) -> Tensor:
    """Pictures [B,N,3,h,w] 0..1 in another light and white balance, at times in black and white or sepia."""
    gamma = chance.about(0.2).exp()
    balance = (chance.about(0.06, 3) + chance.about(0.1)[:, None]).exp()
    images = images.clamp(1e-3, 1) ** wide(gamma)[:, None] * wide(balance)[:, None]
    grey = wide(chance.happens(GREY))[:, None]
    tint = 1 + chance.about(0.05, 3) * chance.happens(0.5)[:, None]
    return torch.lerp(images, brightness(images) * wide(tint)[:, None], grey).clamp(0, 1)


def own_part(distance: Tensor, down: Tensor, side: Tensor, margin: Tensor) -> Tensor:
    """Where mouths [B,1,h,w] px of distance show their owners' teeth, had the portraits been less open by `down` [B] px
    and narrower by `side`, and `margin` px within: soft, 0..1."""
    low = distance.new_tensor([2 / distance.shape[3], 2 / distance.shape[2]])
    unit = torch.eye(2, 3, device=distance.device).expand(len(distance), -1, -1)
    part = distance - wide(margin)
    for x, y in ((-side, down), (torch.zeros_like(side), down), (side, down)):
        theta = torch.cat([unit[..., :2], (torch.stack([x, y], 1) * low)[..., None]], 2)
        grid = F.affine_grid(theta, list(distance.shape), align_corners=False)
        shifted = F.grid_sample(distance + interiors.LIMIT, grid, align_corners=False) - interiors.LIMIT
        part = torch.minimum(part, shifted)
    return (part / 2).clamp(0, 1)


class MouthTask:
    """The painter on prepared mouths, as a `solver.Task`."""

    name = "mouth"

    def __init__(self, samples: list[Path], config: Config) -> None:
        if not samples:
            raise InputError("There are no open mouths to learn from; name the data pack with --data.")
        self.options, self.rate = configs.build(Options, config.task), config.rate
        self.model, self.critic = MouthPainter(), Critics(self.options.critic)
        if self.options.start:
            checkpoints.load("mouth", self.options.start).fill(self.model)
        channels_last(self.model)
        channels_last(self.critic)
        self.helpers = {"critic": self.critic}
        self.features = Perception(EfficientNetLite2.load(FINE))
        self.judge = Perception(TrackerLevels(FaceTracker.load()))
        with ThreadPoolExecutor(max(1, (os.cpu_count() or 1) // 2)) as pool:
            rows = list(pool.map(interiors.Scenes().load, samples))
        self.data = {key: torch.stack([row.pop(key) for row in rows]) for key in list(rows[0])}
        painted = (self.data["distance"][:, 0] > -7).any(2)
        self.bottom = torch.where(painted.any(1), CROP_HEIGHT - painted.flip(1).int().argmax(1), LOW // 2).numpy()
        height = painted.sum(1).numpy()
        opening, names = self.data["opening"].numpy(), [path.name for path in samples]
        kind = np.array([next((w for k, w in KINDS.items() if name.startswith(k)), 1.0) for name in names])
        number = np.arange(len(samples))
        self.held = number[KEPT_BACK // 2 :: KEPT_BACK]
        self.weight = (1 + 2 * ((opening - 0.12) / 0.15).clip(0, 1)) * kind
        if len(samples) > KEPT_BACK:
            self.weight[self.held] = 0
        else:
            self.held = number
        self.tall = height > LOW - 14

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Adam with StyleGAN2's momenta."""
        device = self.model.first.weight.device
        self.features.to(device)
        self.judge.to(device)
        self.data = {key: value.to(device) for key, value in self.data.items()}
        heavy = [m.weight for m in (self.model.deep, *self.model.ups, *self.model.convs)]
        light = [p for p in self.model.parameters() if all(p is not h for h in heavy)]
        groups: list[dict[str, Any]] = [{"params": light}, {"params": heavy, "lr": STYLE_RATE * self.rate}]
        return {
            "mouth": torch.optim.Adam(groups, self.rate, betas=(0.5, 0.99)),
            "critic": torch.optim.Adam(self.critic.parameters(), 1.5 * self.rate, betas=(0.5, 0.99)),
        }

    def batch(self, rng: np.random.Generator, size: int) -> dict[str, Tensor]:
        """Numbers of mouths that need the whole crop, or of others, without its upper or lower part; and chance."""
        tall = self.weight[self.tall].any() and (not self.weight[~self.tall].any() or rng.random() < TALL)
        weight = self.weight * (self.tall == tall)
        rows = rng.choice(len(weight), size, p=weight / weight.sum())
        rest = rng.integers(3, 14, size)
        top = np.zeros(size) if tall else (self.bottom[rows] + rest - LOW).clip(0, CROP_HEIGHT - LOW)
        drawn = {
            "uniform": rng.random((size, Chance.COLUMNS[0])),
            "normal": rng.normal(size=(size, Chance.COLUMNS[1])),
            "field": rng.normal(size=(size, 3, 6, 7)),  # smooth changes of shape, and of the opening
            "lines": top[:, None] + np.arange(CROP_HEIGHT if tall else LOW) + 0.5,  # rows of the crop
        }
        return {"rows": torch.from_numpy(rows), **{k: torch.from_numpy(v.astype(np.float32)) for k, v in drawn.items()}}

    @staticmethod
    def _grid(chance: Chance, field: Tensor, lines: Tensor, mirror: Tensor, zoom: Tensor) -> Tensor:
        """Where the crop is read for a batch's windows of lines [B,height]: [B,height,w,2] px."""
        size, height = lines.shape
        across = torch.arange(CROP_WIDTH, device=field.device) + 0.5
        at = torch.stack([across.expand(size, height, -1), lines[:, :, None].expand(-1, -1, CROP_WIDTH)], -1)
        middle = at.new_tensor(CROP_MIDDLE)
        turn = chance.about(0.05)
        cos, sin = turn.cos() / zoom, turn.sin() / zoom
        side = 1 - 2 * mirror
        linear = torch.stack([torch.stack([side * cos, -side * sin], 1), torch.stack([sin, cos], 1)], 1)
        shift = chance.about(4.0, 2)
        at = torch.einsum("bij,bhwj->bhwi", linear, at - middle) + middle + shift[:, None, None]
        bend = F.interpolate(field[:, :2], (height, CROP_WIDTH), mode="bicubic", align_corners=False)
        return at + chance.between(0, 2.0)[:, None, None, None] * bend.permute(0, 2, 3, 1)

    def disturbed(self, batch: dict[str, Tensor], rendered: float) -> dict[str, Tensor]:
        """Samples as the batch's chance has them; `rendered`: share of which drawn mouths are the photo's.

        target, around [B,3,h,w]: the photo and what is seen beside the mouth; inside [B,14,h,w] as `Geometry.inside`;
        fitted, guessed [B]: 0 or 1.
        """
        chance, rows, data = Chance(batch["uniform"], batch["normal"]), batch["rows"], self.data
        size, height = batch["lines"].shape
        mirror, zoom = chance.happens(0.5), chance.about(0.06).exp()
        at = self._grid(chance, batch["field"], batch["lines"], mirror, zoom)
        limit = at.new_tensor([2 / CROP_WIDTH, 2 / CROP_HEIGHT])

        def read(layers: Tensor, at: Tensor) -> Tensor:
            return F.grid_sample(layers, at * limit - 1, padding_mode="border", align_corners=False)

        fitted = chance.happens(FITTED)
        plain, laid_on = (data[key][rows].float() / 255 for key in ("plain", "fitted"))
        chosen = torch.lerp(plain, laid_on, fitted[:, None, None, None])
        pictures = torch.cat([data["target"][rows].float() / 255, data["distance"][rows].float()], 1)
        target, distance = read(pictures, at).split([3, 1], 1)
        distance = distance * wide(zoom)
        # teeth of a mouth that was not laid onto the photo lie elsewhere again
        loose = chance.about(2.5, 2) * (1 - fitted)[:, None]
        drawn = read(chosen, at + loose[:, None, None])
        colour, parts, normals = drawn.split([3, 4, 2], 1)
        normals = interiors.directions(normals) * wide(torch.stack([1 - 2 * mirror, torch.ones_like(mirror)], 1))
        gain = 1 + chance.between(0, 1) * (data["gain"][rows] - 1)
        light = data["light"][rows] * (gain * chance.about(0.08).exp())[:, None]
        # shades of teeth, gums and tongue
        shades = (chance.about(0.08, 2) / 2).exp()
        tone = 1 + parts[:, :2].sum(1, keepdim=True) * wide(shades[:, 0] - 1)
        tone = tone + parts[:, 2:].sum(1, keepdim=True) * wide(shades[:, 1] - 1)
        shadow = Mouth.shadow(distance[:, 0])
        colour = (colour * tone * shadow * wide(light)).clamp(0, 1)
        # a rendering in the photo's place, whose teeth are of another size and shade
        other = (
            at.new_tensor(CROP_MIDDLE)
            + (at - at.new_tensor(CROP_MIDDLE)) * chance.between(0.9, 1.12)[:, None, None, None]
        )
        shade = (chance.about(0.1, 3) * at.new_tensor([0.3, 0.5, 1.0]) + chance.about(0.12)[:, None]).exp()
        picture = blurred(read(chosen[:, :3], other + loose[:, None, None]), chance.between(0.7, 1.6))
        picture = (picture * shadow * wide(light * shade)).clamp(0, 1)
        within = (distance + 0.5).clamp(0, 1) * wide(chance.happens(rendered))
        target = torch.lerp(target, picture, within)
        # the frame that the generator made, or lips that lie a little elsewhere
        away = (torch.stack(torch.gradient(distance[:, 0], dim=(2, 1)), -1)) * torch.exp(
            -(distance[:, 0, ..., None] / 14).square()
        )
        frame = read(data["frame"][rows].float() / 255, at)
        made = chance.happens(FRAMED) * data["driven"][rows]
        moved = (
            torch.stack(
                torch.meshgrid(*(torch.arange(n, device=at.device) + 0.5 for n in (height, CROP_WIDTH)), indexing="ij")[
                    ::-1
                ],
                -1,
            )
            + away * (chance.about(3.0) * chance.happens(0.4))[:, None, None, None]
        )
        place = moved * moved.new_tensor([2 / CROP_WIDTH, 2 / height]) - 1
        beside = F.grid_sample(target, place, padding_mode="border", align_corners=False)
        around = torch.lerp(beside, frame, wide(made))
        spread = 0.4 + 3 * chance.between(0, 1).square()
        spread = spread * chance.happens(SOFTENED)
        target, around = blurred(torch.cat([target, around], 1), spread).split([3, 3], 1)
        target, around, colour = recoloured(torch.stack([target, around, colour], 1), chance).unbind(1)
        part = own_part(distance, chance.between(0, 20), chance.between(0, 11), chance.between(1.5, 6))
        shown = part * wide(chance.happens(SHOWN))
        shifted = chance.about(1.0, 2)
        own = read_window(target, shifted) * wide(chance.about(0.04).exp())
        near = (distance / REACH).clamp(-1, 1)
        inside = torch.cat([near, colour, parts, normals, own.clamp(0, 1), shown], 1)
        assert inside.shape == (size, sum(MOUTH_MAPS.values()), height, CROP_WIDTH)
        guessed = chance.happens(GUESSED)
        return {"target": target, "around": around, "inside": inside, "fitted": fitted, "guessed": guessed}

    @staticmethod
    def painted(model: MouthPainter, batch: dict[str, Tensor], style: Tensor) -> tuple[Tensor, Tensor]:
        """The photo with its mouth painted by a model [B,3,h,w], and where [B,1,h,w]."""
        made, cover = model.painting(batch["inside"], batch["around"], style)
        return torch.lerp(batch["target"], made.float(), cover), cover

    def _unsteadiness(self, batch: dict[str, Tensor], image: Tensor, style: Tensor, field: Tensor) -> Tensor:
        """How far mouths [b] change between the lips when these part a little further or less."""
        inside = batch["inside"].clone()
        change = F.interpolate(field, inside.shape[2:], mode="bicubic", align_corners=False) * (1.5 / REACH)
        inside[:, :1] = (inside[:, :1] + change).clamp(-1, 1)
        again, _ = self.painted(self.model, {**batch, "inside": inside}, style)
        both = torch.minimum(inside[:, :1], batch["inside"][:, :1])
        within = (REACH * both / 2 - 1).clamp(0, 1)
        return masked((again - image).abs(), within)

    def losses(self, batch: dict[str, Tensor], step: int, total: int) -> Iterator[tuple[str, Tensor, dict]]:
        """The painter's, then the critics'."""
        options = self.options
        with torch.no_grad(), torch.autocast(batch["field"].device.type, enabled=False):
            share = options.rendered * max(0.0, 1 - 2 * step / total)
            sample = self.disturbed(batch, share)
        target, fitted, guessed = sample["target"], sample["fitted"], sample["guessed"]
        within = (REACH * sample["inside"][:, :1] + 0.5).clamp(0, 1)
        mean, variance = (t.float() for t in self.model.reader(target, within))
        style = mean + torch.randn_like(mean) * (variance / 2).exp()
        style = torch.lerp(style, torch.randn_like(style), guessed[:, None])
        image, cover = self.painted(self.model, sample, style)
        shown = image.clamp(0, 1) + 0.1 * (image - image.clamp(0, 1))  # beyond the range gradients only lead back
        around, ours = (F.avg_pool2d(t, 13, 1, 6) for t in (target, image))
        dark = DARK_COUNTS[0] / (DARK_COUNTS[1] + around.mean(1, keepdim=True))
        pixels, broad = (masked((a - b).abs() * dark, cover) for a, b in ((image, target), (ours, around)))
        seen = self.features(shown)
        with torch.no_grad():
            real = self.features(target)
        features = self.features.apart(seen, real, cover)
        detail = sum(masked((a - b).abs(), cover) for a, b in zip(strength(shown), strength(target), strict=True))
        self.critic.requires_grad_(False)
        verdict = self.critic(seen, cover)
        believed = sum(masked(-v.float(), cover) for v in verdict) / len(verdict)
        self.critic.requires_grad_(True)
        few = slice(0, max(1, len(target) // STEADY))
        steady = self._unsteadiness(
            {k: v[few] for k, v in sample.items()}, image[few], style[few], batch["field"][few, 2:]
        )
        prior = 0.5 * (mean.square() + variance.exp() - 1 - variance).mean(1)
        ramp = min(1.0, step / max(options.warm, 1))
        tight = LOOSE_COUNTS + (1 - LOOSE_COUNTS) * fitted
        against = tight * (options.pixels * pixels + options.features * features)
        against = against + options.broad * broad + options.detail * detail
        counts = 1 - (1 - GUESS_COUNTS) * guessed
        loss = (counts * against + ramp * options.adversarial * believed + options.style * prior).mean()
        loss = loss + options.steady * steady.mean()
        scalars = {"pixels": pixels, "broad": broad, "features": features, "detail": torch.as_tensor(detail)}
        scalars |= {"believed": torch.as_tensor(believed), "steady": steady, "prior": prior}
        yield "mouth", loss, {"loss": loss, **{key: value.mean() for key, value in scalars.items()}}
        both = [torch.cat([r, m.detach()]) for r, m in zip(real, seen, strict=True)]
        scored = [s.float().chunk(2) for s in self.critic(both, torch.cat([cover, cover]))]
        told = [masked(F.relu(1 - r), cover) + masked(F.relu(1 + m), cover) for r, m in scored]
        critic = torch.stack(told).mean()
        yield "critic", critic, {"critic": critic}

    def _plain(self, rows: Tensor, fitted: bool) -> dict[str, Tensor]:
        """Samples undisturbed."""
        data = {key: value[rows] for key, value in self.data.items()}
        target, around, drawn = (data[k].float() / 255 for k in ("target", "frame", "fitted" if fitted else "plain"))
        inside = interiors.given(target, drawn, data["distance"].float(), data["light"])
        return {"target": target, "around": around, "inside": inside}

    @torch.no_grad()
    def validate(self, model: MouthPainter) -> dict[str, float]:
        """Distance in the tracker's features of mouths kept back, painted in the middle style and as drawn; how far
        critics tell them from photos."""
        rows = torch.from_numpy(self.held).to(self.data["light"].device)
        found = {}
        for name, fitted in (("fitted", True), ("plain", False)):
            batch = self._plain(rows, fitted)
            image, cover = self.painted(model, batch, batch["target"].new_zeros(len(rows), model.dims.style))
            drawn = torch.lerp(batch["target"], model.maps(batch["inside"], batch["around"])[1], cover)
            for kind, picture in (("painted", image.clamp(0, 1)), ("drawn", drawn)):
                found[f"{kind} {name}"] = float(self.judge.distance(picture, batch["target"], cover).mean())
        real, made = (self.critic(self.features(t), cover) for t in (batch["target"], image.clamp(0, 1)))
        apart = [masked(r - m, cover).mean() for r, m in zip(real, made, strict=True)]
        return {**found, "told apart": float(torch.stack(apart).mean())}

    @torch.no_grad()
    def samples(self, model: MouthPainter) -> np.ndarray:
        """Photos kept back; below each its mouth painted from the drawn one laid onto it, and from that of the
        geometry, which is last."""
        rows = torch.from_numpy(self.held[np.linspace(0, len(self.held) - 1, 2 * SHEET).astype(int)])
        rows = rows.to(self.data["light"].device)
        columns = []
        for fitted in (True, False):
            batch = self._plain(rows, fitted)
            image, cover = self.painted(model, batch, batch["target"].new_zeros(len(rows), model.dims.style))
            drawn = torch.lerp(batch["target"], batch["inside"][:, 1:4], cover)
            columns += [batch["target"], image.clamp(0, 1)] if fitted else [image.clamp(0, 1), drawn]
        tiles = torch.cat(columns, 2)
        halves = [torch.cat(list(part), 2) for part in tiles.split(SHEET)]
        return (torch.cat(halves, 1) * 255).byte().permute(1, 2, 0).cpu().numpy()

    def save(self, model: MouthPainter, out: Path, **provenance: Any) -> Path:
        """mouth.safetensors."""
        return checkpoints.save("mouth", model.state_dict(), model.dims, out, data=DATA, **provenance)


def read_window(images: Tensor, shift: Tensor) -> Tensor:
    """Images [B,C,h,w] displaced by shift [B,2] px."""
    theta = torch.eye(2, 3, device=images.device).repeat(len(images), 1, 1)
    theta[:, :, 2] = shift * shift.new_tensor([2 / images.shape[3], 2 / images.shape[2]])
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def build(data: Path, config: Config, work: Path) -> MouthTask:
    """The task on the data pack's open mouths."""
    options = configs.build(Options, config.task)
    folder = Path(options.samples) if options.samples else work / "mouths"
    return MouthTask(sorted(folder.glob("*.npz")) if options.samples else interiors.prepare(data, folder), config)
