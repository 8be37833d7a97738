"""Who encodes H.264: x264 on the processor, or NVENC on an NVIDIA card; only a trial tells whether that works here."""

from __future__ import annotations

from ..errors import UsageError
from .ffmpeg import encodes
from .formats import NVENC, Format


def check(encoder: str, form: Format | None = None) -> None:
    """Raises UsageError where `encoder`, one of `formats.ENCODERS`, cannot be had, or cannot make `form`."""
    if encoder != "auto" and form is not None and not form.is_h264:
        raise UsageError(f"--encoder {encoder} makes H.264, not {form.name}; leave it out, or choose another output.")
    if encoder == "nvenc" and not encodes(NVENC):
        raise UsageError(
            "--encoder nvenc does not work here: it needs an NVIDIA card with a video encoder, its driver, and an "
            "ffmpeg that knows it; leave it out, or choose x264."
        )


def resolved(encoder: str, form: Format, device: str, size: tuple[int, int]) -> str:
    """What auto stands for: nvenc where frames are made by an NVIDIA card that encodes them, else x264; it stays auto
    where the format has one encoder only.

    device: of frames, such as cuda:0. size: (width, height) of frames, px. Raises UsageError where nvenc is asked for
    and makes no frames of that size.
    """
    if not form.is_h264:
        return "auto"
    if encoder == "auto":
        return "nvenc" if device.startswith("cuda") and encodes(NVENC, size) else "x264"
    if encoder == "nvenc" and not encodes(NVENC, size):
        raise UsageError(f"--encoder nvenc makes no frames of {size[0]}x{size[1]} px here; choose x264.")
    return encoder
