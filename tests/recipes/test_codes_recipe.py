"""The recipe of codes: a whole training from data alone, and one line that says what became of it."""

from __future__ import annotations

import pytest
import torch

import mezzotint as mz
from mezzotint.autoencoders import KL, VQ
from mezzotint.core import Refusal, build, spec
from mezzotint.core.rng import Rng
from mezzotint.objectives import Reconstruction
from mezzotint.recipes import codes


def test_a_training_from_data_can_be_written_down() -> None:
    data = mz.data.Digits()
    for kind, cls in (("vq", VQ), ("kl", KL)):
        tree = codes.of_data(data, seed=3, kind=kind, images="2k", width=8, down=1, adversarial=0.1, feature=1.0)
        model, training = build(tree["model"]), build(tree["training"])
        assert type(model) is cls and model.shape == data.shape and model.latent[-2:] == (4, 4)
        assert isinstance(training.objective, Reconstruction) and training.objective.start == 500
        assert spec(training) == tree["training"] and training.seed == 3
        training.objective(model, data[:3][0], mz.NONE, Rng(range(3)))


def test_what_is_wrong_is_said() -> None:
    with pytest.raises(Refusal, match="of the kind vq or kl, not 'vae'"):
        codes.usual(mz.data.Digits(), kind="vae")
    with pytest.raises(Refusal, match="holds symbols already"):
        codes.usual(next(made for made in symbols() if made.vocab is not None))
    with pytest.raises(Refusal, match="sizes \\(8, 8\\) cannot be halved 4 times"):
        codes.usual(mz.data.Digits(), down=4)


def symbols() -> list[mz.data.Data]:
    return [mz.testing.example(cls) for cls in mz.testing.parts("data") if cls.__name__ == "Shaded"]


def test_quality_is_what_it_says_by_hand() -> None:
    data = mz.data.Digits()
    vq = VQ((1, 8, 8), vocab=7, width=8, code=3)
    found = codes.quality(vq, data, most=50, batch=20)
    x = data[:50][0]
    z = vq.eval().encode(x).value
    off = (vq.decode(z).detach().clamp(-1, 1) - x).double().square().flatten(1).mean(1)
    assert found.psnr == pytest.approx(float((10 * torch.log10(4 / off)).mean()), abs=1e-4)
    counts = z.flatten().bincount(minlength=7).double()
    shares = counts[counts > 0] / counts.sum()
    assert found.used == pytest.approx(int((counts > 0).sum()) / 7)
    assert found.perplexity == pytest.approx(float((-(shares * shares.log()).sum()).exp()))
    assert "of the codes in use" in str(found) and "50 pictures" in str(found)
    real = codes.quality(KL((1, 8, 8), width=8), data, most=20)
    assert real.used is None and "codes" not in str(real)
