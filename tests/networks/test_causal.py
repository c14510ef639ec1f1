"""Causal: a law that sums to one, that looks back only, and that says the same from a cache."""

from __future__ import annotations

import itertools
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from lively import alive, answer
from torch import Tensor
from torch_encoder import encoder

from mezzotint import testing
from mezzotint.core import Refusal, cat
from mezzotint.networks import Causal, Context
from mezzotint.networks.cache import Cache
from mezzotint.networks.positions import coordinates, sines

SHAPES = [(7,), (3, 4), (2, 3, 2)]
NO = torch.zeros(())
MASK = torch.tensor([[True, True, False], [True] * 3, [False] * 3, [False, True, False]])


def symbols(shape: tuple[int, ...], rows: int = 4) -> Tensor:
    return torch.randint(5, (rows, *shape), generator=torch.Generator().manual_seed(3))


def told(rows: int = 4) -> Context:
    generator = torch.Generator().manual_seed(4)
    vector, tokens = torch.randn(rows, 8, generator=generator), torch.randn(rows, 3, 6, generator=generator)
    return Context(vector=vector, tokens=tokens, mask=MASK)


def decoded(network: Causal, x: Tensor, context: Context, cache: Cache | None = None) -> Tensor:
    """The logits at every position, one at a time."""
    cache = network.start(len(x), context, x.shape[1:]) if cache is None else cache
    flat, said = x.flatten(1), []
    with torch.no_grad():
        for i in range(cache.length, flat.shape[1]):
            logits, cache = network.decode(flat[:, i - 1] if i else None, cache)
            said.append(logits)
    return torch.stack(said, 1)


def test_it_is_torchs_own_pre_norm_encoder_with_a_causal_mask() -> None:
    network = alive(Causal(5, (3, 4), 24, 2, 2, rotary=None)).double()
    x = symbols((3, 4)).flatten(1)
    before = torch.cat((torch.full((4, 1), 5), x[:, :-1]), 1)
    h = network.enter.weight[before] + sines(coordinates((3, 4)), 24)
    ahead = torch.ones(12, 12, dtype=torch.bool).triu(1)
    for layer in encoder(network.blocks, 24, 2).double():
        h = layer(h, src_mask=ahead)
    leave, last = network.head.leave, network.head.norm
    logits = F.linear(F.layer_norm(h, (24,), last.weight, last.bias, 1e-6), leave.weight, leave.bias)
    torch.testing.assert_close(answer(network, x.reshape(4, 3, 4), NO).flatten(1, 2), logits, rtol=0, atol=1e-12)


def test_the_contract_holds_when_it_is_told_everything() -> None:
    testing.check_network(Causal(5, (3, 4), 24, 2, 2, vector=8, tokens=6))


@pytest.mark.parametrize("shape", [(4,), (2, 2)], ids=str)
def test_its_law_sums_to_one_over_all_sequences(shape: tuple[int, ...]) -> None:
    network = alive(Causal(3, shape, 16, 2, 2), 0.4).double()
    every = torch.tensor(list(itertools.product(range(3), repeat=4))).reshape(-1, *shape)
    logs = answer(network, every, NO).log_softmax(-1).gather(-1, every[..., None]).flatten(1).sum(1)
    assert logs.exp().sum().item() == pytest.approx(1.0, abs=1e-12)
    assert logs.std() > 0.5  # and it is no uniform law


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_an_entry_is_seen_by_those_after_it_only(shape: tuple[int, ...]) -> None:
    network = alive(Causal(5, shape, 24, 2, 2))
    x = symbols(shape)
    said = answer(network, x, NO).flatten(1, -2)
    for j in range(said.shape[1]):
        other = x.flatten(1).clone()
        other[:, j] = (other[:, j] + 1) % 5
        moved = (answer(network, other.reshape(x.shape), NO).flatten(1, -2) - said).abs().amax((0, 2))
        assert moved[: j + 1].max() < 1e-6 and bool((moved[j + 1 :] > 1e-5).all())


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("options", [{}, {"rotary": None}, {"positions": False}, {"vector": 8, "tokens": 6}], ids=str)
def test_decoding_says_what_teacher_forcing_says(shape: tuple[int, ...], options: dict[str, Any]) -> None:
    network = alive(Causal(5, shape, 24, 3, 2, **options))
    x, context = symbols(shape), told() if "vector" in options else Context()
    for exact, within in ((network, 1e-5), (network.double(), 1e-12)):
        full = answer(exact, x, NO, context).flatten(1, -2)
        torch.testing.assert_close(decoded(exact, x, context), full, rtol=0, atol=within)


def test_decoding_in_another_size_and_under_autocast() -> None:
    network = alive(Causal(5, (3, 4), 24, 2, 2, tokens=6))
    x, context = symbols((2, 7)), Context(tokens=told().tokens, mask=MASK)
    torch.testing.assert_close(
        decoded(network, x, context), answer(network, x, NO, context).flatten(1, 2), rtol=0, atol=1e-5
    )
    with torch.autocast("cpu", torch.bfloat16):
        low = decoded(network, x, context)
        assert network.start(4, context).keys[0].dtype == torch.bfloat16
    torch.testing.assert_close(low.float(), decoded(network, x, context), rtol=0, atol=0.1)


def test_a_cache_is_a_value_whose_rows_can_be_picked_and_repeated() -> None:
    network = alive(Causal(5, (3, 4), 24, 2, 2, vector=8, tokens=6)).double()
    x, context = symbols((3, 4)), told()
    full = decoded(network, x, context)
    cache = network.start(4, context)
    flat = x.flatten(1)
    for i in range(5):
        with torch.no_grad():
            _, cache = network.decode(flat[:, i - 1] if i else None, cache)
    rows = [2, 0, 2]
    close = partial(torch.testing.assert_close, rtol=0, atol=1e-12)
    close(decoded(network, x[rows], Context(), cache[rows]), full[rows, 5:])
    # What was picked went on by itself and left the cache it came from as it was.
    close(decoded(network, x, Context(), cat([cache[:1], cache[1:]])), full[:, 5:])
    close(decoded(network, x.repeat_interleave(2, 0), Context(), cache.repeat(2))[::2], full[:, 5:])


def test_refusals() -> None:
    network = Causal(5, (7,), 24, 1, 2)
    cache = network.start(2)
    with pytest.raises(Refusal, match="from the symbol before it"):
        network.decode(torch.zeros(2, dtype=torch.int64), cache)
    logits, cache = network.decode(None, cache)
    assert torch.equal(logits, torch.zeros(2, 5)) and cache.length == 1
    with pytest.raises(Refusal, match="from the symbol before it"):
        network.decode(None, cache)
    with pytest.raises(Refusal, match="axes"):
        network.start(2, shape=(2, 3))
    with pytest.raises(Refusal, match="vector"):
        network.start(2, Context(vector=torch.zeros(2, 3)))
    with pytest.raises(Refusal, match="holds 5"):
        network(torch.full((1, 7), 5), NO)  # the start is no symbol
    with pytest.raises(Refusal, match="width"):
        Causal(5, (7,), 25, 1, 2)
