"""Which emotion a classifier reads on generated faces.

`python -m emotalk_cli.evaluation.emotion --data DIR [--reader facex] [--faces 30] [--smiling] [--intensity 3]
[--generator hef]`: the basic emotions, mid-speech, on held-out faces (or on `--portrait FILE`), as a confusion matrix,
and how well each pair of emotions is told apart. Readers: *facex* and *what-the-face* (packages of those names, which
nothing was trained on or tuned to), and *fer*, the mini-Xception of `teachers/fer_mini_xception` (FER2013, MIT), which
HEF was trained through, so that its figures flatter. None is shipped.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from ..api import EmoTalk
from ..face.fit import PortraitFit, fit_portrait
from ..face.geometry import FaceMotion
from ..face.model import FaceModel
from ..face.topology import INDEX
from ..media.audio import FLOOR, HOP, N_MELS, SAMPLE_RATE, Recording
from ..models.hef import generated, source_of
from . import independent

READINGS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
BASICS = {
    "neutral": "neutral",
    "happy": "happy",
    "sad": "sad",
    "surprised": "surprise",
    "angry": "angry",
    "disgusted": "disgust",
    "fearful": "fear",
}
SMILES = 0.5  # mouthSmile in the labels from which a photo counts as smiling
MARGIN = 1.2  # side of the square that the classifier sees / longer side of the landmarks' box


class EmotionReader(nn.Module):
    """The Keras mini-Xception of the data pack, run layer by layer from its own graph description."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        graph = json.loads((folder / "fer_mini_xception.json").read_text())["config"]
        self.layers = graph["layers"]
        archive = np.load(folder / "fer_mini_xception.npz")
        for key in archive.files:  # "<layer>_1/.../<name>:0"
            self.register_buffer(
                self._buffer(key.split("_1/")[0], key.split("/")[-1].split(":")[0]),
                torch.tensor(archive[key]),
                persistent=False,
            )

    @staticmethod
    def _buffer(layer: str, name: str) -> str:
        return f"{layer}__{name}"

    def _array(self, layer: str, name: str) -> Tensor:
        return self.get_buffer(self._buffer(layer, name))

    def _convolve(self, layer: dict, x: Tensor) -> Tensor:
        name, config = layer["name"], layer["config"]
        if config["padding"] == "same":
            x = _pad_same(x, config["kernel_size"][0], config["strides"][0], 0.0)
        if layer["class_name"] == "SeparableConv2D":
            deep = self._array(name, "depthwise_kernel").permute(2, 3, 0, 1)
            x = F.conv2d(x, deep, stride=config["strides"], groups=len(deep))
            return F.conv2d(x, self._array(name, "pointwise_kernel").permute(3, 2, 0, 1))
        bias = self._array(name, "bias") if config["use_bias"] else None
        return F.conv2d(x, self._array(name, "kernel").permute(3, 2, 0, 1), bias, config["strides"])

    def forward(self, faces: Tensor) -> Tensor:
        """faces [B,1,64,64] grey in -1..1 -> probabilities [B,7] in the order of READINGS."""
        values: dict[str, Tensor] = {}
        for layer in self.layers:
            kind, name = layer["class_name"], layer["name"]
            inputs = [values[node[0]] for node in layer["inbound_nodes"][0]] if layer["inbound_nodes"] else [faces]
            x = inputs[0]
            if kind in ("Conv2D", "SeparableConv2D"):
                x = self._convolve(layer, x)
            elif kind == "BatchNormalization":
                mean, spread, gamma, beta = (
                    self._array(name, key) for key in ("moving_mean", "moving_variance", "gamma", "beta")
                )
                x = F.batch_norm(x, mean, spread, gamma, beta, eps=layer["config"]["epsilon"])
            elif kind == "MaxPooling2D":
                x = F.max_pool2d(_pad_same(x, 3, 2, -torch.inf), 3, 2)
            elif kind == "Add":
                x = inputs[0] + inputs[1]
            elif kind == "GlobalAveragePooling2D":
                x = x.mean((2, 3))
            elif kind == "Activation":
                x = x.relu() if layer["config"]["activation"] == "relu" else x.softmax(1)
            values[name] = x
        return x

    def read(self, images: Tensor, landmarks: Tensor) -> Tensor:
        """Probabilities [B,7] for images [B,3,H,W] 0..1 with landmarks [B or 1,478,2+] px."""
        low, high = landmarks[..., :2].amin(1), landmarks[..., :2].amax(1)
        centre, side = (low + high) / 2, MARGIN * (high - low).amax(1)
        grey = (images * images.new_tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)
        faces = []
        for face, (x, y), s in zip(grey, centre.expand(len(images), -1).tolist(), side.expand(len(images)).tolist()):
            picture = Image.fromarray((face[0].clamp(0, 1) * 255).byte().cpu().numpy())
            box = (round(x - s / 2), round(y - s / 2), round(x + s / 2), round(y + s / 2))
            small = picture.crop(box).resize((64, 64), Image.Resampling.BILINEAR)
            faces.append(torch.tensor(np.asarray(small), dtype=torch.float32)[None] / 127.5 - 1)
        return self(torch.stack(faces))


def _pad_same(x: Tensor, kernel: int, stride: int, value: float) -> Tensor:
    """TensorFlow's 'same': the odd pixel goes to the bottom right."""
    pads = []
    for size in (x.shape[-1], x.shape[-2]):
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        pads += [total // 2, total - total // 2]
    return F.pad(x, pads, value=value)


def held_out(model: FaceModel, data: Path, count: int, smiling: bool = False) -> list[PortraitFit]:
    """Up to `count` labelled faces spread over the test split of the data pack; smiling: of those that smile."""
    labels = np.load(data / "faces/labels.npz")
    names = json.loads((data / "splits.json").read_text())["faces"]
    row = {name: i for i, name in enumerate(labels["name"])}
    scores = labels["blendshapes"][:, 1:]  # without `_neutral`
    if smiling:
        sides = [INDEX["mouthSmileLeft"], INDEX["mouthSmileRight"]]
        names = [name for name in names if scores[row[name], sides].mean() > SMILES]
    names = [names[i] for i in np.linspace(0, len(names) - 1, min(count, len(names))).astype(int)]
    rows = [row[name] for name in names]
    pictures = [np.asarray(Image.open(data / "faces" / name).convert("RGB")) for name in names]
    return [fit_portrait(model, picture, labels["landmarks"][i], scores[i]) for picture, i in zip(pictures, rows)]


def table(confusion: np.ndarray) -> str:
    """The confusion matrix [wanted, read] of mean probabilities as text."""
    head = f"{'wanted':>10} " + " ".join(f"{name:>8}" for name in READINGS)
    rows = [f"{wanted:>10} " + " ".join(f"{value:8.2f}" for value in row) for wanted, row in zip(BASICS, confusion)]
    return "\n".join([head, *rows])


Reader = Callable[[Tensor, Tensor], Tensor]  # images [B,3,H,W], landmarks [B,478,2+] -> probabilities [B,7]
READERS = ("facex", "what-the-face", "fer")
_FACEX = [0, 1, 2, 3, 5, 6, 4]  # where `READINGS` lie in facex's order


def reader(name: str, data: Path) -> Reader:
    """One of `READERS`, its probabilities in the order of `READINGS`. data: the data pack. Raises UsageError."""
    if name == "facex":
        facex = independent.emotion()
        return lambda images, landmarks: facex(images, landmarks)[:, _FACEX]
    if name == "what-the-face":
        return independent.what_the_face()
    return EmotionReader(data / "teachers").eval().read


@torch.inference_mode()
def readings(
    talker: EmoTalk,
    readers: dict[str, Reader],
    portraits: list[PortraitFit],
    audio: Path | None,
    intensity: float,
    moments: int,
    shading: bool = True,
) -> tuple[dict[str, np.ndarray], list[np.ndarray]]:
    """Probabilities [wanted 7, faces x moments, read 7] by each reader, and one row of frames a face.

    Moments: one from each of as many equal parts of the speech, where the mouth is as open as it is half of the time.
    Without audio: silence. shading: as FaceMotion's.
    """
    if audio is None:
        mel = torch.full((N_MELS, 2 * SAMPLE_RATE // HOP), FLOOR)
    else:
        recording = Recording.open(audio)
        mel = torch.cat(list(talker.vad.listen(recording.mels())), 1)
    spoken = {n: talker.eac.predict(mel, talker.emotion(n).z[0], intensity) for n in BASICS}
    jaw = spoken["neutral"][0][:, INDEX["jawOpen"]]
    length = len(jaw) // moments
    at = [k * length + int(jaw[k * length : (k + 1) * length].argsort()[length // 2]) for k in range(moments)]
    found: dict[str, list[list[np.ndarray]]] = {name: [[] for _ in BASICS] for name in readers}
    rows = []
    for portrait in portraits:
        motion = FaceMotion(talker.face_model, portrait, shading=shading)
        source = source_of(talker.hef, portrait, motion)
        row = [portrait.image]
        for i, (beta, sigma) in enumerate(spoken.values()):
            pose = torch.zeros(moments, 6)
            geometry = motion.frame(beta[at], pose)
            images = generated(talker.hef, source, geometry, beta[at], pose, sigma[at])
            for name, read in readers.items():
                found[name][i].append(read(images, motion.vertices(beta[at], pose)).numpy())
            row.append(images[0])
        rows.append((torch.cat([*row], 2).clamp(0, 1) * 255).byte().permute(1, 2, 0).numpy())
    return {name: np.stack([np.concatenate(each) for each in lists]) for name, lists in found.items()}, rows


def read_first(found: np.ndarray) -> np.ndarray:
    """Rates [wanted, read] of what is read first, of probabilities [wanted,N,read]."""
    return np.eye(found.shape[2])[found.argmax(2)].mean(1)


def told_apart(found: np.ndarray) -> dict[str, float]:
    """Pair of emotions -> how often a face of the one is read as more of that one than a face of the other is.

    found: probabilities [wanted 7, N, read 7]. The area under the curve of the two classes' log odds: a half is chance,
    whatever the reader prefers.
    """
    names = list(BASICS)
    odds = np.log(found + 1e-6)
    pairs = {}
    for (i, one), (j, other) in itertools.combinations(enumerate(names), 2):
        a, b = READINGS.index(BASICS[one]), READINGS.index(BASICS[other])
        mine, theirs = (odds[k, :, a] - odds[k, :, b] for k in (i, j))
        better = (mine[:, None] > theirs).mean() + 0.5 * (mine[:, None] == theirs).mean()
        pairs[f"{one}, {other}"] = float(better)
    return pairs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the training data pack")
    parser.add_argument("--audio", type=Path, default=Path("examples/speech.wav"))
    parser.add_argument("--silent", action="store_true", help="lips closed: judge silence in place of the speech")
    parser.add_argument("--faces", type=int, default=30)
    parser.add_argument("--smiling", action="store_true", help="of the held-out faces, those that smile in the photo")
    parser.add_argument("--portrait", type=Path, action="append", default=[], help="this picture instead; repeatable")
    parser.add_argument("--moments", type=int, default=2, help="frames a face and emotion")
    parser.add_argument("--intensity", type=float, default=3.0)
    parser.add_argument(
        "--generator", choices=("hef", "geometry", "warp"), default="hef", help="warp: geometry without shading"
    )
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--reader", choices=READERS, action="append", default=[], help="repeatable; default: all")
    parser.add_argument("--sheet", type=Path, help="write frames of the first faces as a picture")
    options = parser.parse_args()
    shading = options.generator != "warp"
    talker = EmoTalk.load(options.weights, "cpu", options.generator if shading else "geometry")
    faces = [talker.portrait(path).fit for path in options.portrait] or held_out(
        talker.face_model, options.data, options.faces, options.smiling
    )
    readers = {name: reader(name, options.data) for name in options.reader or READERS}
    audio = None if options.silent else options.audio
    found, rows = readings(talker, readers, faces, audio, options.intensity, options.moments, shading)
    kind = "portraits" if options.portrait else "smiling held-out faces" if options.smiling else "held-out faces"
    print(f"{options.generator}, intensity {options.intensity:g}, {len(faces)} {kind} x {options.moments} moments")
    for name, probabilities in found.items():
        means, hits = probabilities.mean(1), read_first(probabilities)
        print(f"\n{name}\nmean probability\n{table(means)}\nread first\n{table(hits)}")
        rates = wanted(hits)
        print("read as wanted: " + ", ".join(f"{n} {value:.2f}" for n, value in rates.items()))
        print(f"mean of the six emotions: {np.mean([rates[n] for n in BASICS if n != 'neutral']):.3f}")
        pairs = sorted(told_apart(probabilities).items(), key=lambda item: item[1])
        print("told apart worst: " + ", ".join(f"{pair} {value:.2f}" for pair, value in pairs[:6]))
    if options.sheet:
        sheet = Image.fromarray(np.concatenate(rows[:8]))
        sheet.resize((sheet.width * 5 // 16, sheet.height * 5 // 16), Image.Resampling.LANCZOS).save(options.sheet)


def wanted(matrix: np.ndarray) -> dict[str, float]:
    """The diagonal by emotion."""
    return {name: float(matrix[i, READINGS.index(read)]) for i, (name, read) in enumerate(BASICS.items())}


if __name__ == "__main__":
    main()
