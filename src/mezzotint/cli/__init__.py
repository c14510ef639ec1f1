"""The command: verbs for people, thin over the library.

``main(argv)`` finds the verb, reads its arguments and returns the exit code. A verb is a module with a frozen dataclass
of its arguments and ``run(args) -> int``; heavy libraries are imported inside ``run``, so that help comes at once.
"""

from mezzotint.cli.main import main

__all__ = ["main"]
