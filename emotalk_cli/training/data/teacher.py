"""The text tower's teacher: a sentence embedder, and heads on it that know our labels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...emotions import atlas
from . import arrays, lexicon
from .prompts import CONCRETE, Synset, label, senses

EMBEDDER = "sentence-transformers/all-mpnet-base-v2"  # Apache-2.0; its name at the hub, or a folder that holds it
LABELS = len(lexicon.LABELS)
COARSE = ("core", "more", "phrase", "scene", "face")  # groups of the lexicon that know basic emotions only
_STEPS, _BATCH = 1400, 384
_LOYAL = 7.0  # weight of the basic emotions' agreement where a label knows no more than them
_OWN = 0.72  # of a label beside what the heads make of its words, which gives words of one state faces of their own
_SHARP = 1.25  # power of the weights of texts without a label
_WORDNET = 4.0  # weight of the agreement with what WordNet says of a word
_GLOSSES = (0.4, 0.15)  # weights of the glosses of a word's commonest senses; its neighbours' labels have at most:
_NEIGHBOURS = 0.8


class Embedder:
    """A sentence embedder with a cache on disk (path): texts -> unit vectors [N,width]."""

    def __init__(self, path: Path, model: str = EMBEDDER) -> None:
        self.path, self.model = path, model
        self.rows: dict[str, np.ndarray] = {}
        if self.path.exists():
            file = np.load(self.path)
            self.rows = dict(zip(file["texts"].tolist(), file["vectors"], strict=True))

    def __call__(self, texts: list[str]) -> Tensor:
        missing = sorted({text for text in texts if text not in self.rows}, key=len)
        if missing:
            from sentence_transformers import SentenceTransformer

            model = SentenceTransformer(self.model, device="cpu")
            vectors = model.encode(missing, batch_size=64, normalize_embeddings=True)
            self.rows |= dict(zip(missing, vectors.astype(np.float16), strict=True))
            self.path.parent.mkdir(parents=True, exist_ok=True)
            arrays.save(self.path, {"texts": np.array(list(self.rows)), "vectors": np.stack(list(self.rows.values()))})
        return torch.from_numpy(np.array([self.rows[text] for text in texts], np.float32))


class Head(nn.Module):
    """Embedding [B,width] -> logits over the labels."""

    def __init__(self, width: int, hidden: int = 320) -> None:
        super().__init__()
        self.scale = 0.5 * width**0.5
        self.layers = nn.Sequential(
            nn.Dropout(0.1), nn.Linear(width, hidden), nn.GELU(), nn.Dropout(0.35), nn.Linear(hidden, LABELS)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x * self.scale)


def shares() -> Tensor:
    """[L,9]: the share of each of `atlas.CLASSES` in each label."""
    return torch.cat([atlas.basics(), torch.eye(len(atlas.CLASSES))[-1:]])


def train_head(x: Tensor, target: Tensor, coarse: Tensor, weight: Tensor, seed: int, steps: int = _STEPS) -> Head:
    """A head for embeddings x [N,width] with labels [N,L], of which `coarse` [N] know basic emotions only.

    weight [N]: how often each is drawn. A third of the batches mixes any two texts.
    """
    torch.manual_seed(seed)
    head, basics = Head(x.shape[1]), shares()
    optimiser = torch.optim.AdamW(head.parameters(), 1e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2.5e-3, steps)
    for step in range(steps):
        rows = torch.multinomial(weight, _BATCH, replacement=True)
        given, wanted, rough = x[rows], target[rows], coarse[rows]
        if step % 3 == 0:
            share, other = 0.5 * torch.rand(_BATCH, 1), torch.randperm(_BATCH)
            given = F.normalize((1 - share) * given + share * given[other], dim=1)
            wanted, rough = (1 - share) * wanted + share * wanted[other], rough | rough[other]
        given = F.normalize(given + 0.02 * torch.randn_like(given), dim=1)
        p = head(given).softmax(1)
        fine = -(wanted * (p + 1e-7).log()).sum(1)
        basic = -((wanted @ basics) * (p @ basics + 1e-7).log()).sum(1)
        loss = torch.where(rough, basic, fine + 0.5 * basic).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return head.eval()


def labelled() -> tuple[list[str], Tensor, Tensor]:
    """English texts of the lexicon, their labels [N,L], and which of them [N] know basic emotions only."""
    groups = {group: lexicon.words(group) for group in ("state", *COARSE, "unrelated")}
    texts = [text for table in groups.values() for text in table]
    rows = [
        label(mixture if group != "unrelated" else group)
        for group, table in groups.items()
        for mixture in table.values()
    ]
    coarse = torch.tensor([group in COARSE for group, table in groups.items() for _ in table])
    return texts, torch.from_numpy(np.stack(rows)), coarse


def neighbour_labels(synsets: dict[str, Synset], known: dict[str, np.ndarray]) -> dict[str, tuple[np.ndarray, float]]:
    """Words near labelled ones in WordNet -> (mean label, trust 0..1).

    A synset collects its labelled lemmas' votes, each divided by the lemma's number of senses, and half of the
    votes of similar, derived, broader and pertaining synsets.
    """
    table = senses(synsets)
    votes: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(LABELS))
    for word, target in known.items():
        for key in table.get(word, ()):
            votes[key] += target / len(table[word])
    spread = {key: vote.copy() for key, vote in votes.items()}
    for key, synset in synsets.items():
        for symbol, other in synset.pointers:
            if symbol in {"&", "+", "@", "\\", "^"} and other in votes:
                spread[key] = spread.get(key, np.zeros(LABELS)) + 0.5 * votes[other]
    result = {}
    for word, keys in table.items():
        mass = sum((spread[key] / len(keys) for key in keys if key in spread), np.zeros(LABELS))
        if mass.sum() > 0.15 and word not in known:
            result[word] = (mass / mass.sum(), min(1.0, float(mass.sum())))
    return result


class Teacher:
    """Weights over the labels of any text, by heads on a sentence embedder and, for single words, by WordNet.

    Texts that are kept for measuring are in none of those that the heads learn from, and have no label.
    """

    def __init__(
        self, embed: Embedder, synsets: dict[str, Synset], things: Iterable[str], heads: int = 3, seed: int = 0
    ) -> None:
        """things: names of what is not felt, for the label "unrelated"."""
        self.embed, self.synsets, self.senses = embed, synsets, senses(synsets)
        self.texts, self.labels, self.coarse = labelled()
        others = [text for text in things if text not in set(self.texts)]
        target = torch.cat([self.labels, torch.eye(LABELS)[-1:].expand(len(others), -1)])
        coarse = F.pad(self.coarse, (0, len(others)))
        rare = (target / ((target * ~coarse[:, None]).sum(0) + 8)).sum(1)
        weight = torch.where(coarse, 0.5, (40 * rare).clamp(0.3, 3))
        weight[target[:, -1] > 0.5] = 1.2
        x = embed(self.texts + others)
        self.heads = [train_head(x, target, coarse, weight, seed + i) for i in range(heads)]

    @torch.no_grad()
    def read(self, texts: list[str]) -> Tensor:
        """[N,L] weights by the heads alone, sum 1."""
        parts = [
            torch.stack([head(x).softmax(1) for head in self.heads]).mean(0) for x in self.embed(texts).split(4096)
        ]
        return torch.cat(parts)

    def known(self) -> Tensor:
        """[N,L] weights of `texts`: their labels, with a shade of what the heads read in the words."""
        read, basics = self.read(self.texts), shares()
        agreement = ((self.labels @ basics).sqrt() @ basics.sqrt().T).clamp(min=1e-3)
        refined = read * agreement**_LOYAL
        own = _OWN * self.labels + (1 - _OWN) * read
        w = torch.where(self.coarse[:, None], refined / refined.sum(1, keepdim=True), own)
        return torch.where(self.labels[:, -1:] > 0.5, self.labels, w)

    def guess(self, texts: list[str]) -> Tensor:
        """[N,L] weights of texts without a label, a little sharper than the heads'.

        Single words that WordNet knows agree with their glosses and with their labelled neighbours.
        """
        w, basics = self.read(texts) ** _SHARP, shares()
        words = [i for i, text in enumerate(texts) if self._glosses(text)]
        if words:
            said = self._by_wordnet([texts[i] for i in words]) @ basics
            w[words] *= (said.sqrt() @ basics.sqrt().T).clamp(min=0.02) ** _WORDNET
        return w / w.sum(1, keepdim=True)

    def _glosses(self, word: str) -> list[str]:
        """ "word: gloss" of the word's commonest senses, nouns of things left out."""
        keys = [k for k in self.senses.get(word, ()) if not (k[0] == "n" and self.synsets[k].lexfile in CONCRETE)]
        return [f"{word}: {self.synsets[key].gloss}"[:160] for key in keys[: len(_GLOSSES)]]

    def _by_wordnet(self, words: list[str]) -> Tensor:
        """[N,L] weights of words by their glosses and their neighbours' labels."""
        near = neighbour_labels(self.synsets, dict(zip(self.texts, self.labels.numpy(), strict=True)))
        glosses = [(i, text) for i, word in enumerate(words) for text in self._glosses(word)]
        ranks = [rank for word in words for rank in range(len(self._glosses(word)))]
        w = torch.zeros(len(words), LABELS)
        weights = torch.tensor([_GLOSSES[rank] for rank in ranks])[:, None]
        w.index_add_(0, torch.tensor([i for i, _ in glosses]), weights * self.read([text for _, text in glosses]))
        for i, word in enumerate(words):
            if word in near:
                target, trust = near[word]
                w[i] += _NEIGHBOURS * trust * torch.from_numpy(target).float()
        return w / w.sum(1, keepdim=True)
