"""Samples for the mouth painter: open mouths of photos, and what their teeth are drawn from, as they fit the photo too.

Each is a file <folder>.<photo>.npz: the photo on the mouth's crop (WebP), the lips' contour on it, and what the drawn
mouth depends on (expression, affine to the crop, layout, light), from which `load` renders its maps. Those named
"driven" are two photos of one person or two moments of a film: the frame that the generator makes of one with the
other's landmarks is kept too, since its lips are what the painter meets in use.
"""

from __future__ import annotations

import functools
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from ...face.fit import PortraitFit, complete_smile, crop_box, cut, fit_portrait, fit_shape, snap_lips
from ...face.geometry import still
from ...face.geometry.contacts import Contacts
from ...face.geometry.crop import CROP_HEIGHT, CROP_WIDTH, REACH, laid, local
from ...face.geometry.head import Head
from ...face.geometry.mouth import Mouth, rendered
from ...face.geometry.teeth import Layout, fit_layout, groups, look
from ...face.model import FaceModel
from ...face.raster import pixel_grid, polygon_distance
from ...face.topology import INNER_LIPS, OUTER_EYE_CORNERS
from ...media.ffmpeg import read_frames
from ...models.hef import HEF
from . import arrays
from .filmed import LIPS, Clip, clips
from .hef_pairs import NEUTRAL, STABLE, LandmarkMotion, Photo, aligned, completed, pairs, similarity

OPEN, HELD_OPEN, GAPING = 0.02, 0.04, 0.55  # inner-lip gap / distance of the outer eye corners, in training and in the
# test; beyond, tongues and yawns
FILM_OPEN, FILM_FRAMES = 0.05, 8  # of a filmed clip: from which gap on, and how many frames
AROUND = 20  # px about the lips' contour in which the mouth is drawn
QUALITY = 92  # of WebP
LIMIT = 36.0  # px of distance that are told apart
OUTSIDE = 1.5  # px of contours on the lips, outside of where these end: as the painter's samples were made


def open_photos(data: Path, held_out: bool) -> Iterator[Photo]:
    """Photos of the data pack that show open mouths, of the training split or of the test split; the widest first."""
    splits = json.loads((data / "splits.json").read_text())
    test = {name for key in ("faces", "faces_more") for name in splits.get(key, ())}
    least = HELD_OPEN if held_out else OPEN
    for file in ("labels_more.npz", "labels.npz"):
        if not (data / "faces" / file).exists():
            continue
        labels = np.load(data / "faces" / file)
        points = labels["landmarks"].astype(np.float32)
        gaps, eyes = (
            np.linalg.norm(points[:, a, :2] - points[:, b, :2], axis=1) for a, b in ((13, 14), OUTER_EYE_CORNERS)
        )
        for row in np.argsort(-gaps / eyes):
            name = str(labels["name"][row])
            if least < gaps[row] / eyes[row] < GAPING and (name in test) == held_out:
                yield Photo(name, np.asarray(Image.open(data / "faces" / name).convert("RGB")), points[row])


def driven_photos(data: Path, model: FaceModel) -> Iterator[tuple[Photo, Photo]]:
    """A portrait, and a photo of the same person with an open mouth: smiles, then moments of the training split's GRID
    clips with their first frames."""
    for source, photo in pairs(data, held_out=False):
        if source.name.startswith(NEUTRAL) and photo.opening > OPEN:
            yield source, photo
    for clip in clips(data, held_out=False):
        gaps, eyes = clip.apart(*LIPS), clip.apart(*OUTER_EYE_CORNERS)
        opened = np.flatnonzero(gaps / eyes > FILM_OPEN)
        if len(opened) < FILM_FRAMES:
            continue
        order = (gaps / eyes)[opened].argsort()
        frames = list(read_frames(clip.path))

        def shot(i: int, clip: Clip = clip, frames: list = frames) -> Photo:
            full = completed(model, torch.tensor(clip.points[i]), torch.tensor(clip.index)).numpy()
            return Photo(f"grid/{clip.path.stem}-{i:02d}", frames[i], full)

        first = shot(0)
        for i in opened[order][np.linspace(0, len(opened) - 1, FILM_FRAMES).astype(int)]:
            yield first, shot(min(int(i), len(frames) - 1))


def given(target: Tensor, drawn: Tensor, distance: Tensor, light: Tensor) -> Tensor:
    """What the painter is given of mouths as they are [B,14,h,w] (`Geometry.inside`), none of their own teeth shown.

    target [B,3,h,w], drawn [B,9,h,w] 0..1 as of `sample`; distance [B,1,h,w] px; light [B,3].
    """
    colour, parts, normals = drawn.split([3, 4, 2], 1)
    colour = (colour * Mouth.shadow(distance[:, 0]) * light[..., None, None]).clamp(0, 1)
    near = (distance / REACH).clamp(-1, 1)
    return torch.cat([near, colour, parts, directions(normals), target, torch.zeros_like(near)], 1)


def directions(normals: Tensor) -> Tensor:
    """Normals -1..1 of how samples keep them, 0..1."""
    return (normals * 255 - 128) / 127


def mapped(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The affine [2,3] that does `first` and then `second`."""
    return np.concatenate([second[:, :2] @ first[:, :2], second[:, :2] @ first[:, 2:] + second[:, 2:]], 1)


@torch.no_grad()
def sample(model: FaceModel, photo: Photo) -> dict[str, np.ndarray]:
    """What is kept of one photo."""
    portrait = fit_portrait(model, photo.image, photo.landmarks)
    head = Head(model, portrait, torch.device("cpu"))
    mouth = Mouth(head, Contacts(head))
    return _kept(model, photo, mouth, portrait.beta[None], portrait.landmarks[None], portrait.to_source)


@torch.no_grad()
def driven_sample(model: FaceModel, hef: HEF, portrait: PortraitFit, photo: Photo) -> dict[str, np.ndarray]:
    """The same where another picture of the person is the portrait; with the frame that HEF makes of that."""
    box = crop_box(photo.landmarks)
    corner, zoom = np.array([*box[:2], 0], np.float32), len(portrait.image[0]) / box[2]
    pixels = torch.tensor(cut(photo.image, box)).permute(2, 0, 1).float() / 255
    points = snap_lips(pixels, torch.tensor((photo.landmarks - corner) * zoom, dtype=torch.float32))
    beta = complete_smile(model, fit_shape(model, points[None])[1])
    photo = Photo(photo.name, photo.image, points.numpy() / zoom + corner)
    points = aligned(portrait, photo)[1]
    motion = LandmarkMotion(model, portrait, points)
    frame = hef(hef.source(portrait), motion.frame(beta, still(1)), beta, still(1))
    back = similarity(portrait.landmarks[STABLE, :2].numpy(), photo.landmarks[STABLE, :2])
    kept = _kept(model, photo, motion.mouth, beta, points[None], back)
    return {**kept, "frame": encoded(laid(frame, motion.mouth.place(still(1))))}


def wider(contour: Tensor) -> Tensor:
    """Inner lips' contours [B,20,2], from corner to corner and back, `OUTSIDE` px larger, less where they are slim.

    What lies right at the lips' edge is hidden, not shown as if it were lip; `models.mouth.WIDER` is this and more.
    """
    across = (contour - contour.flip(1).roll(1, 1)).norm(dim=2, keepdim=True)
    along = F.normalize(contour.roll(-1, 1) - contour.roll(1, 1), dim=2)
    outward = torch.stack([along[..., 1], -along[..., 0]], 2)
    outward = outward * ((contour - contour.mean(1, keepdim=True)) * outward).sum((1, 2), keepdim=True).sign()
    return contour + OUTSIDE * (across / (2 * OUTSIDE)).clamp(0, 1) * outward


def _kept(
    model: FaceModel, photo: Photo, mouth: Mouth, beta: Tensor, points: Tensor, to_photo: np.ndarray
) -> dict[str, np.ndarray]:
    """to_photo [2,3]: affine from px of the portrait's crop, where landmarks points [1,478,3] are, to the photo's."""
    pose = still(1)
    place = mouth.place(pose)
    into = torch.tensor(mapped(place[0].double().numpy(), to_photo), dtype=torch.float32)
    target = laid(torch.tensor(photo.image).permute(2, 0, 1)[None] / 255, into[None])
    contour = wider(local(points[:, INNER_LIPS, :2], place))
    distance = polygon_distance(contour, pixel_grid(CROP_HEIGHT, CROP_WIDTH))
    shade = mouth.shadow(distance) * mouth.light[:, None, None]
    vertices = mouth.vertices(beta, pose, place)
    layout = fit_layout(vertices, model.mouth_triangles, mouth.group, mouth.look, target, distance, shade)
    tensors = {
        "contour": contour[0],
        "beta": beta[0],
        "affine": mouth.affine(pose, place)[0],
        "turn": mouth.turn(pose)[0],
        "light": mouth.light,
        "rest": Layout.resting(0.0 if mouth.own_teeth else mouth.closed).shift,
        "shift": layout.shift,
        "scale": layout.scale,
    }
    numbers = {"gain": np.float32(layout.gain), "opening": np.float32(photo.opening)}
    return {"target": encoded(target), **{k: t.float().numpy() for k, t in tensors.items()}, **numbers}


def encoded(image: Tensor) -> np.ndarray:
    """A picture [1,3,h,w] 0..1 as bytes."""
    pixels = (image[0].clamp(0, 1) * 255 + 0.5).byte().permute(1, 2, 0).numpy()
    with io.BytesIO() as file:
        Image.fromarray(pixels).save(file, "WEBP", quality=QUALITY)
        return np.frombuffer(file.getvalue(), np.uint8)


def _picture(encoded: np.ndarray) -> Tensor:
    return torch.tensor(np.asarray(Image.open(io.BytesIO(encoded.tobytes())))).permute(2, 0, 1)


def prepare(data: Path, cache: Path, held_out: bool = False) -> list[Path]:
    """Make the samples that are not there yet; all of the folder's, in order."""
    cache.mkdir(parents=True, exist_ok=True)
    model = FaceModel.load()

    def keep(name: str, make: Callable[[], dict[str, np.ndarray]]) -> None:
        path = cache / f"{name.replace('/', '.').removesuffix('.jpg').removesuffix('.png')}.npz"
        if not path.exists():
            arrays.save(path, make())

    for photo in open_photos(data, held_out):
        keep(photo.name, functools.partial(sample, model, photo))
    if not held_out:
        hef = HEF.load()
        hef.painter = None
        portraits: dict[str, PortraitFit] = {}
        for source, photo in driven_photos(data, model):

            def make(source: Photo = source, photo: Photo = photo) -> dict[str, np.ndarray]:
                if source.name not in portraits:
                    portraits.clear()
                    portraits[source.name] = fit_portrait(model, source.image, source.landmarks)
                return driven_sample(model, hef, portraits[source.name], photo)

            keep(f"driven.{photo.name}", make)
    return sorted(cache.glob("*.npz"))


class Scenes:
    """Renders the drawn mouth of samples."""

    def __init__(self) -> None:
        self.model = FaceModel.load()
        self.group, self.normals = groups(self.model), self.model.mouth_normals()
        self.look = look(self.model)

    def drawn(self, stored: dict[str, Tensor], layout: Layout) -> Tensor:
        """The mouth of one sample [9,h,w] as `rendered` makes it, in a layout."""
        vertices = self.model.mouth_vertices(stored["beta"][None])
        vertices = vertices @ stored["affine"][:, :3].T + stored["affine"][:, 3]
        low = (stored["contour"].amin(0) - AROUND).floor().long().clamp_min(0).tolist()
        high = (stored["contour"].amax(0) + AROUND).ceil().long().tolist()
        area = slice(low[1], min(high[1], CROP_HEIGHT)), slice(low[0], min(high[0], CROP_WIDTH))
        moved = layout.moved(vertices, self.group)
        return rendered(self.model, moved, stored["turn"][None], self.look, self.normals, area)[0]

    @torch.no_grad()
    def load(self, path: Path) -> dict[str, Tensor]:
        """A sample: target, frame (the target again where none was made) uint8 [3,h,w]; plain, fitted uint8 [9,h,w],
        normals about 128; distance float16 [1,h,w] px inside the lips; light [3], gain, opening; driven: 0 or 1."""
        with np.load(path) as file:
            pictures = {key: file[key] for key in ("target", "frame") if key in file}
            stored = {key: torch.from_numpy(np.asarray(file[key])) for key in file if key not in pictures}
        layouts = {"plain": Layout(stored["rest"], torch.ones(3)), "fitted": Layout(stored["shift"], stored["scale"])}
        distance = polygon_distance(stored["contour"][None], pixel_grid(CROP_HEIGHT, CROP_WIDTH))
        found = {"distance": distance.clamp(-LIMIT, LIMIT).half()}
        for key, layout in layouts.items():
            seen = self.drawn(stored, layout)
            seen[7:] = seen[7:] * (127 / 255) + 128 / 255
            found[key] = (seen.clamp(0, 1) * 255 + 0.5).byte()
        found["target"] = _picture(pictures["target"])
        found["frame"] = _picture(pictures["frame"]) if "frame" in pictures else found["target"]
        found["driven"] = torch.tensor(float("frame" in pictures))
        return {**found, **{key: stored[key] for key in ("light", "gain", "opening")}}
