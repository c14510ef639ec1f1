"""Context prediction in whole runs: what it leaves alone to the bit, and what is trained, kept and thrown away."""

from __future__ import annotations

import copy
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import mezzotint as mz
from crew import crew
from mezzotint import recipes, training
from mezzotint.core import ranks
from mezzotint.core.errors import Refusal
from mezzotint.core.spec import build, spec
from mezzotint.core.store import load_tensors
from mezzotint.objectives import ContextPrediction, Denoising, Importance, Objective, OrderedDecoder, SetDecoder
from mezzotint.recipes import chains
from mezzotint.testing.truth import nudge
from mezzotint.training import Phase, Rate

STEPS, BATCH = 8, 16
CLIP = 0.05  # below every norm of these runs
Weights = dict[str, dict[str, torch.Tensor]]


class Double(mz.data.Digits):
    """The digits in float64, few of them held out."""

    def __len__(self) -> int:
        return super().__len__() if self.split == "train" else 32

    def read(self, rows: Any) -> torch.Tensor:
        return super().read(rows).double()


def tree(**changes: Any) -> dict[str, Any]:
    made = recipes.of_data(mz.data.Digits(), images=STEPS * BATCH, width=8, steps=2)
    made["training"] |= {
        "batch": BATCH, "save": STEPS // 2 * BATCH, "log": BATCH, "picture": STEPS * BATCH, "clip": CLIP
    }  # fmt: skip
    made["training"] |= changes
    return copy.deepcopy(made)


class Fine(SetDecoder):
    """A decoder in float64, so that sums in another order show in the last digits only."""

    def build(self, inputs: int, outputs: int, slots: int) -> None:
        super().build(inputs, outputs, slots)
        self.double()


def wrapped(weight: float = 0.5, inner: Objective | None = None, **more: Any) -> ContextPrediction:
    given = {"sites": 0.25, "decoder": Fine(), **more}
    return ContextPrediction(Denoising() if inner is None else inner, weight=weight, **given)


def fit(folder: Path, objective: Objective, resume: bool = False, progress: Any = None, **changes: Any) -> training.Run:
    """A run in float64, from weights that are all alive; the rate is the same whatever the objective."""
    phases = changes.pop("then", ())
    made = tree(**changes)
    torch.manual_seed(0)
    trainer, model = mz.build(made["training"]), mz.build(made["model"]).double()
    nudge(model, 0.1)
    trainer = replace(trainer, objective=objective, rate=Rate(1e-3, warmup=0, cooldown=0.0), then=phases)
    return trainer.fit(model, Double(), folder, resume=resume, progress=progress)


def kept(run: training.Run | Path, images: int | None = None) -> Weights:
    run = training.Run.open(run) if isinstance(run, Path) else run
    return run.load(run.checkpoints()[-1] if images is None else images)[0]


def column(run: training.Run | Path, name: str) -> list[Any]:
    run = training.Run.open(run) if isinstance(run, Path) else run
    return [row[name] for row in run.metrics() if name in row]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> training.Run:
    return fit(tmp_path_factory.mktemp("plain") / "run", Denoising())


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> training.Run:
    return fit(tmp_path_factory.mktemp("whole") / "run", wrapped())


def same(one: Weights, other: Weights, names: tuple[str, ...] | None = None) -> bool:
    names = tuple(one) if names is None else names
    return all(
        one[name].keys() == other[name].keys() and all(torch.equal(one[name][k], other[name][k]) for k in one[name])
        for name in names
    )


def test_without_weight_the_run_is_the_baseline_s_to_the_bit(plain: training.Run, tmp_path: Path) -> None:
    """Weights, averages and losses of eight steps, all of them clipped."""
    off = fit(tmp_path / "off", wrapped(0.0))
    assert min(column(plain, "norm")) > 2 * CLIP  # so every step was clipped, and a decoder in the norm would show
    for name in ("loss", "norm", "rate"):
        assert column(off, name) == column(plain, name)
    assert [row["loss"] for row in column(off, "held_out")] == [row["loss"] for row in column(plain, "held_out")]
    for images in plain.checkpoints():
        names = tuple(name for name in kept(plain, images) if name == "model" or name.startswith("ema"))
        assert len(names) == 3 and same(kept(plain, images), kept(off, images), names)


def test_without_weight_float32_is_the_baseline_s_too(tmp_path: Path) -> None:
    """As a user starts it, from a config."""
    asked = tree(images=4 * BATCH)
    asked["model"]["network"]["dropout"] = 0.2  # which draws from torch's own generator
    one = training.train(asked, tmp_path / "plain")
    around = {"part": "objectives.ContextPrediction", "inner": asked["training"]["objective"], "weight": 0.0}
    asked["training"]["objective"] = around
    other = training.train(asked, tmp_path / "off")
    assert column(one, "loss") == column(other, "loss")
    assert same(kept(one), kept(other), tuple(n for n in kept(one) if n != "optimizer"))
    assert spec(build(other.config["training"])) == other.config["training"]


def test_clipping_the_decoder_does_not_touch_the_model(plain: training.Run, tmp_path: Path) -> None:
    """A decoder with large gradients of its own that none of the model's weights hear of: the model's steps stay."""

    class Deaf(Fine):
        """Hears nothing of the model, so its gradients are its own weights' alone."""

        def forward(self, h: torch.Tensor, *rest: Any) -> torch.Tensor:
            return super().forward(h.detach(), *rest)

    deaf = fit(tmp_path / "deaf", wrapped(1000.0, decoder=Deaf()))
    assert same(kept(plain), kept(deaf), ("model",))


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_nothing_of_the_decoder_leaves_the_run(plain: training.Run, whole: training.Run) -> None:
    """The same files and keys in model/ and in the averages; the decoder in the checkpoint's objective, and trained."""
    ours, theirs = whole.path / "model", plain.path / "model"
    assert files(ours) == files(theirs) and len(files(ours)) >= 2
    for path in theirs.rglob("*.safetensors"):
        one, other = load_tensors(ours / path.relative_to(theirs)), load_tensors(path)
        assert one.keys() == other.keys() and {k: v.shape for k, v in one.items()} == {
            k: v.shape for k, v in other.items()
        }
    for path in theirs.rglob("*.yaml"):
        assert (ours / path.relative_to(theirs)).read_text() == path.read_text()
    first, last, baseline = kept(whole, STEPS // 2 * BATCH), kept(whole), kept(plain)
    assert set(last) - set(baseline) == {"objective"}
    for name in baseline:
        if name != "optimizer":
            assert last[name].keys() == baseline[name].keys(), name
    decoder = {name: value for name, value in last["objective"].items() if value.is_floating_point()}
    assert decoder and all(name.startswith("decoder.") for name in decoder)
    assert any(not torch.equal(value, first["objective"][name]) for name, value in decoder.items())
    assert not same(last, baseline, ("model",))  # and the model heard of it
    assert len(last["optimizer"]) > len(baseline["optimizer"])
    mine, other = mz.load(str(whole.path)), mz.load(str(plain.path))
    assert sum(p.numel() for p in mine.parameters()) == sum(p.numel() for p in other.parameters())
    assert spec(mine) == spec(other)


def test_sampling_is_the_same_to_the_bit_with_it_and_without(tmp_path: Path) -> None:
    """From the same weights, before and after an objective met them and asked about them; and as many operations."""
    torch.manual_seed(0)
    made = tree()
    model = nudge(mz.build(made["model"])).eval()
    sampler = mz.samplers.Heun(3)
    x, cond = mz.data.Digits()[:4]

    def drawn() -> torch.Tensor:
        with torch.no_grad():
            return sampler(model, model.prepare(cond), rng=mz.Rng(range(4)))

    before, cost, names = drawn(), model.cost(model.shape), list(model.state_dict())
    attached = []
    for decoder in (SetDecoder(), OrderedDecoder()):
        objective = ContextPrediction(Denoising(), decoder, sites=1.0)
        objective.meet(model, x[:1], model.prepare(cond[:1]), 0)
        objective(model, x, model.prepare(cond), mz.Rng(range(4))).value.sum().backward()
        attached.append(objective)
    assert torch.equal(drawn(), before) and model.cost(model.shape) == cost and list(model.state_dict()) == names
    assert {id(p) for p in model.parameters()}.isdisjoint(
        id(p) for objective in attached for p in objective.parameters()
    )  # fmt: skip


class Stop(Exception):
    pass


def stop(progress: Any) -> None:
    if progress.images >= (STEPS // 2 + 1) * BATCH:
        raise Stop


def test_a_run_that_stopped_ends_the_same(whole: training.Run, tmp_path: Path) -> None:
    """Decoder and its moments to the bit, by another objective that has met nobody."""
    with pytest.raises(Stop):
        fit(tmp_path / "run", wrapped(), progress=stop)
    assert training.Run.open(tmp_path / "run").checkpoints() == [STEPS // 2 * BATCH]
    torch.manual_seed(7)
    again = fit(tmp_path / "run", wrapped(), resume=True)
    assert kept(whole).keys() == kept(again).keys() and same(kept(whole), kept(again))
    assert column(whole, "loss") == column(again, "loss")


def test_with_an_ordered_decoder_and_levels_that_remember_too(tmp_path: Path) -> None:
    def objective() -> ContextPrediction:
        return wrapped(inner=Denoising(Importance(4, 2)), decoder=OrderedDecoder(), strides=(2, 1))

    straight = fit(tmp_path / "straight", objective())
    shutil.copytree(straight.path, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints" / f"{STEPS * BATCH:010d}")
    one, other = kept(straight), kept(fit(tmp_path / "run", objective(), resume=True))
    assert one.keys() == other.keys() and same(one, other)
    assert sum(int(v.sum()) for k, v in one["objective"].items() if k.endswith("levels.seen")) == STEPS * BATCH


def test_a_run_with_another_decoder_is_not_gone_on_with(whole: training.Run, tmp_path: Path) -> None:
    shutil.copytree(whole.path, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints" / f"{STEPS * BATCH:010d}")
    with pytest.raises(Refusal):
        fit(tmp_path / "run", wrapped(decoder=SetDecoder(width=24)), resume=True)


def near(one: Weights, other: Weights) -> None:
    assert one.keys() == other.keys() and {"objective", "optimizer"} <= one.keys()
    for name in one:
        assert one[name].keys() == other[name].keys(), name
        for key, value in one[name].items():
            torch.testing.assert_close(other[name][key], value, rtol=0, atol=1e-9, msg=f"{name} {key}")


def test_a_batch_in_two_pieces_is_the_batch(whole: training.Run, tmp_path: Path) -> None:
    pieces = fit(tmp_path / "pieces", wrapped(), accumulate=2)
    near(kept(whole), kept(pieces))
    np.testing.assert_allclose(column(pieces, "loss"), column(whole, "loss"), rtol=0, atol=1e-9)


def half_way() -> tuple[Phase, ...]:
    return (Phase(0.5, Denoising(dropout=0.3), Rate(5e-4, warmup=0, cooldown=0.0)),)


def remembering() -> ContextPrediction:
    return wrapped(inner=Denoising(Importance(4, 2)), strides=(1, 2))


def chained(folder: Path) -> torch.nn.Module:
    """Three steps of a chain, whose stages are not all in every batch, with context from its answers."""
    torch.manual_seed(0)
    data = mz.data.Shaded(mz.data.Untold(mz.data.Digits()), 4)
    made = chains.usual(data, images=12, width=8, stages=3, batch=4, depth=(1, 1, 1))
    nudge(made.model.double(), 0.2)
    objective = ContextPrediction(made.training.objective, source="prediction", weight=1.0)
    replace(made.training, objective=objective).fit(made.model, data, folder)
    return made.model


def everything(place: Path) -> None:
    """What two processes do for the tests below."""
    fit(place / "copies", wrapped())
    fit(place / "both", remembering(), accumulate=2)
    fit(place / "phases-copies", wrapped(), then=half_way())
    fit(place / "begun", wrapped(), resume=True)
    chain = chained(place / "chain-copies")
    if ranks.main():
        torch.save(chain.state_dict(), place / "chain-copies.pt")
    said = ""
    try:
        fit(place / "cut", wrapped(), shard=True)
    except Refusal as refusal:
        said = str(refusal)
    (place / f"said.{ranks.rank()}").write_text(said)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, whole: training.Run) -> Path:
    place = tmp_path_factory.mktemp("context")
    shutil.copytree(whole.path, place / "begun")
    shutil.rmtree(place / "begun" / "checkpoints" / f"{STEPS * BATCH:010d}")
    assert crew(2, everything, place, seconds=300) == [0, 0]
    return place


def test_two_processes_take_the_steps_of_one(place: Path, whole: training.Run) -> None:
    for name in ("copies", "begun"):
        near(kept(whole), kept(place / name))
        np.testing.assert_allclose(column(place / name, "loss"), column(whole, "loss"), rtol=0, atol=1e-9)
        np.testing.assert_allclose(column(place / name, "norm"), column(whole, "norm"), rtol=0, atol=1e-9)


def test_two_processes_and_two_pieces_with_levels_that_remember(place: Path, tmp_path: Path) -> None:
    alone = fit(tmp_path / "alone", remembering())
    near(kept(alone), kept(place / "both"))
    np.testing.assert_allclose(column(place / "both", "loss"), column(alone, "loss"), rtol=0, atol=1e-9)


def test_a_chain_in_two_processes(place: Path, tmp_path: Path) -> None:
    alone = chained(tmp_path / "chain")
    together = torch.load(place / "chain-copies.pt")
    for name, weight in alone.named_parameters():
        torch.testing.assert_close(together[name], weight.detach(), rtol=0, atol=1e-5, msg=name)


def test_cut_into_pieces_it_is_refused_with_a_sentence(place: Path) -> None:
    first, second = ((place / f"said.{rank}").read_text() for rank in (0, 1))
    assert first == second and "shard" in first and "\n" not in first and len(first) > 40
    assert not (place / "cut" / "model").exists()


def test_a_wrapped_phase_and_a_plain_one(place: Path, whole: training.Run, tmp_path: Path) -> None:
    """The first half is that of the wrapped run; then the plain loss goes on, in one process and in two."""
    run = fit(tmp_path / "phases", wrapped(), then=half_way())
    half = STEPS // 2 * BATCH
    assert same(kept(whole, half), kept(run, half), ("model", "objective"))
    assert not same(kept(whole), kept(run), ("model",))
    near(kept(run), kept(place / "phases-copies"))
    np.testing.assert_allclose(column(place / "phases-copies", "loss"), column(run, "loss"), rtol=0, atol=1e-9)


def test_a_second_phase_that_brings_a_decoder_is_refused() -> None:
    with pytest.raises(Refusal, match="keeps something of its own"):
        Phase(0.5, wrapped())


def test_the_log_says_the_term_by_itself(whole: training.Run, tmp_path: Path) -> None:
    """Before the first step the models are one: the losses differ by the term, which stands beside."""
    plain = fit(tmp_path / "plain", Denoising())
    mine, theirs = (run.metrics()[0] for run in (whole, plain))
    assert mine["step"] == theirs["step"] == 1 and "parts" not in theirs
    assert mine["parts"]["context"] > 0
    assert mine["loss"] - theirs["loss"] == pytest.approx(0.5 * mine["parts"]["context"], abs=1e-7)
    held = [row["held_out"] for row in whole.metrics() if row.get("held_out")]
    assert held and all(0 < row["parts"]["context"] and row["loss"] > 0.5 * row["parts"]["context"] for row in held)
