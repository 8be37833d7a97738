"""EmoTalk as a library: load once, reuse a portrait, write files or take frames as they are made.

python examples/library.py [FOLDER]
"""

import sys
from pathlib import Path

from emotalk_cli import EmoTalk

examples = Path(__file__).resolve().parent
folder = Path(sys.argv[1] if len(sys.argv) > 1 else "out")
folder.mkdir(parents=True, exist_ok=True)

talker = EmoTalk.load(generator="geometry")
portrait = talker.portrait(examples / "portrait.png")

for emotion in ("happy", "sadly surprised"):
    result = talker.generate(portrait, examples / "speech.wav", emotion, out=folder / f"{emotion}.mp4", size=256)
    print(f"{result.out}: {result.frames} frames in {result.elapsed:.1f} s, closest to {result.nearest}")

frames = talker.frames(portrait, examples / "speech.wav", "angry", intensity=3)
print("first of the angry frames:", next(frames).shape)
