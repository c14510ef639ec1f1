"""Records with known truth, and the containers they are written into: a table, tar shards, Arrow and Parquet files."""

from __future__ import annotations

import csv
import io
import json
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

COLUMNS = {
    "label": "kind",
    "caption": "text",
    "attributes": ("colour", "count", "weight"),
    "keypoints": "points",
    "split_by": "part",
}
FILES = ("layout", "image", "mask")


@dataclass
class Made:
    """One record: its cells, and its pictures as PNG."""

    name: str
    cells: dict[str, Any]
    files: dict[str, bytes]


def png(values: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(values).save(out, "PNG")
    return out.getvalue()


def records(count: int = 12, height: int = 20, width: int = 30, seed: int = 0) -> list[Made]:
    """Pictures of noise with a white dot, its mask, its map and its point; captions of several scripts."""
    rng = np.random.default_rng(seed)
    out = []
    for k in range(count):
        down, across = int(rng.integers(3, height - 3)), int(rng.integers(3, width - 3))
        picture = rng.integers(0, 200, (height, width, 3), dtype=np.uint8)
        dot = np.zeros((height, width), bool)
        dot[down - 2 : down + 2, across - 2 : across + 2] = True
        picture[dot] = 255
        files = {
            "picture": png(picture),
            "layout": png(np.where(dot, 3, k % 3).astype(np.uint8)),
            "image": png(255 - picture),
            "mask": png(np.where(dot, 255, 0).astype(np.uint8)),
        }
        cells = {
            "kind": ("cat", "ant", "bee")[k % 3],
            "text": ("a dot", "ein Punkt, größer", "点")[k % 3] + f" {k}",
            "colour": ("red", "blue")[k % 2],
            "count": k,
            "weight": k / 4,
            "points": [[across / width, down / height, 2], [0.5, 0.5, k % 2]],
            "part": "test" if k % 4 == 3 else "train",
        }
        out.append(Made(f"{k:04}", cells, files))
    return out


def table(root: Path, made: list[Made], kind: str = "jsonl", files: tuple[str, ...] = FILES) -> Path:
    """``metadata.jsonl``, ``.csv`` or ``.parquet`` beside the files."""
    root.mkdir(parents=True, exist_ok=True)
    rows = []
    for one in made:
        row = dict(one.cells)
        for what in ("picture", *files):
            if what not in one.files:
                continue
            name = f"{one.name}.png" if what == "picture" else f"{what}/{one.name}.png"
            (root / name).parent.mkdir(exist_ok=True)
            (root / name).write_bytes(one.files[what])
            row["file_name" if what == "picture" else what] = name
        rows.append(row)
    target = root / f"metadata.{kind}"
    if kind == "jsonl":
        target.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    elif kind == "csv":
        with target.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)))
            writer.writeheader()
            writer.writerows({**row, "points": json.dumps(row["points"])} if row["points"] else row for row in rows)
    else:
        import pyarrow
        from pyarrow import parquet

        parquet.write_table(pyarrow.Table.from_pylist(rows), target)
    return root


def shards(root: Path, made: list[Made], each: int = 5, files: tuple[str, ...] = FILES) -> Path:
    """Tar files in the layout of WebDataset: ``key.png``, ``key.mask.png``, ..., and the cells as ``key.json``."""
    root.mkdir(parents=True, exist_ok=True)
    for start in range(0, len(made), each):
        with tarfile.open(root / f"part-{start // each:03}.tar", "w") as tar:
            for one in made[start : start + each]:
                put(tar, f"{one.name}.png", one.files["picture"])
                for what in files:
                    if what in one.files:
                        put(tar, f"{one.name}.{what}.png", one.files[what])
                put(tar, f"{one.name}.json", json.dumps(one.cells).encode())
    return root


def put(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))


def hugging(made: list[Made], files: tuple[str, ...] = FILES) -> Any:
    """A ``datasets.Dataset`` with the files embedded and the kinds as ClassLabel."""
    import datasets

    kinds = sorted({one.cells["kind"] for one in made})
    features = {what: datasets.Image() for what in ("image_file", *files)}
    features |= {"kind": datasets.ClassLabel(names=kinds)}
    features |= {name: datasets.Value("string") for name in ("text", "colour", "part")}
    features |= {"count": datasets.Value("int64"), "weight": datasets.Value("float32")}
    features |= {"points": datasets.List(datasets.List(datasets.Value("float32")))}
    rows = [
        {**one.cells, "image_file": {"bytes": one.files["picture"], "path": f"{one.name}.png"}}
        | {what: {"bytes": one.files[what], "path": None} for what in files}
        for one in made
    ]
    return datasets.Dataset.from_list(rows, features=datasets.Features(features))
