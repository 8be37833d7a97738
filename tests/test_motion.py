"""Geometry motion on a synthetic picture: what must hold whatever the face."""

import copy

import pytest
import torch

from emotalk_cli.face.fit import fit_portrait
from emotalk_cli.face.geometry import FaceMotion
from emotalk_cli.face.geometry.contacts import GUM_SHOWN, HOODED, NEAREST, WIDEST
from emotalk_cli.face.geometry.eyeball import GAZE
from emotalk_cli.face.geometry.glasses import BRIDGE, held
from emotalk_cli.face.geometry.mesh import LASH_LIMIT
from emotalk_cli.face.model import FaceModel
from emotalk_cli.face.raster import interpolate, packed, pixel_grid, polygon_distance, rasterize, sample
from emotalk_cli.face.topology import (
    FACE_OVAL,
    INDEX,
    INNER_LIPS,
    LEFT_EYE,
    LEFT_LID_PAIRS,
    N_SKIN,
    RIGHT_EYE,
    RIGHT_LID_PAIRS,
)

STILL = torch.zeros(1, 6)
SKIN, WHITE, IRIS = 0.45, 0.9, 0.1


@pytest.fixture(scope="module")
def motion() -> FaceMotion:
    """The mean face, lips parted a little, over a smooth colour pattern."""
    model = FaceModel.load()
    points = model.mean * torch.tensor([1.0, -1.0, -1.0]) * 20 + torch.tensor([300.0, 320.0, 0.0])
    y, x = torch.meshgrid(torch.arange(640.0), torch.arange(600.0), indexing="ij")
    picture = torch.stack([x / 600, y / 640, 0.5 + 0.3 * (x / 40).sin() * (y / 40).cos()], -1)
    return FaceMotion(model, fit_portrait(model, (picture * 255).byte().numpy(), points.numpy()))


@pytest.fixture(scope="module")
def averted() -> FaceMotion:
    """The mean face turned by 40 degrees, black before white."""
    model, angle = FaceModel.load(), torch.tensor(40.0).deg2rad()
    turn = torch.tensor([[angle.cos(), 0, angle.sin()], [0, 1, 0], [-angle.sin(), 0, angle.cos()]])
    points = model.mean @ turn.T * torch.tensor([1.0, -1.0, -1.0]) * 20 + torch.tensor([300.0, 320.0, 0.0])
    face, _ = rasterize(points[None], model.triangles, 640, 600)
    picture = torch.where(face[0] < 0, 255, 0).byte()[..., None].expand(-1, -1, 3).numpy()
    return FaceMotion(model, fit_portrait(model, picture, points.numpy()))


@pytest.fixture(scope="module")
def staring() -> FaceMotion:
    return with_eyes(0.3)


def with_eyes(height: float) -> FaceMotion:
    """The mean face in flat grey skin, with white eyes and black irises; the upper lids `height` cm above their
    middle, where the iris reaches higher."""
    model = FaceModel.load()
    shape = model.mean.clone()
    for eye, pairs in ((473, LEFT_LID_PAIRS), (468, RIGHT_LID_PAIRS)):
        upper, lower = torch.tensor(pairs).T
        shape[upper, 1] = shape[upper, 1].minimum(shape[eye, 1] + height).maximum(shape[lower, 1])
    points = shape * torch.tensor([1.0, -1.0, -1.0]) * 20 + torch.tensor([300.0, 320.0, 0.0])
    picture, grid = torch.full((640, 600), SKIN), pixel_grid(640, 600)
    for ring, centre in ((LEFT_EYE, 473), (RIGHT_EYE, 468)):
        inside = (polygon_distance(points[None, ring, :2], grid)[0] + 0.5).clamp(0, 1)
        radius = (points[centre + 1 : centre + 5, :2] - points[centre, :2]).norm(dim=1).mean()
        edge = (radius - (grid - points[centre, :2]).norm(dim=2) + 0.5).clamp(0, 1)
        picture = torch.lerp(picture, torch.lerp(torch.tensor(WHITE), torch.tensor(IRIS), edge), inside)
    picture = (picture[..., None].expand(-1, -1, 3) * 255).byte().numpy()
    return FaceMotion(model, fit_portrait(model, picture, points.numpy()))


def iris_of(motion: FaceMotion, beta: torch.Tensor) -> torch.Tensor:
    """Where the left eye is black, of the whole frame [512,512]."""
    geometry = motion.frame(beta, STILL)
    left = torch.arange(512) > motion.points[:, 0].mean()
    return (geometry.composite()[0].mean(0) < (IRIS + WHITE) / 2) & (geometry.eyes[0, 0] > 0.9) & left


def expression(**values: float) -> torch.Tensor:
    beta = torch.zeros(1, 64)
    for name, value in values.items():
        for full in (name, f"{name}Left", f"{name}Right"):
            if full in INDEX:
                beta[0, INDEX[full]] = value
    return beta


def lip_gap(motion: FaceMotion, beta: torch.Tensor) -> float:
    points = motion.vertices(beta, STILL)[0]
    return float(points[14, 1] - points[13, 1])


def test_source_expression_moves_nothing(motion):
    beta = motion.source_beta
    geometry = motion.frame(beta, STILL)
    assert geometry.flow.shape == (1, 2, 512, 512) and geometry.ratio.shape == (1, 1, 512, 512)
    gap = motion.contacts.source_gap.max()
    assert geometry.flow.abs().max() < gap + 2  # only the lips may close to what β says
    assert (geometry.ratio - 1).abs().mean() < 0.01


def test_background_never_moves_without_pose(motion):
    geometry = motion.frame(expression(jawOpen=0.6, mouthSmile=1, browInnerUp=1), STILL)
    for corner in (slice(0, 40), slice(-40, None)):
        assert geometry.flow[:, :, corner, :60].abs().max() < 1e-3
        assert torch.allclose(geometry.composite()[0][:, corner, :60], motion.head.image[0][:, corner, :60], atol=1e-3)


def test_background_stays_under_head_turns(motion):
    pose = torch.tensor([[0.06, 0.08, 0.03, 0.005, -0.004, 0.01]])
    geometry = motion.frame(expression(), pose)
    rim = torch.cat([geometry.flow[..., :4, :], geometry.flow[..., -4:, :]], -2)
    assert rim.abs().max() < 1.0
    assert geometry.flow[..., 250, 256].norm() > 2  # while the face itself does move


def test_lips_close_exactly_and_open_with_the_jaw(motion):
    assert abs(lip_gap(motion, expression())) < 0.3
    assert abs(lip_gap(motion, expression(mouthSmile=0.9, mouthFrown=0.2))) < 4
    gaps = [lip_gap(motion, expression(jawOpen=v)) for v in (0.1, 0.2, 0.4)]
    assert gaps[0] > 3 and gaps[0] < gaps[1] < gaps[2]


def test_a_lip_does_not_rise_far_above_the_portraits_own_teeth(motion):
    beta = expression(mouthUpperUp=1, noseSneer=1, mouthShrugLower=0.5)
    showing = copy.copy(motion)
    showing.mouth = copy.copy(motion.mouth)
    showing.mouth.own_teeth = True
    lip, other = (m.vertices(beta, STILL)[0, 13, 1] for m in (showing, motion))
    limit = GUM_SHOWN * motion.head.pose.scale[0] + 0.5
    assert motion.points[13, 1] - other > 2 * limit
    assert motion.points[13, 1] - lip < limit
    assert lip_gap(showing, beta) == pytest.approx(lip_gap(motion, beta), abs=1.5)  # the mouth keeps its opening


def test_closed_lips_keep_no_rim_of_the_portraits_own_teeth():
    model = FaceModel.load()
    shape = model.mean + model.displacement(expression(jawOpen=0.3))[0]
    points = shape * torch.tensor([1.0, -1.0, -1.0]) * 20 + torch.tensor([300.0, 320.0, 0.0])
    inside = polygon_distance(points[None, INNER_LIPS, :2], pixel_grid(640, 600))[0]
    picture = torch.lerp(torch.tensor(SKIN), torch.tensor(WHITE), (inside + 2).clamp(0, 1))  # 2 px of teeth too far out
    fit = fit_portrait(model, (picture[..., None].expand(-1, -1, 3) * 255).byte().numpy(), points.numpy())
    fit.landmarks[:] = torch.from_numpy(points.numpy() - [fit.to_source[0, 2], fit.to_source[1, 2], 0]).float() * (
        1 / fit.to_source[0, 0]
    )  # as they were given: no contour is looked for
    motion = FaceMotion(model, fit)
    lips = (..., slice(250, 450), slice(None))
    closed = motion.frame(expression(), STILL).composite()[lips].amax()
    opened = motion.frame(expression(jawOpen=0.3), STILL).composite()[lips].amax()
    motion.seam.rim = None
    assert closed < SKIN + 0.12 < motion.frame(expression(), STILL).composite()[lips].amax()
    assert opened > WHITE - 0.15


def test_mouth_mask_follows_the_opening(motion):
    closed = motion.frame(expression(), STILL).mouth.sum()
    half = motion.frame(expression(jawOpen=0.15), STILL).mouth.sum()
    wide = motion.frame(expression(jawOpen=0.4), STILL).mouth.sum()
    assert closed == 0 and 100 < half < wide


def test_blink_closes_the_lids(motion):
    upper, lower = 386, 374
    open_gap = float(motion.points[lower, 1] - motion.points[upper, 1])
    for blink, share in ((0.5, 0.5), (1.0, 0.0)):
        points = motion.vertices(expression(eyeBlink=blink), STILL)[0]
        gap = float(points[lower, 1] - points[upper, 1])
        assert gap == pytest.approx(share * open_gap, abs=2.0)
    assert motion.frame(expression(eyeBlink=1.0), STILL).eyes.max() < 0.05


def test_a_lid_gives_way_to_its_brow(motion):
    """Brows that fall onto raised lids would lie on the iris, as a dark arc."""
    contacts = motion.contacts

    def distances(beta):
        points = motion.vertices(beta, STILL)
        return [contacts.gaps(points, pairs) / own for pairs, own in zip(contacts.brows, contacts.own_brows)]

    angry = expression(browDown=1.4, eyeWide=1.2)
    for near in distances(angry):
        assert 0.9 * NEAREST < near.min() < HOODED
    opened = motion.frame(angry, STILL).opened
    assert 0.3 < opened.min() and opened.max() < motion.frame(expression(eyeWide=1.0), STILL).opened.min()
    shut = motion.vertices(expression(browDown=1.0, eyeWide=1.0, eyeBlink=1.0), STILL)
    assert all(contacts.gaps(shut, pairs).max() < 0 for pairs in contacts.lids)
    assert all((near - 1).abs().max() < 1e-4 for near in distances(motion.source_beta))


@pytest.mark.parametrize("look", [0.0, 0.25])
def test_wide_lids_uncover_a_round_iris_of_the_same_size(staring, look):
    rest, beta = iris_of(staring, expression()), expression(eyeWide=1.2)
    beta[0, INDEX["eyeLookOutLeft"]] = look
    iris = iris_of(staring, beta)
    size = 2 * staring.eyes.eyes[0].radius
    assert rest.any(1).sum() < size - 3  # its top is under the lid
    assert int(iris.any(1).sum()) == pytest.approx(size, abs=2.5)
    assert int(iris.any(0).sum()) == pytest.approx(size, abs=2.5)
    geometry, top = staring.frame(beta, STILL), int(iris.any(1).nonzero()[0])
    above = geometry.eyes[0, 0, :top, iris.any(0)] > 0.9
    assert geometry.composite()[0].mean(0)[:top, iris.any(0)][above].quantile(0.9) > 0.6  # white shows
    middle, before = (m.any(0).nonzero().float().mean() for m in (iris, rest))
    assert float(middle - before) == pytest.approx(look * GAZE * float(staring.head.pose.scale[0]), abs=1.0)


@pytest.mark.parametrize("height", [-0.2, -0.45, -1.0])  # narrow, a slit, shut
def test_eyes_nearly_shut_open_a_little_and_never_to_white_balls(height):
    motion = with_eyes(height)
    geometry = motion.frame(expression(eyeWide=1.2), STILL)
    open_eye = geometry.eyes[0, 0] > 0.9
    assert open_eye.sum() < with_eyes(0.3).frame(expression(eyeWide=1.2), STILL).eyes.gt(0.9).sum() * 0.7
    for eye in motion.eyes.eyes:  # behind the lids there is an iris
        x, y = (eye.iris - eye.corner).long().tolist()
        assert eye.picture[0, 3:6, y, x].max() < 0.3
    if height == -1.0:
        assert open_eye.sum() < 30


def test_a_squint_takes_the_same_part_of_a_narrow_eye(motion, staring):
    upper, lower = 386, 374
    left = []
    for eyes in (motion, staring):  # open as the mean face's; half as much
        before, after = (
            float((p[lower, 1] - p[upper, 1]) / eyes.head.pose.scale[0])
            for p in (eyes.points, eyes.vertices(expression(eyeSquint=0.6, eyeLookDown=0.5), STILL)[0])
        )
        left.append((before, after / before))
    assert left[1][0] < 0.9 * left[0][0]
    assert left[1][1] == pytest.approx(left[0][1], abs=0.06)
    assert left[0][1] < 0.7


def test_the_edge_of_a_closing_lid_has_no_stairs(staring):
    beta = expression(eyeBlink=0.55)
    eyes = staring.frame(beta, STILL).eyes[0, 0]
    contour = staring.vertices(beta, STILL)[0, LEFT_EYE, :2]
    low, high = int(contour[:, 0].min()) + 8, int(contour[:, 0].max()) - 8
    covered = eyes[:, low:high].sum(0)  # px of open eye in each column
    assert covered.max() > 4
    assert (covered[2:] - 2 * covered[1:-1] + covered[:-2]).abs().max() < 0.5
    assert ((eyes > 0.1) & (eyes < 0.9))[:, low:high].any(0).float().mean() > 0.8


def test_flow_has_no_tears(motion):
    """Neighbouring pixels come from neighbouring places, except at the lips and lids."""
    flow = motion.frame(expression(jawOpen=0.5, mouthSmile=0.6, browDown=0.8), STILL).flow[0]
    step = (flow[:, :, 1:] - flow[:, :, :-1]).abs().amax(0)
    contour = motion.vertices(expression(jawOpen=0.5, mouthSmile=0.6, browDown=0.8), STILL)[0]
    box = contour[INNER_LIPS]
    step[
        int(box[:, 1].min()) - 25 : int(box[:, 1].max()) + 25, int(box[:, 0].min()) - 25 : int(box[:, 0].max()) + 25
    ] = 0
    eyes = contour[[33, 133, 362, 263]]
    step[int(eyes[:, 1].min()) - 25 : int(eyes[:, 1].max()) + 25] = 0
    assert step.max() < 2


@pytest.mark.parametrize("values", [{"mouthSmile": 1.0}, {"jawOpen": 0.6, "mouthFunnel": 0.6}])
def test_a_turned_face_leaves_no_second_outline(averted, values):
    """However its far cheek moves, nothing of it stays behind outside its outline."""
    beta = expression(**values)
    seen = averted.frame(beta, STILL).warped[0].mean(0)
    mesh = averted.mesh.driven(averted.expressed(beta), STILL)
    face, _ = rasterize(mesh[:, :N_SKIN], averted.head.model.triangles, 512, 512)
    outside = torch.nn.functional.max_pool2d((face >= 0).float()[None], 5, 1, 2)[0, 0] == 0
    assert (seen[outside] < 0.5).sum() < 4


def test_a_turned_face_that_turns_back_shows_no_second_one(averted):
    """What its outline hid is not read from what lies before it in the picture."""
    triangles, points = averted.head.model.triangles, averted.points[:N_SKIN]
    a, b, c = points[triangles, :2].unbind(1)
    area = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
    hidden = torch.zeros(N_SKIN, dtype=torch.bool)
    hidden[FACE_OVAL] = True
    hidden[triangles[area * area.sum() > 0].flatten()] = False
    outside = rasterize(points[None], triangles, 512, 512)[0] < 0
    edge = torch.nn.functional.max_pool2d(outside.float()[None], 17, 1, 8)[0, 0]
    x, y = points[:, :2].long().unbind(1)
    hidden &= edge[y, x] == 0  # well within the outline
    assert hidden.sum() > 3
    marked = copy.copy(averted)
    marked.head = copy.copy(averted.head)
    spots = (pixel_grid(512, 512)[None] - points[hidden, None, None, :2]).norm(dim=3).amin(0) < 4
    marked.head.image = spots.float().expand(1, 3, -1, -1).contiguous()
    marked.head.whole = packed(marked.head.image)
    pose = torch.zeros(1, 6)
    pose[0, 1] = torch.tensor(30.0).deg2rad()
    seen = marked.frame(averted.source_beta, pose).warped[0, 0]
    driven = averted.head.rigid(averted.expressed(averted.source_beta), pose)[0, :N_SKIN]
    face, weights = rasterize(driven[None], triangles, 512, 512)
    x, y = driven[:, :2].long().unbind(1)
    before = interpolate(face, weights, triangles, driven[:, 2:])[0, 0, y, x]
    shown = hidden & (driven[:, 2] < before + 4)
    assert shown.sum() > 3 and seen[y[shown], x[shown]].mean() < 0.2


def test_frames_are_independent_of_their_batch(motion):
    beta = torch.cat([expression(jawOpen=v, mouthSmile=v) for v in (0.0, 0.3, 0.5)])
    together = motion.frame(beta, STILL.expand(3, -1)).composite()
    alone = torch.cat([motion.frame(b[None], STILL).composite() for b in beta])
    assert (together - alone).abs().mean() < 1e-3


def test_without_shading_only_the_warp_is_left(motion):
    beta = expression(noseSneer=1, browDown=1)
    plain = copy.copy(motion)
    plain.shading = False
    shaded, warped = motion.frame(beta, STILL), plain.frame(beta, STILL)
    assert (warped.ratio - 1).abs().max() < 1e-6 and (shaded.ratio - 1).abs().max() > 0.1
    assert torch.equal(warped.flow, shaded.flow)


def test_sample_with_zero_flow_is_identity_and_shifts():
    image = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(sample(image, torch.zeros(1, 2, 32, 32)), image, atol=1e-5)
    shift = torch.zeros(1, 2, 32, 32)
    shift[:, 0] = 3
    assert torch.allclose(sample(image, shift)[..., :29], image[..., 3:], atol=1e-5)


def test_polygon_distance_of_a_square():
    square = torch.tensor([[[4.0, 4.0], [12.0, 4.0], [12.0, 12.0], [4.0, 12.0]]])
    distance = polygon_distance(square, pixel_grid(16, 16))[0]
    assert distance[8, 8] == pytest.approx(3.5) and distance[8, 1] == pytest.approx(-2.5)
    assert int((distance > 0).sum()) == 64


def test_lashes_keep_their_length_when_lids_close_or_open_wide(motion):
    rim, above = motion.mesh.edges
    source = motion.mesh.source
    count = len(rim)
    assert count > 20  # both eyes
    length = (source[-count:] - source[rim])[:, :2].norm(dim=1)
    for values in ({"eyeBlink": 1.0}, {"eyeWide": 1.0}):
        beta = expression(**values)
        mesh = motion.mesh.driven(motion.expressed(beta), STILL)[0]
        driven = (mesh[-count:] - mesh[rim])[:, :2].norm(dim=1)
        lid = (mesh[rim] - source[rim])[:, 1].abs().max()
        assert lid > 1  # px: the lids have moved
        room = LASH_LIMIT * (mesh[above] - mesh[rim])[:, :2].norm(dim=1)
        assert (room >= length).float().mean() > 0.8  # where a lid's skin is gone they shorten
        torch.testing.assert_close(driven, torch.minimum(length, room), atol=0.05, rtol=0.02)


def test_glasses_are_told_by_their_bridge_and_their_skin_keeps_to_the_skull(staring):
    head = copy.copy(staring.head)
    assert held(head) is None
    x, y = head.points[BRIDGE, :2].round().int().tolist()
    head.image = head.image.clone()
    head.image[..., y - 2 : y + 2, x - 15 : x + 15] = 0.05
    share = held(head)
    assert share is not None and float(share[BRIDGE]) > 0.9 and float(share[152]) == 0
    assert not share[LEFT_EYE + RIGHT_EYE].any()
    assert float(share[[118, 347]].min()) > 0.9  # below the eyes, where rims lie


def test_eyes_open_no_wider_than_eyes_do(motion):
    beta = torch.zeros(2, 64)
    beta[0, [INDEX["eyeWideLeft"], INDEX["eyeWideRight"]]] = 0.5
    beta[1, [INDEX["eyeWideLeft"], INDEX["eyeWideRight"]]] = 3.0
    points = motion.vertices(beta, STILL.expand(2, -1))
    upper, lower = torch.tensor(LEFT_LID_PAIRS).T
    width = (motion.points[LEFT_EYE[0]] - motion.points[LEFT_EYE[8]])[:2].norm()
    opened = (points[:, lower, 1] - points[:, upper, 1]).amax(1) / width
    assert opened[0] < opened[1] < 1.15 * WIDEST
