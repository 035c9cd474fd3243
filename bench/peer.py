"""Time llama.cpp, through llama-cpp-python's C bindings, on one file: the tests of `pacos bench`, or one first token.

Runs in the peer's own environment (`scripts/bench --peer` makes it); prints one JSON object. A cache deeper than 512
tokens, or of further sequences, is filled with copies of the first 512: what it holds does not change the time. A
prompt of an encoder-decoder is a source that its encoder reads, its depth a source that was read, of a token at least;
llama.cpp computes one sequence of these, and stops the process at more.
Units: tokens per second, seconds, bytes.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import resource
import struct
import sys
import time
from collections.abc import Iterator
from typing import Any

import llama_cpp

STARTED = time.perf_counter()  # the bindings are imported: what follows is llama.cpp's own time
BATCH_TOKENS, STEP_TOKENS = 2048, 512  # llama.cpp's defaults
COMPUTED_TOKENS = 512
CACHE_TYPES = {"f32": 0, "f16": 1, "bf16": 30, "q8_0": 8}  # ggml type ids
CACHE_TYPES |= {"q5_1": 7, "q5_0": 6, "q4_1": 3, "q4_0": 2, "iq4_nl": 20}
FIRST_TOKEN_CONTEXT = 4096


def numbers(text: str) -> list[int]:
    """A list such as 512,2048."""
    return [int(word) for word in text.split(",")]


def open_model(path: str, repack: bool) -> Any:
    """Load a model; repack is llama.cpp's default rearrangement of weights in memory."""
    llama_cpp.llama_backend_init()
    silent = llama_cpp.llama_log_callback(lambda level, text, data: None)
    llama_cpp.llama_log_set(silent, ctypes.c_void_p(0))
    open_model.silent = silent  # type: ignore[attr-defined]  # keeps the callback alive
    params = llama_cpp.llama_model_default_params()
    params.n_gpu_layers = 0
    params.use_extra_bufts = repack
    model = llama_cpp.llama_model_load_from_file(path.encode(), params)
    return model or sys.exit(f"llama.cpp cannot load {path}")


def open_context(model: Any, options: argparse.Namespace, tokens: int, sequences: int) -> Any:
    """A context with room for `tokens` of each sequence."""
    params = llama_cpp.llama_context_default_params()
    params.n_ctx, params.n_seq_max = (tokens + 255) // 256 * 256 * sequences, sequences
    params.n_batch, params.n_ubatch = BATCH_TOKENS, STEP_TOKENS
    if llama_cpp.llama_model_has_encoder(model):
        params.n_ubatch = BATCH_TOKENS  # a source is read whole
    params.n_threads = params.n_threads_batch = options.t
    params.type_k, params.type_v = CACHE_TYPES[options.ctk], CACHE_TYPES[options.ctv]
    if options.no_flash_attention:
        params.flash_attn_type = 0
    context = llama_cpp.llama_init_from_model(model, params)
    return context or sys.exit("llama.cpp cannot make a context of that form")


class Bed:
    """A context whose cache is filled for one test after the other."""

    def __init__(self, context: Any, vocab_size: int, sequences: int, *, reads: bool = False) -> None:
        self._context = context
        self._reads = reads
        self._memory = llama_cpp.llama_get_memory(context)
        self._vocab_size = vocab_size
        self._sequences = sequences
        self._filled = 0
        self._batch = llama_cpp.llama_batch_init(BATCH_TOKENS, 0, 1)

    def close(self) -> None:
        """Free the context."""
        llama_cpp.llama_batch_free(self._batch)
        llama_cpp.llama_free(self._context)

    def decode(self, sequences: range, begin: int, count: int, wanted: bool, *, read: bool = False) -> None:
        """One llama_decode of `count` tokens from position `begin` of each sequence; logits of their last tokens.

        `read`: llama_encode, whose decoder looks at every token.
        """
        batch = self._batch
        batch.n_tokens = len(sequences) * count
        for i in range(batch.n_tokens):
            sequence, position = sequences[i // count], begin + i % count
            batch.token[i] = ((position + sequence) * 7919 + 1) % self._vocab_size
            batch.pos[i] = position
            batch.n_seq_id[i] = 1
            batch.seq_id[i][0] = sequence
            batch.logits[i] = int(wanted and (read or i % count == count - 1))
        if (llama_cpp.llama_encode if read else llama_cpp.llama_decode)(self._context, batch) != 0:
            sys.exit("llama.cpp failed to compute")
        llama_cpp.llama_synchronize(self._context)

    def prompt(self, sequences: range, begin: int, end: int) -> None:
        """Tokens of all sequences, as many at once as a batch takes."""
        together = max(1, BATCH_TOKENS // (end - begin))
        for first in range(0, len(sequences), together):
            for start in range(begin, end, BATCH_TOKENS):
                stop = min(end, start + BATCH_TOKENS)
                self.decode(sequences[first : first + together], start, stop - start, stop == end)

    def prepare(self, depth: int) -> None:
        """Have `depth` tokens of every sequence in the cache."""
        if self._filled < depth:
            llama_cpp.llama_memory_clear(self._memory, True)
            self.prompt(range(1), 0, min(depth, COMPUTED_TOKENS))
            if depth > COMPUTED_TOKENS or self._sequences > 1:
                state = lengthened(self._state(), depth)
                buffer = (ctypes.c_uint8 * len(state)).from_buffer_copy(state)
                for sequence in range(self._sequences):
                    if llama_cpp.llama_state_seq_set_data(self._context, buffer, len(state), sequence) == 0:
                        sys.exit("llama_state_seq_set_data failed")
        for sequence in range(self._sequences):
            llama_cpp.llama_memory_seq_rm(self._memory, sequence, depth, -1)
        self._filled = depth

    def _state(self) -> bytes:
        size = llama_cpp.llama_state_seq_get_size(self._context, 0)
        buffer = (ctypes.c_uint8 * size)()
        return bytes(buffer[: llama_cpp.llama_state_seq_get_data(self._context, buffer, size, 0)])

    def seconds(self, kind: str, tokens: int, depth: int) -> float:
        """The time of a test."""
        if self._reads:
            return self._seconds_of_reader(kind, tokens, max(1, depth))
        self.prepare(depth)
        sequences = range(self._sequences)
        start = time.perf_counter()
        if kind == "prompt":
            self.prompt(sequences, depth, depth + tokens)
        else:
            for position in range(depth, depth + tokens):
                self.decode(sequences, position, 1, True)
        return time.perf_counter() - start

    def _seconds_of_reader(self, kind: str, tokens: int, source: int) -> float:
        sequences = range(self._sequences)
        llama_cpp.llama_memory_clear(self._memory, True)
        if kind == "generate":
            self.decode(sequences, 0, source, True, read=True)
        start = time.perf_counter()
        if kind == "prompt":
            self.decode(sequences, 0, tokens, True, read=True)
        else:
            for position in range(tokens):
                self.decode(sequences, position, 1, True)
        return time.perf_counter() - start


def lengthened(state: bytes, count: int) -> bytes:
    """A sequence's state with `count` cells, the cells that it has repeated.

    Layout, as llama.cpp writes it: 12 bytes; u32 cells; per cell i32 position, u32 1, i32 sequence; u32 whether values
    are transposed (not with flash attention), u32 layers; for keys, then values, per layer i32 type, u64 bytes of a row
    and the rows; then what says that other sequences have none.
    """
    (cells,) = struct.unpack_from("<I", state, 12)
    pieces = [state[:12], struct.pack("<I", count)]
    pieces += [struct.pack("<i", position) + state[20:28] for position in range(count)]
    at = 16 + 12 * cells
    transposed, layers = struct.unpack_from("<II", state, at)
    if transposed:
        sys.exit("llama.cpp runs without flash attention here: its cache cannot be lengthened")
    pieces.append(state[at : at + 8])
    at += 8
    for _ in range(2 * layers):
        (row,) = struct.unpack_from("<Q", state, at + 4)
        rows = state[at + 12 : at + 12 + row * cells]
        pieces += [state[at : at + 12], (rows * (count // cells + 1))[: row * count]]
        at += 12 + row * cells
    return b"".join([*pieces, state[at:]])


def all_tests(options: argparse.Namespace) -> Iterator[tuple[str, int, int]]:
    """Kind, tokens and depth of every test."""
    for depth in options.d:
        for kind, counts in (("prompt", options.p), ("generate", options.n)):
            yield from ((kind, count, depth) for count in counts if count)


def measure(model: Any, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Every combination, a context for each number of sequences."""
    size = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
    tests = list(all_tests(options))
    found = []
    for sequences in options.np:
        room = max(tokens + depth for _, tokens, depth in tests)
        reads = llama_cpp.llama_model_has_encoder(model)
        bed = Bed(open_context(model, options, room, sequences), size, sequences, reads=reads)
        bed.decode(range(1), 0, 2, True, read=reads)
        for kind, tokens, depth in tests:
            if reads and kind == "prompt" and depth:
                continue  # an encoder reads from the start
            rates = [tokens * sequences / bed.seconds(kind, tokens, depth) for _ in range(options.r)]
            name = f"{'pp' if kind == 'prompt' else 'tg'}{tokens}"
            name += f" @ d{depth}" if depth else ""
            name += f" x{sequences}" if sequences > 1 else ""
            found.append({"test": name, "kind": kind, "runs": rates})
        bed.close()
    return found


def first_token(options: argparse.Namespace) -> dict[str, Any]:
    """Load, read a prompt of -p tokens and choose one token."""
    model = open_model(options.model, not options.no_repack)
    context = open_context(model, options, FIRST_TOKEN_CONTEXT, 1)
    size = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
    Bed(context, size, 1).prompt(range(1), 0, options.p[0])
    logits = llama_cpp.llama_get_logits_ith(context, -1)
    max(range(size), key=logits.__getitem__)
    return {"seconds": time.perf_counter() - STARTED}


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("-p", type=numbers, default=[512])
    parser.add_argument("-n", type=numbers, default=[128])
    parser.add_argument("-d", type=numbers, default=[0])
    parser.add_argument("-np", type=numbers, default=[1], help="sequences together")
    parser.add_argument("-t", type=int, default=2)
    parser.add_argument("-r", type=int, default=1)
    parser.add_argument("-ctk", choices=CACHE_TYPES, default="f16")
    parser.add_argument("-ctv", choices=CACHE_TYPES, default="f16")
    parser.add_argument("--no-repack", action="store_true")
    parser.add_argument("--no-flash-attention", action="store_true")
    parser.add_argument("--first-token", action="store_true")
    options = parser.parse_args()
    if options.first_token:
        found = first_token(options)
    else:
        found = {"tests": measure(open_model(options.model, not options.no_repack), options)}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"engine": "llama.cpp", "repack": not options.no_repack, **found, "peak_bytes": peak}))


if __name__ == "__main__":
    main()
