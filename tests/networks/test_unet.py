"""The U-Net against what must hold for any weights: equalities between networks, inputs and parts of the answer."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mezzotint.core import Refusal, build, spec
from mezzotint.networks import Context, Fourier, Output, Sinusoid, UNet, cost
from mezzotint.networks.attention import Attention
from mezzotint.networks.space import grown, halved

SHAPES = [(1, 8, 8), (3, 28, 28), (1, 28, 20), (2, 7, 5), (4, 31), (2, 3, 6, 5), (1, 1, 1)]


def alive(network: UNet) -> UNet:
    """The same network with no weight left at zero."""
    with torch.no_grad():
        for weight in network.parameters():
            nn.init.normal_(weight, 0.3 if weight.ndim == 1 else 0.0, 0.15)
    return network.eval()


def inputs(shape: tuple[int, ...], rows: int = 3, vector: int = 128) -> tuple[Tensor, Tensor, Context]:
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(rows, *shape, generator=generator)
    noise = torch.empty(rows).uniform_(-1.6, 1.1, generator=generator)
    return x, noise, Context(vector=torch.randn(rows, vector, generator=generator))


def answer(network: UNet, *given: Any) -> Tensor:
    with torch.no_grad():
        found = network(*given)
    assert isinstance(found, Tensor)
    return found


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_fresh_network_answers_zero_and_a_live_one_reaches_every_parameter(shape: tuple[int, ...]) -> None:
    network = UNet(shape, width=16)
    given = inputs(shape)
    assert torch.equal(answer(network, *given), torch.zeros(3, *shape))
    alive(network)(*given).square().sum().backward()
    silent = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert not silent


@pytest.mark.parametrize("resample", ["convolution", "inside", "mean"])
@pytest.mark.parametrize("shape", [(1, 8, 8), (2, 7, 5), (2, 9), (1, 3, 4, 5)], ids=str)
def test_rows_do_not_see_each_other(shape: tuple[int, ...], resample: str) -> None:
    network = alive(UNet(shape, width=16, resample=resample))
    x, noise, context = inputs(shape)
    whole = answer(network, x, noise, context)
    assert context.vector is not None
    for k in range(3):
        alone = answer(network, x[k : k + 1], noise[k : k + 1], Context(vector=context.vector[k : k + 1]))
        torch.testing.assert_close(alone, whole[k : k + 1], rtol=1e-5, atol=1e-5)


def test_size_is_not_in_the_weights() -> None:
    small, large = alive(UNet((2, 8, 8), width=16)), UNet((2, 13, 20), width=16).eval()
    large.load_state_dict(small.state_dict())
    given = inputs((2, 13, 20))
    assert torch.equal(answer(small, *given), answer(large, *given))


@pytest.mark.parametrize("resample", ["convolution", "inside", "mean"])
@pytest.mark.parametrize("flat", [(2, 9), (2, 7, 6)], ids=str)
def test_an_axis_of_length_one_changes_nothing(flat: tuple[int, ...], resample: str) -> None:
    """(C, L, 1) through a 2-D network is (C, L) through a 1-D one, whatever lies off the centre of the kernels."""
    options: dict[str, Any] = dict(width=16, multipliers=(1, 2, 2), resample=resample)
    low, high = alive(UNet(flat, **options)), alive(UNet((*flat, 1), **options))
    state = high.state_dict()
    for name, weight in low.state_dict().items():
        if weight.ndim == state[name].ndim:
            state[name] = weight
        else:
            state[name][..., state[name].shape[-1] // 2] = weight
    high.load_state_dict(state)
    x, noise, context = inputs(flat)
    expected = answer(low, x, noise, context)
    torch.testing.assert_close(answer(high, x[..., None], noise, context)[..., 0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [(8,), (7,), (1,), (7, 4), (5, 3), (3, 5, 2)], ids=str)
def test_cells_survive_halving_and_growing(size: tuple[int, ...]) -> None:
    """What is constant on cells of two comes back unchanged, also where the last cell is cut off."""
    coarse = torch.randn(2, 3, *((n + 1) // 2 for n in size))
    fine = coarse
    for axis, n in enumerate(size, start=2):
        fine = fine.repeat_interleave(2, axis).narrow(axis, 0, n)
    assert torch.equal(grown(coarse, size), fine)
    torch.testing.assert_close(halved(fine), coarse)


def test_channels_have_no_order() -> None:
    network = alive(UNet((3, 8, 8), width=16))
    x, noise, context = inputs((3, 8, 8))
    expected = answer(network, x, noise, context)
    order = torch.tensor([2, 0, 1])
    with torch.no_grad():
        network.enter.weight.copy_(network.enter.weight[:, order])
        network.leave.weight.copy_(network.leave.weight[order])
        network.leave.bias.copy_(network.leave.bias[order])
    torch.testing.assert_close(answer(network, x[:, order], noise, context), expected[:, order], rtol=1e-5, atol=1e-5)


def test_attention_has_no_positions_and_heads_are_their_formula() -> None:
    layer = Attention(12, nn.GroupNorm(3, 12), head=4)
    for weight in layer.parameters():
        nn.init.normal_(weight, 0.0, 0.4)
    x = torch.randn(2, 12, 3, 5)
    with torch.no_grad():
        y = layer(x)
        order = torch.randperm(15)
        moved = layer(x.flatten(2)[..., order].unflatten(2, (3, 5)))
        torch.testing.assert_close(moved.flatten(2), y.flatten(2)[..., order])
        # One head, one query at a time, in float64.
        flat = layer.norm(x).flatten(2).mT.double()
        q, k, v = (
            flat @ w.mT.double() + b.double()
            for w, b in zip(layer.qkv.weight.split(12), layer.qkv.bias.split(12), strict=True)
        )
        heads = []
        for h in range(3):
            c = slice(4 * h, 4 * h + 4)
            weights = torch.stack([(k[..., c] @ q[b, :, c].mT)[b].T.mul(0.5).softmax(-1) for b in range(2)])
            heads.append(weights @ v[..., c])
        expected = x.double() + (torch.cat(heads, -1) @ layer.out.weight.mT.double() + layer.out.bias).mT.unflatten(
            2, (3, 5)
        )
    torch.testing.assert_close(y.double(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("width", [2, 6, 10, 22, 34, 48, 80])
def test_any_even_width_works_and_groups_and_heads_divide_it(width: int) -> None:
    network = alive(UNet((1, 8, 8), width, (1, 1.5, 2)))
    given = inputs((1, 8, 8))
    assert answer(network, *given).isfinite().all()
    for layer in network.modules():
        if isinstance(layer, nn.GroupNorm):
            assert layer.num_channels % layer.num_groups == 0
            assert layer.num_groups == 1 or layer.num_channels // layer.num_groups >= 8
        if isinstance(layer, Attention):
            assert layer.heads == 1 or layer.qkv.in_features // layer.heads >= 64


@pytest.mark.parametrize("early", [False, True])
def test_vector(early: bool) -> None:
    network = alive(UNet((1, 8, 8), width=16, vector=7, early=early))
    x, noise, context = inputs((1, 8, 8), vector=7)
    absent = answer(network, x, noise)
    assert torch.equal(absent, answer(network, x, noise, Context(vector=torch.zeros(3, 7))))
    assert (answer(network, x, noise, context) - absent).abs().max() > 1e-2


def test_maps_enter_beside_x() -> None:
    network = alive(UNet((2, 7, 5), width=16, maps=3))
    wide = UNet((5, 7, 5), width=16, outputs=2).eval()
    wide.load_state_dict(network.state_dict())
    x, noise, _ = inputs((5, 7, 5))
    assert torch.equal(answer(network, x[:, :2], noise, Context(maps={"input": x[:, 2:]})), answer(wide, x, noise))


def test_noise_comes_in_any_shape_of_one_value_per_sample() -> None:
    network = alive(UNet((1, 8, 8), width=16))
    x, noise, _ = inputs((1, 8, 8))
    expected = answer(network, x, noise)
    assert torch.equal(answer(network, x, noise.reshape(3, 1, 1, 1)), expected)
    assert torch.equal(answer(network, x, noise.double()), expected)
    shared = answer(network, x, noise[:1].expand(3))
    for one in (noise[0], noise[:1], noise[:1].reshape(1, 1, 1, 1)):
        assert torch.equal(answer(network, x, one), shared)
    moved = answer(network, x, noise + 0.05)  # a fifth in sigma
    assert 1e-3 < (moved - expected).abs().max() < 1.0 * expected.abs().max()


def test_want_names_features_without_changing_the_answer() -> None:
    network = alive(UNet((1, 9, 8), width=16, multipliers=(1, 2, 3)))
    given = inputs((1, 9, 8))
    assert network.wants == ("down.0", "down.1", "down.2", "mid", "up.2", "up.1", "up.0")
    found = network(*given, want=network.wants)
    assert isinstance(found, Output)
    assert torch.equal(found.sample, answer(network, *given))
    sizes = {name: tuple(feature.shape[1:]) for name, feature in found.aux.items()}
    assert [sizes[f"down.{k}"] for k in range(3)] == [(16, 9, 8), (32, 5, 4), (48, 3, 2)]
    assert all(sizes[f"up.{k}"] == sizes[f"down.{k}"] for k in range(3)) and sizes["mid"] == sizes["down.2"]
    # The last feature is all that the answer is made from.
    torch.testing.assert_close(network.leave(nn.functional.silu(network.norm(found.aux["up.0"]))), found.sample)
    assert set(network(*given, want=("mid",)).aux) == {"mid"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (dict(shape=(8,)), "positive sizes"),
        (dict(shape=(1, 0, 8)), "positive sizes"),
        (dict(width=15), "even"),
        (dict(multipliers=()), "level"),
        (dict(attention=(2,)), "levels 0 to 1"),
        (dict(head=0), "head is at least 1, not 0"),
        (dict(middle="both"), "middle is one of"),
        (dict(activation="tanh"), "activation is one of"),
        (dict(resample="fir"), "resample is one of"),
        (dict(resample="mean", padding=0), "leave them alone"),
    ],
    ids=str,
)
def test_networks_that_cannot_be(options: dict[str, Any], words: str) -> None:
    with pytest.raises(Refusal, match=words):
        UNet(**{"shape": (1, 8, 8), **options})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (dict(context=Context(vector=torch.zeros(2, 64))), r"vector=64"),
        (dict(context=Context(tokens=torch.zeros(2, 4, 8))), "fills tokens"),
        (dict(context=Context(residuals=(torch.zeros(2, 4),))), "fills residuals"),
        (dict(context=Context(maps={"input": torch.zeros(2, 1, 8, 8)})), "no port for maps"),
        (dict(noise=torch.zeros(3)), r"one noise level per sample, \(2,\)"),
        (dict(noise=torch.zeros(2, 1, 8, 8)), "per-entry"),
        (dict(x=torch.zeros(2, 3, 8, 8)), r"\(B, 1, 2 sizes\)"),
        (dict(x=torch.zeros(2, 1, 8)), r"\(B, 1, 2 sizes\)"),
        (dict(want=("middle",)), "'mid'"),
        (dict(want=("zzz",)), r"known: down.0, down.1, mid, up.0, up.1"),
    ],
    ids=str,
)
def test_inputs_that_do_not_fit(change: dict[str, Any], words: str) -> None:
    given: dict[str, Any] = dict(x=torch.zeros(2, 1, 8, 8), noise=torch.zeros(2), context=Context(), want=())
    with pytest.raises(Refusal, match=words):
        UNet((1, 8, 8), width=16)(**{**given, **change})


def test_declared_maps_and_undeclared_vectors_are_refused() -> None:
    x, noise, context = inputs((1, 8, 8))
    with pytest.raises(Refusal, match="not none"):
        UNet((1, 8, 8), width=16, maps=2)(x, noise)
    with pytest.raises(Refusal, match=r"not \(3, 2, 4, 4\)"):
        UNet((1, 8, 8), width=16, maps=2)(x, noise, Context(maps={"input": torch.zeros(3, 2, 4, 4)}))
    with pytest.raises(Refusal, match="vector=None"):
        UNet((1, 8, 8), width=16, vector=None)(x, noise, context)
    with pytest.raises(Refusal, match="too small to halve"):
        UNet((1, 1, 1), width=16, padding=0)(x[..., :1, :1], noise)


def test_dropout_is_the_only_draw() -> None:
    network = alive(UNet((1, 8, 8), width=16, dropout=0.3))
    given = inputs((1, 8, 8))
    assert torch.equal(answer(network, *given), answer(network, *given))
    network.train()
    torch.manual_seed(1)
    first = answer(network, *given)
    assert not torch.equal(first, answer(network, *given))
    torch.manual_seed(1)
    assert torch.equal(first, answer(network, *given))


def test_memory_layout_and_low_precision() -> None:
    network = alive(UNet((3, 10, 8), width=16))
    x, noise, context = inputs((3, 10, 8))
    expected = answer(network, x, noise, context)
    laid = x.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(answer(network, laid, noise, context), expected, rtol=1e-5, atol=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(
            answer(network, x, noise, context).float(), expected, rtol=0.1, atol=0.1 * expected.std().item()
        )
    low = answer(network.bfloat16(), x.bfloat16(), noise, context)
    assert low.dtype == torch.bfloat16
    assert (low.float() - expected).square().mean() < 0.03**2 * expected.square().mean()


def test_compiles_as_one_graph() -> None:
    network = alive(UNet((1, 7, 5), width=16, maps=1))
    x, noise, context = inputs((1, 7, 5))
    context = Context(vector=context.vector, maps={"input": x.abs()})
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    with torch.no_grad():
        found = compiled(x, noise, context, ("mid",))
    assert torch.equal(found.sample, answer(network, x, noise, context))


@pytest.mark.parametrize("waves", [None, Sinusoid(24, 1.0, 1e4, "sin", 1.0), Fourier(10)], ids=str)
def test_spec_rebuilds_the_network(waves: Sinusoid | Fourier | None) -> None:
    network = alive(UNet((1, 9, 8), 16, (1, 1.5), attention=(), embedding=waves, resample="inside", head=None))
    again = build(spec(network))
    assert spec(again) == spec(network) and again.shape == (1, 9, 8)
    again.load_state_dict(network.state_dict())
    given = inputs((1, 9, 8))
    assert torch.equal(answer(network, *given), answer(again.eval(), *given))


DDPMPP: dict[str, Any] = dict(
    blocks=4,
    attention_last=True,
    head=None,
    vector=9,
    early=True,
    film=False,
    resample="inside",
    project=True,
    eps=1e-6,
    gain=0.5**0.5,
    embedding=Sinusoid(128, 1.0, 1e4, "sin", 1.0),
)


@pytest.mark.parametrize(
    ("parameters", "options"),
    [
        # EDM's DDPM++ with its nine augmentation numbers and no classes; CIFAR-10 and FFHQ-64.
        (55_733_891, dict(shape=(3, 32, 32), width=128, multipliers=(2, 2, 2), attention=(1,), **DDPMPP)),
        (61_805_571, dict(shape=(3, 64, 64), width=128, multipliers=(1, 2, 2, 2), attention=(2,), **DDPMPP)),
        # EDM's ADM for ImageNet-64 with a thousand classes.
        (
            295_899_267,
            dict(
                shape=(3, 64, 64), width=192, multipliers=(1, 2, 3, 4), blocks=3, attention=(1, 2, 3), vector=1000,
                resample="inside", embedding=Sinusoid(192, 1.0, 1e4),
            ),
        ),
    ],
)  # fmt: skip
def test_published_sizes(parameters: int, options: dict[str, Any]) -> None:
    with torch.device("meta"):
        network = UNet(**options)
    assert cost(network).parameters == parameters


def test_cost_equals_a_count_by_hooks() -> None:
    network = UNet((2, 9, 6), width=16, multipliers=(1, 2, 2), attention=(0, -1), maps=1)
    total = 0

    def count(layer: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> None:
        nonlocal total
        if isinstance(layer, nn.Conv2d):
            total += out.numel() * layer.in_channels * layer.kernel_size[0] * layer.kernel_size[1]
        elif isinstance(layer, nn.Linear):
            total += out.numel() * layer.in_features
        elif isinstance(layer, Attention):
            total += 2 * (out[0, 0].numel() ** 2) * out.shape[1]  # every pair of positions, twice, over all channels

    hooks = [layer.register_forward_hook(count) for layer in network.modules()]
    context = Context(vector=torch.zeros(1, 128), maps={"input": torch.zeros(1, 1, 9, 6)})
    network(torch.zeros(1, 2, 9, 6), torch.zeros(1), context)
    for hook in hooks:
        hook.remove()
    before = {name: p.data_ptr() for name, p in network.named_parameters()}
    found = cost(network, context=context)
    assert found.macs == total
    assert found.parameters == sum(p.numel() for p in network.parameters())
    assert {name: p.data_ptr() for name, p in network.named_parameters()} == before
    smaller = Context(maps={"input": torch.zeros(1, 1, 4, 4)})
    assert cost(network, (2, 4, 4), smaller).macs < found.macs
