"""Mouths hidden and painted again: `python -m emotalk_cli.evaluation.completion --data DATA`.

Held-out photos of open mouths: what lies between the lips is replaced by the drawn mouth, as the geometry has it and as
it fits the photo best, and by what the painter makes of either. Perceptual distance to the photo, between the lips and
at their rim, by a network that nothing was trained through. The style of the teeth is the one the face gets that shows
none (`plain`, `fitted`), or read from the photo (`read`), which is what a portrait that smiles allows.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

from ..face.geometry.crop import REACH
from ..models.mouth import MouthPainter
from ..training.data.interiors import Scenes, given, prepare
from .independent import EfficientNetLite0

ENLARGED = 4 / 3  # times, for a network that has learned from larger pictures


@torch.inference_mode()
def evaluate(painter: MouthPainter, samples: list[Path], sheet: Path | None = None) -> dict[str, float]:
    """Mean distance by method; sheet: PNG of a row a photo, the photo first, then the methods in order."""
    judge, scenes, rows = EfficientNetLite0.load(), Scenes(), []
    found: dict[str, list[float]] = {}
    for path in samples:
        sample, images = {key: value[None] for key, value in scenes.load(path).items()}, {}
        target = sample["target"].float() / 255
        for kind in ("plain", "fitted"):
            inside = given(target, sample[kind].float() / 255, sample["distance"].float(), sample["light"])
            within = (REACH * inside[:, :1] + 0.5).clamp(0, 1)
            middle = target.new_zeros(1, painter.dims.style)
            images[f"drawn, {kind}"] = torch.lerp(target, inside[:, 1:4], within)
            mouth, cover = painter.painting(inside, target, middle)
            images[f"painted, {kind}"] = torch.lerp(target, mouth.clamp(0, 1), cover)
        style = painter.reader(target, within)[0]
        mouth = painter.painting(inside, target, style)[0].clamp(0, 1)
        images["painted, fitted, read"] = torch.lerp(target, mouth, cover)
        large = [F.interpolate(t, scale_factor=ENLARGED, mode="bilinear") for t in (*images.values(), target, cover)]
        *made, real, mask = large
        values = judge.distance_within(
            torch.cat(made), real.expand(len(made), -1, -1, -1), mask.expand(len(made), -1, -1, -1)
        )
        for name, value in zip(images, values.tolist(), strict=True):
            found.setdefault(name, []).append(value)
        rows.append(torch.cat([target, *images.values()], 3)[0])
    if sheet is not None:
        picture = (torch.cat(rows[:: max(1, len(rows) // 24)], 1) * 255).byte().permute(1, 2, 0).numpy()
        Image.fromarray(np.ascontiguousarray(picture)).save(sheet)
    return {name: float(np.mean(values)) for name, values in found.items()}


def main(arguments: list[str] | None = None) -> None:
    """Print the distances, and each as a share of the drawn mouth's."""
    parser = argparse.ArgumentParser(prog="python -m emotalk_cli.evaluation.completion", description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path, default=Path("runs/completion"), help="folder for the prepared mouths")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--sheet", type=Path)
    options = parser.parse_args(arguments)
    samples = prepare(options.data, options.cache, held_out=True)
    found = evaluate(MouthPainter.load(options.weights).eval(), samples, options.sheet)
    print(f"{len(samples)} held-out mouths; perceptual distance (share of the drawn mouth's)")
    for name, value in found.items():
        print(f"{name:24} {value:.4f} ({value / found['drawn, plain']:.3f})")


if __name__ == "__main__":
    main()
