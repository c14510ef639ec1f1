"""A model measured before it is made: its parts on torch's *meta* device, where tensors have shapes and no memory.

A line of a config can ask for more memory than there is (``width: 1000000000``), and so can a file that claims to hold
weights. So modules are first built where they cost nothing, counted while they are built, and compared with what the
file holds; only then is the first byte allocated. The count stops a module that would go on for hours (``depth:
1000000000``) as well as one that is too wide.

What a constructor computes at once, such as the table of a discrete process, does take memory while it is measured, so
that has a budget of its own, which all parts of a config share: sixty tables of a million steps are refused.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.modules import module as hooks
from torch.overrides import TorchFunctionMode

from mezzotint.core.errors import Refusal
from mezzotint.core.spec import Module, Tree, build, make, name_of

PARAMETERS = 2 * 10**9
"""How many parameters a model may have unless whoever loads it says otherwise: 8 GB in float32."""
_PER_TENSOR = 400_000  # of the parameters allowed; real networks have about as many in a tensor, or more
_LEAST = 1_000
_FILLS = frozenset(
    "normal_ uniform_ trunc_normal_ kaiming_normal_ kaiming_uniform_ xavier_normal_ xavier_uniform_ orthogonal_ zeros_ "
    "ones_ constant_ zero_ fill_ copy_ mul_ add_ clamp_ erfinv_ random_ bernoulli_ exponential_".split()
)
_PER_MODULE = 4
COMPUTED = 2**25
"""How many numbers the constructors of a config may compute altogether: 256 MiB in float64. A DDPM has 36 a step."""
_PER_CALL = 2_000  # numbers that an operation on a small tensor stands for: it takes as long
SHAPE = 2**28
"""How many numbers one sample may have: 1 GiB in float32."""


def blueprint(tree: Tree, within: Collection[str] | None = None, parameters: int = PARAMETERS) -> Any:
    """The object of a spec with every module on the meta device: shapes and types without memory.

    Its modules must be such as can be built there: what a constructor computes from numbers of the config names
    ``device="cpu"``.

    Arguments:
        tree: the spec.
        within: the rooms whose parts may be made, as in :func:`~mezzotint.core.spec.resolve`.
        parameters: how many entries the parameters and buffers may have altogether. They may lie in one tensor for
            every 400,000 of that number (1,000 at least), in four times as many modules.

    Raises:
        Refusal: the tree cannot be built, is larger than that, computes more than ``COMPUTED`` numbers, or has a
            setting ``shape`` that is no shape of a sample; it is said while building, not at its end.
    """
    if isinstance(parameters, bool) or not isinstance(parameters, int) or parameters < 1:
        raise Refusal(f"the most parameters a model may have is a number, at least 1, not {parameters!r}")

    def call(cls: type, arguments: dict[str, Any]) -> Any:
        if arguments.get("shape") is not None:
            _check_shape(cls, arguments["shape"])
        if not issubclass(cls, Module):
            return cls(**arguments)
        with torch.device("meta"), _Unfilled():
            return cls(**arguments)

    with _counted(parameters), _Metered():
        return make(tree, within, call)


def measured(tree: Tree, within: Collection[str] | None = None, parameters: int = PARAMETERS) -> Any:
    """The object of a spec, made once its :func:`blueprint` has been: what a stranger's tree is built with.

    Arguments: those of :func:`blueprint`.
    """
    blueprint(tree, within, parameters)
    return build(tree, within)


def _check_shape(cls: type, shape: Any) -> None:
    """Refuse what a part takes for the shape of one sample where it is none, or one of more than ``SHAPE`` numbers."""
    sizes = shape if isinstance(shape, tuple) else (shape,)
    if not all(isinstance(size, int) and not isinstance(size, bool) and size > 0 for size in sizes):
        raise Refusal(f"{name_of(cls)} needs a shape of whole numbers from 1, such as [3, 64, 64], not {_short(shape)}")
    if math.prod(sizes) > SHAPE:
        raise Refusal(
            f"{name_of(cls)} is asked for samples of shape {_short(shape)}, and one has {SHAPE:,} numbers at most"
        )


def _short(value: Any) -> str:
    return repr(value)[:100].replace("(", "[").replace(",)", "]").replace(")", "]")


class _Metered(TorchFunctionMode):
    """Refuses what this thread computes outside the meta device beyond ``COMPUTED``."""

    def __init__(self) -> None:
        super().__init__()
        self._done = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if isinstance(made, torch.Tensor) and not made.is_meta:
            self._done += made.numel() + _PER_CALL
            if self._done > COMPUTED:
                raise Refusal(
                    f"the parts of this config compute more than {COMPUTED:,} numbers while they are made: let it have "
                    "fewer of them, or fewer steps and less depth in each"
                )
        return made


class _Unfilled(TorchFunctionMode):
    """Leaves out what only changes values: there are none, and torch would load its compiler to work that out."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, name = kwargs or {}, getattr(func, "__name__", "")
        tensor = args[0] if args else kwargs.get("tensor")
        if isinstance(tensor, torch.Tensor) and tensor.is_meta:
            scaled = name == "mul" and isinstance(args[1], int | float) and tensor.is_floating_point()
            if scaled or name in _FILLS:
                return tensor
        return func(*args, **kwargs)


@contextmanager
def _counted(parameters: int) -> Iterator[None]:
    """Refuse what this thread registers in modules beyond the limits."""
    mine, tensors_most = threading.get_ident(), max(_LEAST, parameters // _PER_TENSOR)
    entries = tensors = modules = 0

    def tensor(_: Any, __: str, value: Any) -> None:
        nonlocal entries, tensors
        if threading.get_ident() != mine or value is None:
            return
        entries, tensors = entries + value.numel(), tensors + 1
        if entries > parameters:
            raise Refusal(
                f"this config asks for a model of more than {parameters:,} parameters, the most that is made unless "
                "more are allowed (--max-parameters, or parameters=...)"
            )
        if tensors > tensors_most:
            raise Refusal(
                f"this config asks for a model of more than {tensors_most:,} tensors of weights, the most that is made "
                f"where {parameters:,} parameters are allowed (--max-parameters, or parameters=...)"
            )

    def module(_: Any, __: str, value: Any) -> None:
        nonlocal modules
        if threading.get_ident() != mine:
            return
        modules += 1
        if modules > _PER_MODULE * tensors_most:
            raise Refusal(
                f"this config asks for a model of more than {_PER_MODULE * tensors_most:,} modules, the most that is "
                f"made where {parameters:,} parameters are allowed (--max-parameters, or parameters=...)"
            )

    handles = [
        hooks.register_module_parameter_registration_hook(tensor),
        hooks.register_module_buffer_registration_hook(tensor),
        hooks.register_module_module_registration_hook(module),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
