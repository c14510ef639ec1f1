"""What neighbouring stages, and a folder from a stranger, have to agree on before anything is drawn."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mezzotint.cascades import Cascade, Member, Stage, load
from mezzotint.cascades.folder import LEVEL, read, write
from mezzotint.conditions import Encoder, Image, Noised
from mezzotint.conditions.enlarge import enlarged
from mezzotint.core import Condition, Refusal, Rng, config
from mezzotint.core.store import save_model
from mezzotint.denoiser import Preconditioned
from mezzotint.networks import UNet
from mezzotint.processes import Cosine
from mezzotint.samplers import Euler, Sampling


def model(side: int, up: int | None = None) -> Preconditioned:
    """A base, or a model that is told pictures of ``1 / up`` of its size."""
    told = None if up is None else Encoder(low=Image(1, up=up, level=8))
    network = UNet((1, side, side), 8, (1,), maps=int(up is not None), vector=8, attention=(), middle="none")
    return Preconditioned(network, Cosine(), told).eval().requires_grad_(False)


def stages(augment: Noised, up: int = 2) -> tuple[Stage, Stage]:
    return (
        Stage("base", Sampling(Euler(4), model(4))),
        Stage("larger", Sampling(Euler(2), model(8, up)), augment=augment),
    )


def test_noise_on_the_enlarged_picture() -> None:
    """A model that is told pictures of its own size: what is drawn is enlarged, and then noised entry by entry."""
    first, second = stages(Noised(Cosine(), level=0.3, up=2, resize="nearest"), up=1)
    heard: list[Condition] = []
    denoiser: Any = second.pipeline.denoiser  # type: ignore[union-attr]
    denoiser.register_forward_pre_hook(lambda module, given: heard.append(given[2]))
    for level in (0.0, 0.3):
        low, _ = Cascade((first, second)).at((level,)).walk(rng=Rng(range(200)))
        noise = heard[-1]["low"]
        s = Cosine().time(torch.tensor([level], dtype=torch.float64))
        noise = noise - float(Cosine().alpha(s)) * enlarged(low.x, 2, "nearest")
        if level == 0:
            assert not noise.any()
        else:
            noise = noise / float(Cosine().sigma(s))
            assert abs(float(noise.std()) - 1) < 4 / (2 * noise.numel()) ** 0.5
            neighbours = (noise[..., ::2] * noise[..., 1::2]).mean()  # of one small pixel
            assert abs(float(neighbours)) < 4 / (noise.numel() / 2) ** 0.5
    with pytest.raises(Refusal, match="at its own size"):
        Cascade((first, second)).at((0.3,), truncated=True)(rng=Rng([0]))


def test_stages_that_do_not_fit() -> None:
    first, second = stages(Noised())
    with pytest.raises(Refusal, match=r"draws \(1, 4, 4\), which its augmentation enlarges to \(1, 8, 8\)"):
        Cascade(stages(Noised(up=2)))
    timed = Sampling(Euler(2), model(4), times=torch.tensor([1.0, 0.5, 0.0]))
    with pytest.raises(Refusal, match="two stages are called 'base'"):
        Cascade((Stage("base", timed), Stage("base", Sampling(Euler(2), timed.denoiser, times=timed.times))))
    other = Cascade((first, Stage("larger", second.pipeline, augment=Noised(family="sketch"))))
    for truncated in (False, True):
        with pytest.raises(Refusal, match="is handed 'low', and its augmentation is of 'sketch'"):
            other.at((0.2,), truncated)
    stopped = Cascade(stages(Noised())).at((0.3,), truncated=True)
    for level, truncated in ((0.2, False), (0.0, False), (0.1, True)):
        with pytest.raises(Refusal, match="'base' is stopped on its way already"):
            stopped.at((level,), truncated)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("cascade")
    base, large = model(4), model(8, 2)
    save_model(home / "4", base)
    save_model(home / "8", large)
    write(home, [Member.of("4", base, {}, None), Member.of("8", large, {"low": "4"}, Noised())])
    return home


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda base, last: last["augment"].update(family="depth"), "what is corrupted is what is taken"),
        (lambda base, last: base.update(augment=last["augment"]), "takes nothing"),
        (lambda base, last: last["augment"].update(up=100_000), r"enlarges to \(1, 400000, 400000\)"),
        (lambda base, last: last.update(folder="..\\8"), "has to lie inside"),
        (lambda base, last: last.update(folder="8\0"), "has to lie inside"),
        (lambda base, last: last.update(folder="../8"), "has to lie inside"),
        (lambda base, last: last.update(folder="away/8"), "goes through a link"),
        (lambda base, last: last.update(folder="away"), "goes through a link"),
    ],
)
def test_a_strangers_folder(folder: Path, tmp_path: Path, change: Callable[[Any, Any], None], why: str) -> None:
    """Nothing is opened outside of it, nothing is made of a size that no model asks for, and no key is missed."""
    home = tmp_path / "c"
    home.mkdir()
    for name in ("4", "8"):
        shutil.copytree(folder / name, home / name)
    (home / "away").symlink_to(folder)
    tree = config.load(folder / "cascade.yaml")
    change(*tree["stages"])
    (home / "cascade.yaml").write_text(config.dumps(tree))
    with pytest.raises(Refusal, match=why):
        load(home)


def test_a_level_that_nobody_says(folder: Path, tmp_path: Path) -> None:
    tree = config.load(folder / "cascade.yaml")
    for said, due in ((None, LEVEL), (0.0, 0.0), (0.3, 0.3)):
        last = {**tree["stages"][1], "level": said}
        home = tmp_path / str(said)
        home.mkdir()
        (home / "cascade.yaml").write_text(config.dumps({**tree, "stages": [tree["stages"][0], last]}))
        assert [member.level for member in read(home)] == [None, due]
