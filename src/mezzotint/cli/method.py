"""How pictures are drawn: a sampler and a guidance, from flags, from ``--set``, and from the settings inside a picture.

Both are trees of constructor calls, as in every config. A guidance is written without the denoiser that is its first
argument: the model is put in when pictures are drawn, so ``guidance.part=guidance.Perturbed guidance.scale=2`` is
``guidance.Perturbed(model, scale=2)``. A guidance in the place of that argument is put around the model first, and a
further model, such as the weak one of an autoguidance, is named by its run folder and recorded with its SHA-256.

Names are found by walking the rooms, so a sampler that is written tomorrow has its short name already.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from mezzotint.cli import wanted
from mezzotint.cli.flags import Drawing, alone, parameters_of
from mezzotint.core import config
from mezzotint.core.blueprint import PARAMETERS, measured
from mezzotint.core.errors import Refusal, nearest
from mezzotint.core.spec import PART, build, check_keys, name_of, parameters, resolve, spec
from mezzotint.core.store import MODEL, WEIGHTS, load_model, model_folder, sha256
from mezzotint.denoiser import Chunked
from mezzotint.denoiser.base import Denoiser
from mezzotint.samplers import Sampler
from mezzotint.testing.parts import kind_of, parts

ALIASES: dict[str, dict[str, Any]] = {
    "ddim": {PART: "samplers.Ancestral", "eta": 0.0, "steps": 36},
    "ddpm": {PART: "samplers.Ancestral", "eta": 1.0, "steps": 100},
    "edm": {PART: "samplers.Churn", "steps": 18},
    "dpm++": {PART: "samplers.Multistep", "order": 2, "steps": 18},
}
"""Names that people know a sampler by besides its own."""
STEPS = {"samplers.Ancestral": 100, "samplers.Euler": 36}
"""Usual numbers of steps, where they are not ``USUAL``: the deterministic ones cost about the same."""
USUAL = 18
CFG = "guidance.CFG"
NEGATIVE = "guidance.Negative"
BETWEEN = "guidance.Between"
REPAINT = "samplers.RePaint"
JUMP = 1
REPEATS = "repeats"

Tree = dict[str, Any]


def names(kind: str, room: str) -> dict[str, str]:
    """Short names of the parts of a kind in a room, and the names a config knows them by."""
    return {cls.__name__.lower(): name_of(cls) for cls in parts(kind, f"mezzotint.{room}")}


def part(name: str, kind: str, room: str) -> str:
    """What a config calls the part that a person names; one that does not exist is refused with the nearest."""
    if "." in name:
        found = resolve(name)
        if kind_of(found) != kind:
            raise Refusal(f"{name!r} is no {kind}; take another, such as {', '.join(sorted(names(kind, room)))}")
        return name
    known = names(kind, room)
    if name.lower() not in known:
        said = [*known, *ALIASES] if kind == "sampler" else list(known)
        raise Refusal(f"there is no {kind} {name!r}: {nearest(name.lower(), said)}")
    return known[name.lower()]


def named(name: str) -> Tree:
    """The settings of a sampler by name, with its usual number of steps, written out as far as they are known."""
    if name.lower() in ALIASES:
        tree = dict(ALIASES[name.lower()])
    else:
        found = part(name, "sampler", "samplers")
        steps = parameters(resolve(found)).get("steps")
        tree = {PART: found}
        if steps is not None and steps.default is steps.empty:
            tree["steps"] = STEPS.get(found, USUAL)
    try:
        written: Tree = spec(build(tree))
    except Refusal:  # a sampler that needs more is made from what --set adds
        return tree
    return written


def _weights(path: str) -> Tree:
    return {"model": path, "sha256": sha256(model_folder(path) / WEIGHTS)}


def _first(cls: type) -> str:
    """The argument into which the model is put."""
    return next(iter(parameters(cls)))


def _settled(tree: Tree) -> Tree:
    """A guidance as it is recorded: further models by path and hash, a guidance inside settled too."""
    cls = resolve(part(tree[PART], "guidance", "guidance"), MODEL)
    out = {**tree, PART: name_of(cls)}
    inner = out.get(_first(cls))
    if inner is not None:
        if not isinstance(inner, Mapping) or PART not in inner:
            raise Refusal(
                f"guidance.{_first(cls)} is the place of the model itself; leave it out, or name a guidance to put "
                "there with {part: ...}"
            )
        out[_first(cls)] = _settled(dict(inner))
    for name, value in tree.items():
        if name != _first(cls) and isinstance(value, str) and _takes_model(cls, name):
            out[name] = _weights(value)
    return out


def _takes_model(cls: type, name: str) -> bool:
    known = parameters(cls).get(name)
    said = "" if known is None else known.annotation
    return said is Denoiser or (isinstance(said, str) and said.split(".")[-1] == "Denoiser")


def _loaded(said: Mapping[str, str], parameters: int) -> Denoiser:
    """A further model, refused unless its weights are those that were recorded."""
    found = _weights(said["model"])
    if found["sha256"] != said["sha256"]:
        raise Refusal(
            f"the weights in {said['model']!r} have the SHA-256 {found['sha256'][:12]}..., but the picture was made "
            f"with {said['sha256'][:12]}...: the run has gone on or is another, so the picture cannot be repeated"
        )
    made = load_model(said["model"], parameters=parameters)
    if not isinstance(made, Denoiser):
        raise Refusal(f"{said['model']!r} holds a {type(made).__name__}, which cannot guide")
    return made


def _even(denoiser: Denoiser, rows: int | None) -> Denoiser:
    return denoiser if rows is None else Chunked(denoiser, rows)


def around(
    denoiser: Denoiser, tree: Mapping[str, Any], parameters: int = PARAMETERS, rows: int | None = None
) -> Denoiser:
    """A guidance put around a denoiser.

    Arguments:
        denoiser: inside.
        tree: the guidance as a record has it.
        parameters: how many a further model may have.
        rows: further models are asked so many at a time, where that is said.
    """
    cls = resolve(tree[PART], MODEL)
    first = _first(cls)
    inside = around(denoiser, tree[first], parameters, rows) if first in tree else denoiser
    settings = {name: value for name, value in tree.items() if name not in (PART, first)}
    check_keys(cls, [first, *settings])
    models = {
        name: _even(_loaded(value, parameters).to(denoiser.device), rows)
        for name, value in settings.items()
        if isinstance(value, Mapping) and set(value) == {"model", "sha256"}
    }
    plain = {name: value for name, value in settings.items() if name not in models}
    arguments = measured(plain, MODEL, parameters) | models
    try:
        made: Denoiser = cls(**{first: inside}, **arguments)
    except Refusal:
        raise
    except (TypeError, ValueError, AttributeError) as error:
        raise Refusal(f"{tree[PART]} cannot be made from these settings: {error}") from error
    return made.eval()


@dataclass(frozen=True)
class Method:
    """How pictures are drawn.

    Arguments:
        sampler: the rule, with its steps and grid.
        guidance: the tree of a guidance without the denoiser, or None for the plain model.
        parameters: how many a further model may have.
    """

    sampler: Sampler
    guidance: Tree | None = None
    parameters: int = PARAMETERS

    @classmethod
    def of(
        cls,
        flags: Drawing,
        changes: list[str],
        usual: Sampler,
        old: Mapping[str, Any] | None = None,
        negative: bool = False,
        symbols: bool = False,
    ) -> Method:
        """Lay the flags over what was before.

        Arguments:
            flags: of the command line.
            changes: the ``--set`` edits that are about the sampler or the guidance.
            usual: the model's own sampler.
            old: the settings inside a picture that is to be repeated.
            negative: whether there is a text to move away from; then the usual guidance does.
            symbols: whether the model is of symbols; then a sampler by name keeps the model's own grid.
        """
        old = old or {}
        sampler, changes = _chosen(changes, "sampler.part", flags.sampler)
        guidance, changes = _chosen(changes, "guidance.part", None)
        tree = {
            "sampler": named(sampler) if sampler is not None else old.get("sampler") or spec(usual),
            "guidance": _guidance(flags, old, guidance, negative),
        }
        if symbols and sampler is not None and "grid" in tree["sampler"] and "grid" in spec(usual):
            tree["sampler"] = {**tree["sampler"], "grid": spec(usual)["grid"]}
        if alone(flags.steps, "steps") is not None:
            changes.insert(0, f"{way(tree['sampler'], 'steps')}={flags.steps}")
        tree = config.edit(tree, changes)
        most = parameters_of(flags.max_parameters)
        made = measured(tree["sampler"], MODEL, most)
        if not isinstance(made, Sampler):
            raise Refusal(f"the sampler is to be a part such as samplers.Heun with its settings, not {made!r}")
        return cls(made, _limited(tree["guidance"], flags.interval), most)

    def guided(self, denoiser: Denoiser, rows: int | None = None) -> Denoiser:
        """The denoiser under the guidance, itself where there is none; each asked ``rows`` at a time."""
        even = _even(denoiser, rows)
        return even if self.guidance is None else around(even, self.guidance, self.parameters, rows)

    @property
    def negative(self) -> bool:
        """Whether it moves away from what is told as ``negative``."""
        tree: Any = self.guidance
        while isinstance(tree, Mapping) and PART in tree:
            if tree[PART] == NEGATIVE:
                return True
            tree = tree.get(_first(resolve(tree[PART], MODEL)))
        return False

    def record(self) -> Tree:
        """What a picture or a report says of how it was drawn."""
        return {"sampler": spec(self.sampler), "guidance": self.guidance}


def way(tree: Mapping[str, Any], setting: str, path: str = "sampler") -> str:
    """The path of a sampler's setting; a sampler around a sampler has the inner one's."""
    if setting not in parameters(resolve(tree[PART])):
        for name, value in tree.items():
            if isinstance(value, Mapping) and PART in value and issubclass(resolve(value[PART]), Sampler):
                return way(value, setting, f"{path}.{name}")
    return f"{path}.{setting}"


def _chosen(changes: list[str], key: str, flag: str | None) -> tuple[str | None, list[str]]:
    """Which part is asked for, by a flag or by ``key=``, and the other changes."""
    said = [flag] if flag is not None else []
    rest = []
    for change in changes:
        path, equals, value = change.partition("=")
        if path.strip() == key and equals:
            said.append(value.strip())
        else:
            rest.append(change)
    return (said[-1] if said else None), rest


def before(old: Mapping[str, Any]) -> Tree | None:
    """The guidance of earlier settings; those of version 0.1.0 hold a number and an interval."""
    found = old.get("guidance")
    if isinstance(found, int | float):
        scale: Any = found
        if old.get("interval"):
            scale = {PART: BETWEEN, "scale": found, "low": old["interval"][0], "high": old["interval"][1]}
        return {PART: CFG, "scale": scale}
    return found


def _guidance(flags: Drawing, old: Mapping[str, Any], name: str | None, negative: bool) -> Tree:
    """The guidance before ``--set``: another part than before begins anew."""
    tree = before(old) or {PART: CFG, "scale": 1.0}
    if negative and tree.get(PART) == CFG:
        tree = {**tree, PART: NEGATIVE}
    if name is not None:
        found = part(name, "guidance", "guidance")
        tree = tree if old and tree[PART] == found else {PART: found}
    asked = alone(flags.guidance, "guidance")
    if asked is not None:
        if asked - asked != 0:
            raise Refusal(f"--guidance is {asked}, but it is a number; 1 is the plain conditional model")
        scale: Any = tree.get("scale")
        narrow = isinstance(scale, Mapping) and scale.get(PART) == BETWEEN
        tree = {**tree, "scale": {**scale, "scale": asked} if narrow else asked}
    return tree


def _limited(tree: Any, interval: str | None) -> Tree | None:
    """The guidance within the levels asked for; None where it guides nowhere."""
    if not isinstance(tree, Mapping) or PART not in tree:
        raise Refusal(f"a guidance is a part with its settings, such as {{part: {CFG}, scale: 2}}, and not {tree!r}")
    tree, scale = dict(tree), tree.get("scale")
    inner = scale.get("scale") if isinstance(scale, Mapping) and scale.get(PART) == BETWEEN else scale
    plain = tree[PART] in (CFG, NEGATIVE) and inner == 1
    if interval is not None:
        low, high = wanted.interval(interval)
        if plain:
            raise Refusal(
                "--interval says where to guide, but --guidance is 1, which guides nowhere; give a scale such as 1.5"
            )
        if not isinstance(inner, int | float):
            raise Refusal("--interval limits a guidance by a number, and this one has no such scale; leave it out")
        tree = {**tree, "scale": {PART: BETWEEN, "scale": inner, "low": low, "high": high}}
    return None if plain else _settled(tree)


def resampled(method: Method, times: int) -> Method:
    """The method on a grid that goes over every interval so many times; 1 takes that back."""
    tree: Tree = spec(method.sampler)
    *steps, last = way(tree, "grid").split(".")[1:]
    node = tree
    for step in steps:
        node = node[step]
    grid = node[last]
    inner = grid["inner"] if grid[PART] == REPAINT else grid
    node[last] = inner if times == 1 else {PART: REPAINT, "inner": inner, "jump": JUMP, "times": times}
    return replace(method, sampler=build(tree, MODEL))


def repeated(method: Method, times: int) -> Method:
    """The method with every stage of a short chain drawn so many times, for samplers that have such ``repeats``."""
    tree: Tree = spec(method.sampler)
    if REPEATS not in tree:
        if times == 1:
            return method
        raise Refusal(
            f"--resample draws the stages of a chain again, and {tree[PART]} draws whole samples at once; leave it out"
        )
    return replace(method, sampler=build({**tree, REPEATS: times}, MODEL))
