#!/usr/bin/env python3
"""Train on a graphics card that is lent for minutes and has no network: one parcel there, one folder back.

    python tools/parcel.py pack mouth --samples runs/mouth/mouth/mouths --out mouth.tar.xz  # --run DIR goes on
    tar xf mouth.tar.xz && python parcel/parcel.py train --minutes 8 --out back  # there
    emotalk train mouth --out back --resume ...  # here again

The parcel holds the package, the samples, the weights that the task reads and the run to go on from; it is kept below
--limit MB by leaving out the last samples. `train` times a few steps, then makes as many as the minutes hold.
"""

from __future__ import annotations

import argparse
import json
import lzma
import os
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WEIGHTS = {"mouth": ("tracker",), "identity": ("tracker",)}  # what a task reads besides its samples
PROBE = 10  # steps that are timed, after as many that are not
RESERVE = 0.85  # of the minutes: validation and saving take the rest


def pack(task: str, samples: Path, run: Path | None, out: Path, limit: float) -> None:
    """Write the parcel."""
    found = sorted(samples.glob("*.npz"))
    if not found:
        sys.exit(f"parcel: {samples} holds no samples (*.npz); let emotalk train {task} prepare them first.")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "parcel"
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
        (root / "task").write_text(task)
        if run is not None:
            shutil.copytree(
                run / task, root / "run" / task, ignore=shutil.ignore_patterns("mouths", "cache", "samples")
            )
        with (
            open(out, "wb") as raw,
            lzma.open(raw, "wb", preset=3) as packed,
            tarfile.open(fileobj=packed, mode="w") as tar,
        ):
            tar.add(root, "parcel")
            kept = 0
            while kept < len(found) and raw.tell() < (limit - 2) * 2**20:  # what the compressor may still hold
                tar.add(found[kept], f"parcel/samples/{found[kept].name}")
                kept += 1
    size = out.stat().st_size / 2**20
    if size > limit:
        out.unlink()
        sys.exit(f"parcel: {size:.1f} MB are more than --limit {limit:g}; pack without --run.")
    print(f"{out}: {size:.1f} MB, {kept} of {len(found)} samples")


def train(minutes: float, out: Path, device: str, overrides: list[str]) -> None:
    """Train what the parcel beside this file holds."""
    here = Path(__file__).resolve().parent
    task = (here / "task").read_text()
    begun = time.monotonic()

    def run(folder: Path, steps: int, *more: str) -> float:
        """Seconds that so many steps take."""
        start = time.monotonic()
        command = [
            sys.executable,
            "-m",
            "emotalk_cli",
            "train",
            task,
            "--data",
            str(here / "samples"),
            "--out",
            str(folder),
        ]
        command += ["--device", device, "--steps", str(steps), *more, *overrides, f"task.samples={here / 'samples'}"]
        print(shlex.join(command), flush=True)
        subprocess.run(command, cwd=here, env={**os.environ, "EMOTALK_WEIGHTS": str(here / "weights")}, check=True)
        return time.monotonic() - start

    with tempfile.TemporaryDirectory() as folder:
        few, many = (run(Path(folder) / str(n), n, "--quiet") for n in (PROBE, 2 * PROBE))
    step = max((many - few) / PROBE, 1e-3)
    left = 60 * minutes * RESERVE - (time.monotonic() - begun) - few
    done = 0
    if (here / "run").exists():
        shutil.copytree(here / "run", out, dirs_exist_ok=True)
        done = int((out / task / "log.csv").read_text().splitlines()[-1].split(",")[0])
    steps = done + max(int(left / step), 1)
    print(f"{step:.3f} s a step: to step {steps}", flush=True)
    run(out, steps, *(["--resume"] if done else []))


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
    trainer = commands.add_parser("train")
    trainer.add_argument("--minutes", type=float, required=True)
    trainer.add_argument("--out", type=Path, required=True)
    trainer.add_argument("--device", default="cuda")
    trainer.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="changes to the configuration")
    options = parser.parse_args()
    if options.command == "pack":
        pack(options.task, options.samples, options.run, options.out, options.limit)
    else:
        train(options.minutes, options.out.resolve(), options.device, options.overrides)


if __name__ == "__main__":
    main()
