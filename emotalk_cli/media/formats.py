"""Formats of videos: what a file's ending or a codec's name means, who encodes it, and which can be transparent."""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path

from ..errors import UsageError

STDOUT = Path("-")
FILMS = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".flv", ".wmv",
         ".3gp", ".ogv", ".mxf")  # fmt: skip
THREADS = 2  # fixed, because the output of some encoders depends on it
GROUP = 25  # frames at most between those from which a stream can be entered
_AAC = ("-codec:a", "aac", "-b:a", "160k")
_H264 = (
    "-codec:v",
    "libx264",
    "-preset",
    "veryfast",
    "-crf",
    "15",
)  # visually lossless for faces, in half of the time of "fast"
NVENC = "h264_nvenc"
_NVENC = ("-codec:v", NVENC, "-preset", "p4", "-rc", "constqp", "-qp", "19")
_PALETTE = "split[a][b];[a]palettegen=stats_mode=single[p];[b][p]paletteuse=new=1"  # one a frame: memory stays constant
_BT709 = (
    "scale=out_color_matrix=bt709:out_range=tv:flags=accurate_rnd+full_chroma_int+bitexact,format={},"
    "setparams=range=tv:colorspace=bt709:color_primaries=bt709:color_trc=bt709"
)
_TAGS = ("-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709", "-color_range", "tv")


@dataclasses.dataclass(frozen=True)
class Format:
    """One way to write a video.

    name: of the codec. container: ffmpeg's name of it. suffix: of a part. video, sound: ffmpeg's arguments; sound is
    None where there is none. pixels, clear: its format of pixels, and the one with alpha (None: it knows no
    transparency). pieces: whether parts of it can be joined without encoding them again. demuxer: that reads it, where
    the usual ones do not. mux: more of ffmpeg's arguments, of the container.
    """

    name: str
    container: str
    suffix: str
    video: tuple[str, ...]
    sound: tuple[str, ...] | None
    pixels: str
    clear: str | None = None
    pieces: bool = True
    demuxer: str = ""
    mux: tuple[str, ...] = ()

    @property
    def is_h264(self) -> bool:
        """Whether its video is H.264, which more than one encoder makes."""
        return self.video[: len(_H264)] == _H264

    @property
    def on_card(self) -> bool:
        """Whether a card encodes it."""
        return NVENC in self.video

    def encoded_by(self, encoder: str) -> Format:
        """The same by another of the `ENCODERS`; formats that are no H.264 know one."""
        if encoder != "nvenc" or not self.is_h264:
            return self
        return dataclasses.replace(self, video=(*_NVENC, *self.video[len(_H264) :]))

    def encoding(self, alpha: bool) -> list[str]:
        """ffmpeg's arguments that make its video of frames, which have an alpha channel or none."""
        pixels = self.clear if alpha and self.clear is not None else self.pixels
        if self.name == "gif":
            return ["-filter:v", _PALETTE, *self.video]
        if self.name in ("apng", "png"):
            return ["-filter:v", f"format={pixels}", *self.video]
        more = ["-auto-alt-ref", "0"] if self.name == "vp9" and alpha else []
        return ["-filter:v", _BT709.format(pixels), *self.video, *more, *_TAGS, "-threads", str(THREADS)]

    def muxing(self, alpha: bool) -> list[str]:
        """ffmpeg's arguments that choose and describe the container."""
        described = ["-metadata:s:v:0", "alpha_mode=1"] if self.name == "vp9" and alpha else []
        return [*self.mux, *described, "-f", self.container]


_FAST_START = ("-movflags", "+faststart")
_VP9 = ("-codec:v", "libvpx-vp9", "-crf", "18", "-b:v", "0", "-deadline", "good", "-cpu-used", "4", "-row-mt", "1")
_H265 = ("-codec:v", "libx265", "-preset", "fast", "-crf", "19", "-tag:v", "hvc1", "-x265-params",
         f"log-level=error:pools={THREADS}:frame-threads={THREADS}")  # fmt: skip
FORMATS = {
    made.name: made
    for made in (
        Format("h264", "mp4", ".mp4", _H264, _AAC, "yuv420p", mux=_FAST_START),
        Format("h265", "mp4", ".mp4", _H265, _AAC, "yuv420p", mux=_FAST_START),
        Format("vp9", "webm", ".webm", _VP9, ("-codec:a", "libopus", "-b:a", "128k"), "yuv420p", "yuva420p"),
        Format(
            *("prores", "mov", ".mov", ("-codec:v", "prores_ks", "-profile:v", "4444", "-vendor", "apl0")),
            *(("-codec:a", "pcm_s16le"), "yuv444p10le", "yuva444p10le"),
        ),
        Format("mpegts", "mpegts", ".ts", (*_H264, "-g", str(GROUP)), _AAC, "yuv420p", pieces=False),
        Format("gif", "gif", ".gif", ("-codec:v", "gif"), None, "rgb24", "rgba", pieces=False, demuxer="gif"),
        Format(
            *("apng", "apng", ".apng", ("-codec:v", "apng", "-plays", "0"), None, "rgb24", "rgba"),
            pieces=False,
            demuxer="apng",
        ),
        Format(
            *("png", "image2", ".png", ("-codec:v", "png", "-start_number", "1"), None, "rgb24", "rgba"),
            pieces=False,
        ),
    )
}
CODECS = ("auto", *FORMATS)
ENCODERS = ("auto", "x264", "nvenc")
SUFFIXES = {  # ending of a file -> codecs that it may hold, the usual one first
    ".mp4": ("h264", "h265"),
    ".m4v": ("h264", "h265"),
    ".mov": ("h264", "h265", "prores"),
    ".webm": ("vp9",),
    ".ts": ("mpegts",),
    ".gif": ("gif",),
    ".apng": ("apng",),
    ".png": ("png",),
}
STREAMED = ("h264", "h265", "vp9", "mpegts")  # what a pipe can hold
_FRAGMENTS = ("-movflags", "+frag_keyframe+empty_moov+default_base_moof", "-frag_duration", "500000")


def choose(out: str | os.PathLike[str], codec: str = "auto", alpha: bool = False) -> Format:
    """The format of an output: by its ending, or the codec of that name; `-` is standard output, a name with a number
    such as frame-%06d.png a sequence.

    alpha: whether frames are to be transparent. Raises UsageError where these do not fit each other.
    """
    suffix, piped = Path(out).suffix.lower(), os.fspath(out) == str(STDOUT)
    known = STREAMED if piped else SUFFIXES.get(suffix, ())
    if not known:
        raise UsageError(f"{out} must end in {', '.join(SUFFIXES)}; change the output name.")
    name = codec
    if codec == "auto":
        name = "vp9" if piped and alpha else "prores" if suffix == ".mov" and alpha else known[0]
    if name not in known:
        fitting = " or ".join(ending for ending, held in SUFFIXES.items() if name in held)
        where = "Standard output" if piped else f"A {suffix} file"
        raise UsageError(
            f"{where} cannot hold --codec {codec}; choose {' or '.join(known)}, or an output in {fitting}."
        )
    if suffix == ".png" and not is_sequence(out):
        raise UsageError(f"{out} names one picture; number them, such as {Path(out).stem}-%06d.png, or name a folder.")
    found = FORMATS[name]
    if alpha and found.clear is None:
        clear = ", ".join(ending for ending, held in SUFFIXES.items() if any(FORMATS[n].clear for n in held))
        raise UsageError(f"--background transparent needs an output in {clear}; {name} knows no transparency.")
    if piped:
        moving = found.container == "mp4"
        return dataclasses.replace(
            found, pieces=False, video=(*found.video, "-g", str(GROUP)), mux=_FRAGMENTS if moving else ()
        )
    if suffix == ".mov":
        found = dataclasses.replace(found, container="mov", suffix=suffix)
    return found


def is_film(face: object) -> bool:
    """Whether a face is given as the name of a film."""
    return isinstance(face, str | os.PathLike) and Path(face).suffix.lower() in FILMS


def is_sequence(out: str | os.PathLike[str]) -> bool:
    """Whether an output is a numbered picture: its name holds the place of a number, such as %06d, and ends in .png."""
    return re.fullmatch(r"[^%]*%(0?\d\d?)?d[^%]*\.png", Path(out).name, re.IGNORECASE) is not None


def numbered(out: Path, number: int) -> Path:
    """The file of one frame of a sequence, from 1."""
    return out.with_name(out.name % number)
