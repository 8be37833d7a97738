"""EAC: windows without seams, closed lips, and what the shipped network does with speech and emotion."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from card import train_on
from hypothesis import given, settings
from hypothesis import strategies as st

from emotalk_cli.emotions import atlas, prototypes
from emotalk_cli.errors import UsageError, WeightsError
from emotalk_cli.face.model import FaceModel
from emotalk_cli.face.topology import EXPRESSION_NAMES
from emotalk_cli.media import audio
from emotalk_cli.media.audio import FLOOR, MEL_TO_LEVEL, normalise, relative
from emotalk_cli.models.behaviour import Behaviour, Layout
from emotalk_cli.models.eac import EAC, ENCODERS, LIVE, WHOLE, Dims
from emotalk_cli.models.text_tower import SPACE
from emotalk_cli.models.vad import VAD, VADDims
from emotalk_cli.motion.lips import NAMED, SHARP, VISEMES, close_lips, moulded, sharpened, smoothed
from emotalk_cli.training.config import Config
from emotalk_cli.training.data import motion
from emotalk_cli.training.data.augment import Augmenter
from emotalk_cli.training.data.corpus import Clip
from emotalk_cli.training.data.recordings import Recordings
from emotalk_cli.training.solver import Solver
from emotalk_cli.training.tasks import eac as training

EXAMPLES = Path(__file__).parents[1] / "examples"
WEIGHTS = Path(__file__).parents[1] / "weights"


@pytest.fixture(scope="module", params=ENCODERS)
def network(request):
    torch.manual_seed(0)
    return EAC(Dims(width=32, heads=4, layers=2, hidden=64, encoder=request.param, visemes=len(VISEMES))).eval()


def test_forward_has_the_papers_shapes(network):
    mel, z = torch.rand(3, 80, 4 * 32), torch.randn(3, 512)
    beta, sigma = network(mel, z, torch.tensor([1.0, 2.0, 3.0]))
    assert beta.shape == (3, 32, 64) and sigma.shape == (3, 32)


@pytest.mark.parametrize("frames", [1, 3, 15, 16, 17, 32, 75, 300])
def test_streaming_equals_the_whole_for_any_length_and_cut(network, frames):
    generator = torch.Generator().manual_seed(frames)
    mel, z = torch.randn(80, 4 * frames, generator=generator) - 3, torch.randn(512, generator=generator)
    whole, sigma = network.predict(mel, z, 2.0)
    assert whole.shape == (frames, 64) and sigma.shape == (frames, 32)
    for size in (1, 7, 40):
        blocks = list(network.stream(mel.split(4 * size, 1), z, 2.0, batch=3))
        torch.testing.assert_close(torch.cat([beta for beta, _ in blocks]), whole, atol=1e-4, rtol=0)
        torch.testing.assert_close(torch.cat([s for _, s in blocks]), sigma, atol=1e-4, rtol=0)


@pytest.mark.parametrize("overlap", [WHOLE, LIVE])
def test_motion_depends_on_no_more_of_the_future_than_is_said(network, overlap):
    mel, z, until = torch.randn(80, 4 * 90) - 3, torch.randn(512), 40
    changed = mel.clone()
    changed[:, 4 * (until + overlap.look_ahead + 1) :] = FLOOR
    now, then = (torch.cat([beta for beta, _ in network.stream([x], z, 1.0, overlap=overlap)]) for x in (mel, changed))
    assert len(now) == 90
    torch.testing.assert_close(now[: until + 1], then[: until + 1], atol=1e-4, rtol=0)
    assert (now[until + overlap.look_ahead + 1 :] - then[until + overlap.look_ahead + 1 :]).abs().max() > 1e-3


def test_stream_holds_only_a_few_seconds(network):
    asked = 0

    def mels():
        nonlocal asked
        for _ in range(200):
            asked += 1
            yield torch.zeros(80, 100)

    given = 0
    for beta, _ in network.stream(mels(), torch.zeros(512), 1.0):
        given += len(beta)
        assert 25 * asked - given < 60
    assert given == 200 * 25


def test_intensity_outside_the_range_is_refused(network):
    for mu in (0.9, 3.1, float("nan")):
        with pytest.raises(UsageError, match="1..3"):
            network.predict(torch.zeros(80, 40), torch.zeros(512), mu)


def test_unknown_encoder_is_refused():
    with pytest.raises(UsageError, match="lstm"):
        EAC(Dims(encoder="lstm"))


def test_normalised_mel_does_not_depend_on_gain_but_silence_stays_silent():
    wave = np.random.default_rng(0).standard_normal(32000).astype(np.float32) * 0.1
    quiet = wave * np.float32(0.1)
    loud, soft = (normalise(audio.log_mel(x), audio.level(x)) for x in (wave, quiet))
    torch.testing.assert_close(loud, soft, atol=0.04, rtol=0)
    hiss = wave * np.float32(1e-4)
    assert normalise(audio.log_mel(hiss), audio.level(hiss)).mean() < 0.5 * loud.mean()


@pytest.fixture(scope="module")
def basis():
    model = FaceModel.load(WEIGHTS)
    return motion.Basis(model.mean, model.expression[:NAMED], EXPRESSION_NAMES[:NAMED])


def test_lips_close_for_a_bilabial_but_not_for_a_blip_or_a_vowel(network):
    said = torch.full((1, 4 * 32), VISEMES.index("open"))
    said[0, 40:50], said[0, 90] = VISEMES.index("bilabial"), VISEMES.index("bilabial")
    heard = 8.0 * torch.nn.functional.one_hot(said, len(VISEMES))
    closing = network.closing(torch.zeros(1, 32), heard).sigmoid()[0]
    assert closing[10:12].min() > 0.5 and closing[:9].max() < 0.05 and closing[14:].max() < 0.2
    alone = torch.randn(1, 32)
    assert (network.closing(alone, None).argsort() == alone.argsort()).all()  # trained without phones


def test_smoothing_stills_a_tremor_and_keeps_closures(basis):
    torch.testing.assert_close(smoothed(torch.ones(9, 2)), torch.ones(9, 2))
    network = EAC(Dims(width=32, heads=4, layers=1, hidden=32))
    network.lips[:NAMED] = basis.lips
    beta = torch.zeros(40, 64)
    beta[:, basis["jawOpen"]] = 0.25 + 0.03 * (-1.0) ** torch.arange(40)
    closed = torch.zeros(40)
    closed[20] = 0.9
    gap = motion.gaps(network.contact(beta, closed, torch.zeros(40, len(SHARP))), basis).mean(1)
    assert gap[20] < 0.02 < 0.5 < gap[[17, 23]].min()
    assert gap[5:15].diff(n=2).abs().max() < 0.2 * motion.gaps(beta, basis).mean(1)[5:15].diff(n=2).abs().max()


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10_000), scale=st.floats(0, 1))
def test_close_lips_closes_any_mouth_and_leaves_closed_ones_alone(basis, seed, scale):
    generator = torch.Generator().manual_seed(seed)
    beta = torch.rand(4, NAMED, generator=generator) * scale
    allowed = torch.rand(4, 5, generator=generator)
    closed = close_lips(beta, allowed, basis.lips)
    assert (motion.gaps(closed, basis) <= allowed + 1e-3).all() or (closed[:, basis["jawOpen"]] == 0).any()
    apart = motion.gaps(beta, basis)
    torch.testing.assert_close(close_lips(beta, apart, basis.lips), beta, atol=1e-4, rtol=0)


def test_a_feeling_shapes_lips_that_close_where_they_did(basis):
    lips, beta, shape = torch.zeros(64, 5), torch.zeros(30, 64), torch.zeros(64)
    lips[:NAMED] = basis.lips
    beta[:, basis["jawOpen"]] = 0.2
    beta[10:13, basis["jawOpen"]] = 0
    upper = basis["mouthUpperUpLeft"]
    shape[[upper, basis["mouthUpperUpRight"]]], shape[basis["mouthShrugLower"]] = 0.5, 0.1
    made = moulded(beta, shape, lips)
    before, after = (motion.gaps(row, basis).mean(1) for row in (beta, made))
    assert after[10:13].max() < 0.01 and (after[20:] >= before[20:]).all()
    assert made[11, upper] < 0.3 < 0.45 < made[20:, upper].min()
    assert made[20:, basis["jawOpen"]].max() < 0.2
    torch.testing.assert_close(moulded(beta, 0 * shape, lips), beta, atol=1e-4, rtol=0)


def test_rule_made_speech_closes_rounds_and_opens(basis):
    labels = [
        ("sil", 0.4),
        ("M", 0.1),
        ("AA1", 0.25),
        ("P", 0.1),
        ("UW1", 0.25),
        ("IY0", 0.25),
        ("B", 0.08),
        ("sil", 0.5),
    ]
    ends = np.cumsum([seconds for _, seconds in labels])
    phones = [motion.Phone(end - seconds, end, label) for (label, seconds), end in zip(labels, ends)]
    beta = motion.speak(phones, 48, basis)
    gap, width = motion.gaps(beta, basis).mean(1), motion.widths(beta, basis).mean(1)

    def during(series: torch.Tensor, i: int) -> torch.Tensor:
        return series[round(phones[i].start * 25) : round(phones[i].end * 25) + 1]

    for i in (1, 3, 6):
        assert during(gap, i).min() < 0.02
    assert during(gap, 2).max() > 0.7 > during(gap, 4).max()
    assert during(width, 4).min() < during(width, 5).max() - 0.25
    assert gap[:4].abs().max() < 0.08 and gap[-4:].abs().max() < 0.02
    assert beta.min() >= 0 and beta.max() <= 1


def test_what_is_heard_clearly_is_seen_clearly(basis):
    beta = torch.zeros(3, 64)
    beta[:, basis["jawOpen"]], beta[:, basis["mouthStretchLeft"]] = 0.3, 0.2
    share = torch.eye(3)[:, [list(SHARP).index(name) for name in ("labiodental", "round", "postalveolar")]]
    made = torch.cat([sharpened(beta[i : i + 1].repeat(5, 1), share[i : i + 1].repeat(5, 1))[2:3] for i in range(3)])
    assert made[0, basis["mouthRollLower"]] > 0.7 and made[0, basis["jawOpen"]] < 0.1
    width, gap = motion.widths(made, basis).mean(1), motion.gaps(made, basis).mean(1)
    assert width[1] < width[0] - 0.5 and gap[0] < 0.5 * gap[2]
    torch.testing.assert_close(sharpened(beta, 0.2 * torch.ones(3, 3)), beta)


def test_labels_of_both_alphabets_find_their_visemes():
    assert motion.visemes_of("AY1") == ("open", "near front")
    assert motion.visemes_of("S") == ("sibilant",) and motion.visemes_of("S", "sampa") == ("postalveolar",)
    assert motion.visemes_of("!b", "sampa") == ("bilabial",)
    assert motion.visemes_of("+lar", "sampa") == ()
    assert motion.visemes_of("tʃ", "ipa") == ("alveolar", "postalveolar")
    assert motion.visemes_of("aɪ", "ipa") == ("open", "close front") and motion.visemes_of("ɑː", "ipa") == ("open",)
    assert motion.visemes_of("_", "ipa") == ("silence",)
    assert motion.visemes_of("I", "kokoro") == ("open", "near front") and motion.visemes_of("ʧ", "kokoro") == (
        "postalveolar",
    )
    assert motion.visemes_of("u", "kokoro") == ("close round",) and motion.visemes_of(".", "kokoro") == ("silence",)


def test_visemes_of_timed_phones_fall_on_their_mel_frames():
    phones = [motion.Phone(0.1, 0.2, "M"), motion.Phone(0.2, 0.4, "AY1"), motion.Phone(0.4, 0.5, "?!")]
    said = motion.heard(phones, 60)
    names = [VISEMES[i] if i >= 0 else "" for i in said]
    assert names == ["silence"] * 10 + ["bilabial"] * 10 + ["open"] * 10 + ["near front"] * 10 + [""] * 10 + names[50:]
    assert set(names[50:]) == {"silence"}


@pytest.mark.parametrize("emotion", prototypes.PROTOTYPES)
def test_composition_keeps_closures_and_shows_the_emotion(basis, emotion):
    rng = torch.Generator().manual_seed(0)
    speech = torch.zeros(60, NAMED)
    speech[20:, basis["jawOpen"]] = torch.rand(40, generator=rng) * 0.4
    face = prototypes.PROTOTYPES[emotion].beta[:NAMED]
    beta = motion.compose(speech, face, prototypes.speech_mask()[:NAMED], basis)
    assert motion.gaps(beta[:20], basis).max() < 0.02
    opening, spoken = motion.gaps(beta, basis).mean(1), motion.gaps(speech, basis).mean(1)
    assert torch.corrcoef(torch.stack([opening, spoken]))[0, 1] > 0.95
    spread = motion.widths(beta, basis)[:, 1].std()
    assert spread < 0.1 or spread < 1.2 * motion.widths(speech, basis)[:, 1].std()
    upper = [i for i, name in enumerate(basis.names) if name.startswith(("brow", "eye", "nose", "cheek"))]
    torch.testing.assert_close(beta[:, upper], face[upper].expand(60, -1), atol=1e-5, rtol=0)


def test_fit_recovers_the_mouth_of_a_moving_head(basis):
    index = sorted(
        {*motion.RIGID, *sum(motion.GAP_PAIRS + motion.WIDTH_PAIRS, ()), 0, 17, 37, 267, 84, 314, 152, 172, 397}
    )
    generator = torch.Generator().manual_seed(1)
    truth = torch.zeros(120, NAMED)
    for name, most in (("jawOpen", 0.4), ("mouthPucker", 0.5), ("mouthStretchLeft", 0.4), ("mouthStretchRight", 0.4)):
        truth[30:, basis[name]] = torch.rand(90, generator=generator) * most
    points = basis.mean[index] + torch.einsum("nk,kjc->njc", truth, basis.expression[:, index])
    turn = torch.linspace(-0.2, 0.2, 120)
    rotation = torch.stack(
        [torch.stack([c, z, s, z, z + 1, z, -s, z, c]) for c, s, z in zip(turn.cos(), turn.sin(), turn * 0)]
    )
    points = 12 * points @ rotation.view(-1, 3, 3) * torch.tensor([1.0, -1.0, -1.0]) + torch.tensor([180.0, 150.0, 0.0])
    beta, _ = motion.fit(points, index, torch.arange(120) < 30, basis)
    for measure in (motion.gaps, motion.widths):
        mine, true = measure(beta, basis).mean(1), measure(truth, basis).mean(1)
        assert torch.corrcoef(torch.stack([mine, true]))[0, 1] > 0.97
    assert motion.gaps(beta[:30], basis).abs().max() < 0.05


def test_augmentation_keeps_silence_and_words_and_changes_the_voice():
    torch.manual_seed(0)
    loud = torch.zeros(8, 80, 128) - 8
    loud[:, 5:40, 40:90] = 0.5
    augment = Augmenter(torch.randn(1, 80, 400) - 2)

    def heard(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return augment(loud)

    mel = heard(0)
    assert mel.shape == (8, 80, 128) and mel.isfinite().all()
    energy = mel.mean(1)
    assert (energy[:, 45:85].mean(1) > energy[:, :30].mean(1) + 0.1).all()  # speech stays where it was
    assert (mel - heard(1)).abs().mean() > 0.1
    torch.testing.assert_close(mel, heard(0))


def test_training_windows_carry_sound_and_motion_of_the_same_moment():
    clips = []
    for silent in (100, 200):  # mel frames
        clip = Clip("a", torch.full((80, 400), -20 / 10 + MEL_TO_LEVEL), -20.0, torch.zeros(100, NAMED))
        clip.mel[:, silent:] += 1.0
        clip.beta[silent // 4 :, 0] = 1.0
        clip.visemes = (torch.arange(400) >= silent).long()
        clips.append(clip)
    start, rate = torch.tensor([-5.0, 20.25, 90.0]), torch.tensor([1.0, 0.8, 1.2])
    cut = Recordings(clips).cut(torch.tensor([0, 1, 1]), start, rate, 32)
    assert cut.mel.shape == (3, 80, 128) and cut.beta.shape == (3, 32, NAMED) and cut.speaking.shape == (3, 32)
    inside = cut.mel[:, 0] > -0.1
    assert ((cut.visemes == 1) == (cut.mel[:, 0] > 0.5))[inside].float().mean() > 0.98
    sound = cut.mel[:, 0].unflatten(1, (32, 4)).mean(2)
    assert ((sound > 0.5) == (cut.beta[..., 0] > 0.5))[sound > -0.1].float().mean() > 0.97
    assert (cut.mel[0, :, :20] < -7).all() and (cut.mel[2, :, 60:] < -7).all() and not cut.beta[2, 15:].any()


def test_what_is_heard_in_training_is_what_the_detector_lets_through():
    torch.manual_seed(0)
    mel = torch.randn(2, 80, 320) - 3
    mel[:, 4:50, 100:200] += 2.5
    vad = VAD.load(WEIGHTS)
    relative, passes = vad.overhear(mel, 10, 40)
    heard = FLOOR + (relative - FLOOR) * passes.repeat_interleave(4, 1)[:, None]
    for row, part in zip(mel, heard, strict=True):
        torch.testing.assert_close(part, vad.hear(row)[:, 40:200], atol=1e-4, rtol=0)


def test_finished_motion_is_judged_by_what_is_seen(basis):
    shown, names = training.Shown(basis), list(VISEMES)
    said = torch.full((1, 128), names.index("alveolar"))
    said[:, 40:48], said[:, 80:96] = names.index("bilabial"), names.index("close round")
    good = torch.zeros(1, 32, 64)
    good[..., basis["jawOpen"]] = 0.2
    good[:, 10:12, basis["jawOpen"]] = 0
    good[:, 20:24, basis["mouthPucker"]] = 0.9
    bad = good.clone()
    bad[:, 10:12, basis["jawOpen"]], bad[:, 20:24, basis["mouthPucker"]] = 0.2, 0
    bad[:, 28:30, basis["jawOpen"]] = 0
    face, none, one = torch.zeros(1, 64), torch.zeros(1), torch.ones(1)
    right, wrong = (shown(beta, good, face, said, none, one) for beta in (good, bad))
    assert all(right[name] < 1e-6 for name in ("seen_closed", "seen_apart", "seen_round", "seen_gap", "seen_r"))
    assert all(wrong[name] > 0.01 for name in ("seen_closed", "seen_apart", "seen_round"))
    film = shown(bad, good, face, said, one, none)
    assert film["seen_gap"] > 0.01 and film["seen_r"] > 0.01 and film["seen_closed"] == 0


def test_eac_is_a_task_that_learns_and_saves_itself(basis, tmp_path):
    torch.manual_seed(0)
    clips = []
    for i in range(4):
        mel, beta = torch.full((80, 240), -8.0), torch.zeros(60, NAMED)
        mel[10:40, 80 + 20 * i : 140 + 20 * i] = 0.0
        beta[20 + 5 * i : 35 + 5 * i, basis["jawOpen"]] = 0.4
        clips.append(Clip(f"clip{i}", mel.half(), -20.0, beta))
        clips[-1].gaps, clips[-1].widths = motion.gaps(beta, basis), motion.widths(beta, basis)
    noise = [Clip("noise", torch.randn(80, 400) - 6, -20.0, torch.zeros(100, NAMED))]
    bank = training.EmotionBank.drawn(20, 0, Behaviour.load(WEIGHTS, SPACE))
    options = training.Options(encoder="mlp")
    task = training.EACTask({"grid": clips, "noise": noise}, clips[:2], basis, bank, options, 2e-3)
    task.ear = VAD(VADDims(width=8)).requires_grad_(False)
    torch.nn.init.constant_(task.ear.head.bias, 9.0)  # takes anything for speech
    batch = task.batch(np.random.default_rng(0), 4)

    def loss() -> float:
        with torch.no_grad():
            torch.manual_seed(0)
            return float(next(task.losses(batch, 0, 1))[1])

    before = loss()
    Solver(task, Config(steps=30, batch=3, rate=3e-3, warmup=2, ema=0.8), tmp_path).run()
    assert loss() < 0.7 * before
    made = EAC.load(tmp_path)
    made.check(bank.space)
    assert made.dims.encoder == "mlp" and torch.allclose(made.lips[:NAMED], basis.lips, atol=1e-2)
    assert set(task.validate(made)) == {"r_opening", "r_width", "opening_of_tracked", "jitter_of_tracked"}
    train_on(task)


def test_emotions_can_be_encoded_in_three_ways():
    bank = training.EmotionBank.one_hot("one-hot")
    assert len({int(row.argmax()) for row in bank.z}) == len(prototypes.BASICS) and bank.z.sum() == len(bank.z)
    with pytest.raises(UsageError, match="encoding=spoken"):
        training.bank_of(training.Options(encoding="spoken"), 0)


@pytest.fixture(scope="module")
def shipped():
    return EAC.load(WEIGHTS)


@pytest.fixture(scope="module")
def model():
    return FaceModel.load(WEIGHTS)


def code(**weights: float) -> torch.Tensor:
    """z_emo of our own space for weights over the basic emotions, without the text tower."""
    w = torch.zeros(1, len(atlas.states()))
    for name, weight in weights.items():
        if name != "unrelated":
            w[0, list(atlas.states()).index(name)] = weight
    meaning = torch.eye(1, 300)
    return Layout.shipped().compose(w @ atlas.basics(), atlas.mixed(w), meaning)[0]


def opening(model: FaceModel, beta: torch.Tensor) -> torch.Tensor:
    """Inner-lip distance beyond rest, cm."""
    return beta @ (model.expression[:, 13, 1] - model.expression[:, 14, 1])


def speech() -> np.ndarray:
    return audio.load(next(iter(sorted(EXAMPLES.glob("*.wav")) + sorted(EXAMPLES.glob("*.flac")))), 8)


def test_checkpoint_of_another_emotion_space_is_refused(shipped):
    assert shipped.dims.space == "emotalk-2"
    with pytest.raises(WeightsError, match="ViT-B-32/openai"):
        shipped.check("ViT-B-32/openai")


@pytest.mark.parametrize("emotion", prototypes.BASICS)
def test_silence_keeps_lips_closed_and_still_whatever_the_emotion(shipped, model, emotion):
    mel = torch.full((80, 300), FLOOR)
    gap = opening(model, shipped.predict(mel, code(**{emotion: 1.0}), 3.0)[0])
    assert gap.max() < 0.1  # below zero lips press together
    assert gap.diff().abs().max() < 0.02


def test_speech_opens_and_closes_the_mouth_with_the_voice(shipped, model):
    wave = speech()
    mel = relative(audio.log_mel(wave), audio.level(wave))
    gap = opening(model, shipped.predict(mel, code(neutral=1.0), 1.0)[0])
    loud = audio.loudness(mel)
    assert gap.quantile(0.9) > 0.4 and gap.quantile(0.05) < 0.1
    assert torch.corrcoef(torch.stack([gap, loud]))[0, 1] > 0.3
    changes = gap.diff().sign()
    assert (changes[1:] != changes[:-1]).float().mean() < 0.6  # moves, does not tremble


def test_emotion_shows_in_its_own_coefficients_and_grows_with_intensity(shipped):
    wave = speech()
    mel = relative(audio.log_mel(wave), audio.level(wave))

    def mean(emotion: str, mu: float) -> dict[str, float]:
        beta = shipped.predict(mel, code(**{emotion: 1.0}), mu)[0].mean(0)
        return dict(zip(EXPRESSION_NAMES, beta.tolist()))

    for emotion, name in [
        ("happy", "mouthSmileLeft"),
        ("sad", "mouthFrownLeft"),
        ("surprised", "browInnerUp"),
        ("angry", "browDownLeft"),
        ("disgusted", "noseSneerRight"),
        ("fearful", "eyeWideLeft"),
    ]:
        rest, low, middle, high = mean("neutral", 3.0), mean(emotion, 1.0), mean(emotion, 2.0), mean(emotion, 3.0)
        assert rest[name] + 0.1 < low[name] < middle[name] < high[name]
    unrelated = mean("unrelated", 3.0)
    assert max(abs(unrelated[name] - rest[name]) for name in rest) < 0.12


def test_emotion_leaves_the_words_readable(shipped, model):
    wave = speech()
    mel = relative(audio.log_mel(wave), audio.level(wave))
    calm = opening(model, shipped.predict(mel, code(neutral=1.0), 1.0)[0])
    for emotion in prototypes.BASICS[1:]:
        gap = opening(model, shipped.predict(mel, code(**{emotion: 1.0}), 3.0)[0])
        assert torch.corrcoef(torch.stack([calm, gap]))[0, 1] > 0.85
        assert gap[calm < 0.02].mean() < 0.12 and (gap[calm < 0.02] < 0.12).float().mean() > 0.95  # closures
