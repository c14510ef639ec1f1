"""Networks: ``forward(x, noise, context, want=()) -> Tensor | Output``, mathematics-free function approximators."""

from mezzotint.networks.cache import Cache
from mezzotint.networks.causal import Causal
from mezzotint.networks.context import EMPTY, Context, Output
from mezzotint.networks.convolutional import ConvolutionalDecoder, ConvolutionalEncoder
from mezzotint.networks.cost import Cost, cost
from mezzotint.networks.discriminator import PatchDiscriminator
from mezzotint.networks.dit import DIT_SIZES, DiT
from mezzotint.networks.embed import Fourier, Sinusoid
from mezzotint.networks.encoder_decoder import EncoderDecoder
from mezzotint.networks.mlp import MLP
from mezzotint.networks.modulation import AdaLNZero, Modulation
from mezzotint.networks.potential import Potential
from mezzotint.networks.token_transformer import TokenTransformer
from mezzotint.networks.unet import UNet
from mezzotint.networks.uvit import UVIT_SIZES, UViT

__all__ = [
    "AdaLNZero",
    "Cache",
    "Causal",
    "Context",
    "ConvolutionalDecoder",
    "ConvolutionalEncoder",
    "Cost",
    "DIT_SIZES",
    "DiT",
    "EMPTY",
    "EncoderDecoder",
    "Fourier",
    "MLP",
    "Modulation",
    "Output",
    "PatchDiscriminator",
    "Potential",
    "Sinusoid",
    "TokenTransformer",
    "UNet",
    "UVIT_SIZES",
    "UViT",
    "cost",
]
