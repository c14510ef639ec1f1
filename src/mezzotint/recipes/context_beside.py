"""Context prediction beside a loss: what it costs, what it weighs, what it reads and what it leaves alone.

The networks are small but whole, with weights drawn at random and none left at zero: U-Nets on four processes, and a
transformer of symbols. What the term must be is said in other words: loops over a picture's neighbours, weights of
levels in closed form, layers that are counted as they are called.

Source: Yang et al. 2023, "Improving diffusion-based image synthesis with context prediction" (2401.02015).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor, nn

from mezzotint.core.condition import NONE
from mezzotint.core.rng import Rng
from mezzotint.denoiser.preconditioned import Preconditioned
from mezzotint.denoiser.tokens import Tokens
from mezzotint.evidence.recipe import Setting
from mezzotint.networks import TokenTransformer, UNet
from mezzotint.objectives import Bound, ContextPrediction, Denoising, LevelBound, OrderedDecoder, SetDecoder
from mezzotint.objectives.base import Objective, Shot
from mezzotint.objectives.decoders import ContextDecoder
from mezzotint.processes import EDM, VP, Absorbing, Continuous, Flow
from mezzotint.processes.poisson import PoissonFlow
from mezzotint.recipes.context_sets import Rows, apart, differ, points

SHAPE, FEW, STRIDES, SYMBOLS = (2, 12, 10), (2, 8, 4), (1, 2, 3, 4), 5
PRODUCTS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
DECODERS: dict[str, Callable[[], ContextDecoder]] = {"ordered": OrderedDecoder, "set": SetDecoder}
Model = Preconditioned | Tokens


def alive(model: Model, rng: Rng) -> Model:
    """The same model, each weight drawn under its name: what begins at zero would hide."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            drawn = 0.3 * (weight.ndim == 1) + 0.15 * rng.at(name).normal("weight", tuple(weight.shape))[0]
            weight.copy_(drawn)
    return model.eval()


def pictures(process: Continuous, rng: Rng, shape: tuple[int, ...] = SHAPE) -> Model:
    """A U-Net of two levels on pictures of two channels."""
    return alive(Preconditioned(UNet(shape, 8, (1, 2), vector=None, head=4), process, sigma_data=0.8), rng)


def texts(rng: Rng) -> Model:
    """A transformer on a grid of symbols."""
    return alive(Tokens(TokenTransformer(SYMBOLS + 1, SYMBOLS, (6, 5), 8, 2, 2), Absorbing(SYMBOLS)), rng)


def clean(model: Model, rng: Rng, count: int) -> tuple[Tensor, Rng]:
    """Samples of the model's kind, and their keys."""
    keys = rng.repeat(count).at(torch.arange(count))
    if isinstance(model, Tokens):
        return (SYMBOLS * keys.uniform("x", model.shape)).long(), keys
    return keys.normal("x", model.shape), keys


@dataclass(frozen=True)
class Case:
    """A loss, the model that it trains, and w(t) in closed form."""

    inner: Objective
    model: Model
    share: Callable[[Tensor], Tensor]


def cases(rng: Rng, shape: tuple[int, ...] = SHAPE) -> dict[str, Case]:
    """Pictures on four processes, their bound, and symbols."""

    def capped(ratio: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        return lambda t: ratio(t).clamp(max=5) / 5

    vp = capped(lambda t: 1 / torch.expm1(0.5 * t**2 * 19.9 + 0.1 * t))  # beta from 0.1 to 20
    far = capped(lambda t: 1 / (80 * t) ** 2)
    flow = capped(lambda t: ((1 - t) / t) ** 2)
    return {
        "EDM": Case(Denoising(), pictures(EDM(), rng, shape), far),
        "VP": Case(Denoising(weight="noise"), pictures(VP(), rng, shape), vp),
        "Flow": Case(Denoising(weight="velocity"), pictures(Flow(), rng, shape), flow),
        "Poisson flow": Case(Denoising(), pictures(PoissonFlow(128), rng, shape), far),
        "bound": Case(Bound(50), pictures(VP(), rng, shape), vp),
        "symbols": Case(LevelBound(), texts(rng), lambda t: 1 - t),
    }


@contextmanager
def products(*modules: nn.Module) -> Iterator[list[int]]:
    """The multiplications of every linear layer and convolution that is called meanwhile."""
    counted: list[int] = []

    def heard(module: nn.Module, given: object, answer: Tensor) -> None:
        counted.append(answer.numel() * cast(Tensor, module.weight)[0].numel())

    layers = {layer for module in modules for layer in module.modules() if isinstance(layer, PRODUCTS)}
    hooks = [layer.register_forward_hook(heard) for layer in layers]
    try:
        yield counted
    finally:
        for hook in hooks:
            hook.remove()


def costs(s: Setting, seed: int) -> Rows:
    """What decoders weigh and multiply at strides 1 to 4, for a network as it is."""
    rng = Rng([seed]).at("costs")
    model = pictures(EDM(), rng)
    x, keys = clean(model, rng, 2)
    weights, work, last = dict[str, list[int]](), dict[str, list[int]](), list[int]()
    for name, made in DECODERS.items():
        weights[name], work[name] = [], []
        for stride in STRIDES:
            objective = ContextPrediction(Denoising(), made(), strides=(stride,))
            objective.meet(model, x[:1], NONE, seed)
            weights[name].append(sum(p.numel() for p in objective.parameters()))
            with products(model, objective) as counted:
                objective(model, x, NONE, keys)
            work[name].append(sum(counted))
            if isinstance(objective.decoder, OrderedDecoder):
                last.append(sum(p.numel() for p in objective.decoder.heads.parameters()))
    sites = [(2 * stride + 1) ** 2 - 1 for stride in STRIDES]
    for kind, numbers in (("weights", weights), ("work", work)):
        each = numbers["ordered"]
        line = [each[0] * (sites[1] - K) + each[1] * (K - sites[0]) for K in sites]  # times 16, whole numbers
        off = sum(due != found * (sites[1] - sites[0]) for due, found in zip(line, each, strict=True))
        yield f"{kind}: ordered", {"differ": float(off), "shrinks": float(each[1] <= each[0])}
        yield f"{kind}: set", {"differ": float(len(set(numbers["set"])) - 1)}
    yield "weights: last layer, 80 over 8", {"apart": abs(last[-1] / last[0] - 80 / 8)}


def beside(s: Setting, seed: int) -> Rows:
    """The inner loss as it was, torch's generator as it was, and the term's weight by level."""
    rng = Rng([seed]).at("beside")
    for name, case in cases(rng, FEW).items():
        x, keys = clean(case.model, rng, 8)
        due = case.inner(case.model, x, NONE, keys)
        before = torch.get_rng_state()
        found, flat, silent = (
            ContextPrediction(case.inner, weight=weight, strides=(1, 2), by_level=by_level)
            for weight, by_level in ((0.5, True), (0.5, False), (0.0, True))
        )
        losses = []
        for objective in (found, flat, silent):
            objective.meet(case.model, x[:1], NONE, seed)
            losses.append(objective(case.model, x, NONE, keys))
        loss, level, none = losses
        assert loss.shot is not None and due.shot is not None and due.shot.t is not None
        off = differ(torch.get_rng_state(), before) + differ(none.value, due.value)
        off += sum(differ(getattr(loss.shot, what), getattr(due.shot, what)) for what in ("x0", "x_t", "t"))
        off += sum(differ(loss.parts[part], value) for part, value in due.parts.items())
        yield f"beside: {name}", {"differ": off}
        whole = due.value + 0.5 * loss.parts["context"]
        yield f"parts: {name}", {"apart": float((loss.value / whole - 1).abs().max())}
        ratio = loss.parts["context"] / level.parts["context"]
        yield f"levels: {name}", {"apart": apart(ratio.double(), case.share(due.shot.t))}


def targets(s: Setting, seed: int) -> Rows:
    """Decoders that say one value c everywhere: the term is w(t) times what clean neighbours are off, over d sigma^2.

    A set of 120 draws holds 3, 5 or 8 neighbours equally often. Where the inner loss is a sum over entries, so is it.
    """
    rng = Rng([seed]).at("targets")
    for name, case in cases(rng, FEW).items():
        x, keys = clean(case.model, rng, 3)
        values, variance, count = x.double(), 0.64, 1
        if not x.is_floating_point():  # simplex corners: centred, and of variance 1 over all their numbers
            corners = torch.eye(SYMBOLS).double() - 1 / SYMBOLS
            values = (corners / math.sqrt((SYMBOLS - 1) / SYMBOLS**2))[x].movedim(-1, 1)
            variance = 1.0
        if name in ("bound", "symbols"):
            count = x[0].numel()
        d, H, W = values.shape[1:]
        c, off = points(rng.at(name), "c", d), torch.zeros(3).double()
        for i, j in itertools.product(range(H), range(W)):
            box = values[:, :, max(0, i - 1) : i + 2, max(0, j - 1) : j + 2].flatten(2)
            every = (box - c[:, None]).square().sum(1)
            own = (values[:, :, i, j] - c).square().sum(1)
            off += (every.sum(1) - own) / (every.shape[1] - 1)
        for kind, decoder in (("ordered", OrderedDecoder()), ("set", SetDecoder(draws=120))):
            objective = ContextPrediction(case.inner, decoder, sites=1.0)
            objective.meet(case.model, x[:1], NONE, seed)
            layer = cast(nn.Linear, decoder.heads if isinstance(decoder, OrderedDecoder) else decoder.body[-1])
            layer.weight.zero_()
            layer.bias.copy_(c.repeat(len(layer.bias) // d))
            loss = objective(case.model, x, NONE, keys)
            assert loss.shot is not None
            due = count * case.share(loss.shot.t) * off / (H * W * d * variance)
            if loss.shot.weight is not None:
                due = due * loss.shot.weight
            yield f"targets: {name}, {kind}", {"apart": float((loss.parts["context"] / due - 1).abs().max())}


def subsets(s: Setting, seed: int) -> Rows:
    """The mean over sites drawn 1 in 16 is that over all of them, for one corrupted batch and many keys."""
    rng = Rng([seed]).at("subsets")
    model = pictures(EDM(), rng, FEW)
    x, keys = clean(model, rng, 1)
    many = rng.at("many").repeat(s.subsets).at(torch.arange(s.subsets))
    for name, made in DECODERS.items():
        few, every = (ContextPrediction(Denoising(), made(), 1.0, (1, 2), share) for share in (1 / 16, 1.0))
        for objective in (few, every):
            objective.meet(model, x, NONE, seed)
        shot = few(model, x, NONE, keys).shot
        assert shot is not None and shot.weight is not None
        answer, rows = shot.answer.repeat(s.subsets), torch.zeros(s.subsets, dtype=torch.int64)
        shot = Shot(x[rows], shot.x_t[rows], shot.t[rows], NONE, answer, shot.weight[rows])
        some, whole = few.term(model, shot, many).double(), every.term(model, shot, many.at("others")).double()
        error = math.sqrt((float(some.var()) + float(whole.var())) / s.subsets)  # the ordered whole draws nothing
        yield f"subsets: {name}", {"errors": abs(float(some.mean() - whole.mean())) / max(error, 1e-9)}


@torch.enable_grad()
def gradients(s: Setting, seed: int) -> Rows:
    """The term reaches every weight of model and decoder, and no target; at weight 0 the model's gradients stay."""
    rng = Rng([seed]).at("gradients")
    for name, case in cases(rng, FEW).items():
        x, keys = clean(case.model, rng, 4)
        for source in ("features", "prediction"):
            objective = ContextPrediction(case.inner, weight=0.0, sites=0.5, source=source)
            objective.meet(case.model, x[:1], NONE, seed)
            ours, theirs = list(objective.parameters()), list(case.model.parameters())
            alone = torch.autograd.grad(case.inner(case.model, x, NONE, keys).value.sum(), theirs)
            loss = objective(case.model, x, NONE, keys)
            both = torch.autograd.grad(loss.value.sum(), theirs)
            same = sum(differ(a, b) for a, b in zip(alone, both, strict=True))
            shot = case.inner(objective.asked(case.model), x, NONE, keys).shot
            assert shot is not None
            target = shot.x0.clone().requires_grad_() if shot.x0.is_floating_point() else shot.x0
            term = objective.term(case.model, replace(shot, x0=target), keys).sum()
            wanted = [*theirs, *ours, *([target] if target.requires_grad else [])]
            found = torch.autograd.grad(term, wanted, allow_unused=True)
            silent = sum(g is None or not bool((g != 0).any()) for g in found[: len(theirs) + len(ours)])
            reached = sum(g is not None for g in found[len(theirs) + len(ours) :])
            yield f"gradients: {name}, {source}", {"differ": same, "silent": float(silent), "targets": float(reached)}


SECTIONS = (costs, beside, targets, subsets, gradients)
