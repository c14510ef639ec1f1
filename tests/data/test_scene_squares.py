"""Damped least squares against the normal equations and against slopes by central differences."""

import numpy as np

from mezzotint.data.scenes.squares import improved

MOVES = np.array([1e-3, 1e-3])
STARTS = np.array([[-1.2, 1.0, 7.0], [2.0, -1.0, 7.0], [0.0, 3.0, 7.0]])


def valley(at, which):
    """Rosenbrock's valley, whose least square is 0 at (1, 1); each hypothesis has its own scale."""
    x, y, scale = at[:, 0], at[:, 1], 1.0 + np.asarray(which)
    return np.stack([scale * 10 * (y - x * x), scale * (1 - x)], 1).astype(np.float32)


def free(at):
    return at


def test_a_linear_problem_is_solved_as_the_normal_equations_solve_it():
    rng = np.random.Generator(np.random.PCG64(1))
    A, b = rng.standard_normal((9, 2)), rng.standard_normal(9)
    found, error, _ = improved(
        lambda at, which: (at @ A.T - b).astype(np.float32), np.zeros((1, 2)), 50 * MOVES, free, 12
    )
    truth, squares, *_ = np.linalg.lstsq(A, b, rcond=None)
    assert np.allclose(found[0], truth, atol=1e-4)
    assert abs(error[0] - squares[0]) < 1e-4


def test_a_bent_valley_is_walked_to_its_end_and_what_is_not_free_stays():
    found, error, _ = improved(valley, STARTS, np.full(2, 2e-2), free, 60)
    assert np.allclose(found[:, :2], 1.0, atol=2e-2)
    assert (found[:, 2] == 7.0).all()
    assert (error < 1e-3).all()


def test_what_can_not_be_is_not_answered():
    found, _, _ = improved(valley, STARTS, np.full(2, 2e-2), lambda at: np.minimum(at, [0.5, 9.0, 9.0]), 60)
    assert (found[1:, 0] <= 2.0).all()
    assert (found[[0, 2], 0] <= 0.5).all()
    assert np.allclose(found[[0, 2], 0], 0.5, atol=0.02)


def test_the_products_of_slopes_are_those_at_the_answer():
    for steps in (0, 1, 3, 5):
        found, _, gram = improved(valley, STARTS, MOVES, free, steps, slopes=True)
        for n in range(3):
            J = []
            for k in range(2):
                near = np.repeat(found[n : n + 1], 2, 0).astype(np.float64)
                near[:, k] += [1e-2, -1e-2]
                up, down = valley(near, np.full(2, n)).astype(np.float64)
                J.append((up - down) / 2e-2)
            exact = np.array(J) @ np.array(J).T
            assert np.allclose(gram[n], exact, rtol=0.02, atol=0.02 * np.abs(exact).max())
