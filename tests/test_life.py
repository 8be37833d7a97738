"""Blinks and head motion: people-like, seeded, and the same however the blocks are cut."""

from __future__ import annotations

import numpy as np
import pytest

from emotalk_cli.emotions.atlas import states
from emotalk_cli.emotions.prototypes import COMPONENTS
from emotalk_cli.errors import UsageError
from emotalk_cli.motion import life


def events(closure: np.ndarray) -> list[tuple[int, int]]:
    shut = np.diff((closure > 0).astype(int), prepend=0, append=0)
    return list(zip(np.flatnonzero(shut == 1), np.flatnonzero(shut == -1)))


@pytest.mark.parametrize("fps", [25, 30, 60])
@pytest.mark.parametrize("rate", [6, 15, 30])
def test_blinks_have_the_rate_duration_and_depth_of_people(fps, rate):
    minutes = 40
    closure = life.blinks(fps * 60 * minutes, fps, rate, seed=3)
    found = events(closure)
    assert len(found) / minutes == pytest.approx(rate, rel=0.12)
    lengths = np.array([(end - start) / fps for start, end in found])
    assert lengths.min() >= 0.12 and lengths.max() <= 0.36
    assert min(closure[start:end].max() for start, end in found) > 0.85
    gaps = np.array([b[0] - a[1] for a, b in zip(found, found[1:])]) / fps
    assert gaps.min() >= 0.7


def test_lids_close_faster_than_they_open():
    closure = life.blinks(200 * 600, 200, seed=1)
    rise = fall = 0
    for start, end in events(closure):
        peak = closure[start:end]
        shut = np.flatnonzero(peak > 0.98 * peak.max())
        rise, fall = rise + shut[0], fall + len(peak) - shut[-1]
    assert fall > 1.4 * rise


def test_no_blinks_when_asked_for_none_and_an_error_for_too_many():
    assert not life.blinks(5000, 25, 0).any()
    with pytest.raises(UsageError, match="blink 90"):
        life.Life(25, 90)


def test_blocks_of_any_size_give_the_same_motion():
    rng = np.random.default_rng(0)
    loudness, melody = rng.random(700), np.stack([7 + rng.random(700), rng.random(700)], 1)
    whole = life.Life(25, seed=5).step(loudness, melody)
    piecewise, cuts = life.Life(25, seed=5), [1, 2, 40, 333]
    blocks = zip(np.split(loudness, cuts), np.split(melody, cuts))
    parts = [piecewise.step(*block) for block in blocks]
    for a, b in zip(whole, zip(*parts)):
        np.testing.assert_array_equal(a, np.concatenate(b))
    other = life.Life(25, seed=6).step(loudness, melody)
    assert all(np.abs(a - b).max() > 0 for a, b in zip(whole[:4], other))


def test_head_starts_at_rest_and_moves_a_little_and_smoothly():
    rng = np.random.default_rng(1)
    loudness = np.clip(np.repeat(rng.random(600), 10), 0, 1)
    for seed in range(5):
        pose = life.head_pose(6000, 25, loudness, seed)
        assert np.abs(pose[0]).max() < 1e-6
        degrees = np.degrees(pose[:, :3])
        assert (np.abs(degrees).max(0) <= [3.51, 3.81, 1.91]).all()
        assert (degrees[:, :2].std(0) > 0.4).all()
        assert np.abs(degrees.mean(0)).max() < 0.5
        assert np.abs(np.diff(degrees, axis=0)).max() < 0.8  # degrees a frame
        assert np.abs(pose[:, 3:]).max() < 0.01


def test_head_nods_with_loud_syllables():
    silent, loud = np.zeros(250), np.zeros(250)
    loud[100:108] = 1
    difference = life.head_pose(250, 25, loud, 2)[:, 0] - life.head_pose(250, 25, silent, 2)[:, 0]
    assert np.abs(difference[:100]).max() == 0
    assert np.degrees(difference[100:125].max()) > 0.7


def test_still_life_blinks_but_does_not_move():
    signs = life.Life(25, seed=1, moving=False).step(np.ones(1000))
    assert signs.closure.max() > 0.9 and not signs.pose.any() and not signs.gaze.any()


def syllables(seconds: float, fps: float = 25.0) -> tuple[np.ndarray, np.ndarray]:
    """Loudness and melody of a voice with a loud, high syllable every other second."""
    times = np.arange(round(seconds * fps)) / fps
    stressed = times % 2 < 0.25
    loudness = np.where(times % 0.25 < 0.15, 0.45, 0.2) + 0.5 * stressed
    return loudness, np.stack([7 + 0.4 * stressed, np.full(len(times), 0.9)], 1)


def test_brows_rise_with_stressed_syllables_a_little_and_not_with_each():
    loudness, melody = syllables(120)
    brow = life.Life(25, seed=2).step(loudness, melody).brow
    assert 0.1 < brow.max() < 0.3 and brow.min() == 0
    rises = np.flatnonzero((brow[1:] > 0) & (brow[:-1] == 0)) / 25
    assert 20 < len(rises) < 55
    assert np.mean(rises % 2 < 0.4) > 0.9  # on the beat
    assert np.abs(np.diff(brow)).max() < 0.08
    flat = life.Life(25, seed=2).step(np.full(3000, 0.4), np.tile([7.0, 0.9], (3000, 1))).brow
    assert flat[50:].max() == 0


def test_feeling_comes_on_stays_with_the_voice_and_eases_in_silence():
    loudness = np.concatenate([np.full(100, 0.8), np.zeros(100)])
    vigour = life.Life(25).step(loudness).vigour
    assert vigour[0] < 0.6 < 0.9 < vigour[20] < vigour[99] <= 1.08
    assert 0.85 < vigour[-1] < vigour[99] - 0.08
    face = life.lively(np.ones((200, 64), np.float32), life.Life(25).step(loudness))
    assert (face[:, COMPONENTS.index("jawOpen")] == 1).all() and face[0, COMPONENTS.index("browDownLeft")] < 0.6


def feeling(name: str, seconds: float = 20.0, seed: int = 1, gain: float = 1.0, **options) -> life.Signs:
    """Signs of a state of the atlas in a lively voice."""
    loudness, melody = syllables(seconds)
    behaviour = np.tile(gain * states()[name].behaviour.numpy(), (len(loudness), 1))
    return life.Life(25, seed=seed, **options).step(loudness, melody, behaviour)


def test_feelings_move_head_and_gaze():
    assert (
        np.degrees(feeling("proud").pose[50:, 0].mean()) < -4 < 4 < np.degrees(feeling("ashamed").pose[50:, 0].mean())
    )
    assert np.abs(np.degrees(feeling("curious").pose[50:, 2].mean())) > 3
    assert feeling("embarrassed").gaze[50:, 1].mean() < -0.1 < 0.1 < feeling("thoughtful").gaze[50:, 1].mean()
    assert feeling("excited").pose[:, :3].std(0).sum() > 1.5 * feeling("serene").pose[50:, :3].std(0).sum()
    for name in states():
        assert np.abs(np.degrees(feeling(name, 4.0).pose[:, :3])).max() < 16, name
        assert np.abs(np.diff(np.degrees(feeling(name, 4.0).pose[:, :3]), axis=0)).max() < 2.2, name


def test_feelings_blink_their_own_way():
    rate = {name: len(events(feeling(name, 240.0).closure)) for name in ("nervous", "neutral", "barely contained rage")}
    assert rate["nervous"] > 1.6 * rate["neutral"] and rate["neutral"] > 1.8 * rate["barely contained rage"]
    sleepy, plain = (feeling(name, 240.0).closure for name in ("sleepy", "neutral"))
    assert np.mean([b - a for a, b in events(sleepy)]) > 1.8 * np.mean([b - a for a, b in events(plain)])


def test_a_mouth_settles_where_nobody_speaks():
    loudness = np.concatenate([np.zeros(50), np.full(25, 0.6), np.zeros(25)])
    behaviour = np.tile(states()["kissing"].behaviour.numpy(), (len(loudness), 1))
    settled = life.Life(25).step(loudness, None, behaviour).settled
    pursed = settled[:, COMPONENTS.index("mouthPucker")]
    assert pursed[:6].max() == 0 and pursed[49] > 0.4 and pursed[54:75].max() == 0 and pursed[-1] > 0.4
    assert np.abs(np.diff(pursed)).max() < 0.5 * pursed.max()
    assert (settled[:, COMPONENTS.index("jawOpen")] == 0).all()  # lips stay closed in silence
    face = life.lively(np.zeros((100, 64), np.float32), life.Life(25).step(loudness, None, behaviour))
    assert np.allclose(face[:, COMPONENTS.index("mouthPucker")], pursed)


def test_who_yawns_or_screams_gapes_in_silence():
    """A little open as in talk: lips together; agape: open, but with a beat of speech they are speech's."""
    jaw = COMPONENTS.index("jawOpen")
    gape = {name: life.settled(states()[name].behaviour.numpy())[jaw] for name in ("big yawn", "screaming", "amused")}
    assert gape["amused"] == 0 and min(gape["big yawn"], gape["screaming"]) > 0.3
    loudness = np.concatenate([np.zeros(50), np.full(25, 0.6)])
    behaviour = np.tile(states()["screaming"].behaviour.numpy(), (len(loudness), 1))
    settled = life.Life(25).step(loudness, None, behaviour).settled[:, jaw]
    assert settled[:24].max() == 0 and settled[49] > 0.3 and settled[54:].max() == 0


def test_a_startle_fades_and_laughter_comes_in_bouts():
    startled = feeling("startled").vigour
    assert startled[8] > 0.7 > 0.35 > startled[35]
    laughter = feeling("laughing").added[:, COMPONENTS.index("cheekRaiserLeft")]
    assert laughter.max() > 0.15 and 0.2 < np.mean(laughter == 0) < 0.9
    assert not feeling("content").added.any()


def test_still_and_unblinking_hold_whatever_is_felt():
    signs = feeling("embarrassed", rate=0, moving=False)
    assert not signs.pose.any() and not signs.closure.any()
    assert (signs.gaze == signs.gaze[0]).all() and signs.gaze[0, 1] < -0.2


def test_feelings_come_in_blocks_of_any_size():
    loudness, melody = syllables(12)
    behaviour = np.stack([states()["nervous"].behaviour.numpy() * g for g in np.linspace(0.4, 1, len(loudness))])
    whole = life.Life(25, seed=5).step(loudness, melody, behaviour)
    piecewise, cuts = life.Life(25, seed=5), [1, 2, 40, 133]
    blocks = zip(*(np.split(series, cuts) for series in (loudness, melody, behaviour)))
    for a, b in zip(whole, zip(*(piecewise.step(*block) for block in blocks))):
        np.testing.assert_array_equal(a, np.concatenate(b))


def test_eyes_put_closure_and_gaze_into_named_coefficients():
    beta = life.eyes(np.array([0.7]), np.array([[0.2, -0.1]]), np.array([0.25]))[0]
    expected = {"eyeBlinkLeft": 0.7, "eyeBlinkRight": 0.7, "eyeLookOutLeft": 0.2, "eyeLookInRight": 0.2}
    expected |= {"eyeLookDownLeft": 0.1, "eyeLookDownRight": 0.1}
    expected |= {"browInnerUp": 0.25, "browOuterUpLeft": 0.2, "browOuterUpRight": 0.2}
    assert {COMPONENTS[i]: pytest.approx(beta[i]) for i in np.flatnonzero(beta)} == expected
