"""How near generated faces come to real ones: `python -m emotalk_cli.evaluation.generator --data DIR`.

Held-out people photographed neutral and smiling: one photo is driven onto the other's landmarks and compared with it.
HEF stands beside the geometry alone and beside copying the source. Regions: mouth (the lips' box), face, and the
whole portrait crop, where hair and clothes differ between the two photos whatever the method. Landmark error: the
shipped tracker's points on the generated picture against its points on the real one. Perceptual distance: by a network
that nothing was trained through (`independent.EfficientNetLite0`).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from ..constants import CROP_SIZE
from ..face.geometry import FaceMotion, still
from ..face.model import FaceModel
from ..face.topology import INNER_LIPS, N_SKIN, OUTER_EYE_CORNERS, OUTER_LIPS
from ..face.tracker import FaceTracker
from ..models.hef import HEF
from ..training.data.hef_pairs import NEUTRAL, VALIDATION, Photo, pair_geometry, pairs
from .independent import EfficientNetLite0

MEASURES = {"psnr": "PSNR dB", "ssim": "SSIM", "l1": "L1", "perceptual": "perceptual", "landmarks": "landmarks %"}
LIP_MARGIN = 0.15  # of the lips' width
WHEEL = 84  # px: side of the colour wheel


def ssim_map(a: Tensor, b: Tensor) -> Tensor:
    """Structural similarity [B,1,H,W] of images [B,3,H,W] in 0..1 (Wang et al. 2004: 11 px Gaussian, σ 1.5)."""
    axis = torch.arange(-5.0, 6.0, device=a.device)
    line = torch.exp(-0.5 * (axis / 1.5) ** 2)
    line = (line / line.sum()).expand(3, 1, 1, 11)

    def blur(x: Tensor) -> Tensor:
        x = F.conv2d(F.pad(x, (5, 5, 5, 5), mode="reflect"), line, groups=3)
        return F.conv2d(x, line.transpose(2, 3), groups=3)

    mean_a, mean_b = blur(a), blur(b)
    var_a, var_b, both = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2, blur(a * b) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    top = (2 * mean_a * mean_b + c1) * (2 * both + c2)
    return (top / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))).mean(1, keepdim=True)


def compare(image: Tensor, target: Tensor, region: Tensor) -> dict[str, float]:
    """PSNR (dB), SSIM and L1 (0..1) of images [1,3,H,W] under a weight [1,1,H,W]."""
    weight = region / region.sum()
    error = float(((image - target).square().mean(1, keepdim=True) * weight).sum())
    return {
        "psnr": -10 * float(np.log10(max(error, 1e-10))),
        "ssim": float((ssim_map(image, target) * weight).sum()),
        "l1": float(((image - target).abs().mean(1, keepdim=True) * weight).sum()),
    }


Means = dict[str, dict[str, dict[str, float]]]  # by region, method and measure


class Comparison:
    """Frames that methods made, against the real ones: collects, and means by region, method and measure."""

    def __init__(self, judge: EfficientNetLite0) -> None:
        self._judge = judge
        self._sums: dict[str, dict[str, dict[str, list[float]]]] = {}

    def add(
        self,
        made: Mapping[str, Tensor],
        real: Tensor,
        masks: Mapping[str, Tensor],
        landmarks: Mapping[str, Mapping[str, float]] | None = None,
    ) -> None:
        """made: by method, and real: [1,3,512,512] 0..1; masks: [1,1,512,512] of each region. landmarks: errors by
        method and region, where they are known."""
        for region, mask in masks.items():
            for method, frame in made.items():
                found = compare(frame, real, mask)
                found["perceptual"] = float(self._judge.distance_within(frame, real, mask))
                errors = (landmarks or {}).get(method, {})
                if region in errors:
                    found["landmarks"] = errors[region]
                kept = self._sums.setdefault(region, {}).setdefault(method, {})
                for measure, value in found.items():
                    kept.setdefault(measure, []).append(value)

    def means(self) -> Means:
        """Of all that was added."""
        return {
            region: {m: {k: float(np.mean(v)) for k, v in found.items()} for m, found in methods.items()}
            for region, methods in self._sums.items()
        }


def boxes(*corners: tuple[Tensor, Tensor]) -> Tensor:
    """[1,1,512,512]: 1 in boxes, each from its upper left corner [2] to its lower right one [2], crop px."""
    mask = torch.zeros(1, 1, CROP_SIZE, CROP_SIZE)
    for low, high in corners:
        (left, top), (right, bottom) = low.long().clamp_min(0).tolist(), high.long().tolist()
        mask[..., top:bottom, left:right] = 1
    return mask


def lips_box(landmarks: Tensor) -> Tensor:
    """[1,1,512,512]: 1 in the box of the outer lips and a margin. landmarks [478,2+] crop px."""
    lips = landmarks[OUTER_LIPS, :2]
    margin = LIP_MARGIN * (lips[:, 0].max() - lips[:, 0].min())
    return boxes(((lips.min(0).values - margin).round(), (lips.max(0).values + margin).round()))


def pixels(image: Tensor) -> np.ndarray:
    """[1,3,H,W] or [3,H,W] in 0..1 -> uint8 [H,W,3]."""
    return (image.reshape(3, *image.shape[-2:]).clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()


def keep(folder: Path | None, name: str, picture: np.ndarray) -> None:
    """Write uint8 [H,W,3] as `<folder>/<name>.png`, for other judges; nothing without a folder."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(folder / f"{name}.png")


def landmark_errors(tracker: FaceTracker, images: dict[str, Tensor], target: Tensor) -> dict[str, dict[str, float]]:
    """By method, then by region (mouth, face): mean distance of tracked landmarks to those tracked on the target
    [1,3,H,W], in % of the distance of its outer eye corners. A picture without a face is left out."""
    real = tracker(pixels(target))
    found = {method: tracker(pixels(image)) for method, image in images.items()}
    if not real or not all(found.values()):
        return {}
    points = real[0].landmarks[:, :2]
    unit = np.linalg.norm(points[OUTER_EYE_CORNERS[0]] - points[OUTER_EYE_CORNERS[1]]) / 100
    groups = {"mouth": OUTER_LIPS + INNER_LIPS, "face": range(N_SKIN)}
    return {
        method: {
            region: float(np.linalg.norm(faces[0].landmarks[group, :2] - points[group], axis=1).mean() / unit)
            for region, group in ((r, list(g)) for r, g in groups.items())
        }
        for method, faces in found.items()
    }


def wheel(flow: Tensor) -> np.ndarray:
    """Flow [2,H,W] px as colours uint8 [H,W,3] (Baker et al. 2007), the wheel with its radius in px in the corner."""
    from torchvision.utils import flow_to_image

    axis = torch.linspace(-1, 1, WHEEL)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    inside = x * x + y * y <= 1
    disc = flow_to_image(torch.stack([x, y]) * inside).permute(1, 2, 0)
    picture = flow_to_image(flow.float()).permute(1, 2, 0).contiguous()
    picture[:WHEEL, -WHEEL:][inside] = disc[inside]
    return picture.numpy()


@torch.inference_mode()
def flow_sheet(model: FaceModel, hefs: dict[str, HEF], shown: Iterable[tuple[Photo, Photo]], path: Path) -> None:
    """PNG in the manner of Fig. 6 and 11. Columns: source, I^rd, φ_geo, then by generator ψ (what it adds to the
    flow), its whole flow and its frame. Each field has its own scale; the captions give its largest vector."""
    from matplotlib.figure import Figure

    rows = []
    for source, target in shown:
        portrait, geometry, _, _, beta = pair_geometry(model, source, target)
        row = [("source", pixels(portrait.image)), ("$I^{rd}$", pixels(geometry.rendered))]
        for number, (name, hef) in enumerate(hefs.items()):
            drive, encoded = hef.drive(geometry), hef.source(portrait, FaceMotion(model, portrait))
            _, parts = hef.refine(encoded, drive, beta[None], still(1))
            fields = [] if number else [("$φ_{geo}$", hef.window(geometry.flow))]
            fields += [(f"{name}: $ψ_N$", parts["flow"]), (f"{name}: $φ_N$", drive.flow + parts["flow"])]
            for caption, field in fields:
                longest = float(field.norm(dim=1).max())
                row.append((f"{caption}, ≤ {longest:.1f} px", wheel(field[0])))
            row.append((name, pixels(hef(encoded, geometry, beta[None], still(1)))))
        rows.append(row)
    figure = Figure(figsize=(2.4 * len(rows[0]), 2.6 * len(rows)), layout="constrained")
    for axes, row in zip(figure.subplots(len(rows), len(rows[0]), squeeze=False), rows, strict=True):
        for axis, (caption, picture) in zip(axes, row, strict=True):
            axis.imshow(picture)
            axis.set_title(caption, fontsize=8)
            axis.set_axis_off()
    figure.savefig(path, dpi=110)


@torch.inference_mode()
def evaluate(
    model: FaceModel,
    tracker: FaceTracker,
    hefs: dict[str, HEF],
    shown: Iterable[tuple[Photo, Photo]],
    sheet: Path | None = None,
    save: Path | None = None,
) -> dict[str, Means]:
    """Mean figures by direction, region, method ("copy", "geometry" and the names of `hefs`) and measure.

    sheet: PNG of all images. save: a folder for each of them, `<person>.<target's set>.<method or real>.png`, for
    other judges.
    """
    judge = EfficientNetLite0.load()
    comparisons: dict[str, Comparison] = {}
    rows = []
    for source, target in shown:
        portrait, geometry, image, points, beta = pair_geometry(model, source, target)
        images = {"copy": portrait.image[None], "geometry": geometry.composite()}
        motion = FaceMotion(model, portrait)
        images |= {n: hef(hef.source(portrait, motion), geometry, beta[None], still(1)) for n, hef in hefs.items()}
        masks = {"mouth": lips_box(points), "face": geometry.face, "full": torch.ones_like(geometry.face)}
        direction = "neutral to smiling" if source.name.startswith(NEUTRAL) else "smiling to neutral"
        errors = landmark_errors(tracker, images, image[None])
        comparisons.setdefault(direction, Comparison(judge)).add(images, image[None], masks, errors)
        for method, picture in (images | {"real": image[None]}).items():
            keep(save, f"{target.person}.{target.name.split('/')[0]}.{method}", pixels(picture))
        rows.append(torch.cat([*images.values(), image[None]], 3)[0, :, 90:470])
    if sheet is not None:
        Image.fromarray(pixels(torch.cat(rows, 1))).save(sheet)
    return {direction: comparison.means() for direction, comparison in comparisons.items()}


def table(result: dict) -> str:
    """The figures as a Markdown table."""
    lines = [f"| direction | region | method | {' | '.join(MEASURES.values())} |", "|---" * (3 + len(MEASURES)) + "|"]
    for direction, regions in result.items():
        for region, methods in regions.items():
            for method, v in methods.items():
                marks = f"{v['landmarks']:.2f}" if "landmarks" in v else "–"
                figures = f"{v['psnr']:.2f} | {v['ssim']:.4f} | {v['l1']:.4f} | {v['perceptual']:.4f} | {marks}"
                lines.append(f"| {direction} | {region} | {method} | {figures} |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Print the table; --json writes the figures, --sheet and --save the pictures, --flow three pairs' flow."""
    parser = argparse.ArgumentParser(prog="python -m emotalk_cli.evaluation.generator")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, default=None)
    parser.add_argument("--split", choices=("test", "validation"), default="test")
    parser.add_argument("--json", type=Path, default=None)
    parser.add_argument("--sheet", type=Path, default=None)
    parser.add_argument("--flow", type=Path, default=None)
    parser.add_argument("--save", type=Path, default=None, help="folder for the pictures, for other judges")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    model, tracker = FaceModel.load(options.weights), FaceTracker.load(options.weights)
    hefs = {"hef": HEF.load(options.weights)}
    found = list(pairs(options.data, held_out=options.split == "test"))
    if options.split == "validation":
        found = [pair for pair in found if pair[0].person in VALIDATION]
    result = evaluate(model, tracker, hefs, found, options.sheet, options.save)
    if options.json is not None:
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    if options.flow is not None:
        flow_sheet(model, hefs, [*found[:2], found[-1]], options.flow)
    print(table(result))


if __name__ == "__main__":
    main()
