"""Perturbed-attention guidance: away from what the model says when it does not look around.

The weak answer is the model's own with the softmax of some self-attention replaced by the identity matrix: every
position keeps its own value and reads from no other, so textures stay and structure falls apart. Moving away from it
strengthens structure, with a condition or without one, and no second model is trained:

    answer = D' + scale (D - D'),        D' with A = 1 in place of A = softmax(q k^T / sqrt(d)).

scale = 1 is the plain model, 0 the perturbed one; the paper's weight is scale - 1.

What is perturbed is a copy of the modules on the way to those attentions, made anew for each question. It holds the
model's own dictionaries of weights and everything off the way is the very same module, so that whatever happens to the
model - a training step, another device, other weights - has happened to the copy.

Source: Ahn et al. 2024, "Self-rectifying diffusion sampling with perturbed-attention guidance" (2403.17377), section 4.
"""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from torch import Tensor, nn

from mezzotint.conditions.part import ConditionPart
from mezzotint.core.condition import NONE, Condition
from mezzotint.core.distribution import Distribution
from mezzotint.core.errors import Refusal
from mezzotint.core.scale import Scale
from mezzotint.denoiser.base import Denoiser, Want, Wrapper
from mezzotint.guidance.contrast import Contrast


def attentions(model: nn.Module) -> dict[str, nn.Module]:
    """The self-attention modules of a model by qualified name, in order: those with a switch ``identity``.

    What an encoder of conditions attends to are words and no places of a sample, so its attention is left out.
    """
    told = {id(inner) for part in model.modules() if isinstance(part, ConditionPart) for inner in part.modules()}
    switched = {name: m for name, m in model.named_modules() if isinstance(getattr(m, "identity", None), bool)}
    return {name: m for name, m in switched.items() if id(m) not in told}


def chosen(model: nn.Module, where: Iterable[str] = ()) -> tuple[str, ...]:
    """The names of the attentions that ``where`` means; refused where it means none.

    Arguments:
        model: any module.
        where: shell patterns of parts of qualified names, so that ``mid`` and ``up.1`` mean all below; empty: those in
            the middle of a U-Net (``mid``), else the one halfway through the network.
    """
    names = tuple(attentions(model))
    if not names:
        raise Refusal("this model has no self-attention to perturb; guide with a weaker model (guidance.Autoguidance)")
    where = tuple(where)
    for pattern in where:
        if not any(_matches(name, pattern) for name in names):
            raise Refusal(f"no self-attention of this model is called {pattern!r}; it has {', '.join(names)}")
    middle = tuple(name for name in names if _matches(name, "mid")) or (names[len(names) // 2],)
    return tuple(name for name in names if any(_matches(name, p) for p in where)) if where else middle


def _matches(name: str, pattern: str) -> bool:
    return fnmatchcase(f".{name}.", f"*.{pattern}.*")


class _Way(dict[str, "_Way"]):
    """The way down to some modules, by the names of children."""

    here = False  # whether the module at its end is one of them


def _ways(model: nn.Module, targets: Iterable[nn.Module]) -> _Way:
    found, top = {id(module) for module in targets}, _Way()
    for name, module in model.named_modules(remove_duplicate=False):  # a module held twice is reached both ways
        if id(module) in found:
            way = top
            for step in name.split(".") if name else ():
                way = way.setdefault(step, _Way())
            way.here = True
    return top


_OWN = ("_modules", "_compiled_call_impl", "identity")  # what a copy does not have in common with its original
_Made = dict[int, tuple[nn.Module, nn.Module]]


def _copied(module: nn.Module, way: _Way, made: _Made) -> nn.Module:
    """A copy that shares its weights, in which the modules the way leads to mix nothing; ``made`` has all pairs."""
    if id(module) in made:
        return made[id(module)][1]
    if "forward" in vars(module):
        raise Refusal(
            f"a {type(module).__name__} of this model has had its forward replaced (compiled or hooked), so a copy "
            "would still run the original: guide the plain model"
        )
    copy: nn.Module = object.__new__(type(module))
    made[id(module)] = module, copy
    children = {n: _copied(m, way[n], made) if n in way and m is not None else m for n, m in module._modules.items()}
    # _parameters and _buffers are the module's own dictionaries, so both always hold the same tensors.
    vars(copy).update(vars(module), _modules=children, _compiled_call_impl=None)
    if way.here:
        vars(copy)["identity"] = True
    return copy


class Unmixed(Wrapper):
    """The same model with some of its self-attention mixing nothing: what it says without looking around.

    Arguments:
        denoiser: a model with self-attention, whose modules have a switch ``identity``.
        where: which, as in :class:`Perturbed`.
    """

    def __init__(self, denoiser: Denoiser, where: tuple[str, ...] = ()) -> None:
        super().__init__(denoiser)
        if isinstance(where, str):
            raise Refusal(f"where is a tuple of patterns, ({where!r},), not a string")
        self.where = chosen(denoiser, where)
        self._way = _ways(denoiser, map(denoiser.get_submodule, self.where))

    def forward(self, x: Tensor, t: Tensor, cond: Condition = NONE, want: Want = ()) -> Distribution:
        made: _Made = {}
        answer: Distribution = _copied(self.denoiser, self._way, made)(x, t, cond, want)
        for module, copy in made.values():  # what it wrote down while it answered is the model's: a meter counts on
            vars(module).update({name: value for name, value in vars(copy).items() if name not in _OWN})
        return answer


class Perturbed(Contrast):
    """Perturbed-attention guidance: the model against itself with some self-attention mixing nothing.

    Arguments:
        denoiser: a model with self-attention.
        scale: 1 is the plain model; the paper's weight is scale - 1, about 3 to 5 with a text model.
        where: shell patterns of qualified names of modules, such as ``("mid",)`` or ``("network.up.1",)``; empty: the
            middle of a U-Net, else the attention halfway through the network.

    Raises:
        Refusal: if nothing matches; the names there are are told.
    """

    def __init__(self, denoiser: Denoiser, scale: Scale, where: tuple[str, ...] = ()) -> None:
        super().__init__(denoiser, Unmixed(denoiser, where), scale)
