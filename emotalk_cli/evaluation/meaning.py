"""Does the meaning of words reach the face?

    python -m emotalk_cli.evaluation.meaning [--weights DIR] [--out FILE.json]

Silent faces at full intensity, of words and phrases that no labelled text contains (`data/signs.tsv`,
`data/measuring.tsv`; `data/signs_clean.tsv` guided nothing and is to be quoted): the share of expected signs that are
there, dimensions that hold 95 % of the variance of β, words whose face another word has, unrelated prompts that leave
the face near neutral, the nearest basic emotion of unseen words, and pleasantness.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from ..constants import BASICS
from ..emotions.atlas import CHANNELS, CLASSES, FACE, components
from ..numeric import correlation
from ..training.data.lexicon import CLEAN, measuring, signs
from .report import show as show_report

SAME = 0.99  # cosine of two faces from which on they are one
NEAR = 0.35  # norm of β up to which a face is near neutral
VARIANCE = 0.95


def _mean(*names: str) -> Callable[[Tensor], float]:
    index = [i for name in names for i in components(name)]
    return lambda b: float(b[index].mean())


def _most(*names: str) -> Callable[[Tensor], float]:
    index = [i for name in names for i in components(name)]
    return lambda b: float(b[index].max())


def _channel(name: str) -> Callable[[Tensor], float]:
    index = CHANNELS.index(name)
    return lambda b: float(b[index])


def _uneven(b: Tensor) -> float:
    """The largest difference of left and right among the blendshapes that have sides, looks aside."""
    pairs = [(i, FACE.index(n[:-4] + "Right")) for i, n in enumerate(FACE) if n.endswith("Left") and "Look" not in n]
    return max(abs(float(b[i] - b[j])) for i, j in pairs)


def _norm(b: Tensor) -> float:
    return float(b[: len(FACE)].norm())


_PITCH, _ROLL = _channel("pitch"), _channel("roll")
_LEFT, _UP = _channel("gaze left"), _channel("gaze up")
_BLINK, _ENERGY = _channel("blink"), _channel("energy")

# Sign -> whether a behaviour [`atlas.WIDTH`] at full intensity shows it.
SIGNS: dict[str, Callable[[Tensor], bool]] = {
    "smile": lambda b: _most("mouthSmile")(b) >= 0.2,
    "nosmile": lambda b: _most("mouthSmile")(b) <= 0.15,
    "frown": lambda b: _mean("mouthFrown")(b) >= 0.2,
    "nofrown": lambda b: _mean("mouthFrown")(b) <= 0.15,
    "innerup": lambda b: _mean("browInnerUp")(b) >= 0.2,
    "browup": lambda b: max(_mean("browInnerUp")(b), _most("browOuterUp")(b)) >= 0.25,
    "browdown": lambda b: _mean("browDown")(b) >= 0.2,
    "nobrowdown": lambda b: _mean("browDown")(b) <= 0.2,
    "wide": lambda b: _mean("eyeWide")(b) >= 0.25,
    "nowide": lambda b: _mean("eyeWide")(b) <= 0.15,
    "narrow": lambda b: max(_mean("eyeSquint")(b), _mean("eyeBlink")(b)) >= 0.2,
    "droop": lambda b: _mean("eyeBlink")(b) >= 0.15,
    "nose": lambda b: _mean("noseSneer")(b) >= 0.25,
    "nosneer": lambda b: _mean("noseSneer")(b) <= 0.2,
    "open": lambda b: _mean("jawOpen")(b) >= 0.12,
    "press": lambda b: max(_mean("mouthPress")(b), _mean("mouthRollLower")(b)) >= 0.15,
    "cheek": lambda b: max(_mean("cheekRaiser")(b), _mean("cheekSquint")(b)) >= 0.15,
    "uneven": lambda b: _uneven(b) >= 0.2,
    "headdown": lambda b: _PITCH(b) <= -1.5,
    "headup": lambda b: _PITCH(b) >= 1.5,
    "tilt": lambda b: abs(_ROLL(b)) >= 1.2,
    "gazedown": lambda b: _UP(b) <= -0.1,
    "gazeup": lambda b: _UP(b) >= 0.1,
    "gazeaside": lambda b: max(abs(_LEFT(b)), abs(_UP(b))) >= 0.1,
    "fastblink": lambda b: _BLINK(b) >= 0.2,
    "pucker": lambda b: max(_most("mouthPucker")(b), _most("mouthFunnel")(b)) >= 0.2,
    "still": lambda b: _ENERGY(b) <= -0.3,
    "lively": lambda b: _ENERGY(b) >= 0.25,
    "neutral": lambda b: _norm(b) <= 0.6,
}


def expected(texts: list[str], behaviours: Tensor, table: dict[str, list[str]] | None = None) -> dict[str, list[str]]:
    """Text -> the signs of a table (default: `signs`) that its behaviour [N, WIDTH] lacks."""
    wanted = signs() if table is None else table
    return {text: [s for s in wanted[text] if not SIGNS[s](b)] for text, b in zip(texts, behaviours, strict=True)}


def present(show: Callable[[list[str]], Tensor], table: dict[str, list[str]]) -> float:
    """Share of the signs of a table that behaviours of `show` have."""
    lacking = expected(list(table), show(list(table)), table)
    return 1 - sum(map(len, lacking.values())) / sum(map(len, table.values()))


def dimensions(faces: Tensor) -> int:
    """Principal components that hold 95 % of the variance of faces [N, C]."""
    energy = torch.linalg.svdvals(faces - faces.mean(0)).square().cumsum(0)
    return int((energy < VARIANCE * energy[-1]).sum()) + 1


def shared(faces: Tensor) -> float:
    """Share of faces [N, C] whose cosine with another one is above `SAME`."""
    unit = F.normalize(faces, dim=1)
    return float(((unit @ unit.T - 2 * torch.eye(len(unit))).amax(1) > SAME).float().mean())


def pleasantness(faces: Tensor) -> Tensor:
    """[N]: smile minus frown of faces [N, >= 53]."""

    def mean(*names: str) -> Tensor:
        return torch.stack([faces[:, components(name)].mean(1) for name in names]).sum(0)

    return mean("mouthSmile", "cheekRaiser") - mean("mouthFrown", "browDown", "noseSneer", "mouthStretch")


def faces(show: Callable[[list[str]], Tensor]) -> dict:
    """Figures of `show`, texts -> behaviours [N, WIDTH]."""
    texts, words = list(signs()), [text for text, _ in measuring("held out")]
    shown = show(texts)
    lacking = expected(texts, shown)
    wanted = sum(len(signs()[text]) for text in texts)
    betas = torch.cat([show(words), shown])[:, : len(FACE)]
    felt = betas.norm(dim=1) > NEAR
    rated = measuring("valence")
    ratings = torch.tensor([float(value) for _, value in rated])
    things = [text for text, _ in measuring("unrelated")]
    moved = show(things)[:, : len(FACE)].norm(dim=1)
    return {
        "phrases": len(texts),
        "signs": wanted,
        "signs present": 1 - sum(map(len, lacking.values())) / wanted,
        "clean phrases": len(signs(CLEAN)),
        "clean signs present": present(show, signs(CLEAN)),
        "words": len(betas),
        "dimensions for 95 %": dimensions(betas),
        "wear another's face": shared(betas[felt]),
        "valence r (face)": correlation(pleasantness(show([t for t, _ in rated])), ratings),
        "unrelated near neutral": float((moved <= NEAR).float().mean()),
        "unrelated moved": {t: round(float(n), 2) for t, n in zip(things, moved, strict=True) if n > NEAR},
        "lacking": {text: missing for text, missing in lacking.items() if missing},
    }


def classes(read: Callable[[list[str]], Tensor]) -> dict:
    """Figures of `read`, texts -> [N, 9] over `CLASSES`: nearest basic of unseen words, unrelated prompts."""
    report: dict = {}
    for group, name in (("held out", ""), ("check", "check ")):
        held = measuring(group)
        named = read([word for word, _ in held])[:, : len(BASICS)].argmax(1).tolist()
        pairs = zip(held, named, strict=True)
        wrong = {word: f"{BASICS[i]} (not {basic})" for (word, basic), i in pairs if BASICS[i] != basic}
        report |= {f"{name}unseen words": len(held), f"{name}nearest basic": 1 - len(wrong) / len(held)}
        report[f"{name}wrong"] = wrong
    rated = measuring("valence")
    p = read([word for word, _ in rated])
    linear = p[:, 1] - p[:, [2, 4, 5, 6, 7]].sum(1)
    things = [text for text, _ in measuring("unrelated")]
    p = read(things)
    felt = {thing: CLASSES[int(row.argmax())] for thing, row in zip(things, p, strict=True) if row[1:-1].sum() > 0.5}
    return report | {
        "valence words": len(rated),
        "valence r (weights)": correlation(linear, torch.tensor([float(value) for _, value in rated])),
        "unrelated prompts": len(things),
        "unrelated unfelt": 1 - len(felt) / len(things),
        "unrelated named so": float((p.argmax(1) == len(CLASSES) - 1).float().mean()),
        "unrelated felt": felt,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Does the meaning of words reach the face?")
    parser.add_argument("--weights", type=Path, help="folder of weights")
    parser.add_argument("--out", type=Path, help="also write the figures as JSON")
    options = parser.parse_args()
    torch.set_num_threads(1)
    from ..api import EmoTalk

    talker = EmoTalk.load(options.weights, "cpu", "geometry")
    report = {"classes": classes(lambda texts: talker.ame.scores(talker.ame.text(texts)))}
    with torch.inference_mode():
        behaviour = talker.ame.behaviour
        assert behaviour is not None, "our own space has one"
        report["behaviour"] = faces(lambda texts: behaviour(talker.ame.text(texts)))

        def shown(texts: list[str]) -> Tensor:  # the face of a silent film, with the head and the motion beside it
            beside = behaviour(talker.ame.text(texts))[:, len(FACE) :]
            return torch.cat([torch.stack([talker.expression(t, 3.0)[0] for t in texts])[:, : len(FACE)], beside], 1)

        report["silent film"] = faces(shown)
    show_report(report, options.out)


if __name__ == "__main__":
    main()
