"""How near generated faces come to real ones: `python -m emotalk_cli.metrics.generator --data DIR`.

Held-out people photographed neutral and smiling: one photo is driven onto the other's landmarks and compared with it.
HEF stands beside the geometry alone and beside copying the source. Regions: mouth (the lips' box), face, and the
whole portrait crop, where hair and clothes differ between the two photos whatever the method.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from ..face.fit import CROP_SIZE
from ..face.model import OUTER_LIPS, FaceModel
from ..face.motion import still
from ..hef import HEF
from ..training.hef_pairs import NEUTRAL, pair_geometry, pairs

METHODS, REGIONS = ("copy", "geometry", "hef"), ("mouth", "face", "full")
LIP_MARGIN = 0.15  # of the lips' width


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


def lips_box(landmarks: Tensor) -> Tensor:
    """[1,1,512,512]: 1 in the box of the outer lips and a margin. landmarks [478,2+] crop px."""
    lips = landmarks[OUTER_LIPS, :2]
    margin = LIP_MARGIN * (lips[:, 0].max() - lips[:, 0].min())
    left, top = (lips.min(0).values - margin).round().long().clamp_min(0).tolist()
    right, bottom = (lips.max(0).values + margin).round().long().tolist()
    mask = torch.zeros(1, 1, CROP_SIZE, CROP_SIZE)
    mask[..., top:bottom, left:right] = 1
    return mask


@torch.inference_mode()
def evaluate(data: Path, weights: Path | None = None, sheet: Path | None = None) -> dict:
    """Mean figures by direction, region and method over all held-out pairs; sheet: PNG of all images."""
    model, hef = FaceModel.load(weights), HEF.load(weights)
    sums: dict[str, dict[str, dict[str, list[dict[str, float]]]]] = {}
    rows = []
    for source, target in pairs(data, held_out=True):
        portrait, geometry, image, points, beta = pair_geometry(model, source, target)
        frame = hef(hef.source(portrait), geometry, beta[None], still(1))
        images = {"copy": portrait.image[None], "geometry": geometry.composite(), "hef": frame}
        masks = {"mouth": lips_box(points), "face": geometry.face, "full": torch.ones_like(geometry.face)}
        direction = "neutral to smiling" if source.name.startswith(NEUTRAL) else "smiling to neutral"
        for name in REGIONS:
            for method in METHODS:
                found = compare(images[method], image[None], masks[name])
                sums.setdefault(direction, {}).setdefault(name, {}).setdefault(method, []).append(found)
        rows.append(torch.cat([*images.values(), image[None]], 3)[0, :, 90:470])
    if sheet is not None:
        pixels = (torch.cat(rows, 1).clamp(0, 1) * 255).byte().permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(sheet)
    return {
        direction: {
            region: {m: {k: float(np.mean([f[k] for f in found])) for k in found[0]} for m, found in methods.items()}
            for region, methods in regions.items()
        }
        for direction, regions in sums.items()
    }


def table(result: dict) -> str:
    """The figures as a Markdown table."""
    lines = ["| direction | region | method | PSNR dB | SSIM | L1 |", "|---|---|---|---|---|---|"]
    for direction, regions in result.items():
        for region, methods in regions.items():
            for method, v in methods.items():
                figures = f"{v['psnr']:.2f} | {v['ssim']:.4f} | {v['l1']:.4f}"
                lines.append(f"| {direction} | {region} | {method} | {figures} |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Print the table; --json writes the figures, --sheet the pictures."""
    parser = argparse.ArgumentParser(prog="python -m emotalk_cli.metrics.generator")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, default=None)
    parser.add_argument("--json", type=Path, default=None)
    parser.add_argument("--sheet", type=Path, default=None)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    result = evaluate(options.data, options.weights, options.sheet)
    if options.json is not None:
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    print(table(result))


if __name__ == "__main__":
    main()
