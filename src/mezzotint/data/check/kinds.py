"""What can be found in a folder of pictures, how bad it is, and what to do about it.

The table is the whole register. A kind is *wrong* where training as it is stops at it or learns what is not so, a
*warning* where pictures are left out or what is measured afterwards is spoilt, and a *hint* where nothing is to be done
but something is to be known.
"""

from __future__ import annotations

from dataclasses import dataclass

SEVERITIES = ("wrong", "warning", "hint")


@dataclass(frozen=True)
class Kind:
    """One kind of finding.

    Arguments:
        severity: ``wrong``, ``warning`` or ``hint``.
        says: what it is, to be read behind a number of files.
        fix: what to do, or what is done with such files as they are.
        one: the same as ``says`` of one file, where that differs.
    """

    severity: str
    says: str
    fix: str
    one: str = ""

    def of(self, count: int) -> str:
        """What so many of them are, with their number: ``1 link to nothing``."""
        return f"{count:,} {self.one if count == 1 and self.one else self.says}"


_LEAVE = "the recipe leaves them out (skip_broken, or --skip-broken)"
_SKIP = f"replace them; {_LEAVE}"
KINDS: dict[str, Kind] = {
    "empty": Kind("wrong", "of zero bytes", _SKIP),
    "not a picture": Kind(
        "wrong",
        "called like pictures, of no kind that is read",
        _SKIP,
        "called like a picture, of no kind that is read",
    ),
    "damaged": Kind("wrong", "cut off or damaged", _SKIP),
    "too large": Kind("wrong", "announcing more pixels than are unpacked", "make them smaller, or raise max_pixels"),
    "unreadable": Kind("wrong", "not to be read by this user", f"allow it (chmod u+r); {_LEAVE}"),
    "link outside": Kind(
        "wrong",
        "links out of the folder, not looked at",
        f"copy what they lead to (cp -rL), or, if you made them, pass links=True (--set data.links=true); {_LEAVE}",
        "link out of the folder, not looked at",
    ),
    "mixed": Kind(
        "wrong",
        "lying loose beside sub-folders",
        "put every picture into the folder of its class, or all into one folder",
    ),
    "unpaired": Kind(
        "wrong",
        "without a picture or a map of one name",
        f"a picture and its map are called the same but for the ending; {_LEAVE}",
    ),
    "map broken": Kind(
        "wrong", "that cannot be read as maps", f"mend them, or the palette; {_LEAVE}", "that cannot be read as a map"
    ),
    "empty class": Kind("wrong", "without a picture", "fill or remove them"),
    "tables": Kind("wrong", "tables beside each other", "keep one of them in the folder"),
    "column unclear": Kind(
        "wrong", "table whose columns could mean one thing", "rename a column; the recipe takes neither"
    ),
    "table broken": Kind("wrong", "with lines that cannot be read", f"mend the lines; {_LEAVE}"),
    "table outside": Kind("wrong", "named by a table outside its folder, not looked at", "copy them into the folder"),
    "table missing": Kind("wrong", "named by a table and not there", f"bring them back; {_LEAVE}"),
    "table twice": Kind("warning", "named more than once by a table", "keep one row a picture"),
    "mostly untold": Kind(
        "warning",
        "named by no table, more than are named",
        "they are passed over: add a row for each, or take the table away to train on all of the folder",
    ),
    "broken link": Kind("warning", "links to nothing", "they are passed over; remove or mend them", "link to nothing"),
    "link loop": Kind(
        "warning",
        "links that come back to themselves",
        "they are passed over; remove them",
        "link that comes back to itself",
    ),
    "no file": Kind(
        "warning",
        "called like pictures, but no files",
        "they are passed over; rename or remove them",
        "called like a picture, but no file",
    ),
    "no ending": Kind(
        "warning",
        "pictures without an ending",
        "they are passed over; add .jpg, or what they are",
        "picture without an ending",
    ),
    "kind not read": Kind(
        "warning",
        "pictures of a kind that is not read",
        "they are passed over; make them PNG, JPEG, WebP, BMP or GIF",
        "picture of a kind that is not read",
    ),
    "same file": Kind("warning", "the same as another, byte by byte", "keep one of each: a copy counts twice"),
    "same pixels": Kind(
        "warning", "showing the pixels of another file", "keep one of each: what is there twice counts twice"
    ),
    "two classes": Kind("warning", "standing in two classes", "keep the one whose class is right"),
    "both splits": Kind(
        "warning",
        "both trained on and held out",
        "keep one of each: what is judged by held-out pictures looks better than it is",
    ),
    "alike": Kind(
        "hint",
        "nearly the same as another",
        "look at them: what is there in many versions is drawn more often than the rest",
    ),
    "alike, both splits": Kind(
        "hint",
        "nearly the same as another, one trained on and one held out",
        "look at them: what is judged by held-out pictures may look better than it is",
    ),
    "flat": Kind("hint", "of one shade all over", "look at them: there is nothing to learn from"),
    "one class": Kind("hint", "the only class", "with nothing to tell apart, put the pictures into one folder"),
    "unbalanced": Kind("hint", "with less than a tenth of the largest class", "add pictures to them"),
    "none held out": Kind(
        "hint", "without a picture that is held out", "a model is judged by held-out pictures: add some"
    ),
    "sizes differ": Kind("hint", "of another size than the first", "they are brought to one: pass a size"),
    "small": Kind("hint", "smaller than the size, and enlarged", "choose a smaller size, or take them out"),
    "rotated": Kind("hint", "turned by their EXIF orientation", "they are read upright"),
    "transparent": Kind("hint", "with transparency", "they are laid on white"),
    "animated": Kind("hint", "with more than one frame", "the first frame is read"),
    "16-bit": Kind("hint", "with 16 bits a channel", "they are read with 8"),
    "CMYK": Kind("hint", "in the colours of printers (CMYK)", "they are read as RGB, without their profile"),
    "ending": Kind("hint", "of another kind than their ending says", "they are read as what they are"),
    "unicode name": Kind("hint", "with letters beyond ASCII in their names", "they are read as they are"),
    "unprintable name": Kind("hint", "with characters in their names that cannot be shown", "rename them"),
    "folder not followed": Kind(
        "hint",
        "links to folders below a class",
        "they are passed over; move the folder itself there",
        "link to a folder below a class",
    ),
    "few held out": Kind(
        "hint",
        "held out, so few that evaluations will say little",
        "add pictures, or hold out a larger share (--set data.held_out_share=0.2)",
    ),
    "untold": Kind("hint", "named by no table", "they are passed over"),
    "other files": Kind("hint", "no pictures", "they are passed over", "no picture"),
}
