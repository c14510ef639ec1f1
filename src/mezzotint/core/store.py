"""Weights and folders on disk: safetensors, a config beside them, and writes that are whole or absent.

A *model folder* describes itself: ``config.yaml`` (the spec, with a schema number), ``model.safetensors`` and
``manifest.json`` with the size and SHA-256 of every file. A folder is written under a temporary name, flushed, its
manifest last, and renamed once, so a folder with its final name is complete. No pickle is read or written anywhere.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mezzotint.core import config
from mezzotint.core.errors import Refusal
from mezzotint.core.spec import build, spec

SCHEMA = 1
MANIFEST = "manifest.json"


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_folder(path: str | Path, fill: Callable[[Path], None], replace: bool = False) -> Path:
    """Write a folder that is whole or absent: ``fill`` writes into a temporary one, a manifest of hashes comes last.

    Arguments:
        path: the final place.
        fill: writes the files into the folder it is given.
        replace: whether a folder already there gives way (it is removed only after the new one is complete).
    """
    path = Path(path)
    if path.exists() and not replace:
        raise Refusal(f"{str(path)!r} exists already")
    path.parent.mkdir(parents=True, exist_ok=True)
    work = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    try:
        fill(work)
        files = sorted(p for p in work.rglob("*") if p.is_file())
        entries = {str(p.relative_to(work)): {"bytes": p.stat().st_size, "sha256": sha256(p)} for p in files}
        (work / MANIFEST).write_text(json.dumps({"schema": SCHEMA, "files": entries}, indent=1), encoding="utf-8")
        for file in [*files, work / MANIFEST, work]:
            _flush(file)
        old = path.with_name(f".{path.name}.{os.getpid()}.old")
        if path.exists():
            if not replace:
                raise Refusal(f"{str(path)!r} exists already")
            path.rename(old)
        try:
            work.rename(path)
        except OSError:
            if old.exists():
                old.rename(path)
            raise
        _flush(path.parent)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return path


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def check_folder(path: Path) -> None:
    """Refuse a folder whose files are not those of its manifest."""
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        schema = manifest["schema"]
        entries = {name: (entry["bytes"], entry["sha256"]) for name, entry in manifest["files"].items()}
    except FileNotFoundError:
        raise Refusal(f"{str(path)!r} has no {MANIFEST}, so it is not a complete folder of mezzotint") from None
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise Refusal(f"the {MANIFEST} of {str(path)!r} cannot be read: {error}") from None
    if schema != SCHEMA:
        raise Refusal(f"{str(path)!r} has schema {schema}, but this version of mezzotint reads schema {SCHEMA}")
    for name, (size, digest) in entries.items():
        file = path / name
        if ".." in Path(name).parts or Path(name).is_absolute():
            raise Refusal(f"the {MANIFEST} of {str(path)!r} names a file outside its folder: {name!r}")
        if not file.is_file():
            raise Refusal(f"{str(file)!r} is missing")
        found = file.stat().st_size
        if found != size:
            raise Refusal(f"{str(file)!r} is truncated or altered: it has {found} bytes, {size} were written")
        if sha256(file) != digest:
            raise Refusal(f"{str(file)!r} is damaged: its SHA-256 is not the one that was written")


def save_tensors(path: str | Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors as safetensors, each contiguous and on the CPU."""
    from safetensors.torch import save_file

    save_file({n: t.detach().cpu().contiguous().clone() for n, t in tensors.items()}, str(path))


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
