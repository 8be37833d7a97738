"""The driven eyes: lids slide over eyeballs that move with head and gaze alone."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ...constants import CROP_SIZE
from ...numeric import places
from ..raster import boxed, extent_of, inverse, pixel_grid, polygon_distance, waits
from .contacts import Contacts
from .eyeball import MARGIN, RINGS, SHADE, SHADE_DEPTH, UNSEEN, Eye, smooth_ring
from .head import Head

LID_REACH, LID_SHARE_OF_BROW = 0.35, 0.7  # in eye widths, and of the way to the brow: skin that a lid can draw in
LID_FOLDS = 0.7  # of an eye's opening, from which down its lid is more skin than the portrait shows
LASHES, BARE = 0.045, 0.85  # eye widths of lashes left on a closing lid; part of the skin's light that it has at least
LASH_WIDTH = 0.022  # of the line where closed lids meet, in eye widths


class Eyes:
    """What is seen between a portrait's driven lids, and of the lids themselves."""

    def __init__(self, head: Head, contacts: Contacts) -> None:
        self.head, self.contacts = head, contacts
        self.eyes = []
        for side, ring in RINGS.items():
            contour = head.points[None, ring, :2]
            width = float((contour[0, 0] - contour[0, 8]).norm())
            rows, columns = boxed(contour, round(MARGIN * width) + 1, CROP_SIZE)
            place = pixel_grid(CROP_SIZE, CROP_SIZE, head.device)[rows, columns]
            distance = polygon_distance(smooth_ring(contour), place)
            self.eyes.append(Eye(side, head.image[0], head.points, distance[0], rows, columns))
        self.extents = [extent_of(head.points[eye.ring], round(LID_REACH * eye.width), CROP_SIZE) for eye in self.eyes]
        for eye, other in zip(self.eyes, self.eyes[::-1]):
            eye.complete(other)
        ends = F.pad(torch.eye(3, 2, device=head.device).roll(1, 0), (0, 1))
        self.frames = [eye.middle + eye.width * ends for eye in self.eyes]

    def drawn(
        self, flow: Tensor, warped: Tensor, beta: Tensor, pose: Tensor, points: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Within the open eyes, flow and warped picture become the eyeballs', in place.

        points [B,478,3] px: driven landmarks. Returns the mask of the open eyes and the lines of lashes where lids
        meet, each [B,1,512,512], and `Geometry.lids`.
        """
        head, gaps = self.head, self.contacts.gaps
        eyes, lashes = torch.zeros_like(flow[:, :1]), torch.zeros_like(flow[:, :1])
        lids = flow.new_zeros(len(flow), 4, CROP_SIZE, CROP_SIZE)
        grid = pixel_grid(CROP_SIZE, CROP_SIZE, head.device)
        parts = self.eyes, self.frames, self.contacts.lids, self.contacts.own_lids, self.extents
        for eye, frame, pairs, own, extent in zip(*parts, strict=True):
            gap, own = (t.amax(1)[:, None, None] for t in (gaps(points, pairs), own))
            opened = gap / own.clamp_min(0.5)
            contour = smooth_ring(points[:, places(eye.ring, points), :2])
            closing = waits(flow) or float(opened.min()) < LID_FOLDS
            rows, columns = boxed(contour, round(LID_REACH * eye.width) if closing else 3, CROP_SIZE, extent)
            box, place = (..., rows, columns), grid[rows, columns]
            distance = polygon_distance(contour, place)
            inside = (distance + 0.5).clamp(0, 1) * (opened * 6 - 0.3).clamp(0, 1)
            # the eyeball, as the portrait shows it and completed where lids and their shadow have left it
            at = self._eyeball(eye, frame, beta, pose, place)
            seen, whole, within = eye.sample(at)
            lift = ((gap - own) / 2).clamp(0, UNSEEN * eye.width)
            ball = torch.lerp(seen, whole, ((lift[:, None] - within) / 2 + 0.5).clamp(0, 1))
            if waits(flow) or float(lift.max()) > 0:
                depth = SHADE_DEPTH * eye.width
                under = (polygon_distance(contour, place + depth * head.up[:2]) / depth).clamp(-1, 0)
                ball = ball * (1 + SHADE * under * lift / (UNSEEN * eye.width))[:, None]
            covered, colour = inside, ball
            if closing:  # a lid without the lashes that would be drawn out over it
                line = torch.exp(-(distance / (LASH_WIDTH * eye.width)).square()) * ((0.3 - opened) / 0.25).clamp(0, 1)
                lashes[:, 0, rows, columns] = line
                source = place + flow[box].permute(0, 2, 3, 1)
                skin = eye.lid * eye.skin(source).transpose(0, 1)
                reach = min(LID_REACH * eye.width, LID_SHARE_OF_BROW * eye.brow)
                away = (-distance / eye.width / LASHES - 0.5).clamp(0, 1) * (2 + 2 * distance / reach).clamp(0, 1)
                darker = ((BARE - warped[box].mean(1) / skin.mean(1).clamp_min(0.02)) / 0.3).clamp(0, 1)
                bare = eye.above(source) * away * darker * ((LID_FOLDS - opened) / 0.5).clamp(0, 1)
                covered = inside + (1 - inside) * bare
                colour = torch.lerp(skin, ball, (inside / covered.clamp_min(1e-3))[:, None])
            lids[:, :3, rows, columns], lids[:, 3, rows, columns] = colour.clamp(0, 1), covered
            eyes[:, 0, rows, columns] = inside
            ours = (inside >= 1)[:, None]
            flow[box] = torch.where(ours, (at - place).permute(0, 3, 1, 2), flow[box])
            warped[box] = torch.where(ours, seen.clamp(0, 1), warped[box])
        return eyes, lashes, lids

    def _eyeball(self, eye: Eye, frame: Tensor, beta: Tensor, pose: Tensor, place: Tensor) -> Tensor:
        """Which px of the portrait's eyeball is seen at driven px place [h,w,2]: [B,h,w,2]. frame [3,3] px: its
        middle, and ends of axes from there."""
        moved = self.head.rigid(frame + self.head.pose.rotate(eye.gaze(beta)[:, None]), pose)[..., :2]
        # the affine map that carries the driven frame's corners back to the portrait's
        linear = inverse(moved[:, 1:] - moved[:, :1]) @ (frame[1:, :2] - frame[:1, :2])
        back = (place.flatten(0, 1) - moved[:, :1]) @ linear + frame[0, :2]
        return back.unflatten(1, place.shape[:2])
