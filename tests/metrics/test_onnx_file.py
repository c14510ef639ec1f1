"""ONNX files as extractors: a hand-made network whose features are known, with every declaration it takes."""

from pathlib import Path

import numpy as np
import pytest
import torch

from mezzotint.core import Refusal
from mezzotint.metrics import OnnxExtractor, load_extractor

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
WEIGHT = np.random.default_rng(0).normal(size=(5, 3, 2, 2)).astype(np.float32)


def write(path: Path, layout: str = "NCHW", batch: int | str = "n", size: int = 6, external: bool = False) -> Path:
    """A convolution 2 x 2 (stride 2) as ``maps``, its mean over space as ``means``."""
    h, o = onnx.helper, onnx.TensorProto.FLOAT
    shape = [batch, 3, size, size] if layout == "NCHW" else [batch, size, size, 3]
    nodes = [h.make_node("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2])] if layout == "NHWC" else []
    first = "t" if nodes else "x"
    nodes.append(h.make_node("Conv", [first, "w"], ["maps"], strides=[2, 2], kernel_shape=[2, 2]))
    nodes.append(h.make_node("ReduceMean", ["maps", "axes"], ["means"], keepdims=0))
    axes = onnx.numpy_helper.from_array(np.array([2, 3], np.int64), "axes")
    graph = h.make_graph(
        nodes,
        "tiny",
        [h.make_tensor_value_info("x", o, shape)],
        [
            h.make_tensor_value_info("means", o, [batch, 5]),
            h.make_tensor_value_info("maps", o, [batch, 5, size // 2, size // 2]),
        ],
        [onnx.numpy_helper.from_array(WEIGHT, "w"), axes],
    )
    model = h.make_model(graph, opset_imports=[h.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, str(path), save_as_external_data=external, size_threshold=100, location="weights.bin")
    return path


def known(x: torch.Tensor) -> np.ndarray:
    """The same features by torch in float64, of what goes in."""
    maps = torch.nn.functional.conv2d(x.double(), torch.from_numpy(WEIGHT).double(), stride=2)
    return maps.mean((2, 3)).numpy()


@pytest.fixture(scope="module")
def x() -> torch.Tensor:
    return torch.rand(37, 3, 6, 6, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("batch", ["n", 1, 8])
def test_features_are_those_of_the_network(layout: str, batch: int | str, x: torch.Tensor, tmp_path: Path) -> None:
    path = write(tmp_path / "a.onnx", layout, batch)
    made = OnnxExtractor.of(path, 6, values=(0, 255), layout=layout, output="means")
    got = made.features(x)
    assert got.dtype == np.float64 and np.allclose(got, known((x + 1) * 127.5), rtol=1e-4, atol=1e-3)
    assert np.array_equal(made.features(x), got)
    assert np.allclose(made.features(x[5:7]), got[5:7], rtol=1e-5, atol=1e-4)


def test_what_is_declared_decides(x: torch.Tensor, tmp_path: Path) -> None:
    path = write(tmp_path / "a.onnx")
    found = OnnxExtractor.of(path, (6, 6), values=(-1, 1), output="maps").features(x)
    assert np.allclose(found, known(x), atol=1e-5)  # maps are averaged
    mean, deviation = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
    inside = ((x + 1) / 2 - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(deviation).view(3, 1, 1)
    normed = OnnxExtractor.of(path, 6, output="means", mean=mean, deviation=deviation)
    assert np.allclose(normed.features(x), known(inside), atol=1e-5)
    wide = OnnxExtractor.of(path, 6, values=(-1, 1), output="means")
    double = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert np.allclose(wide.features(double), known(x), atol=1e-5)  # by area
    grey = wide.features(x[:, :1])
    assert np.allclose(grey, known(x[:, :1].expand(-1, 3, -1, -1)), atol=1e-5)
    assert wide.features(x[..., ::2, ::2]).shape == (37, 5)  # enlarged
    assert normed.record["sha256"] == wide.record["sha256"] and normed.record != wide.record


def test_saved_and_loaded_it_is_the_same(x: torch.Tensor, tmp_path: Path) -> None:
    made = OnnxExtractor.of(write(tmp_path / "a.onnx"), 6, output="means", mean=(0.1, 0.2, 0.3))
    folder = made.save(tmp_path / "e")
    back = load_extractor(folder)
    assert isinstance(back, OnnxExtractor) and back.record == made.record
    assert np.array_equal(back.features(x), made.features(x))
    wrong = OnnxExtractor(made.file, made.session, {**made.record, "sha256": "0" * 64})
    with pytest.raises(Refusal, match="not the one its record names"):
        load_extractor(wrong.save(tmp_path / "f"))
    raw = bytearray((folder / "network.onnx").read_bytes())
    raw[40] ^= 1
    (folder / "network.onnx").write_bytes(raw)
    with pytest.raises(Refusal, match="damaged"):
        load_extractor(folder)


def test_what_does_not_fit_is_refused(x: torch.Tensor, tmp_path: Path) -> None:
    path = write(tmp_path / "a.onnx")
    for words, given in (
        ("say which one: means, maps", {}),
        ("no output 'mean': did you mean 'means'", {"output": "mean"}),
        ("declared", {"output": "means", "layout": "NHWC"}),
        ("declared", {"output": "means", "size": 8}),
        ("NCHW or NHWC", {"layout": "CHW"}),
        ("white is more than black", {"values": (1, 0)}),
        ("one number a channel", {"mean": (0.5,)}),
        ("1 channel or 3", {"channels": 4}),
    ):
        with pytest.raises(Refusal, match=words):
            OnnxExtractor.of(path, **{"size": 6, **given})
    made = OnnxExtractor.of(path, 6, output="means")
    with pytest.raises(Refusal, match="another aspect"):
        made.features(torch.zeros(2, 3, 6, 20))
    with pytest.raises(Refusal, match="takes pictures"):
        made.features(torch.zeros(2, 2, 6, 6))
    (tmp_path / "b.onnx").write_bytes(b"no network at all")
    with pytest.raises(Refusal, match="cannot be run"):
        OnnxExtractor.of(tmp_path / "b.onnx", 6)


def test_weights_in_another_file_are_refused_wherever_one_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From bytes, onnxruntime looks for them in the working directory: they would be in no hash."""
    path = write(tmp_path / "c.onnx", external=True)
    for place in (tmp_path, Path("/")):
        monkeypatch.chdir(place)
        with pytest.raises(Refusal, match="cannot be run"):
            OnnxExtractor.of(path, 6, output="means")
