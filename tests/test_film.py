"""A film as the face: what speaks is new, all else is the film's own; cuts, gaps and ends."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from conftest import ffmpeg

from emotalk_cli.errors import InputError, UsageError
from emotalk_cli.film import GAP, Film, Sighting
from emotalk_cli.media.ffmpeg import frame_rate, read_frames
from emotalk_cli.settings import Settings

FPS = 10
SHOWN, EMPTY = 4, 2  # frames of the face, of something else, and of the face again


@pytest.fixture(scope="module")
def film(inputs, talking_clip):
    """A face beside a grey field, then a picture without one, then the face again; lossless."""
    face = f"fps={FPS},trim=end_frame={SHOWN},setpts=PTS-STARTPTS,scale=320:320,pad=400:320:60:0:gray,format=gbrp"
    other = f"testsrc=s=400x320:r={FPS},trim=end_frame={EMPTY},format=gbrp[b]"
    graph = f"[0:v]{face},split[a][c];{other};[a][b][c]concat=n=3"
    ffmpeg("-i", talking_clip, "-filter_complex", graph, "-c:v", "ffv1", "-an", inputs / "film.mkv")
    return inputs / "film.mkv"


@pytest.fixture(scope="module")
def made(talker, film, short_speech):
    """The film's frames, and what is made of them."""
    source = np.stack(list(read_frames(film, FPS)))
    return source, np.stack(list(talker.frames(film, short_speech, "happy", fps=FPS)))


def test_only_the_face_changes_and_its_eyes_do_not(made, talker):
    source, frames = made
    assert frames.shape == source.shape == (2 * SHOWN + EMPTY, 320, 400, 3)
    changed = np.abs(frames.astype(int) - source).max(3) > 0
    face = talker.tracker(source[0])[0]
    x0, y0, x1, y1 = face.box
    spread = 0.55 * (y1 - y0)
    rows, columns = np.nonzero(changed[0])
    assert columns.min() > x0 - spread and columns.max() < x1 + spread and rows.min() > y0 - spread
    assert not changed[:, :, :50].any() and not changed[:, :, 390:].any()
    mouth, eyes = (face.landmarks[i, :2].round().astype(int) for i in (13, 159))
    difference = np.abs(frames[1].astype(int) - source[1]).mean(2)
    assert difference[mouth[1] - 6 : mouth[1] + 9, mouth[0] - 8 : mouth[0] + 9].mean() > 4
    assert difference[eyes[1] - 3 : eyes[1] + 4, eyes[0] - 5 : eyes[0] + 6].mean() < 3


def test_a_cut_to_something_else_passes_as_it_is(made):
    source, frames = made
    gone = slice(SHOWN, SHOWN + EMPTY)
    assert np.array_equal(frames[gone], source[gone])
    assert all((frames[i] != source[i]).any() for i in (0, SHOWN - 1, SHOWN + EMPTY, len(source) - 1))


def test_there_is_no_seam(made):
    """Gradients where the change ends, on either side, are those of the film."""
    source, frames = made
    changed = np.abs(frames[1].astype(int) - source[1]).max(2) > 0
    rows = np.flatnonzero(changed.any(1))
    steps = [np.abs(np.diff(picture[1].astype(int), axis=1)).max(2) for picture in (frames, source)]
    ends = [changed[rows].argmax(1) - 1, changed.shape[1] - 1 - changed[rows, ::-1].argmax(1)]
    step = np.concatenate([steps[0][rows, end] - steps[1][rows, end] for end in ends])
    assert len(rows) > 100 and np.abs(step).mean() < 1.5 and step.max() <= 8


@pytest.mark.parametrize("ending,length", [({}, 10), ({"loop": True}, 12), ({"freeze": True}, 12)])
def test_a_film_that_ends_before_the_speech(talker, film, short_speech, ending, length):
    settings = Settings(fps=FPS, **ending)
    shown, performance = talker.film(film), talker.performance(short_speech, "neutral")
    assert talker.length(shown, performance, settings) == length
    assert bool(shown.ends) == (not ending) and all("lasts 1.0 s" in note for note in shown.notes_after())
    pictures = list(itertools.islice(shown._pictures(FPS, 12, settings.loop), 12))
    assert [begins for begins, _ in pictures] == [i == 0 or (settings.loop and i == 10) for i in range(12)]
    assert settings.loop == np.array_equal(pictures[11][1], pictures[1][1])


def test_what_a_film_cannot_be(talker, film, short_speech, tmp_path):
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=64x64:r=5:d=1", tmp_path / "none.mp4")
    with pytest.raises(InputError, match="shows no face in its first 30 s"):
        talker.film(tmp_path / "none.mp4")
    with pytest.raises(UsageError, match="background works with a picture"):
        next(talker.frames(film, short_speech, "happy", background="white"))
    with pytest.raises(UsageError, match="loop and freeze exclude each other"):
        Settings(loop=True, freeze=True)
    assert frame_rate(film) == FPS


def test_a_slip_of_the_tracker_is_bridged_and_a_longer_gap_is_not():
    def seen(x: float) -> Sighting:
        return Sighting(False, np.full((478, 3), x, np.float32))

    nothing = Sighting(False)
    bridged = Film._between(seen(0), 1, [nothing, seen(3)])
    assert bridged is not None and np.allclose(bridged.points, 1)
    assert Film._between(seen(0), 1, [nothing] * GAP + [seen(3)]) is None
    assert Film._between(seen(0), 1, [Sighting(True, np.zeros((478, 3)))]) is None
    assert Film._between(None, 1, [seen(3)]) is None


def test_of_a_known_person_only_the_expression_is_read(talker):
    """β of a face whose α is given: about what drew it; priors hold it back a little."""
    from emotalk_cli.face.fit import fit_shape

    model = talker.face_model
    generator = torch.Generator().manual_seed(0)
    alpha = 0.5 * torch.randn(1, len(model.identity), generator=generator)
    beta = torch.zeros(1, 64)
    beta[0, 24] = 0.6  # jawOpen
    points = model.vertices(alpha, beta + model.expression_rest) * torch.tensor([20.0, -20.0, -20.0]) + 200
    found_alpha, found, _ = fit_shape(model, points, alpha=alpha)
    assert torch.allclose(found_alpha, alpha) and 0.4 < float(found[0, 24]) < 0.7


def test_the_emotion_of_a_film_is_followed_over_time(talker, talking_clip):
    emotion = talker.emotion(video=talking_clip)
    assert emotion.times.tolist() == pytest.approx([0.0, 0.4]) and emotion.z.shape == (2, 512)
    assert emotion.public == "as in a film" and set(emotion.inputs()) == {"emotion_video"}
