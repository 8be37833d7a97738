"""The `face-alignment` library as landmark backend: its 68 points -> the 478 landmarks of EmoTalk.

The library (Bulat & Tzimiropoulos 2017) downloads its own weights on first use. Its 68 points are completed by
fitting the face model (pose, identity, expression); what the model cannot explain at the 68 points is spread over the
mesh by radial basis functions, so that the 68 keep their place.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError, WeightsError
from .landmarker import SCORES
from .model import FaceModel, rotation_vector
from .tracker import TURNS, Face

# The mesh vertex of each of the 68 iBUG points (jaw, brows, nose, eyes, outer lips, inner lips).
IBUG = (
    127, 234, 93, 132, 58, 136, 150, 176, 152, 400, 379, 365, 288, 361, 323, 454, 356,
    70, 63, 105, 66, 107, 336, 296, 334, 293, 300,
    168, 197, 5, 4, 98, 97, 2, 326, 327,
    33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,
    61, 40, 37, 0, 267, 270, 291, 321, 314, 17, 84, 91,
    78, 82, 13, 312, 308, 317, 14, 87,
)  # fmt: skip
JAW = 17  # the first points follow the visible outline, which is no fixed vertex: they count less
NOISE = 0.08  # cm, how far the 68 points are trusted


class AlignmentTracker:
    """Same calls as `FaceTracker`, on top of the `face-alignment` library."""

    def __init__(self, aligner: Any, model: FaceModel) -> None:
        """aligner: anything with face-alignment's `get_landmarks_from_image(image, return_landmark_score=True)`."""
        self.aligner = aligner
        self.model = model

    @classmethod
    def load(
        cls, weights: str | os.PathLike[str] | None = None, device: str | torch.device = "cpu"
    ) -> AlignmentTracker:
        """Start the library. weights: EmoTalk's folder, for the face model.

        Raises WeightsError when the library is absent, or its weights are neither cached nor downloadable.
        """
        model = FaceModel.load(weights)
        try:
            import face_alignment
        except ImportError as error:
            raise WeightsError(
                "--landmarks face-alignment needs that library; pip install face-alignment, or use --landmarks builtin."
            ) from error
        try:
            aligner = face_alignment.FaceAlignment(
                face_alignment.LandmarksType.TWO_D, device=str(device), flip_input=False, compile=False
            )
        except (OSError, RuntimeError, ValueError, EOFError) as error:  # URLError is an OSError
            folder = os.path.join(torch.hub.get_dir(), "checkpoints")
            raise WeightsError(
                f"--landmarks face-alignment: s3fd and 2DFAN4 weights are not in {folder} and could not be downloaded "
                f"({_reason(error)}); connect to the internet once, copy them there, or use --landmarks builtin."
            ) from error
        return cls(aligner, model)

    @torch.inference_mode()
    def __call__(self, image: np.ndarray) -> list[Face]:
        """All faces of a uint8 [H,W,3] picture, the largest first; [] when there is none."""
        points, scores, _ = self.aligner.get_landmarks_from_image(image, return_landmark_score=True)
        faces = []
        for known, score in zip(points or [], scores or [], strict=True):
            known = np.asarray(known, np.float32)[:, :2]
            if known.shape != (len(IBUG), 2) or not np.isfinite(known).all():
                raise InputError("--landmarks face-alignment: the library returned no valid 68 points; use builtin.")
            landmarks, beta, rotation = complete(self.model, known)
            low, high = landmarks[:, :2].min(0), landmarks[:, :2].max(0)
            box = (float(low[0]), float(low[1]), float(high[0]), float(high[1]))
            faces.append(Face(landmarks, box, float(np.mean(score)), beta, rotation))
        return sorted(faces, key=lambda face: -face.area)

    def upright(self, image: np.ndarray) -> tuple[int, list[Face]]:
        """The quarter turns (np.rot90) that a uint8 [H,W,3] picture needs, and the faces that it then shows."""
        for turns in TURNS:
            if faces := self(np.ascontiguousarray(np.rot90(image, turns))):
                return turns, faces
        return 0, []

    def track(self, images: Sequence[np.ndarray], previous: Face | None = None) -> list[Face | None]:
        """The face of each frame that is nearest to the one before (None where there is none)."""
        out: list[Face | None] = []
        for image in images:
            faces = self(image)
            if previous is not None:
                centre = previous.landmarks[:, :2].mean(0)
                faces.sort(key=lambda face: float(np.linalg.norm(face.landmarks[:, :2].mean(0) - centre)))
            out.append(faces[0] if faces else None)
            previous = out[-1] or previous
        return out


def _reason(error: BaseException) -> str:
    return str(getattr(error, "reason", error)).splitlines()[0][:120] if str(error) else type(error).__name__


def complete(model: FaceModel, known: np.ndarray, rounds: int = 8) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """68 iBUG points [68,2] px -> landmarks [478,3] px, blendshapes [51] in 0..1, rotation vector [3] rad.

    Alternates a scaled orthographic pose with regularised least squares for identity and expression.
    """
    index = torch.tensor(IBUG)
    axes = torch.tensor([1.0, -1.0, -1.0])
    goal = torch.as_tensor(known, dtype=torch.float32)
    trust = torch.ones(len(index))
    trust[:JAW] = 0.4
    mean = model.mean * axes
    directions = torch.cat([model.identity, model.expression[:SCORES]]) * axes
    prior = torch.ones(len(directions))
    prior[len(model.identity) :] = 2.5  # expressions lie in 0..1
    weights = torch.zeros(len(directions))
    for _ in range(rounds):
        shape = mean + torch.einsum("k,kvc->vc", weights, directions)
        scale, rotation, shift = _pose(shape[index], goal, trust)
        # Orthographic projection is linear in the weights.
        project = scale * rotation[:2]
        columns = torch.einsum("ij,kvj->vik", project, directions[:, index])
        rest = goal - shift - mean[index] @ project.T
        noise = NOISE * scale
        a = (columns * (trust / noise)[:, None, None]).flatten(0, 1)
        b = (rest * (trust / noise)[:, None]).flatten()
        weights = torch.linalg.solve(a.T @ a + torch.diag(prior**2), a.T @ b)
        weights[len(model.identity) :] = weights[len(model.identity) :].clamp(0, 1)
    shape = mean + torch.einsum("k,kvc->vc", weights, directions)
    scale, rotation, shift = _pose(shape[index], goal, trust)
    landmarks = scale * shape @ rotation.T
    landmarks[:, 2] -= landmarks[:, 2].mean()
    landmarks[:, :2] += shift
    landmarks[:, :2] += _spread(model.mean, model.mean[index], (goal - landmarks[index, :2]) * trust[:, None])
    beta = weights[len(model.identity) :]
    return landmarks.numpy(), beta.numpy(), rotation_vector(rotation[None])[0].numpy()


def _pose(shape: Tensor, goal: Tensor, trust: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Scale, rotation [3,3], shift [2] with goal [N,2] ~ scale * (shape [N,3] @ rotation.T)[:, :2] + shift."""
    rows = torch.cat([shape, torch.ones(len(shape), 1)], 1)
    affine = torch.linalg.lstsq(rows * trust[:, None], goal * trust[:, None]).solution.T  # [2,4]
    u, s, v = torch.linalg.svd(affine[:, :3], full_matrices=False)
    top = u @ v
    rotation = torch.cat([top, torch.linalg.cross(top[0], top[1])[None]])
    scale = s.mean()
    centre = (trust[:, None] * (goal - scale * shape @ top.T)).sum(0) / trust.sum()
    return scale, rotation, centre


def _spread(points: Tensor, anchors: Tensor, moves: Tensor) -> Tensor:
    """Moves [68,2] at anchors [68,3] interpolated at points [V,3] (biharmonic kernel r, slightly smoothed)."""
    system = torch.cdist(anchors, anchors) - 0.05 * torch.eye(len(anchors))
    return torch.cdist(points, anchors) @ torch.linalg.solve(system, moves)
