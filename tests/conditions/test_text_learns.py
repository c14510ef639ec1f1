"""Captions are learnt from pictures: a model comes to the exact conditional answer, where only word order tells.

Two Gaussians far apart; the caption says which, by the same words in another order. What a model can learn of shuffled
captions is the exact answer without any.
"""

from __future__ import annotations

from functools import partial

import torch

from mezzotint.conditions import Encoder, Text, Words
from mezzotint.core import Condition, Rng
from mezzotint.denoiser import Mixture, Preconditioned
from mezzotint.networks import UViT
from mezzotint.objectives import Denoising, LogNormal
from mezzotint.processes import Flow

SAID = (("red left of blue", "red above blue"), ("blue left of red", "blue above red"))
MEANS = ((0.5,) * 4, (-0.5,) * 4)
SPREAD = [[0.04 * (i == j) for j in range(4)] for i in range(4)]
TRUTH = Mixture(Flow(), MEANS, [SPREAD] * 2, labels=[0, 1], shape=(1, 2, 2))


def items(step: int, count: int, shuffled: bool = False) -> tuple[torch.Tensor, Condition, Condition, Rng]:
    """Pictures, their captions and their labels."""
    rng = Rng([step]).at("data").repeat(count).at(torch.arange(count))
    coin = partial(rng.uniform, shape=())
    label, way, other = ((coin(name) < 0.5).long() for name in ("label", "way", "other"))
    x = torch.tensor(MEANS).reshape(2, 1, 2, 2)[label] + 0.2 * rng.normal("x", (1, 2, 2))
    said = other if shuffled else label
    captions = [SAID[one][which] for one, which in zip(said.tolist(), way.tolist(), strict=True)]
    return x, Condition(caption=captions), Condition(label=label), rng.at("training")


def trained(shuffled: bool, steps: int, rate: float = 1e-2) -> Preconditioned:
    torch.manual_seed(0)
    text = Text(Words.of([phrase for phrases in SAID for phrase in phrases]), width=32, depth=1, heads=2, length=8)
    network = UViT(TRUTH.shape, width=32, depth=0, heads=2, patch=1, vector=None, tokens=32, smooth=False)
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if weight.ndim == 2 and "leave" not in name:
                weight.mul_(5)  # it is narrow, and its first weights are those of a wide one
    model = Preconditioned(network, TRUTH.process, Encoder(caption=text), sigma_data=0.54)
    objective, optimizer = Denoising(LogNormal(1.0, 1.0), dropout=0.1), torch.optim.AdamW(model.parameters(), rate)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = rate * min(1, (step + 1) / 30) * (1 - step / steps)
        x, cond, _, rng = items(step, 32, shuffled)
        loss = objective(model, x, model.prepare(cond), rng).value.mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def errors(model: Preconditioned, level: float) -> tuple[float, float, float]:
    """How far its answer is from the exact conditional and free ones, and its null's from the free one.

    In shares of how far those two are apart, squared: 0 is exact, and 1 is as good as not knowing.
    """
    x, caption, label, rng = items(10**6, 256)
    t = model.process.time(torch.full((256,), level, dtype=torch.float64))
    x_t = model.process.corrupt(x, t).sample(rng)
    due, free = TRUTH(x_t, t, label).mean, TRUTH(x_t, t).mean
    with torch.no_grad():
        told, null = model(x_t, t, model.prepare(caption)).mean, model(x_t, t).mean
    gap = (due - free).square().mean()
    return tuple(float((a - b).square().mean() / gap) for a, b in ((told, due), (told, free), (null, free)))  # type: ignore[return-value]


def test_captions_are_learnt_and_shuffled_ones_say_nothing() -> None:
    model, misled = trained(shuffled=False, steps=80), trained(shuffled=True, steps=50)
    assert model.nulls == ("caption",)
    for level in (0.6, 0.8):
        told, without, null = errors(model, level)
        print(f"level {level}: captions {told:.3f} from the exact answer, null {null:.3f} from the free one")
        assert told < 0.1 and without > 0.7 and null < 0.7
        told, without, _ = errors(misled, level)
        print(f"level {level}: shuffled captions {told:.3f}, and {without:.3f} from the free answer")
        assert told > 0.8 and without < 0.35
