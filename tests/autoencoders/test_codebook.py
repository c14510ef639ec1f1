"""Codebooks: the nearest vector, gradients straight through, and both ways of learning, against closed forms."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mezzotint.autoencoders import Codebook, CodebookLoss, CodebookRule, MovingAverages, perplexity
from mezzotint.core import Refusal, Rng

RULES = (CodebookLoss(), MovingAverages())
CENTRES = torch.tensor([[-4.0, -4.0], [-4.0, 4.0], [4.0, -4.0], [4.0, 4.0]])


def clustered(step: int, count: int = 64, shares: tuple[int, ...] = (0, 1, 2, 3)) -> tuple[Tensor, Rng]:
    """Points (count, 2, 3) around four centres, three a row, and the keys they were drawn under."""
    rng = Rng(range(count)).at("step", step)
    which = torch.tensor(shares)[(len(shares) * rng.uniform("which", (3,))).long()]
    return (CENTRES[which] + 0.3 * rng.normal("off", (3, 2))).movedim(-1, 1), rng


def learnt(book: Codebook, steps: int, shares: tuple[int, ...] = (0, 1, 2, 3)) -> list[tuple[Tensor, Tensor]]:
    seen = []
    for step in range(steps):
        z, rng = clustered(step, shares=shares)
        codes = book.nearest(z)
        book.learn(z, codes, rng)
        seen.append((z, codes))
    return seen


@pytest.mark.parametrize("space", [(), (5,), (3, 4), (2, 3, 2)])
@pytest.mark.parametrize("far", [0.0, 300.0])
def test_the_nearest_is_that_of_brute_force(space: tuple[int, ...], far: float) -> None:
    """Far from the origin too, where the square of a difference is the difference of large squares."""
    torch.manual_seed(0)
    book, z = Codebook(37, 6, CodebookLoss()), torch.randn(4, 6, *space) + far
    book.weight.data += far
    flat = z.movedim(1, -1).reshape(-1, 6).double()
    truth = (flat[:, None] - book.weight.double()).square().sum(-1).argmin(1).reshape(4, *space)
    assert torch.equal(book.nearest(z), truth)


def test_the_nearest_is_found_in_float32_inside_bf16() -> None:
    """Two vectors that are one number in bf16."""
    book = Codebook(2, 1, MovingAverages())
    book.weight.data = torch.tensor([[1.0], [1.001]])
    z = torch.tensor([1.0002, 1.0009]).reshape(2, 1)
    with torch.autocast("cpu", torch.bfloat16):
        assert book.nearest(z).tolist() == [0, 1]
        assert book(z)[1].dtype == torch.float32


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_gradients_pass_straight_through(rule: CodebookRule) -> None:
    torch.manual_seed(0)
    book, z = Codebook(5, 3, rule), torch.randn(2, 3, 4, requires_grad=True)
    codes, vectors, _ = book(z)
    assert torch.allclose(vectors, book.weight.detach()[codes].movedim(-1, 1), atol=1e-6)
    told = torch.randn(2, 3, 4)
    (found,) = torch.autograd.grad((vectors * told).sum(), z)
    assert torch.equal(found, told)


def test_the_codebook_loss_moves_vectors_to_the_mean_and_commitment_moves_encoders() -> None:
    z = torch.tensor([[1.0], [2.0], [6.0]], requires_grad=True)
    book = Codebook(1, 1, CodebookLoss(commitment=0.25, revive=0.0))
    book.weight.data.zero_()
    _, _, cost = book(z)
    assert torch.allclose(cost, torch.tensor([1.0, 4.0, 36.0]) * 1.25)
    of_z, of_e = torch.autograd.grad(cost.mean(), (z, book.weight))
    assert torch.allclose(of_e, torch.tensor([[2 * (0 - 3.0)]]))  # d/de mean (z - e)^2 = 2 (e - mean z)
    assert torch.allclose(of_z, 0.25 * 2 * z.detach() / 3)
    for _ in range(80):
        (slope,) = torch.autograd.grad(book(z)[2].mean(), book.weight)
        book.weight.data -= 0.1 * slope
    assert torch.allclose(book.weight, torch.tensor([[3.0]]), atol=1e-5)


def test_averages_pass_no_gradient_but_zero() -> None:
    """Zero and not none: processes that sum gradients wait for one of every weight."""
    book, z = Codebook(4, 2, MovingAverages()), torch.randn(3, 2, requires_grad=True)
    cost = book(z)[2]
    of_z, of_e = torch.autograd.grad(cost.sum(), (z, book.weight))
    assert torch.equal(of_e, torch.zeros(4, 2)) and bool((of_z != 0).any())


def test_averages_are_the_weighted_means_of_all_batches() -> None:
    """e_k = sum_s d^(S - s) (sum of z of k in step s) / sum_s d^(S - s) (count of k in step s)."""
    decay = 0.8
    book = Codebook(4, 2, MovingAverages(decay=decay, revive=0.0))
    book.weight.data = CENTRES + 1.0
    seen = learnt(book, 12)
    above, below = torch.zeros(4, 2, dtype=torch.float64), torch.zeros(4, dtype=torch.float64)
    for age, (z, codes) in enumerate(reversed(seen)):
        flat = z.movedim(1, -1).reshape(-1, 2).double()
        for k in range(4):
            mine = flat[codes.flatten() == k]
            above[k] += decay**age * mine.sum(0)
            below[k] += decay**age * len(mine)
    assert torch.allclose(book.weight.double(), above / below[:, None], atol=1e-5)
    assert torch.allclose(book.weight, CENTRES, atol=0.1)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_revival_gives_every_vector_something_to_stand_for(rule: CodebookRule) -> None:
    """Vectors that begin far away from all data stay there, all but one; revived, all of them are used."""
    used = {}
    for revive in (0.0, 0.05):
        torch.manual_seed(0)
        book = Codebook(16, 2, type(rule)(revive=revive, decay=0.9))
        book.weight.data = 50 + book.weight.data  # as a fresh encoder's outputs lie nowhere near a fresh codebook
        learnt(book, 60)
        z, _ = clustered(1000, count=400)
        used[revive] = len(book.nearest(z).unique())
    assert used == {0.0: 1, 0.05: 16}


def test_a_vector_dies_of_disuse_and_is_put_at_an_output_of_the_batch() -> None:
    book = Codebook(4, 2, MovingAverages(decay=0.5, revive=0.25))
    torch.manual_seed(0)
    learnt(book, 30)
    assert len(book.nearest(clustered(99, 200)[0]).unique()) == 4
    before = book.weight.detach().clone()
    learnt(book, 1, shares=(0, 1))  # half of the centres are not seen any more: one step is too soon
    still = (book.weight == before).all(1)
    assert not bool(still.all())
    for step in range(40):
        z, rng = clustered(step, shares=(0, 1))
        book.learn(z, book.nearest(z), rng)
    assert bool((book.weight[:, 0] < 0).all())  # all four now stand among the two centres there are


def test_dead_is_who_has_less_than_a_share_of_an_equal_part() -> None:
    """Of 4 vectors at revive = 0.2: below 0.2 / 4 = 0.05, and not below 0.2."""
    book = Codebook(4, 2, CodebookLoss(revive=0.2, decay=0.999))
    book.usage.copy_(torch.tensor([0.75, 0.15, 0.06, 0.04]))
    before = book.weight.detach().clone()
    z, rng = clustered(0)
    book.learn(z, torch.zeros(64, 3, dtype=torch.int64), rng)
    assert (book.weight == before).all(1).tolist() == [True, True, True, False]
    assert torch.allclose(book.usage, torch.tensor([0.75025, 0.14985, 0.05994, 0.25]))  # as good as used


def test_revival_draws_from_every_row_and_every_place() -> None:
    book, count = Codebook(64, 2, CodebookLoss()), 32
    z = torch.stack(torch.meshgrid(torch.arange(float(count)), torch.arange(6.0), indexing="ij"), 1)  # row and place
    book.learn(z, torch.zeros(count, 6, dtype=torch.int64), Rng(range(count)))
    rows, places = (book.weight.detach()[:, k] for k in (0, 1))
    assert torch.equal(places.unique(), torch.arange(6.0)) and len(rows.unique()) > count // 2


def test_revival_depends_on_keys_and_not_on_the_order_or_on_torch() -> None:
    """Processes hold the rows of a batch in another order, and each draws for itself."""
    z, rng = clustered(0)
    found = []
    for order in (torch.arange(64), torch.arange(63, -1, -1)):
        torch.manual_seed(len(found))
        book = Codebook(9, 2, CodebookLoss())
        book.weight.data.zero_()
        state = torch.random.get_rng_state()
        book.learn(z[order], book.nearest(z[order]), rng[order])
        assert torch.equal(state, torch.random.get_rng_state())
        found.append(book.weight.detach())
    assert torch.equal(*found)
    points = z.movedim(1, -1).reshape(-1, 2)
    assert all(bool((points == vector).all(1).any()) for vector in found[0])


def test_perplexity_of_known_counts() -> None:
    assert perplexity(torch.tensor([3, 3, 3, 3])) == pytest.approx(4)
    assert perplexity(torch.tensor([0, 7, 0])) == pytest.approx(1)
    # shares 1/2, 1/4, 1/4: entropy 1.5 bits
    assert perplexity(torch.tensor([2, 1, 1, 0])) == pytest.approx(2**1.5)
    with pytest.raises(Refusal, match="at least one code that occurs"):
        perplexity(torch.zeros(3))


@pytest.mark.parametrize("wrong", [{"commitment": -1.0}, {"revive": 1.0}, {"decay": 1.0}, {"decay": float("nan")}])
def test_wrong_numbers_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(Refusal, match="a codebook has a commitment"):
        MovingAverages(**wrong)
