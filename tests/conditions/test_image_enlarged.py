"""A smaller picture as a condition: how it is enlarged, how its level is told, and what is told where it is dropped."""

from typing import Any

import numpy as np
import pytest
import scipy.ndimage
import torch

from mezzotint.conditions import Classes, Encoder, Image
from mezzotint.conditions.enlarge import enlarged
from mezzotint.core import Condition, Refusal, Rng
from mezzotint.denoiser import Preconditioned
from mezzotint.networks import UNet
from mezzotint.operators import BlockMean
from mezzotint.processes import Cosine

SIZES = (((5,), 3), ((4, 6), 2), ((4, 6), (3, 2)), ((2, 3, 4), (1, 2, 2)))


def pictures(count: int, *shape: int) -> torch.Tensor:
    return Rng(range(count)).normal("picture", shape)


def keys(size: int, up: int) -> np.ndarray:
    """The matrix of cubic convolution with a = -0.75, centres of pixels, edges repeated (Keys 1981, equation 4)."""
    a, matrix = -0.75, np.zeros((size * up, size))
    for row in range(size * up):
        place = (row + 0.5) / up - 0.5
        for pixel in range(int(np.floor(place)) - 1, int(np.floor(place)) + 3):
            d = abs(place - pixel)
            near, far = (a + 2) * d**3 - (a + 3) * d**2 + 1, a * (d**3 - 5 * d**2 + 8 * d - 4)
            matrix[row, min(max(pixel, 0), size - 1)] += near if d <= 1 else far
    return matrix


@pytest.mark.parametrize(("space", "up"), SIZES)
def test_enlarged_as_elsewhere(space: tuple[int, ...], up: int | tuple[int, ...]) -> None:
    z = pictures(2, 3, *space).double()
    sides = (up,) * len(space) if isinstance(up, int) else up
    blocks = np.kron(z.numpy(), np.ones((1, 1, *sides)))
    np.testing.assert_array_equal(enlarged(z, up, "nearest").numpy(), blocks)
    linear = scipy.ndimage.zoom(z.numpy(), (1, 1, *sides), order=1, mode="nearest", grid_mode=True)
    np.testing.assert_allclose(enlarged(z, up, "linear").numpy(), linear, atol=1e-12)
    if len(space) == 2:
        rows, columns = (keys(n, side) for n, side in zip(space, sides, strict=True))
        cubic = np.einsum("ai,bj,ncij->ncab", rows, columns, z.numpy())
        np.testing.assert_allclose(enlarged(z, up, "cubic").numpy(), cubic, atol=1e-12)
    else:
        with pytest.raises(Refusal, match="use linear"):
            enlarged(z, up, "cubic")


@pytest.mark.parametrize("resize", ["nearest", "linear", "cubic"])
def test_what_an_operator_shrank_comes_back_at_its_size_and_a_constant_stays(resize: str) -> None:
    for space, up in ((8, 6), 2), ((9, 6), 3):
        flat = torch.full((2, 1, *space), 0.7)
        assert enlarged(BlockMean(up).forward(flat), up, resize).numpy() == pytest.approx(0.7, abs=1e-6)
        # The block mean is what the stage is told; nearest gives its pseudo-inverse, and no way loses the mean by much.
        x = pictures(2, 1, *space)
        seen = BlockMean(up).forward(x)
        back = BlockMean(up).forward(enlarged(seen, up, resize))
        assert back.shape == seen.shape and np.corrcoef(back.flatten(), seen.flatten())[0, 1] > 0.8


def told(part: Image, keep: torch.Tensor | None = None, **values: Any) -> Any:
    given = {name.replace("_", "."): value for name, value in values.items()}
    return part(given, torch.ones(2, dtype=torch.bool) if keep is None else keep)


@pytest.mark.parametrize("resize", ["nearest", "linear", "cubic"])
def test_it_enters_enlarged_and_is_replaced_by_the_null_where_dropped(resize: str) -> None:
    z, part = pictures(2, 3, 4, 5), Image(3, up=2, resize=resize)
    found = told(part, torch.tensor([True, False]), low=z).maps["input"]
    assert torch.equal(found[0], enlarged(z, 2, resize)[0])
    assert torch.equal(found[1], part.null[:, None, None].expand(3, 8, 10)) and float(part.null.detach()[0]) == 2.0
    assert told(part, low=z).vector is None


def test_a_level_is_told_row_by_row_and_absent_it_is_zero() -> None:
    torch.manual_seed(0)
    z, part = pictures(2, 1, 4), Image(1, up=2, level=6)
    torch.nn.init.constant_(part.untold, 3.0)
    found = told(part, low=z, low_level=torch.tensor([0.0, 0.6])).vector
    plain = told(part, low=z).vector
    assert torch.equal(found[0], plain[0]) and not torch.allclose(found[1], plain[1])
    levels = [told(part, low=z, low_level=torch.full((2,), u)).vector[0] for u in torch.linspace(0, 1, 41).tolist()]
    apart = torch.pdist(torch.stack(levels))
    assert apart.min() > 1e-3  # no two levels are told alike
    dropped = told(part, torch.tensor([True, False]), low=z, low_level=torch.tensor([0.6, 0.6])).vector
    assert torch.equal(dropped[1], part.untold)
    torch.testing.assert_close(dropped[0], found[1])  # the other row of a product, which some processors round apart
    assert torch.equal(told(part, torch.zeros(2, dtype=torch.bool)).vector, part.untold.expand(2, -1))


def model(level: int | None) -> Preconditioned:
    torch.manual_seed(3)
    part = Image(1, up=2, level=level)
    network = UNet((1, 8, 8), 16, maps=1, vector=16, attention=())
    for weight in network.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    return Preconditioned(network, Cosine(), Encoder(label=Classes(3, 16), low=part)).eval()


def asked(denoiser: Preconditioned, cond: Condition) -> torch.Tensor:
    x, t = pictures(2, 1, 8, 8), torch.tensor([0.4, 0.7], dtype=torch.float64)
    with torch.no_grad():
        return denoiser(x, t, cond).mean


def test_with_zero_weights_on_the_level_it_is_the_model_that_is_not_told() -> None:
    plain, levelled = model(None), model(16)
    both = Condition(label=[0, 2], low=pictures(2, 1, 4, 4))
    noisy = both | Condition(**{"low.level": torch.tensor([0.3, 0.9])})
    levelled.load_state_dict(plain.state_dict(), strict=False)
    assert not torch.allclose(asked(levelled, noisy), asked(plain, both))
    part = next(module for module in levelled.modules() if isinstance(module, Image))
    for weight in part.tell[-1].parameters():
        torch.nn.init.zeros_(weight)
    assert torch.equal(asked(levelled, noisy), asked(plain, both))


def test_with_zero_weights_on_its_channels_it_is_the_model_without_the_picture() -> None:
    """The channels are those of x and then those of the picture: weights of the first alone leave it unheard."""
    denoiser = model(None)
    first = next(m for m in denoiser.modules() if isinstance(m, torch.nn.Conv2d) and m.in_channels == 2)
    z, label = pictures(2, 1, 4, 4), Condition(label=[1, 1])
    one, other = (asked(denoiser, label | Condition(low=sign * z)) for sign in (1, -1))
    assert not torch.allclose(one, other)
    torch.nn.init.zeros_(first.weight[:, 1:])
    one, other = (asked(denoiser, label | Condition(low=sign * z)) for sign in (1, -1))
    assert torch.equal(one, other)
    alone = UNet((1, 8, 8), 16, vector=16, attention=())
    alone.load_state_dict(
        {name: w[:, :1] if w.shape == first.weight.shape else w for name, w in denoiser.network.state_dict().items()}
    )
    assert isinstance(denoiser.encoder, Encoder)
    classes = Encoder(label=Classes(3, 16))
    classes["label"].load_state_dict(denoiser.encoder["label"].state_dict())
    torch.testing.assert_close(asked(Preconditioned(alone, Cosine(), classes).eval(), label), one)


def test_a_level_that_nobody_hears_is_refused_and_so_is_one_that_is_none() -> None:
    z = pictures(2, 1, 4, 4)
    with pytest.raises(Refusal, match="not told 'low.level'"):
        asked(model(None), Condition(label=[0, 1], low=z) | Condition(**{"low.level": torch.tensor([0.1, 0.1])}))
    part = Image(1, up=2, level=4)
    with pytest.raises(Refusal, match="not there"):
        told(part, low_level=torch.tensor([0.1, 0.1]))
    with pytest.raises(Refusal, match="number in"):
        told(part, low=z, low_level=torch.tensor([[0.1], [0.1]]))
    with pytest.raises(Refusal, match="from 0"):
        part.prepare({"low": z, "low.level": torch.tensor([0.1, 1.1])})


@pytest.mark.parametrize("settings", [{"up": 0}, {"up": (2, 0)}, {"up": 1.5}, {"resize": "area"}, {"level": 0}])
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(Refusal):
        Image(1, **settings)
    with pytest.raises(Refusal, match="factor for each"):
        told(Image(1, up=(2, 2)), low=pictures(2, 1, 4))
