"""Streaming moments: digits kept, batches and stops without a trace, shards equal to rounding."""

from pathlib import Path

import numpy as np
import pytest
import torch

from mezzotint.core import NONE, Refusal
from mezzotint.metrics import Moments, frechet, frechet_of, gather
from mezzotint.metrics.moments import BLOCK


def same(a: Moments, b: Moments) -> bool:
    return np.array_equal(a.mean, b.mean) and np.array_equal(a.covariance, b.covariance)


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.normal(size=(5 * BLOCK + 77, 6)) @ rng.normal(size=(6, 6)) + 1e6


def test_a_far_mean_costs_no_digits(rows: np.ndarray) -> None:
    wide = rows.astype(np.longdouble)
    centred = wide - wide.mean(0)
    want = centred.T @ centred / (len(wide) - 1)
    got = Moments.of(rows)
    scale = float(abs(want).max())
    assert abs(got.covariance - want).max() / scale < 1e-9  # 1e6 times the spread leaves 1e-10 of it in float64
    assert abs(got.mean - wide.mean(0)).max() < 1e-9
    naive = rows.T @ rows / len(rows) - np.outer(rows.mean(0), rows.mean(0))
    assert abs(naive - want).max() / scale > 1e-6  # what sums of squares would have made of it


def test_few_rows_in_closed_form() -> None:
    got = Moments.of(np.array([[0.0, 0.0], [2.0, 4.0]]))
    assert got.mean.tolist() == [1, 2] and got.covariance.tolist() == [[2, 4], [4, 8]]
    one = Moments.of(np.ones((1, 3)))
    assert one.mean.tolist() == [1, 1, 1]
    with pytest.raises(Refusal, match="at least two rows"):
        _ = one.covariance
    assert same(one.join(Moments.of(np.zeros((1, 3)), 1)), Moments.of(np.array([[1.0] * 3, [0.0] * 3])))


@pytest.mark.parametrize("batch", [1, 7, BLOCK - 1, BLOCK, BLOCK + 1, 10**6])
def test_batches_change_no_bit(rows: np.ndarray, batch: int) -> None:
    held = Moments.begin(6)
    for at in range(0, len(rows), batch):
        held = held.add(rows[at : at + batch])
    assert same(held, Moments.of(rows)) and held.rows == ((0, len(rows)),)


@pytest.mark.parametrize("cuts", [(BLOCK, 3 * BLOCK), (1, 900), (5, 6, 7, 2000)])
def test_shards_are_the_whole_to_rounding_in_any_order(rows: np.ndarray, cuts: tuple[int, ...]) -> None:
    ends = [0, *cuts, len(rows)]
    shards = [Moments.of(rows[a:b], a) for a, b in zip(ends, ends[1:], strict=False)]
    whole = Moments.of(rows)
    joined = [Moments.begin(6), Moments.begin(6)]
    for a, b in zip(shards, shards[::-1], strict=True):
        joined = [joined[0].join(a), joined[1].join(b)]
    assert same(*joined) and joined[0].count == whole.count == len(rows)
    assert abs(joined[0].covariance - whole.covariance).max() / abs(whole.covariance).max() < 1e-9
    near = rows - 1e6
    parts = [Moments.of(near[a:b], a) for a, b in zip(ends, ends[1:], strict=False)]
    together = parts[0]
    for part in parts[1:]:
        together = together.join(part)
    assert np.allclose(together.covariance, np.cov(near, rowvar=False), rtol=1e-13, atol=1e-13)


def test_a_row_is_counted_once_and_with_its_kind(rows: np.ndarray) -> None:
    a, b = Moments.of(rows[:100]), Moments.of(rows[50:200], 50)
    with pytest.raises(Refusal, match="rows 50 to 99 are in both"):
        b.join(a)
    with pytest.raises(Refusal, match="only moments of the same"):
        a.join(Moments.of(rows[100:200], 100, "other"))
    with pytest.raises(Refusal, match="6 features a row, those of 3"):
        a.join(Moments.of(rows[100:200, :3], 100))
    with pytest.raises(Refusal, match="do not follow"):
        a.add(rows[:, :2])
    with pytest.raises(Refusal, match="finite"):
        a.add(rows * np.nan)


def test_saved_in_the_middle_it_goes_on_without_a_trace(rows: np.ndarray, tmp_path: Path) -> None:
    part = Moments.of(rows[: BLOCK + 9], about="x").join(Moments.of(rows[4 * BLOCK :], 4 * BLOCK, "x"))
    back = Moments.load(part.save(tmp_path / "m"))
    assert same(back, part) and back.rows == part.rows and back.about == "x"
    middle = Moments.load(Moments.of(rows[: BLOCK + 9]).save(tmp_path / "n"))
    assert same(middle.add(rows[BLOCK + 9 :]), Moments.of(rows))
    file = tmp_path / "m" / "moments.safetensors"
    raw = bytearray(file.read_bytes())
    raw[-5] ^= 1
    file.write_bytes(raw)
    with pytest.raises(Refusal, match="damaged"):
        Moments.load(tmp_path / "m")


class Stripes:
    """Pictures by number, and the most that were asked for at once."""

    def __init__(self, count: int, stop: int | None = None) -> None:
        self.count, self.stop, self.most = count, stop, 0

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, rows: np.ndarray) -> tuple[torch.Tensor, object]:
        if self.stop is not None and rows[-1] >= self.stop:
            raise KeyboardInterrupt
        self.most = max(self.most, len(rows))
        waves = torch.sin(torch.as_tensor(rows, dtype=torch.float64)[:, None] * torch.tensor([1.0, 2.0, 3.5]))
        return waves[:, :, None, None].expand(-1, -1, 2, 2), NONE


def look(x: torch.Tensor) -> np.ndarray:
    return x.mean((2, 3)).numpy()


def test_gathering_stopped_and_sharded(tmp_path: Path) -> None:
    source = Stripes(7 * BLOCK + 5)
    whole = gather(source, look)
    assert whole.count == len(source) and source.most == BLOCK  # never more in memory
    assert same(whole, Moments.of(look(source[np.arange(len(source))][0])))
    with pytest.raises(KeyboardInterrupt):
        gather(Stripes(len(source), stop=5 * BLOCK), look, path=tmp_path / "g", about="waves", every=2)
    assert Moments.load(tmp_path / "g").count == 4 * BLOCK
    assert same(gather(source, look, path=tmp_path / "g", about="waves"), whole)
    assert same(gather(source, look, path=tmp_path / "g", about="waves"), whole)  # there already
    with pytest.raises(Refusal, match="name another folder"):
        gather(source, look, path=tmp_path / "g", about="other")
    cut = 3 * BLOCK + 11
    halves = [gather(source, look, rows=span) for span in ((cut, len(source)), (0, cut))]
    joined = halves[0].join(halves[1])
    assert np.allclose(joined.covariance, whole.covariance, rtol=1e-14) and joined.rows == ((0, cut), (cut, 3589))
    with pytest.raises(Refusal, match="range of rows"):
        gather(source, look, rows=(5, 9999))


def test_the_distance_of_moments_is_that_of_tables() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(1300, 5)), rng.gamma(2.0, size=(900, 5))
    found = frechet_of(Moments.of(a[:700]).join(Moments.of(a[700:], 700)), Moments.of(b))
    want = frechet(a, b, draws=0)
    assert found.value == pytest.approx(want.value, rel=1e-12)
    assert (found.count, found.against) == (1300, 900) and found.low != found.low
    with pytest.raises(Refusal, match="of one number of features"):
        frechet_of(Moments.of(a), Moments.of(b[:, :2]))
