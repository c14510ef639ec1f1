"""Values, randomness, distributions, specs and stores: what every other room stands on."""

from mezzotint.core.batched import Batched, cat
from mezzotint.core.condition import NONE, Condition
from mezzotint.core.distribution import Categorical, Dirac, Distribution, Gaussian
from mezzotint.core.errors import Refusal
from mezzotint.core.learner import Learner
from mezzotint.core.pipeline import Pipeline
from mezzotint.core.reward import Reward
from mezzotint.core.rng import Rng
from mezzotint.core.spec import Module, Part, build, spec

Shape = tuple[int, ...]

__all__ = [
    "NONE",
    "Batched",
    "Categorical",
    "Condition",
    "Dirac",
    "Distribution",
    "Gaussian",
    "Learner",
    "Module",
    "Part",
    "Pipeline",
    "Refusal",
    "Reward",
    "Rng",
    "Shape",
    "build",
    "cat",
    "spec",
]
