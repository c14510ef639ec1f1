"""What a finished arm depends on: behaviour changes its key, words do not."""

from __future__ import annotations

from pathlib import Path

import pytest

import mezzotint as mz
from mezzotint.data import Digits
from mezzotint.evidence import Setting, Training, keys
from mezzotint.evidence.estimate import smaller
from mezzotint.evidence.load import load
from mezzotint.evidence.work import Estimate
from mezzotint.recipes import usual


def code(folder: Path, text: str) -> str:
    path = folder / "part.py"
    path.write_text(text)
    return keys.code([path])


def test_code_counts_by_what_it_does(tmp_path: Path) -> None:
    first = code(tmp_path, 'def f(x):\n    """Doubles."""\n    return 2 * x\n')
    assert code(tmp_path, "# why\ndef f(x):\n\n    return (2 * x)  # twice\n") == first
    assert code(tmp_path, "def f(x):\n    return 3 * x\n") != first
    assert code(tmp_path, 'def f(x):\n    y = "Doubles."\n    return 2 * x\n') != first


def test_a_recipe_is_known_by_what_it_imports_from_its_folder(tmp_path: Path) -> None:
    (tmp_path / "near_by.py").write_text("import far_off\nfrom far_off import number\n")
    (tmp_path / "far_off.py").write_text("number = 1\n")
    (tmp_path / "stranger.py").write_text("number = 1\n")
    mine = tmp_path / "a_recipe.py"
    mine.write_text(f"import near_by\n{Path(__file__).with_name('mine.py').read_text()}")
    assert [path.name for path in keys.own(mine)] == ["a_recipe.py", "far_off.py", "near_by.py"]
    ours = Path(mz.recipes.__file__).parent
    assert {"clothes.py", "orders.py", "classes.py"} < {path.name for path in keys.own(ours / "core_samplers.py")}
    assert "digits.py" not in {
        path.name for path in keys.own(ours / "core_samplers.py")
    }  # mezzotint.data.digits is not
    package = tmp_path / "home" / "mine"
    package.mkdir(parents=True)
    for name, text in {
        "__init__": "",
        "one": "from . import two\nfrom mine.three import x\n",
        "two": "",
        "three": "x = 1",
    }.items():
        (package / f"{name}.py").write_text(text)
    assert {path.stem for path in keys.own(package / "one.py")} == {"__init__", "one", "two", "three"}
    own = load(str(mine)).code
    (tmp_path / "stranger.py").write_text("number = 2\n")
    assert load(str(mine)).code == own
    (tmp_path / "far_off.py").write_text("number = 2\n")
    assert load(str(mine)).code != own


def made(**changes: object) -> Training:
    return usual(Digits(), **{"images": 640, "width": 8, **changes})


def test_a_training_is_known_by_all_it_depends_on(monkeypatch: pytest.MonkeyPatch) -> None:
    own = keys.training(made().tree(1))
    assert keys.training(made().tree(1)) == own
    others = [made().tree(2), made(images=641).tree(1), made(width=10).tree(1)]
    others.append({**made().tree(1), "data": {"part": "data.Digits", "split": "held_out"}})
    found = {own, *map(keys.training, others)}
    monkeypatch.setattr(keys, "package", lambda: "other code")
    found.add(keys.training(made().tree(1)))
    monkeypatch.setattr(keys, "machine", lambda: ("other torch", "cpu"))
    found.add(keys.training(made().tree(1)))
    assert len(found) == 7


def test_arms_of_one_network_begin_with_the_same_weights() -> None:
    import torch

    from mezzotint.evidence.work import untrained
    from mezzotint.processes import EDM, VP

    a, b = (untrained(made(process=process), 5).state_dict() for process in (EDM(), VP()))
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not torch.equal(next(iter(untrained(made(), 6).state_dict().values())), next(iter(a.values())))


def test_a_record_names_data_without_folders() -> None:
    assert keys.short({"part": "data.Arrays", "path": "/private/clothes.npz", "size": 14}) == (
        "data.Arrays(path=clothes.npz, size=14)"
    )
    inner = {"part": "data.Arrays", "path": "/private/clothes.npz"}
    assert "/private" not in keys.short({"part": "data.Subset", "data": inner, "files": ["/private/a.npz"]})


def test_seconds_of_a_seed_are_shared_but_never_shorter_than_a_chain() -> None:
    even = Estimate({("a", "m"): 60.0, ("b", "m"): 60.0}, {"a": 10.0, "b": 10.0})
    assert even.seconds(2) == 70.0
    assert even.seconds(1) == 140.0
    assert Estimate({("a", "m"): 100.0}, {"a": 10.0}).seconds(2) == 110.0


def test_sizes_that_fit_are_rounded_down() -> None:
    experiment = load(str(Path(__file__).with_name("mine.py"))).recipe.sizes["small"]
    setting = Setting({"images": 100_000, "samples": 2_000, "batch": 250})
    assert smaller(experiment, setting, 0.256) == ["images=25000", "samples=510"]
    assert smaller(experiment, setting, 1e-9) == ["images=1", "samples=1"]
