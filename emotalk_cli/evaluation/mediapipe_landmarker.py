"""MediaPipe's landmarks of pictures: a judge of videos, from the data pack's teachers, and never shipped."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from ..errors import UsageError

Landmarks = Callable[[np.ndarray], np.ndarray | None]


@contextlib.contextmanager
def landmarker(data: Path) -> Iterator[Landmarks]:
    """MediaPipe, while the block lasts: a picture uint8 [H,W,3] -> landmarks [478,3] px, None where it finds no face.

    Raises UsageError.
    """
    try:
        import mediapipe as mp
    except ImportError as error:
        raise UsageError("Tracking videos needs MediaPipe; pip install mediapipe.") from error
    model = str(data / "teachers" / "face_landmarker.task")
    vision = mp.tasks.vision
    options = vision.FaceLandmarkerOptions(base_options=mp.tasks.BaseOptions(model_asset_path=model), num_faces=1)
    with vision.FaceLandmarker.create_from_options(options) as net:

        def find(picture: np.ndarray) -> np.ndarray | None:
            shown = mp.Image(image_format=mp.ImageFormat.SRGB, data=np.ascontiguousarray(picture))
            found = net.detect(shown).face_landmarks
            height, width = picture.shape[:2]
            return np.array([[p.x * width, p.y * height, p.z * width] for p in found[0]]) if found else None

        yield find
