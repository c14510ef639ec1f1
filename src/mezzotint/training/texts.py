"""Samples as texts: a sheet of them, and files that carry the settings that made them.

The settings are the last line of the file, after :data:`KEY`: one JSON document, as a PNG of ours has it inside. What a
terminal would obey, such as escape sequences, is U+FFFD on a sheet.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mezzotint.core.bounded import parse_json, read_bytes
from mezzotint.core.errors import Refusal
from mezzotint.core.folder import write_text

KEY = "mezzotint: "
_KEPT = "\n\t"


def plain(text: str) -> str:
    """The text without characters that only a terminal would act on; line breaks and tabs stay."""
    return "".join("\ufffd" if unicodedata.category(c) == "Cc" and c not in _KEPT else c for c in text)


def sheet(texts: Sequence[str], titles: Sequence[str]) -> str:
    """Texts one after the other, each under its title and parted by an empty line."""
    return "\n".join(f"--- {title} ---\n{plain(text)}\n" for title, text in zip(titles, texts, strict=True))


def save_texts(path: str | Path, text: str, settings: dict[str, Any] | None = None) -> None:
    """Write a text, with ``settings`` as its last line; the file is whole or absent."""
    said = "" if settings is None else f"\n{KEY}{json.dumps(settings, ensure_ascii=False)}\n"
    write_text(path, text + said)


def read_settings(path: str | Path) -> dict[str, Any]:
    """The settings inside a text of ours; refuses other texts."""
    try:
        lines = read_bytes(Path(path)).decode().rstrip("\n").rsplit("\n", 1)
    except UnicodeDecodeError:
        lines = [""]
    if not lines[-1].startswith(KEY):
        raise Refusal(
            f"{str(path)!r} carries no settings: it was not written by mezzotint, or another program took its last "
            "line away"
        )
    settings = parse_json(lines[-1].removeprefix(KEY), f"what {str(path)!r} carries")
    if not isinstance(settings, dict):
        raise Refusal(f"the settings inside {str(path)!r} cannot be read")
    return settings
