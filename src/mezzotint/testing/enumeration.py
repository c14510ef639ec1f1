"""The contract of a process of symbols: its laws are those of one corruption, by summing over all symbols.

The promises are those of :mod:`mezzotint.testing.process`; here nothing is affine, but everything can be enumerated.
Every law is asked about every symbol and becomes a matrix for each pair of times and each entry, Q_t (x_0 to x_t),
R_st (x_s to x_t) and B_ts (x_t and x_0 to x_s), and then

    Q_s R_st = Q_t,   R_rs R_st = R_rt,   sum_u Q_t[v, u] B_ts[u, v] = Q_s[v],   prior = Q_1 but for what is alive,

at eta = 1 also Bayes' rule, B[u, v, w] = Q_s[v, w] R[w, u] / Q_t[v, u]. An answer that is a law enters by the mean over
it. Nothing of the process is trusted but that entries do not look at each other, which is checked too.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from torch import Tensor

from mezzotint.core.distribution import Categorical, Distribution, expand
from mezzotint.core.errors import Refusal
from mezzotint.core.rng import Rng
from mezzotint.processes.discrete import Discrete
from mezzotint.testing.expect import Broken, close, expect, finite, same, shaped, works

_TIMES = (0.0, 1e-6, 1e-3, 0.03, 0.2, 0.5, 0.8, 0.97, 1.0)
_ETAS = (0.0, 0.3, 1.0)
_NEAR = 1e-9
_MOST = 16
"""Symbols of a vocabulary that is enumerated."""

Law = Callable[..., Distribution]


def check_laws(process: Discrete) -> None:
    """Check that a process of symbols keeps the promises samplers, objectives and denoisers rely on.

    Arguments:
        process: with a vocabulary of at most 16, so that everything can be enumerated.

    Raises:
        AssertionError: naming the promise that is broken.
    """
    who = type(process).__name__
    expect(
        process.vocab <= _MOST,
        f"{who} should be checked with a vocabulary of at most {_MOST} symbols but has {process.vocab}; all are tried",
    )
    with works(f"every law of {who} on [0, 1]", "runs begin at 1 and end at 0 exactly"):
        _clock(process, who)
        every = Enumeration(process)
        _ends(every, who)
        _marginals(every, who)
        _bridge(every, who)
        _doubt(every, who)
        _likelihood(every, who)
        _held(process, every.shape, who)
        _formats(process, every, who)
        _gradients(every, who)


def shape_for(process: Discrete) -> tuple[int, ...]:
    """Two rows of as few entries as the process takes: one that counts blocks refuses what they do not divide."""
    for columns in range(3, 65):
        try:
            process.corrupt(torch.zeros(1, 2, columns, dtype=torch.int64), torch.ones(1, dtype=torch.float64))
        except Refusal:
            continue
        return 2, columns
    raise Broken(f"{type(process).__name__} should take texts of two rows of 3 to 64 symbols but refuses all of them")


class Enumeration:
    """The laws of a process as matrices for every pair of times s <= t and every entry (P, E, ..)."""

    def __init__(self, process: Discrete) -> None:
        self.process, self.shape = process, shape_for(process)
        pairs = torch.tensor([(t, s) for t in _TIMES for s in _TIMES if s <= t], dtype=torch.float64)
        self.t, self.s = pairs[:, 0], pairs[:, 1]
        vocab, symbols = range(process.vocab), range(process.symbols)
        self.here = self.matrix(lambda x, t, s: process.corrupt(x, s), vocab)
        self.there = self.matrix(lambda x, t, s: process.corrupt(x, t), vocab)
        self.up = self.matrix(lambda x, t, s: process.renoise(x, s, t), symbols)

    def matrix(self, law: Law, *over: range) -> Tensor:
        """Probabilities (P, E, *over, symbols) of ``law(texts of one symbol.., t, s)``, for every choice of symbols."""
        chosen = torch.tensor(list(itertools.product(*over)))
        pairs, count = len(self.t), len(chosen)
        texts = [c.repeat(pairs).reshape(-1, 1, 1).expand(-1, *self.shape) for c in chosen.unbind(1)]
        found = law(*texts, self.t.repeat_interleave(count), self.s.repeat_interleave(count))
        p = probabilities(found, (pairs * count, *self.shape, self.process.symbols), type(self.process).__name__)
        p = p.reshape(pairs, *(len(r) for r in over), -1, self.process.symbols)
        return p.movedim(-2, 1)


def probabilities(law: Distribution, shape: tuple[int, ...], who: str) -> Tensor:
    """The mean of a law, which has to be one over all symbols: no NaN, rows that sum to one, in float64."""
    expect(
        isinstance(law, Categorical),
        f"the laws of {who} should be Categorical but one is a {type(law).__name__}; symbols are drawn from it",
    )
    assert isinstance(law, Categorical)
    shaped(f"the logits of a law of {who}", law.logits, shape, "symbols come last, the mask with them")
    expect(
        law.logits.dtype == torch.float64,
        f"the laws of {who} should be float64 but one is {law.logits.dtype}; float32 loses what is rare next to t = 0",
    )
    wrong = int((law.logits.isnan() | (law.logits == torch.inf)).sum())
    expect(not wrong, f"the logits of the laws of {who} should be numbers but {wrong} are not; one NaN spoils a run")
    p = law.logits.exp()
    close(f"the sum of the probabilities of a law of {who} and 1", p.sum(-1), torch.ones(shape[:-1]), _NEAR, "a law")
    return p


def _texts(process: Discrete, shape: tuple[int, ...], count: int, symbols: int | None = None) -> Tensor:
    u = Rng(range(count)).uniform("text", shape)
    return (u * (symbols or process.vocab)).long()


def _clock(process: Discrete, who: str) -> None:
    t = torch.linspace(0, 1, 257, dtype=torch.float64)
    why = "grids speak in levels and turn them into times"
    alive, u = process.alive(t), process.level(t)
    for name, values in (("alive", alive), ("level", u), ("rate", process.rate(t))):
        expect(values.dtype == torch.float64, f"{who}.{name} should answer in float64 but is {values.dtype}; {why}")
        shaped(f"{who}.{name} of times (257,)", values, (257,), why)
        finite(f"{who}.{name} on [0, 1]", values, why)
    close(f"{who}.level and 1 - alive", u, 1 - alive, 1e-12, "what is not alive was lost")
    expect(float(u[0]) == 0, f"{who}.level(0) should be 0 but is {float(u[0]):.3g}; data are clean at t = 0")
    expect(float(u.max()) <= 1, f"{who}.level should be at most 1 but reaches {float(u.max()):.6g}; it is a share")
    end = float(u[-1])
    expect(end > 0.95, f"{who}.level(1) should be near 1 but is {end:.3g}; a run begins with what is missing there")
    rise = u.diff()
    where = int(rise.argmin())
    expect(
        bool((rise > 0).all()),
        f"{who}.level should rise all the way but goes from {float(u[where]):.6g} to {float(u[where + 1]):.6g} at "
        f"t = {float(t[where]):.3g}; where it does not rise a level has no time",
    )
    close(f"{who}.time(level(t)) and t", process.time(u), t, 1e-6, why)
    levels = u[-1] * torch.linspace(0, 1, 257, dtype=torch.float64)
    close(f"{who}.level(time(u)) and u", process.level(process.time(levels)), levels, _NEAR, why)
    ends = process.time(torch.tensor([0.0, 1.0], dtype=torch.float64))
    expect(ends.tolist() == [0.0, 1.0], f"{who}.time should be 0 at level 0 and 1 at level 1 but is {ends.tolist()}")
    # Away from binary and decimal fractions, where a schedule of pieces may have an edge.
    inner = (torch.arange(41, dtype=torch.float64) + 0.3719) / 41
    step = 1e-6
    slope = (process.alive(inner - step) - process.alive(inner + step)) / (2 * step)
    close(f"{who}.rate and the slope of alive", process.rate(inner), slope, 1e-6, "bounds weigh errors by it")
    many = torch.linspace(0, 1, 3001, dtype=torch.float64)
    named = {"alive": process.alive, "rate": process.rate, "level": process.level, "time": process.time}
    for name, function in named.items():
        full = function(many)
        for start in range(0, 3000, 17):
            few = slice(start, start + 1 + start % 11)
            why = "sample k is the same in any batch, and some functions (hypot, atan2, sigmoid, odd powers) are not"
            same(f"{who}.{name} of a few times and of many", function(many[few]), full[few], why)
        wide = function(t[:6].reshape(2, 1, 3))
        same(f"{who}.{name} of times (2, 1, 3)", wide, function(t[:6]).reshape(2, 1, 3), "times may be one per entry")


def _ends(every: Enumeration, who: str) -> None:
    process, shape = every.process, every.shape
    expect(
        process.mask is None or process.mask == process.vocab,
        f"{who}.mask should be None or vocab = {process.vocab} but is {process.mask}; clean symbols come first",
    )
    count = process.vocab + (process.mask is not None)
    expect(process.symbols == count, f"{who}.symbols should be {count} but is {process.symbols}; a mask is one more")
    same_law = torch.eye(process.symbols, dtype=torch.float64)
    clean = every.here[every.s == 0]
    due = same_law[: process.vocab].expand_as(clean)
    same(f"{who}.corrupt(x, 0) and x", clean, due, "data are clean at t = 0")
    prior = process.prior(shape)
    p = probabilities(prior, (1, *shape, process.symbols), who).reshape(1, -1, 1, process.symbols)
    close(f"{who}.rest and its prior", process.rest, p[0, 0, 0], _NEAR, "what is lost is drawn from it")
    gap = 0.5 * (every.there[every.t == 1] - p).abs().sum(-1)
    left = float(1 - process.level(torch.ones(1, dtype=torch.float64)))
    expect(
        float(gap.max()) <= left * process.symbols + _NEAR,
        f"{who}.prior and corrupt at t = 1 should differ by what is alive, {left:.3g}, but differ by "
        f"{float(gap.max()):.3g} in total variation; a run starts there",
    )
    drawn = prior.repeat(64).sample(Rng(range(64)))
    shaped(f"draws of {who}.prior", drawn, (64, *shape), "a run starts there")
    expect(drawn.dtype == torch.int64, f"draws of {who}.prior should be int64 but are {drawn.dtype}; they are symbols")
    seen, due_seen = set(drawn.flatten().tolist()), set((process.rest > 0).nonzero()[:, 0].tolist())
    expect(seen <= due_seen, f"draws of {who}.prior should be of {sorted(due_seen)} but hold {sorted(seen)}")
    expect(len(seen) > 1 or len(due_seen) == 1, f"draws of {who}.prior should differ but do not; seeds make samples")


def _marginals(every: Enumeration, who: str) -> None:
    process = every.process
    why = "a grid that rises re-noises, and the model was trained on what corrupt gives"
    close(f"{who}.corrupt then renoise and corrupt", every.here @ every.up, every.there, _NEAR, why)
    symbols = range(process.symbols)
    first = every.matrix(lambda x, t, s: process.renoise(x, 0.4 * s, s), symbols)
    whole = every.matrix(lambda x, t, s: process.renoise(x, 0.4 * s, t), symbols)
    close(f"{who}.renoise in two steps and in one", first @ every.up, whole, _NEAR, why)
    still = every.matrix(lambda x, t, s: process.renoise(x, t, t), symbols)
    eye = torch.eye(process.symbols, dtype=torch.float64).expand_as(still)
    same(f"{who}.renoise(x, t, t) and x", still, eye, "what does not rise is left alone")


def _down(every: Enumeration, eta: float) -> Tensor:
    """B_ts (P, E, x_t, x_0, x_s)."""
    process = every.process
    over = range(process.symbols), range(process.vocab)
    return every.matrix(lambda x, x0, t, s: process.bridge(x, x0, t, s, eta), *over)


def _bridge(every: Enumeration, who: str) -> None:
    process = every.process
    reached = every.there.transpose(2, 3)[..., None] > 0  # (P, E, x_t, x_0, 1)
    for eta in _ETAS:
        down = _down(every, eta)
        found = torch.einsum("pevu,peuvw->pevw", every.there, down)
        why = "a sampler that bridges to s must stand where the model was trained"
        close(f"{who}.corrupt then bridge(eta={eta:g}) and corrupt", found, every.here, _NEAR, why)
        ended = (every.s == 0) & (every.t > 0)
        clean = torch.eye(process.vocab, process.symbols, dtype=torch.float64).expand_as(down[ended])
        close(
            f"{who}.bridge(eta={eta:g}) down to 0 and the clean symbol",
            torch.where(reached[ended], down[ended], clean),
            clean,
            _NEAR,
            "at t = 0 data are clean",
        )
        if process.mask is not None:
            known = down[:, :, : process.vocab]
            stays = torch.eye(process.vocab, process.symbols, dtype=torch.float64)[:, None].expand_as(known)
            same(f"unmasked symbols after {who}.bridge(eta={eta:g})", known, stays, "what is not masked was never lost")
        if eta == 1:
            both = every.here[:, :, None] * every.up.transpose(2, 3)[:, :, :, None]
            bayes = both / torch.where(reached, every.there.transpose(2, 3)[..., None], 1.0)
            close(
                f"{who}.bridge(eta=1) and Bayes' rule",
                torch.where(reached, down, 0.0),
                torch.where(reached, bayes, 0.0),
                1e-7,
                "eta = 1 is the process's own posterior, q(x_s | x_t, x_0)",
            )


def _answers(process: Discrete) -> Tensor:
    """Laws of a clean symbol (vocab, rows): one of every kind, one that is sure, one that rules something out."""
    ramp = torch.arange(process.vocab, dtype=torch.float64)
    sure = torch.where(ramp == 1, 0.0, -30.0)
    out = torch.where(ramp == 0, -torch.inf, -0.3 * ramp)
    return torch.stack([0 * ramp, torch.sin(3 * ramp + 1), sure, out])


def _doubt(every: Enumeration, who: str) -> None:
    """The bridge of an answer that is a law is the mean of bridges, and carries what came with the answer."""
    process = every.process
    logits = _answers(process)
    p = logits.softmax(-1)

    def asked(x: Tensor, k: Tensor, t: Tensor, s: Tensor, eta: float) -> Distribution:
        return process.bridge(x, Categorical(logits[k]), t, s, eta)

    for eta in _ETAS:
        down = _down(every, eta)
        over = range(process.symbols), range(len(logits))
        found = every.matrix(lambda x, k, t, s, eta=eta: asked(x, k, t, s, eta), *over)
        mean = torch.einsum("kv,peuvw->peukw", p, down)
        # Where x_t cannot come of a symbol that the answer holds possible, Bayes' rule has nothing to average.
        reached = every.there.transpose(2, 3)[:, :, :, None] > 0
        fair = (reached | (p == 0)).all(-1, keepdim=True)
        close(
            f"{who}.bridge(eta={eta:g}) of an answer and the mean of bridges over it",
            torch.where(fair, found, 0.0),
            torch.where(fair, mean, 0.0),
            _NEAR,
            "that is what a step of the true reverse process is",
        )
    x, t = _texts(process, every.shape, 2), torch.full((2,), 0.5, dtype=torch.float64)
    told = Categorical(torch.zeros(2, *every.shape, process.vocab), {"cost": torch.ones(2)})
    law = process.bridge(x, told, t, 0.5 * t)
    expect("cost" in law.aux, f"{who}.bridge should carry the answer's aux but has {sorted(law.aux)}; it is read later")


def _likelihood(every: Enumeration, who: str) -> None:
    process, pairs = every.process, len(every.t)
    count = process.symbols
    texts = torch.arange(count).repeat(pairs).reshape(-1, 1, 1).expand(-1, *every.shape)
    found = process.likelihood(texts, every.t.repeat_interleave(count))
    shaped(f"{who}.likelihood", found, (pairs * count, *every.shape, process.vocab), "one for every clean symbol")
    why = "exact denoisers are Bayes' rule on it"
    expect(
        not bool(found.isnan().any()) and bool((found.amax(-1) == 0).all()),
        f"{who}.likelihood should be relative to its largest value, which is then 0, but is not; {why}",
    )
    found = found.reshape(pairs, count, -1, process.vocab).transpose(1, 2)
    due = every.there.transpose(2, 3)  # (P, E, x_t, x_0)
    top = due.amax(-1, keepdim=True)
    ratio = torch.where(top > 0, due / torch.where(top > 0, top, 1.0), found.exp())
    close(f"{who}.likelihood and corrupt", found.exp(), ratio, _NEAR, why)
    if process.mask is not None:
        hidden = found[:, :, process.mask]
        same(f"{who}.likelihood of a mask and 0", hidden, torch.zeros_like(hidden), "a mask says nothing, at no time")


def _held(process: Discrete, shape: tuple[int, ...], who: str) -> None:
    """Entries with t == s come through, whatever the answer says of them."""
    x = _texts(process, shape, len(_TIMES), process.symbols)
    t = torch.tensor(_TIMES, dtype=torch.float64)
    silent = Categorical(torch.full((*x.shape, process.vocab), torch.nan))
    why = "a finished row, a given stream and an inpainted entry are the same case, t == s"
    for eta in _ETAS:
        law = process.bridge(x, silent, t, t, eta)
        hot = torch.nn.functional.one_hot(x, process.symbols).double()
        same(f"{who}.bridge(x, NaN, t, t, eta={eta:g}) and x", law.mean.nan_to_num(-1.0), hot, why)
        same(f"a draw of {who}.bridge(x, NaN, t, t, eta={eta:g}) and x", law.sample(Rng(range(len(x)))), x, why)
    # One time an entry: the second column is held, the others fall.
    entry = torch.full((len(x), 1, shape[1]), 0.7, dtype=torch.float64)
    entry[..., 0], entry[..., 2] = 0.9, 1.0
    to = torch.where(torch.arange(shape[1]) == 1, entry, 0.4 * entry)
    logits = torch.zeros(*x.shape, process.vocab)
    blind = Categorical(torch.where((entry == to)[..., None], torch.nan, logits))
    mixed = process.bridge(x, blind, entry, to)
    same(f"held entries of {who}.bridge among falling ones", mixed.mean[..., 1, :], hot[..., 1, :], why)
    for column in (0, 2):
        alone = process.bridge(x, Categorical(logits), entry[:, 0, column], to[:, 0, column])
        same(
            f"an entry of {who}.bridge at its own times and alone",
            mixed.mean[..., column, :],
            alone.mean[..., column, :],
            "times may be one per entry",
        )


def _formats(process: Discrete, every: Enumeration, who: str) -> None:
    t, s, shape = every.t, every.s, every.shape
    x, rows = _texts(process, shape, len(t)), [7, 0, 3]
    logits = Rng(range(len(t))).normal("logits", (*shape, process.vocab))
    laws: list[tuple[str, Callable[..., Categorical]]] = [
        ("corrupt", lambda x, a, t, s: process.corrupt(x, t)),
        ("renoise", lambda x, a, t, s: process.renoise(x, s, t)),
        ("bridge", lambda x, a, t, s: process.bridge(x, Categorical(a), t, s, 0.3)),
        ("likelihood", lambda x, a, t, s: Categorical(process.likelihood(x, t))),
    ]
    for name, law in laws:

        def bits(*given: Tensor, law: Callable[..., Categorical] = law) -> Tensor:
            return law(*given).logits.clamp(min=-1e300)  # minus infinity has no difference to name

        full = bits(x, logits, t, s)
        why = "sample k is the same in any batch"
        for some in (rows, [2]):
            few = bits(x[some], logits[some], t[some], s[some])
            same(f"rows of {who}.{name} alone and in a crowd", few, full[some], why)
        ranked = bits(x, logits, expand(t, x), expand(s, x))
        same(f"{who}.{name} at times (B, 1, 1) and (B,)", ranked, full, "both say one time per sample")
        scale = 1 - 0.2 * torch.arange(shape[1], dtype=torch.float64).clamp(max=4).reshape(1, 1, -1)
        own = bits(x, logits, expand(t, x) * scale, expand(s, x) * scale)
        each = [bits(x, logits, t * scale[0, 0, k], s * scale[0, 0, k])[..., k, :] for k in range(shape[1])]
        same(f"{who}.{name} at one time an entry", own, torch.stack(each, -2), "entries have their own times")
        for other in ((shape[0] * shape[1],), (1, *shape), (shape[1], shape[0])):
            flat = bits(x.reshape(-1, *other), logits.reshape(-1, *other, process.vocab), t, s)
            same(
                f"{who}.{name} of texts {other} and {shape}",
                flat.reshape(full.shape),
                full,
                "entries are counted row by row",
            )
    # Texts of many symbols against texts of one: an entry looks at nobody.
    mixed = process.corrupt(x, t).mean.reshape(len(t), -1, process.symbols)
    hot = torch.nn.functional.one_hot(x.flatten(1), process.vocab).double()
    close(
        f"an entry of {who}.corrupt among others and among its like",
        mixed,
        torch.einsum("pev,pevw->pew", hot, every.there),
        1e-12,
        "entries are lost one by one",
    )


def _gradients(every: Enumeration, who: str) -> None:
    """No NaN hides in a branch that was not taken, and no answer is too sure: rewards differentiate whole runs."""
    process, pairs = every.process, len(every.t)
    ramp = torch.arange(process.vocab, dtype=torch.float64)
    kinds = [*_answers(process), -725.0 * ramp, -1e4 * ramp, -355.0 * ramp]
    x = _texts(process, every.shape, pairs, process.symbols)
    for logits in kinds:
        for eta in _ETAS:
            at = logits.expand(*x.shape, -1).clone().requires_grad_()
            law = process.bridge(x, Categorical(at), every.t, every.s, eta)
            assert isinstance(law, Categorical)
            said = torch.where(law.logits == -torch.inf, 0.0, law.logits).sum()
            (gradient,) = torch.autograd.grad(said, at)
            finite(
                f"the gradient of {who}.bridge(eta={eta:g}) by logits {[f'{v:g}' for v in logits.tolist()]}",
                gradient,
                "rewards differentiate whole runs",
            )
