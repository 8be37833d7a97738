"""Do lips that a portrait shows apart meet, in silence and on every /p b m/ of a sentence, at any turn of the head?

Held-out photos whose lips are labelled apart speak a held-out sentence; frames of silence and of its bilabials are
tracked by MediaPipe. `emotalk eval closing`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ..constants import FPS
from ..errors import InputError
from ..face.landmarker import LEFT_CORNER, RIGHT_CORNER
from ..media import audio
from ..models.hef import generated
from ..training.data import motion
from ..training.data.faces import SETS, load_faces
from ..training.data.mouths import openings
from .articulation import NEAR
from .mediapipe_landmarker import Landmarks, landmarker

UPPER, LOWER = 13, 14  # middles of the inner lips
PARTED = 3.0  # % of the outer eye distance, from which on a photo's lips count as apart
CLOSED = 2.0  # %, below which a video's do not
TURNS = {"still": None, "20°": (20.0, 0.0), "35°": (35.0, 0.0), "down 10°": (0.0, -10.0)}  # to a side, up
BEFORE = 0.6  # s of silence before the sentence
SENTENCE = "ljspeech"  # set whose held-out recording with the most bilabials is spoken


def apart(landmarks: np.ndarray) -> float:
    """Distance of the inner lips' middles in % of the outer eye corners', in space: turned heads count alike."""
    gap = np.linalg.norm(landmarks[UPPER, :2] - landmarks[LOWER, :2])
    return float(100 * gap / np.linalg.norm(landmarks[LEFT_CORNER] - landmarks[RIGHT_CORNER]))


def sentence(data: Path) -> tuple[torch.Tensor, list[slice]]:
    """Log-mel of the held-out recording with the most bilabials, and the frames in which each may close."""
    held = json.loads((data / "splits.json").read_text())[SENTENCE]
    phones = {name: motion.read_textgrid(data / SENTENCE / f"{name}.TextGrid") for name in held}
    labial = {
        name: [phone for phone in rows if motion.visemes_of(phone.label) == ("bilabial",)]
        for name, rows in phones.items()
    }
    name = max(labial, key=lambda name: len(labial[name]))
    near = [slice(int((p.start + BEFORE - NEAR) * FPS), int((p.end + BEFORE + NEAR) * FPS) + 1) for p in labial[name]]
    silence = np.zeros(round(BEFORE * audio.SAMPLE_RATE), np.float32)
    return audio.log_mel(np.concatenate([silence, audio.load(data / SENTENCE / f"{name}.ogg")])), near


@torch.inference_mode()
def evaluate(
    data: Path,
    generator: str = "hef",
    count: int = 0,
    weights: Path | None = None,
    save: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, dict[str, float]]:
    """For each of `TURNS`: share of closures below `CLOSED`, on all and by portrait; what the photos show beside it.

    count: portraits, the widest mouths and the smallest alike; 0: all. save: folder for a strip of frames a portrait.
    """
    with landmarker(data) as find:
        return _evaluate(data, find, generator, count, weights, save, progress)


def _evaluate(
    data: Path,
    find: Landmarks,
    generator: str,
    count: int,
    weights: Path | None,
    save: Path | None,
    progress: Callable[[int, int], None] | None,
) -> dict[str, dict[str, float]]:
    from ..api import EmoTalk

    talker = EmoTalk.load(weights, "cpu", generator)
    faces = [face for face in load_faces(data, True, sets=tuple(SETS)) if openings(face.landmarks) > PARTED]
    faces = sorted(faces, key=lambda face: -float(openings(face.landmarks)))
    faces = [faces[i] for i in np.unique(np.linspace(0, len(faces) - 1, count or len(faces)).astype(int))]
    mel, near = sentence(data)
    beta, sigma = talker.eac.predict(talker.vad.hear(mel), talker.ame.text(["neutral"])[0], 1.0)
    gap = (beta @ talker.eac.lips).mean(1)
    at = [0, *(part.start + int(gap[part].argmin()) for part in near)]
    beta, sigma = beta[at], sigma[at]
    rows: dict[str, list[list[float]]] = {name: [] for name in TURNS}
    for number, face in enumerate(faces):
        try:
            portrait = talker.portrait(face.image)
        except InputError:  # no face is found there, which other measures count
            continue
        strip = [face.image]
        own = math.degrees(talker.tracker(face.image)[0].rotation[1])
        for name, turn in TURNS.items():
            yaw, pitch = (0.0, 0.0) if turn is None else turn
            yaw = math.copysign(max(0.0, yaw - abs(own)), own) if yaw else 0.0  # what the photo lacks of it
            pose = torch.tensor([[math.radians(pitch), math.radians(yaw), 0.0, 0.0, 0.0, 0.0]]).expand(len(at), -1)
            found = []
            for i in range(0, len(at), 4):
                part = slice(i, i + 4)
                geometry = portrait.motion.frame(beta[part], pose[part])
                pictures = generated(talker.hef, portrait.source, geometry, beta[part], pose[part], sigma[part])
                shown = (pictures.permute(0, 2, 3, 1).clamp(0, 1) * 255).round().byte().numpy()
                found += [find(picture) for picture in shown]
                strip += [shown[0]] if i == 0 else []
            rows[name].append([apart(points) for points in found if points is not None])
        if save is not None:
            save.mkdir(parents=True, exist_ok=True)
            tiles = [np.asarray(Image.fromarray(picture).resize((256, 256))) for picture in strip]
            Image.fromarray(np.concatenate(tiles, 1)).save(save / f"{number:03d}.png")
        if progress is not None:
            progress(number + 1, len(faces))
    report = {}
    for name, values in rows.items():
        every = np.concatenate([np.array(row) for row in values])
        silent = np.array([row[0] for row in values if row])
        report[name] = {
            "portraits": len(values),
            "frames": len(every),
            "closed": float((every < CLOSED).mean()),
            "closed_in_silence": float((silent < CLOSED).mean()),
            "portraits_always_closed": float(np.mean([max(row) < CLOSED for row in values if row])),
            "median_percent": float(np.median(every)),
            "worst_tenth_percent": float(np.quantile(every, 0.9)),
        }
    report["photos"] = {"median_percent": float(np.median([openings(face.landmarks) for face in faces]))}
    return report
