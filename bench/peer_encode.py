"""Time llama.cpp's tokenizer, through llama-cpp-python's C bindings, on a file of texts (a JSON list).

Runs in the peer's own environment (`scripts/bench --peer` makes it); prints one JSON object.
Units: seconds.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import time
from pathlib import Path
from typing import Any

import llama_cpp


def main() -> None:
    """Tokenize every text once and print the time and the number of tokens."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("texts")
    options = parser.parse_args()
    silent = llama_cpp.llama_log_callback(lambda level, text, data: None)
    llama_cpp.llama_log_set(silent, ctypes.c_void_p(0))
    params = llama_cpp.llama_model_default_params()
    params.vocab_only = True
    start = time.perf_counter()
    model = llama_cpp.llama_model_load_from_file(options.model.encode(), params)
    opened = time.perf_counter() - start
    vocab: Any = llama_cpp.llama_model_get_vocab(model)
    texts = [text.encode() for text in json.loads(Path(options.texts).read_text(encoding="utf-8"))]
    room = max(map(len, texts)) + 16
    ids = (llama_cpp.llama_token * room)()
    tokens = 0
    start = time.perf_counter()
    for text in texts:
        tokens += llama_cpp.llama_tokenize(vocab, text, len(text), ids, room, False, False)
    print(json.dumps({"seconds": time.perf_counter() - start, "tokens": tokens, "open": opened}))


main()
