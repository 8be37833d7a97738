"""Generated videos against real ones, by the field's measures (Tab. 1 of the paper).

Every video is read twice: for its landmarks, and for its pixels. Judges that the user has added (`published`) give
`fid`, `sync`, `csim` and `efd`. Without them judges from others' packages take over (`independent`: fid-lite0,
identity-dlib, efd-facex), and without those the project's own (fid-builtin and so on): other numbers under other names,
comparable among themselves only. Of the own ones, fid-builtin and efd-builtin use the face tracker, through which the
generator was trained: they flatter it.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import os
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import InputError, UsageError
from ..face.alignment import IBUG
from ..face.fit import crop_box, cut
from ..face.topology import OUTER_EYE_CORNERS
from ..face.tracker import FaceTracker
from ..media import audio
from ..models import added, checkpoints
from ..training.data.prepare import VIDEOS, frames_of, track
from . import independent, published
from .features import EmotionFeatures
from .lipsync import SyncJudge

METRICS = {  # name -> (what it says, whether more is better)
    "psnr": ("peak signal-to-noise ratio, dB", True),
    "ssim": ("structural similarity, 0..1", True),
    "fid": ("Fréchet distance of Inception features", False),
    "lmd": ("distance of mouth landmarks, px of a 256 px crop", False),
    "sync": ("SyncNet confidence", True),
    "csim": ("cosine of CurricularFace identities", True),
    "efd": ("distance of Emotion-FAN features", False),
    "fid-lite0": ("Fréchet distance of EfficientNet-Lite0's ImageNet features of the face", False),
    "perceptual-lite0": ("distance of EfficientNet-Lite0's feature maps of the face", False),
    "identity-dlib": ("distance of dlib's face descriptors; of one person below 0.6", False),
    "efd-facex": ("difference of the emotion probabilities that facex reads, 0..1", False),
    "jitter": ("trembling of rigid landmarks, thousandths of the eye distance", False),
    "fid-builtin": ("Fréchet distance of the tracker's features, through which the generator was trained", False),
    "sync-builtin": ("confidence of the own lip-sync judge, 0..2", True),
    "csim-builtin": ("cosine of the own identity embedding", True),
    "efd-builtin": ("difference of the tracker's expression scores, 0..1; the generator was trained through it", False),
}
STAND_INS = {"fid": "fid-lite0", "csim": "identity-dlib", "efd": "efd-facex"}  # of published judges
DEFAULT = ("psnr", "ssim", "fid", "lmd", "sync", "csim", "efd", "jitter")
FRECHET = ("fid", "fid-lite0", "fid-builtin")
JUDGED = {judge.metric: name for name, judge in published.JUDGES.items()}
OWN = {"sync-builtin": "sync.safetensors", "csim-builtin": "identity.safetensors"}  # judges that only measure
MOUTH = list(IBUG[48:])
RIGID = [33, 133, 362, 263, 168, 6, 197, 195, 5, 4]  # eye corners and nose: expression hardly moves them
AT_ONCE = 8  # frames
KEPT = 500  # real videos whose landmarks are kept
SIDE = 256  # px, of crops where two videos differ in size; also the unit of lmd


@dataclasses.dataclass
class Pair:
    """A generated video and the real one that it should be like."""

    name: str
    generated: Path
    reference: Path


@dataclasses.dataclass
class Watched:
    """What was read of one video of T frames.

    landmarks [T,478,3] px of its frames, scores [T,51], side: px of its face crop. seen: features of the frames so
    far, faces: [.,3,224,224] uint8 if SyncNet asks for them; see `add`.
    """

    landmarks: Tensor
    scores: Tensor
    side: float
    seen: list[dict[str, Tensor]] = dataclasses.field(default_factory=list)
    faces: list[Tensor] = dataclasses.field(default_factory=list)

    @classmethod
    def of(cls, landmarks: np.ndarray, scores: np.ndarray) -> Watched:
        """What the tracker found."""
        return cls(torch.from_numpy(landmarks), torch.from_numpy(scores), crop_box(np.median(landmarks, 0))[2])

    def add(self, judges: Judges, images: Tensor, landmarks: Tensor) -> None:
        """The next frames [B,3,H,W] in 0..1 with their landmarks [B,478,3] px."""
        self.seen.append(judges.see(images, landmarks))
        if judges.syncnet is not None:
            self.faces.append((published.sync_faces(images, landmarks) * 255).byte())

    def features(self) -> dict[str, Tensor]:
        """Judge -> [T,n]."""
        return {name: torch.cat([part[name] for part in self.seen]) for name in self.seen[0]}


@dataclasses.dataclass
class Result:
    """Figures of a set of pairs.

    rows: one a pair, metric -> value; mean: over the pairs (fid is of all frames together); reference: the same for
    the real videos, where that means something; curves: pair -> mouth opening [T] generated and real; strips: pair ->
    picture uint8 [H,W,3] of both, the real one above. notes: what the reader should know.
    """

    rows: dict[str, dict[str, float]]
    mean: dict[str, float]
    reference: dict[str, float]
    curves: dict[str, tuple[np.ndarray, np.ndarray]]
    strips: dict[str, np.ndarray]
    notes: list[str]


def resolve(names: Sequence[str], weights: str | os.PathLike[str] | None = None) -> tuple[list[str], list[str]]:
    """Metrics by their full names, and notes: those whose judge is not at hand become the project's own.

    Our own judges are in the folder of weights; what it lacks is left out. Raises UsageError if nothing is left.
    """
    found, notes = [], []
    shipped = checkpoints.index(checkpoints.weights_dir(weights))
    for name in names:
        if name not in METRICS:
            raise UsageError(f"--metrics {name} is unknown; choose from {', '.join(METRICS)}.")
        if name in JUDGED and not added.has(JUDGED[name]):
            other = STAND_INS.get(name)
            name = other if other is not None and independent.has(other) else f"{name}-builtin"
        file = OWN.get(name)
        if file is not None and file not in shipped:
            notes.append(f"{name} is left out: the weights have no {file}.")
        else:
            found.append(name)
    if not found:
        raise UsageError(f"--metrics leaves nothing to measure. {' '.join(notes)}")
    return list(dict.fromkeys(found)), notes


def pairs(generated: Path, reference: Path) -> list[Pair]:
    """Two videos, or those of two folders that have the same name. Raises InputError if nothing fits."""
    if generated.is_file() and reference.is_file():
        return [Pair(generated.stem, generated, reference)]
    for path in (generated, reference):
        if not path.exists():
            raise InputError(f"{path} does not exist; check the name.")
    if not (generated.is_dir() and reference.is_dir()):
        raise InputError(f"{generated} and {reference} must be two videos or two folders of videos.")
    mine, real = (
        {p.stem: p for p in sorted(d.iterdir()) if p.suffix.lower() in VIDEOS} for d in (generated, reference)
    )
    both = sorted(set(mine) & set(real))
    if not both:
        raise InputError(f"No video in {generated} has the name of one in {reference}; rename them alike.")
    return [Pair(name, mine[name], real[name]) for name in both]


class Judges:
    """The networks that the chosen metrics need, loaded once."""

    def __init__(self, metrics: Sequence[str], weights: Path | None = None, device: str = "cpu") -> None:
        self.metrics, self.device = list(metrics), torch.device(device)
        self.tracker = FaceTracker.load(weights, self.device)
        self.features: dict[str, Callable[[Tensor, Tensor], Tensor]] = {}
        self._tracked: OrderedDict[tuple[Path, int], tuple[np.ndarray, np.ndarray]] = OrderedDict()
        self.sync: SyncJudge | None = None
        self.syncnet: published.SyncNet | None = None
        for metric in metrics:
            if metric in ("fid", "csim", "efd"):
                judge = published.find(JUDGED[metric], self.device)
                assert judge is not None, "the metrics are of judges that are there"
                self.features[metric] = judge
            elif metric == "fid-lite0":
                self.features[metric] = self.lite0
            elif metric == "identity-dlib":
                self.features[metric] = independent.identity()
            elif metric == "efd-facex":
                self.features[metric] = independent.emotion()
            elif metric == "fid-builtin":
                self.features[metric] = EmotionFeatures("tracker").to(self.device)
            elif metric == "csim-builtin":
                self.features[metric] = _identity(weights, self.device)
            elif metric == "sync-builtin":
                self.sync = SyncJudge.load(weights)
            elif metric == "sync":
                judge = published.find(JUDGED[metric], self.device)
                assert isinstance(judge, published.SyncNet)
                self.syncnet = judge

    @functools.cached_property
    def lite0(self) -> independent.EfficientNetLite0:
        """The ImageNet judge, for two metrics."""
        return independent.EfficientNetLite0.load().to(self.device)

    def tracked(self, path: Path) -> tuple[np.ndarray, np.ndarray]:
        """`track` of a real video, which several generated ones are compared with; the last few are kept."""
        key = path.resolve(), path.stat().st_mtime_ns
        if key not in self._tracked:
            self._tracked[key] = track(self.tracker, path)
            while len(self._tracked) > KEPT:
                self._tracked.popitem(last=False)
        return self._tracked[key]

    @torch.inference_mode()
    def see(self, images: Tensor, landmarks: Tensor) -> dict[str, Tensor]:
        """Features of frames [B,3,H,W] in 0..1 with landmarks [B,478,3] px."""
        images, landmarks = images.to(self.device), landmarks.to(self.device)
        return {name: judge(images, landmarks).float().cpu() for name, judge in self.features.items()}

    @torch.inference_mode()
    def look(self, mine: Tensor, real: Tensor, landmarks: Tensor) -> Tensor:
        """perceptual-lite0 [B] of frames [B,3,H,W] in 0..1, cut by the real one's landmarks [B,478,3] px."""
        return self.lite0.distance(*(tensor.to(self.device) for tensor in (mine, real, landmarks))).cpu()


def _identity(weights: Path | None, device: torch.device) -> Callable[[Tensor, Tensor], Tensor]:
    from .identity import Identity, level

    network = Identity.load(weights).to(device)

    def embed(images: Tensor, landmarks: Tensor) -> Tensor:
        pictures = (images * 255).byte().permute(0, 2, 3, 1).cpu()
        faces = [level(picture, points) for picture, points in zip(pictures, landmarks.cpu(), strict=True)]
        return network(torch.stack(faces).to(device))

    return embed


def evaluate(
    found: Sequence[Pair],
    judges: Judges,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Result:
    """Measure all pairs; those that cannot be measured become notes. Raises InputError if that is so of all."""
    result = Result({}, {}, {}, {}, {}, [])
    features: dict[str, tuple[list[Tensor], list[Tensor]]] = {}
    alone: dict[str, list[float]] = {}
    for number, pair in enumerate(found):
        try:
            row, real, seen = _measure(pair, judges, result)
        except InputError as error:
            result.notes.append(f"{pair.name} is left out: {error}")
            continue
        finally:
            progress(number + 1, len(found))
        result.rows[pair.name] = row
        for name, value in real.items():
            alone.setdefault(name, []).append(value)
        for name in FRECHET:
            if name in seen[0]:
                for side, watched in zip(features.setdefault(name, ([], [])), seen, strict=True):
                    side.append(watched[name])
    if not result.rows:
        raise InputError(f"No pair could be measured. {result.notes[0]}")
    for name in judges.metrics:
        if name in features:
            made, true = (torch.cat(side) for side in features[name])
            if len(made) <= made.shape[1]:
                result.notes.append(
                    f"{name} rests on {len(made)} frames, fewer than its {made.shape[1]} features: biased."
                )
            result.mean[name] = frechet(made, true)
        elif values := [row[name] for row in result.rows.values() if name in row]:
            result.mean[name] = float(np.mean(values))
    result.reference = {name: float(np.mean(values)) for name, values in alone.items()}
    return result


def _measure(pair: Pair, judges: Judges, result: Result) -> tuple[dict, dict, tuple[dict, dict]]:
    """Figures of a pair, of its real video alone, and both videos' features."""
    paths = (pair.generated, pair.reference)
    tracked = [track(judges.tracker, pair.generated), judges.tracked(pair.reference)]
    lengths = [len(points) for points, _ in tracked]
    length = min(lengths)
    if max(lengths) - length > max(2, 0.1 * length):
        result.notes.append(f"{pair.name}: {max(lengths) - length} frames have no partner and are left out.")
    mine, real = both = [Watched.of(points[:length], scores[:length]) for points, scores in tracked]
    crop = len({next(frames_of(path)).shape for path in paths}) > 1
    if crop:
        result.notes.append(f"{pair.name}: the videos differ in size; both are cut to the face ({SIDE} px).")
    quality, strip = Quality(judges.metrics), []
    shown = set(np.linspace(0, length - 1, min(8, length)).astype(int).tolist())
    first, looks = 0, []
    for (my_images, my_points), (images, points) in zip(*[_chunks(p, w, crop) for p, w in zip(paths, both)]):
        quality.add(my_images, images)
        if "perceptual-lite0" in judges.metrics:
            looks.append(judges.look(my_images, images, points))
        mine.add(judges, my_images, my_points)
        real.add(judges, images, points)
        for k in range(len(images)):
            if first + k in shown:
                strip.append(torch.cat([_thumbnail(images[k]), _thumbnail(my_images[k])], 1))
        first += len(images)
    row = quality.figures()
    alone: dict[str, float] = {}
    for watched, path, figures in zip(both, paths, (row, alone)):
        if "jitter" in judges.metrics:
            figures["jitter"] = jitter(watched.landmarks)
        try:
            figures |= _synchrony(watched, path, judges)
        except InputError as error:
            result.notes.append(f"{pair.name}: {error}")
    if looks:
        row["perceptual-lite0"] = float(torch.cat(looks).mean())
    if "lmd" in judges.metrics:
        row["lmd"] = landmark_distance(mine.landmarks / mine.side * SIDE, real.landmarks / real.side * SIDE)
    if "efd-builtin" in judges.metrics:
        row["efd-builtin"] = float((mine.scores - real.scores).abs().mean())
    seen, truth = mine.features(), real.features()
    for name in ("efd", "efd-facex"):
        if name in seen:
            row[name] = float((seen[name] - truth[name]).abs().mean())
    if "identity-dlib" in seen:
        row["identity-dlib"] = float((seen["identity-dlib"] - truth["identity-dlib"]).norm(dim=1).mean())
    for name in ("csim", "csim-builtin"):
        if name in seen:
            row[name] = float((seen[name] * truth[name]).sum(1).mean())
    result.curves[pair.name] = (opening(mine.landmarks), opening(real.landmarks))
    result.strips[pair.name] = torch.cat(strip, 2).permute(1, 2, 0).numpy()
    return {name: row[name] for name in judges.metrics if name in row}, alone, (seen, truth)


def _synchrony(watched: Watched, path: Path, judges: Judges) -> dict[str, float]:
    if judges.sync is None and judges.syncnet is None:
        return {}
    wave = audio.load(path)[: len(watched.landmarks) * audio.SAMPLES_PER_FRAME]
    figures = {}
    if judges.sync is not None:
        figures["sync-builtin"], _ = judges.sync.judge(audio.log_mel(wave), audio.level(wave), watched.landmarks)
    if judges.syncnet is not None:
        figures["sync"], _ = judges.syncnet.judge(torch.cat(watched.faces).float() / 255, wave)
    return figures


def _chunks(path: Path, watched: Watched, crop: bool) -> Iterator[tuple[Tensor, Tensor]]:
    """A few frames at a time: pictures [B,3,H,W] in 0..1 and their landmarks [B,478,3] px; `crop`: of the face."""
    box = crop_box(watched.landmarks.median(0).values.numpy())
    frames, first = itertools.islice(frames_of(path), len(watched.landmarks)), 0
    while chunk := list(itertools.islice(frames, AT_ONCE)):
        points = watched.landmarks[first : first + len(chunk)]
        if crop:
            chunk = [cut(frame, box, SIDE) for frame in chunk]
            points = (points - points.new_tensor([box[0], box[1], 0])) * (SIDE / box[2])
        yield torch.from_numpy(np.stack(chunk)).permute(0, 3, 1, 2).float() / 255, points
        first += len(chunk)


def _thumbnail(picture: Tensor, height: int = 128) -> Tensor:
    """[3,H,W] in 0..1 -> uint8 [3,height,w]."""
    width = round(picture.shape[2] * height / picture.shape[1])
    small = nn.functional.interpolate(picture[None], (height, width), mode="area")[0]
    return (small * 255).byte()


class Quality:
    """PSNR and SSIM of frames that arrive in pieces: means over frames (torchmetrics)."""

    def __init__(self, metrics: Sequence[str]) -> None:
        self.metrics, self.frames = [m for m in metrics if m in ("psnr", "ssim")], 0
        self.sums: dict[str, float] = {}

    def add(self, mine: Tensor, real: Tensor) -> None:
        """Frames [B,3,H,W] in 0..1."""
        from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

        self.frames += len(mine)
        if "psnr" in self.metrics:
            each = peak_signal_noise_ratio(mine, real, 1.0, reduction="none", dim=(1, 2, 3))
            self.sums["psnr"] = self.sums.get("psnr", 0.0) + float(each.clamp(max=100.0).sum())  # equal: infinite
        if "ssim" in self.metrics:
            each = structural_similarity_index_measure(mine, real, data_range=1.0, reduction="none")
            self.sums["ssim"] = self.sums.get("ssim", 0.0) + float(each.sum())

    def figures(self) -> dict[str, float]:
        """Metric -> mean."""
        return {name: total / self.frames for name, total in self.sums.items()}


class _Given(nn.Module):
    """Features that are known already, where torchmetrics would compute them."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.num_features = count

    def forward(self, features: Tensor) -> Tensor:
        return features


def frechet(mine: Tensor, real: Tensor) -> float:
    """Fréchet distance of two sets of features [N,n], [M,n] (torchmetrics' FID). Raises InputError below two frames."""
    from torchmetrics.image.fid import FrechetInceptionDistance

    if min(len(mine), len(real)) < 2:
        raise InputError("fid needs at least two frames of each video.")
    distance = FrechetInceptionDistance(_Given(mine.shape[1]))
    distance.update(real, real=True)
    distance.update(mine, real=False)
    return float(distance.compute())


def landmark_distance(mine: Tensor, real: Tensor) -> float:
    """LMD (Chen et al. 2018): mean distance of 20 mouth points [T,478,2+], each mouth about its own middle."""
    a, b = (points[:, MOUTH, :2] - points[:, MOUTH, :2].mean(1, keepdim=True) for points in (mine, real))
    return float((a - b).norm(dim=2).mean())


def jitter(landmarks: Tensor) -> float:
    """Mean second difference of points that expression hardly moves, in thousandths of the outer eye distance."""
    points, (right, left) = landmarks[..., :2], OUTER_EYE_CORNERS
    eyes = (points[:, right] - points[:, left]).norm(dim=1).mean()
    return float(points[:, RIGID].diff(n=2, dim=0).norm(dim=2).mean() / eyes * 1000)


def opening(landmarks: Tensor) -> np.ndarray:
    """Inner-lip gap [T] in parts of the outer eye distance."""
    points, (right, left) = landmarks[..., :2], OUTER_EYE_CORNERS
    gap = (points[:, 13] - points[:, 14]).norm(dim=1)
    return (gap / (points[:, right] - points[:, left]).norm(dim=1)).numpy()
