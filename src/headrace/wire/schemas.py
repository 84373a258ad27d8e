"""Bounds on a caller's JSON schema before an engine turns it into a grammar: size, depth, patterns, repetitions.

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
_PRODUCT_MAX: Final = 10_000

_COUNTED: Final = frozenset({"minItems", "maxItems", "minLength", "maxLength"})
_BRACES: Final = re.compile(r"\{(\d{0,9}),?(\d{0,9})\}")
_LOOKING: Final = re.compile(r"\(\?(?!:)|\\[1-9]")
_NAMED: Final = frozenset({"properties", "$defs", "definitions", "patternProperties", "dependentSchemas"})


def check(schema: dict[str, Any], param: str) -> None:
    """Raises Invalid naming `param` when the schema is too large, too deep or asks for an unbounded grammar."""
    size = len(msgspec.json.encode(schema))
    if size > SIZE_MAX_BYTES:
        raise errors.Invalid(f"The schema has {size} bytes; the limit is {SIZE_MAX_BYTES}.", param=param)
    level: list[tuple[Any, bool]] = [(schema, False)]
    for _ in range(2 * DEPTH_MAX):
        deeper: list[tuple[Any, bool]] = []
        for node, names in level:
            if isinstance(node, dict):
                for key, value in node.items():
                    if not names:
                        _keyword(key, value, param)
                    if isinstance(value, dict | list):
                        deeper.append((value, key in _NAMED and not names))
            else:
                deeper.extend((value, False) for value in node if isinstance(value, dict | list))
        if not deeper:
            return
        level = deeper
    raise errors.Invalid(f"The schema is nested deeper than {DEPTH_MAX} schemas.", param=param)


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
