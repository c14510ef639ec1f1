"""The control of context prediction: as much to predict, of what cannot be known.

What stands around a site of another picture says nothing of this one. A model that has to predict it costs the same,
has the same decoder and draws the same sites, but can learn of context only how pictures look there on average. What
it gains as well is owed to a second loss of any kind; what only :class:`~.context.ContextPrediction` gains, to context.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mezzotint.core.errors import Refusal
from mezzotint.core.rng import Rng
from mezzotint.denoiser.base import Denoiser
from mezzotint.objectives.base import Shot
from mezzotint.objectives.context import ContextPrediction


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
