"""Do the lips say the words, in EAC's coefficients? `emotalk eval lips --coefficients --data DIR [--speech FOLDER]`.

Held-out recordings only. Distances are inner-lip distances beyond rest on the mean face, in cm (outer
eye corners: 9.0 cm apart), from EAC's coefficients through the expression basis.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..emotions import prototypes
from ..media import audio
from ..models.eac import EAC
from ..models.emotion_space import AME
from ..models.vad import VAD
from ..numeric import correlation
from ..training.data import corpus, motion
from .articulation import Articulation

EYES = 9.0  # cm between the outer corners of the eyes
CLOSED = 0.1  # cm: lips nearer than this count as closed


def lag(predicted: list[Tensor], tracked: list[Tensor], most: int = 6) -> int:
    """Frames by which tracked motion is best shifted to meet the predicted (positive: prediction is late)."""

    def at(shift: int) -> float:
        a = [x[max(0, shift) : len(x) + min(0, shift)] for x in predicted]
        b = [x[max(0, -shift) : len(x) + min(0, -shift)] for x in tracked]
        return correlation(torch.cat(a), torch.cat(b))

    return max(range(-most, most + 1), key=at)


def jitter(series: list[Tensor]) -> float:
    """Mean absolute second difference, in thousandths of the face's width (14.5 cm)."""
    return float(torch.cat([x.diff(n=2).abs() for x in series]).mean() / 14.5 * 1000)


class Lips:
    """Measures an EAC on the held-out part of a data pack."""

    def __init__(self, vad: VAD, eac: EAC, ame: AME, data: Path) -> None:
        self.vad, self.eac, self.ame, self.data = vad, eac, ame, data
        self.basis = motion.Basis.from_pack(data)
        self.held = json.loads((data / "splits.json").read_text())

    @classmethod
    def load(cls, weights: str | os.PathLike[str] | None, data: Path) -> Lips:
        """With the networks in a folder, the shipped ones by default."""
        torch.set_num_threads(2)
        return cls(VAD.load(weights), EAC.load(weights), AME.load(weights), data)

    def motion(self, clip: corpus.Clip, prompt: str, mu: float) -> tuple[Tensor, Tensor]:
        """Opening [T] and width [T] in cm beyond rest."""
        beta, _ = self.eac.predict(self.vad.hear(clip.mel.float()), self.ame.text([prompt])[0], mu)
        return motion.gaps(beta, self.basis).mean(1), motion.widths(beta, self.basis).mean(1)

    def grid(self) -> dict[str, dict[str, float]]:
        """Agreement with GRID's tracked mouth at neutral, and at each basic emotion with intensity 3."""
        clips = [clip for clip in corpus.grid(self.data, self.basis) if clip.name in self.held["grid"]]
        opening = [clip.gaps.mean(1) for clip in clips if clip.gaps is not None]
        width = [clip.widths.mean(1) for clip in clips if clip.widths is not None]
        report = {}
        for name in prototypes.BASICS:
            both = [self.motion(clip, name, 1.0 if name == "neutral" else 3.0) for clip in clips]
            mine, wide = [pair[0] for pair in both], [pair[1] for pair in both]
            report[name] = {
                "r_opening": correlation(torch.cat(mine), torch.cat(opening)),
                "r_opening_median_clip": float(np.median([correlation(a, b) for a, b in zip(mine, opening)])),
                "r_width": correlation(torch.cat(wide), torch.cat(width)),
                "r_width_median_clip": float(np.median([correlation(a, b) for a, b in zip(wide, width)])),
                "lag_frames": lag(mine, opening),
                "opening_in_speech": float(torch.cat(mine)[torch.cat(opening) > 0.3].mean()),
                "opening_in_final_silence": float(torch.cat([x[-6:] for x in mine]).mean()),
                "jitter_opening": jitter(mine),
                "jitter_width": jitter(wide),
            }
        report["tracked"] = {
            "opening_in_speech": float(torch.cat(opening)[torch.cat(opening) > 0.3].mean()),
            "jitter_opening": jitter(opening),
            "jitter_width": jitter(width),
        }
        return report

    def spoken(self, folder: str) -> list[corpus.Clip]:
        """Held-out recordings with phones: emodb, ljspeech, or a folder of recordings with exact phones."""
        if folder in self.held:
            return [clip for clip in corpus.timed(self.data, folder) if clip.name in self.held[folder]]
        return corpus.exact(Path(folder))

    def phones(self, folder: str, prompt: str, mu: float) -> dict[str, float]:
        """Closures on /p b m/, open vowels, and what can be seen of /f v/ and /w u/ beside /t d n l/ and /i/."""
        mine, rules, hits = [], [], []
        first, second = (list(side) for side in zip(*motion.WIDTH_PAIRS))
        found = Articulation(CLOSED, float((self.basis.mean[second, 0] - self.basis.mean[first, 0]).mean()))
        z = self.ame.text([prompt])[0]
        for clip in self.spoken(folder):
            opening, width = self.motion(clip, prompt, mu)
            if mu == 1:
                known = motion.heard(clip.phones, clip.mel.shape[1], clip.alphabet)
                heard = self.eac.visemes(self.vad.hear(clip.mel.float()), z).argmax(1)
                hits += (heard == known)[known > 0].tolist()
            made = motion.speak(clip.phones, len(opening), self.basis, clip.alphabet)
            mine.append(opening)
            rules.append(motion.gaps(made, self.basis).mean(1))
            found.add(opening.numpy(), width.numpy(), clip.phones, clip.alphabet)
        recognised = {"visemes_recognised": float(np.mean(hits))} if hits else {}
        return {
            **recognised,
            **found.report(),
            "r_opening_with_rules": correlation(torch.cat(mine), torch.cat(rules)),
        }

    def quiet(self) -> dict[str, float]:
        """Largest opening (cm) and motion in 2 s of silence; mean opening in noise and music without speech."""
        silent = audio.log_mel(np.zeros(2 * audio.SAMPLE_RATE, np.float32))
        clip = corpus.Clip("silence", silent, -100.0, torch.zeros(50, 0))
        report = {}
        for name in prototypes.BASICS:
            opening, _ = self.motion(clip, name, 3.0)
            report[f"silence_{name}"] = float(opening.max())
            report["silence_motion"] = max(report.get("silence_motion", 0.0), float(opening.diff().abs().max()))
        others = corpus.noises(24, len(self.basis.names), seed=12345)
        report["noise_and_music"] = float(torch.cat([self.motion(x, "neutral", 1.0)[0] for x in others]).mean())
        return report

    def levels(self) -> dict[str, float]:
        """Loud and quiet speech, a jingle, other sounds: openings in % of the outer eye distance, r of openings.

        A held-out talker speaks, and again 20 dB softer at once; after a jingle 18 dB above him; over music 5 dB below.
        """
        names = self.held["grid"][:4]
        wave = np.concatenate([audio.load(self.data / "grid" / "audio" / f"{name}.ogg") for name in names])
        z, rate = self.ame.text(["neutral"])[0], audio.SAMPLE_RATE

        def opening(samples: np.ndarray) -> Tensor:
            heard = self.vad.hear(audio.log_mel(samples.astype(np.float32)))
            return motion.gaps(self.eac.predict(heard, z, 1.0)[0], self.basis).mean(1)

        clean, both = opening(wave), opening(np.concatenate([wave, 0.1 * wave]))
        half = len(wave) // audio.SAMPLES_PER_FRAME
        time = np.arange(3 * rate) / rate
        chord = sum(np.sin(2 * np.pi * hertz * time) for hertz in (523, 659, 784)) * (time % 0.5 < 0.45)
        after = opening(np.concatenate([chord * (8 * wave.std() / chord.std()), wave]))[75:]
        music = np.resize(list(corpus.noise_waves(2, 12345))[1], len(wave))
        music = music * (wave.std() / music.std() * 10 ** (-5 / 20))
        report = {
            "quiet_of_loud_half": float(both[half : 2 * half].mean() / both[:half].mean()),
            "r_quiet_and_loud_half": correlation(both[half : 2 * half], both[:half]),
            "r_after_jingle": correlation(after[: len(clean)], clean[: len(after)]),
            "r_over_music": correlation(opening(wave + music), clean),
        }
        rng, time = np.random.default_rng(9), np.arange(4 * rate) / rate
        breath = np.fft.irfft(np.fft.rfft(rng.standard_normal(len(time))) / (1 + np.arange(2 * rate + 1) / 6000))
        crowd = [
            np.resize(audio.load(self.data / f"emodb/audio/{n}.flac"), len(time)) for n in self.held["emodb"][::10]
        ]
        others = {
            "tone": 0.3 * np.sin(2 * np.pi * 700 * time),
            "ring": 0.2 * sum(np.sin(2 * np.pi * hertz * time) for hertz in (420, 500)) * (time % 2 < 1),
            "noise": 0.1 * rng.standard_normal(len(time)),
            "breath": 0.05 * breath / breath.std() * np.clip(np.sin(np.pi * time), 0, 1),
            "crowd": np.mean(crowd, 0),
        }
        for name, samples in others.items():
            report[f"{name}_percent"] = 100 / EYES * float(opening(samples).max())
        return report

    def speed(self) -> float:
        """Seconds for 60 s of audio, mel included."""
        wave = np.random.default_rng(0).standard_normal(60 * audio.SAMPLE_RATE).astype(np.float32) * 0.1
        z = self.ame.text(["happy"])[0]
        start = time.perf_counter()
        self.eac.predict(self.vad.hear(audio.log_mel(wave)), z, 2.0)
        return time.perf_counter() - start

    def report(self, folder: str = "") -> dict:
        """All of it; folder: more recordings with exact phones."""
        phones = {
            f"{folder} {prompt}": self.phones(folder, prompt, mu)
            for folder in filter(None, ("emodb", "ljspeech", folder))
            for prompt, mu in (("neutral", 1.0), *((name, 3.0) for name in prototypes.BASICS[1:]))
        }
        return {
            "grid": self.grid(),
            "phones": phones,
            "quiet": self.quiet(),
            "levels": self.levels(),
            "seconds_for_60_s": self.speed(),
        }
