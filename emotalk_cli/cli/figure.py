"""`emotalk figure`: the paper's figures with the models at hand."""

from __future__ import annotations

from pathlib import Path

import typer

from .console import say


def figure(
    number: int = typer.Argument(..., help="5: unseen styles; 6: unseen identity; 7: intensity; 8: σ̂; 11: flows."),
    out: Path | None = typer.Option(None, "--out", "-o", help="The picture, .png.  [default: figure-N.png]"),
    face: Path | None = typer.Option(None, "--face", "-f", help="Portrait.  [default: the example]"),
    audio: Path | None = typer.Option(None, "--audio", "-a", help="Speech, a few seconds.  [default: the example]"),
    runs: Path | None = typer.Option(None, help="For figure 11: folder of emotalk train ablation."),
    generator: str = typer.Option("hef", help="hef or geometry."),
    device: str = typer.Option("auto", help="auto, cpu, cuda (or cuda:N), mps."),
    weights: Path | None = typer.Option(None, help="Folder of other weights.  [env: EMOTALK_WEIGHTS]"),
    quiet: bool = typer.Option(False, "--quiet", "-q", help="Print nothing but errors."),
    debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error."),
) -> None:
    """Make figure 5, 6, 7, 8 or 11 of the paper with these models, this face and this speech."""
    from ..examples import example
    from ..media.files import check_input, check_output

    path = out or Path(f"figure-{number}.png")
    check_output(path, suffixes=(".png",))
    portrait, speech = face or example("portrait.png"), audio or example("speech.wav")
    check_input(portrait, "picture")
    check_input(speech, "audio file")
    from ..api import EmoTalk
    from ..evaluation import figures

    scene = figures.Scene(EmoTalk.load(weights, device, generator), portrait, speech)
    figures.draw(number, scene, path, runs)
    if not quiet:
        say(path)
