"""Tab. 3: the rows of the paper's ablation, measured on prepared test clips by its metrics: EFD, LMD and Sync."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from ..api import EmoTalk
from ..errors import InputError, UsageError, WeightsError
from ..models import checkpoints
from ..training.data import shards
from . import evaluate, protocol

METRICS = ("efd", "lmd", "sync")
OURS = "ours"
ROWS = (  # row of the table, folder of its weights
    ("w/o L_emo", "without-emo"),
    ("w/ L_emo", OURS),
    ("One-hot", "one-hot"),
    ("GPT2", "gpt2"),
    ("language model (in place of GPT2)", "language"),
    ("CLIP", OURS),
    ("MLPs", "mlp"),
    ("GRUs", "gru"),
    ("Transformers", OURS),
    ("w/o res.", "without-res"),
    ("w/o hie.", "without-hie"),
    ("w/o φ_geo (not in the paper)", "without-geometry"),
    ("Ours", OURS),
)
NAMES = tuple(dict.fromkeys(folder for _, folder in ROWS))


@dataclasses.dataclass
class Table:
    """Figures of each variant: folder -> metric -> one value a seed; metrics by their full names; notes."""

    figures: dict[str, dict[str, list[float]]]
    metrics: list[str]
    notes: list[str]

    def markdown(self) -> str:
        """The paper's rows: mean over the seeds, and half the distance of the furthest two."""
        lines = [f"| method | {' | '.join(self.metrics)} |", "|---" * (len(self.metrics) + 1) + "|"]
        for row, folder in ROWS:
            if folder in self.figures:
                cells = [_cell(self.figures[folder].get(metric, [])) for metric in self.metrics]
                lines.append(f"| {row} | {' | '.join(cells)} |")
        return "\n".join(lines)


def _cell(values: Sequence[float]) -> str:
    if not values:
        return ""
    mean, spread = sum(values) / len(values), (max(values) - min(values)) / 2
    return f"{mean:.3f}" if len(values) == 1 else f"{mean:.3f} ± {spread:.3f}"


def found(runs: Path) -> dict[str, list[Path]]:
    """Variant -> the folders of its seeds. Raises InputError if there are none."""
    complete = {path.parent for path in runs.glob(f"*/seed-*/{checkpoints.INDEX}")}
    present = {name: sorted(folder for folder in complete if folder.parent.name == name) for name in NAMES}
    if not any(present.values()):
        raise InputError(f"{runs} holds no variants; make them with emotalk train ablation.")
    return {name: folders for name, folders in present.items() if folders}


def measure(
    runs: Path,
    data: Path,
    device: str = "cpu",
    clips: int = 0,
    videos: Path | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Table:
    """Every variant in `runs` says the test clips of a prepared folder, with its label as the emotion.

    clips: at most so many; 0: all. videos: folder to keep them in, and what is there already. A network that cannot be
    used is left out, which a note says. Raises InputError, and WeightsError if none can be used.
    """
    variants = found(runs)
    tests = shards.listing(data, "test")[: clips or None]
    total, done = sum(map(len, variants.values())), 0
    table = Table({}, *evaluate.resolve(METRICS))
    judges = evaluate.Judges(table.metrics, None, device)
    with tempfile.TemporaryDirectory(prefix="emotalk-") as place:
        root = videos or Path(place)
        for name, folder in ((name, folder) for name, folders in variants.items() for folder in folders):
            out = root / name / folder.name
            try:
                talker = EmoTalk.load(folder, device)
            except (UsageError, WeightsError) as error:
                table.notes.append(f"{name}/{folder.name} is left out: {error}")
                done += 1
                continue
            rows, notes = protocol.generate(talker, tests, ["text"], out, reference=root / protocol.REFERENCE)
            result = evaluate.evaluate(rows[protocol.ROWS["text"]], judges)
            table.notes += notes + result.notes
            for metric, value in result.mean.items():
                table.figures.setdefault(name, {}).setdefault(metric, []).append(value)
            done += 1
            progress(done, total)
    if not table.figures:
        raise WeightsError(f"None of the variants in {runs} can be measured: {table.notes[-1]}")
    return table
