"""Face tracker: any picture -> 478 landmarks, 51 expression scores and a head rotation per face.

Three small networks of the project's own, all in `weights/tracker.safetensors`:

- `Detector`, a fully convolutional heat-map net. It finds faces 16 to 64 px high and is run on three reductions of the
  picture, so that faces from about 5 % to 100 % of its longer side are found; where there is none, on finer ones.
- `Landmarker`, which regresses a shape (similarity x PCA) from a face crop, then corrects it once from features sampled
  at the landmarks. It is run twice, the second time on the crop of its own first result.
- `MouthLandmarker`, the same on a crop of mouth and chin, at a resolution that shows how far lips are apart.

Landmarks are in MediaPipe's order. A pixel i covers [i, i+1).
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from ..models import checkpoints
from ..numeric import channels_last
from .detector import FINE_LEVELS, LEVELS, Detection, Detector, distinct
from .landmarker import Landmarker, MouthLandmarker, TrackerDims, crop_frames, cut, mouth_frames, placed
from .model import rotation_matrix, rotation_vector
from .procrustes import nearest_rotation
from .topology import LEFT_EYE, LEFT_LID_PAIRS, RIGHT_EYE, RIGHT_LID_PAIRS

EYE_CORNERS = ((RIGHT_EYE[0], RIGHT_EYE[8]), (LEFT_EYE[0], LEFT_EYE[8]))
# Points that facial expression moves least; their rigid fit gives the head's rotation.
RIGID = (1, 2, 4, 5, 6, 8, 9, 10, 33, 50, 93, 98, 101, 127, 133, 151, 168, 195, 197, 234, 263, 280, 323, 327, 330, 356,
         362, 454)  # fmt: skip
# Quarter turns counter-clockwise (np.rot90) that may make a picture upright, the likeliest first, and what they undo.
TURNS = {0: "upright", 1: "on its right side", 3: "on its left side", 2: "upside down"}


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

    @property
    def turn(self) -> float:
        """How far the face looks past the camera, up, down or to a side, in degrees."""
        matrix = rotation_matrix(torch.from_numpy(self.rotation)[None].float())
        return math.degrees(math.acos(min(1.0, max(-1.0, float(matrix[0, 2, 2])))))

    @property
    def eyes_open(self) -> float:
        """Distance of the lids in widths of the eye, of the eye that is open wider."""
        points = self.landmarks[:, :2]
        across = [np.linalg.norm(points[a] - points[b]) for a, b in EYE_CORNERS]
        apart = [np.linalg.norm(points[[u for u, _ in lids]].mean(0) - points[[v for _, v in lids]].mean(0))
                 for lids in (RIGHT_LID_PAIRS, LEFT_LID_PAIRS)]  # fmt: skip
        return float(max(a / max(b, 1e-3) for a, b in zip(apart, across, strict=True)))


class Tracker(Protocol):
    """What finds faces: `FaceTracker`, or `alignment.AlignmentTracker` in its place."""

    def __call__(self, image: np.ndarray) -> list[Face]:
        """All faces of a uint8 [H,W,3] picture, the largest first."""

    def upright(self, image: np.ndarray) -> tuple[int, list[Face]]:
        """The quarter turns (np.rot90) that a picture needs, and the faces that it then shows."""

    def track(self, images: Sequence[np.ndarray], previous: Face | None = None) -> list[Face | None]:
        """The face of each frame of a film."""


class FaceTracker(nn.Module):
    """Detector and landmarker behind one call."""

    rigid: Tensor

    threshold = 0.65  # of a face's score, see `_score`
    beside = 0.75  # of the score of a face beside a surer one
    doubtful = 0.52  # of the score of a picture's only face, where no turn of the picture shows a surer one
    candidate = 0.25  # of the detector's heat: every candidate is verified by the landmarker
    sure = 0.92  # of a face's score: below, an upside-down face may have been taken for an upright one
    kept = 0.5  # of the landmarker's confidence alone, for a face that is being followed

    def __init__(self, dims: TrackerDims | None = None) -> None:
        super().__init__()
        self.dims = dims or TrackerDims()
        self.detector = Detector(self.dims)
        self.landmarker = Landmarker(self.dims)
        self.mouth = MouthLandmarker(self.dims) if self.dims.mouth_points else None
        self.register_buffer("rigid", torch.zeros(len(RIGID), 3))  # cm, camera axes

    @classmethod
    def load(cls, weights: str | os.PathLike[str] | None = None, device: str | torch.device = "cpu") -> FaceTracker:
        """The shipped tracker, in evaluation mode. Raises WeightsError (see checkpoints.load)."""
        checkpoint = checkpoints.load("tracker", weights)
        tracker = checkpoint.fill(cls(checkpoint.sizes(TrackerDims))).to(device)
        return channels_last(tracker)

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
        return self.detector.find(self._tensor(image), LEVELS, self.candidate)

    def align(
        self, images: Sequence[Tensor], frames: Tensor, passes: int, closer: int = 1
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Landmarks [B,478,3] px, scores [B,51] and confidence [B] in 0..1 for one crop of each uint8 image [3,H,W].

        frames: [B,4] as `crop_frames` gives them; each further pass reads the crop that the one before found.
        closer: further passes over the mouth alone, at a resolution of its own.
        """
        for _ in range(passes):
            frames = frames.float()
            crops = self._crops(images, frames, self.dims.crop, self.dims.margin)
            local, _, scores, logit = self.landmarker(crops)
            points = placed(local, frames, self.dims.margin)
            confidence = logit.sigmoid()
            frames = crop_frames(points)
        for _ in range(closer if self.mouth is not None else 0):
            points = self._closer(images, points)
        return points, scores.sigmoid(), confidence

    def _closer(self, images: Sequence[Tensor], points: Tensor) -> Tensor:
        """Landmarks [B,478,3] px with those of mouth and chin as the mouth's own network sees them."""
        frames, mouth, margin = mouth_frames(points), self.mouth, self.dims.mouth_margin
        assert mouth is not None
        seen = placed(mouth(self._crops(images, frames, self.dims.mouth_crop, margin))[0], frames, margin)
        points = points.clone()
        points[:, mouth.vertices] = torch.lerp(points[:, mouth.vertices], seen, mouth.share[:, None])
        return points

    @staticmethod
    def _crops(images: Sequence[Tensor], frames: Tensor, pixels: int, margin: float) -> Tensor:
        crops = [cut(image, row, pixels, margin) for image, row in zip(images, frames.tolist(), strict=True)]
        return torch.cat(crops).to(memory_format=torch.channels_last)

    def _faces(self, points: Tensor, scores: Tensor, confidence: Tensor) -> list[Face]:
        rotations = head_rotations(points[:, list(RIGID)], self.rigid).cpu().numpy()
        arrays = points.float().cpu().numpy()
        faces = []
        for i, (landmarks, box) in enumerate(zip(arrays, _bounds(points), strict=True)):
            faces.append(
                Face(
                    landmarks,
                    (box[0], box[1], box[2], box[3]),
                    float(confidence[i]),
                    scores[i].cpu().numpy(),
                    rotations[i],
                )
            )
        return faces

    @torch.inference_mode()
    def forward(self, image: np.ndarray) -> list[Face]:
        """All upright faces of a uint8 [H,W,3] picture, the largest first; [] when there is none.

        Faces below a twentieth of the picture's longer side are looked for where there are no larger ones.
        """
        return self._found(self._tensor(image), (LEVELS, FINE_LEVELS))

    @torch.inference_mode()
    def upright(self, image: np.ndarray) -> tuple[int, list[Face]]:
        """The quarter turns (np.rot90) that a uint8 [H,W,3] picture needs, and the faces that it then shows."""
        tensor = self._tensor(image)
        for levels in (LEVELS, FINE_LEVELS):
            for turns in TURNS:
                faces = self._found(torch.rot90(tensor, turns, (1, 2)), (levels,))
                if faces and _surest(faces) < self.sure:
                    other = self._found(torch.rot90(tensor, turns + 2, (1, 2)), (levels,))
                    if _surest(other) > _surest(faces):
                        turns, faces = (turns + 2) % 4, other
                if faces:
                    return turns, faces
        return 0, self._found(tensor, (LEVELS,), self.doubtful)[:1]

    def _found(self, image: Tensor, searches: Sequence[Sequence[int]], least: float = threshold) -> list[Face]:
        """Faces of a uint8 picture [3,H,W], the largest first, by the first of the searches (levels) that finds any.

        least: score of the surest one.
        """
        for levels in searches:
            levels = [level for level in levels if level <= max(LEVELS[-1], *image.shape[1:])]
            if levels and (faces := self._verified(image, self.detector.find(image, levels, self.candidate), least)):
                return faces
        return []

    def _verified(self, image: Tensor, candidates: list[Detection], least: float) -> list[Face]:
        """Those of the candidates in which the landmarker sees a face, the largest first."""
        if not candidates:
            return []
        frames = torch.tensor([candidate.frame for candidate in candidates], device=self.device)
        heat = torch.tensor([candidate.score for candidate in candidates], device=self.device)
        points, _, confidence = self.align([image] * len(frames), frames, 1, closer=0)
        score = _score(confidence, heat)
        kept = [i for i in distinct(_bounds(points), score.tolist()) if score[i] >= least / 2]
        if not kept:
            return []
        points, scores, confidence = self.align([image] * len(kept), crop_frames(points[kept]), 2, closer=3)
        faces = self._faces(points, scores, _score(confidence, heat[kept]))
        kept = distinct([face.box for face in faces], [face.score for face in faces])
        faces = [faces[i] for i in kept if faces[i].score >= least]
        surest = _surest(faces)
        faces = [face for face in faces if face.score >= min(surest, self.beside)]
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
                    found[i] = next(iter(self._found(self._tensor(chunk[i]), (LEVELS,))), None)
            faces += found
            previous = found[-1]
        return faces


def head_rotations(points: Tensor, rigid: Tensor) -> Tensor:
    """Rotation vectors [B,3] (rad) that turn `rigid` [N,3] to `points` [B,N,3] (weak perspective)."""
    centred, model = points - points.mean(1, keepdim=True), rigid - rigid.mean(0)
    return rotation_vector(nearest_rotation(torch.einsum("bni,nj->bij", centred, model))[0])


def _bounds(points: Tensor) -> list[tuple[float, ...]]:
    return torch.cat([points[..., :2].amin(1), points[..., :2].amax(1)], 1).tolist()


def _surest(faces: list[Face]) -> float:
    return max((face.score for face in faces), default=0.0)


def _score(confidence: Tensor, heat: Tensor) -> Tensor:
    """How surely a candidate is a face: the landmarker, which sees more pixels, counts most."""
    return confidence.square() * heat.sqrt()
