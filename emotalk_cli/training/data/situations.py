"""Situations from a small grammar, for a teacher to label: "a mouse in the kitchen", "nervous before the exam"."""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Sequence

from . import lexicon
from .lexicon import split
from .prompts import Synset, senses

# Lexicographer files of the nouns that fill a place.
_NOUNS = {
    "thing": (4, 6, 10, 13, 15, 17, 20, 21, 23, 28),
    "artefact": (6,),
    "food": (13,),
    "animal": (5,),
    "body": (8,),
    "place": (6, 15),
    "event": (4, 11),
    "message": (10,),
}
_PERSONS = split("""
    my mother, my father, his boss, the teacher, her boyfriend, a stranger, the neighbour, our dog, the baby,
    grandpa, grandma, the doctor, two policemen, her best friend, my ex, the children, his wife, her husband, a
    colleague, the waiter, my sister, his brother, the boss, an old friend, the nurse, the crowd, the landlord, a
    beggar, a soldier, the queen, the dentist, a clown, the thief, the judge, a ghost, my team, the audience, an
    idiot, the cat, a girl, a boy
""")
_PATTERNS = split("""
    lost her {thing}, found a {thing}, broke the {artefact}, waiting for the {event}, waiting for the {artefact},
    his {thing} was stolen, somebody stole my {artefact}, got a new {artefact}, smelling {food}, eating {food},
    the {food} is cold, {food} on my shirt, hearing the {artefact}, afraid of {animal}, a {animal} in the {place},
    a {animal} on my {body}, bitten by a {animal}, holding a little {animal}, kissing {person}, {person} died,
    {person} is laughing at me, {person} shouted at her, {person} said thank you, missing {person}, waiting for
    {person}, laughing at {person}, angry with {person}, proud of {person}, in love with {person}, jealous of
    {person}, listening to {person}, scared of {person}, hiding from {person}, saying goodbye to {person},
    {person} lied to me, {person} hugged him, {person} is late again, {person} ignores me, arguing with {person},
    lying to {person}, {person} caught me, {person} saw me naked, {person} won the prize, meeting {person} again,
    comforting {person}, teasing {person}, begging {person}, thanking {person}, can't find the {artefact}, forgot
    the {thing}, forgot her {event}, won a {artefact}, won the {event}, lost the {event}, dreaming of {thing},
    looking at a {thing}, looking for the {artefact}, thinking about {thing}, thinking about {person}, tired of
    {thing}, sick of {person}, hates {thing}, loves {thing}, bored with {thing}, lying about the {thing}, caught
    with the {thing}, falling off the {artefact}, hurt his {body}, pain in the {body}, a cut on her {body}, burnt
    my {body}, lifting a {artefact}, fixing the {artefact}, reading about {thing}, reading a {message}, the
    {artefact} is broken again, the {artefact} exploded, the {artefact} is late, no more {food}, a hair in the
    {food}, the {event} was cancelled, the {event} was wonderful, the {event} was a disaster, first day of
    {event}, last day of the {event}, the end of the {event}, preparing the {event}, bored at the {event}, dancing
    at the {event}, nervous before the {event}, alone at the {event}, late for the {event}, a bad {event}, a good
    {event}, a strange {thing}, a beautiful {thing}, an ugly {thing}, a dirty {artefact}, a rotten {food}, a dead
    {animal}, a cute {animal}, an angry {animal}, stuck in the {place}, lost in the {place}, locked in the
    {place}, alone in the {place}, sleeping in the {place}, walking through the {place}, running to the {place}, a
    noise in the {place}, a fire in the {place}, blood on the {artefact}, somebody is in the {place}, a {adj}
    {thing}, a {adj} {event}, a {adj} {animal}, so {adj}, too {adj} for me, it is {adj}, that was {adj}, what a
    {adj} {thing}, {felt} about the {thing}, {felt} about {person}, {felt} with {person}, {felt} at the {event},
    {felt} in the {place}, too {felt} to speak, {felt} but trying to hide it, {felt} and {felt}, suddenly {felt},
    {felt} for no reason, {felt} after the {event}, {felt} before the {event}, {felt} because of the {thing}, a
    {felt} {animal}, the {felt} {someone}, {verb} the {thing}, trying to {verb}, wants to {verb}, afraid to
    {verb}, refuses to {verb}, about to {verb}, please {verb} me, don't {verb} me, why did you {verb} my
    {artefact}, i will {verb} you, she will {verb} it, let's {verb}, how to {verb} a {artefact}, they {verb} the
    {artefact}, we {verb} every day, he can't {verb} any more, happy to {verb}, tired of trying to {verb},
    watching {person} {verb}, watching a {event}, watching {animal}s, counting {artefact}s, buying {food}, cooking
    {food}, cleaning the {artefact}, opening the {artefact}, closing the {artefact}, painting a {thing}, the price
    of {food}, the colour of the {artefact}, news about the {event}, a story about a {animal}, a joke about
    {person}, a letter from {person}, a gift from {person}, a call from {person}, a fight with {person}, a date
    with {person}, a lesson about {thing}, a question about {thing}, explaining the {thing}, describing a
    {artefact}, the {thing} and the {artefact}, {thing}s on the {artefact}, a list of {thing}s, the history of
    {thing}, how {thing} works, a map of the {place}, number of {artefact}s, there is a {thing} in the {artefact},
    the {artefact} stands in the {place}, this is a {thing}
""")
_TAILS = split(
    "again, at night, in the morning, for the first time, after work, at school, in front of everyone, today,"
    "all alone, at last, by accident, on purpose, forever"
)
_TAILED = 0.7  # share of the situations with one of `_TAILS`


def situations(synsets: dict[str, Synset], frequent: Sequence[str], count: int, seed: int) -> list[str]:
    """`count` different phrases of `frequent` words, none of which is kept for measuring."""
    rng, known = random.Random(seed), senses(synsets)
    first = {word: known[word][0] for word in frequent if word in known}  # the commonest sense
    files = defaultdict(list)
    for word, key in first.items():
        files[key[0], synsets[key].lexfile].append(word)
    fillers = {name: [word for file in numbers for word in files["n", file]] for name, numbers in _NOUNS.items()}
    for name, pos in (("adj", "a"), ("verb", "v")):
        fillers[name] = [word for word, key in first.items() if key[0] == pos]
    fillers["person"] = _PERSONS
    fillers["someone"] = [re.sub(r"^(my|his|her|the|a|an|our|two) ", "", person) for person in _PERSONS]
    fillers["felt"] = [w for w in lexicon.words("state", "core", "more") if w.isascii() and w.isalpha() and w.islower()]
    found: dict[str, None] = {}
    while len(found) < count:
        text = re.sub(r"\{(\w+)\}", lambda place: rng.choice(fillers[place[1]]), rng.choice(_PATTERNS))
        if rng.random() < _TAILED:
            text = f"{text} {rng.choice(_TAILS)}"
        text = re.sub(r"\ba (?=[aeiou])", "an ", text)
        if not lexicon.is_measuring(text):
            found[text] = None
    return list(found)
