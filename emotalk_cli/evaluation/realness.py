"""Can made faces be told from photographs? `python -m emotalk_cli.evaluation.realness --data DATA`.

Crops of held-out people's mouths, eyes and cheeks: from photos of their real smiles, and from videos' frames made of
their neutral photos. A linear classifier on features of a network that nothing was trained through (`independent`)
learns real against made on all people but a few and is tested on those; 0.5 is chance.

Real and made pass the same tracker, crop and resampling, and are cut at the same place of the skull: else the measure
would see the landmarker's and the filter's differences. What remains beside the generator's faults is the expression:
posed smiles differ from an emotion's. So three rows stand beside the emotions: `photos`, how well real smiles are told
from the same people's real neutral photos, `own smile`, frames driven by the real smile's own landmarks, and `repeat`,
all held-out photos told from frames that repeat their expression: there nothing differs but what the program leaves.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..api import EmoTalk
from ..errors import InputError
from ..face.fit import PortraitFit
from ..face.geometry import FaceMotion, Geometry, still
from ..face.topology import INDEX, LEFT_EYE, OUTER_LIPS
from ..media.audio import Recording
from ..models.hef import generated, source_of
from ..training.data.hef_pairs import SMILING, STABLE, LandmarkMotion, pairs, photos, similarity
from .independent import FINE, EfficientNetLite0
from .sheet import square

REGIONS = {"mouth": (OUTER_LIPS, 1.3), "eye": (LEFT_EYE, 1.6), "cheek": ([205, 50, 117, 147, 187], 1.0)}
SIZE, FOLDS, RIDGE = 96, 5, 30.0
MOMENTS = 2  # made frames a person
PHOTOS, OWN, REPEAT = "photos", "own smile", "repeat"


def smiles(talker: EmoTalk, data: Path) -> Iterator[tuple[PortraitFit, PortraitFit]]:
    """Held-out people, neutral and smiling, as the program sees them."""
    for source, target in pairs(data, held_out=True):
        if target.name.startswith(SMILING):
            yield talker.portrait(source.image).fit, talker.portrait(target.image).fit


def placed(points: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Where points [478,3] px of a face lie in another picture of it, by what expression does not move, and the map
    [2,3]."""
    into = torch.tensor(similarity(points[STABLE, :2].numpy(), other[STABLE, :2].numpy()), dtype=torch.float32)
    return points[:, :2] @ into[:, :2].T + into[:, 2], into


def cut(frames: Tensor, points: Tensor) -> dict[str, Tensor]:
    """By region: crops [N,3,SIZE,SIZE] of frames [N,3,512,512] about points [478,2] px."""
    return {r: torch.stack([square(frame, points, *REGIONS[r], SIZE) for frame in frames]) for r in REGIONS}


@torch.inference_mode()
def crops(
    talker: EmoTalk, people: list[tuple[PortraitFit, PortraitFit]], shown: str, intensity: float, audio: Path
) -> list[dict[str, Tensor]]:
    """By person and region: crops [N,3,SIZE,SIZE] 0..1, the real smile's first. shown: an emotion, `PHOTOS` or
    `OWN`."""
    recording = Recording.open(audio)
    mel = torch.cat(list(talker.vad.listen(recording.mels())), 1)
    sigma: Tensor | None = None
    if shown not in (PHOTOS, OWN):
        beta, sigma = talker.eac.predict(mel, talker.emotion(shown).z[0], intensity)
        order = beta[:, INDEX["jawOpen"]].argsort()
        at = order[(np.linspace(0.4, 0.8, MOMENTS) * (len(order) - 1)).astype(int)]
        beta, sigma = beta[at], sigma[at]
    found = []
    for fit, smile in people:
        there, into = placed(fit.landmarks, smile.landmarks)
        if shown == PHOTOS:
            frames = fit.image[None]
        else:
            motion: FaceMotion = FaceMotion(talker.face_model, fit)
            if shown == OWN:
                beta, back = smile.beta[None], np.linalg.inv(np.vstack([into.numpy(), [0, 0, 1]]))[:2]
                scale = float(np.sqrt(np.linalg.det(back[:, :2])))
                turned = smile.landmarks[:, :2] @ torch.tensor(back[:, :2].T).float() + torch.tensor(back[:, 2]).float()
                depth = smile.landmarks[:, 2:] * scale
                depth = depth + fit.landmarks[STABLE, 2].mean() - depth[STABLE].mean()
                motion = LandmarkMotion(talker.face_model, fit, torch.cat([turned, depth], 1))
            frames = made(talker, fit, motion.frame(beta, still(len(beta))), beta, sigma)
        real, other = cut(smile.image[None], there), cut(frames, fit.landmarks)
        found.append({region: torch.cat([real[region], other[region]]) for region in REGIONS})
    return found


@torch.inference_mode()
def repeated(talker: EmoTalk, data: Path) -> list[dict[str, Tensor]]:
    """As `crops`, of every held-out photo that shows a face and the frame that repeats it."""
    found = []
    for photo in photos(data, held_out=True):
        try:
            fit = talker.portrait(photo.image).fit
        except InputError:
            continue
        motion: FaceMotion = FaceMotion(talker.face_model, fit)
        beta = motion.source_beta
        again = made(talker, fit, motion.frame(beta, still(1)), beta, None)
        found.append(cut(torch.cat([fit.image[None], again]), fit.landmarks[:, :2]))
    return found


def made(talker: EmoTalk, fit: PortraitFit, geometry: Geometry, beta: Tensor, sigma: Tensor | None) -> Tensor:
    """Frames [B,3,512,512] of a portrait by the generator that the talker has."""
    source = source_of(talker.hef, fit, FaceMotion(talker.face_model, fit))
    return generated(talker.hef, source, geometry, beta, still(len(beta)), sigma)


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
    people = list(smiles(talker, options.data))
    for shown in (REPEAT, PHOTOS, OWN, *options.emotions.split(",")):
        if shown == REPEAT:
            found = evaluate(repeated(talker, options.data))
        else:
            found = evaluate(crops(talker, people, shown, options.intensity, options.audio))
        print(f"{shown}: " + ", ".join(f"{region} {value:.2f}" for region, value in found.items()), flush=True)


if __name__ == "__main__":
    main()
