"""DiT, U-ViT and MLP against what must hold of every network: equalities between inputs, precisions and copies."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lively import alive, answer, inputs
from torch import Tensor

from mezzotint.conditions import Classes, Encoder
from mezzotint.core import Condition, Refusal, build, spec
from mezzotint.core.store import load_model, save_model
from mezzotint.denoiser import Preconditioned
from mezzotint.networks import MLP, AdaLNZero, Context, DiT, Fourier, Output, Sinusoid, UViT
from mezzotint.processes import EDM, VP

MODERN: dict[str, Any] = dict(rotary=100.0, rms=True, qk_norm=True, swiglu=True, registers=2)
SMALL: dict[str, Callable[..., Any]] = {
    "DiT": lambda shape=(2, 6, 4), **options: DiT(shape, 24, 2, 2, **options),
    "DiT, modern": lambda shape=(2, 6, 4), **options: DiT(shape, 24, 2, 2, **MODERN, **options),
    "UViT": lambda shape=(2, 6, 4), **options: UViT(shape, 24, 4, 2, **options),
    "MLP": lambda shape=(2, 6, 4), **options: MLP(shape, 24, 2, **options),
}
networks = pytest.mark.parametrize("make", SMALL.values(), ids=SMALL)
Make = Callable[..., Any]


@networks
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 6, 10), (4, 6), (2, 2, 4, 6), (1, 2, 2)], ids=str)
def test_fresh_network_answers_zero_and_a_live_one_reaches_every_parameter(make: Make, shape: tuple[int, ...]) -> None:
    network = make(shape)
    given = inputs(shape)
    assert torch.equal(answer(network, *given), torch.zeros(3, *shape))
    alive(network)(*given).square().sum().backward()
    silent = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    # A single token has nobody to choose from.
    assert not silent or ((1, 2, 2) == shape and all("qkv" in name or "norms" in name for name in silent))


def test_first_weights_are_the_references() -> None:
    """DiT: 0.02 in the MLP of the noise, Xavier-uniform elsewhere, patches by their flattened fan. U-ViT: 0.02."""
    network = DiT((1, 32, 32), 128, 1, 4)
    assert network.level.first.weight.std().item() == pytest.approx(0.02, rel=0.03)
    assert network.level.second.weight.std().item() == pytest.approx(0.02, rel=0.03)
    (block,) = network.blocks
    for layer in (network.enter, block.attention.qkv, block.attention.out, block.mlp.first, block.mlp.second):
        bound = (6 / sum(layer.weight.shape)) ** 0.5
        assert 0.97 * bound < layer.weight.abs().max() <= bound and not layer.bias.any()
    other = UViT((1, 32, 32), 128, 2, 4)
    assert other.enter.weight.std().item() == pytest.approx((1 / 4 / 3) ** 0.5, rel=0.1)  # a convolution's
    for weight in (other.places, other.behind[0].join.weight, other.mid.mlp.first.weight, other.leave.weight):  # type: ignore[union-attr]
        assert weight.std().item() == pytest.approx(0.02, rel=0.1)


@pytest.mark.parametrize("make", [SMALL["DiT"], SMALL["DiT, modern"], SMALL["MLP"]], ids=["DiT", "modern", "MLP"])
def test_fresh_blocks_pass_on_what_they_get(make: Make) -> None:
    network = make()
    found = network(*inputs((2, 6, 4)), want=network.wants)
    first, last = (found.aux[name] for name in network.wants)
    assert torch.equal(first, last) and first.std() > 0.1


@networks
def test_a_fresh_denoiser_is_the_straight_path(make: Make) -> None:
    """D = c_skip x with c_skip = d^2 / (d^2 + sigma^2) (2206.00364, table 1), whatever it is told."""
    denoiser = Preconditioned(make(), EDM(), Encoder(label=Classes(3)), sigma_data=0.6).eval()
    x, t = torch.randn(3, 2, 6, 4), torch.tensor([1.0, 0.01, 1e-4], dtype=torch.float64)
    sigma = EDM().sigma(t)
    skip = (0.36 / (0.36 + sigma**2)).reshape(3, 1, 1, 1)
    found = denoiser(x, t, Condition(label=[0, 1, 2])).mean
    torch.testing.assert_close(found.double(), skip * x.double(), rtol=1e-6, atol=0.0)


@networks
def test_rows_do_not_see_each_other(make: Make) -> None:
    network = alive(make())
    x, noise, context = inputs((2, 6, 4))
    whole = answer(network, x, noise, context)
    assert context.vector is not None
    for k in range(3):  # a batch of one, too
        alone = answer(network, x[k : k + 1], noise[k : k + 1], Context(vector=context.vector[k : k + 1]))
        torch.testing.assert_close(alone, whole[k : k + 1], rtol=1e-4, atol=1e-4 * whole.std().item())


@networks
def test_noise_comes_in_any_shape_of_one_value_per_sample(make: Make) -> None:
    network = alive(make())
    x, noise, _ = inputs((2, 6, 4))
    expected = answer(network, x, noise)
    assert torch.equal(answer(network, x, noise.reshape(3, 1, 1, 1)), expected)
    assert torch.equal(answer(network, x, noise.double()), expected)
    shared = answer(network, x, noise[:1].expand(3))
    for one in (noise[0], noise[:1], noise[:1].reshape(1, 1, 1, 1)):
        assert torch.equal(answer(network, x, one), shared)
    assert (shared[1:] - expected[1:]).abs().max() > 1e-2 * expected.std()


@networks
def test_an_absent_vector_is_zeros_and_another_one_is_heard(make: Make) -> None:
    network = alive(make(vector=7))
    x, noise, context = inputs((2, 6, 4), vector=7)
    absent = answer(network, x, noise)
    assert torch.equal(absent, answer(network, x, noise, Context(vector=torch.zeros(3, 7))))
    assert (answer(network, x, noise, context) - absent).abs().max() > 1e-2 * absent.std()


@networks
def test_maps_enter_beside_x(make: Make) -> None:
    """x and its maps in their two ports are one x of all channels; a map without space is the same everywhere."""
    network, wide = alive(make(maps=3)), make((5, 6, 4), outputs=2).eval()
    wide.load_state_dict(network.state_dict())
    x, noise, context = inputs((5, 6, 4))
    told = Context(vector=context.vector, maps={"input": x[:, 2:]})
    assert torch.equal(answer(network, x[:, :2], noise, told), answer(wide, x, noise, context))
    flat, spread = x[:, 2:, 0, 0], x[:, 2:, :1, :1].expand(-1, -1, 6, 4)
    found = [answer(network, x[:, :2], noise, Context(maps={"input": each})) for each in (flat, spread)]
    assert torch.equal(*found)


@networks
def test_want_names_features_without_changing_the_answer(make: Make) -> None:
    network = alive(make())
    given = inputs((2, 6, 4))
    found = network(*given, want=network.wants)
    assert isinstance(found, Output)
    assert torch.equal(found.sample, answer(network, *given)) and tuple(found.aux) == network.wants
    space = () if isinstance(network, MLP) else (3, 2)
    assert {tuple(feature.shape) for feature in found.aux.values()} == {(3, 24, *space)}
    assert len({float(feature.detach().std()) for feature in found.aux.values()}) == len(network.wants)  # all differ
    assert tuple(network(*given, want=network.wants[:1]).aux) == network.wants[:1]
    with pytest.raises(Refusal, match="'block.0'|'in.0'"):
        network(*given, want=("blok.0" if "block.0" in network.wants else "inn.0",))


@networks
def test_precisions(make: Make) -> None:
    network = alive(make(), 0.2)
    x, noise, context = inputs((2, 6, 4))
    expected = answer(network, x, noise, context)
    scale = expected.std().item()
    with torch.autocast("cpu", torch.bfloat16):
        low = answer(network, x, noise, context)
    assert (low.float() - expected).square().mean() < 0.06**2 * expected.square().mean()
    assert context.vector is not None
    fine = answer(network.double(), x.double(), noise.double(), Context(vector=context.vector.double()))
    assert fine.dtype == torch.float64
    torch.testing.assert_close(fine.float(), expected, rtol=0.0, atol=1e-4 * scale)
    low = answer(network.bfloat16(), x.bfloat16(), noise, context)
    assert low.dtype == torch.bfloat16
    assert (low.float() - expected).square().mean() < 0.06**2 * expected.square().mean()


@pytest.mark.parametrize("make", [SMALL["DiT, modern"], SMALL["UViT"]], ids=["DiT, modern", "UViT"])
def test_compiles_as_one_graph(make: Make) -> None:
    network = alive(make(maps=1))
    x, noise, context = inputs((2, 6, 4))
    context = Context(vector=context.vector, maps={"input": x[:, :1].abs()})
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    with torch.no_grad():
        found = compiled(x, noise, context, network.wants[-1:])
    torch.testing.assert_close(found.sample, answer(network, x, noise, context), rtol=1e-5, atol=1e-5)


@networks
@pytest.mark.parametrize("waves", [None, Sinusoid(24, 1.0, 1e4, "sin", 1.0), Fourier(24)], ids=str)
def test_spec_rebuilds_the_network(make: Make, waves: Sinusoid | Fourier | None) -> None:
    network = alive(make(embedding=waves))
    again = build(spec(network))
    assert spec(again) == spec(network) and again.shape == (2, 6, 4)
    again.load_state_dict(network.state_dict())
    given = inputs((2, 6, 4))
    assert torch.equal(answer(network, *given), answer(again.eval(), *given))


@networks
def test_a_stored_model_comes_back(make: Make, tmp_path: Path) -> None:
    network = make(outputs=2)
    model = alive(Preconditioned(network, VP(), Encoder(label=Classes(3)), prediction="v"))
    again = load_model(save_model(tmp_path / "model", model))
    x, t, cond = torch.randn(2, 2, 6, 4), torch.tensor([0.9, 0.1], dtype=torch.float64), Condition(label=[0, 2])
    with torch.no_grad():
        assert torch.equal(model(x, t, cond).mean, again(x, t, cond).mean)


CHANGES: list[tuple[dict[str, Any], str]] = [
    (dict(context=Context(vector=torch.zeros(2, 64))), r"\(2, 128\).*vector=64"),
    (dict(context=Context(vector=torch.zeros(3, 128))), r"\(3, 128\), but this network takes \(2, 128\)"),
    (dict(context=Context(tokens=torch.zeros(2, 4, 8))), "fills tokens"),
    (dict(context=Context(residuals=(torch.zeros(2, 4),))), "fills residuals"),
    (dict(context=Context(visible=torch.ones(2, 6, dtype=torch.bool))), "fills visible"),
    (dict(context=Context(maps={"input": torch.zeros(2, 1, 6, 4)})), "no port for maps"),
    (dict(context=Context(maps={"decoder": torch.zeros(2, 1, 6, 4)})), "no port for maps at 'decoder'"),
    (dict(noise=torch.zeros(3)), r"one noise level per sample, \(2,\)"),
    (dict(noise=torch.zeros(2, 2, 6, 4)), "one noise level per"),
    (dict(x=torch.zeros(2, 3, 6, 4)), r"takes \(B, .*not a tensor \(2, 3, 6, 4\)"),
    (dict(x=torch.zeros(2, 2, 6)), r"takes \(B, .*not a tensor \(2, 2, 6\)"),
    (dict(want=("zzz",)), "known: "),
]


@networks
@pytest.mark.parametrize(("change", "words"), CHANGES, ids=[words for _, words in CHANGES])
def test_inputs_that_do_not_fit(make: Make, change: dict[str, Any], words: str) -> None:
    given: dict[str, Any] = dict(x=torch.zeros(2, 2, 6, 4), noise=torch.zeros(2), context=Context(), want=())
    with pytest.raises(Refusal, match=words):
        make()(**{**given, **change})


@networks
def test_undeclared_vectors_and_missing_maps_are_refused(make: Make) -> None:
    x, noise, context = inputs((2, 6, 4))
    with pytest.raises(Refusal, match="vector"):
        make(vector=None)(x, noise, context)
    assert answer(make(vector=None), x, noise).shape == x.shape
    with pytest.raises(Refusal, match=r"maps \(3, 1, 6, 4\) at 'input', not none"):
        make(maps=1)(x, noise)
    with pytest.raises(Refusal, match=r"not \(3, 1, 3, 2\)"):
        make(maps=1)(x, noise, Context(maps={"input": torch.zeros(3, 1, 3, 2)}))


@pytest.mark.parametrize("cls", [DiT, UViT])
def test_sizes_are_what_the_patch_divides(cls: Callable[..., Any]) -> None:
    network = alive(cls((2, 6, 4), 24, 2, 2))
    for size in ((2, 2), (8, 10), (6, 4)):
        assert answer(network, torch.randn(1, 2, *size), torch.zeros(1)).shape == (1, 2, *size)
    for size in ((7, 4), (6, 5), (6, 1)):
        with pytest.raises(Refusal, match=r"not multiples of the patch \(2, 2\); pad or crop"):
            network(torch.zeros(1, 2, *size), torch.zeros(1))
    with pytest.raises(Refusal, match="pad or crop"):
        cls((1, 7, 8))
    assert answer(cls((1, 7, 8), patch=(7, 4)), torch.zeros(1, 1, 14, 8), torch.zeros(1)).shape == (1, 1, 14, 8)


@pytest.mark.parametrize(
    ("cls", "options", "words"),
    [
        (DiT, dict(shape=(8,)), "positive sizes"),
        (DiT, dict(shape=(1, 0, 8)), "positive sizes"),
        (DiT, dict(heads=5), "heads divides width 128; 5 does not"),
        (DiT, dict(patch=(2, 2, 2)), "one for each of 2 axes"),
        (DiT, dict(patch=0), "one positive number"),
        (DiT, dict(depth=0), "depth is at least 1, not 0"),
        (DiT, dict(registers=-1), "registers is at least 0"),
        (DiT, dict(rotary=-1.0), "positive base"),
        (DiT, dict(rotary=10.0, heads=64), "use fewer heads"),
        (UViT, dict(depth=5), "depth is even, not 5"),
        (UViT, dict(width=15, heads=3), "even"),
        (UViT, dict(embedding=Sinusoid(64)), "there are 128 of them, not 64"),
        (UViT, dict(outputs=0), "outputs is at least 1"),
        (MLP, dict(shape=()), "positive sizes"),
        (MLP, dict(maps=-1), "maps is at least 0"),
    ],
    ids=str,
)
def test_networks_that_cannot_be(cls: Callable[..., Any], options: dict[str, Any], words: str) -> None:
    with pytest.raises(Refusal, match=words):
        cls(**{"shape": (1, 8, 8), **options})


def same_but_flat(low: Any, high: Any, flat: tuple[int, ...]) -> None:
    """A network of more axes, the further ones of length one, is the network of fewer with the same weights."""
    state = high.state_dict()
    for name, weight in alive(low).state_dict().items():
        if weight.ndim == state[name].ndim:
            state[name] = weight
        else:
            state[name].zero_()[..., 1] = weight  # the middle of a kernel of three
    high.load_state_dict(state)
    x, noise, context = inputs(flat)
    expected = answer(low, x, noise, context)
    found = answer(high.eval(), x[..., None], noise, context)[..., 0]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * expected.abs().max().item())


@pytest.mark.parametrize("flat", [(2, 8), (2, 6, 4)], ids=str)
def test_an_axis_of_length_one_changes_nothing(flat: tuple[int, ...]) -> None:
    patch = (2,) * (len(flat) - 1)
    # Fixed positions deal their waves out to the axes, so they are left out; learnt ones are the same table.
    options: dict[str, Any] = dict(positions=False, qk_norm=True, registers=1)
    low = DiT(flat, 24, 2, 2, patch, **options)
    same_but_flat(low, DiT((*flat, 1), 24, 2, 2, (*patch, 1), **options), flat)
    same_but_flat(UViT(flat, 24, 2, 2, patch), UViT((*flat, 1), 24, 2, 2, (*patch, 1)), flat)
    same_but_flat(MLP(flat, 24, 2), MLP((*flat, 1), 24, 2), flat)


def test_a_vector_of_entries_and_a_picture_of_them_are_one_to_the_mlp() -> None:
    network, flat = alive(MLP((2, 3, 5), 16, 2)), MLP((30,), 16, 2).eval()
    flat.load_state_dict(network.state_dict())
    x, noise, context = inputs((2, 3, 5))
    assert torch.equal(answer(network, x, noise, context).flatten(1), answer(flat, x.flatten(1), noise, context))


def test_an_mlp_is_a_transformer_of_one_token_that_does_not_attend() -> None:
    shape, width = (3, 4), 16
    line = alive(MLP(shape, width, 2, vector=5))
    network = alive(DiT(shape, width, 2, 2, patch=4, vector=5, positions=False, embedding=Sinusoid(64)))
    theirs: dict[str, Tensor] = network.state_dict()
    for name, weight in line.state_dict().items():
        if name == "enter.weight":  # a patch is laid out channels last
            weight = weight.unflatten(1, shape).mT.flatten(1)
        elif name.startswith("final.leave"):
            weight = weight.unflatten(0, shape).transpose(0, 1).flatten(0, 1)
        elif ".modulate." in name and "final" not in name:  # no shift, scale and gate of attention
            weight = torch.cat((torch.zeros_like(weight), weight))
        theirs[name] = weight
    network.load_state_dict(theirs)
    given = inputs(shape, vector=5)
    expected = answer(network, *given)
    torch.testing.assert_close(answer(line, *given), expected, rtol=1e-4, atol=1e-5 * expected.abs().max().item())


def test_modulation_is_a_part_of_the_spec() -> None:
    assert spec(DiT((1, 8, 8), modulation=AdaLNZero()))["modulation"] == {"part": "networks.AdaLNZero"}
