"""Context prediction on codes: a masked model of 7 x 7 codes of clothes, with neighbours to predict beside, or without.

The autoencoder is trained once for all seeds and arms. All models of a seed begin with the same weights and see the
same pictures under the same masks: what the context draws, it draws from a stream of its own. Neighbours are the
vectors that codes stand for. The control predicts those of the next picture of the batch, which know nothing of this
one.

What is completed is a held-out picture of which the left half is known. Its right half is blank before it is encoded,
as in :mod:`.completion`, and of its codes those are kept that lie wholly in the left half, but for the column at the
border. Of what is decoded the right half alone counts: the left one is the original's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mezzotint.autoencoders.base import Autoencoder
from mezzotint.autoencoders.encoded import Encoded
from mezzotint.core.condition import NONE, Condition
from mezzotint.core.rng import Rng
from mezzotint.data.untold import Untold
from mezzotint.denoiser.base import Denoiser
from mezzotint.denoiser.tokens import Tokens
from mezzotint.evidence.recipe import Arm, Models, Setting, Training
from mezzotint.evidence.verdict import Seen, Verdict
from mezzotint.guidance.known import Known
from mezzotint.metrics.extractor import Extractor
from mezzotint.metrics.frechet import frechet
from mezzotint.metrics.perceptual import feature_distances
from mezzotint.networks.token_transformer import TokenTransformer
from mezzotint.objectives.base import Objective
from mezzotint.objectives.context import ContextPrediction
from mezzotint.objectives.elsewhere import Elsewhere
from mezzotint.objectives.tokens import LevelBound, OrderBound
from mezzotint.processes.absorbing import Absorbing
from mezzotint.recipes.completion import BLANK, autoencoder, encoded, latent, pictures
from mezzotint.recipes.completion import judge as judge
from mezzotint.recipes.completion import originals as originals
from mezzotint.recipes.completion import sets as sets
from mezzotint.recipes.context import Right, below, over
from mezzotint.samplers.ancestral import Ancestral
from mezzotint.samplers.grids import Uniform
from mezzotint.samplers.sampling import Sampling
from mezzotint.training.rate import Rate
from mezzotint.training.trainer import Trainer

SETTING: dict[str, int | float] = {
    "images": 40_000, "codes": 60_000, "vocab": 128, "width": 64, "depth": 4, "weight": 0.1, "steps": 12,
    "samples": 1_500, "batch": 250, "measured": 5_000,
}  # fmt: skip
LARGE = SETTING | {
    "images": 4_000_000, "codes": 2_000_000, "width": 384, "depth": 12, "steps": 49, "samples": 10_000,
    "batch": 1_000, "measured": 10_000,
}  # fmt: skip
DEPARTURES = """Fashion-MNIST as 7 x 7 codes of 128, without labels, where the paper has a VQ-Diffusion of texts and
pictures; masked diffusion that is not told the level, a transformer of 0.22 M parameters, 40,000 images seen, 12 steps.
Q = 8 draws of the 8 neighbours, at 1/16 of the places (3 of 49), weight 0.1, weighed by the share of codes that are
left: choices of ours. 1,500 samples; distances in the features of a classifier of the same clothes."""
LESS = """Fashion-MNIST as 7 x 7 codes of 128, without labels; masked diffusion that is not told the level; distances in
the features of a classifier of the same clothes."""
BASE, SET, CONTROL = "base", "set s=1", "control"
ARMS = (BASE, SET, CONTROL)
COMPLETING = "{}, completing"
KNOWN = 2
"""Columns of codes that are known: of the three that lie wholly in the left half, not the one at the border."""
_REAL: dict[str, Any] = {}
"""Features of all held-out pictures, by judge: a worker measures many arms."""


def network(s: Setting) -> Denoiser:
    """The masked model that all arms have."""
    process, heads = Absorbing(s.vocab), max(1, s.width // 24)
    return Tokens(TokenTransformer(process.symbols, s.vocab, latent(s), s.width, s.depth, heads), process)


def objective(s: Setting, name: str) -> Objective:
    """The loss of an arm."""
    inner = LevelBound()
    if name == BASE:
        return inner
    made = {SET: ContextPrediction, CONTROL: Elsewhere}[name]
    return made(inner, weight=s.weight, strides=(1,), codebook="@vq")


def training(s: Setting, name: str) -> Training:
    """A model of the codes of the training pictures, without labels."""
    many = int(s.images)
    symbols = Encoded(Untold(pictures()), "@vq", latent(s), s.vocab)
    trainer = Trainer(
        objective(s, name), images=many, batch=64, rate=Rate(peak=2e-3, warmup=many // 20, cooldown=0.6),
        averages=(0.05,), sampler=Ancestral(s.steps, grid=Uniform()),
    )  # fmt: skip
    return Training(network(s), symbols, trainer, needs={"vq": autoencoder(s)})


@dataclass(frozen=True)
class Drawing:
    """Pictures of a model of codes, whole, or the right half of the condition's ``original`` drawn anew.

    Arguments:
        denoiser: of codes.
        steps: intervals.
        vq: whose codes they are.
        completing: keep the left half.
    """

    denoiser: Denoiser
    steps: int
    vq: Autoencoder
    completing: bool

    def __call__(self, cond: Condition, rng: Rng) -> Tensor:
        sampler = Ancestral(self.steps, grid=Uniform())
        if not self.completing:
            return self.vq.decode(Sampling(sampler, self.denoiser)(NONE, rng))
        original = cond["original"]
        z = encoded(self.vq, left(original))
        mask = (torch.arange(z.shape[-1]) < KNOWN).expand(z.shape)
        known = Condition(**{"known.x": z, "known.mask": mask.to(z.device)})
        x = self.vq.decode(Sampling(sampler, Known(self.denoiser))(known, rng))
        return torch.where(hidden(x), x, original.to(x))


def hidden(x: Tensor) -> Tensor:
    """Which columns of pictures (B, C, H, W) are the right half, bool (W,)."""
    return torch.arange(x.shape[-1], device=x.device) >= x.shape[-1] // 2


def left(x: Tensor) -> Tensor:
    """Pictures (B, C, H, W) whose right half is blank."""
    return x.masked_fill(hidden(x), BLANK)


@torch.no_grad()
def nats(s: Setting, model: Denoiser, vq: Autoencoder) -> float:
    """The bound on -log p of held-out codes, a mean in nats a picture: one order each, the same ones for all arms."""
    found = []
    for first in range(0, min(s.measured, len(pictures("held_out"))), s.batch):
        rows = range(first, min(first + s.batch, s.measured, len(pictures("held_out"))))
        z = encoded(vq, pictures("held_out")[list(rows)][0]).to(model.device)
        found.append(OrderBound()(model, z, NONE, Rng(rows)).value)
    return float(torch.cat(found).mean())


def arms(s: Setting) -> dict[str, Arm]:
    """What the codes alone lose, and every loss, drawing whole pictures and completing."""
    vq = autoencoder(s)

    def reconstructing(models: Models) -> Any:
        return lambda cond, rng: models["vq"].decode(encoded(models["vq"], cond["original"]))

    def arm(name: str, completing: bool) -> Arm:
        def facts(models: Models) -> Mapping[str, float]:
            return {} if completing else {"nats": nats(s, models["model"], models["vq"])}

        def pipeline(models: Models) -> Drawing:
            return Drawing(models["model"], s.steps, models["vq"], completing)

        return Arm({"model": training(s, name), "vq": vq}, pipeline, facts)

    made = {"codes": Arm({"vq": vq}, reconstructing)}
    for way, completing in (("{}", False), (COMPLETING, True)):
        made |= {way.format(name): arm(name, completing) for name in ARMS}
    return made


def measure(s: Setting, x: Tensor, cond: Condition, judge: Extractor) -> Mapping[str, float]:
    """``frechet``: from all held-out pictures; of pairs with the originals, which for whole pictures are chance,
    ``hole``: how far the right half is off in the maps of the judge, and ``accuracy``.
    """
    x = x.clamp(-1, 1)
    if judge.sha256 not in _REAL:
        _REAL[judge.sha256] = judge.features(pictures("held_out")[:][0])
    return {
        "frechet": frechet(judge.features(x), _REAL[judge.sha256], draws=0).value,
        "hole": float(feature_distances(Right(judge), x, cond["original"]).mean()),
        "accuracy": judge.accuracy(x, cond["label"]).value,
    }


def verdict(seen: Seen) -> Verdict:
    """The rule of the claim itself: nearer than both others at every seed."""
    others = (BASE, CONTROL)
    return seen.all(*(below(seen, f"distance, set over {row}", over(SET, row, "frechet"), 1.0) for row in others))
