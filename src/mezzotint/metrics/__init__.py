"""Measures of samples: each with counts and a 95 % interval, beside what real pictures score in their place."""

from mezzotint.metrics.classifier import Classifier
from mezzotint.metrics.coverage import precision, recall
from mezzotint.metrics.energy import energy_distance
from mezzotint.metrics.estimate import Estimate
from mezzotint.metrics.extractor import Extractor
from mezzotint.metrics.features import Features, check_apart, load_extractor
from mezzotint.metrics.following import following
from mezzotint.metrics.frechet import frechet, frechet_infinity, frechet_of, gaussian_frechet
from mezzotint.metrics.judge import Judge, classification_accuracy
from mezzotint.metrics.moments import Moments, gather
from mezzotint.metrics.neighbours import close_share, nearest, neighbour_ratio
from mezzotint.metrics.network import NetworkExtractor
from mezzotint.metrics.onnx_file import OnnxExtractor
from mezzotint.metrics.record import Difference, Record, compare, unlike
from mezzotint.metrics.report import Report, evaluate, records

__all__ = [
    "Classifier",
    "Difference",
    "Estimate",
    "Extractor",
    "Features",
    "Judge",
    "Moments",
    "NetworkExtractor",
    "OnnxExtractor",
    "Record",
    "Report",
    "check_apart",
    "classification_accuracy",
    "close_share",
    "compare",
    "energy_distance",
    "evaluate",
    "following",
    "frechet",
    "frechet_infinity",
    "frechet_of",
    "gather",
    "gaussian_frechet",
    "load_extractor",
    "nearest",
    "neighbour_ratio",
    "precision",
    "recall",
    "records",
    "unlike",
]
