"""The image and audio towers and their trainers: shapes, invariances, what they learn, and whose space they are in."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from card import train_on

from emotalk_cli.emotions.atlas import states
from emotalk_cli.emotions.prototypes import BASICS
from emotalk_cli.errors import InputError, UsageError, WeightsError
from emotalk_cli.media import audio
from emotalk_cli.media.audio import normalise
from emotalk_cli.models import checkpoints, upstream
from emotalk_cli.models.audio_tower import AudioDims, AudioTower
from emotalk_cli.models.behaviour import Behaviour
from emotalk_cli.models.emotion_space import AME
from emotalk_cli.models.image_tower import ImageDims, ImageTower
from emotalk_cli.models.text_tower import TextDims
from emotalk_cli.training.config import Config
from emotalk_cli.training.data.lexicon import LABELS
from emotalk_cli.training.tasks import ame as ame_text
from emotalk_cli.training.tasks import ame_audio, ame_image
from emotalk_cli.training.tasks.ame import TextTask, learned_merges
from emotalk_cli.training.tasks.behaviour import BehaviourTask


@pytest.fixture(scope="module")
def ame() -> AME:
    return AME.load()


def random_mel(seed: int, frames: int = 400) -> torch.Tensor:
    """Log-mel of babble with pauses, [80, frames]."""
    rng = np.random.default_rng(seed)
    loud = np.repeat(rng.random(frames // 20) > 0.3, 20)
    return torch.from_numpy((rng.normal(-1.5, 0.6, (80, frames)) - 6 * ~loud).astype(np.float32).clip(-10))


@pytest.fixture(scope="module")
def audio_tower() -> AudioTower:
    torch.manual_seed(0)
    tower = AudioTower(AudioDims(width=16, layers=1, heads=2)).eval().requires_grad_(False)
    tower.anchors.copy_(torch.nn.functional.normalize(torch.randn(7, 512), dim=1))
    return tower


def test_a_recording_is_heard_alike_however_it_is_cut(audio_tower):
    mel = random_mel(0, 900)
    z = audio_tower.listen([mel], -20.0)
    assert z.shape == (512,) and z.norm() == pytest.approx(1, abs=1e-5)
    for size in (4, 100, 236):
        assert torch.allclose(audio_tower.listen(mel.split(size, 1), -20.0), z, atol=1e-5)
    assert not torch.allclose(audio_tower.listen([random_mel(1, 900)], -20.0), z, atol=1e-3)


@pytest.mark.parametrize("frames", [4, 100, 200, 201, 304])
def test_short_recordings_are_heard(audio_tower, frames):
    assert audio_tower.listen([torch.full((80, frames), -1.0)], -20.0).norm() == pytest.approx(1, abs=1e-5)


def test_silence_is_nothing_to_the_tower_and_neutral_to_the_space(ame, audio_tower):
    silence = torch.full((80, 400), -10.0)
    assert audio_tower.listen([silence], -100.0) is None
    deaf = AME(ame.text_tower, ame.tokenizer, ame.space, audio_tower=audio_tower)
    assert max(ame.mixture(deaf.audio([silence], -100.0)).items(), key=lambda item: item[1])[0] == "neutral"


def test_gain_does_not_change_what_is_heard(audio_tower):
    """Speech 12 dB louder, in loud parts and pauses alike, at a level 12 dB higher."""
    mel = random_mel(2).clamp(min=-4)
    assert torch.allclose(audio_tower.listen([mel], -20.0), audio_tower.listen([mel + 1.2], -8.0), atol=1e-4)


def sung(start: float, end: float) -> torch.Tensor:
    """Normalised log-mel [1,80,200] of pulses whose pitch goes from `start` to `end` Hz within 2 s."""
    hertz = np.linspace(start, end, 2 * audio.SAMPLE_RATE)
    pulses = np.diff(np.floor(np.cumsum(hertz) / audio.SAMPLE_RATE), prepend=0)
    wave = np.convolve(pulses, np.exp(-np.arange(200) / 8))[: len(pulses)].astype(np.float32) * 0.2
    return normalise(audio.log_mel(wave), audio.level(wave))[None]


def test_the_melody_of_a_voice_is_measured(audio_tower):
    for hertz in (120.0, 200.0, 310.0):
        level, spread, *_ = audio_tower._melody(sung(hertz, hertz))[0].tolist()
        assert level == pytest.approx(np.log(hertz), abs=0.05) and spread < 0.1
    up, down = audio_tower._melody(sung(150, 300))[0], audio_tower._melody(sung(300, 150))[0]
    assert up[4] > 0.2 and down[4] < -0.2, "slope"
    assert up[10] > 0.4, "range"


@pytest.fixture(scope="module")
def image_tower() -> ImageTower:
    torch.manual_seed(0)
    tower = ImageTower(ImageDims(width=32, layers=1, heads=2, hidden=32)).eval().requires_grad_(False)
    tower.mean.copy_(ame_image.mean_face(random_faces(1)[0][:, tower.index]))
    return tower


def random_faces(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    base = torch.randn(478, 3, generator=generator) * 50
    points = base + torch.randn(count, 478, 3, generator=generator)
    return points, torch.rand(count, 51, generator=generator)


def test_head_pose_size_and_place_do_not_change_the_features(image_tower):
    points, scores = random_faces(2)
    angle = torch.tensor(0.4)
    turn = torch.tensor([[angle.cos(), 0, angle.sin()], [0, 1, 0], [-angle.sin(), 0, angle.cos()]])
    moved = 2.5 * points @ turn.T + torch.tensor([40.0, -7.0, 3.0])
    assert torch.allclose(image_tower.features(points, scores), image_tower.features(moved, scores), atol=1e-4)
    assert not torch.allclose(*image_tower.features(points, scores), atol=1e-4)


def test_both_inputs_of_the_image_tower_count(image_tower):
    points, scores = random_faces(1)
    features = image_tower.features(points, scores)
    crops = torch.rand(2, 1, 3, 96, 96) * 2 - 1
    z = image_tower(crops[0], features)
    assert z.shape == (1, 512) and z.norm() == pytest.approx(1, abs=1e-5)
    assert not torch.allclose(z, image_tower(crops[1], features), atol=1e-4)
    assert not torch.allclose(z, image_tower(crops[0], features + 1), atol=1e-4)


def test_towers_are_loaded_from_their_own_files_and_only_in_their_space(ame, audio_tower, image_tower, tmp_path):
    assert AudioTower.load(tmp_path, "emotalk-2") is None
    audio_tower.save(tmp_path, data="", command="", seed=0)
    image_tower.save(tmp_path, data="", command="", seed=0)
    mel = random_mel(0)
    again = AudioTower.load(tmp_path, "emotalk-2").listen([mel], -20.0)
    assert torch.allclose(again, audio_tower.listen([mel], -20.0), atol=0.01)  # stored in half precision
    assert ImageTower.load(tmp_path, "emotalk-2").dims == image_tower.dims
    checkpoint = checkpoints.load("ame_audio", tmp_path)
    for other in ({"tensors": {"cls": torch.zeros(3)}}, {"dims": {"depth": 3}}):
        foreign = dataclasses.replace(checkpoint, **other)
        with pytest.raises(WeightsError, match="another version of EmoTalk"):
            foreign.fill(AudioTower(foreign.sizes(AudioTower.Dims)))
    with pytest.raises(WeightsError, match="'emotalk-2', not 'ViT-B-32/openai'"):
        AudioTower.load(tmp_path, "ViT-B-32/openai")


# -- training ---------------------------------------------------------------------------------------------------


def tones(seed: int) -> list[ame_audio.Voice]:
    """Two speakers, seven classes: each class has its own bands and rhythm."""
    rng, voices = np.random.default_rng(seed), []
    for speaker in ("03", "08"):
        for label in range(len(ame_audio.CLASSES)):
            for _ in range(3):
                mel = rng.normal(0.6, 0.05, (80, 200))
                mel[8 * label : 8 * label + 12] += 0.5
                mel *= 0.75 + 0.25 * np.sign(np.sin(np.arange(200) * (0.1 + 0.1 * label)))
                voices.append(ame_audio.Voice(torch.from_numpy(mel.astype(np.float32)), label, speaker))
    return voices


def audio_task(ame: AME, faces=None, **task) -> ame_audio.AudioTask:
    torch.manual_seed(0)
    config = Config(steps=60, batch=14, rate=3e-3, task={"leave": "08", "noise": 0.0, "echo": 0.1} | task)
    return ame_audio.AudioTask(tones(0), {"other": [torch.full((80, 300), 0.5)]}, ame, faces, config)


def train(task, steps: int, size: int) -> list[float]:
    """Plain steps of a task's only optimizer; the losses."""
    (optimizer,) = task.optimizers().values()
    losses = []
    for step in range(steps):
        task.model.train()
        for _, loss, _ in task.losses(task.batch(np.random.default_rng([0, step]), size), step, steps):
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
    return losses


def test_the_audio_tower_learns_classes_and_hears_them_in_a_speaker_it_never_met(ame):
    task = audio_task(ame)
    batch = task.batch(np.random.default_rng(1), 5)
    again = task.batch(np.random.default_rng(1), 5)
    assert all(torch.equal(batch[name], again[name]) for name in batch)
    assert batch["mel"].shape == (5, 80, 200) and batch["text"].shape == batch["image"].shape == (5, 512)
    assert torch.allclose(batch["weights"].sum(1), torch.ones(5)) and batch["mel"].min() >= 0
    assert task.validate(task.model)["accuracy"] > 0.6, "the regression it starts from"
    losses = train(task, 30, 14)
    assert np.mean(losses[-10:]) < np.mean(losses[:10])
    assert task.validate(task.model)["accuracy"] > 0.6
    assert task.confusion(task.model).sum() == 21
    train_on(task)


def test_faces_are_targets_of_the_audio_tower_too(ame):
    faces = torch.nn.functional.normalize(torch.randn(7, 4, 512, generator=torch.Generator().manual_seed(0)), dim=2)
    batch = audio_task(ame, faces, mix=0.0, other=0.0).batch(np.random.default_rng(0), 20)
    near = (batch["image"] @ faces.flatten(0, 1).T).max(1)
    assert torch.allclose(near.values, torch.ones(20), atol=1e-5)
    assert torch.equal(near.indices // 4, batch["weights"].argmax(1))


def test_variations_keep_silence_and_change_the_voice():
    options = ame_audio.Options(noise=0.0, echo=1.0)
    mel = torch.zeros(3, 80, 200)
    mel[:, :, 50:100] = 0.8
    varied = ame_audio.varied(mel, options, np.random.default_rng(0))
    assert varied.shape == mel.shape and torch.isfinite(varied).all()
    assert varied[:, :, :10].max() < 0.05 and (varied - mel).abs().mean() > 0.02


def drawn_faces() -> dict[str, np.ndarray]:
    """What `ame_image.render` writes, for 24 people whose crops' colour and scores tell the emotion."""
    rng = np.random.default_rng(0)
    count = 24 * 8
    weights = np.tile(np.eye(8, len(states()), dtype=np.float32), (24, 1))
    real = np.zeros(count, bool)
    real[:8] = True
    points, _ = random_faces(count)
    scores = np.repeat(weights[:, :8], 7, 1)[:, :51] * 0.8 + rng.uniform(0, 0.2, (count, 51))
    crop = rng.integers(0, 60, (count, 112, 112, 3)) + (weights.argmax(1) * 20)[:, None, None, None]
    person = [f"london_neutral/{i // 8:03d}_03.jpg" if i < 8 else f"sfhq/{i // 8}.jpg" for i in range(count)]
    return {
        "crop": crop.astype(np.uint8),
        "points": points.numpy(),
        "scores": scores.astype(np.float32),
        "weights": np.where(real[:, None], 0, weights).astype(np.float32),
        "strength": np.where(weights[:, 0] == 1, 0, 0.9).astype(np.float32),
        "beta": np.zeros((count, 64), np.float32),
        "person": np.array(person),
        "real": real,
    }


def test_the_image_tower_learns_emotions_of_people_it_never_met(ame):
    torch.manual_seed(0)
    task = ame_image.ImageTask(drawn_faces(), ame, None, Config(steps=30, batch=16, rate=2e-3))
    batch = task.batch(np.random.default_rng(0), 6)
    assert batch["crop"].shape == (6, 3, 96, 96) and batch["crop"].min() >= -1 and batch["crop"].max() <= 1
    assert torch.allclose(batch["z"].norm(dim=1), torch.ones(6), atol=1e-4)
    assert task.validate(task.model)["right"] > 0.6, "the regression it starts from"
    assert not task.model.visual.proj.any()
    train(task, 8, 16)
    assert task.validate(task.model)["right"] > 0.3
    assert task.model.visual.proj.any() and task.model.shape[-1].weight.any(), "pixels learn nothing"
    assert task.samples(task.model).dtype == np.uint8
    train_on(task)


def test_targets_of_faces_lie_where_the_words_lie(ame):
    z = ame_image.embedded(torch.eye(8, len(states()) + 1), ame)
    assert torch.allclose(z.norm(dim=1), torch.ones(8), atol=1e-4)
    words = ame.text(list(BASICS))
    assert torch.equal((z @ words.T).argmax(1), torch.arange(8)) and (z * words).sum(1).min() > 0.8


def test_weak_faces_are_partly_neutral():
    weights = torch.eye(len(states()))[[1, 1, 1]]
    p = ame_image.stated(weights, torch.tensor([0.0, 0.375, 1.0]))
    assert p[:, 1].tolist() == pytest.approx([0, 0.5, 1]) and torch.allclose(p.sum(1), torch.ones(3))


def test_real_photos_are_labelled_by_what_they_are():
    scores = torch.zeros(3, 51)
    scores[2, ame_image.SMILE] = 0.6
    labels, trust = ame_image.photographed(["london_smiling/1_08.jpg", "canada/1.jpg", "sfhq/a.jpg"], scores, None)
    assert labels.argmax(1).tolist() == [1, 0, 1] and trust.tolist() == [1, 1, 0.5]
    assert torch.allclose(labels.sum(1), torch.ones(3))


def test_training_without_its_data_says_what_is_missing(ame, tmp_path):
    with pytest.raises(InputError, match="splits.json"):
        ame_audio.emodb(tmp_path)
    with pytest.raises(InputError, match="ame_image"):
        ame_image.load(tmp_path / "none.npz")
    with pytest.raises(UsageError, match="no option"):
        audio_task(ame, colour=1)


def test_the_text_tower_learns():
    torch.manual_seed(0)
    words = ["happy", "sad", "very angry indeed", "table"]
    merges = learned_merges(dict.fromkeys(words, 9), 40)
    more = learned_merges({"joyful": 5}, 60, merges)
    assert more[: len(merges)] == merges and len(more) > len(merges)
    w = torch.eye(len(LABELS))[[LABELS.index(name) for name in ("happy", "sad", "angry", "unrelated")]]
    x, meaning = torch.nn.functional.normalize(torch.randn(2, 4, 462), dim=2)
    short = torch.tensor([True, True, False, True])
    texts = ame_text.Texts(words, w, x[:, :8], meaning, torch.ones(4), short)
    dims = dataclasses.replace(checkpoints_dims(), merges=len(merges), width=32, heads=2, layers=1)
    model = AME.own(dims, torch.tensor(merges))
    curriculum = ame_text.Curriculum(texts, model.tokenizer)
    task = TextTask(curriculum, model, Behaviour(), dims, Config(rate=1e-2))
    drawn = task.batch(np.random.default_rng(0), 40)
    said = curriculum.pieces.spell(drawn["pieces"])
    tokens = model.tokenizer(said)
    short = tokens.argmax(1) < curriculum.LONGEST
    assert short.any() and torch.equal(tokens[short, : curriculum.LONGEST], drawn["tokens"][short])
    assert any(" and " in text for text in said)
    losses = train(task, 40, 32)
    assert losses[-1] < 0.6 * losses[0]
    wider = ame_text.enlarged(model, more, dataclasses.replace(dims, merges=len(more), layers=2))
    assert wider.text(["joyful"]).shape == (1, 512)
    train_on(task)


def test_behaviour_learns_what_points_mean():
    task = BehaviourTask(Config(rate=3e-3))
    losses = train(task, 60, 128)
    assert losses[-1] < 0.3 * losses[0]
    train_on(task)


def checkpoints_dims():
    return TextDims(**checkpoints.load("ame").dims)


def test_an_upstream_clip_is_a_space_of_its_own(open_clip, ame, tmp_path, monkeypatch):
    """A random stand-in: the audio tower trains against it, is saved with its space, and loads with it again."""
    config = {
        "embed_dim": 512,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 1},
    }
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "tiny-stand-in", config)
    torch.save(open_clip.create_model("tiny-stand-in").state_dict(), tmp_path / "tiny.pt")
    name = f"tiny-stand-in/{tmp_path / 'tiny.pt'}"
    clip = upstream.load(name, tmp_path)
    assert clip.space == name and clip.audio_tower is None
    picture = np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8)
    points = random_faces(1)[0][0].numpy() * 0.3 + 100
    assert clip.image(picture, points, np.zeros(51)).shape == (512,)
    with pytest.raises(WeightsError, match="ame_audio"):
        clip.audio([random_mel(0)], -20.0)
    task = audio_task(clip)
    train(task, 6, 14)
    assert task.model.head[-1].weight.any() and task.model.dims.space == name
    task.save(task.model, tmp_path, command="", seed=0)
    assert upstream.load(name, tmp_path).audio([random_mel(0)], -20.0).shape == (512,)
    with pytest.raises(WeightsError, match="tiny-stand-in"):
        AudioTower.load(tmp_path, ame.space)
    z = ame_image.embedded(torch.eye(9, len(states()) + 1), clip)
    assert z.shape == (9, 512) and torch.allclose(z.norm(dim=1), torch.ones(9), atol=1e-4)


def test_large_tables_are_stored_in_bytes_and_the_weights_stay_small(tmp_path):
    table = torch.randn(50, 8) * torch.rand(50, 1)
    checkpoints.save("ame", {"t": table, "u": table[0]}, {}, tmp_path, data="", command="", seed=0, tables=["t"])
    back = checkpoints.load("ame", tmp_path).tensors
    assert set(back) == {"t", "u"}
    assert ((back["t"] - table).abs() <= 0.006 * table.abs().amax(1, keepdim=True)).all()
    shipped = checkpoints.weights_dir()
    assert sum((shipped / name).stat().st_size for name in checkpoints.index(shipped)) < 40e6
