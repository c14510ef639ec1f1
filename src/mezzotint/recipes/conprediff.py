"""A denoiser that must also say what stands around every place draws better pictures, at no cost when sampling."""

from dataclasses import replace

from mezzotint import evidence as ev
from mezzotint.evidence import Recipe
from mezzotint.recipes import context, context_exact

CRITERION = """Fréchet distance of {} samples at {} evaluations lower with the set decoder (s = 1) than without it,
    and lower than with the neighbours of another picture (the control), each at 5 of 5 paired seeds; and R2 of the
    eight neighbours, read linearly from the last features at sigma = alpha, higher than without at every seed. The
    weight is that of 0.01, 0.1 and 1 with the lowest mean of the distance to validation pictures, set over base, at
    seeds 0 to 2{}; seeds 10 to 14 are looked at once. Reported, and not counted: control over base, where the control
    does harm the second comparison says nothing; s = 2 (wide) within 5 % above s = 1, the set at most 1.05 times the
    ordered decoder; patches of 3 x 3; completed halves; R2 after the last norm, and less the control's."""
SMALL = ev.Trained(
    criterion=CRITERION.format("5,000", 15, ""),
    departures=context.DEPARTURES,
    arms=context.arms, measure=context.measure, verdict=context.verdict, figures=context.figures,
    judge=context.judge, cond=context.asked, data=context.sets, seeds=(10, 11, 12, 13, 14), minutes=20,
    setting=context.SETTING, dials=("images", "samples"),
)  # fmt: skip
RECIPE = Recipe(
    paper=ev.Paper(
        "Improving diffusion-based image synthesis with context prediction", "Yang et al.", 2023, "2401.02015"
    ),
    claim="""Training a denoiser to predict, beside every point, the distribution of its neighbours through a decoder
    that is thrown away afterwards improves the pictures it draws and completes; sampling costs what it did.""",
    published={
        "MS-COCO 256, zero-shot, FID": {"ConPreDiff": 6.21},
        "inpainting, LPIPS": {"ImageNet": 0.057, "CelebA-HQ": 0.022},
        "unconditional 256, FID": {"FFHQ": 2.24, "CelebA-HQ": 3.22, "LSUN-Bedroom": 1.12, "LSUN-Church": 1.78},
    },
    sizes={
        "exact": context_exact.EXACT,
        "small": SMALL,
        "full": replace(
            SMALL, criterion=CRITERION.format("10,000", 35, " of the size small"), minutes=900,
            setting=context.LARGE, departures=context.LESS,
        ),
    },
)  # fmt: skip
