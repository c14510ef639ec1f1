"""Weights on disk: safetensors, a config beside them, and folders that are whole or absent.

A *model folder* describes itself: ``config.yaml`` (the spec, with a schema number), ``model.safetensors`` and
``manifest.json`` with the size and SHA-256 of every file (:mod:`mezzotint.core.folder`). No pickle is read or written
anywhere.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mezzotint.core import config
from mezzotint.core.errors import Refusal
from mezzotint.core.folder import MANIFEST, SCHEMA, check_folder, sha256, write_folder
from mezzotint.core.spec import build, spec

__all__ = [
    "MANIFEST",
    "SCHEMA",
    "check_folder",
    "fill_module",
    "load_model",
    "load_tensors",
    "model_config",
    "model_folder",
    "save_model",
    "save_tensors",
    "sha256",
    "weights",
    "write_folder",
]


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


def load_tensors(path: str | Path) -> dict[str, Tensor]:
    """Read safetensors onto the CPU; truncated or foreign files are refused."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

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


def fill_module(module: torch.nn.Module, tensors: Mapping[str, Tensor], where: str) -> None:
    """Put weights into a module after checking that names and shapes are exactly the module's.

    What two parts share may be there under one of its names, as :func:`weights` has it, or under all.
    """
    own, needed = module.state_dict(), weights(module)
    other = "it belongs to another architecture"
    for name in sorted(needed.keys() | tensors.keys()):
        if name not in tensors:
            raise Refusal(f"{where} lacks the weight {name!r} of this model: {other}")
        if name not in own:
            raise Refusal(f"{where} holds a weight {name!r} that this model does not have: {other}")
        if own[name].shape != tensors[name].shape:
            raise Refusal(
                f"{where} holds {name!r} of shape {tuple(tensors[name].shape)}, "
                f"this model needs {tuple(own[name].shape)}: {other}"
            )
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
        (folder / "config.yaml").write_text(config.dumps(tree), encoding="utf-8")
        save_tensors(folder / "model.safetensors", weights(model))
        if card:
            (folder / "README.md").write_text(card, encoding="utf-8")

    return write_folder(path, fill, replace=True)


def model_config(path: str | Path) -> dict[str, Any]:
    """The config of a model folder, or of the ``model/`` folder of a run, after checking its schema."""
    folder = model_folder(path)
    tree = config.load(folder / "config.yaml")
    if not isinstance(tree, dict) or "model" not in tree:
        raise Refusal(f"{str(folder / 'config.yaml')!r} does not describe a model")
    if tree.get("schema") != SCHEMA:
        raise Refusal(f"{str(folder)!r} has schema {tree.get('schema')}, this version of mezzotint reads {SCHEMA}")
    return tree


def model_folder(path: str | Path) -> Path:
    """The model folder meant by ``path``: itself, or the ``model/`` inside a run folder."""
    path = Path(path)
    if not path.is_dir():
        raise Refusal(f"there is no run or model folder {str(path)!r}")
    for folder in (path / "model", path):
        if (folder / "model.safetensors").is_file() or (folder / MANIFEST).is_file():
            return folder
    raise Refusal(f"{str(path)!r} holds no finished model yet: no model/ folder with weights is in it")


def load_model(path: str | Path, device: torch.device | str = "cpu") -> Any:
    """Build the model of a run or model folder and put its weights in, frozen and ready to sample."""
    folder = model_folder(path)
    check_folder(folder)
    model = build(model_config(folder)["model"])
    if not isinstance(model, torch.nn.Module):
        raise Refusal(f"the config of {str(folder)!r} does not describe a model with weights")
    fill_module(model, load_tensors(folder / "model.safetensors"), repr(str(folder / "model.safetensors")))
    return model.eval().requires_grad_(False).to(device)
