"""Whether a value fits a JSON schema: the part of the standard that arguments of tools are described with. Pure.

Patterns are not looked at: they are a tenant's or a foreign server's, and one can be written that never ends.
"""

from typing import Any, Final

_TYPES: Final[dict[str, tuple[type, ...]]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}


def problem(value: Any, schema: Any, at: str = "") -> str:
    """What does not fit, with its place; empty when all does. Words that are not known constrain nothing.

    >>> problem({"order": "7"}, {"type": "object", "properties": {"order": {"type": "integer"}}})
    'order: "7" is not integer'
    >>> problem({}, {"type": "object", "required": ["order"]})
    'order is missing'
    """
    if not isinstance(schema, dict):
        return ""
    where = f"{at}: " if at else ""
    named = schema.get("type")
    kinds = named if isinstance(named, list) else [named] if named else []
    if kinds and not any(_is(value, str(kind)) for kind in kinds):
        return f"{where}{_shown(value)} is not {' or '.join(map(str, kinds))}"
    if "enum" in schema and value not in schema["enum"]:
        return f"{where}{_shown(value)} is none of {', '.join(map(_shown, schema['enum'][:20]))}"
    if "const" in schema and value != schema["const"]:
        return f"{where}{_shown(value)} is not {_shown(schema['const'])}"
    if isinstance(value, str):
        return where + found if (found := _text(value, schema)) else ""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return where + found if (found := _number(value, schema)) else ""
    if isinstance(value, list):
        return _items(value, schema, at)
    return _fields(value, schema, at) if isinstance(value, dict) else ""


def _is(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    return isinstance(value, _TYPES.get(kind, (object,))) or (
        kind == "integer" and isinstance(value, float) and value.is_integer()
    )


def _text(value: str, schema: dict[str, Any]) -> str:
    if len(value) > schema.get("maxLength", len(value)) or len(value) < schema.get("minLength", 0):
        return f"it has {len(value)} characters, outside of {schema.get('minLength', 0)} to {schema.get('maxLength')}"
    return ""


def _number(value: float, schema: dict[str, Any]) -> str:
    if value < schema.get("minimum", value) or value > schema.get("maximum", value):
        return f"{value} is outside of {schema.get('minimum', '-')} to {schema.get('maximum', '-')}"
    return ""


def _items(value: list[Any], schema: dict[str, Any], at: str) -> str:
    if len(value) > schema.get("maxItems", len(value)) or len(value) < schema.get("minItems", 0):
        return (
            f"{at or 'it'} has {len(value)} items, outside of {schema.get('minItems', 0)} to {schema.get('maxItems')}"
        )
    found = (problem(item, schema.get("items"), f"{at}[{index}]") for index, item in enumerate(value))
    return next(filter(None, found), "")


def _fields(value: dict[str, Any], schema: dict[str, Any], at: str) -> str:
    known = schema.get("properties", {})
    dot = f"{at}." if at else ""
    for name in schema.get("required", ()):
        if name not in value:
            return f"{dot}{name} is missing"
    if schema.get("additionalProperties") is False:
        for name in value:
            if name not in known:
                return f"{dot}{name[:60]} is none of {', '.join(known) or 'no parameters'}"
    found = (problem(inner, known.get(name), f"{dot}{name}") for name, inner in value.items())
    return next(filter(None, found), "")


def _shown(value: Any) -> str:
    return f'"{value[:60]}"' if isinstance(value, str) else repr(value)[:60]
