"""Stopping after k steps and going on, for everything the recipes train: is it the run that was not stopped?"""

from __future__ import annotations

import copy
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import trial

import mezzotint as mz
from mezzotint.core.errors import Refusal
from mezzotint.evidence.load import load
from mezzotint.evidence.recipe import Setting, Trained
from mezzotint.objectives import (
    Bound,
    Classification,
    Denoising,
    Hybrid,
    Importance,
    Itself,
    LogNormal,
    Reconstruction,
    UniformTimes,
)
from mezzotint.recipes import chains
from mezzotint.recipes.find import origins
from mezzotint.training.recorder import Recorder
from mezzotint.training.stop import Stopped

SMALL = {"images": "1k", "guide_images": "1k", "samples": "8", "batch": "8", "width": "8", "guide_width": "8"}
SMALL |= {"train_batch": "64", "depth": "3", "steps": "2"}
STEPS, SAVE = 7, 4


@dataclass(frozen=True)
class Case:
    """A training of a recipe, shrunk; or why it is left out.

    Arguments:
        name: recipe, arm and training.
        tree: its config.
        missing: what it lacks.
    """

    name: str
    tree: dict[str, Any]
    missing: str = ""

    def __str__(self) -> str:
        return self.name


def cases() -> Iterator[Case]:
    """Every different training of every recipe of the package at its small size."""
    seen: list[Any] = []
    for slug, origin in sorted(origins().items()):
        if not origin.startswith("mezzotint."):
            continue
        recipe = load(origin).recipe
        experiment = recipe.sizes.get("small")
        if not isinstance(experiment, Trained):
            continue
        numbers = [f"{name}={value}" for name, value in SMALL.items() if name in experiment.setting]
        try:
            arms = experiment.arms(Setting(experiment.setting).edited(numbers))
        except (Refusal, OSError) as why:
            yield Case(slug, {}, str(why))
            continue
        for arm, chosen in arms.items():
            for name, training in chosen.trainings.items():
                if training.needs:
                    yield Case(f"{slug}: {arm}, {name}", {}, "it needs the run of another training")
                    continue
                tree = shrunk(training.tree(3))
                if tree not in seen:
                    seen.append(tree)
                    yield Case(f"{slug}: {arm}, {name}", tree)


def others() -> Iterator[Case]:
    """Every other kind of network and objective, and what has a state of its own to remember, on the digits."""
    digits = mz.data.Digits()
    encoder = mz.conditions.Encoder(label=mz.conditions.Classes(10, 16))

    def denoiser(network: torch.nn.Module, process: Any = None, **more: Any) -> Any:
        more = {"sigma_data": digits.std} | more
        return mz.denoiser.Preconditioned(network, process or mz.processes.EDM(), copy.deepcopy(encoder), **more)

    def unet(**more: Any) -> Any:
        return mz.networks.UNet((1, 8, 8), **{"width": 8, "multipliers": (1, 2), "vector": 16, **more})

    plain, shape = Denoising(LogNormal(), dropout=0.1), digits.shape
    kinds: dict[str, tuple[Any, Any, dict[str, Any]]] = {
        "dropout layers in bf16": (denoiser(unet(dropout=0.2)), plain, {"precision": "bf16"}),
        "DiT": (denoiser(mz.networks.DiT(shape, width=16, depth=2, heads=2, vector=16)), plain, {}),
        "U-ViT": (denoiser(mz.networks.UViT(shape, width=16, depth=2, heads=2, vector=16)), plain, {}),
        "an energy": (denoiser(mz.networks.Potential(mz.networks.MLP(shape, width=16, depth=1, vector=16))), plain, {}),
        "a variance by the hybrid loss": (
            denoiser(unet(outputs=2), mz.processes.DDPM(steps=20), prediction="v", variance=True),
            Hybrid(Denoising(UniformTimes(steps=20)), 20),
            {"sampler": mz.spec(mz.samplers.Ancestral(2))},
        ),
        "a decoder that says the site itself": (denoiser(unet()), Itself(plain), {}),
        "the bound at remembered levels": (
            denoiser(unet(outputs=2), mz.processes.DDPM(steps=20), prediction="v", variance=True),
            Bound(20, levels=Importance(4, 2), shades=17),
            {"sampler": mz.spec(mz.samplers.Ancestral(2))},
        ),
        "a classifier of noisy pictures": (
            mz.rewards.NoiseAwareClassifier(unet(outputs=10, vector=None), mz.processes.EDM(), digits.std),
            Classification(),
            {},
        ),
        "codes of a codebook by averages, and a discriminator": (
            mz.autoencoders.VQ(shape, vocab=40, width=8, code=4),
            Reconstruction(
                feature=1.0, adversarial=0.1, discriminator=mz.networks.PatchDiscriminator(shape, 8, 1), start=512
            ),
            {},
        ),
        "codes of a codebook by gradient": (
            mz.autoencoders.VQ(shape, vocab=40, width=8, code=4, codebook=mz.autoencoders.CodebookLoss(revive=0.5)),
            Reconstruction(l1=1.0),
            {},
        ),
        "codes that are real numbers": (mz.autoencoders.KL(shape, width=8), Reconstruction(kl=1e-3), {}),
    }
    for name, (model, objective, more) in kinds.items():
        tree = mz.recipes.of_data(digits, images=1_024, width=8, steps=1)
        tree["training"] |= {"objective": mz.spec(objective), **more}
        yield Case(name, shrunk({**tree, "model": mz.spec(model)}))
    shades = mz.data.Shaded(digits, 4)
    chain = chains.usual(shades, images=1_024, width=16, stages=2, depth=(1, 1, 1)).tree(0)
    yield Case("a chain of autoregressive stages", shrunk(chain))


def shrunk(tree: dict[str, Any]) -> dict[str, Any]:
    """A config of seven steps in two pieces each, more than a pass where data are few, with log lines out of step."""
    tree = copy.deepcopy(tree)
    batch = 256 if tree["data"]["part"] == "data.Digits" else 16
    tree["training"] |= {"images": STEPS * batch, "batch": batch, "save": SAVE * batch, "log": 3 * batch}
    tree["training"] |= {"picture": STEPS * batch, "accumulate": 2}
    if "steps" in tree["training"]["sampler"]:
        tree["training"]["sampler"]["steps"] = 1
    tree["data"] |= {name: 64 for name in ("size", "held_out_size") if tree["data"]["part"] == "data.Fractal"}
    network = tree["model"].get("network", {})
    if "multipliers" in network:
        network |= {"multipliers": [1] * len(network["multipliers"]), "blocks": 1}
    return tree


def whole(case: Case, folder: Path) -> Path:
    """The run that is not stopped."""
    with trial.few():
        mz.training.train(case.tree, folder)
    return folder


def resumed(case: Case, steps: int, folder: Path, truth: Path, **changes: Any) -> list[str]:
    """What differs where a run is sent a SIGTERM after ``steps`` and goes on.

    Arguments:
        changes: of the training, in the run that is stopped: what must not matter, such as ``workers``.
    """
    tree = {**case.tree, "training": case.tree["training"] | changes}
    images = steps * tree["training"]["batch"]
    with trial.few(), told_to_stop(steps):
        try:
            mz.training.train(tree, folder)
        except Stopped as stopped:
            assert stopped.images == images, stopped
        else:
            return ["it was not stopped"]
    assert mz.training.Run(folder).checkpoints()[-1] == images
    torch.rand(7)  # torch's own generator stands elsewhere when another process goes on
    begun = list[int]()
    with trial.few(), begins(begun):
        mz.training.train(tree, folder, resume=True)
    went_on = [] if begun == [steps] else [f"it began at {begun}"]  # from nothing it would end the same
    return went_on + trial.differences(folder, truth)


@contextmanager
def begins(found: list[int]) -> Iterator[None]:
    """Keep the steps at which trainings begin."""
    resume = Recorder.resume

    def kept(self: Any, place: Any) -> None:
        resume(self, place)
        found.append(place.step)

    Recorder.resume = kept  # type: ignore[method-assign]
    try:
        yield
    finally:
        Recorder.resume = resume  # type: ignore[method-assign]


@contextmanager
def told_to_stop(steps: int) -> Iterator[None]:
    """Send this process a SIGTERM in the last of so many steps of a run; it is obeyed at the end of that step."""
    resume, after = Recorder.resume, Recorder.after

    def first(self: Any, place: Any) -> None:
        resume(self, place)
        if steps == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    def further(self: Any, step: int, *rest: Any) -> None:
        after(self, step, *rest)
        if step == steps - 1:
            os.kill(os.getpid(), signal.SIGTERM)

    Recorder.resume, Recorder.after = first, further  # type: ignore[method-assign]
    try:
        yield
    finally:
        Recorder.resume, Recorder.after = resume, after  # type: ignore[method-assign]
