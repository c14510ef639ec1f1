"""Sphinx's settings: Markdown pages by MyST, the furo theme, and nothing fetched from anywhere."""

from __future__ import annotations

import tomllib
from pathlib import Path

with (Path(__file__).resolve().parent.parent / "pyproject.toml").open("rb") as file:
    _package = tomllib.load(file)["project"]

project = "mezzotint"
author = "The mezzotint authors"
copyright = "The mezzotint authors"
release = _package["version"]

extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
nitpicky = True

myst_enable_extensions = ["deflist", "dollarmath"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = f"mezzotint {release}"
html_copy_source = False
