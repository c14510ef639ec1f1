"""Controls of context prediction: what a second loss of the same make is good for that asks for no context.

What stands around a site of another picture says nothing of this one. A model that has to predict it costs the same,
has the same decoder and draws the same sites, but can learn of context only how pictures look there on average. What
stands at the site itself is what the inner loss asks for anyway: a model that has to say it twice hears a second loss,
weighed by level in another way, about the same. What a model gains by either is owed to a second loss; what only
:class:`~.context.ContextPrediction` gains, to context.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mezzotint.core.errors import Refusal
from mezzotint.core.rng import Rng
from mezzotint.denoiser.base import Denoiser
from mezzotint.objectives.base import Objective, Shot
from mezzotint.objectives.context import ContextPrediction
from mezzotint.objectives.decoders import ContextDecoder
from mezzotint.objectives.neighbourhood import at_sites


class Elsewhere(ContextPrediction):
    """The inner loss, and ``weight`` times what predictions of the neighbours in the *next* picture are off.

    The next one of the batch, of the first for the last; so a row's loss is not its own, and that of a batch which is
    computed in pieces is another.

    Arguments:
        inner, decoder, weight, strides, sites, source, feature, by_level, codebook: as of ContextPrediction.

    Raises:
        Refusal: also, when asked, a batch of one has no other picture.
    """

    coupled = True

    def clean(self, shot: Shot) -> Tensor:
        return shot.x0.roll(-1, 0)

    def term(self, model: Denoiser, shot: Shot, rng: Rng) -> Tensor:
        if len(shot.x0) < 2 and not torch.is_grad_enabled():  # what is only looked at, such as the last held-out one
            return torch.zeros(len(shot.x0), device=shot.x0.device)
        if len(shot.x0) < 2:
            raise Refusal("the control looks at the next picture of the batch, and a batch of one has none")
        return super().term(model, shot, rng)


class Itself(ContextPrediction):
    """The inner loss, and ``weight`` times what predictions of the value at *the site itself* are off.

    A point mass instead of the law of neighbours: a :class:`~.decoders.SetDecoder` is best where all its draws agree.

    Arguments:
        inner, decoder, weight, sites, source, feature, by_level, codebook: as of ContextPrediction.
    """

    def __init__(
        self,
        inner: Objective,
        decoder: ContextDecoder | None = None,
        weight: float = 0.01,
        sites: float = 1 / 16,
        source: str = "features",
        feature: str | None = None,
        by_level: bool = True,
        codebook: str | None = None,
    ) -> None:
        super().__init__(
            inner, decoder, weight, sites=sites, source=source, feature=feature, by_level=by_level, codebook=codebook
        )

    def slots(self, space: tuple[int, ...]) -> int:
        return 1

    def around(self, clean: Tensor, sites: Tensor, stride: int) -> tuple[Tensor, Tensor]:
        return at_sites(clean, sites)[:, :, None], torch.ones(*sites.shape, 1, dtype=torch.bool, device=sites.device)
