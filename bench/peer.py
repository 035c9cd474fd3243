"""Time llama.cpp, through llama-cpp-python's C bindings, on one file: prompt and generation, as llama-bench does.

Runs in the peer's own environment (`scripts/bench --peer` makes it); prints one JSON object.
Units: tokens per second, seconds, bytes.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import resource
import sys
import time

import llama_cpp


def open_context(path: str, threads: int, context_tokens: int, repack: bool) -> tuple[object, object]:
    """Load the model and make a context; repack is llama.cpp's default rearrangement of weights in memory."""
    llama_cpp.llama_backend_init()
    silent = llama_cpp.llama_log_callback(lambda level, text, data: None)
    llama_cpp.llama_log_set(silent, ctypes.c_void_p(0))
    open_context.silent = silent  # type: ignore[attr-defined]  # keeps the callback alive
    model_params = llama_cpp.llama_model_default_params()
    model_params.n_gpu_layers = 0
    model_params.use_extra_bufts = repack
    model = llama_cpp.llama_model_load_from_file(path.encode(), model_params)
    params = llama_cpp.llama_context_default_params()
    params.n_ctx = context_tokens
    params.n_batch, params.n_ubatch = 2048, 512
    params.n_threads = params.n_threads_batch = threads
    return model, llama_cpp.llama_init_from_model(model, params)


def decode(context: object, tokens: list[int]) -> None:
    """One llama_decode over tokens of one sequence; logits of the last one."""
    buffer = (llama_cpp.llama_token * len(tokens))(*tokens)
    if llama_cpp.llama_decode(context, llama_cpp.llama_batch_get_one(buffer, len(tokens))) != 0:
        sys.exit("llama_decode failed")
    llama_cpp.llama_get_logits_ith(context, -1)  # waits for the result


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("-p", type=int, default=512)
    parser.add_argument("-n", type=int, default=128)
    parser.add_argument("-d", type=int, default=0)
    parser.add_argument("-t", type=int, default=2)
    parser.add_argument("-r", type=int, default=1)
    parser.add_argument("--no-repack", action="store_true")
    options = parser.parse_args()
    room = options.d + options.p + options.n + 64
    model, context = open_context(options.model, options.t, room, not options.no_repack)
    size = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
    tokens = [(7 * i + 1) % min(size, 30000) for i in range(max(options.p, options.d, 1))]
    decode(context, tokens[:2])
    rates: dict[str, list[float]] = {"prompt": [], "generate": []}
    for _ in range(options.r):
        for kind, count in (("prompt", options.p), ("generate", options.n)):
            if not count:
                continue
            llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(context), True)
            if options.d:
                decode(context, tokens[: options.d])
            start = time.perf_counter()
            if kind == "prompt":
                decode(context, tokens[:count])
            else:
                for i in range(count):
                    decode(context, [tokens[i % len(tokens)]])
            rates[kind].append(count / (time.perf_counter() - start))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"engine": "llama.cpp", "repack": not options.no_repack, **rates, "peak_bytes": peak}))


if __name__ == "__main__":
    main()
