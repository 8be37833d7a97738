"""Eyes: what lies behind a portrait's lids, and the lids without their lashes.

Lids slide over an eyeball that neither stretches nor squeezes: its picture is completed beyond the portrait's own
opening, the iris by its colour at each radius (a circle), the white by the white around. A closing lid is more of the
skin around the eye, not its lashes drawn out.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from ...numeric import fixed
from ..raster import pixel_grid, sharp_sample, waits
from ..topology import INDEX, LEFT_EYE, LEFT_LID_PAIRS, RIGHT_EYE, RIGHT_LID_PAIRS

IRIS = {"Left": 473, "Right": 468}  # centre; the four vertices that follow lie on the limbus
RINGS = {"Left": LEFT_EYE, "Right": RIGHT_EYE}
LIDS = {"Left": LEFT_LID_PAIRS, "Right": RIGHT_LID_PAIRS}
BROWS = {"Left": [276, 283, 282, 295, 285], "Right": [46, 53, 52, 65, 55]}  # lower edge
GAZE = 0.55  # cm that the iris travels for a gaze coefficient of 1: 27 degrees of an eyeball of 1.2 cm
RADII, IRIS_REACH = 24, 1.3  # bins of the iris' colour, up to this part of its radius
UNSEEN = 0.07  # eye widths: what the portrait shows nearer to its lids than this lies in their shadow
SHADE, SHADE_DEPTH = 0.45, 0.09  # most of the light that a raised lid takes, and how far its shadow falls (eye widths)
IRIS_SHOWN = 0.15  # of an iris' area, from which on its colours are its own
IRIS_DARK = 0.35  # quantile of the brightness at each radius that is the iris' own: the rest are reflections
BROWN = (0.5, 0.32, 0.22)  # of a plain iris, times the light on the skin
WHITE_OF_SKIN = (0.95, 1.15, 1.2)  # the white's colour by the skin's, where the portrait shows none
MARGIN = 0.3  # eye widths around an opening that are kept


def smooth_ring(points: Tensor) -> Tensor:
    """Closed outlines [B,N,2] with a point more on each edge, on a curve through them: [B,2N,2]."""
    if waits(points):
        return _between(points.shape[1], points.device, points.dtype) @ points
    return _smooth_ring(points)


@functools.lru_cache(16)
def _between(count: int, device: torch.device, kind: torch.dtype) -> Tensor:
    """`smooth_ring` of `count` points as a matrix [2N,N], made once: one launch in the place of nine."""
    with torch.inference_mode(False):
        return _smooth_ring(torch.eye(count, device=device, dtype=kind)[None])[0]


def _smooth_ring(points: Tensor) -> Tensor:
    a, b, c, d = points.roll(1, 1), points, points.roll(-1, 1), points.roll(-2, 1)
    return torch.stack([b, (9 * (b + c) - a - d) / 16], 2).flatten(1, 2)


class Eye:
    """One eye of a portrait; `complete` it before use.

    image [3,H,W] 0..1; points [478,3] px; distance [h,w] signed px to its opening, positive inside, in the box
    `rows` x `columns` of the image.
    """

    def __init__(self, side: str, image: Tensor, points: Tensor, distance: Tensor, rows: slice, columns: slice) -> None:
        self.side, self.ring = side, RINGS[side]
        self.corner = image.new_tensor([columns.start, rows.start])
        self.middle = points[[self.ring[0], self.ring[8]]].mean(0)
        self.along = points[self.ring[0], :2] - points[self.ring[8], :2]
        self.width = float(self.along.norm())
        self.iris = points[IRIS[side], :2]
        self.radius = float((points[IRIS[side] + 1 : IRIS[side] + 5, :2] - self.iris).norm(dim=1).mean().clamp_min(1.0))
        self.brow = float((points[BROWS[side]] - points[[a for a, _ in LIDS[side]]].mean(0))[:, :2].norm(dim=1).mean())
        self.skin = self._skin(image, points)
        self.seen, self.distance = image[:, rows, columns], distance
        height, width = distance.shape
        place = (pixel_grid(height, width, image.device) + self.corner - self.iris).norm(dim=-1) / self.radius
        self.place, self.inside = place, distance > UNSEEN * self.width
        self.profile, self.sure = self._profile()

    def complete(self, other: Eye) -> None:
        """Fill what lids hide; an iris of which nearly nothing shows is the other eye's, or else a plain brown one."""
        profile = torch.lerp(self._plain(), other.profile, other.sure)
        self.profile = torch.lerp(profile, self.profile, self.sure)
        self.picture = torch.cat([self.seen, self._completed(), self.distance[None]])[None]

    def sample(self, at: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """At px of the portrait [B,h,w,2]: its picture, the completed eyeball (each [B,3,h,w]), distance [B,1,h,w]."""
        limit = fixed(self.picture.shape[:1:-1], at)
        grid = (at - self.corner) / limit * 2 - 1
        picture = self.picture.expand(len(at), -1, -1, -1)
        return sharp_sample(picture, grid).split([3, 3, 1], 1)

    def gaze(self, beta: Tensor) -> Tensor:
        """Where β [B,64] takes the iris from where the portrait has it: [B,3] cm in the model's frame."""
        look = {d: beta[:, INDEX[f"eyeLook{d}{self.side}"]] for d in ("In", "Out", "Up", "Down")}
        out = 1.0 if self.side == "Left" else -1.0
        x, y = out * (look["Out"] - look["In"]), look["Up"] - look["Down"]
        return GAZE * torch.stack([x, y, torch.zeros_like(x)], -1)

    def above(self, at: Tensor) -> Tensor:
        """How surely px [...,2] belong to the upper lid or its lashes: 0..1, [...]; not at the corners of the eye."""
        across, down = self.along / self.width, torch.stack([-self.along[1], self.along[0]]) / self.width
        down = down * down[1].sign()
        x, y = ((at - self.middle[:2]) @ torch.stack([across, -down], 1) / self.width).unbind(-1)
        return (y / 0.05).clamp(0, 1) * ((0.5 - x.abs()) / 0.25).clamp(0, 1)

    def _profile(self) -> tuple[Tensor, float]:
        """The iris' colour at each radius [3,RADII], and how sure it is, 0..1."""
        bins = (self.place / IRIS_REACH * RADII).long().clamp(max=RADII).flatten()
        usable = self.inside.flatten() & (bins < RADII)
        seen, bins = self.seen.flatten(1)[:, usable], bins[usable]
        shown = int((bins < int(RADII / IRIS_REACH)).sum()) / (torch.pi * self.radius**2)
        known = bins.unique()
        if len(known) < 3:
            return self._plain(), 0.0
        # the mean of a radius that a catchlight crosses would be a ring around the pupil
        colours = torch.stack([seen[:, bins == b].quantile(IRIS_DARK, 1) for b in known], 1)
        nearest = (torch.arange(RADII, device=seen.device)[:, None] - known).abs().argmin(1)
        profile = F.pad(colours[:, nearest][None], (4, 4), mode="replicate")
        return F.avg_pool1d(F.avg_pool1d(profile, 5, 1), 5, 1)[0], min(shown / IRIS_SHOWN, 1.0)

    def _plain(self) -> Tensor:
        """A brown iris with its pupil in the light of the skin around: [3,RADII]."""
        radius = torch.arange(RADII, device=self.seen.device) * (IRIS_REACH / RADII)
        brown = self.seen.new_tensor(BROWN)[:, None] * self._light() * (1.3 - 0.6 * radius.clamp(max=1))
        return brown * ((radius - 0.35) / 0.1).clamp(0.1, 1)

    def _light(self) -> Tensor:
        return self.skin(self.iris[None]).mean().clamp(0.15, 0.8)

    def _completed(self) -> Tensor:
        white = (self.inside & (self.place > IRIS_REACH)).float()
        assumed = self.skin(self.iris[None])[:, 0] * self.seen.new_tensor(WHITE_OF_SKIN)
        own = (self.seen * white).sum((1, 2)) / white.sum().clamp_min(1)
        mean = torch.lerp(assumed.clamp(0.05, 0.8), own, (white.sum() / (0.02 * self.width**2)).clamp(max=1))
        place = (self.place / IRIS_REACH * RADII - 0.5).clamp(0, RADII - 1.001)
        low = place.long()
        iris = torch.lerp(self.profile[:, low], self.profile[:, low + 1], place - low)
        reach = int(0.15 * self.width) + 1
        around = F.avg_pool2d(torch.cat([self.seen * white, white[None]]), 2 * reach + 1, 1, reach)
        near = around[:3] / around[3:].clamp_min(1e-4)
        sclera = torch.lerp(mean[:, None, None], near, around[3:] / (around[3:] + 0.05))
        plain = torch.lerp(iris, sclera, ((self.place - 1.05) / (IRIS_REACH - 1.05)).clamp(0, 1))
        mirrored, known = self._mirrored()
        return torch.lerp(plain, mirrored, known)

    def _mirrored(self) -> tuple[Tensor, Tensor]:
        """What the portrait shows of the eyeball as far below the iris' middle as each pixel is above it, and the
        other way round: [3,h,w], and how surely it is known, [1,h,w]. Lids hide an iris' upper part, light falls there:
        below it has its own pattern and no catchlight."""
        height, width = self.distance.shape
        grid = pixel_grid(height, width, self.seen.device) + self.corner
        down = torch.stack([-self.along[1], self.along[0]]) / self.width
        away = (grid - self.iris) @ down
        at = grid - 2 * away[..., None] * down - self.corner
        at = at / at.new_tensor([width, height]) * 2 - 1
        sure = F.avg_pool2d((self.distance > UNSEEN * self.width).float()[None], 3, 1, 1)
        read = F.grid_sample(torch.cat([self.seen * sure, sure])[None], at[None], align_corners=False)[0]
        return read[:3] / read[3:].clamp_min(1e-3), read[3:]

    def _skin(self, image: Tensor, points: Tensor) -> Callable[[Tensor], Tensor]:
        """Colour of the bare skin around the eye as a smooth function of px [...,2] -> [3,...]."""
        upper, lower = (points[[pair[i] for pair in LIDS[self.side]], :2].mean(0) for i in (0, 1))
        brow, middle = points[BROWS[self.side], :2].mean(0), self.middle[:2]
        width = self.width  # what is returned holds no eye, or each would hold itself, and memory would grow
        down = F.normalize(upper - brow, dim=0)
        line = torch.linspace(-0.45, 0.45, 15, device=image.device)[:, None] * self.along
        places = [upper + (brow - upper) * s for s in (0.4, 0.5, 0.6)]
        places += [lower + down * self.width * s for s in (0.2, 0.27, 0.34)]
        at = torch.cat([line + place for place in places])
        limit = at.new_tensor(image.shape[:0:-1])
        value = F.grid_sample(image[None], (at / limit * 2 - 1)[None, None], align_corners=False)[0, :, 0]

        def terms(at: Tensor) -> Tensor:
            x, y = ((at - middle) / width).unbind(-1)
            return torch.stack([torch.ones_like(x), x, y, x * x], -1)

        design, trust = terms(at), torch.ones(len(at), device=at.device)
        ridge = at.new_tensor([1e-3, 0.3, 0.3, 0.3]).diag()
        for _ in range(3):  # what is darker than the fit are lashes and brows
            weighed = design * trust[:, None]
            fit = torch.linalg.solve(weighed.T @ design + ridge, weighed.T @ value.T)
            below = ((design @ fit).T - value).mean(0) / value.mean().clamp_min(0.05)
            trust = torch.sigmoid((0.06 - below) / 0.02)
        upper_lid = slice(0, 3 * len(line))  # in deep-set eyes darker than all around, and no lash
        self.lid = float((value / (design @ fit).T.clamp_min(0.02)).mean(0)[upper_lid].median().clamp(0.3, 1))
        return lambda at: (terms(at) @ fit).movedim(-1, 0).clamp(0, 1)
