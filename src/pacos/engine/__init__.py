"""The engine: token ids in, token ids out; many sequences share steps, pages and weights.

`load_engine` opens one, `Engine.submit` starts a sequence, `Sequence.events` gives its tokens as they come.
"""
