"""The mouth's crop, the drawn mouth laid onto a photo's, and the painter."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from emotalk_cli.face.fit import CROP_SIZE, PortraitFit, Pose, fit_portrait
from emotalk_cli.face.geometry import FaceMotion, relight, still
from emotalk_cli.face.geometry.crop import CROP_HEIGHT, CROP_MIDDLE, CROP_UNIT, CROP_WIDTH, REACH, laid, pasted
from emotalk_cli.face.geometry.mouth import NEAR, rendered
from emotalk_cli.face.geometry.palette import brightness, palette
from emotalk_cli.face.geometry.seam import evened
from emotalk_cli.face.geometry.teeth import AXIS, Layout, fit_layout, groups, look, parts
from emotalk_cli.face.model import FaceModel
from emotalk_cli.face.raster import pixel_grid
from emotalk_cli.face.topology import INDEX, INNER_LIPS
from emotalk_cli.models.mouth import MouthPainter, between, joined, mean_around, whitened

COLOURS = (0.63, 0.48, 0.3), (0.5, 0.3, 0.3)
LIPS = (0.8, 0.5, 0.5), (0.6, 0.35, 0.65)


@pytest.fixture(scope="module")
def model() -> FaceModel:
    return FaceModel.load()


@pytest.fixture(scope="module")
def portrait(model) -> PortraitFit:
    """The mean face on a plain picture."""
    pose = Pose(torch.eye(3)[None], torch.tensor([14.0]), torch.tensor([[200.0, 200.0, 0.0]]))
    landmarks = pose.project(model.mean[None] - model.mean.mean(0))[0]
    picture = torch.full((400, 400, 3), 170, dtype=torch.uint8) - torch.tensor([0, 40, 60], dtype=torch.uint8)
    return fit_portrait(model, picture.numpy(), landmarks.numpy())


@pytest.fixture(scope="module")
def motion(model, portrait) -> FaceMotion:
    return FaceMotion(model, portrait)


@pytest.fixture(scope="module")
def beta() -> torch.Tensor:
    beta = torch.zeros(1, 64)
    beta[0, [INDEX[n] for n in ("jawOpen", "mouthSmileLeft", "mouthSmileRight")]] = 0.6
    return beta


def test_light_fails_behind_the_front_teeth(model):
    part, seen, forward = parts(model), look(model), model.mouth_mean[:, 2]
    light, tooth = seen[:, 1] / model.mouth_color[:, 1], part[:, :2].sum(1)
    away = model.mouth_mean[:, [0, 2]] - torch.tensor([0.0, AXIS])
    outward = torch.cosine_similarity(model.mouth_normals()[:, [0, 2]], away, 1)
    for kind, front, back in (
        (tooth * (outward > 0.3), forward > 10, forward < 8),
        (part[:, 3], forward > 8, forward < 6),
    ):
        assert light[(kind > 0.9) & front].mean() > 0.95 and light[(kind > 0.9) & back].mean() < 0.65
    assert light[(tooth > 0.9) & (outward < -0.4)].mean() < 0.75  # the tongue's side
    assert (seen[:, 3:] <= part).all() and (seen[(tooth > 0.9) & (forward < 7.2), 3:5] < 0.1).all()


def test_the_crop_follows_the_skull(motion, portrait, beta):
    pose = torch.tensor([[0.0, 0.0, 0.3, 0.05, -0.02, 0.2]])
    places = motion.mouth.place(torch.cat([still(1), pose]))
    middle = portrait.landmarks[INNER_LIPS].mean(0)
    moved = motion.head.rigid(middle[None, None], pose)[0, 0, :2]
    for place, lips in zip(places, (middle[:2], moved), strict=True):
        at = place[:, :2] @ torch.tensor(CROP_MIDDLE) + place[:, 2]
        assert (at - lips).norm() < 0.5 / CROP_UNIT  # half a centimetre
    unit = torch.linalg.det(places[:, :, :2]).sqrt()
    assert unit[0] == pytest.approx(CROP_UNIT * float(portrait.pose.scale), rel=1e-4)
    assert unit[1] / unit[0] == pytest.approx(float(torch.tensor(0.2).exp()), rel=1e-4)
    turn = torch.atan2(places[:, 1, 0], places[:, 0, 0])
    assert float(turn[1] - turn[0]) == pytest.approx(0.3, abs=0.01)


def test_what_is_laid_onto_the_crop_can_be_pasted_back(motion):
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(1, 3, 32, 32, generator=generator)
    picture = torch.nn.functional.interpolate(noise, (CROP_SIZE, CROP_SIZE), mode="bicubic").clamp(0, 1)
    place = motion.mouth.place(torch.tensor([[0.0, 0.2, 0.1, 0.0, 0.0, 0.05]]))
    x, y = (place[0, :, :2] @ torch.tensor([96.0, 80.0]) + place[0, :, 2]).round().long().tolist()
    rows, columns = slice(y - 30, y + 30), slice(x - 30, x + 30)
    back = pasted(laid(picture, place), place, pixel_grid(CROP_SIZE, CROP_SIZE)[rows, columns])
    assert (back - picture[..., rows, columns]).abs().max() < 0.05


def test_parts_cover_the_mouth(model):
    found = parts(model)
    assert torch.allclose(found.sum(1), torch.ones(len(found)))
    assert (found.mean(0) > 0.03).all()
    lower = model.mouth_lower > 0.5
    assert (found[lower, 0] == 0).all() and (found[~lower, 1] == 0).all()


def test_a_layout_is_found_again(model, motion, beta):
    """Teeth drawn lower, larger and to the side are a photo whose layout is known."""
    mouth = motion.mouth
    points, place = motion.vertices(beta, still(1)), mouth.place(still(1))
    true = Layout(torch.tensor([[-4.0, 4.0], [-4.0, 0.0], [-4.0, 0.0]]), torch.tensor([1.05, 1.0, 1.0]))
    mouth.layout, kept = true, mouth.layout
    inside = mouth.inside(beta, still(1), place, mouth.distance(points[:, INNER_LIPS, :2], place))
    mouth.layout = kept
    distance, photo = REACH * inside[:, 0], inside[:, 1:4]
    shade = mouth.shadow(distance) * mouth.light[:, None, None]
    vertices = mouth.vertices(beta, still(1), place)
    found = fit_layout(vertices, model.mouth_triangles, groups(model), mouth.look, photo, distance, shade)
    assert (found.shift[0] - true.shift[0]).abs().max() < 2.2
    assert float((found.scale[0] - true.scale[0]).abs()) < 0.05


def test_only_what_may_be_seen_is_drawn(motion, beta):
    """The box about the lips holds all that the whole crop shows there."""
    mouth = motion.mouth
    place = mouth.place(still(1))
    distance = mouth.distance(motion.vertices(beta, still(1))[:, INNER_LIPS, :2], place)
    part = mouth.seen(beta, still(1), place, distance)
    whole = mouth.seen(beta, still(1), place, torch.zeros_like(distance))
    near = (distance > -NEAR).expand_as(part)
    assert (part - whole)[near].abs().mean() < 1e-3 and not torch.equal(part, whole)


def turned(degrees: float) -> torch.Tensor:
    pose = still(1)
    pose[0, 1] = torch.tensor(degrees).deg2rad()
    return pose


def test_lips_hide_their_own_opening_where_they_stand_well_before_it(motion, beta):
    mouth, pose = motion.mouth, turned(40)
    points, place, scale = motion.vertices(beta, pose), mouth.place(pose), float(motion.head.pose.scale)
    near = mouth.distance(points[:, INNER_LIPS, :2], place)
    assert torch.equal(mouth.clipped(near, points, place), near)
    covers, hidden = [], []
    for before in (-1.0, 1.5):
        folded = points.clone()
        folded[:, [0, 267, 269, 270]] += torch.tensor([0.0, 1.5, -before]) * scale  # half of the upper lip, cm
        clear = mouth.clipped(near, folded, place)
        assert (clear <= near).all()
        hidden.append(float(((near > 1) & (clear < 0)).sum() / (near > 1).sum()))
        covers.append(float(mouth.drawn(beta, pose, folded)[0].sum()))
    assert hidden[0] == 0 and 0.1 < hidden[1] < 0.7
    assert covers[1] / covers[0] == pytest.approx(1 - hidden[1], abs=0.1)


def test_a_turned_mouth_shows_the_inner_side_of_its_far_cheek(motion, beta):
    """Beside the teeth, on that side alone; and seen straight on nothing of it."""
    mouth, across = motion.mouth, torch.arange(CROP_WIDTH).float()
    sides = []
    for degrees in (-40, 0, 40):
        pose = turned(degrees)
        distance = mouth.distance(motion.vertices(beta, pose)[:, INNER_LIPS, :2], mouth.place(pose))
        light = mouth.wall(pose, distance)[0, 0] * (distance[0] > 1)
        middle = (across * (distance[0] > 1)).sum() / (distance[0] > 1).sum()
        sides.append(float(((across - middle).sign() * light).sum()))
        assert (light.sum() == 0) == (degrees == 0)
    nose = motion.head.rigid(motion.points[None], turned(40))[0, 4, 0] - motion.points[4, 0]
    assert sides[2] * float(nose) > 0 > sides[0] * float(nose)


def test_teeth_that_a_turned_head_shows_from_the_side_are_darker(model, motion, beta):
    """Those that face the camera are as they were."""
    mouth, seen = motion.mouth, []
    for degrees in (0, 40):
        pose = turned(degrees)
        vertices = mouth.vertices(beta, pose, mouth.place(pose))
        whole = slice(0, CROP_HEIGHT), slice(0, CROP_WIDTH)
        seen.append(rendered(model, vertices, mouth.turn(pose), mouth.look, mouth.normals, whole)[0])
    for found in seen:
        assert found[:3].amax() == pytest.approx(float(seen[0][:3].amax()), rel=0.05)
    upper = [found[1][found[3] > 0.2] for found in seen]
    assert upper[1].quantile(0.2) < 0.9 * upper[0].quantile(0.2)
    assert seen[1][4].sum() < 0.4 * seen[0][4].sum()  # of the lower row lips would show its end as one block


def test_teeth_lie_lower_below_closed_lips(model, portrait, motion, beta):
    """There the portrait does not say where they are."""
    assert motion.mouth.closed == 1 and (motion.mouth.layout.shift[:, 1] > 0).all()
    points = portrait.landmarks.clone()
    points[[14, 87, 317, 88, 318, 178, 402], 1] += 12  # the lower lip
    assert FaceMotion(model, dataclasses.replace(portrait, landmarks=points)).mouth.closed == 0
    assert (Layout.resting(0.0).shift == 0).all()


def test_an_untrained_painter_paints_what_was_drawn(motion, portrait, beta):
    geometry = dataclasses.replace(motion.frame(beta, still(1)), plain=torch.zeros(1))  # in free colours
    painter = MouthPainter().eval()
    identity = torch.cat([portrait.alpha, portrait.delta])[None]
    before = geometry.composite()
    with torch.inference_mode():
        after = painter.paint(before.clone(), geometry.inside, geometry.place, identity)
    deep = -torch.nn.functional.max_pool2d(-geometry.mouth, 9, 1, 4) > 0.999  # at the rim it takes the lips' colour
    assert deep.sum() > 500
    assert (after - before).abs()[deep.expand_as(after)].mean() < 0.03  # lines are softened
    far = torch.nn.functional.max_pool2d(geometry.mouth, 13, 1, 6) == 0
    assert torch.equal(after[far.expand_as(after)], before[far.expand_as(after)])


def test_teeth_are_a_persons_own(portrait):
    painter = MouthPainter().eval()
    identity = portrait.alpha[None]
    style = painter.style(identity)
    assert style.shape == (1, painter.dims.style) and torch.equal(style, painter.style(identity))
    assert (style - painter.style(identity.flip(1))).abs().max() > 0.1


def test_own_teeth_end_at_the_driven_lips():
    inside = torch.rand(2, 14, 8, 8, generator=torch.Generator().manual_seed(0))
    inside[:, 0] = torch.linspace(-3, 3, 8) / REACH  # px from the contour
    found = between(inside)
    assert torch.equal(found[:, :-1], inside[:, :-1])
    assert torch.equal(found[..., 4:][:, -1], inside[..., 4:][:, -1]) and found[:, -1, :, :2].max() == 0


def test_a_picture_of_one_hue_keeps_it(model, portrait, beta):
    """Sepia: skin, teeth and tongue of the frame have the picture's one colour at each brightness."""
    generator = torch.Generator().manual_seed(1)
    grey = torch.nn.functional.interpolate(torch.rand(1, 1, 24, 24, generator=generator), (CROP_SIZE, CROP_SIZE))[0]
    sepia = torch.tensor([1.0, 0.85, 0.7])[:, None, None]
    geometry = FaceMotion(model, dataclasses.replace(portrait, image=grey * sepia)).frame(beta, still(1))
    assert float(geometry.plain[0]) == 1
    frame = geometry.composite()
    level = brightness(frame) / brightness(sepia)
    error = (frame - level * sepia).abs()[(geometry.face > 0.9).expand_as(frame)]
    assert error.mean() < 1 / 255 and error.quantile(0.999) < 0.1
    colourful = dataclasses.replace(portrait, image=torch.rand(3, CROP_SIZE, CROP_SIZE, generator=generator))
    assert float(FaceMotion(model, colourful).frame(beta, still(1)).plain[0]) == 0


def test_light_keeps_the_hue_of_skin_and_bleaches_nothing():
    skin = torch.tensor([0.9, 0.8, 0.75])[None, :, None, None]
    hue = torch.ones(1, 3)
    darker, lighter = (relight(skin, torch.full((1, 1, 1, 1), r), hue) for r in (0.7, 1.25))
    assert torch.allclose(darker, 0.7 * skin)
    assert lighter.max() < 1 and (lighter > skin).all()
    assert torch.allclose(lighter / skin, (lighter / skin).mean().expand_as(skin))
    warm = relight(skin, torch.full((1, 1, 1, 1), 0.7), torch.tensor([[0.8, 1.0, 1.2]]))
    assert warm[0, 0] / warm[0, 2] > skin[0, 0] / skin[0, 2]


def test_a_face_of_little_colour_keeps_it():
    """Of 100 photos in colour the palest strays by 0.021 from the colours of its brightness, of black and white by
    0.003."""
    generator = torch.Generator().manual_seed(0)
    light = torch.rand(1, 80, 80, generator=generator) * 0.6 + 0.2
    stray = torch.randn(1, 80, 80, generator=generator) * torch.tensor([0.587, -0.299, 0.0])[:, None, None]
    skin = light * torch.tensor([1.1, 0.98, 0.9])[:, None, None]
    colour = [palette(skin + amount / 0.659 * stray) for amount in (0.021, 0.004)]
    assert colour[0][1] == 0 and colour[1][1] == 1


@pytest.mark.parametrize("size", [3, 5, 9])
def test_means_around_are_those_of_a_pool(size):
    maps = torch.rand(2, 3, 7, 12, generator=torch.Generator().manual_seed(0))
    wanted = torch.nn.functional.avg_pool2d(maps, size, 1, size // 2, count_include_pad=False)
    torch.testing.assert_close(mean_around(maps, size), wanted, atol=1e-6, rtol=0)


def test_painted_teeth_are_no_yellower_than_drawn_ones(model, portrait, beta):
    """In a warm light as in white one; what is not yellow stays as it is."""
    inside = FaceMotion(model, portrait).frame(beta, still(1)).inside
    yellow, pink = (torch.tensor(c)[None, :, None, None].expand(1, 3, CROP_HEIGHT, CROP_WIDTH) for c in COLOURS)
    within = (inside[:, :1] * REACH > 3).expand(1, 3, -1, -1)
    teeth, drawn = inside[:, 4:6].sum(1) > 0.9, inside[:, 1:4]
    own = (drawn[:, 2] / drawn[:, 1].clamp_min(1e-3))[teeth].median()
    made = whitened(yellow, inside)[within].reshape(3, -1)
    assert 0.9 * own < (made[2] / made[1]).min() and torch.equal(made[:2], yellow[within].reshape(3, -1)[:2])
    assert torch.equal(whitened(pink, inside), pink)


def test_painted_lips_have_the_colour_of_the_frames_lips(model, portrait, beta):
    """Of purple lips that were painted pink the rim is purple, and the depth of the mouth stays as it was painted."""
    inside = FaceMotion(model, portrait).frame(beta, still(1)).inside
    distance = REACH * inside[:, :1]
    pink, purple = (torch.tensor(c)[None, :, None, None].expand(1, 3, CROP_HEIGHT, CROP_WIDTH) for c in LIPS)
    made = joined(pink, purple, inside)
    rim, deep = ((distance > low) & (distance < high) for low, high in ((-4, 0.5), (7, 24)))
    assert (made - purple).abs().amax(1, keepdim=True)[rim].max() < 0.02
    assert deep.any() and (made - pink).abs().amax(1, keepdim=True)[deep].max() == 0
    inside = torch.cat([inside[:, :-1], torch.ones_like(inside[:, -1:])], 1)  # the portrait's own teeth
    assert torch.equal(joined(pink, purple, inside), pink)


def test_the_line_of_shut_lips_has_no_steps():
    """Where lips meet between pixels their edge rises by a pixel at a time; away from it they stay as sharp."""
    rows, columns = torch.meshgrid(torch.arange(40), torch.arange(60), indexing="ij")
    below = (rows > 15 + columns // 6).float()
    lips = (0.3 + 0.4 * below).expand(1, 3, -1, -1) + 0.02 * (columns % 2)
    flow = torch.stack([torch.zeros(40, 60), 6 * below - 3])[None]
    even = evened(lips, flow)
    steps = [(t[..., 2:] - t[..., :-2]).abs().max() for t in (lips, even)]
    assert steps[1] < 0.45 * steps[0]
    far = torch.nn.functional.max_pool2d((flow[:, 1:, 1:] != flow[:, 1:, :-1]).float(), 9, 1, 4) == 0
    assert torch.equal(even[..., 1:, :][far.expand(-1, 3, -1, -1)], lips[..., 1:, :][far.expand(-1, 3, -1, -1)])
