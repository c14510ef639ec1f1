"""Pictures of mixed aspects go to the nearest of a few sizes."""

import numpy as np
import pytest
import torch
from PIL import Image

import mezzotint as mz
from mezzotint.data.data import together
from mezzotint.data.resize import fit

SIDES = [(40, 40), (30, 60), (60, 31), (44, 40), (20, 100), (33, 48), (48, 33)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Sixty-three pictures, (height, width) of each in turn, every fourth stored lying on its side."""
    path, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for number in range(63):
        height, width = SIDES[number % len(SIDES)]
        pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        image, exif = Image.fromarray(pixels), Image.Exif()
        if number % 4 == 0:
            image, exif[0x0112] = image.transpose(Image.Transpose.ROTATE_90), 6
        image.save(path / f"{number:02d}.png", exif=exif)
    return mz.data.Folder(str(path), size=8, split="all", held_out_share=0.2)


def test_sizes_are_near_the_area_and_turn_about():
    def brought(side, step, longest=2.0):
        folder_free = object.__new__(mz.data.Buckets)
        for name, value in (("side", side), ("step", step), ("longest", longest), ("chosen", ())):
            object.__setattr__(folder_free, name, value)
        return folder_free.brought_to

    assert brought(64, 16) == ((48, 80), (64, 64), (80, 48))
    for side, step in ((64, 8), (256, 32), (512, 64), (1024, 64), (20, 7)):
        found = brought(side, step)
        assert len(set(found)) == len(found) and {(b, a) for a, b in found} == set(found)
        for height, width in found:
            assert height % step == width % step == 0 and max(height, width) <= 2 * min(height, width)
            assert abs(height * width / side**2 - 1) <= step / min(height, width) * 0.51 or side == 20
        assert list(found) == sorted(found, key=lambda size: size[0] / size[1])
    assert brought(64, 64) == ((64, 64),) == brought(64, 8, longest=1.0)


def test_each_picture_is_brought_to_the_nearest(folder):
    data = mz.data.Buckets(folder, side=32, step=8)
    assert data.shape == (3, 32, 32) and len(data) == 63
    originals = [Image.open(file) for file in folder._files]
    for row, image in enumerate(originals):
        height, width = SIDES[row % len(SIDES)]
        pixels = np.asarray(image.transpose(Image.Transpose.ROTATE_270) if row % 4 == 0 else image)
        assert pixels.shape == (height, width, 3) and tuple(folder.originals[row]) == (height, width)
        own = abs(np.log([(h / w) / (height / width) for h, w in data.brought_to])).argmin()
        assert data.buckets[row] == own
        x, _ = data[row]
        expected = torch.from_numpy(fit(pixels, data.brought_to[own])).permute(2, 0, 1) / 127.5 - 1
        assert x.shape[1:] == data.shapes[own] and torch.allclose(x[0], expected, atol=1e-6)


def test_it_is_a_part_with_splits_and_moments(folder):
    data = mz.data.Buckets(folder.sibling("train"), side=32, step=8)
    again = mz.build(mz.spec(data))
    assert again == data and again.mark == data.mark != mz.data.Buckets(folder.sibling("train"), side=24).mark
    assert again.brought_to == data.held_out().brought_to and data.held_out().shape == data.shape
    assert len(data) + len(data.held_out()) == 63
    entries = torch.cat([data[row][0].flatten() for row in range(len(data))]).double()
    assert data.mean == pytest.approx(float(entries.mean()), abs=1e-9)
    assert data.std == pytest.approx(float(entries.std(correction=0)), abs=1e-9)


def test_what_mirrors_and_what_caches_keep_the_buckets(folder, tmp_path):
    """Parts in parts: mirrored, bucketed and cached."""
    data = mz.data.Buckets(folder.sibling("train"), side=32, step=8)
    kept = mz.build(mz.spec(mz.data.Flipped(mz.data.Cached(data, str(tmp_path)), ("label",))))
    count = len(data)
    assert len(kept) == 2 * count and np.array_equal(kept.buckets, np.tile(data.buckets, 2))
    for rows in together(np.arange(count), data.buckets, 5):
        x = data[rows][0]
        assert torch.equal(kept[rows][0], x) and torch.equal(kept[rows + count][0], x.flip(-1))
    assert kept.source.done == count and kept.std == data.std


def test_items_of_several_sizes_are_no_batch(folder, tmp_path):
    data = mz.data.Buckets(folder, side=32, step=8)
    with pytest.raises(mz.Refusal, match="items of 2 sizes make no batch"):
        data[[0, 1]]
    with pytest.raises(mz.Refusal, match="does not know how large"):
        mz.data.Buckets(mz.data.Digits())
    for wrong in ({"step": 0}, {"step": 99}, {"longest": 0.5}, {"chosen": ((8, 0),)}, {"chosen": ((8, 8), (8, 8))}):
        with pytest.raises(mz.Refusal):
            mz.data.Buckets(folder, **wrong)
    assert mz.data.Buckets(folder, chosen=((8, 16), (16, 8))).shapes == ((3, 8, 16), (3, 16, 8))


def test_one_bucket_has_one_size(folder):
    data = mz.data.Buckets(folder.sibling("train"), side=32, step=8)
    seen = []
    for number, size in enumerate(data.brought_to):
        if not (data.buckets == number).any():
            with pytest.raises(mz.Refusal, match="there is no item of"):
                mz.data.Bucket(data, size)
            continue
        one = mz.data.Bucket(data, size)
        seen += one.places.tolist()
        assert one.buckets is None and one.shapes == ((3, *size),) and one[:][0].shape == (len(one), 3, *size)
        assert torch.equal(one[-1][0], data[int(one.places[-1])][0])
        assert one.std == pytest.approx(float(one[:][0].double().std(correction=0)), abs=1e-9)
        assert mz.build(mz.spec(one)) == one and one.held_out().shape == one.shape
    assert sorted(seen) == list(range(len(data)))
    square = mz.data.Bucket(mz.data.Flipped(data), (32, 32))
    assert len(square) == 2 * (data.buckets == data.brought_to.index((32, 32))).sum() and len(square.mark) == 32
    assert square.mark != mz.data.Bucket(mz.data.Flipped(data), (24, 40)).mark
    with pytest.raises(mz.Refusal, match=r"no item of 32x33; the train split has \d+ of"):
        mz.data.Bucket(data, (32, 33))
    with pytest.raises(mz.Refusal, match="have one size"):
        mz.data.Bucket(folder, (8, 8))


def test_what_lies_on_a_picture_has_its_size(tmp_path):
    """Maps go where their picture goes; they are not told of items of several sizes at once."""
    rows, rng = [], np.random.default_rng(0)
    for number in range(60):
        pixels = rng.integers(0, 3, SIDES[number % 3], dtype=np.uint8)
        Image.fromarray(pixels * 100).save(tmp_path / f"{number}.png")
        Image.fromarray(pixels).save(tmp_path / f"map{number}.png")
        rows.append(f'{{"file_name": "{number}.png", "map": "map{number}.png", "text": "picture {number}"}}')
    (tmp_path / "metadata.jsonl").write_text("\n".join(rows))
    table = mz.data.Table(str(tmp_path), layout="map", caption="text", size=8, held_out_share=0.3)
    data = mz.data.Buckets(table, side=32, step=8)
    for number, size in enumerate(data.brought_to):
        some = np.flatnonzero(data.buckets == number)[:3]
        if len(some):
            told = data.condition(some)
            assert told["layout"].shape == (len(some), *size)
            assert torch.equal(told["layout"], data[some][1]["layout"])
    with pytest.raises(mz.Refusal, match="'layout' lies on the picture"):
        data.condition(np.arange(6))
    free = mz.data.Buckets(mz.data.Table(str(tmp_path), caption="text", size=8), side=32, step=8)
    assert free.texts([0, 1, 2, 3]) == free.source.texts([0, 1, 2, 3])
    assert data.texts([5, 0, 1]) == data.source.texts([5, 0, 1])
    assert data.examples["layout"].shape[1:] == data.shape[1:]  # what pictures of the model's own size are drawn for
    model = mz.recipes.usual(data, images=256, width=8).model
    assert model.network.maps == 16 and model.shape == data.shape
