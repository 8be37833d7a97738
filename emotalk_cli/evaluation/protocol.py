"""The paper's test (Sec. 4.2): the first frame of a test video speaks its sound again, with the emotion taken from the
video's sound, from a random frame of it, or from its label: rows Ours-A, Ours-I and Ours-T of Tab. 1."""

from __future__ import annotations

import wave
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ..api import EmoTalk
from ..constants import FPS, SAMPLE_RATE
from ..errors import UsageError, WeightsError
from ..examples import example
from ..media.audio import syllables
from ..media.ffmpeg import read_frames
from ..media.video import VideoWriter
from ..settings import GenerateOptions
from ..training.data.shards import Shard
from .evaluate import Pair

ROWS = {"audio": "Ours-A", "image": "Ours-I", "text": "Ours-T"}
REFERENCE = "reference"
SELF_MADE = (
    "No videos are given: the generator is measured on pairs of its own, which say how well it repeats itself and "
    "nothing of real faces; --data or --generated and --reference measure those."
)
STYLES = ("happy", "sad")  # of the self-made pairs


def generate(
    talker: EmoTalk,
    clips: Sequence[Path],
    kinds: Sequence[str],
    out: Path,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
    reference: Path | None = None,
) -> tuple[dict[str, list[Pair]], list[str]]:
    """Make the videos of every kind of emotion (audio, image, text) in `out`, which keeps what it has already.

    reference: folder of the real videos, which several models may share; by default in `out`.
    Returns pairs by row, and notes: a kind whose tower the weights lack is left out.
    """
    for kind in kinds:
        if kind not in ROWS:
            raise UsageError(f"--emotion {kind} is unknown; choose from {', '.join(ROWS)}.")
    rows: dict[str, list[Pair]] = {ROWS[kind]: [] for kind in kinds}
    notes, done = [], 0
    originals = reference or out / REFERENCE
    for folder in (originals, *(out / row for row in rows)):
        folder.mkdir(parents=True, exist_ok=True)
    for number, path in enumerate(clips):
        clip = Shard(path)
        name = clip.labels.name
        first, sound, picture = (originals / f"{name}{end}" for end in (".png", ".wav", ".frame.png"))
        real = originals / f"{name}.mp4"
        moment = int(np.random.default_rng([seed, number]).integers(len(clip)))
        if not real.exists():
            _write(clip, first, sound, picture, moment, real)
        for kind in kinds:
            made = out / ROWS[kind] / f"{name}.mp4"
            if ROWS[kind] in rows and not made.exists():
                try:
                    emotion = {
                        "text": lambda clip=clip: talker.emotion(clip.labels.emotion),
                        "image": lambda picture=picture: talker.emotion(image=picture),
                        "audio": lambda sound=sound: talker.emotion(audio=sound),
                    }[kind]()
                except WeightsError as error:
                    notes.append(f"{ROWS[kind]} is left out: {error}")
                    del rows[ROWS[kind]]
                    continue
                intensity = clip.labels.intensity
                options: GenerateOptions = {"intensity": intensity, "framing": "full", "pose": "still", "seed": seed}
                talker.generate(first, sound, emotion, made, **(options | {"sidecar": False}))
            if ROWS[kind] in rows:
                rows[ROWS[kind]].append(Pair(name, made, real))
            done += 1
            progress(done, len(clips) * len(kinds))
    return rows, notes


def self_made(
    talker: EmoTalk, out: Path, seed: int = 0, progress: Callable[[int, int], None] = lambda done, total: None
) -> dict[str, list[Pair]]:
    """Pairs without any data, in `out`: the shipped portrait says syllables, and its first frame says them again."""
    out.mkdir(parents=True, exist_ok=True)
    sound, pairs = out / "syllables.wav", []
    _write_wave(sound, syllables())
    options: GenerateOptions = {"pose": "still", "framing": "full", "seed": seed, "sidecar": False}
    for number, style in enumerate(STYLES):
        real, made, first = out / f"{style}.mp4", out / f"{style}.again.mp4", out / f"{style}.png"
        talker.generate(example("portrait.png"), sound, style, real, **options | {"framing": "crop"})
        Image.fromarray(next(iter(read_frames(real, FPS)))).save(first)
        talker.generate(first, sound, style, made, **options)
        pairs.append(Pair(style, made, real))
        progress(number + 1, len(STYLES))
    return {"self-made": pairs}


def _write_wave(path: Path, samples: np.ndarray) -> None:
    """16 kHz samples in -1..1 as a 16-bit WAV."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes((samples * 32767).round().astype("<i2").tobytes())


def _write(clip: Shard, first: Path, sound: Path, picture: Path, moment: int, real: Path) -> None:
    """The clip as ordinary files: its first frame, its sound, another frame, and, last, the video."""
    for path, number in ((first, 0), (picture, moment)):
        Image.fromarray(clip.frame(number).permute(1, 2, 0).numpy()).save(path)
    _write_wave(sound, clip.sound())
    with VideoWriter(real, (clip.size, clip.size), FPS, sound) as writer:
        for number in range(len(clip)):
            writer.write(clip.frame(number).permute(1, 2, 0).contiguous().numpy())
