"""Train EAC: `python -m emotalk_cli.training.eac --data DIR --out weights [--steps N] [--resume] [--seed N]`.

Speech comes from GRID (tracked), EmoDB, LJSpeech and speechocean762 (viseme rules), noise and music
with closed lips from `noises`; emotion from AME's prompts. Augmentation works on mel power, so that
each step sees new voices (vocal-tract length), rates, rooms, microphones, lines and backgrounds.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import random
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .. import audio, emotions
from ..ame import AME, EMOTION, SPACE, WIDTH
from ..eac import EAC, ENCODERS, Dims, normalise
from . import alignment, motion, prompts
from .motion import Basis

WINDOW = 32  # video frames, T of the paper
BATCH = 16
RATE = 6e-4
SHARES = {"grid": 0.55, "emodb": 0.12, "ljspeech": 0.07, "speechocean": 0.20, "noise": 0.06}
_SILENCE = -9.0  # log10 mel power


@dataclass
class Clip:
    """One recording: log-mel [80, 4 T], its level in dBFS, speech coefficients [T, n]."""

    name: str
    mel: Tensor
    level: float
    beta: Tensor
    phones: list[motion.Phone] = field(default_factory=list)
    gaps: Tensor | None = None  # tracked, GRID only
    widths: Tensor | None = None


_cache: dict[str, tuple[Tensor, float]] = {}  # decoded files; `train` keeps it in its work folder


def _decoded(path: Path) -> tuple[Tensor, float]:
    key = str(path)
    if key not in _cache:
        wave = audio.load(path)
        _cache[key] = (audio.log_mel(wave).half(), audio.level(wave))
    mel, level = _cache[key]
    return mel.float(), level


def _clip(name: str, path: Path, beta: Tensor | None = None, phones=()) -> Clip:
    mel, level = _decoded(path)
    frames = mel.shape[1] // audio.MELS_PER_FRAME
    if beta is None:
        beta = torch.zeros(frames, 0)
    frames = min(frames, len(beta)) if beta.shape[1] else frames
    return Clip(name, mel[:, : frames * audio.MELS_PER_FRAME], level, beta[:frames], list(phones))


def silence_closed(track: motion.Track) -> Tensor:
    """GRID's coefficients, faded to rest 0.4 s before and after speech: what a silent mouth does, audio cannot tell."""
    times = (torch.arange(len(track.beta)) + 0.5) / audio.FPS
    start, end = track.speech
    before = ((times - (start - 0.44)) / 0.20).clamp(0, 1)
    after = ((end + 0.40 - times) / 0.20).clamp(0, 1)
    return track.beta * (before * after)[:, None]


def grid(data: Path, basis: Basis) -> list[Clip]:
    """GRID's clips with tracked motion."""
    clips = []
    for track in motion.grid_tracks(data, basis):
        clip = _clip(track.name, data / "grid" / "audio" / f"{track.name}.ogg", silence_closed(track))
        clip.gaps, clip.widths = track.gaps[: len(clip.beta)], track.widths[: len(clip.beta)]
        clips.append(clip)
    return clips


def timed(data: Path, folder: str) -> list[Clip]:
    """EmoDB's or LJSpeech's recordings with their phones (motion is made by `articulate`)."""
    clips = []
    if folder == "emodb":
        for path in sorted((data / folder / "phones").glob("*.tsv")):
            clips.append(
                _clip(path.stem, data / folder / "audio" / f"{path.stem}.flac", phones=motion.read_emodb(path))
            )
    else:
        for path in sorted((data / folder).glob("*.TextGrid")):
            clips.append(_clip(path.stem, path.with_suffix(".ogg"), phones=motion.read_textgrid(path)))
    return clips


def speechocean(data: Path, timed_clips: list[Clip], held: list[str], times: Path) -> list[Clip]:
    """speechocean762's training speakers, aligned with the help of clips whose phones are timed; kept in `times`."""
    rows = [row for row in alignment.manifest(data / "speechocean" / "manifest.tsv") if row[1] not in held]
    clips = [_clip(name, data / "speechocean" / "audio" / f"{name}.ogg") for name, _, _ in rows]
    if times.exists():
        found = [[motion.Phone(*phone) for phone in phones] for phones in json.loads(times.read_text())]
    else:
        _, found = alignment.train(timed_clips, clips, [words for _, _, words in rows])
        times.write_text(json.dumps([[(p.start, p.end, p.label) for p in phones] for phones in found]))
    for clip, phones in zip(clips, found):
        clip.phones = phones
    return clips


def articulate(clips: list[Clip], reference: Tensor, basis: Basis, sampa: bool) -> None:
    """Give clips with phones the motion of the viseme rules, at the amplitude of the tracked `reference`."""
    raw = [motion.speak(clip.phones, len(clip.beta), basis, sampa) for clip in clips]
    opening, width = motion.calibration(torch.cat(raw), reference, basis)
    for clip in clips:
        clip.beta = motion.speak(clip.phones, len(clip.beta), basis, sampa, opening, width)


def noises(count: int, components: int, seed: int) -> list[Clip]:
    """Coloured noise, hum, clicks and simple music without speech, 4 s each, lips closed."""
    rng = np.random.default_rng(seed)
    samples = 4 * audio.SAMPLE_RATE
    times = np.arange(samples) / audio.SAMPLE_RATE
    clips = []
    for i in range(count):
        kind = i % 4
        if kind == 0:  # noise of any colour, slowly modulated
            spectrum = np.fft.rfft(rng.standard_normal(samples))
            spectrum *= np.arange(1, len(spectrum) + 1) ** rng.uniform(-1.2, 0.2)
            wave = np.fft.irfft(spectrum, samples) * (1 + 0.8 * np.sin(2 * np.pi * rng.uniform(0.1, 3) * times))
        elif kind == 1:  # chords with struck or held notes
            wave = np.zeros(samples)
            for beat in np.arange(0, 4, rng.choice([0.25, 0.5, 1.0])):
                for _ in range(rng.integers(1, 5)):
                    pitch = 55 * 2 ** (rng.integers(0, 48) / 12)
                    age = np.clip(times - beat, 0, None)
                    envelope = (times >= beat) * np.exp(-age * rng.uniform(0.7, 6)) * np.minimum(1, age / 0.01)
                    partials = np.arange(1, rng.integers(2, 9))
                    tone = sum(np.sin(2 * np.pi * pitch * n * times) / n ** rng.uniform(0.8, 2) for n in partials)
                    wave += envelope * tone * rng.uniform(0.3, 1)
        elif kind == 2:  # drums and clicks
            wave = np.zeros(samples)
            for beat in np.sort(rng.uniform(0, 4, rng.integers(4, 20))):
                age = np.clip(times - beat, 0, None)
                hit = (
                    rng.standard_normal(samples)
                    if rng.random() < 0.6
                    else np.sin(2 * np.pi * rng.uniform(50, 200) * age)
                )
                wave += (times >= beat) * np.exp(-age * rng.uniform(10, 80)) * hit
        else:  # mains hum, engines, hiss
            pitch = rng.uniform(40, 180)
            wave = sum(
                np.sin(2 * np.pi * pitch * n * times + rng.uniform(0, 6)) / n for n in range(1, rng.integers(3, 20))
            )
            wave = wave + rng.uniform(0.01, 0.5) * rng.standard_normal(samples)
        wave = (0.3 * wave / (np.abs(wave).max() + 1e-6)).astype(np.float32)
        mel = audio.log_mel(wave)
        clips.append(Clip(f"noise{i}", mel, audio.level(wave), torch.zeros(mel.shape[1] // 4, components)))
    return clips


@dataclass
class EmotionBank:
    """Codes z [N,512] of the emotion space named `space` and the faces beta [N,64] they mean at full intensity."""

    z: Tensor
    beta: Tensor
    space: str

    @classmethod
    def drawn(cls, count: int, seed: int) -> EmotionBank:
        """Random points of AME's own space, whose first coordinates say the emotion: needs no trained tower."""
        rng = np.random.default_rng(seed)
        classes = len(emotions.CLASSES)
        weights = np.zeros((count, classes))
        for row in weights:  # mostly one emotion, often two, seldom three, on a little of everything
            chosen = rng.choice(classes, rng.choice(3, p=[0.5, 0.4, 0.1]) + 1, replace=False)
            row[chosen] = rng.dirichlet(np.full(len(chosen), 2.0))
            leak = rng.uniform(0, 0.15)
            row[:] = (1 - leak) * row + leak * rng.dirichlet(np.full(classes, 0.5))
        z = np.concatenate([np.sqrt(weights), rng.standard_normal((count, WIDTH - classes))], 1)
        share = (EMOTION**2 * rng.uniform(0.8, 1.6, count)) ** 0.5
        z[:, :classes] *= share[:, None]
        z[:, classes:] *= (np.sqrt(1 - share**2) / np.linalg.norm(z[:, classes:], axis=1))[:, None]
        faces = torch.stack([_face(dict(zip(emotions.CLASSES, row.tolist()))) for row in weights])
        return cls(torch.from_numpy(z).float(), faces, SPACE)

    @classmethod
    def of_prompts(cls, ame: AME, prompts: list[str]) -> EmotionBank:
        """What a trained text tower makes of prompts."""
        z = ame.text(prompts)
        return cls(z, torch.stack([_face(ame.mixture(row)) for row in z]), ame.space)

    def __add__(self, other: EmotionBank) -> EmotionBank:
        return EmotionBank(torch.cat([self.z, other.z]), torch.cat([self.beta, other.beta]), other.space)

    def sample(self, count: int) -> tuple[Tensor, Tensor]:
        """Codes [count,512] and faces [count,64] of random members."""
        chosen = torch.randint(len(self.z), (count,))
        return self.z[chosen], self.beta[chosen]


def _face(weights: dict[str, float]) -> Tensor:
    """Face [64] of weights over the basics, `unrelated` counting as neutral."""
    weights = {name: weight for name, weight in weights.items() if name != "unrelated" and weight > 0.02}
    return emotions.mixture(weights)


class Sampler:
    """Random training windows: mel [B,80,128] normalised and augmented, speech coefficients [B,32,n]."""

    def __init__(self, groups: dict[str, list[Clip]]) -> None:
        self.groups = {name: clips for name, clips in groups.items() if clips}
        self.shares = torch.tensor([SHARES[name] for name in self.groups])
        hertz = _mel_hertz()
        self.warps = [_warp(hertz, factor) for factor in np.geomspace(0.78, 1.28, 25)]

    def windows(self, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Log-mel [B,80,128], coefficients [B,32,n] and levels [B], cut at random places and rates."""
        names = list(self.groups)
        mels, betas, levels = [], [], []
        for group in torch.multinomial(self.shares, count, replacement=True).tolist():
            clips = self.groups[names[group]]
            clip = clips[int(torch.randint(len(clips), ()))]
            rate = 1.0 if torch.rand(()) < 0.4 else float(torch.empty(()).uniform_(0.85, 1.2))
            total = len(clip.beta)
            start = float(torch.empty(()).uniform_(-8, max(total + 8 - WINDOW * rate, -7)))
            mels.append(_resample(clip.mel, 4 * start, rate, 4 * WINDOW, _SILENCE))
            betas.append(_resample(clip.beta.T, start, rate, WINDOW, 0.0).T)
            levels.append(clip.level)
        return torch.stack(mels), torch.stack(betas), torch.tensor(levels)

    def __call__(self, count: int) -> tuple[Tensor, Tensor]:
        mel, beta, level = self.windows(count)
        return self.augment(mel, level), beta

    def augment(self, mel: Tensor, level: Tensor) -> Tensor:
        """New voice, room, background, line and gain for log-mels [B,80,L]; returns them normalised."""
        count = len(mel)

        def some(probability: float) -> Tensor:
            return (torch.rand(count, 1, 1) < probability).float()

        warp = torch.stack([self.warps[i] for i in torch.randint(len(self.warps), (count,)).tolist()])
        chosen = some(0.75)
        power = 10 ** (chosen * (warp @ mel) + (1 - chosen) * mel)
        reference = 10 ** (level / 10 + 1.93)[:, None, None]  # mean mel power of this clip's speech

        babble, music = power.roll(1, 0) / reference.roll(1, 0), self._background(count, mel.shape[2])
        colour = 10 ** _smooth(count, 80, 8.0)
        hiss = colour[:, :, None] * torch.rand(count, 80, mel.shape[2]).clamp(min=0.02)
        hiss = hiss / hiss.mean((1, 2), keepdim=True)
        for noise, probability, lowest in ((hiss, 0.4, 5.0), (music, 0.2, 4.0), (babble, 0.12, 8.0)):
            snr = torch.empty(count, 1, 1).uniform_(lowest, 35)
            power = power + some(probability) * reference * 10 ** (-snr / 10) * noise

        decay = torch.empty(count, 1, 1).uniform_(0.5, 0.9)
        tail = decay ** torch.arange(40)
        tail = some(0.25) * torch.empty(count, 1, 1).uniform_(0.02, 0.25) * tail
        tail[..., 0] = 1
        power = F.conv1d(
            F.pad(power.reshape(1, -1, power.shape[2]), (39, 0)),
            tail.flip(2).repeat_interleave(80, 0),
            groups=count * 80,
        ).reshape(power.shape)

        log = power.clamp(min=1e-10).log10() + some(0.6) * _smooth(count, 80, 0.6)[:, :, None]
        hertz = torch.from_numpy(_mel_hertz())
        line = -3.5 * ((300 - hertz).clamp(min=0) / 200 + (hertz - 3400).clamp(min=0) / 400).clamp(max=1)
        log = torch.maximum(log + some(0.12) * line[:, None].float(), torch.tensor(-9.5))
        normal = normalise(log + 0.3 * torch.randn(count, 1, 1), level[:, None, None])
        return normal * torch.where(torch.rand(count, 80, 1) < 0.03 * some(0.3), 0.0, 1.0)

    def _background(self, count: int, length: int) -> Tensor:
        """Mel power [B,80,length] of noise clips relative to their level."""
        clips = self.groups["noise"]
        rows = []
        for i in torch.randint(len(clips), (count,)).tolist():
            start = int(torch.randint(clips[i].mel.shape[1] - length, ()))
            rows.append(10 ** (clips[i].mel[:, start : start + length] - clips[i].level / 10 - 1.93))
        return torch.stack(rows)


def _mel_hertz() -> np.ndarray:
    filters = audio.mel_filters()
    bins = np.linspace(0, audio.SAMPLE_RATE / 2, filters.shape[1])
    return (filters * bins).sum(1) / filters.sum(1)


def _warp(hertz: np.ndarray, factor: float) -> Tensor:
    """[80,80] matrix that moves formants of a log-mel by a factor (vocal-tract length)."""
    position = np.interp(hertz * factor, hertz, np.arange(len(hertz)))
    low = np.clip(position.astype(int), 0, len(hertz) - 2)
    matrix = np.zeros((len(hertz), len(hertz)), np.float32)
    rows = np.arange(len(hertz))
    matrix[rows, low] = 1 - (position - low)
    matrix[rows, low + 1] = position - low
    return torch.from_numpy(matrix)


def _smooth(count: int, size: int, spread: float) -> Tensor:
    """Smooth random curves [count, size] of about `spread` / 10 standard deviation times 10, mean 0."""
    knots = torch.randn(count, 1, 6) * spread / (10 if spread > 1 else 1)
    curve = F.interpolate(knots, size=size, mode="linear", align_corners=True)[:, 0]
    return curve - curve.mean(1, keepdim=True)


def _resample(rows: Tensor, start: float, rate: float, length: int, fill: float) -> Tensor:
    """Columns start, start + rate, ... of [C,N] by linear interpolation, `fill` outside."""
    if not rows.shape[1]:
        return torch.full((rows.shape[0], length), fill)
    position = start + rate * torch.arange(length)
    low = position.floor().long()
    part = position - low
    padded = F.pad(rows, (1, 1), value=fill)

    def at(index: Tensor) -> Tensor:
        return padded[:, (index + 1).clamp(0, padded.shape[1] - 1)]

    return at(low) * (1 - part) + at(low + 1) * part


class Objective:
    """Loss of eq. 5 without images: landmarks (lips above all), coefficients, velocity, closed lips."""

    def __init__(self, basis: Basis) -> None:
        self.basis = basis
        mouth = basis.mean[:, 1] < -1
        self.mouth = basis.expression[:, mouth].flatten(1)
        self.gap, self.width = basis.lips, basis.distances(motion.WIDTH_PAIRS, 0)

    def __call__(self, predicted: Tensor, closed: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Terms whose sum is the loss, for coefficients [B,T,64] and logits [B,T] of closed lips."""
        error = predicted - target
        named = error[..., : len(self.basis.names)]
        wanted = target[..., : len(self.basis.names)] @ self.gap
        opening = wanted.mean(2)
        shut = ((0.12 - opening) / 0.08).clamp(0, 1)
        nearby = F.max_pool1d(opening, 9, 1, 4).clamp(0, 1)  # a closure between open sounds is what viewers look for
        weight = 1 + 4 * shut * nearby
        landmarks, gap, width = named @ self.mouth, named @ self.gap, named @ self.width
        return {
            "landmarks": 10 * landmarks.square().mean(),
            "gap": 1.5
            * (weight[..., None] * F.smooth_l1_loss(gap, torch.zeros_like(gap), reduction="none", beta=0.3)).mean(),
            "closed": 0.4 * F.binary_cross_entropy_with_logits(closed, shut, weight),
            "width": 8 * width.square().mean(),
            "beta": 15 * error.square().mean(),
            "velocity": 10 * landmarks.diff(dim=1).square().mean() + 0.5 * gap.diff(dim=1).square().mean(),
        }


@torch.no_grad()
def evaluate(model: EAC, clips: list[Clip], z: Tensor, mu: float, basis: Basis) -> dict[str, float]:
    """Pearson r of mouth opening and width with the tracked GRID clips, and mean opening (cm) in silence."""
    model.eval()
    opening, width, truth, wide, silence = [], [], [], [], []
    for clip in clips:
        beta, _ = model.predict(clip.mel, z, mu, clip.level)
        opening.append(motion.gaps(beta, basis).mean(1))
        width.append(motion.widths(beta, basis).mean(1))
        truth.append(clip.gaps.mean(1))
        wide.append(clip.widths.mean(1))
        silence.append(opening[-1][-8:])

    def r(a: list[Tensor], b: list[Tensor]) -> float:
        return float(torch.corrcoef(torch.stack([torch.cat(a), torch.cat(b)]))[0, 1])

    model.train()
    return {"r_opening": r(opening, truth), "r_width": r(width, wide), "silence": float(torch.cat(silence).mean())}


def dataset(data: Path, work: Path, basis: Basis, seed: int) -> tuple[dict[str, list[Clip]], list[Clip]]:
    """Training clips by source, and GRID's held-out clips."""
    held = json.loads((data / "splits.json").read_text())
    tracked = grid(data, basis)
    test = [clip for clip in tracked if clip.name in held["grid"]]
    groups = {"grid": [clip for clip in tracked if clip.name not in held["grid"]]}
    reference = torch.cat([clip.beta for clip in groups["grid"]])
    for name in ("emodb", "ljspeech"):
        groups[name] = [clip for clip in timed(data, name) if clip.name not in held[name]]
        articulate(groups[name], reference, basis, sampa=name == "emodb")
    groups["speechocean"] = speechocean(
        data, groups["ljspeech"], held["speechocean_speakers"], work.parent / "speechocean_times.json"
    )
    articulate(groups["speechocean"], reference, basis, sampa=False)
    groups["noise"] = noises(80, len(basis.names), seed)
    return groups, test


def train(
    data: Path,
    out: Path,
    work: Path,
    emotion: EmotionBank,
    steps: int,
    minutes: float = math.inf,
    seed: int = 0,
    encoder: str = "transformer",
    resume: bool = False,
    start: Path | None = None,
    log=print,
) -> Path:
    """Train for `steps` optimiser steps or `minutes`, whichever ends first; write `out/eac.safetensors`.

    State, CSV log and curve go to `work`. resume: continue from `work/state.pt`. start: weights folder to begin
    from (its emotion MLP is replaced when the emotion space differs).
    """
    torch.manual_seed(seed)
    work.mkdir(parents=True, exist_ok=True)
    basis = Basis.from_pack(data)
    decoded = work.parent / "eac_mels.pt"
    if decoded.exists():
        _cache.update(torch.load(decoded, weights_only=True))
    groups, test = dataset(data, work, basis, seed)
    torch.save(_cache, decoded)
    log({name: (len(clips), sum(len(clip.beta) for clip in clips)) for name, clips in groups.items()})
    sampler, objective, share = Sampler(groups), Objective(basis), emotions.speech_mask()[: len(basis.names)]
    model = EAC(Dims(encoder=encoder, space=emotion.space))
    model.lips[: len(basis.names)] = basis.lips
    if start:
        older = EAC.load(start)
        tensors = {name: value for name, value in older.state_dict().items() if name != "lips"}
        if older.dims.space != emotion.space:
            tensors = {name: value for name, value in tensors.items() if not name.startswith("emotion.")}
        model.load_state_dict(tensors, strict=False)
    average = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.AdamW(model.parameters(), RATE, weight_decay=0.01)
    first, spent, rows, state = 0, 0.0, [], work / "state.pt"
    if resume and state.exists():
        saved = torch.load(state, weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        average, first, spent = saved["average"], saved["step"], saved["seconds"]
        torch.set_rng_state(saved["random"])
        with open(work / "log.csv") as file:
            rows = [row for row in csv.DictReader(file) if int(row["step"]) <= first]

    rest = F.normalize(emotion.z[emotion.beta.norm(dim=1) < 0.05].mean(0), dim=0)
    averaged = EAC(model.dims)
    began, sums, since = time.time() - spent, {}, first
    for step in range(first, steps):
        done = min(1.0, max(step / steps, (time.time() - began) / (60 * minutes)))
        rate = RATE * min(1, (step + 1) / 100) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))
        for group in optimizer.param_groups:
            group["lr"] = rate
        mel, speech = sampler(BATCH)
        z, face = emotion.sample(BATCH)
        mu = 1 + 2 * torch.rand(BATCH)
        face = face * emotions.intensity_gain(mu)[:, None]
        named = motion.compose(speech, face[:, : len(basis.names)], share, basis)
        residual = face[:, None, len(basis.names) :].expand(-1, WINDOW, -1)
        beta, closed, _ = model.window(mel, z, mu)
        terms = objective(beta, closed, torch.cat([named, residual], 2))
        loss = sum(terms.values())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        keep = min(0.998, (1 + step) / (20 + step))
        with torch.no_grad():
            for name, value in model.state_dict().items():
                average[name].lerp_(value, 1 - keep)
        for name, value in {"loss": loss, **terms}.items():
            sums[name] = sums.get(name, 0.0) + float(value.detach())
        last = step + 1 == steps or done == 1
        if (step + 1) % 250 == 0 or last:
            averaged.load_state_dict(average)
            count = step + 1 - since
            row = {"step": step + 1, **{name: round(value / count, 5) for name, value in sums.items()}}
            row |= {name: round(value, 4) for name, value in evaluate(averaged, test, rest, 1.0, basis).items()}
            rows.append(row)
            sums, since = {}, step + 1
            log(f"{row} {time.time() - began:.0f} s")
            _record(work, rows)
            saved = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "average": average}
            torch.save(
                saved | {"step": step + 1, "seconds": time.time() - began, "random": torch.get_rng_state()}, state
            )
        if last:
            break
    averaged.load_state_dict(average)
    averaged.save(
        out,
        data="GRID s1 (CC BY 4.0), EmoDB (CC0), LJSpeech (public domain; alignments MIT), speechocean762 (Apache-2.0)",
        command=" ".join(["python -m emotalk_cli.training.eac", *sys.argv[1:]]),
        seed=seed,
        steps=str(step + 1),
    )
    return out / "eac.safetensors"


def _record(work: Path, rows: list[dict]) -> None:
    with open(work / "log.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.5))
    steps = [int(row["step"]) for row in rows]
    left.plot(steps, [float(row["loss"]) for row in rows])
    left.set(xlabel="step", ylabel="loss", yscale="log")
    for name in ("r_opening", "r_width"):
        right.plot(steps, [float(row[name]) for row in rows], label=f"{name}, GRID test")
    right.set(xlabel="step")
    right.legend()
    figure.tight_layout()
    figure.savefig(work / "curve.png", dpi=100)
    pyplot.close(figure)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="data pack")
    parser.add_argument("--out", type=Path, default=Path("weights"), help="folder for eac.safetensors")
    parser.add_argument("--work", type=Path, default=Path("runs/eac"), help="folder for state, log.csv, curve.png")
    parser.add_argument("--ame", type=Path, help="weights folder with ame.safetensors: learn its codes of prompts too")
    parser.add_argument("--start", type=Path, help="weights folder to start from")
    parser.add_argument("--encoder", choices=ENCODERS, default="transformer")
    parser.add_argument("--steps", type=int, default=10000)
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop (and anneal the rate) by then")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--resume", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    bank = EmotionBank.drawn(6000, args.seed)
    if args.ame:
        texts = [p.text for p in prompts.build(prompts.wordnet(), args.seed) if p.split == "train"]
        bank += EmotionBank.of_prompts(AME.load(args.ame), random.Random(args.seed).sample(texts, 6000))
    train(
        args.data, args.out, args.work, bank, args.steps, args.minutes, args.seed, args.encoder, args.resume, args.start
    )


if __name__ == "__main__":
    main()
