"""Batches of one size each: everything comes equally often, by (seed, step) alone, and a U-Net trains on them."""

import numpy as np
import pytest
import torch
from PIL import Image

import mezzotint as mz
from mezzotint import recipes, training
from mezzotint.training.order import Bucketed, Order

BUCKETS = np.random.default_rng(0).permutation(np.repeat([0, 2, 3], [37, 5, 90]))


@pytest.mark.parametrize("batch", [1, 4, 16, 200])
def test_each_bucket_is_seen_pass_by_pass(batch):
    """The batches of a bucket, one after the other, are permutations of its items; nothing else decides on them."""
    order = Bucketed(BUCKETS, batch, seed=7)
    steps = -(-len(BUCKETS) * 12 // batch)
    seen = {bucket: [] for bucket in (0, 2, 3)}
    for step in range(steps):
        rows = order.at(step)
        found = set(BUCKETS[rows].tolist())
        assert len(rows) == batch and len(found) == 1
        seen[found.pop()] += rows.tolist()
    for bucket, rows in seen.items():
        items = np.flatnonzero(BUCKETS == bucket)
        whole = len(rows) // len(items)
        passes = [rows[n * len(items) : (n + 1) * len(items)] for n in range(whole)]
        assert all(sorted(one) == items.tolist() for one in passes)
        assert len({tuple(one) for one in passes}) == whole or len(items) == 5
        # As often as all others: to what does not fill a batch, and to the turns of the pass that is not over.
        assert abs(len(rows) - steps * batch * len(items) / len(BUCKETS)) <= len(items) + 4 * batch


def test_a_pass_has_the_batches_that_are_full():
    """Passes end where floor(P n / B) batches of every bucket are done."""
    order = Bucketed(BUCKETS, 8, seed=3)
    ends = [sum(number * many // 8 for many in (37, 5, 90)) for number in range(9)]
    rows = [order.at(step) for step in range(ends[-1])]
    for number, end in enumerate(ends):
        of = [int(BUCKETS[row[0]]) for row in rows[:end]]
        assert [of.count(bucket) for bucket in (0, 2, 3)] == [number * many // 8 for many in (37, 5, 90)]
    first, second = ([int(BUCKETS[r[0]]) for r in rows[ends[n] : ends[n + 1]]] for n in (0, 2))
    assert first != sorted(first) and first[:10] != second[:10]


def test_any_step_can_be_asked_for_first():
    order = Bucketed(BUCKETS, 8, seed=3)
    rows = [order.at(step) for step in range(200)]
    for step in (199, 0, 57, 58, 3):
        assert np.array_equal(Bucketed(BUCKETS, 8, seed=3).at(step), rows[step])
    assert not np.array_equal(Bucketed(BUCKETS, 8, seed=4).at(0), rows[0])


def test_buckets_of_one_size_have_orders_of_their_own():
    order = Bucketed(np.repeat([0, 1], 40), 40, seed=3)
    one, other = sorted((order.at(0).tolist(), order.at(1).tolist()), key=min)
    assert sorted(one) == list(range(40)) and sorted(other) == list(range(40, 80))
    assert [row + 40 for row in one] != other


def test_the_order_without_buckets_is_as_it_was():
    """As version 0.1.0 drew it."""
    key = np.array([11, 2], np.uint64)
    expected = np.random.Generator(np.random.Philox(key=key)).permutation(30)
    assert np.array_equal(Order(30, 11).at(60, 30), expected)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Pictures of three aspects: dark on the left, bright on the right."""
    path, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for number in range(90):
        height, width = ((20, 20), (12, 30), (33, 15))[number % 3]
        ramp = np.linspace(30, 220, width)[None, :, None] + rng.normal(0, 8, (height, 1, 1))
        pixels = np.broadcast_to(ramp, (height, width, 1)).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels[..., 0]).save(path / f"{number:02d}.png")
    return mz.data.Buckets(mz.data.Folder(str(path), size=8), side=8, step=2)


def tree(data, **changes):
    made = recipes.of_data(data, images=768, width=8, steps=2)
    made["training"] |= {"batch": 16, "save": 384, "log": 192, "picture": 768} | changes
    return made


def test_a_u_net_trains_on_mixed_aspects_and_goes_on(data, tmp_path):
    class Stop(Exception):
        pass

    def stop(progress):
        if progress.images >= 576:
            raise Stop

    assert len(data.shapes) == 3 and set(data.buckets.tolist()) == {0, 1, 2}
    whole = training.train(tree(data), tmp_path / "whole")
    with pytest.raises(Stop):
        training.train(tree(data, workers=1), tmp_path / "half", progress=stop)
    again = training.train(tree(data, workers=1), tmp_path / "half", resume=True)
    (a, _), (b, _) = whole.load(768), again.load(768)
    assert all(torch.equal(a[n][k], b[n][k]) for n in a for k in a[n])
    losses = [row["loss"] for row in whole.metrics() if "loss" in row]
    held = [row["held_out"]["loss"] for row in whole.metrics() if row.get("held_out")]
    assert losses[-1] < 0.8 * losses[0] and np.isfinite(held).all()

    model = mz.load(whole.path)
    for height, width in data.brought_to:
        shape = (1, height, width)
        x = mz.samplers.Heun(steps=8)(model, mz.NONE, rng=mz.Rng(range(16)), shape=shape)
        assert x.shape == (16, *shape)
        assert x[..., -1].mean() - x[..., 0].mean() > 0.3  # it is the ramp, at this size too
