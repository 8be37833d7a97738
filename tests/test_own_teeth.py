"""Portraits that show their own teeth: the lips' edge, the upper row that goes with the skull, the seam."""

from __future__ import annotations

import itertools

import pytest
import torch

from emotalk_cli.face.fit import fit_portrait, snap_lips
from emotalk_cli.face.geometry import FaceMotion
from emotalk_cli.face.geometry.crop import CROP_HEIGHT, CROP_WIDTH
from emotalk_cli.face.geometry.own import GAP, SEEN, settled, toothed, upper_row
from emotalk_cli.face.geometry.teeth import Layout
from emotalk_cli.face.model import FaceModel
from emotalk_cli.face.raster import pixel_grid, polygon_distance
from emotalk_cli.face.topology import INDEX, INNER_LIPS, LIP_PAIRS, OUTER_LIPS
from emotalk_cli.numeric import smooth_path

SKIN, LIP, TEETH, DARK = (0.75, 0.58, 0.5), (0.66, 0.36, 0.36), (0.85, 0.82, 0.76), (0.12, 0.06, 0.06)
BROWN, SHADE = (0.45, 0.3, 0.24), (0.3, 0.16, 0.13)
UPPER, LOWER = (list(side) for side in zip(*LIP_PAIRS, strict=True))


@pytest.fixture(scope="module")
def model() -> FaceModel:
    return FaceModel.load()


def smiling(model: FaceModel) -> torch.Tensor:
    """Landmarks [478,3] of a smile that shows teeth, px of a picture of 512."""
    beta = torch.zeros(1, 64)
    for name, value in (("mouthSmileLeft", 0.8), ("mouthSmileRight", 0.8), ("jawOpen", 0.25)):
        beta[0, INDEX[name]] = value
    shape = model.mean + model.displacement(beta)[0]
    return (shape - shape.mean(0)) * torch.tensor([1.0, -1.0, -1.0]) * 17 + torch.tensor([256.0, 270.0, 0.0])


def painted(points: torch.Tensor, skin: tuple, lip: tuple, teeth: tuple, grey: bool = False) -> torch.Tensor:
    """A picture [3,512,512] of lips about a row of teeth, which ends before the corners."""
    grid = pixel_grid(512, 512)
    cover = [(polygon_distance(points[None, ring, :2], grid)[0] + 0.5).clamp(0, 1) for ring in (OUTER_LIPS, INNER_LIPS)]
    across = (grid[..., 0] - points[INNER_LIPS, 0].mean()).abs() / (points[INNER_LIPS, 0].max() - 256)
    row = torch.where((across < 0.8)[None], *(torch.tensor(c)[:, None, None] for c in (teeth, DARK)))
    picture = torch.tensor(skin)[:, None, None].expand(3, 512, 512)
    for inside, colour in zip(cover, (torch.tensor(lip)[:, None, None], row), strict=True):
        picture = torch.lerp(picture, colour.expand(3, 512, 512), inside)
    return picture.mean(0, keepdim=True).expand(3, -1, -1).contiguous() if grey else picture


@pytest.mark.parametrize(
    "look",
    [(SKIN, LIP, TEETH), (SKIN, LIP, TEETH, True), (BROWN, SHADE, (0.5, 0.46, 0.38)), (SKIN, (0.7, 0.5, 0.44), TEETH)],
    ids=["colour", "grey", "dark", "pale lips"],
)
def test_the_lips_edge_is_found_from_either_side(model, look):
    points = smiling(model)
    image = painted(points, *look)
    down = torch.tensor([0.0, 1.0])
    for upper, lower in ((0.0, 0.0), (2.0, -2.0), (-2.0, 2.0), (2.0, 2.0)):
        given = points.clone()
        given[UPPER, :2] += upper * down
        given[LOWER, :2] += lower * down
        found = snap_lips(image, given)
        within = polygon_distance(found[None, INNER_LIPS, :2], points[INNER_LIPS, :2][None])[0]
        error = (found - points)[UPPER[1:-1] + LOWER[1:-1], 1].abs()
        assert error.mean() < 1.2 and error.max() < 1.9, (upper, lower)
        assert within.mean() > -0.3  # rather a sliver of lip lost than one of teeth kept
        other = [i for i in range(478) if i not in UPPER + LOWER]
        assert torch.equal(found[other], given[other])


def test_lips_that_touch_keep_their_landmarks(model):
    points = smiling(model)
    image = painted(points, SKIN, LIP, TEETH)
    points[UPPER] = points[LOWER] - torch.tensor([0.0, 1.0, 0.0])
    assert torch.equal(snap_lips(image, points), points)


def rows_of_teeth() -> tuple[torch.Tensor, torch.Tensor]:
    """Two rows of teeth on the mouth's crop [1,3,h,w], and px inside the lips [1,h,w]."""
    y, x = torch.meshgrid(torch.arange(CROP_HEIGHT) + 0.5, torch.arange(CROP_WIDTH) + 0.5, indexing="ij")
    distance = torch.minimum(y - 40, torch.minimum(90 - y, torch.minimum(x - 20, 172 - x)))
    tooth = (y >= 40) & (y < 66) & ((x - 96).abs() < 60) & ((x - 96) % 20 > 2)
    tooth |= (y >= 69) & (y < 90) & ((x - 96).abs() < 40)
    grey = torch.where(tooth, 0.8, 0.1).where(distance > 0, torch.tensor(0.45))
    return grey.expand(1, 3, -1, -1).contiguous(), distance[None]


def test_only_the_upper_row_goes_with_the_skull():
    picture, distance = rows_of_teeth()
    y, x = torch.meshgrid(torch.arange(CROP_HEIGHT), torch.arange(CROP_WIDTH), indexing="ij")
    drawn = ((y >= 40) & (y < 84) & ((x - 96).abs() < 55))[None].float()  # laid onto both rows, as if they were one
    mask, below = upper_row(picture, distance, drawn)
    assert mask.shape == distance.shape and below == pytest.approx(84 - 66, abs=1)
    assert mask[0, 44:62, 40:152].min() > 0.95  # with the dark between its teeth
    assert mask[0, 67:].max() < 0.05 and mask[0, :, :30].max() < 0.05 and mask[0, :, 162:].max() < 0.05
    assert GAP > 3


def test_what_a_smile_hides_keeps_to_its_upper_teeth():
    layout = Layout(torch.tensor([[1.0, 3.0], [7.0, 9.0], [-6.0, 12.0]]), torch.tensor([1.1, 0.9, 0.8]), 0.7)
    parts = torch.zeros(4, CROP_HEIGHT, CROP_WIDTH)
    found = settled(layout, 5.0, parts)
    assert found.shift.tolist() == [[1.0, -2.0], [3.0, 6.0], [-1.0, 6.0]]
    assert found.scale.tolist() == [layout.scale[0]] * 3
    parts[1].view(-1)[: int(SEEN) + 1] = 1
    assert settled(layout, 5.0, parts).shift[1].tolist() == [3.0, 9.0] and found.gain == 0.7


def test_the_seam_is_covered_where_lips_meet_or_move(model):
    points, still = smiling(model), torch.zeros(1, 6)
    image = painted(points, SKIN, LIP, TEETH)
    fit = fit_portrait(model, (image.permute(1, 2, 0) * 255).byte().numpy(), points.numpy())
    fit.landmarks[:] = torch.cat([points[:, :2] - torch.from_numpy(fit.to_source[:, 2]), points[:, 2:]], 1).float()
    fit.landmarks[:] /= float(fit.to_source[0, 0])
    fit.landmarks[UPPER, 1] += 1.5  # a rim of teeth rides on the upper lip
    motion = FaceMotion(model, fit)
    assert motion.seam.rim is not None
    shut, wide = torch.zeros(1, 64), motion.source_beta.clone()
    wide[0, INDEX["jawOpen"]] += 0.3
    x, y = motion.points[13, :2].round().long().tolist()
    for beta in (shut, wide):
        driven = motion.vertices(beta, still)[0, 13, :2].round().long()
        column = slice(int(driven[1]) - 5, int(driven[1])), int(driven[0])
        geometry = motion.frame(beta, still)
        assert geometry.lids[0, 3][column].max() > 0.6
        rim, bare = geometry.composite()[0, 1], geometry.warped[0, 1]
        assert bare[column].max() > LIP[1] + 0.15 > rim[column].max()
    lips = motion.vertices(shut, still)[0, OUTER_LIPS, :2]
    (_, top), (right, bottom) = lips.amin(0).long().tolist(), lips.amax(0).long().tolist()
    meeting = motion.frame(shut, still).lids[0, 3, top - 10 :]  # below the eyes
    assert meeting[bottom - top + 16 :].max() == 0 and meeting[:, right + 6 :].max() == 0
    beside = meeting[:, right:], meeting[bottom - top + 10 :].T
    assert all((part[:, 1:] - part[:, :-1]).abs().max() < 0.5 for part in beside)  # it fades on the skin
    moved = motion.frame(wide, still).lids[0, 3, top - 10 :]
    assert moved.sum() < 0.5 * meeting.sum()  # of lips that move, the rim only


def test_the_path_of_least_cost_is_found():
    cost = torch.rand(5, 4, generator=torch.Generator().manual_seed(3))
    at = torch.arange(4)
    bend = (at[:, None] - at).abs() * 0.3

    def total(path) -> float:
        return float(sum(cost[i, k] for i, k in enumerate(path)) + sum(bend[a, b] for a, b in itertools.pairwise(path)))

    best = min(itertools.product(range(4), repeat=5), key=total)
    assert smooth_path(cost, bend).tolist() == list(best)


def test_flesh_and_dabs_of_colour_are_no_teeth():
    flesh = torch.tensor([[0.3, 0.1, 0.1]] * 50).T

    def told(skin: tuple, *colours: tuple) -> bool:
        inside = torch.cat([torch.tensor([c] * (60 // len(colours))).T for c in colours] + [flesh], 1)
        return toothed(inside, torch.tensor(skin))

    dusk = (0.9, 0.65, 0.4)  # a light that colours all
    assert told(SKIN, TEETH) and told(dusk, (0.81, 0.62, 0.5)) and told((0.4,) * 3, (0.5,) * 3)
    assert not told(SKIN, (0.8, 0.57, 0.5)) and not told(SKIN, DARK)
    assert not told(dusk, (0.9, 0.85, 0.55), (0.95, 0.55, 0.6))
    assert not toothed(torch.zeros(3, 0), torch.tensor(SKIN))
