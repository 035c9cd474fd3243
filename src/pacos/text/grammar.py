"""Constraints: what of a vocabulary may come next, so that an answer obeys a grammar, a JSON schema, a regular
expression or a list of choices.

A grammar is a mapping as llguidance takes it, with a name: {"name": "answer", "lark_grammar": "start: ..."} or
{"name": "answer", "json_schema": {...}}. Several make one: the first, the whole answer, refers to others as @name.
"""

from __future__ import annotations

import json
import threading
from array import array
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pacos.errors import NoTokenLeft, UsageError
from pacos.settings.constraint import ConstraintOptions
from pacos.text.schema import read_schema, schema_text, strict_schema

if TYPE_CHECKING:
    import llguidance

    from pacos.text.tokenizer import Tokenizer

Grammar = Mapping[str, Any]

_MOST_CHARS = 1 << 20


def answer_grammar(options: ConstraintOptions, token_id: Callable[[str], int | None]) -> Grammar | None:
    """The grammar that these options ask for, named "answer"; None when they ask for none.

    `token_id` finds a token by its text. Errors: UsageError for two at once, or for what cannot be enforced.
    """
    given = [name for name in ("grammar", "json_schema", "regex", "lark", "choice") if getattr(options, name)]
    if not given:
        return None
    if len(given) > 1:
        raise UsageError(f"{given[0]} and {given[1]} both constrain the answer", hint="give one of them")
    value = getattr(options, given[0])
    if isinstance(value, str) and len(value) > _MOST_CHARS:
        raise UsageError(f"{given[0]} has {len(value):,} characters", hint=f"at most {_MOST_CHARS:,} are allowed")
    if given[0] == "grammar":
        from pacos.text.gbnf import gbnf_to_lark

        lark = gbnf_to_lark(value, token_id)
    elif given[0] == "json_schema":
        return {"name": "answer", "json_schema": json.loads(schema_text(strict_schema(read_schema(value))))}
    elif given[0] == "regex":
        lark = f"start: /{_slashed(value)}/\n"
    elif given[0] == "choice":
        lark = f"start: CHOICE\nCHOICE: {' | '.join(literal(choice) for choice in value)}\n"
    else:
        lark = value
    return {"name": "answer", "lark_grammar": lark}


def literal(text: str) -> str:
    """A text as Lark writes it."""
    return json.dumps(text, ensure_ascii=False)


def _slashed(regex: str) -> str:
    """A regular expression to stand between slashes."""
    parts, escaped = [], False
    for char in regex:
        parts.append("\\/" if char == "/" and not escaped else "\\n" if char == "\n" else char)
        escaped = char == "\\" and not escaped
    return "".join(parts)


class TokenConstraint:
    """What may come next in one answer. Call `mask` before, and `accept` after each token."""

    def __init__(self, matcher: llguidance.LLMatcher, vocab_size: int) -> None:
        self._matcher = matcher
        self._words = array("I", bytes(4 * -(-vocab_size // 32)))
        self._view = memoryview(self._words)
        self._address, count = self._words.buffer_info()
        self._bytes = 4 * count

    def mask(self) -> memoryview[int]:
        """Which tokens may come next; valid until the next call.

        Shapes: u32 [ceil(V / 32)], bit t % 32 of word t // 32 is set when token t may. Errors: NoTokenLeft when
        the grammar became too complex to follow.
        """
        self._matcher.unsafe_compute_mask_ptr(self._address, self._bytes)
        if self._matcher.is_error():
            raise NoTokenLeft(f"the constraint failed: {_told(self._matcher.get_error())}", hint="simplify it")
        return self._view

    def accept(self, token: int) -> None:
        """Go on past a token. Errors: NoTokenLeft when the mask did not allow it."""
        if not self._matcher.consume_token(token):
            hint = "the vocabulary may lack the characters that the constraint asks for, as T5's lacks braces"
            raise NoTokenLeft(f"token {token} breaks the constraint: {_told(self._matcher.get_error())}", hint=hint)


def check_schema(text: str) -> None:
    """Try a schema's text without a vocabulary. Errors: UsageError saying what cannot be enforced."""
    library = _library()
    problem = library.LLMatcher.validate_grammar(json.dumps({"grammars": [{"json_schema": json.loads(text)}]}))
    if problem and not problem.startswith("WARNING"):
        raise UsageError(f"the JSON schema cannot be enforced: {_told(problem)}", hint="change it")


class GrammarVocabulary:
    """A vocabulary as llguidance sees it, made at first use; safe from many threads.

    `vocab_size` is the number of the model's logits, which may be more than the tokenizer has tokens.
    """

    def __init__(self, tokenizer: Tokenizer, vocab_size: int) -> None:
        self.tokenizer = tokenizer
        self.vocab_size = vocab_size
        self._made: llguidance.LLTokenizer | None = None
        self._lock = threading.Lock()

    def constraint(self, grammars: Sequence[Grammar]) -> TokenConstraint:
        """Follow a grammar, the first of these.

        Errors: UsageError saying what in it cannot be enforced.
        """
        library = _library()
        with self._lock:
            self._made = self._made or self._make(library)
        matcher = library.LLMatcher(self._made, json.dumps({"grammars": list(grammars)}), log_level=0)
        if matcher.is_error():
            raise UsageError(f"the constraint cannot be enforced: {_told(matcher.get_error())}", hint="change it")
        return TokenConstraint(matcher, self.vocab_size)

    def _make(self, library: Any) -> llguidance.LLTokenizer:
        ends = sorted(self.tokenizer.eog)
        if not ends:
            raise UsageError("no token of this model ends a text, so no constraint can", hint="use another model")
        wrapped = library.TokenizerWrapper(_Tokens(self.tokenizer, self.vocab_size))
        made: llguidance.LLTokenizer = library.LLTokenizer(wrapped, eos_token=ends)
        return made


class _Tokens:
    """What llguidance asks of a tokenizer."""

    def __init__(self, tokenizer: Tokenizer, vocab_size: int) -> None:
        self._tokenizer = tokenizer
        self.eos_token_id = tokenizer.eos if tokenizer.eos is not None else min(tokenizer.eog)
        self.bos_token_id = tokenizer.bos
        pieces = tokenizer.every_piece()
        self.tokens = pieces + [b""] * (vocab_size - len(pieces))
        self.special_token_ids = tokenizer.control_ids()

    def __call__(self, text: bytes | str) -> list[int]:
        return self._tokenizer.encode(text, add_special=False)


def _library() -> Any:
    try:
        import llguidance
    except ImportError as error:
        raise UsageError("constraints need llguidance", hint="pip install llguidance") from error
    return llguidance


def _told(message: str) -> str:
    """What llguidance says, on one line: its first, and the reason that its regex parser gives at the end."""
    lines = [line.strip() for line in message.strip().splitlines() if line.strip()]
    reason = next((line for line in reversed(lines) if line.startswith("error:")), None)
    found = " ".join(dict.fromkeys(filter(None, (lines[0] if lines else "it says nothing", reason))))
    return found if len(found) <= 400 else f"{found[:397]}..."
