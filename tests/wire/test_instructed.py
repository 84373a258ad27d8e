"""JSON from engines that enforce nothing: what they are told, what is taken, and what is not."""

import json
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from headrace import errors
from headrace.state.table import Ability
from headrace.wire import instructed
from headrace.wire.call import ONCE
from headrace.wire.messages import Turn
from tests.wire.bodies import chat as body_of

LOOSE = Ability(dialect="openai", json_schema=False)
SCHEMA: dict[str, Any] = {
    "type": "object", "properties": {"legs": {"type": "integer"}}, "required": ["legs"], "additionalProperties": False,
}  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=3)
    ),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"legs": 4}', '{"legs": 4}'),
        (' \n{"legs":4}\n', '{"legs":4}'),
        ('Sure! [1] says:\n```json\n{"legs": 4}\n```\nAnd {"more": 1}.', '{"legs": 4}'),
        ('{"legs": "four"} or rather {"legs": 4}', '{"legs": 4}'),
        ('{"legs": 4}\n{"legs": 4', '{"legs": 4}'),
    ],
)
def test_the_json_that_holds_is_taken_from_what_stands_around_it(text: str, found: str):
    assert instructed.kept(text, SCHEMA) == (found, "")


@pytest.mark.parametrize("text", ["", "four", '{"legs": NaN}', '{"legs": 4.5}', "[" * 100_000, '{"a":' * 9_000, "{}"])
def test_what_does_not_hold_is_not_taken(text: str):
    found, problem = instructed.kept(text, SCHEMA)
    assert (found, bool(problem)) == ("", True)


def test_what_is_wrong_is_said_without_the_answers_words():
    _, problem = instructed.kept('{"legs": "a secret"}', SCHEMA)
    assert "integer" in problem
    assert "/legs" in problem
    assert "secret" not in problem


@given(VALUES)
def test_any_object_is_any_object(value: Any):
    """What is taken is JSON of the type that was asked for, and means what was written."""
    found, problem = instructed.kept(json.dumps(value, ensure_ascii=False), {"type": "object"})
    if isinstance(value, dict):
        assert (json.loads(found), problem) == (value, "")
    elif found:
        assert isinstance(json.loads(found), dict)  # one inside it


def test_a_pattern_that_would_take_a_backtracker_for_ever_takes_no_time():
    schema = {"type": "object", "properties": {"x": {"type": "string", "pattern": "^(a+)+$"}}}
    found, problem = instructed.kept(json.dumps({"x": "a" * 50_000 + "!"}), schema)
    assert (found, bool(problem)) == ("", True)


@pytest.mark.parametrize("schema", [{"type": "objekt"}, {"required": "legs"}])
def test_a_schema_that_is_none_is_refused_before_anything_is_paid(schema: dict[str, Any]):
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    call = body_of(response_format=form)
    with pytest.raises(errors.Invalid):
        call.parts(LOOSE)[0].render(LOOSE, "up", 16, 1024)


def test_a_form_that_says_all_needs_no_schema():
    """Small models keep to a form; a schema that says more than its form goes before the conversation."""
    turns = [Turn("user", "A dog.")]
    (only,) = instructed.told(turns, SCHEMA)
    assert only.content == 'A dog.\n\nAnswer with JSON in this form, and nothing else:\n{"legs": 0}'
    bound = {**SCHEMA, "properties": {"legs": {"type": "integer", "minimum": 1}}}
    first, last = instructed.told(turns, bound)
    assert first.role == "system"
    assert '"minimum":1' in str(first.content)
    assert '{"legs": 0}' in str(last.content)
    assert turns == [Turn("user", "A dog.")]


def test_an_engine_of_plain_schemas_is_trusted_with_those_alone():
    """What its compiler would refuse is told and checked; the rest is sent as it came, and asked once."""
    some = Ability(dialect="headrace", plain_schemas=True)
    for properties, trusted in (
        ({"legs": {"type": "integer"}}, True),
        ({"legs": {"type": "integer", "minimum": 1}}, False),
        ({"name": {"type": "string", "pattern": "^[a-z]+$"}}, False),
    ):
        schema = {"type": "object", "properties": properties}
        call = body_of(response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}})
        assert (call.asking(some) == ONCE) == trusted
        body = json.loads(call.parts(some)[0].render(some, "up", 16, 1024)[1])
        assert ("response_format" in body) == trusted


def test_references_and_alternatives_have_a_form():
    tree = {"$ref": "#/$defs/n", "$defs": {"n": {"type": "object", "properties": {
        "kind": {"enum": ["leaf", "node"]}, "of": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/n"}]},
        "tags": {"type": "array", "items": {"type": "string"}}}}}}  # fmt: skip
    (_, last) = instructed.told([Turn("user", "A tree.")], tree)
    assert '{"kind": "leaf", "of": null, "tags": ["..."]}' in str(last.content)


@pytest.mark.parametrize("field", [{"response_format": {"type": "json_object"}}, {"n": 2}])
def test_a_model_that_only_reads_refuses(field: dict[str, Any]):
    reader = Ability(dialect="headrace", json_schema=False, n=False, generates=False)
    call = body_of(**field)
    with pytest.raises(errors.Invalid) as refused:
        call.render(reader, "up", 16, 1024)
    assert refused.value.param in field
