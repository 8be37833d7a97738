"""Faces driven by their own film: `python -m emotalk_cli.evaluation.reenactment --data DATA`.

The first frame of a held-out GRID clip is the portrait; moments of the same clip drive it, by their landmarks. Each
made frame is compared with the real one on mouth, eyes and face: PSNR, SSIM, and perceptual distance by a network
that nothing was trained through; beside copying the portrait and the geometry alone. With --films the same for any
films, as `emotalk generate --motion FILM --pose FILM` drives them: head, lids and all.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..api import EmoTalk
from ..constants import CROP_SIZE, FPS
from ..face.fit import cut, fit_portrait, snap_lids
from ..face.geometry import FaceMotion, still
from ..face.model import FaceModel
from ..face.topology import LEFT_EYE, RIGHT_EYE
from ..media.ffmpeg import read_frames
from ..media.framing import window
from ..models.hef import HEF
from ..training.data.hef_pairs import LandmarkMotion, Photo, aligned, completed
from .generator import Comparison, Means, boxes, lips_box
from .independent import EfficientNetLite0

MOMENTS, FILM_MOMENTS = 6, 13  # of a clip driven by landmarks; of a film
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
    eyes = (landmarks[ring, :2] for ring in (LEFT_EYE, RIGHT_EYE))
    return boxes(*((eye.amin(0) - EYE_MARGIN, eye.amax(0) + EYE_MARGIN) for eye in eyes))


@torch.inference_mode()
def evaluate(model: FaceModel, hef: HEF, filmed: Iterable[list[Photo]]) -> Means:
    """Driven by landmarks, the head still."""
    comparison = Comparison(EfficientNetLite0.load())
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
            comparison.add(made, image[None], masks)
    return comparison.means()


@torch.inference_mode()
def driven(talkers: dict[str, EmoTalk], films: Sequence[Path]) -> Means:
    """Films by their own motion and pose; talkers: by their generator."""
    comparison = Comparison(EfficientNetLite0.load())
    talker = talkers["hef"]
    for film in films:
        real = list(read_frames(film, FPS))
        made = {name: list(t.frames(real[0], None, motion=film, pose=str(film))) for name, t in talkers.items()}
        left, top, side = box = window(talker.portrait(real[0]).fit)
        known = talker.tracker.upright(real[0])[1][0]
        for at in np.linspace(0, min(len(real), len(made["hef"])) - 1, FILM_MOMENTS + 1).astype(int)[1:]:
            face = talker.tracker.track([real[at]], known)[0]
            if face is None:
                continue
            known = face
            points = torch.from_numpy((face.landmarks - [left, top, 0]) * CROP_SIZE / side).float()
            face_box = points[:, :2].amin(0), points[:, :2].amax(0)
            frames = {"copy": cut(real[0], box)} | {name: frames[at] for name, frames in made.items()}
            masks = {"mouth": lips_box(points), "eyes": eyes_box(points), "face": boxes(face_box)}
            comparison.add({name: _pixels(frame) for name, frame in frames.items()}, _pixels(cut(real[at], box)), masks)
    return comparison.means()


def _pixels(frame: np.ndarray) -> Tensor:
    return torch.from_numpy(frame.copy()).permute(2, 0, 1)[None].float() / 255


def main(arguments: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m emotalk_cli.evaluation.reenactment", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--data", type=Path, help="the data pack")
    what.add_argument("--films", type=Path, nargs="+", help="films of one face each")
    parser.add_argument("--weights", type=Path)
    options = parser.parse_args(arguments)
    if options.films:
        talkers = {name: EmoTalk.load(options.weights, generator=name) for name in ("geometry", "hef")}
        result = driven(talkers, options.films)
    else:
        model = FaceModel.load(options.weights)
        result = evaluate(model, HEF.load(options.weights), clips(options.data, model))
    print("| region | method | PSNR dB | SSIM | perceptual |\n|---|---|---|---|---|")
    for region, methods in result.items():
        for method, v in methods.items():
            print(f"| {region} | {method} | {v['psnr']:.2f} | {v['ssim']:.4f} | {v['perceptual']:.4f} |")


if __name__ == "__main__":
    main()
