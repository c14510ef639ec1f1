"""Sets of symbols: chains against their exact law, shades against the pictures, texts against their files."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch

import mezzotint as mz
from mezzotint.core import Refusal
from mezzotint.data import Bucket, Buckets, Cached, Chain, Data, Digits, Flipped, Folder, Shaded, TextFile
from mezzotint.testing import check_data

PROSE = "Der Kupferstecher schabt die Platte, bis sie glänzt; aus Schwarz wird Licht.\n" * 40


@pytest.fixture
def prose(tmp_path: Path) -> Path:
    file = tmp_path / "prose.txt"
    file.write_text(PROSE, encoding="utf-8")
    return file


def law(chain: Chain) -> torch.Tensor:
    """The probability of every sequence by multiplying it out, (V ** L,), last symbol fastest."""
    start, step = chain.start.tolist(), chain.step.tolist()
    found = []
    for x in itertools.product(range(chain.vocab), repeat=chain.length):
        found.append(start[x[0]] * math.prod(step[a][b] for a, b in itertools.pairwise(x)))
    return torch.tensor(found, dtype=torch.float64)


@pytest.mark.parametrize("sharpness", [0.0, 1.0, 4.0])
def test_entropy_of_a_chain_is_that_of_all_its_sequences(sharpness: float) -> None:
    chain = Chain(vocab=3, length=5, seed=7, sharpness=sharpness)
    probs = law(chain)
    assert abs(float(probs.sum()) - 1) < 1e-12
    assert abs(chain.entropy - float(-(probs * probs.log()).sum()) / 5) < 1e-12
    if sharpness == 0:
        assert abs(chain.entropy - math.log(3)) < 1e-12


def test_draws_of_a_chain_follow_its_law() -> None:
    """Every sequence of a small chain as often as it is likely: none beyond 4.5 standard errors, chi squared as usual.

    4.5 because 81 sequences of two splits are looked at; one of them beyond 4 would come once in 100 seeds.
    """
    for split in ("train", "held_out"):
        chain = Chain(vocab=3, length=4, size=40_000, held_out_size=40_000, seed=3, sharpness=1.0, split=split)
        probs, x = law(chain), chain[:][0]
        count = torch.bincount((x * 3 ** torch.arange(3, -1, -1)).sum(1), minlength=81).double()
        error = (count - len(x) * probs) / (len(x) * probs * (1 - probs)).sqrt()
        assert error.abs().max() < 4.5
        chi = float(((count - len(x) * probs) ** 2 / (len(x) * probs)).sum())
        assert abs(chi - 80) < 4 * math.sqrt(2 * 80)


def test_splits_of_a_chain_share_no_draw_and_are_independent() -> None:
    chain = Chain(vocab=4, length=40, size=3_000, held_out_size=3_000, sharpness=0.5)
    train, held = chain[:][0], chain.held_out()[:][0]
    assert not {tuple(row) for row in train.tolist()} & {tuple(row) for row in held.tolist()}
    whole = chain.sibling("all")
    assert torch.equal(whole[:][0], torch.cat([train, held]))
    same = (train == held).double()  # item k of one split and of the other
    start, steps = chain.start, chain.step
    marginal = torch.stack([start @ torch.linalg.matrix_power(steps, place) for place in range(40)])
    chance = marginal.square().sum(1)
    # Places of one row hang together, but rows do not: the error of a column is that of independent trials.
    assert ((same.mean(0) - chance) / (chance * (1 - chance) / 3_000).sqrt()).abs().max() < 4.5
    # Neighbouring items of one split are as independent as those.
    beside = (train[:-1] == train[1:]).double()
    assert ((beside.mean(0) - chance) / (chance * (1 - chance) / 2_999).sqrt()).abs().max() < 4.5
    assert not torch.equal(Chain(seed=1)[:50][0], Chain(seed=2)[:50][0])


def test_items_of_a_chain_are_the_same_for_good() -> None:
    """As written down when it was made: another machine, thread count or release must draw the same."""
    chain = Chain(vocab=5, length=12, seed=11)
    assert chain.spelt(chain[[0, 9_999]][0]) == CHAIN
    assert chain.held_out().spelt(chain.held_out()[0][0]) == CHAIN_HELD
    assert Chain(vocab=30, length=3).spelt(torch.tensor([[0, 29, 7]])) == ["0 29 7"]
    assert chain.drawn(chain[0][0]) is None


CHAIN = ["aaecbecbdbde", "abebbdbdbbdd"]
CHAIN_HELD = ["acbecbecbecb"]


@pytest.mark.parametrize("shades", [2, 8, 17, 256])
def test_shades_are_the_nearest_ones(shades: int) -> None:
    data, digits = Shaded(Digits(), shades), Digits()
    x, cond = data[:]
    pixels = digits[:][0][:, 0].double()
    levels = torch.linspace(-1, 1, shades, dtype=torch.float64)
    away = (pixels[..., None] - levels).abs()
    # The nearest by trying all; where two are as near, rounding decides in neither, so only the distance is compared.
    assert torch.allclose(away.gather(-1, x[..., None])[..., 0], away.amin(-1), atol=1e-7)
    back = data.drawn(x)
    assert back.shape == (len(data), 1, 8, 8) and back.dtype == torch.float32
    assert float((back[:, 0] - pixels).abs().max()) <= 1 / (shades - 1) + 1e-6
    assert torch.equal(data.coded(back), x) and torch.equal(data.coded(digits[:7][0]), x[:7])
    if shades == 17:  # the digits have so many
        assert torch.equal(back, digits[:][0])
    assert cond["label"].tolist() == digits.labels.tolist() and data.classes == digits.classes
    assert torch.equal(data.held_out()[5][0], Shaded(digits.held_out(), shades)[5][0])
    assert abs(data.std - float(x.double().std(correction=0))) < 1e-9


def test_256_shades_lose_nothing_of_bytes() -> None:
    rng = np.random.default_rng(0)
    x = mz.data.data.unit(rng.integers(0, 256, (4, 9, 7, 1), dtype=np.uint8))

    class Given(Digits):
        shape = (1, 9, 7)

        def read(self, rows: np.ndarray) -> torch.Tensor:
            return x[rows]

    assert torch.equal((data := Shaded(Given(), 256)).drawn(data.read(np.arange(4))), x)


def test_shades_of_pictures_around_and_inside_other_sets(tmp_path: Path) -> None:
    from PIL import Image

    (tmp_path / "pictures").mkdir()
    for number in range(40):
        wide = Image.linear_gradient("L").resize((20 + 8 * (number % 2), 16)).rotate(number)
        wide.save(tmp_path / "pictures" / f"{number}.png")
    grey = Folder(str(tmp_path / "pictures"), size=(8, 12), channels=1)
    shaded = Shaded(grey, 4)
    assert shaded.shape == (8, 12) and shaded[:3][0].shape == (3, 8, 12) and len(shaded) == len(grey)
    check_data(shaded)
    assert mz.build(mz.spec(shaded)) == shaded and shaded.mark != grey.mark
    assert Shaded(grey, 5).mark != shaded.mark
    flipped = Flipped(shaded, harmless=("label",))
    mirrored = flipped.drawn(flipped[len(grey)][0])
    assert mirrored is not None and flipped.vocab == 4
    assert torch.equal(mirrored, shaded.drawn(shaded[0][0]).flip(-1))
    assert torch.equal(flipped.coded(mirrored), shaded[0][0].flip(-1))  # as the source does
    kept = Shaded(Cached(grey, str(tmp_path / "cache")), 4)
    assert torch.equal(kept[:][0], shaded[:][0])
    many = Shaded(Buckets(grey, chosen=((8, 8), (4, 12))), 4)
    buckets = many.buckets
    assert many.shapes == ((4, 12), (8, 8)) and buckets is not None
    first = np.flatnonzero(buckets == buckets[0])
    one = Bucket(many, many.shapes[buckets[0]])
    assert one[:][0].dtype == torch.int64 and torch.equal(one[:][0], many[first][0])


def test_a_text_of_ones_own_is_read_as_a_corpus_is(prose: Path, tmp_path: Path) -> None:
    data = TextFile(str(prose), length=50)
    raw = PROSE.encode()
    assert data.vocab == len(set(raw)) and data.alphabet == bytes(sorted(set(raw)))
    train = raw[: len(raw) * 9 // 10]
    assert len(data) == len(train) // 50
    assert data.spelt(data[:][0]) == [
        train[50 * k : 50 * k + 50].decode(errors="replace") for k in range(len(train) // 50)
    ]
    rest = raw[len(train) :]
    assert data.held_out().spelt(data.held_out()[0][0]) == [rest[:50].decode(errors="replace")]
    assert data.spelt(data.numbered("glänzt")[None]) == ["glänzt"]
    check_data(data)
    assert mz.build(mz.spec(data)) == data
    moved = tmp_path / "elsewhere.txt"
    moved.write_bytes(raw)
    assert TextFile(str(moved), length=50).mark == data.mark
    moved.write_bytes(raw.replace(b"Licht", b"Nacht"))
    assert TextFile(str(moved), length=50).mark != data.mark
    bytewise = TextFile(str(prose), length=50, symbols="bytes")
    assert bytewise.vocab == 256 and bytewise[:][0].tolist()[0] == list(raw[:50])
    with pytest.raises(Refusal, match="'Q' is not among the"):
        data.numbered("Quer")


def test_pictures_are_drawn_as_they_are_and_points_are_not() -> None:
    digits, points = Digits(), mz.data.Fractal(size=10, held_out_size=5)
    x = digits[:2][0]
    assert digits.vocab is None and digits.spelt(x) is None and digits.drawn(x) is x
    assert points.vocab is None and points.spelt(points[0][0]) is None and points.drawn(points[0][0]) is None
    assert digits.coded(x) is x and points.coded(x) is None and Chain().coded(x) is None


@pytest.mark.parametrize("data", [Chain(), Chain(vocab=2, length=70, sharpness=0.0), Shaded(Digits(), 5)])
def test_contract(data: Data) -> None:
    check_data(data)
    assert mz.build(mz.spec(data)) == data
    assert data.mark == mz.build(mz.spec(data)).mark


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Chain(vocab=1), "from 2 on"),
        (lambda: Chain(vocab=5_000), "at most 4096"),
        (lambda: Chain(length=0), "from 1 on"),
        (lambda: Chain(sharpness=-1.0), "from 0 to 100"),
        (lambda: Chain(sharpness=math.nan), "from 0 to 100"),
        (lambda: Chain(size=0), "a sequence at least"),
        (lambda: Chain(split="test"), "no split"),
        (lambda: Shaded(Digits(), 1), "2 to 65536 shades"),
        (lambda: Shaded(Digits(), True), "2 to 65536 shades"),
        (lambda: Shaded(mz.data.Scenes(size=16)), "3 channels: read them with one"),
        (lambda: Shaded(Chain()), "shades are made of pictures"),
        (lambda: Shaded(Shaded(Digits())), "shades are made of pictures"),
        (lambda: Shaded("digits"), "is a data set"),  # type: ignore[arg-type]
        (lambda: Cached(Shaded(Digits()), "cache"), "cache what they are made of"),
        (lambda: TextFile("absent.txt")[0], "there is no file of text"),
        (lambda: TextFile("absent.txt", symbols="words"), "'own' or 'bytes'"),
        (lambda: TextFile("absent.txt", length=0), "from 1 on"),
    ],
)
def test_refusals(make, says: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(Refusal, match=says):
        make()


def test_files_that_are_no_text_are_refused(tmp_path: Path) -> None:
    for name, raw, says in (
        ("latin.txt", "ein großes Ärgernis".encode("latin-1"), "no UTF-8 text: byte 7"),
        ("empty.txt", b"", "is empty"),
        ("short.txt", b"too short", "choose a shorter length"),
    ):
        (tmp_path / name).write_bytes(raw)
        with pytest.raises(Refusal, match=says):
            TextFile(str(tmp_path / name), length=64)[0]
