"""What of JSON Schema reaches OpenVINO's grammar compiler: a plain subset, every value checked.

Asked by its runner, and by the gateway, which holds answers against all other schemas itself.

A schema that its compiler refuses breaks the whole pipeline, with everyone's requests in it (measured), so nothing
gets there that is not known to compile. References are put in place; recursion is refused.
"""

from typing import Any, Final

from headrace.errors import Invalid

_DEPTH_MAX: Final = 24
_NODES_MAX: Final = 2_000
_COUNT_MAX: Final = 1_000
_TYPES: Final = frozenset({"object", "array", "string", "number", "integer", "boolean", "null"})
_IGNORED: Final = frozenset({"title", "description", "default", "examples", "$schema", "$id", "$defs", "definitions"})
_COUNTS: Final = (("minLength", "maxLength"), ("minItems", "maxItems"))
_KNOWN: Final = frozenset(
    {"type", "properties", "required", "additionalProperties", "items", "enum", "const", "anyOf", "$ref"}
    | {name for pair in _COUNTS for name in pair}
)


def plain(schema: Any) -> Any:
    """The schema in the subset, references put in place. Raises Invalid that names the keyword."""
    return _Reader(schema).read(schema, 0, ())


class _Reader:
    __slots__ = ("_nodes", "_root")

    def __init__(self, root: Any) -> None:
        self._root, self._nodes = root, 0

    def read(self, schema: Any, depth: int, seen: tuple[str, ...]) -> Any:
        self._nodes += 1
        if depth > _DEPTH_MAX or self._nodes > _NODES_MAX:
            raise _no(f"the schema has more than {_DEPTH_MAX} levels or {_NODES_MAX} parts; make it smaller")
        if not isinstance(schema, dict):
            raise _no("a schema must be an object here; write {} for anything")
        if "$ref" in schema:
            reference = schema["$ref"]
            if reference in seen:
                raise _no(f"{reference} refers to itself, which this model's engine cannot follow")
            return self.read(self._target(reference), depth + 1, (*seen, reference))
        unknown = sorted(set(schema) - _KNOWN - _IGNORED)
        if unknown:
            raise _no(f"{unknown[0]!r} in a schema is not supported by this model's engine; leave it out")
        made: dict[str, Any] = {}
        if "type" in schema:
            made["type"] = _type(schema["type"])
        if "const" in schema:
            made["const"] = _scalar(schema["const"], "const")
        if "enum" in schema:
            made["enum"] = [_scalar(value, "enum") for value in _filled(schema["enum"], "enum")]
        if "anyOf" in schema:
            made["anyOf"] = [self.read(each, depth + 1, seen) for each in _filled(schema["anyOf"], "anyOf")]
        self._object(schema, made, depth, seen)
        if "items" in schema:
            made["items"] = self.read(schema["items"], depth + 1, seen)
        elif "minItems" in schema or "maxItems" in schema:
            made["items"] = {}  # its compiler refuses counts of unnamed items
        for least, most in _COUNTS:
            made |= _counts(schema, least, most)
        return made

    def _object(self, schema: dict[str, Any], made: dict[str, Any], depth: int, seen: tuple[str, ...]) -> None:
        if "properties" in schema:
            if not isinstance(schema["properties"], dict):
                raise _no("'properties' must be an object")
            made["properties"] = {
                _text(name): self.read(value, depth + 1, seen) for name, value in schema["properties"].items()
            }
        if "required" in schema:
            names, known = schema["required"], made.get("properties", {})
            if not isinstance(names, list) or not all(isinstance(name, str) and name in known for name in names):
                raise _no("'required' must list names that are in 'properties'")
            made["required"] = list(dict.fromkeys(names))
        more = schema.get("additionalProperties", True)
        if isinstance(more, dict):
            made["additionalProperties"] = self.read(more, depth + 1, seen)
        elif not isinstance(more, bool):
            raise _no("'additionalProperties' must be true, false or a schema")
        elif not more:
            made["additionalProperties"] = False

    def _target(self, reference: Any) -> Any:
        words = reference.split("/") if isinstance(reference, str) else []
        if len(words) == 3 and words[0] == "#" and words[1] in ("$defs", "definitions"):
            found = self._root.get(words[1])
            if isinstance(found, dict) and words[2] in found:
                return found[words[2]]
        raise _no(f"$ref {str(reference)[:100]!r} names nothing under #/$defs of this schema")


def _type(given: Any) -> Any:
    names = given if isinstance(given, list) else [given]
    if (
        not names
        or len(set(map(str, names))) != len(names)
        or not all(isinstance(name, str) and name in _TYPES for name in names)
    ):
        raise _no(f"'type' must be one of {', '.join(sorted(_TYPES))}, or a list of them")
    return given


def _scalar(value: Any, keyword: str) -> Any:
    if isinstance(value, dict | list):
        raise _no(f"{keyword!r} may hold texts, numbers, true, false and null")
    return _text(value) if isinstance(value, str) else value


def _text(value: str) -> str:
    """Names and values become parts of a grammar, whose reader knows few escapes."""
    if not value.isprintable() or "\\" in value or '"' in value:
        raise _no(f"{value[:50]!r} has quotes, backslashes or control characters, which names and values may not")
    return value


def _filled(given: Any, keyword: str) -> list[Any]:
    if not isinstance(given, list) or not given:
        raise _no(f"{keyword!r} must be a list that is not empty")
    return given


def _counts(schema: dict[str, Any], least: str, most: str) -> dict[str, int]:
    made = {name: schema[name] for name in (least, most) if name in schema}
    for name, value in made.items():
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _COUNT_MAX:
            raise _no(f"{name!r} must be a whole number from 0 to {_COUNT_MAX}")
    if made.get(least, 0) > made.get(most, _COUNT_MAX):
        raise _no(f"{least!r} is more than {most!r}")
    return made


def _no(message: str) -> Invalid:
    return Invalid(message, param="response_format", code="unsupported_schema")
