"""The contract of a network: ``forward(x, noise, context, want=())``, every weight in use and every row by itself.

A network is a function approximator and knows nothing of data or noise; what can be checked without training it is that
nothing in it is dead, nothing couples a batch, nothing it is told is ignored, and that it lives in other precisions and
comes back from its spec and weights. One with an attribute ``symbols`` is asked with whole numbers and answers logits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor, nn

from mezzotint.core.batched import rows
from mezzotint.core.errors import Refusal
from mezzotint.core.rng import Rng
from mezzotint.core.spec import Part
from mezzotint.networks.context import EMPTY, Context, Output
from mezzotint.networks.cost import cost
from mezzotint.testing.expect import close, expect, finite, refused, same, shaped, works
from mezzotint.testing.spec import check_made
from mezzotint.testing.truth import nudge

_COUNT = 4
_TOKENS = 5


def check_network(network: nn.Module, context: Context | None = None) -> None:
    """Check that a network keeps the promises denoisers and trainers rely on. It is left as it was.

    Arguments:
        network: with an attribute ``shape`` of one sample.
        context: what to tell it, four rows; None: noise in every slot it was built for, as its constructor's arguments
            ``vector``, ``tokens`` and ``maps`` say.

    Raises:
        AssertionError: naming the promise that is broken.
    """
    who = type(network).__name__
    shape = tuple(getattr(network, "shape", ()))
    expect(
        shape and all(isinstance(n, int) for n in shape),
        f"{who} should have a shape such as (C, H, W); denoisers read it",
    )
    if isinstance(network, Part):
        check_made(network)
    kept = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    training = network.training
    told = usual_context(network, shape) if context is None else context
    network.eval()
    try:
        with works(f"asking {who}", "a denoiser asks at every noise level"):
            nudge(network)  # a network that begins at zero says nothing and passes on no gradient
            x = _asked(network, shape)
            noise = torch.tensor([-2.0, -0.3, 0.4, 1.1])
            with torch.no_grad():
                said = _answers(network, x, noise, told, who)
                _hears(network, x, noise, told, said, who)
                _fits(network, x, noise, told, said, who)
                _refuses(network, x, noise, told, who)
                if hasattr(network, "decode"):
                    _decodes(network, x, noise, told, said, who)
            _alive(network, x, noise, told, who)
            _returns(network, x, noise, told, said, who)
    finally:
        network.load_state_dict(kept)
        network.train(training)


def _asked(network: nn.Module, shape: tuple[int, ...], name: str = "x") -> Tensor:
    """Four samples: normal, or of every symbol alike where the network takes symbols."""
    symbols = getattr(network, "symbols", None)
    rng = Rng(range(_COUNT))
    return rng.normal(name, shape) if symbols is None else (rng.uniform(name, shape) * symbols).long()


def usual_context(network: nn.Module, shape: tuple[int, ...], count: int = _COUNT) -> Context:
    """Noise in every slot that a network's constructor was given a width for."""
    widths = _widths(network)
    rng = Rng(range(count)).at("context")
    vector, tokens, maps = (widths.get(name) for name in ("vector", "tokens", "maps"))
    mask = rng.uniform("mask", (_TOKENS,)) < 0.7
    mask[-1] = False  # the last row is told nothing
    return Context(
        vector=rng.normal("vector", (vector,)) if vector else None,
        tokens=rng.normal("tokens", (_TOKENS, tokens)) if tokens else None,
        mask=mask if tokens else None,
        maps={"input": rng.normal("maps", (maps, *shape[1:]))} if maps else {},
    )


def _widths(network: nn.Module) -> dict[str, Any]:
    """The arguments of a network's constructor, and those of a network it was made around."""
    own: Mapping[str, Any] = getattr(network, "_arguments", {})
    inner = [_widths(value) for value in own.values() if isinstance(value, nn.Module) and hasattr(value, "shape")]
    return {**{name: value for each in inner for name, value in each.items()}, **own}


def _rows(context: Context, index: list[int]) -> Context:
    """Some rows of a context."""
    picked: dict[str, Any] = {}
    for slot in fields(context):
        value = getattr(context, slot.name)
        if isinstance(value, Tensor):
            picked[slot.name] = rows(value, index)
        elif slot.name == "maps":
            picked[slot.name] = {port: rows(each, index) for port, each in value.items()}
        else:
            picked[slot.name] = None if value is None else tuple(rows(each, index) for each in value)
    return replace(context, **picked)


def _sample(said: Tensor | Output) -> Tensor:
    return said.sample if isinstance(said, Output) else said


def _answers(network: nn.Module, x: Tensor, noise: Tensor, told: Context, who: str) -> Tensor:
    """The shape of a sample, the same in any batch."""
    before = x.clone()
    said = network(x, noise, told)
    expect(
        isinstance(said, Tensor),
        f"{who} wanted for nothing more should return a tensor but returns a {type(said).__name__}",
    )
    if hasattr(network, "symbols"):
        vocab = getattr(network, "vocab", 0)
        shaped(f"the answer of {who}", said, (*x.shape, vocab), "there is a logit for each of its vocab symbols")
    else:
        expect(
            said.shape[0] == len(x) and said.shape[2:] == x.shape[2:],
            f"{who} should answer (B, outputs, *space) for x {tuple(x.shape)} but answers {tuple(said.shape)}",
        )
    finite(f"the answer of {who}", said, "its weights are small and so is x")
    same(f"x after asking {who}", x, before, "a question must not change what it asks about")
    same(f"{who} asked twice", network(x, noise, told), said, "in evaluation mode nothing is drawn")
    for index in ([2], [3, 1]):
        few = network(x[index], noise[index], _rows(told, index))
        close(f"rows {index} of {who} in a batch of their own", few, said[index], 1e-5, "nothing may couple a batch")
    names = tuple(getattr(network, "wants", ()))
    if names:
        full = network(x, noise, told, names)
        expect(
            isinstance(full, Output),
            f"{who} asked for features should return an Output but returns a {type(full).__name__}",
        )
        close(
            f"the answer of {who} beside its features", full.sample, said, 1e-6, "looking must not change what is seen"
        )
        for name in names:
            expect(name in full.aux, f"{who} asked for {name!r} should have it in aux but has {sorted(full.aux)}")
            expect(
                len(full.aux[name]) == len(x),
                f"{name!r} of {who} should have a row per sample; terms compare them by row",
            )
    answer: Tensor = said
    return answer


def _hears(network: nn.Module, x: Tensor, noise: Tensor, told: Context, said: Tensor, who: str) -> None:
    """What it is told makes a difference: the sample, the noise level, every slot of the context."""

    def moves(what: str, other: Tensor) -> None:
        gap = float((other - said).abs().max())
        expect(
            gap > 1e-6, f"the answer of {who} should depend on {what} but does not; what is told and not heard is lost"
        )

    symbols = getattr(network, "symbols", None)
    moves("x", network(x + 0.5 if symbols is None else (x + 1) % symbols, noise, told))
    if getattr(network, "told_level", True):
        moves("the noise level", network(x, noise + 0.7, told))
    else:
        why = "told_level = False says that answers may be kept from one level to the next"
        same(f"{who} at another noise level", network(x, noise + 0.7, told), said, why)
    if told.vector is not None:
        moves("the context's vector", network(x, noise, replace(told, vector=told.vector + 0.5)))
    if told.tokens is not None:
        moves("the context's tokens", network(x, noise, replace(told, tokens=told.tokens * 1.5 + 0.5)))
        _reads(network, x, noise, told, told.tokens, said, who)
    for port, value in told.maps.items():
        moves(f"the context's map {port!r}", network(x, noise, replace(told, maps={**told.maps, port: value + 0.5})))


def _reads(network: nn.Module, x: Tensor, noise: Tensor, told: Context, tokens: Tensor, said: Tensor, who: str) -> None:
    """Tokens are a set of those that the mask leaves in, which may be empty, and need not be there."""

    def asked(tokens: Tensor | None, mask: Tensor | None) -> Tensor:
        return _sample(network(x, noise, replace(told, tokens=tokens, mask=mask)))

    mask = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device) if told.mask is None else told.mask
    hidden = tokens.masked_fill(~mask[..., None], 3.0)
    close(f"{who} with other numbers under the mask", asked(hidden, mask), said, 1e-5, "padding is not text")
    longer = torch.cat((tokens, tokens[:, :2] + 1.0), 1), torch.cat((mask, torch.zeros_like(mask[:, :2])), 1)
    close(f"{who} with more padding", asked(*longer), said, 1e-5, "a text is as long as its longest neighbour")
    order = torch.arange(tokens.shape[1] - 1, -1, -1, device=tokens.device)
    why = "positions are told by whoever made the tokens; those of several families stand side by side"
    close(f"{who} told its tokens in another order", asked(tokens[:, order], mask[:, order]), said, 1e-5, why)
    none = asked(tokens, torch.zeros_like(mask))
    finite(f"the answer of {who} told tokens that are all masked out", none, "an empty text is a text")
    close(f"{who} without tokens and with all of them masked out", asked(None, None), none, 1e-5, "both say nothing")


def _fits(network: nn.Module, x: Tensor, noise: Tensor, told: Context, said: Tensor, who: str) -> None:
    """Other precisions, other sizes, other layouts in memory."""
    swapped = x.transpose(-1, -2).contiguous().transpose(-1, -2)
    close(
        f"{who} asked about a tensor with other strides",
        network(swapped, noise, told),
        said,
        1e-5,
        "memory layout means nothing",
    )
    with torch.autocast("cpu", torch.bfloat16):
        low = _sample(network(x, noise, told)).float()
    close(f"{who} under bfloat16 autocast and in float32", low, said, 0.1, "training and sampling run in it")
    if hasattr(network, "symbols"):
        larger = _asked(network, tuple(n + 3 for n in x.shape[1:]), "larger")
        try:
            grown = network(larger, noise, told)
        except Refusal:
            return
        why = "it fits other sizes or refuses them"
        shaped(f"{who}'s answer at another size", grown, (*larger.shape, said.shape[-1]), why)
    elif x.ndim > 2:
        space = [n + 3 for n in x.shape[2:]]
        larger = Rng(range(_COUNT)).normal("larger", (x.shape[1], *space))
        maps = {port: Rng(range(_COUNT)).normal(port, (each.shape[1], *space)) for port, each in told.maps.items()}
        try:
            grown = network(larger, noise, replace(told, maps=maps))
        except Refusal:
            return
        shaped(
            f"{who}'s answer at another size",
            grown,
            (len(x), said.shape[1], *space),
            "it fits other sizes or refuses them",
        )


def _decodes(network: Any, x: Tensor, noise: Tensor, told: Context, said: Tensor, who: str) -> None:
    """What decodes has seen what came before and nothing else, and says one entry at a time what it says of all."""
    flat, each, last = x.flatten(1), said.flatten(1, -2), None
    cache = network.start(len(x), told)
    for i, symbol in enumerate(flat.unbind(1)):
        other = torch.cat((flat[:, :i], (flat[:, i:] + 1) % network.symbols), 1).reshape(x.shape)
        ahead = network(other, noise, told).flatten(1, -2)[:, : i + 1]
        close(
            f"{who} before entry {i} with others from there on", ahead, each[:, : i + 1], 1e-6, "they are not drawn yet"
        )
        one, cache = network.decode(last, cache)
        close(f"entry {i} of {who} decoded and among all", one, each[:, i], 1e-5, "a cache saves time and nothing else")
        last = symbol


def _refuses(network: nn.Module, x: Tensor, noise: Tensor, told: Context, who: str) -> None:
    """A slot or a feature nobody built it for."""
    why = "a condition that is silently ignored is found months later"
    rng = Rng(range(_COUNT))
    odd: dict[str, Any] = {
        "vector": rng.normal("v", (3,)),
        "tokens": rng.normal("t", (_TOKENS, 3)),
        "maps": {"no_such_port": rng.normal("m", (1, *x.shape[2:]))},
        "residuals": (rng.normal("r", tuple(x.shape[1:])),),
        "visible": torch.ones(_COUNT, _TOKENS, dtype=torch.bool),
    }
    for slot, value in odd.items():
        there = getattr(told, slot)
        if slot != "maps" and there is not None and len(there):
            continue
        if slot in getattr(network, "slots", ()):
            continue
        filled = replace(told, **{slot: value})
        refused(f"a context that fills {slot!r} for {who}", lambda filled=filled: network(x, noise, filled), why)  # type: ignore[misc]
    symbols = getattr(network, "symbols", None)
    if symbols is not None:
        why = "what is looked up beyond the end of a table is another's memory, or an error nobody can read"
        for symbol in (-1, symbols):
            wrong = x.clone()
            wrong[-1, ..., -1] = symbol
            refused(f"the symbol {symbol} for {who}", lambda wrong=wrong: network(wrong, noise, told), why)  # type: ignore[misc]
        why = "numbers are no symbols, and symbols have no channels"
        refused(f"an x of {x.ndim + 1} axes for {who}", lambda: network(x[:, None], noise, told), why)
        refused(f"an x of real numbers for {who}", lambda: network(x.float(), noise, told), why)
    why = "a misspelt name that is ignored is found where the value is missing"
    refused(f"a feature 'no_such_feature' of {who}", lambda: network(x, noise, told, ("no_such_feature",)), why)


def _alive(network: nn.Module, x: Tensor, noise: Tensor, told: Context, who: str) -> None:
    """The gradient of a projection of the answer reaches every weight, and x where that is of real numbers."""
    real = x.is_floating_point()
    at = x.clone().requires_grad_(real)
    said = _sample(network(at, noise, told))
    weights = [(name, p) for name, p in network.named_parameters() if p.requires_grad]
    way = Rng(range(len(said))).normal("way", tuple(said.shape[1:]))
    by = [*([("x", at)] if real else []), *weights]
    found = torch.autograd.grad((said * way).sum(), [each for _, each in by], allow_unused=True)
    names = [name for name, _ in by]
    dead = [name for name, g in zip(names, found, strict=True) if g is None or not bool(g.abs().sum() > 0)]
    expect(
        not dead,
        f"the gradient of {who} should reach every weight but never reaches {', '.join(dead[:4])}",
    )
    for name, gradient in zip(names, found, strict=True):
        if gradient is not None:
            finite(f"the gradient of {who} by {name}", gradient, "one NaN spoils every weight")
    if real:
        coupled = torch.autograd.grad(_sample(network(at, noise, told))[0].sum(), at)[0][1:]
    else:
        others = torch.cat((x[:1], x[1:].flip(0)))
        coupled = _sample(network(others, noise, told))[0] - said[0]
    expect(
        not coupled.any(),
        f"the answer of {who} about one sample should not depend on the others; nothing may couple a batch",
    )


def _returns(network: nn.Module, x: Tensor, noise: Tensor, told: Context, said: Tensor, who: str) -> None:
    """From its spec and its weights; and it can be weighed without being run."""
    arguments = getattr(network, "_arguments", None)
    if arguments is not None:
        again = type(network)(**arguments).eval()
        again.load_state_dict(network.state_dict())
        with torch.no_grad():
            same(
                f"{who} made again with the same weights",
                again(x, noise, told),
                said,
                "a loaded model is the saved one",
            )
    spent = cost(network, tuple(x.shape[1:]), _rows(told, [0]) if told is not EMPTY else EMPTY)
    expect(
        spent.macs > 0,
        f"the cost of {who} should be counted in multiply-accumulates but is 0; budgets are stated in them",
    )
