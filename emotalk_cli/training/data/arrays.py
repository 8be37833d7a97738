"""Samples kept on disk: named arrays in one file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...media.files import replaced


def save(path: Path, arrays: Mapping[str, np.ndarray | np.generic], compressed: bool = False) -> None:
    """Write arrays as .npz, of which there is never a part."""
    named: dict[str, Any] = {**arrays}  # numpy types names as if each could be one of its options
    with replaced(path) as part, open(part, "wb") as file:
        (np.savez_compressed if compressed else np.savez)(file, **named)
