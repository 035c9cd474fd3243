"""Compile and run chat templates in a jinja2 sandbox that counts what they do.

Imports jinja2, which takes 60 ms: import this module inside functions only. It is the one place that makes a
Jinja environment. Beyond jinja2's ImmutableSandboxedEnvironment:

- attributes are allowed by list, not forbidden by list;
- one environment lives for one rendering and owns its `Budget`; threads share nothing but compiled code;
- each block of a template takes a step, and so does each comparison, operator, filter, test and call;
- operations that grow a string ask the budget for room first; power is refused;
- literals of the template are `Marked` as markup, and every operation on text keeps marks.

Source: reference transformers' `_compile_jinja_template` (trim_blocks, lstrip_blocks, loop controls, the
generation tag, raise_exception, strftime_now, tojson).
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache, partial
from types import CodeType
from typing import Any, NoReturn

import jinja2
from jinja2.exceptions import SecurityError
from jinja2.ext import loopcontrols
from jinja2.runtime import BlockReference, Context, LoopContext, Macro, TemplateReference, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from pacos.errors import TemplateError
from pacos.text import marked, template_strings
from pacos.text.budget import NESTING, TEXT_CHARS, Budget, Refused, check_number
from pacos.text.marked import Marked
from pacos.text.template_code import Generation, Generator, check_tree
from pacos.text.template_filters import FILTERS, TESTS

SOURCE_BYTES = 256 * 1024
RANGE_ITEMS = 100_000
_FILENAME = "<chat template>"
_DATE_FORMAT = re.compile(r"(?:[^%\0]|%[-_0^#]?[A-Za-z%])*%?")
_CONTAINERS = (list, tuple, dict)
_ATTRIBUTES: tuple[tuple[type, frozenset[str]], ...] = (
    ((list), frozenset(("index", "count", "copy"))),
    ((tuple), frozenset(("index", "count"))),
    (
        LoopContext,
        frozenset(
            "index index0 revindex revindex0 first last length depth depth0 previtem nextitem cycle changed".split()
        ),
    ),
    (Macro, frozenset(("name", "arguments", "catch_kwargs", "catch_varargs", "caller"))),
    (BlockReference, frozenset(("super",))),
)


class Sandbox(ImmutableSandboxedEnvironment):
    """The environment of one rendering, or of one compilation."""

    code_generator_class = Generator
    intercepted_binops = frozenset(("+", "*", "**", "%"))

    def __init__(
        self, literals: tuple[Marked, ...] = (), now: datetime | None = None, deadline: float | None = None
    ) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=[loopcontrols, Generation],
            optimized=False,
            finalize=self.text,
            cache_size=0,
        )
        self.literals = literals
        self.new_literals: list[Marked] = []
        self.budget = budget = Budget(deadline)
        self.tick, self.keep, self.room, self.weigh = budget.tick, budget.keep, budget.room, budget.weigh
        self.depth = 0
        self.now = now
        self.filters = FILTERS
        self.tests = TESTS  # type: ignore[assignment]
        self.globals = {
            "range": self._range,
            "dict": dict,
            "namespace": Namespace,
            "raise_exception": _raise_exception,
            "strftime_now": self._strftime_now,
        }
        self.binop_table = {"+": self._add, "*": self._multiply, "**": _power, "%": self._modulo}

    def text(self, value: Any) -> str:
        """Give the text that a template prints for a value."""
        if isinstance(value, str):
            return value
        if value is None or isinstance(value, (bool, float, int)):
            return str(value)
        if isinstance(value, Undefined):
            return str(value)
        size, _ = self.weigh(value, printable=True)
        self.room(size)
        return self.keep(str(value))

    def weighed(self, value: Any) -> Any:
        """Count what comparing a value may cost; give it back."""
        if isinstance(value, _CONTAINERS):
            self.weigh(value)
        else:
            self.tick()
        return value

    def key(self, value: Any) -> Any:
        """Refuse containers as keys: their hash walks all they hold."""
        if isinstance(value, tuple):
            raise Refused("it uses a tuple as a key")
        return value

    def concatenate(self, values: Iterable[Any]) -> str:
        """Join the texts of values, as `~` does."""
        return template_strings.join(self, "", [self.text(value) for value in values])

    def concat(self, parts: Iterable[str]) -> str:
        """Join the output of a macro, a set block or a filter block."""
        return template_strings.join(self, "", parts)

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Resolve `obj.attribute`: a listed attribute, then an item."""
        if isinstance(obj, str):
            method = template_strings.TEXT_METHODS.get(attribute)
            if method is not None:
                return partial(method, self, obj)
        elif isinstance(obj, dict):
            if attribute in ("items", "keys", "values"):
                return partial(_listed, self, obj, attribute)
            if attribute in ("get", "copy"):
                return getattr(obj, attribute)
            if attribute in obj:
                return obj[attribute]
        elif isinstance(obj, (Namespace, Undefined)) and not attribute.startswith("_"):
            return self._of_namespace(obj, attribute)
        else:
            for kind, names in _ATTRIBUTES:
                if isinstance(obj, kind) and attribute in names:
                    return getattr(obj, attribute)
            if isinstance(obj, TemplateReference) and not attribute.startswith("_"):
                return obj[attribute]
        if attribute.startswith("_") or hasattr(type(obj), attribute):
            kind_name = "str" if isinstance(obj, str) else type(obj).__name__
            raise SecurityError(f"it may not use {attribute!r} of a {kind_name}")
        return self.undefined(obj=obj, name=attribute)

    def _of_namespace(self, obj: Namespace | Undefined, attribute: str) -> Any:
        try:
            return getattr(obj, attribute)
        except AttributeError:
            return self.undefined(obj=obj, name=attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """Resolve `obj[argument]`: an item, then a listed attribute."""
        self.key(argument)
        try:
            if isinstance(obj, str) and isinstance(argument, slice):
                return self.keep(marked.cut(obj, argument))
            if isinstance(obj, str) and isinstance(argument, int):
                return marked.char(obj, argument)
            if isinstance(obj, (list, tuple, dict, range, Undefined, TemplateReference)):
                found = obj[argument]
                if isinstance(argument, slice) and isinstance(found, (list, tuple)):
                    self.tick(1 + len(found) // 8)
                return found
        except (TypeError, LookupError):
            pass
        if isinstance(argument, str):
            return self.getattr(obj, str.__str__(argument))
        return self.undefined(obj=obj, name=argument)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805, PYI063
        """Call a macro, a method or a function, at most 64 deep."""
        if __self.depth >= NESTING:
            raise Refused(f"its calls nest deeper than {NESTING} levels")
        __self.depth += 1
        try:
            if not isinstance(__obj, (Macro, LoopContext)):
                for value in (*args, *(kwargs[name] for name in kwargs if not name.startswith("_"))):
                    __self.weighed(value)
            return super().call(__context, __obj, *args, **kwargs)
        finally:
            __self.depth -= 1

    def _add(self, left: Any, right: Any) -> Any:
        if isinstance(left, str) and isinstance(right, str):
            self.room(len(left) + len(right))
            return self.keep(marked.join((left, right)))
        if isinstance(left, (list, tuple)) and isinstance(right, (list, tuple)):
            self.tick(1 + (len(left) + len(right)) // 8)
        result = operator.add(left, right)
        check_number(result)
        return result

    def _multiply(self, left: Any, right: Any) -> Any:
        if isinstance(left, int):
            left, right = right, left
        if isinstance(left, (str, list, tuple)) and isinstance(right, int):
            self.room(len(left) * max(0, right))
            if isinstance(left, str):
                return self.keep(marked.repeat(left, right))
            self.tick(len(left) * max(0, right) // 8)
        for factor in (left, right):
            check_number(factor)
        return operator.mul(left, right)

    def _modulo(self, left: Any, right: Any) -> Any:
        return template_strings.percent_format(self, left, right) if isinstance(left, str) else left % right

    def _range(self, *bounds: int) -> range:
        items = range(*bounds)
        if len(items) > RANGE_ITEMS:
            raise Refused(f"it asks for a range of {len(items):,} items (limit {RANGE_ITEMS:,})")
        self.tick(len(items) // 8)
        return items

    def _strftime_now(self, form: str) -> str:
        if len(form) > 64 or not _DATE_FORMAT.fullmatch(form):
            raise Refused("it asks for the date in a form that is too long or unusual (limit 64 characters)")
        return (self.now or datetime.now().astimezone()).strftime(str.__str__(form))


def _listed(env: Sandbox, obj: dict[Any, Any], method: str) -> list[Any]:
    """Give a dict's items, keys or values as a list, which compares and prints within the budget."""
    env.tick(1 + len(obj) // 8)
    return list(getattr(obj, method)())


def _power(left: Any, right: Any) -> NoReturn:
    raise Refused("it uses the operator **")


def _raise_exception(message: Any = "") -> NoReturn:
    raise jinja2.TemplateError(str(message)[:500])


@dataclass(frozen=True, slots=True)
class Compiled:
    """A compiled template: code without state, shared by all threads."""

    code: CodeType
    literals: tuple[Marked, ...]


@lru_cache(maxsize=64)
def compile_template(source: str) -> Compiled:
    """Compile a chat template; TemplateError says what is wrong and where."""
    size = len(source.encode("utf-8", "surrogatepass"))
    if size > SOURCE_BYTES:
        raise TemplateError(f"the chat template has {size:,} bytes (limit {SOURCE_BYTES:,})")
    env = Sandbox()
    try:
        tree = env.parse(source)
        check_tree(tree)
        code = compile(env.compile(tree, raw=True, filename=_FILENAME), _FILENAME, "exec")
    except jinja2.TemplateSyntaxError as error:
        raise TemplateError(f"the chat template is not valid Jinja, line {error.lineno}: {error.message}") from None
    except Refused as error:
        raise TemplateError(f"the chat template was refused: {error}") from None
    except RecursionError:
        raise TemplateError("the chat template was refused: it nests too deeply") from None
    except (SyntaxError, ValueError, OverflowError, MemoryError, jinja2.TemplateError) as error:
        raise TemplateError(f"the chat template cannot be compiled: {error}") from None
    return Compiled(code, tuple(env.new_literals))


def run_template(
    compiled: Compiled, variables: Mapping[str, Any], *, now: datetime | None = None, deadline: float | None = None
) -> list[str]:
    """Render; give the pieces of output in order. TemplateError says what went wrong and where."""
    env = Sandbox(compiled.literals, now, deadline)
    template = env.template_class.from_code(env, compiled.code, env.globals)
    parts: list[str] = []
    chars = 0
    try:
        for part in template.root_render_func(template.new_context(dict(variables))):
            chars += len(part)
            if chars > TEXT_CHARS or not isinstance(part, str):
                raise Refused(f"it prints more than {TEXT_CHARS:,} characters, or something that is not text")
            parts.append(part)
    except Exception as error:
        raise TemplateError(_explain(error, template.get_corresponding_lineno)) from error
    return parts


def is_refusal(error: TemplateError) -> bool:
    """Tell a template that did too much, or what it must not, from one that dislikes the messages."""
    return isinstance(error.__cause__, (Refused, SecurityError))


def _explain(error: Exception, line_of: Callable[[int], int]) -> str:
    """Say in one line why a rendering failed, with the template's line."""
    line, trace = None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == _FILENAME:
            line = line_of(trace.tb_lineno)
        trace = trace.tb_next
    where = f", line {line}" if line else ""
    if isinstance(error, RecursionError):
        return f"the chat template was refused{where}: it nests too deeply"
    if isinstance(error, (Refused, SecurityError)):
        return f"the chat template was refused{where}: {error}"
    if type(error) is jinja2.TemplateError:
        return f"the chat template does not accept these messages{where}: {error}"
    return f"the chat template failed{where}: {' '.join(str(error).split())[:300] or type(error).__name__}"
