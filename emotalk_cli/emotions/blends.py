"""Blends of emotions in words: "happy:0.5+surprised:0.5"."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ..errors import UsageError

MAX_TEXT = 1000  # characters of an emotion in words
MAX_PARTS = 32  # of a blend
MIN_WEIGHT, MAX_WEIGHT = 1e-6, 1e6  # of all parts together
_SIDE = re.compile(
    r"\b(?:on|to|with) (?:(?:the|her|his|their|my|your|its|one's) )?(left|right)\b"
    r"|\b(left|right)[- ](?:side|sided|hand|corner|half|brow|eyebrow|eye|cheek)\b",
    re.IGNORECASE,
)
_BLEND = re.compile(r"\s*(?P<prompt>[^+:]*[^+:\s])\s*(?::\s*(?P<weight>\d*\.?\d+)\s*)?")

_ODD_WEIGHT = re.compile(r":\s*-?(\d[\d.,]*(e-?\d*)?|nan|inf(inity)?)\s*$", re.IGNORECASE)
_WEIGHTS = "The emotion blend needs plain weights that are not negative and not all zero, as in happy:0.5+sad:0.5."


def parse_blend(text: str) -> dict[str, float]:
    """ "happy:0.5+surprised:0.5" -> {"happy": 0.5, "surprised": 0.5}; any other text -> {text: 1}.

    Parts without a weight count 1. Raises UsageError if the text is empty or no weight is positive.
    """
    text = text.strip()
    if len(text) > MAX_TEXT:
        raise UsageError(f"The emotion has more than {MAX_TEXT} characters; describe it in a few words.")
    if text.count("+") >= MAX_PARTS:
        raise UsageError(f"The emotion blend has more than {MAX_PARTS} parts; leave some out.")
    if "\0" in text:
        raise UsageError("The emotion holds a character that is no text; describe it in a few words.")
    matches = [_BLEND.fullmatch(part) for part in text.split("+")]
    parts = [match for match in matches if match is not None]
    blend: dict[str, float] = {}
    if len(parts) == len(matches) and (len(parts) > 1 or parts[0]["weight"]):
        for part in parts:
            weight = 1.0 if part["weight"] is None else float(part["weight"])
            blend[part["prompt"]] = blend.get(part["prompt"], 0.0) + weight
    if not blend and any(_ODD_WEIGHT.search(part) for part in text.split("+")):
        raise UsageError(_WEIGHTS)
    blend = blend or {text: 1.0}
    check_weights(blend)
    return blend


def check_weights(weights: Mapping[str, float]) -> None:
    if not all(prompt.strip() for prompt in weights):
        raise UsageError("The emotion prompt is empty; name an emotion, for example --emotion happy.")
    total = sum(weights.values())
    if not weights or min(weights.values()) < 0 or not MIN_WEIGHT <= total <= MAX_WEIGHT:
        raise UsageError(_WEIGHTS)


def side_of(text: str) -> str | None:
    """ "left" or "right" where a text says on which side, the subject's own, a one-sided expression is to be."""
    found = _SIDE.search(text)
    return (found[1] or found[2]).lower() if found else None
