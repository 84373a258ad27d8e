"""What is wrong with a cloud file: one `Problem` a place, gathered so that one reading tells them all.

Raised by `specs.load`, printed by `headrace check` and given by the admin API. Holds no text of the file but the
offending value, which is never a secret: secrets are references there.
"""

import difflib
from collections.abc import Iterable
from typing import Final

import msgspec

from headrace.errors import Invalid

PROBLEMS_MAX: Final = 50
_SHOWN_CHARS_MAX: Final = 60


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One fault of a cloud file. `where` is file:line:col (from 1), `path` like `models.smollm2.engine.kind`."""

    where: str
    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.where} {self.path}: {self.message}" if self.path else f"{self.where} {self.message}"


class InvalidCloud(Invalid):
    """The cloud file cannot be used. `problems` holds every fault that was found, in the order of the file."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        found = tuple(problems)
        shown = [str(problem) for problem in found[:PROBLEMS_MAX]]
        if len(found) > PROBLEMS_MAX:
            shown.append(f"... and {len(found) - PROBLEMS_MAX} more; correct these first")
        super().__init__("\n".join(shown), code="invalid_cloud_file", status=422, param=found[0].path or None)
        self.problems = found


def closest(word: str, known: Iterable[str]) -> str:
    """`; did you mean x?` when a known word is near, else nothing.

    >>> closest("engin", ["engine", "task"])
    '; did you mean engine?'
    """
    near = difflib.get_close_matches(word[:_SHOWN_CHARS_MAX], list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else ""


def shown(value: object) -> str:
    """A value as a message quotes it, bounded in length.

    >>> shown("x" * 100).endswith("...'")
    True
    """
    text = str(value)
    return repr(text if len(text) <= _SHOWN_CHARS_MAX else text[:_SHOWN_CHARS_MAX] + "...")
