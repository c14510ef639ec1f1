"""Specs: what parts are written as, and that nothing but parts ever is; that every part is, tests/contracts sees to."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mezzotint.conditions import Classes, Encoder
from mezzotint.core import Refusal, build, config, spec
from mezzotint.denoiser import Mixture, Preconditioned
from mezzotint.guidance import Contrast, Without
from mezzotint.networks import UNet
from mezzotint.processes import EDM, VP, Flow
from mezzotint.samplers import Ancestral, Heun, Karras, Level, Sampling


def model() -> Preconditioned:
    network = UNet((1, 8, 8), width=8, vector=8, attention=(), middle="plain", dropout=1e-4)
    return Preconditioned(network, VP(), Encoder(label=Classes(3, width=8)), sigma_data=0.3)


def mixture() -> Mixture:
    return Mixture(Flow(), ((0.0,), (1.0,)), (((1.0,),), ((0.5,),)), labels=(0, 1))


def test_a_part_used_twice_is_one_node_and_built_once() -> None:
    exact = mixture()
    text = config.dumps(spec(Contrast(exact, Without(exact), 2.0)))
    assert text.count("denoiser.Mixture") == 1 and "&id001" in text and "*id001" in text
    again = build(config.loads(text))
    assert again.weak.denoiser is again.strong
    two = config.dumps(spec(Contrast(mixture(), Without(mixture()), 2.0)))
    assert two.count("denoiser.Mixture") == 2
    changed = build(config.edit(config.loads(text), ["strong.process.part=processes.VP"]))
    assert changed.weak.denoiser is changed.strong and changed.strong.process == VP()


def test_sequences_numbers_and_defaults() -> None:
    tree = config.loads(config.dumps(spec(model())))
    again = build(tree)
    assert again.network._arguments["shape"] == (1, 8, 8) and again.network._arguments["dropout"] == 1e-4
    assert tree["prediction"] == "edm"  # a default that was not given is written too
    values = config.loads("a: 1e-4\nb: -2E6\nc: 1.5e3\nd: 12\ne: 1e\nf: .5e1")
    assert values == {"a": 1e-4, "b": -2e6, "c": 1500.0, "d": 12, "e": "1e", "f": 5.0}
    assert [type(v) for v in values.values()] == [float, float, float, int, str, float]


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
    | st.sampled_from(["1e-4", "2e5", "yes", "null", "1:30", "~", "0x1f", "- a", "# b", "1_000"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=40)
@given(PLAIN)
def test_yaml_reads_back_what_it_wrote(tree: Any) -> None:
    assert config.loads(config.dumps(tree)) == tree


@pytest.mark.parametrize(
    "value", [lambda x: x, torch.zeros(2), torch.nn.Linear(1, 1), object(), Heun, 1j], ids=lambda v: type(v).__name__
)
def test_what_a_config_cannot_hold_is_refused(value: Any) -> None:
    with pytest.raises(Refusal, match="config cannot hold"):
        spec(Contrast(mixture(), mixture(), value))


FOREIGN = [
    "os.system", "samplers.grids.torch.nn.Linear", "core.store.shutil", "core.store.shutil.rmtree", "builtins.eval",
    "torch.nn.Linear", "samplers", "samplers.", "", "samplers.Heun.step", "samplers.Heun.__init__", "core.rng.Rng",
    "samplers.base.Sampler", "samplers.grids.__builtins__", "denoiser.preconditioned.PREDICTIONS.x",
    "denoiser.preconditioned.NOISES.get", "core.config.load", "mezzotint.samplers.Heun", ".samplers.Heun",
]  # fmt: skip


@pytest.mark.parametrize("name", FOREIGN)
def test_foreign_names_are_refused(name: str) -> None:
    with pytest.raises(Refusal):
        build({"part": name, "steps": 3})


def test_bad_trees_are_refused_in_one_sentence() -> None:
    with pytest.raises(Refusal, match="'sigma_max'"):
        build({"part": "processes.EDM", "sigma_mx": 3.0})
    with pytest.raises(Refusal, match="'Heun'"):
        build({"part": "samplers.Huen", "steps": 3})
    with pytest.raises(Refusal, match="needs steps"):
        build({"part": "samplers.Heun"})
    with pytest.raises(Refusal, match="string"):
        build({"part": 3})
    with pytest.raises(Refusal, match="EDM.sigma_max is a number, not 'much'"):
        build({"part": "processes.EDM", "sigma_max": "much"})
    with pytest.raises(Refusal, match="UNet.shape holds numbers, not"):
        build({"part": "networks.UNet", "shape": [1, "8", 8]})
    with pytest.raises(Refusal, match="cannot be made"):
        build({"part": "denoiser.Preconditioned", "network": 3, "process": {"part": "processes.EDM"}})
    loop: dict[str, Any] = {"part": "samplers.Heun", "steps": 3}
    loop["grid"] = loop
    with pytest.raises(Refusal, match="itself"):
        build(loop)
    with pytest.raises(Refusal, match="itself"):
        build(config.loads("&a [*a]"))
    with pytest.raises(Refusal, match="line 2"):
        config.loads("a: 1\nb: [")
    with pytest.raises(Refusal):
        config.loads("!!python/object/apply:os.system ['true']")
    with pytest.raises(Refusal, match="part"):
        spec(Encoder(part=Classes(2)))


def test_edits() -> None:
    tree = spec(Sampling(Heun(18), model()))
    edited = config.edit(tree, ["sampler.steps=7", "sampler.grid.rho=1e1", "denoiser.network.multipliers.1=3"])
    again = build(edited)
    assert again.sampler == Heun(7, grid=Karras(rho=10.0)) and again.denoiser.network._arguments["multipliers"] == (
        1,
        3,
    )
    assert tree["sampler"]["steps"] == 18
    short = {"part": "processes.EDM"}
    assert build(config.edit(short, ["sigma_max=3"])) == EDM(3)  # a default may be set though it is not written
    other = config.edit(
        tree, ["sampler.part=samplers.Ancestral", "sampler.eta=0.5", "sampler.grid.part=samplers.Level"]
    )
    assert build(other["sampler"]) == Ancestral(18, eta=0.5, grid=Level())  # rho went with Karras, steps stayed
    back = config.edit(other, ["sampler.part=samplers.Heun"])
    assert "eta" not in back["sampler"] and build(back["sampler"]) == Heun(18, grid=Level())
    for change, hint in [
        ("sampler.stps=7", "'steps'"), ("sampler.steps.more=1", "no settings"), ("sampler", "key=value"),
        ("denoiser.network.multipliers.9=3", "2 entries"), ("denoiser.encoder.lable.count=3", "'label'"),
        ("denoiser.encoder.families=3", "no setting"), ("start.x=3", "no settings"), ("=3", "key=value"),
    ]:  # fmt: skip
        with pytest.raises(Refusal, match=hint):
            config.edit(tree, [change])


def test_counts() -> None:
    given = ["200k", "2M", "1.5M", "2.3M", " 50_000 ", 7, "1g", "0"]
    assert [config.count(v) for v in given] == [200_000, 2_000_000, 1_500_000, 2_300_000, 50_000, 7, 10**9, 0]
    for wrong in ["", "k", "-3", "1e6", "2 thousand", True, "1.2345k", "0.5"]:
        with pytest.raises(Refusal):
            config.count(wrong)
