"""Autoencoders: data to codes and back, so that models may be trained on what is smaller."""

from mezzotint.autoencoders.base import Autoencoder
from mezzotint.autoencoders.codebook import Codebook, CodebookLoss, CodebookRule, MovingAverages, perplexity
from mezzotint.autoencoders.passage import Passage, Reconstructing
from mezzotint.autoencoders.vq import VQ, shrunk, used

__all__ = [
    "VQ",
    "Autoencoder",
    "Codebook",
    "CodebookLoss",
    "CodebookRule",
    "MovingAverages",
    "Passage",
    "Reconstructing",
    "perplexity",
    "shrunk",
    "used",
]
