"""Landmarks from upright crops of a face: crop geometry and the networks that regress shapes.

`Landmarker` reads the whole face, `MouthLandmarker` the mouth and chin alone at a resolution of its own. Both guess a
shape (similarity x PCA) from the whole crop, then correct it from features sampled at its landmarks.
Landmarks are in MediaPipe's order. A pixel i covers [i, i+1).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .topology import ARKIT_NAMES, INNER_LIPS, N_VERTICES, OUTER_EYE_CORNERS, OUTER_LIPS

LANDMARKS, SCORES = N_VERTICES, len(ARKIT_NAMES)
RIGHT_CORNER, LEFT_CORNER = OUTER_EYE_CORNERS  # the subject's right eye is on the image's left
# Landmarks at which `Landmarker` samples features for its correction.
ANCHORS = (
    0, 13, 14, 17, 37, 267, 39, 269, 61, 291, 78, 308, 80, 310, 82, 312, 87, 317, 88, 318, 84, 314, 91, 321, 40, 270,
    33, 263, 133, 362, 145, 374, 153, 380, 159, 386, 160, 385, 144, 373, 158, 387, 161, 388, 468, 473, 469, 476, 471,
    474, 46, 276, 52, 282, 55, 285, 65, 295, 70, 300, 105, 334, 107, 336, 1, 2, 4, 6, 168, 48, 278, 98, 327, 197,
    10, 54, 284, 67, 297, 127, 356, 234, 454, 93, 323, 132, 361, 58, 288, 172, 397, 136, 365, 150, 379, 176, 400, 152,
    50, 280, 151, 199,
)  # fmt: skip
LIPS = (*INNER_LIPS, *OUTER_LIPS)  # the first of the points of `MouthLandmarker`


@dataclasses.dataclass(frozen=True)
class TrackerDims:
    """What rebuilds the networks from a checkpoint. crop, mouth_crop: px; margin, mouth_margin: crop side / face size.

    mouth_points: landmarks that the mouth's network places.
    """

    crop: int = 128
    margin: float = 1.3
    components: int = 128
    hidden: int = 256
    detector: tuple[int, ...] = (16, 24, 48)
    widths: tuple[int, ...] = (16, 24, 48, 96, 160)
    mouth_points: int = 0
    mouth_crop: int = 96
    mouth_margin: float = 0.64
    mouth_components: int = 48
    mouth_widths: tuple[int, ...] = (12, 16, 24, 48, 96)


def crop_frames(landmarks: Tensor) -> Tensor:
    """The upright square of each face: [B,N>=468,2+] image px -> [B,4] (centre x, centre y, size, roll in rad).

    roll is the angle of the line through the outer eye corners; size the longer side of the bounds in that frame.
    """
    points = landmarks[..., :2]
    across = points[:, LEFT_CORNER] - points[:, RIGHT_CORNER]
    roll = torch.atan2(across[:, 1], across[:, 0])
    cos, sin = roll.cos(), roll.sin()
    x = points[..., 0] * cos[:, None] + points[..., 1] * sin[:, None]
    y = points[..., 1] * cos[:, None] - points[..., 0] * sin[:, None]
    low, high = torch.stack([x.amin(1), y.amin(1)], 1), torch.stack([x.amax(1), y.amax(1)], 1)
    middle, size = (low + high) / 2, (high - low).amax(1)
    centre_x = middle[:, 0] * cos - middle[:, 1] * sin
    centre_y = middle[:, 0] * sin + middle[:, 1] * cos
    return torch.stack([centre_x, centre_y, size, roll], 1)


def cut(image: Tensor, frame: Sequence[float], pixels: int, margin: float) -> Tensor:
    """Upright square crop of one face: uint8 [3,H,W] -> float [1,3,pixels,pixels] in -1..1, edges replicated.

    frame: (centre x, centre y, size, roll) in image px; the crop's side is size x margin.
    """
    x, y, size, roll = (float(v) for v in frame)
    half = size * margin / 2
    reach = half * (abs(math.cos(roll)) + abs(math.sin(roll))) + 2
    height, width = image.shape[-2:]
    left, top = (int(min(max(c - reach, 0), n - 1)) for c, n in ((x, width), (y, height)))
    right, bottom = (int(min(max(math.ceil(c + reach), i + 1), n)) for c, n, i in ((x, width, left), (y, height, top)))
    part = image[None, :, top:bottom, left:right].float()
    x, y = x - left, y - top
    while 2 * half / pixels > 1.5 and min(part.shape[-2:]) > 1:  # halve first: bilinear sampling alone would alias
        part = F.avg_pool2d(part, 2)
        x, y, half = x / 2, y / 2, half / 2
    unit = (torch.arange(pixels, device=image.device) + 0.5) * (2 / pixels) - 1
    v, u = torch.meshgrid(unit * half, unit * half, indexing="ij")
    cos, sin = math.cos(roll), math.sin(roll)
    grid_x = (x + u * cos - v * sin) * (2 / part.shape[-1]) - 1
    grid_y = (y + u * sin + v * cos) * (2 / part.shape[-2]) - 1
    grid = torch.stack([grid_x, grid_y], -1)[None]
    return F.grid_sample(part, grid, padding_mode="border", align_corners=False) / 127.5 - 1


class Block(nn.Module):
    """Two 3x3 convolutions around a shortcut; batch-normalised."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, dilation, dilation, bias=False)
        self.first_norm = nn.BatchNorm2d(outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, dilation, dilation, bias=False)
        self.second_norm = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            pool = nn.AvgPool2d(stride) if stride != 1 else nn.Identity()
            project = nn.Conv2d(inputs, outputs, 1, bias=False)
            self.shortcut = nn.Sequential(pool, project, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        inner = self.second_norm(self.second(F.relu(self.first_norm(self.first(x)))))
        return F.relu(inner + self.shortcut(x))


def stem(outputs: int) -> nn.Sequential:
    """Picture -> features at half its size."""
    return nn.Sequential(nn.Conv2d(3, outputs, 3, 2, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


class ShapeRegressor(nn.Module):
    """Upright crop -> points, by a guess from the whole crop and `rounds` corrections from features at `anchors`.

    early: picture -> features of widths[1] channels; widths: channels of all stages; cells: of the last map;
    local: width of the correction's hidden layer; anchors: numbers of the points where features are sampled.
    """

    def __init__(
        self,
        early: nn.Sequential,
        widths: tuple[int, ...],
        cells: int,
        summary: tuple[int, int],
        local: int,
        points: int,
        components: int,
        anchors: Sequence[int],
        rounds: int,
    ):
        super().__init__()
        _, b, c, d, e = widths
        self.early, self.rounds = early, rounds
        self.middle = nn.Sequential(Block(b, c, 2), Block(c, c))
        self.late = nn.Sequential(Block(c, d, 2), Block(d, d), Block(d, e, 2), nn.Conv2d(e, summary[0], 1), nn.ReLU())
        self.summary = nn.Sequential(nn.Flatten(), nn.Linear(summary[0] * cells, summary[1]), nn.ReLU())
        self.shape = nn.Linear(summary[1], 4 + components)
        self.fine = nn.Conv2d(b, b, 1)
        self.coarse = nn.Conv2d(c, b, 1)
        self.local = nn.Sequential(nn.Linear(b * len(anchors) + summary[1], local), nn.ReLU())
        self.correction = nn.Linear(local, 4 + components)
        self.mean = nn.Parameter(torch.zeros(points, 3))
        self.basis = nn.Parameter(torch.zeros(components, points, 3))
        self.anchors: Tensor
        self.register_buffer("anchors", torch.tensor(anchors), persistent=False)
        for layer in (self.shape, self.correction):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)

    def points(self, shape: Tensor) -> Tensor:
        """[B,4+K] similarity (log-free scale-rotation a-1, b; shift x, y) and PCA weights -> [B,P,3] crop units."""
        local = self.mean + torch.einsum("bk,kni->bni", shape[:, 4:], self.basis)
        a, b = 1 + shape[:, 0, None], shape[:, 1, None]
        x = local[..., 0] * a - local[..., 1] * b + shape[:, 2, None]
        y = local[..., 0] * b + local[..., 1] * a + shape[:, 3, None]
        return torch.stack([x, y, local[..., 2] * (a * a + b * b).sqrt()], -1)

    def regress(self, crops: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """[B,3,crop,crop] in -1..1 -> final and first points [B,P,3] in crop units (x, y in -1..1 across the crop, z
        on the same scale), what the whole crop and what the last correction saw.
        """
        early = self.early(crops)
        middle = self.middle(early)
        summary = self.summary(self.late(middle)).float()
        shape = self.shape(summary).float()
        first = points = self.points(shape)
        maps = (self.fine(early) + F.interpolate(self.coarse(middle), scale_factor=2, mode="nearest")).float()
        for _ in range(self.rounds):
            places = points[:, self.anchors, None, :2].detach()
            samples = F.grid_sample(maps, places, padding_mode="border", align_corners=False)
            local = self.local(torch.cat([samples.flatten(1), summary], 1)).float()
            shape = shape + self.correction(local).float()
            points = self.points(shape)
        return points, first, summary, local


class Landmarker(ShapeRegressor):
    """Face crop -> landmarks, expression scores, confidence."""

    anchors: Tensor

    def __init__(self, dims: TrackerDims) -> None:
        a, b, *_ = dims.widths
        early = nn.Sequential(stem(a), Block(a, b, 2), Block(b, b))
        cells = (dims.crop // 32) ** 2
        super().__init__(
            early, dims.widths, cells, (96, dims.hidden), 192, LANDMARKS, dims.components, ANCHORS, rounds=1
        )
        self.scores = nn.Linear(dims.hidden, SCORES)
        self.confidence = nn.Linear(dims.hidden, 1)
        self.score_correction = nn.Linear(192, SCORES)

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """[B,3,crop,crop] in -1..1 -> final and first landmarks [B,478,3], score logits [B,51], confidence logit [B].

        Landmarks are in crop units: x, y in -1..1 across the crop, z on the same scale.
        """
        final, first, summary, local = self.regress(crops)
        scores = self.scores(summary).float() + self.score_correction(local).float()
        return final, first, scores, self.confidence(summary).float()[:, 0]


class MouthLandmarker(ShapeRegressor):
    """Mouth crop -> the landmarks `vertices` of mouth and chin.

    Buffers: vertices [P] numbers of the mesh; share [P] 0..1, how far its word counts: 1 on the lips, fading outwards.
    """

    vertices: Tensor
    share: Tensor

    def __init__(self, dims: TrackerDims) -> None:
        a, b, *_ = dims.mouth_widths
        early = nn.Sequential(stem(a), Block(a, b))
        cells = (dims.mouth_crop // 16) ** 2
        super().__init__(
            early,
            dims.mouth_widths,
            cells,
            (48, 160),
            128,
            dims.mouth_points,
            dims.mouth_components,
            range(len(LIPS)),
            rounds=2,
        )
        self.register_buffer("vertices", torch.zeros(dims.mouth_points, dtype=torch.long))
        self.register_buffer("share", torch.zeros(dims.mouth_points))

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        """[B,3,mouth_crop,mouth_crop] in -1..1 -> final and first points [B,P,3], crop units as `Landmarker`'s."""
        return self.regress(crops)[:2]


def mouth_frames(landmarks: Tensor) -> Tensor:
    """The upright square around each mouth: [B,478,2+] image px -> [B,4], as `crop_frames` but centred on the lips."""
    frames = crop_frames(landmarks)
    return torch.cat([landmarks[:, OUTER_LIPS, :2].mean(1), frames[:, 2:]], 1)


def placed(local: Tensor, frames: Tensor, margin: float) -> Tensor:
    """Points [B,P,3] in units of the crop that `cut` makes of `frames` [B,4] -> image px."""
    half, roll = frames[:, 2, None] * margin / 2, frames[:, 3, None]
    x = frames[:, 0, None] + half * (local[..., 0] * roll.cos() - local[..., 1] * roll.sin())
    y = frames[:, 1, None] + half * (local[..., 0] * roll.sin() + local[..., 1] * roll.cos())
    return torch.stack([x, y, local[..., 2] * half], -1)
