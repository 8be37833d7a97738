"""Do the lips say the words? `python -m emotalk_cli.evaluation.lips --data DIR [--weights DIR] [--out FILE.json]`.

Held-out recordings only. Distances are inner-lip distances beyond rest on the mean face, in cm (outer
eye corners: 9.0 cm apart), from EAC's coefficients through the expression basis.
"""

from __future__ import annotations

import argparse
import json
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

CLOSED = 0.1  # cm: lips nearer than this count as closed
NEAR = 0.06  # s about a phone in which it may close
OPEN_VOWELS = ("open", "open front")
SHORTEST = 0.03  # s, of a vowel that must be seen open


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

    def motion(self, clip: corpus.Clip, prompt: str, mu: float) -> tuple[Tensor, Tensor]:
        """Opening [T] and width [T] in cm beyond rest."""
        beta, _ = self.eac.predict(self.vad.hear(clip.mel.float()), self.ame.text([prompt])[0], mu)
        return motion.gaps(beta, self.basis).mean(1), motion.widths(beta, self.basis).mean(1)

    def grid(self) -> dict[str, dict[str, float]]:
        """Agreement with GRID's tracked mouth at neutral, and at each basic emotion with intensity 3."""
        clips = [clip for clip in corpus.grid(self.data, self.basis) if clip.name in self.held["grid"]]
        opening, width = [clip.gaps.mean(1) for clip in clips], [clip.widths.mean(1) for clip in clips]
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

    def phones(self, folder: str, prompt: str, mu: float) -> dict[str, float]:
        """Closures on /p b m/ and opening on open vowels, for the phone-timed sets."""
        closed, gaps, vowels, mine, rules = [], [], [], [], []
        for clip in corpus.timed(self.data, folder):
            if clip.name not in self.held[folder]:
                continue
            opening, _ = self.motion(clip, prompt, mu)
            seconds = len(opening) / audio.FPS
            made = motion.speak(clip.phones, len(opening), self.basis, clip.alphabet)
            mine.append(opening)
            rules.append(motion.gaps(made, self.basis).mean(1))
            for phone in clip.phones:
                names = motion.visemes_of(phone.label, clip.alphabet)
                if phone.end > seconds or not names:
                    continue
                if names == ("bilabial",):
                    first = max(0, int((phone.start - NEAR) * audio.FPS))
                    gap = float(opening[first : int((phone.end + NEAR) * audio.FPS) + 1].min())
                    closed.append(gap < CLOSED)
                    gaps.append(max(0.0, gap))
                elif names[0] in OPEN_VOWELS and phone.end - phone.start > SHORTEST:
                    vowels.append(float(opening[min(len(opening) - 1, int((phone.start + phone.end) / 2 * audio.FPS))]))
        return {
            "bilabials": len(closed),
            "closed": float(np.mean(closed)),
            "gap_on_bilabials": float(np.mean(gaps)),
            "opening_on_open_vowels": float(np.mean(vowels)),
            "open_vowels_closed": float(np.mean(np.array(vowels) < CLOSED)),
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

    def speed(self) -> float:
        """Seconds for 60 s of audio, mel included."""
        wave = np.random.default_rng(0).standard_normal(60 * audio.SAMPLE_RATE).astype(np.float32) * 0.1
        z = self.ame.text(["happy"])[0]
        start = time.perf_counter()
        self.eac.predict(self.vad.hear(audio.log_mel(wave)), z, 2.0)
        return time.perf_counter() - start

    def report(self) -> dict:
        """All of it."""
        phones = {
            f"{folder} {prompt}": self.phones(folder, prompt, mu)
            for folder in ("emodb", "ljspeech")
            for prompt, mu in (("neutral", 1.0), *((name, 3.0) for name in prototypes.BASICS[1:]))
        }
        return {"grid": self.grid(), "phones": phones, "quiet": self.quiet(), "seconds_for_60_s": self.speed()}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="data pack")
    parser.add_argument("--weights", type=Path, help="folder with eac and ame (default: the shipped ones)")
    parser.add_argument("--out", type=Path, help="also write the report to this JSON file")
    args = parser.parse_args()
    torch.set_num_threads(2)
    report = Lips(VAD.load(args.weights), EAC.load(args.weights), AME.load(args.weights), args.data).report()
    text = json.dumps(report, indent=1, default=lambda value: round(value, 4))
    print(text)
    if args.out:
        args.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
