"""What is seen of the sounds that one can see: lips on /p b m/, open vowels, /f v/, /w u/, and on all others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..constants import FPS
from ..training.data.motion import Phone, visemes_of

NEAR = 0.06  # s about a bilabial in which lips may meet
TOUCHED = 0.1  # s around a bilabial in which closed lips are no mistake
SHORTEST = 0.03  # s, of a vowel that must be seen open
OPEN_VOWELS = ("open", "open front")


class Articulation:
    """Collects openings and widths of a mouth on timed phones, whatever their unit; `report` gives the figures."""

    def __init__(self, closed: float, narrowest: float) -> None:
        """closed: opening below which lips count as closed. narrowest: width of the mouth at rest, which the widths
        that are given are measured from; 0 if they are whole."""
        self.closed, self.rest = closed, narrowest
        self.seen: dict[str, list[float]] = {}

    def add(self, opening: np.ndarray, width: np.ndarray, phones: Sequence[Phone], alphabet: str) -> None:
        """Openings and widths [T] at 25 frames/s of a recording with these phones."""
        kinds = [(phone, visemes_of(phone.label, alphabet)) for phone in phones]
        bilabials = [phone for phone, names in kinds if names == ("bilabial",)]
        for phone, names in kinds:
            if not names or phone.end > len(opening) / FPS:
                continue
            if names == ("bilabial",):
                first = max(0, int((phone.start - NEAR) * FPS))
                self._note("bilabial", opening[first : int((phone.end + NEAR) * FPS) + 1].min())
                continue
            centre = (phone.start + phone.end) / 2
            middle = min(len(opening) - 1, int(centre * FPS))
            around = slice(max(0, middle - 1), middle + 2)
            if names[0] in OPEN_VOWELS and phone.end - phone.start > SHORTEST:
                self._note("open", opening[middle])
            if names == ("labiodental",):
                self._note("labiodental", opening[around].min())
            elif names[0] in ("glide", "close round"):
                self._note("round", width[around].min())
            elif names == ("close front",):
                self._note("spread", width[middle])
            elif names == ("alveolar",):
                self._note("alveolar", opening[middle])
            beside = any(other.start - TOUCHED < centre < other.end + TOUCHED for other in bilabials)
            if names[0] not in ("silence", "labiodental") and not beside:
                self._note("other", opening[middle])

    def _note(self, kind: str, value: float) -> None:
        if np.isfinite(value):
            self.seen.setdefault(kind, []).append(float(value))

    def _mean(self, kind: str) -> float:
        return float(np.mean(self.seen[kind])) if kind in self.seen else float("nan")

    def _shut(self, kind: str) -> float:
        return float(np.mean(np.array(self.seen[kind]) < self.closed)) if kind in self.seen else float("nan")

    def report(self) -> dict[str, float]:
        """Shares of closures, openings on sounds, and by how much /f v/ and /w u/ stand out."""
        closed = [max(0.0, gap) for gap in self.seen.get("bilabial", [])]
        return {
            "bilabials": len(closed),
            "closed": self._shut("bilabial"),
            "gap_on_bilabials": float(np.mean(closed)) if closed else float("nan"),
            "opening_on_open_vowels": self._mean("open"),
            "open_vowels_closed": self._shut("open"),
            "false_closures": self._shut("other"),
            "gap_on_f_v": self._mean("labiodental"),
            "gap_on_t_d_n_l": self._mean("alveolar"),
            "f_v_nearer": 1 - self._mean("labiodental") / self._mean("alveolar"),
            "width_on_w_u": self._mean("round"),
            "width_on_i": self._mean("spread"),
            "w_u_narrower": 1 - (self.rest + self._mean("round")) / (self.rest + self._mean("spread")),
        }
