import pytest
import torch

from emotalk_cli.errors import EmoTalkError
from emotalk_cli.face import kernels
from emotalk_cli.face.raster import interpolate, pixel_grid, polygon_distance, rasterize, sample

SQUARE = torch.tensor([[[2.0, 2.0, 5.0], [14.0, 2.0, 5.0], [14.0, 14.0, 5.0], [2.0, 14.0, 5.0]]])
HALVES = torch.tensor([[0, 1, 2], [0, 2, 3]])


def test_square_covers_exactly_its_pixels():
    face, weights = rasterize(SQUARE, HALVES, 16, 20)
    assert face.shape == (1, 16, 20)
    covered = face[0] >= 0
    expected = torch.zeros(16, 20, dtype=torch.bool)
    expected[2:14, 2:14] = True
    assert torch.equal(covered, expected)
    assert torch.allclose(weights.sum(-1)[face >= 0], torch.ones(144), atol=1e-5)
    assert weights[face < 0].abs().max() == 0


def test_interpolation_recovers_pixel_centres():
    face, weights = rasterize(SQUARE, HALVES, 16, 16)
    position = interpolate(face, weights, HALVES, SQUARE[0, :, :2])
    y, x = torch.meshgrid(torch.arange(16.0) + 0.5, torch.arange(16.0) + 0.5, indexing="ij")
    inside = face[0] >= 0
    assert torch.allclose(position[0, 0][inside], x[inside], atol=1e-4)
    assert torch.allclose(position[0, 1][inside], y[inside], atol=1e-4)


@pytest.mark.parametrize("reverse", [False, True])
def test_nearer_triangle_wins_whatever_the_order(reverse):
    near = SQUARE - torch.tensor([0.0, 0.0, 3.0])
    vertices = torch.cat([near, SQUARE] if reverse else [SQUARE, near], 1)
    face, _ = rasterize(vertices, torch.cat([HALVES, HALVES + 4]), 16, 16)
    seen = face[face >= 0]
    assert ((seen < 2) if reverse else (seen >= 2)).all()


def test_batches_are_independent():
    both = torch.cat([SQUARE, SQUARE + torch.tensor([3.0, 0.0, 0.0])])
    face, weights = rasterize(both, HALVES, 16, 20)
    alone, alone_weights = rasterize(both[1:], HALVES, 16, 20)
    assert torch.equal(face[1:], alone)
    assert torch.equal(weights[1:], alone_weights)
    values = torch.stack([torch.zeros(4, 1), torch.ones(4, 1)])
    painted = interpolate(face, weights, HALVES, values)
    assert painted[0].max() == 0
    assert torch.allclose(painted[1][0][alone[0] >= 0], torch.tensor(1.0), atol=1e-5)


def test_gradient_matches_finite_difference():
    vertices = SQUARE.double().clone().requires_grad_()
    values = torch.tensor([[0.0], [1.0], [3.0], [2.0]], dtype=torch.double)

    def brightness(v):
        face, weights = rasterize(v, HALVES, 16, 16)
        return interpolate(face, weights, HALVES, values)[0, 0, 5:9, 5:9].sum()

    brightness(vertices).backward()
    step = torch.zeros_like(vertices)
    step[0, 1, 0] = 1e-4
    numeric = (brightness(vertices.detach() + step) - brightness(vertices.detach() - step)) / 2e-4
    assert vertices.grad[0, 1, 0].item() == pytest.approx(numeric.item(), rel=1e-3)


def test_degenerate_and_outside_triangles_draw_nothing():
    line = torch.tensor([[[1.0, 1.0, 0.0], [5.0, 5.0, 0.0], [9.0, 9.0, 0.0]]])
    assert (rasterize(line, torch.tensor([[0, 1, 2]]), 8, 8)[0] < 0).all()
    assert (rasterize(SQUARE + 100, HALVES, 8, 8)[0] < 0).all()


def test_pytorch3d_backend_agrees_or_says_what_to_install():
    try:
        import pytorch3d  # noqa: F401
    except ImportError:
        with pytest.raises(EmoTalkError, match="pytorch3d"):
            rasterize(SQUARE, HALVES, 16, 16, backend="pytorch3d")
    else:
        ours, theirs = (rasterize(SQUARE, HALVES, 16, 16, backend=name)[0] for name in ("builtin", "pytorch3d"))
        assert torch.equal(ours, theirs)
    with pytest.raises(EmoTalkError, match="builtin"):
        rasterize(SQUARE, HALVES, 16, 16, backend="opengl")


def test_compiled_and_torch_images_are_equal():
    generator = torch.Generator().manual_seed(0)
    vertices = torch.rand(2, 40, 3, generator=generator) * 60 - 6  # some triangles reach outside the image
    triangles = torch.randint(0, 40, (50, 3), generator=generator)
    values = torch.rand(40, 2, generator=generator)
    face, weights = rasterize(vertices, triangles, 48, 44)
    plain, plain_weights = rasterize(vertices, triangles, 48, 44, backend="torch")
    same = face == plain
    assert same.float().mean() > 0.998  # pixel centres that lie on an edge may go either way
    assert torch.allclose(weights[same], plain_weights[same], atol=1e-3)
    with torch.enable_grad():
        slow = interpolate(face, weights.requires_grad_(), triangles, values)
    assert torch.allclose(interpolate(face, weights.detach(), triangles, values), slow.detach(), atol=1e-5)


def test_compiled_distance_to_a_polygon_equals_torch():
    points = torch.tensor([[[3.0, 2.5], [20.3, 6.0], [12.0, 18.2], [11.0, 9.0]]]).repeat(2, 1, 1)
    points[1] += 2.25
    grid = pixel_grid(24, 28)
    slow = polygon_distance(points.clone().requires_grad_(), grid).detach()
    assert torch.allclose(polygon_distance(points, grid), slow, atol=1e-4)
    assert (slow > 0).any() and (slow < 0).any()


def test_loops_are_compiled_where_nothing_can_be_kept(monkeypatch):
    njit = kernels.numba.njit

    def refuse(**options):
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        return njit(**options)

    monkeypatch.setattr(kernels.numba, "njit", refuse)
    assert kernels._compiled(lambda x: x + 1)(2) == 3


def test_compiled_warp_reads_where_the_flow_points():
    image = torch.arange(5 * 7.0).reshape(1, 1, 5, 7).repeat(1, 3, 1, 1)
    flow = torch.zeros(2, 2, 5, 7)
    flow[1, 0], flow[1, 1] = 1.5, -20.0  # half between two columns; far above the first row
    warped = sample(image, flow)
    assert torch.equal(warped[0], image[0])
    assert torch.allclose(warped[1, 0, 3, :4], torch.tensor([1.5, 2.5, 3.5, 4.5]))
    assert torch.allclose(warped[1, 0, 3, 6], torch.tensor(6.0))
    generator = torch.Generator().manual_seed(0)
    image, flow = torch.rand(1, 3, 40, 30, generator=generator), 8 * torch.randn(2, 2, 40, 30, generator=generator)
    assert torch.allclose(sample(image, flow), sample(image, flow.clone().requires_grad_()).detach(), atol=1e-5)
