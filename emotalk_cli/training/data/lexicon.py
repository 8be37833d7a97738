"""The words, phrases and scenes that supervise the text tower (`data/words.tsv`), and what is kept for measuring.

A label is a mixture such as "happy:0.6+surprised:0.4" of states of the atlas; what is missing to 1 is neutral. No text
that contains a measuring word or its stem is ever labelled in training.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from functools import cache
from importlib import resources

import numpy as np

from ...emotions.atlas import basics, states

CLEAN = "signs_clean"  # the table that is used for nothing but the reported figure
LABELS = (*states(), "unrelated")  # neutral first
_KEPT = "wearing wears bittersweet business number numbers woedend tranquilo impassibile"  # contain a stem by chance


def table(name: str) -> list[dict[str, str]]:
    """Rows of `training/<name>.tsv` as dictionaries."""
    text = resources.files(__package__).joinpath(f"{name}.tsv").read_text(encoding="utf-8")
    lines = (line for line in text.splitlines() if line and not line.startswith("#"))
    return list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))


@cache
def words(*groups: str) -> dict[str, str]:
    """Texts of some groups of the lexicon -> label, in the file's order."""
    return {row["text"]: row["label"] for row in table("words") if row["group"] in groups}


@cache
def measuring(group: str) -> list[tuple[str, str]]:
    """(text, label) of a group of `measuring.tsv`: held out, check, valence, unrelated, stem."""
    return [(row["text"], row["label"]) for row in table("measuring") if row["group"] == group]


@cache
def signs(name: str = "signs") -> dict[str, list[str]]:
    """Text -> the signs (`evaluation.meaning.SIGNS`) that its face should show; name: of the table."""
    return {row["text"]: row["signs"].split() for row in table(name)}


def stem(word: str) -> str:
    """A word without a common ending."""
    return re.sub(r"(?:ing|ed|ly|ness|ful|ous|ive|ion|s|y|e)$", "", word)


def forms() -> Iterator[tuple[str, str, str, str]]:
    """(basic emotion, adjective, adverb, noun)."""
    return ((row["emotion"], row["adjective"], row["adverb"], row["noun"]) for row in table("forms"))


def split(text: str) -> list[str]:
    """Comma-separated phrases, blanks normalised, duplicates removed, order kept."""
    return list(dict.fromkeys(" ".join(word.split()) for word in text.split(",") if word.strip()))


@cache
def _measuring() -> re.Pattern[str]:
    stems = "|".join(text.replace("-", "[- ]") for text, _ in measuring("stem"))
    kept = "|".join(_KEPT.split())
    check = []
    for word, _ in measuring("check"):
        start = re.sub(r"(?:ed|ing|ous|ful|ly|y|s|some|able|al)$", "", word)
        check.append(start if len(start) > 4 and word.isalpha() else rf"{word}\b")
    rare = "|".join(check).replace("-", "[- ]")
    phrases = [text for text in signs(CLEAN) if " " in text]
    own = "|".join(map(re.escape, [*signs(), *phrases]))
    alone = "|".join(stem(text) if len(stem(text)) > 3 else rf"{text}\b" for text in signs(CLEAN) if " " not in text)
    return re.compile(rf"\b(?:(?!(?:{kept})\b)(?:{stems}|{rare}|{alone})|(?:{own})(?!\w))", re.IGNORECASE)


def is_measuring(text: str) -> bool:
    """Whether a text contains a word (or a relative of one) that is kept for measuring."""
    return bool(_measuring().search(text))


def label(mixture: str) -> np.ndarray:
    """[L] weights over `LABELS` (sum 1) of "happy:0.6+surprised:0.4"; what is missing to 1 is neutral.

    Raises ValueError for an unknown state.
    """
    weights = np.zeros(len(LABELS), np.float32)
    for part in mixture.split("+"):
        name, _, weight = part.partition(":")
        weights[LABELS.index(name)] += float(weight or 1)
    weights[0] += max(0.0, 1 - weights.sum())
    return weights / weights.sum()


def classes(weights: np.ndarray) -> np.ndarray:
    """[..., 9] over `CLASSES` of weights [..., L] over `LABELS`."""
    shares = basics().numpy()
    found = weights[..., :-1] @ shares
    found[..., -1] += weights[..., -1]
    return found
