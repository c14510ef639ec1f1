"""KL: an autoencoder whose codes are real numbers, kept near a standard normal by a little of a divergence.

    (m, log v) = E(x),    q(z | x) = N(m, v),    x' = G(z),    KL(q || N(0, 1)) = 1/2 sum (m^2 + v - 1 - log v)

The divergence is weighed so lightly that codes are not standard normal, only bounded. What learns them wants unit
variance, so codes that are handed out are standardised, channel by channel, by numbers measured once.

Sources: Kingma and Welling 2014, "Auto-encoding variational Bayes" (1312.6114, appendix B); Rombach et al. 2022,
"High-resolution image synthesis with latent diffusion models" (2112.10752, section 3.1 and appendix G).
"""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor

from mezzotint.autoencoders.passage import Passage, Reconstructing
from mezzotint.core.condition import NONE, Condition
from mezzotint.core.distribution import Gaussian
from mezzotint.core.errors import Refusal
from mezzotint.core.rng import Rng
from mezzotint.data.data import Data
from mezzotint.networks.convolutional import ConvolutionalDecoder, ConvolutionalEncoder, shrunk_sizes
from mezzotint.networks.inputs import in_precision

_LOWEST, _HIGHEST = -30.0, 20.0  # of log v; as in the programs of latent diffusion
_STILL = 1e-10  # a variance that is rounding


class KL(Reconstructing):
    """An autoencoder with Gaussian codes: samples (B, C, *space) to reals (B, code, *space / 2^down), and back.

    Attributes:
        middle, spread: (code,), by which codes z are handed out as (z - middle) / spread; 0 and 1 until
            :func:`standardised` has measured them.

    Arguments:
        shape: of one sample, (C, L), (C, H, W) or (C, T, H, W); sizes are multiples of 2^down.
        width: channels after the first halving, the dial for capacity.
        down: halvings.
        code: channels of a code.
        blocks: residual blocks after each halving, and before each doubling.

    Raises:
        Refusal: if the arguments do not describe an autoencoder.
    """

    middle: Tensor
    spread: Tensor

    def __init__(self, shape: tuple[int, ...], width: int = 64, down: int = 2, code: int = 4, blocks: int = 1) -> None:
        super().__init__()
        self.shape = tuple(shape)
        self.latent = (code, *shrunk_sizes(self.shape, down))
        self.encoder = ConvolutionalEncoder(self.shape, 2 * code, width, down, blocks)
        self.decoder = ConvolutionalDecoder(self.shape, code, width, down, blocks)
        self.register_buffer("middle", torch.zeros(code))
        self.register_buffer("spread", torch.ones(code))

    @classmethod
    def example(cls) -> KL:
        """A small one, of samples that are not square."""
        return cls((2, 8, 12), width=8, code=3)

    def encode(self, x: Tensor, cond: Condition = NONE) -> Gaussian:
        """What the codes of x (B, *shape) may be: independent normals over (B, *latent), standardised."""
        law, spread = self.raw(x), self._wide(self.spread)
        return Gaussian((law.mean - self._wide(self.middle)) / spread, law.variance / spread**2)

    def decode(self, z: Tensor, cond: Condition = NONE) -> Tensor:
        """The samples (B, *shape) of standardised codes z (B, *latent).

        Raises:
            Refusal: if they are symbols, or of another shape.
        """
        if not z.is_floating_point():
            raise Refusal(f"the codes of this autoencoder are real numbers, not {z.dtype}; symbols are those of a VQ")
        if tuple(z.shape[1:]) != self.latent:
            raise Refusal(
                f"this autoencoder decodes codes (B, {', '.join(map(str, self.latent))}), not {tuple(z.shape)}"
            )
        z = z.to(self.spread)
        return self._made(z * self._wide(self.spread) + self._wide(self.middle))

    def through(self, x: Tensor, rng: Rng, cond: Condition = NONE) -> Passage:
        law = self.raw(x)
        z = law.sample(rng.at("code"))
        m, v = law.mean, law.variance
        nats = 0.5 * (m.square() + v - 1 - v.log()).flatten(1).sum(1)
        return Passage(self._made(z), {"kl": nats}, features=m.detach())

    def raw(self, x: Tensor) -> Gaussian:
        """The law of the codes (B, *latent) as they were learnt, before they are standardised, in float32 at least."""
        if tuple(x.shape[1:]) != self.shape:
            raise Refusal(
                f"this autoencoder takes samples (B, {', '.join(map(str, self.shape))}), not {tuple(x.shape)}"
            )
        inside = in_precision(self.encoder, x)
        with torch.autocast(x.device.type, self.inner_dtype, enabled=self.inner_dtype is not None):
            said: Tensor = self.encoder(inside)
        mean, log_variance = said.to(torch.promote_types(said.dtype, torch.float32)).chunk(2, 1)
        return Gaussian(mean, log_variance.clamp(_LOWEST, _HIGHEST).exp())

    @property
    def last(self) -> Tensor:
        return self.decoder.weight

    def _wide(self, values: Tensor) -> Tensor:
        return values.reshape(-1, *(1 for _ in self.latent[1:]))

    def _made(self, z: Tensor) -> Tensor:
        inside = in_precision(self.decoder, z)
        with torch.autocast(z.device.type, self.inner_dtype, enabled=self.inner_dtype is not None):
            x: Tensor = self.decoder(inside)
        return x.to(torch.promote_types(x.dtype, torch.float32))


@torch.no_grad()
def standardised(kl: KL, data: Data, most: int | None = None, batch: int = 256) -> KL:
    """The same autoencoder, whose codes of these data have mean 0 and variance 1 in every channel.

    The variance is that of codes drawn from the laws: of their means, and the mean of their variances.

    Arguments:
        kl: left as it is.
        data: what is encoded.
        most: only so many samples, from the first; None: all.
        batch: samples at once.

    Raises:
        Refusal: if a channel says the same of all of them.
    """
    code = kl.latent[0]
    count, sums = 0, torch.zeros(2, code, dtype=torch.float64)
    rows = np.arange(len(data) if most is None else min(most, len(data)))
    for start in range(0, len(rows), batch):
        x, _ = data[rows[start : start + batch]]
        law = kl.raw(x.to(kl.device))
        m, v = (each.double().transpose(0, 1).flatten(1).cpu() for each in (law.mean, law.variance))
        count += m.shape[1]
        sums += torch.stack([m.sum(1), (m.square() + v).sum(1)])
    middle = sums[0] / max(count, 1)
    variance = sums[1] / max(count, 1) - middle**2
    if not bool((variance > _STILL).all()):
        raise Refusal("a channel of these codes does not vary, so it cannot be brought to unit variance; train longer")
    made = copy.deepcopy(kl)
    made.middle.copy_(middle)
    made.spread.copy_(variance.sqrt())
    return made
