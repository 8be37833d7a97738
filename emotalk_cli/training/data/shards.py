"""Prepared clips: one safetensors file a clip with everything that training and evaluation read of it.

    jpeg [bytes], offset [T+1]      the square crop at 25 frames/s, one JPEG a frame
    wave [640 T]                    16 kHz speech, int16
    landmarks [T,478,3], scores [T,51]    crop px; the tracker's expression scores
    alpha [80], beta [T,64], delta [80], gamma [27], pose [T,6]    the tracked θ (Sec. 3.1); pose as `Pose.vector`

The header carries `Labels`. `index.csv` beside the clips lists them all.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ...errors import InputError
from ...face.fit import Pose
from ...face.model import rotation_matrix
from ...media.audio import SAMPLES_PER_FRAME
from ...media.files import replaced

INDEX = "index.csv"
CLIPS = "clips"
JPEG_QUALITY = 95
SPLITS = ("train", "test")


@dataclasses.dataclass
class Labels:
    """What is known of a clip without looking at it.

    name: unique, safe as a file name. subject: who speaks. emotion: one of `emotions.BASICS`, or the data set's own
    word. intensity: 1..3. split: train | test. source: the file it came from.
    """

    name: str
    subject: str
    emotion: str
    intensity: float
    split: str
    source: str


def path_of(folder: Path, name: str) -> Path:
    """File of a clip."""
    return folder / CLIPS / f"{name}.safetensors"


def write(
    folder: Path, labels: Labels, frames: list[bytes], wave: np.ndarray, fitted: dict[str, Tensor], size: int, made: str
) -> Path:
    """Write one clip atomically. frames: JPEG files; wave: float [640 T] in -1..1; made: what it was made from."""
    path = path_of(folder, labels.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    lengths = np.cumsum([0, *map(len, frames)])
    tensors = {
        "jpeg": torch.from_numpy(np.frombuffer(b"".join(frames), np.uint8).copy()),
        "offset": torch.from_numpy(lengths),
        "wave": torch.from_numpy((wave.clip(-1, 1) * 32767).astype(np.int16)),
        **{key: value.float().contiguous() for key, value in fitted.items()},
    }
    header = {"labels": json.dumps(dataclasses.asdict(labels)), "size": str(size), "made": made}
    with replaced(path) as part:
        save_file(tensors, part, header)
    return path


class Shard:
    """One prepared clip, read piece by piece. Raises InputError if the file is missing or damaged."""

    def __init__(self, path: Path) -> None:
        try:
            self._file = safe_open(path, framework="pt")
            header = self._file.metadata()
            self.labels = Labels(**json.loads(header["labels"]))
            self.size, self.made = int(header["size"]), header["made"]
            self._offset = self._file.get_tensor("offset").tolist()
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path} is no prepared clip; run emotalk train prepare again.") from error
        self.path = path

    def __len__(self) -> int:
        return len(self._offset) - 1

    def __getitem__(self, key: str) -> Tensor:
        """A whole tensor: landmarks, scores, alpha, beta, delta, gamma, pose, wave (as float in -1..1)."""
        tensor = self._file.get_tensor(key)
        return tensor.float() / 32767 if key == "wave" else tensor

    def frame(self, number: int) -> Tensor:
        """Frame as uint8 [3,size,size]."""
        jpeg = self._file.get_slice("jpeg")[self._offset[number] : self._offset[number + 1]]
        picture = Image.open(io.BytesIO(jpeg.numpy().tobytes()), formats=["JPEG"]).convert("RGB")
        return torch.from_numpy(np.array(picture)).permute(2, 0, 1)

    def frames(self, start: int = 0, stop: int | None = None) -> Tensor:
        """Frames start..stop as uint8 [n,3,size,size]."""
        return torch.stack([self.frame(i) for i in range(start, len(self) if stop is None else stop)])

    def sound(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Speech of frames start..stop, float32 in -1..1."""
        stop = len(self) if stop is None else stop
        piece = self._file.get_slice("wave")[start * SAMPLES_PER_FRAME : stop * SAMPLES_PER_FRAME]
        return piece.numpy().astype(np.float32) / 32767


def to_pose(vector: Tensor, size: int) -> Pose:
    """Inverse of `Pose.vector`: [B,6] -> Pose in crop px, with depth about zero."""
    flip = vector.new_tensor([1.0, -1.0, -1.0])
    turn = rotation_matrix(vector[:, :3]) * flip[:, None] * flip
    place = torch.cat([(vector[:, 3:5] + 0.5) * size, torch.zeros_like(vector[:, :1])], 1)
    return Pose(turn, vector[:, 5].exp() * size, place)


def is_prepared(folder: Path) -> bool:
    """Whether `emotalk train prepare` has finished in this folder."""
    return (folder / INDEX).is_file()


def listing(folder: Path, split: str | None = None) -> list[Path]:
    """Clips of a prepared folder, in the order of their names. Raises InputError if there are none."""
    if not is_prepared(folder):
        raise InputError(f"{folder} holds no {INDEX}; make it with emotalk train prepare.")
    with open(folder / INDEX, newline="") as file:
        rows = [row for row in csv.DictReader(file) if split in (None, row["split"])]
    if not rows:
        raise InputError(f"{folder} holds no clips of the split {split}; prepare more, or name another folder.")
    return [path_of(folder, row["name"]) for row in rows]


def write_index(folder: Path) -> list[Labels]:
    """List the clips in the folder in `index.csv`, and return what it says."""
    found = []
    for path in sorted((folder / CLIPS).glob("*.safetensors")):
        shard = Shard(path)
        found.append((shard.labels, len(shard)))
    with replaced(folder / INDEX) as part, open(part, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*(field.name for field in dataclasses.fields(Labels)), "frames"])
        writer.writerows([*dataclasses.astuple(labels), frames] for labels, frames in found)
    return [labels for labels, _ in found]
