"""EAC as a task for the `Solver`: `emotalk train eac --data DIR --out RUN`.

The data pack's recordings (`corpus`) are cut into windows, heard in other voices (`augment`) and shown together with
random emotions, whose faces are composed with the mouth's motion (`motion.compose`). Without images the losses work on
landmarks and coefficients, and L_emo on renderings (`Consistency`); for filmed faces there is `eac_video`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...emotions import prototypes
from ...errors import UsageError
from ...evaluation.features import EmotionFeatures
from ...face.fit import Pose
from ...face.model import FaceModel
from ...media.audio import FLOOR, MELS_PER_FRAME, relative
from ...models import spaces, upstream
from ...models.eac import EAC, Dims
from ...models.emotion_space import AME
from ...motion.lips import VISEMES
from ...numeric import correlation
from .. import config as configs
from ..data import corpus, motion
from ..data.augment import Augmenter
from ..data.corpus import Clip
from ..data.emotions import EmotionBank, training_bank
from ..data.motion import Basis
from ..losses import Renderer, emotion_loss
from ..solver import Config

VISEME = 1.0  # weight of telling visemes apart
WINDOW = 32  # video frames, T of the paper
ENCODINGS = ("clip", "text", spaces.ONE_HOT, spaces.LANGUAGE)
DRAWN = 6000  # random points of the emotion space, and as many prompts
_SILENCE = -9.0  # log10 mel power
_PASSES = 0.25  # chance that what is no speech is heard, too
_SPOKEN = 40  # every so many-th clip of many voices is kept back, to validate with
_REACH = 8  # frames by which a window may reach beyond a recording


@dataclass(frozen=True)
class Options:
    """What `[eac.task]` may set.

    encoder: transformer | gru | mlp. encoding of the emotion: clip (any modality's codes: the whole space and prompts),
    text (prompts alone), one-hot and language (see `spaces`). ame: weights folder of the emotion space, "" for the
    shipped one; upstream: an open_clip model NAME/PRETRAINED instead. start: weights folder of the EAC to begin from,
    "" for random weights. work: folder of the prepared corpus. speech: folder of more recordings with exact phones, see
    `corpus.exact`. emotion: weight of L_emo, which needs the data pack's teacher.
    """

    encoder: str = "transformer"
    encoding: str = "clip"
    ame: str = ""
    upstream: str = ""
    start: str = ""
    work: str = "runs/corpus"
    speech: str = ""
    emotion: float = 0.0


def gated(mel: Tensor, speaking: Tensor, generator: torch.Generator) -> Tensor:
    """Speech mels [B,80,4T] as the voice activity detector lets them through, right or wrong: it errs by some frames.

    speaking: [B,T] in 0..1. In one of four windows everything passes.
    """
    before, after = torch.randint(0, 5, (2,), generator=generator).tolist()
    near = F.max_pool1d(F.pad(speaking, (after, before)), before + after + 1, 1)
    everything = (torch.rand(len(mel), 1, generator=generator) < _PASSES).float()
    passes = torch.maximum(near, everything).repeat_interleave(MELS_PER_FRAME, 1)[:, None]
    return FLOOR + (mel - FLOOR) * passes


class Windows(NamedTuple):
    """log-mel [B,80,128], coefficients [B,32,n], level [B] dBFS, visemes [B,128], who speaks or not [B,32] 0..1."""

    mel: Tensor
    beta: Tensor
    level: Tensor
    visemes: Tensor
    speaking: Tensor


class Sampler:
    """Random training windows of clips: `Window`s."""

    def __init__(self, groups: dict[str, list[Clip]]) -> None:
        self.groups = {name: clips for name, clips in groups.items() if clips}
        shares = np.array([corpus.SHARES[name] for name in self.groups])
        self.shares = shares / shares.sum()

    def __call__(self, rng: np.random.Generator, count: int) -> Windows:
        """Cut at random places and rates; now and then as slow as a song."""
        names = list(self.groups)
        rows = []
        for group in rng.choice(len(names), count, p=self.shares):
            clips = self.groups[names[group]]
            clip = clips[rng.integers(len(clips))]
            low, high = ((1, 1), (0.85, 1.25), (0.5, 0.85))[rng.choice(3, p=(0.4, 0.48, 0.12))]
            rate = rng.uniform(low, high)
            start = rng.uniform(-_REACH, max(len(clip.beta) + _REACH - WINDOW * rate, 1 - _REACH))
            rows.append(
                Windows(
                    _resample(clip.mel, MELS_PER_FRAME * start, rate, MELS_PER_FRAME * WINDOW, _SILENCE),
                    _resample(clip.beta.T, start, rate, WINDOW, 0.0).T,
                    torch.tensor(clip.level),
                    _visemes(clip, MELS_PER_FRAME * start, rate, MELS_PER_FRAME * WINDOW),
                    _resample(clip.speaking[None], start, rate, WINDOW, 0.0)[0],
                )
            )
        return Windows(*(torch.stack(column) for column in zip(*rows)))


def _resample(rows: Tensor, start: float, rate: float, length: int, fill: float) -> Tensor:
    """Columns start, start + rate, ... of [C,N] by linear interpolation, `fill` outside."""
    position = start + rate * torch.arange(length)
    low = position.floor().long()
    part = position - low
    first, last = max(0, int(low[0])), min(rows.shape[1], int(low[-1]) + 2)
    padded = F.pad(rows[:, first:last].float(), (1, 1), value=fill)

    def at(index: Tensor) -> Tensor:
        return padded[:, (index + 1 - first).clamp(0, padded.shape[1] - 1)]

    return at(low) * (1 - part) + at(low + 1) * part


def _visemes(clip: Clip, start: float, rate: float, length: int) -> Tensor:
    """Visemes [length] at mel frames start, start + rate, ...; silence beyond the recording."""
    at = (start + rate * torch.arange(length)).round().long()
    if clip.visemes is None:
        return torch.full_like(at, -1)
    inside = (at >= 0) & (at < len(clip.visemes))
    return clip.visemes[at.clamp(0, len(clip.visemes) - 1)] * inside


class Objective(nn.Module):
    """Loss without images: landmarks (lips above all), coefficients, velocity, closed lips, amplitude, tremor.

    A mean square alone prefers small, late motion where sound does not decide; `amplitude` asks for openings as
    large and as varied as the target's, and `tremor` for second differences no larger.
    """

    def __init__(self, basis: Basis) -> None:
        super().__init__()
        self.count = len(basis.names)
        mouth = basis.mean[:, 1] < -1
        parts = {"mouth": basis.expression[:, mouth].flatten(1), "gap": basis.lips}
        for name, part in (parts | {"width": basis.distances(motion.WIDTH_PAIRS, 0)}).items():
            self.register_buffer(name, part, persistent=False)

    def forward(self, predicted: Tensor, closed: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Terms whose sum is the loss, for coefficients [B,T,64] and logits [B,T] of closed lips."""
        error = predicted - target
        count = self.count
        named = error[..., :count]
        wanted = target[..., :count] @ self.gap
        opening = wanted.mean(2)
        shut = ((0.12 - opening) / 0.08).clamp(0, 1)
        nearby = F.max_pool1d(opening, 9, 1, 4).clamp(0, 1)  # a closure between open sounds is what viewers look for
        weight = 1 + 5 * shut * nearby
        landmarks, gap, width = named @ self.mouth, named @ self.gap, named @ self.width
        own = (predicted[..., :count] @ self.gap).mean(2)
        tremor = own.diff(n=2, dim=1).abs().mean(1) - opening.diff(n=2, dim=1).abs().mean(1)
        return {
            "landmarks": 10 * landmarks.square().mean(),
            "gap": 1.5
            * (weight[..., None] * F.smooth_l1_loss(gap, torch.zeros_like(gap), reduction="none", beta=0.3)).mean(),
            "open": 3 * (0.7 * opening - own).clamp(min=0).square().mean(),
            "closed": 0.8 * F.binary_cross_entropy_with_logits(closed, shut, weight),
            "width": 8 * width.square().mean(),
            "beta": 15 * error.square().mean(),
            "velocity": 10 * landmarks.diff(dim=1).square().mean() + 0.5 * gap.diff(dim=1).square().mean(),
            "amplitude": (own.mean(1) - opening.mean(1)).square().mean()
            + (_spread(own) - _spread(opening)).square().mean(),
            "tremor": 4 * tremor.clamp(min=0).mean(),
        }


def _spread(series: Tensor) -> Tensor:
    """Standard deviation along the last axis, smooth at zero."""
    return (series.var(1) + 1e-4).sqrt()


class Consistency(nn.Module):
    """L_emo (eq. 6) where no image exists: the mean face rendered with β̂ and with β, seen by φ_emo."""

    def __init__(self, teachers: Path, size: int = 96) -> None:
        """teachers: folder of the data pack's emotion classifier. size: px of the renderings."""
        super().__init__()
        self.renderer = Renderer(FaceModel.load(), size)
        self.phi = EmotionFeatures("fer", teachers)
        self.size = size
        light = torch.zeros(3, 9)
        light[:, 0], light[:, 2], light[:, 3] = 0.55, 0.20, 0.45  # even, from above, from the front
        self.register_buffer("light", light.reshape(1, 27))

    def render(self, beta: Tensor) -> tuple[Tensor, Tensor]:
        """β [B,64] -> picture [B,3,size,size] of the mean face and its landmarks [B,478,3] px."""
        model, count = self.renderer.model, len(beta)
        turn = torch.eye(3, device=beta.device).expand(count, 3, 3)
        middle = torch.full((count, 3), self.size / 2, device=beta.device)
        pose = Pose(turn, beta.new_full((count,), self.size / 20), middle)
        alpha = beta.new_zeros(count, len(model.identity))
        delta = beta.new_zeros(count, len(model.texture_basis))
        picture, _ = self.renderer(alpha, beta, delta, self.light.expand(count, -1), pose)
        return picture, self.renderer.vertices(alpha, torch.zeros_like(beta), pose)

    def forward(self, predicted: Tensor, target: Tensor) -> Tensor:
        """β̂ and β [B,64] -> L_emo."""
        made, landmarks = self.render(predicted)
        with torch.no_grad():
            wanted = self.phi(self.render(target)[0], landmarks)
        return emotion_loss(self.phi(made, landmarks), wanted)


class EACTask:
    """One EAC, learning from a corpus (see `solver.Task`)."""

    name = "eac"

    def __init__(
        self,
        groups: dict[str, list[Clip]],
        held_out: list[Clip],
        basis: Basis,
        bank: EmotionBank,
        options: Options,
        rate: float,
        consistency: nn.Module | None = None,
    ) -> None:
        """groups: training clips by source. held_out: tracked clips to validate with. consistency: L_emo of β̂, β."""
        self.options, self.rate, self.basis, self.bank = options, rate, basis, bank
        self.held_out, self.consistency = held_out, consistency
        self.spoken = [clip for name in ("kokoro", "speechocean") for clip in groups.get(name, [])[::_SPOKEN]]
        for name in ("kokoro", "speechocean"):
            groups = groups | {name: [clip for i, clip in enumerate(groups.get(name, [])) if i % _SPOKEN]}
        self.sampler = Sampler(groups)
        self.augment = Augmenter([(clip.mel, clip.level) for clip in groups["noise"]])
        self.objective = Objective(basis)
        self.share = prototypes.speech_mask()[: len(basis.names)]
        feeling = bank.behaviour.dims.hidden if bank.behaviour is not None else 0
        self.model = EAC(Dims(encoder=options.encoder, space=bank.space, visemes=len(VISEMES), feeling=feeling))
        self.model.lips[: len(basis.names)] = basis.lips
        older = EAC.load(options.start) if options.start else None
        if older is not None:
            self.model.adopt(older)
        if bank.behaviour is not None and (older is None or not older.dims.feeling):
            self.model.feel(bank.behaviour)
        self.helpers: dict[str, nn.Module] = {}

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        for module in (self.objective, self.consistency):
            if module is not None:
                module.to(self.model.intensity.device)
        return {"eac": torch.optim.AdamW(self.model.parameters(), self.rate, weight_decay=0.01)}

    def batch(self, rng: np.random.Generator, size: int) -> dict[str, Tensor]:
        cut = self.sampler(rng, size)
        z, face = self.bank.sample(rng, size)
        mu = torch.from_numpy(rng.uniform(1, 3, size)).float()
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        face = face * prototypes.intensity_gain(mu)[:, None]
        named = motion.compose(cut.beta, face[:, : len(self.basis.names)], self.share, self.basis)
        residual = face[:, None, len(self.basis.names) :].expand(-1, WINDOW, -1)
        target = torch.cat([named, residual], 2)
        mel = gated(self.augment(cut.mel, cut.level, generator), cut.speaking, generator)
        return {"mel": mel, "z": z, "mu": mu, "beta": target, "visemes": cut.visemes}

    def losses(self, batch: dict[str, Tensor], step: int, total: int) -> Iterator[tuple[str, Tensor, dict]]:
        beta, closed, heard, _ = self.model.window(batch["mel"], batch["z"], batch["mu"])
        terms = self.objective(beta, closed, batch["beta"])
        known = (batch["visemes"] >= 0).sum().clamp(min=1)
        terms["viseme"] = (
            VISEME / known * F.cross_entropy(heard.transpose(1, 2), batch["visemes"], ignore_index=-1, reduction="sum")
        )
        if self.consistency is not None:
            few, frame = slice(2), step % WINDOW  # rendering is dear
            seen = self.consistency(beta[few, frame], batch["beta"][few, frame])
            terms["emotion"] = self.options.emotion * seen
        loss = sum(terms.values())
        yield "eac", loss, {"loss": loss, **terms}

    @torch.no_grad()
    def validate(self, model: nn.Module) -> dict[str, float]:
        """Pearson r of opening and width with the tracked mouth, and the size and tremor of openings beside its."""
        rest = self.bank.rest
        mine, wide, truth, width = [], [], [], []
        for clip in self.held_out:
            beta, _ = model.predict(relative(clip.mel.float(), clip.level), rest, 1.0)
            beta = beta.cpu()
            mine.append(motion.gaps(beta, self.basis).mean(1))
            wide.append(motion.widths(beta, self.basis).mean(1))
            truth.append(clip.gaps.mean(1))
            width.append(clip.widths.mean(1))
        opening, tracked = torch.cat(mine), torch.cat(truth)
        speaking = tracked > 0.3
        report = {
            "r_opening": correlation(opening, tracked),
            "r_width": correlation(torch.cat(wide), torch.cat(width)),
            "opening_of_tracked": float(opening[speaking].mean() / tracked[speaking].mean()),
            "jitter_of_tracked": float(_tremor(mine) / _tremor(truth)),
        }
        if self.spoken:
            report["visemes"] = float(np.mean([recognition(model, clip, rest) for clip in self.spoken]))
        return report

    def samples(self, model: nn.Module) -> np.ndarray | None:
        return None

    def save(self, model: nn.Module, out: Path, **provenance) -> Path:
        return model.save(out, data=corpus.LICENCES, **provenance)


def recognition(model: EAC, clip: Clip, z: Tensor) -> float:
    """Share of the mel frames of a clip's speech whose viseme is recognised."""
    known = clip.visemes > 0
    found = model.visemes(relative(clip.mel.float(), clip.level), z).argmax(1).cpu()
    return float((found == clip.visemes)[known].float().mean())


def _tremor(series: list[Tensor]) -> Tensor:
    return torch.cat([x.diff(n=2).abs() for x in series]).mean()


def bank_of(options: Options, seed: int) -> EmotionBank:
    """Emotions to learn, in the encoding that the options name."""
    if options.encoding not in ENCODINGS:
        raise UsageError(f"encoding={options.encoding} is unknown; choose one of {', '.join(ENCODINGS)}.")
    if options.encoding == spaces.ONE_HOT:
        return EmotionBank.one_hot(spaces.ONE_HOT)
    folder = options.ame or None
    ame = upstream.load(options.upstream, folder) if options.upstream else AME.load(folder)
    bank = training_bank(ame, DRAWN, seed, options.encoding == "clip")
    if options.encoding == spaces.LANGUAGE:
        return EmotionBank(spaces.Language(ame).code(bank.z), bank.beta, spaces.LANGUAGE)
    return bank


def build(data: Path, config: Config, work: Path) -> EACTask:
    """The task for the data pack in `data`; what is prepared lies in the folder that `options.work` names."""
    options = configs.build(Options, config.task)
    basis = Basis.from_pack(data)
    groups, _ = corpus.build(data, Path(options.work), basis, config.seed, options.speech)
    groups, held_out = corpus.hold_out(groups)
    consistency = Consistency(data / "teachers") if options.emotion else None
    return EACTask(groups, held_out, basis, bank_of(options, config.seed), options, config.rate, consistency)
