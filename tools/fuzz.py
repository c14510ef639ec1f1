"""Throw mutated bytes at everything that reads a stranger's file, and write down what came of it.

Three targets, each steered by the coverage of our own code (and of PyYAML's and Pillow's Python code):

    config   YAML text: read, edited as by ``--set``, measured, built, written and read again
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
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "results" / "trust" / "fuzz.json"
SECONDS = 5.0
MEMORY = 3000  # MiB; torch alone takes some 400
ADDRESSES = 12 * 2**30  # bytes; most of what torch maps is never touched, but a list that grows without end is stopped
PARAMETERS = 10**6
LONGEST = 4096
EDITS = b"\n%%\n"
WORDS = """part schema files bytes sha256 data_offsets dtype shape __metadata__ BF16 I64
0x 0b 0o17 1:30 1e-4 .inf .nan ~ yes
2020-01-01 << &a *a !!int ? - : --- ... %YAML | > ' # [ ] { } IHDR IDAT iTXt eXIf"""


def config_target(home: Path) -> Callable[[bytes], None]:
    """YAML, and after a line of ``%%`` one edit a line."""
    from mezzotint.core import build, config, spec
    from mezzotint.core.blueprint import blueprint
    from mezzotint.core.store import MODEL

    def target(data: bytes) -> None:
        text, _, edits = data.decode("utf-8", "ignore").partition(EDITS.decode())
        tree = config.loads(text)
        if edits:
            tree = config.edit(tree, edits.splitlines())
        blueprint(tree, MODEL, PARAMETERS)
        made = build(tree, MODEL)
        written = spec(made)
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
    from mezzotint.data.picture import channels_of, decode
    from mezzotint.training.pictures import read_settings

    path = home / "picture"

    def target(data: bytes) -> None:
        path.write_bytes(data[1:])
        if data[:1] == b"s":
            read_settings(path)
        elif data[:1] == b"h":
            channels_of(path, PARAMETERS)
        else:
            decode(path, 1 if data[:1] == b"1" else 3, PARAMETERS)

    return target


TARGETS = {"config": config_target, "folder": folder_target, "image": image_target}


def _saved(path: Path) -> Path:
    from mezzotint.conditions import Classes, Encoder
    from mezzotint.core.store import save_model
    from mezzotint.denoiser import Preconditioned
    from mezzotint.networks import MLP
    from mezzotint.processes import EDM
    from mezzotint.samplers import Heun

    network = MLP((2,), width=4, depth=1, vector=4)
    return save_model(path, Preconditioned(network, EDM(), Encoder(label=Classes(3, 4))), sampler=Heun(3))


def seeds(name: str, home: Path) -> Iterator[bytes]:
    """What fuzzing begins with: a small thing of every kind that the target reads."""
    if name == "config":
        from mezzotint.core import config, spec
        from mezzotint.core.store import MODEL
        from mezzotint.testing import example, parts

        for cls in parts():
            try:
                if cls.__module__.split(".")[1] in MODEL:
                    text = config.dumps(spec(example(cls))).encode()
                    yield text
                    yield text + EDITS + b"steps=3\nnetwork.width=8\nprocess.part=processes.VP\n"
            except ValueError:  # it holds a tensor
                continue
        yield b"a: &a [1, 2.5, 1e-4, 0x1f, 1:30, null, yes, ~]\nb: [*a, *a]\nc: {<<: {d: 'e'}, f: \"\\u00e9\"}\n"
    elif name == "folder":
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
    else:
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
    from mezzotint.core import Refusal, config

    words = sorted(dictionary())

    def mutation(data: bytes, most: int, seed: int) -> bytes:
        rng = random.Random(seed)
        first = 0 if name == "config" else 1
        body, cut, edits = data[first:].partition(EDITS)
        if rng.random() < 0.5 and data[:first] != b"w":
            try:
                tree = changed(config.loads(body.decode("utf-8")), rng, words)
                out = data[:first] + json.dumps(tree).encode() + cut + edits
                if len(out) <= most:
                    return out
            except (Refusal, ValueError):
                pass
        return mutate(data, most)

    return mutation


def child(name: str, home: Path, crashes: Path, seconds: int) -> None:
    """One process of libFuzzer on one target."""
    import atheris

    with atheris.instrument_imports(include=["mezzotint", "yaml", "PIL"]):
        import yaml  # noqa: F401

        import mezzotint.testing  # noqa: F401
        from mezzotint.core.errors import Refusal

        target = TARGETS[name](home)
    found: set[str] = set()

    def once(data: bytes) -> None:
        start, what, place = time.process_time(), "", ""
        try:
            target(data)
        except Refusal as refusal:
            if "\n" in str(refusal):
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
        f"-max_len={LONGEST}", f"-dict={home / 'words'}", f"-artifact_prefix={crashes}/{name}-", "-print_final_stats=1",
    ]  # fmt: skip
    trees = {} if name == "image" else {"custom_mutator": mutator(name, lambda data, most: atheris.Mutate(data, most))}
    atheris.Setup(words, once, **trees)
    atheris.Fuzz()


def fuzz(name: str, minutes: float, crashes: Path) -> dict[str, Any]:
    """A target for so many minutes, begun again where a process ends early: executions, crashes and minutes."""
    executions = failed = 0
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        (home / "corpus").mkdir()
        for number, data in enumerate(seeds(name, home)):
            if len(data) <= LONGEST:
                (home / "corpus" / f"{number:04d}").write_bytes(data)
        (home / "words").write_text("".join(f'"{word}"\n' for word in sorted(dictionary())))
        begun, end = time.monotonic(), time.monotonic() + 60 * minutes
        while (left := round(end - time.monotonic())) > 0:
            words = [sys.executable, __file__, name, "--child", str(left), "--home", folder, "--crashes", str(crashes)]
            said = subprocess.run(words, capture_output=True, text=True, errors="replace", env=_environment()).stderr
            (crashes / f"{name}.log").write_text(said[-100_000:])
            counted = re.findall(r"number_of_executed_units: *(\d+)", said)
            if not counted:
                raise SystemExit(f"the fuzzer of {name} did not run: {said[-2000:]}")
            executions += int(counted[-1])
            failed += said.count("CRASH ") + len(re.findall(r"ERROR: libFuzzer", said))
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
