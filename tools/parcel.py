#!/usr/bin/env python3
"""Train on a graphics card that is lent for minutes and has no network: one parcel there, one folder back.

    python tools/parcel.py pack mouth --samples runs/mouth/mouth/mouths --out mouth.tar.xz  # --run DIR goes on
    tar xf mouth.tar.xz && bash mouth/smoke.sh && bash mouth/go.sh 470 back  # there: seconds, folder
    emotalk train mouth --out runs --resume ...  # here again, with back/run as runs, or ship back/mouth.safetensors

The parcel holds the package, the samples, the networks that the task reads and the run to go on from; it is kept below
--limit MB by leaving out the last samples. `smoke.sh` makes a few steps, a validation and the files of a run; `go.sh`
trains until its seconds are over, from its start by its own clock, whatever a step takes, and keeps the weights of some
moments on the way. DEVICE in the environment names another device than cuda, OVERRIDES changes of the configuration.
"""

from __future__ import annotations

import argparse
import importlib
import json
import lzma
import os
import shutil
import sys
import tarfile
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# what a task reads besides its samples
WEIGHTS = {"mouth": ("tracker", "face_model"), "lids": ("tracker",), "identity": ("tracker",)}
TAUGHT = ("mouth",)  # by an ImageNet network, of which the first stages are carried
RESERVE = 12.0  # seconds at the end for validation and saving
KEPT = (0.4, 0.75)  # shares of the run after which weights are kept
FEW = 12  # steps of a trial
SCRIPTS = {
    "smoke.sh": 'exec timeout -k 4 180 python3 parcel.py train --seconds 60 --steps {few} --out "$(mktemp -d)"\n',
    "go.sh": 'mkdir -p "$2" && out=$(realpath "$2") && cd "$(dirname "$0")" || exit 1\n'
    'exec timeout -k 4 $(($1 + 8)) python3 parcel.py train --seconds "$1" --out "$out"\n',
}
PRESET = 3  # of the compressor: higher ones take minutes for a percent


def pack(task: str, samples: Path, run: Path | None, out: Path, limit: float, overrides: list[str]) -> None:
    """Write the parcel."""
    found = sorted(path for path in samples.glob("*.npz") if not path.name.startswith("."))
    if not found:
        sys.exit(f"parcel: {samples} holds no samples (*.npz); let emotalk train {task} prepare them first.")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / task
        shutil.copytree(
            ROOT / "emotalk_cli", root / "emotalk_cli", ignore=shutil.ignore_patterns("__pycache__", "weights")
        )
        shutil.copy(Path(__file__), root / "parcel.py")
        (root / "weights").mkdir()
        listed = json.loads((ROOT / "weights" / "index.json").read_text())
        needed = {f"{name}.safetensors": listed[f"{name}.safetensors"] for name in WEIGHTS[task]}
        for name in needed:
            shutil.copy(ROOT / "weights" / name, root / "weights" / name)
        (root / "weights" / "index.json").write_text(json.dumps(needed))
        if task in TAUGHT:
            teach(root)
        (root / "task.json").write_text(json.dumps({"task": task, "overrides": overrides}))
        (root / "smoke.sh").write_text('cd "$(dirname "$0")" || exit 1\n' + SCRIPTS["smoke.sh"].format(few=FEW))
        (root / "go.sh").write_text(SCRIPTS["go.sh"])
        if run is not None:
            shutil.copytree(
                run / task, root / "run" / task, ignore=shutil.ignore_patterns("mouths", "cache", "samples")
            )
        with (
            open(out, "wb") as raw,
            lzma.open(raw, "wb", preset=PRESET) as packed,
            tarfile.open(fileobj=packed, mode="w") as tar,
        ):
            tar.add(root, task)
            kept = 0
            while kept < len(found) and raw.tell() < (limit - 2) * 2**20:  # what the compressor may still hold
                tar.add(found[kept], f"{task}/samples/{found[kept].name}")
                kept += 1
    size = out.stat().st_size / 2**20
    if size > limit:
        out.unlink()
        sys.exit(f"parcel: {size:.1f} MB are more than --limit {limit:g}; pack without --run.")
    print(f"{out}: {size:.1f} MB, {kept} of {len(found)} samples")


def teach(root: Path) -> None:
    """The ImageNet network's wheel in the parcel, as far as it is used."""
    sys.path.insert(0, str(ROOT))
    import torch

    from emotalk_cli.evaluation.independent import FINE, EfficientNetLite2

    folder = root / EfficientNetLite2.PACKAGE / "models"
    folder.mkdir(parents=True)
    torch.save(EfficientNetLite2.load(FINE).half().state_dict(), folder / "first_stages.pth")


def train(seconds: float, steps: int | None, out: Path, device: str) -> None:
    """Train what the parcel beside this file holds, and bring weights, log and pictures to `out`."""
    begun, here = time.monotonic(), Path(__file__).resolve().parent
    parcel = json.loads((here / "task.json").read_text())
    task = parcel["task"]
    overrides = [*parcel["overrides"], *os.environ.get("OVERRIDES", "").split(), f"task.samples={here / 'samples'}"]
    os.environ["EMOTALK_WEIGHTS"] = str(here / "weights")
    sys.path.insert(0, str(here))
    import torch
    from PIL import Image

    from emotalk_cli.training import config as configs
    from emotalk_cli.training.solver import Solver

    work = Path(tempfile.mkdtemp(prefix="run-", dir=here))
    if (here / "run").exists():
        shutil.copytree(here / "run", work, dirs_exist_ok=True)
    options = configs.load(task, task, overrides)
    torch.manual_seed(options.seed)
    built = importlib.import_module(f"emotalk_cli.training.tasks.{task}").build(here / "samples", options, work / task)
    command = f"tools/parcel.py, {seconds:g} s on {torch.cuda.get_device_name() if device == 'cuda' else device}"
    solver = Solver(built, options, work, device=device, resume=True, command=command)
    options.steps = solver.step + steps if steps is not None else 10**7  # the clock ends it
    options.minutes = (solver.seconds + seconds - RESERVE - (time.monotonic() - begun)) / 60
    print(f"{task}: {time.monotonic() - begun:.1f} s to load, {60 * options.minutes:.0f} s to train", flush=True)
    left, shown, out = list(KEPT), [begun], out.resolve()
    out.mkdir(parents=True, exist_ok=True)

    def bring(name: str) -> None:
        path = work / f"{task}.safetensors"
        if path.exists():
            shutil.copy(path, out / name)
        for path in (work / task).glob("*.[cp]*"):  # log.csv, curve.png
            if path.suffix in (".csv", ".png"):
                shutil.copy(path, out / path.name)
        for path in sorted((work / task / "samples").glob("*.png"))[-1:]:
            Image.open(path).convert("RGB").save(out / f"{Path(name).stem}.jpg", quality=90)

    def progress(done: int, total: int, row: dict[str, float]) -> None:
        while left and solver.done >= left[0]:
            bring(f"{task}-{left.pop(0):.2f}.safetensors")
        if time.monotonic() - shown[0] > 20:
            shown[0] = time.monotonic()
            bring(f"{task}.safetensors")
            print(done, f"{solver.seconds:.0f} s", {k: round(v, 4) for k, v in row.items()}, flush=True)

    solver.progress = progress
    solver.run()
    bring(f"{task}.safetensors")
    print(f"{task}: {solver.step} steps, {time.monotonic() - begun:.1f} s", flush=True)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    packer = commands.add_parser("pack")
    packer.add_argument("task", choices=sorted(WEIGHTS))
    packer.add_argument("--samples", type=Path, required=True)
    packer.add_argument("--run", type=Path, help="an --out of emotalk train, to go on from")
    packer.add_argument("--out", type=Path, required=True)
    packer.add_argument("--limit", type=float, default=60.0, help="MB")
    packer.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="changes of the configuration")
    trainer = commands.add_parser("train")
    trainer.add_argument("--seconds", type=float, required=True)
    trainer.add_argument("--steps", type=int, help="no more than so many")
    trainer.add_argument("--out", type=Path, required=True)
    trainer.add_argument("--device", default=os.environ.get("DEVICE", "cuda"))
    options = parser.parse_args()
    if options.command == "pack":
        pack(options.task, options.samples, options.run, options.out, options.limit, options.set)
    else:
        train(options.seconds, options.steps, options.out, options.device)


if __name__ == "__main__":
    main()
