"""The networks of Tab. 3: each variant from random weights with the same data, seed and steps.

A variant changes EAC or HEF and takes the other from "ours" of the same seed. Its folder, <out>/<variant>/seed-<n>,
holds a complete set of weights. `evaluation.ablation` measures them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import InputError, UsageError
from ..evaluation.ablation import NAMES, OURS
from ..models import added, checkpoints, gpt2
from . import config as configs
from . import run
from .data import shards
from .solver import steps_done

CONSISTENCY = 0.02  # weight of L_emo on the data pack


@dataclasses.dataclass(frozen=True)
class Variant:
    """task: eac or hef, which differs from ours. clips, pack: overrides of its configuration, by the kind of data."""

    task: str
    clips: tuple[str, ...]
    pack: tuple[str, ...] = ()


VARIANTS: dict[str, Variant] = {
    OURS: Variant("", ()),
    "without-emo": Variant("eac", ("task.emo=0.0",), ("task.emotion=0.0",)),
    "one-hot": Variant("eac", ("task.space=one-hot",), ("task.encoding=one-hot",)),
    "gpt2": Variant("eac", ("task.space=gpt2",), ("task.encoding=gpt2",)),
    "language": Variant("eac", ("task.space=language",), ("task.encoding=language",)),
    "mlp": Variant("eac", ("task.encoder=mlp",), ("task.encoder=mlp",)),
    "gru": Variant("eac", ("task.encoder=gru",), ("task.encoder=gru",)),
    "without-res": Variant("hef", ("task.residual=false",), ("task.residual=false",)),
    "without-hie": Variant("hef", ("task.hierarchy=false",), ("task.hierarchy=false",)),
    "without-geometry": Variant("hef", ("task.geometry=false",), ("task.geometry=false",)),
}
assert set(VARIANTS) == set(NAMES)


def usual() -> list[str]:
    """What is trained unless variants are named: GPT-2's, or, where the user has not added it, its stand-in."""
    left_out = "language" if added.has(gpt2.SPACE) else "gpt2"
    return [name for name in VARIANTS if name != left_out]


def ordered(names: Sequence[str]) -> list[str]:
    """Variants in the order in which they can be trained: ours first. Raises UsageError for an unknown name."""
    for name in names:
        if name not in VARIANTS:
            raise UsageError(f"--variants {name} is unknown; choose from {', '.join(VARIANTS)}.")
    return [name for name in VARIANTS if name in names or name == OURS]


def train(name: str, data: Path, out: Path, seed: int, **how: Any) -> Path:
    """Train what of a variant is not there yet; its folder. how: of `run.train`. Raises as that does, and WeightsError
    if ours, whose other networks a variant takes, is missing."""
    folder, variant = _folder(out, name, seed), VARIANTS[name]
    ours = None if name == OURS else checkpoints.weights_dir(_folder(out, OURS, seed))
    filmed = shards.is_prepared(data)
    for task in ("eac", "hef"):
        steps = how.get("steps") or configs.load(run.config_name(task, filmed, how.get("config")), task).steps
        if variant.task not in ("", task) or steps_done(folder / task) >= steps:
            continue
        overrides = [*_usual(task, filmed, data, out, steps), *(variant.clips if filmed else variant.pack)]
        if filmed and task == "hef":
            overrides.append(f"task.eac={ours or folder}")
        run.train(task, data, folder, overrides=overrides, seed=seed, resume=True, rest=ours, **how)
    checkpoints.complete(folder, ours)  # of a run that was killed at its very end
    return folder


def _folder(out: Path, name: str, seed: int) -> Path:
    return out / name / f"seed-{seed}"


def _usual(task: str, filmed: bool, data: Path, out: Path, steps: int) -> list[str]:
    """What all variants share: random weights, and on the data pack its samples and what few steps call for."""
    shared = ['task.start=""']
    if filmed:
        return shared
    if task == "eac":
        if not (data / "teachers" / "fer_mini_xception.npz").exists():
            raise InputError(f"L_emo needs {data / 'teachers'}/fer_mini_xception.npz; give the whole data pack.")
        return [*shared, f"task.work={out / 'corpus'}", f"task.emotion={CONSISTENCY}"]
    # no critic, which needs more steps, and no judgement of whole faces
    return [*shared, f"task.cache={out / 'samples'}", "task.whole=false", f"task.adversarial={steps}"]
