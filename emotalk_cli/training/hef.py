"""Train HEF: `python -m emotalk_cli.training.hef --data DIR --out weights`.

Losses of eq. 11: reconstruction (L1, mouth and eyes weighted), perceptual (edges at several scales and the
discriminator's features; no network that could not be shipped with its licence is used) and adversarial (hinge, a
patch discriminator on the same squares). The fine blocks are trained on squares around mouths, eyes and skin.
"""

from __future__ import annotations

import argparse
import copy
import csv
import dataclasses
import shlex
import sys
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from .. import checkpoints
from ..face.model import EXPRESSION_NAMES, LEFT_EYE, OUTER_LIPS, RIGHT_EYE
from ..hef import HEF, Drive, HEFDims, region
from .hef_pairs import COLORED, OPEN, prepare, unpack

DATA_CREDIT = "London Set, Canada (CC BY 4.0, DeBruine & Jones), webmorphR.stim (CC0), SFHQ (MIT), GRID s1 (CC BY 4.0)"
SQUARE = 144  # px of the portrait crop: a wide open mouth
WEIGHT_PIXEL, WEIGHT_EDGE, WEIGHT_FEATURE, WEIGHT_ADVERSARIAL = 5.0, 5.0, 1.0, 0.25
WEIGHT_DETAIL = 4.0  # how much more mouth and eyes count than skin
HIDDEN_SHARP, HIDDEN_COLOR, HIDDEN_PATCH = 0.12, 1.0, 3.0  # an unseen mouth: colour is known, tooth places are not
WEIGHT_FLOW = 0.002  # per px² of learned flow
EMA = 0.997
VALIDATION = ("001", "011", "037", "034", "062", "101")  # people of the training split kept for validation
SH_ODD = [1, 4, 5]  # harmonics odd in x
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
    """Prepared samples, drawn so that open mouths and real pairs are seen more often than their share."""

    def __init__(self, cache: Path, validation: bool):
        def kept_back(path: Path) -> bool:
            _, folder, name, *_ = path.name.split(".")
            return folder.startswith("london") and name[:3] in VALIDATION

        self.paths = sorted(p for p in cache.glob("*.npz") if kept_back(p) == validation)
        opening = np.array([float(np.load(p)["opening"]) for p in self.paths])
        real = np.array([p.name.startswith("pair") for p in self.paths])
        talk = np.array([p.name.startswith("talk") for p in self.paths])
        london = np.array([".london" in p.name for p in self.paths])
        weight = np.where(opening >= OPEN, 3.0, 0.6) * np.where(opening >= 0.06, 1.7, 1.0)
        weight *= np.where(real, 3.0, 1.0) * np.where(london, 1.5, 1.0) * np.where(talk, 0.7, 1.0)
        self.probability = weight / weight.sum()

    def load(self, number: int, colors: np.ndarray | None = None) -> dict[str, Tensor]:
        """One sample as float tensors; colors as in `unpack`."""
        with np.load(self.paths[number]) as file:
            return unpack({k: file[k] for k in file.files}, colors)

    def batch(self, size: int, rng: np.random.Generator) -> dict[str, Tensor]:
        """Random augmented samples, stacked, with `corners` [B,2] (top, left) of a square in each."""
        drawn = rng.choice(len(self.paths), size, p=self.probability)
        samples = [augment(self.load(i, recolored(rng)), rng) for i in drawn]
        for sample in samples:
            if rng.random() < 0.3:
                paled(sample, max(0.0, rng.uniform(-0.5, 0.8)))
            sample["corners"] = square(sample, rng)
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
        for key in (*COLORED, "ratio", "mouth", "face", "eyes", "source_mouth", "flow"):
            sample[key] = sample[key].flip(-1)
        sample["flow"][0] *= -1
        sample["beta"] = sample["beta"][MIRROR]
        light = sample["identity"][-27:].reshape(3, 9)
        light[:, SH_ODD] *= -1
        sample["points"][:, 0] = sample["source"].shape[-1] - sample["points"][:, 0]
    # few people are seen: codes blurred, so that no face can be looked up by them
    for key, spread in (("identity", 0.1), ("beta", 0.15)):
        sample[key] = sample[key] + torch.tensor(rng.normal(0, spread, len(sample[key])), dtype=torch.float32)
    return sample


def square(sample: dict[str, Tensor], rng: np.random.Generator) -> Tensor:
    """Top-left corner, a multiple of 8 px, of a square around the mouth, an eye or anywhere on the face."""
    points, window = sample["points"], sample["source"].shape[-1]
    part = rng.choice(4, p=[0.45, 0.1, 0.1, 0.35])
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
    pose = batch["beta"].new_zeros(len(batch["beta"]), 6)
    drive = drive_of(batch, model.dims.geometry)
    return model.refine(source, drive, batch["beta"], pose, None, corners, SQUARE if corners else 0)


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


def detail_weight(mouth: Tensor, eyes: Tensor, support: Tensor) -> Tensor:
    """Pixel weights: the face 1, mouth and eyes with their rims 1 + WEIGHT_DETAIL, the background 0."""
    detail = F.max_pool2d(torch.maximum(mouth, eyes), 9, 1, 4)
    return support * (1 + WEIGHT_DETAIL * detail)


def patch_focus(masks: Tensor, hidden: Tensor, scores: Tensor) -> Tensor:
    """How much each patch's verdict counts: skin little, eyes and mouths more, mouths that the source hides most."""
    weight = 0.3 + masks.amax(1, keepdim=True) + HIDDEN_PATCH * hidden
    return F.adaptive_max_pool2d(weight, scores.shape[-2:])


class Trainer:
    """Model, discriminator, their optimisers, the moving average and the random state: all that a resume needs."""

    def __init__(self, dims: HEFDims, rate: float, seed: int, device: str, half: bool = False):
        torch.manual_seed(seed)
        self.device, self.half = torch.device(device), half
        self.model = HEF(dims).to(self.device, memory_format=torch.channels_last)
        self.average = copy.deepcopy(self.model).eval()
        self.critic = Discriminator().to(self.device, memory_format=torch.channels_last)
        self.optimizer = torch.optim.Adam(self.model.parameters(), rate, betas=(0.5, 0.99))
        self.critic_optimizer = torch.optim.Adam(self.critic.parameters(), rate, betas=(0.5, 0.99))
        self.rng = np.random.default_rng(seed)
        self.rate, self.step, self.best = rate, 0, float("inf")

    PARTS = ("model", "average", "critic", "optimizer", "critic_optimizer")

    def state(self) -> dict:
        """Everything, for torch.save."""
        own = {name: getattr(self, name).state_dict() for name in self.PARTS}
        return (
            own
            | {"rng": self.rng.bit_generator.state, "torch": torch.get_rng_state()}
            | {
                "step": self.step,
                "best": self.best,
            }
        )

    def restore(self, state: dict) -> None:
        """Continue from `state`."""
        for name in self.PARTS:
            getattr(self, name).load_state_dict(state[name])
        self.rng.bit_generator.state = state["rng"]
        torch.set_rng_state(state["torch"])
        self.step, self.best = state["step"], state["best"]

    def train_step(self, pairs: Pairs, size: int, total: int, warm: int) -> dict[str, float]:
        """One update of generator and critic; the critic joins after `warm` steps."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate * min(1.0, (self.step + 1) / 100) * min(1.0, max(0.05, 4 * (1 - self.step / total)))
        batch = {k: v.to(self.device) for k, v in pairs.batch(size, self.rng).items()}
        corners = [tuple(c) for c in batch["corners"].tolist()]
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
            image, parts = generate(self.model, batch, corners)
        target, mouth, eyes = (region(batch[k], corners, SQUARE) for k in ("target", "mouth", "eyes"))
        inner = (..., slice(8, -8), slice(8, -8))  # squares know nothing of what lies beyond their rim
        weight = detail_weight(mouth, eyes, parts["support"])[inner]
        masks = torch.cat([mouth, eyes], 1)[inner]
        image, target, support, hidden = image[inner], target[inner], parts["support"][inner], parts["hidden"][inner]
        color = F.avg_pool2d(hidden, 8) * F.avg_pool2d(image - target, 8).abs()
        color = HIDDEN_COLOR * (1 + WEIGHT_DETAIL) * color.mean()
        weight = weight * torch.lerp(torch.ones_like(hidden), torch.full_like(hidden, HIDDEN_SHARP), hidden)
        pixel = (weight * (image - target).abs()).mean() + color
        edge = edge_loss(image, target, weight)
        flow = parts["flow"].square().mean()
        loss = WEIGHT_PIXEL * pixel + WEIGHT_EDGE * edge + WEIGHT_FLOW * flow
        log = {"pixel": pixel.item(), "edge": edge.item(), "flow": flow.item()}
        fake = torch.lerp(target, image, support)
        if self.step >= warm:
            self.critic.requires_grad_(False)
            answers = self.critic(fake, masks)
            with torch.no_grad():
                truths = self.critic(target, masks)
            feature = sum(F.l1_loss(a, b) for a, b in zip(answers[:-1], truths[:-1], strict=True))
            focus = patch_focus(masks, hidden, answers[-1])
            adversarial = -(answers[-1] * focus).mean()
            loss = loss + WEIGHT_FEATURE * feature + WEIGHT_ADVERSARIAL * adversarial
            log |= {"feature": feature.item(), "adversarial": adversarial.item()}
            self.critic.requires_grad_(True)
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 5.0)
        self.optimizer.step()
        if self.step >= warm // 2:
            real, false = self.critic(target, masks)[-1], self.critic(fake.detach(), masks)[-1]
            focus = patch_focus(masks, hidden, real)
            critic = (focus * (F.relu(1 - real) + F.relu(1 + false))).mean()
            self.critic_optimizer.zero_grad()
            critic.backward()
            self.critic_optimizer.step()
            log["critic"] = critic.item()
        decay = min(EMA, (self.step + 1) / (self.step + 20))
        with torch.no_grad():
            for mean, new in zip(self.average.parameters(), self.model.parameters(), strict=True):
                mean.lerp_(new, 1 - decay)
        self.step += 1
        return log

    @torch.no_grad()
    def validate(self, pairs: Pairs) -> dict[str, float]:
        """Weighted L1 and edge error of the average on real validation pairs, beside the geometry's own."""
        totals = np.zeros(4)
        real = [i for i, p in enumerate(pairs.paths) if p.name.startswith("pair")]
        for i in real:
            batch = {k: v[None].to(self.device) for k, v in pairs.load(i).items()}
            image, parts = generate(self.average, batch)
            weight = detail_weight(batch["mouth"], batch["eyes"], parts["support"])
            weight = weight / weight.mean()
            for j, result in enumerate((image, composite(self.average, batch))):
                totals[j] += float((weight * (result - batch["target"]).abs()).mean())
                totals[2 + j] += float(edge_loss(result, batch["target"], weight))
        totals /= max(1, len(real))
        return dict(zip(("hef_l1", "geometry_l1", "hef_edge", "geometry_edge"), totals.tolist(), strict=True))


def composite(model: HEF, batch: dict[str, Tensor]) -> Tensor:
    """What the geometry alone shows: an untrained HEF."""
    blank = HEF(model.dims).to(batch["source"].device)
    return generate(blank, batch)[0]


@torch.no_grad()
def sheet(model: HEF, pairs: Pairs, numbers: list[int], path: Path) -> None:
    """PNG rows of source, geometry, HEF, target: the whole window, then the mouth enlarged."""
    rows = []
    for i in numbers:
        batch = {k: v[None].to(model.start.device) for k, v in pairs.load(i).items()}
        images = [batch["source"], composite(model, batch), generate(model, batch)[0], batch["target"]]
        x, y = batch["points"][0, OUTER_LIPS].mean(0).round().long().tolist()
        top, left = max(0, y - 56), max(0, x - 72)
        mouths = [F.interpolate(t[..., top : top + 112, left : left + 144], (384, 494), mode="bicubic") for t in images]
        row = torch.cat([F.interpolate(t, (384, 384)) for t in images] + mouths, 3)[0].clamp(0, 1)
        rows.append((row * 255).byte().permute(1, 2, 0).cpu().numpy())
    Image.fromarray(np.concatenate(rows)).save(path)


def plot(log: Path, path: Path) -> None:
    """Draw the CSV log as curves."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    with open(log) as file:
        rows = list(csv.DictReader(file))
    names = [n for n in rows[0] if n not in ("step", "seconds")]
    figure, axes = plt.subplots(2, (len(names) + 1) // 2, figsize=(3 * len(names) / 2 + 2, 5))
    for axis, name in zip(axes.flat, names, strict=False):
        points = [(int(r["step"]), float(r[name])) for r in rows if r[name]]
        if points:
            axis.plot(*zip(*points, strict=True))
        axis.set_title(name)
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)


COLUMNS = ["step", "seconds", "pixel", "edge", "flow", "feature", "adversarial", "critic"]
COLUMNS += ["hef_l1", "geometry_l1", "hef_edge", "geometry_edge"]


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Options of the command."""
    parser = argparse.ArgumentParser(prog="python -m emotalk_cli.training.hef", description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="training data pack")
    parser.add_argument("--out", type=Path, required=True, help="folder of the weights")
    parser.add_argument("--work", type=Path, default=Path("runs/hef"), help="samples, state, curves, sheets")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--batch", type=int, default=6)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--warm", type=int, default=300, help="steps before the adversarial loss")
    parser.add_argument("--every", type=int, default=150, help="steps between validations")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--half", action="store_true", help="convolve in bfloat16: faster where the hardware has it")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--resume", action="store_true", help="continue from --work")
    for name in ("residual", "hierarchy", "geometry"):
        parser.add_argument(f"--no-{name}", dest=name, action="store_false", help="ablation: see HEFDims")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Prepare samples, train, and save the moving average whenever it beats the geometry and all before it."""
    options = parse(arguments)
    command = "python -m emotalk_cli.training.hef " + shlex.join(sys.argv[1:] if arguments is None else arguments)
    torch.set_num_threads(options.threads)
    work, cache = options.work, options.work / "cache"
    prepare(options.data, cache, options.seed)
    training, validation = Pairs(cache, False), Pairs(cache, True)
    dims = HEFDims(residual=options.residual, hierarchy=options.hierarchy, geometry=options.geometry)
    trainer = Trainer(dims, options.rate, options.seed, options.device, options.half)
    state, log = work / "state.pt", work / "log.csv"
    if options.resume and state.exists():
        trainer.restore(torch.load(state, weights_only=False))
    else:
        log.write_text(",".join(COLUMNS) + "\n")
    shown = [i for i, p in enumerate(validation.paths) if p.name.startswith("pair")][:8]
    begin, sums, count = time.monotonic(), {}, 0
    while trainer.step < options.steps:
        for key, value in trainer.train_step(training, options.batch, options.steps, options.warm).items():
            sums[key] = sums.get(key, 0.0) + value
        count += 1
        if trainer.step % options.every and trainer.step != options.steps:
            continue
        row = {k: v / count for k, v in sums.items()} | trainer.validate(validation)
        row |= {"step": trainer.step, "seconds": time.monotonic() - begin}
        with open(log, "a", newline="") as file:
            csv.DictWriter(file, COLUMNS, restval="").writerow(
                {k: f"{v:.5g}" if isinstance(v, float) else v for k, v in row.items()}
            )
        print({k: round(v, 5) for k, v in row.items()}, flush=True)
        sums, count = {}, 0
        score = row["hef_l1"] / row["geometry_l1"] + row["hef_edge"] / row["geometry_edge"]
        if score < 2 and (score < trainer.best or trainer.step > options.warm):
            trainer.best = min(score, trainer.best)
            checkpoints.save(
                "hef",
                trainer.average.state_dict(),
                dims,
                options.out,
                data=DATA_CREDIT,
                command=command,
                seed=options.seed,
                steps=str(trainer.step),
            )
        torch.save(trainer.state(), state.with_suffix(".part"))
        state.with_suffix(".part").replace(state)
        plot(log, work / "curve.png")
        sheet(trainer.average, validation, shown, work / f"sheet{trainer.step:06d}.png")


if __name__ == "__main__":
    main()
