"""Pictures from files: whatever Pillow reads safely becomes upright sRGB of a sensible size.

Transparent pictures are laid over white unless their alpha channel is asked for, animations give their first frame,
16-bit and floating-point pictures are scaled rather than clipped, CMYK and wide-gamut pictures go through their ICC
profile.
"""

from __future__ import annotations

import io
import os
import warnings
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image, ImageCms, ImageOps

from ..errors import InputError, extra
from .files import check_input

HEIC = "HEIF"  # Pillow's name; read where the extra heic is installed
FORMATS = (HEIC, "JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "PPM", "JPEG2000")  # none calls a program
MAX_PIXELS = 175_000_000  # below Pillow's own decompression-bomb error at 179 million
MAX_EDGE = 65_535  # px; decoders keep a pointer for every row
MAX_FILE = 256 << 20  # bytes
MAX_MEMORY = 768 << 20  # bytes that decoding may take
MAX_SCANS = 100  # of a JPEG; progressive ones have about ten
MAX_SCANNED = 2_000_000_000  # pixels of all scans together
MAX_SIDE = 4096
_ADVICE = "give a JPEG, PNG or WebP picture"
_BANDED = 50_000_000  # pixels from which on a picture is converted and shrunk in bands
_BAND = 4_000_000  # pixels of one
# Bytes a pixel that decoders take at the most, all buffers together (measured); others: twice the pixel itself
_COSTS = {HEIC: 16, "WEBP": 16, "AVIF": 16, "JPEG2000": 20, "GIF": 8}
_USUAL = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")  # beginnings of JPEG and PNG
_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx")
_TURNS = {  # EXIF orientation -> what makes the picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def load(path: str | os.PathLike[str], max_side: int = MAX_SIDE, alpha: bool = False) -> np.ndarray:
    """Read a picture as uint8 [H, W, 3] sRGB, upright, at most `max_side` px on the longer side.

    alpha: keep the transparency of one that has any, as [H, W, 4], not premultiplied.

    Raises InputError (one sentence) if there is no such file, or it is no picture, damaged, or larger than the bounds
    above, which hold time and memory whatever the file says.
    """
    path = check_input(path, "picture")
    if path.stat().st_size > MAX_FILE:
        raise InputError(f"{path} is larger than {MAX_FILE >> 20} MiB; save it as JPEG or scale it down first.")
    try:
        file = open(path, "rb")
    except OSError as error:
        raise InputError(f"{path} cannot be opened ({error.strerror}); check its permissions.") from error
    with file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of large and of slightly damaged pictures; both are judged below
        return _decode(file, path, max_side, alpha)


def from_memory(picture: np.ndarray | Image.Image, max_side: int = MAX_SIDE, alpha: bool = False) -> np.ndarray:
    """The same for a picture in memory: Pillow's, or an array [H,W], [H,W,1], [H,W,3] or [H,W,4], uint8 or 0..1.

    Raises InputError for anything else.
    """
    if isinstance(picture, Image.Image):
        turned = ImageOps.exif_transpose(picture)
        return np.array(_srgb(_shrunk(_eight_bits(turned), max_side), alpha))
    if not isinstance(picture, np.ndarray):
        kind = type(picture).__name__
        raise InputError(f"A picture is a path, an array or one of Pillow's, not {kind}; convert it.")
    values = picture[..., 0] if picture.ndim == 3 and picture.shape[2] == 1 else picture
    if values.ndim not in (2, 3) or 0 in values.shape or (values.ndim == 3 and values.shape[2] not in (3, 4)):
        raise InputError(f"A picture has the shape [height, width, 3], not {list(picture.shape)}; rearrange it.")
    if values.dtype.kind == "f":
        if not np.isfinite(values).all() or values.min() < 0 or values.max() > 1:
            raise InputError("A picture of floating-point numbers holds 0 to 1; scale it.")
        values = np.round(values * 255).astype(np.uint8)
    elif values.dtype == np.uint16:
        values = (values >> 8).astype(np.uint8)
    elif values.dtype != np.uint8:
        raise InputError(f"A picture holds uint8, or floats from 0 to 1, not {values.dtype}; convert it.")
    return np.array(_srgb(_shrunk(Image.fromarray(np.ascontiguousarray(values)), max_side), alpha))


def split(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Pixels [H, W, 3 or 4] -> as seen over white [H, W, 3], and the alpha channel float32 [H, W] 0..1, if any."""
    if pixels.shape[2] == 3:
        return pixels, None
    shown = Image.alpha_composite(Image.new("RGBA", pixels.shape[1::-1], "white"), Image.fromarray(pixels))
    return np.array(shown.convert("RGB")), pixels[..., 3].astype(np.float32) / 255


def _decode(file: BinaryIO, path: Path, max_side: int, alpha: bool) -> np.ndarray:
    too_large = InputError(f"{path} has more than {MAX_PIXELS // 10**6} million pixels; scale it down first.")
    head = file.read(32)
    file.seek(0)
    if head.startswith(_USUAL):
        Image.preinit()
    else:
        Image.init()  # imports forty parsers
    if head[4:8] == b"ftyp" and any(brand in head for brand in _HEIC_BRANDS):
        with extra("heic", f"{path.suffix} ({path.name})"):
            import pillow_heif

            pillow_heif.register_heif_opener()
    try:
        image = Image.open(file, formats=[name for name in FORMATS if name in Image.OPEN])
    except Image.DecompressionBombError as error:
        raise too_large from error
    except Exception as error:  # Pillow's parsers raise nearly anything on bytes that are no picture
        raise InputError(f"{path} is not a picture that EmoTalk can read; {_ADVICE}.") from error
    if image.width * image.height > MAX_PIXELS:
        raise too_large
    if max(image.size) > MAX_EDGE:
        raise InputError(f"{path} is longer than {MAX_EDGE} pixels; scale it down first.")
    if image.format in ("JPEG", "MPO") and _too_many_scans(file, image.width * image.height):
        raise InputError(f"{path} would take too long to decode; save it again as a plain JPEG.")
    whole = image.width * image.height
    try:
        image.draft(None, (max_side, max_side))  # lets the JPEG decoder itself skip resolution
    except Exception as error:
        raise InputError(f"{path} is damaged or incomplete; {_ADVICE} that opens in a viewer.") from error
    if _cost(image, whole) > MAX_MEMORY:
        raise InputError(f"{path} needs more than {MAX_MEMORY >> 20} MiB to decode; scale it down first.")
    try:
        image.load()
        turn = _TURNS.get(_orientation(image))
        picture = _srgb(_shrunk(_eight_bits(_thinned(image, max_side)), max_side), alpha)
        return np.array(picture.transpose(turn) if turn is not None else picture)
    except Exception as error:  # as above, for damage further down the file
        raise InputError(f"{path} is damaged or incomplete; {_ADVICE} that opens in a viewer.") from error


def _too_many_scans(file: BinaryIO, pixels: int) -> bool:
    """Whether a JPEG goes over its pixels more often than one ever does. Leaves the file where it was."""
    place, scans, last = file.tell(), 0, b""
    file.seek(0)
    while block := file.read(1 << 20):
        scans += (last + block).count(b"\xff\xda")
        last = block[-1:]
    file.seek(place)
    return scans > MAX_SCANS or scans * pixels > MAX_SCANNED


def _cost(image: Image.Image, whole: int) -> int:
    """Bytes that decoding takes at the most. whole: pixels before `draft`."""
    pixels = image.width * image.height
    each = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2}.get(image.mode, 4)
    if image.format in ("JPEG", "MPO"):  # a progressive one keeps all coefficients, 16 bits each
        return pixels * each + (2 * whole * len(image.getbands()) if image.info.get("progressive") else 0)
    if image.format == "TIFF":
        return 2 * pixels * each
    return pixels * _COSTS.get(image.format or "", each)


def _thinned(image: Image.Image, max_side: int) -> Image.Image:
    """A very large picture shrunk by a whole factor to at most `max_side`, band by band, with eight bits and RGB(A)."""
    factor = -(-max(image.size) // max_side)
    if image.width * image.height < _BANDED or factor < 2:
        return image
    rows = max(1, _BAND // image.width // factor) * factor
    made: Image.Image | None = None
    top = _top(image)
    for start in range(0, image.height, rows):
        band = image.crop((0, start, image.width, min(start + rows, image.height)))
        band.info = image.info
        band = _eight_bits(band, top).reduce(factor)
        if made is None:
            made = Image.new(band.mode, (band.width, -(-image.height // factor)))
            made.info = {name: value for name, value in image.info.items() if name != "transparency"}
        made.paste(band, (0, start // factor))
    assert made is not None
    return made


def _top(image: Image.Image) -> float:
    """What white is in a picture of integers or floating-point numbers."""
    if image.mode != "F":
        return 65535.0
    highest = float(np.asarray(image.getextrema()).flat[1])
    return next((top for top in (1.0, 255.0) if highest <= top), 65535.0)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # nonsense in EXIF is no reason to refuse good pixels
        return 1


def _eight_bits(image: Image.Image, top: float | None = None) -> Image.Image:
    """Palettes resolved, bilevel, integer (16-bit) and floating-point greys scaled to 0..255. top: what white is."""
    if image.mode == "P" or "transparency" in image.info:
        return image.convert("RGBA" if "transparency" in image.info else "RGB")
    if image.mode == "1":
        return image.convert("L")
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        values = np.nan_to_num(np.asarray(image, dtype=np.float32))
        top = _top(image) if top is None else top
        return Image.fromarray(np.clip(values * (255.0 / top), 0, 255).astype(np.uint8))
    return image


def _shrunk(image: Image.Image, max_side: int) -> Image.Image:
    scale = max_side / max(image.size)
    if scale >= 1:
        return image
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)


def _srgb(image: Image.Image, alpha: bool = False) -> Image.Image:
    """RGB over white, through the embedded colour profile where there is one that fits; with `alpha`, RGBA where a
    picture has any transparency."""
    profile = image.info.get("icc_profile")
    if image.mode in ("PA", "LA", "La", "RGBa", "RGBA"):
        image = image.convert("RGBA")
        channel = image.getchannel("A")
        if alpha and channel.getextrema()[0] != 255:
            plain = image.convert("RGB")
            plain.info["icc_profile"] = profile
            kept = _srgb(plain)
            kept.putalpha(channel)
            return kept
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    if profile and image.mode in ("RGB", "CMYK", "L"):
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
            image = converted or image
        except (ImageCms.PyCMSError, OSError, ValueError):  # a profile that does not fit its picture
            pass
    return image.convert("RGB")
