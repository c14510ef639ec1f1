"""Whole files as a stranger might write them: refused in a sentence, before they take memory or touch anything else."""

from __future__ import annotations

import io
import json
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trial
from PIL import Image
from PIL.PngImagePlugin import PngInfo

import mezzotint as mz
from mezzotint.cli import main
from mezzotint.conditions import Classes, Encoder
from mezzotint.core import Refusal, config, spec, store
from mezzotint.data import Arrays
from mezzotint.data.picture import MAX_PIXELS, MAX_SIDE, decode
from mezzotint.denoiser import Preconditioned
from mezzotint.networks import MLP
from mezzotint.processes import EDM
from mezzotint.samplers import Heun
from mezzotint.training.pictures import grid, read_settings

Edit = Callable[[Path], None]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    network = MLP((2,), width=8, depth=1, vector=8)
    model = Preconditioned(network, EDM(), Encoder(label=Classes(3, 8)))
    return store.save_model(tmp_path / "model", model, sampler=Heun(3), classes=("a", "b", "c"))


def vouch(folder: Path) -> None:
    """A manifest of whatever lies there: a stranger's hashes are right, of course."""
    names = [file.name for file in folder.iterdir() if file.name != store.MANIFEST]
    files = {n: {"bytes": (folder / n).stat().st_size, "sha256": store.sha256(folder / n)} for n in names}
    (folder / store.MANIFEST).write_text(json.dumps({"schema": store.SCHEMA, "files": files}))


def configured(change: Callable[[dict[str, Any]], Any]) -> Edit:
    def edit(folder: Path) -> None:
        tree = config.load(folder / store.CONFIG)
        change(tree)
        (folder / store.CONFIG).write_text(config.dumps(tree))
        vouch(folder)

    return edit


def weighed(change: Callable[[dict[str, torch.Tensor]], Any]) -> Edit:
    def edit(folder: Path) -> None:
        tensors = store.load_tensors(folder / store.WEIGHTS)
        change(tensors)
        store.save_tensors(folder / store.WEIGHTS, tensors)
        vouch(folder)

    return edit


def headed(change: Callable[[dict[str, Any]], Any]) -> Edit:
    def edit(folder: Path) -> None:
        raw = (folder / store.WEIGHTS).read_bytes()
        length = int.from_bytes(raw[:8], "little")
        header = json.loads(raw[8 : 8 + length])
        change(header)
        text = json.dumps(header).encode()
        (folder / store.WEIGHTS).write_bytes(len(text).to_bytes(8, "little") + text + raw[8 + length :])
        vouch(folder)

    return edit


def replaced(name: str, content: bytes) -> Edit:
    def edit(folder: Path) -> None:
        (folder / name).write_bytes(content)
        vouch(folder)

    return edit


def unnamed(folder: Path) -> None:
    entries = json.loads((folder / store.MANIFEST).read_text())["files"]
    del entries[store.WEIGHTS]
    (folder / store.MANIFEST).write_text(json.dumps({"schema": store.SCHEMA, "files": entries}))


def linked(folder: Path) -> None:
    (folder / store.WEIGHTS).rename(folder.parent / "elsewhere")
    (folder / store.WEIGHTS).symlink_to(folder.parent / "elsewhere")


def manifested(change: Callable[[dict[str, Any]], Any]) -> Edit:
    def edit(folder: Path) -> None:
        tree = json.loads((folder / store.MANIFEST).read_text())
        change(tree["files"])
        (folder / store.MANIFEST).write_text(json.dumps({"schema": store.SCHEMA, "files": tree["files"]}))

    return edit


def renamed(files: dict[str, Any], name: str) -> None:
    files[name] = files[store.WEIGHTS]


def eighths(header: dict[str, Any]) -> None:
    for entry in header.values():
        if entry["dtype"] == "F32":
            entry.update(dtype="F8_E4M3", shape=[4 * int(np.prod(entry["shape"]))])


TABLES = [{"part": "processes.DDPM", "steps": 10**6, "schedule": "cosine"} for _ in range(9)]
READER = {"part": "data.Folder", "path": "/"}
NAME = "network.body.0.up.weight"
HOSTILE: list[tuple[str, Edit, str]] = [
    ("wide", configured(lambda t: t["model"]["network"].update(width=10**6)), "parameters"),
    ("deep", configured(lambda t: t["model"]["network"].update(depth=10**9)), "tensors"),
    ("reader", configured(lambda t: t["model"].update(network=READER)), "no place here"),
    ("reader as model", configured(lambda t: t.update(model=READER)), "no place here"),
    ("trainer", configured(lambda t: t.update(model={"part": "training.Trainer"})), "no place here"),
    ("no module", configured(lambda t: t.update(model=t["sampler"])), "weights"),
    ("shape", weighed(lambda t: t.update({n: v[:1] for n, v in t.items() if v.ndim == 2})), "shape"),
    ("integers", weighed(lambda t: t.update({n: v.to(torch.int32) for n, v in t.items()})), "int32"),
    ("more", weighed(lambda t: t.update(more=torch.zeros(1))), "does not have"),
    ("less", weighed(lambda t: t.popitem()), "lacks"),
    ("beyond", headed(lambda h: [e.update(data_offsets=[0, 10**12]) for e in h.values()]), "damaged"),
    ("overlap", headed(lambda h: [e.update(data_offsets=[0, 4]) for e in h.values()]), "damaged"),
    ("type", headed(eighths), "F8"),
    ("negative", headed(lambda h: [e.update(shape=[-1, -4]) for e in h.values()]), "damaged"),
    ("long header", replaced(store.WEIGHTS, (2**62).to_bytes(8, "little") + b"{}"), "announce a header"),
    ("longer header", replaced(store.WEIGHTS, (2**24 + 1).to_bytes(8, "little") + b"{}"), "announce a header"),
    ("pickle", replaced(store.WEIGHTS, b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nq\x00."), "damaged"),
    ("no weights", replaced(store.WEIGHTS, b""), "damaged"),
    ("unnamed", unnamed, "vouches"),
    ("another name", manifested(lambda f: renamed(f, f"./{store.WEIGHTS}")), "plain name"),
    ("another name", manifested(lambda f: renamed(f, f"././{store.WEIGHTS}")), "plain name"),
    ("a slash", manifested(lambda f: renamed(f, f"{store.WEIGHTS}/")), "plain name"),
    ("half a character", manifested(lambda f: renamed(f, "\ud800")), "surrogate"),
    ("many names", manifested(lambda f: [renamed(f, str(i)) for i in range(10_000)]), "10,000 at most"),
    ("number of classes", configured(lambda t: t.update(classes=7)), "list of strings"),
    ("word of classes", configured(lambda t: t.update(classes="abc")), "list of strings"),
    ("odd classes", configured(lambda t: t.update(classes=[{"a": 1}, [2], None])), "list of strings"),
    ("half a class", replaced(store.CONFIG, b'schema: 1\nmodel: 1\nclasses: ["\\ud800"]'), "surrogate"),
    ("no number", replaced(store.CONFIG, b'x: "\\UFFFFFFFF"'), "not valid YAML"),
    ("tables", configured(lambda t: t["model"].update(process=TABLES)), "compute more"),
    ("shape", configured(lambda t: t["model"]["network"].update(shape=[8.5])), "whole numbers"),
    ("vast shape", configured(lambda t: t["model"]["network"].update(shape=[2**40])), "at most"),
    ("linked", linked, "link"),
]  # fmt: skip


@pytest.mark.parametrize(("damage", "says"), [h[1:] for h in HOSTILE], ids=[h[0] for h in HOSTILE])
def test_hostile_model_folders_are_refused(folder: Path, damage: Edit, says: str) -> None:
    damage(folder)
    with pytest.raises(Refusal, match=says) as refused:
        store.load_model(folder)
    assert "\n" not in str(refused.value)


def test_a_model_folder_is_not_reached_through_a_link(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "model").symlink_to(folder)
    for read in (store.load_model, store.model_config, store.model_folder):
        with pytest.raises(Refusal, match="is a link"):
            read(tmp_path / "run")
    assert store.model_folder(tmp_path / "run" / "model") == tmp_path / "run" / "model"  # one's own link to a folder


def test_a_file_is_read_once_however_often_it_is_linked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(20):
        (folder / f"again{i}").hardlink_to(folder / store.WEIGHTS)
    vouch(folder)
    names: list[str] = []
    real = store.sha256
    monkeypatch.setattr("mezzotint.core.folder.sha256", lambda path: names.append(path.name) or real(path))
    assert len(store.check_folder(folder)) == 22 and len(names) == 2
    (folder / "again3").unlink()
    (folder / "again3").write_bytes((folder / store.WEIGHTS).read_bytes()[:-1] + b"!")
    with pytest.raises(Refusal, match="damaged"):  # and another file is not taken for it
        store.check_folder(folder)


@pytest.mark.parametrize("key", ["sampler", "guidance"])
def test_no_part_of_a_folder_or_a_picture_goes_around_the_measure(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], key: str
) -> None:
    """Not only the model: a sampler or a reward may hold a network too, or a table."""
    tree = config.load(folder / store.CONFIG)
    vast = {"part": "networks.MLP", "shape": [2], "width": 10**6}
    reward = {"part": "rewards.Classifier", "network": vast}
    if key == "sampler":
        configured(lambda t: t.update(sampler={"part": "samplers.Shifted", "sampler": t["sampler"], "reward": reward}))(
            folder
        )
        assert main(["sample", str(folder), "--out", str(tmp_path / "out.png")]) == 2
    else:
        guidance = {"part": "guidance.ThroughDenoiser", "reward": reward, "scale": 1.0}
        digest = store.sha256(folder / store.WEIGHTS)
        said = {**LIKE, "model": {"path": str(folder), "sha256": digest}, "guidance": guidance}
        like = settings_of(tmp_path / "like.png", json.dumps({**said, "sampler": tree["sampler"]}))
        assert main(["sample", "--like", str(like), "--out", str(tmp_path / "out.png")]) == 2
    assert "parameters" in capsys.readouterr().err


@pytest.mark.parametrize("classes", ["7", "[{a: 1}]", "abc"])
def test_show_and_sample_refuse_odd_classes(folder: Path, capsys: pytest.CaptureFixture[str], classes: str) -> None:
    configured(lambda t: t.update(classes=config.loads(classes)))(folder)
    for verb in ("show", "sample"):
        assert main([verb, str(folder)]) == 2
        assert "list of strings" in capsys.readouterr().err


def test_the_cap_counts_before_the_weights_are_read(folder: Path) -> None:
    size = sum(tensor.numel() for tensor in store.load_tensors(folder / store.WEIGHTS).values())
    assert store.load_model(folder, parameters=2 * size)
    (folder / store.WEIGHTS).write_bytes(b"")  # were it read, it would be damaged
    vouch(folder)
    with pytest.raises(Refusal, match="more than 10 parameters"):
        store.load_model(folder, parameters=10)


def test_other_precisions_are_taken(folder: Path) -> None:
    whole = store.load_model(folder)
    weighed(lambda t: t.update({n: v.half() for n, v in t.items() if v.is_floating_point()}))(folder)
    for name, tensor in store.load_model(folder).state_dict().items():
        mine = whole.state_dict()[name]
        assert tensor.dtype == mine.dtype and torch.equal(tensor, mine.half().to(mine.dtype))


def test_data_named_by_a_model_folder_are_left_alone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They are plain words until somebody asks for them: a folder that is not there hinders nobody."""
    configured(lambda t: t.update(data={"part": "data.Folder", "path": "/no/such/folder"}))(folder)
    store.load_model(folder)
    assert main(["show", str(folder)]) == 0
    assert main(["evaluate", str(folder)]) == 2 and "no folder" in capsys.readouterr().err
    configured(lambda t: t.update(data=spec(EDM())))(folder)
    assert main(["evaluate", str(folder)]) == 2 and "no place here" in capsys.readouterr().err
    configured(lambda t: t.update(sampler=READER))(folder)
    assert main(["sample", str(folder)]) == 2 and "no place here" in capsys.readouterr().err


def test_names_do_not_speak_to_the_terminal(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    configured(lambda t: t.update(classes=["\x1b[2Jgone", "b\x07", "c"], sampler={"part": "\x1b[31mred"}))(folder)
    assert main(["show", str(folder)]) == 0
    said = capsys.readouterr().out
    assert "\x1b" not in said and "\x07" not in said and "\\x1b[2Jgone" in said and "\\x1b[31mred" in said


def png(width: int, height: int, rows: bytes = b"") -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("size", "says"),
    [((20_000, 20_000), "max_pixels|too large"), ((2**31 - 1, 2**31 - 1), "too large|max_pixels|side"),
     ((MAX_SIDE + 1, 1), "side"), ((1, MAX_PIXELS), "side"), ((8_000, 8_000), "max_pixels")],
)  # fmt: skip
def test_pictures_that_announce_too_much_are_refused(tmp_path: Path, size: tuple[int, int], says: str) -> None:
    (tmp_path / "bomb.png").write_bytes(png(*size))
    for look in (lambda: decode(tmp_path / "bomb.png", 3, MAX_PIXELS), lambda: read_settings(tmp_path / "bomb.png")):
        with pytest.raises(Refusal, match=says):
            look()


def settings_of(path: Path, text: str, kind: str = "PNG") -> Path:
    info = PngInfo()
    info.add_itxt("mezzotint", text, zip=True)
    Image.new("L", (2, 2)).save(path, kind, pnginfo=info)
    return path


@pytest.mark.parametrize(
    "text", ["x" * 2**22, "[" * 100_000, "3", "[]", "{", '{"a":' * 200 + "1" + "}" * 200, "9" * 9999]
)
def test_settings_inside_a_picture_are_bounded(tmp_path: Path, text: str) -> None:
    with pytest.raises(Refusal) as refused:
        read_settings(settings_of(tmp_path / "a.png", text))
    assert len(str(refused.value)) < 500


def test_only_a_png_is_asked_for_settings(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    with pytest.raises(Refusal, match="cannot be read"):
        read_settings(tmp_path / "a.png")


LIKE: dict[str, Any] = {
    "model": {"path": "", "sha256": "0"}, "labels": [0], "seeds": [1], "sampler": {"part": "samplers.Heun", "steps": 2},
    "guidance": None, "batch": 1, "layout": {"columns": 1, "scale": 1, "gap": 0},
}  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [{"seeds": [2**70]}, {"seeds": [-1]}, {"seeds": ["a"]}, {"labels": ["a"]}, {"labels": [None]}, {"versions": [1]},
     {"interval": [1]}, {"interval": "ab"}, {"seeds": [True]}, {"layout": {"columns": 1, "scale": 10**6, "gap": 0}}],
)  # fmt: skip
def test_a_picture_to_repeat_is_checked(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any]
) -> None:
    said = {**LIKE, "model": {"path": str(folder), "sha256": store.sha256(folder / store.WEIGHTS)}, **change}
    like = settings_of(tmp_path / "like.png", json.dumps(said))
    assert main(["sample", "--like", str(like), "--out", str(tmp_path / "out.png")]) == 2
    assert "are not those of mezzotint sample" in capsys.readouterr().err


def test_a_sheet_is_bounded() -> None:
    with pytest.raises(Refusal, match="larger than"):
        grid(torch.zeros(1, 1, 64, 64), 1000, 1000)


def npz(path: Path, header: bytes, payload: bytes = b"", kind: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", kind) as archive:
        for name in ("images", "labels"):
            archive.writestr(f"{name}.npy", header + payload)
    return path


def header_of(shape: tuple[int, ...], dtype: str = "|u1") -> bytes:
    held = io.BytesIO()
    np.lib.format.write_array_header_1_0(held, {"descr": dtype, "fortran_order": False, "shape": shape})
    return held.getvalue()


BOMBS = [
    (header_of((10**6, 1000, 1000)), b"\0" * 100, {}, "announces"),
    (header_of((2, 2, 2)), b"\0" * 9, {}, "announces"),
    (header_of((2, 2, 2), "|O"), b"\x80\x04N.", {}, "pickle"),
    (header_of((1, 3000, 3000)), b"\0" * 9_000_000, {"budget": 10**6}, "budget"),  # nine kilobytes on disk
    (header_of((2, 2, 2)), b"\0" * 8, {"kind": zipfile.ZIP_LZMA}, "numpy does not write"),
    (b"\x93NUMPY\x01\x00\xff\xff" + b"(" * 65_535, b"", {}, "cannot be read"),
    (b"not an array", b"", {}, "cannot be read"),
    (header_of((-1, -8)), b"\0" * 8, {}, "cannot be read|pictures are"),
]


@pytest.mark.parametrize(("header", "payload", "more", "says"), BOMBS, ids=range(len(BOMBS)))
def test_arrays_that_announce_too_much_are_refused(
    tmp_path: Path, header: bytes, payload: bytes, more: dict[str, int], says: str
) -> None:
    path = npz(tmp_path / "bomb.npz", header, payload, more.pop("kind", zipfile.ZIP_DEFLATED))
    with pytest.raises(Refusal, match=says):
        Arrays(str(path), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [store.CONFIG, store.MANIFEST])
def test_a_refusal_stays_one_short_line_whatever_it_quotes(folder: Path, name: str) -> None:
    said = "line\n" * 1000
    if name == store.CONFIG:
        configured(lambda t: t.update(schema=said))(folder)
    else:
        (folder / name).write_text(json.dumps({"schema": said, "files": {}}))
    with pytest.raises(Refusal, match="schema") as refused:
        store.load_model(folder)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 500


def test_weights_that_do_not_fit_are_refused_by_their_header(tmp_path: Path) -> None:
    """Eight gigabytes that take no room on the disk, and none in memory: only the header is read."""
    size = 2**33
    header = json.dumps({"weight": {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]}}).encode()
    with (tmp_path / "w").open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + size)
    assert store.header(tmp_path / "w") == {"weight": (torch.float32, (size // 4,))}
    with pytest.raises(Refusal, match="shape"):
        store.load_tensors(tmp_path / "w", like=torch.nn.Linear(2, 2, bias=False, device="meta"))


def larger(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: torch.cat([t, t]) if t.ndim == 2 else t for name, t in tensors.items()}


CHECKPOINTS: list[tuple[str, str, Callable[[Any], Any], str]] = [
    ("weights", "model.safetensors", larger, "shape"),
    ("average", "ema-0.100.safetensors", larger, "shape"),
    ("moments", "optimizer.safetensors", larger, "moment"),
    ("moments of nothing", "optimizer.safetensors", lambda t: {"10**9.exp_avg": torch.zeros(1)}, "moment"),
    ("window", "window.safetensors", lambda _: {"losses": torch.zeros(2), "levels": torch.zeros(2, 2)}, "stands"),
    ("objective", "objective.safetensors", lambda t: {"more": torch.zeros(1)}, "does not have"),
    ("no step", "state.json", lambda state: {"batch": state["batch"]}, "stands"),
    ("half a step", "state.json", lambda state: state.update(step=0.5), "stands"),
    ("a list", "state.json", lambda state: [state], "no mapping"),
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    tree = trial.config(4)
    with trial.few():
        return tree, mz.training.train(tree, tmp_path_factory.mktemp("trained") / "run").path


@pytest.mark.parametrize(("name", "change", "says"), [c[1:] for c in CHECKPOINTS], ids=[c[0] for c in CHECKPOINTS])
def test_a_checkpoint_of_another_model_is_refused_before_it_is_read(
    trained: tuple[dict[str, Any], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    change: Callable[[Any], Any],
    says: str,
) -> None:
    tree, whole = trained
    shutil.copytree(whole, tmp_path / "run")
    for other in sorted((tmp_path / "run" / "checkpoints").iterdir())[:-1]:
        shutil.rmtree(other)
    (newest,) = (tmp_path / "run" / "checkpoints").iterdir()
    if name == "state.json":
        state = json.loads((newest / name).read_text())
        (newest / name).write_text(json.dumps(change(state) or state))
    else:
        before = store.load_tensors(newest / name) if (newest / name).exists() else {}
        store.save_tensors(newest / name, change(before))
    vouch(newest)
    monkeypatch.setattr("safetensors.torch.load_file", lambda *_: pytest.fail("weights were read"))
    with pytest.raises(Refusal, match=says) as refused:
        mz.training.train(tree, tmp_path / "run", resume=True)
    assert "\n" not in str(refused.value)
