"""What the image and audio towers of the emotion space share."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from torch import nn

from ..errors import WeightsError
from . import checkpoints

Tower = TypeVar("Tower", bound="_Tower")


class _Tower(nn.Module):
    """What both towers share: they live in one weight file each, which may be missing."""

    name: ClassVar[str]
    Dims: ClassVar[type]
    dims: Any  # an instance of `Dims`

    @classmethod
    def load(cls: type[Tower], folder: Path, space: str, skip: bool = False) -> Tower | None:
        """The tower in a folder of weights, ready for use; None if there is none.

        Raises WeightsError if the file is damaged, or was trained in another space than `space`; with `skip` such
        a tower counts as none.
        """
        if not (folder / f"{cls.name}.safetensors").is_file():
            return None
        checkpoint = checkpoints.load(cls.name, folder)
        if checkpoint.dims.get("space") != space:
            if skip:
                return None
            raise WeightsError(
                f"{checkpoint.path} was trained in the emotion space {checkpoint.dims.get('space')!r}, not {space!r}; "
                "train it again in this space or remove it."
            )
        return checkpoint.fill(cls(checkpoint.sizes(cls.Dims))).requires_grad_(False)

    def save(self, folder: str | os.PathLike[str], **provenance: Any) -> Path:
        """Write the weight file (see `checkpoints.save` for the provenance to give)."""
        return checkpoints.save(self.name, self.state_dict(), asdict(self.dims), folder, **provenance)
