"""Only schemas that are known to compile reach OpenVINO; the rest is refused by the keyword's name."""

from typing import Any

import pytest

from headrace.errors import Invalid
from headrace.wire import plain_schema

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


@pytest.mark.parametrize(
    ("schema", "wanted"),
    [
        ({}, {}),
        (CITY | {"title": "City", "description": "x"}, CITY),
        ({"anyOf": [{"const": "a"}, {"enum": [1, None]}]}, {"anyOf": [{"const": "a"}, {"enum": [1, None]}]}),
        ({"type": "array", "minItems": 1}, {"type": "array", "items": {}, "minItems": 1}),
        ({"$defs": {"c": CITY}, "type": "array", "items": {"$ref": "#/$defs/c"}}, {"type": "array", "items": CITY}),
        ({"type": "object", "additionalProperties": {"type": "null"}},) * 2,
    ],
)
def test_plain_schemas_pass(schema: Any, wanted: Any) -> None:
    """Notes are dropped, references put in place."""
    assert wanted == plain_schema.plain(schema)


LOOP: dict[str, Any] = {"$defs": {"n": {"type": "array", "items": {"$ref": "#/$defs/n"}}}, "$ref": "#/$defs/n"}
DEEP: Any = {}
for _ in range(40):
    DEEP = {"type": "array", "items": DEEP}


@pytest.mark.parametrize(
    ("schema", "word"),
    [
        (True, "object"),
        ({"type": "nonsense"}, "type"),
        ({"type": []}, "type"),
        ({"type": ["null", "null"]}, "type"),
        ({"type": "string", "pattern": "(((("}, "pattern"),
        ({"oneOf": []}, "oneOf"),
        ({"enum": []}, "enum"),
        ({"anyOf": []}, "anyOf"),
        ({"const": {"a": 1}}, "const"),
        ({"enum": ["a\nb"]}, "control characters"),
        ({"properties": {'a"b': {}}}, "quotes"),
        ({"required": ["x"]}, "required"),
        ({"minLength": 5, "maxLength": 2}, "minLength"),
        ({"maxLength": 10**9}, "maxLength"),
        ({"$ref": "http://evil/"}, "ref"),
        ({"$ref": "#/$defs/gone"}, "ref"),
        (LOOP, "itself"),
        (DEEP, "levels"),
        ({"properties": {str(n): {} for n in range(3000)}}, "parts"),
    ],
)
def test_the_rest_is_refused_by_name(schema: Any, word: str) -> None:
    """400, unsupported_schema."""
    with pytest.raises(Invalid, match=word) as refused:
        plain_schema.plain(schema)
    assert (refused.value.status, refused.value.code) == (400, "unsupported_schema")
