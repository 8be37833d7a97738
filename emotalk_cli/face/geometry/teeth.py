"""Where a photo's own teeth and tongue lie: the drawn ones shifted and scaled until they look like it."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor
from torch.nn import functional as F

from ...numeric import fixed, smoothstep
from ..model import FaceModel
from ..raster import interpolate, pixel_grid, rasterize
from .crop import CROP_MIDDLE

GROUPS = 3  # that move as a whole: upper teeth and gums, lower ones, tongue
TONGUE_RADIUS, TONGUE_TOP = 3.0, -4.6  # cm: of the lower soft parts, what is nearer to the mouth's axis and higher
AXIS = 5.5  # cm forward, of that axis
WHITE = (0.7, 0.15)  # of a vertex' colour, blue against red above the dark: from which on, and over how much, a tooth
CAVITY = (0.13, 0.05, 0.045)  # colour (R, G, B) of flesh in the dark, behind the teeth and where their light fails
FLOOR = (0.28, 0.12, 0.11)  # of the flesh beside the tongue, before the lower teeth's inner sides
# cm forward, where light has failed, and where it is full: lower teeth stand in the shadow of cheek and lip sooner
TEETH_LIT, LOWER_LIT, TONGUE_LIT = (7.2, 9.6), (8.2, 9.9), (5.0, 8.0)
INWARD = (
    -0.4,
    0.1,
)  # how far the teeth's sides face outwards, where the tongue's shadow lies on them, and where none does
TEETH_DARK, TONGUE_DARK = 0.07, 0.3  # of the light, where it has
MARGIN = 36  # px around the crop from which a group may come in
COARSE = 3  # px of the crop in one of the search
LIMITS = (7.5, (15.0, 22.5, 24.0), 0.2)  # most shift across, down (of each group), px, and change of scale
LOOKS = ((0.75, 0.73, 0.7), (0.66, 0.63, 0.6), (0.45, 0.25, 0.25), (0.45, 0.23, 0.23), (0.1, 0.05, 0.05))
TRUST = 0.08  # in these colours of upper and lower teeth, gums, tongue and the dark, against the photo's
WHITE_DRAWN = 0.73  # brightness of drawn teeth in a light of 1
LOWERED = (5.0, 6.0, 6.0)  # px by which groups of a portrait with closed lips lie lower: smiles bare more of the teeth
FAR = (0.0033, 0.2)  # cost of a px of shift, and of a scale of 2


@dataclasses.dataclass
class Layout:
    """Shift [GROUPS,2] px of the crop, scale [GROUPS]; gain: how bright the teeth are, of those drawn."""

    shift: Tensor
    scale: Tensor
    gain: float = 1.0

    @classmethod
    def plain(cls, device: torch.device | str = "cpu") -> Layout:
        """As the face model has them."""
        return cls(torch.zeros(GROUPS, 2, device=device), torch.ones(GROUPS, device=device))

    @classmethod
    def resting(cls, closed: float, device: torch.device | str = "cpu") -> Layout:
        """Below a portrait's lips that are closed (1) or open (0): where speech and smiles of other pictures have
        them."""
        shift = torch.tensor([[0.0, closed * down] for down in LOWERED], device=device)
        return cls(shift, torch.ones(GROUPS, device=device))

    def moved(self, vertices: Tensor, group: Tensor) -> Tensor:
        """Vertices [B,M,3] px of the crop, of groups [M], laid out."""
        middle = fixed(CROP_MIDDLE, vertices)
        flat = (vertices[..., :2] - middle) * self.scale[group, None] + middle + self.shift[group]
        return torch.cat([flat, vertices[..., 2:]], 2)


def parts(model: FaceModel) -> Tensor:
    """What the mouth's vertices belong to: upper teeth, lower teeth, gums, tongue, [M,4] 0..1."""
    colour, lower, place = model.mouth_color, model.mouth_lower, model.mouth_mean
    red, blue = (colour[:, 0] - 0.06).clamp_min(0.01), colour[:, 2] - 0.025
    tooth = ((blue / red - WHITE[0]) / WHITE[1]).clamp(0, 1) * (colour.amax(1) > 0.066)
    within = torch.hypot(place[:, 0], place[:, 2] - AXIS) < TONGUE_RADIUS
    tongue = (1 - tooth) * ((lower > 0.5) & within & (place[:, 1] > TONGUE_TOP))
    return torch.stack([tooth * (1 - lower), tooth * lower, 1 - tooth - tongue, tongue], 1)


def look(model: FaceModel) -> Tensor:
    """How the mouth's vertices are drawn [M,7]: colour in a light of 1, then `parts`.

    Light fails behind the front teeth, before which cheeks and lips stand, and on teeth's inner sides: there a tooth is
    no longer seen as one.
    """
    part = parts(model)
    teeth, gums, tongue = part[:, :2].sum(1), part[:, 2], part[:, 3]
    across, _, forward = model.mouth_mean.unbind(1)
    away = F.normalize(torch.stack([across, forward - AXIS], 1), dim=1)
    outward = (model.mouth_normals()[:, [0, 2]] * away).sum(1)
    hard, low, soft = (
        smoothstep(((forward - dark) / (full - dark)).clamp(0, 1)) for dark, full in (TEETH_LIT, LOWER_LIT, TONGUE_LIT)
    )
    hard = torch.lerp(hard, low, model.mouth_lower * teeth)
    inner = 1 - smoothstep(((outward - INWARD[0]) / (INWARD[1] - INWARD[0])).clamp(0, 1))
    hard = hard * (1 - inner)
    lost = (teeth + gums) * (1 - TEETH_DARK) * (1 - hard)
    light = 1 - lost - tongue * (1 - TONGUE_DARK) * (1 - soft)
    behind = torch.lerp(fixed(CAVITY, lost), fixed(FLOOR, lost), (inner * model.mouth_lower)[:, None])
    colour = model.mouth_color * light[:, None] + lost[:, None] * behind
    part = torch.cat([part[:, :2] * (1 - teeth * (1 - hard))[:, None], part[:, 2:]], 1)
    return torch.cat([colour, part], 1)


def groups(model: FaceModel) -> Tensor:
    """Which group the mouth's vertices move with: [M] long."""
    return torch.where(parts(model)[:, 3] > 0.3, 2, (model.mouth_lower > 0.5).long())


class _Search:
    """Candidates of a layout against one photo. All at a third of the crop's resolution."""

    def __init__(self, layers: Tensor, photo: Tensor, inside: Tensor, shade: Tensor, light: Tensor) -> None:
        """layers [GROUPS,8,·,·]: colour, parts and cover of each group on the crop with its margin; photo [3,h,w];
        inside [h,w]: 1 between the lips; shade [3,h,w]: light on drawn teeth with the shadow of the lips; light [3]."""
        self.layers, self.light = layers, light
        self.inside = F.avg_pool2d(inside[None, None], COARSE)[0, 0] > 0.5
        self.known = self.inside.float()[None, None]
        photo, self.shade = F.avg_pool2d(photo, COARSE), F.avg_pool2d(shade, COARSE)
        edge = F.avg_pool2d(inside[None, None], COARSE)
        soft = _smooth(photo[None] * edge, 3) / _smooth(edge, 3).clamp_min(1e-3)
        self.colour = soft[0][:, self.inside].T  # [P,3]
        self.variance = (self.colour - self.colour.mean(0)).square().mean(0).sum().clamp_min(1e-3)
        self.lines = self._lines(photo.mean(0)[None])[0]
        self.gain = float((self.colour.mean(1).quantile(0.9) / (WHITE_DRAWN * light.mean())).clamp(0.35, 1.5))

    def _lines(self, brightness: Tensor) -> Tensor:
        """What is brighter or darker than around it: [N,h,w] -> [N,P] of the px between the lips."""
        around = _smooth(brightness[:, None] * self.known, 5) / _smooth(self.known, 5).clamp_min(1e-3)
        return (brightness - around[:, 0])[:, self.inside]

    def drawn(self, shift: Tensor, scale: Tensor) -> Tensor:
        """Candidates shift [N,GROUPS,2], scale [N,GROUPS] -> colour and parts [N,7,h,w]."""
        height, width = self.inside.shape
        grid, middle = pixel_grid(height, width, shift.device) * COARSE, shift.new_tensor(CROP_MIDDLE)
        at = (grid - middle - shift[:, :, None, None]) / scale[..., None, None, None] + middle + MARGIN
        at = at * shift.new_tensor([2 / self.layers.shape[3], 2 / self.layers.shape[2]]) - 1
        found = shift.new_zeros(len(shift), 7, height, width)
        found[:, :3] = shift.new_tensor(LOOKS[-1])[:, None, None] / 2
        for group in reversed(range(GROUPS)):  # from the back to the front
            layer = self.layers[group].expand(len(shift), -1, -1, -1)
            layer = F.grid_sample(layer, at[:, group], align_corners=False)
            found = found * (1 - layer[:, 7:]) + layer[:, :7]
        return found

    def colour_error(self, shift: Tensor, scale: Tensor) -> Tensor:
        """What of the photo no colours of the parts, near to `LOOKS`, explain: [N], 0 is all."""
        found = self.drawn(shift, scale)
        lit = (found[:, :3] * self.shade).mean(1)[:, self.inside] / (0.8 * self.light.mean())
        dark = (self.shade.mean(0) / self.light.mean())[self.inside].sqrt()
        maps = torch.cat([found[:, 3:][..., self.inside] * lit[:, None], dark.expand_as(lit)[:, None]], 1)
        looks, trust = shift.new_tensor(LOOKS) * self.light * self.gain, TRUST * lit.shape[1]
        gram = maps @ maps.transpose(1, 2) + trust * torch.eye(5, device=shift.device)
        colours = torch.linalg.solve(gram, maps @ self.colour + trust * looks)
        error = (self.colour - maps.transpose(1, 2) @ colours).square().sum((1, 2))
        return (error + trust * (colours - looks).square().sum((1, 2))) / (lit.shape[1] * self.variance)

    def line_error(self, shift: Tensor, scale: Tensor) -> Tensor:
        """How little the gaps between teeth lie on the photo's: [N], -1 is best."""
        lines = self._lines((self.drawn(shift, scale)[:, :3] * self.shade).mean(1))
        return -(lines * self.lines).sum(1) / (lines.norm(dim=1) * self.lines.norm() + 1e-3)

    def better(self, layout: Layout, moved: dict[int, int], steps: Tensor, lines: bool = False) -> Layout:
        """The best of a layout with groups moved by steps [N] along an axis (0: x, 1: y; 2: scale)."""
        shift, scale = (t.repeat(len(steps), *[1] * t.dim()) for t in (layout.shift, layout.scale))
        for group, axis in moved.items():
            target = scale[:, group] if axis == 2 else shift[:, group, axis]
            target += steps
        first, axis = next(iter(moved.items()))
        far = (scale[:, first] - 1).abs() * FAR[1] if axis == 2 else shift[:, first, axis].abs() * FAR[0]
        down = shift.new_tensor(LIMITS[1])
        beyond = (shift[..., 0].abs() > LIMITS[0]) | (shift[..., 1].abs() > down) | ((scale - 1).abs() > LIMITS[2])
        error = (self.line_error if lines else self.colour_error)(shift, scale)
        best = int((error + far + 10 * beyond.any(1)).argmin())
        return Layout(shift[best], scale[best], self.gain)


def _smooth(x: Tensor, size: int) -> Tensor:
    for _ in range(2):
        x = F.avg_pool2d(x, size, 1, size // 2, count_include_pad=False)
    return x


def fit_layout(
    vertices: Tensor, triangles: Tensor, group: Tensor, look: Tensor, photo: Tensor, distance: Tensor, shade: Tensor
) -> Layout:
    """Lay the drawn mouth onto a photo: first by colour, then the gaps between its teeth onto the photo's.

    vertices [1,M,3] px of the crop; triangles [T,3]; group [M]; look [M,7]: colours and `parts`; photo [1,3,h,w] 0..1;
    distance [1,h,w] px inside the lips; shade [1,3,h,w]: light on teeth there. A mouth too small to tell stays.
    """
    inside = (distance[0] > 1).float()
    if float(inside.sum()) < COARSE**2 * 30:
        return Layout.plain(vertices.device)
    height, width = (n + 2 * MARGIN for n in distance.shape[1:])
    look = torch.cat([look, torch.ones_like(look[:, :1])], 1)
    member, layers = group[triangles], []
    chosen = (member == 0).all(1), (member == 1).all(1), (member == 2).any(1) & (member != 0).all(1)
    for mine in chosen:
        part = triangles[mine]
        face, weights = rasterize(vertices + fixed([MARGIN, MARGIN, 0], vertices), part, height, width)
        layers.append(interpolate(face, weights, part, look))
    light = shade[0].amax((1, 2))
    search = _Search(torch.cat(layers), photo[0], inside, shade[0], light)
    layout = Layout.plain(vertices.device)

    def steps(most: float, count: int) -> Tensor:
        return torch.linspace(-most, most, count, device=vertices.device)

    for size in (1.0, 0.4):
        layout = search.better(layout, {0: 1}, steps(21 * size, 29))
        layout = search.better(layout, {1: 1, 2: 1}, steps(25 * size, 29))
        layout = search.better(layout, {2: 1}, steps(21 * size, 29))
        layout = search.better(layout, {0: 2, 1: 2, 2: 2}, steps(0.15 * size, 15))
        layout = search.better(layout, {0: 0, 1: 0, 2: 0}, steps(9 * size, 13))
    for size in (1.0, 0.35):
        layout = search.better(layout, {0: 0}, steps(10 * size, 29), lines=True)
        layout = search.better(layout, {0: 2}, steps(0.08 * size, 17), lines=True)
        layout = search.better(layout, {0: 1}, steps(4.5 * size, 13), lines=True)
        layout = search.better(layout, {1: 0}, steps(10 * size, 29), lines=True)
        layout = search.better(layout, {1: 1}, steps(4.5 * size, 13), lines=True)
    return layout
