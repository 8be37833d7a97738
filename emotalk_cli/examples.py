"""The example portrait and speech that come with EmoTalk, wherever it is installed."""

from __future__ import annotations

from pathlib import Path

from .errors import EmoTalkError


def example(name: str) -> Path:
    """portrait.png or speech.wav: in the wheel beside the package's modules, in a checkout beside the package.

    Raises EmoTalkError if it is missing.
    """
    package = Path(__file__).resolve().parent
    for folder in (package / "examples", package.parent / "examples"):
        if (folder / name).is_file():
            return folder / name
    raise EmoTalkError(f"The example {name} is missing; reinstall emotalk.")
