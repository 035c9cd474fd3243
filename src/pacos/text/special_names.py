"""Tokens that files often mislabel, recognised by their text.

Converters of many models forgot to say which token ends a turn, or marked markup as plain text. Every runtime of
GGUF files goes by these names; the lists are llama.cpp's, so that a file means the same here.
"""

from __future__ import annotations

# Metadata key -> what the token is for.
ROLES = {
    "bos_token_id": "bos",
    "eos_token_id": "eos",
    "eot_token_id": "eot",
    "eom_token_id": "eom",
    "unknown_token_id": "unk",
    "seperator_token_id": "sep",  # spelled so in files
    "padding_token_id": "pad",
    "mask_token_id": "mask",
    "cls_token_id": "cls",
    "fim_pre_token_id": "fim_pre",
    "fim_suf_token_id": "fim_suf",
    "fim_mid_token_id": "fim_mid",
    "fim_pad_token_id": "fim_pad",
    "fim_rep_token_id": "fim_rep",
    "fim_sep_token_id": "fim_sep",
    "prefix_token_id": "fim_pre",
    "suffix_token_id": "fim_suf",
    "middle_token_id": "fim_mid",
}

# What a role's token may be called where the file does not name one; the first that exists is taken.
BY_NAME = {
    "eot": (
        "<|eot_id|>",
        "<|im_end|>",
        "<|end|>",
        "<end_of_turn>",
        "<|endoftext|>",
        "<|end_of_text|>",
        "<EOT>",
        "_<EOT>",
        "[EOT]",
        "<｜end▁of▁sentence｜>",
        "<end_of_utterance>",
    ),
    "eom": ("<|eom_id|>",),
    "fim_pre": (
        *("<|fim_prefix|>", "<fim-prefix>", "<fim_prefix>", "<｜fim▁begin｜>", "<PRE>", "▁<PRE>"),
        *("<|code_prefix|>", "<|prefix|>"),
    ),
    "fim_suf": (
        *("<|fim_suffix|>", "<fim-suffix>", "<fim_suffix>", "<｜fim▁hole｜>", "<SUF>", "▁<SUF>"),
        *("<|code_suffix|>", "<|suffix|>"),
    ),
    "fim_mid": (
        *("<|fim_middle|>", "<fim-middle>", "<fim_middle>", "<｜fim▁end｜>", "<MID>", "▁<MID>"),
        *("<|code_middle|>", "<|middle|>"),
    ),
    "fim_pad": ("<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"),
    "fim_rep": ("<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"),
    "fim_sep": ("<|file_sep|>",),
}

# Every token of these names ends generation and is markup.
ENDS = (
    *BY_NAME["eot"],
    *BY_NAME["eom"],
    *("<|return|>", "<|call|>", "<|flush|>", "<|calls|>", "</s>", "[EOS]", "<eos>", "<turn|>", "<|tool_response>"),
    "[e~[",
)

# The roles whose token ends generation.
ENDING_ROLES = ("eos", "eot", "eom", "fim_pad", "fim_rep", "fim_sep")

# Markup that a reader of the raw output needs to see.
ALWAYS_SHOWN = ("<|channel|>", "<|message|>", "<|start|>", "<|constrain|>")

# Where all tokens of one group end generation, "<|end|>" only closes a part of a turn.
END_IS_INNER = tuple({first, second} for first in ("<|return|>", "<|flush|>") for second in ("<|call|>", "<|calls|>"))

# Where one of these ends generation, "</s>" is plain text.
S_IS_TEXT = ("<|tool_response>", "<|plamo:eos|>")
