"""What the server can do, as an OpenAPI document, a page to read and a page for docs/; all from the dialects' types."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import msgspec

from pacos import __version__
from pacos.server.dialects import Dialect, Operation, dialects

_REFERENCE = "#/components/schemas/{name}"
_PARAMETER = re.compile(r"\{(\w+)(?::\w+)?\}")
_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "code{background:#8882;padding:0 .2em}table{border-collapse:collapse;width:100%}"
    "td,th{border-bottom:1px solid #8884;padding:.2em .5em;text-align:left;vertical-align:top}"
    ":root{color-scheme:light dark}"
)


@cache
def document() -> dict[str, Any]:
    """The OpenAPI document of every dialect."""
    spoken = dialects()
    used = [
        kind
        for dialect in spoken
        for operation in dialect.operations
        for kind in (operation.body, operation.reply, operation.streamed)
        if kind is not None
    ]
    schemas, components = msgspec.json.schema_components(used, ref_template=_REFERENCE)
    schema_of = dict(zip(map(id, used), schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for dialect in spoken:
        for operation in dialect.operations:
            path = _PARAMETER.sub(r"{\1}", operation.path)
            entry = _described(dialect, operation, schema_of)
            paths.setdefault(path, {}).setdefault(operation.method.lower(), entry)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Pacos", "version": __version__, "description": "Language models served by Pacos."},
        "paths": paths,
        "components": {"schemas": components, "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
        "security": [{"key": []}, {}],
    }


def _described(dialect: Dialect, operation: Operation, schema_of: dict[int, Any]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    if operation.reply is not None:
        content["application/json"] = {"schema": schema_of[id(operation.reply)]}
    if operation.streamed is not None:
        content[operation.stream_type] = {"schema": schema_of[id(operation.streamed)]}
    entry: dict[str, Any] = {
        "tags": [dialect.name],
        "summary": operation.summary,
        "operationId": re.sub(r"\W+", "_", f"{dialect.name}{operation.path}_{operation.method}".lower()),
        "responses": {
            "200": {"description": "Done.", **({"content": content} if content else {})},
            "default": {"description": "Refused or failed; the body says why.", "content": {"application/json": {}}},
        },
    }
    if parameters := _PARAMETER.findall(operation.path):
        entry["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
            for name in parameters
        ]
    if operation.body is not None:
        entry["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schema_of[id(operation.body)]}},
        }
    if operation.keyless:
        entry["security"] = []
    return entry


def page() -> str:
    """The document as one HTML page that needs nothing from elsewhere."""
    found = document()
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>Pacos {__version__}</title><style>{_STYLE}</style>",
        f"<h1>Pacos {__version__}</h1>",
        "<p>Operations of this server; <a href=openapi.json>openapi.json</a> says the same to programs.</p>",
    ]
    for heading, method, path, entry in _operations(found):
        parts += [f"<h2>{html.escape(heading)}</h2>"] if heading else []
        parts.append(f"<h3><code>{method} {html.escape(path)}</code></h3><p>{html.escape(entry['summary'])}</p>")
        rows = list(_fields(found, entry))
        if rows:
            parts.append("<table><tr><th>field<th>type<th>meaning</tr>")
            parts += [
                f"<tr><td><code>{html.escape(name)}</code><td>{html.escape(kind)}<td>{html.escape(said)}</tr>"
                for name, kind, said in rows
            ]
            parts.append("</table>")
    return "\n".join(parts) + "</html>\n"


def markdown() -> str:
    """The document as a page of Markdown."""
    found = document()
    lines: list[str] = []
    for heading, method, path, entry in _operations(found):
        lines += [f"## {heading}\n"] if heading else []
        lines.append(f"### `{method} {path}`\n\n{entry['summary']}\n")
        rows = list(_fields(found, entry))
        if rows:
            lines += ["| field | type | meaning |", "|---|---|---|"]
            lines += [f"| `{name}` | {kind} | {said} |".replace("  |", " |") for name, kind, said in rows]
            lines.append("")
    return "\n".join(lines)


def _operations(found: dict[str, Any]) -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    """Each operation, those of a dialect together; the first of them brings the dialect's name."""
    entries = [
        (entry["tags"][0], path, method, entry)
        for path, item in found["paths"].items()
        for method, entry in item.items()
    ]
    before = None
    for tag, path, method, entry in sorted(entries, key=lambda one: one[0]):
        yield (tag if tag != before else ""), method.upper(), path, entry
        before = tag


def _fields(found: dict[str, Any], entry: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    body = entry.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    name = body.get("$ref", "").rpartition("/")[2]
    schema = found["components"]["schemas"].get(name, body)
    for field, one in schema.get("properties", {}).items():
        needed = "; required" if field in schema.get("required", ()) else ""
        yield field, _kind(one) + needed, one.get("description", "")


def _kind(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        kinds = [_kind(one) for one in schema["anyOf"] if one.get("type") != "null"]
        return " or ".join(dict.fromkeys(kinds))
    if "enum" in schema:
        return ", ".join(str(one) for one in schema["enum"] if one is not None)
    if schema.get("type") == "array":
        items = schema.get("items", {})
        return f"list of {_kind(items)}" if items else "list"
    return str(schema.get("type", "any"))
