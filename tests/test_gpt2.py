"""GPT-2 as emotion space, by a small random stand-in of its own layout, against an independent forward pass."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

from emotalk_cli.cli import main
from emotalk_cli.errors import WeightsError
from emotalk_cli.models import added, spaces
from emotalk_cli.training.config import Config
from emotalk_cli.training.tasks.eac_video import VideoEAC


@pytest.fixture
def place(monkeypatch, tmp_path):
    """An empty folder of added networks."""
    monkeypatch.setenv(added.ENVIRONMENT, str(tmp_path / "added"))
    return tmp_path / "added"


def reference(folder, tokens: list[int]) -> torch.Tensor:
    """The mean of the last states, by PyTorch's own layers."""
    w = {key.removeprefix("transformer."): value for key, value in load_file(folder / "model.safetensors").items()}
    x = w["wte.weight"][tokens] + w["wpe.weight"][: len(tokens)]
    for layer in range(2):
        names = {key.removeprefix(f"h.{layer}."): value for key, value in w.items() if key.startswith(f"h.{layer}.")}
        block = nn.TransformerEncoderLayer(128, 2, 512, 0.0, partial(F.gelu, approximate="tanh"), norm_first=True)
        rows = {"self_attn.in_proj_": "attn.c_attn.", "self_attn.out_proj.": "attn.c_proj.", "linear1.": "mlp.c_fc."}
        rows |= {"linear2.": "mlp.c_proj.", "norm1.": "ln_1.", "norm2.": "ln_2."}
        both = [(own + kind, names[theirs + kind]) for own, theirs in rows.items() for kind in ("weight", "bias")]
        block.load_state_dict({own: value.T if value.dim() == 2 else value for own, value in both})
        mask = nn.Transformer.generate_square_subsequent_mask(len(tokens))
        x = block(x[:, None], src_mask=mask, is_causal=True)[:, 0]
    return F.layer_norm(x, (128,), w["ln_f.weight"], w["ln_f.bias"]).mean(0)


def test_states_are_those_of_the_same_weights_and_tokens_those_of_the_merges(place, gpt2_files, capsys):
    with pytest.raises(WeightsError, match=r"download model\.safetensors and merges\.txt .* emotalk weights add gpt2"):
        spaces.load("gpt2")
    assert main(["weights", "add", "gpt2", str(gpt2_files)]) == 0
    space = spaces.load("gpt2")
    texts = ["happy", "sad face, happy face"]
    tokens = space.tokenizer(texts)
    end = space.tokenizer.end
    spelt = [[number for number in row if number != end] for row in tokens.tolist()]
    assert end == 256 + 11 and spelt == [[256 + 4], [256 + 10, 256 + 8, ord(",") - ord("!"), 256 + 5, 256 + 8]]
    with torch.no_grad():
        found = space.text_tower.state(tokens)
        wanted = torch.stack([reference(gpt2_files, row) for row in spelt])
    assert torch.allclose(found, wanted, atol=1e-5)
    z = space.text(["happy", "happy face", "happy:0.5+sad:0.5"])
    assert z.shape == (3, 512) and torch.allclose(z.norm(dim=1), torch.ones(3), atol=1e-5)
    assert space.nearest(space.text(["a sad face"])[0])[0][0] == "sad"
    with pytest.raises(WeightsError, match="no image tower"):
        space.image(np.zeros((8, 8, 3), np.uint8), np.zeros((478, 3)), np.zeros(51))


def test_files_that_are_no_gpt2_are_refused(place, gpt2_files, tmp_path, capsys):
    assert main(["weights", "add", "gpt2", str(tmp_path)]) != 0
    assert "holds no model.safetensors; download it from https://" in capsys.readouterr().err
    for name in ("model.safetensors", "merges.txt"):
        (tmp_path / name).write_bytes((gpt2_files / name).read_bytes())
    (tmp_path / "merges.txt").write_text("#version: 0.2\nh a\n", encoding="utf-8")
    assert main(["weights", "add", "gpt2", str(tmp_path)]) != 0
    assert "is no GPT-2 with merges.txt (268 tokens" in capsys.readouterr().err.replace("\n", " ")
    assert not place.exists()


def test_a_network_learns_its_emotions_from_it(place, gpt2_files, prepared):
    assert main(["weights", "add", "gpt2", str(gpt2_files)]) == 0
    task = {"window": 16, "emo": 0.0, "space": "gpt2", "size": 48, "rendered": 1}
    eac = VideoEAC(prepared, Config(batch=1, task=task))
    assert eac.model.dims.space == "gpt2" and eac.tower is None
    loss = next(eac.losses(eac.batch(np.random.default_rng(0), 1), 0, 1))[1]
    loss.backward()
    assert eac.model.emotion[0].weight.grad.abs().sum() > 0
