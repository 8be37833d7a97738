"""Geometry motion: expression and pose of the face model become a dense backward flow over the portrait.

One mesh carries everything: the 478 detected landmarks, and rings around the face oval whose motion fades
to nothing, so that jaw, neck and hairline bend instead of tear. Lips and lids are then made to meet exactly.
The relief's shading under a mostly top-front light gives the ratio image, and teeth, gums and tongue are drawn
inside the driven inner-lip contour.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor
from torch.nn import functional as F

from . import eyes as eyeballs
from .eyes import Eye, smooth_ring
from .fit import CROP_SIZE, PortraitFit, Pose, unwrap
from .model import FaceModel, rotation_matrix, sh_basis, shade
from .raster import boxed, interpolate, pixel_grid, polygon_distance, rasterize, sample
from .topology import (
    EXPRESSION_NAMES,
    FACE_OVAL,
    INDEX,
    INNER_LIPS,
    LEFT_EYE,
    LEFT_LID_PAIRS,
    LIP_PAIRS,
    N_SKIN,
    OUTER_LIPS,
    RIGHT_EYE,
    RIGHT_LID_PAIRS,
)

RINGS = (1.08, 1.2, 1.35, 1.5, 1.68, 1.9)  # radii of the rings, in radii of the face oval
RING_END_UP, RING_END_DOWN = 1.9, 1.6  # where head motion has faded out: beyond the hair; at the shoulders
EXPRESSION_REACH = 0.5  # expression motion outside the oval fades over this part of its radius
PIVOT = (0.0, -5.0, -2.0)  # cm, model frame: where the skull sits on the neck
LIP_SHARE = 0.3  # part of a lip-gap correction that the upper lip takes; the jaw takes the rest
LIP_ROUND = 0.5  # part of a parabola in the outline of an opening; the basis alone may open to a wedge
LIP_SPAN = 2.1  # cm, half the width of that parabola
LID_OVERLAP = 1.5  # px by which closed lids overlap, so that no sliver of the eye shows
BEHIND = 40.0  # px in depth
SHUT, EASE = 0.12, 0.5  # of the mean face's opening: eyes that stay shut; eyes that may open as wide as any
LID_SHARE = 0.85  # part of a blink that the upper lid takes
UNFOLD = 0.5  # part of the portrait's own folds that is lit away unseen: the relief is not this person's
HEAL_REACH = 17  # texels of the relief: a fold is darker, a bulge brighter, than what lies around it this far
UNFOLD_MOST = 1.2  # most by which a fold is lit away: more leaves a white streak beside where it really was
RATIO_LIMITS = (0.6, 1.25)
GLOSS, GLOOM = 0.25, 0.5  # most by which a bulge brightens and a fold darkens: light scatters in skin
BROAD, BROAD_REACH = 0.7, 9  # part taken back of shading that is as broad as this many blocks of 4x4 texels
SKIN_TINT = (0.8, 1.0, 1.1)  # of shading by colour: light that has been inside skin comes out red
OWN_LIGHT = 0.1  # the rest is a top-front light: under flat light folds would vanish
TOP_FRONT = (0.5, 0.0, 0.6, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0)
CAVITY = (0.06, 0.025, 0.025)
TEETH_DROP = 0.10  # cm; the basis' upper teeth sit a little high behind its lip
OWN_TEETH = 0.3  # cm between the portrait's lips from which on its own teeth are taken to be seen
OWN_BRIGHT = 0.62  # of the skin's brightness: what is darker between the lips is no row of teeth
OWN_MARGIN = 1.0  # px inside the portrait's inner lips, where its own teeth begin
GUM_SHOWN = 0.08  # cm that a lip rises above where it bares the portrait's own teeth: what lies there is not known
OWN_GUM = (0.50, 0.29, 0.28)  # above the portrait's own teeth, in the lip's shadow
LASH_LENGTH, LASH_SHARE = 0.18, 0.6  # in eye widths, and at most this part of the lid: what does not stretch with it
LASH_LIMIT = 0.85  # of a lid that narrows, the most that lashes may take
LID_REACH, LID_SHARE_OF_BROW = 0.35, 0.7  # in eye widths, and of the way to the brow: skin that a lid can draw in
LID_FOLDS = 0.7  # of an eye's opening, from which down its lid is more skin than the portrait shows
LASHES, BARE = 0.045, 0.85  # eye widths of lashes left on a closing lid; part of the skin's light that it has at least
LASH_WIDTH, LASH_DARK = 0.022, 0.4  # of the line where closed lids meet: in eye widths; part of the light it takes
MOUTH_SAMPLES = 2  # per pixel and direction, for smooth teeth edges
MOUTH_BLUR = 2  # px over which each is averaged: as soft as a photograph
RATIO_SIZE = CROP_SIZE // 2  # flow and shading are smooth: rasterised at half size, then enlarged
EYE_NAMES = [n for n in EXPRESSION_NAMES if n.startswith("eye")]


@dataclasses.dataclass
class Geometry:
    """What the face model says of B frames; all [B,·,512,512].

    flow: backward, px (source = pixel + flow); warped: the source sampled by it, 0..1;
    ratio: driven / source shading, 0.6..1.25; rendered: I^rd, the driven 3D face on black, 0..1;
    interior: drawn (or, where the source shows it, its own) mouth interior; mouth, eyes, face: soft masks 0..1;
    own: the part of the mouth where the portrait's own teeth show, soft 0..1;
    lids: [B,4,512,512], eyeballs and bare lids: colour, and how much of the warped picture they cover.
    """

    flow: Tensor
    warped: Tensor
    ratio: Tensor
    rendered: Tensor
    interior: Tensor
    mouth: Tensor
    eyes: Tensor
    face: Tensor
    own: Tensor
    lids: Tensor

    def composite(self) -> Tensor:
        """The animated face without a learned generator: warp x shading ratio, with the drawn mouth and eyes. 0..1."""
        frames = self.warped.clone()
        body = torch.maximum(self.face, self.mouth)
        box = (..., *(_extent(body.amax((0, 1, axis))) for axis in (3, 2)))
        skin = relight(self.warped[box], self.ratio[box]).clamp(0, 1)
        frames[box] = torch.lerp(skin, self.interior[box], self.mouth[box])
        return self.paint(frames)

    def paint(self, frames: Tensor) -> Tensor:
        """Eyeballs and bare lids drawn into frames [B,3,512,512], in place."""
        rows = _extent(self.lids[:, 3].amax((0, 2)))
        colour, cover = self.lids[..., rows, :].split([3, 1], 1)
        frames[..., rows, :] = torch.lerp(frames[..., rows, :], colour, cover)
        return frames


def _extent(line: Tensor) -> slice:
    """From the first to the last element above 0; empty where there is none."""
    hit = line.nonzero()[:, 0]
    return slice(int(hit[0]), int(hit[-1]) + 1) if len(hit) else slice(0, 0)


def relight(skin: Tensor, ratio: Tensor) -> Tensor:
    """skin [B,3,H,W] under `ratio` [B,1,H,W] times its light, warmer in folds as skin is."""
    return skin * (1 + (ratio - 1) * skin.new_tensor(SKIN_TINT)[:, None, None])


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


class FaceMotion:
    """Motion of one portrait. Everything that does not change from frame to frame is computed here, once.

    model and portrait may live on the CPU; frames are made on `device`. Without `shading` the skin keeps the
    portrait's light: a warp and nothing else, for comparison.
    """

    def __init__(
        self, model: FaceModel, portrait: PortraitFit, device: str | torch.device = "cpu", shading: bool = True
    ):
        self.device = torch.device(device)
        self.shading = shading
        self.model = model.to(self.device)
        self.image = portrait.image.to(self.device)[None]
        self.points = portrait.landmarks.to(self.device)
        self.source_beta = portrait.beta.to(self.device)[None].clone()
        self.source_beta[:, [INDEX[n] for n in EYE_NAMES]] = 0  # lids move from where they are in the picture
        self.gamma = portrait.gamma.to(self.device)[None]
        self.albedo = self.model.albedo(portrait.delta.to(self.device)[None])
        pose = portrait.pose
        self.pose = Pose(*(t.to(self.device) for t in (pose.rotation, pose.scale, pose.translation)))
        self.pivot = self.pose.project(torch.tensor(PIVOT, device=self.device)[None, None])[0, 0]
        up = self.pose.rotate(torch.tensor([[[0.0, 1.0, 0.0]]], device=self.device))[0, 0, :2]
        self.up = F.pad(up / up.norm(), (0, 1))
        self._build_mesh()
        self._build_contacts()
        self._build_eyes()
        self._build_mouth()
        self._build_shading()

    # -- what stays the same ------------------------------------------------------------------------------------

    def _build_mesh(self) -> None:
        oval = self.points[FACE_OVAL]
        self.centre = oval.mean(0)
        rings = [self.centre + r * (oval - self.centre) for r in RINGS]
        for ring, r in zip(rings, RINGS):
            ring[:, 2] = oval[:, 2] + (r - 1) * (oval - self.centre)[:, :2].norm(dim=1) * 0.5
        self.rings = torch.stack(rings)  # [6,36,3]
        down = -((oval - self.centre)[:, :2] @ self.up[:2]) / (oval - self.centre)[:, :2].norm(dim=1)
        end = RING_END_UP + (RING_END_DOWN - RING_END_UP) * ((down - 0.2) / 0.5).clamp(0, 1)
        radius = torch.tensor(RINGS, device=self.device)[:, None]
        fade = ((end - radius) / (end - 1.05)).clamp(0, 1)
        self.ring_rigid = fade * fade * (3 - 2 * fade)
        self.ring_expression = (1 - (radius - 1) / EXPRESSION_REACH).clamp(0, 1).square().expand(-1, 36)
        openings = [LEFT_EYE, RIGHT_EYE, INNER_LIPS]
        self.behind = torch.tensor(sum(openings, []), device=self.device)
        behind = {v: N_SKIN + 36 * len(RINGS) + i for i, v in enumerate(self.behind.tolist())}
        number, triangles = [FACE_OVAL], self.model.triangles.tolist()
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
        self.triangles = torch.tensor(triangles, device=self.device)
        self.lashes = torch.tensor(edges, device=self.device).T  # [2,E]: from a lid's rim to the skin above
        rim, above = self.points[self.lashes]
        eyes = [(self.points[ring[0]] - self.points[ring[8]])[:2].norm() for ring in (LEFT_EYE, RIGHT_EYE)]
        length = (above - rim)[:, :2].norm(dim=1)
        self.lash_length = torch.minimum(LASH_LENGTH * sum(eyes) / 2, LASH_SHARE * length)
        share = (self.lash_length / length.clamp_min(1e-3))[:, None]
        lashes = torch.lerp(rim, above, share)
        self.mesh_source = torch.cat([self.points[:N_SKIN], self.rings.flatten(0, 1), self.points[self.behind], lashes])
        uv = self.model.uv[:N_SKIN]
        uv = torch.cat([uv, *[uv[FACE_OVAL]] * len(RINGS), uv[self.behind], torch.lerp(*uv[self.lashes], share)])
        onface = torch.ones_like(uv[:, :1])
        onface[N_SKIN : N_SKIN + 36 * len(RINGS)] = 0
        self.attributes = torch.cat([self.mesh_source[:, :2], uv, onface], 1)

    def _build_contacts(self) -> None:
        mean = self.model.mean.cpu()
        self.lips = torch.tensor(LIP_PAIRS, device=self.device).T
        across = self.model.mean[self.lips[0], 0] / LIP_SPAN
        self.lip_profile = (1 - across.square()).clamp_min(0)
        self.lip_up = _spread(mean, LIP_PAIRS, True, 0.9, 0.45).to(self.device)
        self.lip_down = _spread(mean, LIP_PAIRS, False, 1.4, 0.45).to(self.device)
        self.lids, self.narrow = [], []
        for side, pairs in (("Left", LEFT_LID_PAIRS), ("Right", RIGHT_LID_PAIRS)):
            spread = [_spread(mean, pairs, upper, 0.55, 0.3).to(self.device) for upper in (True, False)]
            pairs = torch.tensor(pairs, device=self.device).T
            self.lids.append((INDEX[f"eyeBlink{side}"], pairs, *spread))
            usual = (self.model.mean[pairs[0], 1] - self.model.mean[pairs[1], 1]).mean() * self.pose.scale
            self.narrow.append(float((self._gaps(self.points[None], pairs).mean() / usual).clamp(0, 1)))
        self.source_gap = self._gaps(self.points[None], self.lips)[0].clamp_min(0)

    def _build_eyes(self) -> None:
        self.eyes = []
        for side, ring in eyeballs.RINGS.items():
            contour = self.points[None, ring, :2]
            width = float((contour[0, 0] - contour[0, 8]).norm())
            rows, columns = boxed(contour, round(eyeballs.MARGIN * width) + 1, CROP_SIZE)
            place = pixel_grid(CROP_SIZE, CROP_SIZE, self.device)[rows, columns]
            distance = polygon_distance(smooth_ring(contour), place)
            self.eyes.append(Eye(side, self.image[0], self.points, distance[0], rows, columns))
        for eye, other in zip(self.eyes, self.eyes[::-1]):
            eye.complete(other)

    def _gaps(self, points: Tensor, pairs: Tensor) -> Tensor:
        return ((points[:, pairs[0]] - points[:, pairs[1]]) * self.up).sum(-1)

    def _build_mouth(self) -> None:
        ring = OUTER_LIPS + INNER_LIPS
        rest = self.pose.unproject(self.points[None]) - self.model.displacement(self.source_beta)
        rest, mean = rest[0, ring], self.model.mean[ring]
        # the upper lip's own height says where its teeth are; widths differ between people more than teeth do
        width = ((rest[:, 0].max() - rest[:, 0].min()) / (mean[:, 0].max() - mean[:, 0].min())).clamp(0.88, 1.12)
        self.mouth_scale, self.mouth_centre = width, mean.mean(0)
        self.lip_centre = self.points[INNER_LIPS].mean(0)[None, None]
        contour = self.points[INNER_LIPS, :2][None]
        shown = contour.new_full((1, 1, CROP_SIZE, CROP_SIZE), -CROP_SIZE)
        rows, columns = boxed(contour, 4, CROP_SIZE)
        shown[:, :, rows, columns] = polygon_distance(
            contour, pixel_grid(CROP_SIZE, CROP_SIZE, self.device)[rows, columns]
        )
        self.mouth_offset = rest.mean(0) - mean.mean(0) - torch.tensor([0.0, TEETH_DROP, 0.0], device=self.device)
        skin = self.model.uv[:N_SKIN]
        tone = self.image[0][
            :, self.points[:N_SKIN, 1].long().clamp(0, 511), self.points[:N_SKIN, 0].long().clamp(0, 511)
        ]
        near = (skin[:, 1] > 0.5) & (skin[:, 1] < 0.85)
        light = tone[:, near].median(1).values
        grey = light.mean()
        tint = (light / light.mean().clamp_min(0.05)).clamp(0.6, 1.5) ** 0.25
        self.mouth_light = tint * (0.42 + grey).clamp(0.4, 1.05)
        inside = self.image[0].amin(0)[shown[0, 0] > OWN_MARGIN]
        bright = len(inside) > 0 and bool(inside.quantile(0.7) > OWN_BRIGHT * grey)
        self.own_teeth = bright and bool(self.source_gap.max() > OWN_TEETH * self.pose.scale[0])
        upper = 1 - self.model.mouth_lower[:, None]
        color = self.model.mouth_color
        if self.own_teeth:  # what a rising lip uncovers above them are gums, not a second row
            color = torch.lerp(color, color.new_tensor(OWN_GUM), upper)
        self.mouth_look = torch.cat([color, upper], 1)
        self.own_mouth = torch.cat([self.image, ((shown - OWN_MARGIN) / 1.5).clamp(0, 1)], 1)

    def _build_shading(self) -> None:
        size = self.model.dims.relief_size
        own = self.gamma.reshape(3, 9).mean(0)
        own = own / own[0].clamp_min(0.05) * TOP_FRONT[0]
        self.light = OWN_LIGHT * own + (1 - OWN_LIGHT) * torch.tensor(TOP_FRONT, device=self.device)
        mask = self.model.relief_mask[None]
        rim = F.avg_pool2d(F.pad(mask, (5, 5, 5, 5)), 11, 1)
        self.feather = ((rim - 0.55) / 0.4).clamp(0, 1) * mask
        lips = polygon_distance(self.model.uv[INNER_LIPS][None] * size, pixel_grid(size, size, self.device))
        self.feather = self.feather * ((-lips - 1.5) / 3).clamp(0, 1)  # the contact line has no relief of its own
        rest, source = (
            self._shading(self._camera_normals(beta, None))
            for beta in (torch.zeros_like(self.source_beta), self.source_beta)
        )
        self.rest_shading, self.own_folds = rest, self._own_folds(self._folds(source / rest), mask)

    def _own_folds(self, fold: Tensor, mask: Tensor) -> Tensor:
        """What the portrait's own expression does to its skin: `fold` where the picture shows it, less elsewhere.

        The relief is not this person's, nor is its light: what is lit away should be there, or it would leave blotches.
        """
        grey = unwrap(self.model, self.image[0], self.points, self.model.dims.relief_size).mean(1, keepdim=True)

        def blurred(size: int) -> Tensor:
            around = F.avg_pool2d(torch.cat([grey * mask, mask]).transpose(0, 1), size, 1, size // 2)[0]
            return around[:1] / around[1:].clamp_min(1e-3)

        seen = (blurred(3) / blurred(HEAL_REACH).clamp_min(0.02))[None]
        least = fold**UNFOLD
        dark, bright = fold.maximum(least.minimum(seen)), fold.minimum(least.maximum(seen))
        return torch.where(fold < 1, dark, bright).clamp(1 / UNFOLD_MOST, UNFOLD_MOST)

    def _shading(self, normals: Tensor) -> Tensor:
        return torch.einsum("bnhw,n->bhw", sh_basis(normals), self.light)[:, None].clamp_min(0.12)

    def _camera_normals(self, beta: Tensor, turn: Tensor | None) -> Tensor:
        flip = torch.tensor([1.0, -1.0, -1.0], device=self.device)
        rotation = self.pose.rotation if turn is None else (turn * flip[:, None] * flip) @ self.pose.rotation
        return torch.einsum("bij,bjhw->bihw", rotation.expand(len(beta), -1, -1), self.model.normals(beta))

    # -- what moves ---------------------------------------------------------------------------------------------

    def vertices(self, beta: Tensor, pose: Tensor) -> Tensor:
        """Driven landmarks [B,478,3] crop px for β [B,64] and pose [B,6] relative to the portrait's."""
        return self._rigid(self._expressed(beta), pose)

    def _expressed(self, beta: Tensor) -> Tensor:
        """Landmarks under β in the portrait's own pose, lips and lids meeting exactly where β says so."""
        blink = beta[:, [lid[0] for lid in self.lids]].clamp(0, 1)
        beta = beta.clone()
        beta[:, [lid[0] for lid in self.lids]] = 0
        points = self.points + self.pose.rotate(self.model.displacement(beta - self.source_beta))
        model_gap = self.model.displacement(beta)
        model_gap = model_gap[:, self.lips[0], 1] - model_gap[:, self.lips[1], 1]
        model_gap = torch.lerp(model_gap, model_gap.amax(1, keepdim=True).clamp_min(0) * self.lip_profile, LIP_ROUND)
        wanted = (model_gap * self.pose.scale).clamp_min(0)
        error = wanted - self._gaps(points, self.lips)
        shift = LIP_SHARE * error @ self.lip_up.T - (1 - LIP_SHARE) * error @ self.lip_down.T
        if self.own_teeth:
            raised = ((points - self.points)[:, self.lips[0]] * self.up).sum(-1) + LIP_SHARE * error
            excess = (raised.amax(1, keepdim=True) - GUM_SHOWN * self.pose.scale).clamp_min(0).expand_as(raised)
            shift = shift - excess @ self.lip_up.T - excess @ self.lip_down.T
        for column, (_, pairs, upper, lower) in enumerate(self.lids):
            gap, own = self._gaps(points, pairs), self._gaps(self.points[None], pairs)
            narrow = self.narrow[
                column
            ]  # a squint takes its part of a narrow eye; one nearly shut does not spring open
            squint, wide = (own - gap).clamp_min(0) * (1 - narrow), (gap - own).clamp_min(0)
            eased = squint - wide * min(max((EASE - narrow) / (EASE - SHUT), 0), 1)
            gap = ((gap + eased).clamp_min(0) + LID_OVERLAP) * blink[:, column, None]
            shift = shift + (eased / 2 - LID_SHARE * gap) @ upper.T - (eased / 2 - (1 - LID_SHARE) * gap) @ lower.T
        return points + shift[..., None] * self.up

    def _rigid(self, points: Tensor, pose: Tensor, weight: Tensor | float = 1.0) -> Tensor:
        turn = rotation_matrix(pose[:, :3])
        moved = (points - self.pivot) @ turn.transpose(1, 2) * pose[:, None, 5:].exp() + self.pivot
        moved = moved + F.pad(pose[:, None, 3:5] * CROP_SIZE, (0, 1))
        return points + weight * (moved - points)

    def mesh(self, expressed: Tensor, pose: Tensor) -> Tensor:
        """Face, rings, the rims' copies and the ends of lashes as driven: [B,468+216+52+E,3] px."""
        push = (expressed - self.points)[:, FACE_OVAL]
        rings = self.rings[None] + self.ring_expression[..., None] * push[:, None]
        rings = self._rigid(rings.flatten(1, 2), pose, self.ring_rigid.reshape(-1, 1))
        skin = self._rigid(expressed[:, :N_SKIN], pose)
        rim, above = skin[:, self.lashes[0]], skin[:, self.lashes[1]]
        length = (above - rim)[..., :2].norm(dim=2, keepdim=True).clamp_min(1e-3)
        lashes = torch.lerp(rim, above, (self.lash_length[:, None] / length).clamp(max=LASH_LIMIT))
        return torch.cat([skin, rings, skin[:, self.behind] + skin.new_tensor([0.0, 0.0, BEHIND]), lashes], 1)

    @torch.inference_mode()
    def frame(self, beta: Tensor, pose: Tensor) -> Geometry:
        """Geometry of B frames: β [B,64] expression coefficients, pose [B,6] relative to the portrait's own.

        pose: rotation vector (rad; camera space, x right, y down, z away), x, y (crop fraction), log scale.
        """
        beta, pose = beta.to(self.device), pose.to(self.device)
        expressed = self._expressed(beta)
        points, mesh = self._rigid(expressed, pose), self.mesh(expressed, pose)
        half = CROP_SIZE // RATIO_SIZE
        face, weights = rasterize(mesh / half, self.triangles, RATIO_SIZE, RATIO_SIZE)
        found = interpolate(face, weights, self.triangles, self.attributes)
        empty = (face < 0)[:, None]
        grid = pixel_grid(RATIO_SIZE, RATIO_SIZE, self.device).permute(2, 0, 1)[None] * half
        flow = torch.where(empty, torch.zeros_like(found[:, :2]), found[:, :2] - grid)
        uv = found[:, 2:4].permute(0, 2, 3, 1) * 2 - 1
        flow = F.interpolate(flow, scale_factor=half, mode="bilinear", align_corners=False)
        flow = self._sharpen(flow, mesh, points)
        warped = sample(self.image, flow).clamp(0, 1)
        eyes, lashes, lids = self._eyes(flow, warped, beta, pose, points)
        mouth, interior, own = self._mouth(beta, pose, points)
        # skin, and the first ring, on which the face's mask fades: beyond, the maps below do not change
        rows, columns = boxed(mesh[:, : N_SKIN + 36, :2] / half, 2, RATIO_SIZE)
        onface = found[:, 4:, rows, columns]
        small = torch.cat(
            [*self._shaded(beta, pose, uv[:, rows, columns], onface), ((onface - 0.02) / 0.5).clamp(0, 1)], 1
        )
        part = F.interpolate(small, scale_factor=half, mode="bilinear", align_corners=False)
        box = (..., *(slice(half * s.start, half * s.stop) for s in (rows, columns)))
        maps = flow.new_zeros(len(flow), 5, CROP_SIZE, CROP_SIZE)
        maps[:, 0] = 1
        maps[box] = part
        ratio, rendered, soft = maps.split([1, 3, 1], 1)
        ratio[box] = torch.lerp(ratio[box], torch.ones_like(part[:, :1]), eyes[box]) * (1 - LASH_DARK * lashes[box])
        rendered[box] = torch.lerp(rendered[box], interior[box], mouth[box])
        return Geometry(flow, warped, ratio, rendered, interior, mouth, eyes, soft, own, lids)

    def _shaded(self, beta: Tensor, pose: Tensor, uv: Tensor, onface: Tensor) -> tuple[Tensor, Tensor]:
        normals = self._camera_normals(beta, rotation_matrix(pose[:, :3]))
        ratio = self._shading(normals) / self.rest_shading
        ratio = self._folds(ratio)
        soft = torch.where(ratio > 1, GLOSS, GLOOM)
        ratio = 1 + soft * ((ratio - 1) / soft).tanh()
        ratio = (ratio / self.own_folds).clamp(*RATIO_LIMITS)
        ratio = 1 + (ratio - 1) * self.feather
        size = self.model.dims.texture_size
        small = F.interpolate(normals, size=(size, size), mode="bilinear", align_corners=False)
        albedo = self.albedo * shade(small, self.gamma.expand(len(beta), -1)).clamp_min(0.1)
        inside = (onface > 0.5).float()
        ratio = F.grid_sample(ratio, uv, align_corners=False, padding_mode="border")
        albedo = F.grid_sample(albedo, uv, align_corners=False, padding_mode="border").clamp(0, 1)
        return torch.lerp(torch.ones_like(ratio), ratio, inside * self.shading), albedo * inside

    def _folds(self, ratio: Tensor) -> Tensor:
        """Shading [B,1,H,W] without most of what changes over a whole cheek or chin."""
        small, mask = (F.avg_pool2d(t, 4) for t in (ratio * self.model.relief_mask, self.model.relief_mask[None]))
        small, mask = (F.avg_pool2d(t, BROAD_REACH, 1, BROAD_REACH // 2) for t in (small, mask))
        broad = F.interpolate(small / mask.clamp_min(1e-3), ratio.shape[2:], mode="bilinear").clamp(0.5, 2)
        return ratio / broad**BROAD

    def _sharpen(self, flow: Tensor, mesh: Tensor, points: Tensor) -> Tensor:
        """Full resolution at lids and lips: between two that touch, an average would point into the eye or mouth."""
        for ring in (LEFT_EYE, RIGHT_EYE, OUTER_LIPS):
            rows, columns = boxed(points[:, ring, :2], 4, CROP_SIZE)
            height, width = rows.stop - rows.start, columns.stop - columns.start
            corner = mesh.new_tensor([columns.start, rows.start, 0.0])
            face, weights = rasterize(mesh - corner, self.triangles, height, width)
            found = interpolate(face, weights, self.triangles, self.mesh_source[:, :2] - corner[:2])
            found = found - pixel_grid(height, width, self.device).permute(2, 0, 1)
            flow[:, :, rows, columns] = torch.where((face < 0)[:, None], flow[:, :, rows, columns], found)
        return flow

    def _eyes(
        self, flow: Tensor, warped: Tensor, beta: Tensor, pose: Tensor, points: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Lids slide over eyeballs that move with head and gaze alone: there, flow and warped picture become theirs.

        Returns the mask of the open eyes, the lines of lashes where lids meet, and `Geometry.lids`.
        """
        eyes, lashes = torch.zeros_like(flow[:, :1]), torch.zeros_like(flow[:, :1])
        lids = flow.new_zeros(len(flow), 4, CROP_SIZE, CROP_SIZE)
        grid = pixel_grid(CROP_SIZE, CROP_SIZE, self.device)
        for eye, (_, pairs, _, _) in zip(self.eyes, self.lids):
            gap, own = (self._gaps(p, pairs).amax(1)[:, None, None] for p in (points, self.points[None]))
            opened = gap / own.clamp_min(0.5)
            contour = smooth_ring(points[:, eye.ring, :2])
            closing = float(opened.min()) < LID_FOLDS
            rows, columns = boxed(contour, round(LID_REACH * eye.width) if closing else 3, CROP_SIZE)
            box, place = (..., rows, columns), grid[rows, columns]
            distance = polygon_distance(contour, place)
            inside = (distance + 0.5).clamp(0, 1) * (opened * 6 - 0.3).clamp(0, 1)
            # the eyeball, as the portrait shows it and completed where lids and their shadow have left it
            at = self._eyeball(eye, beta, pose, place)
            seen, whole, within = eye.sample(at)
            lift = ((gap - own) / 2).clamp(0, eyeballs.UNSEEN * eye.width)
            ball = torch.lerp(seen, whole, ((lift[:, None] - within) / 2 + 0.5).clamp(0, 1))
            if float(lift.max()) > 0:
                depth = eyeballs.SHADE_DEPTH * eye.width
                under = (polygon_distance(contour, place + depth * self.up[:2]) / depth).clamp(-1, 0)
                ball = ball * (1 + eyeballs.SHADE * under * lift / (eyeballs.UNSEEN * eye.width))[:, None]
            covered, colour = inside, ball
            if closing:  # a lid without the lashes that would be drawn out over it
                line = torch.exp(-(distance / (LASH_WIDTH * eye.width)).square()) * ((0.3 - opened) / 0.25).clamp(0, 1)
                lashes[:, 0, rows, columns] = line
                source = place + flow[box].permute(0, 2, 3, 1)
                skin = eye.skin(source).transpose(0, 1)
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

    def _eyeball(self, eye: Eye, beta: Tensor, pose: Tensor, place: Tensor) -> Tensor:
        """Which px of the portrait's eyeball is seen at driven px place [h,w,2]: [B,h,w,2]."""
        frame = eye.middle + F.pad(eye.width * torch.eye(3, 2, device=self.device).roll(1, 0), (0, 1))
        moved = self._rigid(frame + self.pose.rotate(eye.gaze(beta)[:, None]), pose)[..., :2]
        back = torch.linalg.solve(F.pad(moved, (0, 1), value=1.0), frame[:, :2].expand_as(moved))
        return (F.pad(place, (0, 1), value=1.0).flatten(0, 1) @ back).unflatten(1, place.shape[:2])

    def _mouth(self, beta: Tensor, pose: Tensor, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Soft mask of the driven inner lips, what is seen between them, and where that is the portrait's own."""
        mouth = points.new_zeros(len(points), 1, CROP_SIZE, CROP_SIZE)
        interior, own = mouth.expand(-1, 3, -1, -1).clone(), mouth.clone()
        gaps = self._gaps(points, self.lips)
        opening = gaps.amax(1)
        if float(opening.max()) < 0.6:
            return mouth, interior, own
        contour = points[:, INNER_LIPS, :2]
        rows, columns = boxed(contour, 3, CROP_SIZE)
        grid = pixel_grid(CROP_SIZE, CROP_SIZE, self.device)[rows, columns]
        distance = polygon_distance(contour, grid)
        amount = ((opening - 0.6) / 1.5).clamp(0, 1)[:, None, None]
        inside = ((distance + 0.75).clamp(0, 1.5) / 1.5 * amount)[:, None]
        jaw = self.model.mouth_vertices(beta)
        jaw = (jaw - self.mouth_centre) * self.mouth_scale + self.mouth_centre + self.mouth_offset
        jaw = self._rigid(self.pose.project(jaw), pose)
        jaw = (jaw - torch.tensor([columns.start, rows.start, 0.0], device=self.device)) * MOUTH_SAMPLES
        height, width = (MOUTH_SAMPLES * n for n in inside.shape[2:])
        face, weights = rasterize(jaw, self.model.mouth_triangles, height, width)
        drawn = interpolate(face, weights, self.model.mouth_triangles, self.mouth_look)
        empty = (face < 0)[:, None]
        if self.own_teeth:  # a portrait that shows its own upper teeth needs no second row below them
            centre = self._rigid(self.lip_centre, pose)[:, 0, :2] - self.up.new_tensor([columns.start, rows.start])
            offset = pixel_grid(height, width, self.device) / MOUTH_SAMPLES - centre[:, None, None]
            empty = empty | ((drawn[:, 3:] > 0.5) & ((offset @ self.up[:2])[:, None] < 0))
        cavity = torch.tensor(CAVITY, device=self.device)[:, None, None]
        drawn = torch.where(empty, cavity, drawn[:, :3])
        window, margin = MOUTH_BLUR * MOUTH_SAMPLES, (MOUTH_BLUR - 1) * MOUTH_SAMPLES // 2
        drawn = F.avg_pool2d(drawn, window, MOUTH_SAMPLES, margin, count_include_pad=False)
        reach = 0.35 * self.pose.scale[0]  # cm of shadow that the lips cast inwards
        shadow = 0.45 + 0.55 * (distance / reach).clamp(0, 1)[:, None].sqrt()
        drawn = (drawn * shadow * self.mouth_light[:, None, None]).clamp(0, 1)
        mouth[:, :, rows, columns] = inside
        interior[:, :, rows, columns] = drawn
        if self.own_teeth:
            real = self._own_teeth(pose, rows, columns)
            interior[:, :, rows, columns] = torch.lerp(drawn, real[:, :3], real[:, 3:])
            own[:, :, rows, columns] = inside * real[:, 3:]
        return mouth, interior, own

    def _own_teeth(self, pose: Tensor, rows: slice, columns: slice) -> Tensor:
        """What the portrait itself shows between its lips, which is fixed to the skull, and where: [B,4,h,w]."""
        shift = (self._rigid(self.lip_centre, pose) - self.lip_centre)[:, 0, :2]
        flow = -shift[:, :, None, None].expand(-1, -1, CROP_SIZE, CROP_SIZE)[:, :, rows, columns]
        at = pixel_grid(CROP_SIZE, CROP_SIZE, self.device)[rows, columns].permute(2, 0, 1) + flow
        at = at.permute(0, 2, 3, 1) / CROP_SIZE * 2 - 1
        return F.grid_sample(self.own_mouth.expand(len(at), -1, -1, -1), at, align_corners=False)


def still(frames: int, device=None) -> Tensor:
    """The pose that leaves the head where it is: zeros [frames,6]."""
    return torch.zeros(frames, 6, device=device)
