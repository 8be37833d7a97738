"""Training mouths: crops of the data pack's faces whose lips are opened and closed by mesh warps, with their labels."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import torch
from torch import Tensor

from ...face.landmarker import LEFT_CORNER, LIPS, RIGHT_CORNER, mouth_frames
from ...face.procrustes import similarity_of_arrays
from ...face.topology import LIP_PAIRS
from .faces import AXES, Labelled, MeshWarp, moved, upright

SIDE = 160  # px of a bank crop
MARGIN = 1.02  # its side / face size
WIDE = 1.35  # a warp works on a crop larger by this
REACH_UP, REACH_DOWN, SURE = 2.2, 4.5, 1.0  # cm from the lips: where the mouth's word ends, and where it is the last
TONGUES, TONGUE_FROM = 0.35, 12.0  # share of mouths open wider than this (%) from which a tongue hangs out
BINS = (2.0, 6.0, 12.0, 20.0, 35.0)  # % of the outer eye distance: openings that are drawn about equally often


def mouth_vertices(mean: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vertices of mouth and chin, the lips first, and how far the mouth's network is believed there, 0..1.

    mean: [478,3] cm, the mean face.
    """
    away = np.linalg.norm(mean[:468, None] - mean[None, list(LIPS)], axis=2).min(1)
    reach = np.where(mean[:468, 1] > mean[list(LIPS), 1].mean(), REACH_UP, REACH_DOWN)
    share = np.clip((reach - away) / (reach - SURE), 0, 1)
    others = [v for v in np.flatnonzero(share > 0.02).tolist() if v not in LIPS]
    vertices = np.array([*LIPS, *others])
    return vertices, share[vertices].astype(np.float32)


def openings(landmarks: np.ndarray) -> np.ndarray:
    """Distance of the inner lips' middles in % of that of the outer eye corners: [...,478,2+] -> [...]."""
    gap = np.linalg.norm(landmarks[..., 13, :2] - landmarks[..., 14, :2], axis=-1)
    return 100 * gap / np.linalg.norm(landmarks[..., LEFT_CORNER, :2] - landmarks[..., RIGHT_CORNER, :2], axis=-1)


def random_mouth(warp: MeshWarp, face: Labelled, rng: np.random.Generator) -> np.ndarray:
    """Landmarks [478,3] px of the face with its lips at a random distance, from shut to half an eye distance."""
    basis, names = warp.basis, warp.names
    scale, rotation, _ = similarity_of_arrays(basis["mean"] @ AXES, face.landmarks)
    eyes = np.linalg.norm(face.landmarks[LEFT_CORNER, :2] - face.landmarks[RIGHT_CORNER, :2])
    shut = rng.random() < 0.25
    goal = 0.0 if shut else 0.5 * eyes * rng.random() ** 1.4
    change = np.zeros((478, 3), np.float32)
    for name in rng.choice(MOVES, rng.integers(0, 4), replace=False):
        amount = rng.uniform(-0.2, 0.7)
        sides = [n for n in names if n.startswith(name)]
        for n in sides if rng.random() < 0.8 else sides[: rng.integers(1, 3)]:
            change += amount * basis["expression"][names.index(n)]
    wider = goal - np.linalg.norm(face.landmarks[13, :2] - face.landmarks[14, :2])
    wider -= scale * (change[13, 1] - change[14, 1])
    jaw = rng.uniform(0.4, 1.0)
    for name, share in (("jawOpen", jaw), ("mouthLowerDown", 0.6 * (1 - jaw)), ("mouthUpperUp", 0.4 * (1 - jaw))):
        shape = sum(basis["expression"][names.index(n)] for n in names if n.startswith(name))
        change += share * wider / (scale * (shape[13, 1] - shape[14, 1])) * shape
    if rng.random() < 0.6:
        weights = rng.normal(0, 0.4, 25).astype(np.float32)
        change += np.einsum("k,kni->ni", weights, basis["identity"][:25])
    target = face.landmarks + scale * (change @ AXES) @ rotation.T
    if shut:
        for upper, lower in LIP_PAIRS:
            target[[upper, lower]] = (
                0.3 * target[lower] + 0.7 * target[upper] if wider > 0 else (0.5 * target[lower] + 0.5 * target[upper])
            )
    if rng.random() < 0.6:
        yaw, pitch = np.radians(rng.uniform(-32, 32)), np.radians(rng.uniform(-16, 16))
        target = warp.turned(target, yaw, pitch)
    return target


MOVES = (
    "mouthSmile", "mouthFrown", "mouthFunnel", "mouthPucker", "mouthStretch", "mouthDimple", "mouthPress",
    "mouthRoll", "mouthShrug", "jawLeft", "jawRight", "jawForward", "mouthLeft", "mouthRight", "cheekPuff",
    "noseSneer", "mouthUpperUp", "mouthLowerDown",
)  # fmt: skip


def stick_out_tongue(image: np.ndarray, points: np.ndarray, rng: np.random.Generator) -> None:
    """Paint a tongue that lies over the lower lip into a crop [S,S,3], in place. points: landmarks [478,2] px."""
    across = points[308] - points[78]
    width = float(np.linalg.norm(across)) + 1e-3
    across = across / width
    down = np.array([-across[1], across[0]])
    gap = float((points[14] - points[13]) @ down)
    root = points[13] + down * gap * rng.uniform(0.2, 0.6) + across * width * rng.uniform(-0.08, 0.08)
    length = (points[14] - root) @ down + width * rng.uniform(-0.02, 0.5)
    half = width * rng.uniform(0.24, 0.5)
    t = np.linspace(-1, 1, 41)[:, None]  # along the rim, from the root on one side around the tip to the other
    side, depth = np.clip(1.6 * t, -1, 1), 1 - np.clip(np.abs(t) * 1.3 - 0.3, 0, 1) ** 2
    rim = root + half * side * (1 - 0.25 * (1 - np.abs(t))) * across + length * depth * down
    mask = np.zeros(image.shape[:2], np.float32)
    cv2.fillPoly(mask, [np.round(rim * 16).astype(np.int32)], 1.0, shift=4)
    ys, xs = np.mgrid[: image.shape[0], : image.shape[1]] + 0.5
    u = ((xs - root[0]) * across[0] + (ys - root[1]) * across[1]) / half
    v = ((xs - root[0]) * down[0] + (ys - root[1]) * down[1]) / max(length, 1.0)
    light = float(image[tuple(points[[50, 280, 199], ::-1].round().astype(int).clip(0, len(image) - 1).T)].mean()) / 160
    shade = 0.65 + 0.35 * np.clip(v, 0, 1) - rng.uniform(0, 0.3) * np.exp(-((u / 0.12) ** 2)) - 0.2 * np.abs(u) ** 3
    pink = rng.uniform(0.42, 0.7)
    colour = rng.uniform(120, 240) * light * np.array([1, pink, pink * rng.uniform(0.9, 1.15)])
    noise = light * cv2.GaussianBlur(rng.normal(0, 20, image.shape[:2]).astype(np.float32), (0, 0), 1)
    paint = colour * shade[..., None] + noise[..., None]
    mask = cv2.GaussianBlur(mask, (0, 0), rng.uniform(0.5, 1.2))[..., None]
    image[:] = np.clip(image * (1 - mask) + paint * mask, 0, 255).astype(np.uint8)


class MouthBank:
    """Mouth crops in memory: pictures [N,160,160,3] uint8; landmarks [N,P,3] and frames [N,4] in their px, eyes [N].

    vertices [P] of the mesh, share [P] (see `mouth_vertices`), mirror [P] among them.
    landmarks are NaN where unlabelled. The first `photo_rows` rows are photos, `stride` rows each: the photo itself,
    then its warps.
    """

    def __init__(
        self,
        photos: list[Labelled],
        frames: Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]],
        warp: MeshWarp,
        variants: int,
        rng: np.random.Generator,
    ):
        """frames: of films: picture, landmarks with NaN where unlabelled, landmarks completed."""
        self.vertices, self.share = mouth_vertices(warp.basis["mean"])
        place = {v: i for i, v in enumerate(self.vertices.tolist())}
        self.mirror = torch.tensor([place[int(warp.basis["mirror"][v])] for v in self.vertices])
        rows: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        for photo in photos:
            crop, points = cropped(photo.image, photo.landmarks, photo.landmarks, MARGIN * WIDE, round(SIDE * WIDE))[:2]
            face = Labelled(photo.name, crop, points, photo.blendshapes)
            rows.append(cropped(photo.image, photo.landmarks, photo.landmarks, MARGIN, SIDE))
            for _ in range(variants):
                image, shown = warp.move(crop, points, random_mouth(warp, face, rng), rng)
                if openings(shown) > TONGUE_FROM and rng.random() < TONGUES:
                    stick_out_tongue(image, shown[:, :2], rng)
                rows.append(cropped(image, shown, shown, MARGIN, SIDE))
        self.photo_rows, self.stride = len(rows), variants + 1
        rows += [cropped(image, known, guess, MARGIN, SIDE) for image, known, guess in frames]
        pictures, landmarks, guesses = (np.stack(part) for part in zip(*rows, strict=True))
        self.opening = openings(guesses)
        self.pictures = torch.from_numpy(pictures)
        self.landmarks = torch.from_numpy(landmarks[:, self.vertices])
        self.frames = mouth_frames(torch.from_numpy(guesses))
        self.eyes = torch.from_numpy(
            np.linalg.norm(guesses[:, LEFT_CORNER, :2] - guesses[:, RIGHT_CORNER, :2], axis=1).astype(np.float32)
        )
        bins = np.digitize(self.opening, BINS)
        rarity = 1 / np.bincount(bins, minlength=len(BINS) + 1)[bins] ** 0.9
        self.chances = []  # of plain photos, warps, frames of films
        number = np.arange(len(rows))
        plain = (number < self.photo_rows) & (number % self.stride == 0)
        film = number >= self.photo_rows
        for kind in (plain, ~plain & ~film, film):
            self.chances.append((np.flatnonzero(kind), rarity[kind] / rarity[kind].sum()))

    def draw(self, size: int, warped: float, filmed: float, rng: np.random.Generator) -> Tensor:
        """Rows of a batch, of which shares `warped` and `filmed` are warps and frames; rare openings come oftener."""
        kinds = rng.choice(3, size, p=[1 - warped - filmed, warped, filmed])
        rows = np.zeros(size, np.int64)
        for kind, (members, chance) in enumerate(self.chances):
            rows[kinds == kind] = rng.choice(members, int((kinds == kind).sum()), p=chance)
        return torch.from_numpy(rows)


def cropped(
    image: np.ndarray, landmarks: np.ndarray, guess: np.ndarray, margin: float, side: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The upright mouth at landmarks `guess`: crop [side,side,3], and `landmarks` and `guess` in its px."""
    frame = mouth_frames(torch.from_numpy(guess[None]))[0].numpy()
    crop, affine = upright(image, frame, side, margin)
    return crop, moved(landmarks, affine), moved(guess, affine)
