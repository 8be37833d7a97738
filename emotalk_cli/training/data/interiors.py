"""Samples for the mouth painter: open mouths of photos, with the drawn mouth as it would be and as it fits the photo.

Each is a file <folder>.<photo>.npz of maps on the mouth's crop: target [3,h,w], plain and fitted [9,h,w] (colour
without light, `teeth.parts`, normals) as bytes, distance int8 (quarters of a px inside the lips), and the light, gain
and opening.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from ...face.fit import fit_portrait
from ...face.geometry import still
from ...face.geometry.mouth import CROP_HEIGHT, CROP_WIDTH, laid
from ...face.geometry.teeth import Layout, fit_layout
from ...face.model import FaceModel
from ...face.topology import INNER_LIPS, OUTER_EYE_CORNERS
from ...media.ffmpeg import read_frames
from .hef_pairs import LandmarkMotion, Photo, completed

OPEN, GAPING = 0.04, 0.55  # inner-lip gap / distance of the outer eye corners; beyond, tongues and yawns
FILM_OPEN, FILM_FRAMES = 0.07, 4  # of a filmed clip: from which gap on, and how many frames
NEAR = 10  # px outside the lips to which the drawn mouth is kept
STEP = 4  # stored distances a px


def open_photos(data: Path, held_out: bool) -> Iterator[Photo]:
    """Photos of the data pack that show open mouths, of the training split or of the test split; the widest first."""
    splits = json.loads((data / "splits.json").read_text())
    test = {name for key in ("faces", "faces_more") for name in splits.get(key, ())}
    for file in ("labels_more.npz", "labels.npz"):
        if not (data / "faces" / file).exists():
            continue
        labels = np.load(data / "faces" / file)
        points = labels["landmarks"].astype(np.float32)
        gaps, eyes = (
            np.linalg.norm(points[:, a, :2] - points[:, b, :2], axis=1) for a, b in ((13, 14), OUTER_EYE_CORNERS)
        )
        for row in np.argsort(-gaps / eyes):
            name = str(labels["name"][row])
            if OPEN < gaps[row] / eyes[row] < GAPING and (name in test) == held_out:
                yield Photo(name, np.asarray(Image.open(data / "faces" / name).convert("RGB")), points[row])


def open_frames(data: Path, model: FaceModel) -> Iterator[Photo]:
    """Frames of the training split's GRID clips in which the mouth is open."""
    tracks = np.load(data / "grid" / "tracks.npz")
    held_out = set(json.loads((data / "splits.json").read_text())["grid"])
    index = torch.tensor(tracks["landmark_index"])
    where = {int(v): i for i, v in enumerate(index)}
    start = np.concatenate([[0], np.cumsum(tracks["length"])])
    rows = {str(n): slice(a, b) for n, a, b in zip(tracks["name"], start, start[1:], strict=False)}
    landmarks = tracks["landmarks"]
    for path in sorted((data / "grid" / "clips").glob("*.mpg")):
        if path.stem in held_out or path.stem not in rows:
            continue
        points = landmarks[rows[path.stem]].astype(np.float32)
        gaps, eyes = (
            np.linalg.norm(points[:, where[a], :2] - points[:, where[b], :2], axis=1)
            for a, b in ((13, 14), OUTER_EYE_CORNERS)
        )
        opened = np.flatnonzero(gaps / eyes > FILM_OPEN)
        if len(opened) < FILM_FRAMES:
            continue
        order = (gaps / eyes)[opened].argsort()
        frames = list(read_frames(path))
        for i in opened[order][np.linspace(0, len(opened) - 1, FILM_FRAMES).astype(int)]:
            i = min(int(i), len(frames) - 1)
            full = completed(model, torch.tensor(points[i]), index).numpy()
            yield Photo(f"grid/{path.stem}-{i:02d}", frames[i], full)


@torch.no_grad()
def sample(model: FaceModel, photo: Photo) -> dict[str, np.ndarray]:
    """The arrays of one photo."""
    portrait = fit_portrait(model, photo.image, photo.landmarks)
    motion = LandmarkMotion(model, portrait, portrait.landmarks)
    mouth, beta, pose = motion.mouth, portrait.beta[None], still(1)
    place, points = mouth.place(pose), portrait.landmarks[None]
    distance, target = mouth.distance(points[:, INNER_LIPS, :2], place), laid(portrait.image[None], place)
    shade = mouth.shadow(distance) * mouth.light[:, None, None]
    vertices = mouth.vertices(beta, pose, place)
    fitted = fit_layout(vertices, model.mouth_triangles, mouth.group, mouth.look, target, distance, shade)

    def byte(tensor: Tensor) -> np.ndarray:
        return (tensor.clamp(0, 1) * 255 + 0.5).byte().numpy()

    def drawn(layout: Layout) -> np.ndarray:
        seen = mouth.seen(beta, pose, place, layout)[0] * (distance > -NEAR)
        return np.concatenate([byte(seen[:7]), byte(seen[7:] * 0.5 + 0.5)])

    limit = 127 / STEP
    return {
        "target": byte(target[0]),
        "distance": (distance[0].clamp(-limit, limit) * STEP).round().to(torch.int8).numpy(),
        "plain": drawn(Layout.plain()),
        "fitted": drawn(fitted),
        "light": mouth.light.numpy(),
        "gain": np.float32(fitted.gain),
        "opening": np.float32(photo.opening),
    }


def prepare(data: Path, cache: Path, held_out: bool = False) -> list[Path]:
    """Make the samples that are not there yet; all of the folder's, in order."""
    cache.mkdir(parents=True, exist_ok=True)
    model = FaceModel.load()
    photos = open_photos(data, held_out)
    for photo in photos if held_out else (*photos, *open_frames(data, model)):
        path = cache / f"{photo.name.replace('/', '.').rsplit('.', 1)[0]}.npz"
        if path.exists():
            continue
        part = path.with_suffix(".part")
        with open(part, "wb") as file:
            np.savez(file, **sample(model, photo))
        part.rename(path)
    return sorted(cache.glob("*.npz"))


def load(path: Path) -> dict[str, Tensor]:
    """A sample as tensors: maps [21,h,w] 0..1 (target, fitted, plain; normals -1..1), distance [1,h,w] px, the rest."""
    with np.load(path) as file:
        maps = torch.from_numpy(np.concatenate([file["target"], file["fitted"], file["plain"]])).float() / 255
        for normals in (maps[10:12], maps[19:21]):
            normals.mul_(2).sub_(1)
        distance = torch.from_numpy(file["distance"].astype(np.float32))[None] / STEP
        rest = {key: torch.from_numpy(np.asarray(file[key])) for key in ("light", "gain", "opening")}
    return {"maps": maps, "distance": distance, **rest}


def moved(maps: Tensor, turn: float, zoom: float, shift: tuple[float, float], mirror: bool) -> Tensor:
    """Maps [C,h,w] turned (rad), zoomed, shifted (of the size) and mirrored."""
    cos, sin, ratio = np.cos(turn) / zoom, np.sin(turn) / zoom, CROP_HEIGHT / CROP_WIDTH
    flip = -1.0 if mirror else 1.0
    theta = maps.new_tensor([[flip * cos, -sin * ratio, shift[0]], [flip * sin / ratio, cos, shift[1]]])
    grid = F.affine_grid(theta[None], (1, 1, CROP_HEIGHT, CROP_WIDTH), align_corners=False)
    return F.grid_sample(maps[None], grid, padding_mode="border", align_corners=False)[0]
