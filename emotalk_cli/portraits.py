"""Faces to animate: pictures are read, one of their faces is chosen and prepared; people are cut out of backgrounds."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Union

import numpy as np
import torch

from .animate import Portrait
from .constants import CROP_SIZE
from .errors import InputError, UsageError
from .face.fit import fit_portrait
from .face.geometry import FaceMotion
from .face.tracker import TURNS, FaceTracker
from .face.tracker import Face as Found
from .film import Film
from .media import image
from .media.background import cover_of
from .media.files import check_input, sha256
from .media.formats import is_film
from .models.checkpoints import index as listed
from .models.checkpoints import weights_dir
from .models.hef import source_of
from .models.loading import Models
from .models.matte import MatteNet, own_colours
from .models.memory import give_back_freed

if TYPE_CHECKING:
    from PIL.Image import Image

FilePath = Union[str, "os.PathLike[str]"]
Place = tuple[float, float]  # x, y: px, or parts (0..1) of a picture
Face = Union[Portrait, Film, FilePath, np.ndarray, "Image"]  # see `EmoTalk.portrait`

TURNED_FAR = 35  # degrees away from the camera
EYES_SHUT = 0.1  # distance of the lids in widths of an eye
MIN_FACE = 48  # px, longer side of the landmarks' box in the picture (at most image.MAX_SIDE px large)
_KEPT = 4  # prepared portraits that stay in memory


class Portraits:
    """Prepares portraits and films for one set of models; the last few portraits are kept."""

    def __init__(self, models: Models) -> None:
        self._models = models
        self._kept: OrderedDict[str, Portrait] = OrderedDict()
        self._matte: MatteNet | None = None

    @property
    def device(self) -> torch.device:
        """Where portraits are moved."""
        return self._models.device

    def clear(self) -> None:
        """Forget the portraits that are kept."""
        self._kept.clear()

    def portrait(
        self,
        face: FilePath | np.ndarray | Image,
        index: int | None = None,
        at: Place | None = None,
    ) -> Portrait:
        """See `EmoTalk.portrait`."""
        pixels = None
        if isinstance(face, str | os.PathLike):
            name, path = str(face), check_input(face, "picture")
            key = sha256(path)
        else:
            name, path, pixels = "picture", None, image.from_memory(face, alpha=True)
            key = hashlib.sha256(pixels.tobytes() + str(pixels.shape).encode()).hexdigest()
        digest, key = key, f"{key} {index} {at}"
        if key not in self._kept:
            self._kept[key] = self._prepare(
                name, digest, image.load(name, alpha=True) if pixels is None else pixels, index, at
            )
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
            give_back_freed()
        self._kept.move_to_end(key)
        return dataclasses.replace(self._kept[key], name=name, path=path)

    def of(self, face: Face) -> Portrait:
        """A portrait, or a picture's. Raises UsageError for a film."""
        if isinstance(face, Film) or is_film(face):
            raise UsageError("A film as --face works for whole videos only; give a picture here.")
        return face if isinstance(face, Portrait) else self.portrait(face)

    def film(self, face: FilePath, index: int | None = None, at: Place | None = None) -> Film:
        """See `EmoTalk.film`."""
        path = check_input(face, "video")
        models = self._models
        how = models.tracker, models.face_model, models.moving_model, models.device

        def choose(faces: Sequence[Found], size: tuple[int, int]) -> Found:
            return chosen(faces, size, None if index is None else min(index, len(faces) - 1), at, str(path))

        return Film(path, sha256(path), *how, choose, MIN_FACE, _options(index, at))

    @torch.inference_mode()
    def _prepare(self, name: str, digest: str, pixels: np.ndarray, index: int | None, at: Place | None) -> Portrait:
        pixels, alpha = image.split(pixels)
        turns, faces = self._models.tracker.upright(pixels)
        if not faces:
            raise InputError(f"{name} shows no face that can be found; give a picture of one face seen from the front.")
        pixels = np.ascontiguousarray(np.rot90(pixels, turns))
        face = chosen(faces, pixels.shape[1::-1], index, at, name)
        box = face.box
        side = max(box[2] - box[0], box[3] - box[1])
        if side < MIN_FACE:
            raise InputError(f"{name} shows a face of only {side:.0f} px; at least {MIN_FACE} px are needed.")
        notes = [f"The picture lies {TURNS[turns]}; it was turned upright."] if turns else []
        options = _options(index, at)
        if len(faces) > 1 and not options:
            notes.append(f"{len(faces)} faces found; the largest is animated (--face-index, --face-at).")
        if face.score < FaceTracker.threshold:
            notes.append("The face is hard to make out; a larger or clearer picture would move better.")
        if face.turn > TURNED_FAR:
            notes.append(f"The head is turned by {face.turn:.0f}°; beyond {TURNED_FAR}° its far side is a guess.")
        if face.eyes_open < EYES_SHUT:
            notes.append("The eyes are shut in the picture; they stay nearly shut.")
        fit = fit_portrait(self._models.face_model, pixels, face.landmarks, face.blendshapes)
        motion = FaceMotion(self._models.moving_model, fit, self.device)
        source = source_of(self._models.hef, fit, motion)
        alpha = np.ascontiguousarray(np.rot90(alpha, turns)) if alpha is not None else None
        return Portrait(name, fit, motion, source, notes, digest, None, alpha, options)

    @torch.inference_mode()
    def cut_out(self, portrait: Portrait) -> Portrait:
        """The portrait with a matte that says what of it is the person: its picture's own transparency, or the net's.

        Behind the person its picture then goes on in the person's colours. Raises WeightsError.
        """
        if portrait.cover is not None:
            return portrait
        fit, cover = portrait.fit, portrait.alpha
        if cover is None:
            left, top = fit.to_source[:, 2]
            side = float(fit.to_source[0, 0]) * CROP_SIZE
            cover = self.matte.cover(fit.source, (left - 0.1 * side, top - 0.15 * side, 1.2 * side))
        clean = fit.over(own_colours(fit.source, cover))
        motion = FaceMotion(self._models.moving_model, clean, self.device)
        features = source_of(self._models.hef, clean, motion)
        return dataclasses.replace(portrait, fit=clean, motion=motion, source=features, cover=cover_of(fit, cover))

    @property
    def matte(self) -> MatteNet:
        """The network that tells people from backgrounds, loaded when it is first needed. Raises WeightsError."""
        if self._matte is None:
            self._matte = MatteNet.load(self._models.folder)
        return self._matte

    def weights(self, portrait: Portrait | Film) -> dict[str, str]:
        """File name -> SHA-256 of what was loaded for this portrait alone."""
        if isinstance(portrait, Film) or portrait.cover is None or portrait.alpha is not None:
            return {}
        return {name: digest for name, digest in listed(weights_dir(self._models.folder)).items() if "matte" in name}


def _options(index: int | None, at: Place | None) -> dict[str, int | str]:
    """The options of `emotalk generate` that choose a face."""
    chosen_by: dict[str, int | str] = {} if index is None else {"face_index": index}
    return chosen_by if at is None else chosen_by | {"face_at": f"{at[0]:g},{at[1]:g}"}


def chosen(
    faces: Sequence[Found],
    size: tuple[int, int],
    index: int | None = None,
    at: Place | None = None,
    name: str = "The picture",
) -> Found:
    """One of the faces of a picture of `size` (width, height), the largest first: see `EmoTalk.portrait`.

    Raises InputError where there are fewer, or none is at that place.
    """
    if index is not None:
        if index >= len(faces):
            raise InputError(f"{name} shows {len(faces)} faces; choose --face-index from 0 to {len(faces) - 1}.")
        return sorted(faces, key=lambda face: face.box[0] + face.box[2])[index]
    if at is None:
        return faces[0]
    x, y = (a * side if max(at) <= 1 else a for a, side in zip(at, size, strict=True))

    def away(face: Found) -> float:
        left, top, right, bottom = face.box
        return max(left - x, x - right, top - y, y - bottom) / (right - left)

    nearest = min(faces, key=away)
    if away(nearest) > 0.5:
        raise InputError(f"{name} shows no face at --face-at {at[0]:g},{at[1]:g}; give a place on a face.")
    return nearest
