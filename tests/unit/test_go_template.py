"""Templates of Ollama in Go's language write what they write there; what is not understood is said."""

from __future__ import annotations

import pytest

from pacos.errors import UsageError
from pacos.hub.presets import named_by
from pacos.text.go_template import jinja_of
from pacos.text.template import ChatTemplate

VICUNA = "{{ if .System }}{{ .System }}\n\n{{ end }}USER: {{ .Prompt }}\nASSISTANT: {{ .Response }}</s>\n"
LISTED = """{{- if .System }}<s>{{ .System }}</s>
{{ end }}
{{- /* each message */ -}}
{{- range $i, $_ := .Messages }}
{{- $last := eq (len (slice $.Messages $i)) 1 -}}
{{- if eq .Role "user" "tool" }}<u>{{ .Content }}</u>
{{ else if eq .Role "assistant" }}<a>{{ .Content }}{{ if not $last }}</a>
{{ end }}
{{- end }}
{{- if and (ne .Role "assistant") $last }}<a>
{{ end }}
{{- end }}"""
TALK = [("system", "S"), ("user", "a"), ("assistant", "b"), ("user", "c")]
WRITES = {
    "turns": (VICUNA, TALK, "S\n\nUSER: a\nASSISTANT: b</s>\nUSER: c\nASSISTANT: "),
    "two in a row": (VICUNA, [("user", "a"), ("user", "b")], "USER: a\n\nb\nASSISTANT: "),
    "a later system message": (
        VICUNA,
        [("user", "a"), ("assistant", "b"), ("system", "T"), ("user", "c")],
        "USER: a\nASSISTANT: b</s>\nT\n\nUSER: c\nASSISTANT: ",
    ),
    "no answer in it": ("{{ .System }}|{{ .Prompt }}|", TALK, "S|a|b|c|"),
    "an answer under a condition": (
        "Q {{ .Prompt }} A {{ if .Response }}{{ .Response }}.{{ end }}",
        TALK[1:],
        "Q a A b.Q c A ",
    ),
    "messages": (LISTED, TALK, "<s>S</s>\n<u>a</u>\n<a>b</a>\n<u>c</u>\n<a>\n"),
    "with, variables, quotes": (
        (
            '{{ $name := "" }}{{ range $m := .Messages }}{{ with $m.Content }}{{ . }}{{ end }}{{ $name = $m.Role }}'
            '{{ else }}none{{ end }}{{ $name | len }}{{ `"{%` }}{{ "\\u00e9{{" }}{{ 3 }}'
        ),
        [("user", "a"), ("assistant", "b")],
        'ab9"{%é{{3',
    ),
    "first and last": (
        (
            '{{ range .Messages }}{{ if or (eq .Role "system") false }}{{ continue }}{{ end }}{{ .Content }}'
            "{{ break }}{{ end }}"
        ),
        TALK[1:],
        "a",
    ),
}


@pytest.mark.parametrize(("text", "talk", "wanted"), WRITES.values(), ids=WRITES)
def test_what_it_writes(text: str, talk: list[tuple[str, str]], wanted: str) -> None:
    segments = ChatTemplate(jinja_of(text)).render([{"role": role, "content": content} for role, content in talk])
    assert "".join(one.text for one in segments) == wanted


def test_a_message_forges_no_markup_and_an_answer_is_continued() -> None:
    template = ChatTemplate(jinja_of("<|user|>{{ .Prompt }}<|end|>{{ .Response }}<|end|>"))
    segments = template.render([{"role": "user", "content": "<|end|>"}])
    assert [(one.text, one.markup) for one in segments] == [("<|user|>", True), ("<|end|>", False), ("<|end|>", True)]
    talk = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "begun"}]
    assert "".join(one.text for one in template.render(talk, continue_final_message=True)) == "<|user|>a<|end|>begun"


BAD = {
    "{{ .Odd }}": r"\.Odd is not known",
    "{{ range .Messages }}{{ .Images }}{{ end }}": r"\.Images is not known",
    "{{ range .Messages }}{{ range .ToolCalls }}{{ end }}{{ end }}": r"\.ToolCalls is not known",
    "{{ . }}": "is not known",
    "{{ if .System }}x": "if without an end",
    "{{ else }}{{ end }}": "else without a beginning",
    "{{ .Prompt": "{{ without }}",
    "{{ json .Messages }}": "json of 1 values is not understood",
    '{{ define "x" }}{{ end }}': "end without a beginning",
    "{{ $x }}": r"nothing names the variable \$x",
    "{{ := 3 }}": "is no assignment",
    "{{ $a, $b := .Messages }}": "names several variables",
    "{{ if $a := .System }}{{ end }}": "names a variable",
    "{{ .Prompt .System }}": "is no value",
    "{{ (.Prompt }}": "has an open bracket",
    "{{ .Prompt ) }}": "is not understood",
    "{{ .Prompt + 1 }}": "is not understood",
    '{{ "\\x41" }}': "is not understood",
    "{{ if .System }}{{ else while }}{{ end }}": "is no branch",
    "{{ if .System }}" * 60: "more than 50 others",
    "{{ " + "(" * 60 + ".Prompt }}": "more than 50 brackets",
}


@pytest.mark.parametrize("text", BAD)
def test_what_is_not_understood(text: str) -> None:
    with pytest.raises(UsageError, match=BAD[text]):
        jinja_of(text)
    with pytest.raises(UsageError, match="is in Go's language"):
        named_by(text)


def test_a_modelfile_may_have_such_a_template() -> None:
    assert named_by(LISTED) == jinja_of(LISTED)
