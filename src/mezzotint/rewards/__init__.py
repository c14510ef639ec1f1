"""Rewards: how good a sample is; higher is better."""

from mezzotint.rewards.base import ClassReward
from mezzotint.rewards.classifier import Classifier, NoiseAwareClassifier
from mezzotint.rewards.posterior import Posterior

__all__ = ["ClassReward", "Classifier", "NoiseAwareClassifier", "Posterior"]
