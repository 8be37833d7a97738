#!/usr/bin/env python3
"""Pictures with a teacher's mattes, for `emotalk train matte`: MediaPipe's selfie segmentation on stills.

python tools/matte_teacher.py DATA OUT      needs mediapipe<0.10.10 and Pillow, in an environment of their own

Writes OUT/train and OUT/test (held-out names of splits.json): images.npy [N,256,256,3], mattes.npy [N,256,256], uint8.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 256
CLOSER = (0.6, 1.0)  # part of the picture that a second view shows


def views(path: Path, count: int, rng: random.Random) -> Iterator[np.ndarray]:
    """The picture's middle square, then random parts of it, uint8 [SIDE,SIDE,3]."""
    picture = Image.open(path).convert("RGB")
    side = min(picture.size)
    for number in range(count):
        part = side * (1.0 if number == 0 else rng.uniform(*CLOSER))
        left, top = ((a - part) * (0.5 if number == 0 else rng.random()) for a in picture.size)
        yield np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS, (left, top, left + part, top + part)))


def main(data: Path, out: Path) -> None:
    """Write both parts."""
    import mediapipe

    splits = json.loads((data / "splits.json").read_text())
    held = {*splits["faces"], *splits["faces_more"]}
    files = sorted(p for p in (data / "faces").rglob("*") if p.suffix in (".jpg", ".png"))
    test = [path for path in files if str(path.relative_to(data / "faces")) in held]
    parts = {"test": (test, 1), "train": ([path for path in files if path not in set(test)], 2)}
    teacher = mediapipe.solutions.selfie_segmentation.SelfieSegmentation(model_selection=0)
    rng = random.Random(0)
    for part, (paths, count) in parts.items():
        images = [view for path in paths for view in views(path, count, rng)]
        mattes = [(teacher.process(view).segmentation_mask * 255).round().astype(np.uint8) for view in images]
        (out / part).mkdir(parents=True, exist_ok=True)
        np.save(out / part / "images.npy", np.stack(images))
        np.save(out / part / "mattes.npy", np.stack(mattes))
        print(f"{out / part}: {len(images)} views", file=sys.stderr)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
