"""Filmed data sets, as they are distributed, become prepared clips (`shards`): `emotalk train prepare`.

Each video is tracked twice over: first for the landmarks and one crop that suits all frames, then for the pixels.
Clips are made in parallel and one by one complete, so an interrupted run goes on where it stopped. A clip that
cannot be used is left out and named in `report.json` with the reason.
"""

from __future__ import annotations

import csv
import dataclasses
import functools
import hashlib
import io
import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ...errors import EmoTalkError, InputError, UsageError
from ...face.fit import Pose, crop_box, cut, fit_appearance, fit_clip
from ...face.model import FaceModel
from ...face.tracker import Face, FaceTracker
from ...media import audio
from ...media.ffmpeg import read_frames
from ...media.files import replaced
from ...motion.take import nearest_of
from . import shards
from .shards import Labels

REPORT = "report.json"
VIDEOS = (".mp4", ".mov", ".mkv", ".avi", ".mpg", ".mpeg", ".flv", ".webm", ".m4v")
SHORTEST = 8  # frames
LONGEST = 60  # seconds; longer files are cut there
MISSING = 0.1  # share of frames that may be without a face
MIN_FACE = 48  # px
TRACKED_AT_ONCE = 16  # frames
FORMAT = 2  # of prepared clips: older ones are made again

EMOTIONS = {"contempt": "contempt", "contemptuous": "contempt", "disgust": "disgusted", "fear": "fearful",
            "anger": "angry", "surprise": "surprised", "happiness": "happy", "sadness": "sad"}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Source:
    """A clip to be made: its labels, and its sound if that is another file."""

    labels: Labels
    video: Path
    sound: Path


# --- layouts ------------------------------------------------------------------------------------------------------


def mead(root: Path) -> list[Source]:
    """MEAD: <subject>/video/front/<emotion>/level_N/NNN.mp4 with <subject>/audio/<emotion>/level_N/NNN.m4a.

    The paper trains on 36 identities chosen at random and tests on the rest, M003 among them; which 36 is not
    published, so they are chosen by a hash of the name. With fewer subjects at hand three quarters train.
    """
    found = []
    for video in sorted(root.glob("*/video/front/*/level_*/*")):
        if video.suffix.lower() not in VIDEOS:
            continue
        level, emotion, subject = video.parent.name, video.parent.parent.name, video.parents[4].name
        sound = next(iter(sorted((root / subject / "audio" / emotion / level).glob(f"{video.stem}.*"))), video)
        name = f"{subject}-{emotion}-{level}-{video.stem}"
        intensity = float(level.removeprefix("level_")) if level.removeprefix("level_") in "123" else 2.0
        labels = Labels(name, subject, _emotion(emotion), intensity, "", str(video.relative_to(root)))
        found.append(Source(labels, video, sound))
    return _split(found, 36, "M003")


def crema_d(root: Path) -> list[Source]:
    """CREMA-D: VideoFlash/1001_DFA_ANG_XX.flv (actor, sentence, emotion, level), sound in AudioWAV/ or in the video."""
    emotions = {"ANG": "angry", "DIS": "disgusted", "FEA": "fearful", "HAP": "happy", "NEU": "neutral", "SAD": "sad"}
    levels = {"LO": 1.0, "MD": 2.0, "HI": 3.0}
    found = []
    for video in _videos(root):
        named = re.fullmatch(r"(\d{4})_([A-Z]{3})_([A-Z]{3})_?([A-Z]{2})?", video.stem)
        if not named or named[3] not in emotions:
            continue
        sound = next((p for p in (root / "AudioWAV").glob(f"{video.stem}.*")), video)
        labels = Labels(video.stem, named[1], emotions[named[3]], levels.get(named[4], 2.0), "", "")
        labels.source = str(video.relative_to(root))
        found.append(Source(labels, video, sound))
    return _split(found)


def ravdess(root: Path) -> list[Source]:
    """RAVDESS: Actor_NN/01-01-EE-II-SS-RR-AA.mp4, speech with sound only; normal intensity is 2, strong 3."""
    emotions = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgusted", "surprised")
    found = []
    for video in _videos(root):
        named = re.fullmatch(r"01-01-0([1-8])-0([12])-\d\d-\d\d-(\d\d)", video.stem)
        if not named:
            continue
        labels = Labels(video.stem, named[3], emotions[int(named[1]) - 1], float(named[2]) + 1, "", "")
        labels.source = str(video.relative_to(root))
        found.append(Source(labels, video, video))
    return _split(found)


def folder(root: Path, table: Path | None = None) -> list[Source]:
    """Any videos in a folder and below. Sound: the video's, or a file of the same name with another ending.

    table: CSV with the columns file, and any of subject, emotion, intensity, split; only its files are taken. Without
    one, clips are neutral, the subject is the file's folder, and a tenth of the clips, chosen by name, are tests.
    """
    rows = None
    if table is not None:
        try:
            with open(table, newline="") as file:
                rows = {row["file"]: row for row in csv.DictReader(file)}
        except (OSError, KeyError, UnicodeDecodeError, csv.Error) as error:
            raise InputError(f"{table} is no CSV table with a column `file`; correct it.") from error
    found = []
    for video in _videos(root):
        place = video.relative_to(root)
        row = {} if rows is None else rows.get(str(place)) or rows.get(place.stem)
        if row is None:
            continue
        split = row.get("split") or ("test" if _hash(str(place)) % 10 == 0 else "train")
        if split not in shards.SPLITS:
            raise InputError(f"{table}: {place} has the split {split}; write train or test.")
        try:
            intensity = float(row.get("intensity") or 1)
        except ValueError as error:
            raise InputError(f"{table}: {place} has the intensity {row['intensity']}; write 1 to 3.") from error
        sounds = (p for p in sorted(video.parent.glob(f"{glob_escape(video.stem)}.*")) if p.suffix in (".wav", ".flac"))
        name = re.sub(r"[^\w.-]+", "-", str(place.with_suffix("")))
        subject = row.get("subject") or (place.parent.name or root.resolve().name)
        labels = Labels(name, subject, _emotion(row.get("emotion") or "neutral"), intensity, split, str(place))
        found.append(Source(labels, video, next(sounds, video)))
    return found


def glob_escape(text: str) -> str:
    """A file name as a glob pattern that matches only itself."""
    return re.sub(r"([*?[])", r"[\1]", text)


LAYOUTS: dict[str, Callable[..., list[Source]]] = {
    "mead": mead,
    "crema-d": crema_d,
    "ravdess": ravdess,
    "folder": folder,
}


def _videos(root: Path) -> list[Path]:
    return sorted(p for p in root.rglob("*") if p.suffix.lower() in VIDEOS and p.is_file())


def _emotion(word: str) -> str:
    return EMOTIONS.get(word.lower(), word.lower())


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def _split(sources: list[Source], training: int | None = None, tested: str = "") -> list[Source]:
    """Label each subject's clips train or test: no subject is in both."""
    subjects = sorted({s.labels.subject for s in sources} - {tested}, key=_hash)
    count = len(subjects) * 3 // 4
    if training is not None and len(subjects) > training:
        count = training
    trained = set(subjects[:count]) or set(subjects)
    for source in sources:
        source.labels.split = "train" if source.labels.subject in trained else "test"
    return sources


# --- one clip -----------------------------------------------------------------------------------------------------


def frames_of(video: Path) -> Iterator[np.ndarray]:
    """Frames of a video at 25 frames/s, uint8 [H,W,3], at most `LONGEST` seconds. Raises InputError."""
    return read_frames(video, audio.FPS, LONGEST, cut=True)


def track(tracker: FaceTracker, video: Path) -> tuple[np.ndarray, np.ndarray]:
    """Landmarks [T,478,3] px and expression scores [T,51] of the face that a video shows; gaps are filled.

    Raises InputError for a video that is too short, damaged or shows no face.
    """
    faces: list[Face | None] = []
    chunk: list[np.ndarray] = []
    for frame in frames_of(video):
        chunk.append(frame)
        if len(chunk) == TRACKED_AT_ONCE:
            faces += tracker.track(chunk, faces[-1] if faces else None)
            chunk = []
    if chunk:
        faces += tracker.track(chunk, faces[-1] if faces else None)
    seen = [i for i, face in enumerate(faces) if face is not None]
    if len(faces) < SHORTEST:
        raise InputError(f"{video} has only {len(faces)} frames.")
    if len(seen) < (1 - MISSING) * len(faces):
        raise InputError(f"{video} shows a face in only {len(seen)} of {len(faces)} frames.")
    known, scores = (np.stack([getattr(faces[i], name) for i in seen]) for name in ("landmarks", "blendshapes"))
    if (side := np.median(np.ptp(known[..., :2], axis=1).max(1))) < MIN_FACE:
        raise InputError(f"{video} shows a face of only {side:.0f} px.")
    nearest = np.searchsorted(seen, nearest_of(np.array(seen), len(faces)))
    return known[nearest], scores[nearest]


@torch.inference_mode()
def make_clip(source: Source, out: Path, size: int, tracker: FaceTracker, model: FaceModel) -> Path:
    """Track, crop and write one clip. Raises InputError if it cannot be used."""
    wave = audio.load(source.sound, LONGEST)
    points, scores = track(tracker, source.video)
    length = min(len(points), len(wave) // audio.SAMPLES_PER_FRAME)
    if length < SHORTEST or abs(len(points) - len(wave) / audio.SAMPLES_PER_FRAME) > max(12, 0.3 * len(points)):
        raise InputError(f"{source.video} has {len(points) / audio.FPS:.1f} s of picture and "
                         f"{len(wave) / audio.SAMPLE_RATE:.1f} s of sound.")  # fmt: skip
    points = points[:length]
    left, top, side = box = crop_box(np.median(points, 0))
    frames = []
    for number, frame in enumerate(frames_of(source.video)):
        if number == length:
            break
        crop = cut(frame, box, size)
        file = io.BytesIO()
        Image.fromarray(crop).save(file, "JPEG", quality=shards.JPEG_QUALITY)
        frames.append(file.getvalue())
        if number == length // 2:
            middle = torch.tensor(crop).permute(2, 0, 1).float() / 255
    placed = torch.tensor((points - [left, top, 0]) * (size / side), dtype=torch.float32)
    alpha, beta, pose = fit_clip(model, placed)
    at = slice(length // 2, length // 2 + 1)
    middle_pose = Pose(pose.rotation[at], pose.scale[at], pose.translation[at])
    delta, gamma = fit_appearance(model, middle, placed[length // 2], beta[length // 2], middle_pose)
    fitted: dict[str, Tensor] = {
        "landmarks": placed,
        "alpha": alpha,
        "beta": beta,
        "delta": delta[0],
        "gamma": gamma[0],
    }
    fitted |= {"pose": pose.vector(size), "scores": torch.from_numpy(scores[:length])}
    wave = wave[: length * audio.SAMPLES_PER_FRAME]
    return shards.write(out, source.labels, frames, wave, fitted, size, _made_from(source, size))


def _made_from(source: Source, size: int) -> str:
    """What a prepared clip depends on: changes when the files or the options do."""
    files = [(str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in (source.video, source.sound)]
    return hashlib.sha256(json.dumps([FORMAT, files, size, dataclasses.asdict(source.labels)]).encode()).hexdigest()


# --- all clips ----------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Report:
    """What became of the clips: `made` and `kept` from an earlier run, and `bad` name -> reason."""

    made: list[str]
    kept: list[str]
    bad: dict[str, str]


@functools.cache
def _models(weights: str | None) -> tuple[FaceTracker, FaceModel]:
    return FaceTracker.load(weights), FaceModel.load(weights)


def _start() -> None:
    """A worker process: one thread each, and ctrl-C is the parent's."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _work(source: Source, out: Path, size: int, weights: str | None) -> str | None:
    """In a worker process: None, or why the clip is bad."""
    try:
        make_clip(source, out, size, *_models(weights))
    except EmoTalkError as error:
        return str(error)
    return None


def prepare(
    sources: list[Source],
    out: Path,
    size: int = 512,
    jobs: int = 0,
    weights: str | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Report:
    """Make all clips that `out` does not hold yet, in `jobs` processes (0: as many as cores), then its index.

    Raises UsageError if there is nothing to prepare, EmoTalkError if no clip could be used.
    """
    if not sources:
        raise UsageError("No clips of this layout were found; check --data and the name of the data set.")
    if not 64 <= size <= 1024 or size % 2:
        raise UsageError(f"--size {size} is outside 64..1024 or odd; the models are trained at 512.")
    if len({s.labels.name for s in sources}) < len(sources):
        raise InputError("Two clips have the same name; rename one of them.")
    out.mkdir(parents=True, exist_ok=True)
    report, left = Report([], [], {}), []
    for source in sources:
        path = shards.path_of(out, source.labels.name)
        if path.exists() and _intact(path, _made_from(source, size)):
            report.kept.append(source.labels.name)
        else:
            left.append(source)
    jobs = min(jobs or os.cpu_count() or 1, len(left))
    progress(len(report.kept), len(sources))
    if left:
        with ProcessPoolExecutor(jobs, get_context("spawn"), _start) as pool:
            futures = {pool.submit(_work, source, out, size, weights): source.labels.name for source in left}
            try:
                for done, future in enumerate(as_completed(futures), 1):
                    reason = future.result()
                    if reason is None:
                        report.made.append(futures[future])
                    else:
                        report.bad[futures[future]] = reason
                    progress(len(report.kept) + done, len(sources))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    report.made.sort()
    with replaced(out / REPORT) as part:
        part.write_text(json.dumps(dataclasses.asdict(report), indent=1, sort_keys=True) + "\n")
    if not report.made and not report.kept:
        raise EmoTalkError(f"None of {len(sources)} clips could be used; {out / REPORT} says why.")
    shards.write_index(out)
    return report


def _intact(path: Path, made: str) -> bool:
    try:
        return shards.Shard(path).made == made
    except InputError:
        return False
