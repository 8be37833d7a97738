"""EAC as a task for the `Solver`: `emotalk train eac --data DIR --out RUN`.

The data pack's recordings (`corpus`) are cut into windows, heard in other voices (`augment`) and shown together with
random emotions, whose faces are composed with the mouth's motion (`motion.compose`). Without images the losses work on
landmarks and coefficients, and L_emo on renderings (`Consistency`); for filmed faces there is `eac_video`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...emotions import atlas, prototypes
from ...errors import UsageError
from ...evaluation.features import EmotionFeatures
from ...face.fit import Pose
from ...face.model import FaceModel
from ...media.audio import FIRST_BAND, FLOOR, MELS_PER_FRAME, relative
from ...models import gpt2, spaces, upstream
from ...models.eac import EAC, Dims
from ...models.emotion_space import AME
from ...models.text_tower import WIDTH
from ...models.vad import HANG, LEVEL_AHEAD, VAD
from ...motion.lips import VISEMES
from ...numeric import correlation
from .. import config as configs
from ..data import corpus, motion
from ..data.augment import Augmenter
from ..data.corpus import Clip
from ..data.emotions import EmotionBank, Others, training_bank, training_prompts
from ..data.motion import Basis
from ..data.recordings import Recordings
from ..data.sounds import background
from ..losses import Renderer, emotion_loss
from ..solver import Config
from . import ame_image

VISEME = 1.0  # weight of telling visemes apart
WINDOW = 32  # video frames, T of the paper
LEAD, TAIL = 48, LEVEL_AHEAD + HANG[0] + 6  # video frames around a window that decide what is heard of it
FILMED = ("grid", "facegood")  # groups whose motion was measured
VALIDATED = ("kokoro", "speechocean")  # groups of which some clips are kept back
LEVEL_ERROR = 0.15  # bel, standard deviation
APART, LIP, OPEN = 0.3, 0.24, 0.65  # cm between the lips of most sounds, at most on /f v/, in open vowels
ROUND, SPREAD = -0.6, 0.02  # cm, width of the mouth beyond rest on /w u/, at most, and on /i/
ENCODINGS = ("clip", "text", spaces.ONE_HOT, spaces.LANGUAGE, gpt2.SPACE)
EMOTION_LETTER = 5  # of an EmoDB recording's name
SPOKEN = {"W": "angry", "L": "bored", "E": "disgusted", "A": "fearful", "F": "happy", "T": "sad", "N": "neutral"}
PICTURES, ONE_STATE = 600, 0.9  # pictures of known emotions; share from which on one shows a single state
DRAWN = 6000  # random points of the emotion space, and as many prompts
_PASSES, _KNOWN = 0.12, 0.12  # chance that all is heard, speech or not, and that exactly speech is
_SPOKEN = 40  # every so many-th clip of many voices is kept back, to validate with
_REACH = 8  # frames by which a window may reach beyond a recording


@dataclass(frozen=True)
class Options:
    """What `[eac.task]` may set.

    encoder: transformer | gru | mlp. encoding of the emotion: clip (any modality's codes: the whole space and prompts),
    text (prompts alone), one-hot, language and gpt2 (see `spaces`). ame: weights folder of the emotion space, "" for
    the shipped one; upstream: an open_clip model NAME/PRETRAINED instead. start: weights folder of the EAC to begin
    from, "" for random weights. layers: of the Transformer, which may be more than the start has. dropout: in it, while
    training. vad: weights folder of the detector that it hears through. sounds: how many that are no speech. work:
    folder of the prepared corpus. speech: folder of more recordings with exact phones, see `corpus.exact`. faces: what
    `python -m emotalk_cli.training.tasks.ame_image` wrote, for eq. 2; "" for voices alone beside words. emotion: weight
    of L_emo, which needs the data pack's teacher.
    """

    encoder: str = "transformer"
    encoding: str = "clip"
    ame: str = ""
    upstream: str = ""
    start: str = ""
    layers: int = 6
    dropout: float = 0.0
    vad: str = ""
    sounds: int = 260
    work: str = "runs/corpus"
    speech: str = ""
    faces: str = ""
    emotion: float = 0.0


class Objective(nn.Module):
    """Loss without images: landmarks (lips above all), coefficients, velocity, closed lips, amplitude, tremor.

    A mean square alone prefers small, late motion where sound does not decide; `amplitude` asks for openings as
    large and as varied as the target's, and `tremor` for second differences no larger.
    """

    mouth: Tensor
    gap: Tensor
    width: Tensor

    def __init__(self, basis: Basis) -> None:
        super().__init__()
        self.count = len(basis.names)
        mouth = basis.mean[:, 1] < -1
        parts = {"mouth": basis.expression[:, mouth].flatten(1), "gap": basis.lips}
        for name, part in (parts | {"width": basis.distances(motion.WIDTH_PAIRS, 0)}).items():
            self.register_buffer(name, part, persistent=False)

    def forward(self, predicted: Tensor, closed: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Terms whose sum is the loss, for coefficients [B,T,64] and logits [B,T] of closed lips."""
        error = predicted - target
        count = self.count
        named = error[..., :count]
        wanted = target[..., :count] @ self.gap
        opening = wanted.mean(2)
        shut = ((0.12 - opening) / 0.08).clamp(0, 1)
        nearby = F.max_pool1d(opening, 9, 1, 4).clamp(0, 1)  # a closure between open sounds is what viewers look for
        weight = 1 + 5 * shut * nearby
        landmarks, gap, width = named @ self.mouth, named @ self.gap, named @ self.width
        own = (predicted[..., :count] @ self.gap).mean(2)
        tremor = own.diff(n=2, dim=1).abs().mean(1) - opening.diff(n=2, dim=1).abs().mean(1)
        return {
            "landmarks": 10 * landmarks.square().mean(),
            "gap": 1.5
            * (weight[..., None] * F.smooth_l1_loss(gap, torch.zeros_like(gap), reduction="none", beta=0.3)).mean(),
            "open": 3 * (0.7 * opening - own).clamp(min=0).square().mean(),
            "closed": 0.8 * F.binary_cross_entropy_with_logits(closed, shut, weight),
            "width": 8 * width.square().mean(),
            "beta": 15 * error.square().mean(),
            "velocity": 10 * landmarks.diff(dim=1).square().mean() + 0.5 * gap.diff(dim=1).square().mean(),
            "amplitude": (own.mean(1) - opening.mean(1)).square().mean()
            + (_spread(own) - _spread(opening)).square().mean(),
            "tremor": 4 * tremor.clamp(min=0).mean(),
        }


def _spread(series: Tensor) -> Tensor:
    """Standard deviation along the last axis, smooth at zero."""
    return (series.var(1) + 1e-4).sqrt()


class Shown(nn.Module):
    """What viewers look for in the finished motion (`EAC.contact`), not in the regression before it.

    Filmed mouths: opening and width, and how they go with the film's. Speech with timed phones, whatever the emotion:
    lips that meet on bilabials and on nothing else, a lower lip at the teeth on /f v/, narrow /w u/, wide /i/, open
    vowels.
    """

    gap: Tensor
    width: Tensor

    def __init__(self, basis: Basis) -> None:
        super().__init__()
        self.register_buffer("gap", basis.lips, persistent=False)
        self.register_buffer("width", basis.distances(motion.WIDTH_PAIRS, 0), persistent=False)

    def forward(
        self, made: Tensor, target: Tensor, face: Tensor, visemes: Tensor, filmed: Tensor, told: Tensor
    ) -> dict[str, Tensor]:
        """made, target: [B,T,64]; face: [B,64] of the emotion; visemes [B,4T]; filmed, told: [B] 0 or 1."""
        count = len(self.gap)
        gap, wide = (made[..., :count] @ self.gap).mean(2), (made[..., :count] @ self.width).mean(2)
        wanted, wanted_wide = ((target[..., :count] @ part).mean(2) for part in (self.gap, self.width))
        own = (face[:, :count] @ self.width).mean(1, keepdim=True)
        film = filmed[:, None].expand_as(gap)
        wide_open = film * (wanted > 0.3)

        parts = F.one_hot(visemes.clamp(min=0), len(VISEMES)).to(gap) * (visemes >= 0)[..., None]
        share = parts.unflatten(1, (-1, MELS_PER_FRAME)).mean(2) * told[:, None, None]

        def of(*names: str) -> Tensor:
            return share[..., [VISEMES.index(name) for name in names]].sum(2)

        def near(row: Tensor, reach: int) -> Tensor:
            return F.max_pool1d(row[:, None], 2 * reach + 1, 1, reach)[:, 0]

        def mean(loss: Tensor, where: Tensor) -> Tensor:
            return (loss * where).sum() / where.sum().clamp(min=1)

        bilabial, labiodental, silent = of("bilabial"), of("labiodental"), of("silence")
        rounded, spread = of("glide", "close round"), of("close front")
        apart = ((share.sum(2) - bilabial - labiodental - silent) > 0.7).float()
        apart = apart * (1 - near((bilabial > 0).float(), 3)) * (1 - near((silent > 0).float(), 2))
        quiet = (1 - near((silent < 0.99).float(), 2)) * told[:, None]
        least = -F.max_pool1d(-gap[:, None], 3, 1, 1)[:, 0]
        narrowest = -F.max_pool1d(-wide[:, None], 3, 1, 1)[:, 0]
        return {
            "seen_gap": mean(F.smooth_l1_loss(gap, wanted, reduction="none", beta=0.2), film),
            "seen_width": 4 * mean((wide - wanted_wide).square(), film),
            "seen_size": 2 * (mean(gap - wanted, wide_open) / mean(wanted, wide_open).clamp(min=0.1)).square(),
            "seen_r": 0.5 * (_unlike(gap, wanted, film) + _unlike(wide, wanted_wide, film)),
            "seen_silent": 3 * mean(gap.clamp(min=0), quiet),
            "seen_closed": 2.5 * mean((least - 0.02).clamp(min=0), (bilabial > 0.4).float()),
            "seen_apart": 4 * mean((APART - gap).clamp(min=0), apart),
            "seen_lip": mean((least - LIP).clamp(min=0), (labiodental > 0.4).float()),
            "seen_round": 1.5 * mean((narrowest - 0.5 * own - ROUND).clamp(min=0), (rounded > 0.4).float()),
            "seen_spread": mean((SPREAD + own - wide).clamp(min=0), (spread > 0.7).float()),
            "seen_open": 1.5 * mean((OPEN - gap).clamp(min=0), (of("open", "open front") > 0.7).float()),
        }


def _unlike(made: Tensor, wanted: Tensor, where: Tensor) -> Tensor:
    """1 - Pearson's r over where [B,T] is 1."""
    total = where.sum().clamp(min=1)
    made, wanted = ((row - (row * where).sum() / total) * where for row in (made, wanted))
    scale = (made.square().sum() + 1e-3).sqrt() * (wanted.square().sum() + 1e-3).sqrt()
    return (1 - (made * wanted).sum() / scale) * (where.sum() > 0)


class Consistency(nn.Module):
    """L_emo (eq. 6) where no image exists: the mean face rendered with β̂ and with β, seen by φ_emo."""

    light: Tensor

    def __init__(self, teachers: Path, size: int = 96) -> None:
        """teachers: folder of the data pack's emotion classifier. size: px of the renderings."""
        super().__init__()
        self.renderer = Renderer(FaceModel.load(), size)
        self.phi = EmotionFeatures("fer", teachers)
        self.size = size
        light = torch.zeros(3, 9)
        light[:, 0], light[:, 2], light[:, 3] = 0.55, 0.20, 0.45  # even, from above, from the front
        self.register_buffer("light", light.reshape(1, 27))

    def render(self, beta: Tensor) -> tuple[Tensor, Tensor]:
        """β [B,64] -> picture [B,3,size,size] of the mean face and its landmarks [B,478,3] px."""
        model, count = self.renderer.model, len(beta)
        turn = torch.eye(3, device=beta.device).expand(count, 3, 3)
        middle = torch.full((count, 3), self.size / 2, device=beta.device)
        pose = Pose(turn, beta.new_full((count,), self.size / 20), middle)
        alpha = beta.new_zeros(count, len(model.identity))
        delta = beta.new_zeros(count, len(model.texture_basis))
        picture, _ = self.renderer(alpha, beta, delta, self.light.expand(count, -1), pose)
        return picture, self.renderer.vertices(alpha, torch.zeros_like(beta), pose)

    def forward(self, predicted: Tensor, target: Tensor) -> Tensor:
        """β̂ and β [B,64] -> L_emo."""
        made, landmarks = self.render(predicted)
        with torch.no_grad():
            wanted = self.phi(self.render(target)[0], landmarks)
        return emotion_loss(self.phi(made, landmarks), wanted)


class EACTask:
    """One EAC, learning from a corpus (see `solver.Task`)."""

    name = "eac"

    def __init__(
        self,
        groups: dict[str, list[Clip]],
        held_out: list[Clip],
        basis: Basis,
        bank: EmotionBank,
        options: Options,
        rate: float,
        consistency: nn.Module | None = None,
        background: Tensor | None = None,
    ) -> None:
        """groups: training clips by source. held_out: tracked clips to validate with. consistency: L_emo of β̂, β.
        background: sounds to speak over, see `Augmenter`."""
        self.options, self.rate, self.basis, self.bank = options, rate, basis, bank
        self.held_out, self.consistency = held_out, consistency
        self.spoken = [clip for name in VALIDATED for clip in groups.get(name, [])[::_SPOKEN]]
        for name in VALIDATED:
            groups = groups | {name: [clip for i, clip in enumerate(groups.get(name, [])) if i % _SPOKEN]}
        groups = {name: clips for name, clips in groups.items() if clips}
        shares = np.array([corpus.SHARES[name] for name in groups])
        self.shares = shares / shares.sum()
        sizes = np.array([len(clips) for clips in groups.values()])
        self.ranges = np.stack([sizes.cumsum() - sizes, sizes], 1)  # of each group's clips: first, count
        kinds = [name for name, clips in groups.items() for _ in clips]
        self.recordings = Recordings([clip for clips in groups.values() for clip in clips])
        self.frames = self.recordings.frames.numpy()
        self.recordings.register_buffer("filmed", torch.tensor([float(kind in FILMED) for kind in kinds]))
        self.recordings.register_buffer("told", torch.tensor([float(kind not in FILMED) for kind in kinds]))
        self.augment = Augmenter(background)
        self.ear = VAD.load(options.vad or None).requires_grad_(False)
        self.objective, self.shown = Objective(basis), Shown(basis)
        self.share = prototypes.speech_mask()[: len(basis.names)]
        feeling = bank.behaviour.dims.hidden if bank.behaviour is not None else 0
        dims = Dims(
            encoder=options.encoder, layers=options.layers, space=bank.space, visemes=len(VISEMES), feeling=feeling
        )
        self.model = EAC(dims)
        self.model.lips[: len(basis.names)] = basis.lips
        older = EAC.load(options.start) if options.start else None
        if older is not None:
            self.model.adopt(older)
        if bank.behaviour is not None:
            self.model.feel(bank.behaviour)
        for module in self.model.modules():
            if isinstance(module, nn.Dropout | nn.MultiheadAttention):
                setattr(module, "p" if isinstance(module, nn.Dropout) else "dropout", options.dropout)
        self.helpers: dict[str, nn.Module] = {}

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        device = self.model.intensity.device
        for module in (self.objective, self.shown, self.consistency, self.recordings, self.augment, self.ear):
            if module is not None:
                module.to(device)
        self.bank, self.share = self.bank.to(device), self.share.to(device)
        self.rest, self.basis = self.bank.rest, self.basis.to(device)
        return {"eac": torch.optim.AdamW(self.model.parameters(), self.rate, weight_decay=0.01)}

    def batch(self, rng: np.random.Generator, size: int) -> dict[str, Tensor]:
        """Where windows are cut, at which rate (now and then as slow as a song), and how strong emotions are."""
        first, count = self.ranges[rng.choice(len(self.ranges), size, p=self.shares)].T
        clip = first + (rng.random(size) * count).astype(int)
        low, high = np.array(((1, 1), (0.85, 1.25), (0.5, 0.85)))[rng.choice(3, size, p=(0.4, 0.48, 0.12))].T
        rate = rng.uniform(low, high)
        last = np.maximum(self.frames[clip] + _REACH - WINDOW * rate, 1 - _REACH)
        mu = rng.uniform(0.8, 3.3, (size, 3)).clip(1, 3)
        return {
            "clip": torch.from_numpy(clip),
            "start": torch.from_numpy(rng.uniform(-_REACH, last)).float(),
            "rate": torch.from_numpy(rate).float(),
            "mu": torch.from_numpy(mu).float(),
        }

    @torch.no_grad()
    def prepare(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """What is heard of the windows, and the faces that say it, each with three emotions along the batch (eq. 2)."""
        clip, rate, mu = batch["clip"], batch["rate"], batch["mu"].T.flatten()
        cut = self.recordings.cut(clip, batch["start"] - LEAD * rate, rate, LEAD + WINDOW + TAIL)
        middle = slice(LEAD, LEAD + WINDOW)
        heard, passes = self.ear.overhear(self.augment(cut.mel), LEAD, WINDOW)
        spoken = F.max_pool1d(cut.speaking[:, None, middle], 2 * HANG[1] + 1, 1, HANG[1])[:, 0]
        chance = torch.rand(len(clip), 1, device=clip.device)
        passes = torch.where(chance < _PASSES, 1.0, torch.where(chance > 1 - _KNOWN, spoken, passes))
        heard = (heard + LEVEL_ERROR * torch.randn(len(clip), 1, 1, device=clip.device)).clamp(min=FLOOR)
        heard[:, :FIRST_BAND] = FLOOR
        heard = FLOOR + (heard - FLOOR) * passes.repeat_interleave(MELS_PER_FRAME, 1)[:, None]
        z, face = self.bank.alike(len(clip))
        face = face * prototypes.intensity_gain(mu[:, None])
        named = len(self.basis.names)
        speech = cut.beta[:, middle].repeat(3, 1, 1)
        target = motion.compose(speech, face[:, :named], self.share, self.basis)
        target = torch.cat([target, face[:, None, named:].expand(-1, WINDOW, -1)], 2)
        said = cut.visemes[:, middle.start * MELS_PER_FRAME : middle.stop * MELS_PER_FRAME]
        kind = {name: getattr(self.recordings, name)[clip].repeat(3) for name in ("filmed", "told")}
        tripled = {"mel": heard.repeat(3, 1, 1), "visemes": said.repeat(3, 1)}
        return {**tripled, "z": z, "mu": mu, "beta": target, "face": face, **kind}

    def losses(self, batch: dict[str, Tensor], step: int, total: int) -> Iterator[tuple[str, Tensor, dict]]:
        device = batch["clip"].device.type
        with torch.autocast(device, enabled=False):
            batch = self.prepare(batch)
        beta, closed, heard, _ = self.model.window(batch["mel"], batch["z"], batch["mu"])
        with torch.autocast(device, enabled=False):
            assert heard is not None, "a network that says what it hears"
            beta, closed, heard = beta.float(), closed.float(), heard.float()
            terms = self.objective(beta, closed, batch["beta"])
            known = (batch["visemes"] >= 0).sum().clamp(min=1)
            said = F.cross_entropy(heard.transpose(1, 2), batch["visemes"], ignore_index=-1, reduction="sum")
            terms["viseme"] = VISEME / known * said
            closing = self.model.closing(closed, heard).sigmoid()
            made = self.model.contact(beta, closing, self.model.sharpness(heard, beta))
            terms |= self.shown(made, batch["beta"], batch["face"], batch["visemes"], batch["filmed"], batch["told"])
            if self.consistency is not None:
                few, frame = slice(2), step % WINDOW  # rendering is dear
                seen = self.consistency(beta[few, frame], batch["beta"][few, frame])
                terms["emotion"] = self.options.emotion * seen
            loss = sum(terms.values())
        yield "eac", loss, {"loss": loss, **terms}

    @torch.no_grad()
    def validate(self, model: EAC) -> dict[str, float]:
        """Pearson r of opening and width with the tracked mouth, and the size and tremor of openings beside its."""
        mine, wide, truth, width = [], [], [], []
        for clip in self.held_out:
            device = self.rest.device
            beta, _ = model.predict(self.ear.hear(clip.mel.float().to(device)), self.rest, 1.0)
            mine.append(motion.gaps(beta, self.basis).mean(1).cpu())
            wide.append(motion.widths(beta, self.basis).mean(1).cpu())
            assert clip.gaps is not None and clip.widths is not None, "held-out clips are tracked"
            truth.append(clip.gaps.mean(1))
            width.append(clip.widths.mean(1))
        opening, tracked = torch.cat(mine), torch.cat(truth)
        speaking = tracked > 0.3
        report = {
            "r_opening": correlation(opening, tracked),
            "r_width": correlation(torch.cat(wide), torch.cat(width)),
            "opening_of_tracked": float(opening[speaking].mean() / tracked[speaking].mean()),
            "jitter_of_tracked": float(_tremor(mine) / _tremor(truth)),
        }
        if self.spoken:
            report["visemes"] = float(np.mean([recognition(model, clip, self.rest) for clip in self.spoken]))
        return report

    def samples(self, model: nn.Module) -> np.ndarray | None:
        return None

    def save(self, model: EAC, out: Path, **provenance: Any) -> Path:
        return model.save(out, data=corpus.LICENCES, **provenance)


def recognition(model: EAC, clip: Clip, z: Tensor) -> float:
    """Share of the mel frames of a clip's speech whose viseme is recognised."""
    assert clip.visemes is not None, "of clips with timed phones"
    known = clip.visemes > 0
    found = model.visemes(relative(clip.mel.float(), clip.level), z).argmax(1).cpu()
    return float((found == clip.visemes)[known].float().mean())


def _tremor(series: list[Tensor]) -> Tensor:
    return torch.cat([x.diff(n=2).abs() for x in series]).mean()


def bank_of(options: Options, seed: int, voices: list[Clip] | None = None) -> EmotionBank:
    """Emotions to learn, in the encoding that the options name. voices: EmoDB's, for eq. 2."""
    if options.encoding not in ENCODINGS:
        raise UsageError(f"encoding={options.encoding} is unknown; choose one of {', '.join(ENCODINGS)}.")
    if options.encoding == spaces.ONE_HOT:
        return EmotionBank.one_hot(spaces.ONE_HOT)
    folder = options.ame or None
    ame = upstream.load(options.upstream, folder) if options.upstream else AME.load(folder)
    bank = training_bank(ame, DRAWN, seed, options.encoding == "clip")
    if options.encoding == spaces.LANGUAGE:
        return EmotionBank(spaces.Language(ame).code(bank.z), bank.beta, spaces.LANGUAGE)
    if options.encoding == gpt2.SPACE:
        return EmotionBank(gpt2.load().text(training_prompts(DRAWN, seed)), bank.beta, gpt2.SPACE)
    if options.encoding == "clip" and bank.behaviour is not None:
        told, shown, names = [], [], []
        for part in (of_voices(ame, voices or []), of_pictures(ame, options.faces, seed)):
            told.append(part[0])
            shown.append(part[1])
            names += part[2]
        if names:
            bank = bank + EmotionBank.of(torch.cat(shown), bank.behaviour)
            bank.others = Others.of(torch.cat(told), torch.cat(shown), names, seed)
    return bank


def of_voices(ame: AME, clips: list[Clip]) -> tuple[Tensor, Tensor, list[str]]:
    """z [M,512] of the emotion in words, z of the voice, and names, of EmoDB's recordings that are heard as speech."""
    words = dict(zip(SPOKEN.values(), ame.text(list(SPOKEN.values())), strict=True))
    names, shown = [], []
    if ame.audio_tower is not None:
        for clip in clips:
            z = ame.audio_tower.listen([clip.mel.float()], clip.level)
            if z is not None:
                names.append(SPOKEN[clip.name[EMOTION_LETTER]])
                shown.append(z)
    if not names:
        return torch.zeros(0, WIDTH), torch.zeros(0, WIDTH), []
    return torch.stack([words[name] for name in names]), torch.stack(shown), names


@torch.no_grad()
def of_pictures(ame: AME, faces: str, seed: int) -> tuple[Tensor, Tensor, list[str]]:
    """The same of portraits that were given emotions (`ame_image.render`): z of those, z of the picture, names."""
    tower = ame.image_tower
    if not faces or tower is None:
        return torch.zeros(0, WIDTH), torch.zeros(0, WIDTH), []
    rows = ame_image.load(Path(faces))
    made = np.flatnonzero(~rows["real"])
    made = np.random.default_rng(seed).permutation(made)[:PICTURES]
    weights = torch.from_numpy(rows["weights"][made])
    stated = ame_image.stated(weights, torch.from_numpy(rows["strength"][made]).float())
    border = (ame_image.SIDE - tower.dims.side) // 2
    crops = torch.from_numpy(rows["crop"][made]).permute(0, 3, 1, 2)[:, :, border:-border, border:-border]
    features = tower.features(*(torch.from_numpy(rows[name][made]).float() for name in ("points", "scores")))
    parts = zip(crops.split(64), features.split(64), strict=True)
    shown = torch.cat([tower(crop.float() / 127.5 - 1, feature) for crop, feature in parts])
    strongest = stated[:, :-1].max(1)
    states = list(atlas.states())
    names = [states[i] if share > ONE_STATE else "" for share, i in zip(*(row.tolist() for row in strongest))]
    return ame_image.embedded(stated, ame), shown, names


def build(data: Path, config: Config, work: Path) -> EACTask:
    """The task for the data pack in `data`; what is prepared lies in the folder that `options.work` names."""
    options = configs.build(Options, config.task)
    basis = Basis.from_pack(data)
    groups, _ = corpus.build(data, Path(options.work), basis, config.seed, options.speech)
    groups, held_out = corpus.hold_out(groups)
    consistency = Consistency(data / "teachers") if options.emotion else None
    bank, other = bank_of(options, config.seed, groups["emodb"]), background(options.sounds, config.seed)
    return EACTask(groups, held_out, basis, bank, options, config.rate, consistency, other)
