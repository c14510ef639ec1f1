"""What a checkpoint holds, and how a run goes on from it."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from mezzotint.core import ranks
from mezzotint.core.errors import Refusal
from mezzotint.core.spec import spec
from mezzotint.core.store import Header, check_fit, fill_module, header, load_tensors, save_model
from mezzotint.core.text import spoken
from mezzotint.data.data import Data
from mezzotint.data.licence import licence_of, said
from mezzotint.samplers.base import Sampler
from mezzotint.training.ema import PowerAverage, combination, combine, gamma_of
from mezzotint.training.levels import BINS
from mezzotint.training.preview import noun
from mezzotint.training.run import Run

WINDOW = "window"
"""The file of what was measured since the last log line, so that the next one says the same after a stop."""


def average_name(sigma_rel: float) -> str:
    """The file of an average: ``ema-0.050``."""
    return f"ema-{sigma_rel:.3f}"


@dataclass(frozen=True)
class Place:
    """Where a run stands beside its tensors.

    Arguments:
        step: optimiser steps done, skipped ones counted.
        skipped, running: steps that were not finite, in all and in a row just now.
        window: what the recorder has kept since its last log line.
    """

    step: int = 0
    skipped: int = 0
    running: int = 0
    window: Mapping[str, Tensor] = field(default_factory=dict)


def store(
    run: Run,
    turn: nn.Module,
    averages: Sequence[PowerAverage],
    optimizer: Any,
    place: Place,
    batch: int,
    seed: int,
    data: Data,
) -> Path:
    """Write the checkpoint of a place: model, averages, objective, optimiser, counters and open figures."""
    objective, model = turn.get_submodule("objective"), turn.get_submodule("model")
    tensors: dict[str, dict[str, Tensor]] = {"model": model.state_dict()}
    tensors |= {average_name(a.sigma_rel): a.model.state_dict() for a in averages}
    if objective.state_dict():
        tensors["objective"] = objective.state_dict()
    held: dict[str, Tensor] = {}
    for index, values in optimizer.state_dict()["state"].items():
        held |= {f"{index}.{name}": torch.as_tensor(value) for name, value in values.items()}
    tensors["optimizer"] = held
    if place.window:
        tensors[WINDOW] = dict(place.window)
    images = place.step * batch
    state: dict[str, Any] = {"step": place.step, "images": images, "batch": batch, "seed": seed}
    state |= {"data": data.mark, "skipped": place.skipped, "skipped_running": place.running}
    state["averages"] = [
        {"sigma_rel": a.sigma_rel, "gamma": a.gamma, "file": average_name(a.sigma_rel)} for a in averages
    ]
    return run.save(images, tensors, state)


def restore(
    run: Run,
    turn: nn.Module,
    averages: Sequence[PowerAverage],
    optimizer: Any,
    batch: int,
    seed: int,
    data: Data,
) -> Place:
    """Put the newest complete checkpoint back and return its place, the beginning without one.

    A damaged checkpoint is passed over with a word on standard error; the one before it is used. Where there are some
    and all are damaged, nothing is trained over them. Every file is asked for its shapes before the first is read.
    All of several processes have to ask; they go on from one checkpoint, that of the first.
    """
    found = _newest(run)
    if found is None:
        return Place()
    images, files, state = found
    where = f"the checkpoint of {images} images in {str(run.path)!r}"
    if state.get("batch") != batch:
        raise Refusal(
            f"{where} was trained with batches of {state.get('batch')}, not {batch}: a run keeps its batch size"
        )
    if state.get("seed", seed) != seed:
        raise Refusal(f"{where} was trained with the seed {state['seed']}, not {seed}: a run keeps its seed")
    if state.get("data", data.mark) != data.mark:
        raise Refusal(
            f"{where} was trained on other pictures than are there now: some were added, removed or changed, and a run "
            "keeps its data; bring them back, or train into a new folder"
        )
    for average in averages:
        if average_name(average.sigma_rel) not in files:
            raise Refusal(f"{where} has no average of relative length {average.sigma_rel}; a run keeps its averages")
    modules = {"model": turn.get_submodule("model"), "objective": turn.get_submodule("objective")}
    modules |= {average_name(average.sigma_rel): average.model for average in averages}
    for name, module in modules.items():
        try:
            check_fit(module, header(files[name]) if name in files else {}, f"the {name} in {where}")
        except Refusal as refusal:
            if name != "objective":
                raise
            raise Refusal(
                f"{refusal}; a loss with weights of its own, such as a decoder's, is trained from the first step on "
                "and to the last: train into a new folder"
            ) from None
    _check_moments(header(files["optimizer"]) if "optimizer" in files else {}, optimizer, where)
    counters = _counters(state, header(files[WINDOW]) if WINDOW in files else {}, where)
    for name, module in modules.items():
        fill_module(module, load_tensors(files[name]) if name in files else {}, f"the {name} in {where}")
    filled: dict[int, dict[str, Tensor]] = {}
    for name, value in (load_tensors(files["optimizer"]) if "optimizer" in files else {}).items():
        index, _, key = name.partition(".")
        filled.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({"state": filled, "param_groups": optimizer.state_dict()["param_groups"]})
    return Place(*counters, load_tensors(files[WINDOW]) if WINDOW in files else {})


def _newest(run: Run) -> tuple[int, dict[str, Path], dict[str, Any]] | None:
    """Images, files and state of the newest checkpoint that is whole; None where there is none at all.

    The first of several processes decides, and the others read the very same: gradients of different steps must not
    be mixed because one of them sees a disk as it was, or cannot read what the others can.
    """
    with ranks.agreed():
        found = _whole(run) if ranks.main() else None
    chosen = ranks.texts("" if found is None else f"{found[0]} {run.seal(found[0])}")[0]
    if ranks.main() or not chosen:
        return found
    images, seal = int(chosen.split()[0]), chosen.split()[1]
    try:
        files, state = run.files(images)
        same = run.seal(images) == seal
    except (Refusal, OSError) as error:
        raise Refusal(
            f"the first process goes on from the checkpoint of {images} images, which cannot be read here ({error}); "
            "the run folder has to be the same for all of them"
        ) from None
    if not same:
        raise Refusal(
            f"the checkpoint of {images} images in {str(run.path)!r} is another one here than at the first process; "
            "the run folder has to be the same for all of them"
        )
    return images, files, state


def _whole(run: Run) -> tuple[int, dict[str, Path], dict[str, Any]] | None:
    """The newest checkpoint that is whole for this process; damaged ones are passed over with a word."""
    damaged: Refusal | None = None
    for images in run.latest():
        try:
            return images, *run.files(images)
        except Refusal as refusal:
            print(f"passing over a checkpoint: {refusal}", file=sys.stderr)
            damaged = refusal
    if damaged is not None:
        raise Refusal(
            f"no checkpoint in {str(run.path)!r} is whole, so the run cannot go on; train into a new folder ({damaged})"
        )
    return None


def _counters(state: Mapping[str, Any], window: Header, where: str) -> tuple[int, int, int]:
    """Steps, skipped steps and those in a row by the state of a checkpoint; refused where it tells of no place."""
    step, skipped, running = state.get("step"), state.get("skipped", 0), state.get("skipped_running", 0)
    told = all(type(counter) is int and counter >= 0 for counter in (step, skipped, running))
    losses = window["losses"][1] if "losses" in window else ()
    figures = {"losses": (torch.float64, losses[:1] or (0,)), "levels": (torch.float64, (BINS, 3))}
    if not told or window not in ({}, figures):
        raise Refusal(f"{where} does not say where it stands: its state or its open figures are not of this version")
    return cast(int, step), skipped, running


def _check_moments(found: Header, optimizer: Any, where: str) -> None:
    """Refuse moments that are not those of the weights: ``<index>.<moment>``, a number or as large as its weight."""
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    for name, (dtype, shape) in found.items():
        index = name.partition(".")[0]
        fits = index.isascii() and index.isdecimal() and len(index) < 10 and int(index) < len(weights)
        if not fits or not dtype.is_floating_point or shape not in ((), tuple(weights[int(index)].shape)):
            raise Refusal(f"{where} holds a moment {name[:200]!r} of shape {shape} that no weight of this model has")


def export(run: Run, average: PowerAverage, data: Data, sampler: Sampler, images: int) -> None:
    """Write ``model/``: the average of the weights with its config, its usual sampler and its card."""
    examples = data.examples
    captions = spoken(examples["caption"]) if "caption" in examples else []
    lines = [
        f"# A model of {len(data)} {noun(data)}",
        "",
        f"Trained by mezzotint for {images} images on samples of shape {tuple(data.shape)}; these are the weights "
        f"averaged with relative length {average.sigma_rel:g}.",
        "",
        f"Classes: {', '.join(data.classes) or 'none'}.",
        "",
        *(["It draws what a caption says, such as:", "", *_listed(captions), ""] if captions else []),
        "It was judged on nothing but what the run's report says, and it knows nothing but its data: do not use its "
        f"{noun(data)} as evidence of anything, and mind the rights in the {noun(data)} it was trained on.",
        *(["", said(spec(data))] if licence_of(spec(data))[1] is not None else []),
        "",
    ]
    save_model(
        run.path / "model",
        average.model,
        card="\n".join(lines),
        sampler=sampler,
        classes=tuple(data.classes),
        data=data,
        **({"captions": tuple(captions)} if captions else {}),
    )


def _listed(texts: Sequence[str]) -> list[str]:
    """Texts as a list in markdown; what is in one must not become markup."""
    plain = (" ".join(text.split()).translate({ord(c): None for c in "`"}) for text in texts)
    return [f"- `{text}`" for text in plain if text]


def reconstruct(run: Run, sigma_rel: float, model: nn.Module, images: int | None = None) -> nn.Module:
    """Fill ``model`` with the average of relative length ``sigma_rel`` at ``images``, from all snapshots up to there.

    A damaged checkpoint is passed over with a word on standard error, but for the one that is asked for.

    Arguments:
        run: whose checkpoints to combine.
        sigma_rel: any length in (0, 0.28]; it is good near and between the lengths that were tracked.
        model: what receives the weights.
        images: at which checkpoint; None: the last that is whole.
    """
    done = run.checkpoints()
    if not done:
        raise Refusal(f"{str(run.path)!r} has no checkpoint to average")
    if images is not None and images not in done:
        raise Refusal(f"there is no checkpoint at {images} images; there are {', '.join(map(str, done))}")
    steps: list[float] = []
    gammas: list[float] = []
    snapshots: list[dict[str, Tensor]] = []
    end = 0
    for seen in done if images is None else done[: done.index(images) + 1]:
        try:
            files, state = run.files(seen)
        except Refusal as refusal:
            if seen == images:
                raise
            print(f"passing over a checkpoint: {refusal}", file=sys.stderr)
            continue
        for entry in state["averages"]:
            steps.append(state["step"])
            gammas.append(entry["gamma"])
            snapshots.append(load_tensors(files[entry["file"]], like=model))
        end = state["step"]
    if not snapshots:
        raise Refusal(f"no checkpoint in {str(run.path)!r} is whole, so there is nothing to average")
    weights = combination(steps, gammas, end, gamma_of(sigma_rel))
    fill_module(model, combine(snapshots, weights), "the combination of snapshots")
    return model
