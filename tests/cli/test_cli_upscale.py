"""Larger pictures from the command line: of any size and kind, seeded, and told how well they agree."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image as Pillow

import mezzotint as mz
from mezzotint.cascades import Handed
from mezzotint.cascades import folder as cascade
from mezzotint.conditions import Classes, Encoder, Image, Noised
from mezzotint.core import Condition, Rng
from mezzotint.core.store import save_model
from mezzotint.data.picture import MAX_PIXELS, layers
from mezzotint.denoiser import Chunked, Preconditioned
from mezzotint.networks import UNet
from mezzotint.processes import Cosine
from mezzotint.samplers import Euler, Sampling
from mezzotint.training.pictures import pixels, read_settings

Command = Callable[..., Any]
Bytes = NDArray[np.uint8]
STEPS = 2


def model(
    shape: tuple[int, ...], up: int = 2, classes: int = 0, level: int | None = 16, silent: bool = False
) -> Preconditioned:
    """A super-resolution model (a base with ``up`` 1), untrained; its weights say something unless it is silent."""
    torch.manual_seed(sum(shape) + up)
    parts: dict[str, Any] = {"label": Classes(classes, 16)} if classes else {}
    parts |= {"low": Image(shape[0], up=up, level=level)} if up > 1 else {}
    network = UNet(shape, width=16, vector=16, maps=shape[0] if up > 1 else 0, attention=())
    made = Preconditioned(network, Cosine(), Encoder(**parts) if parts else None, prediction="v")
    with torch.no_grad():
        for weight in made.parameters():
            weight.add_(0.0 if silent else 0.1 * torch.randn_like(weight))
    return made.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Model folders by name, and a cascade of three stages."""
    home = tmp_path_factory.mktemp("models")
    sampler = Euler(STEPS)
    for name, made in {
        "grey": model((1, 16, 16)),
        "colour": model((3, 8, 8), level=None),
        "classes": model((1, 8, 8), classes=3),
        "silent": model((1, 8, 8), silent=True),
        "base": model((1, 8, 8), up=1, classes=3),
        "other": model((2, 8, 8)),
        "three/4": model((1, 4, 4), up=1),
        "three/8": model((1, 8, 8)),
        "three/24": model((1, 24, 24), up=3),
    }.items():
        (home / name).parent.mkdir(exist_ok=True)
        save_model(home / name, made, sampler=sampler)
    noised = Noised(Cosine())
    members = [cascade.Member.of("4", model((1, 4, 4), up=1), {}, None)]
    members += [
        cascade.Member.of(name, mz.load(home / "three" / name), {"low": before}, noised)
        for name, before in (("8", "4"), ("24", "8"))
    ]
    cascade.write(home / "three", members)
    return home


def save(path: Path, values: Bytes, **more: Any) -> Path:
    Pillow.fromarray(values).save(path, **more)
    return path


def look(path: Path) -> Bytes:
    with Pillow.open(path) as image:
        return np.asarray(image)


def noise(*shape: int, seed: int = 0) -> Bytes:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def made(said: Any, out: Path) -> Bytes:
    assert said.code == 0, said.err
    return look(out)


def x_of(picture: Bytes) -> torch.Tensor:
    return (
        torch.from_numpy(picture.astype(np.float32) / 127.5 - 1).reshape(1, *picture.shape[:2], -1).permute(0, 3, 1, 2)
    )


def test_a_picture_of_its_own_size_is_what_its_sampler_draws(command: Command, runs: Path, tmp_path: Path) -> None:
    """Nothing is cut, filled up or blended; one picture a seed, and the settings in it."""
    picture, out = noise(8, 8), tmp_path / "a.png"
    low = save(tmp_path / "low.png", picture)
    said = command("upscale", runs / "grey", low, "--seeds", "2,5", "--free", "--out", out)
    assert said.code == 0 and "1 window" in said.out, said
    pipeline = Sampling(Euler(STEPS), Chunked(mz.load(runs / "grey"), 8))
    x = pipeline(Condition(low=x_of(picture).expand(2, -1, -1, -1)), Rng([2, 5]))
    for row, seed in enumerate((2, 5)):
        path = tmp_path / f"a-{seed:06d}.png"
        assert np.array_equal(look(path), pixels(x)[row, ..., 0])
        settings = read_settings(path)
        assert settings["seeds"] == [seed] and settings["upscale"]["size"] == [16, 16]
    again = command("sample", "--like", tmp_path / "a-000002.png").sentence
    assert "mezzotint upscale" in again


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (5, 40), (21, 13), (8, 33)])
def test_any_size(command: Command, runs: Path, tmp_path: Path, size: tuple[int, int]) -> None:
    """A picture does not feel how many are drawn beside it; other seeds draw others."""
    low, out = save(tmp_path / "low.png", noise(*size)), tmp_path / "a.png"
    alone = made(command("upscale", runs / "grey", low, "--seeds", "3", "--out", out), out)
    assert alone.shape == (2 * size[0], 2 * size[1])
    assert command("upscale", runs / "grey", low, "--seeds", "0-3", "--out", out).code == 0
    assert np.array_equal(look(tmp_path / "a-000003.png"), alone)
    assert not np.array_equal(look(tmp_path / "a-000002.png"), alone)


def test_what_lies_far_away_is_not_felt(command: Command, runs: Path, tmp_path: Path) -> None:
    """A window knows of what it overlaps: what changes at one end of a long picture leaves the other as it is."""
    picture = noise(8, 64)
    other = picture.copy()
    other[:, 60:] = 255 - other[:, 60:]
    results = []
    for number, values in enumerate((picture, other)):
        low, out = save(tmp_path / f"{number}.png", values), tmp_path / f"{number}-x2.png"
        words = ("--tile", 16, "--overlap", 4, "--steps", 1, "--out", out)
        results.append(made(command("upscale", runs / "grey", low, *words), out).astype(int))
    away = np.abs(results[0] - results[1]).max(0)
    assert (away[:90] == 0).all() and away[112:].max() > 10


def test_agreement_is_said_as_it_is(command: Command, runs: Path, tmp_path: Path) -> None:
    """A silent model draws noise alone; what is printed is what anybody finds who takes means of four pixels."""
    picture, out = noise(9, 7), tmp_path / "a.png"
    low = save(tmp_path / "low.png", picture)
    said = command("upscale", runs / "silent", low, "--free", "--out", out, "--json")
    large = made(said, out).astype(float)
    down = (large[::2, ::2] + large[1::2, ::2] + large[::2, 1::2] + large[1::2, 1::2]) / 4
    found = said.json["pictures"][0]["agreement"]
    assert found["mean_absolute"] == pytest.approx(np.abs(down - picture).mean(), rel=1e-5)
    assert found["psnr"] == pytest.approx(10 * np.log10(255**2 / ((down - picture) ** 2).mean()), rel=1e-5)


def test_a_picture_is_held_to(command: Command, runs: Path, tmp_path: Path) -> None:
    """Means of cells are the picture to the rounding of bytes, but where white or black ends a cell; a noisy picture is
    not held to.
    """
    picture, out = noise(9, 7), tmp_path / "a.png"
    low = save(tmp_path / "low.png", picture)
    large = made(command("upscale", runs / "grey", low, "--out", out), out)
    cells = large.reshape(9, 2, 7, 2).transpose(0, 2, 1, 3).reshape(9, 7, 4).astype(float)
    inside = ((cells > 0) & (cells < 255)).all(-1)
    assert inside.sum() > 10 and np.abs(cells.mean(-1) - picture)[inside].max() <= 0.5
    assert cells.std(-1).max() > 5  # the rest is the model's
    assert read_settings(out)["upscale"]["stages"][0]["held"] is True
    words = ("--level", "0.2", "--out", tmp_path / "b.png")
    assert not np.array_equal(made(command("upscale", runs / "grey", low, *words), tmp_path / "b.png"), large)
    assert read_settings(tmp_path / "b.png")["upscale"]["stages"][0]["held"] is False


def test_truth(command: Command, runs: Path, tmp_path: Path) -> None:
    """Equal to the truth is no error at all: ours where ours is the truth, bicubic where that is."""
    picture, out = noise(8, 10), tmp_path / "a.png"
    low = save(tmp_path / "low.png", picture)
    large = made(command("upscale", runs / "grey", low, "--out", out), out)
    bicubic = np.asarray(Pillow.fromarray(picture).resize((20, 16), Pillow.Resampling.BICUBIC))
    near = float(10 * np.log10(255**2 / ((large.astype(float) - bicubic) ** 2).mean()))
    for truth, ours, theirs in ((large, None, near), (bicubic, near, None)):
        words = ("--truth", save(tmp_path / "truth.png", truth), "--out", out, "--overwrite", "--json")
        found = command("upscale", runs / "grey", low, *words).json["pictures"][0]["truth"]
        assert found["psnr"] == (ours and pytest.approx(ours, rel=1e-4))
        assert found["bicubic"] == (theirs and pytest.approx(theirs, rel=1e-4))
    seen = save(tmp_path / "seen.png", np.stack([picture, noise(8, 10, seed=1)], -1))
    assert command("upscale", runs / "grey", seen, "--out", out, "--overwrite").code == 0
    with Pillow.open(out) as image:  # laid on white by another program
        rgba = image.convert("RGBA")
        Pillow.alpha_composite(Pillow.new("RGBA", rgba.size, "white"), rgba).convert("L").save(tmp_path / "truth.png")
    words = ("--truth", tmp_path / "truth.png", "--out", out, "--overwrite", "--json")
    assert command("upscale", runs / "grey", seen, *words).json["pictures"][0]["truth"]["psnr"] is None
    said = command("upscale", runs / "grey", low, "--truth", low, "--out", out, "--overwrite")
    assert "20 x 16" in said.sentence


@pytest.mark.parametrize("kind", ["grey", "colour"])
def test_transparency(command: Command, runs: Path, tmp_path: Path, kind: str) -> None:
    """Its plane is interpolated; what lies unseen beneath makes no difference, and all of it may be unseen."""
    channels = 1 if kind == "grey" else 3
    colours, share = noise(9, 7, channels), noise(9, 7, 1, seed=1)
    share[:4, :5] = 0
    share[6:] = 255
    results = []
    for number, beneath in enumerate((0, 255)):
        values = np.concatenate([np.where(share == 0, np.uint8(beneath), colours), share], -1)
        out = tmp_path / f"{number}-large.png"
        said = command("upscale", runs / kind, save(tmp_path / f"{number}.png", values), "--out", out)
        results.append(made(said, out))
    assert np.array_equal(results[0], results[1]) and results[0].shape == (18, 14, channels + 1)
    plane = Pillow.fromarray(share[..., 0]).resize((14, 18), Pillow.Resampling.BILINEAR)
    assert np.abs(results[0][..., -1].astype(int) - np.asarray(plane)).max() <= 1
    hidden = np.concatenate([colours, np.zeros_like(share)], -1)
    out = tmp_path / "hidden-large.png"
    said = command("upscale", runs / kind, save(tmp_path / "hidden.png", hidden), "--out", out)
    assert (made(said, out)[..., -1] == 0).all()
    opaque = np.concatenate([colours, np.full_like(share, 255)], -1)
    said = command("upscale", runs / kind, save(tmp_path / "opaque.png", opaque), "--out", tmp_path / "opaque-x2.png")
    assert made(said, tmp_path / "opaque-x2.png").shape[2:] == (() if channels == 1 else (3,))


def test_sixteen_bits_of_colour_are_said(command: Command, runs: Path, tmp_path: Path) -> None:
    """Pillow hands them out as eight, so nobody else would say it; written here by the letter of the format."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in noise(4, 4, 3).astype(np.uint16) * 257)
    header = struct.pack(">IIBBBBB", 4, 4, 16, 2, 0, 0, 0)
    deep = tmp_path / "deep.png"
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    deep.write_bytes(b"\x89PNG\r\n\x1a\n" + parts)
    same = save(tmp_path / "same.png", noise(4, 4, 3))
    for path, said in ((deep, True), (same, False)):
        found = command("upscale", runs / "colour", path, "--out", tmp_path / f"{said}.png")
        assert found.code == 0 and ("8 bits" in found.err) == said
    assert np.array_equal(look(tmp_path / "True.png"), look(tmp_path / "False.png"))


def test_kinds_of_files(command: Command, runs: Path, tmp_path: Path) -> None:
    """The same picture turned by its EXIF, with a palette, in 16 bits or in one file or another gives the same."""
    values = noise(6, 9)
    plain = save(tmp_path / "plain.png", values)
    first = made(command("upscale", runs / "grey", plain, "--out", tmp_path / "a.png"), tmp_path / "a.png")
    exif = Pillow.Exif()
    exif[0x0112] = 6  # shown turned by a quarter, clockwise
    turned = save(tmp_path / "turned.png", np.ascontiguousarray(np.rot90(values)), exif=exif)
    deep = tmp_path / "deep.png"
    Pillow.fromarray(values.astype(np.uint16) * 257).save(deep)
    bmp = save(tmp_path / "plain.bmp", values)
    for path in (turned, deep, bmp):
        said = command("upscale", runs / "grey", path, "--out", tmp_path / "b.png", "--overwrite")
        assert np.array_equal(made(said, tmp_path / "b.png"), first), path
        assert ("8 bits" in said.err) == (path == deep)
    colours = np.stack(
        [values // 32 * 32, values // 64 * 64, 255 - values // 128 * 128], -1
    )  # few enough for a palette
    palette = tmp_path / "palette.png"
    quantised = Pillow.fromarray(colours).quantize(256)
    quantised.save(palette)
    direct = save(tmp_path / "direct.png", np.asarray(quantised.convert("RGB")))
    both = []
    for path in (palette, direct):
        said = command("upscale", runs / "colour", path, "--out", tmp_path / "c.png", "--overwrite")
        both.append(made(said, tmp_path / "c.png"))
    assert np.array_equal(both[0], both[1]) and both[0].shape == (12, 18, 3)


def test_grey_models_keep_colours(command: Command, runs: Path, tmp_path: Path) -> None:
    """The luma is the model's, differences of channels are those of the picture, interpolated; and the other way."""
    values = (96 + noise(8, 8, 3) // 4).astype(np.uint8)  # away from the ends, or clipping would change differences
    low, out = save(tmp_path / "low.png", values), tmp_path / "a.png"
    said = command("upscale", runs / "silent", low, "--out", out)
    large = made(said, out).astype(float)
    spread = [
        np.asarray(Pillow.fromarray(values[..., k].astype(np.float32)).resize((16, 16), Pillow.Resampling.BILINEAR))
        for k in range(3)
    ]
    inside = ((large > 0) & (large < 255)).all(-1)
    assert inside.any() and "spread" in said.err
    for k in (1, 2):
        away = (large[..., k] - large[..., 0]) - (spread[k] - spread[0])
        assert np.abs(away[inside]).max() <= 1.01
    said = command("upscale", runs / "colour", save(tmp_path / "grey.png", values[..., 0]), "--out", tmp_path / "g.png")
    assert made(said, tmp_path / "g.png").shape == (16, 16) and "grey" in said.err


def test_profiles(command: Command, runs: Path, tmp_path: Path) -> None:
    """A profile of colours stays with colours; one that is about something else does not."""
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for name, values, kept in (("colour", noise(4, 4, 3), profile), ("grey", noise(4, 4), None)):
        low = save(tmp_path / f"{name}.png", values, icc_profile=profile)
        out = tmp_path / f"{name}-x2.png"
        assert command("upscale", runs / name, low, "--out", out).code == 0
        with Pillow.open(out) as image:
            assert image.info.get("icc_profile") == kept


def test_level(command: Command, runs: Path, tmp_path: Path) -> None:
    """None is level 0; at the end of the clock nothing of the picture is left but noise."""
    results: dict[tuple[str, str | None], Bytes] = {}
    for name in ("one", "two"):
        low = save(tmp_path / f"{name}.png", noise(8, 8, seed=len(results)))
        for level in (None, "0", "0.3", "1") if name == "one" else ("0.3", "1"):
            out = tmp_path / f"{name}-{level}.png"
            words = () if level is None else ("--level", level)
            said = command("upscale", runs / "grey", low, *words, "--out", out)
            results[name, level] = made(said, out)
            assert ("cosine process" in said.err) == (level in ("0.3", "1"))  # a model folder does not say its own
    assert np.array_equal(results["one", None], results["one", "0"])
    assert not np.array_equal(results["one", "0.3"], results["one", "0"])
    assert np.array_equal(results["one", "1"], results["two", "1"])
    assert not np.array_equal(results["one", "0.3"], results["two", "0.3"])
    low = save(tmp_path / "low.png", noise(4, 4, 3))
    assert "--level has to be 0" in command("upscale", runs / "colour", low, "--level", 0.1).sentence
    assert "from 0 to 1" in command("upscale", runs / "grey", low, "--level", "0.1,0.2").sentence


def test_a_cascade_draws_what_it_draws_from_samples(command: Command, runs: Path, tmp_path: Path) -> None:
    """Its stages, handed a picture instead of a sample, at their own levels: the pixels of ``Cascade`` itself."""
    picture, out = noise(4, 4), tmp_path / "a.png"
    low = save(tmp_path / "low.png", picture)
    words = ("--stages", 2, "--seeds", 7, "--rows", 8, "--free", "--out", out)
    large = made(command("upscale", runs / "three", low, *words), out)
    settings: dict[str, dict[str, Any]] = {name: {"rows": 8} for name in ("4", "8", "24")}
    whole = cascade.load(runs / "three", levels=[0.0, cascade.LEVEL], stages=settings)
    *_, last = whole.resumed([Handed("4", x_of(picture), 0.0, Cosine())], mz.core.NONE, Rng([7]))
    assert np.array_equal(pixels(last.x)[0, ..., 0], large) and large.shape == (24, 24)
    mine = ("--set", "8.sampler.steps=1", "24.sampler.steps=3", "--overwrite")
    for said_so in (("--steps", "1,3", "--overwrite"), mine):  # one a stage, either way
        other = made(command("upscale", runs / "three", low, *words, *said_so), out)
        for name, steps in (("8", 1), ("24", 3)):
            settings[name]["sampler"] = Euler(steps)
        whole = cascade.load(runs / "three", levels=[0.0, cascade.LEVEL], stages=settings)
        *_, last = whole.resumed([Handed("4", x_of(picture), 0.0, Cosine())], mz.core.NONE, Rng([7]))
        assert np.array_equal(pixels(last.x)[0, ..., 0], other) and not np.array_equal(other, large)
    record = read_settings(out)["upscale"]
    assert [(stage["name"], stage["level"]) for stage in record["stages"]] == [("8", 0.0), ("24", cascade.LEVEL)]
    said = command("upscale", runs / "three", low, "--out", tmp_path / "b.png")
    assert made(said, tmp_path / "b.png").shape == (12, 12)
    assert "has 2" in command("upscale", runs / "three", low, "--stages", 3).sentence


def test_labels(command: Command, runs: Path, tmp_path: Path) -> None:
    """A class is told where the model knows classes, and asked for where it never learnt to do without."""
    low = save(tmp_path / "low.png", noise(4, 4))
    said = command("upscale", runs / "classes", low, "--label", "0,2", "--seeds", "1", "--out", tmp_path / "a.png")
    assert said.code == 0, said
    assert not np.array_equal(look(tmp_path / "a-0-000001.png"), look(tmp_path / "a-2-000001.png"))
    assert "--label" in command("upscale", runs / "classes", low).sentence
    assert "no classes" in command("upscale", runs / "grey", low, "--label", 1).sentence
    assert "no stage" in command("upscale", runs / "three", low, "--label", 1).sentence


def test_refusals(command: Command, runs: Path, tmp_path: Path) -> None:
    low, out = save(tmp_path / "low.png", noise(4, 4)), tmp_path / "a.png"

    def sentence(run: str, path: Path = low, *words: object) -> str:
        found: str = command("upscale", runs / run, path, "--out", out, *words).sentence
        assert not out.exists()
        return found

    assert "no super-resolution model" in sentence("base") and "--cascade" in sentence("base")
    assert "grey or coloured" in sentence("other")
    assert "no picture" in sentence("grey", tmp_path / "none.png")
    assert "cannot be read" in sentence("grey", Path(__file__))
    frames = [Pillow.fromarray(noise(4, 4, seed=k)) for k in range(2)]
    frames[0].save(tmp_path / "two.gif", save_all=True, append_images=frames[1:])
    assert "animation" in sentence("grey", tmp_path / "two.gif")
    assert "multiple" in sentence("grey", low, "--tile", 7)
    assert "--tile" in sentence("grey", low, "--tile", "large")
    assert "overlap" in sentence("grey", save(tmp_path / "wide.png", noise(4, 40)), "--overlap", 16)
    assert "--items" in sentence("grey", low, "--items", "0-3")
    assert "name the folder of a cascade" in sentence("grey", low, "--stages", 2)
    assert "ends in .png" in command("upscale", runs / "grey", low, "--out", tmp_path / "a.jpg").sentence
    assert "there is no run" in sentence("nowhere")
    huge = tmp_path / "huge.png"
    Pillow.new("1", (5000, 5000)).save(huge)
    assert "are the most" in sentence("grey", huge)


def test_layers_are_those_of_the_file(tmp_path: Path) -> None:
    """Colours and share come back as they were written, unseen ones too."""
    values = noise(5, 4, 4)
    values[0, 0, 3] = 0
    colours, share, profile = layers(save(tmp_path / "a.png", values), MAX_PIXELS)
    assert np.array_equal(colours, values[..., :3]) and profile is None
    assert share is not None and np.array_equal(share, values[..., 3])
    grey = Pillow.fromarray(values[..., 0])
    room = io.BytesIO()
    grey.save(room, "PNG", transparency=int(values[1, 1, 0]))
    (tmp_path / "b.png").write_bytes(room.getvalue())
    colours, share, _ = layers(tmp_path / "b.png", MAX_PIXELS)
    assert share is not None and colours.shape == (5, 4, 1) and np.array_equal(colours[..., 0], values[..., 0])
    assert np.array_equal(share == 0, values[..., 0] == values[1, 1, 0])
