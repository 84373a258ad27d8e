"""What a request used, in units: the one path from a usage record to what is priced, for every task.

A new task needs a unit in `specs.priced.ITEMS` and nothing else. Streamed, buffered and cancelled answers are metered
alike: by what the record says was worked on and delivered, never by how it travelled.
"""

from collections.abc import Mapping
from typing import Protocol

from headrace.specs.priced import ITEMS, Unit
from headrace.state.usage import Usage

Quantities = Mapping[Unit, int]


class Counted(Protocol):
    """What was worked on and delivered: a usage record says it, and so does an engine's count."""

    @property
    def input_tokens(self) -> int:
        """Tokens of the prompt, cached ones among them."""

    @property
    def cached_tokens(self) -> int:
        """Those of them that were found in the prefix cache."""

    @property
    def output_tokens(self) -> int:
        """Tokens of the answer."""

    @property
    def items(self) -> int:
        """What the task has of its own: vectors, documents, pictures."""


def measured(
    task: str, outcome: str, counted: Counted, *, began: bool, busy_us: int, agent_steps: int = 0
) -> dict[Unit, int]:
    """What a request used, in every unit that is not 0. `began`: the client was sent something of an answer.

    A refused request used nothing. One that failed before its first byte used nothing either: that was our fault. One
    that failed later, or was cancelled, used what was worked on and delivered.

    >>> from headrace.wire.usage import Counts
    >>> counted = Counts(input_tokens=10, cached_tokens=4, output_tokens=3)
    >>> measured("chat", "finished", counted, began=True, busy_us=7)
    {'input_tokens': 6, 'cached_tokens': 4, 'output_tokens': 3, 'requests': 1, 'busy_us': 7}
    """
    if outcome == "refused" or (outcome == "failed" and not began):
        return {}
    input_tokens, cached_tokens = counted.input_tokens, counted.cached_tokens
    output_tokens, items = counted.output_tokens, counted.items
    if not (input_tokens or output_tokens or items or busy_us):
        return {}  # it left before anybody worked on it
    found: dict[Unit, int] = {}
    if input_tokens > cached_tokens:
        found["input_tokens"] = input_tokens - cached_tokens
    if cached_tokens:
        found["cached_tokens"] = cached_tokens
    if output_tokens:
        found["output_tokens"] = output_tokens
    if items and task in ITEMS:
        found[ITEMS[task]] = items
    if agent_steps:
        found["agent_steps"] = agent_steps
    found["requests"] = 1
    if busy_us:
        found["busy_us"] = busy_us
    return found


def quantities(row: Usage) -> dict[Unit, int]:
    """What a usage record says was used."""
    return measured(
        row.task, row.outcome, row, began=row.first_us > 0, busy_us=row.busy_us, agent_steps=row.agent_steps
    )
