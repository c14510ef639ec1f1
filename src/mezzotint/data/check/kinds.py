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
    """

    severity: str
    says: str
    fix: str


_SKIP = "replace them; skip_broken leaves them out"
KINDS: dict[str, Kind] = {
    "empty": Kind("wrong", "of zero bytes", _SKIP),
    "not a picture": Kind("wrong", "called like pictures, of no kind that is read", _SKIP),
    "damaged": Kind("wrong", "cut off or damaged", _SKIP),
    "too large": Kind("wrong", "announcing more pixels than are unpacked", "make them smaller, or raise max_pixels"),
    "unreadable": Kind("wrong", "not to be read by this user", "allow it (chmod u+r); skip_broken leaves them out"),
    "link outside": Kind(
        "wrong",
        "links out of the folder, not looked at",
        "copy what they lead to (cp -rL), or pass links=True if you made them; skip_broken leaves them out",
    ),
    "mixed": Kind(
        "wrong",
        "lying loose beside sub-folders",
        "put every picture into the folder of its class, or all into one folder",
    ),
    "empty class": Kind("wrong", "without a picture", "fill or remove them"),
    "tables": Kind("wrong", "tables beside each other", "keep one of them in the folder"),
    "table broken": Kind("wrong", "with lines that cannot be read", "mend the lines; skip_broken leaves them out"),
    "table outside": Kind("wrong", "named by a table outside its folder, not looked at", "copy them into the folder"),
    "table missing": Kind("wrong", "named by a table and not there", "bring them back; skip_broken leaves them out"),
    "table twice": Kind("warning", "named more than once by a table", "keep one row a picture"),
    "broken link": Kind("warning", "links to nothing", "they are passed over; remove or mend them"),
    "link loop": Kind("warning", "links that come back to themselves", "they are passed over; remove them"),
    "no file": Kind("warning", "called like pictures, but no files", "they are passed over; rename or remove them"),
    "no ending": Kind("warning", "pictures without an ending", "they are passed over; add .jpg, or what they are"),
    "kind not read": Kind(
        "warning",
        "pictures of a kind that is not read",
        "they are passed over; make them PNG, JPEG, WebP, BMP or GIF",
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
    "alike": Kind("hint", "nearly the same as another", "look at them: they count twice"),
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
        "hint", "links to folders below a class", "they are passed over; move the folder itself there"
    ),
    "untold": Kind("hint", "named by no table", "they are passed over"),
    "other files": Kind("hint", "no pictures", "they are passed over"),
}
