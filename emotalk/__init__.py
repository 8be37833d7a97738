"""`import emotalk` gives what `import emotalk_cli` gives, under the name that one installs."""

from typing import TYPE_CHECKING, Any

import emotalk_cli
from emotalk_cli import __all__ as __all__

if TYPE_CHECKING:
    from emotalk_cli import *  # noqa: F403


def __getattr__(name: str) -> Any:  # late, as there: `import emotalk` need not import torch
    return getattr(emotalk_cli, name)
