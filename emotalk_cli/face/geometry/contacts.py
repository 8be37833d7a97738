"""Lips and lids that meet exactly where an expression says so."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from ...numeric import places
from .. import card
from ..topology import INDEX, LEFT_EYE, LEFT_LID_PAIRS, LIP_PAIRS, RIGHT_EYE, RIGHT_LID_PAIRS
from .eyeball import BROWS
from .head import Head

LIP_SHARE = 0.3  # part of a lip-gap correction that the upper lip takes; the jaw takes the rest
LIP_ROUND = 0.5  # part of a parabola in the outline of an opening; the basis alone may open to a wedge
LIP_SPAN = 2.1  # cm, half the width of that parabola
# Lips part from the middle: what is still shut, as a share, at the outermost pairs and the next when they begin to, and
# the opening (cm) over which that fades. Least squares on films and photos, whose outermost pairs were 1.6 times too
# far apart on average without it. The area between the lips stays as it was.
SHUT, SHUT_FADES = (0.8, 0.3), 0.5
LID_OVERLAP = 1.5  # px by which closed lids overlap, so that no sliver of the eye shows
NARROWEST, EASE = 0.12, 0.5  # of the mean face's opening: eyes that stay shut; eyes that may open as wide as any
WIDEST = 0.46  # of its width, that an eye opens: one of ten is as wide on photos of expressions, of a hundred 0.53
# Of the portrait's own distance from a lid to its brow: from here down a brow that falls takes the lid along, which
# comes no nearer than that; and most of an eye's opening that it closes.
HOODED, NEAREST, HOOD_MOST = 0.7, 0.4, 0.5
CLOSE_ROUNDS = 8  # of a search for the portrait's own opening
LID_SHARE = 0.85  # part of a blink that the upper lid takes
GUM_SHOWN = 0.08  # cm that a lip rises above where it bares the portrait's own teeth: what lies there is not known


class Contacts:
    """lips [2,9]: upper and lower vertices that meet; lids: for each eye the same [2,7]; source_gap [9], own_lids: px
    between the portrait's lips, and for each eye [1,7] its lids; brows, own_brows: for each eye the same [2,7] of its
    brow's lower edge and upper lid."""

    def __init__(self, head: Head) -> None:
        self.head = head
        model, device = head.model, head.device
        mean = model.mean.cpu()
        self.lips = torch.tensor(LIP_PAIRS, device=device).T
        across = model.mean[self.lips[0], 0] / LIP_SPAN
        self.lip_profile = (1 - across.square()).clamp_min(0)
        self.shut = torch.tensor([*SHUT, *[0.0] * (len(LIP_PAIRS) - 2 * len(SHUT)), *SHUT[::-1]], device=device)
        self.shut -= (1 - self.shut) * (self.shut @ self.lip_profile / ((1 - self.shut) @ self.lip_profile))
        self.lip_up = _spread(mean, LIP_PAIRS, True, 0.9, 0.45).to(device)
        self.lip_down = _spread(mean, LIP_PAIRS, False, 1.4, 0.45).to(device)
        self.lids: list[Tensor] = []
        self.blinks, self.narrow, self._lid_spread = [], [], []
        self.widths = [float((head.points[r[0]] - head.points[r[8]])[:2].norm()) for r in (LEFT_EYE, RIGHT_EYE)]
        for side, lids in (("Left", LEFT_LID_PAIRS), ("Right", RIGHT_LID_PAIRS)):
            self._lid_spread.append([_spread(mean, lids, upper, 0.55, 0.3).to(device) for upper in (True, False)])
            pairs = torch.tensor(lids, device=device).T
            self.lids.append(pairs)
            self.blinks.append(INDEX[f"eyeBlink{side}"])
            usual = (model.mean[pairs[0], 1] - model.mean[pairs[1], 1]).mean() * head.pose.scale
            self.narrow.append(float((self.gaps(head.points[None], pairs).mean() / usual).clamp(0, 1)))
        self.brows: list[Tensor] = []
        for side, pairs in zip(("Left", "Right"), self.lids, strict=True):
            edge = torch.tensor(BROWS[side])
            beside = (mean[pairs[0].cpu(), None, 0] - mean[edge][None, :, 0]).abs().argmin(1)
            self.brows.append(torch.stack([edge[beside].to(device), pairs[0]]))
        self.own_brows = [self.gaps(head.points[None], pairs).clamp_min(1) for pairs in self.brows]
        self.own_lids = [self.gaps(head.points[None], pairs) for pairs in self.lids]
        self.source_gap = self.gaps(head.points[None], self.lips)[0].clamp_min(0)

    def gaps(self, points: Tensor, pairs: Tensor) -> Tensor:
        """How far the pairs [2,P] of points [B,478,3] are apart, px: [B,P]; below 0 where they overlap."""
        if card.usable(points, pairs):
            return card.gaps(points, pairs, self.head.up)
        return ((points[:, pairs[0]] - points[:, pairs[1]]) * self.head.up).sum(-1)

    def parted(self, beta: Tensor) -> Tensor:
        """How far the lips are apart under β [B,64], px: [B,9]."""
        moved = self.head.model.displacement(beta)
        gap = moved[:, self.lips[0], 1] - moved[:, self.lips[1], 1]
        most = gap.amax(1, keepdim=True).clamp_min(0)
        gap = torch.lerp(gap, most * self.lip_profile, LIP_ROUND) * (1 - self.shut * (-most / SHUT_FADES).exp())
        return (gap * self.head.pose.scale).clamp_min(0)

    @cached_property
    def unmoved(self) -> Tensor:
        """β [1,64] under which the portrait stays as it is: its own, with the lips as far apart as it shows them."""
        beta, close = self.head.source_beta.clone(), INDEX["mouthClose"]
        shape = self.head.model.expression[close, :, 1]
        slope = (shape[self.lips[1]] - shape[self.lips[0]]).mean() * self.head.pose.scale
        for _ in range(CLOSE_ROUNDS):
            beta[:, close] += (self.parted(beta) - self.source_gap).mean() / slope
        return beta

    def expressed(self, beta: Tensor, own_teeth: bool) -> Tensor:
        """Landmarks [B,478,3] px under β [B,64] in the portrait's own pose, lips and lids meeting exactly where β says
        so. own_teeth: whether the portrait shows its own upper teeth, above which a lip does not rise far."""
        head = self.head
        blinks = places(self.blinks, beta)
        blink = beta[:, blinks].clamp(0, 1)
        beta = beta.index_fill(1, blinks, 0)
        points = head.points + head.pose.rotate(head.model.displacement(beta - head.source_beta) - head.residual)
        wanted = self.parted(beta)
        error = wanted - self.gaps(points, self.lips)
        shift = LIP_SHARE * error @ self.lip_up.T - (1 - LIP_SHARE) * error @ self.lip_down.T
        if own_teeth:
            raised = ((points - head.points)[:, self.lips[0]] * head.up).sum(-1) + LIP_SHARE * error
            excess = (raised.amax(1, keepdim=True) - GUM_SHOWN * head.pose.scale).clamp_min(0).expand_as(raised)
            shift = shift - excess @ self.lip_up.T - excess @ self.lip_down.T
        for column, (pairs, (upper, lower)) in enumerate(zip(self.lids, self._lid_spread, strict=True)):
            gap, own = self.gaps(points, pairs), self.own_lids[column]
            narrow = self.narrow[column]
            # a squint takes its part of a narrow eye; one nearly shut does not spring open
            squint, wide = (own - gap).clamp_min(0) * (1 - narrow), (gap - own).clamp_min(0)
            eased = squint - wide * min(max((EASE - narrow) / (EASE - NARROWEST), 0), 1)
            room = (WIDEST * self.widths[column] - own.amax()).clamp_min(0.1 * own.amax())
            most = wide.amax(1, keepdim=True) / room
            eased = eased - wide * (1 - most.tanh() / most.clamp_min(1e-3))
            gap = (gap + eased).clamp_min(0)
            near = self.gaps(points, self.brows[column]) - eased / 2
            hood = _hood(near / self.own_brows[column]) * self.own_brows[column]
            hood = hood.minimum(HOOD_MOST * gap)
            gap = (gap - hood + LID_OVERLAP) * blink[:, column, None]
            shift = shift + (eased / 2 - hood - LID_SHARE * gap) @ upper.T
            shift = shift - (eased / 2 - (1 - LID_SHARE) * gap) @ lower.T
        return points + shift[..., None] * head.up


def _hood(share: Tensor) -> Tensor:
    """How far a lid must give way to its brow, whose distance is a share of the portrait's own."""
    under = (HOODED - share).clamp_min(0)
    return under - (HOODED - NEAREST) * (under / (HOODED - NEAREST)).tanh()


def _spread(mean: Tensor, pairs: list[tuple[int, int]], upper: bool, reach: float, width: float) -> Tensor:
    """How far each vertex follows each (upper, lower) pair's member: [478, pairs], 1 at the member itself.

    Above the contact line vertices follow the upper members, below it the lower ones; influence fades with
    `reach` cm away from the line and `width` cm along it.
    """
    own = torch.tensor([p[0 if upper else 1] for p in pairs])
    other = torch.tensor([p[1 if upper else 0] for p in pairs])
    line = (mean[own] + mean[other]) / 2
    dx = mean[:, None, 0] - line[None, :, 0]
    weight = torch.exp(-0.5 * (dx / width) ** 2)
    share = weight / weight.sum(1, keepdim=True).clamp_min(1e-6)
    beyond = (mean[:, 0] - line[:, 0].max()).clamp_min(0) + (line[:, 0].min() - mean[:, 0]).clamp_min(0)
    height = mean[:, 1] - (share * line[None, :, 1]).sum(1)
    side = (height > 0) if upper else (height < 0)
    fade = torch.exp(-0.5 * (height / reach) ** 2) * torch.exp(-0.5 * (beyond / width) ** 2) * side
    follow = share * fade[:, None]
    follow[other] = 0.0
    follow[own] = torch.eye(len(pairs))  # the pair itself meets exactly
    return follow
