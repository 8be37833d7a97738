"""What the face model says of a frame, as maps over the portrait crop, and the frame that they make."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor
from torch.nn import functional as F

from .. import card
from ..raster import span, waits
from .palette import LUMA, brightness, toned

HEADROOM = 1.2  # most by which light may count on dark skin, of what it does at middle brightness


@dataclasses.dataclass
class Geometry:
    """What the face model says of B frames; nearly all [B,·,512,512].

    flow: backward, px (source = pixel + flow); torn [B,1,256,256]: 1 where it leaps from one thing to another;
    warped: the source sampled by it, 0..1;
    ratio: driven / source shading, 0.6..1.25; rendered: I^rd, the driven 3D face on black, 0..1;
    interior: drawn (or, where the source shows it, its own) mouth interior; mouth, eyes, face: soft masks 0..1;
    own: the part of the mouth where the portrait's own teeth show, soft 0..1;
    lids: [B,4,512,512], eyeballs, bare lids and the lips' own colour over their seam: colour, and how much of the frame
    they cover.

    These lie on the mouth's own crop: inside [B,14,160,192], its maps (see `mouth.Mouth.inside`); place [B,2,3],
    affine from its px to those of the others. regions [B,3,2,2],
    px: (left, top) and (right, bottom) of the left eye, the right eye and the outer lips as driven. rims [B,2,16,2] px:
    outlines of the left and the right eye as driven; opened [B,2]: how far each is open, of how far the portrait's is.

    The picture's colours: hue [B,3], shares of a change of light that its skin's R, G, B take; colours [B,32,3], its
    colour at each brightness, and plain [B], how far it has no others (see `palette`).
    """

    flow: Tensor
    torn: Tensor
    warped: Tensor
    ratio: Tensor
    rendered: Tensor
    interior: Tensor
    mouth: Tensor
    eyes: Tensor
    face: Tensor
    own: Tensor
    lids: Tensor
    inside: Tensor
    place: Tensor
    regions: Tensor
    rims: Tensor
    opened: Tensor
    hue: Tensor
    colours: Tensor
    plain: Tensor

    def composite(self) -> Tensor:
        """The animated face without a learned generator: warp x shading ratio, with the drawn mouth and eyes. 0..1."""
        if waits(self.warped):
            frames = lit(self.warped, self.ratio, self.hue).lerp_(self.interior, self.mouth)
            return self.toned(self.paint(frames))
        frames = self.warped.clone()
        body = torch.maximum(self.face, self.mouth)
        box = (..., _extent(body.amax((0, 1, 3))), _extent(body.amax((0, 1, 2))))
        skin = lit(self.warped[box], self.ratio[box], self.hue)
        frames[box] = torch.lerp(skin, self.interior[box], self.mouth[box])
        return self.toned(self.paint(frames))

    def placed(self) -> Geometry:
        """What frames still need once they are drawn: without the pictures that they were drawn of, three quarters of
        its memory."""
        spent = ("warped", "rendered", "interior", "eyes", "own", "lids")
        return dataclasses.replace(self, **{name: getattr(self, name).new_empty(0) for name in spent})

    def paint(self, frames: Tensor) -> Tensor:
        """Eyeballs, bare lids and the seam of closed lips drawn into frames [B,3,512,512], in place."""
        rows = slice(None) if waits(frames) else _extent(self.lids[:, 3].amax((0, 2)))
        colour, cover = self.lids[..., rows, :].split([3, 1], 1)
        frames[..., rows, :].lerp_(colour, cover)
        return frames

    def toned(self, frames: Tensor) -> Tensor:
        """Frames [B,3,H,W] in the picture's own colours where it is of one hue, in place."""
        if float(self.plain[0]) > 0:
            rows, columns = (_extent(F.interpolate(self.face, frames.shape[2:]).amax((0, 1, axis))) for axis in (3, 2))
            part = frames[..., rows, columns]
            part.lerp_(toned(part, self.colours[0]), float(self.plain[0]))
        return frames


def relight(skin: Tensor, ratio: Tensor, hue: Tensor) -> Tensor:
    """skin [B,3,H,W] under `ratio` [B,1,H,W] times its light, its colours taking shares hue [B,3] of the change.

    What is bright already is brightened less: film and eyes have a shoulder, and bleached skin looks ill.
    """
    more = (ratio - 1).clamp_min(0) * (2 - 2 * brightness(skin)).clamp(0, HEADROOM)
    return skin * (1 + (more + (ratio - 1).clamp_max(0)) * hue[:, :, None, None])


def lit(skin: Tensor, ratio: Tensor, hue: Tensor) -> Tensor:
    """`relight`, held to 0..1."""
    if card.usable(skin, ratio, hue):
        return card.lit(skin, ratio, hue, HEADROOM, LUMA)
    return relight(skin, ratio, hue).clamp(0, 1)


def _extent(line: Tensor) -> slice:
    """From the first to the last element above 0, empty where there is none; all where that would mean to wait for the
    card."""
    if waits(line):
        return slice(None)
    return slice(*(span(line) or (0, 0)))
