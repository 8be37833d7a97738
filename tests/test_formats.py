"""Every format that a video can be written in, played back: size, frames, duration, sound, alpha, tags."""

from __future__ import annotations

import io
import re
import subprocess
import sys

import numpy as np
import pytest
from conftest import PORTRAIT, ffmpeg, leftovers, sound, streams, write_wav
from imageio_ffmpeg import get_ffmpeg_exe
from PIL import Image

from emotalk_cli.cli import main
from emotalk_cli.errors import EmoTalkError, UsageError
from emotalk_cli.jobs import Job
from emotalk_cli.media import encoders, segments
from emotalk_cli.media.ffmpeg import encodes
from emotalk_cli.media.formats import CODECS, SUFFIXES, choose
from emotalk_cli.media.provenance import Sidecar
from emotalk_cli.media.video import SequenceWriter, StreamWriter, VideoWriter

SIZE, FPS, COUNT = (64, 48), 25, 10
KINDS = {"h264": "h264", "h265": "hevc", "vp9": "vp9", "prores": "prores (4444)", "mpegts": "h264", "gif": "gif",
         "apng": "apng"}  # fmt: skip
CASES = [(suffix, codec, alpha) for suffix, codecs in SUFFIXES.items() for codec in codecs for alpha in (False, True)]
CASES = [(suffix, codec, alpha) for suffix, codec, alpha in CASES if suffix not in (".m4v", ".png")]
CASES = [case for case in CASES if case[0] != ".mov" or case[1] == "prores"]


@pytest.fixture(scope="module")
def frames() -> list[np.ndarray]:
    """A red square that moves over grey; transparent elsewhere."""
    made = []
    for k in range(COUNT):
        frame = np.full((SIZE[1], SIZE[0], 4), (90, 90, 90, 0), np.uint8)
        frame[12:36, 2 * k : 2 * k + 24] = (200, 30, 60, 255)
        made.append(frame)
    return made


@pytest.fixture(scope="module")
def tone(tmp_path_factory):
    wave = 0.4 * np.sin(2 * np.pi * 300 * np.arange(16000 * COUNT // FPS) / 16000)
    return write_wav(tmp_path_factory.mktemp("tone") / "a.wav", wave)


def played(path, alpha: bool) -> np.ndarray:
    """All frames as ffmpeg shows them, [T,H,W,4]. VP9's alpha is read by one of its decoders only."""
    decoder = ["-c:v", "libvpx-vp9"] if alpha and path.suffix == ".webm" else []
    command = [get_ffmpeg_exe(), "-nostdin", "-loglevel", "error", *decoder, "-i", f"file:{path}"]
    command += ["-map", "0:v", "-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "rgba", "-"]
    data = subprocess.run(command, check=True, capture_output=True).stdout
    return np.frombuffer(data, np.uint8).reshape(-1, SIZE[1], SIZE[0], 4)


@pytest.mark.parametrize("suffix,codec,alpha", CASES)
def test_what_is_written_plays(suffix, codec, alpha, frames, tone, tmp_path):
    out = tmp_path / f"a{suffix}"
    if alpha and codec in ("h264", "h265", "mpegts"):
        with pytest.raises(UsageError, match="background transparent needs an output in .*webm.*knows no transparency"):
            choose(out, codec, alpha)
        return
    form = choose(out, codec, alpha)
    with VideoWriter(out, SIZE, FPS, tone, form=form, alpha=alpha, metadata={"comment": "made up"}) as writer:
        for frame in frames:
            writer.write(np.ascontiguousarray(frame[..., : 4 if alpha else 3]))
    assert leftovers(tmp_path) == []
    described, seen = streams(out), played(out, alpha)
    assert f"Video: {KINDS[codec]}" in described and f"{SIZE[0]}x{SIZE[1]}" in described
    assert len(seen) == COUNT and f"{FPS} fps" in described
    if form.sound is None:
        assert "Audio" not in described
    else:
        assert abs(len(sound(out)) / 16000 - COUNT / FPS) < 0.12
        assert re.search(r"\((tv, bt709|tv, bt709/bt709/bt709|bt709, progressive|tv, bt709, progressive)", described)
        duration = re.search(r"Duration: 00:00:(\d\d\.\d\d)", described)
        assert duration is not None and abs(float(duration[1]) - COUNT / FPS) < 0.1
    wanted = np.stack(frames)
    inner = seen[5, 15:33, 13:31]  # within the square: 4:2:0 and palettes blur its rim
    assert np.abs(inner[..., :3].astype(int) - wanted[5, 15:33, 13:31, :3]).mean() < 12
    assert inner[..., 3].min() >= 250
    assert (seen[5, :8, :, 3].max() <= 5) == alpha


@pytest.mark.parametrize("suffix", [".webm", ".mov"])
def test_long_transparent_videos_are_joined_from_pieces(suffix, frames, tone, tmp_path):
    out = tmp_path / f"a{suffix}"
    form = choose(out, alpha=True)
    with segments.SegmentedWriter(out, SIZE, FPS, tone, COUNT, 6, "key", form=form, alpha=True) as writer:
        for frame in frames:
            writer.write(frame)
    seen = played(out, True)
    assert len(seen) == COUNT and seen[:, :8, :, 3].max() <= 5 and seen[9, 20, 25, 3] >= 250
    assert leftovers(tmp_path) == []


def test_a_sequence_has_exact_pixels_and_appears_as_a_whole(frames, tmp_path):
    out = tmp_path / "frame-%04d.png"
    with pytest.raises(RuntimeError), SequenceWriter(out, SIZE, FPS, choose(out), True) as writer:
        writer.write(frames[0])
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    with SequenceWriter(out, SIZE, FPS, choose(out), True) as writer:
        for frame in frames:
            writer.write(frame)
    made = sorted(tmp_path.iterdir())
    assert [path.name for path in made] == [f"frame-{n:04d}.png" for n in range(1, COUNT + 1)]
    assert all(np.array_equal(np.asarray(Image.open(path)), frame) for path, frame in zip(made, frames))


@pytest.mark.parametrize("codec", ["h264", "h265", "vp9", "mpegts"])
def test_a_stream_needs_no_way_back(codec, frames, tone, tmp_path):
    pipe = io.BytesIO()
    with StreamWriter(pipe, SIZE, FPS, tone, {}, choose("-", codec), False) as writer:
        for frame in frames:
            writer.write(np.ascontiguousarray(frame[..., :3]))
    kept = tmp_path / "a.bin"
    kept.write_bytes(pipe.getvalue())
    assert len(played(kept, False)) == COUNT and "Audio" in streams(kept)
    assert codec in ("vp9", "mpegts") or pipe.getvalue().index(b"moof") < pipe.getvalue().index(b"mdat")


def test_a_reader_that_goes_away_is_said_in_a_sentence(frames):
    class Gone(io.RawIOBase):
        def write(self, data):
            raise BrokenPipeError(32, "Broken pipe")

    with pytest.raises(EmoTalkError, match="Nobody reads the video any more"):
        with StreamWriter(Gone(), SIZE, FPS, None, {}, choose("-"), False) as writer:
            for frame in frames * 20:
                writer.write(np.ascontiguousarray(frame[..., :3]))


@pytest.mark.parametrize("out,codec,said", [
    ("a.avi", "auto", "must end in .mp4, .m4v, .mov, .webm, .ts, .gif, .apng, .png"),
    ("a.mp4", "vp9", "A .mp4 file cannot hold codec vp9; choose h264 or h265, or an output in .webm"),
    ("-", "gif", "Standard output cannot hold codec gif"),
    ("a.png", "auto", "names one picture; number them, such as a-%06d.png"),
])  # fmt: skip
def test_what_does_not_fit_is_refused_before_anything_is_loaded(out, codec, said):
    with pytest.raises(UsageError, match=re.escape(said)):
        Job.parse({"face": PORTRAIT, "audio": PORTRAIT, "out": out, "codec": codec}).check()
    assert set(CODECS) - {"auto"} == {name for held in SUFFIXES.values() for name in held}


@pytest.fixture
def card(tmp_path, monkeypatch):
    """Stands in for an ffmpeg with a card that encodes frames from 100 px on: x264 answers to NVENC's name. A file of
    the bound of address space and the visible cards of each video."""
    log, program = tmp_path / "card.log", tmp_path / "ffmpeg"
    program.write_text(f"""#!/bin/sh
n=$# on=0
while [ $n -gt 0 ]; do
    a=$1; shift; n=$((n - 1))
    case $a in
        h264_nvenc) a=libx264 on=1 ;;
        p4) a=ultrafast ;;
        -rc | constqp) continue ;;
        64x*) small=1 ;;
    esac
    set -- "$@" "$a"
done
[ "$on$small" = 11 ] && exit 1
"{get_ffmpeg_exe()}" "$@"
code=$?
echo $on $(ulimit -v) $CUDA_VISIBLE_DEVICES >>"{log}"
exit $code
""")
    program.chmod(0o755)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(program))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    encodes.cache_clear()
    yield log
    encodes.cache_clear()


def test_a_card_encodes_where_a_trial_says_that_it_can(card, talker, short_speech, tmp_path):
    form, large, small = choose("a.mp4"), (128, 128), (64, 64)
    assert [encoders.resolved("auto", form, *on) for on in (("cuda:0", large), ("cuda:0", small), ("cpu", large))] == [
        *("nvenc", "x264", "x264")
    ]
    assert encoders.resolved("auto", choose("a.webm"), "cuda:0", large) == "auto"
    with pytest.raises(UsageError, match="makes no frames of 64x64"):
        encoders.resolved("nvenc", form, "cpu", small)
    card.unlink()
    made = talker.generate(PORTRAIT, short_speech, "happy", tmp_path / "a.mp4", encoder="nvenc", size=128, fps=5)
    assert made.settings.encoder == "nvenc" and "1 unlimited 1" in card.read_text()  # its driver reserves much
    sidecar = Sidecar.read(made.sidecar)
    assert sidecar.options["encoder"] == "nvenc" and Job.of(sidecar).settings.encoder == "nvenc"
    assert Job.of(sidecar, device="cpu").settings.encoder == "auto"
    assert Job.of(sidecar, out=tmp_path / "b.webm").settings.encoder == "auto"
    made = talker.generate(PORTRAIT, short_speech, "happy", tmp_path / "b.mp4", size=128, fps=5)
    assert made.settings.encoder == Sidecar.read(made.sidecar).options["encoder"] == "x264"


def test_an_encoder_that_cannot_be_had_is_refused_before_anything_is_loaded(tmp_path, capfd, monkeypatch):
    assert encodes("libx264") and not encodes("none_such")
    monkeypatch.setattr(encoders, "encodes", lambda name, size=None: False)
    for encoder, name, said in (
        ("nvenc", "a.mp4", "--encoder nvenc does not work here"),
        ("nvenc", "a.webm", "--encoder nvenc makes H.264, not vp9"),
        ("x264", "a.gif", "--encoder x264 makes H.264, not gif"),
        ("nvidia", "a.mp4", "--encoder nvidia is unknown"),
    ):
        assert main(["generate", str(PORTRAIT), str(PORTRAIT), "-o", str(tmp_path / name), "--encoder", encoder]) == 2
        assert said in capfd.readouterr().err and not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def cut(tmp_path_factory, portrait_picture):
    """The portrait's head alone, on nothing."""
    y, x = np.mgrid[:512, :512]
    alpha = np.where(np.hypot((x - 225) / 90, (y - 130) / 115) < 1, 255, 0).astype(np.uint8)
    path = tmp_path_factory.mktemp("cut") / "cut.png"
    Image.fromarray(np.dstack([portrait_picture, alpha])).save(path)
    return path


def test_the_command_writes_to_stdout_and_keeps_a_pictures_own_transparency(cut, short_speech, tmp_path):
    command = [sys.executable, "-m", "emotalk_cli", "generate", str(cut), str(short_speech), "happy", "--out", "-"]
    command += ["--background", "transparent", "--size", "64", "--generator", "geometry", "--fps", "5"]
    made = subprocess.run(command, capture_output=True)
    assert made.returncode == 0, made.stderr.decode()
    (tmp_path / "a.webm").write_bytes(made.stdout)
    ffmpeg("-c:v", "libvpx-vp9", "-i", tmp_path / "a.webm", tmp_path / "%d.png")
    frames = [np.asarray(Image.open(tmp_path / f"{n}.png")) for n in range(1, 7)]
    assert all(frame.shape == (64, 64, 4) for frame in frames) and not (tmp_path / "7.png").exists()
    assert all(frame[:4, :4, 3].max() < 5 and frame[24:40, 26:38, 3].min() > 250 for frame in frames)


def test_what_touches_no_person_is_background():
    from emotalk_cli.models.matte import decided

    known = np.zeros((200, 200), np.float32)
    known[60:, 60:140] = 1  # a person, a strand beside, doubt all over the other side, and a lamp for sure
    known[100:150, 140:144], known[:, 150:], known[10:40, 160:190] = 0.7, 0.4, 1
    sure = decided(known)
    assert sure[70:, 65:135].min() == 1 and sure[120, 142] > 0.8
    assert sure[:, 155:].max() == 1 and sure[100:, 155:].max() == 0 and sure[60:, :45].max() == 0


def test_people_are_cut_out_and_laid_over_a_colour(talker, cut, short_speech, tmp_path):
    """By the network, of the head before a plain wall."""
    wall = Image.new("RGBA", (512, 512), (150, 160, 170, 255))
    picture = Image.alpha_composite(wall, Image.open(cut)).convert("RGB")
    frame = next(talker.frames(picture, short_speech, "happy", background="#00c800", size=128, pose="still"))
    corners = np.concatenate([frame[:12, :12], frame[:12, -12:]])
    assert np.abs(corners.astype(int) - (0, 200, 0)).mean() < 12
    still = next(talker.frames(picture, short_speech, "happy", size=128, pose="still"))
    assert np.abs(frame[50:80, 50:78].astype(int) - still[50:80, 50:78]).mean() < 3
    quick = {"size": 64, "fps": 1, "pose": "still"}
    for background, used in (("white", True), ("keep", False)):  # a video names what made it, no earlier one
        made = talker.generate(picture, short_speech, "happy", out=tmp_path / "a.mp4", background=background, **quick)
        assert ("matte.safetensors" in made.weights) is used
