"""A page in one file: markup that escapes by construction, and a shell that may fetch nothing.

Whatever enters a page is either :class:`Html`, made here, or a value, which is escaped on its way in; so a class name
or a path can hold anything and stays text. The shell carries its style inline, needs no script, and forbids the browser
to load anything from anywhere.
"""

from __future__ import annotations

from functools import cache
from html import escape
from importlib.resources import files

_VOID = frozenset({"img", "meta", "link", "br"})
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


class Html(str):
    """Text that is markup already; every other string is escaped when it enters a page."""

    __slots__ = ()


def html(value: object) -> Html:
    """A value as markup: itself if it is markup, escaped (quotes too) if it is not."""
    return value if isinstance(value, Html) else Html(escape(str(value), quote=True))


def join(parts: object, between: str = "") -> Html:
    """Markup and values (any iterable, None left out) one after another."""
    assert not isinstance(parts, str)
    return Html(html(between).join(html(part) for part in parts if part is not None))  # type: ignore[attr-defined]


def tag(name: str, /, *children: object, **attributes: object) -> Html:
    """An element.

    Arguments:
        name: of the element.
        children: markup or values; None is left out.
        attributes: ``class_`` is written ``class``, other underscores as hyphens; None and False are left out, True is
            a bare attribute.
    """
    written = []
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        key = key.rstrip("_").replace("_", "-")
        written.append(f" {key}" if value is True else f' {key}="{html(str(value))}"')
    opening = f"<{name}{''.join(written)}>"
    return Html(opening if name in _VOID else f"{opening}{join(children)}</{name}>")


def section(title: str, *parts: object) -> Html:
    """A part of a page under its heading."""
    return tag("section", tag("h2", title), *parts)


@cache
def _style() -> Html:
    return Html((files("mezzotint.cli") / "page.css").read_text(encoding="utf-8"))


def document(title: str, *sections: object) -> str:
    """The whole page: self-contained, readable on a phone, light or dark as the reader has it."""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="generator", content="mezzotint"),
        tag("link", rel="icon", href="data:,"),
        tag("title", title),
        tag("style", _style()),
    )
    body = tag("body", tag("main", *(Html(f"\n{html(section)}") for section in sections if section is not None)))
    return f"<!doctype html>\n{tag('html', head, Html(chr(10)), body, lang='en')}\n"
