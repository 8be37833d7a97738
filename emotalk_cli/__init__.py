"""EmoTalk: one portrait, one speech recording and an emotion become a talking video.

from emotalk_cli import EmoTalk
talker = EmoTalk.load()
talker.generate("face.jpg", "speech.wav", "sadly surprised", out="video.mp4")
"""

import importlib
import os
from typing import TYPE_CHECKING, Any

# OpenMP's threads otherwise wait for each other at full speed: beside any other work (an encoder is enough) a frame
# then takes several times as long. Read when torch is imported; the user's own setting wins.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.2.0"
__all__ = [
    "EmoTalk",
    "EmoTalkError",
    "Emotion",
    "InputError",
    "Outputs",
    "Portrait",
    "Result",
    "Settings",
    "UsageError",
    "WeightsError",
    "__version__",
]

if TYPE_CHECKING:
    from .animate import Portrait
    from .api import EmoTalk
    from .emotions.emotion import Emotion
    from .errors import EmoTalkError, InputError, UsageError, WeightsError
    from .settings import Outputs, Result, Settings

_HOMES = {"EmoTalk": ".api", "Portrait": ".animate", "Emotion": ".emotions.emotion"}
_HOMES |= dict.fromkeys(("Outputs", "Result", "Settings"), ".settings")


def __getattr__(name: str) -> Any:  # late, so that `emotalk --version` need not import torch
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES.get(name, ".errors"), __name__), name)
