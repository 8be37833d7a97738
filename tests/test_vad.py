"""What counts as speech, at any gain, in blocks of any size."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from card import train_on
from conftest import SPEECH

from emotalk_cli.media import audio
from emotalk_cli.models import vad
from emotalk_cli.models.vad import VAD, LevelFollower, VADDims
from emotalk_cli.training.config import Config
from emotalk_cli.training.data.corpus import Clip
from emotalk_cli.training.data.motion import Phone
from emotalk_cli.training.solver import Solver
from emotalk_cli.training.tasks.vad import MELS, Options, VADTask

RATE = audio.SAMPLE_RATE
TIME = np.arange(4 * RATE) / RATE


@pytest.fixture(scope="module")
def detector() -> VAD:
    return VAD.load()


@pytest.fixture(scope="module")
def wave() -> np.ndarray:
    return audio.load(SPEECH, 6.0)


def heard(detector: VAD, wave: np.ndarray) -> torch.Tensor:
    """Loudness [T] 0..1 of what is speech."""
    return audio.loudness(detector.hear(audio.log_mel(wave.astype(np.float32))))


def bursts(rng: np.random.Generator) -> np.ndarray:
    noise = np.fft.irfft(
        np.fft.rfft(rng.standard_normal(4 * RATE)) / (1 + np.arange(2 * RATE * 1 + 1) / 4000), 4 * RATE
    )
    return 0.3 * noise / np.abs(noise).max() * np.clip(np.sin(2 * np.pi * 0.4 * TIME), 0, 1)


@pytest.mark.parametrize("cut", [1, 7, 40])
@pytest.mark.parametrize("ahead", [0, vad.LEVEL_AHEAD])
def test_listening_depends_neither_on_blocks_nor_on_more_of_the_future_than_is_said(cut, ahead):
    torch.manual_seed(0)
    detector, mel = VAD(VADDims(width=8)).eval(), torch.randn(80, 4 * 90)
    whole = torch.cat(list(detector.listen([mel], ahead)), 1)
    assert whole.shape == mel.shape and whole.min() >= audio.FLOOR
    pieces = torch.cat(list(detector.listen(mel.split(4 * cut, 1), ahead)), 1)
    torch.testing.assert_close(pieces, whole, atol=1e-4, rtol=0)
    until = 40
    mel[:, 4 * (until + vad.LOOK_AHEAD + 1) :] += 2
    changed = torch.cat(list(detector.listen([mel], ahead)), 1)
    torch.testing.assert_close(changed[:, : 4 * (until + 1)], whole[:, : 4 * (until + 1)], atol=1e-4, rtol=0)


def test_speech_is_heard_alike_at_any_gain_and_over_rumble(detector, wave):
    whole = detector.hear(audio.log_mel(wave))
    assert (audio.loudness(whole) > 0).float().mean() > 0.6
    for gain in (1.0, 0.1, 0.01):
        rumble = 0.5 + 0.3 * np.sin(2 * np.pi * 31 * np.arange(len(wave)) / RATE)
        other = detector.hear(audio.log_mel((gain * (wave + rumble)).astype(np.float32)))
        assert (other - whole).abs().mean() < 0.1


def test_a_quiet_half_is_as_loud_as_a_loud_one(detector, wave):
    loud = heard(detector, np.concatenate([wave, 0.1 * wave]))
    half = len(wave) // audio.SAMPLES_PER_FRAME
    first, second = loud[50:half], loud[half + 50 :]
    assert second.mean() > 0.8 * first.mean()


@pytest.mark.parametrize(
    "sound",
    [
        np.zeros_like(TIME),
        0.3 * np.sin(2 * np.pi * 440 * TIME),
        0.2 * (np.sin(2 * np.pi * 440 * TIME) + np.sin(2 * np.pi * 480 * TIME)),
        0.1 * np.random.default_rng(0).standard_normal(len(TIME)),
        bursts(np.random.default_rng(1)),
        0.5 + 0.2 * np.sin(2 * np.pi * 50 * TIME),
    ],
    ids=["silence", "tone", "dial", "noise", "breath", "hum"],
)
def test_what_is_no_speech_is_silence(detector, sound):
    assert heard(detector, sound).mean() < 0.03


def test_the_level_is_that_of_speech_and_not_of_what_was_louder():
    speech, power = torch.zeros(200), torch.full((200,), 3.0)
    speech[100:], power[100:] = 1.0, 0.0
    level = LevelFollower().follow(power, speech)
    assert level[125:] == pytest.approx(vad.LEVEL_OVER_MEAN, abs=0.15)


def test_the_detector_is_a_task_that_learns_on_any_device(tmp_path):
    clips = []
    for i in range(10):
        mel = torch.full((80, 160), -8.0)
        mel[8:40, 40 + 4 * i : 100 + 4 * i] = 0.0
        phones = [Phone((40 + 4 * i) / 100, (100 + 4 * i) / 100, "AA")]
        clips.append(Clip(f"clip{i}", mel.half(), -20.0, torch.zeros(40, 1), phones))
    task = VADTask(clips, torch.randn(11, 80, MELS).half(), Options(width=8), 1e-2)
    task.optimizers()
    batch = task.batch(np.random.default_rng(0), 6)
    batch["other"][:] = -1  # nothing else is heard
    made = task.mixed(batch)
    assert made["mel"].shape == (6, 80, MELS) and made["mel"].isfinite().all()
    spoken, loud = made["speech"] > 0.5, made["mel"].unflatten(2, (-1, 4))[:, 8:40].mean((1, 3))
    rows = [row for row in range(6) if spoken[row].any()]
    assert rows and all(loud[row][spoken[row]].mean() > loud[row][~spoken[row]].mean() + 0.5 for row in rows)
    task.held_out = [{name: rows[:2] for name, rows in task.held_out[0].items()}]
    Solver(task, Config(steps=2, batch=2, warmup=1), tmp_path).run()
    assert VAD.load(tmp_path).dims.width == 8
    train_on(task)
