"""Autoencoders: data to codes and back, so that models may be trained on what is smaller."""

from mezzotint.autoencoders.base import Autoencoder

__all__ = ["Autoencoder"]
