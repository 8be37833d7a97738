"""EAC from filmed faces (Sec. 3.3): prepared clips with emotion labels, the losses of eq. 5 and 6.

The emotion of a sample comes from its label as text, from one of its frames, or from its sound, in turn; all share
one target, so that the face is the same whatever said the emotion. The audio tower learns along (L_clip). Without an
image tower among the weights, the text stands in for the frame.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ...errors import InputError, UsageError
from ...face.model import FaceModel
from ...face.topology import LIP_PAIRS
from ...face.tracker import FaceTracker
from ...media import audio
from ...models import checkpoints
from ...models.audio_tower import AudioDims, AudioTower
from ...models.eac import EAC, Dims, normalise
from ...models.emotion_space import AME
from .. import config as configs
from ..config import Config
from ..data import shards
from ..data.shards import Shard
from ..losses import (
    EmotionFeatures,
    Renderer,
    blended,
    clip_loss,
    emotion_loss,
    landmark_loss,
    reconstruction_loss,
    regularization_loss,
)

PROMPTS = ("{}", "a {} face", "a person who looks {}", "feeling {}")
CLOSED = (0.004, 0.009)  # lip gap / face height: shut below, open above


@dataclasses.dataclass
class Options:
    """Losses of eq. 5 by their weights; 0 leaves one out.

    window: T, frames. rendered: frames of each window that are rendered, 0 for all. size: px, side of the renderings.
    reader: φ_emo, see `EmotionFeatures`. closed: weight of two heads that the paper's EAC does not have, which say when
    lips are shut and what is being said; for want of phones, the latter learns from an older EAC. start: "" from
    scratch, "shipped", or a folder of weights to go on from.
    """

    window: int = 32
    rendered: int = 0
    size: int = 224
    reader: str = "tracker"
    teachers: str = ""
    clip: float = 1.0
    emo: float = 1.0
    rec: float = 100.0
    lm: float = 0.1
    reg: float = 0.01
    closed: float = 0.1
    start: str = ""
    encoder: str = "transformer"


class VideoEAC:
    """EAC on prepared clips, as a `solver.Task`."""

    name = "eac"

    def __init__(self, data: Path, config: Config) -> None:
        self.options = options = configs.build(Options, config.task)
        self.rate, self.data = config.rate, data
        self.ame = AME.load()
        face = FaceModel.load()
        known = EAC.load(None if options.start in ("", "shipped") else options.start)
        if options.window > known.dims.window:
            raise UsageError(f"task.window={options.window} is more than EAC's {known.dims.window} frames.")
        self.ear = copy.deepcopy(known).requires_grad_(False)
        dims = Dims(encoder=options.encoder, space=self.ame.space, visemes=known.dims.visemes)
        self.model = known if options.start else EAC(dims)
        self.model.lips.copy_(known.lips)
        self.model.requires_grad_(True)
        self.tower, self.image_tower = self.ame.audio_tower, self.ame.image_tower
        if self.tower is None:
            self.tower = AudioTower(AudioDims(space=self.ame.space))
        self.tower.requires_grad_(True)
        self.helpers = {"audio_tower": self.tower}
        phi = EmotionFeatures(options.reader, FaceTracker.load(), Path(options.teachers))
        self.renderer, self.phi = Renderer(face, options.size), phi
        self.clips = self._clips("train")
        try:
            self.tests = self._clips("test")[:8]
        except InputError:
            self.tests = self.clips[:2]
        words = sorted({clip.labels.emotion for clip in [*self.clips, *self.tests]})
        self.words = {word: self.ame.text([prompt.format(word) for prompt in PROMPTS]) for word in words}
        self.sources = sorted({clip.labels.subject for clip in self.clips})

    def _clips(self, split: str) -> list[Shard]:
        found = [shard for shard in map(Shard, shards.listing(self.data, split)) if len(shard) >= self.options.window]
        if not found:
            raise InputError(f"No {split} clip in {self.data} has {self.options.window} frames; prepare longer ones.")
        return found

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Adam, as in the paper."""
        for module in (self.renderer, self.phi, self.ear):
            module.to(next(self.model.parameters()).device)
        trained = [*self.model.parameters(), *self.tower.parameters()]
        return {"eac": torch.optim.Adam(trained, self.rate)}

    def batch(self, rng: np.random.Generator, size: int) -> dict[str, Tensor]:
        """Random windows of random clips. Text, image and sound say the emotion of every third each."""
        rows = [self._sample(self.clips[rng.integers(len(self.clips))], rng) for _ in range(size)]
        batch = {key: torch.stack([row[key] for row in rows]) for key in rows[0]}
        return batch | {"modality": torch.arange(size) % 3}

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
        return {
            "mel": windowed_mel(clip, start, window),
            "text": text,
            "seen": self._seen(clip, int(rng.integers(len(clip)))) if self.image_tower is not None else text,
            "heard": self._heard(clip, rng),
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
        mel, wanted = normalise(audio.log_mel(clip.sound()), audio.level(clip.sound())), self.tower.dims.window
        start = int(rng.integers(max(1, mel.shape[1] - wanted + 1)))
        part = mel[:, start : start + wanted]
        return F.pad(part, (0, wanted - part.shape[1]))

    def losses(self, batch: dict[str, Tensor], step: int, total: int) -> Iterator[tuple[str, Tensor, dict]]:
        """The weighted sum of eq. 5; its terms are logged as they are, without their weights."""
        self.tower.standard.eval()  # statistics of a batch of two would say little
        heard = self.tower(batch["heard"])
        modality = batch["modality"][:, None]
        z = torch.where(modality == 0, batch["text"], torch.where(modality == 1, batch["seen"], heard))
        predicted, closed, said, _ = self.model.window(batch["mel"], z, batch["mu"])
        terms = {"clip": clip_loss(heard, batch["seen"], batch["text"])}
        terms |= self.terms(batch, predicted.float())
        terms["closed"] = F.binary_cross_entropy_with_logits(closed.float(), batch["shut"])
        if said is not None:
            with torch.no_grad():
                known = self.ear.window(batch["mel"], z, batch["mu"])[2].softmax(2)
            terms["closed"] = terms["closed"] + F.cross_entropy(said.transpose(1, 2).float(), known.transpose(1, 2))
        loss = sum(getattr(self.options, name) * term for name, term in terms.items())
        yield "eac", loss, {"loss": loss, **terms}

    @torch.autocast("cpu", enabled=False)
    @torch.autocast("cuda", enabled=False)
    def terms(self, batch: dict[str, Tensor], predicted: Tensor) -> dict[str, Tensor]:
        """L_emo, L_rec, L_lm and L_reg of predicted β̂ [B,T,64]."""
        size, (count, shown) = self.options.size, batch["shown"].shape
        row = torch.arange(count, device=predicted.device)[:, None]
        modified, original = (beta[row, batch["shown"]].flatten(0, 1) for beta in (predicted, batch["beta"]))
        alpha, delta, gamma = (batch[k].repeat_interleave(shown, 0) for k in ("alpha", "delta", "gamma"))
        pose = shards.to_pose(batch["pose"].flatten(0, 1), size)
        image, landmarks = batch["image"].flatten(0, 1), batch["landmarks"].flatten(0, 1)
        rendered, mask = self.renderer(alpha, modified, delta, gamma, pose)
        moved, kept = (self.renderer.vertices(alpha, beta, pose) for beta in (modified, original))
        with torch.no_grad():
            wanted = self.phi(image, landmarks)
        return {
            "emo": emotion_loss(self.phi(blended(rendered, mask, image), landmarks), wanted),
            "rec": reconstruction_loss(rendered, mask, image),
            "lm": landmark_loss(kept, moved, size),
            "reg": regularization_loss(batch["beta"], predicted),
        }

    def validate(self, model: EAC) -> dict[str, float]:
        """On test clips: Pearson's r of the lips' opening, and L_reg."""
        opening, truth, distance = [], [], []
        for clip in self.tests:
            wave = clip.sound()
            beta, _ = model.predict(
                audio.log_mel(wave), self.words[clip.labels.emotion][0], clip.labels.intensity, audio.level(wave)
            )
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

    def save(self, model: EAC, out: Path, **provenance) -> Path:
        """Write `eac.safetensors`, and `ame_audio.safetensors`, which L_clip trained with it."""
        data = f"{len(self.clips)} prepared clips of {len(self.sources)} subjects in {self.data}"
        self.tower.save(out, data=data, **provenance)
        return checkpoints.save("eac", model.state_dict(), model.dims, out, data=data, **provenance)


def windowed_mel(clip: Shard, start: int, window: int) -> Tensor:
    """Normalised log-mel [80, 4 window] of frames start .. start + window, as it is in the middle of the recording."""
    before, after = min(1, start), min(1, len(clip) - start - window)
    wave = clip.sound(start - before, start + window + after)
    mel = audio.log_mel(wave)[:, 4 * before : 4 * (before + window)]
    return normalise(mel, audio.level(clip.sound()))


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
