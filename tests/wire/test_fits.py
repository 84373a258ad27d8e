"""Arguments against their schemas: what is wrong is said with its place."""

from typing import Any

import pytest

from headrace.wire.fits import problem

SHAPE = {
    "type": "object",
    "properties": {
        "order": {"type": "integer", "minimum": 1},
        "kind": {"enum": ["a", "b"]},
        "tags": {"type": "array", "items": {"type": "string", "maxLength": 3}, "maxItems": 2},
        "note": {"type": ["string", "null"], "pattern": "(x+x+)+y"},
    },
    "required": ["order"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"order": 1}, ""),
        ({"order": 1.0, "kind": "b", "tags": ["abc"], "note": None}, ""),
        ({}, "order is missing"),
        ({"order": True}, "order: True is not integer"),
        ({"order": 1.5}, "order: 1.5 is not integer"),
        ({"order": 0}, "order: 0 is outside of 1 to -"),
        ({"order": 1, "kind": "c"}, 'kind: "c" is none of "a", "b"'),
        ({"order": 1, "tags": ["abcd"]}, "tags[0]: it has 4 characters"),
        ({"order": 1, "tags": ["a"] * 3}, "tags has 3 items"),
        ({"order": 1, "note": "x" * 64}, ""),
        ({"order": 1, "more": 1}, "more is none of order, kind, tags, note"),
        ([], "[] is not object"),
    ],
)
def test_what_does_not_fit_is_named(value: Any, said: str):
    assert problem(value, SHAPE).startswith(said)
    assert bool(problem(value, SHAPE)) == bool(said)
