"""Blends of emotions in words: "happy:0.5+surprised:0.5"."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ..errors import UsageError

_BLEND = re.compile(r"\s*(?P<prompt>[^+:]*[^+:\s])\s*(?::\s*(?P<weight>\d*\.?\d+)\s*)?")


def parse_blend(text: str) -> dict[str, float]:
    """ "happy:0.5+surprised:0.5" -> {"happy": 0.5, "surprised": 0.5}; any other text -> {text: 1}.

    Parts without a weight count 1. Raises UsageError if the text is empty or no weight is positive.
    """
    text = text.strip()
    matches = [_BLEND.fullmatch(part) for part in text.split("+")]
    parts = [match for match in matches if match is not None]
    blend: dict[str, float] = {}
    if len(parts) == len(matches) and (len(parts) > 1 or parts[0]["weight"]):
        for part in parts:
            weight = 1.0 if part["weight"] is None else float(part["weight"])
            blend[part["prompt"]] = blend.get(part["prompt"], 0.0) + weight
    blend = blend or {text: 1.0}
    check_weights(blend)
    return blend


def check_weights(weights: Mapping[str, float]) -> None:
    if not all(prompt.strip() for prompt in weights):
        raise UsageError("The emotion prompt is empty; name an emotion, for example --emotion happy.")
    if not weights or min(weights.values()) < 0 or sum(weights.values()) <= 0:
        raise UsageError(
            "The emotion blend needs weights that are not negative and not all zero, as in happy:0.5+sad:0.5."
        )
