"""Inputs made on the spot with numpy, Pillow and ffmpeg, and one pipeline that all tests share."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from imageio_ffmpeg import get_ffmpeg_exe
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
PORTRAIT = ROOT / "examples" / "portrait.png"
SPEECH = ROOT / "examples" / "speech.wav"

with contextlib.suppress(ImportError):  # a machine with a card may lack it
    import hypothesis

    hypothesis.settings.register_profile("untimed", deadline=None)  # a busy machine makes nothing wrong
    hypothesis.settings.load_profile("untimed")
signal.signal(signal.SIGINT, signal.default_int_handler)  # under nohup it is ignored, by children too
os.environ.setdefault("OMP_NUM_THREADS", "2")  # so that times do not depend on the machine's size
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))  # of commands run


def write_wav(path: Path, samples: np.ndarray, rate: int = 16000) -> Path:
    """16-bit WAV from samples [N] or [N, channels] in -1..1."""
    samples = np.atleast_2d(samples.T).T
    with wave.open(str(path), "wb") as file:
        file.setnchannels(samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return path


def ffmpeg(*arguments: str | Path) -> None:
    """Run the bundled ffmpeg; the test fails if it does."""
    command = [get_ffmpeg_exe(), "-nostdin", "-loglevel", "error", "-y", *map(str, arguments)]
    subprocess.run(command, check=True, capture_output=True)


def video_frames(path: Path, size: tuple[int, int]) -> np.ndarray:
    """All frames of a video as uint8 [T, H, W, 3]; size is (width, height)."""
    command = [get_ffmpeg_exe(), "-nostdin", "-loglevel", "error", "-i", f"file:{path}"]
    command += ["-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    data = subprocess.run(command, check=True, capture_output=True).stdout
    return np.frombuffer(data, np.uint8).reshape(-1, size[1], size[0], 3)


def sound(path: Path, rate: int = 16000) -> np.ndarray:
    """The sound of a media file as mono float32 [N]."""
    command = [get_ffmpeg_exe(), "-nostdin", "-loglevel", "error", "-i", f"file:{path}", "-vn"]
    command += ["-ac", "1", "-ar", str(rate), "-f", "f32le", "-"]
    return np.frombuffer(subprocess.run(command, check=True, capture_output=True).stdout, np.float32)


def streams(path: Path) -> str:
    """What ffmpeg says of a file: its streams, duration and metadata."""
    found = subprocess.run([get_ffmpeg_exe(), "-hide_banner", "-i", f"file:{path}"], capture_output=True, text=True)
    return re.sub(r"\s+", " ", found.stderr)


def leftovers(folder: Path) -> list[str]:
    """Temporary files of ours in a folder, and children that still run."""
    return [p.name for p in folder.iterdir() if p.name.startswith(".emotalk-") or p.suffix == ".part"]


# Tests that load models, start commands or train are slow, unless they say that they are fast.
SLOW_FIXTURES = {"talker", "talking_clip", "prepared", "faces", "whole", "open_clip", "stand_in"}
SLOW_FILES = {"test_batch", "test_cli", "test_doctor", "test_emotion_cli", "test_eval", "test_fuzz", "test_long"}
SLOW_FILES |= {"test_page", "test_serve", "test_solver"}

SLOW_TESTS = {  # that train, compile or read much, in files whose other tests are fast
    "test_a_parcel_holds_code_weights_and_samples",
    "test_a_step_moves_painter_and_critic",
    "test_back_translation_leads_home",
    "test_damaged_judge_is_noticed",
    "test_eac_is_a_task_that_learns_and_saves_itself",
    "test_inception_and_emotion_fan_load",
    "test_it_runs_where_posix_is_missing",
    "test_kernels_of_cards_give_what_torch_gives",
    "test_making_videos_imports_nothing_of_training_and_no_second_framework",
    "test_ten_thousand_pixels_are_scaled_down",
    "test_the_command_reads_sound_and_writes_frames",
    "test_the_command_writes_to_stdout_and_keeps_a_pictures_own_transparency",
    "test_the_audio_tower_learns_classes_and_hears_them_in_a_speaker_it_never_met",
    "test_the_detector_is_a_task_that_learns_on_any_device",
    "test_training_brings_a_person_together",
    "test_training_moves_generator_and_critic_and_saves",
    "test_training_reduces_the_error",
    "test_without_the_extra_the_shipped_space_runs_and_clip_says_what_to_install",
}

VERSIONS = {  # slow, but they lean on others' code
    "test_an_upstream_clip_is_a_space_of_its_own",
    "test_an_upstream_clip_runs_from_a_local_file",
    "test_it_runs_where_posix_is_missing",
    "test_kernels_of_cards_give_what_torch_gives",
    "test_making_videos_imports_nothing_of_training_and_no_second_framework",
    "test_the_command_reads_sound_and_writes_frames",
    "test_the_detector_is_a_task_that_learns_on_any_device",
    "test_the_real_layout_embeds_as_a_direct_call_does",
    "test_the_text_tower_is_open_clips_with_the_same_weights",
    "test_tokens_are_open_clips",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what `tests/run.sh --fast` leaves out, and what only `--soak` runs."""
    for item in items:
        if item.path.stem.startswith("test_soak"):
            item.add_marker(pytest.mark.soak)
        fixtures = set(getattr(item, "fixturenames", ()))
        name = getattr(item, "originalname", item.name)
        if name in VERSIONS:
            item.add_marker(pytest.mark.versions)
        slow = item.path.stem in SLOW_FILES or name in SLOW_TESTS or SLOW_FIXTURES & fixtures
        if slow and item.get_closest_marker("fast") is None:
            item.add_marker(pytest.mark.slow)


SOAKED = pytest.StashKey[dict[str, str]]()


@pytest.fixture
def soaked(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Called with a fault and its outcome: a row of the table that ends the run."""
    return request.config.stash.setdefault(SOAKED, {}).__setitem__


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The table of what soak tests have seen, in Markdown."""
    rows = config.stash.get(SOAKED, {})
    if rows:
        terminalreporter.section("faults and outcomes")
        terminalreporter.write_line("| fault | outcome |\n|---|---|")
        for fault, outcome in rows.items():
            terminalreporter.write_line(f"| {fault} | {outcome} |")


@pytest.fixture(scope="session")
def inputs(tmp_path_factory) -> Path:
    """A folder for inputs that tests make once and share."""
    return tmp_path_factory.mktemp("inputs")


@pytest.fixture(scope="session")
def short_speech(inputs) -> Path:
    """The first 1.2 s of the example speech (30 frames)."""
    ffmpeg("-i", SPEECH, "-t", "1.2", inputs / "short.wav")
    return inputs / "short.wav"


@pytest.fixture(scope="session")
def portrait_picture() -> np.ndarray:
    """The example portrait, uint8 [512,512,3]; its face is about 100 px high."""
    return np.asarray(Image.open(PORTRAIT).convert("RGB"))


@pytest.fixture(scope="session")
def silence(inputs) -> Path:
    """2 s without a sound."""
    return write_wav(inputs / "silence.wav", np.zeros(32000))


@pytest.fixture(scope="session")
def talker():
    """One loaded pipeline, geometry only, for all tests that do not need the neural generator."""
    from emotalk_cli import EmoTalk

    return EmoTalk.load(device="cpu", generator="geometry")


@pytest.fixture(scope="session")
def open_clip() -> ModuleType:
    """Others' CLIP, whose import takes seconds."""
    return pytest.importorskip("open_clip")


@pytest.fixture(scope="module")
def stand_in(open_clip, tmp_path_factory) -> Iterator[str]:
    """CLIP: ViT-B-32's own layout, random, with one layer a tower in place of twelve: its file of weights."""
    import copy

    import torch

    patch = pytest.MonkeyPatch()
    for name in ("ViT-B-32", "ViT-B-32-quickgelu"):
        config = copy.deepcopy(open_clip.factory._MODEL_CONFIGS[name])
        config["vision_cfg"]["layers"] = config["text_cfg"]["layers"] = 1
        patch.setitem(open_clip.factory._MODEL_CONFIGS, name, config)
    path = tmp_path_factory.mktemp("clip") / "weights.pt"
    torch.manual_seed(0)
    torch.save(open_clip.create_model("ViT-B-32").state_dict(), path)
    yield str(path)
    patch.undo()


@pytest.fixture(scope="session")
def gpt2_files(tmp_path_factory) -> Path:
    """GPT-2's own layout, random and small: a folder as its authors distribute it."""
    import torch
    from safetensors.torch import save_file

    from emotalk_cli.models.gpt2 import GPT2, GPT2Dims

    folder = tmp_path_factory.mktemp("gpt2")
    pairs = ["h a", "Ġ f", "ha p", "hap p", "happ y", "Ġ happy", "Ġf a", "Ġfa c", "Ġfac e", "s a", "sa d"]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *pairs, ""]), encoding="utf-8")
    torch.manual_seed(0)
    model = GPT2(GPT2Dims(len(pairs), width=128, layers=2, context=80))
    tensors = {name: 0.3 * torch.randn_like(value) for name, value in model.state_dict().items()}
    tensors |= {f"h.{layer}.attn.bias": torch.ones(1, 1, 80, 80).tril() for layer in range(2)}
    save_file({f"transformer.{name}": value for name, value in tensors.items()}, folder / "model.safetensors")
    return folder


@pytest.fixture(scope="session")
def talking_clip(inputs, talker, short_speech) -> Path:
    """The portrait says something: 0.8 s (20 frames) of 160 px, with sound."""
    ffmpeg("-i", short_speech, "-t", "0.8", inputs / "shorter.wav")
    options = {"size": 160, "intensity": 3.0, "pose": "still"}
    return talker.generate(PORTRAIT, inputs / "shorter.wav", "happy", inputs / "clip.mp4", **options).out


@pytest.fixture(scope="session")
def prepared(inputs, talking_clip) -> Path:
    """`emotalk train prepare` of that clip, as one for training and one for testing, at full size."""
    from emotalk_cli.training.data import prepare, shards

    out = inputs / "prepared"
    for name, split in (("laugh", "train"), ("smile", "test")):
        labels = shards.Labels(name, "anna", "happy", 3.0, split, talking_clip.name)
        prepare.make_clip(prepare.Source(labels, talking_clip, talking_clip), out, 512, *prepare._models(None))
    shards.write_index(out)
    return out
