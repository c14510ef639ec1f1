"""A model of pictures from layouts: told by spatially-adaptive norms in the decoder, and trained in two phases.

In the first phase it always hears its layout; in the second, shorter and slower, the layout is dropped now and then, so
that the model learns to do without and can be guided away from that. What else the data tell goes where
:mod:`.told` has it, and is dropped alike.

Source: Wang et al. 2022, "Semantic image synthesis via diffusion models" (2207.00050, section 3).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

from mezzotint.conditions.layout import Layout
from mezzotint.core.config import count
from mezzotint.core.errors import Refusal
from mezzotint.core.spec import build, spec
from mezzotint.data.data import Data
from mezzotint.evidence.recipe import Training
from mezzotint.recipes import classes
from mezzotint.training.phase import Phase
from mezzotint.training.rate import Rate

PORTS = ("decoder", "input")
SECOND = 3 / 16
"""The share of the run that is its second phase: 1,500 steps of 8,000."""
DROPPED = 0.2
"""How often a layout is dropped in it."""
SLOWER = 0.2
"""The second phase's rate over the first one's: 2e-5 over 1e-4 in the paper's code."""
REST = 0.2
"""The share of the second phase over which its rate falls to zero. The paper's never falls; what is learnt there is a
null that nothing has prepared, so little of a short phase is given away."""


def usual(
    data: Data,
    images: int | str = "200k",
    width: int = 32,
    steps: int = 18,
    peak: float = 1e-3,
    batch: int = classes.BATCH,
    *,
    port: str = "decoder",
    hidden: int = 32,
    channels: int = 16,
    edges: bool = True,
    second: float = SECOND,
    dropped: float = DROPPED,
    saves: int = 4,
) -> Training:
    """The training of an EDM model of ``data`` that follows their layouts.

    Arguments:
        data: pictures that tell a ``layout``, with instances or edges beside it or without.
        images: how long, both phases together.
        width: channels of the U-Net at full size.
        steps: of the model's usual sampler (Heun).
        peak: the learning rate of the first phase, which stays where it is; that of the second is a fifth of it, and
            falls to zero at the end.
        batch: images a step.
        port: ``"decoder"`` for spatially-adaptive norms in the middle and on the way up, ``"input"`` for concatenation
            to the noisy picture.
        hidden: channels inside these norms.
        channels: of the vectors that stand for things.
        edges: whether the model is told where instances end, where the data know it.
        second: the share of the run that is the second phase; 0 for none.
        dropped: how often the layout, and whatever else is told, is dropped in it.
        saves: checkpoints on the way.

    Raises:
        Refusal: the data tell no layout.
    """
    if port not in PORTS:
        raise Refusal(f"a layout is told at the port {' or '.join(PORTS)}, not {port!r}")
    made = classes.usual(data, images, width, steps, peak, batch=batch)
    model: Any = made.model
    told = {} if model.encoder is None else {name: model.encoder[name] for name in model.encoder.families}
    found = told.get("layout")
    if not isinstance(found, Layout):
        raise Refusal(
            "these data tell no layout, and this recipe is for pictures that follow one; declare the column of maps, "
            "or give a folder with pictures/ and layouts/"
        )
    layout = Layout(found.count, channels, port, found.edges and edges, found.things)
    others = model.network.maps - found.width
    decoder = {"decoder_maps": layout.width, "hidden": hidden} if port == "decoder" else {}
    maps = others if port == "decoder" else others + layout.width
    network = _again(model.network, maps=maps, **decoder)
    encoder = type(model.encoder)(**{**told, "layout": layout})
    trainer = _phased(cast(Any, made.training), peak, second, dropped)
    trainer = replace(trainer, save=max(trainer.batch, count(images) // saves))
    return Training(_again(model, network=network, encoder=encoder), made.data, trainer)


def _phased(trainer: Any, peak: float, second: float, dropped: float) -> Any:
    """A trainer whose first phase drops nothing at a constant rate, and whose second one drops and comes to rest."""
    warm = min(5_000, count(trainer.images) // 10)
    objective = _again(trainer.objective, dropout=0.0)
    first = Rate(peak, warmup=warm, cooldown=0.0)
    then = (Phase(1 - second, _again(objective, dropout=dropped), Rate(SLOWER * peak, 0, REST)),) if second else ()
    return replace(trainer, objective=objective, rate=first, then=then)


def _again(part: Any, **changes: Any) -> Any:
    """A part made again with other arguments."""
    return build({**spec(part), **{name: _plain(value) for name, value in changes.items()}})


def _plain(value: Any) -> Any:
    return value if isinstance(value, bool | int | float | str) else spec(value)


def of_data(
    data: Data,
    images: int | str = "200k",
    width: int = 32,
    steps: int = 18,
    seed: int = 0,
    peak: float = 1e-3,
    batch: int = classes.BATCH,
) -> dict[str, Any]:
    """The config of that training at a seed, as ``mezzotint train`` takes it; arguments as for :func:`usual`."""
    return usual(data, images, width, steps, peak, batch).tree(seed)
