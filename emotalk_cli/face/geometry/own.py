"""The portrait's own teeth: what of its mouth goes with the skull, whatever lips and jaw do."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ...numeric import smooth_path, smoothstep
from .teeth import LOWERED, Layout

WHITE, BRIGHT = 0.7, 0.62  # quantile between the lips, and of the skin's brightness: what is darker is no row of teeth
# Saturation that the whitest has not: of the skin's, and at all. 40 portraits' teeth have 0.8 of it at most, flesh
# that is lit 0.9. Spread of its hues, of which these have 0.026 at most, dabs of a painter 0.08.
COLOURED, PALE, MOTLEY = 0.82, 0.2, 0.05
BRIGHTNESS = 0.85  # quantile between the lips that is the brightness of teeth
DARK = (0.38, 0.6)  # of that: what is surely no tooth, and what may be one
GAP = 9  # px of the crop, odd: dark lines between teeth are narrower
ABOVE, BELOW = 5, 3  # px on both sides of the row's edge that are compared
CLEAR = 0.08  # change of brightness, of teeth's, that is an edge; below two, the upper one is the row's
BEND = 0.004  # cost of an edge that steps by a px from column to column, and of more its square
FAR, COST = 12.0, (-0.025, 0.1)  # px from the drawn teeth's edge, and what this distance costs above it and below
SEEN, ASIDE = 80.0, 2.0  # px of the crop of a part that tell where it lies, and most that it lies aside of upper teeth
EDGE, FRINGE = 2.0, 1.0  # px over which the row's edge fades, and above it to where what is blurred with it is left out


def toothed(inside: Tensor, skin: Tensor) -> bool:
    """Whether what is seen between lips, inside [3,N] 0..1, has a row of teeth; skin [3]: its colour."""
    white = inside.amin(0)
    if not len(white) or bool(white.quantile(WHITE) < BRIGHT * skin.mean()):
        return False
    whitest = inside[:, white >= white.quantile(WHITE)]
    flesh = _saturation(whitest).median() > (COLOURED * _saturation(skin)).clamp_min(PALE)
    hues = whitest / whitest.sum(0).clamp_min(0.05)
    spread = (hues - hues.mean(1, keepdim=True)).square().sum(0).mean().sqrt()
    return not bool(flesh) and bool(spread < MOTLEY)


def _saturation(colours: Tensor) -> Tensor:
    """Of colours [3,...] 0..1."""
    return 1 - colours.amin(0) / colours.amax(0).clamp_min(0.02)


def upper_row(picture: Tensor, distance: Tensor, drawn: Tensor) -> tuple[Tensor, float]:
    """How far a mouth shows its upper teeth, soft 0..1 [1,h,w], with what lies above and between them; and px by which
    the drawn ones reach below them.

    Neither the dark in its corners nor what is below is theirs: that moves with lips and jaw. The row's edge is where
    it gets darker downwards, near the edge of the teeth that were laid onto it: of two rows, the upper one's.
    picture [1,3,h,w] 0..1: the mouth on the crop; distance [1,h,w]: px inside its inner lips; drawn [1,h,w]: upper
    teeth of `Mouth.seen`, 0..1.
    """
    grey = picture.mean(1)
    grey = grey / grey[distance > 0].quantile(BRIGHTNESS).clamp_min(0.05)
    white = smoothstep(_white(grey)) * (distance > 0)
    white = F.max_pool2d(white, GAP, 1, GAP // 2)
    white = -F.max_pool2d(-white, GAP, 1, GAP // 2)
    known = (drawn[0] > 0.5) & (distance[0] > 0)
    teeth = known.any(0)
    rows, columns = (torch.arange(n, device=grey.device) for n in grey.shape[1:])
    if not bool(teeth.any()):
        return F.avg_pool2d(white, 3, 1, 1), 0.0
    lowest = (known * rows[:, None]).amax(0).float() + 1
    nearest = columns[teeth][(columns[:, None] - columns[teeth]).abs().argmin(1)]
    edge = _lower_edge(grey, distance, lowest[nearest])
    above = ((edge - FRINGE - rows[:, None]) / EDGE).clamp(0, 1)
    return F.avg_pool2d(white, 3, 1, 1) * above, float((lowest - edge)[teeth].median())


def settled(layout: Layout, below: float, parts: Tensor) -> Layout:
    """A layout whose upper teeth lie `below` px higher, and whose lower ones and tongue, which hardly any smile shows,
    keep to them: on what it does not show, a photo tells nothing.

    parts [4,h,w]: of `Mouth.seen` between the portrait's lips, as the layout has them.
    """
    shift, scale = layout.shift.clone(), layout.scale.clone()
    shift[0, 1] -= below
    middle = shift[0, 0]
    for group, part in ((1, parts[1]), (2, parts[3])):
        if float(part.sum()) < SEEN:
            shift[group, 1], scale[group] = LOWERED[group], scale[0]
        shift[group, 0] = shift[group, 0].clamp(middle - ASIDE, middle + ASIDE)
    return Layout(shift, scale, layout.gain)


def _white(grey: Tensor) -> Tensor:
    low, high = DARK
    return ((grey - low) / (high - low)).clamp(0, 1)


def _lower_edge(grey: Tensor, distance: Tensor, guess: Tensor) -> Tensor:
    """The row [w] at which the upper teeth end in each column, about guess [w]. grey [1,h,w], of teeth's brightness."""
    height = grey.shape[1]
    rows = torch.arange(height, device=grey.device)
    soft = F.avg_pool2d(F.pad(grey, (2, 2, ABOVE, BELOW - 1), mode="replicate")[None], (1, 5), 1)[0]  # [1,h+7,w]
    before = F.avg_pool2d(soft, (ABOVE, 1), 1)[0, :height]
    after = F.avg_pool2d(soft, (BELOW, 1), 1)[0, ABOVE:]
    darker = (before - after) * _white(before)
    most = F.max_pool2d(darker[None], (2 * ABOVE + 1, 1), 1, (ABOVE, 0))[0]
    edges = darker.clamp(-CLEAR, CLEAR) - (most - darker).clamp_max(CLEAR) / 2
    outside = F.pad((distance < 0).float(), (0, 0, ABOVE, 0), value=1.0)
    outside = F.max_pool2d(outside, (ABOVE, 1), 1)[0, :height]  # of what is before
    away, (up, down) = (rows[:, None] - guess) / FAR, COST
    cost = torch.where(away < 0, up * -away, down * away) - edges + outside
    edge = smooth_path(cost.T, BEND * (rows[:, None] - rows).square()).float()
    return F.avg_pool1d(F.pad(edge[None, None], (2, 2), mode="replicate"), 5, 1)[0, 0]
