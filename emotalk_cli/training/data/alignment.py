"""Phone times for recordings of which only the words are known: pocketsphinx's English model, aligned by force.

`pip install pocketsphinx` (BSD; its acoustic model and dictionary are in the wheel) is needed for training only.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...errors import UsageError
from .motion import Phone

SILENCES = ("SIL", "+SPN+", "+NSN+", "<sil>")
_RATE = 100  # frames of the acoustic model in a second
_LATE = 0.014  # s by which a frame's middle lies after its start (LJSpeech's phones start so much later)


class Word(NamedTuple):
    """A word and its phones (ARPAbet, no stress), or None for those of the dictionary."""

    text: str
    phones: tuple[str, ...] | None = None


class Aligner:
    """pocketsphinx's decoder, one recording at a time. Raises UsageError where it is not installed."""

    def __init__(self) -> None:
        try:
            from pocketsphinx import Decoder, get_model_path
        except ImportError as error:
            raise UsageError("Phones are aligned by pocketsphinx; install it (pip install pocketsphinx).") from error
        self._decoder = Decoder(
            hmm=get_model_path("en-us/en-us"),
            dict=get_model_path("en-us/cmudict-en-us.dict"),
            lm=None,
            bestpath=False,  # its lattice loses the end of one recording in two
            loglevel="FATAL",
        )
        self._added: set[str] = set()

    def align(self, wave: np.ndarray, words: Sequence[Word]) -> list[Phone]:
        """Timed phones of samples [N] at 16 kHz that say `words`; [] where sound and words do not fit.

        Words that the dictionary lacks, and that come without phones, make it [] as well.
        """
        named = [name for word in words if (name := self._name(word)) is not None]
        if len(named) < len(words):
            return []
        pcm = (np.clip(wave / max(1e-6, np.abs(wave).max()) * 0.7, -1, 1) * 32767).astype("<i2").tobytes()
        decoder = self._decoder
        decoder.set_align_text(" ".join(named))
        try:
            self._hear(pcm)
            if decoder.hyp() is None:
                return []
            decoder.set_alignment()
            self._hear(pcm)
            found = decoder.get_alignment()
        except RuntimeError:
            return []
        return [
            Phone(
                phone.start / _RATE + _LATE,
                (phone.start + phone.duration) / _RATE + _LATE,
                "sil" if phone.name in SILENCES else phone.name,
            )
            for word in found
            for phone in word
        ]

    def _hear(self, pcm: bytes) -> None:
        self._decoder.start_utt()
        self._decoder.process_raw(pcm, full_utt=True)
        self._decoder.end_utt()

    def _name(self, word: Word) -> str | None:
        """The word as the decoder's dictionary knows it, added if it has to be."""
        if word.phones is None:
            name = word.text.lower()
            return name if self._decoder.lookup_word(name) else None
        name = f"{word.text.lower()}={'-'.join(word.phones)}"
        if name not in self._added:
            self._decoder.add_word(name, " ".join(word.phones), True)
            self._added.add(name)
        return name


def manifest(path: Path) -> list[tuple[str, str, list[Word], str]]:
    """Utterance, speaker, words and text of speechocean762's manifest."""
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    return [
        (
            row["utterance"],
            row["speaker"],
            [
                Word(text, tuple(phone.rstrip("012") for phone in phones.split()))
                for text, phones in zip(row["text"].split(), row["phones_by_word"].split("|"), strict=True)
            ],
            row["text"],
        )
        for row in rows
    ]
