"""Spatially-adaptive norms: what they are without a word of the map, how far it reaches, and who does not hear it."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from lively import alive

from mezzotint.core import Refusal
from mezzotint.networks import UNet
from mezzotint.networks.context import Context
from mezzotint.networks.cost import cost
from mezzotint.networks.spatial_norm import SpatialNorm


def made(maps: int = 3, **settings: object) -> SpatialNorm:
    torch.manual_seed(0)
    return SpatialNorm(2, 16, maps, 8, groups=4, **settings).double()  # type: ignore[arg-type]


def test_without_a_word_it_is_group_norm_and_with_a_constant_one_an_affine_one() -> None:
    norm, h, y = made(), torch.randn(2, 16, 5, 7).double(), torch.randn(2, 3, 5, 7).double()
    torch.nn.init.zeros_(norm.say.weight)
    torch.nn.init.zeros_(norm.say.bias)
    plain = torch.nn.GroupNorm(norm.norm.num_groups, 16, affine=False).double()
    torch.testing.assert_close(norm(h, y), plain(h), rtol=0, atol=1e-12)
    torch.nn.init.normal_(norm.say.bias)
    affine = torch.nn.GroupNorm(norm.norm.num_groups, 16).double()
    affine.weight.data, affine.bias.data = (1 + norm.say.bias[:16]).detach(), norm.say.bias[16:].detach()
    torch.testing.assert_close(norm(h, y), affine(h), rtol=0, atol=1e-12)


def test_one_place_by_hand() -> None:
    """Windows of the map around one place, multiplied out, at a map of twice the size: every second entry counts."""
    norm, h = made(), torch.randn(1, 16, 6, 6).double()
    large = torch.randn(1, 3, 12, 12).double()
    y = large[:, :, 1::2, 1::2]  # the nearest centre, the later one where two are as near
    read, say = norm.read, norm.say
    around = F.pad(y, (1, 1, 1, 1))
    hidden = torch.zeros(8, 3, 3).double()
    for row in range(3):
        for column in range(3):
            window = around[0, :, 1 + row : 4 + row, 2 + column : 5 + column]
            hidden[:, row, column] = (read.weight * window).sum((1, 2, 3)) + read.bias
    gamma_beta = (say.weight * hidden.relu()).sum((1, 2, 3)) + say.bias
    group = h[0].reshape(norm.norm.num_groups, -1)
    mean, spread = group.mean(1), (group.var(1, correction=0) + norm.norm.eps).sqrt()
    of = torch.arange(16) // (16 // norm.norm.num_groups)
    normed = (h[0, :, 2, 3] - mean[of]) / spread[of]
    due = normed * (1 + gamma_beta[:16]) + gamma_beta[16:]
    torch.testing.assert_close(norm(h, large)[0, :, 2, 3], due, rtol=0, atol=1e-10)


def test_a_place_is_felt_two_places_away_and_no_further() -> None:
    norm, h, y = made(), torch.randn(1, 16, 9, 11).double(), torch.randn(1, 3, 9, 11).double()
    other = y.clone()
    other[:, :, 4, 5] += 1
    felt = (norm(h, y) != norm(h, other)).any(1)[0]
    assert felt[2:7, 3:8].any() and not felt[:2].any() and not felt[7:].any()
    assert not felt[:, :3].any() and not felt[:, 8:].any()
    assert felt[2:7, 3:8].sum() == 25


@pytest.mark.parametrize("resample", ["mean", "inside", "convolution"])
@pytest.mark.parametrize("space", [(8, 6), (9,), (2, 4, 4)])
def test_the_way_down_sees_x_alone(space: tuple[int, ...], resample: str) -> None:
    """Its features are the same to the bit for any two layouts; the answer is not."""
    network = alive(UNet((2, *space), 16, (1, 2), vector=None, decoder_maps=3, hidden=4, resample=resample))
    x, noise = torch.randn(2, 2, *space), torch.tensor([0.1, 0.7])
    one, two = (Context(maps={"decoder": torch.randn(2, 3, *space)}) for _ in range(2))
    with torch.no_grad():
        a, b = (network(x, noise, told, want=network.wants) for told in (one, two))
        alone = network(x[:1], noise[:1], Context(maps={"decoder": one.maps["decoder"][:1]}))
    for name in network.wants:
        assert torch.equal(a.aux[name], b.aux[name]) == name.startswith("down"), name
    assert not torch.equal(a.sample, b.sample) and a.sample.shape == x.shape
    torch.testing.assert_close(alone, a.sample[:1], rtol=1e-4, atol=1e-5)


def test_a_map_that_is_the_same_everywhere_may_come_without_space() -> None:
    network = alive(UNet((1, 8, 8), 16, vector=None, decoder_maps=2, hidden=4))
    x, noise, y = torch.randn(3, 1, 8, 8), torch.rand(3), torch.randn(3, 2)
    with torch.no_grad():
        short = network(x, noise, Context(maps={"decoder": y}))
        whole = network(x, noise, Context(maps={"decoder": y[..., None, None].expand(3, 2, 8, 8)}))
    assert torch.equal(short, whole)


def test_a_map_of_a_larger_picture_tells_what_it_tells_brought_to_size() -> None:
    """Codes of 8 x 8 that are told the map of a picture of 16 x 16."""
    network = alive(UNet((1, 8, 8), 16, vector=None, decoder_maps=2, hidden=4))
    x, noise, y = torch.randn(3, 1, 8, 8), torch.rand(3), torch.randn(3, 2, 8, 8)
    enlarged = y.repeat_interleave(2, 2).repeat_interleave(2, 3)
    with torch.no_grad():
        small, large, other = (
            network(x, noise, Context(maps={"decoder": told})) for told in (y, enlarged, enlarged.flip(3))
        )
    assert torch.equal(large, small) and not torch.allclose(other, small)


def test_both_ports_at_once_and_what_is_refused() -> None:
    network = UNet((1, 8, 8), 16, vector=None, maps=2, decoder_maps=3, hidden=4)
    x, noise = torch.randn(2, 1, 8, 8), torch.rand(2)
    maps = {"input": torch.randn(2, 2, 8, 8), "decoder": torch.randn(2, 3, 8, 8)}
    assert network(x, noise, Context(maps=maps)).shape == x.shape
    for wrong, why in (
        ({**maps, "decoder": torch.randn(2, 4, 8, 8)}, r"takes maps \(2, 3, 8, 8\) at 'decoder', not \(2, 4, 8, 8\)"),
        ({**maps, "input": torch.randn(2, 2, 4, 4)}, r"takes maps \(2, 2, 8, 8\) at 'input', not \(2, 2, 4, 4\)"),
        ({"input": maps["input"]}, r"takes maps \(2, 3, 8, 8\) at 'decoder', not none"),
        ({**maps, "all": maps["input"]}, "no port for maps at 'all'; it has 'decoder'"),
    ):
        with pytest.raises(Refusal, match=why):
            network(x, noise, Context(maps=wrong))
    with pytest.raises(Refusal, match="no port for maps at 'decoder'; build it"):
        UNet((1, 8, 8), 16, vector=None, maps=2)(x, noise, Context(maps=maps))
    with pytest.raises(Refusal, match="hidden is at least 1"):
        UNet((1, 8, 8), 16, decoder_maps=2, hidden=0)


def test_what_it_costs() -> None:
    """By hand: every norm of the middle and the way up reads y and says 2 C channels, at its own size."""
    settings = {"multipliers": (1, 2), "vector": None, "attention": (), "middle": "plain", "resample": "mean"}
    told = Context(maps={"decoder": torch.zeros(1, 3, 8, 8)})
    plain, spatial = UNet((1, 8, 8), 16, **settings), UNet((1, 8, 8), 16, decoder_maps=3, hidden=4, **settings)  # type: ignore[arg-type]
    macs = cost(spatial, context=told).macs - cost(plain).macs
    large, small = 64, 16

    def each(C: int, places: int) -> int:
        return 9 * places * (3 * 4 + 4 * 2 * C)

    middle = 4 * each(32, small)
    coarse = each(64, small) + each(32, small) + each(32 + 16, small) + each(32, small)
    fine = each(32 + 16, large) + each(16, large) + each(32, large) + each(16, large)
    assert macs == middle + coarse + fine
