"""Noise levels as vectors: one number per sample becomes waves of many lengths that a linear layer can read.

A network can only react to a noise level as sharply as its fastest wave and only tell the two ends of the range apart
by its slowest one, so the waves must fit the *range of the input*. The original sinusoid was made for step numbers
0 .. 999 (fastest wave 1 radian a step, slowest 1e-4); fed ln(sigma)/4, which spans about [-1.6, 1.1], nearly all of
its features are constant. Our default waves run from a quarter of a radian to 8 radians per unit instead: the slowest
is monotone over the whole range, the fastest turns once for every factor 23 in sigma, and the answer, which changes
little from one sigma to the next, can be learnt from few images. Importers pass the numbers of their origin.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mezzotint.core.errors import Refusal
from mezzotint.core.spec import Module, Part
from mezzotint.networks.inputs import check_vector


def _ordered(phase: Tensor, order: str) -> Tensor:
    waves = (phase.cos(), phase.sin()) if order == "cos" else (phase.sin(), phase.cos())
    return torch.cat(waves, dim=-1)


def _check(width: int, order: str) -> None:
    if width < 2 or width % 2:
        raise Refusal(f"an embedding has half cosines and half sines, so width must be even and positive, not {width}")
    if order not in ("cos", "sin"):
        raise Refusal(f"order names the half that comes first, 'cos' or 'sin', not {order!r}")


@dataclass(frozen=True)
class Sinusoid(Part):
    """Waves at fixed geometric frequencies: cos(f_i n), sin(f_i n) with f_i = scale * span^(-i / (width/2 - shift)).

    Steps 0 .. 999 take ``scale=1, span=10000``; DDPM++ counts its ends (``shift=1``) and puts sines first, ADM and DiT
    use ``shift=0`` and cosines first. Source: Attention Is All You Need, arXiv 1706.03762, section 3.5, which counts
    in positions; Denoising Diffusion Probabilistic Models, arXiv 2006.11239, appendix B, for steps.

    Arguments:
        width: features, even.
        scale: fastest frequency, in radians per unit of noise.
        span: fastest over slowest frequency.
        order: which half comes first, ``"cos"`` or ``"sin"``.
        shift: 1 makes the last frequency scale/span exactly, 0 stops one step short of it.
    """

    width: int
    scale: float = 8.0
    span: float = 32.0
    order: str = "cos"
    shift: float = 0.0

    def __post_init__(self) -> None:
        _check(self.width, self.order)
        if self.width // 2 <= self.shift:
            raise Refusal(f"shift {self.shift} leaves no step between the {self.width // 2} frequencies; widen it")

    def __call__(self, noise: Tensor) -> Tensor:
        """Features (..., width) in float32 of noise (...), one number or several per sample."""
        half = self.width // 2
        steps = torch.arange(half, device=noise.device, dtype=torch.float32)
        frequencies = self.scale * torch.exp(steps * (-math.log(self.span) / (half - self.shift)))
        return _ordered(noise.float()[..., None] * frequencies, self.order)


class Fourier(Module):
    """Waves at random frequencies: cos(2 pi f_i n), sin(2 pi f_i n) with f_i ~ N(0, scale^2), drawn once and kept.

    Source: Fourier Features Let Networks Learn High Frequency Functions, arXiv 2006.10739; NCSN++ (arXiv 2011.13456)
    feeds ln(sigma) with ``scale=16``, EDM2 (arXiv 2312.02696) ln(sigma)/4 with ``scale=1``.

    Arguments:
        width: features, even.
        scale: standard deviation of the frequencies, in turns per unit of noise.
        order: which half comes first, ``"cos"`` or ``"sin"``.
    """

    frequencies: Tensor

    def __init__(self, width: int, scale: float = 1.0, order: str = "cos") -> None:
        super().__init__()
        _check(width, order)
        self.width, self.order = width, order
        self.register_buffer("frequencies", torch.randn(width // 2) * scale)

    def forward(self, noise: Tensor) -> Tensor:
        """Features (..., width) in float32 of noise (...), one number or several per sample."""
        return _ordered(noise.float()[..., None] * (2 * math.pi * self.frequencies.float()), self.order)


class Level(nn.Module):
    """The vector that modulates every block: features of the noise level and of the context, through a small MLP.

        e = Linear(silu(Linear(waves(n) [+ V vector]))) [+ V vector]

    The context enters before the MLP (DDPM++) or after it (ADM, diffusers). V has no bias, so an absent vector and a
    zero vector are the same thing, and a one-hot vector makes V a table of class embeddings.

    Arguments:
        waves: embedding of the noise, (B, ...) -> (B, ..., waves.width).
        width: features of e.
        vector: features of the context's vector, or None.
        early: let the vector enter before the MLP.
    """

    def __init__(self, waves: Sinusoid | Fourier, width: int, vector: int | None, early: bool) -> None:
        super().__init__()
        self.waves = waves
        self.early = early
        self.first = nn.Linear(waves.width, width)
        self.second = nn.Linear(width, width)
        self.vector = nn.Linear(vector, waves.width if early else width, bias=False) if vector else None

    def forward(self, noise: Tensor, vector: Tensor | None) -> Tensor:
        """Features (B, ..., width) of noise (B, ...), one number or several per sample, and vector (B, D)."""
        e: Tensor = self.waves(noise).to(self.first.weight.dtype)
        v = None if vector is None else self._project(vector, noise)
        if v is not None and self.early:
            e = e + v
        e = self.second(nn.functional.silu(self.first(e)))
        return e + v if v is not None and not self.early else e

    def _project(self, vector: Tensor, noise: Tensor) -> Tensor:
        if self.vector is None:
            raise Refusal("the context has a vector, but this network was built with vector=None; give it a width")
        check_vector(vector, len(noise), self.vector.in_features)
        projected: Tensor = self.vector(vector.to(self.vector.weight.dtype))
        return projected[(slice(None), *(None,) * (noise.ndim - 1))]
