"""Phone times for recordings of which only the words' phones are known (speechocean762).

A small monophone hidden Markov model: three states a phone, one Gaussian with diagonal covariance a
state, started on LJSpeech's timed phones and refined by Viterbi training.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import torch

from ...media import audio
from . import motion

STATES = 3  # a phone lasts at least 30 ms
ROUNDS = 5
SILENCE = "sil"
_HOP = audio.HOP / audio.SAMPLE_RATE


def features(mel: torch.Tensor) -> np.ndarray:
    """13 cepstra with first and second differences of a log-mel [80,L], normalised over the clip: [L,39]."""
    logs = mel.float().numpy().astype(np.float64)
    logs = np.maximum(logs, logs.max() - 6)
    order = np.arange(13)[:, None] * (np.arange(len(logs)) + 0.5) * np.pi / len(logs)
    cepstra = (np.cos(order) @ logs).T
    delta = np.gradient(cepstra, axis=0)
    joined = np.concatenate([cepstra, delta, np.gradient(delta, axis=0)], 1)
    return (joined - joined.mean(0)) / (joined.std(0) + 1e-6)


class Aligner:
    """Gaussians of all phones' states; a phone is an ARPAbet label without stress, or `sil`."""

    def __init__(self, phones: list[str]) -> None:
        self.index = {phone: i * STATES for i, phone in enumerate(phones)}
        self.mean = np.zeros((len(phones) * STATES, 39))
        self.variance = np.ones_like(self.mean)

    def estimate(self, frames: list[np.ndarray], states: list[np.ndarray]) -> None:
        """Set the Gaussians from frames [L,39] and the state of each frame [L] (-1: unknown)."""
        rows, labels = np.concatenate(frames), np.concatenate(states)
        floor = 0.1 * rows.var(0)
        for state in range(len(self.mean)):
            own = rows[labels == state]
            if len(own) >= 20:
                self.mean[state], self.variance[state] = own.mean(0), np.maximum(own.var(0), floor)

    def align(self, frames: np.ndarray, words: list[list[str]]) -> tuple[np.ndarray, list[motion.Phone]]:
        """Best states [L] and timed phones of one recording, with optional silence around and between words."""
        units: list[tuple[str, bool]] = [(SILENCE, True)]
        for word in words:
            units += [(phone, False) for phone in word] + [(SILENCE, True)]
        chain = np.concatenate([self.index[phone] + np.arange(STATES) for phone, _ in units])
        entry = np.arange(len(chain)) % STATES == 0
        skips = entry & np.repeat([i > 0 and units[i - 1][1] for i in range(len(units))], STATES)  # past a silence
        mean, variance = self.mean[chain], self.variance[chain]
        score = -0.5 * (
            (frames**2) @ (1 / variance).T
            - 2 * frames @ (mean / variance).T
            + (mean**2 / variance + np.log(variance)).sum(1)
        )
        best = np.full(len(chain), -np.inf)
        best[0] = score[0, 0]
        best[STATES] = score[0, STATES]
        back = np.zeros((len(frames), len(chain)), np.int64)
        for i in range(1, len(frames)):
            step = np.concatenate([[-np.inf], best[:-1]])
            jump = np.where(skips, np.concatenate([np.full(STATES + 1, -np.inf), best[: -STATES - 1]]), -np.inf)
            options = np.stack([best, step, jump])
            choice = options.argmax(0)
            back[i] = np.array([0, 1, STATES + 1])[choice]
            best = options.max(0) + score[i]
        at = len(chain) - 1 if best[-1] >= best[-1 - STATES] else len(chain) - 1 - STATES
        path = np.empty(len(frames), np.int64)
        for i in range(len(frames) - 1, -1, -1):
            path[i] = at
            at -= back[i, at]
        phones, owner = [], path // STATES
        edges = np.flatnonzero(np.diff(owner, prepend=-1, append=-1))
        for start, end in zip(edges[:-1], edges[1:]):
            phones.append(motion.Phone(float(start) * _HOP, float(end) * _HOP, units[owner[start]][0]))
        return chain[path], phones


def _states(aligner: Aligner, phones: list[motion.Phone], length: int) -> np.ndarray:
    states = np.full(length, -1)
    for phone in phones:
        label = phone.label.strip().rstrip("012") if motion.visemes_of(phone.label) != ("silence",) else SILENCE
        if label in aligner.index:
            edges = np.linspace(phone.start / _HOP, phone.end / _HOP, STATES + 1).round().astype(int)
            for k in range(STATES):
                states[edges[k] : edges[k + 1]] = aligner.index[label] + k
    return states


def train(timed: list, untimed: list, words: list[list[list[str]]]) -> tuple[Aligner, list[list[motion.Phone]]]:
    """Aligner trained on clips with phones (`timed`) and with only their words' phones; also the latter's alignment."""
    known = [features(clip.mel) for clip in timed]
    unknown = [features(clip.mel) for clip in untimed]
    aligner = Aligner(sorted({phone for clip in words for word in clip for phone in word}) + [SILENCE])
    labels = [_states(aligner, clip.phones, len(frames)) for clip, frames in zip(timed, known)]
    aligner.estimate(known, labels)
    for _ in range(ROUNDS):
        results = [aligner.align(frames, clip) for frames, clip in zip(unknown, words)]
        aligner.estimate(known + unknown, labels + [states for states, _ in results])
    return aligner, [phones for _, phones in results]


def manifest(path: Path) -> list[tuple[str, str, list[list[str]], str]]:
    """Utterance, speaker, phones by word and text of speechocean762's manifest."""
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    return [
        (
            row["utterance"],
            row["speaker"],
            [[p.rstrip("012") for p in word.split()] for word in row["phones_by_word"].split("|")],
            row["text"],
        )
        for row in rows
    ]
