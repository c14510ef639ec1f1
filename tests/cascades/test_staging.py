"""Stages in folders: one at a time there is one in memory, and neither that nor the batch moves a sample."""

from pathlib import Path

import pytest
import torch

from mezzotint.cascades import Cascade, Stage, Stored
from mezzotint.conditions import Classes, Encoder, Image, Noised
from mezzotint.core import Condition, Rng
from mezzotint.core.store import save_model
from mezzotint.denoiser import Preconditioned
from mezzotint.networks import UNet
from mezzotint.processes import Cosine
from mezzotint.samplers import Ancestral, Heun
from mezzotint.testing.live import Live

SHAPES = {"base": (2, 3, 4), "middle": (2, 6, 8), "large": (2, 12, 16)}
WIDTHS = {"base": 24, "middle": 32, "large": 16}


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, int]]:
    """Three models in folders, told a class and the picture before, and the bytes of the parameters of each."""
    folder, sizes = tmp_path_factory.mktemp("stages"), {}
    for place, (name, shape) in enumerate(SHAPES.items()):
        torch.manual_seed(place)
        told = {"label": Classes(3, 8)} | ({"low": Image(2, up=2, level=8)} if place else {})
        network = UNet(shape, WIDTHS[name], (1, 2), maps=2 * bool(place), vector=8, attention=())
        for weight in network.parameters():  # an untrained network answers zero, and hears nothing
            torch.nn.init.normal_(weight, std=0.2)
        model = Preconditioned(network, Cosine(), Encoder(**told))
        sizes[name] = sum(p.numel() * 4 for p in model.parameters())
        save_model(folder / name, model)
    return folder, sizes


def cascade(folder: Path, apart: bool, rows: int | None = None) -> Cascade:
    noised = Noised(Cosine(), level=0.2)
    samplers = {"base": Ancestral(3), "middle": Heun(2), "large": Ancestral(2)}
    return Cascade(
        tuple(
            Stage(
                name, Stored(str(folder / name), samplers[name], rows=rows), augment=noised if name != "base" else None
            )
            for name in SHAPES
        ),
        apart=apart,
    )


def test_one_at_a_time_there_is_one_stage_in_memory(stored: tuple[Path, dict[str, int]]) -> None:
    folder, sizes = stored
    largest, everything = max(sizes.values()), sum(sizes.values())
    assert everything > 1.5 * largest
    for apart in (True, False):
        run, after = cascade(folder, apart), []
        with Live() as live, torch.no_grad():
            for _ in run.walk(Condition(label=[1, 2]), Rng([4, 7])):
                after.append(live.look())
        if apart:
            assert largest <= live.peak <= 1.05 * largest and after == [0, 0, 0]
        else:
            assert live.peak == everything and after[-1] == everything
        assert len(live.seen) - 3 == 3 + 3 + 2  # looked at every evaluation: Heun's last step takes one


def test_opened_again_it_draws_the_same_and_so_does_any_batch(stored: tuple[Path, dict[str, int]]) -> None:
    folder, _ = stored
    cond, seeds = Condition(label=[0, 2, 1, 1, 2]), [5, 9, 2, 11, 3]
    with torch.no_grad():
        whole = cascade(folder, apart=True, rows=8)(cond, Rng(seeds))
        together = cascade(folder, apart=False, rows=8)
        assert torch.equal(together(cond, Rng(seeds)), whole) and whole.std() > 0.05
        for rows in ([1], [3, 0], [4, 2, 1]):
            assert torch.equal(together(cond[rows], Rng([seeds[row] for row in rows])), whole[rows])
    assert not torch.equal(together(cond, Rng([6, *seeds[1:]]))[0], whole[0])


def test_what_is_alive_is_seen_whoever_holds_it() -> None:
    """The meter itself: garbage that nobody collected counts, shared weights count once, plans count nothing."""
    before = torch.nn.Linear(50, 50)
    with Live() as live:
        assert live.look() == 0
        one, two = torch.nn.Linear(10, 5, bias=False), torch.nn.Linear(10, 5, bias=False)
        assert live.look() == 2 * 50 * 4
        two.weight = one.weight
        with torch.device("meta"):
            plan = torch.nn.Linear(1000, 1000)
        assert live.look() == 50 * 4 and len(list(plan.parameters())) == 2
        one.register_forward_hook(lambda *given, held=one: None)  # a circle is not released with the last name for it
        del one, two
        assert live.look() == 50 * 4 and live.peak == 2 * 50 * 4
    assert live.seen == [0, 400, 200, 200] and before.weight.numel() == 2500
