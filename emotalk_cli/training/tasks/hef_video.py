"""HEF from filmed faces (Sec. 3.4): prepared clips, the losses of eq. 11.

The driving face is a random frame of a clip; the source is a frame of the same person, from a clip of another emotion
where there is one. The style code is eq. 7's: α, δ and γ of the source, and of the driving face β̂ and σ̂, which the
frozen EAC makes of the clip's sound, label and intensity, and the head's pose relative to the source. I^rd and the flow
come from β̂ too, as they do when a face is generated; of the tracked β only what no voice can say: gaze and blinks.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ...constants import CROP_SIZE
from ...emotions.prototypes import COMPONENTS
from ...errors import InputError, UsageError
from ...face.fit import PortraitFit
from ...face.geometry import FaceMotion, still
from ...face.model import FaceModel, rotation_matrix, rotation_vector
from ...media import audio
from ...models import checkpoints, spaces
from ...models.eac import EAC
from ...models.hef import HEF, HEFDims, region
from ...numeric import channels_last
from .. import config as configs
from ..config import Config
from ..data import shards
from ..data.hef_pairs import STABLE, LandmarkMotion, Photo, aligned, pack, unpack
from ..data.shards import Shard
from .hef import SQUARE, Discriminator, augment, blank, edge_loss, generate, recolored, square

DRIVES = ("eac", "tracked")
PERCEPTUAL = ("builtin", "lpips")
TRIES, TURN = 8, 0.2  # source frames that are tried for one whose head turns by less than so many rad: a still picture
# can follow no more
TESTS = 4  # moments to validate with
KEPT = 2000  # clips whose β̂ and σ̂ are kept
UNHEARD = torch.tensor([name.startswith(("eyeBlink", "eyeLook")) for name in COMPONENTS])


@dataclasses.dataclass
class Options:
    """Losses of eq. 11 by their weights.

    drive: eac, or tracked: β and I^rd from the driving face's own landmarks, σ̂ zero, the pose still. eac: folder of the
    EAC that is run, "" for the one in the run's folder, else the shipped one. network: of L_p; builtin, image edges at
    three scales and the discriminator's features; lpips, VGG features (Zhang et al. 2018; torchvision downloads VGG
    once). squares: train the fine blocks on squares of the face, which is faster. warm: steps before the
    discriminator's verdict counts. start: "" from scratch, "shipped", or a folder of weights to go on from. Variants
    of Tab. 3: see `HEFDims`.
    """

    drive: str = "eac"
    eac: str = ""
    rec: float = 5.0
    perceptual: float = 5.0
    adversarial: float = 1.0
    network: str = "builtin"
    squares: bool = True
    warm: int = 0
    start: str = ""
    residual: bool = True
    hierarchy: bool = True
    geometry: bool = True


class VideoHEF:
    """HEF on prepared clips, as a `solver.Task`."""

    name = "hef"

    def __init__(self, data: Path, config: Config) -> None:
        self.options = options = configs.build(Options, config.task)
        if options.network not in PERCEPTUAL:
            raise UsageError(f"task.network={options.network} is unknown; choose one of {', '.join(PERCEPTUAL)}.")
        if options.drive not in DRIVES:
            raise UsageError(f"task.drive={options.drive} is unknown; choose one of {', '.join(DRIVES)}.")
        self.rate, self.data, self.face = config.rate, data, FaceModel.load()
        self.speaker = Speaker(options.eac or None) if options.drive == "eac" else None
        variant = {name: getattr(options, name) for name in ("residual", "hierarchy", "geometry")}
        sigma = self.speaker.eac.dims.width if self.speaker is not None else HEFDims.sigma
        self.model = HEF(HEFDims(sigma=sigma, **variant))
        if options.start:
            checkpoints.load("hef", None if options.start == "shipped" else options.start).fill(self.model)
        elif self.speaker is not None:  # here p_d and σ̂ say something from the start
            torch.nn.init.normal_(self.model.style.weight, std=0.05)
        channels_last(self.model)
        self.critic = channels_last(Discriminator())
        self.helpers = {"discriminator": self.critic}
        self.layout = HEF(self.model.dims)  # knows the window that samples are cut to
        self.silent = np.zeros(self.model.dims.sigma, np.float32)
        self.clips = self._clips("train")
        self.people: dict[str, list[int]] = {}
        for number, clip in enumerate(self.clips):
            self.people.setdefault(clip.labels.subject, []).append(number)
        self.lpips = _lpips() if options.network == "lpips" else None

    def _clips(self, split: str) -> list[Shard]:
        clips = [Shard(path) for path in shards.listing(self.data, split)]
        if clips[0].size != CROP_SIZE:
            raise InputError(f"{self.data} holds clips of {clips[0].size} px; prepare them with --size {CROP_SIZE}.")
        return clips

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Adam for both, with the momenta of StyleGAN2."""
        if self.lpips is not None:
            self.lpips.to(next(self.model.parameters()).device)
        return {
            name: torch.optim.Adam(module.parameters(), self.rate, betas=(0.0, 0.99))
            for name, module in (("hef", self.model), ("discriminator", self.critic))
        }

    def batch(self, rng: np.random.Generator, size: int) -> dict[str, Tensor]:
        """Pairs of moments, mirrored and recoloured at random, with `corners` of a square of each."""
        rows = []
        for _ in range(size):
            sample = unpack(self._sample(self.clips[rng.integers(len(self.clips))], rng), recolored(rng))
            sample = augment(sample, rng)
            sample["corners"] = square(sample, "talk", rng)
            rows.append(sample)
        return {key: torch.stack([row[key] for row in rows]) for key in rows[0]}

    @torch.no_grad()
    def _sample(self, clip: Shard, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """A driving frame of the clip, and a source frame of the same person, as `hef_pairs.pack` has them, and σ̂."""
        others = [self.clips[i] for i in self.people.get(clip.labels.subject, [])]
        different = [c for c in others if c.labels.emotion != clip.labels.emotion]
        others = different or others or [clip]
        source = others[rng.integers(len(others))]
        driven = int(rng.integers(len(clip)))
        if self.speaker is None:
            portrait = portrait_of(source, int(rng.integers(len(source))))
            picture = clip.frame(driven).permute(1, 2, 0).contiguous().numpy()
            photo = Photo(f"{clip.labels.subject}/{clip.labels.name}", picture, clip["landmarks"][driven].numpy())
            image, points = aligned(portrait, photo)
            beta = clip["beta"][driven]
            geometry = LandmarkMotion(self.face, portrait, points).frame(beta[None], still(1))
            return pack(self.layout, portrait, geometry, image, points, beta) | {"sigma": self.silent}
        tries = [int(rng.integers(len(source))) for _ in range(TRIES)]  # a still picture follows a head only so far
        turned = turns(source["pose"][tries], clip["pose"][driven].expand(TRIES, -1)).abs().amax(1)
        number = tries[int(turned.argmin()) if turned[0] > TURN else 0]
        portrait = portrait_of(source, number)
        beta, sigma = (part[driven] for part in self.speaker(clip))
        beta = torch.where(UNHEARD, clip["beta"][driven], beta)
        motion, points = FaceMotion(self.face, portrait), clip["landmarks"][driven]
        pose = relative_pose(motion, source["pose"][number], clip["pose"][driven], points)
        geometry, image = motion.frame(beta[None], pose[None]), clip.frame(driven).float() / 255
        packed = pack(self.layout, portrait, geometry, image, points, beta, pose)
        return packed | {"sigma": sigma.numpy()}

    def losses(self, batch: dict[str, Tensor], step: int, total: int) -> Iterator[tuple[str, Tensor, dict]]:
        """L_rec, L_p and L_adv (hinge); then the discriminator's loss."""
        options = self.options
        corners = [tuple(c) for c in batch["corners"].tolist()] if options.squares else None
        image, parts = generate(self.model, batch, corners)
        target, masks = batch["target"], torch.cat([batch["mouth"], batch["eyes"]], 1)
        support = parts["support"].float()
        if corners is not None:
            target, masks = (region(t, corners, (SQUARE, SQUARE)) for t in (target, masks))
        with torch.autocast(image.device.type, enabled=False):
            image = torch.lerp(target, image.float(), support)  # elsewhere the source stays, whatever the driving face
            rec = (image - target).abs().mean()
            self.critic.requires_grad_(False)
            answers = self.critic(image, masks)
            perceptual = self._perceptual(image, target, masks, answers)
            adversarial = -answers[-1].mean()
            self.critic.requires_grad_(True)
            judged = options.adversarial if step >= options.warm else 0.0
            loss = options.rec * rec + options.perceptual * perceptual + judged * adversarial
        yield "hef", loss, {"loss": loss, "rec": rec, "perceptual": perceptual, "adversarial": adversarial}
        with torch.autocast(image.device.type, enabled=False):
            real, false = self.critic(target, masks)[-1], self.critic(image.detach(), masks)[-1]
            critic = (F.relu(1 - real) + F.relu(1 + false)).mean()
        yield "discriminator", critic, {"critic": critic}

    def _perceptual(self, image: Tensor, target: Tensor, masks: Tensor, answers: list[Tensor]) -> Tensor:
        if self.lpips is not None:
            return self.lpips(image.clamp(0, 1), target).mean()
        with torch.no_grad():
            truths = self.critic(target, masks)
        features = sum(F.l1_loss(a, b) for a, b in zip(answers[:-1], truths[:-1], strict=True))
        return edge_loss(image, target, torch.ones_like(image[:, :1])) + 0.1 * features

    @functools.cached_property
    def tests(self) -> list[dict[str, Tensor]]:
        """The same few moments each time: of the test clips, or of training clips where there are none."""
        try:
            clips = self._clips("test")
        except InputError:
            clips = self.clips
        rng = np.random.default_rng(0)
        return [unpack(self._sample(clips[i % len(clips)], rng)) for i in range(TESTS)]

    @torch.no_grad()
    def validate(self, model: HEF) -> dict[str, float]:
        """PSNR inside the face of test moments, and of the geometry alone."""
        found: dict[str, list[float]] = {"psnr": [], "geometry_psnr": []}
        for sample in self.tests:
            batch = {key: value[None].to(model.start.device) for key, value in sample.items()}
            for name, network in (("psnr", model), ("geometry_psnr", blank(model))):
                error = (generate(network, batch)[0] - batch["target"]).square()
                face = batch["face"].expand_as(error)
                found[name].append(-10 * float(((error * face).sum() / face.sum()).log10()))
        return {name: float(np.mean(values)) for name, values in found.items()}

    @torch.no_grad()
    def samples(self, model: HEF) -> np.ndarray:
        """Rows of source, geometry, HEF and driving face."""
        rows = []
        for sample in self.tests:
            batch = {key: value[None].to(model.start.device) for key, value in sample.items()}
            images = [generate(network, batch)[0] for network in (blank(model), model)]
            row = torch.cat([batch["source"], *images, batch["target"]], 3)[0]
            rows.append((row.clamp(0, 1) * 255).byte().permute(1, 2, 0).cpu().numpy())
        return np.concatenate(rows)

    def save(self, model: HEF, out: Path, **provenance: Any) -> Path:
        """Write `hef.safetensors`."""
        data = f"{len(self.clips)} prepared clips of {len(self.people)} subjects in {self.data}"
        return checkpoints.save("hef", model.state_dict(), model.dims, out, data=data, **provenance)


class Speaker:
    """The frozen EAC, and what it makes of clips; the last few are kept."""

    def __init__(self, weights: str | None) -> None:
        """weights: folder of EAC and of its emotion space, None for the shipped ones."""
        self.eac = EAC.load(weights).requires_grad_(False)
        self.space = spaces.load(self.eac.dims.space, weights)
        self._felt: dict[str, Tensor] = {}
        self._said: OrderedDict[str, tuple[Tensor, Tensor]] = OrderedDict()

    def __call__(self, clip: Shard) -> tuple[Tensor, Tensor]:
        """β̂ [T,64] and σ̂ [T,width] of a clip's sound, its label as text and its intensity, on the CPU."""
        name, emotion = clip.labels.name, clip.labels.emotion
        if name not in self._said:
            if emotion not in self._felt:
                self._felt[emotion] = self.space.text([emotion])[0]
            wave = clip.sound()
            mel = audio.relative(audio.log_mel(wave), audio.level(wave))
            said = self.eac.predict(mel, self._felt[emotion], clip.labels.intensity)
            self._said[name] = said[0].clone(), said[1].clone()
            while len(self._said) > KEPT:
                self._said.popitem(last=False)
        return self._said[name]


def turns(source: Tensor, driving: Tensor) -> Tensor:
    """Rotation vectors [n,3] rad (camera space) from n source poses [n,6] (`Pose.vector`) to driving ones [n,6]."""
    return rotation_vector(rotation_matrix(driving[:, :3]) @ rotation_matrix(source[:, :3]).mT)


def relative_pose(motion: FaceMotion, source: Tensor, driving: Tensor, landmarks: Tensor) -> Tensor:
    """p_d [6] that lays the portrait of `motion` on a driving face: their poses [6], the latter's landmarks [478,3]."""
    scale = (driving - source)[5:]
    pose = torch.cat([turns(source[None], driving[None])[0], torch.zeros(2), scale])
    moved = motion.head.rigid(motion.points[None], pose[None])[0]
    pose[3:5] = (landmarks[STABLE, :2] - moved[STABLE, :2]).mean(0) / CROP_SIZE
    return pose


def portrait_of(clip: Shard, number: int) -> PortraitFit:
    """A frame of a clip as a fitted source face."""
    image = clip.frame(number)
    vector = clip["pose"][number][None]
    whole = np.array([[1.0, 0, 0], [0, 1.0, 0]])
    fitted = (clip["alpha"], clip["beta"][number], clip["delta"], clip["gamma"])
    points, pose = clip["landmarks"][number], shards.to_pose(vector, clip.size)
    return PortraitFit(image.float() / 255, points, *fitted, pose, whole, image.permute(1, 2, 0).contiguous().numpy())


def _lpips() -> torch.nn.Module:
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

    try:
        return LearnedPerceptualImagePatchSimilarity("vgg", normalize=True).requires_grad_(False)
    except (OSError, RuntimeError) as error:
        raise InputError("task.network=lpips needs VGG's weights, which torchvision downloads once.") from error


def build(data: Path, config: Config, work: Path) -> VideoHEF:
    """What `emotalk train hef` trains on prepared clips, driven by the EAC in the same folder if there is one."""
    config = copy.deepcopy(config)
    if not config.task.get("eac") and (work.parent / "eac.safetensors").exists():
        checkpoints.complete(work.parent)
        config.task["eac"] = str(work.parent)
    return VideoHEF(data, config)
