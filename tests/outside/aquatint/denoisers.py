"""A model that needs no training: it knows the mean and the spread of the data and nothing else."""

from torch import Tensor

from mezzotint.core import NONE, Condition, Dirac, Refusal
from mezzotint.denoiser import Denoiser
from mezzotint.processes import Continuous


class Blur(Denoiser):
    """The best linear answer, for data of one mean and one standard deviation."""

    def __init__(self, process: Continuous, shape: tuple[int, ...], mean: float = 0.0, std: float = 0.5) -> None:
        super().__init__()
        self.process, self.shape, self.mean, self.std = process, tuple(shape), mean, std

    def forward(self, x: Tensor, t: Tensor, cond: Condition = NONE, want: tuple[str, ...] = ()) -> Dirac:
        if cond or want:
            raise Refusal("this model knows no conditions and has nothing else to tell")
        alpha, sigma = self.process.scales(t, x)
        share = alpha * self.std**2 / (alpha**2 * self.std**2 + sigma**2)
        return Dirac(self.mean + share.to(x) * (x - alpha.to(x) * self.mean))
