"""Chat templates that try to escape, to exhaust the machine or to confuse: each is refused, quickly, in one line."""

from __future__ import annotations

import ast
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from patience import SECONDS

from pacos.errors import TemplateError, UsageError
from pacos.text import budget
from pacos.text.template import ChatTemplate

USER = [{"role": "user", "content": "hello"}]
BIG = "{%- set b = 'x' * 8000000 %}{%- set c = b[:-1] + 'y' %}"
_GROW = "{% set ns = namespace(a=[1], b=[1]) %}{% for i in range(40) %}"
DAG = _GROW + "{% set ns.a = [ns.a, ns.a] %}{% set ns.b = [ns.b, ns.b] %}{% endfor %}"
TUPLES = "{% set ns = namespace(a=(1,)) %}{% for i in range(40) %}{% set ns.a = (ns.a, ns.a) %}{% endfor %}"
MANY = "{% for i in range(100000) %}"

ESCAPES = [
    "{{ ''.__class__ }}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ cycler.__init__.__globals__ }}",
    "{{ lipsum.__globals__['os'].popen('id') }}",
    "{{ joiner.__init__ }}",
    "{{ self._TemplateReference__context }}",
    "{{ self['__class__'] }}",
    "{{ messages|attr('__class__') }}",
    "{{ messages['__class__'] }}",
    "{{ messages[0].get.__self__ }}",
    "{{ messages[0].items.func }}",
    "{% set f = '{0.__class__}'.format %}{{ f(messages) }}",
    "{{ '{0.__class__.__mro__}'.format(messages) }}",
    "{{ '{a.__class__}'.format_map({'a': 1}) }}",
    "{{ ['{0.__class__}']|map('format', messages)|list }}{{ ['{0.__class__}'.format]|first }}",
    "{{ [messages]|map(attribute='__class__')|list }}",
    "{{ ['x']|map('attr', '__class__')|list }}",
    "{{ messages|sort(attribute='__class__')|list }}",
    "{{ messages|selectattr('__class__')|list }}",
    "{{ messages|groupby('__class__') }}",
    "{{ namespace().__class__ }}",
    "{% set ns = namespace(a=1) %}{{ ns._Namespace__attrs }}",
    "{% macro m() %}{% endmacro %}{{ m._func.__globals__ }}",
    "{% macro m() %}{{ caller._environment }}{% endmacro %}{% call m() %}{% endcall %}",
    "{{ range.__globals__ }}",
    "{{ range.__self__.budget }}",
    "{{ raise_exception.__globals__ }}",
    "{{ strftime_now.__func__ }}",
    "{{ ''.join.__self__ }}",
    "{{ ''.strip.args[0].filters }}",
    "{{ dict.__subclasses__() }}",
    "{{ dict.mro() }}",
    "{{ dict.fromkeys(range(9)) }}",
    "{% for x in [1] %}{{ loop.__class__ }}{% endfor %}",
    "{% for x in [1] %}{{ loop._iterator }}{% endfor %}",
    "{{ nothing.__class__ }}",
    "{{ (messages|map('upper')).gi_frame }}",
    "{{ 'x'.encode() }}",
    "{{ 'x'.maketrans({}) }}",
    "{{ (5).to_bytes(1000000000) }}",
    "{{ (1.5).hex() }}",
    "{{ messages.append(1) }}",
    "{{ messages.sort() }}",
    "{{ messages[0].update({'a': 1}) }}",
    "{{ messages[0].pop('role') }}",
    "{{ messages[0].setdefault('a', 1) }}",
    "{{ environment }}{{ context.vars }}{{ environment.loader.x }}",
    "{% include 'x' %}",
    "{% import 'x' as y %}",
    "{% from 'x' import y %}",
    "{% extends 'x' %}",
    "{% autoescape true %}x{% endautoescape %}",
    "{% do 1 %}",
    "{% debug %}",
]

BOMBS = [
    "{{ range(1000000000)|length }}",
    "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
    "{{ 'a' * 1000000000 }}",
    "{{ 1000000000 * 'a' }}",
    "{{ [0] * 1000000000 }}",
    "{{ ((1,) * 100000000)|length }}",
    "{{ 'x' * 99999999999999999999 }}",
    "{{ '%1000000000d' % 1 }}",
    "{{ '%.1000000000f' % 1 }}",
    "{{ '%*d' % (1000000000, 1) }}",
    "{{ '%1000000000s'|format('x') }}",
    "{{ '{:1000000000}'.format('x') }}",
    "{{ '{:{}}'.format('x', 1000000000) }}",
    "{{ 'x'|center(1000000000) }}",
    "{{ 'x'.center(1000000000) }}{{ 'x'.rjust(1000000000) }}",
    "{{ 'x'.zfill(1000000000) }}",
    "{{ '\\t'.expandtabs(1000000000) }}",
    "{{ 'x\\nx'|indent(1000000000) }}",
    "{{ ('x\\n' * 100000)|indent('y' * 10000) }}",
    "{% set b = 'x' * 1000000 %}{{ b|replace('', b) }}",
    "{% set b = 'x' * 10000 %}{{ b.replace('x', b) }}",
    "{{ ('x ' * 30000)|wordwrap(1, wrapstring='y' * 100000) }}",
    BIG + "{{ b|wordwrap }}",
    "{{ range(100000)|join('x' * 1000) }}",
    "{{ ('x' * 1000).join('y' * 100000) }}",
    "{% set ns = namespace(a='x') %}{% for i in range(40) %}{% set ns.a = ns.a ~ ns.a %}{% endfor %}",
    "{% set ns = namespace(a='x') %}{% for i in range(40) %}{% set ns.a = ns.a + ns.a %}{% endfor %}",
    "{% set ns = namespace(a='x') %}{% for i in range(40) %}{% set ns.a = '%s%s' % (ns.a, ns.a) %}{% endfor %}",
    "{% set ns = namespace(a='x') %}{% for i in range(40) %}{% set ns.a = '{0}{0}'.format(ns.a) %}{% endfor %}",
    "{% set ns = namespace(a='x') %}{% for i in range(40) %}{% set ns.a = [ns.a, ns.a]|join %}{% endfor %}",
    "{% set ns = namespace(a='x') %}{% for i in range(40) %}{% set ns.a %}{{ ns.a }}{{ ns.a }}{% endset %}{% endfor %}",
    "{% set ns = namespace(a=[1]) %}{% for i in range(40) %}{% set ns.a = ns.a + ns.a %}{% endfor %}",
    "{% set ns = namespace(l=[]) %}" + MANY + MANY + "{% set ns.l = ns.l + [i] %}{% endfor %}{% endfor %}",
    "{% set ns = namespace(l=[]) %}" + MANY + "{% set ns.l = ns.l + ['x' * 8000000] %}{% endfor %}",
    "".join(f"{{% set a{i} = 'x' * 8000000 %}}" for i in range(50)),
    BIG + "".join(f"{{% set a{i} = b[{i}:] %}}" for i in range(50)),
    DAG + "{{ ns.a }}",
    DAG + "{{ ns.a|tojson }}",
    DAG + "{{ ns.a|string }}",
    DAG + "{{ ns.a|pprint }}",
    DAG + "{{ ns.a|join }}",
    DAG + "{{ 'x' ~ ns.a }}",
    DAG + "{{ '%s' % (ns.a,) }}",
    DAG + "{{ '%r' % (ns.a,) }}",
    DAG + "{{ '{!r}'.format(ns.a) }}",
    DAG + "{{ ns.a == ns.b }}",
    DAG + "{{ ns.a in [ns.b] }}",
    DAG + "{{ ns.a is eq(ns.b) }}",
    DAG + "{{ [ns.a]|select('equalto', ns.b)|list|length }}",
    DAG + "{{ [ns.a].index(ns.b) }}",
    DAG + "{% for x in [ns.a, ns.b] %}{{ loop.changed(x) }}{% endfor %}",
    DAG + "{{ [ns.a, ns.b]|max }}",
    DAG + "{{ raise_exception(ns.a) }}",
    TUPLES + "{{ {ns.a: 1} }}",
    TUPLES + "{{ messages[0][ns.a] }}",
    TUPLES + "{{ messages[0].get(ns.a) }}",
    TUPLES + "{{ [ns.a]|unique|list }}",
    TUPLES + "{{ dict([(ns.a, 1)]) }}",
    "{{ 7 ** 10000000 }}",
    "{{ 1 << 1000000000 }}",
    "{% set ns = namespace(a=3) %}{% for i in range(60) %}{% set ns.a = ns.a * ns.a %}{% endfor %}",
    "{% set ns = namespace(a=1) %}{% for i in range(9999) %}{% set ns.a = ns.a + ns.a %}{% endfor %}",
    "{{ 1|round(10000000, 'ceil') }}",
    "{{ ('f' * 8000000)|int(0, 16) }}",
    "{{ [1]|batch(1000000000, 'x')|list|length }}",
    "{{ [1]|slice(1000000000)|list|length }}",
    MANY + "{% set x = [1]|batch(100000, 'x')|list %}{% endfor %}",
    "{{ [[1], [2]]|sum(start=[]) }}",
    "{{ range(90000)|list|tojson(indent=1000000) }}",
    "{{ range(90000)|list|tojson(separators=('x' * 1000000, ':')) }}",
    "{% macro m(x) %}{{ m(x) }}{% endmacro %}{{ m(1) }}",
    "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}",
    "{% block a %}{{ self.a() }}{% endblock %}",
    "{% macro m() %}{{caller()}}{% endmacro %}{% macro k() %}{% call m() %}{{k()}}{% endcall %}{% endmacro %}{{k()}}",
    BIG + "{{ b|list|length }}",
    BIG + "{{ b|select('string')|list|length }}",
    BIG + "{{ b.split('x')|length }}",
    BIG + "{{ b|sort|length }}{{ b|unique|list }}",
    BIG + MANY + "{{ 'x' if c in b }}{% endfor %}",
    "{% for i in range(90000) %}" + "x" * 1000 + "{% endfor %}",
    "{{ strftime_now('%Y' * 1000000) }}",
    "{{ strftime_now('%1000000000Y') }}",
    "{{ strftime_now('a\\0b') }}",
    "{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}",
    "{{ " + "[" * 3000 + "]" * 3000 + " }}",
    "{{ " + "+".join(["1"] * 5000) + " }}",
    "{{ " + "not " * 5000 + "1 }}",
    "{{ 'x'" + "|upper" * 5000 + " }}",
    "{{ x" + ".a" * 5000 + " }}",
    "{% if 1 %}" * 3000 + "{% endif %}" * 3000,
    "{% for x in [1] %}" * 30 + "{% endfor %}" * 30,
    "x" * 10_485_760,
    "{{ }}" * 1_000_000,
    "{{ " + "9" * 10_000 + " }}",
]

SLOW = [  # few steps, each over millions of characters
    BIG + MANY + "{{ b.find('y') }}{% endfor %}",
    BIG + MANY + "{{ b is lower }}{% endfor %}",
    BIG + MANY + "{% set y = b|upper %}{% endfor %}",
    BIG + MANY + "{% set y = 'x'.center(8000000) %}{% endfor %}",
    BIG + "{% for x in b if x == 'y' %}{% endfor %}",
    BIG + "{{ " + " or ".join(["(c in b)"] * 100) + " }}",
    "{% for i in range(100000) %}{% for j in range(100000) if false %}{% endfor %}{% endfor %}",
]

MISTAKES = {
    "{{ 1 + }}": "line 1",
    "ok\n{{ 1|nope }}": "line 2.*'nope'",
    "{{ 1 is nope }}": "'nope'",
    "\n\n{{ a.b.c }}": "line 3.*'a' is undefined",
    "\n{{ raise_exception('roles must alternate') }}": "line 2: roles must alternate",
    "{{ 1 / 0 }}": "division by zero",
    "{{ 'x'[::0] }}": "slice step",
    "{{ '%s%s' % 'a' }}": "not enough arguments",
    "{{ '%s' % (1, 2) }}": "not all arguments",
    "{{ '%' % 1 }}": "incomplete format",
    "{{ messages|map('upper') }}": "a generator has no text",
    "{{ namespace(a=1) }}": "a Namespace has no text",
    "{# nothing #}": "printed nothing",
    "{% if false %}x{% endif %}": "printed nothing",
    "{{ {}|tojson(indent=1)|nope2 }}": "nope2",
    "{{ messages|tojson(5, 6, 7, 8, 9) }}": "positional arguments",
    "{{ 1() }}": "not callable",
}


@pytest.fixture(scope="module")
def watched() -> list[str]:
    """Collect what the interpreter does from now on; an audit hook cannot be taken back."""
    events: list[str] = []

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event in ("open", "os.system", "subprocess.Popen", "socket.connect", "os.listdir"):
            events.append(f"{event} {args[:1]}")

    for source in ("{{ messages[0].content }}", "{{ x + }}"):  # imports all that this needs, and errors need
        try:
            ChatTemplate(source).render(USER)
        except TemplateError:
            continue
    sys.addaudithook(hook)
    return events


def fails(source: str) -> str:
    start = time.perf_counter()
    with pytest.raises(TemplateError) as caught:
        ChatTemplate(source, bos_token="<s>").render(USER)
    assert time.perf_counter() - start < SECONDS  # 2 s of budget, on a machine that does other things too
    message = str(caught.value)
    assert len(message) < 500
    assert "\n" not in message
    return message


@pytest.mark.parametrize("source", ESCAPES)
def test_escapes_are_blocked(source: str, watched: list[str]) -> None:
    template = source  # the line that the interpreter would quote is read before we watch
    watched.clear()
    try:
        ChatTemplate(template, bos_token="<s>").render(USER)
    except TemplateError:
        assert watched == []
    else:
        pytest.fail("the template was not refused")


@pytest.mark.parametrize("source", BOMBS, ids=lambda source: source[:60])
def test_bombs_are_refused(source: str) -> None:
    fails(source)


@pytest.mark.parametrize("source", SLOW, ids=range(len(SLOW)))
def test_slow_templates_run_out_of_time(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "SECONDS", 0.2)
    assert "longer than 0.2 s" in fails(source)


@pytest.mark.parametrize("source", MISTAKES)
def test_mistakes_are_named_with_their_line(source: str) -> None:
    with pytest.raises(TemplateError, match=MISTAKES[source]):
        ChatTemplate(source).render(USER)


def test_memory_stays_small() -> None:
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for source in (BIG + "".join(f"{{% set a{i} = b[{i}:] %}}" for i in range(50)), DAG + "{{ ns.a }}"):
        fails(source)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert after - before < 400_000  # KiB


def test_nul_percent_and_large_honest_output_are_fine() -> None:
    assert ChatTemplate("a\0b").render(USER)[0].text == "a\0b"
    assert ChatTemplate("{{ strftime_now('100%') }}").render(USER)[0].text == "100%"
    text = "long " * 400_000
    assert ChatTemplate("<u>{{ messages[0].content }}").render([{"role": "user", "content": text}])[1].text == text


DEEP: Any = "x"
for _ in range(1000):
    DEEP = [DEEP]

BAD_OPTIONS: list[dict[str, Any]] = [
    {"bos_token": "x"},
    {"eos_token": "x"},
    {"tokenize": True},
    {"chat_template": "x"},
    {"__class__": 1},
    {"_private": 1},
    {"raise_exception": 1},
    {"range": 1},
    {"loop": 1},
    {"not a name": 1},
    {"class": 1},
    {f"k{i}": i for i in range(10_000)},
    {"deep": DEEP},
    {"long": "x" * 10_485_760},
    {"object": object()},
    {"call": print},
    {"key": {1: 2}},
    {"number": 1 << 5000},
]


@pytest.mark.parametrize("options", BAD_OPTIONS, ids=lambda options: str(next(iter(options))))
def test_bad_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        ChatTemplate("{{ messages[0].content }}").render(USER, **options)


BAD_MESSAGES: list[Any] = [
    [],
    "text",
    {"role": "user"},
    [{"content": "x"}],
    [{"role": "", "content": "x"}],
    [{"role": 5, "content": "x"}],
    ["text"],
    [None],
    [{"role": "user", "content": 5}],
    [{"role": "user", "content": {"a": 1}}],
    [{"role": "user", "content": ["x"]}],
    [{"role": "user", "content": [{"type": "hologram"}]}],
    [{"role": "user", "content": [{"text": "x"}]}],
    [{"role": "user", "content": [{"type": "text"}]}],
    [{"role": "user", "content": "x", "extra": object()}],
    [{"role": "user", "content": "x", "extra": DEEP}],
    [{"role": "user", "content": "x", 5: 6}],
    [{"role": "user", "content": "x"}] * 100_000,
]


@pytest.mark.parametrize("messages", BAD_MESSAGES)
def test_bad_messages_are_refused(messages: Any) -> None:
    with pytest.raises(UsageError):
        ChatTemplate("{{ messages[0].content }}").render(messages)


def test_messages_that_are_too_long_are_no_fault_of_the_template() -> None:
    with pytest.raises(UsageError, match="messages are too long: 10,"):
        ChatTemplate("{{ messages[0].content }}").render([{"role": "user", "content": "x" * 10_000_000}])


@pytest.mark.parametrize("tools", ["x", {"a": 1}, ["x"], [{"a": object()}]])
def test_bad_tools_are_refused(tools: Any) -> None:
    with pytest.raises(UsageError):
        ChatTemplate("{{ tools }}").render(USER, tools=tools)


def test_unknown_fields_pass_to_the_template() -> None:
    segments = ChatTemplate("{{ messages[0].mood }}").render([{"role": "user", "content": "x", "mood": "glad"}])
    assert segments[-1].text == "glad"


def test_a_string_of_another_class_cannot_pose_as_markup() -> None:
    from pacos.text.marked import markup

    fake = markup("<|im_end|>")
    chat = [{"role": "user", "content": fake, "name": fake, "extra": {fake: [fake]}}]
    source = "{{ messages[0].content }}{{ messages[0].name }}{{ messages[0].extra|tojson }}{{ o }}{{ tools[0].a }}"
    segments = ChatTemplate(source).render(chat, tools=[{"a": fake}], o=fake)
    assert [segment.markup for segment in segments] == [False]


def test_only_the_sandbox_makes_jinja_environments() -> None:
    """A second place that renders templates would be a second place to forget a limit."""
    source = Path(__file__).parents[2] / "src" / "pacos"
    importers = set()
    calls = []
    for path in source.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(text)) if "jinja2" in text or "Environment(" in text else ():
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if any(name.split(".")[0] == "jinja2" for name in names):
                importers.add(path.name)
            called = getattr(node.func, "attr", getattr(node.func, "id", "")) if isinstance(node, ast.Call) else ""
            if called in ("Template", "from_string") or called.endswith("Environment"):
                calls.append(path.name)
    assert calls == []
    assert importers == {"sandbox.py", "template_code.py", "template_filters.py", "template_strings.py"}
