"""Layouts and attributes as conditions: what stands for which thing, what is unsaid, dropped, refused and far away."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch

from mezzotint.conditions import Attributes, Encoder, Image, Layout
from mezzotint.conditions.layout import edges_of
from mezzotint.core import Condition, Refusal, Rng, build, spec
from mezzotint.denoiser import Preconditioned
from mezzotint.networks import UNet
from mezzotint.objectives import Denoising
from mezzotint.processes import EDM


def lively(module: Any) -> Any:
    """The same module with no weight left at zero."""
    for weight in module.parameters():
        torch.nn.init.normal_(weight, 0.0, 0.3)
    return module


def test_a_layout_puts_the_vector_of_each_thing_where_it_is() -> None:
    part, keep = lively(Layout(3, 5)), torch.tensor([True, True, False])
    layout = torch.tensor([[[0, 2, 1], [1, 1, 255]]] * 3, dtype=torch.uint8)
    told = part({"layout": layout}, keep).maps["input"]
    assert told.shape == (3, 5, 2, 3)
    table = part.table.weight
    for row, column, thing in ((0, 0, 0), (0, 1, 2), (1, 0, 1), (1, 1, 1), (1, 2, 3)):  # what is unsaid comes last
        assert torch.equal(told[1, :, row, column], table[thing])
    assert torch.equal(told[2], part.null[:, None, None].expand(5, 2, 3))
    assert torch.equal(part({}, keep).maps["input"], part.null.expand(3, 5))  # nobody said what space is
    assert len({*map(tuple, [*table.tolist(), part.null.tolist()])}) == 5  # unsaid is not the null


@pytest.mark.parametrize("space", [(7,), (4, 6), (2, 3, 5)])
def test_layouts_are_of_any_space_and_stand_beside_pictures(space: tuple[int, ...]) -> None:
    encoder = Encoder(layout=Layout(4, 3), sketch=Image(2))
    model = lively(Preconditioned(UNet((1, *space), 16, vector=None, maps=5), EDM(), encoder)).eval()
    cond = Condition(layout=torch.randint(4, (1, *space)), sketch=torch.randn(1, 2, *space))
    x, t = torch.randn(1, 1, *space), torch.full((1,), 0.01, dtype=torch.float64)
    with torch.no_grad():
        full, none = model(x, t, cond).mean, model(x, t, cond.drop("layout")).mean
        assert (full - none).abs().max() > 1e-3 * full.std()
        assert torch.equal(none, model(x, t, cond.take("layout")[1]).mean)
        model.inner_dtype = torch.bfloat16
        torch.testing.assert_close(model(x, t, cond).mean, full, rtol=0.1, atol=0.1 * float(full.std()))


@pytest.mark.parametrize(
    ("layout", "why"),
    [
        (torch.full((2, 3, 3), 4), "a layout says 4, but this model knows the things 0 to 3, and 255"),
        (torch.full((2, 3, 3), -1), "a layout says -1"),
        (torch.zeros(2, 3, 3), "layouts are integers"),
        (torch.zeros(2, 3, 3, dtype=torch.bool), "layouts are integers"),
        (torch.zeros(2, dtype=torch.int64), "layouts are integers"),
    ],
)
def test_layouts_that_are_none_are_refused(layout: torch.Tensor, why: str) -> None:
    with pytest.raises(Refusal, match=why):
        Encoder(layout=Layout(4)).prepare(Condition(layout=layout))


@pytest.mark.parametrize("space", [(9,), (5, 7), (3, 4, 5)])
def test_edges_lie_on_both_sides_of_where_instances_part(space: tuple[int, ...]) -> None:
    """Against every pair of neighbours, one after another."""
    which = torch.randint(3, (2, *space))
    due = torch.zeros(2, *space, dtype=torch.bool)
    for place in itertools.product(*map(range, space)):
        for axis in range(len(space)):
            other = tuple(p + (k == axis) for k, p in enumerate(place))
            if other[axis] < space[axis]:
                differ = which[(slice(None), *place)] != which[(slice(None), *other)]
                due[(slice(None), *place)] |= differ
                due[(slice(None), *other)] |= differ
    assert torch.equal(edges_of(which), due)
    assert not edges_of(torch.full((1, *space), 7)).any()
    mirrored = edges_of(which.flip(-1)).flip(-1)
    assert torch.equal(mirrored, due)


def test_edges_are_a_channel_beside_the_things() -> None:
    part, keep = lively(Layout(3, 5, "decoder", edges=True)), torch.tensor([True, False])
    layout = torch.tensor([[[0, 0, 1], [0, 0, 1]]] * 2)
    which = torch.tensor([[[0, 1, 2], [0, 1, 2]]] * 2)
    found = part({"layout": layout, "layout.instances": which}, keep).maps["decoder"]
    assert part.width == 6 and found.shape == (2, 6, 2, 3)
    assert torch.equal(found[0, 5], torch.ones(2, 3))  # two things of one kind that touch, and the third beside them
    plain = Layout(3, 5, "decoder")
    plain.table, plain.null = part.table, torch.nn.Parameter(part.null[:5])
    assert torch.equal(found[:, :5], plain({"layout": layout}, keep).maps["decoder"])
    assert torch.equal(found[1], part.null[:, None, None].expand(6, 2, 3))  # the null says something of edges, too
    told_so = part({"layout": layout, "layout.edges": edges_of(which)[:, None]}, keep).maps["decoder"]
    assert torch.equal(told_so, found)
    assert not part({"layout": layout}, keep).maps["decoder"][0, 5].any()
    with pytest.raises(Refusal, match="are at the places of the layout"):
        Encoder(layout=part).prepare(Condition(layout=layout, **{"layout.instances": which[:, :1]}))
    with pytest.raises(Refusal, match="beside the layout that they are of"):
        Encoder(layout=part).prepare(Condition(**{"layout.instances": which}))
    beside = plain({"layout": layout, "layout.instances": which}, keep).maps["decoder"]
    assert torch.equal(beside, found[:, :5])  # who is which may be known and not told
    for name, value, why in (
        ("edges", which.float(), "true and false"), ("instances", which.float(), "instances are integers"),
    ):  # fmt: skip
        with pytest.raises(Refusal, match=why):
            Encoder(layout=part).prepare(Condition(layout=layout, **{f"layout.{name}": value}))


def test_things_begin_as_far_apart_as_one_hot_ones_in_any_precision() -> None:
    for count, channels in ((7, 24), (7, 8), (7, 3)):
        table = Layout(count, channels).table.weight.detach()
        products = table @ table.T
        assert products.diag().mean().item() == pytest.approx(1.0, rel=1e-5)
        if channels > count:
            torch.testing.assert_close(products, torch.eye(count + 1), rtol=0, atol=1e-5)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        assert Layout(3, 8).table.weight.dtype == torch.bfloat16
    finally:
        torch.set_default_dtype(before)


def test_names_of_things_are_names() -> None:
    assert Layout(2, things=["sky", "road"]).things == ("sky", "road")
    for wrong in ([1, 2], [["a"], ["b"]], ["sky"], ["sky", "sky"], "ab"):
        with pytest.raises(Refusal, match="a name for each of 2 numbers"):
            Layout(2, things=wrong)


def test_numbers_of_things_have_no_order() -> None:
    """Things renumbered, and the rows of the table with them: the same picture."""
    model = lively(
        Preconditioned(
            UNet((1, 6, 8), 16, vector=None, decoder_maps=4, hidden=4), EDM(), Encoder(layout=Layout(5, 4, "decoder"))
        )
    ).eval()
    order = torch.tensor([3, 0, 4, 1, 2])
    layout = torch.randint(5, (2, 6, 8))
    x, t = torch.randn(2, 1, 6, 8), torch.full((2,), 0.01, dtype=torch.float64)
    with torch.no_grad():
        before = model(x, t, Condition(layout=layout)).mean
        table = model.encoder["layout"].table.weight
        table[order] = table[:5].clone()
        assert torch.equal(model(x, t, Condition(layout=order[layout])).mean, before)
        assert not torch.equal(model(x, t, Condition(layout=layout)).mean, before)


def told(part: Attributes, **values: Any) -> torch.Tensor:
    named = {f"attributes.{name}": torch.as_tensor(value) for name, value in values.items()}
    vector = part(named, torch.ones(len(next(iter(named.values()))), dtype=torch.bool)).vector
    assert vector is not None
    return vector.detach()


def test_attributes_add_up_and_numbers_have_a_distance() -> None:
    """The vector is a sum over attributes, so differences by one attribute do not depend on the other."""
    part = lively(Attributes((("sail", 3),), (("speed", 100.0, 20.0),), width=16))
    a, b = told(part, sail=[0, 1], speed=[80.0, 80.0]), told(part, sail=[0, 1], speed=[130, 130])
    torch.testing.assert_close(a[0] - a[1], b[0] - b[1])
    torch.testing.assert_close(b[0] - b[1], part.tables[0].weight[0] - part.tables[0].weight[1])
    near, far = (told(part, sail=[0, 0], speed=[100.0, 100.0 + step]) for step in (0.2, 30.0))
    assert (near[0] - near[1]).norm() < 0.1 * (far[0] - far[1]).norm()
    other = lively(Attributes((), (("speed", 0.0, 1.0),), width=16))
    other.load_state_dict({k: v for k, v in part.state_dict().items() if not k.startswith("tables")})
    scaled = told(other, speed=[-1.0, 1.5])  # the same numbers on the scale of the data
    torch.testing.assert_close(scaled[1] - scaled[0], b[0] - a[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"sail": [0]}, "knows the attributes sail, speed, all of them"),
        ({"sail": [0], "speed": [1.0], "crew": [2]}, "was given crew, sail, speed"),
        ({"sail": [3], "speed": [1.0]}, "'sail' is 3, but this model knows its values 0 to 2"),
        ({"sail": [0.0], "speed": [1.0]}, "'sail' is whole numbers"),
        ({"sail": [[0]], "speed": [1.0]}, r"of shape \(1, 1\)"),
        ({"sail": [0], "speed": [float("nan")]}, "'speed' is not finite"),
    ],
)
def test_attributes_that_are_none_are_refused(values: dict[str, Any], why: str) -> None:
    encoder = Encoder(attributes=Attributes((("sail", 3),), (("speed", 0.0, 1.0),)))
    cond = Condition(**{f"attributes.{name}": torch.tensor(value) for name, value in values.items()})
    with pytest.raises(Refusal, match=why):
        encoder.prepare(cond)


def test_both_are_dropped_learnt_and_written_down() -> None:
    encoder = Encoder(
        layout=Layout(3, 4), attributes=Attributes((("a.b", 2), ("part", 2)), (("speed", 0.0, 1.0),), width=8)
    )
    model = lively(Preconditioned(UNet((1, 4, 6), 16, vector=8, maps=4), EDM(), encoder))
    cond = Condition(
        layout=torch.arange(16 * 24).reshape(16, 4, 6) * 7 % 3,
        **{"attributes.a.b": torch.arange(16) % 2, "attributes.part": torch.arange(16) // 2 % 2},
        **{"attributes.speed": torch.linspace(-2, 2, 16)},
    )
    objective = Denoising(dropout={"layout": 0.5, "attributes": 0.5})
    objective(model, torch.randn(16, 1, 4, 6), cond, Rng(range(16))).value.sum().backward()
    assert model.nulls == ("layout", "attributes")
    silent = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert not silent
    tree = spec(model)
    again: Any = build(tree)
    assert spec(again) == tree
    again.load_state_dict(model.state_dict())
    x, t = torch.randn(16, 1, 4, 6), torch.full((16,), 0.1, dtype=torch.float64)
    assert torch.equal(again(x, t, cond).mean, model(x, t, cond).mean)
