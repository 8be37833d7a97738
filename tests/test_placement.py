"""Tasks whose data are large, on a stand-in for a card: all tensors of a step lie where it is computed.

The other tasks are put there by the tests that train them.
"""

from __future__ import annotations

import numpy as np
import torch
from card import train_on

from emotalk_cli.face.landmarker import LANDMARKS
from emotalk_cli.face.tracker import FaceTracker
from emotalk_cli.models.vad import VAD
from emotalk_cli.training.config import Config
from emotalk_cli.training.data.corpus import Clip
from emotalk_cli.training.tasks import sync, tracker, vad


def test_the_tracker_learns_on_a_card(monkeypatch):
    monkeypatch.setattr(tracker.TrackerTask, "__init__", lambda task: None)
    task, model = tracker.TrackerTask(), FaceTracker.load()
    task.model, task.dims, task.parts, task.rate, task.helpers = model, model.dims, tracker.PARTS, 1e-3, {}
    task.weights = tracker.landmark_weights()
    task.mouth_weights = task.weights[model.mouth.vertices]
    cells, dims = 8, model.dims
    side = cells * tracker.STRIDE

    def batch(rng: np.random.Generator, size: int) -> dict[str, torch.Tensor]:
        shapes = {"images": (3, side, side), "heat": (cells, cells), "care": (cells, cells), "weight": (cells, cells)}
        shapes |= {"geometry": (5, cells, cells), "crops": (3, dims.crop, dims.crop), "scores": (tracker.SCORES,)}
        shapes |= {"mouths": (3, dims.mouth_crop, dims.mouth_crop), "mouth_points": (dims.mouth_points, 3), "eyes": ()}
        shapes |= {"points": (LANDMARKS, 3), "is_face": ()}
        found = {key: torch.from_numpy(rng.random((size, *shape), np.float32)) for key, shape in shapes.items()}
        found["points"][0, 5] = torch.nan  # a landmark without a label
        return found

    monkeypatch.setattr(task, "batch", batch)
    train_on(task, 1)


def test_the_judge_of_lips_learns_on_a_card(monkeypatch, tmp_path):
    lips = torch.rand(sync.LENGTH, 72)
    monkeypatch.setattr(sync, "talks", lambda *_: [sync.Talk(torch.rand(80, 4 * len(lips)) - 5, -20.0, lips)])
    train_on(sync.SyncTask(tmp_path, Config()))


def test_the_detector_of_speech_learns_on_a_card():
    rng = np.random.default_rng(0)
    clips = [Clip.of(str(n), rng.standard_normal(16000).astype(np.float32) / 9, []) for n in range(3)]
    for clip in clips:
        clip.move(torch.zeros(25, 1))
    task = vad.VADTask(clips, (torch.rand(3, 80, vad.MELS) - 6).half(), vad.Options(), 1e-3)
    assert isinstance(task.model, VAD)
    train_on(task)
