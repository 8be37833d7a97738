"""The 3D morphable face model (Sec. 3.1, eq. 1): shape, expression, albedo, illumination and pose.

Space: centimetres, x to the subject's left (image right), y up, z forward. The surface is the
478-vertex face mesh (468 skin vertices + 10 iris points). A regular UV position map carries the denser
relief that shading needs, and a small mesh carries teeth, gums and tongue.
"""

from __future__ import annotations

import dataclasses
import os

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..models import checkpoints
from ..numeric import fixed
from . import card
from .topology import N_VERTICES

N_IDENTITY, N_EXPRESSION, N_TEXTURE, N_ILLUMINATION, N_POSE = 80, 64, 80, 27, 6


@dataclasses.dataclass(frozen=True)
class FaceDims:
    """Sizes that rebuild a FaceModel; stored in its checkpoint."""

    n_identity: int = N_IDENTITY
    n_expression: int = N_EXPRESSION
    n_texture: int = N_TEXTURE
    texture_size: int = 64
    relief_size: int = 128
    n_mouth_vertices: int = 0
    n_mouth_triangles: int = 0


class FaceModel(nn.Module):
    """Linear face model. Its buffers (B expression components K = 64):

    mean [478,3] cm; identity [80,478,3] cm per unit coefficient; expression [64,478,3] cm per unit;
    expression_rest [64] what fitting reads on resting faces (identity that the identity basis misses);
    triangles [898,3]; uv [478,2] in 0..1, v down; mirror [478];
    texture_mean [3,h,h] and texture_basis [80,3,h,h] linear albedo over UV; texture_mask [1,h,h];
    relief_mean [3,H,H] and relief_basis [64,3,H,H] UV position map in cm; relief_mask [1,H,H];
    mouth_mean [M,3] cm; mouth_jaw [64,4,3] affine motion of lower-jaw points per unit expression;
    mouth_lower [M] 1 where a vertex moves with the jaw; mouth_triangles [m,3]; mouth_color [M,3].
    """

    mean: Tensor
    identity: Tensor
    expression: Tensor
    expression_rest: Tensor
    uv: Tensor
    texture_mean: Tensor
    texture_basis: Tensor
    texture_mask: Tensor
    relief_mean: Tensor
    relief_basis: Tensor
    relief_mask: Tensor
    mouth_mean: Tensor
    mouth_jaw: Tensor
    mouth_lower: Tensor
    mouth_color: Tensor
    triangles: Tensor
    mirror: Tensor
    mouth_triangles: Tensor

    def __init__(self, dims: FaceDims) -> None:
        super().__init__()
        self.dims = dims
        h, H, M = dims.texture_size, dims.relief_size, dims.n_mouth_vertices
        shapes = {
            "mean": (N_VERTICES, 3),
            "identity": (dims.n_identity, N_VERTICES, 3),
            "expression": (dims.n_expression, N_VERTICES, 3),
            "expression_rest": (dims.n_expression,),
            "uv": (N_VERTICES, 2),
            "texture_mean": (3, h, h),
            "texture_basis": (dims.n_texture, 3, h, h),
            "texture_mask": (1, h, h),
            "relief_mean": (3, H, H),
            "relief_basis": (dims.n_expression, 3, H, H),
            "relief_mask": (1, H, H),
            "mouth_mean": (M, 3),
            "mouth_jaw": (dims.n_expression, 4, 3),
            "mouth_lower": (M,),
            "mouth_color": (M, 3),
        }
        for name, shape in shapes.items():
            self.register_buffer(name, torch.zeros(shape))
        self.register_buffer("triangles", torch.zeros(898, 3, dtype=torch.long))
        self.register_buffer("mirror", torch.zeros(N_VERTICES, dtype=torch.long))
        self.register_buffer("mouth_triangles", torch.zeros(dims.n_mouth_triangles, 3, dtype=torch.long))

    @classmethod
    def load(cls, weights: str | os.PathLike[str] | None = None) -> FaceModel:
        """The shipped model, in evaluation mode on the CPU. Raises WeightsError."""
        checkpoint = checkpoints.load("face_model", weights)
        return checkpoint.fill(cls(checkpoint.sizes(FaceDims)))

    def vertices(self, alpha: Tensor, beta: Tensor) -> Tensor:
        """S = mean + B_id·α + B_exp·β (eq. 1). alpha [B,80], beta [B,64] -> [B,478,3] cm."""
        return self.mean + torch.einsum("bk,kvc->bvc", alpha, self.identity) + self.displacement(beta)

    def displacement(self, beta: Tensor) -> Tensor:
        """B_exp·β: [B,64] -> [B,478,3] cm."""
        return torch.einsum("bk,kvc->bvc", beta, self.expression)

    def albedo(self, delta: Tensor) -> Tensor:
        """T = mean + B_t·δ (eq. 1). delta [B,80] -> [B,3,h,h], about 0..1."""
        return self.texture_mean + torch.einsum("bk,kchw->bchw", delta, self.texture_basis)

    def normals(self, beta: Tensor) -> Tensor:
        """Unit surface normals of the UV relief in model space. beta [B,64] -> [B,3,H,H]."""
        relief = self.relief_mean + torch.einsum("bk,kchw->bchw", beta, self.relief_basis)
        du = F.pad(relief[..., 2:] - relief[..., :-2], (1, 1, 0, 0), mode="replicate")
        dv = F.pad(relief[..., 2:, :] - relief[..., :-2, :], (0, 0, 1, 1), mode="replicate")
        (ux, uy, uz), (vx, vy, vz) = du.unbind(1), dv.unbind(1)
        x, y, z = vy * uz - vz * uy, vz * ux - vx * uz, vx * uy - vy * ux
        # a fifth of the time of F.normalize along planes; bounded before the root, whose slope at 0 is infinite
        length = (x * x + y * y + z * z).clamp_min(1e-12).sqrt()
        return torch.stack([x, y, z], 1) / length[:, None]

    def mouth_vertices(self, beta: Tensor) -> Tensor:
        """Teeth, gums and tongue: upper ones fixed to the skull, lower ones with the jaw. [B,64] -> [B,M,3] cm."""
        affine = torch.einsum("bk,kij->bij", beta, self.mouth_jaw)
        points = F.pad(self.mouth_mean, (0, 1), value=1.0)
        return self.mouth_mean + self.mouth_lower[:, None] * (points @ affine)

    def mouth_normals(self) -> Tensor:
        """Unit normals of teeth, gums and tongue at rest: [M,3]."""
        a, b, c = self.mouth_mean[self.mouth_triangles].unbind(1)
        faces = torch.linalg.cross(b - a, c - a).repeat_interleave(3, 0)
        return F.normalize(torch.zeros_like(self.mouth_mean).index_add(0, self.mouth_triangles.flatten(), faces), dim=1)


def rotation_matrix(vector: Tensor) -> Tensor:
    """Rodrigues: rotation vectors [B,3] rad -> matrices [B,3,3]. Differentiable at zero."""
    if card.usable(vector):
        axes, pivot = fixed([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], vector), fixed([0.0, 0.0, 0.0], vector)
        return card.rigid(axes[None], F.pad(vector, (0, 3)), pivot, None, 1.0).transpose(1, 2)
    angle = (vector.square().sum(-1, keepdim=True) + 1e-12).sqrt()
    x, y, z = (vector / angle).unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(-1, 3, 3)
    sine, cosine = angle.sin()[..., None], angle.cos()[..., None]
    return torch.eye(3, dtype=vector.dtype, device=vector.device) + sine * cross + (1 - cosine) * cross @ cross


def rotation_vector(matrix: Tensor) -> Tensor:
    """Inverse of `rotation_matrix` for angles below π: [B,3,3] -> [B,3] rad."""
    axis = torch.stack(
        [
            matrix[:, 2, 1] - matrix[:, 1, 2],
            matrix[:, 0, 2] - matrix[:, 2, 0],
            matrix[:, 1, 0] - matrix[:, 0, 1],
        ],
        -1,
    )
    sine = axis.norm(dim=-1, keepdim=True) / 2
    cosine = (matrix.diagonal(dim1=1, dim2=2).sum(-1, keepdim=True) - 1) / 2
    angle = torch.atan2(sine, cosine)
    return torch.where(sine > 1e-7, axis / (2 * sine).clamp_min(1e-12) * angle, axis / 2)


def sh_basis(normals: Tensor) -> Tensor:
    """Nine real spherical harmonics (unnormalised constants folded into γ). [B,3,...] -> [B,9,...]."""
    x, y, z = normals.unbind(1)
    return torch.stack([torch.ones_like(x), x, y, z, x * y, x * z, y * z, x * x - y * y, 3 * z * z - 1], 1)


def shade(normals: Tensor, gamma: Tensor) -> Tensor:
    """Irradiance of three-band spherical-harmonic light. normals [B,3,...], gamma [B,27] -> [B,3,...]."""
    return torch.einsum("bn...,bcn->bc...", sh_basis(normals), gamma.reshape(-1, 3, 9))
