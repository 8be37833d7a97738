"""The audio tower of the emotion space: emotional speech against the frozen text and image towers (L_clip).

    emotalk train ame_audio --data DATA [task.weights=DIR] [task.upstream=NAME/PRETRAINED] [task.faces=FILE.npz]

EmoDB's training speakers, one class a recording. Recordings of the same speaker and emotion are spliced; the vocal
tract, tempo, microphone, noise and echo are varied, since eight voices must stand for all. Neutral speech of other
corpora keeps ordinary speech near neutral. `task.leave=03+08` keeps speakers back to validate on.
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
from ...media import audio
from ...media.audio import normalise
from ...models import upstream
from ...models.audio_tower import AudioDims, AudioTower
from ...models.emotion_space import AME
from ..config import Config
from ..config import build as build_options
from ..data.emodb import CLASSES, NEUTRAL, PROMPTS

# What a voice of each class may say, from the least to the most aroused: the target of a recording lies between two.
LADDERS = {
    "W": ("annoyed", "angry", "furious"),
    "L": ("sleepy", "bored", "indifferent"),
    "E": ("contemptuous", "disgusted", "appalled"),
    "A": ("worried", "fearful", "terrified"),
    "F": ("content", "happy", "excited", "happily surprised"),
    "T": ("melancholic", "sad", "crying"),
    "N": ("neutral", "neutral", "serious"),
}
TEMPERATURE = 0.1
OTHERS = 60  # recordings of other corpora in the discriminant analysis
SHARPNESS = 0.3  # of its logits, which are too sure of themselves for voices it does not know
LADDER = 0.6  # share of the targets that are a step of the ladder rather than a synonym
FRAMES = 200


@dataclasses.dataclass(frozen=True)
class Options:
    """weights: folder of the text and image towers. upstream: an open_clip model instead. faces: see `ame_image`.

    leave: speakers to validate on, 03+08. other: share of neutral speech of other corpora. warp, tempo, equalise,
    noise, echo, splice, mix: strength or chance of each variation. copies, shrinkage: variations of each recording,
    and how far covariances shrink, in the discriminant analysis that training starts from.
    """

    weights: str = ""
    upstream: str = ""
    faces: str = ""
    leave: str = ""
    other: float = 0.12
    warp: float = 0.18
    tempo: float = 0.15
    equalise: float = 0.4
    noise: float = 0.1
    echo: float = 0.1
    splice: float = 0.4
    mix: float = 0.3
    copies: int = 4
    shrinkage: float = 0.6
    decay: float = 0.05


@dataclasses.dataclass
class Voice:
    """A recording: normalised log-mel [80,T], class index in CLASSES, speaker."""

    mel: Tensor
    label: int
    speaker: str


def emodb(data: Path, held_out: bool = False) -> list[Voice]:
    """EmoDB's recordings of the training speakers, or of the held-out ones. Raises InputError without the folder."""
    return [
        Voice(_mel(path), list(CLASSES).index(path.stem[5]), path.stem[:2])
        for path in _files(data / "emodb" / "audio", "*.flac", set(_splits(data)["emodb"]), held_out)
    ]


def ordinary(data: Path, held_out: bool = False) -> dict[str, list[Tensor]]:
    """Speech without emotion of LJSpeech, GRID and speechocean762, at most 6 s each: corpus -> normalised log-mels."""
    splits = _splits(data)
    speakers = set(splits["speechocean_speakers"])
    grid = _files(data / "grid" / "audio", "*.ogg", set(splits["grid"]), held_out)
    ocean = sorted((data / "speechocean" / "audio").glob("*.ogg"))
    speaker = _speakers(data / "speechocean" / "manifest.tsv")
    ocean = [path for path in ocean if (speaker[path.stem] in speakers) == held_out]
    files = {
        "ljspeech": _files(data / "ljspeech", "*.ogg", set(splits["ljspeech"]), held_out),
        "grid": grid if held_out else grid[::9],
        "speechocean": ocean if held_out else ocean[::4],
    }
    return {name: [_mel(path, 6.0) for path in paths] for name, paths in files.items()}


def _splits(data: Path) -> dict:
    try:
        return json.loads((data / "splits.json").read_text())
    except FileNotFoundError as error:
        raise InputError(f"{data} holds no splits.json; give the folder of the data pack with --data.") from error


def _files(folder: Path, pattern: str, held: set[str], held_out: bool) -> list[Path]:
    paths = [path for path in sorted(folder.glob(pattern)) if (path.stem in held) == held_out]
    if not paths:
        raise InputError(f"{folder} holds no {pattern}; give the folder of the data pack with --data.")
    return paths


def _speakers(manifest: Path) -> dict[str, str]:
    rows = [line.split("\t") for line in manifest.read_text(encoding="utf-8").splitlines()[1:]]
    return {row[0]: row[1] for row in rows}


def _mel(path: Path, seconds: float | None = None) -> Tensor:
    wave = audio.load(path, seconds)
    return normalise(audio.log_mel(wave), audio.level(wave))


def window(mel: Tensor, start: int = 0) -> Tensor:
    """[80,FRAMES] from a frame on, silence where the recording has ended."""
    part = mel[:, start : start + FRAMES]
    return F.pad(part, (0, FRAMES - part.shape[1]))


def varied(mel: Tensor, options: Options, rng: np.random.Generator) -> Tensor:
    """Normalised log-mel [B,80,T] of other voices and rooms: vocal tract, tempo, microphone, noise, echo."""
    size, bands, frames = mel.shape

    def uniform(low: float, high: float) -> Tensor:
        return torch.from_numpy(rng.uniform(low, high, size).astype(np.float32))

    def normal(*shape: int) -> Tensor:
        return torch.from_numpy(rng.standard_normal(shape, dtype=np.float32))

    y = torch.linspace(0, 1, bands) * (1 + options.warp * uniform(-1, 1))[:, None]
    x = torch.linspace(-1, 1, frames) * (1 + options.tempo * uniform(-1, 1))[:, None] + uniform(-0.3, 0.3)[:, None]
    grid = torch.stack(
        [x[:, None].expand(-1, bands, -1), (y.clamp(0, 1) * 2 - 1)[..., None].expand(-1, -1, frames)], -1
    )
    mel = F.grid_sample(mel[:, None], grid, align_corners=True)[:, 0]
    curve = F.interpolate(normal(size, 1, 6) * options.equalise * 0.12, bands, mode="linear", align_corners=True)
    power = 10 ** (3 * (mel + curve[:, 0, :, None] * (mel > 0.05)).clamp(min=0))
    if options.echo:
        rows = torch.from_numpy(np.flatnonzero(rng.random(size) < options.echo))
        decay = torch.exp(-1 / uniform(1, 13))[rows, None]
        share, tail, dry = uniform(0, 0.3)[rows, None], torch.zeros(len(rows), bands), power[rows] - 1
        for t in range(frames):
            power[rows, :, t] += share * tail
            tail = decay * (tail + dry[:, :, t])
    noisy = (uniform(0, 1) < options.noise).float()[:, None, None]
    tilt = torch.linspace(0.5, -0.5, bands) * 0.4 * normal(size, 1)
    hiss = 10 ** (3 * (uniform(0, 1.2)[:, None] + tilt) - 0.6)
    power = power + noisy * hiss[:, :, None] * torch.exp(0.5 * normal(size, bands, frames))
    return (power.log10() / 3).clamp(min=0)


class AudioTask:
    """Trains an `AudioTower`; the text and image towers only give targets."""

    name = AudioTower.name

    def __init__(
        self, voices: list[Voice], others: dict[str, list[Tensor]], ame: AME, faces: Tensor | None, config: Config
    ):
        """faces: [7,N,512] z of faces that show each class, by the image tower; None to take the text's instead."""
        self.options, self.config = build_options(Options, config.task), config
        left = set(self.options.leave.split("+")) - {""}
        self.kept = [voice for voice in voices if voice.speaker not in left]
        self.left = [voice for voice in voices if voice.speaker in left]
        self.others = list(others.values())
        self.by_class = [[v for v in self.kept if v.label == label] for label in range(len(CLASSES))]
        self.words = [ame.text(words) for words in CLASSES.values()]
        self.prompts = torch.stack([words[0] for words in self.words])  # [7,512]
        self.faces = faces
        self.space = ame.space
        dims = AudioDims(anchors=len(CLASSES), output=self.prompts.shape[1], space=ame.space)
        self.model = AudioTower(dims)
        self.helpers: dict[str, nn.Module] = {}
        self.steps = dict(zip(map(id, self.kept), self._ladder(ame)))
        self._discriminate()

    @torch.no_grad()
    def _discriminate(self) -> None:
        """Start at a linear discriminant analysis of the statistics, which stays; the tokens learn what it leaves."""
        from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

        model, rng = self.model, np.random.default_rng(self.config.seed)
        # of words alone: with means of faces mixed in, an unsure mixture is read as another emotion more often
        model.anchors.copy_(F.normalize(torch.stack([words.mean(0) for words in self.words]), dim=1))
        plain = torch.stack([window(voice.mel) for voice in self.kept])
        rounds = [plain] + [
            torch.cat([varied(part, self.options, rng) for part in plain.split(64)]) for _ in range(self.options.copies)
        ]
        other = [window(mel) for corpus in self.others for mel in corpus[: OTHERS // max(1, len(self.others))]]
        mels = [part for mels in (*rounds, torch.stack(other) if other else plain[:0]) for part in mels.split(64)]
        found = torch.cat([model.statistics(part) for part in mels])
        model.standard.get_buffer("running_mean").copy_(found.mean(0))
        model.standard.get_buffer("running_var").copy_(found.var(0))
        model.standard.momentum = 0.0  # what the analysis was made on stays
        standard = model.standard.eval()(found).clamp(-4, 4).numpy()
        labels = np.array([voice.label for voice in self.kept] * len(rounds) + [NEUTRAL] * len(other))
        even = np.full(len(CLASSES), 1 / len(CLASSES))
        analysis = LinearDiscriminantAnalysis("lsqr", shrinkage=self.options.shrinkage, priors=even)
        analysis.fit(standard, labels)
        model.direct.weight.copy_(torch.from_numpy(analysis.coef_))
        model.direct.bias.copy_(torch.from_numpy(analysis.intercept_))
        model.direct.requires_grad_(False)
        model.sharpness.fill_(SHARPNESS)
        for parameter in model.head[-1].parameters():
            parameter.zero_()

    def _ladder(self, ame: AME) -> Tensor:
        """[N,512]: the text's z at each kept voice's place, by arousal among its speaker's of the same class.

        Arousal: how much the level varies, and how much of the spectrum lies in its middle rather than below.
        """
        steps = [ame.text(words) for words in LADDERS.values()]
        rough = torch.stack(
            [torch.stack([v.mel.std(), v.mel[20:50].mean() / v.mel.mean().clamp(min=0.05)]) for v in self.kept]
        )
        rough = ((rough - rough.mean(0)) / rough.std(0)).sum(1)
        targets = []
        for voice, own in zip(self.kept, rough.tolist(), strict=True):
            same = [
                r for v, r in zip(self.kept, rough.tolist()) if (v.speaker, v.label) == (voice.speaker, voice.label)
            ]
            place = sum(other < own for other in same) / max(1, len(same) - 1) * (len(steps[voice.label]) - 1)
            low = min(int(place), len(steps[voice.label]) - 2)
            pair = steps[voice.label][low : low + 2]
            targets.append(F.normalize(torch.lerp(pair[0], pair[1], place - low), dim=0))
        return torch.stack(targets)

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return {
            "adamw": torch.optim.AdamW(
                [w for w in self.model.parameters() if w.requires_grad],
                self.config.rate,
                betas=(0.9, 0.98),
                weight_decay=self.options.decay,
            )
        }

    def batch(self, rng: np.random.Generator, size: int) -> dict[str, Tensor]:
        """mel [B,80,200], text and image targets [B,512], labels' weights [B,7]."""
        mels, labels = [], []
        steps: list[Tensor | None] = []
        for _ in range(size):
            if self.others and rng.random() < self.options.other:
                corpus = self.others[rng.integers(len(self.others))]
                mel = corpus[rng.integers(len(corpus))]
                mels.append(window(mel, int(rng.integers(max(1, mel.shape[1] - FRAMES)))))
                labels.append(NEUTRAL)
                steps.append(None)
            else:
                label = int(rng.integers(len(CLASSES)))
                mel, voice = self._spliced(label, rng)
                mels.append(mel)
                labels.append(label)
                steps.append(self.steps[id(voice)] if rng.random() < LADDER else None)
        mel = varied(torch.stack(mels), self.options, rng)
        weights = F.one_hot(torch.tensor(labels), len(CLASSES)).float()
        text = torch.stack(
            [
                self.words[label][rng.integers(len(self.words[label]))] if step is None else step
                for label, step in zip(labels, steps, strict=True)
            ]
        )
        image = (
            text
            if self.faces is None
            else torch.stack([self.faces[label, rng.integers(self.faces.shape[1])] for label in labels])
        )
        if rng.random() < self.options.mix:
            share, order = float(rng.beta(0.4, 0.4)), torch.from_numpy(rng.permutation(size))
            mel, weights, text, image = (share * t + (1 - share) * t[order] for t in (mel, weights, text, image))
        return {"mel": mel, "text": F.normalize(text, dim=1), "image": F.normalize(image, dim=1), "weights": weights}

    def _spliced(self, label: int, rng: np.random.Generator) -> tuple[Tensor, Voice]:
        """A recording of a class, perhaps with a part of another of the same speaker and class, and whose it is."""
        voice = self.by_class[label][rng.integers(len(self.by_class[label]))]
        mel = window(voice.mel)
        if rng.random() >= self.options.splice:
            return mel, voice
        same = [v for v in self.by_class[label] if v.speaker == voice.speaker]
        other = window(same[rng.integers(len(same))].mel)
        cut = int(rng.integers(40, 160))
        return torch.cat([other[:, :cut], mel[:, : FRAMES - cut]], 1), voice

    def losses(self, batch: dict[str, Tensor], step: int, total: int) -> Iterator[tuple[str, Tensor, dict]]:
        """L_clip, and the cross-entropy of the seven prompts."""
        z = self.model(batch["mel"])
        text, image = (1 - (z * batch[name]).sum(1).mean() for name in ("text", "image"))
        logits = z @ self.prompts.to(z).T / TEMPERATURE
        named = F.cross_entropy(logits, batch["weights"], label_smoothing=0.05)
        yield "adamw", text + image + named, {"text": text, "image": image, "named": named}

    def validate(self, model: AudioTower) -> dict[str, float]:
        """Accuracy on the speakers that were left out, if any; the last step's weights are taken, not the best."""
        if not self.left:
            return {}
        return {"accuracy": float(np.trace(self.confusion(model)) / len(self.left))}

    @torch.no_grad()
    def confusion(self, model: AudioTower) -> np.ndarray:
        """Counts [spoken, read] of the voices left out, read as the nearest of the seven prompts."""
        z = model.eval()(torch.stack([window(voice.mel) for voice in self.left]).to(model.cls.device)).cpu()
        counts = np.zeros((len(CLASSES), len(CLASSES)), int)
        np.add.at(counts, ([v.label for v in self.left], (z @ self.prompts.T).argmax(1).tolist()), 1)
        return counts

    def samples(self, model: nn.Module) -> None:
        """Sounds make no picture."""

    def save(self, model: AudioTower, out: Path, **provenance: Any) -> Path:
        data = "EmoDB training speakers (CC0); neutral speech of LJSpeech, GRID s1 and speechocean762"
        return model.save(out, data=data, **provenance)


def build(data: Path, config: Config, work: Path) -> AudioTask:
    """For `emotalk train ame_audio`."""
    options = build_options(Options, config.task)
    ame = upstream.load(options.upstream) if options.upstream else AME.load(options.weights or None)
    faces = None
    if options.faces and ame.image_tower is not None:
        from .ame_image import class_faces

        faces = class_faces(Path(options.faces), ame, PROMPTS)
    return AudioTask(emodb(data), ordinary(data), ame, faces, config)
