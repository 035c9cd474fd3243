r"""How each family of byte-pair vocabularies cuts text into words before merging (`tokenizer.ggml.pre`).

A row is data: the names that files use, and expressions in the dialect of splitter.hpp, applied one after the other
to the pieces that the one before left. Where llama.cpp approximates the expression that a model was trained with
(it has no upper-case class, for instance), the row has the original. A new name is one row.
Source: tokenizer.json of each model family; the names are those that llama.cpp's converter writes.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

from pacos.errors import UnsupportedModel

_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_SHORT_FORM = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_WORD = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_SIGNS = r" ?[^\s\p{L}\p{N}]+[\r\n]*"
_SIGNS_SLASH = r" ?[^\s\p{L}\p{N}]+[\r\n/]*"
_LLAMA3 = rf"{_SHORT_FORM}|{_WORD}|\p{{N}}{{1,3}}|{_SIGNS}|{_SPACES}"
_QWEN2 = rf"{_SHORT_FORM}|{_WORD}|\p{{N}}|{_SIGNS}|{_SPACES}"
_UPPER, _LOWER = r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}", r"\p{Ll}\p{Lm}\p{Lo}\p{M}"
_HEAD = r"[^\r\n\p{L}\p{N}]?"


def _cased(tail: str, *, without: str = "") -> str:
    """Words that end where a capital follows small letters; `without` is taken out of both letter classes."""
    upper, lower = f"[{_UPPER}{without}]", f"[{_LOWER}{without}]"
    return f"{_HEAD}{upper}*{lower}+{tail}|{_HEAD}{upper}+{lower}*{tail}"


_GPT4O = rf"{_cased(_SHORT_FORM + '?')}|\p{{N}}{{1,3}}|{_SIGNS_SLASH}|{_SPACES}"
_ASCII_SIGNS = r'[!"#$%&\'()*+,\-./:;<=>?@\[\\\]\^_`{|}~]'
_KANA_HAN = r"[一-龥぀-ゟ゠-ヿ]+"
_DEEPSEEK3 = (
    r"\p{N}{1,3}",
    _KANA_HAN,
    rf"{_ASCII_SIGNS}[A-Za-z]+|[^\r\n\p{{L}}\p{{P}}\p{{S}}]?[\p{{L}}\p{{M}}]+| ?[\p{{P}}\p{{S}}]+[\r\n]*|{_SPACES}",
)
_DEEPSEEK_LETTERS = (
    r"\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗ"
    "ὙὛὝὟ-\u1f7dᾀ-ᾴᾶ-ᾼ\u1fbeῂ-ῄῆ-ῌῐ-\u1fd3ῖ-\u1fdbῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤ\u2126ℨ\u212a-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭ"
    "Ꚁ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+"
)
_CJK_HANGUL = "[一-龥\u0800-一가-\ud7ff]+"
_BLOOM = r" ?[^(\s|.,!?…。，、।۔،)]+"
_NOT_HAN = r"&&[^\p{Han}]"
_DIGITS_FROM_RIGHT = r"(?r)\p{N}{1,3}"
_AFMOE_SCRIPTS = (
    "[一-鿿㐀-䶿豈-\ufaff\u3040-ゟ゠-ヿ･-ﾟ⼀-\u2fdf\u0e40-\u0e7f\u0e80-\u0eff\u1780-\u17ff\u1000-\u109f\uaa60-ꩿ\ua9e0-\ua9ff"
    "가-\ud7af\u1100-ᇿ]+"
)
_YOUTU_SCRIPTS = r"[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|[一-龥぀-ゟ゠-ヿ]+"


@dataclass(frozen=True, slots=True)
class Splitter:
    """One family's words, and what its files leave unsaid.

    whole_words: a word that is a piece of the vocabulary is taken as it is, whatever the merges say.
    default_bos: whether the family's files may leave out the id of the token that begins a text.
    """

    names: tuple[str, ...]
    expressions: tuple[str, ...]
    whole_words: bool = False
    add_bos: bool = False
    add_sep: bool = False
    default_bos: bool = True
    byte_level: bool = True
    escape_spaces: bool = False
    newline_pieces: bool = False


def _row(names: str, *expressions: str, **rest: bool) -> Splitter:
    return Splitter(tuple(names.split()), expressions, **rest)


SPLITTERS = (
    _row("default", r"[\p{P}\$\+<=>\^~\|]+", _GPT2, r"\p{N}+", r"[0-9][0-9][0-9]"),
    _row(
        "llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano",
        _LLAMA3,
        whole_words=True,
        add_bos=True,
    ),
    _row("dbrx smaug-bpe", _LLAMA3),
    _row("chatglm-bpe", _LLAMA3, default_bos=False),
    _row("glm4 glm5", _LLAMA3, whole_words=True, default_bos=False),
    _row(
        "jais-2",
        rf"{_SHORT_FORM}|{_WORD}|\p{{N}}{{1,3}}|{_SIGNS}|\s*[\r\n]+|\s{{512}}(?!\S)|\s{{256}}(?!\S)|\s{{128}}(?!\S)"
        r"|\s{64}(?!\S)|\s{32}(?!\S)|\s{16}(?!\S)|\s{8}(?!\S)|\s{4}(?!\S)|\s{1,2}(?!\S)|\s",
    ),
    _row("minicpm5", r"\p{N}{1,3}", rf"{_SHORT_FORM}|{_WORD}|\p{{N}}+|{_SIGNS}|{_SPACES}", whole_words=True),
    _row("qwen2 deepseek-r1-qwen kormo f2llmv2 megrez stablelm2 hunyuan solar-open grok-2", _QWEN2),
    _row("qwen35", rf"{_SHORT_FORM}|{_HEAD}[\p{{L}}\p{{M}}]+|\p{{N}}| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|{_SPACES}"),
    _row("laguna", r"[^\n]+|[\n]+", _QWEN2),
    _row("ufakzeka", rf"{_WORD}|\p{{N}}|{_SIGNS}|{_SPACES}"),
    _row(
        "bailingmoe bailingmoe2 llada-moe",
        rf"(?i:'s|'d|'m|'t|'ll|'ve|'re)|{_WORD}|\p{{N}}|{_SIGNS}|\s*[\r\n]|\s+(?!\S)|\s+",
    ),
    _row("seed-coder", rf"{_SHORT_FORM}|{_WORD}|\p{{N}}| ?[^\s\p{{L}}\p{{N}}\r\n]+|{_SPACES}"),
    _row(
        "exaone-moe",
        rf"{_SHORT_FORM}|{_HEAD}(?:\p{{L}}\p{{M}}*(?: \p{{L}}\p{{M}}*)*)+|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]?"
        r"|\s*[\r\n]|\s+(?!\S)|\s+",
    ),
    _row(
        "gpt-2 phi-2 jina-es jina-de gigachat jina-v2-es jina-v2-de a.x-4.0 mellum modern-bert mpt olmo jais exaone4 "
        "trillion granite-docling",
        _GPT2,
    ),
    _row("jina-v1-en jina-v2-code roberta-bpe", _GPT2, add_sep=True),
    _row("starcoder refact command-r smollm codeshell exaone minerva-7b mellum2", r"\p{N}", _GPT2),
    _row("falcon", r"[\p{P}\$\+<=>\^~\|`]+", _GPT2, r"[0-9][0-9][0-9]"),
    _row(
        "deepseek-llm",
        r"[\r\n]",
        _DEEPSEEK_LETTERS,
        r"\s?[!-/:-~！-／：-～‘-‟\u3000-。]+".replace(r"\u3000", "\u3000"),
        r"\s+$",
        _CJK_HANGUL,
        r"\p{N}+",
    ),
    _row("deepseek-coder", r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", _CJK_HANGUL, r"\p{N}"),
    _row("deepseek-v3 hunyuan-dense joyai-llm hy_v4", *_DEEPSEEK3),
    _row(
        "spark2_5",
        *_DEEPSEEK3[:2],
        rf"{_ASCII_SIGNS}[A-Za-z]+|[^\r\n\p{{L}}\p{{P}}\p{{S}}]?[\p{{L}}\p{{M}}]+| ?[\p{{P}}\p{{S}}]+|[\r\n]"
        r"|\s+(?!\S)|\s+",
        r"\p{N}",
    ),
    _row(
        "youtu",
        _YOUTU_SCRIPTS,
        rf"{_cased(_SHORT_FORM + '?')}|\p{{N}}|{_SIGNS_SLASH}|{_SPACES}",
        whole_words=True,
    ),
    _row("poro-chat bloom gpt3-finnish", _BLOOM),
    _row("viking", _BLOOM, r"\p{N}"),
    _row("tekken", rf"{_cased('')}|\p{{N}}|{_SIGNS_SLASH}|{_SPACES}", whole_words=True, add_bos=True),
    _row(
        "chameleon",
        r"<sentinel:[0-9]+>",
        r"(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z",
        r"([\t\n]|    |  )",
        r"\p{N}",
        r"[\p{P}!-/:-@\[-`{-~]",
        _GPT2,
        add_bos=True,
    ),
    _row("gpt-4o llama4 kanana2 talkie minimax-m2", _GPT4O),
    _row("granite-embed-multi-97m", _GPT4O, whole_words=True),
    _row("tiny_aya cohere2moe", _DIGITS_FROM_RIGHT, _GPT4O),
    _row(
        "kimi-k2",
        rf"\p{{Han}}+|{_cased(_SHORT_FORM + '?', without=_NOT_HAN)}|\p{{N}}{{1,3}}|{_SIGNS}|{_SPACES}",
    ),
    _row("superbpe", r"\p{N}+", r"(?r)[0-9]{1,3}"),
    _row(
        "afmoe",
        _DIGITS_FROM_RIGHT,
        _AFMOE_SCRIPTS,
        _DEEPSEEK3[2],
    ),
    _row(
        "gemma4 granite-embed-multi-311m",
        r"[^\n]+|[\n]+",
        add_bos=True,
        byte_level=False,
        escape_spaces=True,
        newline_pieces=True,
    ),
    _row("whitespace", r"\S+", byte_level=False),
    _row("sarvam-moe", r"[^\n]+|[\n]+", byte_level=False, escape_spaces=True),
)


@functools.cache
def splitter_names() -> dict[str, Splitter]:
    """Every accepted name with its row."""
    return {name: splitter for splitter in SPLITTERS for name in splitter.names}


def find_splitter(name: str) -> Splitter:
    """The row for a name of `tokenizer.ggml.pre`.

    Errors: UnsupportedModel naming the nearest names.
    """
    names = splitter_names()
    if name in names:
        return names[name]
    import difflib

    near = difflib.get_close_matches(name[:100], names, n=5, cutoff=0.4) or sorted(names)
    raise UnsupportedModel(
        f"the file's pre-tokenizer is {name[:100]!r}, which Pacos does not know",
        hint=f"the nearest of {len(names)} known names: {', '.join(near)}",
    )
