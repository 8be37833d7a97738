"""CLIP itself (Radford et al. 2021) as emotion space, from an upstream open_clip model: the extra `clip`."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import socket
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..emotions.prototypes import CLASSES
from ..errors import UsageError, WeightsError
from . import checkpoints
from .audio_tower import AudioTower
from .emotion_space import AME
from .image_tower import MARGIN, face_crop
from .text_tower import WIDTH


def load(clip: str, weights: str | os.PathLike[str] | None = None) -> AME:
    """The emotion space of an open_clip model: "ViT-B-32/openai", "ViT-B-32/weights.pt"; without a tag, "openai".

    The activation is the tag's own (QuickGELU for OpenAI's weights); a local file has that of its model's name, so
    OpenAI's weights in a file are "ViT-B-32-quickgelu/weights.pt". The space is named `clip`: EAC, and the audio
    tower that is looked for in `weights`, must have been trained in it. Raises UsageError for an unknown model, one
    that is not 512 wide, or without open_clip; WeightsError if the model's weights are neither cached nor
    downloadable.
    """
    open_clip = _package()
    name, _, pretrained = clip.partition("/")
    pretrained = pretrained or "openai"
    if name not in open_clip.list_models():
        raise UsageError(f"open_clip knows no model {name!r}; ViT-B-32 is one that it knows.")
    try:
        with _quiet_hub(reachable=os.path.exists(pretrained) or _online()):
            quick = open_clip.get_pretrained_cfg(name, pretrained).get("quick_gelu", False)
            model = open_clip.create_model(name, pretrained=pretrained, force_quick_gelu=quick)
    except Exception as error:  # hub, network, cache and unpickling failures share no base class
        raise WeightsError(
            f"The weights {name}/{pretrained} could not be loaded; download them once while online, name a local "
            "weights file instead of the tag, or omit --clip to use the built-in emotion space."
        ) from error
    text = _Text(model.eval().requires_grad_(False))
    tokenizer = open_clip.get_tokenizer(name)
    with torch.no_grad():
        prompts = [f"a {word} face" for word in CLASSES[:-1]] + ["a photo of an object"]
        anchors = F.normalize(text(tokenizer(prompts)), dim=1)
    if anchors.shape[1] != WIDTH:
        raise UsageError(
            f"{name} embeds in {anchors.shape[1]} dimensions; choose a model of {WIDTH}, such as ViT-B-32."
        )
    space = f"{name}/{pretrained}"
    audio = AudioTower.load(checkpoints.weights_dir(weights), space, skip=True)
    return AME(text, tokenizer, space, image_tower=_Image(model), audio_tower=audio, anchors=anchors)


def _package() -> ModuleType:
    try:
        return importlib.import_module("open_clip")
    except ImportError as error:
        raise UsageError("An upstream CLIP needs open_clip: pip install 'emotalk[clip]'.") from error


def _online() -> bool:
    try:
        socket.create_connection(("huggingface.co", 443), timeout=3).close()
    except OSError:
        return False
    return True


@contextlib.contextmanager
def _quiet_hub(reachable: bool) -> Iterator[None]:
    """The model hub logs every retry, for a minute, where it cannot be reached: then only its cache is asked."""
    import huggingface_hub

    before = huggingface_hub.constants.HF_HUB_OFFLINE
    huggingface_hub.constants.HF_HUB_OFFLINE = before or not reachable
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
        huggingface_hub.constants.HF_HUB_OFFLINE = before


class _Text(nn.Module):
    """The text side of an open_clip model as a tower."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model: Any = model

    def forward(self, tokens: Tensor) -> Tensor:
        return self.model.encode_text(tokens)


class _Image(nn.Module):
    """The image side of an open_clip model, with the interface of an `ImageTower`."""

    mean: Tensor
    std: Tensor

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model: Any = model
        size = model.visual.image_size
        self.side = size if isinstance(size, int) else size[0]
        for name in ("mean", "std"):
            values = getattr(model.visual, f"image_{name}", None) or getattr(
                _package(), f"OPENAI_DATASET_{name.upper()}"
            )
            self.register_buffer(name, torch.tensor(values)[:, None, None], persistent=False)

    def crop(self, pixels: np.ndarray, landmarks: np.ndarray) -> Tensor:
        return face_crop(pixels, landmarks, self.side, MARGIN)

    def features(self, landmarks: Tensor, scores: Tensor) -> None:
        """Such a model sees pixels only."""

    def forward(self, crops: Tensor, features: None) -> Tensor:
        return F.normalize(self.model.encode_image(((crops + 1) / 2 - self.mean) / self.std), dim=1)
