"""VAD as a task for the `Solver`: `emotalk train vad --data DIR --out RUN`.

Recordings whose phones are timed are laid over, between and beside sounds that are no speech (`data.sounds`, and crowds
made of many talkers), in other voices, rooms and lines, at any gain. What a frame is follows from how it was made.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...media import audio
from ...media.audio import MELS_PER_FRAME
from ...models.vad import VAD, VADDims
from .. import config as configs
from ..data import corpus, motion
from ..data.augment import SILENT, Augmenter, Chance
from ..data.corpus import Clip
from ..data.recordings import Recordings
from ..data.sounds import background
from ..solver import Config

SECONDS = 7
FRAMES = SECONDS * audio.FPS
MELS = FRAMES * MELS_PER_FRAME
CROWD = (5, 16)  # talkers
UNDER, CROWD_FAINTER = (-3.0, 0.4), 0.9  # bel, of other sounds beside the speech they are under; crowds are fainter


@dataclass(frozen=True)
class Options:
    """What `[vad.task]` may set. work: folder of the prepared corpus. speech: see `eac.Options`. sounds: how many
    are no speech. width: of the network."""

    work: str = "runs/corpus"
    speech: str = ""
    sounds: int = 390
    width: int = 80


class VADTask:
    """One VAD, learning from clips with phones (see `solver.Task`)."""

    name = "vad"

    def __init__(self, clips: list[Clip], others: Tensor, options: Options, rate: float) -> None:
        """clips: speech with phones. others: log-mels [N,80,MELS] without speech (`sounds.background`); a tenth of both
        is for validation."""
        self.rate, self.options = rate, options
        self.model = VAD(VADDims(width=options.width))
        self.helpers: dict[str, nn.Module] = {}
        self.augment = Augmenter()
        self.recordings = Recordings(clips)
        self.first, self.frames = (row.numpy() for row in (self.recordings.first, self.recordings.frames))
        whole, some = np.arange(len(clips)), len(others)
        self.clips, self.kept = whole[whole % 10 > 0], whole[::10]
        crowds = torch.stack([self._crowd(np.random.default_rng(i)) for i in range(max(1, some // 8))])
        self.others = torch.cat([others, crowds.half()])
        self.sounds = [i for i in range(len(self.others)) if i % 10]
        self.crowds = some
        rng = np.random.default_rng(0)
        chosen = [i for i in range(len(self.others)) if i % 10 == 0]
        self.held_out = [self._draw(rng, 32, self.kept, chosen) for _ in range(2)]

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        device = self.model.head.weight.device
        self.recordings.to(device), self.augment.to(device)
        self.others = self.others.to(device)
        return {"vad": torch.optim.AdamW(self.model.parameters(), self.rate, weight_decay=0.01)}

    def batch(self, rng: np.random.Generator, size: int) -> dict[str, Tensor]:
        return self._draw(rng, size, self.clips, self.sounds)

    def _draw(self, rng: np.random.Generator, size: int, clips: np.ndarray, sounds: list[int]) -> dict[str, Tensor]:
        """Which video frames of the recordings are said when [size,FRAMES] (-1: none), how loud (bel), and over what
        [size,2] (-1: nothing)."""
        said, gain = np.full((size, FRAMES), -1), np.zeros((size, FRAMES), np.float32)
        for row, loud in zip(said, gain):
            at = 0 if rng.random() < 0.3 else int(rng.integers(FRAMES))
            while at < FRAMES - 5 and (at or row[0] < 0) and rng.random() < (0.67 if not (row >= 0).any() else 1.0):
                clip = clips[rng.integers(len(clips))]
                skipped = int(rng.integers(max(1, self.frames[clip] - 25))) if rng.random() < 0.3 else 0
                count = min(self.frames[clip] - skipped, FRAMES - at)
                row[at : at + count] = self.first[clip] + skipped + np.arange(count)
                loud[at : at + count] = 0.5 * rng.standard_normal()
                at += count + int(rng.exponential(30))
        other = rng.choice(sounds, (size, 2))
        some = rng.random(size)
        other[some < 0.25], other[some < 0.85, 1] = -1, -1
        tensors = {"said": said, "gain": gain, "other": other}
        return {name: torch.from_numpy(row) for name, row in tensors.items()}

    @torch.no_grad()
    def mixed(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Log-mels [B,80,MELS], speech [B,FRAMES] in 0..1, and weight [B,FRAMES]: 0 next to a border."""
        said = batch["said"]
        chance = Chance(len(said), said.device)
        at = said[..., None] * MELS_PER_FRAME + torch.arange(MELS_PER_FRAME, device=said.device)
        mel = self.recordings.mel[at.clamp(min=0).flatten(1)].float() + batch["gain"].repeat_interleave(4, 1)[..., None]
        mel = torch.where((said >= 0).repeat_interleave(MELS_PER_FRAME, 1)[..., None], mel, SILENT)
        spoken = self.recordings.speaking[said.clamp(min=0)].float() * (said >= 0)
        power = 10 ** self.augment.revoice(mel.mT, chance)
        loud = spoken.repeat_interleave(MELS_PER_FRAME, 1)[:, None]
        anybody = loud.amax((1, 2), keepdim=True)
        reference = (power * loud).sum((1, 2), keepdim=True) / (80 * loud.sum((1, 2), keepdim=True)).clamp(min=1)
        reference = torch.where(anybody > 0, reference.clamp(min=1e-6), 1.0)
        beside = 1 - F.max_pool1d(loud, 41, 1, 20)  # before and after speech, not with it
        for other in batch["other"].T:
            sound = 10 ** self.others[other.clamp(min=0)].float() * (other >= 0)[:, None, None]
            crowd = (other >= self.crowds).float()[:, None, None]
            under = (chance.some(0.6) + (1 - anybody)).clamp(max=1)
            weaker = 10 ** (anybody * (chance.uniform(*UNDER, 1, 1) - CROWD_FAINTER * crowd))
            level = under * weaker + (1 - under) * beside * 10 ** chance.uniform(-1.5, 2.5, 1, 1)
            power = power + reference * level * sound
        hiss = 10 ** (chance.curve(80, 0.8)[:, :, None] - chance.uniform(2.5, 7, 1, 1))
        power = power + chance.some(0.8) * reference * hiss * chance.uniform(0, 2, 80, MELS)
        log = self.augment.channel(power / reference, chance) + chance.uniform(-5, 2.5, 1, 1)
        border = F.max_pool1d(F.pad(spoken.diff(dim=1).abs(), (1, 0))[:, None], 3, 1, 1)[:, 0]
        return {"mel": log.clamp(min=SILENT), "speech": spoken, "weight": 1 - border.clamp(max=1)}

    def _crowd(self, rng: np.random.Generator) -> Tensor:
        """Log-mel [80,MELS] of many talkers, mean power 1."""
        power = torch.zeros(MELS, 80)
        for clip in rng.integers(len(self.frames), size=rng.integers(*CROWD)):
            first, count = (int(row[clip]) * MELS_PER_FRAME for row in (self.first, self.frames))
            at = (int(rng.integers(count)) + torch.arange(MELS)) % count
            power += 10 ** self.recordings.mel[first + at].float()
        return (power / power.mean()).clamp(min=1e-6).log10().T

    def losses(self, batch: dict[str, Tensor], step: int, total: int) -> Iterator[tuple[str, Tensor, dict]]:
        with torch.autocast(batch["said"].device.type, enabled=False):
            batch = self.mixed(batch)
        logit = self.model(batch["mel"]).float()
        loss = F.binary_cross_entropy_with_logits(logit, batch["speech"], batch["weight"])
        yield "vad", loss, {"loss": loss}

    @torch.no_grad()
    def validate(self, model: nn.Module) -> dict[str, float]:
        """Share of frames that are judged right, where somebody speaks and where nobody does."""
        device, state = self.others.device, torch.get_rng_state()
        torch.manual_seed(0)  # of the held-out mixtures
        made = [self.mixed({name: row.to(device) for name, row in batch.items()}) for batch in self.held_out]
        torch.set_rng_state(state)
        logit = torch.cat([model(batch["mel"]) for batch in made]).cpu()
        speech, weight = (torch.cat([batch[name] for batch in made]).cpu() for name in ("speech", "weight"))
        found, sure = logit > 0, weight > 0
        return {
            "speech_found": float(found[sure & (speech > 0.5)].float().mean()),
            "rest_left": float(1 - found[sure & (speech < 0.5)].float().mean()),
        }

    def samples(self, model: nn.Module) -> np.ndarray | None:
        return None

    def save(self, model: VAD, out: Path, **provenance: Any) -> Path:
        return model.save(out, data=corpus.LICENCES, **provenance)


def build(data: Path, config: Config, work: Path) -> VADTask:
    """The task for the data pack in `data`; what is prepared lies in the folder that `options.work` names."""
    options = configs.build(Options, config.task)
    basis = motion.Basis.from_pack(data)
    groups, _ = corpus.build(data, Path(options.work), basis, config.seed, options.speech)
    clips = [clip for clips in groups.values() for clip in clips if clip.phones]
    return VADTask(clips, background(options.sounds, config.seed, SECONDS), options, config.rate)
