"""Accuracy of the face tracker on the held-out faces of the data pack, and on harder versions of them.

    python -m emotalk_cli.evaluation.landmarks --data DIR [--weights DIR] [--json FILE] [--only still,roll30,...]

Errors are mean 2D distances to the labels, in percent of the distance between the outer eye corners. A face counts as
found when a detected box overlaps the labelled one (IoU > 0.4). The labels were made by the MediaPipe Face Landmarker.
`--only mouths` measures how far lips are seen to be apart: on all held-out photos, and on the same with their mouths
opened and closed by mesh warps.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch

from ..face.detector import overlap
from ..face.landmarker import LEFT_CORNER, RIGHT_CORNER, crop_frames
from ..face.topology import BROWS, INNER_LIPS, LEFT_EYE, N_SKIN, N_VERTICES, OUTER_LIPS, RIGHT_EYE
from ..face.tracker import Face, FaceTracker
from ..media.ffmpeg import read_frames
from ..training.data.faces import SETS, Labelled, MeshWarp, load_faces, moved
from ..training.data.mouths import openings, random_mouth

REGIONS = {
    "lips": np.array(INNER_LIPS + OUTER_LIPS),
    "eyelids": np.array(LEFT_EYE + RIGHT_EYE),
    "irises": np.arange(N_SKIN, N_VERTICES),
    "brows": np.array(BROWS),
}
APART, SHUT = 5.0, 2.0  # % of the outer eye distance
FACELESS = ("coffee", "rocket", "chelsea")  # skimage pictures that the tracker never saw
Variant = Callable[[Labelled, np.random.Generator], tuple[np.ndarray, np.ndarray]]


def rolled(degrees: float) -> Variant:
    """The picture turned in its plane, edges replicated."""

    def make(face: Labelled, rng: np.random.Generator):
        side = face.image.shape[0]
        affine = cv2.getRotationMatrix2D((side / 2, side / 2), degrees * rng.choice([-1, 1]), 0.8)
        shifted = affine.copy()
        shifted[:, 2] += affine[:, :2] @ (0.5, 0.5) - 0.5
        image = cv2.warpAffine(face.image, shifted, (side, side), borderMode=cv2.BORDER_REPLICATE)
        return image, moved(face.landmarks, affine)

    return make


def sized(share: float, background: np.ndarray) -> Variant:
    """The face's longer side is `share` of the picture's (800 px), the rest is another picture."""

    def make(face: Labelled, rng: np.random.Generator):
        side = 800
        size = float(crop_frames(torch.from_numpy(face.landmarks[None]))[0, 2])
        scale = share * side / size
        extent = face.image.shape[0] * scale
        canvas = cv2.resize(background, (side, side))
        centre = face.landmarks[:, :2].mean(0) * scale
        place = rng.uniform(0.35, 0.65, 2) * side if extent < side else np.full(2, side / 2)
        affine = np.array([[scale, 0, place[0] - centre[0]], [0, scale, place[1] - centre[1]]])
        shifted = affine.copy()
        shifted[:, 2] += affine[:, :2] @ (0.5, 0.5) - 0.5
        source = cv2.blur(face.image, (int(1 / scale),) * 2) if scale < 0.5 else face.image
        mask = cv2.warpAffine(np.ones(face.image.shape[:2], np.uint8), shifted, (side, side))
        image = cv2.warpAffine(source, shifted, (side, side), borderMode=cv2.BORDER_REPLICATE)
        return np.where(mask[..., None] > 0, image, canvas), moved(face.landmarks, affine)

    return make


def turned(warp: MeshWarp, degrees: float) -> Variant:
    """The head turned by a mesh warp until its yaw is `degrees` to a side."""

    def make(face: Labelled, rng: np.random.Generator):
        target = warp.turned(face.landmarks, math.radians(degrees * rng.choice([-1, 1])), 0.0)
        return warp.move(face.image, face.landmarks, target, rng)

    return make


def grey(face: Labelled, rng: np.random.Generator):
    """Luminance only."""
    return np.repeat(cv2.cvtColor(face.image, cv2.COLOR_RGB2GRAY)[..., None], 3, 2), face.landmarks


def side_lit(face: Labelled, rng: np.random.Generator):
    """One half of the face at 15 % of its light."""
    side = face.image.shape[0]
    middle = face.landmarks[:, 0].mean()
    ramp = np.tanh(rng.choice([-1, 1]) * (np.arange(side) - middle) / (0.08 * side))
    return (face.image * (0.575 + 0.425 * ramp)[None, :, None]).astype(np.uint8), face.landmarks


def compressed(face: Labelled, rng: np.random.Generator):
    """Reduced to 160 px, JPEG quality 30, noise."""
    small = cv2.resize(face.image, (160, 160), interpolation=cv2.INTER_AREA)
    small = np.clip(small + rng.normal(0, 8, small.shape), 0, 255).astype(np.uint8)
    coded = cv2.imdecode(cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 30])[1], cv2.IMREAD_COLOR)
    return coded, face.landmarks * (160 / face.image.shape[0])


def variants(data: Path) -> dict[str, Variant]:
    """Name -> how a labelled photo is made harder."""
    import skimage.data

    warp = MeshWarp(dict(np.load(data / "face_basis_478.npz")))
    out: dict[str, Variant] = {"still": lambda face, rng: (face.image, face.landmarks)}
    out |= {f"size{p}": sized(p / 100, skimage.data.coffee()) for p in (8, 15, 30, 60, 90)}
    out |= {f"roll{d}": rolled(d) for d in (15, 30, 45)}
    out |= {f"yaw{d}": turned(warp, d) for d in (20, 35)}
    return out | {"grey": grey, "side light": side_lit, "jpeg 160 px": compressed}


def matched(faces: list[Face], landmarks: np.ndarray) -> Face | None:
    """The found face that best overlaps the labelled one, None if IoU <= 0.4."""
    low, high = landmarks[:, :2].min(0), landmarks[:, :2].max(0)
    overlaps = [overlap(face.box, (*low, *high)) for face in faces]
    return faces[int(np.argmax(overlaps))] if overlaps and max(overlaps) > 0.4 else None


def measure(tracker: FaceTracker, faces: list[Labelled], variant: Variant, seed: int = 0) -> dict[str, float]:
    """Share found, error (%) over all landmarks and by region, extra faces, seconds a picture."""
    rng = np.random.default_rng(seed)
    errors, extra, spent, score_errors = [], 0, 0.0, []
    for face in faces:
        image, landmarks = variant(face, rng)
        started = time.perf_counter()
        found = tracker(image)
        spent += time.perf_counter() - started
        best = matched(found, landmarks)
        extra += len(found) - (best is not None)
        if best is None:
            continue
        eyes = np.linalg.norm(landmarks[RIGHT_CORNER, :2] - landmarks[LEFT_CORNER, :2])
        errors.append(100 * np.linalg.norm(best.landmarks[:, :2] - landmarks[:, :2], axis=1) / eyes)
        score_errors.append(np.abs(best.blendshapes - face.blendshapes).mean())
    table = np.array(errors).reshape(-1, N_VERTICES)
    result = {"found": len(table) / len(faces), "extra": float(extra), "seconds": spent / len(faces)}
    if len(table):
        result["error"] = float(table.mean())
        result["worst tenth"] = float(np.quantile(table.mean(1), 0.9))
        result |= {name: float(table[:, index].mean()) for name, index in REGIONS.items()}
        result["blendshapes"] = float(np.mean(score_errors))
    return result


def mouths(tracker: FaceTracker, faces: list[Labelled], variant: Variant, seed: int = 0) -> dict[str, float]:
    """How well the inner lips' distance is seen (% of that of the outer eye corners).

    apart: faces whose lips are labelled as more than `APART` apart, with r, slope and bias of the distance there;
    shut: those below `SHUT`; lips: error of the 40 points of both contours.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for face in faces:
        image, landmarks = variant(face, rng)
        best = matched(tracker(image), landmarks)
        if best is not None:
            eyes = np.linalg.norm(landmarks[RIGHT_CORNER, :2] - landmarks[LEFT_CORNER, :2])
            lips = np.linalg.norm((best.landmarks - landmarks)[REGIONS["lips"], :2], axis=1)
            gap = np.linalg.norm((best.landmarks[13] - best.landmarks[14])[:2])
            rows.append((openings(landmarks), 100 * gap / eyes, 100 * lips.mean() / eyes))
    true, seen, error = np.array(rows).T
    apart, shut = true > APART, true < SHUT
    return {
        "found": len(rows) / len(faces),
        "apart": float(apart.sum()),
        "r": float(np.corrcoef(true[apart], seen[apart])[0, 1]),
        "slope": float(np.polyfit(true[apart], seen[apart], 1)[0]),
        "bias": float((seen - true)[apart].mean()),
        "lips apart": float(error[apart].mean()),
        "lips of the widest tenth": float(error[true >= np.quantile(true, 0.9)].mean()),
        "shut": float(shut.sum()),
        "opening of shut": float(seen[shut].mean()),
        "lips shut": float(error[shut].mean()),
        "lips": float(error.mean()),
    }


def rotation_error(tracker: FaceTracker, data: Path, faces: list[Labelled]) -> float:
    """Mean angle (degrees) between the tracker's head rotation and the labelled transform."""
    labels = np.load(data / "faces/labels.npz")
    transforms = dict(zip((str(n) for n in labels["name"]), labels["transform"], strict=True))
    axes, angles = np.diag([1.0, -1.0, -1.0]), []
    for face in faces:
        best = matched(tracker(face.image), face.landmarks)
        if best is None:
            continue
        truth = axes @ transforms[face.name][:3, :3] @ axes
        u, _, v = np.linalg.svd(truth)
        found = cv2.Rodrigues(best.rotation.astype(np.float64))[0]
        angles.append(math.degrees(math.acos(min(1.0, (np.trace(found.T @ u @ v) - 1) / 2))))
    return float(np.mean(angles))


def video_errors(tracker: FaceTracker, data: Path) -> dict[str, float]:
    """Held-out GRID clips through `track`: error (%) of the labelled points and r of the mouth's opening."""
    tracks = np.load(data / "grid/tracks.npz")
    names, index = [str(n) for n in tracks["name"]], tracks["landmark_index"]
    starts = np.cumsum(tracks["length"]) - tracks["length"]
    landmarks, held_out = tracks["landmarks"], json.loads((data / "splits.json").read_text())["grid"]
    errors, openings, seconds, frames = [], [], 0.0, 0
    for name in held_out:
        path = data / "grid/clips" / f"{name}.mpg"
        if name not in names or not path.is_file():
            continue
        images = list(read_frames(path))
        started = time.perf_counter()
        faces = tracker.track(images)
        seconds, frames = seconds + time.perf_counter() - started, frames + len(images)
        start = starts[names.index(name)]
        pairs = [(f.landmarks[index], landmarks[start + k].astype(float)) for k, f in enumerate(faces[:75]) if f]
        found, truth = (np.stack(side)[..., :2] for side in zip(*pairs, strict=True))
        right, left, upper, lower = (int(np.flatnonzero(index == k)[0]) for k in (RIGHT_CORNER, LEFT_CORNER, 13, 14))
        eyes = np.linalg.norm(truth[:, right] - truth[:, left], axis=1).mean()
        errors.append(100 * np.linalg.norm(found - truth, axis=2).mean() / eyes)
        gaps = [np.linalg.norm(side[:, upper] - side[:, lower], axis=1) for side in (found, truth)]
        openings.append(np.corrcoef(*gaps)[0, 1])
    return {
        "clips": float(len(errors)),
        "error": float(np.mean(errors)),
        "opening r": float(np.mean(openings)),
        "seconds a frame": seconds / frames,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the training data pack")
    parser.add_argument("--weights", type=Path, default=None)
    parser.add_argument("--only", default="", help="comma-separated variants, default all")
    parser.add_argument("--device", default="cpu", help="where the tracker runs")
    parser.add_argument("--json", type=Path, default=None, help="write the figures to this file")
    args = parser.parse_args()
    import skimage.data

    tracker = FaceTracker.load(args.weights, args.device)
    faces = load_faces(args.data, test=True)
    table: dict[str, object] = {}
    for name, variant in variants(args.data).items():
        if args.only and name not in args.only.split(","):
            continue
        table[name] = result = measure(tracker, faces, variant)
        print(f"{name:12s}", "  ".join(f"{k} {v:.3f}" for k, v in result.items()), flush=True)
    if not args.only or "mouths" in args.only.split(","):
        everybody = load_faces(args.data, test=True, sets=tuple(SETS))
        warp = MeshWarp(dict(np.load(args.data / "face_basis_478.npz")))

        def reshaped(face: Labelled, rng: np.random.Generator):
            return warp.move(face.image, face.landmarks, random_mouth(warp, face, rng), rng)

        for name, variant in (("mouths", variants(args.data)["still"]), ("mouths made", reshaped)):
            table[name] = result = mouths(tracker, everybody, variant)
            print(f"{name:12s}", "  ".join(f"{k} {v:.3f}" for k, v in result.items()), flush=True)
    if args.only:
        return
    table["rotation degrees"] = rotation_error(tracker, args.data, faces)
    table["faces in faceless pictures"] = {n: len(tracker(getattr(skimage.data, n)())) for n in FACELESS}
    table["video"] = video_errors(tracker, args.data)
    print({k: table[k] for k in ("rotation degrees", "faces in faceless pictures", "video")})
    if args.json:
        args.json.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
