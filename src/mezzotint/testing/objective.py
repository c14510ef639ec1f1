"""The contract of an objective: one loss per sample, all of its chance named, and the truth at its bottom.

Trainers split batches over processes and pieces, resume runs to the bit, log losses by noise level and average them;
that works only if a row's loss is a function of that row and its key. Objectives that remember (curricula, importance,
uncertainty weights) take what they know along in their state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from mezzotint.core.condition import NONE, Condition
from mezzotint.core.errors import Refusal
from mezzotint.core.learner import Learner
from mezzotint.core.rng import Rng
from mezzotint.denoiser.base import Denoiser
from mezzotint.denoiser.chain import Chain
from mezzotint.objectives.base import Levels, Loss, Objective
from mezzotint.processes.absorbing import Absorbing
from mezzotint.processes.base import Process
from mezzotint.processes.discrete import Discrete
from mezzotint.processes.edm import EDM
from mezzotint.testing.chain import chain as exact_chain
from mezzotint.testing.example import example
from mezzotint.testing.expect import Broken, close, expect, finite, same, shaped, works
from mezzotint.testing.parts import parts
from mezzotint.testing.spec import check_made
from mezzotint.testing.truth import Guess, Missed, labels, model, nudge, table

_COUNT = 6
_EXTREME = (1e-5, 0.5, 1.0)
"""Levels: barely any noise, half, and the prior's own."""


def check_objective(
    objective: Objective, learner: Learner | None = None, x: Tensor | None = None, cond: Condition | None = None
) -> None:
    """Check that an objective keeps the promises a trainer relies on. It is left as it was once it had met a model.

    Arguments:
        objective: an instance.
        learner: what it trains; None: the first of the house's own that it does not refuse.
        x: clean data, at least six rows; None: noise of the learner's shape.
        cond: as many rows; None: labels.

    Raises:
        AssertionError: naming the promise that is broken.
    """
    who = type(objective).__name__
    expect(
        isinstance(objective, Objective), f"{who} should derive from objectives.Objective; the trainer calls update()"
    )
    check_made(objective)
    trained = _learner(objective, who) if learner is None else learner
    trained.eval()
    with works(f"the loss of {who}", "a trainer takes it a million times"):
        data = _data(trained, _COUNT) if x is None else x
        told = trained.prepare(_told(objective, trained, data) if cond is None else cond)
        objective.meet(trained, data[:1], told[:1] if told else told)
        kept = {name: tensor.clone() for name, tensor in objective.state_dict().items()}
        expect(
            "model" in objective.players,
            f"{who}.players should hold 'model' but is {objective.players}; that turn trains the model",
        )
        for player in objective.players:
            _is_its_own(objective, trained, data, told, player, who)
        _teaches(objective, trained, data, told, who)
        _extremes(objective, trained, data, told, who)
        _remembers(objective, trained, data, told, who)
    objective.load_state_dict(kept)
    _prefers_the_truth(objective, who)


def learners() -> Iterator[Learner]:
    """A conditional denoiser, one that learns its variance, one of symbols, a chain, and an example of every other."""
    yield model(EDM())
    yield model(EDM(), variance=True)
    yield Guess(Absorbing(3))
    walked = example(Chain)
    nudge(walked)
    yield walked
    for cls in parts():
        if issubclass(cls, Learner):
            made = example(cls)
            nudge(made)
            yield made


def _learner(objective: Objective, who: str) -> Learner:
    reasons = []
    for candidate in learners():
        data = _data(candidate, 2)
        for cond in (labels(2), NONE):
            try:
                objective(candidate, data, candidate.prepare(cond), Rng(range(2)))
            except Refusal as error:
                reasons.append(str(error))
            else:
                return candidate
    raise Broken(
        f"{who} should train something of the house but refuses all of it ({reasons[-1]}); "
        "give check_objective a learner"
    )


def _told(objective: Objective, learner: Learner, data: Tensor) -> Condition:
    """Labels where the learner hears some."""
    told = labels(len(data))
    try:
        objective(learner, data[:1], learner.prepare(told[:1]), Rng([0]))
    except Refusal:
        return NONE
    return told


def _data(learner: Learner, count: int) -> Tensor:
    """Clean data for a learner: symbols where its process is of symbols, and otherwise noise."""
    process = getattr(learner, "process", None)
    if isinstance(process, Discrete):
        return (process.vocab * Rng(range(count)).uniform("data", tuple(learner.shape))).long()
    return 0.5 * Rng(range(count)).normal("data", tuple(learner.shape))


def _loss(objective: Objective, learner: Learner, x: Tensor, cond: Condition, rng: Rng, player: str = "model") -> Loss:
    loss: Loss = objective(learner, x, cond, rng, player)
    expect(
        isinstance(loss, Loss), f"{type(objective).__name__} should return a Loss but returns a {type(loss).__name__}"
    )
    return loss


def _is_its_own(objective: Objective, learner: Learner, x: Tensor, cond: Condition, player: str, who: str) -> None:
    """A row's loss is a function of that row and its key, and of nothing else that is random."""
    rng, before = Rng(range(len(x))), x.clone()
    state = torch.random.get_rng_state()
    loss = _loss(objective, learner, x, cond, rng, player)
    untouched = torch.equal(state, torch.random.get_rng_state())
    expect(
        untouched,
        f"{who} should draw under its keys only but draws from torch's own generator; a run could not be resumed",
    )
    shaped(f"the value of {who}", loss.value, (len(x),), "one loss per sample; the trainer reduces")
    finite(f"the value of {who}", loss.value, "a step that is not finite is thrown away")
    expect(
        loss.value.dtype in (torch.float32, torch.float64),
        f"the value of {who} should be float32 at least but is {loss.value.dtype}",
    )
    for name, part in loss.parts.items():
        shaped(f"the part {name!r} of {who}", part, (len(x),), "parts are logged by row")
    same(f"x after {who}", x, before, "a batch may be used again")
    again = _loss(objective, learner, x, cond, rng, player).value
    same(f"{who} under the same keys twice", again, loss.value, "resumed runs draw the same numbers")
    other = _loss(objective, learner, x, cond, Rng(range(100, 100 + len(x))), player).value
    expect(
        bool((other != loss.value).all()),
        f"{who} should give every row another loss under another key but gives some the same one; "
        "their noise would never change",
    )
    for rows in () if objective.coupled else ([4], [5, 0, 2]):
        few = _loss(objective, learner, x[rows], cond[rows] if cond else cond, rng[rows], player).value
        close(
            f"rows {rows} of {who} in a batch of their own",
            few,
            loss.value[rows],
            1e-4,
            "batches are split over processes and pieces",
        )
    if loss.shot is not None:
        shot = loss.shot
        same(f"x0 in the shot of {who}", shot.x0, x, "a further term reads it")
        inside = bool(((shot.t >= 0) & (shot.t <= 1)).all()) and shot.t.dtype == torch.float64
        expect(
            inside and len(shot.t) == len(x), f"the times in the shot of {who} should be float64 in [0, 1], one a row"
        )
        shaped(f"x_t in the shot of {who}", shot.x_t, tuple(x.shape), "a further term reads it")


def _weights(learner: Learner) -> list[tuple[str, Tensor]]:
    return [(name, p) for name, p in learner.named_parameters() if p.requires_grad]


def _teaches(objective: Objective, learner: Learner, x: Tensor, cond: Condition, who: str) -> None:
    """The gradient reaches every weight that moves the learner's answer, and no other row's data."""
    at = x.clone().requires_grad_(x.is_floating_point())
    loss = _loss(objective, learner, at, cond, Rng(range(len(x))))
    own = [p for p in objective.parameters() if p.requires_grad]
    weights = _weights(learner)
    found = torch.autograd.grad(
        loss.value.sum(), [*(p for _, p in weights), *own], retain_graph=True, allow_unused=True
    )
    for gradient in found:
        if gradient is not None:
            finite(f"the gradient of {who}", gradient, "one NaN spoils every weight")
    reached = {name for (name, _), g in zip(weights, found, strict=False) if g is not None}
    moving = _moving(learner, loss, x, cond)
    dead = [name for name, _ in weights if name in moving and name not in reached]
    expect(not dead, f"the gradient of {who} should reach every weight in use but never reaches {', '.join(dead[:4])}")
    total = sum(float(g.abs().sum()) for g in found if g is not None)
    expect(total > 0, f"the gradient of {who} should not be all zeros but is; nothing would be learnt")
    if not at.requires_grad:  # symbols: that a row's loss is its own was seen in batches of others
        return
    (coupled,) = torch.autograd.grad(loss.value[0], at, allow_unused=True)
    expect(
        coupled is None or not coupled[1:].any(),
        f"the loss of {who} about one row should not depend on the others' data but does; batches are "
        "split and gathered",
    )


def _moving(learner: Learner, loss: Loss, x: Tensor, cond: Condition) -> set[str]:
    """The weights that the learner's answer depends on."""
    if loss.shot is None:
        return set()
    if isinstance(learner, Denoiser) and learner.times is None:
        law: Any = learner(x, torch.full((len(x),), 0.5, dtype=torch.float64), cond)
    else:
        law = loss.shot.answer
    # The mean of a Categorical sums to 1, so its plain sum has no gradient; a law of whole samples has no mean.
    answer = law.mean if law.entrywise else law.log_prob(x)
    weights = _weights(learner)
    found = torch.autograd.grad(answer.square().sum(), [p for _, p in weights], retain_graph=True, allow_unused=True)
    return {name for (name, _), g in zip(weights, found, strict=True) if g is not None}


class _At(Levels):
    """The same level for every row."""

    def __init__(self, level: float) -> None:
        super().__init__()
        self.level = level

    def forward(self, process: Process, shape: tuple[int, ...], rng: Rng) -> tuple[Tensor, Tensor]:
        t = process.time(torch.full((len(rng),), self.level, dtype=torch.float64))
        return t, torch.ones_like(t)


@contextmanager
def _levels(objective: Objective, level: float) -> Iterator[bool]:
    """With every level sampler inside replaced by one level; whether there was any."""
    places = [
        (m, name, child) for m in objective.modules() for name, child in m._modules.items() if isinstance(child, Levels)
    ]
    for module, name, _ in places:
        module._modules[name] = _At(level)
    try:
        yield bool(places)
    finally:
        for module, name, child in places:
            module._modules[name] = child


def _extremes(objective: Objective, learner: Learner, x: Tensor, cond: Condition, who: str) -> None:
    """At barely any noise and at nothing but noise, losses and gradients are finite."""
    for level in _EXTREME:
        with _levels(objective, level) as there:
            if not there:
                return
            value = _loss(objective, learner, x, cond, Rng(range(len(x)))).value
            finite(f"the value of {who} at level {level:g}", value, "level samplers reach both ends")
            found = torch.autograd.grad(value.sum(), [p for _, p in _weights(learner)], allow_unused=True)
            for gradient in found:
                if gradient is not None:
                    finite(f"the gradient of {who} at level {level:g}", gradient, "level samplers reach both ends")


def _remembers(objective: Objective, learner: Learner, x: Tensor, cond: Condition, who: str) -> None:
    """What it heard is in its state: made again with it, it goes on the same."""
    rng = Rng(range(len(x)))
    for step in range(3):
        loss = _loss(objective, learner, x, cond, rng.at(step))
        with torch.no_grad():
            objective.update(learner, loss)  # type: ignore[arg-type]
    arguments: dict[str, Any] = objective._arguments
    again = type(objective)(**arguments)
    again.load_state_dict(objective.state_dict())
    mine, theirs = (_loss(each, learner, x, cond, rng.at("later")).value for each in (objective, again))
    same(
        f"{who} made again with its state and {who} itself",
        theirs,
        mine,
        "a resumed run goes on as if it had not stopped",
    )


def _prefers_the_truth(objective: Objective, who: str) -> None:
    """On average the exact answer costs less than one that is off by half a unit either way, or tilted, of symbols."""
    count, process, symbols = 256, EDM(), Absorbing(3)
    truth, exact = Missed(process), table(symbols)
    noise = Rng(range(count)).normal("data", tuple(truth.shape)).double()
    x = truth.normals.means + truth.normals.stds * noise
    many = 16 * count  # what a mask costs varies more than what a pixel does
    texts = exact.text(Rng(range(many)).categorical("data", exact.table.logsumexp(0).expand(many, -1)))
    offs = (0.0, -0.5, 0.5)
    witnesses: tuple[tuple[Tensor, Callable[[float], Denoiser]], ...] = (
        (x, lambda off: Missed(process, off)),
        (texts, lambda off: table(symbols, 4 * off)),
        (texts, lambda off: exact_chain((1.0, 0.5), 4 * off)),
    )
    for data, beside in witnesses:
        try:
            values = [objective(beside(off), data, NONE, Rng(range(len(data)))).value.double() for off in offs]
        except (Refusal, TypeError):
            continue  # it trains something else
        _lowest(values, offs, who)


def _lowest(values: list[Tensor], offs: tuple[float, ...], who: str) -> None:
    """The first of the values is lower on average than the others."""
    count = len(values[0])
    for off, value in zip(offs[1:], values[1:], strict=True):
        more = value - values[0]
        error = float(more.std()) / count**0.5
        expect(
            float(more.mean()) > 3 * error,
            f"the mean of {who} should be lower at the exact answer than {off:+g} beside it but is higher by "
            f"{-float(more.mean()):.3g} (standard error {error:.2g}); training goes where it is lowest",
        )
