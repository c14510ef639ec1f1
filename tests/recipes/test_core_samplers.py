"""The arms of the solvers' recipe cost what their names say."""

import torch

from mezzotint.core.condition import Condition
from mezzotint.core.rng import Rng
from mezzotint.denoiser import Counted, Mixture
from mezzotint.evidence import Setting
from mezzotint.processes import EDM
from mezzotint.recipes import clothes, core_samplers


def test_every_arm_asks_as_often_as_it_is_called() -> None:
    law = Mixture(EDM(), torch.tensor([[-1.0, 0.0], [1.0, 1.0]]), torch.eye(2).expand(2, 2, 2) * 0.1, labels=(0, 1))
    cond, rng = Condition(label=torch.arange(2)), Rng([0]).repeat(2).at(torch.arange(2))
    asked = {}
    for name, arm in core_samplers.arms(Setting(clothes.SETTING)).items():
        if name != "real":
            counted = Counted(law)
            arm.pipeline({"model": counted})(cond, rng)
            asked[name] = counted.calls, counted.rows / 2
    assert asked == {name: (int(name.split(", ")[1]),) * 2 for name in asked} and len(asked) == 11
