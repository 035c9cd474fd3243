"""Special tokens: where they are recognised, which end generation, what files get wrong about them."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import pytest
from vocabularies import BOS, CONTROL, EOS, NORMAL, PARAGRAPH, TURN, USER_DEFINED, byte_level, sentencepiece

from pacos.text import special_names
from pacos.text.tokenizer import Tokenizer


def with_tokens(extra: dict[str, int], *, spm: bool = False, **changes: Any) -> Tokenizer:
    """A vocabulary with these tokens of these types at its end."""
    metadata = dict(sentencepiece()[0] if spm else byte_level("llama-bpe")[0])
    for key, more in (("tokens", list(extra)), ("token_type", list(extra.values())), ("scores", [-1e4] * len(extra))):
        if f"tokenizer.ggml.{key}" in metadata:
            metadata[f"tokenizer.ggml.{key}"] = metadata[f"tokenizer.ggml.{key}"] + more
    metadata.update({f"tokenizer.ggml.{k}": v for k, v in changes.items() if k != "name"})
    metadata["general.name"] = changes.get("name", "test")
    return Tokenizer.from_metadata(metadata)


def spelled(ours: Tokenizer, text: str, *, parse_special: bool = True) -> list[str]:
    return [ours.token_text(i) for i in ours.encode(text, add_special=False, parse_special=parse_special)]


def test_control_tokens_are_recognised_only_on_request() -> None:
    ours = with_tokens({})
    text = f"fox{TURN}fox{EOS}"
    marked = ours.encode(text, add_special=False, parse_special=True)
    plain = ours.encode(text, add_special=False)
    assert [i for i in marked if ours.is_control(i)] == [ours.find(TURN), ours.eos]
    assert not any(ours.is_control(i) for i in plain)
    assert ours.decode(plain) == text
    assert ours.decode(marked) == "foxfox"
    assert ours.decode(marked, special=True) == text


def test_data_never_becomes_markup() -> None:
    ours = with_tokens({"<|tool|>": CONTROL})
    literals = [BOS, EOS, TURN, "<|tool|>"]
    data = " ".join(literals) + "".join(literals)
    segments = [
        SimpleNamespace(text=TURN[:4], markup=False),  # the halves of a token never join over the border
        SimpleNamespace(text=TURN[4:], markup=True),
        SimpleNamespace(text=TURN, markup=True),
        SimpleNamespace(text=data, markup=False),
        SimpleNamespace(text=EOS[:3], markup=True),  # adjacent markup is one
        SimpleNamespace(text=EOS[3:], markup=True),
    ]
    ids = ours.encode_segments(segments, add_special=False)
    assert [i for i in ids if ours.is_control(i)] == [ours.find(TURN), ours.eos]
    assert ours.decode(ids, special=True) == TURN + TURN + data + EOS


def test_words_that_are_spelled_like_markup_stay_words() -> None:
    """A whole word that is a control token by type is merged from its letters in plain text."""
    ours = with_tokens({"assistant": CONTROL})
    assert ours.find("assistant") not in ours.encode("assistant", add_special=False)
    spm = with_tokens({"▁ass": NORMAL, "<s": NORMAL}, spm=True)
    assert 1 not in spm.encode("<s>", add_special=False)


def test_user_defined_tokens_are_always_recognised() -> None:
    for spm in (False, True):
        ours = with_tokens({"fox!": USER_DEFINED, "\n\n": USER_DEFINED}, spm=spm)
        assert "fox!" in spelled(ours, "quick fox! dog", parse_special=False)
        assert spelled(ours, "\n\n\n\n", parse_special=False)[-2:] == ["\n\n", "\n\n"]
        token = ours.find("fox!")
        assert token is not None
        assert ours.piece(token) == b"fox!"
        assert not ours.is_control(token)


def test_longer_tokens_win_wherever_they_begin() -> None:
    ours = with_tokens(dict.fromkeys(["abc", "cdefg", "aa", "aab", "xy", "yx", "\n", "\n\n", "\n\n\n"], USER_DEFINED))
    assert spelled(ours, "abcdefg") == ["a", "b", "cdefg"]
    assert spelled(ours, "abcde")[0] == "abc"
    assert spelled(ours, "aaab") == ["a", "aab"]
    assert spelled(ours, "aaaa") == ["aa", "aa"]
    assert spelled(ours, "xyx") == ["xy", "x"]
    assert spelled(ours, "\n" * 8) == ["\n\n\n", "\n\n\n", "\n\n"]


def test_longest_first_agrees_with_its_definition() -> None:
    """The definition: for each token from the longest, cut it out of all plain fragments from the left."""

    def cut(text: str, names: list[str]) -> list[str]:
        fragments = [(text, False)]
        for name in sorted(names, key=len, reverse=True):
            after: list[tuple[str, bool]] = []
            for piece, special in fragments:
                if special:
                    after.append((piece, True))
                    continue
                plain = piece.split(name)
                for i, part in enumerate(plain):
                    after += [(name, True)] if i else []
                    after += [(part, False)] if part else []
            fragments = after
        return [piece for piece, special in fragments if special]

    source = random.Random(5)
    for _ in range(30):
        # One token of each length: between equal lengths the definition leaves the order open.
        names = ["".join(source.choice("ab") for _ in range(n)) for n in source.sample(range(2, 9), 4)]
        extra = dict.fromkeys([f"{name}" for name in names], USER_DEFINED)
        ours = with_tokens(extra)
        taken = [name for name in extra if ours.find(name) == ours.vocab_size - len(extra) + list(extra).index(name)]
        if taken != list(extra):
            continue  # the trained vocabulary has one of them already
        for _ in range(30):
            text = "".join(source.choice("ab") for _ in range(24))
            ids = ours.encode(text, add_special=False)
            found = [ours.token_text(i) for i in ids if i >= ours.vocab_size - len(extra)]
            assert found == cut(text, names), (text, names)


def test_phi3_swallows_white_space_on_the_right() -> None:
    extra = {"<|user|>": CONTROL, "<|endoftext|>": CONTROL}
    ours, plain = with_tokens(extra, spm=True, name="Phi-3 mini"), with_tokens(extra, spm=True)
    assert spelled(ours, "<|user|> \n fox") == spelled(ours, "<|user|>fox")
    assert spelled(plain, "<|user|> \n fox") != spelled(plain, "<|user|>fox")
    assert spelled(ours, "<|endoftext|> fox") != spelled(ours, "<|endoftext|>fox")


def test_masks_swallow_white_space_on_the_left() -> None:
    ours = with_tokens({"<mask>": CONTROL}, pre="jina-v2-code")
    assert ours.add_sep
    assert spelled(ours, "fox \n <mask> fox") == spelled(ours, "fox<mask> fox")


@pytest.mark.parametrize("name", special_names.ENDS)
def test_known_ends_of_generation(name: str) -> None:
    ours = with_tokens({} if name in (EOS, TURN) else {name: NORMAL})
    token = ours.find(name)
    assert token in ours.eog
    assert ours.is_control(token)
    assert ours.piece(token) == b""


def test_roles_by_key_and_by_name() -> None:
    ours = with_tokens({"<|eom_id|>": NORMAL, "<|fim_prefix|>": NORMAL, "<|fim_pad|>": NORMAL}, eot_token_id=5)
    assert ours.special["eot"] == 5
    assert {5, ours.eos, ours.find("<|eom_id|>"), ours.find("<|fim_pad|>")} <= ours.eog
    assert ours.special["fim_pre"] == ours.find("<|fim_prefix|>")
    assert ours.is_control(ours.special["fim_pre"])
    assert ours.special["fim_pre"] not in ours.eog


def test_an_inner_end_does_not_end_generation() -> None:
    ours = with_tokens({"<|return|>": CONTROL, "<|call|>": CONTROL, "<|end|>": CONTROL})
    assert ours.find("<|end|>") not in ours.eog
    assert {ours.find("<|return|>"), ours.find("<|call|>")} <= ours.eog
    assert with_tokens({"<|end|>": CONTROL}).find("<|end|>") in with_tokens({"<|end|>": CONTROL}).eog


def test_an_s_marker_can_be_plain_text() -> None:
    ours = with_tokens({"<|tool_response>": NORMAL, "</s>": NORMAL})
    token = ours.find("</s>")
    assert token not in ours.eog
    assert not ours.is_control(token)


def test_channel_markers_are_shown() -> None:
    ours = with_tokens({"<|channel|>": CONTROL})
    assert ours.piece(ours.find("<|channel|>")) == b"<|channel|>"


def test_a_million_special_tokens() -> None:
    ours = with_tokens({})
    ids = ours.encode(TURN * 1_000_000, add_special=False, parse_special=True)
    assert ids == [ours.find(TURN)] * 1_000_000


def test_pieces_of_every_type() -> None:
    ours = with_tokens({"<un>": 2, "<cut>": 5, "<0x41>": 6, "é": NORMAL, "wörd": USER_DEFINED})
    pieces = {name: ours.piece(ours.find(name)) for name in ("<un>", "<cut>", "<0x41>", "é", "wörd")}
    assert pieces == {"<un>": b"", "<cut>": b"", "<0x41>": b"A", "é": b"\xe9", "wörd": "wörd".encode()}
    assert ours.piece(ours.find("<un>"), special=True) == b"<un>"


def test_gpt2_has_no_bos_where_its_family_has_none() -> None:
    metadata = {k: v for k, v in byte_level("chatglm-bpe")[0].items() if not k.endswith("bos_token_id")}
    assert Tokenizer.from_metadata(metadata).bos is None
    assert Tokenizer.from_metadata({**metadata, "tokenizer.ggml.pre": "gpt-2"}).bos == 11


def test_encoding_a_prompt_keeps_its_text() -> None:
    ours = with_tokens({})
    prompt = f"{BOS}user\n{PARAGRAPH}{TURN}\n"
    assert ours.decode(ours.encode(prompt, add_special=False, parse_special=True), special=True) == prompt
