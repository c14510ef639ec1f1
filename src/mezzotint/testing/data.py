"""The contract of a data set: always a batch, item k always the same, and nothing in two splits."""

from __future__ import annotations

import numpy as np
import torch

from mezzotint.data.data import Data
from mezzotint.testing.expect import expect, same, shaped, works
from mezzotint.testing.spec import check_made


def check_data(data: Data) -> None:
    """Check that a data set keeps the promises trainers and judges rely on.

    Arguments:
        data: a split with at least three pictures.

    Raises:
        AssertionError: naming the promise that is broken.
    """
    who = type(data).__name__
    expect(isinstance(data, Data), f"{who} should derive from data.Data; it is indexed in many ways")
    check_made(data)
    with works(f"reading {who}", "a trainer reads it a million times"):
        count = len(data)
        expect(count >= 3, f"check_data should be given at least three pictures but {who} has {count}")
        few, shape = np.arange(3), data.shape
        if data.buckets is not None:  # a batch is of one bucket
            few, shape = np.flatnonzero(data.buckets == data.buckets[0])[:3], data.shapes[data.buckets[0]]
            expect(len(few) == 3, f"check_data should be given three pictures of the first bucket of {who}")
        x, cond = data[few]
        shaped(f"x of {who} for three rows", x, (3, *shape), "a network is built for the shape")
        if x.dtype == torch.int64:  # symbols
            expect(len(data.shape) < 3, f"symbols of {who} should be rows or planes but have the shape {data.shape}")
            expect(int(x.min()) >= 0, f"symbols of {who} should count from 0 but reach {int(x.min())}")
        else:
            expect(x.dtype == torch.float32, f"pictures of {who} should be float32 but are {x.dtype}")
        shown = data.drawn(x)
        if shown is not None:  # points and the like have no shades, and codes are no pictures but stand for some
            low, high = float(shown.min()), float(shown.max())
            expect(
                -1 <= low and high <= 1, f"pictures of {who} should lie in [-1, 1] but reach {low:.3g} and {high:.3g}"
            )
        expect(len(cond) in (0, 3), f"three rows of {who} should hold three conditions or none but holds {len(cond)}")
        second = int(few[1])
        for index in (second, [second], np.array([second]), torch.tensor([second])):
            one, told = data[index]
            same(
                f"the second picture of {who} by {type(index).__name__}",
                one,
                x[1:2],
                "item k is the same however it is asked for",
            )
            expect(len(told) == (1 if cond else 0), f"{who}[1] should hold one condition, or none where there are none")
            for name in told.values:
                same(
                    f"{name!r} of the second picture of {who} by {type(index).__name__}",
                    told[name],
                    cond[name][1:2],
                    "what is told of item k is the same however it is asked for",
                )
        same(
            f"pictures of {who} read in another order",
            data[few[[2, 0]]][0],
            x[[2, 0]],
            "the order is decided by whoever reads",
        )
        told = data.condition(few[[2, 0]])
        expect(told.families == cond.families, f"{who} should tell the same with its pictures and without them")
        for name in told.values:
            same(
                f"{name!r} told by {who} without the pictures",
                told[name],
                cond[name][[2, 0]],
                "what is asked of a model is read without the pictures",
            )
        if "label" in cond:
            labels = cond["label"]
            expect(
                bool((labels < len(data.classes)).all()),
                f"labels of {who} should be below {len(data.classes)}, its classes",
            )
        expect(
            data.std > 0, f"the spread of {who} should be positive but is {data.std}; it is what a denoiser divides by"
        )
        whole = len(data.sibling("all"))
        split = len(data.sibling("train")) + len(data.held_out())
        expect(split == whole, f"train and held-out of {who} should hold {whole} pictures together but hold {split}")
