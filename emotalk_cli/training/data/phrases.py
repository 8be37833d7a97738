"""The many texts that the text tower learns from by its teacher: words, phrases of WordNet, things, situations."""

from __future__ import annotations

import random
import re
from pathlib import Path

from . import lexicon
from .prompts import COLOURS, CONCRETE, RELATIONAL, THINGS, WORDNET, Synset
from .situations import situations

NOUNS = {7, 12, 26}  # lexicographer files whose single words are taken: attributes, feelings, states
VERBS = {29, 32, 37, 39}  # body, communication, emotion, perception; with their inflections
FREQUENT = 22_000
_EXAMPLE = (2, 9, 60)  # words at least and at most, and letters at most, of an example phrase
_FRAMED = 0.5  # share of things that stand in a phrase


def inflections(verb: str) -> tuple[str, str]:
    """Regular -ed and -ing forms."""
    if verb.endswith("e"):
        return verb + "d", verb[:-1] + "ing"
    if verb.endswith("y") and verb[-2:-1] not in "aeiou":
        return verb[:-1] + "ied", verb + "ing"
    if re.fullmatch(r"[^aeiou]*[aeiou][^aeiouwxy]", verb):
        return verb + verb[-1] + "ed", verb + verb[-1] + "ing"
    return verb + "ed", verb + "ing"


def vocabulary(synsets: dict[str, Synset]) -> list[str]:
    """Words that may name a feeling or what it looks like, with inflected verbs."""
    found: dict[str, None] = {}
    for key, synset in synsets.items():
        pos, wanted = key[0], synset.lexfile
        for lemma in map(str.lower, synset.lemmas):
            if not re.fullmatch(r"[a-z][a-z' -]+", lemma):
                continue
            single = " " not in lemma
            verb = pos == "v" and wanted in VERBS and single
            if verb or (pos in "ar" and wanted != RELATIONAL) or (pos == "n" and wanted in NOUNS and single):
                found[lemma] = None
            if verb:
                found |= dict.fromkeys(inflections(lemma))
    return list(found)


def things(synsets: dict[str, Synset], count: int, seed: int) -> list[str]:
    """Concrete nouns, bare and in phrases that say nothing of feelings."""
    rng = random.Random(seed)
    frames = [*THINGS, *(f"a {colour} {{}}" for colour in COLOURS)]
    pool = [s.lemmas[0] for key, s in synsets.items() if key[0] == "n" and s.lexfile in CONCRETE]
    texts = (rng.choice(frames).format(name) if rng.random() < _FRAMED else name for name in rng.sample(pool, count))
    return [text for text in dict.fromkeys(texts) if not lexicon.is_measuring(text)]


def examples(folder: Path = WORDNET) -> list[str]:
    """WordNet's example phrases, in lower case."""
    least, most, letters = _EXAMPLE
    found: dict[str, None] = {}
    for name in ("adj", "adv", "noun", "verb"):
        for line in (folder / f"data.{name}").read_text(encoding="utf-8").splitlines():
            for phrase in re.findall(r'"([^"]+)"', line.partition(" | ")[2]):
                text = " ".join(phrase.lower().split()).strip(" .;")
                if least <= len(text.split()) <= most and len(text) < letters:
                    found[text] = None
    return list(found)


def frequent() -> list[str]:
    """The commonest English words, commonest first, by the package wordfreq."""
    from wordfreq import top_n_list

    return [word for word in top_n_list("en", FREQUENT + 4000) if re.fullmatch(r"[a-z]{3,}", word)][:FREQUENT]


def corpus(synsets: dict[str, Synset], folder: Path, words: list[str], seed: int) -> list[str]:
    """Every text of this module but `things`, without those that are labelled, and without phrases of measuring.

    Words of WordNet and frequent ones are taken as they come, so that some of measuring are read by the teacher too.
    """
    made = situations(synsets, words[:9000], 26_000, seed)
    known = {row["text"] for row in lexicon.table("words")}
    texts = dict.fromkeys([*examples(folder), *words, *made, *vocabulary(synsets)])
    return [text for text in texts if text not in known and (" " not in text or not lexicon.is_measuring(text))]
