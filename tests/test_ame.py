from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch

from emotalk_cli.emotions.atlas import FACE, behaviours, states
from emotalk_cli.emotions.blends import parse_blend
from emotalk_cli.emotions.prototypes import BASICS, CLASSES
from emotalk_cli.errors import UsageError, WeightsError
from emotalk_cli.evaluation import meaning
from emotalk_cli.models import checkpoints
from emotalk_cli.models.emotion_space import AME
from emotalk_cli.training.data import lexicon
from emotalk_cli.training.data.prompts import more_words, words


@pytest.fixture(scope="module")
def ame() -> AME:
    return AME.load()


@pytest.fixture(scope="module")
def figures(ame) -> dict:
    return meaning.classes(lambda texts: ame.scores(ame.text(texts))) | meaning.faces(
        lambda texts: ame.behaviour(ame.text(texts))
    )


def top(ame: AME, text: str) -> str:
    return max(ame.mixture(ame.text([text])[0]).items(), key=lambda item: item[1])[0]


def test_text_gives_unit_vectors_whatever_the_company(ame):
    prompts = ["sadly surprised", "happy", "as if she had just won the lottery!", "x " * 200]
    z = ame.text(prompts)
    assert z.shape == (4, 512) and z.dtype == torch.float32
    assert torch.allclose(z.norm(dim=1), torch.ones(4), atol=1e-5)
    alone = torch.cat([ame.text([prompt]) for prompt in prompts])
    assert torch.allclose(z, alone, atol=1e-4)


@pytest.mark.parametrize("basic", BASICS)
def test_basics_are_themselves(ame, basic):
    z = ame.text([basic])[0]
    assert ame.nearest(z)[0][0] == basic
    assert ame.mixture(z)[basic] > 0.7


def test_unseen_words_find_their_basic(figures):
    assert figures["unseen words"] >= 60
    assert figures["nearest basic"] >= 0.85, figures["wrong"]
    assert figures["check unseen words"] >= 150 and figures["check nearest basic"] >= 0.6, figures["check wrong"]


def test_the_wide_vocabulary_is_known(ame):
    """A sample of the words and phrases that were labelled, English and foreign."""
    labelled = {word: lexicon.classes(target) for word, target in (words() | more_words()).items()}
    clear = sorted(word for word, target in labelled.items() if target[:8].max() > 0.65)
    assert len(clear) > 6000
    sample = clear[::20]
    read = ame.scores(ame.text(sample))[:, :8].argmax(1).tolist()
    right = [int(labelled[word][:8].argmax()) == found for word, found in zip(sample, read, strict=True)]
    assert np.mean(right) > 0.9


def test_pleasantness_follows_valence(figures):
    assert figures["valence words"] >= 150
    assert figures["valence r (face)"] > 0.75


def test_unrelated_prompts_leave_the_face_neutral(figures):
    assert figures["unrelated near neutral"] >= 0.9, figures["unrelated moved"]


def test_the_meaning_of_unseen_words_reaches_face_head_and_eyes(figures):
    assert figures["phrases"] >= 120 and figures["signs present"] >= 0.85, figures["lacking"]
    assert figures["dimensions for 95 %"] >= 10 and figures["wear another's face"] <= 0.21


def test_states_are_known_by_name(ame):
    """But for those whose names are kept for measuring."""
    names = [name for name in states() if not lexicon.is_measuring(name) and name != "neutral"]
    rows = [list(states()).index(name) for name in names]
    made, own = ame.behaviour(ame.text(names))[:, : len(FACE)], behaviours()[rows][:, : len(FACE)]
    assert torch.nn.functional.cosine_similarity(made, own).quantile(0.1) > 0.75


def test_all_coordinates_carry_the_behaviour(ame):
    """Without the class weights, or the code, the face is still much the same."""
    z = ame.text(["happy", "sleepy", "furious", "embarrassed", "in pain"])
    whole = ame.behaviour(z)[:, : len(FACE)]
    for part in (slice(0, 9), slice(9, 50)):
        less = z.clone()
        less[:, part] = 0
        made = ame.behaviour(torch.nn.functional.normalize(less, dim=1))[:, : len(FACE)]
        assert torch.nn.functional.cosine_similarity(made, whole).mean() > 0.6


def test_measuring_words_carry_no_label():
    groups = ("held out", "check", "valence")
    kept = (
        [word for group in groups for word, _ in meaning.measuring(group)]
        + list(meaning.signs())
        + list(meaning.signs(lexicon.CLEAN))
    )
    assert all(lexicon.is_measuring(word) for word in kept)


def test_the_lexicon_is_sound():
    rows = lexicon.table("words")
    texts = [row["text"] for row in rows]
    assert len(texts) > 8000 and len(set(texts)) == len(texts)
    assert all(text == " ".join(text.split()) for text in texts)
    for mixture in {row["label"] for row in rows}:
        assert lexicon.label(mixture).sum() == pytest.approx(1), mixture
    assert {row["label"] for row in rows if row["group"] == "state"} >= set(states()) - {"deadpan"}
    pattern = [row["text"] for row in rows if row["group"] != "unrelated" and lexicon.is_measuring(row["text"])]
    assert not pattern
    assert all(sign in meaning.SIGNS for signs in meaning.signs().values() for sign in signs)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("sadly surprised", {"sad", "surprised"}),
        ("happily disgusted", {"happy", "disgusted"}),
        ("fearfully angry", {"fearful", "angry"}),
    ],
)
def test_compounds_hold_both_parts(ame, text, parts):
    mixture = ame.mixture(ame.text([text])[0])
    assert set(sorted(mixture, key=mixture.get)[-2:]) == parts


@pytest.mark.parametrize("word", ["happy", "angry", "afraid", "surprised", "disgusted"])
def test_negation_takes_the_emotion_away(ame, word):
    yes, no = (ame.scores(ame.text([text]))[0] for text in (word, f"not {word} at all"))
    strongest = int(yes.argmax())
    assert yes[strongest] > 0.6 and no[strongest] < 0.3


def test_degree_shifts_towards_neutral(ame):
    weak, plain = (ame.mixture(ame.text([text])[0])["neutral"] for text in ("slightly sad", "sad"))
    assert weak > plain + 0.1


@pytest.mark.parametrize(
    ("text", "basic"),
    [
        ("as if she had just won the lottery", "happy"),
        ("HAPPY!!!", "happy"),
        ("traurig", "sad"),
        ("enojado", "angry"),
        ("barely contained rage", "angry"),
        ("like someone who has just seen a ghost", "fearful"),
    ],
)
def test_open_vocabulary(ame, text, basic):
    assert top(ame, text) == basic


def test_blend_is_the_average_of_embeddings(ame):
    happy, surprised = ame.text(["happy", "surprised"])
    expected = torch.nn.functional.normalize(happy + surprised, dim=0)
    assert torch.allclose(ame.blend({"happy": 0.5, "surprised": 0.5}), expected, atol=1e-4)
    assert torch.allclose(ame.text(["happy:0.5+surprised:0.5"])[0], expected, atol=1e-4)
    assert ame.nearest(expected)[0][0] == "happily surprised"


def test_blend_syntax():
    assert parse_blend("happy:0.5+very sad: 0.25") == {"happy": 0.5, "very sad": 0.25}
    assert parse_blend("happy+sad") == {"happy": 1, "sad": 1}
    assert parse_blend(" note: be calm ") == {"note: be calm": 1}
    for bad in ("", "  ", "happy:0", "happy:0+sad:0"):
        with pytest.raises(UsageError):
            parse_blend(bad)


def test_scores_are_weights(ame):
    scores = ame.scores(ame.text(["happy", "a red car"]))
    assert scores.shape == (2, len(CLASSES))
    assert torch.allclose(scores.sum(1), torch.ones(2))
    assert ame.nearest(ame.text(["a red car"])[0])[0][0] in {"unrelated", "neutral"}


def test_missing_towers_say_so(ame):
    bare = AME(ame.text_tower, ame.tokenizer, ame.space)
    with pytest.raises(WeightsError, match="no audio tower"):
        bare.audio([torch.zeros(80, 40)], -20.0)
    with pytest.raises(WeightsError, match="no image tower"):
        bare.image(np.zeros((64, 64, 3), np.uint8), np.zeros((478, 3)), np.zeros(51))


def test_another_space_is_refused(tmp_path):
    checkpoint = checkpoints.load("ame")
    dims = checkpoint.dims | {"space": "ViT-B-32/openai"}
    checkpoints.save("ame", checkpoint.tensors, dims, tmp_path, data="", command="", seed=0)
    with pytest.raises(WeightsError, match="ViT-B-32/openai"):
        AME.load(tmp_path)


def test_damaged_weights_are_named(tmp_path):
    folder = checkpoints.weights_dir()
    for name in ("ame.safetensors", "index.json"):
        shutil.copy(folder / name, tmp_path)
    path = tmp_path / "ame.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(WeightsError, match="damaged"):
        AME.load(tmp_path)
