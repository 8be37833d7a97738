"""Motion of a film: which way up it is, and what the user is told of it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from emotalk_cli.animate import Performance, notes_on
from emotalk_cli.face.model import FaceModel
from emotalk_cli.face.tracker import FaceTracker
from emotalk_cli.motion.take import Take, filmed

PORTRAIT = Path(__file__).parent.parent / "examples/portrait.png"


@pytest.fixture(scope="module")
def take() -> Take:
    """A film of four frames that lies on its side; one frame is black."""
    picture = np.rot90(np.array(Image.open(PORTRAIT).convert("RGB")), 3)
    frames = [np.ascontiguousarray(picture)] * 2 + [np.zeros_like(picture), np.roll(picture, 2, 0)]
    return filmed(frames, 25.0, FaceTracker.load(), FaceModel.load())


def test_a_film_on_its_side_is_turned(take):
    assert take.turns == 1 and take.missing == pytest.approx(0.25)
    assert take.pose.abs().max() < 0.1, "the face is upright and hardly moves"


def test_notes_say_what_was_turned_missing_or_too_short(take):
    speech = SimpleNamespace(seconds=3.0, notes=[])
    notes = notes_on(Performance(speech, None, take), {})
    assert [n.split(";")[0] for n in notes] == [
        "The film lies on its right side",
        "25% of the film shows no face",
        "The take lasts 0.2 s, the speech 3.0 s",
    ]
    whole = Take(25.0, torch.zeros(75, 64), torch.zeros(75, 6))
    assert notes_on(Performance(speech, None, whole), {}) == []
