"""The mouth's inside: teeth, gums and tongue, or the portrait's own teeth where it shows them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..fit import CROP_SIZE
from ..raster import boxed, interpolate, pixel_grid, polygon_distance, rasterize
from ..topology import INNER_LIPS, N_SKIN, OUTER_LIPS
from .contacts import Contacts
from .head import Head

CAVITY = (0.06, 0.025, 0.025)  # colour (R, G, B) of the dark behind the teeth
TEETH_DROP = 0.10  # cm; the basis' upper teeth sit a little high behind its lip
OWN_TEETH = 0.3  # cm between the portrait's lips from which on its own teeth are taken to be seen
OWN_BRIGHT = 0.62  # of the skin's brightness: what is darker between the lips is no row of teeth
OWN_MARGIN = 1.0  # px inside the portrait's inner lips, where its own teeth begin
OWN_GUM = (0.50, 0.29, 0.28)  # above the portrait's own teeth, in the lip's shadow
MOUTH_SAMPLES = 2  # per pixel and direction, for smooth teeth edges
MOUTH_BLUR = 2  # px over which each is averaged: as soft as a photograph


class Mouth:
    """own_teeth: whether the portrait itself shows its upper teeth."""

    def __init__(self, head: Head, contacts: Contacts):
        self.head, self.contacts = head, contacts
        ring = OUTER_LIPS + INNER_LIPS
        rest = head.pose.unproject(head.points[None]) - head.model.displacement(head.source_beta)
        rest, mean = rest[0, ring], head.model.mean[ring]
        # the upper lip's own height says where its teeth are; widths differ between people more than teeth do
        width = ((rest[:, 0].max() - rest[:, 0].min()) / (mean[:, 0].max() - mean[:, 0].min())).clamp(0.88, 1.12)
        self.scale, self.centre = width, mean.mean(0)
        self.lip_centre = head.points[INNER_LIPS].mean(0)[None, None]
        contour = head.points[INNER_LIPS, :2][None]
        shown = contour.new_full((1, 1, CROP_SIZE, CROP_SIZE), -CROP_SIZE)
        rows, columns = boxed(contour, 4, CROP_SIZE)
        shown[:, :, rows, columns] = polygon_distance(
            contour, pixel_grid(CROP_SIZE, CROP_SIZE, head.device)[rows, columns]
        )
        self.offset = rest.mean(0) - mean.mean(0) - torch.tensor([0.0, TEETH_DROP, 0.0], device=head.device)
        skin = head.model.uv[:N_SKIN]
        tone = head.image[0][
            :, head.points[:N_SKIN, 1].long().clamp(0, 511), head.points[:N_SKIN, 0].long().clamp(0, 511)
        ]
        near = (skin[:, 1] > 0.5) & (skin[:, 1] < 0.85)
        light = tone[:, near].median(1).values
        grey = light.mean()
        tint = (light / light.mean().clamp_min(0.05)).clamp(0.6, 1.5) ** 0.25
        self.light = tint * (0.42 + grey).clamp(0.4, 1.05)
        inside = head.image[0].amin(0)[shown[0, 0] > OWN_MARGIN]
        bright = len(inside) > 0 and bool(inside.quantile(0.7) > OWN_BRIGHT * grey)
        self.own_teeth = bright and bool(contacts.source_gap.max() > OWN_TEETH * head.pose.scale[0])
        upper = 1 - head.model.mouth_lower[:, None]
        color = head.model.mouth_color
        if self.own_teeth:  # what a rising lip uncovers above them are gums, not a second row
            color = torch.lerp(color, color.new_tensor(OWN_GUM), upper)
        self.look = torch.cat([color, upper], 1)
        self.shown = torch.cat([head.image, ((shown - OWN_MARGIN) / 1.5).clamp(0, 1)], 1)

    def drawn(self, beta: Tensor, pose: Tensor, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Soft mask of the driven inner lips, what is seen between them, and where that is the portrait's own."""
        head = self.head
        mouth = points.new_zeros(len(points), 1, CROP_SIZE, CROP_SIZE)
        interior, own = mouth.expand(-1, 3, -1, -1).clone(), mouth.clone()
        gaps = self.contacts.gaps(points, self.contacts.lips)
        opening = gaps.amax(1)
        if float(opening.max()) < 0.6:
            return mouth, interior, own
        contour = points[:, INNER_LIPS, :2]
        rows, columns = boxed(contour, 3, CROP_SIZE)
        grid = pixel_grid(CROP_SIZE, CROP_SIZE, head.device)[rows, columns]
        distance = polygon_distance(contour, grid)
        amount = ((opening - 0.6) / 1.5).clamp(0, 1)[:, None, None]
        inside = ((distance + 0.75).clamp(0, 1.5) / 1.5 * amount)[:, None]
        jaw = head.model.mouth_vertices(beta)
        jaw = (jaw - self.centre) * self.scale + self.centre + self.offset
        jaw = head.rigid(head.pose.project(jaw), pose)
        jaw = (jaw - torch.tensor([columns.start, rows.start, 0.0], device=head.device)) * MOUTH_SAMPLES
        height, width = (MOUTH_SAMPLES * n for n in inside.shape[2:])
        face, weights = rasterize(jaw, head.model.mouth_triangles, height, width)
        drawn = interpolate(face, weights, head.model.mouth_triangles, self.look)
        empty = (face < 0)[:, None]
        if self.own_teeth:  # a portrait that shows its own upper teeth needs no second row below them
            centre = head.rigid(self.lip_centre, pose)[:, 0, :2] - head.up.new_tensor([columns.start, rows.start])
            offset = pixel_grid(height, width, head.device) / MOUTH_SAMPLES - centre[:, None, None]
            empty = empty | ((drawn[:, 3:] > 0.5) & ((offset @ head.up[:2])[:, None] < 0))
        cavity = torch.tensor(CAVITY, device=head.device)[:, None, None]
        drawn = torch.where(empty, cavity, drawn[:, :3])
        window, margin = MOUTH_BLUR * MOUTH_SAMPLES, (MOUTH_BLUR - 1) * MOUTH_SAMPLES // 2
        drawn = F.avg_pool2d(drawn, window, MOUTH_SAMPLES, margin, count_include_pad=False)
        reach = 0.35 * head.pose.scale[0]  # cm of shadow that the lips cast inwards
        shadow = 0.45 + 0.55 * (distance / reach).clamp(0, 1)[:, None].sqrt()
        drawn = (drawn * shadow * self.light[:, None, None]).clamp(0, 1)
        mouth[:, :, rows, columns] = inside
        interior[:, :, rows, columns] = drawn
        if self.own_teeth:
            real = self._own_teeth(pose, rows, columns)
            interior[:, :, rows, columns] = torch.lerp(drawn, real[:, :3], real[:, 3:])
            own[:, :, rows, columns] = inside * real[:, 3:]
        return mouth, interior, own

    def _own_teeth(self, pose: Tensor, rows: slice, columns: slice) -> Tensor:
        """What the portrait itself shows between its lips, which is fixed to the skull, and where: [B,4,h,w]."""
        head = self.head
        shift = (head.rigid(self.lip_centre, pose) - self.lip_centre)[:, 0, :2]
        flow = -shift[:, :, None, None].expand(-1, -1, CROP_SIZE, CROP_SIZE)[:, :, rows, columns]
        at = pixel_grid(CROP_SIZE, CROP_SIZE, head.device)[rows, columns].permute(2, 0, 1) + flow
        at = at.permute(0, 2, 3, 1) / CROP_SIZE * 2 - 1
        return F.grid_sample(self.shown.expand(len(at), -1, -1, -1), at, align_corners=False)
