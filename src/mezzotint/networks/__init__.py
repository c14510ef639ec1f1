"""Networks: ``forward(x, noise, context, want=()) -> Tensor | Output``, mathematics-free function approximators."""

from mezzotint.networks.context import EMPTY, Context, Output
from mezzotint.networks.cost import Cost, cost
from mezzotint.networks.embed import Fourier, Sinusoid
from mezzotint.networks.unet import UNet

__all__ = ["EMPTY", "Context", "Cost", "Fourier", "Output", "Sinusoid", "UNet", "cost"]
