"""Faces driven by their own film: `python -m emotalk_cli.evaluation.reenactment --data DATA`.

The first frame of a held-out GRID clip is the portrait; moments of the same clip drive it, by their landmarks. Each
made frame is compared with the real one on mouth, eyes and face: PSNR, SSIM, and perceptual distance by a network
that nothing was trained through; beside copying the portrait and the geometry alone.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..constants import CROP_SIZE
from ..face.fit import fit_portrait, snap_lids
from ..face.geometry import FaceMotion, still
from ..face.model import FaceModel
from ..face.topology import LEFT_EYE, RIGHT_EYE
from ..media.ffmpeg import read_frames
from ..models.hef import HEF
from ..training.data.hef_pairs import LandmarkMotion, Photo, aligned, completed
from .generator import compare, lips_box
from .independent import EfficientNetLite0

MOMENTS = 6  # of a clip
REGIONS = ("mouth", "eyes", "face")
EYE_MARGIN = 12  # px


def clips(data: Path, model: FaceModel) -> Iterator[list[Photo]]:
    """Frames of each held-out clip: the first, then moments spread over it."""
    tracks = np.load(data / "grid" / "tracks.npz")
    held_out = set(json.loads((data / "splits.json").read_text())["grid"])
    index, start = torch.tensor(tracks["landmark_index"]), np.concatenate([[0], np.cumsum(tracks["length"])])
    rows = {str(n): slice(a, b) for n, a, b in zip(tracks["name"], start, start[1:], strict=False)}
    landmarks = tracks["landmarks"]
    for path in sorted((data / "grid" / "clips").glob("*.mpg")):
        if path.stem not in held_out or path.stem not in rows:
            continue
        points, frames = landmarks[rows[path.stem]].astype(np.float32), list(read_frames(path))
        chosen = np.linspace(0, min(len(points), len(frames)) - 1, MOMENTS + 2).astype(int)[:-1]
        yield [
            Photo(f"{path.stem}-{i}", frames[i], completed(model, torch.tensor(points[i]), index).numpy())
            for i in chosen
        ]


def eyes_box(landmarks: Tensor) -> Tensor:
    """[1,1,512,512]: 1 in the boxes of the eyes. landmarks [478,2+] crop px."""
    mask = torch.zeros(1, 1, CROP_SIZE, CROP_SIZE)
    for ring in (LEFT_EYE, RIGHT_EYE):
        left, top = (landmarks[ring, :2].amin(0) - EYE_MARGIN).long().tolist()
        right, bottom = (landmarks[ring, :2].amax(0) + EYE_MARGIN).long().tolist()
        mask[..., top:bottom, left:right] = 1
    return mask


@torch.inference_mode()
def evaluate(model: FaceModel, hef: HEF, filmed: Iterator[list[Photo]]) -> dict[str, dict[str, dict[str, float]]]:
    """Means by region, method (copy, geometry, hef) and measure (psnr, ssim, perceptual)."""
    judge = EfficientNetLite0.load()
    sums: dict[str, dict[str, dict[str, list[float]]]] = {}
    for first, *others in filmed:
        fit = fit_portrait(model, first.image, first.landmarks)
        source = hef.source(fit, FaceMotion(model, fit))
        for photo in others:
            image, points = aligned(fit, photo)
            points = snap_lids(image, points)  # as the portrait's own are
            beta = fit_portrait(model, photo.image, photo.landmarks).beta[None]
            geometry = LandmarkMotion(model, fit, points).frame(beta, still(1))
            made = {
                "copy": fit.image[None],
                "geometry": geometry.composite(),
                "hef": hef(source, geometry, beta, still(1)),
            }
            masks = {"mouth": lips_box(points), "eyes": eyes_box(points), "face": geometry.face}
            for region in REGIONS:
                for method, frame in made.items():
                    found = compare(frame, image[None], masks[region])
                    found["perceptual"] = float(judge.distance_within(frame, image[None], masks[region]))
                    kept = sums.setdefault(region, {}).setdefault(method, {})
                    for measure in ("psnr", "ssim", "perceptual"):
                        kept.setdefault(measure, []).append(found[measure])
    return {
        region: {m: {k: float(np.mean(v)) for k, v in found.items()} for m, found in methods.items()}
        for region, methods in sums.items()
    }


def main(arguments: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m emotalk_cli.evaluation.reenactment", description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path)
    options = parser.parse_args(arguments)
    model = FaceModel.load(options.weights)
    result = evaluate(model, HEF.load(options.weights), clips(options.data, model))
    print("| region | method | PSNR dB | SSIM | perceptual |\n|---|---|---|---|---|")
    for region, methods in result.items():
        for method, v in methods.items():
            print(f"| {region} | {method} | {v['psnr']:.2f} | {v['ssim']:.4f} | {v['perceptual']:.4f} |")


if __name__ == "__main__":
    main()
