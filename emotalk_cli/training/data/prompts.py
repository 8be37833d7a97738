"""Labelled prompts for the text tower and EAC: lexicon × templates, degrees, negations, compounds, scenes.

`python -m emotalk_cli.training.data.prompts --out prompts.json` writes them as a list of
{prompt, mixture {state: weight}, unrelated, kind, split}.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...emotions.atlas import states
from . import lexicon
from .lexicon import LABELS, label, measuring, split

WORDNET = Path("/usr/share/wordnet")
# WordNet's lexicographer files that name things, not feelings.
CONCRETE = {5, 6, 8, 13, 15, 17, 20, 21, 23, 25, 27, 28}
RELATIONAL = 1  # adjectives such as "dental"

TEMPLATES = split("""feeling {}, a {} face, {} expression, a {} person, looking {}, in a {} mood, {} voice, she
        is {}, he feels {}, I am {}, they look {}, a {} look, sounding {}, he seems {}, {} emotion, a {} woman,
        a {} man, feel {}, speaking in a {} way, with a {} expression, a face that looks {}, she looks {} today,
        {}!, very {}, so {}, really {}""")
WEAKER = split(
    "slightly, a bit, a little, somewhat, mildly, faintly, vaguely, kind of, a touch, a little bit, barely, rather"
)
STRONGER = split("""very, extremely, so, really, utterly, totally, completely, absolutely, incredibly, deeply,
        intensely, overwhelmingly, insanely, truly, super, beyond, more than, thoroughly, exceedingly, terribly,
        awfully, very very""")
NEGATIONS = split("""not {}, not {} at all, not at all {}, not the least bit {}, isn't {}, is not {}, never {},
        no longer {}, not feeling {}, doesn't look {}, he is not {}, she isn't {} anymore, I am not {}, far from
        {}, anything but {}, don't be {}, not really {}, nobody is {}, hardly {}, not particularly {}, not {}
        anymore, not even a little {}""")
NOUNS = split("""{}, full of {}, filled with {}, overcome with {}, a look of {}, an expression of {}, with {},
        pure {}, in a fit of {}, a feeling of {}, barely contained {}, suppressed {}, deep {}, trembling with
        {}, speaking with {}, sheer {}""")
FEW_NOUNS = split("a hint of {}, a touch of {}, a trace of {}, hiding her {}, a little {}")
NO_NOUNS = split("without {}, no {}, without any {}, showing no {}, no sign of {}, not a trace of {}")
EQUAL = split("""{} and {}, {} but {}, {} yet {}, both {} and {}, {} mixed with {}, half {} half {}, {} but also {},
    {} & {}, {} + {}, torn between {} and {}""")
MORE = split("more {} than {}, mostly {} and a bit {}, {} with a hint of being {}, mainly {} but slightly {}")
ONLY_FIRST = split("{} but not {}, {} and not {}, {} rather than {}, {} instead of {}")
SCENES = split("""as if she had just {}, as if he had just {}, like someone who has just {}, having just {}, she
        has just {}, he has just {}, as though they had just {}, a person who has just {}, I have just {}, the
        look of someone who has {}""")
THINGS = split("""{}, a {}, the {}, a photo of a {}, two of the {}, the {} on the table, a big {}, a small {},
    the {} is here, an image of the {}""")
COLOURS = split(
    "red, green, yellow, brown, black, white, orange, purple, wooden, old, new, large, metal, round, cheap, French"
)

CALM = "content:0.12"  # what is left of a feeling that is denied
_OPPOSITES = {  # of states; of the others that are mostly happy or sad, the last two
    "bored": "interested:0.5",
    "indifferent": "interested:0.4",
    "interested": "bored:0.6",
    "confident": "doubtful:0.6",
    "proud": "ashamed:0.3",
    "relieved": "worried:0.5",
    "serene": "nervous:0.5",
    "hopeful": "resigned:0.5",
    "friendly": "stern:0.5",
    "impressed": "indifferent:0.6",
    "happy": "sad:0.45",
    "sad": "content:0.3",
}


@dataclass(frozen=True)
class Prompt:
    """A text, its weights over `lexicon.LABELS`, how it was made, and train or test."""

    text: str
    target: tuple[float, ...]
    kind: str
    split: str = "train"


@dataclass
class Synset:
    """One WordNet meaning: lemmas, lexicographer file, gloss, and pointers (symbol, key of the other synset)."""

    lemmas: list[str]
    lexfile: int
    gloss: str
    pointers: list[tuple[str, str]]


def wordnet(folder: Path = WORDNET) -> dict[str, Synset]:
    """All synsets of the WordNet 3 dictionary files, by "<pos><offset>" in file order."""
    synsets = {}
    for pos, name in (("a", "adj"), ("r", "adv"), ("n", "noun"), ("v", "verb")):
        for line in (folder / f"data.{name}").read_text(encoding="utf-8").splitlines():
            if line.startswith(" "):
                continue
            data, _, gloss = line.partition(" | ")
            fields = data.split()
            count = int(fields[3], 16)
            lemmas = [fields[4 + 2 * i].split("(")[0].replace("_", " ") for i in range(count)]
            rest = fields[5 + 2 * count :]
            pointers = [(rest[4 * i], rest[4 * i + 2] + rest[4 * i + 1]) for i in range(int(fields[4 + 2 * count]))]
            synsets[pos + fields[0]] = Synset(lemmas, int(fields[1]), gloss.split('; "')[0].strip(), pointers)
    return synsets


def senses(synsets: dict[str, Synset]) -> dict[str, list[str]]:
    """Lemma (lower case) -> the keys of its synsets."""
    table = defaultdict(list)
    for key, synset in synsets.items():
        for lemma in synset.lemmas:
            table[lemma.lower()].append(key)
    return table


def degree(target: np.ndarray, share: float) -> np.ndarray:
    """Weaker (share < 1) or stronger (share > 1) version of [L] weights: neutral gains or loses."""
    felt = target.copy()
    felt[0] = 0
    total = felt.sum()
    if total == 0 or target[-1] > 0.5:
        return target
    wanted = total * share if share <= 1 else 1 - (1 - total) / (1 + share)
    felt *= wanted / total
    felt[0] = 1 - wanted
    return felt


def graded(w: Tensor, share: Tensor) -> Tensor:
    """Weaker (share < 1) or stronger (> 1) versions of weights [B,L], as `degree` has them; share [B,1]."""
    felt = w.clone()
    felt[:, 0] = 0
    total = felt.sum(1, keepdim=True)
    wanted = torch.where(share <= 1, total * share, 1 - (1 - total) / (1 + share))
    felt = felt * wanted / total.clamp(min=1e-6)
    felt[:, 0] = 1 - wanted[:, 0]
    return torch.where((w[:, -1:] > 0.5) | (total == 0) | (share == 1), w, felt)


@cache
def negation() -> np.ndarray:
    """[L, L]: row i is what "not ..." means of label i."""
    rows = []
    for state in states().values():
        main = max(("happy", "sad"), key=lambda name: state.basics.get(name, 0.0))
        own = _OPPOSITES.get(state.name) or (_OPPOSITES[main] if state.basics.get(main, 0.0) >= 0.5 else CALM)
        rows.append(label(own if state.name != "neutral" else CALM))
    return np.stack([*rows, label("neutral")])


def negated(target: np.ndarray) -> np.ndarray:
    """Weights [L] of "not ...": the opposite of happy is mildly sad, of bored interested, of most things calm."""
    return target @ negation()


Table = dict[str, np.ndarray]  # text -> weights [L]


def words() -> Table:
    """Every labelled word or phrase of the lexicon's core."""
    return _labelled("state", "core", "face", "foreign")


def more_words() -> Table:
    """The wide vocabulary and the regular forms of all labelled words, without the core."""
    core, wide = words(), _labelled("more", "language")
    table: Table = {}
    for word, target in (core | wide).items():
        table |= dict.fromkeys((form for form in inflected(word) if not lexicon.is_measuring(form)), target)
    table |= wide
    return {word: target for word, target in table.items() if word not in core}


def foreign_words() -> set[str]:
    """Labelled words of other languages, and signs."""
    return set(lexicon.words("foreign", "language"))


def _labelled(*groups: str) -> Table:
    return {word: label(mixture) for word, mixture in lexicon.words(*groups).items()}


_ADVERB = ("ful", "ous", "ive", "less", "ing", "ant", "ent", "ish", "ed", "al")


def inflected(word: str) -> list[str]:
    """Regular forms of a single English adjective or participle: adverb, noun of quality.

    Only words of typical endings are formed, so that no nonsense is made of others.
    """
    if not re.fullmatch(r"[a-z]{5,}", word):
        return []
    if word.endswith(_ADVERB):
        adverb = word + "ly"
        return [adverb] + ([word + "ness"] if word.endswith(("ful", "ous", "less", "ish", "ive")) else [])
    if re.fullmatch(r"[a-z]+[^aeiou]y", word) and not word.endswith(
        ("ly", "ity", "ary", "ory", "ry", "ogy", "phy", "thy")
    ):
        return [word[:-1] + "ily", word[:-1] + "iness"]
    return []


def build(synsets: dict[str, Synset], seed: int = 0) -> list[Prompt]:
    """All labelled prompts, training and test; the same for the same seed."""
    rng = random.Random(seed)
    table = words()
    foreign = foreign_words()
    short = [w for w in table if w not in foreign and len(w.split()) <= 2]
    prompts: dict[str, Prompt] = {}

    def add(text: str, target: np.ndarray, kind: str) -> None:
        if not lexicon.is_measuring(text):
            prompts.setdefault(text, Prompt(text, tuple(np.round(target.astype(float), 4).tolist()), kind))

    for word, target in table.items():
        add(word, target, "foreign" if word in foreign else "word")
        for template in rng.sample(TEMPLATES, 5 if word not in foreign else 2):
            add(template.format(word), target, "template")
    for word in short:
        for text in rng.sample(WEAKER, 2):
            add(f"{text} {word}", degree(table[word], 0.6), "degree")
        for text in rng.sample(STRONGER, 3):
            add(f"{text} {word}", degree(table[word], 1.5), "degree")
        for text in rng.sample(NEGATIONS, 5):
            add(text.format(word), negated(table[word]), "negation")
        add(f"not very {word}", 0.5 * negated(table[word]) + 0.5 * degree(table[word], 0.3), "negation")
    _forms(table, rng, add)
    felt = [w for w in short if table[w][0] < 0.6]
    for _ in range(6000):
        one, two = rng.sample(felt, 2)
        kind = rng.random()
        if kind < 0.7:
            add(rng.choice(EQUAL).format(one, two), 0.5 * table[one] + 0.5 * table[two], "compound")
        elif kind < 0.85:
            add(rng.choice(MORE).format(one, two), 0.68 * table[one] + 0.32 * table[two], "compound")
        else:
            add(rng.choice(ONLY_FIRST).format(one, two), table[one], "negation")
    for scene, target in _labelled("scene").items():
        for template in [SCENES[0], *rng.sample(SCENES, 5)]:
            add(template.format(scene), target, "scene")
        add(scene, target, "scene")
    for phrase, target in _labelled("phrase").items():
        add(phrase, target, "word")
    for word, target in more_words().items():
        add(word, target, "foreign" if word in foreign else "word")
    _unrelated(synsets, table, rng, add)
    _felt_things(synsets, table, short, rng, add)
    return [*prompts.values(), *_test()]


def _forms(table: Table, rng: random.Random, add: Callable) -> None:
    """The basic emotions' commonest words in every grammar, and in pairs."""
    forms = list(lexicon.forms())
    for basic, adjective, adverb, noun in forms:
        target = table.get(adjective, label(basic))
        add(adverb, target, "word")
        for text in NEGATIONS:
            add(text.format(adjective), negated(target), "negation")
        for text in TEMPLATES:
            add(text.format(adjective), target, "template")
        for text in NOUNS:
            add(text.format(noun), target, "noun")
        for text in FEW_NOUNS:
            add(text.format(noun), degree(target, 0.55), "degree")
        for text in NO_NOUNS:
            add(text.format(noun), negated(target), "negation")
        for other, adjective2, adverb2, noun2 in forms:
            if other == basic:
                continue
            second = table.get(adjective2, label(other))
            both = 0.5 * target + 0.5 * second
            add(f"{adverb2} {adjective}", both, "compound")
            add(f"{adverb} {adjective2}", both, "compound")
            add(rng.choice(EQUAL).format(adjective, adjective2), both, "compound")
            nouns = (f"{noun} and {noun2}", f"a mixture of {noun} and {noun2}", f"{noun} mixed with {noun2}")
            add(rng.choice(nouns), both, "compound")
            add(rng.choice(MORE).format(adjective, adjective2), 0.68 * target + 0.32 * second, "compound")
            add(f"{adjective} with a hint of {noun2}", 0.72 * target + 0.28 * second, "compound")
            add(rng.choice(ONLY_FIRST).format(adjective, adjective2), target, "negation")
            add(f"not {adjective2} but {adjective}", target, "negation")


def _unrelated(synsets, table, rng, add) -> None:
    none = label("unrelated")
    for thing in lexicon.words("unrelated"):
        add(thing, none, "unrelated")
        add(f"{rng.choice(COLOURS)} {thing}", none, "unrelated")
        add(rng.choice(THINGS).format(thing), none, "unrelated")
    pool = [(k, s) for k, s in synsets.items() if k[0] == "n" and s.lexfile in CONCRETE]
    for _, synset in rng.sample(pool, 12_000):
        lemma = synset.lemmas[0]
        if lemma.lower() in table:
            continue
        add(rng.choice(THINGS).format(lemma), none, "unrelated")
        if rng.random() < 0.3:
            add(f"{rng.choice(COLOURS)} {lemma}", none, "unrelated")
        if rng.random() < 0.2 and len(synset.gloss.split()) < 10:
            add(synset.gloss, none, "unrelated")
        if rng.random() < 0.15:
            add(f"not a {lemma}", none, "unrelated")


def _felt_things(synsets, table, short, rng, add) -> None:
    """A feeling said of a person or animal is that feeling."""
    people = [s.lemmas[0] for k, s in synsets.items() if k[0] == "n" and s.lexfile == 18 and " " not in s.lemmas[0]]
    common = split(
        "boy, girl, man, woman, child, dog, clown, teacher, king, old man, baby, doctor, soldier, mother, father, cat"
    )
    for word in short:
        thing = rng.choice(common if rng.random() < 0.5 else people)
        add(f"a {word} {thing}", degree(table[word], 0.9), "template")


def _test() -> list[Prompt]:
    """Held-out words, bare and in three templates."""
    result = []
    for word, basic in measuring("held out"):
        for template in ("{}", *TEMPLATES[:3]):
            result.append(Prompt(template.format(word), tuple(label(basic).tolist()), "word", "test"))
    return result


def as_dict(prompt: Prompt) -> dict:
    """JSON form: mixture without zeros, the unrelated share counted as neutral."""
    weights = dict(zip(LABELS, prompt.target, strict=True))
    unrelated = weights.pop("unrelated")
    weights["neutral"] += unrelated
    mixture = {name: round(weight, 4) for name, weight in weights.items() if weight > 0}
    return {
        "prompt": prompt.text,
        "mixture": mixture,
        "unrelated": unrelated > 0.5,
        "kind": prompt.kind,
        "split": prompt.split,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=WORDNET, help="WordNet dictionary folder")
    options = parser.parse_args()
    prompts = build(wordnet(options.data))
    options.out.write_text(json.dumps([as_dict(p) for p in prompts], indent=0, ensure_ascii=False))
    print(f"{len(prompts)} prompts")


if __name__ == "__main__":
    main()
