"""The mesh that carries a portrait's pixels: the face, rings around it, rims of eyes and mouth, and lashes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ...constants import CROP_SIZE
from ...numeric import fixed, places, smoothstep
from ..raster import rasterize
from ..topology import FACE_OVAL, INNER_LIPS, LEFT_EYE, LEFT_LID_PAIRS, N_SKIN, RIGHT_EYE, RIGHT_LID_PAIRS
from .head import Head

RINGS = (1.08, 1.2, 1.35, 1.5, 1.68, 1.9)  # radii of the rings, in radii of the face oval
RING_END_UP, RING_END_DOWN = 1.9, 1.6  # where head motion has faded out: beyond the hair; at the shoulders
EXPRESSION_REACH = 0.5  # expression motion outside the oval fades over this part of its radius
SECTOR = 0.12  # rad to either side in which the outline of a turned face is looked for
OUTLINE = (0.01, 0.06)  # of the oval's radius that it lies beyond the oval, from which on it counts, and fully
BEHIND = 40.0  # px in depth
FINER = 3  # points of the visible contour to one of the oval
STEP = 0.5  # px in which it is looked for
FLAT = 0.4  # of a distance in depth that counts where the nearest outline is looked for
LASH_LENGTH, LASH_SHARE = 0.18, 0.6  # in eye widths, and at most this part of the lid: what does not stretch with it
LASH_LIMIT = 0.85  # of a lid that narrows, the most that lashes may take


class Mesh:
    """triangles [T,3]; source [V,3] px: where vertices are in the portrait, V = 468 + 216 + 52 + 108 + E: face, rings,
    copies of the rims of eyes and mouth that lie behind them, the face's visible contour, ends of lashes; attributes
    [V,5]: x, y px, u, v, on the face; edges [2,E]: from a lid's rim to the skin above it; apart [T]: 1 of triangles
    that fill an eye or the mouth."""

    def __init__(self, head: Head) -> None:
        self.head = head
        self._surround()
        openings = [LEFT_EYE, RIGHT_EYE, INNER_LIPS]
        self.behind = torch.tensor(sum(openings, []), device=head.device)
        behind = {v: N_SKIN + 36 * len(RINGS) + i for i, v in enumerate(self.behind.tolist())}
        number, triangles = [], head.model.triangles.tolist()
        for i, triangle in enumerate(triangles):
            if any(set(triangle) <= set(ring) for ring in openings):  # what fills an eye or mouth lies behind its rim
                triangles[i] = [behind[v] for v in triangle]
        for k in range(len(RINGS)):
            number.append([N_SKIN + k * 36 + i for i in range(36)])
        for inner, outer in zip(number, number[1:]):
            for i in range(36):
                j = (i + 1) % 36
                triangles += [[inner[i], inner[j], outer[i]], [outer[i], inner[j], outer[j]]]
        first = N_SKIN + 36 * len(RINGS) + len(self.behind)
        contour = list(range(first, first + 36 * FINER))
        triangles, edges = _split_lids(triangles, first + len(contour))
        triangles += _strip(contour, FACE_OVAL) + _strip(contour, number[0])
        self.triangles = torch.tensor(triangles, device=head.device)
        rims = self.triangles.ge(min(behind.values())) & self.triangles.le(max(behind.values()))
        self.apart = rims.all(1).long()
        self.edges = torch.tensor(edges, device=head.device).T
        self._place()

    def _surround(self) -> None:
        head = self.head
        oval, centre = self._outline()
        rings = [centre + r * (oval - centre) for r in RINGS]
        for ring, r in zip(rings, RINGS):
            ring[:, 2] = oval[:, 2] + (r - 1) * (oval - centre)[:, :2].norm(dim=1) * 0.5
        self.rings = torch.stack(rings)  # [6,36,3]
        down = -((oval - centre)[:, :2] @ head.up[:2]) / (oval - centre)[:, :2].norm(dim=1)
        end = RING_END_UP + (RING_END_DOWN - RING_END_UP) * ((down - 0.2) / 0.5).clamp(0, 1)
        radius = torch.tensor(RINGS, device=head.device)[:, None]
        fade = ((end - radius) / (end - 1.05)).clamp(0, 1)
        self.ring_rigid = smoothstep(fade)
        self.ring_expression = (1 - (radius - 1) / EXPRESSION_REACH).clamp(0, 1).square().expand(-1, 36)
        self._attach(oval, centre)

    def _outline(self) -> tuple[Tensor, Tensor]:
        """Where the rings begin [36,3], and the centre [3] of the face oval.

        Of a turned face the oval's far side lies behind cheek and brow: there the outline is theirs, and rings that
        went with the oval would leave the old outline standing beside the new one.
        """
        points = self.head.points[:N_SKIN]
        oval, centre = points[FACE_OVAL], points[FACE_OVAL].mean(0)
        away, arms = (points - centre)[:, :2], (oval - centre)[:, :2]
        radius = arms.norm(dim=1)
        along = away @ (arms / radius[:, None]).T  # [468,36]
        across = (away.square().sum(1, keepdim=True) - along.square()).clamp_min(0).sqrt()
        reach = along.masked_fill(across > SECTOR * along, 0)
        most, self.outer = reach.max(0)
        low, high = OUTLINE
        self.beyond = smoothstep(((most / radius - 1 - low) / (high - low)).clamp(0, 1))[:, None]
        spread = 1 + self.beyond * (most / radius - 1)[:, None]
        return torch.cat([centre[:2] + spread * arms, oval[:, 2:]], 1), centre

    def _attach(self, outline: Tensor, centre: Tensor) -> None:
        """The visible contour, between the face and the first ring: with it go the pixels just outside, of which some
        are the face's own edge. Between the oval, which a turned face hides, and the first ring they would stay behind
        as a second outline where a cheek moves.

        It is a point's triangle and weights [108,3] each, how far behind it lies [108], px, and how far on the face
        [108]. outline [36,3] and centre [3]: of `_outline`.
        """
        head = self.head
        oval = torch.tensor(FACE_OVAL, device=head.device)
        share = (torch.arange(FINER, device=head.device) / FINER).repeat(36)[:, None]
        here, there = (v.repeat_interleave(FINER) for v in (oval, oval.roll(-1)))
        plain = torch.lerp(head.points[here], head.points[there], share)
        before, after = (v.repeat_interleave(FINER, 0) for v in (outline, outline.roll(-1, 0)))
        first = torch.lerp(before, after, share)
        arms = (plain - centre)[:, :2]
        radius = arms.norm(dim=1)
        end = RINGS[0] * (first - centre)[:, :2].norm(dim=1)
        reach = torch.arange(0, float(end.max()), STEP, device=head.device)
        at = (centre[:2] + reach[:, None] * (arms / radius[:, None])[:, None]).long().clamp(0, CROP_SIZE - 1)
        face, weights = rasterize(head.points[None, :N_SKIN], head.model.triangles, CROP_SIZE, CROP_SIZE)
        covered = (face[0, at[..., 1], at[..., 0]] >= 0) & (reach < end[:, None])
        last = (covered * (1 + torch.arange(len(reach), device=head.device))).argmax(1)
        beyond = (reach[last] > radius * (1 + OUTLINE[0]))[:, None]
        x, y = at[torch.arange(len(at), device=head.device), last].unbind(1)
        corners = torch.stack([here, there, here], 1)
        self.contour = torch.where(beyond, head.model.triangles[face[0, y, x].clamp_min(0)], corners)
        evenly = torch.cat([1 - share, share, 0 * share], 1)
        self.contour_share = torch.where(beyond, weights[0, y, x], evenly)
        place = (head.points[self.contour] * self.contour_share[..., None]).sum(1)
        self.contour_depth = (plain - place)[:, 2].clamp_min(0) * beyond[:, 0]
        far = (place - centre)[:, :2].norm(dim=1)
        self.contour_onface = torch.where(beyond[:, 0], ((end - far) / (end - radius)).clamp(0, 1), 1)[:, None]
        uv = head.model.uv
        self.contour_uv = torch.lerp(uv[here], uv[there], share)

    def _seen(self) -> Tensor:
        """Where skin vertices are read [468,3] px: those that the portrait hides behind an outline of the face read the
        nearest of it. At their own places lie other parts, which would come out as a second face."""
        points, triangles = self.head.points[:N_SKIN].clone(), self.head.model.triangles
        a, b, c = points[triangles, :2].unbind(1)
        area = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
        front = area * area.sum().sign() > 0
        hidden = points.new_ones(N_SKIN).bool()
        hidden[triangles[front].flatten()] = False
        hidden[LEFT_EYE + RIGHT_EYE + INNER_LIPS] = False  # they overlap where they meet
        sides = torch.stack([triangles, triangles.roll(-1, 1)], 2).sort(2).values  # [898,3,2]
        here, there = (sides[chosen].flatten(0, 1) for chosen in (front, ~front))
        fold = here[torch.isin(*(side[:, 0] * N_SKIN + side[:, 1] for side in (here, there)))]
        if not bool(hidden.any()) or not len(fold):
            return points
        place = points * fixed([1.0, 1.0, FLAT], points)
        start, along = place[fold[:, 0]], place[fold[:, 1]] - place[fold[:, 0]]
        away = place[hidden][:, None] - start
        share = ((away * along).sum(2) / along.square().sum(1)).clamp(0, 1)[..., None]
        nearest = (away - share * along).norm(dim=2).argmin(1)
        share = share[torch.arange(len(nearest), device=share.device), nearest]
        first, last = points[fold[nearest]].unbind(1)
        points[hidden] = torch.lerp(first, last, share)
        return points

    def _outlined(self, points: Tensor) -> Tensor:
        """The contour [B,108,3] of landmarks points [B,468+,3] px in the portrait's own pose."""
        corners = points[:, self.contour.flatten()].unflatten(1, self.contour.shape)
        return (corners * self.contour_share[..., None]).sum(2) + F.pad(self.contour_depth[:, None], (2, 0))

    def _place(self) -> None:
        head = self.head
        rim, above = head.points[self.edges]
        eyes = [(head.points[ring[0]] - head.points[ring[8]])[:2].norm() for ring in (LEFT_EYE, RIGHT_EYE)]
        length = (above - rim)[:, :2].norm(dim=1)
        self.lash_length = torch.minimum(LASH_LENGTH * sum(eyes) / 2, LASH_SHARE * length)
        share = (self.lash_length / length.clamp_min(1e-3))[:, None]
        lashes = torch.lerp(rim, above, share)
        contour = self._outlined(head.points[None])[0]
        self.source = torch.cat([self._seen(), self.rings.flatten(0, 1), head.points[self.behind], contour, lashes])
        uv = head.model.uv[:N_SKIN]
        lash, brow = uv[self.edges]
        lash = torch.lerp(lash, brow, share)
        uv = torch.cat([uv, *[uv[FACE_OVAL]] * len(RINGS), uv[self.behind], self.contour_uv, lash])
        onface = torch.ones_like(uv[:, :1])
        onface[N_SKIN : N_SKIN + 36 * len(RINGS)] = 0
        onface[-len(contour) - len(lashes) : -len(lashes)] = self.contour_onface
        self.attributes = torch.cat([self.source[:, :2], uv, onface], 1)

    def driven(self, expressed: Tensor, pose: Tensor) -> Tensor:
        """All vertices [B,V,3] px for landmarks [B,478,3] in the portrait's own pose (`Contacts`), and pose [B,6]."""
        moved = expressed - self.head.points
        push = torch.lerp(moved[:, places(FACE_OVAL, expressed)], moved[:, self.outer], self.beyond)
        rings = self.rings[None] + self.ring_expression[..., None] * push[:, None]
        rings = self.head.rigid(rings.flatten(1, 2), pose, self.ring_rigid.reshape(-1, 1))
        skin = self.head.rigid(expressed[:, :N_SKIN], pose)
        rim, above = skin[:, self.edges[0]], skin[:, self.edges[1]]
        length = (above - rim)[..., :2].norm(dim=2, keepdim=True).clamp_min(1e-3)
        lashes = torch.lerp(rim, above, (self.lash_length[:, None] / length).clamp(max=LASH_LIMIT))
        contour = self.head.rigid(self._outlined(expressed), pose)
        return torch.cat([skin, rings, skin[:, self.behind] + fixed([0.0, 0.0, BEHIND], skin), contour, lashes], 1)


def _strip(fine: list[int], coarse: list[int]) -> list[list[int]]:
    """Triangles between two closed lines of vertices, of which one has `FINER` times as many."""
    triangles = []
    for i, here in enumerate(coarse):
        there, steps = coarse[(i + 1) % len(coarse)], [fine[(FINER * i + k) % len(fine)] for k in range(FINER + 1)]
        triangles += [[a, b, here] for a, b in zip(steps, steps[1:], strict=False)]
        triangles.append([here, steps[-1], there])
    return triangles


def _split_lids(triangles: list[list[int]], count: int) -> tuple[list[list[int]], list[tuple[int, int]]]:
    """Split the triangles above the upper lids, so that a band along their rims can keep its height.

    Edges that leave an upper rim get one vertex more, numbered from `count` on. Returns triangles, and the edges as
    (vertex of the rim, vertex above it).
    """
    lower = {v for _, v in LEFT_LID_PAIRS + RIGHT_LID_PAIRS}
    rims = {v for v in LEFT_EYE + RIGHT_EYE if v not in lower}  # with the corners of the eyes
    between: dict[tuple[int, int], int] = {}
    out = []

    def split(rim: int, above: int) -> int:
        return between.setdefault((rim, above), count + len(between))

    for triangle in triangles:
        on = [v in rims for v in triangle]
        if sum(on) not in (1, 2) or lower & set(triangle):
            out.append(triangle)
            continue
        first = on.index(sum(on) == 1)  # the vertex that is alone on its side
        alone, a, b = triangle[first:] + triangle[:first]
        x, y = (split(alone, v) if on[first] else split(v, alone) for v in (a, b))
        out += [[alone, x, y], [x, a, b], [x, b, y]]
    return out, list(between)
