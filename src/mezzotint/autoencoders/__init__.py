"""Autoencoders: data to codes and back, so that models may be trained on what is smaller."""

from mezzotint.autoencoders.base import Autoencoder
from mezzotint.autoencoders.codebook import Codebook, CodebookLoss, CodebookRule, MovingAverages, perplexity
from mezzotint.autoencoders.corruption import corruption
from mezzotint.autoencoders.encoded import Encoded
from mezzotint.autoencoders.kl import KL, standardised
from mezzotint.autoencoders.passage import Passage, Reconstructing
from mezzotint.autoencoders.vq import VQ, shrunk, used

__all__ = [
    "KL",
    "VQ",
    "Autoencoder",
    "Codebook",
    "CodebookLoss",
    "CodebookRule",
    "Encoded",
    "MovingAverages",
    "Passage",
    "Reconstructing",
    "corruption",
    "perplexity",
    "shrunk",
    "standardised",
    "used",
]
