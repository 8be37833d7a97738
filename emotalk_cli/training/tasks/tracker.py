"""Training of the face tracker (`emotalk_cli.face.tracker`) from the data pack: `emotalk train tracker`.

Photos are cropped and mesh-warped into a bank in memory once; every step draws similarity, mirror, light, colour,
blur, JPEG and occlusion changes anew.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...errors import UsageError
from ...face.detector import SIZE_UNIT, STRIDE
from ...face.landmarker import (
    LANDMARKS,
    LEFT_CORNER,
    LIPS,
    RIGHT_CORNER,
    SCORES,
    TrackerDims,
    crop_frames,
    cut,
    mouth_frames,
    placed,
)
from ...face.procrustes import similarity_of_arrays
from ...face.topology import BROWS, INNER_LIPS, LEFT_EYE, LIP_PAIRS, N_SKIN, OUTER_LIPS, RIGHT_EYE
from ...face.tracker import RIGID, FaceTracker
from ...media.ffmpeg import read_frames
from ...models import checkpoints
from ...numeric import channels_last
from .. import config as configs
from ..config import Config
from ..data.faces import AXES, SETS, Labelled, MeshWarp, load_faces, moved, upright
from ..data.mouths import MouthBank, openings

BANK = 192  # px, side of a bank crop
BANK_MARGIN = 1.9  # bank crop side / face size
NEGATIVE = 6  # every so many-th crop of a batch shows no face, or a misplaced one
CANVAS = 112  # px, the detector's training picture
DATA = (
    "London, Canada, Lisa, Zoom (CC BY 4.0, CC0), SFHQ and SFHQ-T2I (MIT), US Congress portraits (public domain), "
    "GRID s1 (CC BY 4.0), skimage and sklearn pictures"
)
# Pictures without faces that train the two confidences; coffee, rocket, chelsea and flower stay out, for testing.
OBJECTS = ("brick", "cell", "chessboard_RGB", "clock_motion", "coins", "color", "grass", "gravel", "horse", "ihc",
           "logo", "microaneurysms", "moon", "motorcycle_left", "page", "text", "hubble_deep_field",
           "retina")  # fmt: skip


def landmark_weights() -> Tensor:
    """Weight of each landmark in the loss [478]: what animation needs most is weighted up."""
    weights = torch.ones(LANDMARKS)
    for group, weight in ((BROWS, 1.5), (OUTER_LIPS, 2.5), (INNER_LIPS, 3.0), (LEFT_EYE + RIGHT_EYE, 2.5)):
        weights[list(group)] = weight
    weights[N_SKIN:] = 2.0
    return weights / weights.mean()


def object_pictures() -> list[np.ndarray]:
    """Pictures without faces that come with scikit-image and scikit-learn, RGB uint8."""
    import skimage.data
    import sklearn.datasets

    folder = Path(skimage.data.__file__).parent
    paths = [p for p in folder.iterdir() if p.stem in OBJECTS]
    paths.append(Path(sklearn.datasets.__file__).parent / "images/china.jpg")
    return [cv2.cvtColor(cv2.imread(str(p)), cv2.COLOR_BGR2RGB) for p in sorted(paths)]


def procedural(rng: np.random.Generator, side: int) -> np.ndarray:
    """A random texture: smooth noise, stripes, shapes or plain colour, RGB uint8 [side,side,3]."""
    coarse = int(rng.choice([2, 4, 8, 16, 40, side]))
    picture = rng.integers(0, 256, (coarse, coarse, 3)).astype(np.uint8)
    picture = cv2.resize(picture, (side, side), interpolation=int(rng.choice([cv2.INTER_NEAREST, cv2.INTER_CUBIC])))
    if rng.random() < 0.5:
        picture = (picture * rng.uniform(0.1, 0.6) + rng.integers(0, 160, 3)).clip(0, 255).astype(np.uint8)
    for _ in range(rng.integers(0, 9)):
        colour, centre = rng.integers(0, 256, 3).tolist(), rng.integers(0, side, 2).tolist()
        kind, thick = rng.integers(4), int(rng.choice([-1, 1, 2, 5]))
        if kind == 0:
            axes = rng.integers(2, side // 2, 2).tolist()
            cv2.ellipse(picture, centre, axes, float(rng.uniform(0, 180)), 0, 360, colour, thick)
        elif kind == 1:
            cv2.rectangle(picture, centre, rng.integers(0, side, 2).tolist(), colour, thick)
        elif kind == 2:
            cv2.line(picture, centre, rng.integers(0, side, 2).tolist(), colour, max(1, thick))
        else:
            text = "".join(rng.choice(list("abcdeoO0@%&XWm "), 6))
            cv2.putText(picture, text, centre, 0, float(rng.uniform(0.3, 2)), colour, max(1, thick))
    return picture


def faceless(face: Labelled, rng: np.random.Generator, objects: list[np.ndarray]) -> np.ndarray:
    """The photo with its face painted over by a texture: hair, neck and clothes become negatives."""
    side = face.image.shape[0]
    hull = cv2.convexHull(face.landmarks[:, :2].astype(np.float32))[:, 0]
    centre = hull.mean(0)
    mask = np.zeros((side, side), np.uint8)
    cv2.fillConvexPoly(mask, np.round(centre + (hull - centre) * rng.uniform(1.02, 1.3)).astype(np.int32), 255)
    if rng.random() < 0.5:
        fill = procedural(rng, side)
    else:
        fill = cv2.resize(patch(rng, objects), (side, side))
    soft = cv2.GaussianBlur(mask, (0, 0), rng.uniform(0.5, 4))[..., None] / 255.0
    return (face.image * (1 - soft) + fill * soft).astype(np.uint8)


def patch(rng: np.random.Generator, pictures: list[np.ndarray]) -> np.ndarray:
    """A random square of a random picture, turned and mirrored at random."""
    picture = pictures[rng.integers(len(pictures))]
    height, width = picture.shape[:2]
    side = int(min(height, width) * rng.uniform(0.12, 1))
    y, x = rng.integers(0, height - side + 1), rng.integers(0, width - side + 1)
    return np.rot90(picture[y : y + side, x : x + side], int(rng.integers(4)))[:, :: int(rng.choice([-1, 1]))]


def grid_frames(
    data: Path, mean: np.ndarray, every: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Frames of GRID's clips: (picture, landmarks with NaN where unlabelled, landmarks completed, blendshapes).

    mean: [478,3] a face's shape in camera axes, which completes what is not labelled.
    """
    tracks = np.load(data / "grid/tracks.npz")
    held_out = set(json.loads((data / "splits.json").read_text())["grid"])
    index, starts = tracks["landmark_index"], np.cumsum(tracks["length"]) - tracks["length"]
    offsets = {str(n): int(s) for n, s in zip(tracks["name"], starts, strict=True)}
    labels, scores = tracks["landmarks"], tracks["blendshapes"]
    for path in sorted((data / "grid/clips").glob("*.mpg")):
        if path.stem in held_out or path.stem not in offsets:
            continue
        for k, image in enumerate(read_frames(path)):
            row = offsets[path.stem] + k
            if k % every or k >= 75 or not np.isfinite(labels[row]).all():
                continue
            known = labels[row].astype(np.float32)
            scale, rotation, shift = similarity_of_arrays(mean[index, :2], known[:, :2])
            whole = np.full((LANDMARKS, 3), np.nan, np.float32)
            whole[index] = known
            guess = np.concatenate([scale * mean[:, :2] @ rotation.T + shift, scale * mean[:, 2:]], 1)
            guess[index] = known
            yield image, whole, guess.astype(np.float32), scores[row][1:].astype(np.float32)


class Bank:
    """All training crops in memory: pictures [N,192,192,3] uint8, labels, frames; and crops without a face."""

    def __init__(self, data: Path, seed: int, variants: int, finder: FaceTracker) -> None:
        """finder: its detector's mistakes on pictures without faces become negatives."""
        rng = np.random.default_rng(seed)
        basis = dict(np.load(data / "face_basis_478.npz"))
        warp = MeshWarp(basis)
        photos = load_faces(data, test=False, sets=tuple(SETS))
        self.validation = [photos[i] for i in range(7, len(photos), 30)]
        photos = [p for i, p in enumerate(photos) if i % 30 != 7]
        pictures, landmarks, guesses, scores = [], [], [], []
        small = []
        for photo in photos:
            frame = crop_frames(torch.from_numpy(photo.landmarks[None]))[0].numpy()
            crop, affine = upright(photo.image, frame, BANK, BANK_MARGIN)
            face = Labelled(photo.name, crop, moved(photo.landmarks, affine), photo.blendshapes)
            small.append(face)
            copies = [(crop, face.landmarks, face.blendshapes)]
            for _ in range(variants):
                target, changed = warp.random_target(face, rng)
                warped, shown = warp.move(crop, face.landmarks, target, rng)
                copies.append((warped, shown, changed))
            for picture, points, values in copies:
                pictures.append(picture)
                landmarks.append(points)
                guesses.append(points)
                scores.append(values)
        self.photo_rows, self.stride = len(pictures), variants + 1
        mean = np.mean([f.landmarks for f in small], 0)
        for image, known, guess, values in grid_frames(data, mean, 5):
            frame = crop_frames(torch.from_numpy(guess[None]))[0].numpy()
            picture, affine = upright(image, frame, BANK, BANK_MARGIN)
            pictures.append(picture)
            landmarks.append(moved(known, affine))
            guesses.append(moved(guess, affine))
            scores.append(values)
        objects = object_pictures()
        negatives = [cv2.resize(patch(rng, objects), (BANK, BANK), interpolation=cv2.INTER_AREA) for _ in range(500)]
        negatives += [procedural(rng, BANK) for _ in range(300)]
        negatives += [faceless(f, rng, objects) for f in small]
        for k in range(400):
            picture = (
                cv2.resize(patch(rng, objects), (320, 320))
                if k % 2
                else faceless(photos[k % len(photos)], rng, objects)
            )
            for detection in finder.detect(picture)[:4]:
                x0, y0, x1, y1 = detection.box
                frame = np.array([(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, detection.roll])
                negatives.append(upright(picture, frame, BANK, BANK_MARGIN)[0])
        self.pictures = torch.from_numpy(np.stack(pictures))
        self.landmarks = torch.from_numpy(np.stack(landmarks).astype(np.float32))
        self.frames = crop_frames(torch.from_numpy(np.stack(guesses).astype(np.float32)))
        self.scores = torch.from_numpy(np.stack(scores).astype(np.float32))
        self.negatives = torch.from_numpy(np.stack(negatives))
        names = [str(n) for n in basis["expression_names"][:SCORES]]
        other = {n: n.replace("Left", "Right") if "Left" in n else n.replace("Right", "Left") for n in names}
        self.score_mirror = torch.tensor([names.index(other[n]) for n in names])
        self.mirror = torch.from_numpy(basis["mirror"].astype(np.int64))
        self.rigid = torch.from_numpy((basis["mean"][list(RIGID)] @ AXES).astype(np.float32))


def shape_basis(bank: Bank | MouthBank, mirror: Tensor, components: int, margin: float) -> tuple[Tensor, Tensor]:
    """Mean [P,3] and scaled principal shapes [K,P,3] of a bank's upright crops of photos, in crop units."""
    half = bank.frames[: bank.photo_rows, 2, None, None] * margin / 2
    points = bank.landmarks[: bank.photo_rows].clone()
    points[..., :2] -= bank.frames[: bank.photo_rows, None, :2]
    points /= half
    flipped = points[:, mirror] * torch.tensor([-1.0, 1.0, 1.0])
    everything = torch.cat([points, flipped]).flatten(1)
    mean = everything.mean(0)
    picked = everything[torch.randperm(len(everything), generator=torch.Generator().manual_seed(0))[:6000]]
    _, s, v = torch.linalg.svd(picked - mean, full_matrices=False)
    basis = v[:components] * (s[:components, None] / math.sqrt(len(picked)))
    return mean.view(-1, 3), basis.view(components, -1, 3)


def photometric(x: Tensor, rng: np.random.Generator, covered: float = 0.25) -> Tensor:
    """Random light, colour, blur, JPEG, noise of pictures [B,3,S,S] in 0..1, and something before a share `covered`."""
    b, _, side, _ = x.shape

    def draw(*shape, low=0.0, high=1.0):
        return torch.from_numpy(rng.uniform(low, high, shape).astype(np.float32))

    def chosen(probability):
        return torch.from_numpy(np.nonzero(rng.random(b) < probability)[0])

    unit = torch.linspace(-1, 1, side)
    if len(i := chosen(0.35)):  # side light: a ramp, sometimes a hard edge
        angle, power = draw(len(i), 1, 1, high=2 * math.pi), draw(len(i), 1, 1, low=0.2, high=1.2)
        ramp = unit[None, None, :] * angle.cos() + unit[None, :, None] * angle.sin()
        steep = draw(len(i), 1, 1, low=0.7, high=6)
        x[i] = x[i] * (1 + power * 0.75 * torch.tanh(steep * ramp)).clamp_min(0.1)[:, None]
    mix = torch.eye(3) + 0.22 * draw(b, 3, 3, low=-1) * (draw(b, 1, 1) < 0.6)
    grey = (draw(b, 1, 1) < 0.2).float()
    mix = mix * (1 - grey) + grey * torch.tensor([0.3, 0.59, 0.11]).expand(3, 3)
    x = torch.einsum("bij,bjhw->bihw", mix, x)
    contrast, level = draw(b, 1, 1, 1, low=0.5, high=1.5), draw(b, 1, 1, 1, low=-0.25, high=0.25)
    x = ((x - 0.45) * contrast + 0.45 + level).clamp(0, 1)
    if len(i := chosen(0.4)):
        x[i] = x[i].clamp_min(1e-3) ** (2 ** draw(len(i), 1, 1, 1, low=-1, high=1))
    if len(i := chosen(covered)):  # something in front: boxes and discs of flat colour or of another picture
        other = x[torch.from_numpy(rng.permutation(b))[: len(i)]]
        flat = (draw(len(i), 1, 1, 1) < 0.5).float()
        other = other * (1 - flat) + draw(len(i), 3, 1, 1) * flat
        cx, cy = draw(len(i), 1, 1, low=-1.1, high=1.1), draw(len(i), 1, 1, low=-1.1, high=1.1)
        rx, ry = draw(len(i), 1, 1, low=0.08, high=0.5), draw(len(i), 1, 1, low=0.08, high=0.5)
        dx, dy = (unit[None, None, :] - cx) / rx, (unit[None, :, None] - cy) / ry
        inside = torch.where(draw(len(i), 1, 1) < 0.5, torch.maximum(dx.abs(), dy.abs()), dx * dx + dy * dy) < 1
        x[i] = torch.where(inside[:, None], other, x[i])
    for scale in (2, 3):
        if len(i := chosen(0.12)):
            small = F.avg_pool2d(x[i], scale)
            x[i] = F.interpolate(small, (side, side), mode="bilinear")
    if len(i := chosen(0.2)):
        x[i] = F.avg_pool2d(F.pad(x[i], (1, 1, 1, 1), mode="replicate"), 3, 1)
    if len(i := chosen(0.25)):
        noise = rng.standard_normal((len(i), *x.shape[1:]), np.float32)
        x[i] = x[i] + torch.from_numpy(noise) * draw(len(i), 1, 1, 1, low=0.01, high=0.09)
    x = x.clamp(0, 1)
    for i in chosen(0.12).tolist():  # JPEG, or a median for painted surfaces
        picture = (x[i].permute(1, 2, 0).numpy() * 255).astype(np.uint8)
        if rng.random() < 0.7:
            coded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(12, 60))])[1]
            picture = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR))
        else:
            picture = cv2.medianBlur(np.ascontiguousarray(picture), int(rng.choice([3, 5])))
        x[i] = torch.from_numpy(picture).permute(2, 0, 1).float() / 255
    return x


def random_crops(
    bank: Bank | MouthBank,
    rows: Tensor,
    pixels: int,
    margin: float,
    reach: tuple[float, float, float],
    rng: np.random.Generator,
) -> tuple[Tensor, Tensor, Tensor]:
    """Crops [B,3,pixels,pixels] 0..1 of a bank's rows, their landmarks in crop units, and which [B] are mirrored.

    reach: half of them are turned by up to so many rad, scaled by so much (log) and shifted by this part of the face's
    size; the others by a quarter to a third of it. Landmarks are mirrored, but not renumbered.
    """
    count, side = len(rows), bank.pictures.shape[1]
    frame = bank.frames[rows]
    wide = torch.from_numpy((rng.random(count) < 0.5).astype(np.float32))

    def jitter(broad):
        return torch.from_numpy(rng.uniform(-1, 1, count).astype(np.float32)) * broad * (wide + (1 - wide) * 0.3)

    turn, scale, shift = reach
    roll = frame[:, 3] + jitter(turn)
    half = frame[:, 2] * margin / 2 * torch.exp(jitter(scale))
    cx, cy = frame[:, 0] + jitter(shift) * frame[:, 2], frame[:, 1] + jitter(shift) * frame[:, 2]
    sign = torch.from_numpy(rng.choice([-1.0, 1.0], count).astype(np.float32))
    cos, sin = roll.cos(), roll.sin()
    unit = (torch.arange(pixels) + 0.5) * (2 / pixels) - 1
    u, v = unit[None, None, :] * (sign * half)[:, None, None], unit[None, :, None] * half[:, None, None]
    x = cx[:, None, None] + u * cos[:, None, None] - v * sin[:, None, None]
    y = cy[:, None, None] + u * sin[:, None, None] + v * cos[:, None, None]
    pictures = bank.pictures[rows].permute(0, 3, 1, 2).float() / 255
    grid = torch.stack([x, y], -1) * (2 / side) - 1
    crops = F.grid_sample(pictures, grid, padding_mode="border", align_corners=False)
    points = bank.landmarks[rows]
    dx, dy = points[..., 0] - cx[:, None], points[..., 1] - cy[:, None]
    local = torch.stack([
        (dx * cos[:, None] + dy * sin[:, None]) / half[:, None] * sign[:, None],
        (dy * cos[:, None] - dx * sin[:, None]) / half[:, None],
        points[..., 2] / half[:, None],
    ], -1)  # fmt: skip
    return crops, local, sign < 0


def landmark_batch(
    bank: Bank, size: int, dims: TrackerDims, rng: np.random.Generator, warped: float
) -> dict[str, Tensor]:
    """One augmented batch, every sixth a negative. Labels in crop units; unlabelled points and negatives are NaN."""
    negative = torch.arange(size) % NEGATIVE == NEGATIVE - 1  # spread, so that every process gets its share
    faces = int((~negative).sum())
    photos, stride = bank.photo_rows, bank.stride
    rows = rng.integers(0, photos, faces)
    plain = rng.random(faces) > warped
    rows[plain] -= rows[plain] % stride
    video = rng.random(faces) < 0.07
    rows[video] = rng.integers(photos, len(bank.pictures), int(video.sum()))
    chosen = torch.from_numpy(rows)
    crops, local, flipped = random_crops(bank, chosen, dims.crop, dims.margin, (0.45, 0.25, 0.13), rng)
    local[flipped] = local[flipped][:, bank.mirror]
    scores = bank.scores[rows]
    scores[flipped] = scores[flipped][:, bank.score_mirror]

    count = size - faces
    negatives = bank.negatives[torch.from_numpy(rng.integers(0, len(bank.negatives), count))]
    odd = int(count // 2)  # faces far off centre, far too large or too small, or upside down
    picked = torch.from_numpy(rng.integers(0, photos, odd))
    negatives = negatives.permute(0, 3, 1, 2).float() / 255
    negatives[:odd] = bank.pictures[picked].permute(0, 3, 1, 2).float() / 255
    scale = rng.uniform(0.45, 0.95, count)
    shift = rng.uniform(-1, 1, (count, 2)) * (1 - scale)[:, None]
    turn = np.where(rng.random(count) < 0.5, rng.uniform(-math.pi, math.pi, count), rng.normal(0, 0.1, count))
    kind = rng.integers(4, size=odd)
    angle = rng.uniform(0, 2 * math.pi, odd)
    scale[:odd] = np.select(
        [kind == 0, kind == 1, kind == 2], [rng.uniform(0.1, 0.28, odd), rng.uniform(1.7, 3, odd), 0.68], 0.68
    )
    shift[:odd] = np.where(
        (kind == 2)[:, None], np.stack([np.cos(angle), np.sin(angle)], 1) * rng.uniform(0.45, 0.9, (odd, 1)), 0
    )
    turn[:odd] = np.where(kind == 3, rng.uniform(1.8, 2 * math.pi - 1.8, odd), rng.uniform(-0.4, 0.4, odd))
    theta = np.stack([
        np.stack([scale * np.cos(turn), -scale * np.sin(turn), shift[:, 0]], 1),
        np.stack([scale * np.sin(turn), scale * np.cos(turn), shift[:, 1]], 1),
    ], 1)  # fmt: skip
    grid = F.affine_grid(
        torch.from_numpy(theta.astype(np.float32)), [count, 3, dims.crop, dims.crop], align_corners=False
    )
    crops = torch.cat([crops, F.grid_sample(negatives, grid, padding_mode="border", align_corners=False)])
    order = torch.empty(size, dtype=torch.long)
    order[~negative], order[negative] = torch.arange(faces), torch.arange(faces, size)
    points = torch.cat([local, torch.full((count, LANDMARKS, 3), torch.nan)])[order]
    scores = torch.cat([scores, torch.zeros(count, SCORES)])[order]
    crops = photometric(crops[order], rng) * 2 - 1
    return {"crops": crops, "points": points, "scores": scores, "is_face": (~negative).float()}


def landmark_loss(outputs: tuple[Tensor, ...], batch: dict[str, Tensor], weights: Tensor) -> dict[str, Tensor]:
    """Landmark error / outer-eye distance of both stages, blendshape and confidence losses."""
    final, first, scores, confidence = outputs
    shown = batch["is_face"] > 0
    goal, weights = batch["points"][shown], weights.to(scores)
    known = goal[..., :1].isfinite().float() * weights[:, None]
    eyes = (goal[:, LEFT_CORNER, :2] - goal[:, RIGHT_CORNER, :2]).norm(dim=1)[:, None, None]
    goal = goal.nan_to_num(0)
    axes = goal.new_tensor([1.0, 1.0, 0.3])

    def distance(points):
        error = F.smooth_l1_loss(points[shown], goal, reduction="none", beta=0.004) / eyes * axes
        return (error * known).sum() / known.sum()

    return {
        "final": distance(final),
        "first": distance(first),
        "scores": (scores[shown].sigmoid() - batch["scores"][shown]).abs().mean(),
        "confidence": F.binary_cross_entropy_with_logits(confidence, batch["is_face"]),
    }


def mouth_batch(bank: MouthBank, size: int, dims: TrackerDims, rng: np.random.Generator) -> dict[str, Tensor]:
    """One augmented batch of mouths. Labels in crop units, NaN where there are none; eyes: crop units between them."""
    rows = bank.draw(size, 0.45, 0.08, rng)
    mouths, points, flipped = random_crops(bank, rows, dims.mouth_crop, dims.mouth_margin, (0.25, 0.25, 0.1), rng)
    points[flipped] = points[flipped][:, bank.mirror]
    for scale in (3, 4, 6):  # faces of a few dozen pixels
        small = torch.from_numpy(np.nonzero(rng.random(size) < 0.05)[0])
        if len(small):
            low = F.avg_pool2d(mouths[small], scale)
            mouths[small] = F.interpolate(low, mouths.shape[2:], mode="bilinear")
    mouths = photometric(mouths, rng, 0.08) * 2 - 1
    eyes = bank.eyes[rows] / (bank.frames[rows, 2] * dims.mouth_margin / 2)
    return {"mouths": mouths, "mouth_points": points, "eyes": eyes}


def mouth_loss(outputs: tuple[Tensor, Tensor], batch: dict[str, Tensor], weights: Tensor) -> dict[str, Tensor]:
    """Error / outer-eye distance of both stages' points, and of the distances between lips that meet."""
    goal, eyes = batch["mouth_points"], batch["eyes"][:, None, None]
    known = goal[..., :1].isfinite().float() * weights[:, None]
    goal = goal.nan_to_num(0)
    axes = goal.new_tensor([1.0, 1.0, 0.3])
    pairs = torch.tensor([[LIPS.index(v) for v in pair] for pair in LIP_PAIRS], device=goal.device)

    def distance(points):
        error = F.smooth_l1_loss(points, goal, reduction="none", beta=0.004) / eyes * axes
        return (error * known).sum() / known.sum()

    def gaps(points):
        return points[:, pairs[:, 1], 1] - points[:, pairs[:, 0], 1]

    final, first = outputs
    opening = F.smooth_l1_loss(gaps(final), gaps(goal), reduction="none", beta=0.004) / eyes[..., 0]
    return {"mouth": distance(final), "mouth first": distance(first), "opening": opening.mean()}


@torch.inference_mode()
def validate_mouth(tracker: FaceTracker, photos: list[Labelled]) -> dict[str, float]:
    """Lips' error (% of the outer-eye distance) over photos, r and slope of the opening where lips are apart."""
    errors, found, true = [], [], []
    assert tracker.mouth is not None
    vertices = tracker.mouth.vertices.numpy()
    for i, photo in enumerate(photos):
        frame = mouth_frames(torch.from_numpy(photo.landmarks[None]))
        size, side = frame[0, 2].item(), 1 - 2 * (i % 2)
        frame = frame * torch.tensor([1, 1, 1 + 0.06 * side, 1]) + torch.tensor(
            [0.02 * size, 0.02 * side * size, 0, 0.05]
        )
        crop = cut(torch.from_numpy(photo.image).permute(2, 0, 1), frame[0].tolist(), tracker.dims.mouth_crop,
                   tracker.dims.mouth_margin)  # fmt: skip
        points = photo.landmarks.copy()
        points[vertices] = placed(tracker.mouth(crop)[0], frame, tracker.dims.mouth_margin)[0].numpy()
        eyes = np.linalg.norm(photo.landmarks[RIGHT_CORNER, :2] - photo.landmarks[LEFT_CORNER, :2])
        lips = list(LIPS)
        errors.append(100 * np.linalg.norm(points[lips, :2] - photo.landmarks[lips, :2], axis=1).mean() / eyes)
        found.append(openings(points))
        true.append(openings(photo.landmarks))
    read, real = np.array(found), np.array(true)
    apart = real > 5
    slope = float(np.polyfit(real[apart], read[apart], 1)[0])
    return {
        "lips": float(np.mean(errors)),
        "lips apart": float(np.mean(np.array(errors)[apart])),
        "r": float(np.corrcoef(real[apart], read[apart])[0, 1]),
        "slope": slope,
        "shut": float(np.abs(read - real)[real < 2].mean()),
    }


@torch.inference_mode()
def validate(tracker: FaceTracker, photos: list[Labelled]) -> float:
    """Mean landmark error / outer-eye distance over photos, from crops 10 % too large and turned by 8 degrees."""
    errors = []
    for photo in photos:
        frame = crop_frames(torch.from_numpy(photo.landmarks[None]))
        frame = frame * torch.tensor([1, 1, 1.1, 1]) + torch.tensor([0, 0, 0, 0.14])
        image = torch.from_numpy(photo.image).permute(2, 0, 1)
        points = tracker.align([image], frame, 2)[0][0, :, :2].numpy()
        eyes = np.linalg.norm(photo.landmarks[RIGHT_CORNER, :2] - photo.landmarks[LEFT_CORNER, :2])
        errors.append(np.linalg.norm(points - photo.landmarks[:, :2], axis=1).mean() / eyes)
    return float(np.mean(errors))


class Scenes:
    """Training pictures of the detector: faces of known place, size and roll on varied backgrounds."""

    def __init__(self, data: Path, seed: int) -> None:
        rng = np.random.default_rng(seed)
        warp = MeshWarp(dict(np.load(data / "face_basis_478.npz")))
        photos = load_faces(data, test=False, side=256, sets=tuple(SETS))
        self.objects = object_pictures()
        self.faces: list[Labelled] = []
        for photo in photos:
            self.faces.append(photo)
            for _ in range(2):
                target, scores = warp.random_target(photo, rng, 1.2)
                image, points = warp.move(photo.image, photo.landmarks, target, rng)
                self.faces.append(Labelled(photo.name, image, points, scores))
        marked = torch.from_numpy(np.stack([f.landmarks for f in self.faces]).astype(np.float32))
        self.frames = crop_frames(marked).numpy()
        self.faceless = [faceless(f, rng, self.objects) for f in self.faces[::3]]

    def background(self, rng: np.random.Generator) -> np.ndarray:
        kind = rng.random()
        if kind < 0.3:
            return procedural(rng, CANVAS)
        source = self.objects if kind < 0.65 else self.faceless
        return cv2.resize(patch(rng, source), (CANVAS, CANVAS), interpolation=cv2.INTER_AREA)

    def scene(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """RGB uint8 [112,112,3] and the frames [n,4] (x, y, size, roll) of the faces in it."""
        canvas = self.background(rng)
        frames: list[np.ndarray] = []
        for _ in range(int(rng.choice([0, 1, 2, 3], p=[0.25, 0.5, 0.17, 0.08]))):
            index = rng.integers(len(self.faces))
            face, (x, y, size, roll) = self.faces[index], self.frames[index]
            large = rng.random() < 0.2  # far beyond the detector's range: noses and mouths are no faces
            goal = rng.uniform(95, 210) if large else 16 * 4.4 ** rng.uniform(-0.15, 1.05)
            scale, turn = goal / size, float(np.clip(rng.normal(0, 0.35), -0.95, 0.95))
            mirrored = rng.random() < 0.5
            place = rng.uniform(0.25 * goal, CANVAS - 0.25 * goal, 2)
            if any(np.hypot(*(place - f[:2])) < 0.9 * max(goal, f[2]) for f in frames):
                continue
            cos, sin = scale * math.cos(turn), scale * math.sin(turn)
            affine = np.array([[cos, -sin, 0], [sin, cos, 0]])
            if mirrored:
                affine[:, 0] *= -1
            affine[:, 2] = place - affine[:, :2] @ (x, y)
            mask = np.full(face.image.shape[:2], 255, np.uint8)
            if rng.random() < 0.55:  # only the head, or only the face
                mask[:] = 0
                reach = rng.uniform(0.52, 1.0)
                axes = (int(size * reach * rng.uniform(0.85, 1)), int(size * reach * rng.uniform(0.95, 1.3)))
                cv2.ellipse(mask, (int(x), int(y - 0.1 * size * reach)), axes, math.degrees(roll), 0, 360, 255, -1)
                mask = cv2.GaussianBlur(mask, (0, 0), rng.uniform(1, 8))
            reduce = int(1 / scale)
            source = cv2.blur(face.image, (reduce, reduce)) if reduce > 1 else face.image
            shifted = affine.copy()
            shifted[:, 2] += affine[:, :2] @ (0.5, 0.5) - 0.5
            picture = cv2.warpAffine(source, shifted, (CANVAS, CANVAS), borderMode=cv2.BORDER_REPLICATE)
            edge = cv2.BORDER_REPLICATE if rng.random() < 0.3 and not frames else cv2.BORDER_CONSTANT
            soft = cv2.warpAffine(mask, shifted, (CANVAS, CANVAS), borderMode=edge)[..., None] / 255.0
            canvas = (canvas * (1 - soft) + picture * soft).astype(np.uint8)
            frames.append(np.array([*place, goal, (-roll if mirrored else roll) + turn]))
        rim = int(rng.integers(0, 20)) if rng.random() < 0.3 else 0
        if rim:  # the tracker pads pictures with grey
            for edge in rng.permutation(4)[: rng.integers(1, 4)]:
                np.rot90(canvas, edge)[:rim] = 127
        return canvas, np.array(frames, np.float32).reshape(-1, 4)

    def batch(self, size: int, rng: np.random.Generator) -> dict[str, Tensor]:
        """Pictures in -1..1, heat targets, geometry targets [B,5,c,c], their weights and the heat's weights."""
        cells = CANVAS // STRIDE
        pictures = np.zeros((size, CANVAS, CANVAS, 3), np.uint8)
        heat, care = np.zeros((size, cells, cells), np.float32), np.ones((size, cells, cells), np.float32)
        geometry, weight = np.zeros((size, 5, cells, cells), np.float32), np.zeros((size, cells, cells), np.float32)
        middle = np.arange(cells) + 0.5
        for n in range(size):
            pictures[n], frames = self.scene(rng)
            for x, y, extent, roll in frames:
                dx, dy = x / STRIDE - middle[None, :], y / STRIDE - middle[:, None]
                square = dx * dx + dy * dy
                if not 15.5 <= extent <= 68:  # other levels of the pyramid see these
                    if extent < 90:
                        care[n][square < (0.6 * extent / STRIDE) ** 2] = 0
                    continue
                blob = np.exp(-square / (2 * max(0.6, extent / STRIDE / 7) ** 2)).astype(np.float32)
                nearest = np.unravel_index(square.argmin(), square.shape)
                blob[nearest] = 1
                heat[n] = np.maximum(heat[n], blob)
                near = blob > 0.35
                values = (dx + 0 * dy, dy + 0 * dx, math.log(extent / SIZE_UNIT), math.cos(roll), math.sin(roll))
                for channel, value in enumerate(values):
                    geometry[n, channel][near] = value[near] if isinstance(value, np.ndarray) else value
                weight[n][near] = blob[near]
        images = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255
        return {
            "images": photometric(images, rng) * 2 - 1,
            "heat": torch.from_numpy(heat),
            "care": torch.from_numpy(care),
            "geometry": torch.from_numpy(geometry),
            "weight": torch.from_numpy(weight),
        }


def detector_loss(heat: Tensor, geometry: Tensor, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Penalty-reduced focal loss of the heat (CenterNet, Zhou et al. 2019) and L1 of the geometry."""
    heat, goal = heat.float(), batch["heat"]
    p = heat.sigmoid()
    positive = (goal == 1).float()
    hit = -F.logsigmoid(heat) * (1 - p) ** 2 * positive
    miss = -F.logsigmoid(-heat) * p**2 * (1 - goal) ** 4 * (1 - positive)
    count = positive.sum().clamp_min(1)
    error = (geometry.float() - batch["geometry"]).abs().mean(1) * batch["weight"]
    return {
        "heat": ((hit + miss) * batch["care"]).sum() / count,
        "geometry": error.sum() / batch["weight"].sum().clamp_min(1),
    }


PARTS = ("detector", "landmarks", "mouth")


@dataclasses.dataclass
class Options:
    """part: detector | landmarks | mouth | all. variants, mouth_variants: mesh-warped copies of each photo for the
    landmarks and for the mouth; warped: their share in the landmarks' batches. resumed: go on from the shipped
    networks instead of random ones.
    """

    part: str = "all"
    variants: int = 10
    mouth_variants: int = 4
    warped: float = 0.7
    resumed: bool = False


class TrackerTask:
    """Both networks of the tracker, or one of them; the other is then kept as it was shipped (see `solver.Task`)."""

    name = "tracker"

    def __init__(self, data: Path, config: Config) -> None:
        options = configs.build(Options, config.task)
        if options.part not in (*PARTS, "all"):
            raise UsageError(f"task.part={options.part} is unknown; choose {', '.join(PARTS)} or all.")
        self.rate, self.warped = config.rate, options.warped
        self.parts = PARTS if options.part == "all" else (options.part,)
        self.helpers: dict[str, nn.Module] = {}
        self.seed = config.seed
        known = FaceTracker.load()
        if "mouth" in self.parts:
            photos = load_faces(data, test=False, sets=tuple(SETS))
            self.mouths = photos[7::30]
            warp = MeshWarp(dict(np.load(data / "face_basis_478.npz")))
            films = grid_frames(data, warp.basis["mean"] @ AXES, 5)
            frames = ((picture, known, completed) for picture, known, completed, _ in films)
            photos = [photo for i, photo in enumerate(photos) if i % 30 != 7]
            self.mouth_bank = MouthBank(
                photos, frames, warp, options.mouth_variants, np.random.default_rng(config.seed)
            )
        points = len(self.mouth_bank.vertices) if "mouth" in self.parts else known.dims.mouth_points
        self.dims = TrackerDims(mouth_points=points)
        self.model = fresh = FaceTracker(self.dims)
        fresh.rigid.copy_(known.rigid)
        if "detector" in self.parts:
            self.scenes = Scenes(data, config.seed)
        else:
            fresh.detector = known.detector
        if "landmarks" in self.parts:
            self.bank = Bank(data, config.seed, options.variants, known)
            mean, basis = shape_basis(self.bank, self.bank.mirror, self.dims.components, self.dims.margin)
            fresh.landmarker.mean.data.copy_(mean)
            fresh.landmarker.basis.data.copy_(basis)
            fresh.rigid.copy_(self.bank.rigid)
            self.weights = landmark_weights()
        else:
            fresh.landmarker = known.landmarker
        if "mouth" in self.parts:
            assert fresh.mouth is not None
            bank = self.mouth_bank
            mean, basis = shape_basis(bank, bank.mirror, self.dims.mouth_components, self.dims.mouth_margin)
            fresh.mouth.mean.data.copy_(mean)
            fresh.mouth.basis.data.copy_(basis)
            fresh.mouth.vertices.copy_(torch.from_numpy(bank.vertices))
            fresh.mouth.share.copy_(torch.from_numpy(bank.share))
            self.mouth_weights = landmark_weights()[bank.vertices] * (0.4 + 0.6 * torch.from_numpy(bank.share))
        else:
            fresh.mouth = known.mouth
        if options.resumed:
            fresh.load_state_dict(known.state_dict(), strict=known.mouth is not None)
        channels_last(fresh)

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """One a network; the shape basis learns at a twentieth of the rate, without decay."""
        found: dict[str, torch.optim.Optimizer] = {}
        nets = (self.model.detector, self.model.landmarker, self.model.mouth)
        for part, net in zip(PARTS, nets, strict=True):
            if part not in self.parts or net is None:
                continue
            slow = [p for n, p in net.named_parameters() if n in ("mean", "basis")]
            fast = [p for n, p in net.named_parameters() if n not in ("mean", "basis")]
            groups: list[dict[str, Any]] = [{"params": fast, "weight_decay": 0.02}]
            if slow:
                groups.append({"params": slow, "weight_decay": 0.0, "lr": self.rate * 0.05})
            found[part] = torch.optim.AdamW(groups, self.rate, betas=(0.9, 0.98))
        return found

    def batch(self, rng: np.random.Generator, size: int) -> dict[str, Tensor]:
        """`Scenes.batch`, `landmark_batch` and `mouth_batch` side by side."""
        found = self.scenes.batch(size, rng) if "detector" in self.parts else {}
        if "landmarks" in self.parts:
            found |= landmark_batch(self.bank, size, self.dims, rng, self.warped)
        if "mouth" in self.parts:
            found |= mouth_batch(self.mouth_bank, size, self.dims, rng)
        return found

    def losses(self, batch: dict[str, Tensor], step: int, total: int) -> Iterator[tuple[str, Tensor, dict]]:
        """The detector's loss, then the landmarker's, then the mouth's."""
        if "detector" in self.parts:
            heat, geometry = self.model.detector(batch["images"])
            terms = detector_loss(heat, geometry, batch)
            yield "detector", terms["heat"] + 2 * terms["geometry"], terms
        if "landmarks" in self.parts:
            terms = landmark_loss(self.model.landmarker(batch["crops"]), batch, self.weights)
            loss = terms["final"] + 0.5 * terms["first"] + 0.3 * terms["scores"] + 0.1 * terms["confidence"]
            yield "landmarks", loss, terms
        if "mouth" in self.parts:
            assert self.model.mouth is not None
            terms = mouth_loss(self.model.mouth(batch["mouths"]), batch, self.mouth_weights.to(batch["eyes"]))
            yield "mouth", terms["mouth"] + 0.5 * terms["mouth first"] + 1.5 * terms["opening"], terms

    def validate(self, model: FaceTracker) -> dict[str, float]:
        """Landmark error, and what is measured of mouths, on photos kept back."""
        found = {"validation": validate(model, self.bank.validation)} if "landmarks" in self.parts else {}
        return found | (validate_mouth(model, self.mouths) if "mouth" in self.parts else {})

    def samples(self, model: FaceTracker) -> np.ndarray | None:
        """Photos kept back with the landmarks that the tracker finds."""
        kept = {"landmarks": lambda: self.bank.validation, "mouth": lambda: self.mouths}
        kept |= {"detector": lambda: self.scenes.faces[::3]}
        photos = kept[self.parts[-1]]()
        tiles = []
        for photo in photos[:8]:
            picture = photo.image.copy()
            for face in model(picture)[:1]:
                for x, y in face.landmarks[:, :2].round().astype(int).tolist():
                    cv2.circle(picture, (x, y), max(1, picture.shape[0] // 300), (0, 255, 0), -1)
            tiles.append(cv2.resize(picture, (256, 256), interpolation=cv2.INTER_AREA))
        return np.concatenate(tiles, 1) if tiles else None

    def save(self, model: FaceTracker, out: Path, **provenance: Any) -> Path:
        """Write `tracker.safetensors`."""
        return checkpoints.save("tracker", model.state_dict(), self.dims, out, data=DATA, **provenance)


def build(data: Path, config: Config, work: Path) -> TrackerTask:
    """What `emotalk train tracker` trains."""
    return TrackerTask(data, config)
