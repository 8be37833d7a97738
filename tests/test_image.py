"""Every kind of picture that people have becomes upright sRGB; everything else one clear sentence."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageCms

from emotalk_cli.errors import InputError
from emotalk_cli.media import image


@pytest.fixture(scope="module")
def scene() -> Image.Image:
    """96×64 px: red left, green right half, blue top rows; smooth enough to survive JPEG."""
    pixels = np.zeros((64, 96, 3), np.uint8)
    pixels[:, :48], pixels[:, 48:], pixels[:16] = (200, 40, 40), (40, 200, 40), (40, 40, 200)
    return Image.fromarray(pixels)


def close(pixels: np.ndarray, scene: Image.Image, tolerance: float = 12) -> bool:
    return pixels.shape == np.asarray(scene).shape and np.abs(pixels.astype(int) - np.asarray(scene)).mean() < tolerance


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "bmp", "tiff", "gif", "ppm"])
def test_common_formats(tmp_path, scene, suffix):
    path = tmp_path / f"a b 'c' “ü”\n-.{suffix}"
    scene.save(path)
    pixels = image.load(path)
    assert pixels.dtype == np.uint8 and close(pixels, scene)


def test_the_content_counts_not_the_suffix(tmp_path, scene):
    scene.save(tmp_path / "photo.jpg", format="PNG")
    assert close(image.load(tmp_path / "photo.jpg"), scene, 0.1)


@pytest.mark.parametrize("mode", ["P", "L", "1", "RGBA", "CMYK", "YCbCr"])
def test_modes(tmp_path, scene, mode):
    path = tmp_path / ("a.jpg" if mode in ("CMYK", "YCbCr") else "a.png")
    scene.convert(mode).save(path)
    assert close(image.load(path), scene.convert(mode).convert("RGB"))


def test_cmyk_with_a_profile_that_does_not_fit_still_loads(tmp_path, scene):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    scene.convert("CMYK").save(tmp_path / "a.jpg", icc_profile=profile)
    assert close(image.load(tmp_path / "a.jpg"), scene)


def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path):
    ramp = np.linspace(0, 65535, 256).astype(np.uint16)[None].repeat(8, 0)
    Image.fromarray(ramp).save(tmp_path / "a.png")
    Image.fromarray(ramp).save(tmp_path / "a.tiff")
    for name in ("a.png", "a.tiff"):
        np.testing.assert_allclose(image.load(tmp_path / name)[0, :, 0], np.arange(256), atol=1)


@pytest.mark.parametrize("top", [1.0, 255.0])
def test_floating_point_grey(tmp_path, top):
    ramp = np.linspace(0, top, 256).astype(np.float32)[None].repeat(8, 0)
    Image.fromarray(ramp).save(tmp_path / "a.tiff")
    np.testing.assert_allclose(image.load(tmp_path / "a.tiff")[0, :, 0], np.arange(256), atol=1)


def test_transparency_is_laid_over_white(tmp_path):
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[:, 4:, 3] = 255
    Image.fromarray(pixels, "RGBA").save(tmp_path / "a.png")
    Image.fromarray(pixels[..., [0, 3]], "LA").save(tmp_path / "grey.png")
    keyed = Image.fromarray(pixels[..., 3] // 255, "P")
    keyed.putpalette([9, 9, 9, 0, 0, 0])
    keyed.save(tmp_path / "palette.png", transparency=0)
    for name in ("a.png", "grey.png", "palette.png"):
        loaded = image.load(tmp_path / name)
        assert (loaded[:, :4] == 255).all() and (loaded[:, 4:] == 0).all(), name


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path, scene, orientation):
    undo = {v: k for k, v in {2: 2, 3: 3, 4: 4, 5: 5, 6: 8, 7: 7, 8: 6}.items()}.get(orientation)
    stored = scene.transpose(image._TURNS[undo]) if undo else scene
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "a.jpg", exif=exif, quality=95)
    assert close(image.load(tmp_path / "a.jpg"), scene)


def test_nonsense_exif_is_ignored(tmp_path, scene):
    scene.save(tmp_path / "a.jpg", exif=b"Exif\0\0II*\0\xff\xff\xff\xffgarbage")
    assert close(image.load(tmp_path / "a.jpg"), scene)


@pytest.mark.parametrize("suffix", ["gif", "webp"])
def test_animation_gives_its_first_frame(tmp_path, scene, suffix):
    later = Image.new("RGB", scene.size, "white")
    scene.save(tmp_path / f"a.{suffix}", save_all=True, append_images=[later, later], duration=40)
    assert close(image.load(tmp_path / f"a.{suffix}"), scene)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_ten_thousand_pixels_are_scaled_down(tmp_path, suffix):
    Image.new("RGB", (10_000, 10_000), (180, 90, 60)).save(tmp_path / f"a.{suffix}")
    pixels = image.load(tmp_path / f"a.{suffix}")
    assert pixels.shape[0] == pixels.shape[1] and image.MAX_SIDE / 1.5 < len(pixels) <= image.MAX_SIDE
    assert np.abs(pixels[::500, ::500].astype(int) - (180, 90, 60)).max() <= 3


def test_decompression_bomb_is_refused_before_it_is_decoded(tmp_path):
    Image.new("1", (20_000, 20_000)).save(tmp_path / "bomb.png")
    with pytest.raises(InputError, match="million pixels"):
        image.load(tmp_path / "bomb.png")


def broken(folder, scene):
    """name -> expected words of the error."""
    scene.save(folder / "whole.png")
    scene.resize((960, 640)).save(folder / "whole.jpg")
    (folder / "cut.png").write_bytes((folder / "whole.png").read_bytes()[:-60])
    (folder / "cut.jpg").write_bytes((folder / "whole.jpg").read_bytes()[:2000])
    (folder / "empty.png").touch()
    (folder / "text.png").write_text("not a picture")
    (folder / "folder.png").mkdir()
    (folder / "postscript.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n")
    return {
        "missing.png": "does not exist",
        "cut.png": "damaged",
        "cut.jpg": "damaged",
        "empty.png": "is empty",
        "text.png": "not a picture",
        "folder.png": "is a folder",
        "postscript.eps": "not a picture",
    }


def test_unusable_files_give_one_sentence_that_names_them(tmp_path, scene):
    for name, words in broken(tmp_path, scene).items():
        with pytest.raises(InputError) as caught:
            image.load(tmp_path / name)
        message = str(caught.value)
        assert words in message and name in message and message.endswith(".") and "\n" not in message
