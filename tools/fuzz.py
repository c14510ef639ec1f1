"""Throw mutated bytes at everything that reads a stranger's file, and write down what came of it.

Three targets, each steered by the coverage of our own code (and of PyYAML's and Pillow's Python code), which has to be
told while a module is imported; a module that was imported too early stops the fuzzer:

    config   YAML text: read, edited as by ``--set``, measured, written, read again and built
    folder   a model folder: its manifest, its config, its safetensors header, or all of the weights file
    image    a picture: its header, its pixels, the settings inside it

An answer is fine where it is a result or a ``Refusal``; any other exception is a crash, and so is an input that takes
more than five seconds of the processor or fills the memory. Crashing inputs are kept in a folder, one for each place
in the code; put them into ``tests/trust/test_found_by_fuzzing.py`` when they are mended.

    pip install -c constraints.txt -e .[fuzz]
    python tools/fuzz.py --minutes 10                  all three, one after the other
    python tools/fuzz.py image --minutes 1

Executions, crashes and minutes of each target go to ``results/trust/fuzz.json``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "results" / "trust" / "fuzz.json"
SECONDS = 5.0
MEMORY = 3000  # MiB; torch alone takes some 400
ADDRESSES = 12 * 2**30  # bytes; most of what torch maps is never touched, but a list that grows without end is stopped
PARAMETERS = 10**6
EDITS = b"\n%%\n"
WORDS = r"""part schema files bytes sha256 data_offsets dtype shape __metadata__ BF16 I64
0x 0b 0o17 1:30 1e-4 .inf .nan ~ yes
2020-01-01 << &a *a !!int !<a> ? - : --- ... %YAML 1.1 %TAG | > |+2 >-1 ' " # [ ] { } "" \
\x \u \U \x41 \u00e9 \ud800 \U0001f600 \U00110000 IHDR IDAT PLTE tRNS iTXt zTXt eXIf"""
PACKAGES = ["mezzotint", "yaml", "PIL"]
UNSEEN = ["yaml.reader", "yaml.scanner", "yaml.emitter", "yaml.serializer", "yaml.representer"]
# What PyYAML does for every character, or writes; watched, it would take three quarters of the time.
EVERY = frozenset(
    "check_token get_token need_more_tokens fetch_more_tokens next_possible_simple_key stale_possible_simple_keys "
    "save_possible_simple_key check_plain check_value check_key check_block_entry fetch_plain scan_plain "
    "scan_plain_spaces scan_to_next_token".split()
)


@dataclass(frozen=True)
class Target:
    """What is fuzzed.

    Arguments:
        reader: given a folder of its own, what to call with bytes.
        seeds: given a folder of its own, what fuzzing begins with.
        longest: input, in bytes.
        trees: whether inputs hold trees, YAML or JSON, that can be changed as trees.
    """

    reader: Callable[[Path], Callable[[bytes], None]]
    seeds: Callable[[Path], Iterator[bytes]]
    longest: int = 4096
    trees: bool = False


def config_target(home: Path) -> Callable[[bytes], None]:
    """YAML, and after a line of ``%%`` one edit a line."""
    import mezzotint.testing  # noqa: F401  (every part: what a name leads to would be imported later)
    from mezzotint.core import build, config, spec
    from mezzotint.core.blueprint import blueprint
    from mezzotint.core.store import MODEL

    def target(data: bytes) -> None:
        text, _, edits = data.decode("utf-8", "ignore").partition(EDITS.decode())
        tree = config.loads(text)
        if edits:
            tree = config.edit(tree, edits.splitlines())
        written = spec(blueprint(tree, MODEL, PARAMETERS // 10))
        assert spec(build(config.loads(config.dumps(written)), MODEL)) == written

    return target


def folder_target(home: Path) -> Callable[[bytes], None]:
    """The first byte says which file of a model folder the others are; the manifest vouches for all of them."""
    from mezzotint.core.store import CONFIG, MANIFEST, WEIGHTS, check_folder, load_model, load_tensors

    model = _saved(home / "model")
    whole = {name: (model / name).read_bytes() for name in (CONFIG, MANIFEST, WEIGHTS)}
    length = int.from_bytes(whole[WEIGHTS][:8], "little")

    def target(data: bytes) -> None:
        which, rest = data[:1], data[1:]
        files = dict(whole)
        if which == b"m":
            files[MANIFEST] = rest
        elif which == b"c":
            files[CONFIG] = rest
        elif which == b"h":
            files[WEIGHTS] = len(rest).to_bytes(8, "little") + rest + whole[WEIGHTS][8 + length :]
        else:
            files[WEIGHTS] = rest
        for name, content in files.items():
            (model / name).write_bytes(content)
        if which != b"m":
            entries = {n: {"bytes": len(c), "sha256": hashlib.sha256(c).hexdigest()} for n, c in files.items()}
            (model / MANIFEST).write_text(
                json.dumps({"schema": 1, "files": {n: e for n, e in entries.items() if n != MANIFEST}})
            )
            load_tensors(model / WEIGHTS)
        check_folder(model)
        load_model(model, parameters=PARAMETERS)

    return target


def image_target(home: Path) -> Callable[[bytes], None]:
    """The first byte says what is asked of the picture."""
    from PIL import Image

    from mezzotint.data.picture import channels_of, decode
    from mezzotint.training.pictures import read_settings

    path = home / "picture"
    Image.init()  # every decoder, which Pillow would import with the first picture

    def target(data: bytes) -> None:
        path.write_bytes(data[1:])
        if data[:1] == b"s":
            read_settings(path)
        elif data[:1] == b"h":
            channels_of(path, PARAMETERS)
        else:
            decode(path, 1 if data[:1] == b"1" else 3, PARAMETERS)

    return target


def _saved(path: Path) -> Path:
    from mezzotint.conditions import Classes, Encoder
    from mezzotint.core.store import save_model
    from mezzotint.denoiser import Preconditioned
    from mezzotint.networks import MLP
    from mezzotint.processes import EDM
    from mezzotint.samplers import Heun

    network = MLP((2,), width=4, depth=1, vector=4)
    return save_model(path, Preconditioned(network, EDM(), Encoder(label=Classes(3, 4))), sampler=Heun(3))


def config_seeds(home: Path) -> Iterator[bytes]:
    """A small spec of every part that a model may hold, with an edit of its own; and what YAML has that a spec has not.

    Specs of many numbers are left out: they say nothing that shorter ones do not, and take a second each.
    """
    from mezzotint.core import config, spec
    from mezzotint.core.store import MODEL
    from mezzotint.testing import example, parts

    for cls in parts():
        try:
            if cls.__module__.split(".")[1] in MODEL:
                tree = spec(example(cls))
                text = config.dumps(tree).encode()
                yield text
                edits = [f"{key}={json.dumps(value)}" for key, value in tree.items() if isinstance(value, int | float)]
                if "process" in tree:
                    edits.append("process.part=processes.VP")
                if edits:
                    yield text + EDITS + "\n".join(edits).encode()
        except ValueError:  # it holds a tensor
            continue
    yield b"a: &a [1, 2.5, 1e-4, 0x1f, 1:30, null, yes, ~]\nb: [*a, *a]\nc: {<<: {d: 'e'}, f: \"\\u00e9\"}\n"
    yield b"\"\\x41\\u00e9\\U0001f600\\N\\_\\L\\P\\e\\0\\t\\\n  \\/\": ['it''s', \"a\n\n  b\"]\n"
    yield b"%YAML 1.1\n%TAG ! tag:a,2000:\n---\na: |+2\n    b\nc: >-\n  d\n   e\n? f\n: g # h\n...\n"
    yield b"- !<tag:yaml.org,2002:str> a\n- !!int 3\n- &b%41 c\n- !a%21b d\n"


def folder_seeds(home: Path) -> Iterator[bytes]:
    """Each file of a model folder, and shorter ones."""
    model = _saved(home / "seed")
    weights = (model / "model.safetensors").read_bytes()
    length = int.from_bytes(weights[:8], "little")
    yield b"m" + (model / "manifest.json").read_bytes()
    yield b"c" + (model / "config.yaml").read_bytes()
    yield b"h" + weights[8 : 8 + length]
    yield b"w" + weights
    yield b'm{"schema": 1, "files": {}}'
    yield b'm{"schema": 1, "files": {"a": {"bytes": 1, "sha256": ""}}}'
    yield b"c{schema: 1, model: {part: processes.EDM}}"
    yield b"c{schema: 1, model: {part: networks.MLP, shape: [2], width: 4, depth: 1}}"
    yield b'h{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}'
    yield b"h{}"


def image_seeds(home: Path) -> Iterator[bytes]:
    """Small pictures of every kind, and one with settings inside."""
    import io

    import numpy as np
    from PIL import Image

    from mezzotint.training.pictures import save_png

    values = np.random.default_rng(0).integers(0, 256, (6, 5, 4), dtype=np.uint8)
    for mode in ("1", "L", "P", "LA", "RGB", "RGBA", "I;16"):
        picture = Image.fromarray(values).convert("RGBA").convert(mode.split(";")[0] if ";" in mode else mode)
        for kind in ("PNG", "JPEG", "WEBP", "BMP", "GIF"):
            held = io.BytesIO()
            try:
                picture.save(held, kind)
            except (OSError, KeyError, ValueError):
                continue
            for first in (b"1", b"3", b"h"):
                yield first + held.getvalue()
    save_png(home / "own.png", values[..., :3], {"model": {"path": "runs/digits"}, "seeds": [1, 2]})
    yield b"s" + (home / "own.png").read_bytes()


TARGETS = {
    "config": Target(config_target, config_seeds, longest=1024, trees=True),
    "folder": Target(folder_target, folder_seeds, trees=True),
    "image": Target(image_target, image_seeds),
}


def dictionary() -> set[str]:
    """Words that mutations may put in: names of parts and of their settings."""
    from mezzotint.core.spec import name_of, parameters
    from mezzotint.testing import parts

    found = set(WORDS.split())
    for cls in parts():
        found |= {name_of(cls), *parameters(cls)}
    return found


def changed(tree: Any, rng: random.Random, words: Sequence[str]) -> Any:
    """Plain data with one of its values, or one of its keys, replaced, taken out or put there twice."""
    if not isinstance(tree, dict | list) or not tree or rng.random() < 0.2:
        others = (None, True, 0, -1, 3, 2**31, 2**63, 10**30, 1e308, 0.5, "", [], {}, [[]], {"a": []}, [tree, tree])
        return rng.choice((*others, *rng.choices(words, k=len(others))))
    items = list(tree.items()) if isinstance(tree, dict) else list(enumerate(tree))
    at = rng.randrange(len(items))
    key, value = items[at]
    what = rng.random()
    if what < 0.1:
        items.pop(at)
    elif what < 0.2:
        items.append((rng.choice(words), value))
    else:
        items[at] = (key, changed(value, rng, words))
    return dict(items) if isinstance(tree, dict) else [item for _, item in items]


def mutator(name: str, mutate: Callable[[bytes, int], bytes]) -> Callable[[bytes, int, int], bytes]:
    """Half of the time a tree is changed as a tree, where bytes hold one: blind bytes hardly ever stay YAML or JSON."""
    from mezzotint.core import config

    words = sorted(dictionary())

    def plain(text: str) -> Any:
        try:
            return json.loads(text)  # what was changed before, a hundred times as fast
        except (ValueError, RecursionError):
            return config.loads(text)

    def mutation(data: bytes, most: int, seed: int) -> bytes:
        rng = random.Random(seed)
        first = 0 if name == "config" else 1
        body, cut, edits = data[first:].partition(EDITS)
        if rng.random() < 0.5 and data[:first] != b"w":
            try:
                tree = changed(plain(body.decode("utf-8")), rng, words)
                out = data[:first] + json.dumps(tree).encode() + cut + edits
                if len(out) <= most:
                    return out
            except (ValueError, RecursionError):
                pass
        return mutate(data, most)

    return mutation


def child(name: str, home: Path, crashes: Path, seconds: int) -> None:
    """One process of libFuzzer on one target."""
    import atheris

    # The block lasts as long as the process: whatever is imported by an input later is watched, too.
    with atheris.instrument_imports(include=PACKAGES, exclude=UNSEEN):
        from mezzotint.core.errors import Refusal

        target = TARGETS[name].reader(home)
        if "yaml" in sys.modules:
            scanner = vars(sys.modules["yaml.scanner"].Scanner)
            for function in {key: value for key, value in scanner.items() if key not in EVERY and callable(value)}:
                atheris.instrument_func(scanner[function])
        if bare := unwatched():
            raise SystemExit(f"imported before coverage could see it: {', '.join(bare)}")
        _fuzz(name, home, crashes, seconds, target, Refusal)


def unwatched() -> list[str]:
    """Modules in Python of the packages to be watched that are not."""
    return [
        name
        for name, module in sorted(sys.modules.items())
        if name.partition(".")[0] in PACKAGES and name not in UNSEEN and module.__spec__ is not None
        and str(module.__spec__.origin).endswith(".py") and "Atheris" not in type(module.__spec__.loader).__name__
    ]  # fmt: skip


def _fuzz(
    name: str, home: Path, crashes: Path, seconds: int, target: Callable[[bytes], None], refusal: type[Exception]
) -> None:
    """Hand over to libFuzzer, which ends the process."""
    import atheris

    found: set[str] = set()

    def once(data: bytes) -> None:
        start, what, place = time.process_time(), "", ""
        try:
            target(data)
        except refusal as said:
            if "\n" in str(said):
                what = "a refusal of several lines"
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            what = f"{type(error).__name__}: {error} at {Path(last.filename).name}:{last.lineno}"
            place = f"{type(error).__name__} {last.filename}:{last.lineno}"
        if not what and time.process_time() - start > SECONDS:
            what = f"more than {SECONDS:g} s of the processor"
        if what:
            if (place or what) not in found:
                found.add(place or what)
                (crashes / f"{name}-{hashlib.sha256(data).hexdigest()[:16]}").write_bytes(data)
            print(f"CRASH {what}", file=sys.stderr, flush=True)

    resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES, ADDRESSES))
    words = [
        sys.argv[0], str(home / "corpus"), f"-max_total_time={seconds}", "-timeout=60", f"-rss_limit_mb={MEMORY}",
        f"-max_len={TARGETS[name].longest}", f"-dict={home / 'words'}",
        f"-artifact_prefix={crashes}/{name}-", "-print_final_stats=1",
    ]  # fmt: skip
    ours = {}
    if TARGETS[name].trees:
        ours["custom_mutator"] = mutator(name, lambda data, most: atheris.Mutate(data, most))
    atheris.Setup(words, once, **ours)
    atheris.Fuzz()


def fuzz(name: str, minutes: float, crashes: Path) -> dict[str, Any]:
    """A target for so many minutes, begun again where a process ends early: executions, crashes and minutes."""
    executions = failed = 0
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        (home / "corpus").mkdir()
        for number, data in enumerate(TARGETS[name].seeds(home)):
            if len(data) <= TARGETS[name].longest:
                (home / "corpus" / f"{number:04d}").write_bytes(data)
        said = sorted(dictionary() if TARGETS[name].trees else WORDS.split())
        written = ("".join(f"\\x{byte:02x}" for byte in word.encode()) for word in said)
        (home / "words").write_text("".join(f'"{word}"\n' for word in written))
        begun, end = time.monotonic(), time.monotonic() + 60 * minutes
        while (left := round(end - time.monotonic())) > 0:
            words = [
                sys.executable,
                sys.argv[0],
                name,
                "--child",
                str(left),
                "--home",
                folder,
                "--crashes",
                str(crashes),
            ]
            log = subprocess.run(words, capture_output=True, text=True, errors="replace", env=_environment()).stderr
            (crashes / f"{name}.log").write_text(log[-100_000:])
            counted = re.findall(r"number_of_executed_units: *(\d+)", log)
            if not counted:
                raise SystemExit(f"the fuzzer of {name} did not run: {log[-2000:]}")
            executions += int(counted[-1])
            failed += log.count("CRASH ") + len(re.findall(r"ERROR: libFuzzer", log))
        spent = (time.monotonic() - begun) / 60
    return {"executions": executions, "crashes": failed, "minutes": round(spent, 1)}


def counted(targets: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """What the page of trust shows: all targets together, and how much of it was which."""
    from mezzotint.training.run import environment

    targets = {name: targets[name] for name in TARGETS if name in targets}
    return {
        "executions": sum(target["executions"] for target in targets.values()),
        "crashes": sum(target["crashes"] for target in targets.values()),
        "where": {name: target["executions"] for name, target in targets.items()},
        "targets": targets,
        "seconds": round(60 * sum(target["minutes"] for target in targets.values())),
        "when": time.strftime("%Y-%m-%d", time.gmtime()),
        "environment": environment(),
    }


def _environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}


def main() -> None:
    parser = argparse.ArgumentParser(description="Fuzz what reads a stranger's files.")
    parser.add_argument("targets", nargs="*", choices=[*TARGETS, []], help="which; all of them where none is named")
    parser.add_argument("--minutes", type=float, default=10.0, help="for each target")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--crashes", type=Path, default=Path("fuzz-crashes"), help="where crashing inputs are kept")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--home", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    given.crashes.mkdir(parents=True, exist_ok=True)
    if given.child is not None:
        child(given.targets[0], given.home, given.crashes, given.child)
        return
    for name in given.targets or TARGETS:
        result = fuzz(name, given.minutes, given.crashes.resolve())
        known = json.loads(given.out.read_text(encoding="utf-8")).get("targets", {}) if given.out.is_file() else {}
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text(json.dumps(counted({**known, name: result}), indent=1) + "\n", encoding="utf-8")
        print(f"{name}: {result['executions']:,} executions, {result['crashes']} crashes, {result['minutes']} minutes")


if __name__ == "__main__":
    main()
