"""Training of the lip-sync judge (`metrics.lipsync`) on GRID's tracked talker: `emotalk train sync`.

The mouth of a frame is to be more like the sound of that frame than like that of any other in the clip, and the other
way round. The judge knows nothing of EAC, so that it can judge what EAC makes.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...errors import InputError
from ...evaluation.lipsync import SyncJudge, agreement, mouth_shapes
from ...media import audio
from ...media.audio import normalise
from ...models import checkpoints
from .. import config as configs
from ..config import Config

LENGTH = 72  # frames of a sample
TEMPERATURE = 0.07


@dataclasses.dataclass
class Options:
    """clips: at most so many. noise: px of landmark noise on a face 100 px wide between the eyes."""

    clips: int = 100000
    noise: float = 0.5


@dataclasses.dataclass
class Talk:
    """One clip: log-mel [80,4T], level, mouth shapes [T,72]."""

    mel: Tensor
    level: float
    lips: Tensor


def talks(data: Path, test: bool, limit: int) -> list[Talk]:
    """GRID's tracked clips of one split."""
    held_out = set(json.loads((data / "splits.json").read_text())["grid"])
    tracks = np.load(data / "grid/tracks.npz")
    index, landmarks = tracks["landmark_index"], tracks["landmarks"]
    ends = np.cumsum(tracks["length"])
    found: list[Talk] = []
    for name, start, end in zip(tracks["name"], ends - tracks["length"], ends, strict=True):
        if (str(name) in held_out) != test or len(found) == limit:
            continue
        points = torch.full((end - start, 478, 3), torch.nan)
        points[:, index] = torch.from_numpy(landmarks[start:end].astype(np.float32))
        wave = audio.load(data / f"grid/audio/{name}.ogg")
        mel, lips = audio.log_mel(wave), mouth_shapes(points)
        length = min(mel.shape[1] // 4, len(lips))
        if length >= LENGTH and torch.isfinite(lips).all():
            found.append(Talk(mel[:, : 4 * length], audio.level(wave), lips[:length]))
    if not found:
        raise InputError(f"{data}/grid has no tracked clip of {LENGTH} frames; give the training data pack.")
    return found


class SyncTask:
    """See `solver.Task`."""

    name = "sync"

    def __init__(self, data: Path, config: Config) -> None:
        self.options, self.rate = configs.build(Options, config.task), config.rate
        self.talks, self.tests = (talks(data, test, self.options.clips) for test in (False, True))
        self.model = SyncJudge()
        self.helpers: dict[str, nn.Module] = {}

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """AdamW."""
        return {"sync": torch.optim.AdamW(self.model.parameters(), self.rate, weight_decay=0.02)}

    def batch(self, rng: np.random.Generator, size: int) -> dict[str, Tensor]:
        """Clips with other voices, rooms, mouths and tracking noise."""
        mels, lips = [], []
        for number in rng.integers(len(self.talks), size=size):
            talk = self.talks[number]
            start = int(rng.integers(len(talk.lips) - LENGTH + 1))
            mel = normalise(talk.mel[:, 4 * start : 4 * (start + LENGTH)], talk.level)
            mels.append(other_voice(mel, rng))
            shape = talk.lips[start : start + LENGTH] * float(rng.uniform(0.7, 1.4))
            noise = rng.standard_normal(shape.shape, np.float32) * (0.1 * self.options.noise * rng.uniform(0, 1.5))
            lips.append(shape + torch.from_numpy(noise.astype(np.float32)))
        return {"mel": torch.stack(mels), "lips": torch.stack(lips)}

    def losses(self, batch: dict[str, Tensor], step: int, total: int) -> Iterator[tuple[str, Tensor, dict]]:
        """Contrast of each frame with all others of its clip, both ways."""
        sound, mouth = self.model(batch["mel"], batch["lips"])
        logits = torch.einsum("btc,buc->btu", mouth.float(), sound.float()) / TEMPERATURE
        count = logits.shape[1]
        frame = torch.arange(count, device=logits.device)
        wanted = torch.exp(-((frame[:, None] - frame) ** 2) / 0.7)  # neighbours look alike
        wanted = (wanted / wanted.sum(1, keepdim=True)).expand(len(logits), -1, -1)
        both = (F.cross_entropy(x.flatten(0, 1), wanted.flatten(0, 1)) for x in (logits, logits.transpose(1, 2)))
        loss = sum(both, logits.new_zeros(())) / 2
        yield "sync", loss, {"loss": loss}

    def validate(self, model: SyncJudge) -> dict[str, float]:
        """Held-out clips, in time and with the sound of another clip: confidence, and the share found in time."""
        device = next(model.parameters()).device
        true: list[float] = []
        false: list[float] = []
        hits: list[bool] = []
        for number, talk in enumerate(self.tests):
            other = self.tests[(number + 1) % len(self.tests)]
            for source, found in ((talk, true), (other, false)):
                count = min(len(talk.lips), len(source.lips))
                mel = normalise(source.mel[None, :, : 4 * count], source.level)
                sound, mouth = model(mel.to(device), talk.lips[None, :count].to(device))
                confidence, offset = agreement(mouth[0] @ sound[0].T)
                found.append(confidence)
                if source is talk:
                    hits.append(abs(offset) <= 1)
        means = float(np.mean(true)), float(np.mean(false)), float(np.mean(hits))
        return dict(zip(("confidence", "other_sound", "within_one_frame"), means, strict=True))

    def samples(self, model: SyncJudge) -> None:
        """None: there is nothing to see."""

    def save(self, model: SyncJudge, out: Path, **provenance: Any) -> Path:
        """Write `sync.safetensors`."""
        data = f"GRID s1 (CC BY 4.0), {len(self.talks)} clips"
        return checkpoints.save("sync", model.state_dict(), model.dims, out, data=data, **provenance)


def other_voice(mel: Tensor, rng: np.random.Generator) -> Tensor:
    """Normalised mel [80,4T] of another vocal tract, microphone, room noise and gain."""
    bands = len(mel)
    at = np.clip(np.arange(bands) * rng.uniform(0.87, 1.15), 0, bands - 1)
    low = np.minimum(at.astype(int), bands - 2)
    share = torch.from_numpy((at - low).astype(np.float32))[:, None]
    mel = mel[low] * (1 - share) + mel[low + 1] * share
    knots = np.interp(np.arange(bands), np.linspace(0, bands - 1, 6), rng.normal(0, 0.12, 6))
    floor = rng.uniform(-0.3, 0.7) + rng.normal(0, 0.05, mel.shape)
    heard = mel + torch.from_numpy(knots.astype(np.float32))[:, None] + float(rng.normal(0, 0.08))
    return torch.maximum(heard, torch.from_numpy(floor.astype(np.float32))).clamp(min=0)


def build(data: Path, config: Config, work: Path) -> SyncTask:
    """What `emotalk train sync` trains."""
    return SyncTask(data, config)
