"""Vectors and pictures as conditions: alone, beside labels, dropped one by one, and inside a denoiser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mezzotint.conditions import Classes, ConditionPart, Encoder, Image, Vector
from mezzotint.core import NONE, Condition, Refusal, Rng, build, cat, spec
from mezzotint.core.store import load_model, save_model
from mezzotint.denoiser import Preconditioned
from mezzotint.networks import MLP, DiT, UNet, UViT
from mezzotint.objectives import Denoising
from mezzotint.processes import EDM


def lively(module: Any) -> Any:
    """The same module with no weight left at zero."""
    for weight in module.parameters():
        torch.nn.init.normal_(weight, 0.0, 0.3)
    return module


def everything(count: int = 4, space: tuple[int, ...] = (4, 6)) -> Condition:
    draw = Rng(range(count))
    return Condition(
        label=torch.arange(count) % 3,
        traits=draw.normal("traits", (5,)),
        sketch=draw.normal("sketch", (2, *space)),
        mask=draw.uniform("mask", (1, *space)) > 0.5,
    )


def encoder() -> Encoder:
    return Encoder(label=Classes(3, 8), traits=Vector(5, 8), sketch=Image(2), mask=Image(1))


def denoiser(make: Callable[..., Any] = UNet, shape: tuple[int, ...] = (1, 4, 6)) -> Preconditioned:
    return lively(Preconditioned(make(shape, 16, vector=8, maps=3), EDM(), encoder())).eval()


def test_a_vector_is_an_affine_map() -> None:
    """What is linear in the values is; the null takes no part."""
    part = lively(Vector(5, 8))
    a, b, keep = torch.randn(4, 5), torch.randn(4, 5), torch.ones(4, dtype=torch.bool)

    def told(values: torch.Tensor, keep: torch.Tensor = keep) -> torch.Tensor:
        return part({"traits": values}, keep).vector

    torch.testing.assert_close(told(a) + told(b), told(a + b) + told(torch.zeros(4, 5)))
    weight = torch.func.jacrev(lambda v: told(v[None], keep[:1])[0])(a[0])
    torch.testing.assert_close(told(a) - told(b), (a - b) @ weight.T)
    assert torch.equal(told(a, ~keep), part.null.expand(4, -1))
    assert not torch.equal(told(torch.zeros(4, 5)), told(a, ~keep))  # zero is a value like any other


def test_pictures_pass_and_nulls_are_constants() -> None:
    part = lively(Image(2))
    picture, keep = torch.randn(3, 2, 4, 6), torch.tensor([True, False, True])
    told = part({"sketch": picture}, keep).maps["input"]
    assert torch.equal(told[keep], picture[keep])
    assert torch.equal(told[1], part.null[:, None, None].expand(2, 4, 6))
    assert torch.equal(part({}, keep).maps["input"], part.null.expand(3, 2))  # nobody said what space is
    assert tuple(part.maps if hasattr(part, "maps") else lively(Image(2, "all"))({}, keep).maps) == ("all",)


def test_what_is_dropped_may_be_anything() -> None:
    """A row that is dropped brings neither its value nor a gradient that is not a number."""
    for part, name, empty in ((Vector(5, 8), "traits", torch.nan), (Image(2), "sketch", torch.inf)):
        cond, keep = everything(), torch.tensor([True, False, True, False])
        values = cond[name].clone()
        values[~keep] = empty
        context = lively(part)({name: values}, keep)
        told = context.vector if name == "traits" else context.maps["input"]
        assert told.isfinite().all()
        told.square().sum().backward()
        assert all(weight.grad.isfinite().all() for weight in part.parameters())


NETWORKS = pytest.mark.parametrize(
    ("make", "shape"),
    [(UNet, (1, 4, 6)), (UNet, (1, 6)), (DiT, (1, 4, 6)), (DiT, (1, 2, 4, 6)), (UViT, (1, 4, 6)), (MLP, (1, 4, 6))],
    ids=lambda value: getattr(value, "__name__", str(value)),
)


@NETWORKS
def test_families_are_dropped_separately(make: Callable[..., Any], shape: tuple[int, ...]) -> None:
    """Dropped rows, an absent family and a dropout that hits every row are one thing, for each family by itself."""
    model, space = denoiser(make, shape), shape[1:]
    cond, x = everything(space=space), torch.randn(4, *shape)
    t = torch.full((4,), 0.01, dtype=torch.float64)

    def asked(cond: Condition) -> torch.Tensor:
        with torch.no_grad():
            return model(x, t, cond).mean

    full, seen = asked(cond), []
    for name in cond.families:
        dropped = asked(cond.drop(name))
        absent = asked(cond.take(name)[1])
        mask = asked(cond.dropout({name: 1.0}, Rng(range(4))))
        assert torch.equal(dropped, absent) and torch.equal(dropped, mask)
        assert (dropped - full).flatten(1).abs().amax(1).min() > 1e-3 * full.std()
        # One row of four: the others are what they were.
        rows = asked(cat([cond[:1].drop(name), cond[1:]]))
        torch.testing.assert_close(rows[:1], dropped[:1], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(rows[1:], full[1:], rtol=1e-4, atol=1e-4)
        seen.append(dropped)
    nothing = asked(NONE)
    assert torch.equal(nothing, asked(cond.drop()))
    assert all((a - b).abs().max() > 1e-3 * full.std() for a in seen for b in [*seen, nothing] if a is not b)


@pytest.mark.parametrize("make", [UNet, DiT, UViT, MLP])
def test_a_gradient_reaches_every_parameter_and_marks_every_null(make: Callable[..., Any]) -> None:
    model = denoiser(make)
    cond, x = everything(16), torch.randn(16, 1, 4, 6)
    objective = Denoising(dropout={"label": 0.5, "traits": 0.5, "sketch": 0.5, "mask": 0.5})
    assert model.nulls == ()
    objective(model, x, cond, Rng(range(16))).value.sum().backward()
    silent = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert not silent
    assert model.nulls == ("label", "traits", "sketch", "mask")


def test_each_family_has_its_own_dropout() -> None:
    model = denoiser()
    cond, x = everything(8), torch.randn(8, 1, 4, 6)
    Denoising(dropout={"sketch": 0.5})(model, x, cond, Rng(range(8))).value.sum().backward()
    assert model.nulls == ("sketch",)
    for part in model.encoder.parts.values():  # type: ignore[union-attr]
        part.zero_grad()
    with pytest.raises(Refusal, match="needs the condition 'label'"):
        model.prepare(cond.take("sketch")[0])
    assert model.prepare(cond.take("sketch")[1]).families == ("label", "traits", "mask")


def test_maps_stand_in_the_order_of_the_families() -> None:
    cond = everything()
    told = encoder()(cond, 4).maps["input"]
    expected = torch.cat([cond["sketch"], cond["mask"].float()], 1)
    assert torch.equal(told, expected)
    part = encoder()(cond.drop("sketch"), 4).maps["input"]
    assert torch.equal(part[:, 2:], expected[:, 2:]) and torch.equal(part[:, :2], torch.full((4, 2, 4, 6), 2.0))
    beside = encoder()(cond.take("sketch")[1], 4).maps["input"]  # a null without space beside a picture
    assert torch.equal(beside, part)
    assert encoder()(NONE, 4).maps["input"].shape == (4, 3)


@pytest.mark.parametrize(
    ("part", "value", "words"),
    [
        (Vector(5), torch.zeros(2, 4), r"5 numbers a sample, \(B, 5\), not \(2, 4\)"),
        (Vector(1), torch.zeros(2), r"1 numbers a sample, \(B, 1\), not \(2,\)"),
        (Vector(2), torch.tensor([[0.0, torch.nan]]), "not finite; replace them"),
        (Image(2), torch.zeros(2, 3, 4, 6), r"with 2 channels, not \(2, 3, 4, 6\)"),
        (Image(2), torch.zeros(2, 2), r"\(B, 2, \*space\) with 2 channels, not \(2, 2\)"),
        (Image(1), torch.full((1, 1, 2), torch.inf), "not finite; replace them"),
    ],
    ids=str,
)
def test_values_that_do_not_fit(part: ConditionPart, value: torch.Tensor, words: str) -> None:
    made = Encoder(thing=part)
    with pytest.raises(Refusal, match=words):
        made.prepare(Condition(thing=value))
    if value.isfinite().all():
        with pytest.raises(Refusal, match=words):
            made(Condition(thing=value), len(value))


@pytest.mark.parametrize("part", [Classes(3), Vector(5), Image(2)], ids=lambda part: type(part).__name__)
def test_values_that_nobody_reads_are_refused(part: ConditionPart) -> None:
    made = Encoder(thing=part)
    values = {"thing": torch.zeros(2, dtype=torch.long), "thing.spread": torch.zeros(2)}
    for cond in (Condition(**values), Condition(**{"thing.spread": torch.zeros(2)})):
        for ask in (made.prepare, lambda c: made(c, 2)):
            with pytest.raises(Refusal, match="'thing' is one value, not .*thing.spread"):
                ask(cond)


def test_pictures_of_another_size_are_refused() -> None:
    model, cond = denoiser(), everything(4, (4, 6))
    t = torch.full((4,), 0.01, dtype=torch.float64)
    with pytest.raises(Refusal, match=r"takes maps \(4, 3, 8, 12\) at 'input', not \(4, 3, 4, 6\)"):
        model(torch.zeros(4, 1, 8, 12), t, cond)
    small = everything(4, (2, 3))
    with pytest.raises(Refusal, match=r"sizes \(2, 3\) and \(4, 6\).*make them one size"):
        model(torch.zeros(4, 1, 4, 6), t, cond.take("mask")[1] | small.take("mask")[0])
    with pytest.raises(Refusal, match="no port for maps at 'all'"):
        other = Preconditioned(UNet((1, 4, 6), 16, maps=1), EDM(), Encoder(mask=Image(1, "all")))
        other(torch.zeros(4, 1, 4, 6), t, cond.take("mask")[0])


@pytest.mark.parametrize(("made", "words"), [(lambda: Vector(0), "one number"), (lambda: Image(0), "one channel")])
def test_parts_that_cannot_be(made: Callable[[], ConditionPart], words: str) -> None:
    with pytest.raises(Refusal, match=words):
        made()


@pytest.mark.parametrize("make", [UNet, DiT])
def test_low_precision_hears_them_too(make: Callable[..., Any]) -> None:
    model = denoiser(make)
    cond, x = everything(), torch.randn(4, 1, 4, 6)
    t = torch.full((4,), 0.01, dtype=torch.float64)
    with torch.no_grad():
        expected = model(x, t, cond).mean
        model.lower(torch.bfloat16)
        found = model(x, t, cond).mean
    assert found.dtype == torch.float32 and not torch.equal(found, expected)
    assert (found - expected).square().mean() < 0.1**2 * (expected - x).square().mean()


def test_a_stored_model_comes_back(tmp_path: Path) -> None:
    model = denoiser(DiT)
    assert spec(build(spec(model))) == spec(model)
    again = load_model(save_model(tmp_path / "model", model))
    cond, x, t = everything(), torch.randn(4, 1, 4, 6), torch.full((4,), 0.01, dtype=torch.float64)
    with torch.no_grad():
        assert torch.equal(model(x, t, cond).mean, again(x, t, cond).mean)
