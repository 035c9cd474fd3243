"""A vocabulary in native code: the ctypes side of tokenizer.cpp, with failures turned into errors."""

from __future__ import annotations

import ctypes
import functools
import struct
import weakref
from array import array
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from pacos import native
from pacos.errors import CapacityError, FormatError, NativeError, UsageError

MAX_PIECES = 1 << 24  # exclusive
MAX_PIECE_BYTES = 65536
MAX_TEXT_BYTES = 1 << 30
_MAX_ARRAY_BYTES = (1 << 32) - 1

# The order of failures.hpp.
_OUT_OF_MEMORY, _BAD_STRINGS, _PIECE_TOO_LONG, _NO_SPACE = range(-1, -5, -1)
_TWO_SPACES, _UNKNOWN_PIECES, _BAD_EXPRESSION = range(-5, -8, -1)
_BAD_CHARSMAP = -9

_POINTER, _SIZE, _COUNT, _ID = ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint32, ctypes.c_int32
_SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "pacos_tokenizer_new": (_ID, [_POINTER, _SIZE, _COUNT, _POINTER, _POINTER]),
    "pacos_tokenizer_free": (None, [_POINTER]),
    "pacos_tokenizer_types": (_ID, [_POINTER, _POINTER]),
    "pacos_tokenizer_bpe": (_ID, [_POINTER, _POINTER, _SIZE, _COUNT, _COUNT, _POINTER]),
    "pacos_tokenizer_splitter": (_ID, [_POINTER, ctypes.c_char_p, _POINTER, _SIZE]),
    "pacos_tokenizer_sentencepiece": (_ID, [_POINTER, _POINTER, _ID, _ID]),
    "pacos_tokenizer_wordpiece": (_ID, [_POINTER, _COUNT, _ID]),
    "pacos_tokenizer_unigram": (_ID, [_POINTER, _POINTER, ctypes.c_char_p, _SIZE, _COUNT, _ID]),
    "pacos_tokenizer_rwkv": (_ID, [_POINTER, _ID]),
    "pacos_tokenizer_plamo2": (_ID, [_POINTER, _POINTER]),
    "pacos_tokenizer_special": (_ID, [_POINTER, _ID, _COUNT]),
    "pacos_tokenizer_find": (_ID, [_POINTER, ctypes.c_char_p, _SIZE]),
    "pacos_tokenizer_of_type": (ctypes.c_int64, [_POINTER, _ID, _POINTER, _SIZE]),
    "pacos_tokenizer_text": (ctypes.c_int64, [_POINTER, _ID, _POINTER, _SIZE]),
    "pacos_tokenizer_pieces": (ctypes.c_int64, [_POINTER, _POINTER, _SIZE, _ID, _POINTER, _SIZE]),
    "pacos_tokenizer_encode": (ctypes.c_int64, [_POINTER, ctypes.c_char_p, _SIZE, _POINTER, _SIZE, _POINTER, _SIZE]),
    "pacos_tokenizer_split": (ctypes.c_int64, [_POINTER, ctypes.c_char_p, _SIZE, _POINTER, _SIZE]),
}


@functools.cache
def _function(name: str) -> Callable[..., Any]:
    result, arguments = _SIGNATURES[name]
    return native.function(name, result, arguments)


class PackedStrings:
    """Strings as they lie in a GGUF file, for native code: from the file itself, or packed from a list."""

    def __init__(self, key: str, strings: Any) -> None:
        if not isinstance(strings, Sequence) or isinstance(strings, (str, bytes, array)):
            raise FormatError(f"{key} is a {type(strings).__name__}, an array of strings is needed")
        self.strings: Sequence[str] = strings
        self.buffer: object = strings  # what keeps the bytes alive
        self.count = len(strings)
        address, nbytes = getattr(strings, "address", None), getattr(strings, "nbytes", None)
        if not isinstance(address, int) or not isinstance(nbytes, int):
            try:
                encoded = [text.encode("utf-8", "surrogateescape") for text in strings]
            except (AttributeError, UnicodeEncodeError):
                raise FormatError(f"{key} holds elements that are no strings") from None
            packed = b"".join(struct.pack("<Q", len(text)) + text for text in encoded)
            buffer = ctypes.create_string_buffer(packed, len(packed))
            self.buffer = buffer
            address, nbytes = ctypes.addressof(buffer), len(packed)
        self.address, self.nbytes = address, nbytes
        if self.nbytes > _MAX_ARRAY_BYTES:
            raise FormatError(f"{key} has {self.nbytes} bytes, at most {_MAX_ARRAY_BYTES} are allowed")


class NativeVocabulary:
    """Pieces of a vocabulary by id and by text, and what encodes with them.

    Set it up from one thread, with the methods above `find`; from then on any number of threads may use it.
    """

    def __init__(self, tokens: PackedStrings) -> None:
        handle, where = ctypes.c_void_p(), ctypes.c_int64(0)
        code = _function("pacos_tokenizer_new")(
            tokens.address, tokens.nbytes, tokens.count, ctypes.byref(handle), ctypes.byref(where)
        )
        if code != 0:
            _fail(code, "token", where.value)
        self.size = tokens.count
        self._handle = handle
        weakref.finalize(self, _function("pacos_tokenizer_free"), handle)

    def set_types(self, types: array[int]) -> None:
        """Give every piece its GGUF token type."""
        _check(_function("pacos_tokenizer_types")(self._handle, types.buffer_info()[0]))

    def use_bpe(self, merges: PackedStrings, flags: int, expressions: Sequence[str]) -> None:
        """Encode by ranked merges of words that the expressions cut.

        Errors: FormatError naming a merge that is malformed or speaks of unknown pieces.
        """
        where = ctypes.c_int64(0)
        code = _function("pacos_tokenizer_bpe")(
            self._handle, merges.address, merges.nbytes, merges.count, flags, ctypes.byref(where)
        )
        if code != 0:
            _fail(code, "merge", where.value, merges)
        message = ctypes.create_string_buffer(1000)
        for expression in expressions:
            code = _function("pacos_tokenizer_splitter")(self._handle, expression.encode(), message, len(message))
            if code == _BAD_EXPRESSION:
                raise NativeError(message.value.decode("utf-8", "replace"))
            _check(code)

    def use_sentencepiece(self, scores: array[float] | None, *, add_space: bool, unknown: int | None) -> None:
        """Encode by scores, with bytes for what is left over."""
        address = scores.buffer_info()[0] if scores is not None else None
        _check(
            _function("pacos_tokenizer_sentencepiece")(
                self._handle, address, add_space, -1 if unknown is None else unknown
            )
        )

    def use_wordpiece(self, *, lower: bool, strip_marks: bool, unknown: int | None) -> None:
        """Encode words of folded text by the longest pieces."""
        flags = lower | strip_marks << 1
        _check(_function("pacos_tokenizer_wordpiece")(self._handle, flags, -1 if unknown is None else unknown))

    def use_unigram(
        self, scores: array[float], charsmap: bytes, *, add_space: bool, merge_spaces: bool, unknown: int | None
    ) -> None:
        """Encode by the pieces whose scores add up to the most, after characters became what the charsmap says.

        Errors: FormatError for bytes that are no charsmap.
        """
        flags = add_space | merge_spaces << 1
        code = _function("pacos_tokenizer_unigram")(
            self._handle, scores.buffer_info()[0], charsmap, len(charsmap), flags, -1 if unknown is None else unknown
        )
        if code == _BAD_CHARSMAP:
            raise FormatError(f"tokenizer.ggml.precompiled_charsmap: {len(charsmap)} bytes that are no charsmap")
        _check(code)

    def use_rwkv(self, *, unknown: int | None) -> None:
        """Encode by the longest piece at each place; pieces are written with escapes."""
        _check(_function("pacos_tokenizer_rwkv")(self._handle, -1 if unknown is None else unknown))

    def use_plamo2(self, scores: array[float]) -> None:
        """Encode by the pieces whose rounded scores add up to the most, with bytes for what is left over."""
        _check(_function("pacos_tokenizer_plamo2")(self._handle, scores.buffer_info()[0]))

    def add_special(self, token: int, *, markup_only: bool, strip_left: bool, strip_right: bool) -> None:
        """Recognise the text of this token as the token itself."""
        flags = markup_only | strip_left << 1 | strip_right << 2
        _check(_function("pacos_tokenizer_special")(self._handle, token, flags))

    def find(self, text: str) -> int | None:
        """The id of the piece with this text."""
        encoded = text.encode("utf-8", "surrogateescape")
        found: int = _function("pacos_tokenizer_find")(self._handle, encoded, len(encoded))
        return found if found >= 0 else None

    def of_type(self, kind: int) -> array[int]:
        """Ids of the tokens of one type, ascending."""
        return self._numbers("i", 1024, functools.partial(_function("pacos_tokenizer_of_type"), self._handle, kind))

    def text(self, token: int) -> bytes:
        """The vocabulary's own spelling of a piece."""
        return self._filled(64, lambda out, size: _function("pacos_tokenizer_text")(self._handle, token, out, size))

    def pieces(self, tokens: array[int], *, special: bool) -> bytes:
        """The bytes that these tokens add to a text; markup only where `special`."""
        address, count = tokens.buffer_info()
        call = functools.partial(_function("pacos_tokenizer_pieces"), self._handle, address, count, special)
        return self._filled(16 + 8 * count, call)

    def every_piece(self) -> list[bytes]:
        """The bytes of each token on its own, markup by name."""
        call, handle = _function("pacos_tokenizer_pieces"), self._handle
        ids, room = array("i", range(self.size)), MAX_PIECE_BYTES + 16
        buffer = ctypes.create_string_buffer(room)
        first = ids.buffer_info()[0]
        return [
            ctypes.string_at(buffer, _check(call(handle, first + 4 * token, 1, True, buffer, room))) for token in ids
        ]

    def encode(self, text: bytes, markup: Sequence[tuple[int, int]]) -> array[int]:
        """Ids of a text; control tokens are recognised only inside the markup spans (in bytes)."""
        if len(text) > MAX_TEXT_BYTES:
            raise UsageError(f"the text has {len(text)} bytes, at most {MAX_TEXT_BYTES} can be encoded at once")
        spans = array("Q", [edge for span in markup for edge in span])
        call = functools.partial(
            _function("pacos_tokenizer_encode"), self._handle, text, len(text), spans.buffer_info()[0], len(markup)
        )
        return self._numbers("i", len(text) + 16, call)

    def split(self, text: bytes) -> array[int]:
        """Ends in bytes of the words that valid UTF-8 is cut into before merging."""
        return self._numbers(
            "I", len(text) + 1, functools.partial(_function("pacos_tokenizer_split"), self._handle, text, len(text))
        )

    def _filled(self, guess: int, call: Callable[[Any, int], int]) -> bytes:
        buffer = ctypes.create_string_buffer(guess)
        size = _check(call(buffer, guess))
        if size > guess:
            buffer = ctypes.create_string_buffer(size)
            size = _check(call(buffer, size))
        return buffer.raw[:size]

    def _numbers(self, typecode: str, guess: int, call: Callable[[int, int], int]) -> array[int]:
        numbers = array(typecode, bytes(4 * guess))
        size = _check(call(numbers.buffer_info()[0], guess))
        if size > guess:
            numbers = array(typecode, bytes(4 * size))
            size = _check(call(numbers.buffer_info()[0], size))
        del numbers[size:]
        return numbers


def _check(code: int) -> int:
    """What a native function returned, unless that is a failure."""
    if code == _OUT_OF_MEMORY:
        raise CapacityError("not enough memory for the tokenizer")
    if code < 0:
        raise NativeError(f"the tokenizer was called wrongly (code {code})")
    return code


def _fail(code: int, what: str, index: int, merges: PackedStrings | None = None) -> NoReturn:
    """Say what is wrong with a token or merge of the file."""
    name = f"{what} {index}"
    if merges is not None:
        name += f" ({merges.strings[index][:80]!r})"
    if code == _PIECE_TOO_LONG:
        raise FormatError(f"{name} is longer than {MAX_PIECE_BYTES} bytes")
    if code == _NO_SPACE:
        raise FormatError(f"{name} has no space between two pieces")
    if code == _TWO_SPACES:
        raise FormatError(f"{name} has more than one space")
    if code == _UNKNOWN_PIECES:
        raise FormatError(f"{name} speaks of pieces that are not in the vocabulary")
    if code == _BAD_STRINGS:
        raise FormatError(f"{name}: the array of strings is damaged")
    _check(code)
    raise NativeError(f"{name} failed with code {code}")
