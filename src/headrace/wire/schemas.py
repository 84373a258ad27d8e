"""Bounds on a caller's JSON schema before anything is made of it: size, depth, patterns, repetitions, references.

Called for `response_format` and for the parameters of tools. A schema is data here; nothing in it is ever fetched.
"""

import re
from typing import Any, Final

import msgspec

from headrace import errors

SIZE_MAX_BYTES: Final = 64 << 10
DEPTH_MAX: Final = 32  # of schemas; each may stand two JSON levels below the one before
PATTERN_MAX: Final = 512
REPEAT_MAX: Final = 2000
READINGS_MAX: Final = 1000  # schemas that one value may have to be held against, references followed
_PRODUCT_MAX: Final = 10_000

_COUNTED: Final = frozenset({"minItems", "maxItems", "minLength", "maxLength"})
_BRACES: Final = re.compile(r"\{(\d{0,9}),?(\d{0,9})\}")
_LOOKING: Final = re.compile(r"\(\?(?!:)|\\[1-9]")
_LISTS: Final = ("anyOf", "oneOf", "allOf")
_NAMED: Final = frozenset({"properties", "$defs", "definitions", "patternProperties", "dependentSchemas"})


def check(schema: dict[str, Any], param: str) -> None:
    """Raises Invalid naming `param` when a schema is too large, too deep, unbounded, or refers to what is not there."""
    size = len(msgspec.json.encode(schema))
    if size > SIZE_MAX_BYTES:
        raise errors.Invalid(f"The schema has {size} bytes; the limit is {SIZE_MAX_BYTES}.", param=param)
    references: list[dict[str, Any]] = []
    level: list[tuple[Any, bool]] = [(schema, False)]
    for _ in range(2 * DEPTH_MAX):
        deeper: list[tuple[Any, bool]] = []
        for node, names in level:
            if isinstance(node, dict):
                if "$ref" in node and not names:
                    references.append(node)
                for key, value in node.items():
                    if not names:
                        _keyword(key, value, param)
                    if isinstance(value, dict | list):
                        deeper.append((value, key in _NAMED and not names))
            else:
                deeper.extend((value, False) for value in node if isinstance(value, dict | list))
        if not deeper:
            if references:
                _Readings(schema, param).check(references)
            return
        level = deeper
    raise errors.Invalid(f"The schema is nested deeper than {DEPTH_MAX} schemas.", param=param)


def referred(reference: str, root: dict[str, Any]) -> Any:
    """What a reference into a schema points at; None when there is nothing.

    >>> referred("#/$defs/a~1b", {"$defs": {"a/b": 1}}), referred("#/$defs/c", {}), referred("#", {})
    (1, None, {})
    """
    found: Any = root
    head, *names = reference.split("/")
    for name in (each.replace("~1", "/").replace("~0", "~") for each in names):
        if isinstance(found, list) and name.isdecimal() and len(name) < 6 and int(name) < len(found):
            found = found[int(name)]
        else:
            found = found.get(name) if isinstance(found, dict) else None
    return found if head == "#" else None


class _Readings:
    """How many schemas one value is held against: references and alternatives multiply, and may lead in a circle."""

    def __init__(self, root: dict[str, Any], param: str) -> None:
        self._root = root
        self._param = param
        self._known: dict[int, int] = {}

    def check(self, references: list[dict[str, Any]]) -> None:
        """Each of these schemas has a reference; whatever leads to many readings goes through one of them."""
        for schema in references:
            self._count(schema, 0)

    def _count(self, schema: Any, depth: int) -> int:
        if not isinstance(schema, dict):
            return 1
        known = self._known.get(id(schema))
        if known == 0 or depth > READINGS_MAX // 10:
            message = "A '$ref' in the schema leads back to itself, or through too many others, at the same value."
            raise errors.Invalid(message, param=self._param)
        if known is not None:
            return known
        self._known[id(schema)] = 0
        count = 1 + sum(self._count(each, depth + 1) for each in self._here(schema))
        if count > READINGS_MAX:
            message = f"The references of the schema multiply to more than {READINGS_MAX} schemas for one value."
            raise errors.Invalid(message, param=self._param)
        self._known[id(schema)] = count
        return count

    def _here(self, schema: dict[str, Any]) -> list[Any]:
        """The schemas that hold for the same value."""
        found = [each for name in _LISTS if isinstance(schema.get(name), list) for each in schema[name]]
        found += [schema[name] for name in ("not", "if", "then", "else") if name in schema]
        if "$ref" in schema:
            there = referred(schema["$ref"], self._root)
            if not isinstance(there, dict | bool):
                message = f"The schema has nothing at its '$ref' {schema['$ref'][:80]!r}."
                raise errors.Invalid(message, param=self._param)
            found.append(there)
        return found


def _keyword(key: str, value: Any, param: str) -> None:
    if key == "$ref" and not (isinstance(value, str) and value.startswith("#")):
        raise errors.Invalid("A '$ref' in a schema must point into the schema itself, like '#/$defs/x'.", param=param)
    if key in _COUNTED and isinstance(value, int) and not isinstance(value, bool) and value > REPEAT_MAX:
        raise errors.Invalid(f"'{key}' in a schema is {value}; the limit is {REPEAT_MAX}.", param=param)
    if key == "pattern" and isinstance(value, str):
        _pattern(value, param)


def _pattern(pattern: str, param: str) -> None:
    if len(pattern) > PATTERN_MAX:
        raise errors.Invalid(f"A pattern has {len(pattern)} characters; the limit is {PATTERN_MAX}.", param=param)
    if _LOOKING.search(pattern):
        raise errors.Invalid("Patterns with look-around, flags or back-references are not supported.", param=param)
    product = 1
    for low, high in _BRACES.findall(pattern):
        product *= max(int(low or 1), int(high or 1), 1)
    if product > _PRODUCT_MAX:
        raise errors.Invalid(
            f"The repetitions of a pattern multiply to {product}; the limit is {_PRODUCT_MAX}.", param=param
        )
