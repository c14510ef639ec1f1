"""Layouts whose law is known: every pixel is normal given its class, so every guided answer has a closed form.

A picture has two channels. Given a layout, a pixel of class c is N(m_c, C_c), one of which nothing is said is the
mixture of all classes, and where the layout was dropped it is N(m_0, C_0), or the mixture. :class:`Knowing` says so as
a network would that had learnt it; it reads the maps of a real ``conditions.Layout`` whose vectors are one-hot and
whose null is zero, so that everything between a layout and a guided sample takes part. With V' = alpha^2 V + sigma^2 I
the guided score at scale s is

    equal C       that of N(m_0 + s (m_c - m_0), C), corrupted,
    others        that of a normal law of precision s / C_c' + (1 - s) / C_0',

so with equal C the guided flow draws that law at any s, and with others it draws none that has a name, for the law of
the second line at one level is not that of another level corrupted. A learnt variance stays the conditional answer's.

Source: Wang et al. 2022, "Semantic image synthesis via diffusion models" (2207.00050, section 3.3), whose scale is ours
less one; the closed forms are ours.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from mezzotint.conditions import Encoder, Layout
from mezzotint.conditions.layout import UNSAID
from mezzotint.core.condition import Condition
from mezzotint.core.rng import Rng
from mezzotint.denoiser.counted import Counted
from mezzotint.denoiser.exact import Mixture
from mezzotint.denoiser.preconditioned import Preconditioned
from mezzotint.evidence.recipe import Setting
from mezzotint.guidance import CFG
from mezzotint.networks.context import Context
from mezzotint.processes.base import Continuous
from mezzotint.processes.cosine import Cosine
from mezzotint.processes.edm import EDM
from mezzotint.processes.flow import Flow
from mezzotint.processes.vp import VP
from mezzotint.samplers import Level, Sampling, UniPC

CLASSES, SPACE = 4, (3, 5)
PROCESSES: dict[str, Continuous] = {"EDM": EDM(), "VP": VP(), "Cosine": Cosine(), "Flow": Flow()}
SCALES = (0.0, 1.0, 1.5, 3.0)
PREDICTIONS = ("noise", "x0", "v", "velocity")
PORT = "decoder"
Rows = Iterator[tuple[str, dict[str, float]]]


class Classes:
    """The laws of all classes and of a pixel that is told nothing, drawn at random.

    Arguments:
        seed: of what is drawn.
        equal: whether all covariances are one.
        mixed: whether a pixel that is told nothing is the mixture of the classes, and no normal of its own.
    """

    def __init__(self, seed: int, equal: bool, mixed: bool = False) -> None:
        rng, self.mixed = Rng([seed]).at("classes"), mixed
        roots = rng.normal("roots", (CLASSES, 2, 2))[0].double()
        spreads = 0.1 * roots @ roots.mT + 0.05 * torch.eye(2)
        # The null is the widest, or a guided precision could fall below zero.
        widest = spreads.sum(0) + 0.2 * torch.eye(2)
        self.means = 2 * rng.normal("means", (CLASSES, 2))[0].double()
        self.spreads = widest.expand(CLASSES, 2, 2) if equal else spreads
        self.mean, self.spread = rng.normal("null", (2,))[0].double(), widest

    def told(self, process: Continuous) -> Mixture:
        """The denoiser of a pixel whose class is its label; without one it is of all classes."""
        return Mixture(process, self.means, self.spreads, labels=range(CLASSES))

    def untold(self, process: Continuous) -> Mixture:
        """The denoiser of a pixel without a layout."""
        return self.told(process) if self.mixed else Mixture(process, self.mean[None], self.spread[None])


class Knowing(nn.Module):
    """A network that has the laws by heart and says ``prediction`` of every pixel.

    Arguments:
        classes: the laws.
        process: what corrupts.
        prediction: ``noise``, ``x0``, ``v`` or ``velocity``.
    """

    def __init__(self, classes: Classes, process: Continuous, prediction: str) -> None:
        super().__init__()
        self.process, self.prediction, self.shape = process, prediction, (2, *SPACE)
        self.told, self.untold = classes.told(process), classes.untold(process)

    def forward(self, x: Tensor, noise: Tensor, context: Context, want: tuple[str, ...] = ()) -> Tensor:
        maps = context.maps[PORT]
        maps = maps if maps.ndim == x.ndim else maps[..., None, None]
        said = flat(maps.expand(len(x), -1, *x.shape[2:]))
        pixels, times = flat(x), (noise / 1000).repeat_interleave(x[0, 0].numel())
        cond = Condition(label=said.argmax(1).clamp(max=CLASSES - 1)).drop("label", rows=said[:, CLASSES] > 0)
        clean = torch.where(
            (said == 0).all(1, keepdim=True), self.untold(pixels, times).mean, self.told(pixels, times, cond).mean
        )
        a, s = self.process.scales(times, pixels)
        e = (pixels - a * clean) / s
        says = {"noise": e, "x0": clean, "v": a * e - s * clean, "velocity": e - clean}[self.prediction]
        return says.reshape(len(x), *x.shape[2:], 2).movedim(-1, 1)


def flat(x: Tensor) -> Tensor:
    """Pixels (B H W, C) of (B, C, H, W)."""
    return x.movedim(1, -1).reshape(-1, x.shape[1])


def model(classes: Classes, process: Continuous, prediction: str = "x0") -> Preconditioned:
    """The denoiser around that network, told layouts."""
    part = Layout(CLASSES, CLASSES + 1, PORT)
    with torch.no_grad():
        part.table.weight.copy_(torch.eye(CLASSES + 1))  # the last where nothing is said
        part.null_trained.fill_(True)
    network = Knowing(classes, process, prediction)
    made = Preconditioned(network, process, Encoder(layout=part), 1.0, prediction, "time", scaled=False)
    return made.double().requires_grad_(False)


def score(law: MultivariateNormal | MixtureSameFamily, x: Tensor) -> Tensor:
    """The slope of a log-density, (N, 2), by torch."""
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        return torch.autograd.grad(law.log_prob(x).sum(), x)[0]  # type: ignore[no-untyped-call]


class Points:
    """Pictures at random levels, and the layouts that they are told.

    Attributes:
        x, t, cond: as a denoiser takes them; no pixel is unsaid.
        a, s: alpha and sigma of each pixel, (N, 1).
        of: the class of each pixel, (N,).
    """

    def __init__(self, process: Continuous, seed: int, count: int) -> None:
        keys = Rng([seed]).at("points").repeat(count).at(torch.arange(count))
        layout = (CLASSES * keys.uniform("layout", SPACE)).long()
        self.process, self.t = process, process.time(0.05 + 0.9 * keys.uniform("level", ()))
        clean = 2 * keys.normal("clean", (2, *SPACE)).double()
        self.x, self.cond = process.corrupt(clean, self.t).sample(keys), Condition(layout=layout)
        times = self.t.repeat_interleave(layout[0].numel())
        self.of, (self.a, self.s) = layout.flatten(), process.scales(times, flat(self.x))

    def apart(self, answer: Tensor, due: Tensor) -> float:
        """How far the score of a clean estimate is from one, in units of the noise."""
        found = (self.a * flat(answer) - flat(self.x)) / self.s
        return float((found - self.s * due).abs().max())

    def noised(self, mean: Tensor, spread: Tensor) -> MultivariateNormal:
        """The law of each pixel at its level, of clean means (N, 2) and covariances (N, 2, 2)."""
        a, s = self.a[..., None], self.s[..., None]
        return MultivariateNormal(self.a * mean, a**2 * spread + s**2 * torch.eye(2))


def scores(s: Setting, seed: int) -> Rows:
    """Guided answers against the scores of the laws that they should be of."""
    for name, process in PROCESSES.items():
        at = Points(process, seed, s.points)
        for kind, equal, mixed in (("equal", True, False), ("different", False, False), ("mixture", False, True)):
            classes = Classes(seed, equal, mixed)
            own = at.noised(classes.means[at.of], classes.spreads[at.of])
            null = at.noised(classes.mean.expand(len(at.of), 2), classes.spread.expand(len(at.of), 2, 2))
            a, noise = at.a[:, None, :, None], (at.s**2)[:, None, :, None] * torch.eye(2)
            every = MultivariateNormal(a[..., 0] * classes.means, a**2 * classes.spreads + noise)
            all_classes = MixtureSameFamily(Categorical(torch.ones(len(at.of), CLASSES)), every)
            guided = model(classes, process)
            for scale in SCALES:
                found = CFG(guided, scale)(at.x, at.t, at.cond).mean
                if mixed:
                    due = scale * score(own, flat(at.x)) + (1 - scale) * score(all_classes, flat(at.x))
                elif equal:
                    moved = classes.mean + scale * (classes.means[at.of] - classes.mean)
                    due = score(at.noised(moved, classes.spreads[at.of]), flat(at.x))
                else:
                    shares = scale * own.precision_matrix, (1 - scale) * null.precision_matrix
                    pull = shares[0] @ own.loc[..., None] + shares[1] @ null.loc[..., None]
                    precision = shares[0] + shares[1]
                    due = score(
                        MultivariateNormal((precision.inverse() @ pull)[..., 0], precision_matrix=precision), flat(at.x)
                    )
                yield f"scores: {kind}, {name}, s = {scale:g}", {"apart": at.apart(found, due)}


def forms(s: Setting, seed: int) -> Rows:
    """The same guidance on what a network says, whatever that is; and the paper's scale."""
    classes = Classes(seed, False)
    for name, process in PROCESSES.items():
        at, scale = Points(process, seed, s.points), 1 + 2 * float(Rng([seed]).uniform("scale", ()))
        told, dropped = at.cond, at.cond.drop("layout")
        first = model(classes, process)
        guided, (a, noise) = CFG(first, scale)(at.x, at.t, told).mean, process.scales(at.t, at.x)
        e, null = ((at.x - a * first(at.x, at.t, cond).mean) / noise for cond in (told, dropped))
        paper = (at.x - noise * (e + (scale - 1) * (e - null))) / a
        yield f"forms: 1 + the paper's scale, {name}", {"apart": float((paper - guided).abs().max())}
        for prediction in PREDICTIONS:
            if prediction == "noise" and float(process.alpha(torch.ones(()))) < 1e-6:
                continue  # it says nothing of the data at the end of this process, and is refused
            one = model(classes, process, prediction)
            strong, weak = (one(at.x, at.t, cond, want=("output",)).aux["output"] for cond in (told, dropped))
            said = weak + scale * (strong - weak)
            clean = {
                "noise": (at.x - noise * said) / a,
                "x0": said,
                "v": (a * at.x - noise * said) / (a**2 + noise**2),
                "velocity": (at.x - noise * said) / (a + noise),
            }[prediction]
            found = CFG(one, scale)(at.x, at.t, told).mean
            gap = max(float((clean - found).abs().max()), float((guided - found).abs().max()))
            yield f"forms: {prediction}, {name}", {"apart": gap}


def scales(s: Setting, seed: int) -> Rows:
    """What a scale of 1 and of 0 are and cost, and that answers lie on a line; what is unsaid and what is dropped."""
    process, classes = Flow(), Classes(seed, False)
    at, one = Points(process, seed, s.points), model(classes, process)
    told, untold = one(at.x, at.t, at.cond).mean, one(at.x, at.t, at.cond.drop("layout")).mean
    meter = Counted(one)
    for scale, due in ((1.0, told), (0.0, untold)):
        meter.reset()
        found = CFG(meter, scale)(at.x, at.t, at.cond).mean
        more = meter.rows / len(at.x) - 1
        yield f"scales: s = {scale:g}", {"differ": float((found != due).sum()), "more": more}
    line = [CFG(one, scale)(at.x, at.t, at.cond).mean for scale in (1.25, 2.0, 2.75)]
    yield "scales: a line", {"apart": float((line[0] + line[2] - 2 * line[1]).abs().max())}
    void = Condition(layout=torch.full_like(at.cond["layout"], UNSAID))
    found, alone = one(at.x, at.t, void).mean, classes.told(process)
    due = alone(flat(at.x), at.t.repeat_interleave(math.prod(SPACE))).mean
    same = float((found == untold).sum())
    yield "scales: wholly unsaid", {"apart": float((flat(found) - due).abs().max()), "same": same}


def drawn(s: Setting, seed: int) -> Rows:
    """What a sampler draws at the scales at which the flow has a law that is known, in standard errors, the worst."""
    keys = Rng([seed]).at("drawn").repeat(s.draws).at(torch.arange(s.draws))
    layout = (CLASSES * keys.uniform("layout", SPACE)).long()
    for equal, scale in ((False, 1.0), (True, 1.5)):
        classes, own = Classes(seed, equal), keys.at(int(equal))
        sampling = Sampling(UniPC(s.steps, grid=Level()), CFG(model(classes, Flow()), scale))
        pixels, errors = flat(sampling(Condition(layout=layout), own)), list[Tensor]()
        for c in range(CLASSES):
            mine, due = pixels[layout.flatten() == c], classes.spreads[c]
            away = mine.mean(0) - classes.mean - scale * (classes.means[c] - classes.mean)
            sizes = due.diagonal()
            errors.append(away / (sizes / len(mine)).sqrt())
            errors.append(((mine.T.cov() - due) / ((sizes[:, None] * sizes + due**2) / len(mine)).sqrt()).flatten())
        kind = "equal" if equal else "different"
        yield f"drawn: {kind}, s = {scale:g}", {"errors": float(torch.cat(errors).abs().max())}
