"""Mooncake's traces: JSON lines of a time in milliseconds, lengths, and hashes of the prompt's blocks of 512 tokens.

Requests whose first blocks are the same share a prefix. A request's own is the longest that some other request has as
well; each block of it is a prefix, too, and a longer form of the one before (`Trace.chains`), so that any two requests
share as much as they have in common.
Source: kvcache-ai/Mooncake, FAST25-release/traces (Apache-2.0).
"""

from collections import Counter
from collections.abc import Iterable
from typing import Final

import msgspec
import numpy as np

from headrace.errors import Invalid
from headrace.twin.trace import TOKENS_MAX, Trace, trace_of

BLOCK_TOKENS: Final = 512
_FIX: Final = "correct the line or leave it out"
MS_MAX: Final = 10**15  # a date in milliseconds is far below


class _Row(msgspec.Struct):
    timestamp: float
    input_length: int
    output_length: int
    hash_ids: list[int] = []


def matches(line: str) -> bool:
    """Whether a first line is of this kind."""
    return line.startswith("{") and '"input_length"' in line


def _check(row: _Row, where: str) -> None:
    """Raises Invalid with field, value and limit."""
    if not 0 <= row.timestamp < MS_MAX:
        raise Invalid(
            f"timestamp is {row.timestamp:g}, and must be milliseconds from 0 to {MS_MAX}; {_FIX}",
            where=where,
        )
    for name, tokens in (("input_length", row.input_length), ("output_length", row.output_length)):
        if not 0 <= tokens <= TOKENS_MAX:
            raise Invalid(
                f"{name} is {tokens}, and must be a whole number from 0 to {TOKENS_MAX}; {_FIX}",
                where=where,
            )


def read(lines: Iterable[str], source: str) -> Trace:
    """Read JSON lines. Raises Invalid with file, line and what is wrong."""
    decode = msgspec.json.Decoder(_Row).decode
    rows: list[_Row] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = decode(line)
        except msgspec.MsgspecError as error:
            raise Invalid(f"{error}; {_FIX}", where=f"{source}:{number}") from None
        _check(row, f"{source}:{number}")
        rows.append(row)
    shared: Counter[tuple[int, int]] = Counter()
    for row in rows:
        shared.update((depth, block) for depth, block in enumerate(row.hash_ids))
    prefixes: dict[tuple[int, int], int] = {}
    columns: dict[str, list[int]] = {
        name: [] for name in ("arrival_us", "input_tokens", "output_tokens", "prefix", "prefix_tokens")
    }
    chains: list[tuple[int, int]] = []
    for row in rows:
        prefix, tokens = -1, 0
        for depth, block in enumerate(row.hash_ids):
            if shared[depth, block] < 2:
                break
            tokens = min((depth + 1) * BLOCK_TOKENS, row.input_length)
            known = prefixes.setdefault((depth, block), len(chains))
            if known == len(chains):
                chains.append((prefix, (depth + 1) * BLOCK_TOKENS))
            prefix = known
        columns["arrival_us"].append(round(row.timestamp * 1000))
        columns["input_tokens"].append(row.input_length)
        columns["output_tokens"].append(row.output_length)
        columns["prefix"].append(prefix)
        columns["prefix_tokens"].append(tokens)
    return trace_of({**columns}, source=source, chains=np.array(chains, np.int64).reshape(-1, 2))
