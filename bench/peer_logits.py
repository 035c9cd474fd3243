"""llama.cpp's logits after every token of some chunks, written as f32 [chunks * T, V]; the other half of agreement.py.

Runs in the peer's own environment. The tokens are a JSON list of chunks of equal length.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import sys
from pathlib import Path

import llama_cpp
import peer


def main() -> None:
    """Parse, compute, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("tokens", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("-t", type=int, default=2)
    parser.add_argument("-ctk", choices=peer.CACHE_TYPES, default="f16")
    parser.add_argument("-ctv", choices=peer.CACHE_TYPES, default="f16")
    parser.add_argument("--no-repack", action="store_true")
    parser.add_argument("--no-flash-attention", action="store_true")
    options = parser.parse_args()
    chunks = json.loads(options.tokens.read_text(encoding="utf-8"))
    model = peer.open_model(options.model, not options.no_repack)
    context = peer.open_context(model, options, len(chunks[0]), 1)
    size = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
    batch = llama_cpp.llama_batch_init(len(chunks[0]), 0, 1)
    with options.out.open("wb") as file:
        for chunk in chunks:
            llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(context), True)
            batch.n_tokens = len(chunk)
            for i, token in enumerate(chunk):
                batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.logits[i] = token, i, 1, 1
                batch.seq_id[i][0] = 0
            if llama_cpp.llama_decode(context, batch) != 0:
                sys.exit("llama_decode failed")
            logits = llama_cpp.llama_get_logits(context)
            file.write(ctypes.string_at(logits, 4 * size * len(chunk)))


if __name__ == "__main__":
    main()
