"""Read the pickle of a PyTorch checkpoint without running anything: a small stack machine that knows only data.

It makes dictionaries, lists, tuples, numbers and strings. Of names that a pickle may call, it knows how PyTorch writes
tensors; each becomes a `PickledTensor`. Every other name, and every operation that such files do not need, is refused.
Source: Python's pickletools (meaning of the operations); PyTorch's torch/_utils.py and torch/serialization.py (names).
"""

from __future__ import annotations

import functools
import pickletools
from collections.abc import Callable
from typing import Any, NamedTuple

from pacos.errors import FormatError
from pacos.formats.wording import shown

MAX_OPERATIONS = 20_000_000
_HINT = "Pacos reads checkpoints that hold tensors, numbers and texts only; get the model as safetensors or GGUF"
_STORAGES = {
    **{"FloatStorage": "F32", "HalfStorage": "F16", "BFloat16Storage": "BF16", "DoubleStorage": "F64"},
    **{"LongStorage": "I64", "IntStorage": "I32", "ShortStorage": "I16", "CharStorage": "I8"},
    **{"ByteStorage": "U8", "BoolStorage": "BOOL", "Float8_e4m3fnStorage": "F8_E4M3", "Float8_e5m2Storage": "F8_E5M2"},
}
_LITERALS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_PASSED = {"PROTO", "FRAME"}
_VALUES = {
    *("BININT", "BININT1", "BININT2", "LONG1", "INT", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "UNICODE"),
    *("SHORT_BINSTRING", "BINSTRING", "STRING", "SHORT_BINBYTES", "BINBYTES"),
}


class Storage(NamedTuple):
    """A run of numbers in a file of the archive: its type, the file's key, and how many numbers it holds."""

    type: str
    key: str
    numbers: int


class PickledTensor(NamedTuple):
    """A tensor's place in its storage. Units: `start` and `strides` in numbers, not bytes."""

    storage: Storage
    start: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Name(NamedTuple):
    module: str
    name: str


_MARK = object()


def unpickled(content: bytes, where: str) -> Any:
    """The object that the pickle describes. Errors: FormatError."""
    machine = _Machine(where)
    try:
        for count, (operation, argument, _) in enumerate(pickletools.genops(content)):
            if count >= MAX_OPERATIONS:
                raise machine.refusal(f"more than {MAX_OPERATIONS} operations")
            machine.run(operation.name, argument)
        return machine.result()
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, AttributeError, RecursionError) as error:
        raise FormatError(f"{where}: the pickle is damaged: {shown(error)}", hint="download it again") from None


class _Machine:
    """The stack, the memo, and one method for each kind of operation."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._done: list[Any] = []
        self._special: dict[str, Callable[[Any], None]] = {
            **{"MARK": lambda _: self._stack.append(_MARK), "STOP": lambda _: self._done.append(self._stack.pop())},
            **{"EMPTY_DICT": lambda _: self._stack.append({}), "EMPTY_LIST": lambda _: self._stack.append([])},
            **{"EMPTY_TUPLE": lambda _: self._stack.append(()), "POP": lambda _: self._stack.pop()},
            **{"TUPLE": lambda _: self._stack.append(tuple(self._marked()))},
            **{f"TUPLE{size}": functools.partial(self._tuple, size) for size in (1, 2, 3)},
            **{"BINPUT": self._keep, "LONG_BINPUT": self._keep, "PUT": self._keep},
            **{"MEMOIZE": lambda _: self._keep(len(self._memo))},
            **{"BINGET": self._fetch, "LONG_BINGET": self._fetch, "GET": self._fetch},
            **{"GLOBAL": lambda text: self._name(*text.split(" ", 1)), "STACK_GLOBAL": self._stack_name},
            **{"BINPERSID": lambda _: self._stack.append(self._storage(self._stack.pop()))},
            **{"REDUCE": self._call, "BUILD": self._build},
            **{"SETITEM": lambda _: self._set([self._stack.pop(-2), self._stack.pop()])},
            **{"SETITEMS": lambda _: self._set(self._marked())},
            **{
                "APPEND": lambda _: self._extend([self._stack.pop()]),
                "APPENDS": lambda _: self._extend(self._marked()),
            },
        }

    def run(self, name: str, argument: Any) -> None:
        """One operation."""
        if name in _VALUES:
            self._stack.append(argument)
        elif name in _LITERALS:
            self._stack.append(_LITERALS[name])
        elif name in self._special:
            self._special[name](argument)
        elif name not in _PASSED:
            raise self.refusal(f"the operation {name}")

    def result(self) -> Any:
        """What was on the stack at the end."""
        return self._done[0]

    def refusal(self, what: str) -> FormatError:
        """The error for what such a pickle must not hold."""
        return FormatError(f"{self._where}: the checkpoint's pickle holds {shown(what)}", hint=_HINT)

    def _marked(self) -> list[Any]:
        at = len(self._stack) - 1
        while self._stack[at] is not _MARK:
            at -= 1
            if at < 0:
                raise IndexError("no mark on the stack")
        found = self._stack[at + 1 :]
        del self._stack[at:]
        return found

    def _tuple(self, size: int, _: Any) -> None:
        if len(self._stack) < size:
            raise IndexError("the stack is empty")
        found = tuple(self._stack[-size:])
        del self._stack[-size:]
        self._stack.append(found)

    def _keep(self, number: int) -> None:
        self._memo[number] = self._stack[-1]

    def _fetch(self, number: int) -> None:
        self._stack.append(self._memo[number])

    def _name(self, module: str, name: str) -> None:
        storage = module in ("torch", "torch.storage") and (name in _STORAGES or name == "UntypedStorage")
        if not storage and (module, name) not in _CALLED:
            raise self.refusal(f"a call of {module}.{name}")
        self._stack.append(_Name(module, name))

    def _stack_name(self, _: Any) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        self._name(str(module), str(name))

    def _storage(self, told: Any) -> Storage:
        kind, name, key, _, count = told
        if kind != "storage" or not isinstance(name, _Name) or name.name not in _STORAGES:
            raise self.refusal(f"a persistent object {kind}")
        return Storage(_STORAGES[name.name], str(key), int(count))

    def _call(self, _: Any) -> None:
        arguments, name = self._stack.pop(), self._stack.pop()
        if not isinstance(name, _Name) or (name.module, name.name) not in _CALLED:
            raise self.refusal("a call of something that is no name of PyTorch's")
        self._stack.append(_CALLED[name.module, name.name](arguments))

    def _build(self, _: Any) -> None:
        """Attributes of an object, such as the versions of a module's state: not needed."""
        self._stack.pop()

    def _set(self, pairs: list[Any]) -> None:
        self._stack[-1].update(zip(pairs[::2], pairs[1::2], strict=True))

    def _extend(self, items: list[Any]) -> None:
        self._stack[-1].extend(items)


def _tensor(arguments: Any) -> PickledTensor:
    storage, start, shape, strides = arguments[:4]
    numbers = (start, *shape, *strides)
    if not isinstance(storage, Storage) or any(type(number) is not int or number < 0 for number in numbers):
        raise ValueError(f"a tensor of {shown(arguments)}")
    return PickledTensor(storage, start, tuple(shape), tuple(strides))


def _parameter(arguments: Any) -> Any:
    return arguments[0]


def _dictionary(arguments: Any) -> dict[Any, Any]:
    return dict(*arguments)


_CALLED: dict[tuple[str, str], Callable[[Any], Any]] = {
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("collections", "OrderedDict"): _dictionary,
}
