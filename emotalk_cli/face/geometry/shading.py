"""Light on the driven face: the relief's shading against the portrait's own, and the rendered face."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ...numeric import fixed
from ..fit import unwrap
from ..model import rotation_matrix, sh_basis, shade
from ..raster import pixel_grid, polygon_distance
from ..topology import INNER_LIPS
from .head import Head

UNFOLD = 0.5  # part of the portrait's own folds that is lit away unseen: the relief is not this person's
HEAL_REACH = 17  # texels of the relief: a fold is darker, a bulge brighter, than what lies around it this far
UNFOLD_MOST = 1.2  # most by which a fold is lit away: more leaves a white streak beside where it really was
RATIO_LIMITS = (0.6, 1.25)
GLOSS, GLOOM = 0.25, 0.5  # most by which a bulge brightens and a fold darkens: light scatters in skin
CONTRAST, FLAT = 0.05, 0.65  # spread of usual skin at the scale of folds; least part of shading that flatter skin takes
BROAD, BROAD_REACH = 1.0, 9  # part taken back of shading that is as broad as this many blocks of 4x4 texels
# Part of the relief's shading that is shown. On 17 people's real smiles, in soft light, folds were 0.36 as deep as the
# relief has them, what is broader did not follow it at all; more than that is read as the expression that is wanted.
DEPTH = 0.5
OWN_LIGHT = 0.1  # the rest is a top-front light: under flat light folds would vanish
TOP_FRONT = (0.5, 0.0, 0.6, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0)


class Shading:
    """Shading of one portrait's relief."""

    def __init__(self, head: Head) -> None:
        self.head = head
        size = head.model.dims.relief_size
        own = head.gamma.reshape(3, 9).mean(0)
        own = own / own[0].clamp_min(0.05) * TOP_FRONT[0]
        self.light = OWN_LIGHT * own + (1 - OWN_LIGHT) * torch.tensor(TOP_FRONT, device=head.device)
        mask = head.model.relief_mask[None]
        rim = F.avg_pool2d(F.pad(mask, (5, 5, 5, 5)), 11, 1)
        self.feather = ((rim - 0.55) / 0.4).clamp(0, 1) * mask
        lips = polygon_distance(head.model.uv[INNER_LIPS][None] * size, pixel_grid(size, size, head.device))
        self.feather = self.feather * ((-lips - 1.5) / 3).clamp(0, 1)  # the contact line has no relief of its own
        seen = self._relief_seen(mask)
        rest, source = (
            self._shading(self._camera_normals(beta, None))
            for beta in (torch.zeros_like(head.source_beta), head.source_beta)
        )
        self.rest_shading, self.own_folds = rest, self._own_folds(self._folds(source / rest), seen)
        self.strength = self._strength(seen)

    def _relief_seen(self, mask: Tensor) -> Tensor:
        """The picture's brightness against what lies around, on the relief: [1,1,H,W]."""
        head = self.head
        grey = unwrap(head.model, head.image[0], head.points, head.model.dims.relief_size).mean(1, keepdim=True)

        def blurred(size: int) -> Tensor:
            around = F.avg_pool2d(torch.cat([grey * mask, mask]).transpose(0, 1), size, 1, size // 2)[0]
            return around[:1] / around[1:].clamp_min(1e-3)

        return (blurred(3) / blurred(HEAL_REACH).clamp_min(0.02))[None]

    def _strength(self, seen: Tensor) -> float:
        """Part of the shading that a skin takes: on a face drawn or lit flat, folds of full depth are smudges."""
        logs = seen[0, 0][self.feather.reshape(seen.shape[2:]) > 0.5].clamp_min(0.05).log()
        spread = float(logs.quantile(0.75) - logs.quantile(0.25)) / 2
        return min(max(spread / CONTRAST, FLAT), 1.0)

    def _own_folds(self, fold: Tensor, seen: Tensor) -> Tensor:
        """What the portrait's own expression does to its skin: `fold` where the picture shows it, less elsewhere.

        The relief is not this person's, nor is its light: what is lit away should be there, or it would leave blotches.
        """
        least = fold**UNFOLD
        dark, bright = fold.maximum(least.minimum(seen)), fold.minimum(least.maximum(seen))
        return torch.where(fold < 1, dark, bright).clamp(1 / UNFOLD_MOST, UNFOLD_MOST)

    def _shading(self, normals: Tensor) -> Tensor:
        return torch.einsum("bnhw,n->bhw", sh_basis(normals), self.light)[:, None].clamp_min(0.12)

    def _camera_normals(self, beta: Tensor, turn: Tensor | None) -> Tensor:
        flip = fixed([1.0, -1.0, -1.0], self.light)
        rotation = self.head.pose.rotation if turn is None else (turn * flip[:, None] * flip) @ self.head.pose.rotation
        return torch.einsum("bij,bjhw->bihw", rotation.expand(len(beta), -1, -1), self.head.model.normals(beta))

    def drawn(self, beta: Tensor, pose: Tensor, uv: Tensor, onface: Tensor, shading: bool) -> tuple[Tensor, Tensor]:
        """Shading ratio [B,1,h,w] and rendered face [B,3,h,w] 0..1 at uv [B,h,w,2], -1..1.

        Without `shading`, and where onface [B,1,h,w] is at most a half, the ratio is 1.
        """
        normals = self._camera_normals(beta, rotation_matrix(pose[:, :3]))
        ratio = self._shading(normals) / self.rest_shading
        ratio = self._folds(ratio)
        soft = self.strength * torch.where(ratio > 1, GLOSS, GLOOM)
        ratio = 1 + soft * (DEPTH * (ratio - 1) / soft).tanh()
        ratio = (ratio / self.own_folds).clamp(*RATIO_LIMITS)
        ratio = 1 + (ratio - 1) * self.feather
        size = self.head.model.dims.texture_size
        small = F.interpolate(normals, size=(size, size), mode="bilinear", align_corners=False)
        albedo = self.head.albedo * shade(small, self.head.gamma.expand(len(beta), -1)).clamp_min(0.1)
        inside = (onface > 0.5).float()
        ratio = F.grid_sample(ratio, uv, align_corners=False, padding_mode="border")
        albedo = F.grid_sample(albedo, uv, align_corners=False, padding_mode="border").clamp(0, 1)
        return torch.lerp(torch.ones_like(ratio), ratio, inside * shading), albedo * inside

    def _folds(self, ratio: Tensor) -> Tensor:
        """Shading [B,1,H,W] without most of what changes over a whole cheek or chin."""
        mask = self.head.model.relief_mask
        small, mask = (F.avg_pool2d(t, 4) for t in (ratio * mask, mask[None]))
        small, mask = (F.avg_pool2d(t, BROAD_REACH, 1, BROAD_REACH // 2) for t in (small, mask))
        broad = F.interpolate(small / mask.clamp_min(1e-3), ratio.shape[2:], mode="bilinear").clamp(0.5, 2)
        return ratio / broad**BROAD
