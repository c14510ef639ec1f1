"""Public contracts: what the house promises of every kind of part, to be run on parts of your own."""

from mezzotint.testing.autoencoder import check_autoencoder
from mezzotint.testing.condition import check_condition_part
from mezzotint.testing.data import check_data
from mezzotint.testing.denoiser import check_denoiser
from mezzotint.testing.example import example
from mezzotint.testing.expect import Broken
from mezzotint.testing.grid import check_grid
from mezzotint.testing.guidance import check_guidance
from mezzotint.testing.levels import check_levels
from mezzotint.testing.network import check_network
from mezzotint.testing.objective import check_objective
from mezzotint.testing.operator import check_operator
from mezzotint.testing.part import CONTRACTS, check_part
from mezzotint.testing.parts import KINDS, kind_of, parts
from mezzotint.testing.pipeline import check_pipeline
from mezzotint.testing.process import check_process
from mezzotint.testing.reward import check_reward
from mezzotint.testing.sampler import check_sampler
from mezzotint.testing.spec import check_spec

__all__ = [
    "CONTRACTS",
    "KINDS",
    "Broken",
    "check_autoencoder",
    "check_condition_part",
    "check_data",
    "check_denoiser",
    "check_grid",
    "check_guidance",
    "check_levels",
    "check_network",
    "check_objective",
    "check_operator",
    "check_part",
    "check_pipeline",
    "check_process",
    "check_reward",
    "check_sampler",
    "check_spec",
    "example",
    "kind_of",
    "parts",
]
