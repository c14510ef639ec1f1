"""Quality against evaluations: few steps of a solver of high order against many steps of a simple one."""

from dataclasses import replace

from mezzotint.evidence import Arm, Closed, Figure, Paper, Real, Recipe, Seen, Setting, Trained, Verdict, at, ratio
from mezzotint.recipes import clothes, orders
from mezzotint.samplers import Churn, Euler, Multistep, Sampler, Sampling, UniPC

SOLVERS: dict[str, Sampler] = {"DDIM": Euler(9), "Heun": Churn(9), "2M": Multistep(9), "UniPC-2": UniPC(9)}
ALL = SOLVERS | {"3M": Multistep(9, order=3), "UniPC-3": UniPC(9, order=3)}  # EDM's Heun is Churn without churn
ORDERS = {"DDIM": 1, "Heun": 2, "2M": 2, "3M": 3, "UniPC-2": 3}
COUNTS = {"DDIM": (10, 15, 35, 200), "Heun": (9, 15, 35), "2M": (10, 15), "UniPC-2": (10, 15)}


def arms(s: Setting) -> dict[str, Arm]:
    trained = {"model": clothes.training(s)}

    def drawn(name: str, n: int) -> Arm:
        sampler = replace(SOLVERS[name], steps=(n + 1) // 2 if name == "Heun" else n)
        return Arm(trained, lambda models: Sampling(sampler, models["model"]))

    made = {f"{name}, {n}": drawn(name, n) for name, counts in COUNTS.items() for n in counts}
    return made | {"real": Arm({}, lambda models: Real(clothes.pictures(s, "validation")))}


def exact(seen: Seen) -> Verdict:
    near = [seen.within(f"the order of {k}", at(k, "order"), order, 0.25) for k, order in ORDERS.items()]
    return seen.all(*near, seen.at_least("the order of UniPC-3", at("UniPC-3", "order"), 3.5))


def verdict(seen: Seen) -> Verdict:
    pairs = ("Heun, 35", "DDIM, 200", 1.1), ("2M, 10", "DDIM, 10", 0.75), ("UniPC-2, 10", "DDIM, 10", 0.75)
    distances = [(f"{a} over {b}", ratio(at(a, "frechet"), at(b, "frechet")), most) for a, b, most in pairs]
    return seen.all(*(seen.at_most(*asked) for asked in distances))


def figures(seen: Seen) -> list[Figure]:
    lines = {k: [(n, seen.mean(at(f"{k}, {n}", "frechet"))) for n in v if n < 200] for k, v in COUNTS.items()}
    return [Figure("Quality against evaluations", "evaluations", "Fréchet distance", lines)]


EXACT = Closed(
    criterion="Orders of convergence between 80 and 320 steps within 0.25 of theirs; UniPC-3's at least 3.5.",
    departures="""A random mixture a seed, against 960 steps; where an error changes its sign between 80 and 320 steps,
    the slope is not the order.""",
    measure=orders.orders(ALL), verdict=exact, seeds=(10, 11, 12), setting=orders.SETTING,
)  # fmt: skip
SMALL = Trained(
    criterion="""The Fréchet distance of Heun at 35 evaluations is at most 1.1 times that of DDIM at 200; those of 2M
    and UniPC-2 at 10 are at least 25 % below that of DDIM at 10.""",
    departures=clothes.DEPARTURES + " One model and one noise for all samplers.",
    arms=arms, measure=clothes.measure, verdict=verdict, figures=figures, cond=clothes.labels, judge=clothes.judge,
    data=clothes.sets, seeds=(10, 11, 12), minutes=20, setting=clothes.SETTING,
)  # fmt: skip
RECIPE = Recipe(
    paper=Paper(
        "Elucidating the design space of diffusion-based generative models", "Karras et al.", 2022, "2206.00364"
    ),
    claim="""Heun's method on EDM's grid reaches in 35 evaluations the quality that older samplers need hundreds for; at
    few evaluations, multistep methods of order 2 and more (DPM-Solver++, UniPC) are ahead of DDIM.""",
    published={"CIFAR-10, FID at 35 evaluations": {"class-conditional": 1.79, "unconditional": 1.97}},
    sizes={
        "exact": EXACT,
        "small": SMALL,
        "full": replace(SMALL, minutes=240, setting=clothes.LARGE, departures=clothes.LESS),
    },
)
