"""Figures 5, 6, 7, 8 and 11 of the paper with the models at hand: `emotalk figure N`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..api import EmoTalk
from ..errors import InputError, UsageError
from ..face.topology import INDEX
from ..media.audio import Recording
from ..media.files import PartFile
from ..models.hef import HEF, generated
from .generator import pixels, wheel

MOMENTS = (0.1, 0.95, 0.6, 0.85)  # columns of figure 5: how far the mouth is open, as a part of the frames around
INTENSITIES = (1.0, 1.5, 2.0, 2.5)  # columns of figure 7
LEVELS = np.linspace(1, 3, 9)  # intensities of figure 8
STYLES = ("surprised", "happy", "sadly surprised", "happy:0.5+surprised:0.5", "hatred")  # rows of figure 5
IDENTITY_STYLES = ("happy", "angry", "surprised")  # rows of figure 6
DISTINCT, ENCODED = ("angry", "surprised", "sad"), ("slightly surprised", "extremely surprised")  # rows of figure 7
BASIC = ("happy", "sad", "angry", "surprised")  # markers of figure 8: triangles, squares, diamonds
UNSEEN = ("delighted", "heartbroken", "furious", "astonished")
UNRELATED = ("a red car", "a wooden table")
PERPLEXITY = 12  # neighbours of a point in figure 8
SEEN_SECONDS = 6.0  # of the speech
VARIANTS = {"w/o res.": "without-res", "w/o hie.": "without-hie", "Ours": "ours"}  # rows of figure 11, by their folders
Row = tuple[str, list[np.ndarray]]  # label, pictures uint8 [H,W,3]


@dataclasses.dataclass
class Scene:
    """A portrait and the speech that it says, at a few moments that are alike in all rows of a figure."""

    talker: EmoTalk
    face: Path | np.ndarray
    audio: Path

    def __post_init__(self) -> None:
        self.portrait = self.talker.portrait(self.face)
        mel = torch.cat(list(Recording.open(self.audio).mels()), 1)[:, : int(SEEN_SECONDS * 100) // 4 * 4]
        self.speech = self.talker.vad.hear(mel)

    def said(self, emotion: str, mu: float) -> tuple[Tensor, Tensor]:
        """β̂ [T,64] and σ̂ [T,width]."""
        return self.talker.eac.predict(self.speech, self.talker.emotion(emotion).z[0], mu)

    def moments(self, *shares: float) -> list[int]:
        """Frames: one from each of so many parts of the speech, with the mouth further open than `share` of a part."""
        jaw = self.said("neutral", 1.0)[0][:, INDEX["jawOpen"]].cpu()
        parts = torch.arange(len(jaw)).tensor_split(len(shares))
        return [int(part[jaw[part].argsort()[int(share * len(part))]]) for share, part in zip(shares, parts)]

    def frames(self, emotion: str, mu: float, at: Sequence[int]) -> list[np.ndarray]:
        """Generated faces at those frames."""
        beta, sigma = (part[list(at)] for part in self.said(emotion, mu))
        pose = torch.zeros(len(at), 6, device=beta.device)
        geometry = self.portrait.motion.frame(beta, pose)
        made = generated(self.talker.hef, self.portrait.source, geometry, beta, pose, sigma)
        return [pixels(frame.cpu()) for frame in made]

    def parts(self, hef: HEF, emotion: str, mu: float, at: int) -> dict[str, np.ndarray]:
        """I^rd, output and the flow φ_N with its colour wheel, of one frame and any generator."""
        beta, sigma = (part[at : at + 1] for part in self.said(emotion, mu))
        pose = torch.zeros(1, 6, device=beta.device)
        geometry = self.portrait.motion.frame(beta, pose)
        source, drive = hef.source(self.portrait.fit, self.portrait.motion), hef.drive(geometry)
        _, parts = hef.refine(source, drive, beta, pose, sigma)
        flow = drive.flow + parts["flow"]
        return {
            "rendered": pixels(geometry.rendered.cpu()),
            "output": pixels(hef(source, geometry, beta, pose, sigma).cpu()),
            "flow": wheel(flow[0].float().cpu()),
        }


def unseen_styles(scene: Scene) -> tuple[list[str], list[Row]]:
    """Fig. 5: basic, compound (by words and by averaging embeddings) and new styles, one row each."""
    at = scene.moments(*MOMENTS)
    rows = [("neutral", scene.frames("neutral", 1.0, at))]
    return [f"{k / 25:.1f} s" for k in at], rows + [(style, scene.frames(style, 3.0, at)) for style in STYLES]


def unseen_identity(scene: Scene) -> tuple[list[str], list[Row]]:
    """Fig. 6: source, I^rd, output and flow with its colour wheel, one row an emotion."""
    (at,), source = scene.moments(0.5), pixels(scene.portrait.fit.image)
    rows = []
    for style in IDENTITY_STYLES:
        parts = scene.parts(_generator(scene.talker), style, 3.0, at)
        rows.append((style, [source, parts["rendered"], parts["output"], parts["flow"]]))
    return ["source", "$I^{rd}$", "output", "flow"], rows


def intensities(scene: Scene) -> tuple[list[str], list[Row]]:
    """Fig. 7: from a happy face to other styles, and words that encode intensity, under growing μ."""
    at = scene.moments(0.5)
    happy = Scene(scene.talker, scene.frames("happy", 3.0, at)[0], scene.audio)
    rows = []
    for origin, styles in ((happy, DISTINCT), (scene, ENCODED)):
        source = pixels(origin.portrait.fit.image)
        rows += [(style, [source, *(origin.frames(style, mu, at)[0] for mu in INTENSITIES)]) for style in styles]
    return ["source", *(f"μ = {mu:g}" for mu in INTENSITIES)], rows


def ablation(scene: Scene, runs: Path) -> tuple[list[str], list[Row]]:
    """Fig. 11: flow and output of the variants of HEF that `emotalk train ablation` left in `runs`."""
    (at,), rows = scene.moments(0.5), []
    for label, name in VARIANTS.items():
        folder = next(iter(sorted((runs / name).glob("seed-*"))), None)
        if folder is None:
            raise InputError(f"{runs} holds no {name}; make it with emotalk train ablation.")
        parts = scene.parts(HEF.load(folder, scene.talker.device), "happy", 3.0, at)
        rows.append((label, [parts["rendered"], parts["flow"], parts["output"]]))
    return ["$I^{rd}$", "flow", "output"], rows


def _generator(talker: EmoTalk) -> HEF:
    if talker.hef is None:
        raise UsageError("--generator geometry has no flow of its own; choose hef.")
    return talker.hef


def draw_grid(columns: Sequence[str], rows: Sequence[Row], path: Path) -> None:
    """Rows of pictures with their names at the left and the columns' above, as a PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1.8 * len(columns) + 0.6, 1.9 * len(rows) + 0.3), layout="constrained")
    axes = figure.subplots(len(rows), len(columns), squeeze=False)
    for line, (label, pictures) in zip(axes, rows, strict=True):
        for axis, picture in zip(line, pictures, strict=True):
            axis.imshow(picture)
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
        line[0].set_ylabel(label.replace("+", "\n+ "), fontsize=8)
    for axis, column in zip(axes[0], columns, strict=True):
        axis.set_title(column, fontsize=8)
    with PartFile(path) as written:
        figure.savefig(written.path, dpi=130, format="png")


def draw_tokens(scene: Scene, path: Path, seed: int = 0) -> None:
    """Fig. 8: t-SNE of the updated intensity token σ̂ of basic, unseen and unrelated prompts, as a PNG.

    A point is the mean over the speech at one intensity: σ̂ also says what is being said, and would lie by windows.
    """
    try:
        from sklearn.manifold import TSNE
    except ImportError as error:
        raise UsageError("Figure 8 needs scikit-learn: pip install 'emotalk[eval]'.") from error
    from matplotlib.figure import Figure

    groups = [(name, marker) for names, marker in ((BASIC, "^"), (UNSEEN, "s"), (UNRELATED, "D")) for name in names]
    tokens = [np.stack([_token(scene, name, float(mu)) for mu in LEVELS]) for name, _ in groups]
    places = TSNE(2, perplexity=PERPLEXITY, random_state=seed, init="pca").fit_transform(np.concatenate(tokens))
    figure = Figure(figsize=(6, 5), layout="constrained")
    axis = figure.subplots()
    parts = np.split(places, len(groups))
    for number, ((name, marker), part) in enumerate(zip(groups, parts, strict=True)):
        inside = "none" if marker == "s" else f"C{number}"  # or unseen emotions would hide the basics that they lie on
        axis.scatter(
            part[:, 0], part[:, 1], marker=marker, s=22, label=name, edgecolors=f"C{number}", facecolors=inside
        )
    axis.set(xticks=[], yticks=[])
    axis.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    with PartFile(path) as written:
        figure.savefig(written.path, dpi=130, format="png")


def _token(scene: Scene, emotion: str, mu: float) -> np.ndarray:
    return scene.said(emotion, mu)[1].mean(0).cpu().numpy()


FIGURES: dict[int, Callable[[Scene], tuple[list[str], list[Row]]]] = {
    5: unseen_styles,
    6: unseen_identity,
    7: intensities,
}


@torch.inference_mode()
def draw(number: int, scene: Scene, path: Path, runs: Path | None = None) -> None:
    """Make a figure as a PNG. runs: what `emotalk train ablation` made, for figure 11. Raises UsageError."""
    if number in FIGURES:
        draw_grid(*FIGURES[number](scene), path)
    elif number == 8:
        draw_tokens(scene, path)
    elif number != 11:
        raise UsageError(f"There is no figure {number} to make; choose 5, 6, 7, 8 or 11.")
    elif runs is None:
        raise UsageError("Figure 11 compares trained variants: give the folder of emotalk train ablation as --runs.")
    else:
        draw_grid(*ablation(scene, runs), path)
