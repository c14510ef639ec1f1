"""What training does to a picture condition: the law of its noise, the kernel of its blur, and when it is drawn."""

from typing import Any

import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
import torch

from mezzotint.conditions import Blurred, Classes, Encoder, Image, Noised
from mezzotint.conditions.augment import Augment, blur
from mezzotint.core import Condition, Refusal, Rng
from mezzotint.denoiser import Preconditioned
from mezzotint.networks import UNet
from mezzotint.objectives import Denoising
from mezzotint.processes import VP, Cosine, Flow

SPACES = ((7,), (6, 5), (3, 4, 5))


def pictures(count: int, *shape: int) -> torch.Tensor:
    return Rng(range(count)).normal("picture", shape)


def sigma_alpha(process: Any, level: float) -> tuple[float, float]:
    """(sigma, alpha) from the level alone, for a process that keeps variance: u = sigma / (alpha + sigma)."""
    length = np.hypot(level, 1 - level)
    return (level, 1 - level) if process == Flow() else (level / length, (1 - level) / length)


@pytest.mark.parametrize("process", [Cosine(), VP(), Flow()], ids=lambda p: type(p).__name__)
@pytest.mark.parametrize("level", [0.05, 0.3, 0.8])
def test_the_first_two_moments_of_what_is_told_given_the_picture(process: Any, level: float) -> None:
    z = torch.linspace(-1, 1, 2 * 3 * 5).reshape(1, 2, 3, 5).expand(3000, -1, -1, -1)
    told = Noised(process, level=level)(Condition(low=z), None, Rng(range(3000)))
    assert told["low.level"].shape == (3000,) and told["low.level"].numpy() == pytest.approx(level, abs=1e-6)
    sigma, alpha = sigma_alpha(process, level)
    noise = told["low"] - alpha * z
    assert noise.mean(0).abs().max() < 5 * sigma / np.sqrt(3000)
    assert (noise.var(0) / sigma**2 - 1).abs().max() < 5 * np.sqrt(2 / 3000)
    across = np.corrcoef(noise.flatten(1).numpy().T)  # entries are independent of each other
    assert np.abs(across - np.eye(30)).max() < 6 / np.sqrt(3000)


@pytest.mark.parametrize("space", SPACES)
def test_pictures_of_variance_one_keep_it_at_every_level(space: tuple[int, ...]) -> None:
    z = pictures(1500, 2, *space)
    for level in (0.2, 0.5, None):
        told = Noised(Cosine(), level=level)(Condition(low=z), None, Rng(range(5000, 6500)))["low"]
        assert told.shape == z.shape and told.var().item() == pytest.approx(1, abs=0.03)


def test_levels_are_a_rows_own_uniform_on_the_clock_and_sometimes_none() -> None:
    process = Cosine()
    z = pictures(4000, 1, 2, 2)
    told = Noised(process, clean=0.25)(Condition(low=z), None, Rng(range(4000)))
    level = told["low.level"]
    clean = level == 0
    assert clean.double().mean().item() == pytest.approx(0.25, abs=0.035)
    assert torch.equal(told["low"][clean], z[clean]) and not (told["low"][~clean] == z[~clean]).all(1).any()
    s = process.time(level[~clean].double())
    assert scipy.stats.kstest(s.numpy(), "uniform").pvalue > 1e-3
    # The level that is told is the one by which each row was corrupted: noise of the right size, row by row.
    u = level.double()[:, None, None, None]
    length = (u.square() + (1 - u).square()).sqrt()
    noise = (told["low"] - (1 - u) / length * z)[~clean] / (u / length)[~clean]
    for low, high in ((0.0, 0.3), (0.3, 0.6), (0.6, 1.01)):
        some = (level[~clean] >= low) & (level[~clean] < high)
        assert noise[some].std().item() == pytest.approx(1, abs=0.06)


def test_a_row_is_corrupted_alike_in_any_batch_and_level_zero_is_the_picture() -> None:
    z = pictures(6, 1, 4, 4)
    for augment in (Noised(Cosine()), Noised(Cosine(), level=0.4), Blurred()):
        whole, rng = augment(Condition(low=z), None, Rng(range(6))), Rng(range(6))
        some = torch.tensor([4, 1])
        part = augment(Condition(low=z[some]), None, rng[some])
        assert all(torch.equal(part[name], whole[name][some]) for name in whole.values)
    nothing = Noised(Cosine(), level=0.0)(Condition(low=z), None, Rng(range(6)))
    assert torch.equal(nothing["low"], z) and not nothing["low.level"].any()


@pytest.mark.parametrize("space", SPACES)
def test_a_blur_is_that_of_scipy(space: tuple[int, ...]) -> None:
    """Along each axis the same kernel, cut at its size and divided by its sum, edges repeated."""
    z, sigma = pictures(3, 2, *space).double(), torch.tensor([0.4, 0.55, 2.0])
    for size in (1, 3, 5):
        found = blur(z, sigma, size)
        for row, width in enumerate(sigma.tolist()):
            sigmas = (0, *(width for _ in space))
            due = scipy.ndimage.gaussian_filter(
                z[row].numpy(), sigmas, mode="nearest", radius=(0, *(size // 2,) * len(space))
            )
            np.testing.assert_allclose(found[row].numpy(), due, atol=1e-6)


def test_the_kernel_sums_to_one_and_a_constant_stays() -> None:
    spike = torch.zeros(4, 1, 9, 9).double()
    spike[:, :, 4, 4] = 1
    sigma = torch.tensor([0.1, 0.4, 0.6, 50.0])
    kernel = blur(spike, sigma, 3)
    assert kernel.flatten(1).sum(1).numpy() == pytest.approx(1, abs=1e-6) and (kernel >= 0).all()
    assert torch.equal(kernel != 0, torch.nn.functional.pad(torch.ones(4, 1, 3, 3), (3, 3, 3, 3)) != 0)
    assert kernel[3, 0, 3:6, 3:6].numpy() == pytest.approx(1 / 9, abs=1e-4)
    flat = torch.full((4, 3, 5, 8), 0.3)
    assert blur(flat, sigma, 5).numpy() == pytest.approx(0.3, abs=1e-6)
    coarse = torch.full((4, 3, 5, 8), 0.3, dtype=torch.bfloat16)
    assert torch.equal(blur(coarse, sigma, 5), coarse)


def test_half_the_rows_are_blurred_by_sigmas_of_the_range() -> None:
    """The sigma of each row is read back from a spike: neighbours are exp(-1 / (2 sigma^2)) of the middle."""
    z = torch.zeros(2000, 1, 5, 7)
    z[:, :, 2, 3] = 1
    told = Blurred(sigma=(0.4, 0.6), rate=0.5)(Condition(low=z), None, Rng(range(2000)))
    assert list(told.values) == ["low"]  # nothing is said of it
    blurred = (told["low"] != z).flatten(1).any(1)
    assert blurred.double().mean().item() == pytest.approx(0.5, abs=0.045)
    middle, beside = told["low"][blurred, 0, 2, 3].double(), told["low"][blurred, 0, 2, 4].double()
    sigma = (-0.5 / (beside / middle).log()).sqrt()
    assert sigma.min() >= 0.4 - 1e-4 and sigma.max() <= 0.6 + 1e-4
    assert scipy.stats.kstest(sigma.numpy(), scipy.stats.uniform(0.4, 0.2).cdf).pvalue > 1e-3
    for rate, due in ((0.0, 0.0), (1.0, 1.0)):
        found = Blurred(rate=rate)(Condition(low=z), None, Rng(range(2000)))["low"]
        assert (found != z).flatten(1).any(1).double().mean() == due


def test_conditions_without_the_picture_pass_and_what_is_no_picture_is_refused() -> None:
    label = Condition(label=[1, 2])
    for augment in (Noised(), Blurred()):
        assert augment(label, None, Rng([1, 2])) is label
        with pytest.raises(Refusal, match="pictures"):
            augment(Condition(low=[1.0, 2.0]), None, Rng([1, 2]))
        with pytest.raises(Refusal, match="give one of each"):
            augment(Condition(low=torch.zeros(2, 1, 4)), None, Rng([1, 2, 3]))
    other = Noised(family="sketch", level=0.5)(
        Condition(low=torch.ones(1, 1, 4), sketch=torch.ones(1, 1, 4)), None, Rng([1])
    )
    assert torch.equal(other["low"], torch.ones(1, 1, 4)) and "sketch.level" in other and "low.level" not in other


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (Noised, {"clean": 1.2}),
        (Noised, {"level": -0.1}),
        (Noised, {"level": 1.5}),
        (Blurred, {"size": 4}),
        (Blurred, {"sigma": (0.6, 0.4)}),
        (Blurred, {"sigma": (0.0, 0.4)}),
        (Blurred, {"rate": 1.5}),
    ],
)
def test_settings_that_make_no_sense_are_refused(kind: type[Augment], settings: dict[str, Any]) -> None:
    with pytest.raises(Refusal):
        kind(**settings)


def model() -> Preconditioned:
    torch.manual_seed(0)
    told = Encoder(label=Classes(3, 16), low=Image(1, up=2, level=16))
    return Preconditioned(UNet((1, 8, 8), 16, maps=1, vector=16, attention=()), Cosine(), told)


def heard(objective: Denoising, seed: int) -> Condition:
    """What the model is told at one step of training."""
    x, cond = pictures(40, 1, 8, 8), Condition(label=[1] * 40, low=pictures(40, 1, 4, 4))
    loss = objective(model(), x, cond, Rng(range(40)).at("step", seed))
    assert loss.shot is not None
    told: Condition = loss.shot.cond
    return told


def test_training_draws_it_anew_at_every_step_from_a_stream_of_its_own() -> None:
    """Another augmentation leaves what else is drawn as it was: dropped families and the levels of x."""
    plain, noised = Denoising(dropout=0.3), Denoising(dropout=0.3, augment=Noised(Cosine(), clean=0.0))
    first, again, second = heard(noised, 1), heard(noised, 1), heard(noised, 2)
    assert torch.equal(first["low"], again["low"]) and torch.equal(first["low.level"], again["low.level"])
    assert (first["low"] != second["low"]).all() and (first["low.level"] != second["low.level"]).all()
    assert first["low.level"].unique().numel() == 40  # a row's own, not the batch's
    before = heard(plain, 1)
    for family in ("label", "low"):
        assert torch.equal(before.kept(family), first.kept(family))
    assert "low.level" not in before and torch.equal(before["label"], first["label"])
    x, cond = pictures(40, 1, 8, 8), Condition(label=[1] * 40, low=pictures(40, 1, 4, 4))
    shots = [o(model(), x, cond, Rng(range(40))).shot for o in (plain, noised)]
    assert shots[0] is not None and shots[1] is not None
    assert torch.equal(shots[0].t, shots[1].t) and torch.equal(shots[0].x_t, shots[1].x_t)


@pytest.mark.parametrize("augment", [Noised(), Noised(level=0.3), Blurred(rate=1.0)])
def test_what_was_dropped_stays_dropped(augment: Augment) -> None:
    """Otherwise the null of the picture is never trained, and nothing can be guided by leaving it out."""
    found = heard(Denoising(dropout={"low": 0.999999}, augment=augment), 3)
    assert not found.kept("low").any() and found.kept("label").all()
    assert heard(Denoising(dropout=0.0, augment=augment), 3).kept("low").all()


def test_rate_zero_trains_as_without() -> None:
    x, cond = pictures(6, 1, 8, 8), Condition(label=[1] * 6, low=pictures(6, 1, 4, 4))
    losses = [
        Denoising(augment=augment)(model(), x, cond, Rng(range(6))).value
        for augment in (None, Blurred(rate=0.0), Noised(level=0.0), Noised(clean=1.0))
    ]
    assert all(torch.equal(losses[0], loss) for loss in losses[1:])
