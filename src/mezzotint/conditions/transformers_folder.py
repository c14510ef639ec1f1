"""A CLIP or T5 text encoder as a folder of files that somebody put there: known by a hash, read when it is first asked.

The hash is one SHA-256 for everything that decides what the encoder says - the weights, their config and the files of
the tokenizer - so that a word list that was exchanged is found like a weight that was. It is compared before anything
of the folder is read otherwise. Nothing is ever downloaded, weights are safetensors only, and of both configs, the
encoder's and the tokenizer's, a list of settings is heard: a line that names code, another kind of attention or files
outside of the folder, which no hash would know, has no effect.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from mezzotint.conditions.tokenizers import words
from mezzotint.core.bounded import read_json
from mezzotint.core.errors import Refusal
from mezzotint.core.folder import sha256
from mezzotint.core.store import load_tensors

_SETTINGS = "tokenizer_config.json"
_NAMES = (
    "config.json",
    "tokenizer.json",
    _SETTINGS,
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "spiece.model",
)
_ROWS = 8  # texts asked at once, always as many: a text is encoded to the same bits whatever stands beside it
_CLIP = (
    "vocab_size hidden_size intermediate_size projection_dim num_hidden_layers num_attention_heads "
    "max_position_embeddings hidden_act layer_norm_eps pad_token_id bos_token_id eos_token_id"
)
_T5 = (
    "vocab_size d_model d_kv d_ff num_layers num_heads relative_attention_num_buckets relative_attention_max_distance "
    "layer_norm_epsilon feed_forward_proj pad_token_id eos_token_id"
)
_TOKENIZER = (
    "unk_token bos_token eos_token pad_token extra_ids additional_special_tokens extra_special_tokens "
    "added_tokens_decoder padding_side truncation_side add_prefix_space do_lower_case clean_up_tokenization_spaces "
    "split_special_tokens legacy errors"
)


@dataclass(frozen=True)
class _Kind:
    """Classes of transformers, the settings of a config that are heard, how the width is called there, the model of a
    ``tokenizer.json``, and the files that say the same where there is none."""

    model: str
    config: str
    tokenizer: str
    heard: str
    width: str
    cut: str
    instead: tuple[str, ...]


_OF_CLIP = _Kind(
    "CLIPTextModel", "CLIPTextConfig", "CLIPTokenizer", _CLIP, "hidden_size", "BPE", ("vocab.json", "merges.txt")
)
KINDS: Mapping[str, _Kind] = MappingProxyType(
    {
        "clip": _OF_CLIP,  # with the encoder of pictures, which is left out
        "clip_text_model": _OF_CLIP,
        "t5": _Kind("T5EncoderModel", "T5Config", "T5TokenizerFast", _T5, "d_model", "Unigram", ("spiece.model",)),
    }
)
"""By ``model_type`` of a ``config.json``."""


def files(folder: Path) -> list[Path]:
    """What is read of a folder.

    Raises:
        Refusal: it is no folder, or has no weights in safetensors.
    """
    if not folder.is_dir():
        raise Refusal(
            f"there is no folder {str(folder)!r} with a text encoder; nothing is downloaded here, so put its "
            "config.json, safetensors and tokenizer files there, or name the folder where they are"
        )
    weights = sorted(folder.glob("model*.safetensors"))
    if not weights:
        raise Refusal(
            f"{str(folder)!r} holds no model.safetensors; weights of another kind (.bin, .pt) may hold code and are "
            "never read: have transformers save them with save_pretrained"
        )
    return [folder / name for name in _NAMES if (folder / name).is_file()] + weights


def digest(folder: str | Path) -> str:
    """One SHA-256 for all files that decide what the encoder of a folder says, in hexadecimal."""
    lines = [f"{sha256(file)}  {file.name}\n" for file in files(Path(folder))]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def described(folder: str | Path) -> tuple[_Kind, dict[str, Any]]:
    """The kind of an encoder and the settings that are heard, by its ``config.json``."""
    tree = read_json(Path(folder, "config.json"))
    kind = KINDS.get(str(tree.get("model_type"))) if isinstance(tree, dict) else None
    if kind is None:
        said = tree.get("model_type") if isinstance(tree, dict) else None
        raise Refusal(f"{str(folder)!r} holds a model of the type {said!r}; text is encoded by CLIP or T5")
    if isinstance(tree.get("text_config"), dict):
        tree = tree["text_config"]
    plain = {name: tree[name] for name in kind.heard.split() if name in tree}
    if not isinstance(plain.get(kind.width), int):
        raise Refusal(f"the config.json of {str(folder)!r} does not say how wide its features are ({kind.width})")
    return kind, plain


def check_tokenizer(folder: str | Path, kind: _Kind) -> None:
    """Refuse a folder without a tokenizer, or with one of another kind than the encoder's.

    Transformers would read neither as it is meant, and would not say so: what it lacks it makes up.
    """
    whole = Path(folder, "tokenizer.json")
    if not whole.is_file():
        if not all(Path(folder, name).is_file() for name in kind.instead):
            raise Refusal(
                f"{str(folder)!r} holds no tokenizer: put its tokenizer.json, or {' and '.join(kind.instead)}, beside "
                "the weights"
            )
        return
    tree = read_json(whole, 2**26)
    model = tree.get("model") if isinstance(tree, dict) else None
    found = model.get("type") if isinstance(model, dict) else None
    if found != kind.cut:
        raise Refusal(
            f"the tokenizer.json in {str(folder)!r} is of the kind {found!r:.40}, and a {kind.tokenizer} is "
            f"{kind.cut!r}; put the tokenizer there that the encoder was trained with"
        )


class TransformersFolder:
    """The encoder of a folder, read when it is first asked; copies share what was read.

    Arguments:
        folder: where its files lie.
        digest: what :func:`digest` has to say of them.
    """

    def __init__(self, folder: str, digest: str) -> None:
        self.folder, self.digest = folder, digest
        self._read: tuple[nn.Module, Any] | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> TransformersFolder:
        return self  # an average of weights in training has a copy of every part, and this one never changes

    def tokens(self, text: str) -> int:
        """How many tokens a text has, those at its ends counted."""
        return len(self._opened()[1](text)["input_ids"])

    def unknown(self, text: str) -> list[str]:
        """The words of a text that are not even known in pieces."""
        tokenizer = self._opened()[1]
        odd = tokenizer.unk_token_id
        return [word for word in words(text) if odd in tokenizer(word, add_special_tokens=False)["input_ids"]]

    @torch.no_grad()
    def __call__(
        self, texts: Sequence[str], length: int, layer: int | None, device: torch.device
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Features (B, length, D), which of them belong to a text, bool (B, length), and pooled (B, D) or None.

        Arguments:
            texts: any strings; one that is there several times is encoded once.
            length: tokens, cut or filled up.
            layer: whose features, as an index into the states after the embedding and after each layer; None: the
                last, normed.
            device: where it is to run.
        """
        model, tokenizer = self._opened()
        settings: Any = model.to(device).config
        most, layers = getattr(settings, "max_position_embeddings", length), settings.num_hidden_layers
        if length > most or (layer is not None and not -layers - 1 <= layer <= layers):
            raise Refusal(
                f"the text encoder in {self.folder!r} reads {most} tokens and has the layers 0 to {layers}, "
                f"so not {length} tokens at layer {layer}"
            )
        different = list(dict.fromkeys(texts))
        features, masks, pooled = list[Tensor](), list[Tensor](), list[Tensor]()
        for start in range(0, len(different), _ROWS):
            few = different[start : start + _ROWS]
            full = few + [""] * (_ROWS - len(few))
            cut = tokenizer(full, padding="max_length", truncation=True, max_length=length, return_tensors="pt")
            ids, mask = cut["input_ids"].to(device), cut["attention_mask"].to(device)
            said = model(input_ids=ids, attention_mask=mask, output_hidden_states=layer is not None)
            states = said.last_hidden_state if layer is None else said.hidden_states[layer]
            features.append(states[: len(few)])
            masks.append(mask[: len(few)].bool())
            if hasattr(said, "pooler_output"):
                pooled.append(said.pooler_output[: len(few)])
        number = {text: place for place, text in enumerate(different)}
        places = torch.tensor([number[text] for text in texts], dtype=torch.int64, device=device)
        return torch.cat(features)[places], torch.cat(masks)[places], torch.cat(pooled)[places] if pooled else None

    def _opened(self) -> tuple[nn.Module, Any]:
        if self._read is None:
            self._read = self._open()
        return self._read

    def _open(self) -> tuple[nn.Module, Any]:
        folder = Path(self.folder)
        if (found := digest(folder)) != self.digest:
            raise Refusal(
                f"the text encoder in {self.folder!r} is not the one this model was made with: its files have the hash "
                f"{found[:12]}..., and {self.digest[:12]}... is recorded; put the files back, or make a new model by "
                "FrozenText.of(folder)"
            )
        try:
            import transformers
        except ImportError:
            raise Refusal("a frozen text encoder needs transformers: pip install 'mezzotint[text]'") from None
        kind, settings = described(folder)
        check_tokenizer(folder, kind)
        model = _filled(kind, settings, folder)
        try:
            with tempfile.TemporaryDirectory() as place:
                _set_apart(folder, Path(place))
                tokenizer = getattr(transformers, kind.tokenizer).from_pretrained(place, local_files_only=True)
        except Exception as error:  # of whatever kind: what is in the files decides that
            why = str(error).strip().partition("\n")[0]
            raise Refusal(f"the tokenizer in {self.folder!r} cannot be read: {why[:300]}") from None
        return model.eval().requires_grad_(False), tokenizer


def _set_apart(folder: Path, place: Path) -> None:
    """Copy the files of a tokenizer, with those of its settings that are heard."""
    for name in _NAMES:
        if (folder / name).is_file() and name != _SETTINGS:
            shutil.copyfile(folder / name, place / name)
    if (folder / _SETTINGS).is_file():
        tree = read_json(folder / _SETTINGS)
        heard = {name: tree[name] for name in _TOKENIZER.split() if name in tree} if isinstance(tree, dict) else {}
        (place / _SETTINGS).write_text(json.dumps(heard))


def _filled(kind: _Kind, settings: Mapping[str, Any], folder: Path) -> nn.Module:
    """The model of a config with the weights of a folder, in float32."""
    found: dict[str, Tensor] = {}
    for file in sorted(folder.glob("model*.safetensors")):
        found |= {name.removeprefix("text_model."): value for name, value in load_tensors(file).items()}
    if "shared.weight" in found:  # what T5's encoder and decoder share is there under one name
        found.setdefault("encoder.embed_tokens.weight", found["shared.weight"])
    layers = settings.get("num_hidden_layers", settings.get("num_layers"))
    if isinstance(layers, int) and layers > len(found):
        raise Refusal(
            f"the config.json of {str(folder)!r} has {layers} layers and its weights {len(found)} tensors, so they do "
            "not belong to one another"
        )
    # First without memory: what a config asks for is not made before the weights have the same sizes.
    _weights(_made(kind, settings, folder, "meta"), found, folder)
    model = _made(kind, settings, folder, "cpu")
    model.load_state_dict(_weights(model, found, folder))
    return model


def _made(kind: _Kind, settings: Mapping[str, Any], folder: Path, device: str) -> nn.Module:
    """The model of a config, in float32."""
    import transformers

    try:
        with torch.random.fork_rng(devices=()), torch.device(device):  # a run that goes on reads it at another step
            config = getattr(transformers, kind.config)(**settings)
            model: nn.Module = getattr(transformers, kind.model)(config).float()
    except Exception as error:  # of whatever kind: what is in the file decides that
        why = str(error).strip().partition("\n")[0] or type(error).__name__
        raise Refusal(f"the config.json of {str(folder)!r} describes no {kind.model}: {why[:300]}") from None
    return model


def _weights(model: nn.Module, found: Mapping[str, Tensor], folder: Path) -> dict[str, Tensor]:
    """Those of the tensors that a model has, by its names."""
    weights = {}
    for name, own in model.state_dict().items():
        value = found.get(name.removeprefix("text_model."))
        if value is None or value.shape != own.shape:
            what = "lack" if value is None else "hold in another shape"
            raise Refusal(f"the weights in {str(folder)!r} {what} {name!r}, so they do not belong to its config.json")
        weights[name] = value
    return weights
