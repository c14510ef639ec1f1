"""Towards a teacher: corrupt, ask both, compare - the model's answer beside another denoiser's at the same x_t and t.

    E over t, noise of  w(t) | F - F(D*(x_t, t, c)) |^2  per entry,

where D* is the teacher and F(D*) what the network would have had to say to answer like it. The mean of x_0 given x_t is
the exact denoiser, so with an exact teacher the expected gradient is that of
:class:`~mezzotint.objectives.Denoising`, whose target is x_0 itself,

    E[ |D - x_0|^2 | x_t ] = |D - D*|^2 + E[ |x_0 - D*|^2 | x_t ],

but without the noise of the second term, which no model can remove. This is *exact-score training*: with
score = (alpha D - x_t) / sigma^2,

    sigma^2 |score - score*|^2 = (alpha^2 / sigma^2) |D - D*|^2 = SNR |D - D*|^2,

which is ``weight="noise"``, here per entry; EDM's own weight adds 1 / sigma_data^2 to the SNR. With a trained teacher
it is the plainest form of distillation.

Sources: Karras et al. 2024 (2406.02507, section 3) for exact scores; Vincent 2011, "A connection between score matching
and denoising autoencoders", for the identity.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor

from mezzotint.core.condition import Condition
from mezzotint.core.errors import Refusal, nearest
from mezzotint.core.rng import Rng
from mezzotint.denoiser.base import Denoiser, Trainable
from mezzotint.objectives.base import Levels, Loss, Objective, Shot, probabilities
from mezzotint.objectives.denoising import WEIGHTS, weigh
from mezzotint.objectives.levels import LogNormal


class Towards(Objective):
    """Mean squared error of the network's answer beside a teacher's, at random noise levels.

    The teacher is no module of the objective: it is not trained, averaged or saved, and is asked without gradients, in
    evaluation mode. A config names how it was made; one with weights of its own is remembered by their hash, and a run
    that goes on beside other weights is refused. The teacher is asked with what the model is told, rows that were
    dropped included where its null was trained; where it was not, with what was there before: the mean is the same.

    Arguments:
        teacher: a denoiser of the same process and shape that answers about clean data.
        levels: where to train.
        weight: ``output`` or one of :class:`Denoising`'s weights; ``noise`` is sigma^2 |score - score*|^2 per entry.
        dropout: probability of dropping a condition family, one number or one a family; 1 makes a model that is never
            told, and may stand beside others that are (:class:`mezzotint.guidance.Without`).
    """

    mark: Tensor

    def __init__(
        self,
        teacher: Denoiser,
        levels: Levels | None = None,
        weight: str = "output",
        dropout: float | Mapping[str, float] = 0.0,
    ) -> None:
        super().__init__()
        if not isinstance(teacher, Denoiser) or not teacher.clean:
            raise Refusal(f"a teacher is a denoiser that answers about clean data, not {type(teacher).__name__}")
        if weight != "output" and weight not in WEIGHTS:
            raise Refusal(f"there is no weight {weight!r}: {nearest(weight, ['output', *WEIGHTS])}")
        self.levels = LogNormal() if levels is None else levels
        self.weight, self.dropout = weight, probabilities(dropout, always=True)
        self._teacher = (teacher.eval(),)  # inside a tuple it is no submodule
        self._own = _mark(teacher)
        self.register_buffer("mark", torch.tensor(self._own))

    @classmethod
    def example(cls) -> Towards:
        """Towards standard normals, in the shape of the pictures that contracts train on."""
        from mezzotint.conditions import Classes, Encoder
        from mezzotint.denoiser.preconditioned import Preconditioned
        from mezzotint.networks.mlp import MLP
        from mezzotint.processes.edm import EDM

        network = MLP((3, 4, 6), width=8, depth=1, vector=8)  # fresh, it answers zero
        return cls(Preconditioned(network, EDM(), Encoder(label=Classes(3, 8)), sigma_data=1.0))

    @property
    def teacher(self) -> Denoiser:
        """What the model is moved towards."""
        return self._teacher[0]

    def forward(self, model: Denoiser, x: Tensor, cond: Condition, rng: Rng, player: str = "model") -> Loss:
        if not isinstance(model, Trainable):
            raise Refusal(f"Towards trains a denoiser with a network (Preconditioned), not {type(model).__name__}")
        teacher = self.teacher
        if model.process != teacher.process or tuple(model.shape) != tuple(teacher.shape):
            raise Refusal(
                f"the teacher answers about {tuple(teacher.shape)} under {teacher.process}, "
                f"the model about {tuple(model.shape)} under {model.process}; they must be the same"
            )
        if int(self.mark) != self._own:
            raise Refusal("this run's teacher had other weights: give the objective the same teacher to go on")
        t, drawn = self.levels(model.process, tuple(x.shape[1:]), rng.at("levels"))
        told = cond.dropout(self.dropout, rng.at("dropout"))
        x_t = model.process.corrupt(x, t).sample(rng.at("noise"))
        due = model.target(self._answer(x_t, t, cond, told), x_t, t)
        answer = model(x_t, t, told, want=("output",))
        error = (answer.aux["output"] - due).square().flatten(1).mean(1)
        weight = weigh(self.weight, model, t, drawn)
        return Loss(error * weight.to(error), {}, Shot(x, x_t, t, told, answer, drawn))

    @torch.no_grad()
    def _answer(self, x_t: Tensor, t: Tensor, cond: Condition, told: Condition) -> Tensor:
        """The teacher's estimate, in its own precision where that is the finer one."""
        teacher = self.teacher
        if teacher.device != x_t.device:
            teacher.to(x_t.device)
        unknown = [name for name in told.keep if name not in teacher.nulls]
        if unknown:
            told = told.take(*unknown)[1] | cond.take(*unknown)[0]
        asked = x_t.to(torch.promote_types(x_t.dtype, teacher.dtype))
        return teacher(asked, t, teacher.prepare(told).to(teacher.device)).mean

    def update(self, model: Denoiser, loss: Loss) -> None:
        if loss.shot is not None:
            self.levels.update(loss.shot.t, loss.unweighted())


def _mark(teacher: Denoiser) -> int:
    """63 bits of the SHA-256 of a teacher's weights; 0 where it has none (what is exact is known by its config)."""
    digest, some = hashlib.sha256(), False
    for name, weight in teacher.named_parameters():
        some = True
        bits = weight.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        digest.update(name.encode() + bits.numpy().tobytes())
    return int.from_bytes(digest.digest()[:8], "big") >> 1 if some else 0
