"""A few autoregressive stages, each seeing the coarser one whole, draw as well as one and complete much better."""

from dataclasses import replace

from mezzotint import evidence as ev
from mezzotint.evidence import Recipe
from mezzotint.recipes import completion, couplings

TITLE = "ImageBART: bidirectional context with multinomial diffusion for autoregressive image synthesis"
EXACT = ev.Closed(
    criterion="""Total variation, of six binary sites with random couplings: chains of joint stages below 1e-10 at any
    number; factorised ones 0.06 to 0.13 in the mean at 4 (of eight tables a seed), and halved, within 0.4 to 0.6, from
    4 to 8 and from 16 to 32; completing the first half given the second, known sites shown clean, at most 0.75 of what
    raster order comes to in the mean and less at every seed, falling with the number of stages, and less than where
    they are redrawn.""",
    departures="""None but for the tables, and how often: a factorised mean is over eight a seed.""",
    measure=couplings.measure, verdict=couplings.verdict, figures=couplings.figures, seeds=tuple(range(100, 112)),
    minutes=0.5,
)  # fmt: skip
SMALL = ev.Trained(
    criterion="""Of completed pictures, the upper half drawn given codes of the lower: the share that a judge reads as
    what they show at least 0.05 above the autoregressive model's; of whole pictures: Frechet distance at most 1.1 of
    the autoregressive model's, and the factorised chain's of as many steps at least 1.3 of ours; at least half of the
    codes in use.""",
    departures=completion.DEPARTURES,
    arms=completion.arms, measure=completion.measure, verdict=completion.verdict, judge=completion.judge,
    cond=completion.originals, data=completion.sets, seeds=(10, 11, 12), minutes=12, setting=completion.SETTING,
)  # fmt: skip
RECIPE = Recipe(
    paper=ev.Paper(TITLE, "Esser, Rombach, Blattmann and Ommer", 2021, "2108.08827"),
    claim="""Two to five autoregressive stages that invert a multinomial diffusion of codes draw as well as one model in
    raster order at equal cost, complete what lies before what is known much better, because every stage sees the
    coarser one whole, and need a handful of stages where factorised ones need hundreds.""",
    published={
        "FFHQ, FID": {"ImageBART": 9.57, "VQGAN and transformer": 9.6},
        "LSUN bedrooms, FID": {"ImageBART": 5.51, "VQGAN and transformer": 6.35},
        "LSUN churches, FID": {"ImageBART": 7.32, "VQGAN and transformer": 7.81},
        "ImageNet, FID": {"ImageBART": 21.19, "VQGAN and transformer": 17.04},
    },
    sizes={
        "exact": EXACT,
        "small": SMALL,
        "full": replace(SMALL, minutes=600, setting=completion.LARGE, departures=completion.LESS),
    },
)  # fmt: skip
