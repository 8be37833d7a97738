"""EAC from filmed faces (Sec. 3.3): prepared clips with emotion labels, the losses of eq. 5 and 6.

Each window is shown three times along the batch (eq. 2), with its emotion from its label as text, from one of its
frames and from its sound; all share one target, so that the face is the same whatever said the emotion. The audio tower
learns along (L_clip). In a space without images (`spaces`) text stands in for what is seen and heard.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from ...errors import InputError, UsageError
from ...evaluation.features import EmotionFeatures
from ...face.model import FaceModel
from ...face.topology import LIP_PAIRS
from ...media import audio
from ...media.audio import normalise
from ...models import checkpoints, spaces
from ...models.audio_tower import AudioDims, AudioTower
from ...models.eac import EAC, Dims
from ...models.text_tower import SPACE
from .. import config as configs
from ..config import Config
from ..data import shards
from ..data.shards import Shard
from ..losses import (
    Renderer,
    blended,
    clip_loss,
    emotion_loss,
    landmark_loss,
    reconstruction_loss,
    regularization_loss,
)

PROMPTS = ("{}", "a {} face", "a person who looks {}", "feeling {}")
STAND_IN = "task.reader=tracker is no emotion network: L_emo compares what the face tracker sums up of a face."
CLOSED = (0.004, 0.009)  # lip gap / face height: shut below, open above


@dataclasses.dataclass
class Options:
    """Losses of eq. 5 by their weights; 0 leaves one out.

    window: T, frames. rendered: frames of each window that are rendered, 0 for all; chunk: how many at once, the others
    wait, for memory's sake. size: px, side of the renderings. reader: φ_emo of eq. 6, which must be named, see
    `EmotionFeatures`; teachers: folder of `fer`. closed: weight of two heads that the paper's EAC does not have, which
    say when lips are shut and what is being said; for want of phones, the latter learns from an older EAC. space: of
    the emotion, see `spaces`; upstream: CLIP's, NAME/PRETRAINED, whose audio tower starts from nothing. start: "" from
    scratch, "shipped", or a folder of weights to go on from.
    """

    window: int = 32
    rendered: int = 0
    chunk: int = 512
    size: int = 224
    reader: str = ""
    teachers: str = ""
    clip: float = 1.0
    emo: float = 1.0
    rec: float = 100.0
    lm: float = 0.1
    reg: float = 0.01
    closed: float = 0.1
    start: str = ""
    encoder: str = "transformer"
    space: str = SPACE
    upstream: str = ""


class VideoEAC:
    """EAC on prepared clips, as a `solver.Task`."""

    name = "eac"

    def __init__(self, data: Path, config: Config) -> None:
        self.options = options = configs.build(Options, config.task)
        self.rate, self.data = config.rate, data
        known = EAC.load(None if options.start in ("", "shipped") else options.start)
        self.ame = spaces.load(options.upstream or options.space)
        if options.window > known.dims.window:
            raise UsageError(f"task.window={options.window} is more than EAC's {known.dims.window} frames.")
        self.ear = copy.deepcopy(known).requires_grad_(False)  # listens in its own space, to a neutral voice
        self.rest = spaces.load(known.dims.space).text(["neutral"])
        dims = Dims(encoder=options.encoder, space=self.ame.space, visemes=known.dims.visemes)
        self.model = EAC(dims)
        self.model.lips.copy_(known.lips)
        if options.start:
            self.model.adopt(known)
        self.image_tower = self.ame.image_tower
        self.tower = self._tower() if self.image_tower is not None else None
        self.helpers = {"audio_tower": self.tower} if self.tower is not None else {}
        phi = EmotionFeatures(options.reader, Path(options.teachers)) if options.emo else None
        self.renderer, self.phi = Renderer(FaceModel.load(), options.size), phi
        self.notes = [STAND_IN] if options.emo and options.reader == "tracker" else []
        self.clips = self._clips("train")
        try:
            self.tests = self._clips("test")[:8]
        except InputError:
            self.tests = self.clips[:2]
        words = sorted({clip.labels.emotion for clip in [*self.clips, *self.tests]})
        self.words = {word: self.ame.text([prompt.format(word) for prompt in PROMPTS]) for word in words}
        self.sources = sorted({clip.labels.subject for clip in self.clips})

    def _tower(self) -> AudioTower:
        """The audio encoder that learns along: the space's own, or a new one whose output is free."""
        tower = self.ame.audio_tower or AudioTower(AudioDims(anchors=0, space=self.ame.space))
        return tower.requires_grad_(True)

    def _clips(self, split: str) -> list[Shard]:
        found = [shard for shard in map(Shard, shards.listing(self.data, split)) if len(shard) >= self.options.window]
        if not found:
            raise InputError(f"No {split} clip in {self.data} has {self.options.window} frames; prepare longer ones.")
        return found

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Adam, as in the paper."""
        device = next(self.model.parameters()).device
        for module in (self.renderer, self.phi, self.ear):
            if module is not None:
                module.to(device)
        self.rest = self.rest.to(device)
        modules = (self.model, *self.helpers.values())
        return {"eac": torch.optim.Adam([p for module in modules for p in module.parameters()], self.rate)}

    def batch(self, rng: np.random.Generator, size: int) -> dict[str, Tensor]:
        """Random windows of random clips, each with its emotion as text, as seen and as heard."""
        rows = [self._sample(self.clips[rng.integers(len(self.clips))], rng) for _ in range(size)]
        return {key: torch.stack([row[key] for row in rows]) for key in rows[0]}

    def _sample(self, clip: Shard, rng: np.random.Generator) -> dict[str, Tensor]:
        window, size = self.options.window, self.options.size
        start = int(rng.integers(len(clip) - window + 1))
        count = self.options.rendered or window
        shown = np.sort(rng.choice(window, min(count, window), replace=False))
        picks = torch.from_numpy(start + shown)
        frames = torch.stack([clip.frame(int(i)) for i in picks]).float() / 255
        texts = self.words[clip.labels.emotion]
        text = texts[rng.integers(len(texts))]
        points = clip["landmarks"]
        other = int(rng.integers(len(clip)))
        felt = {"seen": self._seen(clip, other), "heard": self._heard(clip, rng)} if self.tower is not None else {}
        return {
            "mel": windowed_mel(clip, start, window),
            "text": text,
            **felt,
            "mu": torch.tensor(clip.labels.intensity),
            "beta": clip["beta"][start : start + window],
            "shut": shut(points[start : start + window]),
            "shown": torch.from_numpy(shown),
            "image": F.interpolate(frames, (size, size), mode="area"),
            "landmarks": points[picks] * (size / clip.size),
            "pose": clip["pose"][picks],
            **{key: clip[key] for key in ("alpha", "delta", "gamma")},
        }

    def _seen(self, clip: Shard, number: int) -> Tensor:
        """e_img of a frame [512]."""
        picture = clip.frame(number).permute(1, 2, 0).contiguous().numpy()
        return self.ame.image(picture, clip["landmarks"][number].numpy(), clip["scores"][number].numpy())

    def _heard(self, clip: Shard, rng: np.random.Generator) -> Tensor:
        """A window of the sound as the audio tower hears it [80,200], silence after its end."""
        assert self.tower is not None
        mel, wanted = normalise(audio.log_mel(clip.sound()), audio.level(clip.sound())), self.tower.dims.window
        start = int(rng.integers(max(1, mel.shape[1] - wanted + 1)))
        part = mel[:, start : start + wanted]
        return F.pad(part, (0, wanted - part.shape[1]))

    def losses(self, batch: dict[str, Tensor], step: int, total: int) -> Iterator[tuple[str, Tensor, dict]]:
        """The weighted sum of eq. 5; its terms are logged as they are, without their weights."""
        told, terms = [batch["text"]], {}
        if self.tower is not None:
            self.tower.standard.eval()  # statistics of a batch of two would say little
            heard = self.tower(batch["heard"])
            told += [batch["seen"], heard]
            terms["clip"] = clip_loss(heard, batch["seen"], batch["text"])
        z, times = torch.cat(told), len(told)  # eq. 2
        mel, mu = batch["mel"].repeat(times, 1, 1), batch["mu"].repeat(times)
        predicted, closed, said, _ = self.model.window(mel, z, mu)
        terms |= self.terms(batch, predicted.float())
        shut_lips = batch["shut"].repeat(times, 1)
        terms["closed"] = F.binary_cross_entropy_with_logits(closed.float(), shut_lips)
        if said is not None:
            with torch.no_grad():
                rest = self.rest.expand(len(batch["mel"]), -1)
                said_there = self.ear.window(batch["mel"], rest, torch.ones_like(batch["mu"]))[2]
                assert said_there is not None
                known = said_there.softmax(2)
            known = known.repeat(times, 1, 1)
            terms["closed"] = terms["closed"] + F.cross_entropy(said.transpose(1, 2).float(), known.transpose(1, 2))
        loss = sum(getattr(self.options, name) * term for name, term in terms.items())
        yield "eac", loss, {"loss": loss, **terms}

    @torch.autocast("cpu", enabled=False)
    @torch.autocast("cuda", enabled=False)
    def terms(self, batch: dict[str, Tensor], predicted: Tensor) -> dict[str, Tensor]:
        """L_emo, L_rec, L_lm and L_reg of predicted β̂ [k·B,T,64]: k predictions for each of B windows, one after
        the other."""
        size, (count, shown) = self.options.size, batch["shown"].shape
        times = len(predicted) // count
        row = torch.arange(len(predicted), device=predicted.device)[:, None]
        modified = predicted[row, batch["shown"].repeat(times, 1)].flatten(0, 1)
        original = batch["beta"][row[:count], batch["shown"]].flatten(0, 1)
        alpha, delta, gamma = (batch[key].repeat_interleave(shown, 0) for key in ("alpha", "delta", "gamma"))
        vector, image, landmarks = (batch[key].flatten(0, 1) for key in ("pose", "image", "landmarks"))
        scene = [alpha, delta, gamma, vector, image, landmarks]
        if self.phi is not None:
            with torch.no_grad():
                scene.append(torch.cat([self.phi(*part) for part in zip(image.split(64), landmarks.split(64))]))
        pose = shards.to_pose(vector, size)
        kept = self.renderer.vertices(alpha, original, pose)
        moved = [self.renderer.vertices(alpha, beta, pose) for beta in modified.split(len(original))]
        tiled = [tensor.repeat(times, *[1] * (tensor.dim() - 1)) for tensor in scene]
        parts = list(zip(*(tensor.split(self.options.chunk) for tensor in [modified, *tiled]), strict=True))
        if len(parts) == 1:
            found = [self._seen_terms(*parts[0])]
        else:  # rendered again when gradients are asked for: all at once would not fit into memory
            found = [checkpoint(self._seen_terms, *part, use_reentrant=False) for part in parts]
        emo, frames, rec, face = torch.stack(found).T
        terms = {"emo": (emo * frames).sum() / frames.sum()} if self.phi is not None else {}
        return terms | {
            "rec": (rec * face).sum() / face.sum().clamp_min(1),
            "lm": torch.stack([landmark_loss(kept, points, size) for points in moved]).mean(),
            "reg": regularization_loss(batch["beta"].repeat(times, 1, 1), predicted),
        }

    def _seen_terms(
        self,
        beta: Tensor,
        alpha: Tensor,
        delta: Tensor,
        gamma: Tensor,
        vector: Tensor,
        image: Tensor,
        landmarks: Tensor,
        wanted: Tensor | None = None,
    ) -> Tensor:
        """[4] of n frames: L_emo (0 without `wanted`), n, L_rec, pixels of the faces."""
        rendered, mask = self.renderer(alpha, beta, delta, gamma, shards.to_pose(vector, self.options.size))
        emo = beta.new_zeros(())
        if wanted is not None:
            assert self.phi is not None
            emo = emotion_loss(self.phi(blended(rendered, mask, image), landmarks), wanted)
        rec = reconstruction_loss(rendered, mask, image)
        return torch.stack([emo, emo.new_tensor(len(beta)), rec, mask.sum()])

    def validate(self, model: EAC) -> dict[str, float]:
        """On test clips: Pearson's r of the lips' opening, and L_reg."""
        opening, truth, distance = [], [], []
        for clip in self.tests:
            wave = clip.sound()
            heard = audio.relative(audio.log_mel(wave), audio.level(wave))
            beta, _ = model.predict(heard, self.words[clip.labels.emotion][0], clip.labels.intensity)
            beta = beta.cpu()
            opening.append((beta @ model.lips.cpu()).mean(1))
            truth.append(gap(clip["landmarks"]))
            distance.append(regularization_loss(clip["beta"], beta))
        both = torch.stack([torch.cat(opening), torch.cat(truth)])
        return {"r_opening": float(torch.corrcoef(both)[0, 1]), "test_reg": float(torch.stack(distance).mean())}

    @torch.no_grad()
    def samples(self, model: EAC) -> np.ndarray:
        """A test window: frames, and below them I^3d of what EAC predicts."""
        clip = self.tests[0]
        batch = self._sample(clip, np.random.default_rng(0))
        device = next(model.parameters()).device
        batch = {key: value[None].to(device) for key, value in batch.items()}
        beta, *_ = model.window(batch["mel"], batch["text"], batch["mu"])
        at = batch["shown"][0]
        alpha, delta, gamma = (batch[k].expand(len(at), -1) for k in ("alpha", "delta", "gamma"))
        rendered, mask = self.renderer(
            alpha, beta[0, at], delta, gamma, shards.to_pose(batch["pose"][0], self.options.size)
        )
        image = batch["image"][0]
        rows = torch.cat([torch.cat(list(row[:8]), 2) for row in (image, blended(rendered, mask, image))], 1)
        return (rows * 255).byte().permute(1, 2, 0).cpu().numpy()

    def save(self, model: EAC, out: Path, **provenance: Any) -> Path:
        """Write `eac.safetensors`, and `ame_audio.safetensors`, which L_clip trained with it, where the space hears."""
        data = f"{len(self.clips)} prepared clips of {len(self.sources)} subjects in {self.data}"
        if self.tower is not None:
            self.tower.save(out, data=data, **provenance)
        return checkpoints.save("eac", model.state_dict(), model.dims, out, data=data, **provenance)


def windowed_mel(clip: Shard, start: int, window: int) -> Tensor:
    """Relative log-mel [80, 4 window] of frames start .. start + window, as it is in the middle of the recording."""
    before, after = min(1, start), min(1, len(clip) - start - window)
    wave = clip.sound(start - before, start + window + after)
    mel = audio.log_mel(wave)[:, 4 * before : 4 * (before + window)]
    return audio.relative(mel, audio.level(clip.sound()))


def gap(landmarks: Tensor) -> Tensor:
    """Mean inner-lip gap [T] of landmarks [T,478,3], in heights of the face."""
    upper, lower = torch.tensor(LIP_PAIRS).T
    height = (landmarks[:, 10, :2] - landmarks[:, 152, :2]).norm(dim=1)
    return (landmarks[:, upper, :2] - landmarks[:, lower, :2]).norm(dim=2).mean(1) / height


def shut(landmarks: Tensor) -> Tensor:
    """How surely lips are closed [T], 0..1, of landmarks [T,478,3]."""
    low, high = CLOSED
    return ((high - gap(landmarks)) / (high - low)).clamp(0, 1)


def build(data: Path, config: Config, work: Path) -> VideoEAC:
    """What `emotalk train eac` trains on prepared clips."""
    return VideoEAC(data, config)
