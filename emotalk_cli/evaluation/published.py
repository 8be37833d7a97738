"""The field's published judges: their architectures here, their weights from whoever has them.

Inception (FID), SyncNet (Sync), CurricularFace (CSIM) and Emotion-FAN (EFD) may not be shipped. `add` takes a file that
the user has downloaded, checks that it fits, and keeps it as safetensors in the user's data folder, where `find` looks.
"""

from __future__ import annotations

import dataclasses
import math
import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import inception

from ..errors import InputError, UsageError, WeightsError
from ..face.raster import face_square
from ..media.audio import SAMPLE_RATE
from ..media.files import sha256
from ..models import added, checkpoints, gpt2
from .lipsync import OFFSETS

# --- Inception: FID ------------------------------------------------------------------------------------------------


def _fid_average(x: Tensor) -> Tensor:
    """TensorFlow's average pooling leaves the padding out of the mean."""
    return F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)


class _BlockA(inception.InceptionA):
    def _forward(self, x: Tensor) -> list[Tensor]:
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        pooled = self.branch_pool(_fid_average(x))
        return [self.branch1x1(x), self.branch5x5_2(self.branch5x5_1(x)), double, pooled]


class _BlockC(inception.InceptionC):
    def _forward(self, x: Tensor) -> list[Tensor]:
        single = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        double = self.branch7x7dbl_1(x)
        for layer in (self.branch7x7dbl_2, self.branch7x7dbl_3, self.branch7x7dbl_4, self.branch7x7dbl_5):
            double = layer(double)
        return [self.branch1x1(x), single, double, self.branch_pool(_fid_average(x))]


class _BlockE(inception.InceptionE):
    largest = False  # the last block pools by maximum: an oddity of the FID network, kept by all who compare

    def _forward(self, x: Tensor) -> list[Tensor]:
        single, double = self.branch3x3_1(x), self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        single = torch.cat([self.branch3x3_2a(single), self.branch3x3_2b(single)], 1)
        double = torch.cat([self.branch3x3dbl_3a(double), self.branch3x3dbl_3b(double)], 1)
        pooled = F.max_pool2d(x, 3, 1, 1) if self.largest else _fid_average(x)
        return [self.branch1x1(x), single, double, self.branch_pool(pooled)]


class Inception(nn.Module):
    """Inception-v3 as FID uses it (Heusel et al. 2017; weights as pytorch-fid distributes them): 2048 features."""

    num_features = 2048

    def __init__(self) -> None:
        super().__init__()
        net = inception.Inception3(num_classes=1008, aux_logits=False, init_weights=False)
        net.Mixed_5b, net.Mixed_5c, net.Mixed_5d = _BlockA(192, 32), _BlockA(256, 64), _BlockA(288, 64)
        net.Mixed_6b, net.Mixed_6c = _BlockC(768, 128), _BlockC(768, 160)
        net.Mixed_6d, net.Mixed_6e = _BlockC(768, 160), _BlockC(768, 192)
        net.Mixed_7b, net.Mixed_7c = _BlockE(1280), _BlockE(2048)
        net.Mixed_7c.largest = True
        self.net = net

    def forward(self, images: Tensor, landmarks: Tensor | None = None) -> Tensor:
        """images [B,3,H,W] in 0..1 -> [B,2048]. The whole picture counts."""
        net, x = self.net, F.interpolate(images, (299, 299), mode="bilinear", align_corners=False) * 2 - 1
        x = net.Conv2d_2b_3x3(net.Conv2d_2a_3x3(net.Conv2d_1a_3x3(x)))
        x = net.Conv2d_4a_3x3(net.Conv2d_3b_1x1(F.max_pool2d(x, 3, 2)))
        x = F.max_pool2d(x, 3, 2)
        for block in ("5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c"):
            x = getattr(net, f"Mixed_{block}")(x)
        return x.mean((2, 3))


# --- CurricularFace: CSIM ------------------------------------------------------------------------------------------

# Where eyes, nose tip and mouth corners lie in the 112 px pictures that face recognition is trained on (ArcFace).
TEMPLATE = ((38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041))
FIVE = ((33, 133), (362, 263), (1,), (61,), (291,))  # vertices whose means are these points


class _Residual(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.shortcut_layer: nn.Module = nn.MaxPool2d(1, stride)
        if inputs != outputs:
            project = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.shortcut_layer = nn.Sequential(project, nn.BatchNorm2d(outputs))
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(inputs), nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False), nn.PReLU(outputs),
            nn.Conv2d(outputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut_layer(x) + self.res_layer(x)


class CurricularFace(nn.Module):
    """IR-101 face recognition (Huang et al. 2020): 512-d identity of an aligned face."""

    def __init__(self) -> None:
        super().__init__()
        self.input_layer = nn.Sequential(nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.PReLU(64))
        blocks, width = [], 64
        for outputs, count in ((64, 3), (128, 13), (256, 30), (512, 3)):
            for number in range(count):
                blocks.append(_Residual(width, outputs, 1 if number else 2))
                width = outputs
        self.body = nn.Sequential(*blocks)
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(512), nn.Dropout(0.4), nn.Flatten(), nn.Linear(512 * 7 * 7, 512),
            nn.BatchNorm1d(512, affine=False),
        )  # fmt: skip

    def forward(self, images: Tensor, landmarks: Tensor) -> Tensor:
        """images [B,3,H,W] in 0..1, landmarks [B,478,2+] px -> unit [B,512]."""
        faces = aligned(images, landmarks) * 2 - 1
        return F.normalize(self.output_layer(self.body(self.input_layer(faces))), dim=1)


def aligned(images: Tensor, landmarks: Tensor, size: int = 112) -> Tensor:
    """Faces laid on `TEMPLATE` by a similarity: images [B,3,H,W], landmarks [B,478,2+] px -> [B,3,size,size]."""
    points = torch.stack([landmarks[:, list(group), :2].mean(1) for group in FIVE], 1)
    template = points.new_tensor(TEMPLATE) * (size / 112)
    a, b = template - template.mean(0), points - points.mean(1, keepdim=True)
    # least squares of template -> picture as a complex factor: p = f·t + shift
    norm = a.square().sum()
    real = (a[:, 0] * b[..., 0] + a[:, 1] * b[..., 1]).sum(1) / norm
    imaginary = (a[:, 0] * b[..., 1] - a[:, 1] * b[..., 0]).sum(1) / norm
    unit = torch.arange(size, device=images.device) + 0.5
    y, x = torch.meshgrid(unit - template[:, 1].mean(), unit - template[:, 0].mean(), indexing="ij")
    real, imaginary, centre = real[:, None, None], imaginary[:, None, None], points.mean(1)[:, None, None]
    at = torch.stack([real * x - imaginary * y, imaginary * x + real * y], -1) + centre
    return F.grid_sample(images, at / at.new_tensor(images.shape[:1:-1]) * 2 - 1, align_corners=False)


# --- Emotion-FAN: EFD ----------------------------------------------------------------------------------------------


class EmotionFAN(nn.Module):
    """ResNet-18 of the frame attention networks (Meng et al. 2019), before its attention: 512 features of a face."""

    def __init__(self) -> None:
        super().__init__()
        self.net = torchvision.models.resnet18(weights=None)
        self.net.fc = nn.Identity()

    def forward(self, images: Tensor, landmarks: Tensor) -> Tensor:
        """images [B,3,H,W] in 0..1, landmarks [B,478,2+] px -> [B,512]."""
        return self.net(face_square(images, landmarks, 224, 1.2))


# --- AffectNet: φ_emo ----------------------------------------------------------------------------------------------


class AffectNet(nn.Module):
    """ResNet-50 that was trained on AffectNet (Mollahosseini et al. 2017): 2048 features of a face, for eq. 6."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.net = torchvision.models.resnet50(weights=None)
        self.net.fc = nn.Identity()
        for name, values in (("mean", (0.485, 0.456, 0.406)), ("std", (0.229, 0.224, 0.225))):  # ImageNet's
            self.register_buffer(name, torch.tensor(values)[:, None, None], persistent=False)

    def forward(self, images: Tensor, landmarks: Tensor) -> Tensor:
        """images [B,3,H,W] in 0..1, landmarks [B,478,2+] px -> [B,2048]."""
        return self.net((face_square(images, landmarks, 224, 1.2) - self.mean) / self.std)


# --- SyncNet: Sync -------------------------------------------------------------------------------------------------


class SyncNet(nn.Module):
    """SyncNet v2 (Chung & Zisserman 2016): five frames of a face and 0.2 s of sound into one space of 1024."""

    def __init__(self) -> None:
        super().__init__()

        def block(kind: type[nn.Module], norm: type[nn.Module], inputs: int, outputs: int, kernel, **options) -> list:
            return [kind(inputs, outputs, kernel, **options), norm(outputs), nn.ReLU()]

        def flat(inputs: int, outputs: int, kernel: int | tuple, **options) -> list:
            return block(nn.Conv2d, nn.BatchNorm2d, inputs, outputs, kernel, **options)

        def deep(inputs: int, outputs: int, kernel: tuple, **options) -> list:
            return block(nn.Conv3d, nn.BatchNorm3d, inputs, outputs, kernel, **options)

        self.netcnnaud = nn.Sequential(
            *flat(1, 64, 3, padding=1), nn.MaxPool2d(1, 1),
            *flat(64, 192, 3, padding=1), nn.MaxPool2d(3, (1, 2)),
            *flat(192, 384, 3, padding=1), *flat(384, 256, 3, padding=1), *flat(256, 256, 3, padding=1),
            nn.MaxPool2d(3, 2), *flat(256, 512, (5, 4)),
        )  # fmt: skip
        self.netcnnlip = nn.Sequential(
            *deep(3, 96, (5, 7, 7), stride=(1, 2, 2)), nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
            *deep(96, 256, (1, 5, 5), stride=(1, 2, 2), padding=(0, 1, 1)),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
            *deep(256, 256, (1, 3, 3), padding=(0, 1, 1)), *deep(256, 256, (1, 3, 3), padding=(0, 1, 1)),
            *deep(256, 256, (1, 3, 3), padding=(0, 1, 1)), nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
            *deep(256, 512, (1, 6, 6)),
        )  # fmt: skip
        self.netfcaud, self.netfclip = (
            nn.Sequential(nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, 1024)) for _ in range(2)
        )

    def sound(self, coefficients: Tensor) -> Tensor:
        """MFCC windows [B,1,13,20] -> [B,1024]."""
        return self.netfcaud(self.netcnnaud(coefficients).flatten(1))

    def lips(self, faces: Tensor) -> Tensor:
        """Five faces each [B,3,5,224,224], BGR in 0..255 -> [B,1024]."""
        return self.netfclip(self.netcnnlip(faces).flatten(1))

    @torch.inference_mode()
    def judge(self, faces: Tensor, wave: np.ndarray, batch: int = 16) -> tuple[float, int]:
        """Confidence, and frames by which the sound is late: faces [T,3,224,224] RGB in 0..1, 16 kHz samples."""
        device = next(self.parameters()).device
        cepstra = torch.from_numpy(mfcc(wave)).float()
        windows = min(len(faces) - 5, len(wave) // 640 - 5, (cepstra.shape[1] - 20) // 4 + 1)
        if windows < 2:
            raise InputError("Lip synchronisation needs at least 7 frames with sound.")
        seen, heard = [], []
        for start in range(0, windows, batch):
            rows = range(start, min(start + batch, windows))
            clips = torch.stack([faces[i : i + 5].transpose(0, 1) for i in rows]).flip(1) * 255
            seen.append(self.lips(clips.to(device)).cpu())
            pieces = torch.stack([cepstra[None, :, 4 * i : 4 * i + 20] for i in rows])
            heard.append(self.sound(pieces.to(device)).cpu())
        lips, padded = torch.cat(seen), F.pad(torch.cat(heard), (0, 0, OFFSETS, OFFSETS))
        shifted = padded.unfold(0, 2 * OFFSETS + 1, 1).transpose(1, 2)  # [windows, offsets, 1024]
        distance = (lips[:, None] - shifted + 1e-6).norm(dim=2).mean(0)
        best = int(distance.argmin())
        return float(distance.median() - distance[best]), best - OFFSETS


def sync_faces(images: Tensor, landmarks: Tensor) -> Tensor:
    """Faces as SyncNet's own pipeline crops them: images [B,3,H,W] 0..1, landmarks [B,478,2+] px -> [B,3,224,224]."""
    low, high = landmarks[..., :2].amin(1), landmarks[..., :2].amax(1)
    centre, half = (low + high) / 2, (high - low).amax(1, keepdim=True) / 2
    # a square of 1.4 times the box that reaches 1.8 half sides below its centre and one above it
    middle = centre + half * centre.new_tensor([0.0, 0.4])
    corners = torch.stack([middle - 1.4 * half, middle + 1.4 * half], 1)
    return face_square(images, corners, 224, 1.0)


def mfcc(wave: np.ndarray) -> np.ndarray:
    """13 cepstra at 100 frames/s of 16 kHz samples in -1..1, as python_speech_features makes them: [13,N].

    25 ms windows, pre-emphasis 0.97, 26 mel filters, lifter 22, the first replaced by the log energy.
    """
    signal = np.round(np.asarray(wave, np.float64) * 32767)
    signal = np.append(signal[:1], signal[1:] - 0.97 * signal[:-1])
    length, step, size = 400, 160, 512
    count = 1 + max(0, math.ceil((len(signal) - length) / step))
    signal = np.pad(signal, (0, max(0, (count - 1) * step + length - len(signal))))
    frames = np.lib.stride_tricks.sliding_window_view(signal, length)[::step][:count]
    power = np.abs(np.fft.rfft(frames, size)) ** 2 / size
    tiny = np.finfo(float).eps
    energy = np.maximum(power.sum(1), tiny)

    def mel(hertz):
        return 2595 * np.log10(1 + hertz / 700)

    points = 700 * (10 ** (np.linspace(0, mel(SAMPLE_RATE / 2), 28) / 2595) - 1)
    edges = np.floor((size + 1) * points / SAMPLE_RATE)
    at, bank = np.arange(size // 2 + 1), np.zeros((26, size // 2 + 1))
    for row, (left, top, right) in enumerate(zip(edges, edges[1:], edges[2:])):
        rising, falling = (at >= left) & (at < top), (at >= top) & (at < right)
        bank[row, rising] = (at[rising] - left) / (top - left)
        bank[row, falling] = (right - at[falling]) / (right - top)
    logs = np.log(np.maximum(power @ bank.T, tiny))
    order, place = np.arange(13)[:, None], np.arange(26)[None]
    cosine = np.cos(np.pi * order * (2 * place + 1) / 52) * np.sqrt(2 / 26)  # DCT-II, orthonormal
    cosine[0] /= np.sqrt(2)
    cepstra = (logs @ cosine.T) * (1 + 11 * np.sin(np.pi * np.arange(13) / 22))
    cepstra[:, 0] = np.log(energy)
    return cepstra.T


# --- files ---------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Judge(added.Published):
    """A network that measures, or of training, `phi_emo`: how it is built.

    inner: its parameters are those of the attribute `net`. ignored: pattern of parameters that the file may have beside
    them. sha256: how the known file's hash begins, if its publisher says.
    """

    build: Callable[[], nn.Module]
    inner: bool = False
    ignored: str = "$^"
    sha256: str = ""


JUDGES: dict[str, Judge] = {
    "inception": Judge(
        "fid",
        "pt_inception-2015-12-05-6726825d.pth",
        "https://github.com/mseitzer/pytorch-fid/releases/tag/fid_weights",
        Inception,
        inner=True,
        sha256="6726825d",
    ),
    "syncnet": Judge(
        "sync",
        "syncnet_v2.model",
        "https://www.robots.ox.ac.uk/~vgg/software/lipsync/data/syncnet_v2.model",
        SyncNet,
    ),
    "curricularface": Judge(
        "csim",
        "CurricularFace_Backbone.pth",
        "https://github.com/HuangYG123/CurricularFace#model",
        CurricularFace,
    ),
    "emotion-fan": Judge(
        "efd",
        "Resnet18_FER+_pytorch.pth.tar",
        "https://github.com/Open-Debin/Emotion-FAN#download-pretrain-models",
        EmotionFAN,
        inner=True,
        ignored=r"(fc|alpha|beta|pred_fc\d)\.",
    ),
    "affectnet": Judge(
        "phi_emo",
        "a ResNet-50 in torchvision's names, .pth",
        "whoever has trained one on AffectNet (http://mohammadmahoor.com/affectnet)",
        AffectNet,
        inner=True,
        ignored=r"(fc|classifier|linear)\.",
    ),
}
NETWORKS: dict[str, added.Published] = {**JUDGES, gpt2.SPACE: gpt2.PUBLISHED}  # all that can be added


def find(name: str, device: str | torch.device = "cpu") -> nn.Module | None:
    """A judge that the user has added, ready for use, or None. Raises WeightsError if its file is damaged."""
    if not added.has(name):
        return None
    return _fill(name, checkpoints.load(name, added.folder()).tensors, str(added.folder())).to(device)


def add(name: str, file: str | os.PathLike[str]) -> Path:
    """Check a downloaded file (of GPT-2 a folder) and keep it as safetensors in `added.folder`; the new file's path.

    Raises UsageError for an unknown name, InputError or WeightsError if the file is not what it should be.
    """
    if name not in NETWORKS:
        raise UsageError(f"No network is called {name}; choose one of {', '.join(NETWORKS)}.")
    if name == gpt2.SPACE:
        return gpt2.add(file)
    path, judge = Path(file), JUDGES[name]
    if not path.is_file():
        raise InputError(f"{path} is no file; download {judge.file} from {judge.source}.")
    digest = sha256(path)
    if path.name == judge.file and not digest.startswith(judge.sha256):
        raise WeightsError(f"{path} is damaged (its SHA-256 should begin with {judge.sha256}); download it again.")
    tensors = added.read(path)
    model = _fill(name, tensors, str(path))
    return checkpoints.save(
        name,
        _inner(model, judge).state_dict(),
        {},
        added.folder(),
        data=judge.source,
        command=f"emotalk weights add {name}",
        seed=0,
        half=False,
        original=path.name,
        original_sha256=digest,
    )


def _inner(model: nn.Module, judge: Judge) -> nn.Module:
    """The part of a model that a published file holds."""
    return model.get_submodule("net") if judge.inner else model


def _fill(name: str, tensors: dict[str, Tensor], source: str) -> nn.Module:
    judge = JUDGES[name]
    model = judge.build()
    target = _inner(model, judge)
    kept = {key: value for key, value in tensors.items() if not re.match(judge.ignored, key)}
    wanted = target.state_dict()
    for key, value in wanted.items():  # old files lack counters that nothing reads
        if key.endswith("num_batches_tracked"):
            kept.setdefault(key, value)
    wrong = sorted(set(wanted) ^ set(kept)) or [k for k in wanted if wanted[k].shape != kept[k].shape]
    if wrong:
        fitting = f"get {judge.file} from {judge.source}"
        raise WeightsError(f"{source} does not hold {name} ({wrong[0]} does not fit); {fitting}.")
    target.load_state_dict(kept)
    return model.eval().requires_grad_(False)
