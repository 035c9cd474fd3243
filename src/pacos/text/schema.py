"""JSON schemas: refuse what would be ignored, before llguidance makes a grammar of the rest."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pacos.errors import UsageError

# Enforced by llguidance, or else refused by it with the keyword's name.
_ENFORCED = frozenset(
    (
        *("$ref", "$defs", "definitions", "$anchor", "$id", "id", "$schema", "type", "enum", "const"),
        *("anyOf", "oneOf", "allOf", "items", "prefixItems", "minItems", "maxItems", "additionalItems"),
        *("properties", "additionalProperties", "patternProperties", "required", "minProperties", "maxProperties"),
        *("minLength", "maxLength", "pattern", "format"),
        *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    )
)
_REFUSED = frozenset(
    (
        *("not", "if", "then", "else", "contains", "minContains", "maxContains", "uniqueItems", "propertyNames"),
        *("dependentRequired", "dependentSchemas", "dependencies", "unevaluatedItems", "unevaluatedProperties"),
        *("$dynamicRef", "$dynamicAnchor", "$recursiveRef", "$recursiveAnchor", "nullable"),
    )
)
_ABOUT = frozenset(
    (
        *("title", "description", "default", "examples", "example", "deprecated", "readOnly", "writeOnly", "$comment"),
        *("contentEncoding", "contentMediaType", "contentSchema", "$vocabulary", "discriminator", "externalDocs"),
        *("xml", "strict", "name", "propertyOrdering", "enumDescriptions", "markdownDescription"),
    )
)
# Values of refused keywords that demand nothing.
_IDLE: dict[str, tuple[Any, ...]] = {
    "uniqueItems": (False,),
    "nullable": (False,),
    "unevaluatedItems": (True,),
    "unevaluatedProperties": (True,),
    "propertyNames": (True, {}),
    "dependentRequired": ({},),
    "dependentSchemas": ({},),
    "dependencies": ({},),
    "minContains": (0,),
}
_ONE = frozenset(("items", "additionalItems", "additionalProperties", "not", "if", "then", "else", "contains"))
_LISTS = frozenset(("anyOf", "oneOf", "allOf", "prefixItems", "items"))
_NAMED = frozenset(("properties", "patternProperties", "$defs", "definitions"))
_DEEPEST = 100
# Weak models would print white space for ever; this has room for any usual layout.
_WHITE_SPACE = r"[ \t]{1,2}|\r?\n[ \t]{0,40}"


def read_schema(schema: str | Mapping[str, Any] | bool) -> dict[str, Any] | bool:
    """A schema from text or an object.

    Errors: UsageError when it is no JSON, or neither an object nor true.
    """
    if isinstance(schema, str):
        try:
            schema = json.loads(schema, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            raise UsageError(f"the JSON schema is not JSON: {error}", hint="check its brackets and quotes") from None
    if isinstance(schema, bool):
        return schema
    if not isinstance(schema, Mapping):
        raise UsageError(f"the JSON schema is a {type(schema).__name__}", hint="give a JSON object")
    return dict(schema)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def strict_schema(schema: dict[str, Any] | bool) -> dict[str, Any] | bool:
    """The same schema without keywords that demand nothing.

    Errors: UsageError naming a keyword that cannot be enforced, or that no schema has, and where it stands.
    """
    return _checked(schema, "", 0) if isinstance(schema, dict) else schema


def _checked(schema: Any, where: str, depth: int) -> Any:
    if not isinstance(schema, dict):
        return schema
    if depth > _DEEPEST:
        raise UsageError(f"the JSON schema nests deeper than {_DEEPEST} levels")
    kept: dict[str, Any] = {}
    for key, value in schema.items():
        if key in _REFUSED and not any(value == idle and type(value) is type(idle) for idle in _IDLE.get(key, ())):
            raise UsageError(f"the JSON schema's keyword {key!r}{_at(where)} cannot be enforced", hint="leave it out")
        if key in _ENFORCED:
            kept[key] = _inside(key, value, where, depth)
        elif key == "x-guidance" or not (key in _REFUSED or key in _ABOUT or key.startswith("x-")):
            raise UsageError(f"the JSON schema has the unknown keyword {key!r}{_at(where)}", hint="leave it out")
    return kept


def _inside(key: str, value: Any, where: str, depth: int) -> Any:
    place = f"{where}/{key}"
    if key in _LISTS and isinstance(value, list):
        return [_checked(one, f"{place}/{index}", depth + 1) for index, one in enumerate(value)]
    if key in _NAMED and isinstance(value, dict):
        return {name: _checked(one, f"{place}/{name}", depth + 1) for name, one in value.items()}
    return _checked(value, place, depth + 1) if key in _ONE else value


def _at(where: str) -> str:
    return f" at {where}" if where else ""


def schema_text(schema: dict[str, Any] | bool, *, lenient: bool = False) -> str:
    """JSON text of a schema for llguidance; `lenient` has it ignore what it cannot enforce."""
    if schema is True or schema is False:
        schema = {} if schema else {"enum": []}
    options = {"whitespace_pattern": _WHITE_SPACE, "lenient": lenient}
    return json.dumps({**schema, "x-guidance": options})
