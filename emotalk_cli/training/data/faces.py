"""Training faces: photos with landmark labels, and mesh warps that move pixels and labels together."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ...face.landmarker import LEFT_CORNER, RIGHT_CORNER
from ...face.procrustes import similarity_of_arrays
from ...face.topology import FACE_OVAL, INNER_LIPS, LEFT_LID_PAIRS, LIP_PAIRS, N_SKIN, RIGHT_LID_PAIRS

PAIRS = LIP_PAIRS + RIGHT_LID_PAIRS + LEFT_LID_PAIRS
AXES = np.diag([1.0, -1.0, -1.0]).astype(np.float32)  # model (y up, z forward) -> camera (y down, z away)


@dataclass
class Labelled:
    """One photo: RGB uint8 [H,W,3], landmarks [478,3] px, blendshapes [51], and the name in the data pack."""

    name: str
    image: np.ndarray
    landmarks: np.ndarray
    blendshapes: np.ndarray


SETS = {"faces": "labels", "faces_more": "labels_more"}  # names in splits.json -> files of labels


def load_faces(data: Path, test: bool, side: int = 0, sets: Sequence[str] = ("faces",)) -> list[Labelled]:
    """The labelled photos of the data pack: the held-out ones (`test`) or all others; `side` px if not 0.

    sets: of `SETS`.
    """
    return [face for name in sets for face in _load_set(data, name, test, side)]


def _load_set(data: Path, name: str, test: bool, side: int) -> list[Labelled]:
    labels = np.load(data / f"faces/{SETS[name]}.npz")
    held_out = set(json.loads((data / "splits.json").read_text())[name])
    order = [str(name) for name in labels["blendshape_names"]]
    assert order[0] == "_neutral" and len(order) == 52
    faces = []
    for name, landmarks, scores in zip(labels["name"], labels["landmarks"], labels["blendshapes"], strict=True):
        if (str(name) in held_out) != test:
            continue
        image = cv2.cvtColor(cv2.imread(str(data / "faces" / str(name))), cv2.COLOR_BGR2RGB)
        if side and side < image.shape[0]:
            landmarks = landmarks * (side / image.shape[0])
            image = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
        faces.append(Labelled(str(name), image, landmarks.astype(np.float32), scores[1:].astype(np.float32)))
    return faces


def upright(image: np.ndarray, frame: np.ndarray, pixels: int, margin: float) -> tuple[np.ndarray, np.ndarray]:
    """Crop [pixels,pixels,3] around `frame` (see crop_frames) and the affine [2,3] from image px to crop px."""
    x, y, size, roll = (float(v) for v in frame)
    scale = pixels / (size * margin)
    cos, sin = math.cos(roll) * scale, math.sin(roll) * scale
    affine = np.array([[cos, sin, pixels / 2 - cos * x - sin * y], [-sin, cos, pixels / 2 + sin * x - cos * y]])
    reduce = int(1 / scale)
    if reduce > 1:
        image = cv2.blur(image, (reduce, reduce))
    shifted = affine.copy()  # cv2 puts pixel centres at integers
    shifted[:, 2] += affine[:, :2] @ (0.5, 0.5) - 0.5
    return cv2.warpAffine(
        image, shifted, (pixels, pixels), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    ), affine


def moved(points: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Landmarks [N,3] under a similarity [2,3]; z scales along."""
    scale = math.hypot(affine[0, 0], affine[1, 0])
    return np.concatenate([points[:, :2] @ affine[:, :2].T + affine[:, 2], points[:, 2:] * scale], 1).astype(np.float32)


class MeshWarp:
    """Warps a photo by moving the vertices of its face mesh; hair and background follow smoothly.

    basis: the arrays of `face_basis_478.npz`.
    """

    def __init__(self, basis: dict[str, np.ndarray]) -> None:
        self.basis = basis
        self.names = [str(name) for name in basis["expression_names"]]
        face = basis["triangles"].astype(np.int32)
        self.oval = np.array(FACE_OVAL)
        count, triangles = len(FACE_OVAL), []
        rings = [self.oval, N_SKIN + np.arange(count), N_SKIN + count + np.arange(count)]
        for inner, outer in zip(rings, rings[1:], strict=False):
            for i in range(count):
                j = (i + 1) % count
                triangles += [(inner[i], outer[i], outer[j]), (inner[i], outer[j], inner[j])]
        self.surround = len(triangles)
        self.triangles = np.concatenate([np.array(triangles, np.int32), face])
        lips = set(INNER_LIPS)
        self.mouth = np.array([all(int(v) in lips for v in t) for t in self.triangles])

    def _extended(self, points: np.ndarray) -> np.ndarray:
        """468 face points [.,2] plus the two rings around them (the outer one stays put, see `move`)."""
        oval = points[self.oval]
        centre = oval.mean(0)
        return np.concatenate([points[:N_SKIN], centre + 1.3 * (oval - centre), centre + 2.1 * (oval - centre)])

    def random_target(self, face: Labelled, rng: np.random.Generator, turn: float = 1.0) -> tuple[np.ndarray, ...]:
        """New landmarks [478,3] px and blendshapes [51] by random expression, identity and head turn."""
        scale, rotation, _ = similarity_of_arrays(self.basis["mean"] @ AXES, face.landmarks)
        change = np.zeros((478, 3), np.float32)
        scores = face.blendshapes.copy()
        for index, amount in self._random_expression(face.blendshapes, rng):
            change += amount * self.basis["expression"][index]
            if index < len(scores):
                scores[index] = np.clip(scores[index] + amount, 0, 1)
        if rng.random() < 0.7:
            weights = rng.normal(0, 0.5, 25).astype(np.float32)
            change += np.einsum("k,kni->ni", weights, self.basis["identity"][:25])
        moved = face.landmarks + scale * (change @ AXES) @ rotation.T
        yaw, pitch = np.radians(turn * rng.uniform(-28, 28)), np.radians(turn * rng.uniform(-14, 14))
        return self.turned(moved, yaw, pitch), scores

    def _random_expression(self, scores: np.ndarray, rng: np.random.Generator) -> list[tuple[int, float]]:
        if rng.random() < 0.15:
            return []
        chosen: dict[int, float] = {}
        for _ in range(rng.integers(1, 5)):
            name = self.names[rng.integers(len(self.names))]
            if name.startswith("eyeLook") or name == "mouthClose":
                name = "jawOpen" if rng.random() < 0.5 else "eyeBlinkLeft"
            amount = float(rng.uniform(0.15, 0.9))
            pair = [name]
            if name.endswith(("Left", "Right")) and name not in ("jawLeft", "jawRight", "mouthLeft", "mouthRight"):
                stem = name.removesuffix("Left").removesuffix("Right")
                if rng.random() < 0.75:
                    pair = [stem + "Left", stem + "Right"]
            for n in pair:
                index = self.names.index(n)
                present = float(scores[index]) if index < len(scores) else 0.0
                chosen[index] = amount * (1 - present) if n.startswith("eyeBlink") else amount
        return list(chosen.items())

    @staticmethod
    def turned(landmarks: np.ndarray, yaw: float, pitch: float) -> np.ndarray:
        """Landmarks px after turning the head by yaw and pitch (rad) about a point behind the nose bridge."""
        reach = np.linalg.norm(landmarks[RIGHT_CORNER, :2] - landmarks[LEFT_CORNER, :2])
        pivot = landmarks[[33, 263, 61, 291]].mean(0)
        pivot[2] += 0.35 * reach
        cy, sy, cp, sp = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch)
        rotation = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]]) @ np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
        out = (landmarks - pivot) @ rotation.T.astype(np.float32) + pivot
        out[:, :2] += (landmarks[:, :2].mean(0) - out[:, :2].mean(0)) * 0.7
        return out.astype(np.float32)

    def move(
        self, image: np.ndarray, landmarks: np.ndarray, target: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """The photo with its face at `target`, and the landmarks [478,3] px that it then shows.

        Crossing lids and lips are closed, irises follow the mesh that carries their pixels, and a mouth that the
        source shows closed is filled with a dark interior.
        """
        target = target.copy()
        across = target[LEFT_CORNER, :2] - target[RIGHT_CORNER, :2]
        down = np.array([-across[1], across[0]]) / np.linalg.norm(across)
        for upper, lower in PAIRS:
            if (target[lower, :2] - target[upper, :2]) @ down < 0:
                target[[upper, lower]] = target[[upper, lower]].mean(0)
        source_points = self._extended(landmarks[:, :2])
        target_points = self._extended(target[:, :2])
        count = len(self.oval)
        shift = target[self.oval, :2] - landmarks[self.oval, :2]
        ring = slice(N_SKIN, N_SKIN + count)
        target_points[ring] = source_points[ring] + 0.6 * shift
        target_points[N_SKIN + count :] = source_points[N_SKIN + count :]

        height, width = image.shape[:2]
        depth = target[self.triangles[self.surround :], 2].mean(1)
        order = np.concatenate([np.arange(self.surround), self.surround + np.argsort(-depth)])
        owner = np.full((height, width), -1, np.int32)
        corners = np.round((target_points[self.triangles] - 0.5) * 16).astype(np.int32)
        for t in order:
            cv2.fillConvexPoly(owner, corners[t], int(t), shift=4)
        forward = _affine(target_points[self.triangles], source_points[self.triangles])
        ys, xs = np.nonzero(owner >= 0)
        maps = forward[owner[ys, xs]]
        map_x, map_y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
        u, v = xs + 0.5, ys + 0.5
        map_x[ys, xs] = maps[:, 0, 0] * u + maps[:, 0, 1] * v + maps[:, 0, 2] - 0.5
        map_y[ys, xs] = maps[:, 1, 0] * u + maps[:, 1, 1] * v + maps[:, 1, 2] - 0.5
        out = cv2.remap(image, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        self._open_mouth(out, landmarks, target, owner, rng)
        target[N_SKIN:, :2] = self._carried(landmarks[N_SKIN:, :2], source_points, target_points)
        return out, target

    def _open_mouth(self, image, landmarks, target, owner, rng) -> None:
        """Paint what is seen between lips that the target opens much wider than the source shows them."""
        eyes = np.linalg.norm(target[RIGHT_CORNER, :2] - target[LEFT_CORNER, :2])
        gap = np.linalg.norm(target[13, :2] - target[14, :2])
        own = np.linalg.norm(landmarks[13, :2] - landmarks[14, :2])
        inside = self.mouth[owner.clip(0)] & (owner >= 0)
        if own > max(0.06 * eyes, 0.4 * gap) or gap < 0.03 * eyes or not inside.any():
            return
        skin = image[tuple(target[[50, 280, 199], 1::-1].round().astype(int).clip(0, len(image) - 1).T)].mean()
        paint = mouth_interior(image.shape[0], target[:, :2], skin / 160, rng)
        mask = cv2.GaussianBlur(inside.astype(np.float32), (0, 0), rng.uniform(0.4, 1))[..., None]
        image[:] = np.clip(image * (1 - mask) + paint * mask, 0, 255).astype(np.uint8)

    def _carried(self, points: np.ndarray, source: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Where points [.,2] go that lie on the source mesh (irises): by their triangle's affine map."""
        maps = _affine(source[self.triangles], target[self.triangles])
        a, b, c = (source[self.triangles[:, i]] for i in range(3))
        out = points.copy()
        for i, p in enumerate(points):
            inside = np.min([_cross(b - a, p - a), _cross(c - b, p - b), _cross(a - c, p - c)], 0)
            flipped = np.min([_cross(a - b, p - b), _cross(b - c, p - c), _cross(c - a, p - a)], 0)
            t = int(np.argmax(np.maximum(inside, flipped)))
            out[i] = maps[t, :, :2] @ p + maps[t, :, 2]
        return out


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def _affine(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Affine maps [T,2,3] that take triangles source [T,3,2] to target [T,3,2]; flat ones collapse safely."""
    edges = np.stack([source[:, 1] - source[:, 0], source[:, 2] - source[:, 0]], 2)
    goals = np.stack([target[:, 1] - target[:, 0], target[:, 2] - target[:, 0]], 2)
    det = edges[:, 0, 0] * edges[:, 1, 1] - edges[:, 0, 1] * edges[:, 1, 0]
    det = np.where(np.abs(det) < 1e-3, np.where(det < 0, -1e-3, 1e-3), det)
    inverse = np.stack([edges[:, 1, 1], -edges[:, 0, 1], -edges[:, 1, 0], edges[:, 0, 0]], 1).reshape(-1, 2, 2)
    linear = goals @ (inverse / det[:, None, None])
    shift = target[:, 0] - np.einsum("tij,tj->ti", linear, source[:, 0])
    return np.concatenate([linear, shift[..., None]], 2).astype(np.float32)


def mouth_interior(side: int, points: np.ndarray, light: float, rng: np.random.Generator) -> np.ndarray:
    """What an open mouth may show: [side,side,3] 0..255 of dark, both rows of teeth, tongue, as chance has them.

    points: landmarks [478,2] px. light: of the face, 1 for an ordinary photo.
    """
    across = points[308] - points[78]
    width = float(np.linalg.norm(across)) + 1e-3
    across = across / width
    down = np.array([-across[1], across[0]])
    gap = float((points[14] - points[13]) @ down)
    paint = np.empty((side, side, 3), np.float32)
    paint[:] = rng.uniform((15, 5, 5), (110, 60, 60)) * rng.uniform(0.2, 1)

    def fill(outline: np.ndarray, colour: np.ndarray) -> None:
        cv2.fillPoly(paint, [np.round(outline * 16).astype(np.int32)], colour.tolist(), shift=4)

    upper, lower = points[INNER_LIPS[:11]], points[[INNER_LIPS[0], *INNER_LIPS[:9:-1]]]
    teeth = rng.uniform(90, 235) * np.array([1, rng.uniform(0.9, 1), rng.uniform(0.75, 0.98)]) * light
    bow = np.linspace(-1, 1, 11)[:, None] ** 2
    if rng.random() < 0.45:  # lower teeth, mostly behind the tongue
        height = width * rng.uniform(0.03, 0.16)
        fill(np.concatenate([lower, (lower - (height * (1 - 0.7 * bow)) * down)[::-1]]), teeth * rng.uniform(0.6, 1))
    if rng.random() < 0.5:
        centre = points[14] + down * width * rng.uniform(-0.2, 0.15) + across * width * rng.uniform(-0.05, 0.05)
        axes = width * np.array([rng.uniform(0.2, 0.42), rng.uniform(0.08, 0.25)])
        angle = np.linspace(0, 2 * np.pi, 40)
        tongue = centre + np.cos(angle)[:, None] * axes[0] * across + np.sin(angle)[:, None] * axes[1] * down
        fill(tongue, rng.uniform((120, 50, 50), (225, 130, 130)) * rng.uniform(0.5, 1) * light)
    if rng.random() < 0.7:  # upper teeth, with the gaps between them
        height = min(width * rng.uniform(0.06, 0.22), gap * rng.uniform(0.4, 1.1))
        fill(np.concatenate([upper, (upper + (height * (1 - rng.uniform(0, 0.8) * bow)) * down)[::-1]]), teeth)
        if rng.random() < 0.7:
            middle, step, dark = points[13], width * rng.uniform(0.09, 0.13), rng.uniform(0.4, 0.9)
            for k in range(-4, 5):
                top = middle + across * step * k - down * height
                ends = np.round(np.stack([top, top + 2 * height * down]) * 16).astype(int)
                cv2.line(paint, ends[0].tolist(), ends[1].tolist(), (teeth * dark).tolist(), 1, cv2.LINE_AA, shift=4)
    ys, xs = np.mgrid[:side, :side] + 0.5
    off = np.abs((xs - points[13, 0]) * across[0] + (ys - points[13, 1]) * across[1]) / (0.5 * width)
    shadow = 1 - rng.uniform(0, 0.8) * np.clip(off, 0, 1) ** 2  # the corners lie deeper
    return cv2.GaussianBlur(paint * shadow[..., None].astype(np.float32), (0, 0), rng.uniform(0.4, 1.2))
