"""A small picture enlarged by a second model is better than one drawn at once, but only if that one expects faults."""

from dataclasses import replace

from mezzotint import evidence as ev
from mezzotint.evidence import Recipe
from mezzotint.recipes import enlarging, handing_over

SMALL = ev.Trained(
    criterion="""At the level of noise that one half of the held-out pictures chooses, on the other half: Fréchet
    distance at most 0.9 of that without augmentation and CAS at least as high; truncated within 10 % of not truncated;
    less lost between true and drawn small pictures than without augmentation; the level above 0; and the paper's order,
    cascade with noise, single model of equal training cost, cascade without.""",
    departures=enlarging.DEPARTURES,
    arms=enlarging.arms, measure=enlarging.measure, verdict=enlarging.verdict, figures=enlarging.figures,
    judge=enlarging.judge, cond=enlarging.asked, data=enlarging.sets, seeds=(10, 11, 12), minutes=20,
    setting=enlarging.SETTING, dials=("images", "base", "samples"),
)  # fmt: skip
RECIPE = Recipe(
    paper=ev.Paper(
        "Cascaded diffusion models for high fidelity image generation", "Ho et al.", 2022, "2106.15282"
    ),
    claim="""A cascade of a small base model and super-resolution models draws better pictures than one model, but only
    where the latter were trained on corrupted small pictures and are handed such; corrupting what the base drew and
    stopping the base early do equally well.""",
    published={
        "ImageNet 64 x 64, FID, base of 16 x 16": {
            "no cascade": 2.35, "no augmentation": 6.02, "s = 101 of 4,000": 3.41, "s = 1001 of 4,000": 2.13,
        },
    },
    sizes={
        "exact": handing_over.EXACT,
        "small": SMALL,
        "full": replace(SMALL, minutes=900, setting=enlarging.LARGE, departures=enlarging.LESS),
    },
)  # fmt: skip
