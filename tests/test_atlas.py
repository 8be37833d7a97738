"""The atlas: sound rows, one table of action units, mixtures, sides."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from emotalk_cli.emotions import atlas
from emotalk_cli.emotions.blends import side_of
from emotalk_cli.emotions.prototypes import COMPONENTS


def channel(name: str, which: str) -> float:
    return float(atlas.states()[name].behaviour[atlas.CHANNELS.index(which)])


def test_states_are_many_sound_and_different():
    states = atlas.states()
    assert len(states) >= 90 and list(states)[:8] == list(atlas.BASICS)
    for state in states.values():
        assert state.source and sum(state.basics.values()) == pytest.approx(1), state.name
        assert torch.equal(state.beta, atlas.limited(state.beta))
        assert all(0 < strength <= 1 and unit in atlas.action_units() for unit, _, strength in state.actions)
        assert abs(channel(state.name, "pitch")) <= 9 and abs(channel(state.name, "gaze up")) <= 0.7
    unit = torch.nn.functional.normalize(atlas.behaviours()[1:] * torch.tensor(atlas.UNITS), dim=1)
    assert (unit @ unit.T - 2 * torch.eye(len(unit))).max() < 0.985


def test_action_units_are_blendshapes():
    for shapes in atlas.action_units().values():
        assert all(atlas.components(shape) and 0 < value <= atlas.LIMIT for shape, value in shapes.items())


def test_head_gaze_and_lids_say_what_people_do():
    assert channel("proud", "pitch") > 5 and channel("ashamed", "pitch") < -5
    assert channel("embarrassed", "gaze up") < -0.3 and channel("thoughtful", "gaze up") > 0.3
    assert channel("sleepy", "eyeBlinkLeft") > 0.4 and channel("nervous", "blink") > 1
    assert channel("startled", "decay") > 0.5 and channel("amused", "burst") > 0.5
    assert not atlas.states()["neutral"].behaviour.any()


def test_anger_keeps_its_nose_and_disgust_its_brows():
    angry, disgusted = (atlas.states()[name] for name in ("angry", "disgusted"))
    nose, brow = atlas.components("noseSneer"), atlas.components("browDown")
    assert angry.beta[nose].max() < 0.3 < 1 < disgusted.beta[nose].min()
    assert disgusted.beta[brow].max() < 0.6 < 1.1 < angry.beta[brow].min()


def test_a_state_on_the_other_side():
    behaviours = atlas.behaviours()
    assert torch.equal(atlas.mirrored(atlas.mirrored(behaviours)), behaviours)
    right, left = atlas.states()["curious"].behaviour, atlas.mirrored(atlas.states()["curious"].behaviour)
    assert right[COMPONENTS.index("browOuterUpRight")] == left[COMPONENTS.index("browOuterUpLeft")] > 0.5
    assert channel("curious", "roll") == -left[atlas.CHANNELS.index("roll")] != 0
    assert side_of("a smirk on the left") == "left" and side_of("right eyebrow raised") == "right"
    assert side_of("all right") is side_of("left alone") is side_of("yeah, right") is None


@given(st.lists(st.floats(0, 1), min_size=3, max_size=3), st.integers(0, 1000))
def test_mixtures_are_behaviours_and_change_smoothly(values, seed):
    rows = torch.randperm(len(atlas.states()), generator=torch.Generator().manual_seed(seed))[:3]
    weights = torch.zeros(2, len(atlas.states()))
    weights[:, rows] = torch.tensor(values) / max(1.0, sum(values))
    weights[1] *= 0.99
    one, two = atlas.mixed(weights)
    face = one[: len(atlas.FACE)]
    assert torch.equal(face, atlas.limited(face))
    assert (one - two).norm() <= 0.015 * one.norm() + 1e-4


def test_nearest_names_a_state_itself():
    for i, (name, state) in enumerate(atlas.states().items()):
        assert atlas.nearest(atlas.basics()[i], state.behaviour, 1)[0][0] == name
    assert atlas.nearest(torch.eye(9)[-1], torch.zeros(atlas.WIDTH), 1)[0][0] == "unrelated"


def test_manner_lists_what_differs():
    assert atlas.manner(torch.zeros(atlas.WIDTH)) == {}
    sleepy = atlas.manner(atlas.states()["sleepy"].behaviour)
    assert sleepy["slow"] == 3 and sleepy["lids"] > 0.4 and sleepy["pitch"] < -5
