"""Which of several faces speaks, two at once, and defaults from a file."""

from __future__ import annotations

import json

import numpy as np
import pytest
from conftest import PORTRAIT, SPEECH, sound, write_wav
from PIL import Image

from emotalk_cli import config
from emotalk_cli.batch import Results
from emotalk_cli.cli import _with_speakers
from emotalk_cli.cli.serve import _converted
from emotalk_cli.errors import InputError, UsageError
from emotalk_cli.jobs import Job


@pytest.fixture(scope="module")
def pair(inputs, portrait_picture):
    """The portrait twice, the larger one on the right."""
    both = np.full((512, 812, 3), 128, np.uint8)
    both[100:400, :300] = np.asarray(Image.fromarray(portrait_picture).resize((300, 300)))
    both[:, 300:] = portrait_picture
    Image.fromarray(both).save(inputs / "pair.png")
    return inputs / "pair.png"


def middle(portrait) -> float:
    to_source = portrait.fit.to_source
    return float((portrait.fit.landmarks[:, :2].numpy() @ to_source[:, :2].T + to_source[:, 2]).mean(0)[0])


def test_a_face_is_chosen_by_number_and_by_place(talker, pair):
    left, right = talker.portrait(pair, 0), talker.portrait(pair, 1)
    assert middle(left) < 300 < middle(right) and left.options == {"face_index": 0} and left.notes == []
    assert middle(talker.portrait(pair, at=(130, 170))) < 300 < middle(talker.portrait(pair, at=(0.7, 0.4)))
    with pytest.raises(InputError, match="shows 2 faces; choose face_index from 0 to 1"):
        talker.portrait(pair, 2)
    with pytest.raises(InputError, match="shows no face at face_at 10,10"):
        talker.portrait(pair, at=(10, 10))


def test_two_speak_in_one_picture(talker, pair, tmp_path):
    t = np.arange(6400) / 16000
    voices = [write_wav(tmp_path / f"{n}.wav", 0.4 * np.sin(n * t[:k])) for n, k in ((700, 6400), (1500, 4800))]
    words = ["generate", str(pair), "--face-index", "0", "--audio", str(voices[0]), "-e", "happy", "--fps", "5"]
    words = _with_speakers([*words, "--face-index=1", "--audio", str(voices[1]), "--out", str(tmp_path / "a.mp4")])
    assert json.loads(words[-1]) == [{"face_index": "1", "audio": str(voices[1])}]
    options = {"face": pair, "face_index": 0, "audio": voices[0], "emotion": "happy", "fps": 5, "also": words[-1]}
    job = Job.parse({**options, "out": tmp_path / "a.mp4"})
    assert job.settings.framing == "full" and [other.face_index for other in job.others] == [1]
    job.check()
    log, before = Results(tmp_path / "log"), job.all_inputs
    assert before["also_1_audio"] == voices[1]
    key = log.key(job)
    write_wav(voices[1], 0.4 * np.sin(1500 * t[:4800] + 0.1))  # a batch notices
    assert Results(tmp_path / "log").key(job) != key
    shown: list[np.ndarray] = []
    result = job.run(talker, show=shown.append)
    assert result.frames == 2 and result.size == (812, 512) and result.sidecar is None
    still = np.asarray(Image.open(pair))
    moved = [np.abs(frame.astype(int) - still).max(2) > 8 for frame in shown]
    assert all(m[:, :300].any() and m[:, 300:].any() for m in moved)
    heard = np.abs(np.fft.rfft(sound(result.out)[:4000]))
    assert heard[round(700 / 6.2832 / 4) - 2 : round(700 / 6.2832 / 4) + 3].max() > 20
    assert heard[round(1500 / 6.2832 / 4) - 2 : round(1500 / 6.2832 / 4) + 3].max() > 20


@pytest.mark.parametrize("also,said", [
    ("{", "is no JSON"), (json.dumps([{"face_index": 1}] * 8), "at most 8"),
    ('{"size": 3}', "holds, for each speaker"), ('{"audio": "b.wav"}', "does not say who speaks"),
])  # fmt: skip
def test_what_another_speaker_cannot_be(also, said):
    with pytest.raises(UsageError, match=said):
        Job.parse({"face": PORTRAIT, "audio": SPEECH, "also": also})


def test_defaults_come_from_a_file_and_words_win(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert config.read(None) == {}
    (tmp_path / "emotalk.toml").write_text('emotion = "calm"\nsize = 256\nweights = "w"\n[serve]\nport = 9000\n')
    (tmp_path / "long.toml").write_text(f"size = {'9' * 5000}\n")
    with pytest.raises(InputError, match="is not valid TOML"):
        config.read(tmp_path / "long.toml")
    held = config.read(None)
    assert held == {"emotion": "calm", "size": 256, "weights": tmp_path / "w"}
    assert config.read(None, "serve", config.SERVE) == {"port": 9000}
    assert _converted("port", 9000, 8000) == 9000 and _converted("keep", 2, 24.0) == 2.0
    with pytest.raises(UsageError, match="serve.port = 99999 is outside 0..65535"):
        _converted("port", 99999, 8000)
    assert config.merged(held, {"size": "512", "seed": None})["size"] == "512"
    assert "emotion" not in config.merged(held, {"emotion_image": "a.png"})


@pytest.mark.parametrize("text,said", [
    ('emotoin = "calm"', "'emotoin' cannot be set there. Did you mean emotion?"), ("face = 'a.png'", "is of one video"),
    ("size = 65", "is odd"), ("size = [1]", "is no plain value"), ("size =", "is not valid TOML"),
])  # fmt: skip
def test_a_wrong_file_is_named(text, said, tmp_path):
    (tmp_path / "a.toml").write_text(text)
    with pytest.raises((UsageError, InputError), match=said):
        config.read(tmp_path / "a.toml")


def test_heic_pictures_are_read(tmp_path, portrait_picture):
    pillow_heif = pytest.importorskip("pillow_heif")
    from emotalk_cli.media import image

    pillow_heif.from_pillow(Image.fromarray(portrait_picture[:64, :96])).save(tmp_path / "a.heic")
    assert image.load(tmp_path / "a.heic").shape == (64, 96, 3)
