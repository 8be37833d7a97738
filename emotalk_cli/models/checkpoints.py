"""Weight files: where they are, what they say of themselves, and whether they are intact.

A checkpoint is one safetensors file. Its header carries `dims` (the model's dataclass, as JSON) and
the provenance that `save` is given (data, command, seed, version). `index.json` beside the files
holds their SHA-256, which every load checks.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from .. import __version__
from ..errors import InputError, WeightsError
from ..media.files import check_input, replaced, sha256

M = TypeVar("M", bound=torch.nn.Module)
T = TypeVar("T")

INDEX = "index.json"
ENVIRONMENT = "EMOTALK_WEIGHTS"
MAX_BYTES = 4 << 30  # of a file (other people's CLIPs are below 4 GiB), and
MAX_HEADER = 4 << 20  # of its header, which is read into memory
SCALE = ":scale"  # ends the name of the factors [rows] of a table that is stored in int8


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """What `load` returns: float32 tensors by name, the model's `dims`, all metadata, the file's hash."""

    tensors: dict[str, torch.Tensor]
    dims: dict[str, Any]
    metadata: dict[str, str]
    sha256: str
    path: Path

    def sizes(self, kind: type[T]) -> T:
        """The dims as a dataclass. Raises WeightsError if it has no such fields."""
        try:
            return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in self.dims.items()})
        except TypeError as error:
            raise self._foreign() from error

    def fill(self, model: M) -> M:
        """`model` with these tensors. Raises WeightsError if names or shapes are not its own."""
        own = model.state_dict()
        try:
            model.load_state_dict({k: v.to(own[k].dtype) if k in own else v for k, v in self.tensors.items()})
        except RuntimeError as error:
            raise self._foreign() from error
        return model.eval()

    def _foreign(self) -> WeightsError:
        made = self.metadata.get("emotalk", "unknown")
        return WeightsError(f"{self.path} belongs to another version of EmoTalk ({made}); restore the weights folder.")


def weights_dir(override: str | os.PathLike[str] | None = None) -> Path:
    """The folder of weight files: `override`, else $EMOTALK_WEIGHTS, else the wheel's or checkout's own.

    Raises WeightsError when the named folder does not exist.
    """
    named = override or os.environ.get(ENVIRONMENT)
    if named:
        path = Path(named)
        if not path.is_dir():
            source = "--weights" if override else f"${ENVIRONMENT}"
            raise WeightsError(f"{source}: no folder {path}; name a folder that holds {INDEX} and *.safetensors.")
        return path
    package = Path(__file__).resolve().parents[1]
    for path in (package / "weights", package.parent / "weights"):
        if (path / INDEX).is_file():
            return path
    raise WeightsError(f"No weights found beside the package; reinstall emotalk or set ${ENVIRONMENT}.")


def index(directory: Path) -> dict[str, str]:
    """File name -> SHA-256 as recorded in the folder's index ({} when there is none yet)."""
    path = directory / INDEX
    try:
        listed = json.loads(path.read_text()) if path.exists() else {}
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"{path} is not valid JSON; restore the weights folder.") from error
    if not isinstance(listed, dict) or not all(isinstance(digest, str) for digest in listed.values()):
        raise WeightsError(f"{path} is no list of files and hashes; restore the weights folder.")
    return listed


def present(name: str, directory: str | os.PathLike[str] | None = None) -> bool:
    """Whether the folder's index lists `<name>.safetensors`. Raises WeightsError as `weights_dir`."""
    return f"{name}.safetensors" in index(weights_dir(directory))


def load(name: str, directory: str | os.PathLike[str] | None = None) -> Checkpoint:
    """Read `<directory>/<name>.safetensors` after checking its hash against the index.

    Half-precision tensors and tables in int8 (see `save`) come back as float32; integer tensors keep their type.
    Raises WeightsError if the file is missing, unlisted, damaged, or without dims.
    """
    folder = weights_dir(directory)
    path = folder / f"{name}.safetensors"
    if not path.is_file():
        raise WeightsError(f"{path} is missing; restore it or point --weights at a complete folder.")
    digest, listed = sha256(path), index(folder).get(path.name)
    if listed is None:
        raise WeightsError(f"{path.name} is not listed in {folder / INDEX}; restore the weights folder.")
    if digest != listed:
        raise WeightsError(f"{path} is damaged (SHA-256 differs from {INDEX}); restore it.")
    try:
        tensors, metadata = read(path)
    except InputError as error:
        raise WeightsError(f"{error} Restore the weights folder.") from error
    if not all(bool(tensor.isfinite().all()) for tensor in tensors.values() if tensor.is_floating_point()):
        raise WeightsError(f"{path} holds values that are no numbers; restore the weights folder.")
    if "dims" not in metadata:
        raise WeightsError(f"{path} carries no model dimensions; it was not made by emotalk train.")
    try:
        dims = json.loads(metadata["dims"])
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{path} carries damaged model dimensions; restore the weights folder.") from error
    for key in [key for key in tensors if key.endswith(SCALE)]:
        table = key.removesuffix(SCALE)
        tensors[table] = tensors[table].float() * tensors.pop(key)[:, None]
    return Checkpoint(tensors, dims, metadata, digest, path)


def read(path: str | os.PathLike[str]) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Tensors (floating ones as float32, on the CPU) and metadata of any safetensors file, a stranger's too.

    Size and header are bounded before anything is allocated. Raises InputError.
    """
    file = check_input(path, "safetensors file")
    size = file.stat().st_size
    if size > MAX_BYTES:
        raise InputError(f"{file} is larger than {MAX_BYTES >> 30} GiB; it is no file of EmoTalk's.")
    with open(file, "rb") as stream:
        header = int.from_bytes(stream.read(8), "little")
    if size < 10 or header > min(MAX_HEADER, size - 8):
        raise InputError(f"{file} is not a safetensors file or is cut short; copy it again.")
    try:
        with safe_open(file, framework="pt") as opened:
            metadata = opened.metadata() or {}
            tensors = {key: opened.get_tensor(key) for key in opened.keys()}
        return {k: v.float() if v.is_floating_point() else v for k, v in tensors.items()}, metadata
    except Exception as error:  # the library's own, and torch's about types and shapes that it does not know
        raise InputError(f"{file} is not a safetensors file or is damaged; copy it again.") from error


def save(
    name: str,
    tensors: dict[str, torch.Tensor],
    dims: Any,
    directory: str | os.PathLike[str],
    *,
    data: str,
    command: str,
    seed: int,
    half: bool = True,
    tables: Collection[str] = (),
    **extra: str,
) -> Path:
    """Write `<directory>/<name>.safetensors` atomically and record its hash in the index.

    dims: a dataclass (or dict) that rebuilds the model. data, command, seed: provenance.
    half: store floating-point tensors in float16. tables: names of large ones [rows, columns] to store in int8, with a
    factor a row.
    """
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.safetensors"

    def stored(tensor: torch.Tensor) -> torch.Tensor:
        tensor = tensor.detach().cpu().contiguous()
        return tensor.half() if half and tensor.is_floating_point() else tensor

    written = {k: stored(v) for k, v in tensors.items()}
    for key in tables:
        table = tensors[key].detach().cpu().float()
        scale = (table.abs().amax(1) / 127).half().clamp(min=1e-7)
        written |= {key: (table / scale.float()[:, None]).round().clamp(-127, 127).to(torch.int8), key + SCALE: scale}
    described = dict(dims) if isinstance(dims, Mapping) else dataclasses.asdict(dims)
    metadata = {
        "model": name,
        "dims": json.dumps(described),
        "data": data,
        "command": command,
        "seed": str(seed),
        "emotalk": __version__,
        **extra,
    }
    with replaced(path) as part:
        save_file(written, part, metadata)
        part.chmod(0o644)  # safetensors writes for its owner alone
    _write_index(folder, {path.name: sha256(path)})
    return path


def complete(directory: str | os.PathLike[str], source: str | os.PathLike[str] | None = None) -> list[Path]:
    """Copy the weight files that a folder lacks from `source` (default: as `weights_dir`), so that it can be used.

    Returns the copies. Raises WeightsError as `weights_dir`.
    """
    folder, origin = Path(directory), weights_dir(source)
    folder.mkdir(parents=True, exist_ok=True)
    copies = []
    for name in sorted(set(index(origin)) - set(index(folder))):
        with replaced(folder / name) as part:
            shutil.copyfile(origin / name, part)
        copies.append(folder / name)
    if copies:
        _write_index(folder, {name: digest for name, digest in index(origin).items() if folder / name in copies})
    return copies


def _write_index(folder: Path, entries: dict[str, str]) -> None:
    with replaced(folder / INDEX) as part:
        part.write_text(json.dumps(index(folder) | entries, indent=1, sort_keys=True) + "\n")
