"""Tiny random CLIP and T5 text encoders as folders, with vocabularies of their own, as transformers writes them."""

from __future__ import annotations

import json
from pathlib import Path

import torch

WORDS = ("a", "red", "circle", "blue", "square")
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def clip(folder: Path, seed: int = 0) -> Path:
    """Byte pairs that make each of a few words one token; 20 places, features of 16."""
    from transformers import CLIPTextConfig, CLIPTextModel

    entries, merges = [*LETTERS, *(letter + "</w>" for letter in LETTERS)], list[tuple[str, str]]()
    for word in WORDS:
        pieces = [*word[:-1], word[-1] + "</w>"]
        while len(pieces) > 1:
            first, second, *rest = pieces
            if (first, second) not in merges:
                merges.append((first, second))
            entries.append(first + second)
            pieces = [first + second, *rest]
    entries = list(dict.fromkeys([*entries, "<|startoftext|>", "<|endoftext|>"]))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({entry: number for number, entry in enumerate(entries)}))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{one} {two}\n" for one, two in merges))
    torch.manual_seed(seed)
    size = len(entries)
    config = CLIPTextConfig(
        vocab_size=size, hidden_size=16, intermediate_size=32, num_hidden_layers=3, num_attention_heads=2,
        max_position_embeddings=20, bos_token_id=size - 2, eos_token_id=size - 1, pad_token_id=size - 1,
    )  # fmt: skip
    CLIPTextModel(config).save_pretrained(folder)
    return folder


def t5(folder: Path, seed: int = 0) -> Path:
    """A unigram vocabulary of a few words and letters; features of 12."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import T5Config, T5EncoderModel

    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("\u2581", -2.0)]
    pieces += [*(("\u2581" + word, -3.0) for word in WORDS), *((letter, -8.0) for letter in LETTERS)]
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=2))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.save(str(folder / "tokenizer.json"))
    torch.manual_seed(seed)
    config = T5Config(
        vocab_size=len(pieces) + 100, d_model=12, d_kv=6, d_ff=24, num_layers=2, num_heads=2,
        feed_forward_proj="gated-gelu",
    )  # fmt: skip
    T5EncoderModel(config).save_pretrained(folder)
    return folder
