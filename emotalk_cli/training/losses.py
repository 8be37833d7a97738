"""The paper's losses on filmed faces, through the differentiable renderer (Sec. 3.3 and 3.4, eq. 5, 6 and 11)."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import InputError, UsageError, WeightsError
from ..face.alignment import IBUG
from ..face.fit import Pose, camera_normals
from ..face.model import FaceModel, shade
from ..face.raster import interpolate, rasterize
from ..face.topology import N_SKIN
from ..face.tracker import FaceTracker

READERS = ("affectnet", "fer", "tracker")
LANDMARK_SCALE = 224  # px, side of the picture in which L_lm is measured: that of D3DFR


class Renderer(nn.Module):
    """R(θ) -> I^rd and its mask M: the face model's skin under its light, differentiable in shape, pose and colour."""

    def __init__(self, model: FaceModel, size: int) -> None:
        super().__init__()
        self.model, self.size = model, size

    def vertices(self, alpha: Tensor, beta: Tensor, pose: Pose) -> Tensor:
        """Landmarks [B,478,3] px of alpha [B,80], beta [B,64] (counted from rest, as `fit_shape` does) and B poses."""
        return pose.project(self.model.vertices(alpha, beta + self.model.expression_rest))

    def forward(self, alpha: Tensor, beta: Tensor, delta: Tensor, gamma: Tensor, pose: Pose) -> tuple[Tensor, Tensor]:
        """θ of B frames, poses in px of pictures of this size -> I^rd [B,3,s,s] 0..1 on black, M [B,1,s,s]."""
        points = self.vertices(alpha, beta, pose)[:, :N_SKIN]
        face, weights = rasterize(points, self.model.triangles, self.size, self.size)
        at = interpolate(face, weights, self.model.triangles, self.model.uv[:N_SKIN] * 2 - 1).permute(0, 2, 3, 1)
        normals = camera_normals(self.model, beta, pose, self.model.dims.texture_size)
        skin = self.model.albedo(delta) * shade(normals, gamma).clamp_min(0)
        mask = (face >= 0)[:, None].to(skin)
        return F.grid_sample(skin, at, align_corners=False, padding_mode="border").clamp(0, 1) * mask, mask


def blended(rendered: Tensor, mask: Tensor, image: Tensor) -> Tensor:
    """I^3d = M ⊙ I^rd + (1 - M) ⊙ I."""
    return mask * rendered + (1 - mask) * image


def face_square(images: Tensor, landmarks: Tensor, size: int, margin: float) -> Tensor:
    """Squares around faces, differentiable: images [B,3,H,W], landmarks [B,N,2+] px -> [B,3,size,size].

    margin: side / longer side of the landmarks' box.
    """
    low, high = landmarks[..., :2].amin(1), landmarks[..., :2].amax(1)
    centre, half = (low + high) / 2, margin / 2 * (high - low).amax(1)
    unit = (torch.arange(size, device=images.device) + 0.5) / size * 2 - 1
    x, y = centre[:, :1] + half[:, None] * unit, centre[:, 1:] + half[:, None] * unit
    height, width = images.shape[-2:]
    across, down = x / width * 2 - 1, y / height * 2 - 1
    shrink = int(2 * float(half.detach().min()) / size)
    if shrink > 1:  # or pixels between the samples would not count
        images = F.interpolate(images, (height // shrink, width // shrink), mode="area")
    grid = torch.stack([across[:, None].expand(-1, size, -1), down[:, :, None].expand(-1, -1, size)], -1)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


class EmotionFeatures(nn.Module):
    """φ_emo of eq. 6: a frozen network before its last linear layer.

    reader: affectnet, the network that the user has added (`published`), as in the paper; fer, the FER2013 classifier
    of the data pack, in the folder `teachers`; tracker, what our own landmarker sums up of a face, which is no emotion
    network and stands in for one where there is none. Raises UsageError if none is named, InputError or WeightsError
    if its weights are not at hand.
    """

    def __init__(self, reader: str, teachers: Path = Path()) -> None:
        super().__init__()
        if reader not in READERS:
            raise UsageError(
                f"task.reader={reader} is no emotion network for L_emo; choose affectnet (emotalk weights add "
                "affectnet FILE), fer (with task.teachers=FOLDER), or tracker, which only stands in for one."
            )
        self.reader = reader
        if reader == "affectnet":
            from ..evaluation import published

            found = published.find("affectnet")
            if found is None:
                raise WeightsError("task.reader=affectnet is missing; emotalk weights add affectnet FILE adds it.")
            self.network = found
        elif reader == "tracker":
            tracker = FaceTracker.load()
            self.dims, self.network = tracker.dims, tracker.landmarker
        else:
            from ..evaluation.emotion import EmotionReader

            try:
                self.network = EmotionReader(teachers)
            except (OSError, TypeError) as error:
                raise InputError(f"task.reader=fer needs fer_mini_xception.npz in task.teachers={teachers}.") from error
            layers = self.network.layers
            last = max(i for i, layer in enumerate(layers) if layer["class_name"] == "Conv2D")
            self.network.layers = layers[:last]  # the classes are read by a convolution and a mean
        self.requires_grad_(False)

    def train(self, mode: bool = True) -> EmotionFeatures:
        """Frozen: batch statistics too."""
        return super().train(False)

    def forward(self, images: Tensor, landmarks: Tensor) -> Tensor:
        """images [B,3,H,W] 0..1 with landmarks [B,N,2+] px -> [B,n]."""
        if self.reader == "affectnet":
            return self.network(images, landmarks).float()
        if self.reader == "tracker":
            crops = face_square(images, landmarks, self.dims.crop, self.dims.margin) * 2 - 1
            net = self.network
            return net.summary(net.late(net.middle(net.early(crops)))).float()
        grey = (images * images.new_tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)
        return self.network(face_square(grey, landmarks, 64, 1.2) * 2 - 1).mean((2, 3))


def emotion_loss(made: Tensor, real: Tensor) -> Tensor:
    """L_emo (eq. 6): ‖φ(I^3d) - φ(I)‖₂ of features [B,n], mean over the batch."""
    return (made - real).square().sum(1).add(1e-12).sqrt().mean()


def reconstruction_loss(rendered: Tensor, mask: Tensor, image: Tensor) -> Tensor:
    """L_rec of eq. 5: ‖I^rd - M ⊙ I‖₂, the colour distance of a pixel, mean over the face (as D3DFR, which θ is of)."""
    distance = (rendered - mask * image).square().sum(1, keepdim=True).add(1e-12).sqrt()
    return (distance * mask).sum() / mask.sum().clamp_min(1)


def landmark_loss(original: Tensor, modified: Tensor, size: int) -> Tensor:
    """L_lm: mean distance of the 68 iBUG points of θ and θ̂. Landmarks [B,478,2+] px of pictures of `size` px."""
    index = torch.tensor(IBUG, device=original.device)
    error = (original - modified)[:, index, :2].square().sum(2).add(1e-12).sqrt()
    return error.mean() * (LANDMARK_SCALE / size)


def regularization_loss(beta: Tensor, predicted: Tensor) -> Tensor:
    """L_reg: ‖β - β̂‖₂, mean over frames. [..., 64]."""
    return (beta - predicted).square().sum(-1).add(1e-12).sqrt().mean()


def clip_loss(audio: Tensor, image: Tensor, text: Tensor) -> Tensor:
    """L_clip: (1 - cos(e_img, e_audio)) + (1 - cos(e_text, e_audio)) of embeddings [B,512], mean over the batch."""
    return (2 - F.cosine_similarity(image, audio) - F.cosine_similarity(text, audio)).mean()
