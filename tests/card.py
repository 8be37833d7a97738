"""A second device that is none: tensors that say "cpu:1" and refuse to be mixed with those of the CPU.

It finds tensors that training leaves where they were made, on computers without a graphics card.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map

from emotalk_cli.face import kernels

PLACE = torch.device("cpu", 1)
MIXED = {"copy_", "_to_copy", "index", "index_put", "index_put_", "_index_put_impl_"}  # a real card allows these


class OnCard(Tensor):
    """A tensor whose numbers lie in `inner`, on the CPU."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> OnCard:
        made = torch.Tensor._make_wrapper_subclass(
            cls, inner.shape, inner.stride(), inner.storage_offset(), dtype=inner.dtype, device=PLACE
        )
        made.inner = inner
        return made

    def new_tensor(self, data, dtype=None):
        """As torch's, which would make it on the CPU."""
        _check_waits("_local_scalar_dense")
        return OnCard(_tensor(data, dtype=dtype or self.dtype))

    def tolist(self):
        """Torch's refuses subclasses."""
        _check_waits("_local_scalar_dense")
        return self.inner.tolist()

    def cpu(self):
        """What lies on the CPU anyway."""
        _check_waits("_local_scalar_dense")
        return self.inner

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, function, types, arguments=(), keywords=None):
        return run(function, arguments, keywords or {})


def run(function, arguments, keywords):
    """The operation on the CPU. Raises AssertionError if it mixes places."""
    tensors = [value for value in tree_flatten((arguments, keywords))[0] if isinstance(value, Tensor)]
    there = any(isinstance(tensor, OnCard) for tensor in tensors)
    here = [tensor for tensor in tensors if not isinstance(tensor, OnCard) and tensor.dim()]
    name = function.name().split("::")[1].split(".")[0]
    if there and here and name not in MIXED:
        raise AssertionError(f"{name} mixes the card with a tensor {tuple(here[0].shape)} on the CPU")
    if there:
        _check_waits(name, arguments[1:])
    wanted = keywords.get("device")
    if wanted is not None:
        there = torch.device(wanted) == PLACE
        keywords = {**keywords, "device": torch.device("cpu")}
    inside = tree_map(lambda value: value.inner if isinstance(value, OnCard) else value, (arguments, keywords))
    made = function(*inside[0], **inside[1])
    if not there:
        return made
    wrapped = tree_map(lambda value: OnCard(value) if isinstance(value, Tensor) else value, made)
    return return_and_correct_aliasing(function, arguments, keywords, wrapped)


class _Card(TorchDispatchMode):
    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        return run(function, arguments, keywords or {})


WAITS = {"_local_scalar_dense", "nonzero", "equal", "masked_select", "_unique2", "is_nonzero", "linalg_inv_ex"}
_forbidden = [False]


@contextlib.contextmanager
def no_waits() -> Iterator[None]:
    """While it lasts, nothing may go to the card or come from it, nor ask how large something there is."""
    _forbidden[0] = True
    try:
        yield
    finally:
        _forbidden[0] = False


def _check_waits(name: str, arguments: object = ()) -> None:
    if not _forbidden[0]:
        return
    indices = [t for t in tree_flatten(arguments)[0] if isinstance(t, Tensor)] if name.startswith("index") else []
    picked = any(t.dtype == torch.bool or not isinstance(t, OnCard) for t in indices)  # a mask; a list, carried there
    if name in WAITS or picked:
        raise AssertionError(f"{name} waits for the card")


_tensor = torch.tensor


def tensor(data, device=None, **options):
    """`torch.tensor`, which does not ask modes."""
    made = _tensor(data, **options)
    if device is not None and torch.device(device) == PLACE:
        _check_waits("_local_scalar_dense")
    return OnCard(made) if device is not None and torch.device(device) == PLACE else made


_to, _module_to = Tensor.to, torch.nn.Module.to


def to(self, *arguments, **options):
    """`Tensor.to`, to which all CPUs are one."""
    places = [value for value in (*arguments, options.get("device")) if isinstance(value, torch.device | str)]
    if places and torch.device(places[0]) == PLACE:
        if isinstance(self, OnCard):
            return self
        _check_waits("_local_scalar_dense")
        return OnCard(self)
    if places and isinstance(self, OnCard):
        _check_waits("_local_scalar_dense")
        return self.inner
    return _to(self, *arguments, **options)


def module_to(self, *arguments, **options):
    """`Module.to` likewise."""
    if arguments and isinstance(arguments[0], torch.device | str) and torch.device(arguments[0]) == PLACE:
        return self._apply(lambda value: to(value, PLACE))
    return _module_to(self, *arguments, **options)


@contextlib.contextmanager
def card() -> Iterator[torch.device]:
    """While it lasts, the second device is there; compiled loops, which know the CPU alone, are not."""
    with pytest.MonkeyPatch.context() as patch, _Card():
        patch.setattr(torch, "tensor", tensor)
        patch.setattr(Tensor, "to", to)
        patch.setattr(torch.nn.Module, "to", module_to)
        patch.setattr(kernels, "usable", lambda *tensors: False)
        patch.setattr(torch.__future__, "_overwrite_module_params_on_conversion", True)
        yield PLACE


def train_on(task, size: int = 2) -> None:
    """Move a task as the solver does, and compute all of its losses and gradients. Fails if they mix places."""
    batch = task.batch(np.random.default_rng(0), size)
    with card() as place:
        for module in (task.model, *task.helpers.values()):
            module.to(place).train()
        optimizers = task.optimizers()
        moved = {key: value.to(place) for key, value in batch.items()}
        for name, loss, scalars in task.losses(moved, 10**6, 10**6):
            assert name in optimizers and loss.device == place
            loss.backward()
            assert all(value.device == place for value in scalars.values() if isinstance(value, Tensor))
