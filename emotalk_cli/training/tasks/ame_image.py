"""The image tower of the emotion space: faces with known emotions against the frozen text tower.

    python -m emotalk_cli.training.tasks.ame_image --data DATA --out FACES.npz      (renders the faces once)
    emotalk train ame_image --data DATA task.faces=FACES.npz [task.weights=DIR] [task.upstream=NAME/PRETRAINED]

No openly licensed photos carry the eight emotions, so training portraits are given them: the geometry of
`face.motion` moves each to random emotions, strengths, mouths of speech, and poses, and the face tracker measures
the result, as it will at test time. Real photos whose emotion is known (neutral and smiling pairs, neutral sets) and
others with a soft label (blendshape scores, and a FER2013 classifier in training) keep it true to photographs.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from ...constants import BASICS
from ...emotions import atlas, prototypes
from ...emotions.atlas import CLASSES
from ...errors import InputError
from ...face.fit import fit_portrait
from ...face.geometry import FaceMotion
from ...face.model import FaceModel
from ...face.procrustes import nearest_rotation
from ...face.topology import EXPRESSION_NAMES, INDEX, N_RESIDUAL
from ...face.tracker import FaceTracker
from ...models import upstream
from ...models.behaviour import MEANING, SHOWN, Layout
from ...models.emotion_space import AME
from ...models.image_tower import MARGIN, ImageDims, ImageTower, face_crop
from ...models.text_tower import SPACE
from ...motion.life import eyes, posture
from ...numeric import silence
from ..config import Config
from ..config import build as build_options
from ..data import arrays
from ..data.faces import load_faces

SIDE = 112  # px of a stored crop; the tower sees random parts of it, `ImageDims.side` px
VISEMES = {"jawOpen": 0.45, "mouthFunnel": 0.5, "mouthPucker": 0.5, "mouthLowerDown": 0.3, "mouthUpperUp": 0.2}
SMILE = [INDEX["mouthSmileLeft"], INDEX["mouthSmileRight"]]
RIDGE = 0.1  # penalty of the regression that training starts from, a face
PORTRAITS, VARIANTS = 330, 10  # people that are rendered, and emotions of each
KEPT_BACK = 0.1  # share of people to validate on


@dataclasses.dataclass(frozen=True)
class Options:
    """faces: what this module's command wrote, "" to write it into the run's folder first, which takes hours. weights:
    folder of the text tower. upstream: an open_clip model instead.

    real: share of real photos in a batch.
    """

    faces: str = ""
    weights: str = ""
    upstream: str = ""
    real: float = 0.35


# --- faces with known emotions ------------------------------------------------------------------------------------


def random_emotion(rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """Weights over the atlas [S] (one state, a basic one more often, or two mixed) and the strength, 0 for neutral."""
    weights = np.zeros(len(atlas.states()), np.float32)
    chance = rng.random()
    if chance < 0.4:
        weights[rng.integers(len(BASICS))] = 1
    elif chance < 0.8:
        weights[rng.integers(len(weights))] = 1
    else:
        one, two = rng.choice(np.arange(1, len(weights)), 2, replace=False)
        weights[one] = rng.uniform(0.3, 0.7)
        weights[two] = 1 - weights[one]
    return weights, 0.0 if weights[0] == 1 else float(rng.uniform(0.35, 1.15))


def random_face(weights: np.ndarray, strength: float, talking: bool, rng: np.random.Generator) -> Tensor:
    """β [64] of a feeling as one person or another shows it, on either side, perhaps in mid-speech."""
    behaviour = atlas.mixed(torch.from_numpy(weights)[None])[0] * strength
    beta = F.pad(behaviour[: len(atlas.FACE)], (0, N_RESIDUAL))
    if rng.random() < 0.5:
        beta = atlas.swapped(beta)
    beta = beta * torch.from_numpy(rng.uniform(0.75, 1.25, len(beta)).astype(np.float32))
    uneven = rng.normal(0, 0.08)
    for i, name in enumerate(EXPRESSION_NAMES):
        beta[i] *= 1 + uneven if name.endswith("Left") else 1 - uneven if name.endswith("Right") else 1
    if talking:
        beta = beta * prototypes.speech_mask()
        openness = rng.random()
        for name, most in VISEMES.items():
            share = rng.random() ** 3 if name in ("mouthFunnel", "mouthPucker") else openness * rng.random()
            beta[prototypes.components(name)] += most * share
    beta[prototypes.components("eyeBlink")] += max(0.0, rng.normal(0, 0.06))
    gaze = posture(behaviour.numpy())[1] * rng.uniform(0, 1.2) + rng.normal(0, 0.05, 2)
    beta += torch.from_numpy(eyes(np.zeros(1), gaze[None])[0])
    return beta.clamp(0, 1.3)


def render(data: Path, out: Path, portraits: int, variants: int, seed: int = 0) -> None:
    """Write the training faces: every real photo, and `variants` emotions of `portraits` of them.

    Arrays: crop uint8 [N,112,112,3], points [N,478,3] px of the face as the tracker finds it, scores [N,51], weights
    [N,S] over the atlas and strength [N] (0 for real photos), beta [N,64], person, real. Names of the test split are
    not used.
    """
    rng = np.random.default_rng(seed)
    model, tracker, faces = FaceModel.load(), FaceTracker.load(), load_faces(data, False, 640)
    rows: dict[str, list] = {name: [] for name in "crop points scores weights strength beta person real".split()}

    def add(
        pixels: np.ndarray, person: str, weights: np.ndarray, strength: float, beta: np.ndarray, real: bool
    ) -> None:
        found = tracker(pixels)
        if found:
            crop = face_crop(pixels, found[0].landmarks, SIDE, MARGIN * SIDE / ImageDims.side)
            picture = ((crop[0] + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
            row = (picture, found[0].landmarks, found[0].blendshapes, weights, strength, beta, person, real)
            for name, value in zip(rows, row, strict=True):
                rows[name].append(value)

    begin = time.monotonic()
    for number, i in enumerate(rng.permutation(len(faces))):
        face = faces[i]
        add(face.image, face.name, np.zeros(len(atlas.states()), np.float32), 0.0, np.zeros(64, np.float32), True)
        if number >= portraits:
            continue
        fit = fit_portrait(model, face.image, face.landmarks)
        seen = torch.from_numpy(face.blendshapes[SMILE])
        fit.beta[SMILE] = torch.maximum(fit.beta[SMILE], (fit.beta[SMILE] + seen) / 2)
        motion = FaceMotion(model, fit)
        for _ in range(variants):
            weights, strength = random_emotion(rng)
            beta = random_face(weights, strength, rng.random() < 0.45, rng)
            pose = torch.from_numpy(rng.normal(0, [0.06, 0.12, 0.05, 0, 0, 0]).astype(np.float32))
            picture = motion.frame(beta[None], pose[None]).composite()[0].permute(1, 2, 0)
            pixels = (picture.clamp(0, 1) * 255).round().byte().numpy()
            add(pixels, face.name, weights, strength, beta.numpy(), False)
        if number % 20 == 19:
            print(f"{number + 1} portraits, {len(rows['crop'])} faces, {time.monotonic() - begin:.0f} s", flush=True)
    arrays.save(out, {name: np.array(values) for name, values in rows.items()})


# --- training -----------------------------------------------------------------------------------------------------


def stated(weights: Tensor, strength: Tensor) -> Tensor:
    """[N,L] over the states and "unrelated": a face of strength 1 is all its feeling, a weak one partly neutral."""
    share = (strength / 0.75).clamp(0, 1)[:, None]
    w = weights * share
    w[:, 0] += 1 - w.sum(1)
    return F.pad(w, (0, 1))


def photographed(names: list[str], scores: Tensor, read: Tensor | None) -> tuple[Tensor, Tensor]:
    """Labels [N,9] of real photos and how far to trust them [N].

    Pairs and neutral sets by what they are; others by the smile that the tracker sees, mixed with a classifier's
    reading [N,7] (`metrics.emotion.READINGS`) where there is one.
    """
    labels, trust = torch.zeros(len(names), len(CLASSES)), torch.full((len(names),), 0.5)
    order = [CLASSES.index(n) for n in ("angry", "disgusted", "fearful", "happy", "sad", "surprised", "neutral")]
    for i, name in enumerate(names):
        smile = float(scores[i, SMILE].mean())
        if name.startswith("london_smiling"):
            labels[i, 1], labels[i, 0], trust[i] = 0.9, 0.1, 1.0
        elif name.startswith(("london_neutral", "canada", "lisa", "zoom")):
            labels[i, 0], trust[i] = 1.0, 1.0
        else:
            happy = min(1.0, max(0.0, (smile - 0.1) / 0.5))
            labels[i, 1], labels[i, 0] = happy, 1 - happy
            if read is not None:
                labels[i] *= 0.6
                labels[i, order] += 0.4 * read[i]
    return labels, trust


def embedded(w: Tensor, ame: AME) -> Tensor:
    """z [N,512] of weights [N,L]: in our own space exactly, in another the average of the classes' directions."""
    p = torch.cat([w[:, :-1] @ atlas.basics()[:, :-1], w[:, -1:]], 1)
    if ame.anchors is not None:
        return F.normalize(p @ ame.anchors, dim=1)
    names = F.normalize(ame.text([*atlas.states(), "an object"])[:, MEANING], dim=1)
    meaning = F.normalize(w @ names, dim=1)
    return F.normalize(Layout.shipped().compose(p, atlas.mixed(w[:, :-1]), meaning), dim=1)


class ImageTask:
    """Trains an `ImageTower` on the faces of `render`."""

    name = ImageTower.name

    def __init__(self, faces: dict[str, np.ndarray], ame: AME, read: Tensor | None, config: Config) -> None:
        """read: a classifier's reading [real photos,7]; None without one."""
        self.options, self.config = build_options(Options, config.task), config
        real = torch.from_numpy(faces["real"])
        scores = torch.from_numpy(faces["scores"]).float()
        w = stated(torch.from_numpy(faces["weights"]), torch.from_numpy(faces["strength"]).float())
        trust = torch.ones(len(w))
        labels, trust[real] = photographed(faces["person"][faces["real"]].tolist(), scores[real], read)
        w[real] = torch.cat([F.pad(labels[:, :-1], (0, w.shape[1] - len(CLASSES))), labels[:, -1:]], 1)
        self.crops, self.trust = torch.from_numpy(faces["crop"]), trust
        self.p = torch.cat([w[:, :-1] @ atlas.basics()[:, :-1], w[:, -1:]], 1)
        self.z = embedded(w, ame)
        self.model = ImageTower(ImageDims(output=self.z.shape[1], space=ame.space))
        points = torch.from_numpy(faces["points"]).float()
        with torch.no_grad():
            self.model.mean.copy_(mean_face(points[:, self.model.index]))
            self.features = self.model.features(points, scores)
        people = np.array(
            [name.split("/")[-1].split("_")[0] if name.startswith("london") else name for name in faces["person"]]
        )
        left = np.random.default_rng(0).permutation(np.unique(people))
        left = np.isin(people, left[: round(KEPT_BACK * len(left))])
        self.left = torch.from_numpy(np.flatnonzero(left))
        self.drawn = torch.from_numpy(np.flatnonzero(~left & ~faces["real"]))
        self.real = torch.from_numpy(np.flatnonzero(~left & faces["real"]))
        self.helpers: dict[str, nn.Module] = {}
        self._regress()

    @torch.no_grad()
    def _regress(self) -> None:
        """Start at the ridge regression of z on the features; pixels and the rest learn what it leaves."""
        rows = torch.cat([self.drawn, self.real])
        x, z, weight = self.features[rows], self.z[rows], self.trust[rows, None]
        standard, direct, last = self.model.standard, self.model.direct, self.model.shape[-1]
        assert standard.running_mean is not None and standard.running_var is not None
        standard.running_mean.copy_(x.mean(0))
        standard.running_var.copy_(x.var(0))
        x = standard.eval()(x).clamp(-5, 5)
        mean = (z * weight).sum(0) / weight.sum()
        gram = x.T @ (x * weight) + RIDGE * len(x) * torch.eye(x.shape[1])
        direct.weight.copy_(torch.linalg.solve(gram, x.T @ ((z - mean) * weight)).T)
        direct.bias.copy_(mean)
        self.model.visual.proj.zero_()
        silence(last)

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return {"adamw": torch.optim.AdamW(self.model.parameters(), self.config.rate, weight_decay=0.05)}

    def batch(self, rng: np.random.Generator, size: int) -> dict[str, Tensor]:
        """crops [B,3,96,96] in -1..1, features, targets z [B,512] and p [B,9], trust [B]."""
        rows = torch.where(
            torch.from_numpy(rng.random(size) < self.options.real),
            self.real[rng.integers(len(self.real), size=size)],
            self.drawn[rng.integers(len(self.drawn), size=size)],
        )
        features = self.features[rows]
        noise = torch.from_numpy(rng.standard_normal(features.shape, dtype=np.float32))
        features = features + 0.1 * noise * self.features.std(0)
        crops = varied(self.crops[rows], self.model.dims.side, rng)
        return {"crop": crops, "features": features, "z": self.z[rows], "p": self.p[rows], "trust": self.trust[rows]}

    def losses(self, batch: dict[str, Tensor], step: int, total: int) -> Iterator[tuple[str, Tensor, dict]]:
        """Cosine to the target; in our own space also the cross-entropy of the emotion weights."""
        z, trust = self.model(batch["crop"], batch["features"]), batch["trust"] / batch["trust"].mean()
        cosine = (trust * (1 - (z * batch["z"]).sum(1))).mean()
        loss, scalars = cosine, {"cosine": cosine}
        if self.model.dims.space == SPACE:
            code = (z - batch["z"])[:, len(CLASSES) : MEANING.start].square().sum(1)
            loss = loss + (trust * code).mean() / SHOWN
            q = (z[:, : len(CLASSES)].clamp(min=0) + 0.01).square()
            named = -(trust[:, None] * batch["p"] * (q / q.sum(1, keepdim=True)).log()).sum(1).mean()
            loss, scalars = loss + 0.3 * named, scalars | {"named": named}
        yield "adamw", loss, scalars

    @torch.no_grad()
    def validate(self, model: ImageTower) -> dict[str, float]:
        """Cosine to the targets on people kept back, and how often the strongest class is right."""
        rows = self.left
        border = (SIDE - model.dims.side) // 2
        crops = self.crops[rows].permute(0, 3, 1, 2)[:, :, border:-border, border:-border].float() / 127.5 - 1
        device = model.mean.device
        z = model.eval()(crops.to(device), self.features[rows].to(device)).cpu()
        right = z[:, : len(BASICS)].argmax(1) == self.p[rows, : len(BASICS)].argmax(1)
        result = {"score": float(1 - (z * self.z[rows]).sum(1).mean()), "right": float(right.float().mean())}
        return result if model.dims.space == SPACE else {"score": result["score"]}

    def samples(self, model: nn.Module) -> np.ndarray:
        """A sheet of training faces."""
        rows = self.drawn[:: max(1, len(self.drawn) // 24)][:24]
        return torch.cat([torch.cat(list(row), 1) for row in self.crops[rows].split(8)], 0).numpy()

    def save(self, model: ImageTower, out: Path, **provenance: Any) -> Path:
        data = "portraits of the training split (London, Canada sets CC BY 4.0; SFHQ MIT; lisa, zoom CC0), animated"
        return model.save(out, data=data, **provenance)


def mean_face(points: Tensor) -> Tensor:
    """[M,3]: the mean of points [N,M,3] laid on each other rigidly, size 1."""
    points = points - points.mean(1, keepdim=True)
    points = points / points.square().sum((1, 2), keepdim=True).sqrt()
    mean = points[0]
    for _ in range(3):
        mean = (points @ nearest_rotation(points.mT @ mean)[0]).mean(0)
        mean = mean / mean.norm()
    return mean


def varied(crops: Tensor, side: int, rng: np.random.Generator) -> Tensor:
    """uint8 [B,S,S,3] -> [B,3,side,side] in -1..1 of other light, sharpness and framing, half of them mirrored.

    The features are not mirrored along: a mirrored face means the same, and the two inputs are then less alike.
    """
    size = len(crops)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return torch.from_numpy(rng.uniform(low, high, (size, *shape)).astype(np.float32))

    x = crops.permute(0, 3, 1, 2).float() / 255
    zoom = uniform(0.94, 1.06) * side / crops.shape[1]
    turn = uniform(-0.12, 0.12)
    mirror = torch.from_numpy(np.where(rng.random(size) < 0.5, -1, 1).astype(np.float32))
    matrix = torch.zeros(size, 2, 3)
    matrix[:, 0, 0], matrix[:, 0, 1] = zoom * turn.cos() * mirror, -zoom * turn.sin()
    matrix[:, 1, 0], matrix[:, 1, 1] = zoom * turn.sin() * mirror, zoom * turn.cos()
    matrix[:, :, 2] = uniform(-0.05, 0.05, 2)
    x = F.grid_sample(x, F.affine_grid(matrix, [size, 3, side, side], align_corners=False), align_corners=False)
    blurred = F.avg_pool2d(F.pad(x, (2, 2, 2, 2), mode="replicate"), 5, 1)
    x = x + uniform(-0.4, 1, 1, 1, 1).clamp(min=0) * (blurred - x)
    grey = x.mean(1, keepdim=True)
    x = grey + (x - grey) * uniform(0, 1.3, 1, 1, 1)
    ramp = torch.linspace(-1, 1, side)
    light = uniform(-0.25, 0.25, 1, 1, 1) * ramp + uniform(-0.25, 0.25, 1, 1, 1) * ramp[:, None]
    x = (x.clamp(1e-3, 1) ** uniform(0.6, 1.6, 1, 1, 1)) * uniform(0.7, 1.2, 3, 1, 1) * (1 + light)
    noise = torch.from_numpy(rng.standard_normal(tuple(x.shape), dtype=np.float32))
    return (x + uniform(0, 0.04, 1, 1, 1) * noise).clamp(0, 1) * 2 - 1


def load(path: Path) -> dict[str, np.ndarray]:
    """What `render` wrote. Raises InputError without it."""
    if not path.is_file():
        raise InputError(f"{path} does not exist; make it with python -m emotalk_cli.training.ame_image.")
    with np.load(path) as file:
        return {name: file[name] for name in file.files}


@torch.no_grad()
def class_faces(path: Path, ame: AME, words: list[str], count: int = 60) -> Tensor:
    """[K,count,512]: what the image tower says of training faces nearest to each of K words, for L_clip."""
    faces = load(path)
    tower = ame.image_tower
    assert tower is not None, "a space of our own with pictures"
    border = (SIDE - tower.dims.side) // 2
    strong = np.flatnonzero(~faces["real"] & ((faces["strength"] > 0.6) | (faces["weights"][:, 0] == 1)))
    crops = torch.from_numpy(faces["crop"][strong]).permute(0, 3, 1, 2)[:, :, border:-border, border:-border]
    features = tower.features(*(torch.from_numpy(faces[n][strong]).float() for n in ("points", "scores")))
    z = torch.cat([tower(c.float() / 127.5 - 1, f) for c, f in zip(crops.split(256), features.split(256), strict=True)])
    near = (ame.text(words) @ z.T).topk(count, dim=1).indices
    return z[near]


def build(data: Path, config: Config, work: Path) -> ImageTask:
    """For `emotalk train ame_image`."""
    options = build_options(Options, config.task)
    ame = upstream.load(options.upstream) if options.upstream else AME.load(options.weights or None)
    stored = Path(options.faces) if options.faces else work / "faces.npz"
    if not options.faces and not stored.exists():
        work.mkdir(parents=True, exist_ok=True)
        render(data, stored, PORTRAITS, VARIANTS, config.seed)
    faces = load(stored)
    read = None
    if (data / "teachers" / "fer_mini_xception.npz").is_file():
        from ...evaluation.emotion import EmotionReader

        reader, photos = EmotionReader(data / "teachers").eval(), faces["crop"][faces["real"]]
        grey = [np.asarray(Image.fromarray(photo).convert("L").resize((64, 64))) for photo in photos]
        with torch.no_grad():
            read = reader(torch.tensor(np.stack(grey))[:, None].float() / 127.5 - 1)
    return ImageTask(faces, ame, read, config)


def main() -> None:
    parser = argparse.ArgumentParser(description="Render the faces that the image tower learns from.")
    parser.add_argument("--data", type=Path, required=True, help="the data pack")
    parser.add_argument("--out", type=Path, required=True, help="FACES.npz")
    parser.add_argument("--portraits", type=int, default=PORTRAITS)
    parser.add_argument("--variants", type=int, default=VARIANTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    render(options.data, options.out, options.portraits, options.variants)


if __name__ == "__main__":
    main()
