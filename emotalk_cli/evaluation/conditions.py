"""How far lips still follow voices and lines that are hard to hear.

`python -m emotalk_cli.evaluation.conditions --data DIR [--weights DIR]`: GRID's held-out clips, as they are and made
into a telephone call, a child, a low voice, a whisper, a song, with music, noise and echo; Pearson r of mouth opening
with the tracked talker, and mean opening while he speaks. Voices are changed with the WORLD vocoder (`pip install
pyworld`, which needs setuptools below 81), which no training used.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..media import audio, ffmpeg
from ..models.eac import EAC
from ..models.emotion_space import AME
from ..models.vad import VAD
from ..numeric import correlation
from ..training.data import corpus, motion

SNR = 5.0  # dB, of music and noise
PERIOD = 5.0  # ms, WORLD's frames
VOICES = {  # pitch in Hz (None: the talker's own), formants times, breath 0..1, length of voiced sounds times
    "child": (320.0, 1.28, 0.1, 1.0),
    "woman": (210.0, 1.15, 0.1, 1.0),
    "low voice": (72.0, 0.86, 0.0, 1.0),
    "whisper": (None, 1.0, 1.0, 1.0),
    "song": (220.0, 1.0, 0.0, 2.0),
}
Heard = tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]  # samples, and their times -> the recording's, in s


def voices(wave: np.ndarray) -> Iterator[tuple[str, Heard]]:
    """The recording in each of `VOICES`."""
    import pyworld

    source = wave.astype(np.float64)
    pitch, times = pyworld.dio(source, audio.SAMPLE_RATE, f0_floor=60, f0_ceil=500, frame_period=PERIOD)
    pitch = pyworld.stonemask(source, pitch, times, audio.SAMPLE_RATE)
    envelope = pyworld.cheaptrick(source, pitch, times, audio.SAMPLE_RATE)
    breath = pyworld.d4c(source, pitch, times, audio.SAMPLE_RATE)
    voiced = pitch > 0
    own = np.median(pitch[voiced]) if voiced.any() else 120.0
    for name, (target, tract, air, length) in VOICES.items():
        reached = np.concatenate([[0], np.cumsum(np.where(voiced, length, 1.0))])  # frame in which each is reached
        index = np.interp(np.arange(int(reached[-1])), reached[:-1], np.arange(len(pitch)))
        at = index.round().astype(int)
        if name == "song":
            note = target * 2 ** (np.array([0, 4, 7, 5, 2])[(np.arange(len(at)) * PERIOD / 400).astype(int) % 5] / 12)
            tune = np.where(voiced[at], note * (1 + 0.02 * np.sin(0.17 * np.arange(len(at)))), 0)
        else:
            tune = np.zeros(len(at)) if target is None else np.where(voiced[at], pitch[at] * target / own, 0)
        bins = np.arange(envelope.shape[1])
        moved = np.stack([np.interp(bins / tract, bins, row) for row in envelope[at]])
        if air == 1:  # no low tones
            moved *= 10 ** np.interp(bins, bins[[0, 32, 192, -1]], [-2.0, -1.0, 0.0, 0.3])
        noisy = breath[at] + air * (1 - breath[at])
        spoken = pyworld.synthesize(tune, moved, noisy, audio.SAMPLE_RATE, PERIOD).astype(np.float32)
        grid = np.arange(len(at)) * PERIOD / 1000

        def when(times: np.ndarray, grid: np.ndarray = grid, source: np.ndarray = index * PERIOD / 1000) -> np.ndarray:
            return np.interp(times, grid, source)

        yield name, (spoken, when)


def coded(wave: np.ndarray, codec: str, suffix: str, rate: int, *options: str) -> np.ndarray:
    """Samples [N] after a codec of ffmpeg, in the same length."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"coded.{suffix}"
        command = ["-f", "f32le", "-ar", str(audio.SAMPLE_RATE)]
        command += ["-ac", "1", "-i", "-", "-ar", str(rate), "-c:a", codec, *options, str(file)]
        ffmpeg.run(command, wave.astype("<f4").tobytes())
        heard = audio.load(file)[: len(wave)]
    return np.pad(heard, (0, len(wave) - len(heard)))


def lines(wave: np.ndarray, seed: int) -> Iterator[tuple[str, Heard]]:
    """The recording as it is, over a telephone, with music and with noise, and in a tiled room."""
    rng = np.random.default_rng(seed)

    def mixed(other: np.ndarray) -> np.ndarray:
        other = np.resize(other, len(wave))
        gain = 10 ** ((audio.level(wave) - audio.level(other) - SNR) / 20)
        return wave + (gain * other).astype(np.float32)

    noise, music = corpus.noise_waves(2, seed)
    echo = rng.standard_normal(6400) * np.exp(-np.arange(6400) / 1600) * 0.08
    echo[0] = 1
    heard = {
        "clean": wave,
        "telephone, 8 kHz": coded(wave, "pcm_mulaw", "wav", 8000),
        "Opus, 8 kbit/s": coded(wave, "libopus", "ogg", 16000, "-b:a", "8k"),
        f"music at {SNR:g} dB": mixed(music),
        f"noise at {SNR:g} dB": mixed(noise),
        "echo": np.convolve(wave, echo)[: len(wave)].astype(np.float32),
    }
    for name, samples in heard.items():
        yield name, (samples, lambda t: t)


@torch.inference_mode()
def measure(vad: VAD, eac: EAC, z: Tensor, data: Path, count: int) -> dict[str, dict[str, float]]:
    """r and mean opening (cm) in speech for each condition, over `count` clips."""
    basis = motion.Basis.from_pack(data)
    held = json.loads((data / "splits.json").read_text())["grid"]
    tracks = [track for track in motion.grid_tracks(data, basis) if track.name in held]
    tracks = [tracks[i] for i in np.unique(np.linspace(0, len(tracks) - 1, count).astype(int))]
    series: dict[str, list[tuple[Tensor, Tensor]]] = {}
    for seed, track in enumerate(tracks):
        wave = audio.load(data / "grid" / "audio" / f"{track.name}.ogg")
        truth = track.gaps.mean(1).numpy()
        for name, (samples, back) in [*lines(wave, seed), *voices(wave)]:
            beta, _ = eac.predict(vad.hear(audio.log_mel(samples)), z, 1.0)
            times = back((np.arange(len(beta)) + 0.5) / audio.FPS)
            wanted = np.interp(times * audio.FPS - 0.5, np.arange(len(truth)), truth)
            series.setdefault(name, []).append((motion.gaps(beta, basis).mean(1), torch.from_numpy(wanted).float()))
    report = {}
    for name, pairs in series.items():
        mine, real = (torch.cat(side) for side in zip(*pairs, strict=True))
        report[name] = {"r_opening": correlation(mine, real), "opening": float(mine[real > 0.3].mean())}
        report[name]["tracked"] = float(real[real > 0.3].mean())
    return report


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="data pack")
    parser.add_argument("--weights", type=Path, help="folder with eac and ame (default: the shipped ones)")
    parser.add_argument("--clips", type=int, default=16)
    args = parser.parse_args()
    torch.set_num_threads(1)
    z = AME.load(args.weights).text(["neutral"])[0]
    print("| condition | r opening | opening in speech, cm (tracked) |\n|---|---|---|")
    for name, row in measure(VAD.load(args.weights), EAC.load(args.weights), z, args.data, args.clips).items():
        print(f"| {name} | {row['r_opening']:.2f} | {row['opening']:.2f} ({row['tracked']:.2f}) |")


if __name__ == "__main__":
    main()
