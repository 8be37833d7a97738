"""Training faces: photos with landmark labels, and mesh warps that move pixels and labels together."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ...face.topology import FACE_OVAL, INNER_LIPS, LEFT_LID_PAIRS, LIP_PAIRS, N_SKIN, RIGHT_LID_PAIRS
from ...face.tracker import LEFT_CORNER, RIGHT_CORNER

PAIRS = LIP_PAIRS + RIGHT_LID_PAIRS + LEFT_LID_PAIRS
AXES = np.diag([1.0, -1.0, -1.0]).astype(np.float32)  # model (y up, z forward) -> camera (y down, z away)


@dataclass
class Labelled:
    """One photo: RGB uint8 [H,W,3], landmarks [478,3] px, blendshapes [51], and the name in the data pack."""

    name: str
    image: np.ndarray
    landmarks: np.ndarray
    blendshapes: np.ndarray


def load_faces(data: Path, test: bool, side: int = 0) -> list[Labelled]:
    """The labelled photos of the data pack: the held-out ones (`test`) or all others; `side` px if not 0."""
    labels = np.load(data / "faces/labels.npz")
    held_out = set(json.loads((data / "splits.json").read_text())["faces"])
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


def similarity(source: np.ndarray, target: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Scale, rotation [D,D] and shift [D] with target ~ scale * source @ rotation.T + shift (least squares)."""
    a, b = source - source.mean(0), target - target.mean(0)
    u, s, vt = np.linalg.svd(b.T @ a)
    flip = np.ones(len(s))
    flip[-1] = np.sign(np.linalg.det(u @ vt))
    rotation = (u * flip) @ vt
    scale = float((s * flip).sum() / (a * a).sum())
    return scale, rotation, target.mean(0) - scale * source.mean(0) @ rotation.T


class MeshWarp:
    """Warps a photo by moving the vertices of its face mesh; hair and background follow smoothly.

    basis: the arrays of `face_basis_478.npz`.
    """

    def __init__(self, basis: dict[str, np.ndarray]):
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
        scale, rotation, _ = similarity(self.basis["mean"] @ AXES, face.landmarks)
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
        """Paint a cavity (and sometimes teeth) where the target opens a mouth that the source shows closed."""
        eyes = np.linalg.norm(target[RIGHT_CORNER, :2] - target[LEFT_CORNER, :2])
        if np.linalg.norm(landmarks[13, :2] - landmarks[14, :2]) > 0.06 * eyes:
            return
        inside = self.mouth[owner.clip(0)] & (owner >= 0)
        if np.linalg.norm(target[13, :2] - target[14, :2]) < 0.05 * eyes or not inside.any():
            return
        colour = rng.uniform((30, 10, 10), (110, 60, 60)) * rng.uniform(0.3, 1)
        paint = np.broadcast_to(colour, image.shape).astype(np.float32).copy()
        if rng.random() < 0.6:
            upper = target[INNER_LIPS[:11], :2]
            shift = (target[14, :2] - target[13, :2]) * rng.uniform(0.2, 0.6)
            band = np.concatenate([upper, (upper + shift)[::-1]])
            tooth = rng.uniform(110, 235) * np.array([1, 0.95, 0.85])
            cv2.fillPoly(paint, [np.round(band * 16).astype(np.int32)], tooth.tolist(), shift=4)
        paint = cv2.GaussianBlur(paint, (3, 3), 0.8)
        mask = cv2.GaussianBlur(inside.astype(np.float32), (3, 3), 0.7)[..., None] * rng.uniform(0.75, 1)
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
