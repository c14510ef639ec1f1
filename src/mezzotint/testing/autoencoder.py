"""The contract of an autoencoder: codes that any model of such data can learn, and a way back for every code.

Codes are kept in files and learnt by others, in other batches and processes, so a sample's code is a function of that
sample; and what others draw has never been a sample, so every code in range has to be decoded.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mezzotint.autoencoders.base import Autoencoder
from mezzotint.core.errors import Refusal
from mezzotint.core.rng import Rng
from mezzotint.testing.expect import close, expect, finite, refused, same, shaped, works
from mezzotint.testing.spec import check_made

_COUNT = 5


def check_autoencoder(autoencoder: Autoencoder, x: Tensor | None = None) -> None:
    """Check that an autoencoder keeps the promises of its base. It is asked in evaluation mode, and left in it.

    Arguments:
        autoencoder: an instance.
        x: samples, five rows at least; None: noise of its own shape.

    Raises:
        AssertionError: naming the promise that is broken.
    """
    who = type(autoencoder).__name__
    expect(isinstance(autoencoder, Autoencoder), f"{who} should derive from autoencoders.Autoencoder")
    check_made(autoencoder)
    autoencoder.eval()
    x = 0.5 * Rng(range(_COUNT)).normal("x", tuple(autoencoder.shape)) if x is None else x
    before = x.clone()
    with works(f"{who} there and back", "codes are made once, and decoded for every sample"), torch.no_grad():
        z = _codes(autoencoder, x, who)
        same(f"x after {who}", x, before, "a batch may be used again")
        _back(autoencoder, x, z, who)
    _refusals(autoencoder, z, who)


def _codes(autoencoder: Autoencoder, x: Tensor, who: str) -> Tensor:
    """Codes of samples, each by itself and the same every time."""
    rng, state = Rng(range(len(x))), torch.random.get_rng_state()
    law = autoencoder.encode(x)
    z = law.sample(rng)
    expect(
        torch.equal(state, torch.random.get_rng_state()),
        f"{who} should draw codes under keys only but draws from torch's own generator; caches could not be compared",
    )
    _fits(autoencoder, z, who, "encode")
    same(f"codes of {who} twice", autoencoder.encode(x).sample(rng), z, "a code is a function of its sample and key")
    for rows in ([3], [4, 0]):
        few = autoencoder.encode(x[rows]).sample(rng[rows])
        what, why = f"rows {rows} of {who}.encode in a batch of their own", "codes are made in batches of any size"
        same(what, few, z[rows], why) if autoencoder.vocab is not None else close(what, few, z[rows], 1e-4, why)
    shaped(
        f"no sample encoded by {who}", autoencoder.encode(x[:0]).mean, (0, *autoencoder.latent), "a set may be empty"
    )
    return z


def _fits(autoencoder: Autoencoder, z: Tensor, who: str, how: str) -> None:
    shaped(f"codes of {who}.{how}", z, (len(z), *autoencoder.latent), "models are built for its ``latent``")
    if autoencoder.vocab is None:
        expect(z.is_floating_point(), f"codes of {who} should be real numbers without a vocab but are {z.dtype}")
        return finite(f"codes of {who}", z, "a model is trained on them")
    expect(z.dtype == torch.int64, f"codes of {who} should be int64 with a vocab but are {z.dtype}")
    inside = bool(((z >= 0) & (z < autoencoder.vocab)).all())
    expect(inside, f"codes of {who} should be 0 .. {autoencoder.vocab - 1} but are {int(z.min())} .. {int(z.max())}")


def _back(autoencoder: Autoencoder, x: Tensor, z: Tensor, who: str) -> None:
    """Every code leads to a sample, which has a code again."""
    if autoencoder.vocab is None:
        drawn = Rng(range(100, 100 + len(x))).normal("z", autoencoder.latent)
    else:
        drawn = (autoencoder.vocab * Rng(range(100, 100 + len(x))).uniform("z", autoencoder.latent)).long()
    for codes, what in ((z, "codes of samples"), (drawn, "codes that no sample has")):
        made = autoencoder.decode(codes)
        shaped(f"{who}.decode of {what}", made, tuple(x.shape), "samples come back in their shape")
        finite(f"{who}.decode of {what}", made, "whatever a model draws is decoded")
        expect(made.is_floating_point() == x.is_floating_point(), f"{who}.decode should give samples of the kind of x")
        same(f"{who}.decode of {what} twice", autoencoder.decode(codes), made, "a picture is a function of its code")
        for rows in ([3], [4, 0]):
            few = autoencoder.decode(codes[rows])
            close(f"rows {rows} of {who}.decode alone", few, made[rows], 1e-4, "a sample is decoded by itself")
        _fits(autoencoder, autoencoder.encode(made).sample(Rng(range(len(x)))), who, "encode of what was decoded")


def _refusals(autoencoder: Autoencoder, z: Tensor, who: str) -> None:
    """Codes of another autoencoder are refused and not decoded to something."""
    why = "a model of other codes would draw nonsense and nobody would know"
    refused(f"{who}.decode of codes with an axis too many", lambda: autoencoder.decode(z[..., None]), why)
    if autoencoder.vocab is None:
        refused(f"{who}.decode of symbols", lambda: autoencoder.decode(torch.zeros_like(z, dtype=torch.int64)), why)
        return
    for wrong in (autoencoder.vocab, -1):
        bad = z.clone()
        bad.view(-1)[-1] = wrong
        refused(f"{who}.decode of the code {wrong}", lambda bad=bad: autoencoder.decode(bad), why)  # type: ignore[misc]
    refused(f"{who}.decode of real numbers", lambda: autoencoder.decode(z.float()), why)
    try:
        autoencoder.decode(z)
    except Refusal as refusal:
        expect(False, f"{who}.decode should take its own codes but refuses them: {refusal}")
