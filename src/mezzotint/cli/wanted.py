"""What a person asks for in words, as numbers: labels by name or range, seeds by range."""

from __future__ import annotations

from collections.abc import Sequence

from mezzotint.core.errors import Refusal, nearest

MOST = 1_000_000


def seeds(text: str, flag: str = "seeds") -> list[int]:
    """``"0-63"``, ``"3,5,9"``, ``"0-3,10"``: whole numbers in the order given, as ``--seeds`` and ``--items`` take."""
    found: list[int] = []
    for piece in text.split(","):
        low, dash, high = piece.strip().partition("-")
        if not low.isdecimal() or (dash and not high.isdecimal()):
            raise Refusal(f"--{flag} is {text!r}, but {flag} are whole numbers and ranges such as 0-63 or 3,5,9")
        first, last = int(low), int(high) if dash else int(low)
        if last < first:
            raise Refusal(f"--{flag} has the range {piece.strip()!r}, which runs backwards; write {last}-{first}")
        if last >= 2**64:
            raise Refusal(f"--{flag} has {last}, but {flag} have 64 bits")
        if len(found) + last - first >= MOST:
            raise Refusal(f"--{flag} is {text!r}, which is more than {MOST:,} {flag}; ask for them in parts")
        found += range(first, last + 1)
    return found


def labels(text: str, classes: Sequence[str]) -> list[int]:
    """Labels by number or class name, in the order given: ``"3"``, ``"cat"``, ``"0-9"``, ``"3,5"``, ``"cat,dog"``.

    Where a class is *called* by a number, the name wins over the position.
    """
    whole = _one(text.strip(), classes)
    if whole is not None:
        return [whole]
    found: list[int] = []
    for piece in (part.strip() for part in text.split(",")):
        single = _one(piece, classes)
        found += [single] if single is not None else _span(piece, classes)
    return found


def _one(name: str, classes: Sequence[str]) -> int | None:
    if name in classes:
        return list(classes).index(name)
    if name.isdecimal() and int(name) < len(classes):
        return int(name)
    return None


def _span(piece: str, classes: Sequence[str]) -> list[int]:
    """Both ends of a range that can be understood, else a refusal that says what is known."""
    for place in (i for i, letter in enumerate(piece) if letter == "-"):
        first, last = _one(piece[:place].strip(), classes), _one(piece[place + 1 :].strip(), classes)
        if first is not None and last is not None:
            if last < first:
                raise Refusal(f"--label has the range {piece!r}, which runs backwards")
            return list(range(first, last + 1))
    known = ", ".join(classes[:12]) + (", ..." if len(classes) > 12 else "")
    if piece.replace("-", "").isdecimal():
        raise Refusal(f"label {piece} is out of range: this model knows the classes 0 to {len(classes) - 1} ({known})")
    raise Refusal(f"there is no class {piece!r}: {nearest(piece, list(classes))}")


def interval(text: str) -> tuple[float, float]:
    """``"0.2-0.8"``: two noise levels in [0, 1]."""
    low, dash, high = text.partition("-")
    try:
        pair = float(low), float(high)
    except ValueError:
        pair = (1.0, 0.0)
    if not 0 <= pair[0] <= pair[1] <= 1:
        raise Refusal(f"--interval is {text!r}, but it is two noise levels between 0 and 1, such as 0.2-0.8")
    return pair


def size(text: str) -> tuple[int, int]:
    """``"64"`` or ``"48x80"``: height and width in pixels."""
    high, times, wide = text.lower().partition("x")
    if not high.isdecimal() or (times and not wide.isdecimal()) or not int(high) or (times and not int(wide)):
        raise Refusal(f"--size is {text!r}, but it is a height and a width in pixels, such as 64 or 48x80")
    return int(high), int(wide) if times else int(high)
