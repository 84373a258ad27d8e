"""What a pipeline takes and what a run was given: refused before anything runs when they do not fit."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from headrace.errors import Invalid
from headrace.specs.pipeline import Pipeline
from headrace.specs.problem import closest


def filled(found: Pipeline, sent: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs of a run, defaults filled in. Raises Invalid."""
    _fit(found.name, {word: value is None for word, value in found.input.items()}, sent)
    return {**found.input, **sent}


def bound(name: str, body: Callable[..., Any], sent: Mapping[str, Any]) -> dict[str, Any]:
    """The same of a function's parameters, which fills its defaults itself. Raises Invalid.

    >>> async def poster(colour, shape="circle"): ...
    >>> bound("poster", poster, {"colour": "red"})
    {'colour': 'red'}
    >>> bound("poster", poster, {"color": "red"})
    Traceback (most recent call last):
        ...
    headrace.errors.Invalid: poster has no input 'color'; did you mean colour?; it has: colour, shape
    """
    takes = inspect.signature(body).parameters.values()
    named = {
        one.name: one.default is one.empty for one in takes if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)
    }
    anything = any(one.kind is one.VAR_KEYWORD for one in takes)
    _fit(name, {**dict.fromkeys(sent, False), **named} if anything else named, sent)
    return dict(sent)


def _fit(name: str, needed: Mapping[str, bool], sent: Mapping[str, Any]) -> None:
    """Raise Invalid for an input that is not known, or one that is needed and was not given."""
    for word in sent:
        if word not in needed:
            raise Invalid(
                f"{name} has no input {word[:60]!r}{closest(word, needed)}; it has: {', '.join(needed) or 'none'}",
                param=word,
            )
    lacking = [word for word, must in needed.items() if must and sent.get(word) is None]
    if lacking:
        given = " ".join(f"{word}=VALUE" for word in lacking)
        raise Invalid(f"{name} needs {' and '.join(map(repr, lacking))}; give {given}", param=lacking[0])
