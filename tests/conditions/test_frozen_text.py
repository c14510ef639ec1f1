"""Frozen encoders of text: transformers' own answers, once per run, from files that are the recorded ones."""

from __future__ import annotations

import copy
import json
import shutil
import socket
import sys
import warnings
from pathlib import Path

import pytest
import torch

import mezzotint as mz
from mezzotint.conditions import Encoder, FrozenText, TextWarning
from mezzotint.conditions.transformers_folder import digest
from mezzotint.core import Condition, Refusal, cat
from mezzotint.core.blueprint import blueprint
from mezzotint.core.store import MODEL
from mezzotint.guidance import CFG, Negative
from mezzotint.testing import check_condition_part
from mezzotint.testing.truth import nudge

transformers = pytest.importorskip("transformers", reason="the extra text is not installed")
import encoder_folders  # noqa: E402

TEXTS = ["a red circle", "a blue square zorp", "circle", "a red circle"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    home = tmp_path_factory.mktemp("encoders")
    return {"clip": encoder_folders.clip(home / "clip"), "t5": encoder_folders.t5(home / "t5")}


def frozen(folder: Path, **more: object) -> FrozenText:
    made = FrozenText.of(str(folder), **more)  # type: ignore[arg-type]
    nudge(made)
    made.null_trained.fill_(True)
    return made.eval()


def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The rows that transformers' encoders are asked for, call by call."""
    found = list[int]()
    for cls in (transformers.CLIPTextModel, transformers.T5EncoderModel):

        def counted(self, *args, _plain=cls.forward, **kwargs):  # type: ignore[no-untyped-def]
            found.append(len(kwargs["input_ids"]))
            return _plain(self, *args, **kwargs)

        monkeypatch.setattr(cls, "forward", counted)
    return found


@pytest.mark.parametrize("kind", ["clip", "t5"])
@pytest.mark.parametrize("layer", [None, -2, 1])
def test_features_are_those_of_transformers(folders: dict[str, Path], kind: str, layer: int | None) -> None:
    """Each text by itself through transformers' own from_pretrained, without padding."""
    theirs, tokens = {
        "clip": (transformers.CLIPTextModel, transformers.CLIPTokenizer),
        "t5": (transformers.T5EncoderModel, transformers.T5TokenizerFast),
    }[kind]
    model, tokenizer = theirs.from_pretrained(folders[kind]).eval(), tokens.from_pretrained(folders[kind])
    part = frozen(folders[kind], layer=layer)
    values = Condition(caption=TEXTS).values
    made = part.prepare(values)
    with torch.no_grad():
        context = part({**values, **made}, torch.ones(4, dtype=torch.bool))
        for row, text in enumerate(TEXTS):
            asked = tokenizer([text], return_tensors="pt")
            said = model(**asked, output_hidden_states=True)
            due = (said.last_hidden_state if layer is None else said.hidden_states[layer])[0]
            assert context.mask[row].tolist() == [True] * len(due) + [False] * (part.length - len(due))
            torch.testing.assert_close(context.tokens[row, : len(due)], due, rtol=1e-6, atol=1e-6)
            assert not context.tokens[row, len(due) :].any()
            if kind == "clip":
                torch.testing.assert_close(context.vector[row], said.pooler_output[0], rtol=1e-6, atol=1e-6)
    assert (context.vector is None) == (kind == "t5") and part.width == {"clip": 16, "t5": 12}[kind]
    assert torch.equal(made["caption.features"][0], made["caption.features"][3])


@pytest.mark.parametrize("kind", ["clip", "t5"])
def test_it_keeps_the_contract_of_condition_parts(folders: dict[str, Path], kind: str) -> None:
    texts = ["a red circle", "a blue square", "square", "red", "circle a blue"]
    check_condition_part(FrozenText.of(str(folders[kind])), dict(Condition(it=texts).values))


@pytest.mark.parametrize("kind", ["clip", "t5"])
def test_a_text_is_encoded_to_the_same_bits_whatever_stands_beside_it(folders: dict[str, Path], kind: str) -> None:
    part = frozen(folders[kind])
    many = [f"a red circle {'blue ' * n}{'square' if n % 2 else ''}".strip() for n in range(11)]
    crowd = part.prepare(Condition(caption=many).values)
    for row in (0, 4, 10):
        alone = part.prepare(Condition(caption=many[row : row + 1]).values)
        assert all(torch.equal(alone[name][0], crowd[name][row]) for name in alone)
    apart = cat([Condition(caption=[text], **part.prepare(Condition(caption=[text]).values)) for text in many[:3]])
    assert torch.equal(apart["caption.features"], crowd["caption.features"][:3])


def model_of(part: FrozenText) -> mz.denoiser.Preconditioned:
    network = mz.networks.UViT((1, 4, 4), width=16, depth=0, heads=2, vector=part.pooled, tokens=part.width)
    model = mz.denoiser.Preconditioned(network, mz.processes.Flow(), Encoder(caption=part))
    nudge(model)
    return model.eval()


def test_the_encoder_runs_once_per_run_and_once_a_text(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = model_of(frozen(folders["clip"]))
    cond, found = Condition(caption=TEXTS), calls(monkeypatch)
    plain = mz.samplers.Heun(5)(model, cond, rng=mz.Rng(range(4)))
    assert len(found) == 1  # three different texts, nine evaluations
    mz.samplers.Heun(5)(CFG(model, 2.0), cond, rng=mz.Rng(range(4)))
    assert len(found) == 2
    unwanted = Condition(**{"negative.caption": ["blue", "square", "", "blue"]})
    with pytest.warns(TextWarning, match="1 of 4 texts says nothing"):
        guided = mz.samplers.Heun(5)(Negative(model, 2.0), cond | unwanted, rng=mz.Rng(range(4)))
    assert len(found) == 4  # what is wanted and what is not
    assert (guided - plain).abs().max() > 1e-4
    ready = model.prepare(cond)
    found.clear()
    model.prepare(ready)
    assert found == []
    with pytest.raises(Refusal, match="other texts or by another encoder"):
        model.prepare(ready | Condition(caption=["blue"] * 4))
    other = model_of(frozen(folders["clip"], layer=-2))
    with pytest.raises(Refusal, match="other texts or by another encoder"):
        other.prepare(ready)


def test_its_weights_are_not_the_model_s(folders: dict[str, Path], tmp_path: Path) -> None:
    model = model_of(frozen(folders["clip"]))
    part = model.encoder["caption"]  # type: ignore[index]
    before = set(part.state_dict())
    model.prepare(Condition(caption=TEXTS))
    assert set(part.state_dict()) == before == {"null", "null_vector", "null_trained"}
    assert sum(p.numel() for p in part.parameters()) == 2 * 16
    average = mz.training.ema.PowerAverage(model, 0.1)
    assert average.model.encoder["caption"]._encoder is part._encoder  # type: ignore[index,union-attr]
    mz.core.store.save_model(tmp_path / "model", model)
    again = mz.load(tmp_path / "model")
    x, t = mz.Rng(range(4)).normal("x", (1, 4, 4)), torch.full((4,), 0.7, dtype=torch.float64)
    cond = Condition(caption=TEXTS)
    assert torch.equal(again(x, t, again.prepare(cond)).mean, model(x, t, model.prepare(cond)).mean)
    assert digest(folders["clip"]) in (tmp_path / "model" / "config.yaml").read_text()


def test_reading_it_draws_nothing_from_torch(folders: dict[str, Path]) -> None:
    """A run that goes on reads its encoder at another step than the run that was not stopped."""
    part = frozen(folders["clip"])
    torch.manual_seed(3)
    due = torch.rand(1)
    torch.manual_seed(3)
    part.prepare(Condition(caption=TEXTS).values)
    assert torch.equal(torch.rand(1), due)


def test_making_it_reads_no_file_and_asks_no_network(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    tree = mz.spec(model_of(frozen(folders["clip"])))
    opened = list[str]()
    watching = [True]

    def hear(event: str, args: tuple[object, ...]) -> None:
        if watching[0] and event == "open" and str(folders["clip"]) in str(args[0]):
            opened.append(str(args[0]))

    sys.addaudithook(hear)
    planned = blueprint(tree, MODEL)
    made = mz.build(tree, MODEL)
    assert opened == [] and all(weight.is_meta for weight in planned.parameters())

    def no(*args: object, **kwargs: object) -> None:
        raise AssertionError("a connection was asked for")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, no)
    monkeypatch.setattr(socket, "getaddrinfo", no)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    made.eval().prepare(Condition(caption=TEXTS))
    watching[0] = False
    assert any(name.endswith("config.json") for name in opened)


def changed(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "changed"))


def test_files_that_are_not_the_recorded_ones_are_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    for name in ("model.safetensors", "merges.txt", "config.json"):
        folder = changed(folders["clip"], tmp_path)
        part = FrozenText.of(str(folder)).eval()
        data = bytearray((folder / name).read_bytes())
        data[-2] ^= 1
        (folder / name).write_bytes(bytes(data))
        with pytest.raises(Refusal, match="not the one this model was made with"):
            part.prepare(Condition(caption=TEXTS).values)
        shutil.rmtree(folder)
    with pytest.raises(Refusal, match="there is no folder.*nothing is downloaded"):
        part.prepare(Condition(caption=TEXTS).values)
    with pytest.raises(Refusal, match="SHA-256"):
        FrozenText("openai/clip-vit-base-patch32", "main", 512)


def test_pickled_weights_other_models_and_broken_folders_are_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = changed(folders["clip"], tmp_path)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(Refusal, match="no model.safetensors.*never read"):
        FrozenText.of(str(folder))
    (folder / "pytorch_model.bin").rename(folder / "model.safetensors")
    tree = json.loads((folder / "config.json").read_text())
    for wrong, why in (
        ({"model_type": "bert"}, "of the type 'bert'"),
        ({"hidden_size": None}, "how wide"),
        ({"hidden_act": "nonsense"}, "describes no CLIPTextModel"),
        ({"num_hidden_layers": "three"}, "describes no CLIPTextModel"),
        ({"intermediate_size": 48}, "hold in another shape"),
        ({"num_hidden_layers": 5}, "lack"),
    ):
        (folder / "config.json").write_text(json.dumps({**tree, **wrong}))
        with pytest.raises(Refusal, match=why):
            FrozenText.of(str(folder)).eval().prepare(Condition(caption=TEXTS).values)
    # What names code or another kind of attention is not heard.
    odd = {"auto_map": {"AutoModel": "evil.Model"}, "attn_implementation": "someone/kernel"}
    odd |= {"_attn_implementation": "someone/kernel", "quantization_config": {"quant_method": "x"}}
    (folder / "config.json").write_text(json.dumps({**tree, **odd}))
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "someone/else"}')
    made = frozen(folder).prepare(Condition(caption=TEXTS).values)
    due = frozen(folders["clip"]).prepare(Condition(caption=TEXTS).values)
    assert torch.equal(made["caption.features"], due["caption.features"])
    for more, why in (({"length": 21}, "reads 20 tokens"), ({"layer": 4}, "layers 0 to 3"), ({"layer": -5}, "0 to 3")):
        with pytest.raises(Refusal, match=why):
            frozen(folders["clip"], **more).prepare(Condition(caption=TEXTS).values)


def test_a_tokenizer_that_is_missing_or_of_another_kind_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models

    for kind, names in (("clip", ("vocab.json", "merges.txt")), ("t5", ("tokenizer.json",))):
        folder = changed(folders[kind], tmp_path / kind)
        for name in names:
            (folder / name).unlink()
        with pytest.raises(Refusal, match="holds no tokenizer"):
            FrozenText.of(str(folder))
        words = {"a": 0, "red": 1, "star": 2, "<unk>": 3}
        Tokenizer(models.WordLevel(words, unk_token="<unk>")).save(str(folder / "tokenizer.json"))
        with pytest.raises(Refusal, match="of the kind 'WordLevel'"):
            FrozenText.of(str(folder))


def test_files_outside_of_the_folder_have_no_say(folders: dict[str, Path], tmp_path: Path) -> None:
    """A tokenizer's settings may name files; the hash does not know these, so they are not read."""
    folder, elsewhere = tmp_path / "clip", tmp_path / "vocab.json"
    shutil.copytree(folders["clip"], folder)
    known = json.loads((folder / "vocab.json").read_text())
    swapped = dict(zip(known, [*list(known.values())[:-2][::-1], *list(known.values())[-2:]], strict=True))
    elsewhere.write_text(json.dumps(swapped))
    named = {"vocab_file": str(elsewhere), "vocab": str(elsewhere), "auto_map": {"AutoTokenizer": ["evil.It", None]}}
    (folder / "tokenizer_config.json").write_text(json.dumps(named))
    cond = Condition(caption=["a red circle"])
    plain, told = (frozen(each).prepare(dict(cond.values)) for each in (folders["clip"], folder))
    assert torch.equal(plain["caption.features"], told["caption.features"])
    (folder / "tokenizer_config.json").write_text(json.dumps({"truncation_side": "left", "padding_side": "left"}))
    other = frozen(folder).prepare(dict(cond.values))
    assert not other["caption.mask"][0, 0] and plain["caption.mask"][0, 0]  # what is heard is heard


@pytest.mark.parametrize(("kind", "name"), [("clip", "num_hidden_layers"), ("t5", "num_layers"), ("t5", "vocab_size")])
def test_a_config_larger_than_its_weights_is_refused_before_it_is_made(
    folders: dict[str, Path], tmp_path: Path, kind: str, name: str
) -> None:
    folder = tmp_path / kind
    shutil.copytree(folders[kind], folder)
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**settings, name: 10**10}))
    with pytest.raises(Refusal, match="belong"):
        frozen(folder).prepare(dict(Condition(caption=["a red circle"]).values))


def test_the_whole_of_clip_and_old_names_of_its_weights(folders: dict[str, Path], tmp_path: Path) -> None:
    """A folder with the encoder of pictures beside it, as CLIP is given away, and sharded weights."""
    from safetensors.torch import load_file, save_file

    folder = changed(folders["clip"], tmp_path)
    tree = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({"model_type": "clip", "text_config": tree, "vision_config": {}}))
    weights = {f"text_model.{name}": value for name, value in load_file(folder / "model.safetensors").items()}
    (folder / "model.safetensors").unlink()
    half = len(weights) // 2
    more = {"vision_model.embeddings.class_embedding": torch.ones(3), "logit_scale": torch.ones(())}
    save_file(dict(list(weights.items())[:half]) | more, folder / "model-00001-of-00002.safetensors")
    save_file(dict(list(weights.items())[half:]), folder / "model-00002-of-00002.safetensors")
    made = frozen(folder).prepare(Condition(caption=TEXTS).values)
    due = frozen(folders["clip"]).prepare(Condition(caption=TEXTS).values)
    assert torch.equal(made["caption.features"], due["caption.features"])
    assert torch.equal(made["caption.pooled"], due["caption.pooled"])


def test_what_is_not_heard_is_said(folders: dict[str, Path]) -> None:
    part = frozen(folders["t5"], length=6)
    strange, cut, empty = part.remarks(["a red 红", "a circle a circle a circle", ""])
    assert "does not know '红'" in strange and "has 7 tokens" in cut and "the last is lost" in cut
    assert empty.startswith("1 of 3")
    assert frozen(folders["clip"]).remarks(["a red zorp"]) == []  # known by its letters
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        copy.deepcopy(part).train().prepare(Condition(caption=["a red 红", ""]).values)
    null = part({}, torch.zeros(1, dtype=torch.bool))
    with pytest.warns(TextWarning):
        silent = part(Condition(caption=["", " "]).values, torch.ones(2, dtype=torch.bool))
    assert torch.equal(silent.tokens, null.tokens.expand(2, -1, -1)) and torch.equal(silent.mask[:1], null.mask)
    assert torch.equal(null.tokens[0, 0], part.null)
