"""Class rewards: the exact posterior against Bayes' rule by hand, classifiers against torch's own cross-entropy."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mezzotint.core import Condition, Refusal, Reward, build, config, spec
from mezzotint.core.spec import Module
from mezzotint.denoiser import Empirical, Mixture
from mezzotint.metrics.classifier import Classifier as Convolutional
from mezzotint.networks import UNet
from mezzotint.networks.context import Context, Output
from mezzotint.processes import EDM, VP, Continuous, Flow
from mezzotint.rewards import Classifier, NoiseAwareClassifier, Posterior

WEIGHTS, CENTRES, SPREADS, OWNERS = [0.2, 0.5, 0.3], [-1.0, 0.5, 2.0], [0.3, 0.6, 0.2], [1, 0, 1]


def mixture(process: Continuous) -> Mixture:
    return Mixture(process, [[c] for c in CENTRES], [[[s**2]] for s in SPREADS], weights=WEIGHTS, labels=OWNERS)


@pytest.mark.parametrize("process", [EDM(), VP(), Flow()], ids=lambda p: type(p).__name__)
def test_the_exact_posterior_is_bayes_rule(process: Continuous) -> None:
    """By hand with torch's normal densities, at several times and for clean samples, whose t may be left out."""
    reward = Posterior(mixture(process))
    t = process.time(torch.tensor([0.0, 0.2, 0.5, 0.9], dtype=torch.float64))
    x, cond = torch.tensor([[-0.4], [0.9], [0.1], [-2.0]], dtype=torch.float64), Condition(label=[0, 1, 1, 0])
    alpha, sigma = process.alpha(t)[:, None], process.sigma(t)[:, None]
    spreads = (alpha**2 * torch.tensor(SPREADS) ** 2 + sigma**2).sqrt()
    joint = torch.distributions.Normal(alpha * torch.tensor(CENTRES), spreads).log_prob(x).exp() * torch.tensor(WEIGHTS)
    ones = joint[:, 0] + joint[:, 2]
    by_class = torch.stack([joint[:, 1], ones], 1) / joint.sum(1, keepdim=True)
    expected = by_class.gather(1, cond["label"][:, None])[:, 0].log()
    torch.testing.assert_close(reward(x, cond, t), expected, rtol=1e-6, atol=1e-6)
    assert torch.equal(reward(x, cond), reward(x, cond, torch.zeros(4, dtype=torch.float64)))
    assert isinstance(reward, Reward)


def test_the_posterior_of_a_data_set() -> None:
    data = torch.tensor([[-1.0, 0.0], [1.0, 0.0], [1.0, 2.0]])
    reward = Posterior(Empirical(EDM(), data, labels=[0, 1, 1]), family="kind")
    x, t = torch.tensor([[0.0, 1.0]], dtype=torch.float64), torch.tensor([0.01], dtype=torch.float64)  # sigma 0.8
    near = [math.exp(-d / (2 * 0.64)) for d in (2.0, 2.0, 2.0)]
    expected = math.log(near[0] / sum(near))
    assert float(reward(x, Condition(kind=[0]), t)) == pytest.approx(expected)


class Linear(Module):
    """A linear classifier that says how often it was asked and in which mode."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.norm, self.head = nn.BatchNorm1d(4), nn.Linear(4, classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.norm(x))
        return logits


def test_a_clean_classifier_is_its_negative_cross_entropy() -> None:
    torch.manual_seed(1)
    network = Linear()
    network(torch.randn(64, 4) + 1)  # its batch norm has seen something
    reward, x, label = Classifier(network), torch.randn(6, 4), torch.tensor([0, 1, 2, 2, 1, 0])
    found = reward(x, Condition(label=label))
    network.eval()
    torch.testing.assert_close(found, -F.cross_entropy(network(x), label, reduction="none"))
    reward.train()  # a guidance in training mode must not couple samples through batch statistics
    assert torch.equal(reward(x, Condition(label=label)), found)
    assert torch.allclose(reward(x[[3]], Condition(label=label[[3]])), found[[3]], atol=1e-6)
    with pytest.raises(Refusal, match="cannot read noisy samples"):
        reward(x, Condition(label=label), torch.zeros(6))


def test_dropped_classes_abstain_and_wrong_ones_are_refused() -> None:
    reward, x = Classifier(Linear(3)), torch.randn(3, 4)
    found = reward(x, Condition(label=[0, 1, 2]).drop("label"))
    assert bool(found.isnan().all())
    half = Condition(label=[0, 99, 2])
    kept = torch.tensor([True, False, True])
    judged = reward(x, half.rebuild({**half.leaves(), "keep:label": kept}))
    assert torch.equal(judged.isnan(), ~kept)  # what was dropped may hold anything
    with pytest.raises(Refusal, match="class 99 is out of range"):
        reward(x, half)
    with pytest.raises(Refusal, match="'label'.*holds text"):
        reward(x, Condition(text=[0, 1, 2]))
    with pytest.raises(Refusal, match="integers"):
        reward(x, Condition(label=[0.0, 1.0, 2.0]))


class Told(Module):
    """A network whose logits are what it was given: the mean of its input and its noise."""

    def __init__(self, shape: tuple[int, ...] = (2, 3)) -> None:
        super().__init__()
        self.shape, self.weight = shape, nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor, noise: Tensor, context: Context, want: tuple[str, ...] = ()) -> Output:
        held = torch.stack([x.flatten(1).square().mean(1), noise, torch.zeros_like(noise)], 1)
        return Output(self.weight * held, {})


@pytest.mark.parametrize("process", [EDM(), VP(), Flow()], ids=lambda p: type(p).__name__)
def test_a_noise_aware_classifier_sees_unit_variance_and_the_noise(process: Continuous) -> None:
    d, t = 0.3, process.time(torch.tensor([0.0, 0.1, 0.5, 0.9, 1.0], dtype=torch.float64))
    reward = NoiseAwareClassifier(Told(), process, sigma_data=d)
    torch.manual_seed(0)
    x0 = d * torch.randn(5, 200, 2, 3)
    x = process.alpha(t)[:, None, None, None] * x0 + process.sigma(t)[:, None, None, None] * torch.randn_like(x0)
    logs = torch.stack([reward.logs(x[:, k], t) for k in range(200)]).double()
    said = logs - logs[..., 2:]  # logits up to a constant: the third is 0
    torch.testing.assert_close(said[..., 0].mean(0), torch.ones(5).double(), atol=0.15, rtol=0.0)
    ratio = (process.sigma(t) / process.alpha(t)).log().clamp(-10, 10)
    torch.testing.assert_close(said[0, :, 1], ratio / 4, atol=1e-6, rtol=1e-5)
    assert torch.equal(reward.logs(x[:, 0]), reward.logs(x[:, 0], torch.zeros(5)))


def test_a_u_net_is_a_classifier_whose_map_is_averaged() -> None:
    network = UNet((1, 6, 4), width=8, multipliers=(1, 1), attention=(), middle="plain", vector=None, outputs=5)
    nn.init.normal_(network.leave.weight)
    reward = NoiseAwareClassifier(network, VP(), sigma_data=0.5)
    x, t = torch.randn(3, 1, 6, 4), torch.tensor([0.2, 0.5, 0.8])
    alpha, sigma = (scale.float() for scale in VP().scales(t, x))
    inside = x / (alpha**2 * 0.25 + sigma**2).sqrt()
    noise = (VP().sigma(t.double()) / VP().alpha(t.double())).log() / 4
    logits = network(inside, noise.float()).mean((2, 3)).detach()
    torch.testing.assert_close(reward.logs(x, t), logits.log_softmax(1), atol=1e-5, rtol=1e-5)
    reward.lower(torch.bfloat16)
    low = reward.logs(x, t).detach()
    assert low.dtype == torch.float32 and 0 < float((low - logits.log_softmax(1)).abs().max()) < 0.1


def test_settings_and_specs() -> None:
    process = VP()
    for made in (
        Classifier(Convolutional((1, 8, 8), 10, width=8), family="kind"),
        NoiseAwareClassifier(UNet((1, 4, 4), width=8, outputs=3), process, 0.4),
        Posterior(Mixture(process, ((0.0,), (1.0,)), (((1.0,),), ((0.5,),)), labels=(0, 1))),
    ):
        again = build(config.loads(config.dumps(spec(made))))
        assert type(again) is type(made) and again.family == made.family
        assert again.state_dict().keys() == made.state_dict().keys()
    with pytest.raises(Refusal, match="sigma_data"):
        NoiseAwareClassifier(Told(), process, 0.0)
    with pytest.raises(Refusal, match="continuous process"):
        NoiseAwareClassifier(Told(), object())  # type: ignore[arg-type]
