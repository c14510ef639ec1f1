"""The seam that search will need: a particle sampler and a tree search, each in a page, on the public ``step`` alone.

Both raise a reward r on an exact mixture p, where the law they ought to reach is known: for r(x) = b x - q |x|^2 / 2
the tilted law p(x) exp(r(x)) / Z is a mixture again. They branch, stack and cut states, give branches keys of their
own, let rows stand at different times, and know of denoisers no more than that a sampler steps with one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest
import torch
from torch import Tensor

from mezzotint.core import Rng, cat
from mezzotint.denoiser import Counted, Denoiser, Mixture
from mezzotint.processes import EDM, VP, Continuous, Flow
from mezzotint.samplers import Ancestral, Level, Multistep, Sampler, State

Judge = Callable[[Tensor], Tensor]


def start(sampler: Sampler, denoiser: Denoiser, rng: Rng) -> tuple[State, Tensor]:
    """States at the prior, one a key, and the times of the run."""
    times = sampler.grid(denoiser.process, sampler.steps)
    x = denoiser.process.prior(denoiser.shape).repeat(len(rng)).sample(rng.at("start")).to(denoiser.dtype)
    return State(x, times[0].expand(len(rng)).clone(), rng.at("steps")), times


@dataclass(frozen=True)
class Particles:
    """Feynman-Kac steering: particles that promise more have more offspring.

    A particle's promise is the reward of the model's estimate. At every ``every``-th step a population is resampled in
    proportion to exp(promise now - promise before), which telescopes to exp(r(x_0)). Singhal et al. 2025 (2501.06848).
    """

    sampler: Sampler
    count: int
    every: int = 4

    def __call__(self, denoiser: Denoiser, judge: Judge, rng: Rng) -> Tensor:
        """A population of ``count`` for every key: (B, count, *shape)."""
        state, times = start(self.sampler, denoiser, rng.split(self.count))
        groups, before = len(rng), torch.zeros(len(rng) * self.count, dtype=torch.float64)
        for place, s in enumerate(times[1:], 1):
            state = self.sampler.step(denoiser, state, s)
            last = place == len(times) - 1
            if place % self.every and not last:
                continue
            promise = judge(state.x if last else denoiser(state.x, state.t).mean)
            weight = (promise - before).reshape(groups, self.count).softmax(1)
            # Systematic resampling: one uniform a population, evenly spaced over its cumulative weights.
            comb = rng.at("resample", place).uniform("comb", (1,)) + torch.arange(self.count)
            chosen = (weight.cumsum(1)[:, None] < comb[..., None] / self.count).sum(2).clamp(max=self.count - 1)
            index = (chosen + self.count * torch.arange(groups)[:, None]).flatten()
            branch = torch.arange(self.count).repeat(groups)
            state = replace(state[index], rng=state.rng[index].at("branch", branch))
            before = promise[index]
        return state.x.reshape(groups, self.count, *denoiser.shape)


@dataclass
class Node:
    """A state in a tree, the soft value log E exp(r) of what lies below it, and how often it was passed."""

    state: State | None
    value: float = 0.0
    visits: int = 1
    children: list[Node] = field(default_factory=list)

    def shares(self) -> Tensor:
        """Its children in proportion to exp(value)."""
        return torch.tensor([child.value for child in self.children], dtype=torch.float64).softmax(0)


@dataclass(frozen=True)
class Trees:
    """Diffusion tree sampling: every rollout stays in the tree, and its reward is backed up as a soft value.

    Down from the root a child is chosen in proportion to exp(value), until a node has room for another (fewer than
    2 visits^0.5). That child is rolled out and its states at the ``stops`` become nodes. Jain et al. 2025 (2506.20701),
    algorithm 1. Trees grow side by side: new branches leave from many levels and go down in one batch.
    """

    sampler: Sampler
    stops: tuple[int, ...]

    def __call__(self, denoiser: Denoiser, judge: Judge, rng: Rng, turns: int) -> list[Node]:
        """A tree for every key, grown by one rollout a turn."""
        roots = [Node(None) for _ in range(len(rng))]
        for turn in range(turns):
            u = rng.at("turn", turn).uniform("select", (len(self.stops) + 1,)).tolist()
            paths = [self.descend(root, draws) for root, draws in zip(roots, u, strict=True)]
            state, times = start(self.sampler, denoiser, rng.at("prior", turn))
            state = cat([state[row] if len(path) == 1 else self.branch(path[-1]) for row, path in enumerate(paths)])
            for place, s in enumerate(times):
                # Rows that leave from below s wait for the others: t == s is neither touched nor asked about.
                state = self.sampler.step(denoiser, state, torch.minimum(state.t, s))
                for row, path in enumerate(paths):
                    if place in self.stops and len(path) == self.stops.index(place) + 1:
                        path.append(Node(state[row]))
                        path[-2].children.append(path[-1])
            for path, reward in zip(paths, judge(state.x).tolist(), strict=True):
                path[-1].value = reward
                for node in reversed(path[:-1]):
                    node.visits += 1
                    values = torch.tensor([child.value for child in node.children], dtype=torch.float64)
                    node.value = float(values.logsumexp(0)) - math.log(len(values))
        return roots

    def descend(self, node: Node, draws: list[float]) -> list[Node]:
        path = [node]
        while len(path) <= len(self.stops) and len(node.children) >= 2 * node.visits**0.5:
            last = len(node.children) - 1
            node = node.children[min(int((node.shares().cumsum(0) <= draws[len(path) - 1]).sum()), last)]
            path.append(node)
        return path

    def branch(self, node: Node) -> State:
        """The state of a node under a key of its own for the next child."""
        assert node.state is not None
        return replace(node.state, rng=node.state.rng.at("branch", len(node.children)))


def leaves(node: Node, share: float = 1.0) -> list[tuple[float, Tensor]]:
    """Every leaf of a tree with the probability that going down by value ends there."""
    if not node.children:
        return [] if node.state is None else [(share, node.state.x)]
    below = zip(node.children, node.shares().tolist(), strict=True)
    return [leaf for child, p in below for leaf in leaves(child, share * p)]


SIZE, Q = 8, 0.1
WEIGHTS = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)


@dataclass(frozen=True)
class Problem:
    """A mixture, a reward, and the mixture that is tilted by it."""

    means: Tensor
    covariances: Tensor
    slope: Tensor

    @staticmethod
    def make() -> Problem:
        draws = Rng(range(3))
        factors = draws.normal("factors", (SIZE, SIZE)).double()
        covariances = 0.5 * factors @ factors.transpose(1, 2) / SIZE + 0.1 * torch.eye(SIZE)
        return Problem(draws.normal("means", (SIZE,)).double(), covariances, 1.5 * Rng([5]).normal("b", (SIZE,))[0])

    def judge(self, x: Tensor) -> Tensor:
        # Not a product of matrices: how a row of one is rounded hangs on its place in some processors.
        return (x * self.slope.double()).sum(-1) - 0.5 * Q * x.square().sum(-1)

    def model(self, process: Continuous) -> Counted:
        return Counted(Mixture(process, self.means, self.covariances, WEIGHTS))

    def tilted(self) -> tuple[Tensor, Tensor, Tensor]:
        """(weights, means, covariances): each component times exp(b x - q |x|^2 / 2), by completing the square."""
        inverse = torch.linalg.inv(self.covariances)
        covariances = torch.linalg.inv(inverse + Q * torch.eye(SIZE))
        means = (covariances @ ((inverse @ self.means[..., None])[..., 0] + self.slope)[..., None])[..., 0]
        before = (self.means[:, None] @ inverse @ self.means[..., None])[:, 0, 0]
        after = (means[:, None] @ torch.linalg.inv(covariances) @ means[..., None])[:, 0, 0]
        mass = 0.5 * (after - before + torch.logdet(covariances) - torch.logdet(self.covariances))
        return (WEIGHTS.log() + mass).softmax(0), means, covariances

    def mean_reward(self) -> float:
        """Under the tilted law."""
        weights, means, covariances = self.tilted()
        return float(weights @ (self.judge(means) - 0.5 * Q * covariances.diagonal(0, 1, 2).sum(1)))


def draw(weights: Tensor, means: Tensor, covariances: Tensor, count: int) -> Tensor:
    rng = Rng(range(count))
    k = rng.categorical("component", weights.log().expand(count, -1))
    noise = rng.normal("noise", (SIZE,)).double()
    return means[k] + (torch.linalg.cholesky(covariances)[k] @ noise[..., None])[..., 0]


def distance(x: Tensor, y: Tensor, weights: Tensor | None = None) -> float:
    """The squared energy distance between weighted points x and equal points y: 0 between equal laws only."""
    p = torch.full((len(x),), 1 / len(x), dtype=torch.float64) if weights is None else weights
    between = (p * torch.cdist(x, y).mean(1)).sum()
    return float(2 * between - p @ torch.cdist(x, x) @ p - torch.cdist(y, y).mean())


PROBLEM = Problem.make()
EXACT = draw(*PROBLEM.tilted(), 1000)
REWARD = PROBLEM.mean_reward()


def plain(sampler: Sampler, model: Counted, rows: int) -> Tensor:
    """As many plain samples as so many evaluated rows allow."""
    count = rows // sampler.steps
    model.reset()
    x = sampler(model, rng=Rng(range(5000, 5000 + count)))
    assert model.rows <= rows < model.rows + sampler.steps
    return x


def test_the_tilted_law() -> None:
    """Its mean is that of the plain one weighted by exp(r)."""
    x = draw(WEIGHTS, PROBLEM.means, PROBLEM.covariances, 6000)
    weight = PROBLEM.judge(x).softmax(0)
    weights, means, _ = PROBLEM.tilted()
    assert float(1 / weight.square().sum()) > 400
    torch.testing.assert_close(weight @ x, weights @ means, rtol=0, atol=0.15)
    assert abs(float(weight @ PROBLEM.judge(x)) - REWARD) < 0.15
    assert abs(float(PROBLEM.judge(EXACT).mean()) - REWARD) < 0.15
    assert REWARD - float(PROBLEM.judge(x).mean()) > 3


CASES = [
    (Multistep(24, eta=1.0), EDM()),
    (Multistep(24, order=3, eta=1.0), VP()),
    (Ancestral(80, grid=Level()), Flow()),
]


@pytest.mark.parametrize(("sampler", "process"), CASES, ids=lambda v: type(v).__name__)
def test_particles_reach_the_tilted_law(sampler: Sampler, process: Continuous) -> None:
    """Ten times closer than plain samples for as many evaluations, at a quarter of their distance in reward."""
    model = PROBLEM.model(process)
    x = Particles(sampler, 32, sampler.steps // 8)(model, PROBLEM.judge, Rng(range(8))).flatten(0, 1)
    other = plain(sampler, model, model.rows)
    assert distance(x, EXACT) < 0.1 * distance(other, EXACT)
    assert abs(float(PROBLEM.judge(x).mean()) - REWARD) < 0.25 * (REWARD - float(PROBLEM.judge(other).mean()))


@pytest.mark.parametrize(
    "sampler", [Multistep(16, eta=1.0), Ancestral(16, grid=Level())], ids=lambda s: type(s).__name__
)
def test_trees_reach_the_tilted_law(sampler: Sampler) -> None:
    """Four times closer than plain samples for as many evaluations, at less than half their distance in reward."""
    model = PROBLEM.model(EDM())
    trees = Trees(sampler, (0, 4, 8, 12, 16))(model, PROBLEM.judge, Rng(range(6)), 32)
    found = [leaf for tree in trees for leaf in leaves(tree, 1 / len(trees))]
    share, x = torch.tensor([p for p, _ in found], dtype=torch.float64), torch.cat([x for _, x in found])
    assert abs(float(share.sum()) - 1) < 1e-9 and len(x) == 6 * 32
    for tree in trees:  # a soft value is a mean and not a sum: it lies below the best that was found
        assert tree.value < max(float(PROBLEM.judge(x)) for _, x in leaves(tree))
    assert model.rows < 6 * 32 * sampler.steps  # branches that leave from the middle cost their own intervals only
    other = plain(sampler, model, model.rows)
    assert distance(x, EXACT, share) < 0.25 * distance(other, EXACT)
    assert abs(float(share @ PROBLEM.judge(x)) - REWARD) < 0.5 * (REWARD - float(PROBLEM.judge(other).mean()))


@pytest.mark.parametrize("sampler", [Multistep(8, eta=1.0), Ancestral(8)], ids=lambda s: type(s).__name__)
def test_a_search_of_one_key_is_its_own(sampler: Sampler) -> None:
    """To the last bit: populations and trees branch, wait and stack side by side and never hear of each other."""
    model, rng = PROBLEM.model(Flow()), Rng(range(4))
    crowd = Particles(sampler, 6, 2)(model, PROBLEM.judge, rng)
    assert len(torch.unique(crowd.flatten(0, 1), dim=0)) > 12
    for rows in ([2], [3, 0]):
        assert torch.equal(Particles(sampler, 6, 2)(model, PROBLEM.judge, rng[rows]), crowd[rows])
    search = Trees(sampler, (0, 2, 4, 6, 8))
    many, one = search(model, PROBLEM.judge, rng, 9), search(model, PROBLEM.judge, rng[1], 9)
    for (p, x), (q, y) in zip(leaves(many[1]), leaves(one[0]), strict=True):
        assert p == q and torch.equal(x, y)
