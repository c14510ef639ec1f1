"""Context prediction: beside denoising itself, every site has to know what stands around it.

    L = L_inner + weight * E over sites i, strides s of  w(t) W_2^2( psi(h_i, t), P_i^s ) / (d sigma^2),

where P_i^s is the law of the clean neighbours of site i (:class:`Neighbourhood`), d the numbers of a value and sigma^2
their variance (1 of the vectors that symbols stand for), so that distances mean the same for any data, and psi a small
decoder (:mod:`.decoders`) of what the model knows at i: the last features of its network and its estimate of x_0 there.
Gradients flow through the decoder into the model; that is the point. The decoder belongs to the objective
and is thrown away with it: averages, exports and samplers never see it, and a model costs what it cost without.

w(t) in [0, 1] is min(SNR, 5) / 5 of real data, since at high noise neighbours cannot be known; the SNR is alpha^2 /
sigma^2 of the process, as in every weight of the house, and not in units of the data. Of symbols w(t) is the share that
is not lost. The page of the paper that says its own weight was not available to us.

Sites are drawn, 1 in 16 by default: the mean is that over all of them.

Source: Yang et al. 2023, "Improving diffusion-based image synthesis with context prediction" (2401.02015).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from mezzotint.autoencoders.encoded import Encoded
from mezzotint.autoencoders.frozen import Frozen, digest
from mezzotint.core.condition import Condition
from mezzotint.core.distribution import Categorical
from mezzotint.core.errors import Refusal, nearest
from mezzotint.core.rng import Rng
from mezzotint.data.data import Data
from mezzotint.data.wrapped import Wrapped
from mezzotint.denoiser.asking import Asking
from mezzotint.denoiser.autoregressive import Autoregressive
from mezzotint.denoiser.base import Denoiser
from mezzotint.denoiser.chain import Chain
from mezzotint.objectives.base import Objective, Shot
from mezzotint.objectives.beside import Beside, weighed
from mezzotint.objectives.decoders import ContextDecoder, SetDecoder
from mezzotint.objectives.denoising import WEIGHTS
from mezzotint.objectives.neighbourhood import at_sites, neighbourhood

SOURCES = ("features", "prediction")
_CAP = 5.0  # the SNR from which on neighbours count in full
_LARGEST = 1e12  # an SNR, as in the weights of denoising
_MOST = 2048  # symbols without vectors of their own


class ContextPrediction(Beside):
    """The inner loss, and ``weight`` times what predictions of every site's neighbours are off.

    It stands beside any loss that trains a denoiser: of pictures, latents, series and volumes, of symbols (as vectors;
    all their axes are of the grid), on any process. Where the inner loss is a sum over entries, as nats are, so is the
    term. ``parts`` holds ``context``, the term without ``weight``. Its draws have a stream of their own, so the inner
    loss draws what it would draw alone.

    Arguments:
        inner: the loss that it stands beside.
        decoder: :class:`SetDecoder` (the default) or :class:`OrderedDecoder`.
        weight: lambda; of 0.01, 0.1 and 1 the one whose mean harm to clothes of 14 pixels was least at three seeds,
            within their spread (``conprediff``).
        strides: how far neighbourhoods reach; with several, their mean.
        sites: the share of sites asked of a sample; 1 is all of them, which costs several times the step itself.
        source: ``features``, the network's and the estimate; ``prediction``, the estimate alone, as the paper's formula
            has it. The level is told either way.
        feature: which of the network's features (its ``wants``); None: the last. Coarser ones are read at the cell in
            which a site lies, with its place in the cell beside.
        by_level: whether w(t) is as above; False: 1.
        codebook: for symbols, folder of the VQ autoencoder whose vectors they stand for, brought to mean 0 and variance
            1 over the codebook; None: vectors all equally far apart, of the same mean and variance.

    Raises:
        Refusal: the arguments, the model or the data have nothing to be predicted from or about.
    """

    name = "context"
    vectors: Tensor

    def __init__(
        self,
        inner: Objective,
        decoder: ContextDecoder | None = None,
        weight: float = 0.01,
        strides: tuple[int, ...] = (1,),
        sites: float = 1 / 16,
        source: str = "features",
        feature: str | None = None,
        by_level: bool = True,
        codebook: str | None = None,
    ) -> None:
        super().__init__(inner, weight)
        if not inner.denoises:
            raise Refusal(
                f"{type(inner).__name__} trains no denoiser, and context is predicted from what one says of clean "
                "samples: train it alone"
            )
        if decoder is not None and not isinstance(decoder, ContextDecoder):
            raise Refusal(f"decoder is a part, such as {{part: objectives.SetDecoder}}, not a {type(decoder).__name__}")
        strides = tuple(strides) if isinstance(strides, Sequence) else (strides,)
        if not strides or not all(type(stride) is int and stride > 0 for stride in strides):
            raise Refusal(f"strides are whole numbers from 1 on, such as (1, 2), not {strides}")
        if len(set(strides)) < len(strides):
            raise Refusal(f"a stride that stands twice counts once: write {tuple(dict.fromkeys(strides))}")
        if isinstance(sites, bool) or not isinstance(sites, int | float) or not 0 < sites <= 1:
            raise Refusal(f"sites is the share of sites asked, above 0 and at most 1, not {sites!r:.60}")
        if source not in SOURCES:
            raise Refusal(f"there is no source {source!r}: {nearest(source, SOURCES)}")
        if feature is not None and not isinstance(feature, str):
            raise Refusal(f"feature is the name of some of the network's features, not {feature!r:.60}")
        if feature is not None and source != "features":
            raise Refusal(f"source={source!r} reads no features, so {feature!r} would not be heard; leave it out")
        self.decoder = SetDecoder() if decoder is None else decoder
        self.strides, self.sites, self.source, self.feature = strides, sites, source, feature
        self.by_level, self.codebook = by_level, codebook

    @classmethod
    def example(cls) -> ContextPrediction:
        """Beside plain denoising, for contracts."""
        from mezzotint.objectives.denoising import Denoising

        return cls(Denoising(), sites=0.5)

    @property
    def remembers(self) -> bool:
        return True  # from when it has met a model on

    def asked(self, model: Denoiser) -> Denoiser:
        return Asking(model, (self._feature(model),)) if self.source == "features" else model

    def _feature(self, model: Denoiser) -> str:
        known = tuple(getattr(getattr(model, "network", None), "wants", ()))
        if not known or isinstance(model, Autoregressive | Chain):  # these are asked entry by entry
            raise Refusal(
                f"a {type(model).__name__} has no features of a whole sample to predict its context from; use "
                "source='prediction'"
            )
        if self.feature is not None and self.feature not in known:
            raise Refusal(f"this network has no features {self.feature!r}: {nearest(self.feature, known)}")
        return self.feature or known[-1]

    def suits(self, data: Data) -> None:
        super().suits(data)
        if self.codebook is None or not Path(self.codebook).is_dir():  # the latter is refused when it is read
            return
        codes: Any = data
        while not isinstance(codes, Encoded) and isinstance(codes, Wrapped):
            codes = codes.source
        # One with as many vectors fits: the training would run, towards distances that mean nothing.
        if isinstance(codes, Encoded) and digest(self.codebook) != codes.hashed:
            raise Refusal(
                f"the vectors would be those of {self.codebook!r}, and the codes are of another autoencoder, the one "
                f"in {codes.folder!r}: name that one as codebook"
            )

    def meet(self, model: nn.Module, x: Tensor, cond: Condition, seed: int = 0) -> None:
        super().meet(model, x, cond, seed)
        denoiser, modes = cast(Denoiser, model), [(part, part.training) for part in model.modules()]
        model.eval()  # dropout layers would draw from torch's own generator
        try:
            with torch.no_grad():
                shot = self.inner(self.asked(denoiser), x, cond, Rng([seed] * len(x))).shot
        finally:
            for part, mode in modes:
                part.training = mode
        if shot is None:
            raise Refusal(f"{type(self.inner).__name__} keeps no shot, so nothing can be predicted beside it")
        self._settle(denoiser, shot, seed)

    @torch.no_grad()
    def _settle(self, model: Denoiser, shot: Shot, seed: int = 0) -> None:
        """Make what depends on the model and its data: the vectors of symbols and the decoder's weights."""
        x0 = shot.x0
        if not x0.is_floating_point():
            self._name(model, x0.device)
        elif self.codebook is not None:
            raise Refusal("a codebook says what symbols stand for, and these data are real numbers: leave it out")
        space = _space(x0)
        if not space:
            raise Refusal(f"samples of the shape {tuple(x0.shape[1:])} have no grid, so no site has neighbours")
        sites = torch.zeros(len(x0), 1, dtype=torch.int64, device=x0.device)
        d = x0.shape[1] if x0.is_floating_point() else self.vectors.shape[1]
        inputs = self._seen(model, shot, sites).shape[-1] + len(self._which(0))
        self.decoder.meet(inputs, d, self.slots(space), seed)
        self.decoder.to(x0.device)

    def _name(self, model: Denoiser, device: torch.device) -> None:
        """Keep what symbols stand for; in the state of the objective where it comes from a file."""
        self.register_buffer("vectors", self._vectors(model).to(device), persistent=self.codebook is not None)

    def _vectors(self, model: Denoiser) -> Tensor:
        """What symbols stand for, (V, d)."""
        vocab = int(cast(Any, model.process).vocab)
        if self.codebook is None and vocab > _MOST:
            raise Refusal(
                f"{vocab:,} symbols that are all equally far apart would be vectors of as many numbers, more than "
                f"{_MOST:,}; name the autoencoder whose vectors they stand for as codebook"
            )
        if self.codebook is None:
            return _standard(torch.eye(vocab))
        if not Path(self.codebook).is_dir():
            raise Refusal(
                f"there is no autoencoder {self.codebook!r} whose vectors the symbols stand for; say where it is by "
                "codebook, a setting of the loss: --set training.objective.codebook=runs/vq"
            )
        book = getattr(Frozen(self.codebook).open(), "codebook", None)
        found: Tensor | None = getattr(book, "weight", None)
        if found is None:
            raise Refusal(f"the autoencoder in {self.codebook!r} has no codebook; leave codebook out, or name a VQ")
        if len(found) != vocab:
            raise Refusal(
                f"the codebook in {self.codebook!r} has {len(found)} vectors, and these data {vocab} symbols: it is "
                "another autoencoder's"
            )
        return _standard(found.detach().float().cpu())

    def clean(self, shot: Shot) -> Tensor:
        """The samples (B, *shape) whose neighbourhoods are to be predicted."""
        return shot.x0

    def slots(self, space: tuple[int, ...]) -> int:
        """The most values that are predicted of a site on a grid of the sides ``space``."""
        return neighbourhood(space, max(self.strides)).count

    def around(self, clean: Tensor, sites: Tensor, stride: int) -> tuple[Tensor, Tensor]:
        """What is predicted of sites: values (B, n, K, d) as they are gathered, and where there are any, (B, n, K)."""
        return neighbourhood(tuple(clean.shape[2:]), stride).gather(clean, sites)

    def _valued(self, x: Tensor) -> Tensor:
        """Values (..., d) of sites without gradients, as gathered: numbers of symbols (..., 1), or the values."""
        return x.detach() if x.is_floating_point() else self.vectors[x[..., 0]]

    def _estimate(self, shot: Shot, sites: Tensor) -> Tensor:
        """What the model expects at sites, (B, n, d)."""
        law = shot.answer if shot.entries is None else shot.entries
        if not isinstance(law, Categorical):
            return at_sites(law.mean, sites)
        shares = at_sites(law.logits.movedim(-1, 1), sites).softmax(-1)
        if shares.shape[-1] != len(self.vectors):
            raise Refusal(f"this model answers about {shares.shape[-1]} symbols, not {len(self.vectors)}")
        return shares @ self.vectors.to(shares)

    def _seen(self, model: Denoiser, shot: Shot, sites: Tensor) -> Tensor:
        """What is known of sites (B, n) whatever the stride: (B, n, numbers)."""
        said = self._estimate(shot, sites)
        found = [said.to(torch.promote_types(said.dtype, torch.float32))]
        if self.source == "features":
            found.append(_read(shot.answer.aux[self._feature(model)], _space(shot.x0), sites).to(found[0]))
        level = model.process.level(shot.t).to(found[0])
        found.append(level.reshape(len(level), -1).mean(1)[:, None, None].expand(-1, sites.shape[1], 1))
        return torch.cat(found, -1)

    def _which(self, stride: int) -> Tensor:
        """Which of several strides is asked about, one number each; none where there is one alone."""
        return torch.eye(len(self.strides))[stride] if len(self.strides) > 1 else torch.zeros(0)

    def term(self, model: Denoiser, shot: Shot, rng: Rng) -> Tensor:
        if self.decoder.sizes is None:  # in a loop of one's own
            self._settle(model, shot)
        elif not shot.x0.is_floating_point() and not hasattr(self, "vectors"):  # weights that came from a file
            self._name(model, shot.x0.device)
        own, clean = rng.at("context"), self.clean(shot)
        real, space = clean.is_floating_point(), _space(clean)
        clean = clean if real else clean[:, None]
        sites = self._sites(math.prod(space), own).to(clean.device)
        weights = next(self.decoder.parameters())
        seen = self._seen(model, shot, sites).to(weights)
        total = torch.zeros(len(clean), dtype=weights.dtype, device=clean.device)
        for k, stride in enumerate(self.strides):
            around, there = self.around(clean, sites, stride)
            around = self._valued(around).to(weights)
            h = torch.cat([seen, self._which(k).to(seen).expand(*seen.shape[:2], -1)], -1)
            self.decoder.check(h.shape[-1], around.shape[-1], around.shape[2])
            total = total + self.decoder(h, around, there, own.at(stride)).mean(1) / len(self.strides)
        if self.decoder.power == 2:
            total = total / around.shape[-1]
        if real:
            total = total / getattr(model, "sigma_data", 1.0) ** self.decoder.power
        if self.summed:
            total = total * math.prod(shot.x0.shape[1:])
        return weighed(total * self._by_level(model, shot).to(total), shot)

    def _sites(self, count: int, rng: Rng) -> Tensor:
        """Which sites are asked, int64 (B, n): all, or so many drawn, any as often as another."""
        n = max(1, round(self.sites * count))
        if n == count:
            return torch.arange(count).expand(len(rng), -1)
        return (rng.uniform("sites", (n,)) * count).long()

    def _by_level(self, model: Denoiser, shot: Shot) -> Tensor:
        """w(t), (B,)."""
        process: Any = model.process
        if not self.by_level or shot.entries is not None:  # told what came before, an entry knows something at any t
            return torch.ones(len(shot.t))
        if hasattr(process, "log_snr"):
            found = WEIGHTS["min_snr"](process.log_snr(shot.t).exp().clamp(max=_LARGEST), 1.0) / _CAP
        else:
            found = 1 - process.level(shot.t)
        return found.reshape(len(shot.t), -1).mean(1)

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *rest: Any) -> None:
        # One that has met nobody takes the vectors of symbols from what it is given, as its decoder does its weights.
        found = state_dict.get(f"{prefix}vectors")
        if found is not None and not hasattr(self, "vectors"):
            self.register_buffer("vectors", torch.empty_like(found))
        super()._load_from_state_dict(state_dict, prefix, *rest)


def _space(x: Tensor) -> tuple[int, ...]:
    """The grid of samples (B, C, *space) of numbers, or (B, *space) of symbols."""
    return tuple(x.shape[2:] if x.is_floating_point() else x.shape[1:])


def _standard(vectors: Tensor) -> Tensor:
    """Vectors (V, d) with mean 0 along every axis, and variance 1 over all of their numbers."""
    vectors = vectors - vectors.mean(0)
    return vectors / vectors.square().mean().sqrt().clamp(min=1e-6)


def _read(features: Tensor, space: tuple[int, ...], sites: Tensor) -> Tensor:
    """Features (B, C, *grid) as sites (B, n) of a grid of the sides ``space`` see them, (B, n, C).

    On a coarser grid that of the cell in which a site lies, and where in the cell, from -1/2 to 1/2; features without a
    grid are those of every site.
    """
    grid = tuple(features.shape[2:])
    if not grid:
        return features[:, None].expand(-1, sites.shape[1], -1)
    if len(grid) != len(space):
        raise Refusal(f"features on the grid {grid} cannot be read on the grid {space}; name others by feature")
    if grid == space:
        return at_sites(features, sites)
    place = neighbourhood(space, 1).places(sites)
    cell, inside = torch.zeros_like(sites), []
    for axis, (s, g) in enumerate(zip(space, grid, strict=True)):
        along, where = _cell(place[..., axis], s, g)
        cell = cell * g + along
        inside.append(where)
    found = at_sites(features, cell)
    return torch.cat([found, torch.stack(inside, -1).to(found)], -1)


def _cell(place: Tensor, sites: int, cells: int) -> tuple[Tensor, Tensor]:
    """In which of ``cells`` along an axis of so many sites places lie, int64, and where in it, from -1/2 to 1/2.

    Cells are as wide as each other but for the last: patches, or halves of halves, each rounded up.
    """
    if cells > sites:  # the one in the middle of a site
        middle = (2 * place + 1) * cells
        return middle // (2 * sites), middle % (2 * sites) / (2 * sites) - 0.5
    wide, left, span = -(-sites // cells), sites, 1
    while left > cells:
        left, span = -(-left // 2), 2 * span
    if left == cells and sites % cells:
        wide = span
    return place // wide, (place % wide + 0.5) / wide - 0.5
