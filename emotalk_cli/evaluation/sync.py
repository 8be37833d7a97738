"""Do the lips say the words, as anybody sees them: in finished videos, tracked by MediaPipe. `emotalk eval lips`.

Held-out recordings (GRID, EmoDB, LJSpeech, and any folder of recordings with exact phones), a second of silence, noise
and music are spoken by a held-out face, neutral at intensity 1 and with every basic emotion at 3, and tracked again:

r opening, r width   Pearson r with the real talker's mouth over each GRID clip, mean over clips; lag: where r is best
closed, ...          figures of `articulation.Articulation`, over all recordings with phones
silence, noise       largest opening in silence; mean opening in noise and music
jitter               mean |second difference| of lip and of all landmarks in thousandths of the face's width

Distances are inner-lip distances in outer eye distances (about 9 cm) beyond the smallest in the clip of silence.
"""

from __future__ import annotations

import json
import wave
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from ..media.ffmpeg import read_frames
from ..training.data import corpus, motion
from ..training.data.motion import Phone
from .articulation import Articulation
from .mediapipe_landmarker import landmarker

FACE = "london_neutral/014_03.jpg"
CLOSED = 0.02  # outer eye distances, 1.8 mm
LAGS = range(-3, 4)
LIPS = [
    0, 13, 14, 17, 37, 39, 40, 61, 78, 80, 81, 82, 84, 87, 88, 91, 95, 146, 178, 181, 185, 191, 267, 269, 270, 291,
    308, 310, 311, 312, 314, 317, 318, 321, 324, 375, 402, 405, 409, 415,
]  # fmt: skip
QUIET = ("silence", "noise", "music")
EMOTIONS = ("neutral", "happy", "sad", "surprised", "angry", "disgusted", "fearful", "contempt")


SETS = ("grid", "emodb", "ljspeech", "speech")  # the last one a folder of recordings with exact phones
Spoken = tuple[str, Path, list[Phone], str]  # name, file, phones, their alphabet


def recordings(data: Path, counts: dict[str, int], speech: str = "") -> Iterator[Spoken]:
    """Held-out recordings, so many of each of `SETS`; speech: folder of the last one."""
    held = json.loads((data / "splits.json").read_text())

    def some(names: list, kind: str) -> list:
        chosen = np.linspace(0, len(names) - 1, min(counts.get(kind, 0), len(names))).astype(int)
        return [names[i] for i in np.unique(chosen)]

    for name in some(sorted(held["grid"]), "grid"):
        yield f"grid-{name}", data / f"grid/audio/{name}.ogg", [], ""
    for name in some(sorted(held["emodb"]), "emodb"):
        phones = motion.read_emodb(data / f"emodb/phones/{name}.tsv")
        yield f"emodb-{name}", data / f"emodb/audio/{name}.flac", phones, "sampa"
    for name in some(sorted(held["ljspeech"]), "ljspeech"):
        phones = motion.read_textgrid(data / f"ljspeech/{name}.TextGrid")
        yield f"ljspeech-{name}", data / f"ljspeech/{name}.ogg", phones, "arpabet"
    if speech:
        for clip in some(corpus.exact(Path(speech)), "speech"):
            yield f"speech-{clip.name}", Path(speech) / f"{clip.name}.ogg", clip.phones, clip.alphabet


def quiet(out: Path) -> Iterator[Spoken]:
    """A second of silence, and 4 s each of noise and music without speech."""
    waves = dict(zip(QUIET, (np.zeros(16000, np.float32), *corpus.noise_waves(2, seed=12345)), strict=True))
    for name in QUIET:
        path = out / f"{name}.wav"
        with wave.open(str(path), "wb") as file:
            file.setparams((1, 2, 16000, 0, "NONE", ""))
            file.writeframes((waves[name] * 32767).astype("<i2").tobytes())
        yield name, path, [], ""


def render(
    data: Path,
    out: Path,
    counts: dict[str, int],
    emotions: list[str],
    *,
    speech: str = "",
    generator: str = "hef",
    size: int = 512,
    weights: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Videos of all recordings with each of `emotions`: neutral at intensity 1, others at 3. What exists is kept."""
    from ..api import EmoTalk

    out.mkdir(parents=True, exist_ok=True)
    spoken, listing = [*recordings(data, counts, speech), *quiet(out)], out / "phones.json"
    known = json.loads(listing.read_text()) if listing.exists() else {}
    new = {
        name: {"alphabet": alphabet, "phones": [(p.start, p.end, p.label) for p in phones]}
        for name, _, phones, alphabet in spoken
    }
    listing.write_text(json.dumps(known | new))
    talker = EmoTalk.load(weights, "cpu", generator)
    portrait = talker.portrait(data / "faces" / FACE)
    wanted = [
        (emotion, name, sound)
        for emotion in emotions
        for name, sound, *_ in spoken
        if emotion == "neutral" or name not in QUIET[1:]
    ]
    for i, (emotion, name, sound) in enumerate(wanted):
        (out / emotion).mkdir(exist_ok=True)
        video = out / emotion / f"{name}.mp4"
        if not video.exists():
            intensity = 1.0 if emotion == "neutral" else 3.0
            talker.generate(
                portrait, sound, emotion, video, intensity=intensity, size=size, pose="still", blink=0, sidecar=False
            )
        if progress is not None:
            progress(i + 1, len(wanted))


def shape(landmarks: np.ndarray) -> np.ndarray:
    """Inner-lip opening and outer mouth width in units of the outer eye distance: [...,478,2+] -> [...,2]."""

    def gap(a: int, b: int) -> np.ndarray:
        return np.linalg.norm(landmarks[..., a, :2] - landmarks[..., b, :2], axis=-1)

    return np.stack([gap(13, 14), gap(61, 291)], -1) / gap(33, 263)[..., None]


def track(video: Path, data: Path) -> np.ndarray:
    """Landmarks of every frame [T,478,2] px; frames without a face are NaN. Kept beside the video. data: the pack."""
    kept = video.with_suffix(".npy")
    if kept.exists() and kept.stat().st_mtime > video.stat().st_mtime:
        return np.load(kept)
    with landmarker(data) as find:
        found = [np.full((478, 2), np.nan) if (p := find(frame)) is None else p[:, :2] for frame in read_frames(video)]
    np.save(kept, np.stack(found))
    return np.stack(found)


def lagged(made: np.ndarray, real: np.ndarray, lag: int) -> float:
    """Pearson r of made[t + lag] with real[t]."""
    a = made[max(lag, 0) : len(made) + min(lag, 0)]
    b = real[max(-lag, 0) : len(real) + min(-lag, 0)]
    count = min(len(a), len(b))
    return float(np.corrcoef(a[:count], b[:count])[0, 1])


def jitter(landmarks: np.ndarray, points: list[int]) -> float:
    """Mean absolute second difference in thousandths of the face's width."""
    width = np.linalg.norm(landmarks[:, 234, :2] - landmarks[:, 454, :2], axis=-1).mean()
    return float(1000 * np.abs(np.diff(landmarks[:, points, :2], n=2, axis=0)).mean() / width)


class Tracked:
    """GRID's real talker, from the data pack's tracks."""

    def __init__(self, data: Path) -> None:
        tracks = np.load(data / "grid/tracks.npz")
        self.index, self.landmarks = tracks["landmark_index"], tracks["landmarks"]
        self.start = np.concatenate([[0], np.cumsum(tracks["length"])])
        self.row = {str(name): i for i, name in enumerate(tracks["name"])}

    def __getitem__(self, name: str) -> np.ndarray:
        """[T,478,2] px, NaN where a landmark is not in the pack."""
        first, last = self.start[self.row[name] : self.row[name] + 2]
        points = np.full((last - first, 478, 2), np.nan)
        points[:, self.index] = self.landmarks[first:last, :, :2]
        return points


def measure(data: Path, out: Path) -> dict[str, dict[str, float]]:
    """The figures of every emotion that was rendered in `out`, and the real talker's jitter as `tracked`."""
    real, kinds = Tracked(data), json.loads((out / "phones.json").read_text())
    seen = [int(i) for i in real.index]
    lips = [i for i in LIPS if i in seen]
    report: dict[str, dict[str, float]] = {}
    trembling: dict[str, list[float]] = {"jitter_lips": [], "jitter_all": []}
    for emotion in (name for name in EMOTIONS if (out / name).is_dir()):
        made = {video.stem: track(video, data) for video in sorted((out / emotion).glob("*.mp4"))}
        opening = {name: shape(points)[:, 0] for name, points in made.items()}
        rest = float(np.nanmin(opening["silence"])) if "silence" in opening else 0.0
        rows: dict[str, list[float]] = {}
        found = Articulation(CLOSED, 0.0)

        def note(key: str, value: float, rows: dict[str, list[float]] = rows) -> None:
            rows.setdefault(key, []).append(value)

        for name, points in made.items():
            gap = opening[name] - rest
            kind, _, clip = name.partition("-")
            if kind == "grid":
                truth = shape(real[clip])
                by_lag = {lag: lagged(gap, truth[:, 0], lag) for lag in LAGS}
                note("r_opening", by_lag[0])
                note("r_width", lagged(shape(points)[:, 1], truth[:, 1], 0))
                note("lag", max(by_lag, key=lambda lag: by_lag[lag]))
                note("jitter_lips", jitter(points, lips))
                note("jitter_all", jitter(points, seen))
                note("opening_speech", float(np.nanmean(gap)))
                if emotion == "neutral":
                    trembling["jitter_lips"].append(jitter(real[clip], lips))
                    trembling["jitter_all"].append(jitter(real[clip], seen))
            elif kind in SETS:
                phones = [Phone(*phone) for phone in kinds[name]["phones"]]
                found.add(gap, shape(points)[:, 1], phones, kinds[name]["alphabet"])
            elif kind == "silence":
                note("silence", float(np.nanmax(gap)))
                note("silence_motion", jitter(points, lips))
            else:
                note("noise_music", float(np.nanmean(gap)))
        report[emotion] = found.report() | {key: float(np.mean(values)) for key, values in rows.items()}
    report["tracked"] = {key: float(np.mean(values)) for key, values in trembling.items() if values}
    return report


def table(report: dict[str, dict[str, float]]) -> str:
    """Markdown, one row an emotion."""
    columns = list(dict.fromkeys(key for row in report.values() for key in row))
    lines = [f"| | {' | '.join(column.replace('_', ' ') for column in columns)} |", "|---" * (len(columns) + 1) + "|"]
    for name, row in report.items():
        lines.append(f"| {name} | {' | '.join(f'{row[c]:.3g}' if c in row else '' for c in columns)} |")
    return "\n".join(lines)
