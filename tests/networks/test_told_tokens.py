"""What U-Net, DiT and U-ViT promise of the tokens they are told."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from lively import alive, answer, inputs
from reading import TOKENS, Make, crossed, readers, told, words
from torch import Tensor

from mezzotint import testing
from mezzotint.core import Refusal, build, spec
from mezzotint.core.spec import Module, filled
from mezzotint.denoiser import Preconditioned
from mezzotint.guidance.perturbed import Unmixed, attentions
from mezzotint.networks import Context, DiT, Potential, UNet, UViT
from mezzotint.processes import VP


@readers
@pytest.mark.parametrize("shape", [(1, 8, 8), (4, 6), (2, 2, 4, 6)], ids=str)
def test_fresh_networks_answer_zero_and_live_ones_reach_every_parameter(make: Make, shape: tuple[int, ...]) -> None:
    network = make(shape)
    x, noise, context = inputs(shape)
    tokens, mask = words()
    context = Context(vector=context.vector, tokens=tokens, mask=mask)
    assert torch.equal(answer(network, x, noise, context), torch.zeros(3, *shape))
    alive(network)(x, noise, context).square().sum().backward()
    assert not [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]


@crossed
def test_tokens_given_later_change_nothing_at_first(make: Make) -> None:
    """The weights of a network without tokens are those of one with them, whose readers are fresh."""
    before, after = alive(make(tokens=None)), make().eval()
    strange = after.load_state_dict(before.state_dict(), strict=False)
    assert strange.missing_keys and all("cross" in name for name in strange.missing_keys)
    assert not strange.unexpected_keys
    x, noise, context = told()
    expected = answer(before, x, noise, Context(vector=context.vector))
    assert torch.equal(answer(after, x, noise, context), expected)


def test_a_gain_is_not_for_what_is_read() -> None:
    network = UNet((2, 6, 4), 16, tokens=TOKENS, gain=0.5**0.5)
    plain = alive(UNet((2, 6, 4), 16, gain=0.5**0.5))
    network.load_state_dict(plain.state_dict(), strict=False)
    x, noise, context = told()
    assert torch.equal(answer(network.eval(), x, noise, context), answer(plain, x, noise, Context(context.vector)))


@readers
def test_what_is_masked_out_leaves_no_trace(make: Make) -> None:
    """Not a bit of the answer, nor of any gradient, whatever stands there: NaN, infinity, another word."""
    network = alive(make())
    x, noise, context = told(4)
    tokens, mask = context.tokens, context.mask
    assert tokens is not None and mask is not None
    found = []
    for value in (0.0, 3.0, float("nan"), float("inf")):
        given = tokens.masked_fill(~mask[..., None], value).requires_grad_()
        said = network(x, noise, Context(vector=context.vector, tokens=given, mask=mask))
        slopes = torch.autograd.grad(said.square().sum(), [given, *network.parameters()])
        assert not slopes[0][~mask].any() and bool(slopes[0][mask].any(-1).all())
        found.append((said, *slopes))
    for other in found[1:]:
        assert all(torch.equal(a, b) and bool(a.isfinite().all()) for a, b in zip(found[0], other, strict=True))


@readers
def test_a_row_told_nothing_is_a_network_told_nothing(make: Make) -> None:
    network = alive(make())
    x, noise, context = told()
    nothing = Context(vector=context.vector)
    expected = answer(network, x, noise, nothing)
    masked = Context(vector=context.vector, tokens=context.tokens, mask=torch.zeros(3, 4, dtype=torch.bool))
    empty = Context(vector=context.vector, tokens=torch.zeros(3, 0, TOKENS))
    assert torch.equal(answer(network, x, noise, empty), expected)
    if isinstance(network, UViT):  # its softmax has other summands
        torch.testing.assert_close(answer(network, x, noise, masked), expected, rtol=1e-5, atol=1e-5)
        return
    assert torch.equal(answer(network, x, noise, masked), expected)
    mixed = answer(network, x, noise, context)  # row 2 is told nothing, its neighbours are
    torch.testing.assert_close(mixed[2], expected[2], rtol=1e-6, atol=1e-6 * float(expected.abs().max()))
    assert (mixed[:2] - expected[:2]).abs().amax((1, 2, 3)).min() > 1e-2 * expected.std()
    weights = dict(network.named_parameters())
    slopes = [
        torch.autograd.grad(network(x, noise, c).square().sum(), list(weights.values()), materialize_grads=True)
        for c in (masked, nothing)
    ]
    for name, *pair in zip(weights, *slopes, strict=True):
        assert torch.equal(*pair)
        assert "cross" not in name or not pair[0].any()


@readers
def test_precisions(make: Make) -> None:
    network = alive(make(), 0.2)
    x, noise, context = told(4)
    expected = answer(network, x, noise, context)
    scale = expected.square().mean()

    def apart(low: Tensor) -> float:
        return float((low.double() - expected.double()).square().mean() / scale) ** 0.5

    with torch.autocast("cpu", torch.bfloat16):
        assert apart(answer(network, x, noise, context)) < 0.06
    assert context.tokens is not None
    fine = Context(vector=context.vector.double(), tokens=context.tokens.double(), mask=context.mask)  # type: ignore[union-attr]
    found = answer(network.double(), x.double(), noise.double(), fine)
    assert found.dtype == torch.float64 and apart(found) < 1e-5
    low = answer(network.bfloat16(), x.bfloat16(), noise, context)  # tokens still in float32
    assert low.dtype == torch.bfloat16 and apart(low) < 0.06


@readers
def test_rows_do_not_see_each_other(make: Make) -> None:
    network = alive(make())
    x, noise, context = told(4)
    whole = answer(network, x, noise, context)
    assert context.vector is not None and context.tokens is not None and context.mask is not None
    for k in range(4):  # batches of one
        row = slice(k, k + 1)
        alone = Context(vector=context.vector[row], tokens=context.tokens[row], mask=context.mask[row])
        found = answer(network, x[row], noise[row], alone)
        torch.testing.assert_close(found, whole[row], rtol=1e-4, atol=1e-4 * float(whole.std()))


@crossed
def test_perturbed_guidance_leaves_reading_alone(make: Make) -> None:
    """All self-attention unmixed: a text is heard by every place still, and nothing else is a switch."""
    tokens, mask = words()

    class Fixed(Module):
        nulls = ()

        def prepare(self, cond: Any) -> Any:
            return cond

        def forward(self, cond: Any, count: int) -> Context:
            return Context(tokens=tokens, mask=mask)

    network = alive(make())
    plain, silent = Preconditioned(network, VP(), Fixed()).eval(), Preconditioned(network, VP()).eval()
    names = tuple(attentions(plain))
    assert names and not any("cross" in name for name in names)
    x, t = inputs((2, 6, 4))[0], torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64)
    with torch.no_grad():
        before = plain(x, t).mean
        unmixed, unheard = (Unmixed(model, names)(x, t).mean for model in (plain, silent))
        assert torch.equal(plain(x, t).mean, before)
    # A switch by hand, on the model itself.
    for name in names:
        plain.get_submodule(name).identity = True  # type: ignore[assignment]
    with torch.no_grad():
        assert torch.equal(plain(x, t).mean, unmixed)
    assert (unmixed - before).abs().max() > 1e-2
    assert (unmixed - unheard)[:2].abs().amax(1).min() > 0
    torch.testing.assert_close(unmixed[2], unheard[2], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("cls", [UNet, DiT, UViT])
def test_settings_from_before_there_were_tokens(cls: Any) -> None:
    tree = spec(cls((1, 8, 8)))
    old = {name: value for name, value in tree.items() if name not in ("tokens", "cross")}
    assert old != tree and filled(old) == filled(tree)
    again = build(old)
    assert spec(again) == tree and not any("cross" in name or "tokens" in name for name in again.state_dict())


def test_the_field_of_a_potential_reads_too() -> None:
    testing.check_network(Potential(UNet((1, 4, 4), 8, tokens=TOKENS, vector=None)))


@pytest.mark.parametrize(
    ("cls", "options", "sentence"),
    [
        (UNet, dict(tokens=0), "tokens is at least 1, not 0"),
        (DiT, dict(tokens=-2), "tokens is at least 1, not -2"),
        (UViT, dict(tokens=0), "tokens is at least 1, not 0"),
        (UNet, dict(cross=(-1,)), "say how wide these are"),
        (UNet, dict(tokens=4, cross=(2,)), "cross names levels 0 to 1"),
        (UNet, dict(tokens=4, attention_up=(5,)), "attention_up names levels 0 to 1"),
        (UNet, dict(tokens=4, attention=(), middle="plain"), r"no block reads the tokens; .* cross=\(-1,\)"),
        (UNet, dict(tokens=4, cross=(), middle="none"), "no block reads the tokens"),
    ],
    ids=str,
)
def test_networks_that_cannot_be(cls: Any, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(Refusal, match=sentence):
        cls((1, 8, 8), **options)


@readers
@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (dict(tokens=torch.zeros(3, 4, 6)), r"takes \(3, L, 5\); build it with tokens=6"),
        (dict(tokens=torch.zeros(2, 4, 5)), r"shape \(2, 4, 5\), but this network takes \(3, L, 5\)"),
        (dict(tokens=torch.zeros(3, 5)), r"takes \(3, L, 5\)"),
        (dict(tokens=torch.zeros(3, 4, 5), mask=torch.ones(3, 3).bool()), r"is \(3, 4\), not \(3, 3\)"),
        (dict(tokens=torch.zeros(3, 4, 5), mask=torch.ones(3, 4)), "torch.bool, not as torch.float32"),
        (dict(mask=torch.ones(3, 4).bool()), "a mask but no tokens"),
    ],
    ids=str,
)
def test_tokens_that_do_not_fit(make: Make, given: dict[str, Tensor], sentence: str) -> None:
    with pytest.raises(Refusal, match=sentence):
        make()(torch.zeros(3, 2, 6, 4), torch.zeros(3), Context(**given))  # type: ignore[arg-type]


@crossed
def test_undeclared_tokens_are_refused(make: Make) -> None:
    for slot in ("tokens", "mask"):
        with pytest.raises(Refusal, match=f"fills {slot}"):
            make(tokens=None)(torch.zeros(3, 2, 6, 4), torch.zeros(3), Context(**{slot: torch.zeros(3, 4, 5)}))  # type: ignore[arg-type]
