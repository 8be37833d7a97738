"""Decoding of good and bad files, streaming, and the mel spectrogram against librosa's."""

from __future__ import annotations

import subprocess
import wave as wavefile

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from imageio_ffmpeg import get_ffmpeg_exe

from emotalk_cli.errors import InputError
from emotalk_cli.media import audio


def tone(seconds: float, rate: int = audio.SAMPLE_RATE, hertz: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def write_wav(path, samples: np.ndarray, rate: int = audio.SAMPLE_RATE) -> None:
    with wavefile.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((samples * 32767).astype("<i2").tobytes())


def ffmpeg(*arguments: str) -> None:
    subprocess.run([get_ffmpeg_exe(), "-nostdin", "-loglevel", "error", "-y", *arguments], check=True)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp("audio") / "tone.wav"
    write_wav(path, tone(1.5, 48000), 48000)
    return path


@pytest.mark.parametrize(
    "name, options",
    [
        ("a.mp3", []),
        ("a.m4a", ["-c:a", "aac"]),
        ("a.ogg", []),
        ("a.flac", []),
        ("a.opus", ["-c:a", "libopus"]),
        ("eight bit.wav", ["-c:a", "pcm_u8"]),
        ("24 bit.wav", ["-c:a", "pcm_s24le"]),
        ("5.1.wav", ["-ac", "6"]),
        ("8k.wav", ["-ar", "8000"]),
        ("192k.flac", ["-ar", "192000"]),
        ('it\'s a "téléphone" 电话 %d [x]: 1.mp3', []),
        ("-leading dash.wav", []),
        ("sound without suffix", ["-f", "wav"]),
    ],
)
def test_any_format_and_name_decodes_to_the_same_tone(source, tmp_path, name, options, monkeypatch):
    ffmpeg("-i", str(source), *options, f"file:{tmp_path / name}")
    monkeypatch.chdir(tmp_path)
    wave = audio.load(name)
    assert wave.dtype == np.float32 and wave.ndim == 1
    assert len(wave) == pytest.approx(1.5 * audio.SAMPLE_RATE, abs=0.06 * audio.SAMPLE_RATE)
    spectrum = np.abs(np.fft.rfft(wave[4000:20000] * np.hanning(16000)))
    assert int(spectrum.argmax()) == pytest.approx(440, abs=2)


def test_sound_of_a_video_is_read(source, tmp_path):
    path = tmp_path / "film.mp4"
    ffmpeg("-f", "lavfi", "-i", "color=s=64x64:d=1.5", "-i", str(source), "-c:a", "aac", str(path))
    assert audio.duration(path) == pytest.approx(1.5, abs=0.06)


def test_sound_begins_where_the_film_has_it(source, tmp_path):
    path = tmp_path / "late.mp4"
    film = ["-f", "lavfi", "-i", "color=s=64x64:d=2.5", "-itsoffset", "0.58", "-i", str(source)]
    ffmpeg(*film, "-map", "0:v", "-map", "1:a", "-c:a", "aac", str(path))
    wave = audio.load(path)
    assert np.flatnonzero(np.abs(wave) > 0.1)[0] / audio.SAMPLE_RATE == pytest.approx(0.58, abs=0.03)
    assert len(wave) / audio.SAMPLE_RATE == pytest.approx(2.08, abs=0.06)


def test_the_track_is_heard_that_players_play(source, tmp_path):
    path = tmp_path / "two.mkv"
    tracks = ["-f", "lavfi", "-i", "sine=1000:d=1", "-i", str(source), "-map", "0:a", "-map", "1:a"]
    ffmpeg(*tracks, "-disposition:a:0", "0", "-disposition:a:1", "default", str(path))
    wave = audio.load(path)
    assert int(np.abs(np.fft.rfft(wave[:16000])).argmax()) == pytest.approx(440, abs=2)


@pytest.mark.parametrize("channels, share", [("c0|c1=-1*c0", 1.0), ("c0|c1=0*c0", 0.5), ("c0|c1=c0", 1.0)])
def test_no_channel_is_lost(source, tmp_path, channels, share):
    path = tmp_path / "stereo.wav"
    ffmpeg("-i", str(source), "-filter:a", f"pan=stereo|c0={channels}", str(path))
    mono, wave = audio.load(source), audio.load(path)
    assert len(wave) == len(mono)
    np.testing.assert_allclose(np.abs(wave[3200:-100]), share * np.abs(mono[3200:-100]), atol=0.01)


def test_bad_files_are_named_in_one_sentence_with_a_remedy(source, tmp_path):
    text, empty, mute, short = (tmp_path / name for name in ("text.wav", "empty.wav", "mute.mp4", "short.wav"))
    text.write_text("this is no sound\n" * 50)
    empty.touch()
    ffmpeg("-f", "lavfi", "-i", "color=s=64x64:d=1", str(mute))
    write_wav(short, tone(0.05))
    half = tmp_path / "half.m4a"
    ffmpeg("-i", str(source), "-c:a", "aac", str(half))
    half.write_bytes(half.read_bytes()[: half.stat().st_size // 2])
    expected = {
        tmp_path / "absent.wav": "does not exist",
        tmp_path: "is a folder",
        empty: "is empty",
        text: "damaged or no audio",
        half: "damaged or no audio",
        mute: "holds no sound",
        short: "0.05 s of sound",
    }
    for path, reason in expected.items():
        for read in (audio.load, audio.Recording.open):
            with pytest.raises(InputError) as caught:
                read(path)
            message = str(caught.value)
            assert str(path) in message and reason in message and ";" in message and "\n" not in message


def test_blocks_are_bounded_and_add_up_and_can_be_abandoned(tmp_path):
    path = tmp_path / "long.wav"
    write_wav(path, tone(5.3))
    parts = list(audio.blocks(path, 1.0))
    assert [len(part) for part in parts] == [16000] * 5 + [4800]
    np.testing.assert_array_equal(np.concatenate(parts), audio.load(path))
    assert len(audio.load(path, 2.5)) == 40000
    reader = audio.blocks(path, 0.5)
    next(reader)
    reader.close()


def test_mel_filters_are_librosas():
    librosa = pytest.importorskip("librosa")
    reference = librosa.filters.mel(sr=audio.SAMPLE_RATE, n_fft=audio.N_FFT, n_mels=audio.N_MELS)
    np.testing.assert_allclose(audio.mel_filters(), reference, atol=1e-6)


def test_log_mel_is_librosas_shifted_by_half_a_hop():
    """Its frames as librosa defines them, one by one: importing the original takes longer than ten other tests."""
    wave = np.random.default_rng(0).standard_normal(16000) * 0.1
    window = np.sin(np.pi * np.arange(audio.N_FFT) / audio.N_FFT) ** 2  # Hann's
    padded = np.pad(wave, audio.N_FFT // 2)  # librosa centres frame k on sample HOP k; ours lies half a hop later
    frames = [np.resize(padded[a : a + audio.N_FFT], audio.N_FFT) for a in range(audio.HOP // 2, 16000, audio.HOP)]
    power = np.abs(np.fft.rfft(window * np.array(frames))) ** 2
    reference = np.log10(np.maximum(audio.mel_filters() @ power.T, 1e-10))
    np.testing.assert_allclose(audio.log_mel(wave)[:, 4:-4], reference[:, 4:-4], atol=2e-4)


@settings(max_examples=25, deadline=None)
@given(length=st.integers(1, 20000), cuts=st.lists(st.integers(0, 20000), max_size=6), seed=st.integers(0, 9))
def test_streamed_mel_equals_the_whole(length, cuts, seed):
    wave = np.random.default_rng(seed).standard_normal(length).astype(np.float32)
    whole = audio.log_mel(wave)
    assert whole.shape == (80, 4 * -(-length // audio.SAMPLES_PER_FRAME))
    pieces = np.split(wave, sorted(min(cut, length) for cut in cuts))
    torch.testing.assert_close(torch.cat(list(audio.mel_blocks(pieces)), 1), whole, atol=1e-4, rtol=0)


def test_recording_agrees_with_the_offline_functions(tmp_path):
    path = tmp_path / "r.wav"
    rng = np.random.default_rng(0)
    wave = rng.standard_normal(50001).astype(np.float32) * 0.1 * (np.arange(50001) % 9000 < 5000)
    write_wav(path, wave)
    recording, samples = audio.Recording.open(path), audio.load(path)
    assert recording.seconds == len(samples) / audio.SAMPLE_RATE
    assert recording.level == audio.level(samples) == pytest.approx(-20, abs=1)
    mel = torch.cat(list(recording.mels()), 1)
    assert mel.shape[1] == recording.frames * audio.MELS_PER_FRAME
    torch.testing.assert_close(mel, audio.log_mel(samples), atol=1e-4, rtol=0)


def test_level_ignores_pauses_and_loudness_follows_it():
    rng = np.random.default_rng(1)
    burst = np.concatenate([rng.standard_normal(32000) * 0.1, np.zeros(160000)]).astype(np.float32)
    level = audio.level(burst)
    assert level == pytest.approx(-20, abs=1)
    for gain in (1.0, 0.05):
        wave = burst * np.float32(gain)
        loud = audio.loudness(audio.relative(audio.log_mel(wave), audio.level(wave)))
        assert loud.shape == (300,)
        assert loud[5:45].min() > 0.6 and loud[60:].max() == 0
    assert audio.level(np.zeros(16000, np.float32)) == -100
    assert audio.loudness(audio.relative(audio.log_mel(np.zeros(16000, np.float32)), -100)).max() == 0


@pytest.mark.parametrize("hertz", [95, 150, 220, 330])
def test_pitch_of_a_voice_is_heard_and_noise_has_none(hertz):
    times = np.arange(16000) / 16000
    glide = hertz * 2 ** (0.3 * times)  # rises by 0.3 octaves
    phase = 2 * np.pi * np.cumsum(glide) / 16000
    voice = sum(np.sin(n * phase) / n for n in range(1, 20) if n * hertz * 1.3 < 7500).astype(np.float32) * 0.2
    tune = audio.pitch(audio.relative(audio.log_mel(voice), audio.level(voice)))[2:-2]
    expected = np.log2(glide[320::640])[2:-2]
    assert np.abs(tune[:, 0].numpy() - expected).max() < 0.08 and tune[:, 1].min() > 0.5
    noise = np.random.default_rng(0).standard_normal(16000).astype(np.float32) * 0.1
    assert audio.pitch(audio.relative(audio.log_mel(noise), audio.level(noise)))[:, 1].mean() < 0.2
    assert audio.pitch(torch.full((80, 100), audio.FLOOR))[:, 1].max() == 0
