"""What every picture is asked to show: a class, a caption, what is told of an item of the data, and what to move away
from.

Every item, every label and every caption is drawn with every seed. A picture carries its captions once, however many
are drawn of each, and which of them is whose. Labels and captions that are named take the place of the item's own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from mezzotint.cli import layouts, wanted
from mezzotint.cli.console import note
from mezzotint.core.bounded import read_bytes
from mezzotint.core.condition import NONE, Condition
from mezzotint.core.errors import Refusal
from mezzotint.core.text import written

if TYPE_CHECKING:
    from mezzotint.cli.drawing import Model
    from mezzotint.cli.flags import Asked, Telling

SEEDS = "0-7"


class Source(Protocol):
    """What says what to draw, row by row: items of the data, or maps in files.

    Attributes:
        key: under what pictures carry it.
        mark: of its content, None where every file of it is looked at.
        remarks: sentences about how it was read.
        licence: what a sheet that holds some of it says of it, or nothing.
    """

    @property
    def key(self) -> str: ...
    @property
    def mark(self) -> str | None: ...
    @property
    def remarks(self) -> tuple[str, ...]: ...
    @property
    def licence(self) -> str: ...
    def usual(self) -> list[int]: ...
    def check(self, rows: Sequence[int]) -> None: ...
    def cond(self, rows: Sequence[int]) -> Condition: ...
    def record(self, rows: Sequence[int]) -> dict[str, Any]: ...
    def arrays(self, rows: Sequence[int]) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Told:
    """One row a picture.

    Arguments:
        labels: classes, or None where none is asked for.
        captions: texts, or None where none is asked for.
        negative: what all of them move away from, or None.
        items: rows of the source that say what to draw, or None.
        source: the data, or maps.
        mark: of the data that the items were of; None: of ``source``.
    """

    labels: list[int] | None = None
    captions: list[str] | None = None
    negative: str | None = None
    items: list[int] | None = None
    source: Source | None = field(default=None, compare=False, repr=False)
    mark: str | None = field(default=None, compare=False)

    @property
    def kinds(self) -> int:
        """How many different things are asked for."""
        each = [column for column in (self.items, self.labels, self.captions) if column is not None]
        return len(set(zip(*each, strict=True))) if each else 1

    @property
    def texts(self) -> list[str]:
        """Every caption once, in the order in which they are first asked for."""
        return list(dict.fromkeys(self.captions or ()))

    def cond(self) -> Condition:
        """As the model is told."""
        cond = NONE if self.items is None or self.source is None else self.source.cond(self.items)
        cond = cond if self.labels is None else cond | Condition(label=self.labels)
        if self.captions is not None:
            cond = cond | Condition(caption=written(self.captions))
            if self.negative is not None:
                cond = cond | Condition(**{"negative.caption": written([self.negative] * len(self.captions))})
        return cond

    def record(self) -> dict[str, Any]:
        """What the pictures carry; captions have entries of their own where there are any."""
        found: dict[str, Any] = {"labels": self.labels}
        if self.captions is not None:
            number = {text: place for place, text in enumerate(self.texts)}
            found["captions"] = {"texts": self.texts, "rows": [number[text] for text in self.captions]}
            found["negative"] = self.negative
        if self.items is not None and self.source is not None:
            found[self.source.key] = self.source.record(self.items)
        return found

    @property
    def mapped(self) -> layouts.Layouts | None:
        """The maps that say what to draw, where they are files."""
        return self.source if isinstance(self.source, layouts.Layouts) else None

    def row(self, row: int) -> Told:
        """What one picture is asked to show."""
        return self.rows(slice(row, row + 1))

    def rows(self, rows: slice) -> Told:
        """What some pictures are asked to show."""
        return replace(
            self,
            labels=None if self.labels is None else self.labels[rows],
            captions=None if self.captions is None else self.captions[rows],
            items=None if self.items is None else self.items[rows],
        )

    def names(self, seeds: list[int], classes: int) -> list[str]:
        """A file name a picture: its item, its label, the number of its caption and its seed, as far as it has them."""
        digits, number = len(str(max(1, classes - 1))), {text: i for i, text in enumerate(self.texts)}
        wide = len(str(max(1, len(number) - 1)))
        far, names = len(str(max(self.items or [0]))), []
        for row, seed in enumerate(seeds):
            parts = [] if self.items is None else [f"{self.items[row]:0{far}d}"]
            parts += [] if self.labels is None else [f"{self.labels[row]:0{digits}d}"]
            parts += [] if self.captions is None else [f"{number[self.captions[row]]:0{wide}d}"]
            names.append("-".join([*parts, f"{seed:06d}"]) + ".png")
        return names


def before(old: dict[str, Any]) -> Told | None:
    """What an earlier picture was asked to show; None where its settings are not whole."""
    count, labels, said, negative = len(old["seeds"]), old.get("labels"), old.get("captions"), old.get("negative")
    if labels is not None and not (_numbers(labels, 2**31) and len(labels) == count):
        return None
    of = old.get("items")
    items, mark = (of.get("rows"), of.get("mark")) if isinstance(of, dict) else (None, None)
    if of is not None and not (_numbers(items, 2**62) and len(items or ()) == count and isinstance(mark, str)):
        return None
    if layouts.KEY in old:
        items = layouts.before(old, count)
        if items is None or of is not None:
            return None
    if said is None:
        return Told(labels, items=items, mark=mark) if negative is None else None
    texts, rows = (said.get("texts"), said.get("rows")) if isinstance(said, dict) else (None, None)
    whole = isinstance(texts, list) and texts and all(isinstance(text, str) for text in texts)
    if not whole or not isinstance(texts, list) or not isinstance(negative, str | None):
        return None
    if not isinstance(rows, list) or not _numbers(rows, len(texts)) or len(rows) != count:
        return None
    return Told(labels, [texts[row] for row in rows], negative, items, mark=mark)


def _numbers(values: Any, end: int) -> bool:
    return isinstance(values, list) and all(type(value) is int and 0 <= value < end for value in values)


def asked(
    args: Asked, every: bool, old: dict[str, Any], model: Model, items: Callable[[], Source]
) -> tuple[Told, list[int]]:
    """What the flags ask for, laid over an earlier picture, and a seed a picture.

    Arguments:
        args: of the verb.
        every: whether all classes, or the captions that the model brings, are drawn where none is named.
        old: the settings inside the picture to be repeated, {} where there is none.
        model: which is asked.
        items: opens the data or the maps that say what to draw, where they are asked for.
    """
    given = args.telling
    if args.label is not None and not model.classes:
        raise Refusal(f"the model in {model.path!r} knows no classes, so it takes no --label")
    texts = _captions(given)
    for flag, said in (("caption", texts), ("negative", given.negative)):
        if said is not None and not model.reads:
            raise Refusal(f"the model in {model.path!r} knows no captions, so it takes no --{flag}")
    was = before(old) if old else None
    if was is not None:
        for what, mine, known in (("classes", was.labels, model.classes), ("captions", was.captions, model.reads)):
            if mine is not None and not known:
                raise Refusal(
                    f"the picture {args.output.like!r} and the model in {model.path!r} do not agree on whether there "
                    f"are {what}"
                )
        plain = args.label is None and texts is None and given.items is None and not given.maps
        if plain and args.seeds is None and given.negative is None:
            if every and was == Told() and (model.classes or model.reads or model.more):
                raise Refusal(
                    f"the picture {args.output.like!r} was asked to show nothing, but the model in {model.path!r} "
                    "is told what to show; name it with --label or --caption"
                )
            return _opened(was, items), old["seeds"]
    seeds = wanted.seeds(args.seeds) if args.seeds is not None else old.get("seeds") or wanted.seeds(SEEDS)
    seeds = list(dict.fromkeys(seeds))
    then = Told() if was is None else was
    labels = wanted.labels(args.label, model.classes) if args.label is not None else then.labels
    texts = texts if texts is not None else then.captions
    source, rows, mark = None, then.items, then.mark
    if given.items is not None:
        rows, mark = wanted.seeds(given.items, "items"), None
    elif given.maps:
        rows, mark = None, None
    if rows is not None or given.maps or (every and model.more):
        source = items()
        rows = source.usual() if rows is None else rows
        source.check(rows)
    if labels is None and texts is None and rows is None and every:
        texts = _usual(model) if model.reads else None
        labels = list(range(len(model.classes))) if texts is None else None
    kinds = [(row, label, text) for row in _each(rows) for label in _each(labels) for text in _each(texts)]
    if len(kinds) * len(seeds) > wanted.MOST:
        all_of = (("maps" if given.maps else "items", rows), ("labels", labels), ("captions", texts))
        what = " and ".join(name for name, values in all_of if values)
        raise Refusal(
            f"{len(kinds)} {what} with {len(seeds)} seeds are more than {wanted.MOST:,} pictures; ask in parts"
        )
    negative = given.negative if given.negative is not None else then.negative
    if negative is not None and not texts:
        raise Refusal("--negative says what a caption is to keep clear of, and there is none; name one with --caption")
    told = Told(
        [label for _, label, _ in kinds] * len(seeds) if labels else None,
        [text for _, _, text in kinds] * len(seeds) if texts else None,
        negative,
        [row for row, _, _ in kinds] * len(seeds) if rows else None,
        mark=mark,
    )
    told.cond()  # refuses texts that are none
    return _opened(told, items if source is None else lambda: source), [seed for seed in seeds for _ in kinds]


def _opened(told: Told, items: Callable[[], Source]) -> Told:
    """The same with what its items are of, which must be that of the picture to be repeated."""
    if told.items is None:
        return told
    source = items()
    source.check(told.items)
    if told.mark not in (None, source.mark):
        raise Refusal(
            "the data of the model are not those that the picture was asked to show items of: they have changed, so it "
            "cannot be repeated; name --items anew, or say where the data are with --set data.path=..."
        )
    return replace(told, source=source)


def _each(values: list[Any] | None) -> list[Any]:
    return list(dict.fromkeys(values)) if values else [None]


def _usual(model: Model) -> list[str]:
    if not model.captions:
        raise Refusal(
            f"the model in {model.path!r} draws what a caption says, and brings none of its own; "
            "name one with --caption"
        )
    return list(model.captions)


def _captions(given: Telling) -> list[str] | None:
    """The captions of the flags, or None where none is given."""
    if given.caption is None and given.caption_file is None:
        return None
    if given.caption == ():
        raise Refusal('--caption takes texts, such as --caption "a red circle" "a blue one", and was given nothing')
    texts = list(given.caption or ())
    if len(texts) > 2 and not any(" " in text for text in texts):
        note(f'{len(texts)} captions of one word each; if they are one caption, put it in quotes: "{" ".join(texts)}"')
    if given.caption_file is not None:
        path = Path(given.caption_file)
        try:
            lines = [line.removesuffix("\r") for line in read_bytes(path).decode("utf-8-sig").split("\n")]
        except UnicodeDecodeError as error:
            raise Refusal(f"{str(path)!r} is not text in UTF-8: {error}") from None
        found = [line for line in lines if line.strip()]
        if not found:
            raise Refusal(f"there is no caption in {str(path)!r}: it holds no line with text")
        texts += found
    if len(set(texts)) < len(texts):
        often = next(text for text in texts if texts.count(text) > 1)
        note(f"{len(texts) - len(set(texts))} captions are said again, such as {often!r:.80}, and each is drawn once")
    return texts
