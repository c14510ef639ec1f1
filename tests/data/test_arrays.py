"""Arrays in a file: one rule for what numbers mean, splits by row, refusals for the rest."""

from pathlib import Path

import numpy as np
import pytest
import torch

from mezzotint.core import NONE, Refusal, build, spec
from mezzotint.data import Arrays, find
from mezzotint.data.data import fraction


def save(path: Path, images: np.ndarray, labels: np.ndarray | None = None) -> Path:
    np.savez(path, images=images, **({} if labels is None else {"labels": labels}))
    return path


def counted(n: int, offset: int = 0) -> np.ndarray:
    return np.broadcast_to(np.arange(offset, offset + n, dtype=np.uint8)[:, None, None], (n, 3, 5)).copy()


def test_bytes_floats_and_signed_floats_mean_the_same(tmp_path: Path) -> None:
    raw = np.random.default_rng(0).integers(0, 256, (7, 4, 6, 3), np.uint8)
    raw.flat[:2] = 0, 255
    want = torch.from_numpy(raw.astype(np.float64).transpose(0, 3, 1, 2) / 127.5 - 1).float()
    for dtype in (np.float32, np.float64, np.float16):
        tolerance = 2e-3 if dtype == np.float16 else 1e-6
        for values in ((raw / 255).astype(dtype), (raw / 127.5 - 1).astype(dtype)):
            got = Arrays(save(tmp_path / "f.npz", values), label=None, split="all")[:][0]
            assert got.dtype == torch.float32 and torch.allclose(got, want, atol=tolerance)
    data = Arrays(save(tmp_path / "u.npz", raw), label=None, split="all")
    assert torch.allclose(data[:][0], want, atol=1e-7) and data.shape == (3, 4, 6) and data[:][1] is NONE


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (np.full((2, 3, 3), 1.5), "run from 1.5"),
        (np.full((2, 3, 3), -1.5), "run from -1.5"),
        (np.full((2, 3, 3), np.nan), "run from nan"),
        (np.zeros((2, 3, 3), np.int64), "only uint8 and floats"),
        (np.zeros((2, 3, 3), bool), "only uint8 and floats"),
        (np.zeros((2, 3, 8, 8), np.uint8), "C from 1 to 4"),
        (np.zeros((2, 9), np.uint8), "shape"),
        (np.zeros((0, 3, 3), np.uint8), "shape"),
        (np.array([None, {}]), "without pickles"),
    ],
)
def test_what_has_no_clear_meaning_is_refused(tmp_path: Path, images: np.ndarray, words: str) -> None:
    with pytest.raises(Refusal, match=words):
        Arrays(save(tmp_path / "a.npz", images), label=None)


@pytest.mark.parametrize("labels", [np.zeros(3, int), np.zeros((2, 1), int), np.zeros(2), np.array([0, -1])])
def test_labels_are_counted_integers(tmp_path: Path, labels: np.ndarray) -> None:
    with pytest.raises(Refusal, match="labels are integers"):
        Arrays(save(tmp_path / "a.npz", counted(2), labels))


def test_names_files_and_classes_are_checked(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz", counted(4), np.array([0, 1, 2, 1]))
    assert Arrays(path, split="all").classes == ("0", "1", "2")
    with pytest.raises(Refusal, match="did you mean 'images'"):
        Arrays(path, images="imagse")
    with pytest.raises(Refusal, match="label=None"):
        Arrays(save(tmp_path / "b.npz", counted(4)))
    with pytest.raises(Refusal, match="label 2, but there are 2 classes"):
        Arrays(path, classes=("a", "b"), split="all")
    with pytest.raises(Refusal, match="no file"):
        Arrays(tmp_path / "c.npz")
    with pytest.raises(Refusal, match="no file"):
        Arrays(path, held_out_path=str(tmp_path / "c.npz"))
    with pytest.raises(Refusal, match="budget"):
        Arrays(path, budget=10)
    (tmp_path / "d.npz").write_bytes(path.read_bytes()[:200])
    with pytest.raises(Refusal, match="cannot be read"):
        Arrays(tmp_path / "d.npz")


def test_rows_are_held_out_by_the_hash_of_their_number(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz", counted(200), np.arange(200))
    held = [row for row in range(200) if fraction(str(row)) < 0.25]
    assert 30 < len(held) < 70
    data = Arrays(path, held_out_share=0.25)
    assert data.held_out().labels.tolist() == held
    assert sorted([*data.labels, *held]) == list(range(200))
    longer = Arrays(save(tmp_path / "b.npz", counted(240), np.arange(240)), held_out_share=0.25)
    assert longer.held_out().labels.tolist()[: len(held)] == held


def test_a_second_file_is_the_held_out_split(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz", counted(5), np.arange(5) % 3)
    other = str(save(tmp_path / "b.npz", counted(3, 50), np.arange(3)))
    data = Arrays(path, held_out_path=other)
    assert (len(data), len(data.held_out()), len(data.sibling("all"))) == (5, 3, 8)
    assert torch.equal(data.sibling("all")[:][0], torch.cat([data[:][0], data.held_out()[:][0]]))
    assert data.held_out().std == data.std and data.held_out().classes == data.classes
    assert build(spec(data)) == data
    wide = str(save(tmp_path / "c.npz", np.zeros((3, 9, 9), np.uint8), np.arange(3)))
    with pytest.raises(Refusal, match="must agree"):
        Arrays(path, held_out_path=wide).held_out()


def test_the_range_of_floats_is_decided_by_the_train_file(tmp_path: Path) -> None:
    signed, plain = np.linspace(-1, 1, 18).reshape(2, 3, 3), np.linspace(0, 1, 18).reshape(2, 3, 3)
    a, b = save(tmp_path / "a.npz", signed), save(tmp_path / "b.npz", plain)
    got = Arrays(a, label=None, held_out_path=str(b), split="held_out")[:][0]
    assert got.min() == 0 and got.max() == 1
    with pytest.raises(Refusal, match="run from -1"):
        Arrays(b, label=None, held_out_path=str(a), split="held_out")


def test_fashion_mnist_has_the_statistics_its_authors_print() -> None:
    try:
        train, test = find("fashion_mnist/train.npz"), find("fashion_mnist/test.npz")
    except Refusal as absent:
        pytest.skip(str(absent))
    data = Arrays(train, held_out_path=str(test))
    assert len(data) == 60_000 and data.shape == (1, 28, 28) and len(data.held_out()) == 5_000
    assert np.bincount(data.labels).tolist() == [6000] * 10
    assert data.mean == pytest.approx(2 * 0.2860 - 1, abs=1e-4) and data.std == pytest.approx(2 * 0.3530, abs=1e-4)
    small = Arrays(test, size=14, split="all")
    x, y = data.held_out()[:64][0], small[:64][0]
    assert torch.allclose(torch.nn.functional.avg_pool2d(x, 2), y, atol=0.5 / 127.5 + 1e-6)


def test_find_says_what_to_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here.npz").touch()
    monkeypatch.setenv("MEZZOTINT_DATA", str(tmp_path))
    assert find("here.npz") == tmp_path / "here.npz"
    with pytest.raises(Refusal, match="set MEZZOTINT_DATA"):
        find("absent.npz")
