"""Training samples for HEF: a source, the geometry that drives it, and a real photo as the target.

Kinds of sample, by what they teach (each is a file name's first part):
  smile, unsmile: one person neutral and smiling, the two real photos, both ways (London).
  talk, hush, blink: two moments of one GRID clip: lips shut to open, open to shut, eyes open to shut.
  back-open, back-shut: back-translation. The source is the photo warped and shaded by the geometry to another
    expression and head pose, the driven geometry is the way back, so that every target is a real photo. Targets that
    are open teach mouth interiors; shut ones teach to close a smile and to take its folds away.
  act: a photo driven by EAC to an emotion, mid-speech. There is no photo of it: the target is the geometry's frame,
    which counts little, and the file's name says what should be read from the face.
In all others geometry is driven by the target's own landmarks, so that it lies where the target's face lies.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from ...constants import CROP_SIZE
from ...emotions.prototypes import BASICS, PROTOTYPES
from ...face.fit import PortraitFit, align, expression_ridge, fit_portrait, snap_lids
from ...face.geometry import FaceMotion, Geometry, still
from ...face.model import FaceModel
from ...face.procrustes import similarity_of_arrays
from ...face.topology import EXPRESSION_NAMES, INDEX, INNER_LIPS, OUTER_EYE_CORNERS
from ...media.ffmpeg import read_frames
from ...models.hef import HEF
from . import arrays
from .filmed import LEFT_LIDS, LIPS, RIGHT_LIDS, clips

NEUTRAL, SMILING = "london_neutral", "london_smiling"
VALIDATION = ("001", "011", "037", "034", "062", "101")  # people of the training split kept for validation
STABLE = [33, 133, 362, 263, 168, 6, 197, 195, 5, 4, 10, 109, 338, 127, 356]  # hardly moved by expression
OPEN = 0.03  # inner-lip gap / distance of the outer eye corners from which a mouth shows an inside
COLORED = ("source", "target", "rendered", "interior", "eyeballs")
RATIO_LOW, RATIO_SPAN = 0.45, 1.35
MOUTH_NAMES = [n for n in EXPRESSION_NAMES if n.startswith(("mouth", "jaw")) and "Smile" not in n]
KINDS = ("unsmile", "smile", "back-shut", "back-open", "talk", "hush", "blink", "act")
ACT_FACES, ACT_EMOTIONS = 100, 4  # photos besides the smiling ones of London; emotions a photo
SMILE_ACTS = ("neutral", "sad", "angry")  # that a smiling photo must be made to show
ACT_SPEECH = ("ljspeech/*.ogg", "emodb/audio/*.flac")  # the first recording of the training split of each
TALK_FRAMES = 3  # open-mouthed moments taken from a clip
BLINK = 0.4  # lid gap, of the clip's median, below which eyes are shut
LANDMARK_NOISE = 1.2  # px by which a landmarker may misplace a row of inner-lip points
MATCH_RADIUS, MATCH_LIMIT = 8, 5.0  # px of half size: window of the optical flow; px: most that it may correct
MATCH_STEP = 4  # px a stored value of it covers
COMPLETE = "complete"  # file of a cache in which nothing is missing
SPREAD = 0.8  # cm over which a tracked point corrects its untracked neighbours


class LandmarkMotion(FaceMotion):
    """Geometry that moves a portrait onto given landmarks instead of by expression coefficients."""

    def __init__(self, model: FaceModel, portrait: PortraitFit, landmarks: Tensor) -> None:
        """landmarks: [478,3] px of the portrait's crop."""
        super().__init__(model, portrait)
        self.target = landmarks

    def expressed(self, beta: Tensor) -> Tensor:
        return self.target.expand(len(beta), -1, -1)


@dataclasses.dataclass
class Photo:
    """A labelled photo: name, uint8 [H,W,3], landmarks [478,3] px."""

    name: str
    image: np.ndarray
    landmarks: np.ndarray

    @property
    def opening(self) -> float:
        """Inner-lip gap as a part of the distance between the outer eye corners."""
        a, b = OUTER_EYE_CORNERS
        gap = np.linalg.norm(self.landmarks[13, :2] - self.landmarks[14, :2])
        return float(gap / np.linalg.norm(self.landmarks[a, :2] - self.landmarks[b, :2]))

    @property
    def person(self) -> str:
        """What tells people apart in file names: 001_03.jpg and 001_08.jpg are one person."""
        return self.name.split("/")[1].split("_")[0]


def photos(data: Path, held_out: bool) -> list[Photo]:
    """Labelled faces of the training split, or of the test split. Real pairs first, then open mouths."""
    test = set(json.loads((data / "splits.json").read_text())["faces"])
    labels = np.load(data / "faces" / "labels.npz")
    found = []
    for name, points in zip(labels["name"], labels["landmarks"], strict=True):
        if (str(name) in test) == held_out:
            image = np.asarray(Image.open(data / "faces" / str(name)).convert("RGB"))
            found.append(Photo(str(name), image, points.astype(np.float32)))
    return sorted(found, key=lambda p: (not p.name.startswith("london"), p.opening < OPEN))


def similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Affine [2,3] without shear that carries points [N,2] to points [N,2] in least squares."""
    scale, rotation, shift = similarity_of_arrays(source, target)
    return np.concatenate([scale * rotation, shift[:, None]], 1)


def aligned(source: PortraitFit, target: Photo) -> tuple[Tensor, Tensor]:
    """The target photo laid into the source's crop by what expression does not move.

    Returns its image [3,512,512] 0..1 and its landmarks [478,3] in crop px.
    """
    into = similarity(target.landmarks[STABLE, :2], source.landmarks[STABLE, :2].numpy())
    scale = np.sqrt(np.linalg.det(into[:, :2]))
    points = np.concatenate([target.landmarks[:, :2] @ into[:, :2].T + into[:, 2], target.landmarks[:, 2:] * scale], 1)
    points[:, 2] += source.landmarks[STABLE, 2].numpy().mean() - points[STABLE, 2].mean()
    back = np.linalg.inv(np.vstack([into, [0, 0, 1]]))[:2]
    image = Image.fromarray(target.image).transform(
        (CROP_SIZE, CROP_SIZE), Image.Transform.AFFINE, tuple(back.flatten()), Image.Resampling.BICUBIC
    )
    return torch.tensor(np.asarray(image)).permute(2, 0, 1) / 255, torch.tensor(points, dtype=torch.float32)


def pairs(data: Path, held_out: bool) -> Iterator[tuple[Photo, Photo]]:
    """(source, target) photos of one person: neutral and smiling, both ways."""
    people: dict[str, dict[str, Photo]] = {}
    for photo in photos(data, held_out):
        if photo.name.startswith("london"):
            people.setdefault(photo.person, {})[photo.name.split("/")[0]] = photo
    for both in people.values():
        if len(both) == 2:
            yield both[NEUTRAL], both[SMILING]
            yield both[SMILING], both[NEUTRAL]


def completed(model: FaceModel, points: Tensor, index: Tensor) -> Tensor:
    """All 478 landmarks from tracked ones, points [N,3] px of vertices index [N]: a model fit, bent to the points."""
    count, part = len(model.identity), torch.cat([model.identity, model.expression])
    ridge = torch.cat([torch.full((count,), 0.3), expression_ridge(EXPRESSION_NAMES)])
    design = part[:, index].flatten(1)
    theta = torch.zeros(1, len(part))
    for _ in range(4):
        shape = model.vertices(theta[:, :count], theta[:, count:])
        pose = align(shape[:, index], points[None])
        wanted = (pose.unproject(points[None]) - model.mean[index]).flatten()
        theta = torch.linalg.solve(design @ design.T + ridge.diag(), design @ wanted)[None]
    full = pose.project(model.vertices(theta[:, :count], theta[:, count:]))[0]
    kernel = torch.exp(-0.5 * (torch.cdist(model.mean, model.mean[index]) / SPREAD) ** 2)
    full = full + kernel @ (points - full[index]) / (kernel.sum(1, keepdim=True) + 0.2)
    full[index] = points
    return full


def talk(data: Path, model: FaceModel) -> Iterator[tuple[str, Photo, Photo]]:
    """(kind, source, target) moments of GRID clips of the training split: talk, hush and blink."""
    for clip in clips(data, held_out=False):
        points, index = clip.points, torch.tensor(clip.index)
        gap, eyes, left, right = (clip.apart(*pair) for pair in (LIPS, OUTER_EYE_CORNERS, LEFT_LIDS, RIGHT_LIDS))
        opening, lids = gap / eyes, np.maximum(left, right)
        awake = lids > 0.8 * np.median(lids)
        shut = int(np.where(awake, opening, np.inf).argmin())
        opened = np.flatnonzero((opening >= OPEN) & awake)
        if len(opened) < TALK_FRAMES or opening[shut] > 0.01:
            continue
        opened = opened[opening[opened].argsort()][np.linspace(0, len(opened) - 1, TALK_FRAMES).astype(int)]
        frames = list(read_frames(clip.path))

        def moment(i: int, name=clip.path.stem, frames=frames, points=points, index=index) -> Photo:
            i = min(i, len(frames) - 1)
            return Photo(f"grid/{name}.{i:02d}", frames[i], completed(model, torch.tensor(points[i]), index).numpy())

        rest = moment(shut)
        for i in opened:
            yield "talk", rest, moment(int(i))
        for i in opened[1:]:
            yield "hush", moment(int(i)), rest
        if lids.min() < BLINK * np.median(lids):
            yield "blink", rest, moment(int(lids.argmin()))


def pair_geometry(
    model: FaceModel, source: Photo, target: Photo, fit=fit_portrait
) -> tuple[PortraitFit, Geometry, Tensor, Tensor, Tensor]:
    """Drive a source photo onto another photo of the same person.

    fit: as `fit_portrait`. Returns the source's portrait, the geometry, the target image [3,512,512] and landmarks
    [478,3] in the source's crop, and the target's β [64].
    """
    portrait = fit(model, source.image, source.landmarks)
    beta = fit(model, target.image, target.landmarks).beta
    image, points = aligned(portrait, target)
    points = snap_lids(image, points)  # as the portrait's own are
    geometry = LandmarkMotion(model, portrait, points).frame(beta[None], still(1))
    return portrait, geometry, image, points, beta


def exposed(geometry: Geometry, image: Tensor) -> Tensor:
    """The target image [3,512,512] in the exposure and white balance of the geometry's frame: two photos of one
    person differ in both, and no generator could know."""
    skin = ((geometry.face > 0.9) & (geometry.mouth < 0.1) & (geometry.eyes < 0.1))[0, 0]
    gain = (geometry.composite()[0][:, skin] / image[:, skin].clamp_min(0.03)).median(1).values
    return (image * gain[:, None, None]).clamp(0, 1)


def mismatch(geometry: Geometry, image: Tensor) -> Tensor:
    """Smooth optical flow [1,2,512,512] (px) from the geometry's frame to the target image [3,512,512].

    A landmarker errs by a pixel or three, and skin between landmarks moves otherwise than a mesh. What of this is the
    same on all faces the generator's flow can learn; the rest would teach blur. Mouths, whose insides differ, follow
    their rims.
    """
    from skimage.registration import optical_flow_ilk

    frame, real = (F.avg_pool2d(t, 2)[0].mean(0).numpy() for t in (geometry.composite(), image[None]))
    flow = optical_flow_ilk(frame, real, radius=MATCH_RADIUS)[::-1].copy()
    flow = torch.tensor(flow, dtype=torch.float32)[None].clamp(-MATCH_LIMIT / 2, MATCH_LIMIT / 2)
    trust = F.avg_pool2d((geometry.face - geometry.mouth).clamp(1e-3, 1), 2)
    blur = functools.partial(F.avg_pool2d, kernel_size=17, stride=1, padding=8, count_include_pad=False)
    flow = blur(blur(flow * trust)) / blur(blur(trust)) * F.avg_pool2d(geometry.face, 2)
    return F.interpolate(flow * 2, scale_factor=2, mode="bilinear", align_corners=False)


def other_expression(beta: Tensor, opened: bool, rng: np.random.Generator) -> Tensor:
    """A random expression to warp a photo to, [64] -> [64], from an opened mouth mostly to shut lips, from a shut one
    mostly to a smile that shows teeth."""
    new = beta.clone()
    shut = opened and rng.random() < 0.7
    if shut:
        new[[INDEX[n] for n in MOUTH_NAMES]] = 0
        new[[INDEX["mouthSmileLeft"], INDEX["mouthSmileRight"]]] *= float(rng.uniform(0, 1))
    smiles = not opened and rng.random() < 0.6
    if smiles or rng.random() < 0.6:
        name = "happy" if smiles else list(PROTOTYPES)[rng.integers(len(PROTOTYPES))]
        prototype = PROTOTYPES[name].beta * float(rng.uniform(0.4, 1))
        if shut:
            prototype[[INDEX[n] for n in MOUTH_NAMES]] = 0
        new = torch.maximum(new, prototype)
    names = ["browDownLeft", "browInnerUp", "cheekSquintLeft", "eyeWideLeft", "eyeWideRight", "noseSneerLeft"]
    names += [] if shut else ["jawOpen", "mouthFunnel", "mouthPucker", "mouthUpperUpLeft", "mouthStretchLeft"]
    for name in rng.choice(names, 1 if smiles else 3, replace=False):
        new[INDEX[str(name)]] = max(float(new[INDEX[str(name)]]), float(rng.uniform(0, 0.7)))
    if smiles and rng.random() < 0.5:
        new[INDEX["jawOpen"]] = float(rng.uniform(0, 0.3))
    if rng.random() < 0.3:
        new[[INDEX["eyeBlinkLeft"], INDEX["eyeBlinkRight"]]] = float(rng.uniform(0.1, 0.6))
    return new


def other_pose(rng: np.random.Generator) -> Tensor:
    """A small random head pose [1,6] (see `FaceMotion.frame`), as large as talking heads move; half the time none."""
    if rng.random() < 0.5:
        return still(1)
    pose = [*rng.normal(0, (0.06, 0.09, 0.04)), *rng.normal(0, 0.008, 2), rng.normal(0, 0.015)]
    return torch.tensor([pose], dtype=torch.float32)


def back_translated(
    model: FaceModel, photo: Photo, rng: np.random.Generator, fit=fit_portrait
) -> tuple[PortraitFit, Geometry, Tensor, Tensor, Tensor, Tensor]:
    """Warp and shade a photo to a random expression and pose, and the geometry that leads back to it.

    Returns as `pair_geometry`, and the driving pose [6].
    """
    real = fit(model, photo.image, photo.landmarks)
    motion = FaceMotion(model, real)
    beta, pose = other_expression(motion.source_beta[0], photo.opening >= OPEN, rng), other_pose(rng)
    fake = motion.frame(beta[None], pose).composite()[0]
    moved = motion.vertices(beta[None], pose)[0].clone()
    for row in (INNER_LIPS[1:10], INNER_LIPS[11:]):
        moved[row, 1] += float(rng.normal(0, LANDMARK_NOISE))
    posed = align(model.vertices(real.alpha[None], (beta + model.expression_rest)[None]), moved[None])
    portrait = dataclasses.replace(real, image=fake, landmarks=moved, beta=beta, pose=posed)
    # the way back turns the head by -pose; what is left for expression is the real face under +pose
    back = LandmarkMotion(model, portrait, motion.head.rigid(real.landmarks[None], pose)[0])
    return portrait, back.frame(real.beta[None], -pose), real.image, real.landmarks, real.beta, -pose[0]


def pack(
    hef: HEF,
    portrait: PortraitFit,
    geometry: Geometry,
    image: Tensor,
    points: Tensor,
    beta: Tensor,
    pose: Tensor | None = None,
    match: Tensor | None = None,
) -> dict[str, np.ndarray]:
    """One training sample inside HEF's window, as compact arrays. pose [6]: None is still; match: from `mismatch`,
    None where the target lies where the geometry says."""

    def byte(tensor: Tensor) -> np.ndarray:
        return (hef.window(tensor)[0].clamp(0, 1) * 255 + 0.5).byte().numpy()

    top, left = hef.dims.origin
    return {
        "source": byte(portrait.image[None]),
        "target": byte(image[None]),
        "flow": hef.window(geometry.flow)[0].half().numpy(),
        "match": F.avg_pool2d(hef.window(torch.zeros_like(geometry.flow) if match is None else match), MATCH_STEP)[0]
        .half()
        .numpy(),
        "rendered": byte(geometry.rendered),
        "interior": byte(geometry.interior),
        "ratio": byte((geometry.ratio - RATIO_LOW) / RATIO_SPAN),
        "mouth": byte(geometry.mouth),
        "own": byte(geometry.own),
        "face": byte(geometry.face),
        "eyes": byte(geometry.eyes),
        "eyeballs": byte(geometry.lids[:, :3]),
        "covered": byte(geometry.lids[:, 3:]),
        "source_mouth": (hef.open_mouth(portrait.landmarks[None])[0] * 255).byte().numpy(),
        "identity": torch.cat([portrait.alpha, portrait.delta, portrait.gamma]).numpy(),
        "hue": geometry.hue[0].numpy(),
        "beta": beta.numpy(),
        "pose": np.zeros(6, np.float32) if pose is None else pose.numpy(),
        "points": (points[:, :2].numpy() - [left, top]).astype(np.float32),
    }


def unpack(sample: dict, colors: np.ndarray | None = None) -> dict[str, Tensor]:
    """`pack`'s arrays as float tensors with images and masks in 0..1 and the ratio in its own range.

    colors: [3,256] float32, what each level of each channel becomes in all the images.
    """
    out = {}
    for key, value in sample.items():
        if colors is not None and key in COLORED:
            out[key] = torch.from_numpy(np.stack([table[plane] for table, plane in zip(colors, value, strict=True)]))
            continue
        tensor = torch.from_numpy(np.ascontiguousarray(value))
        out[key] = tensor.float() / 255 if tensor.dtype == torch.uint8 else tensor.float()
    out["ratio"] = out["ratio"] * RATIO_SPAN + RATIO_LOW
    return out


def acts(data: Path, seed: int) -> Iterator[tuple[Photo, tuple[str, ...], np.random.Generator]]:
    """(photo, emotions that it is to show, a generator for the rest): London's smiles, then `ACT_FACES` others."""
    names = [name for name in BASICS if name != "contempt"]  # FER2013 has no word for it
    found = photos(data, held_out=False)
    smiling = [photo for photo in found if photo.name.startswith(SMILING)]
    others = [photo for photo in found if not photo.name.startswith(SMILING)]
    chosen = np.random.default_rng([seed, 0]).permutation(len(others))[:ACT_FACES]
    for number, photo in enumerate([*smiling, *(others[i] for i in chosen)]):
        rng = np.random.default_rng([seed, 1, number])
        first = SMILE_ACTS if photo.opening >= OPEN or photo in smiling else ()
        rest = rng.permutation([name for name in names if name not in first])[: ACT_EMOTIONS - len(first)]
        yield photo, (*first, *(str(name) for name in rest)), rng


@torch.no_grad()
def prepare_acts(data: Path, cache: Path, seed: int, model: FaceModel, fit=fit_portrait) -> None:
    """Make the samples of kind act: cache/act.<photo>.<emotion>.npz."""
    from ...api import EmoTalk
    from ...media.audio import Recording

    talker, hef = EmoTalk.load(None, "cpu", "geometry"), HEF()
    splits = json.loads((data / "splits.json").read_text())
    held_out = {Path(name).stem for names in splits.values() for name in names}
    spoken = []
    for pattern in ACT_SPEECH:
        path = next(p for p in sorted(data.glob(pattern)) if p.stem not in held_out)
        spoken.append(torch.cat(list(talker.vad.listen(Recording.open(path).mels())), 1))
    for photo, emotions, rng in acts(data, seed):
        paths = {name: cache / f"act.{photo.name.replace('/', '.')}.{name}.npz" for name in emotions}
        if all(path.exists() for path in paths.values()):
            continue
        portrait = fit(model, photo.image, photo.landmarks)
        motion = FaceMotion(model, portrait)
        for name, path in paths.items():
            speech = spoken[rng.integers(len(spoken))]
            beta, _ = talker.eac.predict(speech, talker.emotion(name).z[0], float(rng.uniform(1.8, 3)))
            beta, pose = beta[rng.integers(len(beta))][None], other_pose(rng)
            geometry = motion.frame(beta, pose)
            points = motion.vertices(beta, pose)[0]
            _save(path, photo, pack(hef, portrait, geometry, geometry.composite()[0], points, beta[0], pose[0]))


def _save(path: Path, photo: Photo, packed: dict[str, np.ndarray]) -> None:
    arrays.save(path, packed | {"opening": np.float32(photo.opening)})


@torch.no_grad()
def prepare(data: Path, cache: Path, seed: int) -> None:
    """Make every sample that is not there yet: cache/<kind>.<target>.<variant>.npz."""
    if (cache / COMPLETE).exists():
        return
    cache.mkdir(parents=True, exist_ok=True)
    model, hef = FaceModel.load(), HEF()
    fits: dict[int, PortraitFit] = {}

    def fit(model: FaceModel, image: np.ndarray, landmarks: np.ndarray) -> PortraitFit:
        key = hash(landmarks.tobytes())
        if key not in fits:
            if len(fits) > 4:
                fits.pop(next(iter(fits)))
            fits[key] = fit_portrait(model, image, landmarks)
        return fits[key]

    def jobs() -> Iterator[tuple[str, Photo, Photo, int]]:
        """The real pairs first, then all kinds in turn, so that a cache that is not complete is of use too."""
        for source, target in pairs(data, held_out=False):
            yield "unsmile" if target.name.startswith(NEUTRAL) else "smile", source, target, 0
        found = photos(data, held_out=False)
        opened, shut = ([p for p in found if (p.opening >= OPEN) == wide] for wide in (True, False))
        rounds = (
            (("back-open", photo, photo, variant) for variant in range(2) for photo in opened),
            ((kind, a, b, int(a.name[-2:])) for kind, a, b in talk(data, model)),
            (("back-shut", photo, photo, 0) for photo in shut),
        )
        for turn in itertools.zip_longest(*rounds):
            yield from (job for job in turn if job is not None)

    for number, (kind, source, target, variant) in enumerate(jobs()):
        path = cache / f"{kind}.{target.name.replace('/', '.')}.{variant}.npz"
        if path.exists():
            continue
        if kind.startswith("back"):
            packed = pack(hef, *back_translated(model, target, np.random.default_rng([seed, number]), fit))
        else:
            portrait, geometry, image, points, beta = pair_geometry(model, source, target, fit)
            image = exposed(geometry, image)
            packed = pack(hef, portrait, geometry, image, points, beta, None, mismatch(geometry, image))
        _save(path, target, packed)
    prepare_acts(data, cache, seed, model, fit)
    (cache / COMPLETE).touch()
