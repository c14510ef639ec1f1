"""Weights on disk: safetensors, a config beside them, and folders that are whole or absent.

A *model folder* describes itself: ``config.yaml`` (the spec, with a schema number), ``model.safetensors`` and
``manifest.json`` with the size and SHA-256 of every file (:mod:`mezzotint.core.folder`). No pickle is read or written
anywhere.

A model folder may come from a stranger. What it may build is bounded (``MODEL``), its model is measured on the meta
device, and the header of its weights is compared with that, name by name, before memory is allocated for either.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from mezzotint.core import config
from mezzotint.core.blueprint import PARAMETERS, blueprint
from mezzotint.core.bounded import inside
from mezzotint.core.errors import Refusal
from mezzotint.core.folder import MANIFEST, SCHEMA, check_folder, sha256, steady, write_folder
from mezzotint.core.spec import build, make, name_of, spec

__all__ = [
    "DATA",
    "MANIFEST",
    "MODEL",
    "SCHEMA",
    "check_fit",
    "check_folder",
    "data_set",
    "fill_module",
    "header",
    "load_model",
    "load_tensors",
    "model_config",
    "model_folder",
    "save_model",
    "save_tensors",
    "settled",
    "sha256",
    "weights",
    "write_folder",
]

T = TypeVar("T")
CONFIG, WEIGHTS = "config.yaml", "model.safetensors"
MODEL = (
    "networks",
    "processes",  # what corrupts: of a denoiser, of a guidance's tables
    "conditions",  # the encoder of a denoiser
    "denoiser",
    "samplers",  # the usual sampler that a folder names, its grid, and what one sampler wraps another in
    "guidance",  # a guidance may be saved around its denoiser, and a picture names the one it was drawn with
    "rewards",  # what a guidance or a shifted sampler follows
    "operators",  # what guidance.Projection has seen of a picture
    "metrics",  # rewards.Classifier reads the classifier there; its other parts are no parts of a config
    "autoencoders",  # a model of their own; Encoded there is a data set, of the room data as well, and refused by that
)
"""The rooms whose parts a model folder, or a picture that is repeated, may build: none of them reads a file."""
DATA = ("data", "autoencoders", "operators")
"""The rooms of data sets, and of what is measured of one; what has weights is none, see :func:`data_set`."""
_HEADER = 2**24  # bytes of JSON before the weights: about a hundred thousand names
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_TYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
Header = dict[str, tuple[torch.dtype, tuple[int, ...]]]


def save_tensors(path: str | Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors as safetensors, each contiguous and on the CPU; what the disk refuses is an ``OSError``."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        save_file({n: t.detach().cpu().contiguous().clone() for n, t in tensors.items()}, str(path))
    except SafetensorError as error:
        code = re.search(r"\(os error (\d+)\)", str(error))
        if code is None:
            raise
        raise OSError(int(code[1]), os.strerror(int(code[1])), str(path)) from None


def header(path: str | Path) -> Header:
    """The type and the shape of every tensor of a safetensors file; the tensors themselves are not read.

    The library checks that they fill the file to its last byte without overlap, so they are no larger than it is.

    Raises:
        Refusal: the file is missing, truncated, no safetensors file, or holds types that a model of ours cannot have.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with Path(path).open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
        if length > _HEADER:
            raise Refusal(f"the weights {str(path)!r} are damaged: they announce a header of {length:,} bytes")
        with safe_open(str(path), "pt") as opened:
            slices = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118  (no mapping)
            said = {name: (str(found.get_dtype()), tuple(found.get_shape())) for name, found in slices.items()}
    except FileNotFoundError:
        raise Refusal(f"there are no weights {str(path)!r}") from None
    except Refusal:
        raise
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise Refusal(f"the weights {str(path)!r} are truncated or damaged: {error}") from None
    for name, (dtype, _) in said.items():
        if dtype not in _TYPES:
            raise Refusal(f"the weights {str(path)!r} hold {name[:200]!r} as {dtype}, which no model here is made of")
    return {name: (_TYPES[dtype], shape) for name, (dtype, shape) in said.items()}


def load_tensors(path: str | Path, like: torch.nn.Module | None = None) -> dict[str, Tensor]:
    """Read safetensors onto the CPU; truncated or foreign files are refused.

    Arguments:
        path: the file.
        like: a module they must fit, which may lie on the meta device; it is asked before anything is allocated.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    found = header(path)
    if like is not None:
        check_fit(like, found, repr(str(path)))
    try:
        return load_file(str(path))
    except FileNotFoundError:
        raise Refusal(f"there are no weights {str(path)!r}") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise Refusal(f"the weights {str(path)!r} are truncated or damaged: {error}") from None


def weights(module: torch.nn.Module) -> dict[str, Tensor]:
    """Every tensor of a module under one name: a part that is used twice is kept once, under the first."""
    seen: set[int] = set()
    found: dict[str, Tensor] = {}
    for name, tensor in module.state_dict(keep_vars=True).items():
        if id(tensor) not in seen:
            seen.add(id(tensor))
            found[name] = tensor.detach()
    return found


def check_fit(module: torch.nn.Module, found: Header, where: str) -> None:
    """Refuse weights whose names, shapes and types are not those of a module, which may lie on the meta device.

    What two parts share may be there under one of its names, as :func:`weights` has it, or under all. Floating-point
    numbers of 16, 32 and 64 bits stand for each other; other types are exactly the module's.
    """
    own, needed = module.state_dict(), weights(module)
    other = "it belongs to another architecture"
    for name in sorted(needed.keys() | found.keys()):
        if name not in found:
            raise Refusal(f"{where} lacks the weight {name!r} of this model: {other}")
        if name not in own:
            raise Refusal(f"{where} holds a weight {name[:200]!r} that this model does not have: {other}")
        dtype, shape = found[name]
        if own[name].shape != shape:
            raise Refusal(
                f"{where} holds {name!r} of shape {shape}, this model needs {tuple(own[name].shape)}: {other}"
            )
        if own[name].dtype != dtype and not (own[name].dtype in _FLOATS and dtype in _FLOATS):
            raise Refusal(f"{where} holds {name!r} as {dtype}, this model needs {own[name].dtype}: {other}")


def fill_module(module: torch.nn.Module, tensors: Mapping[str, Tensor], where: str) -> None:
    """Put weights into a module after :func:`check_fit`."""
    check_fit(module, {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()}, where)
    module.load_state_dict(dict(tensors), strict=False)  # what may be missing was settled above


def save_model(path: str | Path, model: torch.nn.Module, *, card: str = "", **extra: Any) -> Path:
    """Write a self-describing model folder.

    Arguments:
        path: the folder; one already there is replaced once the new one is complete.
        model: a part (its spec goes into ``config.yaml``), usually a denoiser.
        card: markdown for people, written as ``README.md``.
        extra: further plain data or parts for ``config.yaml`` (the usual sampler, class names).
    """
    tree = {"schema": SCHEMA, "model": spec(model), **{name: spec(value) for name, value in extra.items()}}

    def fill(folder: Path) -> None:
        (folder / CONFIG).write_text(config.dumps(tree), encoding="utf-8")
        save_tensors(folder / WEIGHTS, weights(model))
        if card:
            (folder / "README.md").write_text(card, encoding="utf-8")

    return write_folder(path, fill, replace=True)


def model_config(path: str | Path) -> dict[str, Any]:
    """The config of a model folder, or of the ``model/`` folder of a run, after checking its schema."""
    return settled(path, lambda: _model_config(_model_folder(Path(path))))


def _model_config(folder: Path) -> dict[str, Any]:
    tree, where = config.load(inside(folder, CONFIG)), repr(str(folder / CONFIG))
    if not isinstance(tree, dict) or "model" not in tree:
        raise Refusal(f"{where} does not describe a model")
    if tree.get("schema") != SCHEMA:
        raise Refusal(
            f"{str(folder)!r} has schema {repr(tree.get('schema'))[:50]}, this version of mezzotint reads {SCHEMA}"
        )
    for key, what in (("classes", "the names of classes"), ("captions", "captions")):
        said = tree.get(key)
        if said is not None and not (isinstance(said, list) and all(isinstance(text, str) for text in said)):
            raise Refusal(f"{key!r} in {where} is {repr(said)[:100]}, but {what} are a list of strings")
    return tree


def model_folder(path: str | Path) -> Path:
    """The model folder meant by ``path``: itself, or the ``model/`` inside a run folder, which must not be a link."""
    return settled(path, lambda: _model_folder(Path(path)))


def data_set(tree: Any) -> Any:
    """Build the entry ``data`` of a config that may be a stranger's: parts of ``DATA`` without weights of their own.

    An autoencoder is named there by its folder and its hash, and is measured when that is opened; one that is written
    into the tree is refused before it takes memory.
    """

    def call(cls: type, arguments: dict[str, Any]) -> Any:
        if issubclass(cls, torch.nn.Module):
            raise Refusal(f"{name_of(cls)} has weights, and no data set is made of such; name its folder instead")
        return cls(**arguments)

    return make(tree, DATA, call)


def settled(path: str | Path, read: Callable[[], T]) -> T:
    """What ``read`` makes of a run or model folder, all of it of one model: a training may replace it meanwhile."""
    return steady((Path(path), Path(path) / "model"), read)


def _model_folder(path: Path) -> Path:
    if not path.is_dir():
        raise Refusal(f"there is no run or model folder {str(path)!r}")
    for folder in (path / "model", path):
        if folder != path and folder.is_symlink():
            raise Refusal(f"{str(folder)!r} is a link, which may lead anywhere; give the model folder that you mean")
        if (folder / WEIGHTS).is_file() or (folder / MANIFEST).is_file():
            return folder
    raise Refusal(f"{str(path)!r} holds no finished model yet: no model/ folder with weights is in it")


def load_model(path: str | Path, device: torch.device | str = "cpu", parameters: int = PARAMETERS) -> Any:
    """Build the model of a run or model folder and put its weights in, frozen and ready to sample.

    Arguments:
        path: the folder; it may be a stranger's.
        device: where the model goes.
        parameters: how many it may have; see :func:`~mezzotint.core.blueprint.blueprint`.
    """
    model: torch.nn.Module = settled(path, lambda: _load_model(_model_folder(Path(path)), parameters))
    return model.to(device)


def _load_model(folder: Path, parameters: int) -> torch.nn.Module:
    named = check_folder(folder)
    for name in (CONFIG, WEIGHTS):
        if name not in named:
            raise Refusal(f"the {MANIFEST} of {str(folder)!r} does not name {name!r}, so nobody vouches for it")
    tree, file = _model_config(folder)["model"], folder / WEIGHTS
    planned = blueprint(tree, MODEL, parameters)
    if not isinstance(planned, torch.nn.Module):
        raise Refusal(f"the config of {str(folder)!r} does not describe a model with weights")
    tensors = load_tensors(file, like=planned)
    model: torch.nn.Module = build(tree, MODEL)
    fill_module(model, tensors, repr(str(file)))
    return model.eval().requires_grad_(False)
