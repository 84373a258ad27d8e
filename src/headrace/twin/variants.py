"""Variants of a cloud file: `models.chat.scaling.max=3`, set before the file is read as strictly as ever."""

import difflib
import io
from collections.abc import Mapping
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from headrace.errors import Invalid


def parts(text: str) -> tuple[str, ...]:
    """The changes of one variant: separated by commas, but for those within brackets and quotes.

    >>> parts("models.chat.placement=[l40s, h100], policy=ray")
    ('models.chat.placement=[l40s, h100]', 'policy=ray')
    """
    found, depth, quote = [""], 0, ""
    for letter in text:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "\"'":
            quote = letter
        else:
            depth += (letter in "[{") - (letter in "]}")
        if letter == "," and not quote and depth <= 0:
            found.append("")
        else:
            found[-1] += letter
    return tuple(part.strip() for part in found if part.strip())


def changed(text: str, changes: tuple[str, ...]) -> str:
    """A cloud file with some values set. Raises Invalid for a change that names no place.

    >>> print(changed("pools: {gpus: {count: 4}}", ("pools.gpus.count=3",)).strip())
    pools: {gpus: {count: 3}}
    """
    if not changes:
        return text
    rounds = YAML()  # keeps what it does not touch
    root: Any = rounds.load(text)
    for change in changes:
        place, equals, value = change.partition("=")
        if not equals or not all(place.strip().split(".")):
            raise Invalid(f"{change!r} sets nothing; write it like pools.gpus.count=3")
        names = _names(root, place.strip())
        at = root
        for depth, name in enumerate(names[:-1]):
            if not isinstance(at, dict):
                raise Invalid(f"{change!r}: {'.'.join(names[:depth])} has no parts")
            if name not in at:
                if depth < 2:  # a pool or a model that is not there is a mistake, a section left out is not
                    raise Invalid(f"{change!r}: {_missing(name, at, '.'.join(names[:depth]) or 'the file')}")
                at[name] = {}
            at = at[name]
        if not isinstance(at, dict):
            raise Invalid(f"{change!r}: {'.'.join(names[:-1])} has no parts")
        at[names[-1]] = _value(change, value)
    out = io.StringIO()
    rounds.dump(root, out)
    return out.getvalue()


def _names(root: Any, place: str) -> list[str]:
    """The steps to a place. A name may have dots itself, as those of models do: the longest that is there is meant."""
    steps, found = place.split("."), list[str]()
    at = root
    while steps:
        longest = next((end for end in range(len(steps), 1, -1) if _has(at, ".".join(steps[:end]))), 1)
        name = ".".join(steps[:longest])
        found.append(name)
        at = at[name] if _has(at, name) else None
        steps = steps[longest:]
    return found


def _has(at: Any, name: str) -> bool:
    return isinstance(at, dict) and name in at


def _missing(name: str, at: Mapping[str, Any], where: str) -> str:
    """That a name is not there, and which are."""
    near = difflib.get_close_matches(name, [str(one) for one in at], n=1)
    meant = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(map(str, at))}"
    return f"there is no {name} in {where}{meant}"


def _value(change: str, value: str) -> Any:
    try:
        return YAML(typ="safe").load(value)
    except YAMLError as error:
        problem = getattr(error, "problem", None) or "it is no YAML"
        raise Invalid(f"{change!r}: the value {value!r} cannot be read: {problem}; quote it for the shell") from None
