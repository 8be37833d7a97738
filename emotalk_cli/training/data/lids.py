"""Samples for the lid painter: both eyes of every photo, and moments of blinks in film, on the painter's crop.

One file, lids.npz: image [N,h,w,3] uint8; outline [N,16,2] and iris [N,2] px of the crop; width [N], px of the eye in
its photo; of [N], the photo or clip; left [N]; film [N].
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

from ...face.fit import snap_lids
from ...face.geometry.crop import local
from ...face.topology import LEFT_EYE, RIGHT_EYE
from ...media.ffmpeg import read_frames
from ...models.lids import EYE_WIDTH, LEFT, RIGHT, placed, seen
from . import arrays
from .filmed import LEFT_LIDS, RIGHT_LIDS, clips

SIDES = ((LEFT_EYE, 473, LEFT), (RIGHT_EYE, 468, RIGHT))
PIXELS, FILM_PIXELS = 22, 14  # least width of an eye in a photo, in a film
BLINKS, OTHERS = 6, 4  # moments of a clip in which eyes are most closed, and others
NARROW = 0.75  # of a clip's median opening, below which eyes close


def photos(data: Path, held_out: bool) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """(person, uint8 [H,W,3], landmarks [478,3] px) of the training split, or of the test split."""
    splits = json.loads((data / "splits.json").read_text())
    for file, key in (("labels.npz", "faces"), ("labels_more.npz", "faces_more")):
        if not (data / "faces" / file).exists():
            continue
        labels, test = np.load(data / "faces" / file), set(splits.get(key, ()))
        for name, points in zip(labels["name"].astype(str), labels["landmarks"], strict=True):
            if (name in test) == held_out:
                folder, photo = name.split("/")
                person = "london" + photo.split("_")[0] if folder.startswith("london") else name
                yield person, np.asarray(Image.open(data / "faces" / name).convert("RGB")), points


def moments(data: Path, held_out: bool) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """The same of GRID's clips."""
    for clip in clips(data, held_out):
        frames = list(read_frames(clip.path))
        count = min(len(clip.points), len(frames))
        gap = np.minimum(clip.apart(*LEFT_LIDS), clip.apart(*RIGHT_LIDS))[:count]
        closed = [i for i in gap.argsort() if gap[i] < NARROW * np.median(gap)][:BLINKS]
        for i in sorted({*closed, *np.linspace(2, count - 1, OTHERS).astype(int)}):
            full = np.zeros((478, 3), np.float32)
            full[clip.index] = clip.points[i]
            yield f"grid{clip.path.stem}", frames[i], full


def eyes(image: np.ndarray, landmarks: np.ndarray) -> Iterator[tuple[Tensor, Tensor, Tensor, float]]:
    """Left, then right: crop [3,h,w] 0..1, outline [16,2] and iris [2] px of it, width of the eye in the picture."""
    pixels = torch.tensor(image).permute(2, 0, 1).float() / 255
    points = snap_lids(pixels, torch.tensor(landmarks).float())[:, :2]
    for ring, iris, side in SIDES:
        outline = points[None, ring]
        place, width = placed(outline, (side,)), float((outline[0, 0] - outline[0, 8]).norm())
        shrink, picture = max(int(width / EYE_WIDTH), 1), pixels[None]
        if shrink > 1:  # or pixels between the samples would not count
            picture = F.avg_pool2d(picture, shrink)
        there = local(torch.cat([outline, points[None, [iris]]], 1), place)[0]
        yield seen(picture, place / shrink)[0], there[:16], there[16], width


def prepare(data: Path, folder: Path, held_out: bool = False) -> Path:
    """Make lids.npz in a folder, unless it is there."""
    path = folder / "lids.npz"
    if path.exists():
        return path
    rows = []
    for film, found in ((False, photos(data, held_out)), (True, moments(data, held_out))):
        for person, image, landmarks in found:
            both = list(eyes(image, landmarks))
            if min(width for *_, width in both) >= (FILM_PIXELS if film else PIXELS):
                rows += [(*eye, person, left, film) for left, eye in zip((True, False), both, strict=True)]
    columns = list(zip(*rows, strict=True))
    images, outlines, irises = (torch.stack(column) for column in columns[:3])
    folder.mkdir(parents=True, exist_ok=True)
    kept = {
        "image": (images * 255).round().byte().permute(0, 2, 3, 1).numpy(),
        "outline": outlines.half().numpy(),
        "iris": irises.half().numpy(),
        "width": np.array(columns[3], np.float32),
        "of": np.array(columns[4]),
        "left": np.array(columns[5]),
        "film": np.array(columns[6]),
    }
    arrays.save(path, kept, compressed=True)
    return path
