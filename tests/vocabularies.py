"""Small vocabularies as GGUF metadata: trained here with the library `tokenizers`, which is also their oracle."""

from __future__ import annotations

import functools
import io
import random
from typing import Any

import sentencepiece as sentencepiece_library
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from pacos.text.splitters import find_splitter

CONTROL, USER_DEFINED, BYTE, UNKNOWN, NORMAL = 3, 4, 6, 2, 1
BOS, EOS, TURN = "<|begin|>", "<|endoftext|>", "<|im_end|>"

PARAGRAPH = """The quick brown fox jumps over the lazy dog; it's 12:45 already, and we've seen 1234567 foxes today!
    def fibonacci(n): return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)  # they'll never finish
Les élèves étaient déjà là, où l'été finissait. Größe, Straße, naïve café. Москва слезам не верит, говорят они.
你好，世界！这是一个测试。 今日は良い天気ですね。 안녕하세요 세계. مرحبا بالعالم हिन्दी में लिखा ไทย 😀🎉👩‍👩‍👧
\tfor (int i = 0; i < 10; ++i) { sum += values[i] * 0.5; }\r\n\r\n  {"key": [1, 2, 3], "name": "O'Neill"}\n\n\n
"""
# Characters that every Unicode version since 14 sees alike, and that expressions treat differently.
POOLS = (
    *("abcdefghij", "XYZABC", "0123456789", "٣४Ⅷ½²", " ", " \t", "\n", "\r\n", "\u00a0\u2003\u3000\x0b\x0c\x85"),
    *(".,!?;:'\"", "()[]{}<>/\\|", "$+=^~`@#%&*-_", "éèüßñÆŁŸ", "абвЖЩЭ", "你好世界", "かなカナ々〇", "한국조선"),
    *(
        "ابتث",
        "\u0301\u0300\u0308\u0903",
        "हिन्दी",
        "ไทย",
        "😀🎉\u200d\U0001f3fd",
        "ǅʰªº",
        "\u0378\ue000\ufffd",
        "。…“”،",
    ),
)
WORDS = (
    *("'s", "'S", "'LL", "'re", "I'm", "WE'VE", " world", "1234567", "3.14159", "CamelCase", "x=1;", "IMGIMGABZ"),
    *("<sentinel:12>", "100,000,000", "//", "...", "    ", "\n\n", "\r\n\r\n", " \n ", "foo_bar2"),
)


LINES = [line for line in PARAGRAPH.split("\n") if line] * 4 + ["ﬁne Ｆｕｌｌ ① ½ Å"] * 4


def texts(count: int, seed: int, *, pools: tuple[str, ...] = POOLS) -> list[str]:
    """Random texts that switch between scripts, digits, signs and white space."""
    source = random.Random(seed)
    return ["".join(_chunk(source, pools) for _ in range(source.randint(1, 12))) for _ in range(count)]


def _chunk(source: random.Random, pools: tuple[str, ...]) -> str:
    if source.random() < 0.3:
        return source.choice(WORDS)
    pool = source.choice(pools)
    return "".join(source.choice(pool) for _ in range(source.randint(1, 5)))


def oracle_splits(pre: str) -> list[Any]:
    """The splitters of a family for the library; None where an expression is beyond it."""
    return [
        pre_tokenizers.Split(tokenizers.Regex(expression), "isolated") for expression in find_splitter(pre).expressions
    ]


@functools.cache
def byte_level(pre: str, size: int = 600) -> tuple[dict[str, Any], tokenizers.Tokenizer]:
    """A byte-level BPE vocabulary of a family, and its oracle."""
    oracle = tokenizers.Tokenizer(models.BPE(ignore_merges=find_splitter(pre).whole_words))
    oracle.pre_tokenizer = pre_tokenizers.Sequence(
        [*oracle_splits(pre), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    oracle.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
    oracle.train_from_iterator([PARAGRAPH] * 3, trainer)
    pieces = sorted(oracle.get_vocab().items(), key=lambda item: item[1])
    special = [BOS, EOS, TURN]
    oracle.add_special_tokens(special)
    tokens = [text for text, _ in pieces] + special
    metadata = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [NORMAL] * len(pieces) + [CONTROL] * len(special),
        "tokenizer.ggml.merges": [" ".join(pair) for pair in _merges(oracle)],
        "tokenizer.ggml.bos_token_id": len(pieces),
        "tokenizer.ggml.eos_token_id": len(pieces) + 1,
    }
    return metadata, oracle


def _merges(oracle: tokenizers.Tokenizer) -> list[list[str]]:
    import json

    merges = json.loads(oracle.to_str())["model"]["merges"]
    return [merge.split(" ") if isinstance(merge, str) else merge for merge in merges]


@functools.cache
def sentencepiece() -> tuple[dict[str, Any], tokenizers.Tokenizer]:
    """A SentencePiece BPE vocabulary with byte fallback, and its oracle with merges made from the scores."""
    trained = tokenizers.Tokenizer(models.BPE())
    trained.normalizer = normalizers.Replace(" ", "▁")
    trained.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    trained.train_from_iterator([PARAGRAPH] * 3, trainers.BpeTrainer(vocab_size=500, show_progress=False))
    learned = [text for text, _ in sorted(trained.get_vocab().items(), key=lambda item: item[1])]
    learned = [text for text in learned if not set(text) & set("\n\r\t")]  # those are left to bytes
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    types = [UNKNOWN, CONTROL, CONTROL] + [BYTE] * 256 + [NORMAL] * len(learned)
    first = len(tokens)
    tokens += learned
    scores = [0.0] * first + [-float(i) for i in range(len(learned))]
    ids = {text: i for i, text in enumerate(tokens)}
    rules = []
    for i, text in enumerate(tokens[first:], first):
        for cut in range(1, len(text)):
            left, right = text[:cut], text[cut:]
            if ids.get(left, 0) >= first and ids.get(right, 0) >= first:
                rules.append((-scores[i], i, ids[left], ids[right], (left, right)))
    oracle = tokenizers.Tokenizer(
        models.BPE(ids, [rule[-1] for rule in sorted(rules)], unk_token="<unk>", byte_fallback=True, fuse_unk=True)
    )
    oracle.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    metadata = {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.scores": scores,
        "tokenizer.ggml.token_type": types,
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
    }
    return metadata, oracle


@functools.cache
def trained_sentencepiece(**settings: Any) -> tuple[Any, bytes]:
    """A SentencePiece model by its own trainer, and the file's bytes."""
    out = io.BytesIO()
    settings = {key: list(value) if isinstance(value, tuple) else value for key, value in settings.items()}
    sentencepiece_library.SentencePieceTrainer.train(
        sentence_iterator=iter(LINES),
        model_writer=out,
        vocab_size=420,
        hard_vocab_limit=False,
        minloglevel=3,
        **settings,
    )
    return sentencepiece_library.SentencePieceProcessor(model_proto=out.getvalue()), out.getvalue()
