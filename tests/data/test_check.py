"""Looking at a folder: every kind of trouble is named by its file, a clean folder is named nothing."""

from __future__ import annotations

import json
import os
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from messy import announce, blobs, clean, messy, save
from mezzotint.core import Refusal
from mezzotint.data import Folder, Pairs, Palette, Table
from mezzotint.data.check import KINDS, Report, look
from mezzotint.data.check.twins import BITS, LEVELS, alike, prints, same
from mezzotint.data.data import fraction


def named(report: Report) -> dict[str, set[str]]:
    """What was found, but for the hint that so small a folder always has."""
    return {problem.kind: set(problem.files) for problem in report.problems if problem.kind != "few held out"}


def test_a_clean_folder_is_named_nothing(tmp_path: Path) -> None:
    report = look(clean(tmp_path))
    assert named(report) == {} and report.healthy
    assert report.pictures == 40 and report.classes == {"cat": 20, "dog": 20}
    assert report.formats == {"PNG": 40} and report.modes == {"RGB": 40} and report.sizes == {(48, 48): 40}
    assert report.held_out == len(Folder(tmp_path, split="held_out")) and not report.grey
    assert report.data() == Folder(tmp_path, channels=3)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_every_trouble_is_named_by_its_file(tmp_path: Path) -> None:
    """Both ways: what should be named is, and nothing else is."""
    root = tmp_path / "in"
    expected = messy(root, tmp_path / "out")
    report = look(root)
    found = named(report)
    splits = {f: fraction(f) < 0.1 for f in ("cat/005.png", "dog/stray.png", "dog/003.png", "dog/copy.png")}
    splits |= {f: fraction(f) < 0.1 for f in ("dog/004.png", "dog/same.bmp", "cat/006.png", "cat/near.jpg")}
    pairs = (("dog/003.png", "dog/copy.png"), ("cat/005.png", "dog/stray.png"), ("dog/004.png", "dog/same.bmp"))
    expected["both splits"] = {b for a, b in pairs if splits[a] != splits[b]}
    expected["alike, both splits"] = {"cat/near.jpg"} & {b for b in splits if splits["cat/006.png"] != splits[b]}
    assert found == {kind: files for kind, files in expected.items() if files}
    assert not report.healthy
    data = Folder(root, size=16, split="all", skip_broken=True)
    assert len(data) == report.pictures and data.classes == tuple(report.classes) == ("cat", "dog")
    assert report.broken == len(data.skipped)
    assert data[:][0].isfinite().all()


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_what_is_read_is_what_is_told(tmp_path: Path) -> None:
    """Formats, modes and sizes of a few files of known kinds; upright, where EXIF turns them."""
    expected = messy(tmp_path / "in", tmp_path / "out")
    report = look(tmp_path / "in")
    assert report.formats["GIF"] == 1 and report.formats["WEBP"] == 1 and report.formats["BMP"] == 1
    assert report.modes["CMYK"] == 1 and report.modes["16-bit grey"] == 1 and report.modes["grey"] == 1
    assert report.modes["RGBA"] == 1 and report.modes["palette"] >= 1
    assert report.sizes[(32, 48)] == 1 and sum(report.sizes.values()) == report.pictures
    assert report.aspects == {"2:3": 1, "1:1": report.pictures - 1}
    assert report.sides()["width"] == [32, 48, 48] and report.size == 32
    assert set(expected) <= set(KINDS)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_the_report_is_plain_data(tmp_path: Path) -> None:
    messy(tmp_path / "in", tmp_path / "out")
    plain = json.loads(json.dumps(look(tmp_path / "in").plain(), ensure_ascii=False).encode())
    assert not plain["healthy"] and plain["pictures"] > 40
    assert {"file": "dog/nothing.jpg", "why": ""} in next(p for p in plain["problems"] if p["kind"] == "empty")["files"]


def test_few_held_out_is_said_and_many_are_not(tmp_path: Path) -> None:
    clean(tmp_path)
    few = look(tmp_path)["few held out"]
    assert few.count == look(tmp_path).held_out > 0 and few.severity == "hint"
    assert not look(tmp_path, held_out_share=0.9)["few held out"].count


def test_of_two_copies_the_one_with_the_plainer_name_is_kept(tmp_path: Path) -> None:
    clean(tmp_path)
    (tmp_path / "cat" / "\u00e4.png").write_bytes((tmp_path / "dog" / "003.png").read_bytes())
    (tmp_path / "cat" / os.fsdecode(b"\xff.png")).write_bytes((tmp_path / "dog" / "003.png").read_bytes())
    assert look(tmp_path)["same file"].files == ("cat/\u00e4.png", "cat/" + os.fsdecode(b"\xff.png"))


def test_copies_that_are_trained_on_and_held_out(tmp_path: Path) -> None:
    """By names whose hash falls on either side; and near ones are told apart from equal ones."""
    clean(tmp_path)
    held = next(f"h{k}.png" for k in range(1000) if fraction(f"cat/h{k}.png") < 0.1)
    near = next(f"n{k}.jpg" for k in range(1000) if fraction(f"cat/n{k}.jpg") < 0.1)
    train = [k for k in range(20) if fraction(f"cat/{k:03}.png") >= 0.1]
    (tmp_path / "cat" / held).write_bytes((tmp_path / "cat" / f"{train[0]:03}.png").read_bytes())
    Image.fromarray(blobs(train[1])).save(tmp_path / "cat" / near, quality=80)
    found = named(look(tmp_path))
    assert found == {
        "same file": {f"cat/{held}"},
        "both splits": {f"cat/{held}"},
        "alike": {f"cat/{near}"},
        "alike, both splits": {f"cat/{near}"},
    }


def test_classes_that_are_empty_alone_or_small(tmp_path: Path) -> None:
    clean(tmp_path, 30)
    (tmp_path / "bird").mkdir()
    (tmp_path / "fish").mkdir()
    (tmp_path / "fish" / "torn.png").touch()
    save(tmp_path / "ant" / "a.png", 9000)
    report = look(tmp_path)
    found = named(report)
    assert found == {"empty class": {"bird", "fish"}, "empty": {"fish/torn.png"}, "unbalanced": {"ant"}}
    with pytest.raises(Refusal, match="'bird' is empty"):
        report.data()
    alone = look(clean(tmp_path / "alone", 20, ("only",)))
    assert named(alone) == {"one class": {"only"}} and alone.healthy


def test_pictures_loose_and_in_folders(tmp_path: Path) -> None:
    clean(tmp_path)
    save(tmp_path / "loose.png", 8000)
    report = look(tmp_path)
    assert named(report) == {"mixed": {"loose.png"}}
    with pytest.raises(Refusal, match=r"both pictures .'loose.png'."):
        report.data()


def test_what_cannot_be_looked_at(tmp_path: Path) -> None:
    for path, says in ((tmp_path / "none", "no folder"), (tmp_path, "no images")):
        with pytest.raises(Refusal, match=says):
            look(path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(Refusal, match="no folder"):
        look(tmp_path / "file")


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_a_table_and_what_it_names(tmp_path: Path, kind: str) -> None:
    root, out = tmp_path / "in", tmp_path / "out"
    save(out / "secret.png", 1)
    for k in range(30):
        save(root / "images" / f"{k}.png", k)
        Image.new("L", (48, 48), k).save(root / "images" / f"{k}-mask.png")
    (root / "images" / "link.png").symlink_to(out / "secret.png")
    rows = [(f"images/{k}.png", f"images/{k}-mask.png", "ab"[k % 2]) for k in range(29)]
    rows += [
        ("../out/secret.png", "", "a"),
        (str(out / "secret.png"), "", "a"),
        ("images/link.png", "", "a"),
        ("images/gone.png", "", "a"),
        ("images/3.png", "", "a"),
        ("images/../images/4.png", "", "a"),
        ("x" * 5000 + ".png", "", "a"),
        (str(root / "images" / "5.png"), "", "a"),
    ]
    if kind == "jsonl":
        lines = [json.dumps({"file_name": a, "mask": b, "label": c}) for a, b, c in rows]
        lines += ["{not json", "[1, 2]", "[" * 100_000, ""]
    else:
        lines = ["file_name,mask,label", *(",".join(row) for row in rows)]
    (root / f"metadata.{kind}").write_text("\n".join(lines))
    report = look(root)
    found = named(report)
    assert found.pop("table outside") == {
        "../out/secret.png",
        str(out / "secret.png"),
        "images/link.png",
        str(root / "images" / "5.png"),
    }
    assert found.pop("table missing") == {"images/gone.png", ("x" * 5000)[:200]}
    assert found.pop("table twice") == {"images/3.png", "images/4.png"}
    assert found.pop("untold") == {"images/29.png", "images/29-mask.png"}
    assert found.pop("link outside") == {"images/link.png"}
    if kind == "jsonl":
        assert report["table broken"].count == 3 and found.pop("table broken") == {"metadata.jsonl"}
    assert found == {}
    assert report.pictures == 29 and report.classes == {"a": 15, "b": 14} and report.tables == (f"metadata.{kind}",)
    assert report.columns == {"picture": "file_name", "label": "label"}
    data = report.data(size=16)
    assert isinstance(data, Table) and data.classes == ("a", "b") and len(data) + len(data.held_out()) == 31
    assert set(data.skipped) | set(data.held_out().skipped) >= {"../out/secret.png", "images/gone.png"}


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_a_table_that_is_none(tmp_path: Path, kind: str) -> None:
    save(tmp_path / "a.png", 1)
    for body in (b"", b"\xff\xfe\x00", b"a,b\n1,2\n", b'{"a": 1}\n', b"\0" * 100, b'"' * 200_000):
        (tmp_path / f"metadata.{kind}").write_bytes(body)
        report = look(tmp_path)
        assert report["table broken"].count >= 1 and not report.healthy, body


def test_like_pictures_are_alike_and_others_are_not() -> None:
    """JPEG, another size, a little light: alike. Mirrored, turned, cut, inverted, or another picture: not."""
    pictures = [blobs(seed, 128) for seed in range(120)]

    def jpeg(picture: np.ndarray, side: int, quality: int) -> np.ndarray:
        import io

        held = io.BytesIO()
        Image.fromarray(picture).resize((side, side), Image.Resampling.LANCZOS).save(held, "JPEG", quality=quality)
        return np.asarray(Image.open(held).convert("RGB"))

    def groups(some: list[np.ndarray]) -> list[list[int]]:
        hashes, thumbnails = zip(*map(prints, some), strict=True)
        return alike(np.array(hashes, dtype=np.uint64), thumbnails)

    assert groups(pictures) == []
    near = [jpeg(p, 128, 50) for p in pictures[:20]] + [jpeg(p, 64, 85) for p in pictures[20:40]]
    near += [np.clip(p.astype(int) + 5, 0, 255).astype(np.uint8) for p in pictures[40:60]]
    found = groups(pictures + near)
    assert sorted(found) == [[k, 120 + k] for k in range(60)]
    far = [p[:, ::-1] for p in pictures[:20]] + [p[::-1] for p in pictures[20:40]]
    far += [255 - p for p in pictures[40:60]] + [np.rot90(p) for p in pictures[60:80]]
    far += [p[40:, 40:] for p in pictures[80:100]]
    assert groups(pictures + [np.ascontiguousarray(p) for p in far]) == []
    faint = [(120 + p.astype(int) // 12).astype(np.uint8) for p in pictures[:20]]  # other drawings, hardly lit
    assert groups(faint) == []
    shades = [np.full((64, 64, 3), k, np.uint8) for k in range(100, 110)]
    assert groups(shades) == []  # of one shade: nothing that could be compared


def test_pairs_are_those_of_brute_force() -> None:
    """Bands and sorted means leave no pair out: hashes and thumbnails in tight clusters, every pair compared."""
    rng = np.random.default_rng(3)
    count = 150
    hashes = rng.integers(0, 2**63, 4, dtype=np.uint64)[rng.integers(0, 4, count)]
    for _ in range(3):
        hashes = hashes ^ (np.uint64(1) << rng.integers(0, 64, count, dtype=np.uint64))
    thumbnails = rng.integers(30, 200, (3, 768))[rng.integers(0, 3, count)]
    thumbnails = thumbnails + rng.integers(-9, 10, (count, 768)) + rng.integers(-8, 9, (count, 1))
    thumbnails = thumbnails.clip(0, 255).astype(np.uint8)
    apart = np.array([[np.sqrt(((a.astype(int) - b) ** 2).mean()) for b in thumbnails] for a in thumbnails])
    near = (np.bitwise_count(hashes[:, None] ^ hashes[None]) <= BITS) & (apart <= LEVELS)
    reached = np.eye(count, dtype=bool) | near
    for _ in range(8):
        reached = reached @ reached
    expected = {tuple(np.flatnonzero(row)) for row in reached if row.sum() > 1}
    found = {tuple(group) for group in alike(hashes, list(thumbnails))}
    assert found == expected and 10 < sum(map(len, found)) < count
    assert same([b"a", b"b", b"a", b"c", b"b", b"a"]) == [[0, 2, 5], [1, 4]]


def test_memory_stays_bounded(tmp_path: Path) -> None:
    """Six pictures of 2 million pixels are 6 MB each when unpacked; at most 3 million pixels are held at once."""
    for k in range(6):
        picture = np.zeros((1000, 2000, 3), np.uint8)
        picture[: 100 * k + 50, :700] = 40 + k
        Image.fromarray(picture).save(tmp_path / f"{k}.png", compress_level=1)
    announce(tmp_path / "bomb.png", 100_000, 100_000)
    tracemalloc.start()
    report = look(tmp_path, max_pixels=3_000_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert report.pictures == 6 and named(report)["too large"] == {"bomb.png"}
    assert peak < 20e6, peak


@pytest.mark.skipif(not os.geteuid(), reason="root may read everything")
def test_a_folder_that_may_not_be_read(tmp_path: Path) -> None:
    clean(tmp_path)
    (tmp_path / "dog").chmod(0)
    try:
        assert named(look(tmp_path))["unreadable"] == {"dog"}
    finally:
        (tmp_path / "dog").chmod(0o755)


def test_groups_are_those_of_all_pairs() -> None:
    rng = np.random.default_rng(0)
    base = [(int(rng.integers(0, 2**63)), rng.integers(0, 256, 768)) for _ in range(12)]
    hashes, thumbnails = [], []
    for _ in range(150):
        mark, light = base[rng.integers(len(base))]
        for bit in rng.choice(63, rng.integers(0, 4), replace=False):
            mark ^= 1 << int(bit)
        hashes.append(mark)
        thumbnails.append((light + rng.integers(-9, 10, 768)).clip(0, 255).astype(np.uint8))
    group = list(range(150))
    for i in range(150):
        for j in range(i):
            apart = np.square(thumbnails[i].astype(float) - thumbnails[j]).mean()
            if (hashes[i] ^ hashes[j]).bit_count() <= 4 and apart <= 64:
                group = [min(group[i], group[j]) if one in (group[i], group[j]) else one for one in group]
    want = [[row for row in range(150) if group[row] == first] for first in sorted(set(group))]
    found = alike(np.array(hashes, dtype=np.uint64), thumbnails)
    assert found == [rows for rows in want if len(rows) > 1] and 12 <= len(found) < 60


def test_many_small_things_on_white_take_no_hours() -> None:
    """All their hashes are much the same, and all their means: 1,500 took 25 s when every pair was compared."""
    rng = np.random.default_rng(0)
    pictures = np.full((1500, 32, 32, 3), 255, dtype=np.uint8)
    for picture in pictures:
        down, across = rng.integers(12, 18, 2)
        picture[down : down + 3, across : across + 3] = rng.integers(0, 255, 3)
    both = [prints(picture) for picture in pictures]
    begun = time.process_time()
    assert len(alike(np.array([mark for mark, _ in both], dtype=np.uint64), [light for _, light in both])) == 1
    assert time.process_time() - begun < 8


def test_pairs_are_checked_with_their_maps(tmp_path: Path) -> None:
    """Half of every map is sea, a quarter sky, and the rest says nothing."""
    palette = Palette(("sky", "sea", "boat"), ((70, 130, 180), (0, 0, 142), (220, 20, 60)), ((0, 0, 0),))
    layout = np.zeros((48, 48), dtype=np.uint8)
    layout[:24], layout[24:, 24:] = 1, 255
    for k in range(20):
        save(tmp_path / "pictures" / f"{k:03}.png", k)
        (tmp_path / "layouts").mkdir(exist_ok=True)
        Image.fromarray(palette.painted(layout)).save(tmp_path / "layouts" / f"{k:03}.png")
    palette.write(tmp_path / "palette.json")
    report = look(tmp_path)
    assert report.healthy and report.classes == {} and report.pictures == 20
    assert report.things == {"sky": 0.25, "sea": 0.5, "boat": 0.0, "unsaid": 0.25}
    data = report.data()
    assert isinstance(data, Pairs) and data.things == palette.names and len(data.held_out()) == report.held_out
    (tmp_path / "pictures" / "003.png").unlink()
    (tmp_path / "layouts" / "004.png").unlink()
    odd = palette.painted(layout)
    odd[5, 6] = 255
    Image.fromarray(odd).save(tmp_path / "layouts" / "005.png")
    Image.fromarray(odd[:20]).save(tmp_path / "layouts" / "006.png")
    Image.fromarray(palette.painted(layout[:20])).save(tmp_path / "layouts" / "007.png")
    report = look(tmp_path)
    assert report["unpaired"].files == ("003", "004") and report["map broken"].count == 3
    assert report["map broken"].cases[0].why.startswith("has the colour #ffffff (255, 255, 255) at row 5, column 6")
    assert report["map broken"].cases[2].why.startswith("is 48 x 20 pixels and its picture 48 x 48")
    assert not report.healthy and report.broken == 5
    data = report.data().sibling("all")
    assert set(data.skipped) == {"003", "004", "005", "006", "007"} and len(data) == 15
