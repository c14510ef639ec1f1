"""Sets of codes: what autoencoders say, kept and named; and what does not belong together is refused."""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import mezzotint as mz
from mezzotint import testing
from mezzotint.autoencoders import KL, VQ, Encoded
from mezzotint.autoencoders.frozen import digest, pieces
from mezzotint.core import Refusal
from mezzotint.core.condition import NONE, Condition
from mezzotint.core.spec import build, spec
from mezzotint.core.store import MODEL, data_set, load_model, save_model
from mezzotint.data import Buckets, Digits, Folder, Scenes, Shaded
from mezzotint.denoiser import Preconditioned, Tokens
from mezzotint.networks import TokenTransformer, UNet
from mezzotint.processes import EDM, Absorbing
from mezzotint.samplers import Ancestral, Heun, Sampling, Uniform

DIGITS = Digits()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two autoencoders of digits with random weights, which make codes as well as learnt ones do."""
    path = tmp_path_factory.mktemp("codes")
    torch.manual_seed(0)
    save_model(path / "vq", VQ((1, 8, 8), vocab=12, width=8, down=1, code=4))
    save_model(path / "kl", KL((1, 8, 8), width=8, down=1, code=3))
    return path


def of(home: Path, kind: str, **more: Any) -> Encoded:
    return Encoded.of(DIGITS, home / kind, **more)


@pytest.mark.parametrize("kind", ["vq", "kl"])
def test_codes_are_what_the_autoencoder_says_kept_anywhere(home: Path, kind: str, tmp_path: Path) -> None:
    data, model = of(home, kind), load_model(home / kind)
    x = DIGITS[:][0]
    with torch.no_grad():
        z = model.encode(x).mean
    assert data.shape == model.latent == z.shape[1:] and data.vocab == model.vocab
    assert (data.vocab, data.shape) == ((12, (4, 4)) if kind == "vq" else (None, (3, 4, 4)))
    every = data[:][0]
    assert every.dtype == z.dtype and len(every) == len(DIGITS) == 1437
    assert torch.equal(every, z) if kind == "vq" else torch.allclose(every, z, atol=1e-5)
    rows = np.array([1400, 3, 77])
    kept = of(home, kind, cache=str(tmp_path / "cache"))
    assert torch.equal(of(home, kind)[rows][0], every[rows])  # to the bit, whatever was asked beside them
    assert kept.missing == 1437 and torch.equal(kept[rows][0], every[rows]) and kept.missing == 0
    assert (data.mean, data.std) == pytest.approx((float(z.double().mean()), float(z.double().std(correction=0))))
    assert data.held_out().std == data.std and data.held_out()[:][0].shape == (360, *data.shape)
    assert torch.equal(data.coded(x[:5]), every[:5]) or kind == "kl"
    with torch.no_grad():
        assert torch.allclose(data.drawn(every[:5]), model.decode(every[:5]).clamp(-1, 1), atol=1e-5)
    testing.check_data(kept)
    assert torch.equal(pickle.loads(pickle.dumps(kept))[rows][0], every[rows])


def test_a_cache_is_read_and_nothing_encoded_again(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = str(tmp_path / "cache")
    first = of(home, "vq", cache=cache).build()[:][0]
    again, other = of(home, "vq", cache=cache), of(home, "kl", cache=cache)
    monkeypatch.setattr(VQ, "encode", lambda *_: pytest.fail("encoded again"))
    assert torch.equal(again[:][0], first)
    assert (
        other[:1][0].shape == (1, 3, 4, 4) and len(list((tmp_path / "cache").iterdir())) == 2
    )  # of another autoencoder
    damaged = next(path for path in (tmp_path / "cache").rglob("pictures.npy") if path.stat().st_size < 30_000)
    damaged.write_bytes(damaged.read_bytes()[:-3] + b"abc")
    monkeypatch.undo()
    with pytest.warns(UserWarning, match="damaged"):
        assert torch.equal(of(home, "vq", cache=cache)[:][0], first)


def test_a_draw_of_a_code_is_from_its_law_and_always_the_same(home: Path) -> None:
    model, x = load_model(home / "kl"), DIGITS[:][0]
    with torch.no_grad():
        law = model.encode(x)
    drawn = of(home, "kl", draw=3)[:][0]
    noise = (drawn - law.mean) / law.variance.sqrt()
    count = noise.numel()
    assert abs(float(noise.mean())) < 5 / count**0.5 and abs(float(noise.std()) - 1) < 5 / (2 * count) ** 0.5
    assert len(noise.flatten().unique()) > 0.99 * count  # no two pictures share theirs
    assert torch.equal(of(home, "kl", draw=3)[[9, 2]][0], drawn[[9, 2]])
    assert not torch.equal(of(home, "kl", draw=4)[:3][0], drawn[:3])
    assert of(home, "kl", draw=3).mark != of(home, "kl").mark
    with pytest.raises(Refusal, match="these are symbols, which have no law; leave it out"):
        of(home, "vq", draw=3)


def test_the_constructor_opens_nothing(tmp_path: Path) -> None:
    data = Encoded(Digits(), str(tmp_path / "later"), (4, 4), 12)
    assert build(spec(data)) == data and data.shape == (4, 4) and data.vocab == 12 and len(data) == 1437
    assert data.labels is not None and data.classes == DIGITS.classes and data.held_out().split == "held_out"
    with pytest.raises(Refusal, match="there is no autoencoder .*later.*train it first"):
        data[:1]
    save_model(tmp_path / "later", VQ((1, 8, 8), vocab=12, width=8, down=1, code=4))
    assert data[:1][0].shape == (1, 4, 4)


def test_what_is_told_is_the_sources(home: Path, tmp_path: Path) -> None:
    data = of(home, "vq")
    assert torch.equal(data[[4, 2]][1]["label"], DIGITS[[4, 2]][1]["label"])
    scenes = Scenes(size=16, objects=(1, 1), pictures=64, tells=("caption", "layout"))
    save_model(tmp_path / "vq", VQ(scenes.shape, vocab=8, width=8, down=2, code=4))
    coded = Encoded.of(scenes, tmp_path / "vq")
    x, cond = coded[:3]
    assert x.shape == (3, 4, 4) and cond["layout"].shape == (3, 16, 16)
    assert torch.equal(cond["layout"], scenes[:3][1]["layout"]) and coded.texts(range(3)) == scenes.texts(range(3))


def _other(home: Path, tmp_path: Path) -> Path:
    torch.manual_seed(1)
    return save_model(tmp_path / "other", VQ((1, 8, 8), vocab=12, width=8, down=1, code=4))


def test_what_does_not_belong_together_is_refused(home: Path, tmp_path: Path) -> None:
    good = of(home, "vq")
    other = _other(home, tmp_path)
    cases: list[tuple[Callable[[], Any], str]] = [
        (lambda: dataclasses.replace(good, folder=str(other))[:1], "is another, and its codes mean something else"),
        (lambda: dataclasses.replace(good, vocab=16)[:1], r"makes 12 symbols of the shape \(4, 4\), not 16 symbols"),
        (lambda: dataclasses.replace(good, latent=(2, 8)).drawn(torch.zeros(1, 2, 8).long()), "not 12 symbols of"),
        (
            lambda: Encoded.of(Scenes(size=16), home / "vq"),
            r"takes samples of the shape \(1, 8, 8\), and those of data.Sc",
        ),
        (lambda: Encoded.of(Shaded(DIGITS, 4), home / "vq"), "codes are made of real samples"),
        (
            lambda: Encoded.of(Buckets(Folder(_pictures(tmp_path), size=8, channels=1), side=8, step=4), home / "vq"),
            "several sizes",
        ),
        (lambda: Encoded.of(DIGITS, tmp_path / "nowhere"), "there is no autoencoder"),
        (lambda: Encoded(DIGITS, "x", (4, 0), 12), "latent is the shape of a code"),
        (lambda: Encoded(DIGITS, "x", (4, 4), 1), "vocab is a number of symbols from 2 on"),
        (lambda: Encoded(DIGITS, "x", (4, 4), 12, "abc"), "64 hexadecimal digits"),
        (lambda: good.drawn(torch.full((1, 4, 4), 12)), "are 0 to 11, and these reach"),
        (lambda: good.drawn(torch.zeros(1, 3, 4).long()), r"have the shape \(4, 4\)"),
        (lambda: good.drawn(torch.zeros(1, 4, 4)), "12 symbols"),
        (lambda: good.coded(torch.zeros(1, 3, 8, 8)), r"takes samples of the shape \(1, 8, 8\)"),
    ]
    for call, why in cases:
        with pytest.raises(Refusal, match=why):
            call()
    save_model(tmp_path / "unet", Preconditioned(UNet((1, 8, 8), width=8, multipliers=(1,)), EDM()))
    with pytest.raises(Refusal, match="which is no autoencoder"):
        Encoded.of(DIGITS, tmp_path / "unet")


def _pictures(path: Path) -> str:
    from PIL import Image

    for number in range(12):
        (path / "pictures").mkdir(exist_ok=True)
        shade = np.full((8, 8 + 8 * (number % 2)), 20 * number, dtype=np.uint8)
        Image.fromarray(shade).save(path / "pictures" / f"{number}.png")
    return str(path / "pictures")


def test_the_hash_is_of_weights_and_model_and_not_of_the_place(home: Path, tmp_path: Path) -> None:
    import shutil

    moved = shutil.copytree(home / "vq", tmp_path / "moved")
    assert digest(str(moved)) == digest(str(home / "vq")) != digest(str(_other(home, tmp_path)))
    assert Encoded.of(DIGITS, moved).mark == of(home, "vq").mark != of(home, "kl").mark


def test_a_strangers_files_build_no_set_and_no_weights_where_none_belong(home: Path) -> None:
    with pytest.raises(Refusal, match="'data', which has no place here"):
        build({"part": "guidance.Without", "denoiser": spec(of(home, "vq"))}, MODEL)
    data = spec(of(home, "vq"))
    assert data_set(data) == of(home, "vq")
    with pytest.raises(Refusal, match="has weights, and no data set is made of such"):
        data_set({**data, "source": {"part": "autoencoders.VQ", "shape": [1, 8, 8], "width": 10**9}})
    with pytest.raises(Refusal, match="no place here"):
        data_set({**data, "source": {"part": "networks.UNet", "shape": [1, 8, 8]}})


@pytest.mark.parametrize("kind", ["vq", "kl"])
def test_a_pipeline_decodes_what_it_draws(home: Path, kind: str) -> None:
    """The end of a run by hand, decoded by hand, is what the pipeline hands out."""
    data, model = of(home, kind), load_model(home / kind)
    torch.manual_seed(2)
    denoiser: Any
    if kind == "vq":
        network = TokenTransformer(13, 12, (4, 4), width=16, depth=1, heads=2)
        denoiser, sampler = Tokens(network, Absorbing(12)), Ancestral(4, grid=Uniform())
    else:
        denoiser = Preconditioned(UNet((3, 4, 4), width=8, multipliers=(1,)), EDM(), sigma_data=data.std)
        sampler = Heun(4)
    denoiser.eval().requires_grad_(False)
    rng = mz.Rng(range(3))
    z = sampler(denoiser, rng=rng)
    plain = model.decode(z)
    for decode in (model.decode, data.decode):
        made = Sampling(sampler, denoiser, decode=decode)(NONE, rng)
        assert made.shape == (3, 1, 8, 8) and torch.allclose(
            made, plain.clamp(-1, 1) if decode != model.decode else plain
        )
    testing.check_pipeline(Sampling(sampler, denoiser, decode=data.decode), Condition())


def test_pieces_are_asked_for_in_one_size() -> None:
    seen: list[int] = []

    def ask(some: Tensor, rows: slice) -> Tensor:
        seen.append(len(some))
        return 2 * some

    x = torch.arange(10.0)[:, None]
    assert torch.equal(pieces(ask, x, 4), 2 * x) and seen == [4, 4, 4]
