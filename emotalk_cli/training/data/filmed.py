"""GRID's clips that have video, with the landmarks of their frames, from the data pack."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

LEFT_LIDS, RIGHT_LIDS, LIPS = (386, 374), (159, 145), (13, 14)  # middles that meet


@dataclass(frozen=True)
class Clip:
    """A clip. points [T,K,3] float32 px of the frames; index [K]: which of the 478 landmarks they are."""

    path: Path
    points: np.ndarray
    index: np.ndarray

    def apart(self, a: int, b: int) -> np.ndarray:
        """Distance px of two landmarks in each frame: [T]."""
        first, second = (int(np.flatnonzero(self.index == vertex)[0]) for vertex in (a, b))
        return np.linalg.norm(self.points[:, first, :2] - self.points[:, second, :2], axis=1)


def clips(data: Path, held_out: bool) -> Iterator[Clip]:
    """Clips of the training split, or of the test split."""
    tracks = np.load(data / "grid" / "tracks.npz")
    test = set(json.loads((data / "splits.json").read_text())["grid"])
    start = np.concatenate([[0], np.cumsum(tracks["length"])])
    rows = {str(n): slice(a, b) for n, a, b in zip(tracks["name"], start, start[1:], strict=False)}
    landmarks, index = tracks["landmarks"], tracks["landmark_index"]
    for path in sorted((data / "grid" / "clips").glob("*.mpg")):
        if (path.stem in test) == held_out and path.stem in rows:
            yield Clip(path, landmarks[rows[path.stem]].astype(np.float32), index)
