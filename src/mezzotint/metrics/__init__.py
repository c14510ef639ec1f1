"""Measures of samples: each with counts and a 95 % interval, beside what real pictures score in their place."""

from mezzotint.metrics.classifier import Classifier
from mezzotint.metrics.coverage import coverage, density, precision, recall
from mezzotint.metrics.diversity import pairwise_distance
from mezzotint.metrics.encoder_decoder import EncoderDecoder
from mezzotint.metrics.energy import energy_distance
from mezzotint.metrics.estimate import Estimate
from mezzotint.metrics.extractor import Extractor
from mezzotint.metrics.features import Features, check_apart, load_extractor
from mezzotint.metrics.fidelity import psnr, psnr_each, ssim, ssim_each
from mezzotint.metrics.following import following
from mezzotint.metrics.frechet import frechet, frechet_infinity, frechet_of, gaussian_frechet
from mezzotint.metrics.judge import Judge
from mezzotint.metrics.kernel import kernel_distance, kid, kid_subsets
from mezzotint.metrics.memorisation import cells_of, copying
from mezzotint.metrics.moments import Moments, gather
from mezzotint.metrics.neighbours import close_share, nearest, neighbour_ratio, neighbours
from mezzotint.metrics.network import NetworkExtractor
from mezzotint.metrics.onnx_file import OnnxExtractor
from mezzotint.metrics.patches import patch_wasserstein
from mezzotint.metrics.perceptual import feature_distance, feature_distances
from mezzotint.metrics.record import Difference, Record, compare, unlike
from mezzotint.metrics.report import Report, evaluate, records
from mezzotint.metrics.score import extractor_score, split_scores
from mezzotint.metrics.segmentation import class_iou, confusion, mean_iou, pixel_accuracy, segmentation
from mezzotint.metrics.segmenter import Segmenter
from mezzotint.metrics.sliced import sliced_wasserstein
from mezzotint.metrics.sweep import Sweep, sweep
from mezzotint.metrics.train_on_synthetic import Scores, beside_real, classification_accuracy, train_on_synthetic

__all__ = [
    "Classifier",
    "Difference",
    "EncoderDecoder",
    "Estimate",
    "Extractor",
    "Features",
    "Judge",
    "Moments",
    "NetworkExtractor",
    "OnnxExtractor",
    "Record",
    "Report",
    "Scores",
    "Segmenter",
    "Sweep",
    "beside_real",
    "cells_of",
    "check_apart",
    "class_iou",
    "classification_accuracy",
    "close_share",
    "compare",
    "confusion",
    "copying",
    "coverage",
    "density",
    "energy_distance",
    "evaluate",
    "extractor_score",
    "feature_distance",
    "feature_distances",
    "following",
    "frechet",
    "frechet_infinity",
    "frechet_of",
    "gather",
    "gaussian_frechet",
    "kernel_distance",
    "kid",
    "kid_subsets",
    "load_extractor",
    "mean_iou",
    "nearest",
    "neighbour_ratio",
    "neighbours",
    "pairwise_distance",
    "patch_wasserstein",
    "pixel_accuracy",
    "precision",
    "psnr",
    "psnr_each",
    "recall",
    "records",
    "segmentation",
    "sliced_wasserstein",
    "split_scores",
    "ssim",
    "ssim_each",
    "sweep",
    "train_on_synthetic",
    "unlike",
]
