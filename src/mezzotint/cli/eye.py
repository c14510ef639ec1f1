"""The extractor and the segmenter that an evaluation keeps beside its model."""

from __future__ import annotations

from mezzotint.cli.console import note
from mezzotint.core.errors import Refusal
from mezzotint.core.store import model_folder
from mezzotint.data import Data
from mezzotint.metrics import Extractor, Segmenter
from mezzotint.metrics.layouts import layouts_digest, learnt
from mezzotint.metrics.report import TRAIN_LIMIT, trained
from mezzotint.metrics.seen import digest


def kept(run: str, train: Data, held_out: Data) -> Extractor:
    """The extractor kept beside the model; trained, and kept, where there is none for these pictures."""
    folder = model_folder(run)
    home = (folder.parent if folder.name == "model" else folder) / "extractor"
    if home.is_dir():
        try:
            found = Extractor.load(home)
            if found.record["train"]["sha256"] == digest(train, "the training pictures", TRAIN_LIMIT):
                return found
            note("the extractor kept with the run was trained on other pictures; training a new one")
        except (Refusal, KeyError, TypeError) as error:
            note(f"training the extractor anew: {error}")
    made = trained(train, held_out)
    made.save(home)
    return made


def kept_segmenter(run: str, train: Data, held_out: Data, things: tuple[str, ...]) -> Segmenter:
    """The segmenter kept beside the model; trained, and kept, where there is none for these pictures and layouts."""
    folder = model_folder(run)
    home = (folder.parent if folder.name == "model" else folder) / "segmenter"
    if home.is_dir():
        try:
            found = Segmenter.load(home)
            if found.classes >= len(things) and found.record["train"]["sha256"] == layouts_digest(train):
                return found
            note("the segmenter kept with the run was trained on other pictures; training a new one")
        except (Refusal, KeyError, TypeError) as error:
            note(f"training the segmenter anew: {error}")
    note("training a segmenter on the training pictures and their layouts: a minute or two, once a run")
    made = learnt(train, held_out, things=things)
    made.save(home)
    return made
