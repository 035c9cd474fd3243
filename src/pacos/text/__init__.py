"""Strings and tokens: tokenizers, chat templates, streaming text. Knows no engine."""
