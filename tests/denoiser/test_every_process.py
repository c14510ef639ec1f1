"""A network on any continuous process can be described, measured, saved and read again: its answers are the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import mezzotint as mz
from mezzotint.core.spec import name_of
from mezzotint.core.store import load_model, save_model
from mezzotint.denoiser.preconditioned import PREDICTIONS
from mezzotint.processes import Continuous
from mezzotint.testing import example, parts

PROCESSES = [cls for cls in parts("process") if issubclass(cls, Continuous)]


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("cls", PROCESSES, ids=name_of)
def test_a_model_comes_back_from_its_folder(cls: type, prediction: str, tmp_path: Path) -> None:
    network = mz.networks.MLP((3, 4), width=8, depth=1, vector=8)
    try:
        model = mz.denoiser.Preconditioned(network, example(cls), prediction=prediction)
    except mz.Refusal as refusal:  # alpha is 0 at the prior
        assert "use 'v'" in str(refusal)
        return
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    x, t = torch.randn(2, 3, 4), torch.tensor([0.3, 0.9], dtype=torch.float64)
    again = load_model(save_model(tmp_path / "model", model))
    with torch.no_grad():
        assert torch.equal(again(x, t).mean, model.eval()(x, t).mean)
