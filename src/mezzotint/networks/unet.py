"""The U-Net: look at the picture at several sizes, and carry every fine detail straight across to the way back up.

On the way down, each level runs a few residual blocks (and attention where the map is small enough), keeps every result
and halves the size. In the middle the coarsest map is worked on once more. On the way up, each level runs one block
more than on the way down, each reading one kept result beside its input, and restores the size. The noise level (and
the context's vector) modulates every block; the context's tokens, such as a text's, are read by cross-attention.

    h_0 = conv(x);   down: h_i = block(h_{i-1}, e);   up: h <- block([h, h_i], e);   answer = conv(act(norm(h)))

The last convolution starts at zero, so a fresh network answers exactly zero. One class holds the family: DDPM and
diffusers' UNet2DModel (``film=False``), DDPM++ (``gain``, ``project``) and ADM (``film``, ``resample="inside"``).
Sources: Denoising Diffusion Probabilistic Models, arXiv 2006.11239, appendix B; Diffusion Models Beat GANs on Image
Synthesis, arXiv 2105.05233, section 3; Elucidating the Design Space, arXiv 2206.00364, table 1 and appendix F;
cross-attention: Latent Diffusion, arXiv 2112.10752, section 3.3; maps in the decoder: arXiv 2207.00050.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mezzotint.core.errors import Refusal
from mezzotint.core.spec import Module
from mezzotint.networks.attention import Attention, heads_of
from mezzotint.networks.context import EMPTY, Context, Output
from mezzotint.networks.cross_attention import CrossAttention, SpatialCrossAttention
from mezzotint.networks.embed import Fourier, Level, Sinusoid
from mezzotint.networks.inputs import Told, check_rank, check_wanted, joined, maps_at, per_sample, told
from mezzotint.networks.residual import ACTIVATIONS, Residual, Style
from mezzotint.networks.space import Down, Up, channels_last, convolution, grown, halved
from mezzotint.networks.spatial_norm import resized

MIDDLES = ("attention", "unnormed", "plain", "none")
RESAMPLES = ("convolution", "inside", "mean")


class Block(nn.Module):
    """A residual block and, where asked for, attention after it: of the map to itself, then to the context's tokens."""

    def __init__(
        self, inputs: int, outputs: int, style: Style, attention: bool, tokens: int | None, told: bool = False
    ) -> None:
        super().__init__()
        self.residual = Residual(inputs, outputs, style, told=told)
        self.attention = Attention(outputs, style.norm(outputs), style.head, style.gain) if attention else None
        self.cross = None if tokens is None else _reader(outputs, style, tokens)

    def forward(self, x: Tensor, e: Tensor, said: Told | None, maps: Tensor | None = None) -> Tensor:
        """Features (B, outputs, *space)."""
        h: Tensor = self.residual(x, e, None, maps)
        if self.attention is not None:
            h = self.attention(h)
        return h if self.cross is None or said is None else self.cross(h, *said)


class Stage(nn.Module):
    """One level in one direction: its blocks, then what leads to the next level, if there is one."""

    blocks: Iterable[nn.Module]
    resample: nn.Module | None

    def __init__(self, blocks: Sequence[Block], resample: nn.Module | None) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.resample = resample


class UNet(Module):
    """A U-Net over one, two or three axes of space.

    ``want`` knows ``down.k``, ``mid`` and ``up.k``: the features (B, C_k, *space_k) that leave level k's last block,
    level 0 being the finest.

    Arguments:
        shape: of one sample, (C, L), (C, H, W) or (C, T, H, W). Other sizes may be given to ``forward``.
        width: channels after the first convolution and at multiplier 1; e has four times as many features.
        multipliers: channels of each level over ``width``, finest first; each further level halves the size.
        blocks: residual blocks per level on the way down; there is one more per level on the way up.
        attention: levels with self-attention in their blocks; -1 is the coarsest.
        attention_up: the same for the way up; None repeats ``attention``.
        attention_last: on the way up, only the last block of such a level attends (DDPM++).
        middle: between the ways, two residual blocks around an ``"attention"`` (or an ``"unnormed"`` one, as diffusers
            has with scale_shift), two ``"plain"`` ones, or ``"none"``.
        head: fewest channels per attention head, met exactly where it divides a level's channels; None: one head.
        vector: features of ``context.vector``; None takes no vector. An absent vector counts as zeros.
        tokens: features of ``context.tokens``; None takes none. Where they are absent, or ``context.mask`` leaves out
            all of a row's, nothing is read.
        cross: levels whose blocks read the tokens, both ways; None: the blocks with self-attention. The middle reads
            them where it has self-attention.
        early: the vector enters before the noise MLP instead of after it (DDPM++).
        maps: channels of ``context.maps["input"]``, concatenated to x; they come at x's size, or as (B, maps).
        decoder_maps: channels of ``context.maps["decoder"]``, which the middle and the way up are told by spatially
            adaptive norms at every level (:mod:`.spatial_norm`); the way down sees x alone. They come at any size, so
            that codes are told maps of pictures, or as (B, decoder_maps).
        hidden: channels inside these norms, the dial for what they cost.
        outputs: channels of the answer; None: as many as ``shape`` has.
        embedding: waves of the noise, or None for ``Sinusoid(width)``, which fits ln(sigma)/4 in about [-2, 2].
        film: the level scales and shifts after each second norm (ADM) instead of being added before it (DDPM).
        resample: what changes the size between levels: a ``"convolution"`` (DDPM), a residual block with the change
            ``"inside"`` (ADM, DDPM++), or plain ``"mean"`` and nearest neighbour without weights.
        project: with ``"inside"``, a 1x1 convolution on the straight path of such blocks (DDPM++).
        padding: with ``"convolution"``, of the halving one; 0 pads the far side only (DDPM).
        groups: most groups a norm has.
        least: fewest channels in a group.
        eps: of every norm.
        activation: in the blocks, ``"silu"``, ``"gelu"``, ``"relu"`` or ``"mish"``.
        dropout: probability, drawn from torch's own generator.
        gain: multiplies every sum of two branches; sqrt(1/2) in DDPM++. What is read from tokens is added without it,
            so that a network which is given tokens later starts as it was.

    Raises:
        Refusal: if the arguments do not describe a network.
    """

    def __init__(
        self,
        shape: Sequence[int],
        width: int = 64,
        multipliers: Sequence[float] = (1, 2),
        blocks: int = 1,
        attention: Sequence[int] = (-1,),
        *,
        attention_up: Sequence[int] | None = None,
        attention_last: bool = False,
        middle: str = "attention",
        head: int | None = 64,
        vector: int | None = 128,
        tokens: int | None = None,
        cross: Sequence[int] | None = None,
        early: bool = False,
        maps: int = 0,
        decoder_maps: int = 0,
        hidden: int = 128,
        outputs: int | None = None,
        embedding: Sinusoid | Fourier | None = None,
        film: bool = True,
        resample: str = "convolution",
        project: bool = False,
        padding: int = 1,
        groups: int = 32,
        least: int = 8,
        eps: float = 1e-5,
        activation: str = "silu",
        dropout: float = 0.0,
        gain: float = 1.0,
    ) -> None:
        super().__init__()
        if len(shape) not in (2, 3, 4) or min(shape) < 1:
            raise Refusal(
                f"a U-Net takes shapes (C, L), (C, H, W) or (C, T, H, W) with positive sizes, not {tuple(shape)}"
            )
        if middle not in MIDDLES:
            raise Refusal(f"middle is one of {', '.join(MIDDLES)}, not {middle!r}")
        if activation not in ACTIVATIONS:
            raise Refusal(f"activation is one of {', '.join(ACTIVATIONS)}, not {activation!r}")
        if resample not in RESAMPLES:
            raise Refusal(f"resample is one of {', '.join(RESAMPLES)}, not {resample!r}")
        if (project and resample != "inside") or (padding != 1 and (resample != "convolution" or padding != 0)):
            raise Refusal(
                f"project is for resample='inside' and padding=0 for 'convolution'; with {resample!r} leave them alone"
            )
        inside, learnt = resample == "inside", resample == "convolution"
        channels = [round(width * factor) for factor in multipliers]
        if not channels or min(channels) < 1 or blocks < 1:
            raise Refusal(
                f"a U-Net needs a level with channels and a block, not channels {channels} and {blocks} blocks"
            )
        for name, least_allowed, given in (
            ("head", 1, head),
            ("groups", 1, groups),
            ("least", 1, least),
            ("maps", 0, maps),
            ("decoder_maps", 0, decoder_maps),
            ("hidden", 1, hidden),
            ("tokens", 1, tokens),
        ):
            if given is not None and given < least_allowed:
                raise Refusal(f"{name} is at least {least_allowed}, not {given}")
        if cross is not None and tokens is None:
            raise Refusal(f"cross={tuple(cross)} names levels that read tokens; say how wide these are (tokens=128)")
        downwards = _levels("attention", attention, len(channels))
        upwards = downwards if attention_up is None else _levels("attention_up", attention_up, len(channels))
        reading = None if cross is None else _levels("cross", cross, len(channels))

        self.shape = tuple(shape)
        self.dims = len(shape) - 1
        self.maps, self.decoder_maps, self.tokens = maps, decoder_maps, tokens
        shared = (self.dims, 4 * width, film, groups, least, eps, head, activation, dropout, gain)
        style, spatial = Style(*shared, decoder_maps, hidden), decoder_maps > 0
        self.activation = ACTIVATIONS[activation]
        self.level = Level(embedding or Sinusoid(width), 4 * width, vector, early)
        self.enter = convolution(self.dims, shape[0] + maps, width)

        def block(inputs: int, k: int, attend: bool, told: bool = False) -> Block:
            reads = attend if reading is None else k in reading
            return Block(inputs, channels[k], style, attend, tokens if reads else None, told)

        kept = [width]
        down: list[Stage] = []
        for k, C in enumerate(channels):
            members = [block(kept[-1] if i == 0 else C, k, k in downwards) for i in range(blocks)]
            kept += [C] * blocks
            halve: nn.Module | None = None
            if k < len(channels) - 1:
                halve = Residual(C, C, style, halved, project) if inside else Down(self.dims, C, learnt, padding)
                kept.append(C)
            down.append(Stage(members, halve))

        C = channels[-1]
        self.mid: nn.ModuleList | None = None
        self.mid_cross: SpatialCrossAttention | None = None
        if middle != "none":
            self.mid = nn.ModuleList([Residual(C, C, style, told=spatial) for _ in range(2)])
            if middle != "plain":
                normed = style.norm(C) if middle == "attention" else nn.Identity()
                self.mid.insert(1, Attention(C, normed, head, gain))
                self.mid_cross = None if tokens is None else _reader(C, style, tokens)

        up: list[Stage] = []
        before = C
        for k, C in reversed(list(enumerate(channels))):
            members = []
            for i in range(blocks + 1):
                attend = k in upwards and (i == blocks or not attention_last)
                members.append(block(before + kept.pop(), k, attend, spatial))
                before = C
            grow: nn.Module | None = None
            if k > 0:
                grow = Residual(C, C, style, grown, project, spatial) if inside else Up(self.dims, C, learnt)
            up.append(Stage(members, grow))

        self.down: Sequence[Stage] = nn.ModuleList(down)  # type: ignore[assignment]
        self.up: Sequence[Stage] = nn.ModuleList(reversed(up))  # type: ignore[assignment]
        self.norm = style.norm(before)
        self.leave = convolution(self.dims, before, outputs or shape[0], zero=True)
        if tokens is not None and not any(isinstance(module, CrossAttention) for module in self.modules()):
            raise Refusal("no block reads the tokens; name levels that do, as cross=(-1,), or leave tokens alone")

    @property
    def wants(self) -> tuple[str, ...]:
        """The names ``want`` knows, in the order they are computed."""
        levels = range(len(self.down))
        mid = () if self.mid is None else ("mid",)
        return (*(f"down.{k}" for k in levels), *mid, *(f"up.{k}" for k in reversed(levels)))

    def forward(self, x: Tensor, noise: Tensor, context: Context = EMPTY, want: Sequence[str] = ()) -> Tensor | Output:
        """The answer (B, outputs, *space), with features in an :class:`Output` where ``want`` names some.

        Arguments:
            x: (B, C, *space), any size.
            noise: (B,), or one value per sample in any shape of B entries, or one value for all.
            context: ``vector``, ``tokens`` with ``mask``, ``maps["input"]`` and ``maps["decoder"]`` as declared.
            want: names from ``wants``.

        Raises:
            Refusal: if a shape, a slot of the context or a wanted name does not fit.
        """
        check_wanted(want, self.wants)
        check_rank(x, self.shape)
        context.only("vector", "maps", *(("tokens", "mask") if self.tokens is not None else ()))
        said = told(context, len(x), self.tokens)
        e = self.activation(self.level(per_sample(noise, x), context.vector))
        aux: dict[str, Tensor] = {}

        ports = ("decoder",) if self.decoder_maps else ()
        h = channels_last(self.enter(joined(x, context, self.maps, ports)))
        told_maps = maps_at(x, context, "decoder", self.decoder_maps, any_size=True) if self.decoder_maps else None
        maps = None if told_maps is None else channels_last(told_maps)
        kept = [h]
        for k, stage in enumerate(self.down):
            for block in stage.blocks:
                h = block(h, e, said)
                kept.append(h)
            if (name := f"down.{k}") in want:
                aux[name] = h
            if stage.resample is not None:
                h = stage.resample(h, e)
                kept.append(h)

        for layer in self.mid or ():
            if not isinstance(layer, Attention):
                h = layer(h, e, None, maps)
                continue
            h = layer(h)
            if self.mid_cross is not None and said is not None:
                h = self.mid_cross(h, *said)
        if "mid" in want:
            aux["mid"] = h

        for k in reversed(range(len(self.up))):
            stage = self.up[k]
            here = None if maps is None else resized(maps, h.shape[2:])  # once a level
            for block in stage.blocks:
                h = block(torch.cat((h, kept.pop()), dim=1), e, said, here)
            if (name := f"up.{k}") in want:
                aux[name] = h
            if stage.resample is not None:
                told_too = (maps,) if isinstance(stage.resample, Residual) else ()
                h = stage.resample(h, e, kept[-1].shape[2:], *told_too)

        sample: Tensor = self.leave(F.silu(self.norm(h)))
        return Output(sample, aux) if want else sample


def _reader(channels: int, style: Style, tokens: int) -> SpatialCrossAttention:
    attention = CrossAttention(channels, heads_of(channels, style.head), tokens)
    return SpatialCrossAttention(style.norm(channels), attention)


def _levels(name: str, chosen: Sequence[int], count: int) -> set[int]:
    for k in chosen:
        if not -count <= k < count:
            raise Refusal(f"{name} names levels 0 to {count - 1} (or -1 for the last), not {k}")
    return {k % count for k in chosen}
