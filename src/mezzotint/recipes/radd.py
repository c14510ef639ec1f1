"""A masked text says by itself what it was: no time is told, four losses are one, and calls are saved."""

from dataclasses import replace

from mezzotint import evidence as ev
from mezzotint.evidence import Arm, Numbers, Recipe, Seen, Setting, Statistic, Verdict
from mezzotint.objectives import LevelBound
from mezzotint.recipes import enumerated, texts

TITLE = "Your absorbing discrete diffusion secretly models the conditional distributions of clean data"
SETS, FIRST, TOLD = ("chain", "text"), "lambda-DCE", "told the level"


def arms(s: Setting) -> dict[str, Arm]:
    def arm(name: str, loss: str, judge: str = FIRST, level: bool = False) -> Arm:
        trained = {"model": texts.training(s, name, texts.LOSSES[loss], level)}
        return Arm(trained, lambda models: texts.nats(s, name, models["model"], texts.LOSSES[judge]))

    made = {"chain, exact": Arm({}, lambda models: texts.nats(s, "chain", texts.truth(s), LevelBound()))}
    for name in SETS:
        made |= {f"{name}, {loss}": arm(name, loss) for loss in texts.LOSSES}
        made |= {f"{name}, judged by {loss}": arm(name, FIRST, loss) for loss in texts.LOSSES if loss != FIRST}
        made[f"{name}, {TOLD}"] = arm(name, FIRST, level=True)
    return made


def verdict(seen: Seen) -> Verdict:
    def more(one: str, other: str) -> Statistic:
        return lambda n: n[one]["nats"] - n[other]["nats"]

    def apart(name: str, way: str) -> Statistic:
        def furthest(n: Numbers) -> float:
            rows = [n[f"{name}, {way}{loss}"]["nats"] for loss in texts.LOSSES if loss != FIRST]
            return max(abs(nats / n[f"{name}, {FIRST}"]["nats"] - 1) for nats in rows)

        return furthest

    told = [seen.at_most(f"{k}: nats more than {TOLD}", more(f"{k}, {FIRST}", f"{k}, {TOLD}"), 0.02) for k in SETS]
    trained = [seen.at_most(f"{k}: models of four losses apart", apart(k, ""), 0.02) for k in SETS]
    judged = [seen.at_most(f"{k}: four losses of one model apart", apart(k, "judged by "), 0.02) for k in SETS]
    floor = seen.at_most("chain: nats above the exact answers'", more(f"chain, {FIRST}", "chain, exact"), 0.02)
    return seen.all(*told, *trained, *judged, floor)


EXACT = ev.Closed(
    criterion="""Total variation halves, within 0.4 to 0.6, as steps double from 8 to 64; the kernel printed in D3PM is
    at least 5 times worse at 64; every loss within 4 standard errors of the cross-entropy; calls after the first
    within 3 % of (n - 1) (1 - (1 - 1/n)^64); no symbol differs between a run that keeps answers and one that does
    not.""",
    departures="A random table of 3^3 texts a seed, and a chain of 4 symbols for the calls.",
    measure=enumerated.measure, verdict=enumerated.verdict, figures=enumerated.figures, seeds=(10, 11, 12),
    setting=enumerated.SETTING, minutes=1,
)  # fmt: skip
SMALL = ev.Trained(
    criterion="""Held-out nats a symbol: not told the level at most 0.02 above told; models of the four losses within
    2 % of lambda-DCE's; the four losses of one model within 2 % of each other; on the chain at most 0.02 above the
    exact answers.""",
    departures=texts.DEPARTURES,
    arms=arms, measure=texts.measure, verdict=verdict, data=texts.sets, seeds=(10, 11, 12), minutes=20,
    setting=texts.SETTING,
)  # fmt: skip
RECIPE = Recipe(
    paper=ev.Paper(TITLE, "Ou et al.", 2024, "2406.03736"),
    claim="""A network of masked text needs no time: without it likelihoods are as good; four losses, two of diffusion
    and two of any-order models among them, train and measure the same; answers kept until a symbol changes save calls,
    however many steps are taken.""",
    published={
        "WikiText-2, perplexity, small": {"SEDD, told the time": 41.84, "lambda-DCE": 39.98, "t-DCE": 39.02,
                                          "t-DSE": 38.83, "AO": 38.26},
    },
    sizes={
        "exact": EXACT,
        "small": SMALL,
        "full": replace(SMALL, minutes=240, setting=texts.LARGE, departures=texts.LESS),
    },
)  # fmt: skip
