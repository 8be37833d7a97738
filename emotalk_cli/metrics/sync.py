"""Lips against sound, on generated videos.

`python -m emotalk_cli.metrics.sync render --data DIR --out RUN [--clips 20]` speaks held-out GRID audio with a
held-out face (and a second of silence); `python -m emotalk_cli.metrics.sync measure --data DIR --out RUN`, in an
environment with mediapipe and opencv, tracks the videos with the data pack's landmarker and compares the mouth with
the real talker's: Pearson r of opening and width, the lag at which r is best, and the opening in silence.
"""

from __future__ import annotations

import argparse
import json
import wave
from pathlib import Path

import numpy as np

FACE = "london_neutral/014_03.jpg"
SILENCE = "silence"
LAGS = range(-3, 4)


def render(
    data: Path, out: Path, clips: int, emotion: str, intensity: float, generator: str, weights: Path | None
) -> None:
    """One video a clip, in `out`."""
    from ..pipeline import EmoTalk

    out.mkdir(parents=True, exist_ok=True)
    with wave.open(str(out / f"{SILENCE}.wav"), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes(bytes(2 * 16000))
    held_out = json.loads((data / "splits.json").read_text())["grid"]
    names = [held_out[i] for i in np.linspace(0, len(held_out) - 1, clips).astype(int)]
    talker = EmoTalk.load(weights, "cpu", generator)
    portrait = talker.portrait(data / "faces" / FACE)
    for name in [*dict.fromkeys(names), SILENCE]:
        audio = out / f"{SILENCE}.wav" if name == SILENCE else data / f"grid/audio/{name}.ogg"
        talker.generate(portrait, audio, emotion, out / f"{name}.mp4", intensity=intensity, pose="still", blink=0)


def shape(landmarks: np.ndarray) -> np.ndarray:
    """Inner-lip opening and outer mouth width in units of the outer eye distance: [...,478,2+] -> [...,2]."""

    def gap(a: int, b: int) -> np.ndarray:
        return np.linalg.norm(landmarks[..., a, :2] - landmarks[..., b, :2], axis=-1)

    return np.stack([gap(13, 14), gap(61, 291)], -1) / gap(33, 263)[..., None]


def track(video: Path, model: Path) -> np.ndarray:
    """Landmarks of every frame [T,478,2] px; frames without a face are NaN."""
    import cv2
    import mediapipe as mp

    options = mp.tasks.vision.FaceLandmarkerOptions(
        base_options=mp.tasks.BaseOptions(model_asset_path=str(model)), num_faces=1
    )
    capture, found = cv2.VideoCapture(str(video)), []
    with mp.tasks.vision.FaceLandmarker.create_from_options(options) as landmarker:
        while True:
            ok, frame = capture.read()
            if not ok:
                break
            picture = mp.Image(image_format=mp.ImageFormat.SRGB, data=np.ascontiguousarray(frame[..., ::-1]))
            faces = landmarker.detect(picture).face_landmarks
            size = np.array([frame.shape[1], frame.shape[0]])
            points = [[p.x, p.y] for p in faces[0]] if faces else np.full((478, 2), np.nan)
            found.append(np.asarray(points) * size)
    return np.stack(found)


def lagged(made: np.ndarray, real: np.ndarray, lag: int) -> float:
    """Pearson r of made[t + lag] with real[t]."""
    a = made[max(lag, 0) : len(made) + min(lag, 0)]
    b = real[max(-lag, 0) : len(real) + min(-lag, 0)]
    count = min(len(a), len(b))
    return float(np.corrcoef(a[:count], b[:count])[0, 1])


def measure(data: Path, out: Path) -> dict[str, float]:
    """The figures over all videos in `out`."""
    tracks = np.load(data / "grid/tracks.npz")
    start = np.concatenate([[0], np.cumsum(tracks["length"])])
    row = {str(n): i for i, n in enumerate(tracks["name"])}
    full = np.full((478, 2), np.nan)
    rows, silent = [], float("nan")
    for video in sorted(out.glob("*.mp4")):
        made = shape(track(video, data / "teachers/face_landmarker.task"))
        if video.stem == SILENCE:
            silent = float(np.nanmean(made[:, 0]))
            continue
        clip = tracks["landmarks"][start[row[video.stem]] : start[row[video.stem] + 1]].astype(np.float64)
        points = np.repeat(full[None], len(clip), 0)
        points[:, tracks["landmark_index"]] = clip[..., :2]
        real = shape(points)
        by_lag = {lag: lagged(made[:, 0], real[:, 0], lag) for lag in LAGS}
        rows.append([by_lag[0], lagged(made[:, 1], real[:, 1], 0), max(by_lag, key=by_lag.get), np.nanmean(made[:, 0])])
    opening, width, lag, mean = np.array(rows).T
    return {
        "clips": len(rows),
        "r_opening": round(float(opening.mean()), 3),
        "r_opening_worst": round(float(opening.min()), 3),
        "r_width": round(float(width.mean()), 3),
        "best_lag_frames": round(float(lag.mean()), 2),
        "opening_speech": round(float(mean.mean()), 4),
        "opening_silence": round(silent, 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("step", choices=("render", "measure"))
    parser.add_argument("--data", type=Path, required=True, help="the training data pack")
    parser.add_argument("--out", type=Path, required=True, help="folder of the videos")
    parser.add_argument("--clips", type=int, default=20)
    parser.add_argument("--emotion", default="neutral")
    parser.add_argument("--intensity", type=float, default=2.0)
    parser.add_argument("--generator", choices=("hef", "geometry"), default="hef")
    parser.add_argument("--weights", type=Path)
    o = parser.parse_args()
    if o.step == "render":
        render(o.data, o.out, o.clips, o.emotion, o.intensity, o.generator, o.weights)
    else:
        print(json.dumps(measure(o.data, o.out)))


if __name__ == "__main__":
    main()
