"""Motion of one portrait: its parts put together to the maps of each frame."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ...constants import CROP_SIZE
from ...numeric import places
from ..fit import PortraitFit
from ..model import FaceModel
from ..raster import boxed, doubled, enlarged, extent_of, interpolate, pixel_grid, rasterize, sample, smoothed, waits
from ..topology import LEFT_EYE, N_SKIN, OUTER_LIPS, RIGHT_EYE
from .contacts import Contacts
from .eyes import Eyes
from .glasses import held
from .head import Head
from .maps import Geometry
from .mesh import Mesh
from .mouth import Mouth
from .palette import palette, skin_hue
from .seam import Seam
from .shading import Shading

RATIO_SIZE = CROP_SIZE // 2  # flow and shading are smooth: rasterised at half size, then enlarged
LASH_DARK = 0.4  # part of the light that the line takes where closed lids meet


class FaceMotion:
    """Motion of one portrait. Everything that does not change from frame to frame is computed here, once.

    like: motion of the same person in another picture, whose teeth are taken.

    model and portrait may live on the CPU; frames are made on `device`. Without `shading` the skin keeps the
    portrait's light: a warp and nothing else, for comparison.
    """

    mouth: Mouth

    def __init__(
        self,
        model: FaceModel,
        portrait: PortraitFit,
        device: str | torch.device = "cpu",
        shading: bool = True,
        like: FaceMotion | None = None,
    ):
        self.head = Head(model, portrait, torch.device(device))
        self.shading = shading
        self.mesh = Mesh(self.head)
        self.contacts = Contacts(self.head)
        self.eyes = Eyes(self.head, self.contacts)
        self.mouth = Mouth(self.head, self.contacts, None if like is None else like.mouth)
        self.seam = Seam(self.head, self.contacts)
        self.relief = Shading(self.head)
        self.held = held(self.head)
        image = self.head.image[0]
        rows, columns = boxed(self.head.points[None, :N_SKIN], 0, CROP_SIZE)
        found, plain = palette(image[:, rows, columns])
        x, y = self.head.points[:N_SKIN, :2].long().clamp(0, CROP_SIZE - 1).unbind(1)
        hue = skin_hue(image[:, y, x], plain)
        self.colours = hue[None], found[None], torch.tensor([plain])
        rings = (LEFT_EYE, RIGHT_EYE, OUTER_LIPS)
        self.rings = [(ring, extent_of(self.head.points[ring], 4, CROP_SIZE)) for ring in rings]

    @property
    def points(self) -> Tensor:
        """The portrait's landmarks [478,3], crop px."""
        return self.head.points

    @property
    def source_beta(self) -> Tensor:
        """The portrait's own expression [1,64], lids aside: they move from where they are in the picture."""
        return self.head.source_beta

    def vertices(self, beta: Tensor, pose: Tensor) -> Tensor:
        """Driven landmarks [B,478,3] crop px for β [B,64] and pose [B,6] relative to the portrait's."""
        return self.head.rigid(self.expressed(beta), pose)

    def expressed(self, beta: Tensor) -> Tensor:
        """Landmarks [B,478,3] crop px for β [B,64] in the portrait's own pose."""
        points = self.contacts.expressed(beta, self.mouth.own_teeth)
        return points if self.held is None else torch.lerp(points, self.points, self.held)

    @torch.inference_mode()
    def frame(self, beta: Tensor, pose: Tensor) -> Geometry:
        """Geometry of B frames: β [B,64] expression coefficients, pose [B,6] relative to the portrait's own.

        pose: rotation vector (rad; camera space, x right, y down, z away), x, y (crop fraction), log scale.
        """
        beta, pose = beta.to(self.head.device), pose.to(self.head.device)
        expressed = self.expressed(beta)
        points, mesh = self.head.rigid(expressed, pose), self.mesh.driven(expressed, pose)
        half = CROP_SIZE // RATIO_SIZE
        face, weights = rasterize(mesh / half, self.mesh.triangles, RATIO_SIZE, RATIO_SIZE)
        found = interpolate(face, weights, self.mesh.triangles, self.mesh.attributes)
        empty = (face < 0)[:, None]
        grid = pixel_grid(RATIO_SIZE, RATIO_SIZE, self.head.device).permute(2, 0, 1)[None] * half
        flow = (found[:, :2] - grid).masked_fill_(empty, 0)
        uv = found[:, 2:4].permute(0, 2, 3, 1) * 2 - 1
        flow, torn = enlarged(flow, face, mesh, self.mesh.triangles, self.mesh.source[:, :2], self.mesh.apart)
        flow = self._sharpen(flow, mesh, points)
        warped = sample(self.head.image, flow, self.head.whole)
        warped = smoothed(warped, self.head.image, flow, torn, self.head.whole).clamp_(0, 1)
        eyes, lashes, lids = self.eyes.drawn(flow, warped, beta, pose, points)
        mouth, interior, own, inside, place = self.mouth.drawn(beta, pose, points)
        # skin, and the first ring, on which the face's mask fades: beyond, the maps below do not change
        whole = slice(0, RATIO_SIZE)
        rows, columns = (whole, whole) if waits(mesh) else boxed(mesh[:, : N_SKIN + 36, :2] / half, 2, RATIO_SIZE)
        onface = found[:, 4:, rows, columns]
        skin = self.relief.drawn(beta, pose, uv[:, rows, columns], onface, self.shading)
        small = torch.cat([*skin, ((onface - 0.02) / 0.5).clamp(0, 1)], 1)
        part = doubled(small)
        box = (..., slice(half * rows.start, half * rows.stop), slice(half * columns.start, half * columns.stop))
        maps = part
        if part.shape[2:] != flow.shape[2:]:
            maps = flow.new_zeros(len(flow), 5, CROP_SIZE, CROP_SIZE)
            maps[:, 0] = 1
            maps[box] = part
        ratio, rendered, soft = maps.split([1, 3, 1], 1)
        ratio[box].lerp_(torch.ones_like(part[:, :1]), eyes[box]).mul_(1 - LASH_DARK * lashes[box])
        rendered[box].lerp_(interior[box], mouth[box])
        hue, colours, plain = (t.expand(len(beta), *t.shape[1:]) for t in self.colours)  # the same for each frame
        self.seam.drawn(lids, flow, mouth, ratio, hue, points)
        return Geometry(
            *(flow, torn, warped, ratio, rendered, interior, mouth, eyes, soft, own, lids, inside, place),
            *(self._regions(points), *self._rims(points), hue, colours, plain),
        )

    @staticmethod
    def _regions(points: Tensor) -> Tensor:
        rings = [points[:, places(ring, points), :2] for ring in (LEFT_EYE, RIGHT_EYE, OUTER_LIPS)]
        return torch.stack([torch.stack([r.amin(1), r.amax(1)], 1) for r in rings], 1)

    def _rims(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """`Geometry`'s rims and opened."""
        gaps = self.contacts.gaps
        opened = [
            gaps(points, pairs).amax(1) / own.amax(1).clamp_min(0.5)
            for pairs, own in zip(self.contacts.lids, self.contacts.own_lids, strict=True)
        ]
        rims = torch.stack([points[:, places(ring, points), :2] for ring in (LEFT_EYE, RIGHT_EYE)], 1)
        return rims, torch.stack(opened, 1).clamp_min(0)

    def _sharpen(self, flow: Tensor, mesh: Tensor, points: Tensor) -> Tensor:
        """Full resolution at lids and lips: between two that touch, an average would point into the eye or mouth."""
        grid = pixel_grid(CROP_SIZE, CROP_SIZE, self.head.device)
        for ring, extent in self.rings:
            rows, columns = boxed(points[:, places(ring, points), :2], 4, CROP_SIZE, extent)
            place = grid[rows, columns]
            corner = F.pad(place[0, 0] - 0.5, (0, 1))
            face, weights = rasterize(mesh - corner, self.mesh.triangles, *place.shape[:2])
            found = interpolate(face, weights, self.mesh.triangles, self.mesh.source[:, :2] - corner[:2])
            found = found - (place - corner[:2]).permute(2, 0, 1)
            flow[:, :, rows, columns] = torch.where((face < 0)[:, None], flow[:, :, rows, columns], found)
        return flow


def still(frames: int, device: torch.device | str | None = None) -> Tensor:
    """The pose that leaves the head where it is: zeros [frames,6]."""
    return torch.zeros(frames, 6, device=device)
