"""Beside the claim of context prediction: the same on a masked model of codes, whose neighbours are vectors."""

from dataclasses import replace

from mezzotint import evidence as ev
from mezzotint.evidence import Recipe
from mezzotint.recipes import context_codes

TITLE = "Improving diffusion-based image synthesis with context prediction"
SMALL = ev.Trained(
    criterion="""Frechet distance of decoded samples: with the neighbours' set predicted (s = 1) less than without, and
    less than where the neighbours are another picture's, at every seed.""",
    departures=context_codes.DEPARTURES,
    arms=context_codes.arms, measure=context_codes.measure, verdict=context_codes.verdict, judge=context_codes.judge,
    cond=context_codes.originals, data=context_codes.sets, seeds=(10, 11, 12, 13, 14), minutes=5,
    setting=context_codes.SETTING,
)  # fmt: skip
RECIPE = Recipe(
    paper=ev.Paper(TITLE, "Yang et al.", 2023, "2401.02015"),
    claim="""A masked model of codes whose every place also predicts, while it is trained, the set of the codes around
    it draws better pictures at the same cost.""",
    published={
        # Zero-shot, MS-COCO, 256 pixels: the continuous variant. That of the discrete one could not be read.
        "COCO, FID": {"continuous": 6.21},
    },
    sizes={
        "small": SMALL,
        "full": replace(SMALL, minutes=600, setting=context_codes.LARGE, departures=context_codes.LESS),
    },
)
