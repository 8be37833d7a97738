import importlib.util
import sys
import types

import pytest
import torch
from torch.nn import functional as F

from emotalk_cli.errors import EmoTalkError
from emotalk_cli.face import kernels, raster
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


def rasterize_meshes(meshes, image_size, blur_radius=0.0, faces_per_pixel=8, perspective_correct=False,
                     clip_barycentric_coords=False):  # fmt: skip
    """pytorch3d's naive rasteriser, by its rule: a pixel is a triangle's if all barycentric weights are above zero, or
    if the square of its distance to the triangle is below `blur_radius`; the nearest of these is seen."""
    vertices, triangles = meshes
    height, width = image_size
    scale = 2 / min(height, width)  # NDC: x to the left, y up, the shorter side from -1 to 1
    x = (width / 2 - torch.arange(width) - 0.5) * scale
    y = (height / 2 - torch.arange(height) - 0.5) * scale
    pixel = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], -1).double()
    face = torch.full((len(vertices), height, width, 1), -1)
    weights, nearest = torch.full((len(vertices), height, width, 1, 3), -1.0), torch.full(face.shape[:3], torch.inf)
    for row, points in enumerate(vertices.double()):
        for number, triangle in enumerate(triangles[row]):
            corners = points[triangle]
            a, b, c = corners[:, :2]
            area = (c - a)[0] * (b - a)[1] - (c - a)[1] * (b - a)[0]
            if area.abs() < 1e-8:
                continue

            def edge(p, q, x=pixel):
                return (x[..., 0] - p[0]) * (q - p)[1] - (x[..., 1] - p[1]) * (q - p)[0]

            bary = torch.stack([edge(b, c), edge(c, a), edge(a, b)], -1) / area
            gaps = []
            for p, q in ((a, b), (b, c), (c, a)):
                along = (((pixel - p) @ (q - p)) / ((q - p) @ (q - p))).clamp(0, 1)
                gaps.append((pixel - p - along[..., None] * (q - p)).square().sum(-1))
            hit = (bary > 0).all(-1) | (torch.stack(gaps).amin(0) < blur_radius)
            if clip_barycentric_coords:
                bary = bary.clamp(min=0)
                bary = bary / bary.sum(-1, keepdim=True)
            depth = bary @ corners[:, 2]
            seen = hit & (depth < nearest[row])
            nearest[row][seen] = depth[seen].float()
            face[row, ..., 0][seen] = number + row * len(triangles[row])
            weights[row, ..., 0, :][seen] = bary[seen].float()
    return face, None, weights, None


@pytest.fixture
def pytorch3d(monkeypatch):
    """The library, or one that works by the same rule."""
    if importlib.util.find_spec("pytorch3d") is None:
        mesh, structures = types.ModuleType("pytorch3d.renderer.mesh"), types.ModuleType("pytorch3d.structures")
        mesh.rasterize_meshes, structures.Meshes = rasterize_meshes, lambda points, triangles: (points, triangles)
        for name in ("pytorch3d", "pytorch3d.renderer"):
            monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
        monkeypatch.setitem(sys.modules, mesh.__name__, mesh)
        monkeypatch.setitem(sys.modules, structures.__name__, structures)


def test_pytorch3d_sees_what_we_see_without_holes(pytorch3d, monkeypatch):
    """Two triangles whose shared edge runs through pixel centres, in a wide picture, behind them a third."""
    middle = torch.tensor([[[2.5, 2.5, 5.0], [13.5, 2.5, 5.0], [13.5, 13.5, 5.0], [2.5, 13.5, 5.0]]])
    behind = torch.tensor([[[8.0, 8.0, 9.0], [30.0, 8.0, 9.0], [30.0, 15.0, 9.0]]])
    vertices = torch.cat([middle, behind], 1)
    triangles = torch.tensor([[0, 1, 2], [0, 2, 3], [4, 5, 6]])
    both = torch.cat([vertices, vertices + torch.tensor([3.0, 1.0, 0.0])])
    (ours, mine), (theirs, other) = (rasterize(both, triangles, 18, 36, backend=n) for n in ("builtin", "pytorch3d"))
    diagonal = torch.arange(3, 13)
    assert (theirs[0, diagonal, diagonal] >= 0).all()
    inside = (F.max_pool2d((ours < 0).float(), 3, 1, 1) == 0) & (mine.amin(-1) > 1e-3)  # rims may go either way
    assert inside.sum() > 200 and torch.equal(ours[inside], theirs[inside])
    torch.testing.assert_close(mine[inside], other[inside], rtol=0, atol=1e-4)
    torch.testing.assert_close(other.sum(-1), (theirs >= 0).float(), rtol=0, atol=1e-5)
    monkeypatch.setattr(raster, "EDGE", 0.0)
    assert (rasterize(both, triangles, 18, 36, backend="pytorch3d")[0][0, diagonal, diagonal] < 0).any(), "no holes"


def test_the_renderer_is_chosen_for_the_process_and_its_absence_is_said(pytorch3d, monkeypatch):
    used = []
    monkeypatch.setattr(raster, "_rasterize_pytorch3d", lambda *arguments: used.append(arguments) or (None, None))
    try:
        raster.choose("pytorch3d")
        rasterize(SQUARE, HALVES, 16, 16)
        assert len(used) == 1
    finally:
        raster.choose("builtin")
    monkeypatch.setitem(sys.modules, "pytorch3d.structures", None)
    with pytest.raises(EmoTalkError, match="--no-build-isolation"):
        raster.choose("pytorch3d")
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


def layers(size: int, scale: int) -> tuple[torch.Tensor, ...]:
    """A plane at rest and a slanted triangle before it, which reads from elsewhere: vertices px, triangles, source."""
    plane = torch.tensor([[0.0, 0.0, 9.0], [size, 0.0, 9.0], [size, size, 9.0], [0.0, size, 9.0]])
    front = torch.tensor([[11.0, 9.0, 1.0], [47.3, 20.2, 1.0], [20.7, 54.6, 1.0]])
    vertices = torch.cat([plane, front])
    source = torch.cat([plane, front + torch.tensor([size, 0.0, 0.0])])[:, :2]
    return vertices[None] * scale, torch.tensor([[0, 1, 2], [0, 2, 3], [4, 5, 6]]), source


@pytest.mark.parametrize("loops", [True, False])
def test_the_outline_of_what_stands_before_another_thing_has_no_steps(loops, monkeypatch):
    """Where it lies in each line of pixels is told to a fraction of a pixel."""
    if not loops:
        monkeypatch.setattr(kernels, "usable", lambda *tensors: False)
    size = 64
    image = torch.zeros(1, 3, size, 2 * size)
    image[..., size:] = 1  # what the triangle reads
    vertices, triangles, source = layers(size, 1)
    fine, _ = rasterize(8 * vertices, triangles, 8 * size, 8 * size)
    covered = F.avg_pool2d((fine == 2).float()[:, None], 8)
    face, weights = rasterize(vertices / 2, triangles, size // 2, size // 2)
    grid = 2 * pixel_grid(size // 2, size // 2).permute(2, 0, 1)
    flow = interpolate(face, weights, triangles, source) - grid
    large, torn = raster.enlarged(flow, face, vertices, triangles, source, torch.zeros(3, dtype=torch.long))
    assert 0 < torn.mean() < 0.3

    def read(by: torch.Tensor) -> torch.Tensor:
        at = (pixel_grid(size, size) + by.permute(0, 2, 3, 1)) / torch.tensor([size, size / 2]) - 1
        return raster.sharp_sample(image, at)[:, :1]

    def off(made: torch.Tensor) -> torch.Tensor:
        return (made - covered).sum(3)[:, :, 13:50].abs().mean()  # px; the corners are round

    hard = read(large)
    assert ((hard > 0.5) != (covered > 0.5)).sum() < 4
    assert off(read(raster.doubled(flow))) > 2 * off(hard)
    other, share = raster._beside(large, torn)
    assert off(torch.lerp(hard, read(other), share)) < 0.6 * off(hard)
    whole, still = torch.rand(1, 3, size, size), torch.zeros(1, 2, size, size)
    moved = raster.sample(whole, large)
    made = raster.smoothed(moved.clone(), whole, large, torn)
    torch.testing.assert_close(made, torch.lerp(moved, raster.sample(whole, other), share), atol=1e-4, rtol=0)
    assert torch.equal(raster.smoothed(whole.clone(), whole, still, 0 * torn), whole)
