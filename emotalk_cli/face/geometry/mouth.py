"""The mouth's inside: teeth, gums and tongue, and the portrait's own where it shows them.

It is drawn on a crop that is fixed to the skull and has one scale for all faces, and laid into the frame from there; a
painter (`models/mouth.py`) works on the same crop.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ...constants import CROP_SIZE
from ...numeric import fixed, places, smoothstep
from ..model import FaceModel, rotation_matrix
from ..raster import (
    boxed,
    doubled,
    extent_of,
    halved,
    interpolate,
    pixel_grid,
    polygon_distance,
    rasterize,
    span,
    waits,
)
from ..topology import INNER_LIPS, N_SKIN, OUTER_EYE_CORNERS, OUTER_LIPS
from .contacts import Contacts
from .crop import CROP_HEIGHT, CROP_MIDDLE, CROP_UNIT, CROP_WIDTH, REACH, laid, local, pasted
from .head import Head
from .own import settled, toothed, upper_row
from .teeth import CAVITY, FLOOR, Layout, fit_layout, groups, look

TEETH_DROP = 0.10  # cm; the basis' upper teeth sit a little high behind its lip
OWN_TEETH = 0.3  # cm between the portrait's lips from which on its own teeth are taken to be seen
OWN_MARGIN = 1.0  # px inside the portrait's inner lips, where its own teeth begin
LIP_RIM, LIP_SURE = 10.0, (0.35, 0.65)  # px of the crop inside the inner lips in which some may still be lip; how far
# from the teeth's redness to the lips' it begins to be taken for lip, and surely is
SAMPLES = 2  # per pixel of the crop and direction, for smooth edges of teeth
PARTED = (0.025, 0.05)  # outer eye distances between the portrait's lips: closed, and open so that its teeth's height
# is known
NEAR = 12  # px outside the lips to which it is drawn
SHADOW, SHADOW_REACH = 0.55, 0.35  # most of the light that the lips take, and cm over which they do
EDGE_LIGHT, FACED = 0.35, 0.7  # light on a turned head's teeth where they face away, and what faces the camera enough
WALL, WALL_LIT = (0.28, 0.13, 0.12), 0.8  # flesh of lips' inner sides, beyond the dark's, and cm over which light fails
BEFORE = 0.8  # cm by which skin must lie before the lips' contour to hide what is between them
CLIP = 9  # px of the crop over which the edge of what hides it is told, odd
TURNED = 0.2, 0.6  # sines of a head's turn to a side from which on, and fully, its mouth is seen from there
LONE = 0.8  # of the lower teeth that is then flesh: of their row lips show the last ones only, as one block
MOUTH_MAPS = {
    "distance": 1,
    "drawn": 3,
    "parts": 4,
    "normals": 2,
    "own": 3,
    "shown": 1,
}  # channels of `Geometry.inside`


class Mouth:
    """like: the same person's mouth in another picture, whose teeth are taken.

    own_teeth: whether the portrait itself shows its upper teeth; closed: how far its lips are, 0..1. shown [1,4,h,w]:
    the portrait's own mouth on the crop, and how far it shows teeth there (nothing without `own_teeth`).
    """

    own_teeth: bool
    closed: float
    shown: Tensor
    layout: Layout
    light: Tensor

    def __init__(self, head: Head, contacts: Contacts, like: Mouth | None = None) -> None:
        self.head, self.contacts = head, contacts
        model, device = head.model, head.device
        ring = OUTER_LIPS + INNER_LIPS
        rest = head.pose.unproject(head.points[None]) - model.displacement(head.source_beta) - head.residual
        rest, mean = rest[0, ring], model.mean[ring]
        # the upper lip's own height says where its teeth are; widths differ between people more than teeth do
        width = ((rest[:, 0].max() - rest[:, 0].min()) / (mean[:, 0].max() - mean[:, 0].min())).clamp(0.88, 1.12)
        self.scale, self.centre = width, mean.mean(0)
        self.middle = rest.mean(0)
        self.offset = self.middle - self.centre - torch.tensor([0.0, TEETH_DROP, 0.0], device=device)
        self.extent = extent_of(head.points[OUTER_LIPS], 3, CROP_SIZE)
        self.lip_centre = head.points[INNER_LIPS].mean(0)[None, None]
        rim, skin = {v: N_SKIN + i for i, v in enumerate(INNER_LIPS)}, model.triangles.tolist()
        opening = [t for t in skin if set(t) <= set(rim)]
        skin = [t for t in skin if t not in opening]
        self.scene = torch.tensor(skin + [[rim[v] for v in t] for t in opening], device=device)
        self.before = len(skin)  # triangles; what fills the opening follows
        self.group = groups(model).to(device)
        self.normals = model.mouth_normals()
        self.light, tone = self._light()
        self.look = look(model)
        if like is not None:
            self.own_teeth, self.shown, self.layout, self.light = like.own_teeth, like.shown, like.layout, like.light
            self.closed = like.closed
            return
        pose = torch.zeros(1, 6, device=device)
        place, contour = self.place(pose), head.points[None, INNER_LIPS, :2]
        distance = self.distance(contour, place)
        picture = laid(head.image, place)
        wide = bool(contacts.source_gap.max() > OWN_TEETH * head.pose.scale[0])
        self.own_teeth = wide and toothed(picture[0][:, distance[0] > OWN_MARGIN], tone)
        eyes = float((head.points[OUTER_EYE_CORNERS[0]] - head.points[OUTER_EYE_CORNERS[1]])[:2].norm())
        gap, (least, most) = float(contacts.source_gap.max()) / eyes, PARTED
        self.closed = 1 - min(max((gap - least) / (most - least), 0.0), 1.0)
        self.layout = Layout.resting(self.closed, device)
        margin = OWN_MARGIN / self._unit(pose)
        mask = ((distance - margin) / 1.5).clamp(0, 1)[:, None] * self.own_teeth
        if self.own_teeth:  # the drawn teeth beside them are to be theirs
            vertices = self.vertices(head.source_beta, pose, place)
            shade = self.shadow(distance) * self.light[:, None, None]
            self.layout = fit_layout(vertices, model.mouth_triangles, self.group, self.look, picture, distance, shade)
            parts = self.seen(head.source_beta, pose, place, distance)[:, 3:7]
            row, below = upper_row(picture, distance, parts[:, 0])
            self.layout = settled(self.layout, below, (parts * (distance > 0)[:, None])[0])
            mask = mask * ((1 - lip_share(picture, distance)) * row)[:, None]
        self.shown = torch.cat([picture, mask], 1)

    def _light(self) -> tuple[Tensor, Tensor]:
        """Light [3] that falls on drawn teeth, and the skin's colour [3]."""
        head = self.head
        skin = head.model.uv[:N_SKIN]
        x, y = head.points[:N_SKIN, :2].long().clamp(0, CROP_SIZE - 1).unbind(1)
        near = (skin[:, 1] > 0.5) & (skin[:, 1] < 0.85)
        light = head.image[0][:, y, x][:, near].median(1).values
        grey = light.mean()
        tint = (light / grey.clamp_min(0.05)).clamp(0.6, 1.5) ** 0.25
        return tint * (0.42 + grey).clamp(0.4, 1.05), light

    def _unit(self, pose: Tensor) -> Tensor:
        """px of the portrait crop that a px of the mouth's crop covers: [B]."""
        return CROP_UNIT * self.head.pose.scale * pose[:, 5].exp()

    def place(self, pose: Tensor) -> Tensor:
        """Affine [B,2,3] from px of the mouth's crop to px of the portrait's, for poses [B,6]."""
        head = self.head
        anchor = head.pose.project(self.middle[None, None])
        ends = torch.cat([anchor, anchor + head.up * head.pose.scale], 1)
        start, end = head.rigid(ends.expand(len(pose), -1, -1), pose)[..., :2].unbind(1)
        up = F.normalize(end - start, dim=1)
        right = torch.stack([-up[:, 1], up[:, 0]], 1)
        linear = torch.stack([right, -up], 2) * self._unit(pose)[:, None, None]
        return torch.cat([linear, (start - linear @ fixed(CROP_MIDDLE, start))[:, :, None]], 2)

    def distance(self, contour: Tensor, place: Tensor) -> Tensor:
        """Signed distance (px of the crop) to a contour [B,N,2] of the portrait crop: [B,h,w]."""
        return polygon_distance(local(contour, place), pixel_grid(CROP_HEIGHT, CROP_WIDTH, contour.device))

    def clipped(self, distance: Tensor, points: Tensor, place: Tensor) -> Tensor:
        """A distance [B,h,w] to the inner lips' contour, where a turned head's lips stand before their own opening that
        to theirs, from -CLIP/2. points: driven landmarks [B,478,3] px.

        What stands less than `BEFORE` before the contour does not count: folds of lips that were found too flat.
        """
        rows, columns = self.area(distance, 0)
        skin, rim = points[:, :N_SKIN], points[:, places(INNER_LIPS, points)]
        scene = torch.cat([skin, rim - fixed([0, 0, BEFORE], rim) * self.head.pose.scale], 1)
        flat = local(scene[..., :2], place) - fixed([columns.start, rows.start], scene)
        scene = torch.cat([flat, scene[..., 2:]], 2)
        face, _ = rasterize(scene, self.scene, rows.stop - rows.start, columns.stop - columns.start)
        part = distance[:, rows, columns]
        hidden = ((face < self.before) & (part > 1)).float()
        if not waits(hidden) and not bool(hidden.any()):
            return distance
        wider = F.max_pool2d(hidden[:, None], CLIP, 1, CLIP // 2)  # there lips wrap around their own corner
        share = F.avg_pool2d(wider, CLIP, 1, CLIP // 2)[:, 0]
        clipped = distance.clone()
        clipped[:, rows, columns] = torch.where(share > 0, part.minimum(CLIP * (0.5 - share)), part)
        return clipped

    def affine(self, pose: Tensor, place: Tensor) -> Tensor:
        """Affine [B,3,4] from the face model's cm to px of the crop, depth too."""
        axes = torch.cat([pose.new_zeros(1, 3), torch.eye(3, device=pose.device)])
        laid_out = (axes - self.centre) * self.scale + self.centre + self.offset
        points = self.head.rigid(self.head.pose.project(laid_out[None]), pose)
        points = torch.cat(
            [local(points[..., :2], place), points[..., 2:] / self._unit(pose)[:, None, None]], 2
        ).transpose(1, 2)
        return torch.cat([points[..., 1:] - points[..., :1], points[..., :1]], 2)

    def vertices(self, beta: Tensor, pose: Tensor, place: Tensor) -> Tensor:
        """The mouth's vertices [B,M,3], px of its crop."""
        affine = self.affine(pose, place)
        return self.head.model.mouth_vertices(beta) @ affine[..., :3].transpose(1, 2) + affine[:, None, :, 3]

    def turn(self, pose: Tensor) -> Tensor:
        """Rotation [B,3,3] of normals, from the face model's frame to the camera's."""
        flip = fixed([1.0, -1.0, -1.0], pose)
        return (rotation_matrix(pose[:, :3]) * flip[:, None] * flip) @ self.head.pose.rotation

    def seen(self, beta: Tensor, pose: Tensor, place: Tensor, distance: Tensor) -> Tensor:
        """The drawn mouth [B,9,h,w] as `rendered` makes it, near what is inside the driven lips."""
        vertices = self.layout.moved(self.vertices(beta, pose, place), self.group)
        area = self.area(distance, NEAR)
        return rendered(self.head.model, vertices, self.turn(pose), self.look, self.normals, area)

    @staticmethod
    def area(distance: Tensor, margin: float) -> tuple[slice, slice]:
        """Rows and columns of the crop that hold mouths at a distance [B,h,w], px, and a margin; all where that would
        mean to wait for the card."""
        if waits(distance):
            return slice(0, CROP_HEIGHT), slice(0, CROP_WIDTH)
        near = (distance > -margin).any(0)
        rows, columns = span(near.any(1)) or (0, CROP_HEIGHT), span(near.any(0)) or (0, CROP_WIDTH)
        return slice(*rows), slice(*columns)

    def turned(self, pose: Tensor) -> bool:
        """Whether a head is turned so far that it matters; always where the card would have to be waited for."""
        return waits(pose) or bool(sideways(self.turn(pose)).any())

    def wall(self, pose: Tensor, distance: Tensor) -> Tensor:
        """What inner sides of lip and cheek add to the dark [B,3,h,w] where a turned head shows them beside its teeth.

        distance [B,h,w]: px inside the lips: what is so far from their contour lies the deeper, the less the head is
        turned, and light fails there. h and w: even.
        """
        turn, coarse = self.turn(pose), distance[:, ::2, ::2]
        outward = F.pad(coarse[..., :-2] - coarse[..., 2:], (1, 1)) / 4  # a cosine
        outward = outward * (turn[:, 0, 2] / turn[:, 2, 2].clamp_min(0.2))[:, None, None]
        light = torch.exp(-coarse.clamp_min(0) * (CROP_UNIT / WALL_LIT) / outward.clamp_min(1e-3))[:, None]
        for _ in range(2):  # where the nearest point of the contour is another one, no edge is seen
            light = F.avg_pool2d(light, 5, 1, 2)
        return doubled(light * sideways(turn)) * fixed(WALL, distance)[:, None, None]

    @staticmethod
    def shadow(distance: Tensor) -> Tensor:
        """Light that lips leave at a distance [B,h,w] from them, px of the crop: [B,1,h,w]."""
        return 1 - SHADOW + SHADOW * (distance * (CROP_UNIT / SHADOW_REACH)).clamp(0, 1)[:, None].sqrt()

    def inside(self, beta: Tensor, pose: Tensor, place: Tensor, distance: Tensor) -> Tensor:
        """`MOUTH_MAPS` [B,14,h,w] on the crop, at a distance [B,h,w] px inside the driven lips.

        distance: px inside the driven lips / REACH, -1..1; drawn: 0..1; parts: upper, lower teeth, gums, tongue, 0..1;
        normals: x right, y up, -1..1; own: what the portrait shows there, which is fixed to the skull, and how far.
        """
        seen = self.seen(beta, pose, place, distance)
        light = self.light * self.layout.gain
        if self.turned(pose):
            seen[:, :3] += self.wall(pose, distance) * (1 - seen[:, 3:7].sum(1, keepdim=True)).clamp(0, 1)
        drawn = (seen[:, :3] * self.shadow(distance) * light[:, None, None]).clamp(0, 1)
        own = self.shown.expand(len(beta), -1, -1, -1)
        return torch.cat([(distance / REACH).clamp(-1, 1)[:, None], drawn, seen[:, 3:], own], 1)

    def drawn(self, beta: Tensor, pose: Tensor, points: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Soft mask of the driven inner lips, what is seen between them, where that is the portrait's own; then
        `inside`, whose maps are nothing where no mouth of the batch is open, and `place`."""
        mouth = points.new_zeros(len(points), 1, CROP_SIZE, CROP_SIZE)
        interior, own = mouth.expand(-1, 3, -1, -1).clone(), mouth.clone()
        place = self.place(pose)
        opening = self.contacts.gaps(points, self.contacts.lips).amax(1)
        if not waits(points) and float(opening.max()) < 0.6:
            shut = points.new_zeros(len(points), sum(MOUTH_MAPS.values()), CROP_HEIGHT, CROP_WIDTH)
            shut[:, :1] = -1
            return mouth, interior, own, shut, place
        contour = points[:, places(INNER_LIPS, points), :2]
        near = self.distance(contour, place)
        clear = self.clipped(near, points, place) if self.turned(pose) else near
        inside = self.inside(beta, pose, place, clear)
        rows, columns = boxed(contour, 3, CROP_SIZE, self.extent)
        grid = pixel_grid(CROP_SIZE, CROP_SIZE, contour.device)[rows, columns]
        distance, lost = polygon_distance(contour, grid), ((near - clear) * self._unit(pose)[:, None, None])[:, None]
        amount = ((opening - 0.6) / 1.5).clamp(0, 1)[:, None, None]
        _, drawn, _, _, real, shown = inside.split(list(MOUTH_MAPS.values()), 1)
        found = pasted(torch.cat([torch.lerp(drawn, real, shown), shown, lost], 1), place, grid)
        cover = ((distance - found[:, 4] + 0.75).clamp(0, 1.5) / 1.5 * amount)[:, None]
        mouth[:, :, rows, columns] = cover
        interior[:, :, rows, columns] = found[:, :3]
        own[:, :, rows, columns] = cover * found[:, 3:4]
        return mouth, interior, own, inside, place


def lip_share(picture: Tensor, distance: Tensor) -> Tensor:
    """How far what is just inside the lips is lip by its colour, 0..1 [1,h,w].

    An edge that was found a px too far out would be carried along with the teeth, as a line of lipstick across them.
    picture [1,3,h,w]: a mouth that shows teeth, on the crop; distance [1,h,w]: px inside its inner lips.
    """
    grey = picture.mean(1).clamp_min(0.02)
    red = (picture[:, 0] - picture[:, 1]) / grey
    bright = (distance > 0) & (grey >= grey[distance > 0].quantile(0.7))
    teeth, lips = red[bright].median(), red[(distance > -8) & (distance < -2)].median()
    if lips - teeth < 0.1:  # no telling
        return torch.zeros_like(grey)
    low, high = LIP_SURE
    share = smoothstep((((red - teeth) / (lips - teeth) - low) / (high - low)).clamp(0, 1))
    return share * (1 - smoothstep((distance / LIP_RIM).clamp(0, 1)))


def sideways(turn: Tensor) -> Tensor:
    """How far heads of rotations [B,3,3] are turned to a side, as `TURNED` says: 0..1 [B,1,1,1]."""
    start, end = TURNED
    return smoothstep(((turn[:, 0, 2].abs() - start) / (end - start)).clamp(0, 1))[:, None, None, None]


def _aside(look: Tensor, turn: Tensor, facing: Tensor, ahead: Tensor) -> Tensor:
    """look [B,M,7] of heads turned [B,3,3] to a side. facing [B,M], ahead [M]: how far, as a cosine, vertices face the
    camera, and would if the head did."""
    far = sideways(turn)[:, 0]
    light = torch.lerp(torch.ones_like(far), (_faced(facing) / _faced(ahead)).clamp(max=1)[..., None], far)
    lone = LONE * far * look[:, 4:5]
    colour = torch.lerp(look[:, :3] * light, fixed(FLOOR, look), lone)
    rest = look[:, 5:].expand(len(turn), -1, -1)
    return torch.cat([colour, look[:, 3:4] * light, look[:, 4:5] * light * (1 - lone), rest], 2)


def _faced(facing: Tensor) -> Tensor:
    """Light on what faces the camera so far, the cosine, -1..1."""
    return EDGE_LIGHT + (1 - EDGE_LIGHT) * smoothstep((facing / FACED).clamp(0, 1))


def rendered(
    model: FaceModel, vertices: Tensor, turn: Tensor, look: Tensor, normals: Tensor, area: tuple[slice, slice]
) -> Tensor:
    """Teeth, gums and tongue on the crop [B,9,h,w]: colour without light, `teeth.parts`, normals (x, y).

    vertices [B,M,3] px of the crop; turn [B,3,3] of normals [M,3]; look [M,7]: colour and parts; area: rows and columns
    that are drawn, the others are dark.
    """
    rows, columns = area
    height, width = (SAMPLES * (s.stop - s.start) for s in area)
    x, y, z = vertices.unbind(2)
    within = torch.stack([x - columns.start, y - rows.start, z], 2)
    face, weights = rasterize(within * SAMPLES, model.mouth_triangles, height, width)
    turned = torch.einsum("bij,vj->bvi", turn, normals)
    seen = look.expand(len(vertices), -1, -1)
    if waits(turn) or bool(sideways(turn).any()):
        seen = _aside(look, turn, turned[..., 2], normals[:, 2])
    values = torch.cat([seen, turned[..., :2]], 2)
    found = interpolate(face, weights, model.mouth_triangles, values)
    cavity = fixed(CAVITY, found)[:, None, None]
    found[:, :3] = torch.where((face < 0)[:, None], cavity, found[:, :3])
    seen = F.pad(cavity, (0, 0, 0, 0, 0, 6)).repeat(len(vertices), 1, CROP_HEIGHT, CROP_WIDTH)
    seen[..., rows, columns] = halved(found)
    return seen
