"""EmoTalk: one portrait, one speech recording and an emotion become a talking video.

from emotalk_cli import EmoTalk
talker = EmoTalk.load()
talker.generate("face.jpg", "speech.wav", "sadly surprised", out="video.mp4")
"""

import os

# OpenMP's threads otherwise wait for each other at full speed: beside any other work (an encoder is enough) a frame
# then takes several times as long. Read when torch is imported; the user's own setting wins.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"
__all__ = ["EmoTalk", "EmoTalkError", "__version__"]


def __getattr__(name: str):  # lazily, so that `emotalk --version` need not import torch
    if name == "EmoTalk":
        from .api import EmoTalk

        return EmoTalk
    if name == "EmoTalkError":
        from .errors import EmoTalkError

        return EmoTalkError
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
