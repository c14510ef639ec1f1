"""The contract of a denoiser: one question, answered at every time, for every row by itself.

Samplers ask it at t = 1 and next to 0, searches ask about rows taken out of their batch, guidance drops families and
asks for side outputs, rewards differentiate it, and a model folder brings it back. Rows of exact denoisers agree to the
last bit in any batch; networks add their numbers in another order and agree within 1e-5.

A denoiser of symbols is asked about whole numbers and answers with a law of each over the vocabulary, in which minus
infinity is a symbol that is ruled out. On a process with a mask, a symbol that is not masked is known. A law of whole
texts, such as an autoregressive one, has no mean; it is read by its log-probability of a text.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from torch import Tensor

from mezzotint.core.condition import NONE, Condition, family
from mezzotint.core.distribution import Categorical, Dirac, Distribution, Gaussian, expand
from mezzotint.core.errors import Refusal
from mezzotint.core.learner import Learner
from mezzotint.core.rng import Rng
from mezzotint.core.spec import build, spec
from mezzotint.core.store import load_model, save_model
from mezzotint.denoiser.base import Denoiser, Trainable
from mezzotint.processes.discrete import Discrete
from mezzotint.testing.expect import close, expect, finite, refused, same, shaped, works
from mezzotint.testing.spec import check_made
from mezzotint.testing.truth import CLASSES, labels

TIMES = (0.0, 1e-6, 0.02, 0.3, 0.7, 0.98, 1.0)


def check_denoiser(denoiser: Denoiser, cond: Condition | None = None) -> None:
    """Check that a denoiser keeps the promises samplers, guidance, search and stores rely on.

    Arguments:
        denoiser: of real data or of symbols.
        cond: conditions to ask with, seven rows; None: labels 0, 1, 2, 0, .. where it may be told a ``label``, or 0, 1,
            0, .. where it refuses 2.

    Raises:
        AssertionError: naming the promise that is broken.
    """
    who = type(denoiser).__name__
    expect(
        isinstance(denoiser, Denoiser),
        f"{who} should derive from denoiser.Denoiser; samplers read its process and shape",
    )
    check_made(denoiser)
    training = denoiser.training
    denoiser.eval()
    with works(f"asking {who}", "samplers ask at every time from the prior to clean data"):
        told = _labels(denoiser) if cond is None and "label" in denoiser.nulls else cond or NONE
        expect(
            len(told) in (0, len(TIMES)), f"check_denoiser should be given {len(TIMES)} conditions but has {len(told)}"
        )
        told = _prepared(denoiser, told, who)
        x, t = samples(denoiser)
        with torch.no_grad():
            answers(denoiser, x, t, told, who)
            _refuses(denoiser, x, t, told, who)
            if isinstance(denoiser, Trainable):
                _trains(denoiser, x, t, told, who)
            elif isinstance(denoiser, Learner):
                _lowers(denoiser, x, t, told, who)
        gradients(denoiser, x, t, told, who)
        _comes_back(denoiser, x, t, told, who)
    denoiser.train(training)


def _labels(denoiser: Denoiser) -> Condition:
    """Labels 0, 1, 2, 0, ..; 0, 1, 0, .. or all 0 where it refuses more."""
    x, t = samples(denoiser)
    for count in range(CLASSES, 0, -1):
        told = Condition(label=torch.arange(len(TIMES)) % count)
        try:
            with torch.no_grad():
                denoiser(x, t, denoiser.prepare(told).to(denoiser.device))
        except Refusal:
            continue
        return told
    return labels(len(TIMES))


def samples(denoiser: Denoiser) -> tuple[Tensor, Tensor]:
    """(x_t, t): corrupted data at the times of this contract, or at a denoiser's own."""
    process = denoiser.process
    t = torch.tensor(TIMES, dtype=torch.float64)
    if denoiser.times is not None:
        t = denoiser.times.double().cpu()[torch.arange(len(TIMES)) % len(denoiser.times)]
    if isinstance(process, Discrete):
        text = (process.vocab * Rng(range(len(t))).uniform("x0", tuple(denoiser.shape))).long()
        return process.corrupt(text, t).sample(Rng(range(len(t))).at("noise")).to(denoiser.device), t
    x0 = 0.5 * Rng(range(len(t))).normal("x0", tuple(denoiser.shape))
    x = process.corrupt(x0, t).sample(Rng(range(len(t))).at("noise"))
    return x.to(device=denoiser.device, dtype=denoiser.dtype), t


def tolerance(denoiser: Denoiser) -> float:
    """How closely rows agree in batches of other sizes: exactly, unless there are weights."""
    return 1e-5 if any(True for _ in denoiser.parameters()) else 0.0


def said(denoiser: Denoiser, x: Tensor, t: Tensor, cond: Condition) -> Tensor:
    """What an answer is compared by: its mean."""
    return _read(denoiser, denoiser(x, t, cond))


def _read(denoiser: Denoiser, answer: Distribution) -> Tensor:
    """The mean of an answer, or, of a law of whole texts, the log-probability of one text (B,)."""
    process = denoiser.process
    if not isinstance(process, Discrete) or isinstance(answer, Categorical):
        return answer.mean
    count = int(torch.Size(denoiser.shape).numel())
    text = (torch.arange(count, device=denoiser.device) % process.vocab).reshape(1, *denoiser.shape)
    return answer.log_prob(text.expand(len(answer), *denoiser.shape))


def agree(what: str, found: Tensor, expected: Tensor, within: float, why: str) -> None:
    """To the last bit, or within a tolerance."""
    close(what, found, expected, within, why) if within else same(what, found, expected, why)


def _prepared(denoiser: Denoiser, cond: Condition, who: str) -> Condition:
    """Preparing adds values and replaces none."""
    ready = denoiser.prepare(cond)
    expect(
        isinstance(ready, Condition), f"{who}.prepare should return a Condition but returns a {type(ready).__name__}"
    )
    for name, value in cond.values.items():
        expect(name in ready, f"{who}.prepare should keep {name!r} but drops it; what was told is read again elsewhere")
        same(f"{name!r} after {who}.prepare", ready[name], value, "prepare adds values and replaces none")
    return ready.to(denoiser.device)


def answers(denoiser: Denoiser, x: Tensor, t: Tensor, cond: Condition, who: str) -> Distribution:
    """Finite everywhere, in the precision of x, the same for every way of asking."""
    before = x.clone(), t.clone()
    answer = denoiser(x, t, cond)
    expect(
        isinstance(answer, Distribution),
        f"{who} should answer with a Distribution but answers with a {type(answer).__name__}",
    )
    expect(
        len(answer) == len(x), f"{who} asked about {len(x)} samples should give {len(x)} rows but gives {len(answer)}"
    )
    if isinstance(denoiser.process, Discrete):
        _says(denoiser.process, answer, x, who)
    else:
        shaped(f"the mean of {who}'s answer", answer.mean, tuple(x.shape), "it is an estimate of the clean data")
        expect(
            answer.mean.dtype == x.dtype,
            f"{who} asked in {x.dtype} should answer in it but answers in {answer.mean.dtype}; samples keep it",
        )
    first = _read(denoiser, answer)
    finite(f"{who}'s answer at the times {[f'{float(time):g}' for time in t]}", first, "one NaN spoils a run")
    same(f"x after asking {who}", x, before[0], "a question must not change what it asks about")
    same(f"t after asking {who}", t, before[1], "a question must not change what it asks about")
    same(f"{who} asked twice", said(denoiser, x, t, cond), first, "in evaluation mode nothing is drawn")
    ranked = said(denoiser, x, expand(t, x), cond)
    agree(f"{who} at times (B, 1, ..) and (B,)", ranked, first, tolerance(denoiser), "both say one time per sample")
    for rows in ([2], [5, 0, 3]):
        few = said(denoiser, x[rows], t[rows], cond[rows] if cond else cond)
        why = "rows are taken out of batches, at times of their own"
        agree(f"rows {rows} of {who} in a batch of their own", few, first[rows], tolerance(denoiser), why)
    if not denoiser.uses_level and denoiser.times is None:
        other = said(denoiser, x, 0.5 * t + 0.1, cond)
        same(f"{who} at other times", other, first, "uses_level = False says that the answer depends on x alone")
    return answer


def _says(process: Discrete, answer: Distribution, x: Tensor, who: str) -> None:
    """A law of every symbol over the vocabulary, certain where a process with a mask leaves nothing open.

    Or a law of whole texts, whose draws it holds possible.
    """
    expect(
        not isinstance(answer, Dirac | Gaussian),
        f"{who} should answer about symbols with a Categorical or a law of texts but answers with a "
        f"{type(answer).__name__}; a point says nothing of what else it may be",
    )
    if not isinstance(answer, Categorical):
        drawn = answer.sample(Rng(range(len(x))))
        shaped(f"a draw of {who}'s answer", drawn, tuple(x.shape), "it is a text")
        inside = bool(((drawn >= 0) & (drawn < process.vocab)).all()) and not drawn.is_floating_point()
        expect(inside, f"a draw of {who}'s answer should hold symbols below {process.vocab} but holds others")
        nats = answer.log_prob(drawn)
        shaped(f"{who}'s log-probability of a draw", nats, (len(x),), "one number a text")
        finite(f"{who}'s log-probability of its own draws", nats, "what was drawn is possible")
        expect(bool((nats <= 0).all()), f"{who}'s log-probabilities should not be positive but are; texts are counted")
        return
    shaped(f"the logits of {who}'s answer", answer.logits, (*x.shape, process.vocab), "a clean symbol is never masked")
    wrong = int((answer.logits.isnan() | (answer.logits == torch.inf)).sum())
    expect(not wrong, f"the logits of {who}'s answer should be numbers or minus infinity but {wrong} are not")
    expect(answer.logits.is_floating_point(), f"the logits of {who}'s answer should be floats but are not")
    if process.mask is not None:
        known = x != process.mask
        hot = torch.nn.functional.one_hot(x[known], process.vocab).to(answer.mean)
        why = "what is not masked was never lost, and a sampler that says it anew changes it"
        close(f"{who}'s answer about symbols that are not masked and those symbols", answer.mean[known], hot, 1e-6, why)


def _refuses(denoiser: Denoiser, x: Tensor, t: Tensor, cond: Condition, who: str) -> None:
    """What it was never told about, and what it cannot hand out."""
    odd = cond | Condition(no_such_family=torch.zeros(len(x), device=x.device))
    why = "a condition that is silently ignored is found months later"
    refused(f"asking {who} with a family it does not know", lambda: denoiser(x, t, denoiser.prepare(odd)), why)
    why = "a misspelt name that is ignored is found where the value is missing"
    refused(f"{who} wanted to give 'no_such_output'", lambda: denoiser(x, t, cond, want=("no_such_output",)), why)
    for name in denoiser.nulls:
        if name in cond.families:
            without = said(denoiser, x, t, cond.drop(name))
            finite(f"{who}'s answer with {name!r} dropped", without, "a null that was trained may be asked for")
            left = cond.take(name)[1]
            if left or len(cond.families) == 1:
                absent = said(denoiser, x, t, denoiser.prepare(left))
                agree(
                    f"{who} with {name!r} absent and dropped",
                    absent,
                    without,
                    tolerance(denoiser),
                    "absent counts as dropped",
                )


def _trains(denoiser: Trainable, x: Tensor, t: Tensor, cond: Condition, who: str) -> None:
    """What the network said and should have said differ as the estimate and the data do."""
    inner = (t > 0.01) & (t < 0.99)
    x, t, cond = x[inner], t[inner], cond[inner] if cond else cond
    answer = denoiser(x, t, cond, want=("output",))
    expect(
        "output" in answer.aux,
        f"{who} wanted to give 'output' should have it in aux; objectives compare it with target()",
    )
    x0 = 0.3 * torch.ones_like(x)
    missed = answer.aux["output"] - denoiser.target(x0, x, t)
    due = expand(denoiser.sharpness(t), x).to(x) * missed.abs()
    why = "the preconditioning is the weight of a loss"
    close(f"|D - x_0| and {who}.sharpness times |output - target|", (answer.mean - x0).abs(), due, 1e-4, why)
    shaped(f"{who}.trivial", denoiser.trivial(x, t), tuple(x.shape), "a model has to beat it")
    denoiser.lower(torch.bfloat16)
    low = denoiser(x, t, cond).mean
    denoiser.lower(None)
    expect(
        low.dtype == x.dtype, f"{who} lowered to bfloat16 should still answer in {x.dtype} but answers in {low.dtype}"
    )
    close(f"{who} lowered to bfloat16 and in full precision", low, answer.mean, 0.05, "training and sampling run in it")


def _lowers(denoiser: Denoiser, x: Tensor, t: Tensor, cond: Condition, who: str) -> None:
    """In bfloat16 it says about the same, and in full precision again what it said before."""
    assert isinstance(denoiser, Learner)
    full = said(denoiser, x, t, cond)
    denoiser.lower(torch.bfloat16)
    low = said(denoiser, x, t, cond)
    denoiser.lower(None)
    expect(low.dtype == full.dtype, f"{who} lowered to bfloat16 should answer in {full.dtype} but does in {low.dtype}")
    close(f"{who} lowered to bfloat16 and in full precision", low, full, 0.05, "training and sampling run in it")
    same(f"{who} after it was lowered and before", said(denoiser, x, t, cond), full, "a lowered network comes back")


def gradients(denoiser: Denoiser, x: Tensor, t: Tensor, cond: Condition, who: str) -> None:
    """By its input, finite at every time, and none left behind in the weights; of symbols, by its weights."""
    if not x.is_floating_point():
        _learns(denoiser, x, t, cond, who)
        return
    at = x.detach().clone().requires_grad_()
    mean = denoiser(at, t, cond).mean
    why = "rewards differentiate answers, at both ends of a run too"
    expect(mean.requires_grad, f"{who}'s answer should have a gradient by x but has none; {why}")
    (gradient,) = torch.autograd.grad(mean.sum(), at)
    finite(f"the gradient of {who}'s answer by x at the times {[f'{float(time):g}' for time in t]}", gradient, why)


def _learns(denoiser: Denoiser, x: Tensor, t: Tensor, cond: Condition, who: str) -> None:
    """The gradient of its log-probabilities by its weights is finite, where it has some."""
    weights = [weight for weight in denoiser.parameters() if weight.requires_grad]
    if not weights:
        return
    answer = denoiser(x, t, cond)
    nats = answer.logits.log_softmax(-1) if isinstance(answer, Categorical) else _read(denoiser, answer)
    found = torch.autograd.grad(torch.where(nats == -torch.inf, 0.0, nats).sum(), weights, allow_unused=True)
    why = "bounds differentiate what it says at every time"
    expect(
        any(g is not None for g in found), f"{who}'s answer should have a gradient by its weights but has none; {why}"
    )
    for gradient in found:
        if gradient is not None:
            finite(f"the gradient of {who}'s log-probabilities by its weights", gradient, why)


def _comes_back(denoiser: Denoiser, x: Tensor, t: Tensor, cond: Condition, who: str) -> None:
    """A model folder gives back the same answers; what has no spec is not saved."""
    try:
        build(spec(denoiser))
    except Refusal:  # it holds what no config can, or a part that was written in a script
        return
    with tempfile.TemporaryDirectory() as home, torch.no_grad():
        again = load_model(save_model(Path(home, "model"), denoiser), x.device)
        agree(
            f"{who} after a model folder",
            said(again, x, t, cond),
            said(denoiser, x, t, cond),
            0.0,
            "a loaded model is the saved one",
        )
        odd = [family(name) for name in denoiser.nulls if name not in again.nulls]
        expect(not odd, f"{who} after a model folder should know the nulls {denoiser.nulls} but knows {again.nulls}")
