"""The extractor that an evaluation keeps beside its model."""

from __future__ import annotations

from mezzotint.cli.console import note
from mezzotint.core.errors import Refusal
from mezzotint.core.store import model_folder
from mezzotint.data import Data
from mezzotint.metrics import Extractor
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
