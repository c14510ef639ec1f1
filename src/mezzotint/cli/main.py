"""From the words of a command line to a verb and an exit code.

The table of verbs is the whole register: the name, the module that does it, and one line for the help. A verb's module
is imported only when it is asked for; its arguments are the dataclass that annotates the parameter of its ``run``,
whose docstring is the help text. The module of a verb that does several things has a table ``ACTIONS`` of such modules
instead. What a person can get wrong comes back as one sentence and exit code 2.
"""

from __future__ import annotations

import importlib
import inspect
import io
import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from typing import Any, get_type_hints

from mezzotint.cli.early import leaving

VERBS = {
    "demo": ("mezzotint.cli.demo", "train on real digits, sample, judge and report: about two minutes on two cores"),
    "train": ("mezzotint.cli.train", "train a model on a recipe, on pictures of your own, on digits or on scenes"),
    "sample": ("mezzotint.cli.sample", "make pictures with a trained model, or repeat those of a PNG"),
    "edit": ("mezzotint.cli.edit", "redraw a picture: the part a mask shows, or all of it more or less"),
    "upscale": ("mezzotint.cli.upscale", "make a picture larger with a super-resolution model, or a cascade's stages"),
    "evaluate": ("mezzotint.cli.evaluate", "judge a model against the pictures it was trained on and ones held out"),
    "extractor": ("mezzotint.cli.extractor", "make what sees the pictures when a model is judged"),
    "reproduce": ("mezzotint.cli.reproduce", "put a published claim to the test, and say whether it holds"),
    "data": (
        "mezzotint.cli.data",
        "look at a folder of pictures and propose a recipe, paint scenes, or cache pictures",
    ),
    "show": ("mezzotint.cli.show", "say what a run, a model or a recipe is"),
    "runs": ("mezzotint.cli.runs", "list runs, or compare them"),
    "doctor": ("mezzotint.cli.doctor", "say what is wrong with this machine or with a run, and how to mend it"),
}
_DISK = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, FileExistsError)
_LISTS = ("--set", "--caption")
"""Flags that take several values, and may be said several times."""
_ABOUT = "about-this-verb"
_FULL = (5, 27, 28, 30, 122)  # EIO, EFBIG, ENOSPC, EROFS, EDQUOT


class _Heard(io.StringIO):
    """Keeps what is printed, in the letters that the screen has."""

    encoding = getattr(sys.stdout, "encoding", None) or "ascii"


def usage() -> str:
    """The help of the command itself."""
    verbs = "\n".join(f"  {name:<10}{line}" for name, (_, line) in VERBS.items())
    return f"""usage: mezzotint VERB [...]

Train conditional diffusion models, sample them, and judge what they make.

verbs:
{verbs}

options:
  -h, --help   this text; mezzotint VERB --help explains a verb
  --version    the version

Every verb takes --json: one JSON document on standard output, progress and errors on standard error.

begin with:
  mezzotint demo
  mezzotint train digits --out runs/digits
  mezzotint sample runs/digits --label 3 --seeds 0-63 --out threes.png
  mezzotint evaluate runs/digits

exit codes: 0 done, 1 a defect of mezzotint, 2 the request cannot be met (one sentence says why),
            3 one of several processes was lost, 4 doctor or data check found something,
            75 stopped by a signal in good order (start it again, train with --resume), 130 interrupted
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the command line says and return the exit code, one of those above."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help", "help"):
        print(usage(), end="")
        return 0
    if words[0] in ("--version", "-V"):
        from mezzotint import __version__

        print(f"mezzotint {__version__}")
        return 0
    machine = "--json" in words
    if words[0] not in VERBS:
        from difflib import get_close_matches

        close = get_close_matches(words[0], VERBS, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]!r}?" if close else f"verbs: {', '.join(VERBS)}"
        return _refuse(f"there is no verb {words[0]!r}: {hint}", machine)
    try:
        with leaving(words[0]):
            if os.environ.get("WORLD_SIZE", "1") not in ("", "1") and "RANK" in os.environ:
                return _member(words, machine)
            return _verb(words[0], words[1:], machine)
    except SystemExit as stop:  # asked to stop, and stopped in good order; what parsing ends by was caught before
        if not isinstance(stop.code, int):
            raise
        print(f"mezzotint: {stop}", file=sys.stderr)
        return stop.code
    except KeyboardInterrupt:
        print("mezzotint: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader (head, less) has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except Exception as error:
        sentence = _sentence(error)
        if sentence is None:
            raise
        return _refuse(sentence, machine)


def _verb(name: str, words: list[str], machine: bool) -> int:
    module = importlib.import_module(VERBS[name][0])
    actions: Mapping[str, Any] | None = getattr(module, "ACTIONS", None)
    if actions is not None:
        if not words or words[0] in ("-h", "--help"):
            print(module.usage(), end="")
            return 0
        if words[0] not in actions:
            from mezzotint.core.errors import Refusal, nearest

            raise Refusal(f"mezzotint {name} has no action {words[0]!r} ({nearest(words[0], list(actions))})")
        module, name, words = actions[words[0]], f"{name} {words[0]}", words[1:]
    args = _parse(name, module, words, machine)
    if isinstance(args, int):
        return args
    holder = args if hasattr(args, "processes") else getattr(args, "drawing", None)
    count = getattr(holder, "processes", None)
    if count is not None:
        alone = _processes(count)
        if not alone:
            from mezzotint.cli.launch import launch

            return launch([name, *words], count, machine)
    code: int = module.run(args)
    return code


def _processes(count: int) -> bool:
    """Whether this process is to do the work itself: as the only one, or as one of those that were started."""
    from mezzotint.cli.launch import LAUNCHER
    from mezzotint.core.errors import Refusal

    if count < 1:
        raise Refusal(f"--processes is {count}, but something has to do the work: at least 1")
    size = os.environ.get("WORLD_SIZE", "1")
    if LAUNCHER not in os.environ and size not in ("", "1", str(count)):
        raise Refusal(f"a launcher has started {size} processes already; leave --processes {count} out")
    return count == 1 or LAUNCHER in os.environ or size not in ("", "1")


def _member(words: list[str], machine: bool) -> int:
    """One of several processes: rank 0 speaks for all, and what all of them refuse is said once."""
    from mezzotint.cli.launch import LAUNCHER, LOST, watch

    watch()
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported, and accelerate sets its own
    from mezzotint.core import ranks

    meeting = ranks.join()
    try:
        with ExitStack() as silence:
            if not ranks.main():
                nowhere = silence.enter_context(open(os.devnull, "w"))
                silence.enter_context(redirect_stdout(nowhere))
                silence.enter_context(redirect_stderr(nowhere))
            code = _verb(words[0], words[1:], machine)
    except (KeyboardInterrupt, BrokenPipeError):
        raise
    except SystemExit as stop:  # they have agreed to it, and one says so
        if ranks.main() or not isinstance(stop.code, int):
            raise
        return stop.code
    except Exception as error:
        sentence, code = _sentence(error), 2
        if sentence is None and ranks.lost(error):
            left = None if meeting is None else meeting.left()
            if left is not None or LAUNCHER in os.environ:  # the one that left, or the launcher, says why
                _gone(left or LOST)
            sentence, code = f"another of the {ranks.count()} processes was lost, so this one ends too", LOST
        if sentence is None:
            import traceback

            traceback.print_exc()
            code = 1
        # A store that has gone went with rank 0, which has refused what all refuse, but could not say that it was lost.
        elif meeting is None or meeting.first(sentence, unknown=code == LOST):
            _refuse(sentence, machine, code)
        if meeting is not None:
            meeting.leave(code)
        _gone(code)
    ranks.part()
    return code


def _gone(code: int) -> None:
    """End at once: what tears the group down in good order would wait for those that have gone."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _parse(name: str, module: Any, words: list[str], machine: bool) -> Any:
    """The verb's arguments, or the exit code where there is nothing left to do."""
    import tyro

    shape = get_type_hints(module.run)["args"]
    heard, shown = _Heard(), _Heard()
    try:
        with redirect_stderr(heard if machine else sys.stderr), redirect_stdout(shown):
            return tyro.cli(
                shape,
                prog=f"mezzotint {name}",
                description=_ABOUT,
                args=_gathered(words),
                config=(tyro.conf.FlagCreatePairsOff, tyro.conf.PositionalMetavarFromFieldName),
            )
    except SystemExit as stop:
        # tyro would run the lines of the text together, so it is put in afterwards as it was written.
        print(shown.getvalue().replace(_ABOUT, inspect.getdoc(shape) or ""), end="")
        if machine and heard.getvalue():
            plain = re.sub(r"[^\x20-\x7e]+|-{3,}", " ", heard.getvalue().split("For full helptext")[0])
            return _refuse(" ".join(plain.split()), machine)
        return stop.code if isinstance(stop.code, int) else 2


def _gathered(words: list[str]) -> list[str]:
    """``--set a --set b`` as ``--set a b``, and so for ``--caption``: the last alone would count, without a word."""
    kept: list[str] = []
    lists: dict[str, list[str]] = {}
    inside: str | None = None
    for word in words:
        flag, equals, value = word.partition("=")
        if flag in _LISTS:
            lists.setdefault(flag, []).extend([value] if equals else [])
            inside = None if equals else flag
        elif inside is not None and not word.startswith("--"):
            lists[inside].append(word)
        else:
            inside = None
            kept.append(word)
    return kept + [word for flag, values in lists.items() for word in (flag, *values)]


def _sentence(error: Exception) -> str | None:
    """What to tell a person, or None for a defect of ours."""
    errors = sys.modules.get("mezzotint.core.errors")
    if errors is not None and isinstance(error, errors.Refusal):
        return str(error)
    if isinstance(error, OSError) and (isinstance(error, _DISK) or error.errno in _FULL):
        where = f" {str(error.filename)!r}" if error.filename else ""
        return f"the disk refused{where}: {(error.strerror or str(error)).lower()}"
    return None


def _refuse(sentence: str, machine: bool, code: int = 2) -> int:
    """Say it on standard error, as JSON where a machine listens; the exit code, that of refusals."""
    said = json.dumps({"error": sentence, "code": code}, ensure_ascii=False) if machine else f"mezzotint: {sentence}"
    print(said, file=sys.stderr)
    return code
