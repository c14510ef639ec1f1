"""A stranger's recipe in two stages: codes of digits, trained once, and two models of them at every seed."""

from dataclasses import replace

from mezzotint.autoencoders import Encoded
from mezzotint.data import Digits, Untold
from mezzotint.denoiser import Tokens
from mezzotint.evidence import Arm, Paper, Recipe, Trained, Training, at
from mezzotint.networks import TokenTransformer
from mezzotint.objectives import LevelBound
from mezzotint.processes import Absorbing
from mezzotint.recipes import codes
from mezzotint.samplers import Ancestral, Sampling
from mezzotint.training import Trainer

VOCAB, LATENT = 8, (4, 4)


def autoencoder(s):
    return replace(codes.usual(Digits(), "vq", s.codes, width=8, vocab=VOCAB, down=1, code=4), once=True)


def model(s, images):
    network = TokenTransformer(VOCAB + 1, VOCAB, LATENT, s.width, 1, 2)
    data = Encoded(Untold(Digits()), "@vq", LATENT, VOCAB)
    trainer = Trainer(LevelBound(), images=images, batch=32, averages=(0.1,), sampler=Ancestral(2))
    return Training(Tokens(network, Absorbing(VOCAB)), data, trainer, needs={"vq": autoencoder(s)})


def arms(s):
    def drawn(models):
        return Sampling(Ancestral(2), models["model"], decode=lambda z, cond: models["vq"].decode(z))

    def arm(images):
        return Arm({"model": model(s, images), "vq": autoencoder(s)}, drawn, lambda models: {"codes": VOCAB})

    return {"short": arm(s.images), "long": arm(2 * s.images)}


RECIPE = Recipe(
    paper=Paper("A paper", "Somebody", 2026, "0000.00000"),
    claim="It can be done.",
    published={},
    sizes={
        "small": Trained(
            criterion="It is.",
            departures="Digits.",
            arms=arms,
            measure=lambda s, x, cond, judge: {"mean": float(x.mean()), "pixels": x[0].numel()},
            verdict=lambda seen: seen.all(seen.always("pixels", at("long", "pixels"), 64.0)),
            seeds=(1, 2),
            minutes=1,
            setting={"images": 128, "codes": 256, "width": 8, "samples": 8, "batch": 4},
        ),
    },
)
