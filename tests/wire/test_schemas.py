"""Callers' schemas: bounded in size, depth and in the grammar they would make."""

from typing import Any

import pytest

from headrace import errors
from headrace.wire import schemas
from tests.wire.bodies import chat


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth - 1):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema


@pytest.mark.parametrize(
    "schema",
    [
        nested(schemas.DEPTH_MAX),
        {"type": "array", "items": {"$ref": "#/$defs/x"}, "maxItems": 2000, "$defs": {"x": {"type": "string"}}},
        {"properties": {"pattern": {"type": "string"}, "maxItems": {"type": "integer"}, "$ref": {"type": "null"}}},
        {"type": "string", "pattern": "^(?:[A-Z]{3}-){2}[0-9]+$"},
        {"enum": ["x" * 1000] * 50},
    ],
)
def test_a_reasonable_schema_is_taken(schema: dict):
    """Property names are not keywords."""
    schemas.check(schema, "p")


@pytest.mark.parametrize(
    "schema",
    [
        nested(schemas.DEPTH_MAX + 1),
        nested(400),
        {"anyOf": [{"enum": ["x" * 1000] * 70}]},
        {"items": {"maxItems": 10**9}},
        {"properties": {"a": {"type": "string", "minLength": 2001}}},
        {"pattern": "a" * 513},
        {"pattern": "(a{1000}){1000}"},
        {"pattern": "(?=a)b"},
        {"pattern": r"(a)\1"},
        {"$ref": "https://example.org/schema.json"},
        {"$defs": {"x": {"$ref": "file:///etc/passwd"}}},
        {"$ref": 1},
    ],
)
def test_a_bomb_is_refused(schema: dict):
    """Before any engine makes a grammar of it."""
    with pytest.raises(errors.Invalid) as refused:
        schemas.check(schema, "tools[0].function.parameters")
    assert refused.value.param == "tools[0].function.parameters"


def test_both_ways_into_a_request_are_checked():
    """Response formats and tools."""
    bomb = {"type": "array", "items": {"type": "null"}, "maxItems": 10**9}
    with pytest.raises(errors.Invalid) as refused:
        chat(response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": bomb}})
    assert refused.value.param == "response_format.json_schema.schema"
    with pytest.raises(errors.Invalid) as refused:
        chat(tools=[{"type": "function", "function": {"name": "x", "parameters": bomb}}])
    assert refused.value.param == "tools[0].function.parameters"


def doubling(depth: int) -> dict[str, Any]:
    """Few bytes, 2^depth readings of one value."""
    steps = {f"a{i}": {"anyOf": [{"$ref": f"#/$defs/a{i + 1}"}] * 2} for i in range(depth)}
    return {"$ref": "#/$defs/a0", "$defs": {**steps, f"a{depth}": {"type": "null"}}}


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"$ref": "#/$defs/none"}, "nothing at its"),
        ({"$ref": "#"}, "back to itself"),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"allOf": [{"$ref": "#/$defs/b"}]}, "b": {"$ref": "#/$defs/a"}}}, "back"),
        (doubling(20), "multiply"),
        ({"$ref": "#/$defs/a0", "$defs": {f"a{i}": {"$ref": f"#/$defs/a{i + 1}"} for i in range(500)}}, "too many"),
    ],
)
def test_references_that_do_not_end_are_refused(schema: dict, said: str):
    """Before anybody follows them."""
    with pytest.raises(errors.Invalid, match=said):
        schemas.check(schema, "p")


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"next": {"$ref": "#"}}},
        {"$ref": "#/$defs/a", "$defs": {"a": {"properties": {"b": {"items": {"$ref": "#/$defs/a"}}}}}},
        doubling(6),
        {"anyOf": [{"$ref": "#/$defs/a~1b"}], "$defs": {"a/b": True}},
        {"$ref": "#/anyOf/1", "$defs": {}, "properties": {"x": {"anyOf": [{}, {}]}}, "anyOf": [{}, {"type": "object"}]},
    ],
)
def test_references_that_end_are_taken(schema: dict):
    """Trees and lists refer to themselves, one level down."""
    schemas.check(schema, "p")
