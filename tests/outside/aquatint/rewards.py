"""How light a picture is."""

from torch import Tensor

from mezzotint.core import Condition
from mezzotint.core.spec import Module


class Light(Module):
    """Minus the squared distance of the mean pixel from ``target``."""

    def __init__(self, target: float = 0.0) -> None:
        super().__init__()
        self.target = target

    def forward(self, x: Tensor, cond: Condition, t: Tensor | None = None) -> Tensor:
        return -((x.flatten(1).mean(1) - self.target) ** 2)
