"""The forms that a chat answer can be asked for in, and the schema that each stands for."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from headrace.errors import Invalid
from headrace.state.table import Ability
from headrace.wire import plain_schema


class SchemaSpec(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """`json_schema` of a response format."""

    name: Annotated[str, Meta(pattern="^[a-zA-Z0-9_-]{1,64}$")]
    schema: dict[str, Any] | None = None
    strict: bool | None = None
    description: Annotated[str, Meta(max_length=16384)] | None = None


class TextFormat(msgspec.Struct, tag="text", tag_field="type", forbid_unknown_fields=True):
    """Plain text, the default."""


class ObjectFormat(msgspec.Struct, tag="json_object", tag_field="type", forbid_unknown_fields=True):
    """Any JSON object."""


class SchemaFormat(msgspec.Struct, tag="json_schema", tag_field="type", forbid_unknown_fields=True):
    """JSON that follows a schema."""

    json_schema: SchemaSpec


Format = TextFormat | ObjectFormat | SchemaFormat


def enforced(wanted: Format | None) -> Format | None:
    """What of a form an engine is asked for: nothing for plain text."""
    return None if isinstance(wanted, TextFormat) else wanted


def schema_of(wanted: Format | dict[str, Any] | None) -> dict[str, Any] | None:
    """The schema of an answer, as of what is sent to engines; None for plain text."""
    return wanted["json_schema"]["schema"] if isinstance(wanted, dict) else reply_schema(wanted)


def held(ability: Ability, wanted: Format | dict[str, Any] | None) -> bool:
    """Whether an engine of that ability is held to the form by itself."""
    schema = schema_of(wanted)
    if schema is None or not ability.json_schema or not ability.plain_schemas:
        return schema is None or ability.json_schema
    try:
        plain_schema.plain(schema)
    except Invalid:
        return False
    return True


def reply_schema(wanted: Format | None) -> dict[str, Any] | None:
    """The schema of a form; None for plain text."""
    match wanted:
        case SchemaFormat():
            return wanted.json_schema.schema or {"type": "object"}
        case ObjectFormat():
            return {"type": "object"}
        case _:
            return None
