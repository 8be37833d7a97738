"""A portrait's head on the device where frames are made: what all parts of its motion share."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ...constants import CROP_SIZE
from .. import card
from ..fit import PortraitFit, Pose
from ..model import FaceModel, rotation_matrix
from ..raster import packed
from ..topology import EXPRESSION_NAMES, INDEX

PIVOT = (0.0, -5.0, -2.0)  # cm, model frame: where the skull sits on the neck
EYE_NAMES = [n for n in EXPRESSION_NAMES if n.startswith("eye")]


class Head:
    """model: the face model on `device`. image [1,3,512,512] 0..1, and whole, the same as compiled loops read it;
    points [478,3] crop px; source_beta [1,64], without the eyes; residual [478,3]: see `PortraitFit`; gamma [1,27];
    albedo [1,3,·,·] in UV; pose: the portrait's; pivot [3] px; up [3]: unit vector of the image that points from chin
    to forehead."""

    def __init__(self, model: FaceModel, portrait: PortraitFit, device: torch.device) -> None:
        self.device = device
        self.model = model.to(device)
        self.image = portrait.image.to(device)[None]
        self.whole = packed(self.image)
        self.points = portrait.landmarks.to(device)
        self.source_beta = portrait.beta.to(device)[None].clone()
        self.source_beta[:, [INDEX[n] for n in EYE_NAMES]] = 0  # lids move from where they are in the picture
        self.gamma = portrait.gamma.to(device)[None]
        self.albedo = self.model.albedo(portrait.delta.to(device)[None])
        residual = portrait.residual if portrait.residual is not None else torch.zeros_like(portrait.landmarks)
        self.residual = residual.to(device)
        pose = portrait.pose
        self.pose = Pose(*(t.to(device) for t in (pose.rotation, pose.scale, pose.translation)))
        self.pivot = self.pose.project(torch.tensor(PIVOT, device=device)[None, None])[0, 0]
        up = self.pose.rotate(torch.tensor([[[0.0, 1.0, 0.0]]], device=device))[0, 0, :2]
        self.up = F.pad(up / up.norm(), (0, 1))

    def rigid(self, points: Tensor, pose: Tensor, weight: Tensor | None = None) -> Tensor:
        """points [B,V,3] px moved by pose [B,6] (see `FaceMotion.frame`), fully or as far as `weight` [V,1] says."""
        if card.usable(points, pose):
            return card.rigid(points, pose, self.pivot, weight, CROP_SIZE)
        turn = rotation_matrix(pose[:, :3])
        moved = (points - self.pivot) @ turn.transpose(1, 2) * pose[:, None, 5:].exp() + self.pivot
        moved = moved + F.pad(pose[:, None, 3:5] * CROP_SIZE, (0, 1))
        return moved if weight is None else points + weight * (moved - points)
