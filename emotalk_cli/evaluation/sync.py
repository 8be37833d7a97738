"""Lips against sound, on generated videos.

`python -m emotalk_cli.evaluation.sync render --data DIR --out RUN` speaks held-out recordings (GRID, EmoDB, LJSpeech),
a second of silence, noise and music with a held-out face, neutral and with every basic emotion at intensity 3.
`python -m emotalk_cli.evaluation.sync measure --data DIR --out RUN`, in an environment with mediapipe and opencv (torch
is not needed there), tracks the videos with the data pack's landmarker and prints the table:

r opening, r width   Pearson r with the real talker's mouth over each GRID clip, mean over clips; lag: where r is best
closed               share of /p b m/ (EmoDB, LJSpeech) with lips nearer than `CLOSED` within `NEAR` of the phone
vowels shut          share of open vowels in whose middle lips are nearer than that
open / closed        mean opening in the middle of open vowels, and smallest on /p b m/
silence, noise       largest opening in silence; mean opening in noise and music
jitter               mean |second difference| of lip and of all landmarks in thousandths of the face's width

Distances are inner-lip distances in outer eye distances (about 9 cm) beyond the smallest in the clip of silence.
"""

from __future__ import annotations

import argparse
import json
import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..media.ffmpeg import read_frames
from ..settings import GenerateOptions

FACE = "london_neutral/014_03.jpg"
CLOSED = 0.02  # outer eye distances, 1.8 mm
NEAR = 0.06  # s
SHORTEST = 0.03  # s, of a vowel that must be seen open
FPS = 25
LAGS = range(-3, 4)
LIPS = [
    0, 13, 14, 17, 37, 39, 40, 61, 78, 80, 81, 82, 84, 87, 88, 91, 95, 146, 178, 181, 185, 191, 267, 269, 270, 291,
    308, 310, 311, 312, 314, 317, 318, 321, 324, 375, 402, 405, 409, 415,
]  # fmt: skip
QUIET = ("silence", "noise", "music")
EMOTIONS = ("neutral", "happy", "sad", "surprised", "angry", "disgusted", "fearful", "contempt")


def recordings(data: Path, counts: dict[str, int]) -> Iterator[tuple[str, Path, list[tuple[float, float, str]]]]:
    """Held-out recordings: name, file, and times of "closed" and "open" phones."""
    from ..training.data import motion

    held = json.loads((data / "splits.json").read_text())

    def some(names: list[str], count: int) -> list[str]:
        chosen = np.linspace(0, len(names) - 1, min(count, len(names))).astype(int)
        return [names[i] for i in np.unique(chosen)]

    for name in some(sorted(held["grid"]), counts["grid"]):
        yield f"grid-{name}", data / f"grid/audio/{name}.ogg", []
    sets = (("emodb", motion.read_emodb, "sampa"), ("ljspeech", motion.read_textgrid, "arpabet"))
    for folder, read, alphabet in sets:
        for name in some(sorted(held[folder]), counts[folder]):
            if folder == "emodb":
                sound, phones = data / f"emodb/audio/{name}.flac", read(data / f"emodb/phones/{name}.tsv")
            else:
                sound, phones = data / f"ljspeech/{name}.ogg", read(data / f"ljspeech/{name}.TextGrid")
            kinds = []
            for phone in phones:
                visemes = motion.visemes_of(phone.label, alphabet)
                if visemes == ("bilabial",):
                    kinds.append((phone.start, phone.end, "closed"))
                elif visemes and visemes[0] in ("open", "open front") and phone.end - phone.start > SHORTEST:
                    kinds.append((phone.start, phone.end, "open"))
            yield f"{folder}-{name}", sound, kinds


def quiet(out: Path) -> Iterator[tuple[str, Path, list]]:
    """A second of silence, and 4 s each of noise and music without speech."""
    from ..training.data.corpus import noise_waves

    waves = dict(zip(QUIET, (np.zeros(16000, np.float32), *noise_waves(2, seed=12345)), strict=True))
    for name in QUIET:
        path = out / f"{name}.wav"
        with wave.open(str(path), "wb") as file:
            file.setparams((1, 2, 16000, 0, "NONE", ""))
            file.writeframes((waves[name] * 32767).astype("<i2").tobytes())
        yield name, path, []


def render(data: Path, out: Path, counts: dict[str, int], emotions: list[str], generator: str, weights) -> None:
    """Videos of all recordings with each of `emotions`: neutral at intensity 1, others at 3. What exists is kept."""
    from ..api import EmoTalk

    out.mkdir(parents=True, exist_ok=True)
    spoken, listing = [*recordings(data, counts), *quiet(out)], out / "phones.json"
    known = json.loads(listing.read_text()) if listing.exists() else {}
    listing.write_text(json.dumps(known | {name: kinds for name, _, kinds in spoken}))
    talker = EmoTalk.load(weights, "cpu", generator)
    portrait = talker.portrait(data / "faces" / FACE)
    for emotion in emotions:
        (out / emotion).mkdir(exist_ok=True)
        for name, sound, _ in spoken:
            video = out / emotion / f"{name}.mp4"
            needless = emotion != "neutral" and name in QUIET[1:]
            if not video.exists() and not needless:
                intensity = 1.0 if emotion == "neutral" else 3.0
                options: GenerateOptions = {"intensity": intensity, "pose": "still", "blink": 0, "sidecar": False}
                talker.generate(portrait, sound, emotion, video, **options)


def shape(landmarks: np.ndarray) -> np.ndarray:
    """Inner-lip opening and outer mouth width in units of the outer eye distance: [...,478,2+] -> [...,2]."""

    def gap(a: int, b: int) -> np.ndarray:
        return np.linalg.norm(landmarks[..., a, :2] - landmarks[..., b, :2], axis=-1)

    return np.stack([gap(13, 14), gap(61, 291)], -1) / gap(33, 263)[..., None]


def track(video: Path, model: Path) -> np.ndarray:
    """Landmarks of every frame [T,478,2] px; frames without a face are NaN. Kept beside the video."""
    kept = video.with_suffix(".npy")
    if kept.exists() and kept.stat().st_mtime > video.stat().st_mtime:
        return np.load(kept)
    import mediapipe as mp

    options = mp.tasks.vision.FaceLandmarkerOptions(
        base_options=mp.tasks.BaseOptions(model_asset_path=str(model)), num_faces=1
    )
    found = []
    with mp.tasks.vision.FaceLandmarker.create_from_options(options) as landmarker:
        for frame in read_frames(video):
            picture = mp.Image(image_format=mp.ImageFormat.SRGB, data=frame)
            faces = landmarker.detect(picture).face_landmarks
            size = np.array([frame.shape[1], frame.shape[0]])
            points = [[p.x, p.y] for p in faces[0]] if faces else np.full((478, 2), np.nan)
            found.append(np.asarray(points) * size)
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
    seen, model = [int(i) for i in real.index], data / "teachers/face_landmarker.task"
    lips = [i for i in LIPS if i in seen]
    report: dict[str, dict[str, float]] = {}
    trembling: dict[str, list[float]] = {"jitter_lips": [], "jitter_all": []}
    for emotion in (name for name in EMOTIONS if (out / name).is_dir()):
        made = {video.stem: track(video, model) for video in sorted((out / emotion).glob("*.mp4"))}
        opening = {name: shape(points)[:, 0] for name, points in made.items()}
        rest = float(np.nanmin(opening["silence"])) if "silence" in opening else 0.0
        rows: dict[str, list[float]] = {}

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
            elif kind in ("emodb", "ljspeech"):
                note("opening_speech", float(np.nanmean(gap)))
                for start, end, wanted in kinds[name]:
                    if end > len(gap) / FPS:
                        continue
                    if wanted == "closed":
                        near = gap[max(0, int((start - NEAR) * FPS)) : int((end + NEAR) * FPS) + 1]
                        note(f"{kind}_closed", float(np.nanmin(near) < CLOSED))
                        note("gap_closed", max(0.0, float(np.nanmin(near))))
                    else:
                        note("gap_open", float(gap[min(len(gap) - 1, int((start + end) / 2 * FPS))]))
                        note("vowels_shut", float(rows["gap_open"][-1] < CLOSED))
            elif kind == "silence":
                note("silence", float(np.nanmax(gap)))
                note("silence_motion", jitter(points, lips))
            else:
                note("noise_music", float(np.nanmean(gap)))
        report[emotion] = {key: float(np.mean(values)) for key, values in rows.items()}
    report["tracked"] = {key: float(np.mean(values)) for key, values in trembling.items() if values}
    return report


def table(report: dict[str, dict[str, float]]) -> str:
    """Markdown, one row an emotion."""
    columns = list(dict.fromkeys(key for row in report.values() for key in row))
    lines = [f"| | {' | '.join(column.replace('_', ' ') for column in columns)} |", "|---" * (len(columns) + 1) + "|"]
    for name, row in report.items():
        lines.append(f"| {name} | {' | '.join(f'{row[c]:.3g}' if c in row else '' for c in columns)} |")
    return "\n".join(lines)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=("render", "measure"))
    parser.add_argument("--data", type=Path, required=True, help="the training data pack")
    parser.add_argument("--out", type=Path, required=True, help="folder of the videos")
    parser.add_argument("--grid", type=int, default=12, help="clips of GRID")
    parser.add_argument("--emodb", type=int, default=16, help="clips of EmoDB")
    parser.add_argument("--ljspeech", type=int, default=4, help="clips of LJSpeech")
    parser.add_argument("--emotions", nargs="+", choices=EMOTIONS, default=list(EMOTIONS))
    parser.add_argument("--generator", choices=("hef", "geometry"), default="hef")
    parser.add_argument("--weights", type=Path)
    o = parser.parse_args()
    if o.step == "render":
        counts = {"grid": o.grid, "emodb": o.emodb, "ljspeech": o.ljspeech}
        render(o.data, o.out, counts, o.emotions, o.generator, o.weights)
        return
    report = measure(o.data, o.out)
    (o.out / "report.json").write_text(json.dumps(report, indent=1) + "\n")
    print(table(report))


if __name__ == "__main__":
    main()
