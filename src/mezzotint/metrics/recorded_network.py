"""Networks that see pictures for a measure, with a record: how they are trained, written and read.

A classifier and a segmenter differ in what they answer and in their loss; the rest is here once.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from mezzotint.core.blueprint import blueprint
from mezzotint.core.bounded import read_json
from mezzotint.core.errors import Refusal
from mezzotint.core.spec import build
from mezzotint.core.stop import poll
from mezzotint.core.store import WEIGHTS, check_folder, fill_module, load_tensors, save_tensors, write_folder
from mezzotint.metrics.features import RECORD
from mezzotint.metrics.pictures import fingerprint

_RATE = 4e-3
Net = TypeVar("Net", bound=nn.Module)


def digest(network: nn.Module) -> str:
    """SHA-256 of the weights, by name in the order of the network."""
    return fingerprint(*network.state_dict().values())


def fit(
    network: nn.Module, loss: Callable[[Tensor], Tensor], count: int, batch: int, seen: int, generator: torch.Generator
) -> None:
    """Minimise a loss by AdamW on a one-cycle rate: up for a fifth of the way, then down along a half cosine.

    Arguments:
        network: what is trained, in place.
        loss: of some rows, a scalar.
        count: how many rows there are.
        batch: rows a step, all of them where there are fewer.
        seen: rows in all, counted with repetition.
        generator: of their order.
    """
    optimizer = torch.optim.AdamW(network.parameters(), lr=_RATE, weight_decay=0.01, fused=True)
    rows, steps = torch.empty(0, dtype=torch.int64), math.ceil(seen / batch)
    for step in range(steps):
        poll()
        if len(rows) < min(batch, count):
            rows = torch.randperm(count, generator=generator)
        some, rows = rows[:batch], rows[batch:]
        way = (step + 1) / steps
        rate = way / 0.2 if way < 0.2 else 0.5 * (1 + math.cos(math.pi * (way - 0.2) / 0.8))
        for group in optimizer.param_groups:
            group["lr"] = _RATE * rate
        value = loss(some)
        optimizer.zero_grad()
        torch.autograd.backward(value)
        optimizer.step()


def write(path: str | Path, record: dict[str, Any], network: nn.Module) -> Path:
    """Write a folder with the record, the weights as safetensors, and a manifest of hashes."""

    def fill(folder: Path) -> None:
        (folder / RECORD).write_text(json.dumps(record, indent=1), encoding="utf-8")
        save_tensors(folder / WEIGHTS, network.state_dict())

    return write_folder(path, fill, replace=True)


def read(path: str | Path, kind: type[Net], noun: str, what: str, *needed: str) -> tuple[Net, dict[str, Any]]:
    """The network of a folder, frozen, and its record.

    Arguments:
        path: of the folder.
        kind: of the network.
        noun: what a refusal calls what it was written by, such as ``extractor``.
        what: what it calls the network.
        needed: further entries that the record has to have.

    Raises:
        Refusal: the folder is damaged, holds something else, or weights that its record does not name.
    """
    folder = Path(path)
    check_folder(folder)
    try:
        record: dict[str, Any] = read_json(folder / RECORD)
        tree, due, *_ = (record[name] for name in ("spec", "sha256", *needed))
    except (Refusal, LookupError, TypeError):
        raise Refusal(f"{str(folder)!r} holds no {noun}: its {RECORD} is missing or unreadable") from None
    planned, file = blueprint(tree, ("metrics",)), folder / WEIGHTS
    if not isinstance(planned, kind):
        raise Refusal(f"{str(folder)!r} does not describe a {what}")
    tensors = load_tensors(file, like=planned)
    network: Net = build(tree, ("metrics",))
    fill_module(network, tensors, repr(str(file)))
    if digest(network) != due:
        raise Refusal(f"the weights in {str(folder)!r} are not those its record names; train the {noun} again")
    return network.eval().requires_grad_(False), record
