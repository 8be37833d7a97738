"""The animated crop goes back into its picture without a seam; the contact sheet shows the whole video."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from emotalk_cli.face.fit import PortraitFit
from emotalk_cli.face.geometry import Geometry
from emotalk_cli.media.framing import MAX_FULL_SIDE, CropFraming, FullFraming, window
from emotalk_cli.media.preview import ContactSheet
from emotalk_cli.media.video import PartFile

CPU = torch.device("cpu")


def smooth_picture(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 200 / width, y * 200 / height, (x + y) * 100 / (width + height)], -1).astype(np.uint8)


def detailed_picture(side: int) -> np.ndarray:
    """Stripes of 4 px, too fine for the crop when it is enlarged four times."""
    picture = smooth_picture(side, side) // 2
    picture[:, ::4] += 60
    picture[:, 1::4] += 60
    return picture


def portrait(picture: np.ndarray, affine: np.ndarray) -> PortraitFit:
    """A portrait whose crop is that part of the picture (edges repeated); all that framing uses of one."""
    at = np.stack(np.meshgrid(np.arange(512) + 0.5, np.arange(512) + 0.5), -1) @ affine[:, :2].T + affine[:, 2]
    limits = np.array([picture.shape[1], picture.shape[0]])
    grid = torch.tensor(at / limits * 2 - 1)[None].float()
    pixels = torch.tensor(picture).permute(2, 0, 1)[None].float() / 255
    step = max(1, round(affine[0, 0]))
    pixels = torch.nn.functional.avg_pool2d(pixels, step, 1, step // 2, count_include_pad=False)
    crop = torch.nn.functional.grid_sample(pixels, grid, padding_mode="border", align_corners=False)[0]
    none = torch.zeros(0)
    return PortraitFit(crop, none, none, none, none, none, None, affine, picture)


def geometry(count: int, shift: float = 0.0) -> Geometry:
    """A motion that moves everything `shift` crop px to the right."""
    zeros, ones = torch.zeros(count, 1, 512, 512), torch.ones(count, 1, 512, 512)
    flow = torch.cat([zeros - shift, zeros], 1)
    lids, mouth = zeros.expand(-1, 4, -1, -1), (torch.zeros(count, 14, 160, 192), torch.zeros(count, 2, 3))
    colours = torch.ones(count, 3), torch.zeros(count, 32, 3), torch.zeros(count)
    placed = torch.zeros(count, 3, 2, 2), torch.zeros(count, 2, 16, 2), torch.zeros(count, 2)
    return Geometry(flow, zeros, zeros, ones, *[zeros] * 6, lids, *mouth, *placed, *colours)


AFFINES = {
    "inside, reduced": [[0.4, 0, 100], [0, 0.4, 60]],
    "beyond the edges": [[0.9, 0, -80], [0, 0.9, -50]],
    "turned": [[0.35, 0.1, 90], [-0.1, 0.35, 110]],
}


@pytest.mark.parametrize("name", AFFINES)
def test_an_unchanged_crop_changes_nothing(name):
    subject = portrait(smooth_picture(301, 403), np.array(AFFINES[name]))
    framing = FullFraming(subject, CPU)
    frame = framing(subject.image[None], geometry(1))[0]
    assert framing.size[0] in (402, 404) and framing.size[1] in (300, 302)
    assert frame.shape == (framing.size[1], framing.size[0], 3)
    assert np.abs(frame.astype(int) - framing.still).max() <= 3


def test_a_changed_crop_fades_out_before_its_border():
    picture = smooth_picture(400, 400)
    framing = FullFraming(portrait(picture, np.array([[0.4, 0, 100], [0, 0.4, 60]])), CPU)
    frame = framing(torch.ones(2, 3, 512, 512), geometry(2))[1].astype(int)
    x0, y0, x1, y1 = framing.box
    outside = np.ones((400, 400), bool)
    outside[y0:y1, x0:x1] = False
    assert (frame[outside] == picture[outside]).all()
    assert (frame[(y0 + y1) // 2, (x0 + x1) // 2] == 255).all()
    steps = np.abs(np.diff(frame[(y0 + y1) // 2, :, 0])).max()
    assert steps < 30  # 255 levels spread over the feather; an edge would be one step of more than 100


def test_large_pictures_are_scaled_to_an_even_size():
    subject = portrait(np.zeros((1333, 3001, 3), np.uint8), np.array([[1.0, 0, 900], [0, 1.0, 300]]))
    framing = FullFraming(subject, CPU)
    assert framing.size[0] == MAX_FULL_SIDE and framing.size[1] % 2 == 0
    assert abs(framing.size[1] - 1333 * MAX_FULL_SIDE / 3001) <= 1
    assert framing(torch.zeros(1, 3, 512, 512), geometry(1)).shape == (1, framing.size[1], framing.size[0], 3)


def test_detail_finer_than_the_crop_is_kept_and_moves_along():
    picture, affine = detailed_picture(1600), np.array([[2.0, 0, 240], [0, 2.0, 240]])
    subject = portrait(picture, affine)
    still = FullFraming(subject, CPU)(subject.image[None], geometry(1))[0].astype(int)
    assert np.abs(still - picture).mean() < 1.5
    moved = torch.roll(subject.image, 10, 2)[None]
    frame = FullFraming(subject, CPU)(moved, geometry(1, shift=10))[0].astype(int)
    centre = (slice(500, 1000), slice(500, 1000))
    assert np.abs(frame[centre] - np.roll(picture, 20, 1)[centre]).mean() < 3
    large = CropFraming(subject, 1024, CPU)(subject.image[None], geometry(1))[0].astype(int)
    assert np.abs(large - picture[240:1264, 240:1264]).mean() < 1.5


@pytest.mark.parametrize("size", [64, 512, 720])
def test_crop_of_any_size(size):
    subject = portrait(smooth_picture(512, 512), np.array([[1.0, 0, 0], [0, 1.0, 0]]))
    crops = torch.linspace(0, 1, 512).expand(2, 3, 512, 512)
    subject.image = crops[0]
    subject.source = (crops[0].permute(1, 2, 0) * 255).byte().numpy()
    frames = CropFraming(subject, size, CPU)(crops, geometry(2))
    assert frames.shape == (2, size, size, 3) and frames.dtype == np.uint8
    np.testing.assert_allclose(frames[0, size // 2, :, 0], np.linspace(0, 255, size), atol=3)


@pytest.mark.parametrize(
    "left,top,expected", [(-60, -20, (0, 10, 452)), (0, 0, (0, 0, 512)), (400, 300, (400, 300, 400))]
)
def test_the_crop_stays_inside_the_picture(left, top, expected):
    picture = smooth_picture(700, 800)
    subject = portrait(picture, np.array([[1.0, 0, left], [0, 1.0, top]]))
    assert window(subject) == pytest.approx(expected)
    framing = CropFraming(subject, 256, CPU)
    frame = framing(subject.image[None], geometry(1))[0].astype(int)
    x, y, side = (round(v) for v in expected)
    whole = Image.fromarray(picture[y : y + side, x : x + side]).resize((256, 256), Image.Resampling.LANCZOS)
    assert np.abs(frame - np.asarray(whole)).mean() < 2
    assert framing.half == (side > 466)  # crops of 256 px have pixels enough if most of them are seen
    half = framing(torch.nn.functional.avg_pool2d(subject.image[None], 2), geometry(1))[0].astype(int)
    assert np.abs(half - frame).mean() < 2


def test_a_face_at_the_edge_is_shown_whole():
    subject = portrait(smooth_picture(300, 800), np.array([[1.0, 0, 100], [0, 1.0, -106]]))
    left, top, side = window(subject)
    assert side == pytest.approx(512 * 1.1 / 1.8) and left >= 100 and left + side <= 612


@pytest.mark.parametrize("frames,tiles", [(1, 1), (5, 5), (8, 8), (200, 8)])
def test_contact_sheet_shows_moments_of_the_whole_video(tmp_path, frames, tiles):
    sheet = ContactSheet(frames, fps=25)
    for k in range(frames):
        sheet.add(k, np.full((64, 64, 3), 10 + k % 200, np.uint8))
    with PartFile(tmp_path / "sheet.png") as part:
        sheet.save(part, "sadly surprised")
    pixels = np.asarray(Image.open(tmp_path / "sheet.png"))
    shown = [k for k in range(frames) if (pixels == 10 + k % 200).all(-1).sum() >= 64 * 64]
    assert len(shown) == tiles
    assert shown[0] <= frames / 8 and shown[-1] >= frames * 7 / 8 - 1
