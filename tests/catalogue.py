"""The table of test_catalogue.py: requests of every kind in the catalogue of bad input, and what becomes of them.

A row is: id of the catalogue and a word, path, body, status, what the answer says. The model is the storyteller, with
2048 tokens and a context of 1024. Bodies in bytes are sent as they are.
"""

from __future__ import annotations

from typing import Any

V, CONTEXT = 2048, 1024
CHAT, TEXT, OWN = "/v1/chat/completions", "/v1/completions", "/completion"
HELLO: dict[str, Any] = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 2}
ONCE: dict[str, Any] = {"prompt": "Once upon a time", "n_predict": 2}
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
MESSAGE = {"model": "storyteller", "max_tokens": 2, "messages": [{"role": "user", "content": "hi"}]}

Row = tuple[str, Any, int, str]


def own(status: int, said: str = "", **fields: Any) -> Row:
    return OWN, {**ONCE, **fields}, status, said


def chat(status: int, said: str = "", **fields: Any) -> Row:
    return CHAT, {**HELLO, **fields}, status, said


def text(status: int, said: str = "", **fields: Any) -> Row:
    return TEXT, {"prompt": "Once", "max_tokens": 2, **fields}, status, said


def llama(status: int, said: str = "", path: str = "/api/generate", **fields: Any) -> Row:
    return path, {"model": "storyteller", "prompt": "hi", "stream": False, **fields}, status, said


def options(status: int, said: str = "", **fields: Any) -> Row:
    return llama(status, said, options={"num_predict": 2, **fields})


EXTREME = {"top_p": 1e-12, "top_k": 1, "min_p": 1.0, "typical_p": 0, "temperature": 1e-9, "top_n_sigma": 0.0}

SAMPLING: dict[str, Row] = {
    "B-10-below": own(400, "temperature is -0.1", temperature=-0.1),
    "B-10-greedy": own(200, temperature=0),
    "B-10-tiny": own(200, temperature=1e-9),
    "B-10-two": own(200, temperature=2),
    "B-10-hundred": own(200, temperature=100),
    "B-10-huge": own(400, "temperature", temperature=1e308),
    "B-11-no-top-p": own(200, top_p=0),
    "B-11-tiny-top-p": own(200, top_p=1e-12),
    "B-11-all": own(200, top_p=1),
    "B-11-more": own(400, "top_p is 1.1", top_p=1.1),
    **{f"B-11-top-k-{k}": own(200, top_k=k) for k in (-1, 0, 1, V, V + 1)},
    "B-11-min-p": own(200, min_p=1.0),
    "B-11-typical-p": own(200, typical_p=0),
    "B-11-together": own(200, **EXTREME),
    "B-12-zero": own(400, "repeat_penalty is 0", repeat_penalty=0),
    "B-12-below": own(400, "repeat_penalty is -1", repeat_penalty=-1),
    "B-12-huge": own(400, "repeat_penalty", repeat_penalty=1e30),
    "B-12-frequency": own(400, "frequency_penalty", frequency_penalty=1e30),
    "B-12-frequency-below": own(400, "frequency_penalty", frequency_penalty=-1e30),
    "B-12-nan": (OWN, b'{"prompt": "x", "presence_penalty": NaN}', 400, "NaN"),
    "B-13-all": own(200, repeat_last_n=-1, repeat_penalty=1.1),
    "B-13-none": own(200, repeat_last_n=0),
    "B-13-most": own(200, repeat_last_n=2**31 - 1, repeat_penalty=1.1),
    "B-13-below": own(400, "repeat_last_n", repeat_last_n=-2),
    "B-13-dry-base-off": own(200, dry_base=0, dry_multiplier=1),
    "B-13-dry-base-below": own(400, "dry_base", dry_base=-1),
    "B-13-dry-length": own(400, "dry_allowed_length", dry_allowed_length=2**31),
    "B-13-breakers": own(400, "dry_sequence_breakers", dry_sequence_breakers=[str(n) for n in range(10_000)]),
    "B-13-empty-breaker": own(400, "dry_sequence_breakers", dry_sequence_breakers=[""]),
    "B-14-kind": own(400, "mirostat is 3", mirostat=3),
    "B-14-tau": own(400, "mirostat_tau is 0", mirostat=2, mirostat_tau=0),
    "B-14-tau-below": own(400, "mirostat_tau", mirostat=2, mirostat_tau=-1),
    "B-14-eta": own(400, "mirostat_eta", mirostat=2, mirostat_eta=1e9),
    **{f"B-15-{seed}": own(200, seed=seed) for seed in (-1, 0, 2**32, 2**63)},
    "B-15-beyond": own(400, "seed", seed=2**64),
    "B-15-text": own(400, "seed is", seed="abc"),
    "B-19-below": own(400, "n_probs is -1", n_probs=-1),
    "B-19-vocabulary": own(200, n_probs=V),
    "B-19-huge": own(400, "n_probs", n_probs=10**9),
    "B-19-logprobs-below": text(400, "logprobs is -1", logprobs=-1),
    "B-19-logprobs-many": text(400, "logprobs is 21", logprobs=21),
    "B-19-long-echo": text(400, "do not fit", prompt="x " * 100_000, echo=True, logprobs=5),
    "B-20-many": own(400, "logit_bias has 1025 entries", logit_bias=[[n, 1] for n in range(1025)]),
    "B-20-below": own(400, "logit_bias", logit_bias=[[-1, 1]]),
    "B-20-beyond": own(400, "logit_bias", logit_bias=[[V, 1]]),
    "B-20-key": chat(400, "logit_bias", logit_bias={"abc": 1}),
    "B-20-long-text": own(200, "", logit_bias=[["ab cd " * 170_000, 1]]),  # of few tokens
    "B-20-value-huge": own(400, "logit_bias of token 1", logit_bias=[[1, 1e30]]),
    "B-20-value-text": own(400, "logit_bias", logit_bias=[[1, "false"]]),
    "B-20-value-null": own(400, "logit_bias", logit_bias=[[1, None]]),
    "B-20-value-nan": (OWN, b'{"prompt": "x", "logit_bias": [[1, NaN]]}', 400, "NaN"),
    "B-24-banned": own(400, "no token", choice=["a"], logit_bias=[["a", False]]),
    "B-24-endless-grammar": own(400, "constraint", grammar="root ::= root"),
    "B-38-unknown": own(400, "unknown sampler 'x'", samplers=["x"]),
    "B-38-repeated": own(400, "samplers has 10000 entries", samplers=["top_k"] * 10_000),
    "B-38-none": own(200, samplers=[]),
    "B-39-lazy": own(400, "unknown field grammar_lazy", grammar_lazy=True),
    "B-39-triggers": own(400, "unknown field grammar_triggers", grammar_triggers=["x"] * 10_000),
}

LENGTHS: dict[str, Row] = {
    "B-16-below": own(400, "n_predict is -2", n_predict=-2),
    "B-16-until-it-ends": own(200, n_predict=-1, seed=1),
    "B-16-none": own(200, '"tokens_predicted":0', n_predict=0),
    "B-16-one": own(200, '"tokens_predicted":1', n_predict=1),
    "B-16-context": own(200, n_predict=CONTEXT, seed=1),
    "B-16-more-than-context": own(200, n_predict=CONTEXT + 1, seed=1),
    "B-16-most": own(200, n_predict=2**31 - 1, seed=1),
    "B-16-beyond": own(400, "n_predict", n_predict=2**31),
    "B-16-chat-below": chat(400, "max_tokens is -1", max_tokens=-1),
    **{f"B-17-n-{n}": chat(400, f"n is {n}", n=n) for n in (0, 17, 10**6, -1)},
    "B-17-streamed": chat(400, "n is 17", n=17, stream=True),
    **{f"B-17-best-of-{n}": text(400, f"best_of is {n}", best_of=n) for n in (17, 10**6, -1)},
    "B-17-best-of-streamed": text(400, "best_of is not streamed", best_of=2, stream=True),
    "B-18-keep-below": own(400, "n_keep", n_keep=-2),
    "B-18-keep-more-than-there-is": own(400, "keep", n_keep=CONTEXT, context_policy="shift", n_predict=-1),
    "B-18-discard-below": own(400, "n_discard", n_discard=-1),
    **{
        f"B-18-shift-at-{count}": own(
            200, '"tokens_predicted":4', prompt=[5] * count, context_policy="shift", n_predict=4, ignore_eos=True
        )
        for count in (CONTEXT - 1, CONTEXT, CONTEXT + 1)
    },
    "B-21-many": own(400, "stop has 129 entries", stop=[str(n) for n in range(129)]),
    "B-21-empty": own(400, "stop", stop=[""]),
    "B-21-long": own(400, "stop", stop=["x" * 65536]),
    "B-21-surrogate": (OWN, b'{"prompt": "x", "stop": ["\\ud800"]}', 400, "surrogate"),
    "B-21-arrays": chat(400, "stop", stop=[["x"]]),
    "B-21-number": chat(400, "stop is 5", stop=5),
    "B-23-beyond": chat(400, "stop", stop=[[V]]),
    "B-23-own-name": own(400, "stop_ids", stop_ids=[V]),
    "B-23-allowed": own(400, "unknown field allowed_token_ids", allowed_token_ids=[]),
    "B-25-empty": own(400, "no tokens", prompt=""),
    "B-25-no-prompts": own(400, "prompt has 0", prompt=[]),
    "B-25-of-nothing": own(400, "no tokens", prompt=[[]]),
    "B-25-null": own(400, "prompt is None", prompt=None),
    "B-25-5-MiB": own(400, "do not fit", prompt="x" * (5 << 20)),
    "B-25-beyond": own(400, f"token {V}", prompt=[V]),
    "B-25-mixed": own(200, prompt=["Once", 5, 6]),
    "B-25-deep": own(400, "prompt", prompt=[[[1]]]),
    "B-25-many": own(400, "10000 prompts", prompt=["x"] * 10_000),
    "B-25-floats": own(400, "prompt is 1.5", prompt=[1.5]),
    "B-25-bools": own(400, "prompt is True", prompt=[True]),
    "B-26-by-one": own(400, f"{CONTEXT} tokens do not fit", prompt=[5] * CONTEXT),
    "B-26-by-far": own(400, f"{100 * CONTEXT} tokens do not fit", prompt=[5] * (100 * CONTEXT)),
    "B-26-streamed": own(400, "do not fit", prompt=[5] * CONTEXT, stream=True),
    "B-37-below": chat(400, "deadline_seconds", deadline_seconds=-1),
    "B-37-none": chat(200, deadline_seconds=0),
    "B-37-nan": (CHAT, b'{"messages": [], "deadline_seconds": NaN}', 400, "NaN"),
}

CHATS: dict[str, Row] = {
    "B-27-missing": (CHAT, {}, 400, "messages is missing"),
    "B-27-empty": chat(400, "messages", messages=[]),
    "B-27-no-parts": chat(200, messages=[{"role": "user", "content": []}]),
    "B-27-two-systems": chat(200, messages=[{"role": "system", "content": "x"}] * 2 + HELLO["messages"]),
    "B-27-assistant-last": chat(200, messages=[*HELLO["messages"], {"role": "assistant", "content": "I"}]),
    "B-27-tool-without-id": chat(200, messages=[*HELLO["messages"], {"role": "tool", "content": "x"}]),
    "B-27-many": chat(400, "messages", messages=HELLO["messages"] * 10_001),
    "B-28-no-list": chat(400, "tools is", tools={}),
    "B-28-many": chat(400, "1025 tools", tools=[TOOL] * 1025),
    "B-28-twice": chat(400, "two tools are named", tools=[TOOL] * 2),
    **{
        f"B-28-name-{word}": chat(400, "has the name", tools=[{"type": "function", "function": {"name": name}}])
        for word, name in {"space": "a b", "slash": "a/b", "long": "x" * 1024}.items()
    },
    "B-28-parameters": chat(
        400, "parameters", tools=[{"type": "function", "function": {"name": "x", "parameters": 5}}]
    ),
    "B-28-no-schema": chat(
        400, "are no object", tools=[{"type": "function", "function": {"name": "x", "parameters": {"type": "string"}}}]
    ),
    "B-28-long-description": chat(
        400, "do not fit", tools=[{"type": "function", "function": {"name": "x", "description": "very " * 200_000}}]
    ),
    "B-28-absent": chat(400, "'none'", tools=[TOOL], tool_choice={"type": "function", "function": {"name": "none"}}),
    "B-29-type": chat(400, "response_format.type", response_format={"type": "sound"}),
    "B-29-schema": chat(400, "schema is 123", response_format={"type": "json_schema", "json_schema": {"schema": 123}}),
    "B-29-type-of-schema": chat(400, "", response_format={"type": "json_schema", "schema": {"type": 123}}),
    "B-29-unknown-type": chat(400, "", response_format={"type": "json_schema", "schema": {"type": "hiccup"}}),
    "B-29-two": chat(400, "grammar", response_format={"type": "json_object"}, grammar='root ::= "x"'),
    "B-30-without-stream": chat(400, "stream_options", stream_options={"include_usage": True}),
    "B-31-empty": chat(200, model=""),
    "B-36-metadata": chat(400, "metadata", metadata={"a": "x" * (1 << 20)}),
    "B-36-salt": chat(400, "cache_salt", cache_salt="x" * (1 << 20)),
    "B-36-salt-nul": chat(400, "cache_salt", cache_salt="a\0"),
    "B-35-remote": chat(
        400,
        "content",
        messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://127.0.0.1:1/x"}}]}],
    ),
    "B-35-file": chat(
        400,
        "content",
        messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}]}],
    ),
}

OTHERS: dict[str, Row] = {
    "B-32-text": llama(400, "keep_alive", keep_alive="abc"),
    "B-32-for-ever": llama(200, keep_alive=-1, options={"num_predict": 1}),
    "B-32-hour": llama(200, keep_alive="1h", options={"num_predict": 1}),
    "B-32-huge": llama(200, keep_alive=1e99, options={"num_predict": 1}),
    "B-33-no-context": options(400, "num_ctx is 0", num_ctx=0),
    "B-33-context-below": options(400, "num_ctx is -1", num_ctx=-1),
    "B-33-context-huge": options(400, "num_ctx", num_ctx=2**31),
    "B-33-number": options(400, "num_gpu", num_gpu="x"),
    "B-33-unknown": options(400, "numctx", numctx=1),
    "B-34-generate": llama(400, "images", images=["!!"]),
    "B-34-chat": llama(400, "unknown field prompt", path="/api/chat", messages=[]),
    "B-34-message": (
        "/api/chat",
        {"model": "storyteller", "messages": [{"role": "user", "images": ["!!"]}]},
        400,
        "images",
    ),
    "N-01-none": ("/v1/embeddings", {"input": []}, 400, "input has 0"),
    "N-01-empty": ("/v1/embeddings", {"input": ""}, 400, "no tokens"),
    "N-01-one-empty": ("/v1/embeddings", {"input": ["x", ""]}, 400, "input 1"),
    "N-01-many": ("/v1/embeddings", {"input": ["x"] * 10_000}, 400, "10000 entries"),
    "N-01-long": ("/v1/embeddings", {"input": "x " * 5000}, 400, "at most 1024"),
    "N-01-beyond": ("/v1/embeddings", {"input": [[V]]}, 400, f"token {V}"),
    "N-01-form": ("/v1/embeddings", {"input": "x", "encoding_format": "hex"}, 400, "encoding_format"),
    **{
        f"N-01-dimensions-{size}": ("/v1/embeddings", {"input": "x", "dimensions": size}, 400, "dimensions")
        for size in (0, -1, 10**6)
    },
    "N-01-chat-model": ("/v1/embeddings", {"input": "x"}, 200, "embedding"),
    "N-02-none": ("/v1/rerank", {"query": "q", "documents": []}, 400, "documents has 0"),
    "N-02-null": ("/v1/rerank", {"query": "q", "documents": None}, 400, "documents"),
    "N-02-number": ("/v1/rerank", {"query": "q", "documents": 123}, 400, "documents is 123"),
    "N-02-numbers": ("/v1/rerank", {"query": "q", "documents": [1, 2, 3]}, 400, "documents[0] is 1"),
    "N-02-many": ("/v1/rerank", {"query": "q", "documents": ["x"] * 100_000}, 400, "100000 entries"),
    "N-02-top-below": ("/v1/rerank", {"query": "q", "documents": ["x"], "top_n": -1}, 400, "top_n is -1"),
    "N-02-top-none": ("/v1/rerank", {"query": "q", "documents": ["x"], "top_n": 0}, 400, "top_n is 0"),
    "N-02-no-reranker": ("/v1/rerank", {"query": "", "documents": ["x"], "top_n": 99}, 400, "no head that ranks"),
    "N-03-number": ("/tokenize", {"content": 5}, 400, "content is 5"),
    "N-03-huge": ("/tokenize", b'{"content": "' + b"x" * (17 << 20) + b'"}', 413, "16777216 bytes"),
    "N-03-beyond": ("/detokenize", {"tokens": [V]}, 400, f"{V} is not a token id"),
    "N-03-below": ("/detokenize", {"tokens": [-1]}, 400, "-1 is not a token id"),
    "N-04-extra": ("/infill", {"input_prefix": "a", "input_suffix": "b", "input_extra": {}}, 400, "input_extra"),
    "N-04-name": (
        "/infill",
        {"input_prefix": "a", "input_suffix": "b", "input_extra": [{"text": "", "filename": 123}]},
        400,
        "filename",
    ),
    "N-04-text": (
        "/infill",
        {"input_prefix": "a", "input_suffix": "b", "input_extra": [{"text": 456}]},
        400,
        "text is 456",
    ),
    "N-04-many": (
        "/infill",
        {"input_prefix": "a", "input_suffix": "b", "input_extra": [{"text": "x"}] * 10_000},
        501,
        "fim_pre",
    ),
    "N-04-no-marks": ("/infill", {"input_prefix": "a", "input_suffix": "b"}, 501, "fim_pre"),
    "N-05-nothing": ("/apply-template", {"messages": [{}]}, 400, "no role"),
    "N-05-role": ("/apply-template", {"messages": [{"role": 5, "content": []}]}, 400, "no role"),
    "N-05-none": ("/apply-template", {"messages": []}, 400, "messages"),
    "N-14-raw": llama(400, "unknown field messages", raw=True, messages=[]),
    "N-14-context": llama(400, "not in the vocabulary", context=[10**9]),
    "N-14-format": llama(400, "format is 'xml'", format="xml"),
    "N-14-suffix": llama(400, "suffix", suffix="x", raw=True),
    "N-15-system": ("/v1/messages", {**MESSAGE, "system": [{"type": "sound"}]}, 400, "system"),
    "N-15-no-limit": (
        "/v1/messages",
        {"model": "storyteller", "messages": MESSAGE["messages"]},
        400,
        "max_tokens is missing",
    ),
    "N-15-cache": (
        "/v1/messages",
        {**MESSAGE, "system": [{"type": "text", "text": "x", "cache_control": 5}]},
        400,
        "cache_control",
    ),
    "N-16-unknown": ("/v1/responses", {"input": "x", "previous_response_id": "none"}, 404, "no response 'none'"),
    "N-16-background": ("/v1/responses", {"input": "x", "background": True}, 400, "background"),
    "N-16-cancel": ("/v1/responses/none/cancel", {}, 404, ""),
    "N-17-adapter": ("/lora-adapters", [{"id": -1, "scale": 1.0}], 400, "no adapter -1"),
    "N-17-nan": ("/lora-adapters", b'[{"id": 0, "scale": NaN}]', 400, "NaN"),
    "N-17-none": ("/lora-adapters", [], 200, "true"),
}

ROWS: dict[str, Row] = {**SAMPLING, **LENGTHS, **CHATS, **OTHERS}
