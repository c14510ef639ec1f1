"""The folder of a cascade: ``cascade.yaml`` says what its stages are, and each has a run or model folder beside it.

    cascade.yaml    stages in order: name, folder, shape, what each is told and what it takes from which, default levels
    7/  14/  28/    the folders of the stages, relative to it

What is written there is compared with the models before anything is drawn: a stage of another size, another number of
channels or without the picture before is refused with what was expected. The file may be a stranger's.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from mezzotint.cascades.cascade import Cascade, fits
from mezzotint.cascades.stage import Stage
from mezzotint.cascades.stored import Stored
from mezzotint.conditions.augment import Augment, Noised
from mezzotint.core import config
from mezzotint.core.blueprint import PARAMETERS, blueprint, measured
from mezzotint.core.errors import Refusal, nearest
from mezzotint.core.folder import SCHEMA, write_text
from mezzotint.core.spec import spec
from mezzotint.core.store import MODEL, model_config
from mezzotint.denoiser.base import Denoiser
from mezzotint.samplers.heun import Heun
from mezzotint.samplers.sampling import Sampling

FILE = "cascade.yaml"
LEVEL = 0.1
"""How noisy the picture before is handed over, where nobody says."""
MOST = 32
"""The most stages that a file may name."""
_KEYS = ("name", "folder", "shape", "told", "takes", "augment", "level")


@dataclass(frozen=True)
class Member:
    """What a cascade's folder says of one stage.

    Arguments:
        name: of the stage.
        folder: of its run or model, relative to the cascade's.
        shape: of one picture.
        told: the families of the outer condition that it hears.
        takes: by family, the stage that it takes a picture from.
        augment: what corrupts that picture at sampling as in training; None: nothing does.
        level: at which, where nobody says.
    """

    name: str
    folder: str
    shape: tuple[int, ...]
    told: tuple[str, ...] = ()
    takes: Mapping[str, str] = field(default_factory=dict)
    augment: Noised | None = None
    level: float | None = None

    @classmethod
    def of(cls, name: str, model: Any, takes: Mapping[str, str], augment: Augment | None) -> Member:
        """The stage of a model that was trained with an augmentation.

        Arguments:
            name: of the stage, and of its folder.
            model: a denoiser; it may lie on the meta device.
            takes: as above.
            augment: of its training.
        """
        told = tuple(family for family in families(model) if family not in takes)
        noised = augment if isinstance(augment, Noised) else None
        return cls(name, name, tuple(model.shape), told, dict(takes), noised, None if noised is None else LEVEL)

    def plain(self) -> dict[str, Any]:
        """As the file has it."""
        tree: dict[str, Any] = {"name": self.name, "folder": self.folder, "shape": list(self.shape)}
        tree["told"] = list(self.told)
        if self.takes:
            tree |= {"takes": dict(self.takes), "augment": spec(self.augment), "level": self.level}
        return tree


def families(model: Any) -> tuple[str, ...]:
    """The condition families that a model knows."""
    encoder: Any = getattr(model, "encoder", None)
    return () if encoder is None else tuple(encoder.families)


def is_cascade(path: str | Path) -> bool:
    """Whether a path is the folder of a cascade."""
    return (Path(path) / FILE).is_file()


def write(path: str | Path, members: Iterable[Member]) -> None:
    """Write ``cascade.yaml`` into a folder."""
    tree = {"schema": SCHEMA, "stages": [member.plain() for member in members]}
    write_text(Path(path) / FILE, config.dumps(tree))


def read(path: str | Path) -> tuple[Member, ...]:
    """What ``cascade.yaml`` of a folder says; whether the models agree is :func:`check`'s to say.

    Raises:
        Refusal: there is none, or what it says is no cascade.
    """
    if not is_cascade(path):
        raise Refusal(
            f"{str(path)!r} is no folder of a cascade: it has no {FILE}; mezzotint train PICTURES --cascade 7,14 "
            "writes one"
        )
    where = repr(str(Path(path) / FILE))
    tree = config.load(Path(path) / FILE)
    if not isinstance(tree, dict) or tree.get("schema") != SCHEMA:
        found = tree.get("schema") if isinstance(tree, dict) else None
        raise Refusal(f"{where} has schema {repr(found)[:50]}, this version of mezzotint reads {SCHEMA}")
    stages = tree.get("stages")
    if not isinstance(stages, list) or not 1 <= len(stages) <= MOST:
        raise Refusal(f"{where} names no stages: it has a list of 1 to {MOST} under 'stages'")
    members: list[Member] = []
    for number, one in enumerate(stages):
        members.append(_member(one, f"stage {number} in {where}", [member.name for member in members]))
    return tuple(members)


def _member(tree: Any, where: str, before: Sequence[str]) -> Member:
    if not isinstance(tree, dict) or not set(tree) <= set(_KEYS) or not {"name", "folder", "shape"} <= set(tree):
        raise Refusal(f"{where} is a mapping of name, folder and shape, and of {', '.join(_KEYS[3:])} where it has any")
    name, folder, shape = tree["name"], tree["folder"], tree["shape"]
    if not isinstance(name, str) or not name or name in before or set(name) & set("/\\\0"):
        raise Refusal(f"{where} is called {repr(name)[:50]}, but a stage has a name of its own")
    if not isinstance(folder, str) or not _within(folder):
        raise Refusal(f"{where} has the folder {repr(folder)[:100]}, which has to lie inside that of the cascade")
    if not isinstance(shape, list) or not all(type(size) is int and size > 0 for size in shape) or len(shape) < 2:
        raise Refusal(f"{where} has the shape {repr(shape)[:50]}, but one is such as [3, 64, 64]")
    told, takes = tree.get("told") or [], tree.get("takes") or {}
    if not isinstance(told, list) or not all(isinstance(family, str) for family in told):
        raise Refusal(f"{where} is told {repr(told)[:100]}, but 'told' is a list of families")
    if not isinstance(takes, dict) or not all(isinstance(of, str) for of in takes.values()):
        raise Refusal(f"{where} takes {repr(takes)[:100]}, but 'takes' names a stage before for each family")
    for of in takes.values():
        if of not in before:
            raise Refusal(
                f"{where} takes what {of!r} draws, and the stages before it are {', '.join(before) or 'none'}"
            )
    if before and not takes:
        raise Refusal(f"{where} takes nothing from a stage before: say what, such as takes: {{low: {before[-1]!r}}}")
    augment = None if tree.get("augment") is None else measured(tree["augment"], MODEL)
    if augment is not None and not isinstance(augment, Noised):
        raise Refusal(
            f"{where} has a {type(augment).__name__} for its augment, and at sampling that is a Noised or none"
        )
    if augment is not None and augment.family not in takes:
        raise Refusal(
            f"{where} has an augment of {augment.family[:50]!r}, but takes {', '.join(map(repr, takes)) or 'nothing'}: "
            "what is corrupted is what is taken"
        )
    level = tree.get("level")
    if level is not None and (type(level) not in (int, float) or not 0 <= level <= 1 or augment is None):
        raise Refusal(f"{where} has the level {level!r}, but one lies in [0, 1], and stands beside an augment")
    if level is None and augment is not None:
        level = LEVEL
    return Member(name, folder, tuple(shape), tuple(told), takes, augment, level)


def _within(name: str) -> bool:
    parts = PurePosixPath(name).parts
    odd = ".." in parts or name.startswith("/") or "\\" in name or "\0" in name or PureWindowsPath(name).anchor
    return bool(parts) and not odd


def check(path: str | Path, members: Sequence[Member], parameters: int = PARAMETERS) -> tuple[Denoiser, ...]:
    """The models of all stages on the meta device, as the folders have them now.

    Raises:
        Refusal: a folder is missing or not trained yet, or a model is not what its stage needs.
    """
    models = {}
    for member in members:
        models[member.name] = _model(path, member, parameters)
    for member in members:
        for family, name in member.takes.items():
            pipeline = Sampling(Heun(1), models[member.name])
            fits(member.name, pipeline, family, name, tuple(models[name].shape), member.augment)
        _heard(path, member, models[member.name])
    return tuple(models.values())


def load(
    path: str | Path,
    levels: Sequence[float] | None = None,
    truncated: bool = False,
    apart: bool = False,
    stages: Mapping[str, Mapping[str, Any]] | None = None,
    parameters: int = PARAMETERS,
) -> Cascade:
    """The cascade of a folder, its stages not in memory yet.

    Arguments:
        path: the folder.
        levels: how noisy pictures are handed over, one a hand-over; None: as the folder says.
        truncated: stop a stage at the level instead of corrupting what it drew.
        apart: keep one stage in memory at a time.
        stages: further settings of :class:`Stored` by the name of a stage, such as a sampler or a guidance.
        parameters: how many each model may have.

    Raises:
        Refusal: the folder is no cascade, or its models do not fit together.
    """
    members = read(path)
    check(path, members, parameters)
    for name in stages or {}:
        if name not in [member.name for member in members]:
            raise Refusal(f"{str(path)!r} has no stage {name!r}: {nearest(name, [member.name for member in members])}")
    made = []
    for member in members:
        more = dict((stages or {}).get(member.name, {}))
        stored = Stored(str(Path(path) / member.folder), parameters=parameters, **more)
        made.append(Stage(member.name, stored, dict(member.takes), member.augment, member.told))
    cascade = Cascade(tuple(made), apart)
    usual = [member.level or 0.0 for member in members[1:]]
    return cascade.at(usual if levels is None else levels, truncated)


def _model(path: str | Path, member: Member, parameters: int) -> Denoiser:
    place = Path(path) / member.folder
    inner = len(PurePosixPath(member.folder).parts)
    linked = any(one.is_symlink() for one in (place, *place.parents[: inner - 1]))
    if linked or not place.is_dir():
        what = "goes through a link, which may lead elsewhere" if linked else "is no folder"
        raise Refusal(
            f"the stage {member.name!r} is to lie in {str(place)!r}, which {what}; train it (mezzotint train "
            f"{shlex.quote(str(path))} --resume), bring it back, or mend its 'folder' in {FILE}"
        )
    model = blueprint(model_config(place)["model"], MODEL, parameters)
    if not isinstance(model, Denoiser):
        raise Refusal(f"the stage {member.name!r} in {str(place)!r} is a {type(model).__name__}, and no denoiser")
    if tuple(model.shape) != member.shape:
        raise Refusal(
            f"{FILE} says that the stage {member.name!r} draws pictures of shape {member.shape}, and the model in "
            f"{str(place)!r} draws {tuple(model.shape)}: mend the file, or bring back that model"
        )
    return model


def _heard(path: str | Path, member: Member, model: Denoiser) -> None:
    """Refuse a stage whose model hears other families than it is said to."""
    known, due = set(families(model)), {*member.told, *member.takes}
    if known != due:
        raise Refusal(
            f"{FILE} of {str(path)!r} says that the stage {member.name!r} hears {', '.join(sorted(due)) or 'nothing'}, "
            f"and its model hears {', '.join(sorted(known)) or 'nothing'}: mend 'told' and 'takes', or bring back that "
            "model"
        )
    encoder: Any = getattr(model, "encoder", None)
    if member.augment is not None and getattr(encoder[member.augment.family], "level", None) is None:
        raise Refusal(
            f"the model of the stage {member.name!r} is not told how noisy its {member.augment.family!r} is, so "
            f"'augment' in {FILE} has to be null"
        )
