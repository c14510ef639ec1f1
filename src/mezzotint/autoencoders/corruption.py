"""How far decoded pictures are from the clean ones as ever more of their symbols are redrawn.

    d(share) = E |f(decode(x)) - f(decode(x_t))|^2 / E |f(decode(x))|^2,

a share 1 - alive of the symbols of x_t redrawn, f some features of a picture. A schedule whose stages are equally far
apart by it is :func:`mezzotint.processes.alive.perceptual` of the curve.

Source: Esser et al. 2021, ImageBART (2108.08827) and its published code, which measures features of VGG at 20 shares.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mezzotint.autoencoders.base import Autoencoder
from mezzotint.core.errors import Refusal
from mezzotint.core.rng import Rng
from mezzotint.processes.multinomial import Multinomial

POINTS = 20
"""Shares at which the paper measures."""


@torch.no_grad()
def corruption(
    machine: Autoencoder, z: Tensor, features: Callable[[Tensor], Tensor], rng: Rng, points: int = POINTS
) -> tuple[float, ...]:
    """The distance at ``points`` equally spaced shares of clean symbols from 1 down to 0, for ``perceptual``.

    Every symbol has one uniform number, below which the clean share must not fall, and one symbol that it then becomes,
    so symbols are lost one after the other as the share falls, and what two points differ by is no chance of the draw.

    Arguments:
        machine: an autoencoder of symbols.
        z: codes of clean pictures, int64 (B, *latent).
        features: of pictures (B, *shape), (B, ...); the identity compares pixels.
        rng: a key a row.
        points: how many shares, two or more.

    Raises:
        Refusal: codes are no symbols, or there are fewer than two points.
    """
    if machine.vocab is None:
        raise Refusal("symbols are redrawn, and this autoencoder's codes are real numbers")
    if points < 2:
        raise Refusal(f"a curve has two points at least, not {points}")
    where = z.device
    u = rng.uniform("lost", tuple(z.shape[1:])).to(where)
    other = Multinomial(machine.vocab).prior(tuple(z.shape[1:])).repeat(len(z)).sample(rng.at("drawn")).to(where)
    clean = features(machine.decode(z)).flatten(1).double()
    size = clean.square().sum(1).mean()
    found = []
    for share in torch.linspace(1, 0, points, dtype=torch.float64).tolist():
        x = torch.where(u < share, z, other)
        found.append(float((features(machine.decode(x)).flatten(1).double() - clean).square().sum(1).mean() / size))
    return tuple(found)
