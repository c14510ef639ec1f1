"""What every picture is asked to show: a class, a caption, both or neither, and what it is to move away from.

Every label and every caption is drawn with every seed. A picture carries its captions once, however many are drawn of
each, and which of them is whose.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mezzotint.cli import wanted
from mezzotint.cli.console import note
from mezzotint.core.bounded import read_bytes
from mezzotint.core.condition import NONE, Condition
from mezzotint.core.errors import Refusal
from mezzotint.core.text import written

if TYPE_CHECKING:
    from mezzotint.cli.drawing import Model
    from mezzotint.cli.flags import Asked, Telling

SEEDS = "0-7"


@dataclass(frozen=True)
class Told:
    """One row a picture.

    Arguments:
        labels: classes, or None where none is asked for.
        captions: texts, or None where none is asked for.
        negative: what all of them move away from, or None.
    """

    labels: list[int] | None = None
    captions: list[str] | None = None
    negative: str | None = None

    @property
    def kinds(self) -> int:
        """How many different things are asked for."""
        each = [column for column in (self.labels, self.captions) if column is not None]
        return len(set(zip(*each, strict=True))) if each else 1

    @property
    def texts(self) -> list[str]:
        """Every caption once, in the order in which they are first asked for."""
        return list(dict.fromkeys(self.captions or ()))

    def cond(self) -> Condition:
        """As the model is told."""
        cond = NONE if self.labels is None else Condition(label=self.labels)
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
        return found

    def row(self, row: int) -> Told:
        """What one picture is asked to show."""
        return replace(
            self,
            labels=None if self.labels is None else [self.labels[row]],
            captions=None if self.captions is None else [self.captions[row]],
        )

    def names(self, seeds: list[int], classes: int) -> list[str]:
        """A file name a picture: its label, the number of its caption and its seed, as far as it has them."""
        digits, number = len(str(max(1, classes - 1))), {text: i for i, text in enumerate(self.texts)}
        wide = len(str(max(1, len(number) - 1)))
        names = []
        for row, seed in enumerate(seeds):
            parts = [] if self.labels is None else [f"{self.labels[row]:0{digits}d}"]
            parts += [] if self.captions is None else [f"{number[self.captions[row]]:0{wide}d}"]
            names.append("-".join([*parts, f"{seed:06d}"]) + ".png")
        return names


def before(old: dict[str, Any]) -> Told | None:
    """What an earlier picture was asked to show; None where its settings are not whole."""
    count, labels, said, negative = len(old["seeds"]), old.get("labels"), old.get("captions"), old.get("negative")
    if labels is not None and not (_numbers(labels, 2**31) and len(labels) == count):
        return None
    if said is None:
        return Told(labels) if negative is None else None
    texts, rows = (said.get("texts"), said.get("rows")) if isinstance(said, dict) else (None, None)
    whole = isinstance(texts, list) and texts and all(isinstance(text, str) for text in texts)
    if not whole or not isinstance(texts, list) or not isinstance(negative, str | None):
        return None
    if not isinstance(rows, list) or not _numbers(rows, len(texts)) or len(rows) != count:
        return None
    return Told(labels, [texts[row] for row in rows], negative)


def _numbers(values: Any, end: int) -> bool:
    return isinstance(values, list) and all(type(value) is int and 0 <= value < end for value in values)


def asked(args: Asked, every: bool, old: dict[str, Any], model: Model) -> tuple[Told, list[int]]:
    """What the flags ask for, laid over an earlier picture, and a seed a picture.

    Arguments:
        args: of the verb.
        every: whether all classes, or the captions that the model brings, are drawn where none is named.
        old: the settings inside the picture to be repeated, {} where there is none.
        model: which is asked.
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
        if args.label is None and texts is None and args.seeds is None and given.negative is None:
            if every and was.labels is None and was.captions is None and (model.classes or model.reads):
                raise Refusal(
                    f"the picture {args.output.like!r} was asked to show nothing, but the model in {model.path!r} "
                    "is told what to show; name it with --label or --caption"
                )
            return was, old["seeds"]
    seeds = wanted.seeds(args.seeds) if args.seeds is not None else old.get("seeds") or wanted.seeds(SEEDS)
    seeds = list(dict.fromkeys(seeds))
    then = Told() if was is None else was
    labels = wanted.labels(args.label, model.classes) if args.label is not None else then.labels
    texts = texts if texts is not None else then.captions
    if labels is None and texts is None and every:
        texts = _usual(model) if model.reads else None
        labels = list(range(len(model.classes))) if texts is None else None
    kinds = [(label, text) for label in _each(labels) for text in _each(texts)]
    if len(kinds) * len(seeds) > wanted.MOST:
        what = "labels" if not texts else "captions" if not labels else "labels and captions"
        raise Refusal(
            f"{len(kinds)} {what} with {len(seeds)} seeds are more than {wanted.MOST:,} pictures; ask in parts"
        )
    negative = given.negative if given.negative is not None else then.negative
    if negative is not None and not texts:
        raise Refusal("--negative says what a caption is to keep clear of, and there is none; name one with --caption")
    told = Told(
        [label for label, _ in kinds] * len(seeds) if labels else None,
        [text for _, text in kinds] * len(seeds) if texts else None,
        negative,
    )
    told.cond()  # refuses texts that are none
    return told, [seed for seed in seeds for _ in kinds]


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
