"""Train HEF: `emotalk train hef`, or build a `Task` for the Solver.

Losses of eq. 11: reconstruction (L1, squared error and structural similarity; mouth and eyes weighted; the flow
against the one measured between two real photos, by which the target is then laid onto the generated face), perceptual
(edges at several scales and the discriminator's features; no network that could not be shipped with its licence is
used) and adversarial (hinge, a patch discriminator on the same squares), which counts where the source cannot know:
in hidden mouths, hardly on skin. The fine blocks are trained on squares around mouths, eyes and skin.
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

from .. import checkpoints
from ..errors import InputError
from ..face.model import EXPRESSION_NAMES, LEFT_EYE, OUTER_LIPS, RIGHT_EYE
from ..hef import HEF, Drive, HEFDims, region, warp
from ..metrics.generator import compare, ssim_map
from .config import Config
from .config import build as build_options
from .hef_pairs import COLORED, KINDS, VALIDATION, prepare, unpack

DATA_CREDIT = "London Set, Canada (CC BY 4.0, DeBruine & Jones), webmorphR.stim (CC0), SFHQ (MIT), GRID s1 (CC BY 4.0)"
SQUARE = 144  # px of the portrait crop: a wide open mouth
WEIGHT_PIXEL, WEIGHT_SQUARE, WEIGHT_STRUCTURE, WEIGHT_EDGE = 5.0, 15.0, 0.3, 3.0
WEIGHT_FEATURE, WEIGHT_ADVERSARIAL = 0.5, 0.08
WEIGHT_DETAIL = 4.0  # how much more mouth and eyes count than skin
HIDDEN_SHARP, HIDDEN_COLOR, HIDDEN_PATCH = 0.3, 2.0, 3.0  # an unseen mouth: colour is known, tooth places are not
SKIN_PATCH = 0.05  # of a patch's verdict on skin, where a warped photo is real already
WEIGHT_FLOW, FLOW_BEND = 0.05, 2.0  # of the learned flow against the measured one; px from where the loss is linear
WEIGHT_ROUGH = 0.02  # per px² that fine blocks add to the flow
SHARES = dict(zip(KINDS, (0.30, 0.28, 0.12, 0.16, 0.04, 0.06, 0.04), strict=True))  # of a batch
SH_ODD = [1, 4, 5]  # harmonics odd in x
POSE_ODD = [1, 2, 3]  # yaw, roll and x change sign in a mirror
MIRROR = [
    EXPRESSION_NAMES.index(n.replace("Left", "#").replace("Right", "Left").replace("#", "Right"))
    for n in EXPRESSION_NAMES
]


class Discriminator(nn.Module):
    """Patch discriminator (16-px stride 8) of an image square and its mouth and eye masks."""

    def __init__(self):
        super().__init__()
        widths = [5, 24, 48, 80]
        self.layers = nn.ModuleList(
            spectral_norm(nn.Conv2d(a, b, 4, stride=2, padding=1)) for a, b in zip(widths, widths[1:], strict=False)
        )
        self.last = spectral_norm(nn.Conv2d(widths[-1], 1, 3, padding=1))

    def forward(self, image: Tensor, masks: Tensor) -> list[Tensor]:
        """[B,3,s,s], [B,2,s,s] -> features of each layer, then scores [B,1,s/8,s/8]."""
        x, out = torch.cat([image * 2 - 1, masks], 1), []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.2)
            out.append(x)
        return [*out, self.last(x)]


class Pairs:
    """Prepared samples of one split, drawn by kind with the shares of `SHARES`."""

    def __init__(self, cache: Path, validation: bool):
        def kept_back(path: Path) -> bool:
            _, folder, name, *_ = path.name.split(".")
            return folder.startswith("london") and name[:3] in VALIDATION

        self.paths = sorted(p for p in cache.glob("*.npz") if kept_back(p) == validation)
        self.kinds = [p.name.split(".")[0] for p in self.paths]
        share = np.array([SHARES[kind] / self.kinds.count(kind) for kind in self.kinds])
        self.probability = share / share.sum()

    def load(self, number: int, colors: np.ndarray | None = None) -> dict[str, Tensor]:
        """One sample as float tensors; colors as in `unpack`."""
        with np.load(self.paths[number]) as file:
            return unpack({k: file[k] for k in file.files}, colors)

    def real(self) -> list[int]:
        """Numbers of the samples that are two real photos."""
        return [i for i, kind in enumerate(self.kinds) if kind in ("smile", "unsmile")]

    def batch(self, size: int, rng: np.random.Generator) -> dict[str, Tensor]:
        """Random augmented samples, stacked, with `corners` [B,2] (top, left) of a square in each."""
        samples = []
        for i in rng.choice(len(self.paths), size, p=self.probability):
            sample = augment(self.load(i, recolored(rng)), rng)
            if rng.random() < 0.3:
                paled(sample, max(0.0, rng.uniform(-0.5, 0.8)))
            sample["corners"] = square(sample, self.kinds[i], rng)
            samples.append(sample)
        return {k: torch.stack([s[k] for s in samples]) for k in samples[0]}


def recolored(rng: np.random.Generator) -> np.ndarray:
    """Random exposure, white balance and contrast as tables [3,256]: the same in source, target and rendering."""
    gain = rng.uniform(0.85, 1.15, (3, 1)) * rng.uniform(0.75, 1.2)
    levels = np.linspace(0, 1, 256) ** rng.uniform(0.75, 1.35) * gain
    return levels.clip(0, 1).astype(np.float32)


def paled(sample: dict[str, Tensor], saturation: float) -> dict[str, Tensor]:
    """The pictures' colours drawn towards grey; the drawn mouth keeps its own, as it does in use."""
    for key in ("source", "target", "rendered"):
        pale = torch.lerp(sample[key].mean(0, keepdim=True), sample[key], saturation)
        sample[key] = torch.lerp(pale, sample[key], sample["mouth"]) if key == "rendered" else pale
    return sample


def augment(sample: dict[str, Tensor], rng: np.random.Generator) -> dict[str, Tensor]:
    """Mirror at random and blur the codes."""
    if rng.random() < 0.5:
        for key in (*COLORED, "ratio", "mouth", "own", "face", "eyes", "source_mouth", "flow", "match"):
            sample[key] = sample[key].flip(-1)
        sample["flow"][0] *= -1
        sample["match"][0] *= -1
        sample["beta"] = sample["beta"][MIRROR]
        sample["pose"][POSE_ODD] *= -1
        light = sample["identity"][-27:].reshape(3, 9)
        light[:, SH_ODD] *= -1
        sample["points"][:, 0] = sample["source"].shape[-1] - sample["points"][:, 0]
    # few people are seen: codes blurred, so that no face can be looked up by them
    for key, spread in (("identity", 0.1), ("beta", 0.15)):
        sample[key] = sample[key] + torch.tensor(rng.normal(0, spread, len(sample[key])), dtype=torch.float32)
    return sample


def square(sample: dict[str, Tensor], kind: str, rng: np.random.Generator) -> Tensor:
    """Top-left corner, a multiple of 8 px, of a square around the mouth, an eye or anywhere on the face."""
    points, window = sample["points"], sample["source"].shape[-1]
    part = rng.choice(4, p=[0.05, 0.45, 0.45, 0.05] if kind == "blink" else [0.45, 0.08, 0.08, 0.39])
    ring = [OUTER_LIPS, LEFT_EYE, RIGHT_EYE, list(range(468))][part]
    low, high = points[ring].min(0).values.numpy(), points[ring].max(0).values.numpy()
    middle = rng.uniform(low, high) if part == 3 else (low + high) / 2 + rng.uniform(-16, 16, 2)
    corner = np.clip(np.round((middle - SQUARE / 2) / 8) * 8, 0, window - SQUARE).astype(int)
    return torch.tensor(corner[::-1].copy())


def drive_of(batch: dict[str, Tensor], keep_geometry: bool = True) -> Drive:
    """The batch's geometry; without it, as HEF.drive does."""
    drive = Drive(**{f.name: batch[f.name] for f in dataclasses.fields(Drive)})
    if keep_geometry:
        return drive
    return dataclasses.replace(drive, flow=torch.zeros_like(drive.flow), ratio=torch.ones_like(drive.ratio))


def generate(model: HEF, batch: dict[str, Tensor], corners: list | None = None) -> tuple[Tensor, dict[str, Tensor]]:
    """HEF on a batch of samples, whole windows or squares."""
    source = model.encode(batch["source"], batch["source_mouth"], batch["identity"])
    drive = drive_of(batch, model.dims.geometry)
    return model.refine(source, drive, batch["beta"], batch["pose"], None, corners, (SQUARE, SQUARE))


def edges(image: Tensor) -> Tensor:
    """Horizontal and vertical differences, on a common grid."""
    dx, dy = image[..., :-1, 1:] - image[..., :-1, :-1], image[..., 1:, :-1] - image[..., :-1, :-1]
    return torch.cat([dx, dy], 1)


def edge_loss(image: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Weighted L1 of image gradients at three scales."""
    loss = image.new_zeros(())
    for _ in range(3):
        loss = loss + (weight[..., :-1, :-1] * (edges(image) - edges(target)).abs()).mean()
        image, target, weight = (F.avg_pool2d(t, 2) for t in (image, target, weight))
    return loss


def detail_weight(mouth: Tensor, lids: Tensor, support: Tensor) -> Tensor:
    """Pixel weights: the face 1, mouth and eyes with their rims 1 + WEIGHT_DETAIL, the background 0."""
    detail = torch.maximum(F.max_pool2d(mouth, 9, 1, 4), lids)
    return support * (1 + WEIGHT_DETAIL * detail)


def lids_box(points: Tensor, size: int) -> Tensor:
    """[B,1,size,size]: 1 around the eyes of landmarks [B,478,2] px, open or shut."""
    mask = points.new_zeros(len(points), 1, size, size)
    for row, shape in zip(mask, points, strict=True):
        for ring in (LEFT_EYE, RIGHT_EYE):
            low, high = shape[ring].amin(0), shape[ring].amax(0)
            (left, right), middle = (low[0].item(), high[0].item()), (low[1] + high[1]).item() / 2
            reach = 0.4 * (right - left)
            top, bottom = max(0, round(middle - reach)), round(middle + reach)
            row[0, top:bottom, max(0, round(left)) : round(right)] = 1
    return mask


def patch_focus(masks: Tensor, hidden: Tensor, scores: Tensor) -> Tensor:
    """How much each patch's verdict counts: skin little, eyes and mouths more, mouths that the source hides most."""
    weight = SKIN_PATCH + 0.5 * masks.amax(1, keepdim=True) + HIDDEN_PATCH * hidden
    return F.adaptive_max_pool2d(weight, scores.shape[-2:])


@dataclasses.dataclass
class Options:
    """The task's own table. adversarial: step from which the discriminator's verdict counts. start: folder of weights
    to go on from, "shipped" for those that came with the program, empty for none. Variants of Tab. 3: see `HEFDims`."""

    adversarial: int = 300
    start: str = ""
    residual: bool = True
    hierarchy: bool = True
    geometry: bool = True


class HEFTask:
    """HEF, its discriminator and prepared samples, for the Solver."""

    name = "hef"

    def __init__(self, cache: Path, config: Config):
        """cache: samples of `prepare`."""
        self.options = options = build_options(Options, config.task)
        self.training, self.kept = Pairs(cache, False), Pairs(cache, True)
        if not self.training.paths:
            raise InputError(f"{cache} holds no training samples; prepare them first.")
        torch.manual_seed(config.seed)
        dims = HEFDims(residual=options.residual, hierarchy=options.hierarchy, geometry=options.geometry)
        self.model = HEF(dims).to(memory_format=torch.channels_last)
        if options.start:
            folder = None if options.start == "shipped" else options.start
            self.model.load_state_dict(checkpoints.load("hef", folder).tensors)
        self.critic = Discriminator().to(memory_format=torch.channels_last)
        self.helpers = {"discriminator": self.critic}
        self.rate = config.rate
        self._geometry: dict[str, float] = {}

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Adam for both."""
        return {
            name: torch.optim.Adam(module.parameters(), self.rate, betas=(0.5, 0.99))
            for name, module in (("hef", self.model), ("discriminator", self.critic))
        }

    def batch(self, rng: np.random.Generator, size: int) -> dict[str, Tensor]:
        """Augmented samples of the training people."""
        return self.training.batch(size, rng)

    def losses(self, batch: dict[str, Tensor], step: int, total: int) -> Iterator[tuple[str, Tensor, dict]]:
        """The generator's loss; then, from half-way to `adversarial` on, the discriminator's."""
        corners = [tuple(c) for c in batch["corners"].tolist()]
        image, parts = generate(self.model, batch, corners)
        batch["lids"] = lids_box(batch["points"], batch["source"].shape[-1])
        with torch.autocast(image.device.type, enabled=False):
            image, parts = image.float(), {key: part.float() for key, part in parts.items()}
            # match leads from the geometry's frame to the target, ψ reads the frame: they should cancel out
            coarse, size = parts["coarse"], batch["source"].shape[-1]
            match = F.interpolate(batch["match"], coarse.shape[2:], mode="area")
            known = F.interpolate(batch["face"], coarse.shape[2:], mode="area")
            flow = (known * F.smooth_l1_loss(coarse, -match, beta=FLOW_BEND, reduction="none")).mean()
            coarse, match = (
                region(F.interpolate(t, (size, size), mode="bilinear"), corners, (SQUARE, SQUARE)) * parts["support"]
                for t in (coarse, batch["match"])
            )
            rough = (parts["flow"] - coarse).square().mean()
            rest = match + parts["flow"]
            # the target, laid where the generated face is
            origin = match.new_tensor([[x, y] for y, x in corners])
            target = warp(batch["target"], rest.detach(), size, origin)
            cut = {key: region(batch[key], corners, (SQUARE, SQUARE)) for key in ("mouth", "eyes", "lids")}
            inner = (..., slice(8, -8), slice(8, -8))  # squares know nothing of what lies beyond their rim
            # what moves is judged by the photo as it is, what is painted by the photo laid onto it: no reward for blur
            moved, photo = parts["moved"], region(batch["target"], corners, (SQUARE, SQUARE))
            image = image - moved + moved.detach()
            image, target, moved, photo, mouth, eyes, lids, support, hidden = (
                t[inner] for t in (image, target, moved, photo, *cut.values(), parts["support"], parts["hidden"])
            )
            masks = torch.cat([mouth, eyes], 1)
            weight = detail_weight(mouth, lids, support)
            color = F.avg_pool2d(hidden, 8) * F.avg_pool2d(image - target, 8).abs()
            color = HIDDEN_COLOR * (1 + WEIGHT_DETAIL) * color.mean()
            weight = weight * torch.lerp(torch.ones_like(hidden), torch.full_like(hidden, HIDDEN_SHARP), hidden)
            pixel = (weight * (image - target).abs()).mean() + color
            squared = (weight * (image - target).square()).mean()
            shift = WEIGHT_PIXEL * (weight * (moved - photo).abs()).mean()
            shift = shift + WEIGHT_SQUARE * (weight * (moved - photo).square()).mean()
            edge = edge_loss(image, target, weight)
            structure = (weight * (1 - ssim_map(image, target))).mean()
            loss = WEIGHT_PIXEL * pixel + WEIGHT_SQUARE * squared + WEIGHT_STRUCTURE * structure
            loss = loss + WEIGHT_EDGE * edge + WEIGHT_FLOW * flow + WEIGHT_ROUGH * rough + shift
            scalars = {"pixel": pixel, "squared": squared, "structure": structure, "edge": edge}
            scalars |= {"shift": shift, "flow": flow, "rough": rough}
        fake = torch.lerp(target, image, support)
        if step >= self.options.adversarial:
            self.critic.requires_grad_(False)
            answers = self.critic(fake, masks)
            with torch.no_grad():
                truths = self.critic(target, masks)
            feature = sum(F.l1_loss(a, b) for a, b in zip(answers[:-1], truths[:-1], strict=True))
            focus = patch_focus(masks, hidden, answers[-1])
            adversarial = -(answers[-1] * focus).mean()
            loss = loss + WEIGHT_FEATURE * feature + WEIGHT_ADVERSARIAL * adversarial
            scalars |= {"feature": feature, "adversarial": adversarial}
            self.critic.requires_grad_(True)
        yield "hef", loss, scalars
        if step >= self.options.adversarial // 2:
            real, false = self.critic(target, masks)[-1], self.critic(fake.detach(), masks)[-1]
            focus = patch_focus(masks, hidden, real)
            critic = (focus * (F.relu(1 - real) + F.relu(1 + false))).mean()
            yield "discriminator", critic, {"critic": critic}

    def validate(self, model: HEF) -> dict[str, float]:
        """PSNR, SSIM and L1 on real photos of people kept back, by direction and region, as gains over the geometry.

        score: mean ratio of the errors to the geometry's; below 1 the network is worth its time.
        """
        found = self._measure(model)
        if not self._geometry:
            self._geometry = self._measure(blank(model))
        row, ratios = {}, []
        for key, value in found.items():
            own = self._geometry[key]
            row[f"{key}_gain"] = value - own
            if key.endswith("psnr"):
                ratios.append(10 ** ((own - value) / 20))
            else:
                ratios.append((1 - value) / (1 - own) if key.endswith("ssim") else value / own)
        return row | ({"score": float(np.mean(ratios))} if ratios else {})

    @torch.no_grad()
    def _measure(self, model: HEF) -> dict[str, float]:
        sums: dict[str, list[float]] = {}
        for i in self.kept.real():
            batch = self._one(i, model)
            image = generate(model, batch)[0].clamp(0, 1)
            lips = batch["points"][0, OUTER_LIPS]
            (left, top), (right, bottom) = (lips.amin(0) - 14).int().tolist(), (lips.amax(0) + 14).int().tolist()
            box = torch.zeros_like(batch["face"])
            box[..., max(0, top) : bottom, max(0, left) : right] = 1
            for name, area in (("face", batch["face"]), ("mouth", box)):
                for measure, value in compare(image, batch["target"], area).items():
                    sums.setdefault(f"{self.kept.kinds[i]}_{name}_{measure}", []).append(value)
        return {key: float(np.mean(values)) for key, values in sums.items()}

    def _one(self, number: int, model: HEF) -> dict[str, Tensor]:
        return {k: v[None].to(model.start.device) for k, v in self.kept.load(number).items()}

    @torch.no_grad()
    def samples(self, model: HEF) -> np.ndarray | None:
        """Rows of source, geometry, HEF, target of people kept back: the whole window, then the mouth enlarged."""
        rows = []
        for i in self.kept.real()[::2][:6]:
            batch = self._one(i, model)
            images = [batch["source"], generate(blank(model), batch)[0], generate(model, batch)[0], batch["target"]]
            x, y = batch["points"][0, OUTER_LIPS].mean(0).round().long().tolist()
            top, left = max(0, y - 56), max(0, x - 72)
            mouths = [t[..., top : top + 112, left : left + 144] for t in images]
            mouths = [F.interpolate(t, (384, 494), mode="bicubic") for t in mouths]
            row = torch.cat([F.interpolate(t, (384, 384)) for t in images] + mouths, 3)[0].clamp(0, 1)
            rows.append((row * 255).byte().permute(1, 2, 0).cpu().numpy())
        return np.concatenate(rows) if rows else None

    def save(self, model: HEF, out: Path, **provenance) -> Path:
        """hef.safetensors."""
        return checkpoints.save("hef", model.state_dict(), model.dims, out, data=DATA_CREDIT, **provenance)


def blank(model: HEF) -> HEF:
    """An untrained HEF of the same dims: what the geometry alone shows."""
    return HEF(model.dims).to(model.start.device)


def build(data: Path, config: Config, work: Path) -> HEFTask:
    """The task on samples in `work`/cache, which are made first where they are missing (about an hour on a core)."""
    cache = work / "cache"
    prepare(data, cache, config.seed)
    return HEFTask(cache, config)
