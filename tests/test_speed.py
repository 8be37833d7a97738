"""What keeps EmoTalk fast, without a clock: imports, stages that run side by side, loops that give what torch gives."""

import gc
import itertools
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from emotalk_cli import system
from emotalk_cli.cli import main
from emotalk_cli.face import kernels
from emotalk_cli.face.geometry.maps import HEADROOM, relight
from emotalk_cli.face.geometry.palette import LUMA
from emotalk_cli.face.raster import CUBIC, doubled, halved, packed, pixel_grid, sample, sharp_sample
from emotalk_cli.lookahead import ahead, cores

SLOW = "torchvision open_clip torch._dynamo transformers matplotlib librosa sklearn skimage cv2 PIL.ImageQt sympy"
SLOW = [*SLOW.split(), "torchmetrics", "emotalk_cli.training", "emotalk_cli.evaluation"]
SLOW += [] if torch.cuda.is_available() else ["triton"]


def loaded(*lines: str) -> set[str]:
    """Modules of a fresh interpreter after these lines."""
    program = "\n".join([*lines, "import sys", "print(*sys.modules)"])
    return set(
        subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split()
    )


def test_making_videos_imports_nothing_of_training_and_no_second_framework():
    found = loaded(
        "import sys, torch",
        "sys.modules.pop('sympy', None)",  # which some versions of torch import themselves
        "import emotalk_cli.api, emotalk_cli.jobs, emotalk_cli.media.video, emotalk_cli.models.hef",
        "from emotalk_cli.models.transformer import Transformer",
        "Transformer(8, 1, 2)(torch.zeros(1, 4, 8), torch.zeros(1, 4, dtype=torch.bool))",
    )
    assert "torch" in found and [name for name in SLOW if name in found] == []


def test_options_are_read_without_torch():
    found = loaded("import emotalk_cli.cli.generate")
    assert [name for name in ("torch", "numba", "numpy") if name in found] == []


def test_commands_load_without_looking_for_garbage_and_look_again_afterwards():
    with pytest.raises(ValueError), system.no_collection():
        assert not gc.isenabled()
        raise ValueError
    assert gc.isenabled() and gc.get_freeze_count() > 0
    main(["--version"])
    assert gc.get_freeze_count() == 0


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def test_loops_read_between_pixels_as_torch_does():
    image, flow = random(1, 3, 40, 56), (random(2, 2, 40, 56, seed=1) - 0.5) * 30  # beyond the edges too
    at = (pixel_grid(40, 56) + flow.permute(0, 2, 3, 1)) / torch.tensor([56.0, 40.0]) * 2 - 1
    torch.testing.assert_close(sample(image, flow), sharp_sample(image.expand(2, -1, -1, -1), at), atol=1e-4, rtol=0)


def test_loops_double_and_halve_as_torch_does():
    image = random(2, 5, 12, 18)
    torch.testing.assert_close(doubled(image), F.interpolate(image, scale_factor=2, mode="bilinear"))
    torch.testing.assert_close(halved(image), F.avg_pool2d(image, 2))


def test_skin_is_lit_where_it_is_far_and_painted_where_it_is_near():
    image, hue = random(1, 3, 16, 16), torch.tensor([[0.8, 1.0, 1.1]])
    ratio, interior, mouth = (
        0.8 + 0.4 * random(1, 1, 16, 16),
        random(1, 3, 16, 16, seed=2),
        random(1, 1, 16, 16, seed=3),
    )
    flow, warped = random(1, 2, 16, 16), random(1, 3, 16, 16, seed=4)
    psi, painted, near = torch.zeros(1, 2, 4, 4), torch.full((1, 3, 4, 4), 0.1), torch.ones(1, 1, 4, 4)
    frame, corner = torch.empty(1, 3, 16, 16), torch.tensor([[4, 6]])
    fixed = packed(image), hue, torch.tensor([LUMA]), torch.tensor([[CUBIC, HEADROOM]]), corner
    kernels.each(kernels.skin, 1, *fixed, flow, warped, ratio, interior, mouth, psi, painted, near, frame)

    def lit(pixels: torch.Tensor) -> torch.Tensor:
        return torch.lerp(relight(pixels, ratio, hue).clamp(0, 1), interior, mouth)

    wanted = lit(warped)
    wanted[..., 4:12, 6:14] = (lit(sample(image, flow)) + 0.1)[..., 4:12, 6:14]
    torch.testing.assert_close(frame, wanted, atol=1e-5, rtol=0)


def test_a_stage_that_nobody_asks_any_more_ends_with_the_program(monkeypatch):
    """Frames kept until the interpreter exits: a thread cut off amid its arithmetic would bring it down."""
    stage, over = ahead(itertools.count(), 1), threading.Thread()
    assert next(stage) == 0
    (thread,) = [t for t in threading.enumerate() if t.name == "emotalk-ahead"]
    assert not thread.daemon
    monkeypatch.setattr(threading, "main_thread", lambda: over)  # which is not alive
    thread.join()


def test_a_stage_runs_beside_the_next_and_ends_with_it():
    begun, made = threading.Event(), []

    def numbers():
        for n in itertools.count():
            made.append((n, threading.current_thread()))
            if n == 2:
                begun.set()
            yield n

    stage = ahead(numbers(), 2)
    assert next(stage) == 0
    assert begun.wait(60)  # 1 and 2 are made while nobody asks, and no more: each takes memory
    assert len(made) == 3
    assert next(stage) == 1
    stage.close()
    count = len(made)
    assert count <= 4 and {thread for _, thread in made} != {threading.current_thread()}
    assert not any(thread.is_alive() for _, thread in made) and len(made) == count


def test_what_stops_a_stage_is_raised_where_it_is_asked_for():
    def broken():
        yield 1
        raise ValueError("broken")

    stage = ahead(broken(), 2)
    assert next(stage) == 1
    with pytest.raises(ValueError, match="broken"):
        next(stage)


def test_cores_are_given_back():
    before = torch.get_num_threads()
    with cores(1):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="needs POSIX")
def test_compiled_code_is_kept_where_nobody_else_can_write(tmp_path, monkeypatch):
    monkeypatch.setattr(kernels.tempfile, "gettempdir", lambda: str(tmp_path))
    folder = kernels._temporary_cache()
    assert folder is not None and os.stat(folder).st_mode & 0o077 == 0
    os.chmod(folder, 0o777)  # another user's trap
    assert kernels._temporary_cache() is None


def test_all_loops_can_be_loaded_at_once():
    kernels.warm()
    for loop in (kernels.rasterize, kernels.warp, kernels.skin, kernels.to_bytes):
        assert len(loop.signatures) == 1  # in the types that frames take
    assert np.isfinite(sample(random(1, 3, 8, 8), torch.ones(1, 2, 8, 8)).numpy()).all()
