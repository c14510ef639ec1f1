"""A layout that speaks after every norm of the decoder is followed better than one that is laid beside the picture."""

from dataclasses import replace

from mezzotint import evidence as ev
from mezzotint.evidence import Recipe
from mezzotint.recipes import laid_out, layouts_exact

SMALL = ev.Trained(
    criterion="""At the earliest checkpoint of the first phase at which, by the means over seeds, the better of SPADE
    and concatenation reaches 80 % of the mean IoU of real pictures: SPADE's mean IoU at least as high and its Fréchet
    distance at most as large, unless both are within twice that of real pictures, which decides nothing. After the
    second phase, SPADE with guidance 1.5 against without: mean IoU at least 0.01 higher, or within 0.01 of real
    pictures; distance at most 1.05 times; diversity under one layout 0.6 to 1 times. Parameters of both networks
    within 5 %.""",
    departures=laid_out.DEPARTURES,
    arms=laid_out.arms, measure=laid_out.measure, verdict=laid_out.verdict, figures=laid_out.figures,
    judge=laid_out.judge, cond=laid_out.asked, data=laid_out.sets, seeds=(10, 11, 12), minutes=20,
    setting=laid_out.SETTING, dials=("images", "samples"),
)  # fmt: skip
RECIPE = Recipe(
    paper=ev.Paper("Semantic image synthesis via diffusion models", "Wang et al.", 2022, "2207.00050"),
    claim="""A denoiser follows a layout better, and draws better pictures, where the layout enters its decoder by
    spatially-adaptive norms than where it is concatenated to the noisy picture; guidance away from no layout improves
    both further, at some loss of variety.""",
    published={
        "FID, 256 pixels": {"ADE20K": 27.5, "COCO-Stuff": 15.9, "CelebAMask-HQ": 18.8, "Cityscapes": 42.1},
        "FID of SPADE, 256 pixels": {"ADE20K": 33.9, "COCO-Stuff": 22.6, "CelebAMask-HQ": 29.2, "Cityscapes": 71.8},
    },
    sizes={
        "exact": layouts_exact.EXACT,
        "small": SMALL,
        "full": replace(SMALL, minutes=900, setting=laid_out.LARGE, departures=laid_out.LESS),
    },
)
