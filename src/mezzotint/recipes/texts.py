"""What recipes about symbols have in common: a chain whose entropy is known, a book in 27 symbols, and small models.

A model is measured in nats a symbol on what was held out, by one bound for all, at items and masks that all arms share.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from torch import Tensor

from mezzotint.core.condition import Condition
from mezzotint.data.chain import Chain
from mezzotint.data.corpus import Corpus
from mezzotint.data.data import Data
from mezzotint.denoiser.base import Denoiser
from mezzotint.denoiser.markov import Markov
from mezzotint.denoiser.tokens import Tokens
from mezzotint.evidence.nats import Nats
from mezzotint.evidence.recipe import Setting, Training
from mezzotint.networks.token_transformer import TokenTransformer
from mezzotint.objectives.base import Objective
from mezzotint.objectives.tokens import LevelBound, OrderBound, TimeBound
from mezzotint.processes.absorbing import Absorbing
from mezzotint.samplers.ancestral import Ancestral
from mezzotint.samplers.grids import Uniform
from mezzotint.training.rate import Rate
from mezzotint.training.trainer import Trainer

SETTING: dict[str, int | float] = {
    "length": 32, "width": 64, "depth": 2, "images": 40_000, "batch": 256, "samples": 32_768,
}  # fmt: skip
LARGE: dict[str, int | float] = {
    "length": 256, "width": 512, "depth": 8, "images": 10_000_000, "batch": 256, "samples": 65_536,
}  # fmt: skip
LOSSES: Mapping[str, Objective] = {
    "lambda-DCE": LevelBound(),
    "t-DCE": TimeBound(),
    "t-DSE": TimeBound(score=True),
    "AO": OrderBound(),
}
DEPARTURES = """Texts of 32 symbols: a Markov chain of 8 symbols whose entropy is known, and War and Peace in 27; a
transformer of 0.1 M parameters and 40,000 texts seen, where the paper has 400,000 steps of 512 texts of 1,024
tokens; the last tenth of the same book is held out, where the paper has other corpora."""
LESS = "A Markov chain of 8 symbols whose entropy is known, and War and Peace in 27 symbols; texts of 256 symbols."


@cache
def _text(name: str, length: int, split: str) -> Data:
    if name == "chain":
        return Chain(vocab=8, length=length, size="1M", held_out_size=10_000, seed=1, sharpness=1.5, split=split)
    return Corpus(length=length, stride=length // 4 if split == "train" else length, split=split)


def data(s: Setting, name: str, split: str = "train") -> Data:
    """The texts of ``chain`` or ``text``, ``length`` symbols each."""
    return _text(name, s.length, split)


def sets(s: Setting) -> tuple[Data, ...]:
    """What is read beside what is trained on."""
    return tuple(data(s, name, "held_out") for name in ("chain", "text"))


def training(s: Setting, name: str, loss: Objective, level: bool = False) -> Training:
    """A transformer of these texts, told the level or not."""
    texts = data(s, name)
    assert texts.vocab is not None
    network = TokenTransformer(texts.vocab + 1, texts.vocab, texts.shape, s.width, s.depth, 4, level=level)
    trainer = Trainer(
        loss, images=s.images, batch=128, rate=Rate(peak=3e-3, warmup=s.images // 20, cooldown=0.6), betas=(0.9, 0.999),
        averages=(0.05,), sampler=Ancestral(texts.shape[0], grid=Uniform()),
    )  # fmt: skip
    return Training(Tokens(network, Absorbing(texts.vocab)), texts, trainer)


def truth(s: Setting) -> Markov:
    """The exact denoiser of the chain."""
    chain = data(s, "chain")
    assert isinstance(chain, Chain)
    return Markov(Absorbing(chain.vocab), chain.start, chain.step, chain.shape)


def nats(s: Setting, name: str, denoiser: Denoiser, loss: Objective) -> Nats:
    """What the loss says of the model on held-out texts."""
    return Nats(denoiser, loss, data(s, name, "held_out"))


def measure(s: Setting, x: Tensor, cond: Condition, judge: object) -> Mapping[str, float]:
    """The mean over ``samples`` items and draws, in nats a symbol, and its standard error."""
    each = x.double() / s.length
    return {"nats": float(each.mean()), "error": float(each.std() / len(each) ** 0.5)}
