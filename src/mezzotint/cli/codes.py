"""``mezzotint train`` with an autoencoder: one of pictures, and models of the codes that one makes of them."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mezzotint.autoencoders import Autoencoder, Encoded
from mezzotint.cli.console import note, progress
from mezzotint.core import config, ranks
from mezzotint.core.errors import Refusal
from mezzotint.core.spec import PART, build, name_of, parameters, resolve, spec
from mezzotint.core.store import MODEL, model_config
from mezzotint.data import Data

CACHE = "codes"
"""The folder of caches inside the run of an autoencoder."""
KINDS = {"vq": "symbols", "kl": "real numbers"}
LAYOUT = "layout"
MODELS = ("chain", "masked", "raster", LAYOUT)
"""Models of symbols, and one of pictures from layouts, by what ``--model`` calls them."""


def is_autoencoder(tree: Any) -> bool:
    """Whether the entry ``model`` of a config is an autoencoder; it is not built."""
    name = tree.get(PART) if isinstance(tree, Mapping) else None
    try:
        return isinstance(name, str) and issubclass(resolve(name, MODEL), Autoencoder)
    except Refusal:  # of a package that is not here
        return False


def check(autoencoder: str | None, codes: str | None, model: str | None) -> None:
    """Refuse flags that contradict each other, before any picture is read."""
    if autoencoder is not None and autoencoder not in KINDS:
        raise Refusal(f"--autoencoder is vq (codes are symbols) or kl (codes are real numbers), not {autoencoder!r}")
    if autoencoder is not None and (codes is not None or model is not None):
        raise Refusal(
            "--autoencoder trains what makes codes, and --codes and --model a model of them: train the autoencoder "
            "first, then the model with --codes and the folder of that run"
        )
    if model is not None and model not in MODELS:
        raise Refusal(f"--model is {', '.join(MODELS[:-1])} or {MODELS[-1]}, not {model!r}")


def suffix(autoencoder: str | None, codes: str | None, model: str | None) -> str:
    """What the name of a run says beyond that of its pictures."""
    return f"-{autoencoder or model or 'codes'}" if autoencoder or model or codes is not None else ""


def coded(pictures: Data, folder: str) -> Encoded:
    """The codes of pictures by the autoencoder of a run, encoded now and kept inside that run.

    Raises:
        Refusal: there is no autoencoder, or it takes other pictures.
    """
    if not Path(folder).is_dir() or not is_autoencoder(model_config(folder)["model"]):
        raise Refusal(
            f"--codes names the run of an autoencoder, and {folder!r} is none: mezzotint train PICTURES --autoencoder "
            "vq trains one"
        )
    here = os.access(folder, os.W_OK)
    if not here:
        note(f"{folder} cannot be written to, so the codes are kept in memory and made anew by every run")
    data = Encoded.of(pictures, folder, cache=str(Path(folder, CACHE)) if here else None)
    for split in (data, *_others(data)):
        _encode(split)
    return data


def _others(data: Encoded) -> list[Encoded]:
    try:
        others = data.held_out()
    except Refusal:  # nothing was held out
        return []
    return [others] if len(others) else []


def _encode(data: Encoded) -> None:
    import torch

    if ranks.main() and data.missing:
        note(f"encoding {len(data):,} pictures ({data.split})")
        with progress("encoding", "pictures") as meter:
            data.build(meter, "cuda" if torch.cuda.is_available() else "cpu")
    ranks.wait()


def tree(
    data: Data, autoencoder: str | None, model: str | None, *, images: int, seed: int, **more: Any
) -> dict[str, Any]:
    """The config of the usual training: of an autoencoder, of a named model, or of what suits the data.

    Arguments:
        data: pictures, codes or other samples.
        autoencoder: ``vq`` or ``kl``.
        model: of ``MODELS``.
        images, seed: of the training.
        more: settings such as ``width`` and ``batch``.
    """
    from mezzotint.recipes import of_data

    if autoencoder is not None:
        from mezzotint.recipes import codes

        return codes.of_data(data, seed, kind=autoencoder, images=images, **more)
    if model == LAYOUT:
        from mezzotint.recipes import layouts

        return layouts.of_data(data, seed=seed, images=images, **more)
    if model is not None and data.vocab is None:
        made = "real codes" if isinstance(data, Encoded) else "no symbols"
        raise Refusal(
            f"--model {model} is of symbols, and these data hold {made}: leave --model out, or make symbols of the "
            "pictures (mezzotint train PICTURES --autoencoder vq, then --codes)"
        )
    if model in ("chain", "raster"):
        from mezzotint.recipes import chains

        return chains.of_data(data, seed=seed, images=images, **({"stages": 1} if model == "raster" else {}), **more)
    return of_data(data, images=images, seed=seed, **more)


def again(before: Mapping[str, Any], pictures: Data, codes: str | None) -> dict[str, Any]:
    """The config of a run that goes on, with the pictures as they are found now; its model is as it was.

    Arguments:
        before: its config.
        pictures: the source of its codes, or its data.
        codes: where the autoencoder lies now; None: where it lay.
    """
    if is_codes(before):
        inside = {**before["data"], "source": spec(pictures)}
        if codes is not None:
            inside |= {"folder": codes, "cache": str(Path(codes, CACHE))}
        data: Encoded = build(inside)
        return {**before, "data": spec(data.check())}
    return {**before, "data": spec(pictures)}


def edits(tree: Mapping[str, Any], changes: list[str]) -> list[str]:
    """Edits of a config, those of pictures behind codes where they lie: ``data.size`` is ``data.source.size`` there.

    An autoencoder that moved took along the codes that are kept in its folder.
    """
    if not is_codes(tree):
        return changes
    own = set(parameters(Encoded))
    data = tree["data"]
    if data.get("cache") == str(Path(str(data.get("folder")), CACHE)) and not any(
        _key(one) == "data.cache" for one in changes
    ):
        moved = config.edit({"data": {"folder": None}}, [one for one in changes if _key(one) == "data.folder"])
        folder = moved["data"]["folder"]
        if isinstance(folder, str):  # else the codes would be made anew where the autoencoder is no more
            here = str(Path(folder, CACHE)) if os.access(folder, os.W_OK) else None
            changes = [*changes, f"data.cache={json.dumps(here)}"]

    def placed(change: str) -> str:
        room, dot, rest = change.strip().partition(".")
        inside = room == "data" and dot and re.split(r"[.=+\s]", rest)[0] not in own
        return f"data.source.{rest}" if inside else change

    return [placed(change) for change in changes]


def _key(change: str) -> str:
    """What an edit ``key=value`` is of."""
    return change.partition("=")[0].strip().removesuffix("+").strip()


def is_codes(before: Mapping[str, Any]) -> bool:
    """Whether a config is of a model of codes."""
    data = before.get("data")
    return isinstance(data, Mapping) and data.get(PART) == name_of(Encoded)


def is_ours(before: Mapping[str, Any]) -> bool:
    """Whether a run was written by more than its data: it is an autoencoder, a model of codes, or one in phases."""
    training = before.get("training")
    phased = isinstance(training, Mapping) and bool(training.get("then"))
    return phased or is_codes(before) or is_autoencoder(before.get("model"))
