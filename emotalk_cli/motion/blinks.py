"""Blinks of a filmed face, told by pixels: an eye over which a lid comes down takes the colour of the skin above it.

Landmarkers of still pictures follow lids badly: the shipped one leaves them half open where they are shut.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..face.topology import LEFT_EYE, RIGHT_EYE

WIDTH, HEIGHT = 20, 14  # samples over an eye, from corner to corner
ABOVE, BELOW = 0.42, 0.28  # eye widths over and under the line between its corners
SKIN_ROWS = 3  # the uppermost, which show skin while the eye is open
CONTRAST = 0.06  # of skin against the open eye, rms of 0..1, below which nothing can be told
# How much of the way to skin an eye has gone that begins to close, and one that is shut. Against MediaPipe's scores on
# 47 training clips and 2 others of GRID's s1: r = 0.95 within clips (the landmarker's own scores 0.84); a shut eye
# reads 0.68, an open one under 0.05 in 19 of 20 frames.
BEGINS, SHUT = 0.12, 0.62


def patches(frame: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Both eyes of a frame uint8 [H,W,3] with landmarks [478,2+] px, the subject's left first: uint8 [2,14,20,3]."""
    x = (torch.arange(WIDTH) + 0.5) / WIDTH
    y = torch.linspace(ABOVE, -BELOW, HEIGHT)
    grids = []
    for ring in (LEFT_EYE, RIGHT_EYE):
        ends = torch.from_numpy(landmarks[[ring[0], ring[8]], :2]).float()
        a, b = ends[ends[:, 0].argsort()]
        along = b - a
        up = torch.stack([along[1], -along[0]])
        grids.append(a + x[None, :, None] * along + y[:, None, None] * up)
    grid = torch.stack(grids)
    corner = grid.amin((0, 1, 2)).floor().long().clamp_min(0)
    end = grid.amax((0, 1, 2)).ceil().long() + 2
    part = np.ascontiguousarray(frame[corner[1] : end[1], corner[0] : end[0]])
    if part.size == 0:
        return np.zeros((2, HEIGHT, WIDTH, 3), np.uint8)
    pixels = torch.from_numpy(part).permute(2, 0, 1)[None].float()
    at = (grid - corner) * torch.tensor([2 / part.shape[1], 2 / part.shape[0]]) - 1
    found = F.grid_sample(pixels.expand(2, -1, -1, -1), at, padding_mode="border", align_corners=False)
    return found.permute(0, 2, 3, 1).round().byte().numpy()


def closures(seen: Sequence[np.ndarray]) -> Tensor:
    """How far each eye is shut, 0..1, in the frames of a film, most of which show it open: patches -> [T,2]."""
    eyes = torch.from_numpy(np.stack(seen))  # bytes: floats of ten minutes of film would take 100 MB
    closed = []
    for eye in eyes.unbind(1):
        usual = eye.median(0).values.float()
        skin = usual[:SKIN_ROWS].flatten(0, 1).median(0).values
        way = skin - usual
        if way.square().mean().sqrt() < CONTRAST * 255:
            closed.append(torch.zeros(len(eye)))
            continue
        gone = torch.cat([((part - usual) * way).sum((1, 2, 3)) for part in eye.split(256)]) / way.square().sum()
        closed.append(((gone - BEGINS) / (SHUT - BEGINS)).clamp(0, 1))
    return torch.stack(closed, 1)
