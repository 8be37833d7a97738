"""The EAC rows of Tab. 3: `python -m emotalk_cli.training.tasks.ablation_eac --data DIR --out DIR [--steps 400]`.

Trains the variants (encoder, encoding of the emotion, with and without L_emo) from random weights with the same data,
seed and steps, and measures them on what is held out: GRID's mouth, and the faces of trained and of unseen emotions.
Few steps rank variants; they do not make good networks.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ...emotions import prototypes
from ...media.audio import relative
from ...models.eac import EAC, WHOLE
from ...models.emotion_space import AME
from ...numeric import correlation
from .. import config as configs
from ..data import corpus, motion, prompts
from ..data.corpus import Clip
from ..data.motion import Basis
from ..solver import Solver
from . import eac as training

VARIANTS: dict[str, dict[str, str | float]] = {
    "MLP": {"encoder": "mlp"},
    "GRU": {"encoder": "gru"},
    "one-hot": {"encoding": "one-hot"},
    "text only": {"encoding": "text"},
    "w/o L_emo": {"emotion": 0.0},
    "full (Transformer, CLIP-style, L_emo)": {},
}
WEIGHT = 0.02  # of L_emo
UNSEEN = 150  # prompts that no training saw
COLUMNS = ("r opening", "r width", "basic styles", "unseen styles", "L_emo")


class Measure:
    """Figures of one EAC on held-out recordings and emotions."""

    def __init__(self, data: Path, clips: list[Clip], basis: Basis) -> None:
        self.clips, self.basis, self.ame = clips, basis, AME.load()
        self.consistency = training.Consistency(data / "teachers")
        built = [p for p in prompts.build(prompts.wordnet(), 0) if p.split == "test"]
        step = max(1, len(built) // UNSEEN)
        self.unseen = built[::step][:UNSEEN]
        upper = ("brow", "eye", "cheek", "nose")
        self.upper = [i for i, name in enumerate(prototypes.COMPONENTS) if name.startswith(upper)]

    def code(self, text: str, encoding: str) -> Tensor:
        """z [512] of a text; one-hot knows but the basic that is nearest."""
        z = self.ame.text([text])[0]
        if encoding != "one-hot":
            return z
        weights = self.ame.mixture(z)
        best = max(prototypes.BASICS, key=lambda name: weights.get(name, 0.0))
        return training.EmotionBank.one_hot("").z[prototypes.BASICS.index(best)]

    @staticmethod
    def regression(eac: EAC, clip: Clip, z: Tensor, mu: float) -> Tensor:
        """β [T,64] before `EAC.contact` closes lips, which a network of few steps calls for everywhere."""
        speech, keyframe = relative(clip.mel.float(), clip.level), torch.zeros(1)
        rows = torch.cat(list(eac._rows([speech], z[None], torch.tensor([mu]), keyframe, 16, WHOLE)))
        return rows[:, : eac.dims.components]

    def faces(self, eac: EAC, texts: list[str], wanted: Tensor, encoding: str) -> tuple[float, float]:
        """Cosine of the upper face with what is wanted [N,64], and L_emo, while a held-out sentence is spoken."""
        clip = self.clips[0]
        made = []
        for text in texts:
            made.append(self.regression(eac, clip, self.code(text, encoding), 3.0).mean(0))
        made = torch.stack(made)
        felt = wanted.norm(dim=1) > 0.15  # a neutral face has no direction
        cosine = F.cosine_similarity(made[felt][:, self.upper], wanted[felt][:, self.upper])
        spoken = clip.beta.mean(0)
        named = motion.compose(spoken[None], wanted[:, : len(self.basis.names)], self.share, self.basis)[:, 0]
        target = torch.cat([named, wanted[:, len(self.basis.names) :]], 1)
        return float(cosine.mean()), float(self.consistency(made, target))

    @property
    def share(self) -> Tensor:
        """[n] of each emotional component that stays in speech."""
        return prototypes.speech_mask()[: len(self.basis.names)]

    @torch.inference_mode()
    def __call__(self, eac: EAC, encoding: str) -> dict[str, float]:
        """One value for each of `COLUMNS`."""
        z = self.code("neutral", encoding)
        opening, width = [], []
        for clip in self.clips:
            beta = self.regression(eac, clip, z, 1.0)
            opening.append(motion.gaps(beta, self.basis).mean(1))
            width.append(motion.widths(beta, self.basis).mean(1))
        truth = [torch.cat([getattr(clip, name).mean(1) for clip in self.clips]) for name in ("gaps", "widths")]
        basics = torch.stack([prototypes.PROTOTYPES[name].beta for name in prototypes.BASICS])
        basic, distance = self.faces(eac, list(prototypes.BASICS), basics, encoding)
        targets = torch.stack([training.face(dict(zip(prototypes.CLASSES, p.target))) for p in self.unseen])
        unseen, _ = self.faces(eac, [p.text for p in self.unseen], targets, encoding)
        values = (
            correlation(torch.cat(opening), truth[0]),
            correlation(torch.cat(width), truth[1]),
            basic,
            unseen,
            distance,
        )
        return dict(zip(COLUMNS, values, strict=True))


def table(rows: dict[str, dict[str, float]]) -> str:
    """Markdown."""
    lines = [f"| variant | {' | '.join(COLUMNS)} |", "|---" * (len(COLUMNS) + 1) + "|"]
    lines += [f"| {name} | {' | '.join(f'{row[column]:.3f}' for column in COLUMNS)} |" for name, row in rows.items()]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Train what is not trained yet, print the table, write table.md and figures.json to --out."""
    parser = argparse.ArgumentParser(
        prog="python -m emotalk_cli.training.tasks.ablation_eac", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--data", type=Path, required=True, help="training data pack")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("runs/corpus"), help="prepared corpus")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--seed", type=int, default=0, help="of weights and batches; another shows what is chance")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    basis = Basis.from_pack(options.data)
    groups, test = corpus.build(options.data, options.work, basis)
    groups, held_out = corpus.hold_out(groups)
    measure, rows = Measure(options.data, test, basis), {}
    for name in options.variants:
        variant = VARIANTS[name]
        config = configs.load("eac", "eac", steps=options.steps, seed=options.seed)
        config.batch, config.validate_every, config.ema = options.batch, options.steps, 0.99
        config.task = {"emotion": WEIGHT} | variant
        chosen = configs.build(training.Options, config.task)
        consistency = training.Consistency(options.data / "teachers") if chosen.emotion else None
        bank = training.bank_of(chosen, config.seed)
        torch.manual_seed(config.seed)
        task = training.EACTask(groups, held_out, basis, bank, chosen, config.rate, consistency)
        folder = options.out / "".join(c for c in name.split(" (")[0] if c.isalnum())
        solver = Solver(task, config, folder, resume=True, command=f"ablation, {name}")
        solver.run()
        rows[name] = measure(solver.average, chosen.encoding)
        print(name, rows[name], flush=True)
    (options.out / "figures.json").write_text(json.dumps(rows, indent=1) + "\n")
    (options.out / "table.md").write_text(table(rows) + "\n")
    print(table(rows))


if __name__ == "__main__":
    main()
