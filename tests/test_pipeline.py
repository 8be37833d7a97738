"""Portrait + speech + emotion -> the right video: lips follow the sound, the face the emotion, seeds repeat it."""

from __future__ import annotations

import dataclasses
import gc
import shutil
import weakref

import numpy as np
import pytest
import torch
from conftest import PORTRAIT, SPEECH, ffmpeg, leftovers, sound, video_frames, write_wav
from PIL import Image

from emotalk_cli import EmoTalk
from emotalk_cli.animate import BATCH, WORKERS, frame_count, resample
from emotalk_cli.errors import EmoTalkError, InputError, UsageError
from emotalk_cli.models import checkpoints
from emotalk_cli.models.acceleration import find_device
from emotalk_cli.settings import Settings

QUICK = {"fps": 5, "size": 128}  # for tests that are about input, not about motion
STILL = {"pose": "still", "blink": 0, "intensity": 3}


def tracked(talker, frames) -> np.ndarray:
    """Landmarks [T,478,3] of frames, in units of the distance between the outer eye corners."""
    found = talker.tracker.track(list(frames))
    assert all(face is not None for face in found), "a frame shows no face"
    points = np.stack([face.landmarks for face in found])
    return points / np.linalg.norm(points[:, 33, :2] - points[:, 263, :2], axis=1)[:, None, None]


def opening(points: np.ndarray) -> np.ndarray:
    return np.linalg.norm(points[:, 13, :2] - points[:, 14, :2], axis=1)


@pytest.fixture(scope="module")
def faces(talker, silence):
    """Emotion -> landmarks [478,3] of a silent frame at full intensity."""
    portrait = talker.portrait(PORTRAIT)

    def face(emotion: str, **options) -> np.ndarray:
        frames = list(talker.frames(portrait, silence, emotion, **{**STILL, **options}, fps=4))
        return tracked(talker, frames[4:5])[0]

    return {name: face(name) for name in ("neutral", "happy", "angry", "surprised", "sad")} | {
        "slightly happy": face("happy", intensity=1),
        "brick wall": face("a brick wall"),
    }


def test_three_lines(talker, short_speech, tmp_path):
    portrait = talker.portrait(PORTRAIT)
    result = talker.generate(portrait, short_speech, "happy", out=tmp_path / "a.mp4")
    frames = video_frames(tmp_path / "a.mp4", (512, 512))
    assert result.frames == len(frames) == 30 and result.size == (512, 512)
    assert abs(len(sound(tmp_path / "a.mp4")) / 16000 - 1.2) <= 1 / 25 + 0.03
    assert result.seconds == pytest.approx(1.2) and result.elapsed > 0
    assert {"portrait", "sound", "motion", "geometry", "framing", "encoding"} <= set(result.stages)
    assert max(result.stages.values()) <= result.elapsed * WORKERS  # of all that goes on at the same time
    assert {"face_model.safetensors", "tracker.safetensors"} <= set(result.weights)
    assert not leftovers(tmp_path)


def test_the_video_shows_the_person_of_the_picture(talker, short_speech):
    portrait = talker.portrait(PORTRAIT)
    first = next(talker.frames(portrait, short_speech, "neutral", **STILL))
    source = (portrait.fit.image.permute(1, 2, 0) * 255).numpy()
    assert np.abs(first - source).mean() < 12  # of 255: hair, clothes and background stay


class Counted:
    """A `FaceMotion` that counts the frames it makes."""

    def __init__(self, motion):
        self._made, self._motion = [], motion

    @property
    def frames(self) -> int:
        return sum(self._made)

    def frame(self, beta, pose):
        self._made.append(len(beta))  # in several threads
        return self._motion.frame(beta, pose)


def test_frames_stream_and_repeat(talker, short_speech):
    portrait = talker.portrait(PORTRAIT)
    made, motion = [], dataclasses.replace(portrait, motion=Counted(portrait.motion))
    stream = talker.frames(motion, short_speech, "happy", seed=3)
    first = next(stream)
    made.append(motion.motion.frames)
    rest = list(stream)
    assert (
        made[0] <= (WORKERS + 1) * BATCH["cpu"] < 30 == motion.motion.frames
    )  # the first comes before the last is made
    assert first.shape == (512, 512, 3) and first.dtype == np.uint8 and len(rest) == 29
    again = np.stack(list(talker.frames(portrait, short_speech, "happy", seed=3)))
    assert (again == np.stack([first, *rest])).all()
    other = np.stack(list(talker.frames(portrait, short_speech, "happy", seed=4)))
    assert (other != again).any()


def test_a_portrait_is_prepared_once(talker, portrait_picture):
    first = talker.portrait(PORTRAIT)
    assert talker.portrait(str(PORTRAIT)).motion is first.motion
    assert talker.portrait(portrait_picture).motion is not first.motion  # other bytes, though the same picture


def test_a_portrait_that_nobody_needs_is_gone_at_once(talker, portrait_picture):
    """Not when Python next looks for cycles, which with few large objects is hundreds of videos later."""
    gc.disable()
    try:
        motion = talker.portrait(portrait_picture[::2, ::2]).motion
        parts = [part for part in vars(motion).values() if type(part).__module__.startswith("emotalk_cli")]
        parts += [eye for part in parts for eye in getattr(part, "eyes", ())]
        dropped = [weakref.ref(part) for part in parts]
        del motion, parts
        talker.portraits.clear()
        assert len(dropped) > 5 and all(part() is None for part in dropped)
    finally:
        gc.enable()


def test_lips_follow_the_sound_and_close_in_silence(talker, inputs):
    speech = sound(SPEECH)[: 16000 * 2]
    write_wav(inputs / "spoken.wav", np.concatenate([np.zeros(12800), speech, np.zeros(12800)]))
    portrait = talker.portrait(PORTRAIT)
    frames = list(talker.frames(portrait, inputs / "spoken.wav", "neutral", **STILL))
    gap = opening(tracked(talker, frames))
    silent, spoken = np.r_[gap[:16], gap[-14:]], gap[22:68]
    rest = np.median(silent)
    assert silent.max() - rest < 0.03, "the mouth moves in silence"
    assert spoken.max() - rest > 0.05, "the mouth does not open in speech"
    assert spoken.std() > 3 * silent.std()
    power = np.square(sound(inputs / "spoken.wav")).reshape(-1, 640).mean(1)
    loud = np.convolve(np.sqrt(power), np.ones(5) / 5, "same")
    count = min(len(loud), len(gap))
    assert np.corrcoef(loud[:count], gap[:count])[0, 1] > 0.4


def test_silence_is_quiet_but_alive(talker, silence):
    portrait = talker.portrait(PORTRAIT)
    frames = np.stack(list(talker.frames(portrait, silence, "neutral", fps=10, blink=40)))
    gap = opening(tracked(talker, frames))
    assert gap.max() - gap.min() < 0.05
    assert np.abs(np.diff(frames.astype(int), axis=0)).mean() > 0.1, "nothing moves"


def test_emotions_change_the_face_as_they_should(faces):
    def width(name):
        return np.linalg.norm(faces[name][61, :2] - faces[name][291, :2])

    def corners(name):  # how far the mouth's corners lie above its middle
        return faces[name][[13, 14], 1].mean() - faces[name][[61, 291], 1].mean()

    def brows(name):  # height of the brows above the eyes
        return faces[name][[33, 133, 362, 263], 1].mean() - faces[name][[105, 66, 334, 296], 1].mean()

    assert width("happy") > width("neutral") + 0.03
    assert corners("happy") > corners("neutral") + 0.01
    assert corners("sad") < corners("happy") - 0.02
    assert brows("angry") < brows("neutral") - 0.010
    assert brows("surprised") > brows("neutral") + 0.012


def test_intensity_grades_the_emotion_and_nonsense_has_none(faces):
    def change(name):
        return np.linalg.norm(faces[name][:468, :2] - faces["neutral"][:468, :2], axis=1).mean()

    def smile(name):  # by the mouth alone: of a face's other points the tracker's error is no smaller than the motion
        return np.linalg.norm(faces[name][61, :2] - faces[name][291, :2])

    gained = (smile("slightly happy") - smile("neutral")) / (smile("happy") - smile("neutral"))
    assert 0.2 < gained < 0.85
    assert change("brick wall") < 0.4 * change("happy")


def test_nonsense_is_said_to_be(talker, short_speech, tmp_path):
    result = talker.generate(PORTRAIT, short_speech, "a brick wall", out=tmp_path / "a.mp4", **QUICK)
    assert any("names no emotion" in note for note in result.notes)


def test_the_whole_picture(talker, short_speech, tmp_path, portrait_picture):
    odd = portrait_picture[:487, :511]
    result = talker.generate(odd, short_speech, "happy", out=tmp_path / "a.mp4", framing="full", fps=5)
    assert result.size == (512, 488)  # the next even numbers
    frames = video_frames(tmp_path / "a.mp4", result.size).astype(int)
    still = np.asarray(Image.fromarray(odd).resize(result.size, Image.Resampling.LANCZOS)).astype(int)
    change = np.abs(frames - still).mean(axis=(0, 3))
    assert change[300:].mean() < 4  # the space suit stays, but for compression
    assert change[80:180, 180:270].mean() > change[300:].mean()


@pytest.mark.parametrize("fps,size", [(10, 256), (30, 64)])
def test_other_rates_and_sizes(talker, short_speech, tmp_path, fps, size):
    result = talker.generate(PORTRAIT, short_speech, "happy", out=tmp_path / "a.mp4", fps=fps, size=size)
    assert len(video_frames(tmp_path / "a.mp4", (size, size))) == result.frames == round(1.2 * fps)


AUDIO = {
    "mp3": ["-b:a", "64k"],
    "m4a": ["-c:a", "aac"],
    "ogg": ["-c:a", "libvorbis"],
    "opus": ["-c:a", "libopus"],
    "flac": [],
    "8bit.wav": ["-c:a", "pcm_u8"],
    "24bit.wav": ["-c:a", "pcm_s24le"],
    "51.wav": ["-af", "pan=5.1|FC=c0|FL=0.2*c0|FR=0.2*c0"],
    "8k.wav": ["-ar", "8000"],
    "192k.wav": ["-ar", "192000"],
}


@pytest.mark.parametrize("name", AUDIO)
def test_every_common_kind_of_sound(talker, short_speech, tmp_path, name):
    ffmpeg("-i", short_speech, *AUDIO[name], tmp_path / f"a.{name}")
    result = talker.generate(PORTRAIT, tmp_path / f"a.{name}", "happy", out=tmp_path / "a.mp4", **QUICK)
    heard, original = sound(tmp_path / "a.mp4"), sound(short_speech)
    assert 6 <= result.frames <= 7 and abs(len(heard) - len(original)) < 0.2 * 16000
    best = max(np.corrcoef(heard[s : s + 15000], original[800:15800])[0, 1] for s in range(0, 2400, 2))
    assert best > 0.8, "the sound of the video is not the one that was given"


def test_the_sound_of_a_video(talker, short_speech, tmp_path):
    ffmpeg("-f", "lavfi", "-i", "color=s=64x64:r=10:d=2", "-i", short_speech, "-shortest", tmp_path / "in.mp4")
    assert talker.generate(PORTRAIT, tmp_path / "in.mp4", "happy", out=tmp_path / "a.mp4", **QUICK).frames == 6


@pytest.mark.parametrize("kind", ["cmyk.jpg", "turned.jpg", "grey16.png", "large.jpg"])
def test_the_face_is_found_in_every_kind_of_picture(talker, tmp_path, portrait_picture, kind):
    picture, path, scale = Image.fromarray(portrait_picture), tmp_path / kind, 1.0
    if kind == "cmyk.jpg":
        picture.convert("CMYK").save(path, quality=95)
    elif kind == "turned.jpg":
        exif = Image.Exif()
        exif[0x0112] = 6
        picture.transpose(Image.Transpose.ROTATE_90).save(path, exif=exif, quality=95)
    elif kind == "grey16.png":
        Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257).save(path)
    else:
        picture.resize((10_000, 10_000)).save(path, quality=80)
        scale = 8.0
    expected = tracked_points(talker.portrait(PORTRAIT)) * scale
    assert np.abs(tracked_points(talker.portrait(path)) - expected).mean() < 6 * scale


def tracked_points(subject) -> np.ndarray:
    """Landmarks [478,2] in px of the source picture."""
    to_source = subject.fit.to_source
    return subject.fit.landmarks[:, :2].numpy() @ to_source[:, :2].T + to_source[:, 2]


def test_the_largest_of_several_faces(talker, short_speech, tmp_path, portrait_picture):
    small = np.asarray(Image.fromarray(portrait_picture).resize((300, 300)))
    both = np.full((512, 812, 3), 128, np.uint8)
    both[:300, :300], both[:, 300:] = small, portrait_picture
    subject = talker.portrait(both)
    assert tracked_points(subject)[:, 0].min() > 300
    result = talker.generate(subject, short_speech, "happy", out=tmp_path / "a.mp4", **QUICK)
    assert any("faces found; the largest is animated" in note for note in result.notes)


def test_pictures_that_cannot_be_animated(talker, tmp_path, portrait_picture):
    y, x = np.mgrid[:300, :400]
    Image.fromarray(np.stack([x // 2, y // 2, x // 4 + y // 4], -1).astype(np.uint8)).save(tmp_path / "sky.png")
    with pytest.raises(InputError, match="sky.png shows no face"):
        talker.portrait(tmp_path / "sky.png")
    Image.fromarray(portrait_picture).resize((200, 200)).save(tmp_path / "tiny.png")
    with pytest.raises(InputError, match=r"tiny.png shows a face of only \d\d px; at least 48 px"):
        talker.portrait(tmp_path / "tiny.png")


WRONG = [
    ({"intensity": 0.5}, "intensity"),
    ({"intensity": float("nan")}, "intensity"),
    ({"fps": 0}, "fps"),
    ({"fps": 500}, "fps"),
    ({"size": 513}, "even"),
    ({"size": 10_000}, "size"),
    ({"blink": -1}, "blink"),
    ({"pose": "dancing"}, "pose"),
    ({"framing": "round"}, "framing"),
    ({"seed": -1}, "seed"),
]


@pytest.mark.parametrize("options,word", WRONG)
def test_settings_out_of_range(options, word):
    with pytest.raises(UsageError, match=word):
        Settings(**options).check()


@pytest.mark.parametrize("emotion", ["", "  \n"])
def test_empty_emotion(talker, short_speech, tmp_path, emotion):
    with pytest.raises(UsageError, match="empty"):
        talker.generate(PORTRAIT, short_speech, emotion, out=tmp_path / "a.mp4")
    assert not list(tmp_path.iterdir())


def test_an_input_is_never_overwritten(talker, tmp_path, short_speech):
    ffmpeg("-i", short_speech, tmp_path / "a.mp4")
    before = (tmp_path / "a.mp4").read_bytes()
    with pytest.raises(UsageError, match="also an input"):
        talker.generate(PORTRAIT, tmp_path / "a.mp4", "happy", out=tmp_path / "a.mp4")
    assert (tmp_path / "a.mp4").read_bytes() == before


def test_progress_is_told_and_may_interrupt(talker, short_speech, tmp_path):
    told = []

    def stop(stage, done, total):
        told.append((stage, done, total))
        if stage == "frames" and done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        talker.generate(PORTRAIT, short_speech, "happy", tmp_path / "a.mp4", preview=tmp_path / "a.png", progress=stop)
    assert [stage for stage, done, _ in told if done == 0] == ["portrait", "sound", "frames"]
    assert told[-1] == ("frames", 2, 30) and not list(tmp_path.iterdir())


def test_models_and_devices_that_do_not_exist(tmp_path):
    for name in ("gpu", "cuda:x", "cuda:99", "meta"):
        with pytest.raises(UsageError, match=f"device {name}"):
            find_device(name)
    with pytest.raises(UsageError, match="generator"):
        EmoTalk.load(generator="magic")
    with pytest.raises(EmoTalkError, match="no folder"):
        EmoTalk.load(weights=tmp_path / "nowhere")
    with pytest.raises(EmoTalkError, match="missing"):
        EmoTalk.load(weights=tmp_path, generator="geometry")


def test_resampling_keeps_time():
    ramp = [torch.tensor([float(k)]) for k in range(50)]  # frame k is in the middle of k/25 .. (k+1)/25 s
    assert [row.item() for row in resample(iter(ramp), 25, 50)] == list(range(50))
    for fps in (10, 24, 30, 60):
        count = frame_count(2.0, fps)
        seconds = (np.arange(count) + 0.5) / fps
        rows = [row.item() for row in resample(iter(ramp), fps, count)]
        np.testing.assert_allclose(rows, np.clip(seconds * 25 - 0.5, 0, 49), atol=1e-4)
    assert len(list(resample(iter(ramp[:1]), 25, 4))) == 4  # a row too few is held


@pytest.mark.parametrize(
    "seconds,fps,count", [(0.1, 25, 3), (1.0, 25, 25), (1.2, 25, 30), (2.0, 29.97, 60), (0.1, 1, 1)]
)
def test_frame_count(seconds, fps, count):
    assert frame_count(seconds, fps) == count


def test_weights_of_another_version(tmp_path):
    folder = shutil.copytree(checkpoints.weights_dir(), tmp_path / "weights")
    model = checkpoints.load("face_model", folder)
    tensors = {name: tensor for name, tensor in model.tensors.items() if name != "uv"}
    checkpoints.save("face_model", tensors, model.dims, folder, data="", command="", seed=0)
    with pytest.raises(EmoTalkError, match="another version"):
        EmoTalk.load(folder, generator="geometry")
