"""Write the flowers of the data root as a folder of JPEG files, one sub-folder a class: pictures to try a command on.

    python tools/flowers.py flowers
    mezzotint train flowers --size 64

The files are the bytes of the data root, 128 x 128 pixels each, under the names that the photographs had on Flickr;
they are CC BY, by their authors there. ``--count`` writes the first of them only.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "src")]

from mezzotint.core.errors import Refusal  # noqa: E402
from mezzotint.data import Flowers  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where to write them; it is made")
    parser.add_argument("--count", type=int, default=None, help="how many, in the order of the file; all unless given")
    given = parser.parse_args()
    try:
        print(f"{Flowers(split='all').write(given.folder, given.count):,} photographs in {given.folder}")
    except Refusal as refusal:
        print(refusal, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
