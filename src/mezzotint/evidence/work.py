"""The three things that a worker does for an experiment: train, judge, draw and measure.

Each leaves what it made in the work folder under the key of everything it depends on, whole or absent, and does nothing
where that is there already:

    trainings/<key>/        a run folder, trained to its end; one that was interrupted goes on from its checkpoint
    judge/<key>/            the extractor
    cells/<key>.json        the numbers of one arm at one seed
    cells/<key>.safetensors its first samples, to look at
    estimates/<key>.json    what the work was thought to take
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mezzotint.core.condition import Condition
from mezzotint.core.config import count
from mezzotint.core.errors import Refusal
from mezzotint.core.folder import check_folder, sha256, write_text
from mezzotint.core.rng import Rng
from mezzotint.core.spec import build, spec
from mezzotint.core.stop import poll
from mezzotint.core.store import load_model, load_tensors, model_folder, save_tensors
from mezzotint.evidence import keys
from mezzotint.evidence.recipe import Arm, Setting, Trained, Training
from mezzotint.metrics.features import Features, load_extractor
from mezzotint.metrics.recorded_network import digest
from mezzotint.training.checkpoint import reconstruct
from mezzotint.training.run import CHECKPOINTS, Run
from mezzotint.training.start import train

SHOWN = 36, 4_096
"""Samples of an arm that are kept to look at: so many, or as many as have so many entries together."""
FILE = "mezzotint_recipe_file"
"""Part of the module names of recipes that are files, and so of the parts they define."""
KEPT = ("trainings", "judge", "cells", "estimates")
"""The folders of what is kept."""
END = "end.json"
"""What a run folder holds once its training is over."""

Names = tuple[str, ...]
Tell = Callable[[float], None]
"""Told which share of a task is done."""


@dataclass(frozen=True)
class Estimate:
    """Seconds on one process, by task.

    Arguments:
        fits: of a training, by the names of the arm and of the training, and by those that lead to a needed one.
        draws: of an arm's samples.
    """

    fits: Mapping[Names, float]
    draws: Mapping[str, float]

    def seconds(self, jobs: int) -> float:
        """What a paired seed takes on so many processes, at least as long as its longest chain."""
        work = sum(self.fits.values()) + sum(self.draws.values())
        longest: dict[int, float] = {}  # by how deep a training is needed: one after the other
        for path, seconds in self.fits.items():
            longest[len(path)] = max(longest.get(len(path), 0.0), seconds)
        chain = sum(longest.values()) + max(self.draws.values(), default=0.0)
        return max(work / jobs, chain)


@dataclass(frozen=True)
class Work:
    """An experiment with its setting, in its work folder.

    Arguments:
        experiment: what is done.
        size: which of the recipe's it is.
        setting: its numbers, as edited.
        recipe: the hash of the recipe's own code.
        folder: where finished work lies.
    """

    experiment: Trained
    size: str
    setting: Setting
    recipe: str
    folder: Path

    @cached_property
    def arms(self) -> Mapping[str, Arm]:
        """The arms at this setting."""
        found = self.experiment.arms(self.setting)
        if not isinstance(found, Mapping) or not found:
            raise Refusal(f"arms are a mapping from names to Arm(...), at least one, not {found!r:.80}")
        if any(FILE in json.dumps(one.tree(0)) for arm in found.values() for _, one in everything(arm)):
            raise Refusal(
                "a part of your own that is trained with is named in the run's config, so it needs a package of yours "
                "with the entry point mezzotint.parts; samplers, measures and pipelines may stand in the recipe file"
            )
        return found

    @cached_property
    def cond(self) -> Condition:
        """The condition of every sample."""
        cond = self.experiment.cond(self.setting)
        if not isinstance(cond, Condition):
            raise Refusal(f"the condition of the samples is a core.Condition, but this recipe's is {cond!r:.80}")
        if len(cond) not in (0, self.setting.samples):
            raise Refusal(f"{len(cond)} conditions for {self.setting.samples} samples: give one of each per sample")
        return cond

    @cached_property
    def judge_key(self) -> str:
        """The key of the judge, and of whatever else is the same for all arms and seeds."""
        read = [keys.contents(spec(data)) for data in self.experiment.data(self.setting)]
        return keys.digest(self.size, dict(self.setting), self.recipe, read, keys.package(), *keys.machine())

    def cell_key(self, arm: str, seed: int) -> str:
        """The key of an arm's numbers at a seed."""
        chosen = self.arms[arm]
        trained = {name: keys.of(one, seed) for name, one in sorted(chosen.trainings.items())}
        return keys.digest(arm, seed, trained, self.judge_key, *([dict(chosen.at)] if chosen.at else []))

    def estimated(self, jobs: int) -> Estimate | None:
        """What was estimated before, so that a run which was stopped goes on at once, or None."""
        try:
            found = json.loads(self._estimate(jobs).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return Estimate({tuple(path): s for path, s in found["fits"]}, found["draws"])

    def keep(self, estimate: Estimate, jobs: int) -> None:
        """Write an estimate down."""
        fits = [[list(path), seconds] for path, seconds in estimate.fits.items()]
        self._estimate(jobs).parent.mkdir(parents=True, exist_ok=True)
        write_text(self._estimate(jobs), json.dumps({"fits": fits, "draws": dict(estimate.draws)}))

    def _estimate(self, jobs: int) -> Path:
        return self.folder / "estimates" / f"{keys.digest(self.judge_key, jobs)}.json"

    def run(self, training: Training, seed: int) -> Path:
        """The run folder of a training at a seed."""
        return self.folder / "trainings" / keys.of(training, seed)

    def training(self, arm: str, names: Sequence[str]) -> Training:
        """A training of an arm by its name, or one that it needs by further names."""
        found = self.arms[arm].trainings[names[0]]
        for name in names[1:]:
            found = found.needs[name]
        return found

    def trained(self, training: Training, seed: int) -> bool:
        """Whether that run has come to its end; it has a model from its first checkpoint on."""
        return (self.run(training, seed) / END).is_file()

    def cell(self, arm: str, seed: int) -> dict[str, Any] | None:
        """What was measured of an arm at a seed, or None."""
        path = self.folder / "cells" / f"{self.cell_key(arm, seed)}.json"
        try:
            found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return found

    def shown(self, arm: str, seed: int) -> Tensor | None:
        """The first samples of an arm at a seed, or None."""
        path = self.folder / "cells" / f"{self.cell_key(arm, seed)}.safetensors"
        return load_tensors(path)["x"] if path.is_file() else None

    def fit(self, training: Training, seed: int, tell: Tell) -> None:
        """Train to the end, from wherever an earlier attempt came to."""
        folder = self.run(training, seed)
        if self.trained(training, seed):
            return
        needs = {name: str(self._finished(need, seed).resolve()) for name, need in training.needs.items()}
        saved = [folder / CHECKPOINTS / f"{images:010d}" for images in _checkpoints(folder)]
        begun = (folder / "config.yaml").is_file() and (not saved or any(map(_whole, saved)))
        if not begun:
            shutil.rmtree(folder, ignore_errors=True)  # no config yet, or nothing whole to go on from: made anew
        train(training.tree(seed, needs), folder, resume=begun, progress=lambda p: tell(p.images / p.total))
        write_text(folder / END, json.dumps({"sha256": _weights(folder)}))

    def _finished(self, training: Training, seed: int) -> Path:
        """The folder of a run that is over, refused and removed where its model is damaged."""
        folder = self.run(training, seed)
        if not _whole(folder / "model"):
            shutil.rmtree(folder, ignore_errors=True)
            raise Refusal(f"the model in {str(folder)!r} was damaged and is removed; start again to train it anew")
        return folder

    def judged(self) -> Features | None:
        """The judge, trained where it is not there."""
        if self.experiment.judge is None:
            return None
        folder = self.folder / "judge" / self.judge_key
        if _whole(folder):
            return load_extractor(folder)
        extractor = self.experiment.judge(self.setting)
        if not isinstance(extractor, Features):
            raise Refusal(
                f"a judge is an extractor such as metrics.Extractor, which can be kept, but this recipe's is "
                f"{extractor!r:.80}"
            )
        extractor.save(folder)
        return extractor

    def measure(self, arm: str, seed: int, tell: Tell) -> None:
        """Draw the samples of an arm and keep their numbers."""
        if self.cell(arm, seed) is not None:
            return
        start = time.perf_counter()
        chosen = self.arms[arm]
        folders = {name: self._finished(training, seed) for name, training in chosen.trainings.items()}
        models = {name: load_model(folder, device()) for name, folder in folders.items()}
        for name, share in chosen.at.items():
            taken(folders[name], chosen.trainings[name], share, models[name])
        pipeline, total, batch = chosen.pipeline(models), self.setting.samples, self.setting.batch
        rng, pieces = sample_keys(seed, total), list[Tensor]()
        with torch.no_grad():
            for first in range(0, total, batch):
                poll()
                rows = slice(first, min(first + batch, total))
                pieces.append(pipeline(self.cond[rows] if self.cond else self.cond, rng[rows]).cpu())
                tell(rows.stop / total)
        x = torch.cat(pieces)
        numbers = _numbers(self.experiment.measure(self.setting, x, self.cond, self.judged()))
        facts = chosen.facts(models)
        numbers |= _numbers(facts) if facts else {}
        key = self.cell_key(arm, seed)
        weights = {" @".join(names): _weights(self.run(one, seed)) for names, one in everything(chosen)}
        weights |= {name: digest(models[name]) for name in chosen.at}  # those on the way, and not at the end
        found = {
            "arm": arm,
            "seed": seed,
            "numbers": numbers,
            "weights": dict(sorted(weights.items())),
            "seconds": round(time.perf_counter() - start, 2),
        }
        folder = self.folder / "cells"
        folder.mkdir(parents=True, exist_ok=True)
        save_tensors(folder / f".{key}.tmp", {"x": x[: max(SHOWN[0], SHOWN[1] // max(1, x[0].numel()))]})
        (folder / f".{key}.tmp").replace(folder / f"{key}.safetensors")
        write_text(folder / f"{key}.json", json.dumps(found, indent=1))


def taken(folder: Path, training: Training, share: float, model: Any) -> None:
    """Put the first average of the checkpoint at a share of a training into a model.

    Raises:
        Refusal: no checkpoint lies within a twentieth of the run from there.
    """
    run, total = Run(folder), count(training.training.images)
    found = min(run.checkpoints(), key=lambda images: abs(images - share * total))
    if abs(found - share * total) > total / 20 + training.training.batch:
        raise Refusal(
            f"no checkpoint lies at {share:g} of {total} images, the nearest is that of {found}: let the trainer save "
            "as often as it is asked for"
        )
    reconstruct(run, training.training.averages[0], model, found)


def everything(arm: Arm) -> Iterator[tuple[Names, Training]]:
    """The trainings of an arm and those that they need, what is needed first, by the names that lead there."""

    def below(path: Names, training: Training) -> Iterator[tuple[Names, Training]]:
        for name, need in training.needs.items():
            yield from below((*path, name), need)
        yield path, training

    for name, training in arm.trainings.items():
        yield from below((name,), training)


def _checkpoints(folder: Path) -> list[int]:
    return Run(folder).checkpoints() if (folder / CHECKPOINTS).is_dir() else []


def _whole(folder: Path) -> bool:
    """Whether a folder is there and is what its manifest says."""
    try:
        check_folder(folder)
    except Refusal:
        return False
    return True


def _numbers(found: object) -> dict[str, float]:
    """What a measure returned, as numbers by name."""
    if not isinstance(found, Mapping) or not found:
        raise Refusal(f"a measure returns numbers by name, {{'accuracy': 0.9}}, at least one, not {found!r:.80}")
    numbers: dict[str, float] = {}
    for name, value in found.items():
        try:
            numbers[str(name)] = float(value)
        except (TypeError, ValueError):
            kind = type(value).__name__
            raise Refusal(f"a measure returns plain numbers, but its {name!r} is a {kind}: {value!r:.60}") from None
    return numbers


def device() -> torch.device:
    """Where models are trained and sampled: the first GPU, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def sample_keys(seed: int, count: int) -> Rng:
    """The keys of the samples of a paired seed: the same for every arm, so arms share their noise."""
    return Rng([seed]).at("samples").repeat(count).at(torch.arange(count))


def untrained(training: Training, seed: int = 0, folders: Mapping[str, str] | None = None) -> Any:
    """The model of a training before its first step; ``folders`` are those of the runs that it needs."""
    torch.manual_seed(seed)
    model: torch.nn.Module = build(training.tree(seed, folders)["model"])
    return model.eval().requires_grad_(False).to(device())


def _weights(run: Path) -> str:
    """The hash of the weights a run has exported."""
    return sha256(model_folder(run) / "model.safetensors")
