"""VQ: any sizes and channels, codes that mean what they say, smaller vocabularies, one codebook in all processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import mezzotint as mz
from crew import crew
from mezzotint import testing
from mezzotint.autoencoders import VQ, CodebookLoss, MovingAverages, shrunk, used
from mezzotint.core import Refusal, Rng, ranks
from mezzotint.core.store import load_model
from mezzotint.networks import PatchDiscriminator
from mezzotint.objectives import Reconstruction
from mezzotint.training import Rate, Trainer
from mezzotint.training.pictures import enlargement, grid

SHAPES = [((1, 28, 28), 2, (7, 7)), ((3, 8, 12), 1, (4, 6)), ((2, 24), 3, (3,)), ((1, 4, 8, 4), 2, (1, 2, 1)),
          ((5, 3, 7), 0, (3, 7))]  # fmt: skip
CODES = torch.zeros(1, 2, 3, dtype=torch.int64)


@pytest.mark.parametrize(("shape", "down", "latent"), SHAPES, ids=str)
@pytest.mark.parametrize("rule", [CodebookLoss(), MovingAverages()], ids=lambda rule: type(rule).__name__)
def test_every_number_of_axes(shape: Any, down: int, latent: Any, rule: Any) -> None:
    vq = VQ(shape, vocab=6, width=8, down=down, code=3, codebook=rule)
    assert vq.latent == latent
    x = torch.randn(4, *shape)
    vq.learn(vq.through(x, Rng(range(4))), Rng(range(4)))  # the codebook goes to where the encoder's outputs lie
    testing.check_autoencoder(vq, torch.randn(5, *shape))


def test_there_and_back_are_the_parts_one_after_the_other() -> None:
    vq, x = VQ.example().eval(), torch.randn(3, 2, 8, 12)
    z = vq.encode(x).value
    distances = (vq.encoder(x)[:, None] - vq.codebook.weight[..., None, None]).square().sum(2)
    assert torch.equal(z, distances.argmin(1))
    assert torch.allclose(vq.decode(z), vq.decoder(vq.codebook.weight[z].movedim(-1, 1)))
    assert torch.allclose(vq.through(x, Rng(range(3))).decoded, vq.decode(z), atol=1e-5)


@pytest.mark.parametrize(
    ("sentence", "make"),
    [
        ("sizes \\(6, 8\\) cannot be halved 2 times: each has to be a multiple of 4", lambda: VQ((1, 6, 8))),
        ("takes \\(C, L\\), \\(C, H, W\\) or", lambda: VQ((4,))),
        ("at least one vector", lambda: VQ((1, 8, 8), vocab=0)),
        ("down is how often", lambda: VQ((1, 8, 8), down=-1)),
        ("MovingAverages\\(\\) or CodebookLoss\\(\\), not 'ema'", lambda: VQ((1, 8, 8), codebook="ema")),  # type: ignore[arg-type]
        ("takes samples \\(B, 2, 8, 12\\), not \\(1, 2, 8, 8\\)", lambda: VQ.example().encode(torch.zeros(1, 2, 8, 8))),
        ("not torch.float32; encode gives them", lambda: VQ.example().decode(torch.zeros(1, 2, 3))),
        ("decodes codes \\(B, 2, 3\\), not \\(1, 3, 2\\)", lambda: VQ.example().decode(torch.zeros(1, 3, 2).long())),
        ("the code 6 is not in this codebook, which has 0 to 5", lambda: VQ.example().decode(CODES + 6)),
        ("the code -1 is not", lambda: VQ.example().decode(CODES - 1)),
        ("at least one, or a mask", lambda: shrunk(VQ.example(), [])),
        ("each once", lambda: shrunk(VQ.example(), [1, 1])),
        ("from 0 to 5", lambda: shrunk(VQ.example(), [6])),
        ("is \\(6,\\), not \\(2,\\)", lambda: shrunk(VQ.example(), [True, False])),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(sentence: str, make: Any) -> None:
    with pytest.raises(Refusal, match=sentence):
        make()


def test_a_smaller_vocabulary_decodes_the_same_and_takes_the_nearest_that_is_kept() -> None:
    torch.manual_seed(3)
    vq = VQ((1, 8, 8), vocab=12, width=8, code=4)
    x = torch.randn(64, 1, 8, 8)
    vq.learn(vq.through(x, Rng(range(64))), Rng(range(64)))
    vq.eval()
    keep = [7, 2, 9]
    small = shrunk(vq, keep)
    assert small.vocab == 3 and len(vq.codebook.weight) == 12
    z = small.encode(x).value
    assert torch.equal(small.decode(z), vq.decode(torch.tensor(keep)[z]))
    distances = (vq.encoder(x)[:, None] - vq.codebook.weight[keep][..., None, None]).square().sum(2)
    assert torch.equal(z, distances.argmin(1))
    testing.check_autoencoder(small)
    mask = torch.zeros(12, dtype=torch.bool)
    mask[vq.encode(x).value.unique()] = True
    assert torch.equal(shrunk(vq, mask).decode(shrunk(vq, mask).encode(x).value), vq.decode(vq.encode(x).value))


def test_used_counts_codes() -> None:
    data, vq = mz.data.Digits(), VQ((1, 8, 8), vocab=9, width=8, code=3)
    found = used(vq, data, most=100, batch=33)
    assert torch.equal(found, vq.encode(data[:100][0]).value.flatten().bincount(minlength=9))
    assert int(found.sum()) == 400
    assert shrunk(vq, found > 0).vocab == int((found > 0).sum())


def test_bf16_inside_leaves_codes_and_samples_as_they_are() -> None:
    vq, x = VQ.example().eval(), torch.randn(3, 2, 8, 12)
    plain = vq.decode(vq.encode(x).value)
    vq.lower(torch.bfloat16)
    z, made = vq.encode(x).value, vq.decode(vq.encode(x).value)
    assert z.dtype == torch.int64 and made.dtype == torch.float32
    vq.lower(None)
    assert torch.allclose(vq.decode(z), made, atol=0.05) and plain.dtype == torch.float32


def trainer(**changes: Any) -> Trainer:
    shown = {"log": 64, "save": 512, "picture": 512}
    objective = Reconstruction(
        feature=0.1, adversarial=0.1, discriminator=PatchDiscriminator((1, 8, 8), 8, 1), start=96
    )
    return Trainer(objective.double(), images=512, batch=32, rate=Rate(3e-3, warmup=64), clip=0.0, **shown | changes)


def trained(folder: Path) -> VQ:
    torch.manual_seed(0)
    vq = VQ((1, 8, 8), vocab=24, width=8, code=4).double()
    trainer().fit(vq, mz.data.Digits(), folder)
    return vq


def everything(place: Path) -> None:
    """What a crew of two does: the same training, and one step of a codebook on half of a batch each."""
    vq = trained(place / "together")
    torch.save(vq.state_dict(), place / f"weights.{ranks.rank()}")


def test_a_run_shows_what_comes_back_below_what_it_never_saw(tmp_path: Path) -> None:
    data = mz.data.Digits()
    torch.manual_seed(0)
    vq = VQ((1, 8, 8), vocab=24, width=8, code=4)
    Trainer(Reconstruction(), images=64, batch=32, log=64, save=64, picture=64).fit(vq, data, tmp_path / "run")
    (place,) = (tmp_path / "run" / "samples").iterdir()
    sheet = np.asarray(Image.open(place).convert("L")).astype(int)
    x = data.held_out()[:20][0]
    model = load_model(tmp_path / "run" / "model")
    back = model.decode(model.encode(x).value)
    rows = [x[:10], back[:10], x[10:], back[10:]]
    assert np.abs(sheet - grid(torch.cat(rows), 10, enlargement(8, 8))[..., 0]).max() <= 1


def test_two_processes_learn_the_codebook_of_one(tmp_path: Path) -> None:
    alone = trained(tmp_path / "alone").state_dict()
    assert crew(2, everything, tmp_path) == [0, 0]
    first, second = (torch.load(tmp_path / f"weights.{rank}") for rank in range(2))
    for name, weight in alone.items():
        assert torch.equal(first[name], second[name]), name
        assert torch.allclose(first[name], weight, atol=1e-3), name
