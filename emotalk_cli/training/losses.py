"""The paper's losses on filmed faces, through the differentiable renderer (Sec. 3.3 and 3.4, eq. 5, 6 and 11)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..face.alignment import IBUG
from ..face.fit import Pose, camera_normals
from ..face.model import FaceModel, shade
from ..face.raster import interpolate, rasterize
from ..face.topology import N_SKIN

LANDMARK_SCALE = 224  # px, side of the picture in which L_lm is measured: that of D3DFR


class Renderer(nn.Module):
    """R(θ) -> I^rd and its mask M: the face model's skin under its light, differentiable in shape, pose and colour."""

    def __init__(self, model: FaceModel, size: int) -> None:
        super().__init__()
        self.model, self.size = model, size

    def vertices(self, alpha: Tensor, beta: Tensor, pose: Pose) -> Tensor:
        """Landmarks [B,478,3] px of alpha [B,80], beta [B,64] (counted from rest, as `fit_shape` does) and B poses."""
        return pose.project(self.model.vertices(alpha, beta + self.model.expression_rest))

    def forward(self, alpha: Tensor, beta: Tensor, delta: Tensor, gamma: Tensor, pose: Pose) -> tuple[Tensor, Tensor]:
        """θ of B frames, poses in px of pictures of this size -> I^rd [B,3,s,s] 0..1 on black, M [B,1,s,s]."""
        points = self.vertices(alpha, beta, pose)[:, :N_SKIN]
        face, weights = rasterize(points, self.model.triangles, self.size, self.size)
        at = interpolate(face, weights, self.model.triangles, self.model.uv[:N_SKIN] * 2 - 1).permute(0, 2, 3, 1)
        normals = camera_normals(self.model, beta, pose, self.model.dims.texture_size)
        skin = self.model.albedo(delta) * shade(normals, gamma).clamp_min(0)
        mask = (face >= 0)[:, None].to(skin)
        return F.grid_sample(skin, at, align_corners=False, padding_mode="border").clamp(0, 1) * mask, mask


def blended(rendered: Tensor, mask: Tensor, image: Tensor) -> Tensor:
    """I^3d = M ⊙ I^rd + (1 - M) ⊙ I."""
    return mask * rendered + (1 - mask) * image


def emotion_loss(made: Tensor, real: Tensor) -> Tensor:
    """L_emo (eq. 6): ‖φ(I^3d) - φ(I)‖₂ of features [B,n], mean over the batch."""
    return (made - real).square().sum(1).add(1e-12).sqrt().mean()


def reconstruction_loss(rendered: Tensor, mask: Tensor, image: Tensor) -> Tensor:
    """L_rec of eq. 5: ‖I^rd - M ⊙ I‖₂, the colour distance of a pixel, mean over the face (as D3DFR, which θ is of)."""
    distance = (rendered - mask * image).square().sum(1, keepdim=True).add(1e-12).sqrt()
    return (distance * mask).sum() / mask.sum().clamp_min(1)


def landmark_loss(original: Tensor, modified: Tensor, size: int) -> Tensor:
    """L_lm: mean distance of the 68 iBUG points of θ and θ̂. Landmarks [B,478,2+] px of pictures of `size` px."""
    index = torch.tensor(IBUG, device=original.device)
    error = (original - modified)[:, index, :2].square().sum(2).add(1e-12).sqrt()
    return error.mean() * (LANDMARK_SCALE / size)


def regularization_loss(beta: Tensor, predicted: Tensor) -> Tensor:
    """L_reg: ‖β - β̂‖₂, mean over frames. [..., 64]."""
    return (beta - predicted).square().sum(-1).add(1e-12).sqrt().mean()


def clip_loss(audio: Tensor, image: Tensor, text: Tensor) -> Tensor:
    """L_clip: (1 - cos(e_img, e_audio)) + (1 - cos(e_text, e_audio)) of embeddings [B,512], mean over the batch."""
    return (2 - F.cosine_similarity(image, audio) - F.cosine_similarity(text, audio)).mean()
