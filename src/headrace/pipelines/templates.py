"""Templates: Jinja's sandbox, strict about names, bounded in text, ranges and nested loops. Pure.

A value that is one `{{ expression }}` and nothing else keeps its type; any other text becomes text.
"""

import functools
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import jinja2
from jinja2 import meta, nodes
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from headrace.errors import Invalid

TEXT_CHARS_MAX: Final = 16_384  # of a template
OUTPUT_CHARS_MAX: Final = 1 << 20
RANGE_MAX: Final = 1_000
COMPILED_MAX: Final = 512  # templates that are kept read and compiled, which takes a millisecond
LOOPS_MAX: Final = 2  # one in another
_WHOLE: Final = re.compile(r"\s*\{\{(?P<inside>(?:(?!\}\}|\{\{).)*)\}\}\s*", re.DOTALL)


class _Sandbox(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset({"*", "**"})

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """No power, and no product of a text or a list: both make much of little."""
        if operator == "**" or not (isinstance(left, int | float) and isinstance(right, int | float)):
            raise SecurityError(f"{operator} is for numbers, and ** is not there")
        return super().call_binop(context, operator, left, right)


def _range(*bounds: int) -> list[int]:
    found = range(*bounds)
    if len(found) > RANGE_MAX:
        raise SecurityError(f"a range has at most {RANGE_MAX} numbers, this one {len(found)}")
    return list(found)


def _best(items: list[Any], name: str) -> Any:
    return max(items, key=lambda item: item[name])


_ENV: Final = _Sandbox(undefined=jinja2.StrictUndefined, autoescape=False)
_ENV.globals.clear()
_ENV.globals.update(
    range=_range, best=_best, len=len, max=max, min=min, sum=sum, zip=lambda *a: list(zip(*a, strict=False))
)
for _greedy in ("center", "indent", "wordwrap", "format", "pprint", "xmlattr", "urlize", "random"):
    _ENV.filters.pop(_greedy, None)


@functools.lru_cache(COMPILED_MAX)
def _expression(text: str) -> Callable[..., Any]:
    return _ENV.compile_expression(text, undefined_to_none=False)


@functools.lru_cache(COMPILED_MAX)
def _template(text: str) -> jinja2.Template:
    return _ENV.from_string(text)


def names(value: Any, where: str) -> set[str]:
    """The names a value's templates use. Raises Invalid where one cannot be read."""
    if isinstance(value, dict):
        return set().union(*(names(inner, where) for inner in value.values()))
    if isinstance(value, list | tuple):
        return set().union(*(names(inner, where) for inner in value))
    return set(_names(value, where)) if isinstance(value, str) else set()


@functools.lru_cache(COMPILED_MAX)
def _names(value: str, where: str) -> frozenset[str]:
    if len(value) > TEXT_CHARS_MAX:
        raise _wrong(where, f"a template has at most {TEXT_CHARS_MAX} characters, this one {len(value)}; pass an input")
    try:
        parsed = _ENV.parse(value)
    except jinja2.TemplateSyntaxError as error:
        raise _wrong(where, f"the template cannot be read: {error.message} (line {error.lineno})") from None
    if _deepest(parsed) > LOOPS_MAX:
        raise _wrong(where, f"a template may have {LOOPS_MAX} loops one in another; make a step of the inner one")
    if next(parsed.find_all((nodes.Import, nodes.FromImport, nodes.Include, nodes.Extends, nodes.Macro)), None):
        raise _wrong(where, "a template imports nothing and defines no macro; use a step")
    return frozenset(meta.find_undeclared_variables(parsed)) - _ENV.globals.keys()


def render(value: Any, given: Mapping[str, Any], where: str) -> Any:
    """The value with its templates filled in. Raises Invalid naming the step and the reason."""
    if isinstance(value, dict):
        return {key: render(inner, given, where) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [render(inner, given, where) for inner in value]
    if not isinstance(value, str) or ("{{" not in value and "{%" not in value):
        return value
    try:
        whole = _WHOLE.fullmatch(value)
        if whole:
            found = _expression(whole["inside"])(**given)
            if isinstance(found, jinja2.Undefined):
                str(found)  # raises, and says which name is not there
            return found
        return _text(value, given, where)
    except Invalid:
        raise
    except (jinja2.TemplateError, ArithmeticError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise _wrong(where, f"the template {value[:80]!r} failed: {error}") from None


def truth(value: str, given: Mapping[str, Any], where: str) -> bool:
    """A condition; written with or without braces."""
    found = render(value if "{{" in value else "{{ " + value + " }}", given, where)
    if isinstance(found, jinja2.Undefined):
        raise _wrong(where, f"the condition {value[:80]!r} uses a name that is not there")
    return bool(found)


def _text(value: str, given: Mapping[str, Any], where: str) -> str:
    parts, size = [], 0
    for part in _template(value).generate(**given):
        parts.append(part)
        size += len(part)
        if size > OUTPUT_CHARS_MAX:
            raise _wrong(where, f"the template made more than {OUTPUT_CHARS_MAX} characters; give it less")
    return "".join(parts)


def _deepest(node: nodes.Node) -> int:
    inner = max((_deepest(child) for child in node.iter_child_nodes()), default=0)
    return inner + isinstance(node, nodes.For)


def _wrong(where: str, message: str) -> Invalid:
    return Invalid(f"step {where}: {message}", code="invalid_pipeline", status=422)
