"""What each measure means, when not to trust it, and how to say in plain words what a report found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mezzotint.cli.bar import Bar

if TYPE_CHECKING:
    from mezzotint.metrics.report import Report


@dataclass(frozen=True)
class Words:
    """One measure in words.

    Arguments:
        title: its name for people.
        means: what it is.
        doubt: when not to trust it.
        share: whether it is a share, written in per cent.
    """

    title: str
    means: str
    doubt: str
    share: bool = False

    def number(self, value: float | None) -> str:
        """A value as it is written; what was not computed is a dash."""
        if value is None or value != value:
            return "–"
        return f"{100 * value:.1f} %" if self.share else f"{value:.3g}"


WORDS: dict[str, Words] = {
    "accuracy": Words(
        "Judge accuracy",
        "The share of samples that show the class they were asked for, as seen by a support vector machine that learnt "
        "from the real training pictures. Beside it: the same judge on real held-out pictures, the ceiling.",
        "It is blind to variety: one perfect picture per class, over and over, would score 100 %.",
        share=True,
    ),
    "classification_score": Words(
        "Classification score",
        "A classifier that learns from the samples alone, tested on real held-out pictures. It falls when samples show "
        "the wrong class and when they miss part of what a class looks like.",
        "It does not see copying, and with few samples a class it measures their number more than their quality.",
        share=True,
    ),
    "frechet_features": Words(
        "Fréchet distance, features",
        "How far the samples lie from held-out pictures as a crowd, in the features of a small classifier: it compares "
        "means and covariances. Beside it: as many real training pictures in the samples’ place.",
        "Only the ratio to real travels: the number belongs to this extractor and these counts, and is not the FID of "
        "papers.",
    ),
    "frechet_pixels": Words(
        "Fréchet distance, pixels",
        "The same distance in the pixels themselves, which sees what the features may ignore, such as noise and blur.",
        "Zero would mean equal means and covariances, not equal pictures.",
    ),
    "frechet_infinity": Words(
        "Fréchet distance, infinitely many",
        "What the distance in features would be of infinitely many pictures: distances at several counts, followed "
        "along their line to its end. It frees the number of what few pictures add to it.",
        "Near zero it may be negative, and the interval says by how much; where pictures are few for the features, the "
        "line is bent.",
    ),
    "kid": Words(
        "Kernel distance (KID)",
        "How far the samples lie from held-out pictures as a crowd, by all moments up to the third, in features: the "
        "mean over 100 subsets of at most 1,000. It has no bias at any count, so few pictures are no disadvantage.",
        "The number belongs to this extractor, and may be negative where nothing differs. Of some hundred pictures its "
        "interval is somewhat too short.",
    ),
    "precision": Words(
        "Precision",
        "The share of samples that lie where real pictures are: within the distance of a real picture to its third "
        "nearest, in features.",
        "It compares at equal counts only, and one odd real picture has a wide reach. Drawing one good picture over "
        "and over scores 100 %.",
        share=True,
    ),
    "recall": Words(
        "Recall",
        "The share of real pictures that lie where samples are: within the distance of a sample to its third nearest. "
        "It falls where kinds of pictures are missing.",
        "It compares at equal counts only, and samples that lie far off reach far.",
        share=True,
    ),
    "density": Words(
        "Density",
        "How many real pictures a sample lies near to, over how many it would if it were real: of real pictures 1. "
        "Outliers do not fool it as they do precision.",
        "Above 1 the samples crowd where real pictures are densest, which is no virtue; guidance does it.",
    ),
    "coverage": Words(
        "Coverage",
        "The share of real pictures that have a sample near them, nearer than their fifth nearest real picture.",
        "It compares at equal counts only; real pictures do not reach 100 % either.",
        share=True,
    ),
    "extractor_score": Words(
        "Extractor score",
        "Are single pictures of a clear class, and all of them of many? 1 at worst, the number of classes at best, as "
        "the extractor’s classifier sees them.",
        "It never looks at real pictures: one sharp picture a class, repeated, scores best.",
    ),
    "diversity": Words(
        "Diversity within a class",
        "The mean distance of two samples of one class, in features (in pixels where there are none). Beside it: of "
        "two held-out pictures of one class. Less is collapse, more is noise.",
        "Variety of the wrong kind counts as well.",
    ),
    "sliced_pixels": Words(
        "Sliced Wasserstein distance, pixels",
        "How far apart the pixels of samples and of held-out pictures lie along random lines: whole laws are compared, "
        "not means and covariances alone.",
        "Sets of one law lie apart as well, the more the fewer they are: only the ratio to real travels.",
    ),
    "energy_pixels": Words(
        "Energy distance, pixels",
        "Are samples and held-out pictures as far from each other as among themselves? Zero for equal laws, at any "
        "count.",
        "Near zero it may be negative. In pixels it sees layout and brightness more than detail.",
    ),
    "copying": Words(
        "Copying test (C_T)",
        "Do samples lie as far from the training pictures as held-out ones? A test, cell by cell of the training set, "
        "in units of its own chance: about 0 where nothing is copied, clearly copied below -3.",
        "Far above 0 the samples lie farther off than real pictures do. It grows with the count for one and the same "
        "flaw: how much is copied, the ratio says. Noise hides copies.",
    ),
    "neighbour_ratio": Words(
        "Nearest-neighbour ratio",
        "A test for copying: the mean distance of samples to their nearest training picture, over that of held-out "
        "pictures. New pictures score about 1, copies 0.",
        "Noise hides copies (the distance in pixels then gives them away), and a ratio far above 1 is no virtue.",
    ),
    "close_share": Words(
        "Close share",
        "The share of samples that lie nearer to a training picture than all but the nearest 5 % of held-out pictures "
        "do. New pictures score 5 %.",
        "As above: only the measures together are a judgement.",
        share=True,
    ),
    "follows": Words(
        "Follows its caption",
        "The share of what the captions say that readers, which were fitted to nothing, find in the samples. Beside "
        "it: what they find in real scenes, the ceiling.",
        "Readers abstain where they are not sure, so a blurred picture follows nothing; by chance it is not zero.",
        share=True,
    ),
    "miou": Words(
        "Layouts met (mIoU)",
        "What a segmenter, which learnt from real training pictures, sees in the samples, held against the layouts "
        "they were asked to show: intersection over union of each thing over all pixels, the mean over things. Beside "
        "it: the same of real held-out pictures and their own layouts, the ceiling.",
        "The segmenter may be fooled by what looks like a thing to it alone. It is blind to variety, and small things "
        "count as much as large ones.",
        share=True,
    ),
    "pixel_accuracy": Words(
        "Layouts met, by pixels",
        "The share of pixels that show, to the same segmenter, what the layout asks for there.",
        "One large thing, such as the background, may be most of it.",
        share=True,
    ),
    "miou_read": Words(
        "Layouts met, read",
        "The same mean of intersections over unions by readers of scenes, which were fitted to nothing, of at most 100 "
        "pictures. Beside it: of real scenes, the ceiling.",
        "Where a reader is not sure, the pixel counts as wrong, so a blurred picture scores low whatever it shows.",
        share=True,
    ),
    "layout_diversity": Words(
        "Diversity under one layout",
        "The mean distance of two samples of one layout, in the features of the segmenter (in pixels where there is "
        "none), over several layouts with ten samples each. 0: one picture a layout, whatever the seed.",
        "Nothing real stands beside it, since of a layout there is one real picture. Noise is variety as well: read it "
        "with the distances to real pictures. The number belongs to this segmenter.",
    ),
    "nats_per_symbol": Words(
        "Nats per symbol, at most",
        "What the model needs to say a held-out sample, per symbol: a bound on its likelihood from above.",
        "It is of these symbols: texts in other symbols, or pictures in other shades, have another. It is a bound: the "
        "likelihood itself may be better.",
    ),
    "bits_per_symbol": Words(
        "Bits per symbol, at most",
        "What the model needs to say a held-out sample, per symbol: a bound on its likelihood from above.",
        "It is of these symbols: texts in other symbols, or pictures in other shades, have another. It is a bound: the "
        "likelihood itself may be better.",
    ),
    "psnr": Words(
        "PSNR",
        "How near held-out pictures come back from their codes: 10 log10 of the squared range over the mean squared "
        "error, in dB, the mean over pictures.",
        "It counts errors of pixels, so what comes back blurred may score higher than what looks right.",
    ),
    "code_usage": Words(
        "Codes in use",
        "The share of an autoencoder's symbols that occur among the codes of the pictures judged.",
        "Few pictures cannot use many codes; a symbol that occurs once counts as much as any.",
        share=True,
    ),
    "perplexity": Words(
        "Perplexity of the codes",
        "Exp of the entropy of how often each symbol occurs: that of as many symbols used evenly.",
        "It is of symbols one by one, and says nothing of how they go together.",
    ),
}
GOOD = {
    "psnr": "higher",
    "code_usage": "higher",
    "perplexity": "higher",
    "nats_per_symbol": "lower",
    "bits_per_symbol": "lower",
    "accuracy": "higher",
    "classification_score": "higher",
    "frechet_features": "lower",
    "frechet_pixels": "lower",
    "frechet_infinity": "lower",
    "kid": "lower",
    "precision": "higher",
    "recall": "higher",
    "density": "near 1",
    "coverage": "higher",
    "extractor_score": "higher",
    "diversity": "near real",
    "miou": "higher",
    "pixel_accuracy": "higher",
    "miou_read": "higher",
    "sliced_pixels": "lower",
    "energy_pixels": "lower",
    "neighbour_ratio": "near 1",
    "close_share": "lower",
    "copying": "near 0",
}
"""Which way a measure is good."""
TESTS = ("copying",)
"""Scores of a test: each says by itself what it found, and how far two lie apart is no amount of anything."""


def wish(measure: str) -> str:
    """The same in words: ``higher is better``; nothing where nobody has said it."""
    way = good(measure)
    if way.startswith("near"):
        return "best near that of real pictures" if way == "near real" else f"best {way}"
    return f"{way} is better" if way else ""


def good(measure: str) -> str:
    """Which way a measure is good; nothing where nobody has said it."""
    return GOOD.get(
        measure, "higher" if measure.startswith(("follows", "iou_")) else "lower" if _scale(measure) else ""
    )


def _scale(measure: str) -> str:
    """The pixels of a measure of patches; nothing of another."""
    return measure.removeprefix("patches_") if measure.startswith("patches_") else ""


def words(measure: str) -> Words:
    """The words for a measure, or its bare name for one nobody has described."""
    if measure.startswith("iou_"):
        return Words(f"Layouts met: {measure.removeprefix('iou_')}", "", "", share=True)
    share = measure.startswith("follows")
    if scale := _scale(measure):
        return Words(
            f"Patches at {scale} pixels",
            f"How far apart patches of 7 × 7 lie in samples and in held-out pictures, seen {scale} pixels a side with "
            "all that is coarser taken away but in the smallest: at the largest size edges and noise, at the smallest "
            "layout and colour.",
            "Only the ratio to real travels. It sees textures wherever they are, and no objects.",
        )
    return WORDS.get(measure) or Words(measure.replace("_", " "), "", "", share)


def need(bar: Bar) -> str:
    """What a bar asks for, in the unit of its measure."""
    if bar.of_real:
        return f"at most {bar.limit:g} × real"
    limit = f"{100 * bar.limit:g} %" if words(bar.measure).share else f"{bar.limit:g}"
    return f"at least {limit}"


_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def spell(count: int) -> str:
    """A small count as a word."""
    return _NUMBERS[count] if 0 <= count < len(_NUMBERS) else f"{count:,}"


def headline(report: Report, bars: Mapping[str, Bar]) -> str:
    """Whether the bars hold, in one short line."""
    failed = [words(name).title for name, bar in bars.items() if not bar.holds(report)]
    if not failed:
        return f"All {spell(len(bars))} bars hold."
    what = " and ".join(filter(None, [", ".join(failed[:-1]), failed[-1]]))
    held = len(bars) - len(failed)
    return f"{spell(held).capitalize()} of {spell(len(bars))} bars hold; not met: {what}."


def verdict(report: Report) -> str:
    """What a report found, in one paragraph for somebody who knows none of the measures."""
    said = []
    measures, real = report.measures, report.real
    if "accuracy" in measures:
        said.append(
            f"Asked for a class, the model drew it {100 * measures['accuracy'].value:.1f} times in 100, as an "
            f"independent judge sees it; the judge reads real pictures it never saw right "
            f"{100 * real['accuracy'].value:.1f} times in 100."
        )
    if "classification_score" in measures:
        mine, theirs = (100 * found["classification_score"].value for found in (measures, real))
        said.append(
            f"A classifier that learnt from these samples alone is right on {mine:.1f} % of real held-out pictures; "
            f"one that learnt from as many real pictures, on {theirs:.1f} %."
        )
    if "frechet_pixels" in measures:
        ways = [("in features", "frechet_features"), ("in pixels", "frechet_pixels")]
        times = [f"{report.times_real(name):.2f} times {place}" for place, name in ways if name in measures]
        far = " and ".join(times)
        said.append(f"As a crowd the samples lie {far} as far from held-out pictures as real training pictures do.")
    if "neighbour_ratio" in measures:
        ratio = measures["neighbour_ratio"].value
        near = (
            "they are farther from the training pictures than new pictures are: nothing looks copied, and they are not "
            "yet quite like real ones either"
            if ratio > 1.1
            else "they are no nearer to the training pictures than new pictures are, so nothing here looks copied"
            if ratio >= 0.97
            else "they are a little nearer to the training pictures than new pictures are: the model leans on what it "
            "has seen without repeating it"
            if ratio >= 0.9
            else "they are clearly nearer to the training pictures than new pictures are: a sign of copying"
        )
        said.append(f"With a nearest-neighbour ratio of {ratio:.2f}, {near}.")
    return " ".join(said)
