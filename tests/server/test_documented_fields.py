"""Every request field that llama-server's README and Ollama's API documents name acts, or is refused by name.

A row is a field with a value and what must come of it: options that the model gets, a key of the reply, REFUSED, or
NOTED for what says nothing of an answer (docs/http.md tells so).
Source: tools/server/README.md of llama.cpp, docs/api.md of Ollama.
"""

from __future__ import annotations

import json
from typing import Any

from fake_llm import FakeModels, fake_spec
from serving import asynchronous, client_of

from pacos.server.residency import Residency

REFUSED, NOTED = "refused", "noted"
MESSAGES = [{"role": "user", "content": "one two three"}]
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
FORM = {"type": "json_object"}

Row = tuple[Any, Any]


def _same(*names: str, value: Any) -> dict[str, Row]:
    return {name: (value, {name: value}) for name in names}


SAMPLING: dict[str, Row] = {
    **_same("dynatemp_range", "dynatemp_exponent", "top_p", "min_p", "typical_p", "repeat_penalty", value=0.5),
    **_same("presence_penalty", "frequency_penalty", "dry_multiplier", "xtc_probability", "xtc_threshold", value=0.5),
    **_same("top_k", "repeat_last_n", "dry_allowed_length", "dry_penalty_last_n", "seed", "min_keep", value=3),
    **_same("dry_base", "mirostat_tau", "mirostat_eta", value=1.5),
    **_same("n_indent", "mirostat", value=1),
    **_same("dry_sequence_breakers", "samplers", value=["top_k"]),
    "temperature": (0.5, {"temp": 0.5}),
    "stop": (["x"], {"stop": ["x"]}),
    "ignore_eos": (True, {"ignore_eos": True}),
    "cache_prompt": (False, {"cache_prompt": False}),
    "t_max_predict_ms": (100, {"t_max_predict_ms": 100}),
    "grammar": ('root ::= "a"', {"grammar": 'root ::= "a"'}),
    "json_schema": ({"type": "object"}, {"json_schema": {"type": "object"}}),
    "n_keep": (2, {"keep": 2}),
    "n_cmpl": (2, '"index":1'),
    "id_slot": (0, NOTED),
    "timings_per_token": (True, "timings"),
    "return_progress": (True, "prompt_progress"),
    "sse_ping_interval": (5, NOTED),
    "lora": ([{"id": 0, "scale": 1.0}], "there is no adapter 0"),
    "n_predict": (3, {"n_predict": 3}),
    "stream": (True, "data: "),
}
COMPLETION: dict[str, Row] = {
    **SAMPLING,
    "prompt": (["one", "two"], '"index":1'),
    "logit_bias": ([["a", False]], {"logit_bias": [(97, float("-inf"))]}),
    "n_probs": (2, "completion_probabilities"),
    "post_sampling_probs": (True, "n_predict"),
    "return_tokens": (True, '"tokens":[111'),
    "response_fields": (["stop_type"], '{"stop_type"'),
    "n_cache_reuse": (16, NOTED),
}
CHAT: dict[str, Row] = {
    **SAMPLING,
    "logit_bias": ({"97": 1.5}, {"logit_bias": [(97, 1.5)]}),
    "max_tokens": (3, {"n_predict": 3}),
    "max_completion_tokens": (3, {"n_predict": 3}),
    "n": (2, '"index":1'),
    "logprobs": (True, '"logprobs":{'),
    "response_format": (FORM, {"json_schema": {"type": "object"}}),
    "tools": (TOOLS, {"tools": ["f"]}),
    "tool_choice": ("none", {"tool_choice": "none"}),
    "parallel_tool_calls": (False, {"parallel_tool_calls": False}),
    "chat_template_kwargs": ({"a": 1}, {"template_options": {"a": 1}}),
    "add_generation_prompt": (False, {"template_options": {"add_generation_prompt": False}}),
    "continue_final_message": (True, {"template_options": {"continue_final_message": True}}),
    "reasoning_effort": ("low", {"reasoning_effort": "low"}),
    "reasoning_format": ("none", {"reasoning_format": "none"}),
    "thinking_budget_tokens": (3, {"reasoning_budget": 3}),
    "reasoning_budget_tokens": (3, {"reasoning_budget": 3}),
    "reasoning_budget_message": ("so", {"reasoning_budget_message": "so"}),
    **dict.fromkeys(("user", "safety_identifier", "prompt_cache_key"), ("me", NOTED)),
    "metadata": ({"a": "b"}, NOTED),
    "store": (True, REFUSED),
    **dict.fromkeys(
        ("reasoning_control", "parse_tool_calls", "modalities", "prediction", "verbosity"), (True, REFUSED)
    ),
    **dict.fromkeys(("generation_prompt", "functions", "function_call", "web_search_options", "audio"), ("x", REFUSED)),
    **dict.fromkeys(("n_probs", "post_sampling_probs", "return_tokens", "response_fields"), (1, REFUSED)),
}
TEXTS: dict[str, Row] = {
    **SAMPLING,
    "logit_bias": ({"97": 1.5}, {"logit_bias": [(97, 1.5)]}),
    "max_tokens": (3, {"n_predict": 3}),
    "n": (2, '"index":1'),
    "best_of": (2, '"completion_tokens":26'),
    "echo": (True, "one two threeone two three"),
    "logprobs": (1, "token_logprobs"),
    "suffix": ("x", REFUSED),
}
OPTIONS: dict[str, Row] = {
    **_same("top_p", "min_p", "typical_p", "repeat_penalty", "presence_penalty", "frequency_penalty", value=0.5),
    **_same("top_k", "repeat_last_n", "seed", value=3),
    **_same("mirostat_tau", "mirostat_eta", value=1.5),
    "mirostat": (1, {"mirostat": 1}),
    "tfs_z": (0.5, {"tfs_z": 0.5}),
    "temperature": (0.5, {"temp": 0.5}),
    "num_predict": (3, {"n_predict": 3}),
    "num_keep": (2, {"keep": 2}),
    "stop": (["x"], {"stop": ["x"]}),
    "num_ctx": (10**6, REFUSED),
    **dict.fromkeys(("num_batch", "num_gpu", "main_gpu", "num_thread"), (1, NOTED)),
    **dict.fromkeys(("numa", "low_vram", "f16_kv", "use_mmap", "use_mlock"), (True, NOTED)),
    **dict.fromkeys(("penalize_newline", "vocab_only", "logits_all"), (True, REFUSED)),
}
OLLAMA: dict[str, Row] = {
    "think": (True, {"reasoning": "on"}),
    "format": ("json", {"json_schema": {"type": "object"}}),
    "template": ("chatml", {"chat_template": "chatml"}),
    "truncate": (True, {"context_policy": "truncate"}),
    "shift": (True, {"context_policy": "shift"}),
    "keep_alive": ("5m", NOTED),
    "stream": (True, '"done":false'),
    "logprobs": (True, '"logprobs":['),
}
GENERATE: dict[str, Row] = {
    **OLLAMA,
    "prompt": ("four", '"response":"four"'),
    "suffix": ("x", REFUSED),
    "images": (["aa"], REFUSED),
    "system": ("s", {"tools": []}),
    "raw": (True, '"done":true'),
    "context": ([1], '"context":[1,'),
    **dict.fromkeys(("width", "height", "steps"), (1, REFUSED)),
}
TALK: dict[str, Row] = {
    **OLLAMA,
    "messages": ([{"role": "user", "content": "four"}], '"content":"four"'),
    "tools": (TOOLS, {"tools": ["f"]}),
}
_QUIET = {"stream": False, "model": "fake"}
ENDPOINTS: dict[str, tuple[str, dict[str, Any], dict[str, Row]]] = {
    "completion": ("/completion", {"prompt": "one two three"}, COMPLETION),
    "chat": ("/v1/chat/completions", {"messages": MESSAGES}, CHAT),
    "completions": ("/v1/completions", {"prompt": "one two three"}, TEXTS),
    "generate": ("/api/generate", {"prompt": "one two three", **_QUIET}, GENERATE),
    "ollama chat": ("/api/chat", {"messages": MESSAGES, **_QUIET}, TALK),
    "options": ("/api/chat", {"messages": MESSAGES, **_QUIET}, {f"options.{one}": row for one, row in OPTIONS.items()}),
    "embedding": (
        "/embedding",
        {"content": "x"},
        {"content": (["x", "y"], '"index":1'), "embd_normalize": (-1, "[1.0,")},
    ),
    "embeddings": (
        "/v1/embeddings",
        {"input": "x"},
        {"input": (["x", "y"], '"index":1'), "encoding_format": ("base64", '"embedding":"'), "dimensions": (2, "data")},
    ),
    "embed": (
        "/api/embed",
        {"model": "fake", "input": "x"},
        {"dimensions": (2, "embeddings"), "truncate": (False, "embeddings"), "keep_alive": (1, NOTED)},
    ),
    "rerank": ("/rerank", {"query": "x", "documents": ["a", "x"]}, {"top_n": (1, '"results":[{"index":1')}),
    "tokenize": (
        "/tokenize",
        {"content": "x"},
        {"with_pieces": (True, "piece"), "add_special": (True, NOTED), "parse_special": (True, NOTED)},
    ),
    "detokenize": ("/detokenize", {"tokens": [65]}, {"tokens": ([66], "B")}),
}
# What must be said beside a field for it to mean something.
BESIDE: dict[str, dict[str, Any]] = {
    "return_progress": {"stream": True},
    "post_sampling_probs": {"n_probs": 1},
    "tool_choice": {"tools": TOOLS},
    "timings_per_token": {"stream": True},
}


def _body(start: dict[str, Any], name: str, value: Any, beside: dict[str, Any]) -> dict[str, Any]:
    outer, dot, inner = name.partition(".")
    return {**start, **beside, outer: {inner: value} if dot else value}


@asynchronous
async def test_every_documented_field_acts_or_is_refused_by_name() -> None:
    models = FakeModels()
    wrong = []
    async with client_of(Residency([fake_spec()], open_model=models.open)) as client:  # type: ignore[arg-type]
        for path, start, rows in ENDPOINTS.values():
            for name, (value, want) in rows.items():
                if "fake" in models.opened:
                    models.opened["fake"].streams.clear()
                beside = {} if want == REFUSED else BESIDE.get(name, {})
                reply = await client.post(path, json=_body(start, name, value, beside))
                found = f"{path} {name}: {reply.status_code} {reply.text[:300]}"
                given = models.opened["fake"].streams[0].given if models.opened["fake"].streams else {}
                if want == REFUSED:
                    fits = reply.status_code == 400 and name.rpartition(".")[2] in json.dumps(reply.json())
                elif isinstance(want, dict):
                    fits = reply.status_code == 200 and all(given.get(key) == one for key, one in want.items())
                    found += f" {given}"
                else:
                    expected = 400 if name == "lora" else 200
                    fits = reply.status_code == expected and (want == NOTED or want in reply.text)
                wrong += [] if fits else [found]
    assert not wrong, "\n".join(wrong)


@asynchronous
async def test_fields_that_mean_the_same_must_say_the_same() -> None:
    async with client_of() as client:
        for fields in (
            {"n": 1, "n_cmpl": 2},
            {"keep": 1, "n_keep": 2},
            {"reasoning_budget": 1, "thinking_budget_tokens": 2},
        ):
            reply = await client.post("/v1/chat/completions", json={"messages": MESSAGES, **fields})
            assert (reply.status_code, "differ" in reply.text) == (400, True), fields
        reply = await client.post("/v1/chat/completions", json={"messages": MESSAGES, "keep": 1, "n_keep": 1})
        assert reply.status_code == 200


@asynchronous
async def test_what_happens_in_a_full_context_as_ollama_says_it() -> None:
    models = FakeModels()
    async with client_of(Residency([fake_spec()], open_model=models.open)) as client:  # type: ignore[arg-type]
        body = {"model": "fake", "messages": MESSAGES, "stream": False}
        wanted: list[tuple[dict[str, bool], str | None]] = [
            ({}, None),
            ({"truncate": False}, "error"),
            ({"shift": False}, "error"),
            ({"shift": False, "truncate": True}, "truncate"),
            ({"shift": True, "truncate": True}, "shift"),
        ]
        for fields, policy in wanted:
            await client.post("/api/chat", json={**body, **fields})
            assert models.opened["fake"].streams[-1].given.get("context_policy") == policy, fields
        assert (await client.post("/api/chat", json={**body, "shift": True, "truncate": False})).status_code == 400
