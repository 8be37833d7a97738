"""All networks that make a video, loaded together."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from ..errors import EmoTalkError, WeightsError
from ..face import kernels, raster
from ..face.model import FaceModel
from ..face.tracker import FaceTracker, Tracker
from ..settings import OPTIONS
from . import checkpoints, spaces
from .acceleration import check as check_engine
from .acceleration import find_device
from .eac import EAC
from .emotion_space import AME
from .hef import HEF
from .memory import give_back_freed, keep_freed
from .text_tower import SPACE
from .vad import VAD

LOADERS = 4  # threads: reading, hashing and copying hold no lock


@dataclasses.dataclass(frozen=True)
class Models:
    """All that makes a video. face_model: on the CPU, where portraits are fitted; moving_model and the others: on
    `device`. hef: None animates by geometry alone.

    weights: file name -> SHA-256; landmarks, renderer: their names; for the record. folder: of weights that are loaded
    when they are needed.
    """

    face_model: FaceModel
    moving_model: FaceModel
    tracker: Tracker
    ame: AME
    vad: VAD
    eac: EAC
    hef: HEF | None
    device: torch.device
    weights: dict[str, str]
    landmarks: str
    renderer: str
    folder: Path

    def options(self) -> dict[str, str]:
        """The options of `emotalk generate` that chose them."""
        about = {"generator": "hef" if self.hef is not None else "geometry", "landmarks": self.landmarks}
        about |= {"clip": self.ame.space} if self.ame.space != SPACE else {}
        about |= {"engine": self.hef.engine} if self.hef is not None else {}
        about |= {"renderer": self.renderer} if self.renderer != "builtin" else {}
        return {**about, "device": str(self.device)}


def load_models(
    weights: str | os.PathLike[str] | None,
    device: str | torch.device,
    generator: str,
    landmarks: str,
    clip: str | None,
    engine: str,
    renderer: str = "builtin",
) -> Models:
    """Arguments are `EmoTalk.load`'s. Raises UsageError, WeightsError, and EmoTalkError where
    the models do not fit into the device's memory."""
    generator, landmarks = OPTIONS["generator"].parse(generator), OPTIONS["landmarks"].parse(landmarks)
    place = find_device(device)
    check_engine(engine, place)
    raster.choose(OPTIONS["renderer"].parse(renderer))
    keep_freed()
    folder = checkpoints.weights_dir(weights)

    def follow() -> Tracker:
        if landmarks == "builtin":
            return FaceTracker.load(folder, place)
        from ..face.alignment import AlignmentTracker

        return AlignmentTracker.load(folder, place)

    def feel() -> tuple[AME, EAC]:
        eac = EAC.load(folder)
        ame = spaces.load(clip or eac.dims.space or SPACE, folder)
        eac.check(ame.space)
        return ame.to(place), eac.to(place)

    def paint() -> HEF | None:
        return HEF.load(folder, place).accelerate(engine) if generator == "hef" else None

    with _readable(folder), enough_memory(place), ThreadPoolExecutor(LOADERS, "emotalk-load") as pool:
        shape, following = pool.submit(FaceModel.load, folder), pool.submit(follow)
        feeling, painting = pool.submit(feel), pool.submit(paint)
        vad = VAD.load(folder).to(place)
        model, tracker, (ame, eac), hef = shape.result(), following.result(), feeling.result(), painting.result()
    if place.type == "cpu":  # nobody waits for it: tracking the portrait comes first
        threading.Thread(target=kernels.warm, name="emotalk-warm").start()
    give_back_freed()
    # these only measure, or come later
    unused = {"sync", "identity", "matte"} | ({"hef", "mouth", "lids"} if hef is None else set())
    unused |= {"tracker"} if landmarks != "builtin" else set()
    hashes = {name: digest for name, digest in checkpoints.index(folder).items() if Path(name).stem not in unused}
    moving = model if place.type == "cpu" else copy.deepcopy(model).to(place)
    return Models(model, moving, tracker, ame, vad, eac, hef, place, hashes, landmarks, renderer, folder)


@contextlib.contextmanager
def _readable(folder: Path) -> Iterator[None]:
    try:
        yield
    except KeyError as error:  # a tensor that the code expects
        raise WeightsError(
            f"The weights in {folder} lack {error} and are of another version of EmoTalk; restore them."
        ) from error


@contextlib.contextmanager
def enough_memory(device: torch.device) -> Iterator[None]:
    """Memory that runs out becomes a sentence. Raises EmoTalkError."""
    try:
        yield
    except RuntimeError as error:  # torch.cuda.OutOfMemoryError is one; other devices have no class of their own
        if "out of memory" not in str(error) and "can't allocate memory" not in str(error):
            raise
        raise EmoTalkError(
            f"There is not enough memory on {device}; choose a smaller --size, or --device cpu."
        ) from error
