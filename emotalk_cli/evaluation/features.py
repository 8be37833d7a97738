"""What networks see in a face before they decide: φ_emo of eq. 6."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from ..errors import InputError, UsageError, WeightsError
from ..face.landmarker import Landmarker
from ..face.raster import face_square
from ..face.tracker import FaceTracker

READERS = ("affectnet", "fer", "tracker")


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
            from . import published

            found = published.find("affectnet")
            if found is None:
                raise WeightsError("task.reader=affectnet is missing; emotalk weights add affectnet FILE adds it.")
            self.network = found
        elif reader == "tracker":
            tracker = FaceTracker.load()
            self.dims, self.network = tracker.dims, tracker.landmarker
        else:
            from .emotion import EmotionReader

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
            assert isinstance(net, Landmarker)
            return net.summary(net.late(net.middle(net.early(crops)))).float()
        grey = (images * images.new_tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)
        return self.network(face_square(grey, landmarks, 64, 1.2) * 2 - 1).mean((2, 3))
