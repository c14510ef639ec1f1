"""The digits: the same 1,437 and 360 pictures for good."""

import pickle
from hashlib import sha256

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from mezzotint.core import Refusal, build, spec
from mezzotint.data import Digits


def test_split_is_the_documented_one() -> None:
    from sklearn.datasets import load_digits

    ink, labels = load_digits(return_X_y=True)
    keys = [sha256(f"mezzotint.digits.{i}".encode()).digest() for i in range(1797)]
    quota = dict(enumerate([36, 37, 35, 37, 36, 36, 36, 36, 35, 36]))
    held, train = [], []
    for i in sorted(range(1797), key=lambda i: keys[i]):
        quota[labels[i]] -= 1
        (held if quota[labels[i]] >= 0 else train).append(i)
    for data, rows in ((Digits(), train), (Digits("held_out"), held)):
        x, cond = data[:]
        assert torch.equal(x, torch.tensor(ink[rows] / 8 - 1).float().view(-1, 1, 8, 8))
        assert cond["label"].tolist() == labels[rows].tolist()
    assert (len(train), len(held)) == (1437, 360)


def test_splits_share_no_picture_and_make_up_the_set() -> None:
    def pictures(split: str) -> set[bytes]:
        return {row.numpy().tobytes() for row in Digits(split)[:][0]}

    assert len(pictures("all")) == 1797
    assert not pictures("train") & pictures("held_out")
    assert pictures("train") | pictures("held_out") == pictures("all")


def test_moments_are_those_of_the_train_split_whichever_split_asks() -> None:
    x = Digits()[:][0].numpy().astype(np.float64)
    for split in ("train", "held_out", "all"):
        assert Digits(split).mean == pytest.approx(x.mean(), abs=1e-12)
        assert Digits(split).std == pytest.approx(x.std(), abs=1e-12)


def test_every_index_answers_with_a_batch() -> None:
    data = Digits()
    x, cond = data[:]
    mask = data.labels == 3
    cases = [
        (5, [5]),
        (-1, [1436]),
        (np.int64(5), [5]),
        (slice(3, 9, 2), [3, 5, 7]),
        ([4, 1, 4], [4, 1, 4]),
        (torch.tensor([2, 0]), [2, 0]),
        (torch.tensor(6), [6]),
        (np.array([7]), [7]),
        ((), []),
        (mask, np.flatnonzero(mask).tolist()),
    ]
    for index, rows in cases:
        got, label = data[index]
        assert torch.equal(got, x[rows]) and got.shape[1:] == (1, 8, 8)
        assert label["label"].tolist() == cond["label"][rows].tolist()
    with pytest.raises(IndexError):
        data[1437]
    assert sum(1 for _ in data) == len(data)


def test_loader_workers_hand_over_the_batches_asked_for() -> None:
    data = Digits("held_out")
    order = [[3, 1], [0], [359, 2, 2]]
    loader = DataLoader(data, batch_size=None, sampler=order, num_workers=2)  # type: ignore[arg-type]
    for rows, (x, cond) in zip(order, loader, strict=True):
        assert torch.equal(x, data[rows][0])
        assert torch.equal(cond["label"], data[rows][1]["label"])


def test_is_a_part_and_travels() -> None:
    data = Digits("held_out")
    assert build(spec(data)) == data
    assert torch.equal(pickle.loads(pickle.dumps(data))[:][0], data[:][0])
    assert data.held_out() is data
    with pytest.raises(Refusal, match="no split 'test'"):
        Digits("test")
