"""Models too large for one device: weights, averages and Adam's moments cut into one piece a process.

Fully sharded data parallelism (FSDP2, ``torch.distributed.fsdp.fully_shard``): every process keeps 1/N of each tensor,
puts a block of the network together when the block is asked, and lets it go again. The arithmetic is that of N whole
copies. Averages are cut the same way, so updating them needs nobody else.

What is written is whole and has no trace of it: for a checkpoint every tensor is put together one at a time, and rank 0
keeps it in a twin on its CPU. So a run that was begun sharded goes on in one process, and the other way round.

Source: Zhao et al. 2023, "PyTorch FSDP: experiences on scaling fully sharded data parallel" (2304.11277).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn

from mezzotint.core import ranks
from mezzotint.core.errors import Refusal
from mezzotint.training.ema import PowerAverage


def blocks(module: nn.Module) -> Iterator[nn.Module]:
    """The parts of a network that are asked one after the other: members of its lists that have a forward pass."""
    for child in module.children():
        members = list(child) if isinstance(child, nn.ModuleList) else []
        for member in members:
            if type(member).forward is not nn.Module.forward:
                yield member
            else:
                yield from blocks(member)
        if not members:
            yield from blocks(child)


class Shards:
    """A run whose objective and model, averages and optimiser are cut into pieces, in place.

    Arguments:
        turn: objective and model; only the model may have weights.
        averages: of the model.
        optimizer: of the whole weights; what it remembers is cut with them. Use :attr:`optimizer` from then on.
        device: where the pieces lie.

    Attributes:
        optimizer: of the pieces.
    """

    def __init__(
        self, turn: nn.Module, averages: Sequence[PowerAverage], optimizer: torch.optim.AdamW, device: torch.device
    ) -> None:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard
        from torch.distributed.tensor import Shard, distribute_tensor

        objective = turn.get_submodule("objective")
        if any(True for _ in objective.parameters()):
            raise Refusal(
                f"training.shard cannot cut an objective with weights of its own, and {type(objective).__name__} has "
                "some; train it without"
            )
        self.turn, self.averages = turn, list(averages)
        self.twins: tuple[nn.Module, list[PowerAverage], torch.optim.Optimizer] | None = None
        if ranks.main():
            twin = copy.deepcopy(turn).cpu()
            self.twins = twin, [_twin(average) for average in averages], torch.optim.AdamW(_trained(twin), lr=0.0)
        before, memory = _trained(turn), optimizer.state
        remembered = [dict(memory[weight]) for weight in before]
        mesh = init_device_mesh(device.type, (ranks.count(),))
        for model in (turn, *(average.model for average in averages)):
            for block in blocks(model):
                fully_shard(block, mesh=mesh)
            # Weights that stayed together after a picture or a held-out loss would not see the next update.
            fully_shard(model, mesh=mesh, reshard_after_forward=True)
        after = _trained(turn)
        settings = {name: value for name, value in optimizer.defaults.items() if name in ("betas", "weight_decay")}
        self.optimizer = torch.optim.AdamW(after, lr=0.0, fused=True, **settings)
        for weight, values in zip(after, remembered, strict=True):
            self.optimizer.state[weight] = {
                name: distribute_tensor(value.to(device), mesh, [Shard(0)]) if value.shape == weight.shape else value
                for name, value in values.items()
            }

    def sync(self, last: bool) -> None:
        """Whether the next backward pass is the ``last`` of its step, after which gradients are summed."""
        module: Any = self.turn
        module.set_requires_gradient_sync(last)

    def whole(self) -> tuple[nn.Module, list[PowerAverage], torch.optim.Optimizer] | None:
        """Objective and model, averages and optimiser put together: on rank 0; all processes have to ask."""
        _fill(self.twins and self.twins[0], self.turn)
        for place, average in enumerate(self.averages):
            _fill(self.twins and self.twins[1][place].model, average.model)
        for place, weight in enumerate(_trained(self.turn)):
            values = {name: ranks.whole(value) for name, value in self.optimizer.state[weight].items()}
            if self.twins is not None:
                own = _trained(self.twins[0])[place]
                self.twins[2].state[own] = {name: value.detach().cpu().clone() for name, value in values.items()}
        return self.twins


def _trained(module: nn.Module) -> list[nn.Parameter]:
    return [weight for weight in module.parameters() if weight.requires_grad]


def _twin(average: PowerAverage) -> PowerAverage:
    twin = copy.copy(average)
    twin.model = copy.deepcopy(average.model).cpu()
    return twin


@torch.no_grad()
def _fill(twin: nn.Module | None, module: nn.Module) -> None:
    """Put the tensors of a module that is cut into its whole twin, one at a time."""
    into = {} if twin is None else twin.state_dict()
    for name, value in module.state_dict().items():
        full = ranks.whole(value)
        if twin is not None:
            into[name].copy_(full)
