"""What a user should know of how an emotion was understood."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches

from ..constants import BASICS
from . import prototypes
from .emotion import Emotion

# Common words for what faces show, to guess at what a mistyped one was to be; any others work as well.
COMMON = tuple(
    "afraid alarmed amazed amused angry annoyed anxious ashamed astonished bitter bored calm cheerful confused content "
    "contempt cross curious dejected delighted depressed desperate disappointed disgusted disgust ecstatic elated "
    "embarrassed enraged excited fear fearful frightened frustrated furious gloomy glum grateful grief happiness happy "
    "heartbroken hopeful horrified hurt irritated jealous joy joyful lonely longing mad melancholy merry miserable "
    "nervous outraged panicked pleased proud rage relaxed relieved sad sadness scared serene serious shocked shy smug "
    "sorrow sorrowful surprise surprised tender terrified thoughtful tired upset worried".split()
)
_WORDS = 2  # in longer texts a strange word is no slip of the keyboard
_LIKENESS = 0.75  # of a mistyped word and the right one, as difflib measures it


def notes_on_emotion(emotion: Emotion, nearest: Mapping[str, float]) -> list[str]:
    """One sentence each. nearest: of `EmoTalk.nearest`."""
    first = next(iter(nearest), "")
    meant = _meant(emotion.label) if first in ("unrelated", "neutral") and is_text(emotion) else None
    if first == "unrelated" or meant is not None:
        hint = f" Did you mean '{meant}'?" if meant is not None else ""
        return [f"'{emotion.label}' names no emotion that EmoTalk knows; the face stays near neutral.{hint}"]
    return []


def is_text(emotion: Emotion) -> bool:
    """Whether words made it."""
    return emotion.origin is not None and emotion.origin[0] == "text"


def _meant(text: str) -> str | None:
    """The text with known words in the place of what is nearly one; None where nothing would change."""
    known = {*BASICS, *COMMON, *(word for name in prototypes.PROTOTYPES for word in name.split())}
    words = text.lower().split()
    if not 1 <= len(words) <= _WORDS:
        return None
    right = [word if word in known else (get_close_matches(word, known, 1, _LIKENESS) or [word])[0] for word in words]
    return " ".join(right) if right != words else None
