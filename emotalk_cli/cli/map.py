"""The map of emotions (Fig. 8 of the paper): t-SNE of EAC's style code σ̂."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..api import EmoTalk
from ..media.files import PartFile, write_error

COLOURS = {
    "neutral": "#7f7f7f",
    "happy": "#e8a70c",
    "sad": "#3b6fb6",
    "surprised": "#d65db1",
    "angry": "#c8362b",
    "disgusted": "#5a8f2e",
    "fearful": "#7a4fa3",
    "contempt": "#a0622d",
}
MARKERS = {"basic": "o", "atlas": "^", "unrelated": "x", "yours": "^"}


Point = dict[str, Any]  # prompt, group, emotion (the nearest basic), intensity, x, y


def styles(
    talker: EmoTalk, groups: Mapping[str, Sequence[str]], intensities: Sequence[float], seed: int
) -> list[Point]:
    """Points of the map."""
    from sklearn.manifold import TSNE

    points, codes = [], []
    for group, prompts in groups.items():
        for prompt in prompts:
            emotion = talker.emotion(prompt)
            mixture = talker.ame.mixture(emotion.z[0].to(talker.device))
            for mu in intensities:
                codes.append(talker.expression(emotion, mu, speaking=True)[1].cpu().numpy())
                basic = max(mixture, key=mixture.__getitem__)
                points.append({"prompt": prompt, "group": group, "emotion": basic, "intensity": mu})
    perplexity = min(20.0, (len(codes) - 1) / 3)
    places = TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(np.stack(codes))
    return [point | {"x": float(x), "y": float(y)} for point, (x, y) in zip(points, places, strict=True)]


def draw(points: Sequence[Point], part: PartFile) -> None:
    """The map as PNG into a temporary file: colour is the nearest basic, size the intensity. Raises EmoTalkError."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(10, 8), dpi=120)
    for group in dict.fromkeys(point["group"] for point in points):
        rows = [point for point in points if point["group"] == group]
        axes.scatter(
            [point["x"] for point in rows],
            [point["y"] for point in rows],
            s=[12 + 14 * point["intensity"] for point in rows],
            c=[COLOURS[point["emotion"]] for point in rows],
            marker=MARKERS[group],
            alpha=0.75,
            label=group,
        )
    strongest = max(point["intensity"] for point in points)
    for point in points:
        if point["intensity"] == strongest:
            axes.annotate(
                point["prompt"], (point["x"], point["y"]), fontsize=7, xytext=(3, 3), textcoords="offset points"
            )
    shown = [name for name in COLOURS if any(point["emotion"] == name for point in points)]
    handles = [plt.Line2D([], [], marker="s", ls="", color=COLOURS[name], label=name) for name in shown]
    groups = axes.legend(loc="upper left", fontsize=8)
    axes.add_artist(groups)
    axes.legend(handles=handles, loc="lower left", fontsize=8, title="nearest basic")
    axes.set(title="Style codes of prompts at five intensities (t-SNE)", xticks=[], yticks=[])
    try:
        figure.savefig(part.path, format="png", bbox_inches="tight")
    except OSError as error:
        raise write_error(part.out, error.strerror) from error
    finally:
        plt.close(figure)
