"""The recipe for pictures from layouts: where the layout goes, what the phases are, and what it refuses."""

import numpy as np
import pytest
import torch

import mezzotint as mz
from mezzotint.core.rng import Rng
from mezzotint.core.spec import build
from mezzotint.data import Scenes
from mezzotint.recipes import layouts

SMALL = {"images": 6_400, "width": 8, "steps": 4, "batch": 64}


def scenes(*tells, size=16):
    return Scenes(size=size, tells=tells, objects=(1, 3), pictures=200, held_out_pictures=50)


@pytest.mark.parametrize("port", layouts.PORTS)
def test_the_way_down_hears_the_layout_at_the_input_and_at_no_other_port(port):
    data = scenes("layout", "layout.instances", size=(16, 24))
    model = layouts.usual(data, **SMALL, port=port).model.eval()
    rng = torch.Generator().manual_seed(0)
    for weight in model.parameters():  # convolutions that begin at zero would hide what they are told
        weight.data.add_(0.1 * torch.randn(weight.shape, generator=rng))
    x, cond = data[:2]
    t = torch.full((2,), 0.5, dtype=torch.float64)
    there, away = (model(x, t, model.prepare(c), want=("down.0", "up.0")) for c in (cond, cond[[1, 0]]))
    assert torch.equal(there.aux["down.0"], away.aux["down.0"]) == (port == "decoder")
    assert not torch.allclose(there.mean, away.mean)
    alone = {"layout": cond["layout"], "layout.edges": torch.zeros(2, 1, 16, 24, dtype=torch.bool)}
    assert not torch.equal(model(x, t, model.prepare(mz.Condition(**alone))).mean, there.mean)  # instances are heard


def test_other_families_go_where_they_went_and_the_layout_to_the_decoder():
    data = scenes("layout", "depth", "label")
    made = layouts.usual(data, **SMALL)
    assert set(made.model.encoder.families) == {"layout", "depth", "label"}
    assert made.model.network.maps == 1 and made.model.network.decoder_maps == 16  # depth beside the picture
    layout = made.model.encoder["layout"]
    assert layout.things == data.things and layout.count == 7 and not layout.edges


def test_nothing_is_dropped_in_the_first_phase_and_a_fifth_in_the_second():
    data = scenes("layout")
    trainer = build(layouts.usual(data, **SMALL).tree(0))["training"]
    (second,) = trainer.then
    assert second.begins == 1 - 3 / 16
    x, cond = data[np.arange(600) % 200]
    rng, heard = Rng([0]).repeat(600).at(torch.arange(600)), list[float]()
    model = layouts.usual(data, **SMALL).model
    model.encoder["layout"].register_forward_hook(lambda part, given, told: heard.append(given[1].double().mean()))
    for objective in (trainer.objective, second.objective):
        objective(model, x, model.prepare(cond), rng)
    assert heard[0] == 1.0 and abs(heard[1] - 0.8) < 4 * (0.16 / 600) ** 0.5
    assert trainer.rate(6_000, 6_400) == trainer.rate.peak == 5 * second.rate.peak
    assert second.rate(1_200, 1_200) == 0.0


def test_it_says_what_it_cannot_do():
    with pytest.raises(mz.Refusal, match="tell no layout"):
        layouts.usual(scenes("caption"), **SMALL)
    with pytest.raises(mz.Refusal, match="decoder or input, not 'middle'"):
        layouts.usual(scenes("layout"), **SMALL, port="middle")
    assert not layouts.usual(scenes("layout"), **SMALL, second=0).training.then
