"""``mezzotint data``: what is done to pictures before a model is trained on them.

The table of actions is the register: each is a module like that of a verb, and one that is added stands here and in the
text of the help.
"""

from __future__ import annotations

from mezzotint.cli import data_cache, data_check, data_make

ACTIONS = {"check": data_check, "make": data_make, "cache": data_cache}


def usage() -> str:
    """The help of the verb; ``mezzotint data ACTION --help`` is that of an action."""
    return """usage: mezzotint data ACTION [...]

Look at pictures, make some, or decode them once, before a model is trained on them.

actions:
  check DIR         say what is in a folder of pictures and what will be in the way, and propose a recipe
  make scenes       paint scenes as PNG files, with a table of all that is known of them
  cache WHAT        decode pictures once, into a file that training reads

Every action takes --json: one JSON document on standard output, progress and errors on standard error.
mezzotint data ACTION --help explains one.

examples:
  mezzotint data check pictures/
  mezzotint data check pictures/ --size 64 --out recipe.yaml
  mezzotint data make scenes --out scenes --count 10k --size 64
  mezzotint data cache pictures/ --size 64 --out cache
"""
