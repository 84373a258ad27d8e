"""Variants of a cloud file: `models.chat.scaling.max=3`, set before the file is read as strictly as ever."""

import io
from typing import Any

from ruamel.yaml import YAML

from headrace.errors import Invalid


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
        names = place.strip().split(".")
        if not equals or not all(names):
            raise Invalid(f"{change!r} sets nothing; write it like pools.gpus.count=3")
        at = root
        for depth, name in enumerate(names[:-1]):
            if not isinstance(at, dict):
                raise Invalid(f"{change!r}: {'.'.join(names[:depth])} has no parts")
            if name not in at:
                if depth < 2:  # a pool or a model that is not there is a mistake, a section left out is not
                    raise Invalid(f"{change!r}: there is no {name} in {'.'.join(names[:depth]) or 'the file'}")
                at[name] = {}
            at = at[name]
        if not isinstance(at, dict):
            raise Invalid(f"{change!r}: {'.'.join(names[:-1])} has no parts")
        at[names[-1]] = YAML(typ="safe").load(value)
    out = io.StringIO()
    rounds.dump(root, out)
    return out.getvalue()
