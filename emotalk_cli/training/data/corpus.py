"""What EAC learns speech from: recordings as log-mel, with the motion of the mouth that goes with them.

GRID's motion is tracked. EmoDB's, LJSpeech's, speechocean762's and synthetic speech's (`voices`) follows from their
timed phones (`motion.speak`). Noise and music keep the lips closed. Decoding, alignment and synthesis are done once
and kept in a work folder: `python -m emotalk_cli.training.data.corpus --data DIR --work DIR` does that much alone.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...media import audio
from . import alignment, motion, voices
from .motion import Basis, Phone

SHARES = {  # of the training windows
    "grid": 0.38,
    "emodb": 0.13,
    "ljspeech": 0.09,
    "speechocean": 0.16,
    "espeak": 0.09,
    "flite": 0.08,
    "noise": 0.07,
}
SYNTHETIC = {"espeak": 700, "flite": 240}  # recordings made


@dataclass
class Clip:
    """One recording: log-mel [80, 4 T] (half precision), its level in dBFS, speech coefficients [T, n].

    visemes [4 T]: what is being said, as indices of `eac.VISEMES`; -1 where that is unknown.
    """

    name: str
    mel: Tensor
    level: float
    beta: Tensor
    phones: list[Phone] = field(default_factory=list)
    alphabet: str = "arpabet"
    visemes: Tensor | None = None
    gaps: Tensor | None = None  # tracked, GRID only
    widths: Tensor | None = None

    @classmethod
    def of(cls, name: str, wave: np.ndarray, phones: Iterable[Phone] = (), alphabet: str = "arpabet") -> Clip:
        """From samples [N] at 16 kHz."""
        mel = audio.log_mel(wave).half()
        empty = torch.zeros(mel.shape[1] // audio.MELS_PER_FRAME, 0)
        return cls(name, mel, audio.level(wave), empty, list(phones), alphabet)

    def move(self, beta: Tensor) -> None:
        """Take coefficients [T', n]; sound and motion are cut to the shorter."""
        frames = min(self.mel.shape[1] // audio.MELS_PER_FRAME, len(beta))
        self.mel, self.beta = self.mel[:, : frames * audio.MELS_PER_FRAME], beta[:frames]


def kept(work: Path | None, name: str, make: Callable[[], Iterator[Clip]]) -> list[Clip]:
    """The clips that `make` gives, without motion; read from `work` if they were made before."""
    file = work and work / f"{name}.pt"
    if file and file.exists():
        rows = torch.load(file, weights_only=True)
        return [
            Clip(
                row["name"],
                row["mel"],
                row["level"],
                torch.zeros(row["mel"].shape[1] // audio.MELS_PER_FRAME, 0),
                [Phone(*phone) for phone in row["phones"]],
                row["alphabet"],
            )
            for row in rows
        ]
    clips = list(make())
    if file:
        work.mkdir(parents=True, exist_ok=True)
        rows = [
            {
                "name": clip.name,
                "mel": clip.mel.clone(),
                "level": clip.level,
                "phones": [(phone.start, phone.end, phone.label) for phone in clip.phones],
                "alphabet": clip.alphabet,
            }
            for clip in clips
        ]
        torch.save(rows, file.with_suffix(".part"))
        file.with_suffix(".part").replace(file)
    return clips


def silence_closed(track: motion.Track) -> Tensor:
    """GRID's coefficients, faded to rest 0.4 s before and after speech: what a silent mouth does, audio cannot tell."""
    times = (torch.arange(len(track.beta)) + 0.5) / audio.FPS
    start, end = track.speech
    before = ((times - (start - 0.44)) / 0.20).clamp(0, 1)
    after = ((end + 0.40 - times) / 0.20).clamp(0, 1)
    return track.beta * (before * after)[:, None]


def grid(data: Path, basis: Basis, work: Path | None = None) -> list[Clip]:
    """GRID's clips with tracked motion."""
    tracks = motion.grid_tracks(data, basis)
    folder = data / "grid" / "audio"
    clips = kept(work, "grid", lambda: (Clip.of(t.name, audio.load(folder / f"{t.name}.ogg")) for t in tracks))
    for clip, track in zip(clips, tracks):
        clip.move(silence_closed(track))
        clip.gaps, clip.widths = track.gaps[: len(clip.beta)], track.widths[: len(clip.beta)]
    return clips


def timed(data: Path, folder: str, work: Path | None = None) -> list[Clip]:
    """EmoDB's or LJSpeech's recordings with their phones (`articulate` gives them motion)."""
    if folder == "emodb":
        paths = sorted((data / folder / "phones").glob("*.tsv"))
        sounds = [data / folder / "audio" / f"{path.stem}.flac" for path in paths]
        read, alphabet = motion.read_emodb, "sampa"
    else:
        paths = sorted((data / folder).glob("*.TextGrid"))
        sounds = [path.with_suffix(".ogg") for path in paths]
        read, alphabet = motion.read_textgrid, "arpabet"
    return kept(
        work,
        folder,
        lambda: (Clip.of(p.stem, audio.load(sound), read(p), alphabet) for p, sound in zip(paths, sounds)),
    )


def speechocean(data: Path, timed_clips: list[Clip], held: list[str], work: Path | None = None) -> list[Clip]:
    """speechocean762's training speakers, aligned with the help of clips whose phones are timed."""
    rows = [row for row in alignment.manifest(data / "speechocean" / "manifest.tsv") if row[1] not in held]

    def make() -> Iterator[Clip]:
        clips = [Clip.of(name, audio.load(data / "speechocean" / "audio" / f"{name}.ogg")) for name, _, _, _ in rows]
        _, found = alignment.train(timed_clips, clips, [words for _, _, words, _ in rows])
        for clip, phones in zip(clips, found):
            clip.phones = phones
        return iter(clips)

    return kept(work, "speechocean", make)


def synthetic(name: str, count: int, seed: int, sentences: list[str]) -> Iterator[Clip]:
    """`count` recordings of espeak-ng (any language, pseudo-words among them) or flite (`sentences`)."""
    rng = np.random.default_rng([seed, len(name)])
    for i in range(count):
        text = str(rng.choice(sentences))
        if name == "flite":
            wave, phones = voices.flite(text, voices.FLITE[i % len(voices.FLITE)], float(rng.uniform(0.85, 1.3)))
            yield Clip.of(f"flite{i}", wave, phones)
            continue
        voice = voices.LANGUAGES[i % len(voices.LANGUAGES)]
        if not voice.startswith("en") or rng.random() < 0.5:
            text = voices.pseudo_words(rng, int(rng.integers(4, 9)))
        voice += f"+{rng.choice(voices.VARIANTS)}"
        wave, phones = voices.espeak(text, voice, int(rng.integers(110, 200)), int(rng.integers(15, 90)))
        yield Clip.of(f"espeak{i}", wave, phones, "ipa")


def articulate(clips: list[Clip], reference: Tensor, basis: Basis) -> None:
    """Give clips with phones the motion of the viseme rules, at the amplitude of the tracked `reference`."""
    raw = [motion.speak(clip.phones, len(clip.beta), basis, clip.alphabet) for clip in clips]
    opening, width = motion.calibration(torch.cat(raw), reference, basis)
    for clip in clips:
        clip.move(motion.speak(clip.phones, len(clip.beta), basis, clip.alphabet, opening, width))
        clip.visemes = motion.heard(clip.phones, clip.mel.shape[1], clip.alphabet)


def noises(count: int, components: int, seed: int) -> list[Clip]:
    """`noise_waves` with closed lips."""
    clips = []
    for i, wave in enumerate(noise_waves(count, seed)):
        clips.append(Clip.of(f"noise{i}", wave))
        clips[-1].move(torch.zeros(len(clips[-1].beta), components))
        clips[-1].visemes = torch.zeros(clips[-1].mel.shape[1], dtype=torch.long)
    return clips


def noise_waves(count: int, seed: int) -> Iterator[np.ndarray]:
    """In turn coloured noise, simple music, clicks and drums, hum, without speech: 4 s of samples each."""
    rng = np.random.default_rng(seed)
    samples = 4 * audio.SAMPLE_RATE
    times = np.arange(samples) / audio.SAMPLE_RATE
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
        yield (0.3 * wave / (np.abs(wave).max() + 1e-6)).astype(np.float32)


def build(data: Path, work: Path, basis: Basis, seed: int = 0) -> tuple[dict[str, list[Clip]], list[Clip]]:
    """Training clips by group, and GRID's held-out clips."""
    held = json.loads((data / "splits.json").read_text())
    tracked = grid(data, basis, work)
    test = [clip for clip in tracked if clip.name in held["grid"]]
    groups = {"grid": [clip for clip in tracked if clip.name not in held["grid"]]}
    reference = torch.cat([clip.beta for clip in groups["grid"]])
    for name in ("emodb", "ljspeech"):
        groups[name] = [clip for clip in timed(data, name, work) if clip.name not in held[name]]
    groups["speechocean"] = speechocean(data, groups["ljspeech"], held["speechocean_speakers"], work)
    rows = alignment.manifest(data / "speechocean" / "manifest.tsv")
    sentences = [text.lower() for _, speaker, _, text in rows if speaker not in held["speechocean_speakers"]]
    for name, count in SYNTHETIC.items():
        groups[name] = kept(work, name, lambda name=name, count=count: synthetic(name, count, seed, sentences))
    for name, clips in groups.items():
        if name != "grid":
            articulate(clips, reference, basis)
    groups["noise"] = noises(80, len(basis.names), seed)
    return groups, test


def hold_out(groups: dict[str, list[Clip]], every: int = 24) -> tuple[dict[str, list[Clip]], list[Clip]]:
    """Groups without every so many-th tracked clip, and those, to validate with."""
    tracked = groups["grid"]
    kept = [clip for i, clip in enumerate(tracked) if i % every]
    return groups | {"grid": kept}, tracked[::every]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="data pack")
    parser.add_argument("--work", type=Path, default=Path("runs/corpus"), help="folder for what is prepared")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    groups, _ = build(args.data, args.work, Basis.from_pack(args.data), args.seed)
    for name, clips in groups.items():
        print(f"{name}: {len(clips)} recordings, {sum(len(clip.beta) for clip in clips) / audio.FPS / 60:.1f} min")


if __name__ == "__main__":
    main()
