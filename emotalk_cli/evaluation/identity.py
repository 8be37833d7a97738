"""Is it still the same person? An embedding of faces, for the identity measures: `Identity.load()(pictures)`.

A small network of the project's own: the inner face, levelled by the tracker's landmarks, becomes a unit vector, near
that of other pictures of the person whatever their expression. It measures; nothing is generated with it.
`python -m emotalk_cli.evaluation.identity --data DIR` says how well it tells held-out people apart, and how much of
them generated frames keep.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..emotions.prototypes import BASICS
from ..errors import InputError
from ..face.tracker import FaceTracker
from ..models import checkpoints

SIZE = 96  # px of the levelled face
ANCHORS = [33, 133, 362, 263, 168, 4, 61, 291]  # corners of eyes and mouth, nose
# Where the anchors' means come to lie, in parts of the side: between the eyes, and the middle of the mouth.
EYES, MOUTH = (0.5, 0.32), (0.5, 0.80)
TURNS = {"yaw -15": (0, -15), "yaw 15": (0, 15), "pitch -10": (-10, 0), "pitch 10": (10, 0)}  # degrees: pitch, yaw


@dataclasses.dataclass(frozen=True)
class IdentityDims:
    """Sizes that rebuild an Identity; stored in its checkpoint."""

    widths: tuple[int, ...] = (24, 48, 96, 160)
    features: int = 128

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(self.widths))


class Block(nn.Module):
    """Residual pair of convolutions; halves the grid."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, 2, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.PReLU(outputs),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.skip = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(inputs, outputs, 1, bias=False))
        self.out = nn.PReLU(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """[B,inputs,h,w] -> [B,outputs,h/2,w/2]."""
        return self.out(self.body(x) + self.skip(x))


class Identity(nn.Module):
    """Levelled faces -> unit vectors; the dot product of two says how much they are one person."""

    def __init__(self, dims: IdentityDims | None = None) -> None:
        super().__init__()
        self.dims = dims or IdentityDims()
        widths = self.dims.widths
        self.stem = nn.Sequential(nn.Conv2d(3, widths[0], 5, 2, 2, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU())
        self.blocks = nn.Sequential(*(Block(a, b) for a, b in zip(widths, widths[1:], strict=False)))
        self.narrow = nn.Conv2d(widths[-1], widths[-1] // 3, 1)
        self.head = nn.Linear(self.narrow.out_channels * (SIZE // 2 ** len(widths)) ** 2, self.dims.features)
        self.tracker: FaceTracker | None = None

    @classmethod
    def load(cls, weights=None) -> Identity:
        """The shipped embedding, with the shipped tracker to find faces. Raises WeightsError."""
        checkpoint = checkpoints.load("identity", weights)
        model = checkpoint.fill(cls(checkpoint.sizes(IdentityDims)))
        model.tracker = FaceTracker.load(weights)
        return model.eval()

    def forward(self, faces: Tensor) -> Tensor:
        """Levelled faces [B,3,96,96] in 0..1 -> unit vectors [B,features]. Overall colour and contrast do not count."""
        faces = faces - faces.mean((1, 2, 3), keepdim=True)
        faces = faces / faces.std((1, 2, 3), keepdim=True).clamp_min(0.02)
        x = self.narrow(self.blocks(self.stem(faces))).flatten(1)
        return F.normalize(self.head(x), dim=1)

    @torch.inference_mode()
    def embed(self, pictures: Sequence[np.ndarray]) -> Tensor:
        """The largest face of each uint8 [H,W,3] picture: [N,features]. Raises InputError where there is none."""
        faces = []
        for number, picture in enumerate(pictures):
            assert self.tracker is not None, "only `load` brings one"
            found = self.tracker(picture)
            if not found:
                raise InputError(f"Picture {number} shows no face that can be found; identity cannot be measured.")
            faces.append(level(torch.from_numpy(picture.copy()), torch.from_numpy(found[0].landmarks)))
        return self(torch.stack(faces))


def level(picture: Tensor, landmarks: Tensor, size: int = SIZE, margin: float = 0.0) -> Tensor:
    """The inner face upright and of one size: uint8 [H,W,3], landmarks [478,2+] px -> [3,size,size] in 0..1.

    margin: of the side, added around.
    """
    points = landmarks[:, :2].float()
    eyes, mouth = points[ANCHORS[:4]].mean(0), points[ANCHORS[6:]].mean(0)
    eyes_to, mouth_to = (torch.tensor(p) * 2 - 1 for p in (EYES, MOUTH))
    down, down_to = mouth - eyes, mouth_to - eyes_to
    # complex division: the similarity from the levelled face's -1..1 to the picture's px
    a = (down * down_to).sum() / down_to.square().sum() * (1 + 2 * margin)
    b = (down[1] * down_to[0] - down[0] * down_to[1]) / down_to.square().sum() * (1 + 2 * margin)
    turn = torch.stack([torch.stack([a, -b]), torch.stack([b, a])])
    middle = eyes - turn / (1 + 2 * margin) @ eyes_to
    height, width = picture.shape[:2]
    extent = torch.tensor([width, height])
    theta = torch.cat([turn * 2 / extent[:, None], (middle * 2 / extent - 1)[:, None]], 1)
    shrink = max(1, int(2 * float(turn.norm() / 2**0.5) / size))  # larger faces are averaged first, not skipped over
    image = F.avg_pool2d(picture.permute(2, 0, 1)[None].float() / 255, shrink)
    grid = F.affine_grid(theta[None], [1, 3, size, size], align_corners=False)
    return F.grid_sample(image, grid, align_corners=False, padding_mode="border")[0]


def separation(same: np.ndarray, different: np.ndarray) -> dict[str, float]:
    """How well similarities tell one person's pairs from two's: means, area under the ROC curve, equal error rate."""
    order = np.concatenate([same, different]).argsort().argsort()
    area = (order[: len(same)].sum() - len(same) * (len(same) - 1) / 2) / (len(same) * len(different))
    errors = [((same < t).mean(), (different >= t).mean()) for t in np.sort(np.concatenate([same, different]))]
    equal = min(errors, key=lambda e: abs(e[0] - e[1]))
    found = {"same": same.mean(), "different": different.mean(), "area": area, "equal_error": sum(equal) / 2}
    return {name: float(value) for name, value in found.items()}


def sharpness(image: Tensor, mask: Tensor) -> float:
    """Variance of the Laplacian of [1,3,H,W] in 0..1 where mask [1,1,H,W] is above 0.5."""
    grey = image.mean(1, keepdim=True)
    kernel = grey.new_tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]])[None, None]
    return float(F.conv2d(grey, kernel, padding=1)[mask > 0.5].var())


@torch.inference_mode()
def evaluate(
    data: Path, audio: Path, intensity: float, moments: int, weights: Path | None = None, save: Path | None = None
) -> dict:
    """On held-out London people, `photos`: separation of the embedding, neutral against smiling pictures.

    `frames`, by emotion and for `TURNS` of the neutral head, of mid-speech frames made from the neutral picture: cosine
    to the source, the same as a share of the photos' mean (the ceiling: a real smile changes the embedding too),
    sharpness of the face as a share of the source's, and, of a still head, the largest change (0..1) of any pixel
    farther than a face's width from the face. save: a folder for the pictures, for other judges; `<person>.photo.png`
    and `<person>.smiling.png` are the real ones.
    """
    from ..api import EmoTalk
    from ..face.fit import fit_portrait
    from ..face.geometry import FaceMotion, still
    from ..face.topology import INDEX
    from ..media.audio import Recording
    from ..training.data.hef_pairs import NEUTRAL, pairs
    from .generator import keep, pixels

    net, talker = Identity.load(weights), EmoTalk.load(weights, "cpu")
    people = [pair for pair in pairs(data, held_out=True) if pair[0].name.startswith(NEUTRAL)]
    neutral, smiling = (net.embed([pair[i].image for pair in people]) for i in range(2))
    likeness = (neutral @ smiling.T).numpy()
    photos = separation(likeness.diagonal(), likeness[~np.eye(len(likeness), dtype=bool)])
    recording = Recording.open(audio)
    mel = torch.cat(list(talker.vad.listen(recording.mels())), 1)
    spoken = {n: talker.eac.predict(mel, talker.emotion(n).z[0], intensity) for n in BASICS}
    jaw = spoken["neutral"][0][:, INDEX["jawOpen"]].argsort()
    at = jaw[torch.linspace(len(jaw) * 0.5, len(jaw) * 0.95, moments).long()]
    shown = {emotion: (beta, sigma, still(1)) for emotion, (beta, sigma) in spoken.items()}
    for name, (pitch, yaw) in TURNS.items():
        pose = torch.tensor([[math.radians(pitch), math.radians(yaw), 0.0, 0.0, 0.0, 0.0]])
        shown[name] = (*spoken["neutral"], pose)
    hef = talker.hef
    assert hef is not None, "identity is measured of the generator"
    kept: dict[str, dict[str, list[float]]] = {}
    for (photo, smile), own in zip(people, neutral, strict=True):
        portrait = fit_portrait(talker.face_model, photo.image, photo.landmarks)
        motion: FaceMotion = FaceMotion(talker.face_model, portrait)
        source = hef.source(portrait, motion)
        plain = portrait.image[None]
        keep(save, f"{photo.person}.photo", pixels(portrait.image))
        keep(save, f"{photo.person}.smiling", smile.image)
        for emotion, (beta, sigma, pose) in shown.items():
            for i in at.tolist():
                geometry = motion.frame(beta[i : i + 1], pose)
                frame = hef(source, geometry, beta[i : i + 1], pose, sigma[i : i + 1])
                picture = pixels(frame[0])
                keep(save, f"{photo.person}.{emotion}.{i}", picture)
                face = geometry.face[0, 0] > 0.5
                columns = face.any(0).nonzero()
                reach = int(columns[-1] - columns[0]) // 4  # a face's width, at a quarter of the size
                near = F.max_pool2d(geometry.face[..., ::4, ::4], 2 * reach + 1, 1, reach)
                far = F.interpolate(near, size=face.shape) < 0.01
                row = kept.setdefault(emotion, {"cosine": [], "sharpness": [], "background": []})
                row["cosine"].append(float(net.embed([picture])[0] @ own))
                row["sharpness"].append(sharpness(frame, geometry.face) / sharpness(plain, geometry.face))
                if emotion in spoken:
                    row["background"].append(float(((frame - plain).abs() * far).max()))
    frames = {}
    for emotion, row in kept.items():
        frames[emotion] = {name: float(np.mean(row[name])) for name in ("cosine", "sharpness")}
        frames[emotion] |= {"background": max(row["background"])} if row["background"] else {}
        frames[emotion] |= {"of_ceiling": frames[emotion]["cosine"] / photos["same"]}
    return {"photos": photos, "frames": frames}


def main(arguments: list[str] | None = None) -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(prog="python -m emotalk_cli.evaluation.identity")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--audio", type=Path, default=Path("examples/speech.wav"), help="speech that the faces say")
    parser.add_argument("--intensity", type=float, default=2.0)
    parser.add_argument("--moments", type=int, default=2, help="frames a face and emotion")
    parser.add_argument("--weights", type=Path, default=None)
    parser.add_argument("--save", type=Path, default=None, help="folder for the pictures, for other judges")
    options = parser.parse_args(arguments)
    result = evaluate(options.data, options.audio, options.intensity, options.moments, options.weights, options.save)
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
