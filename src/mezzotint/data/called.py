"""What columns mean that are called as everybody calls them; the command line and the check of a folder go by it."""

from __future__ import annotations

from collections.abc import Collection

PICTURES = ("file_name", "image")
LABELS = ("label", "class")
CAPTIONS = ("caption", "text")


def called(columns: Collection[str], known: Collection[str]) -> list[str]:
    """The columns that are called so: none, one, or several, which is unclear."""
    return [name for name in known if name in columns]
