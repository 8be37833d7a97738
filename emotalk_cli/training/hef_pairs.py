"""Training pairs for HEF: a source, the geometry that drives it, and a real photo as the target.

Real pairs: one person neutral and smiling, both ways. Talk: two moments of one GRID clip, lips shut and open, because
smiles show teeth and speech shows the dark between them. Back-translation: the source is the photo warped by the
geometry to another expression and the driven geometry is the way back, so every target is a real photo. Geometry is
driven by the target's own landmarks, so that it lies where the target's face lies.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..emotions import PROTOTYPES
from ..face.fit import CROP_SIZE, Portrait, align, expression_ridge, fit_portrait
from ..face.model import EXPRESSION_NAMES, INDEX, OUTER_EYE_CORNERS, FaceModel
from ..face.motion import FaceMotion, Geometry, still
from ..hef import HEF

NEUTRAL, SMILING = "london_neutral", "london_smiling"
STABLE = [33, 133, 362, 263, 168, 6, 197, 195, 5, 4, 10, 109, 338, 127, 356]  # hardly moved by expression
OPEN = 0.03  # inner-lip gap / distance of the outer eye corners from which a mouth shows an inside
COLORED = ("source", "target", "rendered", "interior")
RATIO_LOW, RATIO_SPAN = 0.45, 1.35
MOUTH_NAMES = [n for n in EXPRESSION_NAMES if n.startswith(("mouth", "jaw")) and "Smile" not in n]
VARIANTS_OPEN, VARIANTS_SHUT = 2, 1
TALK_FRAMES = 5  # open-mouthed moments taken from a clip
SPREAD = 0.8  # cm over which a tracked point corrects its untracked neighbours


class LandmarkMotion(FaceMotion):
    """Geometry that moves a portrait onto given landmarks instead of by expression coefficients."""

    def __init__(self, model: FaceModel, portrait: Portrait, landmarks: Tensor):
        """landmarks: [478,3] px of the portrait's crop."""
        super().__init__(model, portrait)
        self.target = landmarks

    def _expressed(self, beta: Tensor) -> Tensor:
        return self.target.expand(len(beta), -1, -1)


@dataclasses.dataclass
class Photo:
    """A labelled photo: name, uint8 [H,W,3], landmarks [478,3] px."""

    name: str
    image: np.ndarray
    landmarks: np.ndarray

    @property
    def opening(self) -> float:
        """Inner-lip gap as a part of the distance between the outer eye corners."""
        a, b = OUTER_EYE_CORNERS
        gap = np.linalg.norm(self.landmarks[13, :2] - self.landmarks[14, :2])
        return float(gap / np.linalg.norm(self.landmarks[a, :2] - self.landmarks[b, :2]))

    @property
    def person(self) -> str:
        """What tells people apart in file names: 001_03.jpg and 001_08.jpg are one person."""
        return self.name.split("/")[1].split("_")[0]


def photos(data: Path, held_out: bool) -> list[Photo]:
    """Labelled faces of the training split, or of the test split. Real pairs first, then open mouths."""
    test = set(json.loads((data / "splits.json").read_text())["faces"])
    labels = np.load(data / "faces" / "labels.npz")
    found = []
    for name, points in zip(labels["name"], labels["landmarks"], strict=True):
        if (str(name) in test) == held_out:
            image = np.asarray(Image.open(data / "faces" / str(name)).convert("RGB"))
            found.append(Photo(str(name), image, points.astype(np.float32)))
    return sorted(found, key=lambda p: (not p.name.startswith("london"), p.opening < OPEN))


def similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Affine [2,3] without shear that carries points [N,2] to points [N,2] in least squares."""
    a, b = source - source.mean(0), target - target.mean(0)
    u, s, vt = np.linalg.svd(b.T @ a)
    flip = np.diag([1.0, np.sign(np.linalg.det(u @ vt))])
    matrix = (u @ flip @ vt) * ((s * flip.diagonal()).sum() / (a**2).sum())
    return np.concatenate([matrix, (target.mean(0) - matrix @ source.mean(0))[:, None]], 1)


def aligned(source: Portrait, target: Photo) -> tuple[Tensor, Tensor]:
    """The target photo laid into the source's crop by what expression does not move.

    Returns its image [3,512,512] 0..1 and its landmarks [478,3] in crop px.
    """
    into = similarity(target.landmarks[STABLE, :2], source.landmarks[STABLE, :2].numpy())
    scale = np.sqrt(np.linalg.det(into[:, :2]))
    points = np.concatenate([target.landmarks[:, :2] @ into[:, :2].T + into[:, 2], target.landmarks[:, 2:] * scale], 1)
    points[:, 2] += source.landmarks[STABLE, 2].numpy().mean() - points[STABLE, 2].mean()
    back = np.linalg.inv(np.vstack([into, [0, 0, 1]]))[:2]
    image = Image.fromarray(target.image).transform(
        (CROP_SIZE, CROP_SIZE), Image.Transform.AFFINE, tuple(back.flatten()), Image.Resampling.BICUBIC
    )
    return torch.tensor(np.asarray(image)).permute(2, 0, 1) / 255, torch.tensor(points, dtype=torch.float32)


def pairs(data: Path, held_out: bool) -> Iterator[tuple[Photo, Photo]]:
    """(source, target) photos of one person: neutral and smiling, both ways."""
    people: dict[str, dict[str, Photo]] = {}
    for photo in photos(data, held_out):
        if photo.name.startswith("london"):
            people.setdefault(photo.person, {})[photo.name.split("/")[0]] = photo
    for both in people.values():
        if len(both) == 2:
            yield both[NEUTRAL], both[SMILING]
            yield both[SMILING], both[NEUTRAL]


def completed(model: FaceModel, points: Tensor, index: Tensor) -> Tensor:
    """All 478 landmarks from tracked ones, points [N,3] px of vertices index [N]: a model fit, bent to the points."""
    count, part = len(model.identity), torch.cat([model.identity, model.expression])
    ridge = torch.cat([torch.full((count,), 0.3), expression_ridge(EXPRESSION_NAMES)])
    design = part[:, index].flatten(1)
    theta = torch.zeros(1, len(part))
    for _ in range(4):
        shape = model.vertices(theta[:, :count], theta[:, count:])
        pose = align(shape[:, index], points[None])
        wanted = (pose.unproject(points[None]) - model.mean[index]).flatten()
        theta = torch.linalg.solve(design @ design.T + ridge.diag(), design @ wanted)[None]
    full = pose.project(model.vertices(theta[:, :count], theta[:, count:]))[0]
    kernel = torch.exp(-0.5 * (torch.cdist(model.mean, model.mean[index]) / SPREAD) ** 2)
    full = full + kernel @ (points - full[index]) / (kernel.sum(1, keepdim=True) + 0.2)
    full[index] = points
    return full


def talk(data: Path, model: FaceModel) -> Iterator[tuple[Photo, Photo]]:
    """(source, target) moments of GRID clips of the training split: lips shut, then open at different widths."""
    tracks = np.load(data / "grid" / "tracks.npz")
    held_out = set(json.loads((data / "splits.json").read_text())["grid"])
    index = torch.tensor(tracks["landmark_index"])
    start = np.concatenate([[0], np.cumsum(tracks["length"])])
    rows = {str(n): slice(a, b) for n, a, b in zip(tracks["name"], start, start[1:], strict=False)}
    where = {int(v): i for i, v in enumerate(index)}
    landmarks = tracks["landmarks"]
    for path in sorted((data / "grid" / "clips").glob("*.mpg")):
        if path.stem in held_out or path.stem not in rows:
            continue
        points = landmarks[rows[path.stem]].astype(np.float32)
        gap, eyes = (
            np.linalg.norm(points[:, where[a], :2] - points[:, where[b], :2], axis=1)
            for a, b in ((13, 14), OUTER_EYE_CORNERS)
        )
        opening = gap / eyes
        opened = np.flatnonzero(opening >= OPEN)
        if len(opened) < TALK_FRAMES or opening.min() > 0.01:
            continue
        opened = opened[opening[opened].argsort()][np.linspace(0, len(opened) - 1, TALK_FRAMES).astype(int)]
        reader = imageio_ffmpeg.read_frames(str(path))
        width, height = next(reader)["size"]
        frames = [np.frombuffer(f, np.uint8).reshape(height, width, 3) for f in reader]
        moments = [
            Photo(f"grid/{path.stem}.{i:02d}", frames[i], completed(model, torch.tensor(points[i]), index).numpy())
            for i in (int(opening.argmin()), *opened)
            if i < len(frames)
        ]
        yield from ((moments[0], moment) for moment in moments[1:])


def pair_geometry(model: FaceModel, source: Photo, target: Photo) -> tuple[Portrait, Geometry, Tensor, Tensor, Tensor]:
    """Drive a source photo onto another photo of the same person.

    Returns the source's portrait, the geometry, the target image [3,512,512] and landmarks [478,3] in the source's
    crop, and the target's β [64].
    """
    portrait = fit_portrait(model, source.image, source.landmarks)
    beta = fit_portrait(model, target.image, target.landmarks).beta
    image, points = aligned(portrait, target)
    geometry = LandmarkMotion(model, portrait, points).frame(beta[None], still(1))
    return portrait, geometry, image, points, beta


def other_expression(beta: Tensor, shut: bool, rng: np.random.Generator) -> Tensor:
    """A random expression to warp a photo to: [64] -> [64]. shut: with the lips together."""
    new = beta.clone()
    if shut:
        new[[INDEX[n] for n in MOUTH_NAMES]] = 0
        for name in ("mouthSmileLeft", "mouthSmileRight"):
            new[INDEX[name]] *= float(rng.uniform(0, 1))
    if rng.random() < 0.6:
        prototype = PROTOTYPES[list(PROTOTYPES)[rng.integers(len(PROTOTYPES))]].beta * float(rng.uniform(0.3, 1))
        if shut:
            prototype = prototype.clone()
            prototype[[INDEX[n] for n in MOUTH_NAMES]] = 0
        new = torch.maximum(new, prototype)
    names = ["browDownLeft", "browInnerUp", "cheekSquintLeft", "eyeWideLeft", "eyeWideRight", "noseSneerLeft"]
    names += [] if shut else ["jawOpen", "mouthFunnel", "mouthPucker", "mouthUpperUpLeft", "mouthStretchLeft"]
    for name in rng.choice(names, 3, replace=False):
        new[INDEX[str(name)]] = max(float(new[INDEX[str(name)]]), float(rng.uniform(0, 0.7)))
    if rng.random() < 0.3:
        new[[INDEX["eyeBlinkLeft"], INDEX["eyeBlinkRight"]]] = float(rng.uniform(0.1, 0.6))
    return new


def back_translated(
    model: FaceModel, photo: Photo, rng: np.random.Generator
) -> tuple[Portrait, Geometry, Tensor, Tensor, Tensor]:
    """Warp a photo to a random expression, and the geometry that leads back to it. Returns as `pair_geometry`."""
    real = fit_portrait(model, photo.image, photo.landmarks)
    motion = FaceMotion(model, real)
    beta = other_expression(motion.source_beta[0], photo.opening >= OPEN, rng)
    fake = motion.frame(beta[None], still(1)).composite()[0]
    moved = motion.vertices(beta[None], still(1))[0]
    portrait = dataclasses.replace(real, image=fake, landmarks=moved, beta=beta)
    geometry = LandmarkMotion(model, portrait, real.landmarks).frame(real.beta[None], still(1))
    return portrait, geometry, real.image, real.landmarks, real.beta


def pack(hef: HEF, portrait: Portrait, geometry: Geometry, image: Tensor, points: Tensor, beta: Tensor) -> dict:
    """One training sample inside HEF's window, as compact arrays."""

    def byte(tensor: Tensor) -> np.ndarray:
        return (hef.window(tensor)[0].clamp(0, 1) * 255 + 0.5).byte().numpy()

    top, left = hef.dims.origin
    return {
        "source": byte(portrait.image[None]),
        "target": byte(image[None]),
        "flow": hef.window(geometry.flow)[0].half().numpy(),
        "rendered": byte(geometry.rendered),
        "interior": byte(geometry.interior),
        "ratio": byte((geometry.ratio - RATIO_LOW) / RATIO_SPAN),
        "mouth": byte(geometry.mouth),
        "face": byte(geometry.face),
        "eyes": byte(geometry.eyes),
        "source_mouth": (hef.open_mouth(portrait.landmarks[None])[0] * 255).byte().numpy(),
        "identity": torch.cat([portrait.alpha, portrait.delta, portrait.gamma]).numpy(),
        "beta": beta.numpy(),
        "points": (points[:, :2].numpy() - [left, top]).astype(np.float32),
    }


def unpack(sample: dict, colors: np.ndarray | None = None) -> dict[str, Tensor]:
    """`pack`'s arrays as float tensors with images and masks in 0..1 and the ratio in its own range.

    colors: [3,256] float32, what each level of each channel becomes in all the images.
    """
    out = {}
    for key, value in sample.items():
        if colors is not None and key in COLORED:
            out[key] = torch.from_numpy(np.stack([table[plane] for table, plane in zip(colors, value, strict=True)]))
            continue
        tensor = torch.from_numpy(np.ascontiguousarray(value))
        out[key] = tensor.float() / 255 if tensor.dtype == torch.uint8 else tensor.float()
    out["ratio"] = out["ratio"] * RATIO_SPAN + RATIO_LOW
    return out


@torch.no_grad()
def prepare(data: Path, cache: Path, seed: int, shard: int = 0, shards: int = 1) -> None:
    """Make every sample that is not there yet: cache/<kind>.<target>.<variant>.npz, kind pair, talk or back."""
    cache.mkdir(parents=True, exist_ok=True)
    model, hef = FaceModel.load(), HEF()
    jobs = [("pair", a, b, 0) for a, b in pairs(data, held_out=False)]
    jobs += [("talk", a, b, 0) for a, b in talk(data, model)]
    for photo in photos(data, held_out=False):
        count = VARIANTS_OPEN if photo.opening >= OPEN else VARIANTS_SHUT
        jobs += [("back", photo, photo, variant) for variant in range(count)]
    for number, (kind, source, target, variant) in enumerate(jobs):
        path = cache / f"{kind}.{target.name.replace('/', '.')}.{variant}.npz"
        if number % shards != shard or path.exists():
            continue
        if kind in ("pair", "talk"):
            made = pair_geometry(model, source, target)
        else:
            made = back_translated(model, target, np.random.default_rng([seed, number]))
        sample = pack(hef, *made) | {"opening": np.float32(target.opening)}
        part = path.with_suffix(".part")
        with open(part, "wb") as file:
            np.savez(file, **sample)
        part.rename(path)
