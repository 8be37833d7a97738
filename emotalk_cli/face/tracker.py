"""Face tracker: any picture -> 478 landmarks, 51 expression scores and a head rotation per face.

Two small networks of the project's own, both in `weights/tracker.safetensors`:

- `Detector`, a fully convolutional heat-map net. It finds faces 16 to 64 px high and is run on three
  reductions of the picture, so that faces from about 6 % to 100 % of its longer side are found.
- `Landmarker`, which regresses a shape (similarity x PCA) from a face crop, then corrects it once from
  features sampled at the landmarks. It is run twice, the second time on the crop of its own first result.

Landmarks are in MediaPipe's order. A pixel i covers [i, i+1).
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..models import checkpoints
from .model import rotation_vector
from .topology import ARKIT_NAMES, N_VERTICES, OUTER_EYE_CORNERS

LANDMARKS, SCORES = N_VERTICES, len(ARKIT_NAMES)
RIGHT_CORNER, LEFT_CORNER = OUTER_EYE_CORNERS  # the subject's right eye is on the image's left
# Points that facial expression moves least; their rigid fit gives the head's rotation.
RIGID = (1, 2, 4, 5, 6, 8, 9, 10, 33, 50, 93, 98, 101, 127, 133, 151, 168, 195, 197, 234, 263, 280, 323, 327, 330, 356,
         362, 454)  # fmt: skip
# Landmarks at which `Landmarker` samples features for its correction.
ANCHORS = (
    0, 13, 14, 17, 37, 267, 39, 269, 61, 291, 78, 308, 80, 310, 82, 312, 87, 317, 88, 318, 84, 314, 91, 321, 40, 270,
    33, 263, 133, 362, 145, 374, 153, 380, 159, 386, 160, 385, 144, 373, 158, 387, 161, 388, 468, 473, 469, 476, 471,
    474, 46, 276, 52, 282, 55, 285, 65, 295, 70, 300, 105, 334, 107, 336, 1, 2, 4, 6, 168, 48, 278, 98, 327, 197,
    10, 54, 284, 67, 297, 127, 356, 234, 454, 93, 323, 132, 361, 58, 288, 172, 397, 136, 365, 150, 379, 176, 400, 152,
    50, 280, 151, 199,
)  # fmt: skip
LEVELS = (64, 160, 320)  # longer side of the reductions that the detector sees
STRIDE = 8
SIZE_UNIT = 32.0  # px: the detector's size output is log(size / SIZE_UNIT)


@dataclasses.dataclass(frozen=True)
class TrackerDims:
    """What rebuilds the networks from a checkpoint. crop: px; margin: crop side / face size."""

    crop: int = 128
    margin: float = 1.3
    components: int = 128
    hidden: int = 256
    detector: tuple[int, ...] = (16, 24, 48)
    widths: tuple[int, ...] = (16, 24, 48, 96, 160)


@dataclasses.dataclass
class Detection:
    """box: (x0, y0, x1, y1) image px, the square around the upright face; score 0..1; roll: rad, clockwise."""

    box: tuple[float, float, float, float]
    score: float
    roll: float


@dataclasses.dataclass
class Face:
    """One face.

    landmarks: [478,3] float32, image px (x right, y down, z away from the camera, same scale).
    box: (x0, y0, x1, y1), the landmarks' bounds. score: 0..1, how surely this is a face.
    blendshapes: [51] float32 0..1, ARKit order without `_neutral`.
    rotation: [3] float32, rotation vector in rad, camera space (x right, y down, z away); zero looks at the camera.
    """

    landmarks: np.ndarray
    box: tuple[float, float, float, float]
    score: float
    blendshapes: np.ndarray
    rotation: np.ndarray

    @property
    def area(self) -> float:
        """Area of the box in square px."""
        return (self.box[2] - self.box[0]) * (self.box[3] - self.box[1])


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

    def __init__(self, inputs: int, outputs: int, stride: int = 1, dilation: int = 1):
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, dilation, dilation, bias=False)
        self.first_norm = nn.BatchNorm2d(outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, dilation, dilation, bias=False)
        self.second_norm = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Identity()
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


class Detector(nn.Module):
    """Anchor-free face detector for faces 16 to 64 px high, |roll| up to 60 degrees."""

    def __init__(self, dims: TrackerDims):
        super().__init__()
        a, b, c = dims.detector
        self.body = nn.Sequential(
            stem(a), Block(a, b, 2), Block(b, c, 2), Block(c, c, dilation=2), Block(c, c, dilation=2)
        )
        self.head = nn.Conv2d(c, 6, 1)
        nn.init.constant_(self.head.bias, 0.0)
        nn.init.constant_(self.head.bias[:1], -3.0)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """[B,3,H,W] in -1..1, sides multiples of 8 -> heat logits [B,H/8,W/8] and geometry [B,5,H/8,W/8].

        Geometry: centre offset x, y (cells, from the cell's middle), log(size / 32 px), cos and sin of the roll.
        """
        out = self.head(self.body(images))
        return out[:, 0], out[:, 1:]


class Landmarker(nn.Module):
    """Face crop -> landmarks, expression scores, confidence."""

    def __init__(self, dims: TrackerDims):
        super().__init__()
        a, b, c, d, e = dims.widths
        self.early = nn.Sequential(stem(a), Block(a, b, 2), Block(b, b))
        self.middle = nn.Sequential(Block(b, c, 2), Block(c, c))
        self.late = nn.Sequential(Block(c, d, 2), Block(d, d), Block(d, e, 2), nn.Conv2d(e, 96, 1), nn.ReLU())
        cells = (dims.crop // 32) ** 2
        self.summary = nn.Sequential(nn.Flatten(), nn.Linear(96 * cells, dims.hidden), nn.ReLU())
        self.shape = nn.Linear(dims.hidden, 4 + dims.components)
        self.scores = nn.Linear(dims.hidden, SCORES)
        self.confidence = nn.Linear(dims.hidden, 1)
        self.fine = nn.Conv2d(b, b, 1)
        self.coarse = nn.Conv2d(c, b, 1)
        self.local = nn.Sequential(nn.Linear(b * len(ANCHORS) + dims.hidden, 192), nn.ReLU())
        self.correction = nn.Linear(192, 4 + dims.components)
        self.score_correction = nn.Linear(192, SCORES)
        self.mean = nn.Parameter(torch.zeros(LANDMARKS, 3))
        self.basis = nn.Parameter(torch.zeros(dims.components, LANDMARKS, 3))
        self.register_buffer("anchors", torch.tensor(ANCHORS), persistent=False)
        for layer in (self.shape, self.correction):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)

    def points(self, shape: Tensor) -> Tensor:
        """[B,4+K] similarity (log-free scale-rotation a-1, b; shift x, y) and PCA weights -> [B,478,3] crop units."""
        local = self.mean + torch.einsum("bk,kni->bni", shape[:, 4:], self.basis)
        a, b = 1 + shape[:, 0, None], shape[:, 1, None]
        x = local[..., 0] * a - local[..., 1] * b + shape[:, 2, None]
        y = local[..., 0] * b + local[..., 1] * a + shape[:, 3, None]
        return torch.stack([x, y, local[..., 2] * (a * a + b * b).sqrt()], -1)

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """[B,3,crop,crop] in -1..1 -> final and first landmarks [B,478,3], score logits [B,51], confidence logit [B].

        Landmarks are in crop units: x, y in -1..1 across the crop, z on the same scale.
        """
        early = self.early(crops)
        middle = self.middle(early)
        summary = self.summary(self.late(middle)).float()
        shape = self.shape(summary).float()
        first = self.points(shape)
        maps = self.fine(early) + F.interpolate(self.coarse(middle), scale_factor=2, mode="nearest")
        places = first[:, self.anchors, None, :2].detach()
        samples = F.grid_sample(maps.float(), places, padding_mode="border", align_corners=False)
        local = self.local(torch.cat([samples.flatten(1), summary], 1)).float()
        final = self.points(shape + self.correction(local).float())
        scores = self.scores(summary).float() + self.score_correction(local).float()
        return final, first, scores, self.confidence(summary).float()[:, 0]


class FaceTracker(nn.Module):
    """Detector and landmarker behind one call."""

    threshold = 0.65  # of a face's score, see `_score`
    candidate = 0.25  # of the detector's heat: every candidate is verified by the landmarker
    kept = 0.5  # of the landmarker's confidence alone, for a face that is being followed

    def __init__(self, dims: TrackerDims | None = None):
        super().__init__()
        self.dims = dims or TrackerDims()
        self.detector = Detector(self.dims)
        self.landmarker = Landmarker(self.dims)
        self.register_buffer("rigid", torch.zeros(len(RIGID), 3))  # cm, camera axes

    @classmethod
    def load(cls, weights: str | os.PathLike | None = None, device: str | torch.device = "cpu") -> FaceTracker:
        """The shipped tracker, in evaluation mode. Raises WeightsError (see checkpoints.load)."""
        checkpoint = checkpoints.load("tracker", weights)
        return checkpoint.fill(cls(checkpoint.sizes(TrackerDims))).to(device, memory_format=torch.channels_last)

    @property
    def device(self) -> torch.device:
        return self.rigid.device

    def _tensor(self, image: np.ndarray) -> Tensor:
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise ValueError(f"expected a uint8 picture [H,W,3], got {image.dtype} {list(image.shape)}")
        return torch.tensor(image, device=self.device).permute(2, 0, 1)

    @torch.inference_mode()
    def detect(self, image: np.ndarray) -> list[Detection]:
        """Candidate faces of a uint8 [H,W,3] picture, best first, overlaps removed."""
        return [
            Detection(_square(candidate), candidate[4], candidate[3])
            for candidate in self._candidates(self._tensor(image))
        ]

    def _candidates(self, image: Tensor) -> list[tuple[float, ...]]:
        """uint8 [3,H,W] -> (centre x, centre y, size, roll, score), best first."""
        found = []
        height, width = image.shape[-2:]
        step = max(1, max(height, width) // (5 * LEVELS[-1]))  # the antialiased reduction below averages 5 x 5 of these
        source = image[None, :, ::step, ::step].float()
        for level in sorted(LEVELS, reverse=True):
            ratio = level / max(height, width)
            rows, columns = (max(8, round(n * ratio)) for n in (height, width))
            source = F.interpolate(source, (rows, columns), mode="bilinear", antialias=True)
            # A grey rim lets the net see faces that the picture's edge cuts.
            pad = [STRIDE, STRIDE + -columns % STRIDE, STRIDE, STRIDE + -rows % STRIDE]
            heat, geometry = self.detector(F.pad(source / 127.5 - 1, pad))
            heat, geometry = heat[0].sigmoid(), geometry[0]
            peaks = (heat == F.max_pool2d(heat[None], 3, 1, 1)[0]) & (heat > self.candidate)
            for i, j in peaks.nonzero().tolist():
                dx, dy, size, cos, sin = geometry[:, i, j].tolist()
                x = ((j + 0.5 + dx) * STRIDE - STRIDE) * width / columns
                y = ((i + 0.5 + dy) * STRIDE - STRIDE) * height / rows
                size = SIZE_UNIT * math.exp(min(max(size, -1.5), 1.5)) / ratio
                found.append((x, y, size, math.atan2(sin, cos), heat[i, j].item()))
        kept = _distinct([_square(frame) for frame in found], [frame[4] for frame in found])
        return [found[i] for i in kept[:32]]

    def align(self, images: Sequence[Tensor], frames: Tensor, passes: int) -> tuple[Tensor, Tensor, Tensor]:
        """Landmarks [B,478,3] px, scores [B,51] and confidence [B] in 0..1 for one crop of each uint8 image [3,H,W].

        frames: [B,4] as `crop_frames` gives them; each further pass reads the crop that the one before found.
        """
        confidence = scores = points = None
        for _ in range(passes):
            frames = frames.float()
            rows = frames.tolist()
            crops = [cut(image, row, self.dims.crop, self.dims.margin) for image, row in zip(images, rows, strict=True)]
            batch = torch.cat(crops).to(memory_format=torch.channels_last)
            local, _, scores, logit = self.landmarker(batch)
            half, roll = frames[:, 2, None] * self.dims.margin / 2, frames[:, 3, None]
            x = frames[:, 0, None] + half * (local[..., 0] * roll.cos() - local[..., 1] * roll.sin())
            y = frames[:, 1, None] + half * (local[..., 0] * roll.sin() + local[..., 1] * roll.cos())
            points = torch.stack([x, y, local[..., 2] * half], -1)
            confidence = logit.sigmoid()
            frames = crop_frames(points)
        return points, scores.sigmoid(), confidence

    def _faces(self, points: Tensor, scores: Tensor, confidence: Tensor) -> list[Face]:
        rotations = head_rotations(points[:, list(RIGID)], self.rigid).cpu().numpy()
        arrays = points.float().cpu().numpy()
        faces = []
        for i, (landmarks, box) in enumerate(zip(arrays, _bounds(points), strict=True)):
            faces.append(Face(landmarks, tuple(box), float(confidence[i]), scores[i].cpu().numpy(), rotations[i]))
        return faces

    @torch.inference_mode()
    def forward(self, image: np.ndarray) -> list[Face]:
        """All faces of a uint8 [H,W,3] picture, the largest first; [] when there is none."""
        tensor = self._tensor(image)
        candidates = self._candidates(tensor)
        if not candidates:
            return []
        frames = torch.tensor([c[:4] for c in candidates], device=self.device)
        heat = torch.tensor([c[4] for c in candidates], device=self.device)
        points, _, confidence = self.align([tensor] * len(frames), frames, 1)
        score = _score(confidence, heat)
        kept = [i for i in _distinct(_bounds(points), score.tolist()) if score[i] >= self.threshold / 2]
        if not kept:
            return []
        points, scores, confidence = self.align([tensor] * len(kept), crop_frames(points[kept]), 2)
        faces = self._faces(points, scores, _score(confidence, heat[kept]))
        kept = _distinct([face.box for face in faces], [face.score for face in faces])
        faces = [faces[i] for i in kept if faces[i].score >= self.threshold]
        return sorted(faces, key=lambda face: -face.area)

    @torch.inference_mode()
    def track(self, images: Sequence[np.ndarray], previous: Face | None = None, batch: int = 8) -> list[Face | None]:
        """Follow one face through consecutive uint8 [H,W,3] frames of one size.

        previous: the face in the frame before (None: the largest face is looked for). Frames are read `batch` at a
        time from the last known crop; a frame where that fails is searched anew. None marks frames without a face.
        """
        faces: list[Face | None] = []
        for start in range(0, len(images), batch):
            chunk = images[start : start + batch]
            if previous is None:
                previous = next(iter(self(chunk[0])), None)
            found: list[Face | None] = [None] * len(chunk)
            if previous is not None:
                frame = crop_frames(torch.from_numpy(previous.landmarks[None]).to(self.device))
                tensors = [self._tensor(image) for image in chunk]
                found = list(self._faces(*self.align(tensors, frame.expand(len(chunk), 4), 2)))
            for i, face in enumerate(found):
                if face is None or face.score < self.kept:
                    found[i] = next(iter(self(chunk[i])), None)
            faces += found
            previous = found[-1]
        return faces


def head_rotations(points: Tensor, rigid: Tensor) -> Tensor:
    """Rotation vectors [B,3] (rad) that turn `rigid` [N,3] to `points` [B,N,3] (weak perspective, Kabsch)."""
    centred, model = points - points.mean(1, keepdim=True), rigid - rigid.mean(0)
    u, _, v = torch.linalg.svd(torch.einsum("bni,nj->bij", centred, model))
    sign = torch.ones(len(points), 3, device=points.device)
    sign[:, 2] = torch.det(u @ v).sign()
    rotation = (u * sign[:, None]) @ v
    return rotation_vector(rotation)


def _square(frame: Sequence[float]) -> tuple[float, float, float, float]:
    x, y, half = frame[0], frame[1], frame[2] / 2
    return x - half, y - half, x + half, y + half


def _bounds(points: Tensor) -> list[tuple[float, ...]]:
    return torch.cat([points[..., :2].amin(1), points[..., :2].amax(1)], 1).tolist()


def _score(confidence: Tensor, heat: Tensor) -> Tensor:
    """How surely a candidate is a face: the landmarker, which sees more pixels, counts most."""
    return confidence.square() * heat.sqrt()


def _distinct(boxes: Sequence[Sequence[float]], scores: Sequence[float]) -> list[int]:
    """Indices of the boxes, best score first, without those that overlap a better one (IoU > 0.4)."""
    kept: list[int] = []
    for i in sorted(range(len(boxes)), key=lambda i: -scores[i]):
        if all(overlap(boxes[i], boxes[k]) < 0.4 for k in kept):
            kept.append(i)
    return kept


def overlap(a: Sequence[float], b: Sequence[float]) -> float:
    """Intersection over union of two boxes (x0, y0, x1, y1)."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    inner = max(width, 0.0) * max(height, 0.0)
    return inner / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inner)
