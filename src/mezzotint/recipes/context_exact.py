"""Context prediction beside a loss, all exact: what it costs, what it leaves alone, and what a model keeps of it.

What it rests on (distances, neighbourhoods, decoders) is checked in :mod:`.context_sets`. Here networks are small but
whole, with weights drawn at random and none left at zero, and runs are real runs of four steps, whose folders are read.

Source: Yang et al. 2023, "Improving diffusion-based image synthesis with context prediction" (2401.02015).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from mezzotint.core.condition import NONE
from mezzotint.core.rng import Rng
from mezzotint.core.spec import spec
from mezzotint.core.store import load_tensors
from mezzotint.data import Digits
from mezzotint.denoiser.base import Denoiser
from mezzotint.denoiser.preconditioned import Preconditioned
from mezzotint.denoiser.tokens import Tokens
from mezzotint.evidence.recipe import Setting, Value
from mezzotint.evidence.verdict import Numbers
from mezzotint.networks import TokenTransformer, UNet
from mezzotint.objectives import Bound, ContextPrediction, Denoising, LevelBound, OrderedDecoder, SetDecoder
from mezzotint.objectives.base import Objective, Shot
from mezzotint.objectives.decoders import ContextDecoder
from mezzotint.processes import EDM, VP, Absorbing, Continuous, Flow
from mezzotint.processes.poisson import PoissonFlow
from mezzotint.recipes import context_sets
from mezzotint.recipes.context_sets import Rows, apart, differ
from mezzotint.samplers import Ancestral, Heun
from mezzotint.training import Rate, Run, Trainer, train

SHAPE, STRIDES, SYMBOLS = (2, 12, 10), (1, 2, 3, 4), 5
STEPS, BATCH = 4, 8
SETTING: dict[str, Value] = {"sets": 20, "draws": 2**14, "rows": 4000, "subsets": 2000}
DECODERS: dict[str, Callable[[], ContextDecoder]] = {"ordered": OrderedDecoder, "set": SetDecoder}


def alive(model: Denoiser, rng: Rng) -> Denoiser:
    """The same model, each weight drawn under its name: what begins at zero would hide."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            drawn = 0.3 * (weight.ndim == 1) + 0.15 * rng.at(name).normal("weight", tuple(weight.shape))[0]
            weight.copy_(drawn)
    return model.eval()


def pictures(process: Continuous, rng: Rng) -> Denoiser:
    """A U-Net of two levels on pictures of two channels."""
    return alive(Preconditioned(UNet(SHAPE, 8, (1, 2), vector=None, head=4), process), rng)


def texts(rng: Rng) -> Denoiser:
    """A transformer on a grid of symbols."""
    return alive(Tokens(TokenTransformer(SYMBOLS + 1, SYMBOLS, (6, 5), 8, 2, 2), Absorbing(SYMBOLS)), rng)


def clean(model: Denoiser, rng: Rng, count: int) -> tuple[Tensor, Rng]:
    """Samples of the model's kind, and their keys."""
    keys = rng.repeat(count).at(torch.arange(count))
    if isinstance(model, Tokens):
        return (SYMBOLS * keys.uniform("x", model.shape)).long(), keys
    return keys.normal("x", model.shape), keys


@dataclass(frozen=True)
class Case:
    """A loss, the model that it trains, and w(t) in closed form."""

    inner: Objective
    model: Denoiser
    share: Callable[[Tensor], Tensor]


def cases(rng: Rng) -> dict[str, Case]:
    """Pictures on four processes, their bound, and symbols."""

    def capped(ratio: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        return lambda t: ratio(t).clamp(max=5) / 5

    vp = capped(lambda t: 1 / torch.expm1(0.5 * t**2 * 19.9 + 0.1 * t))  # beta from 0.1 to 20
    far = capped(lambda t: 1 / (80 * t) ** 2)
    flow = capped(lambda t: ((1 - t) / t) ** 2)
    return {
        "EDM": Case(Denoising(), pictures(EDM(), rng), far),
        "VP": Case(Denoising(weight="noise"), pictures(VP(), rng), vp),
        "Flow": Case(Denoising(weight="velocity"), pictures(Flow(), rng), flow),
        "Poisson flow": Case(Denoising(), pictures(PoissonFlow(128), rng), far),
        "bound": Case(Bound(50), pictures(VP(), rng), vp),
        "symbols": Case(LevelBound(), texts(rng), lambda t: 1 - t),
    }


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
            with FlopCounterMode(display=False) as counter:
                objective(model, x, NONE, keys)
            work[name].append(counter.get_total_flops())
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
    for name, case in cases(rng).items():
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


def subsets(s: Setting, seed: int) -> Rows:
    """The mean over sites drawn 1 in 16 is that over all of them, for one corrupted batch and many keys."""
    rng = Rng([seed]).at("subsets")
    model = pictures(EDM(), rng)
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
        yield f"subsets: {name}", {"errors": abs(float(some.mean() - whole.mean())) / error}


@torch.enable_grad()
def gradients(s: Setting, seed: int) -> Rows:
    """The term reaches every weight of model and decoder, and no target; at weight 0 the model's gradients stay."""
    rng = Rng([seed]).at("gradients")
    for name, case in cases(rng).items():
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


@torch.enable_grad()
def sampling(s: Setting, seed: int) -> Rows:
    """Samples, weights' names and work of a model before and after an objective has met it and been differentiated."""
    rng = Rng([seed]).at("sampling")
    for name, model, sampler in (
        ("pictures", pictures(EDM(), rng), Heun(4)),
        ("symbols", texts(rng), Ancestral(4)),
    ):
        x, keys = clean(model, rng, 3)

        def drawn(model: Denoiser = model, sampler: Heun | Ancestral = sampler, keys: Rng = keys) -> tuple[Tensor, int]:
            with torch.no_grad(), FlopCounterMode(display=False) as counter:
                return sampler(model, rng=keys), counter.get_total_flops()

        before, names = drawn(), list(model.state_dict())
        inner = Denoising() if name == "pictures" else LevelBound()
        objective = ContextPrediction(inner)
        objective.meet(model, x[:1], NONE, seed)
        objective(model, x, NONE, keys).value.sum().backward()
        after = drawn()
        off = differ(after[0], before[0]) + float(after[1] != before[1]) + float(list(model.state_dict()) != names)
        inside = sum(any(p is q for q in model.parameters()) for p in objective.parameters())
        yield f"sampling: {name}", {"differ": off + inside}


def runs(s: Setting, seed: int) -> Rows:
    """Four steps on digits: without, with a weight of 0 for either decoder, and with the usual weight."""
    losses: dict[str, Objective] = {
        "without": Denoising(),
        "set, 0": ContextPrediction(Denoising(), weight=0.0),
        "ordered, 0": ContextPrediction(Denoising(), OrderedDecoder(), weight=0.0, strides=(1, 2)),
        "set": ContextPrediction(Denoising(), weight=1.0),
    }
    with TemporaryDirectory(prefix="mezzotint-") as home, torch.enable_grad():
        made = {name: trained(loss, Path(home, str(k)), seed) for k, (name, loss) in enumerate(losses.items())}
        found = {name: kept(run) for name, run in made.items()}
    base = found["without"]
    for name, other in list(found.items())[1:]:
        off = sum(float(one.keys() != two.keys()) for one, two in zip(base, other, strict=True))
        equal = [differ(one[key], two[key]) for one, two in zip(base, other, strict=True) for key in one if key in two]
        if name == "set":
            yield f"runs: {name}", {"keys": off, "same": float(sum(equal) == 0)}
        else:
            yield f"runs: {name}", {"keys": off, "differ": float(sum(equal))}


def trained(objective: Objective, folder: Path, seed: int) -> Run:
    """A run of a small model of digits from the same weights, in the same order, with the same noise."""
    model = Preconditioned(UNet((1, 8, 8), 8, (1, 2), vector=None, head=4), EDM(), sigma_data=0.7)
    trainer = Trainer(
        objective, images=STEPS * BATCH, batch=BATCH, rate=Rate(1e-3, warmup=0, cooldown=0.0), seed=seed,
        clip=0.1, sampler=Heun(2), log=BATCH, save=STEPS * BATCH, picture=STEPS * BATCH,
    )  # fmt: skip
    return train({"model": spec(model), "data": spec(Digits()), "training": spec(trainer)}, folder)


def kept(run: Run) -> list[dict[str, Tensor]]:
    """What a run leaves of a model: the trained weights, their averages, what is exported, and what is logged."""
    tensors, _ = run.load(STEPS * BATCH)
    own = ("model", *(name for name in tensors if name not in ("model", "objective", "optimizer", "window")))
    exported = {
        f"{file.name}.{key}": value
        for file in sorted((run.path / "model").glob("*.safetensors"))
        for key, value in load_tensors(file).items()
    }
    return [*(dict(tensors[name]) for name in own), exported]


SECTIONS = (*context_sets.SECTIONS, costs, beside, subsets, gradients, sampling, runs)


@torch.no_grad()
def measure(s: Setting, seed: int) -> Numbers:
    """All rows: a kind, what it is of, and how far what is equal lies apart."""
    return dict(row for section in SECTIONS for row in section(s, seed))
