"""What was measured, as one HTML file that needs no other: table, curves, and strips of frames side by side."""

from __future__ import annotations

import base64
import csv
import html
import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

from .. import __version__
from ..media.files import PartFile
from .evaluate import METRICS, Result

STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:75em;margin:2em auto;padding:0 1em;color:#222}
table{border-collapse:collapse;margin:1em 0}td,th{padding:.3em .8em;border-bottom:1px solid #ddd;text-align:right}
th:first-child,td:first-child{text-align:left}img{max-width:100%;display:block;margin:.4em 0 1.4em}
caption,small{color:#666;text-align:left}h2{margin-top:2em}"""
MOST_SHOWN = 12  # clips with curve and strip


def arrow(metric: str) -> str:
    """Name with the direction that is better."""
    return f"{metric} {'↑' if METRICS[metric][1] else '↓'}"


def figure(value: float | None) -> str:
    """A value for people."""
    return "" if value is None else f"{value:.4g}" if abs(value) < 100 else f"{value:.1f}"


def to_json(results: dict[str, Result], about: dict) -> dict:
    """Everything but pictures, ready for JSON."""
    rows = {
        name: {"mean": r.mean, "reference": r.reference, "clips": r.rows, "notes": r.notes}
        for name, r in results.items()
    }
    return {**about, "version": __version__, "metrics": {m: METRICS[m][0] for m in metrics_of(results)}, "rows": rows}


def metrics_of(results: dict[str, Result]) -> list[str]:
    """Metrics in the order of the table."""
    return list(dict.fromkeys(m for r in results.values() for m in r.mean))


def write_json(path: Path, results: dict[str, Result], about: dict) -> None:
    """Write `to_json`."""
    with PartFile(path) as part:
        part.path.write_text(json.dumps(to_json(results, about), indent=1) + "\n")


def show(figures: dict, out: Path | None) -> None:
    """Figures as JSON on stdout, and in a file if one is wanted."""
    text = json.dumps(figures, indent=1)
    print(text)
    if out is not None:
        out.write_text(text)


def write_csv(path: Path, results: dict[str, Result]) -> None:
    """One line a row and clip; the mean is the clip `mean`."""
    columns = metrics_of(results)
    with PartFile(path) as part, open(part.path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["row", "clip", *columns])
        for name, result in results.items():
            for clip, values in {**result.rows, "mean": result.mean}.items():
                writer.writerow([name, clip, *(values.get(c, "") for c in columns)])


def write_html(path: Path, results: dict[str, Result], about: dict) -> None:
    """One self-contained page."""
    columns = metrics_of(results)
    lines = [f"<!doctype html><meta charset=utf-8><title>EmoTalk evaluation</title><style>{STYLE}</style>"]
    lines += ["<h1>EmoTalk evaluation</h1>", _table(results, columns), "<ul>"]
    lines += [f"<li>{html.escape(m)}: {html.escape(METRICS[m][0])}</li>" for m in columns]
    lines += [f"<li>{html.escape(note)}</li>" for r in results.values() for note in r.notes]
    lines += [f"<li>{html.escape(key)}: {html.escape(str(value))}</li>" for key, value in about.items()]
    lines += ["</ul><h2>Spread over clips</h2>", _image(_spread(results, columns), "figures of all clips")]
    for name, result in results.items():
        for clip in list(result.rows)[:MOST_SHOWN]:
            values = ", ".join(f"{m} {figure(v)}" for m, v in result.rows[clip].items())
            lines += [f"<h2>{html.escape(name)}: {html.escape(clip)}</h2><small>{values}; above real, below generated"]
            lines += ["</small>", _image(result.strips[clip], "frames"), _image(_curve(result.curves[clip]), "lips")]
    with PartFile(path) as part:
        part.path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _table(results: dict[str, Result], columns: list[str]) -> str:
    head = "".join(f"<th>{html.escape(arrow(m))}</th>" for m in columns)
    rows = [(name, r.mean) for name, r in results.items()]
    real = next(iter(results.values())).reference
    rows += [("real videos", real)] if real else []
    body = "".join(
        f"<tr><td>{html.escape(name)}</td>" + "".join(f"<td>{figure(values.get(m))}</td>" for m in columns) + "</tr>"
        for name, values in rows
    )
    return f"<table><tr><th></th>{head}</tr>{body}</table>"


def _image(source, alternative: str) -> str:
    """An array uint8 [H,W,3] or a matplotlib figure, inline."""
    file = io.BytesIO()
    if isinstance(source, np.ndarray):
        Image.fromarray(source).save(file, "JPEG", quality=88)
        kind = "jpeg"
    else:
        source.savefig(file, format="png", dpi=90)
        kind = "png"
    data = base64.b64encode(file.getvalue()).decode()
    return f'<img alt="{alternative}" src="data:image/{kind};base64,{data}">'


def _curve(curve: tuple[np.ndarray, np.ndarray]):
    from matplotlib.figure import Figure

    shape = Figure(figsize=(9, 2), layout="tight")
    axis = shape.subplots()
    for values, label in zip(curve, ("generated", "real")):
        axis.plot(np.arange(len(values)) / 25, values, label=label)
    axis.set(xlabel="s", ylabel="mouth opening")
    axis.legend(loc="upper right", frameon=False)
    return shape


def _spread(results: dict[str, Result], columns: list[str]):
    from matplotlib.figure import Figure

    shown = [m for m in columns if any(m in row for r in results.values() for row in r.rows.values())]
    shape = Figure(figsize=(2.2 * max(len(shown), 2), 2.6), layout="tight")
    for axis, metric in zip(shape.subplots(1, len(shown), squeeze=False)[0], shown):
        values = [[row[metric] for row in r.rows.values() if metric in row] for r in results.values()]
        axis.boxplot(values, tick_labels=list(results))
        axis.set_title(arrow(metric), fontsize=9)
        axis.tick_params(labelsize=8)
    return shape
