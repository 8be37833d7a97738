"""Motion data for EAC: expression coefficients of tracked talkers, and of speech whose phones are timed.

GRID's landmarks become coefficients by fitting the expression basis to the talker's displacement
from their own resting face. Phone-timed speech becomes coefficients by viseme targets with dominance
functions (Cohen & Massaro 1993; viseme shapes after JALI, Edwards et al. 2016), calibrated to GRID.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...emotions.atlas import limited
from ...media import audio
from ...motion.lips import POSES, VISEMES, close_lips

RIGID = (4, 6, 10, 33, 133, 168, 234, 263, 362, 454)  # skull, not jaw or lips
GAP_PAIRS = ((13, 14), (82, 87), (312, 317), (81, 178), (311, 402))  # inner lip, upper and lower
WIDTH_PAIRS = ((78, 308), (61, 291))  # mouth corners, inner and outer
SPEECH = ("jaw", "mouth", "noseSneer", "cheekPuff")  # prefixes of the components that speech may use


@dataclass(frozen=True)
class Basis:
    """The expression part of the face model at the 478 landmarks: mean [478,3] cm, directions [n,478,3], names."""

    mean: Tensor
    expression: Tensor
    names: list[str]

    @classmethod
    def from_pack(cls, data: Path) -> Basis:
        """Read `face_basis_478.npz` of the data pack (53 named components)."""
        with np.load(data / "face_basis_478.npz") as file:
            return cls(
                torch.from_numpy(file["mean"]),
                torch.from_numpy(file["expression"]),
                [str(name) for name in file["expression_names"]],
            )

    def __getitem__(self, name: str) -> int:
        return self.names.index(name)

    def to(self, device: torch.device | str) -> Basis:
        """The same on another device."""
        return Basis(self.mean.to(device), self.expression.to(device), self.names)

    @property
    def speech(self) -> list[int]:
        """Components that speech drives."""
        return [i for i, name in enumerate(self.names) if name.startswith(SPEECH)]

    @property
    def lips(self) -> Tensor:
        """[n, 5]: by how many cm each component parts the inner lips at `GAP_PAIRS`."""
        return self.distances(GAP_PAIRS, 1)

    def distances(self, pairs, axis: int) -> Tensor:
        """[n, len(pairs)]: by how many cm each component parts the two landmarks of a pair along an axis."""
        first, second = (list(side) for side in zip(*pairs))
        sign = 1 if axis == 1 else -1
        return sign * (self.expression[:, first, axis] - self.expression[:, second, axis])


def similarity(points: Tensor, reference: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Scale [B], rotation [B,3,3], translation [B,3] that carry points [B,n,3] onto reference [n,3] (Umeyama)."""
    centre, target = points.mean(1, keepdim=True), reference.mean(0)
    moved = points - centre
    u, s, v = torch.linalg.svd(moved.transpose(1, 2) @ (reference - target))
    sign = torch.ones_like(s)
    sign[:, 2] = torch.det(u @ v).sign()
    rotation = (u * sign[:, None]) @ v
    scale = (s * sign).sum(1) / moved.square().sum((1, 2))
    return scale, rotation, target - scale[:, None] * (centre @ rotation)[:, 0]


def bounded_least_squares(gram: Tensor, right: Tensor, steps: int = 400) -> Tensor:
    """Minimise x'Gx/2 - r'x over 0 <= x <= 1 for many right sides [B,n] at once (accelerated projected gradient)."""
    step = 1 / torch.linalg.eigvalsh(gram)[-1]
    x = y = torch.zeros_like(right)
    momentum = 1.0
    for _ in range(steps):
        new = (y - step * (y @ gram - right)).clamp(0, 1)
        following = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        y = new + (momentum - 1) / following * (new - x)
        x, momentum = new, following
    return x


def fit(landmarks: Tensor, index: list[int], rest: Tensor, basis: Basis) -> tuple[Tensor, Tensor]:
    """Speech coefficients of one talker's tracked face.

    landmarks: [N,n,3] px, y down, z away, of the 478-mesh's points `index`. rest: [N] bool, frames in
    which the face rests with lips closed. Returns coefficients [N, len(basis.names)] in 0..1 (zero
    outside speech's components) and the displacements [N,n,3] in cm from the talker's own rest.
    """
    points = landmarks * torch.tensor([1.0, -1.0, -1.0])
    column = {vertex: i for i, vertex in enumerate(index)}
    rigid = [column[vertex] for vertex in RIGID]
    reference = basis.mean[list(RIGID)]
    for _ in range(3):  # the talker's own rigid points take over from the mean face's
        scale, rotation, shift = similarity(points[:, rigid], reference)
        scale = scale.median().expand_as(scale)  # one head, one camera: size does not change with the jaw
        centre = points[:, rigid].mean(1)
        shift = reference.mean(0) - scale[:, None] * (centre[:, None] @ rotation)[:, 0]
        aligned = scale[:, None, None] * (points @ rotation) + shift[:, None]
        neutral = aligned[rest].median(0).values
        reference = neutral[rigid]
    moved = aligned - neutral

    used = basis.speech
    names = [basis.names[i] for i in used]
    directions = basis.expression[used][:, index]
    lower = basis.mean[index, 1] < -1  # below the nose
    lips = (basis.mean[index, 1] < -2) & (basis.mean[index, 1] > -5) & (basis.mean[index, 0].abs() < 3)
    weight = (lower.float() * 0.6 + lips.float())[:, None] * torch.tensor([1.0, 1.0, 0.3])
    rows, wanted = [(directions * weight).flatten(1)], [(moved * weight).flatten(1)]
    for pairs, axis, gain in ((GAP_PAIRS, 1, 4.0), (WIDTH_PAIRS, 0, 2.0)):
        sign = 1 if axis == 1 else -1
        first, second = ([column[v] for v in side] for side in zip(*pairs))
        rows.append(gain * basis.distances(pairs, axis)[used])
        wanted.append(gain * sign * (moved[:, first, axis] - moved[:, second, axis]))
    matrix, target = torch.cat(rows, 1), torch.cat(wanted, 1)

    ridge = torch.full((len(used),), 0.3)
    for i, name in enumerate(names):
        if name in ("mouthLeft", "mouthRight", "jawLeft", "jawRight", "cheekPuff"):
            ridge[i] = 8.0
        elif name.startswith(("noseSneer", "jawForward", "mouthFrown")):
            ridge[i] = 3.0
    gram = matrix @ matrix.T + torch.diag(ridge)
    for i, name in enumerate(names):
        if name.endswith("Left") and name not in ("mouthLeft", "jawLeft"):
            pull = torch.zeros(len(used))
            pull[i], pull[names.index(name[:-4] + "Right")] = 1, -1
            gram += 5.0 * torch.outer(pull, pull)
    beta = torch.zeros(len(points), len(basis.names))
    beta[:, used] = bounded_least_squares(gram, target @ matrix.T)
    return beta, moved


@dataclass(frozen=True)
class Track:
    """A talker's clip: name, speech coefficients [T,n], tracked inner-lip gaps [T,5] and mouth widths [T,2] in cm."""

    name: str
    beta: Tensor
    gaps: Tensor
    widths: Tensor
    speech: tuple[float, float]  # s, first word's start and last word's end


def grid_tracks(data: Path, basis: Basis) -> list[Track]:
    """All GRID clips, fitted. Lips close exactly where the tracked ones do."""
    with np.load(data / "grid" / "tracks.npz") as file:
        names, lengths = [str(name) for name in file["name"]], file["length"].tolist()
        index, landmarks = file["landmark_index"].tolist(), torch.from_numpy(file["landmarks"].astype(np.float32))
    column = {vertex: i for i, vertex in enumerate(index)}
    spans, rest = [], torch.zeros(len(landmarks), dtype=torch.bool)
    start = 0
    for name, length in zip(names, lengths):
        lines = [line.split() for line in (data / "grid" / "align" / f"{name}.align").read_text().splitlines()]
        words = [line for line in lines if line[2] not in ("sil", "sp")]
        spans.append((int(words[0][0]) / 25000, int(words[-1][1]) / 25000))
        rest[start + round(spans[-1][1] * audio.FPS) + 6 : start + length] = True
        start += length
    rest &= (landmarks[:, column[14], 1] - landmarks[:, column[13], 1]) < 0.3
    beta, moved = fit(landmarks, index, rest, basis)

    def parted(pairs, axis: int, sign: int) -> Tensor:
        return torch.stack([sign * (moved[:, column[a], axis] - moved[:, column[b], axis]) for a, b in pairs], 1)

    opening, width = parted(GAP_PAIRS, 1, 1), parted(WIDTH_PAIRS, 0, -1)
    beta = close_lips(beta, opening.clamp(min=0), basis.lips)
    pieces = zip(names, beta.split(lengths), opening.split(lengths), width.split(lengths), spans)
    return [Track(*piece) for piece in pieces]


# Phone labels (ARPAbet of LJSpeech and speechocean762, SAMPA of EmoDB) -> viseme, or two for a diphthong.
_PHONES: dict[str, str] = {
    "silence": "sil sp spn PAU . ( ?",
    "bilabial": "P B M p b m mm !p !b",
    "labiodental": "F V f v vv",
    "dental": "TH DH D. T.",
    "alveolar": "T D N L DX EN EL t d n nn l !t !d NN",
    "sibilant": "S Z s z ss",
    "postalveolar": "SH CH JH ZH @S S@",
    "velar": "K G NG k g !k !g x X",
    "rhotic": "R r ER AXR",
    "glide": "W w",
    "close front": "IY Y i I: j C",
    "near front": "IH IX I e",
    "mid front": "EH E :",
    "open front": "AE",
    "open": "AA a A a6",
    "central": "AH AX @ 6 UH2 @6 4",
    "open round": "AO O 9",
    "mid round": "o 8",
    "close round": "UW UH u U y Y_",
    "breath": "HH H h",
}
_DIPHTHONGS = {
    "AY": ("open", "near front"),
    "EY": ("mid front", "close front"),
    "OW": ("mid round", "close round"),
    "AW": ("open", "close round"),
    "OY": ("open round", "near front"),
    "aI": ("open", "near front"),
    "aU": ("open", "close round"),
    "E6": ("mid front", "central"),
    "i6": ("close front", "central"),
}
# EmoDB writes in SAMPA: these letters mean other sounds there than in ARPAbet.
_SAMPA: dict[str, str | tuple[str, str]] = {
    **{"S": "postalveolar", "Z": "postalveolar", "N": "velar", "R": "rhotic", "Y": "close round", "B": "bilabial"},
    **{"V": "labiodental", "D": "dental", "T": "dental", "G": "velar"},
    "OY": ("open round", "near front"),
}

# The International Phonetic Alphabet without length, stress and other marks, letter by letter.
_IPA = {
    "silence": "_",
    "bilabial": "pbmɸβɓʙ",
    "labiodental": "fvɱʋⱱ",
    "dental": "θð",
    "alveolar": "tdnlɾɬɮɫrɗʈɖɳɭ",
    "sibilant": "sz",
    "postalveolar": "ʃʒɕʑʂʐ",
    "velar": "kɡgŋxɣqχʁɠɢɴʀħʕ",
    "rhotic": "ɹɻɚɝ",
    "glide": "wɥʍ",
    "close front": "ijɪʝçcɟɲʎɨɯ",
    "near front": "eɘ",
    "mid front": "ɛɜ",
    "open front": "æ",
    "open": "aɑɐɶ",
    "central": "əʌɤɞ",
    "open round": "ɒɔœ",
    "mid round": "oɵø",
    "close round": "uʊyʏʉ",
    "breath": "hɦʔ",
}
_LETTERS = {letter: viseme for viseme, letters in _IPA.items() for letter in letters}
PAUSE = "."  # in every alphabet
KOKORO = {  # what Kokoro's phonemizer writes with letters of its own
    **{"A": ("mid front", "close front"), "I": ("open", "near front"), "O": ("mid round", "close round")},
    **{"W": ("open", "close round"), "Y": ("open round", "near front"), "Q": ("central", "close round")},
    **{"T": ("alveolar",), "ᵊ": ("central",), "ᵻ": ("near front",), "ɪ": ("near front",), "ʊ": ("close round",)},
    **{"ʤ": ("postalveolar",), "ʧ": ("postalveolar",), "ʦ": ("sibilant",), "ʣ": ("sibilant",), "ɜ": ("rhotic",)},
    **dict.fromkeys('.,;:!?—…“”"()', ("silence",)),
}
ALPHABETS = ("arpabet", "sampa", "ipa", "kokoro")

# Dominance: how strongly a viseme insists on its own lips and jaw, and how far (s) it reaches beyond its phone.
_STRONG = {"bilabial": 3.0, "labiodental": 2.5, "postalveolar": 1.6, "glide": 2.0, "sibilant": 1.3, "silence": 1.0}
_WEAK = {"breath": 0.15, "alveolar": 0.6, "velar": 0.4, "dental": 0.7}
_REACH = 0.045
_ROUND = {"glide", "postalveolar", "close round", "mid round", "open round", "rhotic"}
_ROUND_REACH = 0.11  # rounding begins early


@dataclass(frozen=True)
class Phone:
    """A phone's start and end in s and its label."""

    start: float
    end: float
    label: str


def visemes_of(label: str, alphabet: str = "arpabet") -> tuple[str, ...]:
    """The visemes that follow one another in a phone, given in one of `ALPHABETS`; () when the label is no phone."""
    label = label.strip()
    if alphabet == "kokoro" and label in KOKORO:
        return KOKORO[label]
    if alphabet in ("ipa", "kokoro"):  # an affricate or a diphthong has two
        return tuple(_LETTERS[letter] for letter in unicodedata.normalize("NFD", label) if letter in _LETTERS)[:2]
    if alphabet == "arpabet":
        label = label.rstrip("012")
    own = _SAMPA.get(label) if alphabet == "sampa" else None
    told = own or _DIPHTHONGS.get(label)
    if told:
        return (told,) if isinstance(told, str) else told
    return next(((viseme,) for viseme, labels in _PHONES.items() if label in labels.split()), ())


def read_emodb(path: Path) -> list[Phone]:
    """EmoDB's phone ends. Aspirations and what is no phone are joined to the phone before."""
    phones, start = [], 0.0
    for line in path.read_text().splitlines():
        fields = line.split("\t")
        if len(fields) < 2 or not fields[0].strip():
            continue
        end, label = float(fields[0]), fields[1].strip()
        if visemes_of(label, "sampa"):
            phones.append(Phone(start, end, label))
        elif phones:
            phones[-1] = Phone(phones[-1].start, end, phones[-1].label)
        start = end
    return phones


def read_textgrid(path: Path) -> list[Phone]:
    """The tier `phones` of a Praat TextGrid in its long form."""
    text = path.read_text().split('name = "phones"')[1]
    values = [line.split("=")[1].strip().strip('"') for line in text.splitlines() if "=" in line]
    at = 3  # xmin, xmax, size
    return [Phone(float(a), float(b), c) for a, b, c in zip(values[at::3], values[at + 1 :: 3], values[at + 2 :: 3])]


def speak(phones: list[Phone], frames: int, basis: Basis, alphabet: str = "arpabet", opening=1.0, width=1.0) -> Tensor:
    """Speech coefficients [frames, n] at 25 frames/s of timed phones, by dominance-weighted viseme targets.

    opening, width: factors on what opens the lips and on what spreads or rounds them.
    """
    parts: list[tuple[float, float, str]] = []
    for phone in phones:
        visemes = visemes_of(phone.label, alphabet) or ("silence",)
        edges = np.linspace(phone.start, phone.end, len(visemes) + 1)
        parts += list(zip(edges[:-1], edges[1:], visemes))
    first, last = (parts[0][0], parts[-1][1]) if parts else (0.0, 0.0)
    seconds = frames / audio.FPS
    parts = [(-1.0, first, "silence"), *parts, (last, max(seconds, last) + 1, "silence")]
    start, end = (torch.tensor([part[i] for part in parts], dtype=torch.float32) for i in (0, 1))
    names = [part[2] for part in parts]
    times = (torch.arange(frames) + 0.5)[:, None] / audio.FPS
    away = torch.maximum(torch.maximum(start - times, times - end), torch.zeros(()))
    strength = torch.tensor([_STRONG.get(name, _WEAK.get(name, 1.0)) for name in names])
    dominance = strength * torch.exp(-away / _REACH)
    round_reach = torch.tensor([_ROUND_REACH if name in _ROUND else _REACH for name in names])
    round_strength = torch.tensor([0.5 if name in ("bilabial", "labiodental", "alveolar") else 1.0 for name in names])
    rounding = round_strength * torch.exp(-away / round_reach)

    targets = torch.zeros(len(names), len(basis.names))
    for i, name in enumerate(names):
        for shape, value in POSES[name].items():
            factor = width if shape in _SPREADING else opening if shape in _OPENING else 1.0
            for j, component in enumerate(basis.names):
                if component in (shape, f"{shape}Left", f"{shape}Right"):
                    targets[i, j] = value * factor
    beta = (dominance / dominance.sum(1, keepdim=True)) @ targets
    lateral = [j for j, name in enumerate(basis.names) if name.startswith(_SPREADING)]
    beta[:, lateral] = ((rounding / rounding.sum(1, keepdim=True)) @ targets)[:, lateral]

    labial = torch.tensor([name == "bilabial" for name in names])
    closed = ((0.03 - away[:, labial]) / 0.03).clamp(0, 1)
    closed = closed.amax(1) if labial.any() else torch.zeros(frames)
    opening_parts = [j for j, name in enumerate(basis.names) if name.startswith(_OPENING)]
    beta[:, opening_parts] *= 1 - 0.7 * closed[:, None]
    return close_lips(beta, gaps(beta, basis).clamp(min=0) * (1 - closed[:, None]), basis.lips)


def heard(phones: list[Phone], count: int, alphabet: str = "arpabet") -> Tensor:
    """Viseme [count] of each mel frame, 100 a second, as an index of `lips.VISEMES`; -1 in what is no known phone."""
    said = torch.zeros(count, dtype=torch.long)
    for phone in phones:
        names = visemes_of(phone.label, alphabet)
        edges = np.linspace(phone.start, phone.end, max(1, len(names)) + 1) * audio.SAMPLE_RATE / audio.HOP
        for first, last, name in zip(edges[:-1].round(), edges[1:].round(), names or [None]):
            said[int(first) : int(last)] = -1 if name is None else VISEMES.index(name)
    return said


_SPREADING = ("mouthStretch", "mouthSmile", "mouthPucker", "mouthFunnel")
_OPENING = ("jawOpen", "mouthLowerDown", "mouthUpperUp", "mouthShrugUpper", "noseSneer")


def gaps(beta: Tensor, basis: Basis) -> Tensor:
    """Inner-lip distances [..., 5] in cm beyond rest, of coefficients [..., n]."""
    return beta[..., : len(basis.names)] @ basis.lips


def widths(beta: Tensor, basis: Basis) -> Tensor:
    """Mouth widths [..., 2] in cm beyond rest, of coefficients [..., n]."""
    return beta[..., : len(basis.names)] @ basis.distances(WIDTH_PAIRS, 0)


def calibration(beta: Tensor, reference: Tensor, basis: Basis) -> tuple[float, float]:
    """Factors (opening, width) that give rule-made speech [N,n] the amplitude of tracked speech [M,n]."""
    open_reference, open_own = (gaps(x, basis).mean(-1) for x in (reference, beta))
    opening = open_reference[open_reference > 0.1].mean() / open_own[open_own > 0.1].mean()
    width = widths(reference, basis).mean(-1)[open_reference > 0.1].std() / widths(beta, basis).mean(-1).std()
    return float(opening), min(1.4, float(width))


_EMOTION_GAP = 0.75  # cm by which emotion may part speaking lips further
_EASE, _AWAY = 4, 2  # video frames over which emotion joins and leaves open lips, and that it keeps off closed ones
_ROUNDER = 0.15  # share of what an emotion's rounding loses to speech that it keeps


def compose(speech: Tensor, emotion: Tensor, share: Tensor, basis: Basis) -> Tensor:
    """What a face that feels `emotion` looks like while it says `speech`.

    speech: [..., T, n] coefficients. emotion: [..., n], already scaled by the intensity. share: [n] in
    0..1, how much of an emotional component stays while speaking (`emotions.SPEECH`). Emotion may part
    the lips only as far as speech has parted them, so that closures and silence keep closed lips, and it comes and
    goes so slowly that quick syllables do not tremble. The mouth's width varies as in speech alone.
    """
    emotion = emotion[..., None, :]
    parted = (gaps(speech, basis).mean(-1, keepdim=True) / 0.6).clamp(0, 1)
    parted = parted * parted * (3 - 2 * parted)
    eased = _eased(parted)
    opens = (basis.lips.mean(1) > 0.1).float()
    for side in ("Left", "Right"):  # wrinkles the nose, which may not wait for the lips to part
        opens[basis[f"noseSneer{side}"]] = 0
    share = share.clone()
    funnel = basis["mouthFunnel"]
    opens[funnel], share[funnel] = 0, share[funnel] + (1 - share[funnel]) * _ROUNDER
    added = emotion * (share + (1 - share) * 0.4 * eased * opens) * (1 - 0.8 * opens * (1 - eased))
    wide = [float(name.startswith(("mouthSmile", "mouthStretch", "mouthDimple"))) for name in basis.names]
    added = added * (1 - 0.7 * emotion.new_tensor(wide) * speech[..., basis["mouthPucker"], None].clamp(0, 0.8))
    sides = [basis[f"mouthStretch{side}"] for side in ("Left", "Right")]
    spread = basis.distances(WIDTH_PAIRS, 0)[:, 1]
    narrowing = (added * opens) @ spread  # an opening jaw draws the corners in
    added[..., sides] += ((narrowing.mean(-1, keepdim=True) - narrowing) / spread[sides].sum())[..., None]
    further = torch.minimum(eased, 2 * parted) * gaps(added, basis).clamp(0, _EMOTION_GAP)
    allowed = gaps(speech, basis).clamp(min=0) + further
    return close_lips(limited(speech + added), allowed, basis.lips)


def _eased(series: Tensor) -> Tensor:
    """[..., T, 1]: the least within `_AWAY` frames, averaged over `_EASE` on either side with weights that fall off."""
    flat = series.reshape(-1, 1, series.shape[-2])
    least = -F.max_pool1d(F.pad(-flat, (_AWAY, _AWAY), mode="replicate"), 2 * _AWAY + 1, 1)
    weight = torch.hann_window(2 * _EASE + 3, periodic=False, device=series.device)[1:-1]
    weight = (weight / weight.sum())[None, None]
    return F.conv1d(F.pad(least, (_EASE, _EASE), mode="replicate"), weight).reshape(series.shape)
