"""A recipe: one paper's claim as data, small enough to read in a minute.

It says which parts, how long, which claim and how to judge it, and holds no loop of its own. At every size (``exact``,
``small``, ``full``) stands an experiment of one of two kinds. A :class:`Closed` one is a function from a seed to a
table of numbers: exact denoisers, closed forms, seconds. A :class:`Trained` one has *arms*: which models are trained,
and how samples are made with them; every arm is measured alike, at paired seeds, and what one function concludes from
the numbers of all seeds is the verdict.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from torch import Tensor

from mezzotint.core.condition import NONE, Condition
from mezzotint.core.config import count, loads
from mezzotint.core.errors import Refusal, nearest
from mezzotint.core.learner import Learner
from mezzotint.core.pipeline import Pipeline
from mezzotint.core.spec import spec
from mezzotint.data.data import Data
from mezzotint.denoiser.base import Denoiser
from mezzotint.evidence.verdict import Figure, Numbers, Seen, Verdict
from mezzotint.metrics.features import Features
from mezzotint.training.trainer import Trainer

SIZES = ("exact", "small", "full")
Value = bool | int | float | str | tuple[Any, ...]
Models = Mapping[str, Any]
"""Trained models by the names of their trainings: denoisers, autoencoders, whatever is trained."""


@dataclass(frozen=True)
class Paper:
    """Where a claim was made."""

    title: str
    authors: str
    year: int
    arxiv: str


class NoSetting(Refusal, AttributeError):
    """A setting that is not there: a sentence for whoever wrote the recipe, and no attribute for ``hasattr``."""


class Setting(Mapping[str, Any]):
    """The numbers of an experiment that a person may change, by name and as attributes: ``s.images``."""

    def __init__(self, values: Mapping[str, Value]) -> None:
        self._values = dict(values)

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in self._values:
            raise NoSetting(f"this experiment has no setting {name!r}: {nearest(name, list(self._values))}")
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Setting({self._values})"

    def edited(self, changes: list[str]) -> Setting:
        """A copy with every ``name=value`` applied; names and kinds of values must be those that are there."""
        values = dict(self._values)
        for change in changes:
            name, equals, text = change.partition("=")
            if not equals:
                raise Refusal(f"--set takes name=value, not {change!r}")
            if name not in values:
                raise Refusal(f"this experiment has no setting {name!r}: {nearest(name, list(values))}")
            values[name] = _read(name, text, values[name])
        return Setting(values)


def _read(name: str, text: str, before: Value) -> Value:
    """A value written on a command line, of the kind that it replaces."""
    if isinstance(before, int) and not isinstance(before, bool):
        found = count(text)
        if found < 1:
            raise Refusal(f"{name} is a count of at least 1, not {text!r}")
        return found
    value = loads(text, f"the value of {name}")
    value = tuple(value) if isinstance(value, list) else value
    value = float(value) if isinstance(before, float) and type(value) is int else value
    if type(value) is not type(before):
        raise Refusal(f"{name} is {before!r}, so it takes a {type(before).__name__}, not {text!r}")
    return value


@dataclass(frozen=True)
class Training:
    """What is trained: three parts, which together are the config of a run.

    A training may need another: codes of an autoencoder, a teacher, the stage before. Wherever a setting of its parts
    is the string ``"@name"``, the folder of the run of ``needs[name]`` is put there once that run is over:
    ``Training(model, Encoded(pictures, folder="@vq", ...), trainer, needs={"vq": vq})``.

    Arguments:
        model: a denoiser around a network, or another part that is trained; only its config counts, its weights are
            drawn anew under the seed.
        data: what it is trained on.
        training: the trainer; its seed is replaced by the paired seed.
        needs: by the names that stand in the parts; trained before this one.
        once: trained at its trainer's own seed and at no other, so that all paired seeds share it.

    Raises:
        Refusal: something is needed that no setting names.
    """

    model: Denoiser | Learner
    data: Data
    training: Trainer
    needs: Mapping[str, Training] = field(default_factory=dict)
    once: bool = False

    def __post_init__(self) -> None:
        said = _named([spec(self.model), spec(self.data), spec(self.training)]) if self.needs else set()
        for name in self.needs:
            if name not in said:
                raise Refusal(f"this training needs {name!r}, but no setting of its parts is the string '@{name}'")
        for name in said:
            if name not in self.needs:
                raise Refusal(f"'@{name}' is no training that is needed: {nearest(name, list(self.needs))}")

    def tree(self, seed: int, folders: Mapping[str, str] | None = None) -> dict[str, Any]:
        """The config of the run at a paired seed.

        Arguments:
            seed: the paired seed; a training that is done once has its own.
            folders: of the needed runs by name; None: their places stay marked.
        """
        trainer = {**spec(self.training), "seed": self.training.seed if self.once else seed}
        tree = {"model": spec(self.model), "data": spec(self.data), "training": trainer}
        if folders is None or not self.needs:
            return tree
        return {name: _placed(part, folders, {}) for name, part in tree.items()}


def _named(tree: Any) -> set[str]:
    """The names that stand in a tree after an ``@``."""
    if isinstance(tree, str):
        return {tree[1:]} if tree.startswith("@") else set()
    inside = tree.values() if isinstance(tree, Mapping) else tree if isinstance(tree, list) else ()
    return set().union(*map(_named, inside))


def marked(tree: Any) -> bool:
    """Whether a tree has places for the folders of needed runs."""
    return bool(_named(tree))


def _placed(tree: Any, folders: Mapping[str, str], seen: dict[int, Any]) -> Any:
    """A tree with folders where their names stood; a part that is used twice stays one."""
    if isinstance(tree, str):
        return folders[tree[1:]] if tree.startswith("@") else tree
    if isinstance(tree, list):
        return [_placed(item, folders, seen) for item in tree]
    if not isinstance(tree, Mapping):
        return tree
    if id(tree) not in seen:
        seen[id(tree)] = {key: _placed(value, folders, seen) for key, value in tree.items()}
    return seen[id(tree)]


def nothing_further(models: Models) -> Mapping[str, float]:
    """No further columns."""
    return {}


@dataclass(frozen=True)
class Arm:
    """One side of a comparison: what it needs trained, and how its samples are made.

    Arguments:
        trainings: by the names under which the pipeline finds the models; equal trainings of several arms are trained
            once, and so are those that others need: name one here, too, where the pipeline decodes by it. Empty for
            exact denoisers.
        pipeline: from the trained models to what is called for samples.
        facts: further columns of this arm, numbers of the models themselves and not of their samples: what they cost.
        at: a share of a training, in (0, 1], by its name: the model is then the first average as the checkpoint nearest
            to there has it, so that arms may be compared along their training. Others are as exported at the end.
    """

    trainings: Mapping[str, Training]
    pipeline: Callable[[Models], Pipeline]
    facts: Callable[[Models], Mapping[str, float]] = nothing_further
    at: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, share in self.at.items():
            if name not in self.trainings or not 0 < share <= 1:
                raise Refusal(f"an arm is taken at shares in (0, 1] of its own trainings, not {name!r} at {share!r}")


@dataclass(frozen=True, kw_only=True)
class Closed:
    """An experiment without training: closed forms and exact denoisers, seconds on one core.

    It shows that the parts compute what they should. Whether the paper's claim holds is asked at the other sizes.

    Arguments:
        criterion: what is checked, in words, as it was fixed before the run.
        measure: ``(setting, seed) -> {row: {column: number}}``.
        verdict: from the numbers of all seeds to what they show.
        seeds: those that count; seeds that a pilot has used are not among them.
        setting: the numbers that may be changed.
        departures: what differs from the checks of the paper or of the method's page.
        figures: curves for the sheet.
        minutes: what a seed may take.
    """

    criterion: str
    measure: Callable[[Setting, int], Numbers]
    verdict: Callable[[Seen], Verdict]
    seeds: tuple[int, ...]
    setting: Mapping[str, Value] = field(default_factory=lambda: MappingProxyType({}))
    departures: str = ""
    figures: Callable[[Seen], list[Figure]] | None = None
    minutes: float = 0.5


def unconditional(setting: Setting) -> Condition:
    """No condition."""
    return NONE


def nothing(setting: Setting) -> tuple[Data, ...]:
    """No data beside what is trained on."""
    return ()


@dataclass(frozen=True, kw_only=True)
class Trained:
    """An experiment with arms that are trained, sampled and measured alike at paired seeds.

    Arguments:
        criterion: what passes, in words, as it was fixed before the run.
        departures: what differs from the paper.
        arms: ``setting -> {name: Arm}``.
        measure: ``(setting, x, cond, judge) -> {column: number}`` of the samples x (samples, *shape) of one arm.
        verdict: from the numbers of all seeds, rows being arms, to what they show.
        seeds: the paired seeds that count.
        minutes: what a paired seed may take, on two single-thread processes.
        setting: the numbers that may be changed; ``samples`` and ``batch`` are always among them.
        dials: which of them may be made smaller where the time does not suffice; cost grows in proportion to them, and
            all of them are in the setting. Without trained models that is ``("samples",)``.
        cond: ``setting -> Condition`` of as many rows as there are samples.
        judge: ``setting -> Features``, an extractor, trained once for all arms and seeds; what judges must not guide.
        data: ``setting -> data sets`` that the judge, the measure and pipelines read, for the keys of what is kept.
        figures: curves for the sheet.
    """

    criterion: str
    departures: str
    arms: Callable[[Setting], Mapping[str, Arm]]
    measure: Callable[[Setting, Tensor, Condition, Any], Mapping[str, float]]
    verdict: Callable[[Seen], Verdict]
    seeds: tuple[int, ...]
    minutes: float
    setting: Mapping[str, Value]
    dials: tuple[str, ...] = ("images", "samples")
    cond: Callable[[Setting], Condition] = unconditional
    judge: Callable[[Setting], Features] | None = None
    data: Callable[[Setting], Sequence[Data]] = nothing
    figures: Callable[[Seen], list[Figure]] | None = None

    def __post_init__(self) -> None:
        for name in ("samples", "batch", *self.dials):
            if name not in self.setting:
                raise Refusal(f"the setting of a Trained experiment names its {name!r}")
        for name in ("samples", "batch"):
            if type(many := self.setting[name]) is not int or many < 1:
                raise Refusal(f"{name} is a count of at least 1, not {many!r}")


Experiment = Closed | Trained


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A paper's claim, and how it is put to the test.

    Arguments:
        paper: where the claim was made.
        claim: in a sentence or two, in relative terms.
        published: the paper's own numbers, by what was measured and by arm.
        sizes: experiments by size.
    """

    paper: Paper
    claim: str
    published: Mapping[str, Mapping[str, float]]
    sizes: Mapping[str, Experiment]

    def __post_init__(self) -> None:
        for size in self.sizes:
            if size not in SIZES:
                raise Refusal(f"there is no size {size!r}: {nearest(size, SIZES)}")

    def at(self, size: str) -> Experiment:
        """The experiment of a size."""
        if size not in self.sizes:
            raise Refusal(f"this recipe has no size {size!r}: {nearest(size, list(self.sizes))}")
        return self.sizes[size]
