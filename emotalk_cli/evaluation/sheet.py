"""What generated faces look like: `python -m emotalk_cli.evaluation.sheet FACE... --out PNG`.

A row a face: the picture, then each emotion, mid-speech on an open vowel. With --zoom, a second picture shows
mouths and eyes enlarged.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from ..api import EmoTalk
from ..face.geometry import FaceMotion
from ..face.topology import INDEX, LEFT_EYE, OUTER_LIPS, RIGHT_EYE
from ..media.audio import Recording
from ..models.hef import generated, source_of

EMOTIONS = ("neutral", "happy", "sad", "surprised", "angry", "disgusted", "fearful", "contempt")
OPEN = 0.9  # of the frames, the jaw is open less than in the one shown
REGIONS = {"mouth": (OUTER_LIPS, 1.5), "eyes": (LEFT_EYE + RIGHT_EYE, 1.35)}  # landmarks; side / their width


@torch.inference_mode()
def moments(
    talker: EmoTalk, faces: list[Path], emotions: list[str], intensity: float, audio: Path
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Face by face: the picture [3,512,512] 0..1, a frame an emotion [E,3,512,512] and its landmarks [E,478,3] px."""
    recording = Recording.open(audio)
    mel = torch.cat(list(talker.vad.listen(recording.mels())), 1)
    spoken = [talker.eac.predict(mel, talker.emotion(n).z[0], intensity) for n in emotions]
    jaw = spoken[0][0][:, INDEX["jawOpen"]]
    at = int(jaw.argsort()[int(OPEN * (len(jaw) - 1))])
    beta, sigma = (torch.stack([take[i][at] for take in spoken]) for i in (0, 1))
    pose = torch.zeros(len(emotions), 6)
    for face in faces:
        fit = talker.portrait(face).fit
        motion = FaceMotion(talker.face_model, fit)
        geometry = motion.frame(beta, pose)
        source = source_of(talker.hef, fit, motion)
        yield fit.image, generated(talker.hef, source, geometry, beta, pose, sigma), motion.vertices(beta, pose)


def square(frame: Tensor, points: Tensor, index: list[int], margin: float, size: int) -> Tensor:
    """The square [3,size,size] about landmarks `index` of points [478,2+] px in a frame [3,H,W], of margin times their
    width."""
    low, high = points[index, :2].amin(0), points[index, :2].amax(0)
    half, middle = margin * float((high - low).max()) / 2, (low + high) / 2
    axis = (torch.arange(size) + 0.5) / size * 2 - 1
    grid = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1) * half + middle
    grid = grid * grid.new_tensor([2 / frame.shape[2], 2 / frame.shape[1]]) - 1
    return F.grid_sample(frame[None], grid[None], "bicubic", align_corners=False)[0].clamp(0, 1)


def save(rows: list[Tensor], path: Path) -> None:
    """Rows [3,h,w] 0..1, one under the other."""
    picture = (torch.cat(rows, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    Image.fromarray(np.ascontiguousarray(picture)).save(path)


def main(arguments: list[str] | None = None) -> None:
    """Write the sheet, and with --zoom its enlarged mouths and eyes."""
    parser = argparse.ArgumentParser(prog="python -m emotalk_cli.evaluation.sheet", description=__doc__)
    parser.add_argument("faces", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--zoom", type=Path, help="PNG of mouths and eyes, enlarged")
    parser.add_argument("--emotions", default=",".join(EMOTIONS))
    parser.add_argument("--intensity", type=float, default=2.0)
    parser.add_argument("--audio", type=Path, default=Path("examples/speech.wav"))
    parser.add_argument("--generator", choices=("hef", "geometry"), default="hef")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--side", type=int, default=224, help="px of a face in the sheet")
    options = parser.parse_args(arguments)
    talker = EmoTalk.load(options.weights, "cpu", options.generator)
    faces, parts = [], []
    for picture, frames, points in moments(
        talker, options.faces, options.emotions.split(","), options.intensity, options.audio
    ):
        row = torch.cat([picture[None], frames])
        faces.append(torch.cat(list(F.interpolate(row, (options.side,) * 2, mode="area")), 2))
        for region in REGIONS if options.zoom else ():
            close = [square(f, p, *REGIONS[region], options.side) for f, p in zip(frames, points, strict=True)]
            if region == "eyes":  # a band, not a square
                close = [c[:, options.side // 4 : -options.side // 4] for c in close]
            parts.append(torch.cat(close, 2))
    save(faces, options.out)
    if options.zoom:
        save(parts, options.zoom)


if __name__ == "__main__":
    main()
