"""Captions as tokens: what is read, what stands in where nothing is said, and what people are told about it."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

import mezzotint as mz
from mezzotint.conditions import Bytes, Classes, Encoder, Text, TextWarning, Words
from mezzotint.core import NONE, Condition, Refusal, cat
from mezzotint.core.blueprint import blueprint
from mezzotint.core.store import MODEL
from mezzotint.guidance.perturbed import attentions, chosen
from mezzotint.testing.truth import nudge

TEXTS = ["a red circle", "two blue squares left of a circle", "a circle"]
WORDS = Words.of(TEXTS)


def text(**more: object) -> Text:
    """A small encoder of words whose null was trained."""
    arguments = {"tokenizer": WORDS, "width": 16, "heads": 2, "length": 8, "pooled": 5} | more
    made = Text(**arguments)  # type: ignore[arg-type]
    nudge(made)
    made.null_trained.fill_(True)
    return made.eval()


def told(part: Text, texts: list[str], keep: list[bool] | None = None) -> mz.networks.Context:
    return part(Condition(it=texts).values, torch.tensor(keep if keep is not None else [True] * len(texts)))


def test_the_encoder_is_a_transformer_by_torch() -> None:
    """torch.nn.TransformerEncoder with the same weights, told which places are padding."""
    part = text(depth=3)
    layer = nn.TransformerEncoderLayer(16, 2, 64, 0.0, nn.functional.gelu, batch_first=True, norm_first=True)
    twin = nn.TransformerEncoder(layer, 3, norm=nn.LayerNorm(16), enable_nested_tensor=False).eval()
    with torch.no_grad():
        for mine, theirs in zip(part.blocks, twin.layers, strict=True):
            theirs.self_attn.in_proj_weight.copy_(mine.attention.qkv.weight)
            theirs.self_attn.in_proj_bias.zero_()
            theirs.self_attn.out_proj.load_state_dict(mine.attention.out.state_dict())
            theirs.linear1.load_state_dict(mine.mlp.first.state_dict())
            theirs.linear2.load_state_dict(mine.mlp.second.state_dict())
            theirs.norm1.load_state_dict(mine.norm1.state_dict())
            theirs.norm2.load_state_dict(mine.norm2.state_dict())
        twin.norm.load_state_dict(part.norm.state_dict())
        context = told(part, TEXTS)
        for row, one in enumerate(TEXTS):
            known = one.split()
            assert context.mask[row].tolist() == [True] * len(known) + [False] * (8 - len(known))
            h = torch.stack([part.table.weight[WORDS.vocabulary.index(word) + 1] for word in known])
            alone = twin((h + part.places[: len(known)])[None])[0]  # without any padding at all
            torch.testing.assert_close(context.tokens[row, : len(known)], alone, rtol=1e-5, atol=1e-5)
            torch.testing.assert_close(context.vector[row], part.pool(alone.mean(0)), rtol=1e-5, atol=1e-5)


def test_padding_has_no_influence() -> None:
    """Whatever stands behind a text, to the last bit; it leaves as zeros and is never trained."""
    part = text()
    before = told(part, TEXTS)
    with torch.no_grad():
        part.table.weight[0] += 7.0  # what a place without a word looks up
        part.places[7] -= 3.0  # no text is so long
    after = told(part, TEXTS)
    assert torch.equal(before.tokens, after.tokens) and torch.equal(before.vector, after.vector)
    assert not after.tokens[~after.mask].any()
    (after.tokens.square().sum() + after.vector.square().sum()).backward()
    assert not part.places.grad[7].any() and part.places.grad[:7].abs().sum(1).all()
    assert not part.table.weight.grad[0].any() and part.table.weight.grad[1:].abs().sum(1).all()
    short = told(part, [TEXTS[0]])  # beside a longer text or alone
    torch.testing.assert_close(short.tokens[0], after.tokens[0], rtol=1e-6, atol=1e-6)


def test_only_places_tell_the_order_of_words() -> None:
    part = text()
    one, other = "two blue squares", "squares two blue"
    assert (told(part, [one]).vector - told(part, [other]).vector).abs().max() > 1e-3
    with torch.no_grad():
        part.places.zero_()
    first, second = told(part, [one]), told(part, [other])
    torch.testing.assert_close(first.vector, second.vector, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(first.tokens[0, [2, 0, 1]], second.tokens[0, :3], rtol=1e-5, atol=1e-6)


def test_an_unknown_word_adds_nothing_but_its_place() -> None:
    fresh = Text(WORDS, width=16, heads=2, length=8, depth=0)
    assert not fresh.table.weight[0].any() and fresh.table.weight[1:].any(1).all()
    context = fresh(Condition(it=["a zorp circle", "a blick circle"]).values, torch.tensor([True, True]))
    assert torch.equal(context.tokens[0], context.tokens[1])
    torch.testing.assert_close(context.tokens[0, 1], fresh.norm(fresh.places[1]))
    assert context.mask[0].tolist() == [True] * 3 + [False] * 5


def test_an_empty_text_is_a_dropped_one() -> None:
    part = text()
    rows = ["a circle", "", "  \n", "a red circle"]
    with pytest.warns(TextWarning, match="2 of 4 texts say nothing"):
        context = told(part, rows, [True, True, True, False])
    null = part({}, torch.zeros(1, dtype=torch.bool))
    for row in (1, 2, 3):
        assert torch.equal(context.tokens[row], null.tokens[0]) and torch.equal(context.vector[row], null.vector[0])
        assert context.mask[row].tolist() == [True] + [False] * 7
    assert torch.equal(null.tokens[0, 0], part.null)
    assert torch.equal(context.tokens[0], told(part, ["a circle"] * 4).tokens[0])
    spaces = text(tokenizer=Bytes()).train()  # which has a token for a space
    assert torch.equal(told(spaces, [" "]).tokens, spaces({}, torch.zeros(1, dtype=torch.bool)).tokens)


def test_an_empty_text_needs_and_trains_the_null() -> None:
    part = text()
    part.null_trained.fill_(False)
    for ask in (lambda c: part.prepare(c.values), lambda c: Encoder(caption=part).prepare(c)):
        ask(Condition(caption=["a circle"]))
        with pytest.raises(Refusal, match="its null was never trained.*dropout for 'caption'"):
            ask(Condition(caption=["a circle", ""]))
    part.train()
    part.prepare(Condition(caption=[""]).values)  # which is how it learns
    context = told(part, ["a circle", "a red circle"])
    context.vector.sum().backward()
    assert not part.null_trained
    context = told(part, ["a circle", ""])
    context.tokens.sum().backward()
    assert part.null_trained and part.null.grad.abs().sum() > 0


def test_texts_are_cut_into_tokens_once_and_fit_together() -> None:
    encoder = Encoder(caption=text(), label=Classes(3, 5))
    encoder["label"].null_trained.fill_(True)
    apart = [encoder.prepare(Condition(caption=[one], label=[0])) for one in ["a", *TEXTS]]
    joined = cat(apart)
    ids = joined["caption.ids"]
    assert ids.dtype == torch.int64 and ids.shape == (4, 8) and mz.core.text.spoken(joined["caption"]) == ["a", *TEXTS]
    assert (ids[0] >= 0).sum() == 1 and (ids[2] >= 0).sum() == 7
    at_once = encoder.prepare(Condition(caption=["a", *TEXTS], label=[0] * 4))
    assert torch.equal(at_once["caption.ids"], ids)
    raw = encoder(Condition(caption=["a", *TEXTS], label=[0] * 4), 4)  # which nobody prepared
    assert torch.equal(encoder(joined, 4).tokens, raw.tokens)
    assert torch.equal(encoder(joined[[2]], 1).mask, raw.mask[[2]])
    assert encoder.prepare(joined).values.keys() == joined.values.keys()
    for other in (text(tokenizer=Words.of(["one", *TEXTS])), text(tokenizer=Bytes())):
        with pytest.raises(Refusal, match="another tokenizer"):
            other.prepare({name: value for name, value in joined.values.items() if "caption" in name})
    stale = joined | Condition(caption=["two"] * 4)
    with pytest.raises(Refusal, match="other texts"):
        encoder.prepare(stale)


def test_any_family_may_be_text() -> None:
    style = text()
    encoder = Encoder(caption=text(), style=style)
    cond = Condition(caption=TEXTS, style=["a", "", "circle"])
    with pytest.warns(TextWarning, match="1 of 3 texts says nothing"):
        ready = encoder.prepare(cond)
    assert set(ready.values) == {"caption", "caption.ids", "style", "style.ids"}
    context = encoder(ready, 3)
    assert context.tokens.shape == (3, 16, 16) and context.mask.sum(1).tolist() == [3 + 1, 7 + 1, 2 + 1]
    assert encoder(NONE, 2).mask.sum(1).tolist() == [2, 2]


def test_what_is_no_text_is_refused_with_what_would_be() -> None:
    part = text()
    for wrong in (torch.zeros(2, 3), torch.zeros(2, dtype=torch.uint8), torch.tensor([1, 2])):
        with pytest.raises(Refusal, match=r"mz\.Condition\(caption=\['a red circle'\]\).*core\.text\.written"):
            part.prepare({"caption": wrong})
    for odd in ({"caption.scale": torch.ones(1)}, {"caption": mz.core.text.written(["a"]), "caption.x": torch.ones(1)}):
        with pytest.raises(Refusal, match="one text a sample"):
            part.prepare(odd)
    with pytest.raises(Refusal, match="tokenizer"):
        Text("words")  # type: ignore[arg-type]
    with pytest.raises(Refusal, match="positive"):
        Text(WORDS, length=0)
    assert torch.equal(
        part.prepare({"caption": mz.core.text.written(TEXTS)})["caption.ids"],
        part.prepare({"caption": mz.core.text.written(TEXTS, 200)})["caption.ids"],
    )


def test_what_the_model_will_not_hear_is_said() -> None:
    part = text(length=4)
    unknown, cut, empty = part.remarks(["a zorp, blick", "two blue squares left of a circle", "", "a circle"])
    assert "does not know 'zorp', ',', 'blick'" in unknown
    assert "has 7 words" in cut and "reads 4" in cut and "last 3 are lost" in cut and "two blue squares left" in cut
    assert empty.startswith("1 of 4 texts says nothing")
    assert part.remarks(["a circle", "a red circle"]) == []
    assert part.remarks(["zorp"] * 50) == part.remarks(["zorp"])
    (sentence,) = text(length=100).remarks([" ".join(f"zorp{i}" for i in range(20))])
    assert "and 12 more" in sentence
    *some, last = text(length=1).remarks(TEXTS + ["a red", "two blue"])
    assert len(some) == 3 and last.startswith("2 more texts are longer than 1 words")
    (sentence,) = text(tokenizer=Bytes()).remarks(["ein grüner Kreis"])
    assert "17 bytes" in sentence and "last 9 are lost" in sentence


def test_prepare_warns_in_evaluation_and_training_is_silent() -> None:
    part = text(length=4)
    for asked in ("a zorp", "two blue squares left of", ""):
        with pytest.warns(TextWarning):
            part.prepare(Condition(caption=[asked]).values)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = part.prepare(Condition(caption=["a red circle"]).values)
        part.prepare({"caption": mz.core.text.written(["a red circle"]), **made})
        part.train()
        part.prepare(Condition(caption=["a zorp", "two blue squares left of a circle", ""]).values)


def test_the_first_and_the_cut_tokens_of_a_text() -> None:
    part = text(length=4)
    with pytest.warns(TextWarning, match="last 3 are lost"):
        long = part.prepare(Condition(it=["two blue squares left of a circle"]).values)
    assert torch.equal(long["it.ids"], part.prepare(Condition(it=["two blue squares left"]).values)["it.ids"])


def test_captions_in_a_network_with_dropout() -> None:
    """U-ViT reads the tokens; the objective's dropout trains the null, and guidance may then move away from it."""
    encoder = Encoder(caption=Text(WORDS, width=16, heads=2, length=8))
    network = mz.networks.UViT((1, 4, 4), width=16, depth=0, heads=2, vector=None, tokens=16)
    model = mz.denoiser.Preconditioned(network, mz.processes.Flow(), encoder)
    nudge(model)
    cond = Condition(caption=TEXTS * 4)
    x, rng = mz.Rng(range(12)).normal("x", (1, 4, 4)), mz.Rng(range(12))
    objective = mz.objectives.Denoising(dropout={"caption": 0.3})
    objective(model, x, model.prepare(cond), rng).value.sum().backward()
    assert model.nulls == ("caption",)
    model.eval()
    t = torch.full((12,), 0.7, dtype=torch.float64)
    with torch.no_grad():
        ready = model.prepare(cond)
        answer, free = model(x, t, ready).mean, model(x, t).mean
        assert (answer[:3] - answer[3:6]).abs().max() > 1e-3  # x differs
        same = model(x[:1].repeat(3, 1, 1, 1), t[:3], ready[:3]).mean
        assert (same[0] - same[1]).abs().max() > 1e-5 and (same[0] - same[2]).abs().max() > 1e-5
        guided = mz.guidance.CFG(model, 2.0)(x, t, ready).mean
        torch.testing.assert_close(guided, free + 2 * (answer - free), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(model(x, t, model.prepare(Condition(caption=["a"] * 12)).drop()).mean, free)


def test_perturbed_guidance_leaves_words_alone() -> None:
    """The middle is that of the network, however deep the encoder of text is."""
    network = mz.networks.UViT((1, 4, 4), width=16, depth=2, heads=2, vector=None, tokens=16)
    plain = mz.denoiser.Preconditioned(network, mz.processes.Flow())
    model = mz.denoiser.Preconditioned(network, mz.processes.Flow(), Encoder(caption=text(depth=6, pooled=None)))
    assert tuple(attentions(model)) == tuple(attentions(plain)) and chosen(model) == chosen(plain)


def test_a_model_with_captions_is_measured_saved_and_loaded(tmp_path: object) -> None:
    network = mz.networks.UViT((1, 4, 4), width=16, depth=0, heads=2, vector=5, tokens=16)
    model = mz.denoiser.Preconditioned(network, mz.processes.Flow(), Encoder(caption=text())).eval()
    planned = blueprint(mz.spec(model), MODEL)
    assert all(weight.is_meta for weight in planned.parameters())
    mz.core.store.save_model(tmp_path / "model", model)  # type: ignore[operator]
    again = mz.load(tmp_path / "model")  # type: ignore[operator]
    cond, x = Condition(caption=TEXTS), mz.Rng(range(3)).normal("x", (1, 4, 4))
    t = torch.full((3,), 0.7, dtype=torch.float64)
    assert torch.equal(again(x, t, again.prepare(cond)).mean, model(x, t, model.prepare(cond)).mean)
    assert again.nulls == ("caption",)
