"""Train HEF: `emotalk train hef`, or build a `Task` for the Solver.

Losses of eq. 11: reconstruction (L1, squared error and structural similarity; mouth and eyes weighted; the flow
against the one measured between two real photos, by which the target is then laid onto the generated face), perceptual
(edges at several scales and the discriminator's features; no network that could not be shipped with its licence is
used) and adversarial (hinge, a patch discriminator on the same squares), which counts where the source cannot know:
in hidden mouths, hardly on skin. The last block is trained on squares around mouths, eyes and skin; the whole face is
judged at half resolution too: by the photo, by where the shipped tracker finds its landmarks, and, where it was driven
to an emotion, by what a frozen classifier reads (φ_emo of eq. 6).
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

from ...errors import InputError
from ...evaluation.emotion import BASICS, MARGIN, READINGS, EmotionReader
from ...evaluation.generator import compare, ssim_map
from ...face.geometry.palette import SKIN_HUE
from ...face.raster import face_square, halved
from ...face.topology import EXPRESSION_NAMES, INNER_LIPS, LEFT_EYE, N_SKIN, OUTER_LIPS, RIGHT_EYE
from ...face.tracker import FaceTracker
from ...models import checkpoints
from ...models.hef import BLOCKS, HEF, SPLIT, Drive, HEFDims, region, warp
from ...numeric import channels_last
from ..config import Config
from ..config import build as build_options
from ..data.hef_pairs import COLORED, KINDS, VALIDATION, prepare, unpack

DATA_CREDIT = "London Set, Canada (CC BY 4.0, DeBruine & Jones), webmorphR.stim (CC0), SFHQ (MIT), GRID s1 (CC BY 4.0)"
SQUARE = 144  # px of the portrait crop: a wide open mouth
WEIGHT_PIXEL, WEIGHT_SQUARE, WEIGHT_STRUCTURE, WEIGHT_EDGE = 5.0, 15.0, 0.3, 3.0
WEIGHT_FEATURE, WEIGHT_ADVERSARIAL = 0.5, 0.08
WEIGHT_DETAIL = 4.0  # how much more mouth and eyes count than skin
HIDDEN_SHARP, HIDDEN_COLOR, HIDDEN_PATCH = 0.3, 2.0, 3.0  # an unseen mouth: colour is known, tooth places are not
SKIN_PATCH = 0.05  # of a patch's verdict on skin, where a warped photo is real already
WEIGHT_FLOW, FLOW_BEND = 0.05, 2.0  # of the learned flow against the measured one; px from where the loss is linear
WEIGHT_ROUGH = 0.02  # per px² that fine blocks add to the flow
WEIGHT_HALF = 0.5  # of the same losses at half resolution
WEIGHT_LANDMARK = 16.0  # of the tracker's landmarks, distances in parts of half its crop's side
WEIGHT_EMOTION = 0.25
WEIGHT_TINT = 60.0  # of colour against the geometry's frame in acts: expression changes light, not colour
WEIGHT_AGREE = 10.0  # of what the last block paints in acts against what half resolution, which is read, does
ACT_TRUST = 0.25  # how much the geometry's frame counts where there is no photo of an emotion
SHARES = dict(zip(KINDS, (0.22, 0.20, 0.10, 0.10, 0.03, 0.04, 0.03, 0.28), strict=True))  # of a batch
EMOTIONS = list(BASICS)
SH_ODD = [1, 4, 5]  # harmonics odd in x
POSE_ODD = [1, 2, 3]  # yaw, roll and x change sign in a mirror
MIRROR = [
    EXPRESSION_NAMES.index(n.replace("Left", "#").replace("Right", "Left").replace("#", "Right"))
    for n in EXPRESSION_NAMES
]


class Discriminator(nn.Module):
    """Patch discriminator (16-px stride 8) of an image square and its mouth and eye masks."""

    def __init__(self) -> None:
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
    """Prepared samples of one split, drawn by kind with the shares of `SHARES`; acts can be left out."""

    def __init__(self, cache: Path, validation: bool, acts: bool = True) -> None:
        def kept_back(path: Path) -> bool:
            _, folder, name, *_ = path.name.split(".")
            return folder.startswith("london") and name[:3] in VALIDATION

        found = sorted(p for p in cache.glob("*.npz") if kept_back(p) == validation)
        self.paths = [path for path in found if acts or not path.name.startswith("act.")]
        self.kinds = [p.name.split(".")[0] for p in self.paths]
        share = np.array([SHARES[kind] / self.kinds.count(kind) for kind in self.kinds])
        self.probability = share / share.sum()

    def load(self, number: int, colors: np.ndarray | None = None) -> dict[str, Tensor]:
        """One sample as float tensors; colors as in `unpack`. emotion: its number in `EMOTIONS`, or -1 for a photo."""
        with np.load(self.paths[number]) as file:
            sample = unpack({k: file[k] for k in file.files}, colors)
        acted = self.paths[number].name.split(".")[-2] if self.kinds[number] == "act" else None
        return sample | {"emotion": torch.tensor(EMOTIONS.index(acted) if acted else -1)}

    def of(self, *kinds: str) -> list[int]:
        """Numbers of the samples of these kinds."""
        return [i for i, kind in enumerate(self.kinds) if kind in kinds]

    def real(self) -> list[int]:
        """Numbers of the samples that are two real photos."""
        return self.of("smile", "unsmile")

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
    for key in ("source", "target", "rendered", "eyeballs"):
        pale = torch.lerp(sample[key].mean(0, keepdim=True), sample[key], saturation)
        sample[key] = torch.lerp(pale, sample[key], sample["mouth"]) if key == "rendered" else pale
    return sample


def augment(sample: dict[str, Tensor], rng: np.random.Generator) -> dict[str, Tensor]:
    """Mirror at random and blur the codes."""
    if rng.random() < 0.5:
        for key in (*COLORED, "ratio", "mouth", "own", "face", "eyes", "covered", "source_mouth", "flow", "match"):
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
    usual = batch["flow"].new_tensor(SKIN_HUE).expand(len(batch["flow"]), -1)  # of samples that do not know theirs
    maps = {f.name: batch.get(f.name, usual) for f in dataclasses.fields(Drive)}
    drive = Drive(**maps)
    if keep_geometry:
        return drive
    return dataclasses.replace(drive, flow=torch.zeros_like(drive.flow), ratio=torch.ones_like(drive.ratio))


def generate(
    model: HEF, batch: dict[str, Tensor], corners: list | None = None, **options
) -> tuple[Tensor, dict[str, Tensor]]:
    """HEF on a batch of samples, whole windows or squares, with the geometry's eyes. options: of `HEF.refine`."""
    source = model.encode(batch["source"], batch["source_mouth"], batch["identity"])
    drive = drive_of(batch, model.dims.geometry)
    driven = batch["beta"], batch["pose"], batch.get("sigma")
    image, parts = model.refine(source, drive, *driven, corners, (SQUARE, SQUARE), **options)
    eyes = [batch["eyeballs"], batch["covered"]]
    cut = eyes if corners is None else [region(t, corners, (SQUARE, SQUARE)) for t in eyes]
    image, parts["moved"] = (torch.lerp(t, *cut) for t in (image, parts["moved"]))
    if "half" in parts:
        small = [halved(t) for t in eyes]
        parts |= {key: torch.lerp(parts[key], *small) for key in ("half", "half_moved")}
    return image, parts


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


def tint_loss(image: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Weighted L1 of what colour images have beside their brightness."""
    error = image - target
    return (weight * (error - error.mean(1, keepdim=True)).abs()).mean()


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


def tracked(tracker: FaceTracker, images: Tensor, points: Tensor) -> Tensor:
    """Landmarks [B,478,2] that the tracker finds in the square around `points` [B,478,2] px, in halves of its side."""
    crops = face_square(images, points, tracker.dims.crop, tracker.dims.margin)
    return tracker.landmarker(crops * 2 - 1)[0][..., :2]


def landmark_loss(found: Tensor, wanted: Tensor) -> Tensor:
    """Mean distance of landmarks [B,478,2], of the whole face and of the lips: [B]."""
    gap = (found - wanted).square().sum(-1).add(1e-8).sqrt()
    return (gap[:, :N_SKIN].mean(1) + gap[:, OUTER_LIPS + INNER_LIPS].mean(1)) / 2


def glances(images: Tensor, points: Tensor) -> Tensor:
    """What the emotion reader sees of faces [B,3,h,w]: grey [B,1,64,64] in -1..1.

    Each is a little shifted, scaled, mirrored, relit and blurred at random: what is read must not hang on a few pixels.
    """
    count = len(images)
    side = (points.amax(1) - points.amin(1)).amax(1)[:, None]
    moved = points + (side * images.new_empty(count, 2).uniform_(-0.05, 0.05))[:, None]
    grey = (images * images.new_tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)
    faces = face_square(grey, moved, 64, MARGIN * float(torch.empty(()).uniform_(0.92, 1.1)))
    if torch.rand(()) < 0.5:
        faces = faces.flip(-1)
    if torch.rand(()) < 0.5:
        faces = F.avg_pool2d(F.pad(faces, (1, 1, 1, 1), mode="replicate"), 3, 1)
    gain, shift = (images.new_empty(count, 1, 1, 1).uniform_(*limits) for limits in ((0.8, 1.2), (-0.08, 0.08)))
    return ((faces * gain + shift) * 2 - 1).clamp(-1, 1) + 0.03 * torch.randn_like(faces)


def reading_loss(readings: Tensor, emotion: Tensor) -> Tensor:
    """-log of the probability [B,7] that the wanted emotion [B] (number in `EMOTIONS`) is read: [B].

    Disgust may be read as anger, as a real actor's is. What is read with 0.8 is clear enough.
    """
    index = readings.new_tensor([READINGS.index(name) for name in BASICS.values()]).long()
    found = readings.gather(1, index[emotion][:, None])[:, 0]
    found = found + (emotion == EMOTIONS.index("disgusted")) * 0.5 * readings[:, READINGS.index("angry")]
    return -(found.clamp(1e-4, 0.8) / 0.8).log()


@dataclasses.dataclass
class Options:
    """The task's own table. adversarial: step from which the discriminator's verdict counts. start: folder of weights
    to go on from, "shipped" for those that came with the program, empty for none. cache: folder of the prepared
    samples, which several runs may share; "" for one in the run's own. whole: judge whole faces at half resolution
    too; without, which takes half the time, acts are left out. Variants of Tab. 3: see `HEFDims`."""

    adversarial: int = 300
    start: str = ""
    cache: str = ""
    whole: bool = True
    residual: bool = True
    hierarchy: bool = True
    geometry: bool = True


class HEFTask:
    """HEF, its discriminator and prepared samples, for the Solver."""

    name = "hef"

    def __init__(self, cache: Path, config: Config, teachers: Path | None = None) -> None:
        """cache: samples of `prepare`. teachers: folder of the emotion reader; without it emotions are not judged."""
        self.options = options = build_options(Options, config.task)
        self.training, self.kept = (Pairs(cache, kept, options.whole) for kept in (False, True))
        if not self.training.paths:
            raise InputError(f"{cache} holds no training samples; prepare them first.")
        torch.manual_seed(config.seed)
        dims = HEFDims(residual=options.residual, hierarchy=options.hierarchy, geometry=options.geometry)
        self.model = channels_last(HEF(dims))
        if options.start:
            folder = None if options.start == "shipped" else options.start
            self.model.load_state_dict(checkpoints.load("hef", folder).tensors)
        self.critic = channels_last(Discriminator())
        self.helpers = {"discriminator": self.critic}
        self.tracker = FaceTracker.load().requires_grad_(False)
        self.reader = EmotionReader(teachers) if teachers else None
        self.rate = config.rate
        self._geometry: dict[str, float] = {}

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Adam for both."""
        device = self.model.start.device
        self.tracker.to(device)
        if self.reader is not None:
            self.reader.to(device)
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
        whole = self.options.whole
        image, parts = generate(self.model, batch, corners, split=BLOCKS - 1 if whole else SPLIT + 1)
        batch["lids"] = lids_box(batch["points"], batch["source"].shape[-1])
        with torch.autocast(image.device.type, enabled=False):
            image, parts = image.float(), {key: part.float() for key, part in parts.items()}
            acted = batch["emotion"] >= 0
            trust = torch.where(acted, ACT_TRUST, 1.0)[:, None, None, None]
            # match leads from the geometry's frame to the target, ψ reads the frame: they should cancel out
            coarse, size = parts["coarse"], batch["source"].shape[-1]
            match = F.interpolate(batch["match"], coarse.shape[2:], mode="area")
            known = trust * F.interpolate(batch["face"], coarse.shape[2:], mode="area")
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
            painted = image - parts["moved"]
            # what moves is judged by the photo as it is, what is painted by the photo laid onto it: no reward for blur
            moved, photo = parts["moved"], region(batch["target"], corners, (SQUARE, SQUARE))
            image = image - moved + moved.detach()
            image, target, moved, photo, mouth, eyes, lids, support, hidden = (
                t[inner] for t in (image, target, moved, photo, *cut.values(), parts["support"], parts["hidden"])
            )
            masks = torch.cat([mouth, eyes], 1)
            weight = trust * detail_weight(mouth, lids, support)
            color = trust * F.avg_pool2d(hidden, 8) * F.avg_pool2d(image - target, 8).abs()
            color = HIDDEN_COLOR * (1 + WEIGHT_DETAIL) * color.mean()
            weight = weight * torch.lerp(torch.ones_like(hidden), torch.full_like(hidden, HIDDEN_SHARP), hidden)
            pixel = (weight * (image - target).abs()).mean() + color
            squared = (weight * (image - target).square()).mean()
            shift = WEIGHT_PIXEL * (weight * (moved - photo).abs()).mean()
            shift = shift + WEIGHT_SQUARE * (weight * (moved - photo).square()).mean()
            edge = edge_loss(image, target, weight)
            tint = tint_loss(image, target, acted[:, None, None, None] * support * (1 - hidden))
            structure = (weight * (1 - ssim_map(image, target))).mean()
            loss = WEIGHT_PIXEL * pixel + WEIGHT_SQUARE * squared + WEIGHT_STRUCTURE * structure
            loss = loss + WEIGHT_EDGE * edge + WEIGHT_FLOW * flow + WEIGHT_ROUGH * rough + shift
            loss = loss + WEIGHT_TINT * tint
            scalars = {"pixel": pixel, "squared": squared, "structure": structure, "edge": edge}
            scalars |= {"tint": tint, "shift": shift, "flow": flow, "rough": rough}
            if whole:
                more, judged = self._whole_face(batch, parts, painted, corners)
                loss, scalars = loss + more, scalars | judged
        fake = torch.lerp(target, image, support)
        if step >= self.options.adversarial:
            self.critic.requires_grad_(False)
            answers = self.critic(fake, masks)
            with torch.no_grad():
                truths = self.critic(target, masks)
            feature = sum((trust * (a - b).abs()).mean() for a, b in zip(answers[:-1], truths[:-1], strict=True))
            focus = patch_focus(masks, hidden, answers[-1])
            adversarial = -(answers[-1] * focus).mean()
            loss = loss + WEIGHT_FEATURE * feature + WEIGHT_ADVERSARIAL * adversarial
            scalars |= {"feature": feature, "adversarial": adversarial}
            self.critic.requires_grad_(True)
        yield "hef", loss, scalars
        if step >= self.options.adversarial // 2:
            real, false = self.critic(target, masks)[-1], self.critic(fake.detach(), masks)[-1]
            focus = patch_focus(masks, hidden, real)
            # the drawn frame of an act is no photo
            critic = (focus * (~acted[:, None, None, None] * F.relu(1 - real) + F.relu(1 + false))).mean()
            yield "discriminator", critic, {"critic": critic}

    def _whole_face(
        self, batch: dict[str, Tensor], parts: dict[str, Tensor], painted: Tensor, corners: list[tuple[int, int]]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The face at half resolution: against the photo, its landmarks and the emotion that is read from it.

        painted: what the last block paints in the squares at `corners`; in acts it is to follow half resolution.
        """
        acted = batch["emotion"] >= 0
        trust = torch.where(acted, ACT_TRUST, 1.0)[:, None, None, None]
        image, moved, points = parts["half"], parts["half_moved"], batch["points"] / 2
        size = batch["source"].shape[-1]
        coarse = F.interpolate(parts["coarse"], image.shape[2:], mode="bilinear").detach()
        match = F.interpolate(batch["match"], image.shape[2:], mode="bilinear")
        face, mouth, lids = (F.avg_pool2d(batch[key], 2) for key in ("face", "mouth", "lids"))
        photo = F.avg_pool2d(batch["target"], 2)
        target = warp(photo, (match + coarse) * face, size)
        weight = trust * detail_weight(mouth, lids, face)
        shown = image - moved + moved.detach()
        pixel = (weight * (shown - target).abs()).mean()
        squared = (weight * (shown - target).square()).mean()
        structure = (weight * (1 - ssim_map(shown, target))).mean()
        shift = (weight * (moved - photo).abs()).mean()
        loss = WEIGHT_PIXEL * (pixel + shift) + WEIGHT_SQUARE * squared + WEIGHT_STRUCTURE * structure
        loss = loss + WEIGHT_EDGE * edge_loss(shown, target, weight)
        loss = loss + WEIGHT_TINT * tint_loss(shown, target, acted[:, None, None, None] * face * (1 - mouth))
        image = torch.lerp(photo, image, F.avg_pool2d(batch["face"], 2))
        with torch.no_grad():
            wanted = tracked(self.tracker, photo, points)
        landmark = landmark_loss(tracked(self.tracker, image, points), wanted).mean()
        small = (parts["half"] - parts["half_moved"]).detach()
        small = region(small, [(y // 2, x // 2) for y, x in corners], (SQUARE // 2, SQUARE // 2))
        agree = (acted[:, None, None, None] * (halved(painted) - small).abs())[..., 4:-4, 4:-4].mean()
        loss = WEIGHT_HALF * loss + WEIGHT_LANDMARK * landmark + WEIGHT_AGREE * agree
        scalars = {"half": pixel, "landmark": landmark, "agree": agree}
        if self.reader is not None and bool(acted.any()):
            # teeth are what photos say, whatever a reader would have them be
            unseen = halved((batch["mouth"] - batch["own"]).clamp_min(0))
            seen = torch.lerp(image, image.detach(), unseen)
            readings = self.reader(glances(seen[acted], points[acted]))
            emotion = reading_loss(readings, batch["emotion"][acted])
            loss = loss + WEIGHT_EMOTION * emotion.sum() / len(acted)
            scalars["emotion"] = emotion.mean()
        return loss, scalars

    def validate(self, model: HEF) -> dict[str, float]:
        """On people kept back, as gains over the geometry: PSNR, SSIM, L1 and the tracker's landmarks against real
        photos, by direction and region, and the probability of the wanted emotion where there is a reader.

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
                ratios.append((1 - value) / (1 - own) if key.endswith(("ssim", "read")) else value / own)
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
            found, wanted = (tracked(self.tracker, t, batch["points"]) for t in (image, batch["target"]))
            sums.setdefault(f"{self.kept.kinds[i]}_landmarks", []).append(float(landmark_loss(found, wanted)))
        if self.reader is not None:
            for i in self.kept.of("act"):
                batch = self._one(i, model)
                image = generate(model, batch)[0].clamp(0, 1)
                loss = reading_loss(self.reader.read(image, batch["points"]), batch["emotion"])
                sums.setdefault("act_read", []).append(0.8 * float((-loss).exp()))
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

    def save(self, model: HEF, out: Path, **provenance: Any) -> Path:
        """hef.safetensors."""
        return checkpoints.save("hef", model.state_dict(), model.dims, out, data=DATA_CREDIT, **provenance)


def blank(model: HEF) -> HEF:
    """An untrained HEF of the same dims: what the geometry alone shows."""
    return HEF(model.dims).to(model.start.device)


def build(data: Path, config: Config, work: Path) -> HEFTask:
    """The task on prepared samples, which are made first where they are missing (about an hour on a core)."""
    cache = Path(build_options(Options, config.task).cache or work / "cache")
    prepare(data, cache, config.seed)
    teachers = data / "teachers"
    return HEFTask(cache, config, teachers if (teachers / "fer_mini_xception.npz").exists() else None)
