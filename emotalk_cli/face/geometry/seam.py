"""The rim of a portrait's open lips: teeth and dark that they would carry along, and the seam where they meet."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ...constants import CROP_SIZE
from ...numeric import fixed, places, smoothstep
from ..raster import boxed, extent_of, pixel_grid, polygon_distance, sharp_sample, waits
from ..topology import INNER_LIPS, OUTER_EYE_CORNERS, OUTER_LIPS
from .contacts import Contacts
from .eyeball import smooth_ring
from .head import Head
from .maps import lit

APART = 0.02  # outer eye distances between the portrait's lips from which on they have a rim to cover
REACH = 0.028  # outer eye distances from the inner lips' contour: where the lip's own colour is taken
STRANGE, SURE = 0.05, 0.15  # differences from that colour: what may be lip, and what cannot
MEETING = 0.5  # of the portrait's own opening at that place, from which down the seam is covered
MOVED = 0.4  # of its widest, by which the opening differs from which on what is no lip's colour on lips is covered
LEAST, MARGIN = 2.0, 5  # px: of that opening; around the outer lips, over which what is drawn fades
CORNER = 0.12  # of the mouth's width, from its corners, over which that is: their dark goes on outside the lips
TORN = 0.7, 2.0  # px by which the flow of neighbours differs from which on, and fully, lips meet between them
LINE, LINE_DARK = 0.009, 0.3  # the line where lips touch: width in outer eye distances, and the light that it takes


class Seam:
    """rim: the portrait's mouth with its lips' own colour up to their inner contour [1,3,h,w], None where lips are
    closed in the picture and nothing needs to be covered; changed, line, lips [1,h,w]: how far that differs from the
    picture, what light shut lips take there, where they lie; corner [2]: px of the crop where it begins. pair, share
    [h,w]: which two pairs of `Contacts.lips` are nearest there, and how near the second is; amid [h,w]: 0 at the
    mouth's corners."""

    def __init__(self, head: Head, contacts: Contacts) -> None:
        self.head, self.contacts = head, contacts
        right, left = head.points[list(OUTER_EYE_CORNERS), :2]
        eyes = float((right - left).norm())
        self.extent = extent_of(head.points[OUTER_LIPS], MARGIN, CROP_SIZE)
        self.own = contacts.source_gap.clamp_min(LEAST)
        self.rim: Tensor | None = None
        if float(self.own.max()) < APART * eyes:
            return
        contour = smooth_ring(head.points[None, INNER_LIPS, :2])
        rows, columns = boxed(head.points[None, OUTER_LIPS, :2], MARGIN, CROP_SIZE)
        self.corner = contour.new_tensor([columns.start, rows.start])
        place = pixel_grid(CROP_SIZE, CROP_SIZE, head.device)[rows, columns]
        away = -polygon_distance(contour, place)  # [1,h,w] px from the contour, outwards
        outward = F.normalize(torch.stack(torch.gradient(away[0], dim=(1, 0)), -1), dim=-1)
        reach = REACH * eyes
        at = place + outward * (reach - away[0])[..., None]
        lip = F.grid_sample(head.image, (at / CROP_SIZE * 2 - 1)[None], align_corners=False, padding_mode="border")
        lip = F.avg_pool2d(F.pad(lip, (2, 2, 2, 2), mode="replicate"), 5, 1)
        own = head.image[..., rows, columns]
        strange = (((own - lip).abs().amax(1) - STRANGE) / (SURE - STRANGE)).clamp(0, 1)
        strange = F.avg_pool2d(F.max_pool2d(strange, 5, 1, 2), 3, 1, 1)  # with its blurred outline
        near = (1.5 * (1 - away / reach)).clamp(0, 1)
        self.changed = near * strange
        self.line = LINE_DARK * torch.exp(-(away.clamp_min(0) / (LINE * eyes)).square())
        self.rim = torch.lerp(own, lip, self.changed[:, None])
        lips = polygon_distance(head.points[None, OUTER_LIPS, :2], place)
        self.lips = smoothstep((lips / MARGIN + 1).clamp(0, 1))
        right, left = head.points[[INNER_LIPS[0], INNER_LIPS[10]], :2]
        across = (left - right) / (left - right).square().sum()
        pairs = ((head.points[contacts.lips, :2].mean(0) - right) @ across).contiguous()  # 0..1 from corner to corner
        along = (place - right) @ across
        self.pair = (torch.searchsorted(pairs, along.contiguous()) - 1).clamp(0, len(pairs) - 2)
        first, second = pairs[self.pair], pairs[self.pair + 1]
        self.share = ((along - first) / (second - first).clamp_min(1e-3)).clamp(0, 1)
        self.amid = smoothstep((along.minimum(1 - along) / CORNER).clamp(0, 1))

    def drawn(self, lids: Tensor, flow: Tensor, mouth: Tensor, ratio: Tensor, hue: Tensor, points: Tensor) -> None:
        """Draw the lips' own colour over their rim where they meet into `Geometry.lids` [B,4,512,512], in place.

        It lies there, and not in the warped picture, because generators read the picture anew. flow, mouth, ratio, hue:
        of `Geometry`. points: driven landmarks [B,478,3] px.
        """
        if self.rim is None:
            return
        gaps = self.contacts.gaps(points, self.contacts.lips)
        meeting = (1 - gaps / (MEETING * self.own)).clamp(0, 1)
        moved = ((gaps - self.own).abs() / (MOVED * self.own.max())).clamp(0, 1)
        if not waits(points) and float(moved.max()) == 0:
            return
        rows, columns = boxed(points[:, places(OUTER_LIPS, points), :2], MARGIN, CROP_SIZE, self.extent)
        place = pixel_grid(CROP_SIZE, CROP_SIZE, self.head.device)[rows, columns]
        at = place + flow[..., rows, columns].permute(0, 2, 3, 1) - self.corner
        limit = fixed(self.rim.shape[:1:-1], at)
        inside = ((at >= 0.5) & (at <= limit - 0.5)).all(-1)
        both = torch.stack([meeting, moved], 1)
        here, moved = torch.lerp(both[..., self.pair], both[..., self.pair + 1], self.share).unbind(1)
        meeting = torch.lerp(meeting.amin(1)[:, None, None].expand_as(here), here, self.amid)
        moved = moved * self.amid
        rim = torch.lerp(self.rim, torch.zeros_like(self.rim), (self.line * meeting)[:, None])
        rim = torch.cat([rim, torch.maximum(meeting * self.lips, moved * self.changed)[:, None]], 1)
        covered, here = sharp_sample(rim, at / limit * 2 - 1).clamp(0, 1).split([3, 1], 1)
        covered = evened(covered, flow[..., rows, columns])
        lids[:, :3, rows, columns] = lit(covered, ratio[..., rows, columns], hue)
        lids[:, 3, rows, columns] = inside * here[:, 0] * (1 - mouth[:, 0, rows, columns])


def evened(lips: Tensor, flow: Tensor) -> Tensor:
    """Lips [B,3,h,w] drawn by a flow [B,2,h,w] px without the steps where it leaps from the upper one to the lower."""
    leap = (flow[:, :, 1:] - flow[:, :, :-1]).abs().amax(1, keepdim=True)
    low, high = TORN
    torn = ((F.pad(leap, (0, 0, 1, 0)).maximum(F.pad(leap, (0, 0, 0, 1))) - low) / (high - low)).clamp(0, 1)
    torn = F.max_pool2d(torn, 3, 1, 1)
    line = fixed([1 / 16, 1 / 4, 3 / 8, 1 / 4, 1 / 16], lips)
    kernel = (line[:, None] * line).expand(lips.shape[1], 1, 5, 5)
    even = F.conv2d(F.pad(lips, (2, 2, 2, 2), mode="replicate"), kernel, groups=lips.shape[1])
    return torch.lerp(lips, even, torn)
