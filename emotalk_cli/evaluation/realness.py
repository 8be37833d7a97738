"""Can made faces be told from photographs? `python -m emotalk_cli.evaluation.realness --data DATA`.

Crops of held-out people's mouths, eyes and cheeks: from photos of their real smiles, and from videos' frames made of
their neutral photos. A linear classifier on features of a network that nothing was trained through (`perceptual`)
learns real against made on all people but a few and is tested on those; 0.5 is chance. Real and made crops pass the
same resampling.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..api import EmoTalk
from ..face.geometry import FaceMotion
from ..face.topology import INDEX, LEFT_EYE, OUTER_LIPS
from ..media.audio import Recording
from ..training.data.hef_pairs import SMILING, aligned, pairs
from .independent import FINE, EfficientNetLite0
from .sheet import square

REGIONS = {"mouth": (OUTER_LIPS, 1.3), "eye": (LEFT_EYE, 1.6), "cheek": ([205, 50, 117, 147, 187], 1.0)}
SIZE, FOLDS, RIDGE = 96, 5, 30.0
MOMENTS = 2  # made frames a person


@torch.inference_mode()
def crops(talker: EmoTalk, data: Path, emotion: str, intensity: float, audio: Path) -> list[dict[str, Tensor]]:
    """By person and region: crops [N,3,SIZE,SIZE] 0..1, the real one first."""
    recording = Recording.open(audio)
    mel = torch.cat(list(talker.vad.listen(recording.mels())), 1)
    beta, sigma = talker.eac.predict(mel, talker.emotion(emotion).z[0], intensity)
    order = beta[:, INDEX["jawOpen"]].argsort()
    at = order[(np.linspace(0.4, 0.8, MOMENTS) * (len(order) - 1)).astype(int)]
    pose, people = torch.zeros(MOMENTS, 6), []
    for source, target in pairs(data, held_out=True):
        if not target.name.startswith(SMILING):
            continue
        fit = talker.portrait(source.image).fit
        motion, real = FaceMotion(talker.face_model, fit), aligned(fit, target)
        geometry, points = motion.frame(beta[at], pose), motion.vertices(beta[at], pose)
        frames = geometry.composite()
        if talker.hef is not None:
            frames = talker.hef(talker.hef.source(fit), geometry, beta[at], pose, sigma[at])
        shown = [(real[0], real[1]), *zip(frames, points, strict=True)]
        people.append({r: torch.stack([square(f, p, *REGIONS[r], SIZE) for f, p in shown]) for r in REGIONS})
    return people


def accuracy(features: list[np.ndarray]) -> float:
    """Cross-validated over people; features [N,D] of each, the real one first. Real and made weigh the same."""
    folds, right = np.arange(len(features)) % FOLDS, []
    for fold in range(FOLDS):
        train = [f for f, k in zip(features, folds, strict=True) if k != fold]
        x = np.concatenate(train)
        y = np.concatenate([[1.0, *[-1.0] * (len(f) - 1)] for f in train])
        weight = np.where(y > 0, (y < 0).sum() / (y > 0).sum(), 1.0)
        mean, spread = x.mean(0), x.std(0) + 1e-6
        x = np.concatenate([(x - mean) / spread, np.ones((len(x), 1))], 1)
        root = np.sqrt(weight)[:, None]
        dual = np.linalg.solve((root * x) @ (root * x).T + RIDGE * np.eye(len(x)), root[:, 0] * y)
        plane = (root * x).T @ dual
        for found in (f for f, k in zip(features, folds, strict=True) if k == fold):
            told = np.concatenate([(found - mean) / spread, np.ones((len(found), 1))], 1) @ plane
            right.append(((told[0] > 0) + (told[1:] < 0).mean()) / 2)
    return float(np.mean(right))


@torch.inference_mode()
def evaluate(people: list[dict[str, Tensor]]) -> dict[str, float]:
    """Accuracy by region."""
    judge, found = EfficientNetLite0.load(), {}
    for region in REGIONS:
        rows = []
        for person in people:
            maps = judge.maps(person[region])[1:FINE]
            rows.append(torch.cat([t for m in maps for t in (m.mean((2, 3)), m.std((2, 3)))], 1).numpy())
        found[region] = accuracy(rows)
    return found


def main(arguments: list[str] | None = None) -> None:
    """Print the accuracies."""
    parser = argparse.ArgumentParser(prog="python -m emotalk_cli.evaluation.realness", description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--audio", type=Path, default=Path("examples/speech.wav"))
    parser.add_argument("--emotions", default="happy")
    parser.add_argument("--intensity", type=float, default=2.0)
    parser.add_argument("--generator", choices=("hef", "geometry"), default="hef")
    parser.add_argument("--weights", type=Path)
    options = parser.parse_args(arguments)
    talker = EmoTalk.load(options.weights, "cpu", options.generator)
    for emotion in options.emotions.split(","):
        found = evaluate(crops(talker, options.data, emotion, options.intensity, options.audio))
        print(f"{emotion}: " + ", ".join(f"{region} {value:.2f}" for region, value in found.items()), flush=True)


if __name__ == "__main__":
    main()
