"""Does the emotion space understand words, faces and voices alike?

    python -m emotalk_cli.evaluation.ame --data DIR [--weights DIR] [--faces 20] [--sheets DIR] [--out FILE.json]

Held-out words, faces and speakers only. Text: the nearest basic of unseen words, and their pleasantness on the face.
Image: real photos of the test split, and test portraits animated with the eight basics. Audio: EmoDB's speakers 15
and 16 against the seven prompts. Then the faces that EAC makes of the same emotion by text, image and audio, and of
growing intensity. `--sheets` draws the contact sheets of Fig. 5 and 7.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..api import EmoTalk
from ..emotions.emotion import Emotion
from ..emotions.prototypes import BASICS, PROTOTYPES
from ..face.fit import fit_portrait
from ..face.topology import EXPRESSION_NAMES
from ..media import audio
from ..media.preview import sheet
from ..models.emotion_space import AME
from ..numeric import correlation
from ..training.data.emodb import CLASSES as SPOKEN_CLASSES
from ..training.data.emodb import PROMPTS
from ..training.data.faces import load_faces
from . import meaning
from .report import show as show_report

NAMED = 53  # named blendshapes; the residual components after them mean nothing by themselves
INTENSITIES = (1.0, 1.5, 2.0, 2.5, 3.0)
SPOKEN = {"W": "angry", "E": "disgusted", "A": "fearful", "F": "happy", "T": "sad", "N": "neutral"}
RULED_OUT = ("Blink", "Look", "jaw", "mouthClose", "mouthFunnel", "mouthPucker")  # not the emotion's, but speech's


def confusion(truth: list[int], read: list[int], classes: int) -> np.ndarray:
    """Counts [true, read]."""
    counts = np.zeros((classes, classes), int)
    np.add.at(counts, (truth, read), 1)
    return counts


class Faces:
    """Held-out faces, real and animated, and what the image tower makes of them."""

    def __init__(self, talker: EmoTalk, data: Path, portraits: int) -> None:
        self.talker = talker
        self.photos = load_faces(data, True, 640)
        neutral = [p for p in self.photos if p.name.startswith(("london_neutral", "canada", "sfhq"))]
        self.sources = neutral[:: max(1, len(neutral) // portraits)][:portraits]
        self.expressive = [i for i, n in enumerate(EXPRESSION_NAMES[:NAMED]) if not any(w in n for w in RULED_OUT)]

    def seen(self, pixels: np.ndarray) -> tuple[Tensor, Tensor] | None:
        """z [512] and the tracked β [64] of a picture, None if no face is found."""
        faces = self.talker.tracker(pixels)
        if not faces:
            return None
        z = self.talker.ame.image(pixels, faces[0].landmarks, faces[0].blendshapes)
        return z, fit_portrait(self.talker.face_model, pixels, faces[0].landmarks).beta

    def face(self, z: Tensor, intensity: float = 3.0) -> Tensor:
        """β [64] that EAC gives a silent face for z."""
        return self.talker.expression(Emotion.constant("", z, self.talker.ame.space), intensity)[0]

    def real(self) -> dict[str, float]:
        """Neutral and smiling photos told apart, and agreement of image-driven and tracked β over all test photos."""
        right, driven, tracked = [], [], []
        for photo in self.photos:
            found = self.seen(photo.image)
            if found is None:
                continue
            z, beta = found
            if photo.name.startswith(("london", "canada")):
                wanted = "happy" if photo.name.startswith("london_smiling") else "neutral"
                mixture = self.talker.ame.mixture(z)
                right.append(max(mixture, key=mixture.__getitem__) == wanted)
            driven.append(self.face(z)[self.expressive])
            tracked.append(beta[self.expressive])
        a, b = torch.stack(driven), torch.stack(tracked)
        smiles = [self.expressive.index(EXPRESSION_NAMES.index(f"mouthSmile{side}")) for side in ("Left", "Right")]
        return {
            "photos": len(driven),
            "neutral or smiling right": float(np.mean(right)),
            "r of beta, all components": correlation(a, b),
            "r of beta, smile": correlation(a[:, smiles].mean(1), b[:, smiles].mean(1)),
        }

    def animated(self) -> tuple[dict, dict[str, list[Tensor]]]:
        """Test portraits given each basic by the geometry: read as (confusion), β agreement; and their z by class."""
        truth, read, driven, tracked, made = [], [], [], [], []
        found: dict[str, list[Tensor]] = {name: [] for name in BASICS}
        for photo in self.sources:
            subject = self.talker.portrait(photo.image)
            for label, name in enumerate(BASICS):
                beta = PROTOTYPES[name].beta[None] * (0.8 if name != "neutral" else 1)
                crop = subject.motion.frame(beta, torch.zeros(1, 6)).composite()[0].permute(1, 2, 0)
                seen = self.seen((crop.clamp(0, 1) * 255).round().byte().numpy())
                if seen is None:
                    continue
                z, fitted = seen
                mixture = self.talker.ame.mixture(z)
                truth.append(label)
                read.append(max(range(len(BASICS)), key=lambda i: mixture[BASICS[i]]))
                found[name].append(z)
                driven.append(self.face(z)[self.expressive])
                tracked.append(fitted[self.expressive])
                made.append(beta[0, self.expressive])
        counts = confusion(truth, read, len(BASICS))
        a, b, c = torch.stack(driven), torch.stack(tracked), torch.stack(made)
        report = {
            "pictures": len(truth),
            "right": float(np.trace(counts) / counts.sum()),
            "confusion": {name: row for name, row in zip(BASICS, counts.tolist())},
            "r of beta, image-driven and tracked": correlation(a, b),
            "r of beta, image-driven and shown": correlation(a, c),
            "r of beta, tracked and shown": correlation(b, c),
        }
        return report, found


def voices(ame: AME, data: Path) -> tuple[dict, dict[str, list[Tensor]]]:
    """EmoDB's held-out speakers: nearest of the seven prompts; ordinary speech: how neutral; z by class."""
    prompts = ame.text(PROMPTS)
    truth, read = [], []
    found: dict[str, list[Tensor]] = {name: [] for name in SPOKEN.values()}
    for path in sorted((data / "emodb" / "audio").glob("*.flac")):
        if path.stem[:2] not in ("15", "16"):
            continue
        z = heard(ame, path)
        truth.append(list(SPOKEN_CLASSES).index(path.stem[5]))
        read.append(int((prompts @ z).argmax()))
        if path.stem[5] in SPOKEN:
            found[SPOKEN[path.stem[5]]].append(z)
    counts = confusion(truth, read, len(PROMPTS))
    report = {
        "recordings": len(truth),
        "accuracy": float(np.trace(counts) / counts.sum()),
        "unweighted average recall": float(np.mean(np.diag(counts) / counts.sum(1))),
        "confusion": {word: row for word, row in zip(PROMPTS, counts.tolist())},
    }
    splits = json.loads((data / "splits.json").read_text())
    for corpus in ("ljspeech", "grid"):
        folder = data / corpus / ("audio" if corpus == "grid" else "")
        mixtures = [ame.mixture(heard(ame, folder / f"{name}.ogg")) for name in splits[corpus][:24]]
        report[f"{corpus}: share of neutral"] = float(np.mean([mixture["neutral"] for mixture in mixtures]))
    return report, found


def heard(ame: AME, path: Path) -> Tensor:
    """z [512] of a recording."""
    recording = audio.Recording.open(path)
    return ame.audio(recording.mels(), recording.level)


def alike(faces: Faces, images: dict[str, list[Tensor]], sounds: dict[str, list[Tensor]]) -> dict:
    """Cosine of β made from text, image and audio of one emotion: of single pictures and recordings, and of means."""
    report = {}
    for name in SPOKEN.values():
        if name == "neutral":  # a β near zero has no direction
            continue
        text = faces.face(faces.talker.ame.text([name])[0])
        by_image = torch.stack([faces.face(z) for z in images[name]])
        by_audio = torch.stack([faces.face(z) for z in sounds[name]])
        means = [F.normalize(torch.stack(zs).mean(0), dim=0) for zs in (images[name], sounds[name])]
        image, sound = (faces.face(z) for z in means)
        report[name] = {
            "text, each image": float(F.cosine_similarity(text[None], by_image).mean()),
            "text, each voice": float(F.cosine_similarity(text[None], by_audio).mean()),
            "text, mean image": float(F.cosine_similarity(text, image, dim=0)),
            "text, mean voice": float(F.cosine_similarity(text, sound, dim=0)),
            "mean image, mean voice": float(F.cosine_similarity(image, sound, dim=0)),
        }
    columns = next(iter(report.values()))
    report["mean"] = {column: float(np.mean([row[column] for row in report.values()])) for column in columns}
    return report


def growth(talker: EmoTalk, speech: Path) -> dict:
    """|β| of a silent face at growing intensity, and whether the mouth still opens with the sound of `speech`."""
    recording = audio.Recording.open(speech)
    jaw = EXPRESSION_NAMES.index("jawOpen")
    heard = torch.cat(list(talker.vad.listen(recording.mels())), 1)
    loud = audio.loudness(heard)
    report = {}
    for name in BASICS:
        z = talker.ame.text([name])[0]
        norms = [float(talker.expression(talker.emotion(name), mu)[0].norm()) for mu in INTENSITIES]
        mouths = {mu: talker.eac.predict(heard, z, mu)[0][:, jaw] for mu in (1.0, 3.0)}
        report[name] = {
            "norms": [round(norm, 3) for norm in norms],
            "grows": all(one < two for one, two in zip(norms, norms[1:])),
            "r of the jaw, intensity 1 and 3": correlation(mouths[1.0], mouths[3.0]),
            "r of jaw and loudness at 3": correlation(mouths[3.0], loud),
        }
    return report


def draw(talker: EmoTalk, faces: Faces, folder: Path) -> None:
    """Contact sheets of Fig. 5 (compound by text, average of embeddings, a new style) and Fig. 7 (smile to others)."""
    folder.mkdir(parents=True, exist_ok=True)
    photo = next(p for p in faces.photos if p.name.startswith("london_neutral"))
    subject = talker.portrait(photo.image)
    rows = [
        ("portrait", None),
        *((text, text) for text in ("happy", "surprised", "happily surprised")),
        ("happy:0.5+surprised:0.5", "happy:0.5+surprised:0.5"),
        ("fear+disgust averaged", "fearful:0.5+disgusted:0.5"),
        *(
            (text, text)
            for text in ("sadly angry", "as if she had just seen a ghost", "schadenfreude", "barely contained rage")
        ),
    ]
    tiles = [(caption, talker.still(subject, text, 3.0)) for caption, text in rows]
    sheet("Fig. 5: compounds by text, averages of embeddings, new styles; intensity 3", tiles, 5).save(
        folder / "fig5.png"
    )
    photo = next(p for p in faces.photos if p.name.startswith("london_smiling"))
    subject = talker.portrait(photo.image)
    tiles = []
    for text in ("neutral", "sad", "angry", "surprised"):
        tiles.append(("smiling portrait", talker.still(subject, None)))
        tiles += [(f"{text} {mu:g}", talker.still(subject, text, mu)) for mu in (1.0, 2.0, 3.0)]
    sheet("Fig. 7: from a smile to other emotions, intensity 1 to 3", tiles, 4).save(folder / "fig7.png")


def main() -> None:
    parser = argparse.ArgumentParser(description="Held-out figures of the emotion towers.")
    parser.add_argument("--data", type=Path, required=True, help="the data pack")
    parser.add_argument("--weights", type=Path, help="folder of weights")
    parser.add_argument("--faces", type=int, default=20, help="test portraits that are animated")
    parser.add_argument("--speech", type=Path, help="speech for the lips (default: a held-out LJSpeech clip)")
    parser.add_argument("--sheets", type=Path, help="folder for the contact sheets")
    parser.add_argument("--generator", default="hef", help="of the contact sheets")
    parser.add_argument("--out", type=Path, help="also write the figures as JSON")
    parser.add_argument("--only", choices=("text", "image", "audio", "growth", "sheets"), help="this part alone")
    options = parser.parse_args()
    talker = EmoTalk.load(options.weights, "cpu", options.generator if options.sheets else "geometry")
    ame, report = talker.ame, {}
    wanted = {options.only} if options.only else {"text", "image", "audio", "alike", "growth"}
    faces = Faces(talker, options.data, options.faces)
    if "text" in wanted:
        report["text"] = meaning.classes(lambda texts: ame.scores(ame.text(texts)))
        behaviour = ame.behaviour
        assert behaviour is not None, "our own space has one"
        report["faces"] = meaning.faces(lambda texts: behaviour(ame.text(texts)))
    with torch.inference_mode():
        if "image" in wanted:
            report["image, real"] = faces.real()
            report["image, animated"], images = faces.animated()
        if "audio" in wanted:
            report["audio"], sounds = voices(ame, options.data)
        if "alike" in wanted:
            report["alike"] = alike(faces, images, sounds)
        if "growth" in wanted:
            speech = options.speech or options.data / "ljspeech" / "LJ001-0025.ogg"
            report["intensity"] = growth(talker, speech)
    if options.sheets:
        draw(talker, faces, options.sheets)
    show_report(report, options.out)


if __name__ == "__main__":
    main()
