"""Blinks and head motion: people-like, seeded, and the same however the blocks are cut."""

from __future__ import annotations

import numpy as np
import pytest

from emotalk_cli import life
from emotalk_cli.emotions import COMPONENTS
from emotalk_cli.errors import UsageError


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
    with pytest.raises(UsageError, match="--blink 90"):
        life.Life(25, 90)


def test_blocks_of_any_size_give_the_same_motion():
    loudness = np.random.default_rng(0).random(700)
    whole = life.Life(25, seed=5).step(loudness)
    piecewise = life.Life(25, seed=5)
    parts = [piecewise.step(block) for block in np.split(loudness, [1, 2, 40, 333])]
    for a, b in zip(whole, zip(*parts)):
        np.testing.assert_array_equal(a, np.concatenate(b))
    other = life.Life(25, seed=6).step(loudness)
    assert all(np.abs(a - b).max() > 0 for a, b in zip(whole, other))


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
    closure, pose, gaze = life.Life(25, seed=1, moving=False).step(np.ones(1000))
    assert closure.max() > 0.9 and not pose.any() and not gaze.any()


def test_eyes_put_closure_and_gaze_into_named_coefficients():
    beta = life.eyes(np.array([0.7]), np.array([[0.2, -0.1]]))[0]
    expected = {"eyeBlinkLeft": 0.7, "eyeBlinkRight": 0.7, "eyeLookOutLeft": 0.2, "eyeLookInRight": 0.2}
    expected |= {"eyeLookDownLeft": 0.1, "eyeLookDownRight": 0.1}
    assert {COMPONENTS[i]: pytest.approx(beta[i]) for i in np.flatnonzero(beta)} == expected
