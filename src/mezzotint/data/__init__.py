"""Data sets: pictures with their conditions, read in batches and split for good."""

from mezzotint.data import check
from mezzotint.data.arrays import Arrays
from mezzotint.data.buckets import Buckets
from mezzotint.data.cached import Cached
from mezzotint.data.data import Data
from mezzotint.data.digits import Digits
from mezzotint.data.emoji import Emoji
from mezzotint.data.fashion import FashionMNIST
from mezzotint.data.flipped import Flipped
from mezzotint.data.folder import Folder
from mezzotint.data.fractal import Fractal
from mezzotint.data.huggingface import HuggingFace
from mezzotint.data.recorded import Recorded
from mezzotint.data.root import find
from mezzotint.data.scenes.scenes import Scenes
from mezzotint.data.scenes.video import SceneVideos
from mezzotint.data.shards import Shards
from mezzotint.data.table import Table

__all__ = [
    "Arrays",
    "Buckets",
    "Cached",
    "Data",
    "Digits",
    "Emoji",
    "FashionMNIST",
    "Flipped",
    "Folder",
    "Fractal",
    "HuggingFace",
    "Recorded",
    "SceneVideos",
    "Scenes",
    "Shards",
    "Table",
    "check",
    "find",
]
