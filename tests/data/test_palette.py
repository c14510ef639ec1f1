"""Palettes and map files: what is painted is read back, and what cannot be meant is said in a sentence."""

from __future__ import annotations

import json
import re
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mezzotint.core import Refusal
from mezzotint.data import Palette, layout_file
from mezzotint.data.palette import COLOURS

TEXT = '{"sky": [70, 130, 180], "road": "#804080", "tree": [107, 142, 35], "unsaid": [[0, 0, 0], [9, 9, 9]]}'


@pytest.fixture
def palette(tmp_path: Path) -> Palette:
    (tmp_path / "palette.json").write_text(TEXT)
    return Palette.read(tmp_path / "palette.json")


def layout(shape: tuple[int, int] = (5, 7)) -> np.ndarray:
    drawn = np.random.default_rng(4).choice([0, 1, 2, 255], shape).astype(np.uint8)
    drawn[0, 0] = 1
    return drawn


def test_the_order_of_the_file_is_the_numbers(palette: Palette, tmp_path: Path) -> None:
    assert palette.names == ("sky", "road", "tree") and palette.unsaid == ((0, 0, 0), (9, 9, 9))
    pixels = np.array([[[128, 64, 128], [9, 9, 9]], [[107, 142, 35], [70, 130, 180]], [[0, 0, 0]] * 2], dtype=np.uint8)
    assert palette.numbers(pixels, "here").tolist() == [[1, 255], [2, 0], [255, 255]]
    palette.write(tmp_path / "again.json")
    assert Palette.read(tmp_path / "again.json") == palette


def test_every_number_comes_back_from_its_colour() -> None:
    usual = Palette.usual([f"thing {n}" for n in range(255)])
    every = np.arange(256, dtype=np.uint8).reshape(8, 32)
    assert np.array_equal(usual.numbers(usual.painted(every), "here"), every)
    # The table that the VOC development kit prints: background, aeroplane, bicycle, ..., void.
    assert usual.colours[:4] == ((0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0))
    assert usual.colours[15] == (192, 128, 128) and usual.unsaid == ((224, 224, 192),)


def test_one_map_in_every_kind_of_file(palette: Palette, tmp_path: Path) -> None:
    drawn = layout()
    seen = np.full((*drawn.shape, 4), 255, dtype=np.uint8)
    seen[..., :3] = palette.painted(drawn)
    seen[drawn == 255] = (1, 2, 3, 0)  # nothing can be seen there
    colours = Image.fromarray(palette.painted(drawn))
    own = Image.fromarray(drawn, "P")
    own.putpalette(COLOURS.tobytes())
    for name, picture, by in (
        ("rgb.png", colours, palette),
        ("rgba.png", Image.fromarray(seen), palette),
        ("indexed.png", colours.quantize(8), palette),
        ("colours.bmp", colours, palette),
        ("grey.png", Image.fromarray(drawn), None),
        ("grey.png", Image.fromarray(drawn), palette),
        ("deep.png", Image.fromarray(drawn.astype(np.uint16)), palette),
        ("numbers.png", own, None),
    ):
        picture.save(tmp_path / name)
        assert np.array_equal(layout_file(tmp_path / name, by), drawn), name


def test_black_and_white_are_colours_of_a_grey_palette(tmp_path: Path) -> None:
    mask = layout() == 1
    Image.fromarray(mask).save(tmp_path / "bits.png")
    Image.fromarray(mask.astype(np.uint8) * 255).save(tmp_path / "grey.png")
    palette = Palette(("off", "on"), ((0, 0, 0), (255, 255, 255)))
    for name in ("bits.png", "grey.png"):
        assert np.array_equal(layout_file(tmp_path / name, palette), mask)
    assert np.array_equal(layout_file(tmp_path / "bits.png"), mask)


def test_a_size_keeps_whole_blocks_and_refuses_another_aspect(palette: Palette, tmp_path: Path) -> None:
    drawn = layout()
    Image.fromarray(palette.painted(drawn.repeat(3, 0).repeat(3, 1))).save(tmp_path / "map.png")
    assert np.array_equal(layout_file(tmp_path / "map.png", palette, (5, 7)), drawn)
    with pytest.raises(Refusal, match="the map 'mine' is 21 x 15 pixels and what is asked for 16 x 16"):
        layout_file(tmp_path / "map.png", palette, 16, "mine")


def test_an_unknown_colour_is_named_with_its_place(palette: Palette, tmp_path: Path) -> None:
    pixels = palette.painted(layout((40, 50)))
    pixels[30, 7:9] = (106, 142, 36)
    Image.fromarray(pixels).save(tmp_path / "map.png")
    said = r"map.png' has the colour #6a8e24 \(106, 142, 36\) at row 30, column 7, in 2 pixels.*nearest is 'tree'"
    with pytest.raises(Refusal, match=said):
        layout_file(tmp_path / "map.png", palette)
    pixels[39, 49] = (1, 0, 0)
    with pytest.raises(Refusal, match=r"so are 1 more, in 3 pixels together.*'tree'"):
        palette.numbers(pixels, "map.png")
    with pytest.raises(Refusal, match="pixels of the kind RGB.*name the palette"):
        layout_file(tmp_path / "map.png")


def test_maps_must_be_lossless(palette: Palette, tmp_path: Path) -> None:
    large = Image.fromarray(palette.painted(layout().repeat(16, 0).repeat(16, 1)))
    large.save(tmp_path / "map.jpg")
    with pytest.raises(Refusal, match="is a JPEG, which changes the numbers and the colours"):
        layout_file(tmp_path / "map.jpg", palette)
    Image.open(tmp_path / "map.jpg").save(tmp_path / "jpeg.png")
    large.resize((60, 40), Image.Resampling.BICUBIC).save(tmp_path / "smooth.png")
    for name in ("jpeg.png", "smooth.png"):
        with pytest.raises(Refusal, match=r"colours that the palette does not know, in \d+%.*must be lossless"):
            layout_file(tmp_path / name, palette)


def test_a_photograph_is_refused_without_filling_the_memory() -> None:
    """Nearly every pixel of noise has a colour of its own; what is kept of them does not grow with their number."""
    pixels = np.random.default_rng(0).integers(0, 256, (1000, 1000, 3), dtype=np.uint8)
    pixels[0] = (1, 2, 3)
    flat = pixels.reshape(-1, 3).astype(np.int64) @ [65536, 256, 1]
    many = len(np.setdiff1d(flat, [0x010203, 0xFFFFFF]))
    tracemalloc.start()
    with pytest.raises(Refusal, match=f"has {many:,} colours that .*, in 100% of its pixels, the first .* at row 1, "):
        Palette(("a", "b"), ((1, 2, 3), (255, 255, 255))).numbers(pixels, "noise.png")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 60e6


@pytest.mark.parametrize("numbers", [[0], [0, 1], [1, 2, 255], [255], [0, 9]])
def test_the_palette_decides_what_grey_maps_hold(palette: Palette, tmp_path: Path, numbers: list[int]) -> None:
    """Black and (9, 9, 9) say nothing in colour; 0 is the sky in a grey map, whatever else that map holds."""
    drawn = np.random.default_rng(1).choice(numbers, (6, 6)).astype(np.uint8)
    seen = np.stack([drawn, np.full((6, 6), 255, dtype=np.uint8)], -1)
    seen[0, 0] = (77, 0)
    want = drawn.copy()
    want[0, 0] = 255
    for picture, told in (
        (Image.fromarray(drawn), drawn),
        (Image.fromarray(drawn.astype(np.uint16)), drawn),
        (Image.fromarray(seen, "LA"), want),
    ):
        picture.save(tmp_path / "map.png")
        if 9 in numbers:
            with pytest.raises(Refusal, match="map.png' holds the number 9, .*a grey map holds numbers, since not all"):
                layout_file(tmp_path / "map.png", palette)
        else:
            assert np.array_equal(layout_file(tmp_path / "map.png", palette), told)
    Image.fromarray(np.zeros((4, 4, 3), dtype=np.uint8)).save(tmp_path / "black.png")
    assert (layout_file(tmp_path / "black.png", palette) == 255).all()


def test_no_grey_map_is_read_as_what_it_may_not_be(tmp_path: Path) -> None:
    greys = Palette(("one", "none", "two"), ((1, 1, 1), (0, 0, 0), (255, 255, 255)), ((2, 2, 2),))
    shades = np.array([[0, 1], [2, 255]], dtype=np.uint8)
    for part in (shades, shades[:1], shades[1:]):  # numbers would say something else of every one of them
        Image.fromarray(part).save(tmp_path / "map.png")
        assert layout_file(tmp_path / "map.png", greys).tolist() == [
            [{1: 0, 0: 1, 255: 2, 2: 255}[shade] for shade in row] for row in part.tolist()
        ]
    Image.fromarray(shades + 1).save(tmp_path / "map.png")
    with pytest.raises(Refusal, match=r"has the colour #030303 \(3, 3, 3\) at row 1, column 0"):
        layout_file(tmp_path / "map.png", greys)
    Image.fromarray(shades.astype(np.uint16) * 257).save(tmp_path / "map.png")
    with pytest.raises(Refusal, match="map.png' is grey of 16 bits"):
        layout_file(tmp_path / "map.png", greys)
    mixed = Palette(("off", "on"), ((0, 0, 0), (255, 255, 255)), ((255, 0, 255),))
    Image.fromarray(np.array([[0, 255]], dtype=np.uint8)).save(tmp_path / "map.png")  # a mask?
    with pytest.raises(Refusal, match="holds 255, which says nothing as a number .* white is 'on' in the palette"):
        layout_file(tmp_path / "map.png", mixed)


def test_what_is_half_seen_is_refused(palette: Palette, tmp_path: Path) -> None:
    half = np.full((4, 4, 4), 255, dtype=np.uint8)
    half[..., :3] = palette.colours[0]
    half[1, 1, 3] = 128
    Image.fromarray(half).save(tmp_path / "half.png")
    with pytest.raises(Refusal, match="half seen"):
        layout_file(tmp_path / "half.png", palette)


def test_numbers_without_a_name_are_refused(palette: Palette, tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 1], [3, 2]], dtype=np.uint8)).save(tmp_path / "map.png")
    with pytest.raises(Refusal, match=r"holds the number 3, and the palette names 3, 0 to 2 \(1 pixel"):
        layout_file(tmp_path / "map.png", palette)
    with pytest.raises(Refusal, match="the layout holds the number 7"):
        palette.painted([[7]])
    with pytest.raises(Refusal, match="there is no map"):
        layout_file(tmp_path / "absent.png", palette)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{}", "names at least one thing"),
        ('{"unsaid": [0, 0, 0]}', "names at least one thing"),
        ('{"sky": [1, 2, 3]', "cannot be read: "),
        ("[[1, 2, 3]]", "no JSON object of names and colours"),
        ('{"sky": [1, 2]}', r"the colour of 'sky' is \[1, 2\]"),
        ('{"sky": [1, 2, 256]}', "each 0 to 255"),
        ('{"sky": [1, 2, true]}', "each 0 to 255"),
        ('{"sky": "blue"}', "the colour of 'sky' is 'blue'"),
        ('{"sky": [1, 2, 3], "sea": "#010203"}', r"'sky' and 'sea' have one colour, #010203"),
        ('{"sky": [1, 2, 3], "unsaid": "#010203"}', "'sky' and 'unsaid' have one colour"),
        ('{"sky": [1, 2, 3], "sky": [3, 2, 1]}', "names 'sky' twice"),
        ('{"sky": [1, 2, 3], "unsaid": {}}', "under 'unsaid' is an object of names, and not a colour"),
        ('{"sky": {"red": 1, "green": 2, "blue": 3}}', "under 'sky' is an object of names, and not a colour"),
        ('{"sky": [1, 2, %s]}' % ("7" * 6000), "cannot be read: it holds a whole number of more digits than are read$"),
        ('{"sky": [1, 2, 3], "unsaid": 255}', "the colour of 'unsaid' is 255"),
        (json.dumps({f"{n}": [n // 20, n % 20, 7] for n in range(256)}), "255 names at most.*here are 256"),
    ],
)
def test_a_palette_that_is_none_is_refused(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "palette.json").write_text(text)
    with pytest.raises(Refusal, match=said) as refusal:
        Palette.read(tmp_path / "palette.json")
    assert re.search("palette.json", str(refusal.value))


def test_a_mark_before_everything_is_passed_over(palette: Palette, tmp_path: Path) -> None:
    (tmp_path / "marked.json").write_text(TEXT, encoding="utf-8-sig")
    assert Palette.read(tmp_path / "marked.json") == palette


def test_names_and_colours_belong_together() -> None:
    with pytest.raises(Refusal, match="1 names and 2 colours"):
        Palette(("sky",), ((1, 2, 3), (3, 2, 1)))
    with pytest.raises(Refusal, match="no name of a thing"):
        Palette(("unsaid",), ((1, 2, 3),))
    assert Palette(["sky"], [[1, 2, 3]]) == Palette(("sky",), ((1, 2, 3),))  # type: ignore[arg-type,list-item]
