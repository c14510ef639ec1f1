"""Sets read a piece at a time: the tables and the fingerprint are those of the whole, and no more is in memory."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mezzotint.core import Condition, Refusal
from mezzotint.metrics import Extractor, evaluate, seen
from mezzotint.metrics.pictures import fingerprint, flat, shrink
from mezzotint.metrics.seen import Held, digest, see


class Large:
    """Pictures of 40 x 40 made when they are asked for: small ones, enlarged."""

    def __init__(self, small: torch.Tensor, labels: torch.Tensor) -> None:
        self.small, self.labels, self.most = small, labels, 0

    def __len__(self) -> int:
        return len(self.small)

    def __getitem__(self, rows: object) -> tuple[torch.Tensor, Condition]:
        rows = torch.as_tensor(rows)
        self.most = max(self.most, len(rows))
        big = self.small[rows].repeat_interleave(5, 2).repeat_interleave(5, 3)
        return big.expand(-1, 3, -1, -1), Condition(label=self.labels[rows])


def test_tables_are_those_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seen, "_ENTRIES", 101 * 3 * 40 * 40)
    g = torch.Generator().manual_seed(0)
    source = Large(torch.rand(1000, 1, 8, 8, generator=g) * 3 - 1.5, torch.arange(1000) % 7)
    found = see(source, "the pictures")
    whole, cond = source[range(1000)]
    clamped = whole.clamp(-1, 1)
    assert source.most == 1000 and torch.equal(found.small, shrink(clamped, 32))
    assert np.array_equal(found.coarse, flat(clamped, 16)) and torch.equal(found.labels, cond["label"])
    assert found.sha256 == fingerprint(clamped, cond["label"]) == digest(source, "the pictures")
    source.most = 0
    see(source, "the pictures")
    assert source.most == 101
    some = see(source, "the pictures", 300)
    assert len(some) == 300 and some.sha256 == digest(source, "the pictures", 300) != found.sha256


def test_streamed_samples_score_as_those_in_memory(real: SimpleNamespace, extractor: Extractor) -> None:
    held = real.data.held_out()
    x, y = real.x[:60] + 0.1, real.y[:60]
    one = evaluate(x, y, real.data, held, extractor=extractor, draws=2)
    other = evaluate(Held(x, y), None, real.data, held, extractor=extractor, draws=2)
    assert one.plain() == other.plain()
    with pytest.raises(Refusal, match="leave labels out"):
        evaluate(Held(x, y), y, real.data, held, extractor=extractor)


def test_an_extractor_that_is_given_needs_no_labels(real: SimpleNamespace, extractor: Extractor) -> None:
    report = evaluate(real.x[:50], None, Held(real.x[:300]), Held(real.z), extractor=extractor, draws=0)
    assert "frechet_features" in report.measures and "accuracy" not in report.measures
    assert report.record("frechet_features").how["extractor"] == extractor.sha256


def test_few_and_unfit_pictures_are_refused() -> None:
    with pytest.raises(Refusal, match="the samples are 1, but at least two"):
        see(Held(torch.zeros(1, 1, 8, 8)), "the samples")
    with pytest.raises(Refusal, match="NaN"):
        see(Held(torch.full((700, 1, 8, 8), torch.nan)), "the samples")
    late = torch.zeros(700, 1, 8, 8)
    late[690] = torch.inf
    with pytest.raises(Refusal, match="NaN or infinite"):
        see(Held(late), "the samples")
