"""Perturbed guidance: the weak answer against attention written by hand, and weights that are shared in truth."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from mezzotint.conditions import Classes, Encoder
from mezzotint.core import NONE, Condition, Refusal, Rng, build, config, spec, store
from mezzotint.denoiser import Counted, Denoiser, Mixture, Preconditioned
from mezzotint.guidance import CFG, Contrast, Perturbed, Unmixed, between
from mezzotint.guidance.perturbed import attentions, chosen
from mezzotint.networks import DiT, UNet
from mezzotint.processes import EDM, VP
from mezzotint.samplers import Euler

LABELS = Condition(label=[0, 1, 2])


def model(**settings: object) -> Preconditioned:
    """A small U-Net that attends at both levels and in the middle, with weights that do something."""
    torch.manual_seed(0)
    shape = {"multipliers": (1, 2), "attention": (0, 1), "head": 4} | settings
    network = UNet((2, 4, 6), width=8, vector=8, **shape)  # type: ignore[arg-type]
    made = Preconditioned(network, VP(), Encoder(label=Classes(3, width=8)), sigma_data=0.7, prediction="v")
    with torch.no_grad():
        for weight in made.parameters():
            weight += 0.2 * torch.randn_like(weight)
    made.encoder["label"].null_trained.fill_(True)  # type: ignore[index]
    return made.eval()


def case() -> tuple[Tensor, Tensor]:
    return Rng(range(3)).normal("x", (2, 4, 6)), torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64)


class Copying(nn.Module):
    """Attention with A = 1, written out on a module's own weights: x + W_o (W_v norm(x) + b_v) + b_o."""

    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.a = attention

    def forward(self, x: Tensor) -> Tensor:
        C = x.shape[1]
        value = torch.einsum("oc,bcn->bon", self.a.qkv.weight[2 * C :], self.a.norm(x).flatten(2))
        value = value + self.a.qkv.bias[2 * C :, None]
        moved = torch.einsum("oc,bcn->bon", self.a.out.weight, value) + self.a.out.bias[:, None]
        return (x + moved.reshape(x.shape)) * self.a.gain


def by_hand(plain: Preconditioned, names: tuple[str, ...]) -> Preconditioned:
    """An independent copy of the whole model with these attentions replaced."""
    twin = copy.deepcopy(plain)
    for name in names:
        parent, _, last = name.rpartition(".")
        attention = twin.get_submodule(name)
        attention.forward = Copying(copy.deepcopy(attention)).forward  # type: ignore[method-assign]
    return twin


@pytest.mark.parametrize(
    ("where", "names"),
    [
        ((), ("network.mid.1",)),
        (("mid",), ("network.mid.1",)),
        (("down.1",), ("network.down.1.blocks.0.attention",)),
        (("up.0.*", "mid.1"), ("network.mid.1", *(f"network.up.0.blocks.{k}.attention" for k in (0, 1)))),
        (("network",), None),
    ],
    ids=["the middle by itself", "mid", "a level", "two patterns", "everything"],
)  # fmt: skip
def test_the_weak_answer_is_attention_by_the_identity(where: tuple[str, ...], names: tuple[str, ...] | None) -> None:
    plain, (x, t) = model(), case()
    names = names or tuple(attentions(plain))
    unmixed = Unmixed(plain, where)
    assert set(unmixed.where) == set(names)
    before = plain(x, t, LABELS).mean.detach()
    expected = by_hand(plain, names)(x, t, LABELS).mean.detach()
    torch.testing.assert_close(unmixed(x, t, LABELS).mean, expected, rtol=1e-4, atol=1e-5)
    assert float((expected - before).abs().max()) > 1e-2
    assert torch.equal(plain(x, t, LABELS).mean, before)  # the model itself is as it was
    assert not any(module.identity for module in attentions(plain).values())


def test_in_a_transformer_every_patch_is_left_to_itself() -> None:
    """With all attention unmixed, what is said of a patch depends on that patch alone; halfway through by itself."""
    torch.manual_seed(0)
    network = DiT((1, 4, 6), width=16, depth=3, heads=2, patch=2)
    with torch.no_grad():
        for weight in network.parameters():
            weight += 0.2 * torch.randn_like(weight)
    plain = Preconditioned(network, VP()).eval()
    x, t = Rng([0]).normal("x", (1, 4, 6)), torch.tensor([0.5], dtype=torch.float64)
    corner = (slice(None), slice(None), slice(2), slice(2))

    def reach(denoiser: Denoiser) -> Tensor:
        at = x.clone().requires_grad_()
        (slope,) = torch.autograd.grad(denoiser(at, t).mean[corner].square().sum(), at)
        return slope.abs() > 0

    outside = torch.ones_like(x, dtype=torch.bool)
    outside[corner] = False
    assert bool(reach(plain).all())
    alone = reach(Unmixed(plain, ("attention",)))
    assert bool(alone[corner].all()) and not bool(alone[outside].any())
    assert Unmixed(plain).where == ("network.blocks.1.attention",) and bool(reach(Unmixed(plain)).all())


def test_it_is_a_contrast() -> None:
    plain, (x, t) = model(), case()
    strong, weak = plain(x, t, LABELS).mean, Unmixed(plain)(x, t, LABELS).mean
    assert torch.equal(Perturbed(plain, 1.0)(x, t, LABELS).mean, strong)
    assert torch.equal(Perturbed(plain, 0.0)(x, t, LABELS).mean, weak)
    torch.testing.assert_close(Perturbed(plain, 4.0)(x, t, LABELS).mean, strong + 3 * (strong - weak))
    cond = LABELS | Condition(scale=[1.0, 0.0, 4.0])
    mixed = Perturbed(plain, "scale")
    found = mixed(x, t, mixed.prepare(cond)).mean
    expected = torch.stack([strong[0], weak[1], 4 * strong[2] - 3 * weak[2]])
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)  # batches of one and of three round differently


def test_half_way_through_where_nothing_is_called_the_middle() -> None:
    plain = model(middle="plain")
    names = tuple(attentions(plain))
    assert len(names) == 6 and Unmixed(plain).where == (names[3],)


def test_a_meter_counts_both_answers() -> None:
    counted, (x, t) = Counted(model()), case()
    Perturbed(counted, between(3.0, 0.4, 0.7))(x, t, LABELS)
    level = VP().level(t)
    inside = int(((level > 0.4) & (level <= 0.7)).sum())
    assert 0 < inside < 3 and counted.rows == 3 + inside
    assert Perturbed(counted, 3.0).weak.denoiser is counted  # type: ignore[attr-defined]


def test_around_and_inside_classifier_free_guidance() -> None:
    """A model that is held twice is perturbed in both places."""
    plain, (x, t) = model(), case()
    twin = by_hand(plain, ("network.mid.1",))
    outside = Perturbed(CFG(plain, 2.0), 3.0)(x, t, LABELS).mean
    expected = 3 * CFG(plain, 2.0)(x, t, LABELS).mean - 2 * CFG(twin, 2.0)(x, t, LABELS).mean
    torch.testing.assert_close(outside, expected, rtol=1e-4, atol=1e-4)
    inside = CFG(Perturbed(plain, 3.0), 2.0)(x, t, LABELS).mean
    torch.testing.assert_close(inside, outside, rtol=1e-4, atol=1e-4)  # both are linear, so they commute


def test_a_training_step_is_seen_by_both() -> None:
    plain, (x, t) = model(), case()
    guided = Perturbed(plain, 2.0).train()
    assert {id(p) for p in guided.parameters()} == {id(p) for p in plain.parameters()}
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.05)
    guided(x, t, LABELS).mean.square().mean().backward()
    # The derivative reaches the shared weights by both answers: a difference quotient in one of the values' weights.
    weight = plain.get_submodule("network.mid.1").qkv.weight
    place = (weight.shape[0] - 1, 3)
    slope = float(weight.grad[place])
    with torch.no_grad():
        ends = []
        for sign in (1, -1):
            weight[place] += sign * 1e-2
            ends.append(float(guided.double()(x.double(), t, LABELS).mean.square().mean()))
            guided.float()
            weight[place] -= sign * 1e-2
    assert slope == pytest.approx((ends[0] - ends[1]) / 2e-2, rel=1e-2)
    optimizer.step()
    plain.eval()
    expected = 2 * plain(x, t, LABELS).mean - by_hand(plain, ("network.mid.1",))(x, t, LABELS).mean
    torch.testing.assert_close(guided.eval()(x, t, LABELS).mean, expected, rtol=1e-4, atol=1e-5)


def test_whatever_happens_to_the_model_has_happened_to_the_copy() -> None:
    """Another precision, assigned weights, a filled buffer, a mode, a new part on the way: nothing is remembered."""
    plain, (x, t) = model(dropout=0.5), case()
    unmixed = Unmixed(plain)

    def agree(rtol: float = 1e-4) -> None:
        twin = by_hand(plain, ("network.mid.1",))
        torch.testing.assert_close(unmixed(x, t, LABELS).mean, twin(x, t, LABELS).mean, rtol=rtol, atol=rtol)

    plain.to(torch.float64)
    x = x.double()
    assert unmixed(x, t, LABELS).mean.dtype == torch.float64
    agree(1e-10)
    other = {name: tensor + 0.1 for name, tensor in plain.state_dict().items() if tensor.is_floating_point()}
    plain.load_state_dict(other, strict=False, assign=True)
    agree(1e-10)
    plain.network.mid[0] = copy.deepcopy(plain.network.mid[2])  # type: ignore[index]
    agree(1e-10)
    plain.train()
    torch.manual_seed(3)
    noisy = unmixed(x, t, LABELS).mean
    plain.eval()
    assert not torch.allclose(noisy, unmixed(x, t, LABELS).mean, atol=1e-3)  # dropout was on
    plain.lower(torch.bfloat16)
    plain.float()
    low = unmixed(x.float(), t, LABELS).mean
    plain.lower(None)
    assert 0 < float((low - unmixed(x.float(), t, LABELS).mean).detach().abs().max()) < 0.3


def test_stored_once_and_found_again(tmp_path: Path) -> None:
    plain, (x, t) = model(), case()
    guided = Perturbed(CFG(plain, between(2.0, 0.2, 0.8)), 3.0, where=("mid", "down.1"))
    folder = store.save_model(tmp_path / "guided", guided)
    size = lambda path: (path / "model.safetensors").stat().st_size  # noqa: E731
    alone = size(store.save_model(tmp_path / "plain", plain))
    # Names grow by a prefix, weights do not.
    assert size(folder) < alone + 40 * len(plain.state_dict()) < 1.5 * alone
    assert sum(v.numel() for v in store.load_tensors(folder / "model.safetensors").values()) == sum(
        v.numel() for v in plain.state_dict().values()
    )
    again = store.load_model(folder)
    assert type(again) is Perturbed and spec(again) == spec(guided)
    assert again.weak.denoiser is again.strong and again.strong.weak.denoiser is again.strong.strong
    assert torch.equal(again(x, t, LABELS).mean, guided(x, t, LABELS).mean)
    tree = config.loads(config.dumps(spec(guided)))
    assert config.dumps(tree).count("denoiser.Preconditioned") == 1
    assert build(tree).weak.where == guided.weak.where  # type: ignore[attr-defined]


def test_a_folder_with_every_alias_is_read_too(tmp_path: Path) -> None:
    """As folders were written before weights were kept once."""
    guided = CFG(model(), 2.0)
    tensors = {name: value + 1 for name, value in guided.state_dict().items() if value.is_floating_point()}
    fresh = CFG(model(), 2.0)
    flags = {name: value for name, value in guided.state_dict().items() if not value.is_floating_point()}
    store.fill_module(fresh, {**tensors, **flags}, "the folder")
    assert all(torch.equal(fresh.state_dict()[name], value) for name, value in tensors.items())
    once = store.weights(guided)
    assert len(once) == len(guided.strong.state_dict())
    missing = dict(once)
    missing.pop(next(iter(missing)))
    with pytest.raises(Refusal, match="lacks the weight"):
        store.fill_module(fresh, missing, "the folder")
    with pytest.raises(Refusal, match="does not have"):
        store.fill_module(fresh, {**once, "weak.denoiser.extra": torch.zeros(1)}, "the folder")


def test_what_cannot_be_perturbed_is_refused() -> None:
    plain = model()
    with pytest.raises(Refusal, match=r"called 'middle'; it has network\.mid\.1"):
        Perturbed(plain, 2.0, where=("mid", "middle"))
    with pytest.raises(Refusal, match="no self-attention"):
        Perturbed(model(attention=(), middle="plain"), 2.0)
    with pytest.raises(Refusal, match="no self-attention"):
        Perturbed(Mixture(EDM(), [[0.0]], [[[1.0]]]), 2.0)
    with pytest.raises(Refusal, match=r"\('mid',\)"):
        Perturbed(plain, 2.0, where="mid")  # type: ignore[arg-type]
    x, t = case()
    guided = Perturbed(plain, 2.0)
    plain.network.forward = plain.network.forward  # type: ignore[method-assign]
    with pytest.raises(Refusal, match="replaced"):
        guided(x, t, LABELS)


def test_runs_and_gradients() -> None:
    """Through a sampler alone and in a crowd, and differentiated by x."""
    guided, rng = Perturbed(model().double(), 2.5), Rng(range(3))
    found = Euler(4)(guided, LABELS, rng=rng)
    torch.testing.assert_close(found[1:2], Euler(4)(guided, LABELS[[1]], rng=rng[[1]]), rtol=1e-9, atol=1e-9)
    x, t = case()
    x = x[:1, :, :2, :2].double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: guided(x, t[:1], LABELS[:1]).mean, (x,), atol=1e-6)
    assert chosen(guided.strong) == ("network.mid.1",) and isinstance(guided, Contrast)
    assert guided.prepare(NONE) == NONE or not guided.prepare(NONE)
