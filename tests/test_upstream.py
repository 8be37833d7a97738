"""Our own text tower and tokenizer against open_clip's, and CLIP itself as emotion space (random stand-ins)."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import SPEECH

from emotalk_cli.api import EmoTalk
from emotalk_cli.cli import main
from emotalk_cli.emotions.prototypes import CLASSES
from emotalk_cli.errors import UsageError, WeightsError
from emotalk_cli.models import checkpoints, spaces, upstream
from emotalk_cli.models.emotion_space import AME
from emotalk_cli.models.text_tower import Tokenizer
from emotalk_cli.training.config import Config
from emotalk_cli.training.tasks.eac_video import VideoEAC

TEXTS = [
    "happy",
    "Sadly  surprised, isn't she?",
    "<start_of_text> it's 12½ km — naïve “quotes” &amp; ﬁne",
    "déjà vu 愉快 😀 don't've",
    "a_b-c!!  \x1b[31mred\x1b[0m\t&lt;b&gt;",
    "lâ€™amour",
    "a" * 500,
    "banana aaa aaaa abab ababab",
    "",
]


@pytest.fixture(scope="module")
def ame() -> AME:
    return AME.load()


def test_tokens_are_open_clips(open_clip, ame):
    theirs = open_clip.SimpleTokenizer()
    ours = Tokenizer([(theirs.encoder[a], theirs.encoder[b]) for a, b in theirs.bpe_ranks], 77)
    assert torch.equal(ours(TEXTS), theirs(TEXTS))
    assert (ours.vocab_size, ours.eot_token_id) == (theirs.vocab_size, theirs.eot_token_id)
    for text in TEXTS:
        assert ours.decode(ours.encode(text)) == theirs.decode(theirs.encode(text))
    tokenizer = ame.tokenizer
    tokens = tokenizer(TEXTS)
    assert tokens.shape == (len(TEXTS), 32) and int(tokens.max()) == tokenizer.eot_token_id == tokenizer.vocab_size - 1
    assert tokenizer.decode(tokenizer.encode("seen a ghost")).strip() == "seen a ghost"


def test_the_text_tower_is_open_clips_with_the_same_weights(open_clip, ame):
    tower = ame.text_tower
    state = {name: value for name, value in tower.state_dict().items() if name != "merges"}
    vocabulary, width = state["token_embedding.weight"].shape
    context, layers = len(state["positional_embedding"]), len(tower.transformer.resblocks)
    theirs = open_clip.transformer.TextTransformer(
        context, vocabulary, width, 5, layers, no_causal_mask=True, use_pad_mask=True
    ).eval()
    theirs.load_state_dict(state)
    tokens = ame.tokenizer(TEXTS)
    with torch.no_grad():
        assert torch.allclose(tower(tokens), theirs(tokens), atol=1e-5)


def test_the_real_layout_embeds_as_a_direct_call_does(open_clip, tmp_path, monkeypatch):
    """ViT-B-32 with all its layers and OpenAI's activation, QuickGELU, under their tag: texts and faces."""
    torch.manual_seed(0)
    direct = open_clip.create_model("ViT-B-32-quickgelu").eval()
    assert len(direct.transformer.resblocks) == len(direct.visual.transformer.resblocks) == 12
    torch.save(direct.state_dict(), tmp_path / "weights.pt")
    monkeypatch.setattr(open_clip.factory, "download_pretrained", lambda *_, **__: str(tmp_path / "weights.pt"))
    monkeypatch.setattr(upstream, "_online", lambda: False)
    for name in (
        "kaiming_uniform_",
        "normal_",
        "trunc_normal_",
        "xavier_uniform_",
    ):  # what is loaded is not drawn first
        monkeypatch.setattr(torch.nn.init, name, lambda tensor, *_, **__: tensor)
    clip = upstream.load("ViT-B-32/openai")
    (tmp_path / "weights.pt").unlink()
    assert clip.space == "ViT-B-32/openai"
    prompts, crops = ["happy", "a face full of rage"], torch.rand(1, 3, 224, 224) * 2 - 1
    mean, std = (torch.tensor(v)[:, None, None] for v in (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD))
    with torch.no_grad():
        z, seen = clip.text(prompts), clip.image_tower(crops, None)
        tokens, pixels = open_clip.get_tokenizer("ViT-B-32")(prompts), ((crops + 1) / 2 - mean) / std
        assert torch.allclose(z, direct.encode_text(tokens, normalize=True), atol=1e-5)
        assert torch.allclose(seen, direct.encode_image(pixels, normalize=True), atol=1e-5)
        for block in direct.visual.transformer.resblocks:
            block.mlp.gelu = torch.nn.GELU()
        assert not torch.allclose(seen, direct.encode_image(pixels, normalize=True), atol=1e-4)


def test_an_upstream_clip_runs_from_a_local_file(stand_in, tmp_path):
    clip = upstream.load(f"ViT-B-32/{stand_in}")
    z = clip.text(["happy", "sad:0.5+angry:0.5"])
    assert z.shape == (2, 512) and torch.allclose(z.norm(dim=1), torch.ones(2), atol=1e-4)
    assert torch.allclose(clip.scores(z).sum(1), torch.ones(2), atol=1e-5)
    picture = np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8)
    points = np.random.default_rng(1).normal(100, 15, (478, 3))
    assert clip.image(picture, points, np.zeros(51)).shape == (512,)
    with pytest.raises(WeightsError, match="local weights file"):
        upstream.load(f"ViT-B-32/{tmp_path / 'missing.pt'}")
    with pytest.raises(UsageError, match="no model"):
        upstream.load("tiny-unknown")


def test_prepared_clips_train_in_clips_space(stand_in, prepared, tmp_path, capsys):
    """`task.upstream`: EAC and the audio tower learn in it, are stored, and the commands run with them."""
    name, table = f"ViT-B-32/{stand_in}", {"window": 16, "rendered": 1, "size": 48, "reader": "tracker"}
    task = VideoEAC(prepared, Config(task=table | {"upstream": name}))
    assert task.model.dims.space == task.tower.dims.space == name and not task.tower.dims.anchors
    batch = task.batch(np.random.default_rng(0), 1)
    (optimizer,) = task.optimizers().values()
    before = task.tower.head[1].weight.clone()
    ((_, loss, _),) = task.losses(batch, 0, 1)
    loss.backward()
    optimizer.step()
    assert not torch.equal(before, task.tower.head[1].weight)
    task.save(task.model, tmp_path, command="", seed=0)
    checkpoints.complete(tmp_path)
    assert main(["emotion", "text", "happy", "--weights", str(tmp_path), "--json", "--device", "cpu"]) == 0
    assert json.loads(capsys.readouterr().out)
    talker = EmoTalk.load(tmp_path, "cpu", "geometry")
    assert talker.ame.space == name and talker.emotion(audio=SPEECH).z.norm() == pytest.approx(1, abs=1e-4)


def test_spaces_that_the_ablation_compares(ame):
    one_hot, language = spaces.load("one-hot"), spaces.load("language")
    words = ["happy", "furious", "a table", "happy:0.6+sad:0.4"]
    z = one_hot.text(words)
    assert torch.equal(z.argmax(1), torch.tensor([1, 4, 0, 1])) and torch.equal(z.sum(1), torch.ones(4))
    assert max(one_hot.mixture(z[1]).items(), key=lambda item: item[1])[0] == "angry"
    z = language.text(words)
    assert not z[:, : len(CLASSES)].any() and torch.allclose(z.norm(dim=1), torch.ones(4), atol=1e-5)
    assert language.scores(language.text(["a sad face"])).argmax() == 2


def test_without_the_extra_the_shipped_space_runs_and_clip_says_what_to_install():
    program = """
import sys
heavy = ("open_clip", "torchvision", "torch._dynamo")
sys.modules["open_clip"] = None
from emotalk_cli.cli import main
from emotalk_cli.models.emotion_space import AME
AME.load().text(["happy"])
assert not any(sys.modules.get(name) for name in heavy), "heavy packages are imported"
sys.exit(main(["emotion", "text", "happy", "--clip", "ViT-B-32"]))
"""
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert found.returncode == 2 and "pip install 'emotalk[clip]'" in " ".join(found.stderr.split()), found.stderr
