"""What a file may ask for: hostile configs are refused in a sentence, quickly, and before they take memory."""

from __future__ import annotations

import json
import resource
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from mezzotint.core import Module, Refusal, build, config, spec
from mezzotint.core.blueprint import blueprint, measured
from mezzotint.core.bounded import inside, parse_json, read_json
from mezzotint.core.store import MODEL
from mezzotint.data import Data
from mezzotint.networks import MLP, UNet
from mezzotint.testing import example, parts

WITHIN = (*MODEL, "testing")  # where an example of a reward stands
CLASSES = [cls for cls in parts() if cls.__module__.split(".")[1] in MODEL and not issubclass(cls, Data)]
LAUGHS = "a: &a [ha, ha, ha, ha, ha, ha, ha, ha, ha]\n" + "\n".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
MERGES = "a: &a {k: 1, l: 2}\n" + "\n".join(
    f"{b}: &{b} {{<<: [{', '.join([f'*{a}'] * 20)}]}}" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
TEXTS = [
    (LAUGHS, "values"), (MERGES, "values"), ("[" * 100_000, "deep"), ("- " * 100_000, "deep"), ("{a: " * 500, "deep"),
    ("a: " + "[" * 65 + "]" * 65, "deep"), ("&a [*a]", "itself"), ("a: &a {b: [*a]}", "itself"), ("*b", "alias"),
    ("a: " + "9" * 5000, "64 bits"), ("a: 0x" + "f" * 17, "64 bits"), ("a: -9223372036854775809", "64 bits"),
    ("a: 1" + ":59" * 10_000, "64 bits"), ("a: 1" + ":59" * 10_000 + ".5", "characters"), ("a: 0b_", "no number"),
    ("a: 1." + "0" * 100 + "e5", "characters"), ("a: 0x_", "no number"), ("a: 1\na: 2", "twice"),
    ("a: {b: 1, 'b': 2}", "twice"), ("1: a", "quotes"), ("yes: a", "quotes"), ("~: a", "quotes"),
    ("? [a, b]\n: c", "key"),
    ("!!set {a, b}", "tag"), ("!!binary aGVsbG8=", "tag"), ("!!timestamp 2020-01-01", "tag"), ("!!int abc", "tag"),
    ("!!python/name:os.system", "tag"), ("!x {a: 1}", "tag"), ("! a", "tag"), ("a: 1\n---\nb: 2", "document"),
    ('a: "\\UFFFFFFFF"', "too large"), ('a: "\\ud800"', "surrogate"), ('"\\ud800": a', "surrogate"),
    ("a: \ud800", "allowed"), ("%YAML 1." + "9" * 5000 + "\n---\na: 1", "digits"), ("%YAML 2.0\n---\na: 1", "version"),
    ("[" + "{}," * 80_000 + "]", "values"), ("[" + ",".join(f"&{i} {{}}" for i in range(25_000)) + "]", "values"),
    ("a: \0", "not allowed"),
    ("a: '" + "x" * config.TEXT + "'", "longer"), ("a: =", "tag"), ("<<: 3", "merging"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "says"), TEXTS, ids=range(len(TEXTS)))
def test_hostile_yaml_is_refused_in_a_sentence(text: str, says: str) -> None:
    start = time.process_time()
    with pytest.raises(Refusal, match=says) as refused:
        config.loads(text)
    assert time.process_time() - start < 5
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 500


def test_what_is_odd_but_plain_is_read() -> None:
    assert config.loads("a: 2020-01-01\nb: 2020-99-99") == {"a": "2020-01-01", "b": "2020-99-99"}
    assert config.loads("a: &a [1]\nb: *a\nc: {<<: {d: 1}, d: 2}") == {"a": [1], "b": [1], "c": {"d": 2}}
    assert config.loads("a: 18446744073709551615\nb: 1:30") == {"a": 2**64 - 1, "b": 90}
    assert config.loads("a: " + "[" * 63 + "]" * 63)["a"] is not None
    assert config.loads(r'a: "\U0001F3A8\u00e9"') == {"a": "\U0001f3a8\u00e9"}
    with pytest.raises(Refusal, match="longer"):
        config.dumps(["x" * 100] * 3000)


DIGITS = [
    "1" * 200_000 + "x",
    "1_" * 100_000,
    "1." + "0" * 200_000 + "_",
    "+." + "5" * 200_000 + "e",
    "0x" + "f" * 99 + "g",
]
DIGITS += ["1:" + "59:" * 60_000 + ".", "9" * 100_000 + "." + "9" * 100_000 + "e+"]


@pytest.mark.parametrize("text", DIGITS, ids=range(len(DIGITS)))
def test_what_is_nearly_a_number_is_told_apart_in_linear_time(text: str) -> None:
    """Ten times as long takes ten times, not a hundred: a fifth of a second stands for minutes otherwise."""
    start = time.process_time()
    try:
        read = config.loads(f"a: {text}")["a"]
    except Refusal as refusal:
        read = None
        assert "number" in str(refusal) or "64 bits" in str(refusal)
    assert read in (None, text) or isinstance(read, int | float)
    with pytest.raises(Refusal, match="not a count") as refused:
        config.count(text)
    assert len(str(refused.value)) < 500 and time.process_time() - start < 5


def test_an_endless_config_file_is_not_read_to_its_end(tmp_path: Path) -> None:
    with (tmp_path / "c.yaml").open("wb") as file:
        file.truncate(2**36)  # 64 GiB of zeros that take no room on the disk
    with pytest.raises(Refusal, match="longer"):
        config.load(tmp_path / "c.yaml")
    with pytest.raises(Refusal, match="longer"):
        read_json(tmp_path / "c.yaml")


@pytest.mark.parametrize(
    "text",
    ['["\\ud800"]', '{"\\udfff": 1}', '{"a": [{"b": "\\ud83c"}]}', "[" * 200_000, "[" * 500 + "]" * 500,
     '{"a":' * 300 + "1" + "}" * 300, "9" * 10_000, "", "{"],
)  # fmt: skip
def test_hostile_json_is_refused(text: str) -> None:
    with pytest.raises(Refusal, match="cannot be read"):
        parse_json(text, "it")


def test_trees_are_bounded_without_yaml_too() -> None:
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]
    wide: Any = [1]
    for _ in range(40):
        wide = [wide] * 9
    for tree, says in [(deep, "deep"), (wide, "values"), ({"part": "a" * 10_000}, "name"), ({3: 4}, "strings")]:
        with pytest.raises(Refusal, match=says) as refused:
            build(tree)
        assert len(str(refused.value)) < 500


def test_a_value_is_counted_wherever_it_is_used() -> None:
    shared = spec(MLP((2,), width=8, depth=1))
    assert len(build([shared] * 50)) == 50  # parts are made once; few values
    with pytest.raises(Refusal, match="values"):
        build([[0] * 1000] * 21)


HUGE: list[tuple[Any, str]] = [
    ({"part": "networks.UNet", "shape": [1, 8, 8], "width": 10**9}, "cannot be made|parameters"),
    ({"part": "networks.UNet", "shape": [1, 8, 8], "width": 10**5}, "parameters"),
    ({"part": "networks.MLP", "shape": [8], "width": 10**6}, "parameters"),
    ({"part": "networks.MLP", "shape": [8], "width": 1, "vector": None, "depth": 10**9}, "tensors"),
    ({"part": "networks.DiT", "shape": [1, 8, 8], "registers": 10**10}, "parameters"),
    ({"part": "networks.DiT", "shape": [1, 8, 8], "ratio": 1e12}, "parameters|cannot be made"),
    ({"part": "conditions.Classes", "count": 10**9}, "parameters"),
    ({"part": "conditions.Classes", "count": 10**30}, "cannot be made"),
    ({"part": "processes.DDPM", "steps": 10**12}, "1,000,000"),
    ([{"part": "processes.DDPM", "steps": 10**6, "schedule": "cosine"} for _ in range(60)], "compute more"),
    ([{"part": "processes.DDPM", "steps": 10**5, "schedule": "cosine"} for _ in range(60)], "compute more"),
    ({"part": "denoiser.Fractal", "process": {"part": "processes.EDM"}, "depth": 12}, "compute more"),
    ([{"part": "denoiser.Fractal", "process": {"part": "processes.EDM"}} for _ in range(60)], "compute more"),
    ([{"part": "samplers.Heun", "steps": 9} for _ in range(1_001)], "1,000 parts"),
    ({"part": "networks.UNet", "shape": [1, 8, 8], "multipliers": [1] * 9000}, "tensors"),
    ({"part": "networks.UNet", "shape": [1, 2**20, 2**20], "width": 8}, "one has 268,435,456"),
    ({"part": "networks.MLP", "shape": [8.5]}, "whole numbers|holds numbers"),
    ({"part": "networks.UNet", "shape": [1, 8.0, 8]}, "whole numbers|holds numbers"),
    ({"part": "networks.UNet", "shape": [1, True, 8]}, "whole numbers|holds numbers"),
    ({"part": "networks.UNet", "shape": [1, 0, 8]}, "whole numbers|holds numbers"),
    ({"part": "networks.UNet", "shape": [1, "8", 8]}, "whole numbers|holds numbers"),
    ({"part": "networks.UNet", "shape": "188"}, "whole numbers|holds numbers"),
    ({"part": "samplers.Heun", "steps": 10**12}, "1,000,000"),
]


@pytest.mark.parametrize(("tree", "says"), HUGE, ids=range(len(HUGE)))
def test_what_would_fill_the_memory_is_refused_before(tree: Any, says: str) -> None:
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    with pytest.raises(Refusal, match=says):
        blueprint(tree, MODEL)
    assert time.process_time() - start < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # KiB


def test_the_cap_is_exact_and_can_be_set() -> None:
    network = UNet((1, 8, 8), width=8, vector=8, attention=())
    tree, size = spec(network), sum(t.numel() for t in (*network.parameters(), *network.buffers()))
    planned = blueprint(tree, MODEL, size)
    assert {n: t.shape for n, t in planned.state_dict().items()} == {
        n: t.shape for n, t in network.state_dict().items()
    }
    assert all(t.is_meta for t in planned.state_dict().values()) and spec(planned) == tree
    with pytest.raises(Refusal, match=f"{size - 1:,} parameters"):
        blueprint(tree, MODEL, size - 1)
    with pytest.raises(Refusal, match="at least 1"):
        blueprint(tree, MODEL, 0)


class Holder(Module):
    """Buffers only, or modules only, that hold nothing: what the count of parameters alone lets pass."""

    def __init__(self, buffers: int = 0, size: int = 0, modules: int = 0) -> None:
        super().__init__()
        for i in range(buffers):
            self.register_buffer(f"b{i}", torch.zeros(size))
        self.inner = torch.nn.ModuleList(torch.nn.Identity() for _ in range(modules))


@pytest.mark.parametrize(
    ("settings", "says"),
    [({"buffers": 2, "size": 50}, None), ({"buffers": 2, "size": 51}, "100 parameters"), ({"buffers": 1_000}, None),
     ({"buffers": 1_001}, "1,000 tensors"), ({"modules": 3_999}, None), ({"modules": 4_000}, "4,000 modules")],
)  # fmt: skip
def test_buffers_and_modules_count(monkeypatch: pytest.MonkeyPatch, settings: dict[str, int], says: str | None) -> None:
    monkeypatch.setattr(sys.modules["mezzotint.core.spec"], "resolve", lambda *_: Holder)
    tree = {"part": "Holder", **settings}
    if says is None:
        assert isinstance(blueprint(tree, None, 100), Holder)
    else:
        with pytest.raises(Refusal, match=says):
            blueprint(tree, None, 100)


def test_what_a_model_needs_is_within_the_budget() -> None:
    """Ten tables of ten times the usual length; and a part that is used a thousand times is made once."""
    tables = [{"part": "processes.DDPM", "steps": 10_000, "schedule": "cosine"} for _ in range(10)]
    assert len(blueprint(tables, MODEL)) == 10
    assert blueprint(
        {"part": "denoiser.Fractal", "process": {"part": "processes.EDM"}, "depth": 7}, MODEL
    )  # the paper's
    shared = {"part": "processes.DDPM", "steps": 100_000, "schedule": "cosine"}
    assert len(set(map(id, blueprint([shared] * 2_000, MODEL)))) == 1
    assert len(measured([{"part": "samplers.Heun", "steps": 9}, {"part": "networks.MLP", "shape": [4]}], MODEL)) == 2
    with pytest.raises(Refusal, match="compute more"):
        measured([{"part": "processes.DDPM", "steps": 100_000, "schedule": "cosine"} for _ in range(10)], MODEL)
    assert blueprint({"part": "networks.UNet", "shape": [4, 64, 1024, 1024], "width": 8, "attention": []}, MODEL)


def test_measuring_leaves_the_generator_and_other_threads_alone() -> None:
    tree = spec(MLP((2,), width=8, depth=1))
    state = torch.get_rng_state()
    blueprint(tree)
    assert torch.equal(torch.get_rng_state(), state)
    done: list[int] = []

    class Slow(Module):
        def __init__(self) -> None:
            super().__init__()
            other = threading.Thread(target=lambda: done.append(len(list(MLP((64,), width=64).parameters()))))
            other.start()
            other.join()

    from mezzotint.core import blueprint as room

    with room._counted(10):
        Slow()
    assert done and MLP((64,), width=64)  # counted for nobody, and nothing is counted afterwards


@pytest.mark.parametrize("cls", CLASSES, ids=lambda c: c.__name__)
def test_every_part_of_a_model_folder_can_be_measured(cls: type) -> None:
    made = example(cls)
    try:
        tree = spec(made)
    except Refusal:
        pytest.skip("it holds tensors, so it is in no config")
    planned = blueprint(tree, WITHIN)
    if isinstance(made, torch.nn.Module):
        mine, theirs = made.state_dict(), planned.state_dict()
        assert {n: (t.shape, t.dtype) for n, t in mine.items()} == {n: (t.shape, t.dtype) for n, t in theirs.items()}


READS = [
    {"part": "data.Folder", "path": "."}, {"part": "data.Arrays", "path": "x.npz"}, {"part": "data.Digits"},
    {"part": "data.folder.Folder", "path": "."}, {"part": "training.Trainer"}, {"part": "objectives.Denoising"},
    {"part": "evidence.Real"}, {"part": "testing.truth.Slope"},
    {"part": "recipes.digits.RECIPE"}, {"part": "cli.main.main"},
]  # fmt: skip


@pytest.mark.parametrize("tree", READS, ids=lambda t: t["part"])
def test_a_model_folder_names_no_part_of_other_rooms(tree: dict[str, Any]) -> None:
    with pytest.raises(Refusal, match="has no place here"):
        build(tree, MODEL)
    with pytest.raises(Refusal, match="has no place here"):  # however deep
        build({"part": "guidance.Without", "denoiser": {"part": "networks.MLP", "shape": [[tree]]}}, MODEL)


HEARD: list[str] | None = None
QUIET = ("object.", "compile", "builtins.", "sys._getframe", "ctypes", "array.", "marshal.", "code.", "gc.", "time.")


def hear(event: str, _: object) -> None:
    if HEARD is not None and not event.startswith(QUIET):
        HEARD.append(event)


def test_building_touches_no_file_and_runs_nothing() -> None:
    """Python's own audit events: none at all - no open, import, socket or process - while every part is built."""
    global HEARD
    trees = []
    for cls in CLASSES:
        try:
            trees.append((cls.__name__, config.dumps(spec(example(cls)))))
        except Refusal:
            continue  # it holds tensors
    sys.addaudithook(hear)  # for the life of this process, deaf but for the lines below
    for name, text in trees:
        build(config.loads(text), WITHIN), blueprint(config.loads(text), WITHIN)  # what is imported late, is by now
        HEARD = heard = []
        build(config.loads(text), WITHIN), blueprint(config.loads(text), WITHIN)
        HEARD = None
        assert not heard, name
    HEARD = heard = []
    Path(__file__).open().close()
    HEARD = None
    assert heard == ["open"] and len(trees) >= 40


NAMES = ["../x", "a/../../x", "/etc/passwd", "..", "", ".", "a\\..\\x", "C:x", "\\\\host\\share", "a\0b", "x" * 5000]


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_names_stay_inside_their_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "x").write_text("outside")
    (tmp_path / "home").mkdir()
    with pytest.raises(Refusal, match="outside its folder|missing"):
        inside(tmp_path / "home", name)


def test_links_are_not_followed(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "sub").mkdir(parents=True)
    (home / "sub" / "a").write_text("a")
    assert inside(home, "sub/a") == home / "sub" / "a"
    (home / "link").symlink_to(home / "sub" / "a")
    (home / "folder").symlink_to(home / "sub")
    for name in ("link", "folder/a"):
        with pytest.raises(Refusal, match="link"):
            inside(home, name)
    for name in ("sub", "nothing"):
        with pytest.raises(Refusal, match="missing"):
            inside(home, name)


def test_edits_are_bounded() -> None:
    tree = spec(MLP((2,), width=8, depth=1))
    for change in [
        "width=" + "9" * 5000,
        "shape.²=1",
        "shape." + "9" * 5000 + "=1",
        "a" * 10**5 + "=1",
        ".".join("a" * 99) + "=1",
    ]:
        with pytest.raises(Refusal):
            config.edit(tree, [change])
    assert json.loads(json.dumps(tree)) == tree
    for value in ("9" * 400, "9" * 61, "1" * 10_000):
        with pytest.raises(Refusal):
            config.count(value)


@pytest.mark.parametrize("where", ["width: .nan", "embedding: [1, {a: .nan}]"])
def test_a_setting_that_is_not_a_number_is_refused(where: str) -> None:
    with pytest.raises(Refusal, match="not a number"):
        build(config.loads(f"{{part: networks.MLP, shape: [2], {where}}}"), MODEL)
