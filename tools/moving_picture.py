#!/usr/bin/env python3
"""Make the README's moving picture: the shipped portrait says the shipped sentence with four emotions, without sound.

python tools/moving_picture.py [OUT.webp]      (default: examples/moving.webp; below 2 MB)
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from emotalk_cli import EmoTalk  # noqa: E402
from emotalk_cli.media.audio import load  # noqa: E402

EMOTIONS = ("neutral", "happy", "angry", "sadly surprised")
SECONDS, RATE, SIZE = 3.2, 12.5, 224  # of the sentence; frames/s; px of each face


def captioned(frame: np.ndarray, text: str) -> np.ndarray:
    """The frame with a word below it."""
    picture = Image.new("RGB", (frame.shape[1], frame.shape[0] + 24), "white")
    picture.paste(Image.fromarray(frame))
    font = ImageFont.load_default(size=15)
    ImageDraw.Draw(picture).text((frame.shape[1] / 2, frame.shape[0] + 12), text, "black", font, anchor="mm")
    return np.asarray(picture)


def main(out: Path) -> None:
    """Write the picture."""
    talker = EmoTalk.load()
    portrait, sound = (
        talker.portrait(ROOT / "examples" / "portrait.png"),
        load(ROOT / "examples" / "speech.wav", SECONDS),
    )
    films = [
        [
            captioned(frame, emotion)
            for frame in talker.frames(portrait, sound, emotion, size=SIZE, fps=RATE, intensity=2.5)
        ]
        for emotion in EMOTIONS
    ]
    frames = [Image.fromarray(np.concatenate(parts, 1)) for parts in zip(*films, strict=True)]
    milliseconds = round(1000 / RATE)
    frames[0].save(out, save_all=True, append_images=frames[1:], duration=milliseconds, loop=0, quality=72, method=4)
    print(f"{out}: {len(frames)} frames of {frames[0].width}x{frames[0].height}, {out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "examples" / "moving.webp")
