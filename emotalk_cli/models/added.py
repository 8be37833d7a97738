"""Networks that others published and that may not be shipped: the user adds them (`emotalk weights add`)."""

from __future__ import annotations

import dataclasses
import os
import pickle
import sys
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ..errors import WeightsError
from . import checkpoints

ENVIRONMENT = "EMOTALK_JUDGES"


@dataclasses.dataclass(frozen=True)
class Published:
    """metric: what the network serves. file, source: what to download, and where."""

    metric: str
    file: str
    source: str


def folder() -> Path:
    """Where the user's networks are: $EMOTALK_JUDGES, else the system's place for data of programs."""
    if named := os.environ.get(ENVIRONMENT):
        return Path(named)
    if sys.platform == "darwin":
        return Path.home() / "Library/Application Support/emotalk/judges"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "emotalk/judges"


def has(name: str) -> bool:
    """Whether the user has added a network."""
    return f"{name}.safetensors" in (checkpoints.index(folder()) if folder().is_dir() else {})


def read(path: Path) -> dict[str, Tensor]:
    """Tensors of a .safetensors or PyTorch file, without what training wrapped them in. Raises WeightsError."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise WeightsError(f"{path} holds no weights, or more than weights; download it again.") from error
    while isinstance(state, dict) and isinstance(inner := state.get("state_dict", state.get("model")), dict):
        state = inner
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise WeightsError(f"{path} holds no table of weights; download it again.")
    return {key.removeprefix("module."): value for key, value in state.items()}
