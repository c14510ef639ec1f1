"""The one error a user can cause: a refusal in one sentence.

Every part that cannot do what it was asked says so with :class:`Refusal`: what was given, what was expected, what to
do. The command line prints the sentence and exits with code 2; everything else that escapes is a defect of ours.
"""

import errno
import os

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
DISK = (*FULL, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO)
"""What a disk answers that is full, or that may not be written to."""


class Refusal(ValueError):
    """A request that cannot be met, explained in one sentence for the person who made it."""


def from_disk(error: OSError) -> str:
    """What the disk said, in words: ``no space left on device``."""
    said = error.strerror or (os.strerror(error.errno) if error.errno else str(error))
    return said[:1].lower() + said[1:]


def nearest(name: str, known: "list[str] | tuple[str, ...]") -> str:
    """Return `` (did you mean 'x'?)`` for the closest known name, or the list of known names."""
    from difflib import get_close_matches

    close = get_close_matches(name, list(known), n=1, cutoff=0.5)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"known: {', '.join(sorted(known)) or 'none'}"
