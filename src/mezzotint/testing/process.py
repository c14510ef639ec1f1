"""The contract of a process: its laws agree with each other, at both ends and in any shape of time.

Samplers go down by ``bridge`` and up by ``renoise``, objectives corrupt, guidance reads levels; each trusts the others'
laws to be those of one corruption:

    corrupt then bridge = corrupt,   corrupt then renoise = corrupt,   renoise twice = renoise,   prior = corrupt at 1,

and with eta = 1 the bridge is Bayes' rule, q(x_s | x_t, x_0) ~ q(x_t | x_s) q(x_s | x_0). The laws of a continuous
process are affine in what they are given, so marginals are composed exactly, from two probes each, and not sampled.

A process that knows q(x_t | x_0) alone, as one whose noise is not normal may, refuses ``renoise`` and fresh noise in
the ``bridge``; what it does know is held to the same promises. The laws of symbols are enumerated instead, by
:mod:`mezzotint.testing.enumeration`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mezzotint.core.distribution import Distribution, Gaussian, expand
from mezzotint.core.errors import Refusal
from mezzotint.core.rng import Rng
from mezzotint.processes.base import Continuous, Process
from mezzotint.processes.discrete import Discrete
from mezzotint.testing.enumeration import check_laws
from mezzotint.testing.expect import close, expect, finite, same, shaped, works
from mezzotint.testing.spec import check_made

_SHAPE = (2, 3)
_TIMES = (0.0, 1e-6, 1e-3, 0.03, 0.2, 0.5, 0.8, 0.97, 1.0)
_ETAS = (0.0, 0.3, 1.0)
_NEAR = 1e-9


def check_process(process: Process) -> None:
    """Check that a process keeps the promises samplers, objectives and guidance rely on.

    Arguments:
        process: of real data, whose laws have a ``mean`` and, unless they are point masses, a ``variance``; or of
            symbols, whose laws are ``Categorical``.

    Raises:
        AssertionError: naming the promise that is broken.
    """
    who = type(process).__name__
    expect(
        isinstance(process, Continuous | Discrete),
        f"check_process should be given a processes.Continuous or a processes.Discrete but was given a {who}; the laws "
        "of other kinds of data are neither affine nor enumerated, and nothing would be checked",
    )
    check_made(process)
    if isinstance(process, Discrete):
        check_laws(process)
        return
    assert isinstance(process, Continuous)
    with works(f"every law of {who} on [0, 1]", "runs begin at 1 and end at 0 exactly"):
        _clock(process, who)
        _ends(process, who)
        _marginals(process, who)
        _bridge(process, who)
        _held(process, who)
        _formats(process, who)
        _gradients(process, who)


def rises(process: Process) -> bool:
    """Whether a process has a law upwards; one without refuses ``renoise``, and with it every grid that rises."""
    half = torch.full((1,), 0.5, dtype=torch.float64)
    try:
        process.renoise(torch.zeros(1, *_SHAPE, dtype=torch.float64), 0.5 * half, half)
    except Refusal:
        return False
    return True


def _bridges(process: Process, eta: float) -> bool:
    """Whether a process has a bridge with this share of fresh noise."""
    half, x = torch.full((1,), 0.5, dtype=torch.float64), torch.zeros(1, *_SHAPE, dtype=torch.float64)
    try:
        process.bridge(x, x, half, 0.5 * half, eta)
    except Refusal:
        return False
    return True


def spread(law: Distribution) -> Tensor:
    """The variance of a law, entry by entry; a law without one is a point mass."""
    variance: Tensor = getattr(law, "variance", torch.zeros_like(law.mean))
    return variance.expand_as(law.mean)


def affine(law: Callable[[Tensor], Distribution], at: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(slope, mean at 0, variance) of a law whose mean is affine in ``at``, by two probes."""
    zero = law(torch.zeros_like(at))
    return law(torch.ones_like(at)).mean - zero.mean, zero.mean, spread(zero)


def _pairs() -> tuple[Tensor, Tensor]:
    """Every (t, s) of the times with s <= t, both (B,)."""
    pairs = [(t, s) for t in _TIMES for s in _TIMES if s <= t]
    both = torch.tensor(pairs, dtype=torch.float64)
    return both[:, 0], both[:, 1]


def _data(count: int) -> Tensor:
    return Rng(range(count)).normal("x", _SHAPE).double()


def _clock(process: Continuous, who: str) -> None:
    t = torch.linspace(0, 1, 257, dtype=torch.float64)
    u = process.level(t)
    why = "guidance and grids speak in levels and turn them into times"
    expect(u.dtype == torch.float64, f"{who}.level should answer in float64 but answers in {u.dtype}; {why}")
    shaped(f"{who}.level of times (257,)", u, (257,), why)
    finite(f"{who}.level on [0, 1]", u, why)
    expect(float(u[0]) == 0, f"{who}.level(0) should be 0 but is {float(u[0]):.3g}; data are clean at t = 0")
    expect(float(u.max()) <= 1, f"{who}.level should be at most 1 but reaches {float(u.max()):.6g}; it is a share")
    rise = u.diff()
    where = int(rise.argmin())
    expect(
        bool((rise > 0).all()),
        f"{who}.level should rise all the way but goes from {float(u[where]):.6g} to {float(u[where + 1]):.6g} at "
        f"t = {float(t[where]):.3g}; where it does not rise a level has no time",
    )
    back = process.time(u)
    close(f"{who}.time(level(t)) and t", back, t, 1e-6, why)
    levels = u[-1] * torch.linspace(0, 1, 257, dtype=torch.float64)
    close(f"{who}.level(time(u)) and u", process.level(process.time(levels)), levels, _NEAR, why)
    ends = process.time(torch.tensor([0.0, 1.0], dtype=torch.float64))
    expect(
        ends.tolist() == [0.0, 1.0],
        f"{who}.time should be 0 at level 0 and 1 at level 1 but is {ends.tolist()}; levels beyond the process's "
        "own end stand at its end",
    )
    many = torch.linspace(0, 1, 3001, dtype=torch.float64)
    functions = {"alpha": process.alpha, "sigma": process.sigma, "level": process.level, "time": process.time}
    for name, function in functions.items():
        full = function(many)
        for start in range(0, 3000, 17):
            few = slice(start, start + 1 + start % 11)
            why = "sample k is the same in any batch, and some functions (hypot, atan2, sigmoid, odd powers) are not"
            same(f"{who}.{name} of a few times and of many", function(many[few]), full[few], why)
    wide = process.level(t[:6].reshape(2, 1, 3))
    same(f"{who}.level of times (2, 1, 3)", wide, u[:6].reshape(2, 1, 3), "times may be one per entry")


def _ends(process: Continuous, who: str) -> None:
    t, s = _pairs()
    x = _data(len(t))
    laws = {"corrupt": process.corrupt(x, t)}
    laws |= {"renoise": process.renoise(x, s, t)} if rises(process) else {}
    laws |= {f"bridge(eta={eta:g})": process.bridge(x, x, t, s, eta) for eta in _ETAS if _bridges(process, eta)}
    for name, law in laws.items():
        finite(f"the mean of {who}.{name} for all times, 0 and 1 among them", law.mean, "runs begin at 1 and end at 0")
        variance = spread(law)
        finite(f"the variance of {who}.{name} for all times", variance, "runs begin at 1 and end at 0")
        expect(
            bool((variance >= 0).all()), f"the variance of {who}.{name} should not be negative but is; it is drawn from"
        )
    clean = process.corrupt(x, torch.zeros(len(x), dtype=torch.float64))
    same(f"{who}.corrupt(x, 0) and x", clean.mean, x, "data are clean at t = 0")
    expect(not spread(clean).any(), f"{who}.corrupt(x, 0) should have no spread but has; data are clean at t = 0")
    one = torch.ones(1, dtype=torch.float64)
    prior = process.prior(_SHAPE)
    shaped(f"the mean of {who}.prior({_SHAPE})", prior.mean, (1, *_SHAPE), "it is one row, to be repeated")
    end = process.corrupt(torch.ones(1, *_SHAPE, dtype=torch.float64), one)
    close(
        f"the variance of {who}.prior and of corrupt at t = 1",
        spread(prior).double(),
        spread(end),
        1e-6,
        "a run starts there",
    )
    lost = 0.5 * (end.mean - prior.mean.double()) ** 2 / spread(end)
    expect(
        float(lost.max()) < 0.05,
        f"{who}.corrupt at t = 1 should have forgotten data of unit size but lies {float(lost.max()):.3g} nats an "
        "entry from the prior; a run that starts there begins with that error",
    )
    drawn = prior.repeat(4).sample(Rng(range(4)))
    shaped(f"four draws of {who}.prior", drawn, (4, *_SHAPE), "a run starts there")
    expect(
        len(torch.unique(drawn[:, 0, 0])) == 4,
        f"four draws of {who}.prior should differ but do not; seeds make samples",
    )


def _marginals(process: Continuous, who: str) -> None:
    t, s = _pairs()
    x0 = _data(len(t))
    above = process.corrupt(x0, t)
    if isinstance(process, Continuous):
        x = above.sample(Rng(range(len(x0))))
        alpha, sigma = process.scales(t, x)
        noise = process.noise(x, x0, t)
        close(
            f"alpha x_0 + sigma {who}.noise and x_t", alpha * x0 + sigma * noise, x, _NEAR, "solvers read the noise off"
        )
    if not rises(process):
        return
    below = process.corrupt(x0, s)
    slope, offset, fresh = affine(lambda x: process.renoise(x, s, t), x0)
    why = "a grid that rises re-noises, and the model was trained on what corrupt gives"
    close(f"the mean of {who}.corrupt then renoise and of corrupt", slope * below.mean + offset, above.mean, _NEAR, why)
    got = slope**2 * spread(below) + fresh
    _ratio(f"the variance of {who}.corrupt then renoise and of corrupt", got, spread(above), why)
    r = 0.4 * s
    first, _, start = affine(lambda x: process.renoise(x, r, s), x0)
    whole, _, all_of_it = affine(lambda x: process.renoise(x, r, t), x0)
    close(f"{who}.renoise in two steps and in one", first * slope, whole, _NEAR, why)
    _ratio(f"the variance of {who}.renoise in two steps and in one", slope**2 * start + fresh, all_of_it, why)
    still = process.renoise(x0, t, t)
    same(f"{who}.renoise(x, t, t) and x", still.mean, x0, "what does not rise is left alone")
    expect(
        not spread(still).any(),
        f"{who}.renoise(x, t, t) should have no spread but has; what does not rise is left alone",
    )


def _ratio(what: str, found: Tensor, expected: Tensor, why: str, within: float = 1e-5) -> None:
    """Two variances agree relative to themselves, or both vanish beside unit data."""
    scale = expected.clamp(min=1e-9)
    gap = float(((found - expected).abs() / scale).max())
    expect(gap <= within, f"{what} should agree but differ by up to {gap:.3g} of themselves; {why}")


def _bridge(process: Continuous, who: str) -> None:
    t, s = _pairs()
    x0 = _data(len(t))
    there, here = process.corrupt(x0, t), process.corrupt(x0, s)
    why = "a sampler that bridges to s must stand where the model was trained"
    worked = [eta for eta in _ETAS if _bridges(process, eta)]
    expect(worked, f"{who}.bridge should know some eta of {_ETAS} but refuses all; no sampler could use it")
    for eta in worked:
        slope, offset, fresh = affine(lambda x, eta=eta: process.bridge(x, x0, t, s, eta), x0)  # type: ignore[misc]
        name = f"{who}.corrupt then bridge(eta={eta:g}) and of corrupt"
        close(f"the mean of {name}", slope * there.mean + offset, here.mean, 1e-7, why)
        _ratio(f"the variance of {name}", slope**2 * spread(there) + fresh, spread(here), why)
        if eta == 1:
            expect(
                rises(process),
                f"{who} should know renoise, as it knows bridge(eta=1), but refuses it; the posterior is made from it",
            )
            up, _, _ = affine(lambda x: process.renoise(x, s, t), x0)
            slope, _, _ = affine(lambda x: process.bridge(x, torch.zeros_like(x0), t, s), x0)  # it may be 1e-12
            together = "eta = 1 is the process's own posterior, q(x_s | x_t, x_0)"
            _ratio(
                f"the covariance of x_s and x_t under {who}.bridge(eta=1) and renoise",
                slope * spread(there),
                up * spread(here),
                together,
                1e-3,  # a slope of 1e-12 is what is left of a difference of ones
            )
        # An answer with a spread of its own: the mean of the bridge over x_0.
        of_x0, _, _ = affine(lambda x, eta=eta: process.bridge(x0, x, t, s, eta), x0)  # type: ignore[misc]
        own = torch.full_like(x0, 0.37)
        wide = process.bridge(x0, Gaussian(x0, own), t, s, eta)
        plain = process.bridge(x0, x0, t, s, eta)
        close(
            f"the mean of {who}.bridge for an answer with a spread",
            wide.mean,
            plain.mean,
            _NEAR,
            "its spread moves nothing",
        )
        expected = spread(plain) + of_x0**2 * own
        close(
            f"the variance of {who}.bridge for an answer with a spread",
            spread(wide),
            expected,
            1e-7,
            "a learnt variance is part of the law",
        )
    ended = process.bridge(x0, x0 + 1, t, torch.zeros_like(t), worked[-1])
    moved = expand(t > 0, x0)
    close(
        f"{who}.bridge down to 0 and the answer",
        torch.where(moved, ended.mean, x0),
        torch.where(moved, x0 + 1, x0),
        _NEAR,
        "at t = 0 data are clean",
    )


def _held(process: Continuous, who: str) -> None:
    """Entries with t == s come through bit for bit, whatever the answer says of them."""
    x = _data(len(_TIMES))
    t = torch.tensor(_TIMES, dtype=torch.float64)
    silent = torch.full_like(x, torch.nan)
    why = "a finished row, a given stream and an inpainted frame are the same case, t == s"
    for eta in (0.0, 1.0):
        if not _bridges(process, eta):
            continue
        law = process.bridge(x, silent, t, t, eta)
        same(f"{who}.bridge(x, NaN, t, t, eta={eta:g}) and x", law.mean, x, why)
        expect(not spread(law).any(), f"{who}.bridge(t, t) should have no spread but has; {why}")
        same(f"a draw of {who}.bridge(x, NaN, t, t, eta={eta:g}) and x", law.sample(Rng(range(len(x)))), x, why)
    # One time an entry: the second column is held, the others fall.
    entry = torch.tensor([0.7, 0.5, 1.0], dtype=torch.float64).reshape(1, 1, 3)
    to = torch.tensor([0.3, 0.5, 0.0], dtype=torch.float64).reshape(1, 1, 3)
    entry, to = entry.expand(len(x), 1, 3), to.expand(len(x), 1, 3)
    mixed = process.bridge(x, torch.where(entry == to, torch.nan, 0.5 * x), entry, to, 0.0)
    same(f"held entries of {who}.bridge among falling ones", mixed.mean[..., 1], x[..., 1], why)
    for column in (0, 2):
        alone = process.bridge(x, 0.5 * x, entry[:, 0, column], to[:, 0, column], 0.0)
        close(
            f"an entry of {who}.bridge at its own times and alone",
            mixed.mean[..., column],
            alone.mean[..., column],
            _NEAR,
            "times may be one per entry",
        )


def _formats(process: Continuous, who: str) -> None:
    t, s = _pairs()
    x, rows = _data(len(t)), [7, 0, 3]
    laws: list[tuple[str, Callable[[Tensor, Tensor, Tensor], Any]]] = [
        ("corrupt", lambda x, t, s: process.corrupt(x, t)),
        ("renoise", lambda x, t, s: process.renoise(x, s, t)),
        ("bridge", lambda x, t, s: process.bridge(x, 0.3 * x, t, s, 0.0)),
    ]
    for name, law in laws:
        if name == "renoise" and not rises(process):
            continue
        full = law(x, t, s)
        few = law(x[rows], t[rows], s[rows])
        same(
            f"rows of {who}.{name} alone and in a crowd", few.mean, full.mean[rows], "sample k is the same in any batch"
        )
        ranked = law(x, expand(t, x), expand(s, x))
        same(f"{who}.{name} at times (B, 1, 1) and (B,)", ranked.mean, full.mean, "both say one time per sample")
        columns = [law(x, (1 - 0.2 * k) * t, (1 - 0.2 * k) * s).mean[..., k] for k in range(3)]
        scale = torch.tensor([1.0, 0.8, 0.6], dtype=torch.float64).reshape(1, 1, 3)
        own = law(x, expand(t, x) * scale, expand(s, x) * scale).mean
        close(
            f"{who}.{name} at one time an entry",
            own,
            torch.stack(columns, -1),
            _NEAR,
            "streams and frames have their own times",
        )
        single = law(x.float(), t, s)
        expect(
            single.mean.dtype == torch.float32,
            f"{who}.{name} of float32 should be float32 but is {single.mean.dtype}; networks run in it",
        )
        close(f"{who}.{name} in float32 and float64", single.mean, full.mean.float(), 1e-5, "scales belong in float64")
        close(
            f"the variance of {who}.{name} in float32 and float64",
            spread(single).double(),
            spread(full).double(),
            1e-5,
            "scales belong in float64",
        )


def _gradients(process: Continuous, who: str) -> None:
    """No NaN hides in a branch that was not taken: rewards differentiate whole runs."""
    t, s = _pairs()
    x, x0 = _data(len(t)).requires_grad_(), (0.5 * _data(len(t))).requires_grad_()
    total = process.corrupt(x0, t).mean.sum() + (process.renoise(x, s, t).mean.sum() if rises(process) else 0)
    total = total + process.bridge(x, x0, t, s, 0.0).mean.sum() + process.noise(x, x0, t).sum()
    for name, gradient in zip(("x", "x_0"), torch.autograd.grad(total, (x, x0)), strict=True):
        finite(f"the gradient of {who}'s laws by {name} for all times", gradient, "rewards differentiate whole runs")
