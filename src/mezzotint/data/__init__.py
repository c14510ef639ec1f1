"""Data sets: pictures with their conditions, read in batches and split for good."""

from mezzotint.data import check
from mezzotint.data.arrays import Arrays
from mezzotint.data.bucket import Bucket
from mezzotint.data.buckets import Buckets
from mezzotint.data.cached import Cached
from mezzotint.data.camvid import CamVid
from mezzotint.data.chain import Chain
from mezzotint.data.cifar10 import CIFAR10
from mezzotint.data.corpus import Corpus
from mezzotint.data.data import Data
from mezzotint.data.derived import Derived, Measured
from mezzotint.data.digits import Digits
from mezzotint.data.ecg5000 import ECG5000
from mezzotint.data.emoji import Emoji
from mezzotint.data.eye_state import EyeState
from mezzotint.data.facades import Facades
from mezzotint.data.fashion import FashionMNIST
from mezzotint.data.flipped import Flipped
from mezzotint.data.flowers import Flowers
from mezzotint.data.folder import Folder
from mezzotint.data.fractal import Fractal
from mezzotint.data.huggingface import HuggingFace
from mezzotint.data.map_file import layout_file
from mezzotint.data.mitbih import MITBIH
from mezzotint.data.mnist import MNIST
from mezzotint.data.olivetti import Olivetti
from mezzotint.data.pairs import Pairs
from mezzotint.data.palette import Palette
from mezzotint.data.recorded import Recorded
from mezzotint.data.root import find
from mezzotint.data.scenes.scenes import Scenes
from mezzotint.data.scenes.video import SceneVideos
from mezzotint.data.shaded import Shaded
from mezzotint.data.shards import Shards
from mezzotint.data.table import Table
from mezzotint.data.text_file import TextFile
from mezzotint.data.timeseries import TimeSeries
from mezzotint.data.untold import Untold

__all__ = [
    "CIFAR10",
    "ECG5000",
    "MITBIH",
    "MNIST",
    "Measured",
    "Arrays",
    "Bucket",
    "Buckets",
    "Cached",
    "CamVid",
    "Chain",
    "Corpus",
    "Data",
    "Derived",
    "Digits",
    "Emoji",
    "EyeState",
    "Facades",
    "FashionMNIST",
    "Flipped",
    "Flowers",
    "Folder",
    "Fractal",
    "HuggingFace",
    "Olivetti",
    "Pairs",
    "Palette",
    "Recorded",
    "SceneVideos",
    "Scenes",
    "Shaded",
    "Shards",
    "Table",
    "TextFile",
    "TimeSeries",
    "Untold",
    "check",
    "find",
    "layout_file",
]
