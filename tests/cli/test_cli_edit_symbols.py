"""Editing with models of symbols: what a mask keeps, what both ends of it mean, where runs start, what lies beyond."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

import mezzotint as mz
from mezzotint.autoencoders import VQ, Encoded
from mezzotint.cli.canvas import Canvas, Margins
from mezzotint.cli.cells import Cells
from mezzotint.cli.symbols import completing
from mezzotint.conditions import Classes, Encoder
from mezzotint.core.store import save_model
from mezzotint.data import Digits, Shaded
from mezzotint.denoiser import Autoregressive, Chain, Chunked, EnumeratedChain, Markov, Tokens
from mezzotint.networks import Causal, EncoderDecoder, TokenTransformer
from mezzotint.processes import Absorbing, Multinomial
from mezzotint.samplers import Ancestral, AnyOrder, Reference, Sampling, Uniform
from mezzotint.samplers import Chain as Walk
from mezzotint.training.pictures import pixels, read_settings

Command = Callable[..., Any]
Bytes = NDArray[np.uint8]
SHADES, SHAPE = 5, (8, 8)
ROWS = 4  # of a piece: an untrained network is asked no more than it must be
DATA = Shaded(Digits(), SHADES)


def look(path: Path) -> Bytes:
    with Image.open(path) as image:
        return np.asarray(image)


def save(path: Path, values: Bytes) -> Path:
    Image.fromarray(values).save(path)
    return path


def drawn(path: Path) -> Bytes:
    """The pictures of an .npz, (N, H, W)."""
    found: Bytes = np.load(path)["images"][..., 0]
    return found


def stirred(model: Any) -> Any:
    """Weights that say something: networks begin with an answer of zeros."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def models() -> dict[str, tuple[Any, Any]]:
    """A model of each kind, with its sampler; no test asks what they learnt."""
    small: dict[str, Any] = {"width": 16, "heads": 2}
    told = {**small, "vector": 16}
    label = Encoder(label=Classes(10, 16))
    label["label"].null_trained.fill_(True)  # as lessons do in which rows were left out
    masked = TokenTransformer(SHADES + 1, SHADES, SHAPE, depth=1, **told)
    redrawn = TokenTransformer(SHADES, SHADES, SHAPE, depth=1, level=True, **small)
    first = Causal(SHADES, SHAPE, depth=1, **told)
    others = [EncoderDecoder(SHADES, SHAPE, depth=(1, 1), **told) for _ in range(2)]
    steps = Ancestral(4, grid=Uniform())
    return {
        "masked": (Tokens(masked, Absorbing(SHADES), label), steps),
        "redrawn": (Tokens(redrawn, Multinomial(SHADES)), steps),
        "chain": (Chain((first, *others), Multinomial(SHADES), label), Walk(3)),
        "raster": (Autoregressive(Causal(SHADES, SHAPE, depth=1, **small), Absorbing(SHADES)), Ancestral(1)),
        "stage": (Chain((Causal(SHADES, SHAPE, depth=1, **small),), Multinomial(SHADES)), Walk(1)),
    }


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Model folders, a digit that is no training picture, and masks."""
    path = tmp_path_factory.mktemp("symbols")
    for name, (model, sampler) in models().items():
        save_model(path / name, stirred(model), sampler=sampler, data=DATA, classes=list("0123456789"))
    digits = Digits(split="held_out")
    save(path / "three.png", pixels(digits[[109]][0])[0, ..., 0])
    top = np.zeros((8, 8), np.uint8)
    top[:3, 2:] = 255
    for name, values in (("top", top), ("black", 0 * top), ("white", 0 * top + 255), ("large", np.eye(9) * 255)):
        save(path / f"{name}.png", np.asarray(values, np.uint8))
    return path


def ask(command: Command, verb: str, *words: object) -> Any:
    return command(verb, *words, "--rows", ROWS)


def shown(home: Path) -> Bytes:
    """The digit as its symbols show it, (H, W)."""
    x = torch.from_numpy(look(home / "three.png").astype(np.float32) / 127.5 - 1)[None, None]
    shades = ((x.double() + 1) * 2 + 0.5).floor()  # 0 to 4
    return pixels((shades / 2 - 1).float())[0, ..., 0]


KINDS = ("masked", "redrawn", "chain", "raster")


@pytest.mark.parametrize("kind", KINDS)
def test_both_ends_of_a_mask(command: Command, home: Path, tmp_path: Path, kind: str) -> None:
    """Black all over is the reconstruction; white all over is what sample draws, seed by seed."""
    picture, words = (home / kind, home / "three.png"), ("--seeds", "0-3", "--npz", tmp_path / "a.npz", "--overwrite")
    said = ask(command, "edit", *picture, "--mask", home / "black.png", *words)
    assert said.code == 0 and "comes back as its symbols show it" in said.err, said
    assert np.array_equal(drawn(tmp_path / "a.npz"), np.broadcast_to(shown(home), (4, 8, 8)))
    told = ("--label", "3") if kind in ("masked", "chain") else ()
    said = ask(command, "edit", *picture, "--mask", home / "white.png", *told, *words)
    assert said.code == 0 and "nothing of the picture is seen" in said.err, said
    assert ask(command, "sample", home / kind, *told, "--seeds", "0-3", "--npz", tmp_path / "b.npz").code == 0
    assert np.array_equal(drawn(tmp_path / "a.npz"), drawn(tmp_path / "b.npz"))


@pytest.mark.parametrize(("kind", "dilate"), [("masked", None), ("redrawn", None), ("raster", None), ("chain", 1)])
def test_what_a_mask_keeps_is_kept(command: Command, home: Path, tmp_path: Path, kind: str, dilate: int | None) -> None:
    grown = () if dilate is None else ("--dilate", dilate)
    words = ("--mask", home / "top.png", *grown, "--seeds", "0-5", "--npz", tmp_path / "a.npz")
    said = ask(command, "edit", home / kind, home / "three.png", *words, "--json")
    assert said.code == 0, said
    redo = look(home / "top.png") == 255
    if dilate:
        redo = np.zeros((8, 8), bool)
        redo[:4, 1:] = True
    made, was = drawn(tmp_path / "a.npz"), shown(home)
    assert np.array_equal(made[:, ~redo], np.broadcast_to(was[~redo], made[:, ~redo].shape))
    assert (made[:, redo] != was[redo]).mean() > 0.3 and len({one.tobytes() for one in made}) > 2
    assert set(np.unique(made)) <= {0, 64, 128, 191, 255}
    assert said.json["settings"]["edit"]["dilate"] == (dilate or 0)


@pytest.mark.parametrize(("kind", "ordered"), [("masked", False), ("chain", False), ("raster", True), ("stage", True)])
def test_a_model_that_cannot_look_ahead_says_so(
    command: Command, home: Path, tmp_path: Path, kind: str, ordered: bool
) -> None:
    """Also a chain of one stage, which is what ``--model raster`` trains."""
    words = ("--mask", home / "top.png", "--seeds", "0", "--npz", tmp_path / "a.npz")
    said = ask(command, "edit", home / kind, home / "three.png", *words)
    assert said.code == 0 and ("symbols in their order" in said.err) == ordered, said


@pytest.mark.parametrize("kind", KINDS)
def test_the_new_part_looks_at_the_kept_one(command: Command, home: Path, tmp_path: Path, kind: str) -> None:
    """Kept symbols stand before the model: another kept half, another new one under the same seeds."""
    bottom = np.zeros((8, 8), np.uint8)
    bottom[4:] = 255
    mask, halves = save(tmp_path / "mask.png", bottom), []
    for shade in (0, 255):
        image = save(tmp_path / "image.png", np.full((8, 8), shade, np.uint8))
        out = tmp_path / f"{shade}.npz"
        assert ask(command, "edit", home / kind, image, "--mask", mask, "--resample", 1, "--npz", out).code == 0
        halves.append(drawn(out)[:, 4:])
    assert not np.array_equal(halves[0], halves[1])


def test_pasted_pixels_are_the_pictures_own(command: Command, home: Path, tmp_path: Path) -> None:
    out, redo = tmp_path / "a.npz", look(home / "top.png") == 255
    words = ("--mask", home / "top.png", "--paste", "--out", tmp_path / "a.png", "--npz", out)
    assert ask(command, "edit", home / "chain", home / "three.png", *words).code == 0
    made, was = drawn(out), look(home / "three.png")
    assert np.array_equal(made[:, ~redo], np.broadcast_to(was[~redo], made[:, ~redo].shape))
    assert not np.array_equal(was, shown(home))
    assert command("edit", "--like", tmp_path / "a.png", "--npz", tmp_path / "b.npz").code == 0
    assert np.array_equal(drawn(tmp_path / "b.npz"), made)


def test_a_start_from_any_stage(command: Command, home: Path, tmp_path: Path) -> None:
    """The level of a stage: what the process leaves of the picture there, and the rest of the stages from there on."""
    out = tmp_path / "a.npz"
    words = ("--strength", 0.6, "--seeds", "0-5", "--npz", out)
    said = ask(command, "edit", home / "chain", home / "three.png", *words)
    assert said.code == 0 and "--strength 0.6 begins at 0.667: stage 2 of 3" in said.err, said
    model = mz.load(home / "chain")
    z = DATA.coded(torch.from_numpy(look(home / "three.png").astype(np.float32) / 127.5 - 1)[None, None])
    rng, cond = mz.Rng(range(6)), mz.Condition(reference=z.expand(6, 8, 8))
    x = Sampling(Walk(), Chunked(model, ROWS), start=Reference(model.process, float(model.times[1])))(cond, rng)
    assert np.array_equal(pixels(DATA.drawn(x))[..., 0], drawn(out))
    redo = look(home / "top.png") == 255
    both = ("--strength", 0.3, "--mask", home / "top.png", "--seeds", "0-3", "--npz", tmp_path / "b.npz")
    assert ask(command, "edit", home / "chain", home / "three.png", *both).code == 0
    made = drawn(tmp_path / "b.npz")
    assert np.array_equal(made[:, ~redo], np.broadcast_to(shown(home)[~redo], made[:, ~redo].shape))
    for strength in (0.1, 0.5):  # a level is the share that is lost; what is drawn anew may be what it was
        out = tmp_path / f"{strength}.npz"
        noised = ("--strength", strength, "--seeds", "0-15", "--npz", out)
        assert ask(command, "edit", home / "masked", home / "three.png", *noised).code == 0
        assert 0.5 * strength < (drawn(out) != shown(home)).mean() < strength + 0.03
    said = ask(command, "edit", home / "raster", home / "three.png", "--npz", tmp_path / "c.npz")
    assert "draws whole samples at once" in said.err
    assert ask(command, "sample", home / "raster", "--npz", tmp_path / "d.npz").code == 0
    assert np.array_equal(drawn(tmp_path / "c.npz"), drawn(tmp_path / "d.npz"))


def test_stages_and_intervals_again(command: Command, home: Path, tmp_path: Path) -> None:
    for kind, entry in (("chain", "repeats"), ("masked", "grid"), ("redrawn", "grid")):
        out, words = tmp_path / f"{kind}.png", ("--mask", home / "top.png", "--seeds", "0-1")
        assert ask(command, "edit", home / kind, home / "three.png", *words, "--resample", 3, "--out", out).code == 0
        found = read_settings(out)["sampler"][entry]
        assert found == 3 if entry == "repeats" else (found["part"], found["times"]) == ("samplers.RePaint", 3)
        said = ask(
            command, "edit", home / kind, home / "three.png", *words, "--json", "--out", tmp_path / f"{kind}1.png"
        )
        usual = said.json["settings"]["sampler"][entry]
        if kind == "redrawn":  # which hears of what is kept little by little
            assert usual["times"] == 8
        else:
            assert usual == 1 if entry == "repeats" else usual["part"] == "samplers.Uniform"
    last = ("--mask", home / "top.png", "--resample", 2)
    assert "draws whole samples at once" in ask(command, "edit", home / "raster", home / "three.png", *last).sentence


@pytest.mark.parametrize("kind", ["masked", "chain"])
def test_a_class_that_is_asked_for(command: Command, home: Path, tmp_path: Path, kind: str) -> None:
    """Guided under the mask: the known part outside of the guidance, as the same parts in Python make it."""
    out = tmp_path / "a.npz"
    words = ("--mask", home / "top.png", "--label", "3,8", "--guidance", 2, "--seeds", "0-2", "--npz", out)
    assert ask(command, "edit", home / kind, home / "three.png", *words).code == 0
    model, redo = mz.load(home / kind), torch.from_numpy(look(home / "top.png") == 255)
    z = DATA.coded(torch.from_numpy(look(home / "three.png").astype(np.float32) / 127.5 - 1)[None, None])
    cond = mz.Condition(label=[3, 8] * 3)
    cond = cond | mz.Condition(**{"known.x": z.expand(6, 8, 8), "known.mask": ~redo.expand(6, 8, 8)})
    guided = mz.guidance.CFG(Chunked(model, ROWS), 2.0)
    run = completing(Sampling(Walk() if kind == "chain" else Ancestral(4, grid=Uniform()), guided))
    x = run(cond, mz.Rng([s for s in range(3) for _ in range(2)]))
    assert np.array_equal(pixels(DATA.drawn(x))[..., 0], drawn(out))


@pytest.mark.parametrize("kind", KINDS)
def test_beyond_the_edges(command: Command, home: Path, tmp_path: Path, kind: str) -> None:
    out, npz = tmp_path / "a.png", tmp_path / "a.npz"
    words = ("--extend", "right=4,top=3", "--seeds", "0-1", "--steps", 2, "--resample", 1)
    said = ask(command, "edit", home / kind, home / "three.png", *words[: 6 if kind != "raster" else 4], "--out", out)
    assert said.code == 0, said
    assert command("edit", "--like", out, "--npz", npz).code == 0
    made = drawn(npz)
    assert made.shape == (2, 11, 12) and np.array_equal(made[:, 3:, :8], np.broadcast_to(shown(home), (2, 8, 8)))
    assert len({one[:3].tobytes() for one in made}) == 2 and read_settings(out)["edit"]["extend"] == "0,3,4,0"
    again = tmp_path / "again.png"
    assert command("edit", "--like", out, "--out", again).code == 0
    assert np.array_equal(look(out), look(again))


def test_pictures_of_real_numbers_grow_too(command: Command, digits: Path, home: Path, tmp_path: Path) -> None:
    words = ("--extend", "4,0,4,0", "--seeds", "0-1", "--steps", 3, "--resample", 2, "--npz", tmp_path / "a.npz")
    assert command("edit", digits, home / "three.png", *words).code == 0
    made = drawn(tmp_path / "a.npz")
    assert made.shape == (2, 8, 16) and np.array_equal(made[0, :, 4:12], look(home / "three.png"))
    assert not np.array_equal(made[0, :, :4], made[1, :, :4])


@pytest.mark.parametrize(
    ("kind", "words", "sentence"),
    [
        ("chain", ("--mask", "large.png"), "9 x 9 pixels"),
        ("chain", ("--mask", "none.png"), "there is no picture"),
        ("chain", ("--strength", 0), "above 0 and up to 1"),
        ("chain", ("--dilate", 1), "it needs a --mask"),
        ("chain", ("--mask", "top.png", "--dilate", -1), "grows by 0"),
        ("chain", ("--paste",), "none is kept"),
        ("chain", ("--resample", 2), "needs a --mask"),
        ("chain", ("--extend", "3"), "four numbers of pixels"),
        ("chain", ("--extend", "up=3"), "four numbers of pixels"),
        ("chain", ("--extend", "0,0,0,0"), "adds nothing"),
        ("chain", ("--extend", "right=99999"), "windows"),
        ("chain", ("--extend", "right=3", "--strength", 0.5), "beyond its edges"),
        ("chain", ("--mask", "top.png", "--sampler", "ancestral", "--steps", 3), "use Chain"),
        ("redrawn", ("--label", 3), "knows no classes"),
        ("masked", ("--guidance", 2), "follow their label"),
        ("masked", ("--set", "data.shades=7"), "of 5 symbols, and its data have 7 symbols now"),
    ],
)
def test_refusals(
    command: Command, home: Path, monkeypatch: pytest.MonkeyPatch, kind: str, words: tuple[Any, ...], sentence: str
) -> None:
    monkeypatch.chdir(home)
    assert sentence in command("edit", kind, "three.png", *words, "--seeds", "0").sentence
    assert not (home / "edits.png").exists()


@pytest.fixture(scope="module")
def codes(home: Path) -> Path:
    """A chain of the codes of an autoencoder: 4 x 4 of them, each for 2 x 2 pixels."""
    vq = stirred(VQ((1, 8, 8), vocab=6, width=8, down=1, code=4))
    save_model(home / "vq", vq)
    small: dict[str, Any] = {"width": 16, "heads": 2}
    networks = (Causal(6, (4, 4), depth=1, **small), EncoderDecoder(6, (4, 4), depth=(1, 1), **small))
    model = stirred(Chain(networks, Multinomial(6)))
    save_model(home / "codes", model, sampler=Walk(2), data=Encoded.of(Digits(), home / "vq"))
    return home / "codes"


def test_codes_of_an_autoencoder(command: Command, home: Path, codes: Path, tmp_path: Path) -> None:
    """Nothing kept but what lies away from the mask by a code; the rest as the same parts in Python make it."""
    model, vq = mz.load(codes), mz.load(home / "vq")
    x = torch.from_numpy(look(home / "three.png").astype(np.float32) / 127.5 - 1)[None, None]
    z = vq.encode(x).value
    spot = np.zeros((8, 8), np.uint8)
    spot[7, 0] = 255  # in the code of the lower left corner
    mask, out = save(tmp_path / "spot.png", spot), tmp_path / "a.npz"
    for dilate in (0, 1, 2):
        keep = torch.ones(4, 4, dtype=torch.bool)
        keep[3 - dilate :, : dilate + 1] = False
        cond = mz.Condition(**{"known.x": z.expand(3, 4, 4), "known.mask": keep.expand(3, 4, 4)})
        codes_ = completing(Sampling(Walk(), Chunked(model, ROWS)))(cond, mz.Rng(range(3)))
        want = pixels(vq.decode(codes_).clamp(-1, 1))[..., 0].astype(int)
        words = ("--mask", mask, "--seeds", "0-2", "--npz", out, "--overwrite")
        grown = () if dilate == 1 else ("--dilate", dilate)  # by one, where nothing is said
        assert ask(command, "edit", codes, home / "three.png", *words, *grown).code == 0
        assert np.abs(drawn(out) - want).max() <= 1
        assert ask(command, "edit", codes, home / "three.png", *words, *grown, "--paste").code == 0
        kept = keep.repeat_interleave(2, 0).repeat_interleave(2, 1).numpy()
        assert (drawn(out)[:, kept] == look(home / "three.png")[kept]).all()
        assert np.abs(drawn(out) - want)[:, ~kept].max() <= 1
    black = ("--mask", home / "black.png", "--seeds", "0", "--npz", out, "--overwrite")
    assert ask(command, "edit", codes, home / "three.png", *black).code == 0
    back = pixels(vq.decode(z).clamp(-1, 1))[..., 0].astype(int)
    assert np.abs(drawn(out) - back).max() <= 1 and np.abs(back - look(home / "three.png")).max() > 20
    white = ("--mask", home / "white.png", "--npz", out, "--overwrite")
    assert ask(command, "edit", codes, home / "three.png", *white).code == 0
    assert ask(command, "sample", codes, "--npz", tmp_path / "b.npz").code == 0
    assert np.array_equal(drawn(out), drawn(tmp_path / "b.npz"))


def test_codes_beyond_the_edges(command: Command, home: Path, codes: Path, tmp_path: Path) -> None:
    words = ("--extend", "right=3", "--seeds", "0-2", "--paste", "--npz", tmp_path / "a.npz")
    said = ask(command, "edit", codes, home / "three.png", *words)
    assert said.code == 0 and "codes are added whole: 0 pixels on the left, 0 on top, 4 on the right" in said.err, said
    made = drawn(tmp_path / "a.npz")
    assert made.shape == (3, 8, 12) and (made[:, :, :8] == look(home / "three.png")).all()
    model, vq = mz.load(codes), mz.load(home / "vq")
    x = torch.from_numpy(look(home / "three.png").astype(np.float32) / 127.5 - 1)[None, None]
    here = torch.zeros(3, 4, 4, dtype=torch.int64)
    here[:, :, :2] = vq.encode(x).value[:, :, 2:]
    keep = (torch.arange(4) < 2).expand(3, 4, 4)
    cond = mz.Condition(**{"known.x": here, "known.mask": keep})
    z = completing(Sampling(Walk(), Chunked(model, ROWS)))(cond, mz.Rng(range(3)).at("window", 1))
    assert torch.equal(z[:, :, :2], here[:, :, :2])
    alone = pixels(vq.decode(z).clamp(-1, 1))[..., 0]  # the last four columns are this window's alone
    assert np.abs(made[:, :, 8:].astype(int) - alone[:, :, 4:]).max() <= 1


def test_autoencoders_that_are_others_or_gone(command: Command, home: Path, codes: Path, tmp_path: Path) -> None:
    words, out = ("edit", codes, home / "three.png", "--mask", home / "top.png"), ("--out", tmp_path / "a.png")
    kept = (home / "vq").rename(home / "away")
    assert "there is no autoencoder" in command(*words, *out).sentence
    moved = ("--set", f"data.folder={kept}", "--seeds", "0")
    assert ask(command, *words, *out, *moved).code == 0
    save_model(home / "vq", VQ((1, 8, 8), vocab=9, width=8, down=1, code=4))
    assert "SHA-256" in command(*words, *out, "--overwrite").sentence
    other = ("--set", "data.vocab=9", "data.sha256=null", "--overwrite")
    assert "of 6 symbols, and its data have 9 symbols now" in command(*words, *out, *other).sentence
    save_model(home / "vq", VQ((1, 8, 8), vocab=6, width=8, down=2, code=4))
    other = ("--set", "data.latent=[2,2]", "data.sha256=null", "--overwrite")
    assert "(2, 2)" in command(*words, *out, *other).sentence
    shutil.rmtree(home / "vq")
    kept.rename(home / "vq")


class Odd(Shaded):
    """Shades whose way back is another than theirs."""

    found: torch.Tensor | None = None

    def coded(self, x: torch.Tensor) -> torch.Tensor | None:  # type: ignore[override]
        return self.found


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        (torch.full((1, 8, 8), 5), "symbols from 5 to 5 of the picture, and the model knows 0 to 4"),
        (torch.full((1, 8, 8), -1), "symbols from -1 to -1"),
        (torch.zeros(1, 7, 7, dtype=torch.int64), r"shape \(7, 7\) of a picture, and the model draws \(8, 8\)"),
        (torch.zeros(1, 8, 8), "real numbers of a picture"),
        (None, "does not say which symbols"),
    ],
)
def test_codes_that_the_model_cannot_know(found: torch.Tensor | None, sentence: str) -> None:
    data = Odd(Digits(), SHADES)
    object.__setattr__(data, "found", found)
    with pytest.raises(mz.Refusal, match=sentence):
        Cells((1, 8, 8), SHAPE, data, SHADES).encode(torch.zeros(1, 8, 8))


@pytest.mark.parametrize(
    ("picture", "latent"), [((28, 20), (7, 5)), ((10, 9), (4, 4)), ((6, 6), (6, 6)), ((8, 5), (1, 5))]
)
def test_cells_lie_over_their_pixels(picture: tuple[int, int], latent: tuple[int, int]) -> None:
    """Against each cell's own stretch of the picture, pixel by pixel."""
    cells = Cells((1, *picture), latent)
    redo = torch.rand(*picture, generator=torch.Generator().manual_seed(1)) > 0.9
    over = torch.zeros(latent, dtype=torch.bool)
    under = torch.zeros(picture, dtype=torch.bool)
    touched = []
    for row in range(latent[0]):
        for column in range(latent[1]):
            inside = [
                (y, x)
                for y in range(picture[0])
                for x in range(picture[1])
                if max(y, row * picture[0] / latent[0]) < min(y + 1, (row + 1) * picture[0] / latent[0]) - 1e-9
                and max(x, column * picture[1] / latent[1]) < min(x + 1, (column + 1) * picture[1] / latent[1]) - 1e-9
            ]
            touched.append((row, column, inside))
            over[row, column] = any(redo[place] for place in inside)
    assert torch.equal(cells.over(redo), over)
    for row, column, inside in touched:
        for place in inside:
            under[place] |= over[row, column]
    assert torch.equal(cells.under(over), under) and bool((under | ~redo).all())
    wide = torch.tensor(
        [
            [bool(over[max(0, r - 2) : r + 3, max(0, c - 2) : c + 3].any()) for c in range(latent[1])]
            for r in range(latent[0])
        ]
    )
    assert torch.equal(cells.over(redo, 2), wide)


def test_windows_cover_a_canvas_and_overlap_by_half() -> None:
    for size, sides in (
        ((7, 7), (0, 0, 9, 3)),
        ((8, 5), (11, 2, 1, 30)),
        ((4, 6), (0, 1, 0, 0)),
        ((1, 1), (2, 0, 0, 1)),
    ):
        canvas = Canvas(torch.zeros(size), torch.ones(size, dtype=torch.bool), Margins(*sides))
        there = canvas.margins.around(canvas.known)
        for number, place in enumerate(canvas.windows()):
            assert there[place].shape == size
            if number and min(size) > 1:
                rows, columns = there[place].any(1), there[place].any(0)
                assert int(rows.sum()) >= size[0] / 2 and int(columns.sum()) >= size[1] / 2
                assert float(there[place].double().mean()) >= 0.5
            there[place] = True
        assert bool(there.all())


def test_a_canvas_has_the_law_of_a_stationary_chain() -> None:
    """Entries of a Markov chain know of the rest through their neighbours, so windows lose nothing: to both sides the
    pairs have the law start(a) step(a, b), at the seams as inside.
    """
    step = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.5, 0.1, 0.4]], dtype=torch.float64)
    start = torch.linalg.matrix_power(step, 200)[0]
    count, model = 4_000, Markov(Absorbing(3), start.tolist(), step.tolist(), (1, 4))
    plain = Sampling(AnyOrder(4, grid=Uniform()), model)
    canvas = Canvas(torch.zeros(1, 4, dtype=torch.int64), torch.zeros(1, 4, dtype=torch.bool), Margins(3, 0, 4, 0))
    x = canvas.fill(lambda known: completing(plain) if known else plain, mz.core.condition.NONE, mz.Rng(range(count)))
    assert x.shape == (count, 1, 11)
    law = start[:, None] * step
    for place in range(10):
        pairs = torch.bincount(3 * x[:, 0, place] + x[:, 0, place + 1], minlength=9).double() / count
        error = (law.flatten() * (1 - law.flatten()) / count).sqrt()
        assert bool(((pairs - law.flatten()).abs() < 4.5 * error).all()), (place, pairs, law)


def test_a_start_within_a_chain_has_the_law_of_bayes() -> None:
    """From x_0 up to a stage and down again: sum over x_t of q(x_t | x_0) p(x | x_t), each by enumeration."""
    table = torch.tensor([0.5, 0.1, 0.1, 0.3], dtype=torch.float64)
    process, count = Multinomial(2), 8_000
    model = EnumeratedChain(process, table.log().tolist(), (2,), times=(1.0, 0.6, 0.3))
    texts = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]])
    kept = float(process.alive(torch.tensor(0.6, dtype=torch.float64)))
    one = kept * torch.eye(2, dtype=torch.float64) + (1 - kept) / 2
    up = torch.stack([torch.stack([one[a[0], b[0]] * one[a[1], b[1]] for b in texts]) for a in texts])  # q(x_t | x_0)
    back = table[:, None] * up
    back = back / back.sum(0)  # p(x_0 | x_t), columns
    want = (up[1] * back).sum(1)
    cond = mz.Condition(reference=texts[[1]].expand(count, 2))
    x = Sampling(Walk(), model, start=Reference(process, 0.6))(cond, mz.Rng(range(count)))
    share = torch.bincount(2 * x[:, 0] + x[:, 1], minlength=4).double() / count
    assert bool(((share - want).abs() < 4.5 * (want * (1 - want) / count).sqrt()).all()), (share, want)
    with pytest.raises(mz.Refusal, match="begin at one of 1, 0.6, 0.3"):
        Sampling(Walk(), model, start=Reference(process, 0.5))(cond, mz.Rng(range(count)))
    same = Sampling(Walk(), model, start=Reference(process, 0.0))(cond[:5], mz.Rng(range(5)))
    assert torch.equal(same, texts[[1]].expand(5, 2))
