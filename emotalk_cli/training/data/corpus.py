"""What EAC learns speech from: recordings as log-mel, with the motion of the mouth that goes with them.

GRID's motion is tracked. EmoDB's, LJSpeech's, speechocean762's, LibriVox's and synthetic speech's (`voices`, and what
lies in a folder of recordings with exact phones) follows from their timed phones (`motion.speak`). Noise and music keep
the lips closed. Decoding, alignment and synthesis are done once and kept in a work folder:
`python -m emotalk_cli.training.data.corpus --data DIR --work DIR` does that much alone.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...media import audio
from ...motion.lips import close_lips
from . import alignment, motion, voices
from .motion import Basis, Phone

SHARES = {  # of the training windows, relative to each other
    "grid": 0.42,
    "kokoro": 0.18,
    "emodb": 0.09,
    "ljspeech": 0.05,
    "librivox": 0.02,
    "speechocean": 0.12,
    "espeak": 0.05,
    "flite": 0.03,
    "facegood": 0.05,
    "noise": 0.04,
}
SYNTHETIC = {"espeak": 400, "flite": 160}  # recordings made
PAUSE_FRAMES = 6  # video frames: shorter pauses between phones belong to the speech
MELS_PER_SECOND = audio.SAMPLE_RATE / audio.HOP
EARLY = 0.08  # s by which Kokoro's sound comes before its durations (EAC's recognition of visemes peaks there)
_PAUSE, _PAUSE_BELOW = 0.09, 3.5  # s, and bel below the loudest: what is fainter for so long is a pause
LIBRIVOX = Path("/usr/share/pocketsphinx/test/data/librivox")  # Debian package pocketsphinx-testdata
FACEGOOD_TEST, FACEGOOD_RATE, FACEGOOD_LATE = ("2_01", "3_15", "3_16"), 30, 0.035  # frames/s; s after the sound
GRID_SPELLING = {"a": ("EY",), "z": ("Z", "EH", "D")}  # letters as the talker says them


@dataclass
class Clip:
    """One recording: log-mel [80, 4 T] (half precision), its level in dBFS, speech coefficients [T, n].

    visemes [4 T]: what is being said, as indices of `lips.VISEMES`; -1 where that is unknown.
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

    @functools.cached_property
    def speaking(self) -> Tensor:
        """[T]: 1 in video frames in which somebody speaks, short pauses included, and where that is unknown."""
        if not self.phones and self.visemes is None:
            return torch.ones(len(self.beta))
        spoken = torch.zeros(len(self.beta))
        for phone in self.phones:
            if motion.visemes_of(phone.label, self.alphabet) not in ((), ("silence",)):
                first = int(phone.start * audio.FPS)
                spoken[first : max(first + 1, round(phone.end * audio.FPS))] = 1
        half = PAUSE_FRAMES // 2
        closed = F.max_pool1d(spoken[None], 2 * half + 1, 1, half)
        return -F.max_pool1d(F.pad(-closed, (half, half), value=-1.0), 2 * half + 1, 1)[0]

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
        file.parent.mkdir(parents=True, exist_ok=True)
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
    folder = data / "grid"

    def make() -> Iterator[Clip]:
        aligner = alignment.Aligner()
        for track in tracks:
            lines = (folder / "align" / f"{track.name}.align").read_text().split()[2::3]
            words = [alignment.Word(word, GRID_SPELLING.get(word)) for word in lines if word not in ("sil", "sp")]
            wave = audio.load(folder / "audio" / f"{track.name}.ogg")
            yield Clip.of(track.name, wave, aligner.align(wave, words))

    clips = kept(work, "grid", make)
    for clip, track in zip(clips, tracks):
        clip.visemes = motion.heard(clip.phones, clip.mel.shape[1]) if clip.phones else None
        clip.move(silence_closed(track))
        clip.gaps, clip.widths = track.gaps[: len(clip.beta)], track.widths[: len(clip.beta)]
    return clips


def facegood(data: Path, basis: Basis, reference: Tensor, held: bool = False) -> list[Clip]:
    """FACEGOOD's takes with the motion that a solver found in film, at the amplitude of the tracked `reference`.

    held: those that are kept for testing (`FACEGOOD_TEST`) instead of the others.
    """
    clips = []
    with np.load(data / "facegood" / "facegood.npz") as file:
        names = [basis[str(name)] for name in file["arkit_names"]]
        for key in sorted(key for key in file.files if key.startswith("arkit_") and key != "arkit_names"):
            take = key.removeprefix("arkit_")
            if (take in FACEGOOD_TEST) != held:
                continue
            clip = Clip.of(take, audio.load(data / "facegood" / f"{take}.ogg"))
            track = file[key].astype(np.float32)
            times = (np.arange(len(clip.beta)) + 0.5) / audio.FPS + FACEGOOD_LATE
            rows = [np.interp(times, (np.arange(len(track)) + 0.5) / FACEGOOD_RATE, column) for column in track.T]
            beta = torch.zeros(len(times), len(basis.names))
            beta[:, names] = torch.from_numpy(np.stack(rows, 1)).float()
            clip.move(beta)
            clips.append(clip)
    openings = [motion.gaps(clip.beta, basis).mean(1) for clip in clips]
    closed = torch.cat(openings).clamp(min=0).quantile(0.08)
    wanted = motion.gaps(reference, basis).mean(1)
    scale = wanted[wanted > 0.3].mean() / (torch.cat(openings) - closed).clamp(min=0)[torch.cat(openings) > 0.3].mean()
    for clip in clips:
        beta = (clip.beta * scale).clamp(0, 1)
        clip.beta = close_lips(beta, (motion.gaps(beta, basis) - closed * scale).clamp(min=0), basis.lips)
        clip.gaps, clip.widths = motion.gaps(clip.beta, basis), motion.widths(clip.beta, basis)
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


def speechocean(data: Path, held: list[str], work: Path | None = None) -> list[Clip]:
    """speechocean762's training speakers, aligned."""
    rows = [row for row in alignment.manifest(data / "speechocean" / "manifest.tsv") if row[1] not in held]
    waves = ((name, audio.load(data / "speechocean" / "audio" / f"{name}.ogg"), words) for name, _, words, _ in rows)
    return kept(work, "speechocean", lambda: aligned(waves))


def librivox(work: Path | None = None, folder: Path = LIBRIVOX) -> list[Clip]:
    """Readings of Debian's pocketsphinx-testdata, aligned; none where that is not installed."""
    if not folder.is_dir():
        return []
    lines = [line.rpartition("(") for line in (folder / "transcription").read_text().splitlines()]
    said = {name.strip(") "): text.replace("<s>", "").replace("</s>", "").split() for text, _, name in lines}
    waves = (
        (name, audio.load(folder / f"{name}.wav"), [alignment.Word(word) for word in words])
        for name, words in said.items()
    )
    return kept(work, "librivox", lambda: aligned(waves))


def aligned(waves: Iterable[tuple[str, np.ndarray, list[alignment.Word]]]) -> Iterator[Clip]:
    """Recordings (name, samples, words) with the phones that the aligner finds; without those it cannot fit."""
    aligner = alignment.Aligner()
    for name, wave, words in waves:
        if phones := aligner.align(wave, words):
            yield Clip.of(name, wave, phones)


def exact(folder: Path, work: Path | None = None, name: str = "kokoro") -> list[Clip]:
    """Recordings `*.ogg` with a table `.tsv` of start, end (s) and phone (`motion.KOKORO`'s alphabet) beside them."""

    def make() -> Iterator[Clip]:
        for table in sorted(folder.glob("*.tsv")):
            rows = [line.split("\t") for line in table.read_text().splitlines()]
            phones = [motion.Phone(float(start) - EARLY, float(end) - EARLY, label) for start, end, label in rows]
            clip = Clip.of(table.stem, audio.load(table.with_suffix(".ogg")), phones, "kokoro")
            clip.phones = ended(clip)
            yield clip

    return kept(work, name, make)


def ended(clip: Clip) -> list[Phone]:
    """The clip's phones without the pauses that a synthesiser's durations count as the end of the phone before."""
    loud = clip.mel.float()[audio.FIRST_BAND :].amax(0)
    audible = torch.nonzero(loud > loud.max() - _PAUSE_BELOW)[:, 0] / MELS_PER_SECOND
    phones = []
    for phone in clip.phones:
        own = audible[(audible >= phone.start) & (audible < phone.end)]
        end = float(own.max()) + 1 / MELS_PER_SECOND if len(own) else phone.start
        if phone.end - end < _PAUSE:
            phones.append(phone)
        else:
            phones += [motion.Phone(phone.start, end, phone.label)] if len(own) else []
            phones.append(motion.Phone(end, phone.end, motion.PAUSE))
    return phones


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
            hum = rng.uniform(40, 180)
            tones = (np.sin(2 * np.pi * hum * n * times + rng.uniform(0, 6)) / n for n in range(1, rng.integers(3, 20)))
            wave = sum(tones, np.zeros(samples))
            wave = wave + rng.uniform(0.01, 0.5) * rng.standard_normal(samples)
        yield (0.3 * wave / (np.abs(wave).max() + 1e-6)).astype(np.float32)


LICENCES = (
    "GRID s1 (CC BY 4.0), EmoDB (CC0), LJSpeech and LibriVox (public domain; alignments of LJSpeech MIT), "
    "speechocean762 (Apache-2.0), FACEGOOD-Audio2Face (MIT), speech made with espeak-ng, flite and Kokoro-82M "
    "(Apache-2.0); English without phone times aligned by pocketsphinx (BSD)"
)


def build(
    data: Path, work: Path, basis: Basis, seed: int = 0, speech: str | os.PathLike = ""
) -> tuple[dict[str, list[Clip]], list[Clip]]:
    """Training clips by group, and GRID's held-out clips. speech: folder of more recordings, see `exact`."""
    held = json.loads((data / "splits.json").read_text())
    tracked = grid(data, basis, work)
    test = [clip for clip in tracked if clip.name in held["grid"]]
    groups = {"grid": [clip for clip in tracked if clip.name not in held["grid"]]}
    reference = torch.cat([clip.beta for clip in groups["grid"]])
    for name in ("emodb", "ljspeech"):
        groups[name] = [clip for clip in timed(data, name, work) if clip.name not in held[name]]
    groups["facegood"] = facegood(data, basis, reference)
    groups["speechocean"] = speechocean(data, held["speechocean_speakers"], work)
    groups["librivox"] = librivox(work)
    groups["kokoro"] = exact(Path(speech), work) if speech else []
    rows = alignment.manifest(data / "speechocean" / "manifest.tsv")
    sentences = [text.lower() for _, speaker, _, text in rows if speaker not in held["speechocean_speakers"]]
    for name, count in SYNTHETIC.items():
        groups[name] = kept(work, name, functools.partial(synthetic, name, count, seed, sentences))
    for name, clips in groups.items():
        if clips and name not in ("grid", "facegood"):
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
