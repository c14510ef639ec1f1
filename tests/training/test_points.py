"""Training on points in the plane, from a config to a loaded model; the picture it draws, and its falling rate."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import mezzotint as mz
from mezzotint.core import Refusal
from mezzotint.data import Fractal as Points
from mezzotint.denoiser import Fractal
from mezzotint.networks import MLP, Potential, Sinusoid
from mezzotint.objectives import Denoising, LogNormal, Towards
from mezzotint.training import InverseRoot, Trainer, train
from mezzotint.training.points import scatter

PROCESS = mz.processes.EDM(sigma_max=5.0)


def tree(objective: mz.objectives.Objective, images: int = 6_400, save: int | None = None) -> dict:
    network = Potential(MLP((2,), 16, 2, ratio=1.0, vector=4, embedding=Sinusoid(8)))
    encoder = mz.conditions.Encoder(label=mz.conditions.Classes(2, 4))
    model = mz.denoiser.Preconditioned(network, PROCESS, encoder)
    trainer = Trainer(
        objective,
        images,
        64,
        rate=InverseRoot(1e-2, plateau=3_200),
        averages=(0.1,),
        save=save,
        sampler=mz.samplers.Heun(6),
    )
    data = Points(depth=2, size=2_000, held_out_size=500)
    return {"model": mz.spec(model), "data": mz.spec(data), "training": mz.spec(trainer)}


@pytest.mark.parametrize("kind", ["towards", "denoising"])
def test_from_a_config_to_a_model(tmp_path: Path, kind: str) -> None:
    """It beats the answer that knows the spread only, and the averages, previews and checkpoints are there."""
    levels = LogNormal(-2.3, 1.5)
    objective = Towards(Fractal(PROCESS, depth=2), levels, "noise") if kind == "towards" else Denoising(levels)
    run = train(tree(objective), tmp_path / "run")
    model = mz.load(tmp_path / "run")
    label = mz.Condition(label=torch.arange(400) % 2)
    x = mz.samplers.Heun(12)(model, label, rng=mz.Rng(range(400)))
    real, cond = Points(depth=2)[:400]
    exact = Fractal(PROCESS, depth=2)
    noise = 0.5 * mz.Rng(range(400)).normal("noise", (2,))
    assert x.shape == (400, 2) and bool(x.isfinite().all())
    mine, theirs = (float(exact.log_density(p, c).clamp(min=-30).mean()) for p, c in ((x, label), (noise, label)))
    assert mine > theirs + 5 and float(exact.log_density(real, cond).mean()) > mine
    shown = sorted((tmp_path / "run" / "samples").glob("*.png"))
    assert len(shown) >= 4 and Image.open(shown[-1]).size == (480, 480)
    levels_seen = run.metrics()[-1]["held_out"]["levels"]
    assert sum(row["error"] * row["count"] for row in levels_seen) < sum(r["trivial"] * r["count"] for r in levels_seen)
    assert "teacher" not in "".join(p.name for p in (tmp_path / "run").rglob("*"))


def test_a_run_beside_an_exact_teacher_goes_on_to_the_bit(tmp_path: Path) -> None:
    objective = Towards(Fractal(PROCESS, depth=1), LogNormal(-2.3, 1.5), "noise", dropout=1.0)
    whole = train(tree(objective, 1_280, 640), tmp_path / "whole")

    class Stop(Exception):
        pass

    def stop(progress: mz.training.Progress) -> None:
        if progress.images > 700:
            raise Stop

    with pytest.raises(Stop):
        train(tree(objective, 1_280, 640), tmp_path / "cut", progress=stop)
    cut = train(tree(objective, 1_280, 640), tmp_path / "cut", resume=True)
    one, two = (run.load(1_280)[0]["model"] for run in (whole, cut))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert mz.load(tmp_path / "cut").nulls == ("label",)


def test_dots_fall_where_the_points_are() -> None:
    real = torch.tensor([[-1.0, -1.0], [1.0, 1.0]])
    drawn = scatter(torch.tensor([[0.5, -0.5], [9.0, 0.0]]), torch.tensor([0, 1]), real, side=100)
    dark = np.argwhere((drawn != 255).any(2) & (np.ptp(drawn, axis=2) > 40))
    # x to the right, y upwards, the frame 6 % wider than the real points; what lies outside sticks to the edge.
    first = dark[dark[:, 1] < 95].mean(0)
    assert first == pytest.approx([100 * (0.5 + 0.25 / 1.12), 100 * (0.5 + 0.25 / 1.12)], abs=1.5)
    assert dark[:, 1].max() == 99
    grey = np.argwhere((drawn[..., 0] == drawn[..., 1]) & (drawn[..., 0] < 255))
    assert grey[:, 0].min() < 8 and grey[:, 0].max() > 92 and grey[:, 1].min() < 8


def test_the_rate_of_the_paper() -> None:
    """1e-2 / sqrt(max(it / 512, 1)), whatever the length of the run; a cool-down only where one is asked for."""
    rate, batch = InverseRoot(1e-2, plateau=512 * 256), 256
    for it in (1, 100, 512, 513, 2_048, 4_096):
        for total in (4_096, 8_192):
            assert rate(it * batch, total * batch) == pytest.approx(1e-2 / max(it / 512, 1) ** 0.5, rel=1e-12)
    assert InverseRoot(1e-2, plateau="1k", cooldown=0.5)(4_000, 4_000) == 0.0
    assert InverseRoot(1e-2, plateau="1k", warmup="2k")(1_000, 4_000) == pytest.approx(5e-3)
    with pytest.raises(Refusal, match="an image at least"):
        InverseRoot(plateau=0)
