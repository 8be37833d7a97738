"""The image tower of the emotion space (paper Sec. 3.2): a face becomes z_emo."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..face.landmarker import crop_frames, cut
from ..face.procrustes import nearest_rotation
from ..face.topology import BROWS, FACE_OVAL, INNER_LIPS, LEFT_EYE, OUTER_LIPS, RIGHT_EYE
from .tower import _Tower
from .transformer import Transformer

FOLDS = (50, 280, 101, 330, 36, 266, 205, 425, 216, 436, 1, 4, 5, 6, 98, 327, 168, 9, 8, 199, 200, 18, 202, 422)
POINTS = tuple(dict.fromkeys([*OUTER_LIPS, *INNER_LIPS, *LEFT_EYE, *RIGHT_EYE, *BROWS, *FOLDS, *FACE_OVAL]))
SCORES = 51  # blendshape scores of the tracker
MARGIN = 1.25  # side of a face crop / size of the face


def face_crop(pixels: np.ndarray, landmarks: np.ndarray, side: int, margin: float) -> Tensor:
    """The upright face of uint8 [H,W,3] at landmarks [478,3] px: [1,3,side,side] in -1..1."""
    frame = crop_frames(torch.tensor(landmarks)[None])[0].tolist()
    return cut(torch.tensor(pixels).permute(2, 0, 1), frame, side, margin)


@dataclass(frozen=True)
class ImageDims:
    """Sizes of the image tower. side: px of the face crop; margin: its side / size of the face."""

    side: int = 96
    margin: float = MARGIN
    patch: int = 16
    width: int = 128
    layers: int = 3
    heads: int = 4
    hidden: int = 192
    output: int = 512
    space: str = "emotalk-2"


class VisionTransformer(nn.Module):
    """CLIP's image encoder (ViT, Radford et al. 2021), with open_clip's names of tensors."""

    def __init__(self, dims: ImageDims) -> None:
        super().__init__()
        width = dims.width
        self.conv1 = nn.Conv2d(3, width, dims.patch, dims.patch, bias=False)
        self.class_embedding = nn.Parameter(width**-0.5 * torch.randn(width))
        self.positional_embedding = nn.Parameter(width**-0.5 * torch.randn((dims.side // dims.patch) ** 2 + 1, width))
        self.ln_pre, self.ln_post = nn.LayerNorm(width), nn.LayerNorm(width)
        self.transformer = Transformer(width, dims.layers, dims.heads, mlp_ratio=2.0)
        self.proj = nn.Parameter(width**-0.5 * torch.randn(width, dims.output))

    def forward(self, pixels: Tensor) -> Tensor:
        """[B,3,side,side] -> [B,output], not normalised."""
        patches = self.conv1(pixels).flatten(2).mT
        tokens = torch.cat([self.class_embedding.expand(len(patches), 1, -1), patches], 1)
        tokens = self.transformer(self.ln_pre(tokens + self.positional_embedding))
        return self.ln_post(tokens[:, 0]) @ self.proj


class ImageTower(_Tower):
    """A Vision Transformer on the upright face, together with what the face tracker measured on it.

    The landmarks, laid on the mean face without pose, and the blendshape scores carry the shape of the expression;
    the pixels carry wrinkles, teeth and shade.
    """

    mean: Tensor

    name, Dims = "ame_image", ImageDims

    def __init__(self, dims: ImageDims = ImageDims()):
        super().__init__()
        self.dims = dims
        self.visual = VisionTransformer(dims)
        count = 3 * len(POINTS) + SCORES
        self.index = list(POINTS)
        self.register_buffer("mean", torch.zeros(len(POINTS), 3))  # the mean face, size 1
        self.standard = nn.BatchNorm1d(count, affine=False, momentum=0.02)
        self.direct = nn.Linear(count, dims.output)
        self.shape = nn.Sequential(
            nn.Dropout(0.1),
            nn.Linear(count, dims.hidden),
            nn.GELU(),
            nn.Dropout(0.1),
            nn.Linear(dims.hidden, dims.hidden),
            nn.GELU(),
            nn.Linear(dims.hidden, dims.output),
        )

    def crop(self, pixels: np.ndarray, landmarks: np.ndarray) -> Tensor:
        """What the tower sees of uint8 [H,W,3] with a face at landmarks [478,3] px: [1,3,side,side] in -1..1."""
        return face_crop(pixels, landmarks, self.dims.side, self.dims.margin)

    def features(self, landmarks: Tensor, scores: Tensor) -> Tensor:
        """[B,478,3] px and [B,51] in 0..1 -> [B,N]: landmarks on the mean face (rigidly, size 1), and the scores."""
        points = landmarks[:, self.index]
        points = points - points.mean(1, keepdim=True)
        points = points / points.square().sum((1, 2), keepdim=True).sqrt()
        return torch.cat([(points @ nearest_rotation(points.mT @ self.mean)[0]).flatten(1), scores], 1)

    def forward(self, crops: Tensor, features: Tensor) -> Tensor:
        """Face crops [B,3,side,side] in -1..1 and `features` [B,N] -> unit vectors [B,512]."""
        features = self.standard(features).clamp(-5, 5)
        return F.normalize(self.visual(crops) + self.shape(features) + self.direct(features), dim=1)
