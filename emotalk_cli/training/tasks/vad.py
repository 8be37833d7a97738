"""VAD as a task for the `Solver`: `emotalk train vad --data DIR --out RUN`.

Recordings whose phones are timed are laid over, between and beside sounds that are no speech (`data.sounds`, and crowds
made of many talkers), in other voices, rooms and lines, at any gain. What a frame is follows from how it was made.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...media import audio
from ...media.audio import MELS_PER_FRAME
from ...models.vad import VAD, VADDims
from .. import config as configs
from ..data import corpus, motion
from ..data.augment import Augmenter, Chance
from ..data.corpus import Clip
from ..data.sounds import sounds
from ..solver import Config

SECONDS = 7
FRAMES = SECONDS * audio.FPS
MELS = FRAMES * MELS_PER_FRAME
CROWD = (5, 16)  # talkers
_SILENCE = -10.0  # log10 mel power


@dataclass(frozen=True)
class Options:
    """What `[vad.task]` may set. work: folder of the prepared corpus. speech: see `eac.Options`. sounds: how many."""

    work: str = "runs/corpus"
    speech: str = ""
    sounds: int = 260


class VADTask:
    """One VAD, learning from clips with phones (see `solver.Task`)."""

    name = "vad"

    def __init__(self, clips: list[Clip], others: list[Tensor], options: Options, rate: float) -> None:
        """clips: speech with phones. others: log-mels [80,MELS] without speech; a tenth of both is for validation."""
        self.rate, self.options = rate, options
        self.model, self.helpers = VAD(VADDims()), {}
        self.augment = Augmenter([])
        self.clips, self.others = ([x for i, x in enumerate(rows) if i % 10] for rows in (clips, others))
        kept = [rows[::10] for rows in (clips, others)]
        rng = np.random.default_rng(0)
        self.held_out = [self._batch(rng, 32, *kept) for _ in range(2)]

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return {"vad": torch.optim.AdamW(self.model.parameters(), self.rate, weight_decay=0.01)}

    def batch(self, rng: np.random.Generator, size: int) -> dict[str, Tensor]:
        return self._batch(rng, size, self.clips, self.others)

    def _batch(self, rng: np.random.Generator, size: int, clips: list[Clip], others: list[Tensor]) -> dict[str, Tensor]:
        """Log-mels [size,80,MELS], speech [size,FRAMES] in 0..1, and weight [size,FRAMES]: 0 next to a border."""
        speech, spoken = (torch.stack(rows) for rows in zip(*(self._talk(rng, clips) for _ in range(size))))
        chance = Chance(size, torch.Generator().manual_seed(int(rng.integers(2**62))))
        power = 10 ** self.augment.revoice(speech, chance)
        loud = spoken.repeat_interleave(MELS_PER_FRAME, 1)[:, None]
        reference = (power * loud).sum((1, 2)) / (80 * loud.sum((1, 2))).clamp(min=1)
        reference = torch.where(reference > 1e-9, reference, torch.ones(()))[:, None, None]
        for i in range(size):
            for _ in range(rng.choice([0, 1, 2], p=(0.25, 0.6, 0.15))):
                power[i] += reference[i] * self._other(rng, clips, others, loud[i])
        hiss = 10 ** (chance.curve(80, 0.8)[:, :, None] - chance.uniform(2.5, 7, 1, 1))
        power = power + chance.some(0.8) * reference * hiss * chance.uniform(0, 2, 80, MELS)
        log = self.augment.channel(power / reference, chance) + chance.uniform(-5, 2.5, 1, 1)
        border = F.max_pool1d(F.pad(spoken.diff(dim=1).abs(), (1, 0)), 3, 1, 1)
        return {"mel": log.clamp(min=_SILENCE), "speech": spoken, "weight": 1 - border}

    def _talk(self, rng: np.random.Generator, clips: list[Clip]) -> tuple[Tensor, Tensor]:
        """Speech with pauses [80,MELS], and where it is [FRAMES]; in one of three nobody speaks."""
        mel, spoken = torch.full((80, MELS), _SILENCE), torch.zeros(FRAMES)
        at = 0 if rng.random() < 0.3 else int(rng.integers(FRAMES))
        if rng.random() < 0.33:
            return mel, spoken
        while at < FRAMES - 5:
            clip = clips[rng.integers(len(clips))]
            first = int(rng.integers(max(1, len(clip.beta) - 25))) if rng.random() < 0.3 else 0
            count = min(len(clip.beta) - first, FRAMES - at)
            part = clip.mel[:, first * MELS_PER_FRAME : (first + count) * MELS_PER_FRAME].float()
            gain = -clip.level / 10 + 0.5 * float(rng.standard_normal())
            mel[:, at * MELS_PER_FRAME : (at + count) * MELS_PER_FRAME] = part + gain
            spoken[at : at + count] = clip.speaking[first : first + count]
            at += count + int(rng.exponential(30))
        return mel, spoken

    def _other(self, rng: np.random.Generator, clips: list[Clip], others: list[Tensor], loud: Tensor) -> Tensor:
        """Mel power [80,MELS] of something else, the speech's being 1: under speech weaker, beside it of any power."""
        if rng.random() < 0.12:
            power = torch.zeros(80, MELS)
            for _ in range(rng.integers(*CROWD)):
                clip = clips[rng.integers(len(clips))]
                row = 10 ** (clip.mel.float() - clip.level / 10)
                power += row.repeat(1, MELS // row.shape[1] + 2)[:, int(rng.integers(row.shape[1])) :][:, :MELS]
        else:
            power = 10 ** others[rng.integers(len(others))].float()
        power = power / power.mean().clamp(min=1e-9)
        if not bool(loud.any()) or rng.random() < 0.5:
            gain = -rng.uniform(0, 3) if bool(loud.any()) else 0.0
            return power * 10**gain
        beside = F.max_pool1d(loud[None].float(), 41, 1, 20)[0]  # before and after speech, not with it
        return power * (1 - beside) * 10 ** rng.uniform(-1.5, 2.5)

    def losses(self, batch: dict[str, Tensor], step: int, total: int) -> Iterator[tuple[str, Tensor, dict]]:
        logit = self.model(batch["mel"])
        loss = F.binary_cross_entropy_with_logits(logit, batch["speech"], batch["weight"])
        yield "vad", loss, {"loss": loss}

    @torch.no_grad()
    def validate(self, model: nn.Module) -> dict[str, float]:
        """Share of frames that are judged right, where somebody speaks and where nobody does."""
        logit = torch.cat([model(batch["mel"].to(next(model.parameters()).device)) for batch in self.held_out]).cpu()
        speech, weight = (torch.cat([batch[name] for batch in self.held_out]) for name in ("speech", "weight"))
        found, sure = logit > 0, weight > 0
        return {
            "speech_found": float(found[sure & (speech > 0.5)].float().mean()),
            "rest_left": float(1 - found[sure & (speech < 0.5)].float().mean()),
        }

    def samples(self, model: nn.Module) -> np.ndarray | None:
        return None

    def save(self, model: nn.Module, out: Path, **provenance) -> Path:
        return model.save(out, data=corpus.LICENCES, **provenance)


def build(data: Path, config: Config, work: Path) -> VADTask:
    """The task for the data pack in `data`; what is prepared lies in the folder that `options.work` names."""
    options = configs.build(Options, config.task)
    basis = motion.Basis.from_pack(data)
    groups, _ = corpus.build(data, Path(options.work), basis, config.seed, options.speech)
    clips = [clip for clips in groups.values() for clip in clips if clip.phones]
    others = [audio.log_mel(wave).half() for wave in sounds(options.sounds, SECONDS, config.seed)]
    return VADTask(clips, others, options, config.rate)
