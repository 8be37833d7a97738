"""The training loop on a network of a few weights: resuming, averaging, several processes, logs."""

from __future__ import annotations

import csv
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from emotalk_cli.errors import EmoTalkError, UsageError, WeightsError
from emotalk_cli.models import checkpoints
from emotalk_cli.training import config as configs
from emotalk_cli.training.config import Config
from emotalk_cli.training.solver import Solver, Stopped, rate_factor


class Tiny:
    """A generator and a critic of two numbers: y = tanh(W x) is to match the means of random points."""

    name = "tiny"

    def __init__(self, rate: float = 0.01) -> None:
        torch.manual_seed(3)
        self.model = nn.Sequential(nn.Linear(2, 8), nn.Dropout(0.2), nn.Linear(8, 1))
        self.helpers = {"critic": nn.Linear(1, 1)}
        self.rate = rate

    def optimizers(self):
        critic = torch.optim.SGD(self.helpers["critic"].parameters(), self.rate, momentum=0.9)
        return {"model": torch.optim.AdamW(self.model.parameters(), self.rate), "critic": critic}

    def batch(self, rng, size):
        x = torch.from_numpy(rng.normal(size=(size, 2)).astype(np.float32))
        return {"x": x, "y": x.sum(1, keepdim=True)}

    def losses(self, batch, step, total):
        made = self.model(batch["x"])
        loss = (made - batch["y"]).square().mean() - 0.01 * self.helpers["critic"](made).mean()
        yield "model", loss, {"loss": loss}
        critic = self.helpers["critic"](made.detach()).square().mean()
        yield "critic", critic, {"critic": critic}

    def validate(self, model):
        x = torch.linspace(-1, 1, 20).reshape(10, 2)
        return {"error": float((model(x) - x.sum(1, keepdim=True)).abs().mean())}

    def samples(self, model):
        return np.zeros((8, 12, 3), np.uint8)

    def save(self, model, out, **provenance):
        return checkpoints.save(self.name, model.state_dict(), {}, out, data="none", half=False, **provenance)


class Plain(Tiny):
    """Without dropout, whose masks depend on the number of samples that a process has."""

    def __init__(self) -> None:
        super().__init__()
        self.model[1] = nn.Identity()


def settings(**changes) -> Config:
    usual = {"steps": 40, "batch": 8, "warmup": 5, "log_every": 7, "validate_every": 20, "save_every": 5}
    return Config(**(usual | changes))


def log(out: Path) -> list[dict[str, str]]:
    with open(out / "tiny/log.csv") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A run that nothing disturbed."""
    out = tmp_path_factory.mktemp("whole")
    Solver(Tiny(), settings(), out, command="emotalk train tiny").run()
    return out


def test_run_leaves_weights_log_curve_and_samples(whole):
    weights = checkpoints.load("tiny", whole)
    assert weights.metadata["command"] == "emotalk train tiny" and weights.metadata["steps"] == "40"
    rows = log(whole)
    assert [int(row["step"]) for row in rows] == [7, 14, 20, 21, 28, 35, 40]
    assert float(rows[-1]["loss"]) < 0.5 * float(rows[0]["loss"])
    assert rows[0]["error"] == "" and float(rows[-1]["error"]) > 0
    assert Image.open(whole / "tiny/curve.png").width > 100
    assert Image.open(whole / "tiny/samples/0000040.png").size == (12, 8)
    assert list((whole / "tiny/tensorboard").iterdir())
    assert not list(whole.rglob("*.part"))


def test_weights_are_the_moving_average(tmp_path):
    task = Tiny()
    start = {key: value.clone() for key, value in task.model.state_dict().items()}
    solver = Solver(task, settings(steps=1, ema=0.998), tmp_path)
    solver.run()
    saved = checkpoints.load("tiny", tmp_path).tensors
    for key, value in task.model.state_dict().items():  # the first step keeps 1/20 of the start
        torch.testing.assert_close(saved[key], torch.lerp(value, start[key], 1 / 20))


SCRIPT = """
import os, sys, time
sys.path.insert(0, {tests!r})
from test_solver import Plain, Tiny, settings
from emotalk_cli.training.solver import Solver
def progress(done, total, row):
    print(done, flush=True)
    time.sleep({pause})
Solver({task}(), settings(), {out!r}, resume={resume}, progress=progress).run()
"""


def start(out: Path, task: str = "Tiny", pause: float = 0.0, resume: bool = False, *launcher: str) -> subprocess.Popen:
    script = SCRIPT.format(tests=str(Path(__file__).parent), task=task, out=str(out), pause=pause, resume=resume)
    path = out.parent / f"{out.name}.py"
    path.write_text(script)
    command = [sys.executable, *launcher, str(path)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def until(process: subprocess.Popen, step: int) -> None:
    for line in process.stdout:
        if int(line) == step:
            return
    pytest.fail(process.stderr.read())


def test_resume_after_kill_is_exact(whole, tmp_path):
    process = start(tmp_path / "run", pause=0.05)
    until(process, 18)  # between two saves
    process.kill()
    process.communicate()
    solver = Solver(Tiny(), settings(), tmp_path / "run", resume=True)
    assert 5 <= solver.step <= 20
    solver.run()
    ours, theirs = (load_file(folder / "tiny/checkpoint.safetensors") for folder in (tmp_path / "run", whole))
    assert ours.keys() == theirs.keys() and any("exp_avg" in key for key in ours)
    for key in theirs:
        assert torch.equal(ours[key], theirs[key]), key
    assert log(tmp_path / "run") == log(whole)


def test_interrupt_saves_and_resume_goes_on(whole, tmp_path):
    def press(done, total, row):
        if done == 12:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Stopped, match="Stopped after step 12.*--resume"):
        Solver(Tiny(), settings(), tmp_path, progress=press).run()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    solver = Solver(Tiny(), settings(), tmp_path, resume=True)
    assert solver.step == 12
    solver.run()
    assert log(tmp_path) == log(whole)


def test_two_processes_are_one(tmp_path):
    Solver(Plain(), settings(), tmp_path / "one").run()
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    launcher = ("-m", "torch.distributed.run", "--nproc-per-node=2", f"--master-port={port}")
    process = start(tmp_path / "two", "Plain", 0.0, False, *launcher)
    _, errors = process.communicate(timeout=900)
    assert process.returncode == 0, errors
    one, two = log(tmp_path / "one"), log(tmp_path / "two")
    assert [row["step"] for row in one] == [row["step"] for row in two]
    for mine, other in zip(one, two, strict=True):
        for key in ("loss", "critic"):
            assert float(mine[key]) == pytest.approx(float(other[key]), rel=1e-4)
    ours, theirs = (load_file(tmp_path / f"{name}/tiny.safetensors") for name in ("one", "two"))
    for key in ours:
        torch.testing.assert_close(ours[key], theirs[key], rtol=1e-4, atol=1e-5)


def test_batches_drawn_ahead_are_the_same(whole, tmp_path):
    Solver(Tiny(), settings(workers=2), tmp_path).run()
    assert log(tmp_path) == log(whole)


def test_bfloat16_trains(tmp_path):
    seen = []

    class Watched(Tiny):
        def losses(self, batch, step, total):
            seen.append(self.model(batch["x"]).dtype)
            yield from super().losses(batch, step, total)

    Solver(Watched(), settings(amp="bf16"), tmp_path).run()
    assert set(seen) == {torch.bfloat16}
    rows = log(tmp_path)
    assert float(rows[-1]["loss"]) < 0.7 * float(rows[0]["loss"])


def test_only_better_scores_are_kept(tmp_path):
    scores = iter([3.0, 5.0])

    class Scored(Tiny):
        def validate(self, model):
            return {"score": next(scores)}

    Solver(Scored(), settings(), tmp_path).run()
    assert checkpoints.load("tiny", tmp_path).metadata["steps"] == "20"


def test_running_over_a_run_needs_resume(whole):
    with pytest.raises(UsageError, match="resume"):
        Solver(Tiny(), settings(), whole)


def test_checkpoint_of_another_network_is_refused(whole):
    task = Tiny()
    task.model[0] = nn.Linear(2, 9)
    with pytest.raises(WeightsError, match="does not fit"):
        Solver(task, settings(), whole, resume=True)


def test_divergence_is_reported(tmp_path):
    class Broken(Tiny):
        def losses(self, batch, step, total):
            loss = self.model(batch["x"]).mean() * float("nan")
            yield "model", loss, {"loss": loss}

    with pytest.raises(EmoTalkError, match="diverged"):
        Solver(Broken(), settings(), tmp_path).run()
    assert not (tmp_path / "tiny.safetensors").exists()


def test_rate_rises_holds_and_falls():
    shape = Config(steps=1000, warmup=100, hold=0.5, floor=0.1)
    assert rate_factor(shape, 0, 0) == pytest.approx(0.01)
    assert rate_factor(shape, 99, 0.1) == rate_factor(shape, 500, 0.5) == 1
    assert rate_factor(shape, 750, 0.75) == pytest.approx(0.55)
    assert rate_factor(shape, 1000, 1) == pytest.approx(0.1)


def test_the_clock_ends_a_run(tmp_path):
    """However many steps were asked for."""
    solver = Solver(Tiny(), settings(steps=10**6, minutes=0.002), tmp_path)
    solver.run()
    assert solver.done == 1 and 0 < solver.step < 10**6
    assert (tmp_path / "tiny.safetensors").exists()


def test_config_file_and_overrides(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("[tiny]\nsteps = 7\nrate = 1\n[tiny.task]\nwindow = 32\n")
    made = configs.load(path, "tiny", ["batch=4", "amp=bf16", "task.window=8", "task.kind=wide"], seed=5, steps=None)
    assert (made.steps, made.batch, made.rate, made.amp, made.seed) == (7, 4, 1.0, "bf16", 5)
    assert made.task == {"window": 8, "kind": "wide"}


@pytest.mark.parametrize("override", ["batch=many", "batch", "colour=1", "amp=fp8", "steps=0", "rate=-1", "batch=2.5"])
def test_wrong_overrides_are_named(tmp_path, override):
    path = tmp_path / "mine.toml"
    path.write_text("[tiny]\n")
    with pytest.raises(UsageError, match=override.split("=")[0]):
        configs.load(path, "tiny", [override])


def test_processes_must_share_the_batch(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(UsageError, match="3 processes"):
        Solver(Tiny(), settings(), tmp_path)
