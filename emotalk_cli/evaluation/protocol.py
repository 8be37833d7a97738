"""The paper's test (Sec. 4.2): the first frame of a test video speaks its sound again, with the emotion taken from the
video's sound, from a random frame of it, or from its label: rows Ours-A, Ours-I and Ours-T of Tab. 1."""

from __future__ import annotations

import wave
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ..api import EmoTalk
from ..errors import UsageError, WeightsError
from ..media.audio import FPS, SAMPLE_RATE
from ..media.video import VideoWriter
from ..training.data.shards import Shard
from .evaluate import Pair

ROWS = {"audio": "Ours-A", "image": "Ours-I", "text": "Ours-T"}
REFERENCE = "reference"


def generate(
    talker: EmoTalk,
    clips: Sequence[Path],
    kinds: Sequence[str],
    out: Path,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[dict[str, list[Pair]], list[str]]:
    """Make the videos of every kind of emotion (audio, image, text) in `out`, which keeps what it has already.

    Returns pairs by row, and notes: a kind whose tower the weights lack is left out.
    """
    for kind in kinds:
        if kind not in ROWS:
            raise UsageError(f"--emotion {kind} is unknown; choose from {', '.join(ROWS)}.")
    rows: dict[str, list[Pair]] = {ROWS[kind]: [] for kind in kinds}
    notes, done = [], 0
    for row in [REFERENCE, *rows]:
        (out / row).mkdir(parents=True, exist_ok=True)
    for number, path in enumerate(clips):
        clip = Shard(path)
        name = clip.labels.name
        first, sound, picture = (out / REFERENCE / f"{name}{end}" for end in (".png", ".wav", ".frame.png"))
        real = out / REFERENCE / f"{name}.mp4"
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
                options = {"intensity": intensity, "framing": "full", "pose": "still", "seed": seed}
                talker.generate(first, sound, emotion, made, sidecar=False, **options)
            if ROWS[kind] in rows:
                rows[ROWS[kind]].append(Pair(name, made, real))
            done += 1
            progress(done, len(clips) * len(kinds))
    return rows, notes


def _write(clip: Shard, first: Path, sound: Path, picture: Path, moment: int, real: Path) -> None:
    """The clip as ordinary files: its first frame, its sound, another frame, and, last, the video."""
    for path, number in ((first, 0), (picture, moment)):
        Image.fromarray(clip.frame(number).permute(1, 2, 0).numpy()).save(path)
    samples = clip.sound()
    with wave.open(str(sound), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes((samples * 32767).round().astype("<i2").tobytes())
    with VideoWriter(real, (clip.size, clip.size), FPS, sound) as writer:
        for number in range(len(clip)):
            writer.write(clip.frame(number).permute(1, 2, 0).contiguous().numpy())
