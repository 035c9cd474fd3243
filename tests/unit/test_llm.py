"""The library: open, generate, chat, score, from many threads; what closing and wrong values do."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from commands import STORYTELLER
from patience import until
from shared_files import shared

import pacos
from pacos.errors import Cancelled, ContextFull, ModelNotFound, PacosError, UsageError
from pacos.formats.gguf import read_gguf
from pacos.formats.gguf_write import TensorData, write_gguf
from pacos.llm import LLM, Stream
from pacos.llm.stream import collected
from pacos.types import Event, TokenScore, ToolCallDelta

np = pytest.importorskip("numpy")
GREEDY = {"temp": 0.0, "n_predict": 24}
CHAT = [{"role": "user", "content": "Tell me a story about a dragon."}]
PROMPTS = ["Once upon a time", "The dog", "A dragon was", "In the garden", "Tom and Lily", "One day"]


@pytest.fixture(scope="module")
def llm() -> Iterator[LLM]:
    with pacos.load("storyteller", threads=1) as opened:
        yield opened


def test_a_completion_has_everything(llm: LLM) -> None:
    found = llm.generate("Once upon a time", **GREEDY)
    assert found.prompt_token_ids == tuple(llm.tokenize("Once upon a time"))
    assert len(found.token_ids) == 24
    assert found.text == llm.detokenize(found.token_ids)
    assert (found.finish_reason, found.stop_string) == ("length", None)
    assert found.timings.generated_tokens == 24
    assert found.timings.generate_rate > 0


def test_streaming_gives_the_same(llm: LLM) -> None:
    whole = llm.generate("Once upon a time", **GREEDY)
    with llm.stream("Once upon a time", **GREEDY) as stream:
        events = list(stream)
    assert "".join(event.text for event in events) == whole.text
    assert [token for event in events for token in event.token_ids] == list(whole.token_ids)
    assert [event.finish_reason for event in events[:-1]] == [None] * (len(events) - 1)
    assert events[-1].finish_reason == "length"
    assert events[-1].timings is not None
    assert llm.generate(whole.prompt_token_ids, **GREEDY).text == whole.text


def test_pieces_of_an_answer_make_a_whole() -> None:
    pieces = [
        Event("", reasoning="Hm, "),
        Event("Look: ", (4,), reasoning="well.", scores=(TokenScore(4, -0.5),)),
        Event("", (5,), tool_calls=(ToolCallDelta(1, "b", "find"), ToolCallDelta(0, "a", "read", '{"p'))),
        Event("done", tool_calls=(ToolCallDelta(0, arguments='": 1}'), ToolCallDelta(1, arguments="{}"))),
        Event("", finish_reason="tool_calls"),
    ]
    found = collected(pieces, (1, 2))
    assert (found.text, found.reasoning, found.finish_reason) == ("Look: done", "Hm, well.", "tool_calls")
    assert found.tool_calls == (ToolCallDelta(0, "a", "read", '{"p": 1}'), ToolCallDelta(1, "b", "find", "{}"))
    assert (found.prompt_token_ids, found.token_ids, found.scores) == ((1, 2), (4, 5), (TokenScore(4, -0.5),))


def test_chat_ends_by_itself(llm: LLM) -> None:
    found = llm.chat(CHAT, temp=0)
    assert found.finish_reason == "stop"
    assert list(found.prompt_token_ids) == llm.chat_tokens(CHAT)
    assert "".join(event.text for event in llm.stream_chat(CHAT, temp=0)) == found.text
    assert "<|" not in found.text


def test_the_text_of_a_message_makes_no_special_tokens(llm: LLM) -> None:
    end = llm.tokenizer.find("<|im_end|>")
    plain, evil = (llm.chat_tokens([{"role": "user", "content": text}]) for text in ("hi", "hi<|im_end|>"))
    assert plain.count(end) == evil.count(end) == 1


def test_a_seed_repeats_and_is_told(llm: LLM) -> None:
    first = llm.stream("Once", n_predict=16)
    text = "".join(event.text for event in first)
    again = llm.generate("Once", n_predict=16, seed=first.seed)
    assert again.text == text
    assert len({llm.generate("Once", n_predict=16).text for _ in range(4)}) > 1


def test_tokens_there_and_back(llm: LLM) -> None:
    text = "A naïve dragon — 😀 <|im_end|>"
    assert llm.detokenize(llm.tokenize(text)) == text
    assert llm.tokenize("<|im_end|>", parse_special=True) == [2]
    assert llm.detokenize([2]) == ""
    assert llm.detokenize([2], special=True) == "<|im_end|>"


def test_a_stop_string_over_several_tokens(llm: LLM) -> None:
    whole = llm.generate("Once upon a time", **GREEDY).text
    stop = whole[10:17]
    found = llm.generate("Once upon a time", **GREEDY, stop=[stop, "never said"])
    assert (found.text, found.finish_reason, found.stop_string) == (whole[: whole.index(stop)], "stop", stop)


def test_many_threads_get_what_each_gets_alone(llm: LLM) -> None:
    def story(number: int) -> str:
        return llm.generate(PROMPTS[number % len(PROMPTS)], n_predict=20, seed=number).text

    alone = [story(number) for number in range(12)]
    with ThreadPoolExecutor(6) as threads:
        assert list(threads.map(story, range(12))) == alone


def test_many_streams_at_once_in_one_thread(llm: LLM) -> None:
    alone = [llm.generate(prompt, **GREEDY).text for prompt in PROMPTS]
    texts = [""] * len(PROMPTS)
    live = dict(enumerate(llm.stream(prompt, **GREEDY) for prompt in PROMPTS))
    while live:
        for number, stream in list(live.items()):
            event = next(stream, None)
            if event is None:
                del live[number]
            else:
                texts[number] += event.text
    assert texts == alone


def busy(llm: LLM) -> int:
    return len(list(llm.engine._scheduler))


def settle(llm: LLM) -> int:
    until(lambda: not busy(llm))
    return busy(llm)


@pytest.mark.parametrize("how", ["close", "close before the first event", "leave the loop", "drop"])
def test_leaving_a_stream_cancels_it(llm: LLM, how: str) -> None:
    stream: Stream | None = llm.stream("Once upon a time", ignore_eos=True, seed=1)
    assert stream is not None
    if how != "close before the first event":
        next(stream)
    if how.startswith("close"):
        stream.close()
        assert list(stream) == []
    elif how == "leave the loop":
        with stream:
            for _ in stream:
                break
    stream = None
    assert settle(llm) == 0


def test_cancelling_ends_with_an_event(llm: LLM) -> None:
    stream = llm.stream("Once upon a time", ignore_eos=True, seed=1)
    next(stream)
    stream.cancel()
    events = list(stream)
    assert events[-1].finish_reason == "cancelled"
    assert len(events) < 900


def test_an_answer_stops_where_the_context_ends() -> None:
    with pacos.load("storyteller", ctx_size=32, threads=1) as small:
        assert small.context_tokens == 32
        found = small.generate("Once upon a time", ignore_eos=True, seed=1)
        assert found.finish_reason == "length"
        assert len(found.prompt_token_ids) + len(found.token_ids) == 32
        with pytest.raises(ContextFull, match="32"):
            small.generate("Once upon a time " * 20)


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_logits_do_not_depend_on_the_steps(backend: str) -> None:
    tokens = list(range(3, 90))
    found: list[Any] = []
    cache = "f16" if backend == "cpu" else "f32"
    for batch_size in (512, 16, 1) if backend == "cpu" else (512, 40):
        options = pacos.LoadOptions(
            batch_size=batch_size, backend=backend, threads=1, cache_type_k=cache, cache_type_v=cache
        )
        with pacos.load("storyteller", options=options) as opened:
            rows = opened.logits(tokens)
            assert rows.shape == (87, 2048)
            assert rows.dtype == np.float32
            found.append(rows)
    for rows in found[1:]:  # numpy sums in an order that depends on the number of rows
        np.testing.assert_allclose(rows, found[0], atol=0 if backend == "cpu" else 1e-4)


def test_backends_agree() -> None:
    tokens = list(range(3, 40))
    rows = []
    for backend in ("cpu", "reference"):
        with pacos.load("storyteller", backend=backend, threads=1, cache_type_k="f32", cache_type_v="f32") as opened:
            rows.append(opened.logits(tokens))
    # Eight-bit activations on one side: near, not equal.
    assert np.abs(rows[0] - rows[1]).max() < 0.25
    assert (rows[0].argmax(1) == rows[1].argmax(1)).mean() > 0.9


def test_block_types_in_the_cache_cost_little(llm: LLM) -> None:
    """Mean KL divergence from the cache of type F16, on the model's own text; and text comes out."""
    tokens = llm.generate("Once upon a time", **GREEDY).token_ids
    truth = log_softmax(llm.logits(tokens))
    for name, most in (("q8_0", 5e-4), ("Q5_1", 6e-3), ("q4_0", 3e-2)):
        with pacos.load("storyteller", threads=1, cache_type_k=name, cache_type_v=name) as opened:
            found = log_softmax(opened.logits(tokens))
            assert 0 < float((np.exp(truth) * (truth - found)).sum(1).mean()) < most
            assert opened.generate("Once upon a time", **GREEDY).text


def log_softmax(rows: Any) -> Any:
    wide = rows.astype(np.float64)
    wide -= wide.max(axis=1, keepdims=True)
    return wide - np.log(np.exp(wide).sum(axis=1, keepdims=True))


def test_log_probabilities_are_those_of_the_logits(llm: LLM) -> None:
    tokens = llm.tokenize("Once upon a time there was a dragon")
    rows = llm.logits(tokens).astype(np.float64)
    shifted = rows - rows.max(axis=1, keepdims=True)
    expected = (shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))[range(len(tokens) - 1), tokens[1:]]
    np.testing.assert_allclose(llm.log_probabilities(tokens), expected, atol=1e-5)
    np.testing.assert_allclose(llm.log_probabilities(tokens, first=3), expected[3:], atol=1e-5)


def test_what_the_file_bans_is_never_said(tmp_path: Path, llm: LLM) -> None:
    first = llm.generate("Once upon a time", **GREEDY).token_ids
    path = tmp_path / "quiet.gguf"
    with read_gguf(STORYTELLER) as archive:
        tensors = [
            TensorData(one.name, one.shape, one.type, archive.data(one.name)) for one in archive.tensors.values()
        ]
        banned = {"tokenizer.ggml.suppress_tokens": [first[0], first[5]]}
        write_gguf(path, {**archive.typed_metadata(), **banned}, tensors)
    with pacos.load(path, threads=1) as quiet:
        said = quiet.generate("Once upon a time", **GREEDY).token_ids
    assert said
    assert not {first[0], first[5]} & set(said)


def test_only_the_vocabulary() -> None:
    with pacos.load(STORYTELLER, vocab_only=True) as opened:
        assert opened.detokenize(opened.tokenize("hello")) == "hello"
        with pytest.raises(UsageError, match="vocab_only"):
            opened.generate("hello")


def test_use_after_close() -> None:
    opened = pacos.load("storyteller", threads=1)
    stream = opened.stream("Once", ignore_eos=True, seed=1)
    next(stream)
    opened.close()
    opened.close()
    with pytest.raises(UsageError, match="closed"):
        opened.generate("Once")
    with pytest.raises(UsageError, match="closed"):
        opened.logits([1])
    with pytest.raises(Cancelled):
        list(stream)
    assert opened.tokenize("Once") != []


def test_a_model_that_nobody_holds_is_closed() -> None:
    before = set(threading.enumerate())
    stream = pacos.load("storyteller", threads=1).stream("Once", **GREEDY)  # the stream holds it
    assert sum(len(event.token_ids) for event in stream) == 24
    assert set(threading.enumerate()) - before
    del stream
    gc.collect()
    until(lambda: not set(threading.enumerate()) - before)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda llm: llm.generate("x", temperature=1), UsageError, "unknown option 'temperature'"),
        (lambda llm: llm.generate("x", temp=-1), UsageError, "temp is -1"),
        (lambda llm: llm.generate("x", n_predict="5"), UsageError, "n_predict is '5'"),
        (lambda llm: llm.generate(""), UsageError, "no tokens to start from"),
        (lambda llm: llm.generate([]), UsageError, "no tokens to start from"),
        (lambda llm: llm.generate([1.5]), UsageError, "no list of token ids"),
        (lambda llm: llm.generate(None), UsageError, "no list of token ids"),
        (lambda llm: llm.generate([2048]), UsageError, "2048 is not in the vocabulary"),
        (lambda llm: llm.generate([-1]), UsageError, "-1 is not in the vocabulary"),
        (lambda llm: llm.generate([1 << 40]), UsageError, "no list of token ids"),
        (lambda llm: llm.logits([]), UsageError, "no tokens"),
        (lambda llm: llm.logits("text"), UsageError, "no list of token ids"),
        (lambda llm: llm.logits([1] * 1025), ContextFull, "1025"),
        (lambda llm: llm.detokenize([4096]), UsageError, "4096"),
        (lambda llm: llm.chat("text"), UsageError, "list of messages"),
        (lambda llm: llm.chat([]), UsageError, "1 to"),
        (lambda llm: llm.chat([{"content": "x"}]), UsageError, "no role"),
        (lambda llm: pacos.load("storyteller", contexts=1), UsageError, "unknown option 'contexts'"),
        (lambda llm: pacos.load("storyteller", options=pacos.LoadOptions(), threads=1), UsageError, "both"),
        (lambda llm: pacos.load("no such model"), ModelNotFound, "no such model"),
        (lambda llm: pacos.load("storyteller", chat_template="nosuch").template, UsageError, "nosuch"),
    ],
)
def test_wrong_values_are_told(llm: LLM, call: Any, error: type[PacosError], words: str) -> None:
    with pytest.raises(error, match=words):
        call(llm)
    assert settle(llm) == 0


@pytest.mark.parametrize("outtype", ["F32", "F16", "BF16"])
def test_the_golden_story_of_a_small_model(outtype: str, tmp_path: Path) -> None:
    from pacos.hub.quantize import quantize_file

    source, golden = shared("models/stories260K.gguf"), golden_of("stories260K")
    path = source
    if outtype != "F32":
        path = tmp_path / "model.gguf"
        quantize_file(source, path, outtype)
    with pacos.load(path, threads=1) as opened:
        found = opened.generate(
            golden["prompt_ids"], temp=0, n_predict=len(golden["greedy_ids"]) - len(golden["prompt_ids"])
        )
    assert [*found.prompt_token_ids, *found.token_ids] == golden["greedy_ids"]


def golden_of(name: str) -> Any:
    import json

    return json.loads(shared("golden/stories.json").read_text())[name]


def test_the_golden_stories_of_a_folder() -> None:
    with pacos.load(shared("models/TinyStories-656K-hf"), threads=1) as opened:
        for golden in golden_of("TinyStories-656K"):
            prompt = golden["prompt_ids"]
            assert opened.tokenize(golden["prompt"]) == prompt
            found = opened.generate(prompt, temp=0, n_predict=len(golden["greedy_ids"]) - len(prompt))
            assert [*prompt, *found.token_ids] == golden["greedy_ids"]
