import pytest
import torch

from emotalk_cli.face.fit import Pose, align, complete_smile, fit_illumination, fit_portrait, fit_shape
from emotalk_cli.face.model import N_EXPRESSION, FaceModel, rotation_matrix, rotation_vector, sh_basis, shade
from emotalk_cli.face.topology import ARKIT_NAMES, EXPRESSION_NAMES, INDEX, LEFT_EYE, RIGHT_EYE


@pytest.fixture(scope="module")
def model() -> FaceModel:
    return FaceModel.load()


def coefficients(count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    alpha = torch.randn(count, 80, generator=generator)
    beta = torch.zeros(count, 64)
    beta[:, [INDEX["jawOpen"], INDEX["mouthSmileLeft"], INDEX["mouthSmileRight"]]] = torch.rand(
        count, 3, generator=generator
    )
    return alpha, beta


def camera(count: int, seed: int = 1) -> Pose:
    generator = torch.Generator().manual_seed(seed)
    turn = rotation_matrix(0.3 * torch.randn(count, 3, generator=generator))
    return Pose(
        turn, 18 + 4 * torch.rand(count, generator=generator), 256 + 30 * torch.randn(count, 3, generator=generator)
    )


def test_names_follow_arkit():
    assert len(ARKIT_NAMES) == 51 and len(EXPRESSION_NAMES) == 64 == len(set(EXPRESSION_NAMES))
    assert EXPRESSION_NAMES[:51] == ARKIT_NAMES and ARKIT_NAMES[24] == "jawOpen"


def test_shape_is_linear(model):
    alpha, beta = coefficients(2)
    both = model.vertices(alpha, beta)
    parts = model.vertices(alpha, torch.zeros_like(beta)) + model.displacement(beta)
    assert torch.allclose(both, parts, atol=1e-4)
    assert torch.allclose(model.vertices(torch.zeros(1, 80), torch.zeros(1, 64))[0], model.mean)


def test_named_shapes_do_what_they_say(model):
    lower_lip, corner = 14, 291
    assert model.expression[INDEX["jawOpen"], lower_lip, 1] < -2  # cm
    assert model.expression[INDEX["mouthSmileLeft"], corner, 1] > 0.3
    assert model.expression[INDEX["browInnerUp"], 9, 1] > 0.05
    assert model.expression[INDEX["eyeBlinkLeft"], 386, 1] < -0.3


def test_left_mirrors_right(model):
    left, right = (model.expression[INDEX[f"mouthSmile{side}"]] for side in ("Left", "Right"))
    assert torch.allclose(left[model.mirror] * torch.tensor([-1.0, 1.0, 1.0]), right, atol=0.02)


def test_teeth_follow_the_jaw_below_only(model):
    beta = torch.zeros(1, 64)
    beta[0, INDEX["jawOpen"]] = 0.5
    moved = (model.mouth_vertices(beta)[0] - model.mouth_mean).norm(dim=1)
    assert moved[model.mouth_lower == 0].max() == 0
    assert moved[model.mouth_lower == 1].mean() > 0.5


def test_rotation_round_trip():
    vectors = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    vectors[0] = 0
    matrices = rotation_matrix(vectors)
    assert torch.allclose(matrices @ matrices.transpose(1, 2), torch.eye(3).expand(20, 3, 3), atol=1e-5)
    assert torch.allclose(rotation_vector(matrices), vectors, atol=1e-3)


def test_projection_round_trip_and_alignment(model):
    alpha, beta = coefficients(3)
    shape, pose = model.vertices(alpha, beta), camera(3)
    seen = pose.project(shape)
    assert torch.allclose(pose.unproject(seen), shape, atol=1e-3)
    found = align(shape, seen)
    assert torch.allclose(found.rotation, pose.rotation, atol=1e-4)
    assert torch.allclose(found.scale, pose.scale, rtol=1e-4)
    assert torch.allclose(found.translation, pose.translation, atol=1e-2)


def test_fit_recovers_shape_and_expression(model):
    alpha, beta = coefficients(4)
    seen = camera(4).project(model.vertices(alpha * 0.5, beta))
    found_alpha, found_beta, pose = fit_shape(model, seen)
    again = pose.project(model.vertices(found_alpha, found_beta + model.expression_rest))
    eyes = (seen[:, 33] - seen[:, 263])[:, :2].norm(dim=1)
    assert ((again - seen)[..., :2].norm(dim=-1).mean(1) / eyes).max() < 0.02
    jaw = INDEX["jawOpen"]
    assert torch.corrcoef(torch.stack([found_beta[:, jaw], beta[:, jaw]]))[0, 1] > 0.95


def test_fit_of_a_resting_face_reads_rest(model):
    seen = camera(1).project(model.vertices(torch.zeros(1, 80), model.expression_rest[None]))
    assert fit_shape(model, seen)[1].abs().max() < 0.2


def test_spherical_harmonics_recover_their_light():
    normals = torch.nn.functional.normalize(
        torch.randn(1, 3, 40, 40, generator=torch.Generator().manual_seed(0)), dim=1
    )
    normals[:, 2] = normals[:, 2].abs()
    assert sh_basis(normals).shape == (1, 9, 40, 40)
    gamma = torch.zeros(1, 3, 9)
    gamma[:, :, 0], gamma[:, :, 2] = 0.7, 0.2
    albedo = torch.full((1, 3, 40, 40), 0.6)
    texture = albedo * shade(normals, gamma.flatten(1))
    found = fit_illumination(texture, normals, albedo, torch.ones(40, 40))
    error = shade(normals, found) - shade(normals, gamma.flatten(1))
    assert error.abs().mean() < 0.05  # the ridge holds back a little


def test_portrait_crop_maps_back_to_the_picture(model):
    alpha, beta = coefficients(1)
    landmarks = camera(1).project(model.vertices(alpha * 0.3, beta))[0]
    landmarks[:, :2] += torch.tensor([100.0, 40.0])
    image = (torch.rand(700, 900, 3, generator=torch.Generator().manual_seed(0)) * 255).byte().numpy()
    portrait = fit_portrait(model, image, landmarks.numpy())
    assert portrait.image.shape == (3, 512, 512)
    points = torch.cat([portrait.landmarks[:, :2], torch.ones(478, 1)], 1) @ torch.tensor(portrait.to_source.T).float()
    away = (points - landmarks[:, :2]).abs().amax(1)
    away[[*LEFT_EYE, *RIGHT_EYE]] = 0  # laid onto the lids' edges, of which noise has some
    assert away.max() < 0.05


def test_a_smile_taken_for_identity_is_completed(model):
    smile = torch.zeros(2, N_EXPRESSION)
    smile[0, [INDEX["mouthSmileLeft"], INDEX["mouthSmileRight"]]] = 0.3
    whole, seen = complete_smile(model, smile), complete_smile(model, smile, score=0.9)
    left = INDEX["mouthSmileLeft"]
    assert 0.3 < whole[0, left] < seen[0, left]
    assert torch.equal(whole[1], smile[1])  # a resting face stays one
    assert seen[1, left] > 0.2  # unless a tracker sees what least squares do not
