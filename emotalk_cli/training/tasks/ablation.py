"""Tab. 3 and Fig. 11 for HEF: `python -m emotalk_cli.training.tasks.ablation --data DIR --out DIR --steps 250`.

Trains the variants (flow without residual refinement, one fixed flow field, flow from zero instead of from the
geometry) and the full network from random weights with the same data, seed and steps, and measures them on held-out
people. Few steps rank variants; they do not make good generators.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from ...evaluation.generator import evaluate, flow_sheet, table
from ...face.model import FaceModel
from ...face.tracker import FaceTracker
from .. import config as configs
from ..data.hef_pairs import pairs, prepare
from ..solver import Solver
from .hef import HEFTask

VARIANTS: dict[str, dict[str, bool]] = {
    "w/o res.": {"residual": False},
    "w/o hie.": {"hierarchy": False},
    "w/o geometry": {"geometry": False},
    "full": {},
}


def main(arguments: list[str] | None = None) -> None:
    """Train what is not trained yet, print the table, write table.md, figures.json and flow.png to --out."""
    parser = argparse.ArgumentParser(prog="python -m emotalk_cli.training.tasks.ablation")
    parser.add_argument("--data", type=Path, required=True, help="training data pack")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--samples", type=Path, default=None, help="prepared samples  [default: OUT/cache]")
    parser.add_argument("--steps", type=int, default=250)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    samples = options.samples or options.out / "cache"
    if options.samples is None:
        prepare(options.data, samples, 0)
    model, tracker, hefs = FaceModel.load(), FaceTracker.load(), {}
    for name, variant in VARIANTS.items():
        config = configs.load("hef", "hef", steps=options.steps)
        config.batch, config.validate_every = options.batch, options.steps
        # as many steps as there is time for: no critic, which needs more, and no judgement of whole faces
        config.task = config.task | variant | {"start": "", "adversarial": options.steps, "whole": False}
        folder = options.out / name.replace("/", "").replace(" ", "-").strip(".")
        task = HEFTask(samples, config)
        solver = Solver(task, config, folder, resume=True, command=f"ablation, {name}")
        solver.run()
        hefs[name] = solver.average
    shown = list(pairs(options.data, held_out=True))
    result = evaluate(model, tracker, hefs, shown)
    (options.out / "figures.json").write_text(json.dumps(result, indent=1) + "\n")
    (options.out / "table.md").write_text(table(result) + "\n")
    flow_sheet(model, hefs, [shown[0], shown[1]], options.out / "flow.png")
    print(table(result))


if __name__ == "__main__":
    main()
