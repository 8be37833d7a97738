"""The mesh that carries a portrait's pixels: the face, rings around it, rims of eyes and mouth, and lashes."""

from __future__ import annotations

import torch
from torch import Tensor

from ...numeric import fixed, places, smoothstep
from ..topology import FACE_OVAL, INNER_LIPS, LEFT_EYE, LEFT_LID_PAIRS, N_SKIN, RIGHT_EYE, RIGHT_LID_PAIRS
from .head import Head

RINGS = (1.08, 1.2, 1.35, 1.5, 1.68, 1.9)  # radii of the rings, in radii of the face oval
RING_END_UP, RING_END_DOWN = 1.9, 1.6  # where head motion has faded out: beyond the hair; at the shoulders
EXPRESSION_REACH = 0.5  # expression motion outside the oval fades over this part of its radius
SECTOR = 0.12  # rad to either side in which the outline of a turned face is looked for
OUTLINE = (0.01, 0.06)  # of the oval's radius that it lies beyond the oval, from which on it counts, and fully
BEHIND = 40.0  # px in depth
LASH_LENGTH, LASH_SHARE = 0.18, 0.6  # in eye widths, and at most this part of the lid: what does not stretch with it
LASH_LIMIT = 0.85  # of a lid that narrows, the most that lashes may take


class Mesh:
    """triangles [T,3]; source [V,3] px: where vertices are in the portrait, V = 468 + 216 + 52 + E: face, rings, copies
    of the rims of eyes and mouth that lie behind them, ends of lashes; attributes [V,5]: x, y px, u, v, on the face;
    edges [2,E]: from a lid's rim to the skin above it."""

    def __init__(self, head: Head) -> None:
        self.head = head
        self._surround()
        openings = [LEFT_EYE, RIGHT_EYE, INNER_LIPS]
        self.behind = torch.tensor(sum(openings, []), device=head.device)
        behind = {v: N_SKIN + 36 * len(RINGS) + i for i, v in enumerate(self.behind.tolist())}
        number, triangles = [FACE_OVAL], head.model.triangles.tolist()
        for i, triangle in enumerate(triangles):
            if any(set(triangle) <= set(ring) for ring in openings):  # what fills an eye or mouth lies behind its rim
                triangles[i] = [behind[v] for v in triangle]
        for k in range(len(RINGS)):
            number.append([N_SKIN + k * 36 + i for i in range(36)])
        for inner, outer in zip(number, number[1:]):
            for i in range(36):
                j = (i + 1) % 36
                triangles += [[inner[i], inner[j], outer[i]], [outer[i], inner[j], outer[j]]]
        triangles, edges = _split_lids(triangles, N_SKIN + 36 * len(RINGS) + len(self.behind))
        self.triangles = torch.tensor(triangles, device=head.device)
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

    def _place(self) -> None:
        head = self.head
        rim, above = head.points[self.edges]
        eyes = [(head.points[ring[0]] - head.points[ring[8]])[:2].norm() for ring in (LEFT_EYE, RIGHT_EYE)]
        length = (above - rim)[:, :2].norm(dim=1)
        self.lash_length = torch.minimum(LASH_LENGTH * sum(eyes) / 2, LASH_SHARE * length)
        share = (self.lash_length / length.clamp_min(1e-3))[:, None]
        lashes = torch.lerp(rim, above, share)
        self.source = torch.cat([head.points[:N_SKIN], self.rings.flatten(0, 1), head.points[self.behind], lashes])
        uv = head.model.uv[:N_SKIN]
        lash, brow = uv[self.edges]
        uv = torch.cat([uv, *[uv[FACE_OVAL]] * len(RINGS), uv[self.behind], torch.lerp(lash, brow, share)])
        onface = torch.ones_like(uv[:, :1])
        onface[N_SKIN : N_SKIN + 36 * len(RINGS)] = 0
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
        return torch.cat([skin, rings, skin[:, self.behind] + fixed([0.0, 0.0, BEHIND], skin), lashes], 1)


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
