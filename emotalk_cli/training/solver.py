"""The training loop that every network shares: steps, averages, checkpoints, logs, and any number of processes.

A `Task` says what is trained: its data, losses and measures. The `Solver` runs it. All randomness of step n comes
from (seed, n), so a run that was killed and resumed makes the same numbers as one that was not, to the bit, and
torchrun's processes, each with its slice of the batch, make those of one process up to rounding (dropout apart).

    def build(data: Path, config: Config, work: Path) -> Task    # in training/<task>.py: what `emotalk train` calls

A run lives in `<out>/<task>/`: `checkpoint.safetensors` (its header holds the rest as JSON), `log.csv`, `curve.png`,
`samples/`, `tensorboard/`. What it learned is `<out>/<task>.safetensors`.
"""

from __future__ import annotations

import copy
import csv
import dataclasses
import json
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, distributed, nn

from ..errors import EmoTalkError, UsageError, WeightsError
from ..media.files import replaced
from .config import Config

CHECKPOINT = "checkpoint.safetensors"
AMP = {"bf16": torch.bfloat16, "fp16": torch.float16}
Progress = Callable[[int, int, dict[str, float]], None]  # steps done, of how many, the last row of the log


class Task(Protocol):
    """One thing to train. Losses are means over the samples of a batch, or processes would not add up."""

    name: str  # file name of the weights, for example "eac"

    @property
    def model(self) -> nn.Module:
        """What is shipped; the solver keeps its exponential moving average (EMA)."""

    @property
    def helpers(self) -> Mapping[str, nn.Module]:
        """Such as {"discriminator": ...}: in the checkpoint, without an average."""

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Called once, when all modules are where they are trained. Their rates are scaled by `rate_factor`."""

    def batch(self, rng: np.random.Generator, size: int) -> dict[str, Tensor]:
        """`size` samples, first dimension of every tensor, on the CPU; all chance from `rng`."""

    def losses(self, batch: dict[str, Tensor], step: int, total: int) -> Iterator[tuple[str, Tensor, dict]]:
        """Yield (name of the optimizer, loss, scalars to log); the solver steps that optimizer before it resumes."""

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Measures of the averaged model. With a "score" (lower is better) only the best model is saved."""

    def samples(self, model: nn.Module) -> np.ndarray | None:
        """A picture uint8 [H,W,3] of what the averaged model does, for the log."""

    def save(self, model: nn.Module, out: Path, **provenance: Any) -> Path:
        """Write the weights through `checkpoints.save`, which takes the provenance: command, seed, steps."""


class Stopped(EmoTalkError):
    """Training was interrupted and has saved its state."""

    exit_code = 130


class Solver:
    """Runs one task: `Solver(task, config, out).run()`."""

    def __init__(
        self,
        task: Task,
        config: Config,
        out: str | os.PathLike[str],
        *,
        device: str = "cpu",
        resume: bool = False,
        command: str = "",
        progress: Progress | None = None,
    ) -> None:
        """out: folder of the weights. resume: go on from the checkpoint there, if there is one.

        command: recorded with the weights. Raises UsageError if `out` holds a run and resume is not asked for.
        """
        self.task, self.config, self.command = task, config, command
        self.out, self.work = Path(out), Path(out) / task.name
        self.progress = progress or (lambda done, total, row: None)
        self.rank, self.world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        if config.batch % self.world:
            raise UsageError(f"batch={config.batch} cannot be shared by {self.world} processes; choose a multiple.")
        self.device = torch.device(device)
        if self.device.type == "cuda" and self.world > 1:
            self.device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        if self.device.type == "cpu" and config.amp == "fp16":
            raise UsageError("amp=fp16 needs a graphics card; choose bf16 or off.")
        for module in self._modules().values():
            module.to(self.device).train()
        self.average = copy.deepcopy(task.model).eval().requires_grad_(False)
        self.optimizers = task.optimizers()
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["full_rate"] = group["lr"]
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=config.amp == "fp16")
        self.step, self.seconds, self.best = 0, 0.0, math.inf
        self.rows: list[dict[str, float]] = []
        self.sums: dict[str, list[float]] = {}  # scalar -> [sum, count] since the last row
        self._pending: list[dict[str, Tensor]] = []  # scalars that are still on the device
        self._stop = False
        if (self.work / CHECKPOINT).exists():
            if not resume:
                raise UsageError(f"{self.work} holds a run already; add --resume or choose another --out.")
            self._restore()

    def run(self) -> Path:
        """Train to `config.steps`; the weights' path. Raises Stopped on ctrl-C (and SIGTERM), after saving."""
        config, begin = self.config, time.monotonic() - self.seconds
        self.work.mkdir(parents=True, exist_ok=True)
        with _processes(self.device, self.world), _signals(self._interrupt), Batches(self) as batches, self._board():
            self._agree()
            while self.done < 1 and not self._stopping():
                self._train(batches.take(self.step))
                self.step, self.seconds = self.step + 1, time.monotonic() - begin
                last = self.done >= 1
                measure = last or self.step % config.validate_every == 0
                if measure or self.step % config.log_every == 0:
                    self._record(measure)
                if last or self.step % config.save_every == 0:
                    self._save()
                self.progress(self.step, config.steps, self.rows[-1] if self.rows else {})
            if self.done < 1:
                self._save()
                raise Stopped(f"Stopped after step {self.step}, which is saved; go on with --resume.")
        return self.out / f"{self.task.name}.safetensors"

    @property
    def done(self) -> float:
        """Share of the run that is over, by steps or by the clock."""
        limit = 60 * self.config.minutes
        return min(1.0, max(self.step / self.config.steps, self.seconds / limit if limit else 0.0))

    def _train(self, batch: dict[str, Tensor]) -> None:
        """One step: every loss that the task yields, each with its optimizer."""
        factor = rate_factor(self.config, self.step, self.done)
        torch.manual_seed(_entropy(self.config.seed, self.step) + self.rank)  # no two processes drop out alike
        total = round(self.step / self.done) if self.done else self.config.steps
        losses = self.task.losses(batch, self.step, total)
        amp = AMP.get(self.config.amp)
        while True:
            with torch.autocast(self.device.type, amp, enabled=amp is not None):  # holds while the task computes
                try:
                    name, loss, scalars = next(losses)
                except StopIteration:
                    break
            optimizer = self.optimizers[name]
            optimizer.zero_grad(set_to_none=True)
            self.scaler.scale(loss).backward()
            parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
            self._mean([p.grad for p in parameters])
            self.scaler.unscale_(optimizer)
            if self.config.clip:
                nn.utils.clip_grad_norm_(parameters, self.config.clip)
            for group in optimizer.param_groups:
                group["lr"] = group["full_rate"] * factor
            self.scaler.step(optimizer)
            self.scaler.update()
            self._pending.append({key: torch.as_tensor(value).detach() for key, value in scalars.items()})
        self._mean([b for m in self._modules().values() for b in m.buffers() if b.is_floating_point()])
        self._blend()

    @torch.no_grad()
    def _blend(self) -> None:
        keep = min(self.config.ema, (self.step + 1) / (self.step + 20))
        new = self.task.model.state_dict()
        for key, value in self.average.state_dict().items():
            if value.is_floating_point():
                value.lerp_(new[key], 1 - keep)
            else:
                value.copy_(new[key])

    # --- several processes ---

    @torch.no_grad()
    def _mean(self, tensors: list[Tensor]) -> None:
        """Average tensors over all processes, in place."""
        if self.world == 1 or not tensors:
            return
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        distributed.all_reduce(flat)
        for tensor, mean in zip(tensors, (flat / self.world).split([t.numel() for t in tensors]), strict=True):
            tensor.copy_(mean.view_as(tensor))

    def _agree(self) -> None:
        """Everybody starts from the first process's values."""
        if self.world > 1:
            for module in [*self._modules().values(), self.average]:
                for tensor in module.state_dict().values():
                    distributed.broadcast(tensor, 0)

    def _stopping(self) -> bool:
        """Whether any process was interrupted: all leave after the same step."""
        if self.world > 1:
            flag = torch.tensor(float(self._stop), device=self.device)
            distributed.all_reduce(flag)
            self._stop = bool(flag)
        return self._stop

    def _interrupt(self) -> None:
        self._stop = True

    # --- log ---

    def _sum(self) -> None:
        """Move scalars from the device to `sums`."""
        for scalars in self._pending:
            for key, value in scalars.items():
                total = self.sums.setdefault(key, [0.0, 0])
                total[0] += float(value)
                total[1] += 1
        self._pending = []

    def _record(self, measure: bool) -> None:
        """Add a row of means since the last one to the log; with `measure` also validate, draw and save weights."""
        self._sum()
        means = torch.tensor([total / count for total, count in self.sums.values()], dtype=torch.float64)
        means = means.to(self.device, torch.float32) if self.device.type == "mps" else means.to(self.device)
        self._mean([means])
        row = {"step": self.step, "seconds": round(self.seconds, 1)}
        row |= dict(zip(self.sums, means.tolist(), strict=True))
        if not all(math.isfinite(value) for value in row.values()):
            bad = ", ".join(key for key, value in row.items() if not math.isfinite(value))
            raise EmoTalkError(f"Training diverged before step {self.step} ({bad}); lower rate, or amp=off.")
        self.sums = {}
        if self.rank == 0:
            self.rows.append(row)
            if measure:
                with torch.no_grad():
                    row |= self.task.validate(self.average)
                    picture = self.task.samples(self.average)
                score = row.pop("score", None)
                if score is None or score <= self.best:
                    self.best = math.inf if score is None else score
                    provenance = {"command": self.command, "seed": self.config.seed, "steps": str(self.step)}
                    self.task.save(self.average, self.out, **provenance)
                if picture is not None:
                    self._draw(picture)
                if self._writer:
                    self._writer.flush()
            write_log(self.work / "log.csv", self.rows)
            if measure:
                plot_log(self.rows, self.work / "curve.png")
            for key, value in row.items():
                if self._writer and key not in ("step", "seconds"):
                    self._writer.add_scalar(key, value, self.step)
        if self.world > 1:
            distributed.barrier()

    def _draw(self, picture: np.ndarray) -> None:
        from PIL import Image

        path = self.work / "samples" / f"{self.step:07d}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(picture).save(path)
        if self._writer:
            self._writer.add_image("samples", picture, self.step, dataformats="HWC")

    @contextmanager
    def _board(self) -> Iterator[None]:
        """TensorBoard, where it is installed."""
        self._writer = None
        if self.rank == 0:
            # where TensorFlow is installed too, TensorBoard would import it: seconds, and lines of its own
            sys.modules.setdefault("tensorboard.compat.notf", ModuleType("notf"))
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError:
                pass
            else:
                self._writer = SummaryWriter(self.work / "tensorboard", purge_step=self.step + 1)
        try:
            yield
        finally:
            if self._writer:
                self._writer.close()

    # --- checkpoint ---

    def _modules(self) -> dict[str, nn.Module]:
        return {"model": self.task.model, **self.task.helpers}

    def _save(self) -> None:
        """Write the checkpoint atomically."""
        self._sum()
        if self.rank == 0:
            tensors: dict[str, Tensor] = {}
            plain: dict[str, Any] = {}
            for name, module in {**self._modules(), "average": self.average}.items():
                tensors |= {f"{name}/{key}": value for key, value in module.state_dict().items()}
            for name, optimizer in self.optimizers.items():
                for index, state in optimizer.state_dict()["state"].items():
                    for key, value in state.items():
                        place = tensors if isinstance(value, Tensor) else plain
                        place[f"optimizer/{name}/{index}/{key}"] = value
            state = {"task": self.task.name, "config": dataclasses.asdict(self.config), "step": self.step}
            state |= {"seconds": self.seconds, "best": self.best if math.isfinite(self.best) else None}
            state |= {"rows": self.rows, "sums": self.sums, "optimizer": plain, "scaler": self.scaler.state_dict()}
            kept = {k: v.detach().cpu().clone(memory_format=torch.contiguous_format) for k, v in tensors.items()}
            with replaced(self.work / CHECKPOINT) as part:
                save_file(kept, part, {"state": json.dumps(state)})
        if self.world > 1:
            distributed.barrier()

    def _restore(self) -> None:
        path = self.work / CHECKPOINT
        try:
            with safe_open(path, framework="pt") as file:
                state = json.loads(file.metadata()["state"])
                tensors = {key: file.get_tensor(key) for key in file.keys()}
            for name, module in {**self._modules(), "average": self.average}.items():
                start = f"{name}/"
                module.load_state_dict({k[len(start) :]: v for k, v in tensors.items() if k.startswith(start)})
            for name, optimizer in self.optimizers.items():
                held: dict[int, dict[str, Any]] = {}
                for key, value in (tensors | state["optimizer"]).items():
                    if key.startswith(f"optimizer/{name}/"):
                        _, _, index, what = key.split("/")
                        held.setdefault(int(index), {})[what] = value
                groups = optimizer.state_dict()["param_groups"]  # of this run's configuration
                optimizer.load_state_dict({"state": held, "param_groups": groups})
        except (SafetensorError, OSError, RuntimeError, KeyError, TypeError, ValueError) as error:
            raise WeightsError(f"{path} does not fit this configuration; use the one it was made with.") from error
        self.scaler.load_state_dict(state["scaler"])
        self.step, self.seconds = state["step"], state["seconds"]
        self.best = math.inf if state["best"] is None else state["best"]
        self.rows, self.sums = state["rows"], state["sums"]


class Batches:
    """The global batch of each step, this process's slice of it, on the device; drawn ahead by `workers` threads."""

    def __init__(self, solver: Solver) -> None:
        self._solver = solver
        self._ahead: dict[int, Future[dict[str, Tensor]]] = {}
        self._pool = ThreadPoolExecutor(solver.config.workers) if solver.config.workers else None

    def _draw(self, step: int) -> dict[str, Tensor]:
        solver = self._solver
        share = solver.config.batch // solver.world
        mine = slice(solver.rank * share, (solver.rank + 1) * share)
        rng = np.random.default_rng([solver.config.seed, step])
        return {key: value[mine] for key, value in solver.task.batch(rng, solver.config.batch).items()}

    def take(self, step: int) -> dict[str, Tensor]:
        """Batch of a step."""
        if self._pool:
            for later in range(step, min(step + self._solver.config.workers + 1, self._solver.config.steps)):
                if later not in self._ahead:
                    self._ahead[later] = self._pool.submit(self._draw, later)
        drawn = self._ahead.pop(step, None)
        if drawn is None:
            torch.manual_seed(_entropy(self._solver.config.seed, step))  # for data code that draws from torch
        batch = drawn.result() if drawn else self._draw(step)
        return {key: value.to(self._solver.device, non_blocking=True) for key, value in batch.items()}

    def __enter__(self) -> Batches:
        return self

    def __exit__(self, *error: object) -> None:
        if self._pool:
            self._pool.shutdown(cancel_futures=True)


def steps_done(work: Path) -> int:
    """Steps of the run in a folder `<out>/<task>`; 0 where there is none. Raises WeightsError if it is damaged."""
    path = work / CHECKPOINT
    if not path.exists():
        return 0
    try:
        with safe_open(path, framework="pt") as file:
            return int(json.loads(file.metadata()["state"])["step"])
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path} is damaged; remove {work} and train again.") from error


def rate_factor(config: Config, step: int, done: float) -> float:
    """Share of the full learning rate at a step: linear warm-up, a plateau, then a cosine down to `floor`.

    done: share of the run that is over, 0..1.
    """
    rise = min(1.0, (step + 1) / config.warmup) if config.warmup else 1.0
    fall = max(0.0, (done - config.hold) / (1 - config.hold)) if config.hold < 1 else 0.0
    return rise * (config.floor + (1 - config.floor) * 0.5 * (1 + math.cos(math.pi * fall)))


def write_log(path: Path, rows: list[dict[str, float]]) -> None:
    """Rows as CSV, with the columns of all of them, atomically."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with replaced(path) as part, open(part, "w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        for row in rows:
            writer.writerow({key: f"{value:.7g}" for key, value in row.items()})


def plot_log(rows: list[dict[str, float]], path: Path) -> None:
    """One small plot a column, against the step."""
    from matplotlib.figure import Figure

    names = [key for key in dict.fromkeys(key for row in rows for key in row) if key not in ("step", "seconds")]
    lines = math.ceil(len(names) / 4)
    figure = Figure(figsize=(12, 2.4 * lines))
    axes = figure.subplots(lines, 4, squeeze=False).flatten()
    rim = 0.125 / lines  # 0.3 inches; a layout that is computed takes longer than all else
    figure.subplots_adjust(0.05, rim, 0.99, 1 - rim, wspace=0.25, hspace=0.4)
    for axis, name in zip(axes, names):
        points = [(row["step"], row[name]) for row in rows if name in row]
        axis.plot(*zip(*points), marker="." if len(points) < 10 else None)
        axis.set_title(name)
    for axis in axes[len(names) :]:
        axis.set_axis_off()
    figure.savefig(path, dpi=80)


def _entropy(seed: int, step: int) -> int:
    return int(np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0]) >> 1


@contextmanager
def _processes(device: torch.device, world: int) -> Iterator[None]:
    """torchrun's process group while the block lasts."""
    if world == 1:
        yield
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield
    finally:
        distributed.destroy_process_group()


@contextmanager
def _signals(stop: Callable[[], None]) -> Iterator[None]:
    """The first ctrl-C or SIGTERM calls `stop`; the second acts as usual."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    kinds = (signal.SIGINT, signal.SIGTERM)
    before = {kind: signal.getsignal(kind) for kind in kinds}

    def restore() -> None:
        for kind in kinds:
            signal.signal(kind, before[kind])

    def handle(number, frame) -> None:
        restore()
        stop()

    for kind in kinds:
        signal.signal(kind, handle)
    try:
        yield
    finally:
        restore()
