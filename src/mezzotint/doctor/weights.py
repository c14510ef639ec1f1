"""What the weights of a checkpoint say by themselves: what is no number, what never moved, which null nobody heard."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from mezzotint.conditions.part import ConditionPart
from mezzotint.doctor.finding import Finding, Unknown

Weights = Mapping[str, Tensor]


def not_finite(groups: Mapping[str, Weights], run: str) -> list[Finding]:
    """Weights that are not numbers, with the first of them.

    Arguments:
        groups: the tensors of a checkpoint by file.
        run: the folder, as it is written on a command line.
    """
    for group, tensors in groups.items():
        for name, tensor in tensors.items():
            if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
                bad = int((~tensor.isfinite()).sum())
                seen = f"{bad:,} of {tensor.numel():,} numbers of {name} in {group} are not finite"
                fix = f"mezzotint train {run} --out {run}-again --set training.precision=fp32"
                return [Finding("weights not finite", "wrong", seen, fix)]
    return []


def dead(
    averages: Mapping[str, Weights], model: Weights, before: Sequence[tuple[str, Mapping[str, Weights]]], run: str
) -> list[Finding]:
    """Averages that stayed where they were while the model moved.

    Arguments:
        averages: the newest ones, by file.
        model: the newest weights.
        before: earlier states by what they are: (name, the model under "model" and averages by file), such as the
            weights at the start, under every file's name.
        run: the folder, as it is written on a command line.
    """
    if not before:
        raise Unknown("there is one checkpoint, and the weights it began from cannot be built")
    found = []
    for name, average in averages.items():
        for when, earlier in before:
            if name not in earlier or not _moved(model, earlier["model"]):
                continue
            moved = [key for key in _moved(model, earlier["model"]) if key in average and key in earlier[name]]
            if moved and all(torch.equal(average[key], earlier[name][key]) for key in moved):
                alive = [other for other in averages if other != name and _moved(averages[other], average)]
                seen = f"{name} has not moved since {when}, while {len(moved)} tensors of the model did"
                fix = "call PowerAverage.update(model, step) after every optimiser step, and train anew"
                if alive:
                    fix = f"mezzotint sample {run} --average {alive[0].removeprefix('ema-')}; to mend it, {fix}"
                found.append(Finding("dead average", "wrong", seen, fix))
                break
    return found


def _moved(now: Weights, then: Weights) -> list[str]:
    return [key for key, value in now.items() if value.is_floating_point() and not torch.equal(value, then[key])]


def exported(average: Weights, model: Weights, name: str, run: str) -> list[Finding]:
    """An exported model that is not the average it should be."""
    other = [key for key, value in model.items() if key not in average or not torch.equal(value, average[key])]
    if not other:
        return []
    seen = (
        f"model/ holds other weights than {name} of the newest checkpoint: {len(other)} of {len(model)} tensors differ"
    )
    return [Finding("stale export", "warning", seen, f"mezzotint train {run} --resume")]


def unheard(model: nn.Module, families: Iterable[str], run: str, loss: str) -> list[Finding]:
    """Nulls that took no part in training: a model with one cannot be guided.

    Arguments:
        model: filled with the weights to look at.
        families: that the data give.
        run: the folder, as it is written on a command line.
        loss: where in its config the loss stands that drops conditions.
    """
    named = {path.rpartition(".")[2]: part for path, part in model.named_modules() if isinstance(part, ConditionPart)}
    never = [name for name in families if name in named and not bool(named[name].null_trained)]
    if not never:
        return []
    seen = f"the null of {' and '.join(never)} was never trained, so classifier-free guidance is refused"
    fix = f"mezzotint train {run} --out {run}-null --set {loss}.dropout=0.1"
    return [Finding("untrained null", "warning", seen, fix)]
