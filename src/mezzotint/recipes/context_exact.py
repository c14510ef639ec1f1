"""Context prediction without a claim to test: the exact size, which asks whether the parts compute what they should.

What it rests on is checked in :mod:`.context_sets`, the term itself in :mod:`.context_beside`. Here is what a model
keeps of it, which is nothing: samples before and after, and the folders of real runs of four steps.

Source: Yang et al. 2023, "Improving diffusion-based image synthesis with context prediction" (2401.02015).
"""

from __future__ import annotations

import math
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from mezzotint.core.condition import NONE
from mezzotint.core.rng import Rng
from mezzotint.core.spec import spec
from mezzotint.core.store import load_tensors
from mezzotint.data import Digits, Untold
from mezzotint.denoiser.preconditioned import Preconditioned
from mezzotint.evidence.recipe import Closed, Setting, Value
from mezzotint.evidence.verdict import Criterion, Numbers, Seen, Statistic, Verdict
from mezzotint.networks import UNet
from mezzotint.objectives import ContextPrediction, Denoising, LevelBound, OrderedDecoder
from mezzotint.objectives.base import Objective
from mezzotint.processes import EDM
from mezzotint.recipes import context_beside, context_sets
from mezzotint.recipes.context_beside import Model, clean, pictures, products, texts
from mezzotint.recipes.context_sets import Rows, differ
from mezzotint.samplers import Ancestral, Heun
from mezzotint.training import Rate, Run, Trainer, train

STEPS, BATCH = 4, 8
SETTING: dict[str, Value] = {"sets": 20, "draws": 2**14, "rows": 4000, "subsets": 500}


@torch.enable_grad()
def sampling(s: Setting, seed: int) -> Rows:
    """Samples, weights' names and work of a model before and after an objective has met it and been differentiated."""
    rng = Rng([seed]).at("sampling")
    for name, model, sampler in (
        ("pictures", pictures(EDM(), rng), Heun(4)),
        ("symbols", texts(rng), Ancestral(4)),
    ):
        x, keys = clean(model, rng, 3)

        def drawn(model: Model = model, sampler: Heun | Ancestral = sampler, keys: Rng = keys) -> tuple[Tensor, int]:
            with torch.no_grad(), products(model) as counted:
                return sampler(model, rng=keys), sum(counted)

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
    model = Preconditioned(UNet((1, 8, 8), 8, (1,), vector=None, head=4), EDM(), sigma_data=0.7)
    trainer = Trainer(
        objective, images=STEPS * BATCH, batch=BATCH, rate=Rate(1e-3, warmup=0, cooldown=0.0), seed=seed,
        clip=0.1, averages=(0.1,), sampler=Heun(2), log=BATCH, save=STEPS * BATCH, picture=STEPS * BATCH,
    )  # fmt: skip
    return train({"model": spec(model), "data": spec(Untold(Digits())), "training": spec(trainer)}, folder)


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


SECTIONS = (*context_sets.SECTIONS, *context_beside.SECTIONS, sampling, runs)


@torch.no_grad()
def measure(s: Setting, seed: int) -> Numbers:
    """All rows: a kind, what it is of, and how far what is equal lies apart."""
    return dict(row for section in SECTIONS for row in section(s, seed))


ASKED = {
    ("distance", "apart"): (
        "set distances and every matching, programmes, sorted values, moves, total variation",
        1e-9,
    ),
    ("distance", "differ"): ("equal sets that are apart, others that are not, pairings that are cheaper", 0.0),
    ("slopes", "apart"): ("gradients and finite differences", 1e-6),
    ("entropic", "differ"): ("plans below the matching, or further off at a smaller regulariser", 0.0),
    ("entropic", "above"): ("plans above the matching at a regulariser of 0.01, as a share", 0.02),
    ("normal laws", "below"): ("standard errors that draws are below the distance of their laws", 4.0),
    ("normal laws", "left"): ("bias of 128 draws over that of 8", 0.5),
    ("normal laws", "differ"): ("whether larger sets are further off", 0.0),
    ("neighbours", "differ"): ("sites whose neighbours are not those of a search", 0.0),
    ("neighbours", "count"): ("numbers of neighbours that are not 8, 24, 48, 80; 3 in a corner, 5 at an edge", 0.0),
    ("draws", "differ"): ("draws of what is no neighbour, or of one too often", 0.0),
    ("draws", "errors"): ("standard errors of how often each neighbour is drawn, the worst", 5.0),
    ("average", "apart"): ("averaged opinions that agree, and the bound on them", 1e-9),
    ("average", "over"): ("averaged opinions over the bound on them", 1.0),
    ("one colour", "errors"): ("standard errors of a normal law beside one colour", 4.0),
    ("one colour", "apart"): ("what a decoder is off that says that colour", 1e-5),
    ("orders", "apart"): ("the ordered loss and a mean over the neighbours that are there", 1e-9),
    ("orders", "differ"): ("set losses above the ordered one, or of the same neighbours", 0.0),
    ("weights", "differ"): ("weights of a set decoder that grow, of an ordered one that are not affine in K", 0.0),
    ("weights", "shrinks"): ("whether an ordered decoder's do not grow", 0.0),
    ("weights", "apart"): ("last layers of ordered decoders at strides 4 and 1, and 80 / 8", 0.0),
    ("work", "differ"): ("products of a step that grow with a set decoder, or are not affine in K", 0.0),
    ("work", "shrinks"): ("whether those with an ordered decoder do not grow", 0.0),
    ("beside", "differ"): ("entries of the inner loss, its shot, or torch's generator that differ", 0.0),
    ("parts", "apart"): ("the loss and the sum of its parts", 1e-6),
    ("levels", "apart"): ("weights of levels and min(SNR, 5) / 5, or the share alive", 1e-6),
    ("targets", "apart"): ("the term and loops over clean neighbours, as a share", 1e-5),
    ("subsets", "errors"): ("standard errors between 1 site in 16 and all of them", 4.0),
    ("gradients", "differ"): ("entries of the model's gradients that a weight of 0 changes", 0.0),
    ("gradients", "silent"): ("weights of model and decoder that the term does not reach", 0.0),
    ("gradients", "targets"): ("targets that it does", 0.0),
    ("sampling", "differ"): ("entries of samples, names of weights and products that differ after it", 0.0),
    ("runs", "keys"): ("files and averages whose names of weights differ", 0.0),
    ("runs", "differ"): ("entries of trained, averaged and exported weights that a weight of 0 changes", 0.0),
    ("runs", "same"): ("whether a weight of 1 changes none", 0.0),
}
"""What is judged: by kind of row and column, what that is and the most it may be."""


def verdict(seen: Seen) -> Verdict:
    """The worst of each kind at every seed; a kind without a row, or with one that is no number, decides nothing."""

    def worst(kind: str, column: str) -> Statistic:
        def found(numbers: Numbers) -> float:
            rows = [row for name, row in numbers.items() if name.partition(":")[0] == kind and column in row]
            return max((row[column] for row in rows), key=lambda value: math.inf if math.isnan(value) else value)

        return found

    def criterion(kind: str, column: str) -> Criterion:
        name, most = ASKED[kind, column]
        return seen.always(name, worst(kind, column), most)

    return seen.all(*(criterion(*key) for key in ASKED))


EXACT = Closed(
    criterion="""Set distances within 1e-9 of every matching of up to 6 points, of linear programmes, sorted values,
    moves and total variation of symbols, 0 for equal sets alone, below every fixed pairing; their gradients within 1e-6
    of finite differences; entropic plans above them, and nearer as the regulariser falls (2 % at 0.01); draws of normal
    laws not below the distance of the laws (4 standard errors) and nearer the larger the sets. Neighbourhoods of lines,
    planes and spaces are those of a search; draws are of valid neighbours, equally often (5 standard errors, the worst
    of many). On a torus averaged opinions are within the bound of the ordered loss, and on it where they agree; beside
    one colour a normal law is off by |mu - c|^2 + d s^2 (4 standard errors). Weights and products of ordered decoders
    are affine in K, their last layers 80 / 8 apart at strides 4 and 1; those of set decoders are constant. On EDM, VP,
    Flow, Poisson flow, a bound and symbols: the inner loss, its shot and torch's generator the same to the bit, weights
    of levels in closed form (1e-6), terms as loops over clean neighbours give them (1e-5), 1 site in 16 as all of them
    (4 standard errors), every weight reached and no target, and at a weight of 0 the model's gradients the same to the
    bit. Samples the same to the bit afterwards, with as many products. Runs of four steps: at a weight of 0 trained,
    averaged and exported weights the same to the bit; at any, under the same names.""",
    departures="""The step's time is counted in multiplications of its layers, which a busy machine does not change. A
    decoder's spread is at least exp(-8), so beside one colour it is off by exp(-16) d at best.""",
    measure=measure, verdict=verdict, seeds=(200, 201, 202, 203, 204), setting=SETTING, minutes=1,
)  # fmt: skip
