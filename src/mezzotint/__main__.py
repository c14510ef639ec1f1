"""``python -m mezzotint``: the command without its script."""

import sys

from mezzotint.cli import main

if __name__ == "__main__":
    sys.exit(main())
