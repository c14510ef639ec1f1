"""Text by an encoder that was trained elsewhere and stays as it is: CLIP or T5, from a folder on this machine.

What such an encoder knows of words it learnt from more text than any set of pictures has, and a network that is told
its features starts from there (Imagen, arXiv 2205.11487, section 2.1: a frozen encoder, and T5 as good as larger image
models; Latent Diffusion, arXiv 2112.10752, section 3.3: its tokens are attended to). It is run once per run, in
``prepare``, and not at every step. Its weights are not the model's: they are neither trained nor averaged nor saved
with it, and what a config keeps of them is where they lie and their hash.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import blake2b

import torch
from torch import Tensor

from mezzotint.conditions.captions import Captions
from mezzotint.conditions.transformers_folder import TransformersFolder, check_tokenizer, described, digest
from mezzotint.core.errors import Refusal
from mezzotint.core.text import spoken
from mezzotint.networks.context import Context

_MADE = ("features", "mask", "pooled", "stamp")


class FrozenText(Captions):
    """Captions of any family: values are strings, or their bytes uint8 (B, L).

    Make it by :meth:`of`, which looks into the folder; the constructor opens no file, and the encoder is read when it
    is first asked. ``prepare`` adds ``<family>.features`` (B, length, width), ``.mask`` (B, length), for CLIP
    ``.pooled`` (B, pooled), and ``.stamp`` int64 (B,), which tells of what text and by what encoder they are.

    Arguments:
        folder: with ``config.json``, ``model.safetensors`` and the files of the tokenizer.
        sha256: of all files that are read (:func:`~mezzotint.conditions.transformers_folder.digest`).
        width: of a feature.
        length: how many tokens are read, those at the ends counted.
        layer: whose features: None for the last, with the norm at the end; -2 for those before it, without; -1 for the
            last as transformers lists it, which for T5 is normed and for CLIP is not.
        pooled: of CLIP's vector of the whole text, which fills the network's ``vector``; None leaves it out.
    """

    def __init__(
        self,
        folder: str,
        sha256: str,
        width: int,
        length: int = 77,
        layer: int | None = None,
        pooled: int | None = None,
    ) -> None:
        super().__init__(width, length, pooled)
        if not isinstance(folder, str) or not re.fullmatch("[0-9a-f]{64}", str(sha256)):
            raise Refusal(
                f"a frozen text encoder is a folder and the SHA-256 of its files, not {folder!r:.80} and "
                f"{sha256!r:.80}; FrozenText.of(folder) finds the hash"
            )
        self.sha256, self.layer = sha256, layer
        self._encoder = TransformersFolder(folder, sha256)  # no module, so its weights are not this part's

    @classmethod
    def of(cls, folder: str, length: int | None = None, layer: int | None = None, pooled: bool = True) -> FrozenText:
        """The encoder of a folder, with its hash and its widths as they are found there.

        Arguments:
            folder: on this machine.
            length: None: all that CLIP reads, and 128 tokens for T5.
            layer: as above.
            pooled: whether CLIP's vector of the whole text is to fill the network's ``vector``; T5 has none.
        """
        kind, settings = described(folder)
        check_tokenizer(folder, kind)
        width, clip = settings[kind.width], kind.model.startswith("CLIP")
        most = settings.get("max_position_embeddings", 77) if clip else 128
        vector = width if clip and pooled else None
        return cls(str(folder), digest(folder), width, most if length is None else length, layer, vector)

    def count(self, text: str) -> int:
        return self._encoder.tokens(text)

    def unknown(self, text: str) -> list[str]:
        return self._encoder.unknown(text)

    def stamp(self, texts: list[str]) -> Tensor:
        """What tells one text, read by one encoder in one way, from others: int64 (B,)."""
        way = f"{self.sha256} {self.layer} {self.length} {self.width} {self.pooled} "
        numbers = [blake2b((way + text).encode(), digest_size=8).digest() for text in texts]
        return torch.tensor([int.from_bytes(number, "big", signed=True) for number in numbers], dtype=torch.int64)

    def prepare(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        name, texts, made = self.told(values, *_MADE)
        if texts is None:
            return {}
        strings = spoken(texts) if made else self.heard(name, texts)
        stamp = self.stamp(strings)
        if made:
            if "stamp" not in made or not torch.equal(made["stamp"].cpu(), stamp):
                raise Refusal(
                    f"{name}.features were made of other texts or by another encoder than this model has: prepare the "
                    f"{name} alone; models that share one in a guidance need the same frozen encoder"
                )
            return {}
        features, mask, pooled = self._encoder(strings, self.length, self.layer, self.null.device)
        if features.shape[2] != self.width or (self.pooled and (pooled is None or pooled.shape[1] != self.pooled)):
            found = f"{features.shape[2]} and {'none' if pooled is None else pooled.shape[1]}"
            raise Refusal(
                f"the text encoder in {self._encoder.folder!r} has features and a vector of the widths {found}, not "
                f"{self.width} and {self.pooled}; FrozenText.of(folder) finds them"
            )
        mask &= torch.tensor([bool(text.strip()) for text in strings], device=mask.device)[:, None]
        added = {"features": features, "mask": mask, "stamp": stamp} | ({"pooled": pooled} if self.pooled else {})
        return {f"{name}.{key}": value.to(texts.device) for key, value in added.items()}  # type: ignore[union-attr]

    def forward(self, values: Mapping[str, Tensor], keep: Tensor) -> Context:
        name, texts, made = self.told(values, *_MADE)
        if texts is None:
            return self.nothing(keep)
        if not made:
            made = {key.removeprefix(f"{name}."): value for key, value in self.prepare(values).items()}
        said, mask = self.masks(made["mask"].to(keep.device), keep)
        features = made["features"].to(self.null)
        vector = made["pooled"].to(self.null) if self.pooled else None
        return self.answer(features, vector, said, mask)
