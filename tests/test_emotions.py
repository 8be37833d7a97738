from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from emotalk_cli.emotions import prototypes
from emotalk_cli.emotions.atlas import limited
from emotalk_cli.errors import UsageError

# fmt: off
DU_2014 = (
    "happy", "sad", "fearful", "angry", "surprised", "disgusted", "happily surprised", "happily disgusted",
    "sadly fearful", "sadly angry", "sadly surprised", "sadly disgusted", "fearfully angry",
    "fearfully surprised", "fearfully disgusted", "angrily surprised", "angrily disgusted", "disgustedly surprised",
    "appalled", "hatred", "awed",
)
# fmt: on


def value(name: str, shape: str) -> float:
    return float(prototypes.PROTOTYPES[name].beta[prototypes.components(shape)].max())


def test_the_eight_of_mead_and_the_21_of_du_are_there_with_their_source():
    assert set(prototypes.BASICS) | set(DU_2014) == set(prototypes.PROTOTYPES)
    assert len(DU_2014) == 21
    assert all("Du2014" in prototypes.PROTOTYPES[name].source for name in DU_2014)


def test_betas_are_natural():
    for name, prototype in prototypes.PROTOTYPES.items():
        assert prototype.beta.shape == (64,)
        assert torch.equal(prototype.beta, limited(prototype.beta)), name
        assert bool(prototype.beta.any()) == (name != "neutral")
        assert not prototype.beta[53:].any()


def test_faces_differ_where_they_should():
    assert value("happy", "mouthSmile") > 0.5 and value("happy", "mouthFrown") == 0
    assert value("sad", "mouthFrown") > 0.5 and value("sad", "mouthSmile") == 0
    assert value("surprised", "browOuterUp") > 0.5 and value("surprised", "browDown") == 0
    assert value("angry", "browDown") > 0.5 and value("angry", "browInnerUp") == 0
    assert value("disgusted", "noseSneer") > 0.5
    assert value("fearful", "mouthStretch") > 0.5
    names = list(prototypes.PROTOTYPES)[1:]
    betas = torch.nn.functional.normalize(torch.stack([prototypes.PROTOTYPES[n].beta for n in names]), dim=1)
    basics = betas[:7] @ betas[:7].T - torch.eye(7)
    assert basics.max() < 0.8


def test_contempt_is_one_sided():
    beta = prototypes.PROTOTYPES["contempt"].beta
    left, right = (beta[[i for i, n in enumerate(prototypes.COMPONENTS) if n.endswith(s)]] for s in ("Left", "Right"))
    assert right.sum() > 0 and left.sum() == 0


def test_a_published_pair_becomes_its_compound():
    beta = prototypes.mixture({"happy": 0.5, "surprised": 0.5})
    assert torch.allclose(beta, prototypes.PROTOTYPES["happily surprised"].beta, atol=1e-5)
    assert prototypes.nearest(prototypes.mixture({"sad": 0.5, "angry": 0.5}))[0][0] == "sadly angry"


def test_parts_of_every_prototype_are_basics():
    for name in prototypes.PROTOTYPES:
        weights = prototypes.parts(name)
        assert set(weights) <= set(prototypes.BASICS) and sum(weights.values()) == pytest.approx(1)


def test_missing_weight_is_neutral():
    full, half = prototypes.mixture({"happy": 1}), prototypes.mixture({"happy": 0.5})
    assert torch.allclose(half, full / 2)
    assert torch.equal(prototypes.mixture({"neutral": 1}), torch.zeros(64))
    assert torch.allclose(prototypes.mixture({"happy": 3}), full)


@given(st.dictionaries(st.sampled_from(list(prototypes.PROTOTYPES)), st.floats(0, 1), max_size=4))
def test_any_mixture_is_a_face(weights):
    beta = prototypes.mixture(weights)
    assert beta.shape == (64,) and beta.isfinite().all() and torch.equal(beta, limited(beta))


def test_bad_mixtures_are_refused():
    with pytest.raises(UsageError, match="jealousy"):
        prototypes.mixture({"jealousy": 1})
    with pytest.raises(UsageError, match="negative"):
        prototypes.mixture({"happy": -0.1})


def test_intensity_grows_from_one_to_three():
    assert prototypes.intensity_gain(1) == pytest.approx(0.45)
    assert prototypes.intensity_gain(2) == pytest.approx(0.75)
    assert prototypes.intensity_gain(3) == pytest.approx(1)
    gains = prototypes.intensity_gain(torch.linspace(1, 3, 50))
    assert (gains.diff() > 0).all()
    for mu in (0.9, 3.1, float("nan")):
        with pytest.raises(UsageError):
            prototypes.intensity_gain(mu)


def test_speech_owns_the_opening_of_the_mouth():
    mask = prototypes.speech_mask()
    assert mask[prototypes.components("jawOpen")].max() < 1
    assert mask[prototypes.components("mouthPucker") + prototypes.components("mouthClose")].max() == 0
    assert (mask[prototypes.components("browDown")] == 1).all()


def test_nearest_names_a_prototype_itself():
    for name, prototype in prototypes.PROTOTYPES.items():
        assert prototypes.nearest(prototype.beta)[0][0] == name
