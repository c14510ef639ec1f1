"""Scenes written out: a folder of PNG files, and a table beside them of all that is told of each.

The folder is one that :class:`~mezzotint.data.table.Table` reads, as does any tool that knows ``metadata.jsonl``: a
row a picture with the paths of its files, its caption and its words. Scene k is written the same whatever is written
before or after it, so writing that was stopped goes on where it was, and ends in the same bytes as writing that was not
(those of PNG files are the same for the same Pillow). The rows are written behind the files that they name, into a
hidden file that becomes the table when all are there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from mezzotint.core import config
from mezzotint.core.condition import Condition
from mezzotint.core.errors import Refusal
from mezzotint.core.folder import flush, write_text
from mezzotint.core.lock import alone
from mezzotint.core.spec import spec
from mezzotint.data.data import in_split
from mezzotint.data.scenes.scenes import Scenes
from mezzotint.data.scenes.words import COLOURS, FORMS, PLACES, RELATIONS, SIZES, TEXTURES

TABLE, SCENES, PICTURES = "metadata.jsonl", ".scenes.yaml", "pictures"
HELD_OUT = 0.1
"""The share of the pictures that the column ``split`` calls ``test``, by the hash of their name."""
AT_ONCE = 32
_PART = f".{TABLE}.part"
_WORDS = {"form": FORMS, "colour": COLOURS, "size": SIZES, "texture": (*TEXTURES, "private"), "place": PLACES}
_DEEP = 65535
MAPS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "layout": ("layouts", lambda z: z),
    "layout.instances": ("instances", lambda z: z),
    "layout.edges": ("edges", lambda z: np.uint8(255) * z[0].astype(np.uint8)),
    "mask": ("masks", lambda z: np.uint8(255) * z[0].astype(np.uint8)),
    "depth": ("depths", lambda z: np.rint(z[0] * _DEEP).astype(np.uint16)),
    "low": ("low", lambda z: _bytes(z)),
}
"""What is told as a file: its folder, and its pixels from what the scenes tell of one picture."""


def write(scenes: Scenes, folder: str | Path, count: int, progress: Callable[[int, int], None] | None = None) -> Path:
    """Write the first scenes of a set into a folder, and return the path of the table.

    Arguments:
        scenes: what to paint, and what to tell of it.
        folder: new, empty, or one in which the same scenes were begun.
        count: how many pictures.
        progress: told how many of how many are there.

    Raises:
        Refusal: the folder holds something else, or more scenes.
    """
    folder, scenes = Path(folder), _counted(scenes, count)
    if folder.exists() and not folder.is_dir():
        raise Refusal(f"{str(folder)!r} is a file; name a folder")
    folder.mkdir(parents=True, exist_ok=True)
    with alone(folder, "another program that writes these scenes", "wait for it"):
        done = _begin(scenes, folder, count)
        # Which object shows most is read off the map of instances, whether that is told or not.
        painted = replace(scenes, tells=tuple(dict.fromkeys((*scenes.tells, "layout.instances"))))
        tell = progress or (lambda done, total: None)
        tell(done, count)
        with (folder / _PART).open("ab") as table:
            while done < count:
                rows = np.arange(done, min(done + AT_ONCE, count))
                x, told = painted.items(rows)
                lines = [_row(scenes, folder, int(row), x[k], told[k]) for k, row in enumerate(rows)]
                table.write("".join(lines).encode())
                table.flush()
                done += len(rows)
                tell(done, count)
            os.fsync(table.fileno())
        (folder / _PART).replace(folder / TABLE)
        flush(folder)
    return folder / TABLE


def _counted(scenes: Scenes, count: int) -> Scenes:
    """The scenes as they are written: those to train on, with what the rows are made of."""
    if count < 1:
        raise Refusal(f"the number of scenes is {count}, but a set has at least one")
    return replace(scenes, split="train", pictures=count)


def _begin(scenes: Scenes, folder: Path, count: int) -> int:
    """Prepare the folder, and return how many scenes are written already."""
    state, table, part = folder / SCENES, folder / TABLE, folder / _PART
    said = {"data": spec(scenes)}
    if state.is_file():
        if _kind(config.load(state)) != _kind(said):
            raise Refusal(
                f"{str(folder)!r} holds other scenes, those that {SCENES} in it describes; ask for the same, or name "
                "another folder"
            )
    elif any(item.name != ".lock" for item in folder.iterdir()):
        raise Refusal(f"the folder {str(folder)!r} is not empty, and holds no scenes of ours; name another one")
    if table.is_file():
        table.replace(part)
    done = _rows(part)
    if done > count:
        part.replace(table)
        raise Refusal(f"{str(folder)!r} holds {done:,} of these scenes already, more than {count:,}; ask for more")
    write_text(state, config.dumps(said))
    for name in ("", *scenes.tells):
        if not name or name in MAPS:
            (folder / (MAPS[name][0] if name else PICTURES)).mkdir(exist_ok=True)
    return done


def _kind(tree: Any) -> Any:
    """The description of a set without its size."""
    data = tree.get("data") if isinstance(tree, dict) else None
    return {k: v for k, v in data.items() if "pictures" not in k} if isinstance(data, dict) else None


def _rows(part: Path) -> int:
    """How many whole rows are written; what is behind the last of them is cut off."""
    if not part.is_file():
        return 0
    done = at = 0
    with part.open("r+b") as file:
        for line in file:
            if not line.endswith(b"\n"):
                break
            done, at = done + 1, at + len(line)
        file.truncate(at)
    return done


def _row(scenes: Scenes, folder: Path, number: int, x: Tensor, told: Condition) -> str:
    """Write the files of one scene, and return its row of the table."""
    name = f"{number:07}.png"
    values = {key: told[key][0].numpy() for key in told.values}
    files = {"file_name": f"{PICTURES}/{name}"}
    _save(folder / files["file_name"], _bytes(x.numpy()))
    for key in scenes.tells:
        if key in MAPS:
            place, pixels = MAPS[key]
            files[key] = f"{place}/{name}"
            _save(folder / files[key], pixels(values[key]))
    held_out = in_split(files["file_name"], "held_out", HELD_OUT)
    row: dict[str, Any] = {"file_name": files.pop("file_name"), "split": "test" if held_out else "train"}
    for key in scenes.tells:
        row |= TOLD[key](values) if key in TOLD else {}
    return json.dumps(row | files, ensure_ascii=False) + "\n"


def _attributes(values: Mapping[str, Any]) -> dict[str, Any]:
    """The words of the object that shows most, a column each, and of all of them, from the farthest to the nearest."""
    there = np.flatnonzero(values["attributes.form"] >= 0).tolist()
    objects = [{name: words[values[f"attributes.{name}"][k]] for name, words in _WORDS.items()} for k in there]
    shown = np.bincount(values["layout.instances"].reshape(-1), minlength=max(there) + 2)
    first = objects[int(shown[[k + 1 for k in there]].argmax())]
    related = values["attributes.relations"]
    pairs = [
        [there.index(i), RELATIONS[related[i, j]], there.index(j)] for i in there for j in there if related[i, j] > 0
    ]
    columns = {name: word for name, word in first.items() if name != "form"}
    return {"count": len(objects), **columns, "objects": objects, "relations": pairs}


def _shares(values: Any) -> list[Any]:
    """Numbers with six digits behind the point: a millionth of a side."""
    found: list[Any] = np.round(values.astype(np.float64), 6).tolist()
    return found


TOLD: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "label": lambda z: {"label": FORMS[int(z["label"])]},
    "attributes": _attributes,
    "caption": lambda z: {"caption": bytes(z["caption"]).rstrip(b"\0").decode()},
    "boxes": lambda z: {"boxes": _shares(z["boxes"][z["boxes.label"] >= 0])},
    "keypoints": lambda z: {"keypoints": _shares(z["keypoints"].reshape(-1, 3))},
}
"""What is told as columns of the row."""


def _bytes(picture: Any) -> Any:
    """A picture (C, H, W) in [-1, 1] as bytes (H, W, C)."""
    return np.rint((picture.transpose(1, 2, 0) + 1) * 127.5).clip(0, 255).astype(np.uint8)


def _save(path: Path, pixels: Any) -> None:
    """Write a PNG that is whole or absent."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        Image.fromarray(pixels).save(temporary, format="PNG")
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
