#!/usr/bin/env python3
"""Make one second of video in every format, and write what ffprobe and ffmpeg read of it to docs/formats.md.

python tools/format_table.py [--check]     --check: change nothing, exit code 1 if the table would be another

Needs ffprobe; takes a minute.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import wave
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from emotalk_cli import EmoTalk  # noqa: E402
from emotalk_cli.media.formats import STDOUT, STREAMED, SUFFIXES, Format, choose  # noqa: E402
from tools.marked import renew  # noqa: E402

DOCS = ROOT / "docs" / "formats.md"
PORTRAIT = ROOT / "examples" / "portrait.png"
SIZE, FPS, FRAMES = 128, 25, 25
TAGS = ("color_primaries", "color_transfer", "color_space", "color_range")
_TABLE = re.compile(r"(<!-- formats: .*? -->\n).*?(<!-- end of formats -->)", re.S)


def sound(path: Path) -> Path:
    """A second of a voice-like tone."""
    time = np.arange(16000 * FRAMES // FPS) / 16000
    samples = 0.4 * np.sin(2 * np.pi * 150 * time) * (np.sin(25 * time) > 0)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    return path


def made(talker: EmoTalk, speech: Path, out: Path, form: Format, alpha: bool, piped: bool) -> Path:
    """The video's file; of standard output, what came out of it."""
    background = "transparent" if alpha else "keep"
    if not piped:
        settings = {"size": SIZE, "fps": FPS, "background": background, "codec": form.name}
        talker.generate(PORTRAIT, speech, "happy", out=out, **settings)
        return out
    command = [sys.executable, "-m", "emotalk_cli", "generate", PORTRAIT, speech, "happy", "--out", str(STDOUT)]
    command += ["--size", str(SIZE), "--fps", str(FPS), "--background", background, "--codec", form.name]
    stream = subprocess.run([*command, "--generator", "geometry", "-q"], check=True, capture_output=True, cwd=ROOT)
    out.write_bytes(stream.stdout)
    return out


def probed(path: Path, form: Format) -> dict[str, str]:
    """What ffprobe says of a file, and the range of its alpha as ffmpeg decodes it."""
    number = ["-framerate", str(FPS)] if form.name == "png" else []
    decoder = ["-c:v", "libvpx-vp9"] if form.name == "vp9" else []  # the only one that reads its alpha
    command = ["ffprobe", "-v", "error", *number, "-count_frames", "-show_streams", "-show_format", "-of", "json"]
    told = json.loads(subprocess.run([*command, str(path)], check=True, capture_output=True).stdout)
    video = next(stream for stream in told["streams"] if stream["codec_type"] == "video")
    heard = [stream["codec_name"] for stream in told["streams"] if stream["codec_type"] == "audio"]
    command = ["ffmpeg", "-v", "error", *number, *decoder, "-i", str(path), "-map", "0:v", "-fps_mode", "passthrough"]
    raw = subprocess.run([*command, "-f", "rawvideo", "-pix_fmt", "rgba", "-"], check=True, capture_output=True)
    pixels = np.frombuffer(raw.stdout, np.uint8).reshape(-1, SIZE, SIZE, 4)
    if len(pixels) != int(video["nb_read_frames"]):
        raise ValueError(f"{path}: ffmpeg decodes {len(pixels)} frames, ffprobe counts {video['nb_read_frames']}")
    duration = told["format"].get("duration") or video.get("duration")
    profile = f" ({video['profile']})" if video.get("profile", "unknown") not in ("unknown", "Main 4:4:4") else ""
    tags = [video.get(name, "-") for name in TAGS]
    return {
        "picture": video["codec_name"] + profile,
        "sound": ", ".join(heard) or "none",
        "size": f"{video['width']}x{video['height']}",
        "frames": video["nb_read_frames"],
        "seconds": f"{float(duration):.2f}" if duration else "-",
        "alpha": f"{pixels[..., 3].min()} to {pixels[..., 3].max()}",
        "primaries, transfer, matrix, range": "-" if set(tags) <= {"-", "unknown"} else ", ".join(tags),
        "pixels": video["pix_fmt"],
    }


def table() -> str:
    """A row for each ending, codec and, where it has any, transparency."""
    talker = EmoTalk.load(device="cpu", generator="geometry")
    cases = [(suffix, codec, False) for suffix, codecs in SUFFIXES.items() for codec in codecs if suffix != ".m4v"]
    cases += [(str(STDOUT), codec, False) for codec in STREAMED]
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        speech = sound(folder / "speech.wav")
        for number, (suffix, codec, alpha) in enumerate(
            case for plain in cases for case in (plain, (*plain[:2], True)) if not case[2] or _clear(case[0], case[1])
        ):
            piped = suffix == str(STDOUT)
            out = folder / ("a-%03d.png" if suffix == ".png" else f"a{'.bin' if piped else suffix}")
            out = folder / str(number) / out.name
            out.parent.mkdir()
            form = choose(STDOUT if piped else out, codec, alpha)
            seen = probed(made(talker, speech, out, form, alpha, piped), form)
            if not rows:
                rows = [f"| `--out` | `--codec` | transparent | {' | '.join(seen)} |", "|" + "---|" * (3 + len(seen))]
            rows.append(f"| `{suffix}` | `{codec}` | {'yes' if alpha else ''} | {' | '.join(seen.values())} |")
            print(rows[-1], file=sys.stderr)
    return "\n".join(rows) + "\n"


def _clear(suffix: str, codec: str) -> bool:
    """Whether an output can be transparent."""
    return choose(STDOUT if suffix == str(STDOUT) else f"a-%d{suffix}", codec).clear is not None


if __name__ == "__main__":
    sys.exit(renew(DOCS, _TABLE, table))
