"""Tiny models, a file for each family: `CASES` of decoders, `ENCODERS` of encoders."""
